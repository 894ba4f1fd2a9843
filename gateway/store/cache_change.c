/* Changes of the cache: a write transaction, the totals that it keeps right, and the files that go with what it drops.
 *
 * Order rule: a file is unlinked only once the transaction that forgets it is committed; a crash in between leaves a
 * file that nothing names, which the sweep finds. */
#include "cache_internal.h"

static const char totals_name[] = "totals";

int cache_totals_get(struct mg_cache *cache, MDB_txn *txn, struct totals *out)
{
    MDB_val key = env_val(totals_name, sizeof totals_name - 1), value;
    *out = (struct totals){.format = CACHE_FORMAT};
    int rc = mdb_get(txn, cache->db[DB_TOTALS], &key, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    if (value.mv_size != sizeof *out)
        return MDB_CORRUPTED;
    memcpy(out, value.mv_data, sizeof *out);
    return 0;
}

int cache_totals_put(struct mg_cache *cache, MDB_txn *txn, const struct totals *totals)
{
    MDB_val key = env_val(totals_name, sizeof totals_name - 1),
            value = env_val(totals, sizeof *totals);
    return mdb_put(txn, cache->db[DB_TOTALS], &key, &value, 0);
}

int cache_change_begin(struct mg_cache *cache, struct change *change)
{
    *change = (struct change){0};
    int rc = mdb_txn_begin(cache->env.mdb, NULL, 0, &change->txn);
    if (rc != 0)
        return rc;
    rc = cache_totals_get(cache, change->txn, &change->totals);
    if (rc != 0)
        mdb_txn_abort(change->txn);
    return rc;
}

static void unlink_doomed(struct mg_cache *cache, const struct doomed *doomed)
{
    struct mg_hash key;
    uint64_t file;
    for (size_t at = 0; at + sizeof key + sizeof file <= doomed->files.len;
         at += sizeof key + sizeof file) {
        memcpy(&key, doomed->files.data + at, sizeof key);
        memcpy(&file, doomed->files.data + at + sizeof key, sizeof file);
        cache_file_unlink(cache, &key, file);
    }
}

int cache_change_end(struct mg_cache *cache, struct change *change, int rc)
{
    rc = rc == MDB_NOTFOUND ? 0 : rc;
    rc = rc ? rc : cache_totals_put(cache, change->txn, &change->totals);
    if (rc != 0)
        mdb_txn_abort(change->txn);
    else
        rc = mdb_txn_commit(change->txn);
    if (rc == 0)
        unlink_doomed(cache, &change->doomed);
    mg_buf_fini(&change->doomed.files);
    return rc;
}
