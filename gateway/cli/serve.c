/* moongate serve: binds, prepares what needs the invoking user's rights, then becomes the master. */
#include "serve_inputs.h"

#include "moongate/config.h"
#include "moongate/fetch.h"
#include "moongate/front.h"
#include "moongate/log.h"
#include "moongate/master.h"
#include "moongate/worker.h"

#include "cli.h"
#include "share.h"
#include "uids.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Splits "ADDR:PORT" or "[v6]:PORT", binds and listens; `url` receives what clients would type. */
static enum mg_err listen_on(const char *address, const char *scheme, int *out, char *url, size_t size,
                             struct mg_errmsg *err)
{
    char host[256], port[16];
    const char *colon = strrchr(address, ':');
    if (!colon || (size_t)(colon - address) >= sizeof host || strlen(colon + 1) >= sizeof port)
        return mg_err_set(err, MG_E_INVALID, "%s: ADDR:PORT is expected, for instance 127.0.0.1:8080", address);
    bool v6 = address[0] == '[' && colon > address && colon[-1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(colon - address) - 2 * v6, address + v6);
    snprintf(port, sizeof port, "%s", colon + 1);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    int status = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (status)
        return mg_err_set(err, MG_E_INVALID, "%s: %s", address, gai_strerror(status));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool bound = fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 4096) == 0;
    int why = errno;
    freeaddrinfo(found);
    if (!bound) {
        if (fd >= 0)
            close(fd);
        return mg_err_set(err, MG_E_IO, "cannot listen on %s: %s%s", address, strerror(why),
                          why == EADDRINUSE ? "; choose another with --listen" : "");
    }
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    getsockname(fd, (struct sockaddr *)&name, &len);
    int number = ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port
                                                  : ((struct sockaddr_in *)&name)->sin_port);
    bool any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 || !host[0];
    snprintf(url, size, "%s://%s%s%s:%d", scheme, v6 && !any ? "[" : "", any ? "localhost" : host,
             v6 && !any ? "]" : "", number);
    *out = fd;
    return MG_OK;
}

/* One server for a data directory: the lock is held as long as any process of ours lives. */
static enum mg_err lock_data(const char *dir, struct mg_errmsg *err)
{
    char path[1100], pid[32] = "";
    snprintf(path, sizeof path, "%s/lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return mg_err_set(err, MG_E_IO, "%s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? n : 0] = 0;
        close(fd);
        return mg_err_set(err, MG_E_CONFLICT, "%s is in use by another server (process %s); stop it, or choose "
                          "another directory with --data", dir, pid);
    }
    int len = snprintf(pid, sizeof pid, "%ld", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)len, 0) < 0)
        mg_log_warn("%s: %s", path, strerror(errno));
    return MG_OK;
}

static void put_credentials(const char *base_url, const char *data_dir)
{
    struct mg_state *state;
    struct mg_token token;
    struct mg_errmsg err = {0};
    char path[1100];
    const char *home = getenv("HOME");
    if (!home || mg_state_open(data_dir, &state, &err) != MG_OK)
        return; /* the front says what is wrong with the state */
    if (mg_token_of_account(state, "local", "owner@local", &token, &err) == MG_OK) {
        char fresh[1100];
        snprintf(path, sizeof path, "%s/.moongate", home);
        mkdir(path, 0700);
        snprintf(fresh, sizeof fresh, "%s/.moongate/credentials.%ld", home, (long)getpid());
        snprintf(path, sizeof path, "%s/.moongate/credentials", home);
        int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || dprintf(fd, "{\"server\": \"%s\", \"token\": \"%s\", \"data\": \"%s\"}\n", base_url, token.text,
                              data_dir) < 0 || rename(fresh, path) < 0)
            mg_log_warn("credentials not written to %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    mg_state_close(&state);
}

/* ~/.moongate/credentials (0600): how this user's command line reaches this server. In a process of its own: what
 * unseals tokens shall not lie in the memory that the zygote and its workers inherit, nor LMDB be open across a fork. */
static void write_credentials(const char *base_url, const char *data_dir)
{
    pid_t child = fork();
    if (child == 0) {
        put_credentials(base_url, data_dir);
        _exit(0);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

static void start_log(const struct mg_config *config)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    int level = MG_LOG_INFO;
    for (int i = 0; i < 4; i++)
        if (strcmp(config->log_level, levels[i]) == 0)
            level = i;
    mg_log_init("master", (enum mg_log_level)level, !isatty(STDERR_FILENO));
}

static enum mg_err serve(const struct mg_config *config, int *code, struct mg_errmsg *err)
{
    struct mg_share share;
    struct mg_serve_inputs inputs;
    char data_dir[1024], url[300], tls_url[300] = "";
    int listeners[2] = {-1, -1}, tls_listener = -1; /* the second is the operator's */
    int64_t ttl_s;
    struct mg_hash library = {{0}};
    enum mg_err status = mg_share_find(&share, err);
    if (!status)
        status = mg_vm_library_hash(share.lua, &library, err);
    if (!status)
        status = mg_data_dir(config, data_dir, sizeof data_dir, err);
    if (!status)
        status = lock_data(data_dir, err);
    if (!status && !mg_duration_parse(mg_span(config->cache_max_age), &ttl_s))
        status = mg_err_set(err, MG_E_INVALID, "--cache-max-age %s: for instance 12h is expected", config->cache_max_age);
    if (!status)
        status = listen_on(config->listen, "http", &listeners[0], url, sizeof url, err);
    char admin_url[300];
    if (!status && config->admin_listen)
        status = listen_on(config->admin_listen, "http", &listeners[1], admin_url, sizeof admin_url, err);
    if (!status && config->tls_listen)
        status = listen_on(config->tls_listen, "https", &tls_listener, tls_url, sizeof tls_url, err);
    if (!status)
        status = mg_serve_inputs_read(config, &inputs, err);
    if (status)
        return status;
    /* Each client, worker and UDF holds descriptors. */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    const char *base = config->public_url ? config->public_url : url;
    write_credentials(base, data_dir);
    struct mg_uids uids = mg_uids_choose(data_dir);
    if (geteuid() == 0 && !uids.front)
        mg_log_warn("staying root: an unprivileged user cannot reach %s (a folder above it is closed, or no uid can be "
                    "changed here); the sandbox of the workers holds all the same", data_dir);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned workers = config->workers ? (unsigned)config->workers : (unsigned)(cores > 0 ? cores : 1);
    struct mg_front_config front = {
        .engine = {.data_dir = data_dir, .example_dir = share.data, .mounts = inputs.mounts, .workers = workers,
                   .wall_ms = config->timeout * 1000, .cpu_ms = config->cpu_timeout * 1000,
                   .lua_bytes = config->lua_memory << 20, .result_bytes = config->max_result << 20,
                   .cache_bytes = (uint64_t)config->cache_size << 20, .ttl_s = ttl_s, .library = library},
        .http = {.listen_fds = listeners, .n_listen = 1 + (listeners[1] >= 0), .n_admin = listeners[1] >= 0, .tls_fds = &tls_listener, .n_tls = tls_listener >= 0,
                 .tls_cert = config->tls_self_signed ? NULL : config->tls_cert,
                 .tls_key = config->tls_self_signed ? NULL : config->tls_key,
                 .trusted_proxies = config->trusted_proxy[0] ? config->trusted_proxy : NULL,
                 .threads = (unsigned)config->threads, .max_connections = (unsigned)config->max_connections,
                 .max_per_address = (unsigned)config->max_per_address},
        .base_url = base, .listen_url = url, .tls_url = tls_url, .web_dir = share.web, .udf_dir = config->no_examples ? NULL : share.udfs,
        .dirs = inputs.dirs, .files = inputs.files, .access_log = config->access_log,
        .quiet = isatty(STDERR_FILENO), .json = config->json,
        .uid = uids.front, .gid = uids.front,
        .announced = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
    };
    struct mg_zygote_config zygote = {.data_dir = data_dir, .lua_dir = share.lua, .example_dir = share.data,
                                      .mounts = inputs.mounts, .base_uid = uids.workers,
                                      .data_bytes = (size_t)config->worker_memory << 20,
                                      .quota_bytes = (uint64_t)config->quota << 20};
    struct mg_fetch_config fetch = {.data_dir = data_dir, .ca_file = config->egress_ca,
                                    .allow = config->allow_egress[0] ? config->allow_egress : NULL,
                                    .deny = config->deny_egress[0] ? config->deny_egress : NULL,
                                    .max_bytes = 2ull << 30, .timeout_s = 300, .revalidate_s = 60,
                                    .uid = uids.fetcher, .gid = uids.fetcher};
    struct mg_child children[] = {
        {MG_CHILD_ZYGOTE, "zygote", mg_zygote_main, &zygote},
        {MG_CHILD_FETCHER, "fetcher", mg_fetcher_main, &fetch},
        {MG_CHILD_FRONT, "front", mg_front_main, &front},
    };
    struct mg_master master = {.children = children, .n_children = 3, .run_dir = data_dir,
                               .reload_files = {front.http.tls_cert, front.http.tls_key}};
    *code = mg_master_run(&master); /* whoever ended it has said why */
    mg_serve_inputs_free(&inputs);
    return MG_OK;
}

int mg_cmd_serve(int argc, char **argv)
{
    struct mg_config config;
    struct mg_errmsg err = {0};
    enum mg_err status = mg_config_parse(argc, argv, &config, &err);
    if (status)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help("serve [DIR|FILE…] [flags]",
                           "Serves UDF folders (a folder that is one, or a folder of them), and raster or vector files,\n"
                           "each as a UDF of its own. Without arguments: the examples.\n");
    start_log(&config);
    int code = 1;
    return serve(&config, &code, &err) == MG_OK ? code : mg_cli_fail(1, &err);
}
