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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_records),
                                       cmocka_unit_test(test_plain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
