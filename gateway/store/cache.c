/* The cache: get, put, delete, tend.
 *
 * Invariant: what get gives is what put got, or nothing: the CRC-64 covers key, head, meta and
 * body, and is taken over the copy that is handed out. A get writes nothing. A put is one write
 * transaction without a sync. Cost: a hit of 40 kB about 5 us, a put about 60 us. */
#include "cache_internal.h"

#include <isa-l/crc64.h>
#include <time.h>

enum {
    META_MAX = 1 << 20,
    INDEX_BYTES = 400, /* of an entry in the other databases, half-full pages counted in */
    EVICT_MOST = 64,   /* in one transaction: a put must not wait long for the lock */
    ROOM_TRIES = 4,
    TEND_EVICTIONS = 4,
};

uint64_t cache_check_more(uint64_t check, const void *data, size_t len)
{
    return len ? crc64_ecma_refl(check, data, len) : check;
}

uint64_t cache_check_start(const struct mg_hash *key, const struct record *record,
                           struct mg_span meta)
{
    struct record head = *record;
    head.check = 0;
    uint64_t check = cache_check_more(~UINT64_C(0), key, sizeof *key);
    check = cache_check_more(check, &head, sizeof head);
    return cache_check_more(check, meta.data, meta.len);
}

enum found { FOUND, MISSED, DAMAGED, FAILED };

/* What the environment has of `key`, copied behind what the buffers hold. */
static enum found read_entry(struct mg_cache *cache, const struct mg_hash *key,
                             struct record *record, struct mg_buf *meta, struct mg_buf *body)
{
    MDB_val k = env_val(key, sizeof *key), v;
    enum found found = FOUND;
    MDB_txn *txn = env_read_begin(&cache->env);
    if (!txn)
        return MISSED;
    int rc = mdb_get(txn, cache->db[DB_ENTRIES], &k, &v);
    *record = (struct record){0};
    if (rc != 0) {
        found = rc == MDB_NOTFOUND ? MISSED : FAILED;
    } else if (v.mv_size < sizeof *record) {
        found = DAMAGED;
    } else {
        memcpy(record, v.mv_data, sizeof *record);
        const char *at = (const char *)v.mv_data + sizeof *record;
        uint64_t inline_len = record->file ? 0 : record->body_len;
        if (record->format != CACHE_FORMAT || inline_len > CACHE_INLINE_MAX ||
            sizeof *record + record->meta_len + inline_len != v.mv_size) {
            found = DAMAGED;
        } else {
            mg_buf_put(meta, at, record->meta_len);
            mg_buf_put(body, at + record->meta_len, (size_t)inline_len);
        }
    }
    env_read_end(&cache->env, txn);
    return found;
}

/* Deletes the entry, unless a put has replaced it since it was found damaged. */
static void drop_damaged(struct mg_cache *cache, const struct mg_hash *key, uint64_t check)
{
    struct change change;
    MDB_val k = env_val(key, sizeof *key), v;
    atomic_fetch_add_explicit(&cache->damaged, 1, memory_order_relaxed);
    if (cache_change_begin(cache, &change) != 0)
        return;
    int rc = mdb_get(change.txn, cache->db[DB_ENTRIES], &k, &v);
    if (rc == 0 && v.mv_size >= sizeof check && memcmp(v.mv_data, &check, sizeof check) != 0)
        rc = MDB_KEYEXIST;
    rc = rc ? rc : cache_drop(cache, change.txn, key, &change.totals, &change.doomed);
    (void)!cache_change_end(cache, &change, rc); /* what stays is found damaged again */
}

static void mark_used(struct mg_cache *cache, const struct mg_hash *key)
{
    uint64_t prefix = cache_prefix(key);
    _Atomic uint64_t *slot = &cache->marks[prefix % CACHE_MARKS];
    if (atomic_load_explicit(slot, memory_order_relaxed) != prefix)
        atomic_store_explicit(slot, prefix, memory_order_relaxed);
}

static void cut(struct mg_buf *buf, size_t len)
{
    buf->len = len;
    if (buf->data)
        buf->data[len] = '\0';
}

enum mg_err mg_cache_get(struct mg_cache *cache, const struct mg_hash *key, struct mg_buf *meta,
                         struct mg_buf *body, int *fd, uint64_t *fd_bytes)
{
    size_t meta_len = meta->len, body_len = body->len;
    struct record record;
    uint64_t last_file = 0;
    *fd = -1;
    /* Twice: the file of an entry goes away when another thread or process replaces it. */
    for (int i = 0; i < 2; i++) {
        enum found found = read_entry(cache, key, &record, meta, body);
        if (found == FOUND && (meta->failed || body->failed)) {
            enum mg_err status = mg_buf_status(meta->failed ? meta : body, NULL);
            cut(meta, meta_len);
            cut(body, body_len);
            return status;
        }
        if (found == FOUND) {
            struct mg_span head = {meta->data ? meta->data + meta_len : NULL, meta->len - meta_len};
            if (record.file) {
                *fd = cache_file_open(cache, key, &record, head);
                *fd_bytes = record.body_len;
            }
            if (record.file ? *fd >= 0
                            : record.check ==
                                  cache_check_more(cache_check_start(key, &record, head),
                                                   body->data + body_len, body->len - body_len)) {
                mark_used(cache, key);
                return MG_OK;
            }
            found = DAMAGED;
        }
        cut(meta, meta_len);
        cut(body, body_len);
        if (found != DAMAGED)
            return found == MISSED ? MG_E_NOT_FOUND : MG_E_IO;
        if (!record.file || record.file == last_file)
            break;
        last_file = record.file;
    }
    drop_damaged(cache, key, record.check);
    return MG_E_NOT_FOUND;
}

struct entry {
    const struct mg_hash *key;
    struct record record;
    struct mg_span meta, body; /* body {NULL, 0} where it lies in a file */
    uint64_t bytes;
};

static uint64_t disk_bytes(const struct entry *entry)
{
    uint64_t value = sizeof entry->record + entry->meta.len + entry->body.len;
    uint64_t bytes =
        INDEX_BYTES + (value > 1900 ? (value + 16 + 4095) & ~UINT64_C(4095) : value + value / 2);
    return entry->record.file ? bytes + ((entry->record.body_len + 4095) & ~UINT64_C(4095)) : bytes;
}

static int put_rows(struct mg_cache *cache, MDB_txn *txn, const struct entry *entry, uint64_t stamp)
{
    struct use use = {stamp, entry->record.file, entry->bytes, entry->record.group};
    struct {
        uint64_t stamp;
        struct mg_hash key;
    } age = {__builtin_bswap64(stamp), *entry->key};
    struct mg_hash pair[2] = {entry->record.group, *entry->key};
    MDB_val k = env_val(entry->key, sizeof *entry->key);
    MDB_val v = {sizeof entry->record + entry->meta.len + entry->body.len, NULL};
    int rc = mdb_put(txn, cache->db[DB_ENTRIES], &k, &v, MDB_RESERVE);
    if (rc != 0)
        return rc;
    char *at = v.mv_data;
    memcpy(at, &entry->record, sizeof entry->record);
    at += sizeof entry->record;
    if (entry->meta.len)
        memcpy(at, entry->meta.data, entry->meta.len);
    if (entry->body.len)
        memcpy(at + entry->meta.len, entry->body.data, entry->body.len);
    v = env_val(&use, sizeof use);
    rc = mdb_put(txn, cache->db[DB_USES], &k, &v, 0);
    v = env_val("", 0);
    k = env_val(&age, sizeof age);
    rc = rc ? rc : mdb_put(txn, cache->db[DB_AGES], &k, &v, 0);
    k = env_val(pair, sizeof pair);
    return rc ? rc : mdb_put(txn, cache->db[DB_GROUPS], &k, &v, 0);
}

static int put_once(struct mg_cache *cache, const struct entry *entry)
{
    struct change change;
    int rc = cache_change_begin(cache, &change);
    if (rc != 0)
        return rc;
    rc = cache_drop(cache, change.txn, entry->key, &change.totals, &change.doomed);
    rc = rc == MDB_NOTFOUND ? 0 : rc;
    rc = rc ? rc
            : cache_evict(cache, change.txn, cache->max_bytes - entry->bytes, EVICT_MOST, &change.totals,
                          &change.doomed);
    if (rc == 0) {
        change.totals.bytes += entry->bytes;
        rc = put_rows(cache, change.txn, entry, ++change.totals.clock);
        rc = rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
    }
    return cache_change_end(cache, &change, rc);
}

/* Evicts to `goal` or by `most` entries in a transaction of its own; *more: the goal is not
 * reached. */
static int evict_once(struct mg_cache *cache, uint64_t goal, size_t most, bool *more)
{
    struct change change;
    int rc = cache_change_begin(cache, &change);
    *more = false;
    if (rc != 0)
        return rc;
    if (change.totals.bytes <= goal) {
        mdb_txn_abort(change.txn);
        return 0;
    }
    rc = cache_evict(cache, change.txn, goal, most, &change.totals, &change.doomed);
    *more = change.totals.bytes > goal;
    return cache_change_end(cache, &change, rc);
}

/* A commit that changes next to nothing. */
static int tick(struct mg_cache *cache)
{
    struct change change;
    int rc = cache_change_begin(cache, &change);
    if (rc != 0)
        return rc;
    change.totals.clock++;
    return cache_change_end(cache, &change, 0);
}

/* The map is full before the bound is reached where free pages lie scattered. Pages become usable
 * two commits after they were freed. */
static int make_room(struct mg_cache *cache, const struct entry *entry)
{
    struct mg_cache_stats stats;
    size_t most =
        EVICT_MOST; /* deleting takes free pages too, so fewer at a time where there are few */
    bool more;
    int rc;
    mg_cache_stats(cache, &stats);
    uint64_t goal = (uint64_t)stats.bytes - (uint64_t)stats.bytes / 16;
    goal = goal > entry->bytes * 2 ? goal - entry->bytes * 2 : 0;
    do {
        rc = evict_once(cache, goal, most, &more);
        if (rc == MDB_MAP_FULL && most > 1) {
            most /= 4;
            rc = 0;
            more = true;
        }
    } while (rc == 0 && more);
    if (rc == MDB_MAP_FULL) {
        int64_t deleted;
        rc = mg_cache_purge(cache, NULL, &deleted, NULL) == MG_OK ? 0 : MDB_MAP_FULL;
    }
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = tick(cache);
    return rc;
}

static enum mg_err put(struct mg_cache *cache, const struct mg_hash *key, const struct mg_hash *group,
                       struct mg_span meta, const struct source *body, struct mg_errmsg *err)
{
    struct entry entry = {.key = key, .meta = meta};
    if (meta.len > META_MAX)
        return mg_err_set(err, MG_E_TOO_LARGE,
                          "the head of a cache entry has %zu bytes, the limit is %d", meta.len,
                          META_MAX);
    entry.record = (struct record){.body_len = body->len,
                                   .meta_len = (uint32_t)meta.len,
                                   .format = CACHE_FORMAT,
                                   .group = *group};
    while ((body->len > CACHE_INLINE_MAX || !body->data) && body->len && !entry.record.file)
        mg_random(&entry.record.file, sizeof entry.record.file);
    if (!entry.record.file)
        entry.body = (struct mg_span){body->data, (size_t)body->len};
    entry.bytes = disk_bytes(&entry);
    if (entry.bytes > cache->max_bytes / 2)
        return mg_err_set(
            err, MG_E_TOO_LARGE,
            "an answer of %llu bytes is larger than half the cache (--cache-size), and is not kept",
            (unsigned long long)body->len);
    uint64_t check = cache_check_start(key, &entry.record, meta);
    if (entry.record.file) {
        enum mg_err status = cache_file_write(cache, key, entry.record.file, body, &check, err);
        if (status != MG_OK)
            return status;
    } else {
        check = cache_check_more(check, entry.body.data, entry.body.len);
    }
    entry.record.check = check;
    int rc = put_once(cache, &entry);
    for (int i = 0; i < ROOM_TRIES && rc == MDB_MAP_FULL; i++) {
        rc = make_room(cache, &entry);
        rc = rc ? rc : put_once(cache, &entry);
    }
    if (rc != 0 && entry.record.file)
        cache_file_unlink(cache, key, entry.record.file);
    return env_error(rc, cache->dir, err);
}

enum mg_err mg_cache_put(struct mg_cache *cache, const struct mg_hash *key,
                         const struct mg_hash *group, struct mg_span meta, struct mg_span body,
                         struct mg_errmsg *err)
{
    struct source source = {.data = body.data ? body.data : "", .fd = -1, .len = body.len};
    return put(cache, key, group, meta, &source, err);
}

enum mg_err mg_cache_put_fd(struct mg_cache *cache, const struct mg_hash *key,
                            const struct mg_hash *group, struct mg_span meta, int fd,
                            uint64_t offset, uint64_t bytes, struct mg_errmsg *err)
{
    struct source source = {.fd = fd, .offset = offset, .len = bytes};
    return put(cache, key, group, meta, &source, err);
}

enum mg_err mg_cache_del(struct mg_cache *cache, const struct mg_hash *key)
{
    struct change change;
    int rc = cache_change_begin(cache, &change);
    if (rc != 0)
        return env_error(rc, "", NULL);
    rc = cache_drop(cache, change.txn, key, &change.totals, &change.doomed);
    return env_error(cache_change_end(cache, &change, rc), "", NULL);
}

void mg_cache_stats(struct mg_cache *cache, struct mg_cache_stats *out)
{
    struct totals totals = {0};
    MDB_stat entries = {0};
    MDB_txn *txn = env_read_begin(&cache->env);
    if (txn) {
        if (mdb_stat(txn, cache->db[DB_USES], &entries) != 0 ||
            cache_totals_get(cache, txn, &totals) != 0)
            totals.bytes = 0;
        env_read_end(&cache->env, txn);
    }
    *out = (struct mg_cache_stats){
        .entries = (int64_t)entries.ms_entries,
        .bytes = (int64_t)totals.bytes,
        .max_bytes = (int64_t)cache->max_bytes,
        .evicted = atomic_load_explicit(&cache->evicted, memory_order_relaxed),
        .damaged = atomic_load_explicit(&cache->damaged, memory_order_relaxed),
    };
}

void mg_cache_tend(struct mg_cache *cache)
{
    bool more = true;
    int64_t none = 0;
    cache_marks_flush(cache);
    for (int i = 0; i < TEND_EVICTIONS && more; i++)
        if (evict_once(cache, cache->max_bytes, EVICT_MOST, &more) != 0)
            break;
    if (atomic_compare_exchange_strong(&cache->swept, &none, 1))
        cache_files_sweep(cache, (int64_t)time(NULL));
}
