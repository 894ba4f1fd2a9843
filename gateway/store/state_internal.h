/* State, inside: its databases, and the transaction that each write goes through. */
#ifndef MOONGATE_STORE_STATE_INTERNAL_H
#define MOONGATE_STORE_STATE_INTERNAL_H

#include "env.h"
#include "moongate/pack.h"
#include "moongate/state.h"

enum db {
    DB_META,       /* "version": packed int; "key": HMAC of a constant under server.key */
    DB_TOKENS,     /* id -> packed token */
    DB_ORDER,      /* org, NUL, big-endian number of creation -> id */
    DB_STANDING,   /* org, NUL, account, NUL, udf (empty: the account's private token) -> id */
    DB_ACCOUNTS,   /* org, NUL, account -> packed int, seconds of creation */
    DB_LINKS,      /* SHA-256 of a sign-in code -> packed org, account, expires_s */
    DB_SIGNATURES, /* code hash -> JSON */
    DB_UDFS,       /* id -> packed mg_saved */
    DB_UDF_NAMES,  /* org, NUL, name -> id */
    DB_UDF_PUBLIC, /* name of a public UDF -> id */
    DB_VERSIONS,   /* id, big-endian number -> packed mg_saved_version */
    DB_PACKAGES,   /* id, hash of the package -> the package */
    DB_SECRETS,    /* org, NUL, name -> packed int, seconds of writing; sealed packed org, name, value */
    DB_COUNT
};

struct mg_state {
    struct env env;
    MDB_dbi db[DB_COUNT];
    uint8_t key[32]; /* server.key */
    char dir[4096];  /* data_dir/state, for messages */
};

/* A write: MG_E_CONFLICT where another process has migrated the state meanwhile. */
MG_MUST_CHECK enum mg_err state_begin(struct mg_state *state, MDB_txn **txn, struct mg_errmsg *err);
/* Commits when `status` is MG_OK, else aborts; gives what came of it. On MG_OK the write is on
 * disk. */
MG_MUST_CHECK enum mg_err state_end(struct mg_state *state, MDB_txn *txn, enum mg_err status,
                                    struct mg_errmsg *err);
enum mg_err state_error(struct mg_state *state, int rc, struct mg_errmsg *err);

/* state_migrate.c: brings the format to MG_STATE_VERSION within `txn`, from whatever version it
 * has. */
MG_MUST_CHECK enum mg_err state_migrate(struct mg_state *state, MDB_txn *txn,
                                        struct mg_errmsg *err);
/* Version of the format; 0 where there is no record of it. */
MG_MUST_CHECK enum mg_err state_version(struct mg_state *state, MDB_txn *txn, int64_t *version,
                                        struct mg_errmsg *err);

/* token_record.c: tokens as they lie in the database. */
/* `out` receives everything but the text; the sealed text is lent until the transaction ends. */
bool token_unpack(MDB_val record, struct mg_token *out, struct mg_span *sealed);
MG_MUST_CHECK enum mg_err token_put(struct mg_state *state, MDB_txn *txn,
                                    const struct mg_token *token, struct mg_span sealed,
                                    struct mg_errmsg *err);
/* MG_E_NOT_FOUND. unseal: with the text, empty where server.key does not fit it. */
MG_MUST_CHECK enum mg_err token_get(struct mg_state *state, MDB_txn *txn, const struct mg_hash *id,
                                    bool unseal, struct mg_token *out, struct mg_errmsg *err);
/* Puts the token behind all others of its organisation. */
MG_MUST_CHECK enum mg_err token_put_order(struct mg_state *state, MDB_txn *txn,
                                          const struct mg_token *token, struct mg_errmsg *err);
/* Key of DB_STANDING (udf "" too) or, with udf NULL, of DB_ACCOUNTS. */
MDB_val token_key(const char *org, const char *account, const char *udf, char *buf, size_t size);
/* token.c: the standing token (udf "": the account's private one) within a write; made when there
 * is none. Names must have been checked. */
MG_MUST_CHECK enum mg_err token_standing(struct mg_state *state, MDB_txn *txn, const char *org,
                                         const char *account, const char *udf, struct mg_token *out,
                                         struct mg_errmsg *err);
enum { TOKEN_KEY_MAX = MG_NAME_MAX * 2 + 128 };

#endif
