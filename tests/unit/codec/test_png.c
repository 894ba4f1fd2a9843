/* PNG, decoded by libpng: every kind of raster comes back pixel for pixel, in the kind of image that is meant. */
#include "image_make.h"

#include <png.h>

struct row {
    int width, height, bands;
    bool wide;
    int flags;
    int type, depth; /* of the file */
    bool key;        /* a tRNS chunk */
    const char *sentence;
};

static const struct row rows[] = {
    {256, 256, 1, false, WITH_PALETTE, PNG_COLOR_TYPE_PALETTE, 8, true, "a coloured band keeps its palette"},
    {256, 256, 1, false, WITH_PALETTE | OPAQUE, PNG_COLOR_TYPE_PALETTE, 8, false, "an opaque palette has no tRNS"},
    {250, 3, 1, false, WITH_PALETTE | HOLES, PNG_COLOR_TYPE_PALETTE, 8, true, "holes go to the transparent index"},
    {256, 256, 1, false, WITH_PALETTE | OPAQUE | HOLES, PNG_COLOR_TYPE_RGBA, 8, false,
     "holes in a full opaque palette need alpha"},
    {64, 64, 1, false, 0, PNG_COLOR_TYPE_GRAY, 8, false, "one band is grey"},
    {64, 64, 1, true, 0, PNG_COLOR_TYPE_GRAY, 16, false, "one 16-bit band is 16-bit grey"},
    {16, 8, 1, false, HOLES, PNG_COLOR_TYPE_GRAY, 8, true, "a free grey marks the holes"},
    {256, 64, 1, false, HOLES, PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, "without a free grey there is alpha"},
    {256, 8, 1, true, HOLES, PNG_COLOR_TYPE_GRAY, 16, true, "a free 16-bit grey marks the holes"},
    {64, 64, 2, false, ALL_COLOURS, PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, "two bands are grey and alpha"},
    {32, 32, 2, true, ALL_COLOURS, PNG_COLOR_TYPE_GRAY_ALPHA, 16, false, "two 16-bit bands are grey and alpha"},
    {256, 256, 3, false, ALL_COLOURS, PNG_COLOR_TYPE_RGB, 8, false, "three bands are RGB"},
    {61, 67, 3, true, ALL_COLOURS, PNG_COLOR_TYPE_RGB, 16, false, "three 16-bit bands are RGB"},
    {64, 16, 3, false, ALL_COLOURS | HOLES, PNG_COLOR_TYPE_RGB, 8, true, "a free colour marks the holes"},
    {512, 512, 3, false, ALL_COLOURS | HOLES, PNG_COLOR_TYPE_RGBA, 8, false, "without a free colour there is alpha"},
    {256, 256, 4, false, ALL_COLOURS, PNG_COLOR_TYPE_RGBA, 8, false, "four bands are RGBA"},
    {40, 30, 4, true, ALL_COLOURS | HOLES, PNG_COLOR_TYPE_RGBA, 16, false, "four 16-bit bands are RGBA"},
    {256, 256, 3, false, FEW_COLOURS, PNG_COLOR_TYPE_PALETTE, 8, false, "few colours make a palette"},
    {256, 256, 4, false, FEW_COLOURS | HOLES, PNG_COLOR_TYPE_PALETTE, 8, true, "few colours with alpha too"},
    {1, 1, 1, false, 0, PNG_COLOR_TYPE_GRAY, 8, false, "one pixel"},
    {4096, 2, 4, true, ALL_COLOURS, PNG_COLOR_TYPE_RGBA, 16, false, "the widest row"},
    {3, 1024, 3, false, ALL_COLOURS, PNG_COLOR_TYPE_RGB, 8, false, "a high image"},
};

struct source {
    const struct mg_buf *file;
    size_t at;
};
static void read_bytes(png_structp png, png_bytep out, png_size_t n)
{
    struct source *source = png_get_io_ptr(png);
    assert_true(source->at + n <= source->file->len);
    memcpy(out, source->file->data + source->at, n);
    source->at += n;
}
static void on_error(png_structp png, png_const_charp text)
{
    (void)png;
    fail_msg("libpng: %s", text);
}

static void check_file(const struct row *row, const struct mg_raster *raster, const struct mg_buf *file)
{
    struct source source = {file, 0};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, on_error);
    png_infop info = png_create_info_struct(png);
    png_set_read_fn(png, &source, read_bytes);
    png_read_info(png, info);
    assert_int_equal(png_get_color_type(png, info), row->type);
    assert_int_equal(png_get_bit_depth(png, info), row->depth);
    assert_int_equal(png_get_image_width(png, info), row->width);
    assert_int_equal(png_get_image_height(png, info), row->height);
    assert_int_equal(png_get_valid(png, info, PNG_INFO_tRNS) != 0, row->key);
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_gray_to_rgb(png);
    png_set_add_alpha(png, 255, PNG_FILLER_AFTER);
    png_read_update_info(png, info);
    uint8_t *line = malloc((size_t)row->width * 4), want[4];
    for (int y = 0; y < row->height; y++) {
        png_read_row(png, line, NULL);
        for (int x = 0; x < row->width; x++) {
            expected_rgba(raster, x, y, want);
            if (want[3] == 0 ? line[4 * x + 3] != 0 : memcmp(line + 4 * x, want, 4) != 0)
                fail_msg("%s: pixel %d,%d is %d %d %d %d", row->sentence, x, y, line[4 * x], line[4 * x + 1],
                         line[4 * x + 2], line[4 * x + 3]);
        }
    }
    png_read_end(png, NULL);
    assert_int_equal(source.at, file->len);
    free(line);
    png_destroy_read_struct(&png, &info, NULL);
}

static void test_rows(void **state)
{
    (void)state;
    static const char *const levels[] = {"fast", "small"};
    for (size_t i = 0; i < 2 * sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i / 2];
        struct mg_raster *raster = make_raster(row->width, row->height, row->bands, row->wide, row->flags);
        struct mg_buf file;
        struct mg_errmsg err = {""};
        mg_buf_init(&file, 0);
        if (encode_with("png", raster, "level", levels[i % 2], &file, &err))
            fail_msg("%s: %s", row->sentence, err.text);
        check_file(row, raster, &file);
        mg_buf_fini(&file);
        mg_raster_unref(&raster);
    }
}

static void test_limit(void **state)
{
    (void)state;
    struct mg_raster *raster = make_raster(256, 256, 3, false, ALL_COLOURS);
    struct mg_buf file, whole;
    mg_buf_init(&whole, 0);
    assert_int_equal(encode_with("png", raster, NULL, NULL, &whole, NULL), MG_OK);
    mg_buf_init(&file, whole.len);
    assert_int_equal(encode_with("png", raster, NULL, NULL, &file, NULL), MG_OK);
    assert_int_equal(file.len, whole.len);
    assert_memory_equal(file.data, whole.data, whole.len);
    mg_buf_fini(&file);
    mg_buf_init(&file, whole.len - 1);
    assert_int_equal(encode_with("png", raster, NULL, NULL, &file, NULL), MG_E_UDF_OUTPUT);
    mg_buf_fini(&file);
    mg_buf_fini(&whole);
    mg_raster_unref(&raster);
}

/* A palette that is shorter than the indices in use would be an invalid file. */
static void test_short_palette(void **state)
{
    (void)state;
    static const struct row row = {256, 4, 1, false, WITH_PALETTE, PNG_COLOR_TYPE_PALETTE, 8, true,
                                   "indices behind the palette are transparent"};
    struct mg_raster *raster = make_raster(row.width, row.height, row.bands, row.wide, row.flags);
    struct mg_buf file;
    mg_buf_init(&file, 0);
    raster->n_palette = 10;
    memset(raster->palette[10], 0, sizeof raster->palette - 10 * 4);
    assert_int_equal(encode_with("png", raster, NULL, NULL, &file, NULL), MG_OK);
    check_file(&row, raster, &file);
    mg_buf_fini(&file);
    mg_raster_unref(&raster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_short_palette),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
