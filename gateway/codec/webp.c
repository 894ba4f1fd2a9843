/* WebP by libwebp: lossy (quality 80) or lossless, one picture or an animation that repeats for ever (libwebpmux).
 *
 * webp.lossless=auto keeps a coloured band exact, because lossy chroma would smear its few colours, and makes
 * everything else lossy. Grey becomes RGB: WebP knows no other. Measured for 256x256 at method 2: lossy 6 ms,
 * lossless 8 ms. */
#include "moongate/codec.h"

#include "frames.h"
#include "image.h"

#include <stdlib.h>

#include <webp/encode.h>
#include <webp/mux.h>

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

static enum mg_err no_memory(const struct mg_frames *frames, struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_NOMEM, "no memory for a webp of %d x %d", frames->width, frames->height);
}

static enum mg_err failed(const WebPPicture *picture, const struct mg_frames *frames, const struct mg_buf *out,
                          struct mg_errmsg *err)
{
    enum mg_err e = mg_buf_status(out, err);
    if (e)
        return e;
    if (picture->error_code == VP8_ENC_ERROR_OUT_OF_MEMORY)
        return no_memory(frames, err);
    return mg_err_set(err, MG_E_INTERNAL, "webp: the encoder failed (code %d)", (int)picture->error_code);
}

static void show(const struct mg_raster *raster, WebPPicture *picture)
{
    struct mg_image image;
    mg_image_init(&image, raster);
    fill(&image, picture);
}

/* The library finds what changed from frame to frame by itself. */
static enum mg_err put_animation(const struct mg_frames *frames, const WebPConfig *config, WebPPicture *picture,
                                 struct mg_buf *out, struct mg_errmsg *err)
{
    WebPAnimEncoderOptions options;
    WebPData file;
    if (!WebPAnimEncoderOptionsInit(&options))
        return mg_err_set(err, MG_E_INTERNAL, "webp: the library's version differs from its header's");
    options.allow_mixed = 0;
    WebPAnimEncoder *encoder = WebPAnimEncoderNew(frames->width, frames->height, &options);
    if (!encoder)
        return no_memory(frames, err);
    WebPDataInit(&file);
    bool ok = true;
    int64_t at = 0;
    for (size_t i = 0; ok && i < frames->n; i++) {
        show(mg_frames_at(frames, i)->raster, picture);
        ok = at <= INT32_MAX && WebPAnimEncoderAdd(encoder, picture, (int)at, config);
        at += mg_frames_at(frames, i)->delay_ms;
    }
    ok = ok && at <= INT32_MAX && WebPAnimEncoderAdd(encoder, NULL, (int)at, NULL) &&
         WebPAnimEncoderAssemble(encoder, &file);
    enum mg_err e = MG_OK;
    if (ok)
        mg_buf_put(out, file.bytes, file.size);
    else if (picture->error_code == VP8_ENC_ERROR_OUT_OF_MEMORY)
        e = no_memory(frames, err);
    else
        e = mg_err_set(err, MG_E_INTERNAL, "webp: %s", WebPAnimEncoderGetError(encoder));
    WebPDataClear(&file);
    WebPAnimEncoderDelete(encoder);
    return e;
}

static enum mg_err webp_encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    struct mg_frames frames;
    WebPConfig config;
    WebPPicture picture;
    mg_frames_init(&frames, job->value);
    if (!WebPConfigInit(&config) || !WebPPictureInit(&picture))
        return mg_err_set(err, MG_E_INTERNAL, "webp: the library's version differs from its header's");
    double wanted = job->options[1].number;
    config.lossless = wanted == YES || (wanted == AUTO && mg_frames_at(&frames, 0)->raster->n_palette > 0);
    config.quality = (float)job->options[0].number;
    config.method = METHOD;
    picture.use_argb = 1;
    picture.width = frames.width;
    picture.height = frames.height;
    picture.writer = sink_write;
    picture.custom_ptr = out;
    enum mg_err e = MG_OK;
    if (!WebPPictureAlloc(&picture)) {
        e = no_memory(&frames, err);
    } else if (frames.n > 1) {
        e = put_animation(&frames, &config, &picture, out, err);
    } else {
        show(mg_frames_at(&frames, 0)->raster, &picture);
        if (!WebPEncode(&config, &picture))
            e = failed(&picture, &frames, out, err);
    }
    WebPPictureFree(&picture);
    return e;
}

const struct mg_codec mg_codec_webp[] = {
    {.name = "webp",
     .mime = "image/webp",
     .extension = "webp",
     .shapes = MG_SHAPE_RASTER | MG_SHAPE_FRAMES,
     .samples = MG_SAMPLE_BIT(MG_U8),
     .max_bands = 4,
     .palette = true,
     .options = webp_options,
     .encode = webp_encode},
    {0},
};
