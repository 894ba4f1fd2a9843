/* moongate token: durable tokens, whether the server runs or not: it sees a change with its next look-up. */
#include "moongate/sig.h"
#include "moongate/state.h"

#include "cli.h"

#include <ctype.h>
#include <stdio.h>
#include <time.h>

static const char usage[] = "token create NAME | list | show TOKEN|ID | revoke TOKEN|ID";
static const char org[] = "local";

static void id_of(const struct mg_token *token, char out[65])
{
    mg_hash_hex(&token->id, out);
    out[12] = 0;
}

static const char *condition(const struct mg_token *token, int64_t now_s)
{
    return token->revoked_s ? "revoked"
           : !token->enabled ? "disabled"
           : token->expires_s && token->expires_s <= now_s ? "expired"
                                                           : "valid";
}

static void date_of(int64_t seconds, const char *never, char *out, size_t size)
{
    time_t at = (time_t)seconds;
    struct tm utc;
    if (!seconds || !gmtime_r(&at, &utc) || !strftime(out, size, "%Y-%m-%d %H:%MZ", &utc))
        snprintf(out, size, "%s", never);
}

struct urls {
    char file[700], tile[700], leaflet[900];
};

static void urls_of(const struct mg_config *config, const struct mg_token *token, struct urls *out)
{
    char base[512];
    mg_cli_base_url(config, base, sizeof base);
    snprintf(out->file, sizeof out->file, "%s/%s/run/file", base, token->text);
    snprintf(out->tile, sizeof out->tile, "%s/%s/run/tiles/{z}/{x}/{y}", base, token->text);
    snprintf(out->leaflet, sizeof out->leaflet, "L.tileLayer(\"%s\").addTo(map)", out->tile);
}

static json_t *as_json(const struct mg_config *config, const struct mg_token *token, bool whole)
{
    char id[65], date[32];
    struct urls urls;
    id_of(token, id);
    json_t *json = json_pack("{ss ss ss ss}", "id", id, "account", token->account, "udf", token->udf, "state",
                             condition(token, time(NULL)));
    date_of(token->created_s, "", date, sizeof date);
    json_object_set_new(json, "created", json_string(date));
    date_of(token->expires_s, "", date, sizeof date);
    json_object_set_new(json, "expires", token->expires_s ? json_string(date) : json_null());
    if (!whole)
        return json;
    json_object_set_new(json, "token", json_string(token->text));
    if (!token->udf[0])
        return json;
    urls_of(config, token, &urls);
    json_object_set_new(json, "file_url", json_string(urls.file));
    json_object_set_new(json, "tile_url", json_string(urls.tile));
    json_object_set_new(json, "leaflet", json_string(urls.leaflet));
    return json;
}

static void print_one(const struct mg_config *config, const struct mg_token *token)
{
    char id[65], created[32], expires[32];
    struct urls urls;
    if (config->json) {
        mg_cli_print_json(as_json(config, token, true));
        return;
    }
    id_of(token, id);
    date_of(token->created_s, "-", created, sizeof created);
    date_of(token->expires_s, "never", expires, sizeof expires);
    printf("Token     %s\nId        %s (%s)\nFor       %s of %s\nCreated   %s\nExpires   %s\n", token->text, id,
           condition(token, time(NULL)), token->udf[0] ? token->udf : "all UDFs", token->account, created, expires);
    if (!token->udf[0])
        return;
    urls_of(config, token, &urls);
    printf("File URL  %s\nTile URL  %s\nLeaflet   %s\n", urls.file, urls.tile, urls.leaflet);
}

struct known {
    const char *udf;
    bool found;
};

static bool is_of_udf(void *context, const struct mg_token *token)
{
    struct known *known = context;
    known->found = known->found || strcmp(token->udf, known->udf) == 0;
    return !known->found;
}

/* serve makes a token for each UDF that it serves: a name without one was never served from this data directory. */
static void warn_of_unknown(struct mg_state *state, const char *name)
{
    struct known known = {.udf = name};
    if (mg_token_each(state, org, is_of_udf, &known, NULL) == MG_OK && !known.found)
        fprintf(stderr, "moongate: no UDF %s was served from this data directory yet; its token answers an error until one is\n",
                name);
}

static enum mg_err create(struct mg_state *state, const struct mg_config *config, const char *name,
                          struct mg_errmsg *err)
{
    struct mg_token token = {.enabled = true, .max_age_s = -1};
    int64_t valid_s = 0;
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    if (!isalpha((unsigned char)*name) || name[len] || len >= sizeof token.udf)
        return mg_err_set(err, MG_E_INVALID, "\"%.100s\" cannot be the name of a UDF; `moongate list` shows the UDFs", name);
    if (config->expires && (!mg_duration_parse(mg_span(config->expires), &valid_s) || valid_s == 0))
        return mg_err_set(err, MG_E_INVALID, "--expires %.40s: a duration like 30d, 12h or 90s is expected", config->expires);
    snprintf(token.org, sizeof token.org, "%s", org);
    snprintf(token.account, sizeof token.account, "%s", config->account);
    snprintf(token.udf, sizeof token.udf, "%s", name);
    token.expires_s = valid_s ? (int64_t)time(NULL) + valid_s : 0;
    if (!config->json)
        warn_of_unknown(state, name);
    enum mg_err status = mg_token_create(state, &token, err);
    if (!status)
        print_one(config, &token);
    return status;
}

struct listing {
    const struct mg_config *config;
    struct mg_cli_table table;
    json_t *json;
};

static bool list_one(void *context, const struct mg_token *token)
{
    struct listing *listing = context;
    char id[65], date[32], text[MG_TOKEN_LEN + 8];
    if (listing->config->json) {
        json_array_append_new(listing->json, as_json(listing->config, token, listing->config->show));
        return true;
    }
    id_of(token, id);
    snprintf(text, sizeof text, listing->config->show ? "%s" : "%.8s…", token->text);
    mg_cli_cell(&listing->table, id);
    mg_cli_cell(&listing->table, text);
    mg_cli_cell(&listing->table, token->udf[0] ? token->udf : "(all)");
    mg_cli_cell(&listing->table, token->account);
    date_of(token->created_s, "-", date, sizeof date);
    mg_cli_cell(&listing->table, date);
    date_of(token->expires_s, "never", date, sizeof date);
    mg_cli_cell(&listing->table, date);
    mg_cli_cell(&listing->table, condition(token, time(NULL)));
    return true;
}

static enum mg_err list(struct mg_state *state, const struct mg_config *config, struct mg_errmsg *err)
{
    static const char *const heads[] = {"ID", "TOKEN", "UDF", "ACCOUNT", "CREATED", "EXPIRES", "STATE"};
    struct listing listing = {.config = config, .table = {.columns = 7}, .json = json_array()};
    for (size_t i = 0; i < 7; i++)
        mg_cli_cell(&listing.table, heads[i]);
    enum mg_err status = mg_token_each(state, org, list_one, &listing, err);
    if (!status && config->json)
        mg_cli_print_json(json_incref(listing.json));
    if (!status && !config->json)
        mg_cli_print_table(&listing.table);
    mg_buf_fini(&listing.table.cells);
    json_decref(listing.json);
    return status;
}

struct search {
    const char *wanted;
    struct mg_token found;
    int times;
};

static bool search_one(void *context, const struct mg_token *token)
{
    struct search *search = context;
    char id[65];
    mg_hash_hex(&token->id, id);
    size_t len = strlen(search->wanted);
    if (strcmp(search->wanted, token->text) == 0 || (len >= 8 && len <= 64 && strncmp(search->wanted, id, len) == 0)) {
        search->found = *token;
        search->times++;
    }
    return true;
}

static enum mg_err show(struct mg_state *state, const struct mg_config *config, const char *which,
                        struct mg_errmsg *err)
{
    struct search search = {.wanted = which};
    enum mg_err status = mg_token_each(state, org, search_one, &search, err);
    if (!status && search.times == 0)
        status = mg_err_set(err, MG_E_NOT_FOUND, "there is no such token; `moongate token list` shows their ids (give at "
                                                 "least 8 digits)");
    if (!status && search.times > 1)
        status = mg_err_set(err, MG_E_CONFLICT, "several tokens have an id that starts with %.64s: give more digits", which);
    if (!status)
        print_one(config, &search.found);
    return status;
}

static enum mg_err revoke(struct mg_state *state, const struct mg_config *config, const char *which,
                          struct mg_errmsg *err)
{
    struct mg_token token;
    char id[65];
    enum mg_err status = mg_token_revoke(state, org, mg_span(which), &token, err);
    if (status)
        return status;
    id_of(&token, id);
    if (config->json)
        mg_cli_print_json(as_json(config, &token, false));
    else
        printf("Token %s of %s is revoked: it answers 401 from the next request on.\n", id,
               token.udf[0] ? token.udf : token.account);
    return MG_OK;
}

int mg_cmd_token(int argc, char **argv)
{
    struct mg_config config;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(usage, "create makes a token that runs the UDF NAME and prints its URLs; list shows the tokens\n"
                                  "(shortened; --show: whole), show one of them with its URLs, revoke ends one for good.\n");
    const char *verb = config.n_args ? config.args[0] : "", *which = config.n_args == 2 ? config.args[1] : NULL;
    bool lists = strcmp(verb, "list") == 0 && config.n_args == 1;
    bool known = strcmp(verb, "create") == 0 || strcmp(verb, "show") == 0 || strcmp(verb, "revoke") == 0;
    if (!lists && !(known && which))
        return mg_cli_usage(usage, known ? "%s: one argument is expected" : "what should be done?", verb);
    char data[1024];
    struct mg_state *state = NULL;
    enum mg_err status = mg_data_dir(&config, data, sizeof data, &err);
    if (!status)
        status = mg_state_open(data, &state, &err);
    if (!status)
        status = lists           ? list(state, &config, &err)
                 : *verb == 'c' ? create(state, &config, which, &err)
                 : *verb == 's' ? show(state, &config, which, &err)
                                : revoke(state, &config, which, &err);
    mg_state_close(&state);
    return status ? mg_cli_fail(status == MG_E_INVALID ? 2 : 1, &err) : 0;
}
