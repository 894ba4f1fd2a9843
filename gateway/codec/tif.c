/* TIFF as a cloud-optimised GeoTIFF, by GDAL's COG driver into /vsimem.
 *
 * Values are kept as they are, with CRS, geotransform, band names, palette and no data: NaN in floats, the source's
 * no-data value, the transparent index of a palette, else a mask band. The samples are handed to GDAL in place;
 * the encoded file is copied once. */
#include "moongate/codec.h"

#include "moongate/gdal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cpl_conv.h>
#include <cpl_error.h>
#include <cpl_string.h>
#include <cpl_vsi.h>

enum { DEFLATE, ZSTD, LZW, UNCOMPRESSED, LERC };
static const char *const compressions[] = {"DEFLATE", "ZSTD", "LZW", "NONE", "LERC_DEFLATE"};
/* Positions in tif_options. */
enum { COMPRESS, OVERVIEWS, PREDICTOR, MAX_ERROR };

static const struct mg_option tif_options[] = {
    {"compress", MG_OPT_ENUM, 0, 0, "deflate,zstd,lzw,none,lerc", "deflate", "how tiles are compressed"},
    {"overviews", MG_OPT_BOOL, 0, 0, NULL, "true", "reduced copies for rasters of more than a block"},
    {"predictor", MG_OPT_BOOL, 0, 0, NULL, "true", "deflate, zstd, lzw: differences of neighbours, not of a palette"},
    {"max_error", MG_OPT_NUMBER, 0, 1e300, NULL, "0", "lerc: how far a sample may be from its value"},
    {0},
};

static const GDALDataType types[MG_SAMPLE_COUNT] = {
    [MG_U8] = GDT_Byte,    [MG_U16] = GDT_UInt16, [MG_I16] = GDT_Int16,   [MG_U32] = GDT_UInt32,
    [MG_I32] = GDT_Int32,  [MG_F32] = GDT_Float32, [MG_F64] = GDT_Float64,
};

static enum mg_err gdal_failed(const char *what, struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_INTERNAL, "tif: %s: %s", what, CPLGetLastErrorMsg());
}

static bool has_holes(const struct mg_raster *raster)
{
    size_t n = (size_t)raster->width * (size_t)raster->height * (size_t)raster->bands;
    return raster->mask && memchr(raster->mask, 0, n);
}

/* A dataset over the raster's own samples. */
static GDALDatasetH over_samples(const struct mg_raster *raster)
{
    GDALDriverH driver = GDALGetDriverByName("MEM");
    GDALDatasetH set = driver ? GDALCreate(driver, "", raster->width, raster->height, 0, types[raster->sample], NULL)
                              : NULL;
    for (int band = 0; set && band < raster->bands; band++) {
        char pointer[64], option[96];
        int n = CPLPrintPointer(pointer, mg_raster_samples(raster, band), sizeof pointer - 1);
        pointer[n] = '\0';
        snprintf(option, sizeof option, "DATAPOINTER=%s", pointer);
        char *options[] = {option, NULL};
        if (GDALAddBand(set, types[raster->sample], options) != CE_None) {
            GDALClose(set);
            return NULL;
        }
    }
    return set;
}

static enum mg_err set_georef(GDALDatasetH set, const struct mg_raster *raster, struct mg_errmsg *err)
{
    OGRSpatialReferenceH crs;
    if (raster->has_georef)
        GDALSetGeoTransform(set, (double *)(uintptr_t)raster->geotransform);
    if (!raster->crs)
        return MG_OK;
    enum mg_err e = mg_crs_parse(raster->crs, &crs, err);
    if (e)
        return e;
    GDALSetSpatialRef(set, crs);
    OSRRelease(crs);
    return MG_OK;
}

static int transparent_index(const struct mg_raster *raster)
{
    for (int i = 0; i < raster->n_palette; i++)
        if (raster->palette[i][3] == 0)
            return i;
    return -1;
}

static void set_bands(GDALDatasetH set, const struct mg_raster *raster)
{
    static const GDALColorInterp grey[] = {GCI_GrayIndex, GCI_AlphaBand};
    static const GDALColorInterp colour[] = {GCI_RedBand, GCI_GreenBand, GCI_BlueBand, GCI_AlphaBand};
    /* Bands with names are measurements; only nameless 8- and 16-bit ones are taken for a picture. */
    bool picture = !raster->names && raster->bands <= 4 && (raster->sample == MG_U8 || raster->sample == MG_U16);
    for (int i = 0; i < raster->bands; i++) {
        GDALRasterBandH band = GDALGetRasterBand(set, i + 1);
        if (raster->names && raster->names[i])
            GDALSetDescription(band, raster->names[i]);
        if (picture && !raster->n_palette)
            GDALSetRasterColorInterpretation(band, raster->bands < 3 ? grey[i] : colour[i]);
    }
    if (!raster->n_palette)
        return;
    GDALColorTableH table = GDALCreateColorTable(GPI_RGB);
    for (int i = 0; i < raster->n_palette; i++) {
        const uint8_t *c = raster->palette[i];
        GDALColorEntry entry = {c[0], c[1], c[2], c[3]};
        GDALSetColorEntry(table, i, &entry);
    }
    GDALSetRasterColorTable(GDALGetRasterBand(set, 1), table);
    GDALDestroyColorTable(table);
}

/* No data as a value, where the samples say it: every pixel of the mask's holes must hold it already. */
static bool value_of_nodata(const struct mg_raster *raster, double *value)
{
    if (mg_sample_is_float(raster->sample)) {
        *value = NAN;
        return true;
    }
    if (raster->n_palette) {
        *value = transparent_index(raster);
        return *value >= 0;
    }
    *value = raster->nodata;
    return raster->has_nodata;
}

#define HOLES_HOLD(type)                                                                                             \
    {                                                                                                                \
        const type *v = samples;                                                                                     \
        for (size_t i = 0; i < n; i++)                                                                               \
            if ((mask[i] == 0) != ((double)v[i] == value))                                                           \
                return false;                                                                                        \
        return true;                                                                                                 \
    }

static bool holes_hold(enum mg_sample sample, const void *samples, const uint8_t *mask, size_t n, double value)
{
    switch (sample) {
    case MG_U8:
        HOLES_HOLD(uint8_t)
    case MG_U16:
        HOLES_HOLD(uint16_t)
    case MG_I16:
        HOLES_HOLD(int16_t)
    case MG_U32:
        HOLES_HOLD(uint32_t)
    case MG_I32:
        HOLES_HOLD(int32_t)
    default:
        return false;
    }
}

static enum mg_err set_nodata(GDALDatasetH set, const struct mg_raster *raster, struct mg_errmsg *err)
{
    size_t n = (size_t)raster->width * (size_t)raster->height;
    double value = 0;
    bool by_value = value_of_nodata(raster, &value), holes = has_holes(raster);
    if (holes && !mg_sample_is_float(raster->sample))
        for (int i = 0; by_value && i < raster->bands; i++)
            by_value = holes_hold(raster->sample, mg_raster_samples(raster, i), raster->mask + (size_t)i * n, n,
                                  value);
    if (by_value) {
        for (int i = 0; i < raster->bands; i++)
            GDALSetRasterNoDataValue(GDALGetRasterBand(set, i + 1), value);
        return MG_OK;
    }
    if (!holes)
        return MG_OK;
    /* One mask for all bands, as TIFF has it: a pixel is valid when one of its bands is. */
    if (GDALCreateDatasetMaskBand(set, GMF_PER_DATASET) != CE_None)
        return gdal_failed("no mask", err);
    GDALRasterBandH mask = GDALGetMaskBand(GDALGetRasterBand(set, 1));
    uint8_t row[MG_RASTER_MAX_SIDE];
    for (int y = 0; y < raster->height; y++) {
        memset(row, 0, sizeof row);
        for (int i = 0; i < raster->bands; i++) {
            const uint8_t *valid = raster->mask + (size_t)i * n + (size_t)y * (size_t)raster->width;
            for (int x = 0; x < raster->width; x++)
                row[x] |= valid[x] ? 255 : 0;
        }
        if (GDALRasterIO(mask, GF_Write, 0, y, raster->width, 1, row, raster->width, 1, GDT_Byte, 0, 0) != CE_None)
            return gdal_failed("no mask", err);
    }
    return MG_OK;
}

static char **cog_options(const struct mg_codec_job *job, const struct mg_raster *raster)
{
    int compress = (int)job->options[COMPRESS].number;
    bool small = raster->width <= 256 && raster->height <= 256;
    char **options = CSLSetNameValue(NULL, "COMPRESS", compressions[compress]);
    options = CSLSetNameValue(options, "BLOCKSIZE", small ? "256" : "512");
    options = CSLSetNameValue(options, "OVERVIEWS", job->options[OVERVIEWS].number != 0 ? "AUTO" : "NONE");
    options = CSLSetNameValue(options, "OVERVIEW_RESAMPLING", raster->n_palette ? "NEAREST" : "AVERAGE");
    options = CSLSetNameValue(options, "BIGTIFF", "NO");
    if (compress == LERC) {
        char most[32];
        snprintf(most, sizeof most, "%.17g", job->options[MAX_ERROR].number);
        options = CSLSetNameValue(options, "MAX_Z_ERROR", raster->n_palette ? "0" : most);
    } else if (compress != UNCOMPRESSED) {
        bool differences = job->options[PREDICTOR].number != 0 && !raster->n_palette;
        options = CSLSetNameValue(options, "PREDICTOR", differences ? "YES" : "NO");
    }
    return options;
}

static enum mg_err tif_encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    static _Thread_local uint64_t counter;
    const struct mg_raster *raster = job->value->raster;
    char name[64];
    /* /vsimem is the process's: the address tells threads apart. */
    snprintf(name, sizeof name, "/vsimem/moongate-%p-%llu.tif", (void *)&counter, (unsigned long long)counter++);
    CPLPushErrorHandler(CPLQuietErrorHandler);
    CPLErrorReset();
    char **options = cog_options(job, raster);
    GDALDatasetH set = over_samples(raster);
    enum mg_err e = set ? MG_OK : gdal_failed("no dataset", err);
    if (!e)
        e = set_georef(set, raster, err);
    if (!e) {
        set_bands(set, raster);
        e = set_nodata(set, raster, err);
    }
    if (e)
        goto out;
    GDALDriverH cog = GDALGetDriverByName("COG");
    GDALDatasetH made = cog ? GDALCreateCopy(cog, name, set, FALSE, options, NULL, NULL) : NULL;
    if (!made) {
        e = cog ? gdal_failed("not written", err)
                : mg_err_set(err, MG_E_INTERNAL, "tif: GDAL's COG driver is not registered");
        goto out;
    }
    GDALClose(made);
    vsi_l_offset bytes = 0;
    GByte *data = VSIGetMemFileBuffer(name, &bytes, FALSE);
    if (data)
        mg_buf_put(out, data, (size_t)bytes);
    else
        e = gdal_failed("not written", err);
out:
    if (set)
        GDALClose(set);
    VSIUnlink(name);
    CSLDestroy(options);
    CPLPopErrorHandler();
    return e;
}

const struct mg_codec mg_codec_tif[] = {
    {.name = "tif",
     .aliases = "tiff",
     .mime = "image/tiff; application=geotiff; profile=cloud-optimized",
     .extension = "tif",
     .shapes = MG_SHAPE_RASTER,
     .samples = MG_SAMPLE_BIT(MG_U8) | MG_SAMPLE_BIT(MG_U16) | MG_SAMPLE_BIT(MG_I16) | MG_SAMPLE_BIT(MG_U32) |
                MG_SAMPLE_BIT(MG_I32) | MG_SAMPLE_BIT(MG_F32) | MG_SAMPLE_BIT(MG_F64),
     .max_bands = MG_RASTER_MAX_BANDS,
     .palette = true,
     .options = tif_options,
     .encode = tif_encode},
    {0},
};
