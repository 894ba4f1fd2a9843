/* What the http_*.c files share: a server has loops, a loop (one thread) has connections, a
 * connection has requests.
 *
 * Everything here is touched on its loop's thread only, except struct http_request between the
 * handler's return and mg_http_answer, and the fields of struct mg_http_server. A request outlives
 * its connection until it is answered: it holds its bytes itself, and `live` says whether there is
 * still somebody to answer to. */
#ifndef MOONGATE_SERVE_HTTP_INTERNAL_H
#define MOONGATE_SERVE_HTTP_INTERNAL_H

#define H2O_USE_LIBUV 0
#include <h2o.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "guard.h"
#include "http_parse.h"
#include "moongate/http.h"
#include "tls.h"

/* The bytes of an answer on their way out. */
struct http_body {
    const char *data;
    size_t len;
    void (*release)(void *);
    void *release_context;
    int fd; /* -1: none */
    uint64_t fd_offset, fd_left;
};
enum { HTTP_CHUNK = 64 * 1024 };
/* Reads the next piece of body->fd; 0 when the file ends too early or cannot be read. */
size_t http_body_read(struct http_body *body, char *out, size_t size);
/* Releases what the body holds. Twice is harmless. */
void http_body_done(struct http_body *body);

struct http_request {
    struct mg_http_request pub; /* first: the handler's pointer is ours */
    struct http_loop *loop;
    struct http_conn *conn;
    void (*gone)(struct mg_http_request *);
    bool live;  /* the client waits for the answer */
    bool begun; /* counted by the guard */
    bool head, keep_alive;
    bool has_slot; /* `slot` counts in the address table: a client behind a trusted proxy */
    struct mg_address slot;
    atomic_bool answered;
    struct h2_hook *hook; /* HTTP/2, while live */
    h2o_buffer_t *bytes;  /* HTTP/1: the input that the spans point into, once the handler has
                             returned; HTTP/2: the body */
    size_t kept_bytes;    /* in `bytes` */
    char *text;           /* HTTP/2: the copy the spans point into */
    size_t text_size;
    h2o_multithread_message_t message; /* an answer from elsewhere */
    struct mg_http_response response;
    void *response_copy;
    struct http_request *next_free;
    struct mg_http_header headers[HTTP_MAX_HEADERS]; /* last, since it is large */
};

struct http_conn {
    struct http_loop *loop;
    h2o_socket_t *sock; /* NULL once closed */
    struct http_conn *prev, *next;
    unsigned refs; /* the socket and each unanswered request */
    struct mg_guard guard;
    bool redirect;          /* clear text on a TLS port: sent to https */
    struct mg_address peer; /* after a PROXY line: the client */
    char client[48];
    struct ssl_ctx_st *ssl_ctx;
    bool tls, trusted, loopback, admin;
    bool counted; /* `peer` has a place in the address table */
    bool killed, shut, proxy_line_read;
    enum { CONN_PREFACE, CONN_TLS, CONN_HTTP1, CONN_HTTP2 } protocol;
    /* HTTP/2 */
    ssize_t (*h2_expect)(h2o_http2_conn_t *, const uint8_t *, size_t,
                         const char **); /* h2o's own, behind ours */
    bool h2_preface_read, h2_in_reset;
    const struct http_refusal *h2_refuse; /* the stream that is being processed receives this answer */
    uint32_t h2_refused;                  /* stream whose further DATA is thrown away */
    unsigned h2_continuations;
    h2o_http2_conn_t *h2; /* as of tick h2_sampled */
    unsigned h2_live;     /* requests handed over and neither answered nor cancelled */
    enum mg_guard_activity h2_activity; /* as of tick h2_sampled */
    uint64_t h2_sampled;
    /* HTTP/1 */
    enum { H1_HEAD, H1_BODY, H1_WORK, H1_SEND, H1_DRAIN } state;
    size_t scan, used,
        decoded; /* of the input: looked through; this request's bytes; decoded body's end */
    struct http_chunked chunked;
    struct http_request *request;
    bool keep_alive, refused, eof, continue_in_flight, paused;
    size_t drained;
    char *out; /* head of the answer, with a small body behind it */
    size_t out_size;
    char *chunk; /* HTTP_CHUNK bytes when a descriptor is sent by TLS */
    struct http_body body;
};

struct http_loop {
    struct mg_http_server *server;
    h2o_context_t ctx;
    h2o_accept_ctx_t accept_ctx;
    h2o_multithread_receiver_t answers;
    int *fds; /* own descriptors of the listeners, until they are h2o's */
    h2o_socket_t **listeners;
    size_t n_listeners;
    bool paused, stopping;
    struct http_conn *conns;
    size_t n_conns;
    h2o_timeout_t tick_timeout;
    h2o_timeout_entry_t tick_entry;
    uint64_t tick;
    atomic_size_t kept,
        incoming; /* bytes of bodies: with requests; as of the last tick, still coming */
    int64_t stop_at_ms;
    char date[32];
    int64_t date_s;
    struct http_head head; /* of the HTTP/1 request that is being parsed */
    struct http_request *free_requests;
    size_t n_free;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    bool stopped;       /* under lock: no thread takes answers any more */
    atomic_size_t refs; /* the server, and each request that is not free */
    atomic_int stop_ms; /* -1: run on */
};

struct mg_http_server {
    struct mg_http_config config;
    struct mg_cidr *trusted;
    size_t n_trusted;
    struct mg_guard_clocks clocks;
    struct mg_address_table *addresses;
    struct tls_context *tls;
    h2o_globalconf_t h2o;
    struct http_loop **loops;
    unsigned n_loops;
    sem_t ready; /* posted by each loop's thread */
    atomic_uint n_conns;
};

/* http_server.c */
void http_conn_kill(
    struct http_conn *conn); /* by the guard: counts, and shuts the socket down; never frees */
void http_conn_shut(struct http_conn *conn);    /* the same without the count */
void http_conn_condemn(struct http_conn *conn); /* counts only: h2o closes it, after a GOAWAY */
void http_conn_unref(struct http_conn *conn);
void http_loop_unref(struct http_loop *loop);
int64_t http_now_ms(const struct http_loop *loop);

/* True while the bodies of all requests together take more than the server may hold. */
bool http_is_full(struct mg_http_server *server);

/* http_request.c */
struct http_request *http_request_new(struct http_conn *conn);
/* Fills client, scheme, authority from the proxies' headers, when the peer is trusted. False: that
 * client has its share. */
bool http_request_forwarded(struct http_request *request);
/* Calls the handler. True: it has answered, and the request is gone. */
bool http_request_handle(struct http_request *request);
/* Keeps `bytes` with the request; it can be freed by any thread. */
void http_request_keep(struct http_request *request, h2o_buffer_t *bytes);
/* The client went away: tells the handler, once. */
void http_request_cancel(struct http_request *request);
/* Answered and sent, or thrown away. */
void http_request_free(struct http_request *request);
void http_request_answers(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages);
/* The body of `response`, taken; bytes without release must be copied by the caller before it
 * returns. */
struct http_body http_body_take(const struct mg_http_response *response);
/* {"detail":…,"error":{…}} into `out`; its length. Counts the request and the error. */
enum { HTTP_ERROR_MAX = 512 };
size_t http_error_json(const struct http_refusal *refusal, char out[HTTP_ERROR_MAX]);
/* Headers that the seam itself sets. */
bool http_header_is_ours(struct mg_span name);
const char *http_reason(int status);

/* http_h1.c: sock->data is the connection. */
void http_h1_start(struct http_conn *conn);
void http_h1_send(struct http_request *request, const struct mg_http_response *response);
void http_h1_wake(
    struct http_conn *conn); /* it was shut: reads the end, if it had stopped reading */
void http_h1_closed(struct http_conn *conn); /* the socket is gone */
enum mg_guard_activity http_h1_activity(const struct http_conn *conn);
void http_h1_drain(struct http_conn *conn); /* graceful stop */

/* http_h2.c: sock->data is h2o's. */
void http_h2_init(struct mg_http_server *server);
void http_h2_start(struct http_conn *conn);
void http_h2_send(struct http_request *request, const struct mg_http_response *response);
/* Sets h2_activity of each connection; the bytes of bodies that are coming. */
size_t http_h2_sample(struct http_loop *loop);
void http_h2_goodbye(h2o_http2_conn_t *h2); /* GOAWAY; closes when its streams have ended */
void http_h2_drain(struct http_loop *loop); /* that to all */

#endif
