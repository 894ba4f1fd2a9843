/* Rasters that the tests make for themselves, in a folder that goes away with the process. */
#ifndef MOONGATE_TESTS_RASTER_FILES_H
#define MOONGATE_TESTS_RASTER_FILES_H

#include "moongate/gdal.h"
#include "moongate/raster_read.h"

#include <cpl_conv.h>
#include <cpl_string.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct made_file {
    const char *crs; /* NULL: none */
    double gt[6];
    int width, height, bands;
    GDALDataType type;
    const char *options[4]; /* of GTiff */
    bool overviews, has_nodata;
    double nodata;
    double (*value)(int band, int x, int y); /* NULL: smooth_value */
};

static char files_folder[64];

/* Waves of several lengths: steep enough to show a shift of a tenth of a pixel. */
static inline double smooth_value(int band, int x, int y)
{
    return 120 + 60 * sin(x / 9.0 + band) * cos(y / 11.0) + 30 * sin((x + 2 * y) / 31.0) +
           15 * cos(x / 70.0);
}

static inline const char *files_path(const char *name)
{
    static char path[128];
    if (!files_folder[0]) {
        snprintf(files_folder, sizeof files_folder, "/tmp/mg-raster-XXXXXX");
        if (!mkdtemp(files_folder))
            abort();
    }
    snprintf(path, sizeof path, "%s/%s", files_folder, name);
    return path;
}

static inline void files_remove(void)
{
    if (files_folder[0])
        VSIRmdirRecursive(files_folder);
}

/* Makes a GTiff; borrowed path until the next call. */
static inline const char *files_make(const char *name, const struct made_file *f)
{
    const char *path = files_path(name);
    char **options = NULL;
    for (int i = 0; i < 4 && f->options[i]; i++)
        options = CSLAddString(options, f->options[i]);
    GDALDatasetH ds = GDALCreate(GDALGetDriverByName("GTiff"), path, f->width, f->height, f->bands,
                                 f->type, options);
    CSLDestroy(options);
    if (!ds)
        abort();
    if (f->gt[1] != 0 || f->gt[2] != 0)
        GDALSetGeoTransform(ds, (double *)f->gt);
    if (f->crs) {
        OGRSpatialReferenceH srs;
        char *wkt = NULL;
        if (mg_crs_parse(f->crs, &srs, NULL) != MG_OK || OSRExportToWkt(srs, &wkt) != OGRERR_NONE)
            abort();
        GDALSetProjection(ds, wkt);
        CPLFree(wkt);
        OSRRelease(srs);
    }
    double *row = malloc((size_t)f->width * sizeof *row);
    for (int b = 0; b < f->bands; b++) {
        if (f->has_nodata)
            GDALSetRasterNoDataValue(GDALGetRasterBand(ds, b + 1), f->nodata);
        for (int y = 0; y < f->height; y++) {
            for (int x = 0; x < f->width; x++)
                row[x] = f->value ? f->value(b, x, y) : smooth_value(b, x, y);
            if (GDALRasterIO(GDALGetRasterBand(ds, b + 1), GF_Write, 0, y, f->width, 1, row,
                             f->width, 1, GDT_Float64, 0, 0) != CE_None)
                abort();
        }
    }
    free(row);
    if (f->overviews) {
        int levels[] = {2, 4, 8};
        GDALFlushCache(ds);
        if (GDALBuildOverviews(ds, "AVERAGE", 3, levels, 0, NULL, NULL, NULL) != CE_None)
            abort();
    }
    GDALClose(ds);
    return path;
}

#endif
