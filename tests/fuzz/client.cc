/* The clients' protocol: any bytes as datagrams of either side, and datagrams of a node, changed on
 * their way with the CRC put right, to a client in every phase. What is read lies inside its
 * message; what a client completes it had submitted, once and in order. */
#include "base/crc32c.h"
#include "client/machine.h"
#include "client/wire.h"
#include "tests/fuzz/target.h"
#include "trireme/error.h"

#include <cstddef>

namespace
{

const uint64_t cluster = 7;
const uint32_t group = 3;

/* Puts mark, version and CRC right, so that what lies behind them is reached. */
void put_right(fuzz::Exact *message)
{
    if (message->size() < sizeof(tr_wire_header))
        return;
    auto *h = reinterpret_cast<tr_wire_header *>(message->data());
    h->mark = TR_WIRE_MARK;
    h->version = TR_WIRE_VERSION;
    h->reserved = 0;
    h->crc = tr_crc32c(0, message->data() + 4, message->size() - 4);
}

bool lies_in(const fuzz::Exact &whole, const uint8_t *begin, const uint8_t *at, uint64_t bytes)
{
    return at >= begin && bytes <= whole.size() &&
           static_cast<size_t>(at - begin) <= whole.size() - bytes;
}

/* The commands of a SUBMIT, walked naively over the format. The planted bug believes the count. */
void check_submit(fuzz::Exact *whole, const tr_wire_message &m, uint32_t count)
{
    tr_wire_cursor cursor = tr_wire_commands(&m);
    uint64_t acked = static_cast<const tr_wire_submit *>(m.body)->acked;
    fuzz::require(acked < static_cast<const tr_wire_submit *>(m.body)->first,
                  "a submit acknowledges what came before it");
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *size = cursor.sizes;
        if (size != nullptr)
            fuzz::require(lies_in(*whole, whole->data(), size, 4),
                          "what is read of a submit lies inside it");
        const uint8_t *data;
        uint32_t bytes = tr_wire_next(&cursor, &data);
        fuzz::require(lies_in(*whole, whole->data(), data, bytes),
                      "what is read of a submit lies inside it");
    }
}

void check_reply(fuzz::Exact *whole, const tr_wire_message &m)
{
    tr_wire_cursor cursor = tr_wire_replies(&m);
    for (uint32_t i = 0; i < static_cast<const tr_wire_reply *>(m.body)->count; i++) {
        const uint8_t *data;
        uint32_t bytes = tr_wire_next(&cursor, &data);
        fuzz::require(bytes == tr_wire_done_at(&m, i).bytes, "a reply is as long as it says");
        fuzz::require(lies_in(*whole, whole->data(), data, bytes),
                      "what is read of a reply lies inside it");
    }
}

/* Reads a message of a side, and everything that is in it. */
void check(fuzz::Exact *whole, tr_wire_side side)
{
    tr_wire_message m{};
    if (tr_wire_open(whole->data(), whole->size32(), side, &m) != TR_WIRE_GOOD)
        return;
    fuzz::require((m.header->type < TR_WIRE_CHALLENGE) == (side == TR_WIRE_FROM_CLIENT),
                  "a side says what is its own");
    fuzz::require(lies_in(*whole, whole->data(), m.tail, m.tail_bytes),
                  "a tail lies inside its message");
    if (m.header->type == TR_WIRE_SUBMIT) {
        uint32_t count = static_cast<const tr_wire_submit *>(m.body)->count;
        check_submit(whole, m, fuzz::planted() ? count + 64 : count);
    } else if (m.header->type == TR_WIRE_REPLY) {
        check_reply(whole, m);
    } else if (m.header->type == TR_WIRE_READ) {
        fuzz::require(static_cast<const tr_wire_read *>(m.body)->bytes <= m.tail_bytes,
                      "a query lies inside its message");
    } else if (m.header->type == TR_WIRE_READ_REPLY) {
        fuzz::require(static_cast<const tr_wire_read_reply *>(m.body)->bytes <= m.tail_bytes,
                      "an answer lies inside its message");
    }
}

/* A client that says what the input chooses, and hears what the input makes of a node. */
class Client
{
  public:
    Client()
    {
        tr_client_config config{};
        tr_client_config_times(&config);
        config.cluster = cluster;
        config.group = group;
        config.node_count = 2;
        config.node[0] = 1;
        config.node[1] = 2;
        config.window = 8;
        config.command_bytes_max = 32;
        config.queue_bytes = 256;
        config.message_bytes_max = 512;
        config.batch_bytes = 128;
        config.deadline_ns = 50000000;
        const char *why;
        uint64_t bytes = tr_client_machine_bytes(&config, &why);
        memory_ = aligned_alloc(64, (bytes + 63) / 64 * 64);
        memset(memory_, 0, bytes);
        machine_ = tr_client_machine_init(memory_, &config, now_);
    }
    ~Client()
    {
        free(memory_);
    }

    void submit(fuzz::Exact bytes)
    {
        tr_client_machine_submit(machine_, bytes.data(), bytes.size32() % 40, nullptr, now_);
    }
    void ask()
    {
        tr_client_machine_ask(machine_, nullptr, 0, nullptr, 0, now_);
    }
    void pass(uint64_t ns)
    {
        now_ += ns;
        tr_client_machine_tick(machine_, now_);
    }
    void down(uint32_t node)
    {
        tr_client_machine_down(machine_, node, now_);
    }
    /* What it sends is of the protocol. */
    void send()
    {
        tr_client_out out;
        for (int i = 0; i < 8 && tr_client_machine_next(machine_, &out); i++) {
            fuzz::Exact sent(out.data, out.bytes);
            tr_wire_message m{};
            fuzz::require(tr_wire_open(sent.data(), sent.size32(), TR_WIRE_FROM_CLIENT, &m) ==
                              TR_WIRE_GOOD,
                          "a client speaks the protocol");
            tr_client_machine_sent(machine_);
        }
    }
    /* A node's message, as an honest node would begin it: with the token that the client has. */
    void hear(fuzz::Exact message, bool honest)
    {
        if (honest && message.size() >= sizeof(tr_wire_header)) {
            auto *h = reinterpret_cast<tr_wire_header *>(message.data());
            h->cluster = cluster;
            h->group = group;
            if (machine_->token != 0)
                h->token = machine_->token;
            if (h->type == TR_WIRE_CHALLENGE && message.size() >= sizeof(*h) + 16)
                memset(message.data() + sizeof(*h), 0, 16);
            put_right(&message);
        }
        tr_client_machine_receive(machine_, machine_->target, message.data(), message.size32(),
                                  now_);
    }
    void take()
    {
        while (const tr_client_done *d = tr_client_machine_take(machine_)) {
            if (d->sequence == 0)
                continue;
            completed_++;
            fuzz::require(d->sequence == completed_, "completions come in order, each once");
            fuzz::require(d->sequence <= machine_->command.submitted,
                          "what completes was submitted");
        }
        tr_client_machine_release(machine_);
        fuzz::require(tr_client_machine_pending(machine_) <= 16, "what is pending is bounded");
    }

  private:
    void *memory_;
    tr_client_machine *machine_;
    uint64_t now_ = 1000000000;
    uint64_t completed_ = 0;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz::Input in(data, bytes);
    Client client;
    while (!in.ended()) {
        uint32_t choice = in.below(8);
        if (choice < 3) { /* a datagram of one of the sides, raw or with its CRC put right */
            fuzz::Exact message = in.take(8 * size_t(in.below(32)));
            if (choice != 0)
                put_right(&message);
            check(&message, choice == 1 ? TR_WIRE_FROM_CLIENT : TR_WIRE_FROM_NODE);
            if (choice != 1)
                client.hear(std::move(message), choice == 2);
        } else if (choice == 3) {
            client.submit(fuzz::Exact(40));
        } else if (choice == 4) {
            client.ask();
        } else if (choice == 5) {
            client.pass(uint64_t(in.u8()) * 500000);
        } else if (choice == 6) {
            client.send();
        } else {
            client.take();
            if (in.below(8) == 0)
                client.down(in.below(2));
        }
    }
    client.take();
    return 0;
}
