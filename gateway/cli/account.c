/* moongate account: a sign-in link for the Workbench and the map of one's own UDFs. */
#include "moongate/state.h"

#include "cli.h"

#include <stdio.h>
#include <time.h>

static const char usage[] = "account link";

int mg_cmd_account(int argc, char **argv)
{
    struct mg_config config;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(usage, "Prints a link that signs a browser in once, within 15 minutes.\n");
    if (config.n_args != 1 || strcmp(config.args[0], "link") != 0)
        return mg_cli_usage(usage, "`link` is expected");
    char data[1024], code[MG_TOKEN_LEN + 1], base[512], url[700];
    struct mg_state *state = NULL;
    enum mg_err status = mg_data_dir(&config, data, sizeof data, &err);
    if (!status)
        status = mg_state_open(data, &state, &err);
    if (!status)
        status = mg_link_create(state, "local", config.account, time(NULL), code, &err);
    mg_state_close(&state);
    if (status)
        return mg_cli_fail(1, &err);
    mg_cli_base_url(&config, base, sizeof base);
    snprintf(url, sizeof url, "%s/login/%s", base, code);
    if (config.json)
        mg_cli_print_json(json_pack("{ss ss si}", "account", config.account, "url", url, "valid_s", 15 * 60));
    else
        printf("%s\n", url);
    return 0;
}
