/* JSON: reading by Jansson (which bounds the depth at 2048), canonical writing of our own. */
#include "moongate/json.h"

#include <stdlib.h>

enum { DEPTH_MAX = 2048 }; /* Jansson's own limit for reading */

enum mg_err mg_json_parse(struct mg_span text, size_t max_bytes, json_t **out,
                          struct mg_errmsg *err)
{
    if (max_bytes && text.len > max_bytes)
        return mg_err_set(err, MG_E_TOO_LARGE, "the JSON text has %zu bytes, the limit is %zu",
                          text.len, max_bytes);
    json_error_t why;
    json_t *value = json_loadb(text.data ? text.data : "", text.len,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!value) {
        if (json_error_code(&why) == json_error_out_of_memory)
            return mg_err_set(err, MG_E_NOMEM, "out of memory while JSON was read");
        return mg_err_set(err, MG_E_INVALID, "JSON, line %d, column %d: %s", why.line, why.column,
                          why.text);
    }
    *out = value;
    return MG_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_value(const json_t *value, struct mg_buf *out, int depth);

static void put_object(const json_t *object, struct mg_buf *out, int depth)
{
    size_t n = json_object_size(object), i = 0;
    const char **names = malloc((n ? n : 1) * sizeof *names), *name;
    json_t *mutable = (json_t *)(uintptr_t)object, *item; /* Jansson's iteration takes no const */
    if (!names) {
        out->failed = true;
        return;
    }
    json_object_foreach(mutable, name, item) names[i++] = name;
    qsort(names, n, sizeof *names, by_name);
    mg_buf_char(out, '{');
    for (i = 0; i < n && !out->failed; i++) {
        if (i)
            mg_buf_char(out, ',');
        mg_buf_json_string(out, names[i], strlen(names[i]));
        mg_buf_char(out, ':');
        put_value(json_object_get(object, names[i]), out, depth + 1);
    }
    mg_buf_char(out, '}');
    free(names);
}

static void put_value(const json_t *value, struct mg_buf *out, int depth)
{
    if (depth > DEPTH_MAX) {
        out->failed = true;
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        put_object(value, out, depth);
        break;
    case JSON_ARRAY:
        mg_buf_char(out, '[');
        for (size_t i = 0; i < json_array_size(value) && !out->failed; i++) {
            if (i)
                mg_buf_char(out, ',');
            put_value(json_array_get(value, i), out, depth + 1);
        }
        mg_buf_char(out, ']');
        break;
    case JSON_STRING:
        mg_buf_json_string(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        mg_buf_int(out, json_integer_value(value));
        break;
    case JSON_REAL:
        mg_buf_double(out, json_real_value(value));
        break;
    case JSON_TRUE:
        mg_buf_str(out, "true");
        break;
    case JSON_FALSE:
        mg_buf_str(out, "false");
        break;
    case JSON_NULL:
        mg_buf_str(out, "null");
        break;
    }
}

void mg_json_write(const json_t *value, struct mg_buf *out)
{
    if (value)
        put_value(value, out, 0);
    else
        mg_buf_str(out, "null");
}

const char *mg_json_str(const json_t *object, const char *key, const char *fallback)
{
    const json_t *value = json_is_object(object) ? json_object_get(object, key) : NULL;
    return json_is_string(value) ? json_string_value(value) : fallback;
}
