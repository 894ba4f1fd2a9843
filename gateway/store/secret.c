/* Secrets: named texts of an organisation, which its UDFs may read. A record is the time of its writing and
 * the text sealed under server.key, together with its organisation and name, so that a record that was moved
 * to another name does not open. */
#include "state_internal.h"

#include <ctype.h>
#include <errno.h>
#include <time.h>

static bool name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n >= MG_NAME_MAX || isdigit((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return false;
    return true;
}

static enum mg_err check_names(const char *org, const char *name, struct mg_errmsg *err)
{
    if (strlen(org) >= MG_NAME_MAX)
        return mg_err_set(err, MG_E_NOT_FOUND, "there is no such organisation");
    if (!name_ok(name))
        return mg_err_set(
            err, MG_E_INVALID,
            "\"%.80s\" is not a secret's name: letters, digits and _, at most %d, no digit first", name,
            MG_NAME_MAX - 1);
    return MG_OK;
}

/* org, NUL, name */
static MDB_val secret_key(const char *org, const char *name, char buf[2 * MG_NAME_MAX])
{
    size_t n = strlen(org) + 1, len = strlen(name);
    memcpy(buf, org, n);
    memcpy(buf + n, name, len);
    return env_val(buf, n + len);
}

enum mg_err mg_secret_set(struct mg_state *state, const char *org, const char *name, struct mg_span value,
                          struct mg_errmsg *err)
{
    char name_buf[2 * MG_NAME_MAX];
    struct mg_buf plain, sealed, record;
    MDB_txn *txn;
    enum mg_err status = check_names(org, name, err);
    if (status != MG_OK)
        return status;
    if (value.len == 0 || value.len > MG_SECRET_MAX)
        return mg_err_set(err, MG_E_INVALID, "a secret has 1 to %d bytes; this one has %zu", MG_SECRET_MAX,
                          value.len);
    mg_buf_init(&plain, 0);
    mg_buf_init(&sealed, 0);
    mg_buf_init(&record, 0);
    mg_pack_str(&plain, org);
    mg_pack_str(&plain, name);
    mg_pack_bytes(&plain, value.data, value.len);
    status = mg_buf_status(&plain, err);
    if (status == MG_OK)
        status = mg_seal(state->key, (struct mg_span){plain.data, plain.len}, &sealed);
    mg_pack_int(&record, (int64_t)time(NULL));
    mg_pack_bytes(&record, sealed.data, sealed.len);
    if (status == MG_OK && record.failed)
        status = mg_err_set(err, MG_E_NOMEM, "no memory for the secret");
    if (status == MG_OK && (status = state_begin(state, &txn, err)) == MG_OK) {
        MDB_val key = secret_key(org, name, name_buf), data = env_val(record.data, record.len);
        status = state_error(state, mdb_put(txn, state->db[DB_SECRETS], &key, &data, 0), err);
        status = state_end(state, txn, status, err);
    }
    if (plain.data)
        explicit_bzero(plain.data, plain.len);
    mg_buf_fini(&plain);
    mg_buf_fini(&sealed);
    mg_buf_fini(&record);
    return status;
}

static enum mg_err no_secret(const char *name, struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_NOT_FOUND, "there is no secret %.64s", name);
}

enum mg_err mg_secret_delete(struct mg_state *state, const char *org, const char *name, struct mg_errmsg *err)
{
    char name_buf[2 * MG_NAME_MAX];
    MDB_txn *txn;
    enum mg_err status = check_names(org, name, err);
    if (status == MG_OK)
        status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    MDB_val key = secret_key(org, name, name_buf);
    int rc = mdb_del(txn, state->db[DB_SECRETS], &key, NULL);
    status = rc == MDB_NOTFOUND ? no_secret(name, err) : state_error(state, rc, err);
    return state_end(state, txn, status, err);
}

/* The value out of what was sealed; false when it is not the one of this name. */
static bool open_sealed(struct mg_state *state, const char *org, const char *name, struct mg_span sealed,
                        struct mg_buf *out)
{
    struct mg_buf plain;
    struct mg_unpack in;
    mg_buf_init(&plain, 0);
    bool good = mg_unseal(state->key, sealed, &plain) == MG_OK;
    if (good) {
        mg_unpack_init(&in, plain.data, plain.len);
        struct mg_span its_org = mg_unpack_bytes(&in), its_name = mg_unpack_bytes(&in),
                       value = mg_unpack_bytes(&in);
        good = mg_unpack_done(&in) && mg_span_is(its_org, org) && mg_span_is(its_name, name);
        if (good)
            mg_buf_put(out, value.data, value.len);
    }
    if (plain.data)
        explicit_bzero(plain.data, plain.len);
    mg_buf_fini(&plain);
    return good;
}

static struct mg_span sealed_of(MDB_val record)
{
    struct mg_unpack in;
    mg_unpack_init(&in, record.mv_data, record.mv_size);
    mg_unpack_skip(&in);
    struct mg_span sealed = mg_unpack_bytes(&in);
    return in.failed ? (struct mg_span){0} : sealed;
}

enum mg_err mg_secret_get(struct mg_state *state, const char *org, const char *name, struct mg_buf *out,
                          char version[65], struct mg_errmsg *err)
{
    char name_buf[2 * MG_NAME_MAX];
    enum mg_err status = check_names(org, name, err);
    memcpy(version, "-", 2);
    if (status != MG_OK)
        return status == MG_E_INVALID ? no_secret(name, err) : status;
    MDB_val key = secret_key(org, name, name_buf), record;
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return mg_err_set(err, MG_E_IO, "no reader of the state is free: too many look-ups at once");
    int rc = mdb_get(txn, state->db[DB_SECRETS], &key, &record);
    if (rc == 0) {
        struct mg_span sealed = sealed_of(record);
        struct mg_hash hash;
        mg_sha256(sealed.data, sealed.len, &hash);
        mg_hash_hex(&hash, version);
        if (out && !open_sealed(state, org, name, sealed, out))
            status = mg_err_set(err, MG_E_BAD_FILE,
                                "the secret %.64s does not open with server.key: set it again", name);
    } else {
        status = rc == MDB_NOTFOUND ? no_secret(name, err) : state_error(state, rc, err);
    }
    env_read_end(&state->env, txn);
    return status;
}

enum mg_err mg_secret_each(struct mg_state *state, const char *org, mg_secret_each_f *each, void *context,
                           struct mg_errmsg *err)
{
    char name_buf[2 * MG_NAME_MAX];
    enum mg_err status = check_names(org, "x", err);
    if (status != MG_OK)
        return status;
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return mg_err_set(err, MG_E_IO, "no reader of the state is free: too many look-ups at once");
    MDB_cursor *cursor = NULL;
    MDB_val key = secret_key(org, "", name_buf), record;
    const size_t prefix = key.mv_size;
    int rc = mdb_cursor_open(txn, state->db[DB_SECRETS], &cursor);
    for (MDB_cursor_op op = MDB_SET_RANGE; rc == 0; op = MDB_NEXT) {
        char name[MG_NAME_MAX];
        rc = mdb_cursor_get(cursor, &key, &record, op);
        if (rc != 0 || key.mv_size <= prefix || key.mv_size - prefix >= sizeof name ||
            memcmp(key.mv_data, name_buf, prefix) != 0)
            break;
        memcpy(name, (const char *)key.mv_data + prefix, key.mv_size - prefix);
        name[key.mv_size - prefix] = 0;
        struct mg_unpack in;
        mg_unpack_init(&in, record.mv_data, record.mv_size);
        if (!each(context, name, mg_unpack_int(&in)))
            break;
    }
    if (cursor)
        mdb_cursor_close(cursor);
    env_read_end(&state->env, txn);
    return rc == 0 || rc == MDB_NOTFOUND ? MG_OK : state_error(state, rc, err);
}
