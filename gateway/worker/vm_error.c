/* Errors of Lua code: objects with a name (err.def), a message and the author's own line.
 *
 * The author's code has chunk names that begin with '@' (the file in his bundle); the library is
 * stripped bytecode named "=?". So the author's line is that of the innermost '@' frame, and a
 * traceback of '@' frames alone shows nothing of the library. */
#include "vm.h"

#include "moongate/nearest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char ERROR_TYPE[] = "moon.Error";

bool vm_is_error(lua_State *L, int index)
{
    if (!lua_istable(L, index) || !lua_getmetatable(L, index))
        return false;
    luaL_getmetatable(L, ERROR_TYPE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

/* The innermost frame of the author's at or above `level`. */
static bool author_frame(lua_State *L, int level, lua_Debug *ar)
{
    for (; lua_getstack(L, level, ar); level++) {
        lua_getinfo(L, "Sl", ar);
        if (ar->source[0] == '@' && ar->currentline > 0)
            return true;
    }
    return false;
}

static void set_field(lua_State *L, const char *key, const char *text, size_t len)
{
    lua_pushlstring(L, text, len);
    lua_setfield(L, -2, key);
}

/* An error object on the stack, at the author's line. */
static void push_error(lua_State *L, const char *name, const char *message, size_t len)
{
    lua_Debug ar;
    lua_createtable(L, 0, 5);
    set_field(L, "name", name, strlen(name));
    set_field(L, "message", message, len);
    if (author_frame(L, 0, &ar)) {
        set_field(L, "file", ar.source + 1, strlen(ar.source + 1));
        lua_pushinteger(L, ar.currentline);
        lua_setfield(L, -2, "line");
    }
    luaL_getmetatable(L, ERROR_TYPE);
    lua_setmetatable(L, -2);
}

void vm_raise(lua_State *L, enum mg_err err, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t n = len < 0 ? 0 : (size_t)len >= sizeof text ? sizeof text - 1 : (size_t)len;
    if (err == MG_E_NOMEM || err == MG_E_UDF_MEMORY) {
        err = MG_E_UDF_MEMORY;
        vm_of(L)->hit_limit = true;
    }
    push_error(L, mg_err_name(err), text, n);
    lua_error(L);
    __builtin_unreachable();
}

void vm_check(lua_State *L, const char *what, enum mg_err err, const struct mg_errmsg *msg)
{
    if (err != MG_OK)
        vm_raise(L, err, "%s: %s", what, msg->text[0] ? msg->text : mg_err_text(err));
}

void vm_describe(lua_State *L, int index, struct mg_buf *out)
{
    size_t len;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL:
        mg_buf_str(out, "nil");
        break;
    case LUA_TBOOLEAN:
        mg_buf_str(out, lua_toboolean(L, index) ? "true" : "false");
        break;
    case LUA_TNUMBER:
        mg_buf_printf(out, "%.14g", lua_tonumber(L, index));
        break;
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &len);
        mg_buf_str(out, "the string ");
        mg_buf_json_string(out, text, len > 60 ? 60 : len);
        break;
    default:
        if (luaL_getmetafield(L, index, "__name")) {
            const char *name = lua_isstring(L, -1) ? lua_tostring(L, -1) : "value";
            mg_buf_printf(out, "%s%s", strcmp(name, "bounds") == 0 ? "" : "a ", name);
            lua_pop(L, 1);
        } else {
            mg_buf_printf(out, "a %s", luaL_typename(L, index));
        }
    }
}

void vm_bad(lua_State *L, const char *what, const char *expected, int index)
{
    struct mg_buf *got = vm_scratch(L, 0);
    vm_describe(L, index, got);
    vm_raise(L, MG_E_ARGUMENT, "%s: expected %s, got %s", what, expected,
             got->data ? got->data : "?");
}

const char *vm_suggest(lua_State *L, const char *word, int index, const char *const *more)
{
    enum { MAX_WORDS = 256 };
    const char *words[MAX_WORDS];
    size_t n = 0;
    for (; more && more[n] && n < MAX_WORDS; n++)
        words[n] = more[n];
    if (index) {
        for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
            if (lua_type(L, -2) == LUA_TSTRING && n < MAX_WORDS)
                words[n++] = lua_tostring(L, -2);
    }
    struct mg_buf *out = vm_scratch(L, 2);
    const char *near = mg_nearest(mg_span(word), words, n);
    if (near)
        mg_buf_printf(out, "; did you mean `%s`?", near);
    return near && out->data ? out->data : "";
}

/* tostring(err): "Landsat_NDVI.lua:7: read_raster: …" */
static int error_tostring(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_getfield(L, 1, "file");
    lua_getfield(L, 1, "line");
    lua_getfield(L, 1, "message");
    const char *message = lua_tostring(L, 4);
    if (lua_isstring(L, 2) && lua_isnumber(L, 3))
        lua_pushfstring(L, "%s:%d: %s", lua_tostring(L, 2), (int)lua_tointeger(L, 3),
                        message ? message : "error");
    else
        lua_pushstring(L, message ? message : "error");
    return 1;
}

void vm_open_errors(lua_State *L)
{
    luaL_newmetatable(L, ERROR_TYPE);
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "error");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

/* "file:line: rest" of a Lua message. The library's own position is "?:-1: " or "?: ". */
static const char *split_position(const char *text, struct mg_span *file, int64_t *line)
{
    *file = (struct mg_span){0};
    *line = 0;
    if (text[0] == '?' && text[1] == ':') { /* the library's own */
        const char *rest = text + 2 + strspn(text + 2, "-0123456789");
        return strncmp(rest, ": ", 2) == 0 ? rest + 2 : text[2] == ' ' ? text + 3 : text;
    }
    const char *colon = strstr(text, ".lua:");
    if (!colon || colon - text > 120 || memchr(text, '\n', (size_t)(colon - text)))
        return text;
    char *end;
    long n = strtol(colon + 5, &end, 10);
    if (end == colon + 5 || n <= 0 || end[0] != ':' || end[1] != ' ')
        return text;
    *file = (struct mg_span){text, (size_t)(colon - text) + 4};
    *line = n;
    return end + 2;
}

/* What an author does who meets one of Lua's own messages here. */
static const struct {
    const char *part, *also, *hint;
} hints[] = {
    {"attempt to compare", "userdata",
     "rasters are compared by methods that give a mask: r:gt(5), :ge :lt :le :eq :ne"},
    {"global 'io'", "", "a UDF has no io; read files with moon.read_raster and moon.read_vector"},
    {"field 'execute'", "", "of os there are time, date, clock and difftime"},
    {"field 'getenv'", "", "of os there are time, date, clock and difftime"},
    {"attempt to concatenate", "userdata", "tostring(x) makes text of it"},
    {"to 'ipairs'", "got userdata", "t:rows() is the list of a table's rows"},
    {"to 'pairs'", "got userdata", "t:rows() is the list of a table's rows"},
    {"stack overflow", "", "a function calls itself without an end"},
};

static const char *hint_of(const char *message)
{
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (strstr(message, hints[i].part) && strstr(message, hints[i].also))
            return hints[i].hint;
    return NULL;
}

void vm_error_object(lua_State *L)
{
    if (vm_is_error(L, -1))
        return;
    struct mg_span file = {0};
    int64_t line = 0;
    const char *text = NULL, *rest = NULL;
    if (lua_type(L, -1) == LUA_TSTRING) {
        text = lua_tostring(L, -1);
        rest = split_position(text, &file, &line);
    }
    const char *name = mg_err_name(MG_E_UDF);
    if (text && strcmp(text, "not enough memory") == 0)
        name = mg_err_name(MG_E_UDF_MEMORY);
    struct mg_buf *said = vm_scratch(L, 0);
    /* A store into the result of a per-pixel loop is the only conversion to float that the library
     * makes. */
    if (rest && strncmp(rest, "cannot convert '", 16) == 0 && strstr(rest, "' to 'float'")) {
        const char *kind = rest + 16;
        mg_buf_printf(said,
                      "map: the function gave %.*s for a pixel; return a number, or moon.nodata",
                      (int)strcspn(kind, "'"), kind);
        name = mg_err_name(MG_E_ARGUMENT);
    } else if (rest) {
        mg_buf_str(said, rest);
        const char *hint = hint_of(rest);
        if (hint)
            mg_buf_printf(said, " (%s)", hint);
    } else {
        struct mg_errmsg why = {""};
        struct mg_buf *json = vm_scratch(L, 3);
        mg_buf_str(said, "error raised with ");
        if (lua_istable(L, -1) && vm_json_write(L, lua_gettop(L), json, &why) && json->len > 2 &&
            json->len < 1000)
            mg_buf_put(said, json->data, json->len);
        else
            vm_describe(L, -1, said);
    }
    push_error(L, name, said->data ? said->data : "", said->len);
    if (file.data) {
        set_field(L, "file", file.data, file.len);
        lua_pushinteger(L, (lua_Integer)line);
        lua_setfield(L, -2, "line");
    }
    if (!text) {
        lua_pushvalue(L, -2);
        lua_setfield(L, -2, "cause");
    }
    lua_remove(L, -2);
}

/* A function that the library calls has there a name that means nothing to the author. */
static bool called_by_author(lua_State *L, int level)
{
    lua_Debug ar;
    return lua_getstack(L, level, &ar) && lua_getinfo(L, "S", &ar) && ar.source[0] == '@';
}

static void append_traceback(lua_State *L, struct mg_buf *out)
{
    lua_Debug ar;
    int shown = 0;
    for (int level = 1; lua_getstack(L, level, &ar) && shown < 32; level++) {
        lua_getinfo(L, "Sln", &ar);
        if (ar.source[0] != '@' || ar.currentline <= 0)
            continue;
        mg_buf_printf(out, "%s%s:%d: in ", shown ? "\n" : "", ar.source + 1, ar.currentline);
        if (strcmp(ar.what, "main") == 0)
            mg_buf_str(out, "main chunk");
        else if (ar.name && ar.namewhat[0] && ar.name[0] != '?' && called_by_author(L, level + 1))
            mg_buf_printf(out, "function '%s'", ar.name);
        else
            mg_buf_printf(out, "function of line %d", ar.linedefined);
        shown++;
    }
}

/* `return moon.read_raster(…)` is a tail call, and takes the author's frame away. Then the line is
 * the one in the UDF's function that returns a call of what failed (the word before the first
 * colon), else its only line with a return, else the function's own. */
static int line_of_tail_call(struct mg_vm *vm, const char *message)
{
    size_t word = strcspn(message, ": "), line = 1, found = 0, only = 0, returns = 0;
    struct mg_span text = vm_bundle_file(vm->bundle, mg_span(vm->fn_file)), part;
    if (!text.data || !vm->fn_line)
        return 0;
    for (; mg_span_cut(&text, '\n', &part); line++) {
        if (line < (size_t)vm->fn_line || line > (size_t)vm->fn_last)
            continue;
        const char *at = memmem(part.data, part.len, "return ", 7);
        const char *call =
            at ? memmem(at, (size_t)(part.data + part.len - at), message, word) : NULL;
        if (word > 2 && call && !found)
            found = line;
        returns += at != NULL;
        only = at ? line : only;
    }
    return found ? (int)found : returns == 1 ? (int)only : vm->fn_line;
}

static void field_text(lua_State *L, const char *key, struct mg_buf *out)
{
    size_t len;
    lua_getfield(L, -1, key);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (text)
        mg_buf_put(out, text, len > 4096 ? 4096 : len);
    lua_pop(L, 1);
}

int vm_on_error(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct vm_fault *fault = &vm->fault;
    if (fault->err != MG_OK)
        return 1;
    append_traceback(L, &fault->traceback);
    lua_settop(L, 1);
    vm_error_object(L);
    struct mg_buf *name = vm_scratch(L, 1);
    field_text(L, "name", name);
    field_text(L, "file", &fault->file);
    struct mg_buf *message = vm_scratch(L, 2);
    field_text(L, "message", message);
    lua_getfield(L, -1, "line");
    fault->line = (int64_t)lua_tonumber(L, -1);
    lua_pop(L, 1);
    enum mg_err err = mg_err_from_name(name->data ? name->data : "");
    if (!fault->file.len && vm->fn_file[0] && message->data) {
        fault->line = line_of_tail_call(vm, message->data);
        mg_buf_str(&fault->file, vm->fn_file);
        mg_buf_printf(&fault->traceback, "%s:%d: in the UDF's function", vm->fn_file,
                      (int)fault->line);
    }
    fault->err = err == MG_OK ? MG_E_UDF : err;
    if (fault->file.len && fault->line > 0)
        mg_buf_printf(&fault->message, "%s:%d: ", fault->file.data, (int)fault->line);
    mg_buf_put(&fault->message, message->data, message->len);
    return 1;
}
