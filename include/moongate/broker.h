/* The broker: the pool of workers, the queue in front of it, and single flight. It knows nothing of HTTP.
 *
 * One thread waits for messages of zygote, workers and fetcher; all state is under one mutex, so that a thread that
 * submits a job can hand it to an idle worker at once. Invariants: a job is in the queue, or held by exactly one
 * worker, or finished; each waiter is told exactly once, or was cancelled; a job whose last waiter is gone is
 * dropped or killed. Waiting parents hold no slot; children go first. */
#ifndef MOONGATE_BROKER_H
#define MOONGATE_BROKER_H

#include "moongate/answer.h"
#include "moongate/catalog.h"
#include "moongate/msg.h"
#include "moongate/worker.h"

struct mg_broker;
struct mg_job;
enum { MG_MAX_DEPTH = 5 };

/* Told once, on any thread, without locks held. `answer` is borrowed. `shared`: another waiter caused the run. */
typedef void mg_waiter_f(void *context, struct mg_answer *answer, bool shared);

/* Lies in the submitter's memory, which stays until `told` has returned or cancel has said true. */
struct mg_waiter {
    mg_waiter_f *told;
    void *context;
    struct job *job; /* the broker's, from here on */
    struct mg_waiter *next;
    bool shared;
    uint64_t parent; /* the worker whose run waits; 0: none */
};

struct mg_broker_config {
    unsigned workers;
    int64_t wall_ms, cpu_ms;
    size_t max_result;       /* bytes of an answer */
    unsigned queue_org, queue_all;
    const char *org;         /* whose workers are started ahead */
    void *context;
    /* A worker calls a UDF: start it and report by mg_broker_child_done. `request` is borrowed. Gives a handle for
     * let_go, or NULL when it was answered at once. */
    void *(*call)(void *context, const struct mg_job *parent, uint64_t worker, uint64_t tag, struct mg_span request);
    /* A secret of the organisation (mg_secret_get). On the broker's thread. Nullable: there are none. */
    enum mg_err (*secret)(void *context, const char *org, const char *name, struct mg_buf *out, char version[65],
                          struct mg_errmsg *err);
    /* The UDF that a run of `from` means by a name, a new reference: its code goes to that run. Nullable. */
    enum mg_err (*resolve)(void *context, const char *org, const struct mg_udf *from, struct mg_span name,
                           struct mg_udf **out, struct mg_errmsg *err);
    /* Values of cached functions: those that are kept (reply->state HIT, SAME, or else COMPUTE; *fd new), and what is
     * to be kept (entry, or fd). On the broker's thread. Nullable: none are kept. */
    void (*value_get)(void *context, const char *org, const struct mg_value_ask *ask, struct mg_value_reply *reply,
                      struct mg_buf *entry, int *fd, uint64_t *fd_bytes);
    void (*value_put)(void *context, const char *org, const struct mg_udf *udf, const struct mg_hash *key,
                      struct mg_span deps, struct mg_span entry, int fd, uint64_t fd_bytes,
                      struct mg_value_reply *reply);
    /* Called once for each handle: cancels the child run unless it is done. */
    void (*let_go)(void *context, void *child);
    /* A job ended with an answer that may be kept (on the broker's thread, before late waiters are turned away). */
    void (*keep)(void *context, const struct mg_job *job, struct mg_answer *answer);
    /* The broker's thread also watches the catalog, and has its tick about once a second. */
    int watch_fd;
    void (*watch)(void *context);
    void (*tick)(void *context);
};

/* What a submitter says of its job; everything is copied. */
struct mg_job {
    struct mg_udf *udf;       /* the broker takes a reference of its own */
    char org[64];
    bool has_key;             /* single flight by it, and kept */
    struct mg_hash key;
    struct mg_span request;   /* packed mg_run_request */
    int64_t ttl_s;            /* 0: not kept */
    int64_t wall_ms;          /* at most; 0: the default */
    int64_t deadline_us;      /* absolute, of the parent; 0: none */
    int depth;
    struct mg_hash ancestors[MG_MAX_DEPTH]; /* keys of the runs that wait for this one, `depth` of them */
    bool child;               /* goes first */
    uint64_t worker;          /* of a parent: its worker */
};

MG_MUST_CHECK enum mg_err mg_broker_start(const struct mg_broker_config *config, struct mg_broker **out,
                                          struct mg_errmsg *err);
/* Stops the thread; running jobs are answered MG_E_UNAVAILABLE. */
void mg_broker_stop(struct mg_broker **broker);
/* The link to zygote or fetcher (takes fd); replaces an earlier one. */
void mg_broker_peer(struct mg_broker *broker, enum mg_role role, int fd);
/* The waiter is told at once when the queue is full, or when it is late to a finished job. NULL waiter: a background
 * job that nobody waits for. */
void mg_broker_submit(struct mg_broker *broker, const struct mg_job *job, struct mg_waiter *waiter);
/* True: the waiter was not told and never will be. False: it was or is being told. */
bool mg_broker_cancel(struct mg_broker *broker, struct mg_waiter *waiter);
void mg_broker_child_done(struct mg_broker *broker, uint64_t worker, uint64_t tag, struct mg_answer *answer);

/* Microseconds of the monotonic clock. */
int64_t mg_now_us(void);

struct mg_broker_stats {
    unsigned workers, busy, queued;
    unsigned layers;      /* sandbox layers that every worker has */
    bool zygote, fetcher;
    char last_error[256]; /* why the last worker did not come up, or "" */
};
void mg_broker_stats(struct mg_broker *broker, struct mg_broker_stats *out);

#endif
