/* Analysis of rasters for Lua (raster_analysis.h): reductions, distributions, terrain, contour
 * lines, geometry to pixels, zones, points, neighbourhoods. Methods are added to those of
 * bind_raster.c; what takes options is finished in lua/moon/raster.lua. */
#include "vm.h"

#include "moongate/raster_analysis.h"
#include "moongate/raster_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_POINTS = 2000000, MAX_BINS = 65536, MAX_LEVELS = 1000, MAX_RADIUS = 15 };

static int check_band(lua_State *L, const char *what, const struct mg_raster *r, int index)
{
    if (lua_isnoneornil(L, index))
        return 0;
    double band = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : NAN;
    if (!(band >= 1 && band <= r->bands) || band != floor(band)) {
        struct mg_buf *got = vm_scratch(L, 0);
        vm_describe(L, index, got);
        vm_raise(L, MG_E_ARGUMENT, "%s: band: expected 1 to %d, got %s", what, r->bands, got->data);
    }
    return (int)band - 1;
}

static enum mg_reduction check_reduction(lua_State *L, const char *what, int index)
{
    int how =
        lua_type(L, index) == LUA_TSTRING ? mg_reduction_find(mg_span(lua_tostring(L, index))) : -1;
    if (how < 0)
        vm_bad(L, what,
               "\"first\", \"latest\", \"min\", \"max\", \"mean\", \"median\", \"sum\", \"std\" or "
               "\"count\"",
               index);
    return (enum mg_reduction)how;
}

/* r:reduce(how) -> raster of one band: each pixel over all bands */
static int l_reduce(lua_State *L)
{
    struct vm_raster *r = vm_check_raster(L, "reduce", 1);
    enum mg_reduction how = check_reduction(L, "reduce", 2);
    struct mg_raster *parts[MG_RASTER_MAX_BANDS], *out = NULL;
    struct mg_errmsg why = {""};
    enum mg_err err = MG_OK;
    int n = 0;
    vm_raster_foresee(L, r->raster, MG_F32);
    for (; n < r->raster->bands && err == MG_OK; n++)
        err = mg_raster_band(r->raster, n, &parts[n], &why);
    int made = err == MG_OK ? n : n - 1;
    if (err == MG_OK)
        err = mg_raster_combine((const struct mg_raster *const *)parts, (size_t)n, how, &out, &why);
    for (int i = 0; i < made; i++)
        mg_raster_unref(&parts[i]);
    vm_check(L, "reduce", err, &why);
    vm_push_raster(L, out, r->margin);
    return 1;
}

/* r:percentile(p or list of p [, band]) -> number(s), nil where every pixel is no data */
static int l_percentile(lua_State *L)
{
    enum { MOST = 100 };
    const struct mg_raster *r = vm_check_raster(L, "percentile", 1)->raster;
    double percents[MOST], values[MOST];
    struct mg_errmsg why = {""};
    bool list = lua_istable(L, 2);
    size_t n = list ? lua_objlen(L, 2) : 1;
    if (n < 1 || n > MOST)
        vm_raise(L, MG_E_ARGUMENT, "percentile: expected 1 to %d percentiles, got %zu", MOST, n);
    for (size_t i = 0; i < n; i++) {
        if (list)
            lua_rawgeti(L, 2, (int)i + 1);
        else
            lua_pushvalue(L, 2);
        if (lua_type(L, -1) != LUA_TNUMBER)
            vm_bad(L, "percentile", "a number from 0 to 100, or a list of them", -1);
        percents[i] = lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    vm_check(L, "percentile",
             mg_raster_percentiles(r, check_band(L, "percentile", r, 3), percents, n, values, &why),
             &why);
    if (list)
        lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        if (isnan(values[i]))
            lua_pushnil(L);
        else
            lua_pushnumber(L, values[i]);
        if (list)
            lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* histogram(raster, parts, low, high, band) -> list of counts */
static int l_histogram(lua_State *L)
{
    const struct mg_raster *r = vm_check_raster(L, "histogram", 1)->raster;
    double n = lua_tonumber(L, 2), low = lua_tonumber(L, 3), high = lua_tonumber(L, 4);
    if (lua_type(L, 2) != LUA_TNUMBER || !(n >= 1 && n <= MAX_BINS) || n != floor(n))
        vm_bad(L, "histogram: parts", "a whole number from 1 to 65536", 2);
    if (!(low < high) || !isfinite(high - low))
        vm_raise(L, MG_E_ARGUMENT, "histogram: low is %g and high is %g; low is less than high",
                 low, high);
    int band = check_band(L, "histogram", r, 5);
    int64_t *counts = lua_newuserdata(L, (size_t)n * sizeof *counts);
    mg_raster_histogram(r, band, low, high, (size_t)n, counts);
    lua_createtable(L, (int)n, 0);
    for (int i = 0; i < (int)n; i++) {
        lua_pushnumber(L, (lua_Number)counts[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* r:palette() -> list of { red, green, blue, alpha } of values 0, 1, …; nil when there is none */
static int l_palette(lua_State *L)
{
    const struct mg_raster *r = vm_check_raster(L, "palette", 1)->raster;
    if (r->n_palette == 0) {
        lua_pushnil(L);
        return 1;
    }
    lua_createtable(L, r->n_palette, 0);
    for (int i = 0; i < r->n_palette; i++) {
        lua_createtable(L, 4, 0);
        for (int k = 0; k < 4; k++) {
            lua_pushinteger(L, r->palette[i][k]);
            lua_rawseti(L, -2, k + 1);
        }
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* r:rgba() -> raster of four bands of a coloured one */
static int l_rgba(lua_State *L)
{
    struct vm_raster *r = vm_check_raster(L, "rgba", 1);
    struct mg_raster *out = NULL;
    struct mg_errmsg why = {""};
    vm_raster_foresee(L, r->raster, MG_F32);
    vm_check(L, "rgba", mg_raster_rgba(r->raster, &out, &why), &why);
    vm_push_raster(L, out, r->margin);
    return 1;
}

/* A float32 copy with `radius` more pixels without data on each side. */
static enum mg_err widen(const struct mg_raster *r, int radius, struct mg_raster **out,
                         struct mg_errmsg *why)
{
    struct mg_raster *plain = NULL, *wide = NULL;
    enum mg_err err = mg_raster_convert(r, MG_F32, &plain, why);
    if (err == MG_OK)
        err = mg_raster_new(r->width + 2 * radius, r->height + 2 * radius, 1, MG_F32, &wide, why);
    if (err == MG_OK && (err = mg_raster_copy_georef(wide, r)) == MG_OK) {
        float *to = mg_raster_samples(wide, 0);
        const float *from = mg_raster_samples(plain, 0);
        size_t n = (size_t)wide->width * (size_t)wide->height;
        for (size_t i = 0; i < n; i++)
            to[i] = NAN;
        for (int y = 0; y < r->height; y++)
            memcpy(to + (size_t)(y + radius) * (size_t)wide->width + radius,
                   from + (size_t)y * (size_t)r->width, (size_t)r->width * sizeof *to);
        double *gt = wide->geotransform;
        gt[0] -= radius * (gt[1] + gt[2]);
        gt[3] -= radius * (gt[4] + gt[5]);
    }
    mg_raster_unref(&plain);
    if (err != MG_OK)
        mg_raster_unref(&wide);
    else
        *out = wide;
    return err;
}

/* The raster with at least `radius` pixels around what the result shows; the edge is no data where
 * none was read. */
static struct mg_raster *surrounded(lua_State *L, const char *what, const struct vm_raster *r,
                                    int radius)
{
    struct mg_errmsg why = {""};
    struct mg_raster *wide = NULL;
    if (r->raster->bands != 1)
        vm_raise(L, MG_E_ARGUMENT, "%s: expected one band, got %d; choose one: raster[1]", what,
                 r->raster->bands);
    vm_raster_foresee(L, r->raster, MG_F64);
    vm_check(L, what, widen(r->raster, r->margin >= radius ? 0 : radius, &wide, &why), &why);
    return wide;
}

/* dem:slope([z]) -> degrees; dem:aspect() -> degrees clockwise from north, no data where it is
 * flat. As for hillshade a pixel of margin is used up; without one the outermost pixels have no
 * data */
static int terrain(lua_State *L, const char *what, bool slope)
{
    struct vm_raster *r = vm_check_raster(L, what, 1);
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL;
    double z = 1;
    if (slope && !lua_isnoneornil(L, 2)) {
        z = lua_tonumber(L, 2);
        if (lua_type(L, 2) != LUA_TNUMBER || !(z > 0 && z <= 1e6))
            vm_bad(L, "slope: z", "a positive number", 2);
    }
    struct mg_raster *dem = surrounded(L, what, r, 1);
    enum mg_err err =
        slope ? mg_raster_slope(dem, z, &out, &why) : mg_raster_aspect(dem, &out, &why);
    mg_raster_unref(&dem);
    vm_check(L, what, err, &why);
    vm_push_raster(L, out, r->margin > 0 ? r->margin - 1 : 0);
    return 1;
}
static int l_slope(lua_State *L)
{
    return terrain(L, "slope", true);
}
static int l_aspect(lua_State *L)
{
    return terrain(L, "aspect", false);
}

/* window(raster, radius) -> float32 result, its pointer, the surrounded raster, pointer to the
 * sample of the result's first pixel in it, its row length; for the library only */
static int l_window(lua_State *L)
{
    struct vm_raster *r = vm_check_raster(L, "window", 1);
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL;
    int radius = (int)lua_tonumber(L, 2);
    if (radius < 1 || radius > MAX_RADIUS)
        vm_raise(L, MG_E_ARGUMENT, "window: size: expected an odd number from 3 to %d",
                 2 * MAX_RADIUS + 1);
    struct mg_raster *wide = surrounded(L, "window", r, radius);
    int margin = r->margin >= radius ? r->margin - radius : 0, stride = wide->width;
    if (wide->width <= 2 * radius || wide->height <= 2 * radius) {
        mg_raster_unref(&wide);
        vm_raise(L, MG_E_ARGUMENT, "window: the raster is smaller than the window");
    }
    float *first = (float *)mg_raster_samples(wide, 0) + (ptrdiff_t)radius * stride + radius;
    enum mg_err err =
        mg_raster_new(wide->width - 2 * radius, wide->height - 2 * radius, 1, MG_F32, &out, &why);
    if (err == MG_OK && (err = mg_raster_copy_georef(out, wide)) == MG_OK) {
        double *gt = out->geotransform;
        gt[0] += radius * (gt[1] + gt[2]);
        gt[3] += radius * (gt[4] + gt[5]);
    }
    if (err != MG_OK) {
        mg_raster_unref(&wide);
        mg_raster_unref(&out);
        vm_check(L, "window", err, &why);
    }
    void *pointer = out->data;
    vm_push_raster(L, wide, 0); /* anchored before the next can raise */
    vm_push_raster(L, out, margin);
    lua_pushlightuserdata(L, pointer);
    lua_pushvalue(L, -3);
    lua_pushlightuserdata(L, first);
    lua_pushinteger(L, stride);
    return 5;
}

/* --- contour lines, points --- */

struct lines {
    struct mg_table_builder *builder;
    struct mg_buf wkb;
};

static enum mg_err add_line(void *context, double level, const double *xy, size_t n)
{
    struct lines *lines = context;
    struct mg_buf *b = &lines->wkb;
    static const uint8_t head[5] = {1, 2, 0, 0, 0};
    uint32_t count = (uint32_t)n;
    b->len = 0;
    mg_buf_put(b, head, sizeof head);
    mg_buf_put(b, &count, sizeof count);
    mg_buf_put(b, xy, 2 * n * sizeof *xy);
    if (b->failed)
        return MG_E_NOMEM;
    const struct mg_cell value = {.type = MG_CELL_DOUBLE, .d = level},
                         shape = {.type = MG_CELL_BINARY, .s = {b->data, b->len}};
    mg_table_builder_set(lines->builder, 0, &value);
    mg_table_builder_set(lines->builder, 1, &shape);
    mg_table_builder_row(lines->builder);
    return MG_OK;
}

static const char *check_georef(lua_State *L, const char *what, const struct mg_raster *r)
{
    if (!r->has_georef || !r->crs)
        vm_raise(L, MG_E_NO_CRS, "%s: the raster has no CRS", what);
    return r->crs;
}

/* contours(raster, list of levels) -> table of level and geometry */
static int l_contours(lua_State *L)
{
    const struct mg_raster *r = vm_check_raster(L, "contours", 1)->raster;
    struct mg_errmsg why = {""};
    double levels[MAX_LEVELS];
    size_t n = lua_istable(L, 2) ? lua_objlen(L, 2) : 0;
    struct mg_table *table = NULL;
    if (n < 1 || n > MAX_LEVELS)
        vm_raise(L, MG_E_ARGUMENT, "contours: expected 1 to %d levels, got %zu", MAX_LEVELS, n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, 2, (int)i + 1);
        if (lua_type(L, -1) != LUA_TNUMBER || !isfinite(lua_tonumber(L, -1)))
            vm_bad(L, "contours: a level", "a number", -1);
        levels[i] = lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    struct lines lines = {.builder = mg_table_builder_new(check_georef(L, "contours", r))};
    mg_buf_init(&lines.wkb, 0);
    enum mg_err err = MG_E_NOMEM;
    if (lines.builder && mg_table_builder_column(lines.builder, "level", MG_COL_DOUBLE) == 0 &&
        mg_table_builder_column(lines.builder, "geometry", MG_COL_WKB) == 1)
        err = mg_raster_contours(r, levels, n, add_line, &lines, &why);
    if (err == MG_OK)
        err = mg_table_builder_finish(&lines.builder, &table, &why);
    mg_table_builder_free(&lines.builder);
    mg_buf_fini(&lines.wkb);
    vm_check(L, "contours", err, &why);
    vm_push_table(L, table);
    return 1;
}

static enum mg_err add_points(const struct mg_raster *r, const double *samples, size_t pixels,
                              struct mg_table_builder *builder, struct mg_buf *wkb)
{
    const double *gt = r->geotransform;
    for (size_t at = 0; at < pixels; at++) {
        bool any = false;
        for (int b = 0; b < r->bands; b++) {
            const struct mg_cell value = {.type = MG_CELL_DOUBLE,
                                          .d = samples[(size_t)b * pixels + at]};
            if (isnan(value.d))
                continue;
            any = true;
            mg_table_builder_set(builder, b, &value);
        }
        if (!any)
            continue;
        double x = (double)(at % (size_t)r->width) + 0.5, y = (double)(at / (size_t)r->width) + 0.5;
        wkb->len = 0;
        mg_wkb_point(gt[0] + x * gt[1] + y * gt[2], gt[3] + x * gt[4] + y * gt[5], wkb);
        if (wkb->failed)
            return MG_E_NOMEM;
        const struct mg_cell shape = {.type = MG_CELL_BINARY, .s = {wkb->data, wkb->len}};
        mg_table_builder_set(builder, r->bands, &shape);
        mg_table_builder_row(builder);
    }
    return MG_OK;
}

/* r:points() -> table: a point at the middle of each pixel that has data, its values by band */
static int l_points(lua_State *L)
{
    const struct mg_raster *r = vm_check_raster(L, "points", 1)->raster;
    size_t pixels = (size_t)r->width * (size_t)r->height;
    struct mg_raster *wide = NULL;
    struct mg_table *table = NULL;
    struct mg_errmsg why = {""};
    struct mg_buf wkb;
    if (pixels > MAX_POINTS)
        vm_raise(L, MG_E_ARGUMENT, "points: %d x %d pixels are more than %d rows", r->width,
                 r->height, MAX_POINTS);
    check_georef(L, "points", r);
    vm_raster_foresee(L, r, MG_F64);
    struct mg_table_builder *builder = mg_table_builder_new(r->crs);
    mg_buf_init(&wkb, 0);
    enum mg_err err = builder ? MG_OK : MG_E_NOMEM;
    for (int b = 0; b < r->bands && err == MG_OK; b++) {
        char name[32];
        snprintf(name, sizeof name, r->bands == 1 ? "value" : "band%d", b + 1);
        const char *own = r->names && r->names[b] && r->names[b][0] ? r->names[b] : name;
        if (mg_table_builder_column(builder, own, MG_COL_DOUBLE) < 0)
            err = mg_err_set(&why, MG_E_ARGUMENT, "two bands have the name %.60s", own);
    }
    if (err == MG_OK && mg_table_builder_column(builder, "geometry", MG_COL_WKB) < 0)
        err = mg_err_set(&why, MG_E_ARGUMENT, "a band has the name geometry");
    if (err == MG_OK)
        err = mg_raster_convert(r, MG_F64, &wide, &why);
    if (err == MG_OK) {
        double *samples = malloc(pixels * (size_t)r->bands * sizeof *samples);
        for (int b = 0; samples && b < r->bands; b++)
            memcpy(samples + (size_t)b * pixels, mg_raster_samples(wide, b),
                   pixels * sizeof *samples);
        err = samples ? add_points(r, samples, pixels, builder, &wkb) : MG_E_NOMEM;
        free(samples);
    }
    mg_raster_unref(&wide);
    if (err == MG_OK)
        err = mg_table_builder_finish(&builder, &table, &why);
    mg_table_builder_free(&builder);
    mg_buf_fini(&wkb);
    vm_check(L, "points", err, &why);
    vm_push_table(L, table);
    return 1;
}

/* --- geometry to pixels --- */

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
    const char *crs = check_georef(L, "rasterize: like", like->raster);
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
    c->merge = check_reduction(L, "rasterize: merge", 7);
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
    const char *crs = check_georef(L, "mask", r->raster);
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
    const char *crs = check_georef(L, "zonal: the raster", r->raster);
    int band = check_band(L, "zonal", r->raster, 3);
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

void vm_open_analysis(lua_State *L)
{
    static const luaL_Reg methods[] = {{"reduce", l_reduce},   {"percentile", l_percentile},
                                       {"palette", l_palette}, {"slope", l_slope},
                                       {"aspect", l_aspect},   {"points", l_points},
                                       {"rgba", l_rgba},       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"histogram", l_histogram},
                                         {"contours", l_contours},
                                         {"window", l_window},
                                         {"rasterize", l_rasterize},
                                         {"mask", l_mask},
                                         {"zonal", l_zonal},
                                         {NULL, NULL}};
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.Raster.methods");
    luaL_register(L, NULL, methods);
    lua_pop(L, 1);
    luaL_register(L, NULL, functions);
}
