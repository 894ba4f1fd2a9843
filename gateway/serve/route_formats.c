/* GET /formats: the registry's list, JSON for programs and a page for browsers. Open to anyone: it says nothing of
 * anybody's data. */
#include "app.h"
#include "negotiate.h"

#include "moongate/formats.h"

#include <stdlib.h>

/* By ?format=, else by Accept. False: something else was asked for. */
static bool choose(const struct mg_http_request *request, bool *html)
{
    struct mg_span query = request->query, item;
    *html = mg_accepts_html_first(mg_http_header(request, "accept"));
    while (mg_span_cut(&query, '&', &item)) {
        struct mg_span name;
        mg_span_cut(&item, '=', &name);
        if (!mg_span_is(name, "format"))
            continue;
        *html = mg_span_is(item, "html");
        if (!*html && !mg_span_is(item, "json"))
            return false;
    }
    return true;
}

void mg_route_formats(struct mg_exchange *exchange)
{
    bool html;
    struct mg_buf body;
    struct mg_reply reply;
    exchange->shared = true;
    if (!choose(exchange->request, &html)) {
        mg_reply_error(exchange, MG_E_PARAMETER, "format: json or html is expected", (struct mg_span){0});
        return;
    }
    mg_buf_init(&body, 0);
    if (html) {
        mg_formats_html(&body);
    } else {
        json_t *list = mg_formats_json();
        mg_json_write(list, &body);
        mg_buf_char(&body, '\n');
        json_decref(list);
    }
    if (body.failed) {
        mg_buf_fini(&body);
        mg_reply_error(exchange, MG_E_NOMEM, mg_err_text(MG_E_NOMEM), (struct mg_span){0});
        return;
    }
    mg_reply_init(&reply, 200);
    size_t len = body.len;
    free(exchange->memory);
    exchange->memory = mg_buf_take(&body, NULL);
    reply.response.body = (struct mg_span){exchange->memory, len};
    mg_reply_header(&reply, "content-type",
                    html ? MG_SPAN("text/html; charset=utf-8") : MG_SPAN("application/json; charset=utf-8"));
    mg_reply_header(&reply, "cache-control", MG_SPAN("no-cache"));
    mg_reply_header(&reply, "vary", MG_SPAN("Accept"));
    if (html)
        mg_reply_header(&reply, "content-security-policy",
                        MG_SPAN("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"));
    mg_reply_send(exchange, &reply);
}
