/* What the commands share. Each command is `int mg_cmd_x(int argc, char **argv)`, argv behind its name; it returns the
 * exit code: 0 done, 1 failed, 2 called wrongly. */
#ifndef MOONGATE_CLI_CLI_H
#define MOONGATE_CLI_CLI_H

#include "moongate/config.h"
#include "moongate/json.h"

typedef int mg_cmd_f(int argc, char **argv);
mg_cmd_f mg_cmd_serve, mg_cmd_run, mg_cmd_seed, mg_cmd_new, mg_cmd_check, mg_cmd_list, mg_cmd_token, mg_cmd_account, mg_cmd_doctor,
    mg_cmd_formats, mg_cmd_docs, mg_cmd_secret, mg_cmd_push, mg_cmd_pull, mg_cmd_login;

/* Prints "moongate: <sentence>" on standard error; returns `code`. */
int mg_cli_fail(int code, const struct mg_errmsg *err);
/* Called wrongly: the sentence and how the command is called; returns 2. */
int mg_cli_usage(const char *usage, const char *format, ...) MG_PRINTF(2, 3);
/* Prints how a command is called ("serve [DIR…] …"), the text, and the flags of the command that `usage` starts with;
 * returns 0. */
int mg_cli_help(const char *usage, const char *text);
/* --data or MOONGATE_DATA, else $XDG_DATA_HOME/moongate, else ~/.local/share/moongate; made (0700) when missing. */
MG_MUST_CHECK enum mg_err mg_data_dir(const struct mg_config *config, char *out, size_t size, struct mg_errmsg *err);
/* The same, not made. */
MG_MUST_CHECK enum mg_err mg_data_dir_name(const struct mg_config *config, char *out, size_t size,
                                           struct mg_errmsg *err);
/* Base of URLs to print: --public-url, else a given --listen, else the server that ~/.moongate/credentials names, else
 * the default. Without a slash at its end. */
void mg_cli_base_url(const struct mg_config *config, char *out, size_t size);

/* Tables for people: cells are collected, columns get the width of their widest cell (characters, not bytes). */
struct mg_cli_table {
    struct mg_buf cells; /* each ends in NUL */
    size_t columns, n;
};
void mg_cli_cell(struct mg_cli_table *table, const char *text);
void mg_cli_print_table(struct mg_cli_table *table); /* and frees it */
/* Prints canonical JSON and a newline; takes value. */
void mg_cli_print_json(json_t *value);

#endif
