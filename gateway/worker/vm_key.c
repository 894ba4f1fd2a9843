/* The canonical encoding of Lua values that keys of cached calls are hashed from: no two different values share
 * one, and equal ones have the same whatever made them and in whatever order their fields were set.
 *
 * A function is the bytecode of it (without names, lines, and the places of its upvalues in the function around
 * it: an edit there is none of it), its upvalues by value, and so on through the functions that these are; what
 * belongs to the library or to Lua is its name. A table or function that was met before is the number of its first
 * meeting, which ends cycles. Rasters, tables and animations are the SHA-256 of their stored form. Cost: some 50 ns
 * a scalar, 2 us a function the first time in a run. */
#include "vm.h"

#include <dlfcn.h>
#include <stdlib.h>

enum { MAX_KEY_BYTES = 64 << 20, MAX_KEY_DEPTH = 100 };

struct key {
    lua_State *L;
    struct mg_buf *out;
    int seen, known; /* stack: what was met, by number; the library's own, by name */
    int count, depth;
    const char *what;
};

static void put_value(struct key *k, int index);

static void put_mark(struct key *k, char mark)
{
    mg_buf_char(k->out, mark);
}

/* True when the value was met before; else it is from now on. */
static bool is_seen(struct key *k, int index)
{
    lua_State *L = k->L;
    lua_pushvalue(L, index);
    lua_rawget(L, k->seen);
    if (!lua_isnil(L, -1)) {
        put_mark(k, 'R');
        mg_pack_int(k->out, lua_tointeger(L, -1));
        lua_pop(L, 1);
        return true;
    }
    lua_pop(L, 1);
    lua_pushvalue(L, index);
    lua_pushinteger(L, ++k->count);
    lua_rawset(L, k->seen);
    return false;
}

/* The library's and Lua's own tables and functions. */
static bool put_known(struct key *k, int index)
{
    lua_State *L = k->L;
    size_t len;
    lua_pushvalue(L, index);
    lua_rawget(L, k->known);
    const char *name = lua_tolstring(L, -1, &len);
    if (name) {
        put_mark(k, 'K');
        mg_pack_bytes(k->out, name, len);
    }
    lua_pop(L, 1);
    return name != NULL;
}

static void put_stored(struct key *k, char mark, const struct mg_buf *stored)
{
    struct mg_hash hash;
    struct mg_errmsg why = {""};
    vm_check(k->L, k->what, mg_buf_status(stored, &why), &why);
    mg_sha256(stored->data, stored->len, &hash);
    put_mark(k, mark);
    mg_pack_bytes(k->out, hash.bytes, sizeof hash.bytes);
}

static bool put_userdata(struct key *k, int index)
{
    lua_State *L = k->L;
    struct vm_raster *raster = vm_to_raster(L, index);
    struct mg_table *table = vm_to_table(L, index);
    struct vm_frames *frames = vm_to_frames(L, index);
    struct vm_geometry *geometry = vm_to_geometry(L, index);
    struct mg_buf *stored = vm_scratch(L, 3);
    if (raster) {
        mg_raster_store(raster->raster, stored);
        put_stored(k, 'W', stored);
    } else if (table) {
        mg_table_store(table, stored);
        put_stored(k, 'A', stored);
    } else if (geometry) {
        put_mark(k, 'G');
        mg_pack_bytes(k->out, vm_crs(geometry), geometry->crs_len);
        mg_pack_bytes(k->out, geometry->bytes, geometry->len);
    } else if (frames) {
        put_mark(k, 'Y');
        mg_pack_int(k->out, (int64_t)frames->n);
        for (size_t i = 0; i < frames->n; i++) {
            stored->len = 0;
            mg_raster_store(frames->list[i].raster, stored);
            put_stored(k, 'W', stored);
            mg_pack_int(k->out, frames->list[i].delay_ms);
        }
    } else {
        return false;
    }
    if (stored->cap > 1 << 20)
        mg_buf_fini(stored);
    return true;
}

/* ---- tables ------------------------------------------------------------------------------------------ */

/* A field's name for sorting; strings are kept alive by the table. */
struct field {
    int type;
    double number;
    const char *text;
    size_t len;
};

static int compare_fields(const void *pa, const void *pb)
{
    const struct field *a = pa, *b = pb;
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    if (a->type != LUA_TSTRING)
        return (a->number > b->number) - (a->number < b->number);
    int order = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* Fields that are not of the list 1 … n, sorted, in a buffer of the stack. */
static size_t collect_fields(struct key *k, int index, size_t listed, struct mg_buf *fields)
{
    lua_State *L = k->L;
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        struct field field = {.type = lua_type(L, -2)};
        switch (field.type) {
        case LUA_TNUMBER:
            field.number = lua_tonumber(L, -2);
            if (field.number >= 1 && field.number <= (double)listed &&
                field.number == (double)(size_t)field.number)
                continue;
            break;
        case LUA_TBOOLEAN:
            field.number = lua_toboolean(L, -2);
            break;
        case LUA_TSTRING:
            field.text = lua_tolstring(L, -2, &field.len);
            break;
        default:
            vm_raise(L, MG_E_ARGUMENT, "%s: a table with a %s as a key cannot be part of the key of a cached call",
                     k->what, luaL_typename(L, -2));
        }
        mg_buf_put(fields, &field, sizeof field);
        n++;
    }
    return n;
}

static void push_field(lua_State *L, int index, const struct field *field)
{
    if (field->type == LUA_TSTRING)
        lua_pushlstring(L, field->text, field->len);
    else if (field->type == LUA_TNUMBER)
        lua_pushnumber(L, field->number);
    else
        lua_pushboolean(L, field->number != 0);
    lua_pushvalue(L, -1);
    lua_rawget(L, index);
}

static void put_table(struct key *k, int index)
{
    lua_State *L = k->L;
    if (vm_is_bounds(L, index)) {
        struct vm_bounds b;
        vm_check_bounds(L, k->what, index, &b);
        put_mark(k, 'B');
        const double sides[] = {b.b.xmin, b.b.ymin, b.b.xmax, b.b.ymax};
        for (int i = 0; i < 4; i++)
            mg_pack_double(k->out, sides[i]);
        mg_pack_bool(k->out, b.has_tile);
        const int tile[] = {b.tile.z, b.tile.x, b.tile.y, b.size};
        for (int i = 0; b.has_tile && i < 4; i++)
            mg_pack_int(k->out, tile[i]);
        return;
    }
    if (is_seen(k, index))
        return;
    size_t listed = lua_objlen(L, index);
    put_mark(k, 'T');
    mg_pack_int(k->out, (int64_t)listed);
    for (size_t i = 1; i <= listed; i++) {
        lua_rawgeti(L, index, (int)i);
        put_value(k, lua_gettop(L));
        lua_pop(L, 1);
    }
    struct mg_buf *names = vm_scratch(L, 4);
    size_t n = collect_fields(k, index, listed, names);
    mg_pack_int(k->out, (int64_t)n);
    if (n) {
        struct mg_errmsg why = {""};
        vm_check(L, k->what, mg_buf_status(names, &why), &why);
        qsort(names->data, n, sizeof(struct field), compare_fields);
        lua_pushlstring(L, names->data, n * sizeof(struct field)); /* the scratch serves the inner tables too */
        const char *sorted = lua_tostring(L, -1);
        int top = lua_gettop(L);
        for (size_t i = 0; i < n; i++) {
            struct field field;
            memcpy(&field, sorted + i * sizeof field, sizeof field);
            push_field(L, index, &field);
            put_value(k, top + 1);
            put_value(k, top + 2);
            lua_settop(L, top);
        }
        lua_pop(L, 1);
    }
    if (lua_getmetatable(L, index)) {
        put_mark(k, 'M');
        put_value(k, lua_gettop(L));
        lua_pop(L, 1);
    }
}

/* ---- functions --------------------------------------------------------------------------------------- */

static bool read_uleb(const uint8_t **at, const uint8_t *end, size_t *out)
{
    size_t value = 0;
    for (int shift = 0; *at < end && shift < 35; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* Takes the places of the upvalues in the function around it out of dumped bytecode (LuaJIT's lj_bcdump.h: head,
 * then prototypes with their lengths, the function's own last). False: the format is not the known one. */
static bool blank_places(uint8_t *code, size_t len)
{
    const uint8_t *at = code + 4, *end = code + len, *last = NULL, *last_end = NULL;
    size_t bytes, flags;
    if (len < 6 || memcmp(code, "\033LJ", 3) != 0 || !read_uleb(&at, end, &flags) || !(flags & 2))
        return false;
    while (read_uleb(&at, end, &bytes) && bytes) {
        if ((size_t)(end - at) < bytes)
            return false;
        last = at;
        at += bytes;
        last_end = at;
    }
    if (!last || last_end - last < 8)
        return false;
    size_t upvalues = last[3], skipped, instructions;
    at = last + 4;
    if (!read_uleb(&at, last_end, &skipped) || !read_uleb(&at, last_end, &skipped) ||
        !read_uleb(&at, last_end, &instructions) || (size_t)(last_end - at) < 4 * instructions + 2 * upvalues)
        return false;
    memset(code + (at - code) + 4 * instructions, 0, 2 * upvalues);
    return true;
}

/* Names of the author's own globals that the code mentions, each with a NUL, behind what `out` holds. */
static void put_mentioned(struct key *k, const char *code, size_t len, struct mg_buf *out)
{
    lua_State *L = k->L;
    for (lua_pushnil(L); lua_next(L, LUA_GLOBALSINDEX); lua_pop(L, 1)) {
        size_t n;
        if (lua_type(L, -2) != LUA_TSTRING)
            continue;
        lua_pushvalue(L, -1);
        lua_rawget(L, k->known);
        bool library = !lua_isnil(L, -1);
        lua_pop(L, 1);
        const char *name = lua_tolstring(L, -2, &n);
        if (!library && n && memmem(code, len, name, n))
            mg_buf_put(out, name, n + 1);
    }
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The author's globals that a function's code mentions, by name and value. */
static void put_globals(struct key *k, const char *names, size_t len)
{
    enum { MAX_GLOBALS = 64 };
    const char *sorted[MAX_GLOBALS];
    size_t n = 0;
    for (const char *at = names; at < names + len && n < MAX_GLOBALS; at += strlen(at) + 1)
        sorted[n++] = at;
    qsort(sorted, n, sizeof *sorted, compare_names);
    for (size_t i = 0; i < n; i++) {
        mg_pack_str(k->out, sorted[i]);
        lua_getfield(k->L, LUA_GLOBALSINDEX, sorted[i]);
        put_value(k, lua_gettop(k->L));
        lua_pop(k->L, 1);
    }
}

/* The SHA-256 of a Lua function's code and the globals that it mentions; both looked up once in a run. */
static void put_code(struct key *k, int index)
{
    lua_State *L = k->L;
    struct mg_hash hash;
    struct mg_errmsg why = {""};
    size_t len;
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.digests");
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_getfield(L, LUA_REGISTRYINDEX, "moon.dump");
        lua_pushvalue(L, index);
        lua_pushboolean(L, 1); /* without names and lines */
        lua_call(L, 2, 1);
        const char *dumped = lua_tolstring(L, -1, &len);
        struct mg_buf *code = vm_scratch(L, 3);
        mg_buf_put(code, dumped, len);
        vm_check(L, k->what, mg_buf_status(code, &why), &why);
        if (!blank_places((uint8_t *)code->data, code->len))
            vm_raise(L, MG_E_INTERNAL, "%s: the bytecode of this LuaJIT has another form than the known one", k->what);
        mg_sha256(code->data, code->len, &hash);
        code->len = 0;
        mg_buf_put(code, hash.bytes, sizeof hash.bytes);
        put_mentioned(k, dumped, len, code);
        lua_pushvalue(L, index);
        lua_pushlstring(L, code->data, code->len);
        lua_remove(L, -3);
        lua_pushvalue(L, -1);
        lua_insert(L, -3);
        lua_rawset(L, -4);
    }
    const char *digest = lua_tolstring(L, -1, &len);
    mg_pack_bytes(k->out, digest, sizeof hash.bytes);
    if (len > sizeof hash.bytes)
        put_globals(k, digest + sizeof hash.bytes, len - sizeof hash.bytes);
    lua_pop(L, 2);
}

/* A C function that has no name in Lua: its place in the file that it comes from, which is the same in every process
 * of this build. */
static void put_c_function(struct key *k, int index)
{
    union {
        lua_CFunction function;
        void *address;
    } f = {.function = lua_tocfunction(k->L, index)};
    Dl_info info;
    if (!f.function || !dladdr(f.address, &info) || !info.dli_fname)
        vm_raise(k->L, MG_E_ARGUMENT, "%s: the function closes over one of Lua's own that has no name; it cannot be part of"
                 " a key", k->what);
    const char *slash = strrchr(info.dli_fname, '/');
    put_mark(k, 'C');
    mg_pack_str(k->out, slash ? slash + 1 : info.dli_fname);
    mg_pack_int(k->out, (const char *)f.address - (const char *)info.dli_fbase);
}

/* A function that moon.cache made stands for the one that it was made of. */
static bool push_original(struct key *k, int index)
{
    lua_getfield(k->L, LUA_REGISTRYINDEX, "moon.cached");
    if (!lua_istable(k->L, -1)) {
        lua_pop(k->L, 1);
        return false;
    }
    lua_pushvalue(k->L, index);
    lua_rawget(k->L, -2);
    lua_remove(k->L, -2);
    if (lua_isfunction(k->L, -1))
        return true;
    lua_pop(k->L, 1);
    return false;
}

static void put_function(struct key *k, int index)
{
    lua_State *L = k->L;
    if (push_original(k, index)) {
        put_mark(k, 'O');
        put_function(k, lua_gettop(L));
        lua_pop(L, 1);
        return;
    }
    if (is_seen(k, index))
        return;
    if (lua_iscfunction(L, index)) {
        put_c_function(k, index);
        return;
    }
    lua_Debug ar;
    lua_pushvalue(L, index);
    lua_getinfo(L, ">Su", &ar);
    bool library = strcmp(ar.source, "=?") == 0 || strncmp(ar.source, "=[builtin", 9) == 0;
    put_mark(k, library ? 'L' : 'F');
    put_code(k, index);
    mg_pack_int(k->out, ar.nups);
    for (int i = 1; i <= ar.nups; i++) {
        if (!lua_getupvalue(L, index, i))
            break;
        /* The library's functions close over the library; what an author gave them counts, its own tables do not. */
        bool inner = library && (lua_istable(L, -1) || lua_iscfunction(L, -1));
        if (!inner)
            put_value(k, lua_gettop(L));
        lua_pop(L, 1);
    }
    lua_getfenv(L, index);
    if (!lua_rawequal(L, -1, LUA_GLOBALSINDEX) && !library) {
        put_mark(k, 'E');
        /* Of the environment of another UDF's modules (lua/moon/run.lua), what these put there. */
        if (luaL_getmetafield(L, -1, "__moon_modules")) {
            int env = lua_gettop(L) - 1;
            lua_pop(L, 1);
            lua_newtable(L);
            for (lua_pushnil(L); lua_next(L, env); lua_pop(L, 1)) {
                const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
                if (strcmp(name, "require") == 0 || strcmp(name, "_G") == 0)
                    continue;
                lua_pushvalue(L, -2);
                lua_pushvalue(L, -2);
                lua_rawset(L, env + 1);
            }
            lua_replace(L, env);
        }
        put_value(k, lua_gettop(L));
    }
    lua_pop(L, 1);
}

static void put_value(struct key *k, int index)
{
    lua_State *L = k->L;
    size_t len;
    if (++k->depth > MAX_KEY_DEPTH)
        vm_raise(L, MG_E_ARGUMENT, "%s: values nested deeper than %d cannot be part of the key of a cached call", k->what,
                 MAX_KEY_DEPTH);
    if (k->out->failed || k->out->len > MAX_KEY_BYTES)
        vm_raise(L, MG_E_ARGUMENT, "%s: arguments and upvalues of a cached function may have 64 MB at most", k->what);
    luaL_checkstack(L, 12, "nested too deeply");
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        mg_pack_nil(k->out);
        break;
    case LUA_TBOOLEAN:
        mg_pack_bool(k->out, lua_toboolean(L, index));
        break;
    case LUA_TNUMBER:
        mg_pack_double(k->out, lua_tonumber(L, index));
        break;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, index, &len);
        mg_pack_bytes(k->out, text, len);
        break;
    }
    case LUA_TTABLE:
        if (!put_known(k, index))
            put_table(k, index);
        break;
    case LUA_TFUNCTION:
        if (!put_known(k, index))
            put_function(k, index);
        break;
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(L, index)) {
            put_mark(k, 'Z');
            break;
        }
        /* fall through */
    default:
        if (lua_type(L, index) != LUA_TUSERDATA || !put_userdata(k, index))
            vm_raise(L, MG_E_ARGUMENT, "%s: a %s cannot be part of the key of a cached call; give the function what is in it",
                     k->what, luaL_typename(L, index));
    }
    k->depth--;
}

void vm_key_put(lua_State *L, const char *what, const int *indices, size_t n, struct mg_buf *out)
{
    int top = lua_gettop(L);
    struct key k = {.L = L, .out = out, .what = what, .seen = top + 1, .known = top + 2};
    luaL_checkstack(L, 12, "too many arguments");
    lua_newtable(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.known");
    for (size_t i = 0; i < n; i++)
        put_value(&k, indices[i]);
    lua_settop(L, top);
}
