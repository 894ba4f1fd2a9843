/* The internal value format: any value of Lua that the library knows, for child runs and function
 * values.
 *
 * 8 bytes of magic, then one value: a shape byte, then by shape: nothing; 8 bytes of double; 64-bit
 * length and bytes; tables as a 64-bit count, then key, value …. Stored rasters and tables begin at
 * a multiple of 64 bytes from the start. Little-endian. The reader checks every length; rasters and
 * tables are checked by their own readers. */
#include "vm.h"

static const char MAGIC[8] = "MGVALUE1";

enum shape {
    SHAPE_NIL = 'n',
    SHAPE_FALSE = 'f',
    SHAPE_TRUE = 't',
    SHAPE_NUMBER = 'd',
    SHAPE_STRING = 's',
    SHAPE_NULL = 'z',
    SHAPE_MAP = 'm',
    SHAPE_RASTER = 'r',
    SHAPE_TABLE = 'a',
    SHAPE_FRAMES = 'F',
    SHAPE_GEOMETRY = 'g',
    SHAPE_BOUNDS = 'b',
    SHAPE_RESPONSE = 'h',
    SHAPE_OBJECT = 'o',
    SHAPE_LIST = 'v' /* of a function's results: a count, then each */
};

static void put_u64(struct mg_buf *out, uint64_t value)
{
    mg_buf_put(out, &value, sizeof value);
}

static void put_double(struct mg_buf *out, double value)
{
    mg_buf_put(out, &value, sizeof value);
}

static void put_bytes(struct mg_buf *out, const char *data, size_t len)
{
    put_u64(out, len);
    mg_buf_put(out, data, len);
}

/* A length to be filled in, then zeros up to a multiple of 64 from `start`. */
static size_t begin_blob(struct mg_buf *out, size_t start)
{
    static const char zeros[64];
    size_t at = out->len;
    put_u64(out, 0);
    mg_buf_put(out, zeros, (64 - (out->len - start) % 64) % 64);
    return at;
}

static void end_blob(struct mg_buf *out, size_t at, size_t begin)
{
    uint64_t len = out->len - begin;
    if (!out->failed)
        memcpy(out->data + at, &len, sizeof len);
}

struct writer {
    struct mg_buf *out;
    size_t start;
    const char *cannot; /* what cannot be done with a function */
};

static void store_map(lua_State *L, int index, char shape, const struct writer *w, int depth);

static void store(lua_State *L, int index, const struct writer *w, int depth)
{
    struct mg_buf *out = w->out;
    size_t start = w->start;
    if (depth > VM_MAX_DEPTH)
        vm_raise(L, MG_E_UDF_TYPE,
                 "tables are nested deeper than 64 (does a table contain itself?)");
    luaL_checkstack(L, 8, "nested too deeply");
    struct vm_raster *raster;
    struct vm_geometry *geometry;
    struct vm_frames *frames;
    struct mg_table *table;
    size_t len;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        mg_buf_char(out, SHAPE_NIL);
        return;
    case LUA_TBOOLEAN:
        mg_buf_char(out, lua_toboolean(L, index) ? SHAPE_TRUE : SHAPE_FALSE);
        return;
    case LUA_TNUMBER:
        mg_buf_char(out, SHAPE_NUMBER);
        put_double(out, lua_tonumber(L, index));
        return;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, index, &len);
        mg_buf_char(out, SHAPE_STRING);
        put_bytes(out, text, len);
        return;
    }
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, index))
            break;
        mg_buf_char(out, SHAPE_NULL);
        return;
    case LUA_TTABLE:
        if (vm_is_bounds(L, index)) {
            struct vm_bounds b;
            vm_check_bounds(L, "bounds", index, &b);
            mg_buf_char(out, SHAPE_BOUNDS);
            mg_buf_put(out, &b, sizeof b);
            return;
        }
        if (luaL_getmetafield(L, index, "__moon_response")) {
            lua_pop(L, 1);
            store_map(L, index, SHAPE_RESPONSE, w, depth);
        } else if (luaL_getmetafield(L, index, "__moon_object")) {
            lua_pop(L, 1);
            store_map(L, index, SHAPE_OBJECT, w, depth);
        } else {
            store_map(L, index, SHAPE_MAP, w, depth);
        }
        return;
    case LUA_TUSERDATA:
        if ((raster = vm_to_raster(L, index)) != NULL) {
            mg_buf_char(out, SHAPE_RASTER);
            size_t at = begin_blob(out, start), begin = out->len;
            mg_raster_store(raster->raster, out);
            end_blob(out, at, begin);
            return;
        }
        if ((table = vm_to_table(L, index)) != NULL) {
            mg_buf_char(out, SHAPE_TABLE);
            size_t at = begin_blob(out, start), begin = out->len;
            mg_table_store(table, out);
            end_blob(out, at, begin);
            return;
        }
        if ((frames = vm_to_frames(L, index)) != NULL) {
            mg_buf_char(out, SHAPE_FRAMES);
            put_u64(out, frames->n);
            for (size_t i = 0; i < frames->n; i++) {
                put_u64(out, (uint64_t)frames->list[i].delay_ms);
                size_t at = begin_blob(out, start), begin = out->len;
                mg_raster_store(frames->list[i].raster, out);
                end_blob(out, at, begin);
            }
            return;
        }
        if ((geometry = vm_to_geometry(L, index)) != NULL) {
            mg_buf_char(out, SHAPE_GEOMETRY);
            put_bytes(out, vm_crs(geometry), geometry->crs_len);
            put_bytes(out, geometry->bytes, geometry->len);
            return;
        }
        break;
    default:
        break;
    }
    vm_raise(L, MG_E_UDF_TYPE, "a %s cannot be %s", luaL_typename(L, index), w->cannot);
}

static void store_map(lua_State *L, int index, char shape, const struct writer *w, int depth)
{
    struct mg_buf *out = w->out;
    mg_buf_char(out, shape);
    size_t at = out->len;
    uint64_t count = 0;
    put_u64(out, 0);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        int top = lua_gettop(L);
        store(L, top - 1, w, depth + 1);
        store(L, top, w, depth + 1);
        count++;
        if (out->failed) {
            lua_pop(L, 2);
            return;
        }
    }
    if (!out->failed)
        memcpy(out->data + at, &count, sizeof count);
}

void vm_value_store(lua_State *L, int index, struct mg_buf *out)
{
    const struct writer w = {out, out->len, "handed from one UDF to another"};
    mg_buf_put(out, MAGIC, sizeof MAGIC);
    store(L, index < 0 ? lua_gettop(L) + 1 + index : index, &w, 0);
}

void vm_values_store(lua_State *L, int first, int n, struct mg_buf *out)
{
    const struct writer w = {out, out->len, "kept by moon.cache"};
    mg_buf_put(out, MAGIC, sizeof MAGIC);
    mg_buf_char(out, SHAPE_LIST);
    put_u64(out, (uint64_t)n);
    for (int i = 0; i < n; i++)
        store(L, first + i, &w, 0);
}

struct reader {
    lua_State *L;
    const char *what, *start, *at, *end;
};

static _Noreturn void broken(struct reader *r)
{
    vm_raise(r->L, MG_E_INTERNAL, "%s: the value that came back is broken", r->what);
}

static void get(struct reader *r, void *out, size_t len)
{
    if ((size_t)(r->end - r->at) < len)
        broken(r);
    memcpy(out, r->at, len);
    r->at += len;
}

static struct mg_span get_bytes(struct reader *r)
{
    uint64_t len;
    get(r, &len, sizeof len);
    if ((uint64_t)(r->end - r->at) < len)
        broken(r);
    struct mg_span bytes = {r->at, (size_t)len};
    r->at += len;
    return bytes;
}

static struct mg_span get_blob(struct reader *r)
{
    uint64_t len;
    get(r, &len, sizeof len);
    size_t pad = (64 - (size_t)(r->at - r->start) % 64) % 64;
    if ((size_t)(r->end - r->at) < pad || (uint64_t)(r->end - r->at) - pad < len)
        broken(r);
    struct mg_span bytes = {r->at + pad, (size_t)len};
    r->at += pad + len;
    return bytes;
}

/* At most as many as moon.frames takes. */
static void load_frames(struct reader *r)
{
    enum { MAX_FRAMES = 1000 };
    lua_State *L = r->L;
    struct mg_errmsg why = {""};
    int delays[MAX_FRAMES];
    uint64_t n, delay;
    get(r, &n, sizeof n);
    if (n == 0 || n > MAX_FRAMES)
        broken(r);
    lua_createtable(L, (int)n, 0);
    int list = lua_gettop(L);
    for (size_t i = 0; i < n; i++) {
        struct mg_raster *raster = NULL;
        get(r, &delay, sizeof delay);
        delays[i] = delay < 60000 ? (int)delay : 60000;
        vm_check(L, r->what, mg_raster_restore(get_blob(r), &raster, &why), &why);
        vm_push_raster(L, raster, 0);
        lua_rawseti(L, list, (int)i + 1);
    }
    vm_push_frames(L, r->what, list, delays);
    lua_remove(L, list);
}

static void load_value(struct reader *r, int depth)
{
    lua_State *L = r->L;
    if (depth > VM_MAX_DEPTH || r->at == r->end || !lua_checkstack(L, 8))
        broken(r);
    struct mg_errmsg why = {""};
    struct mg_span bytes;
    char shape = *r->at++;
    switch (shape) {
    case SHAPE_NIL:
        lua_pushnil(L);
        return;
    case SHAPE_FALSE:
    case SHAPE_TRUE:
        lua_pushboolean(L, shape == SHAPE_TRUE);
        return;
    case SHAPE_NULL:
        lua_pushlightuserdata(L, NULL);
        return;
    case SHAPE_NUMBER: {
        double number;
        get(r, &number, sizeof number);
        lua_pushnumber(L, number);
        return;
    }
    case SHAPE_STRING:
        bytes = get_bytes(r);
        lua_pushlstring(L, bytes.data, bytes.len);
        return;
    case SHAPE_BOUNDS: {
        struct vm_bounds b;
        uint8_t flag;
        if ((size_t)(r->end - r->at) < sizeof b)
            broken(r);
        /* A bool that is neither 0 nor 1 must not be read as one. */
        memcpy(&flag, r->at + offsetof(struct vm_bounds, has_tile), 1);
        if (flag > 1)
            broken(r);
        get(r, &b, sizeof b);
        vm_push_bounds(L, &b);
        return;
    }
    case SHAPE_GEOMETRY: {
        struct mg_span crs = get_bytes(r);
        bytes = get_bytes(r);
        char name[4096];
        if (crs.len >= sizeof name)
            broken(r);
        memcpy(name, crs.data, crs.len);
        name[crs.len] = 0;
        vm_check(L, r->what, mg_wkb_check(bytes, &why), &why);
        vm_push_geometry(L, bytes, name);
        return;
    }
    case SHAPE_RASTER: {
        struct mg_raster *raster = NULL;
        bytes = get_blob(r);
        vm_check(L, r->what, mg_raster_restore(bytes, &raster, &why), &why);
        vm_push_raster(L, raster, 0);
        return;
    }
    case SHAPE_FRAMES:
        load_frames(r);
        return;
    case SHAPE_TABLE: {
        struct mg_table *table = NULL;
        bytes = get_blob(r);
        vm_check(L, r->what, mg_table_restore(bytes, &table, &why), &why);
        vm_push_table(L, table);
        return;
    }
    case SHAPE_MAP:
    case SHAPE_OBJECT:
    case SHAPE_RESPONSE: {
        uint64_t count;
        get(r, &count, sizeof count);
        lua_newtable(L);
        for (uint64_t i = 0; i < count; i++) {
            load_value(r, depth + 1);
            if (lua_isnil(L, -1) ||
                (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) != lua_tonumber(L, -1)))
                broken(r);
            load_value(r, depth + 1);
            lua_rawset(L, -3);
        }
        if (shape != SHAPE_MAP) {
            luaL_getmetatable(L, shape == SHAPE_OBJECT ? "moon.Object" : "moon.Response");
            lua_setmetatable(L, -2);
        }
        return;
    }
    default:
        broken(r);
    }
}

static void begin(struct reader *r, lua_State *L, const char *what, struct mg_span stored)
{
    *r = (struct reader){.L = L,
                         .what = what,
                         .start = stored.data,
                         .at = stored.data,
                         .end = stored.data + stored.len};
    if (stored.len < sizeof MAGIC || memcmp(stored.data, MAGIC, sizeof MAGIC) != 0)
        broken(r);
    r->at += sizeof MAGIC;
}

void vm_value_push(lua_State *L, const char *what, struct mg_span stored)
{
    struct reader r;
    begin(&r, L, what, stored);
    load_value(&r, 0);
    if (r.at != r.end)
        broken(&r);
}

int vm_values_push(lua_State *L, const char *what, struct mg_span stored)
{
    enum { MAX_RESULTS = 250 };
    struct reader r;
    uint64_t n;
    begin(&r, L, what, stored);
    if (r.at == r.end || *r.at++ != SHAPE_LIST)
        broken(&r);
    get(&r, &n, sizeof n);
    if (n > MAX_RESULTS || !lua_checkstack(L, (int)n + 8))
        broken(&r);
    for (uint64_t i = 0; i < n; i++)
        load_value(&r, 0);
    if (r.at != r.end)
        broken(&r);
    return (int)n;
}
