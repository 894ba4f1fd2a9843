/* moongate pull: saved UDFs into folders. A file that is there and differs is never overwritten. */
#include "moongate/package.h"

#include "remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char usage[] = "pull NAME…";

/* True: there is such a file, and it is another one. */
static bool differs(const char *path, struct mg_span bytes)
{
    FILE *file = fopen(path, "r");
    size_t at = 0;
    bool same = true;
    char piece[4096];
    for (size_t n; file && same && (n = fread(piece, 1, sizeof piece, file)) > 0; at += n)
        same = n <= bytes.len - at && memcmp(piece, bytes.data + at, n) == 0;
    if (file)
        fclose(file);
    return file && !(same && at == bytes.len);
}

/* Nothing of a server's is written that is no file of a UDF, whatever its name says. */
static enum mg_err read_files(json_t *object, struct mg_package *package, struct mg_errmsg *err)
{
    const char *name;
    json_t *text, *files = json_object_get(object, "files");
    enum mg_err status = MG_OK;
    json_object_foreach(files, name, text)
    {
        if (!status)
            status = mg_package_put(
                package, mg_span(name),
                (struct mg_span){json_string_value(text), json_string_length(text)}, err);
    }
    return status;
}

static enum mg_err write_files(const struct mg_package *package, const char *dir,
                               struct mg_errmsg *err)
{
    char path[4200];
    for (size_t i = 0; i < package->n; i++) {
        const struct mg_package_file *file = &package->files[i];
        snprintf(path, sizeof path, "%s/%s", dir, file->name);
        if (differs(path, (struct mg_span){file->bytes.data, file->bytes.len}))
            return mg_err_set(
                err, MG_E_CONFLICT,
                "%s is there and differs: move it away, or pull elsewhere with -o DIR", path);
    }
    if (mkdir(dir, 0777) < 0 && errno != EEXIST)
        return mg_err_set(err, MG_E_IO, "cannot make %s: %s", dir, strerror(errno));
    enum mg_err status = MG_OK;
    for (size_t i = 0; i < package->n && !status; i++) {
        const struct mg_package_file *file = &package->files[i];
        snprintf(path, sizeof path, "%s/%s", dir, file->name);
        status =
            mg_remote_write(path, (struct mg_span){file->bytes.data, file->bytes.len}, 0666, err);
    }
    return status;
}

static enum mg_err pull(const struct mg_remote *remote, const struct mg_config *config,
                        const char *name, struct mg_errmsg *err)
{
    struct mg_client_answer answer;
    struct mg_package package = {0};
    json_t *object = NULL;
    char path[300], dir[2048];
    if (!mg_udf_name_valid(mg_span(name)))
        return mg_err_set(err, MG_E_INVALID, "\"%.100s\" cannot be the name of a UDF", name);
    snprintf(path, sizeof path, "udf/by-name/%s", name);
    snprintf(dir, sizeof dir, "%s%s%s", config->output ? config->output : "",
             config->output ? "/" : "", name);
    enum mg_err status = mg_remote_call(remote, "GET", path, NULL, NULL, 0, &answer, &object, err);
    if (!status)
        status = read_files(object, &package, err);
    if (!status)
        status = write_files(&package, dir, err);
    if (!status && config->json)
        mg_cli_print_json(json_pack("{s:s, s:s, s:O}", "name", name, "dir", dir, "version",
                                    json_object_get(object, "version")));
    else if (!status)
        printf("%s: version %lld\n", dir,
               (long long)json_integer_value(json_object_get(object, "version")));
    mg_package_free(&package);
    json_decref(object);
    return status == MG_E_NOT_FOUND ? mg_err_prefix(err, status, "%s", name) : status;
}

int mg_cmd_pull(int argc, char **argv)
{
    struct mg_config config;
    struct mg_remote remote;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(usage, "Writes saved UDFs of the server into folders of their names (in "
                                  "the present folder, or -o DIR).\n");
    if (config.n_args == 0)
        return mg_cli_usage(usage, "which UDFs?");
    if (mg_remote_find(&config, &remote, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    int code = 0;
    for (int i = 0; i < config.n_args; i++) {
        err.text[0] = 0;
        if (pull(&remote, &config, config.args[i], &err) != MG_OK)
            code = mg_cli_fail(1, &err);
    }
    return code;
}
