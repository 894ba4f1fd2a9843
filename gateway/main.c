/* argv -> command. */
#include "moongate/nearest.h"
#include "moongate/worker.h"

#include "cli/cli.h"

#include <stdio.h>

static int cmd_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    printf("moongate %s\n", MG_VERSION);
    return 0;
}

static mg_cmd_f cmd_help;

static const struct {
    const char *name;
    mg_cmd_f *run;
    const char *help;
} commands[] = {
    {"serve", mg_cmd_serve, "serve UDF folders and data files over HTTP"},
    {"run", mg_cmd_run, "run one UDF here and print its answer"},
    {"new", mg_cmd_new, "write a working UDF folder to start from"},
    {"check", mg_cmd_check, "say what is wrong with UDF folders"},
    {"list", mg_cmd_list, "list UDFs"},
    {"seed", mg_cmd_seed, "render the tiles of a UDF into PMTiles, MBTiles or the cache"},
    {"formats", mg_cmd_formats, "list the formats of answers, and their options"},
    {"docs", mg_cmd_docs, "say what a function of the Lua library does"},
    {"token", mg_cmd_token, "create, list, show and revoke tokens"},
    {"secret", mg_cmd_secret, "set, list and delete secrets of UDFs"},
    {"push", mg_cmd_push, "save UDF folders on a server"},
    {"pull", mg_cmd_pull, "fetch saved UDFs into folders"},
    {"login", mg_cmd_login, "keep a server and its token for later commands"},
    {"account", mg_cmd_account, "print a sign-in link"},
    {"doctor", mg_cmd_doctor, "say whether this machine can serve, and what to do"},
    {"version", cmd_version, "print the version"},
    {"help", cmd_help, "print this, or `help COMMAND`"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static int cmd_help(int argc, char **argv)
{
    static char help[] = "--help";
    if (argc > 0)
        for (size_t i = 0; i < COMMANDS; i++)
            if (commands[i].run != cmd_help && strcmp(argv[0], commands[i].name) == 0)
                return commands[i].run(1, (char *[]){help, NULL});
    printf("Moongate %s: a Lua-scripted tile and data gateway\n\nUsage: moongate COMMAND [arguments] [flags]\n\n", MG_VERSION);
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-9s %s\n", commands[i].name, commands[i].help);
    printf("\n`moongate COMMAND --help` says more. Exit codes: 0 done, 1 failed, 2 called wrongly.\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        cmd_help(0, NULL);
        return 2;
    }
    mg_config_reader(mg_conf_read);
    const char *names[COMMANDS], *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < COMMANDS; i++) {
        names[i] = commands[i].name;
        if (strcmp(name, commands[i].name) == 0) {
            int code = commands[i].run(argc - 2, argv + 2);
            /* A full disk or a closed pipe must not look like success. */
            return fflush(stdout) != 0 && code == 0 ? 1 : code;
        }
    }
    const char *near = mg_nearest(mg_span(name), names, COMMANDS);
    fprintf(stderr, "moongate: there is no command \"%s\"%s%s%s see `moongate help`\n", name,
            near ? ": did you mean " : "", near ? near : "", near ? "?" : ";");
    return 2;
}
