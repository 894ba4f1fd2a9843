/* Deflate by ISA-L, as a stream into a buffer. Private to codec/.
 *
 * One stream a thread: begin, put …, put(last). The tables (0.5 MB) are made on a thread's first use and kept,
 * because fresh pages would cost more than compressing a tile. */
#ifndef CODEC_DEFLATE_H
#define CODEC_DEFLATE_H

#include "moongate/buf.h"

enum mg_wrap { MG_WRAP_NONE, MG_WRAP_GZIP, MG_WRAP_ZLIB };

/* level 0 (no search, semi-static codes) to 3. MG_E_NOMEM. */
MG_MUST_CHECK enum mg_err mg_deflate_begin(int level, enum mg_wrap wrap, struct mg_errmsg *err);
/* Compresses and appends. Failures show in the buffer's status. */
void mg_deflate_put(struct mg_buf *out, const void *data, size_t len, bool last);
/* A whole zlib stream at once, by entropy coding and runs alone: for data in which a search finds next to nothing. */
void mg_deflate_runs(struct mg_buf *out, const uint8_t *data, size_t len);
/* Whether a search would pay: a look at some strips of the data, four rows each or more, for repeats of eight bytes
 * that are not runs. Some 5 us for a tile. */
bool mg_deflate_repeats(const uint8_t *data, size_t len, size_t row);
/* CRC-32 of PNG and gzip. */
uint32_t mg_crc32(uint32_t crc, const void *data, size_t len);

#endif
