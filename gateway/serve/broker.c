/* Jobs, waiters and the queue: single flight by cache key, children first, each waiter told exactly once.
 *
 * A finished job stays in the flight table until its answer is kept, so that a late request receives the answer and not
 * a second run. Waiters are told without the lock, by the broker's thread. */
#include "broker_state.h"

#include "moongate/log.h"
#include "moongate/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What an epoll event belongs to; workers have their id, which starts behind these. */
enum { EVENT_WAKE, EVENT_ZYGOTE, EVENT_FETCHER, EVENT_WATCH, EVENT_WORKERS };
enum { TICK_MS = 20 };

int64_t mg_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* The broker whose thread this is. */
static _Thread_local const struct mg_broker *of_thread;

void mg_broker_wake(struct mg_broker *broker)
{
    uint64_t one = 1;
    if (of_thread == broker) /* it tells what is finished before it waits again */
        return;
    if (write(broker->wake, &one, sizeof one) != sizeof one)
        return; /* the counter is full: it is awake */
}

static struct job **flight_slot(struct mg_broker *broker, const struct mg_hash *key)
{
    uint64_t h;
    memcpy(&h, key->bytes, sizeof h);
    return &broker->flight[h % FLIGHT_BUCKETS];
}

static struct job *flight_find_locked(struct mg_broker *broker, const struct mg_hash *key)
{
    struct job *job = *flight_slot(broker, key);
    while (job && !mg_hash_eq(&job->ask.key, key))
        job = job->flight_next;
    return job;
}

void mg_flight_remove_locked(struct mg_broker *broker, struct job *job)
{
    if (!job->ask.has_key)
        return;
    struct job **at = flight_slot(broker, &job->ask.key);
    while (*at && *at != job)
        at = &(*at)->flight_next;
    if (*at)
        *at = job->flight_next;
}

static void job_free(struct job *job)
{
    mg_udf_unref(&job->ask.udf);
    mg_buf_fini(&job->request);
    mg_answer_unref(&job->answer);
    free(job);
}

/* Children go first, the deeper ones before the others, so that what has begun ends; those of the same depth in their
 * order. `first`: before all. */
static void queue_put_locked(struct mg_broker *broker, struct job *job, bool first)
{
    struct job *next = first ? broker->queue_head : NULL;
    if (!first && job->ask.child)
        for (next = broker->queue_head; next && next->ask.child && next->ask.depth >= job->ask.depth;)
            next = next->next;
    job->queued = true;
    job->next = next;
    job->prev = next ? next->prev : broker->queue_tail;
    *(job->prev ? &job->prev->next : &broker->queue_head) = job;
    *(job->next ? &job->next->prev : &broker->queue_tail) = job;
    mg_metric_set(MG_M_QUEUE, ++broker->n_queued);
}

struct job *mg_queue_pop_locked(struct mg_broker *broker, struct job *job)
{
    *(job->prev ? &job->prev->next : &broker->queue_head) = job->next;
    *(job->next ? &job->next->prev : &broker->queue_tail) = job->prev;
    job->prev = job->next = NULL;
    job->queued = false;
    mg_metric_set(MG_M_QUEUE, --broker->n_queued);
    return job;
}

void mg_broker_unline_locked(struct mg_broker *broker, struct job *job)
{
    job->worker = NULL;
    job->lined = false;
    broker->n_lined--;
    broker->n_queued--; /* it was counted all the time */
    queue_put_locked(broker, job, true);
}

void mg_broker_requeue_locked(struct mg_broker *broker, struct job *job)
{
    job->worker = NULL;
    job->tries++;
    queue_put_locked(broker, job, true);
}

void mg_broker_finish_locked(struct mg_broker *broker, struct job *job, struct mg_answer *answer)
{
    answer->queue_us = job->started_us ? job->started_us - job->queued_us : 0;
    answer->ttl_s = answer->err ? 0 : job->ask.ttl_s;
    if (answer->err)
        mg_metric_add(MG_M_RUNS_FAILED, 1);
    job->worker = NULL;
    job->answer = answer;
    job->next = broker->finished;
    broker->finished = job;
    mg_broker_wake(broker);
}

/* Tells the waiters of finished jobs and keeps their answers. The broker's thread only. */
static void tell_finished(struct mg_broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    while (broker->finished) {
        struct job *job = broker->finished;
        broker->finished = job->next;
        struct mg_waiter *waiters = job->waiters;
        job->waiters = NULL;
        for (struct mg_waiter *w = waiters; w; w = w->next)
            w->job = NULL; /* from here on it cannot be cancelled */
        pthread_mutex_unlock(&broker->lock);
        while (waiters) {
            struct mg_waiter *w = waiters;
            waiters = w->next;
            w->told(w->context, job->answer, w->shared);
        }
        if (job->ask.has_key && broker->config.keep)
            broker->config.keep(broker->config.context, &job->ask, job->answer);
        pthread_mutex_lock(&broker->lock);
        mg_flight_remove_locked(broker, job);
        job_free(job);
    }
    pthread_mutex_unlock(&broker->lock);
}

/* A waiter of a job that is finished but not yet out of the table, or that cannot be queued. */
static void tell_now(struct mg_answer *answer, struct mg_waiter *waiter, bool shared)
{
    if (waiter)
        waiter->told(waiter->context, answer, shared);
    mg_answer_unref(&answer);
}

static unsigned queued_of_org_locked(const struct mg_broker *broker, const char *org)
{
    unsigned n = 0;
    for (const struct job *job = broker->queue_head; job; job = job->next)
        n += strcmp(job->ask.org, org) == 0;
    for (const struct worker *w = broker->workers; w; w = w->next)
        n += strcmp(w->org, org) == 0 ? w->n_line : 0;
    return n;
}

/* Why a job may not be queued, or NULL. Children have their own bound (the parents that wait). */
static struct mg_answer *refuse_locked(struct mg_broker *broker, const struct mg_job *ask)
{
    if (broker->stopping)
        return mg_answer_error(MG_E_UNAVAILABLE, "the server is stopping");
    if (ask->child)
        return NULL;
    if (broker->n_queued >= broker->config.queue_all)
        return mg_answer_error(MG_E_UNAVAILABLE, "too many runs wait for a worker; try again in a second");
    if (broker->n_queued >= broker->config.queue_org &&
        queued_of_org_locked(broker, ask->org) >= broker->config.queue_org)
        return mg_answer_error(MG_E_TOO_MANY,
                               "too many runs of this organisation wait for a worker; try again in a second");
    return NULL;
}

static struct job *job_new_locked(struct mg_broker *broker, const struct mg_job *ask)
{
    struct job *job = calloc(1, sizeof *job);
    MG_ASSERT(job);
    job->ask = *ask;
    job->ask.udf = ask->udf;
    __atomic_add_fetch(&ask->udf->refs, 1, __ATOMIC_RELAXED);
    mg_buf_init(&job->request, 0);
    mg_buf_put(&job->request, ask->request.data, ask->request.len);
    job->ask.request = (struct mg_span){job->request.data, job->request.len};
    job->queued_us = mg_now_us();
    if (ask->has_key) {
        struct job **slot = flight_slot(broker, &ask->key);
        job->flight_next = *slot;
        *slot = job;
    }
    return job;
}

void mg_broker_submit(struct mg_broker *broker, const struct mg_job *ask, struct mg_waiter *waiter)
{
    pthread_mutex_lock(&broker->lock);
    if (waiter)
        waiter->job = NULL;
    struct job *job = ask->has_key ? flight_find_locked(broker, &ask->key) : NULL;
    bool shared = job != NULL;
    if (shared) {
        mg_metric_add(MG_M_RUNS_SHARED, waiter != NULL);
        if (job->answer) {
            struct mg_answer *answer = mg_answer_ref(job->answer);
            pthread_mutex_unlock(&broker->lock);
            tell_now(answer, waiter, true);
            return;
        }
    } else {
        struct mg_answer *refusal = refuse_locked(broker, ask);
        if (refusal) {
            pthread_mutex_unlock(&broker->lock);
            tell_now(refusal, waiter, false);
            return;
        }
        if (ask->child)
            mg_line_recall_all_locked(broker); /* they go first */
        job = job_new_locked(broker, ask);
        queue_put_locked(broker, job, false);
    }
    if (waiter) {
        waiter->job = job;
        job->abandoned_us = 0;
        waiter->shared = shared;
        waiter->next = job->waiters;
        job->waiters = waiter;
    } else {
        job->background = true;
    }
    if (!shared)
        mg_pool_dispatch_locked(broker);
    pthread_mutex_unlock(&broker->lock);
}

bool mg_broker_cancel(struct mg_broker *broker, struct mg_waiter *waiter)
{
    pthread_mutex_lock(&broker->lock);
    struct job *job = waiter->job;
    if (!job || job->answer) {
        pthread_mutex_unlock(&broker->lock);
        return false;
    }
    struct mg_waiter **at = &job->waiters;
    while (*at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
    waiter->job = NULL;
    if (!job->waiters && !job->background) {
        if (job->lined)
            mg_line_recall_locked(broker, job->worker, false);
        if (job->queued) {
            mg_metric_add(MG_M_RUNS_CANCELLED, 1);
            mg_queue_pop_locked(broker, job);
            mg_flight_remove_locked(broker, job);
            job_free(job);
            mg_pool_dispatch_locked(broker); /* what else was in that line */
        } else if (job->worker) {
            /* A map that is panned hangs up all the time. What ends soon is kept, for the pan back, and the worker
             * with all that it holds decoded; what does not is killed by the tick. */
            job->abandoned_us = mg_now_us();
        }
    }
    pthread_mutex_unlock(&broker->lock);
    return true;
}

static void watch_fd(struct mg_broker *broker, int fd, uint64_t what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = what};
    if (fd >= 0 && epoll_ctl(broker->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        mg_log_error("broker: epoll: %s", strerror(errno));
}

void mg_broker_peer(struct mg_broker *broker, enum mg_role role, int fd)
{
    pthread_mutex_lock(&broker->lock);
    if (role == MG_ROLE_ZYGOTE) {
        mg_pool_zygote_lost_locked(broker);
        broker->zygote = fd;
        broker->spawn_after_us = 0;
        watch_fd(broker, fd, EVENT_ZYGOTE);
        broker->spawn_failures = 0;
    } else if (role == MG_ROLE_FETCHER) {
        mg_pool_fetcher_lost_locked(broker);
        broker->fetcher = fd;
        watch_fd(broker, fd, EVENT_FETCHER);
    } else {
        close(fd);
    }
    mg_pool_dispatch_locked(broker);
    pthread_mutex_unlock(&broker->lock);
    mg_broker_wake(broker);
}

static void *broker_main(void *context)
{
    struct mg_broker *broker = context;
    int64_t next_tick = 0, next_pool_tick = 0;
    of_thread = broker;
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(broker->epoll, events, 64, TICK_MS);
        for (int i = 0; i < n; i++) {
            uint64_t what = events[i].data.u64;
            uint64_t count;
            broker->tick_due |= what < EVENT_WORKERS;
            if (what == EVENT_WAKE)
                (void)!read(broker->wake, &count, sizeof count);
            else if (what == EVENT_ZYGOTE)
                mg_pool_zygote_event(broker);
            else if (what == EVENT_FETCHER)
                mg_pool_fetcher_event(broker);
            else if (what == EVENT_WATCH)
                broker->config.watch(broker->config.context);
            else
                mg_pool_event(broker, what);
        }
        tell_finished(broker);
        mg_calls_flush(broker);
        int64_t now = mg_now_us();
        if (broker->tick_due || now >= next_pool_tick) {
            broker->tick_due = false;
            next_pool_tick = now + TICK_MS * 1000;
            mg_pool_tick(broker);
        }
        if (broker->config.tick && now >= next_tick) {
            next_tick = now + 1000000;
            broker->config.tick(broker->config.context);
        }
        tell_finished(broker);
        if (__atomic_load_n(&broker->stopping, __ATOMIC_ACQUIRE))
            return NULL;
    }
}

enum mg_err mg_broker_start(const struct mg_broker_config *config, struct mg_broker **out, struct mg_errmsg *err)
{
    struct mg_broker *broker = calloc(1, sizeof *broker);
    if (!broker)
        return MG_E_NOMEM;
    broker->config = *config;
    snprintf(broker->org, sizeof broker->org, "%s", config->org);
    pthread_mutex_init(&broker->lock, NULL);
    broker->zygote = broker->fetcher = -1;
    broker->next_id = EVENT_WORKERS;
    broker->epoll = epoll_create1(EPOLL_CLOEXEC);
    broker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum mg_err status = MG_OK;
    if (broker->epoll < 0 || broker->wake < 0)
        status = mg_err_set(err, MG_E_IO, "broker: %s", strerror(errno));
    if (!status) {
        watch_fd(broker, broker->wake, EVENT_WAKE);
        watch_fd(broker, config->watch_fd, EVENT_WATCH);
        if (pthread_create(&broker->thread, NULL, broker_main, broker) != 0)
            status = mg_err_set(err, MG_E_NOMEM, "broker: cannot start its thread");
    }
    if (status) {
        if (broker->epoll >= 0)
            close(broker->epoll);
        if (broker->wake >= 0)
            close(broker->wake);
        pthread_mutex_destroy(&broker->lock);
        free(broker);
        return status;
    }
    *out = broker;
    return MG_OK;
}

void mg_broker_stop(struct mg_broker **broker_at)
{
    struct mg_broker *broker = *broker_at;
    if (!broker)
        return;
    *broker_at = NULL;
    pthread_mutex_lock(&broker->lock);
    __atomic_store_n(&broker->stopping, true, __ATOMIC_RELEASE);
    for (struct worker *w = broker->workers; w; w = w->next)
        mg_line_recall_locked(broker, w, true);
    while (broker->queue_head)
        mg_broker_finish_locked(broker, mg_queue_pop_locked(broker, broker->queue_head),
                                mg_answer_error(MG_E_UNAVAILABLE, "the server is stopping"));
    for (struct worker *w = broker->workers; w; w = w->next)
        if (w->job) {
            struct job *job = w->job;
            w->job = NULL;
            mg_broker_finish_locked(broker, job, mg_answer_error(MG_E_UNAVAILABLE, "the server is stopping"));
        }
    pthread_mutex_unlock(&broker->lock);
    mg_broker_wake(broker);
    pthread_join(broker->thread, NULL);
    tell_finished(broker);
    mg_pool_free(broker);
    tell_finished(broker);
    close(broker->epoll);
    close(broker->wake);
    pthread_mutex_destroy(&broker->lock);
    free(broker);
}

void mg_broker_stats(struct mg_broker *broker, struct mg_broker_stats *out)
{
    pthread_mutex_lock(&broker->lock);
    *out = (struct mg_broker_stats){
        .workers = broker->n_workers - broker->n_starting,
        .queued = broker->n_queued,
        .layers = broker->layers, /* of the last worker, or, below, what all that live have in common */
        .zygote = broker->zygote >= 0,
        .fetcher = broker->fetcher >= 0,
    };
    for (const struct worker *w = broker->workers; w; w = w->next)
        out->busy += w->phase == WORKER_BUSY || w->phase == WORKER_PARKED;
    for (const struct worker *w = broker->workers; w; w = w->next)
        if (w->phase != WORKER_STARTING)
            out->layers &= w->layers;
    snprintf(out->last_error, sizeof out->last_error, "%s", broker->last_error);
    pthread_mutex_unlock(&broker->lock);
}
