/* What the files of catalog/ share. */
#ifndef MOONGATE_CATALOG_CATALOG_H
#define MOONGATE_CATALOG_CATALOG_H

#include "moongate/catalog.h"

enum {
    CATALOG_NAME_MAX = 100,        /* bytes of a UDF's name */
    CATALOG_UDF_BYTES = 1 << 20,   /* of all .lua files and meta.json of a UDF */
    CATALOG_UDF_FILES = 256,       /* entries of a UDF folder */
    CATALOG_JSON_DEPTH = 64,
};

/* names.c */
bool catalog_library_name(struct mg_span module); /* a module may not be called that */
bool catalog_udf_name(struct mg_span name);       /* [A-Za-z][A-Za-z0-9_]* */

/* json_depth.c: no list or object is nested deeper than `depth`. */
bool catalog_json_shallow(const json_t *value, int depth);

#endif
