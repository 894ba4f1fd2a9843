/* GIF89a by giflib: one frame or an animation that repeats for ever.
 *
 * One palette serves all frames, so that nothing flickers: exact while they have at most 255 colours (256 without
 * transparency), else chosen (gif_colours.c). Alpha below half is transparent. Where no frame has transparent pixels, a
 * frame is only the part that changed; where some have, each frame is whole and is taken away before the next. GIF counts
 * hundredths of a second, and browsers take less than two for ten: delays are rounded and at least two. Two passes over the
 * frames. Measured for 256x256: 2 ms a frame with few colours, 4 ms with many; 4096x4096 in 1.1 s. */
#include "moongate/codec.h"

#include "colours.h"
#include "frames.h"
#include "gif_colours.h"

#include <stdlib.h>

#include <gif_lib.h>

enum { SHOWN = 128 };

struct writer {
    struct mg_canvas canvas;
    struct mg_colours exact;
    struct mg_gif_colours *chosen; /* NULL: exact */
    bool clear;                    /* some pixel is transparent: the index `transparent` */
    int transparent, n_palette;
    uint8_t palette[256][3];
    GifFileType *gif;
    GifPixelType *row;
};

static bool is_shown(uint32_t pixel)
{
    uint8_t rgba[4];
    memcpy(rgba, &pixel, 4);
    return rgba[3] >= SHOWN;
}

/* Without alpha, which counted already. */
static uint32_t opaque(uint32_t pixel)
{
    const uint8_t full[4] = {0, 0, 0, 255};
    uint32_t alpha;
    memcpy(&alpha, full, 4);
    return pixel | alpha;
}

/* First all colours while they fit into a palette; from the frame where they do not on, counts of all frames anew. */
static bool count_exact(struct writer *w, const struct mg_frames *frames)
{
    size_t n = (size_t)frames->width * (size_t)frames->height;
    bool fits = true;
    mg_colours_init(&w->exact, 256);
    for (size_t f = 0; f < frames->n && (fits || !w->clear); f++) {
        mg_canvas_show(&w->canvas, mg_frames_at(frames, f)->raster);
        for (size_t i = 0; i < n; i++) {
            uint32_t pixel = w->canvas.pixels[i];
            if (!is_shown(pixel))
                w->clear = true;
            else
                fits = fits && mg_colours_index(&w->exact, opaque(pixel)) >= 0;
        }
    }
    return fits && w->exact.n + (w->clear ? 1 : 0) <= 256;
}

static enum mg_err choose(struct writer *w, const struct mg_frames *frames, struct mg_errmsg *err)
{
    size_t n = (size_t)frames->width * (size_t)frames->height;
    w->chosen = calloc(1, sizeof *w->chosen);
    for (size_t f = 0; w->chosen && f < frames->n; f++) {
        mg_canvas_show(&w->canvas, mg_frames_at(frames, f)->raster);
        for (size_t i = 0; i < n; i++) {
            uint8_t rgba[4];
            memcpy(rgba, &w->canvas.pixels[i], 4);
            if (rgba[3] < SHOWN)
                continue;
            unsigned cell = mg_gif_cell(rgba);
            w->chosen->count[cell] += w->chosen->count[cell] < UINT32_MAX;
            for (int c = 0; c < 3; c++)
                w->chosen->sum[cell][c] += rgba[c];
        }
    }
    w->n_palette = w->chosen ? mg_gif_choose(w->chosen, w->clear ? 255 : 256, w->palette) : -1;
    return w->n_palette >= 0 ? MG_OK : mg_err_set(err, MG_E_NOMEM, "no memory for the colours of a gif");
}

static enum mg_err make_palette(struct writer *w, const struct mg_frames *frames, struct mg_errmsg *err)
{
    if (count_exact(w, frames)) {
        w->n_palette = w->exact.n;
        for (int i = 0; i < w->n_palette; i++)
            memcpy(w->palette[i], w->exact.palette[i], 3);
    } else {
        enum mg_err e = choose(w, frames, err);
        if (e)
            return e;
    }
    w->transparent = w->clear ? w->n_palette++ : NO_TRANSPARENT_COLOR;
    w->canvas.shown = 0;
    return MG_OK;
}

static void fill_row(struct writer *w, const uint32_t *pixels, int n)
{
    for (int x = 0; x < n; x++) {
        uint32_t pixel = pixels[x];
        if (x && pixel == pixels[x - 1]) {
            w->row[x] = w->row[x - 1];
        } else if (!is_shown(pixel)) {
            w->row[x] = (GifPixelType)w->transparent;
        } else if (w->chosen) {
            uint8_t rgba[4];
            memcpy(rgba, &pixel, 4);
            w->row[x] = w->chosen->index[mg_gif_cell(rgba)];
        } else {
            w->row[x] = (GifPixelType)mg_colours_index(&w->exact, opaque(pixel));
        }
    }
}

static int on_write(GifFileType *gif, const GifByteType *data, int len)
{
    struct mg_buf *out = gif->UserData;
    mg_buf_put(out, data, (size_t)len);
    return out->failed ? 0 : len;
}

/* GIF has 1 to 256 colours, a power of two of them. */
static ColorMapObject *colour_map(const struct writer *w)
{
    int n = 2;
    while (n < w->n_palette)
        n *= 2;
    ColorMapObject *map = GifMakeMapObject(n, NULL);
    for (int i = 0; map && i < w->n_palette; i++)
        map->Colors[i] = (GifColorType){w->palette[i][0], w->palette[i][1], w->palette[i][2]};
    return map;
}

static bool put_head(struct writer *w, bool animated)
{
    static const char loop[] = {1, 0, 0}; /* NETSCAPE2.0: repeat, 0 times: for ever */
    ColorMapObject *map = colour_map(w);
    bool ok = map && EGifPutScreenDesc(w->gif, w->canvas.width, w->canvas.height, 8, 0, map) == GIF_OK;
    GifFreeMapObject(map);
    if (!ok || !animated)
        return ok;
    return EGifPutExtensionLeader(w->gif, APPLICATION_EXT_FUNC_CODE) == GIF_OK &&
           EGifPutExtensionBlock(w->gif, 11, "NETSCAPE2.0") == GIF_OK &&
           EGifPutExtensionBlock(w->gif, sizeof loop, loop) == GIF_OK &&
           EGifPutExtensionTrailer(w->gif) == GIF_OK;
}

static bool put_frame(struct writer *w, const struct mg_frame *frame, bool animated)
{
    GifByteType control[4];
    mg_canvas_show(&w->canvas, frame->raster);
    struct mg_part part = {0, 0, w->canvas.width, w->canvas.height};
    if (!w->clear)
        part = mg_canvas_changed(&w->canvas);
    int hundredths = (frame->delay_ms + 5) / 10;
    const GraphicsControlBlock block = {
        .DisposalMode = !animated ? DISPOSAL_UNSPECIFIED : w->clear ? DISPOSE_BACKGROUND : DISPOSE_DO_NOT,
        .DelayTime = !animated ? 0 : hundredths < 2 ? 2 : hundredths > 65535 ? 65535 : hundredths,
        .TransparentColor = w->transparent};
    EGifGCBToExtension(&block, control);
    if (EGifPutExtension(w->gif, GRAPHICS_EXT_FUNC_CODE, sizeof control, control) != GIF_OK ||
        EGifPutImageDesc(w->gif, part.left, part.top, part.width, part.height, false, NULL) != GIF_OK)
        return false;
    for (int y = part.top; y < part.top + part.height; y++) {
        fill_row(w, w->canvas.pixels + (size_t)y * (size_t)w->canvas.width + part.left, part.width);
        if (EGifPutLine(w->gif, w->row, part.width) != GIF_OK)
            return false;
    }
    return true;
}

static enum mg_err put_file(struct writer *w, const struct mg_frames *frames, struct mg_buf *out,
                            struct mg_errmsg *err)
{
    int code = 0;
    bool animated = frames->n > 1;
    w->gif = EGifOpen(out, on_write, &code);
    if (!w->gif)
        return mg_err_set(err, MG_E_NOMEM, "gif: %s", GifErrorString(code));
    EGifSetGifVersion(w->gif, true);
    bool ok = put_head(w, animated);
    for (size_t i = 0; ok && i < frames->n; i++)
        ok = put_frame(w, mg_frames_at(frames, i), animated);
    if (!ok)
        code = w->gif->Error;
    if (EGifCloseFile(w->gif, ok ? &code : NULL) != GIF_OK)
        ok = false;
    if (ok)
        return MG_OK;
    enum mg_err e = mg_buf_status(out, err);
    return e ? e : mg_err_set(err, MG_E_INTERNAL, "gif: %s", GifErrorString(code));
}

static enum mg_err gif_encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    struct mg_frames frames;
    struct writer w = {0};
    mg_frames_init(&frames, job->value);
    enum mg_err e = mg_canvas_init(&w.canvas, &frames, err);
    if (e)
        return e;
    w.row = malloc((size_t)frames.width);
    e = w.row ? make_palette(&w, &frames, err) : mg_err_set(err, MG_E_NOMEM, "no memory for a row of a gif");
    if (!e)
        e = put_file(&w, &frames, out, err);
    free(w.row);
    free(w.chosen);
    mg_canvas_fini(&w.canvas);
    return e;
}

static const struct mg_option gif_options[] = {
    {"min", MG_OPT_NUMBER, -1e300, 1e300, NULL, NULL, "the sample that is black (default 0, or the type's least)"},
    {"max", MG_OPT_NUMBER, -1e300, 1e300, NULL, NULL, "the sample that is white (default 1, or the type's most)"},
    {0},
};

const struct mg_codec mg_codec_gif[] = {
    {.name = "gif",
     .mime = "image/gif",
     .extension = "gif",
     .shapes = MG_SHAPE_RASTER | MG_SHAPE_FRAMES,
     .samples = MG_SAMPLE_BIT(MG_U8),
     .max_bands = 4,
     .palette = true,
     .options = gif_options,
     .encode = gif_encode},
    {0},
};
