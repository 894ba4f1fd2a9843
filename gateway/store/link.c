/* Sign-in links: a code of the shape of a token, stored by its SHA-256, that gives the account's
 * private token once. */
#include "state_internal.h"

#include <errno.h>

enum { VALID_S = 15 * 60, EXPIRED_MAX = 64 };

struct link {
    char org[MG_NAME_MAX], account[MG_NAME_MAX];
    int64_t expires_s;
};

static bool unpack(MDB_val value, struct link *out)
{
    struct mg_unpack in;
    mg_unpack_init(&in, value.mv_data, value.mv_size);
    mg_unpack_str(&in, out->org, sizeof out->org);
    mg_unpack_str(&in, out->account, sizeof out->account);
    out->expires_s = mg_unpack_int(&in);
    return mg_unpack_done(&in);
}

static int drop_expired(struct mg_state *state, MDB_txn *txn, int64_t now_s)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int dropped = 0, rc = mdb_cursor_open(txn, state->db[DB_LINKS], &cursor);
    if (rc != 0)
        return rc;
    while (dropped < EXPIRED_MAX && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct link link;
        if (unpack(value, &link) && link.expires_s > now_s)
            continue;
        rc = mdb_cursor_del(cursor, 0);
        if (rc != 0)
            break;
        dropped++;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

enum mg_err mg_link_create(struct mg_state *state, const char *org, const char *account,
                           int64_t now_s, char code[MG_TOKEN_LEN + 1], struct mg_errmsg *err)
{
    char name[TOKEN_KEY_MAX], made[MG_TOKEN_LEN + 1];
    struct mg_hash id;
    struct mg_buf packed;
    MDB_txn *txn;
    if (strlen(org) >= MG_NAME_MAX || strlen(account) >= MG_NAME_MAX)
        return mg_err_set(err, MG_E_NOT_FOUND, "there is no such account");
    enum mg_err status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    mg_token_make(made);
    mg_sha256(made, MG_TOKEN_LEN, &id);
    mg_buf_init(&packed, 0);
    mg_pack_str(&packed, org);
    mg_pack_str(&packed, account);
    mg_pack_int(&packed, now_s + VALID_S);
    MDB_val key = token_key(org, account, NULL, name, sizeof name), value;
    int rc = mdb_get(txn, state->db[DB_ACCOUNTS], &key, &value);
    if (rc == MDB_NOTFOUND) {
        status = mg_err_set(err, MG_E_NOT_FOUND, "there is no account %s in the organisation %s",
                            account, org);
    } else {
        rc = rc == 0 ? drop_expired(state, txn, now_s) : rc;
        key = env_val(&id, sizeof id);
        value = env_val(packed.data, packed.len);
        rc = packed.failed ? ENOMEM : rc;
        rc = rc == 0 ? mdb_put(txn, state->db[DB_LINKS], &key, &value, 0) : rc;
        status = state_error(state, rc, err);
    }
    status = state_end(state, txn, status, err);
    if (status == MG_OK)
        memcpy(code, made, sizeof made);
    mg_buf_fini(&packed);
    return status;
}

static enum mg_err refuse(struct mg_errmsg *err)
{
    return mg_err_set(
        err, MG_E_UNAUTHORIZED,
        "this sign-in link is not valid any more: `moongate account link` prints a new one");
}

/* Takes the link out and gives the token; an expired one is taken out too. */
static enum mg_err use(struct mg_state *state, MDB_txn *txn, const struct mg_hash *id,
                       int64_t now_s, bool *expired, struct mg_token *out, struct mg_errmsg *err)
{
    struct link link;
    MDB_val key = env_val(id, sizeof *id), value;
    int rc = mdb_get(txn, state->db[DB_LINKS], &key, &value);
    if (rc == MDB_NOTFOUND || (rc == 0 && !unpack(value, &link)))
        return refuse(err);
    if (rc == 0)
        rc = mdb_del(txn, state->db[DB_LINKS], &key, NULL);
    if (rc != 0)
        return state_error(state, rc, err);
    *expired = now_s >= link.expires_s;
    return *expired ? MG_OK : token_standing(state, txn, link.org, link.account, "", out, err);
}

enum mg_err mg_link_use(struct mg_state *state, struct mg_span code, int64_t now_s,
                        struct mg_token *account_token, struct mg_errmsg *err)
{
    struct mg_hash id;
    struct mg_token token;
    bool expired = false;
    if (!mg_token_well_formed(code))
        return refuse(err);
    mg_sha256(code.data, code.len, &id);
    /* Guesses must not reach the write lock. */
    MDB_val key = env_val(&id, sizeof id), value;
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return mg_err_set(err, MG_E_IO,
                          "no reader of the state is free: too many look-ups at once");
    int rc = mdb_get(txn, state->db[DB_LINKS], &key, &value);
    env_read_end(&state->env, txn);
    if (rc == MDB_NOTFOUND)
        return refuse(err);
    if (rc != 0)
        return state_error(state, rc, err);
    enum mg_err status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    status = state_end(state, txn, use(state, txn, &id, now_s, &expired, &token, err), err);
    if (status == MG_OK && expired)
        return refuse(err);
    if (status == MG_OK)
        *account_token = token;
    return status;
}
