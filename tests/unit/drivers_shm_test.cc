// The shm driver's segments: who may have a name, what happens to what a dead process left, and who
// counts as alive. (Messages and rings are the conformance suite's.)
#include "drivers/shm/segment.h"
#include "drivers/shm/shm.h"
#include "drivers_port.h"

#include <atomic>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <trireme/error.h>
#include <unistd.h>

namespace
{

using tr_test::port;

std::string name(const std::string &node)
{
    return "unit-" + std::to_string(getpid()) + "-" + node;
}

std::string path(const std::string &full_name)
{
    return "/dev/shm/trireme." + full_name + ".q0";
}

bool exists(const std::string &file)
{
    struct stat s;
    return stat(file.c_str(), &s) == 0;
}

void write_file(const std::string &file, const std::string &bytes, mode_t mode)
{
    int fd = open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC, mode);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(fchmod(fd, mode), 0);
    ASSERT_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    close(fd);
}

// The control blocks of a segment, as any process of the user may map them.
struct view {
    explicit view(const std::string &file)
    {
        int fd = open(file.c_str(), O_RDWR);
        struct stat s;
        EXPECT_EQ(fstat(fd, &s), 0);
        segment.base = static_cast<unsigned char *>(mmap(
            nullptr, static_cast<size_t>(s.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        bytes = static_cast<size_t>(s.st_size);
        close(fd);
        segment.shape = tr_shm_identity_of(&segment)->shape;
        segment.at = tr_shm_layout_of(&segment.shape);
    }

    ~view()
    {
        munmap(segment.base, bytes);
    }

    tr_shm_identity *identity() const
    {
        return tr_shm_identity_of(&segment);
    }

    tr_shm_segment segment = {};
    size_t bytes;
};

// Runs in a process of its own until it is killed; tells by a byte when it is ready.
struct child {
    explicit child(const std::function<void()> &run)
    {
        int ends[2];
        EXPECT_EQ(pipe(ends), 0);
        pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(60);
            run();
            char byte = 'r';
            if (write(ends[1], &byte, 1) == 1)
                pause();
            _exit(0);
        }
        close(ends[1]);
        char byte = 0;
        EXPECT_EQ(read(ends[0], &byte, 1), 1);
        close(ends[0]);
    }

    ~child()
    {
        end();
    }

    void end()
    {
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, nullptr, 0);
        }
        pid = 0;
    }

    pid_t pid;
};

// Leaves a segment with granted rings behind, whose process was killed.
void leave_behind(const std::string &full_name, unsigned rings)
{
    child dead([&] {
        port *p = new port;
        if (p->open(tr_driver_shm, "shm:" + full_name) != TR_OK)
            _exit(1);
        for (unsigned i = 0; i < rings; i++) {
            tr_ring_options options = {};
            tr_ring_info info;
            tr_ring_token token;
            options.peer = 2;
            options.bytes = 4096;
            if ((*p)->ring_create(p->get(), &options, &info) != TR_OK ||
                (*p)->ring_grant(p->get(), info.ring, 100 + i, &token) != TR_OK)
                _exit(1);
        }
    });
}

TEST(ShmSegment, IsAFileOfItsUserThatGoesWithThePort)
{
    std::string node = name("mode");
    port p;
    ASSERT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_OK) << p.error;
    struct stat file;
    ASSERT_EQ(stat(path(node).c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777, 0600u);
    p.close();
    EXPECT_FALSE(exists(path(node)));
}

TEST(ShmSegment, NamesAreCheckedBeforeTheyBecomePaths)
{
    for (const char *bad :
         {"", "shm:", "shm:.", "shm:..", "shm:a/b", "shm:../a", "shm:a b", "shm:.a", "udp:a",
          "shm:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}) {
        port p;
        EXPECT_EQ(p.open(tr_driver_shm, bad), TR_EADDR) << bad;
        EXPECT_NE(std::string(p.error).find("shm:NAME"), std::string::npos) << p.error;
    }
    EXPECT_STREQ(tr_shm_address_name("shm:a-b_c.9"), "a-b_c.9");
}

TEST(ShmSegment, ALivingOwnerIsNamedAndLeftAlone)
{
    std::string node = name("busy");
    child owner([&] {
        port *p = new port;
        if (p->open(tr_driver_shm, "shm:" + node) != TR_OK)
            _exit(1);
    });
    port p;
    EXPECT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_EBUSY);
    std::string error = p.error;
    EXPECT_NE(error.find("process " + std::to_string(owner.pid)), std::string::npos) << error;
    EXPECT_NE(error.find("stop it, or choose another name"), std::string::npos) << error;
    EXPECT_EQ(tr_load_acquire(&view(path(node)).identity()->state), TR_SHM_OPEN);
    owner.end();
    EXPECT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_OK) << p.error;
}

TEST(ShmSegment, ADeadOnesRingsAreFencedForEverBeforeItIsReplaced)
{
    std::string node = name("dead");
    leave_behind(node, 3);
    view old(path(node));
    for (uint32_t i = 0; i < 3; i++)
        ASSERT_EQ(tr_load_acquire(&tr_shm_ring_of(&old.segment, i)->fence), 100u + i);
    port p;
    ASSERT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_OK) << p.error;
    for (uint32_t i = 0; i < 3; i++)
        EXPECT_EQ(tr_load_acquire(&tr_shm_ring_of(&old.segment, i)->fence), 0u);
    EXPECT_EQ(tr_load_acquire(&tr_shm_identity_of(&old.segment)->state), TR_SHM_DEAD);
    view now(path(node));
    EXPECT_NE(tr_shm_identity_of(&now.segment)->incarnation,
              tr_shm_identity_of(&old.segment)->incarnation);
    EXPECT_EQ(tr_load_acquire(&tr_shm_identity_of(&now.segment)->state), TR_SHM_OPEN);
}

TEST(ShmSegment, AnOrderlyCloseFencesForEverToo)
{
    std::string node = name("closed");
    port p;
    ASSERT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_OK);
    tr_ring_options options = {};
    tr_ring_info info;
    tr_ring_token token;
    options.peer = 2;
    options.bytes = 4096;
    ASSERT_EQ(p->ring_create(p.get(), &options, &info), TR_OK);
    ASSERT_EQ(p->ring_grant(p.get(), info.ring, 5, &token), TR_OK);
    view old(path(node));
    ASSERT_EQ(tr_load_acquire(&tr_shm_ring_of(&old.segment, 0)->fence), 5u);
    p.close();
    EXPECT_EQ(tr_load_acquire(&tr_shm_ring_of(&old.segment, 0)->fence), 0u);
    EXPECT_EQ(tr_load_acquire(&tr_shm_identity_of(&old.segment)->state), TR_SHM_CLOSED);
}

TEST(ShmSegment, WhatIsNotOursToReplaceIsRefusedAndLeft)
{
    std::string node = name("foreign");
    port p;
    write_file(path(node), "not a segment", 0600);
    EXPECT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_EADDR);
    EXPECT_NE(std::string(p.error).find("remove it"), std::string::npos) << p.error;
    EXPECT_TRUE(exists(path(node)));
    unlink(path(node).c_str());

    leave_behind(node, 0); // one that others could have written to
    ASSERT_EQ(chmod(path(node).c_str(), 0666), 0);
    EXPECT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_EPERM);
    ASSERT_EQ(chmod(path(node).c_str(), 0600), 0);
    view(path(node)).identity()->version++; // one of another version: it may have rings
    EXPECT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_EADDR);
    view(path(node)).identity()->version--;
    EXPECT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_OK) << p.error;
    p.close();

    ASSERT_EQ(symlink("/dev/null", path(node).c_str()), 0);
    EXPECT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_EPERM);
    unlink(path(node).c_str());
}

TEST(ShmSegment, PeersDoNotAttachWhatIsNotToBeTrusted)
{
    std::string node = name("attach");
    port p;
    ASSERT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_OK);
    view own(path(node));
    tr_shm_identity *identity = tr_shm_identity_of(&own.segment);
    tr_shm_segment found;
    auto attach = [&] {
        int result = tr_shm_segment_attach(&found, node.c_str(), 0, 0);
        if (result == TR_OK)
            tr_shm_segment_detach(&found);
        return result;
    };
    EXPECT_EQ(attach(), TR_OK);
    tr_shm_identity honest;
    memcpy(static_cast<void *>(&honest), identity, sizeof(honest));
    auto with = [&](const std::function<void()> &lie) {
        lie();
        int result = attach();
        memcpy(static_cast<void *>(identity), &honest, sizeof(honest));
        return result;
    };
    EXPECT_EQ(with([&] { identity->magic++; }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->version++; }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->identity_bytes++; }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->incarnation = 0; }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->queue = 7; }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->name[0] ^= 1; }), TR_EPROTO);
    EXPECT_EQ(with([&] { memset(identity->name, 'x', sizeof(identity->name)); }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->shape.lane_count = 0; }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->shape.lane_count = UINT32_MAX; }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->shape.lane_bytes += 64; }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->shape.lane_bytes *= 2; }), TR_EPROTO) << "beyond the file";
    EXPECT_EQ(with([&] { identity->shape.message_bytes_max = identity->shape.lane_bytes; }),
              TR_EPROTO);
    EXPECT_EQ(with([&] { identity->shape.ring_count = UINT32_MAX; }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->ring_made = UINT32_MAX; }), TR_EPROTO);
    EXPECT_EQ(with([&] { identity->state = TR_SHM_CLOSED; }), TR_AGAIN);
    EXPECT_EQ(with([&] { identity->life_at = 3; }), TR_AGAIN);
    EXPECT_EQ(with([&] { identity->life_at = UINT32_MAX - 3; }), TR_AGAIN);
    ASSERT_EQ(chmod(path(node).c_str(), 0640), 0);
    EXPECT_EQ(attach(), TR_EPERM);
    ASSERT_EQ(chmod(path(node).c_str(), 0600), 0);
    EXPECT_EQ(attach(), TR_OK);
    EXPECT_EQ(tr_shm_segment_attach(&found, node.c_str(), 1, 0), TR_AGAIN) << "another queue";
}

TEST(ShmSegment, OfSeveralThatStartUnderADeadOnesNameOneSucceeds)
{
    constexpr unsigned starters = 6;
    for (unsigned lap = 0; lap < 5; lap++) {
        std::string node = name("race" + std::to_string(lap));
        leave_behind(node, 1);
        int result_ends[2], go_ends[2];
        ASSERT_EQ(pipe(result_ends), 0);
        ASSERT_EQ(pipe(go_ends), 0);
        pid_t pids[starters];
        for (pid_t &pid : pids) {
            pid = fork();
            if (pid != 0)
                continue;
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(60);
            char byte;
            close(go_ends[1]);
            if (read(go_ends[0], &byte, 1) != 0) // its end is the start
                _exit(1);
            port *p = new port;
            int result = p->open(tr_driver_shm, "shm:" + node);
            if (write(result_ends[1], &result, sizeof(result)) == sizeof(result))
                pause();
            _exit(0);
        }
        close(go_ends[0]);
        close(go_ends[1]);
        unsigned ok = 0, busy = 0;
        for (unsigned i = 0; i < starters; i++) {
            int result = 1;
            ASSERT_EQ(read(result_ends[0], &result, sizeof(result)),
                      static_cast<ssize_t>(sizeof(result)));
            ok += result == TR_OK;
            busy += result == TR_EBUSY;
        }
        EXPECT_EQ(ok, 1u);
        EXPECT_EQ(busy, starters - 1);
        for (pid_t pid : pids) {
            kill(pid, SIGKILL);
            waitpid(pid, nullptr, 0);
        }
        close(result_ends[0]);
        close(result_ends[1]);
        unlink(path(node).c_str());
    }
}

TEST(ShmSegment, APortMayMoveToAnotherThreadWhoseLifeItThenIs)
{
    std::string node = name("moves"), peer_node = name("watches");
    port p, peer;
    peer.options.self = 2;
    std::atomic<int> stage{0};
    std::thread opener([&] {
        EXPECT_EQ(p.open(tr_driver_shm, "shm:" + node), TR_OK);
        EXPECT_EQ(p->peer_add(p.get(), 2, ("shm:" + peer_node).c_str()), TR_OK);
        stage = 1;
        while (stage != 2)
            std::this_thread::yield();
    });
    while (stage != 1)
        std::this_thread::yield();
    ASSERT_EQ(peer.open(tr_driver_shm, "shm:" + peer_node), TR_OK);
    ASSERT_EQ(peer->peer_add(peer.get(), 1, ("shm:" + node).c_str()), TR_OK);
    tr_rx rx[4];
    tr_port_event event[4];
    uint32_t events = 0;
    for (unsigned i = 0; i < 100000000 && events == 0; i++) {
        p->rx_burst(p.get(), rx, 4);
        peer->rx_burst(peer.get(), rx, 4);
        events = peer->events(peer.get(), event, 4);
    }
    ASSERT_EQ(events, 1u);
    ASSERT_EQ(event[0].type, TR_PORT_PEER_UP);
    stage = 2; // the opener ends; the thread that polls goes on
    opener.join();
    for (unsigned i = 0; i < 20000; i++) {
        p->rx_burst(p.get(), rx, 4);
        peer->rx_burst(peer.get(), rx, 4);
        ASSERT_EQ(peer->events(peer.get(), event, 4), 0u);
    }
    // Until that one ends too, without a close: then it is dead, though the process lives.
    std::thread last([&] {
        for (unsigned i = 0; i < 1000; i++)
            p->rx_burst(p.get(), rx, 4);
    });
    last.join();
    for (unsigned i = 0; i < 100000000 && events != 0; i++) {
        peer->rx_burst(peer.get(), rx, 4);
        events = peer->events(peer.get(), event, 4) == 0;
    }
    EXPECT_EQ(event[0].type, TR_PORT_PEER_DOWN);
    p.close();
}

TEST(ShmSegment, NoRoomIsAnErrorAndLeavesNothing)
{
    std::string node = name("full");
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit = {8192, 8192};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        port p;
        char told[600] = {};
        int result = p.open(tr_driver_shm, "shm:" + node);
        snprintf(told, sizeof(told), "%d %s", result, p.error);
        if (write(ends[1], told, sizeof(told)) != sizeof(told))
            _exit(1);
        _exit(0);
    }
    char told[600] = {};
    ASSERT_EQ(read(ends[0], told, sizeof(told)), static_cast<ssize_t>(sizeof(told)));
    waitpid(pid, nullptr, 0);
    close(ends[0]);
    close(ends[1]);
    EXPECT_EQ(atoi(told), TR_ENOMEM) << told;
    EXPECT_NE(std::string(told).find("/dev/shm"), std::string::npos) << told;
    EXPECT_FALSE(exists(path(node)));
}

TEST(ShmLayout, LanesHoldTheirLargestMessageHoweverItFalls)
{
    for (uint32_t message : {1u, 100u, 4096u, 65536u, 1u << 20, (1u << 20) + 65536u, 5u << 20}) {
        for (uint32_t asked : {0u, 1u, 65536u, 1u << 20, 100000000u}) {
            uint32_t bytes = tr_shm_lane_bytes(message, asked);
            ASSERT_NE(bytes, 0u);
            EXPECT_TRUE(tr_is_power_of_two(bytes));
            EXPECT_GE(bytes, asked);
            // The worst: the rest of the lane is one line too short, all but a publish was told.
            uint64_t need = tr_shm_message_room(message) + TR_CACHE_LINE;
            EXPECT_LE(2 * need + tr_shm_publish_bytes(bytes), bytes) << message;
        }
    }
    EXPECT_EQ(tr_shm_lane_bytes(UINT32_MAX / 2, 0), 0u);
    EXPECT_EQ(tr_shm_lane_bytes(1, UINT32_MAX), 0u);
}

TEST(ShmPort, HearsManySendersEachInItsOrder)
{
    constexpr unsigned senders = 20;
    constexpr uint64_t each = 300;
    std::string node = name("hears");
    port receiver;
    receiver.options.self = 100;
    receiver.options.peers_max = senders;
    receiver.options.message_bytes_max = 1024;
    receiver.options.queue_bytes = 65536;
    ASSERT_EQ(receiver.open(tr_driver_shm, "shm:" + node), TR_OK) << receiver.error;
    std::vector<std::unique_ptr<port>> from;
    for (unsigned i = 0; i < senders; i++) {
        std::string sender = node + "-" + std::to_string(i);
        from.push_back(std::make_unique<port>());
        from[i]->options.self = static_cast<tr_node_id>(1 + i);
        from[i]->options.message_bytes_max = 1024;
        from[i]->options.queue_bytes = 65536;
        ASSERT_EQ(from[i]->open(tr_driver_shm, "shm:" + sender), TR_OK);
        ASSERT_EQ((*from[i])->peer_add(from[i]->get(), 100, ("shm:" + node).c_str()), TR_OK);
        ASSERT_EQ(receiver->peer_add(receiver.get(), static_cast<tr_node_id>(1 + i),
                                     ("shm:" + sender).c_str()),
                  TR_OK);
    }
    unsigned up = 0;
    tr_rx rx[16];
    tr_port_event event[4];
    for (unsigned i = 0; i < 100000000 && up < senders; i++) {
        for (auto &p : from) {
            (*p)->rx_burst(p->get(), rx, 16);
            up += (*p)->events(p->get(), event, 4);
        }
        receiver->rx_burst(receiver.get(), rx, 16);
    }
    ASSERT_EQ(up, senders);
    uint64_t sent[senders] = {}, received[senders + 1] = {}, total = 0;
    for (unsigned turn = 0; turn < 10000000 && total < senders * each; turn++) {
        unsigned i = turn * 7 % senders;
        if (sent[i] < each) {
            tr_tx tx = {};
            tx.peer = 100;
            tx.segment_count = 1;
            tx.segment[0] = {&sent[i], 8};
            sent[i] += (*from[i])->tx_burst(from[i]->get(), &tx, 1);
        }
        uint32_t count = receiver->rx_burst(receiver.get(), rx, 16);
        for (uint32_t k = 0; k < count; k++) {
            uint64_t number;
            ASSERT_EQ(rx[k].bytes, 8u);
            ASSERT_TRUE(rx[k].peer >= 1 && rx[k].peer <= senders);
            memcpy(&number, rx[k].data, 8);
            ASSERT_EQ(number, received[rx[k].peer]++);
            total++;
        }
    }
    EXPECT_EQ(total, senders * each);
}

} // namespace
