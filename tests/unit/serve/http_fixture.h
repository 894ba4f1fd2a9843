/* A server of the HTTP seam on ephemeral ports with a small handler, and clients that speak bytes.
 *
 *   /echo    the body, or the path when there is none
 *   /info    what the request looks like to the handler
 *   /hold    kept until the test answers it (take_held)
 *   /thread  answered by one of the answering threads
 *   /big     8 MB of memory with a release
 *   /file    a descriptor: 1 MB; /short: one that is shorter than was said */
#ifndef MOONGATE_TESTS_HTTP_FIXTURE_H
#define MOONGATE_TESTS_HTTP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "moongate/http.h"
#include "moongate/log.h"
#include "moongate/metrics.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BIG = 8 << 20, FILE_BYTES = 1 << 20, MAX_HELD = 512 };

static struct fixture {
    struct mg_http_server *server;
    int clear_fd, tls_fd, clear_port, tls_port;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct mg_http_request *held[MAX_HELD];
    size_t n_held, n_gone, n_released;
    char *big;
    int file;
    pthread_t answerers[2];
    struct mg_http_request *queue[4096];
    size_t n_queue;
    bool ending;
} fx = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void count(size_t *counter)
{
    pthread_mutex_lock(&fx.lock);
    (*counter)++;
    pthread_cond_broadcast(&fx.changed);
    pthread_mutex_unlock(&fx.lock);
}

/* Until *counter is `n`; the alarm of the test program ends a wait that has no end. */
static void wait_for(const size_t *counter, size_t n)
{
    pthread_mutex_lock(&fx.lock);
    while (*counter < n) {
        pthread_cond_wait(&fx.changed, &fx.lock);
    }
    pthread_mutex_unlock(&fx.lock);
}

static void on_gone(struct mg_http_request *request)
{
    (void)request;
    count(&fx.n_gone);
}

static void on_release(void *context)
{
    (void)context;
    count(&fx.n_released);
}

static void answer_text(struct mg_http_request *request, int status, struct mg_span text)
{
    struct mg_http_header type = {MG_SPAN("content-type"), MG_SPAN("text/plain")};
    struct mg_http_response response = {
        .status = status, .headers = &type, .n_headers = 1, .body = text, .fd = -1};
    mg_http_answer(request, &response);
}

static struct mg_http_request *take_held(void)
{
    wait_for(&fx.n_held, 1);
    pthread_mutex_lock(&fx.lock);
    struct mg_http_request *request = fx.held[--fx.n_held];
    pthread_mutex_unlock(&fx.lock);
    return request;
}

static void answer_info(struct mg_http_request *r)
{
    char text[1024];
    int n = snprintf(text, sizeof text, "%.*s|%.*s|%.*s|%.*s|%.*s|%s|%d|%x", (int)r->method.len,
                     r->method.data, (int)r->path.len, r->path.data, (int)r->query.len,
                     r->query.data ? r->query.data : "", (int)r->scheme.len, r->scheme.data,
                     (int)r->authority.len, r->authority.data ? r->authority.data : "", r->client,
                     r->from_loopback, (unsigned)r->version);
    answer_text(r, 200, (struct mg_span){text, (size_t)n});
}

static void handle(void *context, struct mg_http_request *r)
{
    (void)context;
    struct mg_http_response response = {.status = 200, .fd = -1};
    if (mg_span_is(r->path, "/info")) {
        answer_info(r);
        return;
    }
    if (mg_span_is(r->path, "/hold") || mg_span_is(r->path, "/thread")) {
        bool hold = mg_span_is(r->path, "/hold");
        mg_http_on_gone(r, on_gone);
        pthread_mutex_lock(&fx.lock);
        if (hold) {
            assert(fx.n_held < MAX_HELD);
            fx.held[fx.n_held++] = r;
        } else {
            fx.queue[fx.n_queue++] = r;
        }
        pthread_cond_broadcast(&fx.changed);
        pthread_mutex_unlock(&fx.lock);
        return;
    }
    if (mg_span_is(r->path, "/big")) {
        response.body = (struct mg_span){fx.big, BIG};
        response.release = on_release;
    } else if (mg_span_is(r->path, "/file") || mg_span_is(r->path, "/short")) {
        response.fd = fcntl(fx.file, F_DUPFD_CLOEXEC, 3);
        response.fd_bytes = FILE_BYTES + (mg_span_is(r->path, "/short") ? 1000 : 0);
    } else if (mg_span_is(r->path, "/offset")) {
        response.fd = fcntl(fx.file, F_DUPFD_CLOEXEC, 3);
        response.fd_offset = FILE_BYTES - 10;
        response.fd_bytes = 10;
    } else if (mg_span_is(r->path, "/304")) {
        response.status = 304;
    } else if (mg_span_is(r->path, "/split")) {
        struct mg_http_header bad = {MG_SPAN("x-test"), MG_SPAN("a\r\nx-evil: b")};
        response.headers = &bad;
        response.n_headers = 1;
        mg_http_answer(r, &response);
        return;
    } else {
        answer_text(r, 200, r->body.len ? r->body : r->path);
        return;
    }
    mg_http_answer(r, &response);
}

static void *answerer(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&fx.lock);
    for (;;) {
        while (fx.n_queue == 0 && !fx.ending) {
            pthread_cond_wait(&fx.changed, &fx.lock);
        }
        if (fx.n_queue == 0) {
            break;
        }
        struct mg_http_request *request = fx.queue[--fx.n_queue];
        pthread_mutex_unlock(&fx.lock);
        answer_text(request, 200, request->path);
        pthread_mutex_lock(&fx.lock);
    }
    pthread_mutex_unlock(&fx.lock);
    return NULL;
}

static int listen_on(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 512), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* Fields of `config` that are not zero win over the fixture's. */
static void start_server(struct mg_http_config config)
{
    fx.n_held = fx.n_gone = fx.n_released = fx.n_queue = 0;
    fx.ending = false;
    fx.clear_fd = listen_on(&fx.clear_port);
    fx.tls_fd = listen_on(&fx.tls_port);
    fx.big = malloc(BIG);
    assert_non_null(fx.big);
    for (size_t i = 0; i < BIG; i++) {
        fx.big[i] = (char)(i * 7 + i / 4096);
    }
    fx.file = memfd_create("file", MFD_CLOEXEC);
    assert_int_equal(write(fx.file, fx.big, FILE_BYTES), FILE_BYTES);
    config.listen_fds = &fx.clear_fd;
    config.n_listen = 1;
    config.tls_fds = &fx.tls_fd;
    config.n_tls = 1;
    config.threads = config.threads ? config.threads : 2;
    config.handler = handle;
    struct mg_errmsg err = {""};
    if (mg_http_start(&config, &fx.server, &err) != MG_OK) {
        fail_msg("the server does not start: %s", err.text);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&fx.answerers[i], NULL, answerer, NULL), 0);
    }
}

static void stop_server(void)
{
    pthread_mutex_lock(&fx.lock);
    fx.ending = true;
    pthread_cond_broadcast(&fx.changed);
    pthread_mutex_unlock(&fx.lock);
    for (size_t i = 0; i < 2; i++) {
        pthread_join(fx.answerers[i], NULL);
    }
    mg_http_stop(&fx.server, 0);
    while (fx.n_held) {
        answer_text(take_held(), 200, MG_SPAN("late"));
    }
    close(fx.clear_fd);
    close(fx.tls_fd);
    close(fx.file);
    free(fx.big);
}

static int connect_to(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* False: the server has closed. */
static bool send_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool send_text(int fd, const char *text)
{
    return send_all(fd, text, strlen(text));
}

/* To the end of the connection, or until `full` is; terminated. */
__attribute__((unused)) static size_t recv_all(int fd, char *out, size_t full)
{
    size_t len = 0;
    while (len < full) {
        ssize_t n = recv(fd, out + len, full - len, 0);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    out[len] = '\0';
    return len;
}

/* One HTTP/1 response with its body into `out`; its length, 0 when the connection ended. */
static size_t recv_response(int fd, char *out, size_t size)
{
    size_t len = 0, need = 0;
    out[0] = '\0';
    while (need == 0 || len < need) {
        assert_true((need ? need : len + 1) < size);
        ssize_t n = recv(fd, out + len, (need ? need - len : 1), 0);
        if (n <= 0) {
            return 0;
        }
        len += (size_t)n;
        out[len] = '\0';
        char *end = need ? NULL : strstr(out, "\r\n\r\n");
        if (end) {
            char *length = strstr(out, "content-length: ");
            need = (size_t)(end + 4 - out) + (length ? strtoul(length + 16, NULL, 10) : 0);
            if (len == need) {
                break;
            }
        }
    }
    return len;
}

/* A good client: the server still answers. */
__attribute__((unused)) static void assert_well(void)
{
    char out[2048];
    int fd = connect_to(fx.clear_port);
    assert_true(send_text(fd, "GET /fine HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(recv_response(fd, out, sizeof out) > 0);
    assert_non_null(strstr(out, "/fine"));
    close(fd);
}

/* libh2o keeps recycled chunks in thread-local lists that it does not free. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libh2o-evloop\n";
}

#endif
