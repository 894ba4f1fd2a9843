/* What pages need of C: text escaped for HTML, bytes as base64 for `data:` addresses. */
#include "vm.h"

/* escape(text) -> text in which & < > " ' stand as entities: safe as content and inside of a quoted attribute
 */
static int l_escape(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    struct mg_buf *out = vm_scratch(L, 1);
    struct mg_errmsg why = {""};
    mg_buf_html(out, text, len);
    vm_check(L, "html", mg_buf_status(out, &why), &why);
    lua_pushlstring(L, out->data ? out->data : "", out->len);
    return 1;
}

/* base64(bytes) -> text (RFC 4648, padded, one line) */
static int l_base64(lua_State *L)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len;
    const unsigned char *in = (const unsigned char *)luaL_checklstring(L, 1, &len);
    struct mg_buf *out = vm_scratch(L, 1);
    size_t bytes = (len + 2) / 3 * 4;
    char *to = mg_buf_room(out, bytes);
    if (!to)
        vm_raise(L, MG_E_UDF_MEMORY, "html: %zu bytes of text do not fit into memory", bytes);
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t group =
            (uint32_t)in[i] << 16 | (uint32_t)(left > 1 ? in[i + 1] : 0) << 8 | (left > 2 ? in[i + 2] : 0);
        *to++ = digits[group >> 18];
        *to++ = digits[group >> 12 & 63];
        *to++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[group & 63] : '=';
    }
    mg_buf_added(out, bytes);
    lua_pushlstring(L, out->data, out->len);
    return 1;
}

void vm_open_html(lua_State *L)
{
    static const luaL_Reg functions[] = {{"escape", l_escape}, {"base64", l_base64}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
