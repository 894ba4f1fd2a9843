/* Tile maths. */
#include "moongate/tile.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void validity(void **state)
{
    static const struct {
        struct mg_tile tile;
        bool ok;
        const char *what;
    } rows[] = {
        {{0, 0, 0}, true, "the world"},          {{24, (1 << 24) - 1, 0}, true, "the deepest"},
        {{25, 0, 0}, false, "too deep"},         {{-1, 0, 0}, false, "negative z"},
        {{1, 2, 0}, false, "x beyond the side"}, {{1, 0, 2}, false, "y beyond the side"},
        {{1, -1, 0}, false, "negative x"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (mg_tile_valid(rows[i].tile) != rows[i].ok)
            fail_msg("%s", rows[i].what);
}

static void places(void **state)
{
    static const struct {
        double lng, lat;
        struct mg_tile tile;
        const char *what;
    } rows[] = {
        {-34.87, -8.0, {12, 1651, 2139}, "Olinda"},
        {0, 0, {1, 1, 1}, "the origin belongs to the south-east"},
        {-180, 90, {3, 0, 0}, "the north pole is clamped"},
        {180, -90, {3, 7, 7}, "the far corner is clamped"},
        {NAN, NAN, {2, 0, 0}, "no number"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_tile t = mg_tile_at(rows[i].lng, rows[i].lat, rows[i].tile.z);
        if (t.x != rows[i].tile.x || t.y != rows[i].tile.y)
            fail_msg("%s: %d %d", rows[i].what, t.x, t.y);
    }
    for (int z = 0; z <= 24; z++) {
        struct mg_tile t = mg_tile_at(13.4, 52.5, z);
        struct mg_bounds b = mg_tile_bounds(t), m = mg_tile_bounds_merc(t);
        double x, y;
        assert_true(b.xmin <= 13.4 && b.xmax > 13.4 && b.ymin <= 52.5 && b.ymax > 52.5);
        mg_lnglat_to_merc(b.xmin, b.ymax, &x, &y);
        assert_true(fabs(x - m.xmin) < 1e-6 && fabs(y - m.ymax) < 1e-6);
        struct mg_bounds beside = mg_tile_bounds_merc((struct mg_tile){z, t.x + 1, t.y});
        assert_true(beside.xmin == m.xmax);
    }
    assert_true(fabs(mg_tile_bounds((struct mg_tile){0, 0, 0}).ymax - MG_MERC_MAX_LAT) < 1e-9);
}

static void zooms(void **state)
{
    (void)state;
    assert_int_equal(mg_tile_estimate_zoom(mg_tile_bounds((struct mg_tile){7, 60, 40}), 1), 7);
    assert_int_equal(mg_tile_estimate_zoom(mg_tile_bounds((struct mg_tile){7, 60, 40}), 16), 9);
    assert_int_equal(mg_tile_estimate_zoom((struct mg_bounds){5, 5, 5, 5}, 4), 24);
    assert_int_equal(mg_tile_estimate_zoom((struct mg_bounds){-180, -90, 180, 90}, 1), 0);
    /* 20 degrees over the antimeridian are 20 degrees. */
    assert_int_equal(mg_tile_estimate_zoom((struct mg_bounds){170, -10, -170, 10}, 1),
                     mg_tile_estimate_zoom((struct mg_bounds){0, -10, 20, 10}, 1));
}

static void quadkeys(void **state)
{
    char text[25];
    (void)state;
    assert_true(mg_tile_quadkey((struct mg_tile){3, 3, 5}, text, sizeof text));
    assert_string_equal(text, "213");
    assert_true(mg_tile_quadkey((struct mg_tile){0, 0, 0}, text, 1));
    assert_string_equal(text, "");
    assert_false(mg_tile_quadkey((struct mg_tile){3, 3, 5}, text, 3));
    assert_false(mg_tile_quadkey((struct mg_tile){3, 8, 5}, text, sizeof text));
}

static void bounds(void **state)
{
    static const struct {
        struct mg_bounds a;
        bool ok;
        const char *what;
    } rows[] = {
        {{-10, -10, 10, 10}, true, "plain"},
        {{170, -10, -170, 10}, true, "over the antimeridian"},
        {{0, -90, 360, 90}, true, "0 to 360"},
        {{10, 5, 20, 5}, false, "no height"},
        {{10, 5, 10, 6}, false, "no width"},
        {{10, 5, 20, NAN}, false, "no number"},
        {{-200, -5, 300, 5}, false, "more than a turn"},
        {{300, -5, -300, 5}, false, "crossing with longitudes that are none"},
        {{0, -91, 1, 0}, false, "beyond the pole"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (mg_bounds_valid(rows[i].a) != rows[i].ok)
            fail_msg("%s", rows[i].what);
    struct mg_bounds over = {170, -10, -170, 10}, east = {175, 0, 179, 1},
                     west = {-179, 0, -175, 1}, far = {0, 0, 10, 1};
    assert_true(mg_bounds_intersect(over, east));
    assert_true(mg_bounds_intersect(west, over));
    assert_false(mg_bounds_intersect(over, far));
    assert_true(mg_bounds_intersect(over, over));
    assert_false(mg_bounds_intersect(east, west));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(validity), cmocka_unit_test(places),
                                       cmocka_unit_test(zooms), cmocka_unit_test(quadkeys),
                                       cmocka_unit_test(bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
