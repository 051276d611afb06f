/* Log entries: records, the runs in them, and rings of them. What the decoders say is held against
 * a second reading of the format that is as naive as can be. */
#include "consensus/record.h"
#include "base/bytes.h"
#include "consensus/ring.h"
#include "tests/fuzz/target.h"

namespace
{

/* ---- runs */

uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

/* Bytes of the run at the front, or 0 when there is no whole one. */
uint64_t run_bytes(const uint8_t *at, uint64_t left)
{
    if (left < sizeof(tr_run))
        return 0;
    tr_run run;
    memcpy(&run, at, sizeof(run));
    if (run.reserved8 != 0 || run.kind > TR_RUN_CLOSE || run.count == 0)
        return 0;
    if (run.kind == TR_RUN_COMMANDS && (run.count > TR_BATCH_COMMANDS_MAX || run.session == 0 ||
                                        run.sequence == 0 || run.sequence > TR_SEQUENCE_MAX))
        return 0;
    if (run.kind == TR_RUN_REGISTER && (run.count != 1 || run.bytes_each != TR_NONCE_BYTES))
        return 0;
    if (run.kind == TR_RUN_CLOSE && (run.count != 1 || run.bytes_each != 0 || run.session == 0))
        return 0;
    uint64_t bytes = sizeof(run);
    if (run.bytes_each != TR_RUN_BYTES_VARY) {
        bytes += run.count * padded(run.bytes_each);
        return bytes <= left ? bytes : 0;
    }
    uint64_t lengths = bytes;
    bytes += padded(4 * uint64_t(run.count));
    if (bytes > left)
        return 0;
    for (uint32_t i = 0; i < run.count; i++)
        bytes += padded(tr_load_le32(at + lengths + 4 * i));
    return bytes <= left ? bytes : 0;
}

/* The decoder. The planted bug computes the length of a run in 32 bits. */
bool next(const void *payload, uint32_t bytes, uint32_t *cursor, tr_run_view *out)
{
    uint32_t at = *cursor;
    if (fuzz::planted() && at < bytes && bytes - at >= sizeof(tr_run)) {
        auto *run = reinterpret_cast<const tr_run *>(static_cast<const uint8_t *>(payload) + at);
        uint32_t body = run->count * tr_align_up_u32(run->bytes_each, 8);
        if (run->bytes_each != TR_RUN_BYTES_VARY && run->kind == TR_RUN_COMMANDS &&
            run->session != 0 && run->sequence - 1 < TR_SEQUENCE_MAX && run->reserved8 == 0 &&
            run->count - 1u < TR_BATCH_COMMANDS_MAX && body <= bytes - at - sizeof(tr_run)) {
            *out = {run, nullptr, reinterpret_cast<const uint8_t *>(run + 1)};
            *cursor = at + uint32_t(sizeof(tr_run)) + body;
            return true;
        }
    }
    return tr_run_next(payload, bytes, cursor, out);
}

void check_view(const tr_run_view &view, const uint8_t *end)
{
    const uint8_t *at = view.data;
    for (uint32_t i = 0; i < view.run->count; i++) {
        uint32_t bytes = view.lengths != nullptr ? view.lengths[i] : view.run->bytes_each;
        fuzz::require(at <= end && bytes <= size_t(end - at), "a command lies inside its run");
        at += padded(bytes);
    }
    fuzz::require(at == end, "commands fill their run");
}

void fuzz_runs(fuzz::Input *in)
{
    uint32_t claimed = in->u16();
    fuzz::Exact payload = in->rest();
    uint32_t cursor = 0, count = 0;
    bool whole = true;
    for (uint64_t at = 0; at < payload.size();) {
        uint64_t bytes = run_bytes(payload.data() + at, payload.size() - at);
        tr_run_view view{};
        bool found = next(payload.data(), payload.size32(), &cursor, &view);
        fuzz::require(found == (bytes != 0), "a run is found where there is one");
        if (!found) {
            whole = false;
            break;
        }
        at += bytes;
        fuzz::require(cursor == at, "a run ends where the next begins");
        check_view(view, payload.data() + at);
        count += view.run->count;
    }
    tr_run_view view{};
    fuzz::require(!tr_run_next(payload.data(), payload.size32(), &cursor, &view),
                  "there is no run past the last");
    bool fits = count >= 1 && count <= TR_BATCH_COMMANDS_MAX;
    fuzz::require(tr_runs_valid(payload.data(), payload.size32(), count) == (whole && fits),
                  "a payload is valid when its runs are");
    fuzz::require(tr_runs_valid(payload.data(), payload.size32(), claimed) ==
                      (whole && fits && claimed == count),
                  "a payload has as many commands as its record says");
}

/* ---- records */

bool kind_fits(const tr_record &r)
{
    if (r.kind == TR_RECORD_COMMANDS)
        return r.command_count >= 1 && r.command_count <= TR_BATCH_COMMANDS_MAX;
    return r.kind <= TR_RECORD_CONFIG && r.command_count == 0;
}

/* Whether a header is one, by the table-driven CRC. */
bool header_fits(const uint8_t *at)
{
    tr_record r;
    memcpy(&r, at, sizeof(r));
    auto seed = static_cast<uint32_t>(r.tag ^ r.tag >> 32);
    return r.crc == tr_crc32c_by_table(seed, at, 60) && kind_fits(r) && r.reserved8 == 0 &&
           r.ballot.reserved == 0 && r.payload_bytes <= TR_ENTRY_BYTES_MAX;
}

bool record_fits(const uint8_t *at, uint64_t bytes)
{
    if (bytes < sizeof(tr_record) || !header_fits(at))
        return false;
    tr_record r;
    memcpy(&r, at, sizeof(r));
    return r.kind != TR_RECORD_PAD && r.payload_bytes <= bytes - sizeof(r) &&
           r.payload_crc == tr_crc32c_by_table(0, at + sizeof(r), r.payload_bytes);
}

/* Puts the CRCs right, so that what lies behind them is reached. */
void reseal(uint8_t *at, uint64_t bytes)
{
    auto *r = reinterpret_cast<tr_record *>(at);
    if (r->payload_bytes <= bytes - sizeof(*r))
        r->payload_crc = tr_crc32c(0, at + sizeof(*r), r->payload_bytes);
    tr_record_seal(r);
}

void fuzz_record(fuzz::Input *in)
{
    bool sealed = in->below(2) == 1;
    fuzz::Exact bytes = in->rest();
    if (sealed && bytes.size() >= sizeof(tr_record))
        reseal(bytes.data(), bytes.size());
    auto *record = reinterpret_cast<const tr_record *>(bytes.data());
    bool fits = record_fits(bytes.data(), bytes.size());
    fuzz::require(tr_record_valid(record, bytes.size()) == fits, "a record is judged alike");
    if (bytes.size() >= sizeof(tr_record))
        fuzz::require(tr_record_header_valid(record) == header_fits(bytes.data()),
                      "a header is judged alike");
    if (fits)
        fuzz::require(tr_record_is_whole(record), "what is valid is whole");
}

/* ---- rings */

const uint32_t ring_bytes = 1024;

/* Looks at what lies at a position as a drain does: a header's copy, then the whole. */
tr_ring_found look(const tr_grant &grant, const uint8_t *ring, uint64_t position, uint32_t most,
                   uint32_t *record_bytes)
{
    uint64_t offset = position % ring_bytes;
    fuzz::Exact head(ring + offset, sizeof(tr_record));
    auto *copy = reinterpret_cast<const tr_record *>(head.data());
    tr_ring_found found = tr_ring_next(&grant, position, most, copy, head.size32(), record_bytes);
    if (found != TR_RING_MORE)
        return found;
    fuzz::require(*record_bytes <= ring_bytes - offset, "a record ends where its ring ends");
    fuzz::Exact whole(ring + offset, *record_bytes);
    copy = reinterpret_cast<const tr_record *>(whole.data());
    found = tr_ring_next(&grant, position, most, copy, whole.size32(), record_bytes);
    fuzz::require(found != TR_RING_MORE, "what is copied whole is judged");
    if (found == TR_RING_RECORD)
        fuzz::require(copy->payload_bytes <= most && record_fits(whole.data(), whole.size()),
                      "what comes out of a ring is a record");
    return found;
}

tr_grant grant_of(fuzz::Input *in)
{
    tr_grant grant{};
    grant.generation = in->below(3);
    grant.tag = in->u16();
    grant.ring_bytes = ring_bytes;
    return grant;
}

/* A ring full of anything: the scan ends, and stays inside. */
void fuzz_ring(fuzz::Input *in)
{
    tr_grant grant = grant_of(in);
    bool sealed = in->below(2) == 1;
    uint32_t most = in->u16();
    uint64_t position = uint64_t(in->u16()) * TR_RECORD_ALIGN;
    fuzz::Exact given = in->rest();
    fuzz::Exact ring(ring_bytes);
    memcpy(ring.data(), given.data(), tr_min_u64(given.size(), ring_bytes));
    for (uint32_t at = 0; sealed && at < ring_bytes; at += TR_RECORD_ALIGN)
        reseal(ring.data() + at, ring_bytes - at);
    for (uint32_t steps = 0; steps <= ring_bytes / TR_RECORD_ALIGN; steps++) {
        uint32_t bytes = 0;
        if (look(grant, ring.data(), position, most, &bytes) == TR_RING_NONE)
            return;
        fuzz::require(bytes >= sizeof(tr_record) && bytes % TR_RECORD_ALIGN == 0,
                      "a scan moves on by whole lines");
        position += bytes;
    }
}

/* A writer appends, tearing some; the reader must see what is whole, in order, and stop at the
 * first that is not. */
void fuzz_written_ring(fuzz::Input *in)
{
    tr_grant grant = grant_of(in);
    grant.generation++;
    fuzz::Exact ring(ring_bytes);
    uint64_t written = 0, read = 0, slot = 0, slot_read = 0;
    while (!in->ended()) {
        uint32_t payload_bytes = in->u8();
        uint32_t torn = in->below(4);
        uint32_t record_bytes = tr_record_bytes(payload_bytes), found_bytes = 0;
        uint32_t pad = tr_ring_place(ring_bytes, &written, record_bytes);
        if (pad != 0) {
            auto *at = ring.data() + (written - pad) % ring_bytes;
            tr_ring_pad(&grant, written - pad, pad, reinterpret_cast<tr_record *>(at));
            fuzz::require(look(grant, ring.data(), read, 255, &found_bytes) == TR_RING_PADDING,
                          "a pad is passed over");
            read += found_bytes;
        }
        uint8_t *at = ring.data() + written % ring_bytes;
        auto *record = reinterpret_cast<tr_record *>(at);
        memset(at, 0, sizeof(*record));
        record->generation = grant.generation;
        record->tag = grant.tag;
        record->slot = ++slot;
        record->position = static_cast<uint32_t>(written / TR_RECORD_ALIGN);
        record->payload_bytes = payload_bytes;
        record->kind = TR_RECORD_NOOP;
        memset(at + sizeof(*record), static_cast<int>(slot), payload_bytes);
        reseal(at, record_bytes);
        if (torn == 1)
            at[in->u8() % (sizeof(tr_record) + payload_bytes)] ^= 0x40;
        tr_ring_found found = look(grant, ring.data(), read, 255, &found_bytes);
        fuzz::require(found == (torn == 1 ? TR_RING_NONE : TR_RING_RECORD),
                      "a record is found when it is whole");
        if (torn == 1)
            return;
        fuzz::require(record->slot == ++slot_read, "records come in order");
        written += record_bytes;
        read += found_bytes;
        fuzz::require(read == written, "the reader stands where the writer does");
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz::Input in(data, bytes);
    switch (in.below(4)) {
    case 0:
        fuzz_runs(&in);
        break;
    case 1:
        fuzz_record(&in);
        break;
    case 2:
        fuzz_ring(&in);
        break;
    default:
        fuzz_written_ring(&in);
        break;
    }
    return 0;
}
