/*
 * Replicas in a small world, for tests that build one schedule by hand: every message waits in a
 * list until the test (or run) delivers it, every link can be cut, fences end and snapshots are
 * made when the test says so, and all invariants are checked after every step.
 *
 * Time is a number that run() moves; nothing here depends on a clock.
 */
#ifndef TR_TESTS_UNIT_REPLICA_WORLD_H
#define TR_TESTS_UNIT_REPLICA_WORLD_H

#include "base/crc32c.h"
#include "consensus/invariants.h"
#include "consensus/state.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <vector>

namespace replica_world
{

inline uint64_t aligned(uint64_t bytes)
{
    return (bytes + 4095) & ~UINT64_C(4095);
}

/* A message under way. Its memory is aligned as the core wants it. */
struct Sent {
    uint8_t from, to;
    std::vector<uint64_t> words;
    uint32_t bytes = 0;

    tr_message *message()
    {
        return reinterpret_cast<tr_message *>(words.data());
    }
    template <typename Body> Body *body()
    {
        return reinterpret_cast<Body *>(message() + 1);
    }
    uint8_t type()
    {
        return message()->type;
    }
};

/* What a test may want to decide itself. */
struct Options {
    uint32_t voters = 3;
    uint32_t quorum_p1 = 0, quorum_p2 = 0; /* 0: a majority */
    tr_level level = TR_LEVEL_MEMORY;
    uint32_t log_slots = 256;
    uint64_t log_bytes = 1 << 18;
    uint32_t entry_bytes_max = 4096;
    uint64_t lease_ns = 0;
    bool one_sided = false; /* FENCED brings grants; the test tells WRITTEN and ENTRIES_SEEN */
    uint32_t canary = 0;    /* of every replica, in builds with canaries */
};

constexpr uint64_t ELECTION_NS = 1000000;
constexpr uint64_t HEARTBEAT_NS = 100000;
constexpr uint64_t RETRANSMIT_NS = 50000;

class World
{
  public:
    struct Node {
        tr_replica *r = nullptr;
        void *memory = nullptr;
        tr_replica_config config{};
        bool up = false;
        bool stalled = false;           /* hears nothing, and no timer of it fires */
        bool fences_by_hand = false;    /* else a fence ends at once */
        bool images_by_hand = false;    /* else snapshots are made and installed at once */
        bool applies_by_hand = false;   /* else what is committed is applied at once */
        bool persists_by_hand = false;  /* else everything is durable at once */
        std::vector<tr_effect> effects; /* all since the last clear */
        tr_ballot fence{};              /* asked for, not ended */
        tr_node_id fence_owner = 0;
        uint64_t grants = 0;
        bool install_asked = false;
        tr_effect install{};
        bool image_asked = false;
        uint64_t image_slot = 0;
        std::vector<uint8_t> image, incoming;
        uint64_t persisted = 0;
        uint64_t durable = 0;
        bool barred = false; /* a BARRIER waits for what was persisted; `held` waits behind it */
        std::deque<std::function<void()>> held;
        uint64_t read_ready = 0;
    };

    explicit World(const Options &options = Options()) : options_(options)
    {
        nodes_.resize(options.voters);
        for (uint8_t i = 0; i < options.voters; i++)
            configure(i);
        for (uint8_t i = 0; i < options.voters; i++)
            boot(i);
    }
    ~World()
    {
        for (Node &n : nodes_)
            free(n.memory);
    }
    World(const World &) = delete;
    World &operator=(const World &) = delete;

    uint64_t now_ns = 1000000;
    bool checks = true;           /* invariants, after every step */
    bool barriers = true;         /* else what is behind a BARRIER does not wait */
    bool more = false;            /* other events follow in the cycle; else each ends one */
    bool writes_by_hand = true;   /* else one-sided writes land and complete at once */
    std::deque<Sent> wire;        /* messages under way, oldest first */
    bool cut[16][16] = {{false}}; /* links that lose everything: from, to */

    /* Who looks on: at every event before its step, at every effect before it is carried out. */
    std::function<void(uint8_t, const tr_event &)> on_event;
    std::function<void(uint8_t, const tr_effect &)> on_effect;

    Node &node(uint8_t i)
    {
        return nodes_[i];
    }
    tr_replica *at(uint8_t i)
    {
        return nodes_[i].r;
    }
    uint8_t count() const
    {
        return static_cast<uint8_t>(nodes_.size());
    }

    /* A new process of a node; the one before is gone. */
    void boot(uint8_t i)
    {
        Node &n = nodes_[i];
        const char *why = nullptr;
        uint64_t bytes = aligned(tr_replica_memory_bytes(&n.config, &why));
        ASSERT_EQ(nullptr, why);
        free(n.memory);
        n.memory = aligned_alloc(4096, bytes);
        memset(n.memory, 0, bytes);
        n.config.boot = 1000 * ++boots_ + i;
        tr_replica_config config = n.config;
        bool fences = n.fences_by_hand, images = n.images_by_hand;
        void *memory = n.memory;
        n = Node();
        n.config = config;
        n.memory = memory;
        n.fences_by_hand = fences;
        n.images_by_hand = images;
        n.r = tr_replica_init(memory, &n.config, now_ns);
        tr_replica_set_canary(n.r, options_.canary);
        n.up = true;
    }
    void crash(uint8_t i)
    {
        nodes_[i].up = false;
    }

    void step(uint8_t i, tr_event event)
    {
        Node &n = nodes_[i];
        const auto &effects = effects_; /* carried out before anything follows up */
        event.now_ns = now_ns;
        event.more = more;
        if (on_event)
            on_event(i, event);
        tr_replica_step(n.r, &event, effects.get());
        if (checks)
            tr_replica_check(n.r);
        for (uint32_t e = 0; e < effects->count; e++)
            carry_out(i, effects->item[e]);
        follow_up();
    }
    void timeout(uint8_t i)
    {
        tr_event event{};
        event.type = TR_EVENT_TIMEOUT;
        step(i, event);
    }
    /* Hands one message over, whatever the links. */
    void hand(Sent &sent)
    {
        tr_event event{};
        event.type = TR_EVENT_MESSAGE;
        event.u.message.data = sent.words.data();
        event.u.message.bytes = sent.bytes;
        event.u.message.from = sent.from;
        if (nodes_[sent.to].up)
            step(sent.to, event);
    }
    /* Seals a message that the test changed, and hands it over. */
    void hand_forged(Sent &sent)
    {
        tr_message_seal(sent.message());
        hand(sent);
    }
    /* A message of a node as it would send one now. */
    template <typename Body> Sent make(uint8_t from, uint8_t to, tr_message_type type)
    {
        Sent sent;
        sent.from = from;
        sent.to = to;
        sent.bytes = sizeof(tr_message) + sizeof(Body);
        sent.words.assign((sent.bytes + 7) / 8, 0);
        tr_message *m = sent.message();
        m->version = TR_MESSAGE_VERSION;
        m->type = static_cast<uint8_t>(type);
        m->from = static_cast<tr_node_id>(from + 1);
        m->group = 7;
        m->body_bytes = sizeof(Body);
        m->cluster = type >= TR_MESSAGE_RECOVER ? 99 : at(from)->cluster;
        m->incarnation = at(from)->vector.incarnation[from];
        return sent;
    }

    /* Delivers what is under way now and selected, in order; the rest stays. Returns how many. */
    int deliver(const std::function<bool(Sent &)> &selected = [](Sent &) { return true; })
    {
        std::deque<Sent> now;
        now.swap(wire);
        int count = 0;
        for (Sent &sent : now) {
            if (nodes_[sent.to].stalled || !selected(sent)) {
                wire.push_back(std::move(sent));
                continue;
            }
            if (cut[sent.from][sent.to])
                continue;
            hand(sent);
            count++;
        }
        return count;
    }
    /* Takes the first message of a kind off the wire. */
    bool take(uint8_t from, uint8_t to, uint8_t type, Sent *out)
    {
        for (auto it = wire.begin(); it != wire.end(); ++it) {
            if (it->from == from && it->to == to && it->type() == type) {
                *out = std::move(*it);
                wire.erase(it);
                return true;
            }
        }
        return false;
    }
    void forget_wire()
    {
        wire.clear();
    }
    /* Fires the timers that are due, and what is left over. */
    void tick()
    {
        for (uint8_t i = 0; i < count(); i++)
            if (nodes_[i].up && !nodes_[i].stalled && tr_replica_deadline_ns(at(i)) <= now_ns)
                timeout(i);
    }
    /* Lets time pass, with everything delivered and every timer fired. */
    void run(
        uint64_t span_ns, const std::function<bool(Sent &)> &selected = [](Sent &) { return true; })
    {
        for (uint64_t end = now_ns + span_ns; now_ns < end; now_ns += 1000) {
            deliver(selected);
            tick();
        }
    }
    /* Runs until a condition holds, and for so long at most. */
    bool run_until(const std::function<bool()> &holds, uint64_t limit_ns = 50 * ELECTION_NS)
    {
        for (uint64_t end = now_ns + limit_ns; now_ns < end && !holds(); now_ns += 1000) {
            deliver();
            tick();
        }
        return holds();
    }
    /* The leader of the highest ballot among those up; count() when there is none. */
    uint8_t leader()
    {
        uint8_t best = count();
        for (uint8_t i = 0; i < count(); i++)
            if (nodes_[i].up && at(i)->role == TR_REPLICA_LEADER &&
                (best == count() || tr_ballot_less(at(best)->ballot, at(i)->ballot)))
                best = i;
        return best;
    }
    /* Founds the group and elects this node (or whoever comes first). */
    void elect(int wanted = -1)
    {
        auto all_follow = [&] {
            uint8_t l = leader();
            for (uint8_t i = 0; i < count(); i++)
                if (nodes_[i].up && at(i)->leader != l)
                    return false;
            return l < count() && at(l)->slot_commit >= at(l)->slot_opened;
        };
        ASSERT_TRUE(run_until(all_follow));
        if (wanted >= 0 && leader() != wanted) {
            campaign(static_cast<uint8_t>(wanted));
            ASSERT_TRUE(run_until([&] { return leader() == wanted && all_follow(); }));
        }
        run(2 * HEARTBEAT_NS);
    }
    void campaign(uint8_t i)
    {
        tr_event event{};
        event.type = TR_EVENT_CAMPAIGN;
        step(i, event);
    }
    /* A batch of one command that holds a number. */
    void propose(uint8_t i, uint64_t number, uint32_t command_bytes = 8)
    {
        std::vector<uint8_t> command(command_bytes + sizeof(number), 0);
        memcpy(command.data(), &number, sizeof(number));
        propose_bytes(i, number, command.data(), command_bytes);
        timeout(i); /* what the proposals of a cycle left pending */
    }
    /* A batch of one command, whose cycle has not ended yet. */
    void propose_bytes(uint8_t i, uint64_t sequence, const void *command, uint32_t command_bytes)
    {
        uint32_t bytes = tr_run_bytes(1, command_bytes);
        std::vector<uint64_t> words((bytes + 7) / 8, 0);
        tr_run *run = reinterpret_cast<tr_run *>(words.data());
        run->session = 1;
        run->sequence = sequence;
        run->bytes_each = command_bytes;
        run->count = 1;
        memcpy(run + 1, command, command_bytes);
        tr_event event{};
        event.type = TR_EVENT_PROPOSE;
        event.u.propose.data = words.data();
        event.u.propose.bytes = bytes;
        event.u.propose.command_count = 1;
        step(i, event);
    }
    void read(uint8_t i, uint64_t id)
    {
        tr_event event{};
        event.type = TR_EVENT_READ;
        event.u.read.id = id;
        step(i, event);
    }
    void hint_dead(uint8_t i, uint8_t member)
    {
        tr_event event{};
        event.type = TR_EVENT_MEMBER_HINT;
        event.u.member_hint.member = member;
        event.u.member_hint.incarnation = tr_replica_incarnation(at(i), member);
        event.u.member_hint.state = TR_HINT_DEAD;
        step(i, event);
    }
    /* The fence that a node was asked for ends. */
    void fenced(uint8_t i)
    {
        fenced(i, nodes_[i].fence);
    }
    /* Or that of another ballot, asked for earlier. */
    void fenced(uint8_t i, tr_ballot ballot)
    {
        Node &n = nodes_[i];
        tr_event event{};
        event.type = TR_EVENT_FENCED;
        event.u.fenced.ballot = ballot;
        if (options_.one_sided && n.fence_owner != n.config.self)
            event.u.fenced.grant = grant(i);
        if (tr_ballot_equal(ballot, n.fence))
            n.fence = tr_ballot{};
        step(i, event);
    }
    void durable(uint8_t i)
    {
        tr_event event{};
        event.type = TR_EVENT_DURABLE;
        nodes_[i].durable = nodes_[i].persisted;
        event.u.durable.persisted = nodes_[i].persisted;
        nodes_[i].barred = false;
        while (!nodes_[i].held.empty() && !nodes_[i].barred) {
            std::function<void()> effect = std::move(nodes_[i].held.front());
            nodes_[i].held.pop_front();
            effect();
        }
        step(i, event);
    }
    void applied(uint8_t i, uint64_t slot)
    {
        tr_event event{};
        event.type = TR_EVENT_APPLIED;
        event.u.applied.slot = slot;
        step(i, event);
    }
    /* The snapshot that a node was asked to make is made. */
    void image_made(uint8_t i, uint64_t slot, uint64_t bytes = 100)
    {
        Node &n = nodes_[i];
        n.image_asked = false;
        n.image_slot = slot;
        n.image.assign(bytes, static_cast<uint8_t>(slot));
        snapshot_done(i, slot, n.image, false);
    }
    /* The snapshot that came in whole is restored. */
    void image_installed(uint8_t i)
    {
        Node &n = nodes_[i];
        ASSERT_TRUE(n.install_asked);
        n.install_asked = false;
        n.image_slot = n.install.u.snapshot.slot;
        n.image = n.incoming;
        snapshot_done(i, n.image_slot, n.image, true);
    }
    void written(uint8_t i, uint8_t peer, uint64_t first, uint64_t last,
                 tr_written_status status = TR_WRITTEN_OK)
    {
        tr_event event{};
        event.type = TR_EVENT_WRITTEN;
        event.u.written.generation = at(i)->peer[peer].grant.generation;
        event.u.written.slot_first = first;
        event.u.written.slot_last = last;
        event.u.written.status = status;
        event.u.written.peer = peer;
        step(i, event);
    }
    /* Hands the record of a slot to the ring of a peer, as the leader would write it. */
    void ring_record(uint8_t leader, uint8_t peer, uint64_t slot)
    {
        tr_record header;
        tr_piece payload;
        ASSERT_TRUE(tr_replica_ring_record(at(leader), peer, slot, 0, &header, &payload));
        std::vector<uint64_t> words((sizeof(header) + payload.bytes + 63) / 8, 0);
        memcpy(words.data(), &header, sizeof(header));
        memcpy(words.data() + 8, payload.data, payload.bytes);
        const tr_record *record = reinterpret_cast<const tr_record *>(words.data());
        tr_event event{};
        event.type = TR_EVENT_ENTRIES_SEEN;
        event.u.entries_seen.generation = header.generation;
        event.u.entries_seen.record = &record;
        event.u.entries_seen.count = 1;
        event.u.entries_seen.peer = leader;
        step(peer, event);
    }
    /* How many effects of a type a node has had since its last clear. */
    int effects_of(uint8_t i, tr_effect_type type)
    {
        int count = 0;
        for (const tr_effect &e : nodes_[i].effects)
            count += e.type == type;
        return count;
    }

  private:
    /* What an effect leads to happens after the effects of its step are carried out. */
    void later(std::function<void()> what)
    {
        later_.push_back(std::move(what));
    }
    void follow_up()
    {
        if (following_)
            return;
        following_ = true;
        while (!later_.empty()) {
            std::function<void()> what = std::move(later_.front());
            later_.pop_front();
            what();
        }
        following_ = false;
    }
    void configure(uint8_t i)
    {
        tr_replica_config &c = nodes_[i].config;
        c.self = static_cast<tr_node_id>(i + 1);
        c.group = 7;
        c.cluster = 99;
        c.seed = i + 1;
        c.level = options_.level;
        c.voter_count = options_.voters;
        for (uint32_t v = 0; v < options_.voters; v++)
            c.voter[v] = static_cast<tr_node_id>(v + 1);
        c.quorum_p1 = options_.quorum_p1 != 0 ? options_.quorum_p1 : options_.voters / 2 + 1;
        c.quorum_p2 = options_.quorum_p2 != 0 ? options_.quorum_p2 : options_.voters / 2 + 1;
        c.log_slots = options_.log_slots;
        c.log_bytes = options_.log_bytes;
        c.entry_bytes_max = options_.entry_bytes_max;
        c.message_bytes_max = 65536;
        c.message_bytes_aim = 8192;
        c.credit_bytes = 32768;
        c.election_timeout_ns = ELECTION_NS;
        c.heartbeat_ns = HEARTBEAT_NS;
        c.retransmit_ns = RETRANSMIT_NS;
        c.commit_delay_ns = 5000;
        c.lease_ns = options_.lease_ns;
        c.clock_drift_ppm = 1000;
        c.boot = 1;
    }
    tr_grant grant(uint8_t i)
    {
        Node &n = nodes_[i];
        tr_grant g{};
        g.generation = static_cast<uint64_t>(n.r->vector.incarnation[i]) << 32 | ++n.grants;
        g.tag = g.generation * 77;
        g.ring_bytes = 65536;
        return g;
    }
    void snapshot_done(uint8_t i, uint64_t slot, const std::vector<uint8_t> &image, bool installed)
    {
        tr_event event{};
        event.type = TR_EVENT_SNAPSHOT_DONE;
        event.u.snapshot_done.slot = slot;
        event.u.snapshot_done.bytes = image.size();
        event.u.snapshot_done.crc = tr_crc32c(0, image.data(), static_cast<uint32_t>(image.size()));
        event.u.snapshot_done.installed = installed;
        step(i, event);
    }
    void send(uint8_t from, uint8_t to, const tr_piece *piece, uint32_t piece_count)
    {
        Sent sent;
        sent.from = from;
        sent.to = to;
        for (uint32_t p = 0; p < piece_count; p++)
            sent.bytes += piece[p].bytes;
        sent.words.assign((sent.bytes + 7) / 8, 0);
        uint8_t *at = reinterpret_cast<uint8_t *>(sent.words.data());
        for (uint32_t p = 0; p < piece_count; p++) {
            memcpy(at, piece[p].data, piece[p].bytes);
            at += piece[p].bytes;
        }
        auto leave = [this, s = std::move(sent)]() mutable { wire.push_back(std::move(s)); };
        behind_barrier(from, std::move(leave));
    }
    /* Carries out an effect, or has it wait for the disk. */
    void behind_barrier(uint8_t i, std::function<void()> effect)
    {
        if (nodes_[i].barred)
            nodes_[i].held.push_back(std::move(effect));
        else
            effect();
    }
    void bar(uint8_t i)
    {
        nodes_[i].barred = barriers && nodes_[i].durable < nodes_[i].persisted;
    }
    void replicate(uint8_t i, const tr_effect &e)
    {
        alignas(8) uint8_t header[TR_MESSAGE_HEADER_BYTES_MAX];
        tr_piece piece[1 + TR_SEND_PIECES_MAX];
        uint32_t piece_count = 0;
        for (uint8_t to = 0; to < count(); to++) {
            if ((e.peers >> to & 1) == 0)
                continue;
            uint64_t first = e.u.replicate.slot_first;
            if (tr_replica_grant(at(i), to) != nullptr) {
                if (!writes_by_hand)
                    later([this, i, to, e] { write(i, to, e); });
                continue;
            }
            while (first <= e.u.replicate.slot_last) {
                uint64_t last = tr_replica_accept(at(i), first, e.u.replicate.slot_last, header,
                                                  piece, &piece_count);
                if (last < first)
                    break;
                send(i, to, piece, piece_count);
                first = last + 1;
            }
        }
    }
    void write(uint8_t i, uint8_t to, const tr_effect &e)
    {
        for (uint64_t slot = e.u.replicate.slot_first; slot <= e.u.replicate.slot_last; slot++)
            ring_record(i, to, slot);
        written(i, to, e.u.replicate.slot_first, e.u.replicate.slot_last);
    }
    void send_chunks(uint8_t i, const tr_effect &e)
    {
        Node &n = nodes_[i];
        alignas(8) uint8_t header[TR_MESSAGE_HEADER_BYTES_MAX];
        uint64_t end = e.u.snapshot.offset + e.u.snapshot.bytes;
        for (uint64_t offset = e.u.snapshot.offset; offset < end;) {
            uint64_t left = end - offset;
            uint32_t bytes = static_cast<uint32_t>(
                left < TR_SNAPSHOT_CHUNK_BYTES ? left : TR_SNAPSHOT_CHUNK_BYTES);
            tr_piece piece[2] = {{header, 0}, {n.image.data() + offset, bytes}};
            piece[0].bytes =
                tr_replica_snapshot_header(n.r, e.peer, n.image_slot, offset, n.image.size(),
                                           e.u.snapshot.crc, piece[1].data, bytes, header);
            send(i, e.peer, piece, 2);
            offset += bytes;
        }
    }
    void carry_out(uint8_t i, const tr_effect &e)
    {
        Node &n = nodes_[i];
        n.effects.push_back(e);
        if (on_effect)
            on_effect(i, e);
        switch (static_cast<tr_effect_type>(e.type)) {
        case TR_EFFECT_SEND:
            for (uint8_t to = 0; to < count(); to++)
                if ((e.peers >> to & 1) != 0)
                    send(i, to, e.u.send.piece, e.piece_count);
            break;
        case TR_EFFECT_REPLICATE:
            behind_barrier(i, [this, i, e] { replicate(i, e); });
            break;
        case TR_EFFECT_FENCE:
            n.fence = e.u.fence.ballot;
            n.fence_owner = e.u.fence.owner;
            if (!n.fences_by_hand)
                later([this, i] { fenced(i); });
            break;
        case TR_EFFECT_PERSIST:
            behind_barrier(i, [this, i, sequence = e.u.persist.sequence] {
                nodes_[i].persisted = sequence;
                if (!nodes_[i].persists_by_hand)
                    later([this, i] { durable(i); });
            });
            break;
        case TR_EFFECT_COMMIT:
            if (!n.applies_by_hand)
                behind_barrier(i, [this, i, slot = e.u.commit.slot] {
                    later([this, i, slot] { applied(i, slot); });
                });
            break;
        case TR_EFFECT_READ_READY:
            n.read_ready = e.u.read_ready.id;
            break;
        case TR_EFFECT_SNAPSHOT_MAKE:
            n.image_asked = true;
            if (!n.images_by_hand)
                later([this, i] { image_made(i, at(i)->slot_apply); });
            break;
        case TR_EFFECT_SNAPSHOT_SEND:
            send_chunks(i, e);
            break;
        case TR_EFFECT_SNAPSHOT_STORE:
            n.incoming.resize(e.u.snapshot.total_bytes);
            memcpy(n.incoming.data() + e.u.snapshot.offset, e.u.snapshot.data, e.u.snapshot.bytes);
            break;
        case TR_EFFECT_SNAPSHOT_INSTALL:
            n.install = e;
            n.install_asked = true;
            if (!n.images_by_hand)
                later([this, i] { image_installed(i); });
            break;
        case TR_EFFECT_BARRIER:
            behind_barrier(i, [this, i] { bar(i); });
            break;
        case TR_EFFECT_REJECT:
        case TR_EFFECT_RESUBMIT:
        case TR_EFFECT_LEADER:
        case TR_EFFECT_STOPPED:
            break;
        }
    }

    Options options_;
    std::unique_ptr<tr_effects> effects_ = std::make_unique<tr_effects>();
    std::vector<Node> nodes_;
    uint64_t boots_ = 0;
    std::deque<std::function<void()>> later_;
    bool following_ = false;
};

} // namespace replica_world

#endif
