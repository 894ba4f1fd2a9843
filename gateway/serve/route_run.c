/* The run routes: from a URL to an ask of the engine, and back. */
#include "app.h"
#include "negotiate.h"

#include "moongate/codec.h"
#include "moongate/tile.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_OPTIONS = 32, MAX_TILE_SIZE = 2048 };

/* What a URL wishes, beside the UDF's own parameters. */
struct wishes {
    struct mg_buf formats, vector, raster, accepts, options;
    int tile_size;
    bool tms, no_cache;
    int64_t max_age_s;
    struct mg_span cache_id;
};

static void wishes_init(struct wishes *w)
{
    struct mg_buf *bufs[] = {&w->formats, &w->vector, &w->raster, &w->accepts, &w->options};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        mg_buf_init(bufs[i], 4096);
    w->tile_size = 256;
    w->tms = w->no_cache = false;
    w->max_age_s = -1;
    w->cache_id = (struct mg_span){0};
}

static void wishes_fini(struct wishes *w)
{
    struct mg_buf *bufs[] = {&w->formats, &w->vector, &w->raster, &w->accepts, &w->options};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        mg_buf_fini(bufs[i]);
}

static void list_formats(struct mg_buf *out)
{
    const struct mg_codec *codec;
    for (size_t i = 0; (codec = mg_codec_at(i)); i++)
        mg_buf_printf(out, "%s%s", i ? ", " : "", codec->name);
}

static enum mg_err unknown_format(const char *parameter, struct mg_span value, struct mg_errmsg *err)
{
    struct mg_buf names;
    mg_buf_init(&names, 0);
    list_formats(&names);
    mg_err_set(err, MG_E_PARAMETER, "%s: there is no format \"%.*s\"; there are %s", parameter,
               value.len < 40 ? (int)value.len : 40, value.data, names.data ? names.data : "");
    mg_buf_fini(&names);
    return MG_E_PARAMETER;
}

/* A comma list of formats, put in by their canonical names. */
static enum mg_err add_formats(const char *parameter, struct mg_span list, struct mg_buf *out, struct mg_errmsg *err)
{
    struct mg_span item;
    while (mg_span_cut(&list, ',', &item)) {
        const struct mg_codec *codec = mg_codec_find(item);
        if (!codec)
            return unknown_format(parameter, item, err);
        mg_buf_printf(out, "%s%s", out->len ? "," : "", codec->name);
    }
    return MG_OK;
}

static void add_accepts(struct mg_span accept, struct mg_buf *out)
{
    const struct mg_codec *found[16];
    size_t n = mg_accepts_formats(accept, found, 16);
    for (size_t i = 0; i < n; i++)
        mg_buf_printf(out, "%s%s", i ? "," : "", found[i]->name);
}

static int by_name(const void *a, const void *b)
{
    const struct mg_given *const *x = a, *const *y = b;
    size_t len = (*x)->name.len < (*y)->name.len ? (*x)->name.len : (*y)->name.len;
    int order = memcmp((*x)->name.data, (*y)->name.data, len);
    return order ? order : ((*x)->name.len > (*y)->name.len) - ((*x)->name.len < (*y)->name.len);
}

/* Codec options, "<format>.<option>": checked, sorted, packed, and taken out of the parameters. */
static enum mg_err take_options(struct mg_query *query, struct mg_buf *out, struct mg_errmsg *err)
{
    const struct mg_given *options[MAX_OPTIONS];
    struct mg_given taken[MAX_OPTIONS];
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < query->n; i++) {
        struct mg_given given = query->given[i];
        struct mg_span rest = given.name, prefix;
        mg_span_cut(&rest, '.', &prefix);
        const struct mg_codec *codec = rest.data && rest.len ? mg_codec_find(prefix) : NULL;
        if (!codec) {
            query->given[kept++] = given;
            continue;
        }
        size_t index;
        struct mg_option_value value;
        if (n == MAX_OPTIONS)
            return mg_err_set(err, MG_E_PARAMETER, "more than %d format options", MAX_OPTIONS);
        enum mg_err status = mg_option_parse(codec, rest, given.text, &index, &value, err);
        if (status)
            return status;
        taken[n] = given;
        options[n] = &taken[n];
        n++;
    }
    query->n = kept;
    qsort(options, n, sizeof *options, by_name);
    mg_pack_int(out, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        struct mg_span option = options[i]->name, prefix;
        mg_span_cut(&option, '.', &prefix);
        mg_pack_str(out, mg_codec_find(prefix)->name);
        mg_pack_bytes(out, option.data, option.len);
        mg_pack_bytes(out, options[i]->text.data, options[i]->text.len);
    }
    return MG_OK;
}

static enum mg_err read_size(struct mg_span text, int *size, struct mg_errmsg *err)
{
    char digits[8];
    snprintf(digits, sizeof digits, "%.*s", (int)text.len, text.data);
    char *end;
    long value = strtol(digits, &end, 10);
    if (text.len == 0 || text.len > 5 || *end || value < 16 || value > MAX_TILE_SIZE)
        return mg_err_set(err, MG_E_PARAMETER, "size: a whole number of pixels from 16 to %d is expected, not \"%.*s\"",
                          MAX_TILE_SIZE, text.len < 40 ? (int)text.len : 40, text.data);
    *size = (int)value;
    return MG_OK;
}

/* Reserved parameters and headers. */
static enum mg_err read_wishes(struct mg_exchange *exchange, struct mg_query *query, struct mg_span extension,
                               struct wishes *w, struct mg_errmsg *err)
{
    struct mg_span format = mg_query_text(query, "format"), age = mg_query_text(query, "cache_max_age"),
                   size = mg_query_text(query, "size"), tms = mg_query_text(query, "tms");
    enum mg_err status = MG_OK;
    if (extension.len)
        status = add_formats("the URL's extension", extension, &w->formats, err);
    else if (format.data)
        status = add_formats("format", format, &w->formats, err);
    struct mg_span vector = mg_query_text(query, "dtype_out_vector"), raster = mg_query_text(query, "dtype_out_raster");
    if (!status && vector.data)
        status = add_formats("dtype_out_vector", vector, &w->vector, err);
    if (!status && raster.data)
        status = add_formats("dtype_out_raster", raster, &w->raster, err);
    if (!status && !w->formats.len && !w->vector.len && !w->raster.len)
        add_accepts(mg_http_header(exchange->request, "accept"), &w->accepts);
    if (!status && size.data)
        status = read_size(size, &w->tile_size, err);
    if (!status)
        status = take_options(query, &w->options, err);
    if (!status && age.data && !mg_duration_parse(age, &w->max_age_s))
        status = mg_err_set(err, MG_E_PARAMETER,
                            "cache_max_age: seconds, or a number with s, m, h or d is expected, not \"%.*s\"",
                            age.len < 40 ? (int)age.len : 40, age.data);
    w->tms = mg_span_is(tms, "1") || mg_span_is(tms, "true");
    w->cache_id = mg_query_text(query, "_cache_id");
    struct mg_span disable = mg_http_header(exchange->request, "x-fused-cache-disable");
    w->no_cache = disable.len == 4 && strncasecmp(disable.data, "true", 4) == 0;
    return status;
}

/* Digits only, as a tile's parts are written; -1 otherwise. */
static long tile_part(struct mg_span text)
{
    long value = 0;
    if (!text.len || text.len > 9)
        return -1;
    for (size_t i = 0; i < text.len; i++) {
        if (!isdigit((unsigned char)text.data[i]))
            return -1;
        value = value * 10 + (text.data[i] - '0');
    }
    return value;
}

static enum mg_err read_tile(struct mg_span z, struct mg_span x, struct mg_span y, bool tms, struct mg_ask *ask,
                             struct mg_errmsg *err)
{
    struct mg_tile tile = {(int32_t)tile_part(z), (int32_t)tile_part(x), (int32_t)tile_part(y)};
    if (!mg_tile_valid(tile))
        return mg_err_set(err, MG_E_TILE_RANGE,
                          "tile %.*s/%.*s/%.*s: z is 0 to %d, x and y are whole numbers from 0 to 2^z - 1",
                          z.len < 20 ? (int)z.len : 20, z.data, x.len < 20 ? (int)x.len : 20, x.data,
                          y.len < 20 ? (int)y.len : 20, y.data, MG_TILE_MAX_ZOOM);
    ask->has_tile = true;
    ask->z = tile.z;
    ask->x = tile.x;
    ask->y = tms ? (1 << tile.z) - 1 - tile.y : tile.y;
    return MG_OK;
}

static void on_done(void *context, struct mg_answer *answer, enum mg_source source, struct mg_span detail)
{
    mg_reply_answer(context, answer, source, detail);
}

static void on_gone(struct mg_http_request *request)
{
    pthread_mutex_lock(&mg_gone_lock);
    struct mg_exchange *exchange = request->user;
    struct mg_run *run = exchange ? exchange->run : NULL;
    if (run)
        __atomic_add_fetch(&exchange->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&mg_gone_lock);
    if (!run)
        return;
    if (mg_run_cancel(run))
        mg_reply_error(exchange, MG_E_CANCELLED, mg_err_text(MG_E_CANCELLED), (struct mg_span){0});
    mg_exchange_unref(exchange);
}

/* Fused-Recursion: how many runs of UDFs, here or elsewhere, wait for this one. */
static enum mg_err check_depth(struct mg_span depth, struct mg_errmsg *err)
{
    bool number = depth.len > 0;
    for (size_t i = 0; i < depth.len; i++)
        number = number && isdigit((unsigned char)depth.data[i]);
    if (depth.data && !number)
        return mg_err_set(err, MG_E_PARAMETER, "Fused-Recursion: a whole number is expected, not \"%.*s\"",
                          depth.len < 40 ? (int)depth.len : 40, depth.data);
    if (depth.len > 9 || tile_part(depth) > MG_MAX_DEPTH)
        return mg_err_set(err, MG_E_DEPTH, "Fused-Recursion: UDFs may call each other at most %d deep",
                          MG_MAX_DEPTH);
    return MG_OK;
}

/* exchange->udf is set. */
static void run(struct mg_exchange *exchange, struct mg_span extension, bool tiles, struct mg_span z, struct mg_span x,
                struct mg_span y)
{
    struct mg_app *app = exchange->app;
    struct mg_errmsg err = {0};
    struct mg_query query;
    struct wishes wishes;
    wishes_init(&wishes);
    struct mg_span y_number = y;
    if (tiles) { /* {y}, {y}.png, {y}@2x, {y}@2x.png */
        struct mg_span rest = y, number;
        mg_span_cut(&rest, '.', &number);
        extension = rest.data ? rest : extension;
        y_number = number;
        if (number.len > 3 && memcmp(number.data + number.len - 3, "@2x", 3) == 0) {
            wishes.tile_size = 512;
            y_number.len -= 3;
        }
    }
    struct mg_span depth = mg_http_header(exchange->request, "fused-recursion");
    enum mg_err depth_status = check_depth(depth, &err);
    if (depth_status) {
        wishes_fini(&wishes);
        mg_reply_error(exchange, depth_status, err.text, (struct mg_span){0});
        return;
    }
    struct mg_ask ask = {.org = exchange->org, .udf = exchange->udf, .mode = MG_RUN_ANSWER, .base_url = app->base_url,
                         .path = exchange->request->path};
    enum mg_err status = mg_query_parse(&query, exchange->request, &err);
    if (status) {
        wishes_fini(&wishes);
        mg_reply_error(exchange, status, err.text, (struct mg_span){0});
        return;
    }
    mg_route_drop_protocol(exchange, &query);
    status = read_wishes(exchange, &query, extension, &wishes, &err);
    if (!status && tiles)
        status = read_tile(z, x, y_number, wishes.tms, &ask, &err);
    exchange->tile_call = tiles;
    ask.given = query.given;
    ask.n_given = query.n;
    ask.tile_size = wishes.tile_size;
    ask.formats = (struct mg_span){wishes.formats.data, wishes.formats.len};
    ask.vector = (struct mg_span){wishes.vector.data, wishes.vector.len};
    ask.raster = (struct mg_span){wishes.raster.data, wishes.raster.len};
    ask.accepts = (struct mg_span){wishes.accepts.data, wishes.accepts.len};
    ask.options = (struct mg_span){wishes.options.data, wishes.options.len};
    ask.cache_id = wishes.cache_id;
    ask.max_age_s = wishes.max_age_s;
    ask.no_cache = wishes.no_cache;
    ask.hold = &exchange->hold;
    if (status) {
        mg_reply_error(exchange, status, err.text, (struct mg_span){0});
    } else {
        struct mg_http_request *request = exchange->request;
        exchange->refs = 2; /* the answer may be sent, and released, before mg_run_start returns */
        request->user = exchange;
        mg_http_on_gone(request, on_gone);
        struct mg_run *started = mg_run_start(app->engine, &ask, on_done, exchange);
        pthread_mutex_lock(&mg_gone_lock);
        exchange->run = started;
        pthread_mutex_unlock(&mg_gone_lock);
        mg_exchange_unref(exchange);
    }
    mg_query_free(&query);
    wishes_fini(&wishes);
}

void mg_route_run(struct mg_exchange *exchange, const struct mg_route_match *match, struct mg_span token,
                  struct mg_span extension, bool tiles, struct mg_span z, struct mg_span x, struct mg_span y)
{
    (void)match;
    struct mg_errmsg err = {0};
    enum mg_err status = mg_auth_shared(exchange, token, &err);
    if (status)
        mg_reply_error(exchange, status, err.text, (struct mg_span){0});
    else
        run(exchange, extension, tiles, z, x, y);
}

void mg_route_run_tile(struct mg_exchange *exchange, struct mg_span extension, struct mg_span z, struct mg_span x,
                       struct mg_span y)
{
    run(exchange, extension, true, z, x, y);
}

void mg_route_private(struct mg_exchange *exchange, struct mg_span owner, struct mg_span name, bool tiles,
                      struct mg_span z, struct mg_span x, struct mg_span y)
{
    struct mg_errmsg err = {0};
    struct mg_token account;
    char who[128], udf[128];
    enum mg_err status = mg_auth_bearer(exchange, &account, &err);
    if (status) {
        mg_reply_error(exchange, status, err.text, (struct mg_span){0});
        return;
    }
    exchange->owner = true;
    size_t handle = strcspn(account.account, "@");
    bool ours = mg_decode_segment(owner, who, sizeof who) && mg_decode_segment(name, udf, sizeof udf) &&
                (strcmp(who, account.account) == 0 || strcmp(who, account.org) == 0 ||
                 (strlen(who) == handle && strncmp(who, account.account, handle) == 0));
    snprintf(exchange->org, sizeof exchange->org, "%s", account.org);
    exchange->udf = ours ? mg_catalog_find_in(exchange->app->engine->catalog, account.org, mg_span(udf)) : NULL;
    if (!exchange->udf)
        mg_reply_error(exchange, MG_E_NOT_FOUND, "this account has no UDF of that name", (struct mg_span){0});
    else
        run(exchange, (struct mg_span){0}, tiles, z, x, y);
}
