/* What a raster file is, and the grid of a file call. */
#include "moongate/gdal.h"
#include "geo/raster_open.h"
#include "moongate/raster_read.h"

#include <math.h>
#include <stdio.h>
#include <strings.h>

enum { EDGE_POINTS = 21 };

static void bounds_of(const struct mg_source *s, struct mg_bounds *out)
{
    struct mg_raster like = {.width = s->width, .height = s->height};
    memcpy(like.geotransform, s->geotransform, sizeof like.geotransform);
    *out = mg_raster_bounds(&like);
}

static bool transform_bounds(OGRCoordinateTransformationH transform, const struct mg_bounds *in,
                             struct mg_bounds *out)
{
    struct mg_gdal_errors errors;
    mg_gdal_errors_begin(&errors);
    int ok = OCTTransformBounds(transform, in->xmin, in->ymin, in->xmax, in->ymax, &out->xmin,
                                &out->ymin, &out->xmax, &out->ymax, EDGE_POINTS);
    mg_gdal_errors_end();
    return ok && isfinite(out->xmin) && isfinite(out->ymin) && isfinite(out->xmax) &&
           isfinite(out->ymax);
}

/* Longitudes beyond 180 become an antimeridian crossing (xmin > xmax); a whole turn becomes the
 * world. */
static void normalise(struct mg_bounds *b)
{
    if (b->xmax - b->xmin >= 360 - 1e-9) {
        b->xmin = -180;
        b->xmax = 180;
    } else if (b->xmax > 180 && b->xmin >= 180) {
        b->xmin -= 360;
        b->xmax -= 360;
    } else if (b->xmin < -180 && b->xmax <= -180) {
        b->xmin += 360;
        b->xmax += 360;
    } else if (b->xmax > 180) {
        b->xmax -= 360;
    } else if (b->xmin < -180) {
        b->xmin += 360;
    }
    b->ymin = fmax(b->ymin, -90);
    b->ymax = fmin(b->ymax, 90);
}

static enum mg_err degrees_of(const struct mg_source *s, const char *name, struct mg_bounds *out,
                              struct mg_errmsg *err)
{
    struct mg_bounds own;
    OGRCoordinateTransformationH transform;
    bounds_of(s, &own);
    if (strcasecmp(s->crs, "EPSG:4326") == 0) {
        *out = own;
        normalise(out);
        return MG_OK;
    }
    enum mg_err code = mg_crs_transform(s->crs, "EPSG:4326", &transform, err);
    if (code != MG_OK)
        return mg_err_prefix(err, code, "%s", name);
    if (!transform_bounds(transform, &own, out))
        return mg_err_set(err, MG_E_NO_CRS,
                          "the place of %s on the earth cannot be computed from its CRS", name);
    normalise(out);
    return MG_OK;
}

enum mg_err mg_raster_info(const char *path, struct mg_raster_info *out, struct mg_errmsg *err)
{
    char name[256];
    struct mg_source *s;
    enum mg_err code = mg_source_get(path, &s, err);
    if (code != MG_OK)
        return code;
    mg_gdal_user_name(path, name, sizeof name);
    if (!s->crs && s->has_georef)
        return mg_err_set(err, MG_E_NO_CRS, "%s has no CRS: say which with source_crs (\"EPSG:…\")",
                          name);
    struct mg_raster_info info = {
        .width = s->width,
        .height = s->height,
        .bands = s->bands,
        .sample = s->sample,
        .has_georef = s->has_georef,
        .has_overviews = s->n_levels > 1,
    };
    int has = 0;
    double nodata = GDALGetRasterNoDataValue(GDALGetRasterBand(s->dataset, 1), &has);
    info.has_nodata = has;
    info.nodata = has ? nodata : 0;
    memcpy(info.geotransform, s->geotransform, sizeof info.geotransform);
    memcpy(info.driver, s->driver, sizeof info.driver);
    if (s->crs && s->has_georef) {
        snprintf(info.crs, sizeof info.crs, "%s", s->crs);
        if ((code = degrees_of(s, name, &info.degrees, err)) != MG_OK)
            return code;
    }
    *out = info;
    return MG_OK;
}

/* Bounds in degrees in the file's CRS, x shifted by whole turns to where the file is. */
static enum mg_err in_file_crs(const struct mg_source *s, const char *crs, const char *name,
                               const struct mg_bounds *degrees, struct mg_bounds *out,
                               struct mg_errmsg *err)
{
    struct mg_bounds b = *degrees;
    double period = s->crs ? s->period : mg_crs_period(crs);
    if (!s->has_georef)
        return mg_err_set(err, MG_E_NO_CRS,
                          "%s has no geotransform, so it cannot be placed on a map", name);
    if (!crs)
        return mg_err_set(err, MG_E_NO_CRS,
                          "%s has no CRS, so bounds in degrees cannot be found in it: say which with "
                          "source_crs (\"EPSG:…\")",
                          name);
    if (strcasecmp(crs, "EPSG:4326") != 0) {
        OGRCoordinateTransformationH transform;
        enum mg_err code = mg_crs_transform("EPSG:4326", crs, &transform, err);
        if (code != MG_OK)
            return mg_err_prefix(err, code, "%s", name);
        if (!transform_bounds(transform, degrees, &b))
            return mg_err_set(err, MG_E_ARGUMENT,
                              "the bounds %g,%g,%g,%g have no place in the CRS of %s",
                              degrees->xmin, degrees->ymin, degrees->xmax, degrees->ymax, name);
    }
    if (period > 0) {
        struct mg_bounds own;
        bounds_of(s, &own);
        if (b.xmax < b.xmin)
            b.xmax += period;
        double turns =
            round(((own.xmin + own.xmax) / 2 - (b.xmin + b.xmax) / 2) / period) * period;
        b.xmin += turns;
        b.xmax += turns;
    }
    if (!(b.xmin < b.xmax) || !(b.ymin < b.ymax))
        return mg_err_set(err, MG_E_ARGUMENT,
                          "the bounds %g,%g,%g,%g have no area in the CRS of %s", degrees->xmin,
                          degrees->ymin, degrees->xmax, degrees->ymax, name);
    *out = b;
    return MG_OK;
}

static void intersect(struct mg_bounds *b, const struct mg_bounds *with)
{
    struct mg_bounds c = {fmax(b->xmin, with->xmin), fmax(b->ymin, with->ymin),
                          fmin(b->xmax, with->xmax), fmin(b->ymax, with->ymax)};
    /* Beside the file the bounds stay as asked: the answer is a raster of no data, not an error. */
    if (c.xmin < c.xmax && c.ymin < c.ymax)
        *b = c;
}

enum mg_err mg_grid_of_file(const char *path, const char *source_crs,
                            const struct mg_bounds *degrees, double resolution, int size_w,
                            int size_h, int max_side, struct mg_grid *out, char crs[4096],
                            struct mg_errmsg *err)
{
    char name[256];
    struct mg_source *s;
    struct mg_bounds own, b;
    enum mg_err code = mg_source_get(path, &s, err);
    if (code != MG_OK)
        return code;
    mg_gdal_user_name(path, name, sizeof name);
    if (!(resolution >= 0) || !isfinite(resolution) || size_w < 0 || size_h < 0)
        return mg_err_set(err, MG_E_ARGUMENT, "resolution and size are positive numbers");
    max_side = max_side < 1 || max_side > MG_RASTER_MAX_SIDE ? MG_RASTER_MAX_SIDE : max_side;
    if (size_w > max_side || size_h > max_side)
        return mg_err_set(err, MG_E_ARGUMENT, "a size of %d x %d: at most %d pixels a side", size_w,
                          size_h, max_side);
    const double *gt = s->geotransform;
    double native_x = hypot(gt[1], gt[4]), native_y = hypot(gt[2], gt[5]);
    const char *own_crs = s->crs ? s->crs : source_crs;
    bool rotated = gt[2] != 0 || gt[4] != 0;
    bounds_of(s, &own);
    b = own;
    if (degrees && (code = in_file_crs(s, own_crs, name, degrees, &b, err)) != MG_OK)
        return code;
    bool sized = size_w > 0 || size_h > 0,
         whole = !degrees || (b.xmin <= own.xmin && b.ymin <= own.ymin && b.xmax >= own.xmax &&
                              b.ymax >= own.ymax);
    if (degrees && !sized)
        intersect(&b, &own);
    struct mg_grid grid = {.crs = NULL};
    bool fits = s->width <= max_side && s->height <= max_side;
    if (!s->has_georef || (rotated && whole && !sized && resolution == 0 && fits)) {
        /* The file's own pixels, as they lie. */
        int w = sized && size_w ? size_w : s->width, h = sized && size_h ? size_h : s->height;
        double shrink = fmax(1, fmax((double)w / max_side, (double)h / max_side));
        w = (int)fmax(1, floor(w / shrink));
        h = (int)fmax(1, floor(h / shrink));
        for (int i = 0; i < 6; i++)
            grid.geotransform[i] = gt[i];
        for (int i = 1; i < 6; i += 3) {
            grid.geotransform[i] *= (double)s->width / w;
            grid.geotransform[i + 1] *= (double)s->height / h;
        }
        grid.width = w;
        grid.height = h;
    } else {
        double rx = resolution > 0 ? resolution : native_x,
               ry = resolution > 0 ? resolution : native_y;
        if (!sized && resolution == 0 && !rotated) {
            /* On the file's own pixels, so that values come out unchanged. */
            b.xmin = own.xmin + floor((b.xmin - own.xmin) / rx + 1e-6) * rx;
            b.xmax = own.xmin + ceil((b.xmax - own.xmin) / rx - 1e-6) * rx;
            b.ymax = own.ymax - floor((own.ymax - b.ymax) / ry + 1e-6) * ry;
            b.ymin = own.ymax - ceil((own.ymax - b.ymin) / ry - 1e-6) * ry;
        }
        double w = (b.xmax - b.xmin) / rx, h = (b.ymax - b.ymin) / ry;
        if (sized) {
            /* One side alone: the other follows from the shape. */
            w = size_w ? size_w : size_h * (b.xmax - b.xmin) / (b.ymax - b.ymin);
            h = size_h ? size_h : size_w * (b.ymax - b.ymin) / (b.xmax - b.xmin);
        }
        double shrink = fmax(1, fmax(w / max_side, h / max_side));
        grid.width = (int)fmin(max_side, fmax(1, round(w / shrink)));
        grid.height = (int)fmin(max_side, fmax(1, round(h / shrink)));
        /* A resolution that was asked for is kept exactly; the far edges move by less than a pixel.
         */
        double step_x = (b.xmax - b.xmin) / grid.width, step_y = (b.ymax - b.ymin) / grid.height;
        if (resolution > 0 && !sized && shrink == 1)
            step_x = rx, step_y = ry;
        const double result[6] = {b.xmin, step_x, 0, b.ymax, 0, -step_y};
        memcpy(grid.geotransform, result, sizeof result);
    }
    snprintf(crs, 4096, "%s", own_crs ? own_crs : "");
    grid.crs = own_crs && s->has_georef ? crs : NULL;
    *out = grid;
    return MG_OK;
}
