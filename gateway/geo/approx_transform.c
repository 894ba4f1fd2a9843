/* Approximating transform.
 *
 * Pixels lie in cells of 256 x 256 of the grid, and each cell is divided like a quadtree. A
 * rectangle is good when the exact positions of its middle and of the middles of its sides are
 * within the tolerance of what its corners give; its four quarters, whose corners are then exact,
 * are kept, so that the error left is about a quarter of the tolerance. A jump (the antimeridian, a
 * pole, the end of a projection's domain) is followed down to single pixels, each of which is exact
 * at its middle. A usual cell takes 9 to 50 exact points instead of 65,536.
 *
 * Invariant: a position is a function of its cell, not of the block that asks for it, to the last
 * bit: all sums begin at the patch's own corner, and what is rounded is rounded before the block's
 * origin, a whole number, is taken off. So neighbouring tiles fit. */
#include "geo/approx_transform.h"

#include "geo/simd.h"

#include <math.h>
#include <stdlib.h>

struct build {
    const struct mg_approx *cell;
    struct mg_patches *out;
    bool failed;
};

static void grow(double *low, double *high, double v)
{
    *low = v < *low ? v : *low;
    *high = v > *high ? v : *high;
}

/* Positions at the corners of a patch's part between x0, y0 and x1, y1 (pixels of the block). */
static void grow_by_part(struct mg_patches *out, const struct mg_patch *p, int x0, int y0, int x1,
                         int y1)
{
    double w = p->x1 - p->x0, h = p->y1 - p->y0;
    for (int i = 0; i < 4; i++) {
        double u = ((i & 1 ? x1 : x0) - p->x0) / w, v = ((i >> 1 ? y1 : y0) - p->y0) / h;
        grow(&out->xmin, &out->xmax,
             (1 - v) * ((1 - u) * p->x[0] + u * p->x[1]) + v * ((1 - u) * p->x[2] + u * p->x[3]));
        grow(&out->ymin, &out->ymax,
             (1 - v) * ((1 - u) * p->y[0] + u * p->y[1]) + v * ((1 - u) * p->y[2] + u * p->y[3]));
    }
}

/* Whether a rectangle of the cell has a part in the block. */
static bool is_needed(const struct build *b, int x0, int y0, int x1, int y1)
{
    const struct mg_approx *c = b->cell;
    return x0 < x1 && y0 < y1 && c->x + x0 < c->w && c->x + x1 > 0 && c->y + y0 < c->h &&
           c->y + y1 > 0;
}

static void emit(struct build *b, int x0, int y0, int x1, int y1, const double x[4],
                 const double y[4])
{
    struct mg_patches *p = b->out;
    const struct mg_approx *c = b->cell;
    if (!is_needed(b, x0, y0, x1, y1))
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
    *patch = (struct mg_patch){
        .x0 = c->x + x0, .y0 = c->y + y0, .x1 = c->x + x1, .y1 = c->y + y1};
    bool whole = true;
    for (int i = 0; i < 4; i++) {
        patch->x[i] = x[i];
        patch->y[i] = y[i];
        whole = whole && isfinite(x[i]) && isfinite(y[i]);
    }
    if (whole)
        grow_by_part(p, patch, patch->x0 > 0 ? patch->x0 : 0, patch->y0 > 0 ? patch->y0 : 0,
                     patch->x1 < c->w ? patch->x1 : c->w, patch->y1 < c->h ? patch->y1 : c->h);
    else
        patch->x[0] = NAN;
}

static void transform(struct build *b, double *x, double *y, int n)
{
    for (int i = 0; i < n; i++) {
        x[i] += b->cell->column;
        y[i] += b->cell->row;
    }
    b->cell->exact(b->cell->context, x, y, n);
}

/* The nine points, row by row, all lie so far from the reach that what is between them does too. */
static bool is_far(const double reach[4], const double x[9], const double y[9])
{
    double xmin = HUGE_VAL, xmax = -HUGE_VAL, ymin = HUGE_VAL, ymax = -HUGE_VAL;
    for (int i = 0; i < 9; i++) {
        grow(&xmin, &xmax, x[i]);
        grow(&ymin, &ymax, y[i]);
    }
    double w = xmax - xmin, h = ymax - ymin;
    return xmin - w > reach[2] || xmax + w < reach[0] || ymin - h > reach[3] || ymax + h < reach[1];
}

static void divide(struct build *b, int x0, int y0, int x1, int y1, const double cx[4],
                   const double cy[4]);

/* A rectangle whose nine points are known. */
static void settle(struct build *b, int x0, int y0, int x1, int y1, const double px[9],
                   const double py[9])
{
    static const double nothing[4] = {NAN, NAN, NAN, NAN};
    static const int corner[4] = {0, 2, 6, 8}, middle[5] = {1, 3, 4, 5, 7};
    int w = x1 - x0, h = y1 - y0, mx = w > 1 ? x0 + w / 2 : x0, my = h > 1 ? y0 + h / 2 : y0;
    double fx = (double)(mx - x0) / w, fy = (double)(my - y0) / h, cx[4], cy[4];
    int valid = 0;
    for (int i = 0; i < 9; i++)
        valid += isfinite(px[i]) && isfinite(py[i]);
    if (valid == 0 && w <= 64 && h <= 64) {
        emit(b, x0, y0, x1, y1, nothing, nothing);
        return;
    }
    bool good = valid == 9;
    if (good && w <= 128 && h <= 128 && is_far(b->cell->reach, px, py)) {
        emit(b, x0, y0, x1, y1, nothing, nothing);
        return;
    }
    for (int i = 0; i < 4; i++) {
        cx[i] = px[corner[i]];
        cy[i] = py[corner[i]];
    }
    for (int i = 0; good && i < 5; i++) {
        static const double at[5][2] = {{-1, 0}, {0, -1}, {-1, -1}, {1, -1}, {-1, 1}};
        double u = at[i][0] < 0 ? fx : at[i][0], v = at[i][1] < 0 ? fy : at[i][1];
        double gx = (1 - v) * ((1 - u) * cx[0] + u * cx[1]) + v * ((1 - u) * cx[2] + u * cx[3]);
        double gy = (1 - v) * ((1 - u) * cy[0] + u * cy[1]) + v * ((1 - u) * cy[2] + u * cy[3]);
        good = fabs(gx - px[middle[i]]) <= b->cell->tolerance &&
               fabs(gy - py[middle[i]]) <= b->cell->tolerance;
    }
    for (int i = 0; i < 4; i++) {
        /* Corners of quarter i among the nine. */
        int a = (i >> 1) * 3 + (i & 1);
        const double qx[4] = {px[a], px[a + 1], px[a + 3], px[a + 4]};
        const double qy[4] = {py[a], py[a + 1], py[a + 3], py[a + 4]};
        int left = i & 1 ? mx : x0, right = i & 1 ? x1 : mx, top = i >> 1 ? my : y0,
            bottom = i >> 1 ? y1 : my;
        if (!is_needed(b, left, top, right, bottom))
            continue;
        if (good)
            emit(b, left, top, right, bottom, qx, qy);
        else
            divide(b, left, top, right, bottom, qx, qy);
    }
}

static void divide(struct build *b, int x0, int y0, int x1, int y1, const double cx[4],
                   const double cy[4])
{
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
    /* top, left, middle, right, bottom */
    double x[5] = {mx, x0, mx, x1, mx}, y[5] = {y0, my, my, my, y1};
    transform(b, x, y, 5);
    const double px[9] = {cx[0], x[0], cx[1], x[1], x[2], x[3], cx[2], x[4], cx[3]};
    const double py[9] = {cy[0], y[0], cy[1], y[1], y[2], y[3], cy[2], y[4], cy[3]};
    settle(b, x0, y0, x1, y1, px, py);
}

void mg_approx_root(mg_exact_f *exact, void *context, double column, double row,
                    struct mg_root *out)
{
    for (int i = 0; i < 9; i++) {
        out->x[i] = column + i % 3 * (MG_CELL_SIDE / 2);
        out->y[i] = row + i / 3 * (MG_CELL_SIDE / 2);
    }
    exact(context, out->x, out->y, 9);
}

bool mg_approx_is_far(const struct mg_root *root, const double reach[4])
{
    for (int i = 0; i < 9; i++)
        if (!isfinite(root->x[i]) || !isfinite(root->y[i]))
            return false;
    return is_far(reach, root->x, root->y);
}

static int by_first_row(const void *a, const void *b)
{
    const struct mg_patch *p = a, *q = b;
    return (p->y0 > q->y0) - (p->y0 < q->y0);
}

void mg_approx_init(struct mg_patches *patches)
{
    *patches = (struct mg_patches){
        .xmin = HUGE_VAL, .ymin = HUGE_VAL, .xmax = -HUGE_VAL, .ymax = -HUGE_VAL};
}

enum mg_err mg_approx_add(const struct mg_approx *cell, struct mg_patches *patches,
                          struct mg_errmsg *err)
{
    struct build b = {cell, patches, false};
    settle(&b, 0, 0, MG_CELL_SIDE, MG_CELL_SIDE, cell->root->x, cell->root->y);
    return b.failed ? mg_err_set(err, MG_E_NOMEM, "no memory for a transform") : MG_OK;
}

void mg_approx_sort(struct mg_patches *patches)
{
    if (patches->n > 1)
        qsort(patches->at, patches->n, sizeof *patches->at, by_first_row);
}

void mg_approx_fini(struct mg_patches *patches)
{
    free(patches->at);
    patches->at = NULL;
    patches->n = patches->cap = 0;
}

/* Adding and taking off `round` leaves a multiple of the wished power of two. */
MG_SIMD static void ramp(float *restrict to, int n, int i0, float start, float step, float round,
                         float shift)
{
    for (int i = 0; i < n; i++) {
        float at = start + (float)(i + i0) * step;
        to[i] = ((at + round) - round) + shift;
    }
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

/* A ramp whose first position, of the patch's first column, is in samples of the whole level. */
static void ramp_from(float *to, int n, int i0, double start, double step, double origin, int bits)
{
    double whole = floor(start);
    ramp(to, n, i0, (float)(start - whole), (float)step, ldexpf(1.5f, 23 - bits),
         (float)(whole - origin));
}

struct mg_run mg_approx_row(const struct mg_patches *patches, int w, int row,
                            const struct mg_place *place, float *xs, float *ys)
{
    double offset = place->corners ? 0 : 0.5;
    struct mg_run run = {w, 0};
    /* A cell from which the file is far has no patches. */
    for (int x = 0; x < w; x++)
        xs[x] = ys[x] = NAN;
    for (size_t i = 0; i < patches->n && patches->at[i].y0 <= row; i++) {
        const struct mg_patch *p = &patches->at[i];
        if (row >= p->y1)
            continue;
        int x0 = p->x0 > 0 ? p->x0 : 0, x1 = p->x1 < w ? p->x1 : w;
        if (x0 >= x1)
            continue;
        if (p->dropped)
            continue;
        run.first = x0 < run.first ? x0 : run.first;
        run.end = x1 > run.end ? x1 : run.end;
        double pw = p->x1 - p->x0, ph = p->y1 - p->y0;
        double v = (row - p->y0 + offset) / ph, u = offset / pw;
        double lx = (p->x[0] + v * (p->x[2] - p->x[0])) * place->scale_x;
        double rx = (p->x[1] + v * (p->x[3] - p->x[1])) * place->scale_x;
        double ly = (p->y[0] + v * (p->y[2] - p->y[0])) * place->scale_y;
        double ry = (p->y[1] + v * (p->y[3] - p->y[1])) * place->scale_y;
        ramp_from(xs + x0, x1 - x0, x0 - p->x0, lx + u * (rx - lx), (rx - lx) / pw,
                  place->origin_x, place->bits);
        ramp_from(ys + x0, x1 - x0, x0 - p->x0, ly + u * (ry - ly), (ry - ly) / pw,
                  place->origin_y, place->bits);
    }
    return run;
}
