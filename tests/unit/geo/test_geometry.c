/* Geometry: transforms against known places, and the operations of GEOS behind our names. */
#include "moongate/geometry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct mg_span span_of(const struct mg_buf *buf)
{
    return (struct mg_span){buf->data, buf->len};
}

static struct mg_buf wkb_of(const char *wkt)
{
    struct mg_buf buf;
    struct mg_errmsg err = {0};
    mg_buf_init(&buf, 0);
    if (mg_wkb_from_wkt(mg_span(wkt), &buf, &err))
        fail_msg("%s: %s", wkt, err.text);
    return buf;
}

static void expect_wkt(const struct mg_buf *wkb, const char *expected, const char *what)
{
    struct mg_buf text;
    mg_buf_init(&text, 0);
    mg_wkb_to_wkt(span_of(wkb), &text);
    if (strcmp(text.data ? text.data : "", expected) != 0)
        fail_msg("%s: %s", what, text.data ? text.data : "(nothing)");
    mg_buf_fini(&text);
}

static void test_transform(void **state)
{
    static const struct {
        const char *from, *to;
        double x, y, to_x, to_y, within;
        const char *what;
    } rows[] = {
        {"EPSG:4326", "EPSG:3857", 180, 0, 20037508.342789244, 0, 1e-6,
         "the antimeridian in metres"},
        {"OGC:CRS84", "EPSG:3857", -34.9, -8, -3885050.230, -893463.751, 0.01,
         "Olinda by the formula"},
        {"EPSG:3857", "EPSG:4326", -3885050.230, -893463.751, -34.9, -8, 1e-7, "and back"},
        {"EPSG:4326", "EPSG:32725", -33, 0, 500000, 10000000, 1e-3,
         "the middle of UTM 25S: x is easting"},
        {"EPSG:32725", "OGC:CRS84", 500000, 10000000, -33, 0, 1e-8, "and back: x is longitude"},
        {"EPSG:2056", "EPSG:4326", 2600000, 1200000, 7.438632, 46.951083, 1e-4,
         "Bern's old observatory"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_transform *transform = NULL;
        struct mg_errmsg err = {0};
        double x = rows[i].x, y = rows[i].y;
        if (mg_transform_get(rows[i].from, rows[i].to, &transform, &err))
            fail_msg("%s: %s", rows[i].what, err.text);
        if (mg_transform_points(transform, &x, &y, 1) || fabs(x - rows[i].to_x) > rows[i].within ||
            fabs(y - rows[i].to_y) > rows[i].within)
            fail_msg("%s: %.9f %.9f", rows[i].what, x, y);
    }
}

static void test_transform_errors(void **state)
{
    static const char *const unknown[] = {"EPSG:0",      "EPSG:999999",       "nonsense",  "",
                                          "/etc/passwd", "http://localhost/", "EPSG:4326x"};
    struct mg_transform *transform = (struct mg_transform *)1;
    struct mg_errmsg err;
    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (mg_transform_get(unknown[i], "EPSG:3857", &transform, &err) != MG_E_NO_CRS ||
            !err.text[0])
            fail_msg("\"%s\" is no CRS", unknown[i]);
    assert_ptr_equal(transform, (struct mg_transform *)1);
    assert_int_equal(mg_transform_get("EPSG:4326", "OGC:CRS84", &transform, &err), MG_OK);
    assert_null(transform); /* the same: x is longitude in both */
    /* A pole has no place in Mercator. */
    assert_int_equal(mg_transform_get("EPSG:4326", "EPSG:3857", &transform, &err), MG_OK);
    double x = 0, y = 90;
    assert_int_equal(mg_transform_points(transform, &x, &y, 1), 1);
    assert_true(x == HUGE_VAL);
    struct mg_buf wkb = wkb_of("LINESTRING(0 0,0 90)"), out;
    mg_buf_init(&out, 0);
    assert_int_equal(mg_wkb_transform(transform, span_of(&wkb), &out, &err), MG_E_ARGUMENT);
    assert_int_equal(out.len, 0);
    mg_buf_fini(&wkb);
    mg_buf_fini(&out);
}

static void test_transform_wkb(void **state)
{
    struct mg_transform *transform = NULL;
    struct mg_buf
        wkb = wkb_of(
            "POLYGON Z ((500000 10000000 7,500010 10000000 7,500000 9999990 7,500000 10000000 7))"),
        out;
    struct mg_bounds bounds;
    (void)state;
    mg_buf_init(&out, 0);
    assert_int_equal(mg_transform_get("EPSG:32725", "EPSG:4326", &transform, NULL), MG_OK);
    assert_int_equal(mg_wkb_transform(transform, span_of(&wkb), &out, NULL), MG_OK);
    assert_true(mg_wkb_bounds(span_of(&out), &bounds));
    assert_true(fabs(bounds.xmin + 33) < 1e-6 && fabs(bounds.ymax) < 1e-6 && bounds.ymin < -1e-6);
    assert_int_equal(mg_transform_bounds(transform,
                                         (struct mg_bounds){400000, 9000000, 600000, 9500000},
                                         &bounds, NULL),
                     MG_OK);
    /* The edge bulges: the box of the corners alone would be too small. */
    assert_true(bounds.xmin < -33.9 && bounds.xmax > -32.1 && bounds.ymin < -9 &&
                bounds.ymax > -4.6);
    mg_buf_fini(&wkb);
    mg_buf_fini(&out);
}

static void test_utm(void **state)
{
    static const struct {
        double lng, lat;
        const char *expected, *what;
    } rows[] = {
        {-34.9, -8, "EPSG:32725", "Olinda"},
        {7.4, 46.9, "EPSG:32632", "Bern"},
        {-180, 10, "EPSG:32601", "the west end"},
        {180, 10, "EPSG:32601", "the east end is the west end"},
        {5, 60, "EPSG:32632", "Bergen"},
        {20, 78, "EPSG:32633", "Svalbard"},
        {541, 10, "EPSG:32601", "turns around the world"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[16];
        mg_utm_of(rows[i].lng, rows[i].lat, out);
        if (strcmp(out, rows[i].expected) != 0)
            fail_msg("%s: %s", rows[i].what, out);
    }
}

#define BOX "POLYGON((0 0,4 0,4 4,0 4,0 0))"

static void test_unary(void **state)
{
    static const struct {
        enum mg_geo_op op;
        const char *wkt, *expected, *what;
    } rows[] = {
        {MG_GEO_CENTROID, BOX, "POINT(2 2)", "centroid"},
        {MG_GEO_ENVELOPE, "LINESTRING(0 0,4 4)", "POLYGON((0 0,4 0,4 4,0 4,0 0))", "envelope"},
        {MG_GEO_HULL, "MULTIPOINT((0 0),(4 0),(2 1),(2 4))", "POLYGON((0 0,2 4,4 0,0 0))", "hull"},
        {MG_GEO_BOUNDARY, "LINESTRING(0 0,4 4)", "MULTIPOINT((0 0),(4 4))", "boundary"},
        {MG_GEO_SURFACE_POINT, BOX, "POINT(2 2)", "surface point"},
        {MG_GEO_VALID, "POLYGON((0 0,4 4,4 0,0 4,0 0))",
         "MULTIPOLYGON(((2 2,4 4,4 0,2 2)),((0 0,0 4,2 2,0 0)))",
         "a bow tie becomes two triangles"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf wkb = wkb_of(rows[i].wkt), out;
        struct mg_errmsg err = {0};
        mg_buf_init(&out, 0);
        if (mg_wkb_unary(rows[i].op, span_of(&wkb), &out, &err))
            fail_msg("%s: %s", rows[i].what, err.text);
        if (rows[i].op == MG_GEO_VALID) { /* the order of its parts is GEOS' own */
            double area = 0;
            assert_int_equal(mg_wkb_measure(span_of(&out), &area, NULL, NULL), MG_OK);
            assert_true(fabs(area - 8) < 1e-12 && mg_wkb_type(span_of(&out)) == 6);
        } else {
            expect_wkt(&out, rows[i].expected, rows[i].what);
        }
        mg_buf_fini(&wkb);
        mg_buf_fini(&out);
    }
}

static void test_binary(void **state)
{
    static const struct {
        enum mg_geo_binary op;
        const char *a, *b;
        double area;
        const char *what;
    } rows[] = {
        {MG_GEO_INTERSECTION, BOX, "POLYGON((2 2,6 2,6 6,2 6,2 2))", 4, "intersection"},
        {MG_GEO_UNION, BOX, "POLYGON((2 2,6 2,6 6,2 6,2 2))", 28, "union"},
        {MG_GEO_DIFFERENCE, BOX, "POLYGON((2 2,6 2,6 6,2 6,2 2))", 12, "difference"},
        {MG_GEO_INTERSECTION, BOX, "POLYGON((0 0,4 4,4 0,0 4,0 0))", 8,
         "an invalid side is made valid first"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf a = wkb_of(rows[i].a), b = wkb_of(rows[i].b), out;
        double area = 0;
        struct mg_errmsg err = {0};
        mg_buf_init(&out, 0);
        if (mg_wkb_binary(rows[i].op, span_of(&a), span_of(&b), &out, &err) ||
            mg_wkb_measure(span_of(&out), &area, NULL, &err) || fabs(area - rows[i].area) > 1e-9)
            fail_msg("%s: area %g, %s", rows[i].what, area, err.text);
        mg_buf_fini(&a);
        mg_buf_fini(&b);
        mg_buf_fini(&out);
    }
}

static void test_predicates(void **state)
{
    static const struct {
        enum mg_geo_predicate op;
        const char *a, *b;
        bool expected;
        const char *what;
    } rows[] = {
        {MG_GEO_INTERSECTS, BOX, "POINT(4 4)", true, "a corner intersects"},
        {MG_GEO_INTERSECTS, BOX, "POINT(5 5)", false, "beside does not"},
        {MG_GEO_CONTAINS, BOX, "POINT(1 1)", true, "contains"},
        {MG_GEO_CONTAINS, BOX, "POINT(4 4)", false, "a corner is not contained"},
        {MG_GEO_WITHIN, "POINT(1 1)", BOX, true, "within"},
        {MG_GEO_EQUALS, BOX, "POLYGON((4 4,0 4,0 0,4 0,4 4))", true, "equal from another start"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf a = wkb_of(rows[i].a), b = wkb_of(rows[i].b);
        bool answer = !rows[i].expected;
        if (mg_wkb_predicate(rows[i].op, span_of(&a), span_of(&b), &answer, NULL) ||
            answer != rows[i].expected)
            fail_msg("%s", rows[i].what);
        mg_buf_fini(&a);
        mg_buf_fini(&b);
    }
}

static void test_shapes(void **state)
{
    struct mg_buf box = wkb_of(BOX), line = wkb_of("LINESTRING(0 0,1 0.01,2 0,8 0)"), out;
    double area = 0, length = 0;
    struct mg_errmsg err = {0};
    (void)state;
    mg_buf_init(&out, 0);
    assert_int_equal(mg_wkb_clip(span_of(&box), (struct mg_bounds){1, 1, 9, 2}, &out, NULL), MG_OK);
    assert_int_equal(mg_wkb_measure(span_of(&out), &area, &length, NULL), MG_OK);
    assert_true(area == 3 && length == 8);
    out.len = 0;
    assert_int_equal(mg_wkb_simplify(span_of(&line), 0.1, false, &out, NULL), MG_OK);
    expect_wkt(&out, "LINESTRING(0 0,8 0)", "simplify");
    out.len = 0;
    assert_int_equal(mg_wkb_buffer(span_of(&line), 1, 8, &out, NULL), MG_OK);
    assert_int_equal(mg_wkb_measure(span_of(&out), &area, NULL, NULL), MG_OK);
    assert_true(fabs(area - (16 + M_PI)) < 0.05);
    assert_int_equal(mg_wkb_buffer(span_of(&line), NAN, 8, &out, &err), MG_E_ARGUMENT);
    assert_int_equal(mg_wkb_simplify(span_of(&line), -1, true, &out, &err), MG_E_ARGUMENT);
    assert_int_equal(mg_wkb_clip(span_of(&line), (struct mg_bounds){1, 1, 0, 0}, &out, &err),
                     MG_E_ARGUMENT);
    out.len = 0;
    mg_wkb_point(1.5, -2, &out);
    expect_wkt(&out, "POINT(1.5 -2)", "a point from numbers");
    out.len = 0;
    mg_wkb_box((struct mg_bounds){0, 1, 2, 3}, &out);
    expect_wkt(&out, "POLYGON((0 1,2 1,2 3,0 3,0 1))", "a box from numbers");
    mg_buf_fini(&box);
    mg_buf_fini(&line);
    mg_buf_fini(&out);
}

/* Bow ties on the grid become valid there: whole coordinates, the same area. */
static void test_valid_on_grid(void **state)
{
    struct mg_buf wkb = wkb_of("POLYGON((0 0,5 5,5 0,0 5,0 0))"), out;
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    int rings = 0;
    (void)state;
    mg_buf_init(&out, 0);
    assert_int_equal(mg_wkb_valid_on_grid(span_of(&wkb), &out, NULL), MG_OK);
    for (mg_wkb_iter_init(&iter, span_of(&out)); mg_wkb_next(&iter, &part); rings += part.type == 3)
        for (size_t i = 0; i < (size_t)part.n * (size_t)part.dims; i++)
            assert_true(mg_wkb_coord(&part, i) == floor(mg_wkb_coord(&part, i)));
    assert_int_equal(rings, 2);
    mg_buf_fini(&wkb);
    mg_buf_fini(&out);
}

static void test_bad_text(void **state)
{
    static const char *const wkt[] = {
        "",
        "POINT",
        "POINT(1)",
        "POLYGON((0 0,1 1))",
        "CIRCLE(1 2)",
        "GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(GEOMETRYCOLLECTION("
        "GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(GEOMETRYCOLLECTION("
        "GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(GEOMETRYCOLLECTION("
        "POINT(1 1)))))))))))))"};
    static const char *const json[] = {
        "",
        "{}",
        "[1]",
        "{\"type\":\"Point\"}",
        "{\"type\":\"Point\",\"coordinates\":1}",
        "{\"type\":\"Polygon\",\"coordinates\":[[1,2]]}",
        "{\"type\":\"Circle\"}",
        "{\"type\":\"LineString\",\"coordinates\":[[1,\"2\"],[3,4]]}",
        "{\"type\":\"GeometryCollection\"}"};
    struct mg_buf out;
    struct mg_errmsg err;
    (void)state;
    mg_buf_init(&out, 0);
    for (size_t i = 0; i < sizeof wkt / sizeof *wkt; i++) {
        err.text[0] = '\0';
        if (mg_wkb_from_wkt(mg_span(wkt[i]), &out, &err) == MG_OK || !err.text[0])
            fail_msg("WKT \"%s\" is refused with a sentence", wkt[i]);
    }
    for (size_t i = 0; i < sizeof json / sizeof *json; i++) {
        err.text[0] = '\0';
        if (mg_wkb_from_geojson(mg_span(json[i]), &out, &err) == MG_OK || !err.text[0] || out.len)
            fail_msg("GeoJSON %s is refused with a sentence", json[i]);
    }
    mg_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transform),     cmocka_unit_test(test_transform_errors),
        cmocka_unit_test(test_transform_wkb), cmocka_unit_test(test_utm),
        cmocka_unit_test(test_unary),         cmocka_unit_test(test_binary),
        cmocka_unit_test(test_predicates),    cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_valid_on_grid), cmocka_unit_test(test_bad_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
