/* Spatial join and nearest rows (vector_ops.h).
 *
 * The side with the smaller shapes is put into an R-tree; each shape of the other asks it for candidates and,
 * where there are several, is prepared, so that a test costs about a microsecond. Nearest rows are searched
 * in growing boxes: whatever lies outside of a box of r metres is farther than r. */
#include "geometry_geos.h"
#include "rtree.h"
#include "vector_shapes.h"

#include <math.h>
#include <stdlib.h>

/* ---- pairs ---- */

void mg_pairs_free(struct mg_pairs *pairs)
{
    free(pairs->left);
    free(pairs->right);
    free(pairs->distance);
    *pairs = (struct mg_pairs){0};
}

static bool grow_column(void *column, size_t cap, size_t width)
{
    void **at = column, *more = realloc(*at, cap * width);
    if (more)
        *at = more;
    return more != NULL;
}

static bool add_pair(struct mg_pairs *p, int64_t left, int64_t right, const double *distance)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 1024;
        if (!grow_column(&p->left, cap, sizeof *p->left) || !grow_column(&p->right, cap, sizeof *p->right) ||
            (distance && !grow_column(&p->distance, cap, sizeof *p->distance)))
            return false;
        p->cap = cap;
    }
    p->left[p->n] = left;
    p->right[p->n] = right;
    if (distance)
        p->distance[p->n] = *distance;
    p->n++;
    return true;
}

/* By left row, stably: the pairs of one left row are in the order in which they were found. */
static enum mg_err sort_by_left(struct mg_pairs *p, int64_t rows, struct mg_errmsg *err)
{
    size_t *at = calloc((size_t)rows + 1, sizeof *at);
    int64_t *left = malloc((p->n + 1) * sizeof *left), *right = malloc((p->n + 1) * sizeof *right);
    if (!at || !left || !right) {
        free(at);
        free(left);
        free(right);
        return mg_err_set(err, MG_E_NOMEM, "out of memory for the pairs of a join");
    }
    for (size_t i = 0; i < p->n; i++)
        at[p->left[i] + 1]++;
    for (int64_t r = 0; r < rows; r++)
        at[r + 1] += at[r];
    for (size_t i = 0; i < p->n; i++) {
        size_t to = at[p->left[i]]++;
        left[to] = p->left[i];
        right[to] = p->right[i];
    }
    free(at);
    free(p->left);
    free(p->right);
    p->left = left;
    p->right = right;
    p->cap = p->n + 1;
    return MG_OK;
}

/* ---- join ---- */

typedef char test_f(GEOSContextHandle_t, const GEOSGeometry *, const GEOSGeometry *);
typedef char prepared_f(GEOSContextHandle_t, const GEOSPreparedGeometry *, const GEOSGeometry *);

/* `swapped` asks the same with the right shape prepared. */
static const struct {
    const char *name;
    test_f *plain;
    prepared_f *prepared, *swapped;
} predicates[] = {
    {"intersects", GEOSIntersects_r, GEOSPreparedIntersects_r, GEOSPreparedIntersects_r},
    {"within", GEOSWithin_r, GEOSPreparedWithin_r, GEOSPreparedContains_r},
    {"contains", GEOSContains_r, GEOSPreparedContains_r, GEOSPreparedWithin_r},
    {"covers", GEOSCovers_r, GEOSPreparedCovers_r, GEOSPreparedCoveredBy_r},
    {"covered_by", GEOSCoveredBy_r, GEOSPreparedCoveredBy_r, GEOSPreparedCovers_r},
    {"touches", GEOSTouches_r, GEOSPreparedTouches_r, GEOSPreparedTouches_r},
    {"crosses", GEOSCrosses_r, GEOSPreparedCrosses_r, GEOSPreparedCrosses_r},
    {"overlaps", GEOSOverlaps_r, GEOSPreparedOverlaps_r, GEOSPreparedOverlaps_r},
};
const char *const mg_join_names = "\"intersects\", \"within\", \"contains\", \"covers\", \"covered_by\", "
                                  "\"touches\", \"crosses\", \"overlaps\"";

int mg_join_find(struct mg_span name)
{
    for (size_t i = 0; i < sizeof predicates / sizeof *predicates; i++)
        if (mg_span_is(name, predicates[i].name))
            return (int)i;
    return -1;
}

struct join {
    int predicate;
    bool right_asks; /* the rows of `asking` are those of the right table */
    const struct shapes *asking, *listed;
    GEOSGeometry **parsed; /* of the listed, as they are met */
    uint32_t *hits;
    size_t n_hits, cap_hits;
    bool failed; /* no memory */
    struct mg_pairs *out;
};

static void on_hit(void *context, uint32_t id, bool whole)
{
    struct join *j = context;
    (void)whole;
    if (j->n_hits == j->cap_hits) {
        size_t cap = j->cap_hits ? j->cap_hits * 2 : 256;
        if (!grow_column(&j->hits, cap, sizeof *j->hits)) {
            j->failed = true;
            return;
        }
        j->cap_hits = cap;
    }
    j->hits[j->n_hits++] = id;
}

static int by_row(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static enum mg_err parse(struct join *j, uint32_t row, struct mg_errmsg *err)
{
    struct mg_bounds at = j->listed->boxes[row];
    if (j->parsed[row])
        return MG_OK;
    if (!mg_wkb_plain_point(j->listed->wkb[row])) /* a point needs no reader */
        return geos_read(j->listed->wkb[row], &j->parsed[row], err);
    j->parsed[row] = GEOSGeom_createPointFromXY_r(geos_context, at.xmin, at.ymin);
    return j->parsed[row] ? MG_OK : mg_err_set(err, MG_E_NOMEM, "out of memory for GEOS");
}

/* 1, 0, or 2 when GEOS cannot tell. */
static char test(const struct join *j, const GEOSGeometry *asking, const GEOSPreparedGeometry *prepared,
                 const GEOSGeometry *listed)
{
    if (prepared)
        return (j->right_asks ? predicates[j->predicate].swapped
                              : predicates[j->predicate].prepared)(geos_context, prepared, listed);
    return predicates[j->predicate].plain(geos_context, j->right_asks ? listed : asking,
                                          j->right_asks ? asking : listed);
}

/* Invalid shapes are asked again, made valid. */
static char test_valid(const struct join *j, const GEOSGeometry *asking, const GEOSGeometry *listed)
{
    GEOSGeometry *a = GEOSMakeValid_r(geos_context, asking), *b = GEOSMakeValid_r(geos_context, listed);
    char answer = a && b ? test(j, a, NULL, b) : 2;
    if (a)
        GEOSGeom_destroy_r(geos_context, a);
    if (b)
        GEOSGeom_destroy_r(geos_context, b);
    return answer;
}

/* The candidates of one asking row. */
static enum mg_err ask(struct join *j, int64_t row, struct mg_errmsg *err)
{
    GEOSGeometry *shape = NULL;
    enum mg_err e = geos_read(j->asking->wkb[row], &shape, err);
    const GEOSPreparedGeometry *prepared = !e && j->n_hits > 1 ? GEOSPrepare_r(geos_context, shape) : NULL;
    qsort(j->hits, j->n_hits, sizeof *j->hits, by_row);
    for (size_t i = 0; !e && i < j->n_hits; i++) {
        uint32_t hit = j->hits[i];
        if ((e = parse(j, hit, err)))
            break;
        char answer = test(j, shape, prepared, j->parsed[hit]);
        if (answer == 2)
            answer = test_valid(j, shape, j->parsed[hit]);
        if (answer == 2)
            e = geos_failed(err, predicates[j->predicate].name);
        else if (answer == 1 && !add_pair(j->out, j->right_asks ? hit : row, j->right_asks ? row : hit, NULL))
            e = mg_err_set(err, MG_E_NOMEM, "out of memory for the pairs of a join");
    }
    if (prepared)
        GEOSPreparedGeom_destroy_r(geos_context, prepared);
    if (shape)
        GEOSGeom_destroy_r(geos_context, shape);
    return e;
}

static enum mg_err join_all(struct join *j, struct mg_errmsg *err)
{
    enum mg_err e = geos_need(err);
    struct mg_rtree *tree = e ? NULL : mg_rtree_new(j->listed->boxes, (uint32_t)j->listed->n);
    j->parsed = calloc((size_t)j->listed->n + 1, sizeof *j->parsed);
    if (!e && (!tree || !j->parsed))
        e = mg_err_set(err, MG_E_NOMEM, "out of memory for a join");
    for (int64_t row = 0; !e && row < j->asking->n; row++) {
        if (!shapes_has(j->asking, row))
            continue;
        j->n_hits = 0;
        mg_rtree_query(tree, j->asking->boxes[row], on_hit, j);
        if (j->failed)
            e = mg_err_set(err, MG_E_NOMEM, "out of memory for a join");
        else if (j->n_hits)
            e = ask(j, row, err);
    }
    for (int64_t i = 0; j->parsed && i < j->listed->n; i++)
        if (j->parsed[i])
            GEOSGeom_destroy_r(geos_context, j->parsed[i]);
    free(j->parsed);
    free(j->hits);
    mg_rtree_free(&tree);
    return e;
}

enum mg_err mg_vector_join(const struct mg_table *left, const struct mg_table *right, int predicate,
                           struct mg_pairs *out, struct mg_errmsg *err)
{
    struct shapes a, b;
    struct mg_pairs pairs = {0};
    MG_ASSERT(predicate >= 0 && (size_t)predicate < sizeof predicates / sizeof *predicates);
    if (left->rows > UINT32_MAX - 1 || right->rows > UINT32_MAX - 1)
        return mg_err_set(err, MG_E_ARGUMENT, "a join of more than 4 billion rows");
    enum mg_err e = shapes_load(left, shapes_crs(left), &a, err);
    if (e)
        return e;
    if (!(e = shapes_load(right, shapes_crs(left), &b, err))) {
        bool right_asks = (double)b.bytes / (double)(b.n + 1) > (double)a.bytes / (double)(a.n + 1);
        struct join j = {.predicate = predicate,
                         .right_asks = right_asks,
                         .asking = right_asks ? &b : &a,
                         .listed = right_asks ? &a : &b,
                         .out = &pairs};
        e = join_all(&j, err);
        if (!e && right_asks)
            e = sort_by_left(&pairs, left->rows, err);
        shapes_free(&b);
    }
    shapes_free(&a);
    if (e)
        mg_pairs_free(&pairs);
    else
        *out = pairs;
    return e;
}

/* ---- nearest ---- */

struct nearest {
    bool round;
    const struct shapes *right;
    struct mg_span shape;
    int64_t row;     /* the best so far; -1: none */
    double distance; /* of it */
    enum mg_err e;
    struct mg_errmsg *err;
};

static void on_near(void *context, uint32_t id, bool whole)
{
    struct nearest *n = context;
    double d = INFINITY;
    (void)whole;
    if (n->e)
        return;
    n->e = n->round ? ground_distance_degrees(n->shape, n->right->wkb[id], &d, n->err)
                    : ground_distance_plane(n->shape, n->right->wkb[id], &d, n->err);
    if (n->e || !(d < n->distance || (d == n->distance && n->row >= 0 && id < n->row)))
        return;
    n->distance = d;
    n->row = id;
}

/* Boxes that hold all that lies within r metres (units) of the box; how many. */
static int reach(const struct nearest *n, struct mg_bounds box, double r, struct mg_bounds out[3])
{
    if (!n->round) {
        out[0] = (struct mg_bounds){box.xmin - r, box.ymin - r, box.xmax + r, box.ymax + r};
        return 1;
    }
    double dy = r / 110500, lat = fmin(fmax(fabs(box.ymin), fabs(box.ymax)) + dy, 90), dx, y;
    ground_degree(lat, &dx, &y);
    dx = lat >= 89.9 ? 360 : r * 1.01 / dx;
    if (dx >= 180) { /* all around */
        out[0] = (struct mg_bounds){-INFINITY, box.ymin - dy, INFINITY, box.ymax + dy};
        return 1;
    }
    for (int i = 0; i < 3; i++)
        out[i] = (struct mg_bounds){box.xmin - dx + (i - 1) * 360, box.ymin - dy,
                                    box.xmax + dx + (i - 1) * 360, box.ymax + dy};
    return 3;
}

static enum mg_err search(struct nearest *n, const struct mg_rtree *tree, struct mg_bounds box, double first,
                          double farthest)
{
    static const double world = 2.1e7; /* metres: no two places are farther apart */
    double last = n->round ? fmin(farthest, world) : farthest;
    for (double r = first;; r *= 2) {
        struct mg_bounds boxes[3];
        bool all = r >= last;
        n->row = -1;
        n->distance = INFINITY;
        int k = reach(n, box, all ? last : r, boxes);
        for (int i = 0; i < k; i++)
            mg_rtree_query(tree, boxes[i], on_near, n);
        if (n->e || all || (n->row >= 0 && n->distance <= r))
            break;
        if (n->row >= 0) /* nothing that is nearer can lie farther out than this one */
            r = fmax(r, n->distance / 2);
    }
    if (n->row >= 0 && n->distance > farthest)
        n->row = -1;
    return n->e;
}

/* A radius in which about one shape lies. */
static double first_radius(const struct mg_rtree *tree, bool round_earth)
{
    struct mg_bounds all = mg_rtree_bounds(tree);
    double x = 1, y = 1;
    if (round_earth)
        ground_degree((all.ymin + all.ymax) / 2, &x, &y);
    double area = (all.xmax - all.xmin) * x * (all.ymax - all.ymin) * y,
           r = sqrt(area / mg_rtree_count(tree));
    return r > 0 && isfinite(r) ? r : 1;
}

static enum mg_err nearest_all(const struct shapes *left, const struct shapes *right, bool round_earth,
                               double max_distance, struct mg_pairs *out, struct mg_errmsg *err)
{
    struct mg_rtree *tree = mg_rtree_new(right->boxes, (uint32_t)right->n);
    struct nearest n = {.round = round_earth, .right = right, .err = err};
    enum mg_err e = tree ? MG_OK : mg_err_set(err, MG_E_NOMEM, "out of memory for a join");
    if (!e && mg_rtree_count(tree)) {
        struct mg_bounds all = mg_rtree_bounds(tree);
        double first = fmin(first_radius(tree, round_earth), max_distance);
        for (int64_t row = 0; !e && row < left->n; row++) {
            if (!shapes_has(left, row))
                continue;
            n.shape = left->wkb[row];
            struct mg_bounds box = left->boxes[row];
            double span = fmax(fmax(all.xmax, box.xmax) - fmin(all.xmin, box.xmin),
                               fmax(all.ymax, box.ymax) - fmin(all.ymin, box.ymin));
            double farthest = round_earth ? max_distance : fmin(max_distance, span * 2 + 1);
            e = search(&n, tree, box, first, farthest);
            if (!e && n.row >= 0 && !add_pair(out, row, n.row, &n.distance))
                e = mg_err_set(err, MG_E_NOMEM, "out of memory for the pairs of a join");
        }
    }
    mg_rtree_free(&tree);
    return e;
}

enum mg_err mg_vector_nearest(const struct mg_table *left, const struct mg_table *right, double max_distance,
                              struct mg_pairs *out, struct mg_errmsg *err)
{
    struct shapes a, b;
    struct mg_pairs pairs = {0};
    bool round_earth = false;
    if (!(max_distance >= 0))
        return mg_err_set(err, MG_E_ARGUMENT, "max_distance: a number from 0 is expected");
    if (left->rows > UINT32_MAX - 1 || right->rows > UINT32_MAX - 1)
        return mg_err_set(err, MG_E_ARGUMENT, "a join of more than 4 billion rows");
    enum mg_err e = ground_is_round(shapes_crs(left), &round_earth, err);
    const char *crs = round_earth ? "EPSG:4326" : shapes_crs(left);
    if (e || (e = shapes_load(left, crs, &a, err)))
        return e;
    if (!(e = shapes_load(right, crs, &b, err))) {
        e = nearest_all(&a, &b, round_earth, max_distance, &pairs, err);
        shapes_free(&b);
    }
    shapes_free(&a);
    if (e)
        mg_pairs_free(&pairs);
    else
        *out = pairs;
    return e;
}
