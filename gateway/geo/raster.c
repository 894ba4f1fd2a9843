/* Raster: allocation, views, reference count.
 *
 * Invariant: band_stride is a multiple of 64 and holds width * height samples; a raster owns data
 * and mask unless `owner` is set, then both belong to the owner. Making one costs one aligned,
 * zeroed allocation. */
#include "moongate/raster.h"

#include <stdlib.h>

static const struct {
    size_t bytes;
    const char *name;
} samples[MG_SAMPLE_COUNT] = {
    [MG_U8] = {1, "uint8"},    [MG_I8] = {1, "int8"},     [MG_U16] = {2, "uint16"},
    [MG_I16] = {2, "int16"},   [MG_U32] = {4, "uint32"},  [MG_I32] = {4, "int32"},
    [MG_F32] = {4, "float32"}, [MG_F64] = {8, "float64"},
};

/* A UDF's worker has 1 GB of data in all. */
static const size_t max_raster_bytes = (size_t)1 << 30;

size_t mg_sample_bytes(enum mg_sample sample)
{
    MG_ASSERT((unsigned)sample < MG_SAMPLE_COUNT);
    return samples[sample].bytes;
}

const char *mg_sample_name(enum mg_sample sample)
{
    MG_ASSERT((unsigned)sample < MG_SAMPLE_COUNT);
    return samples[sample].name;
}

bool mg_sample_is_float(enum mg_sample sample)
{
    return sample == MG_F32 || sample == MG_F64;
}

enum mg_err mg_raster_new(int width, int height, int bands, enum mg_sample sample,
                          struct mg_raster **out, struct mg_errmsg *err)
{
    if (width < 1 || height < 1 || width > MG_RASTER_MAX_SIDE || height > MG_RASTER_MAX_SIDE)
        return mg_err_set(err, MG_E_ARGUMENT, "a raster of %d x %d pixels: each side is 1 to %d",
                          width, height, MG_RASTER_MAX_SIDE);
    if (bands < 1 || bands > MG_RASTER_MAX_BANDS)
        return mg_err_set(err, MG_E_ARGUMENT, "a raster of %d bands: 1 to %d are possible", bands,
                          MG_RASTER_MAX_BANDS);
    if ((unsigned)sample >= MG_SAMPLE_COUNT)
        return mg_err_set(err, MG_E_ARGUMENT, "unknown sample type %d", (int)sample);
    size_t pixels = (size_t)width * (size_t)height;
    size_t stride = (pixels * samples[sample].bytes + 63) & ~(size_t)63;
    if (stride > max_raster_bytes / (size_t)bands)
        return mg_err_set(
            err, MG_E_ARGUMENT,
            "a raster of %d x %d pixels and %d bands of %s takes more than %zu MB: read fewer "
            "bands or a smaller size",
            width, height, bands, samples[sample].name, max_raster_bytes >> 20);
    struct mg_raster *raster = calloc(1, sizeof *raster);
    if (raster)
        raster->data = aligned_alloc(64, stride * (size_t)bands);
    if (!raster || !raster->data) {
        free(raster);
        return mg_err_set(err, MG_E_NOMEM, "no memory for a raster of %d x %d pixels, %d bands",
                          width, height, bands);
    }
    memset(raster->data, 0, stride * (size_t)bands);
    raster->refs = 1;
    raster->width = width;
    raster->height = height;
    raster->bands = bands;
    raster->sample = sample;
    raster->band_stride = stride;
    *out = raster;
    return MG_OK;
}

struct mg_raster *mg_raster_ref(struct mg_raster *raster)
{
    raster->refs++;
    return raster;
}

void mg_raster_unref(struct mg_raster **raster)
{
    struct mg_raster *r = *raster;
    *raster = NULL;
    if (!r || --r->refs > 0)
        return;
    if (r->owner) {
        mg_raster_unref(&r->owner);
    } else {
        free(r->data);
        free(r->mask);
    }
    if (r->names)
        for (int i = 0; i < r->bands; i++)
            free(r->names[i]);
    free(r->names);
    free(r->crs);
    free(r);
}

enum mg_err mg_raster_copy_georef(struct mg_raster *to, const struct mg_raster *from)
{
    char *crs = NULL;
    if (from->crs && !(crs = strdup(from->crs)))
        return MG_E_NOMEM;
    free(to->crs);
    to->crs = crs;
    to->has_georef = from->has_georef;
    memcpy(to->geotransform, from->geotransform, sizeof to->geotransform);
    return MG_OK;
}

enum mg_err mg_raster_band(struct mg_raster *raster, int band, struct mg_raster **out,
                           struct mg_errmsg *err)
{
    if (band < 0 || band >= raster->bands)
        return mg_err_set(err, MG_E_ARGUMENT, "no band %d in a raster of %d", band + 1,
                          raster->bands);
    struct mg_raster *view = calloc(1, sizeof *view);
    if (!view)
        return mg_err_set(err, MG_E_NOMEM, "no memory for a band");
    view->refs = 1;
    view->width = raster->width;
    view->height = raster->height;
    view->bands = 1;
    view->sample = raster->sample;
    view->band_stride = raster->band_stride;
    view->nodata = raster->nodata;
    view->has_nodata = raster->has_nodata;
    view->n_palette = raster->n_palette;
    memcpy(view->palette, raster->palette, sizeof view->palette);
    /* The owner's data lives as long as the view; before `owner` is set an unref must not free it.
     */
    view->owner = mg_raster_ref(raster);
    view->data = mg_raster_samples(raster, band);
    size_t pixels = (size_t)raster->width * (size_t)raster->height;
    view->mask = raster->mask ? raster->mask + (size_t)band * pixels : NULL;
    bool named = raster->names && raster->names[band];
    if (mg_raster_copy_georef(view, raster) != MG_OK ||
        (named && (!(view->names = calloc(1, sizeof *view->names)) ||
                   !(view->names[0] = strdup(raster->names[band]))))) {
        mg_raster_unref(&view);
        return mg_err_set(err, MG_E_NOMEM, "no memory for a band");
    }
    *out = view;
    return MG_OK;
}

enum mg_err mg_raster_need_mask(struct mg_raster *raster, struct mg_errmsg *err)
{
    if (raster->mask)
        return MG_OK;
    if (raster->owner) {
        /* The mask of a view is a slice of its owner's, so that both see the same pixels as valid.
         */
        enum mg_err code = mg_raster_need_mask(raster->owner, err);
        if (code != MG_OK)
            return code;
        size_t band = (size_t)(raster->data - raster->owner->data) / raster->owner->band_stride;
        raster->mask = raster->owner->mask + band * (size_t)raster->width * (size_t)raster->height;
        return MG_OK;
    }
    size_t bytes = (size_t)raster->width * (size_t)raster->height * (size_t)raster->bands;
    uint8_t *mask = malloc(bytes);
    if (!mask)
        return mg_err_set(err, MG_E_NOMEM, "no memory for a mask");
    memset(mask, 1, bytes);
    raster->mask = mask;
    return MG_OK;
}

struct mg_bounds mg_raster_bounds(const struct mg_raster *raster)
{
    const double *gt = raster->geotransform;
    double w = raster->width, h = raster->height;
    const double xs[] = {gt[0], gt[0] + w * gt[1], gt[0] + h * gt[2],
                         gt[0] + w * gt[1] + h * gt[2]};
    const double ys[] = {gt[3], gt[3] + w * gt[4], gt[3] + h * gt[5],
                         gt[3] + w * gt[4] + h * gt[5]};
    struct mg_bounds b = {xs[0], ys[0], xs[0], ys[0]};
    for (int i = 1; i < 4; i++) {
        b.xmin = xs[i] < b.xmin ? xs[i] : b.xmin;
        b.xmax = xs[i] > b.xmax ? xs[i] : b.xmax;
        b.ymin = ys[i] < b.ymin ? ys[i] : b.ymin;
        b.ymax = ys[i] > b.ymax ? ys[i] : b.ymax;
    }
    return b;
}
