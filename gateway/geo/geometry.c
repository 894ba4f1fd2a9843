/* Operations of GEOS on WKB, and WKT and GeoJSON as WKB.
 *
 * One reentrant context for the process; its errors become sentences. WKB is checked by us before
 * GEOS reads it. Results are ISO WKB, little-endian, with Z where GEOS kept it (GEOS 3.11 knows no
 * M). */
#include "geometry_geos.h"

#include "moongate/json.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_TEXT = 64 << 20, MAX_DEPTH = 8 };

GEOSContextHandle_t geos_context;
#define context geos_context
static GEOSWKBReader *reader;
static GEOSWKBWriter *writer;
static char last_error[320];

static void keep_error(const char *text, void *data)
{
    (void)data;
    size_t n = strnlen(text, sizeof last_error - 1);
    memcpy(last_error, text, n);
    last_error[n] = '\0';
}

enum mg_err geos_need(struct mg_errmsg *err)
{
    last_error[0] = '\0';
    if (context)
        return MG_OK;
    context = GEOS_init_r();
    if (context) {
        GEOSContext_setErrorMessageHandler_r(context, keep_error, NULL);
        reader = GEOSWKBReader_create_r(context);
        writer = GEOSWKBWriter_create_r(context);
    }
    if (!context || !reader || !writer)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for GEOS");
    GEOSWKBWriter_setFlavor_r(context, writer, GEOS_WKB_ISO);
    GEOSWKBWriter_setOutputDimension_r(context, writer, 3);
    GEOSWKBWriter_setByteOrder_r(context, writer, GEOS_WKB_NDR);
    return MG_OK;
}

enum mg_err geos_failed(struct mg_errmsg *err, const char *what)
{
    return mg_err_set(err, MG_E_ARGUMENT, "%s: %s", what,
                      last_error[0] ? last_error
                                    : "GEOS could not do it; try to make the geometry valid first");
}

enum mg_err geos_read(struct mg_span wkb, GEOSGeometry **out, struct mg_errmsg *err)
{
    enum mg_err e = mg_wkb_check(wkb, err);
    if (e || (e = geos_need(err)))
        return e;
    GEOSGeometry *geometry =
        GEOSWKBReader_read_r(context, reader, (const unsigned char *)wkb.data, wkb.len);
    if (!geometry)
        return geos_failed(err, "the geometry cannot be read");
    *out = geometry;
    return MG_OK;
}

static enum mg_err write_wkb(const GEOSGeometry *geometry, struct mg_buf *out,
                             struct mg_errmsg *err)
{
    size_t n = 0;
    unsigned char *wkb = GEOSWKBWriter_write_r(context, writer, geometry, &n);
    if (!wkb)
        return geos_failed(err, "the geometry cannot be written");
    mg_buf_put(out, wkb, n);
    GEOSFree_r(context, wkb);
    return mg_buf_status(out, err);
}

/* Ends an operation: writes and frees what it made. */
enum mg_err geos_finish(GEOSGeometry *made, const char *what, struct mg_buf *out, struct mg_errmsg *err)
{
    if (!made)
        return geos_failed(err, what);
    enum mg_err e = write_wkb(made, out, err);
    GEOSGeom_destroy_r(context, made);
    return e;
}

typedef GEOSGeometry *unary_f(GEOSContextHandle_t, const GEOSGeometry *);
typedef GEOSGeometry *binary_f(GEOSContextHandle_t, const GEOSGeometry *, const GEOSGeometry *);
typedef char predicate_f(GEOSContextHandle_t, const GEOSGeometry *, const GEOSGeometry *);

static const struct {
    const char *name;
    unary_f *run;
} unaries[] = {
    [MG_GEO_CENTROID] = {"centroid", GEOSGetCentroid_r},
    [MG_GEO_ENVELOPE] = {"envelope", GEOSEnvelope_r},
    [MG_GEO_HULL] = {"hull", GEOSConvexHull_r},
    [MG_GEO_BOUNDARY] = {"boundary", GEOSBoundary_r},
    [MG_GEO_VALID] = {"make valid", GEOSMakeValid_r},
    [MG_GEO_SURFACE_POINT] = {"surface point", GEOSPointOnSurface_r},
};
static const struct {
    const char *name;
    binary_f *run;
} binaries[] = {
    [MG_GEO_INTERSECTION] = {"intersection", GEOSIntersection_r},
    [MG_GEO_UNION] = {"union", GEOSUnion_r},
    [MG_GEO_DIFFERENCE] = {"difference", GEOSDifference_r},
};
static const struct {
    const char *name;
    predicate_f *run;
} predicates[] = {
    [MG_GEO_INTERSECTS] = {"intersects", GEOSIntersects_r},
    [MG_GEO_CONTAINS] = {"contains", GEOSContains_r},
    [MG_GEO_WITHIN] = {"within", GEOSWithin_r},
    [MG_GEO_EQUALS] = {"equals", GEOSEquals_r},
};

enum mg_err mg_wkb_unary(enum mg_geo_op op, struct mg_span wkb, struct mg_buf *out,
                         struct mg_errmsg *err)
{
    GEOSGeometry *a = NULL;
    enum mg_err e = geos_read(wkb, &a, err);
    if (e)
        return e;
    e = geos_finish(unaries[op].run(context, a), unaries[op].name, out, err);
    GEOSGeom_destroy_r(context, a);
    return e;
}

static enum mg_err read_two(struct mg_span wkb_a, struct mg_span wkb_b, GEOSGeometry **a,
                            GEOSGeometry **b, struct mg_errmsg *err)
{
    enum mg_err e = geos_read(wkb_a, a, err);
    if (!e && (e = geos_read(wkb_b, b, err)))
        GEOSGeom_destroy_r(context, *a);
    return e;
}

/* Overlays refuse invalid input; made valid, it is what its author meant. */
void geos_make_valid(GEOSGeometry **geometry)
{
    GEOSGeometry *valid =
        GEOSisValid_r(context, *geometry) == 1 ? NULL : GEOSMakeValid_r(context, *geometry);
    if (valid) {
        GEOSGeom_destroy_r(context, *geometry);
        *geometry = valid;
    }
}

enum mg_err mg_wkb_binary(enum mg_geo_binary op, struct mg_span wkb_a, struct mg_span wkb_b,
                          struct mg_buf *out, struct mg_errmsg *err)
{
    GEOSGeometry *a = NULL, *b = NULL;
    enum mg_err e = read_two(wkb_a, wkb_b, &a, &b, err);
    if (e)
        return e;
    GEOSGeometry *made = binaries[op].run(context, a, b);
    if (!made) {
        geos_make_valid(&a);
        geos_make_valid(&b);
        made = binaries[op].run(context, a, b);
    }
    e = geos_finish(made, binaries[op].name, out, err);
    GEOSGeom_destroy_r(context, a);
    GEOSGeom_destroy_r(context, b);
    return e;
}

enum mg_err mg_wkb_predicate(enum mg_geo_predicate op, struct mg_span wkb_a, struct mg_span wkb_b,
                             bool *out, struct mg_errmsg *err)
{
    GEOSGeometry *a = NULL, *b = NULL;
    enum mg_err e = read_two(wkb_a, wkb_b, &a, &b, err);
    if (e)
        return e;
    char answer = predicates[op].run(context, a, b);
    if (answer == 2) {
        geos_make_valid(&a);
        geos_make_valid(&b);
        answer = predicates[op].run(context, a, b);
    }
    GEOSGeom_destroy_r(context, a);
    GEOSGeom_destroy_r(context, b);
    if (answer == 2)
        return geos_failed(err, predicates[op].name);
    *out = answer == 1;
    return MG_OK;
}

enum mg_err mg_wkb_buffer(struct mg_span wkb, double distance, int quad_segments,
                          struct mg_buf *out, struct mg_errmsg *err)
{
    GEOSGeometry *a = NULL;
    if (!isfinite(distance) || quad_segments < 1 || quad_segments > 1024)
        return mg_err_set(err, MG_E_ARGUMENT,
                          "buffer: a distance is a finite number, quadrant segments are 1 to 1024");
    enum mg_err e = geos_read(wkb, &a, err);
    if (e)
        return e;
    e = geos_finish(GEOSBuffer_r(context, a, distance, quad_segments), "buffer", out, err);
    GEOSGeom_destroy_r(context, a);
    return e;
}

enum mg_err mg_wkb_simplify(struct mg_span wkb, double tolerance, bool keep_topology,
                            struct mg_buf *out, struct mg_errmsg *err)
{
    GEOSGeometry *a = NULL;
    if (!isfinite(tolerance) || tolerance < 0)
        return mg_err_set(err, MG_E_ARGUMENT, "simplify: the tolerance is a number from 0");
    enum mg_err e = geos_read(wkb, &a, err);
    if (e)
        return e;
    GEOSGeometry *made = keep_topology ? GEOSTopologyPreserveSimplify_r(context, a, tolerance)
                                       : GEOSSimplify_r(context, a, tolerance);
    e = geos_finish(made, "simplify", out, err);
    GEOSGeom_destroy_r(context, a);
    return e;
}

enum mg_err mg_wkb_clip(struct mg_span wkb, struct mg_bounds box, struct mg_buf *out,
                        struct mg_errmsg *err)
{
    GEOSGeometry *a = NULL;
    if (!(box.xmin < box.xmax) || !(box.ymin < box.ymax))
        return mg_err_set(err, MG_E_ARGUMENT, "clip: the box has no area");
    enum mg_err e = geos_read(wkb, &a, err);
    if (e)
        return e;
    GEOSGeometry *made = GEOSClipByRect_r(context, a, box.xmin, box.ymin, box.xmax, box.ymax);
    if (!made) {
        geos_make_valid(&a);
        made = GEOSClipByRect_r(context, a, box.xmin, box.ymin, box.xmax, box.ymax);
    }
    e = geos_finish(made, "clip", out, err);
    GEOSGeom_destroy_r(context, a);
    return e;
}

enum mg_err mg_wkb_valid_on_grid(struct mg_span wkb, struct mg_buf *out, struct mg_errmsg *err)
{
    GEOSGeometry *a = NULL;
    enum mg_err e = geos_read(wkb, &a, err);
    if (e)
        return e;
    GEOSGeometry *valid = GEOSMakeValid_r(context, a);
    GEOSGeometry *snapped = valid ? GEOSGeom_setPrecision_r(context, valid, 1, 0) : NULL;
    e = geos_finish(snapped, "make valid", out, err);
    if (valid)
        GEOSGeom_destroy_r(context, valid);
    GEOSGeom_destroy_r(context, a);
    return e;
}

enum mg_err mg_wkb_measure(struct mg_span wkb, double *area, double *length, struct mg_errmsg *err)
{
    GEOSGeometry *a = NULL;
    double found_area = 0, found_length = 0;
    enum mg_err e = geos_read(wkb, &a, err);
    if (e)
        return e;
    bool ok = GEOSArea_r(context, a, &found_area) && GEOSLength_r(context, a, &found_length);
    GEOSGeom_destroy_r(context, a);
    if (!ok)
        return geos_failed(err, "measure");
    if (area)
        *area = found_area;
    if (length)
        *length = found_length;
    return MG_OK;
}

enum mg_err mg_wkb_from_wkt(struct mg_span wkt, struct mg_buf *out, struct mg_errmsg *err)
{
    enum mg_err e = geos_need(err);
    if (e)
        return e;
    if (wkt.len > MAX_TEXT)
        return mg_err_set(err, MG_E_ARGUMENT, "a WKT of %zu bytes: at most %d are read", wkt.len,
                          MAX_TEXT);
    /* GEOS parses by recursion: bound the nesting before it does. */
    int depth = 0;
    for (size_t i = 0; i < wkt.len; i++) {
        depth += wkt.data[i] == '(' ? 1 : wkt.data[i] == ')' ? -1 : 0;
        if (depth > MAX_DEPTH + 3 || wkt.data[i] == '\0')
            return mg_err_set(err, MG_E_ARGUMENT, "the WKT is nested deeper than %d or holds a NUL",
                              MAX_DEPTH);
    }
    char *text = strndup(wkt.data ? wkt.data : "", wkt.len);
    GEOSWKTReader *parser = text ? GEOSWKTReader_create_r(context) : NULL;
    GEOSGeometry *geometry = parser ? GEOSWKTReader_read_r(context, parser, text) : NULL;
    e = geos_finish(geometry, "the WKT cannot be read", out, err);
    if (parser)
        GEOSWKTReader_destroy_r(context, parser);
    free(text);
    return e;
}

/* GeoJSON: types and how deep their coordinates are nested. */
static const struct {
    const char *name;
    uint32_t type;
    int depth; /* of the coordinates: 0 a position */
} json_types[] = {
    {"Point", 1, 0},      {"LineString", 2, 1},      {"Polygon", 3, 2},
    {"MultiPoint", 4, 1}, {"MultiLineString", 5, 2}, {"MultiPolygon", 6, 3},
};

static void put_u32(struct mg_buf *out, uint32_t v)
{
    mg_buf_put(out, &v, 4);
}

static void put_header(struct mg_buf *out, uint32_t type, bool z)
{
    mg_buf_char(out, 1);
    put_u32(out, type + (z ? 1000 : 0));
}

static bool put_position(const json_t *position, bool z, struct mg_buf *out)
{
    size_t n = json_array_size(position);
    if (!json_is_array(position) || n < 2)
        return false;
    for (size_t i = 0; i < (z ? 3u : 2u); i++) {
        const json_t *number = json_array_get(position, i);
        if (!json_is_number(number) && i < 2)
            return false;
        double value = json_is_number(number) ? json_number_value(number) : 0;
        mg_buf_put(out, &value, 8);
    }
    return true;
}

static bool put_positions(const json_t *list, bool z, struct mg_buf *out)
{
    if (!json_is_array(list))
        return false;
    put_u32(out, (uint32_t)json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!put_position(json_array_get(list, i), z, out))
            return false;
    return true;
}

/* The coordinates of a base type, behind its header. */
static bool put_coordinates(const json_t *coordinates, uint32_t type, bool z, struct mg_buf *out)
{
    if (type == 1) {
        if (json_is_array(coordinates) &&
            json_array_size(coordinates) == 0) { /* empty: NaN in WKB */
            double nan = NAN;
            for (int i = 0; i < (z ? 3 : 2); i++)
                mg_buf_put(out, &nan, 8);
            return true;
        }
        return put_position(coordinates, z, out);
    }
    if (type == 2)
        return put_positions(coordinates, z, out);
    if (!json_is_array(coordinates))
        return false;
    put_u32(out, (uint32_t)json_array_size(coordinates));
    for (size_t i = 0; i < json_array_size(coordinates); i++) {
        const json_t *part = json_array_get(coordinates, i);
        if (type == 3 ? !put_positions(part, z, out)
                      : (put_header(out, type - 3, z), !put_coordinates(part, type - 3, z, out)))
            return false;
    }
    return true;
}

/* Whether the first position has a height. */
static bool has_z(const json_t *coordinates, int depth)
{
    while (depth-- > 0)
        coordinates = json_array_get(coordinates, 0);
    return json_array_size(coordinates) > 2;
}

static enum mg_err put_geometry(const json_t *value, int depth, struct mg_buf *out,
                                struct mg_errmsg *err)
{
    const char *type = mg_json_str(value, "type", "");
    if (depth > MAX_DEPTH)
        return mg_err_set(err, MG_E_ARGUMENT, "the GeoJSON is nested deeper than %d", MAX_DEPTH);
    if (strcmp(type, "Feature") == 0)
        return put_geometry(json_object_get(value, "geometry"), depth + 1, out, err);
    if (strcmp(type, "GeometryCollection") == 0 || strcmp(type, "FeatureCollection") == 0) {
        const json_t *list = json_object_get(value, type[0] == 'G' ? "geometries" : "features");
        if (!json_is_array(list))
            return mg_err_set(err, MG_E_ARGUMENT, "a GeoJSON %s needs its list", type);
        put_header(out, 7, false);
        put_u32(out, (uint32_t)json_array_size(list));
        for (size_t i = 0; i < json_array_size(list); i++) {
            enum mg_err e = put_geometry(json_array_get(list, i), depth + 1, out, err);
            if (e)
                return e;
        }
        return MG_OK;
    }
    for (size_t i = 0; i < sizeof json_types / sizeof *json_types; i++) {
        if (strcmp(type, json_types[i].name) != 0)
            continue;
        const json_t *coordinates = json_object_get(value, "coordinates");
        bool z = has_z(coordinates, json_types[i].depth);
        put_header(out, json_types[i].type, z);
        if (!put_coordinates(coordinates, json_types[i].type, z, out))
            return mg_err_set(err, MG_E_ARGUMENT,
                              "the coordinates of a GeoJSON %s are not as its type needs them",
                              type);
        return MG_OK;
    }
    return mg_err_set(err, MG_E_ARGUMENT, "\"%.40s\" is no type of a GeoJSON geometry", type);
}

enum mg_err mg_wkb_from_geojson(struct mg_span json, struct mg_buf *out, struct mg_errmsg *err)
{
    json_t *value = NULL;
    size_t start = out->len;
    enum mg_err e = mg_json_parse(json, MAX_TEXT, &value, err);
    if (e)
        return e;
    e = put_geometry(value, 0, out, err);
    json_decref(value);
    if (!e)
        e = mg_buf_status(out, err);
    if (e && out->data) {
        out->len = start;
        out->data[start] = '\0';
    }
    return e;
}
