/* moongate push: saves UDF folders on a server. What is broken here is not sent. */
#include "moongate/package.h"

#include "remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static const char usage[] = "push DIR…";

static json_t *files_of(const struct mg_udf *udf, struct mg_errmsg *err)
{
    char path[1200];
    struct mg_package package = {0};
    void *bundle = mmap(NULL, udf->bundle_bytes, PROT_READ, MAP_PRIVATE, udf->bundle_fd, 0);
    if (bundle == MAP_FAILED)
        return NULL;
    enum mg_err status =
        mg_package_read((struct mg_span){bundle, udf->bundle_bytes}, &package, err);
    munmap(bundle, udf->bundle_bytes);
    json_t *files = json_object();
    for (size_t i = 0; i < package.n && !status; i++) {
        const struct mg_package_file *file = &package.files[i];
        json_t *text = json_stringn(file->bytes.data ? file->bytes.data : "", file->bytes.len);
        if (!text)
            status = mg_err_set(err, MG_E_INVALID, "%s: %s is no UTF-8", udf->name, file->name);
        else
            json_object_set_new(files, file->name, text);
    }
    mg_package_free(&package);
    snprintf(path, sizeof path, "%s/README.md", udf->dir);
    FILE *readme = fopen(path, "r");
    struct mg_buf text;
    mg_buf_init(&text, 1 << 20);
    for (char piece[4096]; readme;) {
        size_t n = fread(piece, 1, sizeof piece, readme);
        mg_buf_put(&text, piece, n);
        if (n < sizeof piece)
            break;
    }
    if (readme)
        fclose(readme);
    json_t *words =
        readme && !text.failed ? json_stringn(text.data ? text.data : "", text.len) : NULL;
    if (words)
        json_object_set_new(files, "README.md", words);
    mg_buf_fini(&text);
    if (status) {
        json_decref(files);
        files = NULL;
    }
    return files;
}

static enum mg_err push(const struct mg_remote *remote, const struct mg_config *config,
                        const char *dir, struct mg_errmsg *err)
{
    struct mg_udf *udf = NULL;
    struct mg_client_answer answer = {0};
    json_t *there = NULL, *saved = NULL, *files = NULL;
    char path[300];
    enum mg_err status = mg_udf_read(dir, "folder", &udf, err);
    if (!status && !(files = files_of(udf, err)))
        status = err->text[0] ? MG_E_INVALID : mg_err_set(err, MG_E_IO, "%s cannot be read", dir);
    if (!status) {
        snprintf(path, sizeof path, "udf/by-name/%s", udf->name);
        status = mg_remote_call(remote, "GET", path, NULL, NULL, 404, &answer, &there, err);
    }
    const char *id = mg_json_str(there, "id", NULL);
    char etag[sizeof answer.etag];
    memcpy(etag, answer.etag, sizeof etag);
    if (!status) {
        snprintf(path, sizeof path, id ? "udf/by-id/%.40s" : "udf/new", id);
        status = mg_remote_call(remote, "POST", path,
                                json_pack("{s:s, s:O}", "slug", udf->name, "files", files),
                                id ? etag : NULL, 0, &answer, &saved, err);
    }
    if (!status && config->json) {
        json_object_del(saved, "files");
        json_object_del(saved, "udf_body");
        mg_cli_print_json(json_incref(saved));
    } else if (!status) {
        printf("%s: version %lld\n", udf->name,
               (long long)json_integer_value(json_object_get(saved, "version")));
    }
    mg_udf_unref(&udf);
    json_decref(files);
    json_decref(there);
    json_decref(saved);
    return status;
}

int mg_cmd_push(int argc, char **argv)
{
    struct mg_config config;
    struct mg_remote remote;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(
            usage,
            "Saves UDF folders on the server, each as a new version when it changed. Nothing of a "
            "UDF is\n"
            "saved that the server finds broken, or that somebody else changed meanwhile.\n");
    if (config.n_args == 0)
        return mg_cli_usage(usage, "which folders?");
    if (mg_remote_find(&config, &remote, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    int code = 0;
    for (int i = 0; i < config.n_args; i++) {
        err.text[0] = 0;
        if (push(&remote, &config, config.args[i], &err) != MG_OK)
            code = mg_cli_fail(1, &err);
    }
    return code;
}
