/* Packages: the files of a UDF (.lua files, meta.json, README.md) in memory, on their way into the
 * store and out.
 *
 * Names are those that a UDF's folder may hold, without any path; all files together have at most 1
 * MB. Not thread-safe. */
#ifndef MOONGATE_PACKAGE_H
#define MOONGATE_PACKAGE_H

#include "moongate/catalog.h"

struct mg_package_file {
    char name[256];
    struct mg_buf bytes;
};
struct mg_package {
    struct mg_package_file *files; /* by name */
    size_t n;
};
void mg_package_free(struct mg_package *package);
/* Adds or replaces. MG_E_PARAMETER: a name that a UDF cannot have; MG_E_TOO_LARGE. */
MG_MUST_CHECK enum mg_err mg_package_put(struct mg_package *package, struct mg_span name,
                                         struct mg_span bytes, struct mg_errmsg *err);
/* NULL when there is none. */
const struct mg_package_file *mg_package_find(const struct mg_package *package, const char *name);
/* The same files always give the same bytes: pack of a count, then name and bytes of each. */
void mg_package_write(const struct mg_package *package, struct mg_buf *out);
/* Into an empty package. */
MG_MUST_CHECK enum mg_err mg_package_read(struct mg_span packed, struct mg_package *package,
                                          struct mg_errmsg *err);
/* Gives the code file, and what meta.json says of it, another name. */
MG_MUST_CHECK enum mg_err mg_package_rename(struct mg_package *package, const char *from,
                                            const char *to, struct mg_errmsg *err);
/* A version of it, as the catalog has them. MG_E_UDF_BROKEN: *err says what is wrong with it. */
MG_MUST_CHECK enum mg_err mg_package_udf(const struct mg_package *package, const char *name,
                                         const char *source, struct mg_udf **out,
                                         struct mg_errmsg *err);
/* From a zip of the files, or of one folder with them, into an empty package. What is no file of a
 * UDF is passed over; links, paths that lead out, encrypted and oversized entries, ratios over
 * 100:1 are MG_E_PARAMETER. *folder: the name of the one folder, or "". */
MG_MUST_CHECK enum mg_err mg_package_from_zip(struct mg_span zip, struct mg_package *package,
                                              char folder[128], struct mg_errmsg *err);
/* A zip with the files in `folder`. */
MG_MUST_CHECK enum mg_err mg_package_to_zip(const struct mg_package *package, const char *folder,
                                            struct mg_buf *out, struct mg_errmsg *err);

/* [A-Za-z][A-Za-z0-9_]*, at most 100 bytes. */
bool mg_udf_name_valid(struct mg_span name);

#endif
