/* What the commands share: help, data directory, tables. */
#include "cli.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The flags that each command knows; --help shows only these. */
static const struct {
    const char *command;
    const char *const flags[32];
} flags_table[] = {
    {"serve",
     {"config", "listen", "tls-listen", "tls-cert", "tls-key", "tls-self-signed", "public-url", "admin-listen",
      "trusted-proxy",
      "data", "workers", "threads", "mount", "quota", "allow-egress", "deny-egress", "egress-ca", "timeout", "cpu-timeout", "lua-memory",
      "worker-memory", "max-result", "cache-size", "cache-max-age", "max-connections", "max-per-address", "no-examples",
      "json", "log-level", "access-log", "help"}},
    {"run", {"tile", "bounds", "format", "output", "data", "mount", "timeout", "cpu-timeout", "lua-memory",
             "worker-memory", "max-result", "quota", "allow-egress", "deny-egress", "egress-ca", "help"}},
    {"seed", {"bounds", "zooms", "output", "format", "data", "workers", "mount", "timeout", "cpu-timeout", "lua-memory",
              "worker-memory", "max-result", "cache-size", "cache-max-age", "allow-egress", "egress-ca", "json", "help"}},
    {"formats", {"json", "markdown", "help"}},
    {"docs", {"json", "help"}},
    {"new", {"json", "help"}},
    {"check", {"json", "help"}},
    {"list", {"no-examples", "json", "help"}},
    {"token", {"expires", "show", "account", "data", "public-url", "listen", "json", "help"}},
    {"secret", {"data", "json", "help"}},
    {"push", {"server", "token", "json", "help"}},
    {"pull", {"server", "token", "output", "json", "help"}},
    {"login", {"server", "token", "json", "help"}},
    {"account", {"account", "data", "public-url", "listen", "json", "help"}},
    {"doctor", {"data", "listen", "max-connections", "json", "help"}},
};

int mg_cli_fail(int code, const struct mg_errmsg *err)
{
    fprintf(stderr, "moongate: %s\n", err->text[0] ? err->text : "failed");
    return code;
}

int mg_cli_usage(const char *usage, const char *format, ...)
{
    va_list args;
    fputs("moongate: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nUsage: moongate %s\n", usage);
    return 2;
}

int mg_cli_help(const char *usage, const char *text)
{
    struct mg_buf flags;
    size_t word = strcspn(usage, " ");
    const char *const *known = NULL;
    for (size_t i = 0; i < sizeof flags_table / sizeof *flags_table; i++)
        if (strlen(flags_table[i].command) == word && strncmp(flags_table[i].command, usage, word) == 0)
            known = flags_table[i].flags;
    mg_buf_init(&flags, 0);
    mg_config_help_of(known, &flags);
    printf("Usage: moongate %s\n\n%s\nFlags (each also as a variable: --data is MOONGATE_DATA):\n%s", usage, text,
           flags.data ? flags.data : "");
    mg_buf_fini(&flags);
    return 0;
}

static const char *home_dir(void)
{
    const char *home = getenv("HOME");
    const struct passwd *user = home && *home ? NULL : getpwuid(geteuid());
    return home && *home ? home : user ? user->pw_dir : NULL;
}

enum mg_err mg_data_dir_name(const struct mg_config *config, char *out, size_t size, struct mg_errmsg *err)
{
    const char *xdg = getenv("XDG_DATA_HOME"), *home = home_dir();
    char cwd[4096];
    int len = -1;
    if (config->data && config->data[0] != '/') {
        if (!getcwd(cwd, sizeof cwd))
            return mg_err_set(err, MG_E_IO, "the current folder: %s", strerror(errno));
        len = snprintf(out, size, "%s/%s", cwd, config->data);
    } else if (config->data) {
        len = snprintf(out, size, "%s", config->data);
    } else if (xdg && xdg[0] == '/') {
        len = snprintf(out, size, "%s/moongate", xdg);
    } else if (geteuid() == 0) {
        /* The server gives up root's rights, and could not reach a folder beneath root's home. */
        len = snprintf(out, size, "/var/lib/moongate");
    } else if (home) {
        len = snprintf(out, size, "%s/.local/share/moongate", home);
    } else {
        return mg_err_set(err, MG_E_NOT_FOUND, "there is no home folder: name the data directory with --data DIR");
    }
    if (len < 0 || (size_t)len >= size)
        return mg_err_set(err, MG_E_INVALID, "the path of the data directory is too long (%d bytes)", len);
    return MG_OK;
}

enum mg_err mg_data_dir(const struct mg_config *config, char *out, size_t size, struct mg_errmsg *err)
{
    enum mg_err status = mg_data_dir_name(config, out, size, err);
    if (status)
        return status;
    for (char *at = out + 1;; at++) {
        if (*at && *at != '/')
            continue;
        char separator = *at;
        struct stat st;
        *at = 0;
        bool made = stat(out, &st) == 0 || mkdir(out, 0700) == 0 || errno == EEXIST;
        if (!made)
            return mg_err_set(err, MG_E_IO, "cannot make the data directory %s: %s; choose another with --data", out,
                              strerror(errno));
        *at = separator;
        if (!separator)
            return MG_OK;
    }
}

/* "server" of ~/.moongate/credentials, which serve writes, where it is a server of this data directory. */
static bool server_of_credentials(const struct mg_config *config, char *out, size_t size)
{
    char path[4200], data[1024];
    const char *home = home_dir();
    snprintf(path, sizeof path, "%s/.moongate/credentials", home ? home : "");
    json_t *json = home ? json_load_file(path, 0, NULL) : NULL;
    const char *server = mg_json_str(json, "server", NULL), *of = mg_json_str(json, "data", NULL);
    bool ours = server && of && mg_data_dir_name(config, data, sizeof data, NULL) == MG_OK && strcmp(of, data) == 0;
    if (ours)
        snprintf(out, size, "%s", server);
    json_decref(json);
    return ours;
}

void mg_cli_base_url(const struct mg_config *config, char *out, size_t size)
{
    static const char usual[] = "127.0.0.1:8080";
    const char *listen = config->listen, *port = strrchr(listen, ':');
    bool any = port && (strncmp(listen, "0.0.0.0:", 8) == 0 || strncmp(listen, "[::]:", 5) == 0 || port == listen);
    if (config->public_url)
        snprintf(out, size, "%s", config->public_url);
    else if (strcmp(listen, usual) != 0 || !server_of_credentials(config, out, size))
        snprintf(out, size, "http://%s%s", any ? "localhost" : listen, any ? port : "");
    size_t len = strlen(out);
    while (len && out[len - 1] == '/')
        out[--len] = 0;
}

void mg_cli_cell(struct mg_cli_table *table, const char *text)
{
    mg_buf_put(&table->cells, text, strlen(text) + 1);
    table->n++;
}

static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

void mg_cli_print_table(struct mg_cli_table *table)
{
    size_t widths[16] = {0}, column = 0;
    const char *cell = table->cells.data;
    for (size_t i = 0; i < table->n && !table->cells.failed; i++, cell += strlen(cell) + 1) {
        size_t width = width_of(cell);
        column = i % table->columns;
        widths[column] = width > widths[column] ? width : widths[column];
    }
    cell = table->cells.data;
    for (size_t i = 0; i < table->n && !table->cells.failed; i++, cell += strlen(cell) + 1) {
        column = i % table->columns;
        bool last = column + 1 == table->columns;
        printf("%s%*s", cell, last ? 0 : (int)(widths[column] - width_of(cell)) + 2, "");
        if (last)
            putchar('\n');
    }
    mg_buf_fini(&table->cells);
}

void mg_cli_print_json(json_t *value)
{
    struct mg_buf text;
    mg_buf_init(&text, 0);
    mg_json_write(value, &text);
    printf("%s\n", text.data ? text.data : "null");
    mg_buf_fini(&text);
    json_decref(value);
}
