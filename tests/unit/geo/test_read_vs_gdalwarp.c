/* Pixels of whole tiles against two oracles: gdalwarp (GDALWarp in this process) from z8 to z18,
 * and, from z2 to z8, each pixel by itself: its place by PROJ, all samples under its kernel in
 * double. Three CRSs, south-up and rotated grids, the antimeridian, with and without overviews,
 * every resampling. The mean difference is at most one grey level, and what is covered differs by
 * at most a border.
 *
 * Below z8 gdalwarp 3.6 is no oracle for small files: at z3 it writes 0, opaque, to four pixels of
 * six of the UTM file with -r average, and makes 147 of samples with a mean of 119 with -r bilinear
 * (-et 0, exact scale given). */
#include "raster_files.h"

#include <gdal_utils.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define C 0.93969262078591 /* cos 20 degrees */
#define S 0.34202014332567

struct oracle_row {
    struct made_file file;
    double lng, lat; /* tiles around here */
    int z_from, z_to;
    enum mg_resampling how;
    int least;         /* covered pixels from which on the mean counts; a rotated file leaves
                        * corners empty in which gdalwarp 3.6 looks for its scale too */
    double twin_shift; /* x shift of the file that gdalwarp gets, for the other side of the
                          antimeridian */
    const char *what;
};

/* 28.5 m pixels near Olinda, as the Landsat scene. */
#define UTM .crs = "EPSG:32725", .width = 700, .height = 600, .bands = 1, .type = GDT_Byte
#define UTM_NORTH UTM, .gt = {288776.25, 28.5, 0, 9120760.75, 0, -28.5}
#define OLINDA .lng = -34.83, .lat = -8.03
#define DEGREES .crs = "EPSG:4326", .width = 800, .height = 600, .bands = 1, .type = GDT_Byte
#define POLAR .crs = "EPSG:3413", .width = 600, .height = 600, .bands = 1, .type = GDT_Byte

/* Patches of four classes far apart, so that a wrong class counts. */
static double patches(int band, int x, int y)
{
    (void)band;
    return 60 * ((x / 37 + 2 * (y / 41)) % 4);
}

static const struct oracle_row rows[] = {
    {{UTM_NORTH}, OLINDA, 2, 18, MG_BILINEAR, 1, 0, "UTM, north-up, bilinear"},
    {{UTM_NORTH}, OLINDA, 2, 18, MG_NEAREST, 1, 0, "UTM, north-up, nearest"},
    {{UTM_NORTH}, OLINDA, 2, 18, MG_CUBIC, 1, 0, "UTM, north-up, cubic"},
    {{UTM_NORTH}, OLINDA, 2, 18, MG_AVERAGE, 1, 0, "UTM, north-up, average"},
    {{UTM_NORTH, .overviews = true},
     OLINDA,
     2,
     18,
     MG_BILINEAR,
     1,
     0,
     "UTM with overviews, bilinear"},
    {{UTM_NORTH, .overviews = true},
     OLINDA,
     2,
     18,
     MG_AVERAGE,
     1,
     0,
     "UTM with overviews, average"},
    {{UTM, .gt = {288776.25, 28.5, 0, 9103660.75, 0, 28.5}},
     OLINDA,
     2,
     18,
     MG_BILINEAR,
     1,
     0,
     "UTM, south-up"},
    {{UTM, .gt = {288776.25, 28.5 * C, 28.5 * S, 9120760.75, 28.5 * S, -28.5 * C}},
     OLINDA,
     2,
     18,
     MG_BILINEAR,
     1,
     0,
     "UTM, rotated by 20 degrees"},
    {{UTM, .gt = {288776.25, 28.5 * C, 28.5 * S, 9120760.75, 28.5 * S, -28.5 * C}},
     OLINDA,
     2,
     18,
     MG_CUBIC,
     1,
     0,
     "UTM, rotated by 20 degrees, cubic"},
    {{DEGREES, .gt = {5, 0.01, 0, 52, 0, -0.01}},
     .lng = 9,
     .lat = 49,
     2,
     18,
     MG_BILINEAR,
     1,
     0,
     "degrees, north-up"},
    {{DEGREES, .gt = {5, 0.01, 0, 46, 0, 0.01}},
     .lng = 9,
     .lat = 49,
     2,
     18,
     MG_AVERAGE,
     1,
     0,
     "degrees, south-up"},
    {{DEGREES, .gt = {-180, 0.45, 0, 90, 0, -0.3}},
     .lng = 9,
     .lat = 49,
     2,
     18,
     MG_BILINEAR,
     1,
     0,
     "the world"},
    {{POLAR, .gt = {-300000, 1000, 0, -1700000, 0, -1000}},
     .lng = -45,
     .lat = 71.5,
     2,
     18,
     MG_BILINEAR,
     1,
     0,
     "polar stereographic"},
    {{POLAR, .gt = {-300000, 1000, 0, -1700000, 0, -1000}, .overviews = true},
     .lng = -47,
     .lat = 71,
     2,
     18,
     MG_CUBIC,
     1,
     0,
     "polar stereographic, overviews, cubic"},
    {{DEGREES, .gt = {176, 0.01, 0, -14, 0, -0.01}},
     .lng = 179.5,
     .lat = -17,
     3,
     18,
     MG_BILINEAR,
     1,
     0,
     "beyond 180, its western part"},
    {{DEGREES, .gt = {176, 0.01, 0, -14, 0, -0.01}},
     .lng = -179.3,
     .lat = -17,
     3,
     18,
     MG_BILINEAR,
     1,
     -360,
     "beyond 180, its eastern part"},
    {{DEGREES, .gt = {-184, 0.01, 0, -14, 0, -0.01}},
     .lng = 178,
     .lat = -17,
     3,
     18,
     MG_BILINEAR,
     1,
     360,
     "beyond -180, its western part"},
    {{.crs = "EPSG:32701",
      .width = 600,
      .height = 600,
      .bands = 1,
      .type = GDT_Byte,
      .gt = {120000, 200, 0, 8150000, 0, -200}},
     .lng = 179.8,
     .lat = -17.2,
     6,
     18,
     MG_BILINEAR,
     1,
     0,
     "a UTM zone that crosses 180, beyond it"},
    {{UTM_NORTH, .value = patches}, OLINDA, 2, 18, MG_MODE, 1, 0, "UTM, mode of classes"},
};

static const char *const how_names[] = {"near", "bilinear", "cubic", "average", "mode"};

enum { SIZE = 256 };

/* Pixels of the result to one of the source, along the source's axes, where the file is nearest to
 * the tile's middle. PROJ says it, not us. */
static void scale_at(GDALDatasetH source, struct mg_bounds tile, double res, double scale[2])
{
    OGRSpatialReferenceH merc = OSRNewSpatialReference(NULL);
    double gt[6], inv[6], mx = (tile.xmin + tile.xmax) / 2, my = (tile.ymin + tile.ymax) / 2;
    assert_int_equal(OSRImportFromEPSG(merc, 3857), OGRERR_NONE);
    OGRSpatialReferenceH own = OSRClone(GDALGetSpatialRef(source));
    OSRSetAxisMappingStrategy(own, OAMS_TRADITIONAL_GIS_ORDER);
    OGRCoordinateTransformationH to = OCTNewCoordinateTransformation(own, merc),
                                 from = OCTNewCoordinateTransformation(merc, own);
    assert_non_null(to);
    assert_non_null(from);
    assert_int_equal(GDALGetGeoTransform(source, gt), CE_None);
    assert_true(GDALInvGeoTransform(gt, inv));
    int w = GDALGetRasterXSize(source), h = GDALGetRasterYSize(source);
    /* Not the middle, which may be the antimeridian. */
    double col = w / 2.2, row = h / 2.0, x = mx, y = my;
    CPLPushErrorHandler(CPLQuietErrorHandler);
    if (OCTTransform(from, 1, &x, &y, NULL)) {
        double c = inv[0] + x * inv[1] + y * inv[2], r = inv[3] + x * inv[4] + y * inv[5];
        if (c >= 0 && c <= w && r >= 0 && r <= h) {
            col = c;
            row = r;
        }
    }
    CPLPopErrorHandler();
    const double cols[4] = {col - 0.5, col + 0.5, col, col},
                 lines[4] = {row, row, row - 0.5, row + 0.5};
    double xs[4], ys[4];
    for (int i = 0; i < 4; i++) {
        xs[i] = gt[0] + cols[i] * gt[1] + lines[i] * gt[2];
        ys[i] = gt[3] + cols[i] * gt[4] + lines[i] * gt[5];
    }
    assert_true(OCTTransform(to, 4, xs, ys, NULL));
    scale[0] = hypot(xs[1] - xs[0], ys[1] - ys[0]) / res;
    scale[1] = hypot(xs[3] - xs[2], ys[3] - ys[2]) / res;
    OCTDestroyCoordinateTransformation(to);
    OCTDestroyCoordinateTransformation(from);
    OSRRelease(own);
    OSRRelease(merc);
}

/* The coarsest overview that is as fine as the scale, as gdalwarp chooses; -1: the file itself. The
 * scale becomes that of the overview. */
static int choose_overview(GDALDatasetH source, double scale[2])
{
    GDALRasterBandH first = GDALGetRasterBand(source, 1);
    double factor = 1, most = 1 / fmax(scale[0], scale[1]) + 0.1;
    int chosen = -1;
    for (int i = 0; i < GDALGetOverviewCount(first); i++) {
        double coarser =
            (double)GDALGetRasterXSize(source) / GDALGetRasterBandXSize(GDALGetOverview(first, i));
        if (coarser <= most) {
            chosen = i;
            factor = coarser;
        }
    }
    scale[0] *= factor;
    scale[1] *= factor;
    return chosen;
}

/* The whole tile, and which of it is covered. gdalwarp 3.6 takes its scale from the windows: asked
 * for a tile of which the file covers a corner, or for a rotated file, it widens no kernel and
 * aliases (at z6 by 3 levels in the mean). So it is told the scale, and by it the overview. */
static void warp(const char *path, struct mg_tile tile, enum mg_resampling how, uint8_t *out,
                 uint8_t *alpha)
{
    char text[7][40];
    struct mg_bounds b = mg_tile_bounds_merc(tile);
    const double te[4] = {b.xmin, b.ymin, b.xmax, b.ymax};
    double scale[2];
    int usage = 0;
    GDALDatasetH source = GDALOpen(path, GA_ReadOnly), ds;
    assert_non_null(source);
    scale_at(source, b, (b.xmax - b.xmin) / SIZE, scale);
    int overview = choose_overview(source, scale);
    if (overview < 0)
        snprintf(text[6], sizeof text[6], "NONE");
    else
        snprintf(text[6], sizeof text[6], "%d", overview);
    for (int i = 0; i < 4; i++)
        snprintf(text[i], sizeof text[i], "%.9f", te[i]);
    snprintf(text[4], sizeof text[4], "XSCALE=%.9g", scale[0]);
    snprintf(text[5], sizeof text[5], "YSCALE=%.9g", scale[1]);
    char *argv[] = {
        "-of",       "MEM",   "-t_srs", "EPSG:3857", "-te",   text[0], text[1],
        text[2],     text[3], "-ts",    "256",       "256",   "-r",    (char *)how_names[how],
        "-dstalpha", "-ovr",  text[6],  "-wo",       text[4], "-wo",   text[5],
        "-et",       "0.05",  NULL};
    GDALWarpAppOptions *options = GDALWarpAppOptionsNew(argv, NULL);
    assert_non_null(options);
    ds = GDALWarp("", NULL, 1, &source, options, &usage);
    assert_non_null(ds);
    for (int band = 1; band <= 2; band++)
        assert_int_equal(GDALRasterIO(GDALGetRasterBand(ds, band), GF_Read, 0, 0, SIZE, SIZE,
                                      band == 1 ? out : alpha, SIZE, SIZE, GDT_Byte, 0, 0),
                         CE_None);
    GDALClose(ds);
    GDALWarpAppOptionsFree(options);
    GDALClose(source);
}

/* What the pixels of a tile are by definition: no approximation, no thinning. */
struct pointwise {
    const double *samples; /* of the file */
    int w, h;
    double inverse[6];
    OGRCoordinateTransformationH transform;
    struct mg_bounds tile;
};

/* Tile pixels to file pixels; NaN where there is none. */
static void places(const struct pointwise *p, double *x, double *y, int n)
{
    static int good[SIZE + 1];
    double res = (p->tile.xmax - p->tile.xmin) / SIZE;
    for (int i = 0; i < n; i++) {
        x[i] = p->tile.xmin + x[i] * res;
        y[i] = p->tile.ymax - y[i] * res;
    }
    CPLPushErrorHandler(CPLQuietErrorHandler);
    OCTTransformEx(p->transform, n, x, y, NULL, good);
    CPLPopErrorHandler();
    for (int i = 0; i < n; i++) {
        double px = good[i] ? x[i] : NAN, py = y[i];
        x[i] = p->inverse[0] + px * p->inverse[1] + py * p->inverse[2];
        y[i] = p->inverse[3] + px * p->inverse[4] + py * p->inverse[5];
    }
}

static double kernel(enum mg_resampling how, double d)
{
    d = fabs(d);
    if (how == MG_BILINEAR)
        return d < 1 ? 1 - d : 0;
    return d < 1   ? 1.5 * d * d * d - 2.5 * d * d + 1
           : d < 2 ? -0.5 * d * d * d + 2.5 * d * d - 4 * d + 2
                   : 0;
}

/* The weighted mean of the samples around x, y; widths in samples. */
static double weighted(const struct pointwise *p, enum mg_resampling how, double x, double y,
                       double wide, double high)
{
    double sum = 0, weights = 0, r = how == MG_CUBIC ? 2 : 1;
    wide = fmax(wide, 1);
    high = fmax(high, 1);
    for (int j = (int)fmax(0, floor(y - r * high)); j < fmin(p->h, ceil(y + r * high)); j++) {
        double wy = kernel(how, (j + 0.5 - y) / high);
        for (int i = (int)fmax(0, floor(x - r * wide)); i < fmin(p->w, ceil(x + r * wide)); i++) {
            double w = wy * kernel(how, (i + 0.5 - x) / wide);
            sum += w * p->samples[j * p->w + i];
            weights += w;
        }
    }
    return sum / weights;
}

/* The mean, or the commonest value (of few classes), of the area between the corners; NaN: outside.
 */
static double area(const struct pointwise *p, enum mg_resampling how, const double x[4],
                   const double y[4])
{
    double x0 = fmin(fmin(x[0], x[1]), fmin(x[2], x[3])),
           x1 = fmax(fmax(x[0], x[1]), fmax(x[2], x[3]));
    double y0 = fmin(fmin(y[0], y[1]), fmin(y[2], y[3])),
           y1 = fmax(fmax(y[0], y[1]), fmax(y[2], y[3]));
    double sum = 0, weights = 0, most = 0, best = NAN, counts[256] = {0};
    x0 = fmax(x0, 0), x1 = fmin(x1, p->w), y0 = fmax(y0, 0), y1 = fmin(y1, p->h);
    if (!(x0 < x1 && y0 < y1))
        return NAN;
    for (int j = (int)y0; j < y1; j++)
        for (int i = (int)x0; i < x1; i++) {
            double v = p->samples[j * p->w + i];
            double w = (fmin(i + 1, x1) - fmax(i, x0)) * (fmin(j + 1, y1) - fmax(j, y0));
            sum += w * v;
            weights += w;
            if (++counts[(int)v] > most) {
                most = counts[(int)v];
                best = v;
            }
        }
    return how == MG_MODE ? best : sum / weights;
}

static double pixel(const struct pointwise *p, enum mg_resampling how, int col, int row, double x,
                    double y)
{
    if (how == MG_AVERAGE || how == MG_MODE) {
        double xs[4] = {col, col + 1, col, col + 1}, ys[4] = {row, row, row + 1, row + 1};
        places(p, xs, ys, 4);
        return area(p, how, xs, ys);
    }
    if (!(x >= 0 && y >= 0 && x < p->w && y < p->h))
        return NAN;
    if (how == MG_NEAREST)
        return p->samples[(int)y * p->w + (int)x];
    double xs[4] = {col, col + 1, col + 0.5, col + 0.5},
           ys[4] = {row + 0.5, row + 0.5, row, row + 1};
    places(p, xs, ys, 4);
    return weighted(p, how, x, y, hypot(xs[1] - xs[0], ys[1] - ys[0]),
                    hypot(xs[3] - xs[2], ys[3] - ys[2]));
}

static void by_pixel(const struct oracle_row *row, const char *path, struct mg_tile tile,
                     uint8_t *out, uint8_t *alpha)
{
    double gt[6];
    GDALDatasetH source = GDALOpen(path, GA_ReadOnly);
    OGRSpatialReferenceH merc = OSRNewSpatialReference(NULL);
    assert_non_null(source);
    OGRSpatialReferenceH own = OSRClone(GDALGetSpatialRef(source));
    assert_int_equal(OSRImportFromEPSG(merc, 3857), OGRERR_NONE);
    OSRSetAxisMappingStrategy(own, OAMS_TRADITIONAL_GIS_ORDER);
    assert_int_equal(GDALGetGeoTransform(source, gt), CE_None);
    struct pointwise p = {.transform = OCTNewCoordinateTransformation(merc, own),
                          .tile = mg_tile_bounds_merc(tile)};
    double scale[2];
    GDALRasterBandH band = GDALGetRasterBand(source, 1);
    scale_at(source, p.tile, (p.tile.xmax - p.tile.xmin) / SIZE, scale);
    int overview = row->how == MG_NEAREST ? -1 : choose_overview(source, scale);
    if (overview >= 0)
        band = GDALGetOverview(band, overview);
    p.w = GDALGetRasterBandXSize(band);
    p.h = GDALGetRasterBandYSize(band);
    for (int i = 1; i < 6; i += 3) {
        gt[i] *= (double)GDALGetRasterXSize(source) / p.w;
        gt[i + 1] *= (double)GDALGetRasterYSize(source) / p.h;
    }
    double *samples = malloc((size_t)p.w * (size_t)p.h * sizeof *samples);
    p.samples = samples;
    assert_true(GDALInvGeoTransform(gt, p.inverse));
    assert_int_equal(
        GDALRasterIO(band, GF_Read, 0, 0, p.w, p.h, samples, p.w, p.h, GDT_Float64, 0, 0), CE_None);
    for (int y = 0; y < SIZE; y++) {
        double xs[SIZE], ys[SIZE];
        for (int x = 0; x < SIZE; x++) {
            xs[x] = x + 0.5;
            ys[x] = y + 0.5;
        }
        places(&p, xs, ys, SIZE);
        for (int x = 0; x < SIZE; x++) {
            /* An area reaches beyond its middle by less than a pixel. */
            const double far = 4000;
            double v = NAN;
            if (xs[x] > -far && ys[x] > -far && xs[x] < p.w + far && ys[x] < p.h + far)
                v = pixel(&p, row->how, x, y, xs[x], ys[x]);
            alpha[y * SIZE + x] = !isnan(v);
            out[y * SIZE + x] = isnan(v) ? 0 : (uint8_t)lround(fmin(fmax(v, 0), 255));
        }
    }
    free(samples);
    OCTDestroyCoordinateTransformation(p.transform);
    OSRRelease(own);
    OSRRelease(merc);
    GDALClose(source);
}

static void compare(const struct oracle_row *row, const char *path, const char *twin,
                    struct mg_tile tile, bool pointwise, int *compared)
{
    static uint8_t theirs[SIZE * SIZE], alpha[SIZE * SIZE];
    int n = 0, only_ours = 0, only_theirs = 0;
    struct mg_grid grid;
    struct mg_raster *ours = NULL;
    struct mg_errmsg err = {""};
    const struct mg_read_options options = {.resampling = row->how};
    double sum = 0;
    mg_grid_of_tile(tile, SIZE, 0, &grid);
    if (mg_raster_read(path, &grid, &options, &ours, &err) != MG_OK)
        fail_msg("%s: z%d: %s", row->what, tile.z, err.text);
    if (pointwise)
        by_pixel(row, twin, tile, theirs, alpha);
    else
        warp(twin, tile, row->how, theirs, alpha);
    const char *oracle = pointwise ? "each pixel" : "gdalwarp";
    const uint8_t *v = mg_raster_samples(ours, 0);
    for (int i = 0; i < SIZE * SIZE; i++) {
        bool a = !ours->mask || ours->mask[i], b = alpha[i] != 0;
        only_ours += a && !b;
        only_theirs += b && !a;
        n += a && b;
        sum += a && b ? abs(v[i] - theirs[i]) : 0;
    }
    mg_raster_unref(&ours);
    *compared += n;
    if (getenv("MG_TEST_SHOW")) {
        printf("%-40s %-10s z%-2d n %6d mean %.3f ours only %d theirs only %d\n", row->what, oracle,
               tile.z, n, n ? sum / n : 0, only_ours, only_theirs);
        return;
    }
    if (n >= row->least && sum / n > 1)
        fail_msg("%s: z%d %d %d: the mean difference from %s is %.2f levels over %d pixels",
                 row->what, tile.z, tile.x, tile.y, oracle, sum / n, n);
    /* A border of the covered part: its length is at most that of a tile's four sides, or of what
     * is covered. */
    int border = 12 + 2 * (int)sqrt(n < SIZE * SIZE ? 4.0 * n : 0);
    if (only_ours > border || only_theirs > border)
        fail_msg("%s: z%d %d %d: %d pixels are ours alone, %d of %s alone, %d both", row->what,
                 tile.z, tile.x, tile.y, only_ours, only_theirs, oracle, n);
}

static void pixels_equal_gdalwarp(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct oracle_row *row = &rows[i];
        char name[32], path[128], twin[128];
        int compared = 0;
        snprintf(name, sizeof name, "source%zu.tif", i);
        snprintf(path, sizeof path, "%s", files_make(name, &row->file));
        snprintf(twin, sizeof twin, "%s", path);
        if (row->twin_shift != 0) {
            struct made_file shifted = row->file;
            shifted.gt[0] += row->twin_shift;
            snprintf(name, sizeof name, "twin%zu.tif", i);
            snprintf(twin, sizeof twin, "%s", files_make(name, &shifted));
        }
        for (int z = row->z_from; z <= row->z_to; z++) {
            struct mg_tile tile = mg_tile_at(row->lng, row->lat, z),
                           beside = {z, tile.x - 1, tile.y};
            if (z <= 8)
                compare(row, path, twin, tile, true, &compared);
            if (z < 8)
                continue;
            compare(row, path, twin, tile, false, &compared);
            if (mg_tile_valid(beside) && row->twin_shift == 0)
                compare(row, path, twin, beside, false, &compared);
        }
        if (compared < 300000)
            fail_msg("%s: only %d pixels were compared", row->what, compared);
    }
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(pixels_equal_gdalwarp)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
