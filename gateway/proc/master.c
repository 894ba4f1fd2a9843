/* The master: a loop over signals, control links and a clock.
 *
 * Invariants: each child is running (pid > 0, control >= 0) or waits for its start (next_ms); every
 * living pair of the table `links` has had one link made since the later of the two started; the
 * master never blocks on a child, its sends are non-blocking and a child that takes nothing fails
 * its pings. It is a subreaper: workers of a zygote that died end by their death signal and are
 * reaped here. Listening sockets that were bound before stay open in it, so that connections wait
 * in the backlog while the front restarts. */
#include "moongate/master.h"

#include "moongate/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CHILDREN = 8,
    PING_MS = 5000,
    MAX_MISSED = 3,
    START_MS = 60000, /* a child that has not said STARTED by then is taken for hung */
    BACKOFF_MS = 100,
    BACKOFF_MAX_MS = 10000,
    STABLE_MS = 60000,
    GRACE_MS = 10000,
    LAST_MS = 2000,
};

/* Who talks to whom. */
static const struct {
    int a, b;
} links[] = {{MG_CHILD_FRONT, MG_CHILD_ZYGOTE}, {MG_CHILD_FRONT, MG_CHILD_FETCHER}};

struct state {
    const struct mg_child *what;
    pid_t pid; /* 0: not running */
    int control;
    bool started, told_to_stop;
    unsigned missed;
    uint64_t last_ping;
    int64_t born_ms, next_ms; /* of the start when not running; of the next ping (or the start's
                                 limit) when it is */
    unsigned backoff_ms;
    unsigned restarts;
};

struct master {
    const struct mg_master *config;
    struct state children[MAX_CHILDREN];
    size_t n;
    int signals;
    unsigned ping_ms, backoff_ms, grace_ms;
    bool ready;
    enum { RUNNING, DRAINING, ENDING, KILLED } phase;
    int64_t phase_end_ms;
    int exit_code;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void send_to(struct state *child, enum mg_msg_type type, unsigned ms)
{
    struct mg_msg msg;
    mg_msg_init(&msg, type);
    msg.ms = ms;
    msg.id = child->last_ping;
    if (child->control >= 0 && mg_msg_send(child->control, &msg, NULL, 0) != MG_OK)
        mg_log_debug("master: %s takes no %s", child->what->name, mg_msg_name(type));
}

/* ---- starting
 * ---------------------------------------------------------------------------------------- */

static void link_pair(struct state *a, struct state *b)
{
    int pair[2];
    struct mg_msg msg;
    struct mg_errmsg err;
    if (mg_msg_pair(pair, &err) != MG_OK) {
        mg_log_error("master: %s", err.text);
        return;
    }
    mg_msg_init(&msg, MG_MSG_PEER);
    struct state *ends[] = {a, b};
    for (int i = 0; i < 2; i++) {
        msg.role = (uint32_t)ends[1 - i]->what->role;
        if (mg_msg_send(ends[i]->control, &msg, &pair[i], 1) != MG_OK)
            mg_log_warn("master: %s takes no link to %s", ends[i]->what->name,
                        ends[1 - i]->what->name);
        close(pair[i]);
    }
}

static struct state *living(struct master *m, int role)
{
    for (size_t i = 0; i < m->n; i++)
        if ((int)m->children[i].what->role == role && m->children[i].pid > 0)
            return &m->children[i];
    return NULL;
}

static void link_peers(struct master *m, struct state *child)
{
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        int role = (int)child->what->role;
        if (role != links[i].a && role != links[i].b)
            continue;
        struct state *peer = living(m, role == links[i].a ? links[i].b : links[i].a);
        if (peer)
            link_pair(child, peer);
    }
}

static _Noreturn void become_child(struct master *m, struct state *child, int control, pid_t master)
{
    /* Another child's link held open here would hide its end from the master. */
    for (size_t i = 0; i < m->n; i++)
        if (m->children[i].control >= 0)
            close(m->children[i].control);
    close(m->signals);
    mg_child_setup(child->what->name);
    if (getppid() != master)
        _exit(0);
    int code = child->what->main(control, child->what->context);
    fflush(NULL);
    _exit(code);
}

static void wait_longer(struct master *m, struct state *child)
{
    child->next_ms = now_ms() + child->backoff_ms;
    unsigned doubled = child->backoff_ms * 2;
    unsigned max = BACKOFF_MAX_MS > m->backoff_ms ? BACKOFF_MAX_MS : m->backoff_ms;
    child->backoff_ms = doubled > max ? max : doubled;
}

static void start(struct master *m, struct state *child)
{
    int pair[2];
    struct mg_errmsg err = {{0}};
    pid_t master = getpid(), pid = -1;
    if (mg_msg_pair(pair, &err) == MG_OK) {
        fflush(NULL); /* or both processes would write what is buffered */
        pid = fork();
        if (pid == 0) {
            close(pair[0]);
            become_child(m, child, pair[1], master);
        }
        close(pair[1]);
        if (pid < 0) {
            mg_err_set(&err, MG_E_UNAVAILABLE, "fork: %s", strerror(errno));
            close(pair[0]);
        }
    }
    if (pid < 0) {
        mg_log_error("master: cannot start %s: %s", child->what->name, err.text);
        wait_longer(m, child);
        return;
    }
    child->pid = pid;
    child->control = pair[0];
    child->started = child->told_to_stop = false;
    child->missed = 0;
    child->born_ms = now_ms();
    child->next_ms = child->born_ms + START_MS;
    link_peers(m, child);
}

/* ---- the end of a child
 * ------------------------------------------------------------------------------ */

static void describe_status(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status))
        (void)!snprintf(out, size, "signal %d (%s)%s", WTERMSIG(status),
                        strsignal(WTERMSIG(status)), WCOREDUMP(status) ? ", core dumped" : "");
    else
        (void)!snprintf(out, size, "exit status %d", WEXITSTATUS(status));
}

static void write_crash_report(struct master *m, const struct state *child, const char *how)
{
    char path[4096], date[32];
    time_t now = time(NULL);
    struct tm tm;
    if (!m->config->run_dir)
        return;
    int n = snprintf(path, sizeof path, "%s/crash-%s.txt", m->config->run_dir, child->what->name);
    FILE *file = n > 0 && (size_t)n < sizeof path ? fopen(path, "we") : NULL;
    if (!file) {
        mg_log_warn("master: cannot write the crash report %s: %s", path, strerror(errno));
        return;
    }
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    fprintf(file,
            "process: %s\npid: %d\nend: %s\ntime: %s\nlived_ms: %lld\nrestarts: %u\nversion: %s\n",
            child->what->name, (int)child->pid, how, date, (long long)(now_ms() - child->born_ms),
            child->restarts, MG_VERSION);
    fclose(file);
}

static void begin_stop(struct master *m);

static void bury(struct master *m, struct state *child, int status)
{
    char how[128];
    describe_status(status, how, sizeof how);
    bool said_why = m->phase == RUNNING && !m->ready && WIFEXITED(status); /* a broken set-up */
    if (child->told_to_stop || said_why) {
        mg_log_debug("master: %s ended: %s", child->what->name, how);
    } else {
        mg_log_error("%s ended: %s", child->what->name, how);
        write_crash_report(m, child, how);
    }
    if (child->control >= 0)
        close(child->control);
    child->control = -1;
    child->pid = 0;
    if (m->phase != RUNNING)
        return;
    if (!m->ready && WIFEXITED(status)) {
        m->exit_code = WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
        begin_stop(m);
        return;
    }
    if (now_ms() - child->born_ms >= STABLE_MS)
        child->backoff_ms = m->backoff_ms;
    child->restarts++;
    wait_longer(m, child);
    child->started = false;
}

static void reap(struct master *m)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (size_t i = 0; i < m->n; i++)
            if (m->children[i].pid == pid) {
                bury(m, &m->children[i], status);
                break;
            }
}

/* ---- stopping
 * ---------------------------------------------------------------------------------------- */

static void stop_child(struct state *child, unsigned ms)
{
    if (child->pid > 0 && !child->told_to_stop) {
        child->told_to_stop = true;
        send_to(child, MG_MSG_STOP, ms);
    }
}

/* The front first: it lets open requests finish, and for that it needs the others. */
static void begin_stop(struct master *m)
{
    struct state *front = living(m, MG_CHILD_FRONT);
    m->phase = DRAINING;
    m->phase_end_ms = now_ms() + m->grace_ms;
    if (front)
        stop_child(front, m->grace_ms);
}

static void kill_all(struct master *m)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->children[i].pid > 0) {
            m->children[i].told_to_stop = true;
            kill(m->children[i].pid, SIGKILL);
        }
}

/* Moves on through the phases of a stop. False when nothing runs any more. */
static bool go_on_stopping(struct master *m)
{
    int64_t now = now_ms();
    struct state *front = living(m, MG_CHILD_FRONT);
    if (m->phase == DRAINING && (!front || now >= m->phase_end_ms)) {
        if (front) {
            mg_log_warn("master: the front did not stop within %u ms and is killed", m->grace_ms);
            kill(front->pid, SIGKILL);
        }
        m->phase = ENDING;
        m->phase_end_ms = now + LAST_MS;
        for (size_t i = 0; i < m->n; i++)
            stop_child(&m->children[i], LAST_MS);
    }
    if (m->phase == ENDING && now >= m->phase_end_ms) {
        m->phase = KILLED;
        kill_all(m);
    }
    for (size_t i = 0; i < m->n; i++)
        if (m->children[i].pid > 0)
            return true;
    return false;
}

/* A file that cannot be opened is left to the front, which says what it could not read. */
static void reload(struct master *m)
{
    int fds[MG_MSG_MAX_FDS];
    size_t n = 0, wanted = 0;
    for (; wanted < MG_MSG_MAX_FDS && m->config->reload_files[wanted]; wanted++) {
        int fd = open(m->config->reload_files[wanted], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0)
            fds[n++] = fd;
    }
    for (size_t i = 0; i < m->n; i++) {
        struct state *child = &m->children[i];
        struct mg_msg msg;
        bool files = child->what->role == MG_CHILD_FRONT && n == wanted;
        mg_msg_init(&msg, MG_MSG_RELOAD);
        if (child->control >= 0 && mg_msg_send(child->control, &msg, fds, files ? n : 0) != MG_OK)
            mg_log_debug("master: %s takes no %s", child->what->name, mg_msg_name(MG_MSG_RELOAD));
    }
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

static void on_signals(struct master *m)
{
    struct signalfd_siginfo info;
    while (read(m->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGCHLD:
            reap(m);
            break;
        case SIGHUP:
            reload(m);
            break;
        default:
            if (m->phase == RUNNING) {
                mg_log_debug("stopping");
                begin_stop(m);
            } else {
                m->phase = KILLED;
                kill_all(m);
            }
        }
    }
}

/* ---- control links and the clock
 * --------------------------------------------------------------------- */

static void on_started(struct master *m, struct state *child)
{
    child->started = true;
    child->next_ms = now_ms() + m->ping_ms;
    for (size_t i = 0; i < m->n; i++)
        if (!m->children[i].started)
            return;
    if (m->ready)
        return;
    m->ready = true;
    if (m->config->on_ready)
        m->config->on_ready(m->config->context);
}

static void on_control(struct master *m, struct state *child)
{
    for (;;) {
        struct mg_msg msg;
        int fds[MG_MSG_MAX_FDS];
        size_t n_fds = 0;
        enum mg_err code = mg_msg_recv(child->control, &msg, fds, &n_fds);
        if (code == MG_E_CANCELLED)
            return;
        for (size_t i = 0; code == MG_OK && i < n_fds; i++)
            close(fds[i]);
        if (code == MG_OK && msg.type == MG_MSG_PONG) {
            if (msg.id == child->last_ping)
                child->missed = 0;
        } else if (code == MG_OK && msg.type == MG_MSG_STARTED) {
            on_started(m, child);
        } else {
            /* Its end (reaped soon), or something that a child of ours never sends. */
            kill(child->pid, SIGKILL);
            close(child->control);
            child->control = -1;
            return;
        }
    }
}

static void ping(struct master *m, struct state *child)
{
    if (!child->started || child->missed >= MAX_MISSED) {
        mg_log_error("%s does not answer and is killed", child->what->name);
        kill(child->pid, SIGKILL);
        child->missed = 0;
    } else {
        child->missed++; /* until its answer comes */
        child->last_ping++;
        send_to(child, MG_MSG_PING, 0);
    }
    child->next_ms = now_ms() + m->ping_ms;
}

/* What is due now; gives the milliseconds until something is due again. */
static int run_clock(struct master *m)
{
    int64_t now = now_ms(), next = now + PING_MS;
    if (m->phase != RUNNING)
        return (int)(m->phase == KILLED      ? PING_MS
                     : m->phase_end_ms > now ? m->phase_end_ms - now
                                             : 0);
    for (size_t i = 0; i < m->n; i++) {
        struct state *child = &m->children[i];
        if (child->next_ms <= now)
            child->pid > 0 ? ping(m, child) : start(m, child);
        if (child->next_ms < next)
            next = child->next_ms;
    }
    now = now_ms();
    return next > now ? (int)(next - now) : 0;
}

static bool set_up(struct master *m)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    m->signals = sigprocmask(SIG_BLOCK, &set, NULL) < 0
                     ? -1
                     : signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (m->signals < 0)
        mg_log_error("master: cannot watch for signals: %s", strerror(errno));
    return m->signals >= 0;
}

int mg_master_run(const struct mg_master *config)
{
    struct master m = {.config = config,
                       .n = config->n_children,
                       .ping_ms = config->ping_ms ? config->ping_ms : PING_MS,
                       .backoff_ms = config->backoff_ms ? config->backoff_ms : BACKOFF_MS,
                       .grace_ms = config->grace_ms ? config->grace_ms : GRACE_MS};
    MG_ASSERT(m.n <= MAX_CHILDREN);
    if (!set_up(&m))
        return 1;
    for (size_t i = 0; i < m.n; i++)
        m.children[i] = (struct state){.what = &config->children[i],
                                       .control = -1,
                                       .backoff_ms = m.backoff_ms,
                                       .last_ping = 1};
    do {
        struct pollfd entries[MAX_CHILDREN + 1] = {{.fd = m.signals, .events = POLLIN}};
        int timeout = run_clock(&m);
        for (size_t i = 0; i < m.n; i++)
            entries[i + 1] = (struct pollfd){.fd = m.children[i].control, .events = POLLIN};
        if (poll(entries, m.n + 1, timeout) < 0 && errno != EINTR) {
            mg_log_error("master: poll: %s", strerror(errno));
            m.exit_code = 1;
            break;
        }
        for (size_t i = 0; i < m.n; i++)
            if (entries[i + 1].revents && m.children[i].control >= 0)
                on_control(&m, &m.children[i]);
        on_signals(&m);
    } while (m.phase == RUNNING || go_on_stopping(&m));
    kill_all(&m);
    for (size_t i = 0; i < m.n; i++)
        while (m.children[i].pid > 0 && waitpid(m.children[i].pid, NULL, 0) < 0 && errno == EINTR)
            ;
    while (waitpid(-1, NULL, WNOHANG) > 0) /* workers that the zygote left */
        ;
    close(m.signals);
    return m.exit_code;
}
