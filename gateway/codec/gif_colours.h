/* At most 256 colours for pictures that have more: what GIF needs. Private to codec/. */
#ifndef CODEC_GIF_COLOURS_H
#define CODEC_GIF_COLOURS_H

#include "moongate/err.h"

#include <stdint.h>

/* Five bits of each channel. */
enum { MG_GIF_CELLS = 1 << 15 };
static inline unsigned mg_gif_cell(const uint8_t *rgba)
{
    return (unsigned)(rgba[0] >> 3) << 10 | (unsigned)(rgba[1] >> 3) << 5 | (unsigned)(rgba[2] >> 3);
}

struct mg_gif_colours {
    uint64_t sum[MG_GIF_CELLS][3];
    uint32_t count[MG_GIF_CELLS];
    uint8_t index[MG_GIF_CELLS]; /* after mg_gif_choose: of each cell that has pixels */
};
/* Chooses at most `most` colours (to 256) from the counts and sums; returns how many, -1 without memory. */
int mg_gif_choose(struct mg_gif_colours *colours, int most, uint8_t (*palette)[3]);

#endif
