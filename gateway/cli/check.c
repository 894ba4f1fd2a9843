/* moongate check: what is wrong with UDF folders, for authors and for CI.
 *
 * The folder is read as the server reads it, then its code is loaded, in a confined child process with a time limit,
 * up to its signature record; further modules are loaded one by one. Nothing of a UDF runs with the caller's rights. */
#include "moongate/catalog.h"
#include "moongate/log.h"
#include "moongate/memfd.h"
#include "moongate/pack.h"
#include "moongate/sandbox.h"
#include "moongate/worker.h"

#include "cli.h"
#include "share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_MS = 5000, RECORD_MAX = 4 << 20, CHILD_DATA = 512 << 20, LUA_BYTES = 128 << 20 };
static const char usage[] = "check DIR…";

struct report {
    json_t *list;           /* [{name, dir, ok, errors: [], warnings: []}] */
    size_t broken, warnings;
    bool quiet;             /* --json */
};

static enum mg_err no_call(void *context, const struct mg_run_request *request, struct mg_buf *result,
                           struct mg_errmsg *err)
{
    (void)context, (void)request, (void)result;
    return mg_err_set(err, MG_E_FORBIDDEN, "no UDF can be run while a UDF is checked: do it inside of the function");
}

static enum mg_err no_fetch(void *context, const char *url, uint64_t offset, uint64_t bytes, int *fd,
                            struct mg_errmsg *err)
{
    (void)context, (void)url, (void)offset, (void)bytes, (void)fd;
    return mg_err_set(err, MG_E_FORBIDDEN, "nothing can be fetched while a UDF is checked: do it inside of the function");
}

static _Noreturn void describe_in_child(const char *name, struct mg_span bundle, int out)
{
    static const struct mg_files no_files = {.cache_dirfd = -1};
    struct mg_vm_host host = {.call = no_call, .fetch = no_fetch, .files = &no_files};
    struct mg_sandbox box = {.read_paths = (const char *const[]){NULL},
                             .write_paths = (const char *const[]){NULL},
                             .keep_fds = &out,
                             .n_keep_fds = 1,
                             .data_bytes = CHILD_DATA,
                             .file_bytes = RECORD_MAX};
    struct mg_run_request request = {.mode = MG_RUN_DESCRIBE, .org = MG_SPAN("local"), .udf = mg_span(name),
                                     .deadline_ms = LIMIT_MS, .lua_bytes = LUA_BYTES, .result_bytes = RECORD_MAX,
                                     .owner = true};
    struct mg_run_result result = {.max_age_s = -1};
    struct mg_errmsg err = {""};
    struct mg_vm *vm = NULL;
    struct mg_buf packed;
    unsigned layers = 0;
    mg_buf_init(&packed, 0);
    enum mg_err status = mg_vm_new(&host, &vm, &err);
    if (!status)
        status = mg_sandbox_enter(&box, &layers, &err);
    if (!status && (layers & MG_LAYER_MANDATORY) != MG_LAYER_MANDATORY)
        status = mg_err_set(&err, MG_E_FORBIDDEN, "the sandbox does not hold here; see `moongate doctor`");
    if (!status) {
        mg_vm_run(vm, &request, bundle, &result);
    } else {
        result.err = status;
        result.message = mg_span(err.text);
    }
    mg_run_result_pack(&result, true, &packed);
    for (size_t done = 0; done < packed.len;) {
        ssize_t n = write(out, packed.data + done, packed.len - done);
        if (n <= 0)
            _exit(1);
        done += (size_t)n;
    }
    _exit(0);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Reads to the end; false when the time is up. */
static bool read_all(int fd, struct mg_buf *out)
{
    int64_t end_ms = now_ms() + LIMIT_MS;
    for (int64_t left; (left = end_ms - now_ms()) > 0;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        if (poll(&poll_fd, 1, (int)left) <= 0)
            continue;
        char *room = mg_buf_room(out, 65536);
        ssize_t n = room ? read(fd, room, 65536) : 0;
        if (n <= 0)
            return true;
        out->len += (size_t)n;
    }
    return false;
}

/* Loads a bundle in a child; `message` receives what is wrong. */
static enum mg_err describe(const char *name, struct mg_span bundle, struct mg_sig **sig, struct mg_buf *message)
{
    int fds[2], status = 0;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return MG_E_UNAVAILABLE;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        describe_in_child(name, bundle, fds[1]);
    }
    close(fds[1]);
    struct mg_buf packed;
    struct mg_run_result result;
    struct mg_errmsg err = {""};
    mg_buf_init(&packed, 2 * RECORD_MAX);
    bool in_time = pid > 0 && read_all(fds[0], &packed);
    close(fds[0]);
    if (pid > 0 && !in_time)
        kill(pid, SIGKILL);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    enum mg_err code = MG_E_UDF_BROKEN;
    if (pid < 0)
        mg_buf_printf(message, "cannot fork: %s", strerror(errno));
    else if (!in_time)
        mg_buf_printf(message, "loading it took longer than %d s: loops belong inside of the function", LIMIT_MS / 1000);
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        mg_buf_printf(message, "loading it ended the process (signal %d)", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    else if (mg_run_result_unpack((struct mg_span){packed.data, packed.len}, &result) != MG_OK)
        mg_buf_str(message, "the process that loaded it sent something malformed");
    else if (result.err)
        mg_buf_put(message, result.message.data, result.message.len);
    else if (mg_sig_parse(result.body, sig, &err) != MG_OK)
        mg_buf_str(message, err.text);
    else
        code = MG_OK;
    mg_buf_fini(&packed);
    return code;
}

/* "Name.lua:7: text" receives the folder in front, so that editors find the place; otherwise the main file. */
static void put_error(json_t *errors, const struct mg_udf *udf, const struct mg_buf *message)
{
    const char *text = message->data ? message->data : "it cannot be loaded";
    size_t file = strcspn(text, ": \n");
    char line[1800];
    if (file > 4 && text[file] == ':' && strncmp(text + file - 4, ".lua", 4) == 0)
        snprintf(line, sizeof line, "%s/%s", udf->dir, text);
    else
        snprintf(line, sizeof line, "%s/%s.lua: %s", udf->dir, udf->name, text);
    json_array_append_new(errors, json_string(line));
}

/* The bundle with a main file that only requires `module`. */
static void bundle_for(struct mg_span bundle, const char *name, struct mg_span module, struct mg_buf *out)
{
    char main_file[160];
    struct mg_buf code;
    struct mg_unpack in;
    snprintf(main_file, sizeof main_file, "%s.lua", name);
    mg_buf_init(&code, 0);
    mg_buf_printf(&code, "local moon = require 'moon' require '%.*s' return moon.udf(function() end)\n", (int)module.len,
                  module.data);
    mg_unpack_init(&in, bundle.data, bundle.len);
    size_t n = mg_unpack_count(&in, 1000);
    mg_pack_int(out, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        struct mg_span file = mg_unpack_bytes(&in), bytes = mg_unpack_bytes(&in);
        if (mg_span_is(file, main_file))
            bytes = (struct mg_span){code.data, code.len};
        mg_pack_bytes(out, file.data, file.len);
        mg_pack_bytes(out, bytes.data, bytes.len);
    }
    mg_buf_fini(&code);
}

static void check_modules(const struct mg_udf *udf, struct mg_span bundle, json_t *errors)
{
    struct mg_unpack in;
    mg_unpack_init(&in, bundle.data, bundle.len);
    size_t n = mg_unpack_count(&in, 1000);
    for (size_t i = 0; i < n; i++) {
        struct mg_span file = mg_unpack_bytes(&in), module = file;
        mg_unpack_skip(&in);
        if (file.len < 5 || memcmp(file.data + file.len - 4, ".lua", 4) != 0)
            continue;
        module.len -= 4;
        struct mg_buf changed, message;
        struct mg_sig *sig = NULL;
        mg_buf_init(&changed, 0);
        mg_buf_init(&message, 1500);
        if (!mg_span_is(module, udf->name)) {
            bundle_for(bundle, udf->name, module, &changed);
            if (describe(udf->name, (struct mg_span){changed.data, changed.len}, &sig, &message) != MG_OK)
                put_error(errors, udf, &message);
        }
        mg_sig_free(&sig);
        mg_buf_fini(&changed);
        mg_buf_fini(&message);
    }
}

static void check_code(const struct mg_udf *udf, json_t *errors, struct mg_buf *params)
{
    void *bytes;
    struct mg_errmsg err = {""};
    struct mg_sig *sig = NULL;
    struct mg_buf message;
    mg_buf_init(&message, 1500);
    if (mg_memfd_map(udf->bundle_fd, udf->bundle_bytes, false, &bytes, &err) != MG_OK) {
        json_array_append_new(errors, json_string(err.text));
        return;
    }
    struct mg_span bundle = {bytes, udf->bundle_bytes};
    if (describe(udf->name, bundle, &sig, &message) != MG_OK)
        put_error(errors, udf, &message);
    for (size_t i = 0; sig && i < sig->n_params; i++)
        mg_buf_printf(params, "%s%s: %s%s", i ? ", " : "", sig->params[i].name, mg_type_name(sig->params[i].type),
                      sig->params[i].required ? " (required)" : "");
    /* When the main file is wrong it may be because of a module; a second report of the same place is left out. */
    json_t *further = json_array();
    check_modules(udf, bundle, further);
    const json_t *first = json_array_get(errors, 0);
    for (size_t i = 0; i < json_array_size(further); i++)
        if (!first || !json_equal(first, json_array_get(further, i)))
            json_array_append(errors, json_array_get(further, i));
    json_decref(further);
    mg_sig_free(&sig);
    mg_buf_fini(&message);
    munmap(bytes, udf->bundle_bytes);
}

static void warn_missing(const struct mg_udf *udf, const char *file, const char *why, json_t *warnings)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", udf->dir, file);
    if (access(path, R_OK) < 0) {
        snprintf(path, sizeof path, "%s: no %s: %s", udf->dir, file, why);
        json_array_append_new(warnings, json_string(path));
    }
}

static void print_lines(const json_t *lines, const char *kind)
{
    for (size_t i = 0; i < json_array_size(lines); i++)
        printf("%s: %s\n", json_string_value(json_array_get(lines, i)), kind);
}

static void check_one(const char *dir, struct report *report)
{
    struct mg_udf *udf = NULL;
    struct mg_errmsg err = {""};
    struct mg_buf params;
    json_t *errors = json_array(), *warnings = json_array();
    char line[1800];
    mg_buf_init(&params, 1000);
    enum mg_err status = mg_udf_read(dir, "folder", &udf, &err);
    if (status) {
        snprintf(line, sizeof line, "%s: %s", udf ? udf->dir : dir, udf && udf->broken ? udf->broken : err.text);
        json_array_append_new(errors, json_string(line));
    } else {
        check_code(udf, errors, &params);
        warn_missing(udf, "meta.json", "it has no description and no place on the map", warnings);
        warn_missing(udf, "README.md", "nobody will know what it is for", warnings);
    }
    report->broken += json_array_size(errors) > 0;
    report->warnings += json_array_size(warnings);
    if (!report->quiet) {
        for (size_t i = 0; i < json_array_size(errors); i++)
            printf("%s\n", json_string_value(json_array_get(errors, i)));
        print_lines(warnings, "warning");
        if (!json_array_size(errors))
            printf("%s: ok (%s)\n", udf->name, params.len ? params.data : "no parameters");
    }
    json_array_append_new(report->list, json_pack("{ss ss sb so so}", "name", udf ? udf->name : "", "dir",
                                                  udf ? udf->dir : dir, "ok", json_array_size(errors) == 0, "errors",
                                                  errors, "warnings", warnings));
    mg_buf_fini(&params);
    mg_udf_unref(&udf);
}

static bool has_lua(const char *dir)
{
    DIR *folder = opendir(dir);
    const struct dirent *entry;
    bool found = false;
    while (folder && !found && (entry = readdir(folder))) {
        size_t len = strlen(entry->d_name);
        found = entry->d_name[0] != '.' &&
                (strcmp(entry->d_name, "meta.json") == 0 || (len > 4 && strcmp(entry->d_name + len - 4, ".lua") == 0));
    }
    if (folder)
        closedir(folder);
    return found;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* A UDF folder, or a folder of them: each folder in it that holds code. */
static enum mg_err check_dir(const char *dir, struct report *report, struct mg_errmsg *err)
{
    struct dirent **entries;
    char *dirs[4096], path[PATH_MAX];
    struct stat st;
    size_t n = 0;
    if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
        return mg_err_set(err, MG_E_NOT_FOUND, "%s: a folder is expected", dir);
    if (has_lua(dir)) {
        check_one(dir, report);
        return MG_OK;
    }
    int found = scandir(dir, &entries, NULL, NULL);
    if (found < 0)
        return mg_err_set(err, MG_E_IO, "%s: %s", dir, strerror(errno));
    for (int i = 0; i < found; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && n < 4096 && has_lua(path) && (dirs[n] = strdup(path)))
            n++;
        free(entries[i]);
    }
    free(entries);
    qsort(dirs, n, sizeof *dirs, by_name);
    for (size_t i = 0; i < n; i++) {
        check_one(dirs[i], report);
        free(dirs[i]);
    }
    return n ? MG_OK : mg_err_set(err, MG_E_NOT_FOUND, "%s: there is no UDF in it; a UDF is a folder Name/ with Name.lua", dir);
}

int mg_cmd_check(int argc, char **argv)
{
    struct mg_config config;
    struct mg_share share;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(usage, "Reads each UDF folder (or folder of them) as the server does, loads its code in a sandbox,\n"
                                  "and prints a line for each mistake: file:line: what is wrong. Exit code 1 when there is one.\n");
    if (config.n_args == 0)
        return mg_cli_usage(usage, "a folder is expected");
    mg_log_init("check", MG_LOG_ERROR, false);
    enum mg_err status = mg_share_find(&share, &err);
    if (!status)
        status = mg_sandbox_prepare(&err);
    if (!status)
        status = mg_vm_setup(share.lua, &err);
    if (status)
        return mg_cli_fail(1, &err);
    struct report report = {.list = json_array(), .quiet = config.json};
    for (int i = 0; i < config.n_args && !status; i++)
        status = check_dir(config.args[i], &report, &err);
    if (config.json)
        mg_cli_print_json(json_incref(report.list));
    else if (!status && json_array_size(report.list) > 1)
        printf("%zu UDFs: %zu broken, %zu warnings\n", json_array_size(report.list), report.broken, report.warnings);
    json_decref(report.list);
    return status ? mg_cli_fail(1, &err) : report.broken ? 1 : 0;
}
