/* Resampling: values at positions of a window of samples (no data is NaN). Pure; any thread. */
#ifndef MOONGATE_GEO_RESAMPLE_H
#define MOONGATE_GEO_RESAMPLE_H

#include "moongate/raster_read.h"

enum { MG_KERNEL_PHASES = 128, MG_KERNEL_MAX_TAPS = 256 };

/* Weights of one axis for each of 129 fractions: taps first .. first + taps - 1 from the sample at
 * or before the position; taps is a multiple of 4 (the last may weigh 0). */
struct mg_kernel {
    int taps, first;
    float *weights; /* [MG_KERNEL_PHASES + 1][taps] */
};
/* `ratio`: source pixels to one result pixel; kernels widen above 1. Bilinear or cubic. */
MG_MUST_CHECK enum mg_err mg_kernel_init(struct mg_kernel *kernel, enum mg_resampling how,
                                         double ratio, struct mg_errmsg *err);
void mg_kernel_fini(struct mg_kernel *kernel);

struct mg_resampler {
    enum mg_resampling how;
    bool unscaled;         /* both ratios are 1: the kernels are not widened */
    struct mg_kernel x, y; /* bilinear, cubic */
    double ratio_x, ratio_y;
    const void *plane; /* float, or double when `wide` */
    bool wide;
    int w, h;
    float x0, y0, x1, y1; /* part of the window that the file covers */
};
/* One row of n results: xs, ys are positions in the window, pixel (0,0) spans 0..1. Average and
 * mode take the corners of each pixel instead: n + 1 positions, and those of the next row.
 * Positions in x0..x1, y0..y1 need the kernel's taps within the window; all others are no data. */
void mg_resample_row(const struct mg_resampler *r, const float *xs, const float *ys,
                     const float *next_xs, const float *next_ys, void *out, int n, int first,
                     int end);

#endif
