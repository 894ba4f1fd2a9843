/* Resampling.
 *
 * The fast loops assume that every tap has data; NaN passes through the sums, and only the results
 * that came out NaN are done again over the taps that have data (`mend`). A result has data where
 * the nearest sample has. Kernels widen with the ratio when the source is finer than the result, as
 * gdalwarp's do; average and mode take the source area of each pixel, its border samples by their
 * share.
 *
 * Source of the cubic: R. G. Keys, "Cubic convolution interpolation", IEEE Trans. ASSP 29 (1981), a
 * = -1/2. */
#include "geo/resample.h"
#include "geo/simd.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <strings.h>

int mg_resampling_find(struct mg_span name)
{
    static const struct {
        const char *name;
        enum mg_resampling how;
    } rows[] = {
        {"near", MG_NEAREST}, {"nearest", MG_NEAREST}, {"bilinear", MG_BILINEAR},
        {"cubic", MG_CUBIC},  {"average", MG_AVERAGE}, {"mode", MG_MODE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (mg_span_is(name, rows[i].name))
            return (int)rows[i].how;
    return -1;
}

static double weight_of(enum mg_resampling how, double distance)
{
    double d = fabs(distance);
    if (how == MG_BILINEAR)
        return d < 1 ? 1 - d : 0;
    if (d < 1)
        return (1.5 * d - 2.5) * d * d + 1;
    return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

enum mg_err mg_kernel_init(struct mg_kernel *kernel, enum mg_resampling how, double ratio,
                           struct mg_errmsg *err)
{
    double scale = ratio > 1 ? ratio : 1;
    int half = (int)ceil((how == MG_CUBIC ? 2 : 1) * scale - 1e-9);
    if (half > MG_KERNEL_MAX_TAPS / 2)
        half = MG_KERNEL_MAX_TAPS / 2;
    kernel->taps = (2 * half + 3) & ~3;
    kernel->first = 1 - half;
    size_t n = (size_t)(MG_KERNEL_PHASES + 1) * (size_t)kernel->taps;
    kernel->weights = calloc(n, sizeof *kernel->weights);
    if (!kernel->weights)
        return mg_err_set(err, MG_E_NOMEM, "no memory for a resampling kernel");
    for (int phase = 0; phase <= MG_KERNEL_PHASES; phase++) {
        float *w = kernel->weights + (size_t)phase * (size_t)kernel->taps;
        double sum = 0, at = (double)phase / MG_KERNEL_PHASES;
        for (int i = 0; i < 2 * half; i++)
            sum += weight_of(how, (kernel->first + i - at) / scale);
        for (int i = 0; i < 2 * half; i++)
            w[i] = (float)(weight_of(how, (kernel->first + i - at) / scale) / sum);
    }
    return MG_OK;
}

void mg_kernel_fini(struct mg_kernel *kernel)
{
    free(kernel->weights);
    kernel->weights = NULL;
}

/* The source area of one result pixel, and the samples that it touches. */
struct box {
    double x0, y0, x1, y1;
    int ix0, iy0, ix1, iy1;
};

static inline double least(double a, double b)
{
    return a < b ? a : b;
}
static inline double most(double a, double b)
{
    return a > b ? a : b;
}

static bool box_of(const struct mg_resampler *r, const float xs[2], const float ys[2],
                   const float next_xs[2], const float next_ys[2], struct box *box)
{
    double x0 = least(least(xs[0], xs[1]), least(next_xs[0], next_xs[1]));
    double x1 = most(most(xs[0], xs[1]), most(next_xs[0], next_xs[1]));
    double y0 = least(least(ys[0], ys[1]), least(next_ys[0], next_ys[1]));
    double y1 = most(most(ys[0], ys[1]), most(next_ys[0], next_ys[1]));
    /* Also false for NaN, which compares with nothing. */
    if (!(x0 < r->x1 && x1 > r->x0 && y0 < r->y1 && y1 > r->y0))
        return false;
    /* Corners on both sides of a jump (the antimeridian) span the file: take the usual area at the
     * first. */
    if (!(x1 - x0 <= 4 * r->ratio_x + 4))
        x0 = xs[0], x1 = xs[0] + r->ratio_x;
    if (!(y1 - y0 <= 4 * r->ratio_y + 4))
        y0 = ys[0], y1 = ys[0] + r->ratio_y;
    if (!isfinite(x0 + x1 + y0 + y1))
        return false;
    box->x0 = most(x0, r->x0);
    box->x1 = least(x1, r->x1);
    box->y0 = most(y0, r->y0);
    box->y1 = least(y1, r->y1);
    /* A position is off by rounding; a sample that is touched by no more is not in the area.
     * Positions in the window are positive: a cast is a floor. */
    box->ix0 = (int)(box->x0 + 1e-4);
    box->iy0 = (int)(box->y0 + 1e-4);
    box->ix1 = (int)(box->x1 + (1 - 1e-4));
    box->iy1 = (int)(box->y1 + (1 - 1e-4));
    box->x0 = most(box->x0, box->ix0);
    box->y0 = most(box->y0, box->iy0);
    box->x1 = least(box->x1, box->ix1);
    box->y1 = least(box->y1, box->iy1);
    return box->ix0 < box->ix1 && box->iy0 < box->iy1;
}

/* Where a short run of positions falls in the window; `nothing` is NaN for those outside, which are
 * given a place that exists. */
enum { PLACES = 128 };
struct places {
    int at[PLACES];
    float fx[PLACES], fy[PLACES], nothing[PLACES];
};

MG_SIMD static void find_places_in(const float *restrict xs, const float *restrict ys, float x0,
                                   float y0, float x1, float y1, float shift, int w,
                                   int *restrict at, float *restrict fx, float *restrict fy,
                                   float *restrict nothing, int n)
{
    /* Clamps and one select: anything more like a branch keeps gcc from vectorising. NaN clamps to
     * x0, y0. */
    float right = nextafterf(x1, x0), bottom = nextafterf(y1, y0);
    for (int i = 0; i < n; i++) {
        float px = xs[i] > x0 ? xs[i] : x0, py = ys[i] > y0 ? ys[i] : y0;
        px = px < right ? px : right;
        py = py < bottom ? py : bottom;
        float moved = fabsf(px - xs[i]) + fabsf(py - ys[i]);
        nothing[i] = moved == 0 ? 0.0f : NAN;
        px += shift;
        py += shift;
        int ix = (int)px, iy = (int)py;
        at[i] = iy * w + ix;
        fx[i] = px - (float)ix;
        fy[i] = py - (float)iy;
    }
}

static void find_places(const struct mg_resampler *r, const float *xs, const float *ys, float shift,
                        struct places *p, int n)
{
    find_places_in(xs, ys, r->x0, r->y0, r->x1, r->y1, shift, r->w, p->at, p->fx, p->fy, p->nothing,
                   n);
}

typedef float float4 __attribute__((vector_size(16)));
typedef double double4 __attribute__((vector_size(32)));

#define WORK float
#define VEC4 float4
#define NAME(x) x##_f
#include "geo/resample_kernels.h"
#undef WORK
#undef VEC4
#undef NAME
#define WORK double
#define VEC4 double4
#define NAME(x) x##_d
#include "geo/resample_kernels.h"

/* The run of positions that holds all those inside; a row bends little, so what is between is
 * mostly inside too. */
static void inside_run(const struct mg_resampler *r, const float *xs, const float *ys, int *first,
                       int *end)
{
    int a = *first, b = *end;
    while (a < b && !(xs[a] >= r->x0 && xs[a] < r->x1 && ys[a] >= r->y0 && ys[a] < r->y1))
        a++;
    while (b > a &&
           !(xs[b - 1] >= r->x0 && xs[b - 1] < r->x1 && ys[b - 1] >= r->y0 && ys[b - 1] < r->y1))
        b--;
    *first = a;
    *end = b;
}

void mg_resample_row(const struct mg_resampler *r, const float *xs, const float *ys,
                     const float *next_xs, const float *next_ys, void *out, int n, int first,
                     int end)
{
    int a = first, b = end > first ? end : first;
    if (r->how != MG_AVERAGE && r->how != MG_MODE)
        inside_run(r, xs, ys, &a, &b);
    if (r->wide) {
        double *to = out;
        for (int i = 0; i < a; i++)
            to[i] = NAN;
        row_d(r, xs + a, ys + a, next_xs + a, next_ys + a, to + a, b - a);
        for (int i = b; i < n; i++)
            to[i] = NAN;
    } else {
        float *to = out;
        for (int i = 0; i < a; i++)
            to[i] = NAN;
        row_f(r, xs + a, ys + a, next_xs + a, next_ys + a, to + a, b - a);
        for (int i = b; i < n; i++)
            to[i] = NAN;
    }
}
