/* Requests by libcurl's multi interface.
 *
 * The egress policy sits at two places: the protocols that curl may speak, and each socket as it is opened (also
 * for a redirect, also for a name that resolves anew). No proxy, no netrc, no cookies, no compression of ranges (offsets
 * would lie); at most MAX_REDIRECTS, none from https to http. */
#include "transfer.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_REDIRECTS = 5, CONNECT_S = 10, STALL_S = 30, PER_HOST = 8, TOTAL = 64, CA_MAX = 4 << 20 };
#define CA_FOLDER "/etc/ssl/certs"

struct mg_transfers {
    const struct mg_fetch_config *config;
    CURLM *multi;
    struct mg_buf ca;
    struct mg_transfer *first;
};

struct mg_transfer {
    struct mg_transfer *next;
    struct mg_transfers *all;
    CURL *easy;
    struct curl_slist *headers;
    const struct mg_transfer_events *events;
    void *context;
    struct mg_answer_head head;
    bool encoded, told, stopped;
    bool raw; /* of mg_transfer_send */
    char host[256];
    char refused[64]; /* an address that the policy refused */
    struct mg_errmsg stop; /* why head or data said no */
};

/* ---- The answer's head -------------------------------------------------------------------------------- */

static bool header_is(const char *line, size_t n, const char *name, struct mg_span *value)
{
    size_t len = strlen(name);
    if (n <= len || line[len] != ':' || strncasecmp(line, name, len) != 0)
        return false;
    const char *at = line + len + 1, *end = line + n;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *value = (struct mg_span){at, (size_t)(end - at)};
    return true;
}

/* Decimal digits up to the first other character; false without any, or when it does not fit. */
static bool take_number(struct mg_span *text, uint64_t *out)
{
    uint64_t v = 0;
    size_t n = 0;
    for (; n < text->len && text->data[n] >= '0' && text->data[n] <= '9'; n++)
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(text->data[n] - '0'), &v))
            return false;
    *text = (struct mg_span){text->data + n, text->len - n};
    *out = v;
    return n > 0;
}

/* "bytes 0-65535/1234567", "bytes x/…" with an unknown total, and a 416's "bytes x/1234567" (RFC 9110, 14.4; the x
 * is an asterisk). */
static void read_content_range(struct mg_span value, struct mg_answer_head *head)
{
    uint64_t from = 0, to;
    if (!mg_span_starts(value, "bytes "))
        return;
    value = (struct mg_span){value.data + 6, value.len - 6};
    if (mg_span_starts(value, "*")) {
        value = (struct mg_span){value.data + 1, value.len - 1};
    } else {
        if (!take_number(&value, &from) || !mg_span_starts(value, "-"))
            return;
        value = (struct mg_span){value.data + 1, value.len - 1};
        if (!take_number(&value, &to) || to < from)
            return;
    }
    head->from = from;
    if (!mg_span_starts(value, "/"))
        return;
    value = (struct mg_span){value.data + 1, value.len - 1};
    uint64_t total;
    if (take_number(&value, &total))
        head->total = total;
}

static size_t on_header(char *line, size_t size, size_t n, void *context)
{
    struct mg_transfer *transfer = context;
    struct mg_answer_head *head = &transfer->head;
    struct mg_span value;
    n *= size;
    if (transfer->raw) {
        transfer->events->line(transfer->context, line, n);
        return n;
    }
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) { /* a hop: what an earlier one said is void */
        *head = (struct mg_answer_head){.total = MG_TOTAL_UNKNOWN};
        transfer->encoded = false;
    } else if (header_is(line, n, "etag", &value)) {
        if (value.len < sizeof head->etag) {
            memcpy(head->etag, value.data, value.len);
            head->etag[value.len] = '\0';
        }
    } else if (header_is(line, n, "last-modified", &value)) {
        if (!head->etag[0])
            snprintf(head->etag, sizeof head->etag, "%.*s", (int)(value.len < 64 ? value.len : 64), value.data);
    } else if (header_is(line, n, "content-range", &value)) {
        read_content_range(value, head);
    } else if (header_is(line, n, "content-length", &value)) {
        uint64_t total;
        /* Of a 200 only; Content-Range says it of a 206. */
        if (head->total == MG_TOTAL_UNKNOWN && take_number(&value, &total) && value.len == 0)
            head->total = total;
    } else if (header_is(line, n, "content-encoding", &value)) {
        transfer->encoded = value.len && !mg_span_is(value, "identity");
    }
    return n;
}

static bool tell_head(struct mg_transfer *transfer)
{
    if (transfer->told)
        return !transfer->stopped;
    transfer->told = true;
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    transfer->head.status = (int)status;
    if (transfer->encoded && (status == 200 || status == 206)) {
        mg_err_set(&transfer->stop, MG_E_FETCH, "%s compresses its answer, so that ranges cannot be read",
                   transfer->host);
        transfer->stopped = true;
    } else if (!transfer->events->head(transfer->context, &transfer->head, &transfer->stop)) {
        transfer->stopped = true;
    }
    return !transfer->stopped;
}

static size_t on_body(char *data, size_t size, size_t n, void *context)
{
    struct mg_transfer *transfer = context;
    n *= size;
    if (!transfer->raw && !tell_head(transfer))
        return 0;
    if (!transfer->raw && transfer->head.status != 200 && transfer->head.status != 206)
        return n; /* the text of an error */
    if (transfer->events->data(transfer->context, data, n, &transfer->stop))
        return n;
    transfer->stopped = true;
    return 0;
}

/* ---- The policy --------------------------------------------------------------------------------------- */

static curl_socket_t on_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct mg_transfer *transfer = context;
    if (purpose != CURLSOCKTYPE_IPCXN)
        return CURL_SOCKET_BAD;
    const struct mg_fetch_config *config = transfer->all->config;
    if (mg_egress_allowed(&address->addr, address->addrlen, config->allow) &&
        !mg_egress_listed(&address->addr, address->addrlen, config->deny))
        return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    const void *bytes = address->family == AF_INET6
                            ? (const void *)&((const struct sockaddr_in6 *)(const void *)&address->addr)->sin6_addr
                            : (const void *)&((const struct sockaddr_in *)(const void *)&address->addr)->sin_addr;
    if (!inet_ntop(address->family, bytes, transfer->refused, sizeof transfer->refused))
        snprintf(transfer->refused, sizeof transfer->refused, "an unknown address");
    return CURL_SOCKET_BAD;
}

enum mg_err mg_url_check(const char *url, char *host, size_t size, struct mg_errmsg *err)
{
    enum mg_err e = MG_E_ARGUMENT;
    char *scheme = NULL, *name = NULL;
    CURLU *parts = curl_url();
    if (!parts)
        return mg_err_set(err, MG_E_NOMEM, "no memory for a URL");
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            mg_err_set(err, e, "the URL has a blank or control character: escape it (%%20)");
            goto out;
        }
    if (curl_url_set(parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0)) {
        mg_err_set(err, e, "\"%.200s\" is not a URL", url);
        goto out;
    }
    if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        mg_err_set(err, e, "%.20s:// is not fetched; http:// and https:// are", scheme);
        goto out;
    }
    if (curl_url_get(parts, CURLUPART_HOST, &name, 0)) {
        mg_err_set(err, e, "\"%.200s\" names no host", url);
        goto out;
    }
    snprintf(host, size, "%s", name);
    e = MG_OK;
out:
    curl_free(scheme);
    curl_free(name);
    curl_url_cleanup(parts);
    return e;
}

/* ---- Start and end ------------------------------------------------------------------------------------ */

static void transfer_free(struct mg_transfer *transfer)
{
    if (transfer->easy)
        curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    free(transfer);
}

#define SET(option, value) ok = ok && curl_easy_setopt(easy, option, value) == CURLE_OK

/* What holds for every request: the policy, the limits, where the answer goes. */
static bool set_up(struct mg_transfer *transfer, const char *url)
{
    const struct mg_transfers *all = transfer->all;
    CURL *easy = transfer->easy;
    struct curl_blob ca = {all->ca.data, all->ca.len, CURL_BLOB_NOCOPY};
    bool tls = strncasecmp(url, "https:", 6) == 0, ok = true;
    SET(CURLOPT_URL, url);
    SET(CURLOPT_USERAGENT, "moongate/" MG_VERSION);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
    SET(CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_socket);
    SET(CURLOPT_OPENSOCKETDATA, transfer);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, transfer);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, transfer);
    SET(CURLOPT_PRIVATE, transfer);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    SET(CURLOPT_CAPATH, CA_FOLDER);
    if (all->ca.len)
        SET(CURLOPT_CAINFO_BLOB, &ca);
    return ok;
}

static bool add_header(struct mg_transfer *transfer, const char *line)
{
    struct curl_slist *more = curl_slist_append(transfer->headers, line);
    transfer->headers = more ? more : transfer->headers;
    return more != NULL;
}

static bool set_up_range(struct mg_transfer *transfer, uint64_t from, uint64_t to, const char *etag)
{
    CURL *easy = transfer->easy;
    char range[64], condition[300];
    bool ok = true;
    snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)from, (unsigned long long)to);
    if (etag && (etag[0] == '"' || strncmp(etag, "W/", 2) == 0)) {
        snprintf(condition, sizeof condition, "If-None-Match: %s", etag);
        ok = add_header(transfer, condition);
    }
    SET(CURLOPT_RANGE, range);
    SET(CURLOPT_HTTPHEADER, transfer->headers);
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_TIMEOUT, (long)transfer->all->config->timeout_s);
    return ok;
}

static bool set_up_ask(struct mg_transfer *transfer, const struct mg_transfer_ask *ask)
{
    CURL *easy = transfer->easy;
    bool get = strcmp(ask->method, "GET") == 0, head = strcmp(ask->method, "HEAD") == 0;
    bool post = strcmp(ask->method, "POST") == 0, typed = false;
    bool ok = add_header(transfer, "Expect:");
    for (const char *const *line = ask->headers; ok && *line; line++) {
        const char *colon = strchr(*line, ':');
        typed = typed || strncasecmp(*line, "content-type:", 13) == 0;
        if (colon && !colon[1 + strspn(colon + 1, " \t")]) { /* curl's way to say a header without a value */
            char empty[128];
            snprintf(empty, sizeof empty, "%.*s;", (int)(colon - *line), *line);
            ok = add_header(transfer, empty);
        } else {
            ok = add_header(transfer, *line);
        }
    }
    if (!typed) /* none of curl's own */
        ok = ok && add_header(transfer, "Content-Type:");
    SET(CURLOPT_HTTPHEADER, transfer->headers);
    SET(CURLOPT_ACCEPT_ENCODING, "");
    SET(CURLOPT_TIMEOUT_MS, (long)ask->timeout_ms);
    /* A method of its own would be kept by curl through every redirect. */
    SET(CURLOPT_FOLLOWLOCATION, ask->follow && (get || head || post) ? 1L : 0L);
    if (head) {
        SET(CURLOPT_NOBODY, 1L);
    } else if (get) {
        SET(CURLOPT_HTTPGET, 1L);
    } else if (post || ask->body.len) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ask->body.len);
        SET(CURLOPT_POSTFIELDS, ask->body.len ? ask->body.data : "");
    }
    if (!get && !head && !post)
        SET(CURLOPT_CUSTOMREQUEST, ask->method);
    return ok;
}
#undef SET

/* Takes the transfer: `ok` says whether it was set up. */
static enum mg_err launch(struct mg_transfer *transfer, bool ok, struct mg_errmsg *err)
{
    struct mg_transfers *transfers = transfer->all;
    if (!ok || curl_multi_add_handle(transfers->multi, transfer->easy) != CURLM_OK) {
        enum mg_err e = mg_err_set(err, MG_E_NOMEM, "no memory for a request to %s", transfer->host);
        transfer_free(transfer);
        return e;
    }
    transfer->next = transfers->first;
    transfers->first = transfer;
    return MG_OK;
}

static enum mg_err transfer_new(struct mg_transfers *transfers, const char *url, const struct mg_transfer_events *events,
                                void *context, struct mg_transfer **out, struct mg_errmsg *err)
{
    char host[256];
    enum mg_err e = mg_url_check(url, host, sizeof host, err);
    if (e)
        return e;
    struct mg_transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        return mg_err_set(err, MG_E_NOMEM, "no memory for a request to %s", host);
    *transfer = (struct mg_transfer){.all = transfers, .events = events, .context = context,
                                     .easy = curl_easy_init(), .head = {.total = MG_TOTAL_UNKNOWN}};
    memcpy(transfer->host, host, sizeof host);
    *out = transfer;
    return MG_OK;
}

enum mg_err mg_transfer_start(struct mg_transfers *transfers, const char *url, uint64_t from, uint64_t to,
                              const char *etag, const struct mg_transfer_events *events, void *context,
                              struct mg_errmsg *err)
{
    struct mg_transfer *transfer;
    enum mg_err e = transfer_new(transfers, url, events, context, &transfer, err);
    if (e)
        return e;
    return launch(transfer, transfer->easy && set_up(transfer, url) && set_up_range(transfer, from, to, etag), err);
}

enum mg_err mg_transfer_send(struct mg_transfers *transfers, const struct mg_transfer_ask *ask,
                             const struct mg_transfer_events *events, void *context, struct mg_errmsg *err)
{
    struct mg_transfer *transfer;
    enum mg_err e = transfer_new(transfers, ask->url, events, context, &transfer, err);
    if (e)
        return e;
    transfer->raw = true;
    return launch(transfer, transfer->easy && set_up(transfer, ask->url) && set_up_ask(transfer, ask), err);
}

static void unlist(struct mg_transfer *transfer)
{
    struct mg_transfer **at = &transfer->all->first;
    while (*at != transfer)
        at = &(*at)->next;
    *at = transfer->next;
    curl_multi_remove_handle(transfer->all->multi, transfer->easy);
}

static enum mg_err outcome(struct mg_transfer *transfer, CURLcode code, bool *sure, struct mg_errmsg *err)
{
    const char *host = transfer->host;
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (transfer->stopped || (code == CURLE_OK && !transfer->raw && !tell_head(transfer))) {
        *err = transfer->stop;
        return MG_E_CANCELLED;
    }
    *sure = false;
    switch (code) {
    case CURLE_OK:
        break;
    case CURLE_COULDNT_CONNECT:
        if (!transfer->refused[0])
            return mg_err_set(err, MG_E_FETCH, "%s refuses connections", host);
        *sure = true;
        return mg_err_set(err, transfer->raw ? MG_E_EGRESS : MG_E_FETCH,
                          "%s leads to %s, which is not a public address; the operator can allow it "
                          "(--allow-egress %s)",
                          host, transfer->refused, transfer->refused);
    case CURLE_COULDNT_RESOLVE_HOST:
        return mg_err_set(err, MG_E_FETCH, "%s: no such host", host);
    case CURLE_OPERATION_TIMEDOUT:
        return mg_err_set(err, transfer->raw ? MG_E_FETCH_TIMEOUT : MG_E_FETCH, "%s does not answer in time", host);
    case CURLE_TOO_MANY_REDIRECTS:
        return mg_err_set(err, MG_E_FETCH, "%s redirects more than %d times", host, MAX_REDIRECTS);
    case CURLE_UNSUPPORTED_PROTOCOL:
        *sure = true;
        return mg_err_set(err, transfer->raw ? MG_E_EGRESS : MG_E_FETCH, "%s redirects to a protocol that is not allowed", host);
    case CURLE_PEER_FAILED_VERIFICATION:
        *sure = true;
        return mg_err_set(err, MG_E_FETCH,
                          "the certificate of %s cannot be trusted; --egress-ca names further authorities", host);
    default:
        return mg_err_set(err, MG_E_FETCH, "%s: %s", host, curl_easy_strerror(code));
    }
    if (transfer->raw || status == 200 || status == 206 || status == 304 || status == 416)
        return MG_OK;
    *sure = status >= 400 && status < 500 && status != 408 && status != 429;
    return mg_err_set(err, MG_E_FETCH, "%s answers with status %ld", host, status);
}

static void finish(CURLMsg *message)
{
    struct mg_transfer *transfer;
    CURLcode code = message->data.result;
    if (curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer))
        return;
    struct mg_errmsg err = {""};
    bool sure = false;
    enum mg_err e = outcome(transfer, code, &sure, &err);
    if (transfer->raw) {
        long status = 0;
        const char *url = NULL;
        curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(transfer->easy, CURLINFO_EFFECTIVE_URL, &url);
        transfer->events->end(transfer->context, (int)status, url);
    }
    unlist(transfer);
    transfer->events->done(transfer->context, e, sure, &err);
    transfer_free(transfer);
}

void mg_transfers_step(struct mg_transfers *transfers, const int *fds, size_t n_fds, int ms)
{
    struct curl_waitfd extra[4];
    unsigned n = 0;
    int running;
    for (size_t i = 0; i < n_fds && n < sizeof extra / sizeof *extra; i++)
        if (fds[i] >= 0)
            extra[n++] = (struct curl_waitfd){.fd = fds[i], .events = CURL_WAIT_POLLIN};
    curl_multi_poll(transfers->multi, extra, n, ms, NULL);
    curl_multi_perform(transfers->multi, &running);
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(transfers->multi, &left)))
        if (message->msg == CURLMSG_DONE)
            finish(message);
}

static enum mg_err read_ca(const char *path, struct mg_buf *out, struct mg_errmsg *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mg_err_set(err, MG_E_NO_FILE, "--egress-ca %s: %s", path, strerror(errno));
    for (;;) {
        char *room = mg_buf_room(out, 16 << 10);
        ssize_t n = room ? read(fd, room, 16 << 10) : -1;
        if (n <= 0)
            break;
        out->len += (size_t)n;
    }
    close(fd);
    if (!out->len || out->failed)
        return mg_err_set(err, MG_E_BAD_FILE, "--egress-ca %s holds no certificates (PEM)", path);
    return MG_OK;
}

enum mg_err mg_transfers_new(const struct mg_fetch_config *config, struct mg_transfers **out, struct mg_errmsg *err)
{
    struct mg_transfers *transfers = calloc(1, sizeof *transfers);
    if (!transfers)
        return mg_err_set(err, MG_E_NOMEM, "no memory for requests");
    transfers->config = config;
    mg_buf_init(&transfers->ca, CA_MAX);
    enum mg_err e = config->ca_file ? read_ca(config->ca_file, &transfers->ca, err) : MG_OK;
    if (!e && (curl_global_init(CURL_GLOBAL_DEFAULT) || !(transfers->multi = curl_multi_init())))
        e = mg_err_set(err, MG_E_INTERNAL, "libcurl does not start");
    if (e) {
        mg_transfers_free(&transfers);
        return e;
    }
    curl_multi_setopt(transfers->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)PER_HOST);
    curl_multi_setopt(transfers->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)TOTAL);
    *out = transfers;
    return MG_OK;
}

void mg_transfers_free(struct mg_transfers **transfers_at)
{
    struct mg_transfers *transfers = *transfers_at;
    *transfers_at = NULL;
    if (!transfers)
        return;
    while (transfers->first) {
        struct mg_transfer *transfer = transfers->first;
        unlist(transfer);
        transfer_free(transfer);
    }
    if (transfers->multi)
        curl_multi_cleanup(transfers->multi);
    mg_buf_fini(&transfers->ca);
    free(transfers);
}
