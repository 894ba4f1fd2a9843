/* What is not a run: health, readiness, metrics, TileJSON, the map pages, sign-in. */
#include "app.h"

#include "moongate/metrics.h"
#include "moongate/sandbox.h"
#include "moongate/tile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void reply_json(struct mg_exchange *exchange, int status, json_t *value)
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
    reply_json(exchange, 200, json_pack("{s:s, s:s}", "status", "ok", "version", MG_VERSION));
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
    reply_json(exchange, good ? 200 : 503, value);
}

static void metrics(struct mg_exchange *exchange)
{
    struct mg_token account;
    struct mg_errmsg err = {0};
    if (!exchange->request->from_loopback && !exchange->request->from_admin && mg_auth_bearer(exchange, &account, &err) != MG_OK) {
        mg_reply_error(exchange, MG_E_UNAUTHORIZED, err.text, (struct mg_span){0});
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

/* "vector" or "raster" by the UDF's type; NULL when it does not say. */
static const char *kind_of(const struct mg_udf *udf)
{
    if (strstr(udf->type, "vector"))
        return "vector";
    return strstr(udf->type, "raster") ? "raster" : NULL;
}

/* Where there is data, as meta.json says it (degrees); else the whole map. */
static struct mg_bounds bounds_of(const struct mg_udf *udf)
{
    struct mg_bounds b = {-180, -MG_MERC_MAX_LAT, 180, MG_MERC_MAX_LAT}, own;
    if (json_unpack(udf->meta, "{s:{s:[{s:{s:{s:[F,F,F,F]}}}]}}", "job_config", "steps", "udf", "metadata",
                    "moongate:bounds", &own.xmin, &own.ymin, &own.xmax, &own.ymax) < 0 ||
        !mg_bounds_valid(own))
        return b;
    if (own.xmin < own.xmax) { /* one that crosses the antimeridian has no form in TileJSON */
        b.xmin = own.xmin;
        b.xmax = own.xmax;
    }
    b.ymin = fmax(b.ymin, fmin(own.ymin, b.ymax));
    b.ymax = fmin(b.ymax, fmax(own.ymax, b.ymin));
    return b;
}

static json_t *tilejson(const struct mg_exchange *exchange, const char *token)
{
    const struct mg_udf *udf = exchange->udf;
    const char *kind = kind_of(udf);
    struct mg_bounds b = bounds_of(udf);
    struct mg_buf url;
    struct mg_span query = exchange->request->query;
    mg_buf_init(&url, 0);
    mg_buf_printf(&url, "%s/%s/run/tiles/{z}/{x}/{y}%s%s", exchange->app->base_url, token,
                  !kind ? "" : strcmp(kind, "vector") == 0 ? ".mvt" : ".png", query.len ? "?" : "");
    for (size_t i = 0; i < query.len; i++) /* as sent, but in ASCII: JSON is UTF-8 */
        mg_buf_printf(&url, (unsigned char)query.data[i] < 0x80 ? "%c" : "%%%02X", (unsigned char)query.data[i]);
    json_t *value = json_pack("{s:s, s:s, s:s, s:s, s:[s], s:i, s:i, s:[f,f,f,f]}", "tilejson", "3.0.0", "name",
                              udf->name, "description", udf->description ? udf->description : "", "scheme", "xyz",
                              "tiles", url.data, "minzoom", 0, "maxzoom", MG_TILE_MAX_ZOOM, "bounds", b.xmin,
                              b.ymin, b.xmax, b.ymax);
    mg_buf_fini(&url);
    if (udf->has_view)
        json_object_set_new(value, "center", json_pack("[f,f,f]", udf->lng, udf->lat, udf->zoom));
    if (kind && strcmp(kind, "vector") == 0)
        json_object_set_new(value, "vector_layers", json_pack("[{s:s, s:{}}]", "id", "udf", "fields"));
    return value;
}

static bool shared(struct mg_exchange *exchange, struct mg_span token, char *text, size_t size)
{
    struct mg_errmsg err = {0};
    enum mg_err status = mg_auth_shared(exchange, token, &err);
    if (!status && !mg_decode_segment(token, text, size))
        status = mg_err_set(&err, MG_E_UNAUTHORIZED, "%s", mg_err_text(MG_E_UNAUTHORIZED));
    if (status)
        mg_reply_error(exchange, status, err.text, (struct mg_span){0});
    return !status;
}

void mg_route_tilejson(struct mg_exchange *exchange, struct mg_span token)
{
    char text[160];
    if (shared(exchange, token, text, sizeof text))
        reply_json(exchange, 200, tilejson(exchange, text));
}

void mg_route_map(struct mg_exchange *exchange, struct mg_span token)
{
    char text[160];
    if (!shared(exchange, token, text, sizeof text))
        return;
    const struct mg_udf *udf = exchange->udf;
    const char *kind = kind_of(udf);
    json_t *config = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "name", udf->name, "token", text, "base",
                               exchange->app->base_url, "description", udf->description ? udf->description : "", "kind",
                               kind ? kind : "auto", "tilejson", tilejson(exchange, text));
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
            json_t *row = json_pack("{s:s, s:s, s:s}", "name", udf->name, "kind", kind_of(udf) ? kind_of(udf) : "auto",
                                    "description", udf->description ? udf->description : "");
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
