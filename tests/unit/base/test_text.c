/* Errors, spans, buffers, escapes and numbers as text. */
#include "moongate/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void test_errors(void **context)
{
    (void)context;
    assert_int_equal(mg_err_status(MG_E_PARAMETER), 422);
    assert_string_equal(mg_err_name(MG_E_DEPTH), "depth");
    for (int i = 0; i < MG_ERR_COUNT; i++)
        assert_int_equal(mg_err_from_name(mg_err_name((enum mg_err)i)), i);
    assert_int_equal(mg_err_from_name("nonsense"), MG_E_INTERNAL);
    assert_int_equal(mg_err_from_name(NULL), MG_E_INTERNAL);
    assert_int_equal(mg_err_status((enum mg_err)9999), 500);
    struct mg_errmsg msg = {""};
    assert_int_equal(mg_err_set(NULL, MG_E_IO, "x"), MG_E_IO);
    mg_err_set(&msg, MG_E_IO, "cannot read %s", "f");
    mg_err_prefix(&msg, MG_E_IO, "UDF %d", 7);
    assert_string_equal(msg.text, "UDF 7: cannot read f");
    mg_err_set(&msg, MG_E_IO, "again: %s", msg.text);
    assert_string_equal(msg.text, "again: UDF 7: cannot read f");
    /* A cut falls between characters, wherever it falls. */
    char wide[1200];
    for (size_t lead = 0; lead < 4; lead++) {
        memset(wide, 'a', lead);
        for (size_t i = lead; i + 4 < sizeof wide; i += 4)
            memcpy(wide + i, "\xF0\x9F\x98\x80", 5);
        mg_err_set(&msg, MG_E_IO, "%s", wide);
        assert_int_equal((strlen(msg.text) - lead) % 4, 0);
        assert_true(strlen(msg.text) > 500);
    }
}

static void test_spans(void **context)
{
    (void)context;
    static const struct {
        const char *text, *parts[5];
        const char *why;
    } rows[] = {
        {"a/b", {"a", "b"}, "two parts"},
        {"", {""}, "an empty span has one empty part"},
        {"/a/", {"", "a", ""}, "empty parts at both ends count"},
        {"abc", {"abc"}, "no separator: all"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_span rest = mg_span(rows[i].text), part;
        size_t n = 0;
        while (mg_span_cut(&rest, '/', &part))
            if (!rows[i].parts[n] || !mg_span_is(part, rows[i].parts[n++]))
                fail_msg("%s", rows[i].why);
        if (rows[i].parts[n])
            fail_msg("%s", rows[i].why);
    }
    assert_true(mg_span_starts(MG_SPAN("msh_x"), "msh_"));
    assert_false(mg_span_starts(MG_SPAN("msh"), "msh_"));
    assert_true(mg_span_starts((struct mg_span){NULL, 0}, ""));
}

static void test_limit(void **context)
{
    (void)context;
    struct mg_buf buf;
    size_t len;
    mg_buf_init(&buf, 10);
    mg_buf_str(&buf, "12345");
    mg_buf_str(&buf, "67890");
    assert_int_equal(mg_buf_status(&buf, NULL), MG_OK);
    mg_buf_char(&buf, 'x');
    mg_buf_str(&buf, "");
    assert_string_equal(buf.data, "1234567890");
    assert_int_equal(mg_buf_status(&buf, NULL), MG_E_UDF_OUTPUT);
    mg_buf_fini(&buf);
    mg_buf_init(&buf, 0);
    assert_null(mg_buf_room(&buf, SIZE_MAX - 1));
    assert_true(buf.failed);
    mg_buf_fini(&buf);
    mg_buf_init(&buf, SIZE_MAX);
    for (int i = 0; i < 1000; i++)
        mg_buf_printf(&buf, "%0300d", i);
    assert_int_equal(buf.len, 300000);
    assert_int_equal(strlen(buf.data), 300000);
    char *taken = mg_buf_take(&buf, &len);
    assert_int_equal(len, 300000);
    assert_null(buf.data);
    free(taken);
}

static void test_escapes(void **context)
{
    (void)context;
    static const struct {
        struct mg_span text;
        const char *json, *why;
    } rows[] = {
        {{"", 0}, "\"\"", "empty"},
        {{"a\"b\\c/d", 7}, "\"a\\\"b\\\\c/d\"", "quote and backslash"},
        {{"\n\t\r\b\f\0\x1f", 7},
         "\"\\n\\t\\r\\b\\f\\u0000\\u001f\"",
         "control characters, NUL too"},
        {{"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 9},
         "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
         "UTF-8 passes"},
        {{"a\xFFz", 3}, "\"a\xEF\xBF\xBDz\"", "a byte that is no UTF-8"},
        {{"\xC3", 1}, "\"\xEF\xBF\xBD\"", "a cut sequence"},
        {{"\xC0\xAF", 2}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\"", "an overlong form"},
        {{"\xED\xA0\x80", 3}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"", "a surrogate"},
        {{"\xF4\x90\x80\x80", 4},
         "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"",
         "beyond U+10FFFF"},
    };
    struct mg_buf buf;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_buf_init(&buf, 0);
        mg_buf_json_string(&buf, rows[i].text.data, rows[i].text.len);
        if (strcmp(buf.data, rows[i].json) != 0)
            fail_msg("%s: %s", rows[i].why, buf.data);
        mg_buf_fini(&buf);
    }
    mg_buf_init(&buf, 0);
    mg_buf_html(&buf, "<a href=\"x\">'&'", 15);
    assert_string_equal(buf.data, "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;");
    mg_buf_fini(&buf);
}

static void test_numbers(void **context)
{
    (void)context;
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {-1, "-1"},
        {0.1, "0.1"},
        {-0.25, "-0.25"},
        {100, "100"},
        {1.5, "1.5"},
        {0.001, "0.001"},
        {-34.87654321, "-34.87654321"},
        {123456789.125, "123456789.125"},
        {1e15, "1000000000000000"},
        {-1e20, "-100000000000000000000"},
        {1e21, "1e+21"},
        {1.5e21, "1.5e+21"},
        {9223372036854775808.0, "9223372036854776000"},
        {1e23, "1e+23"},
        {9.5e-7, "9.5e-7"},
        {0.0000015, "0.0000015"},
        {12345678.9012345, "12345678.9012345"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {2251799813685249.5, "2251799813685249.5"},
        {999999999999999, "999999999999999"},
        {0.30000000000000004, "0.30000000000000004"},
        {1e300, "1e+300"},
        {5e-324, "5e-324"},
        {1e-9, "1e-9"},
        {1e-10, "1e-10"},
        {NAN, "null"},
        {-INFINITY, "null"},
        {1.0 / 3, "0.3333333333333333"},
        {2.2, "2.2"},
        {99.99, "99.99"},
    };
    struct mg_buf buf;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_buf_init(&buf, 0);
        mg_buf_double(&buf, rows[i].value);
        assert_string_equal(buf.data, rows[i].text);
        mg_buf_fini(&buf);
    }
    /* Values of every size and length read back as they were, and printf finds none with fewer digits. */
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 100000; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        double value;
        if (i % 3 == 0)
            memcpy(&value, &seed, sizeof value);
        else
            value = (double)(int64_t)(seed >> (i % 50)) / pow(10, i % 13);
        if (!isfinite(value))
            continue;
        mg_buf_init(&buf, 0);
        mg_buf_double(&buf, value);
        if (strtod(buf.data, NULL) != value)
            fail_msg("%.17g is written as %s", value, buf.data);
        int digits = 0, least = 17;
        for (const char *at = buf.data; *at && *at != 'e'; at++)
            digits += *at >= '0' && *at <= '9' && (digits || *at != '0');
        for (int precision = 16; precision > 0; precision--) {
            char other[40];
            snprintf(other, sizeof other, "%.*e", precision - 1, value);
            if (strtod(other, NULL) != value)
                break;
            least = precision;
        }
        if (value != 0 && fabs(value) < 1e15 && digits > least && fabs(value) != floor(fabs(value)))
            fail_msg("%.17g is written as %s, %d digits suffice", value, buf.data, least);
        mg_buf_fini(&buf);
    }
    mg_buf_init(&buf, 0);
    mg_buf_int(&buf, INT64_MIN);
    mg_buf_char(&buf, ' ');
    mg_buf_int(&buf, INT64_MAX);
    mg_buf_char(&buf, ' ');
    mg_buf_int(&buf, 0);
    mg_buf_int(&buf, 10);
    mg_buf_int(&buf, 105);
    assert_string_equal(buf.data, "-9223372036854775808 9223372036854775807 010105");
    mg_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),  cmocka_unit_test(test_spans),
        cmocka_unit_test(test_limit),   cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
