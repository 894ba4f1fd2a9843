/* The fetcher as a process: its links, https with a certificate of the operator's, and a file of it in GDAL's hands. */
#include "range_server.h"

#include "moongate/fetch.h"
#include "moongate/files.h"
#include "moongate/log.h"
#include "moongate/master.h"
#include "moongate/msg.h"

#include <cpl_vsi.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { SIZE = 4 * MG_BLOCK_BYTES + 99, SCENE = 0 };
static struct resource resources[] = {{.path = "/scene.tif", .how = RANGES, .size = SIZE}};
static struct server plain, tls;
static char folder[] = "/tmp/mg_test_fetcher_XXXXXX";
static const char *const allow[] = {"127.0.0.0/8", NULL};

struct process {
    pid_t pid;
    int control, front;
};

static void receive(int sock, enum mg_msg_type type, struct mg_msg *msg, int *fd)
{
    int fds[MG_MSG_MAX_FDS];
    size_t n = 0;
    assert_true(mg_msg_wait(sock, 30000));
    assert_int_equal(mg_msg_recv(sock, msg, fds, &n), MG_OK);
    assert_int_equal(msg->type, type);
    assert_true(n <= 1);
    if (fd)
        *fd = n ? fds[0] : -1;
    else if (n)
        close(fds[0]);
}

static void connect_front(struct process *process)
{
    int link[2];
    struct mg_msg msg;
    if (process->front >= 0)
        close(process->front);
    assert_int_equal(mg_msg_pair(link, NULL), MG_OK);
    mg_msg_init(&msg, MG_MSG_PEER);
    msg.role = MG_ROLE_FRONT;
    assert_int_equal(mg_msg_send(process->control, &msg, &link[1], 1), MG_OK);
    close(link[1]);
    process->front = link[0];
}

static void start(struct process *process, const char *ca_file)
{
    int control[2];
    struct mg_msg msg;
    struct mg_fetch_config config = {.data_dir = folder, .ca_file = ca_file, .allow = allow, .max_bytes = 8 << 20,
                                     .timeout_s = 20, .revalidate_s = 60};
    assert_int_equal(mg_msg_pair(control, NULL), MG_OK);
    process->front = -1;
    process->pid = fork();
    assert_true(process->pid >= 0);
    if (process->pid == 0) {
        close(control[0]);
        _exit(mg_fetcher_main(control[1], &config));
    }
    close(control[1]);
    process->control = control[0];
    receive(process->control, MG_MSG_STARTED, &msg, NULL);
    connect_front(process);
}

static int end(struct process *process)
{
    int status;
    assert_int_equal(waitpid(process->pid, &status, 0), process->pid);
    close(process->control);
    close(process->front);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
static int stop(struct process *process)
{
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_STOP);
    assert_int_equal(mg_msg_send(process->control, &msg, NULL, 0), MG_OK);
    return end(process);
}

static void ask(const struct process *process, const char *url, uint64_t offset, uint64_t bytes, uint64_t tag)
{
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_FETCH);
    msg.id = 7;
    msg.tag = tag;
    msg.offset = offset;
    msg.bytes = bytes;
    snprintf(msg.org, sizeof msg.org, "local");
    snprintf(msg.url, sizeof msg.url, "%s", url);
    assert_int_equal(mg_msg_send(process->front, &msg, NULL, 0), MG_OK);
}
static const char *url_of(const struct server *server)
{
    static char url[128];
    snprintf(url, sizeof url, "%s://127.0.0.1:%d/scene.tif", server->tls ? "https" : "http", server->port);
    return url;
}

static int setup(void **state)
{
    (void)state;
    mg_log_init("test", MG_LOG_ERROR, false);
    assert_non_null(mkdtemp(folder));
    server_start(&plain, resources, 1, false);
    server_start(&tls, resources, 1, true);
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    char command[128];
    server_stop(&plain);
    server_stop(&tls);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void test_links(void **state)
{
    (void)state;
    struct process process;
    struct mg_msg msg;
    int fd;
    start(&process, NULL);
    mg_msg_init(&msg, MG_MSG_PING);
    msg.id = 42;
    assert_int_equal(mg_msg_send(process.control, &msg, NULL, 0), MG_OK);
    receive(process.control, MG_MSG_PONG, &msg, NULL);
    assert_int_equal(msg.id, 42);

    ask(&process, url_of(&plain), 0, 1, 1);
    receive(process.front, MG_MSG_FETCHED, &msg, &fd);
    assert_int_equal(msg.err, MG_OK);
    assert_int_equal(msg.id, 7);
    assert_int_equal(msg.tag, 1);
    assert_string_equal(msg.text, "\"v0\"");
    assert_int_equal(msg.bytes, MG_BLOCK_BYTES);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), -1); /* read-only */
    close(fd);

    ask(&process, "file:///etc/passwd", 0, 1, 2);
    receive(process.front, MG_MSG_FETCHED, &msg, &fd);
    assert_int_equal(msg.err, MG_E_ARGUMENT);
    assert_int_equal(msg.tag, 2);
    assert_int_equal(fd, -1);

    /* A new front takes the place of the old one, whose questions nobody awaits any more. */
    server_set(&plain, &resources[SCENE], 0, true);
    ask(&process, url_of(&plain), 3 * MG_BLOCK_BYTES, 1, 3);
    connect_front(&process);
    server_set(&plain, &resources[SCENE], 0, false);
    ask(&process, url_of(&plain), 0, 1, 4);
    receive(process.front, MG_MSG_FETCHED, &msg, &fd);
    assert_int_equal(msg.tag, 4);
    close(fd);
    /* It lives on without a front, and ends when told. */
    shutdown(process.front, SHUT_RDWR);
    mg_msg_init(&msg, MG_MSG_PING);
    assert_int_equal(mg_msg_send(process.control, &msg, NULL, 0), MG_OK);
    receive(process.control, MG_MSG_PONG, &msg, NULL);
    assert_int_equal(stop(&process), 0);
}

static void test_ends_with_master(void **state)
{
    (void)state;
    struct process process;
    start(&process, NULL);
    shutdown(process.control, SHUT_RDWR);
    assert_int_equal(end(&process), 0);
}

static void test_https(void **state)
{
    (void)state;
    struct process process;
    struct mg_msg msg;
    int fd;
    start(&process, NULL);
    ask(&process, url_of(&tls), 0, 1, 1);
    receive(process.front, MG_MSG_FETCHED, &msg, &fd);
    assert_int_equal(msg.err, MG_E_FETCH);
    assert_non_null(strstr(msg.text, "certificate of 127.0.0.1 cannot be trusted"));
    assert_int_equal(stop(&process), 0);

    start(&process, tls.ca_file);
    ask(&process, url_of(&tls), 0, 1, 1);
    receive(process.front, MG_MSG_FETCHED, &msg, &fd);
    assert_int_equal(msg.err, MG_OK);
    close(fd);
    assert_int_equal(stop(&process), 0);
}

static void test_bad_setup(void **state)
{
    (void)state;
    int control[2];
    struct mg_fetch_config config = {.data_dir = folder, .ca_file = "/nonexistent.pem", .max_bytes = 1 << 20};
    assert_int_equal(mg_msg_pair(control, NULL), MG_OK);
    pid_t pid = fork();
    if (pid == 0) {
        close(STDERR_FILENO);
        _exit(mg_fetcher_main(control[1], &config));
    }
    struct process process = {.pid = pid, .control = control[0], .front = control[1]};
    assert_int_equal(end(&process), 2);
}

/* A worker's fetch function over the link. */
static enum mg_err fetch_by_link(void *context, const char *url, uint64_t offset, uint64_t bytes, int *fd,
                                 struct mg_errmsg *err)
{
    struct process *process = context;
    struct mg_msg msg;
    ask(process, url, offset, bytes, 9);
    receive(process->front, MG_MSG_FETCHED, &msg, fd);
    return msg.err ? mg_err_set(err, (enum mg_err)msg.err, "%s", msg.text) : MG_OK;
}

static void test_vsimoon(void **state)
{
    (void)state;
    struct process process;
    struct mg_files files = {.cache_dirfd = -1};
    char path[256];
    uint8_t bytes[2000];
    start(&process, tls.ca_file);
    mg_vsimoon_install();
    mg_vsimoon_use(&files, fetch_by_link, NULL, &process);
    assert_int_equal(mg_files_gdal_path(url_of(&tls), path, sizeof path, NULL), MG_OK);
    VSILFILE *file = VSIFOpenL(path, "rb");
    assert_non_null(file);
    static const uint64_t places[] = {0, 3 * MG_BLOCK_BYTES - 1000, SIZE - 2000};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        assert_int_equal(VSIFSeekL(file, places[i], SEEK_SET), 0);
        assert_int_equal(VSIFReadL(bytes, 1, sizeof bytes, file), sizeof bytes);
        for (size_t k = 0; k < sizeof bytes; k++)
            assert_int_equal(bytes[k], content_at(places[i] + k, 0));
    }
    VSIFCloseL(file);
    mg_vsimoon_use(NULL, NULL, NULL, NULL);
    assert_int_equal(stop(&process), 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links),     cmocka_unit_test(test_ends_with_master), cmocka_unit_test(test_https),
        cmocka_unit_test(test_bad_setup), cmocka_unit_test(test_vsimoon),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
