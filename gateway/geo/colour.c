/* Colouring: a band of values becomes one byte a pixel and a palette of 255 colours, which a PNG
 * keeps as it is.
 *
 * Index 0 is no data and transparent; 1..255 run from low to high. Cost: one pass over the band. */
#include "geo/raster_strip.h"
#include "geo/simd.h"
#include "moongate/raster_ops.h"

#include <math.h>
#include <stdlib.h>

/* index = 1 + round((v - low) / (high - low) * 254). NaN fails both comparisons that would keep it.
 */
MG_SIMD static void index_f(const float *restrict v, uint8_t *restrict to, float low, float factor,
                            int n)
{
    for (int i = 0; i < n; i++) {
        float t = (v[i] - low) * factor + 1.5f;
        t = t > 1.0f ? t : 1.0f;
        t = t < 255.0f ? t : 255.0f;
        uint8_t index = (uint8_t)(int)t;
        to[i] = v[i] == v[i] ? index : 0;
    }
}

MG_SIMD static void index_d(const double *restrict v, uint8_t *restrict to, double low,
                            double factor, int n)
{
    for (int i = 0; i < n; i++) {
        double t = (v[i] - low) * factor + 1.5;
        t = t > 1.0 ? t : 1.0;
        t = t < 255.0 ? t : 255.0;
        uint8_t index = (uint8_t)(int)t;
        to[i] = v[i] == v[i] ? index : 0;
    }
}

static void colour_at(const struct mg_stop *stops, size_t n, double at, uint8_t rgba[4])
{
    size_t i = 1;
    if (at <= stops[0].at) {
        memcpy(rgba, stops[0].rgba, 4);
        return;
    }
    if (at >= stops[n - 1].at) {
        memcpy(rgba, stops[n - 1].rgba, 4);
        return;
    }
    while (stops[i].at < at)
        i++;
    double width = stops[i].at - stops[i - 1].at,
           f = width > 0 ? (at - stops[i - 1].at) / width : 1;
    for (int c = 0; c < 4; c++)
        rgba[c] =
            (uint8_t)lround(stops[i - 1].rgba[c] + f * (stops[i].rgba[c] - stops[i - 1].rgba[c]));
}

enum mg_err mg_raster_colour(const struct mg_raster *raster, const struct mg_stop *stops, size_t n,
                             double low, double high, struct mg_raster **out, struct mg_errmsg *err)
{
    if (raster->bands != 1)
        return mg_err_set(err, MG_E_ARGUMENT,
                          "a raster of %d bands cannot be coloured: take one band", raster->bands);
    if (n < 1)
        return mg_err_set(err, MG_E_ARGUMENT, "a colour map needs a stop");
    for (size_t i = 0; i < n; i++)
        if (!(stops[i].at >= 0 && stops[i].at <= 1) || (i && stops[i].at < stops[i - 1].at))
            return mg_err_set(err, MG_E_ARGUMENT,
                              "stop %zu of the colour map is not in 0..1 ascending", i + 1);
    if (!isfinite(low) || !isfinite(high) || low == high)
        return mg_err_set(err, MG_E_ARGUMENT,
                          "colours from %g to %g: two different numbers are needed", low, high);
    struct mg_raster *r;
    enum mg_err code = mg_raster_new(raster->width, raster->height, 1, MG_U8, &r, err);
    if (code != MG_OK)
        return code;
    if (mg_raster_copy_georef(r, raster) != MG_OK) {
        mg_raster_unref(&r);
        return mg_err_set(err, MG_E_NOMEM, "no memory for a raster");
    }
    r->n_palette = 256;
    for (int i = 1; i < 256; i++)
        colour_at(stops, n, (i - 1) / 254.0, r->palette[i]);
    bool wide = raster->sample == MG_F64 || raster->sample == MG_U32 || raster->sample == MG_I32;
    size_t pixels = (size_t)r->width * (size_t)r->height;
    double factor = 254 / (high - low);
    for (size_t at = 0; at < pixels; at += MG_STRIP) {
        union mg_strip x;
        int k = pixels - at < MG_STRIP ? (int)(pixels - at) : MG_STRIP;
        mg_strip_load(raster, 0, at, k, wide, &x);
        if (wide)
            index_d(x.d, r->data + at, low, factor, k);
        else
            index_f(x.f, r->data + at, (float)low, (float)factor, k);
    }
    *out = r;
    return MG_OK;
}

enum mg_err mg_raster_rgba(const struct mg_raster *raster, struct mg_raster **out, struct mg_errmsg *err)
{
    size_t pixels = (size_t)raster->width * (size_t)raster->height;
    struct mg_raster *r = NULL;
    if (raster->n_palette == 0)
        return mg_err_set(err, MG_E_ARGUMENT, "the raster has no palette; r:colour(…) gives it one");
    enum mg_err code = mg_raster_new(raster->width, raster->height, 4, MG_U8, &r, err);
    if (code == MG_OK && (code = mg_raster_copy_georef(r, raster)) != MG_OK)
        mg_err_set(err, code, "no memory for colours");
    if (code != MG_OK) {
        mg_raster_unref(&r);
        return code;
    }
    for (int band = 0; band < 4; band++) {
        uint8_t *to = mg_raster_samples(r, band), table[256] = {0};
        for (int i = 0; i < raster->n_palette; i++)
            table[i] = raster->palette[i][band];
        for (size_t i = 0; i < pixels; i++)
            to[i] = raster->mask && !raster->mask[i] ? 0 : table[raster->data[i]];
    }
    *out = r;
    return MG_OK;
}
