/* Conditional requests, ranges, content types and codings: what RFC 9110 says of single header fields. Pure; any thread. */
#ifndef MOONGATE_SERVE_NEGOTIATE_H
#define MOONGATE_SERVE_NEGOTIATE_H

#include "moongate/codec.h"

enum mg_range { MG_RANGE_WHOLE, MG_RANGE_PART, MG_RANGE_OUTSIDE };
/* Range of a body of `size` bytes (section 14.2): one range of bytes gives PART with first and last; several, other
 * units and what is malformed are passed over (WHOLE); OUTSIDE is a 416. */
enum mg_range mg_range_parse(struct mg_span value, uint64_t size, uint64_t *first, uint64_t *last);
/* Accept-Encoding (section 12.5.3) lets us send gzip; an absent header does not. */
bool mg_accepts_gzip(struct mg_span accept_encoding);
/* Accept (section 12.5.1): the formats of ours that it names, best first, each once; their number. Ranges such as
 * image/… with a star, and types that are not ours, do not count; q=0 forbids. */
size_t mg_accepts_formats(struct mg_span accept, const struct mg_codec **out, size_t max);
/* Accept names text/html, and JSON less or not at all: a browser. */
bool mg_accepts_html_first(struct mg_span accept);
/* If-None-Match (section 13.1.2): "*" or a list that has the tag, weakly compared. `etag` with its quotes. */
bool mg_etag_listed(struct mg_span list, const char *etag);

#endif
