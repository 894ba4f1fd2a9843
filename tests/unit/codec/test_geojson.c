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

#define FEATURE(members) WRAP("{\"type\":\"Feature\",\"properties\":{},\"geometry\":" members "}")

/* RFC 7946, 3.1.9: what crosses the antimeridian is cut there. */
static void test_antimeridian(void **state)
{
    static const struct {
        const char *crs, *wkt, *options, *expected, *what;
    } rows[] = {
        {"EPSG:4326", "POINT(190.5 1)", NULL, "{\"type\":\"Point\",\"coordinates\":[-169.5,1]}",
         "a point beyond the antimeridian is moved"},
        {"EPSG:4326", "POINT(180 1)", NULL, "{\"type\":\"Point\",\"coordinates\":[180,1]}",
         "a point on it stays"},
        {"EPSG:4326", "LINESTRING(170 0,190 10)", "bbox=1",
         "{\"type\":\"MultiLineString\",\"coordinates\":[[[170,0],[180,5]],[[-180,5],[-170,10]]]},"
         "\"bbox\":[170,0,-170,10]",
         "a line is cut in two, its box has west > east"},
        {"EPSG:4326", "LINESTRING(-190 0,-170 0)", NULL,
         "{\"type\":\"MultiLineString\",\"coordinates\":[[[170,0],[180,0]],[[-180,0],[-170,0]]]}",
         "also on the western side"},
        {"EPSG:4326", "LINESTRING(-170 0,170 0)", NULL,
         "{\"type\":\"LineString\",\"coordinates\":[[-170,0],[170,0]]}",
         "a long line within the world is the author's own"},
        {"EPSG:4326", "POLYGON((-180 -90,180 -90,180 90,-180 90,-180 -90))", "bbox=1",
         "{\"type\":\"Polygon\",\"coordinates\":[[[-180,-90],[180,-90],[180,90],[-180,90],[-180,-90]]]},"
         "\"bbox\":[-180,-90,180,90]",
         "the whole world is not cut"},
        {"EPSG:3857", "LINESTRING(19926188.851995967 0,20149199.833582517 0)", "precision=2",
         "{\"type\":\"MultiLineString\",\"coordinates\":[[[179,0],[180,0]],[[-180,0],[-179,0]]]}",
         "beyond the edge of Mercator"},
        {"EPSG:32601", "LINESTRING(100000 0,500000 0)", "precision=0",
         "{\"type\":\"MultiLineString\",\"coordinates\":[[[179,0],[180,0]],[[-180,0],[-177,0]]]}",
         "what a reprojection made leap around the world"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char expected[600];
        struct maker maker;
        maker_init(&maker, rows[i].crs, "geometry:g");
        maker_wkt(&maker, 0, rows[i].wkt);
        mg_table_builder_row(maker.builder);
        struct mg_table *table = maker_finish(&maker);
        snprintf(expected, sizeof expected, FEATURE("%s"), rows[i].expected);
        expect_text(mg_codec_geojson, table, rows[i].options, expected, rows[i].what);
        mg_table_unref(&table);
    }
}

/* A polygon's pieces together have its area, and none leaves the world. */
static void test_cut_polygons(void **state)
{
    static const char *const wkt[] = {
        "POLYGON((170 -10,190 -10,190 10,170 10,170 -10),(175 -5,175 5,185 5,185 -5,175 -5))",
        "MULTIPOLYGON(((-200 0,-170 0,-170 20,-200 20,-200 0)),((10 0,20 0,20 5,10 5,10 0)))",
        "POLYGON Z((170 -10 5,190 -10 5,190 10 5,170 10 5,170 -10 5))",
        "POLYGON((-300 0,300 0,300 20,-300 20,-300 0))",
    };
    static const double areas[] = {300, 650, 400, 7200};
    (void)state;
    for (size_t i = 0; i < sizeof wkt / sizeof *wkt; i++) {
        struct mg_buf whole, cut;
        struct mg_bounds box;
        double area, length;
        mg_buf_init(&whole, 0);
        mg_buf_init(&cut, 0);
        assert_int_equal(mg_wkb_from_wkt(mg_span(wkt[i]), &whole, NULL), MG_OK);
        assert_true(mg_wkb_cut_world((struct mg_span){whole.data, whole.len}, i % 2, &cut));
        struct mg_span made = {cut.data, cut.len};
        assert_true(mg_wkb_bounds(made, &box) && box.xmin >= -180 && box.xmax <= 180);
        assert_int_equal(mg_wkb_measure(made, &area, &length, NULL), MG_OK);
        if (i < 3 && fabs(area - areas[i]) > 1e-6)
            fail_msg("%s: area %g instead of %g", wkt[i], area, areas[i]);
        for (size_t n = 0; n < whole.len; n++) /* cut short: refused, or left as it is */
            assert_false(mg_wkb_cut_world((struct mg_span){whole.data, n}, true, &cut));
        mg_buf_fini(&whole);
        mg_buf_fini(&cut);
    }
}

static void test_columns(void **state)
{
    struct maker maker;
    struct mg_buf out;
    struct mg_errmsg err;
    (void)state;
    maker_init(&maker, "EPSG:4326", "a:i geometry:g b:i");
    maker_set(&maker, 0, CELL_INT(1));
    maker_set(&maker, 2, CELL_INT(2));
    mg_table_builder_row(maker.builder);
    struct mg_table *table = maker_finish(&maker);
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    expect_text(mg_codec_geojson, table, "columns=b",
                WRAP("{\"type\":\"Feature\",\"properties\":{\"b\":2},\"geometry\":null}"),
                        "properties by name");
    expect_text(mg_codec_geojson, table, "columns=[\"b\",\"a\"]",
                WRAP("{\"type\":\"Feature\",\"properties\":{\"b\":2,\"a\":1},\"geometry\":null}"),
                        "as a JSON list");
    static const char *const wrong[] = {"columns=c", "columns=a,a", "columns=a,", "columns=[1]",
                                        "columns=[\"a\""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mg_buf_init(&out, 0);
        assert_int_equal(run_codec(mg_codec_geojson, &value, wrong[i], &out, &err), MG_E_PARAMETER);
        assert_non_null(strstr(err.text, "geojson.columns"));
        mg_buf_fini(&out);
    }
    mg_table_unref(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_projected),
        cmocka_unit_test(test_edges), cmocka_unit_test(test_antimeridian),
                                       cmocka_unit_test(test_cut_polygons), cmocka_unit_test(test_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
