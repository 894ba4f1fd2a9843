/* A static R-tree over boxes: packed by Hilbert order, built once, never changed. Any thread. */
#ifndef MOONGATE_GEO_RTREE_H
#define MOONGATE_GEO_RTREE_H

#include "moongate/buf.h"
#include "moongate/tile.h"
#include "pin.h"

struct mg_rtree;
/* Over n boxes; those with xmin > xmax are left out. NULL without memory. */
struct mg_rtree *mg_rtree_new(const struct mg_bounds *boxes, uint32_t n);
/* Appends it; and the same tree again, in those bytes (at a multiple of 8), which `pin` holds. NULL
 * when they cannot be a tree of `rows` boxes, or without memory. */
void mg_rtree_store(const struct mg_rtree *tree, struct mg_buf *out);
struct mg_rtree *mg_rtree_restore(struct mg_span stored, uint32_t rows, struct pin *pin);
void mg_rtree_free(struct mg_rtree **tree);
size_t mg_rtree_bytes(const struct mg_rtree *tree);
/* Boxes in it. */
uint32_t mg_rtree_count(const struct mg_rtree *tree);
/* Box of all; xmin > xmax when there is none. */
struct mg_bounds mg_rtree_bounds(const struct mg_rtree *tree);
/* Calls `hit` with each box that meets the query; `whole` says that it lies inside of it. In tree
 * order. */
void mg_rtree_query(const struct mg_rtree *tree, struct mg_bounds query,
                    void (*hit)(void *context, uint32_t id, bool whole), void *context);

#endif
