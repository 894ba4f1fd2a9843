/* Many rasters into one, percentiles and histograms.
 *
 * A strip of each part is brought into doubles in which no data is NaN; each reduction is a plain
 * loop over pixels and parts. The median alone sorts, by insertion: parts are few. Percentiles sort
 * a band's valid samples once. Cost: one pass over each part; 8 bytes a part and pixel of the
 * strip. */
#include "geo/raster_strip.h"
#include "geo/simd.h"
#include "moongate/raster_analysis.h"

#include <math.h>
#include <stdlib.h>

static const struct {
    const char *name;
    enum mg_reduction how;
} names[] = {
    {"first", MG_RED_FIRST}, {"last", MG_RED_LAST}, {"latest", MG_RED_LAST},
    {"min", MG_RED_MIN},     {"max", MG_RED_MAX},   {"sum", MG_RED_SUM},
    {"mean", MG_RED_MEAN},   {"std", MG_RED_STD},   {"median", MG_RED_MEDIAN},
    {"count", MG_RED_COUNT},
};

int mg_reduction_find(struct mg_span name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (mg_span_is(name, names[i].name))
            return (int)names[i].how;
    return -1;
}

enum { S = MG_STRIP };

/* to[i] becomes what of it and v[i] the reduction keeps; NaN is nothing. */
MG_SIMD static void keep_min(double *restrict to, const double *restrict v, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = to[i] <= v[i] ? to[i] : v[i] == v[i] ? v[i] : to[i];
}
MG_SIMD static void keep_max(double *restrict to, const double *restrict v, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = to[i] >= v[i] ? to[i] : v[i] == v[i] ? v[i] : to[i];
}
MG_SIMD static void keep_first(double *restrict to, const double *restrict v, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = to[i] == to[i] ? to[i] : v[i];
}
MG_SIMD static void keep_last(double *restrict to, const double *restrict v, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = v[i] == v[i] ? v[i] : to[i];
}
MG_SIMD static void add(double *restrict sum, double *restrict count, const double *restrict v,
                        int n)
{
    for (int i = 0; i < n; i++) {
        sum[i] += v[i] == v[i] ? v[i] : 0;
        count[i] += v[i] == v[i] ? 1 : 0;
    }
}
MG_SIMD static void add_squares(double *restrict sum, const double *restrict mean,
                                const double *restrict v, int n)
{
    for (int i = 0; i < n; i++) {
        double d = v[i] - mean[i];
        sum[i] += d == d ? d * d : 0;
    }
}

static void medians(const double *v, size_t parts, int n, double *out)
{
    for (int i = 0; i < n; i++) {
        double sorted[MG_RASTER_MAX_BANDS];
        size_t k = 0;
        for (size_t p = 0; p < parts; p++) {
            double x = v[p * S + (size_t)i];
            if (isnan(x))
                continue;
            size_t at = k++;
            for (; at > 0 && sorted[at - 1] > x; at--)
                sorted[at] = sorted[at - 1];
            sorted[at] = x;
        }
        out[i] = k == 0 ? NAN : k % 2 ? sorted[k / 2] : (sorted[k / 2 - 1] + sorted[k / 2]) / 2;
    }
}

static void reduce(enum mg_reduction how, const double *v, size_t parts, int n, double *out)
{
    static void (*const keep[MG_REDUCTIONS])(double *, const double *,
                                             int) = {[MG_RED_FIRST] = keep_first,
                                                     [MG_RED_LAST] = keep_last,
                                                     [MG_RED_MIN] = keep_min,
                                                     [MG_RED_MAX] = keep_max};
    double sum[S] = {0}, count[S] = {0};
    if (keep[how]) {
        memcpy(out, v, (size_t)n * sizeof *out);
        for (size_t p = 1; p < parts; p++)
            keep[how](out, v + p * S, n);
        return;
    }
    if (how == MG_RED_MEDIAN) {
        medians(v, parts, n, out);
        return;
    }
    for (size_t p = 0; p < parts; p++)
        add(sum, count, v + p * S, n);
    for (int i = 0; i < n; i++)
        out[i] = how == MG_RED_COUNT ? count[i]
                 : count[i] == 0     ? NAN
                 : how == MG_RED_SUM ? sum[i]
                                     : sum[i] / count[i];
    if (how != MG_RED_STD)
        return;
    memset(sum, 0, sizeof sum);
    for (size_t p = 0; p < parts; p++)
        add_squares(sum, out, v + p * S, n);
    for (int i = 0; i < n; i++)
        out[i] = count[i] == 0 ? NAN : sqrt(sum[i] / count[i]);
}

static enum mg_sample sample_of(const struct mg_raster *const *parts, size_t n,
                                enum mg_reduction how)
{
    bool same = true, wide = false;
    for (size_t i = 0; i < n; i++) {
        enum mg_sample s = parts[i]->sample;
        same = same && s == parts[0]->sample;
        wide = wide || s == MG_F64 || s == MG_U32 || s == MG_I32;
    }
    if (how == MG_RED_COUNT)
        return MG_I32;
    return same && how <= MG_RED_MAX ? parts[0]->sample : wide ? MG_F64 : MG_F32;
}

/* Classes stay classes: what keeps samples keeps the palette that all parts have. */
static void keep_palette(const struct mg_raster *const *parts, size_t n, enum mg_reduction how, struct mg_raster *r)
{
    const struct mg_raster *like = parts[0];
    bool same = how <= MG_RED_MAX && r->sample == MG_U8 && r->bands == 1;
    for (size_t i = 0; i < n; i++)
        same = same && parts[i]->n_palette == like->n_palette &&
               memcmp(parts[i]->palette, like->palette, (size_t)like->n_palette * sizeof *like->palette) == 0;
    if (!same)
        return;
    r->n_palette = like->n_palette;
    memcpy(r->palette, like->palette, sizeof r->palette);
}

enum mg_err mg_raster_combine(const struct mg_raster *const *parts, size_t n, enum mg_reduction how,
                              struct mg_raster **out, struct mg_errmsg *err)
{
    if (n < 1 || n > MG_RASTER_MAX_BANDS)
        return mg_err_set(err, MG_E_ARGUMENT, "1 to %d rasters are combined, not %zu",
                          MG_RASTER_MAX_BANDS, n);
    const struct mg_raster *like = parts[0];
    for (size_t i = 1; i < n; i++)
        if (parts[i]->width != like->width || parts[i]->height != like->height ||
            parts[i]->bands != like->bands)
            return mg_err_set(
                err, MG_E_ARGUMENT,
                "rasters of %d x %d x %d and %d x %d x %d pixels and bands do not fit together",
                like->width, like->height, like->bands, parts[i]->width, parts[i]->height,
                parts[i]->bands);
    struct mg_raster *r = NULL;
    union mg_strip strip;
    double *v = malloc(n * S * sizeof *v);
    enum mg_err code =
        v ? mg_raster_new(like->width, like->height, like->bands, sample_of(parts, n, how), &r, err)
          : mg_err_set(err, MG_E_NOMEM, "no memory to combine rasters");
    if (code == MG_OK && (code = mg_raster_copy_georef(r, like)) != MG_OK)
        mg_err_set(err, code, "no memory to combine rasters");
    if (code == MG_OK)
        keep_palette(parts, n, how, r);
    size_t pixels = (size_t)like->width * (size_t)like->height;
    for (int band = 0; code == MG_OK && band < like->bands; band++)
        for (size_t at = 0; code == MG_OK && at < pixels; at += S) {
            int k = pixels - at < S ? (int)(pixels - at) : S;
            for (size_t p = 0; p < n; p++) {
                mg_strip_load(parts[p], band, at, k, true, &strip);
                memcpy(v + p * S, strip.d, (size_t)k * sizeof *v);
            }
            reduce(how, v, n, k, strip.d);
            code = mg_strip_store(r, band, at, k, true, &strip, err);
        }
    free(v);
    if (code != MG_OK)
        mg_raster_unref(&r);
    else
        *out = r;
    return code;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum mg_err mg_raster_percentiles(const struct mg_raster *r, int band, const double *percents,
                                  size_t n, double *out, struct mg_errmsg *err)
{
    size_t pixels = (size_t)r->width * (size_t)r->height, kept = 0;
    union mg_strip x;
    MG_ASSERT(band >= 0 && band < r->bands);
    for (size_t i = 0; i < n; i++)
        if (!(percents[i] >= 0 && percents[i] <= 100))
            return mg_err_set(err, MG_E_ARGUMENT, "a percentile is 0 to 100, not %g", percents[i]);
    double *v = malloc(pixels * sizeof *v);
    if (!v)
        return mg_err_set(err, MG_E_NOMEM, "no memory to sort a band");
    for (size_t at = 0; at < pixels; at += S) {
        int k = pixels - at < S ? (int)(pixels - at) : S;
        mg_strip_load(r, band, at, k, true, &x);
        for (int i = 0; i < k; i++)
            if (!isnan(x.d[i]))
                v[kept++] = x.d[i];
    }
    qsort(v, kept, sizeof *v, by_value);
    for (size_t i = 0; i < n; i++) {
        double place = percents[i] / 100 * (double)(kept ? kept - 1 : 0), low = floor(place);
        size_t a = (size_t)low, b = a + 1 < kept ? a + 1 : a;
        out[i] = kept ? v[a] + (v[b] - v[a]) * (place - low) : NAN;
    }
    free(v);
    return MG_OK;
}

void mg_raster_histogram(const struct mg_raster *r, int band, double low, double high, size_t n,
                         int64_t *counts)
{
    size_t pixels = (size_t)r->width * (size_t)r->height;
    double scale = (double)n / (high - low);
    union mg_strip x;
    MG_ASSERT(band >= 0 && band < r->bands);
    memset(counts, 0, n * sizeof *counts);
    for (size_t at = 0; at < pixels; at += S) {
        int k = pixels - at < S ? (int)(pixels - at) : S;
        mg_strip_load(r, band, at, k, true, &x);
        for (int i = 0; i < k; i++) {
            if (!(x.d[i] >= low && x.d[i] <= high))
                continue;
            size_t bin = (size_t)((x.d[i] - low) * scale);
            counts[bin < n ? bin : n - 1]++;
        }
    }
}
