/* Statistics of one band: two passes in double (mean first), so that the deviation of large values
 * is exact. Cost: two reads of the band. */
#include "geo/raster_strip.h"
#include "moongate/raster_ops.h"

#include <math.h>

void mg_raster_stats(const struct mg_raster *r, int band, struct mg_stats *out)
{
    struct mg_stats s = {.min = INFINITY, .max = -INFINITY};
    size_t pixels = (size_t)r->width * (size_t)r->height;
    union mg_strip x;
    double squares = 0;
    MG_ASSERT(band >= 0 && band < r->bands);
    for (size_t at = 0; at < pixels; at += MG_STRIP) {
        int n = pixels - at < MG_STRIP ? (int)(pixels - at) : MG_STRIP;
        mg_strip_load(r, band, at, n, true, &x);
        for (int i = 0; i < n; i++) {
            double v = x.d[i];
            if (isnan(v))
                continue;
            s.min = v < s.min ? v : s.min;
            s.max = v > s.max ? v : s.max;
            s.sum += v;
            s.count++;
        }
    }
    if (s.count == 0) {
        *out = (struct mg_stats){NAN, NAN, NAN, NAN, NAN, 0};
        return;
    }
    s.mean = s.sum / (double)s.count;
    for (size_t at = 0; at < pixels; at += MG_STRIP) {
        int n = pixels - at < MG_STRIP ? (int)(pixels - at) : MG_STRIP;
        mg_strip_load(r, band, at, n, true, &x);
        for (int i = 0; i < n; i++)
            if (!isnan(x.d[i]))
                squares += (x.d[i] - s.mean) * (x.d[i] - s.mean);
    }
    s.std = sqrt(squares / (double)s.count);
    *out = s;
}
