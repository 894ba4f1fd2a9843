/* Zygote and workers from the front's side of the links: real processes, the real machine, the real
 * sandbox. */
#include "others.h"
#include "moongate/master.h"
#include "moongate/memfd.h"
#include "moongate/sandbox.h"
#include "moongate/worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 60000, BASE_UID = 54000 };

static char data_dir[] = "/tmp/mg-zygote-XXXXXX";
static struct zygote {
    pid_t pid;
    int control, link;
} z;

struct worker {
    uint64_t id;
    int sock;
    struct mg_channel channel;
    pid_t pid;
    unsigned layers;
};

/* ---- messages
 * ---------------------------------------------------------------------------------------- */

/* The next message; `*fd` is its descriptor or -1. */
static enum mg_err next_message(int sock, struct mg_msg *msg, int *fd)
{
    int fds[MG_MSG_MAX_FDS];
    size_t n = 0;
    if (!mg_msg_wait(sock, WAIT_MS))
        fail_msg("nothing came for a minute");
    enum mg_err code = mg_msg_recv(sock, msg, fds, &n);
    if (fd)
        *fd = code == MG_OK && n ? fds[0] : -1;
    return code;
}

static struct mg_msg expect(int sock, enum mg_msg_type type)
{
    struct mg_msg msg;
    enum mg_err code = next_message(sock, &msg, NULL);
    if (code != MG_OK || msg.type != type)
        fail_msg("expected %s, got %s", mg_msg_name(type),
                 code == MG_OK ? mg_msg_name(msg.type) : mg_err_name(code));
    return msg;
}

static void say(int sock, enum mg_msg_type type, uint64_t id)
{
    struct mg_msg msg;
    mg_msg_init(&msg, type);
    msg.id = id;
    assert_int_equal(mg_msg_send(sock, &msg, NULL, 0), MG_OK);
}

static void connect_front(void)
{
    int pair[2];
    struct mg_msg msg;
    assert_int_equal(mg_msg_pair(pair, NULL), MG_OK);
    mg_msg_init(&msg, MG_MSG_PEER);
    msg.role = MG_ROLE_FRONT;
    assert_int_equal(mg_msg_send(z.control, &msg, &pair[1], 1), MG_OK);
    close(pair[1]);
    z.link = pair[0];
}

static void ask_for_worker(struct worker *w, uint64_t id, const char *org)
{
    int pair[2];
    struct mg_msg msg;
    *w = (struct worker){.id = id};
    assert_int_equal(mg_channel_open(&w->channel, -1, NULL), MG_OK);
    assert_int_equal(mg_msg_pair(pair, NULL), MG_OK);
    mg_msg_init(&msg, MG_MSG_SPAWN);
    msg.id = id;
    snprintf(msg.org, sizeof msg.org, "%s", org);
    assert_int_equal(mg_msg_send(z.link, &msg, (int[]){pair[1], w->channel.fd}, 2), MG_OK);
    close(pair[1]);
    w->sock = pair[0];
}

static struct worker spawn(uint64_t id, const char *org)
{
    struct worker w;
    ask_for_worker(&w, id, org);
    struct mg_msg msg = expect(z.link, MG_MSG_SPAWNED);
    assert_int_equal(msg.id, id);
    w.pid = (pid_t)msg.pid;
    w.layers = expect(w.sock, MG_MSG_READY).layers;
    return w;
}

static void drop(struct worker *w)
{
    close(w->sock);
    mg_channel_close(&w->channel);
}

/* Ends the worker and takes note of it. */
static void end(struct worker *w)
{
    say(z.link, MG_MSG_KILL, w->id);
    struct mg_msg msg = expect(z.link, MG_MSG_EXITED);
    assert_int_equal(msg.id, w->id);
    assert_true(WIFSIGNALED(msg.status) && WTERMSIG(msg.status) == SIGKILL);
    drop(w);
}

/* ---- runs
 * -------------------------------------------------------------------------------------------- */

#define UDF(body) "local moon = require 'moon'\nreturn moon.udf(function() " body " end)"

struct run {
    const char *code; /* NULL: no bundle is attached */
    uint8_t hash;     /* first byte of the code's hash */
    bool gzip;
};

static void start_run(struct worker *w, uint64_t id, struct run run)
{
    struct mg_buf bundle, packed, none;
    int fd = -1;
    mg_buf_init(&bundle, 0);
    mg_buf_init(&packed, MG_CHANNEL_REQUEST);
    mg_buf_init(&none, 0);
    mg_pack_int(&none, 0);
    struct mg_span nothing = {none.data, none.len};
    struct mg_run_request request = {.org = MG_SPAN("local"),
                                     .udf = MG_SPAN("Test"),
                                     .code = {{run.hash}},
                                     .args = nothing,
                                     .extra = nothing,
                                     .options = nothing,
                                     .deadline_ms = 30000,
                                     .lua_bytes = 256 << 20,
                                     .result_bytes = 64 << 20,
                                     .owner = true,
                                     .gzip = run.gzip};
    mg_run_request_pack(&request, &packed);
    memcpy(w->channel.request, packed.data, packed.len);
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_RUN);
    msg.id = id;
    msg.bytes = packed.len;
    if (run.code) {
        mg_pack_int(&bundle, 1);
        mg_pack_str(&bundle, "Test.lua");
        mg_pack_str(&bundle, run.code);
        assert_int_equal(
            mg_memfd_of("bundle", (struct mg_span){bundle.data, bundle.len}, &fd, NULL), MG_OK);
    }
    assert_int_equal(mg_msg_send(w->sock, &msg, &fd, fd >= 0), MG_OK);
    if (fd >= 0)
        close(fd);
    mg_buf_fini(&bundle);
    mg_buf_fini(&packed);
    mg_buf_fini(&none);
}

static struct mg_run_result read_result(struct worker *w, const struct mg_msg *done)
{
    struct mg_run_result result;
    struct mg_result_head head;
    memcpy(&head, w->channel.result, sizeof head);
    size_t len =
        done->big ? sizeof head + head.meta_bytes : mg_result_body_offset(&head) + head.body_bytes;
    assert_true(len <= MG_CHANNEL_RESULT);
    assert_int_equal(
        mg_run_result_unpack((struct mg_span){(char *)w->channel.result, len}, &result), MG_OK);
    return result;
}

static struct mg_run_result run(struct worker *w, uint64_t id, struct run what)
{
    start_run(w, id, what);
    struct mg_msg done = expect(w->sock, MG_MSG_DONE);
    assert_int_equal(done.id, id);
    return read_result(w, &done);
}

static void assert_body(const struct mg_run_result *result, const char *text)
{
    if (result->err != MG_OK || !mg_span_is(result->body, text))
        fail_msg("expected \"%s\", got %s: %.*s", text, mg_err_name(result->err),
                 (int)(result->err ? result->message.len : result->body.len),
                 result->err ? result->message.data : result->body.data);
}

/* ---- tests
 * ------------------------------------------------------------------------------------------- */

static void test_run(void **state)
{
    (void)state;
    struct stat st;
    char path[128];
    struct worker w = spawn(1, "local");
    assert_int_equal(w.layers & MG_LAYER_MANDATORY, MG_LAYER_MANDATORY);
    static const char *const folders[] = {"fd", "cache", "scratch"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/orgs/local/%s", data_dir, folders[i]);
        assert_int_equal(stat(path, &st), 0);
    }
    struct mg_run_result result =
        run(&w, 11, (struct run){.code = UDF("return 'first'"), .hash = 1});
    assert_body(&result, "first");
    assert_int_equal(result.status, 200);
    result = run(&w, 12, (struct run){.hash = 1});
    assert_body(&result, "first");
    result =
        run(&w, 13, (struct run){.code = UDF("x = (x or 0) + 1 return tostring(x)"), .hash = 2});
    struct mg_run_result again = run(&w, 14, (struct run){.hash = 2});
    assert_int_equal(again.err, result.err); /* nothing of a run is left for the next */
    result = run(&w, 15, (struct run){.code = UDF("error('no luck')"), .hash = 3});
    assert_int_equal(result.err, MG_E_UDF);
    assert_non_null(memmem(result.message.data, result.message.len, "no luck", 7));
    say(w.sock, MG_MSG_PING, 77);
    assert_int_equal(expect(w.sock, MG_MSG_PONG).id, 77);
    end(&w);
}

/* The list of bundles: the 32 used last. */
static void test_bundles(void **state)
{
    (void)state;
    struct worker w = spawn(1, "local");
    struct mg_run_result result = run(&w, 1, (struct run){.hash = 9});
    assert_int_equal(result.err, MG_E_CONFLICT);
    for (uint8_t i = 0; i < 32; i++) {
        result = run(&w, 10 + i, (struct run){.code = UDF("return 'x'"), .hash = i});
        assert_body(&result, "x");
    }
    result = run(&w, 50, (struct run){.hash = 0}); /* used: now 1 is the oldest */
    assert_body(&result, "x");
    result = run(&w, 51, (struct run){.code = UDF("return 'new'"), .hash = 32});
    assert_body(&result, "new");
    result = run(&w, 52, (struct run){.hash = 0});
    assert_body(&result, "x");
    result = run(&w, 53, (struct run){.hash = 1});
    assert_int_equal(result.err, MG_E_CONFLICT);
    result = run(&w, 54, (struct run){.hash = 2});
    assert_body(&result, "x");
    result = run(
        &w, 55,
        (struct run){.code = UDF("return 'newer'"), .hash = 2}); /* known and attached: replaced */
    assert_body(&result, "newer");
    result = run(&w, 56, (struct run){.hash = 3});
    assert_body(&result, "x");
    end(&w);
}

static void test_big(void **state)
{
    (void)state;
    enum { BYTES = 3000000 };
    struct worker w = spawn(1, "local");
    start_run(&w, 5, (struct run){.code = UDF("return ('abc'):rep(1000000)"), .hash = 1});
    struct mg_msg msg = expect(w.sock, MG_MSG_NEED);
    assert_int_equal(msg.id, 5);
    assert_int_equal(msg.bytes, BYTES);
    int fd;
    void *at;
    assert_int_equal(mg_memfd_new("big", msg.bytes, false, &fd, NULL), MG_OK);
    mg_msg_init(&msg, MG_MSG_BIG);
    msg.id = 5;
    msg.bytes = BYTES;
    assert_int_equal(mg_msg_send(w.sock, &msg, &fd, 1), MG_OK);
    msg = expect(w.sock, MG_MSG_DONE);
    assert_int_equal(msg.big, 1);
    struct mg_run_result result = read_result(&w, &msg);
    assert_int_equal(result.err, MG_OK);
    assert_true(mg_memfd_check(fd, BYTES, true));
    assert_int_equal(mg_memfd_map(fd, BYTES, false, &at, NULL), MG_OK);
    assert_memory_equal(at, "abcabc", 6);
    assert_memory_equal((char *)at + BYTES - 6, "abcabc", 6);
    munmap(at, BYTES);
    close(fd);
    result = run(&w, 6, (struct run){.code = UDF("return 'small again'"), .hash = 2});
    assert_body(&result, "small again");
    end(&w);
}

static void test_gzip(void **state)
{
    (void)state;
    struct worker w = spawn(1, "local");
    struct mg_run_result result =
        run(&w, 1, (struct run){.code = UDF("return ('abc'):rep(10000)"), .hash = 1, .gzip = true});
    assert_int_equal(result.err, MG_OK);
    assert_true(result.gzip);
    assert_int_equal(result.identity_bytes, 30000);
    assert_true(result.body.len < 3000);
    assert_memory_equal(result.body.data, "\x1f\x8b", 2);
    result = run(&w, 2, (struct run){.code = UDF("return 'abc'"), .hash = 2, .gzip = true});
    assert_false(result.gzip); /* nothing to gain */
    assert_body(&result, "abc");
    end(&w);
}

/* A run of another UDF: the question comes in the channel, the answer goes back in a memfd. */
static void test_call(void **state)
{
    (void)state;
    struct worker w = spawn(1, "local");
    start_run(&w, 8, (struct run){.code = UDF("return moon.run('Other', { a = 1 })"), .hash = 1});
    struct mg_msg msg = expect(w.sock, MG_MSG_CALL);
    struct mg_run_request asked;
    assert_int_equal(
        mg_run_request_unpack((struct mg_span){(char *)w.channel.result, msg.bytes}, &asked),
        MG_OK);
    assert_true(mg_span_is(asked.udf, "Other"));
    assert_int_equal(asked.mode, MG_RUN_VALUE);
    struct mg_run_result answer = {
        .err = MG_E_NOT_FOUND, .message = MG_SPAN("there is no Other"), .max_age_s = -1};
    struct mg_buf packed;
    int fd;
    mg_buf_init(&packed, 0);
    mg_run_result_pack(&answer, true, &packed);
    assert_int_equal(mg_memfd_of("child", (struct mg_span){packed.data, packed.len}, &fd, NULL),
                     MG_OK);
    mg_msg_init(&msg, MG_MSG_CHILD);
    msg.id = 8;
    msg.tag = 1;
    msg.bytes = packed.len;
    assert_int_equal(mg_msg_send(w.sock, &msg, &fd, 1), MG_OK);
    close(fd);
    mg_buf_fini(&packed);
    msg = expect(w.sock, MG_MSG_DONE);
    struct mg_run_result result = read_result(&w, &msg);
    assert_int_not_equal(result.err, MG_OK);
    assert_non_null(memmem(result.message.data, result.message.len, "there is no Other", 17));
    end(&w);
}

/* The death of one, however it comes, is told and does not touch the others. */
static void test_deaths(void **state)
{
    (void)state;
    static const struct {
        const char *code; /* NULL: killed from outside while idle */
        int end_signal;
        const char *sentence;
    } rows[] = {
        {NULL, SIGKILL, "a worker that is killed is told"},
        {UDF("while true do end"), SIGKILL, "an endless loop is killed"},
        {UDF("local function f() return coroutine.wrap(f)() end return f()"), 0,
         "recursion of coroutines ends a worker"},
    };
    struct worker other = spawn(100, "local");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct worker w = spawn(i + 1, "local");
        if (rows[i].code)
            start_run(&w, 1, (struct run){.code = rows[i].code, .hash = 1});
        if (!rows[i].code)
            assert_int_equal(kill(w.pid, SIGKILL), 0);
        else if (rows[i].end_signal == SIGKILL)
            say(z.link, MG_MSG_KILL, w.id);
        else { /* by itself, with a signal or (a sanitizer) a status; or the machine keeps it from
                  that */
            struct mg_msg msg;
            if (next_message(w.sock, &msg, NULL) == MG_OK) {
                assert_int_equal(msg.type, MG_MSG_DONE);
                assert_int_not_equal(read_result(&w, &msg).err, MG_OK);
                say(z.link, MG_MSG_KILL, w.id);
            }
        }
        struct mg_msg msg = expect(z.link, MG_MSG_EXITED);
        assert_int_equal(msg.id, w.id);
        if (rows[i].end_signal &&
            (!WIFSIGNALED(msg.status) || WTERMSIG(msg.status) != rows[i].end_signal))
            fail_msg("%s (status %#x)", rows[i].sentence, (unsigned)msg.status);
        drop(&w);
        struct mg_run_result result =
            run(&other, i + 1, (struct run){.code = UDF("return 'alive'"), .hash = 1});
        assert_body(&result, "alive");
    }
    end(&other);
}

/* A front that hangs up ends its worker; one that sends nonsense, too. */
static void test_hang_up(void **state)
{
    (void)state;
    struct worker w = spawn(1, "local");
    drop(&w);
    struct mg_msg msg = expect(z.link, MG_MSG_EXITED);
    assert_int_equal(msg.id, 1);
    assert_true(WIFEXITED(msg.status) && WEXITSTATUS(msg.status) == 0);
    w = spawn(2, "local");
    say(w.sock, MG_MSG_STOP, 0);
    msg = expect(z.link, MG_MSG_EXITED);
    assert_true(WIFEXITED(msg.status) && WEXITSTATUS(msg.status) != 0);
    drop(&w);
}

static void test_front_restarts(void **state)
{
    (void)state;
    struct worker old = spawn(1, "local");
    int old_link = z.link;
    connect_front();
    struct mg_msg msg;
    assert_int_equal(next_message(old.sock, &msg, NULL), MG_E_UNAVAILABLE); /* killed */
    assert_int_equal(next_message(old_link, &msg, NULL), MG_E_UNAVAILABLE);
    close(old_link);
    drop(&old);
    /* The same number again: what is told of it is about the new one. */
    struct worker fresh = spawn(1, "local");
    struct mg_run_result result =
        run(&fresh, 1, (struct run){.code = UDF("return 'fresh'"), .hash = 1});
    assert_body(&result, "fresh");
    end(&fresh);
}

static void test_bad_spawn(void **state)
{
    (void)state;
    static const char *const names[] = {"", "..", "../x", "a/b", ".hidden", "a b", "-x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct worker w;
        ask_for_worker(&w, i + 1, names[i]);
        struct mg_msg msg = expect(z.link, MG_MSG_EXITED);
        assert_int_equal(msg.id, i + 1);
        assert_int_equal(WEXITSTATUS(msg.status), 1);
        drop(&w);
    }
}

/* The path of a worker's folder as the worker sees it (through its own mounts), or we. False: not to be seen. */
static bool scratch_path(const struct worker *w, bool inside, char *path, size_t size)
{
    struct dirent **names;
    char folder[128];
    snprintf(folder, sizeof folder, "%s/orgs/local/scratch", data_dir);
    int n = scandir(folder, &names, NULL, alphasort);
    assert_int_equal(n, 3); /* ".", ".." and the one */
    snprintf(path, size, "/proc/%d/root%s/%s", inside ? (int)w->pid : getpid(), folder, names[2]->d_name);
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    return access(path, F_OK) == 0;
}

static void put_file(const char *folder, off_t bytes, char *path, size_t size)
{
    snprintf(path, size, "%s/planted", folder);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, bytes), 0);
    close(fd);
}

/* Empty after each run, ended when it holds too much, and gone with the worker. */
static void test_scratch(void **state)
{
    (void)state;
    char folder[400], path[420];
    struct stat st;
    struct worker w = spawn(1, "local");
    if (scratch_path(&w, true, folder, sizeof folder)) { /* root may look into the worker */
        put_file(folder, 1000, path, sizeof path);
        struct mg_run_result result = run(&w, 1, (struct run){.code = UDF("return 'x'"), .hash = 1});
        assert_body(&result, "x");
        result = run(&w, 2, (struct run){.hash = 1}); /* after which the first one has been tidied up */
        assert_body(&result, "x");
        assert_int_not_equal(stat(path, &st), 0);
    }
    assert_true(scratch_path(&w, false, folder, sizeof folder));
    put_file(folder, (off_t)300 << 20, path, sizeof path);
    struct mg_msg msg = expect(z.link, MG_MSG_EXITED); /* nobody else asked for that */
    assert_int_equal(msg.id, 1);
    assert_true(WIFSIGNALED(msg.status) && WTERMSIG(msg.status) == SIGKILL);
    assert_int_not_equal(stat(folder, &st), 0);
    drop(&w);
    w = spawn(2, "local");
    assert_true(scratch_path(&w, false, folder, sizeof folder));
    put_file(folder, 1000, path, sizeof path);
    end(&w);
    assert_int_not_equal(stat(folder, &st), 0);
}

/* Started as root, each organisation has a uid of its own, and keeps it. */
static void test_uids(void **state)
{
    (void)state;
    if (geteuid() != 0 || !others_may_pass()) { /* all is ours, and no worker claims otherwise */
        struct worker w = spawn(1, "one");
        assert_false(w.layers & MG_LAYER_UID);
        end(&w);
        return;
    }
    static const char *const orgs[] = {"one", "two", "one", "three"};
    static const unsigned expected[] = {0, 1, 0, 2}; /* beyond that of "local", which came first */
    struct stat local, st;
    char path[128];
    snprintf(path, sizeof path, "%s/orgs/local/fd", data_dir);
    assert_int_equal(stat(path, &local), 0);
    assert_int_equal(local.st_uid, BASE_UID);
    for (size_t i = 0; i < 4; i++) {
        struct worker w = spawn(i + 1, orgs[i]);
        assert_true(w.layers & MG_LAYER_UID);
        snprintf(path, sizeof path, "/proc/%d/status", (int)w.pid);
        char text[4096] = {0}, line[32];
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        assert_true(fread(text, 1, sizeof text - 1, file) > 0);
        fclose(file);
        snprintf(line, sizeof line, "Uid:\t%u\t", BASE_UID + 1 + expected[i]);
        assert_non_null(strstr(text, line));
        assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
        snprintf(path, sizeof path, "%s/orgs/%s/cache", data_dir, orgs[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_uid, BASE_UID + 1 + expected[i]);
        end(&w);
    }
}

static void test_stop(void **state)
{
    (void)state;
    struct worker w = spawn(1, "local");
    start_run(&w, 1, (struct run){.code = UDF("while true do end"), .hash = 1});
    say(z.control, MG_MSG_PING, 5);
    assert_int_equal(expect(z.control, MG_MSG_PONG).id, 5);
    say(z.control, MG_MSG_STOP, 0);
    int status;
    assert_int_equal(waitpid(z.pid, &status, 0), z.pid);
    assert_int_equal(status, 0);
    z.pid = 0;
    struct mg_msg msg;
    assert_int_equal(next_message(w.sock, &msg, NULL), MG_E_UNAVAILABLE);
    drop(&w);
}

/* ---- set-up
 * ------------------------------------------------------------------------------------------ */

static int start_zygote(void **state)
{
    (void)state;
    static struct mg_zygote_config config = {
        .data_dir = data_dir, .lua_dir = MG_SOURCE_DIR "/lua", .data_bytes = 1 << 30};
    int pair[2];
    config.base_uid = geteuid() == 0 && others_may_pass() ? BASE_UID : 0;
    if (mg_msg_pair(pair, NULL) != MG_OK)
        return -1;
    fflush(NULL);
    z.pid = fork();
    if (z.pid == 0) {
        close(pair[0]);
        mg_child_setup("zygote");
        _exit(mg_zygote_main(pair[1], &config));
    }
    close(pair[1]);
    z.control = pair[0];
    expect(z.control, MG_MSG_STARTED);
    connect_front();
    return 0;
}

static int stop_zygote(void **state)
{
    (void)state;
    close(z.control);
    close(z.link);
    int status = 0;
    if (z.pid > 0 && (waitpid(z.pid, &status, 0) != z.pid || status != 0))
        return -1; /* the end of the control link is the zygote's end */
    return 0;
}

static int make_data_dir(void **state)
{
    (void)state;
    return mkdtemp(data_dir) ? chmod(data_dir, 0755) : -1;
}
static int remove_data_dir(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", data_dir);
    return system(command);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, start_zygote, stop_zygote)
    const struct CMUnitTest tests[] = {
        TEST(test_run),       TEST(test_bundles), TEST(test_big),     TEST(test_gzip),
        TEST(test_call),      TEST(test_deaths),  TEST(test_hang_up), TEST(test_front_restarts),
        TEST(test_bad_spawn), TEST(test_scratch), TEST(test_uids),    TEST(test_stop)};
    return cmocka_run_group_tests(tests, make_data_dir, remove_data_dir);
}
