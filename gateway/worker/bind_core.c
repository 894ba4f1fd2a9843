/* moon's core: what lua/moon/core.lua needs of C; options of calls; memory outside of the Lua heap.
 */
#include "vm.h"

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

void vm_open_core(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"log", l_log},   {"raise", l_raise}, {"error_object", l_error_object},
        {"show", l_show}, {"kind", l_kind},   {"options", l_options},
        {NULL, NULL}};
    luaL_register(L, NULL, functions);
    new_marked(L, "moon.Response", "__moon_response", "response");
    lua_setfield(L, -2, "Response");
    new_marked(L, "moon.Object", "__moon_object", "table");
    lua_setfield(L, -2, "Object");
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
            const char *name =
                lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "at a list position";
            vm_raise(L, MG_E_ARGUMENT, "%s: no option %.60s%s (there are %s)", what, name,
                     vm_suggest(L, name, 0, keys), all->data ? all->data : "none");
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
        vm_raise(L, MG_E_UDF_MEMORY, "rasters and tables of this run take more than %zu MB",
                 vm->extern_limit >> 20);
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
