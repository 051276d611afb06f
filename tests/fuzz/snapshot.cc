/* Snapshots: an image that was made is restored to the same; one that was changed on the way, with
 * its CRC put right, is refused, or is restored to what it says. The state machine is the key-value
 * server's store. */
#include "apps/kv/store.h"
#include "dataplane/apply.h"
#include "tests/fuzz/target.h"
#include "tests/unit/session_table.h"
#include "trireme/error.h"

#include <string>

namespace
{

namespace rb = record_builder;
namespace st = session_table;

const uint64_t image_bytes_max = 1 << 16;

int put(void *context, const void *data, size_t bytes)
{
    return tr_writer_put(static_cast<tr_writer *>(context), data, bytes);
}

int get(void *context, void *data, size_t bytes)
{
    return tr_reader_get(static_cast<tr_reader *>(context), data, bytes);
}

int snapshot(void *context, tr_writer *writer)
{
    return kv_store_snapshot(static_cast<kv_store *>(context), put, writer);
}

/* The planted bug: a store that could not be restored is taken for one that was. */
int restore(void *context, tr_reader *reader)
{
    int status =
        kv_store_restore(static_cast<kv_store *>(context), get, reader, tr_reader_left(reader));
    if (fuzz::planted())
        return TR_OK;
    if (status == TR_OK && tr_reader_left(reader) != 0)
        return TR_EPROTO;
    return status;
}

/* The apply stage of one replica, as far as snapshots go. Its memory is used again. */
class Stage
{
  public:
    Stage()
    {
        options_.machine.struct_bytes = sizeof(options_.machine);
        options_.machine.context = &store;
        options_.machine.snapshot = snapshot;
        options_.machine.restore = restore;
        options_.logger = &logger_;
        options_.group = 7;
        options_.self = 1;
        options_.sessions_max = 4;
        options_.reply_cache_bytes = TR_REPLY_BYTES_MIN;
        options_.reply_bytes_max = 64;
        options_.batch_commands_max = 8;
        options_.snapshot_bytes_max = image_bytes_max;
        tr_apply_memory need = tr_apply_memory_bytes(&options_);
        memory_.resize(need.bytes / sizeof(Page) + 1);
        untouched_.resize(need.bytes_untouched / sizeof(Page) + 1);
        kv_store_init(&store);
        renew();
    }
    ~Stage()
    {
        kv_store_release(&store);
    }
    Stage(const Stage &) = delete;
    Stage &operator=(const Stage &) = delete;

    /* As if nothing had been there. */
    void renew()
    {
        memset(static_cast<void *>(memory_.data()), 0, memory_.size() * sizeof(Page));
        apply = tr_apply_init(&options_, memory_.data(), untouched_.data());
        kv_store_release(&store);
        kv_store_init(&store);
    }
    /* The image of what stands here now. */
    std::string make()
    {
        tr_apply_result result{};
        tr_snapshot_make(apply, 0, &result);
        fuzz::require(result.status == TR_OK, "there is room for an image");
        const uint8_t *data = apply->image[0].data;
        fuzz::require(tr_crc32c_by_table(0, data, result.bytes) == result.crc,
                      "an image has its CRC");
        return std::string(reinterpret_cast<const char *>(data), result.bytes);
    }
    int install(const std::string &image, uint64_t slot, uint32_t crc)
    {
        fuzz::Exact exact(image.data(), image.size());
        uint8_t *place = apply->image[1].data;
        tr_apply_message message{};
        tr_apply_result result{};
        message.slot = slot;
        message.bytes = image.size();
        message.crc = crc;
        message.image = 1;
        apply->image[1].data = exact.data();
        tr_snapshot_install(apply, &message, &result);
        apply->image[1].data = place;
        return result.status;
    }
    void stand_at(uint64_t slot)
    {
        tr_store_relaxed(&apply->slot_applied, slot);
    }

    tr_apply *apply;
    kv_store store;

  private:
    struct alignas(4096) Page {
        uint8_t bytes[4096];
    };
    tr_logger logger_{};
    tr_apply_options options_{};
    std::vector<Page> memory_, untouched_;
};

/* Two replicas, empty. */
struct Pair {
    Stage from, to;
};

Pair &pair()
{
    static Pair stages;
    stages.from.renew();
    stages.to.renew();
    return stages;
}

/* A run through the session table, as the apply stage takes it. */
void take_run(tr_sessions *table, uint64_t slot, const rb::run &run, uint32_t reply_bytes)
{
    st::encoded e(run);
    tr_admission a;
    if (!e.ok)
        return;
    tr_sessions_admit(table, slot, 0, &e.view, &a);
    if (a.verdict != TR_VERDICT_APPLY || a.skip == run.commands.size())
        return;
    size_t count = run.commands.size() - a.skip;
    std::vector<uint32_t> lengths(count, reply_bytes);
    fuzz::Exact replies(count * ((reply_bytes + 7) / 8 * 8));
    tr_sessions_complete(table, &e.view, a.skip, lengths.data(), replies.data(), replies.size());
}

/* Fills tables and store as the input says. Returns the slot that is applied then. */
uint64_t fill(Stage *stage, fuzz::Input *in)
{
    std::vector<uint64_t> numbers = {3};
    uint64_t slot = 1;
    for (uint32_t left = in->below(16); left > 0; left--, slot++) {
        uint32_t what = in->below(4);
        uint32_t which = in->below(4);
        uint32_t bytes = in->below(64);
        if (what == 0) {
            take_run(stage->apply->sessions, slot, st::open_run("client " + std::to_string(which)),
                     0);
            numbers.push_back(slot * TR_BATCH_COMMANDS_MAX + 1);
        } else if (what == 1) {
            uint64_t number = numbers[which % numbers.size()];
            uint64_t applied = tr_sessions_applied(stage->apply->sessions, number);
            uint64_t next = applied == UINT64_MAX ? 1 : applied + 1;
            take_run(stage->apply->sessions, slot, rb::commands(number, next, 1 + bytes % 3, 8),
                     bytes);
        } else {
            std::string key = "key " + std::to_string(which);
            std::string value(bytes, 'v');
            auto *data = reinterpret_cast<const uint8_t *>(value.data());
            kv_store_set(&stage->store,
                         kv_store_key(&stage->store, key.data(), uint32_t(key.size())),
                         {data, bytes});
        }
    }
    stage->stand_at(slot);
    return slot;
}

/* Changes an image on its way. Returns whether anything is different. */
bool change(std::string *image, fuzz::Input *in)
{
    std::string before = *image;
    for (uint32_t changes = in->below(4); changes > 0; changes--)
        (*image)[in->u16() % image->size()] ^= static_cast<char>(in->u8());
    if (in->below(8) == 1)
        image->resize(in->u16() % image->size());
    if (in->below(8) == 1)
        image->append(in->below(16), 'x');
    return *image != before;
}

/* What was taken is what stands there now. */
void check_installed(Stage *stage, const std::string &image, uint64_t slot)
{
    fuzz::require(tr_load_relaxed(&stage->apply->slot_applied) == slot, "a snapshot has its slot");
    fuzz::require(stage->make() == image, "what was restored is what the image says");
}

void fuzz_made(fuzz::Input *in)
{
    Pair &stages = pair();
    Stage &from = stages.from, &to = stages.to;
    uint64_t slot = fill(&from, in);
    std::string image = from.make();
    bool changed = change(&image, in);
    uint32_t crc = tr_crc32c(0, image.data(), static_cast<uint32_t>(image.size()));
    fuzz::require(to.install(image, slot, crc ^ 1) == TR_ECORRUPT, "a wrong CRC is refused");
    int status = to.install(image, slot, crc);
    fuzz::require(changed || status == TR_OK, "what was made can be restored");
    if (status == TR_OK)
        check_installed(&to, image, slot);
}

/* Any bytes, with a head that fits if the input says so. */
void fuzz_any(fuzz::Input *in)
{
    Pair &stages = pair();
    Stage &from = stages.from, &to = stages.to;
    bool fits = in->below(2) == 1;
    fuzz::Exact bytes = in->rest();
    std::string image(reinterpret_cast<const char *>(bytes.data()), bytes.size());
    if (fits && image.size() >= 48) {
        from.stand_at(9);
        image.replace(0, 24, from.make(), 0, 24);
        image.replace(40, 8, 8, '\0');
    }
    uint32_t crc = tr_crc32c(0, image.data(), static_cast<uint32_t>(image.size()));
    if (to.install(image, 9, crc) == TR_OK)
        check_installed(&to, image, 9);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz::Input in(data, bytes);
    if (in.below(4) == 0)
        fuzz_any(&in);
    else
        fuzz_made(&in);
    return 0;
}
