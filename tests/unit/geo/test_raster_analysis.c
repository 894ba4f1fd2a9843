/* Analysis of rasters against figures of numpy, GDALDEMProcessing (slope, aspect),
 * GDALRasterizeGeometries, and a cone, whose contour lines are circles. */
#include "moongate/geometry.h"
#include "moongate/raster_analysis.h"
#include "moongate/raster_ops.h"
#include "raster_files.h"

#include <gdal_alg.h>
#include <gdal_utils.h>
#include <ogr_api.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define N NAN

static struct mg_raster *made(enum mg_sample sample, int w, int h, int bands, const double *values)
{
    struct mg_raster *wide, *r;
    struct mg_errmsg err;
    assert_int_equal(mg_raster_new(w, h, bands, MG_F64, &wide, &err), MG_OK);
    for (int b = 0; b < bands; b++)
        memcpy(mg_raster_samples(wide, b), values + b * w * h, (size_t)(w * h) * sizeof *values);
    assert_int_equal(mg_raster_convert(wide, sample, &r, &err), MG_OK);
    mg_raster_unref(&wide);
    return r;
}

static double value_at(const struct mg_raster *r, int band, int i)
{
    struct mg_raster *wide;
    struct mg_errmsg err;
    assert_int_equal(mg_raster_convert(r, MG_F64, &wide, &err), MG_OK);
    double v = ((double *)mg_raster_samples(wide, band))[i];
    mg_raster_unref(&wide);
    return v;
}

/* np.nanmin([[5, nan, 2, nan], [3, nan, 2, 9], [8, nan, 7, 1], [4, nan, 2.5, nan]], axis=0) and so
 * on. */
static void combined(void **state)
{
    static const double a[4][4] = {{5, N, 2, N}, {3, N, 2, 9}, {8, N, 7, 1}, {4, N, 2.5, N}};
    static const struct {
        const char *how;
        double values[4];
        enum mg_sample sample;
    } rows[] = {
        {"first", {5, N, 2, 9}, MG_F32},
        {"latest", {4, N, 2.5, 1}, MG_F32},
        {"last", {4, N, 2.5, 1}, MG_F32},
        {"min", {3, N, 2, 1}, MG_F32},
        {"max", {8, N, 7, 9}, MG_F32},
        {"sum", {20, N, 13.5, 10}, MG_F32},
        {"mean", {5, N, 3.375, 5}, MG_F32},
        {"std", {1.8708286933869707, N, 2.1028254800376694, 4}, MG_F32},
        {"median", {4.5, N, 2.25, 5}, MG_F32},
        {"count", {4, 0, 4, 2}, MG_I32},
    };
    struct mg_raster *parts[4], *r;
    struct mg_errmsg err;
    (void)state;
    for (int i = 0; i < 4; i++)
        parts[i] = made(MG_F32, 4, 1, 1, a[i]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int how = mg_reduction_find(mg_span(rows[i].how));
        assert_true(how >= 0);
        assert_int_equal(mg_raster_combine((const struct mg_raster *const *)parts, 4,
                                           (enum mg_reduction)how, &r, &err),
                         MG_OK);
        assert_int_equal(r->sample, rows[i].sample);
        for (int k = 0; k < 4; k++) {
            double v = value_at(r, 0, k), want = rows[i].values[k];
            if (isnan(want) ? !isnan(v) : !(fabs(v - want) < 1e-6))
                fail_msg("%s: pixel %d is %g, not %g", rows[i].how, k, v, want);
        }
        mg_raster_unref(&r);
    }
    assert_int_equal(mg_reduction_find(mg_span("middle")), -1);
    /* Masks of integers, more than one strip, several bands; the type stays. */
    enum { W = 70, H = 61 };
    static double big[2][2 * W * H];
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < 2 * W * H; i++)
            big[p][i] = i % 7 == 0 || (i + p) % 5 == 0 ? NAN : i % 100 + 50 * p;
    struct mg_raster *two[2] = {made(MG_U8, W, H, 2, big[0]), made(MG_U8, W, H, 2, big[1])}, *max;
    assert_int_equal(
        mg_raster_combine((const struct mg_raster *const *)two, 2, MG_RED_MAX, &max, &err), MG_OK);
    assert_int_equal(max->sample, MG_U8);
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < W * H; i++) {
            double want = fmax(big[0][b * W * H + i], big[1][b * W * H + i]);
            assert_int_equal(max->mask[b * W * H + i], !isnan(want));
            if (!isnan(want))
                assert_int_equal(((uint8_t *)mg_raster_samples(max, b))[i], (int)want);
        }
    mg_raster_unref(&max);
    const struct mg_raster *unlike[2] = {parts[0], two[0]};
    assert_int_equal(mg_raster_combine(unlike, 2, MG_RED_MAX, &max, &err), MG_E_ARGUMENT);
    assert_int_equal(mg_raster_combine(unlike, 0, MG_RED_MAX, &max, &err), MG_E_ARGUMENT);
    for (int i = 0; i < 4; i++)
        mg_raster_unref(&parts[i]);
    mg_raster_unref(&two[0]);
    mg_raster_unref(&two[1]);
    /* Classes: one palette stays, two do not, and a mean of classes is no class. */
    struct mg_raster *classes[2] = {made(MG_U8, W, H, 1, big[0]), made(MG_U8, W, H, 1, big[1])}, *out;
    for (int p = 0; p < 2; p++) {
        classes[p]->n_palette = 3;
        memcpy(classes[p]->palette, (uint8_t[3][4]){{1, 2, 3, 255}, {4, 5, 6, 255}, {7, 8, 9, 0}}, 12);
    }
    static const struct {
        enum mg_reduction how;
        int colours;
    } kept[] = {{MG_RED_FIRST, 3}, {MG_RED_MAX, 3}, {MG_RED_MEAN, 0}, {MG_RED_COUNT, 0}};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        assert_int_equal(mg_raster_combine((const struct mg_raster *const *)classes, 2, kept[i].how, &out, &err), MG_OK);
        assert_int_equal(out->n_palette, kept[i].colours);
        assert_int_equal(out->palette[1][2], kept[i].colours ? 6 : 0);
        mg_raster_unref(&out);
    }
    classes[1]->palette[2][0] = 70;
    assert_int_equal(mg_raster_combine((const struct mg_raster *const *)classes, 2, MG_RED_FIRST, &out, &err), MG_OK);
    assert_int_equal(out->n_palette, 0);
    mg_raster_unref(&out);
    mg_raster_unref(&classes[0]);
    mg_raster_unref(&classes[1]);
}

/* np.percentile([7, 1, 4, 10, 2.5], [0, 10, 25, 50, 97.5, 100]); np.histogram(…, bins=3, range=(1,
 * 10)) */
static void distributions(void **state)
{
    static const double values[8] = {7, N, 1, 4, N, 10, 2.5, N},
                        percents[6] = {0, 10, 25, 50, 97.5, 100},
                        want[6] = {1, 1.6, 2.5, 4, 9.7, 10}, nothing[4] = {N, N, N, N};
    struct mg_raster *r = made(MG_F32, 4, 2, 1, values), *empty = made(MG_F32, 2, 2, 1, nothing);
    struct mg_errmsg err;
    double got[6];
    int64_t counts[3];
    (void)state;
    assert_int_equal(mg_raster_percentiles(r, 0, percents, 6, got, &err), MG_OK);
    for (int i = 0; i < 6; i++)
        assert_true(fabs(got[i] - want[i]) < 1e-6);
    assert_int_equal(mg_raster_percentiles(empty, 0, percents, 1, got, &err), MG_OK);
    assert_true(isnan(got[0]));
    static const double wrong = 101;
    assert_int_equal(mg_raster_percentiles(r, 0, &wrong, 1, got, &err), MG_E_ARGUMENT);
    mg_raster_histogram(r, 0, 1, 10, 3, counts);
    assert_true(counts[0] == 2 && counts[1] == 1 && counts[2] == 2);
    mg_raster_histogram(r, 0, 2, 5, 3, counts);
    assert_true(counts[0] == 1 && counts[1] == 0 && counts[2] == 1);
    mg_raster_unref(&r);
    mg_raster_unref(&empty);
}

static double hills(int band, int x, int y)
{
    (void)band;
    return x > 80 && y > 80 ? 200
                            : 300 + 90 * sin(x / 7.0) * cos(y / 5.0) + 40 * sin((x - y) / 13.0);
}

static void terrain_equals_gdaldem(void **state)
{
    enum { SIDE = 100 };
    static const char *const figures[] = {"slope", "aspect"};
    (void)state;
    for (int south_up = 0; south_up < 2; south_up++) {
        const struct made_file file = {.crs = "EPSG:32725",
                                       .gt = {288000, 30, 0, 9120000, 0, south_up ? 30 : -30},
                                       .width = SIDE,
                                       .height = SIDE,
                                       .bands = 1,
                                       .type = GDT_Float32,
                                       .value = hills};
        static float theirs[SIDE * SIDE];
        char path[128], crs[4096];
        struct mg_grid grid;
        struct mg_raster *dem, *ours;
        struct mg_errmsg err;
        snprintf(path, sizeof path, "%s", files_make("dem.tif", &file));
        assert_int_equal(mg_grid_of_file(path, NULL, NULL, 0, 0, 0, 0, &grid, crs, &err), MG_OK);
        memcpy(grid.geotransform, file.gt, sizeof grid.geotransform);
        assert_int_equal(mg_raster_read(path, &grid, NULL, &dem, &err), MG_OK);
        for (int f = 0; f < 2; f++) {
            int usage, compared = 0;
            char *argv[] = {"-of", "MEM", NULL};
            GDALDEMProcessingOptions *options = GDALDEMProcessingOptionsNew(argv, NULL);
            GDALDatasetH source = GDALOpen(path, GA_ReadOnly);
            GDALDatasetH ds = GDALDEMProcessing("", source, figures[f], NULL, options, &usage);
            assert_non_null(ds);
            assert_int_equal(GDALRasterIO(GDALGetRasterBand(ds, 1), GF_Read, 0, 0, SIDE, SIDE,
                                          theirs, SIDE, SIDE, GDT_Float32, 0, 0),
                             CE_None);
            GDALClose(ds);
            GDALClose(source);
            GDALDEMProcessingOptionsFree(options);
            assert_int_equal(
                (f ? mg_raster_aspect(dem, &ours, &err) : mg_raster_slope(dem, 1, &ours, &err)),
                MG_OK);
            for (int y = 0; y < SIDE - 2; y++)
                for (int x = 0; x < SIDE - 2; x++) {
                    float a = ((float *)ours->data)[y * (SIDE - 2) + x],
                          b = theirs[(y + 1) * SIDE + x + 1];
                    /* gdaldem takes rows to run southwards: a file that is south-up has its aspect
                     * mirrored. */
                    if (f && south_up && b != -9999)
                        b = b <= 180 ? 180 - b : 540 - b;
                    if (b == -9999 ? !isnan(a) : fabs(remainder(a - b, 360)) > 0.05)
                        fail_msg("%s, south-up %d: %d, %d is %g, not %g", figures[f], south_up, x,
                                 y, a, b);
                    compared += b != -9999;
                }
            assert_true(compared > 9000);
            mg_raster_unref(&ours);
        }
        assert_int_equal(mg_raster_slope(dem, NAN, &ours, &err), MG_E_ARGUMENT);
        mg_raster_unref(&dem);
    }
}

struct circle {
    double length, worst, radius;
    int lines, open;
};

static enum mg_err measure(void *context, double level, const double *xy, size_t n)
{
    struct circle *c = context;
    (void)level;
    c->lines++;
    for (size_t i = 0; i < n; i++) {
        c->worst = fmax(c->worst, fabs(hypot(xy[2 * i], xy[2 * i + 1]) - c->radius));
        if (i)
            c->length += hypot(xy[2 * i] - xy[2 * i - 2], xy[2 * i + 1] - xy[2 * i - 1]);
    }
    c->open += hypot(xy[0] - xy[2 * n - 2], xy[1] - xy[2 * n - 1]) > 1e-9;
    return MG_OK;
}

static void contours_of_a_cone(void **state)
{
    enum { SIDE = 201 };
    struct mg_raster *r;
    struct mg_errmsg err;
    (void)state;
    assert_int_equal(mg_raster_new(SIDE, SIDE, 1, MG_F32, &r, &err), MG_OK);
    const double gt[6] = {-1005, 10, 0, 1005, 0, -10};
    memcpy(r->geotransform, gt, sizeof gt);
    r->has_georef = true;
    float *v = (float *)r->data;
    for (int i = 0; i < SIDE * SIDE; i++)
        v[i] = (float)(1000 - hypot(-1000 + 10.0 * (i % SIDE), 1000 - 10.0 * (i / SIDE)));
    for (int level = 100; level <= 900; level += 100) {
        struct circle c = {.radius = 1000 - level};
        double at = level + 0.25;
        c.radius = 1000 - at;
        assert_int_equal(mg_raster_contours(r, &at, 1, measure, &c, &err), MG_OK);
        if (c.lines != 1 || c.open || c.worst > 0.2 ||
            fabs(c.length / (2 * M_PI * c.radius) - 1) > 0.002)
            fail_msg("level %g: %d lines, %d open, off by %g, length %g", at, c.lines, c.open,
                     c.worst, c.length);
    }
    /* Where data ends the line does; a level out of range has none; two levels at once. */
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < 100; x++)
            v[y * SIDE + x] = NAN;
    struct circle half = {.radius = 500}, none = {0}, two = {.radius = 500};
    const double at = 500, above = 5000, both[2] = {500, 700};
    assert_int_equal(mg_raster_contours(r, &at, 1, measure, &half, &err), MG_OK);
    assert_true(half.lines == 1 && half.open == 1 && fabs(half.length / (M_PI * 500) - 1) < 0.02);
    assert_int_equal(mg_raster_contours(r, &above, 1, measure, &none, &err), MG_OK);
    assert_int_equal(none.lines, 0);
    assert_int_equal(mg_raster_contours(r, both, 2, measure, &two, &err), MG_OK);
    assert_int_equal(two.lines, 2);
    mg_raster_unref(&r);
}

static void paint(void *context, int row, int x0, int x1)
{
    struct mg_raster *r = context;
    assert_true(row >= 0 && row < r->height && x0 >= 0 && x0 < x1 && x1 <= r->width);
    memset(r->data + row * r->width + x0, 1, (size_t)(x1 - x0));
}

/* Burns a WKT by both. */
static void burns_as_gdal(void **state)
{
    enum { W = 64, H = 48 };
    static const struct {
        const char *wkt;
        bool touched;
        int tolerated; /* pixels in which a line may differ: GDAL's lines step, ours are exact */
    } rows[] = {
        {"POLYGON ((3.3 4.1, 50.2 9.7, 41.9 40.2, 8.8 33.3, 3.3 4.1))", false, 0},
        {"POLYGON ((3.3 4.1, 50.2 9.7, 41.9 40.2, 8.8 33.3, 3.3 4.1), (10.1 10.2, 30.4 12.3, 20.5 "
         "30.6, 10.1 10.2))",
         false, 0},
        {"MULTIPOLYGON (((1 1, 20 1, 20 20, 1 20, 1 1)), ((10.6 10.4, 60.2 10.4, 60.2 44.7, 10.6 "
         "44.7, 10.6 10.4)))",
         false, 0},
        {"POLYGON ((-30 -20, 100 -20, 100 20.2, -30 30.1, -30 -20))", false, 0},
        {"POLYGON ((5.1 5.1, 5.4 5.1, 5.4 5.3, 5.1 5.1))", false, 0},
        {"POLYGON ((30.1 1.2, 33.3 20.7, 60.1 20.9, 38.2 30.3, 50.7 46.1, 30.3 35.2, 10.9 46.4, "
         "22.3 30.8, 1.2 20.3, 27.4 20.2, "
         "30.1 1.2))",
         false, 0},
        {"POINT (7.9 8.1)", false, 0},
        {"MULTIPOINT (7.9 8.1, 63.9 47.9, 80 80)", false, 0},
        {"LINESTRING (2.2 3.3, 60.7 3.9)", true, 0},
        {"LINESTRING (5.5 2.2, 8.7 44.1, 60.3 20.9)", true, 4},
        {"POLYGON ((3.3 4.1, 50.2 9.7, 41.9 40.2, 8.8 33.3, 3.3 4.1))", true, 4},
    };
    struct mg_errmsg err;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static uint8_t theirs[W * H];
        struct mg_raster *r;
        struct mg_burn burn;
        struct mg_buf wkb;
        OGRGeometryH g;
        char *text = (char *)rows[i].wkt,
             *options[] = {rows[i].touched ? "ALL_TOUCHED=TRUE" : NULL, NULL};
        double gt[6] = {0, 1, 0, H, 0, -1}, one = 1;
        int band = 1, different = 0, painted = 0;
        GDALDatasetH ds = GDALCreate(GDALGetDriverByName("MEM"), "", W, H, 1, GDT_Byte, NULL);
        assert_non_null(ds);
        GDALSetGeoTransform(ds, gt);
        assert_int_equal(OGR_G_CreateFromWkt(&text, NULL, &g), OGRERR_NONE);
        assert_int_equal(
            GDALRasterizeGeometries(ds, 1, &band, 1, &g, NULL, NULL, &one, options, NULL, NULL),
            CE_None);
        assert_int_equal(GDALRasterIO(GDALGetRasterBand(ds, 1), GF_Read, 0, 0, W, H, theirs, W, H,
                                      GDT_Byte, 0, 0),
                         CE_None);
        OGR_G_DestroyGeometry(g);
        GDALClose(ds);
        mg_buf_init(&wkb, 0);
        assert_int_equal(mg_wkb_from_wkt(mg_span(rows[i].wkt), &wkb, &err), MG_OK);
        assert_int_equal(mg_raster_new(W, H, 1, MG_U8, &r, &err), MG_OK);
        memcpy(r->geotransform, gt, sizeof gt);
        assert_int_equal(mg_burn_init(r, rows[i].touched, &burn, &err), MG_E_ARGUMENT);
        r->has_georef = true;
        assert_int_equal(mg_burn_init(r, rows[i].touched, &burn, &err), MG_OK);
        assert_int_equal(
            mg_burn_geometry(&burn, (struct mg_span){wkb.data, wkb.len}, paint, r, &err), MG_OK);
        for (int k = 0; k < W * H; k++) {
            different += r->data[k] != theirs[k];
            painted += theirs[k];
        }
        if (different > rows[i].tolerated)
            fail_msg("%s: %d of %d pixels differ from gdal_rasterize", rows[i].wkt, different,
                     painted);
        /* Truncated anywhere: an error, and no pixel outside. */
        for (size_t n = 0; n < wkb.len; n++)
            assert_int_not_equal(
                mg_burn_geometry(&burn, (struct mg_span){wkb.data, n}, paint, r, &err), MG_OK);
        mg_raster_unref(&r);
        mg_buf_fini(&wkb);
    }
}

/* Colours of the bar, ticks under their values, digits that a reader of the dots can name. */
static void legends(void **state)
{
    static const struct mg_stop stops[2] = {{0, {255, 0, 0, 255}}, {1, {0, 0, 255, 255}}};
    static const char *const five[7] = {"#####", "#....", "####.", "....#",
                                        "....#", "#...#", ".###."};
    struct mg_raster *r;
    struct mg_errmsg err;
    (void)state;
    assert_int_equal(mg_raster_legend(stops, 2, 0, 10, 101, 40, &r, &err), MG_OK);
    assert_true(r->bands == 4 && r->width == 101 && r->height == 40);
    const uint8_t *red = mg_raster_samples(r, 0), *blue = mg_raster_samples(r, 2),
                  *alpha = mg_raster_samples(r, 3);
    assert_true(red[0] == 255 && blue[0] == 0 && red[100] == 0 && blue[100] == 255 &&
                alpha[50] == 255);
    /* Ticks at 0, 5, 10; nothing between. */
    for (int x = 0; x < 101; x++)
        assert_int_equal(alpha[28 * 101 + x] != 0, x % 50 == 0);
    for (int y = 0; y < 7; y++)
        for (int x = 0; x < 5; x++)
            assert_int_equal(alpha[(33 + y) * 101 + 48 + x] != 0, five[y][x] == '#');
    mg_raster_unref(&r);
    assert_int_equal(mg_raster_legend(stops, 2, -1e-7, 2e9, 4096, 24, &r, &err), MG_OK);
    mg_raster_unref(&r);
    assert_int_equal(mg_raster_legend(stops, 2, 5, 5, 100, 40, &r, &err), MG_E_ARGUMENT);
    assert_int_equal(mg_raster_legend(stops, 2, 0, 5, 10, 40, &r, &err), MG_E_ARGUMENT);
}

static int set_up(void **state)
{
    struct mg_errmsg err;
    (void)state;
    mg_gdal_setup();
    return mg_gdal_warm(&err) == MG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    files_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(combined),
        cmocka_unit_test(distributions),
        cmocka_unit_test(terrain_equals_gdaldem),
        cmocka_unit_test(contours_of_a_cone),
        cmocka_unit_test(burns_as_gdal),
        cmocka_unit_test(legends),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
