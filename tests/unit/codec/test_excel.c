/* Excel: what each cell becomes in the sheet's XML, names of sheets, what does not fit. With
 * MG_WRITE_TABLES=DIR files for other readers (tests/http/arrow.test.mjs). */
#include "table_make.h"

#include "arrow_make.h"

extern const struct mg_codec mg_codec_excel[];

static enum mg_err encode(struct mg_table *table, const char *sheet, struct mg_buf *out,
                          struct mg_errmsg *err)
{
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    struct mg_option_value options[] = {{.text = mg_span(sheet)}};
    struct mg_codec_job job = {.value = &value, .options = options};
    mg_buf_init(out, 0);
    return mg_codec_excel[0].encode(&job, out, err);
}

static uint32_t number_at(const char *at, int bytes)
{
    uint32_t v = 0;
    memcpy(&v, at, (size_t)bytes);
    return v;
}

/* The member's text, by the sizes that its local header says. */
static void member(const struct mg_buf *zip, const char *name, struct mg_buf *out)
{
    for (size_t at = 0; at + 30 < zip->len && number_at(zip->data + at, 4) == 0x04034b50;) {
        const char *head = zip->data + at;
        uint32_t packed = number_at(head + 18, 4), bytes = number_at(head + 22, 4);
        size_t len = number_at(head + 26, 2);
        if (len == strlen(name) && memcmp(head + 30, name, len) == 0) {
            /* gzip's frame around it, so that the reader checks CRC and length. */
            struct mg_buf gz;
            mg_buf_init(&gz, 0);
            mg_buf_init(out, 0);
            mg_buf_put(&gz, "\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
            mg_buf_put(&gz, head + 30 + len, packed);
            mg_buf_put(&gz, head + 14, 4);
            mg_buf_put(&gz, &bytes, 4);
            assert_int_equal(mg_gunzip((struct mg_span){gz.data, gz.len}, out), MG_OK);
            mg_buf_fini(&gz);
            return;
        }
        at += 30 + len + packed;
    }
    fail_msg("no member %s", name);
}

#define TEXT(ref, text) \
    "<c r=\"" ref "\" t=\"inlineStr\"><is><t xml:space=\"preserve\">" text "</t></is></c>"

static void expect_cell(char type, struct mg_cell cell, const char *expected)
{
    char columns[] = "v:?";
    struct maker maker;
    struct mg_buf out, xml;
    struct mg_errmsg err = {0};
    columns[2] = type;
    maker_init(&maker, NULL, columns);
    maker_set(&maker, 0, cell);
    mg_table_builder_row(maker.builder);
    struct mg_table *table = maker_finish(&maker);
    if (encode(table, "Sheet1", &out, &err))
        fail_msg("%s", err.text);
    member(&out, "xl/worksheets/sheet1.xml", &xml);
    const char *row = strstr(xml.data, "<row r=\"2\">");
    assert_non_null(row);
    row += strlen("<row r=\"2\">");
    if (strncmp(row, expected, strlen(expected)) != 0 ||
        strncmp(row + strlen(expected), "</row>", 6) != 0)
        fail_msg("%.300s instead of %s", row, expected);
    mg_buf_fini(&xml);
    mg_buf_fini(&out);
    mg_table_unref(&table);
}

static void test_cells(void **state)
{
    static const struct {
        char type;
        struct mg_cell cell;
        const char *expected;
    } rows[] = {
        {'i', {.type = MG_CELL_INT, .i = -7}, "<c r=\"A2\"><v>-7</v></c>"},
        {'i',
         {.type = MG_CELL_INT, .i = 9007199254740992},
         "<c r=\"A2\"><v>9007199254740992</v></c>"},
        {'i', {.type = MG_CELL_INT, .i = 9007199254740993}, TEXT("A2", "9007199254740993")},
        {'i', {.type = MG_CELL_INT, .i = INT64_MIN}, TEXT("A2", "-9223372036854775808")},
        {'d', {.type = MG_CELL_DOUBLE, .d = 0.1}, "<c r=\"A2\"><v>0.1</v></c>"},
        {'d', {.type = MG_CELL_DOUBLE, .d = NAN}, ""},
        {'d', {.type = MG_CELL_DOUBLE, .d = INFINITY}, "<c r=\"A2\" t=\"e\"><v>#NUM!</v></c>"},
        {'b', {.type = MG_CELL_BOOL, .b = true}, "<c r=\"A2\" t=\"b\"><v>1</v></c>"},
        {'t', {.type = MG_CELL_DATE, .i = 0}, "<c r=\"A2\" s=\"2\"><v>25569</v></c>"},
        {'t', {.type = MG_CELL_DATE, .i = -25567}, "<c r=\"A2\" s=\"2\"><v>1</v></c>"},
        {'t', {.type = MG_CELL_DATE, .i = -25509}, "<c r=\"A2\" s=\"2\"><v>59</v></c>"},
        {'t', {.type = MG_CELL_DATE, .i = -25508}, "<c r=\"A2\" s=\"2\"><v>61</v></c>"},
        {'t', {.type = MG_CELL_DATE, .i = -25568}, TEXT("A2", "1899-12-31")},
        {'t', {.type = MG_CELL_DATE, .i = 2932896}, "<c r=\"A2\" s=\"2\"><v>2958465</v></c>"},
        {'t', {.type = MG_CELL_DATE, .i = 2932897}, TEXT("A2", "+10000-01-01")},
        {'s', {.type = MG_CELL_STRING, .s = {"=1+1", 4}}, TEXT("A2", "=1+1")},
        {'s',
         {.type = MG_CELL_STRING, .s = {"a<b>&\"c\"", 8}},
         TEXT("A2", "a&lt;b&gt;&amp;&quot;c&quot;")},
        {'s', {.type = MG_CELL_STRING, .s = {"a\0b\r\n", 5}}, TEXT("A2", "a_x0000_b_x000D_\n")},
        {'s', {.type = MG_CELL_STRING, .s = {"_x0041_ _x", 10}}, TEXT("A2", "_x005F_x0041_ _x")},
        {'s',
         {.type = MG_CELL_STRING, .s = {"\360\237\214\231\xff", 5}},
         TEXT("A2", "\360\237\214\231\357\277\275")},
        {'s', {.type = MG_CELL_STRING, .s = {"\357\277\277", 3}}, TEXT("A2", "\357\277\275")},
        {'s', {.type = MG_CELL_STRING, .s = {"", 0}}, TEXT("A2", "")},
        {'s', {.type = MG_CELL_NULL}, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_cell(rows[i].type, rows[i].cell, rows[i].expected);
}

static void test_names(void **state)
{
    static const struct {
        const char *name;
        bool good;
    } rows[] = {
        {"Sheet1", true},
        {"Größe & <Länge>", true},
        {"1234567890123456789012345678901", true},
        {"History 2", true},
        {"it's", true},
        {"12345678901234567890123456789012", false},
        {"a/b", false},
        {"a[1]", false},
        {"what?", false},
        {"'x", false},
        {"x'", false},
        {"hiSTory", false},
        {"bell\a", false},
        {"bad\xff", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_table *table = random_table(1, "i", 1, 1, 0);
        struct mg_buf out, xml;
        struct mg_errmsg err = {0};
        enum mg_err e = encode(table, rows[i].name, &out, &err);
        if (e != (rows[i].good ? MG_OK : MG_E_PARAMETER))
            fail_msg("%s: %d %s", rows[i].name, e, err.text);
        if (rows[i].good) {
            member(&out, "xl/workbook.xml", &xml);
            assert_non_null(strstr(xml.data, "<sheet name=\""));
            mg_buf_fini(&xml);
        } else {
            assert_non_null(strstr(err.text, "excel.sheet"));
        }
        mg_buf_fini(&out);
        mg_table_unref(&table);
    }
}

static void test_limits(void **state)
{
    static char text[32769];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    for (int over = 0; over < 2; over++) {
        struct maker maker;
        struct mg_buf out;
        struct mg_errmsg err = {0};
        maker_init(&maker, NULL, "id:i long:s");
        mg_table_builder_row(maker.builder);
        maker_set(&maker, 1,
                  (struct mg_cell){.type = MG_CELL_STRING, .s = {text, (size_t)(32767 + over)}});
        mg_table_builder_row(maker.builder);
        struct mg_table *table = maker_finish(&maker);
        assert_int_equal(encode(table, "S", &out, &err), over ? MG_E_NOT_ACCEPTABLE : MG_OK);
        if (over) {
            assert_non_null(strstr(err.text, "row 2, column \"long\" has 32768"));
        }
        mg_buf_fini(&out);
        mg_table_unref(&table);
    }
    for (int over = 0; over < 2; over++) {
        struct mg_table *table = random_table(1, "n", 1048575 + over, 1, 0);
        struct mg_buf out;
        struct mg_errmsg err = {0};
        assert_int_equal(encode(table, "S", &out, &err), over ? MG_E_NOT_ACCEPTABLE : MG_OK);
        if (over)
            assert_non_null(strstr(err.text, "1048575 rows"));
        mg_buf_fini(&out);
        mg_table_unref(&table);
    }
}

/* Any table, any limit of the output: an answer or an error, never more bytes. */
static void test_random(void **state)
{
    const char *folder = getenv("MG_WRITE_TABLES");
    static const char columns[] = "n b c C s S i I l L e f g u U z Z w:5 tdD tdm tts ttu tss: "
                                  "tsu:Europe/Berlin tsn: tDs d:12,3 +l(u) +s(i,u) "
                                  "+m(u,i) c<u>";
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct mg_table *table =
            random_table(seed, seed == 1 ? "" : columns, seed ? 31 : 0, seed % 3, 25);
        struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
        struct mg_option_value options[] = {{.text = MG_SPAN("Random")}};
        struct mg_codec_job job = {.value = &value, .options = options};
        struct mg_buf out;
        struct mg_errmsg err = {0};
        for (size_t max = 100; max < 4000; max *= 5) {
            mg_buf_init(&out, max);
            enum mg_err e = mg_codec_excel[0].encode(&job, &out, &err);
            assert_true(e == MG_OK || e == MG_E_UDF_OUTPUT);
            assert_true(out.len <= max);
            mg_buf_fini(&out);
        }
        if (encode(table, "Random", &out, &err))
            fail_msg("%s", err.text);
        if (folder && seed < 6) {
            char path[1024];
            snprintf(path, sizeof path, "%s/random%d.xlsx", folder, (int)seed);
            FILE *file = fopen(path, "wb");
            assert_non_null(file);
            assert_int_equal(fwrite(out.data, 1, out.len, file), out.len);
            assert_int_equal(fclose(file), 0);
        }
        mg_buf_fini(&out);
        mg_table_unref(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cells), cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_limits),
                                       cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
