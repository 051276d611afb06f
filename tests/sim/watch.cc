/* What is checked of a replica before and after each of its steps. */
#include "tests/sim/watch.h"

#include "consensus/invariants.h"
#include "tests/sim/cluster.h"
#include "tests/sim/report.h"

#include <algorithm>
#include <cstring>

extern "C" {
/* What the linker makes of tr_replica_step (--wrap). */
void __real_tr_replica_step(struct tr_replica *r, const struct tr_event *event,
                            struct tr_effects *out);
void __wrap_tr_replica_step(struct tr_replica *r, const struct tr_event *event,
                            struct tr_effects *out);
}

namespace sim
{

namespace
{

Cluster *watched;

/* A value, as one number. */
uint64_t key_of(const tr_record &record)
{
    return static_cast<uint64_t>(record.payload_crc) << 32 |
           ((record.payload_bytes * UINT32_C(64) + record.command_count * UINT32_C(4)) ^
            record.kind);
}

unsigned long long wide(uint64_t number)
{
    return number;
}

/* ---- slots that an event speaks of, before it is handed over */

struct Touched {
    uint64_t slot;
    tr_ballot told, before; /* before: none when the slot was empty */
};

struct Before {
    std::vector<Touched> touched;
    std::vector<uint64_t> slots; /* to look at afterwards */
    tr_ballot promised;
    tr_ballot ack_ballot;
    tr_replica_role role;
    tr_ballot known_ballot;
    uint64_t known_slot;
    uint64_t slot_commit, slot_last, slot_restamp;
    bool is_accept = false;
    bool is_stale_heartbeat = false; /* of a leader that has not heard a Q2 for too long */
    uint8_t leader;
    uint64_t election_ns, lease_reads;
    bool is_accepted = false;   /* an acknowledgement, of another vector */
    uint64_t vector_hash = 0;   /* which it told */
    bool is_stale_ack = false;  /* of another ballot */
    bool is_void_write = false; /* refused, broken, or of another grant */
    uint8_t from = 0;
    uint64_t acked = 0; /* by its sender, before */
    uint32_t incarnation[TR_MEMBERS_MAX];
};

void touch(const tr_replica &r, const tr_record &record, Before &before)
{
    const tr_slot *s = tr_log_at(&r.log, record.slot);
    tr_ballot none{};
    before.touched.push_back({record.slot, record.ballot, s != nullptr ? s->ballot : none});
}

void touch_records(const tr_replica &r, const tr_message &m, Before &before)
{
    const uint8_t *at = tr_message_tail(&m);
    uint32_t left = m.tail_bytes;
    while (left >= sizeof(tr_record)) {
        const tr_record *record = reinterpret_cast<const tr_record *>(at);
        if (record->payload_bytes > TR_ENTRY_BYTES_MAX ||
            tr_record_bytes(record->payload_bytes) > left)
            return;
        touch(r, *record, before);
        at += tr_record_bytes(record->payload_bytes);
        left -= tr_record_bytes(record->payload_bytes);
    }
}

void look_before(const tr_replica &r, const tr_event &event, Before &before)
{
    before.promised = r.promised;
    before.ack_ballot = r.ack_ballot;
    before.known_ballot = r.known_ballot;
    before.known_slot = r.known_slot;
    before.role = r.role;
    before.slot_commit = r.slot_commit;
    before.slot_last = r.log.slot_last;
    before.slot_restamp = r.slot_restamp;
    before.leader = r.leader;
    before.election_ns = r.timer[TR_TIMER_ELECTION];
    before.lease_reads = r.count.lease_reads;
    memcpy(before.incarnation, r.vector.incarnation, sizeof(before.incarnation));
    if (event.type == TR_EVENT_ENTRIES_SEEN) {
        for (uint32_t i = 0; i < event.u.entries_seen.count; i++)
            touch(r, *event.u.entries_seen.record[i], before);
    }
    if (event.type == TR_EVENT_WRITTEN) {
        const tr_core_peer &p = r.peer[event.u.written.peer];
        before.is_void_write = event.u.written.status != TR_WRITTEN_OK ||
                               event.u.written.generation != p.grant.generation;
        before.from = event.u.written.peer;
        before.acked = p.slot_acked;
    }
    if (event.type != TR_EVENT_MESSAGE)
        return;
    const tr_message *m = tr_message_open(event.u.message.data, event.u.message.bytes);
    if (m != nullptr && m->type == TR_MESSAGE_HEARTBEAT) {
        const tr_heartbeat *h = static_cast<const tr_heartbeat *>(tr_message_body(m));
        before.is_stale_heartbeat = h->contact_age_ns >= r.config.election_timeout_ns;
    }
    if (m != nullptr && m->type == TR_MESSAGE_ACCEPTED) {
        const tr_accepted *a = static_cast<const tr_accepted *>(tr_message_body(m));
        before.is_accepted = true;
        before.vector_hash = a->vector_hash;
        before.is_stale_ack = !tr_ballot_equal(a->ballot, r.ballot);
        before.from = event.u.message.from;
        before.acked = r.peer[before.from].slot_acked;
    }
    if (m == nullptr || (m->type != TR_MESSAGE_ACCEPT && m->type != TR_MESSAGE_PROMISE))
        return;
    before.is_accept = m->type == TR_MESSAGE_ACCEPT;
    touch_records(r, *m, before);
}

/* ---- acceptors */

/* Nothing below the promise is accepted from a message, and no ballot of a slot falls. */
void check_touched(Cluster &c, const Seat &seat, const tr_replica &r, const Before &before)
{
    for (const Touched &t : before.touched) {
        const tr_slot *s = tr_log_at(&r.log, t.slot);
        if (s == nullptr || s->state == TR_SLOT_CHOSEN || t.slot <= r.slot_commit)
            continue;
        if (tr_ballot_less(s->ballot, t.before))
            c.verdict.fail("ballot falls", "node %u slot %llu: from round %llu to %llu",
                           seat.member->id, wide(t.slot), wide(t.before.round),
                           wide(s->ballot.round));
        bool is_new = tr_ballot_equal(s->ballot, t.told) && !tr_ballot_equal(t.before, t.told);
        if (before.is_accept && is_new && tr_ballot_less(t.told, before.promised))
            c.verdict.fail("below promise", "node %u slot %llu: accepted round %llu, promised %llu",
                           seat.member->id, wide(t.slot), wide(t.told.round),
                           wide(before.promised.round));
    }
}

/* A leader that hears nobody puts no election off (rule 18). */
void check_stale_heartbeat(Cluster &c, const Seat &seat, const tr_replica &r, const Before &before)
{
    bool same = r.leader == before.leader && tr_ballot_equal(r.promised, before.promised);
    if (before.is_stale_heartbeat && same && r.timer[TR_TIMER_ELECTION] > before.election_ns)
        c.verdict.fail("stale heartbeat",
                       "node %u puts its election off for a leader that hears "
                       "nobody",
                       seat.member->id);
}

/* Acknowledgements of others who know other incarnations, and of incarnations that are over, do not
 * count (rule 2). */
void check_vector(Cluster &c, const Seat &seat, const tr_replica &r, const Before &before)
{
    if (r.role != TR_REPLICA_LEADER)
        return;
    const tr_core_peer &from = r.peer[before.from];
    /* That of the sender itself is in the envelope: what it told is known by now. */
    bool is_foreign = before.vector_hash != r.vector_hash;
    if (before.is_accepted && is_foreign && from.slot_acked > before.acked &&
        from.slot_acked > r.slot_commit)
        c.verdict.fail("foreign vector", "node %u counts slot %llu of node %u", seat.member->id,
                       wide(from.slot_acked), before.from + 1u);
    for (uint8_t i = 0; i < r.member_count && !before.is_accepted; i++) {
        bool is_new = r.vector.incarnation[i] > before.incarnation[i];
        if (is_new && (r.peer[i].slot_acked > r.slot_commit || r.peer[i].stamp_acked != 0))
            c.verdict.fail("old incarnation", "node %u counts slot %llu of a dead node %u",
                           seat.member->id, wide(r.peer[i].slot_acked), i + 1u);
    }
}

/* A write that was refused, or made under another grant, and an acknowledgement of another ballot
 * count for nothing (rules 4, 9, 11). */
void check_counted(Cluster &c, const Seat &seat, const tr_replica &r, const Before &before)
{
    uint64_t acked = r.peer[before.from].slot_acked;
    if (r.role != TR_REPLICA_LEADER || acked <= before.acked)
        return;
    if (before.is_void_write)
        c.verdict.fail("void write", "node %u counts slot %llu of node %u by a write that is void",
                       seat.member->id, wide(acked), before.from + 1u);
    if (before.is_accepted && before.is_stale_ack)
        c.verdict.fail("stale ack",
                       "node %u counts slot %llu of node %u, accepted at another ballot",
                       seat.member->id, wide(acked), before.from + 1u);
}

/* Nothing is sent on to who is dead, or has long been silent: it would be counted (rule 1). */
void check_silent(Cluster &c, const Seat &seat, const tr_replica &r, const tr_effect &e)
{
    for (uint8_t i = 0; i < r.member_count; i++) {
        uint64_t age_ns = r.now_ns - r.peer[i].heard_ns;
        if ((e.peers >> i & 1) != 0 && age_ns > 2 * r.config.election_timeout_ns)
            c.verdict.fail("silent peer", "node %u replicates to node %u, unheard for %llu us",
                           seat.member->id, i + 1u, wide(age_ns / 1000));
    }
}

/* What is drained carries the tag of the grant: it is no payload that a client chose (rule 8). */
void check_drained(Cluster &c, const Seat &seat, const tr_event &event)
{
    const tr_grant &grant = seat.replica()->grant;
    bool known = event.u.entries_seen.generation == grant.generation;
    for (uint32_t i = 0; known && i < event.u.entries_seen.count; i++) {
        const tr_record &record = *event.u.entries_seen.record[i];
        if (record.tag != grant.tag)
            c.verdict.fail("forged", "node %u drains slot %llu of round %llu, which nobody wrote",
                           seat.member->id, wide(record.slot), wide(record.ballot.round));
    }
}

/* Members whose promise to withhold promises from everybody but a leader holds now. */
uint32_t lease_holders(const Cluster &c, const Seat &seat)
{
    uint32_t count = 0;
    for (const auto &m : c.members) {
        const Watch &w = m->seats[seat.number]->watch;
        bool holds =
            m->up() && w.lease_owner == seat.member->id && m->clock_at(c.now_ns) < w.lease_until_ns;
        count += m.get() == seat.member || !m->up() || !w.votes || holds;
    }
    return count;
}

/* Rule 16: who granted a lease promises nobody else, and a leader reads on no other. */
void check_lease(Cluster &c, Seat &seat, const tr_replica &r, const Before &before)
{
    Watch &w = seat.watch;
    bool rises = tr_ballot_less(before.promised, r.promised);
    if (rises && w.votes && r.promised.node != w.lease_owner && r.now_ns < w.lease_until_ns)
        c.verdict.fail("lease broken", "node %u promises node %u, and owes node %u another %llu us",
                       seat.member->id, r.promised.node, w.lease_owner,
                       wide((w.lease_until_ns - r.now_ns) / 1000));
    if (r.count.lease_reads > before.lease_reads && c.setup.profile->lease == Lease::Within &&
        lease_holders(c, seat) < r.config.quorum_p2)
        c.verdict.fail("lease over", "node %u reads on a lease of %u of %u", seat.member->id,
                       lease_holders(c, seat), r.config.quorum_p2);
}

/* A generation is one ballot's, and none comes again (rule 4). */
void check_grant(Cluster &c, Seat &seat, const tr_promise &p)
{
    Watch &w = seat.watch;
    bool again = p.grant.generation == w.generation && !tr_ballot_equal(p.ballot, w.granted);
    if (p.grant.generation == 0)
        return;
    if (again || p.grant.generation < w.generation)
        c.verdict.fail("grant repeated", "node %u grants generation %llx to round %llu, after %llx",
                       seat.member->id, wide(p.grant.generation), wide(p.ballot.round),
                       wide(w.generation));
    w.generation = p.grant.generation;
    w.granted = p.ballot;
}

/* Who leads needs no promise any more: that it is told again takes nothing from a lease. */
void check_lent(Cluster &c, const Seat &seat, const tr_replica &r, const tr_promise &p)
{
    const Watch &w = seat.watch;
    bool leads = tr_ballot_equal(p.ballot, r.ack_ballot);
    if (!leads && p.ballot.node != w.lease_owner && r.now_ns < w.lease_until_ns)
        c.verdict.fail("lease broken", "node %u promises node %u, and owes node %u another %llu us",
                       seat.member->id, p.ballot.node, w.lease_owner,
                       wide((w.lease_until_ns - r.now_ns) / 1000));
}

/* What is sent while it must wait for a fence, or for the disk. */
void check_send(Cluster &c, Seat &seat, const tr_message &m, bool is_durable)
{
    const Watch &w = seat.watch;
    unsigned id = seat.member->id;
    bool fencing = !tr_ballot_none(w.fence);
    if (m.type == TR_MESSAGE_PROMISE) {
        const tr_promise *p = static_cast<const tr_promise *>(tr_message_body(&m));
        if (fencing && tr_ballot_equal(p->ballot, w.fence))
            c.verdict.fail("promise before fence", "node %u round %llu", id, wide(p->ballot.round));
        check_grant(c, seat, *p);
        check_lent(c, seat, *seat.replica(), *p);
        if (!is_durable)
            c.verdict.fail("promise before disk", "node %u round %llu", id, wide(p->ballot.round));
    }
    if (m.type == TR_MESSAGE_RECOVERED) {
        const tr_recovered *a = static_cast<const tr_recovered *>(tr_message_body(&m));
        if (fencing && a->phase == TR_RECOVER_JOIN && a->state == TR_RECOVERED_NORMAL)
            c.verdict.fail("join before fence", "node %u lets a peer recover", id);
    }
    if (m.type == TR_MESSAGE_ACCEPTED && !is_durable)
        c.verdict.fail("ack before disk", "node %u", id);
    if (m.type == TR_MESSAGE_READ_SLOT) {
        const tr_replica &r = *seat.replica();
        const tr_read_slot *a = static_cast<const tr_read_slot *>(tr_message_body(&m));
        if (tr_ballot_equal(a->ballot, r.ballot) && a->slot < r.slot_opened)
            c.verdict.fail("read before opened", "node %u tells slot %llu, and opens at %llu", id,
                           wide(a->slot), wide(r.slot_opened));
    }
}

/* A lease that an acknowledgement grants, from now on by the own clock. */
void note_lease(Watch &w, const tr_replica &r, const tr_message &m)
{
    const tr_accepted *a = static_cast<const tr_accepted *>(tr_message_body(&m));
    if (m.type != TR_MESSAGE_ACCEPTED || (a->flags & TR_ACCEPTED_LEASE) == 0)
        return;
    w.lease_owner = a->ballot.node;
    w.lease_until_ns =
        std::max(w.lease_until_ns, r.now_ns + r.config.lease_ns +
                                       r.config.lease_ns * r.config.clock_drift_ppm / 1000000);
}

void look_at_effects(Cluster &c, Seat &seat, const tr_event &event, const tr_effects &out)
{
    Watch &w = seat.watch;
    uint64_t barrier = w.persist_barrier;
    if (event.type == TR_EVENT_FENCED && tr_ballot_equal(event.u.fenced.ballot, w.fence))
        w.fence = tr_ballot{};
    if (event.type == TR_EVENT_DURABLE)
        w.persist_done = event.u.durable.persisted;
    for (uint32_t i = 0; i < out.count; i++) {
        const tr_effect &e = out.item[i];
        if (e.type == TR_EFFECT_REPLICATE)
            check_silent(c, seat, *seat.replica(), e);
        if (e.type == TR_EFFECT_FENCE)
            w.fence = e.u.fence.ballot;
        /* What is chosen is on the disks of a quorum already. */
        if (e.type == TR_EFFECT_PERSIST && (e.u.persist.what == TR_PERSIST_PROMISE ||
                                            e.u.persist.slot_last > seat.replica()->slot_commit))
            w.persist_asked = e.u.persist.sequence;
        if (e.type == TR_EFFECT_BARRIER)
            barrier = w.persist_asked;
        if (e.type != TR_EFFECT_SEND)
            continue;
        const tr_message &m = *static_cast<const tr_message *>(e.u.send.piece[0].data);
        check_send(c, seat, m, std::max(barrier, w.persist_done) >= w.persist_asked);
        note_lease(w, *seat.replica(), m);
    }
    w.persist_barrier = barrier;
    c.totals.effects_most = std::max<uint64_t>(c.totals.effects_most, out.count);
}

/* ---- chosen values */

bool holds(const tr_replica &r, uint64_t slot, uint64_t key)
{
    const tr_slot *s = tr_log_at(&r.log, slot);
    return slot <= r.slot_commit || (s != nullptr && key_of(*tr_log_record(&r.log, s)) == key);
}

bool ghost_holds(const Ghost &g, uint64_t slot, uint64_t key)
{
    auto entry = g.entries.find(slot);
    return slot <= g.slot_commit || (entry != g.entries.end() && entry->second == key);
}

/* Replicas that hold a value: as voters, or in the life that voted last. */
uint32_t holders(const Cluster &c, uint32_t group, uint64_t slot, uint64_t key)
{
    uint32_t count = 0;
    for (const auto &m : c.members) {
        const Seat &seat = *m->seats[group];
        if (m->up() && seat.watch.votes)
            count += holds(*seat.replica(), slot, key);
        else
            count += seat.ghost.is_there && ghost_holds(seat.ghost, slot, key);
    }
    return count;
}

/* A chosen value is held by a Q2. What lies in inbound rings only is not seen from here. */
void check_held(Cluster &c, const Seat &seat, const tr_replica &r, uint64_t slot)
{
    const Chosen::Value &v = c.families[seat.number].chosen.slot[slot];
    if (c.one_sided || !v.is_known)
        return;
    uint32_t count = holders(c, seat.number, slot, v.key);
    if (count < r.config.quorum_p2)
        c.verdict.fail("durability", "node %u slot %llu: chosen, and held by %u of %u",
                       seat.member->id, wide(slot), count, r.config.quorum_p2);
}

/* One value a slot. */
void check_chosen(Cluster &c, const Seat &seat, const tr_replica &r, uint64_t slot)
{
    Chosen &chosen = c.families[seat.number].chosen;
    const tr_slot *s = tr_log_at(&r.log, slot);
    if (chosen.last() < slot)
        chosen.slot.resize(slot + 1);
    if (s == nullptr) {
        if (slot > r.slot_snapshot)
            c.verdict.fail("lost", "node %u slot %llu: committed, and absent", seat.member->id,
                           wide(slot));
        return;
    }
    Chosen::Value &v = chosen.slot[slot];
    uint64_t key = key_of(*tr_log_record(&r.log, s));
    if (!v.is_known)
        v = {true, key, s->ballot};
    if (v.key != key)
        c.verdict.fail("one value", "node %u slot %llu: chosen are %llx and %llx", seat.member->id,
                       wide(slot), wide(v.key), wide(key));
    if (tr_ballot_less(s->ballot, v.ballot))
        v.ballot = s->ballot;
}

void look_at_commit(Cluster &c, Seat &seat, const tr_replica &r)
{
    Watch &w = seat.watch;
    Chosen &chosen = c.families[seat.number].chosen;
    if (r.slot_commit < w.slot_commit)
        c.verdict.fail("commit falls", "node %u: from %llu to %llu", seat.member->id,
                       wide(w.slot_commit), wide(r.slot_commit));
    if (r.slot_commit > w.slot_commit && r.role != TR_REPLICA_RECOVERING) {
        if (chosen.cluster == 0)
            chosen.cluster = r.cluster;
        if (chosen.cluster != r.cluster)
            c.verdict.fail("founded twice", "node %u commits in %llx, others did in %llx",
                           seat.member->id, wide(r.cluster), wide(chosen.cluster));
    }
    uint64_t first = std::max(w.slot_commit, r.slot_snapshot) + 1;
    w.slot_commit = r.slot_commit;
    for (uint64_t slot = first; slot <= r.slot_commit && !c.verdict.failed; slot++) {
        check_chosen(c, seat, r, slot);
        if (r.role == TR_REPLICA_LEADER && !c.verdict.failed)
            check_held(c, seat, r, slot);
    }
}

/* What a watermark proved is kept when another takes its place: it is chosen indeed. */
void look_at_proven(Cluster &c, const Seat &seat, const tr_replica &r, const Before &before)
{
    if (tr_ballot_equal(r.known_ballot, before.known_ballot))
        return;
    uint64_t last = std::min(before.known_slot, r.log.slot_last);
    for (uint64_t slot = r.slot_commit + 1; slot <= last && !c.verdict.failed; slot++) {
        const tr_slot *s = tr_log_at(&r.log, slot);
        if (s != nullptr && s->state == TR_SLOT_CHOSEN)
            check_chosen(c, seat, r, slot);
    }
}

/* ---- changes of role */

/* A leader holds everything that was chosen below its ballot. */
void check_leader(Cluster &c, const Seat &seat, const tr_replica &r)
{
    const Chosen &chosen = c.families[seat.number].chosen;
    for (uint64_t slot = r.slot_commit + 1; slot <= chosen.last(); slot++) {
        const Chosen::Value &v = chosen.slot[slot];
        if (v.is_known && tr_ballot_less(v.ballot, r.ballot) && !holds(r, slot, v.key))
            c.verdict.fail("leader completeness",
                           "node %u leads round %llu without slot %llu, chosen in round %llu",
                           seat.member->id, wide(r.ballot.round), wide(slot), wide(v.ballot.round));
    }
}

/* The promise that a recovery brings back: of R others asked since its birth, one at least had
 * promised the R-th lowest of what the others had promised then. */
void check_recovered_promise(Cluster &c, const Seat &seat, const tr_replica &r)
{
    std::vector<tr_ballot> told;
    size_t quorum = tr_recovery_quorum(&r.config);
    for (size_t i = 0; i < c.members.size(); i++) {
        const Member &m = *c.members[i];
        bool same = m.up() && m.lives == seat.watch.lives_at_birth[i];
        if (m.id != seat.member->id)
            told.push_back(same ? seat.watch.promises_at_birth[i] : tr_ballot{});
    }
    std::sort(told.begin(), told.end(), tr_ballot_less);
    if (quorum - 1 < told.size() && tr_ballot_less(r.promised, told[quorum - 1]))
        c.verdict.fail("promise forgotten", "node %u is back with round %llu, %llu were promised",
                       seat.member->id, wide(r.promised.round), wide(told[quorum - 1].round));
}

void begin_voting(Cluster &c, Seat &seat, const tr_replica &r)
{
    const Chosen &chosen = c.families[seat.number].chosen;
    bool was_there = seat.ghost.is_there;
    seat.watch.votes = true;
    seat.ghost = Ghost();
    if (!was_there)
        return;
    check_recovered_promise(c, seat, r);
    uint64_t lowest = r.slot_commit;
    for (const auto &m : c.members) {
        if (m->up() && m->seats[seat.number]->watch.votes)
            lowest = std::min(lowest, m->seats[seat.number]->replica()->slot_commit);
    }
    for (uint64_t slot = lowest + 1; slot <= chosen.last() && !c.verdict.failed; slot++)
        check_held(c, seat, r, slot);
}

void look_at_role(Cluster &c, Seat &seat, const tr_replica &r)
{
    Watch &w = seat.watch;
    if (r.role == w.role)
        return;
    if (w.role == TR_REPLICA_RECOVERING && r.role != TR_REPLICA_STOPPED)
        begin_voting(c, seat, r);
    w.role = r.role;
    c.totals.elections += r.role == TR_REPLICA_LEADER;
    if (r.role == TR_REPLICA_LEADER)
        check_leader(c, seat, r);
    if (r.role == TR_REPLICA_STOPPED)
        w.votes = false;
}

/* ---- the invariants module */

constexpr uint32_t WINDOW_EVERY =
    16; /* steps of a replica between two looks at a window of slots */
constexpr uint32_t WHOLE_EVERY = 8192; /* and at its whole log */

void add_slots(std::vector<uint64_t> &slots, uint64_t first, uint64_t last)
{
    for (uint64_t slot = first; slot <= last; slot++)
        slots.push_back(slot);
}

/* Every step: all fields, and the slots that it can have touched. What changes what is expected of
 * all slots, a role, a promise, an acknowledgement of another ballot, has a window of them looked
 * at; so has every sixteenth step. */
void check_invariants(Watch &w, const tr_replica &r, Before &before)
{
    bool is_new = r.role != before.role || !tr_ballot_equal(r.promised, before.promised) ||
                  !tr_ballot_equal(r.ack_ballot, before.ack_ballot);
    w.steps++;
    if (w.steps % WHOLE_EVERY == 0) {
        tr_replica_check_whole(&r);
        return;
    }
    if (is_new || w.steps % WINDOW_EVERY == 0) {
        tr_replica_check(&r);
        return;
    }
    before.slots.clear();
    for (const Touched &t : before.touched)
        before.slots.push_back(t.slot);
    add_slots(before.slots, before.slot_commit + 1, std::min(r.slot_commit, r.log.slot_last));
    add_slots(before.slots, before.slot_last + 1, r.log.slot_last);
    add_slots(before.slots, before.slot_restamp, std::min(r.slot_restamp, r.slot_restamp_last));
    tr_replica_check_slots(&r, before.slots.data(), static_cast<uint32_t>(before.slots.size()));
}

/* ---- a step */

void look_at_fields(Cluster &c, Seat &seat, const tr_replica &r)
{
    Watch &w = seat.watch;
    if (tr_ballot_less(r.promised, w.promised))
        c.verdict.fail("promise falls", "node %u: from round %llu to %llu", seat.member->id,
                       wide(w.promised.round), wide(r.promised.round));
    w.promised = r.promised;
    bool early = r.log.slot_recyclable > r.slot_apply || r.log.slot_recyclable > r.slot_snapshot;
    if (early && !r.installing)
        c.verdict.fail("recycled", "node %u: up to %llu, of which %llu are in a snapshot",
                       seat.member->id, wide(r.log.slot_recyclable), wide(r.slot_snapshot));
}

void mix(Cluster &c, uint64_t number)
{
    c.hash = (c.hash ^ number) * UINT64_C(0x9e3779b97f4a7c15);
    c.hash ^= c.hash >> 32;
}

void mix_step(Cluster &c, const Seat &seat, const tr_replica &r, const tr_event &event,
              const tr_effects &out)
{
    mix(c, c.now_ns);
    mix(c, static_cast<uint64_t>(seat.member->id) << 32 | seat.number << 8 | event.type);
    mix(c, r.promised.round ^ r.slot_commit << 20 ^ r.slot_apply << 40);
    mix(c, r.log.head ^ static_cast<uint64_t>(out.count) << 40 ^
               static_cast<uint64_t>(out.scratch_used) << 48);
}

Seat *seat_of(const tr_replica *r)
{
    if (watched == nullptr || watched->polled == nullptr)
        return nullptr;
    for (auto &seat : watched->polled->seats) {
        if (seat->group != nullptr && seat->group->replica == r)
            return seat.get();
    }
    return nullptr;
}

void step(Seat &seat, tr_replica *r, const tr_event *event, tr_effects *out)
{
    Cluster &c = *watched;
    static Before before; /* kept for its memory */
    before.touched.clear();
    before.is_accept = before.is_stale_heartbeat = before.is_accepted = false;
    before.is_void_write = before.is_stale_ack = false;
    before.from = 0;
    before.acked = UINT64_MAX;
    if (event->type == TR_EVENT_ENTRIES_SEEN)
        check_drained(c, seat, *event);
    look_before(*r, *event, before);
    __real_tr_replica_step(r, event, out);
    c.totals.steps++;
    mix_step(c, seat, *r, *event, *out);
    if (c.setup.trace != nullptr)
        report_step(c, seat, *event, *out);
    if (c.verdict.failed)
        return;
    check_touched(c, seat, *r, before);
    check_stale_heartbeat(c, seat, *r, before);
    check_vector(c, seat, *r, before);
    check_counted(c, seat, *r, before);
    check_lease(c, seat, *r, before);
    look_at_effects(c, seat, *event, *out);
    look_at_fields(c, seat, *r);
    look_at_commit(c, seat, *r);
    look_at_proven(c, seat, *r, before);
    look_at_role(c, seat, *r);
    if (!c.verdict.failed)
        check_invariants(seat.watch, *r, before);
}

} // namespace

void watch_begin(Cluster &cluster, Seat &seat)
{
    Watch w;
    if (cluster.setup.profile->lease == Lease::Within) { /* a lease outlives who granted it */
        w.lease_until_ns = seat.watch.lease_until_ns;
        w.lease_owner = seat.watch.lease_owner;
    }
    for (const auto &m : cluster.members) {
        const Seat &other = *m->seats[seat.number];
        bool votes = m->up() && &other != &seat && other.watch.votes && other.group != nullptr;
        w.promises_at_birth.push_back(votes ? other.replica()->promised : tr_ballot{});
        w.lives_at_birth.push_back(m->lives);
    }
    seat.watch = w;
}

void watch_end(Cluster &, Seat &seat)
{
    if (!seat.watch.votes || seat.group == nullptr)
        return;
    const tr_replica &r = *seat.replica();
    seat.ghost = Ghost();
    seat.ghost.is_there = true;
    seat.ghost.slot_commit = r.slot_commit;
    for (uint64_t slot = r.slot_commit + 1; slot <= r.log.slot_last; slot++) {
        const tr_slot *s = tr_log_at(&r.log, slot);
        if (s != nullptr)
            seat.ghost.entries[slot] = key_of(*tr_log_record(&r.log, s));
    }
    seat.watch.votes = false;
}

void watch_cluster(Cluster *cluster)
{
    watched = cluster;
}

Cluster *watched_cluster()
{
    return watched;
}

} // namespace sim

void __wrap_tr_replica_step(struct tr_replica *r, const struct tr_event *event,
                            struct tr_effects *out)
{
    sim::Seat *seat = sim::seat_of(r);
    if (seat != nullptr)
        sim::step(*seat, r, event, out);
    else
        __real_tr_replica_step(r, event, out);
}
