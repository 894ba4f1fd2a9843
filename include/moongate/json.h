/* JSON for reading configuration, parameters and manifests, by Jansson, with limits. The hot writers
 * (codecs) use buf.h instead. Any thread, any process; never for Lua values (they go through lua-cjson). */
#ifndef MOONGATE_JSON_H
#define MOONGATE_JSON_H

#include "moongate/buf.h"

#include <jansson.h>

/* Parses one value of any type: duplicate keys refused, at most `max_bytes`. Returns new (json_decref) in
 * `out`; MG_E_INVALID with line, column and reason. */
MG_MUST_CHECK enum mg_err mg_json_parse(struct mg_span text, size_t max_bytes, json_t **out, struct mg_errmsg *err);
/* Canonical text: keys sorted, no blanks, shortest numbers; equal values give equal bytes. */
void mg_json_write(const json_t *value, struct mg_buf *out);
/* The string at object[key], or `fallback`. Borrowed from the value. */
const char *mg_json_str(const json_t *object, const char *key, const char *fallback);

#endif
