/* Tokens: made, looked up, revoked, listed. The text itself is stored only sealed; look-ups go by
 * its SHA-256.
 *
 * A check tells nothing about why it failed: each refusal has the same error and the same message.
 */
#include "state_internal.h"

#include <strings.h>
#include <time.h>

enum { ID_DIGITS_MIN = 8 };

/* Organisations name folders, so their names are plain. */
static bool name_fits(const char *name, size_t size, const char *more)
{
    size_t n = strnlen(name, size);
    if (n == 0 || n >= size || name[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool word =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!word && !strchr(more, c))
            return false;
    }
    return true;
}

static enum mg_err check_names(const struct mg_token *token, struct mg_errmsg *err)
{
    if (!name_fits(token->org, sizeof token->org, "-."))
        return mg_err_set(err, MG_E_INVALID,
                          "an organisation's name has 1 to %d letters, digits, '_', '-' and '.', "
                          "and no '.' in front",
                          MG_NAME_MAX - 1);
    if (!name_fits(token->account, sizeof token->account, "-.@+"))
        return mg_err_set(
            err, MG_E_INVALID,
            "an account's name has 1 to %d letters, digits, '_', '-', '.', '+' and '@'",
            MG_NAME_MAX - 1);
    if (strnlen(token->udf, sizeof token->udf) == sizeof token->udf)
        return mg_err_set(err, MG_E_INVALID, "a UDF's name has at most %zu bytes",
                          sizeof token->udf - 1);
    return MG_OK;
}

static int put_account(struct mg_state *state, MDB_txn *txn, const struct mg_token *token)
{
    char name[TOKEN_KEY_MAX];
    char packed[9] = {'i'};
    memcpy(packed + 1, &token->created_s, 8);
    MDB_val key = token_key(token->org, token->account, NULL, name, sizeof name);
    MDB_val value = env_val(packed, sizeof packed);
    int rc = mdb_put(txn, state->db[DB_ACCOUNTS], &key, &value, MDB_NOOVERWRITE);
    return rc == MDB_KEYEXIST ? 0 : rc;
}

/* Makes `token` within `txn` from its org, account, udf, expires_s and max_age_s. */
static enum mg_err create(struct mg_state *state, MDB_txn *txn, struct mg_token *token,
                          struct mg_errmsg *err)
{
    struct mg_buf sealed;
    mg_buf_init(&sealed, 0);
    mg_token_make(token->text);
    mg_sha256(token->text, MG_TOKEN_LEN, &token->id);
    token->enabled = true;
    token->created_s = (int64_t)time(NULL);
    token->revoked_s = 0;
    enum mg_err status = mg_seal(state->key, mg_span(token->text), &sealed);
    if (status != MG_OK)
        mg_err_set(err, status, "the token's text could not be sealed");
    else
        status = token_put(state, txn, token, (struct mg_span){sealed.data, sealed.len}, err);
    if (status == MG_OK)
        status = token_put_order(state, txn, token, err);
    if (status == MG_OK)
        status = state_error(state, put_account(state, txn, token), err);
    mg_buf_fini(&sealed);
    return status;
}

enum mg_err mg_token_create(struct mg_state *state, struct mg_token *token, struct mg_errmsg *err)
{
    struct mg_token made = *token;
    MDB_txn *txn;
    enum mg_err status = check_names(&made, err);
    if (status == MG_OK)
        status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    status = state_end(state, txn, create(state, txn, &made, err), err);
    if (status == MG_OK)
        *token = made;
    return status;
}

enum mg_err mg_token_check(struct mg_state *state, struct mg_span text, int64_t now_s,
                           struct mg_token *out, struct mg_errmsg *err)
{
    struct mg_hash id;
    struct mg_token token;
    enum mg_err status = MG_E_NOT_FOUND;
    if (mg_token_well_formed(text)) {
        mg_sha256(text.data, text.len, &id);
        MDB_txn *txn = env_read_begin(&state->env);
        if (!txn)
            return mg_err_set(err, MG_E_IO,
                              "no reader of the state is free: too many look-ups at once");
        status = token_get(state, txn, &id, false, &token, NULL);
        env_read_end(&state->env, txn);
    }
    if (status == MG_OK && token.enabled && !token.revoked_s &&
        (!token.expires_s || now_s < token.expires_s)) {
        *out = token;
        return MG_OK;
    }
    return mg_err_set(err, MG_E_UNAUTHORIZED, "%s", mg_err_text(MG_E_UNAUTHORIZED));
}

/* The standing token of the key, unless it was revoked. */
static enum mg_err standing_get(struct mg_state *state, MDB_txn *txn, MDB_val key,
                                struct mg_token *out, struct mg_errmsg *err)
{
    MDB_val value;
    struct mg_hash id;
    int rc = mdb_get(txn, state->db[DB_STANDING], &key, &value);
    if (rc == 0 && value.mv_size != sizeof id)
        rc = MDB_CORRUPTED;
    if (rc != 0)
        return state_error(state, rc, err);
    memcpy(&id, value.mv_data, sizeof id);
    enum mg_err status = token_get(state, txn, &id, true, out, err);
    return status == MG_OK && out->revoked_s ? MG_E_NOT_FOUND : status;
}

enum mg_err token_standing(struct mg_state *state, MDB_txn *txn, const char *org,
                           const char *account, const char *udf, struct mg_token *out,
                           struct mg_errmsg *err)
{
    char name[TOKEN_KEY_MAX];
    MDB_val key = token_key(org, account, udf, name, sizeof name);
    enum mg_err status = standing_get(state, txn, key, out, err);
    if (status != MG_E_NOT_FOUND)
        return status;
    struct mg_token made = {.max_age_s = -1};
    memcpy(made.org, org, strlen(org) + 1);
    memcpy(made.account, account, strlen(account) + 1);
    memcpy(made.udf, udf, strlen(udf) + 1);
    MDB_val id = env_val(&made.id, sizeof made.id);
    status = create(state, txn, &made, err);
    if (status == MG_OK)
        status = state_error(state, mdb_put(txn, state->db[DB_STANDING], &key, &id, 0), err);
    if (status == MG_OK)
        *out = made;
    return status;
}

static enum mg_err find_or_make(struct mg_state *state, const char *org, const char *account,
                                const char *udf, struct mg_token *out, struct mg_errmsg *err)
{
    struct mg_token token = {0};
    if (strlen(org) >= sizeof token.org || strlen(account) >= sizeof token.account ||
        strlen(udf) >= sizeof token.udf)
        return mg_err_set(err, MG_E_INVALID,
                          "the name of an organisation, an account or a UDF is too long");
    memcpy(token.org, org, strlen(org) + 1);
    memcpy(token.account, account, strlen(account) + 1);
    enum mg_err status = check_names(&token, err);
    if (status != MG_OK)
        return status;

    char name[TOKEN_KEY_MAX];
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return mg_err_set(err, MG_E_IO,
                          "no reader of the state is free: too many look-ups at once");
    status = standing_get(state, txn, token_key(org, account, udf, name, sizeof name), &token, err);
    env_read_end(&state->env, txn);
    if (status == MG_E_NOT_FOUND) {
        status = state_begin(state, &txn, err);
        if (status == MG_OK)
            status = state_end(state, txn,
                               token_standing(state, txn, org, account, udf, &token, err), err);
    }
    if (status == MG_OK)
        *out = token;
    return status;
}

enum mg_err mg_token_of_udf(struct mg_state *state, const char *org, const char *account,
                            const char *udf, struct mg_token *out, struct mg_errmsg *err)
{
    if (!udf[0])
        return mg_err_set(err, MG_E_INVALID, "a UDF's token needs the UDF's name");
    return find_or_make(state, org, account, udf, out, err);
}

enum mg_err mg_token_of_account(struct mg_state *state, const char *org, const char *account,
                                struct mg_token *out, struct mg_errmsg *err)
{
    return find_or_make(state, org, account, "", out, err);
}

static bool has_digits(const struct mg_hash *id, struct mg_span digits)
{
    char hex[65];
    mg_hash_hex(id, hex);
    return strncasecmp(hex, digits.data, digits.len) == 0;
}

/* The one token of `org` whose id begins with these hex digits. */
static enum mg_err find_by_digits(struct mg_state *state, MDB_txn *txn, const char *org,
                                  struct mg_span digits, struct mg_token *out,
                                  struct mg_errmsg *err)
{
    char padded[64];
    struct mg_hash first;
    struct mg_token token;
    struct mg_span sealed;
    MDB_cursor *cursor;
    size_t found = 0;
    memset(padded, '0', sizeof padded);
    if (digits.len < ID_DIGITS_MIN || digits.len > sizeof padded)
        goto none;
    memcpy(padded, digits.data, digits.len);
    if (!mg_hash_from_hex((struct mg_span){padded, sizeof padded}, &first))
        goto none;
    int rc = mdb_cursor_open(txn, state->db[DB_TOKENS], &cursor);
    if (rc != 0)
        return state_error(state, rc, err);
    MDB_val key = env_val(&first, sizeof first), value;
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); rc == 0 && found < 2;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size != sizeof token.id)
            continue;
        memcpy(&token.id, key.mv_data, sizeof token.id);
        if (!has_digits(&token.id, digits))
            break;
        if (token_unpack(value, &token, &sealed) && strcmp(token.org, org) == 0) {
            *out = token;
            found++;
        }
    }
    mdb_cursor_close(cursor);
    if (found == 1)
        return MG_OK;
    if (found > 1)
        return mg_err_set(err, MG_E_CONFLICT,
                          "several tokens begin with these digits: give more of them");
none:
    return mg_err_set(err, MG_E_NOT_FOUND,
                      "there is no such token: give its text or at least %d hex digits of its id "
                      "(`moongate token "
                      "list` shows them)",
                      ID_DIGITS_MIN);
}

static enum mg_err find(struct mg_state *state, MDB_txn *txn, const char *org,
                        struct mg_span text_or_id, struct mg_token *out, struct mg_errmsg *err)
{
    if (!mg_span_starts(text_or_id, "msh_"))
        return find_by_digits(state, txn, org, text_or_id, out, err);
    struct mg_hash id;
    mg_sha256(text_or_id.data, text_or_id.len, &id);
    enum mg_err status = token_get(state, txn, &id, false, out, err);
    if (status == MG_OK && strcmp(out->org, org) != 0)
        status = mg_err_set(err, MG_E_NOT_FOUND,
                            "there is no such token: `moongate token list` shows them");
    return status;
}

/* Puts `token`, which is there, with the sealed text that it has. */
static enum mg_err rewrite(struct mg_state *state, MDB_txn *txn, const struct mg_token *token,
                           struct mg_errmsg *err)
{
    struct mg_token old;
    struct mg_span sealed;
    struct mg_buf copy; /* LMDB may move the record while it writes */
    MDB_val key = env_val(&token->id, sizeof token->id), value;
    int rc = mdb_get(txn, state->db[DB_TOKENS], &key, &value);
    if (rc == 0 && !token_unpack(value, &old, &sealed))
        rc = MDB_CORRUPTED;
    if (rc != 0)
        return state_error(state, rc, err);
    mg_buf_init(&copy, 0);
    mg_buf_put(&copy, sealed.data, sealed.len);
    enum mg_err status = mg_buf_status(&copy, err);
    if (status == MG_OK)
        status = token_put(state, txn, token, (struct mg_span){copy.data, copy.len}, err);
    mg_buf_fini(&copy);
    return status;
}

enum mg_err mg_token_revoke(struct mg_state *state, const char *org, struct mg_span text_or_id,
                            struct mg_token *out, struct mg_errmsg *err)
{
    struct mg_token token;
    MDB_txn *txn;
    enum mg_err status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    status = find(state, txn, org, text_or_id, &token, err);
    if (status == MG_OK && !token.revoked_s) {
        token.revoked_s = (int64_t)time(NULL);
        status = rewrite(state, txn, &token, err);
    }
    status = state_end(state, txn, status, err);
    if (status == MG_OK && out)
        *out = token;
    return status;
}

enum mg_err mg_token_enable(struct mg_state *state, const char *org, struct mg_span text_or_id,
                            bool enabled, struct mg_token *out, struct mg_errmsg *err)
{
    struct mg_token token;
    MDB_txn *txn;
    enum mg_err status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    status = find(state, txn, org, text_or_id, &token, err);
    if (status == MG_OK && token.enabled != enabled) {
        token.enabled = enabled;
        status = rewrite(state, txn, &token, err);
    }
    status = state_end(state, txn, status, err);
    if (status == MG_OK && out)
        *out = token;
    return status;
}

enum mg_err mg_token_get(struct mg_state *state, const char *org, struct mg_span text_or_id,
                         struct mg_token *out, struct mg_errmsg *err)
{
    struct mg_token token;
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return mg_err_set(err, MG_E_IO,
                          "no reader of the state is free: too many look-ups at once");
    enum mg_err status = find(state, txn, org, text_or_id, &token, err);
    if (status == MG_OK) {
        struct mg_hash id = token.id;
        status = token_get(state, txn, &id, true, out, err);
    }
    env_read_end(&state->env, txn);
    return status;
}

enum mg_err mg_token_change(struct mg_state *state, const struct mg_token *token,
                            struct mg_errmsg *err)
{
    struct mg_token now;
    MDB_txn *txn;
    enum mg_err status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    status = token_get(state, txn, &token->id, false, &now, err);
    now.enabled = token->enabled;
    now.expires_s = token->expires_s;
    now.max_age_s = token->max_age_s;
    if (status == MG_OK)
        status = rewrite(state, txn, &now, err);
    return state_end(state, txn, status, err);
}

static enum mg_err list_ids(struct mg_state *state, MDB_txn *txn, const char *org,
                            struct mg_buf *ids, struct mg_errmsg *err)
{
    MDB_cursor *cursor;
    size_t org_len = strlen(org) + 1;
    MDB_val key = env_val(org, org_len), value;
    int rc = mdb_cursor_open(txn, state->db[DB_ORDER], &cursor);
    if (rc != 0)
        return state_error(state, rc, err);
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); rc == 0;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size != org_len + 8 || memcmp(key.mv_data, org, org_len) != 0)
            break;
        if (value.mv_size == sizeof(struct mg_hash))
            mg_buf_put(ids, value.mv_data, value.mv_size);
    }
    mdb_cursor_close(cursor);
    return rc != 0 && rc != MDB_NOTFOUND ? state_error(state, rc, err) : mg_buf_status(ids, err);
}

/* The ids are copied first: the callback may take its time, or write. */
enum mg_err mg_token_each(struct mg_state *state, const char *org, mg_token_each_f *each,
                          void *context, struct mg_errmsg *err)
{
    struct mg_buf ids;
    if (strlen(org) >= MG_NAME_MAX)
        return MG_OK;
    mg_buf_init(&ids, 0);
    MDB_txn *txn = env_read_begin(&state->env);
    enum mg_err status =
        txn ? list_ids(state, txn, org, &ids, err)
            : mg_err_set(err, MG_E_IO, "no reader of the state is free: too many look-ups at once");
    if (txn)
        env_read_end(&state->env, txn);
    bool more = true;
    for (size_t at = 0; at < ids.len && status == MG_OK && more; at += sizeof(struct mg_hash)) {
        struct mg_hash id;
        struct mg_token token;
        memcpy(&id, ids.data + at, sizeof id);
        txn = env_read_begin(&state->env);
        if (!txn) {
            status = mg_err_set(err, MG_E_IO,
                                "no reader of the state is free: too many look-ups at once");
            break;
        }
        status = token_get(state, txn, &id, true, &token, err);
        env_read_end(&state->env, txn);
        if (status == MG_OK)
            more = each(context, &token);
    }
    mg_buf_fini(&ids);
    return status;
}
