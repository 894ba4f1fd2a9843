/* moongate doctor: whether this machine can serve, a line for each thing that matters, and what to do. */
#include "moongate/log.h"
#include "moongate/sandbox.h"
#include "moongate/state.h"

#include "cli.h"
#include "share.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

enum verdict { GOOD, WARN, FAIL };
static const char *const verdicts[] = {"ok", "warn", "fail"};

struct doctor {
    const struct mg_config *config;
    struct mg_cli_table table;
    json_t *json;
    enum verdict worst;
};

static void line(struct doctor *doctor, enum verdict verdict, const char *what, const char *advice, const char *format,
                 ...) MG_PRINTF(5, 6);

/* `advice` is shown unless all is well. */
static void line(struct doctor *doctor, enum verdict verdict, const char *what, const char *advice, const char *format,
                 ...)
{
    char detail[700];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    if (verdict > doctor->worst)
        doctor->worst = verdict;
    json_t *json = json_pack("{ss ss ss}", "check", what, "status", verdicts[verdict], "detail", detail);
    if (verdict != GOOD && *advice)
        json_object_set_new(json, "do", json_string(advice));
    json_array_append_new(doctor->json, json);
    size_t len = strlen(detail);
    if (verdict != GOOD && *advice)
        snprintf(detail + len, sizeof detail - len, ": %s", advice);
    mg_cli_cell(&doctor->table, verdicts[verdict]);
    mg_cli_cell(&doctor->table, what);
    mg_cli_cell(&doctor->table, detail);
}

static void check_kernel(struct doctor *doctor)
{
    struct utsname name;
    int major = 0, minor = 0;
    uname(&name);
    sscanf(name.release, "%d.%d", &major, &minor);
    bool enough = major > 5 || (major == 5 && minor >= 19);
    line(doctor, enough ? GOOD : FAIL, "kernel", "Linux 5.19 or newer is needed (Landlock ABI 2); Debian 12 has 6.1", "%s %s",
         name.release, name.machine);
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    line(doctor, abi >= 2 ? GOOD : FAIL, "landlock",
         abi < 0 ? "boot with lsm=landlock,… on the kernel's command line, or allow it in the container's seccomp profile"
                 : "a kernel with ABI 2 (5.19) is needed",
         abi < 0 ? "not available" : "ABI %ld", abi);
}

/* The report has a line "layer|probe NAME … VERDICT" each. */
static void check_sandbox(struct doctor *doctor)
{
    struct mg_buf report;
    struct mg_errmsg err = {""};
    unsigned layers = 0;
    mg_buf_init(&report, 0);
    enum mg_err status = mg_sandbox_report(&report, &layers, &err);
    struct mg_span rest = {report.data, report.len}, text;
    char good[1500] = "";
    while (report.data && mg_span_cut(&rest, '\n', &text)) {
        char one[300], what[64] = "", kind[16] = "";
        snprintf(one, sizeof one, "%.*s", (int)text.len, text.data);
        if (sscanf(one, "%15s %63[^\n]", kind, what) < 2)
            continue;
        bool fails = strstr(one, "MISSING") || strstr(one, "ESCAPED") || strcmp(kind, "error:") == 0;
        char *end = strstr(what, "  ");
        if (end)
            *end = 0;
        size_t len = strlen(good);
        if (fails)
            line(doctor, FAIL, "sandbox", "UDFs will not run: use a newer kernel, or a container that allows it", "%s", one);
        else if (strstr(one, "not here"))
            line(doctor, WARN, "sandbox", "an added layer that this kernel or container refuses; the mandatory ones hold",
                 "no %s", what);
        else if (strcmp(kind, "layer") == 0 && strstr(one, "holds"))
            snprintf(good + len, sizeof good - len, "%s%s", len ? ", " : "", what);
    }
    mg_buf_fini(&report);
    if (status)
        line(doctor, FAIL, "sandbox", "UDFs will not run until this is solved", "%s", err.text);
    else
        line(doctor, GOOD, "sandbox", "", "self-test passed; holding: %s", good);
}

/* What is loaded right now, asked of the libraries themselves; their headers belong to other modules. */
static void check_libraries(struct doctor *doctor)
{
    typedef const char *plain_f(void);
    typedef const char *int_f(int);
    typedef const char *text_f(const void *);
    typedef char *lmdb_f(int *, int *, int *);
    static const struct {
        const char *name, *symbol;
        char kind;
        const void *argument;
    } libraries[] = {
        {"GDAL", "GDALVersionInfo", 't', "RELEASE_NAME"}, {"GEOS", "GEOSversion", 'p', NULL},
        {"curl", "curl_version", 'p', NULL},              {"OpenSSL", "OpenSSL_version", 'i', NULL},
        {"libpng", "png_get_libpng_ver", 't', NULL},      {"LMDB", "mdb_version", 'l', NULL},
        {"jansson", "jansson_version_str", 'p', NULL},
    };
    struct mg_buf list;
    mg_buf_init(&list, 600);
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        void *symbol = dlsym(RTLD_DEFAULT, libraries[i].symbol);
        const char *version = NULL;
        if (symbol && libraries[i].kind == 'p')
            version = (*(plain_f **)&symbol)();
        else if (symbol && libraries[i].kind == 'i')
            version = (*(int_f **)&symbol)(0);
        else if (symbol && libraries[i].kind == 't')
            version = (*(text_f **)&symbol)(libraries[i].argument);
        else if (symbol)
            version = (*(lmdb_f **)&symbol)(NULL, NULL, NULL);
        version = version ? version : "not loaded";
        /* "OpenSSL 3.0.1 …", "libcurl/7.88 …", "LMDB 0.9.24: …": the first word with a digit. */
        size_t from = strcspn(version, "0123456789");
        int len = (int)strcspn(version + from, " :(-/");
        mg_buf_printf(&list, "%s%s %.*s", i ? ", " : "", libraries[i].name, version[from] ? len : (int)strlen(version),
                      version[from] ? version + from : version);
    }
    line(doctor, GOOD, "libraries", "", "%s", list.data ? list.data : "");
    mg_buf_fini(&list);
}

static void check_machine(struct doctor *doctor)
{
    struct sysinfo info;
    struct rlimit files;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int watches = 0;
    sysinfo(&info);
    double gb = (double)info.totalram * info.mem_unit / 1e9;
    line(doctor, gb < 0.9 ? WARN : GOOD, "machine", "1 GB of memory is the least that raster work is comfortable with",
         "%ld cores, %.1f GB of memory", cores, gb);
    getrlimit(RLIMIT_NOFILE, &files);
    int64_t wanted = doctor->config->max_connections + 512;
    line(doctor, (int64_t)files.rlim_max < wanted ? WARN : GOOD, "descriptors",
         "raise it with ulimit -n (or LimitNOFILE= under systemd), or lower --max-connections", "%lld possible, %lld wanted",
         (long long)files.rlim_max, (long long)wanted);
    FILE *file = fopen("/proc/sys/fs/inotify/max_user_watches", "re");
    if (file && fscanf(file, "%d", &watches) == 1)
        line(doctor, watches < 1024 ? WARN : GOOD, "inotify", "raise fs.inotify.max_user_watches: changed UDFs may go unseen",
             "%d watches", watches);
    if (file)
        fclose(file);
}

static void check_share(struct doctor *doctor)
{
    struct mg_share share;
    struct mg_errmsg err = {""};
    if (mg_share_find(&share, &err) != MG_OK) {
        line(doctor, FAIL, "library", "", "%s", err.text);
        return;
    }
    line(doctor, GOOD, "library", "", "%s", share.lua);
    line(doctor, share.data ? GOOD : WARN, "example data", "the examples that read files will fail; build with ./moongate serve",
         "%s", share.data ? share.data : "not there");
}

/* A server holds the lock of its data directory. */
static bool is_served(const char *dir)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/lock", dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool served = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
    if (fd >= 0)
        close(fd);
    return served;
}

static bool check_data(struct doctor *doctor)
{
    char dir[1024], there[1024];
    struct mg_errmsg err = {""};
    struct stat st;
    struct statvfs space;
    if (mg_data_dir_name(doctor->config, dir, sizeof dir, &err) != MG_OK) {
        line(doctor, FAIL, "data directory", "", "%s", err.text);
        return false;
    }
    snprintf(there, sizeof there, "%s", dir);
    while (stat(there, &st) < 0 && strrchr(there, '/') != there)
        *strrchr(there, '/') = 0;
    bool exists = strcmp(there, dir) == 0, writable = access(there, W_OK | X_OK) == 0;
    if (!writable)
        line(doctor, FAIL, "data directory", "give yourself the right to write there, or choose another with --data", "%s: %s",
             there, strerror(errno));
    else if (exists && (st.st_mode & S_IRWXO & ~(geteuid() == 0 ? S_IXOTH : 0u)) != 0)
        /* root's server lets its unprivileged children pass through */
        line(doctor, WARN, "data directory", "others can enter it: chmod 700", "%s (mode %o)", dir, st.st_mode & 0777u);
    else
        line(doctor, GOOD, "data directory", "", "%s%s", dir, exists ? "" : " (will be made)");
    if (statvfs(there, &space) == 0) {
        double free_gb = (double)space.f_bavail * (double)space.f_frsize / 1e9;
        line(doctor, free_gb < 0.1 ? FAIL : free_gb < 2 ? WARN : GOOD, "free space",
             "the caches need room: make some, or choose another disk with --data", "%.1f GB", free_gb);
    }
    bool served = exists && is_served(dir);
    if (exists && writable) {
        char state_dir[1100];
        struct mg_state *state = NULL;
        snprintf(state_dir, sizeof state_dir, "%s/state", dir);
        if (access(state_dir, F_OK) < 0) /* a check makes nothing */
            line(doctor, GOOD, "state", "", "none yet");
        else if (mg_state_open(dir, &state, &err) != MG_OK)
            line(doctor, FAIL, "state", "restore a backup, or choose another directory with --data", "%s", err.text);
        else
            line(doctor, GOOD, "state", "", "readable%s", served ? "; a server is running on it" : "");
        mg_state_close(&state);
    }
    return served;
}

static void check_port(struct doctor *doctor, bool served)
{
    const char *listen_on = doctor->config->listen, *colon = strrchr(listen_on, ':');
    char host[256], port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    bool v6 = listen_on[0] == '[' && colon && colon[-1] == ']';
    snprintf(host, sizeof host, "%.*s", colon ? (int)(colon - listen_on) - 2 * v6 : 0, listen_on + v6);
    snprintf(port, sizeof port, "%s", colon ? colon + 1 : "");
    int why = colon ? getaddrinfo(host[0] ? host : NULL, port, &hints, &found) : EAI_NONAME;
    if (why) {
        line(doctor, FAIL, "port", "--listen is ADDR:PORT, for instance 127.0.0.1:8080", "%s: %s", listen_on,
             gai_strerror(why));
        return;
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool bound = fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0;
    if (bound)
        line(doctor, GOOD, "port", "", "%s is free", listen_on);
    else
        line(doctor, served ? GOOD : FAIL, "port", "choose another with --listen", "%s: %s%s", listen_on, strerror(errno),
             served ? " (the running server)" : "");
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
}

int mg_cmd_doctor(int argc, char **argv)
{
    struct mg_config config;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help("doctor", "Looks at kernel, sandbox, libraries, data directory and port, and says what to do.\n"
                                     "Exit code 1 when the server could not run.\n");
    if (config.n_args)
        return mg_cli_usage("doctor", "no argument is expected");
    mg_log_init("doctor", MG_LOG_ERROR, false);
    struct doctor doctor = {.config = &config, .table = {.columns = 3}, .json = json_array()};
    check_kernel(&doctor);
    check_sandbox(&doctor);
    check_libraries(&doctor);
    check_machine(&doctor);
    check_share(&doctor);
    check_port(&doctor, check_data(&doctor));
    if (config.json) {
        mg_buf_fini(&doctor.table.cells);
        mg_cli_print_json(json_pack("{ss so}", "status", verdicts[doctor.worst], "checks", doctor.json));
    } else {
        mg_cli_print_table(&doctor.table);
        json_decref(doctor.json);
    }
    return doctor.worst == FAIL;
}
