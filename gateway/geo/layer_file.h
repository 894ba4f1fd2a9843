/* Layers as files that the workers of an organisation share; see layer_file.c. Worker process only. */
#ifndef MOONGATE_GEO_LAYER_FILE_H
#define MOONGATE_GEO_LAYER_FILE_H

#include "layer_cache.h"

/* Smaller ones are read again as fast; all files together take no more than the second. */
enum { LAYER_FILE_MIN = 256 << 10, LAYER_FILES_BYTES = 512 << 20 };

/* The layer with its parts in the mapped file. False when there is no good one. */
bool layer_file_load(int dirfd, const struct layer_key *key, struct layer *out);
/* Writes it, in the place of the oldest where there is no room. False: there is no file now. */
bool layer_file_save(int dirfd, const struct layer_key *key, const struct layer *layer);

#endif
