/* PNG's container by libpng, but for the chunks of data, whose bytes it would only copy and sum more slowly. */
#include "png_file.h"

#include "deflate.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>

static void on_write(png_structp png, png_bytep data, size_t len) { mg_buf_put(png_get_io_ptr(png), data, len); }

static void on_flush(png_structp png) { (void)png; }

static _Noreturn void on_error(png_structp png, png_const_charp message)
{
    mg_err_set(png_get_error_ptr(png), MG_E_INTERNAL, "png: %s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void set_colours(png_structp png, png_infop info, const struct mg_png_head *head)
{
    png_color palette[256];
    png_byte alpha[256];
    int n_alpha = 0;
    if (head->type == MG_PNG_PALETTE) {
        for (int i = 0; i < head->n_palette; i++) {
            const uint8_t *c = head->palette[i];
            palette[i] = (png_color){c[0], c[1], c[2]};
            alpha[i] = c[3];
            n_alpha = c[3] != 255 ? i + 1 : n_alpha;
        }
        png_set_PLTE(png, info, palette, head->n_palette);
        if (n_alpha)
            png_set_tRNS(png, info, alpha, n_alpha, NULL);
    } else if (head->key) {
        png_color_16 key = {.gray = head->key[0], .red = head->key[0], .green = head->key[1], .blue = head->key[2]};
        png_set_tRNS(png, info, NULL, 0, &key);
    }
}

/* As iTXt, which is UTF-8. `copy` has room for all of the texts with their ends. */
static void set_texts(png_structp png, png_infop info, const struct mg_png_head *head, char *copy)
{
    for (size_t i = 0; i < head->n_texts; i++) {
        const struct mg_png_text *text = &head->texts[i];
        if (!text->text.data)
            continue;
        png_text one = {.compression = PNG_ITXT_COMPRESSION_NONE, .key = (char *)(uintptr_t)text->keyword, .text = copy,
                        .itxt_length = text->text.len};
        memcpy(copy, text->text.data, text->text.len);
        copy[text->text.len] = '\0';
        copy += text->text.len + 1;
        png_set_text(png, info, &one, 1);
    }
}

enum mg_err mg_png_begin(const struct mg_png_head *head, struct mg_buf *out, struct mg_errmsg *err)
{
    struct mg_errmsg unread;
    size_t bytes = 0;
    for (size_t i = 0; i < head->n_texts; i++)
        bytes += head->texts[i].text.data ? head->texts[i].text.len + 1 : 0;
    char *copy = bytes ? malloc(bytes) : NULL;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, err ? err : &unread, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    enum mg_err e = MG_OK;
    if (!info || (bytes && !copy)) {
        e = mg_err_set(err, MG_E_NOMEM, "png: no memory");
    } else if (setjmp(png_jmpbuf(png))) {
        e = MG_E_INTERNAL;
    } else {
        png_set_write_fn(png, out, on_write, on_flush);
        png_set_IHDR(png, info, (png_uint_32)head->width, (png_uint_32)head->height, head->depth, (int)head->type,
                     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
        set_colours(png, info, head);
        set_texts(png, info, head, copy);
        png_write_info(png, info);
    }
    png_destroy_write_struct(&png, &info);
    free(copy);
    return e;
}

size_t mg_png_chunk_begin(struct mg_buf *out, const char name[4])
{
    size_t at = out->len;
    mg_buf_put(out, "\0\0\0\0", 4);
    mg_buf_put(out, name, 4);
    return at;
}

void mg_png_chunk_end(struct mg_buf *out, size_t begun)
{
    uint8_t crc[4];
    if (out->failed)
        return;
    mg_png_put32((uint8_t *)out->data + begun, (uint32_t)(out->len - begun - 8));
    mg_png_put32(crc, mg_crc32(0, out->data + begun + 4, out->len - begun - 4));
    mg_buf_put(out, crc, 4);
}

void mg_png_end(struct mg_buf *out)
{
    mg_png_chunk_end(out, mg_png_chunk_begin(out, "IEND"));
}
