/* Age of use and eviction.
 *
 * A hit only sets a mark in memory; mg_cache_tend gives some marked entries a new stamp, and skips
 * those in the younger half anyway. Eviction goes from the oldest stamp; a marked entry receives a
 * second chance, so that it is right also between two tends. */
#include "cache_internal.h"

enum { FLUSH_BATCH = 256 };

struct age {
    uint64_t stamp; /* big-endian */
    struct mg_hash key;
};

static int use_get(struct mg_cache *cache, MDB_txn *txn, const struct mg_hash *key, struct use *out)
{
    MDB_val k = env_val(key, sizeof *key), v;
    int rc = mdb_get(txn, cache->db[DB_USES], &k, &v);
    if (rc == 0 && v.mv_size != sizeof *out) /* damaged: it tells nothing */
        rc = MDB_NOTFOUND;
    if (rc == 0)
        memcpy(out, v.mv_data, sizeof *out);
    return rc;
}

/* A missing row is what was asked for. */
static int del(struct mg_cache *cache, MDB_txn *txn, enum db db, const void *data, size_t len)
{
    MDB_val key = env_val(data, len);
    int rc = mdb_del(txn, cache->db[db], &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int cache_drop(struct mg_cache *cache, MDB_txn *txn, const struct mg_hash *key,
               struct totals *totals, struct doomed *doomed)
{
    struct use use;
    int rc = cache_guard_check(cache, txn, key);
    if (rc != 0)
        return rc;
    rc = use_get(cache, txn, key, &use);
    if (rc == MDB_NOTFOUND) {
        rc = del(cache, txn, DB_ENTRIES, key, sizeof *key);
        rc = rc ? rc : del(cache, txn, DB_USES, key, sizeof *key);
        return rc ? rc : MDB_NOTFOUND;
    }
    if (rc != 0)
        return rc;
    struct age age = {__builtin_bswap64(use.stamp), *key};
    struct mg_hash pair[2] = {use.group, *key};
    rc = del(cache, txn, DB_AGES, &age, sizeof age);
    rc = rc ? rc : del(cache, txn, DB_GROUPS, pair, sizeof pair);
    rc = rc ? rc : del(cache, txn, DB_ENTRIES, key, sizeof *key);
    rc = rc ? rc : del(cache, txn, DB_USES, key, sizeof *key);
    if (rc != 0)
        return rc;
    totals->bytes -= use.bytes < totals->bytes ? use.bytes : totals->bytes;
    if (use.file) {
        mg_buf_put(&doomed->files, key, sizeof *key);
        mg_buf_put(&doomed->files, &use.file, sizeof use.file);
    }
    return 0;
}

static int make_young(struct mg_cache *cache, MDB_txn *txn, const struct mg_hash *key,
                      struct use *use, struct totals *totals)
{
    struct age old = {__builtin_bswap64(use->stamp), *key},
               now = {__builtin_bswap64(++totals->clock), *key};
    use->stamp = totals->clock;
    MDB_val k = env_val(&now, sizeof now), v = env_val("", 0);
    int rc = del(cache, txn, DB_AGES, &old, sizeof old);
    rc = rc ? rc : mdb_put(txn, cache->db[DB_AGES], &k, &v, 0);
    k = env_val(key, sizeof *key);
    v = env_val(use, sizeof *use);
    return rc ? rc : mdb_put(txn, cache->db[DB_USES], &k, &v, 0);
}

static bool take_mark(struct mg_cache *cache, const struct mg_hash *key)
{
    uint64_t prefix = cache_prefix(key);
    return atomic_compare_exchange_strong_explicit(&cache->marks[prefix % CACHE_MARKS], &prefix, 0,
                                                   memory_order_relaxed, memory_order_relaxed);
}

/* Gives the entry whose key begins with `prefix` a new stamp, unless it is in the younger half
 * anyway. */
static int flush_mark(struct mg_cache *cache, MDB_txn *txn, uint64_t prefix, uint64_t entries,
                      struct totals *totals)
{
    MDB_cursor *cursor;
    MDB_val k = env_val(&prefix, sizeof prefix), v;
    struct mg_hash key;
    struct use use;
    int rc = mdb_cursor_open(txn, cache->db[DB_USES], &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    bool same = rc == 0 && k.mv_size == sizeof key && v.mv_size == sizeof use &&
                memcmp(k.mv_data, &prefix, sizeof prefix) == 0;
    if (same) {
        memcpy(&key, k.mv_data, sizeof key);
        memcpy(&use, v.mv_data, sizeof use);
    }
    mdb_cursor_close(cursor);
    if (!same || totals->clock - use.stamp < entries / 2)
        return rc == MDB_NOTFOUND ? 0 : rc;
    return make_young(cache, txn, &key, &use, totals);
}

static int flush_batch(struct mg_cache *cache, const uint64_t *prefixes, size_t n)
{
    MDB_txn *txn;
    MDB_stat stat;
    struct totals totals;
    int rc = mdb_txn_begin(cache->env.mdb, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_stat(txn, cache->db[DB_USES], &stat);
    rc = rc ? rc : cache_totals_get(cache, txn, &totals);
    uint64_t clock = rc == 0 ? totals.clock : 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = flush_mark(cache, txn, prefixes[i], stat.ms_entries, &totals);
    if (rc == 0 && totals.clock != clock)
        rc = cache_totals_put(cache, txn, &totals);
    if (rc == 0 && totals.clock != clock)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

void cache_marks_flush(struct mg_cache *cache)
{
    uint64_t batch[FLUSH_BATCH];
    size_t n = 0, at = cache->next_mark, seen;
    for (seen = 0; seen < CACHE_MARKS && n < FLUSH_BATCH; seen++, at = (at + 1) % CACHE_MARKS)
        if (atomic_load_explicit(&cache->marks[at], memory_order_relaxed) != 0)
            batch[n++] = atomic_exchange_explicit(&cache->marks[at], 0, memory_order_relaxed);
    cache->next_mark = at;
    if (n > 0)
        flush_batch(cache, batch, n);
}

int cache_evict(struct mg_cache *cache, MDB_txn *txn, uint64_t goal, size_t most,
                struct totals *totals, struct doomed *doomed)
{
    int64_t evicted = 0;
    int rc = 0;
    for (size_t i = 0; i < most && totals->bytes > goal && rc == 0; i++) {
        MDB_cursor *cursor;
        MDB_val k, v;
        struct age age;
        struct use use;
        rc = mdb_cursor_open(txn, cache->db[DB_AGES], &cursor);
        if (rc != 0)
            break;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
        if (rc == 0 && k.mv_size != sizeof age)
            rc = MDB_CORRUPTED;
        if (rc == 0)
            memcpy(&age, k.mv_data, sizeof age);
        mdb_cursor_close(cursor);
        if (rc == MDB_NOTFOUND) { /* nothing is left, so nothing can count */
            totals->bytes = 0;
            rc = 0;
            break;
        }
        if (rc != 0)
            break;
        rc = use_get(cache, txn, &age.key, &use);
        if (rc == MDB_NOTFOUND || (rc == 0 && __builtin_bswap64(use.stamp) != age.stamp)) {
            rc = del(cache, txn, DB_AGES, &age,
                     sizeof age); /* a row that names nothing must not stop us */
            continue;
        }
        if (rc != 0)
            break;
        if (take_mark(cache, &age.key)) {
            rc = make_young(cache, txn, &age.key, &use, totals);
        } else {
            rc = cache_drop(cache, txn, &age.key, totals, doomed);
            evicted++;
        }
    }
    atomic_fetch_add_explicit(&cache->evicted, evicted, memory_order_relaxed);
    return rc;
}
