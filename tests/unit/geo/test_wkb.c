/* WKB: text forms, bounds, boxes, and readers on random and mutated bytes. */
#include "moongate/geometry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct mg_buf wkb_of(const char *wkt)
{
    struct mg_buf buf;
    struct mg_errmsg err = {0};
    mg_buf_init(&buf, 0);
    if (mg_wkb_from_wkt(mg_span(wkt), &buf, &err))
        fail_msg("%s: %s", wkt, err.text);
    return buf;
}

static struct mg_span span_of(const struct mg_buf *buf)
{
    return (struct mg_span){buf->data, buf->len};
}

static const struct {
    const char *wkt, *json;
    int type;
    struct mg_bounds bounds; /* xmin > xmax: none */
    const char *what;
} shapes[] = {
    {"POINT(1 2)", "{\"type\":\"Point\",\"coordinates\":[1,2]}", 1, {1, 2, 1, 2}, "a point"},
    {"POINT Z (1 2 3.5)",
     "{\"type\":\"Point\",\"coordinates\":[1,2,3.5]}",
     1,
     {1, 2, 1, 2},
     "a height is kept"},
    {"POINT EMPTY", "{\"type\":\"Point\",\"coordinates\":[]}", 1, {1, 0, 0, 0}, "an empty point"},
    {"LINESTRING(0 0,1.25 -3)",
     "{\"type\":\"LineString\",\"coordinates\":[[0,0],[1.25,-3]]}",
     2,
     {0, -3, 1.25, 0},
     "a line"},
    {"POLYGON((0 0,0 4,4 4,4 0,0 0),(1 1,2 1,2 2,1 2,1 1))",
     "{\"type\":\"Polygon\",\"coordinates\":[[[0,0],[4,0],[4,4],[0,4],[0,0]],[[1,1],[1,2],[2,2],[2,"
     "1],[1,1]]]}",
     3,
     {0, 0, 4, 4},
     "rings are turned as RFC 7946 wants"},
    {"MULTIPOINT((1 2),(3 4))",
     "{\"type\":\"MultiPoint\",\"coordinates\":[[1,2],[3,4]]}",
     4,
     {1, 2, 3, 4},
     "a multipoint"},
    {"MULTILINESTRING((0 0,1 1),(5 5,6 7))",
     "{\"type\":\"MultiLineString\",\"coordinates\":[[[0,0],[1,1]],[[5,5],[6,7]]]}",
     5,
     {0, 0, 6, 7},
     "lines"},
    {"MULTIPOLYGON(((0 0,4 0,4 4,0 0)))",
     "{\"type\":\"MultiPolygon\",\"coordinates\":[[[[0,0],[4,0],[4,4],[0,0]]]]}",
     6,
     {0, 0, 4, 4},
     "a multipolygon"},
    {"GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))",
     "{\"type\":\"GeometryCollection\",\"geometries\":[{\"type\":\"Point\",\"coordinates\":[1,2]},"
     "{\"type\":\"LineString\",\"coordinates\":[[0,0],[1,1]]}]}",
     7,
     {0, 0, 1, 2},
     "a collection"},
    {"GEOMETRYCOLLECTION EMPTY",
     "{\"type\":\"GeometryCollection\",\"geometries\":[]}",
     7,
     {1, 0, 0, 0},
     "nothing"},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void test_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct mg_buf wkb = wkb_of(shapes[i].wkt), text, json, back;
        struct mg_bounds bounds;
        mg_buf_init(&text, 0);
        mg_buf_init(&json, 0);
        mg_buf_init(&back, 0);
        mg_wkb_to_wkt(span_of(&wkb), &text);
        if (strcmp(text.data, shapes[i].wkt) != 0)
            fail_msg("%s: WKT is %s", shapes[i].what, text.data);
        if (mg_wkb_to_geojson(span_of(&wkb), 7, &json) || strcmp(json.data, shapes[i].json) != 0)
            fail_msg("%s: GeoJSON is %s", shapes[i].what, json.data);
        if (mg_wkb_from_geojson(mg_span(shapes[i].json), &back, NULL) ||
            mg_wkb_check(span_of(&back), NULL))
            fail_msg("%s: GeoJSON is read back", shapes[i].what);
        json.len = 0;
        if (mg_wkb_to_geojson(span_of(&back), 7, &json) || strcmp(json.data, shapes[i].json) != 0)
            fail_msg("%s: GeoJSON there and back is %s", shapes[i].what, json.data);
        if (mg_wkb_type(span_of(&wkb)) != shapes[i].type)
            fail_msg("%s: the type", shapes[i].what);
        bool any = mg_wkb_bounds(span_of(&wkb), &bounds),
             wanted = shapes[i].bounds.xmin <= shapes[i].bounds.xmax;
        if (any != wanted || (any && memcmp(&bounds, &shapes[i].bounds, sizeof bounds) != 0))
            fail_msg("%s: bounds", shapes[i].what);
        mg_buf_fini(&wkb);
        mg_buf_fini(&text);
        mg_buf_fini(&json);
        mg_buf_fini(&back);
    }
}

static void test_fixed(void **state)
{
    static const struct {
        double value;
        int decimals;
        const char *expected, *what;
    } rows[] = {
        {0, 7, "0", "zero"},
        {-0.00000001, 7, "0", "no minus before a zero"},
        {1.5, 7, "1.5", "trailing zeros go"},
        {-122.41941550000001, 7, "-122.4194155", "seven decimals"},
        {179.99999999, 7, "180", "rounding carries"},
        {0.05, 1, "0.1", "half goes up"},
        {123456.789, 0, "123457", "no decimals"},
        {1e18, 7, "1000000000000000000", "large numbers lose decimals, not digits"},
        {1e300, 7, "1e+300", "huge ones are still numbers"},
        {0.000001, 7, "0.000001", "zeros behind the point stay"},
        {NAN, 7, "", "what is not finite is nothing"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[41] = {0};
        text[mg_fixed_text(rows[i].value, rows[i].decimals, text)] = '\0';
        if (strcmp(text, rows[i].expected) != 0)
            fail_msg("%s: %s", rows[i].what, text);
    }
}

static void test_check(void **state)
{
    static const struct {
        struct mg_span wkb;
        bool good;
        const char *what;
    } rows[] = {
        {MG_SPAN(""), false, "nothing is no WKB"},
        {MG_SPAN("\1\1\0\0\0"), false, "a point without coordinates"},
        {MG_SPAN("\2\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), false, "an unknown byte order"},
        {MG_SPAN("\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), true, "big-endian"},
        {MG_SPAN("\1\1\0\0\x20\xE6\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), true,
         "EWKB with an SRID"},
        {MG_SPAN("\1\1\0\0\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), true,
         "EWKB with Z"},
        {MG_SPAN("\1\2\0\0\0\xFF\xFF\xFF\xFF"), false, "a count beyond the bytes"},
        {MG_SPAN("\1\7\0\0\0\xFF\xFF\xFF\x7F"), false, "a collection's count beyond the bytes"},
        {MG_SPAN("\1\2\0\0\0\0\0\0\0"), true, "an empty line"},
        {MG_SPAN("\1\2\0\0\0\0\0\0\0\0"), false, "a byte too many"},
        {MG_SPAN("\1\10\0\0\0\0\0\0\0"), false, "a curve"},
        {MG_SPAN("\1\4\0\0\0\1\0\0\0\1\2\0\0\0\0\0\0\0"), false, "a line in a multipoint"},
    };
    struct mg_buf deep;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((mg_wkb_check(rows[i].wkb, NULL) == MG_OK) != rows[i].good)
            fail_msg("%s", rows[i].what);
    mg_buf_init(&deep, 0);
    for (int i = 0; i < 40; i++)
        mg_buf_put(&deep, "\1\7\0\0\0\1\0\0\0", 9);
    mg_buf_put(&deep, "\1\2\0\0\0\0\0\0\0", 9);
    assert_int_equal(mg_wkb_check(span_of(&deep), NULL), MG_E_ARGUMENT);
    assert_int_equal(mg_wkb_check((struct mg_span){deep.data + 33 * 9, 8 * 9}, NULL), MG_OK);
    mg_buf_fini(&deep);
}

static void test_meets_box(void **state)
{
    static const struct {
        const char *wkt;
        bool meets;
        const char *what;
    } rows[] = {
        {"POINT(5 5)", true, "a point inside"},
        {"POINT(10 10)", true, "a point on the corner"},
        {"POINT(11 5)", false, "a point outside"},
        {"LINESTRING(-5 5,15 5)", true, "a line through without a vertex inside"},
        {"LINESTRING(-5 8,3 16)", false, "a line past the corner, its box overlapping"},
        {"POLYGON((-10 -10,30 -10,30 30,-10 30,-10 -10))", true, "a polygon around"},
        {"POLYGON((-10 -10,30 -10,30 30,-10 30,-10 -10),(-5 -5,-5 20,20 20,20 -5,-5 -5))", false,
         "the box in a hole"},
        {"POLYGON((-20 5,-1 30,30 30,-20 5))", false, "a triangle beside"},
        {"MULTIPOLYGON(((50 50,60 50,60 60,50 50)),((-1 -1,20 -1,20 20,-1 20,-1 -1)))", true,
         "the second polygon"},
        {"MULTIPOLYGON(((-9 -9,30 -9,30 30,-9 30,-9 -9)),((50 50,60 50,60 60,50 50)))", true,
         "the first polygon"},
        {"POINT EMPTY", false, "nothing"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf wkb = wkb_of(rows[i].wkt);
        if (mg_wkb_meets_box(span_of(&wkb), (struct mg_bounds){0, 0, 10, 10}) != rows[i].meets)
            fail_msg("%s", rows[i].what);
        mg_buf_fini(&wkb);
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Every reader on bytes that nobody vouches for; what check passes, all others can read. */
static void read_all(struct mg_span wkb)
{
    struct mg_buf out;
    struct mg_bounds bounds;
    struct mg_transform *transform = NULL;
    bool good = mg_wkb_check(wkb, NULL) == MG_OK;
    mg_buf_init(&out, 1 << 20);
    mg_wkb_bounds(wkb, &bounds);
    mg_wkb_type(wkb);
    mg_wkb_meets_box(wkb, (struct mg_bounds){-1, -1, 3, 3});
    mg_wkb_to_wkt(wkb, &out);
    if (good && out.len == 0)
        fail_msg("what check passes has a WKT");
    out.len = 0;
    (void)!mg_wkb_to_geojson(wkb, 7, &out);
    assert_int_equal(mg_transform_get("EPSG:4326", "EPSG:3857", &transform, NULL), MG_OK);
    out.len = 0;
    enum mg_err e = mg_wkb_transform(transform, wkb, &out, NULL);
    if (!e && (!good || mg_wkb_check(span_of(&out), NULL)))
        fail_msg("a transformed geometry is as good as it was");
    out.len = 0;
    out.failed = false;
    (void)!mg_wkb_unary(MG_GEO_ENVELOPE, wkb, &out, NULL);
    mg_buf_fini(&out);
}

static void test_mutations(void **state)
{
    uint64_t seed = 4711;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct mg_buf wkb = wkb_of(shapes[i].wkt);
        for (int round = 0; round < 800; round++) {
            size_t len = round % 3 == 0 ? next_random(&seed) % (wkb.len + 1) : wkb.len;
            char *bytes = malloc(len ? len : 1);
            memcpy(bytes, wkb.data, len);
            for (uint64_t k = 0, n = next_random(&seed) % 4; k < n && len; k++) {
                size_t at = next_random(&seed) % len;
                bytes[at] =
                    (char)(next_random(&seed) % 2 ? next_random(&seed) : next_random(&seed) % 8);
            }
            read_all((struct mg_span){bytes, len});
            free(bytes);
        }
        mg_buf_fini(&wkb);
    }
    for (int round = 0; round < 4000; round++) {
        char bytes[64];
        size_t len = next_random(&seed) % sizeof bytes;
        for (size_t k = 0; k < len; k++)
            bytes[k] = (char)(next_random(&seed) % 3 ? next_random(&seed) % 8 : next_random(&seed));
        char *exact = malloc(len ? len : 1);
        memcpy(exact, bytes, len);
        read_all((struct mg_span){exact, len});
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),      cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_check),     cmocka_unit_test(test_meets_box),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
