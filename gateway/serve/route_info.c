/* What is not a run: health, readiness, metrics, TileJSON, the map pages, sign-in. */
#include "tileset.h"

#include "moongate/metrics.h"
#include "moongate/sandbox.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void mg_route_json(struct mg_exchange *exchange, int status, json_t *value)
{
    struct mg_buf body;
    mg_buf_init(&body, 0);
    mg_json_write(value, &body);
    mg_buf_char(&body, '\n');
    json_decref(value);
    mg_reply_text(exchange, status, "application/json; charset=utf-8", &body);
}

static void health(struct mg_exchange *exchange)
{
    mg_route_json(exchange, 200, json_pack("{s:s, s:s}", "status", "ok", "version", MG_VERSION));
}

static void ready(struct mg_exchange *exchange)
{
    struct mg_broker_stats stats;
    mg_broker_stats(exchange->app->engine->broker, &stats);
    bool stopping = __atomic_load_n(&exchange->app->stopping, __ATOMIC_RELAXED);
    bool good = stats.workers > 0 && stats.zygote && !stopping;
    json_t *layers = json_array();
    for (unsigned bit = 0; bit < 16; bit++)
        if (stats.layers & 1u << bit)
            json_array_append_new(layers, json_string(mg_layer_name(1u << bit)));
    json_t *value = json_pack("{s:s, s:i, s:i, s:i, s:b, s:o}", "status", good ? "ready" : stopping ? "stopping" : "not ready",
                              "workers", (int)stats.workers, "busy", (int)stats.busy, "queued", (int)stats.queued,
                              "fetcher", stats.fetcher, "sandbox", layers);
    if (!good && !stopping)
        json_object_set_new(value, "error", json_string(stats.last_error[0] ? stats.last_error
                                                        : stats.zygote      ? "no worker is up yet"
                                                                            : "the zygote is not up yet"));
    mg_route_json(exchange, good ? 200 : 503, value);
}

static void metrics(struct mg_exchange *exchange)
{
    struct mg_token account;
    struct mg_errmsg err = {0};
    if (!exchange->request->from_loopback && !exchange->request->from_admin &&
        (mg_auth_bearer(exchange, &account, &err) != MG_OK || strcmp(account.org, "local") != 0)) {
        mg_reply_error(exchange, MG_E_UNAUTHORIZED, err.text[0] ? err.text : mg_err_text(MG_E_UNAUTHORIZED),
                       (struct mg_span){0});
        return;
    }
    size_t n;
    struct mg_udf **udfs = mg_catalog_list(exchange->app->engine->catalog, &n);
    mg_metric_set(MG_M_UDFS, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        mg_udf_unref(&udfs[i]);
    free(udfs);
    struct mg_buf body;
    mg_buf_init(&body, 0);
    mg_metrics_write(&body);
    mg_reply_text(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

/* ---- maps -------------------------------------------------------------------------------------------- */

/* A parameter of the protocol, as WMTS's SERVICE, and not of the UDF; names differ in no more than case. */
static bool of_protocol(const struct mg_exchange *exchange, struct mg_span name)
{
    for (const char *const *p = exchange->protocol; p && *p; p++)
        if (strlen(*p) == name.len && strncasecmp(*p, name.data, name.len) == 0)
            return true;
    return false;
}

void mg_route_drop_protocol(const struct mg_exchange *exchange, struct mg_query *query)
{
    size_t n = 0;
    for (size_t i = 0; i < query->n; i++)
        if (!of_protocol(exchange, query->given[i].name))
            query->given[n++] = query->given[i];
    query->n = n;
}

void mg_route_put_query(const struct mg_exchange *exchange, char first, struct mg_buf *out)
{
    struct mg_span rest = exchange->request->query, pair;
    while (rest.len && mg_span_cut(&rest, '&', &pair)) {
        struct mg_span value = pair, name;
        mg_span_cut(&value, '=', &name);
        if (!pair.len || of_protocol(exchange, name))
            continue;
        mg_buf_char(out, first);
        first = '&';
        for (size_t i = 0; i < pair.len; i++) /* as sent, but in ASCII: JSON and XML are UTF-8 */
            mg_buf_printf(out, (unsigned char)pair.data[i] < 0x80 ? "%c" : "%%%02X", (unsigned char)pair.data[i]);
    }
}

/* `layers`: of vector tiles; taken. */
static json_t *tilejson(const struct mg_exchange *exchange, json_t *layers)
{
    const struct mg_udf *udf = exchange->udf;
    struct mg_tileset set;
    struct mg_buf url;
    mg_tileset_of(udf, &set);
    mg_buf_init(&url, 0);
    mg_buf_printf(&url, "%s/%s/run/tiles/{z}/{x}/{y}%s%s", exchange->app->base_url, exchange->token,
                  set.extension[0] ? "." : "", set.extension);
    mg_route_put_query(exchange, '?', &url);
    bool south = url.data && (strstr(url.data, "tms=1") || strstr(url.data, "tms=true"));
    json_t *value = json_pack("{s:s, s:s, s:s, s:s, s:[s], s:i, s:i, s:[f,f,f,f]}", "tilejson", "3.0.0", "name",
                              udf->name, "description", udf->description ? udf->description : "", "scheme",
                              south ? "tms" : "xyz", "tiles", url.data, "minzoom", set.minzoom, "maxzoom", set.maxzoom,
                              "bounds", set.bounds.xmin, set.bounds.ymin, set.bounds.xmax, set.bounds.ymax);
    mg_buf_fini(&url);
    if (udf->has_view) /* the zoom of a view may be less than the first that has tiles */
        json_object_set_new(value, "center", json_pack("[f,f,f]", udf->lng, udf->lat,
                                                       fmin(fmax(udf->zoom, set.minzoom), set.maxzoom)));
    if (set.kind && strcmp(set.kind, "vector") == 0)
        json_object_set(value, "vector_layers", layers);
    json_decref(layers);
    return value;
}

bool mg_route_shared(struct mg_exchange *exchange, struct mg_span token)
{
    struct mg_errmsg err = {0};
    enum mg_err status = mg_auth_shared(exchange, token, &err);
    if (!status && !mg_decode_segment(token, exchange->token, sizeof exchange->token))
        status = mg_err_set(&err, MG_E_UNAUTHORIZED, "%s", mg_err_text(MG_E_UNAUTHORIZED));
    if (status)
        mg_reply_error(exchange, status, err.text, (struct mg_span){0});
    return !status;
}

static void then_tilejson(struct mg_exchange *exchange, json_t *layers)
{
    mg_route_json(exchange, 200, tilejson(exchange, layers));
}

void mg_route_tilejson(struct mg_exchange *exchange, struct mg_span token)
{
    if (mg_route_shared(exchange, token))
        mg_tileset_ask(exchange, then_tilejson);
}

void mg_route_map(struct mg_exchange *exchange, struct mg_span token)
{
    if (!mg_route_shared(exchange, token))
        return;
    const struct mg_udf *udf = exchange->udf;
    struct mg_tileset set;
    mg_tileset_of(udf, &set);
    json_t *config = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "name", udf->name, "token", exchange->token, "base",
                               exchange->app->base_url, "description", udf->description ? udf->description : "", "kind",
                               set.kind ? set.kind : "auto", "tilejson", tilejson(exchange, json_array()));
    if (udf->has_view)
        json_object_set_new(config, "view", json_pack("{s:f, s:f, s:f}", "lng", udf->lng, "lat", udf->lat, "zoom",
                                                      udf->zoom));
    mg_pages_send_map(exchange, config);
    json_decref(config);
}

/* The first page: a map of all public UDFs. */
static void index_page(struct mg_exchange *exchange)
{
    size_t n;
    struct mg_udf **udfs = mg_catalog_list(exchange->app->engine->catalog, &n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        struct mg_udf *udf = udfs[i];
        if (udf->is_public) {
            struct mg_tileset set;
            mg_tileset_of(udf, &set);
            json_t *row = json_pack("{s:s, s:s, s:s, s:s}", "name", udf->name, "kind", set.kind ? set.kind : "auto",
                                    "description", udf->description ? udf->description : "", "source", udf->source);
            if (udf->broken)
                json_object_set_new(row, "broken", json_true());
            if (udf->has_view)
                json_object_set_new(row, "view", json_pack("{s:f, s:f, s:f}", "lng", udf->lng, "lat", udf->lat, "zoom",
                                                           udf->zoom));
            json_array_append_new(list, row);
        }
        mg_udf_unref(&udfs[i]);
    }
    free(udfs);
    json_t *config = json_pack("{s:s, s:o}", "base", exchange->app->base_url, "udfs", list);
    mg_pages_send_map(exchange, config);
    json_decref(config);
}

/* The one-time link of `moongate account link`: shows the account's private token once. */
static void login(struct mg_exchange *exchange, struct mg_span code)
{
    struct mg_token token;
    struct mg_errmsg err = {0};
    struct mg_buf body;
    enum mg_err status;
    if (mg_span_is(exchange->request->method, "GET")) {
        status = mg_link_use(exchange->app->engine->state, code, (int64_t)time(NULL), &token, &err);
    } else { /* previews of links ask so, and must not use it up */
        exchange->allow = "GET, OPTIONS";
        status = mg_err_set(&err, MG_E_METHOD, "open this link with GET: it can be used once");
    }
    if (status) {
        mg_reply_error(exchange, status, err.text[0] ? err.text : mg_err_text(status), (struct mg_span){0});
        return;
    }
    exchange->secret = true;
    mg_buf_init(&body, 0);
    mg_buf_str(&body, "<!doctype html><meta charset=utf-8><title>Moongate: signed in</title>"
                      "<body style=\"font:16px/1.5 system-ui;max-width:44em;margin:4em auto;padding:0 1em\">"
                      "<h1>Signed in</h1><p>Account <b>");
    mg_buf_html(&body, token.account, strlen(token.account));
    mg_buf_str(&body, "</b>. Its private token, shown this once:</p><pre style=\"padding:1em;background:#eee\">");
    mg_buf_html(&body, token.text, strlen(token.text));
    mg_buf_str(&body, "</pre><p>Use it as <code>MOONGATE_TOKEN</code>, or as "
                      "<code>Authorization: Bearer &hellip;</code>.</p>");
    mg_reply_text(exchange, 200, "text/html; charset=utf-8", &body);
}

void mg_route_info(struct mg_exchange *exchange, const struct mg_route_match *match)
{
    struct mg_span first = match->segments[0];
    if (mg_span_is(first, "health"))
        health(exchange);
    else if (mg_span_is(first, "ready"))
        ready(exchange);
    else if (mg_span_is(first, "metrics"))
        metrics(exchange);
    else if (mg_span_is(first, "login"))
        login(exchange, match->segments[1]);
    else
        index_page(exchange);
}
