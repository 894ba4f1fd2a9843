/* A raster as image encoders want it: interleaved rows, the mask folded into alpha. Private to codec/.
 * Costs nothing to set up but one look at the mask; a row costs about 1 ns a pixel. */
#ifndef CODEC_IMAGE_H
#define CODEC_IMAGE_H

#include "moongate/raster.h"

struct mg_image {
    const struct mg_raster *raster; /* U8 or U16, 1 to 4 bands, or a palette; borrowed */
    int width, height;
    int channels;      /* of a row: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA */
    bool alpha;        /* channels is 2 or 4 */
    bool holes;        /* the mask has pixels without data in any of its bands */
    bool binary_alpha; /* all of alpha comes from the mask: 0 or the maximum */
};
void mg_image_init(struct mg_image *image, const struct mg_raster *raster);
/* width * channels samples of the raster's type (U8 of a palette). */
void mg_image_row(const struct mg_image *image, int y, void *out);
/* R G B A of each pixel of an 8-bit raster, 0 where it is fully transparent. */
void mg_image_rgba_row(const struct mg_image *image, int y, uint32_t *out);
/* 1 where a pixel has data, 0 where none of its colour bands has; `width` bytes. */
void mg_image_valid_row(const struct mg_image *image, int y, uint8_t *out);

/* Position of the option of that name, which the row must have. */
struct mg_codec;
struct mg_codec_job;
double mg_codec_option(const struct mg_codec *codec, const struct mg_codec_job *job, const char *name);

#endif
