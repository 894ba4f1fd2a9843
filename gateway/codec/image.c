/* Interleaving rows for the image encoders.
 *
 * Colour bands are all but a second or fourth one, which is alpha. A pixel is transparent when every colour band
 * is masked there, as GDAL's dataset mask has it; elsewhere masked bands show their samples. */
#include "image.h"

#include "moongate/codec.h"

static int colour_bands(const struct mg_raster *raster)
{
    return raster->bands == 2 || raster->bands == 4 ? raster->bands - 1 : raster->bands;
}

static bool mask_has_holes(const struct mg_raster *raster)
{
    size_t n = (size_t)raster->width * (size_t)raster->height;
    for (int band = 0; raster->mask && band < colour_bands(raster); band++)
        if (memchr(raster->mask + (size_t)band * n, 0, n))
            return true;
    return false;
}

void mg_image_init(struct mg_image *image, const struct mg_raster *raster)
{
    *image = (struct mg_image){
        .raster = raster, .width = raster->width, .height = raster->height, .holes = mask_has_holes(raster)};
    if (raster->n_palette) {
        image->alpha = image->holes;
        for (int i = 0; i < raster->n_palette; i++)
            image->alpha |= raster->palette[i][3] != 255;
        image->channels = image->alpha ? 4 : 3;
        return;
    }
    image->binary_alpha = image->holes && raster->bands == colour_bands(raster);
    image->channels = raster->bands + (image->binary_alpha ? 1 : 0);
    image->alpha = image->channels == 2 || image->channels == 4;
}

void mg_image_valid_row(const struct mg_image *image, int y, uint8_t *out)
{
    const struct mg_raster *raster = image->raster;
    size_t width = (size_t)image->width, plane = width * (size_t)image->height;
    if (!image->holes) {
        memset(out, 1, width);
        return;
    }
    const uint8_t *mask = raster->mask + (size_t)y * width;
    for (size_t x = 0; x < width; x++)
        out[x] = mask[x] != 0;
    for (int band = 1; band < colour_bands(raster); band++)
        for (size_t x = 0; x < width; x++)
            out[x] |= mask[(size_t)band * plane + x] != 0;
}

static void palette_row(const struct mg_image *image, int y, uint8_t *restrict out)
{
    const struct mg_raster *raster = image->raster;
    const uint8_t *restrict index = (const uint8_t *)mg_raster_samples(raster, 0) + (size_t)y * (size_t)image->width;
    for (int x = 0; x < image->width; x++) {
        /* Indices past the palette are transparent black: entries are zero there. */
        memcpy(out, raster->palette[index[x]], image->alpha ? 4 : 3);
        out += image->channels;
    }
}

#define INTERLEAVE(type, maximum)                                                                                    \
    static void interleave_##type(const struct mg_image *image, int y, const uint8_t *valid, type *restrict out)     \
    {                                                                                                                \
        const struct mg_raster *raster = image->raster;                                                              \
        int width = image->width, bands = raster->bands;                                                             \
        const type *in[4] = {0};                                                                                         \
        for (int band = 0; band < bands; band++)                                                                     \
            in[band] = (const type *)mg_raster_samples(raster, band) + (size_t)y * (size_t)width;                    \
        const type *restrict a = in[0], *restrict b = in[bands > 1], *restrict c = in[bands > 2 ? 2 : 0],            \
                   *restrict d = in[bands > 3 ? 3 : 0];                                                              \
        switch (bands) {                                                                                             \
        case 1:                                                                                                      \
            if (image->channels == 1)                                                                                \
                memcpy(out, a, (size_t)width * sizeof *a);                                                           \
            else                                                                                                     \
                for (int x = 0; x < width; x++)                                                                      \
                    out[2 * x] = a[x];                                                                               \
            break;                                                                                                   \
        case 2:                                                                                                      \
            for (int x = 0; x < width; x++) {                                                                        \
                out[2 * x] = a[x];                                                                                   \
                out[2 * x + 1] = b[x];                                                                               \
            }                                                                                                        \
            break;                                                                                                   \
        case 3:                                                                                                      \
            if (image->channels == 3)                                                                                \
                for (int x = 0; x < width; x++) {                                                                    \
                    out[3 * x] = a[x];                                                                               \
                    out[3 * x + 1] = b[x];                                                                           \
                    out[3 * x + 2] = c[x];                                                                           \
                }                                                                                                    \
            else                                                                                                     \
                for (int x = 0; x < width; x++) {                                                                    \
                    out[4 * x] = a[x];                                                                               \
                    out[4 * x + 1] = b[x];                                                                           \
                    out[4 * x + 2] = c[x];                                                                           \
                }                                                                                                    \
            break;                                                                                                   \
        default:                                                                                                     \
            for (int x = 0; x < width; x++) {                                                                        \
                out[4 * x] = a[x];                                                                                   \
                out[4 * x + 1] = b[x];                                                                               \
                out[4 * x + 2] = c[x];                                                                               \
                out[4 * x + 3] = d[x];                                                                               \
            }                                                                                                        \
        }                                                                                                            \
        int step = image->channels;                                                                                  \
        if (image->binary_alpha)                                                                                     \
            for (int x = 0; x < width; x++)                                                                          \
                out[step * x + step - 1] = valid[x] ? maximum : 0;                                                   \
        /* What nobody sees compresses best as zero. */                                                              \
        if (image->holes)                                                                                            \
            for (int x = 0; x < width; x++)                                                                          \
                if (!valid[x])                                                                                       \
                    memset(out + step * x, 0, (size_t)step * sizeof *out);                                           \
    }
INTERLEAVE(uint8_t, 255)
INTERLEAVE(uint16_t, 65535)

void mg_image_row(const struct mg_image *image, int y, void *out)
{
    uint8_t valid[MG_RASTER_MAX_SIDE];
    MG_ASSERT(image->width <= MG_RASTER_MAX_SIDE);
    if (image->holes)
        mg_image_valid_row(image, y, valid);
    if (image->raster->n_palette) {
        palette_row(image, y, out);
        for (int x = 0; image->holes && x < image->width; x++)
            if (!valid[x])
                memset((uint8_t *)out + 4 * x, 0, 4);
    } else if (image->raster->sample == MG_U8) {
        interleave_uint8_t(image, y, valid, out);
    } else {
        MG_ASSERT(image->raster->sample == MG_U16);
        interleave_uint16_t(image, y, valid, out);
    }
}

void mg_image_rgba_row(const struct mg_image *image, int y, uint32_t *out)
{
    uint8_t row[MG_RASTER_MAX_SIDE * 4];
    MG_ASSERT(image->raster->sample == MG_U8);
    mg_image_row(image, y, row);
    const uint8_t *at = row;
    int step = image->channels, g = step >= 3 ? 1 : 0, b = step >= 3 ? 2 : 0;
    for (int x = 0; x < image->width; x++, at += step) {
        uint8_t alpha = image->alpha ? at[step - 1] : 255;
        const uint8_t rgba[4] = {at[0], at[g], at[b], alpha};
        memcpy(&out[x], rgba, sizeof rgba);
        out[x] = alpha ? out[x] : 0;
    }
}

double mg_codec_option(const struct mg_codec *codec, const struct mg_codec_job *job, const char *name)
{
    for (size_t i = 0; codec->options && codec->options[i].name; i++)
        if (strcmp(codec->options[i].name, name) == 0)
            return job->options[i].number;
    MG_ASSERT(!"a codec asks for an option that its row has not");
    return 0;
}
