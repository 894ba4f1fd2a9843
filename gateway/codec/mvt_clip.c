/* From WKB to the commands of a tile: project, clip, simplify, round.
 *
 * Vertices that lie with both neighbours on one outer side of the clip box are dropped before they
 * are projected, so that a country costs a high zoom's tile little. Rings are clipped by Sutherland
 * and Hodgman ("Reentrant polygon clipping", 1974), lines by Liang and Barsky, both simplified by
 * Douglas and Peucker after a radial pass; a polygon that rounding or clipping made invalid goes
 * through GEOS (mg_wkb_valid_on_grid). Cost: some 20 ns a vertex inside. */
#include "mvt.h"

#include <math.h>
#include <stdlib.h>

void mvt_work_fini(struct mvt_work *work)
{
    free(work->a.x);
    free(work->a.y);
    free(work->b.x);
    free(work->b.y);
    free(work->points.at);
    free(work->edges.at);
    free(work->found.at);
    free(work->order);
    free(work->ring_ends);
    free(work->keep);
    free(work->stack);
    for (int i = 0; i < 4; i++)
        free(work->out[i].at);
    mg_buf_fini(&work->wkb);
    mg_buf_fini(&work->repaired);
}

static bool path_room(struct mvt_work *work, struct mvt_path *path, size_t n)
{
    size_t cap = path->cap;
    if (n <= path->cap)
        return true;
    if (mvt_grow((void **)&path->x, &cap, n, sizeof *path->x)) {
        double *y = realloc(path->y, cap * sizeof *y);
        if (y) {
            path->y = y;
            path->cap = cap;
            return true;
        }
    }
    work->no_memory = true;
    return false;
}

static void command(struct mvt_work *work, struct mvt_commands *out, uint32_t id, uint32_t count)
{
    if (!mvt_grow((void **)&out->at, &out->cap, out->n + 1 + 2 * (size_t)count, sizeof *out->at)) {
        work->no_memory = true;
        return;
    }
    out->at[out->n++] = id | count << 3;
}

static inline uint32_t zigzag(int32_t v)
{
    return (uint32_t)v << 1 ^ (uint32_t)(v >> 31);
}

/* Room was made by the command. */
static inline void move(struct mvt_commands *out, const int32_t *xy)
{
    out->at[out->n++] = zigzag(xy[0] - out->x);
    out->at[out->n++] = zigzag(xy[1] - out->y);
    out->x = xy[0];
    out->y = xy[1];
}

/* The part's coordinates, shifted and projected, into path a. With `cull`: without vertices whose
 * neighbours lie on the same outer side, which no clip can see. False when all lies on one outer
 * side. */
static bool load(const struct mvt_space *s, const struct mg_wkb_part *part, double shift, bool cull,
                 struct mvt_work *work)
{
    struct mvt_path *a = &work->a;
    const struct mg_bounds *box = &s->cull;
    size_t dims = (size_t)part->dims, n = 0;
    unsigned both = 15, before = 0, code = 0;
    if (!path_room(work, a, part->n + 1))
        return false;
    for (size_t i = 0; i < part->n; i++) {
        double x = mg_wkb_coord(part, i * dims) + shift, y = mg_wkb_coord(part, i * dims + 1);
        if (cull) {
            unsigned next = (unsigned)(x < box->xmin) | (unsigned)(x > box->xmax) << 1 |
                            (unsigned)(y < box->ymin) << 2 | (unsigned)(y > box->ymax) << 3;
            both &= next;
            /* The one before is dropped when it, its predecessor and this lie on one side. */
            if (n >= 2 && (before & code & next))
                n--;
            else
                before = code;
            code = next;
        }
        a->x[n] = x;
        a->y[n++] = y;
    }
    a->n = n;
    if (cull && both)
        return false;
    mvt_project(s, a->x, a->y, n);
    return true;
}

/* Clips path a at one side: keeps where sign * (v - limit) <= 0, v being x or y. Result in a. */
static bool clip_side(struct mvt_work *work, bool vertical, double limit, double sign)
{
    struct mvt_path *in = &work->a, *out = &work->b;
    size_t n = 0;
    if (in->n == 0 || !path_room(work, out, 2 * in->n + 2))
        return false;
    const double *v = vertical ? in->x : in->y, *w = vertical ? in->y : in->x;
    double *to_v = vertical ? out->x : out->y, *to_w = vertical ? out->y : out->x;
    double pv = v[in->n - 1], pw = w[in->n - 1];
    bool p_in = sign * (pv - limit) <= 0;
    for (size_t i = 0; i < in->n; i++) {
        bool is_in = sign * (v[i] - limit) <= 0;
        if (is_in != p_in) {
            to_v[n] = limit;
            to_w[n++] = pw + (w[i] - pw) * ((limit - pv) / (v[i] - pv));
        }
        if (is_in) {
            to_v[n] = v[i];
            to_w[n++] = w[i];
        }
        pv = v[i];
        pw = w[i];
        p_in = is_in;
    }
    out->n = n;
    struct mvt_path swap = *in;
    *in = *out;
    *out = swap;
    return n > 0;
}

static void path_box(const struct mvt_path *path, struct mg_bounds *box)
{
    *box = (struct mg_bounds){INFINITY, INFINITY, -INFINITY, -INFINITY};
    for (size_t i = 0; i < path->n; i++) {
        double x = path->x[i], y = path->y[i];
        box->xmin = x < box->xmin ? x : box->xmin;
        box->xmax = x > box->xmax ? x : box->xmax;
        box->ymin = y < box->ymin ? y : box->ymin;
        box->ymax = y > box->ymax ? y : box->ymax;
    }
}

/* Clips the ring in path a. False when nothing is left. */
static bool clip_ring(const struct mvt_space *s, struct mvt_work *work)
{
    struct mg_bounds box;
    path_box(&work->a, &box);
    /* A vertex that could not be transformed spoils its ring. */
    if (!(box.xmin <= s->hi) || !(box.xmax >= s->lo) || !(box.ymin <= s->hi) ||
        !(box.ymax >= s->lo) || !isfinite(box.xmax - box.xmin) || !isfinite(box.ymax - box.ymin))
        return false;
    return (box.xmin >= s->lo || clip_side(work, true, s->lo, -1)) &&
           (box.xmax <= s->hi || clip_side(work, true, s->hi, 1)) &&
           (box.ymin >= s->lo || clip_side(work, false, s->lo, -1)) &&
           (box.ymax <= s->hi || clip_side(work, false, s->hi, 1));
}

/* Drops vertices of path a nearer than half the tolerance to the last kept one; keeps both ends. */
static void simplify_radial(struct mvt_path *p, double tolerance)
{
    double limit = tolerance * tolerance / 4;
    size_t n = 1;
    for (size_t i = 1; i < p->n; i++) {
        double dx = p->x[i] - p->x[n - 1], dy = p->y[i] - p->y[n - 1];
        if (dx * dx + dy * dy < limit && i + 1 < p->n)
            continue;
        p->x[n] = p->x[i];
        p->y[n++] = p->y[i];
    }
    p->n = n;
}

/* Douglas-Peucker between the vertices from and to, which are kept. */
static void mark_kept(struct mvt_work *work, uint32_t from, uint32_t to, double tolerance)
{
    const double *x = work->a.x, *y = work->a.y;
    uint32_t *stack = work->stack, top = 0;
    stack[top++] = from;
    stack[top++] = to;
    while (top) {
        to = stack[--top];
        from = stack[--top];
        double dx = x[to] - x[from], dy = y[to] - y[from], length = dx * dx + dy * dy, worst = 0;
        uint32_t at = 0;
        for (uint32_t i = from + 1; i < to; i++) {
            double ex = x[i] - x[from], ey = y[i] - y[from], d;
            double along = ex * dx + ey * dy;
            if (along <= 0) { /* beyond an end the distance is to that end */
                d = (ex * ex + ey * ey) * length;
            } else if (along >= length) {
                double fx = x[i] - x[to], fy = y[i] - y[to];
                d = (fx * fx + fy * fy) * length;
            } else {
                double cross = ex * dy - ey * dx;
                d = cross * cross;
            }
            if (length == 0)
                d = ex * ex + ey * ey;
            if (d > worst) {
                worst = d;
                at = i;
            }
        }
        if (worst > tolerance * tolerance * (length == 0 ? 1 : length)) {
            work->keep[at] = 1;
            if (at - from > 1) {
                stack[top++] = from;
                stack[top++] = at;
            }
            if (to - at > 1) {
                stack[top++] = at;
                stack[top++] = to;
            }
        }
    }
}

/* Simplifies path a: a line, or a ring (without its closing vertex), whose first and farthest
 * vertex stay. */
static void simplify(const struct mvt_space *s, bool ring, struct mvt_work *work)
{
    struct mvt_path *p = &work->a;
    if (s->tolerance <= 0 || p->n < 4)
        return;
    simplify_radial(p, s->tolerance);
    uint32_t n = (uint32_t)p->n, far = 0;
    if (n < 4)
        return;
    if (n + 1 > work->keep_cap) {
        size_t cap = work->keep_cap, stack_cap = 0;
        free(work->stack);
        work->stack = NULL;
        if (!mvt_grow((void **)&work->keep, &cap, n + 1, 1) ||
            !mvt_grow((void **)&work->stack, &stack_cap, 2 * cap + 8, sizeof *work->stack)) {
            work->keep_cap = 0;
            work->no_memory = true;
            return;
        }
        work->keep_cap = cap;
    }
    memset(work->keep, 0, n + 1);
    work->keep[0] = 1;
    if (ring) {
        /* Closed again for the second half; path_room left a place. */
        double best = -1;
        p->x[n] = p->x[0];
        p->y[n] = p->y[0];
        for (uint32_t i = 1; i < n; i++) {
            double dx = p->x[i] - p->x[0], dy = p->y[i] - p->y[0], d = dx * dx + dy * dy;
            if (d > best) {
                best = d;
                far = i;
            }
        }
        work->keep[far] = 1;
        mark_kept(work, 0, far, s->tolerance);
        mark_kept(work, far, n, s->tolerance);
    } else {
        work->keep[n - 1] = 1;
        mark_kept(work, 0, n - 1, s->tolerance);
    }
    size_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        if (work->keep[i]) {
            p->x[k] = p->x[i];
            p->y[k++] = p->y[i];
        }
    p->n = k;
}

static bool ints_room(struct mvt_work *work, struct mvt_ints *ints, size_t more)
{
    if (mvt_grow((void **)&ints->at, &ints->cap, ints->n + more, sizeof *ints->at))
        return true;
    work->no_memory = true;
    return false;
}

static int64_t cross_of(const int32_t *a, const int32_t *b, const int32_t *c)
{
    return (int64_t)(b[0] - a[0]) * (c[1] - a[1]) - (int64_t)(b[1] - a[1]) * (c[0] - a[0]);
}

/* Rounds path a behind `points`: equal neighbours become one, and what lies on a straight line or a
 * spike goes. */
static size_t round_ring(struct mvt_work *work)
{
    struct mvt_ints *points = &work->points;
    size_t n = 0;
    if (!ints_room(work, points, 2 * work->a.n + 2))
        return 0;
    int32_t *at = points->at + points->n;
    for (size_t i = 0; i < work->a.n; i++) {
        int32_t now[2] = {mvt_round(work->a.x[i]), mvt_round(work->a.y[i])};
        for (;;) {
            if (n >= 1 && at[2 * n - 2] == now[0] && at[2 * n - 1] == now[1]) {
                n--;
                continue;
            }
            if (n >= 2 && cross_of(at + 2 * n - 4, at + 2 * n - 2, now) == 0) {
                n--;
                continue;
            }
            break;
        }
        at[2 * n] = now[0];
        at[2 * n + 1] = now[1];
        n++;
    }
    /* The same around the seam. */
    size_t first = 0;
    while (n - first >= 3) {
        if (cross_of(at + 2 * n - 4, at + 2 * n - 2, at + 2 * first) == 0)
            n--;
        else if (cross_of(at + 2 * n - 2, at + 2 * first, at + 2 * first + 2) == 0)
            first++;
        else
            break;
    }
    if (first)
        memmove(at, at + 2 * first, (n - first) * 2 * sizeof *at);
    return n - first;
}

/* Twice the area by the surveyor's formula: positive is an exterior in tile coordinates. */
static int64_t area_of(const int32_t *at, size_t n)
{
    int64_t area = 0;
    for (size_t i = 0, j = n - 1; i < n; j = i++)
        area += (int64_t)at[2 * j] * at[2 * i + 1] - (int64_t)at[2 * i] * at[2 * j + 1];
    return area;
}

static void turn_round(int32_t *at, size_t n)
{
    for (size_t i = 0, j = n - 1; i < j; i++, j--)
        for (int d = 0; d < 2; d++) {
            int32_t t = at[2 * i + d];
            at[2 * i + d] = at[2 * j + d];
            at[2 * j + d] = t;
        }
}

/* Adds the ring that lies rounded behind `points`; false when it is too small. `mended`: it is
 * known to be simple. */
static bool add_ring(const struct mvt_space *s, struct mvt_work *work, size_t n, bool hole,
                     bool mended)
{
    struct mvt_ints *points = &work->points;
    int32_t *at = points->at + points->n;
    if (n < 3)
        return false;
    int64_t area = area_of(at, n);
    /* The loops of a ring that crosses itself may cancel out: only a simple one is as small as its
     * area. */
    uint32_t end = (uint32_t)n;
    if ((area == 0 || (double)llabs(area) < 2 * s->min_area) &&
        (mended || mvt_rings_valid(work, at, &end, 1)))
        return false;
    if ((area > 0) == hole)
        turn_round(at, n);
    if (!mvt_grow((void **)&work->ring_ends, &work->rings_cap, work->n_rings + 1,
                  sizeof *work->ring_ends)) {
        work->no_memory = true;
        return false;
    }
    points->n += 2 * n;
    work->ring_ends[work->n_rings++] = (uint32_t)points->n / 2;
    return true;
}

static void put_rings(struct mvt_work *work)
{
    struct mvt_commands *out = &work->out[3];
    uint32_t from = 0;
    for (size_t r = 0; r < work->n_rings; r++) {
        uint32_t to = work->ring_ends[r], n = to - from;
        command(work, out, 1, 1);
        if (work->no_memory)
            return;
        move(out, work->points.at + 2 * from);
        command(work, out, 2, n - 1);
        if (work->no_memory)
            return;
        for (uint32_t i = from + 1; i < to; i++)
            move(out, work->points.at + 2 * i);
        command(work, out, 7, 1);
        from = to;
    }
}

/* The rings as WKB, made valid on the grid of whole units, and back. */
static void repair(const struct mvt_space *s, struct mvt_work *work)
{
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    uint32_t head[2] = {3, (uint32_t)work->n_rings}, from = 0;
    work->wkb.len = work->repaired.len = 0;
    mg_buf_char(&work->wkb, 1);
    mg_buf_put(&work->wkb, head, 8);
    for (size_t r = 0; r < work->n_rings; r++) {
        uint32_t to = work->ring_ends[r], n = to - from + 1;
        mg_buf_put(&work->wkb, &n, 4);
        for (uint32_t i = 0; i < n; i++) {
            const int32_t *at = work->points.at + 2 * (from + i % (n - 1));
            double xy[2] = {at[0], at[1]};
            mg_buf_put(&work->wkb, xy, 16);
        }
        from = to;
    }
    work->n_rings = 0;
    work->points.n = 0;
    if (work->wkb.failed || mg_wkb_valid_on_grid((struct mg_span){work->wkb.data, work->wkb.len},
                                                 &work->repaired, NULL))
        return; /* what GEOS cannot mend is left out */
    bool dropped = true;
    mg_wkb_iter_init(&iter, (struct mg_span){work->repaired.data, work->repaired.len});
    while (mg_wkb_next(&iter, &part)) {
        if (part.type != 3)
            continue;
        if (part.ring == 0) {
            put_rings(work);
            work->n_rings = 0;
            work->points.n = 0;
            dropped = false;
        }
        if (dropped || part.n < 4 || !path_room(work, &work->a, part.n))
            continue;
        for (uint32_t i = 0; i + 1 < part.n; i++) {
            work->a.x[i] = mg_wkb_coord(&part, (size_t)i * (size_t)part.dims);
            work->a.y[i] = mg_wkb_coord(&part, (size_t)i * (size_t)part.dims + 1);
        }
        work->a.n = part.n - 1;
        dropped = !add_ring(s, work, round_ring(work), part.ring > 0, true) && part.ring == 0;
    }
    put_rings(work);
    work->n_rings = 0;
    work->points.n = 0;
}

/* Ends a polygon: checks its rings and writes them. */
static void flush_polygon(const struct mvt_space *s, struct mvt_work *work)
{
    if (work->n_rings == 0)
        return;
    if (mvt_rings_valid(work, work->points.at, work->ring_ends, work->n_rings))
        put_rings(work);
    else
        repair(s, work);
    work->n_rings = 0;
    work->points.n = 0;
}

/* Writes the line that lies in path a, within the box. */
static void put_line(const struct mvt_space *s, struct mvt_work *work)
{
    struct mvt_commands *out = &work->out[2];
    struct mvt_ints *points = &work->points;
    simplify(s, false, work);
    points->n = 0;
    if (work->a.n < 2 || !ints_room(work, points, 2 * work->a.n))
        return;
    size_t n = 0;
    for (size_t i = 0; i < work->a.n; i++) {
        int32_t x = mvt_round(work->a.x[i]), y = mvt_round(work->a.y[i]);
        if (n && points->at[2 * n - 2] == x && points->at[2 * n - 1] == y)
            continue;
        points->at[2 * n] = x;
        points->at[2 * n + 1] = y;
        n++;
    }
    if (n < 2)
        return;
    command(work, out, 1, 1);
    if (work->no_memory)
        return;
    move(out, points->at);
    command(work, out, 2, (uint32_t)n - 1);
    if (work->no_memory)
        return;
    for (size_t i = 1; i < n; i++)
        move(out, points->at + 2 * i);
}

/* The part of the segment within the box, as t0 .. t1 of it. */
static bool clip_segment(double lo, double hi, double x0, double y0, double dx, double dy,
                         double *t0, double *t1)
{
    const double p[4] = {-dx, dx, -dy, dy}, q[4] = {x0 - lo, hi - x0, y0 - lo, hi - y0};
    *t0 = 0;
    *t1 = 1;
    for (int i = 0; i < 4; i++) {
        if (p[i] == 0) {
            if (!(q[i] >= 0))
                return false;
        } else if (p[i] < 0) {
            *t0 = fmax(*t0, q[i] / p[i]);
        } else {
            *t1 = fmin(*t1, q[i] / p[i]);
        }
    }
    return *t0 <= *t1;
}

/* The line loaded in path a, cut into what lies within the box. */
static void add_line(const struct mvt_space *s, struct mvt_work *work)
{
    struct mg_bounds box;
    path_box(&work->a, &box);
    if (box.xmin >= s->lo && box.xmax <= s->hi && box.ymin >= s->lo && box.ymax <= s->hi) {
        put_line(s, work);
        return;
    }
    struct mvt_path whole = work->a;
    work->a = work->b; /* pieces grow in the other path */
    work->b = whole;
    work->a.n = 0;
    if (!path_room(work, &work->a, whole.n + 2))
        return;
    for (size_t i = 0; i + 1 < whole.n; i++) {
        double t0, t1, dx = whole.x[i + 1] - whole.x[i], dy = whole.y[i + 1] - whole.y[i];
        if (!isfinite(dx) || !isfinite(dy) ||
            !clip_segment(s->lo, s->hi, whole.x[i], whole.y[i], dx, dy, &t0, &t1)) {
            if (work->a.n)
                put_line(s, work);
            work->a.n = 0;
            continue;
        }
        struct mvt_path *a = &work->a;
        if (a->n == 0) {
            a->x[a->n] = whole.x[i] + t0 * dx;
            a->y[a->n++] = whole.y[i] + t0 * dy;
        }
        a->x[a->n] = t1 < 1 ? whole.x[i] + t1 * dx : whole.x[i + 1];
        a->y[a->n++] = t1 < 1 ? whole.y[i] + t1 * dy : whole.y[i + 1];
        if (t1 < 1) {
            put_line(s, work);
            work->a.n = 0;
        }
    }
    if (work->a.n)
        put_line(s, work);
}

static void add_points(const struct mvt_space *s, struct mvt_work *work, struct mvt_ints *found)
{
    for (size_t i = 0; i < work->a.n; i++) {
        double x = work->a.x[i], y = work->a.y[i];
        if (!(x >= s->lo && x <= s->hi && y >= s->lo && y <= s->hi) || !ints_room(work, found, 2))
            continue;
        found->at[found->n++] = mvt_round(x);
        found->at[found->n++] = mvt_round(y);
    }
}

static void put_points(struct mvt_work *work, struct mvt_ints *found)
{
    struct mvt_commands *out = &work->out[1];
    uint32_t n = (uint32_t)found->n / 2;
    if (!n)
        return;
    command(work, out, 1, n);
    if (work->no_memory)
        return;
    for (uint32_t i = 0; i < n; i++)
        move(out, found->at + 2 * i);
}

/* The geometry, moved by `shift` in x before it is projected. */
static void one_turn(const struct mvt_space *s, struct mg_span wkb, bool inside, double shift,
                     struct mvt_work *work, struct mvt_ints *found)
{
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    bool dropped = true; /* the polygon's exterior, and with it its holes */
    mg_wkb_iter_init(&iter, wkb);
    while (mg_wkb_next(&iter, &part) && !work->no_memory) {
        if (part.type == 1) {
            if (load(s, &part, shift, false, work))
                add_points(s, work, found);
        } else if (part.type == 2) {
            if (load(s, &part, shift, !inside && s->kind != MVT_OTHER, work))
                add_line(s, work);
        } else {
            if (part.ring == 0) {
                flush_polygon(s, work);
                dropped = false;
            }
            if (dropped)
                continue;
            bool kept = part.n >= 4 && load(s, &part, shift, !inside && s->kind != MVT_OTHER, work);
            if (kept) {
                /* Without the closing vertex. */
                if (work->a.x[work->a.n - 1] == work->a.x[0] &&
                    work->a.y[work->a.n - 1] == work->a.y[0])
                    work->a.n--;
                kept = (inside && s->kind != MVT_OTHER) || clip_ring(s, work);
            }
            if (kept && path_room(work, &work->a, work->a.n + 1)) {
                simplify(s, true, work);
                kept = add_ring(s, work, round_ring(work), part.ring > 0, false);
            }
            dropped = !kept && part.ring == 0;
        }
    }
    flush_polygon(s, work);
}

void mvt_geometry(const struct mvt_space *s, struct mg_span wkb, const struct mg_bounds *bounds,
                  struct mvt_work *work)
{
    struct mvt_ints *found = &work->found;
    double turn = mvt_space_turn(s);
    const double shifts[3] = {0, turn, -turn};
    int n = mvt_space_turns(s, bounds) ? 3 : 1;
    for (int i = 1; i < 4; i++) {
        work->out[i].n = 0;
        work->out[i].x = work->out[i].y = 0;
    }
    found->n = 0;
    for (int i = 0; i < n; i++) {
        if (!mvt_boxes_meet(bounds, &s->cull, shifts[i]))
            continue;
        bool inside = bounds->xmin + shifts[i] >= s->cull.xmin &&
                      bounds->xmax + shifts[i] <= s->cull.xmax && bounds->ymin >= s->cull.ymin &&
                      bounds->ymax <= s->cull.ymax;
        work->n_rings = 0;
        work->points.n = 0;
        one_turn(s, wkb, inside, shifts[i], work, found);
    }
    put_points(work, found);
}
