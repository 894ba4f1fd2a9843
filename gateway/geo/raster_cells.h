/* Cells: 256 x 256 pixels of a grid, each with its own place in the file, level and scale. Worker
 * process only; single thread. */
#ifndef MOONGATE_GEO_RASTER_CELLS_H
#define MOONGATE_GEO_RASTER_CELLS_H

#include "geo/approx_transform.h"
#include "geo/raster_open.h"
#include "moongate/raster_read.h"

#include <ogr_srs_api.h>

/* Which whole pixel of an endless grid of the same pixel size is the first of this one. Grids whose
 * origin is a multiple of their pixel size (tiles, with or without a margin) are parts of one endless grid;
 * for others the grid itself is the endless one: false, and 0. */
bool mg_grid_anchor(const double geotransform[6], double *column, double *row);

struct mg_cell {
    bool known;
    bool nothing; /* the file is far away */
    struct mg_root root;
    double centre;           /* source x is brought within half a period of it */
    double ratio_x, ratio_y; /* file pixels to one of the grid's */
    int level, factor;
    int octaves_x, octaves_y; /* pixels of the thinned level to one of the grid's: 32 log2 of it */
};

struct mg_cells {
    struct mg_source *source;
    const char *path;
    const struct mg_grid *grid;
    const struct mg_read_options *options;
    OGRCoordinateTransformationH transform, back; /* NULL: the same CRS, or `mercator` */
    bool mercator;                                /* the grid is EPSG:3857, the file EPSG:4326 */
    double period;
    bool anchored;
    double column, row; /* of the grid's first pixel in the endless grid */
    double shift;       /* of the cells' corners */
    int64_t first_x, first_y;
    int nx, ny;
    struct mg_cell *at; /* nx * ny */
    double centre;      /* of the cell that is worked on */
    bool has_spots, noted;
    int n_spots;
    double spot_x[25], spot_y[25]; /* places of the file, in the endless grid */
};

/* MG_E_NO_CRS. The pointers are borrowed until fini. */
MG_MUST_CHECK enum mg_err mg_cells_init(struct mg_cells *cells, struct mg_source *source,
                                        const char *path, const struct mg_grid *grid,
                                        const struct mg_read_options *options,
                                        struct mg_errmsg *err);
void mg_cells_fini(struct mg_cells *cells);
/* The cell that holds a pixel of the grid, or of the row and column behind it. Borrows. */
const struct mg_cell *mg_cells_of(struct mg_cells *cells, int x, int y);
/* First pixel (of the grid; may be negative) of the cell that holds pixel x (y). */
int mg_cells_left(const struct mg_cells *cells, int x);
int mg_cells_top(const struct mg_cells *cells, int y);
/* Whether two cells are read alike, so that one pass serves both. */
bool mg_cells_alike(const struct mg_cells *cells, const struct mg_cell *a, const struct mg_cell *b);
/* Adds the patches of all cells of a block of w x h pixels at x0, y0. */
MG_MUST_CHECK enum mg_err mg_cells_patches(struct mg_cells *cells, int x0, int y0, int w, int h,
                                           struct mg_patches *patches, struct mg_errmsg *err);

#endif
