/* Remote bytes: a worker's FETCH or HTTP goes on to the fetcher under a tag of ours, and the answer back to the worker, if its run
 * is still the one that asked. A worker has a few at a time; each is answered, also when the fetcher ends. */
#include "broker_state.h"

#include "moongate/metrics.h"

#include <stdio.h>
#include <unistd.h>

static void refuse_fetch(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg, const char *why)
{
    struct mg_msg reply;
    mg_msg_init(&reply, MG_MSG_FETCHED);
    reply.id = msg->id;
    reply.tag = msg->tag;
    reply.err = MG_E_FETCH;
    snprintf(reply.text, sizeof reply.text, "%s", why);
    if (worker->sock < 0 || mg_msg_send(worker->sock, &reply, NULL, 0) != MG_OK)
        mg_pool_lose_locked(broker, worker);
}

void mg_pool_fetch_locked(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    if (worker->phase != WORKER_BUSY || msg->id != worker->run) {
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    struct fetch *slot = NULL;
    unsigned of_worker = 0;
    for (struct fetch *f = broker->fetches; f < broker->fetches + FETCHES; f++) {
        of_worker += f->tag && f->worker == worker->id;
        slot = !slot && !f->tag ? f : slot;
    }
    if (of_worker >= FETCHES_OF_WORKER) { /* ours wait for each: one that does not shall not take all places */
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    if (broker->fetcher < 0 || !slot) {
        refuse_fetch(broker, worker, msg, broker->fetcher < 0 ? "the fetcher is being restarted; try again in a second"
                                                      : "too many remote reads at once");
        return;
    }
    int batch = -1;
    if (msg->type == MG_MSG_HTTP) {
        if (msg->bytes == 0 || msg->bytes > MG_CHANNEL_RESULT) {
            mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
            return;
        }
        if (mg_memfd_of("http", (struct mg_span){(const char *)worker->channel.result, msg->bytes}, &batch, NULL)) {
            refuse_fetch(broker, worker, msg, "no memory for the requests");
            return;
        }
    }
    *slot = (struct fetch){.tag = ++broker->next_id, .worker = worker->id, .run = msg->id, .worker_tag = msg->tag};
    struct mg_msg forward = *msg;
    forward.tag = slot->tag;
    memcpy(forward.org, worker->org, sizeof forward.org); /* never what the worker says */
    mg_metric_add(MG_M_FETCHES, 1);
    if (mg_msg_send(broker->fetcher, &forward, &batch, batch >= 0) != MG_OK) {
        slot->tag = 0;
        refuse_fetch(broker, worker, msg, "the fetcher is busy; try again in a second");
    }
    if (batch >= 0)
        close(batch);
}

void mg_pool_secret_locked(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    if (worker->phase != WORKER_BUSY || msg->id != worker->run) {
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    struct mg_errmsg err = {""};
    struct mg_msg reply;
    struct mg_buf value;
    char version[65] = "-";
    int fd = -1;
    mg_buf_init(&value, 0);
    mg_msg_init(&reply, MG_MSG_FETCHED);
    reply.id = msg->id;
    reply.tag = msg->tag;
    reply.err = broker->config.secret ? broker->config.secret(broker->config.context, worker->org, msg->text, &value,
                                                              version, &err)
                                      : MG_E_NOT_FOUND;
    if (reply.err == MG_OK)
        reply.err = mg_memfd_of("secret", (struct mg_span){value.data, value.len}, &fd, &err);
    reply.bytes = fd >= 0 ? value.len : 0;
    snprintf(reply.text, sizeof reply.text, "%.*s", (int)sizeof reply.text - 1,
             reply.err == MG_OK || reply.err == MG_E_NOT_FOUND ? version : err.text);
    if (worker->sock < 0 || mg_msg_send(worker->sock, &reply, &fd, fd >= 0) != MG_OK)
        mg_pool_lose_locked(broker, worker);
    if (fd >= 0)
        close(fd);
    if (value.data)
        explicit_bzero(value.data, value.len);
    mg_buf_fini(&value);
}

void mg_pool_fetcher_lost_locked(struct mg_broker *broker)
{
    if (broker->fetcher < 0)
        return;
    close(broker->fetcher);
    broker->fetcher = -1;
    for (struct fetch *f = broker->fetches; f < broker->fetches + FETCHES; f++) {
        struct worker *worker = f->tag ? mg_pool_find(broker, f->worker) : NULL;
        struct mg_msg msg = {.id = f->run, .tag = f->worker_tag};
        if (worker && !worker->gone)
            refuse_fetch(broker, worker, &msg, "the fetcher ended while it read; try again");
        f->tag = 0;
    }
}

void mg_pool_fetcher_event(struct mg_broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    for (;;) {
        struct mg_msg msg;
        int fds[MG_MSG_MAX_FDS];
        size_t n_fds = 0;
        enum mg_err status = broker->fetcher < 0 ? MG_E_CANCELLED
                                                 : mg_msg_recv(broker->fetcher, &msg, fds, &n_fds);
        if (status == MG_E_CANCELLED)
            break;
        if (status != MG_OK) {
            mg_pool_fetcher_lost_locked(broker);
            break;
        }
        for (struct fetch *f = broker->fetches; f < broker->fetches + FETCHES; f++) {
            if (f->tag != msg.tag || !f->tag)
                continue;
            struct worker *worker = mg_pool_find(broker, f->worker);
            if (worker && worker->run == f->run && worker->sock >= 0) {
                msg.id = f->run;
                msg.tag = f->worker_tag;
                mg_metric_add(MG_M_FETCH_BYTES, (int64_t)msg.bytes);
                if (mg_msg_send(worker->sock, &msg, fds, n_fds) != MG_OK)
                    mg_pool_lose_locked(broker, worker);
            }
            f->tag = 0;
            break;
        }
        for (size_t i = 0; i < n_fds; i++)
            close(fds[i]);
    }
    pthread_mutex_unlock(&broker->lock);
}
