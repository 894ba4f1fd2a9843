/* WKB: walking, checking and measuring it byte by byte, without GEOS.
 *
 * Reads ISO 13249-3 WKB (types 1..7, +1000 Z, +2000 M, +3000 ZM) and PostGIS' EWKB flags, either
 * byte order. Every count is compared with the bytes that are left before it is believed, so that
 * no input makes us read behind its end or allocate. Cost: one pass. */
#include "moongate/geometry.h"

#include <math.h>

enum { EWKB_Z = 1u << 31, EWKB_M = 1 << 30, EWKB_SRID = 1 << 29 };
enum { MAX_NEST = 8 };

static bool get_u32(struct mg_wkb_iter *in, bool swap, uint32_t *out)
{
    if (in->end - in->at < 4)
        return false;
    memcpy(out, in->at, 4);
    if (swap)
        *out = __builtin_bswap32(*out);
    in->at += 4;
    return true;
}

/* Byte order, type and (EWKB) SRID: splits the type into its base and dimensions. */
static bool get_header(struct mg_wkb_iter *in, bool *swap, uint32_t *type, int *dims)
{
    uint32_t raw, srid;
    if (in->at == in->end || *in->at > 1)
        return false;
    *swap = *in->at++ == 0;
    if (!get_u32(in, *swap, &raw))
        return false;
    uint32_t flags = raw & (EWKB_Z | EWKB_M | EWKB_SRID),
             base = raw & ~(EWKB_Z | EWKB_M | EWKB_SRID);
    if ((flags & EWKB_SRID) && !get_u32(in, *swap, &srid))
        return false;
    uint32_t thousands = base / 1000;
    *type = base % 1000;
    if (thousands > 3 || *type < 1 || *type > 7)
        return false;
    bool z = (flags & EWKB_Z) || thousands == 1 || thousands == 3;
    bool m = (flags & EWKB_M) || thousands >= 2;
    *dims = 2 + z + m;
    return true;
}

void mg_wkb_iter_init(struct mg_wkb_iter *iter, struct mg_span wkb)
{
    iter->at = (const uint8_t *)wkb.data;
    iter->end = iter->at + wkb.len;
    iter->failed = false;
    iter->depth = 1;
    /* The outermost level: a collection of one. */
    iter->stack[0].left = 1;
    iter->stack[0].type = 7;
    iter->stack[0].ring = 0;
}

static bool take_coords(struct mg_wkb_iter *in, uint32_t n, struct mg_wkb_part *part)
{
    size_t bytes = (size_t)n * (size_t)part->dims * 8;
    if ((size_t)(in->end - in->at) < bytes)
        return false;
    part->n = n;
    part->coords = in->at;
    in->at += bytes;
    return true;
}

/* Children of the kind that a collection may hold. */
static bool may_hold(uint32_t parent, uint32_t child)
{
    return parent == 7 || child + 3 == parent;
}

bool mg_wkb_next(struct mg_wkb_iter *in, struct mg_wkb_part *part)
{
    while (in->depth > 0 && !in->failed) {
        int top = in->depth - 1;
        if (in->stack[top].left == 0) {
            in->depth--;
            continue;
        }
        in->stack[top].left--;
        uint32_t n, type;
        if (in->stack[top].type == 3) {
            part->type = 3;
            part->ring = in->stack[top].ring++;
            part->dims = in->stack[top].dims;
            part->swap = in->stack[top].swap;
            if (get_u32(in, part->swap, &n) && take_coords(in, n, part))
                return true;
            break;
        }
        bool swap;
        int dims;
        if (!get_header(in, &swap, &type, &dims) || !may_hold(in->stack[top].type, type))
            break;
        part->swap = swap;
        part->dims = dims;
        part->ring = 0;
        part->type = (int)type;
        if (type == 1) {
            if (take_coords(in, 1, part))
                return true;
            break;
        }
        if (!get_u32(in, swap, &n))
            break;
        if (type == 2) {
            if (take_coords(in, n, part))
                return true;
            break;
        }
        /* A ring takes at least 4 bytes, a geometry 9 (an empty line). */
        if (n > (size_t)(in->end - in->at) / (type == 3 ? 4 : 9) || in->depth > MAX_NEST)
            break;
        in->stack[in->depth].left = n;
        in->stack[in->depth].type = type;
        in->stack[in->depth].ring = 0;
        in->stack[in->depth].dims = dims;
        in->stack[in->depth].swap = swap;
        in->depth++;
    }
    in->failed |= in->depth > 0;
    return false;
}

enum mg_err mg_wkb_check(struct mg_span wkb, struct mg_errmsg *err)
{
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    mg_wkb_iter_init(&iter, wkb);
    while (mg_wkb_next(&iter, &part))
        ;
    if (iter.failed)
        return mg_err_set(err, MG_E_ARGUMENT, "the geometry is not valid WKB (byte %td of %zu)",
                          iter.at - (const uint8_t *)wkb.data, wkb.len);
    if (iter.at != iter.end)
        return mg_err_set(err, MG_E_ARGUMENT,
                          "the geometry has %td bytes behind the end of its WKB",
                          iter.end - iter.at);
    return MG_OK;
}

int mg_wkb_type(struct mg_span wkb)
{
    struct mg_wkb_iter iter;
    bool swap;
    uint32_t type;
    int dims;
    mg_wkb_iter_init(&iter, wkb);
    return get_header(&iter, &swap, &type, &dims) ? (int)type : 0;
}

bool mg_wkb_bounds(struct mg_span wkb, struct mg_bounds *out)
{
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    double xmin = INFINITY, ymin = INFINITY, xmax = -INFINITY, ymax = -INFINITY;
    mg_wkb_iter_init(&iter, wkb);
    while (mg_wkb_next(&iter, &part)) {
        for (size_t i = 0; i < part.n; i++) {
            double x = mg_wkb_coord(&part, i * (size_t)part.dims),
                   y = mg_wkb_coord(&part, i * (size_t)part.dims + 1);
            xmin = x < xmin ? x : xmin;
            xmax = x > xmax ? x : xmax;
            ymin = y < ymin ? y : ymin;
            ymax = y > ymax ? y : ymax;
        }
    }
    if (iter.failed || !(xmin <= xmax) || !(ymin <= ymax))
        return false;
    *out = (struct mg_bounds){xmin, ymin, xmax, ymax};
    return true;
}

/* Liang-Barsky without the points. */
static bool segment_meets(double x0, double y0, double x1, double y1, const struct mg_bounds *box)
{
    double t0 = 0, t1 = 1, dx = x1 - x0, dy = y1 - y0;
    const double p[4] = {-dx, dx, -dy, dy},
                 q[4] = {x0 - box->xmin, box->xmax - x0, y0 - box->ymin, box->ymax - y0};
    for (int i = 0; i < 4; i++) {
        if (p[i] == 0) {
            if (q[i] < 0)
                return false;
        } else if (p[i] < 0) {
            t0 = fmax(t0, q[i] / p[i]);
        } else {
            t1 = fmin(t1, q[i] / p[i]);
        }
    }
    return t0 <= t1;
}

bool mg_wkb_meets_box(struct mg_span wkb, struct mg_bounds box)
{
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    bool inside = false; /* parity of the rings of this polygon around the box's corner */
    mg_wkb_iter_init(&iter, wkb);
    while (mg_wkb_next(&iter, &part)) {
        if (part.type == 3 && part.ring == 0 && inside)
            return true;
        if (part.ring == 0)
            inside = false;
        double px = 0, py = 0;
        for (size_t i = 0; i < part.n; i++) {
            double x = mg_wkb_coord(&part, i * (size_t)part.dims),
                   y = mg_wkb_coord(&part, i * (size_t)part.dims + 1);
            if (x >= box.xmin && x <= box.xmax && y >= box.ymin && y <= box.ymax)
                return true;
            if (i && part.type > 1) {
                bool apart = (x < box.xmin && px < box.xmin) || (x > box.xmax && px > box.xmax) ||
                             (y < box.ymin && py < box.ymin) || (y > box.ymax && py > box.ymax);
                if (!apart && segment_meets(px, py, x, y, &box))
                    return true;
                if (part.type == 3 && (y > box.ymin) != (py > box.ymin) &&
                    box.xmin < (px - x) * (box.ymin - y) / (py - y) + x)
                    inside = !inside;
            }
            px = x;
            py = y;
        }
    }
    return inside && !iter.failed;
}
