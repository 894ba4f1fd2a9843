/* The front's main: opens the engine, fills the catalog, starts the loops, then obeys the master. */
#include "moongate/front.h"

#include "app.h"

#include "moongate/log.h"
#include "moongate/master.h"
#include "moongate/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uid_t new_uid;
static gid_t new_gid;

static int give(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)type;
    (void)at;
    if (st->st_uid != new_uid && lchown(path, new_uid, new_gid) < 0)
        mg_log_warn("%s: %s", path, strerror(errno));
    return 0;
}

void mg_front_give(const char *data_dir, unsigned uid, unsigned gid)
{
    static const char *const parts[] = {"state", "cache", "server.key"};
    new_uid = uid;
    new_gid = gid;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char path[1100];
        snprintf(path, sizeof path, "%s/%s", data_dir, parts[i]);
        nftw(path, give, 16, FTW_PHYS);
    }
}

/* Started as root: what the front keeps becomes its own, and the rest of root's rights is given up. */
static enum mg_err become(const struct mg_front_config *config, struct mg_errmsg *err)
{
    const char *data_dir = config->engine.data_dir;
    if (!config->uid || geteuid() != 0)
        return MG_OK;
    mg_front_give(data_dir, config->uid, config->gid);
    if (setgroups(0, NULL) || setresgid(new_gid, new_gid, new_gid) || setresuid(new_uid, new_uid, new_uid)) {
        return mg_err_set(err, MG_E_FORBIDDEN, "the front cannot become uid %u: %s", config->uid, strerror(errno));
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* lost with the change of uid */
    for (size_t i = 0; config->dirs && config->dirs[i]; i++)
        if (access(config->dirs[i], R_OK | X_OK) < 0)
            return mg_err_set(err, MG_E_FORBIDDEN, "%s cannot be read by the unprivileged user that the server runs as "
                              "(uid %u): move it, or open its folders with chmod o+rx", config->dirs[i], config->uid);
    if (access(data_dir, X_OK) < 0)
        return mg_err_set(err, MG_E_FORBIDDEN, "the data directory %s cannot be reached by the unprivileged user that "
                          "the server runs as (uid %u): choose another with --data", data_dir, config->uid);
    return MG_OK;
}

static enum mg_err fill_catalog(struct mg_engine *engine, const struct mg_front_config *config, struct mg_errmsg *err)
{
    enum mg_err status = MG_OK;
    if (config->udf_dir && mg_catalog_add_dir(engine->catalog, config->udf_dir, "example", err) != MG_OK)
        mg_log_warn("no examples: %s", err->text);
    for (const char *const *dir = config->dirs; !status && dir && *dir; dir++)
        status = mg_catalog_add_dir(engine->catalog, *dir, "folder", err);
    for (const struct mg_front_file *file = config->files; !status && file && file->name; file++)
        status = mg_catalog_add_code(engine->catalog, file->name, "file", mg_span(file->lua), mg_span(file->meta), err);
    return status;
}

/* What is served, each with its standing token. */
static void announce(struct mg_engine *engine, const struct mg_front_config *config)
{
    size_t n;
    struct mg_udf **udfs = mg_catalog_list(engine->catalog, &n);
    const char *leaflet = NULL, *base = config->base_url;
    char leaflet_token[MG_TOKEN_LEN + 1] = "";
    if (!config->json)
        printf("listening on %s\n%s%s%s\n  map   %s/\n\n", config->listen_url, config->tls_url[0] ? "listening on " : "",
               config->tls_url, config->tls_url[0] ? "\n" : "", base);
    else if (n == 0)
        printf("{\"url\":\"%s\",\"listen\":\"%s\",\"tls_url\":\"%s\"}\n", base, config->listen_url, config->tls_url);
    for (size_t i = 0; i < n; i++) {
        struct mg_token token;
        struct mg_errmsg err = {0};
        if (mg_token_of_udf(engine->state, "local", "owner@local", udfs[i]->name, &token, &err) != MG_OK) {
            mg_log_error("token of %s: %s", udfs[i]->name, err.text);
        } else if (config->json) {
            printf("{\"url\":\"%s\",\"listen\":\"%s\",\"tls_url\":\"%s\",\"udf\":\"%s\",\"token\":\"%s\"}\n", base,
                   config->listen_url, config->tls_url, udfs[i]->name, token.text);
        } else {
            printf("  %-18s%s/%s/map%s%s\n", udfs[i]->name, base, token.text, udfs[i]->broken ? "   broken: " : "",
                   udfs[i]->broken ? udfs[i]->broken : "");
            if (strcmp(udfs[i]->source, "file") == 0 && !leaflet) {
                leaflet = strstr(udfs[i]->type, "raster") ? "png" : NULL;
                snprintf(leaflet_token, sizeof leaflet_token, "%s", token.text);
            }
        }
        mg_udf_unref(&udfs[i]);
    }
    free(udfs);
    if (leaflet)
        printf("\nLeaflet:\n  L.tileLayer(\"%s/%s/run/tiles/{z}/{x}/{y}.%s\").addTo(map)\n", base, leaflet_token,
               leaflet);
    else if (leaflet_token[0])
        printf("\nLeaflet (with the plugin Leaflet.VectorGrid):\n"
               "  L.vectorGrid.protobuf(\"%s/%s/run/tiles/{z}/{x}/{y}.mvt\").addTo(map)\n", base, leaflet_token);
    fflush(stdout);
}

/* Handles one message of the master; false: stop, with the grace period in *ms. */
static bool obey(int control, struct mg_app *app, struct mg_http_server *http, unsigned *ms)
{
    struct mg_msg msg, reply;
    struct mg_errmsg err = {0};
    int fds[MG_MSG_MAX_FDS];
    size_t n_fds = 0;
    enum mg_err status = mg_msg_recv(control, &msg, fds, &n_fds);
    if (status == MG_E_CANCELLED)
        return true;
    *ms = 1000;
    if (status != MG_OK)
        return false; /* the master is gone */
    switch (msg.type) {
    case MG_MSG_PEER:
        if (n_fds == 1) {
            mg_broker_peer(app->engine->broker, (enum mg_role)msg.role, fds[0]);
            n_fds = 0;
        }
        break;
    case MG_MSG_PING:
        mg_msg_init(&reply, MG_MSG_PONG);
        reply.id = msg.id;
        if (mg_msg_send(control, &reply, NULL, 0) != MG_OK)
            mg_log_debug("the master does not listen");
        break;
    case MG_MSG_RELOAD:
        mg_access_log_reopen();
        if (mg_http_reload(http, n_fds == 2 ? fds : NULL, &err) != MG_OK)
            mg_log_error("certificate not changed: %s", err.text);
        break;
    case MG_MSG_STOP:
        *ms = msg.ms ? msg.ms : 1000;
        return false;
    default:
        break;
    }
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    return true;
}

int mg_front_main(int control, void *context)
{
    const struct mg_front_config *config = context;
    struct mg_errmsg err = {0};
    struct mg_app app = {0};
    struct mg_http_server *http = NULL;
    mg_child_setup("front");
    mg_pages_load(&app, config->web_dir);
    mg_access_log_open(config->access_log, config->quiet);
    mg_random(&app.id_seed, sizeof app.id_seed);
    snprintf(app.base_url, sizeof app.base_url, "%s", config->base_url);
    enum mg_err status = mg_engine_open(&config->engine, &app.engine, &err);
    int tls_files[2] = {-1, -1}; /* opened while we may: the key is often root's alone */
    if (!status && config->http.tls_cert && config->http.tls_key) {
        tls_files[0] = open(config->http.tls_cert, O_RDONLY | O_CLOEXEC);
        tls_files[1] = open(config->http.tls_key, O_RDONLY | O_CLOEXEC);
    }
    if (!status)
        status = become(config, &err);
    if (!status)
        status = fill_catalog(app.engine, config, &err);
    if (!status)
        status = mg_engine_start(app.engine, &err);
    if (!status)
        mg_api_start(&app);
    struct mg_http_config http_config = config->http;
    http_config.handler = mg_app_handle;
    http_config.context = &app;
    http_config.tls_files = tls_files[0] >= 0 && tls_files[1] >= 0 ? tls_files : NULL;
    if (!status)
        status = mg_http_start(&http_config, &http, &err);
    for (int i = 0; i < 2; i++)
        if (tls_files[i] >= 0)
            close(tls_files[i]);
    if (status) {
        mg_log_error("%s", err.text[0] ? err.text : mg_err_text(status));
        mg_api_stop(&app);
        mg_engine_close(&app.engine);
        mg_pages_free(&app);
        return 1;
    }
    if (!__atomic_exchange_n(config->announced, 1, __ATOMIC_RELAXED))
        announce(app.engine, config);
    struct mg_msg started;
    mg_msg_init(&started, MG_MSG_STARTED);
    if (mg_msg_send(control, &started, NULL, 0) != MG_OK)
        mg_log_error("the master does not listen");
    unsigned ms = 1000;
    for (;;) {
        struct pollfd wait = {.fd = control, .events = POLLIN};
        int n = poll(&wait, 1, 1000);
        mg_access_log_flush();
        if (n > 0 && !obey(control, &app, http, &ms))
            break;
    }
    __atomic_store_n(&app.stopping, true, __ATOMIC_RELAXED);
    mg_http_stop(&http, ms);
    mg_api_stop(&app);
    mg_engine_close(&app.engine);
    mg_access_log_flush();
    mg_pages_free(&app);
    return 0;
}

/* ---- without HTTP ------------------------------------------------------------------------------------ */

struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t done;
    struct mg_answer *answer;
    struct mg_buf *detail;
};

static void on_done(void *context, struct mg_answer *answer, enum mg_source source, struct mg_span detail)
{
    struct waiting *waiting = context;
    (void)source;
    pthread_mutex_lock(&waiting->lock);
    mg_buf_put(waiting->detail, detail.data, detail.len);
    waiting->answer = mg_answer_ref(answer);
    pthread_cond_signal(&waiting->done);
    pthread_mutex_unlock(&waiting->lock);
}

struct mg_answer *mg_run_wait(struct mg_engine *engine, const struct mg_ask *ask, struct mg_buf *detail)
{
    struct waiting waiting = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER, .detail = detail};
    struct mg_run *run = mg_run_start(engine, ask, on_done, &waiting);
    pthread_mutex_lock(&waiting.lock);
    while (!waiting.answer)
        pthread_cond_wait(&waiting.done, &waiting.lock);
    pthread_mutex_unlock(&waiting.lock);
    mg_run_release(&run);
    return waiting.answer;
}
