/* The broker's inner state, shared by broker.c (jobs, waiters, queue), pool.c (workers, messages). Everything is
 * guarded by broker.lock; functions named *_locked want it held. */
#ifndef MOONGATE_SERVE_BROKER_STATE_H
#define MOONGATE_SERVE_BROKER_STATE_H

#include "moongate/broker.h"
#include "moongate/memfd.h"

#include <pthread.h>
#include <time.h>

enum { BUNDLES = 32, FLIGHT_BUCKETS = 4096, FETCHES = 256, FETCHES_OF_WORKER = 8, RETIRE_RUNS = 10000,
       LINE = MG_SLOTS - 1 };

struct job {
    struct mg_job ask; /* request points into `request` */
    struct mg_buf request;
    struct mg_waiter *waiters;
    bool background;           /* runs on without a waiter */
    int tries;                 /* lost with the zygote or killed by a stranger: tried once more */
    int resent;                /* with its bundle, which the worker had dropped */
    int64_t queued_us, started_us;
    int64_t abandoned_us;      /* when the last waiter of a running job left; 0: somebody waits */
    struct worker *worker;     /* while it runs */
    struct mg_answer *answer;  /* set when finished */
    struct job *flight_next;   /* in the single-flight table */
    struct job *prev, *next;   /* in the queue, or in the list of finished jobs */
    bool queued;
    bool lined;                /* in its worker's line */
    uint64_t run;              /* id of the run, once it is a worker's */
};

enum worker_phase { WORKER_STARTING, WORKER_IDLE, WORKER_BUSY, WORKER_PARKED, WORKER_DEAD };
enum kill_reason { KILL_NOT, KILL_DEADLINE, KILL_CPU, KILL_CANCELLED, KILL_OUTPUT, KILL_PROTOCOL, KILL_STOP };

/* A child run that its parent has not taken the result of. */
struct call {
    uint64_t tag;             /* of the parent's worker */
    void *handle;             /* of config.call, to be let go; NULL: done, or about to be said */
    struct mg_answer *answer; /* once done */
    struct call *next;
};

/* What a parked worker waits for. */
enum worker_awaits { AWAITS_NOTHING, AWAITS_CHILD, AWAITS_VALUE };

struct worker {
    uint64_t id;
    char org[64];
    enum worker_phase phase;
    int sock;
    struct mg_channel channel;
    pid_t pid;
    clockid_t cpu_clock;
    bool has_clock, exited, retire;
    bool gone;                 /* cannot be talked to any more: receives no run, its end is awaited */
    bool lost;                 /* its zygote is gone, and it with it */
    bool kill_unsent;          /* the zygote's buffer was full: told again by the tick */
    int status;                /* of waitpid, once exited */
    unsigned layers;
    struct job *job;
    uint64_t run;              /* id of the current run */
    unsigned slot;             /* of the current run */
    struct job *line[LINE];    /* what it does next by itself, in the slots behind that one */
    unsigned n_line;
    int64_t cpu_start_us;      /* of the run; -1: not read yet */
    int64_t deadline_us, since_us;
    int64_t runs, calls;       /* in its life; of the current run */
    enum kill_reason killed;
    int big_fd;                /* of the current run; -1 */
    uint64_t big_bytes;
    struct mg_hash bundles[BUNDLES]; /* what the worker holds, in the order of use, newest first */
    size_t n_bundles;
    struct call *children;     /* of the current run, newest first */
    enum worker_awaits awaits;
    uint64_t await_tag;        /* of a child; 0: the next that ends */
    struct mg_hash await_key;  /* of a function value */
    uint64_t value_tag;        /* of the last ASK */
    struct worker *next;
};

struct fetch {
    uint64_t tag;    /* ours; 0: free */
    uint64_t worker, run, worker_tag;
};

struct mg_broker {
    struct mg_broker_config config;
    char org[64];
    pthread_mutex_t lock;
    pthread_t thread;
    int epoll, wake;
    bool stopping;
    bool tick_due;             /* the broker's thread: something happened that the tick acts upon */
    int zygote, fetcher;       /* links; -1 */
    struct worker *workers;
    unsigned n_workers, n_active, n_parked, n_starting; /* processes; of them running, waiting, not yet ready */
    uint64_t next_id;
    struct job *queue_head, *queue_tail;
    unsigned n_queued, n_lined; /* all that wait; of them in the lines of workers */
    struct job *flight[FLIGHT_BUCKETS];
    struct job *finished;      /* wait for their waiters to be told, by the broker's thread */
    struct fetch fetches[FETCHES];
    struct claim *claims;      /* function values that are being computed */
    uint64_t generation;       /* of the function values that are kept */
    struct call *orphans;      /* to be let go without the lock */
    int64_t last_call_us;      /* when a run last waited */
    unsigned layers;
    int64_t spawn_after_us;    /* back-off when workers do not come up */
    unsigned spawn_failures;
    char last_error[256];
};

/* pool.c; events and tick on the broker's thread */
/* Lines: a worker that is busy with a short run has some of the queue's head, if they are runs of the same code, in its
 * slots. Only while no further worker may run: so what is in a line would wait in the queue too. */
void mg_line_recall_locked(struct mg_broker *broker, struct worker *worker, bool lost); /* back into the queue */
void mg_line_recall_all_locked(struct mg_broker *broker);

bool mg_pool_dispatch_locked(struct mg_broker *broker); /* hands queued jobs to workers; true when one was handed */
void mg_pool_kill_locked(struct mg_broker *broker, struct worker *worker, enum kill_reason reason);
void mg_pool_event(struct mg_broker *broker, uint64_t worker_id);
void mg_pool_zygote_event(struct mg_broker *broker);
void mg_pool_tick(struct mg_broker *broker);
void mg_pool_zygote_lost_locked(struct mg_broker *broker);
void mg_pool_free(struct mg_broker *broker); /* all workers, at the broker's end */
struct worker *mg_pool_find(struct mg_broker *broker, uint64_t id);

/* The worker takes no more messages: it is ended. */
void mg_pool_lose_locked(struct mg_broker *broker, struct worker *worker);

void mg_pool_set_phase(struct mg_broker *broker, struct worker *worker, enum worker_phase phase);

/* pool_calls.c. start and await give up the lock for a while; `worker` may be gone then. */
void mg_calls_start(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg);
void mg_calls_await(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg);
void mg_calls_cancel_locked(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg);
void mg_calls_code(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg);
void mg_calls_end_locked(struct mg_broker *broker, struct worker *worker);
void mg_calls_flush(struct mg_broker *broker); /* without the lock */

/* pool_values.c; they too give up the lock. */
void mg_values_ask(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg);
void mg_values_keep(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg);
void mg_values_end_locked(struct mg_broker *broker, struct worker *worker);

/* pool_fetch.c */
void mg_pool_fetch_locked(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg);
void mg_pool_secret_locked(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg);
void mg_pool_fetcher_event(struct mg_broker *broker);
void mg_pool_fetcher_lost_locked(struct mg_broker *broker);

/* broker.c */
void mg_broker_finish_locked(struct mg_broker *broker, struct job *job, struct mg_answer *answer); /* takes answer */
void mg_broker_unline_locked(struct mg_broker *broker, struct job *job); /* back to the queue's head */
void mg_broker_requeue_locked(struct mg_broker *broker, struct job *job);
void mg_flight_remove_locked(struct mg_broker *broker, struct job *job);
struct job *mg_queue_pop_locked(struct mg_broker *broker, struct job *job);
void mg_broker_wake(struct mg_broker *broker);

#endif
