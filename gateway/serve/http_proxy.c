/* What proxies say of the client: the PROXY protocol (version 1, a line, and 2, binary), Forwarded
 * (RFC 7239), X-Forwarded-*.
 * Only a trusted peer is listened to; the caller sees to that. */
#include "http_parse.h"

#include <strings.h>

static enum http_parse parse_line(const char *data, size_t len, size_t *bytes,
                                  struct mg_address *client, bool *known)
{
    enum { LONGEST = 107 }; /* of the specification */
    const char *lf = memchr(data, '\n', len < LONGEST ? len : LONGEST);
    if (!lf) {
        return len >= LONGEST ? HTTP_PARSE_BAD : HTTP_PARSE_MORE;
    }
    struct mg_span line = {data, (size_t)(lf - data)}, word, address;
    if (line.len < 6 || line.data[line.len - 1] != '\r') {
        return HTTP_PARSE_BAD;
    }
    line.len--;
    *bytes = (size_t)(lf - data) + 1;
    mg_span_cut(&line, ' ', &word);
    if (!mg_span_is(word, "PROXY") || !mg_span_cut(&line, ' ', &word)) {
        return HTTP_PARSE_BAD;
    }
    *known = false;
    if (mg_span_is(word, "UNKNOWN")) {
        return HTTP_PARSE_DONE;
    }
    if ((!mg_span_is(word, "TCP4") && !mg_span_is(word, "TCP6")) ||
        !mg_span_cut(&line, ' ', &address) || !mg_address_parse(address, client)) {
        return HTTP_PARSE_BAD;
    }
    *known = true;
    return HTTP_PARSE_DONE;
}

/* Version 2: signature, version and command, family and transport, length, addresses, then records that are passed
 * over. */
static enum http_parse parse_binary(const char *data, size_t len, size_t *bytes,
                                    struct mg_address *client, bool *known)
{
    enum { HEAD = 16, LONGEST = 4096, LOCAL = 0x20, PROXY = 0x21, TCP4 = 0x11, TCP6 = 0x21 };
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const uint8_t *at = (const uint8_t *)data;
    if (len < HEAD) {
        return HTTP_PARSE_MORE;
    }
    size_t rest = (size_t)at[14] << 8 | at[15];
    bool tcp4 = at[12] == PROXY && at[13] == TCP4, tcp6 = at[12] == PROXY && at[13] == TCP6;
    if ((at[12] != LOCAL && at[12] != PROXY) || rest > LONGEST || (tcp4 && rest < 12) || (tcp6 && rest < 36)) {
        return HTTP_PARSE_BAD;
    }
    if (len < HEAD + rest) {
        return HTTP_PARSE_MORE;
    }
    *bytes = HEAD + rest;
    *known = tcp4 || tcp6; /* else the proxy's own check of health, or what has no address */
    if (tcp4) {
        memcpy(client->bytes, mapped, sizeof mapped);
        memcpy(client->bytes + 12, at + HEAD, 4);
    } else if (tcp6) {
        memcpy(client->bytes, at + HEAD, 16);
    }
    return HTTP_PARSE_DONE;
}

enum http_parse http_parse_proxy(const char *data, size_t len, size_t *bytes,
                                 struct mg_address *client, bool *known)
{
    static const char line[] = "PROXY ", binary[] = "\r\n\r\n\0\r\nQUIT\n";
    enum { LINE = sizeof line - 1, BINARY = sizeof binary - 1 };
    *bytes = 0;
    *known = false;
    if (len > 0 && memcmp(data, line, len < LINE ? len : LINE) == 0) {
        return len < LINE ? HTTP_PARSE_MORE : parse_line(data, len, bytes, client, known);
    }
    if (len > 0 && memcmp(data, binary, len < BINARY ? len : BINARY) == 0) {
        return len < BINARY ? HTTP_PARSE_MORE : parse_binary(data, len, bytes, client, known);
    }
    return HTTP_PARSE_DONE;
}

static struct mg_span trim(struct mg_span span)
{
    while (span.len && (span.data[0] == ' ' || span.data[0] == '\t')) {
        span.data++, span.len--;
    }
    while (span.len && (span.data[span.len - 1] == ' ' || span.data[span.len - 1] == '\t')) {
        span.len--;
    }
    if (span.len >= 2 && span.data[0] == '"' && span.data[span.len - 1] == '"') {
        span.data++, span.len -= 2;
    }
    return span;
}

/* "1.2.3.4", "1.2.3.4:80", "[::1]", "[::1]:80", "::1". */
static bool node_address(struct mg_span node, struct mg_address *out)
{
    if (node.len && node.data[0] == '[') {
        const char *close = memchr(node.data, ']', node.len);
        return close && mg_address_parse(
                            (struct mg_span){node.data + 1, (size_t)(close - node.data - 1)}, out);
    }
    const char *colon = memchr(node.data, ':', node.len);
    if (colon && !memchr(colon + 1, ':', node.len - (size_t)(colon + 1 - node.data))) {
        node.len = (size_t)(colon - node.data);
    }
    return mg_address_parse(node, out);
}

static bool is_trusted(const struct mg_address *address, const struct mg_cidr *trusted, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (mg_cidr_has(&trusted[i], address)) {
            return true;
        }
    }
    return false;
}

/* Takes the last element off a comma list. */
static bool cut_last(struct mg_span *list, struct mg_span *last)
{
    if (!list->data) {
        return false;
    }
    size_t at = list->len;
    while (at > 0 && list->data[at - 1] != ',') {
        at--;
    }
    *last = trim((struct mg_span){list->data + at, list->len - at});
    *list = at > 0 ? (struct mg_span){list->data, at - 1} : (struct mg_span){NULL, 0};
    return true;
}

/* The value of `name` in one element of a Forwarded header. */
static struct mg_span forwarded_pair(struct mg_span element, const char *name)
{
    struct mg_span pair, key;
    while (mg_span_cut(&element, ';', &pair)) {
        if (mg_span_cut(&pair, '=', &key) && pair.data) {
            key = trim(key);
            if (key.len == strlen(name) && strncasecmp(key.data, name, key.len) == 0) {
                return trim(pair);
            }
        }
    }
    return (struct mg_span){NULL, 0};
}

static void take_scheme(struct http_forwarded *out, struct mg_span value)
{
    if (mg_span_is(value, "http") || mg_span_is(value, "https")) {
        out->scheme = value;
    }
}

static void take_host(struct http_forwarded *out, struct mg_span value)
{
    if (http_authority_valid(value)) {
        out->host = value;
    }
}

void http_forwarded_read(const struct mg_http_header *headers, size_t n,
                         const struct mg_cidr *trusted, size_t n_trusted,
                         struct http_forwarded *out)
{
    *out = (struct http_forwarded){0};
    struct mg_span forwarded = {NULL, 0}, addresses = {NULL, 0}, proto = {NULL, 0},
                   host = {NULL, 0};
    for (size_t i = 0; i < n; i++) {
        struct mg_span name = headers[i].name;
        if (name.len == 9 && mg_span_is(name, "forwarded")) {
            forwarded = headers[i].value;
        } else if (name.len >= 15 && mg_span_starts(name, "x-forwarded-")) {
            struct mg_span *slot = mg_span_is(name, "x-forwarded-for")     ? &addresses
                                   : mg_span_is(name, "x-forwarded-proto") ? &proto
                                   : mg_span_is(name, "x-forwarded-host")  ? &host
                                                                           : NULL;
            if (slot) {
                *slot = headers[i].value;
            }
        }
    }
    out->present = forwarded.data || addresses.data;
    struct mg_span element;
    if (forwarded.data) {
        while (cut_last(&forwarded, &element)) {
            struct mg_address address;
            struct mg_span node = forwarded_pair(element, "for");
            if (!node.data || !node_address(node, &address)) {
                break; /* what is left of an unreadable node cannot be believed */
            }
            out->client = address;
            out->has_client = true;
            take_scheme(out, forwarded_pair(element, "proto"));
            take_host(out, forwarded_pair(element, "host"));
            if (!is_trusted(&address, trusted, n_trusted)) {
                break;
            }
        }
        return;
    }
    while (cut_last(&addresses, &element)) {
        struct mg_address address;
        if (!node_address(element, &address)) {
            break;
        }
        out->client = address;
        out->has_client = true;
        if (!is_trusted(&address, trusted, n_trusted)) {
            break;
        }
    }
    if (cut_last(&proto, &element)) {
        take_scheme(out, element);
    }
    if (cut_last(&host, &element)) {
        take_host(out, element);
    }
}
