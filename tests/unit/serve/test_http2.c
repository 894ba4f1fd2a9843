/* HTTP/2 by frames made by hand: good requests, and what the guard must stop. After each attack a
 * good client is served and the server's standard error has stayed empty. */
#include "http2_client.h"

enum { CALM = 11 };

static int setup(void **state)
{
    (void)state;
    start_server((struct mg_http_config){0});
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    stop_server();
    return 0;
}

static void test_requests(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path;
        int status;
        const char *body, *why;
    } rows[] = {
        {"GET", "/a?b", 200, "/a", "a plain request"},
        {"GET", "/info?q=1", 200, "GET|/info|q=1|http|x|127.0.0.1|1|200", "what the handler sees"},
        {"GET", "/%2f..%2finfo", 200, "/%2f..%2finfo", "the path is raw"},
        {"GET", "/../info", 200, "/../info", "dots are not resolved"},
        {"HEAD", "/echo", 200, "", "HEAD has no body"},
        {"GET", "/304", 304, "", "304 has no body"},
        {"GET", "info", 400, NULL, "a path without '/'"},
        {"GET", "/thread", 200, "/thread", "an answer from another thread"},
    };
    int fd = h2_connect();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t stream = (uint32_t)(2 * i + 1);
        struct mg_buf out, block;
        mg_buf_init(&out, 0);
        mg_buf_init(&block, 0);
        put_request(&block, rows[i].method, rows[i].path);
        put_frame(&out, F_HEADERS, END_HEADERS | END_STREAM, stream, block.data, block.len);
        assert_true(send_all(fd, out.data, out.len));
        struct reply reply;
        recv_reply(fd, stream, &reply);
        if (reply.status != rows[i].status) {
            fail_msg("%s: status %d, not %d", rows[i].why, reply.status, rows[i].status);
        }
        if (rows[i].body &&
            (reply.body.len != strlen(rows[i].body) ||
             (reply.body.len && memcmp(reply.body.data, rows[i].body, reply.body.len) != 0))) {
            fail_msg("%s: body %s", rows[i].why, reply.body.data);
        }
        mg_buf_fini(&reply.body);
        mg_buf_fini(&out);
        mg_buf_fini(&block);
    }
    close(fd);
}

/* Heads and bodies at their limits. `filler` fields of `bytes`; a body of `body` bytes, announced
 * or not. */
static void test_limits(void **state)
{
    (void)state;
    static const struct {
        size_t url, fields, bytes, body;
        bool announced, authorized, authority;
        int status;
        const char *why;
    } rows[] = {
        {8000, 0, 0, 0, false, false, true, 200, "a URL of 8,000 bytes"},
        {9000, 0, 0, 0, false, false, true, 414, "a URL of 9,000 bytes"},
        {1, 90, 10, 0, false, false, true, 200, "90 headers"},
        {1, 7, 4600, 0, false, false, true, 200, "32,000 bytes of headers, in CONTINUATIONs"},
        {1, 8, 4600, 0, false, false, true, 431, "36,800 bytes of headers"},
        {1, 0, 0, 0, false, false, false, 400, "no authority"},
        {1, 0, 0, 65536, true, false, true, 200, "64 kB without authorization"},
        {1, 0, 0, 65537, true, false, true, 413, "more than 64 kB, announced"},
        {1, 0, 0, 65537, false, false, true, 413, "more than 64 kB, not announced"},
        {1, 0, 0, 300000, false, false, true, 413, "300 kB, not announced"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf out, block, path;
        mg_buf_init(&out, 0);
        mg_buf_init(&block, 0);
        mg_buf_init(&path, 0);
        mg_buf_char(&path, '/');
        while (path.len < rows[i].url) {
            mg_buf_char(&path, 'u');
        }
        put_field(&block, ":method", "POST");
        put_field(&block, ":scheme", "http");
        put_field(&block, ":path", path.data);
        if (rows[i].authority) {
            put_field(&block, ":authority", "x");
        }
        if (rows[i].authorized) {
            put_field(&block, "authorization", "Bearer x");
        }
        char *value = calloc(1, rows[i].bytes + 1), name[24];
        memset(value, 'v', rows[i].bytes);
        for (size_t f = 0; f < rows[i].fields; f++) {
            snprintf(name, sizeof name, "h%zu", f);
            put_field(&block, name, value);
        }
        free(value);
        if (rows[i].announced) {
            char length[24];
            snprintf(length, sizeof length, "%zu", rows[i].body);
            put_field(&block, "content-length", length);
        }
        uint8_t end = rows[i].body ? 0 : END_STREAM;
        for (size_t at = 0; at < block.len;) {
            size_t n = block.len - at < 16000 ? block.len - at : 16000;
            uint8_t flags =
                (uint8_t)((at == 0 ? end : 0) | (at + n == block.len ? END_HEADERS : 0));
            put_frame(&out, at ? F_CONTINUATION : F_HEADERS, flags, 1, block.data + at, n);
            at += n;
        }
        static char zeros[16000];
        for (size_t at = 0; at < rows[i].body;) {
            size_t n = rows[i].body - at < sizeof zeros ? rows[i].body - at : sizeof zeros;
            put_frame(&out, F_DATA, at + n == rows[i].body ? END_STREAM : 0, 1, zeros, n);
            at += n;
        }
        int fd = h2_connect();
        assert_true(send_all(fd, out.data, out.len));
        struct reply reply;
        recv_reply(fd, 1, &reply);
        if (reply.status != rows[i].status) {
            fail_msg("%s: status %d, not %d", rows[i].why, reply.status, rows[i].status);
        }
        if (reply.status >= 400) {
            assert_non_null(strstr(reply.body.data, "\"error\":{\"code\":\""));
        }
        mg_buf_fini(&reply.body);
        out.len = 0;
        put_get(&out, 3, "/next");
        assert_true(send_all(fd, out.data, out.len));
        recv_reply(fd, 3, &reply);
        if (reply.status != 200) {
            fail_msg("%s: the connection does not go on", rows[i].why);
        }
        mg_buf_fini(&reply.body);
        close(fd);
        mg_buf_fini(&out);
        mg_buf_fini(&block);
        mg_buf_fini(&path);
    }
}

static void test_bodies(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        size_t bytes;
        bool whole;
    } rows[] = {{"/file", FILE_BYTES, true}, {"/big", BIG, true}, {"/short", FILE_BYTES, false}};
    int fd = h2_connect();
    struct mg_buf out;
    mg_buf_init(&out, 0);
    for (uint32_t i = 0; i < 3; i++) {
        put_get(&out, 2 * i + 1, rows[i].path);
        assert_true(send_all(fd, out.data, out.len));
        out.len = 0;
        struct reply reply;
        recv_reply(fd, 2 * i + 1, &reply);
        assert_int_equal(reply.status, 200);
        assert_int_equal(reply.body.len, rows[i].bytes);
        assert_memory_equal(reply.body.data, fx.big, rows[i].bytes);
        assert_int_equal(reply.reset != 0, !rows[i].whole);
        mg_buf_fini(&reply.body);
    }
    wait_for(&fx.n_released, 1);
    mg_buf_fini(&out);
    close(fd);
}

/* A reset stream, and a connection that ends, are both seen; each once. */
static void test_gone(void **state)
{
    (void)state;
    int fd = h2_connect();
    struct mg_buf out;
    mg_buf_init(&out, 0);
    put_get(&out, 1, "/hold");
    assert_true(send_all(fd, out.data, out.len));
    struct mg_http_request *first = take_held();
    out.len = 0;
    put_frame(&out, F_RST_STREAM, 0, 1, "\0\0\0\x08", 4);
    put_get(&out, 3, "/hold");
    assert_true(send_all(fd, out.data, out.len));
    wait_for(&fx.n_gone, 1);
    assert_true(mg_span_is(first->path, "/hold")); /* valid until it is answered */
    struct mg_http_request *second = take_held();
    close(fd);
    wait_for(&fx.n_gone, 2);
    struct mg_http_response response = {
        .status = 200, .body = {fx.big, BIG}, .release = on_release, .fd = -1};
    mg_http_answer(first, &response);
    mg_http_answer(second, &response);
    wait_for(&fx.n_released, 2);
    mg_buf_fini(&out);
    assert_well();
    assert_int_equal(fx.n_gone, 2);
}

/* --- attacks --- */

typedef void attack_f(struct mg_buf *out, uint32_t i);

static void rapid_reset(struct mg_buf *out, uint32_t i)
{
    put_get(out, 2 * i + 1, "/hold");
    put_frame(out, F_RST_STREAM, 0, 2 * i + 1, "\0\0\0\x08", 4);
}
static void made_you_reset(struct mg_buf *out, uint32_t i)
{
    put_get(out, 2 * i + 1, "/hold");
    put_frame(out, F_WINDOW_UPDATE, 0, 2 * i + 1, "\0\0\0\0", 4);
}
static void data_out_of_place(struct mg_buf *out, uint32_t i)
{
    put_get(out, 2 * i + 1, "/hold");
    put_frame(out, F_DATA, 0, 2 * i + 1, "x", 1);
}
static void reset_before_body(struct mg_buf *out, uint32_t i)
{
    struct mg_buf block;
    mg_buf_init(&block, 0);
    put_request(&block, "POST", "/");
    put_frame(out, F_HEADERS, END_HEADERS, 2 * i + 1, block.data, block.len);
    put_frame(out, F_RST_STREAM, 0, 2 * i + 1, "\0\0\0\x08", 4);
    mg_buf_fini(&block);
}
static void too_many_streams(struct mg_buf *out, uint32_t i)
{
    put_get(out, 2 * i + 1, "/hold");
}
static void pings(struct mg_buf *out, uint32_t i)
{
    (void)i;
    put_frame(out, F_PING, 0, 0, "12345678", 8);
}
static void settings(struct mg_buf *out, uint32_t i)
{
    (void)i;
    put_frame(out, F_SETTINGS, 0, 0, NULL, 0);
}
static void window_updates(struct mg_buf *out, uint32_t i)
{
    (void)i;
    put_frame(out, F_WINDOW_UPDATE, 0, 0, "\0\0\0\x01", 4);
}
static void priorities(struct mg_buf *out, uint32_t i)
{
    (void)i;
    put_frame(out, F_PRIORITY, 0, 1, "\0\0\0\0\x10", 5);
}
static void unknown_frames(struct mg_buf *out, uint32_t i)
{
    put_frame(out, 0x77, 0, i & 1, "unknown", 7);
}
static void continuations(struct mg_buf *out, uint32_t i)
{
    if (i == 0) {
        put_frame(out, F_HEADERS, END_STREAM, 1, NULL, 0);
    }
    put_frame(out, F_CONTINUATION, 0, 1, NULL, 0);
}
static void empty_data(struct mg_buf *out, uint32_t i)
{
    if (i == 0) {
        struct mg_buf block;
        mg_buf_init(&block, 0);
        put_request(&block, "POST", "/");
        put_frame(out, F_HEADERS, END_HEADERS, 1, block.data, block.len);
        mg_buf_fini(&block);
    }
    put_frame(out, F_DATA, 0, 1, NULL, 0);
}
/* A large field goes into the table once, and each byte after it names it again. */
static void header_bomb(struct mg_buf *out, uint32_t i)
{
    struct mg_buf block;
    mg_buf_init(&block, 0);
    put_request(&block, "GET", "/");
    if (i == 0) {
        static char value[3800];
        memset(value, 'v', sizeof value - 1);
        mg_buf_char(&block, 0x40);
        mg_buf_put(&block,
                   "\x01"
                   "b\x7f\xd8\x1c",
                   5); /* 127 + 3,672 bytes */
        mg_buf_put(&block, value, sizeof value - 1);
    }
    for (int k = 0; k < 10000; k++) {
        mg_buf_char(&block, (char)0xbe);
    }
    put_frame(out, F_HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, block.data, block.len);
    mg_buf_fini(&block);
}

static const struct {
    const char *name;
    attack_f *step;
    uint32_t steps; /* at most; the server must have enough long before */
    uint32_t least; /* steps that must pass: below it a good client might be hit */
} attacks[] = {
    {"rapid reset", rapid_reset, 100000, 90},
    {"MadeYouReset by a window of zero", made_you_reset, 100000, 90},
    {"MadeYouReset by data on a half-closed stream", data_out_of_place, 100000, 90},
    {"resets before the body", reset_before_body, 100000, 90},
    {"streams beyond the limit", too_many_streams, 100000, 100},
    {"PING flood", pings, 1000000, 500},
    {"SETTINGS flood", settings, 1000000, 100},
    {"WINDOW_UPDATE flood", window_updates, 1000000, 1000},
    {"PRIORITY flood", priorities, 1000000, 1000},
    {"unknown frames", unknown_frames, 1000000, 1000},
    {"CONTINUATION flood", continuations, 1000000, 4},
    {"empty DATA flood", empty_data, 1000000, 100},
    {"HPACK bomb", header_bomb, 1000, 0},
};

struct reader {
    int fd;
    bool calm, ended;
};

/* Reads what the server says, so that neither side blocks. */
static void *read_along(void *arg)
{
    struct reader *reader = arg;
    struct frame frame;
    while (recv_frame(reader->fd, &frame)) {
        if (frame.type == F_GOAWAY && frame.payload[7] == CALM) {
            reader->calm = true;
        }
    }
    reader->ended = true;
    return NULL;
}

static void test_attacks(void **state)
{
    (void)state;
    for (size_t a = 0; a < sizeof attacks / sizeof *attacks; a++) {
        setup(NULL);
        int noise[2], saved = dup(STDERR_FILENO);
        assert_int_equal(pipe2(noise, O_NONBLOCK | O_CLOEXEC), 0);
        dup2(noise[1], STDERR_FILENO);
        int64_t closed = mg_metric_get(MG_M_GUARD_CLOSED);
        struct reader reader = {.fd = h2_connect()};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, read_along, &reader), 0);
        struct mg_buf out;
        mg_buf_init(&out, 0);
        uint32_t i = 0;
        bool open = true;
        while (open && i < attacks[a].steps) {
            out.len = 0;
            for (uint32_t k = 0; k < 50; k++) {
                attacks[a].step(&out, i++);
            }
            open = send_all(reader.fd, out.data, out.len);
        }
        shutdown(reader.fd, SHUT_WR);
        pthread_join(thread, NULL);
        close(reader.fd);
        assert_well();
        dup2(saved, STDERR_FILENO);
        close(saved);
        char said[200] = "";
        ssize_t n = read(noise[0], said, sizeof said - 1);
        close(noise[0]);
        close(noise[1]);
        if (open) {
            fail_msg("%s: the server bore %u steps", attacks[a].name, i);
        }
        if (mg_metric_get(MG_M_GUARD_CLOSED) != closed + 1) {
            fail_msg("%s: the guard counted %d closed connections, not 1", attacks[a].name,
                     (int)(mg_metric_get(MG_M_GUARD_CLOSED) - closed));
        }
        if (n > 0) {
            fail_msg("%s: the server wrote: %s", attacks[a].name, said);
        }
        mg_buf_fini(&out);
        teardown(NULL);
    }
}

/* What is below the limits goes on: so much that a busy browser or a Go client needs. */
static void test_not_attacks(void **state)
{
    (void)state;
    for (size_t a = 0; a < sizeof attacks / sizeof *attacks; a++) {
        if (attacks[a].least == 0) {
            continue;
        }
        setup(NULL);
        int fd = h2_connect();
        struct mg_buf out;
        mg_buf_init(&out, 0);
        /* Streams are answered as they come where they only hold places. */
        uint32_t steps = attacks[a].step == too_many_streams ? 90 : attacks[a].least;
        for (uint32_t i = 0; i < steps; i++) {
            attacks[a].step(&out, i);
        }
        assert_true(send_all(fd, out.data, out.len));
        if (attacks[a].step == continuations) { /* an empty block is no request */
            close(fd);
            mg_buf_fini(&out);
            teardown(NULL);
            continue;
        }
        out.len = 0;
        put_get(&out, 1001, "/fine");
        assert_true(send_all(fd, out.data, out.len));
        struct reply reply;
        recv_reply(fd, 1001, &reply);
        if (reply.status != 200) {
            fail_msg("%s: %u steps were too many", attacks[a].name, steps);
        }
        mg_buf_fini(&reply.body);
        mg_buf_fini(&out);
        close(fd);
        teardown(NULL);
    }
}

/* Cancelled jobs that still run count: 60 held and reset, 60 more held are 120 unfinished. */
static void test_unfinished_jobs(void **state)
{
    (void)state;
    int fd = h2_connect();
    struct mg_buf out;
    mg_buf_init(&out, 0);
    for (uint32_t i = 0; i < 120; i++) {
        put_get(&out, 2 * i + 1, "/hold");
        if (i < 60) {
            put_frame(&out, F_RST_STREAM, 0, 2 * i + 1, "\0\0\0\x08", 4);
        }
    }
    int64_t closed = mg_metric_get(MG_M_GUARD_CLOSED);
    assert_true(send_all(fd, out.data, out.len));
    wait_for(&fx.n_gone, 100);
    struct frame frame;
    while (recv_frame(fd, &frame)) {
    }
    assert_int_equal(fx.n_held, 100);
    assert_int_equal(mg_metric_get(MG_M_GUARD_CLOSED), closed + 1);
    mg_buf_fini(&out);
    close(fd);
    assert_well();
}

/* GOAWAY, the open request is answered, then the end. */
static void *stopper(void *arg)
{
    (void)arg;
    mg_http_stop(&fx.server, 60000);
    return NULL;
}
static void test_stop(void **state)
{
    (void)state;
    int fd = h2_connect();
    struct mg_buf out;
    mg_buf_init(&out, 0);
    put_get(&out, 1, "/hold");
    assert_true(send_all(fd, out.data, out.len));
    struct mg_http_request *held = take_held();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stopper, NULL), 0);
    struct frame frame;
    do {
        assert_true(recv_frame(fd, &frame));
    } while (frame.type != F_GOAWAY);
    answer_text(held, 200, MG_SPAN("last"));
    struct reply reply;
    recv_reply(fd, 1, &reply);
    assert_int_equal(reply.status, 200);
    mg_buf_fini(&reply.body);
    assert_false(recv_frame(fd, &frame));
    pthread_join(thread, NULL);
    mg_buf_fini(&out);
    close(fd);
}

int main(void)
{
    alarm(300);
    mg_log_init("test", MG_LOG_ERROR, false);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
        cmocka_unit_test(test_attacks),
        cmocka_unit_test(test_not_attacks),
        cmocka_unit_test_setup_teardown(test_unfinished_jobs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
