/* The fetcher's process: links, privileges, the loop.
 *
 * It holds the only sockets to the outside, the folder of block files (open before privileges are dropped, so that
 * no other path needs to be reachable) and the trusted certificates; no keys, no organisation's files. Everything
 * runs in one thread that sleeps in curl's poll. */
#include "exchange.h"
#include "remotes.h"

#include "moongate/log.h"
#include "moongate/master.h"
#include "moongate/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STEP_MS = 1000, SEND_MS = 1000, EXIT_SETUP = 2 };
#define QUOTA ((uint64_t)2 << 30) /* of an organisation's block files */

struct fetcher {
    const struct mg_fetch_config *config;
    int control, front; /* links; -1: none */
    bool stop;
    struct mg_block_store *store;
    struct mg_transfers *transfers;
    struct mg_remotes *remotes;
    struct mg_exchanges *exchanges;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* What became of a request, with its descriptor when there is one. */
static void tell_front(struct fetcher *fetcher, uint64_t id, uint64_t tag, enum mg_err err, uint64_t bytes,
                       const char *text, int fd)
{
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_FETCHED);
    msg.id = id;
    msg.tag = tag;
    msg.err = err;
    msg.bytes = bytes;
    snprintf(msg.text, sizeof msg.text, "%s", text ? text : "");
    if (fetcher->front < 0)
        return;
    enum mg_err e = mg_msg_send_wait(fetcher->front, &msg, &fd, fd >= 0 ? 1 : 0, SEND_MS);
    if (e)
        mg_log_warn("an answer does not reach the front: %s", mg_err_text(e));
}

static void on_answer(void *context, const struct mg_remote_answer *a)
{
    tell_front(context, a->id, a->tag, a->err, a->received, a->text, a->fd);
}

static void on_batch(void *context, const struct mg_batch_answer *a)
{
    tell_front(context, a->id, a->tag, a->err, a->bytes, a->text, a->fd);
}

static void set_front(struct fetcher *fetcher, int fd)
{
    if (fetcher->front >= 0)
        close(fetcher->front);
    fetcher->front = fd;
    mg_remotes_drop_waiters(fetcher->remotes);
    mg_exchanges_drop(fetcher->exchanges);
}

static void on_control(struct fetcher *fetcher, const struct mg_msg *msg, int *fds, size_t n_fds)
{
    if (msg->type == MG_MSG_STOP) {
        fetcher->stop = true;
    } else if (msg->type == MG_MSG_PING) {
        struct mg_msg pong;
        mg_msg_init(&pong, MG_MSG_PONG);
        pong.id = msg->id;
        if (mg_msg_send_wait(fetcher->control, &pong, NULL, 0, SEND_MS) != MG_OK)
            mg_log_warn("the master does not take an answer");
    } else if (msg->type == MG_MSG_PEER && msg->role == MG_ROLE_FRONT && n_fds == 1) {
        set_front(fetcher, fds[0]);
        fds[0] = -1;
    }
}

static void on_front(struct fetcher *fetcher, const struct mg_msg *msg, int fd)
{
    if (msg->type == MG_MSG_HTTP) {
        mg_exchanges_ask(fetcher->exchanges, msg->id, msg->tag, fd, msg->bytes, now_ms());
        return;
    }
    if (msg->type != MG_MSG_FETCH) {
        mg_log_warn("the front sends %s, which is not for the fetcher", mg_msg_name(msg->type));
        return;
    }
    struct mg_remote_ask ask = {.id = msg->id, .tag = msg->tag, .org = msg->org, .url = msg->url,
                                .offset = msg->offset, .bytes = msg->bytes};
    mg_remotes_ask(fetcher->remotes, &ask, now_ms());
}

/* Takes what has arrived. False: the link has ended. */
static bool drain(struct fetcher *fetcher, bool control)
{
    for (;;) {
        struct mg_msg msg;
        int fds[MG_MSG_MAX_FDS];
        size_t n_fds = 0;
        int link = control ? fetcher->control : fetcher->front;
        enum mg_err e = mg_msg_recv(link, &msg, fds, &n_fds);
        if (e)
            return e == MG_E_CANCELLED;
        if (control)
            on_control(fetcher, &msg, fds, n_fds);
        else
            on_front(fetcher, &msg, n_fds ? fds[0] : -1);
        for (size_t i = 0; i < n_fds; i++)
            if (fds[i] >= 0)
                close(fds[i]);
    }
}

/* data_dir/blocks, of the fetcher alone. */
static enum mg_err open_folder(const struct mg_fetch_config *config, int *out, struct mg_errmsg *err)
{
    int data = open(config->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = -1;
    if (data >= 0 && (mkdirat(data, "blocks", 0700) == 0 || errno == EEXIST))
        fd = openat(data, "blocks", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && config->uid && fchown(fd, config->uid, config->gid)) {
        close(fd);
        fd = -1;
    }
    enum mg_err e = fd >= 0 ? MG_OK
                            : mg_err_set(err, MG_E_IO, "cannot open %s/blocks: %s", config->data_dir,
                                         strerror(errno));
    if (data >= 0)
        close(data);
    *out = fd;
    return e;
}

static enum mg_err drop_privileges(const struct mg_fetch_config *config, struct mg_errmsg *err)
{
    if (config->uid && geteuid() == 0 &&
        (setgroups(0, NULL) || setresgid(config->gid, config->gid, config->gid) ||
         setresuid(config->uid, config->uid, config->uid)))
        return mg_err_set(err, MG_E_INTERNAL, "cannot become uid %u: %s", config->uid, strerror(errno));
    /* Descriptors of block files go to workers of another uid; our memory does not. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        return mg_err_set(err, MG_E_INTERNAL, "cannot give up privileges: %s", strerror(errno));
    return MG_OK;
}

static enum mg_err set_up(struct fetcher *fetcher, struct mg_errmsg *err)
{
    const struct mg_fetch_config *config = fetcher->config;
    int folder;
    enum mg_err e = open_folder(config, &folder, err);
    if (e)
        return e;
    e = mg_transfers_new(config, &fetcher->transfers, err);
    if (!e)
        e = drop_privileges(config, err);
    if (e) {
        close(folder);
        return e;
    }
    e = mg_block_store_open(folder, config->max_bytes, QUOTA, &fetcher->store, err);
    if (!e)
        e = mg_remotes_new(config, fetcher->store, fetcher->transfers, on_answer, fetcher, &fetcher->remotes, err);
    if (!e)
        e = mg_exchanges_new(config, fetcher->transfers, on_batch, fetcher, &fetcher->exchanges, err);
    return e;
}

int mg_fetcher_main(int control, void *config)
{
    struct fetcher fetcher = {.config = config, .control = control, .front = -1};
    struct mg_errmsg err = {""};
    struct mg_msg started;
    int code = 0;
    mg_child_setup("fetcher");
    if (set_up(&fetcher, &err)) {
        mg_log_error("fetcher: %s", err.text);
        code = EXIT_SETUP;
        goto out;
    }
    mg_msg_init(&started, MG_MSG_STARTED);
    if (mg_msg_send_wait(control, &started, NULL, 0, SEND_MS) != MG_OK)
        goto out;
    while (!fetcher.stop) {
        int links[] = {fetcher.control, fetcher.front};
        int wait_ms = mg_exchanges_tend(fetcher.exchanges, now_ms(), STEP_MS);
        mg_transfers_step(fetcher.transfers, links, 2, wait_ms);
        mg_remotes_tend(fetcher.remotes, now_ms());
        if (!drain(&fetcher, true))
            break; /* without a master there is nobody to work for */
        if (fetcher.front >= 0 && !drain(&fetcher, false))
            set_front(&fetcher, -1);
    }
out:
    mg_transfers_free(&fetcher.transfers);
    mg_remotes_free(&fetcher.remotes);
    mg_exchanges_free(&fetcher.exchanges);
    mg_block_store_close(&fetcher.store);
    if (fetcher.front >= 0)
        close(fetcher.front);
    return code;
}
