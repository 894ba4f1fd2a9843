/* Saved UDFs: create, change, delete. Each is one transaction over the record, its names, versions
 * and packages.
 *
 * Invariant: the names point to records that exist, a record's version has its row, and that row
 * its package. */
#include "saved_internal.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static void make_id(char out[MG_SAVED_ID_LEN + 1])
{
    uint8_t b[16];
    mg_random(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0F) | 0x40); /* RFC 4122, version 4 */
    b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
    snprintf(out, MG_SAVED_ID_LEN + 1,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

static enum mg_err put_record(struct mg_state *state, MDB_txn *txn, const struct mg_saved *saved,
                              struct mg_errmsg *err)
{
    struct mg_buf out;
    mg_buf_init(&out, 0);
    mg_pack_str(&out, saved->org);
    mg_pack_str(&out, saved->account);
    mg_pack_str(&out, saved->name);
    mg_pack_bytes(&out, &saved->package, sizeof saved->package);
    mg_pack_int(&out, saved->version);
    mg_pack_int(&out, saved->last_version);
    mg_pack_int(&out, saved->revision);
    mg_pack_int(&out, saved->created_s);
    mg_pack_int(&out, saved->updated_s);
    mg_pack_bool(&out, saved->is_public);
    MDB_val key = env_val(saved->id, MG_SAVED_ID_LEN), value = env_val(out.data, out.len);
    int rc = out.failed ? ENOMEM : mdb_put(txn, state->db[DB_UDFS], &key, &value, 0);
    mg_buf_fini(&out);
    return state_error(state, rc, err);
}

/* Takes a name in one of the two indexes. */
static enum mg_err take_name(struct mg_state *state, MDB_txn *txn, enum db db, MDB_val key,
                             const struct mg_saved *saved, const char *where, struct mg_errmsg *err)
{
    MDB_val id = env_val(saved->id, MG_SAVED_ID_LEN);
    int rc = mdb_put(txn, state->db[db], &key, &id, MDB_NOOVERWRITE);
    if (rc == MDB_KEYEXIST)
        return mg_err_set(err, MG_E_CONFLICT, "the name %s is taken: there is %s UDF of that name",
                          saved->name, where);
    return state_error(state, rc, err);
}

static enum mg_err take_names(struct mg_state *state, MDB_txn *txn, const struct mg_saved *saved,
                              struct mg_errmsg *err)
{
    char name[SAVED_KEY_MAX];
    enum mg_err status =
        take_name(state, txn, DB_UDF_NAMES, saved_name_key(saved->org, saved->name, name), saved,
                  "already a", err);
    if (status == MG_OK && saved->is_public)
        status = take_name(state, txn, DB_UDF_PUBLIC, env_val(saved->name, strlen(saved->name)),
                           saved, "already a public", err);
    return status;
}

static enum mg_err drop_names(struct mg_state *state, MDB_txn *txn, const struct mg_saved *saved,
                              struct mg_errmsg *err)
{
    char name[SAVED_KEY_MAX];
    MDB_val key = saved_name_key(saved->org, saved->name, name),
            public_key = env_val(saved->name, strlen(saved->name));
    int rc = mdb_del(txn, state->db[DB_UDF_NAMES], &key, NULL);
    if (rc == 0 && saved->is_public)
        rc = mdb_del(txn, state->db[DB_UDF_PUBLIC], &public_key, NULL);
    return state_error(state, rc, err);
}

/* A new version of `package`, unless it is what is served already. */
static enum mg_err put_version(struct mg_state *state, MDB_txn *txn, struct mg_saved *saved,
                               const char *by, struct mg_span package, struct mg_errmsg *err)
{
    char name[SAVED_KEY_MAX];
    struct mg_buf packed;
    struct mg_hash hash;
    mg_sha256(package.data, package.len, &hash);
    if (saved->version > 0 && mg_hash_eq(&hash, &saved->package))
        return MG_OK;
    saved->package = hash;
    saved->version = ++saved->last_version;
    MDB_val key = saved_package_key(saved->id, &hash, name),
            value = env_val(package.data, package.len);
    int rc = mdb_put(txn, state->db[DB_PACKAGES], &key, &value, MDB_NOOVERWRITE);
    if (rc != 0 && rc != MDB_KEYEXIST)
        return state_error(state, rc, err);
    mg_buf_init(&packed, 0);
    mg_pack_int(&packed, (int64_t)time(NULL));
    mg_pack_bytes(&packed, &hash, sizeof hash);
    mg_pack_str(&packed, by);
    key = saved_version_key(saved->id, saved->version, name);
    value = env_val(packed.data, packed.len);
    rc = packed.failed ? ENOMEM : mdb_put(txn, state->db[DB_VERSIONS], &key, &value, 0);
    mg_buf_fini(&packed);
    return state_error(state, rc, err);
}

static enum mg_err check_package(struct mg_span package, struct mg_errmsg *err)
{
    if (package.len == 0 || package.len > MG_PACKAGE_MAX)
        return mg_err_set(err, MG_E_TOO_LARGE,
                          "a UDF's files have %zu bytes in all; at most %d are possible",
                          package.len, MG_PACKAGE_MAX);
    return MG_OK;
}

enum mg_err mg_saved_create(struct mg_state *state, struct mg_saved *saved, struct mg_span package,
                            struct mg_errmsg *err)
{
    struct mg_saved made = *saved;
    MDB_txn *txn;
    enum mg_err status = check_package(package, err);
    if (status == MG_OK)
        status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    make_id(made.id);
    made.version = made.last_version = 0;
    made.revision = 1;
    made.created_s = made.updated_s = (int64_t)time(NULL);
    status = take_names(state, txn, &made, err);
    if (status == MG_OK)
        status = put_version(state, txn, &made, made.account, package, err);
    if (status == MG_OK)
        status = put_record(state, txn, &made, err);
    status = state_end(state, txn, status, err);
    if (status == MG_OK)
        *saved = made;
    return status;
}

static enum mg_err check_revision(const struct mg_saved *saved, int64_t expected,
                                  struct mg_errmsg *err)
{
    if (!expected || expected == saved->revision)
        return MG_OK;
    return mg_err_set(err, MG_E_PRECONDITION,
                      "%s was changed meanwhile (it is at revision %lld, If-Match names %lld): "
                      "load it again, and save "
                      "your change on top of it",
                      saved->name, (long long)saved->revision, (long long)expected);
}

static enum mg_err change_it(struct mg_state *state, MDB_txn *txn, struct mg_saved *saved,
                             const struct mg_saved_change *change, struct mg_errmsg *err)
{
    enum mg_err status = drop_names(state, txn, saved, err);
    if (status == MG_OK && change->name)
        snprintf(saved->name, sizeof saved->name, "%s", change->name);
    if (change->owner)
        snprintf(saved->account, sizeof saved->account, "%s", change->owner);
    if (change->is_public >= 0)
        saved->is_public = change->is_public > 0;
    if (status == MG_OK)
        status = take_names(state, txn, saved, err);
    if (status == MG_OK && change->package.data)
        status = put_version(state, txn, saved, change->by, change->package, err);
    if (status == MG_OK && change->to_version) {
        struct mg_saved_version version;
        status = saved_version_get(state, txn, saved, change->to_version, &version, err);
        if (status == MG_OK) {
            saved->version = version.number;
            saved->package = version.package;
        }
    }
    saved->revision++;
    saved->updated_s = (int64_t)time(NULL);
    return status == MG_OK ? put_record(state, txn, saved, err) : status;
}

enum mg_err mg_saved_change(struct mg_state *state, const char *org, const char *id,
                            const struct mg_saved_change *change, struct mg_saved *out,
                            struct mg_errmsg *err)
{
    struct mg_saved saved;
    MDB_txn *txn;
    enum mg_err status = change->package.data ? check_package(change->package, err) : MG_OK;
    if (status == MG_OK)
        status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    status = saved_find(state, txn, org, mg_span(id), &saved, err);
    if (status == MG_OK)
        status = check_revision(&saved, change->if_revision, err);
    if (status == MG_OK)
        status = change_it(state, txn, &saved, change, err);
    status = state_end(state, txn, status, err);
    if (status == MG_OK)
        *out = saved;
    return status;
}

/* All rows whose key begins with the id; looked for anew each time, for a cursor that deletes may
 * end up between pages. */
static enum mg_err drop_rows(struct mg_state *state, MDB_txn *txn, enum db db, const char *id,
                             struct mg_errmsg *err)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, state->db[db], &cursor);
    if (rc != 0)
        return state_error(state, rc, err);
    for (;;) {
        key = env_val(id, MG_SAVED_ID_LEN);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (rc != 0 || key.mv_size <= MG_SAVED_ID_LEN ||
            memcmp(key.mv_data, id, MG_SAVED_ID_LEN) != 0)
            break;
        rc = mdb_cursor_del(cursor, 0);
        if (rc != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? MG_OK : state_error(state, rc, err);
}

enum mg_err mg_saved_delete(struct mg_state *state, const char *org, const char *id,
                            int64_t if_revision, struct mg_errmsg *err)
{
    struct mg_saved saved;
    MDB_txn *txn;
    enum mg_err status = state_begin(state, &txn, err);
    if (status != MG_OK)
        return status;
    status = saved_find(state, txn, org, mg_span(id), &saved, err);
    if (status == MG_OK)
        status = check_revision(&saved, if_revision, err);
    if (status == MG_OK)
        status = drop_names(state, txn, &saved, err);
    if (status == MG_OK)
        status = drop_rows(state, txn, DB_VERSIONS, saved.id, err);
    if (status == MG_OK)
        status = drop_rows(state, txn, DB_PACKAGES, saved.id, err);
    if (status == MG_OK) {
        MDB_val key = env_val(saved.id, MG_SAVED_ID_LEN);
        status = state_error(state, mdb_del(txn, state->db[DB_UDFS], &key, NULL), err);
    }
    return state_end(state, txn, status, err);
}
