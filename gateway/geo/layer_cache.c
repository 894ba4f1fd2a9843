/* The cache of layers: a small table searched from end to end, bounded by bytes, evicted by last
 * use.
 *
 * Invariant: an entry with another size or mtime of the same path is never returned and is dropped
 * when seen. */
#include "layer_cache.h"

#include <stdlib.h>

struct entry {
    char *path, *layer, *where, *source_crs;
    int64_t size, mtime_ns;
    uint64_t used;
    struct layer value;
};
static struct entry entries[LAYER_CACHE_ENTRIES];
static uint64_t clock_now;
static size_t held;

void layer_fini(struct layer *layer)
{
    mg_table_unref(&layer->table);
    mg_rtree_free(&layer->index);
}

static void drop(struct entry *entry)
{
    held -= entry->value.bytes;
    layer_fini(&entry->value);
    free(entry->path);
    free(entry->layer);
    free(entry->where);
    free(entry->source_crs);
    *entry = (struct entry){0};
}

static bool equal(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

const struct layer *layer_cache_get(const struct layer_key *key)
{
    for (size_t i = 0; i < LAYER_CACHE_ENTRIES; i++) {
        struct entry *entry = &entries[i];
        if (!entry->path || strcmp(entry->path, key->path) != 0)
            continue;
        if (entry->size != key->size || entry->mtime_ns != key->mtime_ns) {
            drop(entry);
            continue;
        }
        if (equal(entry->layer, key->layer) && equal(entry->where, key->where) &&
            equal(entry->source_crs, key->source_crs)) {
            entry->used = ++clock_now;
            return &entry->value;
        }
    }
    return NULL;
}

static struct entry *oldest(void)
{
    struct entry *found = NULL;
    for (size_t i = 0; i < LAYER_CACHE_ENTRIES; i++)
        if (entries[i].path && (!found || entries[i].used < found->used))
            found = &entries[i];
    return found;
}

static bool copy(const char *text, char **out)
{
    return !text || (*out = strdup(text)) != NULL;
}

const struct layer *layer_cache_put(const struct layer_key *key, struct layer *layer)
{
    struct entry *slot = NULL, *old;
    while (held + layer->bytes > LAYER_CACHE_BYTES && (old = oldest()))
        drop(old);
    for (size_t i = 0; i < LAYER_CACHE_ENTRIES && !slot; i++)
        if (!entries[i].path)
            slot = &entries[i];
    if (!slot) {
        slot = oldest();
        drop(slot);
    }
    *slot = (struct entry){
        .size = key->size, .mtime_ns = key->mtime_ns, .used = ++clock_now, .value = *layer};
    held += layer->bytes;
    bool ok = copy(key->path, &slot->path) && copy(key->layer, &slot->layer) &&
              copy(key->where, &slot->where) && copy(key->source_crs, &slot->source_crs);
    *layer = (struct layer){0};
    if (!ok)
        drop(slot);
    return ok ? &slot->value : NULL;
}

void layer_cache_clear(void)
{
    for (size_t i = 0; i < LAYER_CACHE_ENTRIES; i++)
        if (entries[i].path)
            drop(&entries[i]);
}
