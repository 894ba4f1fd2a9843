/* Recall: what a loop's thread remembers of its own answers from the cache, by the bytes of the request.
 *
 * A map asks for the same tiles again and again. Its request is cut into a route, a token, parameters and a
 * key only the first time that it is a hit; from then on one look-up by the raw target, Accept and
 * Accept-Encoding gives the answer with its header lines ready. Invariant: what is sent is what the long way
 * would send at this moment. So a memory counts only while all that decided the answer is as it was:
 *   token          the state's generation, and its expiry
 *   code           the catalog's current version of the UDF, which takes in saves first
 *   data           the dependencies, looked at once a second as on the long way (versions.c)
 *   time to live   of the entry and of the call
 *   cache          the hot tier holds this very answer; a newer one has pushed it out
 * and the request has nothing else that could matter (Authorization, Range, conditions, ...). Bounded: SLOTS
 * memories a thread, and MAX_BYTES of bodies, then all are dropped. Cost of a hit: one hash over the target, one
 * FIONREAD on the catalog's watch, no allocation, no lock but the catalog's for reading. */
#include "app.h"

#include "moongate/metrics.h"

#include <stdlib.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { SLOTS = 8192, MAX_BYTES = 64 << 20, SWEEP = 8 };

/* What of a request decides the answer. */
struct sight {
    struct mg_span path, query, accept, accept_encoding;
    uint64_t hash;
};

struct memory {
    uint64_t hash;
    struct mg_span path, query, accept, accept_encoding; /* in `bytes`; data NULL where there was none */
    struct mg_answer *answer;
    struct mg_udf *udf;
    char org[64];
    uint64_t state;
    int64_t until_s;  /* time to live, the token's expiry */
    struct mg_hold hold;
    size_t cost;
    struct mg_span lines;
    size_t n_headers;
    struct mg_http_header headers[MG_MAX_HEADERS]; /* in `lines`; allocated as far as used */
};

struct recall {
    const struct mg_app *app;
    struct memory *slots[SLOTS];
    size_t bytes, swept;
};

static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static _Thread_local struct recall *of_thread;

static void forget(struct recall *recall, size_t slot)
{
    struct memory *memory = recall->slots[slot];
    if (!memory)
        return;
    recall->slots[slot] = NULL;
    recall->bytes -= memory->cost;
    mg_answer_unref(&memory->answer);
    mg_udf_unref(&memory->udf);
    free(memory);
}

static void recall_free(void *context)
{
    struct recall *recall = context;
    for (size_t i = 0; i < SLOTS; i++)
        forget(recall, i);
    free(recall);
}

static void make_key(void)
{
    MG_ASSERT(pthread_key_create(&thread_key, recall_free) == 0); /* the loops end before the engine does */
}

/* False: the request has something that is looked at on the long way only. */
static bool look(const struct mg_http_request *request, struct sight *out)
{
    static const char *const others[] = {"authorization", "range",           "if-none-match",
                                         "if-range",      "fused-recursion", "x-fused-cache-disable"};
    if (!mg_span_is(request->method, "GET") || request->body.len)
        return false;
    *out = (struct sight){.path = request->path, .query = request->query};
    for (size_t i = 0; i < request->n_headers; i++) {
        struct mg_span name = request->headers[i].name;
        switch (name.len) {
        case 6:
            if (mg_span_is(name, "accept") && !out->accept.data)
                out->accept = request->headers[i].value;
            break;
        case 15:
            if (mg_span_is(name, "accept-encoding") && !out->accept_encoding.data)
                out->accept_encoding = request->headers[i].value;
        /* fall through */
        case 5:
        case 8:
        case 13:
        case 21:
            for (size_t k = 0; k < sizeof others / sizeof *others; k++)
                if (mg_span_is(name, others[k]))
                    return false;
        }
    }
    const struct mg_span *parts[] = {&out->path, &out->query, &out->accept, &out->accept_encoding};
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i]->data) /* absent and empty are two */
            hash = XXH3_64bits_withSeed(parts[i]->data, parts[i]->len, hash + i + 1);
    out->hash = hash;
    return true;
}

static bool same(struct mg_span a, struct mg_span b)
{
    return !a.data == !b.data && mg_span_eq(a, b);
}

static struct memory *find(const struct recall *recall, const struct sight *sight)
{
    struct memory *m = recall->slots[sight->hash % SLOTS];
    return m && m->hash == sight->hash && same(m->path, sight->path) && same(m->query, sight->query) &&
                   same(m->accept, sight->accept) && same(m->accept_encoding, sight->accept_encoding)
               ? m
               : NULL;
}

/* All that decided the answer is as it was. */
static bool holds(const struct mg_app *app, struct memory *m, int64_t now_s, int64_t now_us)
{
    const struct mg_engine *engine = app->engine;
    if (!__atomic_load_n(&m->answer->hot, __ATOMIC_ACQUIRE) || now_s >= m->until_s ||
        m->state != mg_state_generation(engine->state))
        return false;
    bool current = mg_catalog_is_current(engine->catalog, m->org, m->udf);
    if (current && now_us >= m->hold.deps_until_us) {
        struct mg_span deps = {m->answer->deps.data, m->answer->deps.len};
        m->hold.deps_until_us = mg_versions_until(engine->versions, m->org, deps, m->answer->created_s);
        current = m->hold.deps_until_us > 0;
    }
    return current;
}

static void release(void *context)
{
    struct mg_answer *answer = context;
    mg_answer_unref(&answer);
}

static size_t put_number(char out[20], int64_t value)
{
    char digits[20];
    size_t n = 0;
    do
        digits[sizeof digits - ++n] = (char)('0' + value % 10);
    while (value /= 10);
    memcpy(out, digits + sizeof digits - n, n);
    return n;
}

bool mg_recall_answer(struct mg_app *app, struct mg_http_request *request)
{
    struct recall *recall = of_thread;
    struct sight sight;
    if (!recall || recall->app != app || !look(request, &sight))
        return false;
    struct memory *m = find(recall, &sight);
    if (!m)
        return false;
    int64_t now_s = (int64_t)time(NULL);
    if (!holds(app, m, now_s, mg_now_us())) {
        forget(recall, sight.hash % SLOTS);
        return false;
    }
    char id[17], age[20];
    int64_t age_s = now_s - m->answer->created_s;
    mg_app_new_id(app, id);
    m->headers[m->n_headers] = (struct mg_http_header){MG_SPAN("x-fused-request-id"), {id, 16}};
    m->headers[m->n_headers + 1] =
        (struct mg_http_header){MG_SPAN("age"), {age, put_number(age, age_s > 0 ? age_s : 0)}};
    struct mg_http_response response = {
        .status = 200,
        .headers = m->headers,
        .n_headers = m->n_headers + 2,
        .lines = m->lines,
        .n_lined = m->n_headers,
        .body = m->answer->body,
        .release = release,
        .release_context = mg_answer_ref(m->answer),
        .fd = -1,
    };
    __atomic_store_n(&m->answer->used, true, __ATOMIC_RELAXED);
    mg_metric_add(MG_M_REQUESTS, 1);
    mg_metric_add(MG_M_CACHE_HITS, 1);
    mg_metric_add(MG_M_BYTES_SENT, (int64_t)response.body.len);
    mg_access_log(request, id, m->udf, 200, response.body.len);
    mg_http_answer(request, &response);
    return true;
}

/* Of the response's headers those that stay the same: all but its age. False: one has a control character. */
static bool is_kept(const struct mg_http_header *header, bool *clean)
{
    const struct mg_span parts[] = {header->name, header->value};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < parts[i].len; k++)
            *clean = *clean && (unsigned char)parts[i].data[k] >= ' ';
    return !mg_span_is(header->name, "age");
}

static char *lay(char *at, struct mg_span *span)
{
    if (!span->data)
        return at;
    memcpy(at, span->data, span->len);
    span->data = at;
    return at + span->len;
}

static struct memory *memory_new(const struct mg_exchange *exchange, const struct mg_http_response *response,
                                 const struct sight *sight)
{
    bool clean = true;
    size_t n = 0, lines = 0;
    for (size_t i = 0; i < response->n_headers; i++) {
        const struct mg_http_header *h = &response->headers[i];
        if (is_kept(h, &clean)) {
            n++;
            lines += h->name.len + h->value.len + 4;
        }
    }
    if (!clean || n + 2 > MG_MAX_HEADERS)
        return NULL;
    size_t head = offsetof(struct memory, headers) + (n + 2) * sizeof *response->headers;
    size_t bytes = head + lines + sight->path.len + sight->query.len;
    bytes += sight->accept.len + sight->accept_encoding.len;
    struct memory *m = malloc(bytes);
    if (!m)
        return NULL;
    char *at = (char *)m + head;
    m->lines = (struct mg_span){at, lines};
    m->n_headers = 0;
    for (size_t i = 0; i < response->n_headers; i++) {
        const struct mg_http_header *h = &response->headers[i];
        if (!is_kept(h, &clean))
            continue;
        struct mg_http_header *kept = &m->headers[m->n_headers++];
        *kept = *h;
        at = lay(at, &kept->name);
        at = lay(at, &(struct mg_span){": ", 2});
        at = lay(at, &kept->value);
        at = lay(at, &(struct mg_span){"\r\n", 2});
    }
    m->hash = sight->hash;
    m->path = sight->path;
    m->query = sight->query;
    m->accept = sight->accept;
    m->accept_encoding = sight->accept_encoding;
    at = lay(at, &m->path);
    at = lay(at, &m->query);
    at = lay(at, &m->accept);
    at = lay(at, &m->accept_encoding);
    m->answer = mg_answer_ref(exchange->answer);
    m->udf = exchange->udf;
    __atomic_add_fetch(&m->udf->refs, 1, __ATOMIC_RELAXED);
    memcpy(m->org, exchange->org, sizeof m->org);
    m->state = exchange->state_seen;
    m->hold = exchange->hold;
    m->until_s = exchange->hold.fresh_until_s;
    if (exchange->token_until_s && exchange->token_until_s < m->until_s)
        m->until_s = exchange->token_until_s;
    m->cost = bytes + response->body.len;
    return m;
}

static struct recall *recall_of_thread(const struct mg_app *app)
{
    if (!of_thread) {
        pthread_once(&thread_once, make_key);
        struct recall *recall = calloc(1, sizeof *recall);
        if (!recall || pthread_setspecific(thread_key, recall) != 0) {
            free(recall);
            return NULL;
        }
        recall->app = app;
        of_thread = recall;
    }
    return of_thread->app == app ? of_thread : NULL;
}

void mg_recall_put(const struct mg_exchange *exchange, const struct mg_reply *reply)
{
    struct sight sight;
    struct recall *recall = look(exchange->request, &sight) ? recall_of_thread(exchange->app) : NULL;
    if (!recall || !__atomic_load_n(&exchange->answer->hot, __ATOMIC_ACQUIRE))
        return;
    struct memory *m = memory_new(exchange, &reply->response, &sight);
    if (!m)
        return;
    for (size_t i = 0; i < SWEEP; i++) { /* what the cache has let go is not held for ever */
        size_t at = recall->swept++ % SLOTS;
        if (recall->slots[at] && !__atomic_load_n(&recall->slots[at]->answer->hot, __ATOMIC_RELAXED))
            forget(recall, at);
    }
    for (size_t i = 0; i < SLOTS && recall->bytes + m->cost > MAX_BYTES; i++)
        forget(recall, i);
    forget(recall, m->hash % SLOTS);
    recall->slots[m->hash % SLOTS] = m;
    recall->bytes += m->cost;
}
