/* The engine's parts and their life; what the broker asks of them. */
#include "engine_run.h"
#include "hot.h"

#include "moongate/log.h"
#include "moongate/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOT_BYTES = 64 << 20 };

static void make_dirs(const char *path)
{
    char part[1024];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(part, 0755);
            *p = '/';
        }
    mkdir(part, 0755);
}

static void add_layer(struct mg_files *files, const char *name, const char *dir, bool writable)
{
    if (files->n_mounts >= sizeof files->mounts / sizeof *files->mounts)
        return;
    struct mg_mount *mount = &files->mounts[files->n_mounts];
    mount->dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (mount->dirfd < 0) {
        mg_log_warn("cannot open %s: %s", dir, strerror(errno));
        return;
    }
    snprintf(mount->name, sizeof mount->name, "%s", name);
    mount->writable = writable;
    files->n_mounts++;
}

/* The files of the organisation as its workers see them, in the same order. */
static void open_files(struct mg_engine *engine)
{
    char path[1100];
    struct mg_files *files = &engine->files;
    snprintf(path, sizeof path, "%s/orgs/local/fd", engine->config.data_dir);
    make_dirs(path);
    add_layer(files, "", path, true);
    if (engine->config.example_dir)
        add_layer(files, "", engine->config.example_dir, false);
    for (const char *const *m = engine->config.mounts; m && *m; m++) {
        const char *equals = strchr(*m, '=');
        snprintf(path, sizeof path, "%.*s", equals ? (int)(equals - *m) : 0, *m);
        if (equals)
            add_layer(files, path, equals + 1, false);
    }
    snprintf(path, sizeof path, "%s/orgs/local/cache", engine->config.data_dir);
    make_dirs(path);
    files->cache_dirfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

enum mg_err mg_engine_open(const struct mg_engine_config *config, struct mg_engine **out, struct mg_errmsg *err)
{
    char path[1100];
    struct mg_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return MG_E_NOMEM;
    engine->config = *config;
    engine->files.cache_dirfd = -1;
    make_dirs(config->data_dir);
    snprintf(path, sizeof path, "%s/cache", config->data_dir);
    enum mg_err status = mg_state_open(config->data_dir, &engine->state, err);
    if (!status)
        status = mg_cache_open(path, config->cache_bytes, &engine->cache, err);
    if (!status)
        status = mg_catalog_open(&engine->catalog, err);
    if (status) {
        mg_engine_close(&engine);
        return status;
    }
    mg_catalog_set_state(engine->catalog, engine->state);
    open_files(engine);
    engine->versions = mg_versions_new(engine);
    engine->hot = mg_hot_new(HOT_BYTES);
    *out = engine;
    return MG_OK;
}

static void on_changed(void *context, const char *name)
{
    (void)context;
    mg_metric_add(MG_M_RELOADS, 1);
    mg_log_info("loaded a new version of %s", name);
}

static void on_watch(void *context)
{
    struct mg_engine *engine = context;
    mg_catalog_tend(engine->catalog, on_changed, engine);
}

static void on_tick(void *context)
{
    struct mg_engine *engine = context;
    struct mg_cache_stats stats;
    mg_cache_tend(engine->cache);
    mg_cache_stats(engine->cache, &stats);
    mg_metric_set(MG_M_CACHE_BYTES, stats.bytes);
}

static enum mg_err secret_of(void *context, const char *org, const char *name, struct mg_buf *out, char version[65],
                             struct mg_errmsg *err)
{
    const struct mg_engine *engine = context;
    return mg_secret_get(engine->state, org, name, out, version, err);
}

enum mg_err mg_engine_start(struct mg_engine *engine, struct mg_errmsg *err)
{
    struct mg_broker_config config = {
        .workers = engine->config.workers,
        .wall_ms = engine->config.wall_ms,
        .cpu_ms = engine->config.cpu_ms,
        .max_result = (size_t)engine->config.result_bytes,
        .queue_org = 64,
        .queue_all = 512,
        .org = "local",
        .context = engine,
        .call = mg_engine_call,
        .let_go = mg_engine_let_go,
        .secret = secret_of,
        .resolve = mg_engine_resolve,
        .value_get = mg_engine_value_get,
        .value_put = mg_engine_value_put,
        .keep = mg_engine_keep,
        .watch_fd = mg_catalog_fd(engine->catalog),
        .watch = on_watch,
        .tick = on_tick,
    };
    return mg_broker_start(&config, &engine->broker, err);
}

void mg_engine_close(struct mg_engine **engine_at)
{
    struct mg_engine *engine = *engine_at;
    if (!engine)
        return;
    *engine_at = NULL;
    mg_broker_stop(&engine->broker);
    mg_catalog_close(&engine->catalog);
    mg_cache_close(&engine->cache);
    mg_state_close(&engine->state);
    mg_versions_free(&engine->versions);
    mg_hot_free(&engine->hot);
    for (size_t i = 0; i < engine->files.n_mounts; i++)
        close(engine->files.mounts[i].dirfd);
    if (engine->files.cache_dirfd >= 0)
        close(engine->files.cache_dirfd);
    free(engine);
}
