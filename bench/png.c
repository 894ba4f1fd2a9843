/* bench_png FILE ROUNDS: encodes the picture of a palette PNG again and again, by our codec and by libpng, in turn.
 *
 * Prints a JSON line for each encoder and round: microseconds a picture (mean over the pictures of a quarter second) and
 * bytes. libpng at level 6 with its own choice of filters: once as a palette picture, once as RGBA, which is what a server
 * writes that does not keep the palette. What ours wrote is read back and compared before anything is timed. */
#include "moongate/codec.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct mg_raster *picture;
static uint8_t *rgba;

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void die(const char *what)
{
    fprintf(stderr, "bench_png: %s\n", what);
    exit(1);
}

/* The indices and palette of a PNG. */
static struct mg_raster *read_palette(FILE *file)
{
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    struct mg_raster *raster = NULL;
    if (!info || setjmp(png_jmpbuf(png)))
        die("the file is not a PNG");
    png_init_io(png, file);
    png_read_info(png, info);
    png_colorp colours;
    png_bytep alphas = NULL;
    int n = 0, n_alphas = 0;
    if (!png_get_PLTE(png, info, &colours, &n))
        die("the PNG has no palette");
    png_get_tRNS(png, info, &alphas, &n_alphas, NULL);
    png_set_packing(png);
    png_read_update_info(png, info);
    int width = (int)png_get_image_width(png, info), height = (int)png_get_image_height(png, info);
    if (mg_raster_new(width, height, 1, MG_U8, &raster, NULL) != MG_OK)
        die("no memory");
    raster->n_palette = n;
    for (int i = 0; i < n; i++) {
        raster->palette[i][0] = colours[i].red;
        raster->palette[i][1] = colours[i].green;
        raster->palette[i][2] = colours[i].blue;
        raster->palette[i][3] = i < n_alphas ? alphas[i] : 255;
    }
    for (int y = 0; y < height; y++)
        png_read_row(png, (uint8_t *)mg_raster_samples(raster, 0) + (size_t)y * (size_t)width, NULL);
    png_destroy_read_struct(&png, &info, NULL);
    return raster;
}

static void write_ours(struct mg_buf *out)
{
    static const struct mg_codec *codec;
    static struct mg_option_value options[32];
    if (!codec) {
        codec = mg_codec_find(MG_SPAN("png"));
        mg_option_defaults(codec, options);
    }
    struct mg_value value = {.shape = MG_SHAPE_RASTER, .raster = picture};
    struct mg_codec_job job = {.value = &value, .options = options, .tile_size = picture->width};
    if (mg_encode(codec, &job, out, NULL) != MG_OK)
        die("our codec failed");
}

static void append(png_structp png, png_bytep data, size_t len)
{
    mg_buf_put(png_get_io_ptr(png), data, len);
}

static void flush(png_structp png)
{
    (void)png;
}

static void write_libpng(struct mg_buf *out, bool as_rgba)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info || setjmp(png_jmpbuf(png)))
        die("libpng failed");
    uint32_t width = (uint32_t)picture->width, height = (uint32_t)picture->height;
    png_set_write_fn(png, out, append, flush);
    png_set_compression_level(png, 6);
    png_set_IHDR(png, info, width, height, 8, as_rgba ? PNG_COLOR_TYPE_RGBA : PNG_COLOR_TYPE_PALETTE, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (!as_rgba) {
        png_color colours[256];
        uint8_t alphas[256];
        for (int i = 0; i < picture->n_palette; i++) {
            colours[i] = (png_color){picture->palette[i][0], picture->palette[i][1], picture->palette[i][2]};
            alphas[i] = picture->palette[i][3];
        }
        png_set_PLTE(png, info, colours, picture->n_palette);
        png_set_tRNS(png, info, alphas, picture->n_palette, NULL);
    }
    png_write_info(png, info);
    const uint8_t *rows = as_rgba ? rgba : mg_raster_samples(picture, 0);
    for (uint32_t y = 0; y < height; y++)
        png_write_row(png, rows + (size_t)y * width * (as_rgba ? 4 : 1));
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
}

static void write_libpng_palette(struct mg_buf *out)
{
    write_libpng(out, false);
}

static void write_libpng_rgba(struct mg_buf *out)
{
    write_libpng(out, true);
}

/* What ours wrote shows the same pixels. */
static void check(void)
{
    struct mg_buf written;
    mg_buf_init(&written, 0);
    write_ours(&written);
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&image, written.data, written.len))
        die("ours cannot be read");
    image.format = PNG_FORMAT_RGBA;
    uint8_t *back = malloc(PNG_IMAGE_SIZE(image));
    if (!back || !png_image_finish_read(&image, NULL, back, 0, NULL))
        die("ours cannot be read");
    for (size_t i = 0; i < PNG_IMAGE_SIZE(image); i += 4) /* colours behind full transparency do not show */
        if (back[i + 3] != rgba[i + 3] || (rgba[i + 3] && memcmp(back + i, rgba + i, 3) != 0))
            die("ours shows other pixels");
    free(back);
    mg_buf_fini(&written);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*write)(struct mg_buf *out);
    } encoders[] = {
        {"ours", write_ours},
        {"libpng", write_libpng_palette},
        {"libpng-rgba", write_libpng_rgba},
    };
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    if (!file)
        die("a palette PNG and a number of rounds are expected");
    picture = read_palette(file);
    fclose(file);
    size_t pixels = (size_t)picture->width * (size_t)picture->height;
    const uint8_t *samples = mg_raster_samples(picture, 0);
    rgba = malloc(pixels * 4);
    if (!rgba)
        die("no memory");
    for (size_t i = 0; i < pixels; i++)
        memcpy(rgba + 4 * i, picture->palette[samples[i]], 4);
    check();
    long rounds = strtol(argv[2], NULL, 10);
    for (long round = -1; round < rounds; round++) {
        for (size_t i = 0; i < sizeof encoders / sizeof *encoders; i++) {
            size_t bytes = 0;
            int n = 0;
            double from = now_us(), spent = 0;
            while (spent < 250000) {
                struct mg_buf out;
                mg_buf_init(&out, 0);
                encoders[i].write(&out);
                bytes = out.len;
                mg_buf_fini(&out);
                n++;
                spent = now_us() - from;
            }
            if (round >= 0)
                printf("{\"encoder\":\"%s\",\"us\":%.2f,\"bytes\":%zu}\n", encoders[i].name, spent / n, bytes);
        }
    }
    free(rgba);
    mg_raster_unref(&picture);
    return 0;
}
