/* moongate secret: the organisation's secrets, which UDFs read as moon.secrets.NAME. A value comes by
 * standard input (on a terminal it is not echoed), never as an argument, where other users and the shell's
 * history would see it. */
#include "moongate/state.h"

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const char usage[] = "secret set NAME | list | delete NAME";

/* One line from a terminal, everything from anywhere else; without the line break at its end. */
static enum mg_err read_value(const char *name, struct mg_buf *out, struct mg_errmsg *err)
{
    struct termios old;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &old) == 0;
    if (terminal) {
        struct termios quiet = old;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        fprintf(stderr, "value of %s: ", name);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    for (;;) {
        char *room = mg_buf_room(out, 4096);
        ssize_t n = room ? read(STDIN_FILENO, room, 4096) : -1;
        if (n <= 0)
            break;
        mg_buf_added(out, (size_t)n);
        if (terminal && out->data[out->len - 1] == '\n')
            break;
    }
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
        fputc('\n', stderr);
    }
    if (out->failed)
        return mg_err_set(err, MG_E_INVALID, "a secret has at most %d bytes", MG_SECRET_MAX);
    if (out->len && out->data[out->len - 1] == '\n')
        out->len--;
    if (out->len && out->data[out->len - 1] == '\r')
        out->len--;
    return MG_OK;
}

static bool add_row(void *context, const char *name, int64_t set_s)
{
    json_array_append_new(context, json_pack("{ss sI}", "name", name, "set_s", (json_int_t)set_s));
    return true;
}

static int list(const struct mg_config *config, struct mg_state *state, struct mg_errmsg *err)
{
    json_t *rows = json_array(), *row;
    size_t i;
    if (mg_secret_each(state, "local", add_row, rows, err) != MG_OK) {
        json_decref(rows);
        return mg_cli_fail(1, err);
    }
    if (config->json) {
        mg_cli_print_json(rows);
        return 0;
    }
    json_array_foreach(rows, i, row)
    {
        char when[32];
        time_t at = (time_t)json_integer_value(json_object_get(row, "set_s"));
        struct tm tm;
        strftime(when, sizeof when, "%Y-%m-%d %H:%M", localtime_r(&at, &tm));
        printf("%-32s set %s\n", mg_json_str(row, "name", ""), when);
    }
    if (i == 0)
        fprintf(stderr, "There are no secrets yet: moongate secret set NAME\n");
    json_decref(rows);
    return 0;
}

int mg_cmd_secret(int argc, char **argv)
{
    struct mg_config config;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(
            usage, "Keeps texts that UDFs read as moon.secrets.NAME, encrypted under the server's key. `set` "
                   "reads the value\nfrom standard input. A change holds from the next request on.\n");
    const char *verb = config.n_args ? config.args[0] : "";
    bool set = strcmp(verb, "set") == 0, del = strcmp(verb, "delete") == 0, all = strcmp(verb, "list") == 0;
    if (!set && !del && !all)
        return mg_cli_usage(usage, "`set`, `list` or `delete` is expected");
    if (set && config.n_args > 2)
        return mg_cli_usage(
            usage, "the value comes by standard input: printf %%s \"$VALUE\" | moongate secret set %s",
            config.args[1]);
    if (config.n_args != (all ? 1 : 2))
        return mg_cli_usage(usage, all ? "list takes no name" : "one name is expected");
    char data[1024];
    struct mg_state *state = NULL;
    struct mg_buf value;
    int code = 0;
    mg_buf_init(&value, MG_SECRET_MAX + 4096);
    enum mg_err status = mg_data_dir(&config, data, sizeof data, &err);
    if (!status)
        status = mg_state_open(data, &state, &err);
    if (!status && set)
        status = read_value(config.args[1], &value, &err);
    if (!status && set)
        status = mg_secret_set(state, "local", config.args[1], (struct mg_span){value.data, value.len}, &err);
    if (!status && del)
        status = mg_secret_delete(state, "local", config.args[1], &err);
    if (!status && all)
        code = list(&config, state, &err);
    if (value.data)
        explicit_bzero(value.data, value.len);
    mg_buf_fini(&value);
    mg_state_close(&state);
    return status ? mg_cli_fail(1, &err) : code;
}
