/* CRSs and PROJ's transforms: the way back is made from the way there, and must be the one that PROJ would have made. */
#include "moongate/gdal.h"
#include "moongate/raster_read.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *crs;
    double lng, lat;
} places[] = {
    {"EPSG:32725", -34.9, -8}, {"EPSG:32631", 3, 45},    {"EPSG:2169", 6.1, 49.6}, {"EPSG:27700", -1.5, 52},
    {"EPSG:2056", 7.5, 47},    {"EPSG:2154", 2.5, 46},   {"EPSG:5514", 15, 50},    {"EPSG:3031", 10, -75},
    {"EPSG:3035", 10, 50},     {"EPSG:4267", -90, 40},   {"EPSG:26915", -93, 40},  {"EPSG:31467", 9, 50},
    {"EPSG:2193", 174, -41},   {"EPSG:28992", 5.4, 52.1},
    {"+proj=tmerc +lat_0=0 +lon_0=9 +k=1 +x_0=3500000 +y_0=0 +ellps=bessel +units=m +no_defs", 9, 50},
};
enum { PLACES = sizeof places / sizeof *places };

static int setup(void **state)
{
    (void)state;
    mg_gdal_setup();
    return 0;
}

static OGRCoordinateTransformationH alone(const char *from, const char *to)
{
    OGRSpatialReferenceH a, b;
    assert_int_equal(mg_crs_parse(from, &a, NULL), MG_OK);
    assert_int_equal(mg_crs_parse(to, &b, NULL), MG_OK);
    OGRCoordinateTransformationH made = OCTNewCoordinateTransformation(a, b);
    assert_non_null(made);
    OSRRelease(a);
    OSRRelease(b);
    return made;
}

static OGRCoordinateTransformationH kept(const char *from, const char *to)
{
    OGRCoordinateTransformationH transform = NULL;
    struct mg_errmsg err = {{0}};
    if (mg_crs_transform(from, to, &transform, &err) != MG_OK)
        fail_msg("%s to %s: %s", from, to, err.text);
    return transform;
}

/* Both give the same for points within a degree of x, y. Metres, or degrees times 1e5. */
static void assert_same(OGRCoordinateTransformationH ours, OGRCoordinateTransformationH theirs,
                        OGRCoordinateTransformationH to_from, double lng, double lat, double unit, const char *what)
{
    for (int i = 0; i < 100; i++) {
        double x = lng + (i % 10 - 5) * 0.2, y = lat + (i / 10.0 - 5) * 0.2;
        assert_true(OCTTransform(to_from, 1, &x, &y, NULL));
        double x2 = x, y2 = y;
        int good = OCTTransform(ours, 1, &x, &y, NULL), good2 = OCTTransform(theirs, 1, &x2, &y2, NULL);
        if (good != good2 || (good && !(hypot(x - x2, y - y2) * unit < 1e-6)))
            fail_msg("%s: %.9f, %.9f instead of %.9f, %.9f", what, x, y, x2, y2);
    }
}

static void test_way_back(void **state)
{
    (void)state;
    static const char *const others[] = {"EPSG:3857", "EPSG:4326"};
    for (size_t i = 0; i < PLACES; i++)
        for (size_t k = 0; k < 2; k++) {
            const char *crs = places[i].crs, *other = others[k];
            double lng = places[i].lng, lat = places[i].lat;
            /* Which of the two is asked for first is which is made from the other. */
            bool turn = i % 2;
            OGRCoordinateTransformationH first = turn ? kept(other, crs) : kept(crs, other);
            OGRCoordinateTransformationH to = turn ? first : kept(other, crs), from = turn ? kept(crs, other) : first;
            assert_ptr_equal(kept(other, crs), to);
            assert_ptr_equal(kept(crs, other), from);
            OGRCoordinateTransformationH to2 = alone(other, crs), from2 = alone(crs, other);
            OGRCoordinateTransformationH at = alone("OGC:CRS84", other), there = alone("OGC:CRS84", crs);
            assert_same(to, to2, at, lng, lat, 1, crs);
            assert_same(from, from2, there, lng, lat, k ? 1e5 : 1, crs);
            OCTDestroyCoordinateTransformation(to2);
            OCTDestroyCoordinateTransformation(from2);
            OCTDestroyCoordinateTransformation(at);
            OCTDestroyCoordinateTransformation(there);
        }
}

/* More pairs than are kept: the way back of one that has gone is made anew. */
static void test_many(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++)
        for (int zone = 1; zone <= 60; zone++) {
            char crs[24];
            double x = zone * 6 - 183, y = 10;
            snprintf(crs, sizeof crs, "EPSG:%d", 32600 + zone);
            assert_true(OCTTransform(kept("EPSG:4326", crs), 1, &x, &y, NULL));
            assert_true(fabs(x - 500000) < 1e-6);
            assert_true(OCTTransform(kept(crs, "EPSG:4326"), 1, &x, &y, NULL));
            assert_true(fabs(x - (zone * 6 - 183)) < 1e-9 && fabs(y - 10) < 1e-9);
        }
}

static void test_unknown(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "EPSG:", "EPSG:999999", "/etc/passwd", "http://x/y", "EPSG:4326 ", "nonsense"};
    OGRCoordinateTransformationH out = (OGRCoordinateTransformationH)(void *)&bad;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct mg_errmsg err = {{0}};
        assert_int_equal(mg_crs_transform(bad[i], "EPSG:4326", &out, &err), MG_E_NO_CRS);
        assert_int_equal(mg_crs_transform("EPSG:4326", bad[i], &out, &err), MG_E_NO_CRS);
        assert_true(err.text[0]);
        assert_ptr_equal(out, &bad); /* untouched */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_way_back), cmocka_unit_test(test_many),
                                       cmocka_unit_test(test_unknown)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
