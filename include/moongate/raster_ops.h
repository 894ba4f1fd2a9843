/* Arithmetic over whole rasters, in C that the compiler vectorises.
 *
 * Result of arithmetic: float32 (float64 when an operand is float64, uint32 or int32), NaN where an operand has
 * no data or the result is not finite (division by zero). Result of a comparison or of mask logic: uint8 0 or 1,
 * masked where an operand has no data. Operands: rasters of one size (a single band is spread over the bands of
 * the other), or a number. All return new. */
#ifndef MOONGATE_RASTER_OPS_H
#define MOONGATE_RASTER_OPS_H

#include "moongate/raster.h"

enum mg_op {
    MG_OP_ADD, MG_OP_SUB, MG_OP_MUL, MG_OP_DIV, MG_OP_MOD, MG_OP_POW, MG_OP_MIN, MG_OP_MAX,
    MG_OP_GT, MG_OP_GE, MG_OP_LT, MG_OP_LE, MG_OP_EQ, MG_OP_NE,
    MG_OP_AND, MG_OP_OR, /* on masks */
    MG_OP_COUNT
};
enum mg_unary { MG_OP_NEG, MG_OP_NOT, MG_OP_ABS, MG_OP_SQRT, MG_OP_EXP, MG_OP_LOG, MG_OP_SIN, MG_OP_COS,
                MG_OP_FLOOR, MG_OP_CEIL, MG_UNARY_COUNT };

/* Exactly one of the operands may be NULL: then its number counts. */
MG_MUST_CHECK enum mg_err mg_raster_binary(enum mg_op op, const struct mg_raster *a, double a_number,
                                           const struct mg_raster *b, double b_number, struct mg_raster **out,
                                           struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_raster_unary(enum mg_unary op, const struct mg_raster *a, struct mg_raster **out,
                                          struct mg_errmsg *err);
/* Keeps a where the mask raster is 1; elsewhere b, or b_number, or no data when keep_nodata. */
MG_MUST_CHECK enum mg_err mg_raster_where(const struct mg_raster *a, const struct mg_raster *mask,
                                          const struct mg_raster *b, double b_number, bool keep_nodata,
                                          struct mg_raster **out, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_raster_convert(const struct mg_raster *a, enum mg_sample sample, struct mg_raster **out,
                                            struct mg_errmsg *err);
/* Bands of several rasters of one size, one after the other; names may be NULL. */
MG_MUST_CHECK enum mg_err mg_raster_stack(struct mg_raster *const *parts, size_t n, const char *const *names,
                                          struct mg_raster **out, struct mg_errmsg *err);

struct mg_stats {
    double min, max, mean, std, sum; /* NaN when count is 0; std of the population */
    int64_t count;                   /* valid pixels */
};
void mg_raster_stats(const struct mg_raster *raster, int band, struct mg_stats *out);

/* Colour: a one-band raster to a U8 palette raster; value low -> first, high -> last colour, outside clamped,
 * no data -> index 0, transparent. Stops: n positions in 0..1 ascending and RGBA; 255 colours are made. */
struct mg_stop {
    double at;
    uint8_t rgba[4];
};
MG_MUST_CHECK enum mg_err mg_raster_colour(const struct mg_raster *raster, const struct mg_stop *stops, size_t n,
                                           double low, double high, struct mg_raster **out, struct mg_errmsg *err);
/* A palette raster as four bands, red green blue alpha; no data is transparent black. */
MG_MUST_CHECK enum mg_err mg_raster_rgba(const struct mg_raster *raster, struct mg_raster **out, struct mg_errmsg *err);
/* A bar of the colours over a scale from low to high; four bands. MG_E_ARGUMENT: sides below 24 pixels, low >= high. */
MG_MUST_CHECK enum mg_err mg_raster_legend(const struct mg_stop *stops, size_t n, double low, double high, int width,
                                           int height, struct mg_raster **out, struct mg_errmsg *err);
enum { MG_COLORMAP_STOPS = 64 }; /* room for every named map */
/* Named maps: viridis, plasma, magma, inferno, terrain, rdylgn, grey (matplotlib's and ColorBrewer's figures);
 * names are compared without case; a trailing "_r" reverses. MG_E_ARGUMENT lists the names. */
MG_MUST_CHECK enum mg_err mg_colormap_find(struct mg_span name, struct mg_stop *stops, size_t max, size_t *n,
                                           struct mg_errmsg *err);
/* Names of the maps, NULL-terminated. */
const char *const *mg_colormap_names(void);

/* Hillshade by Horn's method (gdaldem hillshade): `dem` has a margin of one pixel on each side which the result
 * loses; resolution is taken from the geotransform (metres; EPSG:3857 is corrected by the latitude). azimuth and
 * altitude in degrees. Result uint8 1..255, masked where a neighbour has no data. */
MG_MUST_CHECK enum mg_err mg_raster_hillshade(const struct mg_raster *dem, double azimuth, double altitude,
                                              double z_factor, struct mg_raster **out, struct mg_errmsg *err);

#endif
