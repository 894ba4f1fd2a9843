/* The catalog: sources, and look-ups by name.
 *
 * Of several UDFs of one name the one of the source that was added last is seen; examples come after all others. */
#include "watch.h"

#include "moongate/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OVER_EXAMPLES = 1 << 20 }; /* rank of the first source that is none */

enum mg_err mg_catalog_open(struct mg_catalog **out, struct mg_errmsg *err)
{
    struct mg_catalog *catalog = calloc(1, sizeof *catalog);
    if (!catalog)
        return MG_E_NOMEM;
    catalog->inotify_fd = catalog->timer_fd = catalog->event_fd = catalog->epoll_fd = -1;
    pthread_rwlock_init(&catalog->lock, NULL);
    pthread_mutex_init(&catalog->tending, NULL);
    enum mg_err status = watch_open(catalog, err);
    if (status)
        mg_catalog_close(&catalog);
    else
        *out = catalog;
    return status;
}

void mg_catalog_close(struct mg_catalog **catalog_at)
{
    struct mg_catalog *catalog = *catalog_at;
    if (!catalog)
        return;
    *catalog_at = NULL;
    watch_close(catalog);
    saved_close(catalog);
    for (size_t i = 0; i < catalog->n_slots; i++)
        slot_free(catalog->slots[i]);
    for (size_t i = 0; i < catalog->n_sources; i++) {
        free(catalog->sources[i]->dir);
        free(catalog->sources[i]);
    }
    for (size_t i = 0; i < catalog->n_changed; i++)
        free(catalog->changed[i]);
    free(catalog->slots);
    free(catalog->sources);
    free(catalog->watches);
    free(catalog->changed);
    pthread_rwlock_destroy(&catalog->lock);
    pthread_mutex_destroy(&catalog->tending);
    free(catalog);
}

/* Returns a source that the catalog owns. */
static struct source *add_source(struct mg_catalog *catalog, const char *dir, const char *label)
{
    struct source *source = calloc(1, sizeof *source);
    struct source **more = realloc(catalog->sources, (catalog->n_sources + 1) * sizeof *more);
    MG_ASSERT(source && more);
    catalog->sources = more;
    source->dir = dir ? strdup(dir) : NULL;
    source->rank = (unsigned)catalog->n_sources + (strcmp(label, "example") == 0 ? 0 : OVER_EXAMPLES);
    snprintf(source->label, sizeof source->label, "%s", label);
    catalog->sources[catalog->n_sources++] = source;
    return source;
}

enum mg_err mg_catalog_add_dir(struct mg_catalog *catalog, const char *dir, const char *label, struct mg_errmsg *err)
{
    char path[PATH_MAX];
    if (!realpath(dir, path))
        return mg_err_set(err, MG_E_NOT_FOUND, "%s: %s; a folder with UDFs is expected", dir, strerror(errno));
    if (access(path, R_OK | X_OK) < 0)
        return mg_err_set(err, MG_E_FORBIDDEN, "%s: %s", dir, strerror(errno));
    if (path[1] == 0 || strlen(path) >= sizeof ((struct mg_udf *)0)->dir - 160)
        return mg_err_set(err, MG_E_INVALID, "%.200s cannot be served: give a folder of UDFs", path);
    pthread_mutex_lock(&catalog->tending);
    struct source *source = add_source(catalog, path, label);
    source->single = catalog_is_udf_dir(path, true);
    catalog->adding = true;
    watch_source(catalog, source);
    catalog->adding = false;
    bool any = false, folder = !source->gone;
    for (size_t i = 0; i < catalog->n_slots; i++)
        any = any || (catalog->slots[i]->source == source && catalog->slots[i]->udf);
    pthread_mutex_unlock(&catalog->tending);
    if (!folder)
        return mg_err_set(err, MG_E_NOT_FOUND, "%s is no folder", dir);
    if (!any)
        mg_log_warn("%s: no UDF there yet; a UDF is a folder Name/ with Name.lua (moongate new Name)", path);
    return MG_OK;
}

enum mg_err mg_catalog_add_code(struct mg_catalog *catalog, const char *name, const char *label, struct mg_span lua,
                                struct mg_span meta, struct mg_errmsg *err)
{
    if (!catalog_udf_name(mg_span(name)))
        return mg_err_set(err, MG_E_INVALID,
                          "\"%.100s\" cannot be the name of a UDF: it starts with a letter and consists of letters, "
                          "digits and _", name);
    if (lua.len + meta.len > CATALOG_UDF_BYTES)
        return mg_err_set(err, MG_E_TOO_LARGE, "%s: the code is larger than %d bytes", name, CATALOG_UDF_BYTES);
    struct catalog_file files[2] = {{.name = ""}}, last;
    size_t n = meta.data ? 2 : 1;
    snprintf(files[0].name, sizeof files[0].name, "%s.lua", name);
    snprintf(files[1].name, sizeof files[1].name, "meta.json");
    mg_buf_put(&files[0].bytes, lua.data, lua.len);
    mg_buf_put(&files[1].bytes, meta.data, meta.len);
    if (n == 2 && strcmp(files[0].name, files[1].name) > 0) {
        last = files[0];
        files[0] = files[1];
        files[1] = last;
    }
    struct mg_udf *udf = catalog_udf_new(mg_span(name), "", label);
    enum mg_err status = udf ? catalog_udf_finish(udf, files, n, err) : MG_E_NOMEM;
    mg_buf_fini(&files[0].bytes);
    mg_buf_fini(&files[1].bytes);
    if (!udf || status == MG_E_NOMEM) {
        mg_udf_unref(&udf);
        return status;
    }
    pthread_mutex_lock(&catalog->tending);
    struct slot *slot = NULL;
    for (size_t i = 0; i < catalog->n_slots && !slot; i++)
        if (!catalog->slots[i]->dir && strcmp(catalog->slots[i]->name, name) == 0)
            slot = catalog->slots[i];
    if (!slot)
        status = slot_add(catalog, add_source(catalog, NULL, label), mg_span(name), NULL, &slot);
    catalog->adding = true;
    if (slot)
        slot_set(catalog, slot, udf);
    else
        mg_udf_unref(&udf);
    catalog->adding = false;
    pthread_mutex_unlock(&catalog->tending);
    return slot ? MG_OK : status;
}

struct mg_udf *mg_catalog_find(struct mg_catalog *catalog, struct mg_span name)
{
    if (watch_pending(catalog)) {
        pthread_mutex_lock(&catalog->tending);
        watch_tend(catalog);
        pthread_mutex_unlock(&catalog->tending);
    }
    pthread_rwlock_rdlock(&catalog->lock);
    const struct slot *slot = slot_find(catalog, name);
    struct mg_udf *udf = slot ? catalog_udf_ref(slot->udf) : NULL;
    pthread_rwlock_unlock(&catalog->lock);
    return udf;
}

struct mg_udf **mg_catalog_list(struct mg_catalog *catalog, size_t *n)
{
    pthread_rwlock_rdlock(&catalog->lock);
    struct mg_udf **list = calloc(catalog->n_slots + 1, sizeof *list);
    MG_ASSERT(list);
    size_t count = 0;
    for (size_t i = 0; i < catalog->n_slots; i++) {
        const struct slot *slot = catalog->slots[i];
        if (slot->udf && (count == 0 || strcmp(list[count - 1]->name, slot->name) != 0))
            list[count++] = catalog_udf_ref(slot->udf);
    }
    pthread_rwlock_unlock(&catalog->lock);
    *n = count;
    return list;
}

int mg_catalog_fd(const struct mg_catalog *catalog) { return catalog->epoll_fd; }

void mg_catalog_tend(struct mg_catalog *catalog, void (*changed)(void *context, const char *name), void *context)
{
    uint64_t count;
    pthread_mutex_lock(&catalog->tending);
    watch_tend(catalog);
    while (read(catalog->event_fd, &count, sizeof count) > 0)
        continue;
    char **names = catalog->changed;
    size_t n = catalog->n_changed;
    catalog->changed = NULL;
    catalog->n_changed = catalog->cap_changed = 0;
    pthread_mutex_unlock(&catalog->tending);
    for (size_t i = 0; i < n; i++) {
        if (changed)
            changed(context, names[i]);
        free(names[i]);
    }
    free(names);
}
