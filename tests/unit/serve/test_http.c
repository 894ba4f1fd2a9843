/* HTTP/1 through real sockets: strictness, order, bodies, hang-ups, limits, the stop. */
#include "http_fixture.h"

static int setup(void **state)
{
    (void)state;
    start_server((struct mg_http_config){0});
    return 0;
}
static int setup_one_thread(void **state)
{
    (void)state;
    start_server((struct mg_http_config){.threads = 1});
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    stop_server();
    return 0;
}

#define GET "GET / HTTP/1.1\r\nHost: x\r\n"

/* Bytes in, what the answer must contain, whether the connection ends with it. */
static void test_strict(void **state)
{
    (void)state;
    static const struct {
        const char *request, *expected;
        bool closes;
        const char *why;
    } rows[] = {
        {GET "\r\n", "HTTP/1.1 200 OK\r\n", false, "a plain request is answered"},
        {GET "\r\n", "server: moongate\r\ndate: ", false, "an answer says who and when"},
        {"\r\n" GET "\r\n", "200 OK", false, "one empty line before a request is borne"},
        {"GET / HTTP/1.1\r\n\r\n", "400 Bad Request", true, "a request without Host is refused"},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "400 Bad Request", true, "an empty Host is refused"},
        {GET "Host: y\r\n\r\n", "400 Bad Request", true, "two Hosts are refused"},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 Bad Request", true,
         "a Host with a blank is refused"},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 Bad Request", true,
         "a Host with a path is refused"},
        {"GET / HTTP/1.1\nHost: x\n\n", "400 Bad Request", true, "bare LF is refused at once"},
        {GET "A: b\n\r\n", "400 Bad Request", true, "one bare LF is refused"},
        {GET "A: b\r\n folded\r\n\r\n", "400 Bad Request", true, "a folded header is refused"},
        {GET "A : b\r\n\r\n", "400 Bad Request", true, "a blank before the colon is refused"},
        {GET ": b\r\n\r\n", "400 Bad Request", true, "a header without a name is refused"},
        {GET "A: \x01\r\n\r\n", "400 Bad Request", true, "a control character is refused"},
        {GET "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "both Content-Length", true, "CL and TE together are refused"},
        {GET "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", "400 Bad Request", true,
         "two CLs are refused, even equal"},
        {GET "Content-Length: 1, 1\r\n\r\nx", "400 Bad Request", true, "a CL list is refused"},
        {GET "Content-Length: +1\r\n\r\nx", "400 Bad Request", true, "a signed CL is refused"},
        {GET "Content-Length: -1\r\n\r\nx", "400 Bad Request", true, "a negative CL is refused"},
        {GET "Content-Length: 99999999999999999999\r\n\r\n", "400 Bad Request", true,
         "a CL beyond 64 bits is refused"},
        {GET "Transfer-Encoding: gzip, chunked\r\n\r\n", "400 Bad Request", true,
         "another TE is refused"},
        {GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "400 Bad Request", true, "two TEs are refused"},
        {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 Bad Request", true,
         "HTTP/1.0 has no TE"},
        {GET "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "the chunked body is malformed", true,
         "a bad chunk size"},
        {GET "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "the chunked body is malformed",
         true, "a chunk too long"},
        {GET "Transfer-Encoding: chunked\r\n\r\n1\na\r\n", "the chunked body is malformed", true,
         "a bare LF in chunks"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n",
         "\r\n\r\nabcde", false, "chunks with an extension and a trailer are read"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", "\r\n\r\nabcde", false,
         "a body is read"},
        {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", "505", true, "HTTP/2 spelt as HTTP/1 is refused"},
        {"GET / HTTP/1.2\r\nHost: x\r\n\r\n", "505", true, "HTTP/1.2 is refused"},
        {"GET /\r\n\r\n", "400 Bad Request", true, "HTTP/0.9 is refused"},
        {"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request", true, "two blanks are refused"},
        {"GET x HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request", true,
         "a target without '/' is refused"},
        {"G@T / HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request", true,
         "a method of other letters is refused"},
        {"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request", true, "CONNECT is refused"},
        {GET "Expect: 42\r\n\r\n", "417 ", true, "an unknown expectation is refused"},
        {"GET / HTTP/1.0\r\n\r\n", "200 OK", true, "HTTP/1.0 needs no Host, and ends"},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "connection: keep-alive", false,
         "HTTP/1.0 may go on"},
        {GET "Connection: x, close\r\n\r\n", "connection: close", true, "close in a list is seen"},
        {"GET http://h:1/info?a HTTP/1.1\r\nHost: x\r\n\r\n", "GET|/info|a|http|h:1|", false,
         "an absolute URL's host wins"},
        {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n*", false, "OPTIONS * is handed on"},
        {"GET /info?a=1?b HTTP/1.1\r\nHost: x:80\r\n\r\n",
         "GET|/info|a=1?b|http|x:80|127.0.0.1|1|101", false, "path and query are split once"},
        {"GET /%2f..%2finfo HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n/%2f..%2finfo", false,
         "the path is raw"},
        {"GET /../info HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n/../info", false,
         "dots are not resolved"},
        {"GET /\xff%00 HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n/\xff%00", false,
         "bytes over 127 are handed on"},
        {"HEAD /echo HTTP/1.1\r\nHost: x\r\n\r\n", "content-length: 5\r\n", false,
         "HEAD has the length"},
        {"GET /304 HTTP/1.1\r\nHost: x\r\n\r\n", "304 Not Modified", false, "304 has no body"},
        {"GET /offset HTTP/1.1\r\nHost: x\r\n\r\n", "content-length: 10\r\n", false,
         "a part of a descriptor"},
        {"GET /split HTTP/1.1\r\nHost: x\r\n\r\n", "x-test: a  x-evil: b\r\n", false,
         "a header cannot be split"},
        {"\x16\x03\x01\x02", "400 Bad Request", true, "TLS on the clear port is refused"},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" GET "\r\n", "400 Bad Request", true,
         "a PROXY line of an untrusted peer"},
        {GET "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: "
             "AAMAAABkAAQAAP__\r\n\r\n",
         "HTTP/1.1 200 OK", false, "h2c upgrade is off"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[4096];
        int fd = connect_to(fx.clear_port);
        assert_true(send_text(fd, rows[i].request));
        if (strncmp(rows[i].request, "HEAD", 4) == 0) {
            shutdown(fd, SHUT_WR);
            recv_all(fd, out, sizeof out - 1);
            if (strcmp(strstr(out, "\r\n\r\n"), "\r\n\r\n") != 0) {
                fail_msg("HEAD has a body");
            }
        } else if (recv_response(fd, out, sizeof out) == 0) {
            fail_msg("%s: no answer", rows[i].why);
        }
        if (!strstr(out, rows[i].expected)) {
            fail_msg("%s: wanted \"%s\" in \"%s\"", rows[i].why, rows[i].expected, out);
        }
        if (rows[i].closes) {
            if (recv(fd, out, 1, 0) > 0) {
                fail_msg("%s: the connection goes on", rows[i].why);
            }
        } else if (strncmp(rows[i].request, "HEAD", 4) != 0) {
            assert_true(send_text(fd, "GET /next HTTP/1.1\r\nHost: x\r\n\r\n"));
            if (recv_response(fd, out, sizeof out) == 0 || !strstr(out, "/next")) {
                fail_msg("%s: the connection does not go on", rows[i].why);
            }
        }
        close(fd);
    }
}

/* A byte at a time gives the same as all at once. */
static void test_byte_by_byte(void **state)
{
    (void)state;
    static const char request[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n";
    char out[2048];
    int fd = connect_to(fx.clear_port), on = 1;
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    for (size_t i = 0; i < sizeof request - 1; i++) {
        assert_true(send_all(fd, request + i, 1));
    }
    assert_true(recv_response(fd, out, sizeof out) > 0);
    assert_non_null(strstr(out, "\r\n\r\nabcde"));
    assert_true(recv_response(fd, out, sizeof out) > 0);
    assert_non_null(strstr(out, "\r\n\r\n/two"));
    close(fd);
}

static void repeat(struct mg_buf *buf, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mg_buf_str(buf, text);
    }
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        size_t url, headers, header_bytes, body;
        bool authorized, chunked;
        const char *expected, *why;
    } rows[] = {
        {8000, 0, 0, 0, false, false, "200 OK", "a URL of 8,000 bytes"},
        {8193, 0, 0, 0, false, false, "414 URI Too Long", "a URL of more than 8 kB"},
        {100000, 0, 0, 0, false, false, "414 URI Too Long", "a URL of 100 kB"},
        {1, 99, 1, 0, false, false, "200 OK", "100 headers with the Host"},
        {1, 100, 1, 0, false, false, "431 Request Header", "101 headers"},
        {1, 7, 4600, 0, false, false, "200 OK", "32,000 bytes of headers"},
        {1, 8, 5000, 0, false, false, "431 Request Header", "40,000 bytes of headers"},
        {1, 90, 5000, 0, false, false, "431 Request Header", "450,000 bytes of headers"},
        {1, 0, 0, 65536, false, false, "200 OK", "64 kB without authorization"},
        {1, 0, 0, 65537, false, false, "413 Content", "more than 64 kB without authorization"},
        {1, 0, 0, 70000, false, true, "413 Content", "the same in chunks"},
        {1, 0, 0, 3000000, true, false, "200 OK", "3 MB with authorization"},
        {1, 0, 0, 3000000, true, true, "200 OK", "3 MB in chunks with authorization"},
        {1, 0, 0, 27000000, true, false, "413 Content", "more than 25 MB"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf request;
        mg_buf_init(&request, 0);
        mg_buf_str(&request, "POST /");
        repeat(&request, "u", rows[i].url - 1);
        mg_buf_str(&request, " HTTP/1.1\r\nHost: x\r\n");
        for (size_t h = 0; h < rows[i].headers; h++) {
            mg_buf_printf(&request, "h%zu: ", h);
            repeat(&request, "v", rows[i].header_bytes);
            mg_buf_str(&request, "\r\n");
        }
        if (rows[i].authorized) {
            mg_buf_str(&request, "Authorization: Bearer x\r\n");
        }
        if (rows[i].chunked) {
            mg_buf_printf(&request, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", rows[i].body);
        } else if (rows[i].body) {
            mg_buf_printf(&request, "Content-Length: %zu\r\n\r\n", rows[i].body);
        } else {
            mg_buf_str(&request, "\r\n");
        }
        char *room = mg_buf_room(&request, rows[i].body + 16);
        memset(room, 'b', rows[i].body);
        request.len += rows[i].body;
        if (rows[i].chunked) {
            mg_buf_str(&request, "\r\n0\r\n\r\n");
        }
        char *out = malloc(4 << 20);
        int fd = connect_to(fx.clear_port);
        (void)send_all(fd, request.data,
                       request.len); /* the answer may come before the end of it */
        size_t n = recv_response(fd, out, 4 << 20);
        if (n == 0 || !strstr(out, rows[i].expected)) {
            fail_msg("%s: wanted %s, not %.60s", rows[i].why, rows[i].expected, out);
        }
        if (rows[i].expected[0] == '4') {
            assert_non_null(strstr(out, "{\"detail\":\""));
            assert_non_null(strstr(out, "\"error\":{\"code\":\""));
        } else if (rows[i].body) {
            assert_memory_equal(out + n - 100, room + rows[i].body - 100, 100);
        }
        close(fd);
        free(out);
        mg_buf_fini(&request);
    }
}

static void test_expect_continue(void **state)
{
    (void)state;
    char out[2048];
    int fd = connect_to(fx.clear_port);
    assert_true(send_text(
        fd, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    recv_all(fd, out, sizeof go_on - 1);
    assert_string_equal(out, go_on);
    assert_true(send_text(fd, "abc"));
    assert_true(recv_response(fd, out, sizeof out) > 0);
    assert_non_null(strstr(out, "\r\n\r\nabc"));
    /* A body that is too large is refused before it is sent. */
    assert_true(send_text(
        fd,
        "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999\r\n\r\n"));
    assert_true(recv_response(fd, out, sizeof out) > 0);
    assert_non_null(strstr(out, "413 "));
    close(fd);
}

/* Answers come in the order of the requests, also when one in the middle takes long. */
static void test_pipelining(void **state)
{
    (void)state;
    char out[2048];
    int fd = connect_to(fx.clear_port);
    assert_true(send_text(fd,
                          "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /hold HTTP/1.1\r\nHost: x\r\n\r\n"
                          "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nccGET /thread "
                          "HTTP/1.1\r\nHost: x\r\n\r\n"
                          "GET /e HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(recv_response(fd, out, sizeof out) > 0);
    assert_non_null(strstr(out, "\r\n\r\n/a"));
    struct mg_http_request *held = take_held();
    assert_true(mg_span_is(held->path, "/hold"));
    assert_true(mg_span_is(mg_http_header(held, "host"), "x"));
    answer_text(held, 203, MG_SPAN("held"));
    static const char *const rest[] = {"held", "cc", "/thread", "/e"};
    for (size_t i = 0; i < 4; i++) {
        assert_true(recv_response(fd, out, sizeof out) > 0);
        assert_string_equal(strstr(out, "\r\n\r\n") + 4, rest[i]);
    }
    close(fd);
}

static void test_bodies(void **state)
{
    (void)state;
    char *out = malloc(BIG + 4096);
    assert_non_null(out);
    int fd = connect_to(fx.clear_port);
    assert_true(send_text(fd, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n"));
    size_t n = recv_response(fd, out, BIG + 4096);
    assert_memory_equal(out + n - BIG, fx.big, BIG);
    wait_for(&fx.n_released, 1);
    assert_true(send_text(fd, "GET /file HTTP/1.1\r\nHost: x\r\n\r\n"));
    n = recv_response(fd, out, BIG + 4096);
    assert_memory_equal(out + n - FILE_BYTES, fx.big, FILE_BYTES);
    assert_true(send_text(fd, "GET /offset HTTP/1.1\r\nHost: x\r\n\r\n"));
    n = recv_response(fd, out, BIG + 4096);
    assert_memory_equal(out + n - 10, fx.big + FILE_BYTES - 10, 10);
    /* A descriptor that ends too early breaks the connection, so that the client knows. */
    assert_true(send_text(fd, "GET /short HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_int_equal(recv_response(fd, out, BIG + 4096), 0);
    close(fd);
    free(out);
    assert_int_equal(fx.n_released, 1);
    assert_well();
}

/* A client that hangs up during a job is seen, once; the answer is thrown away and its bytes
 * released. */
static void test_gone(void **state)
{
    (void)state;
    int fd = connect_to(fx.clear_port);
    assert_true(send_text(fd, "GET /hold HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n"));
    struct mg_http_request *held = take_held();
    close(fd);
    wait_for(&fx.n_gone, 1);
    assert_true(mg_span_is(mg_http_header(held, "a"), "b")); /* valid until it is answered */
    struct mg_http_response response = {
        .status = 200, .body = {fx.big, BIG}, .release = on_release, .fd = -1};
    mg_http_answer(held, &response);
    wait_for(&fx.n_released, 1);
    /* One that was answered is not gone. */
    fd = connect_to(fx.clear_port);
    char out[1024];
    assert_true(send_text(fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"));
    answer_text(take_held(), 200, MG_SPAN("ok"));
    assert_true(recv_response(fd, out, sizeof out) > 0);
    close(fd);
    assert_well();
    assert_int_equal(fx.n_gone, 1);
}

static void *client_main(void *arg)
{
    (void)arg;
    char out[2048];
    int fd = connect_to(fx.clear_port);
    size_t failures = 0;
    for (int i = 0; i < 250; i++) {
        failures += !send_text(fd, "GET /thread HTTP/1.1\r\nHost: x\r\n\r\n") ||
                    recv_response(fd, out, sizeof out) == 0 || !strstr(out, "/thread");
    }
    close(fd);
    return (void *)failures;
}

static void test_many_threads(void **state)
{
    (void)state;
    pthread_t clients[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&clients[i], NULL, client_main, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *failures;
        pthread_join(clients[i], &failures);
        assert_null(failures);
    }
    assert_int_equal(fx.n_gone, 0);
}

/* The stop waits for an open request; what is answered after the end is released. */
static void *stopper(void *arg)
{
    mg_http_stop(&fx.server, *(unsigned *)arg);
    return NULL;
}
static void test_stop(void **state)
{
    (void)state;
    char out[1024];
    unsigned ms = 60000;
    int busy = connect_to(fx.clear_port), idle = connect_to(fx.clear_port);
    assert_true(send_text(idle, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(recv_response(idle, out, sizeof out) > 0);
    assert_true(send_text(busy, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"));
    struct mg_http_request *held = take_held();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stopper, &ms), 0);
    assert_int_equal(recv(idle, out, 1, 0), 0); /* closed at once */
    answer_text(held, 200, MG_SPAN("last"));
    assert_true(recv_response(busy, out, sizeof out) > 0);
    assert_non_null(strstr(out, "connection: close"));
    assert_int_equal(recv(busy, out, 1, 0), 0);
    pthread_join(thread, NULL);
    close(busy);
    close(idle);
}
static void test_answer_after_stop(void **state)
{
    (void)state;
    int fd = connect_to(fx.clear_port);
    assert_true(send_text(fd, "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"));
    struct mg_http_request *held = take_held();
    mg_http_stop(&fx.server, 0);
    assert_int_equal(fx.n_gone, 1);
    assert_true(mg_span_is(held->body, "body"));
    struct mg_http_response response = {
        .status = 200, .body = {fx.big, BIG}, .release = on_release, .fd = -1};
    mg_http_answer(held, &response);
    assert_int_equal(fx.n_released, 1);
    close(fd);
}

int main(void)
{
    alarm(120);
    mg_log_init("test", MG_LOG_ERROR, false);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_strict, setup, teardown),
        cmocka_unit_test_setup_teardown(test_byte_by_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expect_continue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pipelining, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup_one_thread, teardown),
        cmocka_unit_test_setup_teardown(test_answer_after_stop, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
