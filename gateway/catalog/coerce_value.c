/* One value to its type: one function a type, in a table by enum mg_type.
 *
 * Text comes from a query, JSON from a body or from Lua; a JSON string counts as text, so that `"5"` is an integer.
 * Invariant: equal values give equal bytes, whatever their spelling; the pack keeps different ones apart. Lists and
 * tables are canonical JSON (sorted keys, shortest numbers). A list comes as a JSON list, as repeated parameters
 * (a=1&a=2), or as a comma list (a=1,2): the items of the latter two are read like the items of the default, without
 * one as JSON numbers, true, false, lists and objects where they are such, else as strings. */
#include "coerce.h"

#include "catalog.h"

#include "moongate/nearest.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool coerce_wrong(struct mistake *mistake, const char *type, const char *format, ...)
{
    va_list args;
    mistake->type = type;
    va_start(args, format);
    vsnprintf(mistake->msg, sizeof mistake->msg, format, args);
    va_end(args);
    return false;
}

struct mg_span coerce_trim(struct mg_span text)
{
    while (text.len && isspace((unsigned char)text.data[text.len - 1]))
        text.len--;
    while (text.len && isspace((unsigned char)*text.data)) {
        text.data++;
        text.len--;
    }
    return text;
}

bool coerce_number(struct mg_span text, double *out)
{
    char copy[400];
    if (!text.len || text.len >= sizeof copy)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!isdigit((unsigned char)text.data[i]) && !strchr("+-.eE", text.data[i]))
            return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    char *end;
    double value = strtod(copy, &end);
    if (end == copy || *end || !isfinite(value))
        return false;
    *out = value + 0.0;
    return true;
}

/* RFC 3629: shortest forms only, no surrogates, at most U+10FFFF. */
bool coerce_utf8(struct mg_span text)
{
    const unsigned char *at = (const unsigned char *)text.data, *end = at + text.len;
    while (at < end) {
        unsigned char lead = *at++;
        if (lead < 0x80)
            continue;
        int more = lead >= 0xF0 && lead < 0xF5 ? 3 : lead >= 0xE0 ? 2 : 1;
        uint32_t code = lead & (0x3Fu >> more);
        if (lead < 0xC2 || lead > 0xF4 || end - at < more)
            return false;
        for (int i = 0; i < more; i++, at++) {
            if ((*at & 0xC0) != 0x80)
                return false;
            code = code << 6 | (*at & 0x3F);
        }
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
            return false;
    }
    return true;
}

json_t *coerce_parse(struct mg_span text, const char *starts, struct mg_errmsg *why)
{
    json_t *value = NULL;
    if (!text.len || !strchr(starts, *text.data) || mg_json_parse(text, COERCE_JSON_MAX, &value, why) != MG_OK)
        return NULL;
    if (catalog_json_shallow(value, CATALOG_JSON_DEPTH))
        return value;
    json_decref(value);
    mg_err_set(why, MG_E_INVALID, "it is nested deeper than %d", CATALOG_JSON_DEPTH);
    return NULL;
}

/* Text of a text value or JSON string; false for other JSON. */
static bool text_of(const struct value *value, struct mg_span *out)
{
    if (value->json && !json_is_string(value->json))
        return false;
    *out = value->json ? (struct mg_span){json_string_value(value->json), json_string_length(value->json)}
                       : value->text;
    if (!out->data)
        out->data = "";
    return true;
}

static bool in_range(const struct mg_param *param, double value, struct mistake *mistake)
{
    if (param->has_min && value < param->min)
        return coerce_wrong(mistake, "greater_than_equal", "Input should be greater than or equal to %.17g",
                            param->min);
    if (param->has_max && value > param->max)
        return coerce_wrong(mistake, "less_than_equal", "Input should be less than or equal to %.17g", param->max);
    return true;
}

static bool to_integer(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                       struct mistake *mistake)
{
    static const char wrong[] = "Input should be a whole number (base 10)";
    struct mg_span text;
    int64_t number;
    if (json_is_integer(value->json)) {
        number = json_integer_value(value->json);
    } else if (json_is_real(value->json)) {
        double real = json_real_value(value->json);
        if (real != floor(real) || fabs(real) > 9007199254740992.0)
            return coerce_wrong(mistake, "int_from_float", "%s", wrong);
        number = (int64_t)real;
    } else {
        char copy[24], *end;
        if (!text_of(value, &text))
            return coerce_wrong(mistake, "int_type", "%s", wrong);
        text = coerce_trim(text);
        size_t sign = text.len && (*text.data == '-' || *text.data == '+');
        for (size_t i = sign; i < text.len; i++)
            if (!isdigit((unsigned char)text.data[i]))
                return coerce_wrong(mistake, "int_parsing", "%s", wrong);
        if (text.len == sign)
            return coerce_wrong(mistake, "int_parsing", "%s", wrong);
        bool fits = text.len < sizeof copy;
        errno = 0;
        if (fits) {
            memcpy(copy, text.data, text.len);
            copy[text.len] = 0;
            number = strtoll(copy, &end, 10);
        }
        if (!fits || errno == ERANGE)
            return coerce_wrong(mistake, "int_parsing_size",
                                "Input should be a whole number of at most 64 bits (up to 9223372036854775807)");
    }
    mg_pack_int(out, MG_ARG_INT);
    mg_pack_int(out, number);
    return in_range(param, (double)number, mistake);
}

static bool to_number(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                      struct mistake *mistake)
{
    static const char wrong[] = "Input should be a finite number, like 12 or -0.5 or 1e3";
    struct mg_span text;
    double number;
    if (json_is_number(value->json))
        number = json_number_value(value->json) + 0.0;
    else if (!text_of(value, &text))
        return coerce_wrong(mistake, "float_type", "%s", wrong);
    else if (!coerce_number(coerce_trim(text), &number))
        return coerce_wrong(mistake, "float_parsing", "%s", wrong);
    mg_pack_int(out, MG_ARG_NUMBER);
    mg_pack_double(out, number);
    return in_range(param, number, mistake);
}

static bool to_boolean(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                       struct mistake *mistake)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true}, {"false", false}, {"1", true},   {"0", false},
                 {"yes", true},  {"no", false},    {"on", true}, {"off", false}};
    (void)param;
    struct mg_span text;
    int found = -1;
    if (json_is_boolean(value->json)) {
        found = json_is_true(value->json);
    } else if (json_is_number(value->json)) {
        double number = json_number_value(value->json);
        found = number == 1 ? 1 : number == 0 ? 0 : -1;
    } else if (text_of(value, &text)) {
        text = coerce_trim(text);
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (strlen(words[i].word) == text.len && strncasecmp(words[i].word, text.data, text.len) == 0)
                found = words[i].value;
    }
    if (found < 0)
        return coerce_wrong(mistake, "bool_parsing", "Input should be true or false (also 1, 0, yes, no, on, off)");
    mg_pack_int(out, MG_ARG_BOOL);
    mg_pack_bool(out, found);
    return true;
}

static bool check_text(struct mg_span text, struct mistake *mistake)
{
    if (memchr(text.data, 0, text.len))
        return coerce_wrong(mistake, "string_nul", "Input should be text without NUL bytes");
    if (!coerce_utf8(text))
        return coerce_wrong(mistake, "string_unicode", "Input should be valid UTF-8 text");
    return true;
}

static bool to_string(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                      struct mistake *mistake)
{
    (void)param;
    struct mg_span text;
    if (!text_of(value, &text))
        return coerce_wrong(mistake, "string_type", "Input should be text");
    mg_pack_int(out, MG_ARG_STRING);
    mg_pack_bytes(out, text.data, text.len);
    return check_text(text, mistake);
}

static bool to_enum(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                    struct mistake *mistake)
{
    struct mg_span text;
    size_t n = 0;
    if (text_of(value, &text))
        for (char **word = param->values; word && *word; word++)
            if (mg_span_is(text, *word)) {
                mg_pack_int(out, MG_ARG_STRING);
                mg_pack_bytes(out, text.data, text.len);
                return true;
            }
    struct mg_buf list;
    mg_buf_init(&list, 160);
    for (n = 0; param->values && param->values[n]; n++)
        mg_buf_printf(&list, "%s%s", n ? ", " : "", param->values[n]);
    const char *near = text_of(value, &text) ? mg_nearest(text, (const char *const *)param->values, n) : NULL;
    coerce_wrong(mistake, "enum", "Input should be one of: %s%s%s%s%s", list.data ? list.data : "",
                 list.failed ? ", …" : "", near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    mg_buf_fini(&list);
    return false;
}

static bool to_date(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                    struct mistake *mistake)
{
    (void)param;
    struct mg_span text;
    char date[COERCE_DATE_MAX];
    if (!text_of(value, &text) || !coerce_date(coerce_trim(text), date))
        return coerce_wrong(mistake, "date_parsing",
                            "Input should be a date (ISO 8601), like 2024-02-29 or 2024-02-29T12:30:00Z");
    mg_pack_int(out, MG_ARG_DATE);
    mg_pack_bytes(out, date, strlen(date));
    return true;
}

static bool to_geometry(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                        struct mistake *mistake)
{
    (void)param;
    struct mg_buf text;
    mg_buf_init(&text, 0);
    bool fits = coerce_geometry(value, &text, mistake);
    mg_pack_int(out, MG_ARG_GEOMETRY);
    mg_pack_bytes(out, text.data, text.len);
    mg_buf_fini(&text);
    return fits;
}

static bool to_bounds(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                      struct mistake *mistake)
{
    (void)param;
    struct mg_bounds box;
    if (!coerce_bounds(value, &box, mistake))
        return false;
    mg_pack_int(out, MG_ARG_BOUNDS);
    mg_pack_double(out, box.xmin);
    mg_pack_double(out, box.ymin);
    mg_pack_double(out, box.xmax);
    mg_pack_double(out, box.ymax);
    return true;
}

static void pack_json(const json_t *json, struct mg_buf *out)
{
    struct mg_buf text;
    mg_buf_init(&text, 0);
    mg_json_write(json, &text);
    mg_pack_int(out, MG_ARG_JSON);
    mg_pack_bytes(out, text.data, text.len);
    out->failed = out->failed || text.failed;
    mg_buf_fini(&text);
}

static bool to_table(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                     struct mistake *mistake)
{
    (void)param;
    struct mg_errmsg why = {""};
    struct mg_span text;
    json_t *parsed = NULL;
    const json_t *json = value->json;
    if (text_of(value, &text))
        json = parsed = coerce_parse(coerce_trim(text), "{[", &why);
    bool fits = json_is_object(json) || json_is_array(json);
    if (fits)
        pack_json(json, out);
    json_decref(parsed);
    return fits || coerce_wrong(mistake, "dict_type", "Input should be a JSON object, like {\"a\":1}%s%s",
                                why.text[0] ? "; " : "", why.text);
}

/* The type that all items of the default have; JSON_NULL when there is none. */
static json_type item_type(const struct mg_param *param)
{
    json_type type = JSON_NULL;
    for (size_t i = 0; i < json_array_size(param->fallback); i++) {
        json_type one = json_typeof(json_array_get(param->fallback, i));
        one = one == JSON_INTEGER ? JSON_REAL : one == JSON_FALSE ? JSON_TRUE : one;
        if (i && one != type)
            return JSON_NULL;
        type = one;
    }
    return type;
}

/* One item of a comma list or repeated parameter. Returns new; NULL with *mistake. */
static json_t *item_of(struct mg_span text, json_type type, struct mistake *mistake)
{
    struct mg_span bare = coerce_trim(text);
    double number;
    json_t *json = NULL;
    bool any = type == JSON_NULL;
    if (type == JSON_REAL)
        json = coerce_number(bare, &number) ? json_real(number) : NULL;
    if (type == JSON_TRUE || any)
        json = mg_span_is(bare, "true") ? json_true() : mg_span_is(bare, "false") ? json_false() : NULL;
    if (!json && (type == JSON_ARRAY || type == JSON_OBJECT || any)) /* "007" is no JSON number, so it stays text */
        json = coerce_parse(bare, any ? "-0123456789[{\"" : "[{", NULL);
    if (!json && (type == JSON_STRING || any) && check_text(text, mistake))
        return json_stringn_nocheck(any ? bare.data : text.data, any ? bare.len : text.len);
    if (!json && (type != JSON_STRING && !any))
        coerce_wrong(mistake, "list_item", "Input should be a list of %s, like those of the default",
                     type == JSON_REAL ? "numbers" : type == JSON_TRUE ? "true and false" : "lists or objects");
    return json;
}

static bool append_item(json_t *list, struct mg_span text, json_type type, struct mistake *mistake)
{
    return json_array_append_new(list, item_of(text.data ? text : MG_SPAN(""), type, mistake)) == 0;
}

static bool to_list(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                    struct mistake *mistake)
{
    struct mg_errmsg why = {""};
    struct mg_span text, part;
    json_t *made = NULL;
    bool fits = true;
    json_type type = item_type(param);
    size_t times = 0;
    for (size_t i = 0; i < value->n_all; i++)
        times += mg_span_eq(value->all[i].name, value->name);
    coerce_wrong(mistake, "list_type", "Input should be a JSON list, like [1,2]");
    if (times > 1) {
        made = json_array();
        for (size_t i = 0; i < value->n_all && fits; i++) {
            const struct mg_given *one = &value->all[i];
            if (!mg_span_eq(one->name, value->name))
                continue;
            fits = one->json ? json_array_append(made, (json_t *)(uintptr_t)one->json) == 0
                             : append_item(made, one->text, type, mistake);
        }
    } else if (text_of(value, &text)) {
        text = coerce_trim(text);
        if (text.len && *text.data == '[') {
            made = coerce_parse(text, "[", &why);
            fits = made != NULL;
            if (!fits)
                coerce_wrong(mistake, "list_type", "Input should be a JSON list, like [1,2]; %.150s", why.text);
        } else {
            made = json_array();
            while (text.len && fits && mg_span_cut(&text, ',', &part))
                fits = append_item(made, coerce_trim(part), type, mistake);
        }
    } else if (json_is_object(value->json) && json_object_size(value->json) == 0) {
        made = json_array(); /* Lua's empty table */
    } else if (json_is_array(value->json)) {
        made = json_incref((json_t *)(uintptr_t)value->json);
    } else {
        fits = false;
    }
    if (fits)
        pack_json(made, out);
    json_decref(made);
    return fits;
}

static bool to_any(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                   struct mistake *mistake)
{
    struct mg_span text;
    size_t times = 0;
    for (size_t i = 0; i < value->n_all; i++)
        times += mg_span_eq(value->all[i].name, value->name);
    if (times > 1) { /* a list of strings */
        json_t *list = json_array();
        bool fits = true;
        for (size_t i = 0; i < value->n_all && fits; i++) {
            const struct mg_given *one = &value->all[i];
            if (mg_span_eq(one->name, value->name))
                fits = one->json ? json_array_append(list, (json_t *)(uintptr_t)one->json) == 0
                                 : append_item(list, one->text, JSON_STRING, mistake);
        }
        if (fits)
            pack_json(list, out);
        json_decref(list);
        return fits;
    }
    if (text_of(value, &text))
        return to_string(param, value, out, mistake);
    if (json_is_boolean(value->json))
        return to_boolean(param, value, out, mistake);
    if (json_is_number(value->json))
        return to_number(param, value, out, mistake);
    pack_json(value->json, out);
    return true;
}

static bool to_tile(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                    struct mistake *mistake)
{
    (void)param, (void)value, (void)out;
    return coerce_wrong(mistake, "tile_type", "It comes from z, x and y; leave it out");
}

typedef bool to_f(const struct mg_param *, const struct value *, struct mg_buf *, struct mistake *);
static to_f *const by_type[MG_TYPE_COUNT] = {
    [MG_T_BOUNDS] = to_bounds,   [MG_T_TILE] = to_tile,         [MG_T_INTEGER] = to_integer,
    [MG_T_NUMBER] = to_number,   [MG_T_BOOLEAN] = to_boolean,   [MG_T_STRING] = to_string,
    [MG_T_LIST] = to_list,       [MG_T_TABLE] = to_table,       [MG_T_GEOMETRY] = to_geometry,
    [MG_T_DATE] = to_date,       [MG_T_ENUM] = to_enum,         [MG_T_ANY] = to_any,
};

bool coerce_value(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                  struct mistake *mistake)
{
    if (value->json ? !catalog_json_shallow(value->json, CATALOG_JSON_DEPTH) : value->text.len > COERCE_TEXT_MAX)
        return value->json ? coerce_wrong(mistake, "too_deep", "Input should not be nested deeper than %d",
                                          CATALOG_JSON_DEPTH)
                           : coerce_wrong(mistake, "too_long", "Input should be at most %d bytes; send it by POST",
                                          COERCE_TEXT_MAX);
    return by_type[param->type](param, value, out, mistake);
}
