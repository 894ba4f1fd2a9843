/* The HTTP seam: everything of h2o lies behind this header, in serve/http_*.c, serve/guard.c and
 * serve/tls.c.
 *
 * One event loop a thread; each accepts on the shared listeners. The handler runs on a loop and
 * must not block; it answers at once or later, from any thread, exactly once. The guard (limits of
 * hardening.md) sits below and needs nothing from the handler. HTTP/1.1 and HTTP/2, clear or TLS
 * with ALPN; h2c upgrade off. */
#ifndef MOONGATE_HTTP_H
#define MOONGATE_HTTP_H

#include "moongate/buf.h"

struct mg_http_header {
    struct mg_span name, value; /* names in lower case */
};

/* A request; valid until it is answered (mg_http_answer), cancelled or not. */
struct mg_http_request {
    struct mg_span method;
    struct mg_span path;  /* raw, as sent, without the query */
    struct mg_span query; /* raw, behind '?'; data NULL when there is none */
    struct mg_span scheme, authority;
    struct mg_http_header *headers;
    size_t n_headers;
    struct mg_span body;
    char client[64]; /* numeric address, after --trusted-proxy */
    int version;     /* 0x101, 0x200 */
    bool from_loopback;
    bool from_admin; /* came in on an admin listener */
    int64_t started_us; /* monotonic */
    void *user;         /* the handler's own */
};
/* First header of that (lower-case) name; data NULL when absent. */
struct mg_span mg_http_header(const struct mg_http_request *request, const char *name);

struct mg_http_response {
    int status;
    const struct mg_http_header *headers;
    size_t n_headers;
    /* The first n_lined headers once more as HTTP/1 has them, "name: value" and a line end each, free of control
     * characters: for answers that are sent again and again. 0: not made. Only from inside the handler. */
    struct mg_span lines;
    size_t n_lined;
    /* The body is one of: bytes that are freed by release(release_context) when sent (release NULL:
     * copied at once); or `bytes` of a descriptor from offset, which is taken (closed when sent).
     * HEAD sends none of it, with its length. Content-Length is set by the seam. */
    struct mg_span body;
    void (*release)(void *context);
    void *release_context;
    int fd; /* -1: none */
    uint64_t fd_offset, fd_bytes;
};
/* From any thread. Copies the headers. Safe after the client went away (nothing is sent, all is
 * released), and after mg_http_stop. `release` may run before this returns, on this thread, or
 * later on the loop's. A status out of 200 to 599 is sent as 500. */
void mg_http_answer(struct mg_http_request *request, const struct mg_http_response *response);
/* `gone` is called at most once, on the loop's thread, when the client goes away before the answer
 * (HTTP/1 too). The request still has to be answered. Set from the handler, before it returns. A
 * thread that answers just then runs beside it: what `user` points to must bear that. */
void mg_http_on_gone(struct mg_http_request *request,
                     void (*gone)(struct mg_http_request *request));

typedef void mg_http_handler_f(void *context, struct mg_http_request *request);

struct mg_http_config {
    const int *listen_fds; /* clear text, listening, non-blocking */
    size_t n_listen;
    size_t n_admin; /* so many of listen_fds, the last ones, are for the operator */
    const int *tls_fds;
    size_t n_tls;
    const char *tls_cert, *tls_key;     /* PEM files; NULL with tls_fds: self-signed, made at start */
    const int *tls_files;               /* both, open for reading (borrowed); NULL: opened by their names */
    const char *const *trusted_proxies; /* CIDR, NULL-terminated, or NULL */
    unsigned threads;                   /* 0: as many as cores */
    size_t max_body;                    /* 25 MB */
    size_t max_body_unauthenticated;    /* 64 kB: of requests without Authorization */
    size_t max_buffered;                /* 512 MB: bodies of all requests together; 503 beyond */
    unsigned max_connections, max_per_address;      /* 4,000; 100 */
    unsigned handshake_ms, idle_ms, no_progress_ms; /* 5 s; 10 s; 30 s */
    mg_http_handler_f *handler;
    void *context;
};
struct mg_http_server;
/* Starts the threads. MG_E_INVALID: certificate or key. */
MG_MUST_CHECK enum mg_err mg_http_start(const struct mg_http_config *config,
                                        struct mg_http_server **out, struct mg_errmsg *err);
/* Reads certificate and key again (from tls_files, as in the configuration); the old ones stay on failure. */
MG_MUST_CHECK enum mg_err mg_http_reload(struct mg_http_server *server, const int *tls_files, struct mg_errmsg *err);
/* Graceful: no new connections, open requests get up to `ms`, then closes; joins the threads,
 * frees. */
void mg_http_stop(struct mg_http_server **server, unsigned ms);

#endif
