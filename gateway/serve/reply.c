/* Responses: headers, errors, and the way of an answer to the client (conditional, ranged, compressed).
 *
 * Bodies are sent from where they lie: the exchange keeps its answer until the seam releases the response. */
#include "app.h"
#include "negotiate.h"

#include "moongate/codec.h"
#include "moongate/log.h"
#include "moongate/memfd.h"
#include "moongate/metrics.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { INFLATE_HERE = 1 << 20, INFLATE_PIECE = 64 << 10 };

void mg_reply_init(struct mg_reply *reply, int status)
{
    reply->response = (struct mg_http_response){.status = status, .headers = reply->headers, .fd = -1};
    reply->used = 0;
}

/* Room for n bytes of header text, or NULL when it is full. */
static char *reply_room(struct mg_reply *reply, size_t n)
{
    if (sizeof reply->text - reply->used < n)
        return NULL;
    char *at = reply->text + reply->used;
    reply->used += n;
    return at;
}

void mg_reply_header(struct mg_reply *reply, const char *name, struct mg_span value)
{
    if (reply->response.n_headers < MG_MAX_HEADERS)
        reply->headers[reply->response.n_headers++] = (struct mg_http_header){mg_span(name), value};
}

void mg_reply_headerf(struct mg_reply *reply, const char *name, const char *format, ...)
{
    char value[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(value, sizeof value, format, args);
    va_end(args);
    char *at = len < 0 || (size_t)len >= sizeof value ? NULL : reply_room(reply, (size_t)len);
    if (!at)
        return;
    memcpy(at, value, (size_t)len);
    mg_reply_header(reply, name, (struct mg_span){at, (size_t)len});
}

/* Digits of a whole number >= 0, at least `least` of them; the end of what was written. */
static char *put_digits(char *at, int64_t value, size_t least)
{
    char digits[20];
    size_t n = 0;
    do
        digits[sizeof digits - ++n] = (char)('0' + value % 10);
    while ((value /= 10) || n < least);
    memcpy(at, digits + sizeof digits - n, n);
    return at + n;
}

static void put_copy(struct mg_reply *reply, const char *name, struct mg_span value)
{
    char *at = reply_room(reply, value.len);
    if (!at)
        return;
    memcpy(at, value.data, value.len);
    mg_reply_header(reply, name, (struct mg_span){at, value.len});
}

/* A header whose value is a whole number >= 0; each hit has one. */
static void put_number(struct mg_reply *reply, const char *name, int64_t value)
{
    char digits[20];
    put_copy(reply, name, (struct mg_span){digits, (size_t)(put_digits(digits, value, 1) - digits)});
}

pthread_mutex_t mg_gone_lock = PTHREAD_MUTEX_INITIALIZER;

void mg_exchange_unref(struct mg_exchange *exchange)
{
    if (__atomic_sub_fetch(&exchange->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    mg_run_release(&exchange->run);
    mg_answer_unref(&exchange->answer);
    mg_udf_unref(&exchange->udf);
    free(exchange->memory);
    free(exchange);
}

/* The seam is done with the response. */
static void released(void *context)
{
    struct mg_exchange *exchange = context;
    mg_exchange_unref(exchange); /* the request is gone by now */
}

static bool is_head(const struct mg_exchange *exchange)
{
    return mg_span_is(exchange->request->method, "HEAD");
}

void mg_reply_send(struct mg_exchange *exchange, struct mg_reply *reply)
{
    struct mg_http_response *response = &reply->response;
    uint64_t bytes = response->fd >= 0 ? response->fd_bytes : response->body.len;
    int status = response->status;
    if (exchange->shared) {
        mg_reply_header(reply, "access-control-allow-origin", MG_SPAN("*"));
        mg_reply_header(reply, "access-control-expose-headers",
                        MG_SPAN("ETag, Age, Server-Timing, X-Cache, X-Fused-Cached, X-Fused-Error, "
                                "X-Fused-Request-Id, X-Moongate-Thinned"));
    }
    mg_reply_header(reply, "x-content-type-options", MG_SPAN("nosniff"));
    if (exchange->remember)
        mg_recall_put(exchange, reply);
    mg_reply_header(reply, "x-fused-request-id", mg_span(exchange->id));
    mg_metric_add(MG_M_REQUESTS, 1);
    mg_metric_add(MG_M_ERRORS_4XX, status >= 400 && status < 500);
    mg_metric_add(MG_M_ERRORS_5XX, status >= 500);
    mg_metric_add(MG_M_BYTES_SENT, is_head(exchange) ? 0 : (int64_t)bytes);
    mg_access_log(exchange->request, exchange->id, exchange->udf, status, is_head(exchange) ? 0 : bytes);
    if (exchange->request->user) { /* while the request is still there: going away cancels nothing from here on */
        pthread_mutex_lock(&mg_gone_lock);
        exchange->request->user = NULL;
        pthread_mutex_unlock(&mg_gone_lock);
    }
    response->release = released;
    response->release_context = exchange;
    mg_http_answer(exchange->request, response);
}

void mg_reply_text(struct mg_exchange *exchange, int status, const char *mime, struct mg_buf *body)
{
    struct mg_reply reply;
    mg_reply_init(&reply, status);
    size_t len = body->len;
    free(exchange->memory);
    exchange->memory = mg_buf_take(body, NULL);
    reply.response.body = (struct mg_span){exchange->memory ? exchange->memory : "", len};
    mg_reply_header(&reply, "content-type", mg_span(mime));
    mg_reply_header(&reply, "cache-control", exchange->secret ? MG_SPAN("no-store") : MG_SPAN("no-cache"));
    if (exchange->secret) {
        mg_reply_header(&reply, "referrer-policy", MG_SPAN("no-referrer"));
        mg_reply_header(&reply, "content-security-policy",
                        MG_SPAN("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"));
    }
    mg_reply_send(exchange, &reply);
}

/* ---- answers ----------------------------------------------------------------------------------------- */

/* What a stranger may read of an error: never the place in the code, nor what the author's own code said. */
static const char *message_for_strangers(const struct mg_answer *answer)
{
    if (answer->err == MG_E_UDF)
        return "the UDF raised an error; its owner sees which, and where";
    const char *text = answer->message ? answer->message : mg_err_text(answer->err);
    if (answer->line > 0 && answer->file) {
        const char *end = strstr(text, ": ");
        size_t file_len = strlen(answer->file);
        if (end && strncmp(text, answer->file, file_len) == 0 && text[file_len] == ':')
            text = end + 2;
    }
    return strstr(text, ".lua:") ? mg_err_text(answer->err) : text; /* places in code that was called */
}

/* Printed lines and the error, for the owner, as Fused names them. */
static void put_metadata(struct mg_reply *reply, const struct mg_answer *answer)
{
    struct mg_buf json;
    mg_buf_init(&json, 6 << 10); /* a header must stay small */
    const char *log = answer->log ? answer->log : "", *message = answer->message ? answer->message : "";
    size_t log_len = strlen(log);
    if (log_len > 2048) /* the last lines say most */
        log += log_len - 2048;
    mg_buf_str(&json, "{\"stdout\":");
    mg_buf_json_string(&json, log, strlen(log));
    mg_buf_printf(&json, ",\"stderr\":\"\",\"has_exception\":%s", answer->err ? "true" : "false");
    if (answer->err) {
        mg_buf_str(&json, ",\"errormsg\":");
        mg_buf_json_string(&json, message, strlen(message));
        mg_buf_printf(&json, ",\"lineno\":%lld,\"error_type\":\"%s\"", (long long)answer->line,
                      mg_err_name(answer->err));
    }
    mg_buf_char(&json, '}');
    char *at = json.failed ? NULL : reply_room(reply, json.len);
    if (at) {
        memcpy(at, json.data, json.len);
        mg_reply_header(reply, "x-fused-metadata", (struct mg_span){at, json.len});
    }
    mg_buf_fini(&json);
}

void mg_reply_error(struct mg_exchange *exchange, enum mg_err err, const char *message, struct mg_span detail)
{
    struct mg_buf body;
    mg_buf_init(&body, 0);
    mg_buf_str(&body, "{\"detail\":");
    if (detail.len)
        mg_buf_put(&body, detail.data, detail.len);
    else
        mg_buf_json_string(&body, message, strlen(message));
    mg_buf_printf(&body, ",\"error\":{\"code\":\"%s\",\"message\":", mg_err_name(err));
    mg_buf_json_string(&body, message, strlen(message));
    mg_buf_printf(&body, ",\"request_id\":\"%s\"", exchange->id);
    const struct mg_answer *answer = exchange->answer;
    if (answer && exchange->owner && answer->line > 0) {
        mg_buf_str(&body, ",\"file\":");
        mg_buf_json_string(&body, answer->file ? answer->file : "", answer->file ? strlen(answer->file) : 0);
        mg_buf_printf(&body, ",\"line\":%lld", (long long)answer->line);
    }
    if (answer && exchange->owner && answer->traceback) {
        mg_buf_str(&body, ",\"traceback\":");
        mg_buf_json_string(&body, answer->traceback, strlen(answer->traceback));
    }
    mg_buf_str(&body, "}}\n");
    struct mg_reply reply;
    mg_reply_init(&reply, mg_err_status(err));
    size_t len = body.len;
    free(exchange->memory);
    exchange->memory = mg_buf_take(&body, NULL);
    reply.response.body = (struct mg_span){exchange->memory, len};
    mg_reply_header(&reply, "content-type", MG_SPAN("application/json; charset=utf-8"));
    mg_reply_header(&reply, "cache-control", MG_SPAN("no-store"));
    mg_reply_header(&reply, "x-fused-error", mg_span(mg_err_name(err)));
    if (answer && exchange->owner)
        put_metadata(&reply, answer);
    if (err == MG_E_UNAUTHORIZED)
        mg_reply_header(&reply, "www-authenticate", MG_SPAN("Bearer"));
    if (exchange->allow)
        mg_reply_header(&reply, "allow", mg_span(exchange->allow));
    if (err == MG_E_UNAVAILABLE || err == MG_E_TOO_MANY)
        mg_reply_header(&reply, "retry-after", MG_SPAN("1"));
    mg_reply_send(exchange, &reply);
}

/* By hand: printf takes microseconds for its floating point, and every miss has three of them. */
static void put_times(struct mg_reply *reply, const struct mg_answer *answer, const char *source)
{
    static const char *const names[] = {", queue;dur=", ", lua;dur=", ", encode;dur="};
    const int64_t us[] = {answer->queue_us, answer->lua_us, answer->encode_us};
    char text[160], *at = stpcpy(stpcpy(text, "cache;desc="), source);
    for (size_t i = 0; i < 3; i++) {
        int64_t value = us[i] > 0 ? us[i] : 0;
        at = put_digits(stpcpy(at, names[i]), value / 1000, 1);
        *at++ = '.';
        at = put_digits(at, value % 1000, 3);
    }
    put_copy(reply, "server-timing", (struct mg_span){text, (size_t)(at - text)});
}

static void put_timing(struct mg_reply *reply, const struct mg_answer *answer, enum mg_source source)
{
    static const char *const names[] = {"miss", "shared", "hit", "stale"};
    if (source == MG_FROM_CACHE)
        mg_reply_header(reply, "server-timing", MG_SPAN("cache;desc=hit"));
    else if (source == MG_FROM_STALE)
        mg_reply_header(reply, "server-timing", MG_SPAN("cache;desc=stale"));
    else
        put_times(reply, answer, names[source]);
}

/* The UDF's own word on caching (of what is not private) and on the file's name counts, in place of ours. */
static void put_or_replace(struct mg_reply *reply, const char *name, struct mg_span value, bool is_public)
{
    bool caching = strcmp(name, "cache-control") == 0;
    if (caching && !is_public)
        return;
    for (size_t i = 0; (caching || strcmp(name, "content-disposition") == 0) && i < reply->response.n_headers; i++)
        if (mg_span_is(reply->headers[i].name, name)) {
            reply->headers[i].value = value;
            return;
        }
    mg_reply_header(reply, name, value);
}

/* Headers that the UDF or the codec asked for. Those that the server answers for are not theirs to set. */
static void put_own_headers(struct mg_reply *reply, const struct mg_answer *answer, bool is_public)
{
    static const char *const ours[] = {
        "accept-ranges", "age", "allow", "alt-svc", "clear-site-data", "connection", "content-encoding",
        "content-length", "content-range", "content-type", "date", "etag", "keep-alive", "proxy-authenticate",
        "proxy-connection", "server", "server-timing", "service-worker-allowed", "set-cookie",
        "strict-transport-security", "te", "trailer", "transfer-encoding", "upgrade", "www-authenticate", "x-cache",
        "x-content-type-options"};
    static const char *const prefixes[] = {"access-control-", "x-fused-", "x-moongate-request"};
    struct mg_unpack in;
    mg_unpack_init(&in, answer->headers.data, answer->headers.len);
    size_t n = answer->headers.len ? mg_unpack_count(&in, 32) : 0;
    for (size_t i = 0; i < n; i++) {
        char name[64];
        struct mg_span raw = mg_unpack_bytes(&in), value = mg_unpack_bytes(&in);
        bool good = !in.failed && raw.len > 0 && raw.len < sizeof name && value.len < 2048;
        for (size_t k = 0; good && k < raw.len; k++) {
            char c = raw.data[k];
            name[k] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
            good = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' || c == '_';
        }
        for (size_t k = 0; good && k < value.len; k++)
            good = (unsigned char)value.data[k] >= ' ' && value.data[k] != 127;
        if (!good)
            continue;
        name[raw.len] = 0;
        for (size_t k = 0; good && k < sizeof ours / sizeof *ours; k++)
            good = strcmp(name, ours[k]) != 0;
        for (size_t k = 0; good && k < sizeof prefixes / sizeof *prefixes; k++)
            good = strncmp(name, prefixes[k], strlen(prefixes[k])) != 0;
        char *at = good ? reply_room(reply, raw.len + value.len + 1) : NULL;
        if (!at)
            continue;
        memcpy(at, name, raw.len + 1);
        memcpy(at + raw.len + 1, value.data, value.len);
        put_or_replace(reply, at, (struct mg_span){at + raw.len + 1, value.len}, is_public);
    }
}

static void put_caching(const struct mg_exchange *exchange, struct mg_reply *reply, const struct mg_answer *answer,
                        enum mg_source source)
{
    int64_t udf_s = mg_udf_sig(exchange->udf) ? mg_udf_sig(exchange->udf)->max_age_s : -1;
    int64_t max_age_s = exchange->token_max_age_s >= 0 ? exchange->token_max_age_s : udf_s;
    int64_t age_s = (int64_t)time(NULL) - answer->created_s;
    if (max_age_s > 0)
        mg_reply_headerf(reply, "cache-control", "%smax-age=%lld", exchange->shared ? "" : "private, ",
                         (long long)max_age_s);
    else
        mg_reply_header(reply, "cache-control", exchange->shared ? MG_SPAN("no-cache") : MG_SPAN("private, no-cache"));
    bool hit = source == MG_FROM_CACHE || source == MG_FROM_STALE;
    if (hit && age_s >= 0)
        put_number(reply, "age", age_s);
    mg_reply_header(reply, "x-cache", hit ? (source == MG_FROM_STALE ? MG_SPAN("stale") : MG_SPAN("hit"))
                                          : MG_SPAN("miss"));
    if (hit)
        mg_reply_header(reply, "x-fused-cached", MG_SPAN("true"));
    if (answer->by_accept && answer->gzip)
        mg_reply_header(reply, "vary", MG_SPAN("Accept, Accept-Encoding"));
    else if (answer->by_accept || answer->gzip)
        mg_reply_header(reply, "vary", answer->gzip ? MG_SPAN("Accept-Encoding") : MG_SPAN("Accept"));
}

/* A large body on its way from gzip into a descriptor. */
struct inflating {
    const struct mg_answer *answer;
    uint64_t taken, made;
    int fd;
    char in[INFLATE_PIECE];
};

static enum mg_err next_piece(void *context, struct mg_span *piece)
{
    struct inflating *f = context;
    const struct mg_answer *answer = f->answer;
    uint64_t left = mg_answer_bytes(answer) - f->taken;
    size_t n = left < sizeof f->in ? (size_t)left : sizeof f->in;
    *piece = (struct mg_span){answer->fd < 0 ? answer->body.data + f->taken : f->in, n};
    if (answer->fd >= 0 && n && pread(answer->fd, f->in, n, (off_t)(answer->fd_offset + f->taken)) != (ssize_t)n)
        return MG_E_IO;
    f->taken += n;
    return MG_OK;
}

static enum mg_err put_piece(void *context, struct mg_span piece)
{
    struct inflating *f = context;
    if (piece.len > f->answer->identity_bytes - f->made)
        return MG_E_INVALID;
    if (pwrite(f->fd, piece.data, piece.len, (off_t)f->made) != (ssize_t)piece.len)
        return MG_E_IO;
    f->made += piece.len;
    return MG_OK;
}

/* The stored gzip body, inflated for a client that wants none (or a range): into the exchange's memory, or, a large
 * one, into a new descriptor, so that it is no memory of this process. False: it cannot be read. */
static bool inflate_body(struct mg_exchange *exchange, const struct mg_answer *answer, int *fd)
{
    if (answer->fd < 0 && answer->identity_bytes <= INFLATE_HERE) {
        struct mg_buf out;
        mg_buf_init(&out, answer->identity_bytes + 1);
        bool good = mg_gunzip(answer->body, &out) == MG_OK && out.len == answer->identity_bytes;
        free(exchange->memory);
        exchange->memory = mg_buf_take(&out, NULL);
        return good;
    }
    struct inflating *f = malloc(sizeof *f);
    if (!f || !answer->identity_bytes) {
        free(f);
        return false;
    }
    f->answer = answer;
    f->taken = f->made = 0;
    bool good = mg_memfd_new("identity", answer->identity_bytes, true, &f->fd, NULL) == MG_OK;
    if (good) {
        good = mg_gunzip_pieces(next_piece, put_piece, f) == MG_OK && f->made == answer->identity_bytes;
        if (good)
            *fd = f->fd;
        else
            close(f->fd);
    }
    free(f);
    return good;
}

static void put_type(const struct mg_exchange *exchange, struct mg_reply *reply, const struct mg_answer *answer)
{
    const char *none = answer->empty && !mg_answer_bytes(answer) ? "text/plain; charset=utf-8" : "application/octet-stream";
    mg_reply_header(reply, "content-type", mg_span(answer->mime && *answer->mime ? answer->mime : none));
    const struct mg_codec *codec = answer->codec ? mg_codec_find(mg_span(answer->codec)) : NULL;
    char file[320];
    size_t name_len = codec ? strlen(exchange->udf->name) : 0, extension_len = codec ? strlen(codec->extension) : 0;
    if (codec && !exchange->tile_call && name_len + extension_len < sizeof file - 32) {
        char *at = stpcpy(stpcpy(file, "inline; filename=\""), exchange->udf->name);
        at = stpcpy(stpcpy(stpcpy(at, "."), codec->extension), "\"");
        put_copy(reply, "content-disposition", (struct mg_span){file, (size_t)(at - file)});
    }
    if (answer->mime && (strncasecmp(answer->mime, "text/html", 9) == 0 || strcasestr(answer->mime, "xml")))
        /* A page or drawing of a UDF shares our origin: it may run scripts, but not as us. */
        mg_reply_header(reply, "content-security-policy",
                        MG_SPAN("sandbox allow-scripts allow-forms allow-popups allow-downloads"));
}

static void send_answer(struct mg_exchange *exchange, struct mg_answer *answer, enum mg_source source)
{
    const struct mg_http_request *request = exchange->request;
    bool is_get = mg_span_is(request->method, "GET");
    struct mg_span range = is_get ? mg_http_header(request, "range") : (struct mg_span){0};
    bool as_gzip = answer->gzip && !range.len && mg_accepts_gzip(mg_http_header(request, "accept-encoding"));
    struct mg_reply reply;
    mg_reply_init(&reply, answer->status);
    put_type(exchange, &reply, answer);
    put_caching(exchange, &reply, answer, source);
    put_timing(&reply, answer, source);
    put_own_headers(&reply, answer, exchange->shared && !mg_http_header(request, "authorization").data);
    if (exchange->owner)
        put_metadata(&reply, answer);
    if (answer->empty && !mg_answer_bytes(answer)) {
        mg_reply_send(exchange, &reply);
        return;
    }
    bool inflated = answer->gzip && !as_gzip;
    char etag[sizeof answer->etag + 2] = ""; /* each coding of the body has its own */
    size_t etag_len = strlen(answer->etag);
    if (etag_len) {
        memcpy(etag, answer->etag, etag_len + 1);
        if (inflated)
            memcpy(etag + etag_len - 1, "-i\"", 4);
        put_copy(&reply, "etag", mg_span(etag));
    }
    if (answer->status == 200 && (is_get || is_head(exchange)) &&
        mg_etag_listed(mg_http_header(request, "if-none-match"), etag)) {
        reply.response.status = 304;
        mg_reply_send(exchange, &reply);
        return;
    }
    if (as_gzip)
        mg_reply_header(&reply, "content-encoding", MG_SPAN("gzip"));
    uint64_t size = inflated ? answer->identity_bytes : mg_answer_bytes(answer), first = 0, last = 0;
    if (!as_gzip && answer->status == 200)
        mg_reply_header(&reply, "accept-ranges", MG_SPAN("bytes"));
    struct mg_span if_range = mg_http_header(request, "if-range");
    bool valid = !if_range.data || (etag[0] && mg_span_is(if_range, etag)); /* strongly compared */
    enum mg_range part = answer->status == 200 && range.len && valid ? mg_range_parse(range, size, &first, &last)
                                                                     : MG_RANGE_WHOLE;
    if (part == MG_RANGE_OUTSIDE) {
        reply.response.status = 416;
        mg_reply_headerf(&reply, "content-range", "bytes */%llu", (unsigned long long)size);
        size = 0;
    } else if (part == MG_RANGE_PART) {
        reply.response.status = 206;
        mg_reply_headerf(&reply, "content-range", "bytes %llu-%llu/%llu", (unsigned long long)first,
                         (unsigned long long)last, (unsigned long long)size);
        size = last - first + 1;
    }
    int inflated_fd = -1;
    if (inflated && size && !inflate_body(exchange, answer, &inflated_fd)) {
        mg_reply_error(exchange, MG_E_INTERNAL, "the stored answer cannot be read", (struct mg_span){0});
        return;
    }
    if (inflated_fd >= 0) {
        reply.response.fd = inflated_fd;
        reply.response.fd_offset = first;
        reply.response.fd_bytes = size;
    } else if (!inflated && answer->fd >= 0 && size) {
        reply.response.fd = fcntl(answer->fd, F_DUPFD_CLOEXEC, 3);
        if (reply.response.fd < 0) {
                mg_reply_error(exchange, MG_E_UNAVAILABLE, "the server has no descriptor free; try again in a second",
                           (struct mg_span){0});
            return;
        }
        reply.response.fd_offset = answer->fd_offset + first;
        reply.response.fd_bytes = size;
    } else if (size) {
        const char *data = inflated ? exchange->memory : answer->body.data;
        reply.response.body = (struct mg_span){data + first, size};
        exchange->remember = exchange->plain && source == MG_FROM_CACHE && reply.response.status == 200 && is_get &&
                             !inflated;
    }
    mg_reply_send(exchange, &reply);
}

void mg_reply_answer(struct mg_exchange *exchange, struct mg_answer *answer, enum mg_source source,
                     struct mg_span detail)
{
    exchange->answer = mg_answer_ref(answer);
    if (!answer->err) {
        send_answer(exchange, answer, source);
        return;
    }
    bool quiet = answer->err == MG_E_PARAMETER || answer->err == MG_E_CANCELLED || answer->err == MG_E_TOO_MANY ||
                 answer->err == MG_E_UNAVAILABLE || answer->err == MG_E_TILE_RANGE;
    if (exchange->udf && !quiet)
        mg_log_warn("%s (%s): %s: %s", exchange->udf->name, exchange->id, mg_err_name(answer->err),
                    answer->message ? answer->message : "");
    const char *message = exchange->owner && answer->message ? answer->message : message_for_strangers(answer);
    mg_reply_error(exchange, answer->err, message, detail);
}
