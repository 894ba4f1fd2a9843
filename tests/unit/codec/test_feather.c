/* Arrow IPC: framing, alignment, sizes; and, with MG_WRITE_TABLES=DIR, files for other readers
 * (tests/http/arrow.test.mjs): each DIR/<case>.{feather,arrows} beside a DIR/<case>.json of its
 * cells. */
#include "table_make.h"

#include "arrow_make.h"

extern const struct mg_codec mg_codec_feather[];

static const char all_types[] = "n b c C s S i I l L e f g u U z Z w:5 tdD tdm tts ttm ttu ttn "
                                "tss: tsm:UTC tsu:Europe/Berlin tsn: tDs tDm tDu "
                                "tDn d:12,3 d:38,10 +l(u) +L(l) +w:2(i) +s(i,u) +m(u,i) "
                                "+l(+s(b,+l(g))) +s(+w:3(+s(u,z)),n) c<u> i<g> S<+l(u)> "
                                "+l(s<U>) +s(C<u>,c<i>)";

static const struct {
    const char *name, *columns;
    int64_t rows;
    size_t batches;
    int nulls;
} cases[] = {
    {"all", all_types, 37, 1, 20},     {"dense", all_types, 100, 1, 0},
    {"batches", all_types, 29, 3, 40}, {"gone", all_types, 9, 2, 100},
    {"norows", all_types, 0, 1, 20},   {"nobatches", all_types, 0, 0, 0},
    {"nocolumns", "", 5, 1, 0},        {"twice", "i i u", 5, 2, 10},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void encode(const struct mg_table *table, int codec, int compression, struct mg_buf *out)
{
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = (struct mg_table *)table};
    struct mg_option_value options[] = {{.number = compression}};
    struct mg_codec_job job = {.value = &value, .options = options};
    struct mg_errmsg err = {0};
    mg_buf_init(out, 0);
    if (mg_codec_feather[codec].encode(&job, out, &err))
        fail_msg("%s", err.text);
}

static uint32_t u32_at(const struct mg_buf *buf, size_t at)
{
    uint32_t value;
    assert_true(at + 4 <= buf->len);
    memcpy(&value, buf->data + at, 4);
    return value;
}

/* The frame that any reader walks: magic, messages with aligned bodies, the end, the footer. */
static void test_frame(void **state)
{
    (void)state;
    for (size_t c = 0; c < N_CASES; c++)
        for (int compression = 0; compression < 3; compression++) {
            struct mg_buf file, stream;
            struct mg_table *table = random_table(c + 1, cases[c].columns, cases[c].rows,
                                                  cases[c].batches, cases[c].nulls);
            encode(table, 0, compression, &file);
            encode(table, 1, compression, &stream);
            assert_memory_equal(file.data, "ARROW1\0\0", 8);
            assert_memory_equal(file.data + file.len - 6, "ARROW1", 6);
            assert_int_equal(u32_at(&file, 8), UINT32_MAX);
            assert_int_equal((8 + 8 + u32_at(&file, 12)) % 64, 0);
            size_t footer = u32_at(&file, file.len - 10), end = file.len - 10 - footer;
            assert_int_equal(footer % 8, 0);
            assert_int_equal(u32_at(&file, end - 8), UINT32_MAX);
            assert_int_equal(u32_at(&file, end - 4), 0);
            assert_int_equal(u32_at(&stream, 0), UINT32_MAX);
            assert_int_equal(u32_at(&stream, stream.len - 8), UINT32_MAX);
            assert_int_equal(u32_at(&stream, stream.len - 4), 0);
            mg_buf_fini(&file);
            mg_buf_fini(&stream);
            mg_table_unref(&table);
        }
}

static void test_limit(void **state)
{
    struct mg_table *table = random_table(1, all_types, 100, 2, 10);
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    (void)state;
    for (int compression = 0; compression < 3; compression++)
        for (size_t max = 1; max < 60000; max = max * 3 + 5) {
            struct mg_option_value options[] = {{.number = compression}};
            struct mg_codec_job job = {.value = &value, .options = options};
            struct mg_buf out;
            struct mg_errmsg err = {0};
            mg_buf_init(&out, max);
            assert_int_equal(mg_codec_feather[0].encode(&job, &out, &err), MG_E_UDF_OUTPUT);
            assert_true(out.len <= max);
            mg_buf_fini(&out);
        }
    mg_table_unref(&table);
}

static void put_file(const char *folder, const char *name, const char *extension,
                     const struct mg_buf *buf)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.%s", folder, name, extension);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(buf->data, 1, buf->len, file), buf->len);
    assert_int_equal(fclose(file), 0);
}

/* {"format": [cell, …], …} as a list of columns, each cell as the text codecs see it. */
static void put_cells(const struct mg_table *table, struct mg_buf *out)
{
    mg_buf_str(out, "[");
    for (int c = 0; c < table->schema.n_children; c++) {
        mg_buf_str(out, c ? ",\n[" : "\n[");
        for (size_t b = 0; b < table->n_batches; b++) {
            struct mg_cursor *cursor = NULL;
            assert_int_equal(mg_cursor_open(table, b, c, &cursor, NULL), MG_OK);
            for (int64_t r = 0; r < table->batches[b].length; r++) {
                struct mg_cell cell = {0};
                mg_cursor_get(cursor, r, &cell);
                mg_buf_str(out, b || r ? "," : "");
                if (cell.type == MG_CELL_NESTED)
                    mg_buf_put(out, cell.s.data, cell.s.len);
                else if (cell.type == MG_CELL_DOUBLE && !isfinite(cell.d))
                    mg_buf_str(out, isnan(cell.d) ? "\"NaN\""
                                    : cell.d > 0  ? "\"Infinity\""
                                                  : "\"-Infinity\"");
                else if (cell.type == MG_CELL_INT || cell.type == MG_CELL_UINT) {
                    mg_buf_char(out, '"');
                    mg_cell_text(&cell, out);
                    mg_buf_char(out, '"');
                } else
                    mg_cell_json(&cell, out);
            }
            mg_cursor_close(&cursor);
        }
        mg_buf_str(out, "]");
    }
    mg_buf_str(out, "]\n");
}

static void test_files(void **state)
{
    const char *folder = getenv("MG_WRITE_TABLES");
    static const char *const compressions[] = {"none", "lz4", "zstd"};
    (void)state;
    for (size_t c = 0; c < N_CASES; c++) {
        struct mg_table *table =
            random_table(c + 1, cases[c].columns, cases[c].rows, cases[c].batches, cases[c].nulls);
        struct mg_buf out;
        for (int compression = 0; compression < 3; compression++) {
            char name[64];
            snprintf(name, sizeof name, "%s.%s", cases[c].name, compressions[compression]);
            encode(table, 0, compression, &out);
            put_file(folder, name, "feather", &out);
            mg_buf_fini(&out);
            encode(table, 1, compression, &out);
            put_file(folder, name, "arrows", &out);
            mg_buf_fini(&out);
        }
        mg_buf_init(&out, 0);
        put_cells(table, &out);
        put_file(folder, cases[c].name, "json", &out);
        mg_buf_fini(&out);
        mg_table_unref(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_frame), cmocka_unit_test(test_limit)};
    const struct CMUnitTest for_readers[] = {cmocka_unit_test(test_files)};
    return getenv("MG_WRITE_TABLES") ? cmocka_run_group_tests(for_readers, NULL, NULL)
                                     : cmocka_run_group_tests(tests, NULL, NULL);
}
