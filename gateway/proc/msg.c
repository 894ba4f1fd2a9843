/* Messages: one struct, one sendmsg or recvmsg each.
 *
 * Invariant: what mg_msg_recv returns has our version, a known type, exactly our length, terminated
 * strings, and as many descriptors as its type may carry (one table). Anything else is MG_E_INVALID
 * with every descriptor that came along closed, so that a hostile peer cannot fill our table of
 * descriptors. Cost: one system call. */
#include "moongate/msg.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(struct mg_msg) == 1512,
               "a message has no padding and the same size everywhere");

static const struct {
    const char *name;
    unsigned char min_fds, max_fds;
} types[MG_MSG_TYPE_COUNT] = {
    [MG_MSG_NONE] = {"none", 0, 0},       [MG_MSG_PEER] = {"peer", 1, 1},
    [MG_MSG_STOP] = {"stop", 0, 0},       [MG_MSG_RELOAD] = {"reload", 0, 3},
    [MG_MSG_PING] = {"ping", 0, 0},       [MG_MSG_PONG] = {"pong", 0, 0},
    [MG_MSG_STARTED] = {"started", 0, 0}, [MG_MSG_SPAWN] = {"spawn", 2, 2},
    [MG_MSG_KILL] = {"kill", 0, 0},       [MG_MSG_SPAWNED] = {"spawned", 0, 0},
    [MG_MSG_EXITED] = {"exited", 0, 0},   [MG_MSG_RUN] = {"run", 0, 1},
    [MG_MSG_BIG] = {"big", 1, 1},         [MG_MSG_CHILD] = {"child", 0, 1},
    [MG_MSG_FETCHED] = {"fetched", 0, 1}, [MG_MSG_READY] = {"ready", 0, 0},
    [MG_MSG_DONE] = {"done", 0, 0},       [MG_MSG_NEED] = {"need", 0, 0},
    [MG_MSG_ACK] = {"ack", 0, 0},         [MG_MSG_VALUED] = {"valued", 0, 1},
    [MG_MSG_START] = {"start", 0, 0},     [MG_MSG_AWAIT] = {"await", 0, 0},
    [MG_MSG_CANCEL] = {"cancel", 0, 0},   [MG_MSG_ASK] = {"ask", 0, 0},
    [MG_MSG_KEEP] = {"keep", 0, 0},       [MG_MSG_CODE] = {"code", 0, 0},
    [MG_MSG_CODED] = {"coded", 0, 1},
    [MG_MSG_CALL] = {"call", 0, 0},       [MG_MSG_FETCH] = {"fetch", 0, 0},
    [MG_MSG_HTTP] = {"http", 0, 1},
    [MG_MSG_SECRET] = {"secret", 0, 0},
};

/* Room for more descriptors than a message may carry: the surplus has to arrive to be closed. */
union control {
    char bytes[CMSG_SPACE(sizeof(int) * (MG_MSG_MAX_FDS + 1))];
    struct cmsghdr align;
};

const char *mg_msg_name(unsigned type)
{
    return type < MG_MSG_TYPE_COUNT ? types[type].name : "unknown";
}

enum mg_err mg_msg_pair(int fds[2], struct mg_errmsg *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return mg_err_set(err,
                          errno == EMFILE || errno == ENFILE ? MG_E_UNAVAILABLE : MG_E_INTERNAL,
                          "cannot make a link between processes: %s", strerror(errno));
    fds[0] = pair[0];
    fds[1] = pair[1];
    return MG_OK;
}

void mg_msg_init(struct mg_msg *msg, enum mg_msg_type type)
{
    memset(msg, 0, sizeof *msg);
    msg->version = MG_MSG_VERSION;
    msg->type = (uint16_t)type;
    msg->length = sizeof *msg;
}

enum mg_err mg_msg_send(int sock, const struct mg_msg *msg, const int *fds, size_t n_fds)
{
    MG_ASSERT(msg->type > MG_MSG_NONE && msg->type < MG_MSG_TYPE_COUNT && n_fds <= MG_MSG_MAX_FDS);
    struct iovec iov = {.iov_base = (void *)msg, .iov_len = sizeof *msg};
    struct msghdr head = {.msg_iov = &iov, .msg_iovlen = 1};
    union control control;
    if (n_fds) {
        memset(&control, 0, sizeof control);
        head.msg_control = control.bytes;
        head.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&head);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
    }
    ssize_t n;
    do
        n = sendmsg(sock, &head, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *msg ? MG_OK : MG_E_UNAVAILABLE;
}

enum mg_err mg_msg_send_wait(int sock, const struct mg_msg *msg, const int *fds, size_t n_fds,
                             int ms)
{
    while (mg_msg_send(sock, msg, fds, n_fds) != MG_OK) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS)
            return MG_E_UNAVAILABLE;
        struct pollfd entry = {.fd = sock, .events = POLLOUT};
        int n = poll(&entry, 1, ms);
        if (n == 0 || (n < 0 && errno != EINTR))
            return MG_E_UNAVAILABLE;
    }
    return MG_OK;
}

/* Collects the descriptors; false when there were more than a message may carry (all of them are
 * then closed). */
static bool take_fds(struct msghdr *head, int fds[MG_MSG_MAX_FDS], size_t *n_fds)
{
    bool fits = !(head->msg_flags & MSG_CTRUNC);
    size_t n = 0;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(head); cmsg; cmsg = CMSG_NXTHDR(head, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            fits = false;
            continue;
        }
        size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof fd, sizeof fd);
            if (n < MG_MSG_MAX_FDS) {
                fds[n++] = fd;
            } else {
                close(fd);
                fits = false;
            }
        }
    }
    *n_fds = n;
    return fits;
}

static bool is_well_formed(const struct mg_msg *msg, ssize_t len, const struct msghdr *head,
                           size_t n_fds)
{
    return len == (ssize_t)sizeof *msg && !(head->msg_flags & MSG_TRUNC) &&
           msg->version == MG_MSG_VERSION && msg->length == sizeof *msg &&
           msg->type > MG_MSG_NONE && msg->type < MG_MSG_TYPE_COUNT &&
           n_fds >= types[msg->type].min_fds && n_fds <= types[msg->type].max_fds &&
           msg->err < MG_ERR_COUNT && memchr(msg->org, 0, sizeof msg->org) &&
           memchr(msg->text, 0, sizeof msg->text) && memchr(msg->url, 0, sizeof msg->url);
}

enum mg_err mg_msg_recv(int sock, struct mg_msg *msg, int fds[MG_MSG_MAX_FDS], size_t *n_fds)
{
    struct mg_msg got;
    int got_fds[MG_MSG_MAX_FDS];
    size_t n = 0;
    struct iovec iov = {.iov_base = &got, .iov_len = sizeof got};
    union control control;
    struct msghdr head = {.msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof control.bytes};
    ssize_t len;
    do
        len = recvmsg(sock, &head, MSG_CMSG_CLOEXEC);
    while (len < 0 && errno == EINTR);
    if (len < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? MG_E_CANCELLED : MG_E_UNAVAILABLE;
    bool fits = take_fds(&head, got_fds, &n);
    if (len == 0 && n == 0)
        return MG_E_UNAVAILABLE;
    if (!fits || !is_well_formed(&got, len, &head, n)) {
        for (size_t i = 0; i < n; i++)
            close(got_fds[i]);
        return MG_E_INVALID;
    }
    *msg = got;
    *n_fds = n;
    memcpy(fds, got_fds, n * sizeof *fds);
    return MG_OK;
}

bool mg_msg_wait(int sock, int ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t end_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + ms;
    for (;;) {
        struct pollfd entry = {.fd = sock, .events = POLLIN};
        int n = poll(&entry, 1, ms);
        if (n >= 0 || errno != EINTR)
            return n != 0; /* an error of poll shows itself in the receive */
        if (ms > 0) {
            clock_gettime(CLOCK_MONOTONIC, &now);
            int64_t left = end_ms - ((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
            ms = left > 0 ? (int)left : 0;
        }
    }
}
