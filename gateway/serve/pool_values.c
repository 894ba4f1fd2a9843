/* Values of cached functions between workers: who computes one, and who waits for it.
 *
 * A claim says which worker computes the value of a key; the others that ask for it are parked, and woken at once by
 * the value, or by the end of the claim without one: then they ask again. To wait must never close a circle (a worker
 * whose claim's computation needs, through child runs and other claims, the one who asks): who would computes for
 * itself. All of it on the broker's thread. */
#include "broker_state.h"

#include "moongate/log.h"

#include <stdlib.h>
#include <unistd.h>

enum { MAX_CLAIMS_OF_WORKER = 128 };

struct claim {
    struct mg_hash key;
    char org[64];
    uint64_t owner; /* worker */
    struct claim *next;
};

static struct claim *find_claim(const struct mg_broker *broker, const char *org, const struct mg_hash *key)
{
    struct claim *claim = broker->claims;
    while (claim && (!mg_hash_eq(&claim->key, key) || strcmp(claim->org, org) != 0))
        claim = claim->next;
    return claim;
}

static bool in_list(const uint64_t *ids, size_t n, uint64_t id)
{
    while (n > 0)
        if (ids[--n] == id)
            return true;
    return false;
}

/* Whether the owner waits, by whatever way, for the worker. */
static bool is_circle_locked(const struct mg_broker *broker, const struct worker *worker, uint64_t owner)
{
    enum { MAX = 1024 };
    uint64_t waiting[MAX]; /* the worker and all that wait for one of these */
    size_t n = 0;
    waiting[n++] = worker->id;
    for (size_t before = 0; before != n;) {
        before = n;
        for (const struct worker *w = broker->workers; w && n < MAX; w = w->next) {
            if (w->awaits == AWAITS_VALUE && !in_list(waiting, n, w->id)) {
                const struct claim *claim = find_claim(broker, w->org, &w->await_key);
                if (claim && in_list(waiting, n, claim->owner))
                    waiting[n++] = w->id;
            }
            if (!w->job || !in_list(waiting, n, w->id))
                continue;
            for (const struct mg_waiter *waiter = w->job->waiters; waiter && n < MAX; waiter = waiter->next)
                if (waiter->parent && !in_list(waiting, n, waiter->parent))
                    waiting[n++] = waiter->parent;
        }
    }
    return n == MAX || in_list(waiting, n, owner);
}

/* The answer to an ASK: the state, and the entry in the channel or a descriptor. */
static void reply_locked(struct mg_broker *broker, struct worker *worker, const struct mg_value_reply *reply,
                         struct mg_span entry, int fd, uint64_t fd_bytes)
{
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_VALUED);
    msg.id = worker->run;
    msg.tag = worker->value_tag;
    msg.status = (int32_t)reply->state;
    msg.offset = (uint64_t)reply->stamp;
    msg.pid = reply->made_s;
    int64_t left_us = reply->until_us - mg_now_us();
    msg.ms = left_us > 0 ? (uint32_t)(left_us / 1000) : 0;
    msg.bytes = fd >= 0 ? fd_bytes : entry.len;
    MG_ASSERT(fd >= 0 || entry.len <= MG_CHANNEL_REQUEST);
    if (fd < 0 && entry.len)
        memcpy(worker->channel.request, entry.data, entry.len);
    if (worker->sock < 0 || mg_msg_send(worker->sock, &msg, &fd, fd >= 0) != MG_OK)
        mg_pool_lose_locked(broker, worker);
}

/* Wakes those that wait for the key. */
static void wake_locked(struct mg_broker *broker, const char *org, const struct mg_hash *key,
                        const struct mg_value_reply *reply, struct mg_span entry, int fd, uint64_t fd_bytes)
{
    for (struct worker *w = broker->workers; w; w = w->next) {
        if (w->awaits != AWAITS_VALUE || !mg_hash_eq(&w->await_key, key) || strcmp(w->org, org) != 0)
            continue;
        w->awaits = AWAITS_NOTHING;
        mg_pool_set_phase(broker, w, WORKER_BUSY);
        reply_locked(broker, w, reply, entry, fd, fd_bytes);
    }
}

/* Ends claims of the worker: that of the key, or (NULL) all. */
static void end_claims_locked(struct mg_broker *broker, uint64_t owner, const struct mg_hash *key,
                              const struct mg_value_reply *reply, struct mg_span entry, int fd, uint64_t fd_bytes)
{
    for (struct claim **at = &broker->claims; *at;) {
        struct claim *claim = *at;
        if (claim->owner != owner || (key && !mg_hash_eq(&claim->key, key))) {
            at = &claim->next;
            continue;
        }
        *at = claim->next;
        wake_locked(broker, claim->org, &claim->key, reply, entry, fd, fd_bytes);
        free(claim);
    }
}

void mg_values_end_locked(struct mg_broker *broker, struct worker *worker)
{
    static const struct mg_value_reply again = {.state = MG_VALUE_AGAIN};
    end_claims_locked(broker, worker->id, NULL, &again, (struct mg_span){0}, -1, 0);
}

/* Makes the worker the one who computes, or has it wait. */
static void claim_locked(struct mg_broker *broker, struct worker *worker, const struct mg_hash *key)
{
    struct mg_value_reply reply = {.state = MG_VALUE_COMPUTE};
    unsigned own = 0;
    for (const struct claim *c = broker->claims; c; c = c->next)
        own += c->owner == worker->id;
    struct claim *claim = find_claim(broker, worker->org, key);
    if (claim && claim->owner != worker->id && !is_circle_locked(broker, worker, claim->owner)) {
        worker->awaits = AWAITS_VALUE;
        worker->await_key = *key;
        mg_pool_set_phase(broker, worker, WORKER_PARKED);
        return;
    }
    struct claim *fresh = claim || own >= MAX_CLAIMS_OF_WORKER ? NULL : calloc(1, sizeof *fresh);
    if (fresh) {
        fresh->key = *key;
        memcpy(fresh->org, worker->org, sizeof fresh->org);
        fresh->owner = worker->id;
        fresh->next = broker->claims;
        broker->claims = fresh;
    } else {
        reply.state = MG_VALUE_ALONE;
    }
    reply_locked(broker, worker, &reply, (struct mg_span){0}, -1, 0);
}

/* Copies what the worker wrote of a message out of its channel, to be looked at. NULL: it does not fit. */
static char *copy_out(const struct worker *worker, const struct mg_msg *msg)
{
    if (worker->phase != WORKER_BUSY || msg->id != worker->run || !worker->job || msg->bytes > MG_CHANNEL_RESULT)
        return NULL;
    char *copy = malloc(msg->bytes + 1);
    if (copy)
        memcpy(copy, worker->channel.result, msg->bytes);
    return copy;
}

static bool read_key(struct mg_unpack *in, struct mg_hash *key)
{
    struct mg_span bytes = mg_unpack_bytes(in);
    if (bytes.len != sizeof key->bytes)
        return false;
    memcpy(key->bytes, bytes.data, sizeof key->bytes);
    return true;
}

void mg_values_ask(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    struct mg_value_ask ask = {0};
    struct mg_unpack in;
    char *copy = copy_out(worker, msg);
    mg_unpack_init(&in, copy ? copy : "", copy ? msg->bytes : 0);
    bool whole = copy && read_key(&in, &ask.key);
    ask.max_age_s = mg_unpack_int(&in);
    ask.stamp = mg_unpack_int(&in);
    ask.reset = mg_unpack_bool(&in);
    ask.outside = mg_unpack_bool(&in);
    ask.made_s = mg_unpack_int(&in);
    ask.deps = mg_unpack_bytes(&in);
    if (!whole || !mg_unpack_done(&in)) {
        free(copy);
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        return;
    }
    struct mg_value_reply reply = {.state = MG_VALUE_COMPUTE};
    struct mg_buf entry;
    int fd = -1;
    uint64_t fd_bytes = 0, id = worker->id, run = worker->run;
    worker->value_tag = msg->tag;
    mg_buf_init(&entry, 0);
    if (broker->config.value_get) {
        char org[64];
        memcpy(org, worker->org, sizeof org);
        pthread_mutex_unlock(&broker->lock);
        broker->config.value_get(broker->config.context, org, &ask, &reply, &entry, &fd, &fd_bytes);
        pthread_mutex_lock(&broker->lock);
    }
    worker = mg_pool_find(broker, id);
    if (worker && worker->run == run && worker->phase == WORKER_BUSY) {
        if (fd < 0 && entry.len > MG_CHANNEL_REQUEST && reply.state == MG_VALUE_HIT) {
            fd_bytes = entry.len;
            if (mg_memfd_of("value", (struct mg_span){entry.data, entry.len}, &fd, NULL) != MG_OK)
                reply.state = MG_VALUE_COMPUTE;
        }
        if (reply.state == MG_VALUE_COMPUTE)
            claim_locked(broker, worker, &ask.key);
        else
            reply_locked(broker, worker, &reply, (struct mg_span){entry.data, entry.len}, fd, fd_bytes);
    }
    if (fd >= 0)
        close(fd);
    mg_buf_fini(&entry);
    free(copy);
}

void mg_values_keep(struct mg_broker *broker, struct worker *worker, const struct mg_msg *msg)
{
    struct mg_hash key;
    struct mg_unpack in;
    struct mg_value_reply reply = {.state = MG_VALUE_HIT};
    char *copy = copy_out(worker, msg);
    mg_unpack_init(&in, copy ? copy : "", copy ? msg->bytes : 0);
    bool whole = copy && read_key(&in, &key), stored = mg_unpack_bool(&in);
    struct mg_span deps = mg_unpack_bytes(&in), entry = mg_unpack_bytes(&in);
    int fd = -1;
    uint64_t fd_bytes = 0;
    if (msg->big && worker->big_fd >= 0) {
        fd = worker->big_fd;
        fd_bytes = worker->big_bytes;
        worker->big_fd = -1;
    }
    if (!whole || !mg_unpack_done(&in) || (msg->big && (fd < 0 || !mg_memfd_check(fd, fd_bytes, true)))) {
        mg_pool_kill_locked(broker, worker, KILL_PROTOCOL);
        goto out;
    }
    uint64_t id = worker->id, run = worker->run;
    if (stored && broker->config.value_put) {
        struct mg_udf *udf = worker->job->ask.udf;
        char org[64];
        memcpy(org, worker->org, sizeof org);
        __atomic_add_fetch(&udf->refs, 1, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&broker->lock);
        broker->config.value_put(broker->config.context, org, udf, &key, deps, entry, fd, fd_bytes, &reply);
        mg_udf_unref(&udf);
        pthread_mutex_lock(&broker->lock);
        broker->generation++;
        worker = mg_pool_find(broker, id);
    }
    if (worker && worker->run == run && worker->phase == WORKER_BUSY) {
        struct mg_msg ack;
        mg_msg_init(&ack, MG_MSG_ACK);
        ack.id = run;
        ack.tag = msg->tag;
        ack.offset = (uint64_t)reply.stamp;
        int64_t left_us = reply.until_us - mg_now_us();
        ack.ms = left_us > 0 ? (uint32_t)(left_us / 1000) : 0;
        ack.bytes = broker->generation;
        if (worker->sock < 0 || mg_msg_send(worker->sock, &ack, NULL, 0) != MG_OK)
            mg_pool_lose_locked(broker, worker);
    }
    if (!stored)
        reply = (struct mg_value_reply){.state = MG_VALUE_AGAIN};
    end_claims_locked(broker, id, &key, &reply, stored ? entry : (struct mg_span){0}, stored ? fd : -1, fd_bytes);
out:
    if (fd >= 0)
        close(fd);
    free(copy);
}
