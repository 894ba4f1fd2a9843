/* Cells of a grid: where they are in the file, at which scale they are read.
 *
 * Invariant: all that is found for a cell depends on the file, the pixel size, and the cell's place
 * in the endless grid of that pixel size; never on the grid that is read. So a pixel is the same to
 * the last bit in a tile, in its neighbour's margin and in a larger picture. Level, thinning and the width of
 * kernels are chosen for each cell (in steps of a 32nd of an octave, so that neighbours mostly
 * agree and kernels are found again). Cost: 9 exact positions a cell. */
#include "geo/raster_cells.h"
#include "moongate/gdal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
    MAX_RATIO = 32, /* kernels of more taps cost more than they improve */
    STEPS = 32,     /* to an octave */
};
static const double thin_above_pixels = 1.5e6;

bool mg_grid_anchor(const double gt[6], double *column, double *row)
{
    *column = *row = 0;
    if (gt[2] != 0 || gt[4] != 0 || gt[1] == 0 || gt[5] == 0)
        return false;
    double x = gt[0] / gt[1], y = gt[3] / gt[5];
    if (!(fabs(x) < 0x1p45 && fabs(y) < 0x1p45) || fabs(x - round(x)) > 1e-6 ||
        fabs(y - round(y)) > 1e-6)
        return false;
    *column = round(x);
    *row = round(y);
    return true;
}

static double wrap(double x, double period, double centre)
{
    return period > 0 ? x - period * round((x - centre) / period) : x;
}

/* Pixels of the endless grid to file pixels. */
static void to_source(void *context, double *x, double *y, int n)
{
    const struct mg_cells *c = context;
    const double *gt = c->grid->geotransform, *inv = c->source->inverse;
    for (int i = 0; i < n; i++) {
        double px = c->anchored ? x[i] * gt[1] : gt[0] + x[i] * gt[1] + y[i] * gt[2];
        double py = c->anchored ? y[i] * gt[5] : gt[3] + x[i] * gt[4] + y[i] * gt[5];
        if (c->mercator)
            mg_merc_to_lnglat(px, py, &px, &py);
        x[i] = px;
        y[i] = py;
    }
    if (c->transform) {
        struct mg_gdal_errors errors;
        mg_gdal_errors_begin(&errors);
        OCTTransform(c->transform, n, x, y, NULL);
        mg_gdal_errors_end();
    }
    for (int i = 0; i < n; i++) {
        double px = wrap(x[i], c->period, c->centre), py = y[i];
        bool ok = isfinite(px) && isfinite(py);
        x[i] = ok ? inv[0] + px * inv[1] + py * inv[2] : NAN;
        y[i] = ok ? inv[3] + px * inv[4] + py * inv[5] : NAN;
    }
}

/* A file pixel to pixels of the endless grid; false where it has no place there. */
static bool to_grid(const struct mg_cells *c, double *x, double *y)
{
    const double *gt = c->source->geotransform, *to = c->grid->geotransform;
    double inv[6], px = gt[0] + *x * gt[1] + *y * gt[2], py = gt[3] + *x * gt[4] + *y * gt[5];
    if (c->mercator) {
        if (fabs(py) >= 90)
            return false;
        px = wrap(px, 360, 0);
        px = px / 180 * MG_MERC_MAX;
        py = asinh(tan(py * (M_PI / 180))) / M_PI * MG_MERC_MAX;
    } else if (c->back) {
        struct mg_gdal_errors errors;
        mg_gdal_errors_begin(&errors);
        int ok = OCTTransform(c->back, 1, &px, &py, NULL);
        mg_gdal_errors_end();
        if (!ok)
            return false;
    }
    if (c->anchored) {
        *x = px / to[1];
        *y = py / to[5];
    } else {
        if (!GDALInvGeoTransform((double *)to, inv))
            return false;
        *x = inv[0] + px * inv[1] + py * inv[2];
        *y = inv[3] + px * inv[4] + py * inv[5];
    }
    return isfinite(*x) && isfinite(*y);
}

static bool in_file(const struct mg_source *s, double x, double y)
{
    return (s->global || (x >= 0 && x <= s->width)) && y >= 0 && y <= s->height;
}

static double outside_by(double v, double low, double high)
{
    return v < low ? low - v : v > high ? v - high : 0;
}

/* The place in a cell at which its scale is measured when the file is not at its middle: the one
 * that is nearest to the file. */
static void find_focus(struct mg_cells *c, double x0, double y0, double *fx, double *fy)
{
    enum { SPOTS = 4 };
    const double x1 = x0 + MG_CELL_SIDE, y1 = y0 + MG_CELL_SIDE;
    double best = HUGE_VAL;
    enum { N = (SPOTS + 1) * (SPOTS + 1) };
    for (int i = 0; !c->has_spots && i < N; i++) {
        double *x = &c->spot_x[c->n_spots], *y = &c->spot_y[c->n_spots];
        int k = (i + N / 2) % N; /* the middle of the file first: it is best when all lie in the cell */
        *x = (double)c->source->width * (k % (SPOTS + 1)) / SPOTS;
        *y = (double)c->source->height * (k / (SPOTS + 1)) / SPOTS;
        c->n_spots += to_grid(c, x, y);
    }
    c->has_spots = true;
    for (int i = 0; i < c->n_spots; i++) {
        double x = c->spot_x[i], y = c->spot_y[i];
        double away = outside_by(x, x0, x1) + outside_by(y, y0, y1);
        if (away < best) {
            best = away;
            *fx = fmin(fmax(x, x0), x1);
            *fy = fmin(fmax(y, y0), y1);
        }
    }
}

static double usable(double ratio)
{
    return isfinite(ratio) && ratio > 1e-9 ? ratio : 1;
}

static void measure(struct mg_cells *c, double column, double row, struct mg_cell *cell)
{
    const struct mg_root *r = &cell->root;
    const double middle = MG_CELL_SIDE / 2;
    double fx = column + middle, fy = row + middle;
    if (in_file(c->source, r->x[4], r->y[4])) {
        /* Halves that differ much have a bend or a jump in them. */
        double left = hypot(r->x[4] - r->x[3], r->y[4] - r->y[3]) / middle,
               right = hypot(r->x[5] - r->x[4], r->y[5] - r->y[4]) / middle,
               up = hypot(r->x[4] - r->x[1], r->y[4] - r->y[1]) / middle,
               down = hypot(r->x[7] - r->x[4], r->y[7] - r->y[4]) / middle;
        if (fabs(left - right) < 0.1 * left && fabs(up - down) < 0.1 * up) {
            cell->ratio_x = usable((left + right) / 2);
            cell->ratio_y = usable((up + down) / 2);
            return;
        }
    } else {
        find_focus(c, column, row, &fx, &fy);
    }
    double x[4] = {fx - 0.5, fx + 0.5, fx, fx}, y[4] = {fy, fy, fy - 0.5, fy + 0.5};
    to_source(c, x, y, 4);
    cell->ratio_x = usable(hypot(x[1] - x[0], y[1] - y[0]));
    cell->ratio_y = usable(hypot(x[3] - x[2], y[3] - y[2]));
}

static int octaves(double ratio)
{
    return (int)lround(STEPS * log2(ratio));
}

/* The coarsest level that is as fine as the grid, as gdalwarp chooses; then thinning while the
 * window of a cell would be large. */
static void choose_level(struct mg_cells *c, struct mg_cell *cell)
{
    const struct mg_source *s = c->source;
    double ratio = fmin(cell->ratio_x, cell->ratio_y);
    for (int i = 1; i < s->n_levels; i++)
        if (fmin(s->levels[i].x_ratio, s->levels[i].y_ratio) <= ratio + 0.1)
            cell->level = i;
    if (c->options->overview > 0)
        cell->level = c->options->overview - 1;
    const struct mg_level *level = &s->levels[cell->level];
    double rx = cell->ratio_x / level->x_ratio, ry = cell->ratio_y / level->y_ratio;
    double pixels =
        fmin(MG_CELL_SIDE * rx, level->width) * fmin(MG_CELL_SIDE * ry, level->height);
    cell->factor = 1;
    /* Nearest and mode have no kernel that could grow, and are exact as long as they are not
     * thinned. */
    enum mg_resampling how = c->options->resampling;
    double most = how == MG_NEAREST || how == MG_MODE ? HUGE_VAL : MAX_RATIO;
    while (fmin(rx, ry) >= (pixels > thin_above_pixels ? 2 : most) && cell->factor < 1 << 20) {
        cell->factor *= 2;
        pixels /= 4;
        rx /= 2;
        ry /= 2;
    }
    cell->octaves_x = octaves(rx);
    cell->octaves_y = octaves(ry);
    if (s->n_levels == 1 && ratio >= 2 && (s->width > 512 || s->height > 512) &&
        c->options->note && !c->noted) {
        char name[256], sentence[640];
        mg_gdal_user_name(c->path, name, sizeof name);
        snprintf(sentence, sizeof sentence,
                 "%s has no overviews and is read decimated; a COG answers faster: gdal_translate "
                 "-of COG in.tif "
                 "out.tif",
                 name);
        c->options->note(c->options->note_context, sentence);
        c->noted = true;
    }
}

/* The source x around which a cell lies. A global file repeats, so nothing is lost and no seam runs
 * through. */
static double centre_of(struct mg_cells *c, double column, double row)
{
    const struct mg_source *s = c->source;
    const double *gt = s->geotransform;
    double x = s->width / 2.0, y = s->height / 2.0;
    double centre = gt[0] + x * gt[1] + y * gt[2], period = c->period;
    if (!s->global)
        return centre;
    x = column + MG_CELL_SIDE / 2;
    y = row + MG_CELL_SIDE / 2;
    c->period = 0;
    to_source(c, &x, &y, 1);
    c->period = period;
    return isfinite(x) && isfinite(y) ? gt[0] + x * gt[1] + y * gt[2] : centre;
}

/* Source positions that a cell may still need. */
static void reach_of(const struct mg_source *s, double slack_x, double slack_y, double reach[4])
{
    reach[0] = s->global ? -1e300 : -slack_x;
    reach[1] = -slack_y;
    reach[2] = s->global ? 1e300 : s->width + slack_x;
    reach[3] = s->height + slack_y;
}

static void make(struct mg_cells *c, int64_t cx, int64_t cy, struct mg_cell *cell)
{
    double column = (double)cx * MG_CELL_SIDE - c->shift,
           row = (double)cy * MG_CELL_SIDE - c->shift, reach[4];
    cell->known = true;
    cell->factor = 1;
    cell->ratio_x = cell->ratio_y = 1;
    c->centre = cell->centre = centre_of(c, column, row);
    mg_approx_root(to_source, c, column, row, &cell->root);
    const double *x = cell->root.x, *y = cell->root.y;
    /* A cell's own extent is far more than its kernels'. Where it is a good part of the world, what
     * lies between nine points is not known from them. */
    reach_of(c->source, fabs(x[5] - x[3]) + fabs(x[7] - x[1]), fabs(y[5] - y[3]) + fabs(y[7] - y[1]),
             reach);
    double bend_x = fabs(x[3] - 2 * x[4] + x[5]) + fabs(x[1] - 2 * x[4] + x[7]),
           bend_y = fabs(y[3] - 2 * y[4] + y[5]) + fabs(y[1] - 2 * y[4] + y[7]);
    double w = fabs(x[8] - x[0]) + fabs(x[6] - x[2]), h = fabs(y[8] - y[0]) + fabs(y[6] - y[2]);
    if (bend_x < 0.02 * w && bend_y < 0.02 * h && mg_approx_is_far(&cell->root, reach)) {
        cell->nothing = true;
        return;
    }
    measure(c, column, row, cell);
    choose_level(c, cell);
}

static int64_t cell_index(const struct mg_cells *c, double at)
{
    return (int64_t)floor((at + c->shift) / MG_CELL_SIDE);
}

/* Cells of Web Mercator begin at the corner of the world, so that a tile of 256 pixels is one, at
 * zoom 0 too. */
static double shift_of(const struct mg_cells *c)
{
    const char *crs = c->grid->crs;
    if (!c->anchored || !crs || strcasecmp(crs, "EPSG:3857") != 0)
        return 0;
    return fmod(round(MG_MERC_MAX / fabs(c->grid->geotransform[1])), MG_CELL_SIDE);
}

static enum mg_err set_transform(struct mg_cells *c, struct mg_errmsg *err)
{
    struct mg_source *s = c->source;
    const char *from = c->grid->crs, *to = s->crs ? s->crs : c->options->source_crs;
    char name[256];
    c->period = s->crs ? s->period : mg_crs_period(to);
    if (!from)
        return MG_OK;
    mg_gdal_user_name(c->path, name, sizeof name);
    if (!s->has_georef)
        return mg_err_set(err, MG_E_NO_CRS,
                          "%s has no geotransform, so it cannot be placed on a map", name);
    if (!to)
        return mg_err_set(err, MG_E_NO_CRS, "%s has no CRS: say which with source_crs (\"EPSG:…\")",
                          name);
    c->mercator = strcasecmp(from, "EPSG:3857") == 0 && strcasecmp(to, "EPSG:4326") == 0;
    if (c->mercator || strcasecmp(from, to) == 0)
        return MG_OK;
    enum mg_err code = mg_crs_transform(from, to, &c->transform, err);
    if (code == MG_OK)
        code = mg_crs_transform(to, from, &c->back, err);
    return code == MG_OK ? MG_OK : mg_err_prefix(err, code, "%s", name);
}

enum mg_err mg_cells_init(struct mg_cells *c, struct mg_source *source, const char *path,
                          const struct mg_grid *grid, const struct mg_read_options *options,
                          struct mg_errmsg *err)
{
    *c = (struct mg_cells){.source = source, .path = path, .grid = grid, .options = options};
    c->anchored = mg_grid_anchor(grid->geotransform, &c->column, &c->row);
    c->shift = shift_of(c);
    c->first_x = cell_index(c, c->column);
    c->first_y = cell_index(c, c->row);
    /* With the row and the column behind, whose corners are the ends of the last pixels. */
    c->nx = (int)(cell_index(c, c->column + grid->width) - c->first_x) + 1;
    c->ny = (int)(cell_index(c, c->row + grid->height) - c->first_y) + 1;
    enum mg_err code = set_transform(c, err);
    if (code != MG_OK)
        return code;
    c->at = calloc((size_t)c->nx * (size_t)c->ny, sizeof *c->at);
    return c->at ? MG_OK : mg_err_set(err, MG_E_NOMEM, "no memory for a transform");
}

void mg_cells_fini(struct mg_cells *c)
{
    free(c->at);
    c->at = NULL;
}

const struct mg_cell *mg_cells_of(struct mg_cells *c, int x, int y)
{
    int64_t cx = cell_index(c, c->column + x), cy = cell_index(c, c->row + y);
    struct mg_cell *cell = &c->at[(cy - c->first_y) * c->nx + (cx - c->first_x)];
    if (!cell->known)
        make(c, cx, cy, cell);
    return cell;
}

int mg_cells_left(const struct mg_cells *c, int x)
{
    return (int)((double)cell_index(c, c->column + x) * MG_CELL_SIDE - c->shift - c->column);
}

int mg_cells_top(const struct mg_cells *c, int y)
{
    return (int)((double)cell_index(c, c->row + y) * MG_CELL_SIDE - c->shift - c->row);
}

bool mg_cells_alike(const struct mg_cells *c, const struct mg_cell *a, const struct mg_cell *b)
{
    return a->nothing || b->nothing ||
           (a->level == b->level && a->factor == b->factor && a->octaves_x == b->octaves_x &&
            a->octaves_y == b->octaves_y &&
            (c->period == 0 || fabs(a->centre - b->centre) < c->period / 2));
}

enum mg_err mg_cells_patches(struct mg_cells *c, int x0, int y0, int w, int h,
                             struct mg_patches *patches, struct mg_errmsg *err)
{
    enum mg_err code = MG_OK;
    for (int top = mg_cells_top(c, y0); top < y0 + h; top += MG_CELL_SIDE) {
        for (int left = mg_cells_left(c, x0); left < x0 + w && code == MG_OK; left += MG_CELL_SIDE) {
            double reach[4];
            const struct mg_cell *cell =
                mg_cells_of(c, left > x0 ? left : x0, top > y0 ? top : y0);
            /* A wide kernel hides what is small beside it; nearest shows every source pixel. */
            double coarse = c->options->resampling == MG_NEAREST
                                ? 1
                                : fmax(1, fmin(cell->ratio_x, cell->ratio_y));
            if (cell->nothing)
                continue;
            reach_of(c->source, 4 * cell->ratio_x + 4, 4 * cell->ratio_y + 4, reach);
            c->centre = cell->centre;
            const struct mg_approx approx = {
                .exact = to_source,
                .context = c,
                .root = &cell->root,
                .column = c->column + left,
                .row = c->row + top,
                .x = left - x0,
                .y = top - y0,
                .w = w,
                .h = h,
                .tolerance = 0.125 * coarse,
                .reach = reach,
            };
            code = mg_approx_add(&approx, patches, err);
        }
    }
    mg_approx_sort(patches);
    return code;
}
