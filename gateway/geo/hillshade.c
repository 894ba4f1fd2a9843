/* Hillshade, slope and aspect by Horn's method, the figures of gdaldem.
 *
 * Source: B. K. P. Horn, "Hill shading and the reflectance map", Proc. IEEE 69 (1981). With the
 * window a b c d e f        dz/dx = ((a + 2d + g) - (c + 2f + i)) / (8 resolution) g h i dz/dy =
 * ((g + 2h + i) - (a + 2b + c)) / (8 resolution), rows from north to south the shade is 1 + 254
 * max(0, cos(angle between the normal and the sun)). In Web Mercator a metre of the grid is
 * cos(latitude) metres on the ground. Cost: one pass; a sum of each three columns is not kept, the
 * rows are. */
#include "geo/raster_cells.h"
#include "geo/raster_strip.h"
#include "geo/simd.h"
#include "moongate/raster_analysis.h"
#include "moongate/raster_ops.h"

#include <math.h>
#include <stdlib.h>
#include <strings.h>

struct sun {
    float sin_altitude, x,
        y; /* of the unit vector towards the sun, times what the gradient needs */
};

/* One row of the result: sx and sy scale the window's differences to slopes. */
MG_SIMD static void shade_row(const float *restrict up, const float *restrict mid,
                              const float *restrict down, float sx, float sy, struct sun sun,
                              float *restrict out, int n)
{
    for (int i = 0; i < n; i++) {
        float dx =
            ((up[i] + 2 * mid[i] + down[i]) - (up[i + 2] + 2 * mid[i + 2] + down[i + 2])) * sx;
        float dy =
            ((down[i] + 2 * down[i + 1] + down[i + 2]) - (up[i] + 2 * up[i + 1] + up[i + 2])) * sy;
        float cosine = (sun.sin_altitude + sun.x * dx + sun.y * dy) / sqrtf(1 + dx * dx + dy * dy);
        /* The middle does not enter Horn's sums; it still has to have data. */
        cosine += mid[i + 1] - mid[i + 1];
        float shade = 1 + 254 * cosine;
        out[i] = shade < 1 ? 1 : shade;
    }
}

/* Degrees of slope. */
static void slope_row(const float *up, const float *mid, const float *down, float sx, float sy,
                      float *out, int n)
{
    for (int i = 0; i < n; i++) {
        float dx =
            ((up[i] + 2 * mid[i] + down[i]) - (up[i + 2] + 2 * mid[i + 2] + down[i + 2])) * sx;
        float dy =
            ((down[i] + 2 * down[i + 1] + down[i + 2]) - (up[i] + 2 * up[i + 1] + up[i + 2])) * sy;
        out[i] = atanf(sqrtf(dx * dx + dy * dy)) * (float)(180 / M_PI) + (mid[i + 1] - mid[i + 1]);
    }
}

/* Degrees clockwise from north to where the slope faces; NaN where there is none. sx, sy are signed
 * as the grid's axes are: to the east, to the north. */
static void aspect_row(const float *up, const float *mid, const float *down, float sx, float sy,
                       float *out, int n)
{
    for (int i = 0; i < n; i++) {
        float east =
            ((up[i] + 2 * mid[i] + down[i]) - (up[i + 2] + 2 * mid[i + 2] + down[i + 2])) * sx;
        float north =
            ((down[i] + 2 * down[i + 1] + down[i + 2]) - (up[i] + 2 * up[i + 1] + up[i + 2])) * sy;
        float angle = atan2f(east, north) * (float)(180 / M_PI);
        angle = angle < 0 ? angle + 360 : angle;
        out[i] =
            east == 0 && north == 0 ? NAN : (angle >= 360 ? 0 : angle) + (mid[i + 1] - mid[i + 1]);
    }
}

/* Ground metres of one unit of the grid's y at row `row` (its centre) of a Web Mercator raster; 1
 * elsewhere. */
static double ground_scale(const struct mg_raster *dem, int row)
{
    if (!dem->crs || strcasecmp(dem->crs, "EPSG:3857") != 0)
        return 1;
    /* From the endless grid, so that a row is the same in each tile. */
    const double *gt = dem->geotransform;
    double column, first, y = gt[3] + (row + 0.5) * gt[5] + dem->width / 2.0 * gt[4];
    if (mg_grid_anchor(gt, &column, &first))
        y = (first + row + 0.5) * gt[5];
    return 1 / cosh(y / MG_MERC_MAX * M_PI);
}

enum figure { SHADE, SLOPE, ASPECT };

/* One figure of each window of 3 x 3; `sun` of a shade only. */
static enum mg_err walk(const struct mg_raster *dem, enum figure figure, double z_factor,
                        struct sun sun, struct mg_raster **out, struct mg_errmsg *err)
{
    static const char *const words[] = {"a hillshade", "a slope", "an aspect"};
    const double *gt = dem->geotransform;
    const char *what = words[figure];
    if (dem->bands != 1 || dem->width < 3 || dem->height < 3)
        return mg_err_set(err, MG_E_ARGUMENT,
                          "%s needs one band of at least 3 x 3 pixels, not %d of %d x %d", what,
                          dem->bands, dem->width, dem->height);
    if (!isfinite(z_factor))
        return mg_err_set(err, MG_E_ARGUMENT, "the z factor of %s is a number", what);
    double width = dem->has_georef ? hypot(gt[1], gt[4]) : 1,
           height = dem->has_georef ? hypot(gt[2], gt[5]) : 1;
    if (!(width > 0) || !(height > 0))
        return mg_err_set(err, MG_E_ARGUMENT, "the elevation raster has no resolution");
    /* A grid whose rows run northwards, or whose columns run westwards, has its axis turned. */
    double turn_x = dem->has_georef && gt[1] < 0 ? -1 : 1,
           turn_y = dem->has_georef && gt[5] > 0 ? -1 : 1;
    int w = dem->width, h = dem->height;
    size_t strips = ((size_t)w + MG_STRIP - 1) / MG_STRIP;
    float *rows = malloc(4 * strips * sizeof(union mg_strip));
    struct mg_raster *r = NULL;
    enum mg_err code =
        rows ? mg_raster_new(w - 2, h - 2, 1, figure == SHADE ? MG_U8 : MG_F32, &r, err)
             : mg_err_set(err, MG_E_NOMEM, "no memory for %s", what);
    if (code != MG_OK)
        goto out;
    if ((code = mg_raster_copy_georef(r, dem)) != MG_OK) {
        mg_err_set(err, code, "no memory for %s", what);
        goto out;
    }
    r->geotransform[0] += gt[1] + gt[2];
    r->geotransform[3] += gt[4] + gt[5];
    size_t row_floats = strips * (sizeof(union mg_strip) / sizeof(float));
    float *line[4] = {rows, rows + row_floats, rows + 2 * row_floats, rows + 3 * row_floats};
    for (int y = 0; y < h && code == MG_OK; y++) {
        float *now = line[y % 3];
        for (int x = 0; x < w; x += MG_STRIP) {
            union mg_strip strip;
            int n = w - x < MG_STRIP ? w - x : MG_STRIP;
            mg_strip_load(dem, 0, (size_t)y * (size_t)w + (size_t)x, n, false, &strip);
            memcpy(now + x, strip.f, (size_t)n * sizeof *now);
        }
        if (y < 2)
            continue;
        const float *up = line[(y - 2) % 3], *mid = line[(y - 1) % 3];
        double ground = ground_scale(dem, y - 1);
        float sx = (float)(turn_x * z_factor / (8 * width * ground)),
              sy = (float)(turn_y * z_factor / (8 * height * ground));
        if (figure == SHADE)
            shade_row(up, mid, now, sx, sy, sun, line[3], w - 2);
        else
            (figure == SLOPE ? slope_row : aspect_row)(up, mid, now, sx, sy, line[3], w - 2);
        for (int x = 0; x < w - 2 && code == MG_OK; x += MG_STRIP) {
            union mg_strip strip;
            int n = w - 2 - x < MG_STRIP ? w - 2 - x : MG_STRIP;
            memcpy(strip.f, line[3] + x, (size_t)n * sizeof *strip.f);
            code = mg_strip_store(r, 0, (size_t)(y - 2) * (size_t)(w - 2) + (size_t)x, n, false,
                                  &strip, err);
        }
    }
out:
    free(rows);
    if (code != MG_OK)
        mg_raster_unref(&r);
    else
        *out = r;
    return code;
}

enum mg_err mg_raster_hillshade(const struct mg_raster *dem, double azimuth, double altitude,
                                double z_factor, struct mg_raster **out, struct mg_errmsg *err)
{
    if (!(altitude >= 0 && altitude <= 90) || !isfinite(azimuth))
        return mg_err_set(
            err, MG_E_ARGUMENT,
            "azimuth and altitude of a hillshade are numbers, the altitude is 0 to 90");
    double alt = altitude * (M_PI / 180), az = azimuth * (M_PI / 180);
    /* dx falls to the east and dy to the north: a slope that faces the sun has a positive share. */
    struct sun sun = {(float)sin(alt), (float)(cos(alt) * sin(az)), (float)(cos(alt) * cos(az))};
    return walk(dem, SHADE, z_factor, sun, out, err);
}

enum mg_err mg_raster_slope(const struct mg_raster *dem, double z_factor, struct mg_raster **out,
                            struct mg_errmsg *err)
{
    return walk(dem, SLOPE, z_factor, (struct sun){0}, out, err);
}

enum mg_err mg_raster_aspect(const struct mg_raster *dem, struct mg_raster **out,
                             struct mg_errmsg *err)
{
    return walk(dem, ASPECT, 1, (struct sun){0}, out, err);
}
