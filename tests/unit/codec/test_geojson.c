/* GeoJSON: members, numbers, reprojection, precision, and what has no geometry. */
#include "table_make.h"

#include <math.h>

extern const struct mg_codec mg_codec_geojson[];

#define WRAP(features) "{\"type\":\"FeatureCollection\",\"features\":[\n" features "\n]}\n"

static void test_features(void **state)
{
    struct maker maker;
    (void)state;
    maker_init(&maker, "EPSG:4326", "id:i name:s value:d flag:b day:t geometry:g");
    maker_set(&maker, 0, CELL_INT(9007199254740993));
    maker_set(&maker, 1, CELL_TEXT("a\"<\n\xC3\xA9"));
    maker_set(&maker, 2, CELL_DOUBLE(0.1));
    maker_set(&maker, 3, CELL_BOOL(true));
    maker_set(&maker, 4, CELL_DAY(19000));
    maker_wkt(&maker, 5, "POINT(-34.91234567891 8)");
    mg_table_builder_row(maker.builder);
    maker_set(&maker, 2, CELL_DOUBLE(NAN));
    mg_table_builder_row(maker.builder);
    struct mg_table *table = maker_finish(&maker);
    expect_text(
        mg_codec_geojson, table, NULL,
        WRAP(
            "{\"type\":\"Feature\",\"id\":9007199254740993,\"properties\":{\"id\":9007199254740993,"
            "\"name\":\"a\\\"<\\n\xC3\xA9\",\"value\":0.1,\"flag\":true,\"day\":\"2022-01-08\"},"
            "\"geometry\":{\"type\":\"Point\",\"coordinates\":[-34.9123457,8]}},\n"
            "{\"type\":\"Feature\",\"properties\":{\"id\":null,\"name\":null,\"value\":null,"
            "\"flag\":null,"
            "\"day\":null},\"geometry\":null}"),
        "exact integers, escapes, nulls");
    mg_table_unref(&table);
}

static void test_projected(void **state)
{
    struct maker maker;
    (void)state;
    maker_init(&maker, "EPSG:32725", "geometry:g");
    maker_wkt(&maker, 0, "POINT(500000 10000000)");
    mg_table_builder_row(maker.builder);
    struct mg_table *table = maker_finish(&maker);
    expect_text(mg_codec_geojson, table, "precision=3",
                WRAP("{\"type\":\"Feature\",\"properties\":{},\"geometry\":{\"type\":\"Point\","
                     "\"coordinates\":[-33,0]}}"),
                "UTM becomes longitude and latitude");
    mg_table_unref(&table);
}

static void test_edges(void **state)
{
    struct maker maker;
    struct mg_buf out;
    struct mg_errmsg err;
    (void)state;
    maker_init(&maker, "EPSG:4326", "n:i");
    struct mg_table *table = maker_finish(&maker);
    expect_text(mg_codec_geojson, table, NULL,
                "{\"type\":\"FeatureCollection\",\"features\":[\n]}\n",
                "no rows are an empty collection");
    mg_table_unref(&table);
    maker_init(&maker, NULL, "geometry:g");
    maker_wkt(&maker, 0, "POINT(1 2)");
    mg_table_builder_row(maker.builder);
    table = maker_finish(&maker);
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    mg_buf_init(&out, 0);
    assert_int_equal(run_codec(mg_codec_geojson, &value, NULL, &out, &err), MG_E_NO_CRS);
    mg_buf_fini(&out);
    mg_table_unref(&table);
    maker_init(&maker, "EPSG:4326", "name:s");
    for (int i = 0; i < 100; i++) {
        maker_set(&maker, 0, CELL_TEXT("some text"));
        mg_table_builder_row(maker.builder);
    }
    table = maker_finish(&maker);
    value.table = table;
    mg_buf_init(&out, 1000);
    assert_int_equal(run_codec(mg_codec_geojson, &value, NULL, &out, &err), MG_E_UDF_OUTPUT);
    mg_buf_fini(&out);
    mg_table_unref(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_projected),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
