/* Bytes: a borrowed span and a growable buffer with a limit.
 *
 * A buffer never grows past `max_bytes`; an append that would, or that finds no memory, sets `failed`
 * and changes nothing more, so that a writer checks once at its end. Cost: amortised O(1) a byte. */
#ifndef MOONGATE_BUF_H
#define MOONGATE_BUF_H

#include "moongate/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes, not terminated. */
struct mg_span {
    const char *data;
    size_t len;
};
#define MG_SPAN(literal) ((struct mg_span){(literal), sizeof(literal) - 1})
static inline struct mg_span mg_span(const char *text)
{
    return (struct mg_span){text, text ? strlen(text) : 0};
}
static inline bool mg_span_eq(struct mg_span a, struct mg_span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
static inline bool mg_span_is(struct mg_span a, const char *text) { return mg_span_eq(a, mg_span(text)); }
/* Splits off what is before `separator` (or all) and advances `rest` behind it. False when rest is spent
 * (rest->data is NULL). */
bool mg_span_cut(struct mg_span *rest, char separator, struct mg_span *part);
bool mg_span_starts(struct mg_span a, const char *prefix);

struct mg_buf {
    char *data;       /* NULL while empty; always followed by a NUL when not */
    size_t len;       /* bytes in use */
    size_t cap;       /* bytes allocated */
    size_t max_bytes; /* 0: no limit */
    bool failed;      /* an append did not fit or found no memory */
    bool over_limit;  /* failed, because of max_bytes */
    size_t needed;    /* bytes that the append which went over the limit would have made */
};

void mg_buf_init(struct mg_buf *buf, size_t max_bytes);
void mg_buf_fini(struct mg_buf *buf);
/* Room for `n` more bytes at data + len; NULL (and failed) when it is not to be had. The caller adds to len.
 */
char *mg_buf_room(struct mg_buf *buf, size_t n);
/* Room for n bytes and a NUL that is there already; NULL: none, ask mg_buf_room. For the quick ways of hot
 * writers. */
static inline char *mg_buf_spare(const struct mg_buf *buf, size_t n)
{
    return !buf->failed && buf->cap - buf->len > n ? buf->data + buf->len : NULL;
}
static inline void mg_buf_added(struct mg_buf *buf, size_t n) /* n bytes were written to that room */
{
    buf->len += n;
    buf->data[buf->len] = '\0';
}
void mg_buf_put(struct mg_buf *buf, const void *data, size_t len);
void mg_buf_str(struct mg_buf *buf, const char *text);
void mg_buf_char(struct mg_buf *buf, char c);
void mg_buf_printf(struct mg_buf *buf, const char *format, ...) MG_PRINTF(2, 3);
/* Whether all of it is well-formed UTF-8 (RFC 3629). */
bool mg_utf8_valid(struct mg_span text);
/* A JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
void mg_buf_json_string(struct mg_buf *buf, const char *text, size_t len);
/* Text for HTML: & < > " ' escaped. */
void mg_buf_html(struct mg_buf *buf, const char *text, size_t len);
/* Numbers as text, not terminated; their length. Doubles: the shortest decimal that reads back exactly, as
 * ECMAScript writes it (plain from 1e-6 to 1e21), and -0; NaN and infinities are "null". */
enum { MG_NUMBER_TEXT = 32 };
size_t mg_int_text(int64_t value, char out[MG_NUMBER_TEXT]);
size_t mg_uint_text(uint64_t value, char out[MG_NUMBER_TEXT]);
size_t mg_double_text(double value, char out[MG_NUMBER_TEXT]);
void mg_buf_double(struct mg_buf *buf, double value);
void mg_buf_int(struct mg_buf *buf, int64_t value);
/* MG_OK, or why it failed: MG_E_NOMEM, MG_E_UDF_OUTPUT (over the limit). */
MG_MUST_CHECK enum mg_err mg_buf_status(const struct mg_buf *buf, struct mg_errmsg *err);
/* Hands the bytes to the caller (free()); the buffer is empty after it. */
char *mg_buf_take(struct mg_buf *buf, size_t *len);

#endif
