/* moon.encode (lua/moon/encode.lua): a value as the bytes of any registered format. The pick and the encoders are those
 * of an answer; what an answer's URL says, the arguments say here. Cost: the encoder's, and one copy into Lua. */
#include "vm.h"

#include <stdio.h>

static int buffer_gc(lua_State *L)
{
    mg_buf_fini(lua_touserdata(L, 1));
    return 0;
}

/* Freed whatever is raised; bounded like an answer. */
static struct mg_buf *new_bytes(lua_State *L)
{
    struct mg_buf *buf = lua_newuserdata(L, sizeof *buf);
    mg_buf_init(buf, (size_t)vm_of(L)->request->result_bytes);
    if (luaL_newmetatable(L, "moon.Bytes")) {
        lua_pushcfunction(L, buffer_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return buf;
}

static void read_formats(lua_State *L, int index, struct mg_wish *wish)
{
    struct mg_span list, name;
    if (lua_type(L, index) != LUA_TSTRING)
        vm_bad(L, "encode: the format", "a text such as \"parquet\"", index);
    list.data = lua_tolstring(L, index, &list.len);
    while (mg_span_cut(&list, ',', &name) && wish->n_formats < sizeof wish->formats / sizeof *wish->formats) {
        const struct mg_codec *codec = mg_codec_find(name);
        if (!codec) {
            struct mg_buf *all = vm_scratch(L, 1);
            for (size_t i = 0; (codec = mg_codec_at(i)); i++)
                mg_buf_printf(all, "%s%s", i ? ", " : "", codec->name);
            vm_raise(L, MG_E_ARGUMENT, "encode: there is no format \"%.*s\" (there are %s)",
                     name.len < 40 ? (int)name.len : 40, name.data, all->data ? all->data : "none");
        }
        wish->formats[wish->n_formats++] = codec;
    }
}

/* The options of a call, read before anything is encoded: an encoder's frames must not be unwound by Lua. */
enum { MAX_GIVEN = 64 };
struct given {
    size_t n;
    struct {
        const struct mg_codec *codec;
        size_t index;
        struct mg_option_value value;
    } of[MAX_GIVEN];
};

/* The text of an option's value, as a URL would have it; stays on the stack, or in the table. */
static struct mg_span option_text(lua_State *L, const char *name, int index)
{
    struct mg_span text;
    char digits[40], what[80];
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        return lua_toboolean(L, index) ? MG_SPAN("true") : MG_SPAN("false");
    case LUA_TNUMBER:
        snprintf(digits, sizeof digits, "%.17g", lua_tonumber(L, index));
        lua_pushstring(L, digits);
        lua_replace(L, index);
        break;
    case LUA_TSTRING:
        break;
    default:
        snprintf(what, sizeof what, "encode: option %.40s", name);
        vm_bad(L, what, "a number, text or boolean", index);
    }
    text.data = lua_tolstring(L, index, &text.len);
    return text;
}

/* `quality` is the picked format's; `["jpg.quality"]`, as in a URL, that of a member of a zip. */
static void read_options(lua_State *L, int index, const struct mg_codec *picked, struct given *given)
{
    struct mg_errmsg why = {""};
    lua_pushnil(L);
    while (lua_next(L, index)) {
        struct mg_span name, prefix;
        if (lua_type(L, -2) != LUA_TSTRING)
            vm_raise(L, MG_E_ARGUMENT, "encode: options: expected names as keys");
        const char *whole = lua_tolstring(L, -2, &name.len);
        name.data = whole;
        if (mg_span_is(name, "tile")) {
            lua_pop(L, 1);
            continue;
        }
        const struct mg_codec *codec = picked;
        if (memchr(name.data, '.', name.len)) {
            mg_span_cut(&name, '.', &prefix);
            codec = mg_codec_find(prefix);
        }
        if (!codec)
            vm_raise(L, MG_E_ARGUMENT, "encode: option %.60s: there is no such format", whole);
        if (given->n == MAX_GIVEN)
            vm_raise(L, MG_E_ARGUMENT, "encode: more than %d options", MAX_GIVEN);
        luaL_checkstack(L, 4, "too many options");
        struct mg_span text = option_text(L, whole, lua_gettop(L));
        enum mg_err err =
            mg_option_parse(codec, name, text, &given->of[given->n].index, &given->of[given->n].value, &why);
        vm_check(L, "encode", err == MG_E_PARAMETER ? MG_E_ARGUMENT : err, &why);
        given->of[given->n++].codec = codec;
        lua_pushvalue(L, -2); /* the value's text stays below the key that the walk goes on with */
    }
}

static enum mg_err options_of(void *context, const struct mg_codec *codec, struct mg_option_value *values,
                              struct mg_errmsg *why)
{
    const struct given *given = context;
    (void)why;
    mg_option_defaults(codec, values);
    for (size_t i = 0; i < given->n; i++)
        if (given->of[i].codec == codec)
            values[given->of[i].index] = given->of[i].value;
    return MG_OK;
}

/* encode(value, format [, options]) -> bytes */
static int l_encode(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    struct mg_value value = {0};
    struct mg_wish wish = {0};
    struct mg_tile tile = {(int32_t)vm->request->z, (int32_t)vm->request->x, (int32_t)vm->request->y};
    bool has_tile = vm->request->has_tile, by_accept;
    int size = vm->request->tile_size > 0 ? (int)vm->request->tile_size : 256;
    lua_settop(L, 3);
    read_formats(L, 2, &wish);
    if (!lua_isnil(L, 3) && !lua_istable(L, 3))
        vm_bad(L, "encode: the options", "a table", 3);
    if (lua_istable(L, 3)) {
        lua_getfield(L, 3, "tile");
        if (!lua_isnil(L, -1)) {
            struct vm_bounds b;
            vm_check_bounds(L, "encode: tile", lua_gettop(L), &b);
            if (!b.has_tile)
                vm_bad(L, "encode: tile", "the bounds of a tile (moon.tile.bounds)", lua_gettop(L));
            tile = b.tile;
            has_tile = true;
            size = b.size > 0 ? b.size : size;
        }
    }
    struct mg_buf *out = new_bytes(L);
    if (!vm_value_of(L, 1, &value))
        vm_bad(L, "encode: the value", "a raster, table, geometry, text, number, boolean or plain table", 1);
    const struct mg_codec *codec;
    struct mg_option_value options[MG_MAX_OPTIONS];
    struct given given = {.n = 0};
    vm_check(L, "encode", mg_codec_pick(&wish, &value, has_tile, &codec, &by_accept, &why), &why);
    MG_ASSERT(mg_option_count(codec) <= MG_MAX_OPTIONS);
    if (lua_istable(L, 3))
        read_options(L, 3, codec, &given);
    vm_check(L, "encode", options_of(&given, codec, options, &why), &why);
    const struct mg_codec_job job = {.value = &value,
                                     .options = options,
                                     .tile = has_tile ? &tile : NULL,
                                     .tile_size = size,
                                     .wish = &wish,
                                     .options_of = options_of,
                                     .context = &given};
    enum mg_err err = mg_encode(codec, &job, out, &why);
    if (err == MG_OK)
        err = mg_buf_status(out, &why);
    if (err == MG_E_NOMEM)
        err = MG_E_UDF_MEMORY;
    vm_check(L, "encode", err == MG_E_PARAMETER ? MG_E_ARGUMENT : err, &why);
    lua_pushlstring(L, out->data ? out->data : "", out->len);
    mg_buf_fini(out);
    return 1;
}

void vm_open_encode(lua_State *L)
{
    lua_pushcfunction(L, l_encode);
    lua_setfield(L, -2, "encode");
}
