/* Shapes of a table: collected, brought into a CRS, united, taken apart (vector_ops.h).
 *
 * WKB is borrowed from the table unless a transform has to move it. Cost: a cursor's step and a pass over the
 * coordinates for each row. */
#include "vector_shapes.h"

#include "geometry_geos.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_DEPTH = 8 };

enum mg_err mg_table_shapes(const struct mg_table *table, struct mg_span *out, struct mg_errmsg *err)
{
    int64_t at = 0;
    if (table->geometry < 0)
        return mg_err_set(err, MG_E_ARGUMENT, "the table has no geometry");
    for (size_t b = 0; b < table->n_batches; b++) {
        struct mg_cursor *cursor = NULL;
        enum mg_err e = mg_cursor_open(table, b, table->geometry, &cursor, err);
        if (e)
            return e;
        for (int64_t i = 0; i < table->batches[b].length; i++, at++) {
            struct mg_cell cell;
            mg_cursor_get(cursor, i, &cell);
            out[at] = cell.type == MG_CELL_BINARY ? cell.s : (struct mg_span){NULL, 0};
        }
        mg_cursor_close(&cursor);
    }
    return MG_OK;
}

/* Each of them into `moved`; spans are set when the buffer no longer grows. */
static enum mg_err move_shapes(struct shapes *s, struct mg_transform *transform, struct mg_errmsg *err)
{
    for (int64_t i = 0; i < s->n; i++) {
        size_t start = s->moved.len;
        enum mg_err e = s->wkb[i].len ? mg_wkb_transform(transform, s->wkb[i], &s->moved, err) : MG_OK;
        if (e)
            return e;
        s->wkb[i].len = s->moved.len - start;
    }
    size_t at = 0;
    for (int64_t i = 0; i < s->n; at += s->wkb[i++].len)
        s->wkb[i].data = s->moved.data ? s->moved.data + at : NULL;
    return MG_OK;
}

enum mg_err shapes_load(const struct mg_table *table, const char *crs, struct shapes *out,
                        struct mg_errmsg *err)
{
    static const struct mg_bounds nowhere = {INFINITY, INFINITY, -INFINITY, -INFINITY};
    struct mg_transform *transform = NULL;
    *out = (struct shapes){.n = table->rows};
    mg_buf_init(&out->moved, 0);
    out->wkb = calloc((size_t)table->rows + 1, sizeof *out->wkb);
    out->boxes = calloc((size_t)table->rows + 1, sizeof *out->boxes);
    enum mg_err e = out->wkb && out->boxes ? mg_table_shapes(table, out->wkb, err)
                                           : mg_err_set(err, MG_E_NOMEM, "out of memory");
    if (!e)
        e = mg_transform_get(shapes_crs(table), crs, &transform, err);
    if (!e && transform)
        e = move_shapes(out, transform, err);
    for (int64_t i = 0; !e && i < out->n; i++) {
        out->bytes += out->wkb[i].len;
        if (!mg_wkb_bounds(out->wkb[i], &out->boxes[i]))
            out->boxes[i] = nowhere;
    }
    if (e)
        shapes_free(out);
    return e;
}

void shapes_free(struct shapes *shapes)
{
    free(shapes->wkb);
    free(shapes->boxes);
    mg_buf_fini(&shapes->moved);
    *shapes = (struct shapes){0};
}

enum mg_err shapes_points(const struct shapes *s, double *x, double *y, struct mg_errmsg *err)
{
    struct mg_buf point;
    enum mg_err e = MG_OK;
    mg_buf_init(&point, 0);
    for (int64_t i = 0; !e && i < s->n; i++) {
        struct mg_bounds box = s->boxes[i];
        x[i] = y[i] = NAN;
        if (!shapes_has(s, i))
            continue;
        if (mg_wkb_type(s->wkb[i]) != 1) {
            point.len = 0;
            if ((e = mg_wkb_unary(MG_GEO_CENTROID, s->wkb[i], &point, err)) ||
                !mg_wkb_bounds((struct mg_span){point.data, point.len}, &box))
                continue;
        }
        x[i] = box.xmin;
        y[i] = box.ymin;
    }
    mg_buf_fini(&point);
    return e;
}

/* ---- union ---- */

static GEOSGeometry *unite(GEOSGeometry **parts, size_t n)
{
    GEOSGeometry *all =
        GEOSGeom_createCollection_r(geos_context, GEOS_GEOMETRYCOLLECTION, parts, (unsigned)n);
    GEOSGeometry *one = all ? GEOSUnaryUnion_r(geos_context, all) : NULL;
    if (all && !one) { /* invalid input; made valid, it is what its author meant */
        geos_make_valid(&all);
        one = GEOSUnaryUnion_r(geos_context, all);
    }
    if (all)
        GEOSGeom_destroy_r(geos_context, all);
    else
        for (size_t i = 0; i < n; i++)
            GEOSGeom_destroy_r(geos_context, parts[i]);
    return one;
}

enum mg_err mg_wkb_union_all(const struct mg_span *wkbs, size_t n, struct mg_buf *out, struct mg_errmsg *err)
{
    GEOSGeometry **parts = calloc(n + 1, sizeof *parts);
    size_t got = 0;
    enum mg_err e = parts ? geos_need(err) : mg_err_set(err, MG_E_NOMEM, "out of memory");
    for (size_t i = 0; !e && i < n; i++)
        if (wkbs[i].len && !(e = geos_read(wkbs[i], &parts[got], err)))
            got++;
    if (!e)
        e = geos_finish(unite(parts, got), "union", out, err);
    else
        for (size_t i = 0; i < got; i++)
            GEOSGeom_destroy_r(geos_context, parts[i]);
    free(parts);
    return e;
}

/* ---- explode ---- */

static enum mg_err explode(const GEOSGeometry *g, int depth, mg_wkb_part_f *each, void *context,
                           struct mg_errmsg *err)
{
    int n = GEOSGetNumGeometries_r(geos_context, g);
    enum mg_err e = MG_OK;
    if (GEOSGeomTypeId_r(geos_context, g) < GEOS_MULTIPOINT || depth > MAX_DEPTH) {
        struct mg_buf wkb;
        mg_buf_init(&wkb, 0);
        e = geos_finish(GEOSGeom_clone_r(geos_context, g), "explode", &wkb, err);
        if (!e)
            e = each(context, (struct mg_span){wkb.data, wkb.len}, err);
        mg_buf_fini(&wkb);
        return e;
    }
    for (int i = 0; !e && i < n; i++)
        e = explode(GEOSGetGeometryN_r(geos_context, g, i), depth + 1, each, context, err);
    return e;
}

enum mg_err mg_wkb_explode(struct mg_span wkb, mg_wkb_part_f *each, void *context, struct mg_errmsg *err)
{
    GEOSGeometry *g = NULL;
    if (mg_wkb_type(wkb) >= 1 && mg_wkb_type(wkb) <= 3)
        return each(context, wkb, err);
    enum mg_err e = geos_read(wkb, &g, err);
    if (e)
        return e;
    e = explode(g, 0, each, context, err);
    GEOSGeom_destroy_r(geos_context, g);
    return e;
}
