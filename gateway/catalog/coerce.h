/* Coercion of one value: what the types share. Each mistake is one enum-free row: pydantic's name of the type of
 * mistake (Fused's clients know them) and a sentence. */
#ifndef MOONGATE_CATALOG_COERCE_H
#define MOONGATE_CATALOG_COERCE_H

#include "moongate/sig.h"
#include "moongate/tile.h"

enum { COERCE_TEXT_MAX = 64 << 10, COERCE_JSON_MAX = 512 << 10 };

/* A value as it came: JSON (then `text` is not looked at) or text; `more` are further texts of the same name. */
struct value {
    const json_t *json;
    struct mg_span text;
    const struct mg_given *all; /* every given parameter, to find repeated ones, or NULL */
    size_t n_all;
    struct mg_span name;        /* of the repeated ones */
};
struct mistake {
    const char *type; /* "int_parsing" */
    char msg[256];
};

/* Appends kind and value of an argument (run_wire.h) to `out`; false with *mistake filled in (and `out` spoilt). */
bool coerce_value(const struct mg_param *param, const struct value *value, struct mg_buf *out,
                  struct mistake *mistake);
bool coerce_wrong(struct mistake *mistake, const char *type, const char *format, ...) MG_PRINTF(3, 4);

/* coerce_bounds.c */
bool coerce_bounds(const struct value *value, struct mg_bounds *out, struct mistake *mistake);
/* coerce_geometry.c: canonical WKT or GeoJSON text. */
bool coerce_geometry(const struct value *value, struct mg_buf *out, struct mistake *mistake);
/* Bounding box of a GeoJSON object's coordinates; false when it has none or is no GeoJSON. */
bool coerce_geojson_bounds(const json_t *geojson, struct mg_bounds *out);
/* coerce_date.c: "2024-02-29" or "2024-02-29T12:00:00Z" (UTC, fraction without trailing zeros). */
enum { COERCE_DATE_MAX = 64 };
bool coerce_date(struct mg_span text, char out[COERCE_DATE_MAX]);

/* Blanks of both ends cut off: '+' in a query is a blank. */
struct mg_span coerce_trim(struct mg_span text);
/* Decimal, finite; no hex, no NaN. */
bool coerce_number(struct mg_span text, double *out);
bool coerce_utf8(struct mg_span text);
/* JSON from text; only when its first byte is one of `starts`. NULL when it is none. Returns new. */
json_t *coerce_parse(struct mg_span text, const char *starts, struct mg_errmsg *why);

#endif
