/* Hillshade against gdaldem (GDALDEMProcessing in this process), Web Mercator against its own
 * definition. */
#include "moongate/raster_ops.h"
#include "raster_files.h"

#include <gdal_utils.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SIDE = 120 };

static double hills(int band, int x, int y)
{
    (void)band;
    return 300 + 90 * sin(x / 7.0) * cos(y / 5.0) + 40 * sin((x - y) / 13.0);
}

static struct mg_raster *read_native(const char *path)
{
    struct mg_grid grid;
    char crs[4096];
    struct mg_errmsg err = {""};
    struct mg_raster *r = NULL;
    const struct mg_read_options options = {.resampling = MG_NEAREST};
    assert_int_equal(mg_grid_of_file(path, NULL, NULL, 0, 0, 0, 0, &grid, crs, &err), MG_OK);
    assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_OK);
    return r;
}

static void equals_gdaldem(void **state)
{
    static const struct {
        double azimuth, altitude, z;
        const char *what;
    } rows[] = {
        {315, 45, 1, "the usual sun"},       {45, 45, 1, "from the north-east"},
        {180, 20, 1, "from the south, low"}, {315, 90, 1, "overhead"},
        {270, 45, 3, "exaggerated"},
    };
    const struct made_file file = {.crs = "EPSG:32725",
                                   .gt = {288000, 30, 0, 9120000, 0, -30},
                                   .width = SIDE,
                                   .height = SIDE,
                                   .bands = 1,
                                   .type = GDT_Float32,
                                   .value = hills};
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s", files_make("hills.tif", &file));
    struct mg_raster *dem = read_native(path), *shade;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static uint8_t theirs[SIDE * SIDE];
        char text[3][16];
        int usage, worst = 0;
        struct mg_errmsg err;
        snprintf(text[0], sizeof text[0], "%g", rows[i].azimuth);
        snprintf(text[1], sizeof text[1], "%g", rows[i].altitude);
        snprintf(text[2], sizeof text[2], "%g", rows[i].z);
        char *argv[] = {"-of", "MEM", "-az", text[0], "-alt", text[1], "-z", text[2], NULL};
        GDALDEMProcessingOptions *options = GDALDEMProcessingOptionsNew(argv, NULL);
        GDALDatasetH source = GDALOpen(path, GA_ReadOnly);
        GDALDatasetH ds = GDALDEMProcessing("", source, "hillshade", NULL, options, &usage);
        assert_non_null(ds);
        assert_int_equal(GDALRasterIO(GDALGetRasterBand(ds, 1), GF_Read, 0, 0, SIDE, SIDE, theirs,
                                      SIDE, SIDE, GDT_Byte, 0, 0),
                         CE_None);
        GDALClose(ds);
        GDALClose(source);
        GDALDEMProcessingOptionsFree(options);
        assert_int_equal(
            mg_raster_hillshade(dem, rows[i].azimuth, rows[i].altitude, rows[i].z, &shade, &err),
            MG_OK);
        assert_int_equal(shade->width, SIDE - 2);
        assert_true(shade->geotransform[0] == 288030 && shade->geotransform[3] == 9119970);
        for (int y = 0; y < SIDE - 2; y++)
            for (int x = 0; x < SIDE - 2; x++) {
                int d = abs(shade->data[y * (SIDE - 2) + x] - theirs[(y + 1) * SIDE + x + 1]);
                worst = d > worst ? d : worst;
            }
        if (worst > 1)
            fail_msg("%s: off by %d levels", rows[i].what, worst);
        mg_raster_unref(&shade);
    }
    mg_raster_unref(&dem);
}

/* The same plane in metres of the ground and in Web Mercator at 60 degrees, where a unit is half a
 * metre. */
static void mercator_is_corrected(void **state)
{
    struct mg_raster *a, *b, *sa, *sb;
    struct mg_errmsg err;
    double x, y;
    (void)state;
    mg_lnglat_to_merc(0, 60, &x, &y);
    assert_int_equal(mg_raster_new(9, 9, 1, MG_F32, &a, &err), MG_OK);
    assert_int_equal(mg_raster_new(9, 9, 1, MG_F32, &b, &err), MG_OK);
    for (int i = 0; i < 81; i++)
        ((float *)a->data)[i] = ((float *)b->data)[i] = (float)(3 * (i % 9) + 2 * (i / 9));
    const double ga[6] = {0, 10, 0, 0, 0, -10}, gb[6] = {0, 20, 0, y + 90, 0, -20};
    memcpy(a->geotransform, ga, sizeof ga);
    memcpy(b->geotransform, gb, sizeof gb);
    a->has_georef = b->has_georef = true;
    b->crs = strdup("EPSG:3857");
    assert_int_equal(mg_raster_hillshade(a, 315, 45, 1, &sa, &err), MG_OK);
    assert_int_equal(mg_raster_hillshade(b, 315, 45, 1, &sb, &err), MG_OK);
    for (int i = 0; i < 49; i++)
        assert_true(abs(sa->data[i] - sb->data[i]) <= 1);
    assert_int_not_equal(sa->data[0], 1 + (int)lround(254 * sin(M_PI / 4)));
    mg_raster_unref(&sa);
    mg_raster_unref(&sb);
    mg_raster_unref(&b);
    /* A missing neighbour masks; its own middle does too. */
    ((float *)a->data)[4 * 9 + 4] = NAN;
    assert_int_equal(mg_raster_hillshade(a, 315, 45, 1, &sa, &err), MG_OK);
    int missing = 0;
    for (int i = 0; i < 49; i++)
        missing += !sa->mask[i];
    assert_int_equal(missing, 9);
    mg_raster_unref(&sa);
    assert_int_equal(mg_raster_hillshade(a, 315, 91, 1, &sa, &err), MG_E_ARGUMENT);
    mg_raster_unref(&a);
}

/* The values of tiles, and their shades, are those of one render of all of them, to the last bit.
 */
#define C 0.93969262078591 /* cos 20 degrees */
#define S 0.34202014332567
#define HILLS .width = 300, .height = 300, .bands = 1, .type = GDT_Float32, .value = hills
#define UTM .crs = "EPSG:32725", HILLS

static struct mg_raster *read_merc(const char *what, const char *path, struct mg_tile tile,
                                   int size, enum mg_resampling how)
{
    const struct mg_read_options options = {.resampling = how};
    struct mg_grid grid;
    struct mg_raster *r;
    struct mg_errmsg err = {""};
    mg_grid_of_tile(tile, size, 1, &grid);
    if (mg_raster_read(path, &grid, &options, &r, &err) != MG_OK)
        fail_msg("%s: z%d: %s", what, tile.z, err.text);
    return r;
}

/* Whether all samples of a part and of its place in the whole are the same bytes. */
static bool same_part(const struct mg_raster *part, const struct mg_raster *all, int x0, int y0)
{
    size_t bytes = mg_sample_bytes(part->sample), n = (size_t)part->width * bytes;
    for (int y = 0; y < part->height; y++) {
        size_t at = (size_t)(y + y0) * (size_t)all->width + (size_t)x0;
        if (memcmp(part->data + (size_t)y * n, all->data + at * bytes, n) != 0)
            return false;
        for (int x = 0; x < part->width; x++)
            if ((!part->mask || part->mask[y * part->width + x]) !=
                (!all->mask || all->mask[at + (size_t)x]))
                return false;
    }
    return true;
}

static void tiles_have_no_seams(void **state)
{
    static const struct {
        struct made_file file;
        double lng, lat;
        const char *what;
    } rows[] = {
        {{UTM, .gt = {280000, 90, 0, 9130000, 0, -90}}, -34.9, -8.0, "UTM, north-up"},
        {{UTM, .gt = {280000, 90, 0, 9130000, 0, -90}, .overviews = true},
         -34.9,
         -8.0,
         "UTM with overviews"},
        {{UTM, .gt = {280000, 90, 0, 9103000, 0, 90}}, -34.9, -8.0, "UTM, south-up"},
        {{UTM, .gt = {285000, 90 * C, 90 * S, 9120760, 90 * S, -90 * C}},
         -34.8,
         -8.05,
         "UTM, rotated by 20 degrees"},
        {{HILLS, .crs = "EPSG:4326", .gt = {5, 0.01, 0, 52, 0, -0.01}}, 6.5, 50.5, "degrees"},
        {{.crs = "EPSG:4326",
          .width = 720,
          .height = 360,
          .bands = 1,
          .type = GDT_Float32,
          .value = hills,
          .gt = {-180, 0.5, 0, 90, 0, -0.5}},
         179.9,
         60,
         "the world"},
        {{HILLS, .crs = "EPSG:3413", .gt = {-150000, 1000, 0, -1900000, 0, -1000}},
         -45,
         71.5,
         "polar stereographic"},
        {{HILLS, .crs = "EPSG:32701", .gt = {120000, 200, 0, 8150000, 0, -200}},
         179.7,
         -17.0,
         "a UTM zone that crosses 180"},
        {{.crs = "EPSG:32725",
          .width = 2600,
          .height = 2600,
          .bands = 1,
          .type = GDT_Byte,
          .gt = {280000, 10, 0, 9130000, 0, -10}},
         -34.9,
         -8.0,
         "bytes, thinned at low zooms"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[128], name[32];
        int shaded = 0;
        snprintf(name, sizeof name, "seam%zu.tif", i);
        snprintf(path, sizeof path, "%s", files_make(name, &rows[i].file));
        for (int how = 0; how < MG_RESAMPLING_COUNT; how++)
            for (int z = 0; z <= 17; z += z < 8 ? 2 : 3) {
                struct mg_tile parent = mg_tile_at(rows[i].lng, rows[i].lat, z);
                struct mg_errmsg err;
                struct mg_raster *all_shade, *shade;
                struct mg_raster *all =
                    read_merc(rows[i].what, path, parent, 512, (enum mg_resampling)how);
                assert_int_equal(mg_raster_hillshade(all, 315, 45, 1, &all_shade, &err), MG_OK);
                for (int k = 0; k < 4; k++) {
                    struct mg_tile tile = {z + 1, 2 * parent.x + (k & 1), 2 * parent.y + (k >> 1)};
                    struct mg_raster *one =
                        read_merc(rows[i].what, path, tile, 256, (enum mg_resampling)how);
                    int x0 = 256 * (k & 1), y0 = 256 * (k >> 1);
                    if (!same_part(one, all, x0, y0))
                        fail_msg("%s, resampling %d: z%d %d %d is not the part of its parent",
                                 rows[i].what, how, tile.z, tile.x, tile.y);
                    assert_int_equal(mg_raster_hillshade(one, 315, 45, 1, &shade, &err), MG_OK);
                    if (!same_part(shade, all_shade, x0, y0))
                        fail_msg("%s, resampling %d: the shade of z%d %d %d is not its parent's",
                                 rows[i].what, how, tile.z, tile.x, tile.y);
                    for (int p = 0; p < 256 * 256; p++)
                        shaded += !shade->mask || shade->mask[p];
                    mg_raster_unref(&shade);
                    mg_raster_unref(&one);
                }
                mg_raster_unref(&all_shade);
                mg_raster_unref(&all);
            }
        if (shaded < 300000)
            fail_msg("%s: only %d pixels were compared", rows[i].what, shaded);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_gdaldem),
                                       cmocka_unit_test(mercator_is_corrected),
                                       cmocka_unit_test(tiles_have_no_seams)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
