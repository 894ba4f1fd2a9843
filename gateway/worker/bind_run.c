/* Other UDFs: moon.run (lua/moon/run.lua). The host runs them in another worker; the value comes
 * back in the internal format, and what it depended on is a dependency of this run too. */
#include "vm.h"

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

/* The request of a call(name [, arguments]); what it points to lasts until scratch 4 and 5 are used again. */
static struct mg_run_request check_call(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    if (lua_type(L, 1) != LUA_TSTRING)
        vm_bad(L, "run: the first argument", "a UDF's name", 1);
    if (!lua_isnoneornil(L, 2) && (!lua_istable(L, 2) || vm_is_bounds(L, 2)))
        vm_bad(L, "run: the second argument", "a table of arguments by name", 2);
    if (!vm->host.call)
        vm_raise(L, MG_E_UNAVAILABLE, "run: no other UDF can be run from here");
    lua_settop(L, 2);
    struct mg_buf *args = vm_scratch(L, 4), *packed = vm_scratch(L, 5);
    int64_t count = lua_istable(L, 2) ? pack_arguments(L, 2, args) : 0;
    mg_pack_int(packed, count);
    mg_buf_put(packed, args->data, args->len);
    vm_check(L, "run", mg_buf_status(packed, &why), &why);
    return (struct mg_run_request){.mode = MG_RUN_VALUE,
                                   .org = vm->request->org,
                                   .udf = mg_span(lua_tostring(L, 1)),
                                   .args = {packed->data, packed->len},
                                   .deadline_ms = vm->request->deadline_ms,
                                   .depth = vm->request->depth + 1,
                                   .lua_bytes = vm->request->lua_bytes,
                                   .result_bytes = vm->request->result_bytes,
                                   .owner = vm->request->owner};
}

static struct mg_buf *empty_answer(struct mg_vm *vm)
{
    mg_buf_fini(&vm->answer);
    return &vm->answer;
}

/* What the other run read and printed belongs to this one; its error, or MG_OK and its value in *body. */
static enum mg_err take_result(lua_State *L, const char *name, enum mg_err err, struct mg_errmsg *why,
                               struct mg_span *body)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_run_result result;
    if (err != MG_OK)
        return mg_err_set(why, err, "%s", why->text[0] ? why->text : mg_err_text(err));
    if (mg_run_result_unpack((struct mg_span){vm->answer.data, vm->answer.len}, &result) != MG_OK)
        return mg_err_set(why, MG_E_INTERNAL, "the answer is broken");
    vm_take_deps(vm, result.deps);
    if (result.log.len)
        vm_note(vm, "[%s] %.*s", name, (int)(result.log.len > 900 ? 900 : result.log.len),
                result.log.data);
    *body = result.body;
    if (result.err != MG_OK)
        return mg_err_set(why, result.err, "%.*s", (int)result.message.len,
                          result.message.data ? result.message.data : "");
    return MG_OK;
}

/* The sentence without the name of the function that the author called. */
static const char *sentence(const struct mg_errmsg *why)
{
    static const char prefix[] = "moon.run: ";
    return why->text + (strncmp(why->text, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0);
}

/* call(name [, arguments]) -> the value of the other UDF */
static int l_call(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    struct mg_span body;
    struct mg_run_request request = check_call(L);
    const char *name = request.udf.data;
    enum mg_err err = vm->host.call(vm->host.context, &request, empty_answer(vm), &why);
    err = take_result(L, name, err, &why, &body);
    if (err != MG_OK)
        vm_raise(L, err, "run: %s: %s", name, sentence(&why));
    vm_value_push(L, name, body);
    return 1;
}

/* start(name [, arguments]) -> tag */
static int l_start(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    uint64_t tag;
    struct mg_run_request request = check_call(L);
    if (!vm->host.start)
        vm_raise(L, MG_E_UNAVAILABLE, "run: no other UDF can be started from here");
    enum mg_err err = vm->host.start(vm->host.context, &request, &tag, &why);
    if (err != MG_OK)
        vm_raise(L, err, "run: %s: %s", request.udf.data, sentence(&why));
    lua_pushnumber(L, (lua_Number)tag);
    return 1;
}

/* await(tag, names by tag) -> tag, true, value | tag, false, error's name, sentence; tag 0: the next that ends */
static int l_await(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    struct mg_span body;
    uint64_t tag = (uint64_t)luaL_checknumber(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    enum mg_err err = vm->host.await(vm->host.context, &tag, empty_answer(vm), &why);
    lua_pushnumber(L, (lua_Number)tag);
    lua_pushvalue(L, -1);
    lua_rawget(L, 2);
    const char *name = lua_tostring(L, -1) ? lua_tostring(L, -1) : "?";
    err = take_result(L, name, err, &why, &body);
    lua_pushvalue(L, -2);
    lua_pushboolean(L, err == MG_OK);
    if (err == MG_OK) {
        vm_value_push(L, name, body);
        return 3;
    }
    lua_pushstring(L, mg_err_name(err));
    lua_pushfstring(L, "run: %s: %s", name, sentence(&why));
    return 4;
}

/* cancel(tag): its result is not wanted; tag's run goes on only if somebody else waits for it */
static int l_cancel(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    if (vm->host.cancel)
        vm->host.cancel(vm->host.context, (uint64_t)luaL_checknumber(L, 1));
    return 0;
}

/* code(name) -> the UDF's own name, its bundle; its code is a dependency of this run from here on */
static int l_code(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    struct mg_hash code;
    char udf[128], hex[65];
    const char *name = luaL_checkstring(L, 1);
    if (!vm->host.code)
        vm_raise(L, MG_E_UNAVAILABLE, "load: no other UDF can be loaded from here");
    struct mg_buf *bundle = empty_answer(vm);
    enum mg_err err = vm->host.code(vm->host.context, name, bundle, udf, &code, &why);
    if (err != MG_OK)
        vm_raise(L, err, "load: %s", sentence(&why));
    mg_hash_hex(&code, hex);
    vm_dep(vm, "udf", mg_span(udf), (struct mg_span){hex, 64});
    lua_pushstring(L, udf);
    lua_pushlstring(L, bundle->data, bundle->len);
    return 2;
}

/* chunk(bundle, UDF's name, module, env) -> its file as a function of that environment, or nil: there is none */
static int l_chunk(lua_State *L)
{
    size_t len;
    char file[160], chunk[320];
    const char *bundle = luaL_checklstring(L, 1, &len);
    luaL_checktype(L, 4, LUA_TTABLE);
    int n = snprintf(file, sizeof file, "%s.lua", luaL_checkstring(L, 3));
    struct mg_span text = {0};
    if (n > 0 && (size_t)n < sizeof file)
        text = vm_bundle_file((struct mg_span){bundle, len}, mg_span(file));
    if (!text.data)
        return 0;
    snprintf(chunk, sizeof chunk, "@%s/%s", luaL_checkstring(L, 2), file);
    if (luaL_loadbufferx(L, text.data, text.len, chunk, "t") != 0)
        lua_error(L);
    lua_pushvalue(L, 4);
    lua_setfenv(L, -2);
    return 1;
}

void vm_open_run(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"call", l_call}, {"start", l_start}, {"await", l_await}, {"cancel", l_cancel}, {"code", l_code}, {"chunk", l_chunk}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
