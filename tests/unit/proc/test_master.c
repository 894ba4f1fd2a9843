/* The master: starts and connects children, restarts a killed one, kills a hung one, stops in
 * order. The children report what they see to the test by a pipe; nothing is timed, the test waits
 * for what must come. */
#include "moongate/master.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int events[2]; /* one struct event each */
static char run_dir[] = "/tmp/mg-master-XXXXXX";

struct event {
    char what[16];
    int role;
    pid_t pid;
    int64_t value;
};

static void report(const char *what, int role, int64_t value)
{
    struct event event = {.role = role, .pid = getpid(), .value = value};
    snprintf(event.what, sizeof event.what, "%s", what);
    if (write(events[1], &event, sizeof event) != (ssize_t)sizeof event)
        _exit(9);
}

/* What came and was not yet asked for. */
static struct event seen[256];
static size_t n_seen;
static pid_t running; /* the master of the test, killed when it fails */

/* The first event named `what` of `role` (0: any) that was not taken before. Ends the test after 60
 * s without any. */
static struct event await(const char *what, int role)
{
    for (size_t i = 0;; i++) {
        if (i == n_seen) {
            struct pollfd entry = {.fd = events[0], .events = POLLIN};
            if (n_seen == sizeof seen / sizeof *seen || poll(&entry, 1, 60000) <= 0)
                fail_msg("nothing came while waiting for %s of %d", what, role);
            assert_int_equal(read(events[0], &seen[n_seen], sizeof *seen), sizeof *seen);
            n_seen++;
        }
        if (strcmp(seen[i].what, what) == 0 && (role == 0 || role == seen[i].role)) {
            struct event event = seen[i];
            memmove(&seen[i], &seen[i + 1], (--n_seen - i) * sizeof *seen);
            return event;
        }
    }
}

enum behaviour { NORMAL, NEVER_STOPS, HANGS, FAILS };
struct role {
    int role;
    enum behaviour behaviour;
};

static int child_main(int control, void *context)
{
    struct role *role = context;
    int peer = -1;
    if (role->behaviour == FAILS) {
        report("failing", role->role, 0);
        return 7;
    }
    mg_control_started(control);
    report("started", role->role, 0);
    if (role->behaviour == HANGS)
        for (;;)
            pause();
    for (;;) {
        struct pollfd entries[] = {{.fd = control, .events = POLLIN},
                                   {.fd = peer, .events = POLLIN}};
        struct mg_msg msg;
        int fd, fds[MG_MSG_MAX_FDS];
        size_t n_fds;
        poll(entries, 2, -1);
        enum mg_err code;
        while ((code = mg_control_recv(control, &msg, &fd)) == MG_OK) {
            if (msg.type == MG_MSG_PEER) {
                if (peer >= 0)
                    close(peer);
                peer = fd;
                report("peer", role->role, msg.role);
                mg_msg_init(&msg, MG_MSG_PING); /* a word to the peer, which is to arrive */
                msg.id = (uint64_t)getpid();
                if (mg_msg_send(peer, &msg, NULL, 0) != MG_OK)
                    report("lost", role->role, 0);
            } else if (msg.type == MG_MSG_RELOAD) {
                report("reload", role->role, 0);
            } else if (role->behaviour == NEVER_STOPS) {
                report("deaf", role->role, 0);
            } else {
                report("stopping", role->role, msg.ms);
                return 0;
            }
        }
        if (code == MG_E_UNAVAILABLE)
            return 0;
        if (peer >= 0 && (code = mg_msg_recv(peer, &msg, fds, &n_fds)) == MG_OK) {
            report("word", role->role, (int64_t)msg.id);
        } else if (peer >= 0 && code == MG_E_UNAVAILABLE) {
            close(peer);
            peer = -1;
            report("alone", role->role, 0);
        }
    }
}

static void on_ready(void *context)
{
    (void)context;
    report("ready", 0, 0);
}

static pid_t start_master(enum behaviour front, enum behaviour zygote)
{
    static struct role roles[2];
    static struct mg_child children[2];
    roles[0] = (struct role){MG_CHILD_FRONT, front};
    roles[1] = (struct role){MG_CHILD_ZYGOTE, zygote};
    children[0] = (struct mg_child){MG_CHILD_FRONT, "front", child_main, &roles[0]};
    children[1] = (struct mg_child){MG_CHILD_ZYGOTE, "zygote", child_main, &roles[1]};
    struct mg_master master = {.children = children,
                               .n_children = 2,
                               .on_ready = on_ready,
                               .run_dir = run_dir,
                               .grace_ms = front == NEVER_STOPS ? 50 : 0,
                               .ping_ms = zygote == HANGS ? 20 : 0,
                               .backoff_ms = 5};
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(mg_master_run(&master));
    return running = pid;
}

static int stop_master(pid_t pid)
{
    int status = 0;
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_life(void **state)
{
    (void)state;
    pid_t master = start_master(NORMAL, NORMAL);
    await("ready", 0);
    pid_t front = (pid_t)await("word", MG_CHILD_ZYGOTE).value; /* both ends of the link work */
    assert_true(front > 0 && front != master);
    kill(master, SIGHUP);
    await("reload", 0);
    /* The front first, and the others only when it has gone. */
    assert_int_equal(stop_master(master), 0);
    assert_int_equal(await("stopping", 0).role, MG_CHILD_FRONT);
    assert_int_equal(await("stopping", 0).role, MG_CHILD_ZYGOTE);
}

static void test_restart(void **state)
{
    (void)state;
    pid_t master = start_master(NORMAL, NORMAL);
    await("ready", 0);
    pid_t pids[] = {[MG_CHILD_FRONT] = await("started", MG_CHILD_FRONT).pid,
                    [MG_CHILD_ZYGOTE] = await("started", MG_CHILD_ZYGOTE).pid};
    for (int i = 0; i < 6; i++) {
        int role = i % 2 ? MG_CHILD_FRONT : MG_CHILD_ZYGOTE,
            other = i % 2 ? MG_CHILD_ZYGOTE : MG_CHILD_FRONT;
        assert_int_equal(await("word", other).value, pids[role]); /* they are linked */
        assert_int_equal(await("word", role).value, pids[other]);
        assert_int_equal(kill(pids[role], SIGKILL), 0);
        await("alone", other); /* the other sees the end of its link, and lives on */
        pid_t heir = await("started", role).pid;
        assert_int_not_equal(heir, pids[role]);
        pids[role] = heir;
    }
    assert_int_equal(stop_master(master), 0);
    char path[128], text[512] = {0};
    snprintf(path, sizeof path, "%s/crash-zygote.txt", run_dir);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    assert_non_null(strstr(text, "signal 9"));
    assert_non_null(strstr(text, "time: 20"));
}

static void test_hung(void **state)
{
    (void)state;
    pid_t master = start_master(NORMAL, HANGS);
    pid_t first = await("started", MG_CHILD_ZYGOTE).pid;
    pid_t second = await("started", MG_CHILD_ZYGOTE).pid; /* three pings later */
    assert_int_not_equal(first, second);
    assert_int_equal(kill(first, 0), -1);
    stop_master(master);
}

static void test_deaf_front(void **state)
{
    (void)state;
    pid_t master = start_master(NEVER_STOPS, NORMAL);
    await("ready", 0);
    assert_int_equal(stop_master(master), 0);
    await("deaf", MG_CHILD_FRONT);
    await("stopping", MG_CHILD_ZYGOTE);
}

static void test_second_signal(void **state)
{
    (void)state;
    pid_t master = start_master(NORMAL, NEVER_STOPS);
    await("ready", 0);
    kill(master, SIGINT);
    await("deaf", MG_CHILD_ZYGOTE);
    assert_int_equal(stop_master(master), 0);
}

static void test_broken_setup(void **state)
{
    (void)state;
    pid_t master = start_master(NORMAL, FAILS);
    int status = 0;
    assert_int_equal(waitpid(master, &status, 0), master); /* by itself, not for ever again */
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void test_master_killed(void **state)
{
    (void)state;
    pid_t master = start_master(NORMAL, HANGS);
    pid_t zygote = await("started", MG_CHILD_ZYGOTE).pid;
    kill(master, SIGKILL);
    assert_int_equal(waitpid(master, NULL, 0), master);
    while (kill(zygote, 0) == 0) /* its death signal; a test that never ends otherwise */
        poll(NULL, 0, 1);
}

static int fresh_pipe(void **state)
{
    (void)state;
    n_seen = 0;
    return pipe2(events, 0);
}
static int close_pipe(void **state)
{
    (void)state;
    if (running > 0 && waitpid(running, NULL, WNOHANG) == 0) {
        kill(running, SIGKILL);
        waitpid(running, NULL, 0);
    }
    running = 0;
    return close(events[0]) | close(events[1]);
}
static int make_run_dir(void **state)
{
    (void)state;
    return mkdtemp(run_dir) ? 0 : -1;
}
static int remove_run_dir(void **state)
{
    (void)state;
    char path[128];
    static const char *const names[] = {"front", "zygote"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/crash-%s.txt", run_dir, names[i]);
        unlink(path);
    }
    return rmdir(run_dir);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh_pipe, close_pipe)
    const struct CMUnitTest tests[] = {TEST(test_life),          TEST(test_restart),
                                       TEST(test_hung),          TEST(test_deaf_front),
                                       TEST(test_second_signal), TEST(test_broken_setup),
                                       TEST(test_master_killed)};
    return cmocka_run_group_tests(tests, make_run_dir, remove_run_dir);
}
