/* Pack: the canonical, length-prefixed encoding of typed values.
 *
 * It carries arguments and results between processes, is what cache keys are hashed from, and is stored
 * in LMDB. No two different sequences of values share an encoding: each value is a type byte, then a
 * fixed-size number or a 64-bit length and bytes, all little-endian. Structure is by agreement of writer
 * and reader (a list is its count, then its items). The reader trusts nothing: each get checks type and
 * length, and after the first mismatch all further gets return zero values and `failed` stays set. */
#ifndef MOONGATE_PACK_H
#define MOONGATE_PACK_H

#include "moongate/buf.h"

void mg_pack_nil(struct mg_buf *out);
void mg_pack_bool(struct mg_buf *out, bool value);
void mg_pack_int(struct mg_buf *out, int64_t value);
void mg_pack_double(struct mg_buf *out, double value); /* -0 and every NaN are made canonical */
void mg_pack_bytes(struct mg_buf *out, const void *data, size_t len);
void mg_pack_str(struct mg_buf *out, const char *text); /* NULL packs as nil */

struct mg_unpack {
    const uint8_t *at, *end;
    bool failed;
};
/* Borrows data until the last get. */
void mg_unpack_init(struct mg_unpack *in, const void *data, size_t len);
/* Type of the next value: 'n' nil, 'b' bool, 'i' int, 'd' double, 's' bytes; 0 at the end or when failed. */
char mg_unpack_peek(const struct mg_unpack *in);
bool mg_unpack_skip(struct mg_unpack *in); /* one value */
bool mg_unpack_bool(struct mg_unpack *in);
int64_t mg_unpack_int(struct mg_unpack *in);
double mg_unpack_double(struct mg_unpack *in);
/* Borrowed from the packed data; nil gives {NULL, 0}. */
struct mg_span mg_unpack_bytes(struct mg_unpack *in);
/* Copies bytes as a terminated string; fails when they hold a NUL or do not fit. */
bool mg_unpack_str(struct mg_unpack *in, char *out, size_t size);
/* A count of items, at most `max`; 0 and failed otherwise. */
size_t mg_unpack_count(struct mg_unpack *in, size_t max);
/* Everything was read and nothing failed. */
bool mg_unpack_done(const struct mg_unpack *in);

#endif
