/* What the commands share that talk to a server: which one, as whom, and its errors as sentences.
 */
#ifndef MOONGATE_CLI_REMOTE_H
#define MOONGATE_CLI_REMOTE_H

#include "cli.h"
#include "moongate/client.h"

struct mg_remote {
    char server[512], token[128];
};
/* --server and --token, their variables, else ~/.moongate/credentials. MG_E_INVALID: neither says
 * it. */
MG_MUST_CHECK enum mg_err mg_remote_find(const struct mg_config *config, struct mg_remote *out,
                                         struct mg_errmsg *err);
/* A request to server/v1/<path>; `body` is taken and may be NULL. *json (new, nullable) is what
 * came back. A status that is no success gives the error of its name, with the server's sentence;
 * `ignore` (0: none) is MG_OK. */
MG_MUST_CHECK enum mg_err mg_remote_call(const struct mg_remote *remote, const char *method,
                                         const char *path, json_t *body, const char *if_match,
                                         int ignore, struct mg_client_answer *answer, json_t **json,
                                         struct mg_errmsg *err);
/* Writes ~/.moongate/credentials (0600), whole or not at all. */
MG_MUST_CHECK enum mg_err mg_remote_keep(const struct mg_remote *remote, struct mg_errmsg *err);
/* Writes a file in one step. */
MG_MUST_CHECK enum mg_err mg_remote_write(const char *path, struct mg_span bytes, unsigned mode,
                                          struct mg_errmsg *err);

#endif
