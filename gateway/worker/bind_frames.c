/* Animations: moon.frames makes one of rasters of one size, each shown for its time.
 *
 * The userdata keeps the rasters alive through its environment, a list of them; struct mg_frame borrows. Nothing is
 * copied: making an animation costs a few words a frame. */
#include "vm.h"

#include <math.h>

static const char FRAMES_TYPE[] = "moon.Frames";
enum { MAX_FRAMES = 1000, MAX_DELAY_MS = 60000, DEFAULT_DELAY_MS = 80 };

struct vm_frames *vm_to_frames(lua_State *L, int index)
{
    struct vm_frames *frames = lua_touserdata(L, index);
    if (!frames || lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    luaL_getmetatable(L, FRAMES_TYPE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? frames : NULL;
}

/* #frames */
static int l_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)vm_to_frames(L, 1)->n);
    return 1;
}

/* frames.count, .width, .height, .delays; frames[i]: a raster */
static int l_index(lua_State *L)
{
    struct vm_frames *frames = vm_to_frames(L, 1);
    if (!frames)
        vm_bad(L, "frames", "an animation", 1);
    if (lua_type(L, 2) == LUA_TNUMBER) {
        lua_getfenv(L, 1);
        lua_pushvalue(L, 2);
        lua_rawget(L, -2);
        return 1;
    }
    const char *key = lua_tostring(L, 2);
    if (key && strcmp(key, "count") == 0)
        lua_pushinteger(L, (lua_Integer)frames->n);
    else if (key && strcmp(key, "width") == 0)
        lua_pushinteger(L, frames->list[0].raster->width);
    else if (key && strcmp(key, "height") == 0)
        lua_pushinteger(L, frames->list[0].raster->height);
    else if (key && strcmp(key, "delays") == 0) {
        lua_createtable(L, (int)frames->n, 0);
        for (size_t i = 0; i < frames->n; i++) {
            lua_pushinteger(L, frames->list[i].delay_ms);
            lua_rawseti(L, -2, (int)i + 1);
        }
    } else
        vm_raise(L, MG_E_ARGUMENT, "frames: no field `%.60s` (it has count, width, height, delays, and [i])",
                 key ? key : "?");
    return 1;
}

static void push_metatable(lua_State *L)
{
    static const luaL_Reg methods[] = {{"__len", l_len}, {"__index", l_index}, {NULL, NULL}};
    if (!luaL_newmetatable(L, FRAMES_TYPE))
        return;
    luaL_register(L, NULL, methods);
    lua_pushliteral(L, "list of frames");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

struct vm_frames *vm_push_frames(lua_State *L, const char *what, int list, const int *delays)
{
    size_t n = lua_objlen(L, list);
    struct vm_frames *frames = lua_newuserdata(L, sizeof *frames + n * sizeof *frames->list);
    frames->n = 0;
    lua_createtable(L, (int)n, 0);
    const struct mg_raster *first = NULL;
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        struct vm_raster *r = vm_to_raster(L, -1);
        if (!r) {
            struct mg_buf *got = vm_scratch(L, 0);
            vm_describe(L, -1, got);
            vm_raise(L, MG_E_ARGUMENT, "%s: frame %zu: expected a raster, got %s", what, i + 1, got->data);
        }
        first = first ? first : r->raster;
        if (r->raster->width != first->width || r->raster->height != first->height)
            vm_raise(L, MG_E_ARGUMENT, "%s: frame %zu has %d x %d pixels, the first %d x %d; frames have one size", what,
                     i + 1, r->raster->width, r->raster->height, first->width, first->height);
        frames->list[i] = (struct mg_frame){r->raster, delays[i]};
        lua_rawseti(L, -2, (int)i + 1);
    }
    frames->n = n;
    lua_setfenv(L, -2);
    push_metatable(L);
    lua_setmetatable(L, -2);
    return frames;
}

static int check_delay(lua_State *L, int index)
{
    double ms = lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER || !(ms >= 1 && ms <= MAX_DELAY_MS))
        vm_bad(L, "frames: delay_ms", "1 to 60,000 milliseconds, or a list of as many as there are frames", index);
    return (int)lround(ms);
}

/* frames(list of rasters [, { delay_ms = 80 or a list }]) -> animation */
static int l_frames(lua_State *L)
{
    static const char *const keys[] = {"delay_ms", NULL};
    int delays[MAX_FRAMES];
    size_t n = lua_istable(L, 1) ? lua_objlen(L, 1) : 0;
    if (n == 0)
        vm_bad(L, "frames", "a list of rasters", 1);
    if (n > MAX_FRAMES)
        vm_raise(L, MG_E_ARGUMENT, "frames: at most %d frames, got %zu", MAX_FRAMES, n);
    vm_check_options(L, "frames", 2, keys);
    for (size_t i = 0; i < n; i++)
        delays[i] = DEFAULT_DELAY_MS;
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "delay_ms");
        int given = lua_gettop(L);
        bool listed = lua_istable(L, given);
        if (listed && lua_objlen(L, given) != n)
            vm_raise(L, MG_E_ARGUMENT, "frames: delay_ms: expected %zu delays, one a frame, got %zu", n,
                     lua_objlen(L, given));
        for (size_t i = 0; i < n && !lua_isnil(L, given); i++) {
            if (listed)
                lua_rawgeti(L, given, (int)i + 1);
            delays[i] = check_delay(L, listed ? lua_gettop(L) : given);
            lua_settop(L, given);
        }
    }
    vm_push_frames(L, "frames", 1, delays);
    return 1;
}

void vm_open_frames(lua_State *L)
{
    static const luaL_Reg functions[] = {{"frames", l_frames}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
