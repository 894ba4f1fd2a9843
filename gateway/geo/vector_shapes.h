/* What the files behind vector_ops.h share: shapes of a table in one CRS, and the ground they lie on. */
#ifndef MOONGATE_GEO_VECTOR_SHAPES_H
#define MOONGATE_GEO_VECTOR_SHAPES_H

#include "moongate/vector_ops.h"

struct geod_geodesic;
const struct geod_geodesic *ground_ellipsoid(void);
/* Whether the CRS is measured on the ellipsoid: degrees of any datum, and EPSG:3857. */
MG_MUST_CHECK enum mg_err ground_is_round(const char *crs, bool *out, struct mg_errmsg *err);
double ground_geodesic(double lng1, double lat1, double lng2, double lat2);
/* Metres of a degree of longitude and of latitude at that latitude. */
void ground_degree(double lat, double *x, double *y);
MG_MUST_CHECK enum mg_err ground_distance_degrees(struct mg_span a, struct mg_span b, double *out,
                                                  struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err ground_distance_plane(struct mg_span a, struct mg_span b, double *out,
                                                struct mg_errmsg *err);

/* The geometries of a table in a CRS, with their boxes (xmin > xmax: no geometry, or an empty one). */
struct shapes {
    int64_t n;
    struct mg_span *wkb;
    struct mg_bounds *boxes;
    size_t bytes;        /* of all */
    struct mg_buf moved; /* of those that were transformed */
};
MG_MUST_CHECK enum mg_err shapes_load(const struct mg_table *table, const char *crs, struct shapes *out,
                                      struct mg_errmsg *err);
void shapes_free(struct shapes *shapes);
static inline bool shapes_has(const struct shapes *shapes, int64_t i)
{
    return shapes->boxes[i].xmin <= shapes->boxes[i].xmax;
}
static inline const char *shapes_crs(const struct mg_table *table)
{
    return table->crs ? table->crs : "EPSG:4326";
}

/* A point for each row: that of a point, else of the centroid; NaN where there is none. x, y have room for
 * all. */
MG_MUST_CHECK enum mg_err shapes_points(const struct shapes *shapes, double *x, double *y,
                                        struct mg_errmsg *err);

#endif
