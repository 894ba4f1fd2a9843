/* Guard of deletions. The start check of env_check.c reads only so many heads of value pages (a
 * cache of 10 GB has a quarter of a million); this looks at the one head that LMDB is about to use.
 * Cost: 50 ns. */
#include "cache_internal.h"

#include "moongate/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { PAGE_HEAD = 16, NODE_HEAD = 8, P_OVERFLOW = 0x04 };

static void marker_name(const struct mg_cache *cache, char *out, size_t size)
{
    snprintf(out, size, "%s/db/damaged", cache->dir);
}

/* LMDB does not tell where its map lies; a row on a checked leaf page does. */
bool cache_guard_start(struct mg_cache *cache)
{
    MDB_stat stat;
    MDB_val key = env_val("totals", 6), value;
    MDB_txn *txn = env_read_begin(&cache->env);
    if (!txn)
        return false;
    bool good = mdb_env_stat(cache->env.mdb, &stat) == 0 &&
                mdb_get(txn, cache->db[DB_TOTALS], &key, &value) == 0;
    if (good) {
        const char *page =
            (const char *)((uintptr_t)value.mv_data & ~((uintptr_t)stat.ms_psize - 1));
        uint64_t number;
        memcpy(&number, page, sizeof number);
        cache->page_bytes = stat.ms_psize;
        cache->map_base = page - number * stat.ms_psize;
    }
    env_read_end(&cache->env, txn);
    return good;
}

int cache_guard_check(struct mg_cache *cache, MDB_txn *txn, const struct mg_hash *key)
{
    MDB_val k = env_val(key, sizeof *key), v;
    int rc = mdb_get(txn, cache->db[DB_ENTRIES], &k, &v);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    /* LMDB's rule for what lies in a leaf page. */
    if (NODE_HEAD + sizeof *key + v.mv_size <= ((cache->page_bytes - PAGE_HEAD) / 2 & ~1u) - 2)
        return 0;
    const char *page = (const char *)v.mv_data - PAGE_HEAD;
    uint64_t number;
    uint32_t pages;
    uint16_t flags;
    memcpy(&number, page, sizeof number);
    memcpy(&flags, page + 10, sizeof flags);
    memcpy(&pages, page + 12, sizeof pages);
    if (page == cache->map_base + number * cache->page_bytes && flags == P_OVERFLOW &&
        pages == (PAGE_HEAD + v.mv_size + cache->page_bytes - 1) / cache->page_bytes)
        return 0;
    char marker[4100];
    marker_name(cache, marker, sizeof marker);
    int fd = open(marker, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    mg_log_error("the cache in %s is damaged in a place that cannot be deleted: nothing in it "
                 "changes until the next "
                 "start, which makes it anew",
                 cache->dir);
    return MDB_CORRUPTED;
}

bool cache_guard_was_broken(const struct mg_cache *cache)
{
    char marker[4100];
    marker_name(cache, marker, sizeof marker);
    return access(marker, F_OK) == 0;
}
