/* A packed Hilbert R-tree (Kamel and Faloutsos, "On Packing R-trees", 1993).
 *
 * Leaves are sorted by the Hilbert value of their centre on a 2^16 grid; each further level holds
 * the boxes of 16 entries of the one below; all levels lie in one array, the leaves first. Building
 * costs about 80 ns a box, a query O(log n + hits). */
#include "rtree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FAN = 16, MAX_LEVELS = 10 };

struct mg_rtree {
    uint32_t n;     /* leaves */
    uint32_t total; /* entries of all levels */
    int levels;
    uint32_t start[MAX_LEVELS + 1]; /* of each level; the last: total */
    uint32_t *ids;                  /* of the leaves */
    struct mg_bounds *boxes;
    struct pin *pin; /* holds ids and boxes; NULL: they are ours */
};

/* Hilbert index of a cell of the 2^16 x 2^16 grid: from the quadrant at the top downwards. */
static uint32_t hilbert(uint32_t x, uint32_t y)
{
    uint32_t d = 0;
    for (uint32_t s = 1u << 15; s; s >>= 1) {
        uint32_t rx = (x & s) != 0, ry = (y & s) != 0;
        d += s * s * (3 * rx ^ ry);
        if (!ry) {
            if (rx) {
                x = 65535 - x;
                y = 65535 - y;
            }
            uint32_t t = x;
            x = y;
            y = t;
        }
    }
    return d;
}

/* Sorts ids by key: two passes of 16 bits. */
static bool radix_sort(uint32_t *keys, uint32_t *ids, uint32_t n)
{
    uint32_t *keys2 = malloc((size_t)n * 4 + 4), *ids2 = malloc((size_t)n * 4 + 4);
    uint32_t *count = malloc(65537 * sizeof *count);
    bool ok = keys2 && ids2 && count;
    for (int pass = 0; ok && pass < 2; pass++) {
        int shift = pass * 16;
        memset(count, 0, 65537 * sizeof *count);
        for (uint32_t i = 0; i < n; i++)
            count[(keys[i] >> shift & 65535) + 1]++;
        for (uint32_t i = 0; i < 65536; i++)
            count[i + 1] += count[i];
        for (uint32_t i = 0; i < n; i++) {
            uint32_t at = count[keys[i] >> shift & 65535]++;
            keys2[at] = keys[i];
            ids2[at] = ids[i];
        }
        uint32_t *t = keys;
        keys = keys2;
        keys2 = t;
        t = ids;
        ids = ids2;
        ids2 = t;
    }
    /* After two passes the pointers are the caller's again. */
    free(keys2);
    free(ids2);
    free(count);
    return ok;
}

static void grow(struct mg_bounds *box, const struct mg_bounds *by)
{
    box->xmin = by->xmin < box->xmin ? by->xmin : box->xmin;
    box->ymin = by->ymin < box->ymin ? by->ymin : box->ymin;
    box->xmax = by->xmax > box->xmax ? by->xmax : box->xmax;
    box->ymax = by->ymax > box->ymax ? by->ymax : box->ymax;
}

static const struct mg_bounds nothing = {INFINITY, INFINITY, -INFINITY, -INFINITY};

static uint32_t cell(double value, double min, double max)
{
    double t = max > min ? (value - min) / (max - min) * 65535 : 0;
    return t > 0 ? t < 65535 ? (uint32_t)t : 65535 : 0;
}

static void plan_levels(struct mg_rtree *tree)
{
    uint32_t at = 0, count = tree->n;
    tree->levels = 0;
    do {
        tree->start[tree->levels++] = at;
        at += count;
        count = (count + FAN - 1) / FAN;
    } while (at > tree->start[tree->levels - 1] + 1 && tree->levels < MAX_LEVELS);
    tree->start[tree->levels] = tree->total = at;
}

struct mg_rtree *mg_rtree_new(const struct mg_bounds *boxes, uint32_t n)
{
    struct mg_rtree *tree = calloc(1, sizeof *tree);
    uint32_t *keys = malloc((size_t)n * 4 + 4), *ids = malloc((size_t)n * 4 + 4);
    struct mg_bounds all = nothing;
    if (!tree || !keys || !ids)
        goto failed;
    for (uint32_t i = 0; i < n; i++)
        if (boxes[i].xmin <= boxes[i].xmax) {
            grow(&all, &boxes[i]);
            ids[tree->n++] = i;
        }
    for (uint32_t i = 0; i < tree->n; i++) {
        const struct mg_bounds *b = &boxes[ids[i]];
        keys[i] = hilbert(cell((b->xmin + b->xmax) / 2, all.xmin, all.xmax),
                          cell((b->ymin + b->ymax) / 2, all.ymin, all.ymax));
    }
    if (!radix_sort(keys, ids, tree->n))
        goto failed;
    plan_levels(tree);
    tree->ids = ids;
    tree->boxes = malloc((size_t)(tree->total + 1) * sizeof *tree->boxes);
    if (!tree->boxes)
        goto failed;
    for (uint32_t i = 0; i < tree->n; i++)
        tree->boxes[i] = boxes[ids[i]];
    for (int level = 1; level < tree->levels; level++)
        for (uint32_t i = tree->start[level]; i < tree->start[level + 1]; i++) {
            uint32_t from = tree->start[level - 1] + (i - tree->start[level]) * FAN;
            uint32_t to = from + FAN < tree->start[level] ? from + FAN : tree->start[level];
            tree->boxes[i] = nothing;
            for (uint32_t k = from; k < to; k++)
                grow(&tree->boxes[i], &tree->boxes[k]);
        }
    free(keys);
    return tree;
failed:
    free(keys);
    free(ids);
    free(tree);
    return NULL;
}

/* n, total; the boxes; the ids. */
void mg_rtree_store(const struct mg_rtree *tree, struct mg_buf *out)
{
    uint32_t counts[2] = {tree->n, tree->total};
    mg_buf_put(out, counts, sizeof counts);
    mg_buf_put(out, tree->boxes, (size_t)tree->total * sizeof *tree->boxes);
    mg_buf_put(out, tree->ids, (size_t)tree->n * sizeof *tree->ids);
}

struct mg_rtree *mg_rtree_restore(struct mg_span stored, uint32_t rows, struct pin *pin)
{
    uint32_t counts[2];
    struct mg_rtree plan = {0};
    if (stored.len < sizeof counts || (uintptr_t)stored.data % 8)
        return NULL;
    memcpy(counts, stored.data, sizeof counts);
    plan.n = counts[0];
    if (plan.n > rows || plan.n > UINT32_MAX / 2)
        return NULL;
    plan_levels(&plan);
    size_t boxes = (size_t)plan.total * sizeof *plan.boxes;
    if (counts[1] != plan.total || stored.len - sizeof counts != boxes + (size_t)plan.n * sizeof *plan.ids)
        return NULL;
    plan.boxes = (struct mg_bounds *)(uintptr_t)(stored.data + sizeof counts);
    plan.ids = (uint32_t *)(uintptr_t)(stored.data + sizeof counts + boxes);
    for (uint32_t i = 0; i < plan.n; i++)
        if (plan.ids[i] >= rows)
            return NULL;
    struct mg_rtree *tree = malloc(sizeof *tree);
    if (tree) {
        *tree = plan;
        tree->pin = pin_ref(pin);
    }
    return tree;
}

void mg_rtree_free(struct mg_rtree **tree)
{
    if (*tree) {
        if ((*tree)->pin) {
            pin_unref(&(*tree)->pin);
        } else {
            free((*tree)->ids);
            free((*tree)->boxes);
        }
        free(*tree);
    }
    *tree = NULL;
}

size_t mg_rtree_bytes(const struct mg_rtree *tree)
{
    return sizeof *tree + (size_t)tree->n * 4 + (size_t)tree->total * sizeof *tree->boxes;
}

struct mg_bounds mg_rtree_bounds(const struct mg_rtree *tree)
{
    return tree->n ? tree->boxes[tree->total - 1] : nothing;
}

static bool inside(const struct mg_bounds *a, const struct mg_bounds *of)
{
    return a->xmin >= of->xmin && a->xmax <= of->xmax && a->ymin >= of->ymin && a->ymax <= of->ymax;
}

/* Touching counts. Not mg_bounds_intersect: these are coordinates of any CRS, nothing wraps. */
static bool meets(const struct mg_bounds *a, const struct mg_bounds *b)
{
    return a->xmin <= b->xmax && a->xmax >= b->xmin && a->ymin <= b->ymax && a->ymax >= b->ymin;
}

void mg_rtree_query(const struct mg_rtree *tree, struct mg_bounds query,
                    void (*hit)(void *context, uint32_t id, bool whole), void *context)
{
    /* A node's unvisited children: at most FAN on each level. */
    struct {
        uint32_t at;
        int level;
    } stack[MAX_LEVELS * FAN + 1];
    int top = 0;
    if (!tree->n)
        return;
    stack[top].at = tree->total - 1;
    stack[top++].level = tree->levels - 1;
    while (top) {
        top--;
        uint32_t at = stack[top].at;
        int level = stack[top].level;
        const struct mg_bounds *box = &tree->boxes[at];
        if (!meets(box, &query))
            continue;
        if (level == 0 || inside(box, &query)) {
            /* All leaves below: an entry's children are contiguous on every level. */
            uint64_t from = at - tree->start[level], to = from + 1;
            for (int l = level; l > 0; l--) {
                from *= FAN;
                to *= FAN;
            }
            bool whole = inside(box, &query);
            for (uint64_t i = from; i < to && i < tree->n; i++)
                hit(context, tree->ids[i], whole);
            continue;
        }
        uint32_t from = tree->start[level - 1] + (at - tree->start[level]) * FAN;
        uint32_t to = from + FAN < tree->start[level] ? from + FAN : tree->start[level];
        for (uint32_t i = to; i > from; i--) {
            stack[top].at = i - 1;
            stack[top++].level = level - 1;
        }
    }
}

uint32_t mg_rtree_count(const struct mg_rtree *tree)
{
    return tree->n;
}
