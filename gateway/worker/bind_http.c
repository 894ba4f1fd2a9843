/* HTTP requests of a UDF: the inner part of moon.http (lua/moon/http.lua), which has the options. The
 * requests of one call go to the fetcher as one batch (fetch/exchange.h has its form) and the answers come
 * back as one. */
#include "vm.h"

#include "moongate/memfd.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

enum { MAX_REQUESTS = 1000 };

static struct mg_span text_field(lua_State *L, int table, const char *key)
{
    struct mg_span text = {"", 0};
    lua_getfield(L, table, key);
    if (lua_type(L, -1) == LUA_TSTRING)
        text.data = lua_tolstring(L, -1, &text.len);
    lua_pop(L, 1); /* the request's table keeps it */
    return text;
}

static double number_field(lua_State *L, int table, const char *key)
{
    lua_getfield(L, table, key);
    double value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

static void pack_request(lua_State *L, int table, struct mg_buf *out)
{
    struct mg_span method = text_field(L, table, "method"), url = text_field(L, table, "url");
    struct mg_span body = text_field(L, table, "body");
    mg_pack_bytes(out, method.data, method.len);
    mg_pack_bytes(out, url.data, url.len);
    lua_getfield(L, table, "lines");
    size_t n = lua_objlen(L, -1);
    mg_pack_int(out, (int64_t)n);
    for (size_t i = 1; i <= n; i++) {
        size_t len;
        lua_rawgeti(L, -1, (int)i);
        const char *line = lua_tolstring(L, -1, &len);
        mg_pack_bytes(out, line, len);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    mg_pack_bytes(out, body.data, body.len);
    mg_pack_int(out, (int64_t)number_field(L, table, "timeout_ms"));
    mg_pack_int(out, (int64_t)number_field(L, table, "retries"));
    lua_getfield(L, table, "follow");
    mg_pack_bool(out, lua_toboolean(L, -1));
    lua_pop(L, 1);
}

/* The next answer as { status, url, headers, body } or { error, message }. */
static void push_answer(lua_State *L, struct mg_unpack *in)
{
    int64_t err = mg_unpack_int(in);
    struct mg_span sentence = mg_unpack_bytes(in);
    int64_t status = mg_unpack_int(in);
    struct mg_span url = mg_unpack_bytes(in);
    size_t n = mg_unpack_count(in, 10000);
    lua_createtable(L, 0, 4);
    lua_createtable(L, 0, (int)n);
    for (size_t i = 0; i < n && !in->failed; i++) {
        struct mg_span name = mg_unpack_bytes(in), value = mg_unpack_bytes(in);
        lua_pushlstring(L, name.data, name.len);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_pushlstring(L, value.data, value.len);
        } else { /* RFC 9110, 5.3 */
            lua_pushliteral(L, ", ");
            lua_pushlstring(L, value.data, value.len);
            lua_concat(L, 3);
        }
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "headers");
    struct mg_span body = mg_unpack_bytes(in);
    if (in->failed)
        vm_raise(L, MG_E_INTERNAL, "http: the answer came malformed");
    if (err) {
        lua_pushstring(L, mg_err_name(err > 0 && err < MG_ERR_COUNT ? (enum mg_err)err : MG_E_INTERNAL));
        lua_setfield(L, -2, "error");
        lua_pushlstring(L, sentence.data ? sentence.data : "", sentence.len);
        lua_setfield(L, -2, "message");
    }
    lua_pushinteger(L, (lua_Integer)status);
    lua_setfield(L, -2, "status");
    lua_pushlstring(L, url.data ? url.data : "", url.len);
    lua_setfield(L, -2, "url");
    lua_pushlstring(L, body.data ? body.data : "", body.len);
    lua_setfield(L, -2, "body");
}

/* send(what, list of { method, url, lines, body, timeout_ms, retries, follow }, concurrency, max_bytes,
 * max_age_s)
 * -> list of { status, url, headers, body [, error, message] }; as many batches as the requests need */
static int l_send(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    const char *what = luaL_checkstring(L, 1);
    int concurrency = (int)luaL_checkinteger(L, 3);
    double max_bytes = luaL_checknumber(L, 4), max_age_s = luaL_checknumber(L, 5);
    size_t n = lua_objlen(L, 2);
    if (!vm->host.http)
        vm_raise(L, MG_E_UNAVAILABLE, "%s: nothing can be requested from here", what);
    if (n > MAX_REQUESTS)
        vm_raise(L, MG_E_ARGUMENT, "%s: at most %d requests in one call, got %zu", what, MAX_REQUESTS, n);
    if (n) {
        char until[32];
        snprintf(until, sizeof until, "%.0f", (double)time(NULL) + floor(max_age_s));
        vm_dep(vm, "http", mg_span(until), mg_span(until));
    }
    lua_createtable(L, (int)n, 0);
    int list = lua_gettop(L);
    for (size_t sent = 0; sent < n;) {
        struct mg_buf *each = vm_scratch(L, 4), *batch = vm_scratch(L, 5);
        size_t first = sent, whole = 0;
        for (; sent < n; sent++) {
            lua_rawgeti(L, 2, (int)sent + 1);
            pack_request(L, lua_gettop(L), each);
            lua_pop(L, 1);
            if (each->len > MG_CHANNEL_RESULT - 256)
                break;
            whole = each->len;
        }
        if (sent == first)
            vm_raise(L, MG_E_ARGUMENT, "%s: a request may have %d kB at most, body and headers together",
                     what, (MG_CHANNEL_RESULT - 256) >> 10);
        mg_pack_int(batch, (int64_t)(sent - first));
        mg_pack_int(batch, concurrency);
        mg_pack_int(batch, (int64_t)max_bytes);
        mg_buf_put(batch, each->data, whole);
        vm_check(L, what, mg_buf_status(batch, &why), &why);
        each->len = 0;
        enum mg_err err =
            vm->host.http(vm->host.context, (struct mg_span){batch->data, batch->len}, each, &why);
        vm_check(L, what, err, &why);
        struct mg_unpack in;
        mg_unpack_init(&in, each->data, each->len);
        if (mg_unpack_count(&in, MAX_REQUESTS) != sent - first)
            vm_raise(L, MG_E_INTERNAL, "%s: the answers came malformed", what);
        for (size_t i = first; i < sent; i++) {
            push_answer(L, &in);
            lua_rawseti(L, list, (int)i + 1);
        }
    }
    return 1;
}

void vm_open_http(lua_State *L)
{
    static const luaL_Reg functions[] = {{"send", l_send}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
