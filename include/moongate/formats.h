/* The list of formats as people and programs read it: /formats, `moongate formats` and the README's table, all from the
 * rows of the registry. Any process, any thread. */
#ifndef MOONGATE_FORMATS_H
#define MOONGATE_FORMATS_H

#include "moongate/codec.h"
#include "moongate/json.h"

/* {"formats": [{name, aliases, mime, extension, kinds, options: [{name, type, min, max, values, default, help}] …}]}.
 * Returns new. */
json_t *mg_formats_json(void);
/* A page. */
void mg_formats_html(struct mg_buf *out);
/* The README's table. */
void mg_formats_markdown(struct mg_buf *out);
/* "raster, table" and the like. */
void mg_format_kinds(const struct mg_codec *codec, const char *separator, struct mg_buf *out);
/* "whole number from 1 to 100, default 85". */
void mg_option_describe(const struct mg_option *option, struct mg_buf *out);

#endif
