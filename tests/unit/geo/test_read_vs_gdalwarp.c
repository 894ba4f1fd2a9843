/* Pixels against gdalwarp (GDALWarp in this process): z2 to z18, three CRSs, south-up and rotated
 * grids, the antimeridian, with and without overviews. The mean difference is at most one grey
 * level, and what is covered differs by at most a border. */
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
    {{UTM_NORTH}, OLINDA, 2, 18, MG_BILINEAR, 50, 0, "UTM, north-up, bilinear"},
    {{UTM_NORTH}, OLINDA, 2, 18, MG_NEAREST, 50, 0, "UTM, north-up, nearest"},
    {{UTM_NORTH}, OLINDA, 2, 18, MG_CUBIC, 50, 0, "UTM, north-up, cubic"},
    {{UTM_NORTH}, OLINDA, 2, 18, MG_AVERAGE, 50, 0, "UTM, north-up, average"},
    {{UTM_NORTH, .overviews = true},
     OLINDA,
     2,
     18,
     MG_BILINEAR,
     50,
     0,
     "UTM with overviews, bilinear"},
    {{UTM_NORTH, .overviews = true},
     OLINDA,
     2,
     18,
     MG_AVERAGE,
     50,
     0,
     "UTM with overviews, average"},
    {{UTM, .gt = {288776.25, 28.5, 0, 9103660.75, 0, 28.5}},
     OLINDA,
     2,
     18,
     MG_BILINEAR,
     50,
     0,
     "UTM, south-up"},
    {{UTM, .gt = {288776.25, 28.5 * C, 28.5 * S, 9120760.75, 28.5 * S, -28.5 * C}},
     OLINDA,
     2,
     18,
     MG_BILINEAR,
     5000,
     0,
     "UTM, rotated by 20 degrees"},
    {{UTM, .gt = {288776.25, 28.5 * C, 28.5 * S, 9120760.75, 28.5 * S, -28.5 * C}},
     OLINDA,
     2,
     18,
     MG_CUBIC,
     5000,
     0,
     "UTM, rotated by 20 degrees, cubic"},
    {{DEGREES, .gt = {5, 0.01, 0, 52, 0, -0.01}},
     .lng = 9,
     .lat = 49,
     2,
     18,
     MG_BILINEAR,
     50,
     0,
     "degrees, north-up"},
    {{DEGREES, .gt = {5, 0.01, 0, 46, 0, 0.01}},
     .lng = 9,
     .lat = 49,
     2,
     18,
     MG_AVERAGE,
     50,
     0,
     "degrees, south-up"},
    {{DEGREES, .gt = {-180, 0.45, 0, 90, 0, -0.3}},
     .lng = 9,
     .lat = 49,
     2,
     18,
     MG_BILINEAR,
     50,
     0,
     "the world"},
    {{POLAR, .gt = {-300000, 1000, 0, -1700000, 0, -1000}},
     .lng = -45,
     .lat = 71.5,
     2,
     18,
     MG_BILINEAR,
     50,
     0,
     "polar stereographic"},
    {{POLAR, .gt = {-300000, 1000, 0, -1700000, 0, -1000}, .overviews = true},
     .lng = -47,
     .lat = 71,
     2,
     18,
     MG_CUBIC,
     50,
     0,
     "polar stereographic, overviews, cubic"},
    {{DEGREES, .gt = {176, 0.01, 0, -14, 0, -0.01}},
     .lng = 179.5,
     .lat = -17,
     3,
     18,
     MG_BILINEAR,
     50,
     0,
     "beyond 180, its western part"},
    {{DEGREES, .gt = {176, 0.01, 0, -14, 0, -0.01}},
     .lng = -179.3,
     .lat = -17,
     3,
     18,
     MG_BILINEAR,
     50,
     -360,
     "beyond 180, its eastern part"},
    {{DEGREES, .gt = {-184, 0.01, 0, -14, 0, -0.01}},
     .lng = 178,
     .lat = -17,
     3,
     18,
     MG_BILINEAR,
     50,
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
     50,
     0,
     "a UTM zone that crosses 180, beyond it"},
    {{UTM_NORTH, .value = patches}, OLINDA, 8, 18, MG_MODE, 1000, 0, "UTM, mode of classes"},
};

static const char *const how_names[] = {"near", "bilinear", "cubic", "average", "mode"};

enum { SIZE = 256 };

/* Pixels x0..x1, y0..y1 of the tile. */
static void warp(const char *path, struct mg_tile tile, enum mg_resampling how, const int window[4],
                 int band, uint8_t *out)
{
    char text[6][40];
    struct mg_bounds b = mg_tile_bounds_merc(tile);
    double res = (b.xmax - b.xmin) / SIZE;
    const double te[4] = {b.xmin + window[0] * res, b.ymax - window[3] * res,
                          b.xmin + window[2] * res, b.ymax - window[1] * res};
    int w = window[2] - window[0], h = window[3] - window[1], usage = 0;
    for (int i = 0; i < 4; i++)
        snprintf(text[i], sizeof text[i], "%.9f", te[i]);
    snprintf(text[4], sizeof text[4], "%d", w);
    snprintf(text[5], sizeof text[5], "%d", h);
    char *argv[] = {
        "-of",       "MEM",   "-t_srs", "EPSG:3857", "-te",   text[0], text[1],
        text[2],     text[3], "-ts",    text[4],     text[5], "-r",    (char *)how_names[how],
        "-dstalpha", "-et",   "0.05",   NULL};
    GDALWarpAppOptions *options = GDALWarpAppOptionsNew(argv, NULL);
    GDALDatasetH source = GDALOpen(path, GA_ReadOnly), ds;
    assert_non_null(options);
    assert_non_null(source);
    ds = GDALWarp("", NULL, 1, &source, options, &usage);
    assert_non_null(ds);
    assert_int_equal(GDALRasterIO(GDALGetRasterBand(ds, band), GF_Read, 0, 0, w, h,
                                  out + window[1] * SIZE + window[0], w, h, GDT_Byte, 0, SIZE),
                     CE_None);
    GDALClose(ds);
    GDALWarpAppOptionsFree(options);
    GDALClose(source);
}

static void compare(const struct oracle_row *row, const char *path, const char *twin,
                    struct mg_tile tile, int *compared)
{
    static uint8_t theirs[SIZE * SIZE], alpha[SIZE * SIZE];
    static const int whole[4] = {0, 0, SIZE, SIZE};
    int window[4] = {SIZE, SIZE, 0, 0}, n = 0, only_ours = 0, only_theirs = 0;
    struct mg_grid grid;
    struct mg_raster *ours = NULL;
    struct mg_errmsg err = {""};
    const struct mg_read_options options = {.resampling = row->how};
    double sum = 0;
    mg_grid_of_tile(tile, SIZE, 0, &grid);
    if (mg_raster_read(path, &grid, &options, &ours, &err) != MG_OK)
        fail_msg("%s: z%d: %s", row->what, tile.z, err.text);
    warp(twin, tile, row->how, whole, 2, alpha);
    for (int i = 0; i < SIZE * SIZE; i++) {
        bool a = !ours->mask || ours->mask[i], b = alpha[i] != 0;
        int x = i % SIZE, y = i / SIZE;
        only_ours += a && !b;
        only_theirs += b && !a;
        if (a && b) {
            n++;
            window[0] = x < window[0] ? x : window[0];
            window[1] = y < window[1] ? y : window[1];
            window[2] = x >= window[2] ? x + 1 : window[2];
            window[3] = y >= window[3] ? y + 1 : window[3];
        }
    }
    /* gdalwarp 3.6 takes its scale from the whole window: asked for a tile of which the file covers
     * a corner, it does not average. So it is asked for the covered part. */
    if (n)
        warp(twin, tile, row->how, window, 1, theirs);
    const uint8_t *v = mg_raster_samples(ours, 0);
    for (int i = 0; i < SIZE * SIZE; i++)
        if ((!ours->mask || ours->mask[i]) && alpha[i])
            sum += abs(v[i] - theirs[i]);
    mg_raster_unref(&ours);
    *compared += n;
    if (getenv("MG_TEST_SHOW")) {
        printf("%-45s z%-2d n %6d mean %.3f ours only %d theirs only %d\n", row->what, tile.z, n,
               n ? sum / n : 0, only_ours, only_theirs);
        return;
    }
    if (n >= row->least && sum / n > 1)
        fail_msg("%s: z%d %d %d: the mean difference is %.2f levels over %d pixels", row->what,
                 tile.z, tile.x, tile.y, sum / n, n);
    /* A border of the covered part: its length is at most that of a tile's four sides, or of what
     * is covered. */
    int border = 12 + 2 * (int)sqrt(n < SIZE * SIZE ? 4.0 * n : 0);
    if (only_ours > border || only_theirs > border)
        fail_msg("%s: z%d %d %d: %d pixels are ours alone, %d gdalwarp's alone, %d both", row->what,
                 tile.z, tile.x, tile.y, only_ours, only_theirs, n);
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
            compare(row, path, twin, tile, &compared);
            if (mg_tile_valid(beside) && row->twin_shift == 0)
                compare(row, path, twin, beside, &compared);
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
