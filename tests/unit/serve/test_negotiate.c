/* Ranges, codings and tags, row by row after RFC 9110. */
#include "serve/negotiate.h"

#include <setjmp.h>
#include <stdio.h>
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

static void media_types(void **state)
{
    static const struct {
        const char *value, *expected;
        bool html;
        const char *sentence;
    } rows[] = {
        {"", "", false, "nothing"},
        {"*/*", "", false, "anything is no choice"},
        {"image/*", "", false, "a range is no choice"},
        {"text/csv", "csv", false, "one"},
        {"TEXT/CSV ; charset=utf-8", "csv", false, "no case, parameters"},
        {"application/geo+json, text/csv", "geojson,csv", false, "in order"},
        {"application/geo+json;q=0.5, text/csv;q=0.9", "csv,geojson", false, "by weight"},
        {"application/geo+json;q=0.51, text/csv;q=0.509", "geojson,csv", false, "to three places"},
        {"text/csv;q=0.4, image/png;q=0.4, image/webp", "webp,csv,png", false, "equal weights stay in order"},
        {"text/csv;q=0", "", false, "forbidden"},
        {"text/csv;q=0.000, image/png", "png", false, "forbidden to three places"},
        {"text/csv;xq=0.1;q=1", "csv", false, "another parameter that ends in q"},
        {"text/csv;q=abc", "", false, "a malformed weight"},
        {"text/csv, text/csv;q=0.1", "csv", false, "each once"},
        {"video/mp4, text/csv", "csv", false, "others' types"},
        {"application/zip", "zip", false, "a zip"},
        {"image/tiff", "tif", false, "our type has parameters"},
        {"text/cs", "", false, "half a type"},
        {"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "html", true, "a browser"},
        {"application/json", "json", false, "a program"},
        {"text/html;q=0.5, application/json", "json,html", false, "JSON more than HTML"},
        {"text/html, application/json", "html,json", false, "both alike"},
        {",,;,", "", false, "nothing between commas"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct mg_codec *found[16];
        char names[128] = "";
        size_t n = mg_accepts_formats(mg_span(rows[i].value), found, 16), used = 0;
        for (size_t k = 0; k < n; k++)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", k ? "," : "", found[k]->name);
        if (strcmp(names, rows[i].expected) != 0 || mg_accepts_html_first(mg_span(rows[i].value)) != rows[i].html)
            fail_msg("%s (%s): %s", rows[i].sentence, rows[i].value, names);
    }
    const struct mg_codec *two[2];
    assert_int_equal(mg_accepts_formats(MG_SPAN("image/png, text/csv, text/html"), two, 2), 2);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges), cmocka_unit_test(codings), cmocka_unit_test(media_types),
                                       cmocka_unit_test(tags)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
