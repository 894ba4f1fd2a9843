/* Conditional requests, ranges and content codings: what RFC 9110 says of single header fields. Pure; any thread. */
#ifndef MOONGATE_SERVE_NEGOTIATE_H
#define MOONGATE_SERVE_NEGOTIATE_H

#include "moongate/buf.h"

enum mg_range { MG_RANGE_WHOLE, MG_RANGE_PART, MG_RANGE_OUTSIDE };
/* Range of a body of `size` bytes (section 14.2): one range of bytes gives PART with first and last; several, other
 * units and what is malformed are passed over (WHOLE); OUTSIDE is a 416. */
enum mg_range mg_range_parse(struct mg_span value, uint64_t size, uint64_t *first, uint64_t *last);
/* Accept-Encoding (section 12.5.3) lets us send gzip; an absent header does not. */
bool mg_accepts_gzip(struct mg_span accept_encoding);
/* If-None-Match (section 13.1.2): "*" or a list that has the tag, weakly compared. `etag` with its quotes. */
bool mg_etag_listed(struct mg_span list, const char *etag);

#endif
