/* A broker with a fake zygote and fake workers: this process speaks msg.h to it over socket pairs, as badly as a test
 * wants. Single-threaded beside the broker's own thread; every wait ends by an event, or fails after 20 s. */
#ifndef TESTS_BROKER_RIG_H
#define TESTS_BROKER_RIG_H

#include "moongate/broker.h"
#include "moongate/memfd.h"
#include "moongate/sandbox.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_FAKES = 64, WAIT_MS = 20000 };

struct fake {
    uint64_t id, run;
    int sock, big; /* -1 */
    struct mg_channel channel;
};

struct rig {
    struct mg_broker *broker;
    int zygote;       /* our end */
    struct fake fakes[MAX_FAKES];
    size_t n;
    bool auto_kill;   /* surplus workers die without a word */
    bool idle_spawns; /* SPAWN is taken but the worker never says READY */
    struct mg_udf udf;
};

struct event {
    struct fake *from; /* NULL: the zygote's link */
    struct mg_msg msg;
};

/* What a waiter was told. */
struct told {
    struct mg_waiter waiter;
    int count;
    enum mg_err err;
    bool shared;
    char body[32], message[300];
};

static pthread_mutex_t told_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told_cond = PTHREAD_COND_INITIALIZER;

static void on_told(void *context, struct mg_answer *answer, bool shared)
{
    struct told *told = context;
    pthread_mutex_lock(&told_lock);
    told->count++;
    told->err = answer->err;
    told->shared = shared;
    snprintf(told->body, sizeof told->body, "%.*s", (int)answer->body.len, answer->body.data ? answer->body.data : "");
    snprintf(told->message, sizeof told->message, "%s", answer->message ? answer->message : "");
    pthread_cond_broadcast(&told_cond);
    pthread_mutex_unlock(&told_lock);
}

static inline int told_count(struct told *told)
{
    pthread_mutex_lock(&told_lock);
    int count = told->count;
    pthread_mutex_unlock(&told_lock);
    return count;
}

static void wait_told(struct told *told)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&told_lock);
    int late = 0;
    while (told->count == 0 && !late)
        late = pthread_cond_timedwait(&told_cond, &told_lock, &until);
    pthread_mutex_unlock(&told_lock);
    if (late)
        fail_msg("a waiter was never told");
}

/* ---- child runs, as child.c makes them ---- */

struct child {
    struct told told;
    struct rig *rig;
    uint64_t worker, tag;
    int refs;
};

static void child_unref(struct child *child)
{
    if (__atomic_sub_fetch(&child->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(child);
}

static void child_told(void *context, struct mg_answer *answer, bool shared)
{
    struct child *child = context;
    (void)shared;
    mg_broker_child_done(child->rig->broker, child->worker, child->tag, answer);
    child_unref(child);
}

static struct mg_job job_of(struct rig *rig, const char *key)
{
    struct mg_job job = {.udf = &rig->udf, .org = "local", .request = MG_SPAN("request"), .ttl_s = key ? 60 : 0,
                         .has_key = key != NULL};
    if (key)
        mg_sha256(key, strlen(key), &job.key);
    return job;
}

static void *rig_call(void *context, const struct mg_job *parent, uint64_t worker, uint64_t tag, struct mg_span request)
{
    struct rig *rig = context;
    struct child *child = calloc(1, sizeof *child);
    struct mg_job job = job_of(rig, NULL);
    assert_int_equal(request.len, 4);
    job.child = true;
    job.depth = parent->depth + 1;
    job.deadline_us = parent->deadline_us;
    *child = (struct child){.rig = rig, .worker = worker, .tag = tag, .refs = 2};
    child->told.waiter = (struct mg_waiter){.told = child_told, .context = child, .parent = worker};
    mg_broker_submit(rig->broker, &job, &child->told.waiter);
    return child;
}

static void rig_let_go(void *context, void *handle)
{
    struct rig *rig = context;
    struct child *child = handle;
    if (mg_broker_cancel(rig->broker, &child->told.waiter))
        child_unref(child);
    child_unref(child);
}

/* ---- the rig ---- */

static void rig_zygote(struct rig *rig)
{
    int pair[2];
    assert_int_equal(mg_msg_pair(pair, NULL), MG_OK);
    rig->zygote = pair[1];
    mg_broker_peer(rig->broker, MG_ROLE_ZYGOTE, pair[0]);
}

static void rig_start(struct rig *rig, struct mg_broker_config config)
{
    memset(rig, 0, sizeof *rig);
    rig->auto_kill = true;
    struct mg_broker_config defaults = {
        .workers = config.workers ? config.workers : 1,
        .wall_ms = config.wall_ms ? config.wall_ms : 60000,
        .cpu_ms = 600000,
        .max_result = 4 << 20,
        .queue_org = config.queue_org ? config.queue_org : 2000,
        .queue_all = config.queue_all ? config.queue_all : 4000,
        .org = "local",
        .context = rig,
        .call = rig_call,
        .let_go = rig_let_go,
        .value_get = config.value_get,
        .value_put = config.value_put,
        .watch_fd = -1,
    };
    rig->udf.refs = 1;
    strcpy(rig->udf.name, "Fake");
    assert_int_equal(mg_memfd_of("bundle", MG_SPAN("bundle"), &rig->udf.bundle_fd, NULL), MG_OK);
    assert_int_equal(mg_broker_start(&defaults, &rig->broker, NULL), MG_OK);
    rig_zygote(rig);
}

static void fake_close(struct fake *fake)
{
    if (fake->sock < 0)
        return;
    close(fake->sock);
    fake->sock = -1;
    mg_channel_close(&fake->channel);
    if (fake->big >= 0)
        close(fake->big);
    fake->big = -1;
}

static void rig_stop(struct rig *rig)
{
    mg_broker_stop(&rig->broker);
    for (size_t i = 0; i < rig->n; i++)
        fake_close(&rig->fakes[i]);
    close(rig->zygote);
    close(rig->udf.bundle_fd);
    assert_int_equal(rig->udf.refs, 1); /* all references were given back */
}

/* A worker ends; `status` as of waitpid. */
static void die(struct rig *rig, struct fake *fake, int status)
{
    struct mg_msg msg;
    fake_close(fake);
    mg_msg_init(&msg, MG_MSG_EXITED);
    msg.id = fake->id;
    msg.status = status;
    assert_int_equal(mg_msg_send(rig->zygote, &msg, NULL, 0), MG_OK);
}

static struct fake *fake_of(struct rig *rig, uint64_t id)
{
    for (size_t i = 0; i < rig->n; i++)
        if (rig->fakes[i].id == id)
            return &rig->fakes[i];
    fail_msg("the broker names a worker that it never started");
    return NULL;
}

static void on_spawn(struct rig *rig, const struct mg_msg *msg, const int *fds, size_t n_fds)
{
    struct mg_msg reply;
    assert_true(rig->n < MAX_FAKES);
    assert_int_equal(n_fds, 2);
    struct fake *fake = &rig->fakes[rig->n++];
    *fake = (struct fake){.id = msg->id, .sock = fds[0], .big = -1};
    assert_int_equal(mg_channel_open(&fake->channel, fds[1], NULL), MG_OK);
    if (rig->idle_spawns)
        return;
    mg_msg_init(&reply, MG_MSG_SPAWNED);
    reply.id = msg->id;
    reply.pid = getpid();
    assert_int_equal(mg_msg_send(rig->zygote, &reply, NULL, 0), MG_OK);
    mg_msg_init(&reply, MG_MSG_READY);
    reply.layers = MG_LAYER_MANDATORY;
    assert_int_equal(mg_msg_send(fake->sock, &reply, NULL, 0), MG_OK);
}

/* The next message of the broker that a test has to answer; false: none within `ms`. */
static bool next_within(struct rig *rig, struct event *out, int ms)
{
    for (;;) {
        struct pollfd fds[MAX_FAKES + 1] = {{.fd = rig->zygote, .events = POLLIN}};
        for (size_t i = 0; i < rig->n; i++)
            fds[i + 1] = (struct pollfd){.fd = rig->fakes[i].sock, .events = POLLIN};
        if (poll(fds, rig->n + 1, ms) <= 0)
            return false;
        for (size_t i = 0; i < rig->n + 1; i++) {
            int got[MG_MSG_MAX_FDS];
            size_t n = 0;
            if (!fds[i].revents)
                continue;
            enum mg_err status = mg_msg_recv(fds[i].fd, &out->msg, got, &n);
            if (status == MG_E_UNAVAILABLE && i > 0) { /* the broker closed the link */
                fake_close(&rig->fakes[i - 1]);
                break;
            }
            assert_int_equal(status, MG_OK);
            out->from = i ? &rig->fakes[i - 1] : NULL;
            if (out->msg.type == MG_MSG_SPAWN) {
                on_spawn(rig, &out->msg, got, n);
                break;
            }
            if (out->msg.type == MG_MSG_KILL && rig->auto_kill) {
                die(rig, fake_of(rig, out->msg.id), SIGKILL);
                break;
            }
            if (out->msg.type == MG_MSG_RUN)
                out->from->run = out->msg.id;
            if (out->msg.type == MG_MSG_BIG) {
                assert_int_equal(n, 1);
                out->from->big = got[--n];
            }
            while (n)
                close(got[--n]);
            return true;
        }
    }
}

static struct event expect(struct rig *rig, enum mg_msg_type type)
{
    struct event event = {0};
    if (!next_within(rig, &event, WAIT_MS))
        fail_msg("no %s came", mg_msg_name(type));
    if (event.msg.type != type)
        fail_msg("%s came, %s was expected", mg_msg_name(event.msg.type), mg_msg_name(type));
    return event;
}

static void send_to(struct fake *fake, enum mg_msg_type type, uint64_t id, uint64_t bytes, uint64_t tag)
{
    struct mg_msg msg;
    mg_msg_init(&msg, type);
    msg.id = id;
    msg.bytes = bytes;
    msg.tag = tag;
    assert_int_equal(mg_msg_send(fake->sock, &msg, NULL, 0), MG_OK);
}

/* Writes a result into the channel, without saying so; its size. */
static uint64_t put_result(struct fake *fake, const struct mg_run_result *result, bool inline_body)
{
    struct mg_buf packed;
    mg_buf_init(&packed, 0);
    mg_run_result_pack(result, inline_body, &packed);
    assert_true(packed.len <= MG_CHANNEL_RESULT);
    memcpy(fake->channel.result, packed.data, packed.len);
    uint64_t len = packed.len;
    mg_buf_fini(&packed);
    return len;
}

static void done(struct fake *fake, const char *body)
{
    struct mg_run_result result = {.status = 200, .mime = MG_SPAN("text/plain"), .body = mg_span(body), .max_age_s = -1};
    send_to(fake, MG_MSG_DONE, fake->run, put_result(fake, &result, true), 0);
}

static void submit(struct rig *rig, const struct mg_job *job, struct told *told)
{
    told->waiter.told = on_told;
    told->waiter.context = told;
    mg_broker_submit(rig->broker, job, &told->waiter);
}

#endif
