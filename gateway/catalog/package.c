/* Packages: files in memory, kept sorted by name. */
#include "moongate/package.h"

#include "udf.h"

#include "moongate/pack.h"

#include <stdio.h>
#include <stdlib.h>

bool mg_udf_name_valid(struct mg_span name)
{
    return catalog_udf_name(name);
}

void mg_package_free(struct mg_package *package)
{
    for (size_t i = 0; i < package->n; i++)
        mg_buf_fini(&package->files[i].bytes);
    free(package->files);
    *package = (struct mg_package){0};
}

static size_t place_of(const struct mg_package *package, const char *name, bool *found)
{
    size_t at = 0;
    int order = 1;
    while (at < package->n && (order = strcmp(package->files[at].name, name)) < 0)
        at++;
    *found = at < package->n && order == 0;
    return at;
}

const struct mg_package_file *mg_package_find(const struct mg_package *package, const char *name)
{
    bool found;
    size_t at = place_of(package, name, &found);
    return found ? &package->files[at] : NULL;
}

static struct mg_package_file *insert(struct mg_package *package, size_t at, const char *name)
{
    struct mg_package_file *more = realloc(package->files, (package->n + 1) * sizeof *more);
    if (!more)
        return NULL;
    package->files = more;
    memmove(more + at + 1, more + at, (package->n - at) * sizeof *more);
    package->n++;
    snprintf(more[at].name, sizeof more[at].name, "%s", name);
    mg_buf_init(&more[at].bytes, 0);
    return &more[at];
}

enum mg_err mg_package_put(struct mg_package *package, struct mg_span name, struct mg_span bytes,
                           struct mg_errmsg *err)
{
    char text[256];
    bool found;
    size_t total = bytes.len;
    snprintf(text, sizeof text, "%.*s", name.len < 255 ? (int)name.len : 255,
             name.data ? name.data : "");
    if (name.len == 0 || name.len > 255 || !mg_span_is(name, text) ||
        !(catalog_is_file_of_udf(text) || strcmp(text, "README.md") == 0))
        return mg_err_set(err, MG_E_PARAMETER,
                          "\"%.80s\" is no file of a UDF: there are Name.lua, modules (letters, "
                          "digits, _ and -, then "
                          ".lua), meta.json and README.md",
                          text);
    size_t at = place_of(package, text, &found);
    for (size_t i = 0; i < package->n; i++)
        total += found && i == at ? 0 : package->files[i].bytes.len;
    if (total > CATALOG_UDF_BYTES)
        return mg_err_set(err, MG_E_TOO_LARGE, "the files of a UDF are larger than %d bytes in all",
                          CATALOG_UDF_BYTES);
    if (!found && package->n == CATALOG_UDF_FILES)
        return mg_err_set(err, MG_E_TOO_LARGE, "a UDF has at most %d files", CATALOG_UDF_FILES);
    struct mg_package_file *file = found ? &package->files[at] : insert(package, at, text);
    if (!file)
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    mg_buf_fini(&file->bytes);
    mg_buf_init(&file->bytes, 0);
    mg_buf_put(&file->bytes, bytes.data, bytes.len);
    return mg_buf_status(&file->bytes, err);
}

void mg_package_write(const struct mg_package *package, struct mg_buf *out)
{
    mg_pack_int(out, (int64_t)package->n);
    for (size_t i = 0; i < package->n; i++) {
        mg_pack_str(out, package->files[i].name);
        mg_pack_bytes(out, package->files[i].bytes.data, package->files[i].bytes.len);
    }
}

enum mg_err mg_package_read(struct mg_span packed, struct mg_package *package,
                            struct mg_errmsg *err)
{
    struct mg_unpack in;
    enum mg_err status = MG_OK;
    mg_unpack_init(&in, packed.data, packed.len);
    size_t n = mg_unpack_count(&in, CATALOG_UDF_FILES);
    for (size_t i = 0; i < n && !status && !in.failed; i++) {
        struct mg_span name = mg_unpack_bytes(&in), bytes = mg_unpack_bytes(&in);
        if (!in.failed)
            status = mg_package_put(package, name, bytes, err);
    }
    if (!status && !mg_unpack_done(&in))
        status = mg_err_set(err, MG_E_BAD_FILE,
                            "the files of this UDF are damaged in the store: restore a backup");
    return status;
}

static enum mg_err rename_in_meta(struct mg_package *package, const char *to, struct mg_errmsg *err)
{
    const struct mg_package_file *file = mg_package_find(package, "meta.json");
    json_t *meta;
    char source[160];
    struct mg_buf text;
    if (!file)
        return MG_OK;
    enum mg_err status = mg_json_parse((struct mg_span){file->bytes.data, file->bytes.len},
                                       CATALOG_UDF_BYTES, &meta, err);
    if (status)
        return mg_err_prefix(err, MG_E_UDF_BROKEN, "meta.json");
    json_t *job = json_object_get(meta, "job_config");
    json_t *udf = json_object_get(json_array_get(json_object_get(job, "steps"), 0), "udf");
    snprintf(source, sizeof source, "%s.lua", to);
    if (json_object_get(job, "name"))
        json_object_set_new(job, "name", json_string(to));
    if (json_object_get(udf, "name"))
        json_object_set_new(udf, "name", json_string(to));
    if (json_object_get(udf, "source"))
        json_object_set_new(udf, "source", json_string(source));
    mg_buf_init(&text, 0);
    char *pretty = json_dumps(meta, JSON_INDENT(2));
    if (pretty)
        mg_buf_printf(&text, "%s\n", pretty);
    free(pretty);
    json_decref(meta);
    status = text.len ? mg_package_put(package, MG_SPAN("meta.json"),
                                       (struct mg_span){text.data, text.len}, err)
                      : mg_err_set(err, MG_E_NOMEM, "out of memory");
    mg_buf_fini(&text);
    return status;
}

enum mg_err mg_package_rename(struct mg_package *package, const char *from, const char *to,
                              struct mg_errmsg *err)
{
    char old_file[160], new_file[160];
    bool found;
    snprintf(old_file, sizeof old_file, "%s.lua", from);
    snprintf(new_file, sizeof new_file, "%s.lua", to);
    if (strcmp(from, to) == 0)
        return MG_OK;
    if (mg_package_find(package, new_file))
        return mg_err_set(err, MG_E_CONFLICT, "the UDF has a module %s: rename that first",
                          new_file);
    size_t at = place_of(package, old_file, &found);
    if (found) {
        struct mg_package_file moved = package->files[at];
        package->n--;
        memmove(package->files + at, package->files + at + 1, (package->n - at) * sizeof moved);
        enum mg_err status = mg_package_put(
            package, mg_span(new_file), (struct mg_span){moved.bytes.data, moved.bytes.len}, err);
        mg_buf_fini(&moved.bytes);
        if (status)
            return status;
    }
    return rename_in_meta(package, to, err);
}

enum mg_err mg_package_udf(const struct mg_package *package, const char *name, const char *source,
                           struct mg_udf **out, struct mg_errmsg *err)
{
    struct catalog_file *files = calloc(package->n + 1, sizeof *files);
    struct mg_udf *udf = files ? catalog_udf_new(mg_span(name), "", source) : NULL;
    size_t n = 0;
    if (!udf) {
        free(files);
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < package->n; i++)
        if (catalog_is_file_of_udf(package->files[i].name)) {
            snprintf(files[n].name, sizeof files[n].name, "%s", package->files[i].name);
            files[n++].bytes = package->files[i].bytes; /* lent */
        }
    enum mg_err status = catalog_udf_finish(udf, files, n, err);
    free(files);
    if (status)
        mg_udf_unref(&udf);
    else
        *out = udf;
    return status;
}
