/* HTTP/1 parsing, pure functions: the head of a request, chunked bodies, Forwarded and the PROXY
 * line.
 *
 * Strict (RFC 9112): CRLF only, no folding, one Host, never both Content-Length and
 * Transfer-Encoding, so that no proxy before us can see another request than we do. Any thread. */
#ifndef MOONGATE_SERVE_HTTP_PARSE_H
#define MOONGATE_SERVE_HTTP_PARSE_H

#include "guard.h"
#include "moongate/http.h"

enum { HTTP_MAX_HEADERS = 100, HTTP_MAX_HEAD = 32 * 1024, HTTP_MAX_URL = 8 * 1024 };

enum http_parse { HTTP_PARSE_MORE, HTTP_PARSE_DONE, HTTP_PARSE_BAD };

/* Why a request is refused; `text` is static. */
struct http_refusal {
    int status;
    enum mg_err err;
    const char *text;
};

struct http_head {
    struct mg_span method, path, query, scheme, authority;
    struct mg_http_header headers[HTTP_MAX_HEADERS];
    size_t n_headers;
    size_t bytes; /* of the head, with the empty line */
    int version;  /* 0x100, 0x101 */
    bool keep_alive, chunked, expect_continue, has_length, has_authorization;
    uint64_t length; /* has_length */
};

/* `data` is what has come so far; header names are put in lower case in place. `scan` (0 at first)
 * remembers how far the end of the head was looked for. Spans point into data. */
enum http_parse http_parse_head(char *data, size_t len, size_t *scan, struct http_head *out,
                                struct http_refusal *refusal);
/* Splits a request target into path and query (NULL data: none). */
void http_split_target(struct mg_span target, struct mg_span *path, struct mg_span *query);
/* A host, with or without port, of letters that RFC 3986 allows. */
bool http_authority_valid(struct mg_span authority);

/* Chunked body, decoded in place: [from, from + *decoded) is the body so far. */
struct http_chunked {
    int state;
    uint64_t left; /* of the chunk */
    unsigned digits, extension_bytes, trailer_bytes;
};
/* Reads data[*raw .. len), moves body bytes down to data[*decoded], advances both. DONE: *raw is
 * behind the last chunk. */
enum http_parse http_chunked_read(struct http_chunked *chunked, char *data, size_t len, size_t *raw,
                                  size_t *decoded);

/* Number of fields in an HPACK block (RFC 7541), without decoding; stops counting at `limit`.
 * Broken input counts what was seen: the decoder will refuse it. */
size_t http_hpack_count(const uint8_t *block, size_t len, size_t limit);

/* What a trusted proxy may say first: "PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\n", or the same in version 2's binary
 * form. DONE: *bytes is its length, 0 where there is none; *known says whether it names the client. */
enum http_parse http_parse_proxy(const char *data, size_t len, size_t *bytes,
                                 struct mg_address *client, bool *known);

/* What the trusted proxies say of the client. */
struct http_forwarded {
    bool present; /* some Forwarded or X-Forwarded-For came, from whomever */
    bool has_client;
    struct mg_address client;
    struct mg_span scheme, host; /* data NULL: not said */
};
/* Walks the list of addresses from the right, past those in `trusted`. */
void http_forwarded_read(const struct mg_http_header *headers, size_t n,
                         const struct mg_cidr *trusted, size_t n_trusted,
                         struct http_forwarded *out);

#endif
