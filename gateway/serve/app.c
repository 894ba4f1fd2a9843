/* Routes: the raw path is cut at its slashes and matched against one table; segments are decoded only where they are
 * used. The first pattern that fits counts; "*" is any segment, "**" any number of them. */
#include "app.h"

#include <stdio.h>
#include <stdlib.h>

enum route { ROUTE_SHARED, ROUTE_SHARED_TILE, ROUTE_PRIVATE, ROUTE_PRIVATE_TILE, ROUTE_AD_HOC, ROUTE_TILEJSON,
             ROUTE_MAP, ROUTE_STATIC, ROUTE_INFO, ROUTE_REFERENCE, ROUTE_FORMATS, ROUTE_WMTS, ROUTE_OGC };
enum { GET = 1, POST = 2 };

/* `token` etc. are the places of these segments; 0 where the route has none (no route has one of them first, but for
 * the short URLs, whose token is at 0). */
static const struct pattern {
    const char *path;
    enum route route;
    unsigned methods;
    int token, name, z;
} patterns[] = {
    {"health", ROUTE_INFO, GET, 0, 0, 0},
    {"ready", ROUTE_INFO, GET, 0, 0, 0},
    {"metrics", ROUTE_INFO, GET, 0, 0, 0},
    {"", ROUTE_INFO, GET, 0, 0, 0},
    {"login/*", ROUTE_INFO, GET, 0, 0, 0},
    {"formats", ROUTE_FORMATS, GET, 0, 0, 0},
    {"reference", ROUTE_REFERENCE, GET, 0, 0, 0},
    {"static/*", ROUTE_STATIC, GET, 0, 0, 0},
    {"server/v1/realtime-shared/*/run/tiles/*/*/*", ROUTE_SHARED_TILE, GET | POST, 3, 0, 6},
    {"server/v1/realtime-shared/*/run/file", ROUTE_SHARED, GET | POST, 3, 0, 0},
    {"server/v1/realtime-shared/*/run", ROUTE_SHARED, GET | POST, 3, 0, 0},
    {"server/v1/realtime/*/api/v1/run/udf/saved/*/*/tiles/*/*/*", ROUTE_PRIVATE_TILE, GET | POST, 9, 10, 12},
    {"server/v1/realtime/*/api/v1/run/udf/saved/*/*", ROUTE_PRIVATE, GET | POST, 9, 10, 0},
    {"server/v1/realtime/*/api/v1/run/udf", ROUTE_AD_HOC, POST, 0, 0, 0},
    {"server/v1/realtime/*/api/v1/run/udf/tiles/*/*/*", ROUTE_AD_HOC, POST, 0, 0, 0},
    {"*/run/tiles/*/*/*", ROUTE_SHARED_TILE, GET | POST, 0, 0, 3},
    {"*/run/file", ROUTE_SHARED, GET | POST, 0, 0, 0},
    {"*/run", ROUTE_SHARED, GET | POST, 0, 0, 0},
    {"*/tilejson.json", ROUTE_TILEJSON, GET, 0, 0, 0},
    {"*/map", ROUTE_MAP, GET, 0, 0, 0},
    {"*/wmts/**", ROUTE_WMTS, GET, 0, 0, 0},
    {"ogc/**", ROUTE_OGC, GET, 0, 0, 0},
    {"*/ogc/**", ROUTE_OGC, GET, 0, 0, 0},
    {"*", ROUTE_SHARED, GET | POST, 0, 0, 0}, /* {token}.{ext} */
};

static bool fits(const char *pattern, const struct mg_route_match *match)
{
    struct mg_span rest = mg_span(pattern), part;
    size_t i = 0;
    while (mg_span_cut(&rest, '/', &part)) {
        if (mg_span_is(part, "**"))
            return true;
        if (i == match->n || !(mg_span_is(part, "*") ? match->segments[i].len > 0
                                                     : mg_span_eq(part, match->segments[i])))
            return false;
        i++;
    }
    return i == match->n;
}

static unsigned method_of(const struct mg_http_request *request)
{
    if (mg_span_is(request->method, "GET") || mg_span_is(request->method, "HEAD"))
        return GET;
    return mg_span_is(request->method, "POST") ? POST : 0;
}

static void refuse_method(struct mg_exchange *exchange, const char *allow)
{
    struct mg_errmsg err = {0};
    exchange->allow = allow;
    enum mg_err status = mg_err_set(&err, MG_E_METHOD, "this URL takes %s", allow);
    mg_reply_error(exchange, status, err.text, (struct mg_span){0});
}

static void preflight(struct mg_exchange *exchange)
{
    struct mg_reply reply;
    mg_reply_init(&reply, 204);
    exchange->shared = true; /* the answer to OPTIONS says nothing of anyone */
    mg_reply_header(&reply, "access-control-allow-methods", MG_SPAN("GET, HEAD, POST, DELETE, OPTIONS"));
    mg_reply_header(&reply, "access-control-allow-headers",
                    MG_SPAN("Authorization, Content-Type, Range, If-Match, If-None-Match, X-Fused-Cache-Disable, "
                            "Fused-Recursion"));
    mg_reply_header(&reply, "access-control-max-age", MG_SPAN("86400"));
    mg_reply_header(&reply, "allow", MG_SPAN("GET, HEAD, POST, OPTIONS"));
    mg_reply_send(exchange, &reply);
}

/* {token}.{ext}, with the name of a public UDF or a token before the dot. */
static void run_short(struct mg_exchange *exchange, const struct mg_route_match *match, struct mg_span segment)
{
    struct mg_span extension = segment, token;
    mg_span_cut(&extension, '.', &token);
    if (!extension.data && match->n == 1) {
        mg_reply_error(exchange, MG_E_NOT_FOUND, "there is nothing at this URL; a UDF's file is at /{token}.{format}",
                       (struct mg_span){0});
        return;
    }
    mg_route_run(exchange, match, token, extension, false, (struct mg_span){0}, (struct mg_span){0},
                 (struct mg_span){0});
}

static void dispatch(struct mg_exchange *exchange, const struct pattern *pattern, const struct mg_route_match *match)
{
    const struct mg_span *s = match->segments;
    const struct mg_span none = {0};
    switch (pattern->route) {
    case ROUTE_SHARED_TILE:
        mg_route_run(exchange, match, s[pattern->token], none, true, s[pattern->z], s[pattern->z + 1],
                     s[pattern->z + 2]);
        break;
    case ROUTE_SHARED:
        if (match->n == 1)
            run_short(exchange, match, s[0]);
        else
            mg_route_run(exchange, match, s[pattern->token], none, false, none, none, none);
        break;
    case ROUTE_PRIVATE_TILE:
        mg_route_private(exchange, s[pattern->token], s[pattern->name], true, s[pattern->z], s[pattern->z + 1],
                         s[pattern->z + 2]);
        break;
    case ROUTE_PRIVATE:
        mg_route_private(exchange, s[pattern->token], s[pattern->name], false, none, none, none);
        break;
    case ROUTE_AD_HOC:
        mg_reply_error(exchange, MG_E_NOT_FOUND,
                       "code inside a request cannot be run by this version; save the UDF as a folder", none);
        break;
    case ROUTE_TILEJSON:
        mg_route_tilejson(exchange, s[0]);
        break;
    case ROUTE_MAP:
        mg_route_map(exchange, s[0]);
        break;
    case ROUTE_WMTS:
        mg_route_wmts(exchange, match);
        break;
    case ROUTE_OGC:
        mg_route_ogc(exchange, match);
        break;
    case ROUTE_STATIC:
        if (!mg_pages_send(exchange, s[1]))
            mg_reply_error(exchange, MG_E_NOT_FOUND, "there is no such file", none);
        break;
    case ROUTE_INFO:
        mg_route_info(exchange, match);
        break;
    case ROUTE_REFERENCE:
        exchange->shared = true;
        if (!mg_pages_send(exchange, MG_SPAN("reference.html")))
            mg_reply_error(exchange, MG_E_NOT_FOUND, "the Lua library is not where the web pages are", none);
        break;
    case ROUTE_FORMATS:
        mg_route_formats(exchange);
        break;
    }
}

void mg_app_new_id(struct mg_app *app, char out[17])
{
    /* splitmix64 over a random start: unique, not secret */
    uint64_t x = __atomic_add_fetch(&app->id_seed, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    for (int i = 0; i < 16; i++)
        out[i] = "0123456789abcdef"[x >> (60 - 4 * i) & 15];
    out[16] = 0;
}

void mg_app_handle(void *context, struct mg_http_request *request)
{
    struct mg_app *app = context;
    if (mg_recall_answer(app, request))
        return;
    struct mg_exchange *exchange = calloc(1, sizeof *exchange);
    MG_ASSERT(exchange);
    exchange->refs = 1;
    exchange->app = app;
    exchange->request = request;
    exchange->token_max_age_s = -1;
    mg_app_new_id(app, exchange->id);
    if (mg_span_is(request->method, "OPTIONS")) {
        preflight(exchange);
        return;
    }
    struct mg_route_match match = {.n = 0};
    struct mg_span rest = {request->path.data + (request->path.len > 0), request->path.len - (request->path.len > 0)};
    struct mg_span part;
    bool too_deep = false;
    if (!rest.len)
        match.segments[match.n++] = rest;
    while (rest.len && mg_span_cut(&rest, '/', &part)) {
        if (match.n == sizeof match.segments / sizeof *match.segments) {
            too_deep = true;
            break;
        }
        match.segments[match.n++] = part;
    }
    if (!too_deep && mg_api_route(exchange, &match))
        return;
    const struct pattern *found = NULL;
    for (size_t i = 0; !found && !too_deep && i < sizeof patterns / sizeof *patterns; i++)
        if (fits(patterns[i].path, &match))
            found = &patterns[i];
    if (!found)
        mg_reply_error(exchange, MG_E_NOT_FOUND, "there is nothing at this URL", (struct mg_span){0});
    else if (!(method_of(request) & found->methods))
        refuse_method(exchange, found->methods & POST ? "GET, HEAD, POST, OPTIONS" : "GET, HEAD, OPTIONS");
    else
        dispatch(exchange, found, &match);
}
