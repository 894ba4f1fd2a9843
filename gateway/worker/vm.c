/* The Lua machine: keeps one fresh state ready, and runs a request in it.
 *
 * A run: load the UDF's file from the bundle (text), call it, call the function that it gave to
 * moon.udf with the arguments by name, make the answer. The used state is closed when the next one
 * is made, between runs. */
#include "vm_values.h"

#include "moongate/raster_read.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    EXTERN_FACTOR = 3
}; /* rasters and tables may take that many times the limit of the Lua heap */

static int64_t now_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

struct mg_buf *vm_scratch(lua_State *L, int i)
{
    struct mg_buf *buf = &vm_of(L)->scratch[i];
    buf->len = 0;
    buf->failed = buf->over_limit = false;
    buf->max_bytes = 0;
    if (buf->data)
        buf->data[0] = 0;
    return buf;
}

/* Empties a buffer; one that a large run made large gives its memory back. */
static void reset(struct mg_buf *buf)
{
    enum { KEEP = 1 << 20 };
    if (buf->cap > KEEP)
        mg_buf_fini(buf);
    buf->len = 0;
    buf->failed = buf->over_limit = false;
    if (buf->data)
        buf->data[0] = 0;
}

typedef void buf_f(struct mg_buf *buf);

static void each_buf(struct mg_vm *vm, buf_f *call)
{
    struct mg_buf *const all[] = {&vm->log,           &vm->deps,       &vm->seen,
                                  &vm->headers,       &vm->mime,       &vm->body,       &vm->answer,
                                  &vm->fault.message, &vm->fault.file, &vm->fault.traceback};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        call(all[i]);
    for (int i = 0; i < VM_SCRATCH; i++)
        call(&vm->scratch[i]);
}

enum mg_err mg_vm_new(const struct mg_vm_host *host, struct mg_vm **out, struct mg_errmsg *err)
{
    struct mg_vm *vm = calloc(1, sizeof *vm);
    if (!vm)
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    vm->host = *host;
    mg_vsimoon_install();
    if (!vm_state_open(vm)) {
        enum mg_err status =
            mg_err_set(err, MG_E_INTERNAL, "the Lua machine does not start: %s",
                       vm->fault.message.data ? vm->fault.message.data : "out of memory");
        mg_vm_free(&vm);
        return status;
    }
    *out = vm;
    return MG_OK;
}

void mg_vm_free(struct mg_vm **vm)
{
    if (!*vm)
        return;
    vm_state_close(*vm);
    vm_warm_free(*vm);
    vm_values_free(*vm);
    each_buf(*vm, mg_buf_fini);
    free(*vm);
    *vm = NULL;
}

void mg_vm_prepare(struct mg_vm *vm)
{
    if (vm->L && !vm->used)
        return;
    vm_state_close(vm);
    /* Keeps the results of the last run; only the state is new. When it fails, the run says so. */
    (void)vm_state_open(vm);
}

void vm_log(struct mg_vm *vm, struct mg_span line)
{
    static const char cut[] = "[the log was cut at 64 kB]\n";
    if (vm->log_cut)
        return;
    if (vm->log.len + line.len + 1 > VM_LOG_BYTES) {
        vm->log_cut = true;
        mg_buf_put(&vm->log, cut, sizeof cut - 1);
        return;
    }
    mg_buf_put(&vm->log, line.data, line.len);
    mg_buf_char(&vm->log, '\n');
}

void vm_note(struct mg_vm *vm, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        vm_log(vm, (struct mg_span){text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1});
}

void vm_dep(struct mg_vm *vm, const char *kind, struct mg_span name, struct mg_span version)
{
    vm_values_touch(vm, kind, name, version);
    /* `seen` holds kind and name of what was recorded; the first version counts. */
    struct mg_unpack in;
    mg_unpack_init(&in, vm->seen.data, vm->seen.len);
    while (mg_unpack_peek(&in)) {
        struct mg_span k = mg_unpack_bytes(&in), n = mg_unpack_bytes(&in);
        if (mg_span_is(k, kind) && mg_span_eq(n, name))
            return;
    }
    mg_pack_str(&vm->seen, kind);
    mg_pack_bytes(&vm->seen, name.data, name.len);
    mg_pack_str(&vm->deps, kind);
    mg_pack_bytes(&vm->deps, name.data, name.len);
    mg_pack_bytes(&vm->deps, version.data, version.len);
    vm->n_deps++;
}

void vm_take_deps(struct mg_vm *vm, struct mg_span deps)
{
    struct mg_unpack in;
    mg_unpack_init(&in, deps.data, deps.len);
    size_t n = deps.len ? mg_unpack_count(&in, 100000) : 0;
    for (size_t i = 0; i < n; i++) {
        struct mg_span kind = mg_unpack_bytes(&in), name = mg_unpack_bytes(&in),
                       version = mg_unpack_bytes(&in);
        static const char *const kinds[] = {"file", "url", "udf", "http", "secret"};
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds && !in.failed; k++)
            if (mg_span_is(kind, kinds[k]))
                vm_dep(vm, kinds[k], name, version);
    }
}

void vm_dep_file(struct mg_vm *vm, const char *name)
{
    if (strstr(name, "://") && strncmp(name, "fd://", 5) != 0)
        return; /* remote: its version is known once it was fetched */
    char version[64] = "-";
    if (vm->host.files)
        mg_files_version(vm->host.files, name, version, sizeof version);
    vm_dep(vm, "file", mg_span(name), mg_span(version));
}

static void on_seen(void *context, const char *name, const char *version)
{
    bool remote = strncmp(name, "http://", 7) == 0 || strncmp(name, "https://", 8) == 0;
    vm_dep(context, remote ? "url" : "file", mg_span(name), mg_span(version));
}

/* /vsimoon/ has one context for both; the host's fetch expects its own. */
static enum mg_err on_fetch(void *context, const char *url, uint64_t offset, uint64_t bytes,
                            int *fd, struct mg_errmsg *err)
{
    struct mg_vm *vm = context;
    if (!vm->host.fetch)
        return mg_err_set(err, MG_E_FETCH, "remote files cannot be read here: %.300s", url);
    return vm->host.fetch(vm->host.context, url, offset, bytes, fd, err);
}

/* What the protected part of a run works on. */
struct task {
    struct mg_run_result *result;
    struct mg_value value;
    int64_t called_us;
};

/* The UDF's own file: by its name, else the only Lua file that there is. */
struct mg_span vm_main_file(const struct mg_run_request *request, struct mg_span bundle, char *chunk,
                            size_t size)
{
    snprintf(chunk, size, "@%.*s.lua", (int)request->udf.len, request->udf.data);
    struct mg_span text = vm_bundle_file(bundle, mg_span(chunk + 1));
    if (text.data)
        return text;
    struct mg_unpack in;
    struct mg_span only = {0};
    size_t found = 0;
    mg_unpack_init(&in, bundle.data, bundle.len);
    size_t n = mg_unpack_count(&in, 4096);
    for (size_t i = 0; i < n && !in.failed; i++) {
        struct mg_span file = mg_unpack_bytes(&in), bytes = mg_unpack_bytes(&in);
        if (!in.failed && file.len > 4 && memcmp(file.data + file.len - 4, ".lua", 4) == 0) {
            snprintf(chunk, size, "@%.*s", (int)file.len, file.data);
            only = bytes;
            found++;
        }
    }
    return found == 1 ? only : (struct mg_span){0};
}

/* The last line that begins with `return`: of a chunk, that of its value. Without one, the last
 * line. */
int vm_line_of_return(struct mg_span text)
{
    struct mg_span line;
    int at = 1, found = 0;
    for (; mg_span_cut(&text, '\n', &line); at++)
        if (mg_span_starts(line, "return"))
            found = at;
    return found ? found : at > 1 ? at - 1 : 1;
}

/* The UDF's own file as a function on the stack, and its text (none where an image has it compiled). */
static struct mg_span push_main(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why;
    char chunk[160];
    /* What is wrong with `return moon.udf(…)`, a tail call, is said of that line. */
    if (vm->at) {
        size_t len = strnlen(vm->at->chunk + 1, sizeof vm->fn_file - 1);
        memcpy(vm->fn_file, vm->at->chunk + 1, len);
        vm->fn_file[len] = 0;
        vm->fn_line = vm->at->return_line;
        vm_push_chunk(L, (struct mg_span){0}, vm->at->chunk);
        return (struct mg_span){0};
    }
    if (!vm_bundle_check(vm->bundle, &why))
        vm_raise(L, MG_E_UDF_BROKEN, "%s", why.text);
    struct mg_span text = vm_main_file(vm->request, vm->bundle, chunk, sizeof chunk);
    if (!text.data)
        vm_raise(L, MG_E_UDF_BROKEN, "there is no file %.*s.lua", (int)vm->request->udf.len,
                 vm->request->udf.data);
    vm_push_chunk(L, text, chunk);
    snprintf(vm->fn_file, sizeof vm->fn_file, "%s", chunk + 1);
    vm->fn_line = vm_line_of_return(text);
    return text;
}

static int run_protected(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct task *task = lua_touserdata(L, 1);
    struct mg_errmsg why = {""};
    lua_settop(L, 0);
    struct mg_span text = push_main(L);
    vm->fn_last = INT_MAX;
    lua_call(L, 0, 1);
    /* inner.udf(value) -> function, or raises when the file did not return a UDF */
    vm_push_internal(L, "udf_of");
    lua_insert(L, 1);
    lua_call(L, 1, 2); /* function, record */
    if (vm->request->mode == MG_RUN_DESCRIBE) {
        vm_load_module(L, "describe");
        vm_push_internal(L, "describe");
        lua_pushvalue(L, 2);
        lua_pushlstring(L, text.data, text.len);
        lua_call(L, 2, 1);
        if (!vm_json_write(L, -1, &vm->body, &why))
            vm_raise(L, MG_E_UDF_BROKEN, "moon.udf: %s", why.text);
        return 0;
    }
    vm->loading = false;
    lua_settop(L, 1);
    lua_Debug ar;
    lua_pushvalue(L, 1);
    lua_getinfo(L, ">S", &ar);
    if (ar.source[0] == '@') {
        vm->fn_line = ar.linedefined;
        vm->fn_last = ar.lastlinedefined;
        snprintf(vm->fn_file, sizeof vm->fn_file, "%s", ar.source + 1);
    }
    int n;
    lua_pushvalue(L, 1);
    vm_push_arguments(L, 1, &n);
    lua_call(L, n, LUA_MULTRET);
    task->called_us = now_us(CLOCK_MONOTONIC);
    vm_finish(L, 2, lua_gettop(L) - 1, task->result, &task->value);
    return 0;
}

/* What went wrong when Lua itself could not make an error object. */
static void fault_of_status(struct mg_vm *vm, lua_State *L, int status)
{
    if (vm->fault.err == MG_OK) {
        const char *text = lua_tostring(L, -1);
        vm->fault.err = status == LUA_ERRMEM ? MG_E_UDF_MEMORY : MG_E_UDF;
        bool overflow = text && strstr(text, "stack overflow");
        if (overflow && vm->fn_file[0]) {
            mg_buf_str(&vm->fault.file, vm->fn_file);
            vm->fault.line = vm->fn_line;
            mg_buf_printf(&vm->fault.message, "%s:%d: ", vm->fn_file, vm->fn_line);
        }
        if (overflow)
            mg_buf_str(&vm->fault.message,
                       "stack overflow (a function calls itself without an end)");
        else if (status == LUA_ERRMEM || !text)
            mg_buf_printf(&vm->fault.message, "the UDF used more than its %lld MB of memory",
                          (long long)vm->lua_limit >> 20);
        else
            mg_buf_str(&vm->fault.message, text);
    }
}

static void report_fault(struct mg_vm *vm, struct mg_run_result *result)
{
    struct vm_fault *fault = &vm->fault;
    if (vm->hit_limit && (fault->err == MG_E_UDF || fault->err == MG_E_UDF_MEMORY))
        fault->err = MG_E_UDF_MEMORY;
    else if (vm->loading && fault->err != MG_E_UDF_MEMORY)
        fault->err = MG_E_UDF_BROKEN;
    result->err = fault->err;
    result->status = mg_err_status(fault->err);
    result->message = (struct mg_span){fault->message.data, fault->message.len};
    result->file = (struct mg_span){fault->file.data, fault->file.len};
    result->line = fault->line;
    result->traceback = (struct mg_span){fault->traceback.data, fault->traceback.len};
    result->body = result->codec = result->mime = result->headers = (struct mg_span){0};
    result->compressible = result->by_accept = result->empty = false;
}

/* Puts the count in front of packed items. */
static struct mg_span counted(struct mg_vm *vm, struct mg_buf *items, size_t n, int i)
{
    struct mg_buf *all = vm_scratch(vm->L, i);
    mg_pack_int(all, (int64_t)n);
    mg_buf_put(all, items->data, items->len);
    return (struct mg_span){all->data, all->len};
}

static void begin(struct mg_vm *vm, const struct mg_run_request *request, struct mg_span bundle)
{
    each_buf(vm, reset);
    vm->body.max_bytes = 0;
    vm->fault.err = MG_OK;
    vm->fault.line = 0;
    vm->n_deps = vm->n_headers = 0;
    vm->log_cut = false;
    vm->fn_file[0] = 0;
    vm->fn_line = vm->fn_last = 0;
    vm->loading = true;
    vm->request = request;
    vm->bundle = bundle;
    vm->used = true;
    vm_values_begin(vm);
    vm->lua_limit = request->lua_bytes > 0 ? (size_t)request->lua_bytes : VM_LUA_BYTES;
    vm->extern_limit = vm->lua_limit * EXTERN_FACTOR;
    mg_vsimoon_use(vm->host.files, on_fetch, on_seen, vm);
}

void mg_vm_run(struct mg_vm *vm, const struct mg_run_request *request, struct mg_span bundle,
               struct mg_run_result *result)
{
    int64_t start = now_us(CLOCK_MONOTONIC), cpu = now_us(CLOCK_PROCESS_CPUTIME_ID);
    *result = (struct mg_run_result){.status = 200, .max_age_s = -1};
    mg_vm_prepare(vm);
    if (!vm->L) {
        result->err = MG_E_INTERNAL;
        result->status = mg_err_status(result->err);
        result->message = MG_SPAN("the Lua machine does not start");
        result->retire = true;
        return;
    }
    vm_state_select(vm, request, bundle);
    begin(vm, request, bundle);
    if (request->mode == MG_RUN_VALUE) {
        char hex[65];
        mg_hash_hex(&request->code, hex);
        vm_dep(vm, "udf", request->udf, (struct mg_span){hex, 64});
    }
    struct task task = {.result = result};
    lua_State *L = vm->L;
    lua_settop(L, 0);
    lua_pushcfunction(L, vm_on_error);
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, &task);
    int status = lua_pcall(L, 1, 0, 1);
    if (status != 0 || vm->over) /* what was caught and forgotten counts too */
        fault_of_status(vm, L, vm->over ? LUA_ERRMEM : status);
    vm_state_used(vm);
    int64_t ran = now_us(CLOCK_MONOTONIC);
    result->lua_us = (task.called_us ? task.called_us : ran) - start;
    if (vm->fault.err == MG_OK && request->mode == MG_RUN_ANSWER) {
        vm_encode(vm, &task.value, result);
        result->encode_us = now_us(CLOCK_MONOTONIC) - start - result->lua_us;
    } else {
        result->body = (struct mg_span){vm->body.data, vm->body.len};
    }
    result->headers = counted(vm, &vm->headers, vm->n_headers, 0);
    result->deps = counted(vm, &vm->deps, vm->n_deps, 1);
    if (vm->fault.err != MG_OK)
        report_fault(vm, result);
    result->log = (struct mg_span){vm->log.data, vm->log.len};
    result->retire = vm->hit_limit;
    result->cpu_us = now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    mg_vsimoon_use(vm->host.files, on_fetch, NULL, vm);
}
