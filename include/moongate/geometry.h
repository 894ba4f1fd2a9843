/* Geometry as WKB: readers that check every length, and the operations of GEOS and PROJ behind our names.
 * Worker process; single thread (one GEOS context). All `wkb` are ISO WKB, little- or big-endian. */
#ifndef MOONGATE_GEOMETRY_H
#define MOONGATE_GEOMETRY_H

#include "moongate/buf.h"
#include "moongate/tile.h"

/* Bounding box of a WKB without building it; false for broken or empty ones. */
bool mg_wkb_bounds(struct mg_span wkb, struct mg_bounds *out);
/* Checks structure to the end: nesting at most 8, sizes within the bytes. */
MG_MUST_CHECK enum mg_err mg_wkb_check(struct mg_span wkb, struct mg_errmsg *err);
/* Whether it is the commonest geometry, for which many have a short way: a little-endian 2D point. */
static inline bool mg_wkb_plain_point(struct mg_span wkb)
{
    return wkb.len == 21 && memcmp(wkb.data, "\1\1\0\0", 5) == 0;
}
/* Geometry type 1..7 (point … collection); 0 when broken. */
int mg_wkb_type(struct mg_span wkb);

/* Walks the coordinate sequences of a WKB (ISO, or EWKB as PostGIS writes it) without building it. */
struct mg_wkb_part {
    int type;              /* 1 point, 2 line, 3 ring of a polygon */
    uint32_t ring;         /* 0: exterior (a new polygon begins), then its holes */
    uint32_t n;            /* points */
    int dims;              /* doubles a point: 2 to 4 */
    bool swap;             /* of the other byte order */
    const uint8_t *coords; /* n * dims doubles, unaligned; borrowed from the WKB */
};
struct mg_wkb_iter {
    const uint8_t *at, *end;
    struct { uint32_t left; uint32_t type, ring; int dims; bool swap; } stack[10];
    int depth;
    bool failed; /* broken: what came before is good */
};
void mg_wkb_iter_init(struct mg_wkb_iter *iter, struct mg_span wkb);
bool mg_wkb_next(struct mg_wkb_iter *iter, struct mg_wkb_part *part);
static inline double mg_wkb_coord(const struct mg_wkb_part *part, size_t i) /* i counts doubles */
{
    uint64_t bits;
    double value;
    memcpy(&bits, part->coords + i * 8, 8);
    if (part->swap)
        bits = __builtin_bswap64(bits);
    memcpy(&value, &bits, 8);
    return value;
}
/* Whether any point of it lies in the box (edges count, holes are outside); as the spatial filter of OGR
 * does. */
bool mg_wkb_meets_box(struct mg_span wkb, struct mg_bounds box);

MG_MUST_CHECK enum mg_err mg_wkb_from_wkt(struct mg_span wkt, struct mg_buf *out, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_wkb_from_geojson(struct mg_span json, struct mg_buf *out, struct mg_errmsg *err);
void mg_wkb_to_wkt(struct mg_span wkb, struct mg_buf *out);
/* RFC 7946 geometry, coordinates rounded to `decimals` (trailing zeros dropped), exterior rings
 * anticlockwise. */
MG_MUST_CHECK enum mg_err mg_wkb_to_geojson(struct mg_span wkb, int decimals, struct mg_buf *out);

/* `value` rounded to at most 15 decimals, trailing zeros dropped; its length; 0 when it is not finite. */
size_t mg_fixed_text(double value, int decimals, char out[40]);

void mg_wkb_point(double x, double y, struct mg_buf *out);
void mg_wkb_box(struct mg_bounds bounds, struct mg_buf *out);

/* A transform between two CRSs, x = longitude or easting always first. Cached by its pair. NULL in `out` when
 * both are the same. MG_E_NO_CRS names the one that is unknown. */
struct mg_transform;
MG_MUST_CHECK enum mg_err mg_transform_get(const char *from, const char *to, struct mg_transform **out,
                                           struct mg_errmsg *err);
/* "EPSG:4326" or "OGC:CRS84"; "EPSG:3857": the CRSs that need no PROJ. */
bool mg_crs_is_lnglat(const char *crs);
bool mg_crs_is_merc(const char *crs);
/* In place; points that fail become HUGE_VAL; returns how many failed. */
size_t mg_transform_points(struct mg_transform *transform, double *x, double *y, size_t n);
MG_MUST_CHECK enum mg_err mg_wkb_transform(struct mg_transform *transform, struct mg_span wkb, struct mg_buf *out,
                                           struct mg_errmsg *err);
/* Bounds of bounds: 21 points on each edge. */
MG_MUST_CHECK enum mg_err mg_transform_bounds(struct mg_transform *transform, struct mg_bounds in,
                                              struct mg_bounds *out, struct mg_errmsg *err);
/* CRS of the UTM zone (WGS 84) of a point: "EPSG:32725". */
void mg_utm_of(double lng, double lat, char out[16]);

/* Through GEOS; units are those of the coordinates. */
enum mg_geo_op { MG_GEO_CENTROID, MG_GEO_ENVELOPE, MG_GEO_HULL, MG_GEO_BOUNDARY, MG_GEO_VALID, MG_GEO_SURFACE_POINT };
MG_MUST_CHECK enum mg_err mg_wkb_unary(enum mg_geo_op op, struct mg_span wkb, struct mg_buf *out,
                                       struct mg_errmsg *err);
enum mg_geo_binary { MG_GEO_INTERSECTION, MG_GEO_UNION, MG_GEO_DIFFERENCE };
MG_MUST_CHECK enum mg_err mg_wkb_binary(enum mg_geo_binary op, struct mg_span a, struct mg_span b, struct mg_buf *out,
                                        struct mg_errmsg *err);
enum mg_geo_predicate { MG_GEO_INTERSECTS, MG_GEO_CONTAINS, MG_GEO_WITHIN, MG_GEO_EQUALS };
MG_MUST_CHECK enum mg_err mg_wkb_predicate(enum mg_geo_predicate op, struct mg_span a, struct mg_span b, bool *out,
                                           struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_wkb_buffer(struct mg_span wkb, double distance, int quad_segments, struct mg_buf *out,
                                        struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_wkb_simplify(struct mg_span wkb, double tolerance, bool keep_topology,
                                          struct mg_buf *out, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_wkb_clip(struct mg_span wkb, struct mg_bounds box, struct mg_buf *out,
                                      struct mg_errmsg *err);
/* Degrees cut at the antimeridian (RFC 7946, 3.1.9) into `out`, which is emptied: what lies beyond 180, and
 * with `unroll` what leaps around the world. False: nothing to cut, or GEOS cannot; the geometry is to be
 * used as it is. */
bool mg_wkb_cut_world(struct mg_span wkb, bool unroll, struct mg_buf *out);
/* Polygons of whole-number coordinates made valid on that grid; a (multi)polygon, or a collection with some.
 */
MG_MUST_CHECK enum mg_err mg_wkb_valid_on_grid(struct mg_span wkb, struct mg_buf *out, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_wkb_measure(struct mg_span wkb, double *area, double *length, struct mg_errmsg *err);

#endif
