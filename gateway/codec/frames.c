/* The canvas of an animation: each frame as RGBA, and what of it changed since the one before.
 *
 * Two pictures are held, whatever the number of frames; a frame costs about 2 ns a pixel. */
#include "frames.h"

#include <stdlib.h>

void mg_frames_init(struct mg_frames *frames, const struct mg_value *value)
{
    *frames = (struct mg_frames){.list = value->frames, .n = value->n_frames};
    if (value->shape == MG_SHAPE_RASTER) {
        frames->one = (struct mg_frame){.raster = value->raster};
        frames->list = NULL;
        frames->n = 1;
    }
    const struct mg_raster *first = mg_frames_at(frames, 0)->raster;
    frames->width = first->width;
    frames->height = first->height;
}

enum mg_err mg_canvas_init(struct mg_canvas *canvas, const struct mg_frames *frames, struct mg_errmsg *err)
{
    size_t bytes = (size_t)frames->width * (size_t)frames->height * sizeof(uint32_t);
    *canvas = (struct mg_canvas){.width = frames->width, .height = frames->height};
    canvas->pixels = malloc(bytes);
    canvas->before = frames->n > 1 ? malloc(bytes) : NULL;
    if (canvas->pixels && (canvas->before || frames->n == 1))
        return MG_OK;
    mg_canvas_fini(canvas);
    return mg_err_set(err, MG_E_NOMEM, "no memory for an animation of %d x %d", frames->width, frames->height);
}

void mg_canvas_fini(struct mg_canvas *canvas)
{
    free(canvas->pixels);
    free(canvas->before);
    *canvas = (struct mg_canvas){0};
}

void mg_canvas_show(struct mg_canvas *canvas, const struct mg_raster *raster)
{
    struct mg_image image;
    if (canvas->before) {
        uint32_t *old = canvas->before;
        canvas->before = canvas->pixels;
        canvas->pixels = old;
    }
    mg_image_init(&image, raster);
    for (int y = 0; y < canvas->height; y++)
        mg_image_rgba_row(&image, y, canvas->pixels + (size_t)y * (size_t)canvas->width);
    canvas->shown++;
}

struct mg_part mg_canvas_changed(const struct mg_canvas *canvas)
{
    int width = canvas->width, left = width, right = -1, top = -1, bottom = -1;
    if (canvas->shown < 2)
        return (struct mg_part){0, 0, width, canvas->height};
    for (int y = 0; y < canvas->height; y++) {
        const uint32_t *now = canvas->pixels + (size_t)y * (size_t)width;
        const uint32_t *old = canvas->before + (size_t)y * (size_t)width;
        if (memcmp(now, old, (size_t)width * sizeof *now) == 0)
            continue;
        top = top < 0 ? y : top;
        bottom = y;
        for (int x = 0; x < left; x++)
            if (now[x] != old[x])
                left = x;
        for (int x = width - 1; x > right; x--)
            if (now[x] != old[x])
                right = x;
    }
    if (top < 0) /* a part has at least one pixel */
        return (struct mg_part){0, 0, 1, 1};
    return (struct mg_part){left, top, right - left + 1, bottom - top + 1};
}
