/* Text that any XML 1.0 reader takes: escaped, and what XML cannot hold (controls, U+FFFE, bytes that are not
 * UTF-8) as U+FFFD. */
#include "xml_of.h"

/* Bytes of the character at `at` that XML can hold as it is; 0: not one (of the first byte alone). */
static size_t char_len(const unsigned char *at, size_t left)
{
    if (*at < 0x80)
        return *at >= 0x20 || *at == '\t' || *at == '\n' || *at == '\r';
    size_t n = *at >= 0xF0 ? 4 : *at >= 0xE0 ? 3 : 2;
    uint32_t code = *at & (0xFFu >> (n + 1));
    if (*at < 0xC2 || *at > 0xF4 || left < n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3F);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    return code < least[n] || surrogate || code == 0xFFFE || code == 0xFFFF || code > 0x10FFFF ? 0 : n;
}

void xml_of_text(struct mg_span s, bool attribute, struct mg_buf *out)
{
    const unsigned char *at = (const unsigned char *)s.data, *end = at + s.len, *run = at;
    while (at < end) {
        const char *instead = NULL;
        size_t n = 1;
        switch (*at) {
        case '&':
            instead = "&amp;";
            break;
        case '<':
            instead = "&lt;";
            break;
        case '>':
            instead = "&gt;";
            break;
        case '\r':
            instead = "&#13;";
            break;
        case '"':
            instead = attribute ? "&quot;" : NULL;
            break;
        case '\n':
            instead = attribute ? "&#10;" : NULL;
            break;
        case '\t':
            instead = attribute ? "&#9;" : NULL;
            break;
        default:
            if (*at >= 0x20 && *at < 0x80)
                break;
            n = char_len(at, (size_t)(end - at));
            if (!n) {
                instead = "\xEF\xBF\xBD";
                n = 1;
            }
        }
        if (instead) {
            mg_buf_put(out, run, (size_t)(at - run));
            mg_buf_str(out, instead);
            run = at + n;
        }
        at += n;
    }
    mg_buf_put(out, run, (size_t)(end - run));
}
