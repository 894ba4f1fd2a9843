/* What the reader and the writer of PMTiles share. Source: the specification of version 3. */
#ifndef MOONGATE_GEO_PMTILES_H
#define MOONGATE_GEO_PMTILES_H

#include "moongate/pmtiles.h"

enum { PMTILES_HEADER = 127, PMTILES_ROOT_END = 16384, PMTILES_PLAIN = 1, PMTILES_GZIP = 2 };

/* Of a directory: `run` tiles from `id` on have the bytes at offset; run 0: a leaf directory lies there. */
struct pmtiles_entry {
    uint64_t id, offset;
    uint32_t bytes, run;
};

#endif
