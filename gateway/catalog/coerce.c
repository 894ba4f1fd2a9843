/* Coercion of a call: every given parameter finds its place or is a mistake, every missing one its default.
 *
 * Arguments are packed in the order of the signature, further ones (for `...`) by name, so that equal calls have
 * equal bytes. JSON null counts as not given. All mistakes are collected before the call is refused. Cost: given x
 * parameters, both at most 256, name comparisons. */
#include "coerce.h"

#include "catalog.h"

#include "moongate/nearest.h"

#include <stdio.h>
#include <stdlib.h>

enum { GIVEN_MAX = 256, NAME_MAX_BYTES = 256, MISTAKES_MAX = 64, INPUT_MAX = 120 };

struct call {
    const struct mg_sig *sig;
    const struct mg_call *in;
    struct mg_buf args, extra, detail;
    struct mg_errmsg first;
    size_t mistakes;
};

/* Up to INPUT_MAX bytes, ended between characters and before a NUL, which some readers of JSON refuse. */
static struct mg_span excerpt(struct mg_span text)
{
    if (text.len)
        text.len = strnlen(text.data, text.len);
    if (text.len <= INPUT_MAX)
        return text;
    text.len = INPUT_MAX;
    while (text.len && ((unsigned char)text.data[text.len] & 0xC0) == 0x80)
        text.len--;
    return text;
}

/* What came, as JSON; a long or large value as the beginning of its text. */
static void put_input(struct mg_buf *out, const struct mg_given *given)
{
    if (given->json && !json_is_string(given->json)) {
        struct mg_buf text;
        mg_buf_init(&text, 0);
        if (catalog_json_shallow(given->json, CATALOG_JSON_DEPTH))
            mg_json_write(given->json, &text);
        if (text.len && text.len <= INPUT_MAX)
            mg_buf_put(out, text.data, text.len);
        else {
            struct mg_span cut = excerpt((struct mg_span){text.data, text.len});
            mg_buf_json_string(out, cut.data ? cut.data : "", cut.len);
        }
        mg_buf_fini(&text);
        return;
    }
    struct mg_span text = given->text;
    if (given->json)
        text = (struct mg_span){json_string_value(given->json), json_string_length(given->json)};
    text = excerpt(text);
    mg_buf_json_string(out, text.data ? text.data : "", text.len);
}

static void refuse(struct call *call, struct mg_span name, const struct mg_given *given, const struct mistake *mistake)
{
    if (call->mistakes++ >= MISTAKES_MAX)
        return;
    struct mg_buf *out = &call->detail;
    name = excerpt(name);
    mg_buf_str(out, call->mistakes == 1 ? "[" : ",");
    mg_buf_str(out, "{\"loc\":[\"query\",");
    mg_buf_json_string(out, name.data, name.len);
    mg_buf_str(out, "],\"msg\":");
    mg_buf_json_string(out, mistake->msg, strlen(mistake->msg));
    mg_buf_str(out, ",\"type\":");
    mg_buf_json_string(out, mistake->type, strlen(mistake->type));
    struct mg_buf came;
    mg_buf_init(&came, 0);
    if (given) {
        put_input(&came, given);
        mg_buf_str(out, ",\"input\":");
        mg_buf_put(out, came.data, came.len);
    }
    mg_buf_char(out, '}');
    if (call->mistakes == 1)
        mg_err_set(&call->first, MG_E_PARAMETER, "%.*s: %s%s%s", (int)name.len, name.data, mistake->msg,
                   came.len ? "; it came as " : "", came.len ? came.data : "");
    mg_buf_fini(&came);
}

static bool takes_bounds(const struct mg_param *param)
{
    return param->type == MG_T_BOUNDS || param->type == MG_T_TILE;
}

/* The parameter that a name means: its own, or bounds for bbox and the other way. -1: none. */
static int place_of(const struct mg_sig *sig, struct mg_span name)
{
    for (size_t i = 0; i < sig->n_params; i++)
        if (mg_span_is(name, sig->params[i].name))
            return (int)i;
    const char *other = mg_span_is(name, "bbox") ? "bounds" : mg_span_is(name, "bounds") ? "bbox" : NULL;
    for (size_t i = 0; i < sig->n_params && other; i++)
        if (strcmp(sig->params[i].name, other) == 0 && takes_bounds(&sig->params[i]))
            return (int)i;
    return -1;
}

/* The parameter that a tile call fills and the view state stands in for: the one named bounds or bbox, else the
 * first of its type. -1: none. */
static int main_bounds(const struct mg_sig *sig)
{
    int found = -1;
    for (size_t i = 0; i < sig->n_params; i++) {
        const struct mg_param *param = &sig->params[i];
        bool named = strcmp(param->name, "bounds") == 0 || strcmp(param->name, "bbox") == 0;
        if (param->type == MG_T_BOUNDS && (found < 0 || named))
            found = (int)i;
    }
    return found;
}

static void unknown_name(struct call *call, const struct mg_given *given)
{
    const struct mg_sig *sig = call->sig;
    struct mistake mistake;
    const char *names[GIVEN_MAX];
    struct mg_span shown = excerpt(given->name);
    size_t n = sig->n_params < GIVEN_MAX ? sig->n_params : GIVEN_MAX;
    for (size_t i = 0; i < n; i++)
        names[i] = sig->params[i].name;
    const char *near = mg_nearest(given->name, names, n);
    bool of_tile = given->name.len == 1 && memchr("xyz", *given->name.data, 3);
    if (near) {
        coerce_wrong(&mistake, "extra_forbidden", "There is no parameter of this name; did you mean %s?", near);
    } else if (of_tile && !call->in->has_tile) {
        coerce_wrong(&mistake, "extra_forbidden", "z, x and y make a tile call only when all three are given");
    } else if (n == 0) {
        coerce_wrong(&mistake, "extra_forbidden", "This UDF has no parameters");
    } else {
        struct mg_buf list;
        mg_buf_init(&list, 150);
        for (size_t i = 0; i < n; i++)
            mg_buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
        coerce_wrong(&mistake, "extra_forbidden", "There is no parameter of this name; there are: %s%s",
                     list.data ? list.data : "", list.failed ? ", …" : "");
        mg_buf_fini(&list);
    }
    refuse(call, shown, given, &mistake);
}

static void pack_tile(struct mg_buf *out, int z, int x, int y, int size)
{
    mg_pack_int(out, MG_ARG_TILE);
    mg_pack_int(out, z);
    mg_pack_int(out, x);
    mg_pack_int(out, y);
    mg_pack_int(out, size > 0 ? size : 256);
}

static void pack_fallback(const struct mg_param *param, struct mg_buf *out)
{
    struct mistake mistake;
    struct value value = {.json = param->fallback};
    if (param->type == MG_T_TILE)
        pack_tile(out, (int)json_number_value(json_array_get(param->fallback, 0)),
                  (int)json_number_value(json_array_get(param->fallback, 1)),
                  (int)json_number_value(json_array_get(param->fallback, 2)), 256);
    else
        MG_ASSERT(coerce_value(param, &value, out, &mistake)); /* mg_sig_parse has tried it */
}

static void missing(struct call *call, size_t at)
{
    const struct mg_param *param = &call->sig->params[at];
    const char *url = call->in->example_url;
    struct mistake mistake;
    if (param->type == MG_T_TILE)
        coerce_wrong(&mistake, "missing", "Field required: this UDF answers tiles, give z, x and y%s%s",
                     url ? ", for example " : "", url ? url : "");
    else if (param->type == MG_T_BOUNDS)
        coerce_wrong(&mistake, "missing", "Field required: xmin,ymin,xmax,ymax in degrees%s%s",
                     url ? ", for example " : "", url ? url : "");
    else
        coerce_wrong(&mistake, "missing", "Field required");
    refuse(call, mg_span(param->name), NULL, &mistake);
}

/* A parameter that did not come. */
static void fill(struct call *call, size_t at, bool stands_for_view)
{
    const struct mg_param *param = &call->sig->params[at];
    const struct mg_call *in = call->in;
    bool of_tile = in->has_tile && !param->name[1] && strchr("xyz", param->name[0]) &&
                   (param->type == MG_T_INTEGER || param->type == MG_T_NUMBER);
    if (of_tile) {
        int v = param->name[0] == 'x' ? in->x : param->name[0] == 'y' ? in->y : in->z;
        mg_pack_int(&call->args, param->type == MG_T_INTEGER ? MG_ARG_INT : MG_ARG_NUMBER);
        if (param->type == MG_T_INTEGER)
            mg_pack_int(&call->args, v);
        else
            mg_pack_double(&call->args, v);
    } else if (param->has_default) {
        pack_fallback(param, &call->args);
    } else if (param->optional) {
        mg_pack_int(&call->args, MG_ARG_NIL);
    } else if (stands_for_view && in->view) {
        mg_pack_int(&call->args, MG_ARG_BOUNDS);
        for (int i = 0; i < 4; i++)
            mg_pack_double(&call->args, in->view[i]);
    } else if (param->required || takes_bounds(param)) {
        missing(call, at);
    } else {
        mg_pack_int(&call->args, MG_ARG_NIL);
    }
}

static void one_argument(struct call *call, size_t at, bool is_main, const struct mg_given *given, size_t times)
{
    const struct mg_param *param = &call->sig->params[at];
    const struct mg_call *in = call->in;
    struct mistake mistake;
    mg_pack_str(&call->args, param->name);
    if (in->has_tile && (is_main || param->type == MG_T_TILE)) {
        pack_tile(&call->args, in->z, in->x, in->y, in->tile_size);
        if (given)
            coerce_wrong(&mistake, "tile_bounds", "On a tile call the bounds are those of the tile; leave it out");
        else
            return;
    } else if (!given) {
        fill(call, at, is_main);
        return;
    } else if (param->type == MG_T_TILE) {
        missing(call, at);
        return;
    } else if (times > 1 && param->type != MG_T_LIST && param->type != MG_T_ANY) {
        coerce_wrong(&mistake, "repeated", "It was given %zu times; one value is expected", times);
    } else {
        struct value value = {.json = given->json, .text = given->text, .name = given->name};
        if (!value.text.data)
            value.text = MG_SPAN("");
        if (times > 1) {
            value.all = in->given;
            value.n_all = in->n_given;
        }
        if (coerce_value(param, &value, &call->args, &mistake))
            return;
    }
    refuse(call, given->name, given, &mistake);
}

static int by_name(const void *a, const void *b)
{
    const struct mg_given *x = *(const struct mg_given *const *)a, *y = *(const struct mg_given *const *)b;
    size_t len = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = len ? memcmp(x->name.data, y->name.data, len) : 0;
    if (order)
        return order;
    if (x->name.len != y->name.len)
        return x->name.len < y->name.len ? -1 : 1;
    return (x > y) - (x < y); /* as they came */
}

/* What `...` receives: names in order, repeated ones as one list. */
static void extra_arguments(struct call *call, const struct mg_given **list, size_t n)
{
    const struct mg_param any = {.type = MG_T_ANY};
    struct mistake mistake;
    size_t names = 0;
    qsort(list, n, sizeof *list, by_name);
    for (size_t i = 0; i < n; i++)
        names += i == 0 || !mg_span_eq(list[i]->name, list[i - 1]->name);
    mg_pack_int(&call->extra, (int64_t)names);
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && mg_span_eq(list[i]->name, list[next]->name);)
            next++;
        struct value value = {.json = list[i]->json, .text = list[i]->text, .name = list[i]->name};
        if (!value.text.data)
            value.text = MG_SPAN("");
        if (next - i > 1) {
            value.all = call->in->given;
            value.n_all = call->in->n_given;
        }
        bool good_name = list[i]->name.len <= NAME_MAX_BYTES && coerce_utf8(list[i]->name) &&
                         !memchr(list[i]->name.data, 0, list[i]->name.len);
        mg_pack_bytes(&call->extra, list[i]->name.data, list[i]->name.len);
        if (!good_name)
            coerce_wrong(&mistake, "name", "The name of a parameter should be UTF-8 of at most %d bytes",
                         NAME_MAX_BYTES);
        if (!good_name || !coerce_value(&any, &value, &call->extra, &mistake))
            refuse(call, list[i]->name, list[i], &mistake);
    }
}

static void all_arguments(struct call *call)
{
    const struct mg_sig *sig = call->sig;
    const struct mg_call *in = call->in;
    const struct mg_given *first[GIVEN_MAX] = {NULL}, *further[GIVEN_MAX];
    size_t times[GIVEN_MAX] = {0}, n_further = 0;
    for (size_t i = 0; i < in->n_given; i++) {
        const struct mg_given *given = &in->given[i];
        if (mg_reserved_name(given->name) || mg_ignored_name(given->name))
            continue;
        int at = place_of(sig, given->name);
        if (at < 0 && !sig->varargs)
            unknown_name(call, given);
        if ((at < 0 && !sig->varargs) || (given->json && json_is_null(given->json)))
            continue;
        if (at < 0) {
            further[n_further++] = given;
        } else if (times[at]++ == 0) {
            first[at] = given;
        }
    }
    int main_at = main_bounds(sig);
    mg_pack_int(&call->args, (int64_t)sig->n_params);
    for (size_t i = 0; i < sig->n_params; i++)
        one_argument(call, i, (int)i == main_at, first[i], times[i]);
    extra_arguments(call, further, n_further);
}

enum mg_err mg_sig_coerce(const struct mg_sig *sig, const struct mg_call *in, struct mg_buf *args,
                          struct mg_buf *extra, struct mg_buf *detail, struct mg_errmsg *err)
{
    if (in->n_given > GIVEN_MAX)
        return mg_err_set(err, MG_E_INVALID, "more than %d parameters", GIVEN_MAX);
    struct call call = {.sig = sig, .in = in};
    mg_buf_init(&call.args, 0);
    mg_buf_init(&call.extra, 0);
    mg_buf_init(&call.detail, 0);
    all_arguments(&call);
    enum mg_err status = MG_OK;
    if (call.mistakes) {
        mg_buf_char(&call.detail, ']');
        mg_buf_put(detail, call.detail.data, call.detail.len);
        status = MG_E_PARAMETER;
        if (err)
            *err = call.first;
    } else if (call.args.failed || call.extra.failed) {
        status = MG_E_NOMEM;
    } else {
        mg_buf_put(args, call.args.data, call.args.len);
        mg_buf_put(extra, call.extra.data, call.extra.len);
    }
    mg_buf_fini(&call.args);
    mg_buf_fini(&call.extra);
    mg_buf_fini(&call.detail);
    return status;
}
