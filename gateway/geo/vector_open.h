/* An open layer of a vector file, and reading it whole or filtered into a table of ours.
 * Worker process only; single thread. */
#ifndef MOONGATE_GEO_VECTOR_OPEN_H
#define MOONGATE_GEO_VECTOR_OPEN_H

#include "moongate/gdal.h"
#include "moongate/table.h"

#include <ogr_api.h>

struct vector_source {
    GDALDatasetH dataset;
    OGRLayerH layer;
    char name[256];     /* of the file, as the user wrote it */
    char crs[4096];     /* "" when the layer has no geometry, or none is known */
    char geometry[128]; /* name of the geometry column in the stream; "": none */
    bool fid;           /* the layer has a named FID column */
};
/* MG_E_NO_FILE, MG_E_BAD_FILE, MG_E_ARGUMENT (no such layer, or several and none named). */
MG_MUST_CHECK enum mg_err vector_open(const char *path, const char *layer, const char *source_crs,
                                      struct vector_source *out, struct mg_errmsg *err);
void vector_close(struct vector_source *source);
/* MG_E_ARGUMENT with OGR's words and the columns that are there. */
MG_MUST_CHECK enum mg_err vector_where(struct vector_source *source, const char *where,
                                       struct mg_errmsg *err);
/* Reads what the layer's filters let through, at most max_rows (more: MG_E_UDF_OUTPUT) and
 * max_bytes (more: MG_E_TOO_LARGE). The geometry column is named "geometry" where that name is
 * free. Returns new, one batch. */
MG_MUST_CHECK enum mg_err vector_stream(struct vector_source *source, int64_t max_rows,
                                        size_t max_bytes, struct mg_table **out,
                                        struct mg_errmsg *err);
/* Names of the layer's columns, comma-separated. */
void vector_columns(const struct vector_source *source, char *out, size_t size);

#endif
