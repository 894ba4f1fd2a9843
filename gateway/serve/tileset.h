/* What the map services (TileJSON, WMTS, OGC API Tiles) say of a UDF's tiles, from its meta.json and, for vector tiles,
 * from one of its tiles. Any thread. */
#ifndef MOONGATE_SERVE_TILESET_H
#define MOONGATE_SERVE_TILESET_H

#include "app.h"

#include "moongate/tile.h"
#include "moongate/tile_layers.h"

struct mg_tileset {
    const char *kind;        /* "vector", "raster"; NULL: the UDF does not say */
    const char *extension;   /* of a tile, "png"; "" where the UDF does not say */
    struct mg_bounds bounds; /* degrees; one that crosses the antimeridian is as wide as the world */
    int minzoom, maxzoom;
};
void mg_tileset_of(const struct mg_udf *udf, struct mg_tileset *out);
/* The tiles of a zoom that the bounds touch: min and max of columns and rows. */
void mg_tileset_limits(const struct mg_tileset *set, int z, struct mg_tile *first, struct mg_tile *last);
bool mg_tileset_has(const struct mg_tileset *set, struct mg_tile tile);
/* Metres a pixel (of 256 a tile) at the equator, and OGC's scale denominator (pixels of 0.28 mm). */
double mg_tileset_cell_m(int z);
double mg_tileset_scale(int z);

/* Calls `then` with the layers, now or later, on any thread: from meta.json ("moongate:fields"), else from the tile in
 * the middle of the UDF's view or bounds, run with the request's parameters; one layer without fields when that fails.
 * `layers` is a new reference. */
typedef void mg_tileset_then_f(struct mg_exchange *exchange, json_t *layers);
void mg_tileset_ask(struct mg_exchange *exchange, mg_tileset_then_f *then);

/* Sets exchange->udf and ->token from the token in the URL; false: the error was answered. */
bool mg_route_shared(struct mg_exchange *exchange, struct mg_span token);
void mg_route_json(struct mg_exchange *exchange, int status, json_t *value); /* takes value */
/* Writes the request's query, without the parameters of a protocol (exchange->protocol), in ASCII, with `first` ('?' or
 * '&') in front of it; nothing when there is none. */
void mg_route_put_query(const struct mg_exchange *exchange, char first, struct mg_buf *out);

#endif
