/* For tests of coercion: calls written as text, and packed arguments printed as text. */
#ifndef TESTS_CATALOG_CALL_H
#define TESTS_CATALOG_CALL_H

#include "moongate/sig.h"

#include <stdio.h>
#include <stdlib.h>

enum { CALL_MAX = 300 };

/* "a=1&b=x y": given parameters; nothing is unescaped, "%00" alone stands for a NUL. A JSON text that starts with
 * '{' gives JSON values. */
struct call_text {
    struct mg_given given[CALL_MAX];
    size_t n;
    json_t *json;
    char *copy;
};

static inline void call_read(struct call_text *call, const char *text)
{
    *call = (struct call_text){.copy = strdup(text)};
    const char *name;
    json_t *value;
    if (*text == '{') {
        call->json = json_loads(text, 0, NULL);
        json_object_foreach(call->json, name, value) call->given[call->n++] =
            (struct mg_given){.name = mg_span(name),
                              .text = {json_string_value(value), json_string_length(value)},
                              .json = value};
        return;
    }
    struct mg_span rest = mg_span(call->copy), pair, key;
    while (rest.len && mg_span_cut(&rest, '&', &pair)) {
        struct mg_span after = pair;
        mg_span_cut(&after, '=', &key);
        if (mg_span_is(after, "%00"))
            after = (struct mg_span){"a\0b", 3};
        call->given[call->n++] = (struct mg_given){.name = key, .text = after};
    }
}

static inline void call_free(struct call_text *call)
{
    json_decref(call->json);
    free(call->copy);
}

/* "low=num:1 bounds=box:1,2,3,4" */
static inline void call_print(const struct mg_buf *packed, struct mg_buf *out)
{
    static const char *const kinds[] = {[MG_ARG_NIL] = "nil",     [MG_ARG_BOOL] = "bool", [MG_ARG_INT] = "int",
                                        [MG_ARG_NUMBER] = "num",  [MG_ARG_STRING] = "str", [MG_ARG_JSON] = "json",
                                        [MG_ARG_GEOMETRY] = "geo", [MG_ARG_DATE] = "date", [MG_ARG_BOUNDS] = "box",
                                        [MG_ARG_TILE] = "tile"};
    struct mg_unpack in;
    mg_unpack_init(&in, packed->data, packed->len);
    size_t n = mg_unpack_count(&in, CALL_MAX);
    for (size_t i = 0; i < n && !in.failed; i++) {
        struct mg_span name = mg_unpack_bytes(&in), text;
        int64_t kind = mg_unpack_int(&in);
        mg_buf_printf(out, "%s%.*s=%s", i ? " " : "", (int)name.len, name.data,
                      kind >= 0 && kind < MG_ARG_KIND_COUNT ? kinds[kind] : "?");
        int values = kind == MG_ARG_NIL ? 0 : kind == MG_ARG_BOUNDS || kind == MG_ARG_TILE ? 4 : 1;
        for (int v = 0; v < values; v++) {
            mg_buf_char(out, v ? ',' : ':');
            switch (mg_unpack_peek(&in)) {
            case 'b': mg_buf_str(out, mg_unpack_bool(&in) ? "true" : "false"); break;
            case 'i': mg_buf_int(out, mg_unpack_int(&in)); break;
            case 'd': mg_buf_double(out, mg_unpack_double(&in)); break;
            case 's':
                text = mg_unpack_bytes(&in);
                mg_buf_put(out, text.data, text.len);
                break;
            default: in.failed = true;
            }
        }
    }
    if (!mg_unpack_done(&in))
        mg_buf_str(out, " (malformed)");
}

#endif
