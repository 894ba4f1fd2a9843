/* Geometry and rasters for Lua: rasterize, mask, zonal figures (raster_analysis.h). Geometries of
 * any CRS are brought into the raster's, one at a time. */
#include "bind_analysis.h"

#include "moongate/raster_ops.h"

#include <math.h>
#include <stdlib.h>

typedef enum mg_err each_f(void *context, int64_t row, struct mg_span wkb, double value,
                           struct mg_errmsg *why);

/* All geometries of a table in the CRS `to`; `column` of values, or -1 (then NaN). */
static enum mg_err each_geometry(const struct mg_table *t, const char *to, int column,
                                 struct mg_buf *scratch, each_f *each, void *context,
                                 struct mg_errmsg *why)
{
    struct mg_transform *transform = NULL;
    enum mg_err err = mg_transform_get(t->crs ? t->crs : "EPSG:4326", to, &transform, why);
    int64_t row = 0;
    for (size_t b = 0; b < t->n_batches && err == MG_OK; b++) {
        struct mg_cursor *shapes = NULL, *values = NULL;
        err = mg_cursor_open(t, b, t->geometry, &shapes, why);
        if (err == MG_OK && column >= 0)
            err = mg_cursor_open(t, b, column, &values, why);
        for (int64_t i = 0; i < t->batches[b].length && err == MG_OK; i++, row++) {
            struct mg_cell shape, value = {.type = MG_CELL_NULL};
            mg_cursor_get(shapes, i, &shape);
            if (shape.type != MG_CELL_BINARY)
                continue;
            if (values)
                mg_cursor_get(values, i, &value);
            double v = value.type == MG_CELL_DOUBLE ? value.d
                       : value.type == MG_CELL_INT  ? (double)value.i
                       : value.type == MG_CELL_UINT ? (double)value.u
                       : value.type == MG_CELL_BOOL ? value.b
                                                    : NAN;
            scratch->len = 0;
            if ((err = mg_wkb_transform(transform, shape.s, scratch, why)) == MG_OK)
                err = each(context, row, (struct mg_span){scratch->data, scratch->len}, v, why);
        }
        mg_cursor_close(&shapes);
        mg_cursor_close(&values);
    }
    return err;
}

/* The geometries at an index: a table's, one geometry, or bounds. */
static enum mg_err each_of(lua_State *L, int index, const char *what, const char *to, int column,
                           each_f *each, void *context, struct mg_errmsg *why)
{
    struct mg_table *table = vm_to_table(L, index);
    struct vm_geometry *g = vm_to_geometry(L, index);
    struct mg_transform *transform = NULL;
    struct mg_buf *scratch = vm_scratch(L, 3);
    if (table && table->geometry < 0)
        vm_raise(L, MG_E_ARGUMENT, "%s: the table has no geometry", what);
    if (table)
        return each_geometry(table, to, column, scratch, each, context, why);
    struct mg_span wkb;
    if (g) {
        wkb = vm_wkb(g);
    } else if (vm_is_bounds(L, index)) {
        struct vm_bounds b;
        struct mg_buf *box = vm_scratch(L, 4);
        vm_check_bounds(L, what, index, &b);
        mg_wkb_box(b.b, box);
        wkb = (struct mg_span){box->data, box->len};
    } else {
        vm_bad(L, what, "a geometry, bounds, or a table with geometry", index);
    }
    enum mg_err err = mg_transform_get(g ? vm_crs(g) : "EPSG:4326", to, &transform, why);
    if (err == MG_OK)
        err = mg_wkb_transform(transform, wkb, scratch, why);
    return err == MG_OK ? each(context, 0, (struct mg_span){scratch->data, scratch->len}, NAN, why)
                        : err;
}

/* Pixels that were met by the geometry at hand bear its number, so that none counts twice. */
struct canvas {
    struct mg_burn burn;
    size_t width;
    int32_t *stamps, stamp;
    /* rasterize */
    enum mg_reduction merge;
    double value, fallback;
    double *sums;
    int32_t *counts;
    /* zonal: values of the pixels met so far, from the samples of a band */
    const double *samples;
    double *found;
    size_t n_found;
    double (*figures)[7];
};

static void paint(void *context, int row, int x0, int x1)
{
    struct canvas *c = context;
    for (size_t at = (size_t)row * c->width + (size_t)x0, end = at + (size_t)(x1 - x0); at < end;
         at++) {
        if (c->stamps[at] == c->stamp)
            continue;
        c->stamps[at] = c->stamp;
        double *sum = &c->sums[at];
        bool first = c->counts[at]++ == 0;
        if (first || c->merge == MG_RED_LAST)
            *sum = c->value;
        else if (c->merge == MG_RED_MIN)
            *sum = fmin(*sum, c->value);
        else if (c->merge == MG_RED_MAX)
            *sum = fmax(*sum, c->value);
        else if (c->merge != MG_RED_FIRST)
            *sum += c->value;
    }
}

static enum mg_err paint_one(void *context, int64_t row, struct mg_span wkb, double value,
                             struct mg_errmsg *why)
{
    struct canvas *c = context;
    c->stamp = (int32_t)(row + 1);
    c->value = isnan(value) ? c->fallback : value;
    return mg_burn_geometry(&c->burn, wkb, paint, c, why);
}

/* Memory of the canvas, in a userdata that lets it go. */
static struct canvas *new_canvas(lua_State *L, const char *what, const struct mg_raster *like,
                                 bool all_touched, size_t bytes_a_pixel)
{
    struct mg_errmsg why = {""};
    size_t pixels = (size_t)like->width * (size_t)like->height;
    struct canvas *c = lua_newuserdata(L, sizeof *c);
    *c = (struct canvas){.width = (size_t)like->width};
    vm_check(L, what, mg_burn_init(like, all_touched, &c->burn, &why), &why);
    vm_charge(L, pixels * bytes_a_pixel);
    vm_release(vm_of(L), pixels * bytes_a_pixel);
    c->stamps = lua_newuserdata(L, pixels * sizeof *c->stamps);
    memset(c->stamps, 0, pixels * sizeof *c->stamps);
    return c;
}

/* rasterize(table or geometry, like, column or nil, value, background or nil, all touched, merge)
 * -> float32 raster */
static int l_rasterize(lua_State *L)
{
    struct vm_raster *like = vm_check_raster(L, "rasterize: like", 2);
    const char *crs = vm_check_georef(L, "rasterize: like", like->raster);
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL;
    struct mg_table *table = vm_to_table(L, 1);
    int column = -1;
    lua_settop(L, 7);
    if (!lua_isnil(L, 3)) {
        column = table && lua_type(L, 3) == LUA_TSTRING
                     ? mg_table_column(table, mg_span(lua_tostring(L, 3)))
                     : -1;
        if (column < 0)
            vm_bad(L, "rasterize: column", "a column of the table", 3);
    }
    size_t pixels = (size_t)like->raster->width * (size_t)like->raster->height;
    struct canvas *c = new_canvas(L, "rasterize", like->raster, lua_toboolean(L, 6), 16);
    c->merge = vm_check_reduction(L, "rasterize: merge", 7);
    if (c->merge == MG_RED_MEDIAN || c->merge == MG_RED_STD)
        vm_bad(L, "rasterize: merge",
               "\"last\", \"first\", \"min\", \"max\", \"sum\", \"mean\" or \"count\"", 7);
    c->fallback = lua_type(L, 4) == LUA_TNUMBER ? lua_tonumber(L, 4) : 1;
    c->sums = lua_newuserdata(L, pixels * sizeof *c->sums);
    c->counts = lua_newuserdata(L, pixels * sizeof *c->counts);
    memset(c->counts, 0, pixels * sizeof *c->counts);
    double background = lua_type(L, 5) == LUA_TNUMBER ? lua_tonumber(L, 5) : NAN;
    vm_check(L, "rasterize", each_of(L, 1, "rasterize", crs, column, paint_one, c, &why), &why);
    vm_raster_foresee(L, like->raster, MG_F32);
    vm_check(L, "rasterize",
             mg_raster_new(like->raster->width, like->raster->height, 1, MG_F32, &out, &why), &why);
    enum mg_err err = mg_raster_copy_georef(out, like->raster);
    float *to = mg_raster_samples(out, 0);
    for (size_t i = 0; i < pixels; i++) {
        int32_t n = c->counts[i];
        to[i] = (float)(n == 0                     ? background
                        : c->merge == MG_RED_COUNT ? n
                        : c->merge == MG_RED_MEAN  ? c->sums[i] / n
                                                   : c->sums[i]);
    }
    vm_push_raster(L, out, like->margin);
    vm_check(L, "rasterize", err, &why);
    return 1;
}

static void mark(void *context, int row, int x0, int x1)
{
    struct mg_raster *mask = context;
    memset(mask->data + (size_t)row * (size_t)mask->width + (size_t)x0, 1, (size_t)(x1 - x0));
}

struct marker {
    struct mg_burn burn;
    struct mg_raster *mask;
};

static enum mg_err mark_one(void *context, int64_t row, struct mg_span wkb, double value,
                            struct mg_errmsg *why)
{
    struct marker *m = context;
    (void)row, (void)value;
    return mg_burn_geometry(&m->burn, wkb, mark, m->mask, why);
}

/* mask(raster, geometry, invert, all touched) -> the raster, no data outside (inside) of the
 * geometry */
static int l_mask(lua_State *L)
{
    struct vm_raster *r = vm_check_raster(L, "mask", 1);
    const char *crs = vm_check_georef(L, "mask", r->raster);
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL, *mask = NULL;
    struct marker m;
    lua_settop(L, 4);
    vm_raster_foresee(L, r->raster, MG_F64);
    vm_check(L, "mask", mg_burn_init(r->raster, lua_toboolean(L, 4), &m.burn, &why), &why);
    vm_check(L, "mask", mg_raster_new(r->raster->width, r->raster->height, 1, MG_U8, &mask, &why),
             &why);
    m.mask = mask;
    vm_push_raster(L, mask, 0); /* anchored: what follows may raise */
    vm_check(L, "mask", each_of(L, 2, "mask: the geometry", crs, -1, mark_one, &m, &why), &why);
    size_t pixels = (size_t)mask->width * (size_t)mask->height;
    bool invert = lua_toboolean(L, 3);
    for (size_t i = 0; invert && i < pixels; i++)
        mask->data[i] ^= 1;
    vm_check(L, "mask", mg_raster_where(r->raster, mask, NULL, 0, true, &out, &why), &why);
    vm_push_raster(L, out, r->margin);
    return 1;
}

static const char *const figure_names[] = {"count", "sum", "mean", "min", "max", "std", "median"};

static void gather(void *context, int row, int x0, int x1)
{
    struct canvas *c = context;
    for (size_t at = (size_t)row * c->width + (size_t)x0, end = at + (size_t)(x1 - x0); at < end;
         at++) {
        if (c->stamps[at] == c->stamp)
            continue;
        c->stamps[at] = c->stamp;
        if (!isnan(c->samples[at]))
            c->found[c->n_found++] = c->samples[at];
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum mg_err gather_one(void *context, int64_t row, struct mg_span wkb, double value,
                              struct mg_errmsg *why)
{
    struct canvas *c = context;
    double *f = c->figures[row], sum = 0, squares = 0;
    (void)value;
    c->stamp = (int32_t)(row + 1);
    c->n_found = 0;
    enum mg_err err = mg_burn_geometry(&c->burn, wkb, gather, c, why);
    size_t n = c->n_found;
    f[0] = (double)n;
    if (err != MG_OK || n == 0)
        return err;
    qsort(c->found, n, sizeof *c->found, by_value);
    for (size_t i = 0; i < n; i++)
        sum += c->found[i];
    for (size_t i = 0; i < n; i++)
        squares += (c->found[i] - sum / (double)n) * (c->found[i] - sum / (double)n);
    f[1] = sum;
    f[2] = sum / (double)n;
    f[3] = c->found[0];
    f[4] = c->found[n - 1];
    f[5] = sqrt(squares / (double)n);
    f[6] = n % 2 ? c->found[n / 2] : (c->found[n / 2 - 1] + c->found[n / 2]) / 2;
    return MG_OK;
}

/* zonal(table or geometry, raster, band, all touched) -> list of tables: count sum mean min max std
 * median of the pixels of each row; only count where there are none */
static int l_zonal(lua_State *L)
{
    struct vm_raster *r = vm_check_raster(L, "zonal: the raster", 2);
    const char *crs = vm_check_georef(L, "zonal: the raster", r->raster);
    int band = vm_check_band(L, "zonal", r->raster, 3);
    struct mg_errmsg why = {""};
    struct mg_raster *one = NULL, *wide = NULL;
    struct mg_table *table = vm_to_table(L, 1);
    lua_settop(L, 4);
    size_t pixels = (size_t)r->raster->width * (size_t)r->raster->height,
           rows = table ? (size_t)table->rows : 1;
    struct canvas *c = new_canvas(L, "zonal", r->raster, lua_toboolean(L, 4), 20);
    c->found = lua_newuserdata(L, pixels * sizeof *c->found);
    c->figures = lua_newuserdata(L, (rows ? rows : 1) * sizeof *c->figures);
    for (size_t i = 0; i < rows; i++)
        for (int k = 0; k < 7; k++)
            c->figures[i][k] = k ? NAN : 0;
    enum mg_err err = mg_raster_band(r->raster, band, &one, &why);
    if (err == MG_OK)
        err = mg_raster_convert(one, MG_F64, &wide, &why);
    mg_raster_unref(&one);
    vm_check(L, "zonal", err, &why);
    c->samples = mg_raster_samples(wide, 0);
    vm_push_raster(L, wide, 0); /* anchored */
    vm_check(L, "zonal", each_of(L, 1, "zonal", crs, -1, gather_one, c, &why), &why);
    lua_createtable(L, (int)rows, 0);
    for (size_t i = 0; i < rows; i++) {
        lua_createtable(L, 0, 7);
        for (int k = 0; k < 7; k++) {
            if (isnan(c->figures[i][k]))
                continue;
            lua_pushnumber(L, c->figures[i][k]);
            lua_setfield(L, -2, figure_names[k]);
        }
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

void vm_open_zones(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"rasterize", l_rasterize}, {"mask", l_mask}, {"zonal", l_zonal}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
