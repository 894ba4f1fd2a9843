/* Contour lines: GDAL's marching squares over our rows.
 *
 * A line passes through the middles of pixels, linear between them, and ends where data ends. GDAL
 * gives levels at an interval; single levels are asked one after the other, each as the only
 * multiple of an interval wider than the band's range. Cost: one pass a level. */
#include "geo/raster_strip.h"
#include "moongate/gdal.h"
#include "moongate/raster_analysis.h"

#include <gdal_alg.h>
#include <math.h>
#include <stdlib.h>

struct writer {
    const struct mg_raster *raster;
    double level;
    mg_contour_f *line;
    void *context;
    enum mg_err code;
    double *xy;
    size_t cap;
};

static CPLErr write_line(double level, int n, double *x, double *y, void *context)
{
    struct writer *w = context;
    const double *gt = w->raster->geotransform;
    (void)level;
    if (n < 2)
        return CE_None;
    if ((size_t)n > w->cap) {
        double *xy = realloc(w->xy, 2 * (size_t)n * sizeof *xy);
        if (!xy) {
            w->code = MG_E_NOMEM;
            return CE_Failure;
        }
        w->xy = xy;
        w->cap = (size_t)n;
    }
    for (int i = 0; i < n; i++) {
        w->xy[2 * i] = gt[0] + x[i] * gt[1] + y[i] * gt[2];
        w->xy[2 * i + 1] = gt[3] + x[i] * gt[4] + y[i] * gt[5];
    }
    w->code = w->line(w->context, w->level, w->xy, (size_t)n);
    return w->code == MG_OK ? CE_None : CE_Failure;
}

static enum mg_err one_level(struct writer *w, double range, double *row, struct mg_errmsg *err)
{
    const struct mg_raster *r = w->raster;
    GDALContourGeneratorH generator =
        GDAL_CG_Create(r->width, r->height, TRUE, NAN, 4 * range + 1, w->level, write_line, w);
    if (!generator)
        return mg_err_set(err, MG_E_NOMEM, "no memory for contour lines");
    for (int y = 0; y < r->height && w->code == MG_OK; y++) {
        size_t at = (size_t)y * (size_t)r->width;
        for (int x = 0; x < r->width; x += MG_STRIP) {
            union mg_strip strip;
            int n = r->width - x < MG_STRIP ? r->width - x : MG_STRIP;
            mg_strip_load(r, 0, at + (size_t)x, n, true, &strip);
            memcpy(row + x, strip.d, (size_t)n * sizeof *row);
        }
        if (GDAL_CG_FeedLine(generator, row) != CE_None && w->code == MG_OK)
            w->code = MG_E_NOMEM;
    }
    GDAL_CG_Destroy(generator);
    return w->code == MG_OK ? MG_OK : mg_err_set(err, w->code, "contour lines could not be kept");
}

enum mg_err mg_raster_contours(const struct mg_raster *r, const double *levels, size_t n_levels,
                               mg_contour_f *line, void *context, struct mg_errmsg *err)
{
    double low = INFINITY, high = -INFINITY;
    struct writer w = {.raster = r, .line = line, .context = context};
    if (r->bands != 1 || r->width < 2 || r->height < 2)
        return mg_err_set(err, MG_E_ARGUMENT,
                          "contour lines need one band of at least 2 x 2 pixels, not %d of %d x %d",
                          r->bands, r->width, r->height);
    for (size_t at = 0, pixels = (size_t)r->width * (size_t)r->height; at < pixels;
         at += MG_STRIP) {
        union mg_strip strip;
        int n = pixels - at < MG_STRIP ? (int)(pixels - at) : MG_STRIP;
        mg_strip_load(r, 0, at, n, true, &strip);
        for (int i = 0; i < n; i++) {
            low = strip.d[i] < low ? strip.d[i] : low;
            high = strip.d[i] > high ? strip.d[i] : high;
        }
    }
    double *row = malloc((size_t)r->width * sizeof *row);
    enum mg_err code = row ? MG_OK : mg_err_set(err, MG_E_NOMEM, "no memory for contour lines");
    struct mg_gdal_errors errors;
    mg_gdal_errors_begin(&errors);
    for (size_t i = 0; i < n_levels && code == MG_OK; i++) {
        w.level = levels[i];
        if (levels[i] >= low && levels[i] <= high)
            code = one_level(&w, high - low, row, err);
    }
    mg_gdal_errors_end();
    free(row);
    free(w.xy);
    return code;
}
