/* Strips: a short run of one band as floats (or doubles) with no data as NaN, and back.
 * The inner form of all raster operations. Any thread that owns the rasters. */
#ifndef MOONGATE_GEO_RASTER_STRIP_H
#define MOONGATE_GEO_RASTER_STRIP_H

#include "moongate/raster.h"

enum { MG_STRIP = 1024 };

union mg_strip {
    float f[MG_STRIP];
    double d[MG_STRIP];
};

/* n samples from pixel `at` of a band; `wide`: as doubles. */
void mg_strip_load(const struct mg_raster *raster, int band, size_t at, int n, bool wide,
                   union mg_strip *out);
void mg_strip_fill(double number, int n, bool wide, union mg_strip *out);
/* Into the raster's own type, rounded half away from zero and clamped; NaN masks the pixel of an
 * integer raster. */
MG_MUST_CHECK enum mg_err mg_strip_store(struct mg_raster *raster, int band, size_t at, int n,
                                         bool wide, const union mg_strip *strip,
                                         struct mg_errmsg *err);
/* The same for any count: n samples of the working type into samples of `sample`; `valid` (n bytes)
 * is written for integer types. Returns how many were NaN. */
int mg_samples_from_float(const float *from, enum mg_sample sample, void *to, uint8_t *valid,
                          int n);
int mg_samples_from_double(const double *from, enum mg_sample sample, void *to, uint8_t *valid,
                           int n);
/* Samples of a type as floats or doubles; exact when the type has at most 24 (53) bits. */
void mg_samples_to_float(enum mg_sample sample, const void *from, float *to, int n);
void mg_samples_to_double(enum mg_sample sample, const void *from, double *to, int n);
/* A number that the integer type holds exactly. */
bool mg_sample_holds(enum mg_sample sample, double number);

#endif
