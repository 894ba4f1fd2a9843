/* Requests and their answers, of both protocols.
 *
 * An answer from inside the handler goes straight to the socket, without a copy. From anywhere else
 * (a thread, `gone`, another request's handler) it is copied and passed through the loop's queue:
 * h2o cannot bear to be re-entered in the middle of closing a connection. Cost of the queue: one
 * lock and, when the loop sleeps, one write to a pipe. */
#include "http_internal.h"

#include "moongate/log.h"
#include "moongate/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { KEEP_REQUESTS = 64, KEEP_TEXT = 4096 };

struct mg_span mg_http_header(const struct mg_http_request *request, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < request->n_headers; i++) {
        struct mg_span n = request->headers[i].name;
        if (n.len == len && memcmp(n.data, name, len) == 0) {
            return request->headers[i].value;
        }
    }
    return (struct mg_span){NULL, 0};
}

size_t http_body_read(struct http_body *body, char *out, size_t size)
{
    if (size > body->fd_left) {
        size = (size_t)body->fd_left;
    }
    ssize_t n;
    do {
        n = pread(body->fd, out, size, (off_t)body->fd_offset);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        mg_log_error("an answer breaks off: %s",
                     n == 0 ? "the file is shorter than was said" : strerror(errno));
        return 0;
    }
    body->fd_offset += (uint64_t)n;
    body->fd_left -= (uint64_t)n;
    return (size_t)n;
}

void http_body_done(struct http_body *body)
{
    if (body->release) {
        body->release(body->release_context);
    }
    if (body->fd >= 0) {
        close(body->fd);
    }
    *body = (struct http_body){.fd = -1};
}

struct http_body http_body_take(const struct mg_http_response *response)
{
    bool file = response->fd >= 0 && response->fd_bytes > 0;
    return (struct http_body){
        .data = response->body.data,
        .len = response->fd >= 0 ? 0 : response->body.len,
        .release = response->release,
        .release_context = response->release_context,
        .fd = response->fd,
        .fd_offset = response->fd_offset,
        .fd_left = file ? response->fd_bytes : 0,
    };
}

struct http_request *http_request_new(struct http_conn *conn)
{
    struct http_loop *loop = conn->loop;
    struct http_request *r = loop->free_requests;
    if (r) {
        loop->free_requests = r->next_free;
        loop->n_free--;
    } else {
        r = malloc(sizeof *r);
        if (!r) {
            return NULL;
        }
        r->text = NULL;
        r->text_size = 0;
    }
    char *text = r->text;
    size_t text_size = r->text_size;
    /* Clearing the 3 kB of headers for each request would show. */
    memset(r, 0, offsetof(struct http_request, headers));
    r->text = text;
    r->text_size = text_size;
    r->loop = loop;
    r->conn = conn;
    r->live = true;
    atomic_init(&r->answered, false);
    r->response.fd = -1;
    memcpy(r->pub.client, conn->client, sizeof conn->client);
    r->pub.from_loopback = conn->loopback;
    r->pub.from_admin = conn->admin;
    r->pub.scheme = conn->tls ? MG_SPAN("https") : MG_SPAN("http");
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    r->pub.started_us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    conn->refs++;
    r->pub.headers = r->headers;
    atomic_fetch_add_explicit(&loop->refs, 1, memory_order_relaxed);
    return r;
}

bool http_request_forwarded(struct http_request *r)
{
    struct mg_http_server *server = r->loop->server;
    struct http_forwarded said;
    http_forwarded_read(r->pub.headers, r->pub.n_headers, server->trusted, server->n_trusted,
                        &said);
    if (!r->conn->trusted) {
        /* Somebody's proxy on this machine is not the operator at the loopback. */
        if (said.present) {
            r->pub.from_loopback = false;
        }
        return true;
    }
    if (said.scheme.data) {
        r->pub.scheme = said.scheme;
    }
    if (said.host.data) {
        r->pub.authority = said.host;
    }
    if (!said.has_client) {
        return true;
    }
    mg_address_print(&said.client, r->pub.client, sizeof r->pub.client);
    r->pub.from_loopback = mg_address_is_loopback(&said.client);
    if (!mg_address_take(server->addresses, &said.client)) {
        return false;
    }
    r->slot = said.client;
    r->has_slot = true;
    return true;
}

/* The request whose handler is on this thread's stack and has not answered. */
static _Thread_local struct http_request *in_handler;

bool http_request_handle(struct http_request *r)
{
    struct mg_http_config *config = &r->loop->server->config;
    in_handler = r;
    config->handler(config->context, &r->pub);
    bool answered = in_handler != r;
    in_handler = NULL;
    return answered;
}

/* Of buffers that leave their thread: h2o's own prototype is thread-local, and gone with the
 * thread. */
static h2o_buffer_prototype_t kept_prototype;

void http_request_keep(struct http_request *r, h2o_buffer_t *bytes)
{
    if (bytes->bytes) {
        h2o_buffer_set_prototype(&bytes, &kept_prototype);
        r->bytes = bytes;
        r->kept_bytes = bytes->size;
        atomic_fetch_add_explicit(&r->loop->kept, bytes->size, memory_order_relaxed);
    }
}

void http_request_cancel(struct http_request *r)
{
    r->live = false;
    if (r->gone && !atomic_load(&r->answered)) {
        void (*gone)(struct mg_http_request *) = r->gone;
        r->gone = NULL;
        gone(&r->pub);
    }
}

void mg_http_on_gone(struct mg_http_request *request, void (*gone)(struct mg_http_request *))
{
    ((struct http_request *)request)->gone = gone;
}

void http_loop_unref(struct http_loop *loop)
{
    if (atomic_fetch_sub(&loop->refs, 1) == 1) {
        pthread_mutex_destroy(&loop->lock);
        free(loop);
    }
}

static void free_memory(struct http_request *r)
{
    if (r->bytes) {
        h2o_buffer_dispose(&r->bytes);
        atomic_fetch_sub_explicit(&r->loop->kept, r->kept_bytes, memory_order_relaxed);
    }
    free(r->response_copy);
    r->response_copy = NULL;
}

void http_request_free(struct http_request *r)
{
    struct http_loop *loop = r->loop;
    struct http_conn *conn = r->conn;
    if (r->has_slot) {
        mg_address_release(loop->server->addresses, &r->slot);
    }
    if (r->begun) {
        mg_guard_end(&conn->guard);
    }
    free_memory(r);
    if (loop->n_free < KEEP_REQUESTS && r->text_size <= KEEP_TEXT) {
        r->next_free = loop->free_requests;
        loop->free_requests = r;
        loop->n_free++;
    } else {
        free(r->text);
        free(r);
    }
    http_conn_unref(conn);
    http_loop_unref(loop);
}

static void send_now(struct http_request *r, const struct mg_http_response *response)
{
    if (!r->live) {
        struct http_body body = http_body_take(response);
        http_body_done(&body);
        http_request_free(r);
    } else if (r->conn->protocol == CONN_HTTP2) {
        http_h2_send(r, response);
    } else {
        http_h1_send(r, response);
    }
}

void http_request_answers(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    (void)receiver;
    while (!h2o_linklist_is_empty(messages)) {
        struct http_request *r =
            H2O_STRUCT_FROM_MEMBER(struct http_request, message.link, messages->next);
        h2o_linklist_unlink(&r->message.link);
        send_now(r, &r->response);
    }
}

/* Headers, and bytes without a release, in one block. */
static bool copy_response(struct http_request *r, const struct mg_http_response *response)
{
    bool copy_body = response->fd < 0 && !response->release;
    size_t bytes =
        response->n_headers * sizeof *response->headers + (copy_body ? response->body.len : 0);
    for (size_t i = 0; i < response->n_headers; i++) {
        bytes += response->headers[i].name.len + response->headers[i].value.len;
    }
    r->response = *response;
    r->response_copy = malloc(bytes ? bytes : 1);
    if (!r->response_copy) {
        return false;
    }
    struct mg_http_header *headers = r->response_copy;
    char *at = (char *)(headers + response->n_headers);
    for (size_t i = 0; i < response->n_headers; i++) {
        const struct mg_http_header *from = &response->headers[i];
        memcpy(at, from->name.data, from->name.len);
        headers[i].name = (struct mg_span){at, from->name.len};
        at += from->name.len;
        if (from->value.len) {
            memcpy(at, from->value.data, from->value.len);
        }
        headers[i].value = (struct mg_span){at, from->value.len};
        at += from->value.len;
    }
    r->response.headers = headers;
    r->response.n_lined = 0;
    if (copy_body) {
        if (response->body.len) {
            memcpy(at, response->body.data, response->body.len);
        }
        r->response.body.data = at;
    }
    return true;
}

void mg_http_answer(struct mg_http_request *request, const struct mg_http_response *response)
{
    struct http_request *r = (struct http_request *)request;
    MG_ASSERT(!atomic_exchange(&r->answered, true));
    struct http_loop *loop = r->loop;
    struct mg_http_response fixed;
    if (response->status < 200 || response->status > 599) {
        mg_log_error("a response of status %d is sent as 500", response->status);
        fixed = *response;
        fixed.status = 500;
        response = &fixed;
    }
    if (in_handler == r) {
        in_handler = NULL;
        send_now(r, response);
        return;
    }
    if (!copy_response(r, response)) {
        struct http_body body = http_body_take(response);
        http_body_done(&body);
        r->response = (struct mg_http_response){.status = 500, .fd = -1};
    }
    pthread_mutex_lock(&loop->lock);
    bool stopped = loop->stopped;
    if (!stopped) {
        h2o_multithread_send_message(&loop->answers, &r->message);
    } else {
        http_conn_unref(r->conn);
    }
    pthread_mutex_unlock(&loop->lock);
    if (stopped) { /* nobody is there, neither client nor thread */
        struct http_body body = http_body_take(&r->response);
        http_body_done(&body);
        free_memory(r);
        free(r->text);
        free(r);
        http_loop_unref(loop);
    }
}

size_t http_error_json(const struct http_refusal *refusal, char out[HTTP_ERROR_MAX])
{
    mg_metric_add(MG_M_REQUESTS, 1);
    mg_metric_add(refusal->status >= 500 ? MG_M_ERRORS_5XX : MG_M_ERRORS_4XX, 1);
    int n = snprintf(out, HTTP_ERROR_MAX,
                     "{\"detail\":\"%s\",\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}",
                     refusal->text, mg_err_name(refusal->err), refusal->text);
    return n < HTTP_ERROR_MAX ? (size_t)n : HTTP_ERROR_MAX - 1;
}

bool http_header_is_ours(struct mg_span name)
{
    switch (name.len) {
    case 4:
        return mg_span_is(name, "date");
    case 6:
        return mg_span_is(name, "server");
    case 10:
        return mg_span_is(name, "connection") || mg_span_is(name, "keep-alive");
    case 14:
        return mg_span_is(name, "content-length");
    case 17:
        return mg_span_is(name, "transfer-encoding");
    default:
        return false;
    }
}

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
        {508, "Loop Detected"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Status";
}
