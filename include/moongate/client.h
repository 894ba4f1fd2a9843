/* A client of another Moongate server's API, for the command line: one request, waited for. Its
 * user chose the server, so that no policy of egress holds. Any thread; the process sends no UDF's
 * requests through it. */
#ifndef MOONGATE_CLIENT_H
#define MOONGATE_CLIENT_H

#include "moongate/buf.h"

struct mg_client_call {
    const char *method, *url;
    const char *token;        /* Bearer; NULL: none */
    const char *content_type; /* of body; NULL: there is none */
    const char *if_match;     /* NULL: none */
    struct mg_span body;
};
struct mg_client_answer {
    int status;
    char etag[128]; /* "" when there is none */
    struct mg_buf body;
};
/* MG_E_FETCH: no answer was had. Any status is MG_OK. Free answer->body with mg_buf_fini in both
 * cases. */
MG_MUST_CHECK enum mg_err mg_client_do(const struct mg_client_call *call,
                                       struct mg_client_answer *answer, struct mg_errmsg *err);

#endif
