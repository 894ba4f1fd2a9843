/* The parsers of HTTP without sockets: every cut of a request gives the same, chunks, HPACK counts,
 * mutations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "serve/http_parse.h"

#include <stdlib.h>

static const char sample[] =
    "POST /a/b?c=d HTTP/1.1\r\nHost: Example:80\r\nX-One: 1\r\nx-TWO:  two words \t\r\n"
    "Authorization: Bearer x\r\nContent-Length: 12\r\nEmpty:\r\n\r\nbody";

/* Whatever pieces it comes in, it is one head with one meaning. */
static void test_cuts(void **state)
{
    (void)state;
    struct http_head *head = malloc(sizeof *head);
    struct http_refusal refusal;
    size_t end = (size_t)(strstr(sample, "\r\n\r\n") - sample) + 4;
    for (size_t cut = 0; cut < sizeof sample; cut++) {
        char copy[sizeof sample];
        memcpy(copy, sample, sizeof sample);
        size_t scan = 0;
        enum http_parse r = http_parse_head(copy, cut, &scan, head, &refusal);
        assert_int_equal(r, cut < end ? HTTP_PARSE_MORE : HTTP_PARSE_DONE);
        r = http_parse_head(copy, sizeof sample - 1, &scan, head, &refusal);
        assert_int_equal(r, HTTP_PARSE_DONE);
        assert_int_equal(head->bytes, end);
        assert_int_equal(head->n_headers, 6);
        assert_true(mg_span_is(head->method, "POST"));
        assert_true(mg_span_is(head->path, "/a/b"));
        assert_true(mg_span_is(head->query, "c=d"));
        assert_true(mg_span_is(head->authority, "Example:80"));
        assert_true(mg_span_is(head->headers[2].name, "x-two"));
        assert_true(mg_span_is(head->headers[2].value, "two words"));
        assert_true(mg_span_is(head->headers[5].value, ""));
        assert_true(head->has_length && head->length == 12 && head->has_authorization &&
                    head->keep_alive);
    }
    free(head);
}

/* Bytes changed at random: no overrun (the sanitizers see it), and spans stay inside of the head.
 */
static void test_mutations(void **state)
{
    (void)state;
    struct http_head *head = malloc(sizeof *head);
    struct http_refusal refusal;
    uint32_t seed = 12345;
    for (int round = 0; round < 200000; round++) {
        char *copy = malloc(sizeof sample - 1);
        memcpy(copy, sample, sizeof sample - 1);
        for (int k = 0; k < 3; k++) {
            seed = seed * 1664525 + 1013904223;
            copy[(seed >> 8) % (sizeof sample - 1)] = "\r\n :\t\0/?x,;0\xff"[(seed >> 24) % 13];
        }
        size_t scan = 0;
        if (http_parse_head(copy, sizeof sample - 1, &scan, head, &refusal) == HTTP_PARSE_DONE) {
            assert_true(head->bytes <= sizeof sample - 1);
            for (size_t i = 0; i < head->n_headers; i++) {
                assert_true(head->headers[i].name.data >= copy && head->headers[i].name.len > 0);
                assert_true(head->headers[i].value.data + head->headers[i].value.len <=
                            copy + head->bytes);
            }
        }
        free(copy);
    }
    free(head);
}

static void test_chunked(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *body; /* body NULL: refused */
        size_t rest;
        const char *why;
    } rows[] = {
        {"0\r\n\r\n", "", 0, "an empty body"},
        {"3\r\nabc\r\n0\r\n\r\nGET", "abc", 3, "what follows is left"},
        {"A;x=\"y\"\r\n0123456789\r\n00\r\nTrailer: v\r\n\r\n", "0123456789", 0,
         "extension and trailer"},
        {"000000000000001\r\na\r\n0\r\n\r\n", "a", 0, "leading zeros"},
        {"0000000000000001\r\na\r\n0\r\n\r\n", NULL, 0, "too many digits"},
        {"ffffffffffffffff\r\n", NULL, 0, "a chunk of 2^64 - 1"},
        {"\r\n", NULL, 0, "no size"},
        {"-1\r\n", NULL, 0, "a negative size"},
        {"0x1\r\na\r\n0\r\n\r\n", NULL, 0, "a C number"},
        {"1 \r\na\r\n0\r\n\r\n", NULL, 0, "a blank behind the size"},
        {"1\r\nab\r\n", NULL, 0, "a chunk longer than said"},
        {"1\r\na\n0\r\n\r\n", NULL, 0, "a bare LF behind data"},
        {"0\r\n\n", NULL, 0, "a bare LF at the end"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = strlen(rows[i].raw);
        for (size_t step = 1; step <= len; step++) { /* in pieces of each size */
            char copy[128];
            memcpy(copy, rows[i].raw, len);
            struct http_chunked chunked = {0};
            size_t raw = 0, decoded = 0;
            enum http_parse r = HTTP_PARSE_MORE;
            for (size_t have = step; r == HTTP_PARSE_MORE; have += step) {
                r = http_chunked_read(&chunked, copy, have < len ? have : len, &raw, &decoded);
                if (have >= len) {
                    break;
                }
            }
            if (r != (rows[i].body ? HTTP_PARSE_DONE : HTTP_PARSE_BAD)) {
                fail_msg("%s, in pieces of %zu: %d", rows[i].why, step, r);
            }
            if (rows[i].body) {
                assert_int_equal(decoded, strlen(rows[i].body));
                assert_memory_equal(copy, rows[i].body, decoded);
                assert_int_equal(len - raw, rows[i].rest);
            }
        }
    }
}

static void test_hpack_count(void **state)
{
    (void)state;
    static const struct {
        const char *block;
        size_t len, count;
        const char *why;
    } rows[] = {
        {"", 0, 0, "nothing"},
        {"\x82\x84\x86", 3, 3, "indexed fields"},
        {"\x40\x01"
         "a\x01"
         "b",
         5, 1, "a new name"},
        {"\x41\x03"
         "abc\x82",
         6, 2, "a known name"},
        {"\x00\x01"
         "a\x01"
         "b\x10\x01"
         "a\x01"
         "b",
         10, 2, "not indexed, never indexed"},
        {"\x3f\xe1\x1f\x82", 4, 2, "a table size costs as much as a field"},
        {"\xff\x80\x80\x80\x80\x80\x80\x01", 8, 0, "an integer that does not end"},
        {"\x40\x7f\xff\xff\x7f"
         "a",
         6, 0, "a string beyond the end"},
        {"\x82\x40\x05"
         "ab",
         5, 1, "a string that is cut off"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = http_hpack_count((const uint8_t *)rows[i].block, rows[i].len, 100);
        if (n != rows[i].count) {
            fail_msg("%s: %zu fields, not %zu", rows[i].why, n, rows[i].count);
        }
    }
    uint8_t many[1000];
    memset(many, 0x82, sizeof many);
    assert_int_equal(http_hpack_count(many, sizeof many, 108), 108);
}

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define V2_ROW(literal) literal, sizeof literal - 1

static void test_proxy_binary(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        enum http_parse result;
        size_t used;
        const char *client, *why;
    } rows[] = {
        {V2_ROW(V2 "\x21\x11\0\x0c\xc0\0\2\7\x7f\0\0\1\0\1\0\2GET /"), HTTP_PARSE_DONE, 28, "192.0.2.7", "IPv4"},
        {V2_ROW(V2 "\x21\x11\0\x10\xc0\0\2\7\x7f\0\0\1\0\1\0\2\4\0\1x"), HTTP_PARSE_DONE, 32, "192.0.2.7",
         "a record behind the addresses"},
        {V2_ROW(V2 "\x21\x21\0\x24 \1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\2"
                   "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0\2"), HTTP_PARSE_DONE, 52, "2001:db8::2", "IPv6"},
        {V2_ROW(V2 "\x20\0\0\0GET"), HTTP_PARSE_DONE, 16, NULL, "LOCAL: the proxy's own check"},
        {V2_ROW(V2 "\x20\x11\0\x0c\xc0\0\2\7\x7f\0\0\1\0\1\0\2"), HTTP_PARSE_DONE, 28, NULL, "LOCAL with addresses"},
        {V2_ROW(V2 "\x21\0\0\0"), HTTP_PARSE_DONE, 16, NULL, "PROXY without a family"},
        {V2_ROW(V2 "\x21\x31\0\2xx"), HTTP_PARSE_DONE, 18, NULL, "a local socket has no address"},
        {V2_ROW("\r\n\r"), HTTP_PARSE_MORE, 0, NULL, "part of the signature"},
        {V2_ROW(V2), HTTP_PARSE_MORE, 0, NULL, "the signature alone"},
        {V2_ROW(V2 "\x21\x11\0\x0c\xc0\0\2\7"), HTTP_PARSE_MORE, 0, NULL, "half an address"},
        {V2_ROW("\r\nGET /"), HTTP_PARSE_DONE, 0, NULL, "an empty line before a request"},
        {V2_ROW(V2 "\x21\x11\0\x0b\xc0\0\2\7\x7f\0\0\1\0\1\0"), HTTP_PARSE_BAD, 0, NULL, "too short for IPv4"},
        {V2_ROW(V2 "\x21\x21\0\x0c\xc0\0\2\7\x7f\0\0\1\0\1\0\2"), HTTP_PARSE_BAD, 0, NULL, "too short for IPv6"},
        {V2_ROW(V2 "\x11\x11\0\0"), HTTP_PARSE_BAD, 0, NULL, "another version"},
        {V2_ROW(V2 "\x22\x11\0\0"), HTTP_PARSE_BAD, 0, NULL, "an unknown command"},
        {V2_ROW(V2 "\x21\x11\xff\xff"), HTTP_PARSE_BAD, 0, NULL, "64 kB of records"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t used = 99;
        struct mg_address client;
        bool known = true;
        char *exact = malloc(rows[i].len), text[48] = ""; /* a read behind it shows under ASan */
        memcpy(exact, rows[i].bytes, rows[i].len);
        enum http_parse r = http_parse_proxy(exact, rows[i].len, &used, &client, &known);
        free(exact);
        if (r == HTTP_PARSE_DONE && known) {
            mg_address_print(&client, text, sizeof text);
        }
        if (r != rows[i].result || (r == HTTP_PARSE_DONE && used != rows[i].used) ||
            strcmp(text, rows[i].client ? rows[i].client : "") != 0) {
            fail_msg("%s: %d, %zu bytes, %s", rows[i].why, r, used, text);
        }
    }
}

static void test_proxy_line(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum http_parse result;
        bool known;
        const char *why;
    } rows[] = {
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET", HTTP_PARSE_DONE, true, "IPv4"},
        {"PROXY TCP6 ::1 ::2 1 2\r\n", HTTP_PARSE_DONE, true, "IPv6"},
        {"PROXY UNKNOWN whatever\r\n", HTTP_PARSE_DONE, false, "unknown"},
        {"PROXY TCP4 1.2.3.4 5.6", HTTP_PARSE_MORE, false, "half of it"},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", HTTP_PARSE_BAD, false, "a bare LF"},
        {"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", HTTP_PARSE_BAD, false, "no address"},
        {"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", HTTP_PARSE_BAD, false, "another protocol"},
        {"PROXY \r\n", HTTP_PARSE_BAD, false, "nothing said"},
        {"PRO", HTTP_PARSE_MORE, false, "perhaps one"},
        {"PROPFIND / HTTP/1.1\r\n", HTTP_PARSE_DONE, false, "none: a request"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t bytes = 0;
        struct mg_address client;
        bool known = false;
        enum http_parse r =
            http_parse_proxy(rows[i].line, strlen(rows[i].line), &bytes, &client, &known);
        if (r != rows[i].result || known != rows[i].known) {
            fail_msg("%s: %d", rows[i].why, r);
        }
    }
    char endless[200];
    memset(endless, 'x', sizeof endless);
    memcpy(endless, "PROXY ", 6);
    size_t bytes;
    struct mg_address client;
    bool known;
    assert_int_equal(http_parse_proxy(endless, sizeof endless, &bytes, &client, &known),
                     HTTP_PARSE_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),       cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_chunked),    cmocka_unit_test(test_hpack_count),
        cmocka_unit_test(test_proxy_line),
        cmocka_unit_test(test_proxy_binary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
