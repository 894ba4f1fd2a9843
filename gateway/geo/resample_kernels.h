/* The kernels for one working type: included twice by resample.c, with WORK (float, double), VEC4
 * and NAME(x). */

#define INSIDE(r, x, y) ((x) >= (r)->x0 && (x) < (r)->x1 && (y) >= (r)->y0 && (y) < (r)->y1)

/* Gathers are apart from the sums that find their places: in one loop gcc vectorises neither. */
MG_SIMD static void NAME(take)(const WORK *restrict plane, const int *restrict at,
                               const float *restrict nothing, WORK *restrict out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = plane[at[i]] + (WORK)nothing[i];
}

MG_SIMD static void NAME(blend)(const WORK *restrict plane, int w, const int *restrict at,
                                const float *restrict fx, const float *restrict fy,
                                const float *restrict nothing, WORK *restrict out, int n)
{
    for (int i = 0; i < n; i++) {
        WORK a = plane[at[i]], b = plane[at[i] + 1], c = plane[at[i] + w], d = plane[at[i] + w + 1];
        WORK top = a + (b - a) * (WORK)fx[i], bottom = c + (d - c) * (WORK)fx[i];
        out[i] = top + (bottom - top) * (WORK)fy[i] + (WORK)nothing[i];
    }
}

static void NAME(nearest)(const struct mg_resampler *r, const float *xs, const float *ys, WORK *out,
                          int n)
{
    struct places p;
    for (int i = 0; i < n; i += PLACES) {
        int k = n - i < PLACES ? n - i : PLACES;
        find_places(r, xs + i, ys + i, 0, &p, k);
        NAME(take)(r->plane, p.at, p.nothing, out + i, k);
    }
}

static void NAME(bilinear)(const struct mg_resampler *r, const float *xs, const float *ys,
                           WORK *out, int n)
{
    struct places p;
    for (int i = 0; i < n; i += PLACES) {
        int k = n - i < PLACES ? n - i : PLACES;
        find_places(r, xs + i, ys + i, 0.5f, &p, k);
        NAME(blend)
        ((const WORK *)r->plane - r->w - 1, r->w, p.at, p.fx, p.fy, p.nothing, out + i, k);
    }
}

static void NAME(weighted)(const struct mg_resampler *r, const float *restrict xs,
                           const float *restrict ys, WORK *restrict out, int n)
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
        const float *wx =
            r->x.weights + (size_t)((px - (float)ix) * MG_KERNEL_PHASES + 0.5f) * (size_t)nx;
        const float *wy =
            r->y.weights + (size_t)((py - (float)iy) * MG_KERNEL_PHASES + 0.5f) * (size_t)ny;
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
    const float *wx =
        r->x.weights + (size_t)((px - (float)ix) * MG_KERNEL_PHASES + 0.5f) * (size_t)nx;
    const float *wy =
        r->y.weights + (size_t)((py - (float)iy) * MG_KERNEL_PHASES + 0.5f) * (size_t)ny;
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

static void NAME(mend_row)(const struct mg_resampler *r, const float *xs, const float *ys,
                           WORK *out, int n)
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
        double fy = least(y + 1, box->y1) - most(y, box->y0);
        double row_sum = 0, row_weight = 0;
        for (int x = box->ix0; x < box->ix1; x++) {
            double fx = least(x + 1, box->x1) - most(x, box->x0);
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
    /* Classes are few; beyond this many the rest are not counted. Every sample that is touched
     * counts one, as in gdalwarp. */
    enum { MAX_CLASSES = 256 };
    const WORK *plane = r->plane;
    WORK values[MAX_CLASSES], best = (WORK)NAN;
    int counts[MAX_CLASSES], classes = 0, last = 0, top = 0;
    for (int y = box->iy0; y < box->iy1; y++) {
        for (int x = box->ix0; x < box->ix1; x++) {
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
            if (++counts[k] > top) {
                top = counts[k];
                best = v;
            }
        }
    }
    return best;
}

static void NAME(areas)(const struct mg_resampler *r, const float *xs, const float *ys,
                        const float *next_xs, const float *next_ys, WORK *out, int n)
{
    for (int i = 0; i < n; i++) {
        struct box box;
        out[i] = (WORK)NAN;
        if (box_of(r, xs + i, ys + i, next_xs + i, next_ys + i, &box))
            out[i] = r->how == MG_AVERAGE ? NAME(mean)(r, &box) : NAME(mode)(r, &box);
    }
}

static void NAME(row)(const struct mg_resampler *r, const float *xs, const float *ys,
                      const float *next_xs, const float *next_ys, WORK *out, int n)
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
