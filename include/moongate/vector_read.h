/* Reading vectors through OGR into a table, with bounds, columns, where and limit.
 * A warm worker keeps recently read local layers (columnar, with a spatial index) within a memory bound, keyed by
 * path, size and mtime. Worker process only; single thread. */
#ifndef MOONGATE_VECTOR_READ_H
#define MOONGATE_VECTOR_READ_H

#include "moongate/table.h"

struct mg_vector_options {
    const char *layer;                /* NULL: the only one (of several: the error lists them); "": the first */
    const struct mg_bounds *degrees;  /* NULL: everything */
    const char *const *columns;       /* NULL: all; NULL-terminated otherwise; the geometry always comes */
    const char *where;                /* OGR SQL WHERE, NULL: none */
    int64_t limit;                    /* 0: no limit of the caller's; ours is max_rows */
    int64_t max_rows;                 /* more rows are MG_E_UDF_OUTPUT */
    const char *source_crs;           /* for a file that has none */
};
struct mg_vector_info {
    char driver[32], layer[128], crs[4096];
    int64_t rows; /* -1: not known cheaply */
    struct mg_bounds degrees;
    char columns[2048]; /* names, comma-separated */
};
/* `path` is a GDAL path. MG_E_NO_FILE, MG_E_BAD_FILE, MG_E_ARGUMENT (unknown column or bad where), MG_E_NO_CRS. */
MG_MUST_CHECK enum mg_err mg_vector_info(const char *path, const char *layer, struct mg_vector_info *out,
                                         struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_vector_read(const char *path, const struct mg_vector_options *options,
                                         struct mg_table **out, struct mg_errmsg *err);

/* From now on layers that are read whole are kept as files in this folder, for all workers that have it; -1: not so.
 * The descriptor stays the caller's. */
void mg_vector_keep_in(int dirfd);

#endif
