/* Every Arrow type through every text format: what each cell reads as, and stored tables of all types with
 * bytes changed, which end in an error or in text, never in a signal. */
#include "table_make.h"

static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}
static void release_array(struct ArrowArray *array)
{
    array->release = NULL;
}

/* A node of a foreign producer: up to two children, a dictionary. */
struct node {
    struct ArrowSchema schema, *kids[2];
    struct ArrowArray array, *kid_arrays[2];
    const void *buffers[3];
};

static void node_init(struct node *n, const char *format, const char *name, int64_t length, int n_buffers,
                      const void *b0, const void *b1, const void *b2)
{
    *n = (struct node){0};
    n->schema = (struct ArrowSchema){.format = format, .name = name, .children = n->kids,
                                     .release = release_schema};
    n->buffers[0] = b0;
    n->buffers[1] = b1;
    n->buffers[2] = b2;
    n->array = (struct ArrowArray){.length = length, .n_buffers = n_buffers, .buffers = n->buffers,
                                   .children = n->kid_arrays, .release = release_array};
}

static void node_adopt(struct node *parent, struct node *child)
{
    parent->kids[parent->schema.n_children++] = &child->schema;
    parent->kid_arrays[parent->array.n_children++] = &child->array;
}

/* A table of one column; everything stays the caller's. */
static struct mg_table *import(struct node *top, struct node *column)
{
    struct mg_table *table = NULL;
    struct mg_errmsg err;
    node_init(top, "+s", "", column->array.length, 1, NULL, NULL, NULL);
    node_adopt(top, column);
    if (mg_table_import(&top->schema, &top->array, 1, NULL, NULL, &table, &err))
        fail_msg("%s: %s", column->schema.format, err.text);
    return table;
}

static void expect_cell(struct mg_table *table, int64_t row, const char *json, const char *text,
                        const char *what)
{
    struct mg_cursor *cursor = NULL;
    struct mg_cell cell = {0};
    struct mg_buf out;
    assert_int_equal(mg_cursor_open(table, 0, 0, &cursor, NULL), MG_OK);
    for (int i = 0; i < 2; i++) {
        mg_buf_init(&out, 0);
        mg_cursor_get(cursor, row, &cell);
        (i ? mg_cell_text : mg_cell_json)(&cell, &out);
        if (strcmp(out.data ? out.data : "", i ? text : json) != 0)
            fail_msg("%s, row %d: %s instead of %s", what, (int)row, out.data ? out.data : "",
                     i ? text : json);
        mg_buf_fini(&out);
    }
    mg_cursor_close(&cursor);
}

static const int8_t i8[] = {-128, 127};
static const uint8_t u8[] = {0, 255};
static const int16_t i16[] = {INT16_MIN, INT16_MAX};
static const uint16_t u16[] = {0, UINT16_MAX};
static const int32_t i32[] = {INT32_MIN, INT32_MAX};
static const uint32_t u32[] = {0, UINT32_MAX};
static const int64_t i64[] = {INT64_MIN, INT64_MAX};
static const uint64_t u64[] = {0, UINT64_MAX};
static const uint16_t f16[] = {0x3555, 0xFC00};
static const float f32[] = {0.1f, -1e30f};
static const double f64[] = {-0.0, 1e-320};
static const uint8_t bits[] = {2};
static const int32_t days[] = {-719528, 2932896};
static const int64_t millis[] = {-1, 86400000};
static const int64_t times[] = {-1, 1700000000};
static const int64_t nanos[] = {-1, INT64_MAX};
static const int32_t seconds[] = {0, 86399};
static const int64_t clock_nanos[] = {1000, 86400000000000};
static const int64_t spans[] = {-1500, 1};
static const int32_t decimal32[] = {-12345, 5};
static const int64_t decimal128[] = {-1, -1, 0x0FFFFFFFFFFFFFFF, 1};
static const uint64_t decimal256[] = {0, 0, 0, 1, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
static const int32_t starts32[] = {0, 0, 3};
static const int64_t starts64[] = {0, 1, 3};
static const char letters[] = "\"\n<";

static void test_cells(void **state)
{
    static const struct {
        const char *format;
        int n_buffers;
        const void *data, *more;
        const char *json[2], *text[2];
    } rows[] = {
        {"c", 2, i8, NULL, {"-128", "127"}, {"-128", "127"}},
        {"C", 2, u8, NULL, {"0", "255"}, {"0", "255"}},
        {"s", 2, i16, NULL, {"-32768", "32767"}, {"-32768", "32767"}},
        {"S", 2, u16, NULL, {"0", "65535"}, {"0", "65535"}},
        {"i", 2, i32, NULL, {"-2147483648", "2147483647"}, {"-2147483648", "2147483647"}},
        {"I", 2, u32, NULL, {"0", "4294967295"}, {"0", "4294967295"}},
        {"l", 2, i64, NULL, {"-9223372036854775808", "9223372036854775807"},
         {"-9223372036854775808", "9223372036854775807"}},
        {"L", 2, u64, NULL, {"0", "18446744073709551615"}, {"0", "18446744073709551615"}},
        {"e", 2, f16, NULL, {"0.333251953125", "null"}, {"0.333251953125", ""}},
        {"f", 2, f32, NULL, {"0.10000000149011612", "-1.0000000150474662e+30"},
         {"0.10000000149011612", "-1.0000000150474662e+30"}},
        {"g", 2, f64, NULL, {"-0", "1e-320"}, {"-0", "1e-320"}},
        {"b", 2, bits, NULL, {"false", "true"}, {"false", "true"}},
        {"tdD", 2, days, NULL, {"\"0000-01-01\"", "\"9999-12-31\""}, {"0000-01-01", "9999-12-31"}},
        {"tdm", 2, millis, NULL, {"\"1969-12-31\"", "\"1970-01-02\""}, {"1969-12-31", "1970-01-02"}},
        {"tss:", 2, times, NULL, {"\"1969-12-31T23:59:59\"", "\"2023-11-14T22:13:20\""},
         {"1969-12-31T23:59:59", "2023-11-14T22:13:20"}},
        {"tsm:UTC", 2, times, NULL, {"\"1969-12-31T23:59:59.999000Z\"", "\"1970-01-20T16:13:20Z\""},
         {"1969-12-31T23:59:59.999000Z", "1970-01-20T16:13:20Z"}},
        {"tsu:Europe/Berlin", 2, times, NULL,
         {"\"1969-12-31T23:59:59.999999Z\"", "\"1970-01-01T00:28:20Z\""},
         {"1969-12-31T23:59:59.999999Z", "1970-01-01T00:28:20Z"}},
        {"tsn:", 2, nanos, NULL, {"\"1969-12-31T23:59:59.999999\"", "\"2262-04-11T23:47:16.854775\""},
         {"1969-12-31T23:59:59.999999", "2262-04-11T23:47:16.854775"}},
        {"tts", 2, seconds, NULL, {"\"00:00:00\"", "\"23:59:59\""}, {"00:00:00", "23:59:59"}},
        {"ttn", 2, clock_nanos, NULL, {"\"00:00:00.000001\"", "null"}, {"00:00:00.000001", ""}},
        {"tDm", 2, spans, NULL, {"-1.5", "0.001"}, {"-1.5", "0.001"}},
        {"d:5,2,32", 2, decimal32, NULL, {"-123.45", "0.05"}, {"-123.45", "0.05"}},
        {"d:19,0,64", 2, i64 /* the least has no positive */, NULL,
         {"\"-9223372036854775808\"", "9223372036854775807"},
                 {"-9223372036854775808", "9223372036854775807"}},
        {"d:38,3", 2, decimal128, NULL, {"-0.001", "\"19599665578316398.591\""},
         {"-0.001", "19599665578316398.591"}},
        {"d:38,-2,128", 2, decimal128, NULL, {"\"-100\"", "\"1959966557831639859100\""},
         {"-100", "1959966557831639859100"}},
        {"d:76,10,256", 2, decimal256, NULL,
         {"\"627710173538668076383578942320766641610235544446.4034512896\"", "-1e-10"},
         {"627710173538668076383578942320766641610235544446.4034512896", "-1e-10"}},
        {"u", 3, starts32, letters, {"\"\"", "\"\\\"\\n<\""}, {"", "\"\n<"}},
        {"U", 3, starts64, letters, {"\"\\\"\"", "\"\\n<\""}, {"\"", "\n<"}},
        {"z", 3, starts32, letters, {"\"\"", "\"Igo8\""}, {"", "Igo8"}},
        {"w:1", 2, letters, NULL, {"\"Ig==\"", "\"Cg==\""}, {"Ig==", "Cg=="}},
        {"n", 0, NULL, NULL, {"null", "null"}, {"", ""}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct node top, column;
        static const uint8_t none[] = {0};
        for (int nulls = 0; nulls < 2; nulls++) {
            if (nulls && rows[i].n_buffers == 0)
                continue;
            node_init(&column, rows[i].format, "c", 2, rows[i].n_buffers, nulls ? none : NULL, rows[i].data,
                      rows[i].more);
            struct mg_table *table = import(&top, &column);
            for (int row = 0; row < 2; row++)
                expect_cell(table, row, nulls ? "null" : rows[i].json[row], nulls ? "" : rows[i].text[row],
                            rows[i].format);
            mg_table_unref(&table);
        }
    }
}

static void test_nested(void **state)
{
    static const int32_t lists[] = {0, 2, 2}, words[] = {0, 1, 3};
    static const uint8_t valid[] = {1};
    static const int8_t indices[] = {1, 0};
    struct node top, column, child, key, value;
    struct mg_table *table;
    (void)state;
    node_init(&child, "s", "item", 2, 2, valid, i16, NULL);
    node_init(&column, "+l", "c", 2, 2, NULL, lists, NULL);
    node_adopt(&column, &child);
    table = import(&top, &column);
    expect_cell(table, 0, "[-32768,null]", "[-32768,null]", "list");
    expect_cell(table, 1, "[]", "[]", "list");
    mg_table_unref(&table);

    node_init(&child, "s", "item", 2, 2, NULL, i16, NULL);
    node_init(&column, "+w:1", "c", 2, 1, NULL, NULL, NULL);
    node_adopt(&column, &child);
    table = import(&top, &column);
    expect_cell(table, 1, "[32767]", "[32767]", "fixed-size list");
    mg_table_unref(&table);

    for (int text_keys = 0; text_keys < 2; text_keys++) {
        node_init(&key, text_keys ? "u" : "s", "key", 2, text_keys ? 3 : 2, NULL,
                  text_keys ? (const void *)words : i16, letters);
        node_init(&value, "g", "value", 2, 2, NULL, f64, NULL);
        node_init(&child, "+s", "entries", 2, 1, NULL, NULL, NULL);
        node_adopt(&child, &key);
        node_adopt(&child, &value);
        node_init(&column, "+m", "c", 2, 2, NULL, lists, NULL);
        node_adopt(&column, &child);
        table = import(&top, &column);
        expect_cell(table, 0,
                    text_keys ? "{\"\\\"\":-0,\"\\n<\":1e-320}"
                              : "[{\"key\":-32768,\"value\":-0},{\"key\":32767,\"value\":1e-320}]",
                    text_keys ? "{\"\\\"\":-0,\"\\n<\":1e-320}"
                              : "[{\"key\":-32768,\"value\":-0},{\"key\":32767,\"value\":1e-320}]",
                    "map");
        expect_cell(table, 1, text_keys ? "{}" : "[]", text_keys ? "{}" : "[]", "map");
        mg_table_unref(&table);
    }

    node_init(&child, "u", "", 2, 3, NULL, words, letters);
    node_init(&column, "c", "c", 2, 2, NULL, indices, NULL);
    column.schema.dictionary = &child.schema;
    column.array.dictionary = &child.array;
    table = import(&top, &column);
    expect_cell(table, 0, "\"\\n<\"", "\n<", "dictionary");
    mg_table_unref(&table);
}

/* Formats that are not read say so. */
static void test_unread(void **state)
{
    static const char *const formats[] = {"vu", "vz", "tiM", "+ud:0", "+r", "d:0,1", "d:77,1", "d:5", "d:5,x",
                                          "d:5,1,100", "d:5,99", "tsx:", "+w:", "w:-1", "q"};
    struct node top, column;
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct mg_table *table = NULL;
        struct mg_errmsg err;
        node_init(&column, formats[i], "odd", 2, 2, NULL, i64, NULL);
        node_init(&top, "+s", "", 2, 1, NULL, NULL, NULL);
        node_adopt(&top, &column);
        assert_int_equal(mg_table_import(&top.schema, &top.array, 1, NULL, NULL, &table, &err),
                         MG_E_ARGUMENT);
        assert_non_null(strstr(err.text, formats[i]));
        assert_non_null(strstr(err.text, "odd"));
    }
}

static const char *const formats[] = {"geojson", "json", "csv", "tsv", "html", "xml", "svg", "mvt"};

static void encode_all(struct mg_table *table)
{
    static const struct mg_tile tile = {0};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        const struct mg_codec *codec = mg_codec_find(mg_span(formats[f]));
        struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
        struct mg_option_value options[32];
        struct mg_buf out;
        mg_option_defaults(codec, options);
        struct mg_codec_job job = {.value = &value, .options = options, .tile_size = 256,
                                   .tile = f == 7 ? &tile : NULL};
        mg_buf_init(&out, 1 << 20);
        enum mg_err e = mg_encode(codec, &job, &out, NULL);
        if (!e && f < 7)
            assert_true(out.len > 0 || table->schema.n_children == 0);
        mg_buf_fini(&out);
    }
}

/* The stored form of one table with a column of each kind, bytes changed, restored and written. */
static void test_mutations(void **state)
{
    struct maker maker;
    struct mg_buf stored;
    uint64_t seed = 88172645463325252u;
    int restored = 0;
    (void)state;
    maker_init(&maker, "EPSG:4326", "g:g id:i name:s value:d flag:b day:t");
    static const char *const wkt[] = {"POINT(170 2)", "POLYGON((170 -10,190 -10,190 10,170 10,170 -10))",
                                      "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,5 5))",
                                      "MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((2 2,3 2,3 3,2 2)))"};
    for (int i = 0; i < 4; i++) {
        maker_wkt(&maker, 0, wkt[i]);
        maker_set(&maker, 1, CELL_INT(i));
        maker_set(&maker, 2, CELL_TEXT("a, \"b\" <\xC3\xA9>\r\n"));
        maker_set(&maker, 3, CELL_DOUBLE(i / 3.0));
        maker_set(&maker, 4, CELL_BOOL(i & 1));
        maker_set(&maker, 5, CELL_DAY(i * 10000));
        mg_table_builder_row(maker.builder);
    }
    struct mg_table *table = maker_finish(&maker);
    mg_buf_init(&stored, 0);
    mg_table_store(table, &stored);
    encode_all(table);
    mg_table_unref(&table);
    for (int round = 0; round < 4000; round++) {
        char *copy = malloc(stored.len); /* of its own size: a read beyond is seen */
        memcpy(copy, stored.data, stored.len);
        size_t len = stored.len;
        for (int change = 0; change < 1 + round % 6; change++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            copy[seed % len] = (char)(seed >> 40 & 1 ?
                                      seed >> 32 : (uint64_t)copy[seed % len] ^ 1u << (seed >> 33 & 7));
        }
        struct mg_errmsg err;
        table = NULL;
        if (!mg_table_restore((struct mg_span){copy, len}, &table, &err)) {
            restored++;
            encode_all(table);
            mg_table_unref(&table);
        }
        free(copy);
    }
    mg_buf_fini(&stored);
    assert_true(restored > 400); /* else nothing was tried */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cells), cmocka_unit_test(test_nested),
                                       cmocka_unit_test(test_unread), cmocka_unit_test(test_mutations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
