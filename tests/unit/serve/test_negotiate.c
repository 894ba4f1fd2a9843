/* Ranges, codings and tags, row by row after RFC 9110. */
#include "serve/negotiate.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void ranges(void **state)
{
    static const struct {
        const char *value;
        uint64_t size;
        enum mg_range expected;
        uint64_t first, last;
        const char *sentence;
    } rows[] = {
        {"bytes=0-9", 100, MG_RANGE_PART, 0, 9, "the first ten"},
        {"bytes=0-0", 100, MG_RANGE_PART, 0, 0, "one byte"},
        {"bytes=90-", 100, MG_RANGE_PART, 90, 99, "from there to the end"},
        {"bytes=90-1000", 100, MG_RANGE_PART, 90, 99, "an end beyond the body is its end"},
        {"bytes=-5", 100, MG_RANGE_PART, 95, 99, "the last five"},
        {"bytes=-500", 100, MG_RANGE_PART, 0, 99, "more than all is all"},
        {"Bytes = 0-9", 100, MG_RANGE_WHOLE, 0, 0, "blanks within the unit are malformed"},
        {"BYTES=0-9", 100, MG_RANGE_PART, 0, 9, "units have no case"},
        {" bytes=0-9 ", 100, MG_RANGE_PART, 0, 9, "blanks around do not count"},
        {"bytes=100-", 100, MG_RANGE_OUTSIDE, 0, 0, "behind the last byte"},
        {"bytes=-0", 100, MG_RANGE_OUTSIDE, 0, 0, "the last none"},
        {"bytes=0-", 0, MG_RANGE_OUTSIDE, 0, 0, "of an empty body"},
        {"bytes=-1", 0, MG_RANGE_OUTSIDE, 0, 0, "the last byte of an empty body"},
        {"bytes=18446744073709551615-18446744073709551616", 100, MG_RANGE_OUTSIDE, 0, 0, "beyond 64 bits"},
        {"bytes=0-99999999999999999999999", 100, MG_RANGE_PART, 0, 99, "an end beyond 64 bits"},
        {"bytes=5-2", 100, MG_RANGE_WHOLE, 0, 0, "backwards is malformed"},
        {"bytes=--5", 100, MG_RANGE_WHOLE, 0, 0, "two signs"},
        {"bytes=+1-2", 100, MG_RANGE_WHOLE, 0, 0, "a plus"},
        {"bytes=1 -2", 100, MG_RANGE_WHOLE, 0, 0, "a blank within"},
        {"bytes=-", 100, MG_RANGE_WHOLE, 0, 0, "no number at all"},
        {"bytes=5", 100, MG_RANGE_WHOLE, 0, 0, "no hyphen"},
        {"bytes=", 100, MG_RANGE_WHOLE, 0, 0, "nothing"},
        {"bytes=0-1,4-5", 100, MG_RANGE_WHOLE, 0, 0, "several are answered whole"},
        {"pages=0-9", 100, MG_RANGE_WHOLE, 0, 0, "another unit"},
        {"", 100, MG_RANGE_WHOLE, 0, 0, "empty"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t first = 0, last = 0;
        enum mg_range got = mg_range_parse(mg_span(rows[i].value), rows[i].size, &first, &last);
        if (got != rows[i].expected || first != rows[i].first || last != rows[i].last)
            fail_msg("%s (%s): %d %llu-%llu", rows[i].sentence, rows[i].value, got, (unsigned long long)first,
                     (unsigned long long)last);
    }
}

static void codings(void **state)
{
    static const struct {
        const char *value;
        bool expected;
        const char *sentence;
    } rows[] = {
        {"gzip", true, "the plain word"},
        {"br, GZIP ;q=0.5", true, "no case, blanks before the parameter"},
        {"deflate, gzip", true, "in a list"},
        {"*", true, "a star is anything"},
        {"*;q=0", false, "a star that forbids"},
        {"*;q=0, gzip", true, "what is named counts more than the star"},
        {"gzip;q=0, *", false, "what is forbidden by name is not allowed by the star"},
        {"gzip;q=0", false, "forbidden"},
        {"gzip; q=0.000", false, "forbidden with digits"},
        {"gzip;q=0.001", true, "hardly wanted is wanted"},
        {"gzipx", false, "a longer word"},
        {"identity", false, "only identity"},
        {"", false, "empty"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (mg_accepts_gzip(mg_span(rows[i].value)) != rows[i].expected)
            fail_msg("%s: %s", rows[i].sentence, rows[i].value);
    assert_false(mg_accepts_gzip((struct mg_span){0}));
}

static void tags(void **state)
{
    static const struct {
        const char *list;
        bool expected;
        const char *sentence;
    } rows[] = {
        {"\"abc\"", true, "the tag"},
        {"W/\"abc\"", true, "weakly compared"},
        {"\"x\", \"abc\"", true, "in a list"},
        {" * ", true, "any"},
        {"\"abcd\"", false, "a longer tag"},
        {"\"abc", false, "half a tag"},
        {"abc", false, "without quotes"},
        {"\"abc-i\"", false, "the tag of another coding"},
        {"", false, "nothing"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (mg_etag_listed(mg_span(rows[i].list), "\"abc\"") != rows[i].expected)
            fail_msg("%s: %s", rows[i].sentence, rows[i].list);
    assert_false(mg_etag_listed(MG_SPAN("*"), "")); /* an answer without a tag matches nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges), cmocka_unit_test(codings), cmocka_unit_test(tags)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
