/* moon.cache (lua/moon/cache.lua): values of functions, kept by the front for all workers, or with `path` as files in
 * /mnt/cache.
 *
 * A call is asked for by its key (vm_key.c). A hit comes from the worker's own memory of the entries used last while
 * the front has had no new value since and the dependencies were found current within a second; else from the front,
 * which also sees to it that of all workers one computes while the others wait. An entry is a packed run result:
 * dependencies, printed lines, and the values in the internal format; all of them belong to the calling run on a hit
 * as on a miss. Cost of a hit in memory: the key, the look-up, and making the values. */
#include "vm_values.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 1 << 30, REMOTE_S = 60, TRIES = 4 };

static const char FILE_MAGIC[8] = "MGVALF01";

/* Ahead of the entry in a file. */
struct file_head {
    char magic[8];
    int64_t made_s;
    struct mg_hash sum; /* of the entry */
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return t.tv_sec;
}

static struct vm_values *values_of(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    if (!vm->values) {
        vm->values = calloc(1, sizeof *vm->values);
        if (!vm->values)
            vm_raise(L, MG_E_NOMEM, "out of memory");
    }
    return vm->values;
}

static void empty(struct mg_buf *buf)
{
    enum { KEEP = 1 << 20 };
    if (buf->cap > KEEP)
        mg_buf_fini(buf);
    buf->len = 0;
    buf->failed = buf->over_limit = false;
}

void vm_values_begin(struct mg_vm *vm)
{
    struct vm_values *v = vm->values;
    if (!v)
        return;
    for (int i = 0; v->open && i < VM_CALLS; i++)
        v->calls[i].used = false;
    v->open = 0;
    empty(&v->touched);
    empty(&v->entry);
    empty(&v->values);
}

void vm_values_free(struct mg_vm *vm)
{
    struct vm_values *v = vm->values;
    if (!v)
        return;
    recents_free(&v->recents);
    mg_buf_fini(&v->touched);
    mg_buf_fini(&v->key);
    mg_buf_fini(&v->entry);
    mg_buf_fini(&v->values);
    mg_buf_fini(&v->deps);
    free(v);
    vm->values = NULL;
}

/* Appends a dependency to `out` unless the part from `from` on has it. */
static bool add_dep(struct mg_buf *out, size_t from, struct mg_span kind, struct mg_span name, struct mg_span version)
{
    struct mg_unpack in;
    mg_unpack_init(&in, out->data ? out->data + from : "", out->len - from);
    while (mg_unpack_peek(&in)) {
        struct mg_span k = mg_unpack_bytes(&in), n = mg_unpack_bytes(&in);
        mg_unpack_skip(&in);
        if (mg_span_eq(k, kind) && mg_span_eq(n, name))
            return false;
    }
    mg_pack_bytes(out, kind.data, kind.len);
    mg_pack_bytes(out, name.data, name.len);
    mg_pack_bytes(out, version.data, version.len);
    return true;
}

void vm_values_touch(struct mg_vm *vm, const char *kind, struct mg_span name, struct mg_span version)
{
    struct vm_values *v = vm->values;
    size_t from = 0;
    if (!v || !v->open)
        return;
    for (int i = 0; i < VM_CALLS; i++)
        if (v->calls[i].used && v->calls[i].deps_from > from)
            from = v->calls[i].deps_from;
    add_dep(&v->touched, from, mg_span(kind), name, version);
}

/* ---- the key ----------------------------------------------------------------------------------------- */

/* Takes `_cache_id` out of a last table of options: its value, or nil, is on the top then. Gives the number of
 * arguments (from stack index 3 on) that are left: a table that held nothing else is none. */
static int take_cache_id(lua_State *L, int n)
{
    int last = n + 2;
    if (n == 0 || !lua_istable(L, last) || lua_getmetatable(L, last)) {
        lua_settop(L, last);
        lua_pushnil(L);
        return n;
    }
    lua_pushliteral(L, "_cache_id");
    lua_rawget(L, last);
    if (lua_isnil(L, -1))
        return n;
    bool others = false;
    lua_newtable(L); /* without it; the author's own table stays as it is */
    for (lua_pushnil(L); lua_next(L, last);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        if (lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), "_cache_id") == 0) {
            lua_pop(L, 2);
            continue;
        }
        lua_rawset(L, -4);
        others = true;
    }
    if (others) {
        lua_replace(L, last);
        return n;
    }
    lua_pop(L, 1);
    lua_remove(L, last);
    return n - 1;
}

static bool flag_of(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* Of fn (1), spec (2), n arguments, and the cache id on the top. */
static void make_key(lua_State *L, int n, struct mg_hash *key)
{
    enum { MAX_ARGS = 250 };
    int indices[MAX_ARGS + 2], count = 0, id = lua_gettop(L);
    struct vm_values *v = values_of(L);
    const struct mg_span org = vm_of(L)->request->org;
    struct mg_buf *out = &v->key;
    if (n > MAX_ARGS)
        vm_raise(L, MG_E_ARGUMENT, "cache: a cached function may have %d arguments at most", MAX_ARGS);
    while (n > 0 && lua_isnil(L, n + 2))
        n--;
    empty(out);
    mg_pack_str(out, "moonvalue1 " MG_VERSION);
    mg_pack_bytes(out, org.data, org.len);
    indices[count++] = 1;
    indices[count++] = id;
    lua_getfield(L, 2, "excluded");
    mg_pack_int(out, n);
    for (int i = 1; i <= n; i++) {
        bool out_of_it = false;
        if (lua_istable(L, -1)) {
            lua_rawgeti(L, -1, i);
            out_of_it = lua_toboolean(L, -1);
            lua_pop(L, 1);
        }
        mg_pack_bool(out, out_of_it);
        if (!out_of_it)
            indices[count++] = i + 2;
    }
    lua_settop(L, id);
    vm_key_put(L, "cache", indices, (size_t)count, out);
    struct mg_errmsg why = {""};
    vm_check(L, "cache", mg_buf_status(out, &why), &why);
    mg_sha256(out->data, out->len, key);
}

/* ---- entries ----------------------------------------------------------------------------------------- */

/* The values of an entry on the stack; what it read and printed belongs to this run. */
static int push_entry(lua_State *L, struct mg_span entry)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_run_result result;
    struct mg_span line;
    if (mg_run_result_unpack(entry, &result) != MG_OK)
        vm_raise(L, MG_E_INTERNAL, "cache: a kept value is broken");
    vm_take_deps(vm, result.deps);
    while (vm->request->owner && mg_span_cut(&result.log, '\n', &line))
        if (line.len || result.log.len)
            vm_log(vm, line);
    lua_pushboolean(L, 1);
    return vm_values_push(L, "cache", result.body) + 1;
}

/* Reads the entry's file into v->entry. False: there is none that is whole. */
static bool read_file(struct mg_vm *vm, const char *path, int64_t *made_s)
{
    struct vm_values *v = vm->values;
    struct file_head head;
    struct mg_hash sum;
    struct stat st;
    int fd;
    if (!vm->host.files || mg_files_open(vm->host.files, path, &fd, &st, NULL) != MG_OK)
        return false;
    bool whole = st.st_size >= (off_t)sizeof head && st.st_size <= FILE_MAX_BYTES &&
                 read(fd, &head, sizeof head) == (ssize_t)sizeof head &&
                 memcmp(head.magic, FILE_MAGIC, sizeof head.magic) == 0;
    empty(&v->entry);
    size_t left = whole ? (size_t)st.st_size - sizeof head : 0;
    whole = whole && left && mg_buf_room(&v->entry, left);
    while (whole && left) {
        ssize_t n = read(fd, v->entry.data + v->entry.len, left);
        whole = n > 0;
        v->entry.len += whole ? (size_t)n : 0;
        left -= whole ? (size_t)n : 0;
    }
    close(fd);
    if (!whole)
        return false;
    mg_sha256(v->entry.data, v->entry.len, &sum);
    *made_s = head.made_s;
    return mg_hash_eq(&sum, &head.sum);
}

static bool is_young(int64_t made_s, int64_t max_age_s)
{
    return max_age_s < 0 || now_s() - made_s < max_age_s;
}

/* What a run depends on: empty when nothing. */
static struct mg_span deps_of(struct mg_span entry)
{
    struct mg_run_result result;
    struct mg_unpack in;
    if (mg_run_result_unpack(entry, &result) != MG_OK || !result.deps.len)
        return (struct mg_span){0};
    mg_unpack_init(&in, result.deps.data, result.deps.len);
    return mg_unpack_count(&in, 1 << 20) ? result.deps : (struct mg_span){0};
}

/* Whether the entry is in v->entry and holds; else whether this worker is the one to compute it. */
static bool find_file(lua_State *L, struct mg_value_ask *ask, const char *path, bool *claimed)
{
    struct mg_vm *vm = vm_of(L);
    struct vm_values *v = vm->values;
    struct mg_errmsg why = {""};
    bool reset = ask->reset;
    for (int i = 0; i < TRIES; i++) {
        struct mg_value_reply reply;
        int64_t made_s = 0;
        bool there = !reset && read_file(vm, path, &made_s) && is_young(made_s, ask->max_age_s);
        ask->deps = there ? deps_of((struct mg_span){v->entry.data, v->entry.len}) : (struct mg_span){0};
        if (there && !ask->deps.len)
            return true;
        if (!vm->host.value_ask)
            return there;
        ask->outside = true;
        ask->made_s = made_s;
        vm_check(L, "cache", vm->host.value_ask(vm->host.context, ask, &reply, &v->values, &why), &why);
        if (reply.state == MG_VALUE_SAME)
            return true;
        *claimed = reply.state == MG_VALUE_COMPUTE;
        if (reply.state != MG_VALUE_AGAIN)
            return false;
        reset = false; /* another worker has just made it */
    }
    return false;
}

/* The entry by memory or front. NULL: it has to be computed. */
static const char *find_kept(lua_State *L, struct mg_value_ask *ask, size_t *len, bool *claimed)
{
    struct mg_vm *vm = vm_of(L);
    struct vm_values *v = vm->values;
    struct mg_errmsg why = {""};
    struct mg_value_reply reply;
    struct recent *recent = ask->reset ? NULL : recents_find(&v->recents, &ask->key);
    uint64_t generation = vm->host.generation ? *vm->host.generation : 0;
    int64_t now = now_us();
    if (recent && recent->generation == generation && now < recent->until_us &&
        is_young(recent->made_s, ask->max_age_s)) {
        *len = recent->len;
        return recent->entry;
    }
    if (!vm->host.value_ask)
        return NULL;
    ask->stamp = recent ? recent->stamp : 0;
    do { /* again: who computed it has failed */
        empty(&v->entry);
        vm_check(L, "cache", vm->host.value_ask(vm->host.context, ask, &reply, &v->entry, &why), &why);
    } while (reply.state == MG_VALUE_AGAIN);
    if (reply.state == MG_VALUE_SAME && recent) {
        recent->generation = generation;
        recent->until_us = reply.until_us;
        *len = recent->len;
        return recent->entry;
    }
    *claimed = reply.state == MG_VALUE_COMPUTE;
    if (reply.state != MG_VALUE_HIT)
        return NULL;
    const struct recent fresh = {.key = ask->key, .stamp = reply.stamp, .made_s = reply.made_s,
                                 .until_us = reply.until_us, .generation = generation, .entry = v->entry.data,
                                 .len = v->entry.len};
    recents_put(&v->recents, &fresh);
    *len = v->entry.len;
    return v->entry.data;
}

static int new_call(lua_State *L)
{
    struct vm_values *v = values_of(L);
    for (int i = 0; i < VM_CALLS; i++)
        if (!v->calls[i].used)
            return i;
    vm_raise(L, MG_E_DEPTH, "cache: cached functions may call each other at most %d deep", VM_CALLS);
}

/* ask(fn, spec, …) -> true, values … | number of the call, arguments … of fn: it has to run, then keep or drop */
static int l_ask(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct vm_values *v = values_of(L);
    struct mg_value_ask ask = {.max_age_s = -1, .reset = flag_of(L, "reset")};
    bool claimed = false;
    int n = take_cache_id(L, lua_gettop(L) - 2);
    make_key(L, n, &ask.key);
    lua_pop(L, 1); /* the cache id */
    lua_getfield(L, 2, "max_age");
    if (lua_isnumber(L, -1))
        ask.max_age_s = (int64_t)lua_tonumber(L, -1);
    lua_getfield(L, 2, "path");
    const char *folder = lua_tostring(L, -1);
    char path[sizeof v->calls->path] = "";
    if (folder) {
        char hex[65];
        mg_hash_hex(&ask.key, hex);
        snprintf(path, sizeof path, "%s/%s.value", folder, hex);
        if (find_file(L, &ask, path, &claimed))
            return push_entry(L, (struct mg_span){v->entry.data, v->entry.len});
    } else {
        size_t len;
        const char *entry = find_kept(L, &ask, &len, &claimed);
        if (entry)
            return push_entry(L, (struct mg_span){entry, len});
    }
    lua_pop(L, 2);
    int at = new_call(L);
    struct vm_cached_call *call = &v->calls[at];
    if (v->open++ == 0)
        empty(&v->touched);
    *call = (struct vm_cached_call){
        .used = true, .claimed = claimed, .key = ask.key, .deps_from = v->touched.len, .log_from = vm->log.len};
    memcpy(call->path, path, sizeof call->path);
    lua_pushinteger(L, at + 1);
    lua_insert(L, 3);
    return n + 1;
}

static struct vm_cached_call *check_call(lua_State *L)
{
    struct vm_values *v = values_of(L);
    lua_Integer at = luaL_checkinteger(L, 1);
    if (at < 1 || at > VM_CALLS || !v->calls[at - 1].used)
        vm_raise(L, MG_E_INTERNAL, "cache: the call has ended already");
    return &v->calls[at - 1];
}

static void end_call(struct mg_vm *vm, struct vm_cached_call *call, bool stored, struct mg_span entry,
                     struct mg_value_reply *reply)
{
    const struct mg_span deps = {vm->values->deps.data, stored ? vm->values->deps.len : 0};
    bool tell = vm->host.value_put && (stored || call->claimed);
    call->used = false;
    vm->values->open--;
    if (tell && vm->host.value_put(vm->host.context, &call->key, stored, deps, entry, reply) != MG_OK)
        vm_note(vm, "cache: the value could not be kept; it is computed again next time");
}

/* drop(call): nothing is kept of it, and who waits may compute */
static int l_drop(lua_State *L)
{
    struct mg_value_reply reply;
    end_call(vm_of(L), check_call(L), false, (struct mg_span){0}, &reply);
    return 0;
}

/* Packs what the call read, printed and gave into v->entry. */
static void pack_entry(lua_State *L, const struct vm_cached_call *call)
{
    struct mg_vm *vm = vm_of(L);
    struct vm_values *v = vm->values;
    struct mg_errmsg why = {""};
    struct mg_unpack in;
    int64_t n = 0;
    struct mg_buf *deps = vm_scratch(L, 4);
    mg_unpack_init(&in, v->touched.data ? v->touched.data + call->deps_from : "", v->touched.len - call->deps_from);
    while (mg_unpack_peek(&in)) {
        struct mg_span kind = mg_unpack_bytes(&in), name = mg_unpack_bytes(&in), version = mg_unpack_bytes(&in);
        n += !in.failed && add_dep(deps, 0, kind, name, version);
    }
    empty(&v->deps);
    mg_pack_int(&v->deps, n);
    mg_buf_put(&v->deps, deps->data, deps->len);
    const struct mg_run_result result = {
        .status = 200,
        .max_age_s = -1,
        .log = {vm->log.data ? vm->log.data + call->log_from : "", vm->log.len - call->log_from},
        .deps = {v->deps.data, v->deps.len},
        .body = {v->values.data, v->values.len}};
    empty(&v->entry);
    mg_run_result_pack(&result, true, &v->entry);
    vm_check(L, "cache", mg_buf_status(&v->entry, &why), &why);
}

static void write_file(struct mg_vm *vm, const char *path)
{
    struct vm_values *v = vm->values;
    struct mg_errmsg why = {""};
    struct file_head head = {.made_s = now_s()};
    memcpy(head.magic, FILE_MAGIC, sizeof head.magic);
    mg_sha256(v->entry.data, v->entry.len, &head.sum);
    empty(&v->values);
    mg_buf_put(&v->values, &head, sizeof head);
    mg_buf_put(&v->values, v->entry.data, v->entry.len);
    if (mg_buf_status(&v->values, &why) != MG_OK || !vm->host.files ||
        mg_files_write(vm->host.files, path, (struct mg_span){v->values.data, v->values.len}, &why) != MG_OK)
        vm_note(vm, "cache: %s cannot be written: %s", path, why.text[0] ? why.text : "there is no /mnt/cache here");
}

/* keep(call, values …) -> what a later call gets for them */
static int l_keep(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct vm_values *v = values_of(L);
    struct vm_cached_call *call = check_call(L);
    struct mg_value_reply reply = {0};
    struct mg_errmsg why = {""};
    int n = lua_gettop(L) - 1;
    bool tables = false;
    if (n > 250)
        vm_raise(L, MG_E_UDF_TYPE, "cache: a cached function may give 250 values at most");
    empty(&v->values);
    vm_values_store(L, 2, n, &v->values);
    vm_check(L, "cache", mg_buf_status(&v->values, &why), &why);
    pack_entry(L, call);
    for (int i = 2; i <= n + 1; i++)
        tables = tables || lua_istable(L, i);
    /* A table is given as every later call gets it: one of its own. */
    int given = tables ? vm_values_push(L, "cache", (struct mg_span){v->values.data, v->values.len}) : n;
    const struct mg_span entry = {v->entry.data, v->entry.len};
    if (call->path[0]) {
        write_file(vm, call->path);
        end_call(vm, call, false, (struct mg_span){0}, &reply);
    } else {
        const struct recent fresh = {.key = call->key, .entry = v->entry.data, .len = v->entry.len, .made_s = now_s()};
        end_call(vm, call, true, entry, &reply);
        recents_drop(&v->recents, &fresh.key);
        if (reply.stamp) {
            struct recent kept = fresh;
            kept.stamp = reply.stamp;
            kept.until_us = reply.until_us;
            kept.generation = vm->host.generation ? *vm->host.generation : 0;
            recents_put(&v->recents, &kept);
        }
    }
    return given;
}

/* is_library(function): it is Lua's own or the library's C, and no author's */
static int l_is_library(lua_State *L)
{
    lua_Debug ar;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_getinfo(L, ">S", &ar);
    lua_pushboolean(L, ar.source[0] == '=' && (ar.what[0] == 'C' || strncmp(ar.source, "=[builtin", 9) == 0));
    return 1;
}

/* set_up(known, cached): the library's and Lua's own by value, and where cached functions are put by what they were made
 * of; the dump of functions is taken out of Lua's hands before */
static int l_set_up(lua_State *L)
{
    lua_settop(L, 2);
    lua_setfield(L, LUA_REGISTRYINDEX, "moon.cached");
    lua_setfield(L, LUA_REGISTRYINDEX, "moon.known");
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "moon.digests");
    return 0;
}

void vm_open_cache(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"ask", l_ask}, {"keep", l_keep}, {"drop", l_drop}, {"set_up", l_set_up}, {"is_library", l_is_library}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
