/* HTML: a page passes as it is; whatever a table holds is escaped. */
#include "table_make.h"

extern const struct mg_codec mg_codec_html[];

static void test_page(void **state)
{
    struct mg_value value = {.shape = MG_SHAPE_TEXT, .text = MG_SPAN("<h1>Hello</h1>")};
    struct mg_buf out;
    (void)state;
    mg_buf_init(&out, 0);
    assert_int_equal(run_codec(mg_codec_html, &value, NULL, &out, NULL), MG_OK);
    assert_string_equal(out.data, "<h1>Hello</h1>");
    mg_buf_fini(&out);
}

static void test_table(void **state)
{
    static const struct {
        const char *text;
        bool there;
        const char *what;
    } rows[] = {
        {"<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>", true, "a cell is escaped"},
        {"<script>alert", false, "no markup of the data's"},
        {"a&lt;b</button>", true, "a column's name is escaped"},
        {"<td class=\"n\">42</td>", true, "numbers are marked"},
        {"charset=\"utf-8\"", true, "the page names its charset"},
        {"2 rows, the first 1 shown", true, "what is left out is said"},
        {"<td class=\"n\">43</td>", false, "and left out"},
        {"\xE2\x80\xA6</td>", true, "long WKT is cut"},
    };
    struct maker maker;
    struct mg_buf out;
    struct mg_buf wkt;
    (void)state;
    mg_buf_init(&wkt, 0);
    mg_buf_str(&wkt, "LINESTRING(0 0");
    for (int i = 0; i < 40; i++)
        mg_buf_str(&wkt, ",1 1");
    mg_buf_str(&wkt, ")");
    maker_init(&maker, NULL, "a<b:s n:i g:g");
    maker_set(&maker, 0, CELL_TEXT("<script>alert(1)</script>"));
    maker_set(&maker, 1, CELL_INT(42));
    maker_wkt(&maker, 2, wkt.data);
    mg_buf_fini(&wkt);
    mg_table_builder_row(maker.builder);
    maker_set(&maker, 1, CELL_INT(43));
    mg_table_builder_row(maker.builder);
    struct mg_table *table = maker_finish(&maker);
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    mg_buf_init(&out, 0);
    assert_int_equal(run_codec(mg_codec_html, &value, "rows=1", &out, NULL), MG_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((strstr(out.data, rows[i].text) != NULL) != rows[i].there)
            fail_msg("%s", rows[i].what);
    mg_buf_fini(&out);
    mg_table_unref(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_page), cmocka_unit_test(test_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
