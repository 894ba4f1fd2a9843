/* Configuration: config.def as a table of rows, filled from a file, MOONGATE_* variables and flags, in this order.
 *
 * Invariant: after a successful parse each member holds a value of its type within its range. Cost: a scan of the
 * table for each flag. */
#include "moongate/config.h"

#include "moongate/nearest.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LIST_MAX = 32, ARGS_MAX = 255 };
enum kind { STR, INT, BOOL, LIST };

struct row {
    const char *flag, *help;
    enum kind kind;
    size_t offset;
    const char *text;          /* default of STR */
    int64_t number, min, max;  /* default and range of INT */
};

static const struct row rows[] = {
#define MG_CONFIG_STR(member, flag, fallback, help) {flag, help, STR, offsetof(struct mg_config, member), fallback, 0, 0, 0},
#define MG_CONFIG_INT(member, flag, fallback, min, max, help) \
    {flag, help, INT, offsetof(struct mg_config, member), NULL, fallback, min, max},
#define MG_CONFIG_BOOL(member, flag, help) {flag, help, BOOL, offsetof(struct mg_config, member), NULL, 0, 0, 0},
#define MG_CONFIG_LIST(member, flag, help) {flag, help, LIST, offsetof(struct mg_config, member), NULL, 0, 0, 0},
#include "moongate/config.def"
#undef MG_CONFIG_STR
#undef MG_CONFIG_INT
#undef MG_CONFIG_BOOL
#undef MG_CONFIG_LIST
};
enum { ROWS = sizeof rows / sizeof *rows };

static const struct {
    char letter;
    const char *flag;
} letters[] = {{'o', "output"}, {'h', "help"}};

static void *member_of(struct mg_config *config, const struct row *row) { return (char *)config + row->offset; }

static const struct row *row_of(struct mg_span flag)
{
    for (size_t i = 0; i < ROWS; i++)
        if (mg_span_is(flag, rows[i].flag))
            return &rows[i];
    return NULL;
}

static bool read_bool(const char *text, bool *out)
{
    static const struct {
        const char *text;
        bool value;
    } words[] = {{"1", true}, {"true", true}, {"yes", true}, {"on", true}, {"0", false}, {"false", false}, {"no", false},
                 {"off", false}, {"", false}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i].text) == 0) {
            *out = words[i].value;
            return true;
        }
    return false;
}

/* Sets one member; `from` is how the reader calls it ("--workers", "MOONGATE_WORKERS"). */
static enum mg_err set(struct mg_config *config, const struct row *row, const char *from, const char *text,
                       struct mg_errmsg *err)
{
    void *member = member_of(config, row);
    switch (row->kind) {
    case STR:
        if (!*text)
            return mg_err_set(err, MG_E_INVALID, "%s: a value is expected (%s)", from, row->help);
        *(const char **)member = text;
        return MG_OK;
    case INT: {
        char *end;
        bool digit = isdigit((unsigned char)*text) || (*text == '-' && isdigit((unsigned char)text[1]));
        long long value = strtoll(text, &end, 10);
        if (!digit || *end || value < row->min || value > row->max)
            return mg_err_set(err, MG_E_INVALID, "%s: a whole number from %lld to %lld is expected, not \"%.64s\" (%s)",
                              from, (long long)row->min, (long long)row->max, text, row->help);
        *(int64_t *)member = value;
        return MG_OK;
    }
    case BOOL:
        if (!read_bool(text, member))
            return mg_err_set(err, MG_E_INVALID, "%s: true or false is expected, not \"%.64s\"", from, text);
        return MG_OK;
    case LIST: {
        const char **list = member;
        size_t n = 0;
        while (list[n])
            n++;
        if (n == LIST_MAX)
            return mg_err_set(err, MG_E_INVALID, "%s: given more than %d times", from, LIST_MAX);
        if (!*text)
            return mg_err_set(err, MG_E_INVALID, "%s: a value is expected (%s)", from, row->help);
        list[n] = text;
        return MG_OK;
    }
    }
    return MG_E_INTERNAL;
}

/* Copies that live for the process. */
static struct kept {
    struct kept *next;
    char text[];
} *kept;

static const char *keep(struct mg_span text)
{
    struct kept *copy = malloc(sizeof *copy + text.len + 1);
    if (!copy)
        return NULL;
    memcpy(copy->text, text.data, text.len);
    copy->text[text.len] = 0;
    copy->next = kept;
    kept = copy;
    return copy->text;
}

/* A list takes the place of what an earlier source gave. */
static void forget(struct mg_config *config, const struct row *row)
{
    if (row->kind == LIST)
        memset(member_of(config, row), 0, sizeof config->mount);
}

/* The parts of a comma list. */
static enum mg_err set_parts(struct mg_config *config, const struct row *row, const char *from, const char *text,
                             struct mg_errmsg *err)
{
    struct mg_span rest = mg_span(text), part;
    while (mg_span_cut(&rest, ',', &part)) {
        const char *copy = part.len ? keep(part) : NULL;
        if (part.len && !copy)
            return MG_E_NOMEM;
        enum mg_err status = copy ? set(config, row, from, copy, err) : MG_OK;
        if (status)
            return status;
    }
    return MG_OK;
}

static enum mg_err read_variables(struct mg_config *config, struct mg_errmsg *err)
{
    for (size_t i = 0; i < ROWS; i++) {
        char name[80];
        snprintf(name, sizeof name, "MOONGATE_%s", rows[i].flag);
        for (char *c = name; *c; c++)
            *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        const char *text = getenv(name);
        if (!text || (!*text && rows[i].kind != BOOL)) /* set but empty is not set */
            continue;
        forget(config, &rows[i]);
        enum mg_err status = rows[i].kind == LIST ? set_parts(config, &rows[i], name, text, err)
                                                  : set(config, &rows[i], name, text, err);
        if (status)
            return status;
    }
    return MG_OK;
}

static enum mg_err unknown(struct mg_span flag, struct mg_errmsg *err)
{
    const char *names[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        names[i] = rows[i].flag;
    const char *near = mg_nearest(flag, names, ROWS);
    int len = flag.len < 64 ? (int)flag.len : 64;
    if (near)
        return mg_err_set(err, MG_E_INVALID, "there is no flag --%.*s; did you mean --%s?", len, flag.data, near);
    return mg_err_set(err, MG_E_INVALID, "there is no flag --%.*s; --help lists the flags", len, flag.data);
}

/* One argument that starts with '-'; may use up argv[*at + 1] as its value. */
static enum mg_err read_flag(struct mg_config *config, bool *seen, int argc, char **argv, int *at, struct mg_errmsg *err)
{
    const char *arg = argv[*at], *equals = strchr(arg, '=');
    const struct row *row = NULL;
    struct mg_span flag;
    if (arg[1] == '-') {
        flag = (struct mg_span){arg + 2, equals ? (size_t)(equals - arg - 2) : strlen(arg + 2)};
        row = row_of(flag);
        if (!row)
            return unknown(flag, err);
    } else {
        for (size_t i = 0; i < sizeof letters / sizeof *letters && !row; i++)
            if (arg[1] == letters[i].letter && !arg[2])
                row = row_of(mg_span(letters[i].flag));
        if (!row)
            return mg_err_set(err, MG_E_INVALID, "there is no flag %.64s; --help lists the flags", arg);
        equals = NULL;
    }
    char from[80];
    snprintf(from, sizeof from, "--%s", row->flag);
    const char *text = equals ? equals + 1 : NULL;
    if (!text && row->kind == BOOL) {
        text = "true";
    } else if (!text) {
        if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0)
            return mg_err_set(err, MG_E_INVALID, "%s: a value is expected (%s)", from, row->help);
        text = argv[++*at];
    }
    if (!seen[row - rows])
        forget(config, row);
    seen[row - rows] = true;
    return set(config, row, from, text, err);
}

static mg_config_read_f *read_file;

void mg_config_reader(mg_config_read_f *read) { read_file = read; }

struct filling {
    struct mg_config *config;
    const char *path;
};

static enum mg_err put_setting(void *context, const char *name, const char *text, struct mg_errmsg *err)
{
    const struct filling *filling = context;
    char flag[64], from[512];
    size_t len = strlen(name);
    for (size_t i = 0; i < len && len < sizeof flag; i++)
        flag[i] = name[i] == '_' ? '-' : name[i];
    struct mg_span span = {flag, len < sizeof flag ? len : 0};
    const struct row *row = row_of(span);
    if (!row || strcmp(row->flag, "config") == 0) {
        const char *names[ROWS], *near;
        for (size_t i = 0; i < ROWS; i++)
            names[i] = rows[i].flag;
        near = mg_nearest(span, names, ROWS);
        return mg_err_set(err, MG_E_INVALID, "%s: there is no setting %.64s%s%s%s", filling->path, name,
                          near ? "; did you mean " : "", near ? near : "", near ? " (with _ for -)?" : "");
    }
    snprintf(from, sizeof from, "%s: %.64s", filling->path, name);
    const char *copy = keep(mg_span(text));
    return copy ? set(filling->config, row, from, copy, err) : MG_E_NOMEM;
}

/* --config of the command line, by itself: the file is read before the other flags. */
static const char *named_file(int argc, char **argv)
{
    const char *path = getenv("MOONGATE_CONFIG");
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strncmp(argv[i], "--config=", 9) == 0)
            path = argv[i] + 9;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            path = argv[i + 1];
    return path && *path ? path : NULL;
}

static enum mg_err read_settings(struct mg_config *config, int argc, char **argv, struct mg_errmsg *err)
{
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME"), *path = named_file(argc, argv);
    char own[4096] = "";
    if (!read_file)
        return MG_OK;
    if (!path) {
        if (xdg && *xdg)
            snprintf(own, sizeof own, "%s/moongate/moongate.conf.lua", xdg);
        else if (home && *home)
            snprintf(own, sizeof own, "%s/.config/moongate/moongate.conf.lua", home);
        path = access(own, F_OK) == 0 ? own : "/etc/moongate/moongate.conf.lua";
        if (access(path, F_OK) != 0)
            return MG_OK;
    }
    struct filling filling = {config, path};
    return read_file(path, put_setting, &filling, err);
}

enum mg_err mg_config_parse(int argc, char **argv, struct mg_config *out, struct mg_errmsg *err)
{
    struct mg_config config = {0};
    bool seen[ROWS] = {false}, flags = true;
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].kind == STR)
            *(const char **)member_of(&config, &rows[i]) = rows[i].text;
        else if (rows[i].kind == INT)
            *(int64_t *)member_of(&config, &rows[i]) = rows[i].number;
    }
    enum mg_err status = read_settings(&config, argc, argv, err);
    if (!status)
        status = read_variables(&config, err);
    for (int at = 0; at < argc && !status; at++) {
        if (flags && strcmp(argv[at], "--") == 0)
            flags = false;
        else if (flags && argv[at][0] == '-' && argv[at][1])
            status = read_flag(&config, seen, argc, argv, &at, err);
        else if (config.n_args == ARGS_MAX)
            status = mg_err_set(err, MG_E_INVALID, "more than %d arguments", ARGS_MAX);
        else
            config.args[config.n_args++] = argv[at];
    }
    if (!status)
        *out = config;
    return status;
}

static void put_help(const struct row *row, struct mg_buf *out)
{
    static const char *const values[] = {[STR] = " VALUE", [INT] = " N", [BOOL] = "", [LIST] = " VALUE"};
    char flag[80];
    snprintf(flag, sizeof flag, "--%s%s", row->flag, values[row->kind]);
    mg_buf_printf(out, "  %-24s %s", flag, row->help);
    if (row->kind == STR && row->text)
        mg_buf_printf(out, " (default %s)", row->text);
    else if (row->kind == INT && row->number)
        mg_buf_printf(out, " (default %lld)", (long long)row->number);
    mg_buf_char(out, '\n');
}

void mg_config_help(struct mg_buf *out) { mg_config_help_of(NULL, out); }

void mg_config_help_of(const char *const *flags, struct mg_buf *out)
{
    for (size_t i = 0; i < ROWS; i++) {
        const char *const *flag = flags;
        while (flag && *flag && strcmp(*flag, rows[i].flag) != 0)
            flag++;
        if (!flag || *flag)
            put_help(&rows[i], out);
    }
}
