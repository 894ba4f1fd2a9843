/* A run: describe when needed, coerce, key, cache, broker.
 *
 * States follow one another without a lock: a run is in one place at a time (its caller, the describe job, its own
 * job), and `done` is called exactly once or cancelled. The key is the hash of everything that can change the answer:
 * organisation, code, mode, coerced arguments, tile, wishes, options, _cache_id. TTL and deadlines are not in it. */
#include "engine_run.h"
#include "hot.h"

#include "moongate/log.h"
#include "moongate/memfd.h"
#include "moongate/metrics.h"
#include "moongate/tile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct mg_run {
    int refs; /* atomic: one of the requester, one while the broker has the waiter */
    struct mg_engine *engine;
    struct mg_ask ask;  /* its spans lie behind `given` */
    struct mg_given *given;
    char org[64];
    struct mg_job parent;
    bool has_parent, describe_only;
    bool cancelled; /* atomic: between two steps, when the broker had no waiter to take away */
    struct mg_waiter waiter;
    mg_run_done_f *done;
    void *context;
};

static struct mg_run *run_ref(struct mg_run *run)
{
    __atomic_add_fetch(&run->refs, 1, __ATOMIC_RELAXED);
    return run;
}

void mg_run_release(struct mg_run **run_at)
{
    struct mg_run *run = *run_at;
    *run_at = NULL;
    if (!run || __atomic_sub_fetch(&run->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < run->ask.n_given; i++)
        json_decref((json_t *)run->given[i].json);
    mg_udf_unref(&run->ask.udf);
    free(run->given);
    free(run);
}

static void finish(struct mg_run *run, struct mg_answer *answer, enum mg_source source, struct mg_span detail)
{
    run->done(run->context, answer, source, detail);
}

static void finish_error(struct mg_run *run, enum mg_err err, const char *message, struct mg_span detail)
{
    struct mg_answer *answer = mg_answer_error(err, message);
    finish(run, answer, MG_FROM_RUN, detail);
    mg_answer_unref(&answer);
}

/* ---- the cache --------------------------------------------------------------------------------------- */

static struct mg_answer *cache_find(struct mg_engine *engine, const struct mg_hash *key)
{
    struct mg_answer *hot = mg_hot_get(engine->hot, key);
    if (hot)
        return hot;
    struct mg_buf meta, body;
    int fd = -1;
    uint64_t fd_bytes = 0;
    mg_buf_init(&meta, 0);
    mg_buf_init(&body, 0);
    struct mg_answer *answer = NULL;
    if (mg_cache_get(engine->cache, key, &meta, &body, &fd, &fd_bytes) == MG_OK &&
        mg_answer_unpack((struct mg_span){meta.data, meta.len}, &answer) == MG_OK) {
        answer->fd = fd;
        answer->fd_bytes = fd_bytes;
        answer->body.len = body.len;
        answer->memory = mg_buf_take(&body, NULL);
        answer->body.data = answer->memory;
        mg_hot_put(engine->hot, key, answer);
    } else if (fd >= 0) {
        close(fd);
    }
    mg_buf_fini(&meta);
    mg_buf_fini(&body);
    return answer;
}

void mg_engine_keep(void *context, const struct mg_job *job, struct mg_answer *answer)
{
    struct mg_engine *engine = context;
    if (answer->err || answer->ttl_s <= 0 || answer->status >= 400)
        return;
    mg_hot_put(engine->hot, &job->key, answer);
    struct mg_errmsg err = {0};
    struct mg_buf meta;
    struct mg_hash group;
    mg_buf_init(&meta, 0);
    mg_answer_pack(answer, &meta);
    char name[256];
    int len = snprintf(name, sizeof name, "%s/%s", job->org, job->udf->name);
    mg_sha256(name, (size_t)len, &group);
    struct mg_span head = {meta.data, meta.len};
    enum mg_err status =
        answer->fd < 0 ? mg_cache_put(engine->cache, &job->key, &group, head, answer->body, &err)
                       : mg_cache_put_fd(engine->cache, &job->key, &group, head, answer->fd, answer->fd_offset,
                                         answer->fd_bytes, &err);
    if (status)
        mg_log_warn("result cache: %s", err.text);
    mg_buf_fini(&meta);
}

/* A spent answer may still be given for as long again (at most a day) while a new one is made. */
static bool may_be_stale(const struct mg_answer *answer, int64_t age_s)
{
    int64_t grace_s = answer->ttl_s < 86400 ? answer->ttl_s : 86400;
    return age_s < answer->ttl_s + grace_s;
}

/* ---- steps ------------------------------------------------------------------------------------------- */

static void told_answer(void *context, struct mg_answer *answer, bool shared)
{
    struct mg_run *run = context;
    finish(run, answer, shared ? MG_FROM_SHARED : MG_FROM_RUN, (struct mg_span){0});
    mg_run_release(&run);
}

static int64_t ttl_of(const struct mg_run *run, const struct mg_sig *sig)
{
    if (run->ask.no_cache)
        return 0;
    if (run->ask.max_age_s >= 0)
        return run->ask.max_age_s;
    return sig->max_age_s >= 0 ? sig->max_age_s : run->engine->config.ttl_s;
}

/* The request and its key; deadlines stay out of both. */
static void make_request(const struct mg_run *run, const struct mg_buf *args, const struct mg_buf *extra,
                         struct mg_buf *packed, struct mg_hash *key)
{
    const struct mg_ask *ask = &run->ask;
    const struct mg_engine_config *config = &run->engine->config;
    struct mg_run_request request = {
        .mode = ask->mode,
        .org = mg_span(run->org),
        .udf = mg_span(ask->udf->name),
        .code = ask->udf->code,
        .args = {args->data, args->len},
        .extra = {extra->data, extra->len},
        .has_tile = ask->has_tile,
        .z = ask->z,
        .x = ask->x,
        .y = ask->y,
        .tile_size = ask->tile_size,
        .formats = ask->formats,
        .vector = ask->vector,
        .raster = ask->raster,
        .accepts = ask->accepts,
        .options = ask->options,
        .lua_bytes = config->lua_bytes,
        .result_bytes = config->result_bytes,
        .owner = true, /* the answer holds what its owner may see; the routes decide what is shown */
        .gzip = ask->mode == MG_RUN_ANSWER,
    };
    mg_run_request_pack(&request, packed);
    size_t len = packed->len;
    mg_pack_bytes(packed, ask->cache_id.data, ask->cache_id.len);
    mg_pack_str(packed, "moongate " MG_VERSION); /* another program or library may answer otherwise */
    mg_pack_bytes(packed, config->library.bytes, sizeof config->library.bytes);
    mg_sha256(packed->data, packed->len, key);
    packed->len = len;
}

static void submit(struct mg_run *run, const struct mg_sig *sig, const struct mg_buf *packed,
                   const struct mg_hash *key, int64_t ttl_s, bool background)
{
    struct mg_job job = {
        .udf = run->ask.udf,
        .has_key = ttl_s > 0,
        .key = *key,
        .request = {packed->data, packed->len},
        .ttl_s = ttl_s,
        .child = run->has_parent,
    };
    memcpy(job.org, run->org, sizeof job.org);
    if (sig->timeout_s > 0 && sig->timeout_s * 1000 < run->engine->config.wall_ms)
        job.wall_ms = sig->timeout_s * 1000;
    if (run->has_parent) {
        memcpy(job.ancestors, run->parent.ancestors, sizeof job.ancestors);
        job.ancestors[run->parent.depth] = run->parent.key;
        job.depth = run->parent.depth + 1;
        job.deadline_us = run->parent.deadline_us;
    }
    if (background) {
        mg_broker_submit(run->engine->broker, &job, NULL);
        return;
    }
    mg_metric_add(MG_M_CACHE_MISSES, 1);
    run->waiter.told = told_answer;
    run->waiter.context = run_ref(run);
    run->waiter.parent = run->has_parent ? run->parent.worker : 0;
    mg_broker_submit(run->engine->broker, &job, &run->waiter);
}

static bool given_int(const struct mg_given *given, int *out)
{
    char text[16], *end;
    double value;
    if (given->json) {
        value = json_is_number(given->json) ? json_number_value(given->json) : NAN;
    } else {
        snprintf(text, sizeof text, "%.*s", given->text.len < 15 ? (int)given->text.len : 15, given->text.data);
        value = strtod(text, &end);
        if (end == text || *end)
            return false;
    }
    *out = value >= -1 && value <= 1 << 24 ? (int)value : -1;
    return value == floor(value);
}

/* x, y and z as parameters make a file call a tile call, unless the UDF has parameters of these names. */
static enum mg_err take_tile(struct mg_run *run, const struct mg_sig *sig, struct mg_errmsg *err)
{
    struct mg_ask *ask = &run->ask;
    int *parts[] = {&ask->z, &ask->x, &ask->y};
    size_t at[3], found = 0;
    for (size_t p = 0; p < sig->n_params; p++)
        if (!sig->params[p].name[1] && strchr("xyz", sig->params[p].name[0]))
            return MG_OK;
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < ask->n_given; i++)
            if (ask->given[i].name.len == 1 && ask->given[i].name.data[0] == "zxy"[c]) {
                at[c] = i;
                found++;
                break;
            }
    if (ask->has_tile || found < 3)
        return MG_OK;
    for (size_t c = 0; c < 3; c++)
        if (!given_int(&ask->given[at[c]], parts[c]))
            return mg_err_set(err, MG_E_TILE_RANGE, "%c: a whole number is expected", "zxy"[c]);
    if (!mg_tile_valid((struct mg_tile){ask->z, ask->x, ask->y}))
        return mg_err_set(err, MG_E_TILE_RANGE, "tile %d/%d/%d: z is 0 to %d, x and y are 0 to 2^z - 1", ask->z,
                          ask->x, ask->y, MG_TILE_MAX_ZOOM);
    ask->has_tile = true;
    ask->tile_size = ask->tile_size ? ask->tile_size : 256;
    size_t n = 0;
    for (size_t i = 0; i < ask->n_given; i++) {
        if (i == at[0] || i == at[1] || i == at[2])
            json_decref((json_t *)run->given[i].json);
        else
            run->given[n++] = run->given[i];
    }
    ask->n_given = n;
    return MG_OK;
}

/* The URL of the call with the place of the UDF's view, or a place where the examples have data: as bounds, or as a tile
 * where the UDF answers tiles only. */
static const char *example_url(const struct mg_ask *ask, const struct mg_sig *sig, char *out, size_t size)
{
    static const double olinda[] = {-34.95, -8.05, -34.80, -7.93};
    const struct mg_udf *udf = ask->udf;
    const double *b = udf->has_view ? udf->view : olinda;
    bool tile = false;
    for (size_t i = 0; i < sig->n_params; i++)
        tile |= sig->params[i].type == MG_T_TILE;
    struct mg_tile at = mg_tile_at((b[0] + b[2]) / 2, (b[1] + b[3]) / 2, udf->has_view ? (int)udf->zoom : 12);
    int path_len = ask->path.len < 256 ? (int)ask->path.len : 0;
    int len = tile ? snprintf(out, size, "%s%.*s?z=%d&x=%d&y=%d", ask->base_url, path_len, ask->path.data, at.z, at.x,
                              at.y)
                   : snprintf(out, size, "%s%.*s?bounds=%.6g,%.6g,%.6g,%.6g", ask->base_url, path_len, ask->path.data,
                              b[0], b[1], b[2], b[3]);
    return len >= 0 && (size_t)len < size ? out : NULL;
}

/* With single flight a run that needs its own key would wait for itself until its deadline. */
static bool waits_for_itself(const struct mg_run *run, const struct mg_hash *key)
{
    if (!run->has_parent)
        return false;
    for (int i = 0; i < run->parent.depth; i++)
        if (mg_hash_eq(&run->parent.ancestors[i], key))
            return true;
    return mg_hash_eq(&run->parent.key, key);
}

/* From the signature on. */
static void proceed(struct mg_run *run)
{
    const struct mg_ask *ask = &run->ask;
    const struct mg_sig *sig = mg_udf_sig(ask->udf);
    struct mg_errmsg err = {0};
    enum mg_err tile_status = take_tile(run, sig, &err);
    if (tile_status) {
        finish_error(run, tile_status, err.text, (struct mg_span){0});
        return;
    }
    struct mg_buf args, extra, detail, packed;
    struct mg_hash key;
    mg_buf_init(&args, 0);
    mg_buf_init(&extra, 0);
    mg_buf_init(&detail, 0);
    mg_buf_init(&packed, MG_CHANNEL_REQUEST);
    mg_buf_room(&packed, 768); /* the usual request, in one allocation */
    struct mg_call call = {
        .given = ask->given,
        .n_given = ask->n_given,
        .has_tile = ask->has_tile,
        .z = ask->z,
        .x = ask->x,
        .y = ask->y,
        .tile_size = ask->tile_size,
        .view = ask->udf->has_view ? ask->udf->view : NULL,
    };
    enum mg_err status = mg_sig_coerce(sig, &call, &args, &extra, &detail, &err);
    char example[1200];
    if (status == MG_E_PARAMETER && ask->base_url) { /* once more, with a URL that works */
        call.example_url = example_url(ask, sig, example, sizeof example);
        detail.len = 0;
        status = mg_sig_coerce(sig, &call, &args, &extra, &detail, &err);
    }
    if (status) {
        finish_error(run, status, err.text, (struct mg_span){detail.data, detail.len});
        goto out;
    }
    make_request(run, &args, &extra, &packed, &key);
    if (packed.failed) {
        finish_error(run, MG_E_TOO_LARGE, "the parameters are larger than 1 MB", (struct mg_span){0});
        goto out;
    }
    if (waits_for_itself(run, &key)) {
        finish_error(run, MG_E_DEPTH, "moon.run: the UDF calls itself with the same arguments", (struct mg_span){0});
        goto out;
    }
    int64_t ttl_s = ttl_of(run, sig);
    struct mg_answer *kept = ttl_s > 0 ? cache_find(run->engine, &key) : NULL;
    if (kept) {
        int64_t age_s = (int64_t)time(NULL) - kept->created_s;
        int64_t until_us = mg_versions_until(run->engine->versions, run->org,
                                             (struct mg_span){kept->deps.data, kept->deps.len}, kept->created_s);
        bool current = until_us > 0;
        bool fresh = age_s < kept->ttl_s && age_s < ttl_s;
        if (current && (fresh || (ask->max_age_s < 0 && may_be_stale(kept, age_s)))) {
            mg_metric_add(fresh ? MG_M_CACHE_HITS : MG_M_CACHE_STALE, 1);
            if (!fresh)
                submit(run, sig, &packed, &key, ttl_s, true);
            if (ask->hold)
                *ask->hold = (struct mg_hold){kept->created_s + (kept->ttl_s < ttl_s ? kept->ttl_s : ttl_s), until_us};
            finish(run, kept, fresh ? MG_FROM_CACHE : MG_FROM_STALE, (struct mg_span){0});
            mg_answer_unref(&kept);
            goto out;
        }
        mg_answer_unref(&kept);
    }
    submit(run, sig, &packed, &key, ttl_s, false);
out:
    mg_buf_fini(&args);
    mg_buf_fini(&extra);
    mg_buf_fini(&detail);
    mg_buf_fini(&packed);
}

static void finish_cancelled(struct mg_run *run)
{
    mg_metric_add(MG_M_RUNS_CANCELLED, 1);
    finish_error(run, MG_E_CANCELLED, mg_err_text(MG_E_CANCELLED), (struct mg_span){0});
}

/* The describe run has ended: the record is kept for ever under the code's hash. */
static void told_signature(void *context, struct mg_answer *answer, bool shared)
{
    struct mg_run *run = context;
    struct mg_errmsg err = {0};
    struct mg_sig *sig = NULL;
    if (answer->err) {
        finish(run, answer, MG_FROM_RUN, (struct mg_span){0});
    } else if (mg_sig_parse(answer->body, &sig, &err) != MG_OK) {
        finish_error(run, MG_E_UDF_BROKEN, err.text, (struct mg_span){0});
    } else {
        if (!shared && mg_signature_put(run->engine->state, &run->ask.udf->code, answer->body, &err) != MG_OK)
            mg_log_warn("signature of %s: %s", run->ask.udf->name, err.text);
        mg_udf_set_sig(run->ask.udf, sig);
        if (run->describe_only)
            finish(run, answer, MG_FROM_RUN, (struct mg_span){0});
        else if (__atomic_load_n(&run->cancelled, __ATOMIC_SEQ_CST))
            finish_cancelled(run);
        else
            proceed(run);
        /* Cancelled since then, but before the broker had the new waiter? */
        if (__atomic_load_n(&run->cancelled, __ATOMIC_SEQ_CST) && mg_broker_cancel(run->engine->broker, &run->waiter)) {
            struct mg_run *held = run; /* the broker's reference */
            finish_error(run, MG_E_CANCELLED, mg_err_text(MG_E_CANCELLED), (struct mg_span){0});
            mg_run_release(&held);
        }
    }
    mg_run_release(&run);
}

/* A record of an earlier run of the server. */
static bool load_signature(struct mg_run *run)
{
    struct mg_buf json;
    struct mg_sig *sig = NULL;
    mg_buf_init(&json, 0);
    if (mg_signature_get(run->engine->state, &run->ask.udf->code, &json) == MG_OK &&
        mg_sig_parse((struct mg_span){json.data, json.len}, &sig, NULL) == MG_OK)
        mg_udf_set_sig(run->ask.udf, sig);
    mg_buf_fini(&json);
    return sig != NULL;
}

static void describe(struct mg_run *run)
{
    struct mg_buf packed;
    mg_buf_init(&packed, 0);
    struct mg_run_request request = {
        .mode = MG_RUN_DESCRIBE,
        .org = mg_span(run->org),
        .udf = mg_span(run->ask.udf->name),
        .code = run->ask.udf->code,
        .lua_bytes = run->engine->config.lua_bytes,
        .result_bytes = run->engine->config.result_bytes,
        .owner = true,
    };
    mg_run_request_pack(&request, &packed);
    struct mg_job job = {.udf = run->ask.udf, .has_key = true, .request = {packed.data, packed.len},
                         .child = run->has_parent,
                         .deadline_us = run->has_parent ? run->parent.deadline_us : 0};
    memcpy(job.org, run->org, sizeof job.org);
    mg_sha256(packed.data, packed.len, &job.key);
    run->waiter.told = told_signature;
    run->waiter.context = run_ref(run);
    run->waiter.parent = run->has_parent ? run->parent.worker : 0;
    mg_broker_submit(run->engine->broker, &job, &run->waiter);
    mg_buf_fini(&packed);
}

/* ---- the caller's side ------------------------------------------------------------------------------- */

/* Copies everything that the caller lent. */
static struct mg_run *run_new(struct mg_engine *engine, const struct mg_ask *ask, mg_run_done_f *done, void *context)
{
    struct mg_run *run = calloc(1, sizeof *run);
    MG_ASSERT(run);
    run->refs = 1;
    run->engine = engine;
    run->done = done;
    run->context = context;
    run->ask = *ask;
    size_t org_len = strlen(ask->org);
    MG_ASSERT(org_len < sizeof run->org);
    memcpy(run->org, ask->org, org_len + 1);
    run->ask.org = run->org;
    __atomic_add_fetch(&ask->udf->refs, 1, __ATOMIC_RELAXED);
    if (ask->parent) {
        run->parent = *ask->parent;
        run->has_parent = true;
        run->ask.parent = &run->parent;
    }
    struct mg_span *spans[] = {&run->ask.formats, &run->ask.vector, &run->ask.raster, &run->ask.accepts,
                               &run->ask.options, &run->ask.cache_id, &run->ask.path};
    size_t bytes = 1, n_spans = sizeof spans / sizeof *spans;
    for (size_t i = 0; i < n_spans; i++)
        bytes += spans[i]->len + 1;
    for (size_t i = 0; i < ask->n_given; i++)
        bytes += ask->given[i].name.len + ask->given[i].text.len + 2;
    /* One block: the parameters, then the bytes that they and the spans point to. */
    run->given = malloc(ask->n_given * sizeof *run->given + bytes);
    MG_ASSERT(run->given);
    char *at = (char *)(run->given + ask->n_given);
#define LAY(span)                                    \
    do {                                             \
        if ((span).len)                              \
            memcpy(at, (span).data, (span).len);     \
        at[(span).len] = 0;                          \
        (span).data = (span).data ? at : NULL;       \
        at += (span).len + 1;                        \
    } while (0)
    for (size_t i = 0; i < n_spans; i++)
        LAY(*spans[i]);
    for (size_t i = 0; i < ask->n_given; i++) {
        run->given[i] = ask->given[i];
        LAY(run->given[i].name);
        LAY(run->given[i].text);
        json_incref((json_t *)run->given[i].json);
    }
#undef LAY
    run->ask.given = run->given;
    return run;
}

static struct mg_run *start(struct mg_run *run)
{
    struct mg_udf *udf = run->ask.udf;
    if (udf->broken)
        finish_error(run, MG_E_UDF_BROKEN, udf->broken, (struct mg_span){0});
    else if (!mg_udf_sig(udf) && !load_signature(run))
        describe(run);
    else if (run->describe_only)
        finish_error(run, MG_OK, "", (struct mg_span){0});
    else
        proceed(run);
    return run;
}

struct mg_run *mg_run_start(struct mg_engine *engine, const struct mg_ask *ask, mg_run_done_f *done, void *context)
{
    return start(run_new(engine, ask, done, context));
}

struct mg_run *mg_describe_start(struct mg_engine *engine, const char *org, struct mg_udf *udf, mg_run_done_f *done,
                                 void *context)
{
    struct mg_ask ask = {.org = org, .udf = udf};
    struct mg_run *run = run_new(engine, &ask, done, context);
    run->describe_only = true;
    return start(run);
}

bool mg_run_cancel(struct mg_run *run)
{
    __atomic_store_n(&run->cancelled, true, __ATOMIC_SEQ_CST);
    if (!mg_broker_cancel(run->engine->broker, &run->waiter))
        return false;
    struct mg_run *held = run; /* the broker's reference */
    mg_run_release(&held);
    return true;
}
