/* The zygote: forks workers for the front, kills and reaps them.
 *
 * One thread, one poll loop over the control link, the link to the front, and SIGCHLD. It holds the
 * loaded libraries and nothing else: no secrets, no open data. A worker belongs to the link on
 * which it was asked for; when that link ends or is replaced, all its workers are killed, and their
 * ends are told to nobody. Cost: a fork of some 30 MB of mapped, shared pages: 0.3 ms. */
#include "org_dirs.h"
#include "process.h"
#include "scratch.h"

#include "moongate/log.h"
#include "moongate/master.h"
#include "moongate/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WORKERS = 8192, MAX_LAYERS = 31, SEND_MS = 5000, SQL_IDLE_MS = 250, SCRATCH_MS = 200 };

struct child {
    uint64_t id;
    pid_t pid;
    int pidfd;
    unsigned link; /* number of the link to the front that asked for it */
    char *scratch; /* its folder */
    int watch;     /* of the folder; -1: none */
    bool wrote;    /* something was made in it: to be measured */
};

struct zygote {
    struct mg_zygote_config config;
    int control, front, signals, notify;
    unsigned link;
    struct child *children;
    size_t n_children, cap;
    struct mg_mount layers[MAX_LAYERS];
    size_t n_layers;
    const char *read_paths[MAX_LAYERS + 16];
    char outside[4096];
    bool sql_tried;
    bool measures; /* some child's folder has something in it */
};

/* System data that GDAL, PROJ and the dynamic linker read while a UDF runs. Those that are not
 * there are passed over. */
static const char *const system_paths[] = {
    "/usr/share/proj",
    "/usr/share/gdal",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/etc/localtime",
};
/* Where an operator's own PROJ and GDAL say that their data lies. */
static const char *const data_variables[] = {"PROJ_DATA", "PROJ_LIB", "GDAL_DATA"};

/* What is left of the environment: a worker must not find an operator's keys and tokens in its
 * memory. */
static const char *const kept_variables[] = {
    "PROJ_DATA", "PROJ_LIB", "GDAL_DATA",       "LANG",         "LC_ALL",       "LC_CTYPE",
    "TZ",        "PATH",     "LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS"};

/* ---- set-up
 * ------------------------------------------------------------------------------------------ */

static char *copy_text(const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    MG_ASSERT(copy || !text);
    return copy;
}

/* The strings of the configuration may lie in the environment, which is wiped. */
static void copy_config(struct zygote *z, const struct mg_zygote_config *config)
{
    size_t n = 0;
    while (config->mounts && config->mounts[n])
        n++;
    const char **mounts = calloc(n + 1, sizeof *mounts);
    MG_ASSERT(mounts);
    for (size_t i = 0; i < n; i++)
        mounts[i] = copy_text(config->mounts[i]);
    z->config = *config;
    z->config.data_dir = copy_text(config->data_dir);
    z->config.lua_dir = copy_text(config->lua_dir);
    z->config.example_dir = copy_text(config->example_dir);
    z->config.mounts = mounts;
}

static void wipe_environment(void)
{
    char *kept[sizeof kept_variables / sizeof *kept_variables];
    size_t n = sizeof kept / sizeof *kept;
    for (size_t i = 0; i < n; i++)
        kept[i] = copy_text(getenv(kept_variables[i]));
    for (char **entry = environ; entry && *entry; entry++)
        explicit_bzero(*entry, strlen(*entry));
    clearenv();
    for (size_t i = 0; i < n; i++)
        if (kept[i]) {
            setenv(kept_variables[i], kept[i], 1);
            free(kept[i]);
        }
}

/* Listening sockets, locks and whatever else the master holds are none of a worker's business; and
 * there may be a pidfd for each of thousands of workers. */
static void tidy_descriptors(int control)
{
    struct rlimit limit;
    if (control > 3)
        close_range(3, (unsigned)control - 1, 0);
    close_range((unsigned)control + 1, ~0u, 0);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static enum mg_err add_layer(struct zygote *z, const char *name, size_t name_len, const char *path,
                             size_t *n_paths, struct mg_errmsg *err)
{
    if (z->n_layers == MAX_LAYERS)
        return mg_err_set(err, MG_E_INVALID, "more than %d mounts", (int)MAX_LAYERS - 1);
    struct mg_mount *mount = &z->layers[z->n_layers];
    if (name_len >= sizeof mount->name)
        return mg_err_set(err, MG_E_INVALID, "--mount %s: the name is longer than %zu bytes", name,
                          sizeof mount->name - 1);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return mg_err_set(err, MG_E_IO, "cannot open the folder %s: %s", path, strerror(errno));
    *mount = (struct mg_mount){.dirfd = fd};
    memcpy(mount->name, name, name_len);
    z->n_layers++;
    z->read_paths[(*n_paths)++] = path;
    return MG_OK;
}

static enum mg_err add_layers(struct zygote *z, struct mg_errmsg *err)
{
    size_t n = 0;
    enum mg_err code = MG_OK;
    if (z->config.example_dir)
        code = add_layer(z, "", 0, z->config.example_dir, &n, err);
    for (const char *const *m = z->config.mounts; code == MG_OK && m && *m; m++) {
        const char *is = strchr(*m, '=');
        if (!is || is == *m || !is[1])
            return mg_err_set(err, MG_E_INVALID, "--mount %s: expected NAME=DIR", *m);
        code = add_layer(z, *m, (size_t)(is - *m), is + 1, &n, err);
    }
    for (size_t i = 0; i < sizeof system_paths / sizeof *system_paths; i++)
        z->read_paths[n++] = system_paths[i];
    if (mg_sql_library_dir()) /* a worker that was forked before the database was opened loads it itself */
        z->read_paths[n++] = mg_sql_library_dir();
    for (size_t i = 0; i < sizeof data_variables / sizeof *data_variables; i++) {
        const char *path = getenv(data_variables[i]);
        if (path && path[0] == '/')
            z->read_paths[n++] = path;
    }
    return code;
}

static enum mg_err set_up(struct zygote *z, struct mg_errmsg *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
        (z->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return mg_err_set(err, MG_E_INTERNAL, "cannot watch for SIGCHLD: %s", strerror(errno));
    enum mg_err code = add_layers(z, err);
    if (code == MG_OK)
        scratch_sweep(z->config.data_dir);
    if (code == MG_OK)
        code = org_dirs_outside(z->config.data_dir, z->outside, sizeof z->outside, err);
    if (code == MG_OK)
        code = mg_sandbox_prepare(err);
    if (code == MG_OK)
        code = mg_vm_setup(z->config.lua_dir, err);
    /* Without it (a limit of the machine) every folder is measured all the time. */
    z->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    tzset(); /* read once here, so that workers need not */
    return code;
}

/* ---- workers
 * ----------------------------------------------------------------------------------------- */

static void tell_front(struct zygote *z, const struct mg_msg *msg)
{
    /* A link that takes nothing for that long is a dead front; its end shows itself in the loop. */
    if (z->front >= 0 && mg_msg_send_wait(z->front, msg, NULL, 0, SEND_MS) != MG_OK)
        mg_log_warn("zygote: the front does not take %s", mg_msg_name(msg->type));
}

static void tell_exited(struct zygote *z, uint64_t id, int status)
{
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_EXITED);
    msg.id = id;
    msg.status = status;
    tell_front(z, &msg);
}

static _Noreturn void become_worker(struct zygote *z, const struct worker_start *start,
                                    pid_t zygote)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_NAME, "mg-worker", 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != zygote)
        _exit(0);
    free(z->children); /* the descriptors in it are closed by the sandbox */
    z->children = NULL;
    _exit(mg_worker_main(start));
}

/* ---- scratch folders
 * --------------------------------------------------------------------------------- */

/* A worker whose folder is covered by a mount of its own makes nothing in the one that we see. */
static void watch_scratch(struct zygote *z, struct child *child, const char *path)
{
    child->scratch = copy_text(path);
    child->watch =
        z->notify < 0 ? -1 : inotify_add_watch(z->notify, path, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
    if (child->watch < 0)
        child->wrote = z->measures = true;
}

static void on_notify(struct zygote *z)
{
    _Alignas(struct inotify_event) char events[4096];
    for (ssize_t n; (n = read(z->notify, events, sizeof events)) > 0;)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const struct inotify_event *)(events + at);
            at += (ssize_t)(sizeof *event + event->len);
            for (size_t i = 0; i < z->n_children; i++)
                if (z->children[i].watch == event->wd || event->mask & IN_Q_OVERFLOW)
                    z->children[i].wrote = z->measures = true;
        }
}

static void forget_scratch(struct zygote *z, struct child *child)
{
    if (child->watch >= 0)
        inotify_rm_watch(z->notify, child->watch);
    scratch_remove(child->scratch);
    free(child->scratch);
}

static enum mg_err spawn(struct zygote *z, const struct mg_msg *msg, const int fds[2],
                         struct mg_errmsg *err)
{
    char org_dir[4096], scratch_dir[4096];
    struct worker_start start = {.sock = fds[0],
                                 .channel_fd = fds[1],
                                 .org_dir = org_dir,
                                 .scratch_dir = scratch_dir,
                                 .layers = z->layers,
                                 .n_layers = z->n_layers,
                                 .read_paths = z->read_paths,
                                 .outside = z->outside,
                                 .data_bytes = z->config.data_bytes,
                                 .quota_bytes = z->config.quota_bytes};
    enum mg_err code = org_dirs_make(z->config.data_dir, msg->org, z->config.base_uid, org_dir,
                                     sizeof org_dir, &start.uid, err);
    if (code != MG_OK)
        return code;
    if (z->n_children == MAX_WORKERS)
        return mg_err_set(err, MG_E_UNAVAILABLE, "more than %d workers", (int)MAX_WORKERS);
    if (z->n_children == z->cap) {
        size_t cap = z->cap ? z->cap * 2 : 64;
        struct child *more = realloc(z->children, cap * sizeof *more);
        if (!more)
            return mg_err_set(err, MG_E_NOMEM, "out of memory");
        z->children = more;
        z->cap = cap;
    }
    code = scratch_make(org_dir, z->link, msg->id, start.uid, scratch_dir, sizeof scratch_dir, err);
    if (code != MG_OK)
        return code;
    pid_t zygote = getpid(), pid = fork();
    if (pid < 0) {
        code = mg_err_set(err, MG_E_UNAVAILABLE, "cannot fork: %s", strerror(errno));
        scratch_remove(scratch_dir);
        return code;
    }
    if (pid == 0)
        become_worker(z, &start, zygote);
    /* Until it is reaped, which happens here alone, the pid cannot mean another process. */
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    z->children[z->n_children++] =
        (struct child){.id = msg->id, .pid = pid, .pidfd = pidfd, .link = z->link};
    watch_scratch(z, &z->children[z->n_children - 1], scratch_dir);
    struct mg_msg answer;
    mg_msg_init(&answer, MG_MSG_SPAWNED);
    answer.id = msg->id;
    answer.pid = pid;
    tell_front(z, &answer);
    return MG_OK;
}

static void kill_child(const struct child *child)
{
    if (child->pidfd < 0 || syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0) < 0)
        kill(child->pid, SIGKILL);
}

/* Ends who has more in his folder than is allowed. A folder in which nothing is any more is left
 * alone until the next file is made there. */
static void measure_scratch(struct zygote *z)
{
    z->measures = false;
    for (size_t i = 0; i < z->n_children; i++) {
        struct child *child = &z->children[i];
        bool holds = false;
        if (!child->wrote)
            continue;
        if (scratch_is_over(child->scratch, &holds)) {
            mg_log_error("zygote: a worker is ended: more than %d MB or %d files in its scratch folder",
                         SCRATCH_BYTES >> 20, (int)SCRATCH_FILES);
            kill_child(child);
            holds = false; /* that was that */
        }
        child->wrote = holds || child->watch < 0;
        z->measures |= child->wrote;
    }
}

static void kill_all(struct zygote *z)
{
    for (size_t i = 0; i < z->n_children; i++)
        kill_child(&z->children[i]);
}

static void reap(struct zygote *z)
{
    struct signalfd_siginfo info;
    while (read(z->signals, &info, sizeof info) > 0)
        ;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (size_t i = 0; i < z->n_children; i++) {
            struct child child = z->children[i];
            if (child.pid != pid)
                continue;
            if (child.pidfd >= 0)
                close(child.pidfd);
            forget_scratch(z, &child);
            z->children[i] = z->children[--z->n_children];
            if (child.link == z->link)
                tell_exited(z, child.id, status);
            break;
        }
}

/* ---- links
 * ------------------------------------------------------------------------------------------- */

static void lose_front(struct zygote *z)
{
    if (z->front < 0)
        return;
    close(z->front);
    z->front = -1;
    z->link++;
    kill_all(z);
}

static void on_front(struct zygote *z)
{
    while (z->front >= 0) {
        struct mg_msg msg;
        struct mg_errmsg err = {{0}};
        int fds[MG_MSG_MAX_FDS];
        size_t n_fds = 0;
        enum mg_err code = mg_msg_recv(z->front, &msg, fds, &n_fds);
        if (code == MG_E_CANCELLED)
            return;
        if (code != MG_OK) {
            if (code == MG_E_INVALID)
                mg_log_error("zygote: the front sent a malformed message");
            lose_front(z);
            return;
        }
        if (msg.type == MG_MSG_SPAWN) {
            code = spawn(z, &msg, fds, &err);
            if (code != MG_OK) {
                mg_log_error("no worker for %s: %s", msg.org, err.text);
                tell_exited(z, msg.id, 1 << 8);
            }
        } else if (msg.type == MG_MSG_KILL) {
            for (size_t i = 0; i < z->n_children; i++)
                if (z->children[i].id == msg.id && z->children[i].link == z->link)
                    kill_child(&z->children[i]);
        }
        for (size_t i = 0; i < n_fds; i++)
            close(fds[i]);
    }
}

/* Once, in the first quiet moment: the workers that come then have SQL at once, and the first tile waits for nothing
 * (opening takes 50 ms and 4 MB, and makes a fork 0.1 ms longer). */
static void open_sql(struct zygote *z)
{
    struct mg_errmsg err = {{0}};
    z->sql_tried = true;
    if (mg_sql_open(&err) != MG_OK)
        mg_log_warn("zygote: no SQL: %s", err.text);
    else
        mg_child_drop_clean("libduckdb.so"); /* 13 MB, which most workers never touch */
}

/* False when the zygote is to end. */
static bool on_control(struct zygote *z)
{
    for (;;) {
        struct mg_msg msg;
        int fd;
        enum mg_err code = mg_control_recv(z->control, &msg, &fd);
        if (code == MG_E_CANCELLED)
            return true;
        if (code != MG_OK || msg.type == MG_MSG_STOP)
            return false;
        if (msg.type == MG_MSG_PEER && msg.role == MG_ROLE_FRONT) {
            lose_front(z);
            z->front = fd;
        } else if (fd >= 0) {
            close(fd);
        }
    }
}

int mg_zygote_main(int control, void *config)
{
    static struct zygote z;
    struct mg_errmsg err = {{0}};
    z = (struct zygote){.control = control, .front = -1, .signals = -1, .notify = -1};
    tidy_descriptors(control);
    copy_config(&z, config);
    wipe_environment();
    enum mg_err code = set_up(&z, &err);
    if (code != MG_OK) {
        mg_log_error("workers cannot be started: %s", err.text[0] ? err.text : mg_err_text(code));
        return 1;
    }
    mg_sql_setup(&(struct mg_sql_config){.memory_bytes = z.config.data_bytes / 2});
    mg_control_started(control);
    for (;;) {
        struct pollfd entries[] = {{.fd = control, .events = POLLIN},
                                   {.fd = z.signals, .events = POLLIN},
                                   {.fd = z.front, .events = POLLIN},
                                   {.fd = z.notify, .events = POLLIN}};
        bool waits = !z.sql_tried && z.n_children > 0;
        int ready = poll(entries, 4, z.measures ? SCRATCH_MS : waits ? SQL_IDLE_MS : -1);
        if (ready < 0 && errno != EINTR) {
            mg_log_error("zygote: poll: %s", strerror(errno));
            break;
        }
        if (ready == 0 && waits)
            open_sql(&z);
        if (entries[3].revents)
            on_notify(&z);
        if (z.measures)
            measure_scratch(&z);
        if (entries[1].revents)
            reap(&z);
        if (entries[0].revents && !on_control(&z))
            break;
        if (z.front >= 0 && z.front == entries[2].fd && entries[2].revents)
            on_front(&z);
    }
    lose_front(&z);
    kill_all(&z);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
    for (size_t i = 0; i < z.n_children; i++)
        forget_scratch(&z, &z.children[i]);
    return 0;
}
