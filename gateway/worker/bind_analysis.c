/* Analysis of rasters for Lua (raster_analysis.h): reductions, distributions, terrain, contour
 * lines, points, neighbourhoods; bind_zones.c has what takes geometries. Methods are added to those
 * of bind_raster.c; what takes options is finished in lua/moon/raster.lua. */
#include "bind_analysis.h"

#include "moongate/raster_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_POINTS = 2000000, MAX_BINS = 65536, MAX_LEVELS = 1000, MAX_RADIUS = 15 };

int vm_check_band(lua_State *L, const char *what, const struct mg_raster *r, int index)
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

enum mg_reduction vm_check_reduction(lua_State *L, const char *what, int index)
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

const char *vm_check_georef(lua_State *L, const char *what, const struct mg_raster *r)
{
    if (!r->has_georef || !r->crs)
        vm_raise(L, MG_E_NO_CRS, "%s: the raster has no CRS", what);
    return r->crs;
}

/* r:reduce(how) -> raster of one band: each pixel over all bands */
static int l_reduce(lua_State *L)
{
    struct vm_raster *r = vm_check_raster(L, "reduce", 1);
    enum mg_reduction how = vm_check_reduction(L, "reduce", 2);
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
    vm_check(
        L, "percentile",
        mg_raster_percentiles(r, vm_check_band(L, "percentile", r, 3), percents, n, values, &why),
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
    int band = vm_check_band(L, "histogram", r, 5);
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
    struct lines lines = {.builder = mg_table_builder_new(vm_check_georef(L, "contours", r))};
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
    vm_check_georef(L, "points", r);
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

void vm_open_analysis(lua_State *L)
{
    static const luaL_Reg methods[] = {{"reduce", l_reduce},   {"percentile", l_percentile},
                                       {"palette", l_palette}, {"slope", l_slope},
                                       {"aspect", l_aspect},   {"points", l_points},
                                       {"rgba", l_rgba},       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"legend", vm_raster_legend},
                                         {"histogram", l_histogram},
                                         {"contours", l_contours},
                                         {"window", l_window},
                                         {NULL, NULL}};
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.Raster.methods");
    luaL_register(L, NULL, methods);
    lua_pop(L, 1);
    luaL_register(L, NULL, functions);
    vm_open_zones(L);
}
