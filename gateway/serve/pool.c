/* The pool of workers: starting, handing out runs, their messages, budgets, death.
 *
 * A worker that dies without being killed by us is told apart by what the zygote says of it: a signal of its own
 * makes that UDF's error; a SIGKILL from a stranger, or the zygote's end, has its run tried once more. The front
 * reads a result's head once, by copy, checks it, and never trusts the channel afterwards. */
#include "broker_state.h"

#include "moongate/log.h"
#include "moongate/metrics.h"
#include "moongate/worker.h"
#include "moongate/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Waiting parents are bounded by 4 x workers; each may have a chain of children, which are never held back: with a
 * bound on them the parents could wait for each other for ever. */
enum { GRACE_MS = 250, ORPHAN_MS = 200, START_MS = 20000, QUEUE_MS = 60000, PARK_FACTOR = 4, SPARE_US = 60000000,
       LINE_US = 2000 };

struct worker *mg_pool_find(struct mg_broker *broker, uint64_t id)
{
    struct worker *worker = broker->workers;
    while (worker && worker->id != id)
        worker = worker->next;
    return worker;
}

static void close_fds(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

void mg_pool_set_phase(struct mg_broker *broker, struct worker *worker, enum worker_phase phase)
{
    if (phase == WORKER_PARKED)
        broker->last_call_us = mg_now_us();
    broker->n_starting += (phase == WORKER_STARTING) - (worker->phase == WORKER_STARTING);
    broker->n_active += (phase == WORKER_BUSY) - (worker->phase == WORKER_BUSY);
    broker->n_parked += (phase == WORKER_PARKED) - (worker->phase == WORKER_PARKED);
    worker->phase = phase;
    mg_metric_set(MG_M_WORKERS_BUSY, broker->n_active);
}

/* False: the zygote's buffer is full; the tick tries again. Without a zygote there is nobody to tell. */
static bool send_kill_locked(struct mg_broker *broker, const struct worker *worker)
{
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_KILL);
    msg.id = worker->id;
    return broker->zygote < 0 || mg_msg_send(broker->zygote, &msg, NULL, 0) == MG_OK;
}

/* The worker takes no more messages: it is dead, or does not read (then it is ended). Its end is seen as end of file,
 * and by what the zygote says; its run is tried once more. */
void mg_pool_lose_locked(struct mg_broker *broker, struct worker *worker)
{
    if (worker->gone)
        return;
    worker->gone = true;
    mg_line_recall_locked(broker, worker, false);
    if (worker->sock >= 0)
        shutdown(worker->sock, SHUT_RDWR);
    if (!worker->killed) /* else said already */
        worker->kill_unsent = !send_kill_locked(broker, worker);
}

/* ---- starting ---------------------------------------------------------------------------------------- */

static void spawn_locked(struct mg_broker *broker, const char *org)
{
    struct mg_errmsg err = {0};
    struct worker *worker = calloc(1, sizeof *worker);
    MG_ASSERT(worker);
    worker->id = broker->next_id++;
    worker->sock = worker->big_fd = -1;
    worker->since_us = mg_now_us();
    snprintf(worker->org, sizeof worker->org, "%s", org);
    int pair[2];
    if (mg_channel_open(&worker->channel, -1, &err) != MG_OK) {
        mg_log_error("worker: %s", err.text);
        free(worker);
        return;
    }
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_SPAWN);
    msg.id = worker->id;
    snprintf(msg.org, sizeof msg.org, "%s", org);
    if (mg_msg_pair(pair, &err) != MG_OK) {
        mg_log_error("worker: %s", err.text);
        goto fail;
    }
    bool sent = mg_msg_send(broker->zygote, &msg, (int[]){pair[1], worker->channel.fd}, 2) == MG_OK;
    close(pair[1]);
    worker->sock = pair[0];
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = worker->id};
    if (!sent || epoll_ctl(broker->epoll, EPOLL_CTL_ADD, worker->sock, &event) < 0)
        goto fail;
    worker->next = broker->workers;
    broker->workers = worker;
    worker->phase = WORKER_IDLE;
    mg_pool_set_phase(broker, worker, WORKER_STARTING);
    mg_metric_set(MG_M_WORKERS, ++broker->n_workers);
    mg_metric_add(MG_M_WORKERS_STARTED, 1);
    return;
fail:
    if (worker->sock >= 0)
        close(worker->sock);
    mg_channel_close(&worker->channel);
    free(worker);
}

/* ---- lines ------------------------------------------------------------------------------------------- */

static struct mg_slot *slot_behind(const struct worker *worker, unsigned i)
{
    return &worker->channel.slots[(worker->slot + 1 + i) % MG_SLOTS];
}

/* From the last to the first, up to one that the worker has. `lost`: the worker runs nothing any more. */
void mg_line_recall_locked(struct mg_broker *broker, struct worker *worker, bool lost)
{
    while (worker->n_line && (mg_slot_recall(slot_behind(worker, worker->n_line - 1)) || lost))
        mg_broker_unline_locked(broker, worker->line[--worker->n_line]);
}

void mg_line_recall_all_locked(struct mg_broker *broker)
{
    for (struct worker *w = broker->workers; w && broker->n_lined; w = w->next)
        mg_line_recall_locked(broker, w, false);
}

/* Whether what is done by this worker next may be put into its slots now. */
static bool takes_into_line(const struct worker *worker, const struct job *job, int64_t now)
{
    const struct job *current = worker->job;
    return worker->phase == WORKER_BUSY && current && !worker->killed && !worker->gone && !worker->retire &&
           worker->n_line < LINE && worker->runs + worker->n_line < RETIRE_RUNS && !current->ask.child &&
           mg_hash_eq(&current->ask.udf->code, &job->ask.udf->code) && strcmp(worker->org, job->ask.org) == 0 &&
           now - current->started_us < LINE_US;
}

/* False: the queue's head waits there. */
static bool line_up_locked(struct mg_broker *broker, struct job *job)
{
    if (job->ask.child || job->request.len > MG_SLOT_REQUEST)
        return false;
    int64_t now = mg_now_us();
    struct worker *best = NULL;
    for (struct worker *w = broker->workers; w; w = w->next)
        if (takes_into_line(w, job, now) && (!best || w->n_line < best->n_line))
            best = w;
    if (!best)
        return false;
    mg_queue_pop_locked(broker, job);
    broker->n_queued++; /* it waits all the same */
    broker->n_lined++;
    job->lined = true;
    job->worker = best;
    job->run = ++broker->next_id;
    mg_slot_put(slot_behind(best, best->n_line), job->run, broker->generation,
                (struct mg_span){job->request.data, job->request.len});
    best->line[best->n_line++] = job;
    return true;
}

/* ---- handing out ------------------------------------------------------------------------------------- */

/* Whether the worker has the bundle; moves it to the front of the list that the worker keeps in the same way. */
static bool has_bundle(struct worker *worker, const struct mg_hash *code)
{
    size_t i = 0;
    while (i < worker->n_bundles && !mg_hash_eq(&worker->bundles[i], code))
        i++;
    bool known = i < worker->n_bundles;
    if (!known) {
        if (worker->n_bundles < BUNDLES)
            worker->n_bundles++;
        i = worker->n_bundles - 1;
    }
    memmove(worker->bundles + 1, worker->bundles, i * sizeof *worker->bundles);
    worker->bundles[0] = *code;
    return known;
}

/* The job is what the worker does from now on. */
static void begin_locked(struct mg_broker *broker, struct worker *worker, struct job *job)
{
    int64_t now = mg_now_us();
    worker->run = job->run;
    job->worker = worker;
    job->started_us = now;
    worker->job = job;
    worker->runs++;
    worker->calls = 0;
    if (worker->big_fd >= 0) { /* of a run that asked for it and did not use it */
        close(worker->big_fd);
        worker->big_fd = -1;
    }
    int64_t wall_ms = job->ask.wall_ms ? job->ask.wall_ms : broker->config.wall_ms;
    worker->deadline_us = now + wall_ms * 1000;
    if (job->ask.deadline_us && job->ask.deadline_us < worker->deadline_us)
        worker->deadline_us = job->ask.deadline_us;
    worker->cpu_start_us = -1;
    mg_pool_set_phase(broker, worker, WORKER_BUSY);
    mg_metric_add(MG_M_RUNS, 1);
}

static void hand_over_locked(struct mg_broker *broker, struct worker *worker, struct job *job, bool with_bundle)
{
    struct mg_msg msg;
    if (!worker->n_line) /* else it is the same run again */
        worker->slot = (worker->slot + 1) % MG_SLOTS;
    mg_msg_init(&msg, MG_MSG_RUN);
    msg.id = job->run = ++broker->next_id;
    msg.bytes = job->request.len;
    msg.offset = broker->generation;
    msg.tag = worker->slot + 1;
    memcpy(worker->channel.request, job->request.data, job->request.len);
    bool attach = !has_bundle(worker, &job->ask.udf->code) || with_bundle;
    begin_locked(broker, worker, job);
    if (mg_msg_send(worker->sock, &msg, &job->ask.udf->bundle_fd, attach) != MG_OK)
        mg_pool_lose_locked(broker, worker);
}

/* After a run: the worker goes on with the first of its line if it has taken that; else all of it goes back. */
static bool go_on_locked(struct mg_broker *broker, struct worker *worker)
{
    if (!worker->n_line || worker->killed || worker->gone)
        return false;
    if (mg_slot_recall(slot_behind(worker, 0))) {
        mg_line_recall_locked(broker, worker, true); /* it takes none without the first */
        return false;
    }
    struct job *job = worker->line[0];
    memmove(worker->line, worker->line + 1, --worker->n_line * sizeof *worker->line);
    worker->slot = (worker->slot + 1) % MG_SLOTS;
    job->lined = false;
    broker->n_lined--;
    mg_metric_set(MG_M_QUEUE, --broker->n_queued);
    begin_locked(broker, worker, job);
    return true;
}

/* Whether one more process may be started for the job. */
static bool may_spawn_locked(const struct mg_broker *broker, const struct job *job)
{
    unsigned n = broker->config.workers;
    return broker->n_workers < n * (1 + PARK_FACTOR * (job->ask.child ? MG_MAX_DEPTH : 1));
}

bool mg_pool_dispatch_locked(struct mg_broker *broker)
{
    bool handed = false;
    if (broker->zygote < 0 || broker->stopping)
        return false;
    if (broker->n_lined && broker->n_active < broker->config.workers)
        mg_line_recall_all_locked(broker); /* another worker can have them */
    for (struct job *job = broker->queue_head, *next; job; job = next) {
        next = job->next;
        if (broker->n_active >= broker->config.workers) {
            if (!line_up_locked(broker, job)) /* nobody goes before the queue's head */
                break;
            handed = true;
            continue;
        }
        if (!job->ask.child && broker->n_parked >= broker->config.workers * PARK_FACTOR)
            continue;
        struct worker *idle = NULL, *foreign = NULL;
        unsigned starting = 0;
        for (struct worker *w = broker->workers; w; w = w->next) {
            bool ours = strcmp(w->org, job->ask.org) == 0;
            bool free_now = w->phase == WORKER_IDLE && !w->gone && !w->killed;
            if (free_now && ours)
                idle = w;
            else if (free_now)
                foreign = w;
            starting += w->phase == WORKER_STARTING && ours;
        }
        if (idle) {
            hand_over_locked(broker, idle, mg_queue_pop_locked(broker, job), false);
            handed = true;
        } else if (starting == 0 && mg_now_us() >= broker->spawn_after_us) {
            if (may_spawn_locked(broker, job))
                spawn_locked(broker, job->ask.org);
            else if (foreign)
                mg_pool_kill_locked(broker, foreign, KILL_STOP);
        }
    }
    return handed;
}

/* ---- death ------------------------------------------------------------------------------------------- */

void mg_pool_kill_locked(struct mg_broker *broker, struct worker *worker, enum kill_reason reason)
{
    if (worker->killed || worker->phase == WORKER_DEAD)
        return;
    worker->killed = reason;
    mg_line_recall_locked(broker, worker, false);
    worker->kill_unsent = !send_kill_locked(broker, worker);
}

static struct mg_answer *death_answer(const struct mg_broker *broker, const struct worker *worker)
{
    char text[256];
    switch (worker->killed) {
    case KILL_DEADLINE:
    case KILL_CPU:
        mg_metric_add(MG_M_DEADLINES, 1);
        if (worker->killed == KILL_CPU)
            snprintf(text, sizeof text, "the UDF used more than its %lld s of CPU and was ended",
                     (long long)(broker->config.cpu_ms / 1000));
        else
            snprintf(text, sizeof text, "the UDF ran longer than its time limit of %.3g s and was ended",
                     (double)(worker->deadline_us - worker->job->started_us) / 1e6);
        return mg_answer_error(MG_E_TIMEOUT, text);
    case KILL_OUTPUT:
        snprintf(text, sizeof text, "the encoded answer is larger than the limit of %zu bytes",
                 broker->config.max_result);
        return mg_answer_error(MG_E_UDF_OUTPUT, text);
    case KILL_PROTOCOL:
        return mg_answer_error(MG_E_UDF_CRASHED, "the UDF's worker sent something malformed and was ended");
    case KILL_CANCELLED:
        return mg_answer_error(MG_E_CANCELLED, "nobody waited for the run any more");
    case KILL_STOP:
        return mg_answer_error(MG_E_UNAVAILABLE, "the worker was stopped");
    case KILL_NOT:
        break;
    }
    if (worker->exited && WIFEXITED(worker->status) && WEXITSTATUS(worker->status) == MG_WORKER_EXIT_MEMORY)
        return mg_answer_error(MG_E_UDF_MEMORY, "the UDF used more than its memory, and its worker was ended");
    if (worker->exited && WIFSIGNALED(worker->status))
        snprintf(text, sizeof text, "the UDF ended its worker: signal %d (%s)", WTERMSIG(worker->status),
                 strsignal(WTERMSIG(worker->status)));
    else if (worker->exited)
        snprintf(text, sizeof text, "the UDF ended its worker (exit status %d)", WEXITSTATUS(worker->status));
    else
        snprintf(text, sizeof text, "the worker of the run was lost, twice");
    return mg_answer_error(MG_E_UDF_CRASHED, text);
}

/* Whether the death has nothing to do with the run: then the run may be tried once more. */
static bool is_strangers_doing(const struct worker *worker)
{
    return worker->killed == KILL_NOT &&
           (!worker->exited || (WIFSIGNALED(worker->status) && WTERMSIG(worker->status) == SIGKILL));
}

/* Frees the worker; its run is answered or tried again. Its child runs are let go later, without the lock. */
static void bury_locked(struct mg_broker *broker, struct worker *worker)
{
    struct job *job = worker->job;
    mg_line_recall_locked(broker, worker, true);
    mg_calls_end_locked(broker, worker);
    mg_values_end_locked(broker, worker);
    if (worker->phase == WORKER_STARTING && !worker->lost && !broker->stopping) {
        broker->spawn_failures++;
        int64_t wait_ms = 50LL << (broker->spawn_failures < 8 ? broker->spawn_failures : 8);
        broker->spawn_after_us = mg_now_us() + wait_ms * 1000;
        if (worker->killed == KILL_STOP || (!worker->exited && !worker->killed))
            snprintf(broker->last_error, sizeof broker->last_error, "a worker was not ready within %d s of its start",
                     START_MS / 1000);
        else if (!worker->killed)
            snprintf(broker->last_error, sizeof broker->last_error,
                     WIFSIGNALED(worker->status) ? "a worker ended at its start with signal %d"
                                                 : "a worker ended at its start with status %d",
                     WIFSIGNALED(worker->status) ? WTERMSIG(worker->status) : WEXITSTATUS(worker->status));
    }
    if (job && broker->stopping)
        mg_broker_finish_locked(broker, job, mg_answer_error(MG_E_UNAVAILABLE, "the server is stopping"));
    else if (job && is_strangers_doing(worker) && job->tries == 0)
        mg_broker_requeue_locked(broker, job);
    else if (job)
        mg_broker_finish_locked(broker, job, death_answer(broker, worker));
    mg_pool_set_phase(broker, worker, WORKER_DEAD);
    struct worker **at = &broker->workers;
    while (*at != worker)
        at = &(*at)->next;
    *at = worker->next;
    mg_metric_set(MG_M_WORKERS, --broker->n_workers);
    if (worker->sock >= 0)
        close(worker->sock);
    if (worker->big_fd >= 0)
        close(worker->big_fd);
    mg_channel_close(&worker->channel);
    free(worker);
}

void mg_pool_zygote_lost_locked(struct mg_broker *broker)
{
    if (broker->zygote < 0)
        return;
    close(broker->zygote);
    broker->zygote = -1;
    for (struct worker *w = broker->workers; w; w = w->next)
        w->gone = w->lost = true; /* they die with it; the tick buries them */
    snprintf(broker->last_error, sizeof broker->last_error, "the zygote ended and is being started again");
}

void mg_pool_free(struct mg_broker *broker)
{
    while (broker->workers)
        bury_locked(broker, broker->workers);
    mg_calls_flush(broker);
    if (broker->zygote >= 0)
        close(broker->zygote);
    if (broker->fetcher >= 0)
        close(broker->fetcher);
}

/* ---- results ----------------------------------------------------------------------------------------- */

/* Copies the result out of the channel and checks it. NULL: malformed. */
static struct mg_answer *read_result(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    struct mg_result_head head;
    if (msg->tag && msg->tag != worker->slot + 1)
        return NULL;
    const uint8_t *at = msg->tag ? worker->channel.slots[worker->slot].result : worker->channel.result;
    size_t room = msg->tag ? MG_SLOT_RESULT : MG_CHANNEL_RESULT;
    memcpy(&head, at, sizeof head);
    if (memcmp(head.magic, "MGRESLT1", 8) != 0 || head.meta_bytes > room - sizeof head ||
        head.body_bytes > broker->config.max_result)
        return NULL;
    uint64_t offset = mg_result_body_offset(&head);
    uint64_t inline_bytes = msg->big ? sizeof head + head.meta_bytes : offset + head.body_bytes;
    if (inline_bytes > room || (msg->big && worker->big_fd < 0))
        return NULL;
    char *memory = malloc(inline_bytes);
    if (!memory)
        return NULL;
    memcpy(memory, at, inline_bytes);
    memcpy(memory, &head, sizeof head); /* what was checked, whatever the worker wrote since */
    struct mg_run_result result;
    if (mg_run_result_unpack((struct mg_span){memory, inline_bytes}, &result) != MG_OK) {
        free(memory);
        return NULL;
    }
    if (result.gzip && (result.identity_bytes < 0 || (uint64_t)result.identity_bytes > broker->config.max_result)) {
        free(memory);
        return NULL;
    }
    struct mg_answer *answer = mg_answer_from_result(&result);
    worker->retire |= result.retire;
    if (!msg->big) {
        mg_answer_set_body(answer, memory, (struct mg_span){memory + offset, head.body_bytes});
        return answer;
    }
    free(memory);
    /* A body that was compressed on the way takes less than what was asked for. */
    if (head.body_bytes == 0 || head.body_bytes > worker->big_bytes ||
        !mg_memfd_check(worker->big_fd, worker->big_bytes, true) ||
        mg_answer_set_fd(answer, worker->big_fd, 0, head.body_bytes) != MG_OK) {
        mg_answer_unref(&answer);
        return NULL;
    }
    worker->big_fd = -1;
    return answer;
}

/* Gives up the lock while a large answer is hashed; true when the worker's run is still this one. */
static bool hash_unlocked(struct mg_broker *broker, struct worker **worker, struct mg_answer *answer)
{
    uint64_t id = (*worker)->id, run = (*worker)->run;
    pthread_mutex_unlock(&broker->lock);
    bool hashed = mg_answer_hash(answer) == MG_OK;
    pthread_mutex_lock(&broker->lock);
    *worker = mg_pool_find(broker, id); /* stopping may have taken its job away */
    bool same = *worker && (*worker)->run == run && (*worker)->phase == WORKER_BUSY && (*worker)->job;
    if (same && !hashed)
        mg_pool_kill_locked(broker, *worker, KILL_PROTOCOL);
    return same && hashed;
}

static void on_done(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    if (worker->phase != WORKER_BUSY || msg->id != worker->run || !worker->job) {
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    struct mg_answer *answer = read_result(broker, worker, msg);
    if (!answer) {
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    if (answer->fd >= 0 && !hash_unlocked(broker, &worker, answer)) {
        mg_answer_unref(&answer);
        return;
    }
    struct job *job = worker->job;
    if (answer->err == MG_E_CONFLICT && job->resent == 0) {
        /* It has dropped the bundle: the same run again, with the bundle. */
        mg_answer_unref(&answer);
        job->resent++;
        hand_over_locked(broker, worker, job, true);
        return;
    }
    worker->job = NULL;
    mg_calls_end_locked(broker, worker); /* what it did not wait for */
    mg_values_end_locked(broker, worker);
    mg_broker_finish_locked(broker, job, answer);
    if (worker->big_fd >= 0) {
        close(worker->big_fd);
        worker->big_fd = -1;
    }
    unsigned able = 0;
    for (const struct worker *w = broker->workers; w; w = w->next)
        able += w->phase != WORKER_PARKED && !w->killed && !w->gone;
    /* While runs call others there is one for each that waits: the next parks soon, and a start costs milliseconds. */
    bool calls = broker->last_call_us && mg_now_us() - broker->last_call_us < SPARE_US;
    bool surplus = able > broker->config.workers * (calls ? 2 : 1);
    bool leave = worker->retire || worker->runs >= RETIRE_RUNS || surplus;
    if (leave)
        mg_line_recall_locked(broker, worker, false);
    if (go_on_locked(broker, worker))
        return;
    mg_pool_set_phase(broker, worker, WORKER_IDLE);
    if (leave)
        mg_pool_kill_locked(broker, worker, KILL_STOP);
}

static void on_need_locked(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    struct mg_errmsg err = {0};
    if (worker->phase != WORKER_BUSY || msg->id != worker->run || worker->big_fd >= 0) {
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    if (msg->bytes == 0 || msg->bytes > broker->config.max_result) {
        mg_pool_kill_locked(broker, worker, KILL_OUTPUT);
        return;
    }
    if (mg_memfd_new("result", msg->bytes, false, &worker->big_fd, &err) != MG_OK) {
        mg_log_error("broker: %s", err.text);
        mg_pool_kill_locked(broker, worker, KILL_OUTPUT);
        return;
    }
    worker->big_bytes = msg->bytes;
    struct mg_msg reply;
    mg_msg_init(&reply, MG_MSG_BIG);
    reply.id = msg->id;
    reply.bytes = msg->bytes;
    if (mg_msg_send(worker->sock, &reply, &worker->big_fd, 1) != MG_OK)
        mg_pool_lose_locked(broker, worker);
}

/* ---- events ------------------------------------------------------------------------------------------ */

static void on_ready_locked(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    if (worker->phase != WORKER_STARTING || (msg->layers & MG_LAYER_MANDATORY) != MG_LAYER_MANDATORY) {
        snprintf(broker->last_error, sizeof broker->last_error, "a worker lacks a layer of its sandbox");
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    worker->layers = msg->layers;
    broker->layers = msg->layers;
    broker->spawn_failures = 0;
    broker->last_error[0] = 0;
    mg_pool_set_phase(broker, worker, WORKER_IDLE);
    worker->has_clock = worker->pid > 0 && clock_getcpuclockid(worker->pid, &worker->cpu_clock) == 0;
}

static void on_message(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    switch (msg->type) {
    case MG_MSG_READY:
        broker->tick_due = true; /* room for the next to start */
        on_ready_locked(broker, worker, msg);
        break;
    case MG_MSG_DONE:
        on_done(broker, worker, msg);
        break;
    case MG_MSG_NEED:
        on_need_locked(broker, worker, msg);
        break;
    case MG_MSG_CALL:
    case MG_MSG_START:
        mg_calls_start(broker, worker, msg);
        break;
    case MG_MSG_AWAIT:
        mg_calls_await(broker, worker, msg);
        break;
    case MG_MSG_CANCEL:
        mg_calls_cancel_locked(broker, worker, msg);
        break;
    case MG_MSG_CODE:
        mg_calls_code(broker, worker, msg);
        break;
    case MG_MSG_ASK:
        mg_values_ask(broker, worker, msg);
        break;
    case MG_MSG_KEEP:
        mg_values_keep(broker, worker, msg);
        break;
    case MG_MSG_SECRET:
        mg_pool_secret_locked(broker, worker, msg);
        break;
    case MG_MSG_FETCH:
    case MG_MSG_HTTP:
        mg_pool_fetch_locked(broker, worker, msg);
        break;
    default:
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
    }
}

/* One message; what it says of the worker may free it. Gives MG_OK, or why none came. */
static enum mg_err receive(struct mg_broker *broker, uint64_t worker_id)
{
    struct mg_msg msg;
    int fds[MG_MSG_MAX_FDS];
    size_t n_fds = 0;
    struct worker *worker = mg_pool_find(broker, worker_id);
    enum mg_err status = worker && worker->sock >= 0 ? mg_msg_recv(worker->sock, &msg, fds, &n_fds)
                                                     : MG_E_CANCELLED;
    if (status == MG_OK) {
        close_fds(fds, n_fds); /* workers have nothing to give */
        on_message(broker, worker, &msg);
    } else if (status != MG_E_CANCELLED) {
        broker->tick_due = true;
        if (status == MG_E_INVALID)
            mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        mg_pool_lose_locked(broker, worker); /* one that only closed its link shall not run on */
        worker->gone = true;
        worker->since_us = mg_now_us();
        close(worker->sock);
        worker->sock = -1;
        mg_calls_end_locked(broker, worker);
        mg_values_end_locked(broker, worker);
        if (worker->exited)
            bury_locked(broker, worker);
    }
    return status;
}

/* One message an event: what else there is makes another event, and mostly there is nothing. But a worker that has taken
 * a run has ended, or will at once say so of, the one before. */
void mg_pool_event(struct mg_broker *broker, uint64_t worker_id)
{
    pthread_mutex_lock(&broker->lock);
    unsigned left = MG_SLOTS;
    enum mg_err status;
    const struct worker *worker;
    do {
        status = receive(broker, worker_id);
        worker = mg_pool_find(broker, worker_id);
    } while (status == MG_OK && --left && worker && worker->phase == WORKER_BUSY && worker->n_line &&
             __atomic_load_n(&slot_behind(worker, 0)->state, __ATOMIC_RELAXED) == MG_SLOT_TAKEN);
    mg_pool_dispatch_locked(broker);
    pthread_mutex_unlock(&broker->lock);
}

void mg_pool_zygote_event(struct mg_broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    while (broker->zygote >= 0) {
        struct mg_msg msg;
        int fds[MG_MSG_MAX_FDS];
        size_t n_fds = 0;
        enum mg_err status = mg_msg_recv(broker->zygote, &msg, fds, &n_fds);
        if (status == MG_E_CANCELLED)
            break;
        if (status != MG_OK) {
            mg_pool_zygote_lost_locked(broker);
            break;
        }
        close_fds(fds, n_fds);
        struct worker *worker = mg_pool_find(broker, msg.id);
        if (worker && msg.type == MG_MSG_SPAWNED) {
            worker->pid = (pid_t)msg.pid;
            worker->has_clock = clock_getcpuclockid(worker->pid, &worker->cpu_clock) == 0;
        } else if (worker && msg.type == MG_MSG_EXITED) {
            worker->exited = true;
            worker->status = msg.status;
            if (worker->sock < 0)
                bury_locked(broker, worker);
        }
    }
    mg_pool_dispatch_locked(broker);
    pthread_mutex_unlock(&broker->lock);
}

/* The budgets of a running worker. */
static void check_budget_locked(struct mg_broker *broker, struct worker *worker, int64_t now)
{
    if (now >= worker->deadline_us) {
        mg_pool_kill_locked(broker, worker, KILL_DEADLINE);
        return;
    }
    struct job *job = worker->job;
    if (job->abandoned_us && now - job->abandoned_us > GRACE_MS * 1000LL && !worker->killed) {
        mg_metric_add(MG_M_RUNS_CANCELLED, 1);
        /* Out of the table first: a new request must not wait for a run that is being killed. */
        mg_flight_remove_locked(broker, job);
        job->ask.has_key = false;
        mg_pool_kill_locked(broker, worker, KILL_CANCELLED);
        return;
    }
    struct timespec cpu;
    bool first = worker->cpu_start_us < 0; /* read by the first tick of a run: most runs end before it */
    if (worker->phase != WORKER_BUSY || !worker->has_clock || (!first && now - job->started_us < 1000000) ||
        clock_gettime(worker->cpu_clock, &cpu) != 0)
        return;
    int64_t cpu_us = (int64_t)cpu.tv_sec * 1000000 + cpu.tv_nsec / 1000;
    if (first)
        worker->cpu_start_us = cpu_us;
    else if (cpu_us - worker->cpu_start_us > broker->config.cpu_ms * 1000)
        mg_pool_kill_locked(broker, worker, KILL_CPU);
}

/* Runs that waited too long for a worker, or whose parent has no time left. */
static void expire_locked(struct mg_broker *broker, int64_t now)
{
    for (struct job *job = broker->queue_head, *next; job; job = next) {
        next = job->next;
        bool late = job->ask.deadline_us && now >= job->ask.deadline_us;
        if (!late && now - job->queued_us < QUEUE_MS * 1000LL)
            continue;
        char text[400];
        snprintf(text, sizeof text, "no worker was free within %d s%s%s; try again later", QUEUE_MS / 1000,
                 broker->last_error[0] ? ": " : "", broker->last_error);
        mg_broker_finish_locked(broker, mg_queue_pop_locked(broker, job),
                                late ? mg_answer_error(MG_E_TIMEOUT, "the time of the calling run is over")
                                     : mg_answer_error(MG_E_UNAVAILABLE, text));
    }
}

void mg_pool_tick(struct mg_broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    int64_t now = mg_now_us();
    unsigned of_org = 0;
    for (struct worker *w = broker->workers, *next; w; w = next) {
        next = w->next;
        of_org += strcmp(w->org, broker->org) == 0 && w->phase != WORKER_PARKED;
        if ((w->phase == WORKER_BUSY || w->phase == WORKER_PARKED) && w->job && !w->gone)
            check_budget_locked(broker, w, now);
        if (w->n_line && w->job && now - w->job->started_us >= LINE_US)
            mg_line_recall_locked(broker, w, false); /* the queue has limits of its own for what waits */
        if (w->kill_unsent)
            w->kill_unsent = !send_kill_locked(broker, w);
        if (w->phase == WORKER_STARTING && !w->gone && now - w->since_us > START_MS * 1000LL)
            mg_pool_kill_locked(broker, w, KILL_STOP);
        bool silent = w->sock < 0 && now - w->since_us > ORPHAN_MS * 1000LL;
        if (silent || w->lost)
            bury_locked(broker, w);
    }
    expire_locked(broker, now);
    while (of_org < broker->config.workers && broker->zygote >= 0 && !broker->stopping &&
           broker->n_starting < 2 && now >= broker->spawn_after_us) {
        unsigned before = broker->n_workers;
        spawn_locked(broker, broker->org);
        of_org++;
        if (broker->n_workers == before)
            break;
    }
    mg_pool_dispatch_locked(broker);
    pthread_mutex_unlock(&broker->lock);
    mg_calls_flush(broker);
}
