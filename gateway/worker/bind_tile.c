/* Bounds and tile maths: moon.bounds, moon.tile (lua/moon/tile.lua). Bounds are plain Lua tables
 * with our metatable. */
#include "vm.h"

#include <math.h>
#include <stdio.h>

static const char BOUNDS_TYPE[] = "moon.Bounds";

bool vm_is_bounds(lua_State *L, int index)
{
    if (!lua_istable(L, index) || !lua_getmetatable(L, index))
        return false;
    luaL_getmetatable(L, BOUNDS_TYPE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

static bool get_number(lua_State *L, int index, const char *key, int i, double *out)
{
    if (key) {
        lua_pushstring(L, key);
        lua_rawget(L, index);
    } else {
        lua_rawgeti(L, index, i);
    }
    bool ok = lua_type(L, -1) == LUA_TNUMBER;
    *out = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return ok;
}

void vm_check_bounds(lua_State *L, const char *what, int index, struct vm_bounds *out)
{
    static const char expected[] = "bounds (or a list of four numbers: xmin, ymin, xmax, ymax)";
    memset(out, 0, sizeof *out);
    struct vm_geometry *geometry = vm_to_geometry(L, index);
    if (geometry) {
        if (!mg_wkb_bounds(vm_wkb(geometry), &out->b))
            vm_raise(L, MG_E_ARGUMENT, "%s: the geometry is empty", what);
        return;
    }
    if (!lua_istable(L, index))
        vm_bad(L, what, expected, index);
    double *const v[4] = {&out->b.xmin, &out->b.ymin, &out->b.xmax, &out->b.ymax};
    static const char *const keys[4] = {"xmin", "ymin", "xmax", "ymax"};
    bool named = true, listed = true;
    for (int i = 0; i < 4; i++)
        named = named && get_number(L, index, keys[i], 0, v[i]);
    for (int i = 0; !named && i < 4; i++)
        listed = listed && get_number(L, index, NULL, i + 1, v[i]);
    if (!named && !listed)
        vm_bad(L, what, expected, index);
    if (!mg_bounds_valid(out->b))
        vm_raise(L, MG_E_ARGUMENT,
                 "%s: %g, %g, %g, %g are no bounds in degrees (xmin, ymin, xmax, ymax: west, "
                 "south, east, "
                 "north)",
                 what, out->b.xmin, out->b.ymin, out->b.xmax, out->b.ymax);
    double z, x, y, size;
    if (named && get_number(L, index, "z", 0, &z) && get_number(L, index, "x", 0, &x) &&
        get_number(L, index, "y", 0, &y)) {
        /* Whoever changed the bounds of a tile no longer has the tile. */
        struct mg_tile tile = {(int32_t)z, (int32_t)x, (int32_t)y};
        if (mg_tile_valid(tile)) {
            struct mg_bounds own = mg_tile_bounds(tile);
            out->has_tile =
                fabs(own.xmin - out->b.xmin) < 1e-9 && fabs(own.ymin - out->b.ymin) < 1e-9 &&
                fabs(own.xmax - out->b.xmax) < 1e-9 && fabs(own.ymax - out->b.ymax) < 1e-9;
            out->tile = tile;
        }
        out->size = 256;
        if (get_number(L, index, "size", 0, &size)) {
            if (!(size >= 1 && size <= MG_RASTER_MAX_SIDE))
                vm_raise(L, MG_E_ARGUMENT, "%s: size: expected 1 to %d pixels, got %g", what,
                         MG_RASTER_MAX_SIDE, size);
            out->size = (int)size;
        }
    }
}

static void set_number(lua_State *L, const char *key, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, key);
}

/* bounds:pixel_size() -> degrees of one pixel */
static int l_pixel_size(lua_State *L)
{
    struct vm_bounds b;
    vm_check_bounds(L, "pixel_size", 1, &b);
    lua_pushnumber(L, (b.b.xmax - b.b.xmin) / (b.size > 0 ? b.size : 256));
    return 1;
}

/* bounds:polygon() -> geometry */
static int l_polygon(lua_State *L)
{
    struct vm_bounds b;
    struct mg_buf *wkb = vm_scratch(L, 3);
    vm_check_bounds(L, "polygon", 1, &b);
    mg_wkb_box(b.b, wkb);
    vm_push_geometry(L, (struct mg_span){wkb->data, wkb->len}, "EPSG:4326");
    return 1;
}

/* bounds:center() -> lng, lat */
static int l_center(lua_State *L)
{
    struct vm_bounds b;
    vm_check_bounds(L, "center", 1, &b);
    lua_pushnumber(L, (b.b.xmin + b.b.xmax) / 2);
    lua_pushnumber(L, (b.b.ymin + b.b.ymax) / 2);
    return 2;
}

/* bounds:contains(lng, lat) -> boolean */
static int l_contains(lua_State *L)
{
    struct vm_bounds b;
    vm_check_bounds(L, "contains", 1, &b);
    double lng = luaL_checknumber(L, 2), lat = luaL_checknumber(L, 3);
    lua_pushboolean(L, lng >= b.b.xmin && lng <= b.b.xmax && lat >= b.b.ymin && lat <= b.b.ymax);
    return 1;
}

/* bounds:intersects(other) -> boolean */
static int l_intersects(lua_State *L)
{
    struct vm_bounds a, b;
    vm_check_bounds(L, "intersects", 1, &a);
    vm_check_bounds(L, "intersects", 2, &b);
    lua_pushboolean(L, mg_bounds_intersect(a.b, b.b));
    return 1;
}

/* bounds:expand(degrees) -> bounds, without a tile */
static int l_expand(lua_State *L)
{
    struct vm_bounds b;
    vm_check_bounds(L, "expand", 1, &b);
    double by = luaL_checknumber(L, 2);
    b.b.xmin = fmax(-180, b.b.xmin - by);
    b.b.ymin = fmax(-90, b.b.ymin - by);
    b.b.xmax = fmin(180, b.b.xmax + by);
    b.b.ymax = fmin(90, b.b.ymax + by);
    if (!mg_bounds_valid(b.b))
        vm_raise(L, MG_E_ARGUMENT, "expand: nothing is left of the bounds");
    b.has_tile = false;
    vm_push_bounds(L, &b);
    return 1;
}

/* bounds:list() -> { xmin, ymin, xmax, ymax } */
static int l_list(lua_State *L)
{
    struct vm_bounds b;
    vm_check_bounds(L, "list", 1, &b);
    const double v[4] = {b.b.xmin, b.b.ymin, b.b.xmax, b.b.ymax};
    lua_createtable(L, 4, 0);
    for (int i = 0; i < 4; i++) {
        lua_pushnumber(L, v[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int bounds_tostring(lua_State *L)
{
    struct vm_bounds b;
    char text[160];
    vm_check_bounds(L, "tostring", 1, &b);
    int n = snprintf(text, sizeof text, "bounds %.9g, %.9g, %.9g, %.9g", b.b.xmin, b.b.ymin,
                     b.b.xmax, b.b.ymax);
    if (b.has_tile)
        snprintf(text + n, sizeof text - (size_t)n, " (tile %d/%d/%d)", b.tile.z, b.tile.x,
                 b.tile.y);
    lua_pushstring(L, text);
    return 1;
}

/* A method; z, x, y and size are nil where there is no tile; any other name is a mistake. */
static int bounds_index(lua_State *L)
{
    static const char *const fields[] = {"xmin", "ymin", "xmax", "ymax", "z",
                                         "x",    "y",    "size", NULL};
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1) || lua_type(L, 2) != LUA_TSTRING)
        return 1;
    const char *key = lua_tostring(L, 2);
    for (const char *const *field = fields; *field; field++)
        if (strcmp(key, *field) == 0)
            return 1;
    vm_raise(L, MG_E_ARGUMENT,
             "bounds have no `%.60s`%s (they have xmin, ymin, xmax, ymax, on a tile call z, x, y, "
             "size, and "
             "methods)",
             key, vm_suggest(L, key, lua_upvalueindex(1), fields));
}

void vm_push_bounds(lua_State *L, const struct vm_bounds *b)
{
    static const luaL_Reg methods[] = {{"pixel_size", l_pixel_size},
                                       {"polygon", l_polygon},
                                       {"center", l_center},
                                       {"contains", l_contains},
                                       {"intersects", l_intersects},
                                       {"expand", l_expand},
                                       {"list", l_list},
                                       {NULL, NULL}};
    lua_createtable(L, 0, 8);
    set_number(L, "xmin", b->b.xmin);
    set_number(L, "ymin", b->b.ymin);
    set_number(L, "xmax", b->b.xmax);
    set_number(L, "ymax", b->b.ymax);
    if (b->has_tile) {
        set_number(L, "z", b->tile.z);
        set_number(L, "x", b->tile.x);
        set_number(L, "y", b->tile.y);
        set_number(L, "size", b->size > 0 ? b->size : 256);
    }
    if (luaL_newmetatable(L, BOUNDS_TYPE)) {
        lua_newtable(L);
        luaL_register(L, NULL, methods);
        lua_pushcclosure(L, bounds_index, 1);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, bounds_tostring);
        lua_setfield(L, -2, "__tostring");
        lua_pushliteral(L, "bounds");
        lua_setfield(L, -2, "__name");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

/* z, x, y as three numbers from `index`, or a table that has them; what follows is at the returned
 * index. */
static int check_tile(lua_State *L, const char *what, int index, struct mg_tile *out)
{
    double v[3];
    int next = index + 1;
    if (lua_istable(L, index)) {
        static const char *const keys[3] = {"z", "x", "y"};
        for (int i = 0; i < 3; i++)
            if (!get_number(L, index, keys[i], 0, &v[i]))
                vm_bad(L, what, "a tile: z, x, y, or a table that has them", index);
    } else {
        for (int i = 0; i < 3; i++) {
            if (lua_type(L, index + i) != LUA_TNUMBER)
                vm_bad(L, what, "a tile: z, x, y, or a table that has them", index + i);
            v[i] = lua_tonumber(L, index + i);
        }
        next = index + 3;
    }
    bool fits =
        v[0] >= 0 && v[0] <= MG_TILE_MAX_ZOOM && v[1] >= 0 && v[1] < 1e9 && v[2] >= 0 && v[2] < 1e9;
    *out = fits ? (struct mg_tile){(int32_t)v[0], (int32_t)v[1], (int32_t)v[2]}
                : (struct mg_tile){-1, 0, 0};
    if (!fits || !mg_tile_valid(*out) || out->z != v[0] || out->x != v[1] || out->y != v[2])
        vm_raise(L, MG_E_TILE_RANGE,
                 "%s: there is no tile %.14g/%.14g/%.14g (z is 0 to %d, x and y are 0 to 2^z - 1)",
                 what, v[0], v[1], v[2], MG_TILE_MAX_ZOOM);
    return next;
}

static void push_tile(lua_State *L, struct mg_tile tile)
{
    lua_createtable(L, 0, 3);
    set_number(L, "z", tile.z);
    set_number(L, "x", tile.x);
    set_number(L, "y", tile.y);
}

/* bounds(xmin, ymin, xmax, ymax) or bounds(list) -> bounds */
static int l_bounds(lua_State *L)
{
    struct vm_bounds b;
    if (lua_type(L, 1) == LUA_TNUMBER) {
        lua_settop(L, 4);
        lua_createtable(L, 4, 0);
        for (int i = 1; i <= 4; i++) {
            lua_pushvalue(L, i);
            lua_rawseti(L, 5, i);
        }
        vm_check_bounds(L, "bounds", 5, &b);
    } else {
        vm_check_bounds(L, "bounds", 1, &b);
    }
    vm_push_bounds(L, &b);
    return 1;
}

/* tile_bounds(z, x, y [, size]) -> bounds of the tile */
static int l_tile_bounds(lua_State *L)
{
    struct vm_bounds b = {.has_tile = true, .size = 256};
    int next = check_tile(L, "tile.bounds", 1, &b.tile);
    if (!lua_isnoneornil(L, next)) {
        double size = luaL_checknumber(L, next);
        if (!(size >= 1 && size <= MG_RASTER_MAX_SIDE))
            vm_raise(L, MG_E_ARGUMENT, "tile.bounds: size: expected 1 to %d pixels",
                     MG_RASTER_MAX_SIDE);
        b.size = (int)size;
    }
    b.b = mg_tile_bounds(b.tile);
    vm_push_bounds(L, &b);
    return 1;
}

/* tile_at(lng, lat, z) -> { z, x, y } */
static int l_tile_at(lua_State *L)
{
    double lng = luaL_checknumber(L, 1), lat = luaL_checknumber(L, 2), z = luaL_checknumber(L, 3);
    if (!(lng >= -180 && lng <= 180 && lat >= -90 && lat <= 90))
        vm_raise(L, MG_E_ARGUMENT, "tile.at: expected degrees, got %g, %g", lng, lat);
    if (!(z >= 0 && z <= MG_TILE_MAX_ZOOM))
        vm_raise(L, MG_E_ARGUMENT, "tile.at: z: expected 0 to %d, got %g", MG_TILE_MAX_ZOOM, z);
    push_tile(L, mg_tile_at(lng, lat, (int)z));
    return 1;
}

/* estimate_zoom(bounds [, target_tiles]) -> z */
static int l_estimate_zoom(lua_State *L)
{
    struct vm_bounds b;
    vm_check_bounds(L, "tile.estimate_zoom", 1, &b);
    double target = luaL_optnumber(L, 2, 1);
    if (!(target >= 1 && target <= 1e6))
        vm_raise(L, MG_E_ARGUMENT, "tile.estimate_zoom: expected 1 to 1000000 tiles, got %g",
                 target);
    lua_pushinteger(L, mg_tile_estimate_zoom(b.b, (int)target));
    return 1;
}

/* quadkey(z, x, y) -> text */
static int l_quadkey(lua_State *L)
{
    struct mg_tile tile;
    char key[MG_TILE_MAX_ZOOM + 2];
    check_tile(L, "tile.quadkey", 1, &tile);
    if (!mg_tile_quadkey(tile, key, sizeof key))
        vm_raise(L, MG_E_TILE_RANGE, "tile.quadkey: there is no such tile");
    lua_pushstring(L, key);
    return 1;
}

/* children(z, x, y) -> the four tiles of the next zoom */
static int l_children(lua_State *L)
{
    struct mg_tile tile;
    check_tile(L, "tile.children", 1, &tile);
    if (tile.z >= MG_TILE_MAX_ZOOM)
        vm_raise(L, MG_E_TILE_RANGE, "tile.children: there is nothing below zoom %d",
                 MG_TILE_MAX_ZOOM);
    lua_createtable(L, 4, 0);
    for (int i = 0; i < 4; i++) {
        push_tile(L, (struct mg_tile){tile.z + 1, tile.x * 2 + i % 2, tile.y * 2 + i / 2});
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* parent(z, x, y) -> the tile of the zoom above, nil at zoom 0 */
static int l_parent(lua_State *L)
{
    struct mg_tile tile;
    check_tile(L, "tile.parent", 1, &tile);
    if (tile.z == 0)
        lua_pushnil(L);
    else
        push_tile(L, (struct mg_tile){tile.z - 1, tile.x / 2, tile.y / 2});
    return 1;
}

void vm_open_tile(lua_State *L)
{
    static const luaL_Reg functions[] = {{"bounds", l_bounds},   {"tile_bounds", l_tile_bounds},
                                         {"at", l_tile_at},      {"estimate_zoom", l_estimate_zoom},
                                         {"quadkey", l_quadkey}, {"children", l_children},
                                         {"parent", l_parent},   {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
