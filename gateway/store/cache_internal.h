/* Cache, inside: its databases, the record of an entry, and the marks of use. */
#ifndef MOONGATE_STORE_CACHE_INTERNAL_H
#define MOONGATE_STORE_CACHE_INTERNAL_H

#include "env.h"
#include "moongate/cache.h"

#include <stdatomic.h>

enum db {
    DB_ENTRIES, /* key -> struct record, meta, and the body unless it lies in a file */
    DB_USES,    /* key -> struct use */
    DB_AGES,    /* big-endian stamp, key -> nothing: oldest use first */
    DB_GROUPS,  /* group, key -> nothing */
    DB_TOTALS,  /* "totals" -> struct totals */
    DB_COUNT
};

enum {
    CACHE_FORMAT = 1, /* of the structs below: another one is set aside */
    CACHE_INLINE_MAX = 1 << 20,
    CACHE_MARKS = 1 << 16,
    CACHE_VERIFIED = 256,
};

struct record {
    uint64_t check; /* CRC-64 of the key, the rest of this, meta and body */
    uint64_t file;  /* number in the name of the body's file; 0: the body is here */
    uint64_t body_len;
    uint32_t meta_len, format;
    struct mg_hash group;
};
struct use {
    uint64_t stamp, file, bytes; /* bytes on disk, rounded up to what LMDB needs */
    struct mg_hash group;
};
struct totals {
    uint64_t bytes, clock; /* the clock counts puts: the stamp of an entry's last known use */
    uint64_t format;
};

struct mg_cache {
    struct env env;
    MDB_dbi db[DB_COUNT];
    uint64_t max_bytes;
    char dir[4000];
    const char *map_base; /* where page 0 is mapped */
    uint32_t page_bytes;
    _Atomic int64_t evicted, damaged, swept;
    /* Uses since the last tend, by the first eight bytes of the key; two keys on one slot cost one
     * mark. */
    _Atomic uint64_t marks[CACHE_MARKS];
    size_t next_mark; /* of the one thread that tends */
    /* Files whose bytes were checked by this process: number xor time of change. */
    _Atomic uint64_t verified[CACHE_VERIFIED];
};

/* Files to unlink once the transaction that forgets them is committed. */
struct doomed {
    struct mg_buf files; /* struct mg_hash key, uint64_t file, repeated */
};
/* A write transaction with what it adds up. */
struct change {
    MDB_txn *txn;
    struct totals totals;
    struct doomed doomed;
};

uint64_t cache_check_start(const struct mg_hash *key, const struct record *record,
                           struct mg_span meta);
uint64_t cache_check_more(uint64_t check, const void *data, size_t len);

/* cache_files.c */
/* Where the bytes of a body come from: memory, or a descriptor from `offset`. */
struct source {
    const char *data; /* NULL: fd */
    int fd;
    uint64_t offset, len;
};
/* Adds the body to *check on its way. */
MG_MUST_CHECK enum mg_err cache_file_write(struct mg_cache *cache, const struct mg_hash *key,
                                           uint64_t file, const struct source *body,
                                           uint64_t *check, struct mg_errmsg *err);
/* A descriptor of a file whose length and bytes are those of the record, or -1. */
int cache_file_open(struct mg_cache *cache, const struct mg_hash *key, const struct record *record,
                    struct mg_span meta);
void cache_file_unlink(struct mg_cache *cache, const struct mg_hash *key, uint64_t file);
/* Unlinks files that no entry names and that are older than an hour. */
void cache_files_sweep(struct mg_cache *cache, int64_t now_s);

/* cache_guard.c: LMDB believes the head of a value's page when it frees it, and aborts or frees
 * other pages where the head is damaged; so it is looked at before each deletion. */
bool cache_guard_start(struct mg_cache *cache);
/* MDB_CORRUPTED where the entry's pages cannot be freed safely; the next open then makes the cache
 * anew. */
int cache_guard_check(struct mg_cache *cache, MDB_txn *txn, const struct mg_hash *key);
bool cache_guard_was_broken(const struct mg_cache *cache);

/* cache_change.c; LMDB's result. A change that was begun (0) is ended once: it is committed where rc is 0 or
 * MDB_NOTFOUND (there was nothing to drop), and only then are the files of what it dropped unlinked. */
MG_MUST_CHECK int cache_change_begin(struct mg_cache *cache, struct change *change);
MG_MUST_CHECK int cache_change_end(struct mg_cache *cache, struct change *change, int rc);
int cache_totals_get(struct mg_cache *cache, MDB_txn *txn, struct totals *out);
int cache_totals_put(struct mg_cache *cache, MDB_txn *txn, const struct totals *totals);

/* cache_evict.c; all within a write transaction, LMDB's result. */
/* Deletes the entry with all that points to it. MDB_NOTFOUND where no row tells of its use: then
 * its value alone. */
int cache_drop(struct mg_cache *cache, MDB_txn *txn, const struct mg_hash *key,
               struct totals *totals, struct doomed *doomed);
/* Drops the entries of the oldest use until totals->bytes <= goal, at most `most` of them; a marked
 * one is made young instead. */
int cache_evict(struct mg_cache *cache, MDB_txn *txn, uint64_t goal, size_t most,
                struct totals *totals, struct doomed *doomed);
/* Writes some of the marks down as new stamps; the next call goes on behind them. */
void cache_marks_flush(struct mg_cache *cache);

static inline uint64_t cache_prefix(const struct mg_hash *key)
{
    uint64_t prefix;
    memcpy(&prefix, key->bytes, sizeof prefix);
    return prefix;
}

#endif
