/* What the formats of animations (apng, gif, webp) share. Private to codec/.
 *
 * A single raster is an animation of one frame. Frames are 8 bit and of one size: the shared part has seen to it. */
#ifndef CODEC_FRAMES_H
#define CODEC_FRAMES_H

#include "moongate/codec.h"

#include "image.h"

struct mg_frames {
    const struct mg_frame *list; /* borrowed from the value; NULL: `one` */
    struct mg_frame one;
    size_t n;
    int width, height;
};
void mg_frames_init(struct mg_frames *frames, const struct mg_value *value);
static inline const struct mg_frame *mg_frames_at(const struct mg_frames *frames, size_t i)
{
    return frames->list ? &frames->list[i] : &frames->one;
}

/* The frame on show and the one before, as R G B A in memory order, straight alpha; 0 where fully transparent. */
struct mg_canvas {
    int width, height;
    size_t shown;
    uint32_t *pixels, *before;
};
MG_MUST_CHECK enum mg_err mg_canvas_init(struct mg_canvas *canvas, const struct mg_frames *frames,
                                         struct mg_errmsg *err);
void mg_canvas_fini(struct mg_canvas *canvas);
void mg_canvas_show(struct mg_canvas *canvas, const struct mg_raster *raster);
struct mg_part {
    int left, top, width, height;
};
/* The smallest part that holds all that changed since the frame before; all of the first. */
struct mg_part mg_canvas_changed(const struct mg_canvas *canvas);

#endif
