/* Cutting geometry at the antimeridian, as RFC 7946 (3.1.9) asks of GeoJSON.
 *
 * What reaches beyond 180 degrees east or west is cut there and each piece moved into -180 .. 180. A line or
 * ring that leaps from one side of the world to the other, which a reprojection makes of what crosses the
 * antimeridian, is unrolled first (`unroll`); one that then does not close goes around a pole and stays as it
 * was. The cuts are those of GEOS. Cost: one pass over the coordinates of what needs no cut. */
#include "moongate/geometry.h"

#include <math.h>

enum { MAX_TURNS = 8 };

static void put_coord(struct mg_buf *wkb, const struct mg_wkb_part *part, size_t i, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    if (part->swap)
        bits = __builtin_bswap64(bits);
    memcpy(wkb->data + ((const char *)part->coords - wkb->data) + i * 8, &bits, 8);
}

/* Makes neighbours of a line or ring be less than half the world apart. */
static void unroll_part(struct mg_buf *wkb, const struct mg_wkb_part *part)
{
    size_t dims = (size_t)part->dims;
    double shift = 0, before = part->n ? mg_wkb_coord(part, 0) : 0;
    for (size_t i = 1; i < part->n; i++) {
        double x = mg_wkb_coord(part, i * dims);
        shift += x - before > 180 ? -360 : x - before < -180 ? 360 : 0;
        before = x;
    }
    if (part->type == 3 && shift != 0)
        return; /* around a pole */
    shift = 0;
    before = part->n ? mg_wkb_coord(part, 0) : 0;
    for (size_t i = 1; i < part->n; i++) {
        double x = mg_wkb_coord(part, i * dims);
        shift += x - before > 180 ? -360 : x - before < -180 ? 360 : 0;
        before = x;
        if (shift != 0)
            put_coord(wkb, part, i * dims, x + shift);
    }
}

/* Moves a hole or piece of the same polygon to the side of its exterior. */
static void move_part(struct mg_buf *wkb, const struct mg_wkb_part *part, double shift)
{
    for (size_t i = 0; shift != 0 && i < part->n; i++)
        put_coord(wkb, part, i * (size_t)part->dims, mg_wkb_coord(part, i * (size_t)part->dims) + shift);
}

static void unroll_all(struct mg_buf *wkb)
{
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    double middle = 0;
    mg_wkb_iter_init(&iter, (struct mg_span){wkb->data, wkb->len});
    while (mg_wkb_next(&iter, &part)) {
        double low = INFINITY, high = -INFINITY;
        if (part.type == 1)
            continue;
        unroll_part(wkb, &part);
        for (size_t i = 0; i < part.n; i++) {
            double x = mg_wkb_coord(&part, i * (size_t)part.dims);
            low = fmin(low, x);
            high = fmax(high, x);
        }
        if (part.type == 3 && part.ring > 0)
            move_part(wkb, &part, round((middle - (low + high) / 2) / 360) * 360);
        else
            middle = (low + high) / 2;
    }
}

static void move_all(struct mg_buf *wkb, double shift)
{
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    mg_wkb_iter_init(&iter, (struct mg_span){wkb->data, wkb->len});
    while (mg_wkb_next(&iter, &part))
        move_part(wkb, &part, shift);
}

/* The pieces of `whole` between its bounds, joined in `out`. */
static bool cut(struct mg_span whole, const struct mg_bounds *bounds, struct mg_buf *out)
{
    double first = floor((bounds->xmin + 180) / 360), last = ceil((bounds->xmax - 180) / 360);
    struct mg_buf piece, joined;
    bool ok = last - first <= MAX_TURNS;
    mg_buf_init(&piece, 0);
    mg_buf_init(&joined, 0);
    for (double turn = first; ok && turn <= last; turn++) {
        struct mg_bounds box = {turn * 360 - 180, bounds->ymin - 1, turn * 360 + 180, bounds->ymax + 1}, any;
        piece.len = joined.len = 0;
        ok = !mg_wkb_clip(whole, box, &piece, NULL);
        if (!ok || !mg_wkb_bounds((struct mg_span){piece.data, piece.len}, &any))
            continue;
        move_all(&piece, -turn * 360);
        if (out->len == 0) {
            mg_buf_put(out, piece.data, piece.len);
            continue;
        }
        ok = !mg_wkb_binary(MG_GEO_UNION, (struct mg_span){out->data, out->len},
                            (struct mg_span){piece.data, piece.len}, &joined, NULL);
        if (ok) {
            out->len = 0;
            mg_buf_put(out, joined.data, joined.len);
        }
    }
    ok = ok && !piece.failed && !joined.failed && !out->failed && out->len > 0;
    mg_buf_fini(&piece);
    mg_buf_fini(&joined);
    return ok;
}

static bool leaps(struct mg_span wkb)
{
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    mg_wkb_iter_init(&iter, wkb);
    while (mg_wkb_next(&iter, &part))
        for (size_t i = 1; part.type > 1 && i < part.n; i++) {
            size_t dims = (size_t)part.dims;
            if (fabs(mg_wkb_coord(&part, i * dims) - mg_wkb_coord(&part, (i - 1) * dims)) > 180)
                return true;
        }
    return false;
}

bool mg_wkb_cut_world(struct mg_span wkb, bool unroll, struct mg_buf *out)
{
    struct mg_bounds bounds;
    if (mg_wkb_plain_point(wkb)) {
        double x;
        memcpy(&x, wkb.data + 5, 8);
        if (!(fabs(x) > 180 && fabs(x) < 1e6))
            return false;
        out->len = 0;
        mg_buf_put(out, wkb.data, wkb.len);
        x -= 360 * floor((x + 180) / 360);
        if (!out->failed)
            memcpy(out->data + 5, &x, 8);
        return !out->failed;
    }
    if (!mg_wkb_bounds(wkb, &bounds))
        return false;
    bool beyond = bounds.xmin < -180 || bounds.xmax > 180;
    if (!beyond && !(unroll && bounds.xmax - bounds.xmin > 180 && leaps(wkb)))
        return false;
    if (!isfinite(bounds.xmax - bounds.xmin) || !isfinite(bounds.ymax - bounds.ymin) ||
        mg_wkb_check(wkb, NULL))
        return false;
    struct mg_buf whole;
    mg_buf_init(&whole, 0);
    mg_buf_put(&whole, wkb.data, wkb.len);
    out->len = 0;
    if (!whole.failed && unroll)
        unroll_all(&whole);
    bool done = !whole.failed && mg_wkb_bounds((struct mg_span){whole.data, whole.len}, &bounds) &&
                (bounds.xmin < -180 || bounds.xmax > 180) &&
                cut((struct mg_span){whole.data, whole.len}, &bounds, out);
    mg_buf_fini(&whole);
    return done;
}
