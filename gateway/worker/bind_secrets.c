/* Secrets of the organisation: moon.secrets (lua/moon/secrets.lua). Each is asked of the front when it is
 * first read. */
#include "vm.h"

/* get(name) -> text | nil */
static int l_get(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    char version[65];
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    if (!vm->host.secret)
        vm_raise(L, MG_E_UNAVAILABLE, "secrets: there are none here");
    if (strlen(name) != len || len >= 64)
        return 0;
    struct mg_buf *value = vm_scratch(L, 4);
    enum mg_err err = vm->host.secret(vm->host.context, name, value, version, &why);
    if (err == MG_OK || err == MG_E_NOT_FOUND)
        vm_dep(vm, "secret", (struct mg_span){name, len}, mg_span(version));
    if (err == MG_E_NOT_FOUND)
        return 0;
    vm_check(L, "secrets", err, &why);
    lua_pushlstring(L, value->data ? value->data : "", value->len);
    return 1;
}

void vm_open_secrets(lua_State *L)
{
    static const luaL_Reg functions[] = {{"get", l_get}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
