/* What the routes of the API share: a request that is handled away from the event loop.
 *
 * One thread, the desk, takes them one after another: they write to the disk, which a loop must not
 * wait for. A handler answers once, by one of the functions below, which ends its use of `api`; or
 * it starts a run and goes on when that has ended (mg_api_describe). Desk thread. */
#ifndef MOONGATE_SERVE_API_H
#define MOONGATE_SERVE_API_H

#include "app.h"

#include "moongate/package.h"
#include "moongate/saved.h"

struct mg_api;
typedef void mg_api_f(struct mg_api *api);

struct mg_api {
    struct mg_exchange *exchange;
    struct mg_engine *engine;
    struct mg_route_match match; /* segments behind server/v1 */
    struct mg_token who;         /* the account; org "" where the route needs none */
    struct mg_query query;       /* of the URL, and of a JSON body */
    bool zip;                    /* the body is a zip file; the query has nothing of it */
    mg_api_f *step;
    struct mg_package package; /* what is being saved */
    struct mg_udf *udf;        /* the same as a version */
    struct mg_saved saved;
    char name[128];
    struct mg_api *next;
};

enum { API_ANYONE = 1, API_ZIP = 2 };
struct mg_api_route {
    const char *method, *path; /* behind server/v1; "*" is any segment */
    mg_api_f *handle;
    unsigned flags; /* API_ANYONE: no Bearer is needed; API_ZIP: the body may be a zip file */
};
/* Each ends in a row without a path. */
extern const struct mg_api_route mg_udf_routes[], mg_token_routes[];

void mg_api_json(struct mg_api *api, int status, const char *etag,
                 json_t *value); /* takes value; NULL: no body */
void mg_api_bytes(struct mg_api *api, const char *mime, const char *file_name,
                  struct mg_buf *bytes);
void mg_api_fail(struct mg_api *api, enum mg_err status, const struct mg_errmsg *err);
/* 422 that names a field of the body or the query, and a place in it (line 0: none). */
void mg_api_fail_field(struct mg_api *api, const char *where, const char *field,
                       const char *message, const char *file, long line, long column);
/* The text of a parameter or of a member of the body; NULL where it is absent. False: no string;
 * answered. */
MG_MUST_CHECK bool mg_api_text(struct mg_api *api, const char *name, const char **out);
/* -1 where it is absent. False: no boolean; answered. */
MG_MUST_CHECK bool mg_api_bool(struct mg_api *api, const char *name, int *out);
/* A whole number >= 0, `fallback` where it is absent. False: answered. */
MG_MUST_CHECK bool mg_api_count(struct mg_api *api, const char *name, int64_t fallback, int64_t max,
                                int64_t *out);
/* A segment behind server/v1, decoded; "" when it is malformed. */
void mg_api_segment(const struct mg_api *api, size_t at, char *out, size_t size);
/* The revision that If-Match names; 0: none or any, -1: one that cannot be. */
int64_t mg_api_if_match(const struct mg_api *api);
/* Describes api->udf in a worker, then takes `step` with exchange->answer set. */
void mg_api_describe(struct mg_api *api, mg_api_f *step);

#endif
