/* Buffers: growth by half with a limit, and the escapes that every text writer needs.
 *
 * Invariant: len < cap whenever data is not NULL, and data[len] is NUL. */
#include "moongate/buf.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

bool mg_span_cut(struct mg_span *rest, char separator, struct mg_span *part)
{
    if (!rest->data)
        return false;
    const char *at = rest->len ? memchr(rest->data, separator, rest->len) : NULL;
    if (at) {
        size_t n = (size_t)(at - rest->data);
        *part = (struct mg_span){rest->data, n};
        *rest = (struct mg_span){at + 1, rest->len - n - 1};
    } else {
        *part = *rest;
        *rest = (struct mg_span){NULL, 0};
    }
    return true;
}

bool mg_span_starts(struct mg_span a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.len >= n && (n == 0 || memcmp(a.data, prefix, n) == 0);
}

void mg_buf_init(struct mg_buf *buf, size_t max_bytes)
{
    *buf = (struct mg_buf){.max_bytes = max_bytes};
}

void mg_buf_fini(struct mg_buf *buf)
{
    free(buf->data);
    *buf = (struct mg_buf){.max_bytes = buf->max_bytes};
}

static char *grow(struct mg_buf *buf, size_t need)
{
    size_t cap = buf->cap + buf->cap / 2;
    if (cap < need)
        cap = need;
    if (cap < 64)
        cap = 64;
    if (buf->max_bytes && cap > buf->max_bytes + 1)
        cap = buf->max_bytes + 1;
    if (cap < need) /* max_bytes is SIZE_MAX */
        cap = need;
    char *data = realloc(buf->data, cap);
    if (!data) {
        buf->failed = true;
        return NULL;
    }
    buf->data = data;
    buf->cap = cap;
    data[buf->len] = '\0';
    return data + buf->len;
}

char *mg_buf_room(struct mg_buf *buf, size_t n)
{
    if (buf->failed)
        return NULL;
    bool absurd =
        n >= (size_t)PTRDIFF_MAX - buf->len; /* no allocator has it, and sums stay in range */
    if (absurd || (buf->max_bytes && buf->len + n > buf->max_bytes)) {
        buf->failed = true;
        buf->over_limit = buf->max_bytes != 0;
        buf->needed = absurd ? n : buf->len + n;
        return NULL;
    }
    if (buf->len + n + 1 <= buf->cap)
        return buf->data + buf->len;
    return grow(buf, buf->len + n + 1);
}

void mg_buf_put(struct mg_buf *buf, const void *data, size_t len)
{
    char *at = mg_buf_room(buf, len);
    if (!at)
        return;
    if (len)
        memcpy(at, data, len);
    at[len] = '\0';
    buf->len += len;
}

void mg_buf_str(struct mg_buf *buf, const char *text)
{
    mg_buf_put(buf, text, strlen(text));
}

void mg_buf_char(struct mg_buf *buf, char c)
{
    mg_buf_put(buf, &c, 1);
}

void mg_buf_printf(struct mg_buf *buf, const char *format, ...)
{
    char small[256];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (n < 0) {
        buf->failed = true;
    } else if ((size_t)n < sizeof small) {
        mg_buf_put(buf, small, (size_t)n);
    } else {
        char *at = mg_buf_room(buf, (size_t)n);
        if (at) {
            vsnprintf(at, (size_t)n + 1, format, again);
            buf->len += (size_t)n;
        }
    }
    va_end(again);
}

/* Bytes of the well-formed UTF-8 sequence at `at` (RFC 3629: no surrogates, no overlong forms), or
 * 0. */
static size_t utf8_len(const unsigned char *at, size_t left)
{
    unsigned char a = at[0];
    if (a < 0x80)
        return 1;
    if (a < 0xC2 || a > 0xF4)
        return 0;
    size_t n = a < 0xE0 ? 2 : a < 0xF0 ? 3 : 4;
    if (left < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    if ((a == 0xE0 && at[1] < 0xA0) || (a == 0xED && at[1] > 0x9F) || (a == 0xF0 && at[1] < 0x90) ||
        (a == 0xF4 && at[1] > 0x8F))
        return 0;
    return n;
}

static void json_escape(struct mg_buf *buf, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                  ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    if (c < sizeof shorts && shorts[c])
        mg_buf_put(buf, (char[]){'\\', shorts[c]}, 2);
    else
        mg_buf_put(buf, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

#define EACH_BYTE (UINT64_C(0x0101010101010101))

/* A high bit where a byte may be one that JSON does not take as it is; zero says surely none. */
static inline uint64_t not_plain(uint64_t word)
{
    uint64_t quote = word ^ EACH_BYTE * '"', slash = word ^ EACH_BYTE * '\\', del = word ^ EACH_BYTE * 0x7F;
    return ((word - EACH_BYTE * 0x20) | (quote - EACH_BYTE) | (slash - EACH_BYTE) | (del - EACH_BYTE) |
            word) &
           EACH_BYTE * 0x80;
}

/* How many bytes from the start are plain, eight at a time. */
static inline size_t plain_prefix(const char *text, size_t len)
{
    uint64_t word;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        memcpy(&word, text + i, 8);
        if (not_plain(word))
            return i;
    }
    word = EACH_BYTE * ' ';
    memcpy(&word, text + i, len - i);
    return not_plain(word) ? i : len;
}

bool mg_utf8_valid(struct mg_span text)
{
    const unsigned char *at = (const unsigned char *)text.data, *end = at + text.len;
    uint64_t high = 0, word;
    /* Nearly all text is ASCII: the last word may overlap the one before it. */
    for (; text.len >= 8 && at + 8 < end; at += 8) {
        memcpy(&word, at, 8);
        high |= word;
    }
    if (text.len >= 8) {
        memcpy(&word, end - 8, 8);
        high |= word;
        at = end;
    }
    for (; at < end; at++)
        high |= *at;
    if (!(high & 0x8080808080808080u))
        return true;
    for (at = (const unsigned char *)text.data; at < end;) {
        size_t n = *at < 0x80 ? 1 : utf8_len(at, (size_t)(end - at));
        if (!n)
            return false;
        at += n;
    }
    return true;
}

void mg_buf_json_string(struct mg_buf *buf, const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + len, *run = at;
    size_t plain = len ? plain_prefix(text, len) : 0;
    char *spare = plain == len ? mg_buf_spare(buf, len + 2) : NULL;
    if (spare) {
        spare[0] = '"';
        if (len)
            memcpy(spare + 1, text, len);
        spare[len + 1] = '"';
        mg_buf_added(buf, len + 2);
        return;
    }
    at += plain;
    mg_buf_char(buf, '"');
    while (at < end) {
        if (*at < 0x80) {
            if (*at >= 0x20 && *at != '"' && *at != '\\' && *at != 0x7F) {
                at++;
                continue;
            }
            mg_buf_put(buf, run, (size_t)(at - run));
            json_escape(buf, *at++);
            run = at;
            continue;
        }
        size_t n = utf8_len(at, (size_t)(end - at));
        if (n) {
            at += n;
            continue;
        }
        mg_buf_put(buf, run, (size_t)(at - run));
        mg_buf_put(buf, "\xEF\xBF\xBD", 3);
        run = ++at;
    }
    mg_buf_put(buf, run, (size_t)(at - run));
    mg_buf_char(buf, '"');
}

void mg_buf_html(struct mg_buf *buf, const char *text, size_t len)
{
    size_t run = 0;
    for (size_t i = 0; i < len; i++) {
        const char *entity;
        switch (text[i]) {
        case '&':
            entity = "&amp;";
            break;
        case '<':
            entity = "&lt;";
            break;
        case '>':
            entity = "&gt;";
            break;
        case '"':
            entity = "&quot;";
            break;
        case '\'':
            entity = "&#39;";
            break;
        default:
            continue;
        }
        mg_buf_put(buf, text + run, i - run);
        mg_buf_str(buf, entity);
        run = i + 1;
    }
    mg_buf_put(buf, text + run, len - run);
}

enum mg_err mg_buf_status(const struct mg_buf *buf, struct mg_errmsg *err)
{
    if (!buf->failed)
        return MG_OK;
    if (buf->over_limit)
        return mg_err_set(err, MG_E_UDF_OUTPUT,
                          "the result is larger than the limit of %zu bytes (%zu and more were needed): return "
                          "less of it",
                          buf->max_bytes, buf->needed);
    return mg_err_set(err, MG_E_NOMEM, "out of memory after %zu bytes", buf->len);
}

char *mg_buf_take(struct mg_buf *buf, size_t *len)
{
    char *data = buf->data;
    if (len)
        *len = buf->len;
    *buf = (struct mg_buf){.max_bytes = buf->max_bytes};
    return data;
}
