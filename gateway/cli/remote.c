/* Requests of the command line to a server's API. */
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum mg_err mg_remote_find(const struct mg_config *config, struct mg_remote *out,
                           struct mg_errmsg *err)
{
    char path[1100];
    const char *home = getenv("HOME");
    snprintf(path, sizeof path, "%s/.moongate/credentials", home ? home : "");
    json_t *kept = home ? json_load_file(path, 0, NULL) : NULL;
    const char *server = config->server ? config->server : mg_json_str(kept, "server", NULL);
    /* A kept token is for its own server, and is sent to no other. */
    bool same = !config->server || (server && strcmp(mg_json_str(kept, "server", ""), server) == 0);
    const char *token = config->token ? config->token
                        : same        ? mg_json_str(kept, "token", NULL)
                                      : NULL;
    enum mg_err status = MG_OK;
    if (!server || strlen(server) >= sizeof out->server ||
        (strncmp(server, "http://", 7) != 0 && strncmp(server, "https://", 8) != 0))
        status = mg_err_set(err, MG_E_INVALID,
                            "which server? give --server https://… or `moongate login` once");
    else if (!token || strlen(token) >= sizeof out->token)
        status =
            mg_err_set(err, MG_E_INVALID,
                       "there is no token for %s: give --token, or `moongate login` once", server);
    if (!status) {
        snprintf(out->server, sizeof out->server, "%s", server);
        snprintf(out->token, sizeof out->token, "%s", token);
        size_t len = strlen(out->server);
        while (len && out->server[len - 1] == '/')
            out->server[--len] = 0;
    }
    json_decref(kept);
    return status;
}

static enum mg_err refused(const struct mg_remote *remote, const struct mg_client_answer *answer,
                           json_t *json, struct mg_errmsg *err)
{
    const json_t *error = json_object_get(json, "error");
    const json_t *detail = json_array_get(json_object_get(json, "detail"), 0);
    const char *message = mg_json_str(error, "message", NULL),
               *file = mg_json_str(detail, "file", NULL);
    enum mg_err code = mg_err_from_name(mg_json_str(error, "code", "fetch"));
    if (!message)
        return mg_err_set(err, MG_E_FETCH, "%s answered %d: is it a Moongate server?",
                          remote->server, answer->status);
    if (file && json_object_get(detail, "column") && strncmp(message, file, strlen(file)) == 0)
        return mg_err_set(err, code, "%s (column %lld)", message,
                          (long long)json_integer_value(json_object_get(detail, "column")));
    return mg_err_set(err, code, "%s", message);
}

enum mg_err mg_remote_call(const struct mg_remote *remote, const char *method, const char *path,
                           json_t *body, const char *if_match, int ignore,
                           struct mg_client_answer *answer, json_t **json, struct mg_errmsg *err)
{
    char url[1200];
    struct mg_buf text;
    mg_buf_init(&text, 0);
    if (body)
        mg_json_write(body, &text);
    snprintf(url, sizeof url, "%s/server/v1/%s", remote->server, path);
    struct mg_client_call call = {.method = method,
                                  .url = url,
                                  .token = remote->token,
                                  .if_match = if_match,
                                  .content_type = body ? "application/json" : NULL,
                                  .body = {text.data, text.len}};
    enum mg_err status = mg_client_do(&call, answer, err);
    *json = NULL;
    if (!status && answer->body.len &&
        mg_json_parse((struct mg_span){answer->body.data, answer->body.len}, 0, json, NULL) !=
            MG_OK)
        *json = NULL;
    if (!status && (answer->status < 200 || answer->status > 299) && answer->status != ignore)
        status = refused(remote, answer, *json, err);
    if (status) {
        json_decref(*json);
        *json = NULL;
    }
    mg_buf_fini(&answer->body);
    mg_buf_fini(&text);
    json_decref(body);
    return status;
}

enum mg_err mg_remote_write(const char *path, struct mg_span bytes, unsigned mode,
                            struct mg_errmsg *err)
{
    char fresh[4300];
    snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    size_t done = 0;
    while (fd >= 0 && done < bytes.len) {
        ssize_t n = write(fd, bytes.data + done, bytes.len - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    bool good = fd >= 0 && done == bytes.len && fsync(fd) == 0 && rename(fresh, path) == 0;
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (!good && fd >= 0)
        unlink(fresh);
    return good ? MG_OK : mg_err_set(err, MG_E_IO, "cannot write %s: %s", path, strerror(why));
}

enum mg_err mg_remote_keep(const struct mg_remote *remote, struct mg_errmsg *err)
{
    char path[1100];
    struct mg_buf text;
    const char *home = getenv("HOME");
    if (!home)
        return mg_err_set(err, MG_E_IO,
                          "HOME is not set: there is no place for ~/.moongate/credentials");
    snprintf(path, sizeof path, "%s/.moongate", home);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/.moongate/credentials", home);
    mg_buf_init(&text, 0);
    json_t *json = json_pack("{s:s, s:s}", "server", remote->server, "token", remote->token);
    mg_json_write(json, &text);
    mg_buf_char(&text, '\n');
    json_decref(json);
    enum mg_err status = mg_buf_status(&text, err);
    if (!status)
        status = mg_remote_write(path, (struct mg_span){text.data, text.len}, 0600, err);
    mg_buf_fini(&text);
    return status;
}
