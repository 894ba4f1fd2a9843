/* Thinning: factor x factor samples to one. Pure. */
#ifndef MOONGATE_GEO_THIN_H
#define MOONGATE_GEO_THIN_H

#include "moongate/raster.h"

enum mg_thin { MG_THIN_MEAN, MG_THIN_PICK, MG_THIN_MODE };

/* Reduces `in_h` (at most f) rows of `in_w` samples to one row of `w`; the last may have fewer than
 * f columns. Returns how many have no data. */
int mg_thin_row(enum mg_sample sample, const void *samples, const uint8_t *mask, int in_w, int in_h,
                int f, enum mg_thin how, void *out, uint8_t *valid, int w);

#endif
