/* moongate.conf.lua: settings as assignments to globals, `listen = "0.0.0.0:8080"`, lists as tables.
 *
 * The operator's own file, read once at the start, before any other process exists: it may compute (strings, tables,
 * `env "NAME"`), but has no files and no processes, so that reading it has no effect but its settings. */
#include "moongate/worker.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

/* env(name) -> the server's environment variable, or nil */
static int conf_env(lua_State *L)
{
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

static const luaL_Reg libraries[] = {{"", luaopen_base}, {LUA_STRLIBNAME, luaopen_string},
                                     {LUA_TABLIBNAME, luaopen_table}, {LUA_MATHLIBNAME, luaopen_math}};
static const char *const lent[] = {"ipairs", "pairs", "tonumber", "tostring", "type", "error", "assert", "select",
                                   "string", "table", "math"};

/* The environment of the file: an empty table over what is lent to it. */
static void push_environment(lua_State *L)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof lent / sizeof *lent; i++) {
        lua_getglobal(L, lent[i]);
        lua_setfield(L, -2, lent[i]);
    }
    lua_pushcfunction(L, conf_env);
    lua_setfield(L, -2, "env");
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

/* The text of the value on top, or NULL when a setting cannot be that. */
static const char *text_of(lua_State *L)
{
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        return lua_toboolean(L, -1) ? "true" : "false";
    case LUA_TNUMBER:
    case LUA_TSTRING:
        return lua_tostring(L, -1);
    default:
        return NULL;
    }
}

static enum mg_err put_value(lua_State *L, const char *path, const char *name, mg_config_put_f *put, void *context,
                             struct mg_errmsg *err)
{
    const char *text = text_of(L);
    if (text)
        return put(context, name, text, err);
    return mg_err_set(err, MG_E_INVALID, "%s: %s is a %s; a string, a number, a boolean or a list of them is expected",
                      path, name, luaL_typename(L, -1));
}

static enum mg_err put_setting(lua_State *L, const char *path, mg_config_put_f *put, void *context,
                               struct mg_errmsg *err)
{
    if (lua_type(L, -2) != LUA_TSTRING)
        return mg_err_set(err, MG_E_INVALID, "%s: settings have names", path);
    const char *name = lua_tostring(L, -2);
    if (!lua_istable(L, -1))
        return put_value(L, path, name, put, context, err);
    enum mg_err status = MG_OK;
    for (int i = 1, n = (int)lua_objlen(L, -1); i <= n && !status; i++) {
        lua_rawgeti(L, -1, i);
        status = put_value(L, path, name, put, context, err);
        lua_pop(L, 1);
    }
    return status;
}

enum mg_err mg_conf_read(const char *path, mg_config_put_f *put, void *context, struct mg_errmsg *err)
{
    lua_State *L = luaL_newstate();
    if (!L)
        return mg_err_set(err, MG_E_NOMEM, "no memory to read %s", path);
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        lua_pushcfunction(L, libraries[i].func);
        lua_pushstring(L, libraries[i].name);
        lua_call(L, 1, 0);
    }
    enum mg_err status = MG_OK;
    push_environment(L);
    int failed = luaL_loadfilex(L, path, "t");
    if (!failed) {
        lua_pushvalue(L, -2);
        lua_setfenv(L, -2);
        failed = lua_pcall(L, 0, 0, 0);
    }
    if (failed) {
        const char *why = lua_tostring(L, -1);
        status = mg_err_set(err, MG_E_INVALID, "%s", why ? why : "the configuration raised an error");
    }
    for (lua_pushnil(L); !status && lua_next(L, -2); lua_pop(L, 1))
        status = put_setting(L, path, put, context, err);
    lua_close(L);
    return status;
}
