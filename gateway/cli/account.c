/* moongate account: accounts, and sign-in links for them.
 *
 * An account is called name@organisation; what stands behind the @ is its organisation, whose UDFs,
 * tokens and files are out of sight for all others. */
#include "moongate/state.h"

#include "cli.h"

#include <stdio.h>
#include <time.h>

static const char usage[] = "account link | create NAME@ORGANISATION";

/* Makes the account, and its organisation with the first of them. */
static enum mg_err create(struct mg_state *state, const char *org, const char *account,
                          struct mg_errmsg *err)
{
    struct mg_token token;
    enum mg_err status = mg_account_find(state, org, account, err);
    if (status == MG_OK)
        return mg_err_set(err, MG_E_CONFLICT,
                          "there is an account %s already: `account link --account %s` signs in",
                          account, account);
    return status == MG_E_NOT_FOUND ? mg_token_of_account(state, org, account, &token, err)
                                    : status;
}

int mg_cmd_account(int argc, char **argv)
{
    struct mg_config config;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(usage, "link prints a link that signs a browser (or `moongate login`) "
                                  "in once, within 15 minutes;\n"
                                  "create makes an account, in an organisation of its own or one "
                                  "that is there, and does so.\n");
    bool creates = config.n_args == 2 && strcmp(config.args[0], "create") == 0;
    if (!creates && (config.n_args != 1 || strcmp(config.args[0], "link") != 0))
        return mg_cli_usage(usage, "`link`, or `create` and a name, are expected");
    const char *account = creates ? config.args[1] : config.account, *at = strchr(account, '@');
    if (!at || at == account || !at[1] || strchr(at + 1, '@'))
        return mg_cli_usage(usage, "%.100s: an account is called name@organisation", account);
    const char *org = at + 1;
    char data[1024], code[MG_TOKEN_LEN + 1], base[512], url[700];
    struct mg_state *state = NULL;
    enum mg_err status = mg_data_dir(&config, data, sizeof data, &err);
    if (!status)
        status = mg_state_open(data, &state, &err);
    if (!status && creates)
        status = create(state, org, account, &err);
    if (!status)
        status = mg_link_create(state, org, account, time(NULL), code, &err);
    mg_state_close(&state);
    if (status)
        return mg_cli_fail(1, &err);
    mg_cli_base_url(&config, base, sizeof base);
    snprintf(url, sizeof url, "%s/login/%s", base, code);
    if (config.json)
        mg_cli_print_json(
            json_pack("{ss ss si}", "account", account, "url", url, "valid_s", 15 * 60));
    else
        printf("%s\n", url);
    return 0;
}
