/* A fresh Lua state: bounded memory, the allow-listed environment, the library loaded lazily from
 * bytecode. It is made once and copied for each run (vm_warm.c).
 *
 * Nothing of an earlier run is in it, so a run can poison only itself. The allow-list is hygiene
 * (good errors, no accidents); the sandboxed process is the boundary. Text only is loaded: bytecode
 * can crash the machine. */
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>

/* Names of moon that live in a module, which is loaded when one of them is first used. */
static const struct {
    const char *name, *module;
} lazy[] = {
    {"read_raster", "raster"},
    {"raster", "raster"},
    {"map", "raster"},
    {"hillshade", "raster"},
    {"rasterize", "raster"},
    {"relief", "raster"},
    {"zonal", "raster"},
    {"legend", "raster"},
    {"colour", "raster"},
    {"read_vector", "table"},
    {"table", "table"},
    {"table_to_tile", "chunks"},
    {"geometry", "geometry"},
    {"point", "geometry"},
    {"bounds", "tile"},
    {"tile", "tile"},
    {"estimate_zoom", "tile"},
    {"json", "json"},
    {"html", "html"},
    {"page", "page"},
    {"chart", "chart"},
    {"time", "time"},
    {"xml", "xml"},
    {"stac", "stac"},
    {"get_tiles", "convert"},
    {"to_table", "convert"},
    {"visualize", "convert"},
    {"cache", "cache"},
    {"start", "run"},
    {"submit", "run"},
    {"run", "run"},
    {"load", "run"},
    {"encode", "encode"},
    {"sql", "sql"},
    {"file", "sql"},
    {"frames", "frames"},
    {"files", "files"},
    {"http", "http"},
    {"download", "download"},
    {"secrets", "secrets"},
    {"env", "files"},
    {"load_dotenv", "files"},
};
/* Names of moon that the core itself has, for the error that lists all. */
static const char core_names[] = "udf, type, response, try, log, range, nodata, null";

/* Module names that a UDF's own file must not have. */
static const char *const reserved[] = {"moon", "string", "table", "math",    "bit",
                                       "os",   "io",     "debug", "package", "coroutine",
                                       "jit",  "ffi",    "cjson", "utf8",    NULL};

/* At the first instruction behind the one that went over the limit, and at each that follows a pcall: the
 * run ends, at the author's line. */
static void on_over(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    vm_raise(L, MG_E_UDF_MEMORY, "the UDF used more than its %zu MB of memory", vm_of(L)->lua_limit >> 20);
}

/* Over the limit the run is to end, which is a matter of the interpreter's next instruction: for LuaJIT
 * does not always survive a refusal in compiled code. Until then there is a reserve. */
static bool may_exceed(struct mg_vm *vm, size_t more)
{
    enum { RESERVE = 16 << 20, REFUSALS = 1000 };
    if (!vm->over) {
        vm->over = vm->hit_limit = true;
        lua_sethook(vm->L, on_over, LUA_MASKCOUNT, 1);
    }
    if (vm->lua_bytes + more <= vm->lua_limit + RESERVE)
        return true;
    if (++vm->refused > REFUSALS && vm->host.give_up) /* compiled code that catches every refusal */
        vm->host.give_up(vm->host.context);
    return false;
}

static void *allocate(void *ud, void *old, size_t old_bytes, size_t bytes)
{
    struct mg_vm *vm = ud;
    if (bytes > old_bytes && vm->lua_bytes + (bytes - old_bytes) > vm->lua_limit &&
        !may_exceed(vm, bytes - old_bytes))
        return NULL;
    void *fresh = vm_arena_resize(&vm->arena, old, old_bytes, bytes);
    if (!fresh && bytes) {
        vm->hit_limit = true;
        return NULL;
    }
    vm->lua_bytes = vm->lua_bytes - old_bytes + bytes;
    return fresh;
}

const bool *mg_vm_memory_flag(const struct mg_vm *vm) { return &vm->hit_limit; }

void vm_push_internal(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.inner");
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

/* Runs the module's bytecode as chunk(moon, inner). */
void vm_load_module(lua_State *L, const char *name)
{
    const struct vm_module *module = vm_module_find(mg_span(name));
    if (!module)
        vm_raise(L, MG_E_INTERNAL, "the library has no module %s: the installation is not complete",
                 name);
    vm_of(L)->modules |= (uint64_t)1 << (module - vm_modules);
    if (luaL_loadbufferx(L, module->code, module->len, "=?", "b") != 0)
        lua_error(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "moon");
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.inner");
    lua_call(L, 2, 0);
}

/* moon[name]: loads the module that has it */
static int l_moon_index(lua_State *L)
{
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    for (size_t i = 0; name && i < sizeof lazy / sizeof *lazy; i++) {
        if (strcmp(lazy[i].name, name) == 0) {
            vm_load_module(L, lazy[i].module);
            lua_rawget(L, 1);
            return 1;
        }
    }
    struct mg_buf *all = vm_scratch(L, 1);
    const char *words[sizeof lazy / sizeof *lazy + 1] = {0};
    mg_buf_str(all, core_names);
    for (size_t i = 0; i < sizeof lazy / sizeof *lazy; i++) {
        words[i] = lazy[i].name;
        mg_buf_printf(all, ", %s", lazy[i].name);
    }
    vm_raise(L, MG_E_ARGUMENT, "moon has no `%.60s`%s (it has %s)", name ? name : "?",
             name ? vm_suggest(L, name, 1, words) : "", all->data);
}

/* inner.open(group) -> its C functions */
static int l_open(lua_State *L)
{
    static const struct {
        const char *name;
        void (*open)(lua_State *L);
    } groups[] = {
        {"core", vm_open_core},     {"json", vm_open_json},   {"geometry", vm_open_geometry},
        {"raster", vm_open_raster}, {"table", vm_open_table}, {"tile", vm_open_tile},
        {"run", vm_open_run},       {"cache", vm_open_cache},       {"encode", vm_open_encode}, {"sql", vm_open_sql},
        {"vector", vm_open_vector}, {"chunks", vm_open_chunks},
        {"html", vm_open_html}, {"xml", vm_open_xml},
        {"frames", vm_open_frames}, {"files", vm_open_files}, {"http", vm_open_http},
        {"download", vm_open_download}, {"secrets", vm_open_secrets}};
    const char *name = luaL_checkstring(L, 1);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        if (strcmp(groups[i].name, name) == 0) {
            lua_newtable(L);
            groups[i].open(L);
            return 1;
        }
    }
    return luaL_error(L, "no group %s", name);
}

/* inner.load(name): runs a module that no name of moon leads to. */
static int l_load_module(lua_State *L)
{
    vm_load_module(L, luaL_checkstring(L, 1));
    return 0;
}

/* inner.ffi() -> the FFI, for the library's own loops */
static int l_ffi(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.ffi");
    if (lua_isnil(L, -1)) {
        lua_pushcfunction(L, luaopen_ffi);
        lua_call(L, 0, 1);
        lua_pushvalue(L, -1);
        lua_setfield(L, LUA_REGISTRYINDEX, "moon.ffi");
    }
    return 1;
}

/* inner.jit_util() -> LuaJIT's view of functions and traces, which it opens on demand */
static int l_jit_util(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "_PRELOAD");
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "jit.util");
        if (lua_isfunction(L, -1)) {
            lua_pushliteral(L, "jit.util");
            lua_call(L, 1, 1);
        }
    }
    return 1;
}

struct mg_span vm_bundle_file(struct mg_span bundle, struct mg_span name)
{
    struct mg_unpack in;
    mg_unpack_init(&in, bundle.data, bundle.len);
    size_t n = mg_unpack_count(&in, 4096);
    for (size_t i = 0; i < n && !in.failed; i++) {
        struct mg_span file = mg_unpack_bytes(&in), bytes = mg_unpack_bytes(&in);
        if (!in.failed && mg_span_eq(file, name))
            return bytes.data ? bytes : (struct mg_span){"", 0};
    }
    return (struct mg_span){0};
}

/* The names of the UDF's own modules, for an error. */
static void list_modules(struct mg_span bundle, struct mg_buf *out)
{
    struct mg_unpack in;
    mg_unpack_init(&in, bundle.data, bundle.len);
    size_t n = mg_unpack_count(&in, 4096), listed = 0;
    for (size_t i = 0; i < n && !in.failed; i++) {
        struct mg_span file = mg_unpack_bytes(&in);
        mg_unpack_skip(&in);
        if (file.len > 4 && memcmp(file.data + file.len - 4, ".lua", 4) == 0)
            mg_buf_printf(out, "%s%.*s", listed++ ? ", " : "", (int)file.len - 4, file.data);
    }
}

/* moon.x as a table of its own */
static int require_library(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "moon");
    if (name[4]) {
        lua_getfield(L, -1, name + 5);
        if (!lua_istable(L, -1))
            vm_raise(L, MG_E_ARGUMENT, "require: %s is no module (moon.%s is a function of moon)",
                     name, name + 5);
    }
    return 1;
}

void vm_push_chunk(lua_State *L, struct mg_span text, const char *chunk)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.chunks");
    lua_getfield(L, -1, chunk + 1);
    lua_remove(L, -2);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    if (luaL_loadbufferx(L, text.data, text.len, chunk, "t") != 0)
        lua_error(L);
}

/* require(name) -> moon, a submodule of it, or a module of the UDF's own folder */
static int l_require(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    if (lua_type(L, 1) != LUA_TSTRING)
        vm_bad(L, "require", "a module's name", 1);
    const char *name = lua_tostring(L, 1);
    if (strcmp(name, "moon") == 0 || strncmp(name, "moon.", 5) == 0)
        return require_library(L, name);
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.loaded"); /* 2 */
    lua_getfield(L, 2, name);
    if (lua_islightuserdata(L, 3))
        vm_raise(L, MG_E_ARGUMENT,
                 "require: %s requires itself, through the modules that it requires", name);
    if (!lua_isnil(L, 3))
        return 1;
    char file[160];
    int n = snprintf(file, sizeof file, "@%s.lua", name);
    struct mg_span text = {0};
    if (n > 0 && (size_t)n < sizeof file && strlen(name) == lua_objlen(L, 1))
        text = vm_bundle_file(vm->bundle, (struct mg_span){file + 1, (size_t)n - 1});
    if (!text.data) {
        struct mg_buf *have = vm_scratch(L, 1);
        list_modules(vm->bundle, have);
        vm_raise(L, MG_E_ARGUMENT, "require: no module %s (there are moon, and of this UDF: %s)",
                 name, have->len ? have->data : "none");
    }
    vm_push_chunk(L, text, file);
    lua_pushlightuserdata(L, vm);
    lua_setfield(L, 2, name);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    return 1;
}

/* load(text or function [, name [, mode [, env]]]) -> function | nil, message; text only */
static int l_load(lua_State *L)
{
    struct mg_span text = {0};
    if (lua_isfunction(L, 1)) {
        luaL_Buffer all;
        size_t total = 0;
        luaL_buffinit(L, &all);
        for (;;) {
            size_t len = 0;
            lua_pushvalue(L, 1);
            lua_call(L, 0, 1);
            if (!lua_isstring(L, -1) || !lua_tolstring(L, -1, &len) || len == 0)
                break;
            if ((total += len) > 1 << 20)
                vm_raise(L, MG_E_ARGUMENT, "load: more than 1 MB of code");
            luaL_addvalue(&all);
        }
        lua_pop(L, 1);
        luaL_pushresult(&all);
        text.data = lua_tolstring(L, -1, &text.len);
    } else if (lua_type(L, 1) == LUA_TSTRING) {
        text.data = lua_tolstring(L, 1, &text.len);
    } else {
        vm_bad(L, "load", "code", 1);
    }
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "@load";
    char chunk[64];
    snprintf(chunk, sizeof chunk, "%s%s", name[0] == '@' || name[0] == '=' ? "" : "@", name);
    if (luaL_loadbufferx(L, text.data, text.len, chunk, "t") != 0) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (!lua_isnoneornil(L, 4)) {
        luaL_checktype(L, 4, LUA_TTABLE);
        lua_pushvalue(L, 4);
        lua_setfenv(L, -2);
    }
    return 1;
}

/* print(...) */
static int l_print(lua_State *L)
{
    struct mg_buf *line = vm_scratch(L, 1);
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        size_t len;
        lua_getglobal(L, "tostring");
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        const char *text = lua_tolstring(L, -1, &len);
        if (i > 1)
            mg_buf_char(line, '\t');
        if (text)
            mg_buf_put(line, text, len > VM_LOG_BYTES ? VM_LOG_BYTES : len);
        lua_pop(L, 1);
    }
    vm_log(vm_of(L), (struct mg_span){line->data ? line->data : "", line->len});
    return 0;
}

static void open_library(lua_State *L, lua_CFunction open, const char *name)
{
    lua_pushcfunction(L, open);
    lua_pushstring(L, name);
    lua_call(L, 1, 0);
}

/* Moves the global `name` into the table at the top of the stack. */
static void hide_global(lua_State *L, const char *name)
{
    lua_getglobal(L, name);
    lua_setfield(L, -2, name);
    lua_pushnil(L);
    lua_setglobal(L, name);
}

static void restrict_environment(lua_State *L)
{
    static const char *const gone[] = {"dofile",   "loadfile", "getfenv", "setfenv",
                                       "newproxy", "module",   "gcinfo",  NULL};
    for (const char *const *name = gone; *name; name++) {
        lua_pushnil(L);
        lua_setglobal(L, *name);
    }
    static const char *const os_names[] = {"time", "date", "clock", "difftime", NULL};
    lua_getglobal(L, "os");
    lua_createtable(L, 0, 4);
    for (const char *const *name = os_names; *name; name++) {
        lua_getfield(L, -2, *name);
        lua_setfield(L, -2, *name);
    }
    lua_setglobal(L, "os");
    lua_pop(L, 1);
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "dump"); /* for keys of moon.cache alone */
    lua_setfield(L, LUA_REGISTRYINDEX, "moon.dump");
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pop(L, 1);
    lua_pushliteral(L, "");
    if (lua_getmetatable(L, -1)) {
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static int open_state(lua_State *L)
{
    open_library(L, luaopen_base, "");
    open_library(L, luaopen_table, LUA_TABLIBNAME);
    open_library(L, luaopen_string, LUA_STRLIBNAME);
    open_library(L, luaopen_math, LUA_MATHLIBNAME);
    open_library(L, luaopen_os, LUA_OSLIBNAME);
    open_library(L, luaopen_bit, LUA_BITLIBNAME);
    open_library(L, luaopen_debug, LUA_DBLIBNAME);
    open_library(L, luaopen_jit, LUA_JITLIBNAME);
    vm_open_errors(L);
    lua_newtable(L); /* inner */
    hide_global(L, "debug");
    hide_global(L, "jit");
    lua_getglobal(L, "loadstring");
    lua_setfield(L, -2, "loadstring");
    static const luaL_Reg inner[] = {
        {"open", l_open}, {"load", l_load_module}, {"ffi", l_ffi}, {"jit_util", l_jit_util}, {NULL, NULL}};
    luaL_register(L, NULL, inner);
    lua_setfield(L, LUA_REGISTRYINDEX, "moon.inner");
    restrict_environment(L);
    static const luaL_Reg globals[] = {{"require", l_require},
                                       {"load", l_load},
                                       {"loadstring", l_load},
                                       {"print", l_print},
                                       {NULL, NULL}};
    for (const luaL_Reg *f = globals; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setglobal(L, f->name);
    }
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "moon.loaded");
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "moon.chunks"); /* compiled files of the bundle, by name */
    lua_createtable(L, 0, 24); /* moon */
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, l_moon_index);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, "moon");
    vm_load_module(L, "core");
    return 0;
}

bool vm_state_make(struct mg_vm *vm)
{
    vm->lua_bytes = 0;
    vm->lua_limit = SIZE_MAX / 2;
    vm->hit_limit = false;
    vm->L = lua_newstate(allocate, vm);
    if (!vm->L)
        return false;
    if (lua_cpcall(vm->L, open_state, NULL) != 0) {
        const char *text = lua_tostring(vm->L, -1);
        mg_buf_str(&vm->fault.message, text ? text : "the Lua library could not be loaded");
        lua_close(vm->L);
        vm->L = NULL;
        return false;
    }
    return true;
}

/* A UDF's own module must not hide a library's. */
bool vm_bundle_check(struct mg_span bundle, struct mg_errmsg *why)
{
    for (const char *const *name = reserved; *name; name++) {
        char file[32];
        snprintf(file, sizeof file, "%s.lua", *name);
        if (vm_bundle_file(bundle, mg_span(file)).data) {
            mg_err_set(why, MG_E_UDF_BROKEN, "%s: the library has a module %s; rename this file",
                       file, *name);
            return false;
        }
    }
    return true;
}
