/* The application behind the HTTP seam: routes, authorisation, and how an answer becomes a response. */
#ifndef MOONGATE_SERVE_APP_H
#define MOONGATE_SERVE_APP_H

#include "moongate/engine.h"
#include "moongate/http.h"

#include <pthread.h>

struct mg_page; /* a static file, in memory */

struct mg_app {
    struct mg_engine *engine;
    char base_url[512];        /* --public-url, or what listens; without a slash at its end */
    struct mg_page *pages;
    size_t n_pages;
    uint64_t id_seed;
    struct mg_api_desk *desk;  /* api.c */
    bool stopping;             /* atomic: /ready says so */
};

/* One request on its way. One reference until its response has been released by the seam, one for the route while it
 * starts a run. */
struct mg_exchange {
    int refs; /* atomic */
    struct mg_app *app;
    struct mg_http_request *request;
    struct mg_run *run;
    struct mg_answer *answer;
    struct mg_udf *udf;
    char *memory;              /* an inflated body, or a page made for this request */
    char id[17];
    char org[64];              /* whose files and UDFs the run sees */
    bool owner;                /* Bearer of the UDF's account: sees log and traceback */
    bool shared;               /* by a token in the URL: any origin may read it */
    bool tile_call;
    bool secret;               /* the page shows a token: kept nowhere */
    const char *allow;         /* for a 405: the methods of this URL */
    char token[160];           /* the one in the URL, decoded, where the answer repeats it */
    const char *const *protocol; /* names of parameters that are the route's and not the UDF's, in any case, ending in
                                  * NULL; or NULL */
    int64_t token_max_age_s;   /* -1: none */
    /* For recall.c: the URL and what it accepts decide the answer, nothing else of the request does; a token with a
     * condition of its own leaves it false. */
    bool plain;
    bool remember;             /* the response to be sent is a whole, fresh hit */
    uint64_t state_seen;       /* mg_state_generation before the token was looked up */
    int64_t token_until_s;     /* 0: it does not expire */
    struct mg_hold hold;
};

/* A response that is made in memory: headers are appended in place. */
enum { MG_MAX_HEADERS = 64 };
struct mg_reply {
    struct mg_http_response response;
    struct mg_http_header headers[MG_MAX_HEADERS];
    char text[12 << 10]; /* what header values lie in */
    size_t used;         /* of text */
};

/* reply.c */
extern pthread_mutex_t mg_gone_lock; /* a client's going away against the end of its exchange */
void mg_exchange_unref(struct mg_exchange *exchange);
void mg_reply_init(struct mg_reply *reply, int status);
void mg_reply_header(struct mg_reply *reply, const char *name, struct mg_span value);
void mg_reply_headerf(struct mg_reply *reply, const char *name, const char *format, ...) MG_PRINTF(3, 4);
/* Sends; releases the exchange when the bytes are out. Ends the caller's use of both. */
void mg_reply_send(struct mg_exchange *exchange, struct mg_reply *reply);
/* A body made for this request (taken). */
void mg_reply_text(struct mg_exchange *exchange, int status, const char *mime, struct mg_buf *body);
void mg_reply_error(struct mg_exchange *exchange, enum mg_err err, const char *message, struct mg_span detail);
/* The response to a run: status, headers, conditional and ranged bodies. */
void mg_reply_answer(struct mg_exchange *exchange, struct mg_answer *answer, enum mg_source source,
                     struct mg_span detail);

/* query.c */
enum { MG_MAX_GIVEN = 256 };
struct mg_query {
    struct mg_given given[MG_MAX_GIVEN];
    size_t n;
    char *text;   /* decoded names and values */
    struct mg_buf numbers; /* the text of a body's numbers and booleans */
    json_t *body; /* of a POST; the given borrow from it */
};
/* Parameters of a query string and a JSON (or form) body. MG_E_INVALID, MG_E_MEDIA_TYPE. */
MG_MUST_CHECK enum mg_err mg_query_parse(struct mg_query *query, const struct mg_http_request *request,
                                         struct mg_errmsg *err);
void mg_query_free(struct mg_query *query);
/* The first parameter of that name, as text; data NULL when absent. A JSON string's text; numbers are not. */
struct mg_span mg_query_text(const struct mg_query *query, const char *name);
/* Decodes %xx of one path segment; false when malformed, holds NUL, or does not fit. */
bool mg_decode_segment(struct mg_span raw, char *out, size_t size);

/* route_run.c, route_info.c: each answers the exchange, now or later. `segments` are raw. */
struct mg_route_match {
    struct mg_span segments[16];
    size_t n;
};
void mg_route_run(struct mg_exchange *exchange, const struct mg_route_match *match, struct mg_span token,
                  struct mg_span extension, bool tiles, struct mg_span z, struct mg_span x, struct mg_span y);
void mg_route_private(struct mg_exchange *exchange, struct mg_span owner, struct mg_span name, bool tiles,
                      struct mg_span z, struct mg_span x, struct mg_span y);
/* The run of exchange->udf, for routes that found it themselves; `z` … are as in a tile's URL. */
void mg_route_run_tile(struct mg_exchange *exchange, struct mg_span extension, struct mg_span z, struct mg_span x,
                       struct mg_span y);
/* Takes the parameters of exchange->protocol out. */
void mg_route_drop_protocol(const struct mg_exchange *exchange, struct mg_query *query);
void mg_route_tilejson(struct mg_exchange *exchange, struct mg_span token);
void mg_route_map(struct mg_exchange *exchange, struct mg_span token);
void mg_route_info(struct mg_exchange *exchange, const struct mg_route_match *match);
void mg_route_wmts(struct mg_exchange *exchange, const struct mg_route_match *match); /* route_wmts.c */
void mg_route_ogc(struct mg_exchange *exchange, const struct mg_route_match *match);  /* route_ogc.c */
void mg_route_formats(struct mg_exchange *exchange); /* route_formats.c */

/* auth.c: whom a request is from, and the UDF that a token in the URL names (a new reference in exchange->udf). */
/* The public UDF of that name, in exchange->udf, and whose it is in exchange->org. */
MG_MUST_CHECK enum mg_err mg_auth_public(struct mg_exchange *exchange, struct mg_span name, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_auth_shared(struct mg_exchange *exchange, struct mg_span token, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_auth_bearer(struct mg_exchange *exchange, struct mg_token *account,
                                         struct mg_errmsg *err);

/* api.c: the routes beneath /server/v1 that are no runs. False: there is none at this URL. */
MG_MUST_CHECK bool mg_api_route(struct mg_exchange *exchange, const struct mg_route_match *match);
void mg_api_start(struct mg_app *app);
void mg_api_stop(struct mg_app *app); /* what waits is answered first */

/* pages.c */
void mg_pages_load(struct mg_app *app, const char *web_dir);
void mg_pages_free(struct mg_app *app);
bool mg_pages_send(struct mg_exchange *exchange, struct mg_span name);
/* The map page with its configuration put in. */
void mg_pages_send_map(struct mg_exchange *exchange, json_t *config);

/* recall.c */
/* Answers a request that this thread has answered from the cache before, if all that decided the answer is as it was. */
MG_MUST_CHECK bool mg_recall_answer(struct mg_app *app, struct mg_http_request *request);
/* Remembers the response that is about to be sent. */
void mg_recall_put(const struct mg_exchange *exchange, const struct mg_reply *reply);

/* access_log.c */
void mg_access_log_open(const char *path, bool quiet); /* keeps path */
void mg_access_log_reopen(void); /* its file was moved away */
void mg_access_log(const struct mg_http_request *request, const char *id, const struct mg_udf *udf, int status,
                   uint64_t bytes);
void mg_access_log_flush(void);

/* app.c */
void mg_app_new_id(struct mg_app *app, char out[17]);
void mg_app_handle(void *app, struct mg_http_request *request);

#endif
