/* Sources: open raster datasets, and windows of their samples through a cache of decoded chunks.
 * Worker process only; single thread. */
#ifndef MOONGATE_GEO_RASTER_OPEN_H
#define MOONGATE_GEO_RASTER_OPEN_H

#include "moongate/raster.h"

#include <gdal.h>

enum { MG_SOURCE_MAX_LEVELS = 32 };

/* Level 0 is the file itself, the others its overviews, finest first. */
struct mg_level {
    int width, height;
    double x_ratio, y_ratio; /* file pixels in one of this level's */
    int overview;            /* GDAL's index; -1: the file itself */
    int chunk_w, chunk_h;
};

struct mg_source {
    uint64_t serial; /* of this path, size and mtime */
    GDALDatasetH dataset;
    char driver[32];
    int width, height, bands;
    enum mg_sample sample; /* holds every band of the file */
    bool has_georef;
    double geotransform[6], inverse[6];
    char *crs;     /* "EPSG:n" or WKT; NULL: none */
    double period; /* of x in the file's CRS: 360, the equator's length, or 0 */
    bool global;   /* the file is one period wide */
    bool alpha;    /* the last band is alpha */
    int n_levels;
    struct mg_level levels[MG_SOURCE_MAX_LEVELS];
};

/* Borrows, until the next call. */
MG_MUST_CHECK enum mg_err mg_source_get(const char *path, struct mg_source **out,
                                        struct mg_errmsg *err);
/* The period of x of a CRS; 0: none. */
double mg_crs_period(const char *crs);

/* A window of a level, thinned by `factor` (a power of two): pixels x .. x+w, y .. y+h of that
 * grid, which may lie outside of it (no data; a global file repeats itself in x). */
struct mg_window {
    int level, factor;
    int64_t x, y;
    int w, h;
    bool nearest; /* thin by picking, not by averaging */
    bool mode;    /* thin by the commonest value */
};
/* Fills planes[i] (w * h floats, or doubles when `wide`) with band bands[i] (from 1), NaN where no
 * data. */
MG_MUST_CHECK enum mg_err mg_source_window(struct mg_source *source, const char *path,
                                           const struct mg_window *window, const int *bands,
                                           int n_bands, bool wide, void *const *planes,
                                           struct mg_errmsg *err);
/* Of the chunk cache, for tests: chunks decoded so far, bytes held. */
struct mg_chunk_stats {
    uint64_t decoded;
    size_t bytes;
};
struct mg_chunk_stats mg_source_chunk_stats(void);

#endif
