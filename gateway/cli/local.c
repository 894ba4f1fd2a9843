/* What `moongate serve` has in processes of their own, for one command: zygote and fetcher are forked, the engine is ours. */
#include "local.h"

#include "moongate/fetch.h"
#include "moongate/front.h"
#include "moongate/msg.h"
#include "moongate/worker.h"

#include "cli.h"
#include "share.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Forks a child process of the server's kind and connects it with us; `link` receives our end. */
static enum mg_err start_helper(struct mg_local_helper *helper, int (*child_main)(int, void *), void *context, int *link,
                                struct mg_errmsg *err)
{
    int control[2], peer[2];
    struct mg_msg msg;
    enum mg_err status = mg_msg_pair(control, err);
    if (status)
        return status;
    helper->pid = fork();
    if (helper->pid < 0)
        return mg_err_set(err, MG_E_IO, "fork: %s", strerror(errno));
    if (helper->pid == 0) {
        setpgid(0, 0); /* an interrupt from the terminal is for the command, which ends what it began */
        close(control[0]);
        _exit(child_main(control[1], context));
    }
    close(control[1]);
    helper->control = control[0];
    status = mg_msg_pair(peer, err);
    if (status)
        return status;
    mg_msg_init(&msg, MG_MSG_PEER);
    msg.role = MG_ROLE_FRONT;
    status = mg_msg_send(helper->control, &msg, &peer[1], 1);
    close(peer[1]);
    *link = peer[0];
    return status;
}

static void stop_helper(struct mg_local_helper *helper)
{
    if (helper->pid <= 0)
        return;
    close(helper->control);
    kill(helper->pid, SIGTERM);
    usleep(20000);
    kill(helper->pid, SIGKILL);
    waitpid(helper->pid, NULL, 0);
}

/* NAME of an example or of a UDF in the current folder, or a path. */
static enum mg_err find_udf(const char *what, const struct mg_share *share, struct mg_udf **out, struct mg_errmsg *err)
{
    char path[1400];
    struct stat st;
    snprintf(path, sizeof path, "%s", what);
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        snprintf(path, sizeof path, "%s/%s", share->udfs, what);
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return mg_err_set(err, MG_E_NOT_FOUND, "%s is neither a folder here nor an example; see `moongate list`", what);
    char *real = realpath(path, NULL);
    enum mg_err status = mg_udf_read(real ? real : path, "folder", out, err);
    free(real);
    if (status == MG_E_UDF_BROKEN && *out)
        return mg_err_set(err, status, "%s: %s", what, (*out)->broken);
    return status;
}

enum mg_err mg_local_open(const struct mg_config *config, const char *what, unsigned workers, struct mg_local *out,
                          struct mg_errmsg *err)
{
    static struct mg_share share; /* the engine keeps its paths */
    int zygote_link = -1, fetcher_link = -1;
    *out = (struct mg_local){.engine = NULL};
    enum mg_err status = mg_share_find(&share, err);
    if (!status)
        status = mg_data_dir(config, out->data_dir, sizeof out->data_dir, err);
    if (!status)
        status = find_udf(what, &share, &out->udf, err);
    if (!status)
        out->uids = mg_uids_choose(out->data_dir);
    struct mg_zygote_config zygote_config = {.data_dir = out->data_dir, .lua_dir = share.lua, .example_dir = share.data,
                                             .mounts = config->mount, .base_uid = out->uids.workers,
                                             .data_bytes = (size_t)config->worker_memory << 20,
                                             .quota_bytes = (uint64_t)config->quota << 20};
    struct mg_fetch_config fetch_config = {.data_dir = out->data_dir, .ca_file = config->egress_ca,
                                           .allow = config->allow_egress[0] ? config->allow_egress : NULL,
                                           .deny = config->deny_egress[0] ? config->deny_egress : NULL,
                                           .max_bytes = 2ull << 30, .timeout_s = 300, .revalidate_s = 60,
                                           .uid = out->uids.fetcher, .gid = out->uids.fetcher};
    struct mg_engine_config engine_config = {.data_dir = out->data_dir, .example_dir = share.data, .mounts = config->mount,
                                             .workers = workers, .wall_ms = config->timeout * 1000,
                                             .cpu_ms = config->cpu_timeout * 1000,
                                             .lua_bytes = config->lua_memory << 20,
                                             .result_bytes = config->max_result << 20,
                                             .cache_bytes = (uint64_t)config->cache_size << 20};
    if (!status && !mg_duration_parse(mg_span(config->cache_max_age), &engine_config.ttl_s))
        status = mg_err_set(err, MG_E_INVALID, "--cache-max-age %s: for instance 12h is expected", config->cache_max_age);
    if (!status)
        status = mg_vm_library_hash(share.lua, &engine_config.library, err);
    out->library = engine_config.library;
    if (!status)
        status = start_helper(&out->zygote, mg_zygote_main, &zygote_config, &zygote_link, err);
    if (!status)
        status = start_helper(&out->fetcher, mg_fetcher_main, &fetch_config, &fetcher_link, err);
    if (!status)
        status = mg_engine_open(&engine_config, &out->engine, err);
    if (!status && share.udfs && mg_catalog_add_dir(out->engine->catalog, share.udfs, "example", err) != MG_OK)
        err->text[0] = 0; /* the run itself may need none of the examples */
    if (!status)
        status = mg_engine_start(out->engine, err);
    if (!status) {
        mg_broker_peer(out->engine->broker, MG_ROLE_ZYGOTE, zygote_link);
        mg_broker_peer(out->engine->broker, MG_ROLE_FETCHER, fetcher_link);
    }
    return status;
}

void mg_local_close(struct mg_local *local)
{
    mg_engine_close(&local->engine);
    if (local->uids.front)
        mg_front_give(local->data_dir, local->uids.front, local->uids.front);
    stop_helper(&local->zygote);
    stop_helper(&local->fetcher);
    mg_udf_unref(&local->udf);
}
