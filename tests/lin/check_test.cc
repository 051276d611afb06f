// Where a history gets stuck, how that is drawn, and when the checker gives up.
#include "tests/lin/draw.h"
#include "tests/lin/generator.h"
#include "tests/lin/judge.h"
#include "tests/perf/stream.h"

#include <gtest/gtest.h>

namespace
{

// A register whose third read, of client 3, shows a value that was overwritten.
const char *const stale = "model register\n"
                          "1 write r a ok 0 10\n"
                          "2 write r b ok 20 30\n"
                          "3 read r b 35 38\n"
                          "4 write r z - 36 -\n"
                          "3 read r a 40 50\n"
                          "1 write r c ok 45 70\n"
                          "2 read r nothing 60 80\n";

std::string drawing_of(const lin::judgement &j, void (*draw)(FILE *, const tr_lin_view *))
{
    tr_lin_view view;
    tr_lin_view_make(&view, &j.report.failure);
    Stream stream;
    draw(stream.file(), &view);
    tr_lin_view_release(&view);
    return stream.text();
}

} // namespace

TEST(failure, is_the_first_return_that_nothing_explains)
{
    lin::judgement j(stale);
    ASSERT_TRUE(j.is_read) << j.error;
    ASSERT_EQ(TR_LIN_NOT_LINEARIZABLE, j.report.verdict);
    const tr_lin_failure &f = j.report.failure;
    EXPECT_TRUE(f.is_shortest);
    EXPECT_EQ(50, f.part.ops[f.stuck].end);
    EXPECT_EQ(3u, f.order_count); // a, b, and the read of b
}

TEST(failure, is_drawn_as_text)
{
    lin::judgement j(stale);
    ASSERT_TRUE(j.is_read) << j.error;
    EXPECT_EQ(
        "key \"r\", 7 operations: stuck at one that ended at 50\n"
        "An order that explains everything before (the last of its 3 operations):\n"
        "        1  client 1    set \"a\"                                      from 0 to 10; then "
        "\"a\"\n"
        "        2  client 2    set \"b\"                                      from 20 to 30; then "
        "\"b\"\n"
        "        3  client 3    get = \"b\"                                    from 35 to 38; then "
        "\"b\"\n"
        "Under way and not in it:\n"
        "           client 4    set \"z\" = ?                                  from 36, no return\n"
        "           client 1    set \"c\"                                      from 45 to 70\n"
        "No order explains:\n"
        "           client 3    get = \"a\"                                    from 40 to 50\n"
        "\"a\" was last written by client 1, between 0 and 10.\n"
        "One row a client, time to the right; XX cannot be explained, what has no number is not\n"
        "in the order:\n"
        "     1  [1---]                  [------->\n"
        "     2        [2---]\n"
        "     3              [3------][XX-----]\n"
        "     4                 [---------------->\n",
        drawing_of(j, tr_lin_draw_text));
}

TEST(failure, is_drawn_as_a_picture)
{
    lin::judgement j(stale);
    ASSERT_TRUE(j.is_read) << j.error;
    std::string svg = drawing_of(j, tr_lin_draw_svg);
    EXPECT_EQ(0u, svg.find("<svg "));
    EXPECT_EQ(svg.size() - 7, svg.find("</svg>\n"));
    EXPECT_NE(
        svg.npos,
        svg.find(">Key \"r\" is not linearizable: no order explains get = \"a\" of client 3<"));
    for (const char *words :
         {">set \"z\" = ?<", ">2: \"b\"<", ">no order explains it<", ">client 4<"})
        EXPECT_NE(svg.npos, svg.find(words)) << words;
}

TEST(failure, of_the_worst_case_is_drawn_within_its_room)
{
    // Every client asks much at once, values are long, and the failure is deep inside.
    std::string text = "model kv\n";
    std::string value(300, '<');
    for (int i = 0; i < 200; i++)
        text += std::to_string(i % 3) + " append k \"" + value + std::to_string(i) + "\" ok " +
                std::to_string(i) + " " + std::to_string(i + 20) + "\n";
    text += "4 get k never 150 160\n";
    lin::judgement j(text);
    ASSERT_TRUE(j.is_read) << j.error;
    ASSERT_EQ(TR_LIN_NOT_LINEARIZABLE, j.report.verdict);
    std::string svg = drawing_of(j, tr_lin_draw_svg);
    EXPECT_EQ(svg.npos, svg.find("<<"));
    EXPECT_NE(std::string::npos, drawing_of(j, tr_lin_draw_text).find("[XX"));
}

TEST(failure, is_drawn_for_generated_histories_of_all_kinds)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        lin::plan p;
        p.kinds = {"get", "set", "append", "del"};
        p.operations = 120;
        p.clients = 6;
        p.keys = 3;
        p.lost_ppm = 50000;
        p.stale_ppm = 300000;
        lin::judgement j(lin::text_of(p.model, lin::generator(p, seed).run()));
        ASSERT_TRUE(j.is_read) << j.error;
        ASSERT_EQ(TR_LIN_NOT_LINEARIZABLE, j.report.verdict) << "seed " << seed;
        std::string text = drawing_of(j, tr_lin_draw_text);
        EXPECT_NE(text.npos, text.find("[XX")) << text;
    }
}

TEST(search, over_its_limit_gives_up)
{
    std::string text = "model counter\n";
    for (int i = 0; i < 40; i++) // 2^40 sums, none of which is right
        text +=
            std::to_string(i) + " add c " + std::to_string((INT64_C(1) << i) - 40) + " ok 0 100\n";
    text += "99 read c 1 0 100\n";
    tr_lin_limits limits = tr_lin_limits_default();
    limits.memory_bytes = 8 << 20;
    lin::judgement by_memory(text, limits);
    ASSERT_TRUE(by_memory.is_read) << by_memory.error;
    EXPECT_EQ(TR_LIN_UNKNOWN, by_memory.report.verdict);
    limits.step_count = 1000;
    lin::judgement by_steps(text, limits);
    EXPECT_EQ(TR_LIN_UNKNOWN, by_steps.report.verdict);
    EXPECT_EQ(1001u, by_steps.report.step_count);
}

TEST(search, that_gave_one_key_up_still_finds_another_bad)
{
    std::string text = "model counter\n";
    for (int i = 0; i < 40; i++)
        text +=
            std::to_string(i) + " add c " + std::to_string((INT64_C(1) << i) - 40) + " ok 0 100\n";
    text += "99 read c 1 0 100\n1 read d 5 0 1\n";
    tr_lin_limits limits = tr_lin_limits_default();
    limits.step_count = 1000;
    lin::judgement j(text, limits);
    ASSERT_TRUE(j.is_read) << j.error;
    EXPECT_EQ(TR_LIN_NOT_LINEARIZABLE, j.report.verdict);
    EXPECT_EQ(1u, j.report.bad_count);
    EXPECT_EQ(1u, j.report.unknown_count);
}
