/* What lies in a vector tile. Any thread; the bytes are not trusted. */
#ifndef MOONGATE_TILE_LAYERS_H
#define MOONGATE_TILE_LAYERS_H

#include "moongate/json.h"

/* The list `vector_layers` of TileJSON from the bytes of a vector tile: each layer's id, and its fields as "String",
 * "Number" or "Boolean" ("Mixed" where features differ). Returns new; NULL when the bytes are no vector tile. */
json_t *mg_tile_layers(struct mg_span mvt);

#endif
