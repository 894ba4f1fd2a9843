/* A version of a UDF while it is made. */
#ifndef MOONGATE_CATALOG_UDF_H
#define MOONGATE_CATALOG_UDF_H

#include "catalog.h"

/* meta.json into udf (name set): meta, description, type, view. MG_E_UDF_BROKEN. */
MG_MUST_CHECK enum mg_err catalog_read_meta(struct mg_span text, struct mg_udf *udf, struct mg_errmsg *err);
/* Degrees around a view state, for a window of 1024 x 768 pixels and tiles of 512. */
void catalog_view_bounds(double lng, double lat, double zoom, double out[4]);

/* One reference, broken until finished; NULL without memory. */
struct mg_udf *catalog_udf_new(struct mg_span name, const char *dir, const char *source);
struct mg_udf *catalog_udf_ref(struct mg_udf *udf);
/* Bundle, hash and meta from files (sorted by name; meta.json among them). Sets udf->broken on failure. */
struct catalog_file {
    char name[256];
    struct mg_buf bytes;
};
MG_MUST_CHECK enum mg_err catalog_udf_finish(struct mg_udf *udf, struct catalog_file *files, size_t n,
                                             struct mg_errmsg *err);
/* True when the folder is meant as a UDF: it holds its eponymous .lua file or a meta.json (or any module). */
bool catalog_is_udf_dir(const char *dir, bool any_module);
/* A .lua file that can be required, or meta.json. */
bool catalog_is_file_of_udf(const char *name);

#endif
