#include "tests/trace/trace_print.h"

#include <cinttypes>
#include <cstdarg>

namespace trace
{

using replica_world::Sent;

namespace
{

std::string text(const char *format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char *format, ...)
{
    char buffer[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof(buffer), format, arguments);
    va_end(arguments);
    return buffer;
}

std::string number(uint64_t n)
{
    return std::to_string(n);
}

/* "5", "5..7", or "none" where the last comes before the first. */
std::string range(uint64_t first, uint64_t last)
{
    if (last < first)
        return "none";
    return first == last ? number(first) : number(first) + ".." + number(last);
}

std::string vector_of(const tr_vector &v, uint32_t members)
{
    std::string out = "{";
    for (uint32_t i = 0; i < members; i++)
        out += (i > 0 ? " " : "") + number(v.incarnation[i]);
    return out + "}";
}

uint32_t members_in(const tr_vector &v)
{
    uint32_t count = TR_MEMBERS_MAX;
    while (count > 0 && v.incarnation[count - 1] == 0)
        count--;
    return count;
}

/* The records of a tail; those of another ballot than the message's tell it. */
std::string records_of(Sent &sent, uint32_t count, tr_ballot ballot)
{
    const uint8_t *at = tr_message_tail(sent.message());
    std::string out = "[";
    for (uint32_t i = 0; i < count; i++) {
        const tr_record *record = reinterpret_cast<const tr_record *>(at);
        out += (i > 0 ? " " : "") + number(record->slot);
        if (!tr_ballot_equal(record->ballot, ballot))
            out += "@" + words_of(record->ballot);
        out += ":" + words_of(record);
        at += tr_record_bytes(record->payload_bytes);
    }
    return out + "]";
}

std::string bits_of(uint64_t bitmap, uint64_t first)
{
    std::string out;
    for (; bitmap != 0; bitmap &= bitmap - 1)
        out += (out.empty() ? "" : ",") +
               number(first + static_cast<uint64_t>(__builtin_ctzll(bitmap)));
    return out;
}

std::string accepted(const tr_accepted *a)
{
    std::string out =
        words_of(a->ballot) + " acked=" + number(a->slot_acked) + " apply=" + number(a->slot_apply);
    if ((a->flags & TR_ACCEPTED_GAP) != 0)
        out += " gap has={" + bits_of(a->bitmap, a->slot_acked + 2) + "}";
    if (a->slot_recyclable != 0)
        out += " recyclable=" + number(a->slot_recyclable);
    return out + ((a->flags & TR_ACCEPTED_LEASE) != 0 ? " lease" : "");
}

std::string promise(Sent &sent)
{
    const tr_promise *p = sent.body<tr_promise>();
    std::string out = words_of(p->ballot) + " slots=" + range(p->slot_first, p->slot_last) +
                      " end=" + number(p->slot_end) + " commit=" + number(p->slot_commit);
    if (p->slot_truncated != 0)
        out += " truncated=" + number(p->slot_truncated);
    out += " " + records_of(sent, p->record_count, tr_ballot{});
    if (p->grant.generation != 0)
        out += text(" grant=%u.%u", static_cast<uint32_t>(p->grant.generation >> 32),
                    static_cast<uint32_t>(p->grant.generation));
    return out + " knows=" + vector_of(p->vector, members_in(p->vector));
}

std::string learn(Sent &sent)
{
    const tr_learn *l = sent.body<tr_learn>();
    std::string out = "from=" + number(l->slot_first) + " commit=" + number(l->slot_commit);
    if (l->slot_truncated != 0)
        out += " truncated=" + number(l->slot_truncated);
    return out + " " + records_of(sent, l->record_count, tr_ballot{});
}

std::string recover(const tr_recover *q)
{
    if (q->phase == TR_RECOVER_ASK)
        return "ask";
    return q->phase == TR_RECOVER_JOIN
               ? text("join as incarnation %u", q->incarnation)
               : text("page as incarnation %u from=%" PRIu64, q->incarnation, q->slot_from);
}

std::string recovered(Sent &sent)
{
    const tr_recovered *a = sent.body<tr_recovered>();
    static const char *const states[] = {"?", "empty", "normal", "partial"};
    if (a->phase == TR_RECOVER_ASK)
        return std::string("to ask: ") + states[a->state & 3] +
               " knows=" + vector_of(a->vector, members_in(a->vector));
    std::string out = a->phase == TR_RECOVER_JOIN ? "to join: " : "to page: ";
    out += "promised=" + words_of(a->promised) + " end=" + number(a->slot_end) +
           " commit=" + number(a->slot_commit);
    if (a->slot_truncated != 0)
        out += " truncated=" + number(a->slot_truncated);
    if (a->phase == TR_RECOVER_PAGE)
        out += " slots=" + range(a->slot_first, a->slot_last) + " " +
               records_of(sent, a->record_count, tr_ballot{});
    return out + " knows=" + vector_of(a->vector, members_in(a->vector));
}

std::string heartbeat(const tr_heartbeat *h)
{
    std::string out =
        words_of(h->ballot) + " commit=" + number(h->slot_commit) + " next=" + number(h->slot_next);
    if (h->contact_age_ns >= replica_world::ELECTION_NS)
        out += " without contact";
    return out;
}

std::string chunk(Sent &sent)
{
    const tr_snapshot_chunk *c = sent.body<tr_snapshot_chunk>();
    return "slot=" + number(c->slot) + " bytes " + number(c->offset) + ".." +
           number(c->offset + sent.message()->tail_bytes) + " of " + number(c->total_bytes);
}

std::string value_of(const void *payload, uint32_t bytes)
{
    uint32_t cursor = 0;
    tr_run_view view;
    if (!tr_run_next(payload, bytes, &cursor, &view))
        return "malformed";
    uint32_t length = view.lengths != nullptr ? view.lengths[0] : view.run->bytes_each;
    uint32_t shown = length < 12 ? length : 12;
    std::string command(reinterpret_cast<const char *>(view.data), shown);
    return "\"" + command + (shown < length ? "...\"(" + number(length) + ")" : "\"");
}

std::string body_of(Sent &sent)
{
    switch (static_cast<tr_message_type>(sent.type())) {
    case TR_MESSAGE_ACCEPT: {
        const tr_accept *a = sent.body<tr_accept>();
        return words_of(a->ballot) + " commit=" + number(a->slot_commit) + " " +
               records_of(sent, a->record_count, a->ballot);
    }
    case TR_MESSAGE_ACCEPTED:
        return accepted(sent.body<tr_accepted>());
    case TR_MESSAGE_HEARTBEAT:
        return heartbeat(sent.body<tr_heartbeat>());
    case TR_MESSAGE_VECTOR:
        return vector_of(*sent.body<tr_vector>(), members_in(*sent.body<tr_vector>()));
    case TR_MESSAGE_PREVOTE:
        return words_of(sent.body<tr_prevote>()->ballot);
    case TR_MESSAGE_PREVOTED: {
        const tr_prevoted *p = sent.body<tr_prevoted>();
        return words_of(p->ballot) + (p->granted != 0 ? " yes" : " no") +
               " promised=" + words_of(p->promised);
    }
    case TR_MESSAGE_PREPARE:
        return words_of(sent.body<tr_prepare>()->ballot) +
               " from=" + number(sent.body<tr_prepare>()->slot_from) +
               (sent.body<tr_prepare>()->generation_lost != 0 ? " lost" : "");
    case TR_MESSAGE_PROMISE:
        return promise(sent);
    case TR_MESSAGE_REJECT:
        return words_of(sent.body<tr_reject>()->ballot) +
               " promised=" + words_of(sent.body<tr_reject>()->promised);
    case TR_MESSAGE_FETCH:
        return range(sent.body<tr_fetch>()->slot_first, sent.body<tr_fetch>()->slot_last);
    case TR_MESSAGE_LEARN:
        return learn(sent);
    case TR_MESSAGE_FORWARD: {
        const tr_forward *f = sent.body<tr_forward>();
        return words_of(f->ballot) + " stream=" + number(f->stream) + " index=" + number(f->index) +
               " " + value_of(tr_message_tail(sent.message()), sent.message()->tail_bytes);
    }
    case TR_MESSAGE_FORWARDED:
        return words_of(sent.body<tr_forwarded>()->ballot) +
               " stream=" + number(sent.body<tr_forwarded>()->stream) +
               " next=" + number(sent.body<tr_forwarded>()->index_next);
    case TR_MESSAGE_READ_INDEX:
        return words_of(sent.body<tr_read_index>()->ballot) +
               " id=" + number(sent.body<tr_read_index>()->id);
    case TR_MESSAGE_READ_SLOT:
        return words_of(sent.body<tr_read_slot>()->ballot) +
               " id=" + number(sent.body<tr_read_slot>()->id) +
               " slot=" + number(sent.body<tr_read_slot>()->slot);
    case TR_MESSAGE_SNAPSHOT_PULL:
        return "slot=" + number(sent.body<tr_snapshot_pull>()->slot) +
               " offset=" + number(sent.body<tr_snapshot_pull>()->offset);
    case TR_MESSAGE_SNAPSHOT_CHUNK:
        return chunk(sent);
    case TR_MESSAGE_RECOVER:
        return recover(sent.body<tr_recover>());
    case TR_MESSAGE_RECOVERED:
        return recovered(sent);
    case TR_MESSAGE_FOUND:
    case TR_MESSAGE_TYPES:
        break;
    }
    return "";
}

std::string leader_words(const tr_effect &e)
{
    if (e.u.leader.self_now)
        return "elected at " + words_of(e.u.leader.ballot);
    std::string now = e.u.leader.leader != 0 ? "follows " + number(e.u.leader.leader)
                                             : std::string("follows nobody");
    return (e.u.leader.self_before ? "steps down, " : "") + now;
}

std::string persist_words(const tr_effect &e)
{
    if (e.u.persist.what == TR_PERSIST_PROMISE)
        return "persists the promise " + words_of(e.u.persist.ballot);
    return "persists " + range(e.u.persist.slot_first, e.u.persist.slot_last);
}

std::string replicate_words(const tr_replica *r, const tr_effect &e)
{
    std::string slots = range(e.u.replicate.slot_first, e.u.replicate.slot_last);
    uint16_t rings = 0;
    for (uint8_t i = 0; i < r->member_count; i++)
        if ((e.peers >> i & 1) != 0 && tr_replica_grant(r, i) != nullptr)
            rings = static_cast<uint16_t>(rings | 1u << i);
    uint16_t messages = static_cast<uint16_t>(e.peers & ~rings);
    std::string out = "replicates " + slots;
    if (messages != 0)
        out += " to " + members_of(messages);
    return rings != 0 ? out + (messages != 0 ? ", " : " ") + "by writes to " + members_of(rings)
                      : out;
}

std::string reject_words(const tr_effect &e)
{
    static const char *const reasons[] = {"?",          "no leader", "no room",
                                          "recovering", "malformed", "membership is fixed"};
    return std::string("refuses: ") + reasons[e.u.reject.reason % 6];
}

std::string stop_words(const tr_effect &e)
{
    static const char *const reasons[] = {"?", "memory lost", "restore failed", "superseded"};
    return std::string("stopped: ") + reasons[e.u.stopped.reason & 3];
}

} // namespace

std::string members_of(uint16_t set)
{
    std::string out;
    for (uint32_t i = 0; i < TR_MEMBERS_MAX; i++)
        if ((set >> i & 1) != 0)
            out += (out.empty() ? "" : ",") + number(i + 1);
    return out;
}

std::string words_of(tr_ballot b)
{
    if (tr_ballot_none(b))
        return "none";
    std::string out = number(b.round) + "/" + number(b.node);
    return b.incarnation != 1 ? out + "i" + number(b.incarnation) : out;
}

std::string words_of(const tr_record *record)
{
    return record->kind == TR_RECORD_NOOP ? "noop" : value_of(record + 1, record->payload_bytes);
}

std::string words_of(Sent &sent)
{
    std::string body = body_of(sent);
    return tr_message_name(sent.type()) + (body.empty() ? "" : " " + body);
}

std::string words_of(const tr_replica *r, const tr_effect &e)
{
    switch (static_cast<tr_effect_type>(e.type)) {
    case TR_EFFECT_SEND: {
        auto m = static_cast<const tr_message *>(e.u.send.piece[0].data);
        return std::string("sends ") + tr_message_name(m->type) + " to " + members_of(e.peers);
    }
    case TR_EFFECT_REPLICATE:
        return replicate_words(r, e);
    case TR_EFFECT_FENCE:
        return "fences for " + words_of(e.u.fence.ballot);
    case TR_EFFECT_PERSIST:
        return persist_words(e);
    case TR_EFFECT_BARRIER:
        return "waits for the disk (barrier)";
    case TR_EFFECT_COMMIT:
        return "commits up to " + number(e.u.commit.slot);
    case TR_EFFECT_REJECT:
        return reject_words(e);
    case TR_EFFECT_RESUBMIT:
        return "asks its clients to submit again";
    case TR_EFFECT_READ_READY:
        return "answers reads up to " + number(e.u.read_ready.id) + " at slot " +
               number(e.u.read_ready.slot);
    case TR_EFFECT_SNAPSHOT_MAKE:
        return "makes a snapshot";
    case TR_EFFECT_SNAPSHOT_SEND:
        return "sends a snapshot to " + number(e.peer + 1u);
    case TR_EFFECT_SNAPSHOT_STORE:
        return "stores bytes " + number(e.u.snapshot.offset) + ".." +
               number(e.u.snapshot.offset + e.u.snapshot.bytes);
    case TR_EFFECT_SNAPSHOT_INSTALL:
        return "installs the snapshot of slot " + number(e.u.snapshot.slot);
    case TR_EFFECT_LEADER:
        return leader_words(e);
    case TR_EFFECT_STOPPED:
        return stop_words(e);
    }
    return "?";
}

std::string status_of(const tr_replica *r)
{
    static const char *const roles[] = {"recovering", "follower", "precandidate",
                                        "candidate",  "leader",   "stopped"};
    struct tr_replica_status s;
    tr_replica_status(r, &s);
    std::string out = roles[s.role];
    if (s.role == TR_REPLICA_FOLLOWER)
        out += s.leader != 0 ? " of " + number(s.leader) : std::string(" of nobody");
    out += " promised=" + words_of(s.ballot) + " commit=" + number(s.slot_commit) +
           " apply=" + number(s.slot_apply) + " log=" + range(s.slot_first, r->log.slot_last);
    if (s.slot_snapshot != 0)
        out += " snapshot=" + number(s.slot_snapshot);
    if (s.incarnation != 1)
        out += " incarnation=" + number(s.incarnation);
    return s.stop_reason == TR_STOP_MEMORY_LOST ? out + " (memory lost)" : out;
}

std::string slot_of(const tr_replica *r, uint64_t slot)
{
    const tr_slot *s = tr_log_at(&r->log, slot);
    if (s == nullptr)
        return number(slot) + " empty";
    bool chosen = s->state == TR_SLOT_CHOSEN || slot <= r->slot_commit;
    return number(slot) + (chosen ? " chosen " : " accepted at ") +
           (chosen ? "" : words_of(s->ballot) + " ") + words_of(tr_log_record(&r->log, s));
}

} // namespace trace
