/* moongate login: keeps a server and an account's token for push, pull and others. */
#include "moongate/crypto.h"

#include "remote.h"

#include <stdio.h>

static const char usage[] = "login URL|LINK";

/* A one-time link shows the account's token on its page. */
static enum mg_err use_link(const char *link, struct mg_remote *remote, struct mg_errmsg *err)
{
    struct mg_client_answer answer;
    struct mg_client_call call = {.method = "GET", .url = link};
    enum mg_err status = mg_client_do(&call, &answer, err);
    const char *at = !status && answer.status == 200 && answer.body.data ? answer.body.data : NULL;
    while (at && (at = strstr(at, "msh_")) &&
           !mg_token_well_formed((struct mg_span){at, strnlen(at, MG_TOKEN_LEN)}))
        at++;
    if (at)
        snprintf(remote->token, sizeof remote->token, "%.*s", MG_TOKEN_LEN, at);
    else if (!status)
        status =
            mg_err_set(err, MG_E_UNAUTHORIZED,
                       "the link is not valid any more: it can be used once, within 15 minutes; "
                       "`moongate account link` makes a new one");
    mg_buf_fini(&answer.body);
    return status;
}

int mg_cmd_login(int argc, char **argv)
{
    struct mg_config config;
    struct mg_remote remote = {.server = ""};
    struct mg_client_answer answer;
    struct mg_errmsg err = {""};
    json_t *json = NULL;
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(usage, "Keeps the server and an account's token in "
                                  "~/.moongate/credentials. Give a sign-in link of\n"
                                  "`moongate account link`, or the server's URL and --token.\n");
    const char *given = config.n_args == 1   ? config.args[0]
                        : config.n_args == 0 ? config.server
                                             : NULL;
    if (!given)
        return mg_cli_usage(usage, "the server's URL or a sign-in link is expected");
    const char *link = strstr(given, "/login/");
    enum mg_err status = MG_OK;
    snprintf(remote.server, sizeof remote.server, "%.*s",
             (int)(link ? (size_t)(link - given) : strnlen(given, 500)), given);
    if (link)
        status = use_link(given, &remote, &err);
    else if (config.token)
        snprintf(remote.token, sizeof remote.token, "%s", config.token);
    else
        return mg_cli_usage(usage, "--token is needed with a server's URL");
    for (size_t len = strlen(remote.server); len && remote.server[len - 1] == '/';)
        remote.server[--len] = 0;
    if (!status) /* a wrong token is told now, and not kept */
        status =
            mg_remote_call(&remote, "GET", "udf/self?limit=0", NULL, NULL, 0, &answer, &json, &err);
    json_decref(json);
    if (!status)
        status = mg_remote_keep(&remote, &err);
    if (status)
        return mg_cli_fail(1, &err);
    if (config.json)
        mg_cli_print_json(json_pack("{s:s}", "server", remote.server));
    else
        printf("Signed in at %s.\n", remote.server);
    return 0;
}
