/* Rasters to pictures: r:colour, dem:hillshade. */
#include "bind_analysis.h"

#include "moongate/raster_ops.h"

#include <math.h>
#include <stdlib.h>

/* "#rgb", "#rrggbb", "#rrggbbaa", or a list of three or four numbers from 0 to 255 */
static void check_colour(lua_State *L, int index, uint8_t rgba[4])
{
    static const char expected[] =
        "a colour such as \"#1a9850\", or a list of 3 or 4 numbers from 0 to 255";
    rgba[3] = 255;
    if (lua_type(L, index) == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(L, index, &len);
        bool wide = len == 7 || len == 9, narrow = len == 4 || len == 5;
        bool ok = text[0] == '#' && (wide || narrow) &&
                  strspn(text + 1, "0123456789abcdefABCDEF") == len - 1;
        if (!ok)
            vm_bad(L, "colour", expected, index);
        for (size_t i = 0; i < (len - 1) / (wide ? 2 : 1); i++) {
            char digits[3] = {text[1 + (wide ? 2 * i : i)], text[wide ? 2 + 2 * i : 1 + i], 0};
            rgba[i] = (uint8_t)strtol(digits, NULL, 16);
        }
        return;
    }
    size_t n = lua_istable(L, index) ? lua_objlen(L, index) : 0;
    if (n != 3 && n != 4)
        vm_bad(L, "colour", expected, index);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        double v = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(v >= 0 && v <= 255))
            vm_bad(L, "colour", expected, index);
        rgba[i] = (uint8_t)lround(v);
        lua_pop(L, 1);
    }
}

/* A list of colours (evenly apart), or of { at, colour } with `at` from 0 to 1. */
static size_t check_stops(lua_State *L, int index, struct mg_stop stops[256])
{
    size_t n = lua_objlen(L, index);
    if (n < 2 || n > 255)
        vm_raise(L, MG_E_ARGUMENT, "colour: expected 2 to 255 stops, got %zu", n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        int stop = lua_gettop(L);
        stops[i].at = (double)i / (double)(n - 1);
        bool placed = false;
        if (lua_istable(L, stop)) {
            lua_rawgeti(L, stop, 2);
            placed = !lua_isnumber(L, -1) || lua_objlen(L, stop) == 2;
            lua_pop(L, 1);
        }
        if (placed) {
            lua_rawgeti(L, stop, 1);
            double at = lua_tonumber(L, -1);
            if (lua_type(L, -1) != LUA_TNUMBER || !(at >= 0 && at <= 1) ||
                (i > 0 && at <= stops[i - 1].at))
                vm_raise(L, MG_E_ARGUMENT,
                         "colour: stop %zu: expected a position from 0 to 1, above the one before",
                         i + 1);
            stops[i].at = at;
            lua_rawgeti(L, stop, 2);
        } else {
            lua_pushvalue(L, stop);
        }
        check_colour(L, lua_gettop(L), stops[i].rgba);
        lua_settop(L, stop - 1);
    }
    return n;
}

/* legend(name or stops, low, high, width, height) -> raster of four bands */
int vm_raster_legend(lua_State *L)
{
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL;
    struct mg_stop stops[256];
    size_t n = 0;
    if (lua_type(L, 1) == LUA_TSTRING) {
        struct mg_span name;
        name.data = lua_tolstring(L, 1, &name.len);
        vm_check(L, "legend", mg_colormap_find(name, stops, 256, &n, &why), &why);
    } else if (lua_istable(L, 1)) {
        n = check_stops(L, 1, stops);
    } else {
        vm_bad(L, "legend: the first argument", "the name of a colour map, or a list of colours", 1);
    }
    for (int i = 2; i <= 5; i++) {
        static const char *const names[] = {"legend: low", "legend: high", "legend: width", "legend: height"};
        double v = lua_tonumber(L, i);
        if (lua_type(L, i) != LUA_TNUMBER || !(fabs(v) < 1e15))
            vm_bad(L, names[i - 2], "a number", i);
        if (i >= 4 && (v < 0 || v > MG_RASTER_MAX_SIDE || v != floor(v)))
            vm_bad(L, names[i - 2], "a number of pixels", i);
    }
    vm_check(L, "legend",
             mg_raster_legend(stops, n, lua_tonumber(L, 2), lua_tonumber(L, 3), (int)lua_tonumber(L, 4),
                              (int)lua_tonumber(L, 5), &out, &why),
             &why);
    vm_push_raster(L, out, 0);
    return 1;
}

/* r:colour(name or stops, low, high) -> palette raster; no data is transparent */
int vm_raster_colour(lua_State *L)
{
    struct vm_raster *r = vm_check_raster(L, "colour", 1);
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL;
    struct mg_stop stops[256];
    size_t n = 0;
    if (lua_type(L, 2) == LUA_TSTRING) {
        struct mg_span name;
        name.data = lua_tolstring(L, 2, &name.len);
        vm_check(L, "colour", mg_colormap_find(name, stops, 256, &n, &why), &why);
    } else if (lua_istable(L, 2)) {
        n = check_stops(L, 2, stops);
    } else {
        vm_bad(L, "colour: the first argument", "the name of a colour map, or a list of colours",
               2);
    }
    for (int i = 3; i <= 4; i++)
        if (lua_type(L, i) != LUA_TNUMBER || !isfinite(lua_tonumber(L, i)))
            vm_bad(L, i == 3 ? "colour: low" : "colour: high",
                   "a number (the same for all tiles of a map)", i);
    if (r->raster->bands != 1)
        vm_raise(L, MG_E_ARGUMENT, "colour: expected one band, got %d; choose one: raster[1]",
                 r->raster->bands);
    vm_raster_foresee(L, r->raster, MG_U8);
    vm_check(
        L, "colour",
        mg_raster_colour(r->raster, stops, n, lua_tonumber(L, 3), lua_tonumber(L, 4), &out, &why),
        &why);
    vm_push_raster(L, out, r->margin);
    return 1;
}

/* One more pixel on each side, the edge repeated, for a raster that was read without a margin. */
static enum mg_err repeat_edges(const struct mg_raster *from, struct mg_raster **out,
                                struct mg_errmsg *why)
{
    struct mg_raster *wide = NULL;
    int w = from->width, h = from->height;
    size_t size = mg_sample_bytes(from->sample);
    enum mg_err err = mg_raster_new(w + 2, h + 2, 1, from->sample, &wide, why);
    if (err == MG_OK)
        err = mg_raster_copy_georef(wide, from);
    if (err == MG_OK && from->mask)
        err = mg_raster_need_mask(wide, why);
    if (err != MG_OK) {
        mg_raster_unref(&wide);
        return err;
    }
    double *gt = wide->geotransform;
    gt[0] -= gt[1] + gt[2];
    gt[3] -= gt[4] + gt[5];
    for (int y = 0; y < h + 2; y++) {
        int sy = y < 1 ? 0 : y > h ? h - 1 : y - 1;
        for (int x = 0; x < w + 2; x++) {
            int sx = x < 1 ? 0 : x > w ? w - 1 : x - 1;
            size_t to = (size_t)y * (size_t)(w + 2) + (size_t)x,
                   at = (size_t)sy * (size_t)w + (size_t)sx;
            memcpy(wide->data + to * size, from->data + at * size, size);
            if (from->mask)
                wide->mask[to] = from->mask[at];
        }
    }
    *out = wide;
    return MG_OK;
}

static double number_option(lua_State *L, int index, const char *what, const char *key,
                            double fallback, double low, double high)
{
    double value = fallback;
    if (lua_istable(L, index)) {
        lua_getfield(L, index, key);
        if (!lua_isnil(L, -1)) {
            value = lua_tonumber(L, -1);
            if (lua_type(L, -1) != LUA_TNUMBER || !(value >= low && value <= high)) {
                struct mg_buf *got = vm_scratch(L, 0);
                vm_describe(L, -1, got);
                vm_raise(L, MG_E_ARGUMENT, "%s: %s: expected a number from %g to %g, got %s", what,
                         key, low, high, got->data);
            }
        }
        lua_pop(L, 1);
    }
    return value;
}

/* dem:hillshade{ azimuth = 315, altitude = 45, z = 1 } -> raster of 1 to 255. Uses up one pixel of
 * the margin that the raster was read with; without a margin the edge is repeated (which shows
 * between tiles) */
int vm_raster_hillshade(lua_State *L)
{
    static const char *const keys[] = {"azimuth", "altitude", "z", NULL};
    struct vm_raster *r = vm_check_raster(L, "hillshade", 1);
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL, *wide = NULL;
    vm_check_options(L, "hillshade", 2, keys);
    double azimuth = number_option(L, 2, "hillshade", "azimuth", 315, -360, 360);
    double altitude = number_option(L, 2, "hillshade", "altitude", 45, 0, 90);
    double z = number_option(L, 2, "hillshade", "z", 1, 1e-6, 1e6);
    if (r->raster->bands != 1)
        vm_raise(L, MG_E_ARGUMENT, "hillshade: expected one band, got %d; choose one: raster[1]",
                 r->raster->bands);
    vm_raster_foresee(L, r->raster, MG_F32);
    enum mg_err err;
    if (r->margin > 0) {
        err = mg_raster_hillshade(r->raster, azimuth, altitude, z, &out, &why);
    } else {
        err = repeat_edges(r->raster, &wide, &why);
        if (err == MG_OK)
            err = mg_raster_hillshade(wide, azimuth, altitude, z, &out, &why);
        mg_raster_unref(&wide);
    }
    vm_check(L, "hillshade", err, &why);
    vm_push_raster(L, out, r->margin > 0 ? r->margin - 1 : 0);
    return 1;
}
