/* JSON of Lua values: our own writer (limits, sorted keys, errors that name the place), lua-cjson
 * as the reader.
 *
 * Keys are sorted, so equal values give equal bytes. An empty table is a list. NaN and infinities
 * are null. A geometry is GeoJSON, bounds are a list of four numbers. Cost: O(n log n) in the keys
 * of each object. */
#include "vm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Of lua-cjson; its header gives no prototype of the safe variant. */
int luaopen_cjson_safe(lua_State *L);

struct writer {
    lua_State *L;
    struct mg_buf *out;
    struct mg_errmsg *why;
    char path[160];
    size_t path_len;
};

static bool write_value(struct writer *w, int index, int depth);

static bool refuse(struct writer *w, const char *sentence)
{
    mg_err_set(w->why, MG_E_UDF_TYPE, "%s%s%s", w->path_len ? w->path : "", w->path_len ? ": " : "",
               sentence);
    return false;
}

static size_t enter(struct writer *w, const char *key, lua_Integer i)
{
    size_t before = w->path_len;
    int n =
        key ? snprintf(w->path + before, sizeof w->path - before, "%s%.40s", before ? "." : "", key)
            : snprintf(w->path + before, sizeof w->path - before, "[%d]", (int)i);
    w->path_len = before + (size_t)(n < 0 ? 0 : n);
    if (w->path_len >= sizeof w->path)
        w->path_len = sizeof w->path - 1;
    return before;
}

static void leave(struct writer *w, size_t before)
{
    w->path_len = before;
    w->path[before] = 0;
}

static int by_text(const void *a, const void *b)
{
    const struct mg_span *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static bool write_list(struct writer *w, int index, lua_Integer n, int depth)
{
    lua_State *L = w->L;
    mg_buf_char(w->out, '[');
    for (lua_Integer i = 1; i <= n && !w->out->failed; i++) {
        if (i > 1)
            mg_buf_char(w->out, ',');
        lua_rawgeti(L, index, (int)i);
        size_t before = enter(w, NULL, i);
        bool ok = write_value(w, lua_gettop(L), depth + 1);
        leave(w, before);
        lua_pop(L, 1);
        if (!ok)
            return false;
    }
    mg_buf_char(w->out, ']');
    return true;
}

static bool write_object(struct writer *w, int index, size_t n, int depth)
{
    lua_State *L = w->L;
    struct mg_span *keys = lua_newuserdata(L, n * sizeof *keys);
    size_t at = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        keys[at].data = lua_tolstring(L, -2, &keys[at].len);
        at++;
    }
    qsort(keys, n, sizeof *keys, by_text);
    mg_buf_char(w->out, '{');
    for (size_t i = 0; i < n && !w->out->failed; i++) {
        if (i)
            mg_buf_char(w->out, ',');
        mg_buf_json_string(w->out, keys[i].data, keys[i].len);
        mg_buf_char(w->out, ':');
        lua_pushlstring(L, keys[i].data, keys[i].len);
        lua_rawget(L, index);
        size_t before = enter(w, keys[i].data, 0);
        bool ok = write_value(w, lua_gettop(L), depth + 1);
        leave(w, before);
        lua_pop(L, 1);
        if (!ok)
            return false;
    }
    mg_buf_char(w->out, '}');
    lua_pop(L, 1);
    return true;
}

static bool write_table(struct writer *w, int index, int depth)
{
    lua_State *L = w->L;
    size_t named = 0, listed = 0;
    lua_Number highest = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING) {
            named++;
        } else if (lua_type(L, -2) == LUA_TNUMBER) {
            lua_Number key = lua_tonumber(L, -2);
            if (key < 1 || key != floor(key) || key > 1e9) {
                lua_pop(L, 2);
                return refuse(w, "a number that is no list position cannot be a key in JSON; "
                                 "use tostring(key)");
            }
            listed++;
            highest = key > highest ? key : highest;
        } else {
            lua_pop(L, 2);
            return refuse(w, "only strings can be keys in JSON");
        }
    }
    if (named && listed)
        return refuse(
            w, "the table has both list items and named values; JSON holds one or the other");
    if (listed && (size_t)highest != listed)
        return refuse(w, "the list has holes; put moon.json.null where a value is missing");
    if (!named && luaL_getmetafield(L, index, "__moon_object")) {
        lua_pop(L, 1);
        mg_buf_str(w->out, "{}");
        return true;
    }
    return named ? write_object(w, index, named, depth)
                 : write_list(w, index, (lua_Integer)listed, depth);
}

static bool write_value(struct writer *w, int index, int depth)
{
    lua_State *L = w->L;
    if (depth > VM_MAX_DEPTH)
        return refuse(w, "tables are nested deeper than 64 (does a table contain itself?)");
    if (!lua_checkstack(L, 8))
        return refuse(w, "the value is nested too deeply");
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        mg_buf_str(w->out, "null");
        return true;
    case LUA_TBOOLEAN:
        mg_buf_str(w->out, lua_toboolean(L, index) ? "true" : "false");
        return true;
    case LUA_TNUMBER: {
        lua_Number n = lua_tonumber(L, index);
        if (n == floor(n) && fabs(n) < 9007199254740992.0)
            mg_buf_int(w->out, (int64_t)n);
        else
            mg_buf_double(w->out, n);
        return true;
    }
    case LUA_TSTRING: {
        size_t len;
        const char *text = lua_tolstring(L, index, &len);
        mg_buf_json_string(w->out, text, len);
        return true;
    }
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, index) == NULL) {
            mg_buf_str(w->out, "null");
            return true;
        }
        break;
    case LUA_TTABLE:
        if (vm_is_bounds(L, index)) {
            struct vm_bounds b;
            vm_check_bounds(L, "json", index, &b);
            const double v[4] = {b.b.xmin, b.b.ymin, b.b.xmax, b.b.ymax};
            for (int i = 0; i < 4; i++) {
                mg_buf_char(w->out, i ? ',' : '[');
                mg_buf_double(w->out, v[i]);
            }
            mg_buf_char(w->out, ']');
            return true;
        }
        if (vm_is_error(L, index)) {
            lua_getfield(L, index, "message");
            bool ok = write_value(w, lua_gettop(L), depth + 1);
            lua_pop(L, 1);
            return ok;
        }
        return write_table(w, index, depth);
    case LUA_TUSERDATA: {
        struct vm_geometry *g = vm_to_geometry(L, index);
        if (g) {
            if (mg_wkb_to_geojson(vm_wkb(g), 9, w->out) == MG_OK)
                return true;
            return refuse(w, "the geometry cannot be GeoJSON");
        }
        if (vm_to_raster(L, index))
            return refuse(w,
                          "a raster cannot be a part of JSON; return it alone, or its :stats(…)");
        if (vm_to_table(L, index))
            return refuse(w,
                          "a moon table cannot be a part of JSON; return it alone, or its :rows()");
        break;
    }
    default:
        break;
    }
    char sentence[80];
    snprintf(sentence, sizeof sentence, "a %s cannot be JSON", luaL_typename(L, index));
    return refuse(w, sentence);
}

bool vm_json_write(lua_State *L, int index, struct mg_buf *out, struct mg_errmsg *why)
{
    struct writer w = {.L = L, .out = out, .why = why};
    int top = lua_gettop(L);
    bool ok = write_value(&w, index < 0 ? top + 1 + index : index, 0);
    lua_settop(L, top);
    return ok;
}

/* The reader as a function value, opened at its first use. */
static void push_decoder(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.json.decode");
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    vm_of(L)->has_userdata = true; /* its configuration */
    lua_pushcfunction(L, luaopen_cjson_safe);
    lua_call(L, 0, 1);
    lua_getfield(L, -1, "decode");
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "moon.json.decode");
    lua_remove(L, -2);
}

void vm_json_push(lua_State *L, const char *what, struct mg_span text)
{
    push_decoder(L);
    lua_pushlstring(L, text.data, text.len);
    lua_call(L, 1, 2);
    if (lua_isnil(L, -2))
        vm_raise(L, MG_E_ARGUMENT, "%s: %s", what,
                 lua_isstring(L, -1) ? lua_tostring(L, -1) : "not JSON");
    lua_pop(L, 1);
}

/* encode(value) -> string */
static int l_encode(lua_State *L)
{
    struct mg_buf *out = vm_scratch(L, 3);
    struct mg_errmsg why = {""};
    luaL_checkany(L, 1);
    if (!vm_json_write(L, 1, out, &why))
        vm_raise(L, MG_E_ARGUMENT, "json.encode: %s", why.text);
    vm_check(L, "json.encode", mg_buf_status(out, &why), &why);
    lua_pushlstring(L, out->data ? out->data : "", out->len);
    return 1;
}

/* decode(text) -> value; null is moon.json.null */
static int l_decode(lua_State *L)
{
    struct mg_span text;
    if (lua_type(L, 1) != LUA_TSTRING)
        vm_bad(L, "json.decode", "JSON text", 1);
    text.data = lua_tolstring(L, 1, &text.len);
    vm_json_push(L, "json.decode", text);
    return 1;
}

void vm_open_json(lua_State *L)
{
    static const luaL_Reg functions[] = {{"encode", l_encode}, {"decode", l_decode}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
}
