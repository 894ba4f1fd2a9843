/* An HTTP server for the tests of the fetcher, in a thread: a table of paths, each with a way to behave, and counters
 * of what was asked. With a certificate of its own making it speaks TLS too. One request a connection. */
#ifndef TESTS_FETCH_RANGE_SERVER_H
#define TESTS_FETCH_RANGE_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum behaviour {
    RANGES,       /* as a good server does */
    WHOLE,        /* no ranges: 200 with Content-Length */
    STREAM,       /* no ranges, no length, no ETag */
    DATED,        /* ranges, Last-Modified only */
    NO_VALIDATOR, /* ranges, nothing that names a version */
    STATUS,       /* only a status */
    REDIRECT,     /* to .text */
    COMPRESSED,   /* says so */
    WRONG_RANGE,  /* another range than asked for */
    SHORT,        /* sends half of what it promises */
    FICKLE,       /* another ETag each time */
};
struct resource {
    const char *path;
    enum behaviour how;
    uint64_t size;
    int status;
    char text[256];
    /* guarded by the lock */
    int version;
    int requests, conditional; /* all; those answered with 304 */
    uint64_t sent;             /* bytes of bodies */
    bool held;                 /* wait until it is released */
    char last_range[64];
};

struct server {
    int listener, port;
    struct resource *resources;
    size_t n;
    SSL_CTX *tls;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int open; /* connections */
    char ca_file[64];
};

static inline uint8_t content_at(uint64_t i, int version) { return (uint8_t)(i * 37 + i / 253 + (uint64_t)version * 5); }

struct connection {
    struct server *server;
    int fd;
    SSL *ssl;
};

static inline void put(struct connection *c, const void *data, size_t n)
{
    const char *at = data;
    while (n) {
        ssize_t done = c->ssl ? SSL_write(c->ssl, at, (int)n) : send(c->fd, at, n, MSG_NOSIGNAL);
        if (done <= 0)
            return;
        at += done;
        n -= (size_t)done;
    }
}

static inline void put_content(struct connection *c, uint64_t from, uint64_t to, int version)
{
    static const size_t piece = 16384;
    uint8_t *buffer = malloc(piece);
    while (from < to) {
        size_t n = to - from < piece ? (size_t)(to - from) : piece;
        for (size_t i = 0; i < n; i++)
            buffer[i] = content_at(from + i, version);
        put(c, buffer, n);
        from += n;
    }
    free(buffer);
}

static inline void respond(struct connection *c, const char *request)
{
    struct server *server = c->server;
    char path[128] = "", head[1024], etag[64], condition[64] = "";
    unsigned long long from = 0, to = UINT64_MAX >> 1;
    sscanf(request, "GET %127s", path);
    const char *range = strcasestr(request, "\r\nRange: bytes=");
    if (range)
        sscanf(range + 15, "%llu-%llu", &from, &to);
    const char *match = strcasestr(request, "\r\nIf-None-Match: ");
    if (match)
        sscanf(match + 17, "%63[^\r]", condition);
    struct resource *r = NULL;
    for (size_t i = 0; i < server->n; i++)
        if (strcmp(server->resources[i].path, path) == 0)
            r = &server->resources[i];
    if (!r) {
        put(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", 67);
        return;
    }
    pthread_mutex_lock(&server->lock);
    r->requests++;
    snprintf(r->last_range, sizeof r->last_range, "%llu-%llu", from, to);
    pthread_cond_broadcast(&server->changed);
    while (r->held)
        pthread_cond_wait(&server->changed, &server->lock);
    if (r->how == FICKLE)
        r->version++;
    int version = r->version;
    pthread_mutex_unlock(&server->lock);
    snprintf(etag, sizeof etag, "\"v%d\"", version);
    uint64_t size = r->size, end = to + 1 < size ? to + 1 : size;
    int n = 0;
#define HEAD(...) n += snprintf(head + n, sizeof head - (size_t)n, __VA_ARGS__)
    if (r->how == STATUS || r->how == REDIRECT) {
        HEAD("HTTP/1.1 %d X\r\nContent-Length: 5\r\n", r->status);
        if (r->how == REDIRECT)
            HEAD("Location: %s\r\n", r->text);
        HEAD("Connection: close\r\n\r\nerror");
        put(c, head, (size_t)n);
        return;
    }
    if (strcmp(condition, etag) == 0 && (r->how == RANGES || r->how == WHOLE)) {
        HEAD("HTTP/1.1 304 Not Modified\r\nETag: %s\r\nConnection: close\r\n\r\n", etag);
        pthread_mutex_lock(&server->lock);
        r->conditional++;
        pthread_mutex_unlock(&server->lock);
        put(c, head, (size_t)n);
        return;
    }
    bool partial = range && r->how != WHOLE && r->how != STREAM;
    if (partial && from >= size) {
        HEAD("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */%llu\r\nContent-Length: 0\r\n"
             "ETag: %s\r\nConnection: close\r\n\r\n",
             (unsigned long long)size, etag);
        put(c, head, (size_t)n);
        return;
    }
    if (!partial) {
        from = 0;
        end = size;
    }
    uint64_t said = r->how == WRONG_RANGE ? from + 1 : from;
    HEAD("HTTP/1.1 %s\r\nConnection: close\r\n", partial ? "206 Partial Content" : "200 OK");
    if (partial)
        HEAD("Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)said, (unsigned long long)end - 1,
             (unsigned long long)size);
    if (r->how != STREAM)
        HEAD("Content-Length: %llu\r\n", (unsigned long long)(end - from));
    if (r->how == DATED)
        HEAD("Last-Modified: Mon, 02 Nov 2020 10:00:%02d GMT\r\n", version % 60);
    else if (r->how != STREAM && r->how != NO_VALIDATOR)
        HEAD("ETag: %s\r\n", etag);
    if (r->how == COMPRESSED)
        HEAD("Content-Encoding: gzip\r\n");
    HEAD("\r\n");
#undef HEAD
    pthread_mutex_lock(&server->lock);
    r->sent += end - from;
    pthread_mutex_unlock(&server->lock);
    put(c, head, (size_t)n);
    put_content(c, from, r->how == SHORT ? from + (end - from) / 2 : end, version);
}

static inline void *serve_one(void *context)
{
    struct connection *c = context;
    struct server *server = c->server;
    char request[4096];
    size_t n = 0;
    bool ready = !c->ssl || SSL_accept(c->ssl) == 1;
    while (ready && n < sizeof request - 1) {
        ssize_t got = c->ssl ? SSL_read(c->ssl, request + n, (int)(sizeof request - 1 - n))
                             : recv(c->fd, request + n, sizeof request - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        request[n] = '\0';
        if (strstr(request, "\r\n\r\n")) {
            respond(c, request);
            break;
        }
    }
    if (c->ssl) {
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    close(c->fd);
    free(c);
    pthread_mutex_lock(&server->lock);
    server->open--;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

static inline void *serve_all(void *context)
{
    struct server *server = context;
    for (;;) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            return NULL;
        struct connection *c = calloc(1, sizeof *c);
        *c = (struct connection){.server = server, .fd = fd, .ssl = server->tls ? SSL_new(server->tls) : NULL};
        if (c->ssl)
            SSL_set_fd(c->ssl, fd);
        pthread_mutex_lock(&server->lock);
        server->open++;
        pthread_mutex_unlock(&server->lock);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, serve_one, c), 0);
        pthread_detach(thread);
    }
}

/* A self-signed certificate for 127.0.0.1, also written to ca_file. */
static inline void make_certificate(struct server *server)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(cert, san, -1);
    X509_EXTENSION_free(san);
    X509_sign(cert, key, EVP_sha256());
    server->tls = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(server->tls, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(server->tls, key), 1);
    snprintf(server->ca_file, sizeof server->ca_file, "/tmp/mg_test_ca_XXXXXX");
    int fd = mkstemp(server->ca_file);
    FILE *file = fdopen(fd, "w");
    assert_int_equal(PEM_write_X509(file, cert), 1);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static inline void server_start(struct server *server, struct resource *resources, size_t n, bool tls)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    *server = (struct server){.resources = resources, .n = n};
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    if (tls)
        make_certificate(server);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server->listener, 64), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, serve_all, server), 0);
}

static inline void server_stop(struct server *server)
{
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
    pthread_mutex_lock(&server->lock);
    while (server->open)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
    if (server->tls) {
        SSL_CTX_free(server->tls);
        unlink(server->ca_file);
    }
}

static inline void server_set(struct server *server, struct resource *r, int version, bool held)
{
    pthread_mutex_lock(&server->lock);
    r->version = version;
    r->held = held;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

#endif
