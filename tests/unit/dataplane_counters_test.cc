/* The counters segment: written here, read by another process, and not believed blindly. */
#include "dataplane/counters.h"

#include "dataplane/process.h"
#include "trireme/error.h"

#include <cstring>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace
{

std::string own_name(const char *what)
{
    return "test" + std::to_string(getpid()) + "." + what;
}

/* A row by its name, read anew; kind stays as it was when there is none. */
bool find(tr_stat *stat, const std::string &name, struct tr_stat_row *out)
{
    for (uint32_t i = 0; tr_stat_row(stat, i, out) == TR_OK; i++)
        if (name == out->name)
            return true;
    return false;
}

/* What a child process does and answers: 0 is well. */
int in_child(const std::function<int()> &work)
{
    pid_t child = fork();
    if (child == 0)
        _exit(work());
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

TEST(Counters, AnotherProcessReadsThemWhileTheyChange)
{
    tr_counters c;
    std::string name = own_name("read");
    ASSERT_EQ(tr_counters_open(&c, name.c_str()), TR_OK);
    uint64_t *sent = tr_counters_add(&c, TR_STAT_COUNTER, "port 0", "sent", "messages sent");
    tr_histogram *delay = tr_counters_add_histogram(&c, "lcore 0", "delay", "how long");
    tr_counter_add(sent, 41);
    tr_counter_add(sent, 1);
    for (uint64_t i = 1; i <= 1000; i++)
        tr_histogram_record(delay, i);
    EXPECT_GT(tr_counters_bytes(&c), sizeof(tr_histogram));
    int status = in_child([&] {
        tr_stat *stat = nullptr;
        struct tr_stat_row row = {};
        char error[200];
        if (tr_stat_open(name.c_str(), &stat, error, sizeof(error)) != TR_OK)
            return 1;
        if (!find(stat, "sent", &row) || row.value != 42 || row.kind != TR_STAT_COUNTER ||
            strcmp(row.scope, "port 0") != 0 || strcmp(row.help, "messages sent") != 0)
            return 2;
        if (!find(stat, "delay", &row) || row.value != 1000 || row.max_ns != 1000 ||
            row.p50_ns < 450 || row.p50_ns > 550)
            return 3;
        if (tr_stat_alive(stat) != 1 || tr_stat_row(stat, 2, &row) != TR_ENOENT)
            return 4;
        tr_stat_close(stat);
        return 0;
    });
    EXPECT_EQ(status, 0);
    bool listed = false;
    struct Context {
        bool *listed;
        std::string *name;
    } context = {&listed, &name};
    tr_stat_list(
        [](void *at, const char *one) {
            Context *seen = static_cast<Context *>(at);
            *seen->listed |= *seen->name == one;
        },
        &context);
    EXPECT_TRUE(listed);
    tr_counters_close(&c);
    tr_stat *stat = nullptr;
    EXPECT_EQ(tr_stat_open(name.c_str(), &stat, nullptr, 0), TR_ENOENT);
}

TEST(Counters, ANameInUseByALivingProcessIsRefused)
{
    tr_counters c, other;
    std::string name = own_name("busy");
    ASSERT_EQ(tr_counters_open(&c, name.c_str()), TR_OK);
    EXPECT_EQ(tr_counters_open(&other, name.c_str()), TR_EBUSY);
    tr_counters_close(&c);
    for (const char *bad : {"a/b", "..\\x", "white space", "\xc3\xa4"})
        EXPECT_EQ(tr_counters_open(&other, bad), TR_EINVAL) << bad;
    EXPECT_EQ(tr_counters_open(&other, std::string(TR_COUNTERS_NAME_MAX + 1, 'a').c_str()),
              TR_EINVAL);
}

TEST(Counters, ADeadProcessesSegmentIsToldApartAndReplaced)
{
    tr_counters c;
    std::string name = own_name("dead");
    ASSERT_EQ(in_child([&] {
                  tr_counters left;
                  int status = tr_counters_open(&left, name.c_str());
                  *tr_counters_add(&left, TR_STAT_GAUGE, "node", "old", "") = 7;
                  return status; /* without closing it */
              }),
              0);
    tr_stat *stat = nullptr;
    struct tr_stat_row row = {};
    ASSERT_EQ(tr_stat_open(name.c_str(), &stat, nullptr, 0), TR_OK);
    EXPECT_EQ(tr_stat_alive(stat), 0);
    EXPECT_TRUE(find(stat, "old", &row)); /* what it counted can still be read */
    EXPECT_EQ(row.value, 7u);
    ASSERT_EQ(tr_counters_open(&c, name.c_str()), TR_OK);
    tr_stat *fresh = nullptr;
    ASSERT_EQ(tr_stat_open(name.c_str(), &fresh, nullptr, 0), TR_OK);
    EXPECT_EQ(tr_stat_alive(fresh), 1);
    EXPECT_FALSE(find(fresh, "old", &row));
    tr_stat_close(fresh);
    tr_stat_close(stat);
    tr_counters_close(&c);
}

TEST(Counters, WithoutANameNobodyReadsThem)
{
    tr_counters c;
    ASSERT_EQ(tr_counters_open(&c, ""), TR_OK);
    uint64_t *value = tr_counters_add(&c, TR_STAT_COUNTER, "node", "x", "");
    tr_counter_add(value, 3);
    EXPECT_EQ(*value, 3u);
    tr_counters_close(&c);
    tr_counters_close(&c); /* once is enough, twice is harmless */
}

TEST(Counters, WhenTheSegmentIsFullFurtherOnesCountForNobody)
{
    tr_counters c;
    ASSERT_EQ(tr_counters_open(&c, ""), TR_OK);
    for (uint32_t i = 0; i < TR_COUNTERS_ROWS_MAX + 10; i++)
        tr_counter_add(tr_counters_add(&c, TR_STAT_COUNTER, "node", "x", ""), 1);
    tr_histogram_record(tr_counters_add_histogram(&c, "node", "h", ""), 5);
    EXPECT_EQ(c.header->row_count, TR_COUNTERS_ROWS_MAX);
    tr_counters_close(&c);
}

TEST(Counters, LongTextsAreCut)
{
    tr_counters c;
    std::string name = own_name("long"), text(500, 'x');
    ASSERT_EQ(tr_counters_open(&c, name.c_str()), TR_OK);
    tr_counters_add(&c, TR_STAT_COUNTER, text.c_str(), text.c_str(), text.c_str());
    tr_stat *stat = nullptr;
    struct tr_stat_row row = {};
    ASSERT_EQ(tr_stat_open(name.c_str(), &stat, nullptr, 0), TR_OK);
    ASSERT_EQ(tr_stat_row(stat, 0, &row), TR_OK);
    EXPECT_EQ(std::string(row.name), text.substr(0, 31));
    EXPECT_EQ(std::string(row.help), text.substr(0, 111));
    tr_stat_close(stat);
    tr_counters_close(&c);
}

/* A segment that a test damages. */
class Damaged : public ::testing::Test
{
  protected:
    Damaged() : name(own_name("damaged"))
    {
        EXPECT_EQ(tr_counters_open(&c, name.c_str()), TR_OK);
        tr_counters_add(&c, TR_STAT_COUNTER, "node", "one", "help");
        tr_counters_add_histogram(&c, "node", "two", "help");
        row = reinterpret_cast<tr_counters_row *>(reinterpret_cast<uint8_t *>(c.header) +
                                                  c.header->rows_offset);
    }
    ~Damaged() override
    {
        tr_counters_close(&c);
    }
    int open()
    {
        tr_stat *stat = nullptr;
        char error[300] = "";
        int status = tr_stat_open(name.c_str(), &stat, error, sizeof(error));
        if (status != TR_OK) {
            EXPECT_NE(std::string(error).find(name), std::string::npos);
        }
        tr_stat_close(stat);
        return status;
    }
    int read_row(uint32_t index)
    {
        tr_stat *stat = nullptr;
        struct tr_stat_row out;
        EXPECT_EQ(tr_stat_open(name.c_str(), &stat, nullptr, 0), TR_OK);
        int status = tr_stat_row(stat, index, &out);
        tr_stat_close(stat);
        return status;
    }
    std::string name;
    tr_counters c;
    tr_counters_row *row;
};

TEST_F(Damaged, AHeaderThatCannotBeIsRefused)
{
    const tr_counters_header good = *c.header;
    EXPECT_EQ(open(), TR_OK);
    auto attempt = [&](const std::function<void(tr_counters_header *)> &change) {
        change(c.header);
        int status = open();
        *c.header = good;
        return status;
    };
    using Header = tr_counters_header;
    EXPECT_EQ(attempt([](Header *h) { h->magic = 0; }), TR_EPROTO);
    EXPECT_EQ(attempt([](Header *h) { h->version++; }), TR_EVERSION);
    EXPECT_EQ(attempt([](Header *h) { h->row_bytes = 8; }), TR_EPROTO);
    EXPECT_EQ(attempt([](Header *h) { h->total_bytes++; }), TR_EPROTO);
    EXPECT_EQ(attempt([](Header *h) { h->total_bytes = UINT64_MAX; }), TR_EPROTO);
    EXPECT_EQ(attempt([](Header *h) { h->rows_offset = UINT64_MAX - 7; }), TR_EPROTO);
    EXPECT_EQ(attempt([](Header *h) { h->rows_offset += 4; }), TR_EPROTO);
    EXPECT_EQ(attempt([](Header *h) { h->values_offset = h->total_bytes + 8; }), TR_EPROTO);
}

TEST_F(Damaged, ARowThatCannotBeIsRefused)
{
    const tr_counters_row good = row[1];
    uint64_t total = c.header->total_bytes;
    EXPECT_EQ(read_row(1), TR_OK);
    auto attempt = [&](const std::function<void(tr_counters_row *)> &change) {
        change(&row[1]);
        int status = read_row(1);
        row[1] = good;
        return status;
    };
    using Row = tr_counters_row;
    EXPECT_EQ(attempt([](Row *r) { r->kind = 3; }), TR_EPROTO);
    EXPECT_EQ(attempt([](Row *r) { r->value_offset = 0; }), TR_EPROTO);
    EXPECT_EQ(attempt([](Row *r) { r->value_offset += 4; }), TR_EPROTO);
    EXPECT_EQ(attempt([=](Row *r) { r->value_offset = total - 8; }), TR_EPROTO);
    EXPECT_EQ(attempt([](Row *r) { r->value_offset = UINT64_MAX - 7; }), TR_EPROTO);
    EXPECT_EQ(attempt([](Row *r) { memset(r->name, 'x', sizeof(r->name)); }), TR_EPROTO);
    EXPECT_EQ(attempt([](Row *r) { memset(r->scope, 'x', sizeof(r->scope)); }), TR_EPROTO);
    EXPECT_EQ(attempt([](Row *r) { memset(r->help, 'x', sizeof(r->help)); }), TR_EPROTO);
    EXPECT_EQ(read_row(0), TR_OK);
    tr_store_relaxed(&c.header->row_count, UINT32_MAX); /* more than there is room for */
    EXPECT_EQ(read_row(TR_COUNTERS_ROWS_MAX), TR_ENOENT);
    EXPECT_EQ(read_row(UINT32_MAX - 1), TR_ENOENT);
}

TEST_F(Damaged, AHistogramOfNonsenseIsReadWithoutHarm)
{
    uint8_t *value = reinterpret_cast<uint8_t *>(c.header) + row[1].value_offset;
    memset(value, 0xff, sizeof(tr_histogram));
    EXPECT_EQ(read_row(1), TR_OK);
}

TEST_F(Damaged, AFileTooShortForAHeaderIsRefused)
{
    std::string short_name = own_name("short"), path = "/" TR_COUNTERS_PREFIX + short_name;
    int fd = shm_open(path.c_str(), O_RDWR | O_CREAT, 0600);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(ftruncate(fd, 10), 0);
    tr_stat *stat = nullptr;
    EXPECT_EQ(tr_stat_open(short_name.c_str(), &stat, nullptr, 0), TR_EPROTO);
    ASSERT_EQ(ftruncate(fd, 4096), 0);
    EXPECT_EQ(tr_stat_open(short_name.c_str(), &stat, nullptr, 0), TR_EPROTO);
    close(fd);
    tr_counters other; /* half made by a process that died: replaced */
    EXPECT_EQ(tr_counters_open(&other, short_name.c_str()), TR_OK);
    tr_counters_close(&other);
    EXPECT_EQ(tr_stat_open("../../etc/passwd", &stat, nullptr, 0), TR_ENOENT);
}

TEST(Process, IsToldFromALaterOneOfTheSameId)
{
    uint32_t self = (uint32_t)getpid();
    uint64_t born = tr_process_born(self);
    EXPECT_NE(born, 0u);
    EXPECT_TRUE(tr_process_alive(self, born));
    EXPECT_FALSE(tr_process_alive(self, born + 1));
    EXPECT_FALSE(tr_process_alive(self, 0));
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    siginfo_t info; /* it has ended, and is not waited for: a zombie runs nothing */
    ASSERT_EQ(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    EXPECT_EQ(tr_process_born((uint32_t)child), 0u);
    waitpid(child, nullptr, 0);
    EXPECT_EQ(tr_process_born((uint32_t)child), 0u);
}

} // namespace
