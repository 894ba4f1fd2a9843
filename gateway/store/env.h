/* Env: what the state's and the cache's LMDB environment share: a careful open, pooled readers,
 * errors.
 *
 * One process opens an environment once, after its fork. Readers are kept reset between uses:
 * renewing one costs 0.1 us, and a reset one does not stop the reuse of pages. */
#ifndef MOONGATE_STORE_ENV_H
#define MOONGATE_STORE_ENV_H

#include "moongate/buf.h"

#include <lmdb.h>

enum { ENV_READERS = 16 };

struct env {
    MDB_env *mdb;
    _Atomic(MDB_txn *) readers[ENV_READERS];
};

/* Makes `dir` (0700) and its files (0600) when missing; as root they get the owner of the folder
 * above. Before LMDB maps the file its length and the structure of its tree are checked:
 * MG_E_BAD_FILE. map_bytes 0: as it was made. */
MG_MUST_CHECK enum mg_err env_open(struct env *env, const char *dir, size_t map_bytes,
                                   unsigned flags, unsigned max_dbs, struct mg_errmsg *err);
void env_close(struct env *env);

/* A read transaction on the last commit; NULL when none is to be had. Any thread. */
MDB_txn *env_read_begin(struct env *env);
void env_read_end(struct env *env, MDB_txn *txn);

/* What an LMDB result means to the reader of `err`: "what: why". */
enum mg_err env_error(int rc, const char *what, struct mg_errmsg *err);

/* mkdir -p, 0700. */
MG_MUST_CHECK enum mg_err env_make_dir(const char *path, struct mg_errmsg *err);
/* As root: `path` receives the owner of `model`. */
void env_own_like(const char *path, const char *model);

/* Reads data.mdb with pread and checks its length, both meta pages and each branch and leaf page
 * that the newest of them reaches. MG_E_BAD_FILE says what is wrong. A missing or empty file is
 * fine. env_check.c */
MG_MUST_CHECK enum mg_err env_check(const char *file, struct mg_errmsg *err);

static inline MDB_val env_val(const void *data, size_t len)
{
    return (MDB_val){len, (void *)(uintptr_t)data};
}
static inline struct mg_span env_span(MDB_val val)
{
    return (struct mg_span){val.mv_data, val.mv_size};
}

#endif
