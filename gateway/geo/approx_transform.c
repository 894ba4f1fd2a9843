/* Approximating transform.
 *
 * The block is divided like a quadtree. A rectangle is good when the exact positions of its middle
 * and of the middles of its sides are within the tolerance of what its corners give; its four
 * quarters, whose corners are then exact, are kept, so that the error left is about a quarter of
 * the tolerance. A jump (the antimeridian, a pole, the end of a projection's domain) is followed
 * down to single pixels, each of which is exact at its middle. A usual tile takes 9 to 50 exact
 * points instead of 65,536. */
#include "geo/approx_transform.h"

#include "geo/simd.h"

#include <math.h>
#include <stdlib.h>

struct build {
    mg_exact_f *exact;
    void *context;
    int x0, y0; /* of the block in the grid */
    double tolerance;
    const double *reach;
    struct mg_patches *out;
    bool failed;
};

static void grow(double *low, double *high, double v)
{
    *low = v < *low ? v : *low;
    *high = v > *high ? v : *high;
}

static void emit(struct build *b, int x0, int y0, int x1, int y1, const double x[4],
                 const double y[4])
{
    struct mg_patches *p = b->out;
    if (x0 >= x1 || y0 >= y1)
        return;
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 64;
        struct mg_patch *at = realloc(p->at, cap * sizeof *at);
        if (!at) {
            b->failed = true;
            return;
        }
        p->at = at;
        p->cap = cap;
    }
    struct mg_patch *patch = &p->at[p->n++];
    *patch = (struct mg_patch){.x0 = x0, .y0 = y0, .x1 = x1, .y1 = y1};
    for (int i = 0; i < 4; i++) {
        patch->x[i] = x[i];
        patch->y[i] = y[i];
        if (isfinite(x[i]) && isfinite(y[i])) {
            grow(&p->xmin, &p->xmax, x[i]);
            grow(&p->ymin, &p->ymax, y[i]);
        } else {
            patch->x[0] = NAN;
        }
    }
}

static void transform(struct build *b, double *x, double *y, int n)
{
    for (int i = 0; i < n; i++) {
        x[i] += b->x0;
        y[i] += b->y0;
    }
    b->exact(b->context, x, y, n);
    b->out->exact += (size_t)n;
}

/* The nine points, row by row, all lie so far from the reach that what is between them does too. */
static bool is_far(const struct build *b, const double x[9], const double y[9])
{
    double xmin = HUGE_VAL, xmax = -HUGE_VAL, ymin = HUGE_VAL, ymax = -HUGE_VAL;
    for (int i = 0; i < 9; i++) {
        grow(&xmin, &xmax, x[i]);
        grow(&ymin, &ymax, y[i]);
    }
    double w = xmax - xmin, h = ymax - ymin;
    return xmin - w > b->reach[2] || xmax + w < b->reach[0] || ymin - h > b->reach[3] ||
           ymax + h < b->reach[1];
}

static void divide(struct build *b, int x0, int y0, int x1, int y1, const double cx[4],
                   const double cy[4])
{
    static const double nothing[4] = {NAN, NAN, NAN, NAN};
    int w = x1 - x0, h = y1 - y0;
    if (b->failed)
        return;
    if (w <= 1 && h <= 1) {
        double x = x0 + 0.5, y = y0 + 0.5;
        transform(b, &x, &y, 1);
        const double xs[4] = {x, x, x, x}, ys[4] = {y, y, y, y};
        emit(b, x0, y0, x1, y1, xs, ys);
        return;
    }
    int mx = w > 1 ? x0 + w / 2 : x0, my = h > 1 ? y0 + h / 2 : y0;
    double fx = (double)(mx - x0) / w, fy = (double)(my - y0) / h;
    /* top, left, middle, right, bottom */
    double x[5] = {mx, x0, mx, x1, mx}, y[5] = {y0, my, my, my, y1};
    transform(b, x, y, 5);
    const double px[9] = {cx[0], x[0], cx[1], x[1], x[2], x[3], cx[2], x[4], cx[3]};
    const double py[9] = {cy[0], y[0], cy[1], y[1], y[2], y[3], cy[2], y[4], cy[3]};
    int valid = 0;
    for (int i = 0; i < 9; i++)
        valid += isfinite(px[i]) && isfinite(py[i]);
    if (valid == 0 && w <= 64 && h <= 64) {
        emit(b, x0, y0, x1, y1, nothing, nothing);
        return;
    }
    bool good = valid == 9;
    if (good && w <= 128 && h <= 128 && is_far(b, px, py)) {
        emit(b, x0, y0, x1, y1, nothing, nothing);
        return;
    }
    for (int i = 0; good && i < 5; i++) {
        static const double at[5][2] = {{-1, 0}, {0, -1}, {-1, -1}, {1, -1}, {-1, 1}};
        double u = at[i][0] < 0 ? fx : at[i][0], v = at[i][1] < 0 ? fy : at[i][1];
        double gx = (1 - v) * ((1 - u) * cx[0] + u * cx[1]) + v * ((1 - u) * cx[2] + u * cx[3]);
        double gy = (1 - v) * ((1 - u) * cy[0] + u * cy[1]) + v * ((1 - u) * cy[2] + u * cy[3]);
        good = fabs(gx - x[i]) <= b->tolerance && fabs(gy - y[i]) <= b->tolerance;
    }
    for (int i = 0; i < 4; i++) {
        /* Corners of quarter i among the nine. */
        int a = (i >> 1) * 3 + (i & 1);
        const double qx[4] = {px[a], px[a + 1], px[a + 3], px[a + 4]};
        const double qy[4] = {py[a], py[a + 1], py[a + 3], py[a + 4]};
        int left = i & 1 ? mx : x0, right = i & 1 ? x1 : mx, top = i >> 1 ? my : y0,
            bottom = i >> 1 ? y1 : my;
        if (left >= right || top >= bottom)
            continue;
        if (good)
            emit(b, left, top, right, bottom, qx, qy);
        else
            divide(b, left, top, right, bottom, qx, qy);
    }
}

static int by_first_row(const void *a, const void *b)
{
    const struct mg_patch *p = a, *q = b;
    return (p->y0 > q->y0) - (p->y0 < q->y0);
}

enum mg_err mg_approx_build(mg_exact_f *exact, void *context, int x0, int y0, int w, int h,
                            double tolerance, const double reach[4], struct mg_patches *out,
                            struct mg_errmsg *err)
{
    struct mg_patches patches = {
        .xmin = HUGE_VAL, .ymin = HUGE_VAL, .xmax = -HUGE_VAL, .ymax = -HUGE_VAL};
    struct build b = {exact, context, x0, y0, tolerance, reach, &patches, false};
    double x[4] = {0, w, 0, w}, y[4] = {0, 0, h, h};
    transform(&b, x, y, 4);
    divide(&b, 0, 0, w, h, x, y);
    if (b.failed) {
        free(patches.at);
        return mg_err_set(err, MG_E_NOMEM, "no memory for a transform");
    }
    qsort(patches.at, patches.n, sizeof *patches.at, by_first_row);
    *out = patches;
    return MG_OK;
}

void mg_approx_fini(struct mg_patches *patches)
{
    free(patches->at);
    patches->at = NULL;
    patches->n = patches->cap = 0;
}

MG_SIMD static void ramp(float *restrict to, int n, float start, float step)
{
    for (int i = 0; i < n; i++)
        to[i] = start + (float)i * step;
}

void mg_approx_drop(struct mg_patches *patches, double xmin, double ymin, double xmax, double ymax)
{
    for (size_t i = 0; i < patches->n; i++) {
        struct mg_patch *p = &patches->at[i];
        double left = HUGE_VAL, right = -HUGE_VAL, top = HUGE_VAL, bottom = -HUGE_VAL;
        for (int k = 0; k < 4; k++) {
            grow(&left, &right, p->x[k]);
            grow(&top, &bottom, p->y[k]);
        }
        p->dropped = isnan(p->x[0]) || right < xmin || left > xmax || bottom < ymin || top > ymax;
    }
}

struct mg_run mg_approx_row(const struct mg_patches *patches, int w, int h, int row,
                            const struct mg_place *place, float *xs, float *ys)
{
    int extra = place->corners ? 1 : 0;
    double offset = place->corners ? 0 : 0.5;
    struct mg_run run = {w, 0};
    for (size_t i = 0; i < patches->n && patches->at[i].y0 <= row; i++) {
        const struct mg_patch *p = &patches->at[i];
        int x1 = p->x1 == w ? p->x1 + extra : p->x1, y1 = p->y1 == h ? p->y1 + extra : p->y1;
        if (row >= y1)
            continue;
        if (p->dropped) {
            for (int x = p->x0; x < x1; x++)
                xs[x] = NAN;
            continue;
        }
        run.first = p->x0 < run.first ? p->x0 : run.first;
        run.end = p->x1 > run.end ? p->x1 : run.end;
        double pw = p->x1 - p->x0, ph = p->y1 - p->y0;
        double v = (row - p->y0 + offset) / ph, u = offset / pw;
        double lx = (p->x[0] + v * (p->x[2] - p->x[0]) - place->origin_x) * place->scale_x;
        double rx = (p->x[1] + v * (p->x[3] - p->x[1]) - place->origin_x) * place->scale_x;
        double ly = (p->y[0] + v * (p->y[2] - p->y[0]) - place->origin_y) * place->scale_y;
        double ry = (p->y[1] + v * (p->y[3] - p->y[1]) - place->origin_y) * place->scale_y;
        ramp(xs + p->x0, x1 - p->x0, (float)(lx + u * (rx - lx)), (float)((rx - lx) / pw));
        ramp(ys + p->x0, x1 - p->x0, (float)(ly + u * (ry - ly)), (float)((ry - ly) / pw));
    }
    return run;
}
