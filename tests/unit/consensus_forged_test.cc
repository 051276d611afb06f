/* Messages that really flow, some with a word forged on their way and sealed again: whoever
 * believes them holds untrue things, but no process ends. */
#include "base/prng.h"
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

/* A word of a message with another value, and every checksum put right. */
class Forger
{
  public:
    explicit Forger(uint64_t seed)
    {
        tr_prng_seed(&random_, seed);
    }
    uint64_t below(uint64_t bound)
    {
        return tr_prng_below(&random_, bound);
    }
    void forge(Sent &sent)
    {
        uint64_t after = sizeof(tr_message) / 8;
        if (below(8) == 0) {
            forge_header(sent);
        } else if (sent.words.size() > after) {
            uint64_t at = after + below(std::min<uint64_t>(sent.words.size() - after, 64));
            sent.words[at] = other(sent.words[at]);
            seal_records(sent, below(4) == 0);
        }
        tr_message_seal(sent.message());
    }

  private:
    uint64_t other(uint64_t value)
    {
        static const uint64_t hurtful[] = {0, 1, UINT64_MAX, TR_SLOT_MAX, UINT32_MAX, 1 << 16};
        switch (below(4)) {
        case 0:
            return hurtful[below(sizeof(hurtful) / 8)];
        case 1:
            return value + 1 + below(3);
        case 2:
            return value - 1 - below(3);
        default:
            return value ^ UINT64_C(1) << below(64);
        }
    }
    void forge_header(Sent &sent)
    {
        tr_message *m = sent.message();
        if (below(2) == 0)
            m->incarnation += static_cast<uint32_t>(below(3)) - 1;
        else
            m->cluster = other(m->cluster);
    }
    /* Each record of the tail, as far as they can be told; `payload`: what it carries as well. */
    static void seal_records(Sent &sent, bool payload)
    {
        tr_message *m = sent.message();
        uint64_t at = sizeof(*m) + m->body_bytes;
        bool has_records = m->type == TR_MESSAGE_ACCEPT || m->type == TR_MESSAGE_PROMISE ||
                           m->type == TR_MESSAGE_LEARN || m->type == TR_MESSAGE_RECOVERED;
        while (has_records && at + sizeof(tr_record) <= sent.bytes) {
            tr_record *record =
                reinterpret_cast<tr_record *>(reinterpret_cast<uint8_t *>(sent.words.data()) + at);
            if (record->payload_bytes > sent.bytes - at - sizeof(*record))
                return; /* forged: its length may have come around to a small one */
            uint64_t bytes = tr_record_bytes(record->payload_bytes);
            if (bytes > sent.bytes - at)
                return;
            if (payload)
                record->payload_crc = tr_crc32c(0, record + 1, record->payload_bytes);
            tr_record_seal(record);
            at += bytes;
        }
    }

    tr_prng random_;
};

/* What goes on in the meantime: work, elections, crashes, dead processes that were believed alive.
 */
class Turmoil
{
  public:
    Turmoil(const Options &options, uint64_t seed) : w(options), forger(seed) {}

    void run(int steps)
    {
        w.elect();
        w.checks = false;
        for (int i = 0; i < steps; i++) {
            act(i);
            w.run(20000 + forger.below(80000), [this](Sent &sent) { return pass(sent); });
        }
    }

    World w;
    uint64_t forged = 0;

  private:
    bool pass(Sent &sent)
    {
        if (forger.below(6) == 0 && w.node(sent.to).up) {
            Sent lie = sent;
            forger.forge(lie);
            w.hand(lie);
            forged++;
        }
        return true;
    }
    uint8_t any()
    {
        return static_cast<uint8_t>(forger.below(w.count()));
    }
    void act(int i)
    {
        uint8_t node = any();
        if (!w.node(node).up) {
            w.boot(node);
            return;
        }
        switch (forger.below(12)) {
        case 0:
            w.crash(node);
            break;
        case 1:
            w.campaign(node);
            break;
        case 2:
            w.hint_dead(node, any());
            break;
        case 3:
            w.cut[any()][any()] ^= true;
            break;
        case 4:
        case 5:
            w.read(node, static_cast<uint64_t>(i) + 1);
            break;
        default:
            for (uint64_t n = forger.below(8); n > 0; n--)
                w.propose(node, static_cast<uint64_t>(i) * 8 + n,
                          static_cast<uint32_t>(8 + 8 * forger.below(100)));
        }
    }

    Forger forger;
};

class Forged : public ::testing::TestWithParam<tr_level>
{
};

TEST_P(Forged, WordsOfMessagesUnderWay_EndNoProcess)
{
    uint64_t malformed = 0, stale = 0, steps = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        Options options;
        options.level = GetParam();
        options.voters = seed % 3 == 0 ? 5 : 3;
        options.one_sided = options.level != TR_LEVEL_DISK && seed % 2 == 0;
        options.lease_ns = seed % 4 == 0 ? ELECTION_NS / 2 : 0;
        options.log_slots = 64;
        options.log_bytes = 1 << 16;
        options.entry_bytes_max = 1024;
        SCOPED_TRACE(seed);
        Turmoil turmoil(options, seed);
        turmoil.w.writes_by_hand = false;
        turmoil.run(150);
        for (uint8_t i = 0; i < turmoil.w.count(); i++) {
            malformed += turmoil.w.at(i)->count.dropped_malformed;
            stale += turmoil.w.at(i)->count.dropped_stale;
        }
        steps += turmoil.forged;
    }
    EXPECT_GT(steps, 1000u);
    EXPECT_GT(malformed, 100u) << "lies that cannot be true are noticed";
    EXPECT_GT(stale, 100u);
}

std::string name_of(const ::testing::TestParamInfo<tr_level> &level)
{
    static const char *const names[] = {"memory", "async", "disk"};
    return names[level.param];
}

INSTANTIATE_TEST_SUITE_P(Levels, Forged,
                         ::testing::Values(TR_LEVEL_MEMORY, TR_LEVEL_ASYNC, TR_LEVEL_DISK),
                         name_of);

} // namespace
