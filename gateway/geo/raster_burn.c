/* Geometry to pixels.
 *
 * Polygons: a scan line through the middle of each row; where its crossings with all rings, sorted,
 * are the ends of what is inside (even-odd, so that holes and their order do not matter). An edge
 * counts for rows whose middle is in [y of its upper end, y of its lower end), so that a vertex is
 * met once. Lines, and boundaries with all_touched: from row to row the columns between entry and
 * exit. Cost: edges times the rows that they cross, and a sort a row. */
#include "moongate/geometry.h"
#include "moongate/raster_analysis.h"

#include <gdal.h>
#include <math.h>
#include <stdlib.h>

struct crossing {
    int row;
    double x;
};
struct crossings {
    struct crossing *at;
    size_t n, cap;
};

enum mg_err mg_burn_init(const struct mg_raster *like, bool all_touched, struct mg_burn *out,
                         struct mg_errmsg *err)
{
    struct mg_burn burn = {
        .width = like->width, .height = like->height, .all_touched = all_touched};
    if (!like->has_georef || !GDALInvGeoTransform((double *)like->geotransform, burn.inverse))
        return mg_err_set(err, MG_E_ARGUMENT, "the raster has no georeference");
    *out = burn;
    return MG_OK;
}

static void point_of(const struct mg_burn *b, const struct mg_wkb_part *part, size_t i, double *col,
                     double *row)
{
    double x = mg_wkb_coord(part, i * (size_t)part->dims),
           y = mg_wkb_coord(part, i * (size_t)part->dims + 1);
    *col = b->inverse[0] + x * b->inverse[1] + y * b->inverse[2];
    *row = b->inverse[3] + x * b->inverse[4] + y * b->inverse[5];
}

static int by_place(const void *a, const void *b)
{
    const struct crossing *p = a, *q = b;
    return p->row != q->row ? (p->row > q->row) - (p->row < q->row) : (p->x > q->x) - (p->x < q->x);
}

static enum mg_err add_edge(const struct mg_burn *b, double x0, double y0, double x1, double y1,
                            struct crossings *c, struct mg_errmsg *err)
{
    if (y0 > y1) {
        double x = x0, y = y0;
        x0 = x1, y0 = y1;
        x1 = x, y1 = y;
    }
    int first = (int)ceil(fmin(fmax(y0 - 0.5, 0), b->height)),
        end = (int)ceil(fmax(fmin(y1 - 0.5, b->height), 0));
    for (int row = first; row < end; row++) {
        if (c->n == c->cap) {
            size_t cap = c->cap ? 2 * c->cap : 256;
            struct crossing *at = realloc(c->at, cap * sizeof *at);
            if (!at)
                return mg_err_set(err, MG_E_NOMEM, "no memory for a polygon");
            c->at = at;
            c->cap = cap;
        }
        c->at[c->n++] = (struct crossing){row, x0 + (row + 0.5 - y0) / (y1 - y0) * (x1 - x0)};
    }
    return MG_OK;
}

static void run_of(const struct mg_burn *b, int row, double from, double to, mg_burn_f *run,
                   void *context)
{
    int x0 = (int)fmin(fmax(from, 0), b->width), x1 = (int)fmax(fmin(to, b->width), 0);
    if (x0 < x1)
        run(context, row, x0, x1);
}

/* Empties the crossings. */
static void fill(const struct mg_burn *b, struct crossings *c, mg_burn_f *run, void *context)
{
    if (c->n > 1)
        qsort(c->at, c->n, sizeof *c->at, by_place);
    for (size_t i = 0; i + 1 < c->n; i += 2) /* pixels whose middle is in [x, next x) */
        run_of(b, c->at[i].row, ceil(fmax(c->at[i].x - 0.5, 0)),
               ceil(fmax(c->at[i + 1].x - 0.5, 0)), run, context);
    c->n = 0;
}

/* All pixels that a segment passes through. */
static void touch(const struct mg_burn *b, double x0, double y0, double x1, double y1,
                  mg_burn_f *run, void *context)
{
    if (y0 > y1) {
        double x = x0, y = y0;
        x0 = x1, y0 = y1;
        x1 = x, y1 = y;
    }
    double top = fmax(floor(y0), 0), bottom = fmin(floor(y1), b->height - 1);
    for (double row = top; row <= bottom; row++) {
        double t0 = y1 > y0 ? fmin(fmax((row - y0) / (y1 - y0), 0), 1) : 0;
        double t1 = y1 > y0 ? fmin(fmax((row + 1 - y0) / (y1 - y0), 0), 1) : 1;
        double a = x0 + t0 * (x1 - x0), z = x0 + t1 * (x1 - x0);
        if (fmax(a, z) >= 0 && fmin(a, z) < b->width)
            run_of(b, (int)row, floor(fmin(a, z)), floor(fmax(a, z)) + 1, run, context);
    }
}

enum mg_err mg_burn_geometry(const struct mg_burn *b, struct mg_span wkb, mg_burn_f *run,
                             void *context, struct mg_errmsg *err)
{
    struct crossings c = {0};
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    enum mg_err code = mg_wkb_check(wkb, err);
    if (code != MG_OK)
        return code;
    for (mg_wkb_iter_init(&iter, wkb); code == MG_OK && mg_wkb_next(&iter, &part);) {
        double x0, y0, x1, y1;
        if (part.type == 3 && part.ring == 0)
            fill(b, &c, run,
                 context); /* each polygon by itself: those that overlap are all inside */
        if (part.n == 0)
            continue;
        point_of(b, &part, 0, &x0, &y0);
        if (part.type == 1 && x0 >= 0 && y0 >= 0 && x0 < b->width && y0 < b->height)
            run(context, (int)y0, (int)x0, (int)x0 + 1);
        for (size_t i = 1; i < part.n && code == MG_OK; i++, x0 = x1, y0 = y1) {
            point_of(b, &part, i, &x1, &y1);
            if (!isfinite(x0 + y0 + x1 + y1))
                continue;
            if (part.type == 3)
                code = add_edge(b, x0, y0, x1, y1, &c, err);
            if (part.type == 2 || (part.type == 3 && b->all_touched))
                touch(b, x0, y0, x1, y1, run, context);
        }
    }
    if (code == MG_OK)
        fill(b, &c, run, context);
    free(c.at);
    return code;
}
