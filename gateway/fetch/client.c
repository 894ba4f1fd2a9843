/* One request by libcurl, and its answer in memory. Redirects are not followed: a token is sent to
 * the server that was named and to no other. */
#include "moongate/client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <strings.h>

enum { ANSWER_MAX = 64 << 20, CONNECT_S = 10, TOTAL_S = 120 };

static size_t take_body(char *bytes, size_t size, size_t n, void *context)
{
    struct mg_buf *body = context;
    mg_buf_put(body, bytes, size * n);
    return body->failed ? 0 : size * n;
}

static size_t take_header(char *bytes, size_t size, size_t n, void *context)
{
    struct mg_client_answer *answer = context;
    size_t len = size * n;
    if (len > 5 && strncasecmp(bytes, "etag:", 5) == 0) {
        size_t from = 5;
        while (from < len && bytes[from] == ' ')
            from++;
        while (len > from && (bytes[len - 1] == '\r' || bytes[len - 1] == '\n'))
            len--;
        snprintf(answer->etag, sizeof answer->etag, "%.*s", (int)(len - from), bytes + from);
    }
    return size * n;
}

static struct curl_slist *header(struct curl_slist *list, const char *name, const char *value)
{
    char line[512];
    if (!value || snprintf(line, sizeof line, "%s%s", name, value) >= (int)sizeof line)
        return list;
    struct curl_slist *longer = curl_slist_append(list, line);
    return longer ? longer : list;
}

enum mg_err mg_client_do(const struct mg_client_call *call, struct mg_client_answer *answer,
                         struct mg_errmsg *err)
{
    char why[CURL_ERROR_SIZE] = "";
    long status = 0;
    *answer = (struct mg_client_answer){0};
    mg_buf_init(&answer->body, ANSWER_MAX);
    CURL *curl = curl_easy_init();
    if (!curl)
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    struct curl_slist *headers = header(NULL, "Authorization: Bearer ", call->token);
    headers = header(headers, "Content-Type: ", call->content_type);
    headers = header(headers, "If-Match: ", call->if_match);
    headers = header(headers, "Expect:", "");
    curl_easy_setopt(curl, CURLOPT_URL, call->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TOTAL_S);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer->body);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
    if (call->content_type) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body.data ? call->body.data : "");
    }
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    if (rc != CURLE_OK)
        return mg_err_set(err, MG_E_FETCH, "%s: %s", call->url,
                          *why ? why : curl_easy_strerror(rc));
    return MG_OK;
}
