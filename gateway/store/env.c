#include "env.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_READERS = 512 };

enum mg_err env_error(int rc, const char *what, struct mg_errmsg *err)
{
    switch (rc) {
    case MDB_SUCCESS:
        return MG_OK;
    case MDB_NOTFOUND:
        return mg_err_set(err, MG_E_NOT_FOUND, "%s: not found", what);
    case ENOMEM:
        return mg_err_set(err, MG_E_NOMEM, "%s: out of memory", what);
    case ENOSPC:
        return mg_err_set(err, MG_E_IO, "%s: the disk is full: make room on it", what);
    case EACCES:
    case EPERM:
        return mg_err_set(err, MG_E_IO,
                          "%s: permission denied: run as the user that owns the data directory",
                          what);
    case MDB_MAP_FULL:
        return mg_err_set(err, MG_E_IO, "%s: the environment is full", what);
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_PANIC:
        return mg_err_set(err, MG_E_BAD_FILE, "%s: the file is damaged (%s)", what,
                          mdb_strerror(rc));
    default:
        return mg_err_set(err, MG_E_IO, "%s: %s", what, mdb_strerror(rc));
    }
}

enum mg_err env_make_dir(const char *path, struct mg_errmsg *err)
{
    char part[PATH_MAX], above[PATH_MAX] = ".";
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof part)
        return mg_err_set(err, MG_E_IO, "the folder's name is empty or longer than %d bytes",
                          PATH_MAX - 1);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) == 0)
            env_own_like(part, above);
        else if (errno != EEXIST)
            return mg_err_set(err, MG_E_IO, "the folder %s cannot be made: %s", part,
                              strerror(errno));
        memcpy(above, part, i + 1);
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return mg_err_set(err, MG_E_IO, "%s is not a folder", path);
    return MG_OK;
}

void env_own_like(const char *path, const char *model)
{
    struct stat st, mine;
    if (geteuid() != 0 || stat(model, &st) != 0 || lstat(path, &mine) != 0)
        return;
    /* A failure shows when the other user opens the file, with its name. */
    if ((mine.st_uid != st.st_uid || mine.st_gid != st.st_gid) &&
        lchown(path, st.st_uid, st.st_gid) != 0)
        return;
}

enum mg_err env_open(struct env *env, const char *dir, size_t map_bytes, unsigned flags,
                     unsigned max_dbs, struct mg_errmsg *err)
{
    char data[PATH_MAX], lock[PATH_MAX];
    int rc, dead;
    *env = (struct env){0};
    if (snprintf(data, sizeof data, "%s/data.mdb", dir) >= PATH_MAX ||
        snprintf(lock, sizeof lock, "%s/lock.mdb", dir) >= PATH_MAX)
        return mg_err_set(err, MG_E_IO, "the name of the folder %s is too long", dir);
    enum mg_err status = env_make_dir(dir, err);
    if (status == MG_OK)
        status = env_check(data, err);
    if (status != MG_OK)
        return status;
    rc = mdb_env_create(&env->mdb);
    if (rc != 0)
        return env_error(rc, dir, err);
    rc = map_bytes ? mdb_env_set_mapsize(env->mdb, map_bytes) : 0;
    if (rc == 0)
        rc = mdb_env_set_maxdbs(env->mdb, max_dbs);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(env->mdb, MAX_READERS);
    if (rc == 0)
        rc = mdb_env_open(env->mdb, dir, MDB_NOTLS | flags, 0600);
    if (rc == 0)
        rc = mdb_reader_check(env->mdb, &dead); /* slots of killed processes hold pages */
    env_own_like(data, dir);
    env_own_like(lock, dir);
    if (rc != 0) {
        env_close(env);
        return env_error(rc, dir, err);
    }
    return MG_OK;
}

void env_close(struct env *env)
{
    for (size_t i = 0; i < ENV_READERS; i++) {
        MDB_txn *txn = atomic_exchange(&env->readers[i], NULL);
        if (txn)
            mdb_txn_abort(txn);
    }
    if (env->mdb)
        mdb_env_close(env->mdb);
    env->mdb = NULL;
}

/* Threads start at different slots, so that each mostly finds its own. */
static size_t first_slot(void)
{
    static atomic_uint next;
    static _Thread_local unsigned mine;
    if (!mine)
        mine = atomic_fetch_add(&next, 1) + 1;
    return mine % ENV_READERS;
}

MDB_txn *env_read_begin(struct env *env)
{
    size_t first = first_slot();
    MDB_txn *txn = NULL;
    for (size_t i = 0; i < ENV_READERS && !txn; i++)
        txn = atomic_exchange_explicit(&env->readers[(first + i) % ENV_READERS], NULL,
                                       memory_order_acquire);
    if (!txn)
        return mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn) == 0 ? txn : NULL;
    if (mdb_txn_renew(txn) == 0)
        return txn;
    mdb_txn_abort(txn);
    return NULL;
}

void env_read_end(struct env *env, MDB_txn *txn)
{
    size_t first = first_slot();
    mdb_txn_reset(txn);
    for (size_t i = 0; i < ENV_READERS; i++) {
        MDB_txn *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&env->readers[(first + i) % ENV_READERS], &none,
                                                    txn, memory_order_release,
                                                    memory_order_relaxed))
            return;
    }
    mdb_txn_abort(txn);
}
