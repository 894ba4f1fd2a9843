/* Analysis of rasters: many into one, distributions, terrain, contour lines, geometry burned in,
 * zones.
 *
 * No data never enters a figure. Geometry is WKB in the raster's own CRS. All rasters that are
 * returned are new. Single thread. */
#ifndef MOONGATE_RASTER_ANALYSIS_H
#define MOONGATE_RASTER_ANALYSIS_H

#include "moongate/raster.h"

enum mg_reduction {
    MG_RED_FIRST,
    MG_RED_LAST,
    MG_RED_MIN,
    MG_RED_MAX,
    MG_RED_SUM,
    MG_RED_MEAN,
    MG_RED_STD,
    MG_RED_MEDIAN,
    MG_RED_COUNT,
    MG_REDUCTIONS
};
/* "first", "last", "latest" (the same), "min" …; -1 when unknown. */
int mg_reduction_find(struct mg_span name);
/* Each pixel of each band over all parts (1 to 256, of one size and number of bands). first, last,
 * min, max keep the parts' type when it is one, and a palette that all have; count is int32; others float32 (float64 when a part
 * is float64, uint32 or int32). */
MG_MUST_CHECK enum mg_err mg_raster_combine(const struct mg_raster *const *parts, size_t n,
                                            enum mg_reduction how, struct mg_raster **out,
                                            struct mg_errmsg *err);

/* Percentiles (0 to 100) of a band, linear between the two nearest samples, as numpy's; NaN when
 * all is no data. */
MG_MUST_CHECK enum mg_err mg_raster_percentiles(const struct mg_raster *raster, int band,
                                                const double *percents, size_t n, double *out,
                                                struct mg_errmsg *err);
/* Samples in each of n equal parts of low..high (the last one holds high); those outside are not
 * counted. */
void mg_raster_histogram(const struct mg_raster *raster, int band, double low, double high,
                         size_t n, int64_t *counts);

/* Slope and aspect by Horn's method; `dem` has a margin of one pixel which the result loses.
 * float32: degrees of slope; degrees clockwise from north that the slope faces, no data where it is
 * flat. */
MG_MUST_CHECK enum mg_err mg_raster_slope(const struct mg_raster *dem, double z_factor,
                                          struct mg_raster **out, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_raster_aspect(const struct mg_raster *dem, struct mg_raster **out,
                                           struct mg_errmsg *err);

/* Contour lines of one band through the middles of its pixels: called with each line's points (x, y
 * by turns) in the raster's CRS. The callback's error ends it. */
typedef enum mg_err mg_contour_f(void *context, double level, const double *xy, size_t n);
MG_MUST_CHECK enum mg_err mg_raster_contours(const struct mg_raster *raster, const double *levels,
                                             size_t n_levels, mg_contour_f *line, void *context,
                                             struct mg_errmsg *err);

/* Pixels of a geometry. Polygons: those whose middle is inside (even-odd), with all_touched also
 * those that the boundary passes through; lines: those that they pass through; points: those that
 * hold them. */
struct mg_burn {
    int width, height;
    double inverse[6]; /* of the geotransform */
    bool all_touched;
};
/* MG_E_ARGUMENT: the raster has no georeference. */
MG_MUST_CHECK enum mg_err mg_burn_init(const struct mg_raster *like, bool all_touched,
                                       struct mg_burn *out, struct mg_errmsg *err);
/* Called with runs of pixels x0 .. x1-1 of a row; the same pixel may come more than once.
 * MG_E_ARGUMENT: broken WKB. */
typedef void mg_burn_f(void *context, int row, int x0, int x1);
MG_MUST_CHECK enum mg_err mg_burn_geometry(const struct mg_burn *burn, struct mg_span wkb,
                                           mg_burn_f *run, void *context, struct mg_errmsg *err);

#endif
