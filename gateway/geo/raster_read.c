/* Reading a raster onto a grid: which level of the file, which window of it, which kernel; block by
 * block.
 *
 * For a tile: 9 to 50 exact positions give all (approx_transform.c), the window that they span
 * comes from decoded chunks (raster_open.c), one pass makes the result (resample.c). The level is
 * the coarsest overview that is still as fine as the grid; what remains finer is met by wider
 * kernels, and, where a window would grow beyond reason, by thinned chunks. Large grids are read in
 * blocks, so that memory follows the block, not the file. Scale and offset of a band are not
 * applied: samples are the file's own. */
#include "geo/approx_transform.h"
#include "moongate/gdal.h"
#include "geo/raster_open.h"
#include "geo/raster_strip.h"
#include "geo/resample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
    BLOCK_SIDE = 512,
    BLOCK_SLACK = 16, /* a 512-pixel tile with its margin is one block */
    MAX_RATIO = 32,   /* kernels of more taps cost more than they improve */
    LEAST_BLOCK = 16, /* below this a block is not divided further */
};
static const double max_window_pixels = 64e6, large_window_pixels = 4e6, thin_above_pixels = 1.5e6;
static const size_t max_planes_bytes = (size_t)128 << 20;

struct reader {
    struct mg_source *source;
    const char *path;
    const struct mg_grid *grid;
    const struct mg_read_options *options;
    const int *bands;
    int n_bands;
    OGRCoordinateTransformationH transform, back; /* NULL: the same CRS, or `mercator` */
    bool mercator;                                /* the grid is EPSG:3857, the file EPSG:4326 */
    double period, centre;   /* source x is brought within half a period of the centre */
    double ratio_x, ratio_y; /* file pixels to one of the grid's */
    int level, factor;
    double level_x, level_y; /* file pixels to one pixel of the thinned level */
    struct mg_kernel kernel_x, kernel_y;
    bool unscaled, wide;
    struct mg_raster *out;
};

void mg_grid_of_tile(struct mg_tile tile, int size, int margin, struct mg_grid *out)
{
    struct mg_bounds b = mg_tile_bounds_merc(tile);
    double res = (b.xmax - b.xmin) / size;
    *out = (struct mg_grid){
        .crs = "EPSG:3857",
        .geotransform = {b.xmin - margin * res, res, 0, b.ymax + margin * res, 0, -res},
        .width = size + 2 * margin,
        .height = size + 2 * margin,
    };
}

static double wrap(double x, double period, double centre)
{
    return period > 0 ? x - period * round((x - centre) / period) : x;
}

/* Grid pixels to file pixels. */
static void to_source(void *context, double *x, double *y, int n)
{
    const struct reader *r = context;
    const double *gt = r->grid->geotransform, *inv = r->source->inverse;
    for (int i = 0; i < n; i++) {
        double px = gt[0] + x[i] * gt[1] + y[i] * gt[2], py = gt[3] + x[i] * gt[4] + y[i] * gt[5];
        if (r->mercator)
            mg_merc_to_lnglat(px, py, &px, &py);
        x[i] = px;
        y[i] = py;
    }
    if (r->transform) {
        struct mg_gdal_errors errors;
        mg_gdal_errors_begin(&errors);
        OCTTransform(r->transform, n, x, y, NULL);
        mg_gdal_errors_end();
    }
    for (int i = 0; i < n; i++) {
        double px = wrap(x[i], r->period, r->centre), py = y[i];
        bool ok = isfinite(px) && isfinite(py);
        x[i] = ok ? inv[0] + px * inv[1] + py * inv[2] : NAN;
        y[i] = ok ? inv[3] + px * inv[4] + py * inv[5] : NAN;
    }
}

/* A file pixel to grid pixels; false where it has no place there. */
static bool to_grid(const struct reader *r, double *x, double *y)
{
    const double *gt = r->source->geotransform;
    double inv[6], px = gt[0] + *x * gt[1] + *y * gt[2], py = gt[3] + *x * gt[4] + *y * gt[5];
    if (!GDALInvGeoTransform((double *)r->grid->geotransform, inv))
        return false;
    if (r->mercator) {
        if (fabs(py) >= 90)
            return false;
        px = wrap(px, 360, 0);
        px = px / 180 * MG_MERC_MAX;
        py = asinh(tan(py * (M_PI / 180))) / M_PI * MG_MERC_MAX;
    } else if (r->back) {
        struct mg_gdal_errors errors;
        mg_gdal_errors_begin(&errors);
        int ok = OCTTransform(r->back, 1, &px, &py, NULL);
        mg_gdal_errors_end();
        if (!ok)
            return false;
    }
    *x = inv[0] + px * inv[1] + py * inv[2];
    *y = inv[3] + px * inv[4] + py * inv[5];
    return isfinite(*x) && isfinite(*y);
}

static double outside_by(double v, double high)
{
    return v < 0 ? -v : v > high ? v - high : 0;
}

/* The grid pixel at which the scale is measured: its middle when the file is there, else the place
 * of the file's part that is nearest to the grid. */
static void find_focus(const struct reader *r, double *fx, double *fy)
{
    enum { STEPS = 4 };
    int w = r->grid->width, h = r->grid->height;
    double x = w / 2.0, y = h / 2.0, best = HUGE_VAL;
    *fx = x;
    *fy = y;
    to_source((void *)r, &x, &y, 1);
    if (x >= 0 && y >= 0 && x <= r->source->width && y <= r->source->height)
        return;
    for (int j = 0; j <= STEPS; j++) {
        for (int i = 0; i <= STEPS; i++) {
            x = (double)r->source->width * i / STEPS;
            y = (double)r->source->height * j / STEPS;
            if (!to_grid(r, &x, &y))
                continue;
            double away = outside_by(x, w) + outside_by(y, h);
            if (away < best) {
                best = away;
                *fx = fmin(fmax(x, 0), w);
                *fy = fmin(fmax(y, 0), h);
            }
        }
    }
}

static void measure_ratio(struct reader *r)
{
    double fx, fy;
    find_focus(r, &fx, &fy);
    double x[4] = {fx - 0.5, fx + 0.5, fx, fx}, y[4] = {fy, fy, fy - 0.5, fy + 0.5};
    to_source(r, x, y, 4);
    double rx = hypot(x[1] - x[0], x[3] - x[2]), ry = hypot(y[1] - y[0], y[3] - y[2]);
    r->ratio_x = isfinite(rx) && rx > 1e-9 ? rx : 1;
    r->ratio_y = isfinite(ry) && ry > 1e-9 ? ry : 1;
}

/* The coarsest level that is as fine as the grid, as gdalwarp chooses; then thinning while the
 * window of a block would be large. */
static void choose_level(struct reader *r)
{
    const struct mg_source *s = r->source;
    double ratio = fmin(r->ratio_x, r->ratio_y);
    for (int i = 1; i < s->n_levels; i++)
        if (fmin(s->levels[i].x_ratio, s->levels[i].y_ratio) <= ratio + 0.1)
            r->level = i;
    const struct mg_level *level = &s->levels[r->level];
    double rx = r->ratio_x / level->x_ratio, ry = r->ratio_y / level->y_ratio;
    double w = fmin(r->grid->width, BLOCK_SIDE), h = fmin(r->grid->height, BLOCK_SIDE);
    double pixels = fmin(w * rx, level->width) * fmin(h * ry, level->height);
    r->factor = 1;
    /* Nearest has no kernel that could grow, and is exact as long as it is not thinned. */
    double most = r->options->resampling == MG_NEAREST ? HUGE_VAL : MAX_RATIO;
    while (fmin(rx, ry) >= (pixels > thin_above_pixels ? 2 : most) && r->factor < 1 << 20) {
        r->factor *= 2;
        pixels /= 4;
        rx /= 2;
        ry /= 2;
    }
    r->level_x = level->x_ratio * r->factor;
    r->level_y = level->y_ratio * r->factor;
    if (s->n_levels == 1 && ratio >= 2 && (s->width > 512 || s->height > 512) && r->options->note) {
        char name[256], sentence[640];
        mg_gdal_user_name(r->path, name, sizeof name);
        snprintf(sentence, sizeof sentence,
                 "%s has no overviews and is read decimated; a COG answers faster: gdal_translate "
                 "-of COG in.tif "
                 "out.tif",
                 name);
        r->options->note(r->options->note_context, sentence);
    }
}

static enum mg_err set_transform(struct reader *r, struct mg_errmsg *err)
{
    struct mg_source *s = r->source;
    const char *from = r->grid->crs, *to = s->crs ? s->crs : r->options->source_crs;
    char name[256];
    r->period = s->crs ? s->period : mg_crs_period(to);
    if (from) {
        mg_gdal_user_name(r->path, name, sizeof name);
        if (!s->has_georef)
            return mg_err_set(err, MG_E_NO_CRS,
                              "%s has no geotransform, so it cannot be placed on a map", name);
        if (!to)
            return mg_err_set(err, MG_E_NO_CRS,
                              "%s has no CRS: say which with source_crs (\"EPSG:…\")", name);
        r->mercator = strcasecmp(from, "EPSG:3857") == 0 && strcasecmp(to, "EPSG:4326") == 0;
        if (!r->mercator && strcasecmp(from, to) != 0) {
            enum mg_err code = mg_crs_transform(from, to, &r->transform, err);
            if (code == MG_OK)
                code = mg_crs_transform(to, from, &r->back, err);
            if (code != MG_OK)
                return mg_err_prefix(err, code, "%s", name);
        }
    }
    double x = s->width / 2.0, y = s->height / 2.0;
    r->centre = s->geotransform[0] + x * s->geotransform[1] + y * s->geotransform[2];
    if (s->global) {
        /* Around the grid rather than the file: the file repeats, so nothing is lost and no seam
         * runs through. */
        double period = r->period;
        x = r->grid->width / 2.0;
        y = r->grid->height / 2.0;
        r->period = 0;
        to_source(r, &x, &y, 1);
        r->period = period;
        if (isfinite(x) && isfinite(y))
            r->centre = s->geotransform[0] + x * s->geotransform[1] + y * s->geotransform[2];
    }
    return MG_OK;
}

/* Window of the thinned level that the positions need; false when the file does not reach in. */
static bool window_of(const struct reader *r, const struct mg_patches *patches,
                      struct mg_window *win, double covered[4])
{
    const struct mg_level *level = &r->source->levels[r->level];
    double level_w = (double)level->width / r->factor, level_h = (double)level->height / r->factor;
    double x0 = patches->xmin / r->level_x, x1 = patches->xmax / r->level_x;
    double y0 = patches->ymin / r->level_y, y1 = patches->ymax / r->level_y;
    if (!(x0 <= x1) || !(y0 <= y1))
        return false;
    if (!r->source->global) {
        x0 = fmax(x0, 0);
        x1 = fmin(x1, level_w);
    }
    y0 = fmax(y0, 0);
    y1 = fmin(y1, level_h);
    if (x0 > x1 || y0 > y1)
        return false;
    /* Room for the kernel's taps, and one sample for rounding. */
    double left = 2 + (r->kernel_x.taps ? -r->kernel_x.first : 0), right = 2 + r->kernel_x.taps;
    double top = 2 + (r->kernel_y.taps ? -r->kernel_y.first : 0), bottom = 2 + r->kernel_y.taps;
    double fx = floor(x0) - left, fy = floor(y0) - top;
    double fw = ceil(x1) + right - fx, fh = ceil(y1) + bottom - fy;
    win->level = r->level;
    win->factor = r->factor;
    win->x = (int64_t)fx;
    win->y = (int64_t)fy;
    win->nearest = r->options->resampling == MG_NEAREST;
    win->mode = r->options->resampling == MG_MODE;
    win->w = fw * fh <= max_window_pixels ? (int)fw : INT32_MAX;
    win->h = fw * fh <= max_window_pixels ? (int)fh : INT32_MAX;
    covered[0] = r->source->global ? floor(x0) - fx : 0 - fx;
    covered[2] = r->source->global ? ceil(x1) - fx : level_w - fx;
    covered[1] = 0 - fy;
    covered[3] = level_h - fy;
    /* Positions beyond the window's own part cannot occur; the fast loops need a place that is
     * within it. */
    covered[0] = fmax(covered[0], left);
    covered[1] = fmax(covered[1], top);
    covered[2] = fmin(covered[2], ceil(x1) - fx + 1);
    covered[3] = fmin(covered[3], ceil(y1) - fy + 1);
    return covered[0] < covered[2] && covered[1] < covered[3];
}

static enum mg_err put_row(struct reader *r, int band, int x, int y, int n, const void *row,
                           uint8_t *valid, struct mg_errmsg *err)
{
    struct mg_raster *out = r->out;
    size_t at = (size_t)y * (size_t)out->width + (size_t)x;
    uint8_t *to = (uint8_t *)mg_raster_samples(out, band) + at * mg_sample_bytes(out->sample);
    int missing = r->wide ? mg_samples_from_double(row, out->sample, to, valid, n)
                          : mg_samples_from_float(row, out->sample, to, valid, n);
    if (missing == 0)
        return MG_OK;
    enum mg_err code = mg_raster_need_mask(out, err);
    if (code == MG_OK)
        memcpy(out->mask + (size_t)band * (size_t)out->width * (size_t)out->height + at, valid,
               (size_t)n);
    return code;
}

/* Everything of a block is no data. */
static enum mg_err put_nothing(struct reader *r, int x0, int y0, int w, int h,
                               struct mg_errmsg *err)
{
    struct mg_raster *out = r->out;
    bool real = mg_sample_is_float(out->sample);
    enum mg_err code = real ? MG_OK : mg_raster_need_mask(out, err);
    if (code != MG_OK)
        return code;
    for (int band = 0; band < out->bands; band++) {
        for (int y = y0; y < y0 + h; y++) {
            size_t at = (size_t)y * (size_t)out->width + (size_t)x0;
            if (!real)
                memset(out->mask + (size_t)band * (size_t)out->width * (size_t)out->height + at, 0,
                       (size_t)w);
            for (int x = 0; real && x < w; x++) {
                if (out->sample == MG_F32)
                    ((float *)mg_raster_samples(out, band))[at + (size_t)x] = NAN;
                else
                    ((double *)mg_raster_samples(out, band))[at + (size_t)x] = NAN;
            }
        }
    }
    return MG_OK;
}

/* The bands of one block, as many at a time as memory allows. */
static enum mg_err resample_block(struct reader *r, struct mg_patches *patches,
                                  const struct mg_window *win, const double covered[4], int x0,
                                  int y0, int w, int h, struct mg_errmsg *err)
{
    enum mg_resampling how = r->options->resampling;
    bool corners = how == MG_AVERAGE || how == MG_MODE;
    size_t stride = (size_t)w + 1;
    size_t plane_bytes = ((size_t)win->w * (size_t)win->h * (r->wide ? 8 : 4) + 63) & ~(size_t)63;
    size_t fit = max_planes_bytes / plane_bytes;
    int group = fit >= (size_t)r->n_bands ? r->n_bands : fit > 0 ? (int)fit : 1;
    /* Positions of this row and of the next. */
    float *positions = malloc(4 * stride * sizeof *positions);
    uint8_t *planes = aligned_alloc(64, plane_bytes * (size_t)group), *valid = malloc((size_t)w);
    double *row = malloc((size_t)w * sizeof *row);
    enum mg_err code = MG_OK;
    if (!positions || !planes || !row || !valid) {
        code = mg_err_set(err, MG_E_NOMEM, "no memory to read a raster");
        goto out;
    }
    /* Averages look at the corners of pixels, which may be in another patch than the pixel. */
    if (!corners)
        mg_approx_drop(patches, ((double)win->x + covered[0]) * r->level_x,
                       ((double)win->y + covered[1]) * r->level_y,
                       ((double)win->x + covered[2]) * r->level_x,
                       ((double)win->y + covered[3]) * r->level_y);
    const struct mg_place place = {
        .corners = corners,
        .origin_x = (double)win->x * r->level_x,
        .origin_y = (double)win->y * r->level_y,
        .scale_x = 1 / r->level_x,
        .scale_y = 1 / r->level_y,
    };
    struct mg_resampler resampler = {
        .how = how,
        .unscaled = r->unscaled,
        .x = r->kernel_x,
        .y = r->kernel_y,
        .ratio_x = r->ratio_x / r->level_x,
        .ratio_y = r->ratio_y / r->level_y,
        .wide = r->wide,
        .w = win->w,
        .h = win->h,
        .x0 = (float)covered[0],
        .y0 = (float)covered[1],
        .x1 = (float)covered[2],
        .y1 = (float)covered[3],
    };
    for (int first = 0; first < r->n_bands && code == MG_OK; first += group) {
        void *at[MG_RASTER_MAX_BANDS];
        int n = r->n_bands - first < group ? r->n_bands - first : group;
        float *xs = positions, *ys = xs + stride, *next_xs = ys + stride,
              *next_ys = next_xs + stride;
        for (int i = 0; i < n; i++)
            at[i] = planes + (size_t)i * plane_bytes;
        code = mg_source_window(r->source, r->path, win, r->bands + first, n, r->wide, at, err);
        struct mg_run run = mg_approx_row(patches, w, h, 0, &place, xs, ys), next = run;
        for (int y = 0; y < h && code == MG_OK; y++) {
            if (corners || y + 1 < h)
                next = mg_approx_row(patches, w, h, y + 1, &place, next_xs, next_ys);
            for (int i = 0; i < n && code == MG_OK; i++) {
                resampler.plane = at[i];
                mg_resample_row(&resampler, xs, ys, next_xs, next_ys, row, w, run.first, run.end);
                code = put_row(r, first + i, x0, y0 + y, w, row, valid, err);
            }
            float *was_xs = xs, *was_ys = ys;
            xs = next_xs;
            ys = next_ys;
            next_xs = was_xs;
            next_ys = was_ys;
            run = next;
        }
    }
out:
    free(positions);
    free(planes);
    free(valid);
    free(row);
    return code;
}

static enum mg_err read_block(struct reader *r, int x0, int y0, int w, int h, struct mg_errmsg *err)
{
    const struct mg_source *s = r->source;
    double slack_x = 4 * r->ratio_x + 4, slack_y = 4 * r->ratio_y + 4;
    const double reach[4] = {s->global ? -1e300 : -slack_x, -slack_y,
                             s->global ? 1e300 : s->width + slack_x, s->height + slack_y};
    /* A wide kernel hides what is small beside it; nearest shows every source pixel. */
    double coarse =
        r->options->resampling == MG_NEAREST ? 1 : fmax(1, fmin(r->ratio_x, r->ratio_y));
    double tolerance = 0.125 * coarse;
    struct mg_patches patches = {0};
    struct mg_window win;
    double covered[4];
    enum mg_err code = mg_approx_build(to_source, r, x0, y0, w, h, tolerance, reach, &patches, err);
    if (code != MG_OK)
        return code;
    if (!window_of(r, &patches, &win, covered)) {
        code = put_nothing(r, x0, y0, w, h, err);
    } else if ((double)win.w * win.h > large_window_pixels &&
               (w > LEAST_BLOCK || h > LEAST_BLOCK)) {
        /* A window much larger than its block has a seam or a strong bend in it: its quarters have
         * less. */
        int hw = w > 1 ? w / 2 : w, hh = h > 1 ? h / 2 : h;
        mg_approx_fini(&patches);
        code = read_block(r, x0, y0, hw, hh, err);
        if (code == MG_OK && hw < w)
            code = read_block(r, x0 + hw, y0, w - hw, hh, err);
        if (code == MG_OK && hh < h)
            code = read_block(r, x0, y0 + hh, hw, h - hh, err);
        if (code == MG_OK && hw < w && hh < h)
            code = read_block(r, x0 + hw, y0 + hh, w - hw, h - hh, err);
    } else if ((double)win.w * win.h > max_window_pixels) {
        char name[256];
        mg_gdal_user_name(r->path, name, sizeof name);
        code = mg_err_set(err, MG_E_ARGUMENT,
                          "%s: too much of the file for %d x %d pixels; ask for a coarser grid",
                          name, w, h);
    } else {
        code = resample_block(r, &patches, &win, covered, x0, y0, w, h, err);
    }
    mg_approx_fini(&patches);
    return code;
}

static void keep_palette(const struct reader *r)
{
    GDALRasterBandH band = GDALGetRasterBand(r->source->dataset, r->bands[0]);
    GDALColorTableH table =
        r->n_bands == 1 && r->source->sample == MG_U8 ? GDALGetRasterColorTable(band) : NULL;
    if (!table || (r->options->resampling != MG_NEAREST && r->options->resampling != MG_MODE))
        return;
    int n = GDALGetColorEntryCount(table);
    /* Indices beyond a short table exist in files; they are transparent. */
    r->out->n_palette = 256;
    for (int i = 0; i < n && i < 256; i++) {
        const GDALColorEntry *e = GDALGetColorEntry(table, i);
        const uint8_t rgba[4] = {(uint8_t)e->c1, (uint8_t)e->c2, (uint8_t)e->c3, (uint8_t)e->c4};
        memcpy(r->out->palette[i], rgba, 4);
    }
}

static enum mg_err describe(struct reader *r, struct mg_errmsg *err)
{
    struct mg_raster *out = r->out;
    int has = 0;
    const char *crs = r->grid->crs     ? r->grid->crs
                      : r->source->crs ? r->source->crs
                                       : r->options->source_crs;
    memcpy(out->geotransform, r->grid->geotransform, sizeof out->geotransform);
    out->has_georef = r->source->has_georef;
    if (crs && out->has_georef && !(out->crs = strdup(crs)))
        return mg_err_set(err, MG_E_NOMEM, "no memory for a raster");
    double nodata =
        GDALGetRasterNoDataValue(GDALGetRasterBand(r->source->dataset, r->bands[0]), &has);
    out->has_nodata = has;
    out->nodata = has ? nodata : 0;
    for (int i = 0; i < r->n_bands; i++) {
        const char *name = GDALGetDescription(GDALGetRasterBand(r->source->dataset, r->bands[i]));
        if (!name || !name[0])
            continue;
        if (!out->names && !(out->names = calloc((size_t)out->bands, sizeof *out->names)))
            return mg_err_set(err, MG_E_NOMEM, "no memory for band names");
        if (!(out->names[i] = strdup(name)))
            return mg_err_set(err, MG_E_NOMEM, "no memory for band names");
    }
    keep_palette(r);
    return MG_OK;
}

static enum mg_err check_bands(const struct reader *r, struct mg_errmsg *err)
{
    char name[256];
    mg_gdal_user_name(r->path, name, sizeof name);
    if (r->n_bands > MG_RASTER_MAX_BANDS)
        return mg_err_set(err, MG_E_ARGUMENT, "%d bands of %s: at most %d are read at once",
                          r->n_bands, name, MG_RASTER_MAX_BANDS);
    for (int i = 0; i < r->n_bands; i++)
        if (r->bands[i] < 1 || r->bands[i] > r->source->bands)
            return mg_err_set(err, MG_E_ARGUMENT, "no band %d in %s (it has %d)", r->bands[i], name,
                              r->source->bands);
    return MG_OK;
}

static enum mg_err set_kernels(struct reader *r, struct mg_errmsg *err)
{
    enum mg_resampling how = r->options->resampling;
    double rx = r->ratio_x / r->level_x, ry = r->ratio_y / r->level_y;
    /* As gdalwarp: a kernel is widened only when the source is finer by more than a twentieth. */
    rx = rx > 1 / 0.95 ? rx : 1;
    ry = ry > 1 / 0.95 ? ry : 1;
    r->unscaled = rx == 1 && ry == 1;
    if (how != MG_BILINEAR && how != MG_CUBIC)
        return MG_OK;
    enum mg_err code = mg_kernel_init(&r->kernel_x, how, rx, err);
    return code == MG_OK ? mg_kernel_init(&r->kernel_y, how, ry, err) : code;
}

enum mg_err mg_raster_read(const char *path, const struct mg_grid *grid,
                           const struct mg_read_options *options, struct mg_raster **out,
                           struct mg_errmsg *err)
{
    static const struct mg_read_options none = {.resampling = MG_NEAREST};
    int all[MG_RASTER_MAX_BANDS];
    double inverse[6];
    struct reader r = {.path = path, .grid = grid, .options = options ? options : &none};
    for (int i = 0; i < 6; i++)
        if (!isfinite(grid->geotransform[i]))
            return mg_err_set(err, MG_E_ARGUMENT, "the grid's geotransform holds no numbers");
    if (!GDALInvGeoTransform((double *)grid->geotransform, inverse))
        return mg_err_set(err, MG_E_ARGUMENT, "the grid has no area");
    if ((unsigned)r.options->resampling >= MG_RESAMPLING_COUNT)
        return mg_err_set(err, MG_E_ARGUMENT, "unknown resampling");
    enum mg_err code = mg_source_get(path, &r.source, err);
    if (code != MG_OK)
        return code;
    r.bands = r.options->bands;
    r.n_bands = r.options->n_bands;
    if (r.n_bands == 0) {
        r.n_bands = r.source->bands < MG_RASTER_MAX_BANDS ? r.source->bands : MG_RASTER_MAX_BANDS;
        for (int i = 0; i < r.n_bands; i++)
            all[i] = i + 1;
        r.bands = all;
    }
    if ((code = check_bands(&r, err)) != MG_OK || (code = set_transform(&r, err)) != MG_OK)
        return code;
    enum mg_sample sample = r.source->sample;
    r.wide = sample == MG_F64 || sample == MG_U32 || sample == MG_I32;
    if ((code = mg_raster_new(grid->width, grid->height, r.n_bands, sample, &r.out, err)) != MG_OK)
        return code;
    measure_ratio(&r);
    choose_level(&r);
    if ((code = set_kernels(&r, err)) != MG_OK || (code = describe(&r, err)) != MG_OK)
        goto out;
    int step_x = grid->width <= BLOCK_SIDE + BLOCK_SLACK ? grid->width : BLOCK_SIDE;
    int step_y = grid->height <= BLOCK_SIDE + BLOCK_SLACK ? grid->height : BLOCK_SIDE;
    for (int y = 0; y < grid->height && code == MG_OK; y += step_y)
        for (int x = 0; x < grid->width && code == MG_OK; x += step_x)
            code = read_block(&r, x, y, grid->width - x < step_x ? grid->width - x : step_x,
                              grid->height - y < step_y ? grid->height - y : step_y, err);
out:
    mg_kernel_fini(&r.kernel_x);
    mg_kernel_fini(&r.kernel_y);
    if (code != MG_OK)
        mg_raster_unref(&r.out);
    else
        *out = r.out;
    return code;
}
