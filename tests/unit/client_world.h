/* A small world for the client's machine: nodes that agree by sharing one session table, and a
 * network between that loses, repeats and delays. Time and chance are the test's own. */
#ifndef TR_TESTS_UNIT_CLIENT_WORLD_H
#define TR_TESTS_UNIT_CLIENT_WORLD_H

#include "base/prng.h"
#include "client/machine.h"
#include "trireme/error.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace client_world
{

/* What the log knows of the one session, the same at every node. */
struct Table {
    uint64_t number = 0; /* 0: not registered */
    std::vector<uint64_t> applied;
    uint64_t acked = 0;
};

/* What may go wrong, in millionths. */
struct Faults {
    uint32_t drop = 0, duplicate = 0, delay = 0, forget = 0, move = 0;
};

class World
{
  public:
    static constexpr uint32_t kNodes = 3;
    static constexpr uint64_t kTick = 50000;

    World(uint64_t seed, const Faults &faults, uint32_t canary = 0, uint64_t deadline_ns = 0)
        : faults_(faults)
    {
        tr_prng_seed(&prng_, seed);
        tr_client_config_times(&config);
        config.cluster = 77;
        config.group = 5;
        config.node_count = kNodes;
        for (uint32_t i = 0; i < kNodes; i++)
            config.node[i] = static_cast<uint16_t>(i + 1);
        for (int i = 2; i < TR_WIRE_NONCE_BYTES; i++)
            config.nonce[i] = static_cast<uint8_t>(i * 11);
        config.window = 32;
        config.command_bytes_max = 64;
        config.queue_bytes = 4096;
        config.message_bytes_max = 2048;
        config.batch_bytes = 256;
        config.deadline_ns = deadline_ns;
        const char *why = nullptr;
        uint64_t bytes = tr_client_machine_bytes(&config, &why);
        memory_ = static_cast<uint8_t *>(aligned_alloc(64, (bytes + 63) / 64 * 64));
        memset(memory_, 0, bytes);
        machine = tr_client_machine_init(memory_, &config, now);
        machine->canary = canary;
    }
    ~World()
    {
        free(memory_);
    }
    World(const World &) = delete;
    World &operator=(const World &) = delete;

    struct tr_client_config config = {};
    tr_client_machine *machine;
    Table table;
    uint64_t now = 1000000000;
    uint32_t leader = 0; /* index of the node that leads */
    bool reachable[kNodes] = {true, true, true};
    uint32_t largest_message = 0;

    int submit(uint64_t value)
    {
        return tr_client_machine_submit(machine, &value, sizeof(value), nullptr, now);
    }
    int ask()
    {
        return tr_client_machine_ask(machine, nullptr, 0, nullptr, 0, now);
    }

    /* What the reply to a command is. */
    static uint64_t reply_of(uint64_t sequence, uint64_t value)
    {
        return sequence * 1000003 + value;
    }

    /* Moves the world on by one tick. */
    void tick()
    {
        now += kTick;
        if (tr_prng_chance(&prng_, faults_.forget))
            node_[tr_prng_below(&prng_, kNodes)] = Node();
        if (tr_prng_chance(&prng_, faults_.move))
            elect(static_cast<uint32_t>(tr_prng_below(&prng_, kNodes)));
        deliver();
        tr_client_machine_tick(machine, now);
        send();
    }

    void elect(uint32_t node)
    {
        leader = node;
        round_++;
    }
    /* The node forgets its attachments, as a new process. */
    void forget(uint32_t node)
    {
        node_[node] = Node();
    }
    /* Puts a message of a node into the network. */
    void inject(uint32_t node, const void *data, uint32_t bytes)
    {
        tr_client_machine_receive(machine, node, data, bytes, now);
    }
    /* A message of a node, begun in `buffer_` as it would say it. */
    void *begin(uint32_t node, tr_wire_type type)
    {
        void *body = tr_wire_begin(buffer_, type, config.cluster, config.group, node_[node].token);
        auto *header = reinterpret_cast<tr_wire_header *>(buffer_);
        header->leader = config.node[leader];
        header->round = round_;
        return body;
    }
    void inject_begun(uint32_t node, uint32_t tail_bytes)
    {
        uint32_t bytes = tr_wire_end(buffer_, tail_bytes);
        inject(node, buffer_, bytes);
    }
    uint64_t token(uint32_t node) const
    {
        return node_[node].token;
    }

  private:
    struct Node {
        uint64_t token = 0;
        bool attached = false;
        uint64_t next = 1;    /* sequence */
        uint64_t replied = 0; /* the last one sent */
        uint64_t read_taken = 0;
    };
    struct Packet {
        uint64_t due;
        bool to_node;
        uint32_t node;
        std::string bytes;
    };

    void put(bool to_node, uint32_t node, const void *data, uint32_t bytes)
    {
        int copies = 1 + tr_prng_chance(&prng_, faults_.duplicate);
        for (int i = 0; i < copies; i++) {
            if (!reachable[node] || tr_prng_chance(&prng_, faults_.drop))
                continue;
            uint64_t delay = kTick;
            if (tr_prng_chance(&prng_, faults_.delay))
                delay += tr_prng_below(&prng_, 40 * kTick);
            network_.push_back(
                {now + delay, to_node, node, std::string(static_cast<const char *>(data), bytes)});
        }
    }

    void deliver()
    {
        std::vector<Packet> due, later;
        for (Packet &p : network_)
            (p.due <= now ? due : later).push_back(std::move(p));
        network_ = std::move(later);
        for (Packet &p : due) {
            memcpy(arrival_, p.bytes.data(), p.bytes.size());
            uint32_t bytes = static_cast<uint32_t>(p.bytes.size());
            if (p.to_node)
                at_node(p.node, bytes);
            else
                tr_client_machine_receive(machine, p.node, arrival_, bytes, now);
        }
    }

    void send()
    {
        tr_client_out out;
        for (int i = 0; i < 8 && tr_client_machine_next(machine, &out); i++) {
            largest_message = out.bytes > largest_message ? out.bytes : largest_message;
            put(true, out.node, out.data, out.bytes);
            tr_client_machine_sent(machine);
        }
    }

    void answer(uint32_t node, uint32_t tail_bytes)
    {
        put(false, node, buffer_, tr_wire_end(buffer_, tail_bytes));
    }

    void at_node(uint32_t i, uint32_t bytes)
    {
        Node &n = node_[i];
        tr_wire_message m;
        if (tr_wire_open(arrival_, bytes, TR_WIRE_FROM_CLIENT, &m) != TR_WIRE_GOOD)
            abort(); /* the machine speaks the protocol */
        if (m.header->type == TR_WIRE_HELLO) {
            hello(i, n, m);
            return;
        }
        if (!n.attached || m.header->token != n.token) {
            auto *r = static_cast<tr_wire_refused *>(begin(i, TR_WIRE_REFUSED));
            reinterpret_cast<tr_wire_header *>(buffer_)->token = m.header->token;
            r->reason = TR_ESTALE;
            answer(i, 0);
        } else if (m.header->type == TR_WIRE_SUBMIT) {
            submitted(i, n, m);
        } else if (m.header->type == TR_WIRE_READ) {
            read(i, n, m);
        } else if (m.header->type == TR_WIRE_PING) {
            ping(i, n, m);
        }
    }

    void hello(uint32_t i, Node &n, const tr_wire_message &m)
    {
        const auto *h = static_cast<const tr_wire_hello *>(m.body);
        if (n.token == 0 || m.header->token != n.token) {
            n = Node();
            n.token = tr_prng_next(&prng_) | 1;
            auto *c = static_cast<tr_wire_challenge *>(begin(i, TR_WIRE_CHALLENGE));
            memcpy(c->nonce, h->nonce, sizeof(c->nonce));
            answer(i, 0);
            return;
        }
        if (table.number == 0)
            table.number = 4711;
        if (!n.attached) {
            n.attached = true;
            n.next = h->acked + 1;
            n.replied = h->acked;
            n.read_taken = h->read_acked;
        }
        auto *w = static_cast<tr_wire_welcome *>(begin(i, TR_WIRE_WELCOME));
        w->number = table.number;
        w->next = n.next;
        w->window = 16;
        w->command_bytes_max = w->reply_bytes_max = 64;
        answer(i, 0);
    }

    void state(uint32_t i, const Node &n, uint32_t flags)
    {
        auto *s = static_cast<tr_wire_state *>(begin(i, TR_WIRE_STATE));
        s->next = n.next;
        s->read_next = n.read_taken + 1;
        s->read_done = n.read_taken;
        s->flags = flags;
        answer(i, 0);
    }

    /* Applies as the log would: the next one is new, what is before is a duplicate. */
    void apply(uint64_t sequence, uint64_t value)
    {
        if (sequence == table.applied.size() + 1)
            table.applied.push_back(value);
    }

    void acknowledged(uint64_t acked)
    {
        table.acked = acked > table.acked ? acked : table.acked;
    }

    void submitted(uint32_t i, Node &n, const tr_wire_message &m)
    {
        const auto *s = static_cast<const tr_wire_submit *>(m.body);
        tr_wire_cursor cursor = tr_wire_commands(&m);
        acknowledged(s->acked);
        if (s->first > n.next) {
            state(i, n, TR_WIRE_STATE_GAP);
            return;
        }
        for (uint32_t k = 0; k < s->count; k++) {
            const uint8_t *data;
            uint64_t value = 0;
            uint32_t bytes = tr_wire_next(&cursor, &data);
            memcpy(&value, data, bytes < 8 ? bytes : 8);
            if (s->first + k != n.next)
                continue;
            apply(n.next++, value);
        }
        replies(i, n, n.replied + 1);
    }

    /* The replies from `first` on; what the client has acknowledged is not kept. */
    void replies(uint32_t i, Node &n, uint64_t first)
    {
        while (first < n.next) {
            auto *r = static_cast<tr_wire_reply *>(begin(i, TR_WIRE_REPLY));
            uint8_t *at = tr_wire_tail(buffer_);
            uint32_t count = static_cast<uint32_t>(n.next - first);
            count = count > 4 ? 4 : count;
            r->first = first;
            r->count = count;
            uint8_t *data = at + count * sizeof(tr_wire_done);
            for (uint32_t k = 0; k < count; k++) {
                bool kept = first + k > table.acked;
                tr_wire_done done = {kept ? 0 : TR_EUNKNOWN, kept ? 8u : 0u, first + k};
                uint64_t reply = reply_of(first + k, table.applied[first + k - 1]);
                memcpy(at + k * sizeof(done), &done, sizeof(done));
                memcpy(data, &reply, done.bytes);
                data += done.bytes;
            }
            answer(i, static_cast<uint32_t>(data - at));
            first += count;
        }
        n.replied = n.next - 1;
    }

    void read(uint32_t i, Node &n, const tr_wire_message &m)
    {
        const auto *r = static_cast<const tr_wire_read *>(m.body);
        acknowledged(r->acked);
        if (r->after >= n.next || r->id > n.read_taken + 1)
            return;
        n.read_taken = r->id > n.read_taken ? r->id : n.read_taken;
        auto *a = static_cast<tr_wire_read_reply *>(begin(i, TR_WIRE_READ_REPLY));
        uint64_t count = table.applied.size();
        a->id = r->id;
        a->bytes = 8;
        memcpy(tr_wire_tail(buffer_), &count, 8);
        answer(i, 8);
    }

    void ping(uint32_t i, Node &n, const tr_wire_message &m)
    {
        const auto *p = static_cast<const tr_wire_ping *>(m.body);
        acknowledged(p->acked);
        if (p->acked + 1 < n.next)
            replies(i, n, p->acked + 1);
        state(i, n, TR_WIRE_STATE_ANSWER);
    }

    Faults faults_;
    tr_prng prng_;
    uint8_t *memory_;
    uint64_t round_ = 1;
    Node node_[kNodes];
    std::vector<Packet> network_;
    alignas(8) uint8_t buffer_[4096];
    alignas(8) uint8_t arrival_[4096];
};

/* Submits 1 .. last with reads between, and checks all that comes back. Returns what is wrong; "":
 * nothing. */
inline std::string stream(World &w, uint64_t last, uint64_t ticks_max)
{
    uint64_t submitted = 0, completed = 0, asked = 0, read = 0;
    std::vector<uint64_t> before; /* completed when each read was asked */
    for (uint64_t t = 0; t < ticks_max; t++) {
        while (submitted < last && w.submit(submitted + 1) == TR_OK)
            submitted++;
        if (t % 16 == 0 && asked < last / 16 && w.ask() == TR_OK) {
            asked++;
            before.push_back(completed);
        }
        w.tick();
        while (const tr_client_done *d = tr_client_machine_take(w.machine)) {
            uint64_t reply = 0;
            if (d->status != 0)
                return "status " + std::to_string(d->status);
            if (d->reply_bytes != 8)
                return "no reply";
            memcpy(&reply, d->reply, 8);
            if (d->sequence == 0) {
                if (reply < before[read++])
                    return "stale read";
                continue;
            }
            completed++;
            if (d->sequence != completed || reply != World::reply_of(completed, completed))
                return "reply of another command at " + std::to_string(completed);
        }
        tr_client_machine_release(w.machine);
        if (completed == last && read == asked)
            break;
    }
    if (completed != last || read != asked)
        return "stuck at " + std::to_string(completed);
    if (w.table.applied.size() != last)
        return "applied " + std::to_string(w.table.applied.size());
    for (uint64_t i = 0; i < last; i++)
        if (w.table.applied[i] != i + 1)
            return "out of order at " + std::to_string(i + 1);
    return "";
}

} // namespace client_world

#endif
