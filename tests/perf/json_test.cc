#include "perf/json.h"

#include "tests/perf/stream.h"

#include <gtest/gtest.h>

#include <cmath>

TEST(Json, AnEmptyDocumentIsAnEmptyObject)
{
    Stream out;
    tr_perf_json json = tr_perf_json_begin(out.file());
    tr_perf_json_end(&json);
    EXPECT_EQ(out.text(), "{\n}\n");
}

TEST(Json, MembersAreApartByCommas)
{
    Stream out;
    tr_perf_json json = tr_perf_json_begin(out.file());
    tr_perf_json_text(&json, "driver", "shm");
    tr_perf_json_integer(&json, "max", UINT64_MAX);
    tr_perf_json_number(&json, "ratio", 1.25);
    tr_perf_json_flag(&json, "equal", true);
    tr_perf_json_null(&json, "rate");
    tr_perf_json_end(&json);
    EXPECT_EQ(out.text(), "{\n  \"driver\": \"shm\",\n  \"max\": 18446744073709551615,\n"
                          "  \"ratio\": 1.25,\n  \"equal\": true,\n  \"rate\": null\n}\n");
}

TEST(Json, ObjectsAndArraysNest)
{
    Stream out;
    tr_perf_json json = tr_perf_json_begin(out.file());
    tr_perf_json_open_array(&json, "points");
    tr_perf_json_open_object(&json, nullptr);
    tr_perf_json_integer(&json, "a", 1);
    tr_perf_json_close_object(&json);
    tr_perf_json_integer(&json, nullptr, 2);
    tr_perf_json_close_array(&json);
    tr_perf_json_open_object(&json, "none");
    tr_perf_json_close_object(&json);
    tr_perf_json_end(&json);
    EXPECT_EQ(out.text(), "{\n  \"points\": [\n    {\n      \"a\": 1\n    },\n    2\n  ],\n"
                          "  \"none\": {}\n}\n");
}

TEST(Json, TextIsEscaped)
{
    Stream out;
    tr_perf_json json = tr_perf_json_begin(out.file());
    tr_perf_json_text(&json, "a\"b", "c\\d\n\x01");
    tr_perf_json_end(&json);
    EXPECT_EQ(out.text(), "{\n  \"a\\\"b\": \"c\\\\d\\u000a\\u0001\"\n}\n");
}

TEST(Json, ANumberThatIsNoneIsNull)
{
    Stream out;
    tr_perf_json json = tr_perf_json_begin(out.file());
    tr_perf_json_number(&json, "a", NAN);
    tr_perf_json_number(&json, "b", INFINITY);
    tr_perf_json_end(&json);
    EXPECT_EQ(out.text(), "{\n  \"a\": null,\n  \"b\": null\n}\n");
}
