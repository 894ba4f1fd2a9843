/* Purge: everything in one transaction, or the entries of one group in small ones, so that a server
 * that goes on putting meanwhile waits at most a few milliseconds for the lock. */
#include "cache_internal.h"

enum { BATCH = 256 };

static int doom_files(struct mg_cache *cache, MDB_txn *txn, struct doomed *doomed)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    struct use use;
    int rc = mdb_cursor_open(txn, cache->db[DB_USES], &cursor);
    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        if (k.mv_size != sizeof(struct mg_hash) || v.mv_size != sizeof use)
            continue;
        memcpy(&use, v.mv_data, sizeof use);
        if (!use.file)
            continue;
        mg_buf_put(&doomed->files, k.mv_data, k.mv_size);
        mg_buf_put(&doomed->files, &use.file, sizeof use.file);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int purge_all(struct mg_cache *cache, struct change *change, int64_t *n)
{
    static const enum db rows[] = {DB_ENTRIES, DB_USES, DB_AGES, DB_GROUPS};
    MDB_stat stat;
    MDB_txn *txn = change->txn;
    int rc = doom_files(cache, txn, &change->doomed);
    rc = rc ? rc : mdb_stat(txn, cache->db[DB_USES], &stat);
    for (size_t i = 0; i < sizeof rows / sizeof *rows && rc == 0; i++)
        rc = mdb_drop(txn, cache->db[rows[i]], 0);
    if (rc == 0) {
        *n += (int64_t)stat.ms_entries;
        change->totals.bytes = 0;
    }
    return rc;
}

static int next_of_group(struct mg_cache *cache, MDB_txn *txn, const struct mg_hash *group,
                         struct mg_hash *key)
{
    struct mg_hash pair[2] = {*group};
    MDB_cursor *cursor;
    MDB_val k = env_val(pair, sizeof pair), v;
    int rc = mdb_cursor_open(txn, cache->db[DB_GROUPS], &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    if (rc == 0 && (k.mv_size != sizeof pair || memcmp(k.mv_data, group, sizeof *group) != 0))
        rc = MDB_NOTFOUND;
    if (rc == 0)
        memcpy(key, (const char *)k.mv_data + sizeof *group, sizeof *key);
    mdb_cursor_close(cursor);
    return rc;
}

/* MDB_NOTFOUND when none is left. */
static int purge_batch(struct mg_cache *cache, struct change *change, const struct mg_hash *group, int64_t *n)
{
    int rc = 0;
    MDB_txn *txn = change->txn;
    for (int i = 0; i < BATCH && rc == 0; i++) {
        struct mg_hash pair[2] = {*group};
        rc = next_of_group(cache, txn, group, &pair[1]);
        if (rc != 0)
            break;
        rc = cache_drop(cache, txn, &pair[1], &change->totals, &change->doomed);
        if (rc == 0) {
            ++*n;
        } else if (rc == MDB_NOTFOUND) { /* a row that names nothing must not stop the purge */
            MDB_val k = env_val(pair, sizeof pair);
            rc = mdb_del(txn, cache->db[DB_GROUPS], &k, NULL);
        }
    }
    return rc;
}

enum mg_err mg_cache_purge(struct mg_cache *cache, const struct mg_hash *group, int64_t *deleted,
                           struct mg_errmsg *err)
{
    int64_t n = 0;
    int rc = 0;
    for (bool more = true; more && rc == 0;) {
        struct change change;
        rc = cache_change_begin(cache, &change);
        if (rc != 0)
            break;
        rc = group ? purge_batch(cache, &change, group, &n) : purge_all(cache, &change, &n);
        more = group && rc == 0;
        rc = cache_change_end(cache, &change, rc);
    }
    if (rc == 0 && deleted)
        *deleted = n;
    return env_error(rc, cache->dir, err);
}
