/* The routes of shared tokens (fused-reference.md, section 5). An object is
 *   {token, id, udf_id, udf_slug, udf_email, enabled, expires, cache_max_age, public_read, created,
 * file_url, tile_url} A token is of the account that made it; those of other accounts and
 * organisations do not exist for it. What is changed holds on the next request, for answers in the
 * cache too. Private tokens of accounts are not among them. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PAGE = 25, PAGE_MAX = 1000, TOKEN_AT = 2 };

static json_t *date_of(int64_t seconds)
{
    char text[32];
    time_t at = (time_t)seconds;
    struct tm utc;
    return seconds && gmtime_r(&at, &utc) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)
               ? json_string(text)
               : json_null();
}

static json_t *object_of(struct mg_api *api, const struct mg_token *token)
{
    const char *base = api->exchange->app->base_url;
    char id[65];
    struct mg_saved saved = {0};
    bool by_id = strchr(token->udf, '-') != NULL;
    if (by_id &&
        mg_saved_get(api->engine->state, token->org, mg_span(token->udf), &saved, NULL) != MG_OK)
        saved = (struct mg_saved){0}; /* deleted: the token answers 410 */
    mg_hash_hex(&token->id, id);
    id[12] = 0;
    json_t *row = json_pack("{s:s, s:s, s:s, s:b, s:b, s:o, s:o, s:o}", "token", token->text, "id",
                            id, "udf_email", token->account, "enabled", token->enabled,
                            "public_read", true, "expires", date_of(token->expires_s), "created",
                            date_of(token->created_s), "cache_max_age",
                            token->max_age_s >= 0 ? json_integer(token->max_age_s) : json_null());
    json_object_set_new(row, "udf_id", by_id ? json_string(token->udf) : json_null());
    json_object_set_new(row, "udf_slug",
                        !by_id          ? json_string(token->udf)
                        : saved.name[0] ? json_string(saved.name)
                                        : json_null());
    json_object_set_new(row, "file_url", json_sprintf("%s/%s/run/file", base, token->text));
    json_object_set_new(row, "tile_url",
                        json_sprintf("%s/%s/run/tiles/{z}/{x}/{y}", base, token->text));
    return row;
}

/* What this server cannot keep is said, and not dropped in silence. */
static bool refuse_unkept(struct mg_api *api)
{
    const json_t *metadata = json_object_get(api->query.body, "metadata_json");
    const char *text = json_string_value(metadata);
    if ((json_is_object(metadata) && json_object_size(metadata)) ||
        (text && *text && strcmp(text, "{}") != 0)) {
        mg_api_fail_field(api, "body", "metadata_json",
                          "this version keeps no metadata with a token", NULL, 0, 0);
        return false;
    }
    if (json_is_false(json_object_get(api->query.body, "cache"))) {
        mg_api_fail_field(api, "body", "cache",
                          "this version has no tokens without a cache: call with cache_max_age=0",
                          NULL, 0, 0);
        return false;
    }
    if (json_object_get(api->query.body, "caveats")) {
        mg_api_fail_field(api, "body", "caveats", "this version knows no caveats but `expires`",
                          NULL, 0, 0);
        return false;
    }
    return true;
}

/* enabled, expires (a duration from now, 0: never) and cache_max_age, where they are given. */
static bool take_conditions(struct mg_api *api, struct mg_token *token)
{
    const char *expires, *max_age;
    int enabled;
    int64_t seconds;
    if (!refuse_unkept(api) || !mg_api_bool(api, "enabled", &enabled) ||
        !mg_api_text(api, "expires", &expires) || !mg_api_text(api, "cache_max_age", &max_age))
        return false;
    if (expires && !mg_duration_parse(mg_span(expires), &seconds)) {
        mg_api_fail_field(
            api, "body", "expires",
            "a duration like \"30d\", \"12h\" or \"90s\" is expected, \"0\" for never", NULL, 0, 0);
        return false;
    }
    if (expires)
        token->expires_s = seconds ? (int64_t)time(NULL) + seconds : 0;
    if (max_age && !mg_duration_parse(mg_span(max_age), &seconds)) {
        mg_api_fail_field(api, "body", "cache_max_age", "a duration like \"12h\" is expected", NULL,
                          0, 0);
        return false;
    }
    if (max_age)
        token->max_age_s = seconds;
    if (enabled >= 0)
        token->enabled = enabled;
    return true;
}

/* The UDF that the body names, in token->udf: the id of a saved one, else its name. */
static bool take_udf(struct mg_api *api, struct mg_token *token)
{
    const char *id, *slug, *email;
    if (!mg_api_text(api, "udf_id", &id) || !mg_api_text(api, "udf_slug", &slug) ||
        !mg_api_text(api, "udf_email", &email))
        return false;
    const char *wanted = id ? id : slug;
    if (!wanted) {
        mg_api_fail_field(api, "body", "udf_id", "Field required (or udf_slug)", NULL, 0, 0);
        return false;
    }
    struct mg_udf *udf =
        strlen(wanted) < sizeof token->udf && (!email || strcmp(email, api->who.account) == 0)
            ? mg_catalog_find_in(api->engine->catalog, api->who.org, mg_span(wanted))
            : NULL;
    if (udf && id && !udf->id[0])
        mg_udf_unref(&udf);
    if (!udf) {
        struct mg_errmsg err = {""};
        enum mg_err status = mg_err_set(&err, MG_E_NOT_FOUND, "there is no such UDF");
        mg_api_fail(api, status, &err);
        return false;
    }
    snprintf(token->udf, sizeof token->udf, "%s", udf->id[0] ? udf->id : udf->name);
    mg_udf_unref(&udf);
    return true;
}

static void create(struct mg_api *api)
{
    struct mg_errmsg err = {""};
    struct mg_token token = {.max_age_s = -1, .enabled = true};
    if (!take_udf(api, &token) || !take_conditions(api, &token))
        return;
    bool enabled = token.enabled;
    snprintf(token.org, sizeof token.org, "%s", api->who.org);
    snprintf(token.account, sizeof token.account, "%s", api->who.account);
    enum mg_err status = mg_token_create(api->engine->state, &token, &err);
    if (!status && !enabled) {
        token.enabled = false;
        status = mg_token_change(api->engine->state, &token, &err);
    }
    if (status)
        mg_api_fail(api, status, &err);
    else
        mg_api_json(api, 201, NULL, object_of(api, &token));
}

/* False: answered. */
static bool find(struct mg_api *api, struct mg_token *token)
{
    char text[128];
    struct mg_errmsg err = {""};
    mg_api_segment(api, TOKEN_AT, text, sizeof text);
    enum mg_err status = mg_token_get(api->engine->state, api->who.org, mg_span(text), token, &err);
    if (!status &&
        (!token->udf[0] || token->revoked_s || strcmp(token->account, api->who.account) != 0))
        status = MG_E_NOT_FOUND;
    if (status == MG_E_NOT_FOUND)
        mg_err_set(&err, status, "there is no such token");
    if (status)
        mg_api_fail(api, status, &err);
    return !status;
}

static void get(struct mg_api *api)
{
    struct mg_token token;
    if (find(api, &token))
        mg_api_json(api, 200, NULL, object_of(api, &token));
}

static void change(struct mg_api *api)
{
    struct mg_token token;
    struct mg_errmsg err = {""};
    if (!find(api, &token) || !take_conditions(api, &token))
        return;
    enum mg_err status = mg_token_change(api->engine->state, &token, &err);
    if (status)
        mg_api_fail(api, status, &err);
    else
        mg_api_json(api, 200, NULL, object_of(api, &token));
}

static void revoke(struct mg_api *api)
{
    struct mg_token token;
    struct mg_errmsg err = {""};
    if (!find(api, &token))
        return;
    enum mg_err status =
        mg_token_revoke(api->engine->state, api->who.org, mg_span(token.text), &token, &err);
    if (status)
        mg_api_fail(api, status, &err);
    else
        mg_api_json(api, 204, NULL, NULL);
}

struct listing {
    struct mg_api *api;
    json_t *rows;
    int64_t skip, limit, n;
};

static bool list_one(void *context, const struct mg_token *token)
{
    struct listing *listing = context;
    if (!token->udf[0] || token->revoked_s ||
        strcmp(token->account, listing->api->who.account) != 0)
        return true;
    if (listing->n++ >= listing->skip)
        json_array_append_new(listing->rows, object_of(listing->api, token));
    return (int64_t)json_array_size(listing->rows) < listing->limit;
}

static void list(struct mg_api *api)
{
    struct listing listing = {.api = api};
    struct mg_errmsg err = {""};
    if (!mg_api_count(api, "skip", 0, INT32_MAX, &listing.skip) ||
        !mg_api_count(api, "limit", PAGE, PAGE_MAX, &listing.limit))
        return;
    listing.rows = json_array();
    enum mg_err status =
        listing.limit ? mg_token_each(api->engine->state, api->who.org, list_one, &listing, &err)
                      : MG_OK;
    if (!status) {
        mg_api_json(api, 200, NULL, listing.rows);
        return;
    }
    json_decref(listing.rows);
    mg_api_fail(api, status, &err);
}

const struct mg_api_route mg_token_routes[] = {
    {"POST", "udf-access-token/new", create, 0},
    {"GET", "udf-access-token/self", list, 0},
    {"GET", "udf-access-token/by-token/*", get, 0},
    {"POST", "udf-access-token/by-token/*", change, 0},
    {"DELETE", "udf-access-token/by-token/*", revoke, 0},
    {0},
};
