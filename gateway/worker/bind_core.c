/* moon's core: what lua/moon/core.lua needs of C; options of calls; memory outside of the Lua heap. */
#include "vm.h"

#include <stdio.h>

/* log(...): a line of the run's log, the values apart by blanks */
static int l_log(lua_State *L)
{
    struct mg_buf *line = vm_scratch(L, 1);
    struct mg_errmsg why;
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        size_t len;
        if (i > 1)
            mg_buf_char(line, ' ');
        if (lua_istable(L, i) && !luaL_getmetafield(L, i, "__tostring")) {
            struct mg_buf *json = vm_scratch(L, 3);
            if (vm_json_write(L, i, json, &why))
                mg_buf_put(line, json->data, json->len);
            else
                mg_buf_str(line, "a table");
            continue;
        }
        lua_settop(L, n);
        lua_getglobal(L, "tostring");
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        const char *text = lua_tolstring(L, -1, &len);
        if (text)
            mg_buf_put(line, text, len > VM_LOG_BYTES ? VM_LOG_BYTES : len);
        lua_settop(L, n);
    }
    vm_log(vm_of(L), (struct mg_span){line->data ? line->data : "", line->len});
    return 0;
}

/* raise(name, message): an error object at the author's line */
static int l_raise(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1), *message = luaL_checkstring(L, 2);
    vm_raise(L, mg_err_from_name(name), "%s", message);
}

/* error_object(value) -> the error object that it is, or is wrapped in */
static int l_error_object(lua_State *L)
{
    lua_settop(L, 1);
    vm_error_object(L);
    return 1;
}

/* show(value) -> text for a sentence */
static int l_show(lua_State *L)
{
    struct mg_buf *out = vm_scratch(L, 0);
    vm_describe(L, 1, out);
    lua_pushlstring(L, out->data, out->len);
    return 1;
}

static void new_marked(lua_State *L, const char *type, const char *mark, const char *name)
{
    luaL_newmetatable(L, type);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, mark);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
}

/* inner.kind(value) -> "raster", "table", "geometry", "bounds", or Lua's own type */
static int l_kind(lua_State *L)
{
    luaL_checkany(L, 1);
    if (vm_to_raster(L, 1))
        lua_pushliteral(L, "raster");
    else if (vm_to_table(L, 1))
        lua_pushliteral(L, "moon table");
    else if (vm_to_geometry(L, 1))
        lua_pushliteral(L, "geometry");
    else if (vm_is_bounds(L, 1))
        lua_pushliteral(L, "bounds");
    else
        lua_pushstring(L, luaL_typename(L, 1));
    return 1;
}

/* options(what, table or nil, names…): raises for a name that is not among them */
static int l_options(lua_State *L)
{
    const char *keys[32];
    int n = lua_gettop(L) - 2;
    const char *what = luaL_checkstring(L, 1);
    for (int i = 0; i < n && i < 31; i++)
        keys[i] = luaL_checkstring(L, i + 3);
    keys[n < 31 ? n : 31] = NULL;
    vm_check_options(L, what, 2, keys);
    return 0;
}

/* call(request fields): runs another UDF -> its value; see lua/moon/run.lua */
static int l_call(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    size_t len;
    struct mg_errmsg why = {""};
    if (lua_type(L, 1) != LUA_TSTRING)
        vm_bad(L, "run: the first argument", "a UDF's name", 1);
    const char *name = lua_tolstring(L, 1, &len);
    if (!lua_isnoneornil(L, 2) && (!lua_istable(L, 2) || vm_is_bounds(L, 2)))
        vm_bad(L, "run: the second argument", "a table of arguments by name", 2);
    if (!vm->host.call)
        vm_raise(L, MG_E_UNAVAILABLE, "run: no other UDF can be run from here");
    lua_settop(L, 2);
    struct mg_run_request request = *vm->request;
    request.mode = MG_RUN_VALUE;
    request.udf = (struct mg_span){name, len};
    memset(&request.code, 0, sizeof request.code);
    request.formats = request.vector = request.raster = request.accepts = request.options = request.extra =
        (struct mg_span){0};
    request.has_tile = false;
    request.z = request.x = request.y = request.tile_size = 0;
    request.depth = vm->request->depth + 1;
    request.gzip = false;
    struct mg_buf *args = vm_scratch(L, 4);
    int64_t count = 0;
    if (lua_istable(L, 2)) {
        lua_Number tile[3];
        static const char *const axes[] = {"z", "x", "y"};
        int given = 0;
        for (int i = 0; i < 3; i++) {
            lua_getfield(L, 2, axes[i]);
            given += lua_isnumber(L, -1);
            tile[i] = lua_tonumber(L, -1);
            lua_pop(L, 1);
        }
        if (given == 3) {
            struct mg_tile t = {(int32_t)tile[0], (int32_t)tile[1], (int32_t)tile[2]};
            if (!mg_tile_valid(t) || t.z != tile[0] || t.x != tile[1] || t.y != tile[2])
                vm_raise(L, MG_E_ARGUMENT, "run: z, x, y: no such tile");
            request.has_tile = true;
            request.z = t.z;
            request.x = t.x;
            request.y = t.y;
            request.tile_size = 256;
        }
        for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING)
                vm_raise(L, MG_E_ARGUMENT, "run: arguments: expected names as keys");
            const char *key = lua_tostring(L, -2);
            if (request.has_tile && (strcmp(key, "z") == 0 || strcmp(key, "x") == 0 || strcmp(key, "y") == 0))
                continue;
            if (request.has_tile && strcmp(key, "size") == 0 && lua_isnumber(L, -1)) {
                request.tile_size = (int64_t)lua_tonumber(L, -1);
                continue;
            }
            vm_pack_argument(L, key, lua_gettop(L), args);
            count++;
        }
    }
    struct mg_buf *packed = vm_scratch(L, 5);
    mg_pack_int(packed, count);
    mg_buf_put(packed, args->data, args->len);
    vm_check(L, "run", mg_buf_status(packed, &why), &why);
    request.args = (struct mg_span){packed->data, packed->len};
    struct mg_buf *answer = lua_newuserdata(L, sizeof *answer);
    mg_buf_init(answer, 0);
    luaL_getmetatable(L, "moon.Buffer"); /* frees it whatever happens */
    lua_setmetatable(L, -2);
    enum mg_err err = vm->host.call(vm->host.context, &request, answer, &why);
    if (err != MG_OK)
        vm_raise(L, err, "run: %s: %s", name, why.text[0] ? why.text : mg_err_text(err));
    struct mg_run_result result;
    if (mg_run_result_unpack((struct mg_span){answer->data, answer->len}, &result) != MG_OK)
        vm_raise(L, MG_E_INTERNAL, "run: %s: the answer is broken", name);
    struct mg_unpack in;
    mg_unpack_init(&in, result.deps.data, result.deps.len);
    size_t n = result.deps.len ? mg_unpack_count(&in, 100000) : 0;
    for (size_t i = 0; i < n && !in.failed; i++) {
        struct mg_span kind = mg_unpack_bytes(&in), what = mg_unpack_bytes(&in), version = mg_unpack_bytes(&in);
        char text[16];
        if (in.failed || kind.len >= sizeof text)
            break;
        memcpy(text, kind.data, kind.len);
        text[kind.len] = 0;
        vm_dep(vm, text, what, version);
    }
    if (result.log.len && vm->log.len + result.log.len + 1 < VM_LOG_BYTES)
        vm_note(vm, "[%s] %.*s", name, (int)(result.log.len > 900 ? 900 : result.log.len), result.log.data);
    if (result.err != MG_OK)
        vm_raise(L, result.err, "run: %s: %.*s", name, (int)(result.message.len > 800 ? 800 : result.message.len),
                 result.message.data ? result.message.data : "");
    vm_value_push(L, name, result.body);
    return 1;
}

static int buffer_gc(lua_State *L)
{
    struct mg_buf *buf = lua_touserdata(L, 1);
    if (buf)
        mg_buf_fini(buf);
    return 0;
}

/* modules() -> names of the UDF's own bundle: has(name) */
static int l_own_module(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    char file[160];
    int n = snprintf(file, sizeof file, "%s.lua", luaL_checkstring(L, 1));
    lua_pushboolean(L, n > 0 && (size_t)n < sizeof file && vm_bundle_file(vm->bundle, mg_span(file)).data != NULL);
    return 1;
}

void vm_open_core(lua_State *L)
{
    static const luaL_Reg functions[] = {{"log", l_log},         {"raise", l_raise}, {"error_object", l_error_object},
                                         {"show", l_show},       {"kind", l_kind},   {"options", l_options},
                                         {"own_module", l_own_module}, {"call", l_call},   {NULL, NULL}};
    luaL_register(L, NULL, functions);
    new_marked(L, "moon.Response", "__moon_response", "response");
    lua_setfield(L, -2, "Response");
    new_marked(L, "moon.Object", "__moon_object", "table");
    lua_setfield(L, -2, "Object");
    luaL_newmetatable(L, "moon.Buffer");
    lua_pushcfunction(L, buffer_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
}

void vm_check_options(lua_State *L, const char *what, int index, const char *const *keys)
{
    if (lua_isnoneornil(L, index))
        return;
    if (!lua_istable(L, index))
        vm_bad(L, what, "a table of options", index);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        const char *const *key = keys;
        if (lua_type(L, -2) == LUA_TSTRING)
            while (*key && strcmp(*key, lua_tostring(L, -2)) != 0)
                key++;
        if (lua_type(L, -2) != LUA_TSTRING || !*key) {
            struct mg_buf *all = vm_scratch(L, 1);
            for (key = keys; *key; key++)
                mg_buf_printf(all, "%s%s", key == keys ? "" : ", ", *key);
            vm_raise(L, MG_E_ARGUMENT, "%s: no option %.60s (there are %s)", what,
                     lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "at a list position",
                     all->data ? all->data : "none");
        }
    }
}

void vm_charge(lua_State *L, size_t bytes)
{
    enum { NUDGE = 64 << 20 };
    struct mg_vm *vm = vm_of(L);
    if (vm->extern_since_gc + bytes > NUDGE || vm->extern_bytes + bytes > vm->extern_limit) {
        vm->extern_since_gc = 0;
        lua_gc(L, LUA_GCCOLLECT, 0);
    }
    if (vm->extern_bytes + bytes > vm->extern_limit)
        vm_raise(L, MG_E_UDF_MEMORY, "rasters and tables of this run take more than %zu MB", vm->extern_limit >> 20);
    vm->extern_bytes += bytes;
    vm->extern_since_gc += bytes;
}

void vm_release(struct mg_vm *vm, size_t bytes)
{
    vm->extern_bytes -= bytes < vm->extern_bytes ? bytes : vm->extern_bytes;
}

const char *vm_gdal_path(lua_State *L, const char *what, int index, char *out, size_t size)
{
    struct mg_errmsg why = {""};
    if (lua_type(L, index) != LUA_TSTRING)
        vm_bad(L, what, "a path such as \"fd://scene.tif\"", index);
    const char *name = lua_tostring(L, index);
    vm_check(L, what, mg_files_gdal_path(name, out, size, &why), &why);
    return name;
}
