/* Approximating transform: positions of a whole block of pixels from a few exact ones. Single
 * thread. */
#ifndef MOONGATE_GEO_APPROX_TRANSFORM_H
#define MOONGATE_GEO_APPROX_TRANSFORM_H

#include "moongate/err.h"

#include <stdbool.h>

/* Transforms n points (column, row) in place to source positions; a point that fails becomes NaN.
 */
typedef void mg_exact_f(void *context, double *x, double *y, int n);

enum { MG_CELL_SIDE = 256 };

/* The exact positions of a cell's corners, of the middles of its sides and of its middle, row by
 * row. */
struct mg_root {
    double x[9], y[9];
};
/* (column, row) is the cell's upper left corner. */
void mg_approx_root(mg_exact_f *exact, void *context, double column, double row,
                    struct mg_root *out);
/* Whether all of the cell lies far from `reach`, a rectangle of source positions: x0 y0 x1 y1. */
bool mg_approx_is_far(const struct mg_root *root, const double reach[4]);

/* A rectangle of the block, in whole pixels, in which positions are bilinear between the corners.
 * It may begin and end outside of the block. */
struct mg_patch {
    int x0, y0, x1, y1;
    bool dropped;
    double x[4], y[4]; /* at (x0,y0) (x1,y0) (x0,y1) (x1,y1); NaN: nothing there */
};
struct mg_patches {
    struct mg_patch *at;
    size_t n, cap;
    double xmin, ymin, xmax, ymax; /* of the positions within the block; xmin > xmax: none */
};
void mg_approx_init(struct mg_patches *patches);

/* What is asked of one cell. */
struct mg_approx {
    mg_exact_f *exact;
    void *context;
    const struct mg_root *root;
    double column, row; /* of the cell's corner */
    int x, y;           /* the same in pixels of the block */
    int w, h;           /* the block: what of the cell is outside is left out */
    double tolerance;
    const double *reach; /* patches that lie far from it are not refined */
};
/* Adds the patches of one cell, divided until the bilinear position is within `tolerance` of the
 * exact one. They do not depend on the block. */
MG_MUST_CHECK enum mg_err mg_approx_add(const struct mg_approx *cell, struct mg_patches *patches,
                                        struct mg_errmsg *err);
/* Once, after the last cell. */
void mg_approx_sort(struct mg_patches *patches);
void mg_approx_fini(struct mg_patches *patches);

/* Which positions of a pixel, and in what they are expressed. */
struct mg_place {
    bool corners;              /* upper left corners; else middles */
    double scale_x, scale_y;   /* positions are multiplied, then */
    double origin_x, origin_y; /* this whole number is taken off */
    int bits;                  /* positions are rounded to 2^-bits, before */
};
/* Columns first .. end - 1. */
struct mg_run {
    int first, end;
};
/* Leaves out the patches that lie wholly outside of a rectangle of source positions. */
void mg_approx_drop(struct mg_patches *patches, double xmin, double ymin, double xmax, double ymax);
/* Positions of one row of a block, w of each, in the columns that it returns; where nothing is, also
 * beyond them, they are NaN. A position depends on its cell and on scale and bits alone: in another
 * block, with another origin, it differs by the origin and by nothing else. Cost: the patches above
 * it. */
struct mg_run mg_approx_row(const struct mg_patches *patches, int w, int row,
                            const struct mg_place *place, float *xs, float *ys);

#endif
