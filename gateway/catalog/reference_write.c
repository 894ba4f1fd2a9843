/* The reference as a page and as text for the terminal. */
#include "moongate/nearest.h"
#include "moongate/reference.h"

#include <stdio.h>
#include <stdlib.h>

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
    "content=\"width=device-width,initial-scale=1\"><title>Moongate: the Lua library</title>\n<style>"
    ":root{color-scheme:light "
    "dark;--ink:#1d2530;--dim:#5b6775;--line:#d8dee6;--paper:#fff;--soft:#f4f6f8;--link:#1f5fae}"
    "@media(prefers-color-scheme:dark){:root{--ink:#dde4ec;--dim:#97a4b2;--line:#36404b;--paper:#14181d;--"
    "soft:#1d232a;--link:#7db4f5}}"
    "body{font:15px/1.55 system-ui,sans-serif;margin:0;color:var(--ink);background:var(--paper)}"
    "nav{position:fixed;top:0;bottom:0;left:0;width:15rem;overflow:auto;padding:1rem;box-sizing:border-box;"
    "border-right:1px solid var(--line);font-size:13px}"
    "nav b{display:block;margin:.8rem 0 .1rem}nav "
    "a{display:block;color:var(--dim);text-decoration:none;overflow-wrap:anywhere}nav "
    "a:hover{color:var(--link)}"
    "main{margin-left:15rem;padding:1.5rem 2rem 4rem;max-width:56rem}h1{margin:0 0 .3rem;font-size:1.6rem}"
    "h2{margin:3rem 0 .5rem;padding-top:.5rem;border-top:1px solid var(--line);font-size:1.35rem}"
    "h3{margin:2rem 0 .3rem;font:600 15px ui-monospace,monospace}h3 a{color:inherit;text-decoration:none}"
    "pre{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:.6rem "
    ".8rem;overflow-x:auto;font:13px/1.45 ui-monospace,monospace}"
    "code{font:13px ui-monospace,monospace;background:var(--soft);border-radius:3px;padding:0 .2em}"
    "table{border-collapse:collapse;margin:.4rem 0}td{padding:.15rem .8rem .15rem "
    "0;vertical-align:top}td:first-child{white-space:nowrap}"
    "td i{color:var(--dim);font:13px ui-monospace,monospace}a{color:var(--link)}"
    "@media(max-width:700px){nav{position:static;width:auto;border:0}main{margin:0;padding:1rem}}"
    "</style></head><body>\n";

static void put_html(struct mg_buf *out, const char *text)
{
    mg_buf_html(out, text, strlen(text));
}

/* Text with `code` in it, a paragraph for each that is set apart by an empty line. */
static void put_doc(struct mg_buf *out, const char *text)
{
    bool open = false, code = false;
    for (const char *at = text; *at; at++) {
        if (*at == '\n' && at[1] == '\n') {
            mg_buf_str(out, code ? "</code></p>\n" : open ? "</p>\n" : "");
            open = code = false;
            continue;
        }
        if (*at == '\n' && !open)
            continue;
        if (!open) {
            mg_buf_str(out, "<p>");
            open = true;
        }
        if (*at == '`') {
            mg_buf_str(out, code ? "</code>" : "<code>");
            code = !code;
        } else {
            mg_buf_html(out, at, 1);
        }
    }
    mg_buf_str(out, code ? "</code></p>\n" : open ? "</p>\n" : "");
}

static void put_row(struct mg_buf *out, const json_t *p, const char *name)
{
    mg_buf_str(out, "<tr><td>");
    if (name) {
        mg_buf_str(out, "<code>");
        put_html(out, name);
        mg_buf_str(out,
                   json_is_true(json_object_get(p, "optional")) ? "?</code></td><td>" : "</code></td><td>");
    } else {
        mg_buf_str(out, "returns</td><td>");
    }
    mg_buf_str(out, "<i>");
    put_html(out, mg_json_str(p, "type", ""));
    mg_buf_str(out, "</i> ");
    put_html(out, mg_json_str(p, "doc", ""));
    mg_buf_str(out, "</td></tr>\n");
}

static void put_examples(struct mg_buf *out, const json_t *of)
{
    const json_t *list = json_object_get(of, "examples");
    for (size_t i = 0; i < json_array_size(list); i++) {
        mg_buf_str(out, "<pre>");
        put_html(out, json_string_value(json_array_get(list, i)));
        mg_buf_str(out, "</pre>\n");
    }
}

static void put_entry(struct mg_buf *out, const json_t *entry)
{
    const json_t *params = json_object_get(entry, "parameters"), *returns = json_object_get(entry, "returns");
    const char *name = mg_json_str(entry, "name", "");
    mg_buf_str(out, "<h3 id=\"");
    put_html(out, name);
    mg_buf_str(out, "\"><a href=\"#");
    put_html(out, name);
    mg_buf_str(out, "\">");
    put_html(out, mg_json_str(entry, "signature", name));
    mg_buf_str(out, "</a></h3>\n");
    put_doc(out, mg_json_str(entry, "doc", ""));
    if (json_array_size(params) + json_array_size(returns)) {
        mg_buf_str(out, "<table>");
        for (size_t i = 0; i < json_array_size(params); i++)
            put_row(out, json_array_get(params, i), mg_json_str(json_array_get(params, i), "name", ""));
        for (size_t i = 0; i < json_array_size(returns); i++)
            put_row(out, json_array_get(returns, i), NULL);
        mg_buf_str(out, "</table>\n");
    }
    put_examples(out, entry);
}

static void put_class(struct mg_buf *out, const json_t *class)
{
    const json_t *fields = json_object_get(class, "fields");
    const char *name = mg_json_str(class, "name", "");
    mg_buf_str(out, "<h3 id=\"");
    put_html(out, name);
    mg_buf_str(out, "\">");
    put_html(out, name);
    mg_buf_str(out, "</h3>\n");
    put_doc(out, mg_json_str(class, "doc", ""));
    mg_buf_str(out, "<table>");
    for (size_t i = 0; i < json_array_size(fields); i++)
        put_row(out, json_array_get(fields, i), mg_json_str(json_array_get(fields, i), "name", ""));
    mg_buf_str(out, "</table>\n");
}

static void put_links(struct mg_buf *out, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = mg_json_str(json_array_get(list, i), "name", "");
        mg_buf_str(out, "<a href=\"#");
        put_html(out, name);
        mg_buf_str(out, "\">");
        put_html(out, strncmp(name, "moon.", 5) == 0 ? name + 5 : name);
        mg_buf_str(out, "</a>");
    }
}

void mg_reference_html(const json_t *reference, struct mg_buf *out)
{
    const json_t *modules = json_object_get(reference, "modules");
    mg_buf_put(out, head, sizeof head - 1);
    mg_buf_str(out, "<nav><a href=\"/static/from-fused.html\">From Fused to Moongate</a><a "
                    "href=\"/formats\">Formats</a>\n");
    for (size_t i = 0; i < json_array_size(modules); i++) {
        const json_t *m = json_array_get(modules, i);
        if (!json_array_size(json_object_get(m, "entries")) &&
            !json_array_size(json_object_get(m, "classes")))
            continue;
        mg_buf_str(out, "<b>");
        put_html(out, mg_json_str(m, "name", ""));
        mg_buf_str(out, "</b>");
        put_links(out, json_object_get(m, "entries"));
        put_links(out, json_object_get(m, "classes"));
    }
    mg_buf_str(out, "</nav><main><h1>The Lua library</h1><p><code>local moon = require \"moon\"</code>; each "
                    "example here is a "
                    "test. In the terminal: <code>moongate docs NAME</code>.</p>\n");
    for (size_t i = 0; i < json_array_size(modules); i++) {
        const json_t *m = json_array_get(modules, i), *entries = json_object_get(m, "entries"),
                     *classes = json_object_get(m, "classes");
        if (!json_array_size(entries) && !json_array_size(classes))
            continue;
        mg_buf_str(out, "<h2>");
        put_html(out, mg_json_str(m, "name", ""));
        mg_buf_str(out, "</h2>\n");
        put_doc(out, mg_json_str(m, "doc", ""));
        put_examples(out, m);
        for (size_t j = 0; j < json_array_size(entries); j++)
            put_entry(out, json_array_get(entries, j));
        for (size_t j = 0; j < json_array_size(classes); j++)
            put_class(out, json_array_get(classes, j));
    }
    mg_buf_str(out, "</main></body></html>\n");
}

/* The first sentence. */
static void put_sentence(struct mg_buf *out, const char *doc)
{
    const char *end = strstr(doc, ". "), *line = strstr(doc, "\n\n");
    size_t len = end ? (size_t)(end - doc) + 1 : strlen(doc);
    if (line && (size_t)(line - doc) < len)
        len = (size_t)(line - doc);
    for (size_t i = 0; i < len; i++)
        mg_buf_char(out, doc[i] == '\n' ? ' ' : doc[i]);
}

static void text_rows(struct mg_buf *out, const json_t *list, const char *before)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i);
        const char *doc = mg_json_str(p, "doc", "");
        mg_buf_printf(out, "  %s%s%s%s%s%s%s\n", before, mg_json_str(p, "name", ""),
                      json_is_true(json_object_get(p, "optional")) ? "?" : "",
                      json_object_get(p, "name") ? ": " : "", mg_json_str(p, "type", ""), *doc ? "  -- " : "",
                      doc);
    }
}

static void text_indented(struct mg_buf *out, const char *text)
{
    struct mg_span rest = mg_span(text), line;
    while (mg_span_cut(&rest, '\n', &line))
        if (line.len || rest.len)
            mg_buf_printf(out, "    %.*s\n", (int)line.len, line.data);
}

static void text_one(struct mg_buf *out, const json_t *of)
{
    const json_t *examples = json_object_get(of, "examples");
    mg_buf_printf(out, "%s\n\n", mg_json_str(of, "signature", mg_json_str(of, "name", "")));
    if (*mg_json_str(of, "doc", ""))
        mg_buf_printf(out, "%s\n\n", mg_json_str(of, "doc", ""));
    text_rows(out, json_object_get(of, "parameters"), "");
    text_rows(out, json_object_get(of, "fields"), "");
    text_rows(out, json_object_get(of, "returns"), "returns ");
    for (size_t i = 0; i < json_array_size(examples); i++) {
        mg_buf_char(out, '\n');
        text_indented(out, json_string_value(json_array_get(examples, i)));
    }
}

/* "map" and "Raster:slope" are enough for "moon.map" and "moon.Raster:slope", "slope" for a method; letter
 * case is not needed. */
static bool is_named(const char *full, const char *name)
{
    size_t n = strlen(full), len = strlen(name);
    return n >= len && strcasecmp(full + n - len, name) == 0 &&
           (n == len || full[n - len - 1] == '.' || full[n - len - 1] == ':');
}

static void collect(const json_t *list, const char **words, size_t *n, size_t max)
{
    for (size_t i = 0; i < json_array_size(list) && *n + 1 < max; i++) {
        const char *name = mg_json_str(json_array_get(list, i), "name", ""), *dot = strrchr(name, '.'),
                   *colon = strrchr(name, ':');
        words[(*n)++] = name;
        words[(*n)++] = colon ? colon + 1 : dot ? dot + 1 : name;
    }
}

static size_t find(const json_t *list, const char *name, struct mg_buf *out)
{
    size_t found = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *of = json_array_get(list, i);
        if (!is_named(mg_json_str(of, "name", ""), name))
            continue;
        mg_buf_str(out, out->len ? "\n" : "");
        text_one(out, of);
        found++;
    }
    return found;
}

/* Fields of classes ("Raster:gt", "gt"), which are methods made in C. */
static size_t find_field(const json_t *classes, const char *name, struct mg_buf *out)
{
    size_t found = 0;
    for (size_t i = 0; i < json_array_size(classes); i++) {
        const json_t *class = json_array_get(classes, i), *fields = json_object_get(class, "fields");
        for (size_t j = 0; j < json_array_size(fields); j++) {
            char full[256];
            const json_t *field = json_array_get(fields, j);
            snprintf(full, sizeof full, "%s:%s", mg_json_str(class, "name", ""),
                     mg_json_str(field, "name", ""));
            if (!is_named(full, name))
                continue;
            mg_buf_printf(out, "%s%s\n  %s  %s\n", out->len ? "\n" : "", full, mg_json_str(field, "type", ""),
                          mg_json_str(field, "doc", ""));
            found++;
        }
    }
    return found;
}

static void list_module(const json_t *m, struct mg_buf *out)
{
    const json_t *lists[] = {json_object_get(m, "entries"), json_object_get(m, "classes")};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < json_array_size(lists[k]); i++) {
            const json_t *of = json_array_get(lists[k], i);
            mg_buf_printf(out, "  %-34s ", mg_json_str(of, "signature", mg_json_str(of, "name", "")));
            put_sentence(out, mg_json_str(of, "doc", ""));
            mg_buf_char(out, '\n');
        }
}

enum mg_err mg_reference_text(const json_t *reference, const char *name, struct mg_buf *out,
                              struct mg_errmsg *err)
{
    enum { MAX = 4096 };
    const json_t *modules = json_object_get(reference, "modules");
    size_t found = 0, n = 0;
    for (size_t i = 0; i < json_array_size(modules); i++) {
        const json_t *m = json_array_get(modules, i);
        if (name) {
            found += find(json_object_get(m, "entries"), name, out);
            found += find(json_object_get(m, "classes"), name, out);
            found += find_field(json_object_get(m, "classes"), name, out);
        } else if (json_array_size(json_object_get(m, "entries"))) {
            mg_buf_printf(out, "%s%s\n", out->len ? "\n" : "", mg_json_str(m, "name", ""));
            list_module(m, out);
            found++;
        }
    }
    for (size_t i = 0; name && !found && i < json_array_size(modules); i++) { /* a module by its name */
        const json_t *m = json_array_get(modules, i);
        if (strcasecmp(mg_json_str(m, "name", ""), name) == 0) {
            mg_buf_printf(out, "%s\n\n", mg_json_str(m, "doc", ""));
            list_module(m, out);
            found++;
        }
    }
    if (found)
        return mg_buf_status(out, err);
    const char **words = calloc(MAX, sizeof *words);
    if (!words)
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    for (size_t i = 0; i < json_array_size(modules); i++) {
        collect(json_object_get(json_array_get(modules, i), "entries"), words, &n, MAX);
        collect(json_object_get(json_array_get(modules, i), "classes"), words, &n, MAX);
    }
    const char *near = mg_nearest(mg_span(name), words, n);
    enum mg_err status = mg_err_set(err, MG_E_NOT_FOUND, "the library has no %.60s%s%s%s", name,
                                    near ? "; did you mean " : "; `moongate docs` lists all",
                                    near ? near : "", near ? "?" : "");
    free(words);
    return status;
}
