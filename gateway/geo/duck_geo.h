/* What the ST_ functions and aggregates share: one GEOS context, its last words, WKB in and out. */
#ifndef MOONGATE_GEO_DUCK_GEO_H
#define MOONGATE_GEO_DUCK_GEO_H

#include "duck.h"

#include <geos_c.h>

extern struct duck_geos {
    GEOSContextHandle_t context;
    GEOSWKBReader *reader;
    GEOSWKBWriter *writer;
    char error[300]; /* of the last failure, or "" */
} duck_geos;

/* Checks and reads; false with the reason in duck_geos.error. Gives a new geometry. */
bool duck_geos_parse(struct mg_span wkb, GEOSGeometry **out);
/* Writes the geometry into a row of the result. */
bool duck_geos_put(struct duck_vector *out, uint64_t row, GEOSGeometry *g);
/* Makes a row null; `validity` is kept from row to row, NULL at first. */
void duck_set_null(struct duck_vector *out, uint64_t **validity, uint64_t row);
MG_MUST_CHECK enum mg_err duck_geo_register_aggregates(struct duck_con *con, struct mg_errmsg *err);

#endif
