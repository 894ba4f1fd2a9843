/* The routes of saved UDFs (fused-reference.md, section 5, and versions). An object is
 *   {id, slug, name, udf_body, udf_body_hash, files, udf_type, version, revision, public,
 * owning_user, created, last_updated} and its ETag names the revision, which If-Match of a change
 * may ask for. Lists leave out udf_body and files. */
#include "route_udf.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PAGE = 100, PAGE_MAX = 1000, ID_AT = 2 };

static void date_of(int64_t seconds, char out[32])
{
    time_t at = (time_t)seconds;
    struct tm utc;
    if (!gmtime_r(&at, &utc) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc))
        out[0] = 0;
}

static void etag_of(const struct mg_saved *saved, char out[64])
{
    char hex[65];
    mg_hash_hex(&saved->package, hex);
    snprintf(out, 64, "\"%lld-%.12s\"", (long long)saved->revision, hex);
}

static json_t *row_of(const struct mg_saved *saved)
{
    char hex[65], created[32], updated[32];
    mg_hash_hex(&saved->package, hex);
    date_of(saved->created_s, created);
    date_of(saved->updated_s, updated);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:s, s:s, s:s}", "id", saved->id,
                     "slug", saved->name, "name", saved->name, "udf_body_hash", hex, "version",
                     (json_int_t)saved->version, "versions", (json_int_t)saved->last_version,
                     "revision", (json_int_t)saved->revision, "public", saved->is_public,
                     "owning_user", saved->account, "created", created, "last_updated", updated);
}

static enum mg_err load(struct mg_api *api, const struct mg_saved *saved,
                        const struct mg_hash *which, struct mg_package *out, struct mg_errmsg *err)
{
    struct mg_buf packed;
    mg_buf_init(&packed, 0);
    enum mg_err status = mg_saved_package(api->engine->state, saved, which, &packed, err);
    if (!status)
        status = mg_package_read((struct mg_span){packed.data, packed.len}, out, err);
    mg_buf_fini(&packed);
    return status;
}

static json_t *object_of(const struct mg_saved *saved, const struct mg_package *package)
{
    char code[160];
    json_t *row = row_of(saved), *files = json_object();
    snprintf(code, sizeof code, "%s.lua", saved->name);
    for (size_t i = 0; i < package->n; i++) {
        const struct mg_buf *bytes = &package->files[i].bytes;
        json_t *text = json_stringn(bytes->data ? bytes->data : "", bytes->len);
        json_object_set_new(files, package->files[i].name,
                            text ? text : json_null()); /* null: no UTF-8 */
    }
    json_object_set(row, "udf_body", json_object_get(files, code));
    json_object_set_new(row, "files", files);
    json_object_set_new(row, "udf_type", json_string("lua"));
    return row;
}

/* Answers with api->saved and api->package. */
static void answer_object(struct mg_api *api, int status)
{
    char etag[64];
    int share = -1;
    etag_of(&api->saved, etag);
    json_t *object = object_of(&api->saved, &api->package);
    if (json_is_true(json_object_get(api->query.body, "create_shared_token")))
        share = 1;
    if (share == 1) {
        struct mg_token token;
        struct mg_errmsg err = {""};
        if (mg_token_of_udf(api->engine->state, api->who.org, api->who.account, api->saved.id,
                            &token, &err) == MG_OK)
            json_object_set_new(object, "shared_token", json_string(token.text));
        else
            json_object_set_new(object, "shared_token_error", json_string(err.text));
    }
    mg_api_json(api, status, etag, object);
}

/* api->saved from the id in the URL. False: answered. */
static bool find(struct mg_api *api)
{
    char id[128];
    struct mg_errmsg err = {""};
    mg_api_segment(api, ID_AT, id, sizeof id);
    enum mg_err status =
        mg_saved_get(api->engine->state, api->who.org, mg_span(id), &api->saved, &err);
    if (status)
        mg_api_fail(api, status, &err);
    return !status;
}

static bool find_all(struct mg_api *api)
{
    struct mg_errmsg err = {""};
    if (!find(api))
        return false;
    enum mg_err status = load(api, &api->saved, &api->saved.package, &api->package, &err);
    if (status)
        mg_api_fail(api, status, &err);
    return !status;
}

/* ---- reading
 * ------------------------------------------------------------------------------------------ */

struct listing {
    json_t *rows;
    const char *account; /* NULL: of all */
    int64_t skip, limit, n;
};

static bool list_one(void *context, const struct mg_saved *saved)
{
    struct listing *listing = context;
    if (listing->account && strcmp(listing->account, saved->account) != 0)
        return true;
    if (listing->n++ >= listing->skip)
        json_array_append_new(listing->rows, row_of(saved));
    return (int64_t)json_array_size(listing->rows) < listing->limit;
}

static void list(struct mg_api *api, const char *org, const char *account)
{
    struct listing listing = {.account = account};
    struct mg_errmsg err = {""};
    if (!mg_api_count(api, "skip", 0, INT32_MAX, &listing.skip) ||
        !mg_api_count(api, "limit", PAGE, PAGE_MAX, &listing.limit))
        return;
    listing.rows = json_array();
    enum mg_err status =
        listing.limit ? mg_saved_each(api->engine->state, org, list_one, &listing, &err) : MG_OK;
    if (!status) {
        mg_api_json(api, 200, NULL, listing.rows);
        return;
    }
    json_decref(listing.rows);
    mg_api_fail(api, status, &err);
}

static void list_self(struct mg_api *api)
{
    list(api, api->who.org, api->who.account);
}
static void list_public(struct mg_api *api)
{
    list(api, NULL, NULL);
}

static void get(struct mg_api *api)
{
    if (find_all(api))
        answer_object(api, 200);
}

static void answer_found(struct mg_api *api, enum mg_err status, struct mg_errmsg *err)
{
    if (!status)
        status = load(api, &api->saved, &api->saved.package, &api->package, err);
    if (status)
        mg_api_fail(api, status, err);
    else
        answer_object(api, 200);
}

static void get_by_name(struct mg_api *api)
{
    char name[128];
    struct mg_errmsg err = {""};
    mg_api_segment(api, 2, name, sizeof name);
    answer_found(api, mg_saved_get(api->engine->state, api->who.org, mg_span(name), &api->saved, &err), &err);
}

static void get_by_slug(struct mg_api *api)
{
    char account[128], name[128];
    struct mg_errmsg err = {""};
    mg_api_segment(api, 2, account, sizeof account);
    mg_api_segment(api, 4, name, sizeof name);
    enum mg_err status =
        mg_udf_name_valid(mg_span(name))
            ? mg_saved_get(api->engine->state, api->who.org, mg_span(name), &api->saved, &err)
            : MG_E_NOT_FOUND;
    if (!status && strcmp(account, api->saved.account) != 0)
        status = mg_err_set(&err, MG_E_NOT_FOUND, "there is no such UDF");
    answer_found(api, status, &err);
}

/* Whoever has the token may run the UDF; its source is for the organisation alone. */
static void get_shared(struct mg_api *api)
{
    char text[128];
    struct mg_token token;
    struct mg_errmsg err = {""};
    mg_api_segment(api, 3, text, sizeof text);
    enum mg_err status =
        mg_token_check(api->engine->state, mg_span(text), (int64_t)time(NULL), &token, &err);
    if (status || strcmp(token.org, api->who.org) != 0 || !token.udf[0])
        status = mg_err_set(&err, MG_E_NOT_FOUND,
                            "there is no such token, or its UDF is not saved here");
    else
        status = mg_saved_get(api->engine->state, token.org, mg_span(token.udf), &api->saved, &err);
    answer_found(api, status, &err);
}

static void get_zip(struct mg_api *api)
{
    struct mg_buf zip;
    struct mg_errmsg err = {""};
    char name[160];
    if (!find_all(api))
        return;
    mg_buf_init(&zip, 0);
    enum mg_err status = mg_package_to_zip(&api->package, api->saved.name, &zip, &err);
    snprintf(name, sizeof name, "%s.zip", api->saved.name);
    if (!status)
        mg_api_bytes(api, "application/zip", name, &zip);
    else
        mg_api_fail(api, status, &err);
    mg_buf_fini(&zip);
}

static bool add_version(void *context, const struct mg_saved_version *version)
{
    char hex[65], date[32];
    mg_hash_hex(&version->package, hex);
    date_of(version->created_s, date);
    json_array_append_new(context, json_pack("{s:I, s:s, s:s, s:s}", "version",
                                             (json_int_t)version->number, "udf_body_hash", hex,
                                             "created", date, "saved_by", version->account));
    return json_array_size(context) < PAGE_MAX;
}

static void versions(struct mg_api *api)
{
    struct mg_errmsg err = {""};
    if (!find(api))
        return;
    json_t *rows = json_array();
    enum mg_err status =
        mg_saved_versions(api->engine->state, &api->saved, add_version, rows, &err);
    if (!status) {
        mg_api_json(api, 200, NULL, rows);
        return;
    }
    json_decref(rows);
    mg_api_fail(api, status, &err);
}

static enum mg_err load_version(struct mg_api *api, int64_t number, struct mg_package *out,
                                struct mg_errmsg *err)
{
    struct mg_saved_version version;
    enum mg_err status = mg_saved_version(api->engine->state, &api->saved, number, &version, err);
    return status ? status : load(api, &api->saved, &version.package, out, err);
}

static void get_version(struct mg_api *api)
{
    char number[32];
    struct mg_errmsg err = {""};
    if (!find(api))
        return;
    mg_api_segment(api, 4, number, sizeof number);
    api->saved.version = strtoll(number, NULL, 10);
    struct mg_saved_version version;
    enum mg_err status =
        mg_saved_version(api->engine->state, &api->saved, api->saved.version, &version, &err);
    if (!status)
        api->saved.package = version.package;
    answer_found(api, status, &err);
}

static void diff(struct mg_api *api)
{
    struct mg_package from = {0};
    struct mg_errmsg err = {""};
    struct mg_buf text;
    int64_t a, b;
    if (!find(api) || !mg_api_count(api, "to", api->saved.version, INT32_MAX, &b) ||
        !mg_api_count(api, "from", b > 1 ? b - 1 : 1, INT32_MAX, &a))
        return;
    enum mg_err status = load_version(api, a, &from, &err);
    if (!status)
        status = load_version(api, b, &api->package, &err);
    mg_buf_init(&text, 0);
    if (!status)
        mg_udf_diff(&from, &api->package, &text);
    if (!status)
        mg_api_bytes(api, "text/x-diff; charset=utf-8", NULL, &text);
    else
        mg_api_fail(api, status, &err);
    mg_buf_fini(&text);
    mg_package_free(&from);
}

/* ---- writing
 * ------------------------------------------------------------------------------------------ */

/* A folder that the operator serves hides a saved UDF of its name, and so has the name alone. */
static enum mg_err name_is_free(struct mg_api *api, struct mg_errmsg *err)
{
    struct mg_udf *folder = mg_catalog_find(api->engine->catalog, mg_span(api->name));
    bool taken =
        folder && strcmp(api->who.org, "local") == 0 && strcmp(folder->source, "example") != 0;
    mg_udf_unref(&folder);
    return taken ? mg_err_set(err, MG_E_CONFLICT,
                              "the name %s is taken by a folder that this server serves", api->name)
                 : MG_OK;
}

/* api->package and api->name were found good. */
static void store(struct mg_api *api)
{
    struct mg_buf packed;
    struct mg_errmsg err = {""};
    int is_public;
    if (!mg_udf_checked(api) || !mg_api_bool(api, "public", &is_public))
        return;
    bool fresh = !api->saved.id[0];
    if (is_public < 0 && api->udf->is_public && fresh)
        is_public = 1; /* meta.json says so */
    mg_buf_init(&packed, 0);
    mg_package_write(&api->package, &packed);
    enum mg_err status = mg_buf_status(&packed, &err);
    struct mg_span package = {packed.data, packed.len};
    if (!status && (fresh || strcmp(api->saved.name, api->name) != 0))
        status = name_is_free(api, &err);
    if (!status && fresh) {
        snprintf(api->saved.org, sizeof api->saved.org, "%s", api->who.org);
        snprintf(api->saved.account, sizeof api->saved.account, "%s", api->who.account);
        snprintf(api->saved.name, sizeof api->saved.name, "%s", api->name);
        api->saved.is_public = is_public > 0;
        status = mg_saved_create(api->engine->state, &api->saved, package, &err);
    } else if (!status) {
        struct mg_saved_change change = {.if_revision = mg_api_if_match(api),
                                         .by = api->who.account,
                                         .name = api->name,
                                         .package = package,
                                         .is_public = is_public};
        if (!change.if_revision) /* what was described is what it was then; a save in between is not
                                    overwritten unseen */
            change.if_revision = api->saved.revision;
        status = mg_saved_change(api->engine->state, api->who.org, api->saved.id, &change,
                                 &api->saved, &err);
    }
    mg_buf_fini(&packed);
    if (status)
        mg_api_fail(api, status, &err);
    else
        answer_object(api, fresh ? 201 : 200);
}

static void save_new(struct mg_api *api)
{
    if (!mg_udf_body(api))
        return;
    if (!api->package.n)
        mg_api_fail_field(api, "body", "udf_body", "Field required", NULL, 0, 0);
    else
        mg_udf_check(api, store);
}

static bool revision_fits(struct mg_api *api)
{
    int64_t wanted = mg_api_if_match(api);
    struct mg_errmsg err = {""};
    if (!wanted || wanted == api->saved.revision)
        return true;
    enum mg_err status = mg_err_set(
        &err, MG_E_PRECONDITION,
        "%s was changed meanwhile (it is at revision %lld): load it again, and save your change "
        "on top of it",
        api->saved.name, (long long)api->saved.revision);
    mg_api_fail(api, status, &err);
    return false;
}

static void save(struct mg_api *api)
{
    if (!find_all(api) || !revision_fits(api))
        return;
    snprintf(api->name, sizeof api->name, "%s", api->saved.name);
    if (mg_udf_body(api))
        mg_udf_check(api, store);
}

static void roll_back(struct mg_api *api)
{
    struct mg_errmsg err = {""};
    struct mg_saved_change change = {.by = api->who.account, .is_public = -1};
    if (!find(api) || !mg_api_count(api, "version", 0, INT32_MAX, &change.to_version))
        return;
    if (!change.to_version) {
        mg_api_fail_field(api, "body", "version", "the number of a version is expected", NULL, 0,
                          0);
        return;
    }
    change.if_revision = mg_api_if_match(api);
    enum mg_err status = load_version(api, change.to_version, &api->package, &err);
    char code[160];
    snprintf(code, sizeof code, "%s.lua", api->saved.name);
    if (!status && !mg_package_find(&api->package, code)) /* of before a renaming */
        status =
            mg_err_set(&err, MG_E_CONFLICT,
                       "version %lld is of before the UDF was called %s: save its files instead",
                       (long long)change.to_version, api->saved.name);
    if (!status)
        status = mg_saved_change(api->engine->state, api->who.org, api->saved.id, &change,
                                 &api->saved, &err);
    if (status)
        mg_api_fail(api, status, &err);
    else
        answer_object(api, 200);
}

static void duplicate(struct mg_api *api)
{
    if (!find_all(api))
        return;
    const char *slug;
    if (!mg_api_text(api, "slug", &slug))
        return;
    snprintf(api->name, sizeof api->name, "%s", slug ? slug : "");
    struct mg_errmsg err = {""};
    if (!mg_udf_name_valid(mg_span(api->name))) {
        mg_api_fail_field(api, "body", "slug", "the name of the copy is expected", NULL, 0, 0);
        return;
    }
    enum mg_err status = mg_package_rename(&api->package, api->saved.name, api->name, &err);
    api->saved = (struct mg_saved){0};
    if (status)
        mg_api_fail(api, status, &err);
    else
        mg_udf_check(api, store);
}

static void drop(struct mg_api *api)
{
    struct mg_errmsg err = {""};
    if (!find(api))
        return;
    enum mg_err status = mg_saved_delete(api->engine->state, api->who.org, api->saved.id,
                                         mg_api_if_match(api), &err);
    if (status)
        mg_api_fail(api, status, &err);
    else
        mg_api_json(api, 204, NULL, NULL);
}

const struct mg_api_route mg_udf_routes[] = {
    {"GET", "udf/self", list_self, 0},
    {"GET", "udf/public", list_public, API_ANYONE},
    {"GET", "udf/by-id/*", get, 0},
    {"GET", "udf/by-id/*/zip", get_zip, 0},
    {"GET", "udf/by-id/*/versions", versions, 0},
    {"GET", "udf/by-id/*/versions/*", get_version, 0},
    {"GET", "udf/by-id/*/diff", diff, 0},
    {"GET", "udf/by-name/*", get_by_name, 0},
    {"GET", "udf/by-user-email/*/by-slug/*", get_by_slug, 0},
    {"GET", "udf/shared/by-token/*", get_shared, 0},
    {"POST", "udf/new", save_new, API_ZIP},
    {"POST", "udf/by-id/*", save, API_ZIP},
    {"POST", "udf/by-id/*/roll-back", roll_back, 0},
    {"POST", "udf/by-id/*/duplicate", duplicate, 0},
    {"DELETE", "udf/by-id/*", drop, 0},
    {0},
};
