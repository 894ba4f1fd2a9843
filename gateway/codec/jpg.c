/* JPEG (JFIF, baseline) by libjpeg-turbo.
 *
 * JPEG has no alpha: what is transparent is laid over jpg.background. Rows go to the library one by one; nothing
 * but one row is held. Measured for 256x256 RGB: about 0.6 ms. */
#include "moongate/codec.h"

#include "image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

static const struct mg_option jpg_options[] = {
    {"quality", MG_OPT_INT, 1, 100, NULL, "85", "100 is best"},
    {"background", MG_OPT_STRING, 1, 20, NULL, "#ffffff",
     "the colour where there is no data: #rrggbb, #rgb, white, black or grey"},
    {"min", MG_OPT_NUMBER, -1e300, 1e300, NULL, NULL, "the sample that is black (default 0, or the type's least)"},
    {"max", MG_OPT_NUMBER, -1e300, 1e300, NULL, NULL, "the sample that is white (default 1, or the type's most)"},
    {0},
};

/* The library's errors end the encoding by a jump; its texts become the message. */
struct catcher {
    struct jpeg_error_mgr base;
    jmp_buf back;
    char text[JMSG_LENGTH_MAX];
};

static _Noreturn void on_error(j_common_ptr info)
{
    struct catcher *catcher = (struct catcher *)(void *)info->err;
    info->err->format_message(info, catcher->text);
    longjmp(catcher->back, 1);
}

static void on_message(j_common_ptr info) { (void)info; }

/* The library fills a piece, which then goes to the buffer. A buffer that failed says so in its status; the library
 * goes on into the void. */
struct sink {
    struct jpeg_destination_mgr base;
    struct mg_buf *out;
    JOCTET piece[16 << 10];
};

static void sink_reset(j_compress_ptr jpeg)
{
    struct sink *sink = (struct sink *)(void *)jpeg->dest;
    sink->base.next_output_byte = sink->piece;
    sink->base.free_in_buffer = sizeof sink->piece;
}

static boolean sink_full(j_compress_ptr jpeg)
{
    struct sink *sink = (struct sink *)(void *)jpeg->dest;
    mg_buf_put(sink->out, sink->piece, sizeof sink->piece);
    sink_reset(jpeg);
    return TRUE;
}

static void sink_end(j_compress_ptr jpeg)
{
    struct sink *sink = (struct sink *)(void *)jpeg->dest;
    mg_buf_put(sink->out, sink->piece, sizeof sink->piece - sink->base.free_in_buffer);
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static enum mg_err read_colour(struct mg_span text, uint8_t rgb[3], struct mg_errmsg *err)
{
    static const struct {
        const char *name;
        uint8_t level;
    } names[] = {{"white", 255}, {"black", 0}, {"grey", 128}, {"gray", 128}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (mg_span_is(text, names[i].name)) {
            memset(rgb, names[i].level, 3);
            return MG_OK;
        }
    bool wide = text.len == 7, ok = (wide || text.len == 4) && text.data[0] == '#';
    for (size_t i = 1; ok && i < text.len; i++)
        ok = hex(text.data[i]) >= 0;
    if (!ok)
        return mg_err_set(err, MG_E_PARAMETER,
                          "jpg.background is \"%.*s\", expected a colour such as #ffcc00, or white, black or grey",
                          (int)text.len, text.data);
    for (size_t i = 0; i < 3; i++)
        rgb[i] = (uint8_t)(hex(text.data[wide ? 1 + 2 * i : 1 + i]) * 16 + hex(text.data[wide ? 2 + 2 * i : 1 + i]));
    return MG_OK;
}

/* Of a grey image the background is grey too (ITU-R BT.601, as JPEG's own luma). */
static void to_luma(uint8_t rgb[3])
{
    rgb[0] = (uint8_t)((299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2] + 500) / 1000);
}

/* Straight alpha over an opaque colour; two channels become one, four become three. In place. */
static void flatten(uint8_t *row, int width, int channels, const uint8_t *background)
{
    int colours = channels - 1;
    uint8_t *out = row;
    for (int x = 0; x < width; x++, row += channels, out += colours) {
        unsigned alpha = row[colours];
        for (int i = 0; i < colours; i++)
            out[i] = (uint8_t)((row[i] * alpha + background[i] * (255 - alpha) + 127) / 255);
    }
}

static enum mg_err jpg_encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    struct mg_image image;
    mg_image_init(&image, job->value->raster);
    int written = image.alpha ? image.channels - 1 : image.channels;
    uint8_t background[3];
    enum mg_err e = read_colour(job->options[1].text, background, err);
    if (e)
        return e;
    if (written == 1)
        to_luma(background);
    struct jpeg_compress_struct jpeg = {0};
    struct catcher catcher;
    struct sink sink;
    uint8_t row[MG_RASTER_MAX_SIDE * 4];

    jpeg.err = jpeg_std_error(&catcher.base);
    catcher.base.error_exit = on_error;
    catcher.base.output_message = on_message;
    if (setjmp(catcher.back)) {
        jpeg_destroy_compress(&jpeg);
        return mg_err_set(err, MG_E_INTERNAL, "jpg: %s", catcher.text);
    }
    jpeg_create_compress(&jpeg);
    sink.out = out;
    sink.base.init_destination = sink_reset;
    sink.base.empty_output_buffer = sink_full;
    sink.base.term_destination = sink_end;
    jpeg.dest = &sink.base;
    jpeg.image_width = (JDIMENSION)image.width;
    jpeg.image_height = (JDIMENSION)image.height;
    jpeg.input_components = written;
    jpeg.in_color_space = written == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, (int)job->options[0].number, TRUE);
    jpeg.optimize_coding = TRUE;
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < image.height; y++) {
        JSAMPROW rows[] = {row};
        mg_image_row(&image, y, row);
        if (image.alpha)
            flatten(row, image.width, image.channels, background);
        jpeg_write_scanlines(&jpeg, rows, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    return MG_OK;
}

const struct mg_codec mg_codec_jpg[] = {
    {.name = "jpg",
     .aliases = "jpeg",
     .mime = "image/jpeg",
     .extension = "jpg",
     .shapes = MG_SHAPE_RASTER,
     .samples = MG_SAMPLE_BIT(MG_U8),
     .max_bands = 4,
     .palette = true,
     .options = jpg_options,
     .encode = jpg_encode},
    {0},
};
