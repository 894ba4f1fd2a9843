/* GeoTIFF, read back by GDAL: samples of each type, no data, CRS, geotransform, names, palette, tiling. */
#include "image_make.h"

#include <cpl_vsi.h>
#include <gdal.h>
#include <ogr_srs_api.h>

static GDALDatasetH open_file(struct mg_buf *file)
{
    VSILFILE *handle = VSIFileFromMemBuffer("/vsimem/test.tif", (GByte *)file->data, file->len, FALSE);
    assert_non_null(handle);
    VSIFCloseL(handle);
    GDALDatasetH set = GDALOpen("/vsimem/test.tif", GA_ReadOnly);
    assert_non_null(set);
    return set;
}
static void close_file(GDALDatasetH set, struct mg_buf *file)
{
    GDALClose(set);
    VSIUnlink("/vsimem/test.tif");
    mg_buf_fini(file);
}

static void encode_ok(struct mg_raster *raster, const char *option, const char *text, struct mg_buf *file)
{
    struct mg_errmsg err = {""};
    mg_buf_init(file, 0);
    if (encode_with("tif", raster, option, text, file, &err))
        fail_msg("%s", err.text);
}

/* Each type: -3 or 7, and its largest value, survive; int8 is widened. */
static void test_types(void **state)
{
    (void)state;
    static const struct {
        enum mg_sample sample;
        double low, high;
        GDALDataType type;
    } rows[] = {
        {MG_U8, 7, 255, GDT_Byte},           {MG_I8, -3, 127, GDT_Int16},
        {MG_U16, 7, 65535, GDT_UInt16},      {MG_I16, -3, 32767, GDT_Int16},
        {MG_U32, 7, 4294967295.0, GDT_UInt32}, {MG_I32, -3, 2147483647.0, GDT_Int32},
        {MG_F32, -3.5, 0.1f, GDT_Float32},   {MG_F64, -3.5, 0.1, GDT_Float64},
    };
    static const char *const compressions[] = {"deflate", "zstd", "lzw", "none", "lerc"};
    for (size_t i = 0; i < 5 * sizeof rows / sizeof *rows; i++) {
        struct mg_raster *raster;
        assert_int_equal(mg_raster_new(2, 1, 1, rows[i / 5].sample, &raster, NULL), MG_OK);
        double in[2] = {rows[i / 5].low, rows[i / 5].high}, out[2];
        void *at = mg_raster_samples(raster, 0);
        for (int k = 0; k < 2; k++)
            switch (raster->sample) {
            case MG_U8: ((uint8_t *)at)[k] = (uint8_t)in[k]; break;
            case MG_I8: ((int8_t *)at)[k] = (int8_t)in[k]; break;
            case MG_U16: ((uint16_t *)at)[k] = (uint16_t)in[k]; break;
            case MG_I16: ((int16_t *)at)[k] = (int16_t)in[k]; break;
            case MG_U32: ((uint32_t *)at)[k] = (uint32_t)in[k]; break;
            case MG_I32: ((int32_t *)at)[k] = (int32_t)in[k]; break;
            case MG_F32: ((float *)at)[k] = (float)in[k]; break;
            default: ((double *)at)[k] = in[k];
            }
        struct mg_buf file;
        encode_ok(raster, "compress", compressions[i % 5], &file);
        GDALDatasetH set = open_file(&file);
        GDALRasterBandH band = GDALGetRasterBand(set, 1);
        assert_int_equal(GDALGetRasterDataType(band), rows[i / 5].type);
        assert_int_equal(GDALRasterIO(band, GF_Read, 0, 0, 2, 1, out, 2, 1, GDT_Float64, 0, 0), CE_None);
        if (out[0] != in[0] || out[1] != in[1])
            fail_msg("%s, %s: %g %g came back as %g %g", mg_sample_name(raster->sample), compressions[i % 5], in[0],
                     in[1], out[0], out[1]);
        close_file(set, &file);
        mg_raster_unref(&raster);
    }
}

static void test_georeference(void **state)
{
    (void)state;
    static const double grid[6] = {500000, 30, 0, 9100000, 0, -30};
    struct mg_raster *raster = make_raster(700, 600, 2, true, 0);
    raster->has_georef = true;
    memcpy(raster->geotransform, grid, sizeof grid);
    raster->crs = strdup("EPSG:32725");
    raster->names = calloc(2, sizeof *raster->names);
    raster->names[0] = strdup("red");
    raster->names[1] = strdup("nir");
    struct mg_buf file;
    encode_ok(raster, NULL, NULL, &file);
    GDALDatasetH set = open_file(&file);
    double back[6];
    assert_int_equal(GDALGetGeoTransform(set, back), CE_None);
    assert_memory_equal(back, grid, sizeof grid);
    OGRSpatialReferenceH srs = GDALGetSpatialRef(set);
    assert_non_null(srs);
    assert_string_equal(OSRGetAuthorityCode(srs, NULL), "32725");
    assert_string_equal(GDALGetDescription(GDALGetRasterBand(set, 2)), "nir");
    assert_string_equal(GDALGetMetadataItem(set, "LAYOUT", "IMAGE_STRUCTURE"), "COG");
    int w, h;
    GDALGetBlockSize(GDALGetRasterBand(set, 1), &w, &h);
    assert_int_equal(w, 512);
    assert_int_equal(h, 512);
    assert_int_equal(GDALGetOverviewCount(GDALGetRasterBand(set, 1)), 1);
    assert_int_not_equal(GDALGetRasterColorInterpretation(GDALGetRasterBand(set, 2)), GCI_AlphaBand);
    close_file(set, &file);
    encode_ok(raster, "overviews", "false", &file);
    set = open_file(&file);
    assert_int_equal(GDALGetOverviewCount(GDALGetRasterBand(set, 1)), 0);
    close_file(set, &file);

    free(raster->crs);
    raster->crs = strdup("/etc/passwd");
    mg_buf_init(&file, 0);
    assert_int_equal(encode_with("tif", raster, NULL, NULL, &file, NULL), MG_E_NO_CRS);
    mg_buf_fini(&file);
    mg_raster_unref(&raster);
}

static void test_no_data(void **state)
{
    (void)state;
    int has;
    uint8_t mask[16 * 8];
    struct mg_buf file;
    struct mg_raster *raster = make_raster(16, 8, 3, false, HOLES);
    encode_ok(raster, NULL, NULL, &file);
    GDALDatasetH set = open_file(&file);
    assert_int_equal(GDALGetMaskFlags(GDALGetRasterBand(set, 1)), GMF_PER_DATASET);
    assert_int_equal(GDALRasterIO(GDALGetMaskBand(GDALGetRasterBand(set, 1)), GF_Read, 0, 0, 16, 8, mask, 16, 8,
                                  GDT_Byte, 0, 0),
                     CE_None);
    for (int i = 0; i < 16 * 8; i++)
        assert_int_equal(mask[i], hole_at(i % 16, i / 16) ? 0 : 255);
    close_file(set, &file);
    /* Where the holes, and only they, hold the source's value, that value is the mask. */
    for (int band = 0; band < 3; band++)
        for (int i = 0; i < 16 * 8; i++) {
            uint8_t *v = (uint8_t *)mg_raster_samples(raster, band) + i;
            *v = hole_at(i % 16, i / 16) ? 255 : (uint8_t)(*v & 0x7f);
        }
    raster->has_nodata = true;
    raster->nodata = 255;
    encode_ok(raster, NULL, NULL, &file);
    set = open_file(&file);
    assert_int_equal(GDALGetMaskFlags(GDALGetRasterBand(set, 1)), GMF_NODATA);
    assert_true(GDALGetRasterNoDataValue(GDALGetRasterBand(set, 1), &has) == 255 && has);
    close_file(set, &file);
    mg_raster_unref(&raster);

    assert_int_equal(mg_raster_new(4, 4, 1, MG_F32, &raster, NULL), MG_OK);
    ((float *)mg_raster_samples(raster, 0))[5] = NAN;
    encode_ok(raster, NULL, NULL, &file);
    set = open_file(&file);
    assert_true(isnan(GDALGetRasterNoDataValue(GDALGetRasterBand(set, 1), &has)) && has);
    close_file(set, &file);
    mg_raster_unref(&raster);

    raster = make_raster(16, 16, 1, false, WITH_PALETTE);
    encode_ok(raster, NULL, NULL, &file);
    set = open_file(&file);
    GDALColorTableH table = GDALGetRasterColorTable(GDALGetRasterBand(set, 1));
    assert_non_null(table);
    assert_int_equal(GDALGetColorEntry(table, 9)->c2, 246);
    assert_true(GDALGetRasterNoDataValue(GDALGetRasterBand(set, 1), &has) == 0 && has);
    close_file(set, &file);
    mg_raster_unref(&raster);
}

static int setup(void **state)
{
    (void)state;
    GDALAllRegister();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_georeference),
        cmocka_unit_test(test_no_data),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
