/* Approximating transform: positions of a whole block of pixels from a few exact ones. Single
 * thread. */
#ifndef MOONGATE_GEO_APPROX_TRANSFORM_H
#define MOONGATE_GEO_APPROX_TRANSFORM_H

#include "moongate/err.h"

#include <stdbool.h>

/* Transforms n points (column, row) in place to source positions; a point that fails becomes NaN.
 */
typedef void mg_exact_f(void *context, double *x, double *y, int n);

/* A rectangle of the block, in whole pixels, in which positions are bilinear between the corners.
 */
struct mg_patch {
    int x0, y0, x1, y1;
    bool dropped;
    double x[4], y[4]; /* at (x0,y0) (x1,y0) (x0,y1) (x1,y1); NaN: nothing there */
};
struct mg_patches {
    struct mg_patch *at;
    size_t n, cap;
    double xmin, ymin, xmax, ymax; /* of all positions; xmin > xmax: none */
    size_t exact;                  /* points that were transformed exactly */
};

/* Divides w x h pixels whose first is (x0, y0) of the grid until the bilinear position is within
 * `tolerance` of the exact one. Patches that lie far from `reach` (a rectangle of source positions:
 * x0 y0 x1 y1) are not refined. */
MG_MUST_CHECK enum mg_err mg_approx_build(mg_exact_f *exact, void *context, int x0, int y0, int w,
                                          int h, double tolerance, const double reach[4],
                                          struct mg_patches *out, struct mg_errmsg *err);
void mg_approx_fini(struct mg_patches *patches);
/* Which positions of a pixel, and in what they are expressed. */
struct mg_place {
    bool corners;              /* upper left corners, one more in each direction; else middles */
    double origin_x, origin_y; /* taken off, before */
    double scale_x, scale_y;   /* they are multiplied */
};
/* Columns first .. end - 1. */
struct mg_run {
    int first, end;
};
/* Leaves out the patches that lie wholly outside of a rectangle of source positions. */
void mg_approx_drop(struct mg_patches *patches, double xmin, double ymin, double xmax, double ymax);
/* Positions of one row of a block of w x h: w of each (w + 1 corners, and rows 0..h), in the
 * columns that it returns; beyond them nothing is left. Cost: the patches above it. */
struct mg_run mg_approx_row(const struct mg_patches *patches, int w, int h, int row,
                            const struct mg_place *place, float *xs, float *ys);

#endif
