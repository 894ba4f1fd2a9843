/* The hot tier: answers that were asked for of late, kept in memory as they are sent, in front of the result cache.
 *
 * A hit here is one look-up and one reference: no LMDB read, no checksum, no copy. Sharded by key, each shard under its
 * own lock, a ring in the order of entry with a second chance for what was used (CLOCK: Corbato 1968). Bounded by bytes;
 * answers over 1 MB, or that lie in a descriptor, stay in the result cache alone. */
#include "hot.h"

#include <pthread.h>
#include <stdlib.h>

enum { SHARDS = 16, BUCKETS = 1024, MAX_BODY = 1 << 20, OVERHEAD = 512 };

struct entry {
    struct mg_hash key;
    struct mg_answer *answer;
    struct entry *next;        /* in the bucket */
    struct entry *ring_next, *ring_prev;
};

struct shard {
    pthread_mutex_t lock;
    struct entry *buckets[BUCKETS];
    struct entry *hand;        /* the oldest of the ring */
    size_t bytes;
};

struct mg_hot {
    struct shard shards[SHARDS];
    size_t max_bytes;          /* of a shard */
};

struct mg_hot *mg_hot_new(size_t max_bytes)
{
    struct mg_hot *hot = calloc(1, sizeof *hot);
    MG_ASSERT(hot);
    hot->max_bytes = max_bytes / SHARDS;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&hot->shards[i].lock, NULL);
    return hot;
}

static struct shard *shard_of(struct mg_hot *hot, const struct mg_hash *key)
{
    return &hot->shards[key->bytes[31] % SHARDS];
}

static struct entry **find(struct shard *shard, const struct mg_hash *key)
{
    struct entry **at = &shard->buckets[(key->bytes[0] | key->bytes[1] << 8) % BUCKETS];
    while (*at && !mg_hash_eq(&(*at)->key, key))
        at = &(*at)->next;
    return at;
}

static size_t cost(const struct mg_answer *answer)
{
    return answer->body.len + answer->headers.cap + answer->deps.cap + OVERHEAD;
}

static void drop(struct shard *shard, struct entry **at)
{
    struct entry *entry = *at;
    *at = entry->next;
    if (shard->hand == entry)
        shard->hand = entry->ring_next == entry ? NULL : entry->ring_next;
    entry->ring_prev->ring_next = entry->ring_next;
    entry->ring_next->ring_prev = entry->ring_prev;
    shard->bytes -= cost(entry->answer);
    __atomic_store_n(&entry->answer->hot, false, __ATOMIC_RELEASE);
    mg_answer_unref(&entry->answer);
    free(entry);
}

struct mg_answer *mg_hot_get(struct mg_hot *hot, const struct mg_hash *key)
{
    struct shard *shard = shard_of(hot, key);
    struct mg_answer *answer = NULL;
    pthread_mutex_lock(&shard->lock);
    struct entry *entry = *find(shard, key);
    if (entry) {
        __atomic_store_n(&entry->answer->used, true, __ATOMIC_RELAXED);
        answer = mg_answer_ref(entry->answer);
    }
    pthread_mutex_unlock(&shard->lock);
    return answer;
}

static void make_room(struct shard *shard, size_t bytes, size_t max_bytes)
{
    while (shard->hand && shard->bytes + bytes > max_bytes) {
        struct entry *oldest = shard->hand;
        if (__atomic_exchange_n(&oldest->answer->used, false, __ATOMIC_RELAXED)) {
            shard->hand = oldest->ring_next;
        } else {
            drop(shard, find(shard, &oldest->key));
        }
    }
}

void mg_hot_put(struct mg_hot *hot, const struct mg_hash *key, struct mg_answer *answer)
{
    struct shard *shard = shard_of(hot, key);
    size_t bytes = cost(answer);
    if (answer->fd >= 0 || answer->body.len > MAX_BODY || bytes > hot->max_bytes)
        return;
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        return;
    entry->key = *key;
    entry->answer = mg_answer_ref(answer);
    pthread_mutex_lock(&shard->lock);
    struct entry **at = find(shard, key);
    if (*at)
        drop(shard, at);
    __atomic_store_n(&answer->hot, true, __ATOMIC_RELEASE);
    make_room(shard, bytes, hot->max_bytes);
    at = find(shard, key); /* the bucket may have changed */
    entry->next = *at;
    *at = entry;
    struct entry *hand = shard->hand;
    if (hand) { /* behind the newest, which is before the oldest */
        entry->ring_next = hand;
        entry->ring_prev = hand->ring_prev;
        hand->ring_prev->ring_next = entry;
        hand->ring_prev = entry;
    } else {
        shard->hand = entry->ring_next = entry->ring_prev = entry;
    }
    shard->bytes += bytes;
    pthread_mutex_unlock(&shard->lock);
}

void mg_hot_free(struct mg_hot **hot_at)
{
    struct mg_hot *hot = *hot_at;
    if (!hot)
        return;
    *hot_at = NULL;
    for (size_t i = 0; i < SHARDS; i++) {
        while (hot->shards[i].hand)
            drop(&hot->shards[i], find(&hot->shards[i], &hot->shards[i].hand->key));
        pthread_mutex_destroy(&hot->shards[i].lock);
    }
    free(hot);
}
