/* Child runs of a worker's run: started, waited for, cancelled.
 *
 * A run has a list of those that it started and whose results it has not taken. Their answers wait here until it asks:
 * a worker is sent nothing that it does not wait for. A run that waits holds no slot (it is parked). Its end, of
 * whatever kind, gives up what is left of the list; a child run that somebody else awaits goes on. */
#include "broker_state.h"

#include "moongate/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_CALLS = 1000, MAX_UNTAKEN = 64, BUDGET_FACTOR = 2 };

static struct call *find_call(const struct worker *worker, uint64_t tag)
{
    struct call *call = worker->children;
    while (call && call->tag != tag)
        call = call->next;
    return call;
}

static struct call *unlink_call(struct worker *worker, struct call *call)
{
    struct call **at = &worker->children;
    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    call->next = NULL;
    return call;
}

static void call_free(struct call *call)
{
    mg_answer_unref(&call->answer);
    free(call);
}

void mg_calls_end_locked(struct mg_broker *broker, struct worker *worker)
{
    while (worker->children) {
        struct call *call = unlink_call(worker, worker->children);
        call->next = broker->orphans;
        broker->orphans = call;
    }
    worker->awaits = AWAITS_NOTHING;
}

void mg_calls_flush(struct mg_broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    struct call *orphans = broker->orphans;
    broker->orphans = NULL;
    pthread_mutex_unlock(&broker->lock);
    while (orphans) {
        struct call *call = orphans;
        orphans = call->next;
        if (call->handle)
            broker->config.let_go(broker->config.context, call->handle);
        call_free(call);
    }
}

/* Sends the answer of a child run to the run that waits for it. Without the lock. */
static void deliver(struct mg_broker *broker, uint64_t worker_id, uint64_t run, uint64_t tag, struct mg_answer *answer)
{
    struct mg_errmsg err = {0};
    struct mg_buf packed;
    struct mg_msg msg;
    int fd = -1;
    mg_buf_init(&packed, 0);
    bool made = mg_answer_to_result(answer, &packed) == MG_OK;
    bool in_channel = made && packed.len <= MG_CHANNEL_REQUEST;
    if (made && !in_channel)
        made = mg_memfd_of("child", (struct mg_span){packed.data, packed.len}, &fd, &err) == MG_OK;
    mg_msg_init(&msg, MG_MSG_CHILD);
    msg.id = run;
    msg.tag = tag;
    msg.bytes = packed.len;
    msg.err = made ? MG_OK : MG_E_NOMEM;
    pthread_mutex_lock(&broker->lock);
    struct worker *worker = mg_pool_find(broker, worker_id);
    if (worker && worker->run == run && worker->phase == WORKER_BUSY) {
        if (in_channel)
            memcpy(worker->channel.request, packed.data, packed.len); /* it has copied its own request out */
        if (worker->sock < 0 || mg_msg_send(worker->sock, &msg, &fd, fd >= 0) != MG_OK)
            mg_pool_lose_locked(broker, worker);
    }
    pthread_mutex_unlock(&broker->lock);
    if (fd >= 0)
        close(fd);
    mg_buf_fini(&packed);
}

/* Results that were not taken lie in the front: within bounds. */
static struct mg_answer *within_budget_locked(struct mg_broker *broker, const struct worker *worker,
                                              struct mg_answer *answer)
{
    uint64_t bytes = mg_answer_bytes(answer);
    for (const struct call *call = worker->children; call; call = call->next)
        bytes += call->answer ? mg_answer_bytes(call->answer) : 0;
    if (bytes <= broker->config.max_result * BUDGET_FACTOR)
        return mg_answer_ref(answer);
    return mg_answer_error(MG_E_UDF_MEMORY,
                           "the results of child runs that were not taken yet are too large together: wait for each "
                           "before more are started (max_workers)");
}

void mg_broker_child_done(struct mg_broker *broker, uint64_t worker_id, uint64_t tag, struct mg_answer *answer)
{
    void *handle = NULL;
    struct call *taken = NULL;
    uint64_t run = 0;
    pthread_mutex_lock(&broker->lock);
    struct worker *worker = mg_pool_find(broker, worker_id);
    struct call *call = worker ? find_call(worker, tag) : NULL;
    if (call && !call->answer) {
        handle = call->handle;
        call->handle = NULL;
        call->answer = within_budget_locked(broker, worker, answer);
        if (worker->awaits == AWAITS_CHILD && (worker->await_tag == 0 || worker->await_tag == tag)) {
            worker->awaits = AWAITS_NOTHING;
            mg_pool_set_phase(broker, worker, WORKER_BUSY);
            taken = unlink_call(worker, call);
            run = worker->run;
        }
    }
    pthread_mutex_unlock(&broker->lock);
    if (handle)
        broker->config.let_go(broker->config.context, handle);
    if (taken) {
        deliver(broker, worker_id, run, tag, taken->answer);
        call_free(taken);
    }
}

/* Gives up the lock while the engine starts the run, which may report at once. */
static void start(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg, struct mg_buf *request)
{
    struct mg_job parent = worker->job->ask;
    uint64_t id = worker->id, tag = msg->tag;
    bool too_many = ++worker->calls > MAX_CALLS;
    parent.deadline_us = worker->deadline_us;
    parent.worker = id;
    __atomic_add_fetch(&parent.udf->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&broker->lock);
    void *handle = NULL;
    if (too_many) {
        struct mg_answer *refusal = mg_answer_error(MG_E_TOO_MANY, "a run may call at most 1,000 other runs");
        mg_broker_child_done(broker, id, tag, refusal);
        mg_answer_unref(&refusal);
    } else {
        handle = broker->config.call(broker->config.context, &parent, id, tag,
                                     (struct mg_span){request->data, request->len});
    }
    mg_udf_unref(&parent.udf);
    pthread_mutex_lock(&broker->lock);
    worker = mg_pool_find(broker, id);
    struct call *call = worker ? find_call(worker, tag) : NULL;
    if (call && !call->answer) {
        call->handle = handle;
    } else if (handle) { /* it is done already, or its parent is gone */
        pthread_mutex_unlock(&broker->lock);
        broker->config.let_go(broker->config.context, handle);
        pthread_mutex_lock(&broker->lock);
    }
}

void mg_calls_start(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    unsigned untaken = 0;
    for (const struct call *call = worker->children; call; call = call->next)
        untaken++;
    struct call *call = calloc(1, sizeof *call);
    if (!call || worker->phase != WORKER_BUSY || msg->id != worker->run || !worker->job || msg->tag == 0 ||
        msg->bytes > MG_CHANNEL_RESULT || untaken >= MAX_UNTAKEN || find_call(worker, msg->tag)) {
        free(call);
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    call->tag = msg->tag;
    call->next = worker->children;
    worker->children = call;
    struct mg_buf request;
    mg_buf_init(&request, 0);
    mg_buf_put(&request, worker->channel.result, msg->bytes);
    if (msg->type == MG_MSG_CALL) { /* it waits: its slot is free from here on */
        worker->awaits = AWAITS_CHILD;
        worker->await_tag = msg->tag;
        mg_pool_set_phase(broker, worker, WORKER_PARKED);
    } else {
        struct mg_msg reply;
        mg_msg_init(&reply, MG_MSG_ACK);
        reply.id = msg->id;
        reply.tag = msg->tag;
        if (worker->sock < 0 || mg_msg_send(worker->sock, &reply, NULL, 0) != MG_OK)
            mg_pool_lose_locked(broker, worker);
    }
    start(broker, worker, msg, &request);
    mg_buf_fini(&request);
}

void mg_calls_await(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    struct call *done = NULL;
    bool some = false;
    if (worker->phase != WORKER_BUSY || msg->id != worker->run || !worker->job) {
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    for (struct call *call = worker->children; call; call = call->next)
        if (msg->tag == 0 || call->tag == msg->tag) {
            some = true;
            done = call->answer ? call : done; /* the oldest that is done */
        }
    if (!some) {
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    if (!done) {
        worker->awaits = AWAITS_CHILD;
        worker->await_tag = msg->tag;
        mg_pool_set_phase(broker, worker, WORKER_PARKED);
        return;
    }
    uint64_t id = worker->id, run = worker->run;
    unlink_call(worker, done);
    pthread_mutex_unlock(&broker->lock);
    deliver(broker, id, run, done->tag, done->answer);
    call_free(done);
    pthread_mutex_lock(&broker->lock);
}

void mg_calls_cancel_locked(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    struct call *call = msg->id == worker->run ? find_call(worker, msg->tag) : NULL;
    if (call) {
        unlink_call(worker, call)->next = broker->orphans;
        broker->orphans = call;
    }
}

/* The code of another UDF, for its modules. */
void mg_calls_code(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    if (worker->phase != WORKER_BUSY || msg->id != worker->run || !worker->job) {
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    struct mg_errmsg err = {0};
    struct mg_msg reply;
    struct mg_udf *from = worker->job->ask.udf, *udf = NULL;
    uint64_t id = worker->id;
    char org[64];
    memcpy(org, worker->org, sizeof org);
    __atomic_add_fetch(&from->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&broker->lock);
    enum mg_err status = MG_E_UNAVAILABLE;
    if (broker->config.resolve)
        status = broker->config.resolve(broker->config.context, org, from, mg_span(msg->url), &udf, &err);
    if (status == MG_OK && udf->bundle_fd < 0)
        status = mg_err_set(&err, MG_E_UDF_BROKEN, "%s: %s", udf->name, udf->broken ? udf->broken : "it is broken");
    mg_msg_init(&reply, MG_MSG_CODED);
    reply.id = msg->id;
    reply.tag = msg->tag;
    reply.err = status;
    if (status == MG_OK) {
        char hex[65];
        mg_hash_hex(&udf->code, hex);
        reply.bytes = udf->bundle_bytes;
        snprintf(reply.text, sizeof reply.text, "%s", hex);
        snprintf(reply.url, sizeof reply.url, "%s", udf->name);
    } else {
        snprintf(reply.text, sizeof reply.text, "%.350s", err.text);
    }
    pthread_mutex_lock(&broker->lock);
    worker = mg_pool_find(broker, id);
    if (worker && worker->run == msg->id && worker->phase == WORKER_BUSY &&
        (worker->sock < 0 || mg_msg_send(worker->sock, &reply, udf ? &udf->bundle_fd : NULL, status == MG_OK) != MG_OK))
        mg_pool_lose_locked(broker, worker);
    mg_udf_unref(&from);
    mg_udf_unref(&udf);
}
