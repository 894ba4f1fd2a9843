/* Reading: refusals and their words, no data in all its forms, palettes, file grids, caching,
 * damaged files. */
#include "geo/raster_open.h"
#include "raster_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

static const struct made_file scene = {.crs = "EPSG:32725",
                                       .gt = {288776.25, 28.5, 0, 9120760.75, 0, -28.5},
                                       .width = 300,
                                       .height = 200,
                                       .bands = 2,
                                       .type = GDT_Byte};

static void write_text(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static enum mg_err read_tile(const char *path, int z, enum mg_resampling how,
                             struct mg_raster **out, struct mg_errmsg *err)
{
    struct mg_grid grid;
    const struct mg_read_options options = {.resampling = how};
    mg_grid_of_tile(mg_tile_at(-34.88, -7.97, z), 256, 0, &grid);
    return mg_raster_read(path, &grid, &options, out, err);
}

static void refusals(void **state)
{
    static const struct {
        const char *name, *bytes, *says;
        enum mg_err code;
    } rows[] = {
        {"vrt.tif", "<VRTDataset rasterXSize=\"1\" rasterYSize=\"1\"></VRTDataset>",
         "vrt.tif is a VRT file, which is not read; drivers: GTiff, PNG", MG_E_BAD_FILE},
        {"wms.tif", "<GDAL_WMS><Service name=\"WMS\"/></GDAL_WMS>", "wms.tif is a WMS file",
         MG_E_BAD_FILE},
        {"p.pdf", "%PDF-1.4\n", "p.pdf is a PDF file", MG_E_BAD_FILE},
        {"nothing.tif", "", "nothing.tif is empty", MG_E_BAD_FILE},
        {"text.tif", "hello", "is of no kind that is read; drivers:", MG_E_BAD_FILE},
        {"head.tif", "II*\0\x08\0\0\0", "head.tif", MG_E_BAD_FILE},
        {"a.geojson", "{\"type\":\"FeatureCollection\",\"features\":[]}", "a.geojson",
         MG_E_BAD_FILE},
    };
    struct mg_raster *r = NULL;
    struct mg_errmsg err;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *path = files_path(rows[i].name);
        size_t n = strcmp(rows[i].name, "head.tif") == 0 ? 8 : strlen(rows[i].bytes);
        write_text(path, rows[i].bytes, n);
        err.text[0] = 0;
        enum mg_err code = read_tile(path, 12, MG_NEAREST, &r, &err);
        if (code != rows[i].code || !strstr(err.text, rows[i].says))
            fail_msg("%s: %s: %s", rows[i].name, mg_err_name(code), err.text);
    }
    static const char *const names[] = {
        "MEM:::DATAPOINTER=1,PIXELS=1,LINES=1",
        "NETCDF:/etc/passwd:x",
        "GTIFF_DIR:1:/etc/passwd",
        "<VRTDataset/>",
        "http://127.0.0.1/a.tif",
        "",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (read_tile(names[i], 12, MG_NEAREST, &r, &err) != MG_E_BAD_FILE)
            fail_msg("%s was opened", names[i]);
    assert_int_equal(read_tile("/vsimoon/fd/none.tif", 12, MG_NEAREST, &r, &err), MG_E_NO_FILE);
    assert_string_equal(err.text, "no file fd://none.tif");
}

static void arguments(void **state)
{
    char path[128];
    struct mg_raster *r = NULL;
    struct mg_errmsg err;
    struct mg_grid grid;
    int nine[] = {1, 9};
    struct mg_read_options options = {.bands = nine, .n_bands = 2};
    (void)state;
    snprintf(path, sizeof path, "%s", files_make("scene.tif", &scene));
    mg_grid_of_tile(mg_tile_at(-34.88, -7.97, 12), 256, 0, &grid);
    assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_E_ARGUMENT);
    assert_non_null(strstr(err.text, "no band 9 in "));
    assert_non_null(strstr(err.text, "scene.tif (it has 2)"));
    options.n_bands = 1;
    grid.crs = "EPSG:999999";
    assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_E_NO_CRS);
    assert_non_null(strstr(err.text, "EPSG:999999"));
    grid.crs = "/etc/passwd";
    assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_E_NO_CRS);
    grid.crs = "EPSG:3857";
    grid.geotransform[1] = 0;
    assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_E_ARGUMENT);
    grid.geotransform[1] = NAN;
    assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_E_ARGUMENT);
    assert_int_equal(mg_resampling_find(MG_SPAN("nearest")), MG_NEAREST);
    assert_int_equal(mg_resampling_find(MG_SPAN("mode")), MG_MODE);
    assert_int_equal(mg_resampling_find(MG_SPAN("lanczos")), -1);

    struct made_file bare = scene;
    bare.crs = NULL;
    snprintf(path, sizeof path, "%s", files_make("bare.tif", &bare));
    assert_int_equal(read_tile(path, 12, MG_NEAREST, &r, &err), MG_E_NO_CRS);
    assert_non_null(strstr(err.text, "bare.tif has no CRS"));
    struct mg_raster_info info;
    assert_int_equal(mg_raster_info(path, &info, &err), MG_E_NO_CRS);
    mg_grid_of_tile(mg_tile_at(-34.88, -7.97, 15), 256, 0, &grid);
    options = (struct mg_read_options){.source_crs = "EPSG:32725"};
    assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_OK);
    assert_null(r->mask);
    mg_raster_unref(&r);
}

static double with_hole(int band, int x, int y)
{
    return x < 150 ? 7 + band : y < 100 ? 0 : 50;
}

/* Half of the file is no data: as a value, as a mask, as alpha, as NaN. */
static void no_data(void **state)
{
    static const struct {
        GDALDataType type;
        bool nodata, mask, alpha, nan;
        const char *what;
    } rows[] = {
        {GDT_Byte, true, false, false, false, "a byte value"},
        {GDT_Int16, true, false, false, false, "an int16 value"},
        {GDT_Float32, true, false, false, false, "a float value"},
        {GDT_Int32, true, false, false, false, "an int32 value"},
        {GDT_Float64, false, false, false, true, "NaN in doubles"},
        {GDT_Float32, false, false, false, true, "NaN"},
        {GDT_Byte, false, true, false, false, "a mask"},
        {GDT_Byte, false, false, true, false, "alpha"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct made_file f = scene;
        char path[128], name[32];
        f.type = rows[i].type;
        f.bands = rows[i].alpha ? 2 : 1;
        f.value = with_hole;
        f.has_nodata = rows[i].nodata;
        f.nodata = 7;
        if (rows[i].alpha)
            f.options[0] = "ALPHA=YES";
        snprintf(name, sizeof name, "hole%zu.tif", i);
        snprintf(path, sizeof path, "%s", files_make(name, &f));
        GDALDatasetH ds = GDALOpen(path, GA_Update);
        CPLSetThreadLocalConfigOption("GDAL_TIFF_INTERNAL_MASK", "YES");
        if (rows[i].mask)
            assert_int_equal(GDALCreateDatasetMaskBand(ds, GMF_PER_DATASET), CE_None);
        CPLSetThreadLocalConfigOption("GDAL_TIFF_INTERNAL_MASK", NULL);
        for (int y = 0; y < f.height; y++) {
            uint8_t bytes[300];
            float reals[300];
            for (int x = 0; x < f.width; x++) {
                bytes[x] = x < 150 ? 0 : 255;
                reals[x] = x < 150 ? NAN : 50;
            }
            GDALRasterBandH first = GDALGetRasterBand(ds, 1);
            CPLErr e = CE_None;
            if (rows[i].mask)
                e = GDALRasterIO(GDALGetMaskBand(first), GF_Write, 0, y, 300, 1, bytes, 300, 1,
                                 GDT_Byte, 0, 0);
            if (rows[i].alpha)
                e = GDALRasterIO(GDALGetRasterBand(ds, 2), GF_Write, 0, y, 300, 1, bytes, 300, 1,
                                 GDT_Byte, 0, 0);
            if (rows[i].nan)
                e = GDALRasterIO(first, GF_Write, 0, y, 300, 1, reals, 300, 1, GDT_Float32, 0, 0);
            assert_int_equal(e, CE_None);
        }
        GDALClose(ds);
        for (int how = 0; how < MG_RESAMPLING_COUNT; how++) {
            struct mg_grid grid = {.geotransform = {288776.25, 28.5, 0, 9120760.75, 0, -28.5},
                                   .width = 300,
                                   .height = 200};
            const struct mg_read_options options = {.resampling = (enum mg_resampling)how};
            struct mg_raster *r = NULL;
            struct mg_errmsg err = {""};
            if (mg_raster_read(path, &grid, &options, &r, &err) != MG_OK)
                fail_msg("%s: %s", rows[i].what, err.text);
            for (int k = 0; k < 300 * 200; k++) {
                double v = r->sample == MG_F32   ? ((float *)r->data)[k]
                           : r->sample == MG_F64 ? ((double *)r->data)[k]
                                                 : 0;
                bool ok = mg_sample_is_float(r->sample) ? !isnan(v) : r->mask && r->mask[k];
                if (ok != (k % 300 >= 150))
                    fail_msg("%s, resampling %d: pixel %d of row %d is %s", rows[i].what, how,
                             k % 300, k / 300, ok ? "data" : "no data");
                /* What is data is not mixed with what is not. */
                if (ok && r->sample == MG_U8 && k / 300 >= 100 && r->data[k] != 50)
                    fail_msg("%s, resampling %d: %d instead of 50", rows[i].what, how, r->data[k]);
            }
            mg_raster_unref(&r);
        }
    }
}

static double classes(int band, int x, int y)
{
    (void)band;
    return (x / 20 + y / 20) % 3;
}

static void palettes(void **state)
{
    struct made_file f = scene;
    char path[128];
    struct mg_raster *r;
    struct mg_errmsg err;
    (void)state;
    f.bands = 1;
    f.value = classes;
    snprintf(path, sizeof path, "%s", files_make("classes.tif", &f));
    GDALDatasetH ds = GDALOpen(path, GA_Update);
    GDALColorTableH table = GDALCreateColorTable(GPI_RGB);
    for (int i = 0; i < 3; i++) {
        const GDALColorEntry e = {(short)(50 * i), 10, 20, 255};
        GDALSetColorEntry(table, i, &e);
    }
    assert_int_equal(GDALSetRasterColorTable(GDALGetRasterBand(ds, 1), table), CE_None);
    GDALDestroyColorTable(table);
    GDALClose(ds);
    for (int how = 0; how < 2; how++) {
        assert_int_equal(read_tile(path, 10, how ? MG_MODE : MG_NEAREST, &r, &err), MG_OK);
        assert_int_equal(r->n_palette, 256);
        assert_int_equal(r->palette[2][0], 100);
        for (int i = 0; i < 65536; i++)
            assert_true(r->data[i] <= 2);
        mg_raster_unref(&r);
    }
    assert_int_equal(read_tile(path, 12, MG_BILINEAR, &r, &err), MG_OK);
    assert_int_equal(r->n_palette, 0);
    mg_raster_unref(&r);
}

/* A file call without bounds, size or resolution gives the file's own pixels, whatever their type.
 */
static void native_pixels(void **state)
{
    static const GDALDataType types[] = {GDT_Byte,  GDT_UInt16,  GDT_Int16,  GDT_UInt32,
                                         GDT_Int32, GDT_Float32, GDT_Float64};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct made_file f = scene;
        char path[128], name[32], crs[4096];
        struct mg_grid grid;
        struct mg_raster *r;
        struct mg_errmsg err = {""};
        f.type = types[i];
        f.width = 600;
        f.height = 530;
        f.options[0] = i % 2 ? "INTERLEAVE=BAND" : "INTERLEAVE=PIXEL";
        f.options[1] = i % 3 ? "TILED=YES" : "BLOCKYSIZE=3";
        f.options[2] = "COMPRESS=DEFLATE";
        snprintf(name, sizeof name, "native%zu.tif", i);
        snprintf(path, sizeof path, "%s", files_make(name, &f));
        assert_int_equal(mg_grid_of_file(path, NULL, NULL, 0, 0, 0, 0, &grid, crs, &err), MG_OK);
        assert_int_equal(grid.width, 600);
        assert_string_equal(crs, "EPSG:32725");
        for (int how = MG_NEAREST; how < MG_RESAMPLING_COUNT; how++) {
            const struct mg_read_options options = {.resampling = (enum mg_resampling)how};
            assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_OK);
            assert_null(r->mask);
            for (int b = 0; b < 2; b++) {
                static double theirs[600 * 530], ours[600 * 530];
                GDALDatasetH ds = GDALOpen(path, GA_ReadOnly);
                assert_int_equal(GDALRasterIO(GDALGetRasterBand(ds, b + 1), GF_Read, 0, 0, 600, 530,
                                              theirs, 600, 530, GDT_Float64, 0, 0),
                                 CE_None);
                GDALClose(ds);
                GDALCopyWords(mg_raster_samples(r, b), types[i], (int)mg_sample_bytes(r->sample),
                              ours, GDT_Float64, 8, 600 * 530);
                for (int k = 0; k < 600 * 530; k++)
                    if (fabs(ours[k] - theirs[k]) > 1e-4 * fabs(theirs[k]))
                        fail_msg("%s, resampling %d, band %d: pixel %d is %g, not %g",
                                 mg_sample_name(r->sample), how, b + 1, k, ours[k], theirs[k]);
            }
            mg_raster_unref(&r);
        }
    }
}

static void file_grids(void **state)
{
    char path[128], crs[4096];
    struct mg_grid grid;
    struct mg_errmsg err;
    struct mg_raster_info info;
    (void)state;
    snprintf(path, sizeof path, "%s", files_make("grids.tif", &scene));
    assert_int_equal(mg_raster_info(path, &info, &err), MG_OK);
    assert_string_equal(info.driver, "GTiff");
    assert_string_equal(info.crs, "EPSG:32725");
    assert_true(info.degrees.xmin > -34.93 && info.degrees.xmax < -34.83 &&
                info.degrees.ymin > -8.01);
    assert_false(info.has_overviews);
    /* Part of the file: on its own pixels. */
    struct mg_bounds part = {-34.90, -7.98, -34.88, -7.96};
    assert_int_equal(mg_grid_of_file(path, NULL, &part, 0, 0, 0, 0, &grid, crs, &err), MG_OK);
    double col = (grid.geotransform[0] - 288776.25) / 28.5;
    assert_true(fabs(col - round(col)) < 1e-6 && fabs(grid.geotransform[1] - 28.5) < 1e-9);
    assert_in_range(grid.width, 76, 82);
    assert_int_equal(mg_grid_of_file(path, NULL, &part, 100, 0, 0, 0, &grid, crs, &err), MG_OK);
    assert_true(grid.geotransform[1] == 100 && grid.geotransform[5] == -100);
    assert_int_equal(mg_grid_of_file(path, NULL, &part, 0, 64, 32, 0, &grid, crs, &err), MG_OK);
    assert_true(grid.width == 64 && grid.height == 32);
    assert_int_equal(mg_grid_of_file(path, NULL, NULL, 0, 0, 0, 100, &grid, crs, &err), MG_OK);
    assert_true(grid.width == 100 && grid.height == 67);
    struct mg_bounds world = {-180, -80, 180, 80};
    if (mg_grid_of_file(path, NULL, &world, 0, 0, 0, 2048, &grid, crs, &err) == MG_OK)
        assert_true(grid.width <= 2048);
    assert_int_equal(mg_grid_of_file(path, NULL, &part, -1, 0, 0, 0, &grid, crs, &err), MG_E_ARGUMENT);
    assert_int_equal(mg_grid_of_file(path, NULL, &part, 0, 5000, 5, 2048, &grid, crs, &err),
                     MG_E_ARGUMENT);

    struct made_file over = {.crs = "EPSG:4326",
                             .gt = {170, 0.1, 0, 10, 0, -0.1},
                             .width = 200,
                             .height = 100,
                             .bands = 1,
                             .type = GDT_Byte};
    snprintf(path, sizeof path, "%s", files_make("over.tif", &over));
    assert_int_equal(mg_raster_info(path, &info, &err), MG_OK);
    assert_true(info.degrees.xmin == 170 && fabs(info.degrees.xmax + 170) < 1e-9);
    struct mg_bounds crossing = {175, -5, -175, 5};
    assert_int_equal(mg_grid_of_file(path, NULL, &crossing, 0, 0, 0, 0, &grid, crs, &err), MG_OK);
    assert_int_equal(grid.width, 100);
    struct mg_raster *r;
    assert_int_equal(mg_raster_read(path, &grid, NULL, &r, &err), MG_OK);
    assert_null(r->mask);
    mg_raster_unref(&r);
}

/* A file without CRS takes the one that is said, for its grid and for its pixels. */
static void without_crs(void **state)
{
    struct made_file f = scene;
    char plain[128], named[128], crs[4096];
    struct mg_bounds part = {-34.90, -7.98, -34.88, -7.96};
    struct mg_grid a, b;
    struct mg_raster *r, *s;
    struct mg_errmsg err;
    (void)state;
    snprintf(named, sizeof named, "%s", files_make("named.tif", &f));
    f.crs = NULL;
    snprintf(plain, sizeof plain, "%s", files_make("plain.tif", &f));
    assert_int_equal(mg_grid_of_file(plain, NULL, &part, 0, 0, 0, 0, &a, crs, &err), MG_E_NO_CRS);
    assert_non_null(strstr(err.text, "source_crs"));
    assert_int_equal(mg_grid_of_file(plain, "EPSG:0", &part, 0, 0, 0, 0, &a, crs, &err),
                     MG_E_NO_CRS);
    assert_int_equal(mg_grid_of_file(named, NULL, &part, 0, 0, 0, 0, &b, crs, &err), MG_OK);
    /* The file's own CRS wins. */
    assert_int_equal(mg_grid_of_file(named, "EPSG:4326", &part, 0, 0, 0, 0, &a, crs, &err), MG_OK);
    assert_string_equal(a.crs, "EPSG:32725");
    assert_int_equal(mg_grid_of_file(plain, "EPSG:32725", &part, 0, 0, 0, 0, &a, crs, &err), MG_OK);
    assert_string_equal(a.crs, "EPSG:32725");
    assert_memory_equal(a.geotransform, b.geotransform, sizeof a.geotransform);
    assert_true(a.width == b.width && a.height == b.height);
    const struct mg_read_options options = {.source_crs = "EPSG:32725"};
    assert_int_equal(mg_raster_read(plain, &a, &options, &r, &err), MG_OK);
    b.crs = a.crs;
    assert_int_equal(mg_raster_read(named, &b, NULL, &s, &err), MG_OK);
    assert_string_equal(r->crs, "EPSG:32725");
    assert_memory_equal(r->data, s->data, 2 * r->band_stride);
    mg_raster_unref(&r);
    mg_raster_unref(&s);
}

/* Scale and offset of a band are applied when asked for. */
static void scaled(void **state)
{
    struct made_file f = scene;
    char path[128];
    struct mg_raster *raw, *real;
    struct mg_grid grid;
    struct mg_errmsg err;
    const struct mg_read_options options = {.resampling = MG_BILINEAR, .unscale = true};
    (void)state;
    f.has_nodata = true;
    f.nodata = 100;
    snprintf(path, sizeof path, "%s", files_make("scaled.tif", &f));
    GDALDatasetH ds = GDALOpen(path, GA_Update);
    GDALSetRasterScale(GDALGetRasterBand(ds, 1), 0.02);
    GDALSetRasterOffset(GDALGetRasterBand(ds, 1), -273.15);
    GDALClose(ds);
    mg_grid_of_tile(mg_tile_at(-34.88, -7.97, 12), 256, 0, &grid);
    assert_int_equal(read_tile(path, 12, MG_BILINEAR, &raw, &err), MG_OK);
    assert_int_equal(mg_raster_read(path, &grid, &options, &real, &err), MG_OK);
    assert_int_equal(raw->sample, MG_U8);
    assert_int_equal(real->sample, MG_F32);
    assert_false(real->has_nodata);
    int seen = 0;
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < 65536; i++) {
            double v = ((float *)mg_raster_samples(real, b))[i];
            double raw_v = ((uint8_t *)mg_raster_samples(raw, b))[i];
            if (!raw->mask[b * 65536 + i]) {
                assert_true(isnan(v));
                continue;
            }
            seen++;
            assert_true(fabs(v - (b ? raw_v : raw_v * 0.02 - 273.15)) < 1e-4);
        }
    assert_true(seen > 10000);
    mg_raster_unref(&raw);
    mg_raster_unref(&real);
}

/* The seam of a file of 0 to 360 degrees, at longitude 0, is not seen. */
static double round_the_world(int band, int x, int y)
{
    (void)band, (void)y;
    return 128 + 100 * cos(x / 720.0 * 2 * M_PI);
}

static void global_seam(void **state)
{
    struct made_file f = {.crs = "EPSG:4326",
                          .gt = {0, 0.5, 0, 90, 0, -0.5},
                          .width = 720,
                          .height = 360,
                          .bands = 1,
                          .type = GDT_Byte,
                          .value = round_the_world};
    char path[128];
    struct mg_grid grid;
    struct mg_raster *r;
    struct mg_errmsg err;
    (void)state;
    snprintf(path, sizeof path, "%s", files_make("global.tif", &f));
    for (int z = 0; z <= 6; z++) {
        for (int how = 0; how < MG_RESAMPLING_COUNT; how++) {
            const struct mg_read_options options = {.resampling = (enum mg_resampling)how};
            /* West of the seam, with a margin that reaches over it. */
            struct mg_tile tile = {z, z ? (1 << (z - 1)) - 1 : 0, z ? 1 << (z - 1) : 0};
            mg_grid_of_tile(tile, 256, 1, &grid);
            assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_OK);
            for (int y = 2; y < 256; y++)
                for (int x = 1; x < 258; x++) {
                    int d = abs(r->data[y * 258 + x] - r->data[y * 258 + x - 1]);
                    /* Mode may take any of the four samples under a pixel. */
                    if (d > (how == MG_MODE ? 8 : 4) || (r->mask && !r->mask[y * 258 + x]))
                        fail_msg("z%d, resampling %d: a seam at %d, %d (%d levels)", z, how, x, y,
                                 d);
                }
            mg_raster_unref(&r);
        }
    }
}

static int notes;
static void note(void *context, const char *sentence)
{
    (void)context;
    notes += strstr(sentence, "gdal_translate -of COG in.tif out.tif") != NULL;
}

/* A file of 100 megapixels without overviews: little memory, the note, the right mean. */
static double halves(int band, int x, int y)
{
    (void)band, (void)y;
    return x % 2 ? 200 : 100;
}

static void decimated(void **state)
{
    struct made_file f = scene;
    char path[128];
    struct mg_grid grid;
    struct mg_raster *r;
    struct mg_errmsg err;
    struct mg_read_options options = {.resampling = MG_BILINEAR, .note = note};
    (void)state;
    f.bands = 1;
    f.width = 8000;
    f.height = 3000;
    f.value = halves;
    f.options[0] = "TILED=YES";
    f.options[1] = "COMPRESS=DEFLATE";
    snprintf(path, sizeof path, "%s", files_make("large.tif", &f));
    mg_grid_of_tile(mg_tile_at(-33.9, -8.4, 8), 256, 0, &grid);
    notes = 0;
    assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_OK);
    assert_int_equal(notes, 1);
    int n = 0;
    for (int i = 0; i < 65536; i++)
        if (!r->mask || r->mask[i]) {
            n++;
            assert_in_range(r->data[i], 148, 152);
        }
    assert_true(n > 10000);
    mg_raster_unref(&r);
    /* A block of 2,048 pixels at native resolution is told nothing. */
    mg_grid_of_tile(mg_tile_at(-33.9, -8.4, 13), 256, 0, &grid);
    assert_int_equal(mg_raster_read(path, &grid, &options, &r, &err), MG_OK);
    assert_int_equal(notes, 1);
    mg_raster_unref(&r);
}

static void cached(void **state)
{
    struct made_file f = scene;
    char path[128];
    struct mg_raster *a, *b;
    struct mg_errmsg err;
    (void)state;
    snprintf(path, sizeof path, "%s", files_make("cached.tif", &f));
    assert_int_equal(read_tile(path, 12, MG_BILINEAR, &a, &err), MG_OK);
    uint64_t decoded = mg_source_chunk_stats().decoded;
    assert_int_equal(read_tile(path, 12, MG_BILINEAR, &b, &err), MG_OK);
    assert_int_equal(mg_source_chunk_stats().decoded, decoded);
    assert_memory_equal(a->data, b->data, 2 * a->band_stride);
    mg_raster_unref(&b);
    /* Another file under the same name is seen at once. */
    f.value = classes;
    f.height = 190;
    files_make("cached.tif", &f);
    assert_int_equal(read_tile(path, 12, MG_BILINEAR, &b, &err), MG_OK);
    assert_true(mg_source_chunk_stats().decoded > decoded);
    assert_memory_not_equal(a->data, b->data, 65536);
    mg_raster_unref(&a);
    mg_raster_unref(&b);
    assert_true(mg_source_chunk_stats().bytes <= (size_t)64 << 20);
}

/* Truncated at every tenth byte, and with bytes turned over: an error or pixels, nothing else. */
static void damaged(void **state)
{
    struct made_file f = scene;
    char path[128];
    static uint8_t bytes[1 << 20], copy[1 << 20];
    unsigned seed = 12345;
    struct mg_raster *r;
    struct mg_errmsg err;
    (void)state;
    f.width = 64;
    f.height = 48;
    f.options[0] = "COMPRESS=LZW";
    f.overviews = true;
    snprintf(path, sizeof path, "%s", files_make("damaged.tif", &f));
    FILE *file = fopen(path, "rb");
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_in_range(n, 100, sizeof bytes - 1);
    for (int i = 0; i < 400; i++) {
        size_t len = n;
        memcpy(copy, bytes, n);
        if (i < 100) {
            len = n * (size_t)i / 100;
        } else {
            for (int k = 0; k < 1 + i % 5; k++) {
                seed = seed * 1103515245 + 12345;
                size_t at = (seed >> 8) % (i % 2 ? n : 400);
                seed = seed * 1103515245 + 12345;
                copy[at] = (uint8_t)(seed >> 16);
            }
        }
        write_text(path, copy, len);
        for (int z = 9; z <= 15; z += 3)
            if (read_tile(path, z, (enum mg_resampling)(i % MG_RESAMPLING_COUNT), &r, &err) ==
                MG_OK)
                mg_raster_unref(&r);
    }
}

/* A small file that claims to be huge. */
static void bombs(void **state)
{
    struct made_file f = scene;
    char path[128], crs[4096];
    struct mg_raster *r = NULL;
    struct mg_grid grid;
    struct mg_errmsg err = {""};
    (void)state;
    f.width = 200000;
    f.height = 1;
    f.bands = 1;
    f.options[0] = "SPARSE_OK=TRUE";
    snprintf(path, sizeof path, "%s", files_path("bomb.tif"));
    char *options[] = {"SPARSE_OK=TRUE", "TILED=NO", "BLOCKYSIZE=20000", NULL};
    GDALDatasetH ds =
        GDALCreate(GDALGetDriverByName("GTiff"), path, 200000, 200000, 1, GDT_Byte, options);
    assert_non_null(ds);
    GDALSetGeoTransform(ds, f.gt);
    GDALClose(ds);
    assert_int_equal(mg_grid_of_file(path, NULL, NULL, 0, 0, 0, 2048, &grid, crs, &err), MG_E_BAD_FILE);
    assert_non_null(strstr(err.text, "too large to read"));
    char *tiled[] = {"SPARSE_OK=TRUE", "TILED=YES", NULL};
    ds = GDALCreate(GDALGetDriverByName("GTiff"), path, 40000, 40000, 1, GDT_Byte, tiled);
    GDALSetGeoTransform(ds, f.gt);
    GDALClose(ds);
    assert_int_equal(mg_grid_of_file(path, NULL, NULL, 0, 0, 0, 64, &grid, crs, &err), MG_OK);
    assert_int_equal(mg_raster_read(path, &grid, NULL, &r, &err), MG_OK);
    mg_raster_unref(&r);
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
        cmocka_unit_test(refusals),      cmocka_unit_test(arguments),
        cmocka_unit_test(no_data),       cmocka_unit_test(palettes),
        cmocka_unit_test(native_pixels), cmocka_unit_test(file_grids),
        cmocka_unit_test(global_seam),   cmocka_unit_test(decimated),
        cmocka_unit_test(cached),        cmocka_unit_test(damaged),
        cmocka_unit_test(bombs),       cmocka_unit_test(without_crs),
        cmocka_unit_test(scaled),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
