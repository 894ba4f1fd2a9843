/* Shapes of whole tables for Lua (vector_ops.h): what changes the geometry row by row, and what puts rows of
 * two tables, or of one, together. Loaded with lua/moon/vector.lua when a table is first asked for such a
 * method.
 *
 * Geometry operations rebuild the geometry column alone and take the others as they are. C things live in a
 * holder, so that an error leaks nothing. */
#include "vm.h"

#include "moongate/vector_ops.h"

#include <math.h>
#include <stdlib.h>

struct held {
    struct mg_table_builder *builder;
    struct mg_span *shapes;
    int64_t *rows;
    int32_t *labels;
    struct mg_pairs pairs;
    struct mg_table *one, *two;
};

static int held_gc(lua_State *L)
{
    struct held *h = lua_touserdata(L, 1);
    mg_table_builder_free(&h->builder);
    free(h->shapes);
    free(h->rows);
    free(h->labels);
    mg_pairs_free(&h->pairs);
    mg_table_unref(&h->one);
    mg_table_unref(&h->two);
    *h = (struct held){0};
    return 0;
}

static struct held *new_held(lua_State *L)
{
    struct held *h = lua_newuserdata(L, sizeof *h);
    memset(h, 0, sizeof *h);
    if (luaL_newmetatable(L, "moon.Held")) {
        lua_pushcfunction(L, held_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return h;
}

static void *room(lua_State *L, const char *what, int64_t n, size_t bytes)
{
    void *at = malloc(((size_t)n + 1) * bytes);
    if (!at)
        vm_raise(L, MG_E_NOMEM, "%s: out of memory", what);
    return at;
}

static struct mg_table *check(lua_State *L, const char *what, int index)
{
    struct mg_table *table = vm_to_table(L, index);
    if (!table)
        vm_bad(L, what, "a moon table", index);
    return table;
}

static struct mg_table *check_shapes(lua_State *L, const char *what, int index)
{
    struct mg_table *table = check(L, what, index);
    if (table->geometry < 0)
        vm_raise(L, MG_E_ARGUMENT, "%s: the table has no geometry", what);
    return table;
}

static const char *crs_of(const struct mg_table *table)
{
    return table->crs ? table->crs : "EPSG:4326";
}

/* A finite number of at least `least`. */
static double check_number(lua_State *L, const char *what, const char *expected, int index, double least)
{
    double n = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : NAN;
    if (!(n >= least && isfinite(n)))
        vm_bad(L, what, expected, index);
    return n;
}

/* The shape of an argument in a CRS: a geometry's, or bounds as their polygon. In scratch 4 when made. */
static struct mg_span check_shape(lua_State *L, const char *what, int index, const char *crs)
{
    struct mg_errmsg why = {""};
    struct mg_transform *transform = NULL;
    struct vm_geometry *g = vm_to_geometry(L, index);
    struct mg_buf *box = vm_scratch(L, 2), *out = vm_scratch(L, 4);
    struct mg_span wkb;
    if (g) {
        wkb = vm_wkb(g);
    } else if (vm_is_bounds(L, index) || lua_istable(L, index)) {
        struct vm_bounds b;
        vm_check_bounds(L, what, index, &b);
        mg_wkb_box(b.b, box);
        wkb = (struct mg_span){box->data, box->len};
    } else {
        vm_bad(L, what, "a geometry or bounds", index);
    }
    vm_check(L, what, mg_transform_get(g ? vm_crs(g) : "EPSG:4326", crs, &transform, &why), &why);
    vm_check(L, what, mg_wkb_transform(transform, wkb, out, &why), &why);
    return (struct mg_span){out->data, out->len};
}

/* ---- row by row ---- */

/* What is done to each geometry; `drop`: rows of which nothing is left are left out. */
struct change {
    const char *what, *crs; /* of the result; NULL: as it was */
    double number;
    int segments, op;
    bool keep_topology, drop;
    struct mg_bounds box;
    struct mg_transform *transform;
    struct mg_span other;
};
typedef enum mg_err change_f(const struct change *c, const struct mg_table *t, struct mg_span wkb,
                             struct mg_buf *out, struct mg_errmsg *why);

static enum mg_err do_simplify(const struct change *c, const struct mg_table *t, struct mg_span wkb,
                               struct mg_buf *out, struct mg_errmsg *why)
{
    (void)t;
    return mg_wkb_simplify(wkb, c->number, c->keep_topology, out, why);
}
static enum mg_err do_clip(const struct change *c, const struct mg_table *t, struct mg_span wkb,
                           struct mg_buf *out, struct mg_errmsg *why)
{
    (void)t;
    return mg_wkb_clip(wkb, c->box, out, why);
}
static enum mg_err do_transform(const struct change *c, const struct mg_table *t, struct mg_span wkb,
                                struct mg_buf *out, struct mg_errmsg *why)
{
    (void)t;
    return mg_wkb_transform(c->transform, wkb, out, why);
}
static enum mg_err do_unary(const struct change *c, const struct mg_table *t, struct mg_span wkb,
                            struct mg_buf *out, struct mg_errmsg *why)
{
    (void)t;
    return mg_wkb_unary((enum mg_geo_op)c->op, wkb, out, why);
}
static enum mg_err do_binary(const struct change *c, const struct mg_table *t, struct mg_span wkb,
                             struct mg_buf *out, struct mg_errmsg *why)
{
    (void)t;
    return mg_wkb_binary((enum mg_geo_binary)c->op, wkb, c->other, out, why);
}
static enum mg_err do_buffer(const struct change *c, const struct mg_table *t, struct mg_span wkb,
                             struct mg_buf *out, struct mg_errmsg *why)
{
    return mg_ground_buffer(wkb, crs_of(t), c->number, c->segments, out, why);
}

/* Puts the geometries of the builder beside the other columns of the rows, in their place. */
static int push_rebuilt(lua_State *L, const char *what, const struct mg_table *table, struct held *h,
                        int64_t rows, const char *crs)
{
    struct mg_errmsg why = {""};
    struct mg_table *result = NULL;
    vm_check(L, what, mg_table_builder_finish(&h->builder, &h->one, &why), &why);
    vm_check(L, what, mg_table_take(table, h->rows, rows, NULL, 0, &result, &why), &why);
    /* Both are single batches of our own nodes: the geometry columns change places. */
    if (result->n_batches == 1 && h->one->n_batches == 1) {
        int g = table->geometry;
        struct ArrowArray *column = result->batches[0].children[g];
        struct ArrowSchema *schema = result->schema.children[g];
        result->batches[0].children[g] = h->one->batches[0].children[0];
        result->schema.children[g] = h->one->schema.children[0];
        h->one->batches[0].children[0] = column;
        h->one->schema.children[0] = schema;
    }
    char *own = strdup(crs);
    if (own) {
        free(result->crs);
        result->crs = own;
    }
    vm_push_table(L, result);
    return 1;
}

static void start_builder(lua_State *L, const char *what, struct held *h, const char *name, const char *crs)
{
    h->builder = mg_table_builder_new(crs);
    if (!h->builder || mg_table_builder_column(h->builder, name, MG_COL_WKB) != 0)
        vm_raise(L, MG_E_NOMEM, "%s: out of memory", what);
}

static struct held *hold_shapes(lua_State *L, const char *what, const struct mg_table *table)
{
    struct mg_errmsg why = {""};
    struct held *h = new_held(L);
    h->shapes = room(L, what, table->rows, sizeof *h->shapes);
    vm_check(L, what, mg_table_shapes(table, h->shapes, &why), &why);
    return h;
}

static int change_rows(lua_State *L, const struct mg_table *table, change_f *change, const struct change *c)
{
    struct mg_errmsg why = {""};
    struct mg_buf *out = vm_scratch(L, 3);
    struct mg_bounds left;
    const char *crs = c->crs ? c->crs : crs_of(table);
    struct held *h = hold_shapes(L, c->what, table);
    h->rows = room(L, c->what, table->rows, sizeof *h->rows);
    start_builder(L, c->what, h, table->schema.children[table->geometry]->name, crs);
    int64_t kept = 0;
    for (int64_t i = 0; i < table->rows; i++) {
        struct mg_cell cell = {.type = MG_CELL_BINARY};
        out->len = 0;
        if (h->shapes[i].len)
            vm_check(L, c->what, change(c, table, h->shapes[i], out, &why), &why);
        vm_check(L, c->what, mg_buf_status(out, &why), &why);
        cell.s = (struct mg_span){out->data, out->len};
        if (c->drop && (!cell.s.len || !mg_wkb_bounds(cell.s, &left)))
            continue;
        if (cell.s.len)
            mg_table_builder_set(h->builder, 0, &cell);
        mg_table_builder_row(h->builder);
        h->rows[kept++] = i;
    }
    return push_rebuilt(L, c->what, table, h, kept, crs);
}

/* t:simplify(tolerance [, keep_topology]) -> table; in units of the coordinates (degrees:
 * bounds:pixel_size()) */
static int l_simplify(lua_State *L)
{
    struct mg_table *table = check_shapes(L, "simplify", 1);
    const struct change c = {.what = "simplify",
                             .number =
                                 check_number(L, "simplify", "a tolerance in units of the coordinates", 2, 0),
                             .keep_topology = lua_isnoneornil(L, 3) || lua_toboolean(L, 3)};
    return change_rows(L, table, do_simplify, &c);
}

/* t:clip(bounds or geometry) -> table */
static int l_clip(lua_State *L)
{
    struct mg_table *table = check_shapes(L, "clip", 1);
    struct mg_errmsg why = {""};
    struct vm_bounds b;
    struct mg_transform *transform = NULL;
    if (vm_to_geometry(L, 2)) {
        const struct change c = {.what = "clip",
                                 .op = MG_GEO_INTERSECTION,
                                 .drop = true,
                                 .other = check_shape(L, "clip", 2, crs_of(table))};
        return change_rows(L, table, do_binary, &c);
    }
    vm_check_bounds(L, "clip", 2, &b);
    vm_check(L, "clip", mg_transform_get("EPSG:4326", crs_of(table), &transform, &why), &why);
    if (transform)
        vm_check(L, "clip", mg_transform_bounds(transform, b.b, &b.b, &why), &why);
    const struct change c = {.what = "clip", .box = b.b, .drop = true};
    return change_rows(L, table, do_clip, &c);
}

/* t:reproject(crs) -> table */
static int l_reproject(lua_State *L)
{
    struct mg_table *table = check_shapes(L, "reproject", 1);
    struct mg_errmsg why = {""};
    struct change c = {.what = "reproject"};
    if (lua_type(L, 2) != LUA_TSTRING)
        vm_bad(L, "reproject", "a CRS such as \"EPSG:3857\"", 2);
    c.crs = lua_tostring(L, 2);
    vm_check(L, "reproject", mg_transform_get(crs_of(table), c.crs, &c.transform, &why), &why);
    if (!c.transform) {
        lua_settop(L, 1);
        return 1;
    }
    return change_rows(L, table, do_transform, &c);
}

static int unary(lua_State *L, const char *what, enum mg_geo_op op)
{
    const struct change c = {.what = what, .op = (int)op};
    return change_rows(L, check_shapes(L, what, 1), do_unary, &c);
}
/* t:centroid(), :hull(), :envelope(), :valid(), :surface_point(), :boundary() -> table */
static int l_centroid(lua_State *L)
{
    return unary(L, "centroid", MG_GEO_CENTROID);
}
static int l_hull(lua_State *L)
{
    return unary(L, "hull", MG_GEO_HULL);
}
static int l_envelope(lua_State *L)
{
    return unary(L, "envelope", MG_GEO_ENVELOPE);
}
static int l_valid(lua_State *L)
{
    return unary(L, "valid", MG_GEO_VALID);
}
static int l_surface_point(lua_State *L)
{
    return unary(L, "surface_point", MG_GEO_SURFACE_POINT);
}
static int l_boundary(lua_State *L)
{
    return unary(L, "boundary", MG_GEO_BOUNDARY);
}

/* t:buffer(metres [, quad_segments]) -> table */
static int l_buffer(lua_State *L)
{
    struct mg_table *table = check_shapes(L, "buffer", 1);
    double segments = lua_isnoneornil(L, 3) ? 8 : check_number(L, "buffer: segments", "1 to 64", 3, 1);
    if (segments > 64)
        vm_bad(L, "buffer: segments", "1 to 64", 3);
    const struct change c = {.what = "buffer",
                             .number = check_number(L, "buffer", "a distance in metres", 2, -1e9),
                             .segments = (int)segments};
    return change_rows(L, table, do_buffer, &c);
}

static int binary(lua_State *L, const char *what, enum mg_geo_binary op)
{
    struct mg_table *table = check_shapes(L, what, 1);
    const struct change c = {
        .what = what, .op = (int)op, .drop = true, .other = check_shape(L, what, 2, crs_of(table))};
    return change_rows(L, table, do_binary, &c);
}
/* t:intersection(geometry), t:difference(geometry) -> table without the rows of which nothing is left */
static int l_intersection(lua_State *L)
{
    return binary(L, "intersection", MG_GEO_INTERSECTION);
}
static int l_difference(lua_State *L)
{
    return binary(L, "difference", MG_GEO_DIFFERENCE);
}

/* t:area() -> list of square metres; t:length() -> list of metres; nil where there is no geometry */
static int measure(lua_State *L, const char *what, bool want_area)
{
    struct mg_table *table = check_shapes(L, what, 1);
    struct mg_errmsg why = {""};
    struct held *h = hold_shapes(L, what, table);
    lua_createtable(L, (int)table->rows, 0);
    for (int64_t i = 0; i < table->rows; i++) {
        double area, length;
        if (!h->shapes[i].len)
            continue;
        vm_check(L, what, mg_ground_measure(h->shapes[i], crs_of(table), &area, &length, &why), &why);
        lua_pushnumber(L, want_area ? area : length);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}
static int l_area(lua_State *L)
{
    return measure(L, "area", true);
}
static int l_length(lua_State *L)
{
    return measure(L, "length", false);
}

/* t:bounds() -> bounds of all rows in degrees; nil without any geometry */
static int l_bounds(lua_State *L)
{
    struct mg_table *table = check_shapes(L, "bounds", 1);
    struct mg_errmsg why = {""};
    struct mg_transform *transform = NULL;
    struct vm_bounds all = {.b = {INFINITY, INFINITY, -INFINITY, -INFINITY}};
    struct held *h = hold_shapes(L, "bounds", table);
    for (int64_t i = 0; i < table->rows; i++) {
        struct mg_bounds b;
        if (!mg_wkb_bounds(h->shapes[i], &b))
            continue;
        all.b = (struct mg_bounds){fmin(all.b.xmin, b.xmin), fmin(all.b.ymin, b.ymin),
                                   fmax(all.b.xmax, b.xmax), fmax(all.b.ymax, b.ymax)};
    }
    if (!(all.b.xmin <= all.b.xmax)) {
        lua_pushnil(L);
        return 1;
    }
    vm_check(L, "bounds", mg_transform_get(crs_of(table), "EPSG:4326", &transform, &why), &why);
    if (transform)
        vm_check(L, "bounds", mg_transform_bounds(transform, all.b, &all.b, &why), &why);
    vm_push_bounds(L, &all);
    return 1;
}

struct exploder {
    struct held *h;
    int64_t row, n, cap;
};

static enum mg_err add_part(void *context, struct mg_span wkb, struct mg_errmsg *err)
{
    struct exploder *x = context;
    const struct mg_cell cell = {.type = MG_CELL_BINARY, .s = wkb};
    if (x->n == x->cap) {
        int64_t cap = x->cap * 2, *rows = realloc(x->h->rows, (size_t)cap * sizeof *rows);
        if (!rows)
            return mg_err_set(err, MG_E_NOMEM, "out of memory");
        x->h->rows = rows;
        x->cap = cap;
    }
    x->h->rows[x->n++] = x->row;
    mg_table_builder_set(x->h->builder, 0, &cell);
    mg_table_builder_row(x->h->builder);
    return MG_OK;
}

/* t:explode() -> table with a row for each part of a multi-geometry; rows without geometry stay */
static int l_explode(lua_State *L)
{
    struct mg_table *table = check_shapes(L, "explode", 1);
    struct mg_errmsg why = {""};
    struct held *h = hold_shapes(L, "explode", table);
    struct exploder x = {.h = h, .cap = table->rows + 16};
    h->rows = room(L, "explode", x.cap, sizeof *h->rows);
    start_builder(L, "explode", h, table->schema.children[table->geometry]->name, crs_of(table));
    for (x.row = 0; x.row < table->rows; x.row++) {
        if (h->shapes[x.row].len) {
            vm_check(L, "explode", mg_wkb_explode(h->shapes[x.row], add_part, &x, &why), &why);
            continue;
        }
        vm_check(L, "explode", add_part(&x, (struct mg_span){"", 0}, &why), &why);
    }
    return push_rebuilt(L, "explode", table, h, x.n, crs_of(table));
}

/* ---- rows together ---- */

/* Row numbers of a Lua list (from 1; false: none), as many as it has. */
static int64_t *check_rows(lua_State *L, const char *what, int index, int64_t limit, int64_t *n)
{
    *n = (int64_t)lua_objlen(L, index);
    int64_t *rows = room(L, what, *n, sizeof *rows);
    for (int64_t i = 0; i < *n; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        rows[i] = lua_type(L, -1) == LUA_TNUMBER ? (int64_t)lua_tonumber(L, -1) - 1 : -1;
        lua_pop(L, 1);
        if (rows[i] < -1 || rows[i] >= limit) {
            free(rows);
            vm_raise(L, MG_E_ARGUMENT, "%s: expected rows from 1 to %lld", what, (long long)limit);
        }
    }
    return rows;
}

/* beside(left, list of rows or nil, right, list of rows or nil) -> table: the rows of both in that order
 * (false: nulls) */
static int l_beside(lua_State *L)
{
    struct mg_table *left = check(L, "beside", 1), *right = check(L, "beside", 3), *out = NULL;
    struct mg_errmsg why = {""};
    lua_settop(L, 4);
    struct held *h = new_held(L);
    int64_t n = left->rows, m = right->rows, *other = NULL;
    if (lua_istable(L, 2))
        h->rows = check_rows(L, "beside", 2, left->rows, &n);
    if (lua_istable(L, 4))
        other = h->pairs.right = check_rows(L, "beside", 4, right->rows, &m);
    if (n != m)
        vm_raise(L, MG_E_ARGUMENT, "beside: %lld rows beside %lld", (long long)n, (long long)m);
    vm_check(L, "beside", mg_table_beside(left, h->rows, right, other, n, &out, &why), &why);
    vm_push_table(L, out);
    return 1;
}

/* rename(t, list of all names) -> table */
static int l_rename(lua_State *L)
{
    struct mg_table *table = check(L, "rename", 1), *out = NULL;
    struct mg_errmsg why = {""};
    int64_t n = table->schema.n_children;
    luaL_checktype(L, 2, LUA_TTABLE);
    if ((int64_t)lua_objlen(L, 2) != n)
        vm_raise(L, MG_E_ARGUMENT, "rename: expected %lld names", (long long)n);
    const char **names = lua_newuserdata(L, ((size_t)n + 1) * sizeof *names);
    for (int64_t i = 0; i < n; i++) {
        lua_rawgeti(L, 2, (int)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            vm_bad(L, "rename", "a column's new name", -1);
        names[i] = lua_tostring(L, -1); /* the list keeps it alive */
        lua_pop(L, 1);
    }
    vm_check(L, "rename", mg_table_rename(table, names, &out, &why), &why);
    vm_push_table(L, out);
    return 1;
}

/* Left rows that have no pair get one with -1, in their place. */
static void keep_all(lua_State *L, const char *what, struct held *h, int64_t rows)
{
    struct mg_pairs *p = &h->pairs, all = {0};
    size_t cap = p->n + (size_t)rows + 1, k = 0;
    all.left = malloc(cap * sizeof *all.left);
    all.right = malloc(cap * sizeof *all.right);
    all.distance = p->distance || p->n == 0 ? malloc(cap * sizeof *all.distance) : NULL;
    if (!all.left || !all.right || ((p->distance || p->n == 0) && !all.distance)) {
        mg_pairs_free(&all);
        vm_raise(L, MG_E_NOMEM, "%s: out of memory", what);
    }
    for (int64_t row = 0; row < rows; row++) {
        bool any = false;
        for (; k < p->n && p->left[k] == row; k++, any = true) {
            all.left[all.n] = row;
            all.right[all.n] = p->right[k];
            if (p->distance)
                all.distance[all.n] = p->distance[k];
            all.n++;
        }
        if (any)
            continue;
        all.left[all.n] = row;
        all.right[all.n] = -1;
        if (all.distance)
            all.distance[all.n] = NAN;
        all.n++;
    }
    mg_pairs_free(p);
    *p = all;
}

static enum mg_err beside_pairs(const struct mg_table *left, const struct mg_table *right,
                                const struct mg_pairs *pairs, struct mg_table **out, struct mg_errmsg *why)
{
    static const int64_t none[1];
    bool any = pairs->n > 0; /* no list at all would be all rows */
    return mg_table_beside(left, any ? pairs->left : none, right, any ? pairs->right : none,
                           (int64_t)pairs->n, out, why);
}

/* sjoin(left, right, predicate, all left rows) -> table */
static int l_sjoin(lua_State *L)
{
    struct mg_table *left = check_shapes(L, "sjoin", 1), *out = NULL;
    struct mg_table *right = check_shapes(L, "sjoin: the other table", 2);
    struct mg_errmsg why = {""};
    struct mg_span name = {0};
    lua_settop(L, 4);
    if (lua_type(L, 3) == LUA_TSTRING)
        name.data = lua_tolstring(L, 3, &name.len);
    int predicate = name.data ? mg_join_find(name) : -1;
    if (predicate < 0) {
        struct mg_buf *got = vm_scratch(L, 0);
        vm_describe(L, 3, got);
        vm_raise(L, MG_E_ARGUMENT, "sjoin: predicate: expected one of %s, got %s", mg_join_names, got->data);
    }
    struct held *h = new_held(L);
    vm_check(L, "sjoin", mg_vector_join(left, right, predicate, &h->pairs, &why), &why);
    if (lua_toboolean(L, 4))
        keep_all(L, "sjoin", h, left->rows);
    vm_check(L, "sjoin", beside_pairs(left, right, &h->pairs, &out, &why), &why);
    vm_push_table(L, out);
    return 1;
}

/* A table of one column of numbers beside another. */
static int push_with_column(lua_State *L, const char *what, const struct mg_table *table, struct held *h)
{
    struct mg_errmsg why = {""};
    struct mg_table *out = NULL;
    vm_check(L, what, mg_table_builder_finish(&h->builder, &h->one, &why), &why);
    vm_check(L, what, mg_table_beside(table, NULL, h->one, NULL, table->rows, &out, &why), &why);
    vm_push_table(L, out);
    return 1;
}

static const char *check_column(lua_State *L, const char *what, const struct mg_table *table, int index)
{
    if (lua_type(L, index) != LUA_TSTRING)
        vm_bad(L, what, "a column's name", index);
    if (mg_table_column(table, mg_span(lua_tostring(L, index))) >= 0)
        vm_raise(L, MG_E_ARGUMENT, "%s: the table has a column %s", what, lua_tostring(L, index));
    return lua_tostring(L, index);
}

/* nearest(left, right, max distance or nil, column or nil, all left rows) -> table */
static int l_nearest(lua_State *L)
{
    struct mg_table *left = check_shapes(L, "nearest", 1);
    struct mg_table *right = check_shapes(L, "nearest: the other table", 2);
    struct mg_errmsg why = {""};
    struct mg_table *out = NULL;
    lua_settop(L, 5);
    double farthest =
        lua_isnil(L, 3) ? INFINITY : check_number(L, "nearest: max_distance", "metres, from 0", 3, 0);
    const char *column = lua_isnil(L, 4) ? NULL : check_column(L, "nearest: distance", left, 4);
    struct held *h = new_held(L);
    vm_check(L, "nearest", mg_vector_nearest(left, right, farthest, &h->pairs, &why), &why);
    if (lua_toboolean(L, 5))
        keep_all(L, "nearest", h, left->rows);
    vm_check(L, "nearest", beside_pairs(left, right, &h->pairs, &h->two, &why), &why);
    if (!column) {
        out = h->two;
        h->two = NULL;
        vm_push_table(L, out);
        return 1;
    }
    h->builder = mg_table_builder_new(NULL);
    if (!h->builder || mg_table_builder_column(h->builder, column, MG_COL_DOUBLE) != 0)
        vm_raise(L, MG_E_NOMEM, "nearest: out of memory");
    for (size_t i = 0; i < h->pairs.n; i++) {
        const struct mg_cell cell = {.type = MG_CELL_DOUBLE, .d = h->pairs.distance[i]};
        if (!isnan(cell.d))
            mg_table_builder_set(h->builder, 0, &cell);
        mg_table_builder_row(h->builder);
    }
    return push_with_column(L, "nearest", h->two, h);
}

/* unite(t, list of group numbers or nil, number of groups) -> table of one geometry for each group; a row
 * whose number is false is in none */
static int l_unite(lua_State *L)
{
    struct mg_table *table = check_shapes(L, "dissolve", 1);
    struct mg_errmsg why = {""};
    lua_settop(L, 3);
    int64_t groups = lua_istable(L, 2) ? (int64_t)lua_tonumber(L, 3) : 1, n = table->rows;
    struct held *h = hold_shapes(L, "dissolve", table);
    struct mg_buf *out = vm_scratch(L, 3);
    /* Shapes by group: a counting sort of row numbers. */
    int64_t *group = h->rows = room(L, "dissolve", n, sizeof *group);
    int64_t *start = h->pairs.left = calloc((size_t)groups + 2, sizeof *start);
    h->pairs.right = room(L, "dissolve", n, sizeof *h->pairs.right);
    struct mg_span *sorted = lua_newuserdata(L, ((size_t)n + 1) * sizeof *sorted);
    if (!start)
        vm_raise(L, MG_E_NOMEM, "dissolve: out of memory");
    for (int64_t i = 0; i < n; i++) {
        group[i] = 0;
        if (lua_istable(L, 2)) {
            lua_rawgeti(L, 2, (int)i + 1);
            group[i] = lua_type(L, -1) == LUA_TNUMBER ? (int64_t)lua_tonumber(L, -1) - 1 : -1;
            lua_pop(L, 1);
        }
        if (group[i] >= groups)
            vm_raise(L, MG_E_ARGUMENT, "dissolve: group %lld of %lld", (long long)group[i],
                     (long long)groups);
        if (group[i] >= 0)
            start[group[i] + 2]++;
    }
    for (int64_t g = 2; g <= groups + 1; g++)
        start[g] += start[g - 1];
    for (int64_t i = 0; i < n; i++)
        if (group[i] >= 0)
            sorted[start[group[i] + 1]++] = h->shapes[i];
    start_builder(L, "dissolve", h, "geometry", crs_of(table));
    for (int64_t g = 0; g < groups; g++) {
        out->len = 0;
        vm_check(L, "dissolve",
                 mg_wkb_union_all(sorted + start[g], (size_t)(start[g + 1] - start[g]), out, &why), &why);
        const struct mg_cell cell = {.type = MG_CELL_BINARY, .s = {out->data, out->len}};
        mg_table_builder_set(h->builder, 0, &cell);
        mg_table_builder_row(h->builder);
    }
    struct mg_table *made = NULL;
    vm_check(L, "dissolve", mg_table_builder_finish(&h->builder, &made, &why), &why);
    vm_push_table(L, made);
    return 1;
}

/* cluster(t, metres, least points, column) -> table with a column of cluster numbers, null for noise */
static int l_cluster(lua_State *L)
{
    struct mg_table *table = check_shapes(L, "cluster", 1);
    struct mg_errmsg why = {""};
    double distance = check_number(L, "cluster: distance", "metres, above 0", 2, 1e-6);
    double least = check_number(L, "cluster: min_points", "a whole number from 1", 3, 1);
    const char *column = check_column(L, "cluster: column", table, 4);
    struct held *h = new_held(L);
    h->labels = room(L, "cluster", table->rows, sizeof *h->labels);
    vm_check(L, "cluster",
             mg_vector_cluster(table, distance, least > 1e9 ? 1000000000 : (int)least, h->labels, &why),
             &why);
    h->builder = mg_table_builder_new(NULL);
    if (!h->builder || mg_table_builder_column(h->builder, column, MG_COL_INT64) != 0)
        vm_raise(L, MG_E_NOMEM, "cluster: out of memory");
    for (int64_t i = 0; i < table->rows; i++) {
        const struct mg_cell cell = {.type = MG_CELL_INT, .i = h->labels[i]};
        if (h->labels[i])
            mg_table_builder_set(h->builder, 0, &cell);
        mg_table_builder_row(h->builder);
    }
    return push_with_column(L, "cluster", table, h);
}

/* grid(t, size, hexagons, crs) -> table of cells: n, geometry */
static int l_grid(lua_State *L)
{
    struct mg_table *table = check_shapes(L, "grid", 1), *out = NULL;
    struct mg_errmsg why = {""};
    double size = check_number(L, "grid: size", "a size above 0", 2, 1e-9);
    if (lua_type(L, 4) != LUA_TSTRING)
        vm_bad(L, "grid: crs", "a CRS such as \"EPSG:3857\"", 4);
    vm_check(L, "grid", mg_vector_grid(table, lua_toboolean(L, 3), size, lua_tostring(L, 4), &out, &why),
             &why);
    vm_push_table(L, out);
    return 1;
}

/* utm(lng, lat) -> "EPSG:32725" */
static int l_utm(lua_State *L)
{
    char utm[16];
    mg_utm_of(luaL_checknumber(L, 1), luaL_checknumber(L, 2), utm);
    lua_pushstring(L, utm);
    return 1;
}

void vm_open_vector(lua_State *L)
{
    static const luaL_Reg methods[] = {{"simplify", l_simplify},
                                       {"clip", l_clip},
                                       {"reproject", l_reproject},
                                       {"centroid", l_centroid},
                                       {"hull", l_hull},
                                       {"envelope", l_envelope},
                                       {"valid", l_valid},
                                       {"surface_point", l_surface_point},
                                       {"boundary", l_boundary},
                                       {"buffer", l_buffer},
                                       {"intersection", l_intersection},
                                       {"difference", l_difference},
                                       {"area", l_area},
                                       {"length", l_length},
                                       {"bounds", l_bounds},
                                       {"explode", l_explode},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"beside", l_beside},   {"rename", l_rename}, {"sjoin", l_sjoin},
                                         {"nearest", l_nearest}, {"unite", l_unite},   {"cluster", l_cluster},
                                         {"grid", l_grid},       {"utm", l_utm},       {NULL, NULL}};
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.Table.methods");
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "methods");
    luaL_register(L, NULL, functions);
}
