/* Shapes of whole tables: joins, unions, clusters, grids; and measures on the ground.
 *
 * "On the ground": a geometry in degrees (or in EPSG:3857, whose metres are none) is measured on the
 * ellipsoid WGS 84, any other in the plane of its CRS and in its units. Tables whose CRSs differ are brought
 * into that of the first. Rows without geometry, or with an empty one, take part in nothing. Worker process;
 * single thread. */
#ifndef MOONGATE_VECTOR_OPS_H
#define MOONGATE_VECTOR_OPS_H

#include "moongate/geometry.h"
#include "moongate/table.h"

/* Square metres of the areas; metres of lines and of the rings of areas. Karney, "Algorithms for geodesics",
 * 2013. */
MG_MUST_CHECK enum mg_err mg_ground_measure(struct mg_span wkb, const char *crs, double *area, double *length,
                                            struct mg_errmsg *err);
/* Between the closest points, which are found in a plane that is true where the two lie: exact for points,
 * and within 0.1 % up to 100 km for others. NaN when one of them is empty. */
MG_MUST_CHECK enum mg_err mg_ground_distance(struct mg_span a, struct mg_span b, const char *crs, double *out,
                                             struct mg_errmsg *err);
/* Through the UTM zone of the geometry's centre; cut at the antimeridian. */
MG_MUST_CHECK enum mg_err mg_ground_buffer(struct mg_span wkb, const char *crs, double metres,
                                           int quad_segments, struct mg_buf *out, struct mg_errmsg *err);

/* The geometry of each row, borrowed from the table; no bytes where there is none. `out` has room for all
 * rows. */
MG_MUST_CHECK enum mg_err mg_table_shapes(const struct mg_table *table, struct mg_span *out,
                                          struct mg_errmsg *err);
/* One geometry of many; none: an empty collection. */
MG_MUST_CHECK enum mg_err mg_wkb_union_all(const struct mg_span *wkbs, size_t n, struct mg_buf *out,
                                           struct mg_errmsg *err);
/* Calls `each` with every part of a collection, however deep; a plain geometry is its own part. */
typedef enum mg_err mg_wkb_part_f(void *context, struct mg_span wkb, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_wkb_explode(struct mg_span wkb, mg_wkb_part_f *each, void *context,
                                         struct mg_errmsg *err);

/* Pairs of rows, by left row, then right row. */
struct mg_pairs {
    int64_t *left, *right;
    double *distance; /* of mg_vector_nearest, else NULL */
    size_t n, cap;
};
void mg_pairs_free(struct mg_pairs *pairs);
/* "intersects", "contains" … (the left row does so to the right one); -1: none. Names: mg_join_names. */
int mg_join_find(struct mg_span name);
extern const char *const mg_join_names; /* for a sentence */
/* Cost: an R-tree of the one side, a prepared geometry for each row of the other that has candidates. */
MG_MUST_CHECK enum mg_err mg_vector_join(const struct mg_table *left, const struct mg_table *right,
                                         int predicate, struct mg_pairs *out, struct mg_errmsg *err);
/* For each left row the nearest right row (the first of equals) within max_distance (INFINITY: any). */
MG_MUST_CHECK enum mg_err mg_vector_nearest(const struct mg_table *left, const struct mg_table *right,
                                            double max_distance, struct mg_pairs *out, struct mg_errmsg *err);

/* DBSCAN (Ester et al., 1996) of the centroids: labels from 1, 0 for noise; the row's own point counts. */
MG_MUST_CHECK enum mg_err mg_vector_cluster(const struct mg_table *table, double distance, int min_points,
                                            int32_t *labels, struct mg_errmsg *err);
/* Cells of a grid that hold centroids of rows: columns n and geometry, in the CRS of the table, row by row
 * from the south-west. `size`: side of a square, or between opposite sides of a hexagon, in units of
 * `grid_crs`. */
MG_MUST_CHECK enum mg_err mg_vector_grid(const struct mg_table *table, bool hexagons, double size,
                                         const char *grid_crs, struct mg_table **out, struct mg_errmsg *err);

/* Rows of two tables side by side: left_rows[i] beside right_rows[i] (-1: nulls; NULL: all rows, in order). A
 * name of `right` that is taken gets "_right" behind it; its geometry is left out where `left` has one.
 * Returns new. */
MG_MUST_CHECK enum mg_err mg_table_beside(const struct mg_table *left, const int64_t *left_rows,
                                          const struct mg_table *right, const int64_t *right_rows, int64_t n,
                                          struct mg_table **out, struct mg_errmsg *err);
/* All rows and columns under other names (as many as there are columns, each once). Returns new. */
MG_MUST_CHECK enum mg_err mg_table_rename(const struct mg_table *table, const char *const *names,
                                          struct mg_table **out, struct mg_errmsg *err);

#endif
