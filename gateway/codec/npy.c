/* NPY (NumPy's format, version 1.0): the samples as they are, in C order; (height, width) of one band, else (bands,
 * height, width).
 *
 * No data is NaN in floats, which they hold already; integers with holes have their no-data value there, or 0. The palette
 * of a coloured band is left behind: its indices are the values. One copy of the samples. */
#include "moongate/codec.h"

#include <stdio.h>
#include <stdlib.h>

static const struct mg_option npy_options[] = {{0}};

static const char *const kinds[MG_SAMPLE_COUNT] = {
    [MG_U8] = "|u1",  [MG_I8] = "|i1",  [MG_U16] = "<u2", [MG_I16] = "<i2",
    [MG_U32] = "<u4", [MG_I32] = "<i4", [MG_F32] = "<f4", [MG_F64] = "<f8",
};

/* Padded with blanks so that the samples begin at a multiple of 64. */
static void put_head(const struct mg_raster *raster, struct mg_buf *out)
{
    char head[128], shape[64];
    int n;
    if (raster->bands == 1)
        n = snprintf(shape, sizeof shape, "(%d, %d)", raster->height, raster->width);
    else
        n = snprintf(shape, sizeof shape, "(%d, %d, %d)", raster->bands, raster->height, raster->width);
    MG_ASSERT(n > 0 && (size_t)n < sizeof shape);
    n = snprintf(head, sizeof head, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", kinds[raster->sample], shape);
    MG_ASSERT(n > 0 && (size_t)n < sizeof head - 11);
    memset(head + n, ' ', sizeof head - (size_t)n);
    uint8_t len = (uint8_t)(sizeof head - 10);
    head[len - 1] = '\n';
    mg_buf_put(out, "\x93NUMPY\x01\x00", 8);
    mg_buf_put(out, (uint8_t[]){len, 0}, 2);
    mg_buf_put(out, head, len);
}

/* The value where an integer has no data, as bytes of its type. */
static void hole_of(const struct mg_raster *raster, uint8_t hole[8])
{
    double v = raster->has_nodata ? raster->nodata : 0;
    memset(hole, 0, 8);
    if (!(v >= -2147483648.0 && v <= 4294967295.0))
        return;
    int64_t whole = (int64_t)v;
    memcpy(hole, &whole, mg_sample_bytes(raster->sample)); /* little endian, two's complement */
}

static enum mg_err npy_encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    const struct mg_raster *raster = job->value->raster;
    size_t n = (size_t)raster->width * (size_t)raster->height, size = mg_sample_bytes(raster->sample);
    uint8_t hole[8];
    bool fill = raster->mask && !mg_sample_is_float(raster->sample);
    (void)err;
    put_head(raster, out);
    hole_of(raster, hole);
    for (int band = 0; band < raster->bands && !out->failed; band++) {
        size_t at = out->len;
        mg_buf_put(out, mg_raster_samples(raster, band), n * size);
        const uint8_t *mask = raster->mask + (fill ? (size_t)band * n : 0);
        for (size_t i = 0; fill && !out->failed && i < n; i++)
            if (!mask[i])
                memcpy(out->data + at + i * size, hole, size);
    }
    return MG_OK;
}

const struct mg_codec mg_codec_npy[] = {
    {.name = "npy",
     .mime = "application/x-npy",
     .extension = "npy",
     .shapes = MG_SHAPE_RASTER,
     .samples = MG_SAMPLE_BIT(MG_U8) | MG_SAMPLE_BIT(MG_I8) | MG_SAMPLE_BIT(MG_U16) | MG_SAMPLE_BIT(MG_I16) |
                MG_SAMPLE_BIT(MG_U32) | MG_SAMPLE_BIT(MG_I32) | MG_SAMPLE_BIT(MG_F32) | MG_SAMPLE_BIT(MG_F64),
     .max_bands = MG_RASTER_MAX_BANDS,
     .palette = true,
     .compressible = true,
     .options = npy_options,
     .encode = npy_encode},
    {0},
};
