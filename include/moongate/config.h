/* Configuration: flags, MOONGATE_* variables and a file (moongate.conf.lua) from one table (config.def). */
#ifndef MOONGATE_CONFIG_H
#define MOONGATE_CONFIG_H

#include "moongate/buf.h"

/* Member, flag, type (STR, INT, BOOL, LIST: may be given several times), default text, help. The variable is
 * MOONGATE_ and the flag in capitals with _ for -; in the file it is the flag with _ for -. A flag counts before a
 * variable, a variable before the file, the file before the default. A variable of a LIST is a comma list. `-o` is
 * --output, `-h` is --help; `--` ends the flags. */
struct mg_config {
#define MG_CONFIG_STR(member, flag, fallback, help) const char *member;
#define MG_CONFIG_INT(member, flag, fallback, min, max, help) int64_t member;
#define MG_CONFIG_BOOL(member, flag, help) bool member;
#define MG_CONFIG_LIST(member, flag, help) const char *member[33];
#include "moongate/config.def"
#undef MG_CONFIG_STR
#undef MG_CONFIG_INT
#undef MG_CONFIG_BOOL
#undef MG_CONFIG_LIST
    const char *args[256]; /* what is not a flag, NULL-terminated */
    int n_args;
};
/* Reads the settings of a file: calls put for each value, several times for a list. It lies above this module. */
typedef enum mg_err mg_config_put_f(void *context, const char *name, const char *text, struct mg_errmsg *err);
typedef enum mg_err mg_config_read_f(const char *path, mg_config_put_f *put, void *context, struct mg_errmsg *err);
/* Once at the start; without it no file is read. The file is --config or MOONGATE_CONFIG, else
 * $XDG_CONFIG_HOME/moongate/moongate.conf.lua (~/.config), else /etc/moongate/moongate.conf.lua, where one is there. */
void mg_config_reader(mg_config_read_f *read);
/* Parses argv (behind the command's name), the environment and the file. Unknown flags: MG_E_INVALID, with the nearest known
 * one. Strings are borrowed from argv and the environment, or live for the process. */
MG_MUST_CHECK enum mg_err mg_config_parse(int argc, char **argv, struct mg_config *out, struct mg_errmsg *err);
/* A line for each flag, for --help. */
void mg_config_help(struct mg_buf *out);
/* The same for some flags only (names without dashes, NULL-terminated). */
void mg_config_help_of(const char *const *flags, struct mg_buf *out);

#endif
