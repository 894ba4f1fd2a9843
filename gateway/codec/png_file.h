/* A PNG file's parts around its pixels, and the filters of its rows. Private to codec/: png and apng. */
#ifndef CODEC_PNG_FILE_H
#define CODEC_PNG_FILE_H

#include "moongate/buf.h"

enum mg_png_type { MG_PNG_GREY = 0, MG_PNG_RGB = 2, MG_PNG_PALETTE = 3, MG_PNG_GREY_ALPHA = 4, MG_PNG_RGBA = 6 };
enum mg_png_filter { MG_PNG_NONE, MG_PNG_SUB, MG_PNG_UP, MG_PNG_AVERAGE, MG_PNG_PAETH, MG_PNG_FILTERS };

struct mg_png_text {
    const char *keyword; /* of the standard's list: "Title" */
    struct mg_span text; /* UTF-8; data NULL: none */
};
struct mg_png_head {
    int width, height, depth;
    enum mg_png_type type;
    int n_palette;
    const uint8_t (*palette)[4]; /* R G B A */
    const uint16_t *key;         /* the grey or RGB that is transparent, or NULL */
    const struct mg_png_text *texts;
    size_t n_texts;
};

/* From the signature to what comes before the data, by libpng. */
MG_MUST_CHECK enum mg_err mg_png_begin(const struct mg_png_head *head, struct mg_buf *out, struct mg_errmsg *err);
/* A chunk around what is put between the two calls; failures show in the buffer's status. */
size_t mg_png_chunk_begin(struct mg_buf *out, const char name[4]);
void mg_png_chunk_end(struct mg_buf *out, size_t begun);
/* The last chunk. */
void mg_png_end(struct mg_buf *out);

static inline void mg_png_put32(uint8_t *at, uint32_t v)
{
    const uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    memcpy(at, bytes, sizeof bytes);
}

/* `up` is the row above (zeros for the first), `step` the bytes of a pixel. */
void mg_png_filter_row(enum mg_png_filter filter, const uint8_t *row, const uint8_t *up, size_t n, size_t step,
                       uint8_t *out);
/* The filter with the least sum of absolute differences (PNG section 12.7); `trial` has room for a row. */
enum mg_png_filter mg_png_best_filter(const uint8_t *row, const uint8_t *up, size_t n, size_t step, uint8_t *trial);

#endif
