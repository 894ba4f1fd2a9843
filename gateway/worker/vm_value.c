/* What a UDF returned, made into the answer of the run: shape, codec, body.
 *
 * vm_finish runs protected, inside the state: it turns Lua values into a struct mg_value that
 * borrows from the state. vm_encode runs after it, outside of Lua, while the state still lives. */
#include "vm.h"

#include "moongate/raster_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void put_text(lua_State *L, int index, enum mg_shape shape, struct mg_value *value)
{
    value->shape = shape;
    value->text.data = lua_tolstring(L, index, &value->text.len);
}

static void put_json(lua_State *L, int index, struct mg_value *value)
{
    struct mg_buf *json = vm_scratch(L, 5);
    struct mg_errmsg why = {""};
    json->max_bytes = (size_t)vm_of(L)->request->result_bytes;
    if (!vm_json_write(L, index, json, &why))
        vm_raise(L, MG_E_UDF_TYPE, "result: %s", why.text);
    enum mg_err err = mg_buf_status(json, &why);
    json->max_bytes = 0;
    vm_check(L, "result", err, &why);
    value->shape = MG_SHAPE_JSON;
    value->text = (struct mg_span){json->data, json->len};
}

/* A geometry is a table of one row. */
static void put_geometry(lua_State *L, const struct vm_geometry *g, struct mg_value *value)
{
    struct mg_errmsg why = {""};
    struct mg_table_builder *builder = mg_table_builder_new(vm_crs(g));
    struct mg_table *table = NULL;
    int column = builder ? mg_table_builder_column(builder, "geometry", MG_COL_WKB) : -1;
    enum mg_err err = MG_E_NOMEM;
    if (column >= 0) {
        const struct mg_cell cell = {.type = MG_CELL_BINARY, .s = vm_wkb(g)};
        mg_table_builder_set(builder, column, &cell);
        mg_table_builder_row(builder);
        err = mg_table_builder_finish(&builder, &table, &why);
    }
    mg_table_builder_free(&builder);
    vm_check(L, "result", err, &why);
    vm_push_table(L, table);
    value->shape = MG_SHAPE_TABLE;
    value->table = table;
}

/* A raster, table, geometry or animation as a value that borrows from the state: true. */
static bool put_rich(lua_State *L, int index, struct mg_value *value)
{
    struct vm_geometry *geometry;
    if (vm_to_raster(L, index)) {
        value->shape = MG_SHAPE_RASTER;
        value->raster = vm_to_raster(L, index)->raster;
    } else if (vm_to_table(L, index)) {
        value->shape = MG_SHAPE_TABLE;
        value->table = vm_to_table(L, index);
    } else if ((geometry = vm_to_geometry(L, index)) != NULL) {
        put_geometry(L, geometry, value);
    } else if (vm_to_frames(L, index)) {
        struct vm_frames *frames = vm_to_frames(L, index);
        value->shape = MG_SHAPE_FRAMES;
        value->frames = frames->list;
        value->n_frames = frames->n;
    } else {
        return false;
    }
    return true;
}

/* What makes a plain table one of named results: JSON has a form for a geometry, but none for these. */
static bool needs_a_file(lua_State *L, int index)
{
    return vm_to_raster(L, index) || vm_to_table(L, index) || vm_to_frames(L, index);
}

/* One of several results, at the top of the stack; what is pushed stays there until the answer is made. */
static void put_member(lua_State *L, const char *name, struct mg_value *value)
{
    int index = lua_gettop(L);
    struct mg_errmsg why = {""};
    if (put_rich(L, index, value))
        return;
    if (lua_type(L, index) == LUA_TSTRING) {
        put_text(L, index, MG_SHAPE_TEXT, value);
        return;
    }
    if (lua_istable(L, index) && luaL_getmetafield(L, index, "__moon_response"))
        vm_raise(L, MG_E_UDF_TYPE, "result: %.60s: a moon.response is a whole answer, and none of several results",
                 name);
    struct mg_buf *json = vm_scratch(L, 5);
    json->max_bytes = (size_t)vm_of(L)->request->result_bytes;
    if (!vm_json_write(L, index, json, &why))
        vm_raise(L, MG_E_UDF_TYPE, "result: %.60s: %s", name, why.text);
    enum mg_err err = mg_buf_status(json, &why);
    json->max_bytes = 0;
    vm_check(L, "result", err, &why);
    lua_pushlstring(L, json->data ? json->data : "", json->len); /* the next member writes there too */
    put_text(L, lua_gettop(L), MG_SHAPE_JSON, value);
}

/* A table with rasters or moon tables in it: true, and its values in the order of their names. */
static bool put_named(lua_State *L, int index, struct mg_value *value)
{
    enum { MAX = 64 };
    size_t n = 0, files = 0;
    bool listed = false;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        n++;
        files += needs_a_file(L, lua_gettop(L));
        listed |= lua_type(L, -2) != LUA_TSTRING;
    }
    if (files == 0)
        return false;
    if (listed)
        vm_raise(L, MG_E_UDF_TYPE, "result: each of several results needs a name: return { before = …, after = … }");
    if (n > MAX)
        vm_raise(L, MG_E_UDF_TYPE, "result: at most %d named results, got %zu", MAX, n);
    struct mg_named *named = lua_newuserdata(L, n * sizeof *named);
    struct mg_value *values = lua_newuserdata(L, n * sizeof *values);
    memset(values, 0, n * sizeof *values);
    size_t at = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        const char *name = lua_tostring(L, -2);
        size_t i = at++;
        for (; i > 0 && strcmp(named[i - 1].name, name) > 0; i--)
            named[i] = named[i - 1];
        named[i].name = name;
    }
    luaL_checkstack(L, (int)n * 2 + 8, "too many results");
    for (size_t i = 0; i < n; i++) {
        lua_getfield(L, index, named[i].name);
        named[i].value = &values[i];
        put_member(L, named[i].name, &values[i]);
    }
    value->shape = MG_SHAPE_NAMED;
    value->named = named;
    value->n_named = n;
    return true;
}

bool vm_value_of(lua_State *L, int index, struct mg_value *value)
{
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        put_text(L, index, MG_SHAPE_TEXT, value);
        return true;
    case LUA_TNUMBER:
    case LUA_TBOOLEAN:
    case LUA_TLIGHTUSERDATA:
        put_json(L, index, value);
        return true;
    case LUA_TTABLE:
        if (vm_is_bounds(L, index) || !put_named(L, index, value))
            put_json(L, index, value);
        return true;
    case LUA_TUSERDATA:
        return put_rich(L, index, value);
    default:
        return false;
    }
}

/* Raster, bounds: the bounds place the raster; one that others share (a band of another) is copied
 * first. */
static struct mg_raster *place_raster(lua_State *L, struct mg_raster *raster, int index)
{
    struct mg_errmsg why = {""};
    struct vm_bounds b;
    vm_check_bounds(L, "result: the second value", index, &b);
    if (raster->owner || raster->refs > 1) {
        struct mg_raster *own = NULL;
        vm_check(L, "result", mg_raster_stack(&raster, 1, NULL, &own, &why), &why);
        vm_push_raster(L, own, 0);
        raster = own;
    }
    char *crs = strdup("EPSG:4326");
    if (!crs)
        vm_raise(L, MG_E_NOMEM, "result: out of memory");
    free(raster->crs);
    raster->crs = crs;
    raster->has_georef = true;
    const double gt[6] = {b.b.xmin, (b.b.xmax - b.b.xmin) / raster->width,  0, b.b.ymax,
                          0,        -(b.b.ymax - b.b.ymin) / raster->height};
    memcpy(raster->geotransform, gt, sizeof gt);
    return raster;
}

static bool token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '_';
}

/* The headers of moon.response; what frames a message is ours alone. */
static void put_headers(lua_State *L, int index)
{
    static const char *const ours[] = {
        "connection", "content-length", "transfer-encoding", "content-encoding", "date",
        "keep-alive", "trailer",        "upgrade",           "set-cookie",       "content-type",
        NULL};
    struct mg_vm *vm = vm_of(L);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !(lua_isstring(L, -1) || lua_isnumber(L, -1)))
            vm_raise(L, MG_E_ARGUMENT, "response: headers: expected names and texts");
        size_t name_len, len;
        const char *name = lua_tolstring(L, -2, &name_len);
        lua_pushvalue(L, -1);
        const char *text = lua_tolstring(L, -1, &len);
        bool ok = name_len > 0 && name_len < 64 && len < 4096;
        for (size_t i = 0; ok && i < name_len; i++)
            ok = token_char(name[i]);
        for (size_t i = 0; ok && i < len; i++)
            ok = (unsigned char)text[i] >= 32 && text[i] != 127;
        if (!ok)
            vm_raise(
                L, MG_E_ARGUMENT,
                "response: headers: %.60s: a name of letters and digits, and a text of one line",
                name);
        for (const char *const *o = ours; *o; o++)
            if (strcasecmp(name, *o) == 0)
                vm_raise(L, MG_E_ARGUMENT, "response: headers: %s is set by the server", name);
        mg_pack_bytes(&vm->headers, name, name_len);
        mg_pack_bytes(&vm->headers, text, len);
        vm->n_headers++;
        lua_pop(L, 1);
    }
}

static void finish_value(lua_State *L, int index, int bounds, struct mg_run_result *result,
                         struct mg_value *value);

static void finish_response(lua_State *L, int index, struct mg_run_result *result,
                            struct mg_value *value)
{
    struct mg_vm *vm = vm_of(L);
    lua_getfield(L, index, "status");
    double status = lua_isnil(L, -1) ? 200 : lua_tonumber(L, -1);
    if (!(status >= 200 && status <= 599) || status != floor(status))
        vm_bad(L, "response: status", "a whole number from 200 to 599", lua_gettop(L));
    result->status = (int64_t)status;
    lua_getfield(L, index, "headers");
    if (lua_istable(L, -1))
        put_headers(L, lua_gettop(L));
    lua_getfield(L, index, "type");
    if (lua_isstring(L, -1)) {
        size_t len;
        const char *type = lua_tolstring(L, -1, &len);
        bool ok = len > 2 && len < 128 && strchr(type, '/') != NULL;
        for (size_t i = 0; ok && i < len; i++)
            ok = (unsigned char)type[i] >= 32 && (unsigned char)type[i] < 127;
        if (!ok)
            vm_bad(L, "response: type", "a media type such as \"text/plain\"", lua_gettop(L));
        mg_buf_put(&vm->mime, type, len);
    }
    lua_getfield(L, index, "body");
    int body = lua_gettop(L);
    if (vm->mime.len) {
        /* The author says what the bytes are; they go out as they are. */
        if (lua_isnil(L, body))
            lua_pushliteral(L, "");
        else if (lua_istable(L, body))
            put_json(L, body, value);
        if (lua_type(L, -1) == LUA_TSTRING)
            put_text(L, lua_gettop(L), MG_SHAPE_TEXT, value);
        else if (!value->shape)
            vm_bad(L, "response: body with a type", "a string or a table for JSON", body);
        return;
    }
    finish_value(L, body, 0, result, value);
}

static void finish_value(lua_State *L, int index, int bounds, struct mg_run_result *result,
                         struct mg_value *value)
{
    if (lua_isnoneornil(L, index)) {
        result->empty = true;
        return;
    }
    if (lua_istable(L, index) && luaL_getmetafield(L, index, "__moon_response")) {
        finish_response(L, index, result, value);
        return;
    }
    if (vm_value_of(L, index, value)) {
        if (value->shape == MG_SHAPE_RASTER && bounds && !lua_isnoneornil(L, bounds))
            value->raster = place_raster(L, value->raster, bounds);
        return;
    }
    struct mg_buf *got = vm_scratch(L, 0);
    vm_describe(L, index, got);
    vm_raise(L, MG_E_UDF_TYPE,
             "the UDF returned %s, which cannot be an answer (a raster, animation, table, geometry, string, "
             "number, boolean, plain table, table of named results, moon.response or nil can)",
             got->data);
}

void vm_finish(lua_State *L, int first, int n, struct mg_run_result *result, struct mg_value *value)
{
    struct mg_vm *vm = vm_of(L);
    if (vm->request->mode == MG_RUN_VALUE) {
        if (n == 0)
            lua_pushnil(L);
        int value_at = n == 0 ? lua_gettop(L) : first;
        struct vm_raster *raster = vm_to_raster(L, value_at);
        if (raster && n > 1 && !lua_isnil(L, first + 1)) {
            struct mg_raster *placed = place_raster(L, raster->raster, first + 1);
            if (placed != raster->raster)
                value_at = lua_gettop(L);
        }
        vm->body.max_bytes = (size_t)vm->request->result_bytes;
        vm_value_store(L, value_at, &vm->body);
        struct mg_errmsg why = {""};
        vm_check(L, "result", mg_buf_status(&vm->body, &why), &why);
        return;
    }
    finish_value(L, n > 0 ? first : lua_gettop(L) + 1, n > 1 ? first + 1 : 0, result, value);
}

static void note_header(void *context, const char *name, const char *text)
{
    struct mg_vm *vm = context;
    mg_pack_str(&vm->headers, name);
    mg_pack_str(&vm->headers, text);
    vm->n_headers++;
}

/* Comma-separated names of codecs; names that are not ours were refused by the front. */
static size_t find_codecs(struct mg_span list, const struct mg_codec **out, size_t max)
{
    struct mg_span part;
    size_t n = 0;
    while (list.len && n < max && mg_span_cut(&list, ',', &part)) {
        const struct mg_codec *codec = mg_codec_find(part);
        if (codec)
            out[n++] = codec;
    }
    return n;
}

static void make_wish(const struct mg_run_request *request, struct mg_wish *wish)
{
    *wish = (struct mg_wish){0};
    wish->n_formats = find_codecs(request->formats, wish->formats, 16);
    wish->n_accepts = find_codecs(request->accepts, wish->accepts, 16);
    wish->vector = request->vector.len ? mg_codec_find(request->vector) : NULL;
    wish->raster = request->raster.len ? mg_codec_find(request->raster) : NULL;
}

/* The options of this codec; those of other formats are left alone. */
static enum mg_err options_of(void *context, const struct mg_codec *codec, struct mg_option_value *values,
                              struct mg_errmsg *why)
{
    const struct mg_run_request *request = ((const struct mg_vm *)context)->request;
    struct mg_unpack in;
    mg_option_defaults(codec, values);
    mg_unpack_init(&in, request->options.data, request->options.len);
    size_t n = request->options.len ? mg_unpack_count(&in, 64) : 0;
    for (size_t i = 0; i < n; i++) {
        struct mg_span format = mg_unpack_bytes(&in), name = mg_unpack_bytes(&in),
                       text = mg_unpack_bytes(&in);
        if (in.failed || mg_codec_find(format) != codec)
            continue;
        size_t index;
        struct mg_option_value value;
        enum mg_err err = mg_option_parse(codec, name, text, &index, &value, why);
        if (err != MG_OK)
            return err;
        values[index] = value;
    }
    return MG_OK;
}

/* Nothing on a tile call: transparent pixels, no features, or no members. */
static enum mg_err empty_value(const struct mg_codec *codec, int size, struct mg_value *value,
                               struct mg_errmsg *why)
{
    if (codec->any_named) {
        value->shape = MG_SHAPE_NAMED;
        return MG_OK;
    }
    if (codec->shapes & MG_SHAPE_RASTER) {
        enum mg_err err = mg_raster_new(size, size, 1, MG_U8, &value->raster, why);
        if (err != MG_OK)
            return err;
        value->raster->n_palette = 1; /* entry 0 is transparent */
        value->shape = MG_SHAPE_RASTER;
        return MG_OK;
    }
    struct mg_table_builder *builder = mg_table_builder_new("EPSG:4326");
    enum mg_err err = MG_E_NOMEM;
    if (builder && mg_table_builder_column(builder, "geometry", MG_COL_WKB) >= 0)
        err = mg_table_builder_finish(&builder, &value->table, why);
    mg_table_builder_free(&builder);
    value->shape = MG_SHAPE_TABLE;
    return err;
}

/* Text is the body as it is, where it lies: the state lives until mg_vm_prepare. Copying it would double a large one. */
static enum mg_err text_body(const struct mg_vm *vm, struct mg_span text, struct mg_run_result *result,
                             struct mg_errmsg *why)
{
    if (text.len > (size_t)vm->request->result_bytes)
        return mg_err_set(why, MG_E_UDF_OUTPUT,
                          "the result is larger than the limit of %lld bytes (%zu were needed): return less of it",
                          (long long)vm->request->result_bytes, text.len);
    result->body = text;
    return MG_OK;
}

static enum mg_err encode(struct mg_vm *vm, struct mg_value *value, struct mg_run_result *result,
                          struct mg_errmsg *why)
{
    const struct mg_run_request *request = vm->request;
    struct mg_wish wish;
    const struct mg_codec *codec = NULL;
    struct mg_tile tile = {(int32_t)request->z, (int32_t)request->x, (int32_t)request->y};
    int size = request->tile_size > 0 ? (int)request->tile_size : 256;
    enum mg_err err = MG_OK;
    make_wish(request, &wish);
    if (result->empty) {
        codec = request->has_tile ? mg_codec_for_empty(&wish) : NULL;
        if (!codec)
            return MG_OK;
        if (strcmp(codec->name, "mvt") != 0)
            err = empty_value(codec, size, value, why);
    } else {
        err = mg_codec_pick(&wish, value, request->has_tile, &codec, &result->by_accept, why);
    }
    if (err != MG_OK)
        return err;
    result->codec = mg_span(codec->name);
    result->mime = mg_span(codec->mime);
    result->compressible = codec->compressible;
    if (!value->shape)
        return MG_OK;
    struct mg_option_value options[MG_MAX_OPTIONS] = {{0}};
    if (mg_option_count(codec) > MG_MAX_OPTIONS)
        return mg_err_set(why, MG_E_INTERNAL, "%s has too many options", codec->name);
    err = options_of(vm, codec, options, why);
    if (err != MG_OK)
        return err;
    if (value->shape == MG_SHAPE_TEXT || value->shape == MG_SHAPE_JSON)
        return text_body(vm, value->text, result, why);
    const struct mg_codec_job job = {.value = value,
                                     .options = options,
                                     .tile = request->has_tile ? &tile : NULL,
                                     .tile_size = size,
                                     .header = note_header,
                                     .wish = &wish,
                                     .options_of = options_of,
                                     .context = vm};
    vm->body.max_bytes = (size_t)request->result_bytes;
    err = mg_encode(codec, &job, &vm->body, why);
    result->body = (struct mg_span){vm->body.data, vm->body.len};
    return err != MG_OK ? err : mg_buf_status(&vm->body, why);
}

void vm_encode(struct mg_vm *vm, struct mg_value *value, struct mg_run_result *result)
{
    struct mg_errmsg why = {""};
    bool ours = result->empty; /* then the value is made here, else it belongs to the state */
    enum mg_err err;
    if (vm->mime.len && value->text.data && value->shape) {
        result->mime = (struct mg_span){vm->mime.data, vm->mime.len};
        result->compressible =
            mg_span_starts(result->mime, "text/") || strstr(vm->mime.data, "json") != NULL ||
            strstr(vm->mime.data, "xml") != NULL || strstr(vm->mime.data, "javascript") != NULL;
        err = text_body(vm, value->text, result, &why);
    } else {
        err = encode(vm, value, result, &why);
    }
    if (err != MG_OK) {
        vm->fault.err = err == MG_E_NOMEM ? MG_E_UDF_MEMORY : err;
        mg_buf_str(&vm->fault.message, why.text[0] ? why.text : mg_err_text(err));
    }
    if (ours) {
        mg_raster_unref(&value->raster);
        mg_table_unref(&value->table);
    }
}
