/* Points to clusters and to the cells of a grid (vector_ops.h).
 *
 * Clusters: points lie in a hash of cubes as wide as the distance, so that a point's neighbours are in 27 of
 * them. On the ground the points are those of the ellipsoid in space (metres from the earth's centre): a
 * chord is shorter than the way by 1 part in 10^6 at 30 km, and neither the poles nor the antimeridian are
 * special. Cost: O(n) for clusters of bounded density. A border point belongs to the cluster that reaches it
 * first, in the order of rows. */
#include "vector_shapes.h"

#include <math.h>
#include <stdlib.h>

struct cloud {
    int64_t n;
    double (*at)[3]; /* NaN: no point */
    double eps;
    uint32_t mask;
    int64_t *first, *next; /* chains of a bucket; -1 ends */
};

static uint32_t bucket_of(const struct cloud *c, int64_t x, int64_t y, int64_t z)
{
    uint64_t h = (uint64_t)x * 0x9E3779B97F4A7C15u ^ (uint64_t)y * 0xC2B2AE3D27D4EB4Fu ^
                 (uint64_t)z * 0x165667B19E3779F9u;
    return (uint32_t)(h >> 32 ^ h) & c->mask;
}

static int64_t cube(const struct cloud *c, int64_t i, int axis)
{
    return (int64_t)floor(c->at[i][axis] / c->eps);
}

/* Neighbours of i, itself among them; how many (at most `cap` are written). */
static size_t neighbours(const struct cloud *c, int64_t i, int64_t *out)
{
    int64_t x = cube(c, i, 0), y = cube(c, i, 1), z = cube(c, i, 2);
    size_t n = 0;
    for (int k = 0; k < 27; k++) {
        int64_t cx = x + k % 3 - 1, cy = y + k / 3 % 3 - 1, cz = z + k / 9 - 1;
        for (int64_t j = c->first[bucket_of(c, cx, cy, cz)]; j >= 0; j = c->next[j]) {
            if (cube(c, j, 0) != cx || cube(c, j, 1) != cy || cube(c, j, 2) != cz)
                continue; /* another cube of this bucket */
            double dx = c->at[i][0] - c->at[j][0], dy = c->at[i][1] - c->at[j][1],
                   dz = c->at[i][2] - c->at[j][2];
            if (dx * dx + dy * dy + dz * dz <= c->eps * c->eps)
                out[n++] = j;
        }
    }
    return n;
}

static void to_space(double lng, double lat, double out[3])
{
    static const double a = 6378137.0, e2 = 0.0066943799901413165;
    double l = lng * (M_PI / 180), b = lat * (M_PI / 180), n = a / sqrt(1 - e2 * sin(b) * sin(b));
    out[0] = n * cos(b) * cos(l);
    out[1] = n * cos(b) * sin(l);
    out[2] = n * (1 - e2) * sin(b);
}

/* `queue` and `near` have room for all. */
static void label_all(const struct cloud *c, size_t min_points, int32_t *labels, int64_t *queue,
                      int64_t *near)
{
    enum { UNSEEN = -1 };
    int32_t label = 0;
    for (int64_t i = 0; i < c->n; i++)
        labels[i] = isnan(c->at[i][0]) ? 0 : UNSEEN;
    for (int64_t i = 0; i < c->n; i++) {
        if (labels[i] != UNSEEN)
            continue;
        if (neighbours(c, i, near) < min_points) {
            labels[i] = 0; /* noise, unless a cluster reaches it */
            continue;
        }
        size_t head = 0, tail = 0;
        labels[i] = ++label;
        queue[tail++] = i;
        while (head < tail) {
            size_t n = neighbours(c, queue[head++], near);
            if (n < min_points)
                continue; /* a border: it spreads no further */
            for (size_t k = 0; k < n; k++) {
                int64_t j = near[k];
                if (labels[j] == UNSEEN)
                    queue[tail++] = j;
                if (labels[j] == UNSEEN || labels[j] == 0)
                    labels[j] = label;
            }
        }
    }
}

static void hash_all(struct cloud *c)
{
    for (uint32_t i = 0; i <= c->mask; i++)
        c->first[i] = -1;
    for (int64_t i = c->n - 1; i >= 0; i--) {
        if (isnan(c->at[i][0]))
            continue;
        uint32_t bucket = bucket_of(c, cube(c, i, 0), cube(c, i, 1), cube(c, i, 2));
        c->next[i] = c->first[bucket];
        c->first[bucket] = i;
    }
}

static enum mg_err load_cloud(const struct mg_table *table, struct cloud *c, struct mg_errmsg *err)
{
    struct shapes shapes;
    bool round_earth = false;
    enum mg_err e = ground_is_round(shapes_crs(table), &round_earth, err);
    if (e || (e = shapes_load(table, round_earth ? "EPSG:4326" : shapes_crs(table), &shapes, err)))
        return e;
    double *x = malloc(((size_t)c->n + 1) * sizeof *x), *y = malloc(((size_t)c->n + 1) * sizeof *y);
    e = x && y ? shapes_points(&shapes, x, y, err) : mg_err_set(err, MG_E_NOMEM, "out of memory");
    for (int64_t i = 0; !e && i < c->n; i++) {
        c->at[i][0] = x[i];
        c->at[i][1] = y[i];
        c->at[i][2] = 0;
        if (round_earth && !isnan(x[i]))
            to_space(x[i], y[i], c->at[i]);
        else if (fabs(x[i] / c->eps) > 1e15 || fabs(y[i] / c->eps) > 1e15)
            e = mg_err_set(err, MG_E_ARGUMENT, "the distance is too small for where the rows lie");
    }
    free(x);
    free(y);
    shapes_free(&shapes);
    return e;
}

enum mg_err mg_vector_cluster(const struct mg_table *table, double distance, int min_points, int32_t *labels,
                              struct mg_errmsg *err)
{
    struct cloud c = {.n = table->rows, .eps = distance};
    if (!(distance > 1e-6 && isfinite(distance)) || min_points < 1)
        return mg_err_set(err, MG_E_ARGUMENT, "a distance above 0 and at least one point are expected");
    size_t n = (size_t)c.n + 1;
    for (c.mask = 1; c.mask < n && c.mask < 1u << 30;)
        c.mask = c.mask * 2 + 1;
    c.at = malloc(n * sizeof *c.at);
    c.first = malloc(((size_t)c.mask + 1) * sizeof *c.first);
    c.next = malloc(n * sizeof *c.next);
    int64_t *queue = malloc(n * sizeof *queue), *near = malloc(n * sizeof *near);
    bool good = c.at && c.first && c.next && queue && near;
    enum mg_err e =
        good ? load_cloud(table, &c, err) : mg_err_set(err, MG_E_NOMEM, "out of memory for clusters");
    if (!e) {
        hash_all(&c);
        label_all(&c, (size_t)min_points, labels, queue, near);
    }
    free(c.at);
    free(c.first);
    free(c.next);
    free(queue);
    free(near);
    return e;
}

/* ---- grid ---- */

struct cell {
    int64_t column, row, n;
};

/* A square's, or a hexagon's whose points show up and down (offset rows; "size" between its upright sides).
 */
static struct cell cell_of(bool hexagons, double size, double x, double y)
{
    if (!hexagons)
        return (struct cell){(int64_t)floor(x / size), (int64_t)floor(y / size), 1};
    /* In cube coordinates the nearest centre is the rounded one, but for the axis that was rounded most. */
    double r = size / sqrt(3), q = (x * sqrt(3) / 3 - y / 3) / r, s = y * 2 / 3 / r;
    double rq = round(q), rs = round(s), rt = round(-q - s);
    double dq = fabs(rq - q), ds = fabs(rs - s), dt = fabs(rt + q + s);
    if (dq > ds && dq > dt)
        rq = -rs - rt;
    else if (ds > dt)
        rs = -rq - rt;
    return (struct cell){(int64_t)rq, (int64_t)rs, 1};
}

static int by_place(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    return x->row != y->row         ? (x->row > y->row) - (x->row < y->row)
           : x->column != y->column ? (x->column > y->column) - (x->column < y->column)
                                    : 0;
}

static void put_ring(struct mg_buf *out, const double (*points)[2], uint32_t n)
{
    static const uint32_t polygon = 3, one = 1;
    uint32_t total = n + 1;
    out->len = 0;
    mg_buf_char(out, 1);
    mg_buf_put(out, &polygon, 4);
    mg_buf_put(out, &one, 4);
    mg_buf_put(out, &total, 4);
    mg_buf_put(out, points, n * sizeof *points);
    mg_buf_put(out, points[0], sizeof *points);
}

static void put_cell(const struct cell *c, bool hexagons, double size, struct mg_buf *out)
{
    double points[6][2], r = size / sqrt(3), column = (double)c->column, row = (double)c->row;
    if (!hexagons) {
        static const int corners[4][2] = {{0, 0}, {1, 0}, {1, 1}, {0, 1}};
        for (int i = 0; i < 4; i++) {
            points[i][0] = (column + corners[i][0]) * size;
            points[i][1] = (row + corners[i][1]) * size;
        }
        put_ring(out, (const double(*)[2])points, 4);
        return;
    }
    /* Corners as multiples of the same steps, so that neighbours share theirs to the last bit. */
    static const int steps[6][2] = {{0, -2}, {1, -1}, {1, 1}, {0, 2}, {-1, 1}, {-1, -1}};
    for (int i = 0; i < 6; i++) {
        points[i][0] = (column * 2 + row + steps[i][0]) * (size / 2);
        points[i][1] = (row * 3 + steps[i][1]) * (r / 2);
    }
    put_ring(out, (const double(*)[2])points, 6);
}

static enum mg_err build_cells(const struct cell *cells, size_t n, bool hexagons, double size,
                               struct mg_transform *back, const char *crs, struct mg_table **out,
                               struct mg_errmsg *err)
{
    struct mg_table_builder *builder = mg_table_builder_new(crs);
    struct mg_buf ring, moved;
    bool degrees = mg_crs_is_lnglat(crs) && back; /* then a cell may reach over the antimeridian */
    enum mg_err e = MG_OK;
    if (!builder || mg_table_builder_column(builder, "n", MG_COL_INT64) != 0 ||
        mg_table_builder_column(builder, "geometry", MG_COL_WKB) != 1)
        e = mg_err_set(err, MG_E_NOMEM, "out of memory for a grid");
    mg_buf_init(&ring, 0);
    mg_buf_init(&moved, 0);
    for (size_t i = 0; !e && i < n; i++) {
        struct mg_cell count = {.type = MG_CELL_INT, .i = cells[i].n}, shape = {.type = MG_CELL_BINARY};
        put_cell(&cells[i], hexagons, size, &ring);
        moved.len = 0;
        e = mg_wkb_transform(back, (struct mg_span){ring.data, ring.len}, &moved, err);
        if (!e && degrees && mg_wkb_cut_world((struct mg_span){moved.data, moved.len}, true, &ring))
            shape.s = (struct mg_span){ring.data, ring.len};
        else
            shape.s = (struct mg_span){moved.data, moved.len};
        mg_table_builder_set(builder, 0, &count);
        mg_table_builder_set(builder, 1, &shape);
        mg_table_builder_row(builder);
    }
    if (!e)
        e = mg_table_builder_finish(&builder, out, err);
    mg_table_builder_free(&builder);
    mg_buf_fini(&ring);
    mg_buf_fini(&moved);
    return e;
}

enum mg_err mg_vector_grid(const struct mg_table *table, bool hexagons, double size, const char *grid_crs,
                           struct mg_table **out, struct mg_errmsg *err)
{
    struct shapes shapes;
    struct mg_transform *there = NULL, *back = NULL;
    size_t n = 0, got = 0, rows = (size_t)table->rows + 1;
    if (!(size > 1e-9 && isfinite(size)))
        return mg_err_set(err, MG_E_ARGUMENT, "a size above 0 is expected");
    enum mg_err e = mg_transform_get(shapes_crs(table), grid_crs, &there, err);
    if (e || (e = mg_transform_get(grid_crs, shapes_crs(table), &back, err)) ||
        (e = shapes_load(table, shapes_crs(table), &shapes, err)))
        return e;
    double *x = malloc(rows * sizeof *x), *y = malloc(rows * sizeof *y);
    struct cell *cells = malloc(rows * sizeof *cells);
    e = x && y && cells ? shapes_points(&shapes, x, y, err)
                        : mg_err_set(err, MG_E_NOMEM, "out of memory for a grid");
    shapes_free(&shapes);
    for (int64_t i = 0; !e && i < table->rows; i++) /* only those that are points */
        if (!isnan(x[i])) {
            x[got] = x[i];
            y[got++] = y[i];
        }
    if (!e)
        (void)mg_transform_points(there, x, y, got); /* what lies nowhere is in no cell */
    for (size_t i = 0; !e && i < got; i++)
        if (isfinite(x[i]) && isfinite(y[i])) {
            if (fabs(x[i] / size) > 1e15 || fabs(y[i] / size) > 1e15)
                e = mg_err_set(err, MG_E_ARGUMENT, "the cells are too small for where the rows lie");
            else
                cells[n++] = cell_of(hexagons, size, x[i], y[i]);
        }
    if (!e && n) {
        size_t kept = 0;
        qsort(cells, n, sizeof *cells, by_place);
        for (size_t i = 1; i < n; i++)
            if (by_place(&cells[kept], &cells[i]) == 0)
                cells[kept].n++;
            else
                cells[++kept] = cells[i];
        n = kept + 1;
    }
    if (!e)
        e = build_cells(cells, n, hexagons, size, back, shapes_crs(table), out, err);
    free(x);
    free(y);
    free(cells);
    return e;
}
