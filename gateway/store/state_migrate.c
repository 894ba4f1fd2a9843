/* Migration of the state's format: a table of steps, each from one version to the next, all in one
 * transaction.
 *
 * Version 0 is an environment without a version record: tokens alone, without an order of creation
 * and without the look-up of standing tokens. An empty environment is of version 0 too, so a new
 * one takes the same path. */
#include "state_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum mg_err state_version(struct mg_state *state, MDB_txn *txn, int64_t *version,
                          struct mg_errmsg *err)
{
    MDB_val name = env_val("version", 7), value;
    int rc = mdb_get(txn, state->db[DB_META], &name, &value);
    *version = 0;
    if (rc == MDB_NOTFOUND)
        return MG_OK;
    if (rc != 0)
        return state_error(state, rc, err);
    struct mg_unpack in;
    mg_unpack_init(&in, value.mv_data, value.mv_size);
    *version = mg_unpack_int(&in);
    if (!mg_unpack_done(&in) || *version < 1)
        return mg_err_set(err, MG_E_BAD_FILE,
                          "the version record in %s is damaged: restore a backup", state->dir);
    return MG_OK;
}

static int by_creation(const void *a, const void *b)
{
    const struct mg_token *first = a, *second = b;
    if (first->created_s != second->created_s)
        return first->created_s < second->created_s ? -1 : 1;
    return memcmp(&first->id, &second->id, sizeof first->id);
}

static enum mg_err read_tokens(struct mg_state *state, MDB_txn *txn, struct mg_token **out,
                               size_t *n_out, struct mg_errmsg *err)
{
    MDB_stat stat;
    MDB_cursor *cursor;
    MDB_val key, value;
    struct mg_span sealed;
    size_t n = 0;
    enum mg_err status = MG_OK;
    int rc = mdb_stat(txn, state->db[DB_TOKENS], &stat);
    struct mg_token *tokens = rc == 0 ? calloc(stat.ms_entries + 1, sizeof *tokens) : NULL;
    if (!tokens)
        return state_error(state, rc ? rc : ENOMEM, err);
    rc = mdb_cursor_open(txn, state->db[DB_TOKENS], &cursor);
    if (rc == 0) {
        while (n < stat.ms_entries && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
            if (key.mv_size != sizeof tokens[n].id || !token_unpack(value, &tokens[n], &sealed)) {
                status = mg_err_set(err, MG_E_BAD_FILE,
                                    "a token in %s is damaged: restore a backup", state->dir);
                break;
            }
            memcpy(&tokens[n++].id, key.mv_data, key.mv_size);
        }
        mdb_cursor_close(cursor);
    }
    if (status == MG_OK && rc != 0 && rc != MDB_NOTFOUND)
        status = state_error(state, rc, err);
    if (status != MG_OK) {
        free(tokens);
        return status;
    }
    *out = tokens;
    *n_out = n;
    return MG_OK;
}

static int put_account(struct mg_state *state, MDB_txn *txn, const char *org, const char *account,
                       int64_t created_s)
{
    char name[TOKEN_KEY_MAX];
    struct mg_buf packed;
    mg_buf_init(&packed, 0);
    mg_pack_int(&packed, created_s);
    MDB_val key = token_key(org, account, NULL, name, sizeof name),
            value = env_val(packed.data, packed.len);
    int rc = packed.failed ? ENOMEM
                           : mdb_put(txn, state->db[DB_ACCOUNTS], &key, &value, MDB_NOOVERWRITE);
    mg_buf_fini(&packed);
    return rc == MDB_KEYEXIST ? 0 : rc;
}

/* The oldest token that is not revoked stands for its UDF. */
static enum mg_err from_0(struct mg_state *state, MDB_txn *txn, struct mg_errmsg *err)
{
    struct mg_token *tokens = NULL;
    size_t n = 0;
    enum mg_err status = read_tokens(state, txn, &tokens, &n, err);
    if (status != MG_OK)
        return status;
    qsort(tokens, n, sizeof *tokens, by_creation);
    for (size_t i = 0; i < n && status == MG_OK; i++) {
        char name[TOKEN_KEY_MAX];
        struct mg_token *token = &tokens[i];
        MDB_val key = token_key(token->org, token->account, token->udf, name, sizeof name);
        MDB_val id = env_val(&token->id, sizeof token->id);
        status = token_put_order(state, txn, token, err);
        if (status == MG_OK)
            status = state_error(
                state, put_account(state, txn, token->org, token->account, token->created_s), err);
        if (status == MG_OK && !token->revoked_s && !token->expires_s) {
            int rc = mdb_put(txn, state->db[DB_STANDING], &key, &id, MDB_NOOVERWRITE);
            status = state_error(state, rc == MDB_KEYEXIST ? 0 : rc, err);
        }
    }
    free(tokens);
    if (status == MG_OK)
        status = state_error(
            state, put_account(state, txn, "local", "owner@local", (int64_t)time(NULL)), err);
    return status;
}

typedef enum mg_err migrate_f(struct mg_state *state, MDB_txn *txn, struct mg_errmsg *err);

/* steps[n] makes version n + 1 of version n. */
static migrate_f *const steps[] = {from_0};
_Static_assert(sizeof steps / sizeof *steps == MG_STATE_VERSION, "a step for each version");

enum mg_err state_migrate(struct mg_state *state, MDB_txn *txn, struct mg_errmsg *err)
{
    int64_t version;
    enum mg_err status = state_version(state, txn, &version, err);
    if (status == MG_OK && version > MG_STATE_VERSION)
        return mg_err_set(err, MG_E_CONFLICT,
                          "the state in %s has format version %lld, this moongate knows versions "
                          "up to %d: run the "
                          "newer moongate, or restore a backup of before",
                          state->dir, (long long)version, MG_STATE_VERSION);
    if (status != MG_OK || version == MG_STATE_VERSION)
        return status;
    for (; version < MG_STATE_VERSION && status == MG_OK; version++)
        status = steps[version](state, txn, err);
    if (status != MG_OK)
        return status;
    struct mg_buf packed;
    mg_buf_init(&packed, 0);
    mg_pack_int(&packed, version);
    MDB_val name = env_val("version", 7), value = env_val(packed.data, packed.len);
    int rc = packed.failed ? ENOMEM : mdb_put(txn, state->db[DB_META], &name, &value, 0);
    mg_buf_fini(&packed);
    return state_error(state, rc, err);
}
