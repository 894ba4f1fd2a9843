/* The kernels for one working type: included twice by resample.c, with WORK (float, double), VEC4 and NAME(x). */

/* Where the position has no data, for which the fast loops substitute a harmless one. */
#define INSIDE(r, x, y) ((x) >= (r)->x0 && (x) < (r)->x1 && (y) >= (r)->y0 && (y) < (r)->y1)

MG_SIMD static void NAME(nearest)(const struct mg_resampler *r, const float *restrict xs, const float *restrict ys,
                                  WORK *restrict out, int n)
{
    const WORK *restrict plane = r->plane;
    const float x0 = r->x0, x1 = r->x1, y0 = r->y0, y1 = r->y1;
    const int w = r->w;
    for (int i = 0; i < n; i++) {
        bool in = (xs[i] >= x0) & (xs[i] < x1) & (ys[i] >= y0) & (ys[i] < y1);
        int x = (int)(in ? xs[i] : x0), y = (int)(in ? ys[i] : y0);
        WORK v = plane[y * w + x];
        out[i] = in ? v : (WORK)NAN;
    }
}

/* Positions are shifted by one pixel before they are cut to whole numbers, because a cast rounds towards 0. */
MG_SIMD static void NAME(bilinear)(const struct mg_resampler *r, const float *restrict xs, const float *restrict ys,
                                   WORK *restrict out, int n)
{
    const WORK *restrict plane = r->plane;
    const float x0 = r->x0, x1 = r->x1, y0 = r->y0, y1 = r->y1;
    const int w = r->w;
    for (int i = 0; i < n; i++) {
        bool in = (xs[i] >= x0) & (xs[i] < x1) & (ys[i] >= y0) & (ys[i] < y1);
        float px = (in ? xs[i] : x0) + 0.5f, py = (in ? ys[i] : y0) + 0.5f;
        int ix = (int)px, iy = (int)py;
        WORK fx = (WORK)(px - (float)ix), fy = (WORK)(py - (float)iy);
        int at = (iy - 1) * w + ix - 1;
        WORK a = plane[at], b = plane[at + 1], c = plane[at + w], d = plane[at + w + 1];
        WORK top = a + (b - a) * fx, bottom = c + (d - c) * fx;
        WORK v = top + (bottom - top) * fy;
        out[i] = in ? v : (WORK)NAN;
    }
}

static void NAME(weighted)(const struct mg_resampler *r, const float *restrict xs, const float *restrict ys,
                           WORK *restrict out, int n)
{
    const WORK *plane = r->plane;
    const int nx = r->x.taps, ny = r->y.taps;
    for (int i = 0; i < n; i++) {
        if (!INSIDE(r, xs[i], ys[i])) {
            out[i] = (WORK)NAN;
            continue;
        }
        float px = xs[i] + 0.5f, py = ys[i] + 0.5f;
        int ix = (int)px, iy = (int)py;
        const float *wx = r->x.weights + (size_t)((px - (float)ix) * MG_KERNEL_PHASES + 0.5f) * (size_t)nx;
        const float *wy = r->y.weights + (size_t)((py - (float)iy) * MG_KERNEL_PHASES + 0.5f) * (size_t)ny;
        const WORK *row = plane + (ptrdiff_t)(iy - 1 + r->y.first) * r->w + (ix - 1 + r->x.first);
        VEC4 sum = {0, 0, 0, 0};
        for (int k = 0; k < nx; k += 4) {
            VEC4 column = {0, 0, 0, 0}, v;
            const WORK *p = row + k;
            for (int j = 0; j < ny; j++, p += r->w) {
                memcpy(&v, p, sizeof v);
                column += v * (WORK)wy[j];
            }
            VEC4 f = {wx[k], wx[k + 1], wx[k + 2], wx[k + 3]};
            sum += column * f;
        }
        out[i] = (sum[0] + sum[2]) + (sum[1] + sum[3]);
    }
}

/* Over the taps that have data; NaN when the nearest sample has none. */
static WORK NAME(mend)(const struct mg_resampler *r, float x, float y)
{
    const WORK *plane = r->plane;
    float px = x + 0.5f, py = y + 0.5f;
    int ix = (int)px, iy = (int)py, nx = r->x.taps, ny = r->y.taps;
    WORK nearest = plane[(int)y * r->w + (int)x];
    if (nearest != nearest)
        return nearest;
    const float *wx = r->x.weights + (size_t)((px - (float)ix) * MG_KERNEL_PHASES + 0.5f) * (size_t)nx;
    const float *wy = r->y.weights + (size_t)((py - (float)iy) * MG_KERNEL_PHASES + 0.5f) * (size_t)ny;
    const WORK *row = plane + (ptrdiff_t)(iy - 1 + r->y.first) * r->w + (ix - 1 + r->x.first);
    double sum = 0, weight = 0;
    if (r->how == MG_CUBIC && r->unscaled) {
        /* Missing taps would let the negative lobes overshoot: bilinear, as GDAL does. */
        double fx = (double)px - ix, fy = (double)py - iy;
        row = plane + (ptrdiff_t)(iy - 1) * r->w + ix - 1;
        for (int k = 0; k < 4; k++) {
            WORK v = row[(k >> 1) * r->w + (k & 1)];
            double f = (k & 1 ? fx : 1 - fx) * (k >> 1 ? fy : 1 - fy);
            sum += v == v ? f * (double)v : 0;
            weight += v == v ? f : 0;
        }
        return weight > 1e-6 ? (WORK)(sum / weight) : nearest;
    }
    for (int j = 0; j < ny; j++)
        for (int k = 0; k < nx; k++) {
            WORK v = row[(ptrdiff_t)j * r->w + k];
            double f = (double)wx[k] * (double)wy[j];
            sum += v == v ? f * (double)v : 0;
            weight += v == v ? f : 0;
        }
    return weight > 1e-6 ? (WORK)(sum / weight) : nearest;
}

static void NAME(mend_row)(const struct mg_resampler *r, const float *xs, const float *ys, WORK *out, int n)
{
    for (int i = 0; i < n; i++)
        if (out[i] != out[i] && INSIDE(r, xs[i], ys[i]))
            out[i] = NAME(mend)(r, xs[i], ys[i]);
}

static WORK NAME(mean)(const struct mg_resampler *r, const struct box *box)
{
    const WORK *plane = r->plane;
    double sum = 0, weight = 0;
    for (int y = box->iy0; y < box->iy1; y++) {
        double fy = fmin(y + 1, box->y1) - fmax(y, box->y0);
        double row_sum = 0, row_weight = 0;
        for (int x = box->ix0; x < box->ix1; x++) {
            double fx = fmin(x + 1, box->x1) - fmax(x, box->x0);
            WORK v = plane[(ptrdiff_t)y * r->w + x];
            row_sum += v == v ? fx * (double)v : 0;
            row_weight += v == v ? fx : 0;
        }
        sum += fy * row_sum;
        weight += fy * row_weight;
    }
    return weight > 0 ? (WORK)(sum / weight) : (WORK)NAN;
}

static WORK NAME(mode)(const struct mg_resampler *r, const struct box *box)
{
    /* Classes are few; beyond this many the rest are not counted. */
    enum { MAX_CLASSES = 256 };
    const WORK *plane = r->plane;
    WORK values[MAX_CLASSES], best = (WORK)NAN;
    double counts[MAX_CLASSES], most = 0;
    int classes = 0, last = 0;
    for (int y = box->iy0; y < box->iy1; y++) {
        double fy = fmin(y + 1, box->y1) - fmax(y, box->y0);
        for (int x = box->ix0; x < box->ix1; x++) {
            double f = fy * (fmin(x + 1, box->x1) - fmax(x, box->x0));
            WORK v = plane[(ptrdiff_t)y * r->w + x];
            if (v != v)
                continue;
            int k = classes && values[last] == v ? last : 0;
            while (k < classes && values[k] != v)
                k++;
            if (k == MAX_CLASSES)
                continue;
            if (k == classes) {
                values[k] = v;
                counts[classes++] = 0;
            }
            last = k;
            if ((counts[k] += f) > most) {
                most = counts[k];
                best = v;
            }
        }
    }
    return best;
}

static void NAME(areas)(const struct mg_resampler *r, const float *xs, const float *ys, const float *next_xs,
                        const float *next_ys, WORK *out, int n)
{
    for (int i = 0; i < n; i++) {
        struct box box;
        out[i] = (WORK)NAN;
        if (box_of(r, xs + i, ys + i, next_xs + i, next_ys + i, &box))
            out[i] = r->how == MG_AVERAGE ? NAME(mean)(r, &box) : NAME(mode)(r, &box);
    }
}

static void NAME(row)(const struct mg_resampler *r, const float *xs, const float *ys, const float *next_xs,
                      const float *next_ys, WORK *out, int n)
{
    switch (r->how) {
    case MG_NEAREST:
        NAME(nearest)(r, xs, ys, out, n);
        break;
    case MG_BILINEAR:
    case MG_CUBIC:
        if (r->how == MG_BILINEAR && r->unscaled)
            NAME(bilinear)(r, xs, ys, out, n);
        else
            NAME(weighted)(r, xs, ys, out, n);
        NAME(mend_row)(r, xs, ys, out, n);
        break;
    case MG_AVERAGE:
    case MG_MODE:
        NAME(areas)(r, xs, ys, next_xs, next_ys, out, n);
        break;
    case MG_RESAMPLING_COUNT:
        break;
    }
}

#undef INSIDE
