/* Parameters of query strings, forms and JSON bodies: decoded strictly, or refused with a reason. */
#include "serve/app.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct mg_http_request request_of(const char *method, const char *query, const char *type, const char *body,
                                         struct mg_http_header *header)
{
    *header = (struct mg_http_header){MG_SPAN("content-type"), mg_span(type)};
    return (struct mg_http_request){.method = mg_span(method), .query = mg_span(query), .body = mg_span(body),
                                    .headers = header, .n_headers = type != NULL};
}

/* "name=text" of each, joined by '|'. */
static void print(const struct mg_query *query, char *out, size_t size)
{
    size_t len = 0;
    out[0] = 0;
    for (size_t i = 0; i < query->n && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, "%s%.*s=%.*s", i ? "|" : "", (int)query->given[i].name.len,
                                query->given[i].name.data, (int)query->given[i].text.len,
                                query->given[i].text.data ? query->given[i].text.data : "");
}

static void parses(void **state)
{
    static const struct {
        const char *method, *query, *type, *body;
        enum mg_err err;
        const char *expected, *sentence;
    } rows[] = {
        {"GET", NULL, NULL, NULL, MG_OK, "", "no query"},
        {"GET", "", NULL, NULL, MG_OK, "", "an empty query"},
        {"GET", "a=1&b=2", NULL, NULL, MG_OK, "a=1|b=2", "two parameters"},
        {"GET", "a=1%26b=2", NULL, NULL, MG_OK, "a=1&b=2", "an escaped & belongs to the value"},
        {"GET", "a=b=c", NULL, NULL, MG_OK, "a=b=c", "only the first = divides"},
        {"GET", "a&b=&&=c", NULL, NULL, MG_OK, "a=|b=|=c", "no value, an empty one, no name"},
        {"GET", "%61=%C3%a4+x%2Bx", NULL, NULL, MG_OK, "a=\xc3\xa4 x+x", "escapes, of either case, and plus"},
        {"GET", "a=%", NULL, NULL, MG_E_INVALID, "", "a broken escape at the end"},
        {"GET", "a=%4", NULL, NULL, MG_E_INVALID, "", "half an escape"},
        {"GET", "a=%zz", NULL, NULL, MG_E_INVALID, "", "no hex digits"},
        {"GET", "%zz=1", NULL, NULL, MG_E_INVALID, "", "a broken name"},
        {"GET", "a=x%00y", NULL, NULL, MG_E_INVALID, "", "a NUL"},
        {"GET", "a=1", "application/json", "{\"b\":2}", MG_OK, "a=1", "the body of a GET is nothing"},
        {"POST", "a=1", "application/json; charset=utf-8", "{\"b\":\"x\"}", MG_OK, "a=1|b=x", "a query and a JSON body"},
        {"POST", NULL, NULL, "{\"b\":\"x\"}", MG_OK, "b=x", "JSON without its type"},
        {"POST", NULL, "application/json", "{\"i\":512,\"d\":0.5,\"t\":true,\"n\":null}", MG_OK, "i=512|d=0.5|t=true|n=",
         "numbers and booleans have a text, too"},
        {"POST", "a=1", "application/x-www-form-urlencoded", "b=%20", MG_OK, "a=1|b= ", "a form"},
        {"POST", NULL, "application/json", "", MG_OK, "", "an empty body"},
        {"POST", NULL, "application/json", "[1]", MG_E_INVALID, "", "JSON, but no object"},
        {"POST", NULL, "application/json", "{\"a\":", MG_E_INVALID, "", "half a JSON"},
        {"POST", NULL, "application/json", "{\"a\":1,\"a\":2}", MG_E_INVALID, "", "the same name twice"},
        {"POST", NULL, "text/plain", "hi", MG_E_MEDIA_TYPE, "", "a type that is no list of parameters"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_http_header header;
        struct mg_http_request request = request_of(rows[i].method, rows[i].query, rows[i].type, rows[i].body, &header);
        struct mg_query query;
        struct mg_errmsg err = {0};
        char got[300] = "";
        enum mg_err status = mg_query_parse(&query, &request, &err);
        if (!status)
            print(&query, got, sizeof got);
        if (status != rows[i].err || strcmp(got, rows[i].expected) != 0 || (status && !err.text[0]))
            fail_msg("%s: %s, %s (%s)", rows[i].sentence, mg_err_name(status), got, err.text);
        if (!status)
            mg_query_free(&query);
    }
}

static void limits(void **state)
{
    struct mg_buf text;
    struct mg_query query;
    struct mg_http_header header;
    (void)state;
    for (int n = MG_MAX_GIVEN; n <= MG_MAX_GIVEN + 1; n++) {
        mg_buf_init(&text, 0);
        for (int i = 0; i < n; i++)
            mg_buf_printf(&text, "%sp%d=%d", i ? "&" : "", i, i);
        struct mg_http_request request = request_of("GET", text.data, NULL, NULL, &header);
        enum mg_err status = mg_query_parse(&query, &request, NULL);
        assert_int_equal(status, n == MG_MAX_GIVEN ? MG_OK : MG_E_INVALID);
        if (!status)
            mg_query_free(&query);
        mg_buf_fini(&text);
    }
    char *large = malloc((1 << 20) + 10);
    memset(large, ' ', (1 << 20) + 9);
    large[0] = '{';
    large[(1 << 20) + 8] = '}';
    large[(1 << 20) + 9] = 0;
    struct mg_http_request request = request_of("POST", NULL, "application/json", large, &header);
    assert_int_equal(mg_query_parse(&query, &request, NULL), MG_E_TOO_LARGE);
    free(large);
}

/* Every byte behind a %, and every cut of a mixed query: never more than the text, never a crash. */
static void never_beyond(void **state)
{
    static const char mixed[] = "a=%41%2&b=%C3%A4+&c=%&%=&=%25%";
    struct mg_http_header header;
    (void)state;
    for (size_t len = 0; len < sizeof mixed; len++) {
        char *cut = malloc(len ? len : 1); /* no terminator: a read beyond is seen by Asan */
        memcpy(cut, mixed, len);
        struct mg_http_request request = request_of("GET", NULL, NULL, NULL, &header);
        request.query = (struct mg_span){cut, len};
        struct mg_query query;
        if (mg_query_parse(&query, &request, NULL) == MG_OK)
            mg_query_free(&query);
        free(cut);
    }
}

static void segments(void **state)
{
    static const struct {
        const char *raw, *expected, *sentence;
    } rows[] = {
        {"Hello", "Hello", "as it is"},
        {"a%40b", "a@b", "an escape"},
        {"a+b", "a+b", "a plus is a plus in a path"},
        {"a%2fb", "a/b", "a slash that divides nothing"},
        {"a%00b", NULL, "a NUL"},
        {"a%2", NULL, "half an escape"},
        {"0123456789abcdef", NULL, "more than there is room for"},
        {"", "", "nothing"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[16] = "";
        bool good = mg_decode_segment(mg_span(rows[i].raw), out, sizeof out);
        if (good != (rows[i].expected != NULL) || (good && strcmp(out, rows[i].expected) != 0))
            fail_msg("%s: %s", rows[i].sentence, out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parses), cmocka_unit_test(limits),
                                       cmocka_unit_test(never_beyond), cmocka_unit_test(segments)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
