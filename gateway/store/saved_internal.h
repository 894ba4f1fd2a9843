/* What saved.c and saved_read.c share. */
#ifndef MOONGATE_STORE_SAVED_INTERNAL_H
#define MOONGATE_STORE_SAVED_INTERNAL_H

#include "moongate/saved.h"
#include "state_internal.h"

enum { SAVED_KEY_MAX = MG_NAME_MAX + 128 + 2 };

/* Keys, in `buf`. */
MDB_val saved_name_key(const char *org, const char *name, char buf[SAVED_KEY_MAX]);
MDB_val saved_version_key(const char *id, int64_t number, char buf[SAVED_KEY_MAX]);
MDB_val saved_package_key(const char *id, const struct mg_hash *package, char buf[SAVED_KEY_MAX]);

/* By id or name, within org (NULL: whatever its organisation is). MG_E_NOT_FOUND. */
MG_MUST_CHECK enum mg_err saved_find(struct mg_state *state, MDB_txn *txn, const char *org,
                                     struct mg_span id_or_name, struct mg_saved *out,
                                     struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err saved_version_get(struct mg_state *state, MDB_txn *txn,
                                            const struct mg_saved *saved, int64_t number,
                                            struct mg_saved_version *out, struct mg_errmsg *err);

#endif
