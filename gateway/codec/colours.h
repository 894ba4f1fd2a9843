/* The colours of pictures while there are at most 256 of them. Private to codec/.
 * Open addressing, a quarter full: about 2 ns a pixel whose colour differs from its neighbour's. */
#ifndef CODEC_COLOURS_H
#define CODEC_COLOURS_H

#include <stdint.h>
#include <string.h>

enum { MG_COLOUR_SLOTS = 1024 };

struct mg_colours {
    uint32_t keys[MG_COLOUR_SLOTS];
    int16_t index[MG_COLOUR_SLOTS]; /* -1: free */
    uint8_t palette[256][4];        /* R G B A in the order of their finding */
    int n, most;
};

static inline void mg_colours_init(struct mg_colours *set, int most)
{
    memset(set->index, 0xff, sizeof set->index);
    set->n = 0;
    set->most = most;
}

/* Index of a colour (R G B A in memory order), which is added when it is new; -1 where there are too many. */
static inline int mg_colours_index(struct mg_colours *set, uint32_t colour)
{
    uint32_t slot = (colour * 2654435761u) >> 22;
    for (; set->index[slot] >= 0; slot = (slot + 1) % MG_COLOUR_SLOTS)
        if (set->keys[slot] == colour)
            return set->index[slot];
    if (set->n == set->most)
        return -1;
    set->keys[slot] = colour;
    memcpy(set->palette[set->n], &colour, 4);
    return set->index[slot] = (int16_t)set->n++;
}

#endif
