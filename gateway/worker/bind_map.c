/* moon.map: what the per-pixel loop of lua/moon/raster.lua needs of C. The loop itself is Lua's,
 * compiled by the JIT; pixels without data are kept away from it, for a test inside of it would
 * cost more than all of this (a failed test leaves the trace). */
#include "vm.h"

#include "moongate/raster_ops.h"

#include <math.h>

enum { STRIP = 16, MAP_CHUNK = 1 << 16 };

/* map_output(rasters…) -> float32 raster of their size, pointer; checks that each has one band and
 * the same size */
static int l_map_output(lua_State *L)
{
    struct mg_errmsg why = {""};
    struct mg_raster *first = NULL, *out = NULL;
    int n = lua_gettop(L), margin = -1;
    for (int i = 1; i <= n; i++) {
        struct vm_raster *ud = vm_to_raster(L, i);
        if (!ud)
            vm_bad(L, "map", "rasters, then a function", i);
        if (ud->raster->bands != 1)
            vm_raise(L, MG_E_ARGUMENT, "map: raster %d has %d bands; choose one: raster[1]", i,
                     ud->raster->bands);
        if (first && (ud->raster->width != first->width || ud->raster->height != first->height))
            vm_raise(L, MG_E_ARGUMENT, "map: raster %d has %d x %d pixels, the first one %d x %d",
                     i, ud->raster->width, ud->raster->height, first->width, first->height);
        first = first ? first : ud->raster;
        margin = margin < 0 || ud->margin < margin ? ud->margin : margin;
    }
    if (!first)
        vm_bad(L, "map", "rasters, then a function", 1);
    vm_raster_foresee(L, first, MG_F32);
    vm_check(L, "map", mg_raster_new(first->width, first->height, 1, MG_F32, &out, &why), &why);
    if (mg_raster_copy_georef(out, first) != MG_OK) {
        mg_raster_unref(&out);
        vm_raise(L, MG_E_NOMEM, "map: out of memory");
    }
    vm_push_raster(L, out, margin);
    lua_pushlightuserdata(L, out->data);
    return 2;
}

/* map_finish(raster): what is not finite becomes no data, as for the operators */
static int l_map_finish(lua_State *L)
{
    struct mg_raster *r = vm_check_raster(L, "map", 1)->raster;
    size_t pixels = (size_t)r->width * (size_t)r->height;
    float *samples = mg_raster_samples(r, 0);
    size_t at = 0;
    if (r->sample != MG_F32)
        return 0;
    for (; at + STRIP <= pixels; at += STRIP) /* a fixed length: gcc makes vectors of it */
        for (size_t i = 0; i < STRIP; i++)
            samples[at + i] = fabsf(samples[at + i]) <= 3.402823466e38f ? samples[at + i] : NAN;
    for (; at < pixels; at++)
        samples[at] = fabsf(samples[at]) <= 3.402823466e38f ? samples[at] : NAN;
    return 0;
}

/* Clears ok[i] where the sample at first + i is no data. Strips have a fixed length, of which gcc
 * makes vectors. */
static void mark_nodata(const struct mg_raster *r, size_t first, size_t n, uint8_t *ok)
{
    const uint8_t *mask = r->mask ? r->mask + first : NULL;
    const float *f32 = r->sample == MG_F32 ? (const float *)mg_raster_samples(r, 0) + first : NULL;
    const double *f64 =
        r->sample == MG_F64 ? (const double *)mg_raster_samples(r, 0) + first : NULL;
    size_t whole = n - n % STRIP;
    for (size_t at = 0; mask && at < whole; at += STRIP)
        for (size_t i = 0; i < STRIP; i++)
            ok[at + i] &= (uint8_t)(mask[at + i] != 0);
    for (size_t at = 0; f32 && at < whole; at += STRIP)
        for (size_t i = 0; i < STRIP; i++)
            ok[at + i] &= (uint8_t)(f32[at + i] == f32[at + i]);
    for (size_t i = f64 ? 0 : whole; i < n; i++)
        ok[i] &= (!mask || mask[i]) && (!f32 || f32[i] == f32[i]) && (!f64 || f64[i] == f64[i]);
}

/* What map_valid fills: positions of the pixels that have data. */
struct map_index {
    int32_t at[MAP_CHUNK];
    uint8_t ok[MAP_CHUNK];
};

/* map_index() -> userdata, pointer to its positions */
static int l_map_index(lua_State *L)
{
    struct map_index *index = lua_newuserdata(L, sizeof *index);
    lua_pushlightuserdata(L, index->at);
    return 2;
}

/* map_valid(index, first, out, rasters…) -> how many of the next MAP_CHUNK pixels have data in all
 * rasters, how many there are. Unless that is all, the index holds their positions, and `out` is no
 * data there. */
static int l_map_valid(lua_State *L)
{
    struct map_index *index = lua_touserdata(L, 1);
    size_t first = (size_t)lua_tonumber(L, 2), valid = 0;
    struct mg_raster *out = vm_check_raster(L, "map", 3)->raster;
    size_t pixels = (size_t)out->width * (size_t)out->height;
    size_t n = pixels - first < MAP_CHUNK ? pixels - first : MAP_CHUNK;
    bool may_miss = false;
    memset(index->ok, 1, n);
    for (int i = 4; i <= lua_gettop(L); i++) {
        const struct mg_raster *r = vm_check_raster(L, "map", i)->raster;
        if (r->mask || r->sample == MG_F32 || r->sample == MG_F64) {
            mark_nodata(r, first, n, index->ok);
            may_miss = true;
        }
    }
    if (may_miss && memchr(index->ok, 0, n)) {
        float *samples = (float *)mg_raster_samples(out, 0) + first;
        for (size_t i = 0; i < n; i++) {
            samples[i] = NAN;
            index->at[valid] = (int32_t)(first + i);
            valid += index->ok[i];
        }
    } else {
        valid = n;
    }
    lua_pushnumber(L, (lua_Number)valid);
    lua_pushnumber(L, (lua_Number)n);
    return 2;
}

void vm_open_map(lua_State *L)
{
    static const luaL_Reg functions[] = {{"map_output", l_map_output},
                                         {"map_finish", l_map_finish},
                                         {"map_index", l_map_index},
                                         {"map_valid", l_map_valid},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
