/* Slots: the index of a catalog, an array sorted by name and rank.
 *
 * Invariant: readers see, under the read lock, slots in order, each with a version that never changes. Cost: find is
 * a binary search; adding moves pointers. */
#include "watch.h"

#include "moongate/log.h"

#include <stdio.h>
#include <stdlib.h>

static void *grown(void *list, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return list;
    size_t more = *cap ? *cap * 2 : 16;
    void *larger = realloc(list, more * size);
    MG_ASSERT(larger); /* a few bytes at start or reload: nothing to go on with */
    *cap = more;
    return larger;
}

static int order(const struct slot *slot, struct mg_span name, unsigned rank)
{
    size_t have = strlen(slot->name), len = have < name.len ? have : name.len;
    int first = memcmp(slot->name, name.data, len);
    if (first)
        return first;
    if (have != name.len)
        return have < name.len ? -1 : 1;
    return slot->source->rank == rank ? 0 : slot->source->rank > rank ? -1 : 1;
}

/* The first slot that is not before (name, rank). */
static size_t position(const struct mg_catalog *catalog, struct mg_span name, unsigned rank)
{
    size_t low = 0, high = catalog->n_slots;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (order(catalog->slots[middle], name, rank) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct slot *slot_find(const struct mg_catalog *catalog, struct mg_span name)
{
    for (size_t i = position(catalog, name, UINT32_MAX); i < catalog->n_slots; i++) {
        struct slot *slot = catalog->slots[i];
        if (!mg_span_is(name, slot->name))
            break;
        if (slot->udf)
            return slot;
    }
    return NULL;
}

struct slot *slot_of_dir(struct mg_catalog *catalog, const struct source *source, const char *dir)
{
    /* A slot is called like its folder, and no two sources have one rank. */
    struct mg_span name = mg_span(strrchr(dir, '/') + 1);
    name.len = name.len < CATALOG_NAME_MAX ? name.len : CATALOG_NAME_MAX;
    size_t at = position(catalog, name, source->rank);
    struct slot *slot = at < catalog->n_slots ? catalog->slots[at] : NULL;
    return slot && slot->source == source && slot->dir && strcmp(slot->dir, dir) == 0 ? slot : NULL;
}

enum mg_err slot_add(struct mg_catalog *catalog, struct source *source, struct mg_span name, const char *dir,
                     struct slot **out)
{
    struct slot *slot = calloc(1, sizeof *slot);
    if (slot)
        slot->dir = dir ? strdup(dir) : NULL;
    if (!slot || (dir && !slot->dir)) {
        free(slot);
        return MG_E_NOMEM;
    }
    slot->source = source;
    snprintf(slot->name, sizeof slot->name, "%.*s", name.len < CATALOG_NAME_MAX ? (int)name.len : CATALOG_NAME_MAX,
             name.data);
    pthread_rwlock_wrlock(&catalog->lock);
    catalog->slots = grown(catalog->slots, catalog->n_slots, &catalog->cap_slots, sizeof *catalog->slots);
    size_t at = position(catalog, mg_span(slot->name), source->rank);
    memmove(catalog->slots + at + 1, catalog->slots + at, (catalog->n_slots - at) * sizeof *catalog->slots);
    catalog->slots[at] = slot;
    catalog->n_slots++;
    pthread_rwlock_unlock(&catalog->lock);
    *out = slot;
    return MG_OK;
}

void slot_free(struct slot *slot)
{
    mg_udf_unref(&slot->udf);
    free(slot->touched);
    free(slot->dir);
    free(slot);
}

void slot_remove(struct mg_catalog *catalog, struct slot *slot)
{
    watch_forget(catalog, slot, NULL);
    slot_set(catalog, slot, NULL);
    pthread_rwlock_wrlock(&catalog->lock);
    size_t at = 0;
    while (catalog->slots[at] != slot)
        at++;
    catalog->n_slots--;
    memmove(catalog->slots + at, catalog->slots + at + 1, (catalog->n_slots - at) * sizeof *catalog->slots);
    pthread_rwlock_unlock(&catalog->lock);
    slot_free(slot);
}

static void tell(struct mg_catalog *catalog, const char *name)
{
    if (catalog->adding)
        return; /* what is added is no news to whom adds it */
    for (size_t i = 0; i < catalog->n_changed; i++)
        if (strcmp(catalog->changed[i], name) == 0)
            return;
    char *copy = strdup(name);
    MG_ASSERT(copy);
    catalog->changed = grown(catalog->changed, catalog->n_changed, &catalog->cap_changed, sizeof *catalog->changed);
    catalog->changed[catalog->n_changed++] = copy;
    watch_wake(catalog);
}

void slot_set(struct mg_catalog *catalog, struct slot *slot, struct mg_udf *udf)
{
    if (!udf && !slot->udf)
        return;
    const struct slot *seen = slot_find(catalog, mg_span(slot->name));
    if (udf && !slot->udf && seen && seen != slot)
        mg_log_info("%s: %s takes the place of %s", slot->name,
                    slot->source->rank > seen->source->rank ? udf->dir : seen->udf->dir,
                    slot->source->rank > seen->source->rank ? seen->udf->dir : udf->dir);
    pthread_rwlock_wrlock(&catalog->lock);
    struct mg_udf *before = slot->udf;
    slot->udf = udf;
    pthread_rwlock_unlock(&catalog->lock);
    mg_udf_unref(&before);
    tell(catalog, slot->name);
}

static bool same_version(const struct mg_udf *a, const struct mg_udf *b)
{
    if (!a || !b || !a->broken != !b->broken)
        return false;
    return a->broken ? strcmp(a->broken, b->broken) == 0 : mg_hash_eq(&a->code, &b->code);
}

bool slot_read(struct mg_catalog *catalog, struct slot *slot, bool last)
{
    struct mg_udf *udf = NULL;
    struct mg_errmsg err = {""};
    slot->wanted = false;
    if (catalog_is_udf_dir(slot->dir, slot->udf != NULL || slot->source->single)) {
        enum mg_err status = mg_udf_read(slot->dir, slot->source->label, &udf, &err);
        if (!last && watch_reported(catalog)) { /* it may be the next save, begun before this read */
            mg_udf_unref(&udf);
            slot->wanted = true;
            return false;
        }
        if (!udf)
            mg_log_warn("%s: %s", slot->dir, err.text[0] ? err.text : mg_err_text(status));
        if (udf && udf->broken && !same_version(slot->udf, udf))
            mg_log_warn("%s: %s", slot->name, udf->broken);
    }
    if (same_version(slot->udf, udf))
        mg_udf_unref(&udf);
    else
        slot_set(catalog, slot, udf);
    return true;
}
