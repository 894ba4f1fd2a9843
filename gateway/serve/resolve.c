/* The UDF that a run means by a name: `Name`, `owner@host/Name`, or a folder from its own (`../Name`), of those that its
 * organisation can see. */
#include "engine_run.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* The UDF whose folder that is, seen under its name. */
static struct mg_udf *of_folder(struct mg_engine *engine, const char *org, const char *folder)
{
    struct mg_udf *found = NULL;
    char path[PATH_MAX];
    size_t n = 0;
    struct mg_udf **all = mg_catalog_list(engine->catalog, &n);
    for (size_t i = 0; i < n; i++) {
        if (!found && all[i]->dir[0] && realpath(all[i]->dir, path) && strcmp(path, folder) == 0) {
            found = mg_catalog_find_in(engine->catalog, org, mg_span(all[i]->name));
            if (found && !mg_hash_eq(&found->code, &all[i]->code))
                mg_udf_unref(&found);
        }
        mg_udf_unref(&all[i]);
    }
    free(all);
    return found;
}

enum mg_err mg_engine_resolve(void *context, const char *org, const struct mg_udf *from, struct mg_span name,
                              struct mg_udf **out, struct mg_errmsg *err)
{
    struct mg_engine *engine = context;
    char path[PATH_MAX + 1200], folder[PATH_MAX];
    int len = name.len > 1000 ? 1000 : (int)name.len;
    if (mg_span_starts(name, "https://") || mg_span_starts(name, "http://"))
        return mg_err_set(err, MG_E_ARGUMENT, "moon.run: %.*s: this server does not read repositories; copy the folder to where "
                          "its UDFs lie", len, name.data);
    const char *slash = name.len ? memchr(name.data, '/', name.len) : NULL;
    if (mg_span_starts(name, "./") || mg_span_starts(name, "../")) {
        snprintf(path, sizeof path, "%s/%.*s", from->dir, len, name.data);
        *out = from->dir[0] && !memchr(name.data, 0, name.len) && realpath(path, folder) ? of_folder(engine, org, folder)
                                                                                         : NULL;
        if (!*out)
            return mg_err_set(err, MG_E_NOT_FOUND, "moon.run: there is no UDF in the folder \"%.*s\" beside this one", len,
                              name.data);
        return MG_OK;
    }
    struct mg_span bare = name;
    if (slash) { /* owner@host/Name: the accounts of an organisation share their UDFs */
        struct mg_span owner = {name.data, (size_t)(slash - name.data)};
        const char *at = memchr(owner.data, '@', owner.len);
        struct mg_span host = at ? (struct mg_span){at + 1, (size_t)(slash - at - 1)} : owner;
        bare = (struct mg_span){slash + 1, name.len - owner.len - 1};
        if (!mg_span_is(host, org))
            return mg_err_set(err, MG_E_NOT_FOUND, "moon.run: there is no UDF \"%.*s\": none of this organisation's accounts is "
                              "%.*s", len, name.data, (int)owner.len, owner.data);
    }
    *out = mg_catalog_find_in(engine->catalog, org, bare);
    if (!*out)
        return mg_err_set(err, MG_E_NOT_FOUND, "moon.run: there is no UDF named \"%.*s\"",
                          name.len > 100 ? 100 : (int)name.len, name.data);
    return MG_OK;
}
