/* Tile maths of the Web Mercator pyramid: closed formulas, no state.
 *
 * Source: EPSG guidance note 7-2 (Popular Visualisation Pseudo-Mercator), OGC 17-083r4
 * (WebMercatorQuad). */
#include "moongate/tile.h"

#include <math.h>

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

bool mg_tile_valid(struct mg_tile tile)
{
    if (tile.z < 0 || tile.z > MG_TILE_MAX_ZOOM)
        return false;
    int32_t side = (int32_t)1 << tile.z;
    return tile.x >= 0 && tile.y >= 0 && tile.x < side && tile.y < side;
}

struct mg_bounds mg_tile_bounds_merc(struct mg_tile tile)
{
    /* ldexp keeps shared edges of neighbours bit-equal. */
    double xmin = ldexp(tile.x, 1 - tile.z) - 1, xmax = ldexp(tile.x + 1.0, 1 - tile.z) - 1;
    double ymax = 1 - ldexp(tile.y, 1 - tile.z), ymin = 1 - ldexp(tile.y + 1.0, 1 - tile.z);
    return (struct mg_bounds){xmin * MG_MERC_MAX, ymin * MG_MERC_MAX, xmax * MG_MERC_MAX,
                              ymax * MG_MERC_MAX};
}

void mg_lnglat_to_merc(double lng, double lat, double *x, double *y)
{
    double limited = fmax(-MG_MERC_MAX_LAT, fmin(MG_MERC_MAX_LAT, lat));
    *x = lng / 180 * MG_MERC_MAX;
    *y = asinh(tan(limited * (M_PI / 180))) / M_PI * MG_MERC_MAX;
}

void mg_merc_to_lnglat(double x, double y, double *lng, double *lat)
{
    *lng = x / MG_MERC_MAX * 180;
    *lat = atan(sinh(y / MG_MERC_MAX * M_PI)) * (180 / M_PI);
}

struct mg_bounds mg_tile_bounds(struct mg_tile tile)
{
    struct mg_bounds m = mg_tile_bounds_merc(tile), out;
    mg_merc_to_lnglat(m.xmin, m.ymin, &out.xmin, &out.ymin);
    mg_merc_to_lnglat(m.xmax, m.ymax, &out.xmax, &out.ymax);
    return out;
}

static int zoom_limited(int z)
{
    return z < 0 ? 0 : z > MG_TILE_MAX_ZOOM ? MG_TILE_MAX_ZOOM : z;
}

/* NaN gives 0. */
static int32_t index_of(double unit, int z)
{
    double side = ldexp(1, z), at = floor(unit * side);
    if (!(at > 0))
        return 0;
    return (int32_t)fmin(at, side - 1);
}

struct mg_tile mg_tile_at(double lng, double lat, int z)
{
    double x, y;
    z = zoom_limited(z);
    mg_lnglat_to_merc(lng, lat, &x, &y);
    return (struct mg_tile){z, index_of(x / (2 * MG_MERC_MAX) + 0.5, z),
                            index_of(0.5 - y / (2 * MG_MERC_MAX), z)};
}

int mg_tile_estimate_zoom(struct mg_bounds bounds, int target_tiles)
{
    double x0, y0, x1, y1;
    double xmax = bounds.xmax < bounds.xmin ? bounds.xmax + 360 : bounds.xmax;
    mg_lnglat_to_merc(bounds.xmin, bounds.ymin, &x0, &y0);
    mg_lnglat_to_merc(xmax, bounds.ymax, &x1, &y1);
    /* A point, and a line in its thin direction, still lie in one tile: one deepest tile is the
     * least side. */
    double least = ldexp(1, -MG_TILE_MAX_ZOOM);
    double w = fmax((x1 - x0) / (2 * MG_MERC_MAX), least);
    double h = fmax((y1 - y0) / (2 * MG_MERC_MAX), least);
    if (!isfinite(w) || !isfinite(h))
        return 0;
    double target = target_tiles < 1 ? 1 : target_tiles;
    return zoom_limited((int)lround(log2(target / (w * h)) / 2));
}

bool mg_tile_quadkey(struct mg_tile tile, char *out, size_t size)
{
    if (!mg_tile_valid(tile) || size <= (size_t)tile.z)
        return false;
    for (int i = 0; i < tile.z; i++) {
        int bit = tile.z - 1 - i;
        out[i] = (char)('0' + ((tile.x >> bit) & 1) + 2 * ((tile.y >> bit) & 1));
    }
    out[tile.z] = 0;
    return true;
}

bool mg_bounds_valid(struct mg_bounds b)
{
    if (!isfinite(b.xmin) || !isfinite(b.ymin) || !isfinite(b.xmax) || !isfinite(b.ymax))
        return false;
    if (b.xmin < -360 || b.xmax > 360 || b.ymin < -90 || b.ymax > 90 || b.ymin >= b.ymax)
        return false;
    if (b.xmin < b.xmax)
        return b.xmax - b.xmin <= 360;
    /* xmin > xmax says that the antimeridian is crossed; only true longitudes can say it. */
    return b.xmin > b.xmax && b.xmin <= 180 && b.xmax >= -180;
}

static bool ranges_meet(double a0, double a1, double b0, double b1)
{
    return a0 <= b1 && b0 <= a1;
}

bool mg_bounds_intersect(struct mg_bounds a, struct mg_bounds b)
{
    if (!ranges_meet(a.ymin, a.ymax, b.ymin, b.ymax))
        return false;
    bool a_crosses = a.xmin > a.xmax, b_crosses = b.xmin > b.xmax;
    if (a_crosses && b_crosses)
        return true;
    if (a_crosses)
        return b.xmax >= a.xmin || b.xmin <= a.xmax;
    if (b_crosses)
        return a.xmax >= b.xmin || a.xmin <= b.xmax;
    return ranges_meet(a.xmin, a.xmax, b.xmin, b.xmax);
}
