/* Rasters with a known pixel at each place, for the tests of the image codecs. */
#ifndef TESTS_CODEC_IMAGE_MAKE_H
#define TESTS_CODEC_IMAGE_MAKE_H

#include "moongate/codec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { OPAQUE = 1, HOLES = 2, FEW_COLOURS = 4, WITH_PALETTE = 8, ALL_COLOURS = 16 };

static inline unsigned noise(int x, int y, int band)
{
    unsigned v = (unsigned)x * 73856093u ^ (unsigned)y * 19349663u ^ (unsigned)band * 83492791u;
    v ^= v >> 13;
    v *= 0x5bd1e995u;
    return v ^ v >> 15;
}

/* The sample that the test expects; 0..255 or 0..65535. */
static inline unsigned sample_at(int x, int y, int band, bool wide, int flags)
{
    if (flags & FEW_COLOURS)
        return (unsigned)((x / 8 + y / 8) % 5) * 40u + (unsigned)band * 3u;
    unsigned v = (flags & ALL_COLOURS) ? noise(x, y, band) : (unsigned)(2 * x + 3 * y + 11 * band);
    return v & (wide ? 0xffffu : 0xffu);
}
static inline bool hole_at(int x, int y) { return (x + y) % 7 == 0; }

static inline struct mg_raster *make_raster(int width, int height, int bands, bool wide, int flags)
{
    struct mg_raster *raster;
    assert_int_equal(mg_raster_new(width, height, bands, wide ? MG_U16 : MG_U8, &raster, NULL), MG_OK);
    if (flags & HOLES)
        assert_int_equal(mg_raster_need_mask(raster, NULL), MG_OK);
    for (int band = 0; band < bands; band++)
        for (int i = 0; i < width * height; i++) {
            int x = i % width, y = i / width;
            unsigned v = sample_at(x, y, band, wide, flags);
            if (wide)
                ((uint16_t *)mg_raster_samples(raster, band))[i] = (uint16_t)v;
            else
                ((uint8_t *)mg_raster_samples(raster, band))[i] = (uint8_t)v;
            if ((flags & HOLES) && hole_at(x, y))
                raster->mask[band * width * height + i] = 0;
        }
    if (flags & WITH_PALETTE) {
        raster->n_palette = 256;
        for (int i = 0; i < 256; i++) {
            raster->palette[i][0] = (uint8_t)i;
            raster->palette[i][1] = (uint8_t)(255 - i);
            raster->palette[i][2] = (uint8_t)(i * 7);
            raster->palette[i][3] = i == 0 && !(flags & OPAQUE) ? 0 : 255;
        }
    }
    return raster;
}

/* What a viewer shows there, 8 bit. */
static inline void expected_rgba(const struct mg_raster *r, int x, int y, uint8_t rgba[4])
{
    size_t at = (size_t)y * (size_t)r->width + (size_t)x;
    uint8_t v[4] = {0};
    for (int band = 0; band < r->bands; band++)
        v[band] = r->sample == MG_U16 ? (uint8_t)(((uint16_t *)mg_raster_samples(r, band))[at] >> 8)
                                      : ((uint8_t *)mg_raster_samples(r, band))[at];
    if (r->n_palette)
        memcpy(rgba, r->palette[v[0]], 4);
    else if (r->bands <= 2)
        memcpy(rgba, (uint8_t[]){v[0], v[0], v[0], r->bands == 2 ? v[1] : 255}, 4);
    else
        memcpy(rgba, (uint8_t[]){v[0], v[1], v[2], r->bands == 4 ? v[3] : 255}, 4);
    if (r->mask && !r->mask[at])
        rgba[3] = 0;
}

/* Encodes with the row's defaults but for one option; the caller frees the buffer. */
static inline enum mg_err encode_with(const char *format, struct mg_raster *raster, const char *option,
                                      const char *text, struct mg_buf *out, struct mg_errmsg *err)
{
    const struct mg_codec *codec = mg_codec_find(mg_span(format));
    assert_non_null(codec);
    struct mg_option_value options[16];
    assert_true(mg_option_count(codec) <= 16);
    mg_option_defaults(codec, options);
    if (option) {
        size_t index = 0;
        struct mg_option_value value;
        enum mg_err e = mg_option_parse(codec, mg_span(option), mg_span(text), &index, &value, err);
        if (e)
            return e;
        options[index] = value;
    }
    struct mg_value value = {.shape = MG_SHAPE_RASTER, .raster = raster};
    struct mg_codec_job job = {.value = &value, .options = options};
    return mg_encode(codec, &job, out, err);
}

#endif
