/* The cache's opening: its size, and a damaged one set aside and made anew. */
#include "cache_internal.h"

#include "moongate/log.h"
#include "moongate/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const uint64_t map_spare = UINT64_C(64) << 20, max_default = UINT64_C(10) << 30,
                      max_least = UINT64_C(1) << 20;

static const char *const db_names[DB_COUNT] = {
    [DB_ENTRIES] = "entries", [DB_USES] = "uses",     [DB_AGES] = "ages",
    [DB_GROUPS] = "groups",   [DB_TOTALS] = "totals",
};

static void remove_env(const char *dir)
{
    char name[4160];
    static const char *const files[] = {"data.mdb", "lock.mdb", "damaged"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(name, sizeof name, "%s/%s", dir, files[i]);
        unlink(name);
    }
    rmdir(dir);
}

static enum mg_err set_aside(struct mg_cache *cache, const char *why, struct mg_errmsg *err)
{
    char from[4100], to[4100];
    snprintf(from, sizeof from, "%s/db", cache->dir);
    snprintf(to, sizeof to, "%s/db.damaged", cache->dir);
    remove_env(to);
    if (rename(from, to) != 0)
        return mg_err_set(err, MG_E_IO, "the damaged cache %s cannot be set aside: %s", from,
                          strerror(errno));
    mg_log_warn(
        "the cache was damaged and is made anew; the old one lies in %s until the next start (%s)",
        to, why);
    mg_metric_add(MG_M_CACHE_REBUILT, 1);
    return MG_OK;
}

static enum mg_err set_up(struct mg_cache *cache, struct mg_errmsg *err)
{
    MDB_txn *txn;
    struct totals totals;
    int rc = mdb_txn_begin(cache->env.mdb, NULL, 0, &txn);
    if (rc != 0)
        return env_error(rc, cache->dir, err);
    for (size_t i = 0; i < DB_COUNT && rc == 0; i++)
        rc = mdb_dbi_open(txn, db_names[i], MDB_CREATE, &cache->db[i]);
    if (rc == 0)
        rc = cache_totals_get(cache, txn, &totals);
    if (rc == 0 && totals.format != CACHE_FORMAT)
        rc = MDB_INVALID;
    if (rc == 0)
        rc = cache_totals_put(cache, txn, &totals);
    if (rc != 0)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    return env_error(rc, cache->dir, err);
}

/* The bound, and the map that fits it; map 0: that of the environment that is there. */
static enum mg_err size_up(struct mg_cache *cache, uint64_t max_bytes, size_t *map,
                           struct mg_errmsg *err)
{
    char data[4120];
    struct stat st;
    struct statvfs disk;
    snprintf(data, sizeof data, "%s/db/data.mdb", cache->dir);
    *map = 0;
    if (max_bytes == 0 && stat(data, &st) == 0 && st.st_size > 0)
        return MG_OK;
    if (max_bytes == 0) {
        if (statvfs(cache->dir, &disk) != 0)
            return mg_err_set(err, MG_E_IO, "%s: %s", cache->dir, strerror(errno));
        max_bytes = (uint64_t)disk.f_bavail * disk.f_frsize / 10;
        max_bytes = max_bytes > max_default ? max_default : max_bytes;
    }
    max_bytes = max_bytes < max_least ? max_least : max_bytes;
    cache->max_bytes = max_bytes;
    *map = (size_t)((max_bytes + max_bytes / 4 + map_spare + 4095) & ~UINT64_C(4095));
    return MG_OK;
}

static enum mg_err open_once(struct mg_cache *cache, uint64_t max_bytes, struct mg_errmsg *err)
{
    char db[4100];
    size_t map;
    MDB_envinfo info;
    snprintf(db, sizeof db, "%s/db", cache->dir);
    if (cache_guard_was_broken(cache))
        return mg_err_set(err, MG_E_BAD_FILE, "%s has a damaged value page", db);
    enum mg_err status = size_up(cache, max_bytes, &map, err);
    if (status == MG_OK)
        status = env_open(&cache->env, db, map, MDB_NOSYNC | MDB_NORDAHEAD, DB_COUNT, err);
    if (status != MG_OK)
        return status;
    if (map == 0) {
        mdb_env_info(cache->env.mdb, &info);
        uint64_t rest = info.me_mapsize > map_spare ? info.me_mapsize - map_spare : 0;
        cache->max_bytes = rest / 5 * 4 < max_least ? max_least : rest / 5 * 4;
    }
    status = set_up(cache, err);
    if (status == MG_OK && !cache_guard_start(cache))
        status = mg_err_set(err, MG_E_BAD_FILE, "%s: its pages are not where they say", cache->dir);
    if (status != MG_OK)
        env_close(&cache->env);
    return status;
}

enum mg_err mg_cache_open(const char *cache_dir, uint64_t max_bytes, struct mg_cache **out,
                          struct mg_errmsg *err)
{
    struct mg_cache *cache = calloc(1, sizeof *cache);
    struct mg_errmsg why = {""};
    char old[4100];
    if (!cache)
        return mg_err_set(err, MG_E_NOMEM, "out of memory while the cache was opened");
    enum mg_err status;
    if (snprintf(cache->dir, sizeof cache->dir, "%s", cache_dir) >= (int)sizeof cache->dir)
        status = mg_err_set(&why, MG_E_IO, "the name of the cache directory is too long");
    else
        status = env_make_dir(cache->dir, &why);
    if (status == MG_OK) {
        snprintf(old, sizeof old, "%s/db.damaged", cache->dir);
        status = open_once(cache, max_bytes, &why);
        if (status == MG_OK) {
            remove_env(old);
        } else if (status == MG_E_BAD_FILE) {
            status = set_aside(cache, why.text, &why);
            if (status == MG_OK)
                status = open_once(cache, max_bytes, &why);
        }
    }
    if (status == MG_OK) {
        *out = cache;
        return MG_OK;
    }
    free(cache);
    return mg_err_set(err, status, "%s", why.text);
}

void mg_cache_close(struct mg_cache **cache)
{
    if (!*cache)
        return;
    env_close(&(*cache)->env);
    free(*cache);
    *cache = NULL;
}
