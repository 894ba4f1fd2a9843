/* moongate run: one run of a UDF on this machine, through the same zygote, sandbox and codecs as the server. */
#include "moongate/codec.h"
#include "moongate/front.h"
#include "moongate/log.h"

#include "cli.h"
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_GIVEN = 64 };

static enum mg_err read_ask(const struct mg_config *config, struct mg_ask *ask, struct mg_given *given,
                            struct mg_errmsg *err)
{
    for (int i = 1; i < config->n_args; i++) {
        const char *equals = strchr(config->args[i], '=');
        if (!equals || equals == config->args[i])
            return mg_err_set(err, MG_E_INVALID, "%s: NAME=VALUE is expected", config->args[i]);
        if (ask->n_given == MAX_GIVEN)
            return mg_err_set(err, MG_E_INVALID, "more than %d parameters", MAX_GIVEN);
        given[ask->n_given++] = (struct mg_given){.name = {config->args[i], (size_t)(equals - config->args[i])},
                                                  .text = mg_span(equals + 1)};
    }
    if (config->bounds)
        given[ask->n_given++] = (struct mg_given){.name = MG_SPAN("bounds"), .text = mg_span(config->bounds)};
    if (config->tile) {
        int used = 0;
        if (sscanf(config->tile, "%d/%d/%d%n", &ask->z, &ask->x, &ask->y, &used) != 3 || config->tile[used] ||
            !mg_tile_valid((struct mg_tile){ask->z, ask->x, ask->y}))
            return mg_err_set(err, MG_E_TILE_RANGE, "--tile %s: z/x/y is expected, with z from 0 to %d and x, y below 2^z",
                              config->tile, MG_TILE_MAX_ZOOM);
        ask->has_tile = true;
        ask->tile_size = 256;
    }
    const char *format = config->format;
    if (!format && config->output && strrchr(config->output, '.'))
        format = strrchr(config->output, '.') + 1;
    if (format) {
        const struct mg_codec *codec = mg_codec_find(mg_span(format));
        if (!codec)
            return mg_err_set(err, MG_E_PARAMETER, "there is no format \"%s\"", format);
        ask->formats = mg_span(codec->name);
    }
    return MG_OK;
}

static enum mg_err write_body(const struct mg_answer *answer, const char *path, struct mg_errmsg *err)
{
    struct mg_buf inflated;
    struct mg_span body = answer->body;
    char *copy = NULL;
    mg_buf_init(&inflated, 0);
    if (answer->fd >= 0) {
        copy = malloc(answer->fd_bytes + 1);
        ssize_t n = copy ? pread(answer->fd, copy, answer->fd_bytes, (off_t)answer->fd_offset) : -1;
        body = (struct mg_span){copy, n > 0 ? (size_t)n : 0};
    }
    enum mg_err status = MG_OK;
    if (answer->gzip) {
        status = mg_gunzip(body, &inflated);
        body = (struct mg_span){inflated.data, inflated.len};
    }
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : STDOUT_FILENO;
    for (size_t done = 0; !status && done < body.len;) {
        ssize_t n = fd < 0 ? -1 : write(fd, body.data + done, body.len - done);
        if (n <= 0)
            status = mg_err_set(err, MG_E_IO, "%s: %s", path ? path : "standard output", strerror(errno));
        else
            done += (size_t)n;
    }
    if (fd < 0)
        status = mg_err_set(err, MG_E_IO, "%s: %s", path, strerror(errno));
    if (path && fd >= 0)
        close(fd);
    free(copy);
    mg_buf_fini(&inflated);
    return status;
}

/* What the run said, as its author reads it. */
static int report(const struct mg_config *config, const struct mg_answer *answer, const struct mg_buf *detail)
{
    struct mg_errmsg err = {0};
    if (answer->log)
        fputs(answer->log, stderr);
    if (answer->err) {
        fprintf(stderr, "moongate: %s\n", answer->message ? answer->message : mg_err_text(answer->err));
        if (detail->len)
            fprintf(stderr, "%s\n", detail->data);
        if (answer->traceback)
            fprintf(stderr, "%s\n", answer->traceback);
        return 1;
    }
    bool text = answer->mime && (strncmp(answer->mime, "text/", 5) == 0 || strstr(answer->mime, "json"));
    if (!config->output && !text && isatty(STDOUT_FILENO) && mg_answer_bytes(answer)) {
        fprintf(stderr, "moongate: the answer is %s (%llu bytes); write it with -o FILE\n", answer->mime,
                (unsigned long long)answer->identity_bytes);
        return 1;
    }
    if (write_body(answer, config->output, &err) != MG_OK)
        return mg_cli_fail(1, &err);
    if (config->output)
        fprintf(stderr, "%s: %s, %llu bytes, %.1f ms in Lua, %.1f ms to encode\n", config->output,
                answer->mime ? answer->mime : "empty", (unsigned long long)answer->identity_bytes,
                (double)answer->lua_us / 1e3, (double)answer->encode_us / 1e3);
    return 0;
}

static enum mg_err run(const struct mg_config *config, int *code, struct mg_errmsg *err)
{
    struct mg_local local;
    struct mg_given given[MAX_GIVEN + 1];
    struct mg_ask ask = {.org = "local", .given = given, .max_age_s = -1, .no_cache = true, .mode = MG_RUN_ANSWER};
    struct mg_buf detail;
    mg_buf_init(&detail, 0);
    enum mg_err status = read_ask(config, &ask, given, err);
    if (status)
        return status;
    status = mg_local_open(config, config->args[0], 1, &local, err);
    if (!status) {
        ask.udf = local.udf;
        struct mg_answer *answer = mg_run_wait(local.engine, &ask, &detail);
        *code = report(config, answer, &detail);
        mg_answer_unref(&answer);
    }
    mg_local_close(&local);
    mg_buf_fini(&detail);
    return status;
}

int mg_cmd_run(int argc, char **argv)
{
    struct mg_config config;
    struct mg_errmsg err = {0};
    int code = 1;
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help || config.n_args == 0) {
        int status = mg_cli_help("run NAME|DIR [PARAMETER=VALUE…] [--tile z/x/y] [--bounds xmin,ymin,xmax,ymax] "
                                 "[--format F] [-o FILE]",
                                 "Runs one UDF and writes its answer to standard output or FILE; printed lines go to "
                                 "standard error.\n");
        return config.help ? status : 2;
    }
    mg_log_init("run", MG_LOG_WARN, false);
    return run(&config, &code, &err) == MG_OK ? code : mg_cli_fail(1, &err);
}
