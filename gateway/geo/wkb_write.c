/* WKB to text and from a few numbers: WKT, GeoJSON, points, boxes.
 *
 * The writers follow the nesting that mg_wkb_next flattens, so they walk it by themselves; the text
 * of a coordinate is made by integers. A broken WKB is seen by mg_wkb_check first and written as
 * nothing. */
#include "moongate/geometry.h"

#include <math.h>
#include <stdlib.h>

/* Below 2^32 and with at most 9 decimals all is done in 32 bits. */
static size_t fixed_small(double value, double size, int decimals, char *out)
{
    static const uint32_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000,
                                    1000000000};
    uint32_t integer = (uint32_t)size;
    uint32_t fraction = (uint32_t)((size - integer) * tens[decimals] + 0.5);
    if (fraction >= tens[decimals]) {
        integer++;
        fraction = 0;
    }
    char *at = out;
    if (value < 0 && (integer | fraction))
        *at++ = '-';
    at += mg_uint_text(integer, at);
    if (!fraction)
        return (size_t)(at - out);
    *at = '.';
    while (fraction % 100 == 0) {
        fraction /= 100;
        decimals -= 2;
    }
    if (fraction % 10 == 0) {
        fraction /= 10;
        decimals--;
    }
    for (int i = decimals; i > 0; i--, fraction /= 10)
        at[i] = (char)('0' + fraction % 10);
    return (size_t)(at + decimals + 1 - out);
}

size_t mg_fixed_text(double value, int decimals, char out[40])
{
    static const double tens[] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    static const uint64_t whole[] = {1,
                                     10,
                                     100,
                                     1000,
                                     10000,
                                     100000,
                                     1000000,
                                     10000000,
                                     100000000,
                                     1000000000,
                                     10000000000,
                                     100000000000,
                                     1000000000000,
                                     10000000000000,
                                     100000000000000,
                                     1000000000000000};
    char text[40], *end = text + sizeof text, *at = end;
    decimals = decimals < 0 ? 0 : decimals > 15 ? 15 : decimals;
    if (!isfinite(value))
        return 0;
    double size = fabs(value);
    if (size < 4294967295.0 && decimals <= 9)
        return fixed_small(value, size, decimals, out);
    while (decimals > 0 && size * tens[decimals] >= 9e18)
        decimals--;
    if (size >= 9e18) /* no fraction at this size */
        return mg_double_text(value, out);
    uint64_t scaled = (uint64_t)(size * tens[decimals] + 0.5);
    bool negative = value < 0 && scaled;
    uint64_t integer = scaled / whole[decimals], fraction = scaled % whole[decimals];
    if (fraction) {
        while (fraction % 10 == 0) {
            fraction /= 10;
            decimals--;
        }
        for (; decimals > 0; decimals--, fraction /= 10)
            *--at = (char)('0' + fraction % 10);
        *--at = '.';
    }
    do
        *--at = (char)('0' + integer % 10);
    while (integer /= 10);
    if (negative)
        *--at = '-';
    size_t n = (size_t)(end - at);
    memcpy(out, at, n);
    return n;
}

/* A geometry's header, known to be good. */
struct walk {
    const uint8_t *at;
    struct mg_wkb_part part; /* dims, swap and coords of the sequence at hand */
    bool z, m;
    int decimals; /* GeoJSON */
    bool bad;     /* a coordinate that is not finite */
};

static uint32_t walk_u32(struct walk *w, bool swap)
{
    uint32_t v;
    memcpy(&v, w->at, 4);
    w->at += 4;
    return swap ? __builtin_bswap32(v) : v;
}

static int walk_header(struct walk *w)
{
    w->part.swap = *w->at++ == 0;
    uint32_t raw = walk_u32(w, w->part.swap), base = raw & 0x1FFFFFFF, thousands = base / 1000;
    if (raw & 1u << 29)
        w->at += 4;
    w->z = (raw & 1u << 31) || thousands == 1 || thousands == 3;
    w->m = (raw & 1u << 30) || thousands >= 2;
    w->part.dims = 2 + w->z + w->m;
    return (int)(base % 1000);
}

static void walk_coords(struct walk *w, uint32_t n)
{
    w->part.n = n;
    w->part.coords = w->at;
    w->at += (size_t)n * (size_t)w->part.dims * 8;
}

static const char *const wkt_names[] = {
    "",           "POINT",           "LINESTRING",   "POLYGON",
    "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION"};

static size_t wkt_number(double value, char *at)
{
    if (isfinite(value))
        return mg_double_text(value, at);
    memcpy(at, isnan(value) ? "nan\0" : value > 0 ? "inf\0" : "-inf", 4);
    return isnan(value) || value > 0 ? 3 : 4;
}

static void wkt_coords(const struct walk *w, struct mg_buf *out)
{
    mg_buf_char(out, '(');
    for (size_t i = 0, k = 0; i < w->part.n; i++) {
        char *start = mg_buf_room(out, 4 * MG_NUMBER_TEXT + 8), *at = start;
        if (!start)
            return;
        if (i)
            *at++ = ',';
        for (int d = 0; d < w->part.dims; d++, k++) {
            if (d)
                *at++ = ' ';
            at += wkt_number(mg_wkb_coord(&w->part, k), at);
        }
        mg_buf_added(out, (size_t)(at - start));
    }
    mg_buf_char(out, ')');
}

/* `named`: with its keyword, as the outermost and the members of a collection are. */
static void wkt(struct walk *w, bool named, struct mg_buf *out)
{
    int type = walk_header(w);
    uint32_t n = type == 1 ? 1 : walk_u32(w, w->part.swap);
    bool swap = w->part.swap, empty = n == 0;
    if (type == 1) {
        walk_coords(w, 1);
        empty = isnan(mg_wkb_coord(&w->part, 0)) && isnan(mg_wkb_coord(&w->part, 1));
    }
    if (named) {
        mg_buf_str(out, wkt_names[type]);
        mg_buf_str(out, w->z && w->m ? " ZM " : w->z ? " Z " : w->m ? " M " : empty ? " " : "");
    }
    if (empty) {
        mg_buf_put(out, "EMPTY", 5);
        return;
    }
    if (type == 1) {
        wkt_coords(w, out);
        return;
    }
    if (type == 2) {
        walk_coords(w, n);
        wkt_coords(w, out);
        return;
    }
    mg_buf_char(out, '(');
    for (uint32_t i = 0; i < n && !out->failed; i++) {
        if (i)
            mg_buf_char(out, ',');
        if (type == 3) {
            uint32_t points = walk_u32(w, swap);
            walk_coords(w, points);
            if (points)
                wkt_coords(w, out);
            else
                mg_buf_put(out, "EMPTY", 5);
        } else {
            wkt(w, type == 7, out);
        }
    }
    mg_buf_char(out, ')');
}

/* The commonest geometry, a little-endian 2D point, in one piece. */
static bool wkt_plain_point(struct mg_span wkb, struct mg_buf *out)
{
    double xy[2];
    if (!mg_wkb_plain_point(wkb))
        return false;
    memcpy(xy, wkb.data + 5, sizeof xy);
    char *start = mg_buf_room(out, 2 * MG_NUMBER_TEXT + 8), *at = start;
    if (!start || !isfinite(xy[0]) || !isfinite(xy[1]))
        return false;
    memcpy(at, "POINT(", 6);
    at += 6;
    at += mg_double_text(xy[0], at);
    *at++ = ' ';
    at += mg_double_text(xy[1], at);
    *at++ = ')';
    mg_buf_added(out, (size_t)(at - start));
    return true;
}

void mg_wkb_to_wkt(struct mg_span wkb, struct mg_buf *out)
{
    struct walk w = {.at = (const uint8_t *)wkb.data};
    if (wkt_plain_point(wkb, out))
        return;
    if (!mg_wkb_check(wkb, NULL))
        wkt(&w, true, out);
}

static void json_point(struct walk *w, size_t i, struct mg_buf *out)
{
    char *at = mg_buf_room(out, 3 * 40 + 8), *p = at;
    if (!at)
        return;
    *p++ = '[';
    for (int d = 0; d < 2 + w->z; d++) {
        if (d)
            *p++ = ',';
        size_t n = mg_fixed_text(mg_wkb_coord(&w->part, i * (size_t)w->part.dims + (size_t)d),
                                 w->decimals, p);
        /* A height that is not known is no reason to lose the place. */
        if (!n && d == 2) {
            p--;
            break;
        }
        w->bad |= !n;
        p += n;
    }
    *p++ = ']';
    *p = '\0';
    out->len += (size_t)(p - at);
}

/* `turn`: write backwards. */
static void json_coords(struct walk *w, bool turn, struct mg_buf *out)
{
    mg_buf_char(out, '[');
    for (size_t i = 0; i < w->part.n && !out->failed; i++) {
        if (i)
            mg_buf_char(out, ',');
        json_point(w, turn ? w->part.n - 1 - i : i, out);
    }
    mg_buf_char(out, ']');
}

static bool clockwise(const struct mg_wkb_part *part)
{
    if (part->n < 3)
        return false;
    size_t dims = (size_t)part->dims;
    double x0 = mg_wkb_coord(part, 0), y0 = mg_wkb_coord(part, 1), area = 0, px = 0, py = 0;
    for (size_t i = 1; i < part->n; i++) {
        double x = mg_wkb_coord(part, i * dims) - x0, y = mg_wkb_coord(part, i * dims + 1) - y0;
        area += px * y - x * py;
        px = x;
        py = y;
    }
    return area < 0;
}

static const char *const json_names[] = {
    "",           "Point",           "LineString",   "Polygon",
    "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection"};

/* `named`: the object; else its coordinates only. */
static void json(struct walk *w, bool named, struct mg_buf *out)
{
    int type = walk_header(w);
    bool swap = w->part.swap;
    if (named) {
        mg_buf_put(out, "{\"type\":\"", 9);
        mg_buf_str(out, json_names[type]);
        mg_buf_str(out, type == 7 ? "\",\"geometries\":" : "\",\"coordinates\":");
    }
    if (type == 1) {
        walk_coords(w, 1);
        if (isnan(mg_wkb_coord(&w->part, 0)) && isnan(mg_wkb_coord(&w->part, 1)))
            mg_buf_put(out, "[]", 2);
        else
            json_point(w, 0, out);
    } else {
        uint32_t n = walk_u32(w, swap);
        if (type == 2) {
            walk_coords(w, n);
            json_coords(w, false, out);
        } else {
            mg_buf_char(out, '[');
            for (uint32_t i = 0; i < n && !out->failed; i++) {
                if (i)
                    mg_buf_char(out, ',');
                if (type == 3) {
                    uint32_t points = walk_u32(w, swap);
                    walk_coords(w, points);
                    /* RFC 7946, 3.1.6: exterior anticlockwise, holes clockwise. */
                    json_coords(w, clockwise(&w->part) == (i == 0), out);
                } else {
                    json(w, type == 7, out);
                }
            }
            mg_buf_char(out, ']');
        }
    }
    if (named)
        mg_buf_char(out, '}');
}

/* The commonest geometry, a little-endian 2D point, in one piece. False when it is another, or not
 * finite. */
static bool json_plain_point(struct mg_span wkb, int decimals, struct mg_buf *out)
{
    static const char head[] = "{\"type\":\"Point\",\"coordinates\":[";
    double xy[2];
    if (!mg_wkb_plain_point(wkb))
        return false;
    char *start = mg_buf_room(out, sizeof head + 2 * 40 + 4), *at = start;
    if (!start)
        return false;
    memcpy(xy, wkb.data + 5, sizeof xy);
    memcpy(at, head, sizeof head - 1);
    at += sizeof head - 1;
    size_t n = mg_fixed_text(xy[0], decimals, at);
    at[n] = ',';
    size_t m = mg_fixed_text(xy[1], decimals, at + n + 1);
    if (n && m) {
        at += n + 1 + m;
        *at++ = ']';
        *at++ = '}';
        out->len += (size_t)(at - start);
    }
    out->data[out->len] = '\0';
    return n && m;
}

enum mg_err mg_wkb_to_geojson(struct mg_span wkb, int decimals, struct mg_buf *out)
{
    if (json_plain_point(wkb, decimals, out))
        return MG_OK;
    struct walk w = {.at = (const uint8_t *)wkb.data, .decimals = decimals};
    size_t start = out->len;
    enum mg_err e = mg_wkb_check(wkb, NULL);
    if (e)
        return e;
    json(&w, true, out);
    if (w.bad && !out->failed) {
        out->len = start;
        if (out->data)
            out->data[start] = '\0';
        return MG_E_ARGUMENT;
    }
    return mg_buf_status(out, NULL);
}

static char *put_header(char *at, uint32_t type)
{
    *at = 1;
    memcpy(at + 1, &type, 4);
    return at + 5;
}

void mg_wkb_point(double x, double y, struct mg_buf *out)
{
    char wkb[21], *at = put_header(wkb, 1);
    memcpy(at, &x, 8);
    memcpy(at + 8, &y, 8);
    mg_buf_put(out, wkb, sizeof wkb);
}

void mg_wkb_box(struct mg_bounds b, struct mg_buf *out)
{
    char wkb[9 + 4 + 80], *at = put_header(wkb, 3);
    const uint32_t counts[2] = {1, 5};
    const double ring[10] = {b.xmin, b.ymin, b.xmax, b.ymin, b.xmax,
                             b.ymax, b.xmin, b.ymax, b.xmin, b.ymin};
    memcpy(at, counts, 8);
    memcpy(at + 8, ring, sizeof ring);
    mg_buf_put(out, wkb, sizeof wkb);
}
