/* What is saved: a UDF out of a request's body, and whether it is good.
 *
 * A body is a zip file, or JSON: `files` (name -> text), or `udf_body`: Lua, or the JSON of a UDF
 * as Fused's clients send it (code, headers, metadata). Lua alone replaces the code file and leaves
 * the others as they are; all other forms are the whole UDF. Good is what the catalog can read and
 * a worker can describe. */
#include "route_udf.h"

#include <stdio.h>
#include <stdlib.h>

static bool put(struct mg_api *api, const char *field, const char *name, struct mg_span bytes)
{
    struct mg_errmsg err = {""};
    enum mg_err status = mg_package_put(&api->package, mg_span(name), bytes, &err);
    if (!status)
        return true;
    if (status == MG_E_PARAMETER)
        mg_api_fail_field(api, "body", field, err.text, NULL, 0, 0);
    else
        mg_api_fail(api, status, &err);
    return false;
}

static bool put_text(struct mg_api *api, const char *field, const char *name, const json_t *text)
{
    if (json_is_string(text))
        return put(api, field, name,
                   (struct mg_span){json_string_value(text), json_string_length(text)});
    mg_api_fail_field(api, "body", field, "a string is expected", NULL, 0, 0);
    return false;
}

static bool put_files(struct mg_api *api, json_t *files)
{
    const char *name;
    json_t *text;
    if (!json_is_object(files)) {
        mg_api_fail_field(api, "body", "files", "an object of names and texts is expected", NULL, 0,
                          0);
        return false;
    }
    mg_package_free(&api->package);
    json_object_foreach(files, name, text) if (!put_text(api, "files", name, text)) return false;
    return true;
}

static bool put_meta(struct mg_api *api, json_t *metadata)
{
    char source[160];
    snprintf(source, sizeof source, "%s.lua", api->name);
    json_t *meta =
        json_pack("{s:s, s:{s:s, s:s, s:[{s:s, s:{s:s, s:s, s:s, s:{}, s:O, s:s}}]}}", "version",
                  "0.0.3", "job_config", "version", "0.0.3", "name", api->name, "steps", "type",
                  "udf", "udf", "type", "lua", "name", api->name, "entrypoint", "udf", "parameters",
                  "metadata", metadata, "source", source);
    char *text = json_dumps(meta, JSON_INDENT(2));
    bool good = put(api, "udf_body", "meta.json", mg_span(text ? text : ""));
    free(text);
    json_decref(meta);
    return good;
}

/* {code, headers: [{module_name, source_code}], metadata}. */
static bool put_fused(struct mg_api *api, struct mg_span body)
{
    struct mg_errmsg err = {""};
    char file[300];
    json_t *udf, *header;
    size_t i;
    if (mg_json_parse(body, 1 << 20, &udf, &err) != MG_OK) {
        mg_api_fail_field(api, "body", "udf_body", err.text, NULL, 0, 0);
        return false;
    }
    const json_t *code = json_object_get(udf, "code");
    json_t *headers = json_object_get(udf, "headers"), *metadata = json_object_get(udf, "metadata");
    mg_package_free(&api->package);
    snprintf(file, sizeof file, "%s.lua", api->name);
    bool good = put_text(api, "udf_body.code", file, code);
    json_array_foreach(headers, i, header)
    {
        snprintf(file, sizeof file, "%s.lua", mg_json_str(header, "module_name", ""));
        good =
            good && put_text(api, "udf_body.headers", file, json_object_get(header, "source_code"));
    }
    if (good && json_is_object(metadata))
        good = put_meta(api, metadata);
    json_decref(udf);
    return good;
}

static bool put_zip(struct mg_api *api)
{
    struct mg_errmsg err = {""};
    char folder[128];
    mg_package_free(&api->package);
    enum mg_err status =
        mg_package_from_zip(api->exchange->request->body, &api->package, folder, &err);
    if (status == MG_E_PARAMETER)
        mg_api_fail_field(api, "body", "zip", err.text, NULL, 0, 0);
    else if (status)
        mg_api_fail(api, status, &err);
    if (!status && !api->name[0])
        snprintf(api->name, sizeof api->name, "%s", folder);
    return !status;
}

static bool take_name(struct mg_api *api)
{
    const char *slug, *name;
    if (!mg_api_text(api, "slug", &slug) || (!slug && !mg_api_text(api, "name", &name)))
        return false;
    if (!slug)
        slug = name;
    if (slug)
        snprintf(api->name, sizeof api->name, "%s", slug);
    return true;
}

static bool name_is_good(struct mg_api *api)
{
    if (mg_udf_name_valid(mg_span(api->name)))
        return true;
    mg_api_fail_field(api, "body", "slug",
                      "a name is expected that starts with a letter and consists of letters, "
                      "digits and _ (at most 100)",
                      NULL, 0, 0);
    return false;
}

bool mg_udf_body(struct mg_api *api)
{
    char before[128], file[160];
    struct mg_errmsg err = {""};
    snprintf(before, sizeof before, "%s", api->name);
    if (!take_name(api))
        return false;
    json_t *body = api->query.body, *files = json_object_get(body, "files");
    const json_t *code = json_object_get(body, "udf_body");
    if (api->zip && !put_zip(api))
        return false;
    if (!name_is_good(api))
        return false;
    if (before[0] && !api->zip && api->package.n > 0) {
        enum mg_err status = mg_package_rename(&api->package, before, api->name, &err);
        if (status) {
            mg_api_fail(api, status, &err);
            return false;
        }
    }
    if (api->zip || (!files && (!code || json_is_null(code))))
        return true;
    if (files)
        return put_files(api, files);
    struct mg_span text = {json_string_value(code), json_string_length(code)};
    size_t blank = strspn(text.data ? text.data : "", " \t\r\n");
    snprintf(file, sizeof file, "%s.lua", api->name);
    return text.len > blank && text.data[blank] == '{' ? put_fused(api, text)
                                                       : put_text(api, "udf_body", file, code);
}

/* ---- good or not
 * -------------------------------------------------------------------------------------- */

/* The token's place in the line: the parser names the token, not the column. Of several the one
 * that stands right behind another (`x = = 1`), else the first. */
static const char *find_token(struct mg_span line, struct mg_span token)
{
    const char *end = line.data + line.len,
               *first = memmem(line.data, line.len, token.data, token.len);
    for (const char *at = first; at;) {
        const char *behind = at + token.len,
                   *next = memmem(behind, (size_t)(end - behind), token.data, token.len);
        if (next && strspn(behind, " \t") == (size_t)(next - behind))
            return next;
        at = next;
    }
    return first;
}

/* Where in the line the parser's `near '…'` stands; the first character that is no blank where it
 * says nothing. */
static long column_of(const struct mg_api *api, const char *file_name, long *line,
                      const char *message)
{
    const struct mg_package_file *file = mg_package_find(&api->package, file_name);
    const char *near = strstr(message, "near '"), *end = near ? strrchr(near, '\'') : NULL;
    struct mg_span rest = file ? (struct mg_span){file->bytes.data, file->bytes.len}
                               : (struct mg_span){0},
                   text = {0};
    long at = 0;
    bool eof = near && strncmp(near, "near '<eof>'", 12) == 0;
    while ((eof || at < *line) && mg_span_cut(&rest, '\n', &text))
        if (++at && !rest.data)
            break;
    if (eof) {
        *line = at;
        return (long)text.len + 1;
    }
    size_t len = near && end > near + 6 ? (size_t)(end - near - 6) : 0;
    const char *found =
        at == *line && len && text.len ? find_token(text, (struct mg_span){near + 6, len}) : NULL;
    if (found)
        return (long)(found - text.data) + 1;
    size_t blank = 0;
    while (blank < text.len && (text.data[blank] == ' ' || text.data[blank] == '\t'))
        blank++;
    return (long)blank + 1;
}

static const char *field_of(const struct mg_api *api)
{
    return api->zip ? "zip" : json_object_get(api->query.body, "files") ? "files" : "udf_body";
}

void mg_udf_check(struct mg_api *api, mg_api_f *step)
{
    struct mg_errmsg err = {""};
    int line = 0, column = 0;
    enum mg_err status = mg_package_udf(&api->package, api->name, "saved", &api->udf, &err);
    if (!status) {
        snprintf(api->udf->org, sizeof api->udf->org, "%s", api->who.org);
        mg_api_describe(api, step);
        return;
    }
    const char *place = strstr(err.text, "line ");
    if (place && sscanf(place, "line %d, column %d", &line, &column) != 2)
        line = 0;
    if (status == MG_E_UDF_BROKEN)
        mg_api_fail_field(api, "body", field_of(api), err.text,
                          strstr(err.text, "meta.json") ? "meta.json" : NULL, line, column);
    else
        mg_api_fail(api, status, &err);
}

bool mg_udf_checked(struct mg_api *api)
{
    const struct mg_answer *answer = api->exchange->answer;
    struct mg_errmsg err = {""};
    if (!answer->err)
        return true;
    const char *message = answer->message ? answer->message : mg_err_text(answer->err);
    if (answer->err == MG_E_UNAVAILABLE || answer->err == MG_E_TOO_MANY ||
        answer->err == MG_E_CANCELLED || answer->err == MG_E_INTERNAL ||
        answer->err == MG_E_NOMEM || answer->err == MG_E_IO) {
        enum mg_err status =
            mg_err_set(&err, answer->err, "not saved: %s", message); /* ours, not the author's */
        mg_api_fail(api, status, &err);
        return false;
    }
    long line = (long)answer->line;
    const char *file = answer->file && line > 0 ? answer->file : NULL;
    long column = file ? column_of(api, file, &line, message) : 0;
    mg_api_fail_field(api, "body", field_of(api), message, file, line, column);
    return false;
}
