/* Saved UDFs: look-ups and lists. Lists copy what they need before the caller hears of it: its
 * callback may take its time, or write. */
#include "saved_internal.h"

MDB_val saved_name_key(const char *org, const char *name, char buf[SAVED_KEY_MAX])
{
    size_t org_len = strlen(org), name_len = strlen(name);
    MG_ASSERT(org_len + name_len + 1 < SAVED_KEY_MAX);
    memcpy(buf, org, org_len + 1);
    memcpy(buf + org_len + 1, name, name_len);
    return env_val(buf, org_len + 1 + name_len);
}

MDB_val saved_version_key(const char *id, int64_t number, char buf[SAVED_KEY_MAX])
{
    uint64_t big = __builtin_bswap64((uint64_t)number);
    memcpy(buf, id, MG_SAVED_ID_LEN);
    memcpy(buf + MG_SAVED_ID_LEN, &big, sizeof big);
    return env_val(buf, MG_SAVED_ID_LEN + sizeof big);
}

MDB_val saved_package_key(const char *id, const struct mg_hash *package, char buf[SAVED_KEY_MAX])
{
    memcpy(buf, id, MG_SAVED_ID_LEN);
    memcpy(buf + MG_SAVED_ID_LEN, package, sizeof *package);
    return env_val(buf, MG_SAVED_ID_LEN + sizeof *package);
}

static bool unpack_hash(struct mg_unpack *in, struct mg_hash *out)
{
    struct mg_span bytes = mg_unpack_bytes(in);
    if (bytes.len != sizeof *out)
        return false;
    memcpy(out, bytes.data, sizeof *out);
    return true;
}

static enum mg_err damaged(const struct mg_state *state, struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_BAD_FILE, "the record of a UDF in %s is damaged: restore a backup",
                      state->dir);
}

static enum mg_err none(struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_NOT_FOUND, "there is no such UDF");
}

static enum mg_err no_reader(struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_IO, "no reader of the state is free: too many look-ups at once");
}

static enum mg_err unpack(const struct mg_state *state, MDB_val id, MDB_val record,
                          struct mg_saved *out, struct mg_errmsg *err)
{
    struct mg_unpack in;
    if (id.mv_size != MG_SAVED_ID_LEN)
        return damaged(state, err);
    memcpy(out->id, id.mv_data, MG_SAVED_ID_LEN);
    out->id[MG_SAVED_ID_LEN] = 0;
    mg_unpack_init(&in, record.mv_data, record.mv_size);
    mg_unpack_str(&in, out->org, sizeof out->org);
    mg_unpack_str(&in, out->account, sizeof out->account);
    mg_unpack_str(&in, out->name, sizeof out->name);
    bool hashed = unpack_hash(&in, &out->package);
    out->version = mg_unpack_int(&in);
    out->last_version = mg_unpack_int(&in);
    out->revision = mg_unpack_int(&in);
    out->created_s = mg_unpack_int(&in);
    out->updated_s = mg_unpack_int(&in);
    out->is_public = mg_unpack_bool(&in);
    return hashed && mg_unpack_done(&in) ? MG_OK : damaged(state, err);
}

static enum mg_err get(struct mg_state *state, MDB_txn *txn, MDB_val id, struct mg_saved *out,
                       struct mg_errmsg *err)
{
    MDB_val value;
    int rc = mdb_get(txn, state->db[DB_UDFS], &id, &value);
    if (rc == MDB_NOTFOUND)
        return none(err);
    return rc != 0 ? state_error(state, rc, err) : unpack(state, id, value, out, err);
}

enum mg_err saved_find(struct mg_state *state, MDB_txn *txn, const char *org,
                       struct mg_span id_or_name, struct mg_saved *out, struct mg_errmsg *err)
{
    struct mg_saved found;
    char text[128], key_buf[SAVED_KEY_MAX];
    if (id_or_name.len == 0 || id_or_name.len >= sizeof text ||
        (org && strlen(org) >= sizeof found.org))
        return none(err);
    MDB_val id = env_val(id_or_name.data, id_or_name.len);
    if (!memchr(id_or_name.data, '-', id_or_name.len)) { /* a UUID has it, a name cannot */
        if (!org)
            return none(err);
        memcpy(text, id_or_name.data, id_or_name.len);
        text[id_or_name.len] = 0;
        MDB_val key = saved_name_key(org, text, key_buf);
        int rc = mdb_get(txn, state->db[DB_UDF_NAMES], &key, &id);
        if (rc != 0)
            return rc == MDB_NOTFOUND ? none(err) : state_error(state, rc, err);
    }
    enum mg_err status = get(state, txn, id, &found, err);
    if (status == MG_OK && org && strcmp(found.org, org) != 0)
        return none(err);
    if (status == MG_OK)
        *out = found;
    return status;
}

enum mg_err mg_saved_get(struct mg_state *state, const char *org, struct mg_span id_or_name,
                         struct mg_saved *out, struct mg_errmsg *err)
{
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return no_reader(err);
    enum mg_err status = saved_find(state, txn, org, id_or_name, out, err);
    env_read_end(&state->env, txn);
    return status;
}

enum mg_err mg_saved_get_public(struct mg_state *state, struct mg_span name, struct mg_saved *out,
                                struct mg_errmsg *err)
{
    MDB_val key = env_val(name.data, name.len), id;
    if (name.len == 0 || name.len >= sizeof out->name)
        return none(err);
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return no_reader(err);
    int rc = mdb_get(txn, state->db[DB_UDF_PUBLIC], &key, &id);
    enum mg_err status = rc == 0              ? get(state, txn, id, out, err)
                         : rc == MDB_NOTFOUND ? none(err)
                                              : state_error(state, rc, err);
    env_read_end(&state->env, txn);
    return status;
}

static enum mg_err list_records(struct mg_state *state, MDB_txn *txn, const char *org,
                                struct mg_buf *list, struct mg_errmsg *err)
{
    MDB_cursor *cursor;
    size_t org_len = org ? strlen(org) + 1 : 0;
    MDB_val key = env_val(org, org_len), id;
    enum mg_err status = MG_OK;
    int rc = mdb_cursor_open(txn, state->db[org ? DB_UDF_NAMES : DB_UDF_PUBLIC], &cursor);
    if (rc != 0)
        return state_error(state, rc, err);
    for (rc = mdb_cursor_get(cursor, &key, &id, org ? MDB_SET_RANGE : MDB_FIRST);
         rc == 0 && status == MG_OK; rc = mdb_cursor_get(cursor, &key, &id, MDB_NEXT)) {
        struct mg_saved saved;
        if (org && (key.mv_size <= org_len || memcmp(key.mv_data, org, org_len) != 0))
            break;
        status = get(state, txn, id, &saved, err);
        if (status == MG_OK)
            mg_buf_put(list, &saved, sizeof saved);
    }
    mdb_cursor_close(cursor);
    if (status == MG_OK && rc != 0 && rc != MDB_NOTFOUND)
        status = state_error(state, rc, err);
    return status == MG_OK ? mg_buf_status(list, err) : status;
}

enum mg_err mg_saved_each(struct mg_state *state, const char *org, mg_saved_each_f *each,
                          void *context, struct mg_errmsg *err)
{
    struct mg_buf list;
    if (org && strlen(org) >= MG_NAME_MAX)
        return MG_OK;
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return no_reader(err);
    mg_buf_init(&list, 0);
    enum mg_err status = list_records(state, txn, org, &list, err);
    env_read_end(&state->env, txn);
    bool more = true;
    for (size_t at = 0; at < list.len && status == MG_OK && more; at += sizeof(struct mg_saved)) {
        struct mg_saved saved;
        memcpy(&saved, list.data + at, sizeof saved);
        more = each(context, &saved);
    }
    mg_buf_fini(&list);
    return status;
}

enum mg_err saved_version_get(struct mg_state *state, MDB_txn *txn, const struct mg_saved *saved,
                              int64_t number, struct mg_saved_version *out, struct mg_errmsg *err)
{
    char buf[SAVED_KEY_MAX];
    struct mg_unpack in;
    struct mg_saved_version found = {.number = number};
    MDB_val key = saved_version_key(saved->id, number, buf), value;
    int rc = mdb_get(txn, state->db[DB_VERSIONS], &key, &value);
    if (rc == MDB_NOTFOUND)
        return mg_err_set(err, MG_E_NOT_FOUND, "%s has no version %lld: it has 1 to %lld",
                          saved->name, (long long)number, (long long)saved->last_version);
    if (rc != 0)
        return state_error(state, rc, err);
    mg_unpack_init(&in, value.mv_data, value.mv_size);
    found.created_s = mg_unpack_int(&in);
    bool hashed = unpack_hash(&in, &found.package);
    mg_unpack_str(&in, found.account, sizeof found.account);
    if (!hashed || !mg_unpack_done(&in))
        return damaged(state, err);
    *out = found;
    return MG_OK;
}

enum mg_err mg_saved_version(struct mg_state *state, const struct mg_saved *saved, int64_t number,
                             struct mg_saved_version *out, struct mg_errmsg *err)
{
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return no_reader(err);
    enum mg_err status = saved_version_get(state, txn, saved, number, out, err);
    env_read_end(&state->env, txn);
    return status;
}

enum mg_err mg_saved_versions(struct mg_state *state, const struct mg_saved *saved,
                              mg_version_each_f *each, void *context, struct mg_errmsg *err)
{
    bool more = true;
    enum mg_err status = MG_OK;
    for (int64_t number = saved->last_version; number > 0 && more && status == MG_OK; number--) {
        struct mg_saved_version version;
        status = mg_saved_version(state, saved, number, &version, err);
        if (status == MG_OK)
            more = each(context, &version);
    }
    return status;
}

enum mg_err mg_saved_package(struct mg_state *state, const struct mg_saved *saved,
                             const struct mg_hash *package, struct mg_buf *out,
                             struct mg_errmsg *err)
{
    char buf[SAVED_KEY_MAX];
    MDB_val key = saved_package_key(saved->id, package, buf), value;
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return no_reader(err);
    int rc = mdb_get(txn, state->db[DB_PACKAGES], &key, &value);
    if (rc == 0)
        mg_buf_put(out, value.mv_data, value.mv_size);
    env_read_end(&state->env, txn);
    if (rc == MDB_NOTFOUND)
        return none(err);
    return rc != 0 ? state_error(state, rc, err) : mg_buf_status(out, err);
}
