/* HTTP/2: h2o's own, with a frame filter of ours before it.
 *
 * h2o 2.2.5 has no answer to rapid reset, MadeYouReset, floods of CONTINUATION, PING, SETTINGS,
 * empty DATA or unknown frames (which it prints), or to HPACK bombs. It reads each frame through
 * conn->_read_expect; we put ourselves there and back there after each frame, so that nothing
 * reaches it uncounted. What breaks a rule ends the connection with ENHANCE_YOUR_CALM. Cost: some
 * compares a frame; one pass over a header block.
 *
 * A request's memory is h2o's pool and dies with its stream, also under a job; so the head is
 * copied, once. */
#include "http_internal.h"

#include <stdlib.h>

enum { MAX_CONTINUATIONS = 16, SMALL_DATA = 64, FULL_BODY = 64 * 1024 };

/* In the request's pool; its end is the end of the stream. */
struct h2_hook {
    h2o_generator_t generator;    /* first */
    struct http_request *request; /* NULL once answered */
    struct http_conn *conn;
    h2o_req_t *req;
    struct http_body body;
    char *chunk;
};

static struct http_conn *conn_of(h2o_http2_conn_t *h2)
{
    return h2->sock->on_close.data;
}

static void on_stream_end(void *data)
{
    struct h2_hook *hook = data;
    http_body_done(&hook->body);
    free(hook->chunk);
    struct http_request *r = hook->request;
    if (!r) {
        return;
    }
    struct http_conn *c = hook->conn;
    hook->request = NULL;
    r->hook = NULL;
    c->h2_live--;
    /* A reset that the client made the server send (a window of zero, data out of place) is a
     * cancel as well. */
    if (!c->h2_in_reset && !mg_guard_cancel(&c->guard, http_now_ms(c->loop))) {
        http_conn_kill(c);
    }
    http_request_cancel(r);
}

static void send_chunk(struct h2_hook *hook)
{
    size_t n = http_body_read(&hook->body, hook->chunk, HTTP_CHUNK);
    if (n == 0) {
        h2o_send(hook->req, NULL, 0, H2O_SEND_STATE_ERROR);
        return;
    }
    h2o_iovec_t chunk = {hook->chunk, n};
    h2o_send(hook->req, &chunk, 1,
             hook->body.fd_left > 0 ? H2O_SEND_STATE_IN_PROGRESS : H2O_SEND_STATE_FINAL);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)req;
    send_chunk((struct h2_hook *)generator);
}

/* The same bytes, or a copy in which capitals are small (names) and control characters are blanks.
 */
static h2o_iovec_t clean(h2o_req_t *req, struct mg_span text, bool name)
{
    h2o_iovec_t out = h2o_iovec_init(text.data, text.len);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char ch = (unsigned char)text.data[i];
        bool capital = name && ch >= 'A' && ch <= 'Z';
        if (capital || (ch < 0x20 && ch != '\t')) {
            if (out.base == text.data) {
                out = h2o_strdup(&req->pool, text.data, text.len);
            }
            out.base[i] = capital ? (char)(ch | 0x20) : ' ';
        }
    }
    return out;
}

static void start_response(h2o_req_t *req, const struct mg_http_response *response, uint64_t length)
{
    req->res.status = response->status;
    req->res.reason = http_reason(response->status);
    bool bare = response->status == 204 || (response->status == 304 && length == 0);
    req->res.content_length = bare ? SIZE_MAX : (size_t)length;
    for (size_t i = 0; i < response->n_headers; i++) {
        const struct mg_http_header *h = &response->headers[i];
        if (!http_header_is_ours(h->name)) {
            bool ready = i < response->n_lined;
            h2o_iovec_t name = ready ? h2o_iovec_init(h->name.data, h->name.len) : clean(req, h->name, true);
            h2o_iovec_t value = ready ? h2o_iovec_init(h->value.data, h->value.len) : clean(req, h->value, false);
            h2o_add_header_by_str(&req->pool, &req->res.headers, name.base, name.len, 1, NULL,
                                  value.base, value.len);
        }
    }
}

static void send_response(struct h2_hook *hook, const struct mg_http_response *response,
                          bool head_only)
{
    h2o_req_t *req = hook->req;
    struct http_body body = http_body_take(response);
    uint64_t length = body.fd >= 0 ? body.fd_left : body.len;
    bool silent = head_only || response->status == 204 || response->status == 304 || length == 0;
    if (!silent && body.fd >= 0) {
        hook->chunk = malloc(HTTP_CHUNK);
    }
    start_response(req, response, length);
    hook->generator = (h2o_generator_t){on_proceed, NULL};
    h2o_start_response(req, &hook->generator);
    if (silent || (body.fd >= 0 && !hook->chunk)) {
        h2o_send(req, NULL, 0, silent ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_ERROR);
        http_body_done(&body); /* last: header values may lie in what this frees */
        return;
    }
    if (body.fd >= 0) {
        hook->body = body;
        send_chunk(hook);
        return;
    }
    h2o_iovec_t bytes = {(char *)body.data, body.len};
    if (body.release) {
        hook->body = body;
    } else {
        bytes = h2o_strdup(&req->pool, body.data, body.len);
    }
    h2o_send(req, &bytes, 1, H2O_SEND_STATE_FINAL);
}

void http_h2_send(struct http_request *r, const struct mg_http_response *response)
{
    struct h2_hook *hook = r->hook;
    hook->request = NULL;
    r->hook = NULL;
    r->conn->h2_live--;
    send_response(hook, response, r->head);
    http_request_free(r);
}

static void refuse(struct h2_hook *hook, const struct http_refusal *refusal)
{
    char json[HTTP_ERROR_MAX];
    size_t len = http_error_json(refusal, json);
    struct mg_http_header type = {MG_SPAN("content-type"), MG_SPAN("application/json")};
    struct mg_http_response response = {
        .status = refusal->status, .headers = &type, .n_headers = 1, .body = {json, len}, .fd = -1};
    bool head =
        h2o_memis(hook->req->input.method.base, hook->req->input.method.len, H2O_STRLIT("HEAD"));
    send_response(hook, &response, head);
}

static const struct http_refusal
    too_large = {413, MG_E_TOO_LARGE, "the body is larger than is allowed here"},
    url_too_long = {414, MG_E_URI_TOO_LONG,
                    "the URL is longer than 8 kB; send parameters as a POST body"},
    headers_too_large = {431, MG_E_HEADERS_TOO_LARGE, "more than 100 headers, or 32 kB of them"},
    bad_authority = {400, MG_E_INVALID, "the :authority header is missing or malformed"},
    bad_path = {400, MG_E_INVALID, "the :path header does not begin with '/'"},
    full = {503, MG_E_UNAVAILABLE, "too many bodies are being received; try again later"},
    too_many = {429, MG_E_TOO_MANY, "too many requests of this address at once"},
    no_memory = {503, MG_E_NOMEM, "out of memory; try again later"};

static const struct http_refusal *check(const h2o_req_t *req, bool has_authority, size_t *bytes)
{
    *bytes = req->input.method.len + req->input.path.len + req->input.authority.len;
    if (req->input.path.len > HTTP_MAX_URL) {
        return &url_too_long;
    }
    size_t total = 0;
    for (size_t i = 0; i < req->headers.size; i++) {
        total += req->headers.entries[i].name->len + req->headers.entries[i].value.len;
    }
    *bytes += total;
    if (req->headers.size > HTTP_MAX_HEADERS || total > HTTP_MAX_HEAD) {
        return &headers_too_large;
    }
    if (!has_authority || !http_authority_valid((struct mg_span){req->input.authority.base,
                                                                 req->input.authority.len})) {
        return &bad_authority;
    }
    bool star = h2o_memis(req->input.path.base, req->input.path.len, H2O_STRLIT("*"));
    if (!star && (req->input.path.len == 0 || req->input.path.base[0] != '/')) {
        return &bad_path;
    }
    return NULL;
}

static struct mg_span copy(char **at, const char *data, size_t len)
{
    struct mg_span span = {*at, len};
    if (len) {
        memcpy(*at, data, len);
    }
    *at += len;
    return span;
}

/* Copies the head into the request's own memory. */
static bool fill(struct http_request *r, h2o_req_t *req, size_t bytes)
{
    if (bytes > r->text_size) {
        size_t size = bytes < 1024 ? 1024 : bytes;
        char *text = malloc(size);
        if (!text) {
            return false;
        }
        free(r->text);
        r->text = text;
        r->text_size = size;
    }
    char *at = r->text;
    r->pub.method = copy(&at, req->input.method.base, req->input.method.len);
    http_split_target(copy(&at, req->input.path.base, req->input.path.len), &r->pub.path,
                      &r->pub.query);
    r->pub.authority = copy(&at, req->input.authority.base, req->input.authority.len);
    for (size_t i = 0; i < req->headers.size; i++) {
        const h2o_header_t *h = &req->headers.entries[i];
        r->headers[i].name = copy(&at, h->name->base, h->name->len);
        r->headers[i].value = copy(&at, h->value.base, h->value.len);
    }
    r->pub.n_headers = req->headers.size;
    r->pub.version = 0x200;
    r->head = mg_span_is(r->pub.method, "HEAD");
    return true;
}

static int on_req(h2o_handler_t *self, h2o_req_t *req)
{
    (void)self;
    struct http_conn *c = req->conn->callbacks->get_socket(req->conn)->on_close.data;
    h2o_http2_stream_t *stream = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, req);
    struct h2_hook *hook = h2o_mem_alloc_shared(&req->pool, sizeof *hook, on_stream_end);
    *hook = (struct h2_hook){.conn = c, .req = req, .body.fd = -1};

    /* h2o puts its own host's name where none was sent; that pointer tells. */
    bool has_authority = req->input.authority.base != req->hostconf->authority.hostport.base;
    size_t bytes;
    const struct http_refusal *refusal = check(req, has_authority, &bytes);
    if (c->h2_refuse) {
        refusal = c->h2_refuse;
    }
    if (refusal) {
        refuse(hook, refusal);
        return 0;
    }
    struct http_request *r = http_request_new(c);
    if (!r || !fill(r, req, bytes)) {
        if (r) {
            http_request_free(r);
        }
        refuse(hook, &no_memory);
        return 0;
    }
    r->begun = mg_guard_begin(&c->guard);
    if (!r->begun) {
        http_request_free(r);
        http_conn_kill(c); /* the stream stays unanswered and ends with the connection */
        return 0;
    }
    if (!http_request_forwarded(r)) {
        http_request_free(r);
        refuse(hook, &too_many);
        return 0;
    }
    if (stream->_req_body) {
        r->pub.body = (struct mg_span){req->entity.base, req->entity.len};
        http_request_keep(r, stream->_req_body);
        stream->_req_body = NULL;
    }
    hook->request = r;
    r->hook = hook;
    c->h2_live++;
    (void)http_request_handle(r);
    return 0;
}

/* --- the filter --- */

/* Fields in a header block that is complete: in `payload`, or in what CONTINUATIONs gathered and
 * `payload`. */
static size_t count_fields(h2o_http2_conn_t *h2, const h2o_http2_frame_t *frame)
{
    const uint8_t *block = frame->payload;
    size_t len = frame->length;
    if (frame->type == H2O_HTTP2_FRAME_TYPE_HEADERS) {
        size_t pad = 0, skip = 0;
        if (frame->flags & H2O_HTTP2_FRAME_FLAG_PADDED) {
            pad = len > 0 ? block[0] : 0;
            skip++;
        }
        if (frame->flags & H2O_HTTP2_FRAME_FLAG_PRIORITY) {
            skip += 5;
        }
        if (skip + pad > len) {
            return 0; /* h2o says what is wrong with it */
        }
        return http_hpack_count(block + skip, len - skip - pad, HTTP_MAX_HEADERS + 8);
    }
    h2o_buffer_t *before = h2->_headers_unparsed;
    size_t total = before->size + len;
    uint8_t *whole = malloc(total ? total : 1);
    if (!whole) {
        return SIZE_MAX;
    }
    if (before->size) {
        memcpy(whole, before->bytes, before->size);
    }
    if (len) {
        memcpy(whole + before->size, block, len);
    }
    size_t count = http_hpack_count(whole, total, HTTP_MAX_HEADERS + 8);
    free(whole);
    return count;
}

/* What each frame that is not itself a request costs; a request and its bytes earn. */
static unsigned cost_of(h2o_http2_conn_t *h2, const h2o_http2_frame_t *frame,
                        h2o_http2_stream_t *stream)
{
    bool end = frame->flags & H2O_HTTP2_FRAME_FLAG_END_STREAM;
    switch (frame->type) {
    case H2O_HTTP2_FRAME_TYPE_DATA:
        return !stream ? 4 : end ? 0 : frame->length == 0 ? 5 : frame->length < SMALL_DATA ? 1 : 0;
    case H2O_HTTP2_FRAME_TYPE_HEADERS: /* a stream too many is refused after all its headers were
                                          read */
        return h2->num_streams.pull.open >= 100 ? 20 : 1;
    case H2O_HTTP2_FRAME_TYPE_SETTINGS:
        return 10;
    case H2O_HTTP2_FRAME_TYPE_GOAWAY:
        return 10;
    case H2O_HTTP2_FRAME_TYPE_PING:
    case H2O_HTTP2_FRAME_TYPE_CONTINUATION:
        return 2;
    default: /* WINDOW_UPDATE, PRIORITY, RST_STREAM, unknown */
        return 1;
    }
}

/* False: the client broke a rule. */
static bool admit(struct http_conn *c, h2o_http2_conn_t *h2, const h2o_http2_frame_t *frame,
                  h2o_http2_stream_t *stream)
{
    int64_t now = http_now_ms(c->loop);
    if (!mg_guard_noise(&c->guard, now, cost_of(h2, frame, stream), c->sock->bytes_written)) {
        return false;
    }
    switch (frame->type) {
    case H2O_HTTP2_FRAME_TYPE_RST_STREAM:
        return !stream || mg_guard_cancel(&c->guard, now);
    case H2O_HTTP2_FRAME_TYPE_HEADERS:
        c->h2_continuations = 0;
        break;
    case H2O_HTTP2_FRAME_TYPE_CONTINUATION:
        if (!h2->_headers_unparsed) {
            return true; /* h2o says what is wrong with it */
        }
        if (++c->h2_continuations > MAX_CONTINUATIONS ||
            h2->_headers_unparsed->size + frame->length > HTTP_MAX_HEAD + HTTP_MAX_URL) {
            return false;
        }
        break;
    default:
        return true;
    }
    return !(frame->flags & H2O_HTTP2_FRAME_FLAG_END_HEADERS) ||
           count_fields(h2, frame) <= HTTP_MAX_HEADERS + 4;
}

static size_t max_body(const struct http_conn *c, const h2o_http2_stream_t *stream)
{
    const struct mg_http_config *config = &c->loop->server->config;
    bool authorized = h2o_find_header(&stream->req.headers, H2O_TOKEN_AUTHORIZATION, -1) != -1;
    return authorized ? config->max_body : config->max_body_unauthenticated;
}

/* Answers a stream whose body is still coming. */
static void refuse_stream(struct http_conn *c, h2o_http2_conn_t *h2, h2o_http2_stream_t *stream,
                          const struct http_refusal *refusal)
{
    h2o_http2_stream_set_state(h2, stream, H2O_HTTP2_STREAM_STATE_REQ_PENDING);
    h2o_http2_stream_set_state(h2, stream, H2O_HTTP2_STREAM_STATE_SEND_HEADERS);
    c->h2_refused = stream->stream_id;
    c->h2_refuse = refusal;
    h2o_process_request(&stream->req);
    c->h2_refuse = NULL;
}

static bool is_receiving(const h2o_http2_stream_t *stream)
{
    return stream && stream->state == H2O_HTTP2_STREAM_STATE_RECV_BODY && stream->_req_body;
}

static ssize_t expect(h2o_http2_conn_t *h2, const uint8_t *src, size_t len, const char **err_desc)
{
    struct http_conn *c = conn_of(h2);
    h2o_http2_frame_t frame = {0};
    h2o_http2_stream_t *stream = NULL;
    if (c->killed) {
        return H2O_HTTP2_ERROR_PROTOCOL_CLOSE_IMMEDIATELY;
    }
    if (c->h2_preface_read) {
        if (len < H2O_HTTP2_FRAME_HEADER_SIZE) {
            return H2O_HTTP2_ERROR_INCOMPLETE;
        }
        frame = (h2o_http2_frame_t){h2o_http2_decode24u(src), src[3], src[4],
                                    h2o_http2_decode32u(src + 5) & 0x7fffffff,
                                    src + H2O_HTTP2_FRAME_HEADER_SIZE};
        if (frame.length <= H2O_HTTP2_SETTINGS_HOST.max_frame_size) { /* if not, h2o refuses it */
            if (len < H2O_HTTP2_FRAME_HEADER_SIZE + frame.length) {
                return H2O_HTTP2_ERROR_INCOMPLETE;
            }
            stream = h2o_http2_conn_get_stream(h2, frame.stream_id);
            if (!admit(c, h2, &frame, stream)) {
                http_conn_condemn(c);
                *err_desc = "too much of it";
                return H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM;
            }
            ssize_t whole = (ssize_t)(H2O_HTTP2_FRAME_HEADER_SIZE + frame.length);
            if (frame.type > H2O_HTTP2_FRAME_TYPE_CONTINUATION && !h2->_headers_unparsed) {
                return whole; /* h2o would print it */
            }
            if (frame.type == H2O_HTTP2_FRAME_TYPE_DATA && stream &&
                stream->stream_id == c->h2_refused) {
                h2o_http2_window_consume_window(&h2->_input_window, frame.length);
                return whole;
            }
            if (frame.type == H2O_HTTP2_FRAME_TYPE_DATA && is_receiving(stream)) {
                size_t size = stream->_req_body->size + frame.length;
                const struct http_refusal *refusal =
                    size > max_body(c, stream)                          ? &too_large
                    : size > FULL_BODY && http_is_full(c->loop->server) ? &full
                                                                        : NULL;
                if (refusal) {
                    h2o_http2_window_consume_window(&h2->_input_window, frame.length);
                    refuse_stream(c, h2, stream, refusal);
                    return whole;
                }
            }
        }
    }
    h2->_read_expect = c->h2_expect;
    c->h2_in_reset = frame.type == H2O_HTTP2_FRAME_TYPE_RST_STREAM && c->h2_preface_read;
    ssize_t ret = h2->_read_expect(h2, src, len, err_desc);
    c->h2_in_reset = false;
    c->h2_expect = h2->_read_expect;
    h2->_read_expect = expect;
    if (ret > 0 && !c->h2_preface_read) {
        c->h2_preface_read = true;
    } else if (ret > 0 && (frame.type == H2O_HTTP2_FRAME_TYPE_HEADERS ||
                           frame.type == H2O_HTTP2_FRAME_TYPE_CONTINUATION)) {
        stream = h2o_http2_conn_get_stream(h2, frame.stream_id);
        if (is_receiving(stream) && stream->_expected_content_length != SIZE_MAX &&
            stream->_expected_content_length > max_body(c, stream)) {
            refuse_stream(c, h2, stream, &too_large);
        }
    }
    return ret;
}

void http_h2_start(struct http_conn *c)
{
    /* h2o would read what is there before the filter is in place: hold it back. */
    h2o_buffer_t *input = c->sock->input;
    h2o_buffer_init(&c->sock->input, &h2o_socket_buffer_prototype);
    c->protocol = CONN_HTTP2;
    struct timeval now = *h2o_get_timestamp(&c->loop->ctx, NULL, NULL);
    h2o_http2_accept(&c->loop->accept_ctx, c->sock, now);
    h2o_http2_conn_t *h2 = c->sock->data;
    c->h2_expect = h2->_read_expect;
    h2->_read_expect = expect;
    h2o_buffer_dispose(&c->sock->input);
    c->sock->input = input;
    if (input->size > 0) {
        c->sock->_cb.read(c->sock, NULL);
    }
}

size_t http_h2_sample(struct http_loop *loop)
{
    size_t bytes = 0;
    for (h2o_linklist_t *node = loop->ctx.http2._conns.next; node != &loop->ctx.http2._conns;
         node = node->next) {
        h2o_http2_conn_t *h2 = H2O_STRUCT_FROM_MEMBER(h2o_http2_conn_t, _conns, node);
        struct http_conn *c = conn_of(h2);
        unsigned open = h2->num_streams.pull.open, closed = h2->num_streams.pull.half_closed;
        bool sending = closed > c->h2_live || h2->_write.buf_in_flight;
        bool receiving = open > closed || h2->sock->input->size > 0 || h2->_headers_unparsed ||
                         !c->h2_preface_read;
        for (uint32_t i = 0; open > closed && i < kh_end(h2->streams); i++) {
            if (kh_exist(h2->streams, i) && kh_val(h2->streams, i)->_req_body) {
                bytes += kh_val(h2->streams, i)->_req_body->size;
            }
        }
        c->h2 = h2;
        c->h2_sampled = loop->tick;
        c->h2_activity = sending      ? MG_GUARD_SENDING
                         : receiving  ? MG_GUARD_RECEIVING
                         : c->h2_live ? MG_GUARD_WORKING
                                      : MG_GUARD_IDLE;
    }
    return bytes;
}

void http_h2_goodbye(h2o_http2_conn_t *h2)
{
    if (h2->state < H2O_HTTP2_CONN_STATE_HALF_CLOSED) {
        h2o_http2_encode_goaway_frame(&h2->_write.buf, h2->pull_stream_ids.max_open, 0,
                                      h2o_iovec_init(NULL, 0));
        h2o_http2_conn_request_write(h2);
        h2->state = H2O_HTTP2_CONN_STATE_HALF_CLOSED;
    }
}

void http_h2_drain(struct http_loop *loop)
{
    for (h2o_linklist_t *node = loop->ctx.http2._conns.next; node != &loop->ctx.http2._conns;
         node = node->next) {
        h2o_http2_conn_t *h2 = H2O_STRUCT_FROM_MEMBER(h2o_http2_conn_t, _conns, node);
        http_h2_goodbye(h2);
    }
}

void http_h2_init(struct mg_http_server *server)
{
    h2o_globalconf_t *conf = &server->h2o;
    h2o_config_init(conf);
    conf->server_name = h2o_iovec_init(H2O_STRLIT("moongate"));
    conf->max_request_entity_size = server->config.max_body;
    conf->http1.upgrade_to_http2 = 0;
    /* Ours is first: h2o's clock would also end a body that pauses. */
    conf->http2.idle_timeout =
        (uint64_t)server->clocks.idle_ms + server->clocks.no_progress_ms + 1000;
    h2o_hostconf_t *host =
        h2o_config_register_host(conf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    h2o_handler_t *handler = h2o_create_handler(path, sizeof *handler);
    handler->on_req = on_req;
    /* A path that does not begin with '/' matches no path of h2o's, and is refused by us all the
     * same. */
    h2o_handler_t *fallback = h2o_create_handler(&host->fallback_path, sizeof *fallback);
    fallback->on_req = on_req;
    host->http2.push_preload = 0;
}
