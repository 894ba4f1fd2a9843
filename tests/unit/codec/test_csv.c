/* CSV and TSV: quoting, nulls, WKT, formulas, delimiters. */
#include "table_make.h"

extern const struct mg_codec mg_codec_csv[];

static void test_fields(void **state)
{
    static const struct {
        const char *text, *options;
        int codec;
        const char *expected, *what;
    } rows[] = {
        {"plain", NULL, 0, "s,n\r\nplain,\r\n", "plain text is not quoted, null is nothing"},
        {"", NULL, 0, "s,n\r\n\"\",\r\n", "an empty string is not null"},
        {"a,b", NULL, 0, "s,n\r\n\"a,b\",\r\n", "the delimiter is quoted"},
        {"a,b", "delimiter=1", 0, "s;n\r\na,b;\r\n", "but only the delimiter"},
        {"say \"x\"", NULL, 0, "s,n\r\n\"say \"\"x\"\"\",\r\n", "quotes are doubled"},
        {"two\nlines", NULL, 0, "s,n\r\n\"two\nlines\",\r\n", "line breaks are quoted"},
        {" edge", NULL, 0, "s,n\r\n\" edge\",\r\n", "blanks at an end are quoted"},
        {"=1+1", NULL, 0, "s,n\r\n=1+1,\r\n", "data is not changed unasked"},
        {"=1+1", "safe=1", 0, "s,n\r\n\"'=1+1\",\r\n", "safe makes a formula text"},
        {"x", "bom=1", 0, "\xEF\xBB\xBFs,n\r\nx,\r\n", "a byte order mark"},
        {"a\tb", NULL, 1, "s\tn\r\n\"a\tb\"\t\r\n", "TSV"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct maker maker;
        maker_init(&maker, NULL, "s:s n:i");
        maker_set(&maker, 0, CELL_TEXT(rows[i].text));
        mg_table_builder_row(maker.builder);
        struct mg_table *table = maker_finish(&maker);
        expect_text(&mg_codec_csv[rows[i].codec], table, rows[i].options, rows[i].expected,
                    rows[i].what);
        mg_table_unref(&table);
    }
}

static void test_values(void **state)
{
    struct maker maker;
    (void)state;
    maker_init(&maker, "EPSG:32725", "g:g i:i d:d b:b t:t");
    maker_wkt(&maker, 0, "LINESTRING(0 0,1.1 2)");
    maker_set(&maker, 1, CELL_INT(-9007199254740993));
    maker_set(&maker, 2, CELL_DOUBLE(-0.1));
    maker_set(&maker, 3, CELL_BOOL(false));
    maker_set(&maker, 4, CELL_DAY(-1));
    mg_table_builder_row(maker.builder);
    struct mg_table *table = maker_finish(&maker);
    expect_text(
        mg_codec_csv, table, "safe=1",
        "g,i,d,b,t\r\n\"LINESTRING(0 0,1.1 2)\",-9007199254740993,-0.1,false,1969-12-31\r\n",
        "geometry is WKT in its own CRS; safe leaves numbers alone");
    expect_text(mg_codec_csv, table, "columns=d,i", "d,i\r\n-0.1,-9007199254740993\r\n", "columns by name");
    mg_table_unref(&table);
    maker_init(&maker, NULL, "a:i b:g");
    table = maker_finish(&maker);
    expect_text(mg_codec_csv, table, NULL, "a,b\r\n", "no rows are a header");
    mg_table_unref(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fields),
                                       cmocka_unit_test(test_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
