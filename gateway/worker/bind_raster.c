/* Rasters: values, operators and methods over whole rasters (raster_ops.h). Reading is in
 * bind_read.c; the per-pixel loops are Lua's (lua/moon/raster.lua), over pointers that this file
 * hands to the library alone.
 *
 * A raster is immutable but through :pixels(). Its samples lie outside of the Lua heap and are
 * counted apart. */
#include "vm.h"

#include "moongate/raster_analysis.h"
#include "moongate/raster_ops.h"

#include <math.h>
#include <stdlib.h>

static const char RASTER_TYPE[] = "moon.Raster";

struct vm_raster *vm_to_raster(lua_State *L, int index)
{
    struct vm_raster *ud = lua_touserdata(L, index);
    if (!ud || lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    luaL_getmetatable(L, RASTER_TYPE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same && ud->raster ? ud : NULL;
}

struct vm_raster *vm_check_raster(lua_State *L, const char *what, int index)
{
    struct vm_raster *r = vm_to_raster(L, index);
    if (!r)
        vm_bad(L, what, "a raster", index);
    return r;
}

void vm_raster_foresee(lua_State *L, const struct mg_raster *like, enum mg_sample sample)
{
    size_t bytes =
        (size_t)like->width * (size_t)like->height * (size_t)like->bands * mg_sample_bytes(sample);
    vm_charge(L, bytes);
    vm_release(vm_of(L), bytes);
}

/* A number or raster operand; NULL and the number when it is a number. */
static const struct mg_raster *operand(lua_State *L, const char *what, int index, double *number,
                                       int *margin)
{
    if (lua_type(L, index) == LUA_TNUMBER) {
        *number = lua_tonumber(L, index);
        return NULL;
    }
    struct vm_raster *r = vm_to_raster(L, index);
    if (!r)
        vm_bad(L, what, "a raster or a number", index);
    *margin = *margin < 0 || r->margin < *margin ? r->margin : *margin;
    *number = 0;
    return r->raster;
}

static int binary(lua_State *L, const char *what, enum mg_op op)
{
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL;
    double a_number, b_number;
    int margin = -1;
    const struct mg_raster *a = operand(L, what, 1, &a_number, &margin);
    const struct mg_raster *b = operand(L, what, 2, &b_number, &margin);
    if (!a && !b)
        vm_bad(L, what, "a raster", 1);
    vm_raster_foresee(L, a ? a : b, op < MG_OP_GT ? MG_F32 : MG_U8);
    vm_check(L, what, mg_raster_binary(op, a, a_number, b, b_number, &out, &why), &why);
    vm_push_raster(L, out, margin);
    return 1;
}
/* a + b, a - b, a * b, a / b, a % b, a ^ b: rasters or numbers, at least one raster */
static int l_add(lua_State *L)
{
    return binary(L, "+", MG_OP_ADD);
}
static int l_sub(lua_State *L)
{
    return binary(L, "-", MG_OP_SUB);
}
static int l_mul(lua_State *L)
{
    return binary(L, "*", MG_OP_MUL);
}
static int l_div(lua_State *L)
{
    return binary(L, "/", MG_OP_DIV);
}
static int l_mod(lua_State *L)
{
    return binary(L, "%", MG_OP_MOD);
}
static int l_pow(lua_State *L)
{
    return binary(L, "^", MG_OP_POW);
}
/* r:gt(x), :ge :lt :le :eq :ne -> mask of 0 and 1; x is a number or a raster */
static int l_gt(lua_State *L)
{
    return binary(L, "gt", MG_OP_GT);
}
static int l_ge(lua_State *L)
{
    return binary(L, "ge", MG_OP_GE);
}
static int l_lt(lua_State *L)
{
    return binary(L, "lt", MG_OP_LT);
}
static int l_le(lua_State *L)
{
    return binary(L, "le", MG_OP_LE);
}
static int l_eq(lua_State *L)
{
    return binary(L, "eq", MG_OP_EQ);
}
static int l_ne(lua_State *L)
{
    return binary(L, "ne", MG_OP_NE);
}
/* mask:band(mask), mask:bor(mask) -> mask */
static int l_band(lua_State *L)
{
    return binary(L, "band", MG_OP_AND);
}
static int l_bor(lua_State *L)
{
    return binary(L, "bor", MG_OP_OR);
}

static int unary(lua_State *L, const char *what, enum mg_unary op)
{
    struct vm_raster *r = vm_check_raster(L, what, 1);
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL;
    vm_raster_foresee(L, r->raster, MG_F32);
    vm_check(L, what, mg_raster_unary(op, r->raster, &out, &why), &why);
    vm_push_raster(L, out, r->margin);
    return 1;
}
/* -r; mask:bnot(); r:abs(), :sqrt(), :exp(), :log(), :sin(), :cos(), :floor(), :ceil() */
static int l_neg(lua_State *L)
{
    return unary(L, "-", MG_OP_NEG);
}
static int l_bnot(lua_State *L)
{
    return unary(L, "bnot", MG_OP_NOT);
}
static int l_abs(lua_State *L)
{
    return unary(L, "abs", MG_OP_ABS);
}
static int l_sqrt(lua_State *L)
{
    return unary(L, "sqrt", MG_OP_SQRT);
}
static int l_exp(lua_State *L)
{
    return unary(L, "exp", MG_OP_EXP);
}
static int l_log(lua_State *L)
{
    return unary(L, "log", MG_OP_LOG);
}
static int l_sin(lua_State *L)
{
    return unary(L, "sin", MG_OP_SIN);
}
static int l_cos(lua_State *L)
{
    return unary(L, "cos", MG_OP_COS);
}
static int l_floor(lua_State *L)
{
    return unary(L, "floor", MG_OP_FLOOR);
}
static int l_ceil(lua_State *L)
{
    return unary(L, "ceil", MG_OP_CEIL);
}

static int band_argument(lua_State *L, const char *what, const struct mg_raster *raster, int index)
{
    if (lua_isnoneornil(L, index))
        return 0;
    double band = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : NAN;
    if (!(band >= 1 && band <= raster->bands) || band != floor(band)) {
        struct mg_buf *got = vm_scratch(L, 0);
        vm_describe(L, index, got);
        vm_raise(L, MG_E_ARGUMENT, "%s: band: expected 1 to %d, got %s", what, raster->bands,
                 got->data);
    }
    return (int)band - 1;
}

/* The figure of that name; false when there is none. */
static bool statistic(const struct mg_stats *stats, const char *name, double *out)
{
    const struct {
        const char *name;
        double value;
    } all[] = {{"min", stats->min}, {"max", stats->max}, {"mean", stats->mean},
               {"std", stats->std}, {"sum", stats->sum}, {"count", (double)stats->count}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].name, name) == 0) {
            *out = all[i].value;
            return true;
        }
    }
    return false;
}

/* r:stats(name…) -> table of figures by name; all of them without names. Several bands: a list of
 * such tables */
static int l_stats(lua_State *L)
{
    static const char *const names[] = {"min", "max", "mean", "std", "sum", "count"};
    struct mg_raster *raster = vm_check_raster(L, "stats", 1)->raster;
    int n = lua_gettop(L);
    if (raster->bands > 1)
        lua_createtable(L, raster->bands, 0);
    for (int band = 0; band < raster->bands; band++) {
        struct mg_stats stats;
        double value;
        mg_raster_stats(raster, band, &stats);
        lua_newtable(L);
        for (int i = 2; i <= (n > 1 ? n : 7); i++) {
            const char *name = n == 1                          ? names[i - 2]
                               : lua_type(L, i) == LUA_TSTRING ? lua_tostring(L, i)
                                                               : "";
            if (strcmp(name, "median") == 0) {
                static const double half = 50;
                struct mg_errmsg why = {""};
                vm_check(L, "stats", mg_raster_percentiles(raster, band, &half, 1, &value, &why), &why);
            } else if (!statistic(&stats, name, &value)) {
                vm_bad(L, "stats", "\"min\", \"max\", \"mean\", \"std\", \"sum\", \"count\" or \"median\"", i);
            }
            if (!isnan(value)) {
                lua_pushnumber(L, value);
                lua_setfield(L, -2, name);
            }
        }
        if (raster->bands > 1)
            lua_rawseti(L, n + 1, band + 1);
    }
    return 1;
}

static int figure(lua_State *L, const char *name)
{
    struct mg_raster *raster = vm_check_raster(L, name, 1)->raster;
    struct mg_stats stats;
    double value = NAN;
    mg_raster_stats(raster, band_argument(L, name, raster, 2), &stats);
    if (statistic(&stats, name, &value) && !isnan(value))
        lua_pushnumber(L, value);
    else
        lua_pushnil(L);
    return 1;
}
/* r:min([band]), :max :mean :std :sum :count -> number, nil where every pixel is no data */
static int l_min(lua_State *L)
{
    return figure(L, "min");
}
static int l_max(lua_State *L)
{
    return figure(L, "max");
}
static int l_mean(lua_State *L)
{
    return figure(L, "mean");
}
static int l_std(lua_State *L)
{
    return figure(L, "std");
}
static int l_sum(lua_State *L)
{
    return figure(L, "sum");
}
static int l_count(lua_State *L)
{
    return figure(L, "count");
}

/* r:clamp(low, high) -> raster */
static int l_clamp(lua_State *L)
{
    struct vm_raster *r = vm_check_raster(L, "clamp", 1);
    struct mg_errmsg why = {""};
    for (int i = 2; i <= 3; i++)
        if (lua_type(L, i) != LUA_TNUMBER)
            vm_bad(L, i == 2 ? "clamp: low" : "clamp: high", "a number", i);
    double low = lua_tonumber(L, 2), high = lua_tonumber(L, 3);
    if (!(low <= high))
        vm_raise(L, MG_E_ARGUMENT, "clamp: low is %g, more than high, %g", low, high);
    int margin = r->margin;
    struct mg_raster *out = NULL, *raised = NULL;
    vm_raster_foresee(L, r->raster, MG_F32);
    vm_check(L, "clamp", mg_raster_binary(MG_OP_MAX, r->raster, 0, NULL, low, &raised, &why), &why);
    enum mg_err err = mg_raster_binary(MG_OP_MIN, raised, 0, NULL, high, &out, &why);
    mg_raster_unref(&raised);
    vm_check(L, "clamp", err, &why);
    vm_push_raster(L, out, margin);
    return 1;
}

/* r:where(mask [, other]) -> raster: r where the mask is 1, elsewhere the other (raster or number),
 * or no data */
static int l_where(lua_State *L)
{
    struct vm_raster *r = vm_check_raster(L, "where", 1),
                     *mask = vm_check_raster(L, "where: the mask", 2);
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL;
    double number = 0;
    int margin = r->margin;
    bool nothing =
        lua_isnoneornil(L, 3) || (lua_type(L, 3) == LUA_TNUMBER && isnan(lua_tonumber(L, 3)));
    const struct mg_raster *other =
        nothing ? NULL : operand(L, "where: the other", 3, &number, &margin);
    vm_raster_foresee(L, r->raster, MG_F32);
    vm_check(L, "where",
             mg_raster_where(r->raster, mask->raster, other, number, nothing, &out, &why), &why);
    vm_push_raster(L, out, margin);
    return 1;
}

/* r:convert(type) -> raster of "uint8", "int16" … "float64" */
static int l_convert(lua_State *L)
{
    struct vm_raster *r = vm_check_raster(L, "convert", 1);
    struct mg_errmsg why = {""};
    struct mg_raster *out = NULL;
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    for (int s = 0; s < MG_SAMPLE_COUNT; s++) {
        if (strcmp(mg_sample_name((enum mg_sample)s), name) == 0) {
            vm_raster_foresee(L, r->raster, (enum mg_sample)s);
            vm_check(L, "convert", mg_raster_convert(r->raster, (enum mg_sample)s, &out, &why),
                     &why);
            vm_push_raster(L, out, r->margin);
            return 1;
        }
    }
    vm_bad(L, "convert", "uint8, int8, uint16, int16, uint32, int32, float32 or float64", 2);
}

/* r:get(column, row [, band]) -> number, nil where there is no data; column and row begin at 0, top
 * left */
static int l_get(lua_State *L)
{
    struct mg_raster *r = vm_check_raster(L, "get", 1)->raster;
    for (int i = 2; i <= 3; i++)
        if (lua_type(L, i) != LUA_TNUMBER)
            vm_bad(L, i == 2 ? "get: column" : "get: row", "a number, from 0", i);
    double col = lua_tonumber(L, 2), row = lua_tonumber(L, 3);
    int band = band_argument(L, "get", r, 4);
    if (!(col >= 0 && col < r->width && row >= 0 && row < r->height))
        vm_raise(L, MG_E_ARGUMENT, "get: column %g, row %g: expected 0 to %d, 0 to %d", col, row,
                 r->width - 1, r->height - 1);
    size_t at = (size_t)row * (size_t)r->width + (size_t)col,
           pixels = (size_t)r->width * (size_t)r->height;
    if (r->mask && !r->mask[(size_t)band * pixels + at]) {
        lua_pushnil(L);
        return 1;
    }
    const void *samples = mg_raster_samples(r, band);
    double value = 0;
    switch (r->sample) {
    case MG_U8:
        value = ((const uint8_t *)samples)[at];
        break;
    case MG_I8:
        value = ((const int8_t *)samples)[at];
        break;
    case MG_U16:
        value = ((const uint16_t *)samples)[at];
        break;
    case MG_I16:
        value = ((const int16_t *)samples)[at];
        break;
    case MG_U32:
        value = ((const uint32_t *)samples)[at];
        break;
    case MG_I32:
        value = ((const int32_t *)samples)[at];
        break;
    case MG_F32:
        value = ((const float *)samples)[at];
        break;
    case MG_F64:
        value = ((const double *)samples)[at];
        break;
    case MG_SAMPLE_COUNT:
        break;
    }
    if (isnan(value))
        lua_pushnil(L);
    else
        lua_pushnumber(L, value);
    return 1;
}

static void push_bounds_of(lua_State *L, const struct mg_raster *raster)
{
    struct mg_errmsg why = {""};
    struct vm_bounds b = {.b = mg_raster_bounds(raster)};
    struct mg_transform *transform = NULL;
    if (!raster->has_georef || !raster->crs) {
        lua_pushnil(L);
        return;
    }
    vm_check(L, "bounds", mg_transform_get(raster->crs, "EPSG:4326", &transform, &why), &why);
    if (transform)
        vm_check(L, "bounds", mg_transform_bounds(transform, b.b, &b.b, &why), &why);
    vm_push_bounds(L, &b);
}

static int find_name(const struct mg_raster *r, const char *name)
{
    for (int i = 0; r->names && i < r->bands; i++)
        if (r->names[i] && strcmp(r->names[i], name) == 0)
            return i;
    return -1;
}

_Noreturn static void no_field(lua_State *L, const struct mg_raster *r, const char *key)
{
    static const char *const fields[] = {"width", "height", "bands", "type",  "nodata",
                                         "crs",   "bounds", "names", "margin"};
    enum { N_FIELDS = sizeof fields / sizeof *fields };
    const char *words[N_FIELDS + MG_RASTER_MAX_BANDS + 1] = {0};
    size_t n = 0;
    struct mg_buf *bands = vm_scratch(L, 1);
    for (int i = 0; r->names && i < r->bands; i++) {
        words[n++] = r->names[i] ? r->names[i] : "";
        mg_buf_printf(bands, "%s%s", i ? ", " : "its bands ", words[n - 1]);
    }
    memcpy(words + n, fields, sizeof fields);
    vm_raise(
        L, MG_E_ARGUMENT,
        "a raster has no `%.60s`%s (it has %s, width, height, bands, type, nodata, crs, bounds, "
        "names, and methods)",
        key, vm_suggest(L, key, lua_upvalueindex(1), words),
        bands->len ? bands->data : "bands by number: r[1]");
}

/* r:width = … */
static int raster_newindex(lua_State *L)
{
    vm_raise(L, MG_E_ARGUMENT,
             "a raster's fields cannot be set; operators and methods give a new raster, "
             "moon.raster{ a, b } "
             "puts bands together, r:pixels() sets single pixels");
}

/* r[1] and r.red -> band; r.width, .height, .bands, .type, .nodata, .crs, .bounds, .names, .margin;
 * else a method */
static int raster_index(lua_State *L)
{
    struct vm_raster *ud = vm_check_raster(L, "raster", 1);
    struct mg_raster *r = ud->raster, *view = NULL;
    struct mg_errmsg why = {""};
    int band = -1;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        band = band_argument(L, "raster", r, 2);
    } else {
        lua_pushvalue(L, 2);
        lua_rawget(L, lua_upvalueindex(1));
        if (!lua_isnil(L, -1))
            return 1;
        const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
        if (strcmp(key, "width") == 0) {
            lua_pushinteger(L, r->width);
        } else if (strcmp(key, "height") == 0) {
            lua_pushinteger(L, r->height);
        } else if (strcmp(key, "bands") == 0) {
            lua_pushinteger(L, r->bands);
        } else if (strcmp(key, "margin") == 0) {
            lua_pushinteger(L, ud->margin);
        } else if (strcmp(key, "type") == 0) {
            lua_pushstring(L, mg_sample_name(r->sample));
        } else if (strcmp(key, "crs") == 0) {
            lua_pushstring(L, r->crs);
        } else if (strcmp(key, "nodata") == 0) {
            if (r->has_nodata)
                lua_pushnumber(L, r->nodata);
            else
                lua_pushnil(L);
        } else if (strcmp(key, "bounds") == 0) {
            push_bounds_of(L, r);
        } else if (strcmp(key, "names") == 0) {
            lua_createtable(L, r->bands, 0);
            for (int i = 0; r->names && i < r->bands; i++) {
                lua_pushstring(L, r->names[i] ? r->names[i] : "");
                lua_rawseti(L, -2, i + 1);
            }
        } else if ((band = find_name(r, key)) < 0) {
            no_field(L, r, key);
        }
        if (band < 0)
            return 1;
    }
    if (r->bands == 1) {
        lua_pushvalue(L, 1);
        return 1;
    }
    vm_check(L, "raster", mg_raster_band(r, band, &view, &why), &why);
    vm_push_raster(L, view, ud->margin);
    return 1;
}

static int raster_gc(lua_State *L)
{
    struct vm_raster *ud = lua_touserdata(L, 1);
    if (ud && ud->raster) {
        vm_release(vm_of(L), ud->bytes);
        mg_raster_unref(&ud->raster);
    }
    return 0;
}

static int raster_tostring(lua_State *L)
{
    struct mg_raster *r = vm_check_raster(L, "tostring", 1)->raster;
    lua_pushfstring(L, "raster %d x %d, %d band%s of %s", r->width, r->height, r->bands,
                    r->bands == 1 ? "" : "s", mg_sample_name(r->sample));
    return 1;
}

/* The tables of the metatable: methods, which lua/moon/raster.lua adds to. */
static const luaL_Reg methods[] = {{"gt", l_gt},
                                   {"ge", l_ge},
                                   {"lt", l_lt},
                                   {"le", l_le},
                                   {"eq", l_eq},
                                   {"ne", l_ne},
                                   {"band", l_band},
                                   {"bor", l_bor},
                                   {"bnot", l_bnot},
                                   {"abs", l_abs},
                                   {"sqrt", l_sqrt},
                                   {"exp", l_exp},
                                   {"log", l_log},
                                   {"sin", l_sin},
                                   {"cos", l_cos},
                                   {"floor", l_floor},
                                   {"ceil", l_ceil},
                                   {"clamp", l_clamp},
                                   {"where", l_where},
                                   {"convert", l_convert},
                                   {"stats", l_stats},
                                   {"min", l_min},
                                   {"max", l_max},
                                   {"mean", l_mean},
                                   {"std", l_std},
                                   {"sum", l_sum},
                                   {"count", l_count},
                                   {"colour", vm_raster_colour},
                                   {"color", vm_raster_colour},
                                   {"hillshade", vm_raster_hillshade},
                                   {"get", l_get},
                                   {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__add", l_add},
                                       {"__sub", l_sub},
                                       {"__mul", l_mul},
                                       {"__div", l_div},
                                       {"__mod", l_mod},
                                       {"__pow", l_pow},
                                       {"__unm", l_neg},
                                       {"__gc", raster_gc},
                                       {"__tostring", raster_tostring},
                                       {"__newindex", raster_newindex},
                                       {NULL, NULL}};

/* The metatable on the stack. */
static void push_metatable(lua_State *L)
{
    if (!luaL_newmetatable(L, RASTER_TYPE))
        return;
    luaL_register(L, NULL, metamethods);
    lua_createtable(L, 0, 40);
    luaL_register(L, NULL, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "moon.Raster.methods");
    lua_pushcclosure(L, raster_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "raster");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

void vm_push_raster(lua_State *L, struct mg_raster *raster, int margin)
{
    struct vm_raster *ud = lua_newuserdata(L, sizeof *ud);
    *ud = (struct vm_raster){.raster = raster, .margin = margin > 0 ? margin : 0};
    push_metatable(L);
    lua_setmetatable(L, -2);
    if (!raster->owner) {
        size_t pixels = (size_t)raster->width * (size_t)raster->height * (size_t)raster->bands;
        size_t bytes = raster->band_stride * (size_t)raster->bands + (raster->mask ? pixels : 0);
        vm_charge(L, bytes);
        ud->bytes = bytes;
    }
}

/* stack(list of rasters [, list of names]) -> raster with their bands one after the other */
static int l_stack(lua_State *L)
{
    struct mg_raster *parts[MG_RASTER_MAX_BANDS], *out = NULL;
    const char *names[MG_RASTER_MAX_BANDS];
    struct mg_errmsg why = {""};
    int margin = -1, bands = 0;
    size_t n = lua_istable(L, 1) ? lua_objlen(L, 1) : 0;
    if (n < 1 || n > MG_RASTER_MAX_BANDS)
        vm_bad(L, "raster", "a list of rasters", 1);
    for (size_t i = 0; i < n; i++) {
        double none;
        lua_rawgeti(L, 1, (int)i + 1);
        if (!vm_to_raster(L, -1))
            vm_bad(L, "raster: an item of the list", "a raster", -1);
        parts[i] = (struct mg_raster *)operand(L, "raster", lua_gettop(L), &none, &margin);
        bands += parts[i]->bands;
        lua_pop(L, 1); /* the list holds it */
    }
    bool named = lua_istable(L, 2);
    for (int i = 0; named && i < bands && i < MG_RASTER_MAX_BANDS; i++) {
        lua_rawgeti(L, 2, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            vm_raise(L, MG_E_ARGUMENT, "raster: names: expected a list of %d names", bands);
        names[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    vm_check(L, "raster", mg_raster_stack(parts, n, named ? names : NULL, &out, &why), &why);
    vm_push_raster(L, out, margin);
    return 1;
}

/* samples(raster, band) -> pointer, type's name, number of pixels, pointer to the mask or nil; for
 * the library only */
static int l_samples(lua_State *L)
{
    struct mg_raster *r = vm_check_raster(L, "samples", 1)->raster;
    int band = band_argument(L, "pixels", r, 2);
    size_t pixels = (size_t)r->width * (size_t)r->height;
    lua_pushlightuserdata(L, mg_raster_samples(r, band));
    lua_pushstring(L, mg_sample_name(r->sample));
    lua_pushnumber(L, (lua_Number)pixels);
    if (r->mask)
        lua_pushlightuserdata(L, r->mask + (size_t)band * pixels);
    else
        lua_pushnil(L);
    return 4;
}

/* colormaps() -> names */
static int l_colormaps(lua_State *L)
{
    lua_newtable(L);
    const char *const *names = mg_colormap_names();
    for (int i = 0; names[i]; i++) {
        lua_pushstring(L, names[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* A word that nobody can guess, for names of fields that only the library may use. */
static int l_secret(lua_State *L)
{
    uint8_t random[8];
    char text[24] = "f";
    mg_random(random, sizeof random);
    for (int i = 0; i < 8; i++) {
        text[1 + 2 * i] = "abcdefghijklmnop"[random[i] >> 4];
        text[2 + 2 * i] = "abcdefghijklmnop"[random[i] & 15];
    }
    lua_pushlstring(L, text, 17);
    return 1;
}

void vm_open_raster(lua_State *L)
{
    static const luaL_Reg functions[] = {{"stack", l_stack},
                                         {"samples", l_samples},
                                         {"colormaps", l_colormaps},
                                         {"secret", l_secret},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
    push_metatable(L);
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.Raster.methods");
    lua_setfield(L, -2, "methods");
    vm_open_map(L);
    vm_open_analysis(L);
    vm_open_read(L);
}
