/* moon.xml: a document as Lua tables, read by Expat, which is strict and bounds what entities may become.
 *
 * An element is a table { name, attributes, text, [1..n] = its elements }; `text` is all character data
 * directly inside of it. A Lua error (no memory) would unwind Expat's frames, so no callback calls Lua: they
 * only write events into a buffer (base/pack), of which the tables are made afterwards. Cost: one pass over
 * the text, one over the events. */
#include "vm.h"

#include "moongate/pack.h"

#include <expat.h>

enum { XML_START = 1, XML_TEXT, XML_END, XML_MAX_DEPTH = 200, XML_MAX_BYTES = 64 << 20 };

struct events {
    struct mg_buf *out;
    XML_Parser parser;
    int depth;
    const char *refused; /* why we stopped */
};

static void stop(struct events *e, const char *why)
{
    e->refused = e->refused ? e->refused : why;
    XML_StopParser(e->parser, XML_FALSE);
}

static void XMLCALL on_start(void *context, const XML_Char *name, const XML_Char **attributes)
{
    struct events *e = context;
    int64_t n = 0;
    if (++e->depth > XML_MAX_DEPTH) {
        stop(e, "elements lie more than 200 deep");
        return;
    }
    while (attributes[2 * n])
        n++;
    mg_pack_int(e->out, XML_START);
    mg_pack_str(e->out, name);
    mg_pack_int(e->out, n);
    for (int64_t i = 0; i < 2 * n; i++)
        mg_pack_str(e->out, attributes[i]);
    if (e->out->failed)
        stop(e, "the document is too large");
}

static void XMLCALL on_end(void *context, const XML_Char *name)
{
    struct events *e = context;
    (void)name;
    e->depth--;
    mg_pack_int(e->out, XML_END);
}

static void XMLCALL on_text(void *context, const XML_Char *text, int len)
{
    struct events *e = context;
    mg_pack_int(e->out, XML_TEXT);
    mg_pack_bytes(e->out, text, (size_t)len);
    if (e->out->failed)
        stop(e, "the document is too large");
}

/* What a document type would bring (entities, files) has no use here, and is how documents attack. */
static void XMLCALL on_doctype(void *context, const XML_Char *name, const XML_Char *system,
                               const XML_Char *pub, int internal)
{
    (void)name, (void)system, (void)pub;
    if (internal)
        stop(context, "a document type with declarations of its own is not read");
}

/* Reads the text into events; raises what is wrong with it, with line and column. */
static void read_events(lua_State *L, const char *text, size_t len, struct mg_buf *out)
{
    struct events e = {.out = out};
    e.parser = XML_ParserCreate(NULL);
    if (!e.parser)
        vm_raise(L, MG_E_UDF_MEMORY, "xml.parse: out of memory");
    XML_SetUserData(e.parser, &e);
    XML_SetElementHandler(e.parser, on_start, on_end);
    XML_SetCharacterDataHandler(e.parser, on_text);
    XML_SetStartDoctypeDeclHandler(e.parser, on_doctype);
    enum XML_Status status = XML_Parse(e.parser, text, (int)len, 1);
    struct mg_errmsg why = {""};
    if (status != XML_STATUS_OK)
        mg_err_set(&why, MG_E_ARGUMENT, "line %lu, column %lu: %s",
                   (unsigned long)XML_GetCurrentLineNumber(e.parser),
                   (unsigned long)XML_GetCurrentColumnNumber(e.parser) + 1,
                   e.refused ? e.refused : XML_ErrorString(XML_GetErrorCode(e.parser)));
    XML_ParserFree(e.parser);
    if (status != XML_STATUS_OK)
        vm_raise(L, MG_E_ARGUMENT, "xml.parse: %s", why.text);
}

static void push_span(lua_State *L, struct mg_span s)
{
    lua_pushlstring(L, s.data ? s.data : "", s.len);
}

/* Character data of the open element whose pieces lie at `pieces` on the stack (nil: none yet). */
static void add_text(lua_State *L, int pieces, struct mg_span piece)
{
    if (lua_isnil(L, pieces)) {
        lua_newtable(L);
        lua_replace(L, pieces);
    }
    push_span(L, piece);
    lua_rawseti(L, pieces, (int)lua_objlen(L, pieces) + 1);
}

/* text = the pieces together, without blanks at the ends. */
static void set_text(lua_State *L, int element, int pieces)
{
    struct mg_buf *all = vm_scratch(L, 3);
    size_t n = lua_istable(L, pieces) ? lua_objlen(L, pieces) : 0, first = 0, len;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, pieces, (int)i);
        const char *piece = lua_tolstring(L, -1, &len);
        mg_buf_put(all, piece, len);
        lua_pop(L, 1);
    }
    len = all->len;
    while (first < len && strchr(" \t\r\n", all->data[first]))
        first++;
    while (len > first && strchr(" \t\r\n", all->data[len - 1]))
        len--;
    lua_pushlstring(L, all->data ? all->data + first : "", len - first);
    lua_setfield(L, element, "text");
}

static void push_element(lua_State *L, struct mg_unpack *in)
{
    lua_createtable(L, 0, 3);
    push_span(L, mg_unpack_bytes(in));
    lua_setfield(L, -2, "name");
    int64_t n = mg_unpack_int(in);
    lua_createtable(L, 0, (int)n);
    for (int64_t i = 0; i < n; i++) {
        push_span(L, mg_unpack_bytes(in));
        push_span(L, mg_unpack_bytes(in));
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "attributes");
    lua_pushvalue(L, 2);
    lua_setmetatable(L, -2);
}

/* parse(text, metatable of elements) -> the root element */
static int l_parse(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TSTRING)
        vm_bad(L, "xml.parse", "the text of a document", 1);
    size_t len;
    const char *text = lua_tolstring(L, 1, &len);
    if (len > XML_MAX_BYTES)
        vm_raise(L, MG_E_ARGUMENT, "xml.parse: %zu bytes; at most %d are read", len, XML_MAX_BYTES);
    struct mg_buf *events = vm_scratch(L, 1);
    struct mg_unpack in;
    lua_settop(L, 2);
    events->max_bytes = 256 << 20;
    read_events(L, text, len, events);
    events->max_bytes = 0;
    mg_unpack_init(&in, events->data, events->len);
    luaL_checkstack(L, 2 * XML_MAX_DEPTH + 16, "xml.parse: too deep");
    /* Above 2: each open element and the pieces of its text, outermost first. */
    while (mg_unpack_peek(&in)) {
        int64_t kind = mg_unpack_int(&in);
        int pieces = lua_gettop(L), element = pieces - 1;
        if (kind == XML_TEXT) {
            add_text(L, pieces, mg_unpack_bytes(&in));
        } else if (kind == XML_START) {
            push_element(L, &in);
            if (element > 2) {
                lua_pushvalue(L, -1);
                lua_rawseti(L, element, (int)lua_objlen(L, element) + 1);
            }
            lua_pushnil(L);
        } else {
            set_text(L, element, pieces);
            lua_settop(L, element > 3 ? element - 1 : element); /* the root stays */
        }
    }
    return 1;
}

void vm_open_xml(lua_State *L)
{
    static const luaL_Reg functions[] = {{"parse", l_parse}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
