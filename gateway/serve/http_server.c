/* The server: threads, listeners, connections, clocks, the stop.
 *
 * Each thread has an h2o loop and a dup of every listener; who wakes first accepts, a few at a
 * time, so that load spreads. At the limit of connections, or of descriptors, a loop takes its
 * listeners out of its poll until its clock or a closed connection lets them in again: an accept
 * that fails would otherwise spin. */
#include "http_internal.h"

#include "moongate/log.h"
#include "moongate/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h> /* netinet/tcp.h has no byte counts in tcp_info */
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ACCEPTS = 4, TICK_MS = 250 };
static const char h2_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

int64_t http_now_ms(const struct http_loop *loop)
{
    return (int64_t)h2o_now(loop->ctx.loop);
}

/* --- connections --- */

static void listeners_pause(struct http_loop *loop, bool pause);

void http_conn_unref(struct http_conn *c)
{
    if (--c->refs == 0) {
        free(c->out);
        free(c);
    }
}

void http_conn_condemn(struct http_conn *c)
{
    if (!c->killed) {
        c->killed = true;
        mg_metric_add(MG_M_GUARD_CLOSED, 1);
    }
}

/* The protocol sees an end, and frees what is its own. */
void http_conn_shut(struct http_conn *c)
{
    if (c->sock && !c->shut) {
        c->shut = true;
        shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
        if (c->protocol == CONN_HTTP1) {
            http_h1_wake(c);
        }
    }
}

void http_conn_kill(struct http_conn *c)
{
    http_conn_condemn(c);
    http_conn_shut(c);
}

static void on_close(void *data)
{
    struct http_conn *c = data;
    struct http_loop *loop = c->loop;
    struct mg_http_server *server = loop->server;
    c->sock = NULL;
    if (c->protocol == CONN_HTTP1) {
        http_h1_closed(c);
    }
    if (c->counted) {
        mg_address_release(server->addresses, &c->peer);
    }
    if (c->ssl_ctx) {
        tls_put(c->ssl_ctx);
    }
    if (c->prev) {
        c->prev->next = c->next;
    } else {
        loop->conns = c->next;
    }
    if (c->next) {
        c->next->prev = c->prev;
    }
    loop->n_conns--;
    atomic_fetch_sub(&server->n_conns, 1);
    mg_metric_add(MG_M_CONNECTIONS, -1);
    http_conn_unref(c);
    if (loop->paused) {
        listeners_pause(loop, false);
    }
}

/* True: the connection may go on under the client's own address. */
static bool take_place(struct http_conn *c)
{
    mg_address_print(&c->peer, c->client, sizeof c->client);
    c->loopback = mg_address_is_loopback(&c->peer);
    if (c->trusted) {
        return true; /* each of its requests counts for the client that it is made for */
    }
    c->counted = mg_address_take(c->loop->server->addresses, &c->peer);
    return c->counted;
}

static void on_handshake(h2o_socket_t *sock, const char *err)
{
    struct http_conn *c = sock->data;
    if (err) {
        h2o_socket_close(sock);
        return;
    }
    h2o_iovec_t protocol = h2o_socket_ssl_get_selected_protocol(sock);
    if (h2o_memis(protocol.base, protocol.len, H2O_STRLIT("h2"))) {
        http_h2_start(c);
    } else {
        http_h1_start(c);
    }
}

static void start_tls(struct http_conn *c)
{
    c->protocol = CONN_TLS;
    c->ssl_ctx = tls_get(c->loop->server->tls);
    h2o_socket_ssl_handshake(c->sock, c->ssl_ctx, NULL, on_handshake);
}

/* 0: other bytes; 1: it is `text`; 2: so far. */
static int begins(const h2o_buffer_t *input, const char *text, size_t len)
{
    size_t n = input->size < len ? input->size : len;
    return memcmp(input->bytes, text, n) != 0 ? 0 : n == len ? 1 : 2;
}

/* What a trusted peer says of its client before anything else. False: more is needed, or it is closed. */
static bool read_proxy(struct http_conn *c)
{
    h2o_socket_t *sock = c->sock;
    size_t bytes;
    struct mg_address client;
    bool known;
    enum http_parse r = http_parse_proxy(sock->input->bytes, sock->input->size, &bytes, &client, &known);
    if (r == HTTP_PARSE_MORE) {
        return false;
    }
    if (r == HTTP_PARSE_BAD) {
        http_conn_condemn(c);
        h2o_socket_close(sock);
        return false;
    }
    h2o_buffer_consume(&sock->input, bytes);
    c->proxy_line_read = true;
    if (known) {
        c->peer = client;
        c->trusted = false; /* the client speaks now, and it is not the proxy */
        if (!take_place(c)) {
            http_conn_condemn(c);
            h2o_socket_close(sock);
            return false;
        }
    }
    return sock->input->size > 0;
}

/* The first bytes: a PROXY header of a trusted peer, then TLS, HTTP/2 with prior knowledge or HTTP/1.
 * Clear text on a TLS port is HTTP/1 that is sent to https. */
static void on_first_read(h2o_socket_t *sock, const char *err)
{
    struct http_conn *c = sock->data;
    if (err) {
        h2o_socket_close(sock);
        return;
    }
    if (c->trusted && !c->proxy_line_read && !read_proxy(c)) {
        return;
    }
    if (c->tls) {
        c->redirect = sock->input->bytes[0] >= 'A' &&
                      sock->input->bytes[0] <= 'Z'; /* a method, no TLS record */
        if (c->redirect) {
            c->tls = false;
            http_h1_start(c);
        } else {
            h2o_socket_read_stop(sock);
            start_tls(c);
        }
        return;
    }
    int h2 = begins(sock->input, h2_preface, sizeof h2_preface - 1);
    if (h2 == 1) {
        http_h2_start(c);
    } else if (h2 == 0) {
        http_h1_start(c);
    }
}

static void start(struct http_loop *loop, int fd, const struct sockaddr_storage *from, bool tls,
                  bool admin)
{
    struct mg_http_server *server = loop->server;
    struct http_conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->loop = loop;
    c->tls = tls;
    c->admin = admin;
    c->body.fd = -1;
    mg_guard_init(&c->guard, http_now_ms(loop));
    if (from->ss_family == AF_INET6) {
        memcpy(c->peer.bytes, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
    } else if (from->ss_family == AF_INET) {
        memset(c->peer.bytes + 10, 0xff, 2);
        memcpy(c->peer.bytes + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
    }
    for (size_t i = 0; i < server->n_trusted; i++) {
        c->trusted = c->trusted || mg_cidr_has(&server->trusted[i], &c->peer);
    }
    if (!take_place(c)) {
        mg_metric_add(MG_M_GUARD_CLOSED, 1);
        close(fd);
        free(c);
        return;
    }
    int on = 1;
    unsigned timeout_ms = server->clocks.no_progress_ms;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
    c->sock = h2o_evloop_socket_create(loop->ctx.loop, fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    c->sock->data = c;
    c->sock->on_close.cb = on_close;
    c->sock->on_close.data = c;
    c->refs = 1;
    c->next = loop->conns;
    if (loop->conns) {
        loop->conns->prev = c;
    }
    loop->conns = c;
    loop->n_conns++;
    atomic_fetch_add(&server->n_conns, 1);
    mg_metric_add(MG_M_CONNECTIONS, 1);
    c->protocol = CONN_PREFACE;
    h2o_socket_read_start(c->sock, on_first_read);
}

/* --- listeners --- */

static void arm_tick(struct http_loop *loop)
{
    if (!h2o_timeout_is_linked(&loop->tick_entry)) {
        h2o_timeout_link(loop->ctx.loop, &loop->tick_timeout, &loop->tick_entry);
    }
}

static void on_accept(h2o_socket_t *listener, const char *err)
{
    struct http_loop *loop = listener->data;
    (void)err;
    size_t index = 0;
    while (loop->listeners[index] != listener) {
        index++;
    }
    const struct mg_http_config *config = &loop->server->config;
    bool tls = index >= config->n_listen;
    bool admin = !tls && index >= config->n_listen - config->n_admin;
    for (int i = 0; i < ACCEPTS; i++) {
        if (atomic_load(&loop->server->n_conns) >= loop->server->config.max_connections) {
            listeners_pause(loop, true);
            break;
        }
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        int fd = accept4(h2o_socket_get_fd(listener), (struct sockaddr *)&from, &len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            start(loop, fd, &from, tls, admin);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            mg_log_warn("no connection can be accepted just now: %s", strerror(errno));
            listeners_pause(loop, true);
            break;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            break;
        }
    }
    arm_tick(loop);
}

static void listeners_pause(struct http_loop *loop, bool pause)
{
    if (loop->stopping || loop->paused == pause) {
        return;
    }
    loop->paused = pause;
    for (size_t i = 0; i < loop->n_listeners; i++) {
        if (pause) {
            h2o_socket_read_stop(loop->listeners[i]);
        } else {
            h2o_socket_read_start(loop->listeners[i], on_accept);
        }
    }
}

static void listeners_close(struct http_loop *loop)
{
    for (size_t i = 0; i < loop->n_listeners; i++) {
        h2o_socket_read_stop(loop->listeners[i]);
        h2o_socket_close(loop->listeners[i]);
    }
    loop->n_listeners = 0;
}

/* --- clocks --- */

static enum mg_guard_activity activity_of(const struct http_conn *c)
{
    switch (c->protocol) {
    case CONN_PREFACE:
        /* An open connection that has not said anything is idle; half a first line is a handshake.
         */
        return c->sock->input->size > 0 ? MG_GUARD_HANDSHAKE
               : c->tls                 ? MG_GUARD_HANDSHAKE
                                        : MG_GUARD_IDLE;
    case CONN_TLS:
        return MG_GUARD_HANDSHAKE;
    case CONN_HTTP1:
        return http_h1_activity(c);
    case CONN_HTTP2:
        break;
    }
    /* h2o has freed its part of a connection that was not seen in this tick: what is left says
     * goodbye by TLS. */
    return c->h2_sampled == c->loop->tick ? c->h2_activity : MG_GUARD_CLOSING;
}

static uint64_t bytes_moved(const struct http_conn *c, enum mg_guard_activity activity)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    if ((activity != MG_GUARD_RECEIVING && activity != MG_GUARD_SENDING) ||
        getsockopt(h2o_socket_get_fd(c->sock), IPPROTO_TCP, TCP_INFO, &info, &len) != 0) {
        return 0;
    }
    /* The kernel's own counts: what h2o hands us has gaps (half frames, TLS records). */
    return activity == MG_GUARD_SENDING ? info.tcpi_bytes_acked : info.tcpi_bytes_received;
}

bool http_is_full(struct mg_http_server *server)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < server->n_loops; i++) {
        bytes += atomic_load_explicit(&server->loops[i]->kept, memory_order_relaxed) +
                 atomic_load_explicit(&server->loops[i]->incoming, memory_order_relaxed);
    }
    return bytes > server->config.max_buffered;
}

static void on_tick(h2o_timeout_entry_t *entry)
{
    struct http_loop *loop = H2O_STRUCT_FROM_MEMBER(struct http_loop, tick_entry, entry);
    int64_t now = http_now_ms(loop);
    loop->tick++;
    size_t incoming = http_h2_sample(loop);
    struct http_conn *next;
    for (struct http_conn *c = loop->conns; c; c = next) {
        next = c->next; /* a kill only shuts down: nothing is freed under us */
        enum mg_guard_activity activity = activity_of(c);
        bool fine = mg_guard_tick(&c->guard, &loop->server->clocks, now, activity,
                                  bytes_moved(c, activity));
        incoming += c->sock->input->size;
        if (!fine && activity == MG_GUARD_IDLE) { /* an idle client did no wrong */
            if (c->protocol == CONN_HTTP2) {
                http_h2_goodbye(c->h2);
            } else {
                http_conn_shut(c);
            }
        } else if (!fine) {
            http_conn_kill(c);
        }
    }
    atomic_store_explicit(&loop->incoming, incoming, memory_order_relaxed);
    if (loop->paused &&
        atomic_load(&loop->server->n_conns) < loop->server->config.max_connections) {
        listeners_pause(loop, false);
    }
    if (loop->conns || loop->paused || loop->stopping) {
        arm_tick(loop);
    }
}

/* --- loops --- */

static void begin_stop(struct http_loop *loop, int ms)
{
    listeners_close(loop);
    loop->stopping = true;
    loop->stop_at_ms = http_now_ms(loop) + ms;
    struct http_conn *next;
    for (struct http_conn *c = loop->conns; c; c = next) {
        next = c->next;
        if (c->protocol == CONN_HTTP1) {
            http_h1_drain(c);
        } else if (c->protocol != CONN_HTTP2) {
            http_conn_shut(c);
        }
    }
    http_h2_drain(loop);
    arm_tick(loop);
}

/* Everything of h2o's that belongs to a loop is made and freed on the loop's own thread: sockets
 * take their buffers from thread-local lists. */
static void loop_open(struct http_loop *loop)
{
    struct mg_http_server *server = loop->server;
    h2o_context_init(&loop->ctx, h2o_evloop_create(), &server->h2o);
    loop->accept_ctx = (h2o_accept_ctx_t){.ctx = &loop->ctx, .hosts = server->h2o.hosts};
    h2o_multithread_register_receiver(loop->ctx.queue, &loop->answers, http_request_answers);
    unsigned tick = TICK_MS, shortest = server->clocks.handshake_ms;
    shortest = server->clocks.idle_ms < shortest ? server->clocks.idle_ms : shortest;
    shortest = server->clocks.no_progress_ms < shortest ? server->clocks.no_progress_ms : shortest;
    tick = shortest / 4 < tick ? shortest / 4 + 1 : tick;
    h2o_timeout_init(loop->ctx.loop, &loop->tick_timeout, tick);
    loop->tick_entry.cb = on_tick;
    for (size_t i = 0; i < loop->n_listeners; i++) {
        loop->listeners[i] =
            h2o_evloop_socket_create(loop->ctx.loop, loop->fds[i], H2O_SOCKET_FLAG_DONT_READ);
        loop->fds[i] = -1;
        loop->listeners[i]->data = loop;
        h2o_socket_read_start(loop->listeners[i], on_accept);
    }
}

static void loop_run(struct http_loop *loop)
{
    bool shut = false;
    for (;;) {
        int ms = atomic_load(&loop->stop_ms);
        if (ms >= 0 && !loop->stopping) {
            begin_stop(loop, ms);
        }
        if (loop->stopping) {
            int64_t left = loop->stop_at_ms - http_now_ms(loop);
            if (!loop->conns) {
                break;
            }
            if (left <= 0 && !shut) {
                shut = true;
                for (struct http_conn *c = loop->conns; c; c = c->next) {
                    http_conn_shut(c);
                }
            }
        }
        if (h2o_evloop_run(loop->ctx.loop, loop->stopping ? 20 : INT32_MAX) != 0 &&
            errno != EINTR) {
            mg_log_error("the event loop cannot wait: %s", strerror(errno));
            abort(); /* the master starts another front */
        }
    }
}

static void loop_close(struct http_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->stopped = true;
    pthread_mutex_unlock(&loop->lock);
    http_request_answers(&loop->answers, &loop->answers._messages);
    h2o_multithread_unregister_receiver(loop->ctx.queue, &loop->answers);
    h2o_timeout_unlink(&loop->tick_entry);
    h2o_timeout_dispose(loop->ctx.loop, &loop->tick_timeout);
    h2o_multithread_queue_t *queue = loop->ctx.queue;
    h2o_loop_t *evloop = loop->ctx.loop;
    h2o_context_dispose(&loop->ctx);
    free(queue); /* 2.2.5 forgets it, and the loop's epoll descriptor too */
    h2o_evloop_destroy(evloop);
    while (loop->free_requests) {
        struct http_request *r = loop->free_requests;
        loop->free_requests = r->next_free;
        free(r->text);
        free(r);
    }
}

static void *loop_main(void *arg)
{
    struct http_loop *loop = arg;
    loop_open(loop);
    sem_post(&loop->server->ready);
    loop_run(loop);
    loop_close(loop);
    return NULL;
}

static void loop_free(struct http_loop *loop)
{
    for (size_t i = 0; loop->fds && i < loop->n_listeners; i++) {
        if (loop->fds[i] >= 0) {
            close(loop->fds[i]);
        }
    }
    free(loop->fds);
    loop->fds = NULL;
    free(loop->listeners);
    loop->listeners = NULL;
    http_loop_unref(loop);
}

static struct http_loop *loop_new(struct mg_http_server *server)
{
    const struct mg_http_config *config = &server->config;
    size_t n = config->n_listen + config->n_tls;
    struct http_loop *loop = calloc(1, sizeof *loop);
    if (!loop) {
        return NULL;
    }
    loop->server = server;
    atomic_init(&loop->refs, 1);
    atomic_init(&loop->stop_ms, -1);
    pthread_mutex_init(&loop->lock, NULL);
    loop->listeners = calloc(n ? n : 1, sizeof *loop->listeners);
    loop->fds = calloc(n ? n : 1, sizeof *loop->fds);
    bool ok = loop->listeners && loop->fds;
    while (ok && loop->n_listeners < n) {
        size_t i = loop->n_listeners;
        int fd =
            i < config->n_listen ? config->listen_fds[i] : config->tls_fds[i - config->n_listen];
        loop->fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        ok = loop->fds[i] >= 0;
        loop->n_listeners += ok;
    }
    if (!ok) {
        loop_free(loop);
        return NULL;
    }
    return loop;
}

/* --- the server --- */

static void server_free(struct mg_http_server *server)
{
    if (server->h2o.hosts) {
        h2o_config_dispose(&server->h2o);
    }
    tls_close(&server->tls);
    mg_address_table_free(&server->addresses);
    free(server->trusted);
    free(server->loops);
    sem_destroy(&server->ready);
    free((void *)(uintptr_t)server->config.listen_fds);
    free((void *)(uintptr_t)server->config.tls_fds);
    free(server);
}

static const int *copy_fds(const int *fds, size_t n)
{
    int *copy = malloc((n ? n : 1) * sizeof *copy);
    if (copy && n) {
        memcpy(copy, fds, n * sizeof *copy);
    }
    return copy;
}

static void or_default(unsigned *value, unsigned fallback)
{
    *value = *value ? *value : fallback;
}

static enum mg_err configure(struct mg_http_server *server, const struct mg_http_config *config,
                             struct mg_errmsg *err)
{
    struct mg_http_config *own = &server->config;
    *own = *config;
    own->listen_fds = copy_fds(config->listen_fds, config->n_listen);
    own->tls_fds = copy_fds(config->tls_fds, config->n_tls);
    own->tls_cert = own->tls_key = NULL;
    own->trusted_proxies = NULL;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    or_default(&own->threads, cores > 0 ? (unsigned)cores : 1);
    or_default(&own->max_connections, 4000);
    or_default(&own->max_per_address, 100);
    own->max_body = own->max_body ? own->max_body : 25u << 20;
    own->max_body_unauthenticated =
        own->max_body_unauthenticated ? own->max_body_unauthenticated : 64u << 10;
    own->max_buffered = own->max_buffered ? own->max_buffered : (size_t)512 << 20;
    server->clocks =
        (struct mg_guard_clocks){config->handshake_ms, config->idle_ms, config->no_progress_ms};
    or_default(&server->clocks.handshake_ms, 5000);
    or_default(&server->clocks.idle_ms, 10000);
    or_default(&server->clocks.no_progress_ms, 30000);
    server->addresses = mg_address_table_new(own->max_per_address);
    server->loops = calloc(own->threads, sizeof(struct http_loop *));
    if (!own->listen_fds || !own->tls_fds || !server->addresses || !server->loops) {
        return mg_err_set(err, MG_E_NOMEM, "no memory for the HTTP server");
    }
    size_t n = 0;
    while (config->trusted_proxies && config->trusted_proxies[n]) {
        n++;
    }
    server->trusted = calloc(n ? n : 1, sizeof *server->trusted);
    if (!server->trusted) {
        return mg_err_set(err, MG_E_NOMEM, "no memory for the HTTP server");
    }
    for (; server->n_trusted < n; server->n_trusted++) {
        const char *text = config->trusted_proxies[server->n_trusted];
        if (!mg_cidr_parse(text, &server->trusted[server->n_trusted])) {
            return mg_err_set(err, MG_E_INVALID,
                              "trusted-proxy \"%s\" is not an address or CIDR, like 10.0.0.0/8",
                              text);
        }
    }
    if (config->n_tls > 0) {
        return tls_open(config->tls_cert, config->tls_key, config->tls_files, &server->tls, err);
    }
    return MG_OK;
}

enum mg_err mg_http_start(const struct mg_http_config *config, struct mg_http_server **out,
                          struct mg_errmsg *err)
{
    struct mg_http_server *server = calloc(1, sizeof *server);
    if (!server) {
        return mg_err_set(err, MG_E_NOMEM, "no memory for the HTTP server");
    }
    sem_init(&server->ready, 0, 0);
    enum mg_err e = configure(server, config, err);
    if (e != MG_OK) {
        server_free(server);
        return e;
    }
    signal(SIGPIPE,
           SIG_IGN); /* a write to a connection that was shut down is an error, not an end */
    h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX; /* bodies stay in memory, never in /tmp */
    http_h2_init(server);
    for (unsigned i = 0; i < server->config.threads; i++) {
        server->loops[i] = loop_new(server);
        if (!server->loops[i]) {
            e = mg_err_set(err, MG_E_IO, "cannot listen: %s", strerror(errno));
            break;
        }
        server->n_loops++;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the thread that started us */
    for (unsigned i = 0; e == MG_OK && i < server->n_loops; i++) {
        int errnum = pthread_create(&server->loops[i]->thread, NULL, loop_main, server->loops[i]);
        server->loops[i]->started = errnum == 0;
        if (errnum == 0) {
            while (sem_wait(&server->ready) != 0) {
            }
        } else {
            e = mg_err_set(err, MG_E_IO, "cannot start a thread: %s", strerror(errnum));
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e != MG_OK) {
        mg_http_stop(&server, 0);
        return e;
    }
    *out = server;
    return MG_OK;
}

enum mg_err mg_http_reload(struct mg_http_server *server, const int *tls_files, struct mg_errmsg *err)
{
    return server->tls ? tls_reload(server->tls, tls_files, err) : MG_OK;
}

void mg_http_stop(struct mg_http_server **server_ref, unsigned ms)
{
    struct mg_http_server *server = *server_ref;
    if (!server) {
        return;
    }
    *server_ref = NULL;
    for (unsigned i = 0; i < server->n_loops; i++) {
        struct http_loop *loop = server->loops[i];
        if (loop->started) {
            pthread_mutex_lock(&loop->lock); /* it may wake and close before the message is out */
            atomic_store(&loop->stop_ms, ms > INT32_MAX ? INT32_MAX : (int)ms);
            h2o_multithread_send_message(&loop->answers, NULL);
            pthread_mutex_unlock(&loop->lock);
        }
    }
    for (unsigned i = 0; i < server->n_loops; i++) {
        if (server->loops[i]->started) {
            pthread_join(server->loops[i]->thread, NULL);
        }
    }
    for (unsigned i = 0; i < server->n_loops; i++) {
        loop_free(server->loops[i]);
    }
    server_free(server);
}
