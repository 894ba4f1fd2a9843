/* Legend: a bar of a colour map's colours with its scale below, as four bands.
 *
 * Ticks stand at multiples of 1, 2 or 5 times a power of ten, as many as labels have room for.
 * Digits are the 5 x 7 dots of the common character displays. Cost: the pixels of the picture. */
#include "moongate/raster_ops.h"

#include <math.h>
#include <stdio.h>

enum {
    GLYPH_W = 5,
    GLYPH_H = 7,
    ADVANCE = 6,
    TICK = 4,
    SCALE_H = TICK + 2 + GLYPH_H,
    LEAST_SIDE = 24
};

static const struct {
    char letter;
    uint8_t rows[GLYPH_H];
} glyphs[] = {
    {'0', {0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e}},
    {'1', {0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e}},
    {'2', {0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f}},
    {'3', {0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e}},
    {'4', {0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02}},
    {'5', {0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e}},
    {'6', {0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e}},
    {'7', {0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08}},
    {'8', {0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e}},
    {'9', {0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c}},
    {'-', {0x00, 0x00, 0x00, 0x1f, 0x00, 0x00, 0x00}},
    {'.', {0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c}},
    {'e', {0x00, 0x00, 0x0e, 0x11, 0x1f, 0x10, 0x0e}},
    {'+', {0x00, 0x04, 0x04, 0x1f, 0x04, 0x04, 0x00}},
};

static void dot(struct mg_raster *r, int x, int y)
{
    if (x < 0 || y < 0 || x >= r->width || y >= r->height)
        return;
    for (int band = 0; band < 4; band++)
        ((uint8_t *)mg_raster_samples(r, band))[y * r->width + x] = band == 3 ? 255 : 32;
}

static void write_label(struct mg_raster *r, const char *text, int middle, int top)
{
    int width = (int)strlen(text) * ADVANCE - 1, left = middle - width / 2;
    left = left + width > r->width ? r->width - width : left;
    left = left < 0 ? 0 : left;
    for (; *text; text++, left += ADVANCE)
        for (size_t g = 0; g < sizeof glyphs / sizeof *glyphs; g++)
            for (int i = 0; glyphs[g].letter == *text && i < GLYPH_W * GLYPH_H; i++)
                if (glyphs[g].rows[i / GLYPH_W] >> (GLYPH_W - 1 - i % GLYPH_W) & 1)
                    dot(r, left + i % GLYPH_W, top + i / GLYPH_W);
}

/* The step between ticks for at most `most` of them. */
static double step_of(double range, double most)
{
    double rough = range / fmax(most, 1), power = pow(10, floor(log10(rough)));
    static const double steps[] = {1, 2, 5};
    for (int i = 0; i < 3; i++)
        if (steps[i] * power >= rough * (1 - 1e-9))
            return steps[i] * power;
    return 10 * power;
}

static void draw_scale(struct mg_raster *r, double low, double high)
{
    int bar = r->height - SCALE_H;
    double step = step_of(high - low, r->width / 50.0), first = ceil(low / step - 1e-9);
    for (int i = 0; i <= r->width && (first + i) * step <= high + 1e-9 * step; i++) {
        double value = (first + i) * step;
        int x = (int)lround((value - low) / (high - low) * (r->width - 1));
        char text[32];
        snprintf(text, sizeof text, "%.6g", fabs(value) < 1e-9 * step ? 0 : value);
        for (int y = bar; y < bar + TICK; y++)
            dot(r, x, y);
        write_label(r, text, x, bar + TICK + 2);
    }
}

enum mg_err mg_raster_legend(const struct mg_stop *stops, size_t n, double low, double high,
                             int width, int height, struct mg_raster **out, struct mg_errmsg *err)
{
    struct mg_raster *ramp = NULL, *painted = NULL, *r = NULL;
    if (width < LEAST_SIDE || height < LEAST_SIDE || width > MG_RASTER_MAX_SIDE ||
        height > MG_RASTER_MAX_SIDE)
        return mg_err_set(err, MG_E_ARGUMENT, "a legend has sides of %d to %d pixels, not %d x %d",
                          LEAST_SIDE, MG_RASTER_MAX_SIDE, width, height);
    if (!(low < high) || !isfinite(high - low))
        return mg_err_set(err, MG_E_ARGUMENT, "a legend goes from low to high, not from %g to %g",
                          low, high);
    enum mg_err code = mg_raster_new(width, height, 1, MG_F32, &ramp, err);
    if (code != MG_OK)
        return code;
    for (int i = 0; i < width * height; i++)
        ((float *)ramp->data)[i] =
            i / width < height - SCALE_H ? (float)(i % width) / (float)(width - 1) : NAN;
    code = mg_raster_colour(ramp, stops, n, 0, 1, &painted, err);
    if (code == MG_OK)
        code = mg_raster_rgba(painted, &r, err);
    mg_raster_unref(&ramp);
    mg_raster_unref(&painted);
    if (code != MG_OK)
        return code;
    draw_scale(r, low, high);
    *out = r;
    return MG_OK;
}
