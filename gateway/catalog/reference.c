/* The annotations of the Lua library as data.
 *
 * A block of lines that start with "---" describes the line behind it: `function moon.map(…)`, `M.at = …`,
 * `function methods.slope(raster, …)`. Tags are @class, @field, @param, @return, @type, @overload; other lines
 * are text, and what stands between ```lua and ``` an example. The first block of a file is the module's.
 * Whatever is not annotated is not in the reference; a test holds it against the library as it runs. */
#include "moongate/reference.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

struct block {
    struct mg_buf doc, example;
    json_t *examples, *params, *returns, *fields;
    char class[128];
    char *type;
    bool any, in_example, heading;
};

struct file {
    json_t *module, *entries, *classes;
    char table[64];    /* "moon.tile" where the file ends in `moon.tile = M` */
    char methods[128]; /* the class that `methods` are of: the first of the file */
    struct {
        char variable[64], class[128];
    } locals[16];
    size_t n_locals;
    int line;
};

static void block_reset(struct block *b)
{
    mg_buf_fini(&b->doc);
    mg_buf_fini(&b->example);
    json_decref(b->examples);
    json_decref(b->params);
    json_decref(b->returns);
    json_decref(b->fields);
    free(b->type);
    *b = (struct block){
        .examples = json_array(), .params = json_array(), .returns = json_array(), .fields = json_array()};
    mg_buf_init(&b->doc, 0);
    mg_buf_init(&b->example, 0);
}

static struct mg_span trim(struct mg_span s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t'))
        s.data++, s.len--;
    while (s.len && strchr(" \t\r\n", s.data[s.len - 1]))
        s.len--;
    return s;
}

static json_t *text_of(struct mg_span s)
{
    s = trim(s);
    return json_stringn(s.data ? s.data : "", s.len);
}

/* Cuts a type off: up to a blank outside of brackets, but not behind a colon or a comma (`fun(a: b): c`). */
static struct mg_span cut_type(struct mg_span *rest)
{
    int depth = 0;
    char quote = 0;
    *rest = trim(*rest);
    struct mg_span whole = *rest;
    size_t i = 0;
    for (; i < whole.len; i++) {
        char c = whole.data[i];
        if (quote) {
            quote = c == quote ? 0 : quote;
            continue;
        }
        if (c == '"')
            quote = c;
        depth += strchr("({[<", c) != NULL;
        depth -= strchr(")}]>", c) != NULL;
        if (c == ' ' && depth <= 0 && !(i && strchr(":,|", whole.data[i - 1])))
            break;
    }
    *rest = trim((struct mg_span){whole.data + i, whole.len - i});
    return (struct mg_span){whole.data, i};
}

static struct mg_span cut_word(struct mg_span *rest)
{
    size_t i = 0;
    *rest = trim(*rest);
    while (i < rest->len && rest->data[i] != ' ')
        i++;
    struct mg_span word = {rest->data, i};
    *rest = trim((struct mg_span){rest->data + i, rest->len - i});
    return word;
}

static json_t *parameter_of(struct mg_span name, struct mg_span type, struct mg_span doc)
{
    bool optional = name.len && name.data[name.len - 1] == '?';
    name.len -= optional;
    return json_pack("{sosososb}", "name", text_of(name), "type", text_of(type), "doc", text_of(doc),
                     "optional", optional);
}

/* "fun(a: number, b?: string): moon.Raster" into parameters and returns; `self` first is left out. */
static void read_fun(struct mg_span type, json_t *params, json_t *returns)
{
    struct mg_span rest = trim(type);
    if (!mg_span_starts(rest, "fun("))
        return;
    size_t at = 4, from = 4;
    int depth = 1;
    for (; at < rest.len && depth > 0; at++) {
        char c = rest.data[at];
        depth += strchr("({[", c) != NULL;
        depth -= strchr(")}]", c) != NULL;
        if ((c == ',' && depth == 1) || depth == 0) {
            struct mg_span part = trim((struct mg_span){rest.data + from, at - from}), name;
            from = at + 1;
            if (part.len) {
                mg_span_cut(&part, ':', &name);
                if (!mg_span_is(trim(name), "self"))
                    json_array_append_new(
                        params, parameter_of(trim(name), part.data ? part : MG_SPAN("any"), MG_SPAN("")));
            }
        }
    }
    struct mg_span result = trim((struct mg_span){rest.data + at, rest.len - at});
    if (result.len > 1 && result.data[0] == ':') {
        result = trim((struct mg_span){result.data + 1, result.len - 1});
        json_array_append_new(returns, json_pack("{soss}", "type", text_of(result), "doc", ""));
    }
}

static void read_tag(struct block *b, struct mg_span text)
{
    struct mg_span rest = text, tag = cut_word(&rest);
    if (mg_span_is(tag, "@param")) {
        struct mg_span name = cut_word(&rest), type = cut_type(&rest);
        json_array_append_new(b->params, parameter_of(name, type, rest));
    } else if (mg_span_is(tag, "@return")) {
        struct mg_span type = cut_type(&rest);
        json_array_append_new(b->returns, json_pack("{soso}", "type", text_of(type), "doc", text_of(rest)));
    } else if (mg_span_is(tag, "@field")) {
        struct mg_span name = rest.len && rest.data[0] == '[' ? cut_type(&rest) : cut_word(&rest),
                       type = cut_type(&rest);
        json_array_append_new(b->fields, parameter_of(name, type, rest));
    } else if (mg_span_is(tag, "@class")) {
        struct mg_span name = cut_word(&rest);
        name.len -= name.len && name.data[name.len - 1] == ':';
        snprintf(b->class, sizeof b->class, "%.*s", (int)name.len, name.data);
    } else if (mg_span_is(tag, "@type") && mg_span_is(trim(rest), "moon, table")) {
        b->heading = true;
    } else if (mg_span_is(tag, "@type") || mg_span_is(tag, "@overload")) {
        free(b->type);
        b->type = strndup(rest.data ? rest.data : "", rest.len);
    }
}

static void read_comment(struct block *b, struct mg_span line)
{
    struct mg_span text = {line.data + 3, line.len - 3};
    b->any = true;
    if (text.len && text.data[0] == ' ')
        text.data++, text.len--;
    if (mg_span_starts(text, "```")) {
        if (b->in_example)
            json_array_append_new(b->examples,
                                  json_stringn(b->example.data ? b->example.data : "", b->example.len));
        b->in_example = !b->in_example;
        b->example.len = 0;
    } else if (b->in_example) {
        mg_buf_put(&b->example, text.data, text.len);
        mg_buf_char(&b->example, '\n');
    } else if (text.len && text.data[0] == '@') {
        read_tag(b, text);
    } else {
        mg_buf_put(&b->doc, text.data, text.len);
        mg_buf_char(&b->doc, '\n');
    }
}

static json_t *doc_of(const struct block *b)
{
    return text_of((struct mg_span){b->doc.data ? b->doc.data : "", b->doc.len});
}

static size_t name_length(const char *text)
{
    return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:");
}

/* The public name of what a line of code defines, and its parameters as they are written there. */
static bool name_of(const struct file *f, const char *code, char *out, size_t size, const char **args,
                    bool *method)
{
    bool function = strncmp(code, "function ", 9) == 0;
    const char *at = code + (function ? 9 : 0);
    size_t len = name_length(at), dot = len;
    const char *after = at + len + strspn(at + len, " ");
    *args = function && *after == '(' ? after + 1 : NULL;
    *method = false;
    if (!len || (!function && *after != '='))
        return false;
    while (dot && at[dot - 1] != '.' && at[dot - 1] != ':')
        dot--;
    if (!dot)
        return false;
    struct mg_span head = {at, dot - 1}, last = {at + dot, len - dot};
    const char *class = NULL;
    if (mg_span_is(head, "moon") || mg_span_starts(head, "moon.")) {
        snprintf(out, size, "%.*s", (int)len, at);
        return true;
    }
    if (mg_span_is(head, "M") && f->table[0]) {
        snprintf(out, size, "%s.%.*s", f->table, (int)last.len, last.data);
        return true;
    }
    if (mg_span_is(head, "methods") || mg_span_is(head, "c.methods"))
        class =
            f->methods[0] ? f->methods : "moon.Table"; /* a file without a class of its own adds to tables */
    for (size_t i = 0; i < f->n_locals; i++)
        if (mg_span_is(head, f->locals[i].variable))
            class = f->locals[i].class;
    if (!class || !*class || mg_span_starts(last, "__"))
        return false;
    *method = true;
    snprintf(out, size, "%s:%.*s", class, (int)last.len, last.data);
    return true;
}

/* "moon.map(...)", "raster:slope(z?)". */
static json_t *signature_of(const char *name, const json_t *params)
{
    struct mg_buf text;
    const char *colon = strchr(name, ':');
    mg_buf_init(&text, 0);
    if (colon) { /* of a class, an object of it: raster:slope */
        const char *from = colon;
        while (from > name && from[-1] != '.')
            from--;
        mg_buf_char(&text, (char)(*from >= 'A' && *from <= 'Z' ? *from + 32 : *from));
        mg_buf_str(&text, from + 1);
    } else {
        mg_buf_str(&text, name);
    }
    mg_buf_char(&text, '(');
    for (size_t i = 0; i < json_array_size(params); i++) {
        const json_t *p = json_array_get(params, i);
        mg_buf_printf(&text, "%s%s%s", i ? ", " : "", mg_json_str(p, "name", ""),
                      json_is_true(json_object_get(p, "optional")) ? "?" : "");
    }
    mg_buf_char(&text, ')');
    json_t *made = json_stringn(text.data ? text.data : "", text.len);
    mg_buf_fini(&text);
    return made;
}

static void add_entry(struct file *f, struct block *b, const char *code)
{
    char name[256];
    const char *args;
    bool method;
    if (!name_of(f, code, name, sizeof name, &args, &method))
        return;
    if (b->type)
        read_fun(mg_span(b->type), b->params, b->returns);
    bool callable = args || (b->type && strncmp(b->type, "fun(", 4) == 0);
    json_t *entry = json_pack("{sssisosOsOsO}", "name", name, "line", f->line, "doc", doc_of(b), "parameters",
                              b->params, "returns", b->returns, "examples", b->examples);
    json_object_set_new(entry, "signature", callable ? signature_of(name, b->params) : json_string(name));
    if (!callable && b->type)
        json_object_set_new(entry, "type", json_string(b->type));
    json_array_append_new(f->entries, entry);
}

static void add_class(struct file *f, struct block *b, const char *code)
{
    if (!f->methods[0] && json_array_size(b->fields))
        snprintf(f->methods, sizeof f->methods, "%s", b->class);
    if (strncmp(code, "local ", 6) == 0 && f->n_locals < sizeof f->locals / sizeof *f->locals) {
        size_t len = name_length(code + 6);
        snprintf(f->locals[f->n_locals].variable, sizeof f->locals->variable, "%.*s", (int)len, code + 6);
        snprintf(f->locals[f->n_locals++].class, sizeof f->locals->class, "%s", b->class);
    }
    /* moon.tile and the like are modules, and their functions entries of their own. */
    if (json_array_size(b->fields) == 0 && !b->doc.len)
        return;
    json_array_append_new(f->classes, json_pack("{sssisosOsO}", "name", b->class, "line", f->line, "doc",
                                                b->heading ? json_string("") : doc_of(b), "fields", b->fields,
                                                "examples", b->examples));
}

static void end_block(struct file *f, struct block *b, const char *code)
{
    if (!b->any)
        return;
    if (b->class[0])
        add_class(f, b, code);
    if (b->heading) {
        json_object_set_new(f->module, "doc", doc_of(b));
        json_object_set(f->module, "examples", b->examples);
    } else if (!b->class[0] || b->type) {
        add_entry(f, b, code);
    }
    block_reset(b);
}

/* `moon.tile = M`, `moon.html = setmetatable(M, …)` */
static void find_table(struct file *f, const char *text)
{
    for (const char *at = text; (at = strstr(at, "\nmoon.")) != NULL; at++) {
        size_t len = name_length(at + 1);
        const char *after = at + 1 + len;
        if (strncmp(after, " = M\n", 5) == 0 || strncmp(after, " = setmetatable(M,", 18) == 0)
            snprintf(f->table, sizeof f->table, "%.*s", (int)len, at + 1);
    }
}

static void read_module(const char *file, const char *text, json_t *modules)
{
    struct file f = {.entries = json_array(), .classes = json_array()};
    struct block b = {.any = false};
    struct mg_span rest = mg_span(text), line;
    char code[512];
    block_reset(&b);
    f.module = json_pack("{ss%sssss[]sOsO}", "name", file, strlen(file) - 4, "file", file, "doc", "",
                         "examples", "entries", f.entries, "classes", f.classes);
    find_table(&f, text);
    while (mg_span_cut(&rest, '\n', &line)) {
        f.line++;
        if (mg_span_starts(line, "---")) {
            read_comment(&b, line);
            continue;
        }
        snprintf(code, sizeof code, "%.*s", (int)(line.len < 500 ? line.len : 500),
                 line.data ? line.data : "");
        end_block(&f, &b, code);
    }
    end_block(&f, &b, "");
    block_reset(&b);
    json_decref(b.examples);
    json_decref(b.params);
    json_decref(b.returns);
    json_decref(b.fields);
    json_decref(f.entries);
    json_decref(f.classes);
    json_array_append_new(modules, f.module);
}

static int is_module(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && entry->d_name[0] != '.' && strcmp(entry->d_name + len - 4, ".lua") == 0;
}

static bool read_all(const char *path, struct mg_buf *out)
{
    char piece[16384];
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        mg_buf_put(out, piece, n);
    fclose(file);
    return !out->failed;
}

enum mg_err mg_reference_load(const char *lua_dir, json_t **out, struct mg_errmsg *err)
{
    char path[2048];
    struct dirent **files;
    enum mg_err status = MG_OK;
    snprintf(path, sizeof path, "%s/moon", lua_dir);
    int n = scandir(path, &files, is_module, alphasort);
    if (n < 0)
        return mg_err_set(err, MG_E_NO_FILE, "the Lua library is not in %s", path);
    json_t *modules = json_array();
    for (int i = 0; i < n; i++) {
        struct mg_buf text;
        mg_buf_init(&text, 1 << 20);
        snprintf(path, sizeof path, "%s/moon/%s", lua_dir, files[i]->d_name);
        if (!status && !read_all(path, &text))
            status = mg_err_set(err, MG_E_NO_FILE, "%s cannot be read", path);
        else if (!status)
            read_module(files[i]->d_name, text.data ? text.data : "", modules);
        mg_buf_fini(&text);
        free(files[i]);
    }
    free(files);
    if (status)
        json_decref(modules);
    else
        *out = json_pack("{so}", "modules", modules);
    return status;
}
