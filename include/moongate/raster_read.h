/* Reading rasters: GDAL reads blocks; the approximating transform and the resampling are ours.
 *
 * Open datasets and decoded blocks are kept across calls of a (warm) worker, keyed by path, size and mtime.
 * Worker process only; single thread. */
#ifndef MOONGATE_RASTER_READ_H
#define MOONGATE_RASTER_READ_H

#include "moongate/raster.h"

enum mg_resampling { MG_NEAREST, MG_BILINEAR, MG_CUBIC, MG_AVERAGE, MG_MODE, MG_RESAMPLING_COUNT };
/* By GDAL's names: near/nearest, bilinear, cubic, average, mode; -1 when unknown. */
int mg_resampling_find(struct mg_span name);

/* The grid to read onto. */
struct mg_grid {
    const char *crs;         /* "EPSG:3857" … ; NULL: the file's own */
    double geotransform[6];
    int width, height;
};
/* The grid of a tile: EPSG:3857, size x size, `margin` more pixels on each side. */
void mg_grid_of_tile(struct mg_tile tile, int size, int margin, struct mg_grid *out);

struct mg_raster_info {
    int width, height, bands;
    enum mg_sample sample;
    double nodata;
    bool has_nodata, has_georef, has_overviews;
    double geotransform[6];
    char crs[4096];              /* "EPSG:n" when it has a code, else WKT */
    struct mg_bounds degrees;    /* of the whole file, EPSG:4326 */
    char driver[32];
};
/* `path` is a GDAL path (a /vsimoon/ path for workers). MG_E_NO_FILE, MG_E_BAD_FILE (refused drivers are named),
 * MG_E_NO_CRS. */
MG_MUST_CHECK enum mg_err mg_raster_info(const char *path, struct mg_raster_info *out, struct mg_errmsg *err);

struct mg_read_options {
    const int *bands;            /* 1-based; n_bands 0: all (at most 256) */
    int n_bands;
    enum mg_resampling resampling;
    const char *source_crs;      /* for a file that has none; NULL otherwise */
    int overview;                /* 0: as the grid asks; n: the n-th level of the file, 1 being the file itself */
    bool unscale;                /* samples times the band's scale plus its offset, as float32 (float64 for 32-bit
                                  * integers and float64); else they are as they lie in the file */
    /* Told when the file has no overviews and is read decimated; nullable. */
    void (*note)(void *context, const char *sentence);
    void *note_context;
};
/* Reads onto the grid; pixels outside of the file are no data (mask, or NaN). Returns new. */
MG_MUST_CHECK enum mg_err mg_raster_read(const char *path, const struct mg_grid *grid,
                                         const struct mg_read_options *options, struct mg_raster **out,
                                         struct mg_errmsg *err);
/* The grid of a file call: bounds in degrees (NULL: the whole file), resolution in metres or degrees of the file's
 * CRS (0: native) or a size in pixels (0: none); in the file's CRS (source_crs, nullable, for a file that has none);
 * clipped to max_side pixels. */
MG_MUST_CHECK enum mg_err mg_grid_of_file(const char *path, const char *source_crs, const struct mg_bounds *degrees,
                                          double resolution, int size_w, int size_h, int max_side, struct mg_grid *out, char crs[4096],
                                          struct mg_errmsg *err);

/* Registers the listed GDAL drivers by name and deregisters all others (once, in the zygote), sets the GDAL
 * options that we need. */
void mg_gdal_setup(void);
/* Warms PROJ in this process (first use after fork opens proj.db). MG_E_NO_CRS when proj.db cannot be read. */
MG_MUST_CHECK enum mg_err mg_gdal_warm(struct mg_errmsg *err);

#endif
