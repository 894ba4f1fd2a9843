/* Choosing a palette: boxes of the colour cube are cut where that lowers the variance most (after Wu 1991), then each
 * cell goes to the nearest of the boxes' means, and the means are taken anew.
 *
 * Cells of 8 levels hold counts and sums, so that the cost does not depend on the pictures' size: at most 32,768 cells,
 * sorted some eight times, then 256 distances each: 1 ms for a map, 20 ms for noise. */
#include "gif_colours.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 256, ROUNDS = 2 };

struct cell {
    uint16_t at;
    uint8_t mean[3];
    uint32_t count;
};

struct box {
    int first, end; /* in the list of cells */
    int cut;        /* where to cut it, in the order of `axis` */
    int axis;
    double gain;    /* what the cut takes from the sum of squares; 0: it cannot be cut */
};

static void sort_axis(struct cell *cells, int n, int axis, struct cell *spare)
{
    int places[257] = {0};
    for (int i = 0; i < n; i++)
        places[cells[i].mean[axis] + 1]++;
    for (int i = 0; i < 256; i++)
        places[i + 1] += places[i];
    for (int i = 0; i < n; i++)
        spare[places[cells[i].mean[axis]]++] = cells[i];
    memcpy(cells, spare, (size_t)n * sizeof *cells);
}

/* The best cut of a box: the sum of squares falls by sum²/count of both parts less that of the whole. */
static void weigh(struct box *box, struct cell *cells, struct cell *spare)
{
    box->gain = 0;
    int n = box->end - box->first;
    struct cell *own = cells + box->first;
    double all[3] = {0}, count = 0;
    for (int i = 0; i < n; i++) {
        count += own[i].count;
        for (int c = 0; c < 3; c++)
            all[c] += (double)own[i].count * own[i].mean[c];
    }
    for (int axis = 0; axis < 3 && n > 1; axis++) {
        sort_axis(own, n, axis, spare);
        double part[3] = {0}, weight = 0;
        for (int i = 0; i + 1 < n; i++) {
            weight += own[i].count;
            for (int c = 0; c < 3; c++)
                part[c] += (double)own[i].count * own[i].mean[c];
            if (own[i].mean[axis] == own[i + 1].mean[axis])
                continue;
            double gain = 0;
            for (int c = 0; c < 3; c++)
                gain += part[c] * part[c] / weight +
                        (all[c] - part[c]) * (all[c] - part[c]) / (count - weight) - all[c] * all[c] / count;
            if (gain > box->gain) {
                box->gain = gain;
                box->axis = axis;
                box->cut = box->first + i + 1;
            }
        }
    }
}

static int cut_boxes(struct cell *cells, int n, int most, struct box *boxes, struct cell *spare)
{
    int made = 1;
    boxes[0] = (struct box){.first = 0, .end = n};
    weigh(&boxes[0], cells, spare);
    while (made < most) {
        int best = 0;
        for (int i = 1; i < made; i++)
            best = boxes[i].gain > boxes[best].gain ? i : best;
        struct box *box = &boxes[best], *other = &boxes[made];
        if (!(box->gain > 0))
            break;
        sort_axis(cells + box->first, box->end - box->first, box->axis, spare);
        *other = (struct box){.first = box->cut, .end = box->end};
        box->end = box->cut;
        weigh(box, cells, spare);
        weigh(other, cells, spare);
        made++;
    }
    return made;
}

/* The mean of what each colour stands for; a colour that stands for nothing stays. */
static void means(const struct mg_gif_colours *colours, const struct cell *cells, int n, uint8_t (*palette)[3],
                  int n_palette)
{
    uint64_t sums[MOST][3] = {{0}}, counts[MOST] = {0};
    for (int i = 0; i < n; i++) {
        unsigned at = cells[i].at, to = colours->index[at];
        counts[to] += colours->count[at];
        for (int c = 0; c < 3; c++)
            sums[to][c] += colours->sum[at][c];
    }
    for (int i = 0; i < n_palette; i++)
        for (int c = 0; counts[i] && c < 3; c++)
            palette[i][c] = (uint8_t)((sums[i][c] + counts[i] / 2) / counts[i]);
}

static void nearest(struct mg_gif_colours *colours, const struct cell *cells, int n, uint8_t (*palette)[3],
                    int n_palette)
{
    for (int i = 0; i < n; i++) {
        int least = 1 << 30, best = 0;
        for (int k = 0; k < n_palette; k++) {
            int r = palette[k][0] - cells[i].mean[0], g = palette[k][1] - cells[i].mean[1],
                b = palette[k][2] - cells[i].mean[2], distance = r * r + g * g + b * b;
            if (distance < least) {
                least = distance;
                best = k;
            }
        }
        colours->index[cells[i].at] = (uint8_t)best;
    }
}

int mg_gif_choose(struct mg_gif_colours *colours, int most, uint8_t (*palette)[3])
{
    struct box boxes[MOST];
    int n = 0;
    struct cell *cells = malloc(2 * MG_GIF_CELLS * sizeof *cells);
    if (!cells)
        return -1;
    for (unsigned i = 0; i < MG_GIF_CELLS; i++) {
        uint32_t count = colours->count[i];
        if (!count)
            continue;
        cells[n] = (struct cell){.at = (uint16_t)i, .count = count};
        for (int c = 0; c < 3; c++)
            cells[n].mean[c] = (uint8_t)((colours->sum[i][c] + count / 2) / count);
        n++;
    }
    int made = n ? cut_boxes(cells, n, most, boxes, cells + MG_GIF_CELLS) : 0;
    for (int i = 0; i < made; i++)
        for (int k = boxes[i].first; k < boxes[i].end; k++)
            colours->index[cells[k].at] = (uint8_t)i;
    means(colours, cells, n, palette, made);
    for (int i = 0; i < ROUNDS && made; i++) {
        nearest(colours, cells, n, palette, made);
        means(colours, cells, n, palette, made);
    }
    free(cells);
    return made;
}
