/* JSON: a list of records, plain values as they are. */
#include "table_make.h"

#include <math.h>

extern const struct mg_codec mg_codec_json[];

static void test_records(void **state)
{
    struct maker maker;
    (void)state;
    maker_init(&maker, NULL, "n:i v:d geometry:g");
    maker_set(&maker, 0, CELL_INT(INT64_MIN));
    maker_set(&maker, 1, CELL_DOUBLE(1e300));
    maker_wkt(&maker, 2, "POINT(1 2)");
    mg_table_builder_row(maker.builder);
    maker_set(&maker, 1, CELL_DOUBLE(INFINITY));
    mg_table_builder_row(maker.builder);
    struct mg_table *table = maker_finish(&maker);
    expect_text(mg_codec_json, table, NULL,
                "[\n{\"n\":-9223372036854775808,\"v\":1e+300,\"geometry\":{\"type\":\"Point\","
                "\"coordinates\":[1,2]}},\n"
                "{\"n\":null,\"v\":null,\"geometry\":null}\n]\n",
                "records; without a CRS the coordinates as they are");
    mg_table_unref(&table);
    maker_init(&maker, NULL, "n:i");
    table = maker_finish(&maker);
    expect_text(mg_codec_json, table, NULL, "[\n]\n", "no rows are an empty list");
    mg_table_unref(&table);
}

static void test_plain(void **state)
{
    struct mg_value value = {.shape = MG_SHAPE_JSON, .text = MG_SPAN("{\"a\":[1,2]}")};
    struct mg_buf out;
    (void)state;
    mg_buf_init(&out, 0);
    assert_int_equal(run_codec(mg_codec_json, &value, NULL, &out, NULL), MG_OK);
    assert_string_equal(out.data, "{\"a\":[1,2]}");
    mg_buf_fini(&out);
}

static void test_options(void **state)
{
    struct maker maker;
    (void)state;
    maker_init(&maker, NULL, "a:i b:s c:d");
    for (int i = 0; i < 2; i++) {
        maker_set(&maker, 0, CELL_INT(INT64_MAX));
        maker_set(&maker, 1, CELL_TEXT("x"));
        maker_set(&maker, 2, CELL_DOUBLE(i ? INFINITY : -0.0));
        mg_table_builder_row(maker.builder);
    }
    struct mg_table *table = maker_finish(&maker);
    expect_text(mg_codec_json, table, "columns=c,a",
                "[\n{\"c\":-0,\"a\":9223372036854775807},\n{\"c\":null,\"a\":9223372036854775807}\n]\n",
                "some columns, in that order");
    expect_text(mg_codec_json, table, "columns=c,b orient=1",
                "{\"columns\":[\"c\",\"b\"],\n\"data\":[\n[-0,\"x\"],\n[null,\"x\"]\n]}\n", "split");
    expect_text(mg_codec_json, table, "columns=b orient=2", "[\n[\"x\"],\n[\"x\"]\n]\n", "values");
    mg_table_unref(&table);
}

static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}
static void release_array(struct ArrowArray *array)
{
    array->release = NULL;
}

/* A foreign table may have a name twice, or no columns; a reader of JSON keeps one value of a key. */
static void test_foreign(void **state)
{
    static const char *const names[] = {"a", "a_2", "a", "", NULL};
    static const int8_t data[] = {1};
    const void *buffers[] = {NULL, data};
    struct ArrowSchema columns[5], *column_list[5];
    struct ArrowArray arrays[5], *array_list[5];
    struct mg_table *table = NULL;
    (void)state;
    for (int n = 5; n >= 0; n -= 5) {
        for (int i = 0; i < n; i++) {
            columns[i] = (struct ArrowSchema){.format = "c", .name = names[i], .release = release_schema};
            arrays[i] = (struct ArrowArray){.length = 1, .n_buffers = 2, .buffers = buffers,
                                            .release = release_array};
            column_list[i] = &columns[i];
            array_list[i] = &arrays[i];
        }
        struct ArrowSchema schema = {.format = "+s", .name = "", .n_children = n, .children = column_list,
                                     .release = release_schema};
        struct ArrowArray batch = {.length = 1, .n_buffers = 1, .buffers = buffers, .n_children = n,
                                   .children = array_list, .release = release_array};
        assert_int_equal(mg_table_import(&schema, &batch, 1, NULL, NULL, &table, NULL), MG_OK);
        expect_text(mg_codec_json, table, NULL,
                    n ? "[\n{\"a\":1,\"a_2\":1,\"a_3\":1,\"\":1,\"_2\":1}\n]\n" : "[\n{}\n]\n",
                    "a name of its own for each column");
        mg_table_unref(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_records),
                                       cmocka_unit_test(test_plain), cmocka_unit_test(test_options),
                                       cmocka_unit_test(test_foreign)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
