/* Geometries: WKB with a CRS in one userdata, immutable; methods go to GEOS and PROJ (geometry.h).
 *
 * Distances and areas are metres on the ellipsoid, unless the geometry lies in a plane (vector_ops.h).
 */
#include "vm.h"

#include "moongate/vector_ops.h"

#include <math.h>

static const char GEOMETRY_TYPE[] = "moon.Geometry";

struct vm_geometry *vm_to_geometry(lua_State *L, int index)
{
    void *ud = lua_touserdata(L, index);
    if (!ud || lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    luaL_getmetatable(L, GEOMETRY_TYPE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? ud : NULL;
}

static struct vm_geometry *check(lua_State *L, const char *what, int index)
{
    struct vm_geometry *g = vm_to_geometry(L, index);
    if (!g)
        vm_bad(L, what, "a geometry", index);
    return g;
}

/* geometry:buffer(metres [, quad_segments]) -> geometry */
static int l_buffer(lua_State *L)
{
    struct vm_geometry *g = check(L, "buffer", 1);
    struct mg_errmsg why = {""};
    if (lua_type(L, 2) != LUA_TNUMBER || !isfinite(lua_tonumber(L, 2)))
        vm_bad(L, "buffer", "a distance in metres", 2);
    double segments = luaL_optnumber(L, 3, 8);
    if (!(segments >= 1 && segments <= 64))
        vm_raise(L, MG_E_ARGUMENT, "buffer: segments: expected 1 to 64, got %g", segments);
    struct mg_buf *out = vm_scratch(L, 3);
    enum mg_err err = mg_ground_buffer(vm_wkb(g), vm_crs(g), lua_tonumber(L, 2), (int)segments, out, &why);
    vm_check(L, "buffer", err, &why);
    vm_push_geometry(L, (struct mg_span){out->data, out->len}, vm_crs(g));
    return 1;
}

/* geometry:bounds() -> bounds in degrees */
static int l_bounds(lua_State *L)
{
    struct vm_geometry *g = check(L, "bounds", 1);
    struct mg_errmsg why = {""};
    struct vm_bounds b = {0};
    if (!mg_wkb_bounds(vm_wkb(g), &b.b))
        vm_raise(L, MG_E_ARGUMENT, "bounds: the geometry is empty");
    struct mg_transform *transform = NULL;
    vm_check(L, "bounds", mg_transform_get(vm_crs(g), "EPSG:4326", &transform, &why), &why);
    if (transform)
        vm_check(L, "bounds", mg_transform_bounds(transform, b.b, &b.b, &why), &why);
    vm_push_bounds(L, &b);
    return 1;
}

/* geometry:area() -> square metres; geometry:length() -> metres */
static int measure(lua_State *L, const char *what, bool want_area)
{
    struct vm_geometry *g = check(L, what, 1);
    struct mg_errmsg why = {""};
    double area, length;
    vm_check(L, what, mg_ground_measure(vm_wkb(g), vm_crs(g), &area, &length, &why), &why);
    lua_pushnumber(L, want_area ? area : length);
    return 1;
}
static int l_area(lua_State *L)
{
    return measure(L, "area", true);
}
static int l_length(lua_State *L)
{
    return measure(L, "length", false);
}

static int unary(lua_State *L, const char *what, enum mg_geo_op op)
{
    struct vm_geometry *g = check(L, what, 1);
    struct mg_errmsg why = {""};
    struct mg_buf *out = vm_scratch(L, 3);
    vm_check(L, what, mg_wkb_unary(op, vm_wkb(g), out, &why), &why);
    vm_push_geometry(L, (struct mg_span){out->data, out->len}, vm_crs(g));
    return 1;
}
/* geometry:centroid(), :envelope(), :hull(), :boundary(), :valid(), :surface_point() -> geometry */
static int l_centroid(lua_State *L)
{
    return unary(L, "centroid", MG_GEO_CENTROID);
}
static int l_envelope(lua_State *L)
{
    return unary(L, "envelope", MG_GEO_ENVELOPE);
}
static int l_hull(lua_State *L)
{
    return unary(L, "hull", MG_GEO_HULL);
}
static int l_boundary(lua_State *L)
{
    return unary(L, "boundary", MG_GEO_BOUNDARY);
}
static int l_valid(lua_State *L)
{
    return unary(L, "valid", MG_GEO_VALID);
}
static int l_surface_point(lua_State *L)
{
    return unary(L, "surface_point", MG_GEO_SURFACE_POINT);
}

/* The other operand, in the CRS of the first; bounds count as their polygon. In scratch 4 when
 * made. */
static struct mg_span operand(lua_State *L, const char *what, const struct vm_geometry *g,
                              int index)
{
    struct mg_errmsg why = {""};
    struct mg_span wkb;
    const char *crs = "EPSG:4326";
    struct vm_geometry *other = vm_to_geometry(L, index);
    if (other) {
        wkb = vm_wkb(other);
        crs = vm_crs(other);
    } else if (vm_is_bounds(L, index)) {
        struct vm_bounds b;
        struct mg_buf *box = vm_scratch(L, 2);
        vm_check_bounds(L, what, index, &b);
        mg_wkb_box(b.b, box);
        wkb = (struct mg_span){box->data, box->len};
    } else {
        vm_bad(L, what, "a geometry or bounds", index);
    }
    if (strcmp(crs, vm_crs(g)) == 0)
        return wkb;
    struct mg_transform *transform = NULL;
    vm_check(L, what, mg_transform_get(crs, vm_crs(g), &transform, &why), &why);
    if (!transform)
        return wkb;
    struct mg_buf *out = vm_scratch(L, 4);
    vm_check(L, what, mg_wkb_transform(transform, wkb, out, &why), &why);
    return (struct mg_span){out->data, out->len};
}

static int binary(lua_State *L, const char *what, enum mg_geo_binary op)
{
    struct vm_geometry *g = check(L, what, 1);
    struct mg_errmsg why = {""};
    struct mg_span other = operand(L, what, g, 2);
    struct mg_buf *out = vm_scratch(L, 3);
    vm_check(L, what, mg_wkb_binary(op, vm_wkb(g), other, out, &why), &why);
    vm_push_geometry(L, (struct mg_span){out->data, out->len}, vm_crs(g));
    return 1;
}
/* geometry:intersection(other), :union(other), :difference(other) -> geometry */
static int l_intersection(lua_State *L)
{
    return binary(L, "intersection", MG_GEO_INTERSECTION);
}
static int l_union(lua_State *L)
{
    return binary(L, "union", MG_GEO_UNION);
}
static int l_difference(lua_State *L)
{
    return binary(L, "difference", MG_GEO_DIFFERENCE);
}

static int predicate(lua_State *L, const char *what, enum mg_geo_predicate op)
{
    struct vm_geometry *g = check(L, what, 1);
    struct mg_errmsg why = {""};
    bool yes;
    vm_check(L, what, mg_wkb_predicate(op, vm_wkb(g), operand(L, what, g, 2), &yes, &why), &why);
    lua_pushboolean(L, yes);
    return 1;
}
/* geometry:intersects(other), :contains(other), :within(other), :equals(other) -> boolean */
static int l_intersects(lua_State *L)
{
    return predicate(L, "intersects", MG_GEO_INTERSECTS);
}
static int l_contains(lua_State *L)
{
    return predicate(L, "contains", MG_GEO_CONTAINS);
}
static int l_within(lua_State *L)
{
    return predicate(L, "within", MG_GEO_WITHIN);
}
static int l_equals(lua_State *L)
{
    return predicate(L, "equals", MG_GEO_EQUALS);
}

/* geometry:distance(other) -> metres between their closest points; nil when one of them is empty */
static int l_distance(lua_State *L)
{
    struct vm_geometry *g = check(L, "distance", 1);
    struct mg_errmsg why = {""};
    double metres;
    struct mg_span other = operand(L, "distance", g, 2);
    vm_check(L, "distance", mg_ground_distance(vm_wkb(g), other, vm_crs(g), &metres, &why), &why);
    if (isnan(metres))
        lua_pushnil(L);
    else
        lua_pushnumber(L, metres);
    return 1;
}

/* geometry:simplify(tolerance [, keep_topology]) -> geometry; the tolerance is in units of the
 * coordinates */
static int l_simplify(lua_State *L)
{
    struct vm_geometry *g = check(L, "simplify", 1);
    struct mg_errmsg why = {""};
    struct mg_buf *out = vm_scratch(L, 3);
    if (lua_type(L, 2) != LUA_TNUMBER || !(lua_tonumber(L, 2) >= 0))
        vm_bad(L, "simplify", "a tolerance in units of the coordinates", 2);
    bool keep = lua_isnoneornil(L, 3) || lua_toboolean(L, 3);
    vm_check(L, "simplify", mg_wkb_simplify(vm_wkb(g), lua_tonumber(L, 2), keep, out, &why), &why);
    vm_push_geometry(L, (struct mg_span){out->data, out->len}, vm_crs(g));
    return 1;
}

/* geometry:reproject(crs) -> geometry */
static int l_reproject(lua_State *L)
{
    struct vm_geometry *g = check(L, "reproject", 1);
    struct mg_errmsg why = {""};
    struct mg_transform *transform = NULL;
    if (lua_type(L, 2) != LUA_TSTRING)
        vm_bad(L, "reproject", "a CRS such as \"EPSG:3857\"", 2);
    vm_check(L, "reproject", mg_transform_get(vm_crs(g), lua_tostring(L, 2), &transform, &why),
             &why);
    if (!transform) {
        vm_push_geometry(L, vm_wkb(g), lua_tostring(L, 2));
        return 1;
    }
    struct mg_buf *out = vm_scratch(L, 3);
    vm_check(L, "reproject", mg_wkb_transform(transform, vm_wkb(g), out, &why), &why);
    vm_push_geometry(L, (struct mg_span){out->data, out->len}, lua_tostring(L, 2));
    return 1;
}

/* geometry:wkt() -> text; also tostring(geometry) */
static int l_wkt(lua_State *L)
{
    struct vm_geometry *g = check(L, "wkt", 1);
    struct mg_buf *out = vm_scratch(L, 3);
    mg_wkb_to_wkt(vm_wkb(g), out);
    lua_pushlstring(L, out->data ? out->data : "", out->len);
    return 1;
}

/* geometry:geojson() -> text */
static int l_geojson(lua_State *L)
{
    struct vm_geometry *g = check(L, "geojson", 1);
    struct mg_errmsg why = {""};
    struct mg_buf *out = vm_scratch(L, 3);
    vm_check(L, "geojson", mg_wkb_to_geojson(vm_wkb(g), 9, out), &why);
    lua_pushlstring(L, out->data ? out->data : "", out->len);
    return 1;
}

/* geometry.type -> "Point" …; geometry.crs; geometry.x, geometry.y of a point; else a method */
static int geometry_index(lua_State *L)
{
    static const char *const types[] = {
        "?",          "Point",           "LineString",   "Polygon",
        "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection"};
    struct vm_geometry *g = check(L, "geometry", 1);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    int type = mg_wkb_type(vm_wkb(g));
    struct mg_bounds b;
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1))
        return 1;
    if (strcmp(key, "type") == 0)
        lua_pushstring(L, type >= 1 && type <= 7 ? types[type] : "?");
    else if (strcmp(key, "crs") == 0)
        lua_pushstring(L, vm_crs(g));
    else if (type == 1 && (strcmp(key, "x") == 0 || strcmp(key, "y") == 0) &&
             mg_wkb_bounds(vm_wkb(g), &b))
        lua_pushnumber(L, key[0] == 'x' ? b.xmin : b.ymin);
    else if (type == 1 && (strcmp(key, "x") == 0 || strcmp(key, "y") == 0))
        lua_pushnil(L);
    else
        vm_raise(L, MG_E_ARGUMENT, "a geometry has no `%.60s`%s", key,
                 strcmp(key, "x") == 0 || strcmp(key, "y") == 0
                     ? " (only points have)"
                     : vm_suggest(L, key, lua_upvalueindex(1), NULL));
    return 1;
}

static int geometry_eq(lua_State *L)
{
    struct vm_geometry *a = check(L, "==", 1), *b = check(L, "==", 2);
    lua_pushboolean(L, a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0);
    return 1;
}

void vm_push_geometry(lua_State *L, struct mg_span wkb, const char *crs)
{
    static const luaL_Reg methods[] = {{"buffer", l_buffer},
                                       {"bounds", l_bounds},
                                       {"area", l_area},
                                       {"length", l_length},
                                       {"centroid", l_centroid},
                                       {"envelope", l_envelope},
                                       {"hull", l_hull},
                                       {"boundary", l_boundary},
                                       {"valid", l_valid},
                                       {"surface_point", l_surface_point},
                                       {"intersection", l_intersection},
                                       {"union", l_union},
                                       {"difference", l_difference},
                                       {"intersects", l_intersects},
                                       {"contains", l_contains},
                                       {"within", l_within},
                                       {"equals", l_equals},
                                       {"distance", l_distance},
                                       {"simplify", l_simplify},
                                       {"reproject", l_reproject},
                                       {"wkt", l_wkt},
                                       {"geojson", l_geojson},
                                       {NULL, NULL}};
    size_t crs_len = strlen(crs);
    if (wkb.len > 64u << 20 || crs_len > 65535)
        vm_raise(L, MG_E_ARGUMENT, "a geometry of more than 64 MB");
    struct vm_geometry *g = lua_newuserdata(L, sizeof *g + wkb.len + crs_len + 1);
    g->len = (uint32_t)wkb.len;
    g->crs_len = (uint32_t)crs_len;
    memcpy(g->bytes, wkb.data, wkb.len);
    memcpy(g->bytes + wkb.len, crs, crs_len + 1);
    if (luaL_newmetatable(L, GEOMETRY_TYPE)) {
        lua_newtable(L);
        luaL_register(L, NULL, methods);
        lua_pushcclosure(L, geometry_index, 1);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, l_wkt);
        lua_setfield(L, -2, "__tostring");
        lua_pushcfunction(L, geometry_eq);
        lua_setfield(L, -2, "__eq");
        lua_pushliteral(L, "geometry");
        lua_setfield(L, -2, "__name");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

/* point(lng, lat) -> geometry */
static int l_point(lua_State *L)
{
    for (int i = 1; i <= 2; i++)
        if (lua_type(L, i) != LUA_TNUMBER || !isfinite(lua_tonumber(L, i)))
            vm_bad(L, i == 1 ? "point: longitude" : "point: latitude", "a number", i);
    if (fabs(lua_tonumber(L, 1)) > 360)
        vm_bad(L, "point: longitude", "degrees", 1);
    if (fabs(lua_tonumber(L, 2)) > 90)
        vm_bad(L, "point: latitude", "-90 to 90 degrees (the longitude comes first)", 2);
    struct mg_buf *out = vm_scratch(L, 3);
    mg_wkb_point(lua_tonumber(L, 1), lua_tonumber(L, 2), out);
    vm_push_geometry(L, (struct mg_span){out->data, out->len}, "EPSG:4326");
    return 1;
}

/* geometry(wkt, GeoJSON text, GeoJSON table, or bounds [, crs]) -> geometry */
static int l_geometry(lua_State *L)
{
    struct mg_errmsg why = {""};
    struct mg_buf *out = vm_scratch(L, 3), *json;
    const char *crs = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "EPSG:4326";
    struct mg_span text;
    enum mg_err err;
    if (vm_to_geometry(L, 1)) {
        lua_settop(L, 1);
        return 1;
    }
    if (vm_is_bounds(L, 1)) {
        struct vm_bounds b;
        vm_check_bounds(L, "geometry", 1, &b);
        mg_wkb_box(b.b, out);
        err = MG_OK;
    } else if (lua_istable(L, 1)) {
        json = vm_scratch(L, 2);
        if (!vm_json_write(L, 1, json, &why))
            vm_raise(L, MG_E_ARGUMENT, "geometry: %s", why.text);
        err = mg_wkb_from_geojson((struct mg_span){json->data, json->len}, out, &why);
    } else if (lua_type(L, 1) == LUA_TSTRING) {
        text.data = lua_tolstring(L, 1, &text.len);
        size_t skip = strspn(text.data, " \t\r\n");
        err = text.data[skip] == '{' ? mg_wkb_from_geojson(text, out, &why)
                                     : mg_wkb_from_wkt(text, out, &why);
    } else {
        vm_bad(L, "geometry", "WKT, GeoJSON or bounds", 1);
    }
    vm_check(L, "geometry", err, &why);
    vm_push_geometry(L, (struct mg_span){out->data, out->len}, crs);
    return 1;
}

void vm_open_geometry(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"point", l_point}, {"geometry", l_geometry}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
