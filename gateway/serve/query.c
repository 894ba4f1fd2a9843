/* Parameters: query string, form body and JSON body as one list of names with text or JSON.
 *
 * Decoding is strict: a broken %-escape, a NUL or more than 256 parameters is an error and never guessed at. */
#include "app.h"

#include <stdlib.h>

enum { MAX_BODY = 1 << 20 };

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes to `out` (room for raw.len); the length, or -1. */
static ptrdiff_t decode(struct mg_span raw, bool plus, char *out)
{
    char *at = out;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.data[i];
        if (c == '%') {
            int high = i + 2 < raw.len ? hex(raw.data[i + 1]) : -1;
            int low = i + 2 < raw.len ? hex(raw.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (!c)
            return -1;
        *at++ = c;
    }
    return at - out;
}

bool mg_decode_segment(struct mg_span raw, char *out, size_t size)
{
    if (raw.len >= size)
        return false;
    ptrdiff_t len = decode(raw, false, out);
    if (len < 0)
        return false;
    out[len] = 0;
    return true;
}

static enum mg_err add_pairs(struct mg_query *query, struct mg_span pairs, char **at, struct mg_errmsg *err)
{
    struct mg_span pair;
    while (mg_span_cut(&pairs, '&', &pair)) {
        if (!pair.len)
            continue;
        if (query->n == MG_MAX_GIVEN)
            return mg_err_set(err, MG_E_INVALID, "more than %d parameters", MG_MAX_GIVEN);
        struct mg_span value = pair, name;
        mg_span_cut(&value, '=', &name);
        ptrdiff_t name_len = decode(name, true, *at);
        if (name_len < 0)
            return mg_err_set(err, MG_E_INVALID, "the name of a parameter has a broken %%-escape: %.*s",
                              name.len < 80 ? (int)name.len : 80, name.data);
        struct mg_given *given = &query->given[query->n];
        *given = (struct mg_given){.name = {*at, (size_t)name_len}};
        *at += name_len;
        ptrdiff_t value_len = value.data ? decode(value, true, *at) : 0;
        if (value_len < 0)
            return mg_err_set(err, MG_E_INVALID, "the value of %.*s has a broken %%-escape",
                              name.len < 80 ? (int)name.len : 80, name.data);
        given->text = (struct mg_span){*at, (size_t)value_len};
        *at += value_len;
        query->n++;
    }
    return MG_OK;
}

static enum mg_err add_json(struct mg_query *query, struct mg_span body, struct mg_errmsg *err)
{
    if (body.len > MAX_BODY)
        return mg_err_set(err, MG_E_TOO_LARGE, "the body: parameters of at most %d bytes are expected", MAX_BODY);
    enum mg_err status = mg_json_parse(body, MAX_BODY, &query->body, err);
    if (status)
        return mg_err_prefix(err, status, "the body");
    if (!json_is_object(query->body))
        return mg_err_set(err, MG_E_INVALID, "the body: a JSON object of parameters is expected");
    const char *name;
    json_t *value;
    /* Numbers as text: at most 32 bytes each, so that the buffer never moves. */
    if (!mg_buf_room(&query->numbers, 32 * (json_object_size(query->body) + 1)))
        return MG_E_NOMEM;
    json_object_foreach(query->body, name, value)
    {
        if (query->n == MG_MAX_GIVEN)
            return mg_err_set(err, MG_E_INVALID, "more than %d parameters", MG_MAX_GIVEN);
        struct mg_span text = {json_string_value(value), json_string_length(value)};
        if (json_is_number(value) || json_is_boolean(value)) {
            size_t at = query->numbers.len;
            mg_json_write(value, &query->numbers);
            text = (struct mg_span){query->numbers.data + at, query->numbers.len - at};
        }
        query->given[query->n++] = (struct mg_given){.name = mg_span(name), .text = text, .json = value};
    }
    return MG_OK;
}

enum mg_err mg_query_parse(struct mg_query *query, const struct mg_http_request *request, struct mg_errmsg *err)
{
    bool post = mg_span_is(request->method, "POST");
    struct mg_span type = mg_http_header(request, "content-type");
    bool form = post && mg_span_starts(type, "application/x-www-form-urlencoded");
    query->n = 0;
    query->body = NULL;
    mg_buf_init(&query->numbers, 0);
    query->text = malloc(request->query.len + (form ? request->body.len : 0) + 1);
    if (!query->text)
        return MG_E_NOMEM;
    char *at = query->text;
    enum mg_err status = add_pairs(query, request->query, &at, err);
    if (!status && post && request->body.len) {
        if (form)
            status = add_pairs(query, request->body, &at, err);
        else if (mg_span_starts(type, "application/json") || !type.len)
            status = add_json(query, request->body, err);
        else
            status = mg_err_set(err, MG_E_MEDIA_TYPE,
                                "the body: Content-Type application/json (an object of parameters) is expected");
    }
    if (status)
        mg_query_free(query);
    return status;
}

void mg_query_free(struct mg_query *query)
{
    free(query->text);
    query->text = NULL;
    json_decref(query->body);
    query->body = NULL;
    mg_buf_fini(&query->numbers);
    query->n = 0;
}

struct mg_span mg_query_text(const struct mg_query *query, const char *name)
{
    for (size_t i = 0; i < query->n; i++)
        if (mg_span_is(query->given[i].name, name))
            return query->given[i].text.data ? query->given[i].text : (struct mg_span){"", 0};
    return (struct mg_span){0};
}
