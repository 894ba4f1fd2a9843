/* Tile maths: XYZ tiles of the Web Mercator pyramid (EPSG:3857, OGC WebMercatorQuad). Pure; any thread. */
#ifndef MOONGATE_TILE_H
#define MOONGATE_TILE_H

#include "moongate/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { MG_TILE_MAX_ZOOM = 24 };
#define MG_MERC_MAX 20037508.342789244 /* half the circumference, metres */
#define MG_MERC_MAX_LAT 85.051128779806604

struct mg_tile {
    int32_t z, x, y;
};

/* Degrees (EPSG:4326) or metres (EPSG:3857), as the name of the variable says. */
struct mg_bounds {
    double xmin, ymin, xmax, ymax;
};

/* 0 <= z <= 24, 0 <= x, y < 2^z. */
bool mg_tile_valid(struct mg_tile tile);
struct mg_bounds mg_tile_bounds(struct mg_tile tile);      /* degrees */
struct mg_bounds mg_tile_bounds_merc(struct mg_tile tile); /* metres */
struct mg_tile mg_tile_at(double lng, double lat, int z);
/* Zoom at which about `target_tiles` tiles cover the bounds (degrees); at most 24. */
int mg_tile_estimate_zoom(struct mg_bounds bounds, int target_tiles);
void mg_lnglat_to_merc(double lng, double lat, double *x, double *y);
void mg_merc_to_lnglat(double x, double y, double *lng, double *lat);
/* A quadkey of z digits; size > z. */
bool mg_tile_quadkey(struct mg_tile tile, char *out, size_t size);
/* xmin < xmax (or the antimeridian is crossed), ymin < ymax, all finite and in range. */
bool mg_bounds_valid(struct mg_bounds degrees);
bool mg_bounds_intersect(struct mg_bounds a, struct mg_bounds b);

#endif
