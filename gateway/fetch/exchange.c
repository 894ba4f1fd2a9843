/* Batches of HTTP requests for UDFs.
 *
 * A request is tried up to 1 + retries times within its own time limit: after a failure of the network, and
 * after 408, 429, 500, 502, 503 and 504, with a pause that doubles (and is random by a quarter, so that many
 * do not come back as one), or as long as Retry-After says. The worker that asks is not trusted: methods,
 * headers and sizes are checked here. What all batches hold together is bounded by HELD_MAX. */
#include "exchange.h"

#include "moongate/crypto.h"
#include "moongate/memfd.h"
#include "moongate/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    MAX_REQUESTS = 1000,
    MAX_CONCURRENCY = 16,
    MAX_HEADERS = 64,
    MAX_RETRIES = 5,
    HEADER_BYTES = 64 << 10,
    PAUSE_MS = 200,
    PAUSE_MAX_MS = 5000,
    RETRY_AFTER_MAX_S = 30
};
#define BODY_MAX ((uint64_t)128 << 20)
#define HELD_MAX ((uint64_t)512 << 20)

enum phase { WAITING, PAUSING, FLYING, DONE };

struct batch;
struct exchange {
    struct batch *batch;
    enum phase phase;
    char *method, *url;
    const char *headers[MAX_HEADERS + 1]; /* ours */
    struct mg_span body;                  /* of the batch's copy */
    int64_t timeout_ms, deadline_ms, due_ms;
    int retries, tries;
    bool follow;
    /* the answer */
    enum mg_err err;
    struct mg_errmsg text;
    int status, retry_after_s;
    char *final_url;
    struct mg_buf head, content; /* header lines as they came */
};

struct batch {
    struct batch *next;
    struct mg_exchanges *all;
    uint64_t id, tag, max_bytes;
    bool dropped;
    char *request; /* a copy of what came */
    size_t n, n_done, n_flying, concurrency;
    struct exchange *exchanges;
};

struct mg_exchanges {
    const struct mg_fetch_config *config;
    struct mg_transfers *transfers;
    mg_batch_answer_f *answer;
    void *context;
    struct batch *first;
    uint64_t held;
    int64_t now_ms;
};

/* ---- What may be asked -------------------------------------------------------------------------------- */

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", NULL};
/* Those that say how a message is sent are the client's own. */
static const char *const own_headers[] = {
    "host",   "content-length", "transfer-encoding",   "connection",       "upgrade",         "te", "trailer",
    "expect", "keep-alive",     "proxy-authorization", "proxy-connection", "accept-encoding", NULL};

static bool among(const char *const *list, const char *text, size_t n)
{
    for (; *list; list++)
        if (strlen(*list) == n && strncasecmp(*list, text, n) == 0)
            return true;
    return false;
}

static enum mg_err check_header(const char *line, struct mg_errmsg *err)
{
    static const char token[] =
        "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t n = strspn(line, token);
    if (n == 0 || line[n] != ':')
        return mg_err_set(err, MG_E_ARGUMENT, "\"%.60s\" is not a header's name", line);
    if (among(own_headers, line, n))
        return mg_err_set(err, MG_E_ARGUMENT, "the header %.*s is set by the server itself", (int)n, line);
    for (const char *c = line + n; *c; c++)
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
            return mg_err_set(err, MG_E_ARGUMENT, "the value of the header %.*s has a control character",
                              (int)n, line);
    return MG_OK;
}

/* NULL also when it holds a zero byte. */
static char *copy_of(struct mg_span text)
{
    return text.data && !memchr(text.data, 0, text.len) ? strndup(text.data, text.len) : NULL;
}

static enum mg_err read_exchange(struct mg_unpack *in, struct exchange *x, struct mg_errmsg *err)
{
    struct mg_span method = mg_unpack_bytes(in), url = mg_unpack_bytes(in);
    size_t n = mg_unpack_count(in, MAX_HEADERS);
    enum mg_err e = MG_OK;
    for (size_t i = 0; i < n && !in->failed; i++) {
        char *line = copy_of(mg_unpack_bytes(in));
        x->headers[i] = line;
        if (!line)
            return mg_err_set(err, MG_E_ARGUMENT, "a header has a zero byte");
        e = e ? e : check_header(line, err);
    }
    x->body = mg_unpack_bytes(in);
    x->timeout_ms = mg_unpack_int(in);
    int64_t retries = mg_unpack_int(in);
    x->follow = mg_unpack_bool(in);
    x->retries = retries < 0 ? 0 : retries > MAX_RETRIES ? MAX_RETRIES : (int)retries;
    if (in->failed)
        return mg_err_set(err, MG_E_INVALID, "the request came malformed to the fetcher");
    x->url = copy_of(url);
    if (!e && !x->url)
        e = mg_err_set(err, MG_E_ARGUMENT, "the URL has a zero byte");
    if (!e && !among(methods, method.data, method.len))
        e = mg_err_set(err, MG_E_ARGUMENT, "no method %.*s (there are GET, HEAD, POST, PUT, PATCH, DELETE)",
                       (int)(method.len < 20 ? method.len : 20), method.data ? method.data : "");
    x->method = copy_of(method);
    if (!e && !x->method)
        e = mg_err_set(err, MG_E_NOMEM, "no memory for a request");
    for (char *c = x->method; !e && *c; c++)
        *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
    return e;
}

/* ---- The end of a batch ------------------------------------------------------------------------------- */

static void clear_answer(struct exchange *x)
{
    x->batch->all->held -= x->content.len < x->batch->all->held ? x->content.len : x->batch->all->held;
    mg_buf_fini(&x->head);
    mg_buf_fini(&x->content);
    mg_buf_init(&x->head, HEADER_BYTES);
    mg_buf_init(&x->content, 0);
    free(x->final_url);
    x->final_url = NULL;
    x->status = x->retry_after_s = 0;
}

static void batch_free(struct batch *batch)
{
    for (size_t i = 0; i < batch->n; i++) {
        struct exchange *x = &batch->exchanges[i];
        clear_answer(x);
        for (size_t k = 0; k < MAX_HEADERS && x->headers[k]; k++)
            free((void *)(uintptr_t)x->headers[k]);
        free(x->method);
        free(x->url);
    }
    free(batch->exchanges);
    free(batch->request);
    free(batch);
}

static void pack_headers(const struct exchange *x, struct mg_buf *out)
{
    struct mg_span rest = {x->head.data, x->head.len}, line;
    int64_t n = 0;
    struct mg_buf lines;
    mg_buf_init(&lines, 0);
    while (rest.data && mg_span_cut(&rest, '\n', &line)) {
        const char *colon = line.len ? memchr(line.data, ':', line.len) : NULL;
        if (!colon)
            continue;
        char name[128];
        size_t len = (size_t)(colon - line.data);
        if (len == 0 || len >= sizeof name)
            continue;
        for (size_t i = 0; i < len; i++)
            name[i] =
                (char)(line.data[i] >= 'A' && line.data[i] <= 'Z' ? line.data[i] - 'A' + 'a' : line.data[i]);
        name[len] = 0;
        const char *at = colon + 1, *end = line.data + line.len;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        while (end > at && (end[-1] == '\r' || end[-1] == ' ' || end[-1] == '\t'))
            end--;
        if (strcmp(name, "content-encoding") == 0 || strcmp(name, "transfer-encoding") == 0)
            continue; /* undone already */
        mg_pack_str(&lines, name);
        mg_pack_bytes(&lines, at, (size_t)(end - at));
        n++;
    }
    mg_pack_int(out, n);
    mg_buf_put(out, lines.data, lines.len);
    if (lines.failed)
        out->failed = true;
    mg_buf_fini(&lines);
}

static void answer_batch(struct batch *batch)
{
    struct mg_exchanges *all = batch->all;
    struct mg_batch_answer answer = {.id = batch->id, .tag = batch->tag, .fd = -1};
    struct mg_errmsg err = {""};
    struct mg_buf out;
    mg_buf_init(&out, 0);
    mg_pack_int(&out, (int64_t)batch->n);
    for (size_t i = 0; i < batch->n; i++) {
        const struct exchange *x = &batch->exchanges[i];
        mg_pack_int(&out, x->err);
        mg_pack_str(&out, x->err ? x->text.text : "");
        mg_pack_int(&out, x->status);
        mg_pack_str(&out, x->final_url ? x->final_url : x->url ? x->url : "");
        pack_headers(x, &out);
        mg_pack_bytes(&out, x->content.data, x->err ? 0 : x->content.len);
    }
    if (out.failed)
        answer.err = mg_err_set(&err, MG_E_NOMEM, "the fetcher has no memory for the answers");
    else
        answer.err = mg_memfd_of("http", (struct mg_span){out.data, out.len}, &answer.fd, &err);
    answer.bytes = answer.err ? 0 : out.len;
    answer.text = err.text;
    mg_buf_fini(&out);
    struct batch **at = &all->first;
    while (*at != batch)
        at = &(*at)->next;
    *at = batch->next;
    if (!batch->dropped)
        all->answer(all->context, &answer);
    if (answer.fd >= 0)
        close(answer.fd);
    batch_free(batch);
}

/* ---- One request -------------------------------------------------------------------------------------- */

static void advance(struct batch *batch);

static void on_line(void *context, const char *line, size_t n)
{
    struct exchange *x = context;
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) { /* a hop */
        x->head.len = 0;
        x->retry_after_s = 0;
        return;
    }
    if (n > 12 && strncasecmp(line, "retry-after:", 12) == 0) {
        char text[16] = "";
        size_t at = 12, len;
        while (at < n && line[at] == ' ')
            at++;
        len = n - at < sizeof text - 1 ? n - at : sizeof text - 1;
        memcpy(text, line + at, len);
        long s = strtol(text, NULL, 10);
        x->retry_after_s = s > 0 && s < 100000 ? (int)s : 0;
    }
    mg_buf_put(&x->head, line, n);
    if (x->head.failed) { /* the rest of too long a head is left out */
        x->head.failed = x->head.over_limit = false;
    }
}

static bool on_data(void *context, const void *data, size_t n, struct mg_errmsg *err)
{
    struct exchange *x = context;
    struct batch *batch = x->batch;
    if (x->content.len + n > batch->max_bytes) {
        x->err = mg_err_set(err, MG_E_TOO_LARGE, "the answer is larger than %llu kB (max_bytes)",
                            (unsigned long long)(batch->max_bytes >> 10));
        return false;
    }
    if (batch->all->held + n > HELD_MAX) {
        x->err = mg_err_set(err, MG_E_UNAVAILABLE, "the fetcher holds too many answers at once; try again");
        return false;
    }
    mg_buf_put(&x->content, data, n);
    batch->all->held += n;
    if (x->content.failed)
        x->err = mg_err_set(err, MG_E_NOMEM, "the fetcher has no memory for the answer");
    return !x->content.failed;
}

static void on_end(void *context, int status, const char *url)
{
    struct exchange *x = context;
    x->status = status;
    x->final_url = url ? strdup(url) : NULL;
}

static bool worth_another(const struct exchange *x, enum mg_err e, bool sure)
{
    static const int again[] = {408, 429, 500, 502, 503, 504};
    if (x->tries > x->retries || x->batch->dropped)
        return false;
    if (e)
        return !sure && e != MG_E_CANCELLED;
    for (size_t i = 0; i < sizeof again / sizeof *again; i++)
        if (x->status == again[i])
            return x->retry_after_s <= RETRY_AFTER_MAX_S;
    return false;
}

static void finish(struct exchange *x)
{
    x->phase = DONE;
    x->batch->n_done++;
}

static void on_done(void *context, enum mg_err e, bool sure, const struct mg_errmsg *err)
{
    struct exchange *x = context;
    struct batch *batch = x->batch;
    int64_t now = batch->all->now_ms;
    batch->n_flying--;
    if (worth_another(x, e, sure)) {
        uint32_t random;
        mg_random(&random, sizeof random);
        int64_t pause = (int64_t)PAUSE_MS << (x->tries - 1);
        pause = pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
        pause += (int64_t)(random % 1000) * pause / 4000;
        if (x->retry_after_s)
            pause = (int64_t)x->retry_after_s * 1000;
        if (now + pause < x->deadline_ms) {
            x->phase = PAUSING;
            x->due_ms = now + pause;
            advance(batch);
            return;
        }
    }
    if (e && !x->err)
        x->err = e == MG_E_CANCELLED ? MG_E_FETCH : e;
    if (e)
        x->text = *err;
    finish(x);
    advance(batch);
}

static const struct mg_transfer_events events = {
    .data = on_data, .done = on_done, .line = on_line, .end = on_end};

static void start(struct exchange *x)
{
    struct mg_exchanges *all = x->batch->all;
    if (x->tries++ == 0)
        x->deadline_ms = all->now_ms + x->timeout_ms;
    clear_answer(x);
    int64_t left = x->deadline_ms - all->now_ms;
    struct mg_transfer_ask ask = {.url = x->url,
                                  .method = x->method,
                                  .headers = x->headers,
                                  .body = x->body,
                                  .timeout_ms = left > 1 ? left : 1,
                                  .follow = x->follow};
    x->err = mg_transfer_send(all->transfers, &ask, &events, x, &x->text);
    if (x->err) {
        finish(x);
        return;
    }
    x->phase = FLYING;
    x->batch->n_flying++;
}

/* Starts what may be; the batch is answered, and gone, when all is done. A request that pauses keeps its
 * place, so that a server which asks for less is asked less. */
static void advance(struct batch *batch)
{
    size_t places = batch->concurrency;
    for (size_t i = 0; i < batch->n && places; i++) {
        struct exchange *x = &batch->exchanges[i];
        if (x->phase == WAITING && batch->dropped) {
            finish(x);
        } else if (x->phase == WAITING ||
                   (x->phase == PAUSING && (x->due_ms <= batch->all->now_ms || batch->dropped))) {
            if (batch->dropped)
                finish(x);
            else
                start(x);
        }
        places -= x->phase == FLYING || x->phase == PAUSING;
    }
    if (batch->n_done == batch->n)
        answer_batch(batch);
}

/* ---- Batches ------------------------------------------------------------------------------------------ */

static enum mg_err read_batch(struct batch *batch, size_t bytes, struct mg_errmsg *err)
{
    const struct mg_fetch_config *config = batch->all->config;
    struct mg_unpack in;
    mg_unpack_init(&in, batch->request, bytes);
    size_t n = mg_unpack_count(&in, MAX_REQUESTS);
    int64_t concurrency = mg_unpack_int(&in), max_bytes = mg_unpack_int(&in);
    if (in.failed || n == 0)
        return mg_err_set(err, MG_E_INVALID, "the requests came malformed to the fetcher");
    batch->concurrency = concurrency < 1                 ? 1
                         : concurrency > MAX_CONCURRENCY ? MAX_CONCURRENCY
                                                         : (size_t)concurrency;
    batch->max_bytes = max_bytes < 1 ? 1 : (uint64_t)max_bytes > BODY_MAX ? BODY_MAX : (uint64_t)max_bytes;
    batch->exchanges = calloc(n, sizeof *batch->exchanges);
    if (!batch->exchanges)
        return mg_err_set(err, MG_E_NOMEM, "no memory for requests");
    batch->n = n;
    for (size_t i = 0; i < n; i++)
        batch->exchanges[i].batch = batch;
    int64_t longest = (int64_t)config->timeout_s * 1000;
    for (size_t i = 0; i < n; i++) {
        struct exchange *x = &batch->exchanges[i];
        x->err = read_exchange(&in, x, &x->text);
        if (in.failed)
            return mg_err_set(err, MG_E_INVALID, "the requests came malformed to the fetcher");
        x->timeout_ms = x->timeout_ms < 1 ? 1 : x->timeout_ms > longest ? longest : x->timeout_ms;
        if (x->err)
            finish(x);
    }
    return mg_unpack_done(&in) ? MG_OK
                               : mg_err_set(err, MG_E_INVALID, "the requests came malformed to the fetcher");
}

void mg_exchanges_ask(struct mg_exchanges *all, uint64_t id, uint64_t tag, int fd, uint64_t bytes,
                      int64_t now_ms)
{
    struct mg_errmsg err = {""};
    enum mg_err e = MG_OK;
    void *at = NULL;
    all->now_ms = now_ms;
    struct batch *batch = calloc(1, sizeof *batch);
    if (!batch || fd < 0 || bytes == 0 || bytes > MG_CHANNEL_RESULT || !mg_memfd_check(fd, bytes, true))
        e = mg_err_set(&err, batch ? MG_E_INVALID : MG_E_NOMEM, "the requests came malformed to the fetcher");
    if (!e)
        e = mg_memfd_map(fd, bytes, false, &at, &err);
    if (!e && !(batch->request = malloc(bytes)))
        e = mg_err_set(&err, MG_E_NOMEM, "no memory for requests");
    if (!e) {
        batch->all = all;
        batch->id = id;
        batch->tag = tag;
        memcpy(batch->request, at, bytes);
        e = read_batch(batch, bytes, &err);
    }
    if (at)
        munmap(at, bytes);
    if (e) {
        struct mg_batch_answer refusal = {.id = id, .tag = tag, .err = e, .text = err.text, .fd = -1};
        if (batch)
            batch_free(batch);
        all->answer(all->context, &refusal);
        return;
    }
    batch->next = all->first;
    all->first = batch;
    advance(batch);
}

void mg_exchanges_drop(struct mg_exchanges *all)
{
    for (struct batch *batch = all->first; batch; batch = batch->next)
        batch->dropped = true;
}

int mg_exchanges_tend(struct mg_exchanges *all, int64_t now_ms, int most)
{
    all->now_ms = now_ms;
    for (struct batch *batch = all->first, *next; batch; batch = next) {
        next = batch->next;
        advance(batch);
    }
    for (const struct batch *batch = all->first; batch; batch = batch->next)
        for (size_t i = 0; i < batch->n; i++) {
            const struct exchange *x = &batch->exchanges[i];
            if (x->phase == PAUSING && x->due_ms - now_ms < most)
                most = x->due_ms > now_ms ? (int)(x->due_ms - now_ms) : 0;
        }
    return most;
}

enum mg_err mg_exchanges_new(const struct mg_fetch_config *config, struct mg_transfers *transfers,
                             mg_batch_answer_f *answer, void *context, struct mg_exchanges **out,
                             struct mg_errmsg *err)
{
    struct mg_exchanges *all = calloc(1, sizeof *all);
    if (!all)
        return mg_err_set(err, MG_E_NOMEM, "no memory for requests");
    *all =
        (struct mg_exchanges){.config = config, .transfers = transfers, .answer = answer, .context = context};
    *out = all;
    return MG_OK;
}

void mg_exchanges_free(struct mg_exchanges **all)
{
    while (*all && (*all)->first) {
        struct batch *batch = (*all)->first;
        (*all)->first = batch->next;
        batch_free(batch);
    }
    free(*all);
    *all = NULL;
}
