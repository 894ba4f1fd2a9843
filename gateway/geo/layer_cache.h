/* Layers that were read whole, kept by a warm worker: one batch, and an index of its boxes.
 * Worker process only; single thread. */
#ifndef MOONGATE_GEO_LAYER_CACHE_H
#define MOONGATE_GEO_LAYER_CACHE_H

#include "rtree.h"
#include "table_arrow.h"

enum { LAYER_CACHE_BYTES = 128 << 20, LAYER_CACHE_ENTRIES = 64 };

struct layer_key {
    const char *path, *layer, *where, *source_crs; /* all but path nullable */
    int64_t size, mtime_ns;
};
struct layer {
    struct mg_table *table;   /* one batch */
    struct mg_rtree *index;   /* NULL: no geometry */
    struct mg_bounds degrees; /* of all geometries; xmin > xmax: none */
    size_t bytes;
    bool too_big; /* a remembered refusal: no table */
};
/* Borrowed until the next put; NULL when it is not there or of another size or time. */
const struct layer *layer_cache_get(const struct layer_key *key);
/* Takes the layer's parts; evicts what was used longest ago. NULL (and freed) without memory. */
const struct layer *layer_cache_put(const struct layer_key *key, struct layer *layer);
void layer_fini(struct layer *layer);
/* Empties it (tests). */
void layer_cache_clear(void);

#endif
