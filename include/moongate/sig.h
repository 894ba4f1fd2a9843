/* Signature records: what the front must know of a UDF without running Lua, and coercion by it.
 *
 * A describe run makes the record once for each code hash, as JSON:
 *   {"params":[{"name":"low","type":"number","required":false,"optional":false,"default":-0.2,
 *               "min":…,"max":…,"values":["a","b"],"doc":"…"}],
 *    "varargs":false, "doc":"…", "max_age":"12h" or seconds, "timeout_s":n}
 * `type` is one of bounds tile integer number boolean string list table geometry date enum any; a key without
 * meaning for the type is left out. Any thread; immutable after parsing. */
#ifndef MOONGATE_SIG_H
#define MOONGATE_SIG_H

#include "moongate/json.h"
#include "moongate/run_wire.h"

enum mg_type { MG_T_BOUNDS, MG_T_TILE, MG_T_INTEGER, MG_T_NUMBER, MG_T_BOOLEAN, MG_T_STRING, MG_T_LIST, MG_T_TABLE,
               MG_T_GEOMETRY, MG_T_DATE, MG_T_ENUM, MG_T_ANY, MG_TYPE_COUNT };

struct mg_param {
    char name[64];
    enum mg_type type;
    bool required, optional, has_default, has_min, has_max;
    double min, max;
    json_t *fallback; /* the default, as JSON */
    char **values;    /* of an enum, NULL-terminated */
    char *doc;
};
struct mg_sig {
    struct mg_param *params;
    size_t n_params;
    bool varargs;
    char *doc;
    int64_t max_age_s; /* asked for by the UDF; -1: not */
    int64_t timeout_s; /* 0: the default */
};
MG_MUST_CHECK enum mg_err mg_sig_parse(struct mg_span json, struct mg_sig **out, struct mg_errmsg *err);
void mg_sig_free(struct mg_sig **sig);
/* "bounds" for MG_T_BOUNDS. Static. */
const char *mg_type_name(enum mg_type type);

/* One parameter as it came: text from a query, or JSON from a body. */
struct mg_given {
    struct mg_span name;
    struct mg_span text;
    const json_t *json; /* or NULL */
};
struct mg_call {
    const struct mg_given *given;
    size_t n_given;
    bool has_tile;           /* from the path, or from x, y, z */
    int z, x, y, tile_size;
    const double *view;      /* bounds of the view state (4 doubles), or NULL */
    const char *example_url; /* for the 422 of missing bounds, or NULL */
};
/* Coerces all given parameters and fills in defaults. `args` and `extra` get packs (run_wire.h): the same bytes for
 * the same values whatever their order, and whether a default is spelt out or not. On MG_E_PARAMETER `detail` gets
 * the JSON list [{"loc":["query","name"],"msg":…,"type":…,"input":…}] with every mistake. Names in the table of
 * reserved names are passed over (the caller took them out or means them to be ignored). */
MG_MUST_CHECK enum mg_err mg_sig_coerce(const struct mg_sig *sig, const struct mg_call *call, struct mg_buf *args,
                                        struct mg_buf *extra, struct mg_buf *detail, struct mg_errmsg *err);
/* "90s", "12h", "1d", "15m", "2w", "0", seconds; at most a century; false when malformed. */
bool mg_duration_parse(struct mg_span text, int64_t *seconds);
/* format, dtype_out_vector, dtype_out_raster, cache_max_age, size, tms, _cache_id …: never parameters of a UDF. */
bool mg_reserved_name(struct mg_span name);
/* _ , utm_*, access_token: passed over, never counted as unknown nor part of the key. */
bool mg_ignored_name(struct mg_span name);

#endif
