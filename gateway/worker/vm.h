/* The Lua machine's inner interface: what vm*.c and bind_*.c share.
 *
 * One struct mg_vm a worker; one fresh lua_State a run. A state's allocator context is the mg_vm,
 * so that every C function finds it in O(1). Lua errors unwind C frames: whatever a C function
 * holds while it calls Lua is either in a userdata or in one of the run's scratch buffers. Worker
 * process; single thread. */
#ifndef MOONGATE_WORKER_VM_H
#define MOONGATE_WORKER_VM_H

#include "vm_arena.h"

#include "moongate/codec.h"
#include "moongate/geometry.h"
#include "moongate/worker.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

enum {
    VM_LOG_BYTES = 64 << 10,
    VM_SCRATCH = 6,
    VM_MAX_DEPTH = 64,
    VM_MAX_ARGS = 128,
    VM_MAX_MODULES = 64, /* bits of vm_warm.modules */
    VM_WARM = 12,
    VM_LUA_BYTES = 256 << 20 /* of a run that names no limit */
};

/* One module of the library as bytecode; made in mg_vm_setup, shared by all workers. */
struct vm_module {
    char name[32];
    char *code;
    size_t len;
};
extern struct vm_module vm_modules[VM_MAX_MODULES];
extern size_t vm_n_modules;
const struct vm_module *vm_module_find(struct mg_span name);

/* A state in which the files of one bundle are compiled (registry: moon.chunks, by file name; nothing of
 * them has run) and the modules of the library that its runs use are loaded. */
struct vm_warm {
    struct mg_hash code;
    struct vm_image image;
    size_t lua_bytes;
    uint64_t modules, wanted; /* loaded; and those that its runs loaded beyond */
    bool fixed;               /* cannot be made again with more modules */
    int return_line;
    char udf[64], chunk[160]; /* "@Hello.lua" */
};

/* Where a run failed; the first to be raised to the top wins. */
struct vm_fault {
    enum mg_err err; /* MG_OK: none */
    struct mg_buf message, file, traceback;
    int64_t line;
};

struct mg_vm {
    struct mg_vm_host host;
    /* the state: one place in memory, into which images are put */
    struct vm_arena arena;
    struct vm_image base; /* the library's core is loaded */
    struct vm_warm warm[VM_WARM]; /* the one used last comes first */
    size_t n_warm, base_bytes;
    struct vm_warm *at;   /* whose image L is; NULL: base */
    lua_State *L, *first; /* NULL while there is none; where it always is */
    bool used;       /* L has run something: not for another run */
    bool has_userdata; /* something in L may hold what lies outside of the arena: it has to be closed */
    uint64_t modules;  /* of the library that are loaded in L */
    size_t lua_bytes, lua_limit;
    bool hit_limit; /* memory was refused: the worker is not used again */
    bool over;      /* the Lua heap went over its limit: the run ends, whatever it catches */
    unsigned refused;
    /* rasters and tables outside of the Lua heap */
    size_t extern_bytes, extern_limit, extern_since_gc;
    /* the run */
    const struct mg_run_request *request;
    struct mg_span bundle;
    bool loading; /* the UDF's files are being loaded: errors mean that it is broken */
    bool log_cut;
    size_t n_deps;
    struct mg_buf log, deps, seen, headers, mime, body, scratch[VM_SCRATCH];
    struct vm_fault fault;
    size_t n_headers;
    struct mg_buf answer; /* of the last child run */
    struct vm_values *values; /* what moon.cache keeps (vm_values.h); NULL before its first use */
    int fn_line, fn_last; /* where the UDF's function stands in its file */
    char fn_file[160];
};

static inline struct mg_vm *vm_of(lua_State *L)
{
    void *ud;
    lua_getallocf(L, &ud);
    return ud;
}
/* An empty scratch buffer of the run; its content lasts until the next use of the same number. */
struct mg_buf *vm_scratch(lua_State *L, int i);

/* Userdata may hold what its finalizer frees: a run that made one has its state closed. */
static inline void *vm_newuserdata(lua_State *L, size_t bytes)
{
    vm_of(L)->has_userdata = true;
    return (lua_newuserdata)(L, bytes);
}
#define lua_newuserdata(L, bytes) vm_newuserdata(L, bytes)

/* vm_state.c: a state with the allow-listed environment and the core of the library. Made once; all later
 * ones are images of it. */
bool vm_state_make(struct mg_vm *vm);
/* vm_warm.c: the state for the next run. */
bool vm_state_open(struct mg_vm *vm);
void vm_state_close(struct mg_vm *vm);
/* Before a run of the request on the bundle: puts the image of the bundle in place, made when it is not
 * there. */
void vm_state_select(struct mg_vm *vm, const struct mg_run_request *request, struct mg_span bundle);
/* After a run: remembers what it loaded. */
void vm_state_used(struct mg_vm *vm);
void vm_warm_free(struct mg_vm *vm);
/* Calls Lua's `name` of the library's inner table with what lies on the stack behind it. */
void vm_push_internal(lua_State *L, const char *name);
void vm_load_module(lua_State *L, const char *name);
/* The bytes of the UDF's own file, and "@" and its name in `chunk`; else no bytes. */
struct mg_span vm_main_file(const struct mg_run_request *request, struct mg_span bundle, char *chunk,
                            size_t size);
/* A file of the bundle as a function, on the stack; raises what is wrong with its text. chunk:
 * "@utils.lua". */
void vm_push_chunk(lua_State *L, struct mg_span text, const char *chunk);
/* The line of a chunk's `return`, else its last. */
int vm_line_of_return(struct mg_span text);
struct mg_span vm_bundle_file(struct mg_span bundle, struct mg_span name);
/* False when a file of the bundle has the name of a library. */
bool vm_bundle_check(struct mg_span bundle, struct mg_errmsg *why);

/* vm_error.c: error objects. All of these do not return. */
_Noreturn void vm_raise(lua_State *L, enum mg_err err, const char *format, ...) MG_PRINTF(3, 4);
/* "what: expected …, got …" for argument `arg` of a library function. */
_Noreturn void vm_bad(lua_State *L, const char *what, const char *expected, int index);
/* Raises with "what: " before the sentence unless err is MG_OK. */
void vm_check(lua_State *L, const char *what, enum mg_err err, const struct mg_errmsg *msg);
/* Describes a value in a sentence: `the string "x"`, `nil`, `a table`. */
void vm_describe(lua_State *L, int index, struct mg_buf *out);
/* "; did you mean `x`?" of the string keys of the table at `index` (0: none) and of `more`
 * (NULL-terminated, nullable), or "". Until the next use of scratch 2. */
const char *vm_suggest(lua_State *L, const char *word, int index, const char *const *more);
/* Message handler of the outermost call: fills the run's fault. */
int vm_on_error(lua_State *L);
/* Wraps whatever was raised in an error object, on the top of the stack. */
void vm_error_object(lua_State *L);
void vm_open_errors(lua_State *L);
bool vm_is_error(lua_State *L, int index);

/* vm_args.c: arguments to Lua values. */
void vm_push_arguments(lua_State *L, int fn, int *n);
/* Any argument as the front would have packed it. */
void vm_pack_argument(lua_State *L, const char *name, int index, struct mg_buf *out);

/* vm_value.c: what a UDF returned, made into the run's result. */
void vm_finish(lua_State *L, int first, int n, struct mg_run_result *result,
               struct mg_value *value);
void vm_encode(struct mg_vm *vm, struct mg_value *value, struct mg_run_result *result);
/* The value of any kind at `index` (absolute), which borrows from the state, from what is pushed here, and
 * from scratch 5. False: nil, a function … */
bool vm_value_of(lua_State *L, int index, struct mg_value *value);
/* vm_format.c: the internal value format. */
void vm_value_store(lua_State *L, int index, struct mg_buf *out);
void vm_value_push(lua_State *L, const char *what, struct mg_span stored);
/* The same of n values from `first` on, as a function gives them; their number. */
void vm_values_store(lua_State *L, int first, int n, struct mg_buf *out);
int vm_values_push(lua_State *L, const char *what, struct mg_span stored);
/* vm_key.c: appends the canonical encoding of the values at `indices`. */
void vm_key_put(lua_State *L, const char *what, const int *indices, size_t n, struct mg_buf *out);

/* vm_json.c. False with a sentence in `why`. */
bool vm_json_write(lua_State *L, int index, struct mg_buf *out, struct mg_errmsg *why);
void vm_json_push(lua_State *L, const char *what, struct mg_span text);

/* The log of the run, and its dependencies. */
void vm_log(struct mg_vm *vm, struct mg_span line);
void vm_note(struct mg_vm *vm, const char *format, ...) MG_PRINTF(2, 3);
void vm_dep(struct mg_vm *vm, const char *kind, struct mg_span name, struct mg_span version);
/* A file that the run reads: its version as it stands now, before it is read. */
void vm_dep_file(struct mg_vm *vm, const char *name);
/* All of a packed list (count; kind, name, version). */
void vm_take_deps(struct mg_vm *vm, struct mg_span deps);
/* GDAL path of a file that the author names; raises. */
const char *vm_gdal_path(lua_State *L, const char *what, int index, char *out, size_t size);

/* bind_*.c: one for each Lua module. Each gives its functions in the inner table. */
void vm_open_core(lua_State *L);
void vm_open_json(lua_State *L);
void vm_open_geometry(lua_State *L);
void vm_open_raster(lua_State *L);
void vm_open_table(lua_State *L);
void vm_open_tile(lua_State *L);
void vm_open_run(lua_State *L);
void vm_open_cache(lua_State *L);
void vm_open_encode(lua_State *L);
void vm_open_frames(lua_State *L);
void vm_open_sql(lua_State *L);
void vm_open_chunks(lua_State *L);
void vm_open_files(lua_State *L);
void vm_open_html(lua_State *L);
void vm_open_xml(lua_State *L);
void vm_open_http(lua_State *L);
void vm_open_download(lua_State *L);
void vm_open_secrets(lua_State *L);
void vm_open_map(lua_State *L);  /* part of raster */
void vm_open_analysis(lua_State *L); /* part of raster; adds methods */
void vm_open_vector(lua_State *L); /* adds methods to those of table */
void vm_open_read(lua_State *L); /* read_raster, read_vector: part of raster and table */

/* Values of the library as userdata or tables with our metatables. to: NULL when it is none; check:
 * raises. */
struct vm_raster {
    struct mg_raster *raster;
    size_t bytes;
    int margin; /* pixels around the asked area */
};
struct vm_raster *vm_to_raster(lua_State *L, int index);
/* Takes the raster (also when it raises). */
void vm_push_raster(lua_State *L, struct mg_raster *raster, int margin);

struct vm_raster *vm_check_raster(lua_State *L, const char *what, int index);
/* Checks before the work that what it makes, a raster like this one, fits into the run's memory. */
void vm_raster_foresee(lua_State *L, const struct mg_raster *like, enum mg_sample sample);
int vm_raster_colour(lua_State *L);    /* bind_colour.c */
int vm_raster_hillshade(lua_State *L); /* bind_colour.c */

/* An animation; its rasters live in the userdata's environment. */
struct vm_frames {
    size_t n;
    struct mg_frame list[];
};
struct vm_frames *vm_to_frames(lua_State *L, int index);
/* Of the list of rasters at `list`, with as many delays; raises with "what: " before the sentence. */
struct vm_frames *vm_push_frames(lua_State *L, const char *what, int list, const int *delays);

struct mg_table *vm_to_table(lua_State *L, int index);
void vm_push_table(lua_State *L, struct mg_table *table);

struct vm_geometry {
    uint32_t len, crs_len;
    char bytes[]; /* WKB, then the CRS and its NUL */
};
struct vm_geometry *vm_to_geometry(lua_State *L, int index);
void vm_push_geometry(lua_State *L, struct mg_span wkb, const char *crs);
static inline struct mg_span vm_wkb(const struct vm_geometry *g)
{
    return (struct mg_span){g->bytes, g->len};
}
static inline const char *vm_crs(const struct vm_geometry *g)
{
    return g->bytes + g->len;
}

struct vm_bounds {
    struct mg_bounds b;
    bool has_tile;
    struct mg_tile tile;
    int size;
};
bool vm_is_bounds(lua_State *L, int index);
/* Bounds, or a list of four numbers, or an area geometry's own bounds. */
void vm_check_bounds(lua_State *L, const char *what, int index, struct vm_bounds *out);
void vm_push_bounds(lua_State *L, const struct vm_bounds *bounds);

/* Options of a call: the table at `index` (or nil). Unknown names are errors: keys is
 * NULL-terminated. */
void vm_check_options(lua_State *L, const char *what, int index, const char *const *keys);
/* Counts memory that Lua's collector does not see, and lets it run in time; raises when over the
 * limit. */
void vm_charge(lua_State *L, size_t bytes);
void vm_release(struct mg_vm *vm, size_t bytes);

#endif
