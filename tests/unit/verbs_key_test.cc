// The exchange of the verbs driver: who has the cluster's key reads what the other end sealed, once
// and in order; nobody else does.
#include "drivers/verbs/key.h"

#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/stat.h>
#include <trireme/error.h>
#include <unistd.h>

namespace
{

// One end of a connection.
struct End {
    tr_verbs_hello hello = {};
    uint8_t secret[32] = {};
    uint8_t key[TR_VERBS_KEY_BYTES] = {};
    tr_verbs_session session = {};
};

class VerbsKey : public ::testing::Test
{
  protected:
    void SetUp() override
    {
        client.hello.from = server.hello.to = 2;
        client.hello.to = server.hello.from = 1;
        for (End *end : {&client, &server}) {
            memset(end->key, 0x17, sizeof(end->key));
            ASSERT_TRUE(tr_verbs_hello_make(&end->hello, end->secret));
        }
    }

    void derive()
    {
        ASSERT_TRUE(tr_verbs_session_derive(&client.session, client.key, client.secret,
                                            &client.hello, &server.hello, true));
        ASSERT_TRUE(tr_verbs_session_derive(&server.session, server.key, server.secret,
                                            &client.hello, &server.hello, false));
    }

    void seal(End &end, uint8_t value)
    {
        uint8_t frame[TR_VERBS_FRAME_BYTES];
        memset(frame, value, sizeof(frame));
        tr_verbs_frame_seal(&end.session, frame, sealed);
    }

    // The value that an end reads; -1: it reads nothing.
    int open(End &end)
    {
        uint8_t frame[TR_VERBS_FRAME_BYTES];
        return tr_verbs_frame_open(&end.session, sealed, frame) ? frame[0] : -1;
    }

    int read_file(const std::string &text, mode_t mode)
    {
        std::string path = ::testing::TempDir() + "verbs." + std::to_string(getpid()) + ".key";
        std::ofstream(path) << text;
        chmod(path.c_str(), mode);
        error[0] = '\0';
        int result = tr_verbs_key_read(path.c_str(), key, error, sizeof(error));
        unlink(path.c_str());
        return result;
    }

    End client, server;
    uint8_t sealed[TR_VERBS_FRAME_BYTES + TR_VERBS_SEAL_BYTES];
    uint8_t key[TR_VERBS_KEY_BYTES];
    char error[512] = "";
};

TEST_F(VerbsKey, BothEndsReadEachOther)
{
    derive();
    for (uint8_t i = 1; i < 10; i++) {
        seal(client, i);
        EXPECT_EQ(open(server), i);
        seal(server, i);
        EXPECT_EQ(open(client), i);
    }
}

TEST_F(VerbsKey, AnotherClustersKeyReadsNothing)
{
    server.key[5] ^= 1;
    derive();
    seal(client, 1);
    EXPECT_EQ(open(server), -1);
}

TEST_F(VerbsKey, ChangedHelloReadsNothing)
{
    End honest = client;
    derive();
    client.hello.from = 3; // on its way to the server
    ASSERT_TRUE(tr_verbs_session_derive(&server.session, server.key, server.secret, &client.hello,
                                        &server.hello, false));
    seal(client, 1);
    EXPECT_EQ(open(server), -1);
    client = honest;
    derive();
    seal(client, 1);
    EXPECT_EQ(open(server), 1) << "and the honest one does";
}

TEST_F(VerbsKey, FramesAreNotRepeatedLeftOutTurnedRoundOrChanged)
{
    derive();
    seal(client, 1);
    EXPECT_EQ(open(client), -1) << "sent back";
    EXPECT_EQ(open(server), 1);
    EXPECT_EQ(open(server), -1) << "repeated";
    seal(client, 2);
    seal(client, 3);
    EXPECT_EQ(open(server), -1) << "one was left out";
    derive();
    for (size_t i = 0; i < sizeof(sealed); i++) {
        seal(client, 4);
        sealed[i] ^= 1;
        EXPECT_EQ(open(server), -1) << "byte " << i;
        sealed[i] ^= 1;
        EXPECT_EQ(open(server), 4) << "byte " << i;
    }
}

TEST_F(VerbsKey, PointOfNoHonestEndIsRefused)
{
    memset(client.hello.point, 0, sizeof(client.hello.point));
    EXPECT_FALSE(tr_verbs_session_derive(&server.session, server.key, server.secret, &client.hello,
                                         &server.hello, false));
}

TEST_F(VerbsKey, FileIsReadOnlyWhereOthersCannot)
{
    const std::string digits(64, 'a');
    EXPECT_EQ(read_file(digits + "\n", 0600), TR_OK) << error;
    EXPECT_EQ(key[0], 0xaa);
    EXPECT_EQ(key[31], 0xaa);
    EXPECT_EQ(read_file(digits, 0640), TR_OK) << error;
    EXPECT_EQ(read_file(digits, 0644), TR_EPERM);
    EXPECT_NE(strstr(error, "chmod 600"), nullptr) << error;
    EXPECT_EQ(read_file(digits + "aa", 0600), TR_EINVAL);
    EXPECT_EQ(read_file("short", 0600), TR_EINVAL);
    EXPECT_EQ(read_file("", 0600), TR_EINVAL);
    EXPECT_EQ(tr_verbs_key_read("/nowhere/key", key, error, sizeof(error)), TR_ENOENT);
    EXPECT_NE(strstr(error, "openssl rand"), nullptr) << error;
}

} // namespace
