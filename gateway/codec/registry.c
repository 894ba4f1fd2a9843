/* The registry: the one list of the codec files' rows, and what is decided from the rows alone.
 *
 * A new format is a new codec file and its array's name in FILES. Everything here is a scan over some ten rows;
 * nothing allocates, nothing encodes, so that the front may call it on its event loop. */
#include "moongate/codec.h"

#include "rows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define ROWS(file) mg_codec_##file,
static const struct mg_codec *const files[] = {MG_CODEC_FILES(ROWS)};
#undef ROWS

const struct mg_codec *mg_codec_at(size_t i)
{
    for (size_t f = 0; f < sizeof files / sizeof *files; f++)
        for (const struct mg_codec *row = files[f]; row->name; row++)
            if (i-- == 0)
                return row;
    return NULL;
}

static bool same_name(struct mg_span a, struct mg_span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        char c = a.data[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 'a' - 'A');
        if (c != b.data[i])
            return false;
    }
    return true;
}

const struct mg_codec *mg_codec_find(struct mg_span name)
{
    const struct mg_codec *row;
    for (size_t i = 0; (row = mg_codec_at(i)); i++) {
        if (same_name(name, mg_span(row->name)))
            return row;
        struct mg_span aliases = mg_span(row->aliases), alias;
        while (row->aliases && mg_span_cut(&aliases, ',', &alias))
            if (same_name(name, alias))
                return row;
    }
    return NULL;
}

static const char *kind_of(const struct mg_value *value)
{
    switch (value->shape) {
    case MG_SHAPE_RASTER:
        return "a raster";
    case MG_SHAPE_TABLE:
        return value->table && value->table->geometry < 0 ? "a table without geometry" : "a table";
    case MG_SHAPE_TEXT:
        return "a page (a string)";
    case MG_SHAPE_JSON:
        return "plain values";
    case MG_SHAPE_NAMED:
        return "named results";
    case MG_SHAPE_FRAMES:
        return "an animation";
    }
    return "this value";
}

static bool too_many_bands(const struct mg_codec *codec, const struct mg_value *value)
{
    for (size_t i = 0; value->shape == MG_SHAPE_FRAMES && i < value->n_frames; i++)
        if (value->frames[i].raster->bands > codec->max_bands)
            return true;
    return value->shape == MG_SHAPE_RASTER && value->raster && value->raster->bands > codec->max_bands;
}

static bool lacks_geometry(const struct mg_value *value)
{
    return value->shape == MG_SHAPE_TABLE && value->table && value->table->geometry < 0;
}

/* Several results that are the parts of one file: tables, as the format wants them. */
static bool are_layers(const struct mg_codec *codec, const struct mg_value *value)
{
    for (size_t i = 0; i < value->n_named; i++)
        if (value->named[i].value->shape != MG_SHAPE_TABLE ||
            (codec->needs_geometry && lacks_geometry(value->named[i].value)))
            return false;
    return true;
}

bool mg_codec_holds(const struct mg_codec *codec, const struct mg_value *value, bool tile_call)
{
    if (!(codec->shapes & value->shape) || (codec->tile_only && !tile_call))
        return false;
    if (codec->needs_geometry && lacks_geometry(value))
        return false;
    if (value->shape == MG_SHAPE_NAMED && !codec->any_named && !are_layers(codec, value))
        return false;
    return !too_many_bands(codec, value);
}

enum mg_err mg_codec_refuse(const struct mg_codec *codec, const struct mg_value *value, bool tile_call,
                            struct mg_errmsg *err)
{
    char able[256] = "";
    size_t used = 0;
    const struct mg_codec *row;
    for (size_t i = 0; (row = mg_codec_at(i)); i++) {
        size_t len = strlen(row->name);
        if (!mg_codec_holds(row, value, tile_call) || used + len + 3 > sizeof able)
            continue;
        if (used) {
            memcpy(able + used, ", ", 2);
            used += 2;
        }
        memcpy(able + used, row->name, len + 1);
        used += len;
    }
    if (value->shape == MG_SHAPE_RASTER && value->raster && (codec->shapes & MG_SHAPE_RASTER))
        return mg_err_set(err, MG_E_NOT_ACCEPTABLE,
                          "%s holds at most %d bands and the raster has %d: select some of them (bands = {…}), or "
                          "ask for %s",
                          codec->name, codec->max_bands, value->raster->bands, used ? able : "fewer bands");
    if (!used)
        return mg_err_set(err, MG_E_NOT_ACCEPTABLE, "no format can hold %s", kind_of(value));
    if (codec->tile_only && !tile_call)
        return mg_err_set(err, MG_E_NOT_ACCEPTABLE,
                          "%s is the format of a tile: ask for …/run/tiles/{z}/{x}/{y}, or for %s", codec->name, able);
    return mg_err_set(err, MG_E_NOT_ACCEPTABLE, "%s cannot hold %s; these can: %s", codec->name, kind_of(value), able);
}

/* Without any wish: design section 4. */
static const struct mg_codec *fallback_for(const struct mg_value *value, bool tile_call)
{
    const struct mg_codec *mvt = mg_codec_find(MG_SPAN("mvt"));
    switch (value->shape) {
    case MG_SHAPE_RASTER:
        return mg_codec_find(MG_SPAN("png"));
    case MG_SHAPE_TABLE:
        return mg_codec_find(value->table && value->table->geometry < 0 ? MG_SPAN("json") : MG_SPAN("geojson"));
    case MG_SHAPE_TEXT:
        return mg_codec_find(MG_SPAN("html"));
    case MG_SHAPE_JSON:
        return mg_codec_find(MG_SPAN("json"));
    case MG_SHAPE_NAMED:
        return mg_codec_holds(mvt, value, tile_call) ? mvt : mg_codec_find(MG_SPAN("zip"));
    case MG_SHAPE_FRAMES:
        return mg_codec_find(MG_SPAN("apng"));
    }
    return NULL;
}

/* The kind's own dtype_out_…; plain values and pages have none. */
static const struct mg_codec *asked_of_kind(const struct mg_wish *wish, const struct mg_value *value)
{
    if (value->shape == MG_SHAPE_RASTER || value->shape == MG_SHAPE_FRAMES)
        return wish->raster;
    if (value->shape == MG_SHAPE_TABLE || value->shape == MG_SHAPE_NAMED)
        return wish->vector;
    return NULL;
}

static void without_containers(const struct mg_codec *const *in, size_t n, const struct mg_codec **out, size_t *kept)
{
    *kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!in[i]->any_named)
            out[(*kept)++] = in[i];
}

void mg_codec_member_wish(const struct mg_wish *wish, struct mg_wish *out)
{
    *out = (struct mg_wish){.vector = wish->vector, .raster = wish->raster};
    if (out->vector && out->vector->any_named)
        out->vector = NULL;
    if (out->raster && out->raster->any_named)
        out->raster = NULL;
    without_containers(wish->formats, wish->n_formats, out->formats, &out->n_formats);
    without_containers(wish->accepts, wish->n_accepts, out->accepts, &out->n_accepts);
}

/* A container stands or falls with its members. (Accept counts for them only where it did for the container.) */
static enum mg_err pick_members(const struct mg_wish *wish, const struct mg_value *value, bool tile_call,
                                struct mg_errmsg *err)
{
    struct mg_wish own;
    mg_codec_member_wish(wish, &own);
    for (size_t i = 0; i < value->n_named; i++) {
        const struct mg_codec *member;
        bool by_accept;
        enum mg_err e = mg_codec_pick(&own, value->named[i].value, tile_call, &member, &by_accept, err);
        if (e)
            return mg_err_prefix(err, e, "result \"%.60s\"", value->named[i].name);
    }
    return MG_OK;
}

static enum mg_err pick(const struct mg_wish *wish, const struct mg_value *value, bool tile_call,
                        const struct mg_codec **out, bool *by_accept, struct mg_errmsg *err)
{
    const struct mg_codec *asked = wish->n_formats ? wish->formats[0] : asked_of_kind(wish, value);
    *by_accept = false;
    for (size_t i = 0; i < wish->n_formats; i++)
        if (mg_codec_holds(wish->formats[i], value, tile_call)) {
            *out = wish->formats[i];
            return MG_OK;
        }
    if (asked) {
        bool holds = !wish->n_formats && mg_codec_holds(asked, value, tile_call);
        if (!holds && value->shape != MG_SHAPE_NAMED)
            return mg_codec_refuse(asked, value, tile_call, err);
        *out = holds ? asked : mg_codec_find(MG_SPAN("zip")); /* of members in the formats that were asked for */
        return MG_OK;
    }
    /* What Accept says would have counted, had it named something fit: a cache must know. */
    *by_accept = true;
    for (size_t i = 0; i < wish->n_accepts; i++)
        if (mg_codec_holds(wish->accepts[i], value, tile_call)) {
            *out = wish->accepts[i];
            return MG_OK;
        }
    const struct mg_codec *fallback = fallback_for(value, tile_call);
    if (!fallback || !mg_codec_holds(fallback, value, tile_call))
        return mg_codec_refuse(fallback ? fallback : mg_codec_at(0), value, tile_call, err);
    *out = fallback;
    return MG_OK;
}

enum mg_err mg_codec_pick(const struct mg_wish *wish, const struct mg_value *value, bool tile_call,
                          const struct mg_codec **out, bool *by_accept, struct mg_errmsg *err)
{
    const struct mg_codec *picked = NULL;
    bool accepted = false;
    enum mg_err e = pick(wish, value, tile_call, &picked, &accepted, err);
    if (!e && picked->any_named)
        e = pick_members(wish, value, tile_call, err);
    if (e)
        return e;
    *out = picked;
    *by_accept = accepted;
    return MG_OK;
}

const struct mg_codec *mg_codec_for_empty(const struct mg_wish *wish)
{
    for (size_t i = 0; i < wish->n_formats; i++)
        if (wish->formats[i]->shapes & MG_SHAPE_RASTER)
            return wish->formats[i];
    if (wish->n_formats)
        return wish->formats[0];
    if (wish->raster)
        return wish->raster;
    if (wish->vector)
        return wish->vector;
    if (wish->n_accepts)
        return wish->accepts[0];
    return mg_codec_find(MG_SPAN("png"));
}

size_t mg_option_count(const struct mg_codec *codec)
{
    size_t n = 0;
    while (codec->options && codec->options[n].name)
        n++;
    return n;
}

/* Without a locale and without blanks around it, unlike strtod alone. */
static bool parse_number(struct mg_span text, double *out)
{
    char digits[64], *end;
    if (text.len == 0 || text.len >= sizeof digits)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!strchr("0123456789+-.eE", text.data[i]) || text.data[i] == '\0')
            return false;
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    *out = strtod(digits, &end);
    return *end == '\0' && isfinite(*out);
}

static bool parse_value(const struct mg_option *option, struct mg_span text, struct mg_option_value *value)
{
    double *out = &value->number;
    switch (option->type) {
    case MG_OPT_STRING:
        value->text = text;
        return (double)text.len >= option->min && (double)text.len <= option->max;
    case MG_OPT_BOOL:
        *out = mg_span_is(text, "true") || mg_span_is(text, "1");
        return *out != 0 || mg_span_is(text, "false") || mg_span_is(text, "0");
    case MG_OPT_ENUM: {
        struct mg_span values = mg_span(option->values), one;
        for (*out = 0; mg_span_cut(&values, ',', &one); *out += 1)
            if (mg_span_eq(one, text))
                return true;
        return false;
    }
    case MG_OPT_INT:
    case MG_OPT_NUMBER:
        return parse_number(text, out) && *out >= option->min && *out <= option->max &&
               (option->type == MG_OPT_NUMBER || *out == floor(*out));
    }
    return false;
}

void mg_option_defaults(const struct mg_codec *codec, struct mg_option_value *out)
{
    size_t n = mg_option_count(codec);
    for (size_t i = 0; i < n; i++) {
        const struct mg_option *option = &codec->options[i];
        out[i] = (struct mg_option_value){.number = NAN};
        if (option->fallback)
            MG_ASSERT(parse_value(option, mg_span(option->fallback), &out[i]));
    }
}

static enum mg_err refuse_value(const struct mg_codec *codec, const struct mg_option *option, struct mg_span text,
                                struct mg_errmsg *err)
{
    int shown = text.len > 40 ? 40 : (int)text.len;
    const char *format = codec->name, *name = option->name;
    switch (option->type) {
    case MG_OPT_BOOL:
        return mg_err_set(err, MG_E_PARAMETER, "%s.%s is \"%.*s\", expected true or false", format, name, shown,
                          text.data);
    case MG_OPT_ENUM:
        return mg_err_set(err, MG_E_PARAMETER, "%s.%s is \"%.*s\", expected one of %s", format, name, shown, text.data,
                          option->values);
    case MG_OPT_INT:
        return mg_err_set(err, MG_E_PARAMETER, "%s.%s is \"%.*s\", expected an integer from %.0f to %.0f", format,
                          name, shown, text.data, option->min, option->max);
    case MG_OPT_STRING:
        return mg_err_set(err, MG_E_PARAMETER, "%s.%s has %zu bytes, expected a text of %.0f to %.0f", format, name,
                          text.len, option->min, option->max);
    case MG_OPT_NUMBER:
        break;
    }
    return mg_err_set(err, MG_E_PARAMETER, "%s.%s is \"%.*s\", expected a number from %g to %g", format, name, shown,
                      text.data, option->min, option->max);
}

enum mg_err mg_option_parse(const struct mg_codec *codec, struct mg_span option, struct mg_span text, size_t *index,
                            struct mg_option_value *out, struct mg_errmsg *err)
{
    size_t n = mg_option_count(codec);
    for (size_t i = 0; i < n; i++) {
        struct mg_option_value value = {.number = NAN};
        if (!mg_span_is(option, codec->options[i].name))
            continue;
        if (!parse_value(&codec->options[i], text, &value))
            return refuse_value(codec, &codec->options[i], text, err);
        *index = i;
        *out = value;
        return MG_OK;
    }
    char known[256] = "none";
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(codec->options[i].name);
        if (used + len + 3 > sizeof known)
            break;
        if (used) {
            memcpy(known + used, ", ", 2);
            used += 2;
        }
        memcpy(known + used, codec->options[i].name, len + 1);
        used += len;
    }
    return mg_err_set(err, MG_E_PARAMETER, "%s has no option \"%.*s\"; its options: %s", codec->name,
                      option.len > 40 ? 40 : (int)option.len, option.data, known);
}
