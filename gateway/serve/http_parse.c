/* The head of an HTTP/1 request, and chunked bodies. One pass to find the end, one to take it
 * apart: about 0.3 us for a request of a tile. */
#include "http_parse.h"

#include <strings.h>

/* Of RFC 9110: what a method or a header name is made of; bit 1. What a Host is made of; bit 2.
 * Visible; bit 4. */
enum { TOKEN = 1, HOST = 2, TARGET = 4, VALUE = 8 };
static uint8_t kinds[256];

__attribute__((constructor)) static void init_kinds(void)
{
    static const char token[] = "!#$%&'*+-.^_`|~", host[] = "-._~%!$&'()*+,;=:[]";
    for (int c = 0; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        kinds[c] = (uint8_t)((alnum || (c && strchr(token, c)) ? TOKEN : 0) |
                             (alnum || (c && strchr(host, c)) ? HOST : 0) |
                             (c > 0x20 && c != 0x7f ? TARGET : 0) |
                             (c == '\t' || (c >= 0x20 && c != 0x7f) ? VALUE : 0));
    }
}

static bool all_of(struct mg_span span, uint8_t kind)
{
    for (size_t i = 0; i < span.len; i++) {
        if (!(kinds[(uint8_t)span.data[i]] & kind)) {
            return false;
        }
    }
    return true;
}

bool http_authority_valid(struct mg_span authority)
{
    return authority.len > 0 && authority.len <= 1024 && all_of(authority, HOST);
}

void http_split_target(struct mg_span target, struct mg_span *path, struct mg_span *query)
{
    const char *mark = memchr(target.data, '?', target.len);
    *path = target;
    *query = (struct mg_span){NULL, 0};
    if (mark) {
        path->len = (size_t)(mark - target.data);
        *query = (struct mg_span){mark + 1, target.len - path->len - 1};
    }
}

static enum http_parse refuse(struct http_refusal *refusal, int status, enum mg_err err,
                              const char *text)
{
    *refusal = (struct http_refusal){status, err, text};
    return HTTP_PARSE_BAD;
}
#define BAD(text) refuse(refusal, 400, MG_E_INVALID, text)

static struct mg_span trim(struct mg_span span)
{
    while (span.len && (span.data[0] == ' ' || span.data[0] == '\t')) {
        span.data++, span.len--;
    }
    while (span.len && (span.data[span.len - 1] == ' ' || span.data[span.len - 1] == '\t')) {
        span.len--;
    }
    return span;
}

static bool is_nocase(struct mg_span span, const char *text)
{
    return span.len == strlen(text) && strncasecmp(span.data, text, span.len) == 0;
}

static enum http_parse request_line(struct mg_span line, struct http_head *out,
                                    struct http_refusal *refusal)
{
    struct mg_span target;
    if (!mg_span_cut(&line, ' ', &out->method) || out->method.len == 0 || out->method.len > 32 ||
        !all_of(out->method, TOKEN) || !mg_span_cut(&line, ' ', &target) || !line.data) {
        return BAD("the request line is not METHOD TARGET VERSION");
    }
    if (mg_span_is(line, "HTTP/1.1")) {
        out->version = 0x101;
    } else if (mg_span_is(line, "HTTP/1.0")) {
        out->version = 0x100;
    } else if (mg_span_starts(line, "HTTP/")) {
        return refuse(refusal, 505, MG_E_INVALID,
                      "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here");
    } else {
        return BAD("the request line does not end in a version of HTTP");
    }
    if (target.len > HTTP_MAX_URL) {
        return refuse(refusal, 414, MG_E_URI_TOO_LONG,
                      "the URL is longer than 8 kB; send parameters as a POST body");
    }
    if (target.len == 0 || !all_of(target, TARGET)) {
        return BAD("the URL has characters that must be percent-encoded");
    }
    if (target.len > 7 && (strncasecmp(target.data, "http://", 7) == 0 ||
                           (target.len > 8 && strncasecmp(target.data, "https://", 8) == 0))) {
        size_t skip = target.data[4] == ':' ? 7 : 8;
        struct mg_span rest = {target.data + skip, target.len - skip};
        const char *slash = memchr(rest.data, '/', rest.len);
        out->authority =
            (struct mg_span){rest.data, slash ? (size_t)(slash - rest.data) : rest.len};
        target = slash ? (struct mg_span){slash, rest.len - out->authority.len} : MG_SPAN("/");
        if (!http_authority_valid(out->authority)) {
            return BAD("the host of the URL is malformed");
        }
    } else if (target.data[0] != '/' &&
               !(mg_span_is(target, "*") && mg_span_is(out->method, "OPTIONS"))) {
        return BAD("the URL does not begin with '/'");
    }
    http_split_target(target, &out->path, &out->query);
    return HTTP_PARSE_DONE;
}

static void connection_options(struct mg_span value, struct http_head *out)
{
    struct mg_span option;
    while (mg_span_cut(&value, ',', &option)) {
        option = trim(option);
        if (is_nocase(option, "close")) {
            out->keep_alive = false;
        } else if (is_nocase(option, "keep-alive") && out->version == 0x100) {
            out->keep_alive = true;
        }
    }
}

struct seen {
    unsigned hosts, lengths, encodings;
    bool close;
};

static enum http_parse known_header(struct mg_span name, struct mg_span value,
                                    struct http_head *out, struct seen *seen,
                                    struct http_refusal *refusal)
{
    switch (name.len) {
    case 4:
        if (mg_span_is(name, "host")) {
            if (seen->hosts++ > 0) {
                return BAD("more than one Host header");
            }
            if (!http_authority_valid(value)) {
                return BAD("the Host header is malformed");
            }
            if (!out->authority.data) { /* an absolute URL's host wins, RFC 9112 3.2.2 */
                out->authority = value;
            }
        }
        break;
    case 6:
        if (mg_span_is(name, "expect")) {
            if (!is_nocase(value, "100-continue")) {
                return refuse(refusal, 417, MG_E_INVALID,
                              "the Expect header asks for something unknown");
            }
            out->expect_continue = out->version >= 0x101;
        }
        break;
    case 10:
        if (mg_span_is(name, "connection")) {
            connection_options(value, out);
        }
        break;
    case 13:
        if (mg_span_is(name, "authorization")) {
            out->has_authorization = true;
        }
        break;
    case 14:
        if (mg_span_is(name, "content-length")) {
            if (seen->lengths++ > 0) {
                return BAD("more than one Content-Length header");
            }
            if (value.len == 0 || value.len > 18) {
                return BAD("the Content-Length header is not a number");
            }
            out->length = 0;
            for (size_t i = 0; i < value.len; i++) {
                if (value.data[i] < '0' || value.data[i] > '9') {
                    return BAD("the Content-Length header is not a number");
                }
                out->length = out->length * 10 + (uint64_t)(value.data[i] - '0');
            }
            out->has_length = true;
        }
        break;
    case 17:
        if (mg_span_is(name, "transfer-encoding")) {
            if (seen->encodings++ > 0 || !is_nocase(value, "chunked")) {
                return BAD("the only Transfer-Encoding that is understood is one 'chunked'");
            }
            if (out->version < 0x101) {
                return BAD("HTTP/1.0 has no Transfer-Encoding");
            }
            out->chunked = true;
        }
        break;
    default:
        break;
    }
    return HTTP_PARSE_DONE;
}

static enum http_parse header_line(char *line, size_t len, struct http_head *out, struct seen *seen,
                                   struct http_refusal *refusal)
{
    if (line[0] == ' ' || line[0] == '\t') {
        return BAD("a header is folded over two lines");
    }
    if (out->n_headers == HTTP_MAX_HEADERS) {
        return refuse(refusal, 431, MG_E_HEADERS_TOO_LARGE, "more than 100 headers");
    }
    size_t n = 0;
    while (n < len && kinds[(uint8_t)line[n]] & TOKEN) {
        if (line[n] >= 'A' && line[n] <= 'Z') {
            line[n] = (char)(line[n] | 0x20);
        }
        n++;
    }
    if (n == 0 || n == len || line[n] != ':') {
        return BAD("a header line has no name");
    }
    struct mg_span value = trim((struct mg_span){line + n + 1, len - n - 1});
    if (!all_of(value, VALUE)) {
        return BAD("a header's value has control characters");
    }
    struct mg_span name = {line, n};
    out->headers[out->n_headers++] = (struct mg_http_header){name, value};
    return known_header(name, value, out, seen, refusal);
}

/* Looks for the empty line. Lines must end in CRLF: a bare LF is one thing to us and another to the
 * proxy before us. */
static enum http_parse find_end(const char *data, size_t len, size_t *scan, size_t *end,
                                struct http_refusal *refusal)
{
    size_t at = *scan;
    for (;;) {
        const char *lf = memchr(data + at, '\n', len - at);
        if (!lf) {
            break;
        }
        size_t i = (size_t)(lf - data);
        if (i == 0 || data[i - 1] != '\r') {
            return BAD("a line does not end in CR LF");
        }
        if (i >= 3 && data[i - 2] == '\n') {
            *end = i + 1;
            return HTTP_PARSE_DONE;
        }
        at = i + 1;
    }
    *scan = at;
    bool first_line = at == 0;
    if (first_line && len > 0 && data[0] != '\r' && !(kinds[(uint8_t)data[0]] & TOKEN)) {
        return BAD(
            "this is not HTTP"); /* TLS perhaps: it would wait for us while we wait for a line */
    }
    if (first_line && len > HTTP_MAX_URL + 64) {
        return refuse(refusal, 414, MG_E_URI_TOO_LONG,
                      "the URL is longer than 8 kB; send parameters as a POST body");
    }
    if (len > HTTP_MAX_HEAD + HTTP_MAX_URL) {
        return refuse(refusal, 431, MG_E_HEADERS_TOO_LARGE, "more than 32 kB of headers");
    }
    return HTTP_PARSE_MORE;
}

enum http_parse http_parse_head(char *data, size_t len, size_t *scan, struct http_head *out,
                                struct http_refusal *refusal)
{
    /* One empty line before the request is borne (RFC 9112 2.2). */
    size_t start = len >= 2 && data[0] == '\r' && data[1] == '\n' ? 2 : 0;
    if (*scan < start) {
        *scan = start;
    }
    size_t end = 0, scanned = *scan - start;
    enum http_parse r = find_end(data + start, len - start, &scanned, &end, refusal);
    *scan = scanned + start;
    if (r != HTTP_PARSE_DONE) {
        return r;
    }
    out->n_headers = 0;
    out->authority = (struct mg_span){NULL, 0};
    out->scheme = (struct mg_span){NULL, 0};
    out->chunked = out->expect_continue = out->has_length = out->has_authorization = false;
    out->length = 0;
    out->bytes = start + end;

    char *at = data + start, *stop = data + start + end - 2;
    char *lf = memchr(at, '\n', (size_t)(stop - at));
    if ((r = request_line((struct mg_span){at, (size_t)(lf - 1 - at)}, out, refusal)) !=
        HTTP_PARSE_DONE) {
        return r;
    }
    out->keep_alive = out->version >= 0x101;
    at = lf + 1;
    if (stop - at > HTTP_MAX_HEAD) {
        return refuse(refusal, 431, MG_E_HEADERS_TOO_LARGE, "more than 32 kB of headers");
    }
    struct seen seen = {0};
    while (at < stop) {
        lf = memchr(at, '\n', (size_t)(stop - at));
        if ((r = header_line(at, (size_t)(lf - 1 - at), out, &seen, refusal)) != HTTP_PARSE_DONE) {
            return r;
        }
        at = lf + 1;
    }
    if (out->has_length && out->chunked) {
        return BAD("both Content-Length and Transfer-Encoding");
    }
    if (seen.hosts == 0 && out->version >= 0x101) {
        return BAD("the Host header is missing");
    }
    return HTTP_PARSE_DONE;
}

enum {
    C_SIZE,
    C_EXTENSION,
    C_SIZE_LF,
    C_DATA,
    C_DATA_CR,
    C_DATA_LF,
    C_TRAILER,
    C_TRAILER_LINE,
    C_TRAILER_LF,
    C_END_LF
};

static int hex(char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

enum http_parse http_chunked_read(struct http_chunked *chunked, char *data, size_t len, size_t *raw,
                                  size_t *decoded)
{
    size_t at = *raw;
    while (at < len) {
        char c = data[at];
        switch (chunked->state) {
        case C_SIZE: {
            int digit = hex(c);
            if (digit >= 0) {
                if (++chunked->digits > 15) {
                    return HTTP_PARSE_BAD;
                }
                chunked->left = chunked->left * 16 + (unsigned)digit;
            } else if (chunked->digits > 0 && (c == '\r' || c == ';')) {
                chunked->state = c == ';' ? C_EXTENSION : C_SIZE_LF;
            } else {
                return HTTP_PARSE_BAD;
            }
            at++;
            break;
        }
        case C_EXTENSION:
            if (c == '\n' || ++chunked->extension_bytes > 4096) {
                return HTTP_PARSE_BAD;
            }
            if (c == '\r') {
                chunked->state = C_SIZE_LF;
            }
            at++;
            break;
        case C_SIZE_LF:
            if (c != '\n') {
                return HTTP_PARSE_BAD;
            }
            chunked->state = chunked->left == 0 ? C_TRAILER : C_DATA;
            at++;
            break;
        case C_DATA: {
            size_t n = len - at < chunked->left ? len - at : (size_t)chunked->left;
            memmove(data + *decoded, data + at, n);
            *decoded += n;
            at += n;
            chunked->left -= n;
            if (chunked->left == 0) {
                chunked->state = C_DATA_CR;
            }
            break;
        }
        case C_DATA_CR:
        case C_DATA_LF:
            if (c != (chunked->state == C_DATA_CR ? '\r' : '\n')) {
                return HTTP_PARSE_BAD;
            }
            if (chunked->state++ == C_DATA_LF) {
                chunked->state = C_SIZE;
                chunked->digits = 0;
            }
            at++;
            break;
        case C_TRAILER:
        case C_TRAILER_LINE: /* trailers are read over: no handler of ours wants one */
            if (c == '\n' || ++chunked->trailer_bytes > 4096) {
                return HTTP_PARSE_BAD;
            }
            chunked->state = c != '\r'                     ? C_TRAILER_LINE
                             : chunked->state == C_TRAILER ? C_END_LF
                                                           : C_TRAILER_LF;
            at++;
            break;
        case C_TRAILER_LF:
            if (c != '\n') {
                return HTTP_PARSE_BAD;
            }
            chunked->state = C_TRAILER;
            at++;
            break;
        default: /* C_END_LF */
            if (c != '\n') {
                return HTTP_PARSE_BAD;
            }
            *raw = at + 1;
            return HTTP_PARSE_DONE;
        }
    }
    *raw = at;
    return HTTP_PARSE_MORE;
}

/* An HPACK integer with an n-bit prefix; advances *at. False at the end of the block. */
static bool hpack_int(const uint8_t *block, size_t len, size_t *at, unsigned bits, uint64_t *out)
{
    uint64_t max = (1u << bits) - 1, value = block[(*at)++] & max;
    if (value == max) {
        unsigned shift = 0;
        uint8_t byte;
        do {
            if (*at == len || shift > 28) {
                return false;
            }
            byte = block[(*at)++];
            value += (uint64_t)(byte & 0x7f) << shift;
            shift += 7;
        } while (byte & 0x80);
    }
    *out = value;
    return true;
}

static bool hpack_skip_string(const uint8_t *block, size_t len, size_t *at)
{
    uint64_t n;
    if (*at == len || !hpack_int(block, len, at, 7, &n) || n > len - *at) {
        return false;
    }
    *at += n;
    return true;
}

size_t http_hpack_count(const uint8_t *block, size_t len, size_t limit)
{
    size_t at = 0, count = 0;
    while (at < len && count < limit) {
        uint8_t first = block[at];
        uint64_t index;
        if (first & 0x80) { /* indexed */
            if (!hpack_int(block, len, &at, 7, &index)) {
                break;
            }
        } else if ((first & 0xe0) == 0x20) { /* table size: not a field, but not free */
            if (!hpack_int(block, len, &at, 5, &index)) {
                break;
            }
        } else if (!hpack_int(block, len, &at, first & 0x40 ? 6 : 4, &index) ||
                   (index == 0 && !hpack_skip_string(block, len, &at)) ||
                   !hpack_skip_string(block, len, &at)) {
            break;
        }
        count++;
    }
    return count;
}
