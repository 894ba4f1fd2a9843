/* Token records: packed org, account, udf, enabled, created_s, expires_s, max_age_s, revoked_s,
 * sealed text. */
#include "state_internal.h"

#include <errno.h>
#include <stdio.h>

bool token_unpack(MDB_val record, struct mg_token *out, struct mg_span *sealed)
{
    struct mg_unpack in;
    out->text[0] = '\0';
    mg_unpack_init(&in, record.mv_data, record.mv_size);
    mg_unpack_str(&in, out->org, sizeof out->org);
    mg_unpack_str(&in, out->account, sizeof out->account);
    mg_unpack_str(&in, out->udf, sizeof out->udf);
    out->enabled = mg_unpack_bool(&in);
    out->created_s = mg_unpack_int(&in);
    out->expires_s = mg_unpack_int(&in);
    out->max_age_s = mg_unpack_int(&in);
    out->revoked_s = mg_unpack_int(&in);
    *sealed = mg_unpack_bytes(&in);
    return mg_unpack_done(&in);
}

enum mg_err token_put(struct mg_state *state, MDB_txn *txn, const struct mg_token *token,
                      struct mg_span sealed, struct mg_errmsg *err)
{
    struct mg_buf out;
    mg_buf_init(&out, 0);
    mg_pack_str(&out, token->org);
    mg_pack_str(&out, token->account);
    mg_pack_str(&out, token->udf);
    mg_pack_bool(&out, token->enabled);
    mg_pack_int(&out, token->created_s);
    mg_pack_int(&out, token->expires_s);
    mg_pack_int(&out, token->max_age_s);
    mg_pack_int(&out, token->revoked_s);
    mg_pack_bytes(&out, sealed.data, sealed.len);
    MDB_val key = env_val(&token->id, sizeof token->id), value = env_val(out.data, out.len);
    int rc = out.failed ? ENOMEM : mdb_put(txn, state->db[DB_TOKENS], &key, &value, 0);
    mg_buf_fini(&out);
    return state_error(state, rc, err);
}

/* The id is checked too, so that a text cannot be moved to another record. */
static void unseal_text(struct mg_state *state, struct mg_span sealed, struct mg_token *out)
{
    struct mg_buf plain;
    struct mg_hash id;
    mg_buf_init(&plain, MG_TOKEN_LEN);
    if (mg_unseal(state->key, sealed, &plain) == MG_OK && plain.len == MG_TOKEN_LEN) {
        mg_sha256(plain.data, plain.len, &id);
        if (mg_hash_eq(&id, &out->id))
            memcpy(out->text, plain.data, MG_TOKEN_LEN + 1);
    }
    if (plain.data)
        explicit_bzero(plain.data, plain.cap);
    mg_buf_fini(&plain);
}

enum mg_err token_get(struct mg_state *state, MDB_txn *txn, const struct mg_hash *id, bool unseal,
                      struct mg_token *out, struct mg_errmsg *err)
{
    struct mg_token token;
    struct mg_span sealed;
    MDB_val key = env_val(id, sizeof *id), value;
    int rc = mdb_get(txn, state->db[DB_TOKENS], &key, &value);
    if (rc == MDB_NOTFOUND)
        return mg_err_set(err, MG_E_NOT_FOUND,
                          "there is no such token: `moongate token list` shows them");
    if (rc != 0)
        return state_error(state, rc, err);
    if (!token_unpack(value, &token, &sealed))
        return mg_err_set(err, MG_E_BAD_FILE, "a token's record in %s is damaged: restore a backup",
                          state->dir);
    token.id = *id;
    if (unseal)
        unseal_text(state, sealed, &token);
    *out = token;
    return MG_OK;
}

MDB_val token_key(const char *org, const char *account, const char *udf, char *buf, size_t size)
{
    int n = udf ? snprintf(buf, size, "%s%c%s%c%s", org, 0, account, 0, udf)
                : snprintf(buf, size, "%s%c%s", org, 0, account);
    MG_ASSERT(n > 0 && (size_t)n < size);
    return env_val(buf, (size_t)n);
}

enum mg_err token_put_order(struct mg_state *state, MDB_txn *txn, const struct mg_token *token,
                            struct mg_errmsg *err)
{
    uint8_t last[MG_NAME_MAX + 9];
    size_t org_len = strlen(token->org) + 1;
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t number = 0;
    int rc = mdb_cursor_open(txn, state->db[DB_ORDER], &cursor);
    if (rc != 0)
        return state_error(state, rc, err);
    memcpy(last, token->org, org_len);
    memset(last + org_len, 0xFF, 8);
    key = env_val(last, org_len + 8);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    rc = mdb_cursor_get(cursor, &key, &value, rc == 0 ? MDB_PREV : MDB_LAST);
    if (rc == 0 && key.mv_size == org_len + 8 && memcmp(key.mv_data, token->org, org_len) == 0) {
        memcpy(&number, (const char *)key.mv_data + org_len, 8);
        number = __builtin_bswap64(number) + 1;
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return state_error(state, rc, err);
    number = __builtin_bswap64(number);
    memcpy(last + org_len, &number, 8);
    key = env_val(last, org_len + 8);
    value = env_val(&token->id, sizeof token->id);
    return state_error(state, mdb_put(txn, state->db[DB_ORDER], &key, &value, 0), err);
}
