/* The zygote and its workers.
 *
 * The zygote loads LuaJIT, the bytecode of the Lua library and GDAL once, has a single thread and no secrets, and
 * forks a worker in about a millisecond for each MG_MSG_SPAWN. A worker confines itself (sandbox.h), warms PROJ,
 * says READY, then serves runs one after the other: a fresh Lua state for each, made ready while idle. */
#ifndef MOONGATE_WORKER_H
#define MOONGATE_WORKER_H

#include "moongate/config.h"
#include "moongate/files.h"
#include "moongate/run_wire.h"

struct mg_zygote_config {
    const char *data_dir;      /* organisations lie in data_dir/orgs/<org>/{fd,cache,scratch} */
    const char *lua_dir;       /* the Lua library: lua_dir/moon/… (.lua) */
    const char *example_dir;   /* example data beneath every fd://; NULL: none */
    const char *const *mounts; /* "NAME=DIR", NULL-terminated */
    unsigned base_uid;         /* as root: workers of the i-th organisation get base_uid + i; 0: stay */
    size_t data_bytes;         /* RLIMIT_DATA of a worker */
    uint64_t quota_bytes;      /* of an organisation's files; 0: no limit */
};
/* Exit status of a worker that LuaJIT ended after its run had been refused memory. */
enum { MG_WORKER_EXIT_MEMORY = 5 };
/* A child of the master (mg_child_main_f); context is struct mg_zygote_config. */
int mg_zygote_main(int control, void *config);

/* Settings from moongate.conf.lua (a mg_config_read_f; config.h). Any process, before others are forked. */
MG_MUST_CHECK enum mg_err mg_conf_read(const char *path, mg_config_put_f *put, void *context, struct mg_errmsg *err);

/* The Lua machine: what the process part of a worker needs of it. */
struct mg_vm;

/* A value of a cached function (moon.cache), asked for by its key. */
struct mg_value_ask {
    struct mg_hash key;
    int64_t max_age_s;  /* -1: any */
    int64_t stamp;      /* of the entry that the worker has; 0: none */
    bool reset;         /* only whether it is the caller who computes */
    bool outside;       /* the entry is a file: `deps` of it (empty: none that is young), made at made_s */
    struct mg_span deps;
    int64_t made_s;
};
enum mg_value_state {
    MG_VALUE_HIT,     /* the entry came */
    MG_VALUE_SAME,    /* what the worker has holds */
    MG_VALUE_COMPUTE, /* the caller computes, others wait: value_put ends it */
    MG_VALUE_AGAIN,   /* outside: another worker has just made it */
    MG_VALUE_ALONE,   /* the caller computes; nobody waits for it (to wait for the one who does would be a circle) */
    MG_VALUE_STATE_COUNT
};
struct mg_value_reply {
    enum mg_value_state state;
    int64_t stamp, made_s;
    int64_t until_us; /* monotonic: it holds until then, or until *generation changes */
};

struct mg_vm_host {
    void *context;
    /* Runs another UDF (blocks): `request` as packed by the caller of moon.run: UDF name, arguments; gives the
     * value in the internal format, and its dependencies, as a packed mg_run_result (free()). */
    enum mg_err (*call)(void *context, const struct mg_run_request *request, struct mg_buf *result,
                        struct mg_errmsg *err);
    /* The same in parts: start gives a tag, and does not wait; await waits for that of *tag (0: the next that ends, put
     * into *tag); cancel gives one up. Nullable, together. */
    enum mg_err (*start)(void *context, const struct mg_run_request *request, uint64_t *tag, struct mg_errmsg *err);
    enum mg_err (*await)(void *context, uint64_t *tag, struct mg_buf *result, struct mg_errmsg *err);
    void (*cancel)(void *context, uint64_t tag);
    /* The code of another UDF: appends its bundle, gives its own name and hash. Nullable. */
    enum mg_err (*code)(void *context, const char *name, struct mg_buf *bundle, char udf[128], struct mg_hash *code,
                        struct mg_errmsg *err);
    /* The value of a cached function; waits while another worker computes it. Appends its entry. Nullable: nothing is
     * kept then but for files. */
    enum mg_err (*value_ask)(void *context, const struct mg_value_ask *ask, struct mg_value_reply *reply,
                             struct mg_buf *entry, struct mg_errmsg *err);
    /* The end of a computation: stored, or only ended. */
    enum mg_err (*value_put)(void *context, const struct mg_hash *key, bool stored, struct mg_span deps,
                             struct mg_span entry, struct mg_value_reply *reply);
    const uint64_t *generation; /* of all kept values, as of the run's begin; NULL: constant */
    mg_fetch_f *fetch;
    /* A secret: appends the value; its version ("-" with MG_E_NOT_FOUND). Nullable. */
    enum mg_err (*secret)(void *context, const char *name, struct mg_buf *out, char version[65], struct mg_errmsg *err);
    /* Sends HTTP requests (blocks): packed batches as fetch/exchange.h has them. Appends the answers. Nullable. */
    enum mg_err (*http)(void *context, struct mg_span requests, struct mg_buf *answers, struct mg_errmsg *err);
    const struct mg_files *files;
    /* Ends the process of a run that cannot be ended otherwise: it takes memory for ever, in compiled code that catches
     * each refusal. Nullable. Does not return. */
    void (*give_up)(void *context);
};
/* Once in the zygote: compiles the library to bytecode, registers GDAL's drivers. */
MG_MUST_CHECK enum mg_err mg_vm_setup(const char *lua_dir, struct mg_errmsg *err);
/* The SHA-256 of the library's files, by name and bytes. Any process. */
MG_MUST_CHECK enum mg_err mg_vm_library_hash(const char *lua_dir, struct mg_hash *out, struct mg_errmsg *err);
/* Once in a worker. Returns new. */
MG_MUST_CHECK enum mg_err mg_vm_new(const struct mg_vm_host *host, struct mg_vm **out, struct mg_errmsg *err);
void mg_vm_free(struct mg_vm **vm);
/* Set once the current run was refused memory; LuaJIT may end the process over that. Valid as long as the VM. */
const bool *mg_vm_memory_flag(const struct mg_vm *vm);
/* Between runs: makes the next fresh state ready. */
void mg_vm_prepare(struct mg_vm *vm);
/* A bundle comes anew: nothing that was kept of one with this hash is used again. */
void mg_vm_forget(struct mg_vm *vm, const struct mg_hash *code);
/* Runs one request on a bundle (catalog's pack of files: count, then name, bytes). Never fails: errors are in the
 * result, whose spans stay valid until the next call. */
void mg_vm_run(struct mg_vm *vm, const struct mg_run_request *request, struct mg_span bundle,
               struct mg_run_result *result);

#endif
