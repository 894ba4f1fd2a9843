/* Signature records: JSON of a describe run to struct mg_sig.
 *
 * Invariant: a record that parses can serve: names are unique and free, ranges are not empty, and each default has
 * passed the very coercion that given values pass. */
#include "coerce.h"

#include "catalog.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PARAMS_MAX = 256, RECORD_MAX = 1 << 20, VALUES_MAX = 1000 };

static const char *const type_names[MG_TYPE_COUNT] = {
    [MG_T_BOUNDS] = "bounds",   [MG_T_TILE] = "tile",         [MG_T_INTEGER] = "integer", [MG_T_NUMBER] = "number",
    [MG_T_BOOLEAN] = "boolean", [MG_T_STRING] = "string",     [MG_T_LIST] = "list",       [MG_T_TABLE] = "table",
    [MG_T_GEOMETRY] = "geometry", [MG_T_DATE] = "date",       [MG_T_ENUM] = "enum",       [MG_T_ANY] = "any",
};

const char *mg_type_name(enum mg_type type) { return type_names[type]; }

static bool is_identifier(const char *name)
{
    if (!isalpha((unsigned char)*name) && *name != '_')
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && *name != '_')
            return false;
    return true;
}

static enum mg_err read_values(const json_t *list, struct mg_param *param, struct mg_errmsg *err)
{
    size_t n = json_array_size(list);
    if (n == 0 || n > VALUES_MAX)
        return mg_err_set(err, MG_E_UDF_BROKEN, "parameter %s: an enum has 1 to %d values", param->name, VALUES_MAX);
    param->values = calloc(n + 1, sizeof *param->values);
    if (!param->values)
        return MG_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text)
            return mg_err_set(err, MG_E_UDF_BROKEN, "parameter %s: the values of an enum are strings", param->name);
        param->values[i] = strdup(text);
        if (!param->values[i])
            return MG_E_NOMEM;
    }
    return MG_OK;
}

/* A default tile is [z, x, y]. */
static bool tile_of(const json_t *json, struct mg_tile *out)
{
    int v[3];
    for (size_t i = 0; i < 3; i++) {
        double number = json_number_value(json_array_get(json, i));
        if (json_array_size(json) != 3 || !json_is_number(json_array_get(json, i)) || number != floor(number) ||
            fabs(number) > 1 << 24)
            return false;
        v[i] = (int)number;
    }
    *out = (struct mg_tile){v[0], v[1], v[2]};
    return mg_tile_valid(*out);
}

static enum mg_err check_default(const struct mg_param *param, struct mg_errmsg *err)
{
    struct mistake mistake = {0};
    struct mg_tile tile;
    struct value value = {.json = param->fallback};
    struct mg_buf out;
    if (param->type == MG_T_TILE)
        return tile_of(param->fallback, &tile)
                   ? MG_OK
                   : mg_err_set(err, MG_E_UDF_BROKEN, "parameter %s: the default of a tile is { z, x, y }", param->name);
    mg_buf_init(&out, 0);
    bool fits = coerce_value(param, &value, &out, &mistake);
    mg_buf_fini(&out);
    return fits ? MG_OK
                : mg_err_set(err, MG_E_UDF_BROKEN, "parameter %s: its own default does not fit: %s", param->name,
                             mistake.msg);
}

static bool read_limit(const json_t *limit, double *out)
{
    *out = json_number_value(limit);
    return json_is_number(limit);
}

static enum mg_err read_param(const json_t *json, struct mg_param *param, struct mg_errmsg *err)
{
    const char *name = mg_json_str(json, "name", ""), *type = mg_json_str(json, "type", "string");
    if (!is_identifier(name) || strlen(name) >= sizeof param->name)
        return mg_err_set(err, MG_E_UDF_BROKEN, "\"%.80s\" cannot be the name of a parameter", name);
    memcpy(param->name, name, strlen(name) + 1);
    if (mg_reserved_name(mg_span(name)) || mg_ignored_name(mg_span(name)))
        return mg_err_set(err, MG_E_UDF_BROKEN, "%s is a reserved name: call this parameter something else", name);
    while (param->type < MG_TYPE_COUNT && strcmp(type, type_names[param->type]) != 0)
        param->type++;
    if (param->type == MG_TYPE_COUNT)
        return mg_err_set(err, MG_E_UDF_BROKEN, "parameter %s: there is no type \"%.40s\"", name, type);
    const json_t *fallback = json_object_get(json, "default"), *required = json_object_get(json, "required");
    param->has_default = fallback && !json_is_null(fallback);
    param->fallback = param->has_default ? json_incref((json_t *)(uintptr_t)fallback) : NULL;
    param->optional = json_is_true(json_object_get(json, "optional"));
    param->required = required ? json_is_true(required) : !param->has_default && !param->optional;
    param->doc = strdup(mg_json_str(json, "doc", ""));
    param->has_min = read_limit(json_object_get(json, "min"), &param->min);
    param->has_max = read_limit(json_object_get(json, "max"), &param->max);
    if (!param->doc)
        return MG_E_NOMEM;
    if (param->has_min && param->has_max && param->min > param->max)
        return mg_err_set(err, MG_E_UDF_BROKEN, "parameter %s: min is greater than max", name);
    if (param->type == MG_T_ENUM) {
        enum mg_err status = read_values(json_object_get(json, "values"), param, err);
        if (status)
            return status;
    }
    return param->has_default ? check_default(param, err) : MG_OK;
}

static enum mg_err read_record(const json_t *json, struct mg_sig *sig, struct mg_errmsg *err)
{
    const json_t *params = json_object_get(json, "params"), *age = json_object_get(json, "max_age");
    size_t n = json_array_size(params);
    if (!json_is_array(params) && !(json_is_object(params) && json_object_size(params) == 0)) /* Lua's empty table */
        return mg_err_set(err, MG_E_UDF_BROKEN, "the signature record has no list of parameters");
    if (n > PARAMS_MAX)
        return mg_err_set(err, MG_E_UDF_BROKEN, "the function has %zu parameters, at most %d are possible", n, PARAMS_MAX);
    sig->params = calloc(n ? n : 1, sizeof *sig->params);
    sig->doc = strdup(mg_json_str(json, "doc", ""));
    if (!sig->params || !sig->doc)
        return MG_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        sig->n_params++;
        enum mg_err status = read_param(json_array_get(params, i), &sig->params[i], err);
        if (status)
            return status;
        for (size_t before = 0; before < i; before++)
            if (strcmp(sig->params[before].name, sig->params[i].name) == 0)
                return mg_err_set(err, MG_E_UDF_BROKEN, "parameter %s: named twice", sig->params[i].name);
    }
    sig->varargs = json_is_true(json_object_get(json, "varargs"));
    sig->max_age_s = -1;
    if (json_is_number(age) && json_number_value(age) >= 0 && json_number_value(age) < 1e10)
        sig->max_age_s = (int64_t)json_number_value(age);
    else if (age && !json_is_null(age) && !mg_duration_parse(mg_span(json_string_value(age)), &sig->max_age_s))
        return mg_err_set(err, MG_E_UDF_BROKEN, "cache_max_age: seconds or a text like \"90s\", \"12h\", \"1d\" is expected");
    double timeout = json_number_value(json_object_get(json, "timeout_s"));
    sig->timeout_s = timeout > 0 && timeout < 1e6 ? (int64_t)ceil(timeout) : 0;
    return MG_OK;
}

enum mg_err mg_sig_parse(struct mg_span text, struct mg_sig **out, struct mg_errmsg *err)
{
    json_t *json = NULL;
    enum mg_err status = mg_json_parse(text, RECORD_MAX, &json, err);
    if (status)
        return mg_err_prefix(err, MG_E_UDF_BROKEN, "the signature record");
    struct mg_sig *sig = calloc(1, sizeof *sig);
    status = sig ? read_record(json, sig, err) : MG_E_NOMEM;
    json_decref(json);
    if (status)
        mg_sig_free(&sig);
    else
        *out = sig;
    return status;
}

void mg_sig_free(struct mg_sig **sig_at)
{
    struct mg_sig *sig = *sig_at;
    if (!sig)
        return;
    *sig_at = NULL;
    for (size_t i = 0; i < sig->n_params; i++) {
        struct mg_param *param = &sig->params[i];
        json_decref(param->fallback);
        for (char **value = param->values; value && *value; value++)
            free(*value);
        free(param->values);
        free(param->doc);
    }
    free(sig->params);
    free(sig->doc);
    free(sig);
}
