/* Hostile datagrams at the door: a socket says whatever it likes, and an honest client beside it
 * notices nothing. */
#include "base/crc32c.h"
#include "base/prng.h"
#include "client/wire.h"
#include "consensus/message.h"
#include "dataplane/door.h"
#include "dataplane/node.h"
#include "drivers/fragment.h"
#include "tests/unit/remote_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace
{

using namespace cluster;

/* A socket that speaks to a node's door, the first one's unless told. */
class Stranger
{
  public:
    explicit Stranger(Cluster &c, int node = 0) : cluster_(c)
    {
        fd_ = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        to_.sin_family = AF_INET;
        to_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        to_.sin_port = htons(static_cast<uint16_t>(c.port_base + 8 + node));
    }
    ~Stranger()
    {
        close(fd_);
    }
    Stranger(const Stranger &) = delete;
    Stranger &operator=(const Stranger &) = delete;

    void *begin(tr_wire_type type, uint64_t token = 0)
    {
        std::string name = "test" + cluster_.tag;
        return tr_wire_begin(buffer_, type, tr_wire_cluster(name.c_str()), 0, token);
    }
    uint8_t *tail()
    {
        return tr_wire_tail(buffer_);
    }
    tr_wire_header *header()
    {
        return reinterpret_cast<tr_wire_header *>(buffer_);
    }
    /* Sends what was begun, in a frame of the udp driver. */
    void send(uint32_t tail_bytes = 0)
    {
        send_raw(buffer_, tr_wire_end(buffer_, tail_bytes));
    }
    void send_raw(const void *data, uint32_t bytes)
    {
        std::vector<uint8_t> frame(TR_FRAME_BYTES + bytes);
        tr_frame_write(frame.data(), bytes);
        memcpy(frame.data() + TR_FRAME_BYTES, data, bytes);
        send_bytes(frame.data(), frame.size());
    }
    void send_bytes(const void *data, size_t bytes)
    {
        sendto(fd_, data, bytes, 0, reinterpret_cast<const sockaddr *>(&to_), sizeof(to_));
    }
    /* The next answer; its type, 0: none came in a thousand turns. */
    int answer(tr_wire_message *out)
    {
        for (int i = 0; i < 1000; i++) {
            ssize_t got = recv(fd_, in_, sizeof(in_), 0);
            if (got > static_cast<ssize_t>(TR_FRAME_BYTES) &&
                tr_wire_open(in_ + TR_FRAME_BYTES, tr_load_le32(in_ + 4), TR_WIRE_FROM_NODE, out) ==
                    TR_WIRE_GOOD)
                return out->header->type;
            cluster_.turn();
        }
        return 0;
    }
    int reason(const tr_wire_message &m) const
    {
        return static_cast<const tr_wire_refused *>(m.body)->reason;
    }
    void hello(uint8_t nonce, uint64_t token, uint64_t acked)
    {
        auto *hello = static_cast<tr_wire_hello *>(begin(TR_WIRE_HELLO, token));
        hello->nonce[2] = nonce;
        hello->acked = acked;
    }
    /* Asks to be let in, and does not come: the token. */
    uint64_t invitation(uint8_t nonce)
    {
        tr_wire_message m{};
        hello(nonce, 0, 0);
        send();
        return answer(&m) == TR_WIRE_CHALLENGE ? m.header->token : 0;
    }
    /* Becomes a client with this nonce; the token, 0: it was not let in. */
    uint64_t attach(uint8_t nonce, uint64_t acked = 0)
    {
        tr_wire_message m{};
        uint64_t token = 0;
        for (int i = 0; i < 1000; i++) {
            hello(nonce, token, acked);
            send();
            int type = answer(&m);
            if (type == TR_WIRE_WELCOME)
                return m.header->token;
            if (type == TR_WIRE_REFUSED)
                return 0;
            if (type == TR_WIRE_CHALLENGE)
                token = m.header->token;
        }
        return 0;
    }

  private:
    Cluster &cluster_;
    int fd_;
    sockaddr_in to_ = {};
    alignas(8) uint8_t buffer_[65536];
    alignas(8) uint8_t in_[65536];
};

class Door : public ::testing::Test
{
  protected:
    Door() : cluster_(layout())
    {
        EXPECT_TRUE(cluster_.wait_leader());
    }
    static Layout layout()
    {
        Layout l;
        l.driver = "udp";
        l.clients = true;
        l.clients_max = 2;
        return l;
    }
    const tr_door &door() const
    {
        return *cluster_.nodes[0].node->lcore[0].door;
    }
    /* The cluster serves an honest client. */
    void serves()
    {
        Remote r(cluster_);
        tr_completion done;
        ASSERT_EQ(r.submit(1), 0);
        ASSERT_TRUE(r.next(&done));
        EXPECT_EQ(done.status, 0);
        ASSERT_TRUE(cluster_.agree());
    }

    Cluster cluster_;
};

TEST_F(Door, NoiseIsCountedAndDropped)
{
    Stranger s(cluster_);
    tr_prng prng;
    tr_prng_seed(&prng, 5);
    uint8_t noise[512];
    for (int i = 0; i < 500; i++) {
        uint32_t bytes = static_cast<uint32_t>(tr_prng_below(&prng, sizeof(noise)));
        for (uint32_t b = 0; b < bytes; b++)
            noise[b] = static_cast<uint8_t>(tr_prng_next(&prng));
        if (i % 2 == 0)
            s.send_bytes(noise, bytes);
        else if (bytes != 0)
            s.send_raw(noise, bytes);
        cluster_.turn();
    }
    EXPECT_TRUE(cluster_.until([&] { return *door().stats.malformed > 200; }));
    serves();
}

TEST_F(Door, WhoHasNoAttachmentIsToldSo)
{
    Stranger s(cluster_);
    tr_wire_message m{};
    static_cast<tr_wire_ping *>(s.begin(TR_WIRE_PING, 12345))->sent = 3;
    s.send();
    ASSERT_EQ(s.answer(&m), TR_WIRE_REFUSED);
    EXPECT_EQ(s.reason(m), TR_ESTALE);
    EXPECT_EQ(m.header->token, 12345u);
    EXPECT_EQ(door().active_count, 0u) << "it takes no place";
}

TEST_F(Door, AnotherVersionClusterOrGroupIsToldSo)
{
    Stranger s(cluster_);
    tr_wire_message m{};
    s.begin(TR_WIRE_HELLO);
    s.header()->version = 9;
    s.send();
    ASSERT_EQ(s.answer(&m), TR_WIRE_REFUSED);
    EXPECT_EQ(s.reason(m), TR_EVERSION);
    s.begin(TR_WIRE_HELLO);
    s.header()->group = 77;
    s.send();
    ASSERT_EQ(s.answer(&m), TR_WIRE_REFUSED);
    EXPECT_EQ(s.reason(m), TR_ENOENT);
    s.begin(TR_WIRE_HELLO);
    s.header()->cluster ^= 1;
    s.send();
    ASSERT_EQ(s.answer(&m), TR_WIRE_REFUSED);
    EXPECT_EQ(s.reason(m), TR_EPERM);
}

TEST_F(Door, WithoutTheTokenNothingIsServed)
{
    Stranger s(cluster_);
    tr_wire_message m{};
    s.begin(TR_WIRE_HELLO);
    s.send();
    ASSERT_EQ(s.answer(&m), TR_WIRE_CHALLENGE);
    uint64_t token = m.header->token;
    s.begin(TR_WIRE_HELLO, token ^ 1);
    s.send();
    EXPECT_EQ(s.answer(&m), TR_WIRE_CHALLENGE) << "a guess is no token";
    auto *submit = static_cast<tr_wire_submit *>(s.begin(TR_WIRE_SUBMIT, token));
    submit->first = submit->count = 1;
    submit->bytes_each = 8;
    memset(s.tail(), 0, 8);
    s.send(8);
    ASSERT_EQ(s.answer(&m), TR_WIRE_REFUSED) << "it was not let in yet";
    EXPECT_EQ(s.reason(m), TR_ESTALE);
    EXPECT_EQ(*door().stats.commands, 0u);
}

TEST_F(Door, ClientsAboveTheLimitAreRefused_AndThoseWithoutTokenGiveWay)
{
    Stranger a(cluster_), b(cluster_), d(cluster_);
    ASSERT_NE(a.attach(1), 0u);
    ASSERT_NE(b.attach(2), 0u);
    tr_wire_message m{};
    static_cast<tr_wire_hello *>(d.begin(TR_WIRE_HELLO))->nonce[2] = 3;
    d.send();
    ASSERT_EQ(d.answer(&m), TR_WIRE_REFUSED);
    EXPECT_EQ(d.reason(m), TR_EFULL);
    EXPECT_EQ(door().active_count, 2u);
}

TEST_F(Door, WithoutTokensAtHandNobodyTakesAPlace_UntilSomeAreDrawn)
{
    Stranger a(cluster_), b(cluster_);
    tr_door *d = cluster_.nodes[0].node->lcore[0].door;
    uint64_t later = d->now_ns + UINT64_C(3600000000000);
    d->token_count = 0;
    d->slow_ns = later;
    tr_wire_message m{};
    for (int i = 0; i < 3; i++) {
        a.begin(TR_WIRE_HELLO);
        a.send();
        EXPECT_EQ(a.answer(&m), 0);
    }
    EXPECT_EQ(d->active_count, 0u);
    d->slow_ns = 0;
    ASSERT_NE(a.attach(1), 0u);
    EXPECT_LE(d->token_count, static_cast<uint32_t>(TR_DOOR_TOKENS));
    ASSERT_NE(b.attach(2), 0u);
    EXPECT_EQ(d->active_count, 2u);
    ASSERT_NE(d->place[0].token, d->place[1].token);
}

TEST_F(Door, AFloodOfHellosDoesNotKeepAnHonestClientOut)
{
    std::vector<std::unique_ptr<Stranger>> flood;
    for (int i = 0; i < 20; i++)
        flood.push_back(std::make_unique<Stranger>(cluster_));
    Remote r(cluster_);
    ASSERT_EQ(r.submit(1), 0);
    tr_completion done;
    uint64_t turns = 0;
    ASSERT_TRUE(cluster_.until([&] {
        for (int i = 0; i < 20 && turns % 64 == 0; i++) {
            auto *h = static_cast<tr_wire_hello *>(flood[(size_t)i]->begin(TR_WIRE_HELLO));
            h->nonce[2] = static_cast<uint8_t>(i);
            flood[(size_t)i]->send();
        }
        turns++;
        return tr_client_poll(r.client, &done, 1) == 1;
    }));
    EXPECT_EQ(done.status, 0);
}

TEST_F(Door, LiesOfAClientAreCountedAndChangeNothing)
{
    Stranger s(cluster_);
    uint64_t token = s.attach(1);
    ASSERT_NE(token, 0u);
    uint64_t lies = *door().stats.malformed;
    auto *submit = static_cast<tr_wire_submit *>(s.begin(TR_WIRE_SUBMIT, token));
    submit->first = 1000; /* far ahead, and acknowledging what was never sent */
    submit->acked = 999;
    submit->count = 1;
    submit->bytes_each = 0;
    s.send();
    auto *ping = static_cast<tr_wire_ping *>(s.begin(TR_WIRE_PING, token));
    ping->acked = ping->sent = 77;
    s.send();
    auto *read = static_cast<tr_wire_read *>(s.begin(TR_WIRE_READ, token));
    read->id = 1;
    read->acked = read->after = 55;
    s.send();
    ASSERT_TRUE(cluster_.until([&] { return *door().stats.malformed == lies + 3; }));
    submit = static_cast<tr_wire_submit *>(s.begin(TR_WIRE_SUBMIT, token));
    submit->first = 5; /* a gap is no lie */
    submit->count = 1;
    s.send();
    tr_wire_message m{};
    ASSERT_EQ(s.answer(&m), TR_WIRE_STATE);
    EXPECT_EQ(static_cast<const tr_wire_state *>(m.body)->next, 1u);
    EXPECT_EQ(*door().stats.commands, 0u);
    serves();
}

TEST_F(Door, AClaimToHaveRepliesOfCommandsThatWereNeverAppliedIsRefused)
{
    Stranger s(cluster_);
    EXPECT_EQ(s.attach(1, 1000), 0u);
    ASSERT_TRUE(cluster_.until([&] { return door().active_count == 0; }));
    serves();
}

/* A replica that lags applies the attachments of before when the client has come to it already,
 * with replies that it got of others. */
TEST_F(Door, WhatAClientHasIsNotComparedWithAnEarlierAttachment)
{
    Stranger late(cluster_), early(cluster_, 1);
    tr_wire_message m{};
    uint64_t invited = late.invitation(1);
    ASSERT_NE(invited, 0u);
    cluster_.stopped = &cluster_.nodes[0];
    uint64_t token = early.attach(1);
    ASSERT_NE(token, 0u);
    auto *submit = static_cast<tr_wire_submit *>(early.begin(TR_WIRE_SUBMIT, token));
    submit->first = 1;
    submit->count = 1;
    submit->bytes_each = 8;
    memset(early.tail(), 0, 8);
    early.send(8);
    do {
        ASSERT_NE(early.answer(&m), 0);
    } while (m.header->type != TR_WIRE_REPLY);

    late.hello(1, invited, 1);
    late.send();
    cluster_.stopped = nullptr;
    EXPECT_NE(late.attach(1, 1), 0u);
}

TEST_F(Door, ACommandAboveTheLimitIsRefused)
{
    Stranger s(cluster_);
    uint64_t token = s.attach(1);
    ASSERT_NE(token, 0u);
    uint32_t bytes = cluster_.layout.client_message_bytes_max + 8;
    auto *submit = static_cast<tr_wire_submit *>(s.begin(TR_WIRE_SUBMIT, token));
    submit->first = submit->count = 1;
    submit->bytes_each = bytes;
    memset(s.tail(), 0, bytes);
    s.send(bytes);
    tr_wire_message m{};
    ASSERT_EQ(s.answer(&m), TR_WIRE_REFUSED);
    EXPECT_EQ(s.reason(m), TR_ETOOBIG);
    EXPECT_EQ(*door().stats.commands, 0u);
}

/* The ports share nothing: a peer's message is noise to the door. */
TEST_F(Door, NobodyPosesAsAPeer)
{
    Stranger s(cluster_);
    uint64_t malformed = *door().stats.malformed;
    uint8_t message[64] = {0};
    message[4] = TR_MESSAGE_VERSION;
    message[5] = TR_MESSAGE_HEARTBEAT;
    tr_store_le16(message + 6, 2); /* from node 2 */
    s.send_raw(message, sizeof(message));
    ASSERT_TRUE(cluster_.until([&] { return *door().stats.malformed == malformed + 1; }));
    EXPECT_EQ(*cluster_.nodes[0].node->lcore[0].stats.rx_wrong_sender, 0u);
    serves();
}

} // namespace
