/* WebP by libwebp: lossy (quality 80) or lossless.
 *
 * webp.lossless=auto keeps a coloured band exact, because lossy chroma would smear its few colours, and makes
 * everything else lossy. Grey becomes RGB: WebP knows no other. Measured for 256x256 at method 2: lossy 6 ms,
 * lossless 8 ms. */
#include "moongate/codec.h"

#include "image.h"

#include <stdlib.h>

#include <webp/encode.h>

enum { AUTO, YES, NO };
/* Effort 0 to 6: at 2 a tile costs a third of the default's (4) time and 3 % more bytes. */
enum { METHOD = 2 };

static const struct mg_option webp_options[] = {
    {"quality", MG_OPT_NUMBER, 0, 100, NULL, "80", "100 is best; of lossless images the effort"},
    {"lossless", MG_OPT_ENUM, 0, 0, "auto,true,false", "auto", "auto: for images with a palette"},
    {"min", MG_OPT_NUMBER, -1e300, 1e300, NULL, NULL, "the sample that is black (default 0, or the type's least)"},
    {"max", MG_OPT_NUMBER, -1e300, 1e300, NULL, NULL, "the sample that is white (default 1, or the type's most)"},
    {0},
};

static int sink_write(const uint8_t *data, size_t n, const WebPPicture *picture)
{
    struct mg_buf *out = picture->custom_ptr;
    mg_buf_put(out, data, n);
    return !out->failed;
}

/* Rows in the library's order of memory, ARGB as one integer. */
static void fill(const struct mg_image *image, WebPPicture *picture)
{
    uint8_t row[MG_RASTER_MAX_SIDE * 4];
    int colours = image->channels >= 3 ? 3 : 1;
    for (int y = 0; y < image->height; y++) {
        uint32_t *argb = picture->argb + (size_t)y * (size_t)picture->argb_stride;
        mg_image_row(image, y, row);
        const uint8_t *at = row;
        for (int x = 0; x < image->width; x++, at += image->channels) {
            uint32_t alpha = image->alpha ? at[image->channels - 1] : 255;
            argb[x] = alpha << 24 | (uint32_t)at[0] << 16 | (uint32_t)at[colours > 1] << 8 |
                      (uint32_t)at[colours > 1 ? 2 : 0];
        }
    }
}

static enum mg_err webp_encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    struct mg_image image;
    WebPConfig config;
    WebPPicture picture;
    mg_image_init(&image, job->value->raster);
    double wanted = job->options[1].number;
    if (!WebPConfigInit(&config) || !WebPPictureInit(&picture))
        return mg_err_set(err, MG_E_INTERNAL, "webp: the library's version differs from its header's");
    config.lossless = wanted == YES || (wanted == AUTO && image.raster->n_palette > 0);
    config.quality = (float)job->options[0].number;
    config.method = METHOD;
    picture.use_argb = 1;
    picture.width = image.width;
    picture.height = image.height;
    picture.writer = sink_write;
    picture.custom_ptr = out;
    enum mg_err e = MG_OK;
    if (!WebPPictureAlloc(&picture)) {
        e = mg_err_set(err, MG_E_NOMEM, "no memory for a webp of %d x %d", image.width, image.height);
        goto out;
    }
    fill(&image, &picture);
    if (!WebPEncode(&config, &picture)) {
        e = mg_buf_status(out, err);
        if (!e && picture.error_code == VP8_ENC_ERROR_OUT_OF_MEMORY)
            e = mg_err_set(err, MG_E_NOMEM, "no memory for a webp of %d x %d", image.width, image.height);
        else if (!e)
            e = mg_err_set(err, MG_E_INTERNAL, "webp: the encoder failed (code %d)", (int)picture.error_code);
    }
out:
    WebPPictureFree(&picture);
    return e;
}

const struct mg_codec mg_codec_webp[] = {
    {.name = "webp",
     .mime = "image/webp",
     .extension = "webp",
     .shapes = MG_SHAPE_RASTER,
     .samples = MG_SAMPLE_BIT(MG_U8),
     .max_bands = 4,
     .palette = true,
     .options = webp_options,
     .encode = webp_encode},
    {0},
};
