/* The lists of formats: complete, well-formed, and the README's table as it would be made now. */
#include "moongate/formats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static size_t count(void)
{
    size_t n = 0;
    while (mg_codec_at(n))
        n++;
    return n;
}

static void test_json(void **state)
{
    (void)state;
    json_t *json = mg_formats_json(), *list = json_object_get(json, "formats");
    assert_int_equal(json_array_size(list), count());
    for (size_t i = 0; i < json_array_size(list); i++) {
        const struct mg_codec *codec = mg_codec_at(i);
        json_t *row = json_array_get(list, i), *options = json_object_get(row, "options");
        assert_string_equal(json_string_value(json_object_get(row, "name")), codec->name);
        assert_string_equal(json_string_value(json_object_get(row, "mime")), codec->mime);
        assert_true(json_array_size(json_object_get(row, "kinds")) > 0);
        assert_int_equal(json_array_size(options), mg_option_count(codec));
        for (size_t k = 0; k < json_array_size(options); k++) {
            json_t *option = json_array_get(options, k), *fallback = json_object_get(option, "default");
            const char *type = json_string_value(json_object_get(option, "type"));
            const char *name = json_string_value(json_object_get(option, "name"));
            assert_non_null(strchr(name, '.'));
            assert_true(strlen(json_string_value(json_object_get(option, "help"))) > 4);
            bool fits = strcmp(type, "boolean") == 0  ? json_is_boolean(fallback)
                        : strcmp(type, "integer") == 0 ? json_is_integer(fallback)
                        : strcmp(type, "number") == 0  ? json_is_number(fallback)
                                                       : json_is_string(fallback);
            if (!fits && !json_is_null(fallback))
                fail_msg("%s: the default is no %s", name, type);
            if (strcmp(type, "enum") == 0)
                assert_true(json_array_size(json_object_get(option, "values")) > 1);
        }
    }
    json_decref(json);
}

static void test_option_text(void **state)
{
    (void)state;
    static const struct {
        struct mg_option option;
        const char *expected;
    } rows[] = {
        {{"a", MG_OPT_INT, 1, 100, NULL, "85", "h"}, "whole number from 1 to 100, default 85"},
        {{"a", MG_OPT_NUMBER, -1e300, 1e300, NULL, NULL, "h"}, "number"},
        {{"a", MG_OPT_NUMBER, 0, 0.5, NULL, "0.25", "h"}, "number from 0 to 0.5, default 0.25"},
        {{"a", MG_OPT_BOOL, 0, 1, NULL, "false", "h"}, "true or false, default false"},
        {{"a", MG_OPT_ENUM, 0, 0, "x,y", "y", "h"}, "x/y, default y"},
        {{"a", MG_OPT_STRING, 0, 31, NULL, NULL, "h"}, "text of at most 31 bytes"},
        {{"a", MG_OPT_STRING, 0, 31, NULL, "", "h"}, "text of at most 31 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf out;
        mg_buf_init(&out, 0);
        mg_option_describe(&rows[i].option, &out);
        assert_string_equal(out.data, rows[i].expected);
        mg_buf_fini(&out);
    }
}

static void test_html(void **state)
{
    (void)state;
    struct mg_buf page;
    char mark[64];
    mg_buf_init(&page, 0);
    mg_formats_html(&page);
    assert_false(page.failed);
    const struct mg_codec *codec;
    for (size_t i = 0; (codec = mg_codec_at(i)); i++) {
        snprintf(mark, sizeof mark, "<section id=\"%s\">", codec->name);
        assert_non_null(strstr(page.data, mark));
    }
    mg_buf_fini(&page);
}

/* `moongate formats --markdown` makes what belongs between the marks. */
static void test_readme(void **state)
{
    (void)state;
    static const char begin[] = "<!-- moongate formats --markdown -->\n", end[] = "<!-- end -->";
    FILE *file = fopen(MG_SOURCE_DIR "/README.md", "re");
    char *text = NULL;
    size_t cap = 0;
    assert_non_null(file);
    assert_true(getdelim(&text, &cap, 0, file) > 0);
    fclose(file);
    char *from = strstr(text, begin), *to = from ? strstr(from, end) : NULL;
    assert_non_null(to);
    *to = '\0';
    struct mg_buf table;
    mg_buf_init(&table, 0);
    mg_formats_markdown(&table);
    if (strcmp(from + strlen(begin), table.data) != 0)
        fail_msg("README.md's table of formats is not that of the registry: put in what `moongate formats --markdown` "
                 "prints, between the marks:\n%s",
                 table.data);
    mg_buf_fini(&table);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_json), cmocka_unit_test(test_option_text),
                                       cmocka_unit_test(test_html), cmocka_unit_test(test_readme)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
