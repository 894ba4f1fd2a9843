/* XML: names, text, nulls and numbers that any reader takes. Strict readers try it in tests/http. */
#include "table_make.h"

#include <math.h>

extern const struct mg_codec mg_codec_xml[];

#define DATA(rows) \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" \
    "<data xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n" rows "</data>\n"

static void test_text(void **state)
{
    static const struct {
        struct mg_span text;
        const char *expected, *what;
    } rows[] = {
        {MG_SPAN(""), "", "empty is not null"},
        {MG_SPAN("a < b & c > \"d\" 'e'"), "a &lt; b &amp; c &gt; \"d\" 'e'", "markup is escaped"},
        {MG_SPAN("]]>"), "]]&gt;", "the end of a CDATA section too"},
        {MG_SPAN("a\r\nb\tc"), "a&#13;\nb\tc", "a carriage return survives"},
        {MG_SPAN("\0\x01\x1F\x7F"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\x7F", "controls cannot be held"},
        {MG_SPAN("\xF0\x9F\x98\x80 \xD7\xA9"), "\xF0\x9F\x98\x80 \xD7\xA9", "emoji, Hebrew"},
        {MG_SPAN("\xFF\xC3(\xE2\x82"), "\xEF\xBF\xBD\xEF\xBF\xBD(\xEF\xBF\xBD\xEF\xBF\xBD", "not UTF-8"},
        {MG_SPAN("\xC0\x80\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD",
         "overlong, surrogates"},
        {MG_SPAN("\xEF\xBF\xBE\xEF\xBF\xBF"),
         "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", "U+FFFE, U+FFFF"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char expected[400];
        struct maker maker;
        maker_init(&maker, NULL, "s:s");
        maker_set(&maker, 0, (struct mg_cell){.type = MG_CELL_STRING, .s = rows[i].text});
        mg_table_builder_row(maker.builder);
        struct mg_table *table = maker_finish(&maker);
        snprintf(expected, sizeof expected, DATA("<row>\n<s>%s</s>\n</row>\n"), rows[i].expected);
        expect_text(mg_codec_xml, table, NULL, expected, rows[i].what);
        mg_table_unref(&table);
    }
}

static void test_names(void **state)
{
    static const struct {
        const char *name, *open, *close;
    } rows[] = {
        {"plain_1.x-y", "<plain_1.x-y", "</plain_1.x-y>"},
        {"two words", "<two_words name=\"two words\"", "</two_words>"},
        {"1st", "<_1st name=\"1st\"", "</_1st>"},
        {"", "<_ name=\"\"", "</_>"},
        {"XMLthing", "<_XMLthing name=\"XMLthing\"", "</_XMLthing>"},
        {"a:b", "<a_b name=\"a:b\"", "</a_b>"},
        {"\"<&>\n\t\xC3\xA9", "<_________ name=\"&quot;&lt;&amp;&gt;&#10;&#9;\xC3\xA9\"", "</_________>"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char expected[400];
        struct mg_table_builder *builder = mg_table_builder_new(NULL);
        struct mg_table *table = NULL;
        struct mg_cell one = CELL_INT(1);
        assert_int_equal(mg_table_builder_column(builder, rows[i].name, MG_COL_INT64), 0);
        mg_table_builder_set(builder, 0, &one);
        mg_table_builder_row(builder);
        mg_table_builder_row(builder);
        assert_int_equal(mg_table_builder_finish(&builder, &table, NULL), MG_OK);
        snprintf(expected, sizeof expected,
                 DATA("<row>\n%s>1%s\n</row>\n<row>\n%s xsi:nil=\"true\"/>\n</row>\n"),
                 rows[i].open, rows[i].close, rows[i].open);
        expect_text(mg_codec_xml, table, NULL, expected, rows[i].name);
        mg_table_unref(&table);
    }
}

static void test_values(void **state)
{
    struct maker maker;
    (void)state;
    maker_init(&maker, NULL, "d:d g:g i:i b:b");
    static const double values[] = {NAN, INFINITY, -INFINITY, -0.0};
    for (size_t i = 0; i < 4; i++) {
        maker_set(&maker, 0, CELL_DOUBLE(values[i]));
        maker_wkt(&maker, 1, "LINESTRING(0 0,1 1)");
        maker_set(&maker, 2, CELL_INT(INT64_MAX));
        maker_set(&maker, 3, CELL_BOOL(true));
        mg_table_builder_row(maker.builder);
    }
    struct mg_table *table = maker_finish(&maker);
#define ROW(d) "<row>\n<d>" d "</d>\n<i>9223372036854775807</i>\n<g>LINESTRING(0 0,1 1)</g>\n</row>\n"
    expect_text(mg_codec_xml, table, "columns=d,i,g", DATA(ROW("NaN") ROW("INF") ROW("-INF") ROW("-0")),
                "doubles as XML Schema has them; columns in the order of the option");
    mg_table_unref(&table);
    maker_init(&maker, NULL, "s:s");
    table = maker_finish(&maker);
    expect_text(mg_codec_xml, table, NULL, DATA(""), "no rows");
    mg_table_unref(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
