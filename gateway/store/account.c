/* Accounts: records of who there is. An account is made with its first token (token.c). */
#include "state_internal.h"

enum mg_err mg_account_find(struct mg_state *state, const char *org, const char *account,
                            struct mg_errmsg *err)
{
    char name[TOKEN_KEY_MAX];
    MDB_val value;
    if (strlen(org) >= MG_NAME_MAX || strlen(account) >= MG_NAME_MAX)
        return mg_err_set(err, MG_E_NOT_FOUND, "there is no such account");
    MDB_val key = token_key(org, account, NULL, name, sizeof name);
    MDB_txn *txn = env_read_begin(&state->env);
    if (!txn)
        return mg_err_set(err, MG_E_IO,
                          "no reader of the state is free: too many look-ups at once");
    int rc = mdb_get(txn, state->db[DB_ACCOUNTS], &key, &value);
    env_read_end(&state->env, txn);
    if (rc == MDB_NOTFOUND)
        return mg_err_set(err, MG_E_NOT_FOUND, "there is no such account");
    return state_error(state, rc, err);
}
