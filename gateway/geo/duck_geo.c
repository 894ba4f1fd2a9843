/* ST_ functions for SQL, over GEOS and PROJ: one table of facts, one executor.
 *
 * A row names the function, its signature (result, colon, arguments) and what computes one value; the
 * executor goes through a chunk, gives null for null, and keeps what it parsed of an argument that comes
 * again in the next row (a constant, the outer side of a join), for predicates as a prepared geometry. To
 * add a function, add a row. Semantics and names follow PostGIS; units are those of the coordinates. Single
 * thread. */
#include "duck_geo.h"

#include "moongate/geometry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_ARGUMENTS = 5 };

struct duck_geos duck_geos;
#define geos duck_geos.context
#define last_error duck_geos.error

struct column {
    const void *data;
    const uint64_t *validity;
};

/* What one call works on. Results go where the signature says. */
struct argument {
    struct mg_span bytes; /* WKB, text */
    double d;
    int64_t i;
    GEOSGeometry *g; /* borrowed from the cache */
    int slot;
};
struct call {
    const struct argument *a;
    GEOSGeometry *g;    /* result, taken */
    struct mg_buf *buf; /* result: WKB or text, when g stays NULL */
    const char *crs;    /* of the first argument's type; "" or NULL: none */
    double d;
    int64_t i;
    bool b, null;
};
/* False: it failed (last_error may say why). */
typedef bool geo_f(struct call *c);

/* Parsed arguments of the row before. */
static struct cached {
    struct mg_span wkb;
    GEOSGeometry *g;
    const GEOSPreparedGeometry *prepared;
    int uses;
} cache[MAX_ARGUMENTS];

/* Bounds of the two sides of a predicate, kept in the same way: most pairs of a join are told apart by
 * them. */
static struct bounded {
    struct mg_span wkb;
    struct mg_bounds bounds;
    bool known;
} sides[2];

static void keep_error(const char *text, void *data)
{
    (void)data;
    snprintf(last_error, sizeof last_error, "%s", text);
}

static bool fail(const char *text)
{
    snprintf(last_error, sizeof last_error, "%s", text);
    return false;
}

static void drop_cached(struct cached *slot)
{
    if (slot->prepared)
        GEOSPreparedGeom_destroy_r(geos, slot->prepared);
    if (slot->g)
        GEOSGeom_destroy_r(geos, slot->g);
    *slot = (struct cached){0};
}

bool duck_geos_parse(struct mg_span wkb, GEOSGeometry **out)
{
    struct mg_errmsg why = {""};
    if (mg_wkb_check(wkb, &why) != MG_OK)
        return fail(why.text);
    *out = GEOSWKBReader_read_r(geos, duck_geos.reader, (const unsigned char *)wkb.data, wkb.len);
    return *out != NULL;
}

static bool geometry_of(int i, struct argument *a)
{
    struct cached *slot = &cache[i];
    a->slot = i;
    if (slot->g && slot->wkb.data == a->bytes.data && slot->wkb.len == a->bytes.len) {
        slot->uses++;
        a->g = slot->g;
        return true;
    }
    drop_cached(slot);
    if (!duck_geos_parse(a->bytes, &slot->g)) {
        slot->g = NULL;
        return false;
    }
    slot->wkb = a->bytes;
    slot->uses = 1;
    a->g = slot->g;
    return true;
}

/* ---- what a row computes ---- */

#define UNARY(name, function)                              \
    static bool name(struct call *c)                       \
    {                                                      \
        return (c->g = function(geos, c->a[0].g)) != NULL; \
    }
UNARY(st_centroid, GEOSGetCentroid_r)
UNARY(st_envelope, GEOSEnvelope_r)
UNARY(st_convexhull, GEOSConvexHull_r)
UNARY(st_boundary, GEOSBoundary_r)
UNARY(st_makevalid, GEOSMakeValid_r)
UNARY(st_pointonsurface, GEOSPointOnSurface_r)
UNARY(st_linemerge, GEOSLineMerge_r)
UNARY(st_reverse, GEOSReverse_r)
UNARY(st_unaryunion, GEOSUnaryUnion_r)

static bool st_buffer(struct call *c)
{
    return isfinite(c->a[1].d) ? (c->g = GEOSBuffer_r(geos, c->a[0].g, c->a[1].d, 8)) != NULL
                               : fail("the distance is not finite");
}
static bool st_buffer_segments(struct call *c)
{
    if (!isfinite(c->a[1].d) || c->a[2].i < 1 || c->a[2].i > 1024)
        return fail("a distance is finite, segments of a quadrant are 1 to 1024");
    return (c->g = GEOSBuffer_r(geos, c->a[0].g, c->a[1].d, (int)c->a[2].i)) != NULL;
}
static bool st_simplify(struct call *c)
{
    return c->a[1].d >= 0 ? (c->g = GEOSSimplify_r(geos, c->a[0].g, c->a[1].d)) != NULL
                          : fail("the tolerance is a number from 0");
}
static bool st_simplifypreservetopology(struct call *c)
{
    return c->a[1].d >= 0 ? (c->g = GEOSTopologyPreserveSimplify_r(geos, c->a[0].g, c->a[1].d)) != NULL
                          : fail("the tolerance is a number from 0");
}

/* Overlays refuse invalid input; made valid, it is what its author meant. */
typedef GEOSGeometry *overlay_f(GEOSContextHandle_t, const GEOSGeometry *, const GEOSGeometry *);
static bool overlay(struct call *c, overlay_f *run)
{
    if ((c->g = run(geos, c->a[0].g, c->a[1].g)))
        return true;
    GEOSGeometry *a = GEOSMakeValid_r(geos, c->a[0].g), *b = GEOSMakeValid_r(geos, c->a[1].g);
    if (a && b)
        c->g = run(geos, a, b);
    if (a)
        GEOSGeom_destroy_r(geos, a);
    if (b)
        GEOSGeom_destroy_r(geos, b);
    return c->g != NULL;
}
#define OVERLAY(name, function)      \
    static bool name(struct call *c) \
    {                                \
        return overlay(c, function); \
    }
OVERLAY(st_intersection, GEOSIntersection_r)
OVERLAY(st_union, GEOSUnion_r)
OVERLAY(st_difference, GEOSDifference_r)
OVERLAY(st_symdifference, GEOSSymDifference_r)

/* `swapped`: the predicate with its arguments exchanged, so that either side can be the prepared one. */
typedef char predicate_f(GEOSContextHandle_t, const GEOSGeometry *, const GEOSGeometry *);
typedef char prepared_f(GEOSContextHandle_t, const GEOSPreparedGeometry *, const GEOSGeometry *);
static bool predicate(struct call *c, predicate_f *plain, prepared_f *prepared, prepared_f *swapped)
{
    char answer = 2;
    struct cached *a = &cache[c->a[0].slot], *b = &cache[c->a[1].slot];
    struct cached *again = a->uses > 1 && prepared ? a : b->uses > 1 && swapped ? b : NULL;
    if (again && !again->prepared)
        again->prepared = GEOSPrepare_r(geos, again->g);
    if (again && again->prepared)
        answer = again == a ? prepared(geos, a->prepared, b->g) : swapped(geos, b->prepared, a->g);
    else
        answer = plain(geos, a->g, b->g);
    if (answer == 2) {
        GEOSGeometry *va = GEOSMakeValid_r(geos, a->g), *vb = GEOSMakeValid_r(geos, b->g);
        if (va && vb)
            answer = plain(geos, va, vb);
        if (va)
            GEOSGeom_destroy_r(geos, va);
        if (vb)
            GEOSGeom_destroy_r(geos, vb);
    }
    c->b = answer == 1;
    return answer != 2;
}
#define PREDICATE(name, plain, prepared, swapped)      \
    static bool name(struct call *c)                   \
    {                                                  \
        return predicate(c, plain, prepared, swapped); \
    }
PREDICATE(st_intersects, GEOSIntersects_r, GEOSPreparedIntersects_r, GEOSPreparedIntersects_r)
PREDICATE(st_disjoint, GEOSDisjoint_r, GEOSPreparedDisjoint_r, GEOSPreparedDisjoint_r)
PREDICATE(st_contains, GEOSContains_r, GEOSPreparedContains_r, GEOSPreparedWithin_r)
PREDICATE(st_within, GEOSWithin_r, GEOSPreparedWithin_r, GEOSPreparedContains_r)
PREDICATE(st_covers, GEOSCovers_r, GEOSPreparedCovers_r, GEOSPreparedCoveredBy_r)
PREDICATE(st_coveredby, GEOSCoveredBy_r, GEOSPreparedCoveredBy_r, GEOSPreparedCovers_r)
PREDICATE(st_touches, GEOSTouches_r, GEOSPreparedTouches_r, GEOSPreparedTouches_r)
PREDICATE(st_crosses, GEOSCrosses_r, GEOSPreparedCrosses_r, NULL)
PREDICATE(st_overlaps, GEOSOverlaps_r, GEOSPreparedOverlaps_r, GEOSPreparedOverlaps_r)
PREDICATE(st_equals, GEOSEquals_r, NULL, NULL)

static bool st_distance(struct call *c)
{
    c->null = GEOSisEmpty_r(geos, c->a[0].g) == 1 || GEOSisEmpty_r(geos, c->a[1].g) == 1;
    return c->null || GEOSDistance_r(geos, c->a[0].g, c->a[1].g, &c->d) == 1;
}
static bool st_dwithin(struct call *c)
{
    if (!st_distance(c))
        return false;
    c->b = !c->null && c->d <= c->a[2].d;
    c->null = false;
    return true;
}
static bool is_area(const GEOSGeometry *g)
{
    return GEOSGeom_getDimensions_r(geos, g) == 2;
}
static bool st_area(struct call *c)
{
    return GEOSArea_r(geos, c->a[0].g, &c->d) == 1;
}
/* As PostGIS: the length of lines, the perimeter of areas, 0 of the other. */
static bool st_length(struct call *c)
{
    return is_area(c->a[0].g) || GEOSLength_r(geos, c->a[0].g, &c->d) == 1;
}
static bool st_perimeter(struct call *c)
{
    return !is_area(c->a[0].g) || GEOSLength_r(geos, c->a[0].g, &c->d) == 1;
}

typedef int ordinate_f(GEOSContextHandle_t, const GEOSGeometry *, double *);
static bool of_point(struct call *c, ordinate_f *get)
{
    if (GEOSGeomTypeId_r(geos, c->a[0].g) != GEOS_POINT)
        return fail("the geometry is no point; use ST_Centroid or ST_XMin");
    c->null = GEOSisEmpty_r(geos, c->a[0].g) == 1;
    return c->null || get(geos, c->a[0].g, &c->d) == 1;
}
static bool st_x(struct call *c)
{
    return of_point(c, GEOSGeomGetX_r);
}
static bool st_y(struct call *c)
{
    return of_point(c, GEOSGeomGetY_r);
}
static bool st_z(struct call *c)
{
    if (GEOSHasZ_r(geos, c->a[0].g) == 1)
        return of_point(c, GEOSGeomGetZ_r);
    c->null = true;
    return true;
}
#define EXTENT(name, function)                                   \
    static bool name(struct call *c)                             \
    {                                                            \
        c->null = GEOSisEmpty_r(geos, c->a[0].g) == 1;           \
        return c->null || function(geos, c->a[0].g, &c->d) == 1; \
    }
EXTENT(st_xmin, GEOSGeom_getXMin_r)
EXTENT(st_ymin, GEOSGeom_getYMin_r)
EXTENT(st_xmax, GEOSGeom_getXMax_r)
EXTENT(st_ymax, GEOSGeom_getYMax_r)

static bool st_isempty(struct call *c)
{
    return (c->b = GEOSisEmpty_r(geos, c->a[0].g) == 1), true;
}
static bool st_isvalid(struct call *c)
{
    return (c->b = GEOSisValid_r(geos, c->a[0].g) == 1), true;
}
static bool st_npoints(struct call *c)
{
    return (c->i = GEOSGetNumCoordinates_r(geos, c->a[0].g)) >= 0;
}
static bool st_numgeometries(struct call *c)
{
    return (c->i = GEOSGetNumGeometries_r(geos, c->a[0].g)) >= 0;
}
static bool st_dimension(struct call *c)
{
    return (c->i = GEOSGeom_getDimensions_r(geos, c->a[0].g)) >= 0;
}
static bool st_geometrytype(struct call *c)
{
    char *type = GEOSGeomType_r(geos, c->a[0].g);
    if (!type)
        return false;
    mg_buf_printf(c->buf, "ST_%s", type);
    GEOSFree_r(geos, type);
    return true;
}

static bool st_geometryn(struct call *c)
{
    int64_t n = GEOSGetNumGeometries_r(geos, c->a[0].g);
    c->null = c->a[1].i < 1 || c->a[1].i > n;
    const GEOSGeometry *part = c->null ? NULL : GEOSGetGeometryN_r(geos, c->a[0].g, (int)c->a[1].i - 1);
    return c->null || (part && (c->g = GEOSGeom_clone_r(geos, part)));
}
static bool st_exteriorring(struct call *c)
{
    c->null = GEOSGeomTypeId_r(geos, c->a[0].g) != GEOS_POLYGON;
    const GEOSGeometry *ring = c->null ? NULL : GEOSGetExteriorRing_r(geos, c->a[0].g);
    const GEOSCoordSequence *points = ring ? GEOSGeom_getCoordSeq_r(geos, ring) : NULL;
    GEOSCoordSequence *copy = points ? GEOSCoordSeq_clone_r(geos, points) : NULL;
    return c->null || (copy && (c->g = GEOSGeom_createLineString_r(geos, copy)));
}
static bool end_of(struct call *c, GEOSGeometry *(*get)(GEOSContextHandle_t, const GEOSGeometry *))
{
    c->null = GEOSGeomTypeId_r(geos, c->a[0].g) != GEOS_LINESTRING || GEOSisEmpty_r(geos, c->a[0].g) == 1;
    return c->null || (c->g = get(geos, c->a[0].g));
}
static bool st_startpoint(struct call *c)
{
    return end_of(c, GEOSGeomGetStartPoint_r);
}
static bool st_endpoint(struct call *c)
{
    return end_of(c, GEOSGeomGetEndPoint_r);
}

static bool st_point(struct call *c)
{
    mg_wkb_point(c->a[0].d, c->a[1].d, c->buf);
    return true;
}
static bool st_makeenvelope(struct call *c)
{
    mg_wkb_box((struct mg_bounds){c->a[0].d, c->a[1].d, c->a[2].d, c->a[3].d}, c->buf);
    return true;
}
static bool made(enum mg_err code, const struct mg_errmsg *why)
{
    return code == MG_OK || fail(why->text);
}
static bool st_geomfromtext(struct call *c)
{
    struct mg_errmsg why = {""};
    return made(mg_wkb_from_wkt(c->a[0].bytes, c->buf, &why), &why);
}
static bool st_geomfromgeojson(struct call *c)
{
    struct mg_errmsg why = {""};
    return made(mg_wkb_from_geojson(c->a[0].bytes, c->buf, &why), &why);
}
static bool st_asgeojson(struct call *c)
{
    return mg_wkb_to_geojson(c->a[0].bytes, 9, c->buf) == MG_OK || fail("the geometry cannot be read");
}
/* What the statement transforms from where nothing else is known, and to. */
enum { MAX_TARGETS = 8, MAX_CRS = 4096 };
static struct {
    const char *source;
    char *targets[MAX_TARGETS];
    size_t n;
} transforms;

void duck_geo_begin(const char *crs)
{
    for (size_t i = 0; i < transforms.n; i++)
        free(transforms.targets[i]);
    transforms.n = 0;
    transforms.source = crs;
}

const char *duck_geo_target(size_t i)
{
    return i < transforms.n ? transforms.targets[i] : NULL;
}

static bool note_target(const char *crs)
{
    for (size_t i = 0; i < transforms.n; i++)
        if (strcmp(transforms.targets[i], crs) == 0)
            return true;
    if (transforms.n == MAX_TARGETS)
        return fail("a statement transforms to at most 8 CRSs");
    transforms.targets[transforms.n] = strdup(crs);
    return transforms.targets[transforms.n] ? (transforms.n++, true) : fail("out of memory");
}

static bool transform_to(struct call *c, const char *from, struct mg_span target)
{
    struct mg_errmsg why = {""};
    struct mg_transform *t = NULL;
    char to[MAX_CRS];
    if (target.len >= sizeof to)
        return fail("a CRS of that length is not read");
    memcpy(to, target.data, target.len);
    to[target.len] = 0;
    if (mg_transform_get(from, to, &t, &why) != MG_OK)
        return fail(why.text);
    if (!note_target(to))
        return false;
    if (!t) {
        mg_buf_put(c->buf, c->a[0].bytes.data, c->a[0].bytes.len);
        return true;
    }
    return made(mg_wkb_transform(t, c->a[0].bytes, c->buf, &why), &why);
}

/* ST_Transform(g, target): from the CRS of the argument's type, which the binding found. */
static bool st_transform(struct call *c)
{
    const char *from = c->crs && c->crs[0] ? c->crs : transforms.source;
    return from ? transform_to(c, from, c->a[1].bytes)
                : fail("the CRS to transform from is not known: ST_Transform(geometry, 'EPSG:from', "
                       "'EPSG:to')");
}
static bool st_transform_from(struct call *c)
{
    char from[MAX_CRS];
    struct mg_span source = c->a[1].bytes;
    if (source.len >= sizeof from)
        return fail("a CRS of that length is not read");
    memcpy(from, source.data, source.len);
    from[source.len] = 0;
    return transform_to(c, from, c->a[2].bytes);
}

/* Bounds that do not meet decide all predicates without GEOS. Empty and broken geometries have none: GEOS
 * says. */
static bool apart(const struct column *columns, uint64_t row)
{
    for (int i = 0; i < 2; i++) {
        struct mg_span wkb = duck_span((const union duck_string *)columns[i].data + row);
        if (sides[i].wkb.data == wkb.data && sides[i].wkb.len == wkb.len)
            continue;
        sides[i].wkb = wkb;
        sides[i].known = mg_wkb_bounds(wkb, &sides[i].bounds);
    }
    const struct mg_bounds *a = &sides[0].bounds, *b = &sides[1].bounds;
    return sides[0].known && sides[1].known &&
           (a->xmin > b->xmax || a->xmax < b->xmin || a->ymin > b->ymax || a->ymax < b->ymin);
}

/* Signature: result, ':', arguments. g geometry, w its bytes unparsed, d double, i integer, s text, b
 * boolean. */
static const struct geo_function {
    const char *name, *signature;
    geo_f *run;
} functions[] = {
    {"st_point", "w:dd", st_point},
    {"st_makepoint", "w:dd", st_point},
    {"st_makeenvelope", "w:dddd", st_makeenvelope},
    {"st_geomfromtext", "w:s", st_geomfromtext},
    {"st_geomfromgeojson", "w:s", st_geomfromgeojson},
    {"st_asgeojson", "s:w", st_asgeojson},
    {"st_centroid", "g:g", st_centroid},
    {"st_envelope", "g:g", st_envelope},
    {"st_convexhull", "g:g", st_convexhull},
    {"st_boundary", "g:g", st_boundary},
    {"st_makevalid", "g:g", st_makevalid},
    {"st_pointonsurface", "g:g", st_pointonsurface},
    {"st_linemerge", "g:g", st_linemerge},
    {"st_reverse", "g:g", st_reverse},
    {"st_union", "g:g", st_unaryunion},
    {"st_buffer", "g:gd", st_buffer},
    {"st_buffer", "g:gdi", st_buffer_segments},
    {"st_simplify", "g:gd", st_simplify},
    {"st_simplifypreservetopology", "g:gd", st_simplifypreservetopology},
    {"st_intersection", "g:gg", st_intersection},
    {"st_union", "g:gg", st_union},
    {"st_difference", "g:gg", st_difference},
    {"st_symdifference", "g:gg", st_symdifference},
    {"st_geometryn", "g:gi", st_geometryn},
    {"st_exteriorring", "g:g", st_exteriorring},
    {"st_startpoint", "g:g", st_startpoint},
    {"st_endpoint", "g:g", st_endpoint},
    {"st_transform", "w:ws", st_transform},
    {"st_transform", "w:wss", st_transform_from},
    {"st_intersects", "b:gg", st_intersects},
    {"st_disjoint", "b:gg", st_disjoint},
    {"st_contains", "b:gg", st_contains},
    {"st_within", "b:gg", st_within},
    {"st_covers", "b:gg", st_covers},
    {"st_coveredby", "b:gg", st_coveredby},
    {"st_touches", "b:gg", st_touches},
    {"st_crosses", "b:gg", st_crosses},
    {"st_overlaps", "b:gg", st_overlaps},
    {"st_equals", "b:gg", st_equals},
    {"st_dwithin", "b:ggd", st_dwithin},
    {"st_isempty", "b:g", st_isempty},
    {"st_isvalid", "b:g", st_isvalid},
    {"st_distance", "d:gg", st_distance},
    {"st_area", "d:g", st_area},
    {"st_length", "d:g", st_length},
    {"st_perimeter", "d:g", st_perimeter},
    {"st_x", "d:g", st_x},
    {"st_y", "d:g", st_y},
    {"st_z", "d:g", st_z},
    {"st_xmin", "d:g", st_xmin},
    {"st_ymin", "d:g", st_ymin},
    {"st_xmax", "d:g", st_xmax},
    {"st_ymax", "d:g", st_ymax},
    {"st_npoints", "i:g", st_npoints},
    {"st_numgeometries", "i:g", st_numgeometries},
    {"st_dimension", "i:g", st_dimension},
    {"st_geometrytype", "s:g", st_geometrytype},
};

/* ---- the executor ---- */

static bool argument_of(char type, const struct column *column, uint64_t row, int i, struct argument *a)
{
    switch (type) {
    case 'd':
        a->d = ((const double *)column->data)[row];
        return true;
    case 'i':
        a->i = ((const int64_t *)column->data)[row];
        return true;
    default:
        a->bytes = duck_span((const union duck_string *)column->data + row);
        return type != 'g' || geometry_of(i, a);
    }
}

bool duck_geos_put(struct duck_vector *out, uint64_t row, GEOSGeometry *g)
{
    size_t n = 0;
    unsigned char *wkb = GEOSWKBWriter_write_r(geos, duck_geos.writer, g, &n);
    if (wkb)
        duck.vector_assign_string_element_len(out, row, (const char *)wkb, n);
    GEOSFree_r(geos, wkb);
    return wkb != NULL;
}

static bool put_result(char type, struct call *c, struct duck_vector *out, void *data, uint64_t row)
{
    bool good = true;
    switch (type) {
    case 'b':
        ((bool *)data)[row] = c->b;
        break;
    case 'd':
        ((double *)data)[row] = c->d;
        break;
    case 'i':
        ((int64_t *)data)[row] = c->i;
        break;
    default:
        if (c->g)
            good = duck_geos_put(out, row, c->g);
        else if ((good = !c->buf->failed))
            duck.vector_assign_string_element_len(out, row, c->buf->data ? c->buf->data : "", c->buf->len);
    }
    if (c->g)
        GEOSGeom_destroy_r(geos, c->g);
    return good;
}

static void *copy_crs(void *crs)
{
    return strdup(crs);
}

/* The CRS of a type is known only here. */
static void on_bind(struct duck_info *info)
{
    struct duck_expression *first = duck.scalar_function_bind_get_argument(info, 0);
    struct duck_type *type = first ? duck.expression_return_type(first) : NULL;
    char *crs = type && duck.get_type_id(type) == DUCK_GEOMETRY ? duck.geometry_type_get_crs(type) : NULL;
    duck.scalar_function_set_bind_data(info, strdup(crs ? crs : ""), free);
    duck.scalar_function_set_bind_data_copy(info, copy_crs);
    duck.free(crs);
    if (type)
        duck.destroy_logical_type(&type);
    if (first)
        duck.destroy_expression(&first);
}

void duck_set_null(struct duck_vector *out, uint64_t **validity, uint64_t row)
{
    if (!*validity) {
        duck.vector_ensure_validity_writable(out);
        *validity = duck.vector_get_validity(out);
    }
    (*validity)[row / 64] &= ~((uint64_t)1 << (row % 64));
}

static void drop_cache(void)
{
    for (int i = 0; i < MAX_ARGUMENTS; i++)
        drop_cached(&cache[i]);
}

static void on_call(struct duck_info *info, struct duck_chunk *in, struct duck_vector *out)
{
    const struct geo_function *function = duck.scalar_function_get_extra_info(info);
    const char *types = function->signature + 2, *crs = duck.scalar_function_get_bind_data(info);
    uint64_t rows = duck.data_chunk_get_size(in), *nulls = NULL;
    size_t n = strlen(types);
    struct column columns[MAX_ARGUMENTS];
    struct mg_buf buf;
    void *data = duck.vector_get_data(out);
    bool good = true, pairs = strcmp(function->signature, "b:gg") == 0;
    mg_buf_init(&buf, 0);
    for (size_t i = 0; i < n; i++) {
        struct duck_vector *vector = duck.data_chunk_get_vector(in, i);
        columns[i] = (struct column){duck.vector_get_data(vector), duck.vector_get_validity(vector)};
    }
    last_error[0] = 0;
    memset(sides, 0, sizeof sides); /* addresses mean the same bytes only within a chunk */
    for (uint64_t row = 0; good && row < rows; row++) {
        struct argument arguments[MAX_ARGUMENTS] = {0};
        struct call call = {.a = arguments, .buf = &buf, .crs = crs};
        bool null = false;
        for (size_t i = 0; i < n; i++)
            null = null || !duck_valid(columns[i].validity, row);
        bool decided = good && !null && pairs && apart(columns, row);
        for (size_t i = 0; good && !null && !decided && i < n; i++)
            good = argument_of(types[i], &columns[i], row, (int)i, &arguments[i]);
        buf.len = 0;
        if (decided)
            call.b = function->run == st_disjoint;
        else if (good && !null)
            good = function->run(&call);
        if (null || call.null)
            duck_set_null(out, &nulls, row);
        else if (good)
            good = put_result(function->signature[0], &call, out, data, row);
    }
    if (!good) {
        char text[400];
        snprintf(text, sizeof text, "%s: %s", function->name,
                 last_error[0] ? last_error : "GEOS could not do it; try ST_MakeValid first");
        duck.scalar_function_set_error(info, text);
    }
    drop_cache();
    mg_buf_fini(&buf);
}

/* ---- registration ---- */

static struct duck_type *type_of(char letter)
{
    int id = letter == 'b'   ? DUCK_BOOL
             : letter == 'd' ? DUCK_DOUBLE
             : letter == 'i' ? DUCK_BIGINT
             : letter == 's' ? DUCK_VARCHAR
                             : DUCK_GEOMETRY;
    return duck.create_logical_type(id);
}

/* Rows of one name (they need not stand together) are one set. */
static bool register_set(struct duck_con *con, size_t first)
{
    const char *name = functions[first].name;
    struct duck_scalar_set *set = duck.create_scalar_function_set(name);
    bool good = true;
    for (size_t i = first; i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(functions[i].name, name) != 0)
            continue;
        struct duck_scalar_function *function = duck.create_scalar_function();
        duck.scalar_function_set_name(function, name);
        for (const char *t = functions[i].signature + 2; *t; t++) {
            struct duck_type *type = type_of(*t);
            duck.scalar_function_add_parameter(function, type);
            duck.destroy_logical_type(&type);
        }
        struct duck_type *result = type_of(functions[i].signature[0]);
        duck.scalar_function_set_return_type(function, result);
        duck.destroy_logical_type(&result);
        duck.scalar_function_set_extra_info(function, (void *)(uintptr_t)&functions[i], NULL);
        duck.scalar_function_set_function(function, on_call);
        if (functions[i].run == st_transform)
            duck.scalar_function_set_bind(function, on_bind);
        good = duck.add_scalar_function_to_set(set, function) == 0 && good;
        duck.destroy_scalar_function(&function);
    }
    good = duck.register_scalar_function_set(con, set) == 0 && good;
    duck.destroy_scalar_function_set(&set);
    return good;
}

static bool is_first(size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(functions[j].name, functions[i].name) == 0)
            return false;
    return true;
}

enum mg_err duck_geo_register(struct duck_con *con, struct mg_errmsg *err)
{
    struct duck_geos *g = &duck_geos;
    if (!g->context && (g->context = GEOS_init_r())) {
        GEOSContext_setErrorMessageHandler_r(g->context, keep_error, NULL);
        g->reader = GEOSWKBReader_create_r(g->context);
        g->writer = GEOSWKBWriter_create_r(g->context);
    }
    if (!g->context || !g->reader || !g->writer)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for GEOS");
    GEOSWKBWriter_setFlavor_r(g->context, g->writer, GEOS_WKB_ISO);
    GEOSWKBWriter_setOutputDimension_r(g->context, g->writer, 3);
    GEOSWKBWriter_setByteOrder_r(g->context, g->writer, GEOS_WKB_NDR);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (is_first(i) && !register_set(con, i))
            return mg_err_set(err, MG_E_INTERNAL, "DuckDB does not take %s", functions[i].name);
    return duck_geo_register_aggregates(con, err);
}
