/* States that are ready: the base, and one for each of the bundles that ran last.
 *
 * Invariant: what a run is given is a copy of an image that was saved before any code of an author
 * ran in it; a used state is never saved. An image holds no machine code and no userdata. Cost: the
 * first run of a bundle compiles its files (30 us and up), a later one copies some 100 kB; between
 * two runs the image of the last bundle is put in place, so that a run of the same bundle waits for
 * nothing. */
#include "vm.h"

#include <luajit.h>

#include <stdlib.h>

/* Makes the arena the state of the image; NULL: the base. */
static void put(struct mg_vm *vm, struct vm_warm *warm)
{
    vm_arena_load(&vm->arena, warm ? &warm->image : &vm->base);
    vm->L = vm->first;
    vm->at = warm;
    vm->lua_bytes = warm ? warm->lua_bytes : vm->base_bytes;
    vm->modules = warm ? warm->modules : 0;
    vm->lua_limit = SIZE_MAX / 2;
    vm->extern_bytes = vm->extern_since_gc = 0;
    vm->used = vm->has_userdata = vm->hit_limit = vm->over = false;
    vm->refused = 0;
}

static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/* Keeps the state as an image. False when it cannot be kept. */
static bool save(struct mg_vm *vm, struct vm_image *image)
{
    /* Traces lie outside of the arena; the functions that have been compiled are told so. */
    luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
    lua_settop(vm->L, 0);
    if (lua_cpcall(vm->L, collect, NULL) != 0)
        return false;
    return !vm->has_userdata && !vm->over && vm_arena_save(&vm->arena, image);
}

void vm_state_close(struct mg_vm *vm)
{
    if (!vm->L)
        return;
    if (vm->has_userdata || vm->arena.outside)
        lua_close(vm->L);
    else
        luaJIT_setmode(vm->L, 0,
                       LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH); /* gives back the machine code */
    MG_ASSERT(vm->arena.outside == 0);
    vm->L = NULL;
    vm->at = NULL;
}

static void load_modules(lua_State *L, uint64_t wanted)
{
    for (size_t i = 0; i < vm_n_modules; i++)
        if (wanted & (uint64_t)1 << i && !(vm_of(L)->modules & (uint64_t)1 << i))
            vm_load_module(L, vm_modules[i].name);
}

static int add_modules(lua_State *L)
{
    struct vm_warm *warm = lua_touserdata(L, 1);
    load_modules(L, warm->wanted);
    return 0;
}

/* The image of a bundle again, with the modules that its last run had to load. */
static void remake(struct mg_vm *vm, struct vm_warm *warm)
{
    struct vm_image image = {0};
    put(vm, warm);
    if (lua_cpcall(vm->L, add_modules, warm) == 0 && save(vm, &image)) {
        vm_image_free(&warm->image);
        warm->image = image;
        warm->lua_bytes = vm->lua_bytes;
        warm->modules = vm->modules;
    } else {
        warm->fixed = true;
        vm_state_close(vm);
    }
}

bool vm_state_open(struct mg_vm *vm)
{
    if (!vm->base.bytes) {
        if (!vm->arena.base && !vm_arena_open(&vm->arena))
            return false;
        vm->has_userdata = false;
        if (!vm_state_make(vm))
            return false;
        vm->first = vm->L;
        if (!save(vm, &vm->base)) {
            vm_state_close(vm);
            return false;
        }
        vm->base_bytes = vm->lua_bytes;
    }
    struct vm_warm *warm = vm->n_warm && vm->warm[0].image.bytes ? &vm->warm[0] : NULL;
    if (warm && warm->wanted & ~warm->modules && !warm->fixed)
        remake(vm, warm);
    put(vm, warm);
    return true;
}

struct prime {
    const struct mg_run_request *request;
    struct mg_span bundle;
    struct vm_warm *warm;
};

/* Compiles the files of the bundle; raises what is wrong with the UDF's own. Another that does not
 * compile is left to the `require` that asks for it. */
static int prime(lua_State *L)
{
    struct prime *p = lua_touserdata(L, 1);
    struct mg_errmsg why;
    struct mg_unpack in;
    char chunk[sizeof p->warm->chunk] = "";
    if (!vm_bundle_check(p->bundle, &why))
        vm_raise(L, MG_E_UDF_BROKEN, "%s", why.text);
    struct mg_span main = vm_main_file(p->request, p->bundle, chunk, sizeof chunk);
    if (!main.data)
        vm_raise(L, MG_E_UDF_BROKEN, "there is no file of the UDF");
    memcpy(p->warm->chunk, chunk, sizeof chunk);
    p->warm->return_line = vm_line_of_return(main);
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.chunks");
    vm_push_chunk(L, main, chunk);
    lua_setfield(L, -2, chunk + 1);
    mg_unpack_init(&in, p->bundle.data, p->bundle.len);
    size_t n = mg_unpack_count(&in, 4096);
    for (size_t i = 0; i < n && !in.failed; i++) {
        struct mg_span file = mg_unpack_bytes(&in), text = mg_unpack_bytes(&in);
        if (in.failed || file.len < 5 || file.len + 2 > sizeof chunk ||
            mg_span_is(file, p->warm->chunk + 1) ||
            memcmp(file.data + file.len - 4, ".lua", 4) != 0)
            continue;
        chunk[0] = '@';
        memcpy(chunk + 1, file.data, file.len);
        chunk[file.len + 1] = 0;
        if (luaL_loadbufferx(L, text.data ? text.data : "", text.len, chunk, "t") == 0)
            lua_setfield(L, -2, chunk + 1);
        else
            lua_pop(L, 1);
    }
    return 0;
}

/* A place at the front of the list for the bundle. */
static struct vm_warm *new_warm(struct mg_vm *vm, const struct mg_run_request *request)
{
    if (vm->n_warm == VM_WARM)
        vm_image_free(&vm->warm[--vm->n_warm].image);
    memmove(vm->warm + 1, vm->warm, vm->n_warm * sizeof *vm->warm);
    vm->n_warm++;
    struct vm_warm *warm = &vm->warm[0];
    *warm = (struct vm_warm){.code = request->code};
    memcpy(warm->udf, request->udf.data, request->udf.len);
    return warm;
}

/* The bundle's entry, now the first of the list; NULL when there is none. */
static struct vm_warm *find(struct mg_vm *vm, const struct mg_run_request *request)
{
    for (size_t i = 0; i < vm->n_warm; i++) {
        struct vm_warm found = vm->warm[i];
        if (!mg_hash_eq(&found.code, &request->code) || !mg_span_is(request->udf, found.udf))
            continue;
        if (i > 0) {
            memmove(vm->warm + 1, vm->warm, i * sizeof *vm->warm);
            vm->warm[0] = found;
            vm->at = NULL; /* it pointed into the list; what is in place is of another bundle, or
                              the base */
        }
        return &vm->warm[0];
    }
    return NULL;
}

void vm_state_select(struct mg_vm *vm, const struct mg_run_request *request, struct mg_span bundle)
{
    static const struct mg_hash none;
    struct vm_warm *warm = NULL;
    bool known = !mg_hash_eq(&request->code, &none) && request->udf.len < sizeof warm->udf &&
                 request->mode != MG_RUN_DESCRIBE;
    if (known)
        warm = find(vm, request);
    if (warm && warm->image.bytes) {
        if (vm->at != warm)
            put(vm, warm);
        return;
    }
    if (vm->at || warm)
        put(vm, NULL);
    if (!known || warm) /* a bundle that cannot be compiled fails anew, as a run */
        return;
    struct prime p = {.request = request, .bundle = bundle, .warm = new_warm(vm, request)};
    vm->lua_limit = request->lua_bytes > 0 ? (size_t)request->lua_bytes : VM_LUA_BYTES;
    if (lua_cpcall(vm->L, prime, &p) == 0 && save(vm, &p.warm->image)) {
        p.warm->lua_bytes = vm->lua_bytes;
        vm->at = p.warm;
    } else {
        vm_state_close(vm);
        put(vm, NULL);
    }
}

void mg_vm_forget(struct mg_vm *vm, const struct mg_hash *code)
{
    for (size_t i = 0; i < vm->n_warm;) {
        if (!mg_hash_eq(&vm->warm[i].code, code)) {
            i++;
            continue;
        }
        vm_image_free(&vm->warm[i].image);
        memmove(&vm->warm[i], &vm->warm[i + 1], (--vm->n_warm - i) * sizeof *vm->warm);
        /* Whatever is in place, it is not used yet, and the base serves all. */
        vm_state_close(vm);
    }
}

void vm_state_used(struct mg_vm *vm)
{
    if (vm->at)
        vm->at->wanted |= vm->modules;
}

void vm_warm_free(struct mg_vm *vm)
{
    vm_image_free(&vm->base);
    while (vm->n_warm)
        vm_image_free(&vm->warm[--vm->n_warm].image);
    vm_arena_close(&vm->arena);
}
