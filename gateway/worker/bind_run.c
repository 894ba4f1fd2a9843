/* Other UDFs: moon.run (lua/moon/run.lua). The host runs them in another worker; the value comes
 * back in the internal format, and what it depended on is a dependency of this run too. */
#include "vm.h"

static int buffer_gc(lua_State *L)
{
    mg_buf_fini(lua_touserdata(L, 1));
    return 0;
}

/* A buffer that is freed whatever happens. */
static struct mg_buf *new_buffer(lua_State *L)
{
    struct mg_buf *buf = lua_newuserdata(L, sizeof *buf);
    mg_buf_init(buf, 0);
    if (luaL_newmetatable(L, "moon.Buffer")) {
        lua_pushcfunction(L, buffer_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return buf;
}

static void pack_tile(struct mg_buf *args, struct mg_tile tile, int64_t *count)
{
    const struct {
        const char *name;
        int value;
    } axes[] = {{"z", tile.z}, {"x", tile.x}, {"y", tile.y}};
    for (int i = 0; i < 3; i++) {
        mg_pack_str(args, axes[i].name);
        mg_pack_int(args, MG_ARG_INT);
        mg_pack_int(args, axes[i].value);
        ++*count;
    }
}

/* The arguments of the table at `index`. Bounds of a tile become z, x, y, which make the run a tile
 * call. */
static int64_t pack_arguments(lua_State *L, int index, struct mg_buf *args)
{
    int64_t count = 0;
    bool tile_given = false;
    lua_getfield(L, index, "z");
    tile_given = !lua_isnil(L, -1);
    lua_pop(L, 1);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            vm_raise(L, MG_E_ARGUMENT, "run: arguments: expected names as keys");
        const char *name = lua_tostring(L, -2);
        if (!tile_given && vm_is_bounds(L, -1)) {
            struct vm_bounds b;
            vm_check_bounds(L, name, lua_gettop(L), &b);
            if (b.has_tile) {
                pack_tile(args, b.tile, &count);
                tile_given = true;
                continue;
            }
        }
        vm_pack_argument(L, name, lua_gettop(L), args);
        count++;
    }
    return count;
}

/* call(name [, arguments]) -> the value of the other UDF */
static int l_call(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    struct mg_run_result result;
    if (lua_type(L, 1) != LUA_TSTRING)
        vm_bad(L, "run: the first argument", "a UDF's name", 1);
    if (!lua_isnoneornil(L, 2) && (!lua_istable(L, 2) || vm_is_bounds(L, 2)))
        vm_bad(L, "run: the second argument", "a table of arguments by name", 2);
    if (!vm->host.call)
        vm_raise(L, MG_E_UNAVAILABLE, "run: no other UDF can be run from here");
    lua_settop(L, 2);
    const char *name = lua_tostring(L, 1);
    struct mg_buf *args = vm_scratch(L, 4), *packed = vm_scratch(L, 5);
    int64_t count = lua_istable(L, 2) ? pack_arguments(L, 2, args) : 0;
    mg_pack_int(packed, count);
    mg_buf_put(packed, args->data, args->len);
    vm_check(L, "run", mg_buf_status(packed, &why), &why);

    struct mg_run_request request = {.mode = MG_RUN_VALUE,
                                     .org = vm->request->org,
                                     .udf = mg_span(name),
                                     .args = {packed->data, packed->len},
                                     .deadline_ms = vm->request->deadline_ms,
                                     .depth = vm->request->depth + 1,
                                     .lua_bytes = vm->request->lua_bytes,
                                     .result_bytes = vm->request->result_bytes,
                                     .owner = vm->request->owner};
    struct mg_buf *answer = new_buffer(L);
    enum mg_err err = vm->host.call(vm->host.context, &request, answer, &why);
    if (err != MG_OK)
        vm_raise(L, err, "run: %s: %s", name,
                 why.text[0] ? why.text + (strncmp(why.text, "moon.run: ", 10) == 0 ? 10 : 0)
                             : mg_err_text(err));
    if (mg_run_result_unpack((struct mg_span){answer->data, answer->len}, &result) != MG_OK)
        vm_raise(L, MG_E_INTERNAL, "run: %s: the answer is broken", name);
    vm_take_deps(vm, result.deps);
    if (result.log.len)
        vm_note(vm, "[%s] %.*s", name, (int)(result.log.len > 900 ? 900 : result.log.len),
                result.log.data);
    if (result.err != MG_OK)
        vm_raise(L, result.err, "run: %s: %.*s", name,
                 (int)(result.message.len > 800 ? 800 : result.message.len),
                 result.message.data ? result.message.data : "");
    vm_value_push(L, name, result.body);
    return 1;
}

void vm_open_run(lua_State *L)
{
    lua_pushcfunction(L, l_call);
    lua_setfield(L, -2, "call");
}
