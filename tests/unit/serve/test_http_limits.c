/* Clocks, counts and addresses of the HTTP seam. The clocks are set short; each test waits for what
 * happens, not for a time. */
#include "http2_client.h"

#include <sys/resource.h>

static int teardown(void **state)
{
    (void)state;
    stop_server();
    return 0;
}
static int setup_short(void **state)
{
    (void)state;
    start_server(
        (struct mg_http_config){.handshake_ms = 100, .idle_ms = 200, .no_progress_ms = 200});
    return 0;
}

/* True when the server has ended the connection (with or without a word). */
static bool ends(int fd)
{
    char out[4096];
    ssize_t n;
    while ((n = recv(fd, out, sizeof out, 0)) > 0) {
    }
    return n == 0 || errno == ECONNRESET;
}

/* Clients that begin and do not go on. */
static void test_stalled(void **state)
{
    (void)state;
    static const struct {
        bool tls;
        const char *bytes, *why;
    } rows[] = {
        {false, "", "nothing is said"},
        {false, "GET / HT", "half a head"},
        {false, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", "half a body"},
        {false, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
         "half a chunk"},
        {false, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "idle after an answer"},
        {false, "PRI * HTTP/2.0", "half a preface"},
        {false, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "a preface without settings"},
        {true, "", "no TLS hello"},
        {true, "\x16\x03\x01\x02", "half a TLS hello"},
        {true, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "clear text to TLS"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = connect_to(rows[i].tls ? fx.tls_port : fx.clear_port);
        if (!send_text(fd, rows[i].bytes) || !ends(fd)) {
            fail_msg("%s: the connection stays", rows[i].why);
        }
        close(fd);
    }
    /* HTTP/2: a body that stalls, and PINGs that only keep the connection. */
    int fd = h2_connect();
    struct mg_buf out, block;
    mg_buf_init(&out, 0);
    mg_buf_init(&block, 0);
    put_request(&block, "POST", "/");
    put_frame(&out, F_HEADERS, END_HEADERS, 1, block.data, block.len);
    put_frame(&out, F_DATA, 0, 1, "abc", 3);
    assert_true(send_all(fd, out.data, out.len));
    assert_true(ends(fd));
    close(fd);
    mg_buf_fini(&out);
    mg_buf_fini(&block);
    assert_well();
}

/* A byte whenever the server lets us: bytes come, but not a request. */
static void test_dribble(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "GET / HTTP/1.1\r\nHost: x\r\nA: ",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        int fd = connect_to(fx.clear_port);
        assert_true(send_text(fd, heads[i]));
        struct pollfd ended = {.fd = fd, .events = POLLIN | POLLRDHUP};
        int sent = 0;
        while (poll(&ended, 1, 20) == 0 && send_all(fd, "x", 1)) {
            sent++;
        }
        assert_true(sent < 3000);
        close(fd);
    }
    assert_well();
}

/* A client that asks for much and reads nothing: the bytes are released, the connection ends. */
static void test_never_reading(void **state)
{
    (void)state;
    int fds[8];
    for (size_t i = 0; i < 8; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int small = 4096;
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)fx.clear_port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        assert_int_equal(connect(fds[i], (struct sockaddr *)&address, sizeof address), 0);
        struct mg_buf out;
        mg_buf_init(&out, 0);
        if (i % 2) {
            mg_buf_str(&out, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
        } else {
            put_preface(&out); /* and no window beyond the first 64 kB */
            put_get(&out, 1, "/big");
        }
        assert_true(send_all(fds[i], out.data, out.len));
        mg_buf_fini(&out);
    }
    wait_for(&fx.n_released, 8);
    for (size_t i = 0; i < 8; i++) {
        close(fds[i]);
    }
    assert_well();
}

/* A job that works is not idle: its client waits as long as it takes. */
static void test_waiting(void **state)
{
    (void)state;
    char out[1024];
    int idle = connect_to(fx.clear_port), h1 = connect_to(fx.clear_port), h2 = h2_connect();
    struct mg_buf get;
    mg_buf_init(&get, 0);
    put_get(&get, 1, "/hold");
    assert_true(send_text(h1, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(send_all(h2, get.data, get.len));
    wait_for(&fx.n_held, 2);
    assert_true(ends(idle)); /* the clock has run out for one that does nothing */
    int again = connect_to(fx.clear_port);
    assert_true(ends(again));
    answer_text(take_held(), 200, MG_SPAN("ok"));
    answer_text(take_held(), 200, MG_SPAN("ok"));
    assert_true(recv_response(h1, out, sizeof out) > 0);
    struct reply reply;
    recv_reply(h2, 1, &reply);
    assert_int_equal(reply.status, 200);
    mg_buf_fini(&reply.body);
    mg_buf_fini(&get);
    close(idle);
    close(again);
    close(h1);
    close(h2);
}

static bool answers(int fd)
{
    char out[1024];
    return send_text(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") &&
           recv_response(fd, out, sizeof out) > 0;
}

static int setup_few(void **state)
{
    (void)state;
    start_server((struct mg_http_config){.max_connections = 3});
    return 0;
}
/* The fourth waits, unharmed, until one of three ends. */
static void test_max_connections(void **state)
{
    (void)state;
    int fds[4];
    for (size_t i = 0; i < 3; i++) {
        fds[i] = connect_to(fx.clear_port);
        assert_true(answers(fds[i]));
    }
    fds[3] = connect_to(fx.clear_port);
    assert_true(send_text(fds[3], "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(answers(fds[0]));
    assert_true(answers(fds[1]));
    struct pollfd early = {.fd = fds[3], .events = POLLIN};
    assert_int_equal(poll(&early, 1, 0), 0);
    close(fds[1]);
    char out[1024];
    assert_true(recv_response(fds[3], out, sizeof out) > 0);
    close(fds[0]);
    close(fds[2]);
    close(fds[3]);
}

static int setup_small_memory(void **state)
{
    (void)state;
    /* One loop: what it holds is counted before it reads on. */
    start_server((struct mg_http_config){.max_buffered = 100000, .threads = 1});
    return 0;
}
/* Bodies that are held leave no room for more; small ones always pass. */
static void test_full(void **state)
{
    (void)state;
    enum { BODY = 150000 };
    char head[200], out[2048];
    char *body = calloc(1, BODY);
    int fds[3];
    for (size_t i = 0; i < 3; i++) {
        snprintf(head, sizeof head,
                 "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: x\r\nContent-Length: %d\r\n\r\n",
                 i == 0 ? "/hold" : "/echo", i < 2 ? BODY : 10);
        fds[i] = connect_to(fx.clear_port);
        assert_true(send_text(fds[i], head));
        (void)send_all(fds[i], body, i < 2 ? BODY : 10);
        if (i == 0) {
            wait_for(&fx.n_held, 1);
        } else {
            assert_true(recv_response(fds[i], out, sizeof out) > 0);
            assert_non_null(strstr(out, i == 1 ? "503 Service" : "200 OK"));
        }
    }
    struct mg_buf frames, block;
    mg_buf_init(&frames, 0);
    mg_buf_init(&block, 0);
    put_request(&block, "POST", "/echo");
    put_field(&block, "authorization", "x");
    put_frame(&frames, F_HEADERS, END_HEADERS, 1, block.data, block.len);
    for (int i = 0; i < 10; i++) {
        put_frame(&frames, F_DATA, i == 9 ? END_STREAM : 0, 1, body, 15000);
    }
    int h2 = h2_connect();
    assert_true(send_all(h2, frames.data, frames.len));
    struct reply reply;
    recv_reply(h2, 1, &reply);
    assert_int_equal(reply.status, 503);
    mg_buf_fini(&reply.body);
    mg_buf_fini(&frames);
    mg_buf_fini(&block);
    close(h2);
    answer_text(take_held(), 200, MG_SPAN("ok"));
    assert_true(recv_response(fds[0], out, sizeof out) > 0);
    for (size_t i = 0; i < 3; i++) {
        close(fds[i]);
    }
    free(body);
}

static int setup_per_address(void **state)
{
    (void)state;
    start_server((struct mg_http_config){.max_per_address = 2});
    return 0;
}
static void test_per_address(void **state)
{
    (void)state;
    int first = connect_to(fx.clear_port), second = connect_to(fx.clear_port);
    assert_true(answers(first));
    assert_true(answers(second));
    int third = connect_to(fx.clear_port);
    assert_true(ends(third));
    close(third);
    close(first);
    /* Its place is free once the server has seen the end. */
    for (;;) {
        int fd = connect_to(fx.clear_port);
        bool ok = answers(fd);
        close(fd);
        if (ok) {
            break;
        }
    }
    close(second);
}

/* At the end of descriptors the open connections are served, and the waiting ones as soon as there
 * are some. */
static void test_no_descriptors(void **state)
{
    (void)state;
    int open = connect_to(fx.clear_port);
    assert_true(answers(open));
    int waiting[2] = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                      socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct rlimit limit, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int next = dup(0);
    close(next);
    low = (struct rlimit){(rlim_t)next, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)fx.clear_port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(connect(waiting[i], (struct sockaddr *)&address, sizeof address), 0);
        assert_true(send_text(waiting[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    }
    for (int i = 0; i < 100; i++) {
        assert_true(answers(open));
    }
    struct pollfd early[2] = {{.fd = waiting[0], .events = POLLIN},
                              {.fd = waiting[1], .events = POLLIN}};
    assert_int_equal(poll(early, 2, 0), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (size_t i = 0; i < 2; i++) {
        char out[1024];
        assert_true(recv_response(waiting[i], out, sizeof out) > 0);
        close(waiting[i]);
    }
    close(open);
}
static int setup_plain(void **state)
{
    (void)state;
    start_server((struct mg_http_config){0});
    return 0;
}

static const char *const trusted[] = {"127.0.0.1", "10.0.0.0/8", NULL};
static int setup_trusted(void **state)
{
    (void)state;
    start_server((struct mg_http_config){.trusted_proxies = trusted, .max_per_address = 2});
    return 0;
}

#define INFO "GET /info HTTP/1.1\r\nHost: h\r\n"
struct told {
    const char *bytes, *expected, *why;
};
static void check_told(const struct told *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char out[2048];
        int fd = connect_to(fx.clear_port);
        assert_true(send_text(fd, rows[i].bytes));
        if (recv_response(fd, out, sizeof out) == 0 || !strstr(out, rows[i].expected)) {
            fail_msg("%s: wanted \"%s\" in \"%s\"", rows[i].why, rows[i].expected, out);
        }
        close(fd);
    }
}

static void test_trusted(void **state)
{
    (void)state;
    static const struct told rows[] = {
        {INFO "\r\n", "|http|h|127.0.0.1|1|", "the proxy itself"},
        {INFO "X-Forwarded-For: 192.0.2.7\r\n\r\n", "|http|h|192.0.2.7|0|", "one client"},
        {INFO "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.1.2.3\r\n\r\n", "|192.0.2.7|0|",
         "what a client claims is not believed"},
        {INFO "X-Forwarded-For: 10.9.9.9\r\n\r\n", "|10.9.9.9|0|", "a proxy asks for itself"},
        {INFO "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: "
              "maps.example\r\n\r\n",
         "|https|maps.example|192.0.2.7|0|", "scheme and host"},
        {INFO "X-Forwarded-Proto: javascript\r\nX-Forwarded-Host: a b\r\n\r\n", "|http|h|",
         "other values are not taken"},
        {INFO "Forwarded: for=6.6.6.6, for=\"[2001:db8::1]:1234\";proto=https;host=maps.example, "
              "For=10.0.0.1\r\n\r\n",
         "|https|maps.example|2001:db8::1|0|", "Forwarded with IPv6 and a port"},
        {INFO "Forwarded: for=_hidden\r\n\r\n", "|127.0.0.1|1|", "an unreadable node"},
        {"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n" INFO "\r\n", "|http|h|192.0.2.7|0|",
         "a PROXY line"},
        {"PROXY TCP6 2001:db8::2 ::1 1 2\r\n" INFO "\r\n", "|http|h|2001:db8::2|0|",
         "a PROXY line with IPv6"},
        {"PROXY UNKNOWN\r\n" INFO "\r\n", "|http|h|127.0.0.1|1|",
         "a PROXY line that does not know"},
        {"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n" INFO "X-Forwarded-For: 6.6.6.6\r\n\r\n",
         "|192.0.2.7|0|", "the client behind a PROXY line is not trusted"},
    };
    check_told(rows, sizeof rows / sizeof *rows);
    int fd = connect_to(fx.clear_port);
    assert_true(send_text(fd, "PROXY TCP4 nonsense\r\n" INFO "\r\n"));
    assert_true(ends(fd));
    close(fd);
    /* Two requests of one client are its share; another client has its own. */
    int fds[4];
    static const char *const clients[] = {"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"};
    for (size_t i = 0; i < 4; i++) {
        char request[200], out[1024];
        snprintf(request, sizeof request,
                 "GET %s HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %s\r\n\r\n", i < 2 ? "/hold" : "/",
                 clients[i]);
        fds[i] = connect_to(fx.clear_port);
        assert_true(send_text(fds[i], request));
        if (i < 2) {
            wait_for(&fx.n_held, i + 1);
        } else {
            assert_true(recv_response(fds[i], out, sizeof out) > 0);
            assert_non_null(strstr(out, i == 2 ? "429 Too Many" : "200 OK"));
        }
    }
    for (size_t i = 0; i < 4; i++) {
        close(fds[i]);
    }
}

static void test_untrusted(void **state)
{
    (void)state;
    static const struct told rows[] = {
        {INFO "\r\n", "|http|h|127.0.0.1|1|", "a local client"},
        {INFO
         "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\r\n",
         "|http|h|127.0.0.1|0|", "not believed, and somebody's proxy is no operator"},
        {INFO "Forwarded: for=192.0.2.7;proto=https;host=evil\r\n\r\n", "|http|h|127.0.0.1|0|",
         "Forwarded neither"},
    };
    check_told(rows, sizeof rows / sizeof *rows);
}

static void test_config(void **state)
{
    (void)state;
    static const char *const bad[] = {"10.0.0.0/33", NULL};
    struct mg_http_config config = {.trusted_proxies = bad, .handler = handle};
    struct mg_http_server *server = NULL;
    struct mg_errmsg err = {""};
    assert_int_equal(mg_http_start(&config, &server, &err), MG_E_INVALID);
    assert_non_null(strstr(err.text, "10.0.0.0/33"));
    assert_null(server);
}

int main(void)
{
    alarm(120);
    mg_log_init("test", MG_LOG_ERROR, false);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stalled, setup_short, teardown),
        cmocka_unit_test_setup_teardown(test_dribble, setup_short, teardown),
        cmocka_unit_test_setup_teardown(test_never_reading, setup_short, teardown),
        cmocka_unit_test_setup_teardown(test_waiting, setup_short, teardown),
        cmocka_unit_test_setup_teardown(test_max_connections, setup_few, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup_small_memory, teardown),
        cmocka_unit_test_setup_teardown(test_per_address, setup_per_address, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptors, setup_plain, teardown),
        cmocka_unit_test_setup_teardown(test_trusted, setup_trusted, teardown),
        cmocka_unit_test_setup_teardown(test_untrusted, setup_plain, teardown),
        cmocka_unit_test(test_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
