/* Whether the rounded rings of a polygon are simple and apart, so that GEOS need not look at them.
 *
 * First a proof in one pass, for the one ring that most polygons are: if all edges turn the same
 * way around some point, and once, the ring is star-shaped and thus simple. Else a sweep: edges by
 * their left end in buckets of four units, each compared with those still open. Whatever meets
 * counts as invalid, also where the standard would allow it (a hole that touches its exterior in
 * one point). Cost: 2 ns a vertex; the sweep about 100. */
#include "mvt.h"

#include <stdlib.h>

enum { BUCKET_SHIFT = 2, MAX_BUCKETS = 8192 };

static int64_t cross_at(int64_t ax, int64_t ay, int64_t bx, int64_t by)
{
    return ax * by - ay * bx;
}

/* All edges turn the same way around the point, whose coordinates are doubled, and once. */
static bool star_around(const int32_t *at, uint32_t n, int64_t cx, int64_t cy)
{
    int crossings = 0;
    bool hole = false;
    int64_t px = 2 * (int64_t)at[2 * n - 2] - cx, py = 2 * (int64_t)at[2 * n - 1] - cy;
    for (uint32_t i = 0; i < n; i++) {
        int64_t x = 2 * (int64_t)at[2 * i] - cx, y = 2 * (int64_t)at[2 * i + 1] - cy;
        int64_t turn = cross_at(px, py, x, y);
        if (turn == 0 || (i && (turn < 0) != hole))
            return false;
        hole = turn < 0;
        crossings += (py < 0) != (y < 0); /* each turn crosses the horizontal twice */
        px = x;
        py = y;
    }
    return crossings == 2;
}

static bool star_shaped(const int32_t *at, uint32_t n)
{
    int64_t sx = 0, sy = 0;
    int32_t xmin = at[0], xmax = at[0], ymin = at[1], ymax = at[1];
    for (uint32_t i = 0; i < n; i++) {
        int32_t x = at[2 * i], y = at[2 * i + 1];
        sx += x;
        sy += y;
        xmin = x < xmin ? x : xmin;
        xmax = x > xmax ? x : xmax;
        ymin = y < ymin ? y : ymin;
        ymax = y > ymax ? y : ymax;
    }
    return star_around(at, n, 2 * sx / n, 2 * sy / n) ||
           star_around(at, n, xmin + xmax, ymin + ymax);
}

static int sign_of(int64_t v)
{
    return (v > 0) - (v < 0);
}

static int side(const int32_t *a, const int32_t *b, const int32_t *c)
{
    return sign_of(cross_at((int64_t)b[0] - a[0], (int64_t)b[1] - a[1], (int64_t)c[0] - a[0],
                            (int64_t)c[1] - a[1]));
}

/* Whether two segments whose boxes meet have a point in common. */
static bool segments_meet(const int32_t *a, const int32_t *b, const int32_t *c, const int32_t *d)
{
    int s1 = side(a, b, c), s2 = side(a, b, d), s3 = side(c, d, a), s4 = side(c, d, b);
    return s1 * s2 <= 0 && s3 * s4 <= 0; /* all on one line: the boxes said so */
}

/* Even-odd; a point on the edge counts either way (the sweep has seen it). */
static bool ring_holds(const int32_t *at, uint32_t n, const int32_t *p)
{
    bool inside = false;
    for (uint32_t i = 0, j = n - 1; i < n; j = i++) {
        int64_t yi = at[2 * i + 1], yj = at[2 * j + 1];
        if ((yi > p[1]) == (yj > p[1]))
            continue;
        double x = (double)at[2 * i] +
                   (double)(at[2 * j] - at[2 * i]) * (double)(p[1] - yi) / (double)(yj - yi);
        inside ^= p[0] < x;
    }
    return inside;
}

/* An edge: its ends left and right, and who it is. */
enum { EDGE_X0, EDGE_Y0, EDGE_X1, EDGE_Y1, EDGE_YMIN, EDGE_YMAX, EDGE_RING, EDGE_AT, EDGE_INTS };

static bool collect_edges(struct mvt_work *work, const int32_t *at, const uint32_t *ends,
                          size_t n_rings, uint32_t *n_out)
{
    uint32_t from = 0, total = ends[n_rings - 1], k = 0;
    if (!mvt_grow((void **)&work->edges.at, &work->edges.cap, (size_t)total * EDGE_INTS,
                  sizeof *work->edges.at) ||
        !mvt_grow((void **)&work->order, &work->order_cap, 2 * (size_t)total + MAX_BUCKETS + 2,
                  sizeof *work->order)) {
        work->no_memory = true;
        return false;
    }
    for (size_t r = 0; r < n_rings; r++) {
        uint32_t to = ends[r];
        for (uint32_t i = from; i < to; i++, k++) {
            const int32_t *p = at + 2 * i, *q = at + 2 * (i + 1 < to ? i + 1 : from);
            int32_t *edge = work->edges.at + (size_t)k * EDGE_INTS;
            const int32_t *left = p[0] <= q[0] ? p : q, *right = left == p ? q : p;
            edge[EDGE_X0] = left[0];
            edge[EDGE_Y0] = left[1];
            edge[EDGE_X1] = right[0];
            edge[EDGE_Y1] = right[1];
            edge[EDGE_YMIN] = left[1] < right[1] ? left[1] : right[1];
            edge[EDGE_YMAX] = left[1] < right[1] ? right[1] : left[1];
            edge[EDGE_RING] = (int32_t)r;
            edge[EDGE_AT] = (int32_t)(i - from);
        }
        from = to;
    }
    *n_out = k;
    return true;
}

/* Edges i and j of a ring of n follow each other. */
static bool neighbours(int32_t i, int32_t j, int32_t n)
{
    int32_t apart = i > j ? i - j : j - i;
    return apart == 1 || apart == n - 1;
}

static bool sweep(struct mvt_work *work, const uint32_t *ends, uint32_t n)
{
    uint32_t *order = work->order, *open = order + n, *count = open + n, n_open = 0;
    const int32_t *edges = work->edges.at;
    int32_t min = INT32_MAX, max = INT32_MIN;
    for (uint32_t i = 0; i < n; i++) {
        int32_t x = edges[(size_t)i * EDGE_INTS + EDGE_X0];
        min = x < min ? x : min;
        max = x > max ? x : max;
    }
    uint32_t buckets = ((uint32_t)(max - min) >> BUCKET_SHIFT) + 1;
    if (buckets > MAX_BUCKETS)
        return false;
    memset(count, 0, (buckets + 1) * sizeof *count);
    for (uint32_t i = 0; i < n; i++)
        count[((uint32_t)(edges[(size_t)i * EDGE_INTS + EDGE_X0] - min) >> BUCKET_SHIFT) + 1]++;
    for (uint32_t i = 0; i < buckets; i++)
        count[i + 1] += count[i];
    for (uint32_t i = 0; i < n; i++)
        order[count[(uint32_t)(edges[(size_t)i * EDGE_INTS + EDGE_X0] - min) >> BUCKET_SHIFT]++] =
            i;
    for (uint32_t k = 0; k < n; k++) {
        const int32_t *e = edges + (size_t)order[k] * EDGE_INTS;
        /* What comes later starts at this bucket or right of it. */
        int32_t line =
            min + (int32_t)((uint32_t)(e[EDGE_X0] - min) >> BUCKET_SHIFT << BUCKET_SHIFT);
        uint32_t left = 0;
        for (uint32_t o = 0; o < n_open; o++) {
            const int32_t *f = edges + (size_t)open[o] * EDGE_INTS;
            if (f[EDGE_X1] < line)
                continue;
            open[left++] = open[o];
            if (f[EDGE_YMAX] < e[EDGE_YMIN] || f[EDGE_YMIN] > e[EDGE_YMAX] ||
                f[EDGE_X1] < e[EDGE_X0] || f[EDGE_X0] > e[EDGE_X1])
                continue;
            if (e[EDGE_RING] == f[EDGE_RING]) {
                size_t r = (size_t)e[EDGE_RING];
                int32_t size = (int32_t)(ends[r] - (r ? ends[r - 1] : 0));
                if (neighbours(e[EDGE_AT], f[EDGE_AT], size))
                    continue;
            }
            if (segments_meet(e, e + 2, f, f + 2))
                return false;
        }
        n_open = left;
        open[n_open++] = order[k];
    }
    return true;
}

bool mvt_rings_valid(struct mvt_work *work, const int32_t *at, const uint32_t *ends, size_t n_rings)
{
    uint32_t n = 0, outer = ends[0];
    if (n_rings == 1 && (outer == 3 || star_shaped(at, outer)))
        return true;
    if (!collect_edges(work, at, ends, n_rings, &n) || !sweep(work, ends, n))
        return false;
    for (size_t r = 1; r < n_rings; r++)
        if (!ring_holds(at, outer, at + 2 * ends[r - 1]))
            return false;
    return true;
}
