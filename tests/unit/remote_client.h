/* A remote client of a test cluster (cluster_fixture.h). */
#ifndef TR_TESTS_UNIT_REMOTE_CLIENT_H
#define TR_TESTS_UNIT_REMOTE_CLIENT_H

#include "tests/unit/cluster_fixture.h"
#include "trireme/client.h"

namespace cluster
{

/* Its options, and how it lies beside the cluster. */
struct Remote {
    Cluster &cluster;
    tr_client *client = nullptr;
    int opened = 0;
    std::string error;

    explicit Remote(Cluster &c, const std::function<void(tr_client_options &)> &change = {})
        : cluster(c)
    {
        std::vector<std::string> addresses;
        std::vector<tr_peer> nodes;
        for (int i = 0; i < c.layout.nodes; i++)
            addresses.push_back(c.client_address(i));
        for (int i = 0; i < c.layout.nodes; i++)
            nodes.push_back({static_cast<uint16_t>(i + 1), addresses[(size_t)i].c_str()});
        tr_client_options o = TR_CLIENT_OPTIONS_INIT;
        std::string name = "test" + c.tag;
        o.cluster = name.c_str();
        o.nodes = nodes.data();
        o.node_count = static_cast<uint32_t>(nodes.size());
        o.driver = c.layout.driver.c_str();
        o.window = 256;
        o.queue_bytes = 1 << 20;
        o.message_bytes_max = c.layout.client_message_bytes_max;
        o.fabric = c.fabric;
        if (change)
            change(o);
        char why[512] = "";
        opened = tr_client_open(&o, &client, why, sizeof(why));
        error = why;
    }
    ~Remote()
    {
        tr_client_close(client);
    }
    Remote(const Remote &) = delete;
    Remote &operator=(const Remote &) = delete;

    int submit(uint64_t number)
    {
        return tr_client_submit(client, &number, sizeof(number), reinterpret_cast<void *>(number));
    }
    /* The next completion. */
    bool next(tr_completion *out)
    {
        return cluster.until([&] { return tr_client_poll(client, out, 1) == 1; });
    }
    struct tr_client_status status() const
    {
        struct tr_client_status s;
        tr_client_status(client, &s);
        return s;
    }
};

inline uint64_t sum_of(const tr_completion &c)
{
    uint64_t sum = 0;
    if (c.reply_bytes == sizeof(sum))
        memcpy(&sum, c.reply, sizeof(sum));
    return sum;
}

/* What a machine's hash is after the numbers 1 .. last, each once and in order. */
inline uint64_t hash_up_to(uint64_t last)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (uint64_t n = 1; n <= last; n++)
        for (int b = 0; b < 8; b++)
            hash = (hash ^ ((n >> (8 * b)) & 0xff)) * 0x100000001b3;
    return hash;
}

/* A client that submits 1, 2, 3 ... with a full window and checks every completion. */
class Stream
{
  public:
    Stream(Remote &remote, uint64_t last) : remote_(remote), last_(last) {}

    /* One turn of the client. Returns whether everything is done. */
    bool turn()
    {
        tr_completion done[32];
        while (submitted_ < last_ && remote_.submit(submitted_ + 1) == 0)
            submitted_++;
        uint32_t count = tr_client_poll(remote_.client, done, 32);
        for (uint32_t i = 0; i < count; i++) {
            completed++;
            sum_ += completed;
            EXPECT_EQ(done[i].status, 0) << "command " << completed;
            EXPECT_EQ(done[i].sequence, completed);
            EXPECT_EQ(reinterpret_cast<uintptr_t>(done[i].user), completed);
            EXPECT_EQ(sum_of(done[i]), sum_) << "command " << completed;
        }
        return completed == last_;
    }

    uint64_t completed = 0;

  private:
    Remote &remote_;
    uint64_t last_, submitted_ = 0, sum_ = 0;
};

/* Runs a stream up to so many completions. */
inline bool run(Cluster &c, Stream &s, uint64_t completions)
{
    return c.until([&] { return s.turn() || s.completed >= completions; });
}

/* Every living replica has applied 1 .. last, each once and in order. */
inline void expect_once(Cluster &c, uint64_t last)
{
    ASSERT_TRUE(c.agree());
    for (Node &n : c.nodes) {
        if (n.node == nullptr)
            continue;
        EXPECT_EQ(n.machine[0]->count, last);
        EXPECT_EQ(n.machine[0]->hash, hash_up_to(last));
    }
}

/* A stream of `last` commands whose leader closes when the first third is done. */
inline void expect_once_across_leaders(Cluster &c, Remote &remote, uint64_t last)
{
    Stream stream(remote, last);
    ASSERT_TRUE(run(c, stream, last / 3));
    c.close(c.leader());
    ASSERT_TRUE(run(c, stream, last)) << stream.completed;
    expect_once(c, last);
}

} // namespace cluster

#endif
