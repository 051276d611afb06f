/* The step function, fed with whatever an input makes of three replicas and what is between them.
 * Inputs of one kind tell lies too: messages of a member whose fields are anything. Then nothing is
 * agreed on any more, but still nothing ends. */
#include "tests/fuzz/step_world.h"

namespace
{

using replica_world::Sent;
using replica_world::World;

const uint32_t nodes = 3;
const size_t wire_max = 256;     /* what is above is lost */
const uint32_t rounds_max = 256; /* in which everything flows; bounds the time of an input */
const uint32_t images_bytes_max = 1 << 20;

/* Values that hurt, in fields of messages. */
const uint64_t hurtful[] = {0,
                            1,
                            2,
                            UINT64_MAX,
                            UINT64_MAX - 1,
                            INT64_MAX,
                            TR_SLOT_MAX,
                            1000,
                            TR_SLOT_MAX + 1,
                            UINT32_MAX,
                            1u << 31,
                            64,
                            65,
                            UINT64_C(1) << 32,
                            TR_ROUND_MAX,
                            TR_ROUND_MAX - 1};

/* How the world begins: by messages or one-sided, with a lease or without, founded or not. */
struct Kind {
    bool one_sided, lease, founded;
};

/* A world and its rings, as they stood when it was kept. */
struct Start {
    explicit Start(const replica_world::Options &options) : kept(options) {}
    fuzz::KeptWorld kept;
    fuzz::Rings rings;
};

void follow_all(World &w, fuzz::Rings *rings)
{
    for (uint8_t i = 0; i < nodes; i++) {
        std::vector<tr_effect> effects;
        effects.swap(w.node(i).effects);
        for (const tr_effect &e : effects)
            rings->follow(w, i, e);
    }
}

std::unique_ptr<Start> start_of(const Kind &kind)
{
    replica_world::Options options = fuzz::small_group();
    options.one_sided = kind.one_sided;
    options.lease_ns = kind.lease ? replica_world::ELECTION_NS / 2 : 0;
    auto start = std::make_unique<Start>(options);
    World &w = start->kept.world;
    for (uint8_t i = 0; i < nodes; i++)
        w.node(i).fences_by_hand = true;
    for (uint32_t i = 0; kind.founded && i < 4000; i++) {
        w.deliver();
        follow_all(w, &start->rings);
        start->rings.arrive(w);
        w.now_ns += 2000;
        w.tick();
        follow_all(w, &start->rings);
    }
    bool led = w.leader() < nodes && w.at(w.leader())->slot_commit >= w.at(w.leader())->slot_opened;
    fuzz::require(led == kind.founded, "the world is founded where it is to be");
    start->kept.keep();
    return start;
}

class Driver
{
  public:
    explicit Driver(fuzz::Input *in)
        : in_(in), kind_(in->u8()), start_(start(kind_ & 7)), w_(start_.kept.world),
          rings_(start_.rings)
    {
        for (uint8_t i = 0; i < nodes; i++)
            plant(i);
    }
    void run()
    {
        while (!in_->ended()) {
            choose();
            settle();
        }
        for (uint8_t i = 0; i < nodes && !lied_; i++)
            if (w_.node(i).up)
                tr_replica_check_whole(w_.at(i));
    }

  private:
    static Start &start(uint32_t kind)
    {
        static std::unique_ptr<Start> starts[8];
        if (!starts[kind])
            starts[kind] = start_of({(kind & 1) != 0, (kind & 2) != 0, (kind & 4) == 0});
        starts[kind]->kept.restore();
        return *starts[kind];
    }
    bool hostile() const
    {
        return (kind_ & 8) != 0;
    }
    /* The planted bug: a rule of the core that is broken. */
    void plant(uint8_t i)
    {
        if (fuzz::planted())
            tr_replica_set_canary(w_.at(i), TR_CANARY_ACCEPT_BELOW_PROMISE);
    }
    uint8_t pick()
    {
        return static_cast<uint8_t>(in_->below(nodes));
    }

    /* ---- what can happen */

    void choose()
    {
        uint32_t what = in_->below(24);
        switch (what) {
        case 0:
        case 1:
            deliver(1 + in_->below(8));
            break;
        case 2:
            deliver_one(in_->u8(), false);
            break;
        case 3:
            deliver_one(in_->u8(), true);
            break;
        case 4:
            lose(in_->u8());
            break;
        case 5:
        case 6:
            propose(pick());
            break;
        case 7:
        case 8:
            pass(in_->u8());
            break;
        case 9:
        case 10:
            flow(in_->below(16));
            break;
        case 11:
            crash_or_start(pick());
            break;
        case 12:
            cut(pick(), pick());
            break;
        case 13:
            rings_.end_fence(w_, pick());
            break;
        case 14:
            read(pick());
            break;
        case 15:
            if (uint8_t i = pick(); w_.node(i).up)
                w_.campaign(i);
            break;
        case 16:
            hint(pick(), pick());
            break;
        case 17:
        case 18:
            land();
            break;
        case 19:
            rings_.drain(w_, pick());
            break;
        case 20:
            by_hand(pick(), in_->below(4));
            break;
        case 21:
            damage(in_->u8());
            break;
        case 22:
            lie(in_->u8());
            break;
        default:
            forge(pick(), pick());
            break;
        }
    }
    void deliver(uint32_t count)
    {
        for (; count > 0 && !w_.wire.empty(); count--)
            deliver_one(0, false);
    }
    void deliver_one(size_t index, bool again)
    {
        if (w_.wire.empty())
            return;
        auto it = w_.wire.begin() + static_cast<ptrdiff_t>(index % w_.wire.size());
        Sent sent = *it;
        if (!again)
            w_.wire.erase(it);
        if (!w_.cut[sent.from][sent.to] && !w_.node(sent.to).stalled)
            w_.hand(sent);
        settle();
    }
    void lose(size_t index)
    {
        if (!w_.wire.empty())
            w_.wire.erase(w_.wire.begin() + static_cast<ptrdiff_t>(index % w_.wire.size()));
    }
    void propose(uint8_t i)
    {
        if (w_.node(i).up && tr_replica_can_propose(w_.at(i), 40))
            w_.propose(i, ++number_, 8 + 8 * in_->below(60));
    }
    /* Time passes, and timers go off. */
    void pass(uint32_t much)
    {
        static const uint64_t spans[] = {1000,   10000,  50000,   100000,
                                         250000, 500000, 1000000, 2000000};
        w_.now_ns += spans[much % 8];
        w_.tick();
    }
    /* A while in which everything arrives. */
    void flow(uint32_t much)
    {
        for (uint32_t i = 0; i < 2 * (much + 1) && rounds_left_ > 0; i++, rounds_left_--) {
            deliver(64);
            rings_.arrive(w_);
            w_.now_ns += 10000;
            w_.tick();
            settle();
        }
    }
    void crash_or_start(uint8_t i)
    {
        if (w_.node(i).up) {
            w_.crash(i);
            return;
        }
        rings_.forget(i);
        start_.kept.start(i, 1000 * ++boots_ + 500 + i);
        plant(i);
        read_id_[i] = 0;
        reads_[i].clear();
    }
    void cut(uint8_t from, uint8_t to)
    {
        w_.cut[from][to] = !w_.cut[from][to];
    }
    void read(uint8_t i)
    {
        if (!w_.node(i).up)
            return;
        tr_replica *r = w_.at(i);
        reads_[i].push_back({++read_id_[i], r->cluster, agreement_.slot_last(r->cluster)});
        w_.read(i, read_id_[i]);
    }
    void hint(uint8_t i, uint8_t member)
    {
        if (w_.node(i).up && i != member)
            w_.hint_dead(i, member);
    }
    void land()
    {
        uint8_t from = pick();
        uint8_t to = pick();
        rings_.land(w_, from, to, in_->below(8) != 0);
    }
    void by_hand(uint8_t i, uint32_t what)
    {
        World::Node &n = w_.node(i);
        if (!n.up)
            return;
        if (what == 0)
            n.stalled = !n.stalled;
        else if (what == 1)
            n.applies_by_hand = !n.applies_by_hand;
        else if (what == 2)
            n.images_by_hand = !n.images_by_hand;
        else if (n.image_asked)
            w_.image_made(i, w_.at(i)->slot_apply);
        if (!n.applies_by_hand && n.up && w_.at(i)->slot_apply < w_.at(i)->slot_commit &&
            !w_.at(i)->installing)
            w_.applied(i, w_.at(i)->slot_commit);
        if (!n.images_by_hand && n.install_asked)
            w_.image_installed(i);
        if (!n.images_by_hand && n.image_asked)
            w_.image_made(i, w_.at(i)->slot_apply);
    }

    /* ---- what arrives damaged, and lies */

    /* A copy of a message with some bits changed: dropped, or harmless where no CRC covers it. */
    void damage(size_t index)
    {
        if (w_.wire.empty())
            return;
        Sent sent = w_.wire[index % w_.wire.size()];
        auto *bytes = reinterpret_cast<uint8_t *>(sent.words.data());
        bytes[in_->u16() % sent.bytes] ^= static_cast<uint8_t>(1u << in_->below(8));
        w_.hand(sent);
    }
    uint64_t value()
    {
        uint32_t which = in_->u8();
        return which < 128 ? hurtful[which % (sizeof(hurtful) / 8)] : which - 128;
    }
    /* A message that is under way, with a word of its body or tail changed. */
    void lie(size_t index)
    {
        if (!hostile() || w_.wire.empty())
            return;
        Sent sent = w_.wire[index % w_.wire.size()];
        size_t words = (sent.bytes - sizeof(tr_message)) / 8;
        if (words == 0)
            return;
        sent.words[sizeof(tr_message) / 8 + in_->below(64) % words] = value();
        tell(sent);
    }
    /* A message that nobody sent. */
    void forge(uint8_t from, uint8_t to)
    {
        if (!hostile() || from == to)
            return;
        auto type = static_cast<uint8_t>(1 + in_->below(TR_MESSAGE_TYPES - 1));
        Sent sent = fuzz::blank(w_, from, to, type, 0);
        if (in_->below(2) == 0)
            memcpy(sent.body<tr_ballot>(), &w_.at(to)->promised, sizeof(tr_ballot));
        size_t words = (sent.bytes - sizeof(tr_message)) / 8;
        for (uint32_t changes = in_->below(4); changes > 0; changes--)
            sent.words[sizeof(tr_message) / 8 + in_->below(64) % words] = value();
        tell(sent);
    }
    void tell(Sent &sent)
    {
        lied_ = true;
        w_.checks = false; /* who believes a liar holds untrue things */
        if (sent.type() == TR_MESSAGE_SNAPSHOT_CHUNK)
            sent.body<tr_snapshot_chunk>()->total_bytes %= images_bytes_max;
        fuzz::reseal(&sent);
        w_.hand(sent);
    }

    /* ---- after each choice */

    void settle()
    {
        for (uint8_t i = 0; i < nodes; i++) {
            std::vector<tr_effect> effects;
            effects.swap(w_.node(i).effects);
            for (const tr_effect &e : effects)
                follow(i, e);
        }
        while (w_.wire.size() > wire_max)
            w_.wire.pop_front();
        for (uint8_t i = 0; i < nodes && !lied_; i++)
            if (w_.node(i).up)
                agreement_.look(w_.at(i));
    }
    void follow(uint8_t i, const tr_effect &e)
    {
        rings_.follow(w_, i, e);
        if (lied_ || !w_.node(i).up)
            return;
        if (e.type == TR_EFFECT_LEADER && e.u.leader.self_now &&
            w_.at(i)->role == TR_REPLICA_LEADER &&
            tr_ballot_equal(e.u.leader.ballot, w_.at(i)->ballot))
            agreement_.elected(w_.at(i));
        if (e.type == TR_EFFECT_READ_READY)
            answered(i, e);
    }
    void answered(uint8_t i, const tr_effect &e)
    {
        auto &asked = reads_[i];
        while (!asked.empty() && asked.front().id <= e.u.read_ready.id) {
            if (asked.front().cluster == w_.at(i)->cluster)
                fuzz::require(e.u.read_ready.slot >= asked.front().slot,
                              "a read sees what was chosen before it");
            asked.erase(asked.begin());
        }
    }

    struct Read {
        uint64_t id, cluster, slot;
    };

    fuzz::Input *in_;
    uint32_t kind_;
    Start &start_;
    World &w_;
    fuzz::Rings rings_;
    fuzz::Agreement agreement_;
    std::vector<Read> reads_[nodes];
    uint64_t read_id_[nodes] = {0};
    uint64_t number_ = 100, boots_ = 0;
    uint32_t rounds_left_ = rounds_max;
    bool lied_ = false;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz::Input in(data, bytes);
    Driver(&in).run();
    return 0;
}
