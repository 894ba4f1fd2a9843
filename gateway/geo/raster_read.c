/* Reading a raster onto a grid, block by block.
 *
 * Cells of the grid say where they are in the file and at which scale (raster_cells.c); a few exact
 * positions give all of a cell's (approx_transform.c), the window that they span comes from decoded
 * chunks (raster_open.c), one pass makes the result (resample.c). Cells that are read alike are one
 * block. The level is the coarsest overview that is still as fine as the cell; what remains finer
 * is met by wider kernels, and, where a window would grow beyond reason, by thinned chunks. Memory
 * follows the block, not the file. */
#include "geo/raster_cells.h"
#include "moongate/gdal.h"
#include "moongate/raster_ops.h"
#include "geo/raster_strip.h"
#include "geo/resample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BLOCK_SIDE = 2 * MG_CELL_SIDE,
    BLOCK_SLACK = 16, /* a 512-pixel tile with its margin is one block */
    LEAST_BLOCK = 16, /* below this a block is not divided further */
    KERNELS = 12,
};
static const double max_window_pixels = 64e6, large_window_pixels = 4e6;
static const size_t max_planes_bytes = (size_t)128 << 20;

struct reader {
    struct mg_cells cells;
    struct mg_source *source;
    const char *path;
    const struct mg_grid *grid;
    const struct mg_read_options *options;
    const int *bands;
    int n_bands;
    bool wide;
    struct mg_raster *out;
};

/* How a block is read: its cells' choice. */
struct scale {
    int level, factor;
    double level_x, level_y; /* file pixels to one pixel of the thinned level */
    double ratio_x, ratio_y; /* pixels of the thinned level to one of the grid's */
    bool unscaled;
    struct mg_kernel kernel_x, kernel_y; /* borrowed from `kernels` */
    int bits;                            /* of fraction in positions */
};

/* Kernels are found again by their width, which comes in steps. */
static struct {
    enum mg_resampling how;
    int octaves;
    struct mg_kernel kernel;
} kernels[KERNELS];
static size_t next_kernel;

static enum mg_err find_kernel(enum mg_resampling how, int octaves, struct mg_kernel *out,
                               struct mg_errmsg *err)
{
    for (size_t i = 0; i < KERNELS; i++)
        if (kernels[i].kernel.weights && kernels[i].how == how && kernels[i].octaves == octaves) {
            *out = kernels[i].kernel;
            return MG_OK;
        }
    struct mg_kernel made;
    enum mg_err code = mg_kernel_init(&made, how, exp2(octaves / 32.0), err);
    if (code != MG_OK)
        return code;
    mg_kernel_fini(&kernels[next_kernel].kernel);
    kernels[next_kernel].how = how;
    kernels[next_kernel].octaves = octaves;
    kernels[next_kernel].kernel = made;
    next_kernel = (next_kernel + 1) % KERNELS;
    *out = made;
    return MG_OK;
}

void mg_grid_of_tile(struct mg_tile tile, int size, int margin, struct mg_grid *out)
{
    /* The same pixel size, to the last bit, for four tiles as for one of twice the size. */
    double pixels = ldexp(size, tile.z), res = 2 * MG_MERC_MAX / pixels;
    double column = (double)tile.x * size - margin - pixels / 2,
           row = (double)tile.y * size - margin - pixels / 2;
    *out = (struct mg_grid){
        .crs = "EPSG:3857",
        .geotransform = {column * res, res, 0, -row * res, 0, -res},
        .width = size + 2 * margin,
        .height = size + 2 * margin,
    };
}

static enum mg_err scale_of(const struct reader *r, const struct mg_cell *cell, struct scale *out,
                            struct mg_errmsg *err)
{
    const struct mg_level *level = &r->source->levels[cell->level];
    enum mg_resampling how = r->options->resampling;
    /* As gdalwarp: a kernel is widened only when the source is finer by more than a twentieth. */
    int kx = cell->octaves_x > 2 ? cell->octaves_x : 0, ky = cell->octaves_y > 2 ? cell->octaves_y : 0;
    /* A block's positions need 24 bits: the whole part takes what the scale asks for. */
    int most = kx > ky ? kx : ky;
    if (most == 0)
        most = cell->octaves_x > cell->octaves_y ? cell->octaves_x : cell->octaves_y;
    int bits = 12 - (int)ceil(most / 32.0);
    *out = (struct scale){
        .level = cell->level,
        .factor = cell->factor,
        .level_x = level->x_ratio * cell->factor,
        .level_y = level->y_ratio * cell->factor,
        .ratio_x = exp2(cell->octaves_x / 32.0),
        .ratio_y = exp2(cell->octaves_y / 32.0),
        .unscaled = kx == 0 && ky == 0,
        .bits = bits < 4 ? 4 : bits > 18 ? 18 : bits,
    };
    if (how != MG_BILINEAR && how != MG_CUBIC)
        return MG_OK;
    enum mg_err code = find_kernel(how, kx, &out->kernel_x, err);
    return code == MG_OK ? find_kernel(how, ky, &out->kernel_y, err) : code;
}

/* Window of the thinned level that the positions need; false when the file does not reach in. */
static bool window_of(const struct reader *r, const struct scale *scale,
                      const struct mg_patches *patches, struct mg_window *win, double covered[4])
{
    const struct mg_level *level = &r->source->levels[scale->level];
    /* The file's end in steps that positions have too, so that it is the same in each window. */
    double step = ldexp(1, scale->bits);
    double level_w = floor((double)level->width / scale->factor * step) / step,
           level_h = floor((double)level->height / scale->factor * step) / step;
    if (!(patches->xmin <= patches->xmax) || !(patches->ymin <= patches->ymax))
        return false;
    /* One sample more on each side: what is rounded stays within. */
    double x0 = floor(patches->xmin / scale->level_x) - 1,
           x1 = ceil(patches->xmax / scale->level_x) + 1,
           y0 = floor(patches->ymin / scale->level_y) - 1,
           y1 = ceil(patches->ymax / scale->level_y) + 1;
    if (!r->source->global) {
        x0 = fmax(x0, 0);
        x1 = fmin(x1, level_w);
    }
    y0 = fmax(y0, 0);
    y1 = fmin(y1, level_h);
    if (x0 >= x1 || y0 >= y1)
        return false;
    const struct mg_kernel *kx = &scale->kernel_x, *ky = &scale->kernel_y;
    double left = 1 + (kx->taps ? -kx->first : 0), right = 1 + kx->taps;
    double top = 1 + (ky->taps ? -ky->first : 0), bottom = 1 + ky->taps;
    double fx = x0 - left, fy = y0 - top;
    double fw = ceil(x1) + right - fx, fh = ceil(y1) + bottom - fy;
    win->level = scale->level;
    win->factor = scale->factor;
    win->x = (int64_t)fx;
    win->y = (int64_t)fy;
    win->nearest = r->options->resampling == MG_NEAREST;
    win->mode = r->options->resampling == MG_MODE;
    win->w = fw * fh <= max_window_pixels ? (int)fw : INT32_MAX;
    win->h = fw * fh <= max_window_pixels ? (int)fh : INT32_MAX;
    /* Positions beyond the window's own part cannot occur; the fast loops need a place that is
     * within it. */
    covered[0] = x0 - fx;
    covered[1] = y0 - fy;
    covered[2] = x1 - fx;
    covered[3] = y1 - fy;
    return true;
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

/* Areas need the corners of pixels, also those of the next row and column. */
static bool by_corners(enum mg_resampling how)
{
    return how == MG_AVERAGE || how == MG_MODE;
}

/* The bands of one block, as many at a time as memory allows. */
static enum mg_err resample_block(struct reader *r, const struct scale *scale,
                                  struct mg_patches *patches, const struct mg_window *win,
                                  const double covered[4], int x0, int y0, int w, int h,
                                  struct mg_errmsg *err)
{
    enum mg_resampling how = r->options->resampling;
    bool corners = by_corners(how);
    const int columns = w + corners;
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
        mg_approx_drop(patches, ((double)win->x + covered[0] - 1) * scale->level_x,
                       ((double)win->y + covered[1] - 1) * scale->level_y,
                       ((double)win->x + covered[2] + 1) * scale->level_x,
                       ((double)win->y + covered[3] + 1) * scale->level_y);
    const struct mg_place place = {
        .corners = corners,
        .scale_x = 1 / scale->level_x,
        .scale_y = 1 / scale->level_y,
        .origin_x = (double)win->x,
        .origin_y = (double)win->y,
        .bits = scale->bits,
    };
    struct mg_resampler resampler = {
        .how = how,
        .unscaled = scale->unscaled,
        .x = scale->kernel_x,
        .y = scale->kernel_y,
        .ratio_x = scale->ratio_x,
        .ratio_y = scale->ratio_y,
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
        struct mg_run run = mg_approx_row(patches, columns, 0, &place, xs, ys), next = run;
        for (int y = 0; y < h && code == MG_OK; y++) {
            if (corners || y + 1 < h)
                next = mg_approx_row(patches, columns, y + 1, &place, next_xs, next_ys);
            for (int i = 0; i < n && code == MG_OK; i++) {
                resampler.plane = at[i];
                mg_resample_row(&resampler, xs, ys, next_xs, next_ys, row, w, run.first,
                                run.end < w ? run.end : w);
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

/* The scale of a block's cells; false when they differ. NULL: the file is far from all. */
static bool common_cell(struct reader *r, int x0, int y0, int w, int h, const struct mg_cell **out)
{
    const struct mg_cell *common = NULL;
    for (int top = mg_cells_top(&r->cells, y0); top < y0 + h; top += MG_CELL_SIDE)
        for (int left = mg_cells_left(&r->cells, x0); left < x0 + w; left += MG_CELL_SIDE) {
            const struct mg_cell *cell =
                mg_cells_of(&r->cells, left > x0 ? left : x0, top > y0 ? top : y0);
            if (common && !mg_cells_alike(&r->cells, common, cell))
                return false;
            if (!cell->nothing)
                common = cell;
        }
    *out = common;
    return true;
}

static enum mg_err read_block(struct reader *r, int x0, int y0, int w, int h,
                              struct mg_errmsg *err);

/* In four parts, at a column and a row of the block. */
static enum mg_err read_quarters(struct reader *r, int x0, int y0, int w, int h, int left, int top,
                                 struct mg_errmsg *err)
{
    enum mg_err code = read_block(r, x0, y0, left, top, err);
    if (code == MG_OK && left < w)
        code = read_block(r, x0 + left, y0, w - left, top, err);
    if (code == MG_OK && top < h)
        code = read_block(r, x0, y0 + top, left, h - top, err);
    if (code == MG_OK && left < w && top < h)
        code = read_block(r, x0 + left, y0 + top, w - left, h - top, err);
    return code;
}

static enum mg_err read_alike(struct reader *r, const struct mg_cell *cell, int x0, int y0, int w,
                              int h, struct mg_errmsg *err)
{
    int corners = by_corners(r->options->resampling);
    struct scale scale;
    struct mg_patches patches;
    struct mg_window win;
    double covered[4];
    enum mg_err code = scale_of(r, cell, &scale, err);
    if (code != MG_OK)
        return code;
    mg_approx_init(&patches);
    code = mg_cells_patches(&r->cells, x0, y0, w + corners, h + corners, &patches, err);
    if (code != MG_OK)
        goto out;
    if (!window_of(r, &scale, &patches, &win, covered)) {
        code = put_nothing(r, x0, y0, w, h, err);
        goto out;
    }
    double pixels = (double)win.w * win.h;
    int longest = 1 << (24 - scale.bits);
    if ((pixels > large_window_pixels || win.w > longest || win.h > longest) &&
        (w > LEAST_BLOCK || h > LEAST_BLOCK)) {
        /* A window much larger than its block has a seam or a strong bend in it: its quarters have
         * less. */
        code = read_quarters(r, x0, y0, w, h, w > 1 ? w / 2 : w, h > 1 ? h / 2 : h, err);
    } else if (pixels > max_window_pixels) {
        char name[256];
        mg_gdal_user_name(r->path, name, sizeof name);
        code = mg_err_set(err, MG_E_ARGUMENT,
                          "%s: too much of the file for %d x %d pixels; ask for a coarser grid",
                          name, w, h);
    } else {
        code = resample_block(r, &scale, &patches, &win, covered, x0, y0, w, h, err);
    }
out:
    mg_approx_fini(&patches);
    return code;
}

static enum mg_err read_block(struct reader *r, int x0, int y0, int w, int h, struct mg_errmsg *err)
{
    const struct mg_cell *cell;
    if (!common_cell(r, x0, y0, w, h, &cell)) {
        /* At the last edge of cells within: what is left of it may be alike. */
        int left = mg_cells_left(&r->cells, x0 + w - 1) - x0,
            top = mg_cells_top(&r->cells, y0 + h - 1) - y0;
        return read_quarters(r, x0, y0, w, h, left > 0 ? left : w, top > 0 ? top : h, err);
    }
    return cell ? read_alike(r, cell, x0, y0, w, h, err) : put_nothing(r, x0, y0, w, h, err);
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
    if (r->options->overview < 0 || r->options->overview > r->source->n_levels)
        return mg_err_set(err, MG_E_ARGUMENT, "no overview %d in %s (it has %d)", r->options->overview - 1, name,
                          r->source->n_levels - 1);
    for (int i = 0; i < r->n_bands; i++)
        if (r->bands[i] < 1 || r->bands[i] > r->source->bands)
            return mg_err_set(err, MG_E_ARGUMENT, "no band %d in %s (it has %d)", r->bands[i], name,
                              r->source->bands);
    return MG_OK;
}

/* Samples to the values that they stand for. */
static enum mg_err unscale(struct reader *r, struct mg_errmsg *err)
{
    struct mg_raster *real = NULL;
    union mg_strip x;
    enum mg_err code = mg_raster_convert(r->out, r->wide ? MG_F64 : MG_F32, &real, err);
    if (code != MG_OK)
        return code;
    size_t pixels = (size_t)real->width * (size_t)real->height;
    for (int b = 0; b < r->n_bands && code == MG_OK; b++) {
        GDALRasterBandH band = GDALGetRasterBand(r->source->dataset, r->bands[b]);
        double scale = GDALGetRasterScale(band, NULL), offset = GDALGetRasterOffset(band, NULL);
        for (size_t at = 0; at < pixels && code == MG_OK && (scale != 1 || offset != 0);
             at += MG_STRIP) {
            int n = pixels - at < MG_STRIP ? (int)(pixels - at) : MG_STRIP;
            mg_strip_load(real, b, at, n, true, &x);
            for (int i = 0; i < n; i++)
                x.d[i] = x.d[i] * scale + offset;
            code = mg_strip_store(real, b, at, n, true, &x, err);
        }
    }
    real->has_nodata = false;
    real->nodata = 0;
    mg_raster_unref(&r->out);
    r->out = real;
    return code;
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
    if ((code = check_bands(&r, err)) != MG_OK ||
        (code = mg_cells_init(&r.cells, r.source, path, grid, r.options, err)) != MG_OK)
        return code;
    enum mg_sample sample = r.source->sample;
    r.wide = sample == MG_F64 || sample == MG_U32 || sample == MG_I32;
    if ((code = mg_raster_new(grid->width, grid->height, r.n_bands, sample, &r.out, err)) != MG_OK)
        goto out;
    if ((code = describe(&r, err)) != MG_OK)
        goto out;
    bool one = grid->width <= BLOCK_SIDE + BLOCK_SLACK && grid->height <= BLOCK_SIDE + BLOCK_SLACK;
    for (int y = 0, next_y; y < grid->height && code == MG_OK; y = next_y) {
        next_y = one ? grid->height : mg_cells_top(&r.cells, y) + BLOCK_SIDE;
        next_y = next_y < grid->height ? next_y : grid->height;
        for (int x = 0, next_x; x < grid->width && code == MG_OK; x = next_x) {
            next_x = one ? grid->width : mg_cells_left(&r.cells, x) + BLOCK_SIDE;
            next_x = next_x < grid->width ? next_x : grid->width;
            code = read_block(&r, x, y, next_x - x, next_y - y, err);
        }
    }
    if (code == MG_OK && r.options->unscale)
        code = unscale(&r, err);
out:
    mg_cells_fini(&r.cells);
    if (code != MG_OK)
        mg_raster_unref(&r.out);
    else
        *out = r.out;
    return code;
}
