/* Thinning: mean of the valid samples, the sample nearest the middle, or the commonest one.
 * Cost: one visit of each sample; mode compares within a block of at most 16 x 16. */
#include "geo/thin.h"
#include "geo/raster_strip.h"

#include <math.h>

enum { MAX_FACTOR = 16 };

static double value_at(enum mg_sample sample, const void *samples, size_t at)
{
    double v;
    mg_samples_to_double(sample, (const uint8_t *)samples + at * mg_sample_bytes(sample), &v, 1);
    return v;
}

/* The valid ones of k samples. */
static int valid_run(enum mg_sample sample, const void *samples, const uint8_t *mask, size_t at,
                     int k, double *out)
{
    double v[MAX_FACTOR];
    int n = 0;
    mg_samples_to_double(sample, (const uint8_t *)samples + at * mg_sample_bytes(sample), v, k);
    for (int i = 0; i < k; i++) {
        out[n] = v[i];
        n += mask[at + (size_t)i];
    }
    return n;
}

static double mean(const double *v, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += v[i];
    return n ? sum / n : NAN;
}

static double mode(const double *v, int n)
{
    double values[MAX_FACTOR * MAX_FACTOR], best = NAN;
    int counts[MAX_FACTOR * MAX_FACTOR], kinds = 0, most = 0;
    for (int i = 0; i < n; i++) {
        int k = 0;
        while (k < kinds && values[k] != v[i])
            k++;
        if (k == kinds) {
            values[kinds] = v[i];
            counts[kinds++] = 0;
        }
        if (++counts[k] > most) {
            most = counts[k];
            best = v[i];
        }
    }
    return best;
}

int mg_thin_row(enum mg_sample sample, const void *samples, const uint8_t *mask, int in_w, int in_h,
                int f, enum mg_thin how, void *out, uint8_t *valid, int w)
{
    int missing = 0;
    size_t bytes = mg_sample_bytes(sample);
    MG_ASSERT(f <= MAX_FACTOR && in_h <= f);
    for (int i = 0; i < w; i++) {
        int x0 = i * f, x1 = x0 + f < in_w ? x0 + f : in_w, n = 0;
        double v[MAX_FACTOR * MAX_FACTOR], result;
        /* The ends of thinned rows may fall behind what GDAL gave when it skipped pixels. */
        if (x0 >= in_w)
            x0 = in_w - 1, x1 = in_w;
        if (how == MG_THIN_PICK) {
            size_t at = (size_t)(in_h / 2) * (size_t)in_w + (size_t)((x0 + x1) / 2);
            result = mask[at] ? value_at(sample, samples, at) : NAN;
        } else {
            for (int y = 0; y < in_h; y++)
                n += valid_run(sample, samples, mask, (size_t)y * (size_t)in_w + (size_t)x0,
                               x1 - x0, v + n);
            result = how == MG_THIN_MODE ? mode(v, n) : mean(v, n);
        }
        uint8_t ok;
        mg_samples_from_double(&result, sample, (uint8_t *)out + (size_t)i * bytes, &ok, 1);
        valid[i] = result == result;
        missing += !valid[i];
    }
    return missing;
}
