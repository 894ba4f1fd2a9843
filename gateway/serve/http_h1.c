/* HTTP/1 on h2o's sockets.
 *
 * Not h2o's own HTTP/1: that answers requests without a Host, prefers TE to CL, takes a bare LF,
 * does not see a client hang up during a job, and has one clock for idling, heads and bodies
 * (hardening.md). One connection is in one state:
 *
 *   HEAD -> (BODY ->) WORK -> SEND -> HEAD ...    and from anywhere, after an answer that ends the
 * connection, DRAIN
 *
 * WORK is skipped when the handler answers at once. Reading never stops during WORK, so that a
 * hang-up is seen; what comes early (pipelining) stays in the socket's buffer, up to 64 kB. Cost of
 * a request: one read, one writev; of a descriptor, in clear text, sendfile besides. */
#include "http_internal.h"

#include "moongate/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PIPELINE_MAX = 64 * 1024,
    SMALL_BODY = 1024,
    KEEP_OUT = 64 * 1024,
    DRAIN_MAX = 4 * 1024 * 1024,
    SENDFILE_MAX = 1024 * 1024 /* in one turn of the loop */
};

static void run(struct http_conn *c);
static void on_read(h2o_socket_t *sock, const char *err);

static void close_now(struct http_conn *c)
{
    struct http_request *r = c->request;
    c->request = NULL;
    c->state = H1_DRAIN;
    h2o_socket_close(c->sock); /* with TLS it lives on for its close_notify; else c is gone, but for
                                  r's reference */
    if (r) {
        http_request_cancel(r);
    }
}

/* With unread input a close() would send a reset, and the reset may overtake the answer: shut down
 * our side, read on. */
static void drain(struct http_conn *c)
{
    c->state = H1_DRAIN;
    if (c->eof) {
        close_now(c);
        return;
    }
    if (!c->tls) {
        shutdown(h2o_socket_get_fd(c->sock), SHUT_WR);
    }
    h2o_buffer_consume(&c->sock->input, c->sock->input->size);
    h2o_socket_read_start(c->sock, on_read);
    c->paused = false;
}

static void next_request(struct http_conn *c)
{
    c->state = H1_HEAD;
    c->scan = c->used = 0;
    if (c->paused) {
        c->paused = false;
        h2o_socket_read_start(c->sock, on_read);
    }
    run(c);
}

/* In clear text the kernel takes the file's pages as they are. False: the connection was closed. */
static bool send_file(struct http_conn *c)
{
    off_t at = (off_t)c->body.fd_offset;
    uint64_t most = c->body.fd_left < SENDFILE_MAX ? c->body.fd_left : SENDFILE_MAX;
    ssize_t n = sendfile(h2o_socket_get_fd(c->sock), c->body.fd, &at, most);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        if (n == 0 || errno == EIO) {
            mg_log_error("an answer breaks off: %s", n == 0 ? "the file is shorter than was said" : strerror(errno));
        }
        close_now(c); /* the length was promised: only a broken connection tells the client */
        return false;
    }
    if (n > 0) {
        c->body.fd_offset += (uint64_t)n;
        c->body.fd_left -= (uint64_t)n;
    }
    return true;
}

static void on_written(h2o_socket_t *sock, const char *err)
{
    struct http_conn *c = sock->data;
    if (err) {
        close_now(c);
        return;
    }
    if (c->body.fd >= 0 && c->body.fd_left > 0 && !c->tls) {
        if (!send_file(c)) {
            return;
        }
        if (c->body.fd_left > 0) {
            h2o_socket_notify_write(sock, on_written);
            return;
        }
    } else if (c->body.fd >= 0 && c->body.fd_left > 0) {
        size_t n = http_body_read(&c->body, c->chunk, HTTP_CHUNK);
        if (n == 0) {
            close_now(c); /* the length was promised: only a broken connection tells the client */
            return;
        }
        h2o_iovec_t chunk = {c->chunk, n};
        h2o_socket_write(sock, &chunk, 1, on_written);
        return;
    }
    http_body_done(&c->body);
    free(c->chunk);
    c->chunk = NULL;
    if (c->out_size > KEEP_OUT) {
        free(c->out);
        c->out = NULL;
        c->out_size = 0;
    }
    if (c->keep_alive) {
        next_request(c);
    } else if (c->refused || c->sock->input->size > 0) {
        drain(c);
    } else {
        close_now(c);
    }
}

static const char *date(struct http_loop *loop)
{
    int64_t s = (int64_t)time(NULL);
    if (s != loop->date_s) {
        loop->date_s = s;
        time_t t = (time_t)s;
        struct tm tm;
        gmtime_r(&t, &tm);
        h2o_time2str_rfc1123(loop->date, &tm);
    }
    return loop->date;
}

static char *put(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}
#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

static char *put_number(char *at, uint64_t n)
{
    char digits[20];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + n % 10);
    } while (n /= 10);
    return put(at, digits + i, sizeof digits - i);
}

/* A line break in a value would begin a header of somebody else's choice. */
static char *put_value(char *at, struct mg_span value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        *at++ = (unsigned char)c < 0x20 && c != '\t' ? ' ' : c;
    }
    return at;
}

/* Writes the head, with `extra` bytes of room behind it, into c->out. NULL: no memory. */
static char *put_head(struct http_conn *c, const struct mg_http_response *response, uint64_t length,
                      size_t extra)
{
    const char *reason = http_reason(response->status);
    size_t bytes = 256 + strlen(reason) + extra + (response->n_lined ? response->lines.len : 0);
    for (size_t i = response->n_lined; i < response->n_headers; i++) {
        bytes += response->headers[i].name.len + response->headers[i].value.len + 4;
    }
    if (bytes > c->out_size) {
        char *grown = realloc(c->out, bytes);
        if (!grown) {
            return NULL;
        }
        c->out = grown;
        c->out_size = bytes;
    }
    char *at = PUT(c->out, "HTTP/1.1 ");
    at = put_number(at, (uint64_t)response->status);
    *at++ = ' ';
    at = put(at, reason, strlen(reason));
    at = PUT(at, "\r\nserver: moongate\r\ndate: ");
    const char *now = date(c->loop);
    at = put(at, now, strlen(now));
    if (response->status != 204 && (response->status != 304 || length > 0)) {
        at = PUT(at, "\r\ncontent-length: ");
        at = put_number(at, length);
    }
    if (!c->keep_alive) {
        at = PUT(at, "\r\nconnection: close");
    } else if (c->request && c->request->pub.version == 0x100) {
        at = PUT(at, "\r\nconnection: keep-alive");
    }
    at = PUT(at, "\r\n");
    if (response->n_lined) {
        at = put(at, response->lines.data, response->lines.len);
    }
    for (size_t i = response->n_lined; i < response->n_headers; i++) {
        const struct mg_http_header *h = &response->headers[i];
        if (!http_header_is_ours(h->name)) {
            at = put_value(at, h->name);
            at = PUT(at, ": ");
            at = put_value(at, h->value);
            at = PUT(at, "\r\n");
        }
    }
    return PUT(at, "\r\n");
}

static void send_response(struct http_conn *c, const struct mg_http_response *response,
                          bool head_only)
{
    c->state = H1_SEND;
    c->keep_alive = c->keep_alive && !c->loop->stopping;
    struct http_body body = http_body_take(response);
    uint64_t length = body.fd >= 0 ? body.fd_left : body.len;
    bool silent = head_only || response->status == 204 || response->status == 304;
    bool inlined = !silent && body.fd < 0 && (!body.release || body.len <= SMALL_BODY);
    char *end = put_head(c, response, length, inlined ? body.len : 0);
    if (end && body.fd >= 0 && !silent && c->tls) {
        c->chunk = malloc(HTTP_CHUNK);
    }
    if (!end || (body.fd >= 0 && !silent && c->tls && !c->chunk)) {
        http_body_done(&body);
        c->state = H1_DRAIN;
        http_conn_kill(c);
        return;
    }
    h2o_iovec_t parts[2] = {{c->out, (size_t)(end - c->out)}, {NULL, 0}};
    size_t n_parts = 1;
    if (inlined && body.len > 0) {
        memcpy(end, body.data, body.len);
        parts[0].len += body.len;
    } else if (!silent && body.len > 0) {
        parts[n_parts++] = h2o_iovec_init(body.data, body.len);
    }
    if (silent || inlined) {
        http_body_done(&body);
    } else if (c->tls && body.fd >= 0 && body.fd_left > 0) {
        size_t n = http_body_read(&body, c->chunk, HTTP_CHUNK);
        if (n == 0) {
            http_body_done(&body);
            c->state = H1_DRAIN;
            http_conn_kill(c);
            return;
        }
        parts[n_parts++] = h2o_iovec_init(c->chunk, n);
    }
    c->body = body;
    h2o_socket_write(c->sock, parts, n_parts, on_written);
}

void http_h1_send(struct http_request *r, const struct mg_http_response *response)
{
    struct http_conn *c = r->conn;
    c->keep_alive = r->keep_alive;
    send_response(c, response, r->head);
    c->request = NULL;
    if (!r->bytes) {
        h2o_buffer_consume(&c->sock->input, c->used);
    }
    http_request_free(r);
}

/* An answer of our own to a request that is not handed on. It ends the connection: what follows
 * cannot be told apart. */
static void refuse(struct http_conn *c, const struct http_refusal *refusal)
{
    char json[HTTP_ERROR_MAX];
    size_t len = http_error_json(refusal, json);
    struct mg_http_header type = {MG_SPAN("content-type"), MG_SPAN("application/json")};
    struct mg_http_response response = {
        .status = refusal->status, .headers = &type, .n_headers = 1, .body = {json, len}, .fd = -1};
    c->keep_alive = false;
    c->refused = true;
    bool head = c->sock->input->size >= 5 && memcmp(c->sock->input->bytes, "HEAD ", 5) == 0;
    send_response(c, &response, head);
}

/* To the same host and port by https. */
static void redirect(struct http_conn *c, const struct http_head *head)
{
    char location[HTTP_MAX_URL + 1100];
    int n = snprintf(location, sizeof location, "https://%.*s%.*s%s%.*s", (int)head->authority.len,
                     head->authority.len ? head->authority.data : "", (int)head->path.len,
                     head->path.data, head->query.data ? "?" : "", (int)head->query.len,
                     head->query.data ? head->query.data : "");
    struct mg_http_header header = {MG_SPAN("location"), {location, (size_t)n}};
    struct mg_http_response response = {
        .status = 308, .headers = &header, .n_headers = 1, .fd = -1};
    c->keep_alive = false;
    c->refused = true;
    send_response(c, &response, false);
}

static const struct http_refusal full = {503, MG_E_UNAVAILABLE,
                                         "too many bodies are being received; try again later"};
static const struct http_refusal too_large = {413, MG_E_TOO_LARGE,
                                              "the body is larger than is allowed here"};
static const struct http_refusal too_many = {429, MG_E_TOO_MANY,
                                             "too many requests of this address at once"};
static const struct http_refusal no_memory = {503, MG_E_NOMEM, "out of memory; try again later"};

/* The whole request is in the input: head at its front, decoded body up to c->decoded, raw bytes up
 * to c->used. */
static void handle(struct http_conn *c)
{
    struct http_loop *loop = c->loop;
    const struct http_head *head = &loop->head;
    if (c->redirect && head->authority.len > 0) {
        redirect(c, head);
        return;
    }
    struct http_request *r = http_request_new(c);
    if (!r) {
        refuse(c, &no_memory);
        return;
    }
    r->begun = mg_guard_begin(&c->guard);
    r->pub.method = head->method;
    r->pub.path = head->path;
    r->pub.query = head->query;
    r->pub.authority = head->authority;
    r->pub.n_headers = head->n_headers;
    memcpy(r->headers, head->headers, head->n_headers * sizeof *head->headers);
    r->pub.body = (struct mg_span){c->sock->input->bytes + head->bytes, c->decoded - head->bytes};
    r->pub.version = head->version;
    r->head = mg_span_is(head->method, "HEAD");
    r->keep_alive = head->keep_alive;
    c->state = H1_WORK;
    if (!r->begun) { /* each unfinished job holds its connection's state, which one HTTP/1 request
                        at a time cannot fill */
        http_request_free(r);
        http_conn_kill(c);
        return;
    }
    if (!http_request_forwarded(r)) {
        http_request_free(r);
        refuse(c, &too_many);
        return;
    }
    c->request = r;
    size_t used = c->used;
    if (http_request_handle(r)) {
        return;
    }
    /* The request keeps the buffer, since its spans point into it; what came behind it moves to a
     * new one. */
    h2o_buffer_t *input = c->sock->input;
    h2o_buffer_init(&c->sock->input, &h2o_socket_buffer_prototype);
    size_t rest = input->size - used;
    if (rest > 0) {
        h2o_buffer_reserve(&c->sock->input, rest);
        memcpy(c->sock->input->bytes, input->bytes + used, rest);
        c->sock->input->size = rest;
    }
    http_request_keep(r, input);
}

static void on_continue_written(h2o_socket_t *sock, const char *err)
{
    struct http_conn *c = sock->data;
    c->continue_in_flight = false;
    if (err) {
        close_now(c);
    } else {
        run(c);
    }
}

/* Reads on in the body. DONE: it is whole. */
static enum http_parse read_body(struct http_conn *c, const struct http_head *head, size_t max,
                                 struct http_refusal *refusal)
{
    h2o_buffer_t *input = c->sock->input;
    if (input->size > PIPELINE_MAX && http_is_full(c->loop->server)) {
        *refusal = full;
        return HTTP_PARSE_BAD;
    }
    if (!head->chunked) {
        if (head->length > max) {
            *refusal = too_large;
            return HTTP_PARSE_BAD;
        }
        c->used = c->decoded = head->bytes + (size_t)head->length;
        return input->size >= c->used ? HTTP_PARSE_DONE : HTTP_PARSE_MORE;
    }
    if (c->used == 0) {
        c->used = c->decoded = head->bytes;
        c->chunked = (struct http_chunked){0};
    }
    enum http_parse r =
        http_chunked_read(&c->chunked, input->bytes, input->size, &c->used, &c->decoded);
    if (c->decoded - head->bytes > max) {
        *refusal = too_large;
        return HTTP_PARSE_BAD;
    }
    if (r == HTTP_PARSE_BAD) {
        *refusal = (struct http_refusal){400, MG_E_INVALID, "the chunked body is malformed"};
    } else if (r == HTTP_PARSE_MORE && c->used > c->decoded) {
        /* What is decoded makes room, so that the buffer grows with the body and not with its
         * wrapping. */
        input->size = c->decoded;
        c->used = c->decoded;
    }
    return r;
}

static void run(struct http_conn *c)
{
    struct http_loop *loop = c->loop;
    struct mg_http_config *config = &loop->server->config;
    while (c->state == H1_HEAD || c->state == H1_BODY) {
        if (c->continue_in_flight) {
            return;
        }
        h2o_buffer_t *input = c->sock->input;
        if (input->size == 0) {
            break;
        }
        struct http_refusal refusal;
        size_t scan = c->state == H1_BODY ? 0 : c->scan;
        enum http_parse parsed =
            http_parse_head(input->bytes, input->size, &scan, &loop->head, &refusal);
        if (c->state == H1_HEAD) {
            c->scan = scan;
        }
        if (parsed == HTTP_PARSE_DONE) {
            const struct http_head *head = &loop->head;
            if (head->chunked || head->length > 0) {
                bool first = c->state == H1_HEAD;
                c->state = H1_BODY;
                size_t max =
                    head->has_authorization ? config->max_body : config->max_body_unauthenticated;
                parsed = read_body(c, head, max, &refusal);
                if (parsed == HTTP_PARSE_MORE && first && head->expect_continue) {
                    static h2o_iovec_t go_on = {H2O_STRLIT("HTTP/1.1 100 Continue\r\n\r\n")};
                    c->continue_in_flight = true;
                    h2o_socket_write(c->sock, &go_on, 1, on_continue_written);
                    return;
                }
            } else {
                c->used = c->decoded = head->bytes;
            }
        }
        if (parsed == HTTP_PARSE_BAD) {
            refuse(c, &refusal);
            return;
        }
        if (parsed == HTTP_PARSE_MORE) {
            break;
        }
        handle(c);
    }
    if (c->eof && (c->state == H1_HEAD || c->state == H1_BODY)) {
        close_now(c);
    } else if (c->state == H1_HEAD && c->loop->stopping && c->sock->input->size == 0) {
        close_now(c);
    }
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    struct http_conn *c = sock->data;
    if (err) {
        c->eof = true;
        h2o_socket_read_stop(sock);
        /* A client that closed its side after sending may still be reading: the answer under way
         * goes out. */
        if (c->state != H1_SEND && !c->continue_in_flight) {
            close_now(c);
        }
        return;
    }
    switch (c->state) {
    case H1_HEAD:
    case H1_BODY:
        run(c);
        break;
    case H1_WORK:
    case H1_SEND:
        if (sock->input->size > PIPELINE_MAX && !c->shut) {
            c->paused = true;
            h2o_socket_read_stop(sock);
        }
        break;
    case H1_DRAIN:
        c->drained += sock->input->size;
        h2o_buffer_consume(&sock->input, sock->input->size);
        if (c->drained > DRAIN_MAX) {
            close_now(c);
        }
        break;
    }
}

void http_h1_start(struct http_conn *c)
{
    c->protocol = CONN_HTTP1;
    c->sock->data = c;
    c->state = H1_HEAD;
    h2o_socket_read_start(c->sock, on_read);
    run(c);
}

void http_h1_wake(struct http_conn *c)
{
    if (c->paused) {
        c->paused = false;
        h2o_socket_read_start(c->sock, on_read);
    }
}

void http_h1_closed(struct http_conn *c)
{
    http_body_done(&c->body);
    free(c->chunk);
    c->chunk = NULL;
}

enum mg_guard_activity http_h1_activity(const struct http_conn *c)
{
    switch (c->state) {
    case H1_HEAD:
        return c->sock->input->size > 0 ? MG_GUARD_RECEIVING : MG_GUARD_IDLE;
    case H1_BODY:
        return MG_GUARD_RECEIVING;
    case H1_WORK:
        return MG_GUARD_WORKING;
    case H1_SEND:
        return MG_GUARD_SENDING;
    case H1_DRAIN:
        break;
    }
    return MG_GUARD_CLOSING;
}

void http_h1_drain(struct http_conn *c)
{
    if (c->state == H1_HEAD && c->sock->input->size == 0) {
        close_now(c);
    }
}
