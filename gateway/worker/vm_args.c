/* Arguments: packed by the front (run_wire.h) to Lua values, and back for a child run. */
#include "vm.h"

#include <math.h>

struct argument {
    struct mg_span name;
    struct mg_unpack at; /* at its kind */
};

static size_t unpack_all(struct mg_span pack, struct argument *out)
{
    struct mg_unpack in;
    mg_unpack_init(&in, pack.data, pack.len);
    size_t n = pack.len ? mg_unpack_count(&in, VM_MAX_ARGS) : 0, at = 0;
    while (at < n && !in.failed) {
        out[at].name = mg_unpack_bytes(&in);
        out[at].at = in;
        int64_t kind = mg_unpack_int(&in);
        int values = kind == MG_ARG_NIL ? 0 : kind == MG_ARG_BOUNDS || kind == MG_ARG_TILE ? 4 : 1;
        for (int i = 0; i < values; i++)
            mg_unpack_skip(&in);
        if (!in.failed)
            at++;
    }
    return at;
}

static void push_geometry(lua_State *L, struct mg_span name, struct mg_span text)
{
    struct mg_errmsg why = {""};
    struct mg_buf *wkb = vm_scratch(L, 3);
    size_t skip = 0;
    while (skip < text.len && (unsigned char)text.data[skip] <= ' ')
        skip++;
    enum mg_err err = skip < text.len && text.data[skip] == '{'
                          ? mg_wkb_from_geojson(text, wkb, &why)
                          : mg_wkb_from_wkt(text, wkb, &why);
    if (err != MG_OK)
        vm_raise(L, MG_E_PARAMETER, "%.*s: %s", (int)name.len, name.data, why.text);
    vm_push_geometry(L, (struct mg_span){wkb->data, wkb->len}, "EPSG:4326");
}

static void push_argument(lua_State *L, const struct argument *argument)
{
    struct mg_unpack in = argument->at;
    int64_t kind = mg_unpack_int(&in);
    struct mg_span text;
    switch (kind) {
    case MG_ARG_BOOL:
        lua_pushboolean(L, mg_unpack_bool(&in));
        break;
    case MG_ARG_INT:
        lua_pushnumber(L, (lua_Number)mg_unpack_int(&in));
        break;
    case MG_ARG_NUMBER:
        lua_pushnumber(L, mg_unpack_double(&in));
        break;
    case MG_ARG_STRING:
    case MG_ARG_DATE:
        text = mg_unpack_bytes(&in);
        lua_pushlstring(L, text.data ? text.data : "", text.len);
        break;
    case MG_ARG_JSON: {
        char what[80];
        int n = (int)(argument->name.len < 60 ? argument->name.len : 60);
        memcpy(what, argument->name.data, (size_t)n);
        what[n] = 0;
        text = mg_unpack_bytes(&in);
        vm_json_push(L, what, text);
        break;
    }
    case MG_ARG_GEOMETRY:
        push_geometry(L, argument->name, mg_unpack_bytes(&in));
        break;
    case MG_ARG_BOUNDS: {
        struct vm_bounds b = {0};
        b.b.xmin = mg_unpack_double(&in);
        b.b.ymin = mg_unpack_double(&in);
        b.b.xmax = mg_unpack_double(&in);
        b.b.ymax = mg_unpack_double(&in);
        vm_push_bounds(L, &b);
        break;
    }
    case MG_ARG_TILE: {
        struct vm_bounds b = {.has_tile = true};
        b.tile.z = (int32_t)mg_unpack_int(&in);
        b.tile.x = (int32_t)mg_unpack_int(&in);
        b.tile.y = (int32_t)mg_unpack_int(&in);
        b.size = (int)mg_unpack_int(&in);
        if (!mg_tile_valid(b.tile))
            vm_raise(L, MG_E_TILE_RANGE, "the tile is out of range");
        b.b = mg_tile_bounds(b.tile);
        vm_push_bounds(L, &b);
        break;
    }
    default:
        lua_pushnil(L);
    }
}

/* The arguments by the parameter names of the function at `fn`, then one table of all others. */
void vm_push_arguments(lua_State *L, int fn, int *n)
{
    const struct mg_run_request *request = vm_of(L)->request;
    struct argument list[VM_MAX_ARGS];
    size_t count = unpack_all(request->args, list);
    *n = 0;
    for (int i = 1; i <= VM_MAX_ARGS; i++) {
        luaL_checkstack(L, 4, "too many parameters");
        lua_pushvalue(L, fn);
        const char *name =
            lua_getlocal(L, NULL, i); /* of a function that does not run: its parameters */
        lua_pop(L, 1);
        if (!name)
            break;
        size_t at = 0;
        while (at < count && !mg_span_is(list[at].name, name))
            at++;
        if (at < count)
            push_argument(L, &list[at]);
        else
            lua_pushnil(L);
        ++*n;
    }
    count = unpack_all(request->extra, list);
    lua_createtable(L, 0, (int)count);
    for (size_t at = 0; at < count; at++) {
        lua_pushlstring(L, list[at].name.data, list[at].name.len);
        push_argument(L, &list[at]);
        lua_rawset(L, -3);
    }
    ++*n;
}

void vm_pack_argument(lua_State *L, const char *name, int index, struct mg_buf *out)
{
    mg_pack_str(out, name);
    struct vm_geometry *geometry;
    struct mg_errmsg why = {""};
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        mg_pack_int(out, MG_ARG_NIL);
        return;
    case LUA_TBOOLEAN:
        mg_pack_int(out, MG_ARG_BOOL);
        mg_pack_bool(out, lua_toboolean(L, index));
        return;
    case LUA_TNUMBER: {
        lua_Number v = lua_tonumber(L, index);
        bool whole = v == floor(v) && fabs(v) < 9007199254740992.0;
        mg_pack_int(out, whole ? MG_ARG_INT : MG_ARG_NUMBER);
        if (whole)
            mg_pack_int(out, (int64_t)v);
        else
            mg_pack_double(out, v);
        return;
    }
    case LUA_TSTRING: {
        size_t len;
        const char *text = lua_tolstring(L, index, &len);
        mg_pack_int(out, MG_ARG_STRING);
        mg_pack_bytes(out, text, len);
        return;
    }
    case LUA_TTABLE:
        if (vm_is_bounds(L, index)) {
            struct vm_bounds b;
            vm_check_bounds(L, name, index, &b);
            mg_pack_int(out, MG_ARG_BOUNDS);
            mg_pack_double(out, b.b.xmin);
            mg_pack_double(out, b.b.ymin);
            mg_pack_double(out, b.b.xmax);
            mg_pack_double(out, b.b.ymax);
            return;
        } else {
            struct mg_buf *json = vm_scratch(L, 3);
            if (!vm_json_write(L, index, json, &why))
                vm_raise(L, MG_E_ARGUMENT, "run: %s: %s", name, why.text);
            mg_pack_int(out, MG_ARG_JSON);
            mg_pack_bytes(out, json->data, json->len);
            return;
        }
    default:
        geometry = vm_to_geometry(L, index);
        if (geometry) {
            struct mg_buf *json = vm_scratch(L, 3);
            vm_check(L, name, mg_wkb_to_geojson(vm_wkb(geometry), 9, json), &why);
            mg_pack_int(out, MG_ARG_GEOMETRY);
            mg_pack_bytes(out, json->data, json->len);
            return;
        }
        vm_bad(L, name, "a string, number, boolean, list, table, bounds or geometry", index);
    }
}
