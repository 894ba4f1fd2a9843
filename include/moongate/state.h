/* Durable state: accounts, tokens, signature records, in an LMDB environment of its own (data_dir/state).
 *
 * Every acknowledged write is on disk (full sync). The environment carries a format version: newer code migrates
 * an older one, older code refuses a newer one. Several processes may have it open (the CLI beside the server);
 * each look-up sees the last commit. A process opens it once, and not across a fork. Thread-safe: readers never block. */
#ifndef MOONGATE_STATE_H
#define MOONGATE_STATE_H

#include "moongate/crypto.h"

enum { MG_STATE_VERSION = 1, MG_NAME_MAX = 64 };

struct mg_state;
/* Makes data_dir/state and data_dir/server.key (0600) when missing; makes the organisation `local` and its account
 * owner@local. MG_E_CONFLICT: of a newer format version (the message names both). */
MG_MUST_CHECK enum mg_err mg_state_open(const char *data_dir, struct mg_state **out, struct mg_errmsg *err);
void mg_state_close(struct mg_state **state);

/* Changes with each commit of any process: what was looked up is as it was while this is. Cost: no system call. */
uint64_t mg_state_generation(struct mg_state *state);

struct mg_token {
    struct mg_hash id;            /* SHA-256 of its text */
    char text[MG_TOKEN_LEN + 1];  /* unsealed; only from create, show and list; else empty */
    char org[MG_NAME_MAX], account[MG_NAME_MAX];
    char udf[128];                /* the UDF it runs; empty: a private token of the account */
    bool enabled;
    int64_t created_s, expires_s; /* seconds since 1970; 0: never */
    int64_t max_age_s;            /* Cache-Control for its answers; -1: none */
    int64_t revoked_s;            /* 0: not */
};

/* Makes a token from org, account, udf, expires_s and max_age_s of *token, and fills in the rest. */
MG_MUST_CHECK enum mg_err mg_token_create(struct mg_state *state, struct mg_token *token, struct mg_errmsg *err);
/* Looks a text up for use. Malformed, unknown, revoked, disabled and expired ones are all MG_E_UNAUTHORIZED with
 * the same message. Cost: SHA-256 and one LMDB read (about 2 us). */
MG_MUST_CHECK enum mg_err mg_token_check(struct mg_state *state, struct mg_span text, int64_t now_s,
                                         struct mg_token *out, struct mg_errmsg *err);
/* The standing token of a served UDF: the same after a restart; made when there is none. */
MG_MUST_CHECK enum mg_err mg_token_of_udf(struct mg_state *state, const char *org, const char *account,
                                          const char *udf, struct mg_token *out, struct mg_errmsg *err);
/* The private token of an account; made when there is none. */
MG_MUST_CHECK enum mg_err mg_token_of_account(struct mg_state *state, const char *org, const char *account,
                                              struct mg_token *out, struct mg_errmsg *err);
/* MG_E_NOT_FOUND: there is no such account. */
MG_MUST_CHECK enum mg_err mg_account_find(struct mg_state *state, const char *org, const char *account,
                                          struct mg_errmsg *err);
/* By its text, or by at least 8 hex digits of its id. MG_E_NOT_FOUND; MG_E_CONFLICT when the digits are ambiguous. */
MG_MUST_CHECK enum mg_err mg_token_revoke(struct mg_state *state, const char *org, struct mg_span text_or_id,
                                          struct mg_token *out, struct mg_errmsg *err);
/* Switches a token off, or on again; found as by revoke. */
MG_MUST_CHECK enum mg_err mg_token_enable(struct mg_state *state, const char *org, struct mg_span text_or_id,
                                          bool enabled, struct mg_token *out, struct mg_errmsg *err);
/* The token with its text; found as by revoke. */
MG_MUST_CHECK enum mg_err mg_token_get(struct mg_state *state, const char *org, struct mg_span text_or_id,
                                       struct mg_token *out, struct mg_errmsg *err);
/* Changes what of a token may change: enabled, expires_s and max_age_s of *token, which is found by its id. */
MG_MUST_CHECK enum mg_err mg_token_change(struct mg_state *state, const struct mg_token *token, struct mg_errmsg *err);
/* Each token of the organisation, in the order of creation; return false to stop. */
typedef bool mg_token_each_f(void *context, const struct mg_token *token);
MG_MUST_CHECK enum mg_err mg_token_each(struct mg_state *state, const char *org, mg_token_each_f *each, void *context,
                                        struct mg_errmsg *err);

/* One-time sign-in codes (the link that `account link` prints): valid for 15 minutes, used once. */
MG_MUST_CHECK enum mg_err mg_link_create(struct mg_state *state, const char *org, const char *account, int64_t now_s,
                                         char code[MG_TOKEN_LEN + 1], struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_link_use(struct mg_state *state, struct mg_span code, int64_t now_s,
                                      struct mg_token *account_token, struct mg_errmsg *err);

/* Signature records by code hash, as JSON. get appends to out; MG_E_NOT_FOUND. */
MG_MUST_CHECK enum mg_err mg_signature_get(struct mg_state *state, const struct mg_hash *code, struct mg_buf *out);
MG_MUST_CHECK enum mg_err mg_signature_put(struct mg_state *state, const struct mg_hash *code, struct mg_span json,
                                           struct mg_errmsg *err);

/* Secrets of an organisation, by name ([A-Za-z_][A-Za-z0-9_]*), sealed under server.key. */
enum { MG_SECRET_MAX = 64 << 10 };
MG_MUST_CHECK enum mg_err mg_secret_set(struct mg_state *state, const char *org, const char *name,
                                        struct mg_span value, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_secret_delete(struct mg_state *state, const char *org, const char *name,
                                           struct mg_errmsg *err);
/* Appends the value (out nullable: only the version). The version is another after each set; "-": there is none,
 * MG_E_NOT_FOUND. */
MG_MUST_CHECK enum mg_err mg_secret_get(struct mg_state *state, const char *org, const char *name, struct mg_buf *out,
                                        char version[65], struct mg_errmsg *err);
/* By name; return false to stop. */
typedef bool mg_secret_each_f(void *context, const char *name, int64_t set_s);
MG_MUST_CHECK enum mg_err mg_secret_each(struct mg_state *state, const char *org, mg_secret_each_f *each,
                                         void *context, struct mg_errmsg *err);

#endif
