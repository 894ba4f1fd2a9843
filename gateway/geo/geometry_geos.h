/* The one GEOS context behind geometry.h, for the files that work on whole tables of shapes. Single thread.
 */
#ifndef MOONGATE_GEO_GEOMETRY_GEOS_H
#define MOONGATE_GEO_GEOMETRY_GEOS_H

#include "moongate/geometry.h"

#include <geos_c.h>

extern GEOSContextHandle_t geos_context; /* after geos_need */

/* Makes the context when there is none; forgets the last error. */
MG_MUST_CHECK enum mg_err geos_need(struct mg_errmsg *err);
/* Checks the WKB, then reads it. Returns new. */
MG_MUST_CHECK enum mg_err geos_read(struct mg_span wkb, GEOSGeometry **out, struct mg_errmsg *err);
/* Writes the geometry behind what is in `out`, and frees it; NULL is the failure of `what`. */
MG_MUST_CHECK enum mg_err geos_finish(GEOSGeometry *made, const char *what, struct mg_buf *out,
                                      struct mg_errmsg *err);
/* The error of GEOS's last words, said of `what`. */
enum mg_err geos_failed(struct mg_errmsg *err, const char *what);
/* Replaces the geometry with a valid one, where it is not. */
void geos_make_valid(GEOSGeometry **geometry);

#endif
