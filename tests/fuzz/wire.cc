/* Messages of any bytes, to replicas in every role. What is opened is held against a naive reading
 * of the envelope; what a replica takes ends nothing, whatever it says. */
#include "consensus/message.h"
#include "tests/fuzz/replica_images.h"

namespace
{

using replica_world::Sent;
using replica_world::World;

/* Bytes of the body of each type, and whether the type is one. */
uint32_t body_bytes(uint8_t type)
{
    static const uint32_t bytes[TR_MESSAGE_TYPES] = {
        0,
        sizeof(tr_accept),
        sizeof(tr_accepted),
        sizeof(tr_heartbeat),
        sizeof(tr_vector),
        sizeof(tr_prevote),
        sizeof(tr_prevoted),
        sizeof(tr_prepare),
        sizeof(tr_promise),
        sizeof(tr_reject),
        sizeof(tr_fetch),
        sizeof(tr_learn),
        sizeof(tr_forward),
        sizeof(tr_forwarded),
        sizeof(tr_read_index),
        sizeof(tr_read_slot),
        sizeof(tr_snapshot_pull),
        sizeof(tr_snapshot_chunk),
        sizeof(tr_recover),
        sizeof(tr_recovered),
        sizeof(tr_found),
    };
    return type < TR_MESSAGE_TYPES ? bytes[type] : 0;
}

/* The envelope read a second time, but for the ranges of ballots and slots. */
bool envelope_fits(const uint8_t *data, uint32_t bytes)
{
    tr_message m;
    if (bytes < sizeof(m))
        return false;
    memcpy(&m, data, sizeof(m));
    uint32_t body = body_bytes(m.type);
    return m.version == TR_MESSAGE_VERSION && m.reserved == 0 && body != 0 &&
           m.body_bytes == body && sizeof(m) + body + uint64_t(m.tail_bytes) == bytes &&
           m.crc == tr_crc32c_by_table(0, data + 4, sizeof(m) - 4 + body);
}

/* The decoder. The planted bug does not look at the length of the tail. */
const tr_message *open(const uint8_t *data, uint32_t bytes)
{
    auto *m = reinterpret_cast<const tr_message *>(data);
    if (fuzz::planted() && bytes >= sizeof(*m) && m->version == TR_MESSAGE_VERSION &&
        body_bytes(m->type) != 0 && m->body_bytes == body_bytes(m->type) && m->reserved == 0 &&
        m->body_bytes <= bytes - sizeof(*m) &&
        m->crc == tr_crc32c(0, data + 4, sizeof(*m) - 4 + m->body_bytes))
        return m;
    return tr_message_open(data, bytes);
}

/* Types whose body begins with a ballot. */
const uint32_t begin_with_ballot =
    1u << TR_MESSAGE_ACCEPT | 1u << TR_MESSAGE_ACCEPTED | 1u << TR_MESSAGE_HEARTBEAT |
    1u << TR_MESSAGE_PREVOTE | 1u << TR_MESSAGE_PREVOTED | 1u << TR_MESSAGE_PREPARE |
    1u << TR_MESSAGE_PROMISE | 1u << TR_MESSAGE_REJECT | 1u << TR_MESSAGE_FORWARD |
    1u << TR_MESSAGE_FORWARDED | 1u << TR_MESSAGE_READ_INDEX | 1u << TR_MESSAGE_READ_SLOT;

/* Ballots and slots of a body that was opened: what is computed from them does not overflow. */
void check_opened(const tr_message *m, const uint8_t *data, uint32_t bytes)
{
    fuzz::require(envelope_fits(data, bytes), "what is opened is a message");
    auto *ballot = static_cast<const tr_ballot *>(tr_message_body(m));
    if ((begin_with_ballot >> m->type & 1) != 0)
        fuzz::require(ballot->round <= TR_ROUND_MAX && ballot->reserved == 0, "a ballot is one");
    if (m->type == TR_MESSAGE_ACCEPT) {
        auto *accept = static_cast<const tr_accept *>(tr_message_body(m));
        fuzz::require(accept->slot_commit <= TR_SLOT_MAX, "a slot is one");
    }
    if (m->type == TR_MESSAGE_PROMISE) {
        auto *promise = static_cast<const tr_promise *>(tr_message_body(m));
        fuzz::require((promise->slot_first | promise->slot_last | promise->slot_end |
                       promise->slot_truncated | promise->slot_commit) <= TR_SLOT_MAX,
                      "a slot is one");
    }
}

/* A leader (0), a follower (1), and one that is a follower, recovering, a candidate, or lives under
 * a lease (2), by the kind. */
std::unique_ptr<fuzz::KeptWorld> world_of(uint32_t kind)
{
    replica_world::Options options = fuzz::small_group();
    options.lease_ns = kind == 3 ? replica_world::ELECTION_NS / 2 : 0;
    auto kept = std::make_unique<fuzz::KeptWorld>(options);
    kept->world.elect(0);
    for (uint64_t number = 1; number <= 8; number++)
        kept->world.propose(0, number);
    kept->world.run(replica_world::HEARTBEAT_NS);
    if (kind == 1) {
        kept->world.boot(2);
        kept->world.timeout(2);
    } else if (kind == 2) {
        kept->world.campaign(2);
    }
    kept->keep();
    return kept;
}

fuzz::KeptWorld &world(uint32_t kind)
{
    static std::unique_ptr<fuzz::KeptWorld> worlds[4];
    if (!worlds[kind])
        worlds[kind] = world_of(kind);
    worlds[kind]->restore();
    /* Who believes a liar holds untrue things: only the assertions of the core itself count. */
    worlds[kind]->world.checks = false;
    return *worlds[kind];
}

/* Takes bytes into a message of the type; the ballots are the receiver's where the input says so.
 */
Sent dressed(World &w, uint8_t from, uint8_t to, fuzz::Input *in)
{
    uint32_t dress = in->u8();
    auto type = static_cast<uint8_t>(1 + in->below(TR_MESSAGE_TYPES - 1));
    uint32_t tail = body_bytes(type) < in->left() ? uint32_t(in->left()) - body_bytes(type) : 0;
    Sent s = fuzz::blank(w, from, to, type, tail);
    fuzz::Exact bytes = in->rest();
    uint32_t room = s.bytes - uint32_t(sizeof(tr_message));
    memcpy(s.body<uint8_t>(), bytes.data(), bytes.size() < room ? bytes.size() : room);
    tr_replica *r = w.at(to);
    if ((dress & 1) != 0)
        memcpy(s.body<tr_ballot>(), &r->promised, sizeof(tr_ballot));
    if ((dress & 2) != 0 && type == TR_MESSAGE_ACCEPTED)
        s.body<tr_accepted>()->vector_hash = r->vector_hash;
    if ((dress & 2) != 0 && type == TR_MESSAGE_RECOVERED)
        s.body<tr_recovered>()->boot = r->config.boot;
    if (type == TR_MESSAGE_SNAPSHOT_CHUNK)
        s.body<tr_snapshot_chunk>()->total_bytes %= 1 << 20; /* the world has no more memory */
    if ((dress & 4) == 0)
        fuzz::reseal(&s);
    tr_message_seal(s.message());
    return s;
}

void hand(World &w, uint8_t to, const uint8_t *data, uint32_t bytes, uint8_t from)
{
    const tr_message *m = open(data, bytes);
    if (m != nullptr)
        check_opened(m, data, bytes);
    tr_event event{};
    event.type = TR_EVENT_MESSAGE;
    event.u.message.data = data;
    event.u.message.bytes = bytes;
    event.u.message.from = from;
    w.step(to, event);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz::Input in(data, bytes);
    uint32_t choice = in.u8();
    World &w = world(choice & 3).world;
    auto to = static_cast<uint8_t>((choice >> 2 & 3) % 3);
    auto from = static_cast<uint8_t>((to + 1 + (choice >> 4 & 1)) % 3);
    if ((choice >> 5 & 1) == 0) {
        fuzz::Exact raw = in.rest();
        hand(w, to, raw.data(), raw.size32(), from);
    } else {
        Sent s = dressed(w, from, to, &in);
        fuzz::Exact exact(s.words.data(), s.bytes);
        hand(w, to, exact.data(), exact.size32(), from);
    }
    w.timeout(to);
    w.run(50000);
    return 0;
}
