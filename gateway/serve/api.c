/* The API's desk: routes beneath /server/v1, one thread that handles them, and how they answer. */
#include "api.h"

#include "moongate/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { UPLOAD_MAX = 1 << 20 };

struct mg_api_desk {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct mg_api *first, *last;
    bool stopping, running;
};

static const struct mg_api_route *const tables[] = {mg_udf_routes, mg_token_routes};

/* ---- the desk
 * ---------------------------------------------------------------------------------------- */

static void post(struct mg_api *api)
{
    struct mg_api_desk *desk = api->exchange->app->desk;
    struct mg_errmsg err = {""};
    api->next = NULL;
    pthread_mutex_lock(&desk->lock);
    bool stopping = desk->stopping;
    if (!stopping) {
        if (desk->last)
            desk->last->next = api;
        else
            desk->first = api;
        desk->last = api;
        pthread_cond_signal(&desk->work);
    }
    pthread_mutex_unlock(&desk->lock);
    if (stopping) {
        enum mg_err status =
            mg_err_set(&err, MG_E_UNAVAILABLE, "the server is stopping; nothing was changed");
        mg_api_fail(api, status, &err);
    }
}

static void *work(void *context)
{
    struct mg_api_desk *desk = context;
    for (;;) {
        pthread_mutex_lock(&desk->lock);
        while (!desk->first && !desk->stopping)
            pthread_cond_wait(&desk->work, &desk->lock);
        struct mg_api *api = desk->first;
        if (api && !(desk->first = api->next))
            desk->last = NULL;
        pthread_mutex_unlock(&desk->lock);
        if (!api)
            return NULL;
        api->step(api);
    }
}

void mg_api_start(struct mg_app *app)
{
    struct mg_api_desk *desk = calloc(1, sizeof *desk);
    MG_ASSERT(desk);
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->work, NULL);
    MG_ASSERT(pthread_create(&desk->thread, NULL, work, desk) == 0);
    app->desk = desk;
}

/* The desk itself stays: a run that ends later still asks it. */
void mg_api_stop(struct mg_app *app)
{
    struct mg_api_desk *desk = app->desk;
    if (!desk)
        return;
    pthread_mutex_lock(&desk->lock);
    desk->stopping = true;
    pthread_cond_signal(&desk->work);
    pthread_mutex_unlock(&desk->lock);
    pthread_join(desk->thread, NULL);
}

/* ---- in
 * ---------------------------------------------------------------------------------------------- */

static bool fits(const char *pattern, const struct mg_route_match *match, size_t from)
{
    struct mg_span rest = mg_span(pattern), part;
    size_t i = from;
    while (mg_span_cut(&rest, '/', &part)) {
        if (i == match->n || !(mg_span_is(part, "*") ? match->segments[i].len > 0
                                                     : mg_span_eq(part, match->segments[i])))
            return false;
        i++;
    }
    return i == match->n;
}

static bool is_zip(const struct mg_http_request *request)
{
    struct mg_span type = mg_http_header(request, "content-type");
    return mg_span_starts(type, "application/zip") ||
           mg_span_starts(type, "application/x-zip-compressed");
}

static void end(struct mg_api *api)
{
    if (api->query.text)
        mg_query_free(&api->query);
    mg_package_free(&api->package);
    mg_udf_unref(&api->udf);
    free(api);
}

static void take(struct mg_exchange *exchange, const struct mg_route_match *match,
                 const struct mg_api_route *route)
{
    struct mg_errmsg err = {""};
    struct mg_api *api = calloc(1, sizeof *api);
    MG_ASSERT(api);
    api->exchange = exchange;
    api->engine = exchange->app->engine;
    api->step = route->handle;
    for (size_t i = 2; i < match->n; i++)
        api->match.segments[api->match.n++] = match->segments[i];
    exchange->owner = true;
    enum mg_err status =
        route->flags & API_ANYONE ? MG_OK : mg_auth_bearer(exchange, &api->who, &err);
    struct mg_http_request plain = *exchange->request;
    api->zip = route->flags & API_ZIP && is_zip(exchange->request);
    if (api->zip)
        plain.body = (struct mg_span){0};
    if (!status && exchange->request->body.len > UPLOAD_MAX)
        status = mg_err_set(&err, MG_E_TOO_LARGE, "the body has %zu bytes; at most %d are possible",
                            exchange->request->body.len, UPLOAD_MAX);
    if (!status)
        status = mg_query_parse(&api->query, &plain, &err);
    if (status)
        mg_api_fail(api, status, &err);
    else
        post(api);
}

bool mg_api_route(struct mg_exchange *exchange, const struct mg_route_match *match)
{
    const struct mg_span *s = match->segments;
    char allow[64] = "";
    bool head = mg_span_is(exchange->request->method, "HEAD");
    if (match->n < 3 || !mg_span_is(s[0], "server") || !mg_span_is(s[1], "v1"))
        return false;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const struct mg_api_route *route = tables[t]; route->path; route++) {
            if (!fits(route->path, match, 2))
                continue;
            if (mg_span_is(exchange->request->method, route->method) ||
                (head && strcmp(route->method, "GET") == 0)) {
                take(exchange, match, route);
                return true;
            }
            size_t len = strlen(allow);
            snprintf(allow + len, sizeof allow - len, "%s%s", len ? ", " : "", route->method);
        }
    if (!*allow)
        return false;
    struct mg_errmsg err = {""};
    exchange->allow = allow;
    enum mg_err status = mg_err_set(&err, MG_E_METHOD, "this URL takes %s", allow);
    mg_reply_error(exchange, status, err.text,
                   (struct mg_span){0}); /* has copied it when it returns */
    return true;
}

void mg_api_segment(const struct mg_api *api, size_t at, char *out, size_t size)
{
    if (at >= api->match.n || !mg_decode_segment(api->match.segments[at], out, size))
        out[0] = 0;
}

static const struct mg_given *given(const struct mg_api *api, const char *name)
{
    for (size_t i = 0; i < api->query.n; i++)
        if (mg_span_is(api->query.given[i].name, name) && !json_is_null(api->query.given[i].json))
            return &api->query.given[i];
    return NULL;
}

static const char *where_of(const struct mg_given *value)
{
    return value->json ? "body" : "query";
}

/* What came in the query is not terminated; it is given as JSON from here on, so that it lives as
 * long. */
static const char *text_of(struct mg_api *api, const struct mg_given *value, const char *name)
{
    if (value->json)
        return json_string_value(value->json);
    if (!api->query.body)
        api->query.body = json_object();
    json_t *text = json_stringn(value->text.data, value->text.len);
    if (text)
        json_object_set_new(api->query.body, name, text);
    return json_string_value(text);
}

bool mg_api_text(struct mg_api *api, const char *name, const char **out)
{
    const struct mg_given *value = given(api, name);
    *out = NULL;
    if (!value)
        return true;
    *out = text_of(api, value, name);
    if (*out && strlen(*out) == (value->json ? json_string_length(value->json) : value->text.len))
        return true;
    mg_api_fail_field(api, where_of(value), name, "a string is expected", NULL, 0, 0);
    return false;
}

bool mg_api_bool(struct mg_api *api, const char *name, int *out)
{
    const struct mg_given *value = given(api, name);
    *out = -1;
    if (!value)
        return true;
    if (mg_span_is(value->text, "true") || mg_span_is(value->text, "false")) {
        *out = mg_span_is(value->text, "true");
        return true;
    }
    mg_api_fail_field(api, where_of(value), name, "true or false is expected", NULL, 0, 0);
    return false;
}

bool mg_api_count(struct mg_api *api, const char *name, int64_t fallback, int64_t max, int64_t *out)
{
    const struct mg_given *value = given(api, name);
    char digits[24], message[96], *rest = digits;
    *out = fallback;
    if (!value)
        return true;
    snprintf(digits, sizeof digits, "%.*s", value->text.len < 20 ? (int)value->text.len : 20,
             value->text.data ? value->text.data : "");
    errno = 0;
    long long number = strtoll(digits, &rest, 10);
    if (digits[0] >= '0' && digits[0] <= '9' && !*rest && value->text.len < 19 && number <= max) {
        *out = number;
        return true;
    }
    snprintf(message, sizeof message, "a whole number from 0 to %lld is expected", (long long)max);
    mg_api_fail_field(api, where_of(value), name, message, NULL, 0, 0);
    return false;
}

int64_t mg_api_if_match(const struct mg_api *api)
{
    struct mg_span tag = mg_http_header(api->exchange->request, "if-match");
    if (!tag.data || mg_span_is(tag, "*"))
        return 0;
    int64_t revision = 0;
    size_t i = 1;
    while (i < tag.len && i < 18 && tag.data[i] >= '0' && tag.data[i] <= '9')
        revision = revision * 10 + (tag.data[i++] - '0');
    return i > 1 && tag.data[0] == '"' && i < tag.len && tag.data[i] == '-' && revision > 0
               ? revision
               : -1;
}

/* ---- out
 * --------------------------------------------------------------------------------------------- */

static void send_body(struct mg_api *api, struct mg_reply *reply, struct mg_buf *body)
{
    struct mg_exchange *exchange = api->exchange;
    size_t len = body->len;
    free(exchange->memory);
    exchange->memory = mg_buf_take(body, NULL);
    reply->response.body = (struct mg_span){exchange->memory ? exchange->memory : "", len};
    mg_reply_header(reply, "cache-control", MG_SPAN("no-store"));
    mg_reply_send(exchange, reply);
    end(api);
}

void mg_api_json(struct mg_api *api, int status, const char *etag, json_t *value)
{
    struct mg_reply reply;
    struct mg_buf body;
    mg_reply_init(&reply, status);
    mg_buf_init(&body, 0);
    if (value) {
        mg_json_write(value, &body);
        mg_buf_char(&body, '\n');
        mg_reply_header(&reply, "content-type", MG_SPAN("application/json; charset=utf-8"));
    }
    json_decref(value);
    if (etag)
        mg_reply_headerf(&reply, "etag", "%s", etag);
    send_body(api, &reply, &body);
}

void mg_api_bytes(struct mg_api *api, const char *mime, const char *file_name, struct mg_buf *bytes)
{
    struct mg_reply reply;
    mg_reply_init(&reply, 200);
    mg_reply_headerf(&reply, "content-type", "%s", mime);
    if (file_name)
        mg_reply_headerf(&reply, "content-disposition", "attachment; filename=\"%s\"", file_name);
    send_body(api, &reply, bytes);
}

void mg_api_fail(struct mg_api *api, enum mg_err status, const struct mg_errmsg *err)
{
    mg_reply_error(api->exchange, status, err->text[0] ? err->text : mg_err_text(status),
                   (struct mg_span){0});
    end(api);
}

void mg_api_fail_field(struct mg_api *api, const char *where, const char *field,
                       const char *message, const char *file, long line, long column)
{
    struct mg_buf detail;
    mg_buf_init(&detail, 0);
    json_t *row = json_pack("{s:[s,s], s:s, s:s}", "loc", where, field, "msg", message, "type",
                            "value_error");
    if (file)
        json_object_set_new(row, "file", json_string(file));
    if (line > 0) {
        json_object_set_new(row, "line", json_integer(line));
        json_object_set_new(row, "column", json_integer(column));
    }
    json_t *list = json_pack("[o]", row);
    mg_json_write(list, &detail);
    json_decref(list);
    mg_reply_error(api->exchange, MG_E_PARAMETER, message,
                   (struct mg_span){detail.data, detail.len});
    mg_buf_fini(&detail);
    end(api);
}

static void described(void *context, struct mg_answer *answer, enum mg_source source,
                      struct mg_span detail)
{
    struct mg_api *api = context;
    (void)source;
    (void)detail;
    mg_answer_unref(&api->exchange->answer);
    api->exchange->answer = mg_answer_ref(answer);
    post(api);
}

void mg_api_describe(struct mg_api *api, mg_api_f *step)
{
    api->step = step;
    struct mg_exchange *exchange = api->exchange;
    exchange->refs = 2; /* `described` may be told, and answer by itself when the desk stops, before
                           this returns */
    struct mg_run *run = mg_describe_start(api->engine, api->who.org, api->udf, described, api);
    exchange->run = run;
    mg_exchange_unref(exchange);
}
