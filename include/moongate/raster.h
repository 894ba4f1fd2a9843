/* Raster: the value that crosses the code for images and grids.
 *
 * Band-sequential samples of one type in one allocation, each band aligned to 64 bytes. No-data: in float
 * rasters it is NaN; integer rasters carry a mask (0 = no data), or none when every pixel is valid.
 * A coloured band stays one U8 band with a palette (index 0 transparent where no data). Not thread-safe;
 * shared by reference count within a process. */
#ifndef MOONGATE_RASTER_H
#define MOONGATE_RASTER_H

#include "moongate/buf.h"
#include "moongate/tile.h"

enum mg_sample { MG_U8, MG_I8, MG_U16, MG_I16, MG_U32, MG_I32, MG_F32, MG_F64, MG_SAMPLE_COUNT };
enum { MG_RASTER_MAX_SIDE = 4096, MG_RASTER_MAX_BANDS = 256 };

struct mg_raster {
    int refs;
    int width, height, bands;
    enum mg_sample sample;
    size_t band_stride;      /* bytes from band to band, a multiple of 64 */
    uint8_t *data;           /* bands * band_stride, 64-byte aligned */
    uint8_t *mask;           /* width * height for each band (bands of them), or NULL: all valid */
    double nodata;           /* of the source, kept for tif; only when has_nodata */
    bool has_nodata;
    bool has_georef;
    double geotransform[6];  /* GDAL's: x = gt0 + col gt1 + row gt2, y = gt3 + col gt4 + row gt5 */
    char *crs;               /* "EPSG:3857", WKT or PROJ string; NULL: none */
    char **names;            /* name of each band, or NULL */
    int n_palette;           /* 0, or 1..256 entries; then sample is U8 and bands is 1 */
    uint8_t palette[256][4]; /* R G B A, straight alpha */
    struct mg_raster *owner; /* a view (one band of another raster) keeps it alive; NULL when data is ours */
};

size_t mg_sample_bytes(enum mg_sample sample);
const char *mg_sample_name(enum mg_sample sample); /* "uint8", "float32" as numpy names them */
bool mg_sample_is_float(enum mg_sample sample);
/* Returns new, zeroed, refs 1; MG_E_ARGUMENT beyond the limits, MG_E_NOMEM. */
MG_MUST_CHECK enum mg_err mg_raster_new(int width, int height, int bands, enum mg_sample sample,
                                        struct mg_raster **out, struct mg_errmsg *err);
struct mg_raster *mg_raster_ref(struct mg_raster *raster);
void mg_raster_unref(struct mg_raster **raster);
/* A view of one band; shares the samples. */
MG_MUST_CHECK enum mg_err mg_raster_band(struct mg_raster *raster, int band, struct mg_raster **out,
                                         struct mg_errmsg *err);
static inline void *mg_raster_samples(const struct mg_raster *r, int band)
{
    return r->data + (size_t)band * r->band_stride;
}
/* Makes the mask (all valid) when there is none. */
MG_MUST_CHECK enum mg_err mg_raster_need_mask(struct mg_raster *raster, struct mg_errmsg *err);
/* Copies size-independent georeferencing (CRS, geotransform) from another raster of the same size. */
MG_MUST_CHECK enum mg_err mg_raster_copy_georef(struct mg_raster *to, const struct mg_raster *from);
/* Bounds in the raster's own CRS. */
struct mg_bounds mg_raster_bounds(const struct mg_raster *raster);

/* The internal value format: header and 64-byte-aligned bands, for child runs and function values. */
size_t mg_raster_stored_bytes(const struct mg_raster *raster);
void mg_raster_store(const struct mg_raster *raster, struct mg_buf *out);
/* Checks everything; copies. */
MG_MUST_CHECK enum mg_err mg_raster_restore(struct mg_span stored, struct mg_raster **out, struct mg_errmsg *err);

#endif
