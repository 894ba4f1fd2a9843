/* GDAL in this process: the listed drivers, quiet errors, CRSs from text, transforms cached by their pair.
 * Single thread of a worker (setup: the zygote). */
#ifndef MOONGATE_GDAL_H
#define MOONGATE_GDAL_H

#include "moongate/buf.h"

#include <gdal.h>
#include <ogr_srs_api.h>

/* Names of the input drivers, NULL-terminated: what GDALOpenEx takes as allowed_drivers. Static. */
const char *const *mg_gdal_drivers(void);
/* Name of the refused or unknown kind of a file, from its first bytes: "VRT"; NULL when it is not known. Static. */
const char *mg_gdal_kind_of(const char *path);
/* "/vsimoon/fd/a.tif" -> "fd://a.tif", as the user wrote it. */
void mg_gdal_user_name(const char *path, char *out, size_t size);
/* Why a path could not be found: MG_E_NO_FILE, or what /vsimoon/ knows (MG_E_FETCH: no answer; MG_E_FORBIDDEN). */
MG_MUST_CHECK enum mg_err mg_gdal_missing(const char *path, const char *name, struct mg_errmsg *err);
/* Opens read-only with the listed drivers; `flags` are GDAL_OF_RASTER or GDAL_OF_VECTOR; `options` nullable.
 * MG_E_NO_FILE, MG_E_BAD_FILE (names the refused kind or gives GDAL's words). Returns new (GDALClose). */
MG_MUST_CHECK enum mg_err mg_gdal_open(const char *path, unsigned flags, const char *const *options,
                                       GDALDatasetH *out, struct mg_errmsg *err);

/* Between begin and end GDAL's first failure is kept instead of printed. May be nested. */
struct mg_gdal_errors {
    char text[320];
};
void mg_gdal_errors_begin(struct mg_gdal_errors *errors);
void mg_gdal_errors_end(void);

/* A CRS from "EPSG:n", "OGC:CRS84", another AUTHORITY:code, WKT, PROJJSON or a PROJ string; never a file or URL. x is
 * longitude or easting. MG_E_NO_CRS. Returns new (OSRRelease). */
MG_MUST_CHECK enum mg_err mg_crs_parse(const char *text, OGRSpatialReferenceH *out, struct mg_errmsg *err);
/* "EPSG:n" when the CRS has that code, else WKT; false when it does not fit. */
bool mg_crs_text(OGRSpatialReferenceH crs, char *out, size_t size);
/* Borrows, until the process ends or 64 other pairs were asked for. */
MG_MUST_CHECK enum mg_err mg_crs_transform(const char *from, const char *to, OGRCoordinateTransformationH *out,
                                           struct mg_errmsg *err);

#endif
