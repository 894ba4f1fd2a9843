/* Child runs: a worker's CALL becomes a run of its own, with the parent's organisation, rights and deadline. */
#include "engine_run.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_ARGS = 256 };

struct child {
    struct mg_engine *engine;
    uint64_t worker, tag;
    struct mg_run *run;
    int refs; /* atomic: the broker's handle, the run's callback */
};

static void child_unref(struct child *child)
{
    if (__atomic_sub_fetch(&child->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    mg_run_release(&child->run);
    free(child);
}

static void on_done(void *context, struct mg_answer *answer, enum mg_source source, struct mg_span detail)
{
    struct child *child = context;
    (void)source;
    (void)detail;
    mg_broker_child_done(child->engine->broker, child->worker, child->tag, answer);
    child_unref(child);
}

/* One packed argument of moon.run as JSON for the signature of the called UDF. NULL: malformed. */
static json_t *argument(struct mg_unpack *in)
{
    int64_t kind = mg_unpack_int(in);
    switch (kind) {
    case MG_ARG_NIL:
        return json_null();
    case MG_ARG_BOOL:
        return json_boolean(mg_unpack_bool(in));
    case MG_ARG_INT:
        return json_integer(mg_unpack_int(in));
    case MG_ARG_NUMBER:
        return json_real(mg_unpack_double(in)); /* NULL for NaN and infinities */
    case MG_ARG_STRING:
    case MG_ARG_GEOMETRY:
    case MG_ARG_DATE: {
        struct mg_span text = mg_unpack_bytes(in);
        return json_stringn(text.data ? text.data : "", text.len);
    }
    case MG_ARG_JSON: {
        json_t *value = NULL;
        struct mg_span text = mg_unpack_bytes(in);
        return mg_json_parse(text, 1 << 20, &value, NULL) == MG_OK ? value : NULL;
    }
    case MG_ARG_BOUNDS: {
        double v[4];
        for (int i = 0; i < 4; i++)
            v[i] = mg_unpack_double(in);
        return json_pack("[ffff]", v[0], v[1], v[2], v[3]);
    }
    default:
        return NULL;
    }
}

/* Why the call cannot be made, or MG_OK with `ask` filled in. */
static enum mg_err read_call(struct mg_engine *engine, const struct mg_job *parent, struct mg_span packed,
                             struct mg_ask *ask, struct mg_given *given, struct mg_errmsg *err)
{
    struct mg_run_request request;
    if (mg_run_request_unpack(packed, &request) != MG_OK)
        return mg_err_set(err, MG_E_INTERNAL, "moon.run: the call is malformed");
    if (parent->depth + 1 > MG_MAX_DEPTH)
        return mg_err_set(err, MG_E_DEPTH, "moon.run: UDFs may call each other at most %d deep", MG_MAX_DEPTH);
    struct mg_unpack in;
    mg_unpack_init(&in, request.args.data, request.args.len);
    size_t n = mg_unpack_count(&in, MAX_ARGS);
    for (size_t i = 0; i < n; i++) {
        struct mg_given *one = &given[ask->n_given];
        *one = (struct mg_given){.name = mg_unpack_bytes(&in)};
        one->json = argument(&in);
        ask->n_given += one->json != NULL;
        if (in.failed)
            return mg_err_set(err, MG_E_INTERNAL, "moon.run: the arguments are malformed");
        if (!one->json)
            return mg_err_set(err, MG_E_ARGUMENT, "moon.run: argument %.*s: numbers must be finite and strings UTF-8",
                              one->name.len < 80 ? (int)one->name.len : 80, one->name.data);
        bool cache_id = mg_span_is(one->name, "_cache_id");
        if (cache_id)
            ask->cache_id = (struct mg_span){json_string_value(one->json), json_string_length(one->json)};
    }
    return mg_engine_resolve(engine, parent->org, parent->udf, request.udf, &ask->udf, err);
}

void *mg_engine_call(void *context, const struct mg_job *parent, uint64_t worker, uint64_t tag, struct mg_span packed)
{
    struct mg_engine *engine = context;
    struct mg_errmsg err = {0};
    struct mg_given given[MAX_ARGS];
    struct mg_ask ask = {.org = parent->org, .mode = MG_RUN_VALUE, .max_age_s = -1, .parent = parent, .given = given};
    struct child *child = NULL;
    enum mg_err status = read_call(engine, parent, packed, &ask, given, &err);
    if (status) {
        struct mg_answer *answer = mg_answer_error(status, err.text);
        mg_broker_child_done(engine->broker, worker, tag, answer);
        mg_answer_unref(&answer);
    } else {
        child = calloc(1, sizeof *child);
        MG_ASSERT(child);
        *child = (struct child){.engine = engine, .worker = worker, .tag = tag, .refs = 3};
        child->run = mg_run_start(engine, &ask, on_done, child);
        child_unref(child); /* ours: child->run is set from here on */
    }
    for (size_t i = 0; i < ask.n_given; i++)
        json_decref((json_t *)given[i].json);
    mg_udf_unref(&ask.udf);
    return child;
}

void mg_engine_let_go(void *context, void *handle)
{
    (void)context;
    struct child *child = handle;
    if (mg_run_cancel(child->run))
        child_unref(child); /* the callback's: it will not come */
    child_unref(child);
}
