/* State: opening the environment, server.key, write transactions, and signature records.
 *
 * Invariant: an acknowledged write is on disk (LMDB syncs data, then meta page, before
 * mdb_txn_commit returns), and the sealed texts fit server.key, whose fingerprint the environment
 * holds. Cost: a write about 1 ms on an SSD. */
#include "state_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIGNATURE_MAX = 1 << 20 };
static const size_t map_bytes = (size_t)4 << 30; /* address space, not disk */

static const char *const db_names[DB_COUNT] = {
    [DB_META] = "meta",
    [DB_TOKENS] = "tokens",
    [DB_ORDER] = "order",
    [DB_STANDING] = "standing",
    [DB_ACCOUNTS] = "accounts",
    [DB_LINKS] = "links",
    [DB_SIGNATURES] = "signatures",
    [DB_UDFS] = "udfs",
    [DB_UDF_NAMES] = "udf_names",
    [DB_UDF_PUBLIC] = "udf_public",
    [DB_VERSIONS] = "versions",
    [DB_PACKAGES] = "packages",
    [DB_SECRETS] = "secrets",
};

enum mg_err state_error(struct mg_state *state, int rc, struct mg_errmsg *err)
{
    if (rc == MDB_MAP_FULL)
        return mg_err_set(err, MG_E_IO, "the state in %s has reached its limit of %zu MB",
                          state->dir, map_bytes >> 20);
    return env_error(rc, state->dir, err);
}

enum mg_err state_begin(struct mg_state *state, MDB_txn **txn, struct mg_errmsg *err)
{
    int64_t version;
    int rc = mdb_txn_begin(state->env.mdb, NULL, 0, txn);
    if (rc != 0)
        return state_error(state, rc, err);
    enum mg_err status = state_version(state, *txn, &version, err);
    if (status == MG_OK && version != MG_STATE_VERSION)
        status = mg_err_set(
            err, MG_E_CONFLICT,
            "the state in %s was migrated to format version %lld meanwhile: restart this moongate "
            "(it knows version %d)",
            state->dir, (long long)version, MG_STATE_VERSION);
    if (status != MG_OK)
        mdb_txn_abort(*txn);
    return status;
}

enum mg_err state_end(struct mg_state *state, MDB_txn *txn, enum mg_err status,
                      struct mg_errmsg *err)
{
    if (status != MG_OK) {
        mdb_txn_abort(txn);
        return status;
    }
    return state_error(state, mdb_txn_commit(txn), err);
}

static bool read_key(const char *path, uint8_t key[32], enum mg_err *status, struct mg_errmsg *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return false;
    if (fd < 0 || fstat(fd, &st) != 0)
        *status = mg_err_set(err, MG_E_IO, "%s cannot be read: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size != 32 || read(fd, key, 32) != 32)
        *status = mg_err_set(err, MG_E_BAD_FILE,
                             "%s does not hold 32 bytes: restore it from a backup", path);
    else
        *status = MG_OK;
    if (fd >= 0)
        close(fd);
    return true;
}

/* Durable before it receives its name, and only the first of several processes names one. */
static enum mg_err make_key(const char *data_dir, const char *path, struct mg_errmsg *err)
{
    char temp[4200];
    uint8_t key[32];
    mg_random(key, sizeof key);
    snprintf(temp, sizeof temp, "%s.%ld", path, (long)getpid());
    unlink(temp);
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int dir = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good =
        fd >= 0 && dir >= 0 && write(fd, key, sizeof key) == (ssize_t)sizeof key && fsync(fd) == 0;
    if (good) {
        env_own_like(temp, data_dir);
        good = (link(temp, path) == 0 || errno == EEXIST) && fsync(dir) == 0;
    }
    int why = errno;
    if (fd >= 0) {
        close(fd);
        unlink(temp);
    }
    if (dir >= 0)
        close(dir);
    return good ? MG_OK : mg_err_set(err, MG_E_IO, "%s cannot be written: %s", path, strerror(why));
}

static enum mg_err load_key(struct mg_state *state, const char *data_dir, struct mg_errmsg *err)
{
    char path[4128];
    struct stat st;
    enum mg_err status = MG_OK;
    snprintf(path, sizeof path, "%s/server.key", data_dir);
    if (read_key(path, state->key, &status, err))
        return status;
    char data[4128];
    snprintf(data, sizeof data, "%s/data.mdb", state->dir);
    if (stat(data, &st) == 0 && st.st_size > 0)
        return mg_err_set(
            err, MG_E_NO_FILE,
            "%s is missing, but %s holds tokens sealed under it: restore it from a backup, or move "
            "%s away to begin anew",
            path, state->dir, state->dir);
    status = make_key(data_dir, path, err);
    if (status == MG_OK && !read_key(path, state->key, &status, err))
        status = mg_err_set(err, MG_E_IO, "%s went away", path);
    return status;
}

static void key_print(const struct mg_state *state, struct mg_hash *out)
{
    mg_hmac_sha256((struct mg_span){(const char *)state->key, sizeof state->key},
                   MG_SPAN("moongate state"), out);
}

static enum mg_err check_key(struct mg_state *state, MDB_txn *txn, struct mg_errmsg *err)
{
    struct mg_hash print;
    MDB_val name = env_val("key", 3), found;
    key_print(state, &print);
    int rc = mdb_get(txn, state->db[DB_META], &name, &found);
    if (rc == MDB_NOTFOUND) {
        MDB_val value = env_val(&print, sizeof print);
        return state_error(state, mdb_put(txn, state->db[DB_META], &name, &value, 0), err);
    }
    if (rc != 0)
        return state_error(state, rc, err);
    if (found.mv_size != sizeof print || !mg_equal_secret(found.mv_data, &print, sizeof print))
        return mg_err_set(err, MG_E_BAD_FILE,
                          "server.key is not the one that the tokens in %s are sealed under: "
                          "restore both from the "
                          "same backup",
                          state->dir);
    return MG_OK;
}

/* A write each time: with the handles it makes the databases, and it proves that the disk can be
 * written. */
static enum mg_err set_up(struct mg_state *state, struct mg_errmsg *err)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(state->env.mdb, NULL, 0, &txn);
    if (rc != 0)
        return state_error(state, rc, err);
    for (size_t i = 0; i < DB_COUNT && rc == 0; i++)
        rc = mdb_dbi_open(txn, db_names[i], MDB_CREATE, &state->db[i]);
    enum mg_err status = state_error(state, rc, err);
    if (status == MG_OK)
        status = state_migrate(state, txn, err);
    if (status == MG_OK)
        status = check_key(state, txn, err);
    return state_end(state, txn, status, err);
}

enum mg_err mg_state_open(const char *data_dir, struct mg_state **out, struct mg_errmsg *err)
{
    struct mg_state *state = calloc(1, sizeof *state);
    if (!state)
        return mg_err_set(err, MG_E_NOMEM, "out of memory while the state was opened");
    enum mg_err status;
    if (snprintf(state->dir, sizeof state->dir, "%s/state", data_dir) >= (int)sizeof state->dir)
        status = mg_err_set(err, MG_E_IO, "the name of the data directory is too long");
    else
        status = env_make_dir(data_dir, err);
    if (status == MG_OK)
        status = load_key(state, data_dir, err);
    if (status == MG_OK) {
        status = env_open(&state->env, state->dir, map_bytes, 0, DB_COUNT, err);
        if (status == MG_E_BAD_FILE && err) {
            struct mg_errmsg why = *err;
            mg_err_set(err, status, "%s. Restore %s from a backup", why.text, state->dir);
        }
    }
    if (status == MG_OK)
        status = set_up(state, err);
    if (status == MG_OK)
        *out = state;
    else
        mg_state_close(&state);
    return status;
}

void mg_state_close(struct mg_state **state)
{
    if (!*state)
        return;
    env_close(&(*state)->env);
    explicit_bzero((*state)->key, sizeof(*state)->key);
    free(*state);
    *state = NULL;
}

uint64_t mg_state_generation(struct mg_state *state)
{
    MDB_envinfo info = {0};
    return mdb_env_info(state->env.mdb, &info) == 0 ? info.me_last_txnid : 0;
}

enum mg_err mg_signature_get(struct mg_state *state, const struct mg_hash *code, struct mg_buf *out)
{
    MDB_val key = env_val(code, sizeof *code), value;
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return MG_E_IO;
    int rc = mdb_get(txn, state->db[DB_SIGNATURES], &key, &value);
    if (rc == 0)
        mg_buf_put(out, value.mv_data, value.mv_size);
    env_read_end(&state->env, txn);
    return rc == 0 ? mg_buf_status(out, NULL) : env_error(rc, "", NULL);
}

enum mg_err mg_signature_put(struct mg_state *state, const struct mg_hash *code,
                             struct mg_span json, struct mg_errmsg *err)
{
    MDB_txn *txn;
    MDB_val key = env_val(code, sizeof *code), value = env_val(json.data, json.len);
    if (json.len == 0 || json.len > SIGNATURE_MAX)
        return mg_err_set(err, MG_E_TOO_LARGE,
                          "a signature record has %zu bytes; 1 to %d are possible", json.len,
                          SIGNATURE_MAX);
    enum mg_err status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    return state_end(
        state, txn,
        state_error(state, mdb_put(txn, state->db[DB_SIGNATURES], &key, &value, 0), err), err);
}
