/* The registry's rows as JSON, HTML and Markdown: what a format holds and its options, each said once, in its row. */
#include "moongate/formats.h"

#include <math.h>

static const struct {
    enum mg_shape shape;
    const char *name;
} kinds[] = {
    {MG_SHAPE_RASTER, "raster"}, {MG_SHAPE_FRAMES, "animation"}, {MG_SHAPE_TABLE, "table"},
    {MG_SHAPE_TEXT, "page"},     {MG_SHAPE_JSON, "plain values"}, {MG_SHAPE_NAMED, "named results"},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const char *const type_names[] = {
    [MG_OPT_INT] = "integer", [MG_OPT_NUMBER] = "number", [MG_OPT_BOOL] = "boolean", [MG_OPT_ENUM] = "enum",
    [MG_OPT_STRING] = "string",
};

/* Beyond this a range is only there because doubles have one. */
static bool is_bounded(double limit) { return fabs(limit) < 1e100; }

static bool has_range(const struct mg_option *option)
{
    return (option->type == MG_OPT_INT || option->type == MG_OPT_NUMBER) && is_bounded(option->min) &&
           is_bounded(option->max);
}

/* As `kinds` of JSON: a word each. */
static json_t *kinds_json(const struct mg_codec *codec)
{
    json_t *list = json_array();
    for (size_t i = 0; i < KINDS; i++)
        if (codec->shapes & kinds[i].shape)
            json_array_append_new(list, json_string(kinds[i].name));
    return list;
}

static json_t *split(const char *text)
{
    json_t *list = json_array();
    struct mg_span rest = mg_span(text), part;
    while (text && mg_span_cut(&rest, ',', &part))
        json_array_append_new(list, json_stringn(part.data, part.len));
    return list;
}

/* The default in the option's own type; null: unset. */
static json_t *default_json(const struct mg_codec *codec, size_t i)
{
    const struct mg_option *option = &codec->options[i];
    struct mg_option_value value;
    size_t index;
    if (!option->fallback)
        return json_null();
    if (option->type == MG_OPT_ENUM || option->type == MG_OPT_STRING ||
        mg_option_parse(codec, mg_span(option->name), mg_span(option->fallback), &index, &value, NULL) != MG_OK)
        return json_string(option->fallback);
    if (option->type == MG_OPT_BOOL)
        return json_boolean(value.number != 0);
    return value.number == floor(value.number) ? json_integer((json_int_t)value.number) : json_real(value.number);
}

static json_t *limit_json(double limit)
{
    return limit == floor(limit) && fabs(limit) < 1e15 ? json_integer((json_int_t)limit) : json_real(limit);
}

static json_t *option_json(const struct mg_codec *codec, size_t i)
{
    const struct mg_option *option = &codec->options[i];
    json_t *row = json_pack("{s:s++, s:s, s:o, s:s}", "name", codec->name, ".", option->name, "type",
                            type_names[option->type], "default", default_json(codec, i), "help", option->help);
    if (has_range(option) || option->type == MG_OPT_STRING) {
        json_object_set_new(row, option->type == MG_OPT_STRING ? "min_bytes" : "min", limit_json(option->min));
        json_object_set_new(row, option->type == MG_OPT_STRING ? "max_bytes" : "max", limit_json(option->max));
    }
    if (option->type == MG_OPT_ENUM)
        json_object_set_new(row, "values", split(option->values));
    return row;
}

json_t *mg_formats_json(void)
{
    json_t *list = json_array();
    const struct mg_codec *codec;
    for (size_t i = 0; (codec = mg_codec_at(i)); i++) {
        json_t *options = json_array();
        for (size_t k = 0, n = mg_option_count(codec); k < n; k++)
            json_array_append_new(options, option_json(codec, k));
        json_t *row = json_pack("{s:s, s:o, s:s, s:s, s:o, s:b, s:b, s:o}", "name", codec->name, "aliases",
                                split(codec->aliases), "mime", codec->mime, "extension", codec->extension, "kinds",
                                kinds_json(codec), "needs_geometry", codec->needs_geometry, "tiles_only",
                                codec->tile_only, "options", options);
        if (codec->shapes & MG_SHAPE_RASTER) {
            json_t *samples = json_array();
            for (int s = 0; s < MG_SAMPLE_COUNT; s++)
                if (codec->samples & MG_SAMPLE_BIT(s))
                    json_array_append_new(samples, json_string(mg_sample_name((enum mg_sample)s)));
            json_object_set_new(row, "samples", samples);
            json_object_set_new(row, "max_bands", json_integer(codec->max_bands));
        }
        json_array_append_new(list, row);
    }
    return json_pack("{s:o}", "formats", list);
}

void mg_format_kinds(const struct mg_codec *codec, const char *separator, struct mg_buf *out)
{
    bool first = true;
    for (size_t i = 0; i < KINDS; i++) {
        if (!(codec->shapes & kinds[i].shape))
            continue;
        mg_buf_str(out, first ? "" : separator);
        mg_buf_str(out, kinds[i].name);
        if (kinds[i].shape == MG_SHAPE_TABLE && codec->needs_geometry)
            mg_buf_str(out, " with geometry");
        if (kinds[i].shape == MG_SHAPE_TABLE && codec->tile_only)
            mg_buf_str(out, " (tiles)");
        first = false;
    }
}

void mg_option_describe(const struct mg_option *option, struct mg_buf *out)
{
    struct mg_span values = mg_span(option->values), one;
    const char *separator = "";
    switch (option->type) {
    case MG_OPT_BOOL:
        mg_buf_str(out, "true or false");
        break;
    case MG_OPT_ENUM:
        while (mg_span_cut(&values, ',', &one)) {
            mg_buf_str(out, separator);
            mg_buf_put(out, one.data, one.len);
            separator = "/";
        }
        break;
    case MG_OPT_STRING:
        mg_buf_printf(out, option->max < 1e6 ? "text of at most %.0f bytes" : "text", option->max);
        break;
    case MG_OPT_INT:
    case MG_OPT_NUMBER:
        mg_buf_str(out, option->type == MG_OPT_INT ? "whole number" : "number");
        if (has_range(option))
            mg_buf_printf(out, " from %.10g to %.10g", option->min, option->max);
        break;
    }
    if (option->fallback && option->fallback[0])
        mg_buf_printf(out, ", default %s", option->fallback);
}

/* ---- Markdown ---------------------------------------------------------------------------------------- */

static void put_names(const struct mg_codec *codec, const char *before, const char *after, struct mg_buf *out)
{
    struct mg_span aliases = mg_span(codec->aliases), alias;
    mg_buf_printf(out, "%s%s%s", before, codec->name, after);
    while (codec->aliases && mg_span_cut(&aliases, ',', &alias))
        mg_buf_printf(out, ", %s%.*s%s", before, (int)alias.len, alias.data, after);
}

void mg_formats_markdown(struct mg_buf *out)
{
    const struct mg_codec *codec;
    mg_buf_str(out, "| format | holds | options |\n|---|---|---|\n");
    for (size_t i = 0; (codec = mg_codec_at(i)); i++) {
        mg_buf_str(out, "| ");
        put_names(codec, "`", "`", out);
        mg_buf_str(out, " | ");
        mg_format_kinds(codec, ", ", out);
        mg_buf_str(out, " | ");
        for (size_t k = 0, n = mg_option_count(codec); k < n; k++) {
            mg_buf_printf(out, "%s`%s.%s` (", k ? "; " : "", codec->name, codec->options[k].name);
            mg_option_describe(&codec->options[k], out);
            mg_buf_str(out, ")");
        }
        mg_buf_str(out, " |\n");
    }
}

/* ---- HTML -------------------------------------------------------------------------------------------- */

static void put_html(struct mg_buf *out, const char *text) { mg_buf_html(out, text, strlen(text)); }

static void put_section(const struct mg_codec *codec, struct mg_buf *out)
{
    struct mg_buf text;
    mg_buf_init(&text, 0);
    mg_buf_printf(out, "<section id=\"%s\"><h2>", codec->name);
    put_names(codec, "<code>", "</code>", out);
    mg_buf_str(out, "</h2>\n<p>");
    mg_format_kinds(codec, ", ", &text);
    put_html(out, text.data ? text.data : "");
    mg_buf_str(out, " &middot; <code>");
    put_html(out, codec->mime);
    mg_buf_str(out, "</code></p>\n");
    size_t n = mg_option_count(codec);
    if (n)
        mg_buf_str(out, "<table><tr><th>option<th>value<th>what it does</tr>\n");
    for (size_t k = 0; k < n; k++) {
        text.len = 0;
        mg_option_describe(&codec->options[k], &text);
        mg_buf_printf(out, "<tr><td><code>%s.%s</code><td>", codec->name, codec->options[k].name);
        put_html(out, text.data ? text.data : "");
        mg_buf_str(out, "<td>");
        put_html(out, codec->options[k].help);
        mg_buf_str(out, "</tr>\n");
    }
    mg_buf_str(out, n ? "</table></section>\n" : "</section>\n");
    mg_buf_fini(&text);
}

void mg_formats_html(struct mg_buf *out)
{
    const struct mg_codec *codec;
    mg_buf_str(out, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Moongate: formats</title>\n"
                    "<meta name=\"viewport\" content=\"width=device-width\">\n"
                    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
                    "h2{margin:1.5em 0 0}p{margin:.2em 0 .6em;color:#555}table{border-collapse:collapse;width:100%}"
                    "th,td{text-align:left;vertical-align:top;padding:.3em .8em .3em 0;border-top:1px solid #ddd}"
                    "nav a{margin-right:.6em}</style>\n"
                    "<h1>Formats</h1>\n<p>Choose one by <code>format=</code>, by the URL&#39;s extension, or for each "
                    "kind by <code>dtype_out_raster=</code> and <code>dtype_out_vector=</code>; options are parameters: "
                    "<code>jpg.quality=90</code>. The same list as JSON: <a href=\"?format=json\">?format=json</a>.</p>\n"
                    "<nav>");
    for (size_t i = 0; (codec = mg_codec_at(i)); i++)
        mg_buf_printf(out, "<a href=\"#%s\">%s</a>\n", codec->name, codec->name);
    mg_buf_str(out, "</nav>\n");
    for (size_t i = 0; (codec = mg_codec_at(i)); i++)
        put_section(codec, out);
    mg_buf_str(out, "</html>\n");
}
