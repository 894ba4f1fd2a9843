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
    assert_int_equal(mg_grid_of_file(path, NULL, 0, 0, 0, 0, &grid, crs, &err), MG_OK);
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

/* Tiles read with a margin of one pixel give the same shade as one render of all four. */
static void tiles_have_no_seams(void **state)
{
    const struct made_file file = {.crs = "EPSG:32725",
                                   .gt = {280000, 90, 0, 9130000, 0, -90},
                                   .width = 300,
                                   .height = 300,
                                   .bands = 1,
                                   .type = GDT_Float32,
                                   .value = hills};
    char path[128];
    struct mg_grid grid;
    struct mg_raster *dem, *all, *one;
    struct mg_errmsg err;
    const struct mg_read_options options = {.resampling = MG_BILINEAR};
    struct mg_tile parent = mg_tile_at(-34.9, -8.0, 12);
    int worst = 0;
    (void)state;
    snprintf(path, sizeof path, "%s", files_make("seam.tif", &file));
    mg_grid_of_tile(parent, 512, 1, &grid);
    assert_int_equal(mg_raster_read(path, &grid, &options, &dem, &err), MG_OK);
    assert_int_equal(mg_raster_hillshade(dem, 315, 45, 1, &all, &err), MG_OK);
    mg_raster_unref(&dem);
    for (int i = 0; i < 4; i++) {
        struct mg_tile tile = {13, 2 * parent.x + (i & 1), 2 * parent.y + (i >> 1)};
        mg_grid_of_tile(tile, 256, 1, &grid);
        assert_int_equal(mg_raster_read(path, &grid, &options, &dem, &err), MG_OK);
        assert_int_equal(mg_raster_hillshade(dem, 315, 45, 1, &one, &err), MG_OK);
        for (int y = 0; y < 256; y++)
            for (int x = 0; x < 256; x++) {
                int d = abs(one->data[y * 256 + x] -
                            all->data[(y + 256 * (i >> 1)) * 512 + x + 256 * (i & 1)]);
                worst = d > worst ? d : worst;
            }
        mg_raster_unref(&dem);
        mg_raster_unref(&one);
    }
    mg_raster_unref(&all);
    assert_true(worst <= 1);
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
