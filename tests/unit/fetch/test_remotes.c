/* Remote files against a real server: blocks, single flight, generations, revalidation, and every refusal. */
#include "range_server.h"

#include "fetch/remotes.h"
#include "moongate/log.h"

#include <sys/stat.h>

enum { SIZE = 5 * MG_BLOCK_BYTES + 777, LIMIT = 8 << 20 };

enum { SCENE, HELD, WHOLE_FILE, STREAMED, DATED_FILE, NO_TAG, EMPTY, EMPTY_STREAM, GONE, BROKEN, MOVED, LOOP, TO_FILE,
       TO_PRIVATE, GZIPPED, SHIFTED, CUT, HUGE_FILE, HUGE_STREAM, CHANGING, OUTAGE, N_RESOURCES };
static struct resource resources[N_RESOURCES] = {
    [SCENE] = {.path = "/scene", .how = RANGES, .size = SIZE},
    [HELD] = {.path = "/held", .how = RANGES, .size = SIZE},
    [WHOLE_FILE] = {.path = "/whole", .how = WHOLE, .size = SIZE},
    [STREAMED] = {.path = "/streamed", .how = STREAM, .size = SIZE},
    [DATED_FILE] = {.path = "/dated", .how = DATED, .size = SIZE},
    [NO_TAG] = {.path = "/no-tag", .how = NO_VALIDATOR, .size = SIZE},
    [EMPTY] = {.path = "/empty", .how = RANGES, .size = 0},
    [EMPTY_STREAM] = {.path = "/empty-stream", .how = STREAM, .size = 0},
    [GONE] = {.path = "/gone", .how = STATUS, .status = 410},
    [BROKEN] = {.path = "/broken", .how = STATUS, .status = 500},
    [MOVED] = {.path = "/moved", .how = REDIRECT, .status = 302, .text = "/scene"},
    [LOOP] = {.path = "/loop", .how = REDIRECT, .status = 301, .text = "/loop"},
    [TO_FILE] = {.path = "/to-file", .how = REDIRECT, .status = 302, .text = "file:///etc/passwd"},
    [TO_PRIVATE] = {.path = "/to-private", .how = REDIRECT, .status = 307, .text = "http://127.0.0.2:1/x"},
    [GZIPPED] = {.path = "/gzipped", .how = COMPRESSED, .size = SIZE},
    [SHIFTED] = {.path = "/shifted", .how = WRONG_RANGE, .size = SIZE},
    [CUT] = {.path = "/cut", .how = SHORT, .size = SIZE},
    [HUGE_FILE] = {.path = "/huge", .how = RANGES, .size = LIMIT + 1},
    [HUGE_STREAM] = {.path = "/huge-stream", .how = STREAM, .size = LIMIT + 1},
    [CHANGING] = {.path = "/changing", .how = FICKLE, .size = SIZE},
    [OUTAGE] = {.path = "/outage", .how = RANGES, .size = SIZE},
};

static struct server server;
static char folder[] = "/tmp/mg_test_remotes_XXXXXX";
static const char *const allow[] = {"127.0.0.1/32", NULL};
static struct mg_fetch_config config = {.allow = allow, .max_bytes = LIMIT, .timeout_s = 20, .revalidate_s = 60};

/* The fetcher without its process. */
static struct mg_block_store *store;
static struct mg_transfers *transfers;
static struct mg_remotes *remotes;
static int64_t now_ms = 1000;

static struct {
    int n;
    enum mg_err err;
    char text[512];
    int fd;
    uint64_t tag;
} got;

static void on_answer(void *context, const struct mg_remote_answer *answer)
{
    (void)context;
    if (got.fd >= 0)
        close(got.fd);
    got.n++;
    got.err = answer->err;
    got.tag = answer->tag;
    got.fd = answer->fd >= 0 ? fcntl(answer->fd, F_DUPFD_CLOEXEC, 3) : -1;
    snprintf(got.text, sizeof got.text, "%s", answer->text);
}

static void open_all(void)
{
    int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mg_block_store_open(root, LIMIT, 1 << 30, &store, NULL), MG_OK);
    assert_int_equal(mg_transfers_new(&config, &transfers, NULL), MG_OK);
    assert_int_equal(mg_remotes_new(&config, store, transfers, on_answer, NULL, &remotes, NULL), MG_OK);
    mg_remotes_tend(remotes, now_ms);
}
static void close_all(void)
{
    mg_transfers_free(&transfers);
    mg_remotes_free(&remotes);
    mg_block_store_close(&store);
}

static int setup(void **state)
{
    (void)state;
    got.fd = -1;
    mg_log_init("test", MG_LOG_ERROR, false);
    assert_non_null(mkdtemp(folder));
    server_start(&server, resources, N_RESOURCES, false);
    open_all();
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    char command[128];
    close_all();
    server_stop(&server);
    if (got.fd >= 0)
        close(got.fd);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static const char *url_of(int resource)
{
    static char url[256];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", server.port, resources[resource].path);
    return url;
}
static void ask(const char *org, const char *url, uint64_t offset, uint64_t bytes)
{
    static uint64_t tags;
    struct mg_remote_ask question = {.id = 1, .tag = ++tags, .org = org, .url = url, .offset = offset, .bytes = bytes};
    mg_remotes_ask(remotes, &question, now_ms);
}
static void wait_for(int n)
{
    while (got.n < n)
        mg_transfers_step(transfers, NULL, 0, 1000);
}
static enum mg_err fetch_url(const char *url, uint64_t offset, uint64_t bytes)
{
    got.n = 0;
    ask("local", url, offset, bytes);
    wait_for(1);
    return got.err;
}
static enum mg_err fetch(int resource, uint64_t offset, uint64_t bytes)
{
    return fetch_url(url_of(resource), offset, bytes);
}

/* The block file says that those blocks are there, and holds their bytes. */
static void check(uint64_t size, uint64_t from, uint64_t bytes, int version)
{
    struct mg_block_head head;
    assert_int_equal(got.err, MG_OK);
    assert_int_equal(pread(got.fd, &head, sizeof head, 0), sizeof head);
    assert_memory_equal(head.magic, MG_BLOCK_MAGIC, 8);
    assert_int_equal(head.size, size);
    assert_int_equal(head.data_offset % 4096, 0);
    assert_string_equal(head.etag, got.text);
    struct stat st;
    assert_int_equal(fstat(got.fd, &st), 0);
    assert_int_equal(st.st_size, head.data_offset + size);
    assert_int_not_equal(fcntl(got.fd, F_GETFL) & O_ACCMODE, O_RDWR);
    uint8_t *data = malloc(bytes + 1);
    assert_int_equal(pread(got.fd, data, bytes, (off_t)(head.data_offset + from)), bytes);
    for (uint64_t i = 0; i < bytes; i++)
        if (data[i] != content_at(from + i, version))
            fail_msg("byte %llu differs", (unsigned long long)(from + i));
    for (uint64_t i = from; i < from + bytes; i += MG_BLOCK_BYTES) {
        uint8_t bits;
        uint64_t block = i / MG_BLOCK_BYTES;
        assert_int_equal(pread(got.fd, &bits, 1, (off_t)(sizeof head + block / 8)), 1);
        assert_true(bits >> (block % 8) & 1);
    }
    free(data);
}
static bool has_block(uint64_t block)
{
    uint8_t bits;
    assert_int_equal(pread(got.fd, &bits, 1, (off_t)(sizeof(struct mg_block_head) + block / 8)), 1);
    return bits >> (block % 8) & 1;
}
static ino_t inode(void)
{
    struct stat st;
    assert_int_equal(fstat(got.fd, &st), 0);
    return st.st_ino;
}

static void test_ranges(void **state)
{
    (void)state;
    struct resource *scene = &resources[SCENE];
    assert_int_equal(fetch(SCENE, 0, 100), MG_OK);
    check(SIZE, 0, MG_BLOCK_BYTES, 0);
    assert_string_equal(got.text, "\"v0\"");
    assert_false(has_block(1));
    assert_int_equal(scene->requests, 1);
    assert_int_equal(fetch(SCENE, 3 * MG_BLOCK_BYTES + 5, MG_BLOCK_BYTES), MG_OK); /* two blocks, one request */
    check(SIZE, 3 * MG_BLOCK_BYTES, 2 * MG_BLOCK_BYTES, 0);
    assert_int_equal(scene->requests, 2);
    assert_int_equal(fetch(SCENE, 0, 0), MG_OK); /* open only */
    assert_int_equal(fetch(SCENE, 0, 1), MG_OK);
    assert_int_equal(fetch(SCENE, SIZE - 1, 1 << 20), MG_OK); /* beyond the end is cut */
    check(SIZE, 5 * MG_BLOCK_BYTES, 777, 0);
    assert_int_equal(scene->requests, 3);
    assert_int_equal(fetch(SCENE, SIZE, 10), MG_OK); /* behind the end there is nothing to bring */
    assert_int_equal(fetch(SCENE, 0, SIZE), MG_OK);  /* two runs are missing: blocks 1 and 2 are one */
    check(SIZE, 0, SIZE, 0);
    assert_int_equal(scene->requests, 4);
    assert_int_equal(scene->sent, SIZE);
    /* Another organisation has files of its own. */
    got.n = 0;
    ask("other", url_of(SCENE), 0, 1);
    wait_for(1);
    assert_int_equal(got.err, MG_OK);
    assert_int_equal(scene->requests, 5);
    assert_false(has_block(1));
}

static void test_kept_over_restart(void **state)
{
    (void)state;
    struct resource *scene = &resources[SCENE];
    int before = scene->requests;
    close_all();
    open_all();
    assert_int_equal(fetch(SCENE, 0, SIZE), MG_OK);
    check(SIZE, 0, SIZE, 0);
    assert_int_equal(scene->requests, before + 1); /* is it the same still? */
    assert_int_equal(scene->conditional, 1);
}

static void test_revalidation_and_generations(void **state)
{
    (void)state;
    struct resource *scene = &resources[SCENE];
    int before = scene->requests;
    assert_int_equal(fetch(SCENE, 0, SIZE), MG_OK);
    ino_t old = inode();
    server_set(&server, scene, 1, false);
    assert_int_equal(fetch(SCENE, 0, SIZE), MG_OK); /* within revalidate_s nobody asks */
    assert_int_equal(scene->requests, before);
    check(SIZE, 0, SIZE, 0);
    int kept = fcntl(got.fd, F_DUPFD_CLOEXEC, 3);
    now_ms += 61000;
    assert_int_equal(fetch(SCENE, MG_BLOCK_BYTES, 10), MG_OK);
    check(SIZE, MG_BLOCK_BYTES, MG_BLOCK_BYTES, 1);
    assert_true(inode() != old);
    assert_false(has_block(0));
    /* The old generation stays what it was for those who have it open. */
    got.fd = (close(got.fd), kept);
    snprintf(got.text, sizeof got.text, "\"v0\"");
    check(SIZE, 0, SIZE, 0);
    /* It changes while we know an ETag that is fresh: the answer to a missing block shows it. */
    server_set(&server, scene, 2, false);
    assert_int_equal(fetch(SCENE, 0, 10), MG_OK);
    check(SIZE, 0, MG_BLOCK_BYTES, 2);
    assert_false(has_block(1));
}

static void test_single_flight(void **state)
{
    (void)state;
    struct resource *held = &resources[HELD];
    assert_int_equal(fetch(HELD, 5 * MG_BLOCK_BYTES, 1), MG_OK); /* the size is known */
    server_set(&server, held, 0, true);
    got.n = 0;
    for (int i = 0; i < 50; i++)
        ask("local", url_of(HELD), (uint64_t)(i % 2) * MG_BLOCK_BYTES, 2 * MG_BLOCK_BYTES);
    pthread_mutex_lock(&server.lock);
    int arrived = held->requests;
    pthread_mutex_unlock(&server.lock);
    while (arrived < 3) { /* the one above, blocks 0 and 1, block 2 */
        mg_transfers_step(transfers, NULL, 0, 20);
        pthread_mutex_lock(&server.lock);
        arrived = held->requests;
        pthread_mutex_unlock(&server.lock);
    }
    assert_int_equal(got.n, 0);
    server_set(&server, held, 0, false);
    wait_for(50);
    assert_int_equal(got.err, MG_OK);
    assert_int_equal(held->requests, 3);
}

static void test_servers(void **state)
{
    (void)state;
    static const struct {
        int resource;
        uint64_t size;
        int requests; /* for two reads */
        const char *sentence;
    } rows[] = {
        {WHOLE_FILE, SIZE, 1, "a server without ranges gives the whole file at once"},
        {STREAMED, SIZE, 1, "and one that does not tell the length"},
        {DATED_FILE, SIZE, 2, "Last-Modified in place of an ETag"},
        {MOVED, SIZE, 2, "a redirect"},
        {EMPTY, 0, 1, "an empty file"},
        {EMPTY_STREAM, 0, 1, "an empty file of unknown length"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct resource *resource = &resources[rows[i].resource];
        int version = rows[i].resource == MOVED ? resources[SCENE].version : 0;
        if (fetch(rows[i].resource, 0, 10))
            fail_msg("%s: %s", rows[i].sentence, got.text);
        check(rows[i].size, 0, rows[i].size ? 10 : 0, version);
        if (fetch(rows[i].resource, rows[i].size / 2, 1000))
            fail_msg("%s: %s", rows[i].sentence, got.text);
        check(rows[i].size, rows[i].size / 2, rows[i].size ? 1000 : 0, version);
        if (resource->requests != rows[i].requests)
            fail_msg("%s: %d requests", rows[i].sentence, resource->requests);
    }
    /* A whole file that is still the same is not brought again. */
    now_ms += 61000;
    assert_int_equal(fetch(WHOLE_FILE, 0, SIZE), MG_OK);
    assert_int_equal(resources[WHOLE_FILE].conditional, 1);
    check(SIZE, 0, SIZE, 0);
    /* Of a date: one byte is asked for, and its Last-Modified says that all else holds. */
    uint64_t sent = resources[DATED_FILE].sent;
    ino_t before = (assert_int_equal(fetch(DATED_FILE, 0, 1), MG_OK), inode());
    assert_int_equal(resources[DATED_FILE].sent, sent + 1);
    server_set(&server, &resources[DATED_FILE], 1, false);
    now_ms += 61000;
    assert_int_equal(fetch(DATED_FILE, 0, 1), MG_OK);
    assert_true(inode() != before);
    check(SIZE, 0, MG_BLOCK_BYTES, 1);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        int resource;
        enum mg_err err;
        const char *says;
    } rows[] = {
        {GONE, MG_E_FETCH, "127.0.0.1 answers with status 410"},
        {BROKEN, MG_E_FETCH, "127.0.0.1 answers with status 500"},
        {LOOP, MG_E_FETCH, "redirects more than 5 times"},
        {TO_FILE, MG_E_FETCH, "redirects to a protocol that is not allowed"},
        {TO_PRIVATE, MG_E_FETCH, "leads to 127.0.0.2, which is not a public address"},
        {GZIPPED, MG_E_FETCH, "compresses its answer"},
        {SHIFTED, MG_E_FETCH, "another range than asked for"},
        {CUT, MG_E_FETCH, "127.0.0.1: "},
        {HUGE_FILE, MG_E_TOO_LARGE, "more than the limit of 8 MB"},
        {HUGE_STREAM, MG_E_TOO_LARGE, "sends more than 8388608 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum mg_err e = fetch(rows[i].resource, 0, SIZE);
        if (e != rows[i].err || !strstr(got.text, rows[i].says) || got.fd != -1)
            fail_msg("%s: %s, \"%s\"", resources[rows[i].resource].path, mg_err_name(e), got.text);
    }
    static const struct {
        const char *url;
        enum mg_err err;
        const char *says;
    } urls[] = {
        {"file:///etc/passwd", MG_E_ARGUMENT, "file:// is not fetched"},
        {"gopher://127.0.0.1/", MG_E_ARGUMENT, "gopher:// is not fetched"},
        {"ftp://example.org/x", MG_E_ARGUMENT, "ftp:// is not fetched"},
        {"/etc/passwd", MG_E_ARGUMENT, "not a URL"},
        {"http://", MG_E_ARGUMENT, "not a URL"},
        {"http://127.0.0.1/a b", MG_E_ARGUMENT, "blank"},
        {"http://127.0.0.1/a\r\nX: y", MG_E_ARGUMENT, "control"},
        {"http://127.0.0.2:1/", MG_E_FETCH, "not a public address"},
        {"http://0177.0.0.2:1/", MG_E_FETCH, "not a public address"},
        {"http://2130706434:1/", MG_E_FETCH, "not a public address"},
        {"http://0x7f000002:1/", MG_E_FETCH, "not a public address"},
        {"http://127.2:1/", MG_E_FETCH, "not a public address"},
        {"http://example.org@127.0.0.2:1/", MG_E_FETCH, "not a public address"},
        {"http://[::1]:1/", MG_E_FETCH, "not a public address"},
        {"http://[::ffff:127.0.0.2]:1/", MG_E_FETCH, "not a public address"},
        {"http://169.254.169.254/latest/", MG_E_FETCH, "--allow-egress 169.254.169.254"},
        {"http://127.0.0.1:1/", MG_E_FETCH, "refuses connections"},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        enum mg_err e = fetch_url(urls[i].url, 0, 10);
        if (e != urls[i].err || !strstr(got.text, urls[i].says))
            fail_msg("%s: %s, \"%s\"", urls[i].url, mg_err_name(e), got.text);
    }
    got.n = 0;
    ask("../x", url_of(SCENE), 0, 1);
    assert_int_equal(got.n, 1);
    assert_int_equal(got.err, MG_E_INVALID);
    assert_int_equal(fetch(SCENE, UINT64_MAX - 5, 10), MG_E_TOO_LARGE);
    assert_int_equal(fetch(SCENE, 0, UINT64_MAX), MG_E_TOO_LARGE);
}

static void test_proxy_variables(void **state)
{
    (void)state;
    setenv("http_proxy", "http://127.0.0.2:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.2:1", 1);
    now_ms += 61000;
    assert_int_equal(fetch(SCENE, 0, 1), MG_OK);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
}

static void test_changing(void **state)
{
    (void)state;
    /* Each answer is another version: a read in one request holds together. */
    assert_int_equal(fetch(CHANGING, 0, 2 * MG_BLOCK_BYTES), MG_OK);
    check(SIZE, 0, 2 * MG_BLOCK_BYTES, resources[CHANGING].version);
    /* One that needs two never does, and ends. */
    got.n = 0;
    ask("local", url_of(CHANGING), 3 * MG_BLOCK_BYTES, 1);
    ask("local", url_of(CHANGING), 4 * MG_BLOCK_BYTES, 1);
    wait_for(2);
    assert_true(resources[CHANGING].requests < 12);
}

static void test_no_validator(void **state)
{
    (void)state;
    /* Nothing says that two answers belong together: a file in two requests is two generations. */
    assert_int_equal(fetch(NO_TAG, 0, 10), MG_OK);
    ino_t first = inode();
    now_ms += 1000;
    assert_int_equal(fetch(NO_TAG, 3 * MG_BLOCK_BYTES, 10), MG_OK);
    check(SIZE, 3 * MG_BLOCK_BYTES, MG_BLOCK_BYTES, 0);
    assert_true(inode() != first);
    assert_false(has_block(0));
}

static void test_outage(void **state)
{
    (void)state;
    struct resource *outage = &resources[OUTAGE];
    assert_int_equal(fetch(OUTAGE, 0, 2 * MG_BLOCK_BYTES), MG_OK);
    outage->how = STATUS;
    outage->status = 503;
    now_ms += 61000;
    assert_int_equal(fetch(OUTAGE, 0, MG_BLOCK_BYTES), MG_OK); /* what is here is served */
    check(SIZE, 0, MG_BLOCK_BYTES, 0);
    assert_int_equal(fetch(OUTAGE, 4 * MG_BLOCK_BYTES, 10), MG_E_FETCH); /* what is not cannot be */
    outage->status = 404;
    now_ms += 61000;
    assert_int_equal(fetch(OUTAGE, 0, 10), MG_E_FETCH); /* it is gone for good */
    outage->how = RANGES;
    assert_int_equal(fetch(OUTAGE, 0, 10), MG_OK);
    check(SIZE, 0, MG_BLOCK_BYTES, 0);
    assert_false(has_block(1));
}

static void test_idle_files_are_closed(void **state)
{
    (void)state;
    assert_int_equal(fetch(SCENE, 0, 1), MG_OK);
    int before = 0, after = 0;
    for (int fd = 0; fd < 1024; fd++)
        before += fcntl(fd, F_GETFD) >= 0;
    now_ms += 61000;
    mg_remotes_tend(remotes, now_ms);
    for (int fd = 0; fd < 1024; fd++)
        after += fcntl(fd, F_GETFD) >= 0;
    assert_true(after < before);
    assert_int_equal(fetch(SCENE, 0, 1), MG_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),          cmocka_unit_test(test_kept_over_restart),
        cmocka_unit_test(test_revalidation_and_generations),
        cmocka_unit_test(test_single_flight),   cmocka_unit_test(test_servers),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_proxy_variables),
        cmocka_unit_test(test_changing),        cmocka_unit_test(test_no_validator),
        cmocka_unit_test(test_outage),          cmocka_unit_test(test_idle_files_are_closed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
