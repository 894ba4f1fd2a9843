/* The engine: from "run this UDF with these parameters" to an answer, over cache, signature records and broker. It
 * knows nothing of HTTP; the HTTP routes, child runs and `moongate run` all come through here. Thread-safe. */
#ifndef MOONGATE_ENGINE_H
#define MOONGATE_ENGINE_H

#include "moongate/broker.h"
#include "moongate/cache.h"
#include "moongate/files.h"
#include "moongate/state.h"

struct mg_engine_config {
    const char *data_dir, *example_dir;
    const char *const *mounts;  /* "NAME=DIR", NULL-terminated */
    unsigned workers;
    int64_t wall_ms, cpu_ms;
    int64_t lua_bytes, result_bytes;
    uint64_t cache_bytes;       /* 0: the default bound */
    int64_t ttl_s;              /* default TTL of results */
    struct mg_hash library;     /* of the Lua library: part of every key */
};

struct mg_engine {
    struct mg_engine_config config;
    struct mg_state *state;
    struct mg_cache *cache;
    struct mg_catalog *catalog;
    struct mg_broker *broker;
    struct mg_versions *versions;
    struct mg_hot *hot;         /* answers in memory */
    struct mg_files files;      /* of the organisation `local`, to see whether dependencies are current */
};

/* Opens state, cache and an empty catalog; start_broker once the catalog is filled. */
MG_MUST_CHECK enum mg_err mg_engine_open(const struct mg_engine_config *config, struct mg_engine **out,
                                         struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_engine_start(struct mg_engine *engine, struct mg_errmsg *err);
void mg_engine_close(struct mg_engine **engine);

/* How long a hit may be given again without a look at the cache. */
struct mg_hold {
    int64_t fresh_until_s; /* seconds since 1970 */
    int64_t deps_until_us; /* of mg_versions_until */
};

/* Format wishes by name, as run_wire.h has them; comma lists. */
struct mg_ask {
    const char *org;
    struct mg_udf *udf;          /* the run takes a reference of its own */
    const struct mg_given *given; /* copied */
    size_t n_given;
    bool has_tile;
    int z, x, y, tile_size;
    struct mg_span formats, vector, raster, accepts;
    struct mg_span options;      /* packed, as in run_wire.h; canonical order */
    struct mg_span cache_id;
    const char *base_url;        /* for the 422 of missing bounds, with the path; outlives the run; NULL: none */
    struct mg_span path;
    int64_t max_age_s;           /* of the call; -1: not said */
    bool no_cache;
    enum mg_run_mode mode;
    const struct mg_job *parent; /* of a child run */
    struct mg_hold *hold;        /* filled in before `done` hears of a hit (MG_FROM_CACHE); NULL: not wanted */
};
enum mg_source { MG_FROM_RUN, MG_FROM_SHARED, MG_FROM_CACHE, MG_FROM_STALE };

struct mg_run;
/* Told once, on any thread, perhaps before mg_run_start returns. `answer` is borrowed; `detail` is the JSON list of a
 * 422, or empty; `hash` is the cache key of the run (NULL when it was not made). */
typedef void mg_run_done_f(void *context, struct mg_answer *answer, enum mg_source source, struct mg_span detail);
/* Returns new: mg_run_release. */
struct mg_run *mg_run_start(struct mg_engine *engine, const struct mg_ask *ask, mg_run_done_f *done, void *context);
/* True: `done` was not called and never will be. */
bool mg_run_cancel(struct mg_run *run);
void mg_run_release(struct mg_run **run);
/* The signature of a UDF, describing it first when needed; told like a run (answer->err; then mg_udf_sig is set). */
struct mg_run *mg_describe_start(struct mg_engine *engine, const char *org, struct mg_udf *udf, mg_run_done_f *done,
                                 void *context);

/* Versions of dependencies, looked at once a second at most. */
struct mg_versions;
struct mg_versions *mg_versions_new(struct mg_engine *engine);
void mg_versions_free(struct mg_versions **versions);
/* All of the packed dependencies (count; kind, name, version) are as they were; `checked_s`: when the answer was made. */
bool mg_versions_current(struct mg_versions *versions, const char *org, struct mg_span deps, int64_t made_s);
/* The same, and until when (mg_now_us) that need not be asked again; 0: not current. */
int64_t mg_versions_until(struct mg_versions *versions, const char *org, struct mg_span deps, int64_t made_s);

#endif
