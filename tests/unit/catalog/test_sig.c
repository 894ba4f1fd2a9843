/* Signature records, durations and the tables of names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "moongate/sig.h"

static void a_record(void **state)
{
    (void)state;
    struct mg_sig *sig = NULL;
    struct mg_errmsg err = {""};
    static const char text[] =
        "{\"params\":[{\"name\":\"bounds\",\"type\":\"bounds\",\"required\":true},"
        "{\"name\":\"low\",\"type\":\"number\",\"required\":false,\"default\":-0.2,\"min\":-1,\"max\":1,\"doc\":\"lowest\"},"
        "{\"name\":\"way\",\"type\":\"enum\",\"values\":[\"a\",\"b\"],\"optional\":true,\"required\":false}],"
        "\"varargs\":true,\"doc\":\"NDVI\",\"max_age\":\"12h\",\"timeout_s\":45}";
    assert_int_equal(mg_sig_parse(mg_span(text), &sig, &err), MG_OK);
    assert_int_equal(sig->n_params, 3);
    assert_int_equal(sig->params[0].type, MG_T_BOUNDS);
    assert_true(sig->params[0].required && !sig->params[0].has_default);
    assert_string_equal(sig->params[1].name, "low");
    assert_string_equal(sig->params[1].doc, "lowest");
    assert_true(sig->params[1].has_min && sig->params[1].has_max && sig->params[1].has_default);
    assert_float_equal(json_number_value(sig->params[1].fallback), -0.2, 0);
    assert_string_equal(sig->params[2].values[1], "b");
    assert_null(sig->params[2].values[2]);
    assert_true(sig->params[2].optional);
    assert_true(sig->varargs);
    assert_string_equal(sig->doc, "NDVI");
    assert_int_equal(sig->max_age_s, 12 * 3600);
    assert_int_equal(sig->timeout_s, 45);
    mg_sig_free(&sig);
    assert_null(sig);
    mg_sig_free(&sig);
    assert_int_equal(mg_sig_parse(mg_span("{\"params\":{},\"max_age\":30}"), &sig, &err), MG_OK);
    assert_int_equal(sig->n_params, 0);
    assert_int_equal(sig->max_age_s, 30);
    mg_sig_free(&sig);
    assert_int_equal(mg_sig_parse(mg_span("{\"params\":[]}"), &sig, &err), MG_OK);
    assert_int_equal(sig->max_age_s, -1);
    mg_sig_free(&sig);
}

static void broken_records(void **state)
{
    (void)state;
    static const struct {
        const char *json, *part, *why;
    } rows[] = {
        {"", "JSON", "no JSON"},
        {"[]", "list of parameters", "no object"},
        {"{}", "list of parameters", "no parameters"},
        {"{\"params\":[{\"type\":\"number\"}]}", "name", "no name"},
        {"{\"params\":[{\"name\":\"a b\"}]}", "cannot be the name", "a blank in a name"},
        {"{\"params\":[{\"name\":\"size\"}]}", "reserved", "a reserved name"},
        {"{\"params\":[{\"name\":\"utm_x\"}]}", "reserved", "an ignored name"},
        {"{\"params\":[{\"name\":\"a\",\"type\":\"colour\"}]}", "no type", "an unknown type"},
        {"{\"params\":[{\"name\":\"a\"},{\"name\":\"a\"}]}", "twice", "a name twice"},
        {"{\"params\":[{\"name\":\"a\",\"type\":\"enum\"}]}", "values", "an enum without values"},
        {"{\"params\":[{\"name\":\"a\",\"type\":\"enum\",\"values\":[\"x\"],\"default\":\"y\"}]}", "default", "a default that is no value"},
        {"{\"params\":[{\"name\":\"a\",\"type\":\"integer\",\"default\":1.5}]}", "default", "a default of the wrong type"},
        {"{\"params\":[{\"name\":\"a\",\"type\":\"number\",\"default\":5,\"max\":4}]}", "default", "a default out of range"},
        {"{\"params\":[{\"name\":\"a\",\"type\":\"number\",\"min\":5,\"max\":4}]}", "min", "an empty range"},
        {"{\"params\":[{\"name\":\"a\",\"type\":\"bounds\",\"default\":[1,2]}]}", "default", "half of bounds"},
        {"{\"params\":[{\"name\":\"a\",\"type\":\"tile\",\"default\":[1,9,9]}]}", "default", "a tile out of range"},
        {"{\"params\":[],\"max_age\":\"soon\"}", "cache_max_age", "no duration"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_sig *sig = NULL;
        struct mg_errmsg err = {""};
        if (mg_sig_parse(mg_span(rows[i].json), &sig, &err) != MG_E_UDF_BROKEN || !strstr(err.text, rows[i].part))
            fail_msg("%s: \"%s\" should speak of \"%s\"", rows[i].why, err.text, rows[i].part);
        assert_null(sig);
    }
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds; /* -1: malformed */
    } rows[] = {{"0", 0},      {"90", 90},  {"90s", 90},     {"15m", 900},   {"12h", 43200}, {"14d", 1209600},
                {"2w", 1209600}, {"", -1},    {"s", -1},       {"1.5h", -1},   {"-1", -1},     {"1h ", -1},
                {" 1h", -1},   {"1hh", -1}, {"1H", -1},      {"0x10", -1},   {"999999999999d", -1},
                {"36500d", 3153600000}, {"36501d", -1},      {"99999999999999999999", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t seconds = -1;
        bool good = mg_duration_parse(mg_span(rows[i].text), &seconds);
        if (good != (rows[i].seconds >= 0) || seconds != rows[i].seconds)
            fail_msg("\"%s\" gave %lld, expected %lld", rows[i].text, (long long)seconds, (long long)rows[i].seconds);
    }
}

static void names(void **state)
{
    (void)state;
    static const char *const reserved[] = {"format", "dtype_out_vector", "dtype_out_raster", "cache_max_age", "size", "tms",
                                           "_cache_id"};
    static const char *const ignored[] = {"_", "utm_source", "access_token"};
    static const char *const free_names[] = {"bounds", "Format", "__", "utm", "dtype_out", "x", ""};
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        assert_true(mg_reserved_name(mg_span(reserved[i])) && !mg_ignored_name(mg_span(reserved[i])));
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        assert_true(mg_ignored_name(mg_span(ignored[i])) && !mg_reserved_name(mg_span(ignored[i])));
    for (size_t i = 0; i < sizeof free_names / sizeof *free_names; i++)
        assert_false(mg_ignored_name(mg_span(free_names[i])) || mg_reserved_name(mg_span(free_names[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record),
        cmocka_unit_test(broken_records),
        cmocka_unit_test(durations),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
