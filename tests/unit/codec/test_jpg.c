/* JPEG, decoded by libjpeg-turbo: close to the samples, flat where there is no data. */
#include "image_make.h"

#include <stdio.h>

#include <jpeglib.h>

static void check(const char *sentence, struct mg_raster *raster, const char *option, const char *text,
                  const uint8_t background[3], int channels, int tolerance)
{
    struct mg_buf file;
    struct mg_errmsg err = {""};
    mg_buf_init(&file, 0);
    if (encode_with("jpg", raster, option, text, &file, &err))
        fail_msg("%s: %s", sentence, err.text);
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, (const unsigned char *)file.data, file.len);
    jpeg_read_header(&jpeg, TRUE);
    assert_int_equal(jpeg.num_components, channels);
    jpeg.out_color_space = JCS_RGB;
    jpeg_start_decompress(&jpeg);
    assert_int_equal(jpeg.output_width, raster->width);
    assert_int_equal(jpeg.output_height, raster->height);
    uint8_t *line = malloc((size_t)raster->width * 3), want[4];
    JSAMPROW lines[] = {line};
    double sum = 0;
    for (int y = 0; y < raster->height; y++) {
        assert_int_equal(jpeg_read_scanlines(&jpeg, lines, 1), 1);
        for (int x = 0; x < raster->width; x++) {
            expected_rgba(raster, x, y, want);
            for (int i = 0; i < 3; i++)
                sum += abs((want[3] ? want[i] : background[i]) - line[3 * x + i]);
        }
    }
    double mean = sum / (3.0 * raster->width * raster->height);
    if (mean > tolerance)
        fail_msg("%s: the mean difference is %g levels", sentence, mean);
    jpeg_finish_decompress(&jpeg);
    jpeg_destroy_decompress(&jpeg);
    free(line);
    mg_buf_fini(&file);
}

static void test_pixels(void **state)
{
    (void)state;
    static const uint8_t white[3] = {255, 255, 255}, black[3] = {0, 0, 0}, orange[3] = {255, 136, 0},
                         grey[3] = {156, 156, 156}; /* orange's luma */
    static const struct {
        int bands, flags;
        const char *option, *text;
        const uint8_t *background;
        int channels, tolerance;
        const char *sentence;
    } rows[] = {
        {1, FEW_COLOURS, NULL, NULL, white, 1, 2, "one band is grey"},
        {3, FEW_COLOURS, NULL, NULL, white, 3, 3, "three bands are RGB"},
        {3, FEW_COLOURS, "quality", "100", white, 3, 2, "quality 100"},
        {1, FEW_COLOURS | WITH_PALETTE | OPAQUE, NULL, NULL, white, 3, 9, "a palette is expanded"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_raster *raster = make_raster(256, 200, rows[i].bands, false, rows[i].flags);
        check(rows[i].sentence, raster, rows[i].option, rows[i].text, rows[i].background, rows[i].channels,
              rows[i].tolerance);
        mg_raster_unref(&raster);
    }
    struct mg_raster *raster = make_raster(64, 64, 1, false, FEW_COLOURS);
    assert_int_equal(mg_raster_need_mask(raster, NULL), MG_OK);
    memset(raster->mask, 0, 64 * 32);
    check("holes are white", raster, NULL, NULL, white, 1, 2);
    check("holes are black when asked", raster, "background", "black", black, 1, 2);
    check("a grey picture shows a colour as grey", raster, "background", "#ff8800", grey, 1, 2);
    mg_raster_unref(&raster);
    raster = make_raster(64, 64, 3, false, FEW_COLOURS);
    assert_int_equal(mg_raster_need_mask(raster, NULL), MG_OK);
    for (int band = 0; band < 3; band++)
        memset(raster->mask + band * 64 * 64, 0, 64 * 32);
    check("holes show a colour", raster, "background", "#ff8800", orange, 3, 4);
    check("also a short one", raster, "background", "#F80", orange, 3, 4);
    static const char *const wrong[] = {"ff8800", "#ff880", "#gg8800", "#ff88000", "mauve"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct mg_buf file;
        struct mg_errmsg err = {""};
        mg_buf_init(&file, 0);
        assert_int_equal(encode_with("jpg", raster, "background", wrong[i], &file, &err), MG_E_PARAMETER);
        assert_non_null(strstr(err.text, wrong[i]));
        mg_buf_fini(&file);
    }
    mg_raster_unref(&raster);
}

static void test_limit(void **state)
{
    (void)state;
    struct mg_raster *raster = make_raster(256, 256, 3, false, ALL_COLOURS);
    struct mg_buf whole, file;
    mg_buf_init(&whole, 0);
    assert_int_equal(encode_with("jpg", raster, NULL, NULL, &whole, NULL), MG_OK);
    mg_buf_init(&file, whole.len);
    assert_int_equal(encode_with("jpg", raster, NULL, NULL, &file, NULL), MG_OK);
    assert_int_equal(file.len, whole.len);
    assert_memory_equal(file.data, whole.data, whole.len);
    mg_buf_fini(&file);
    mg_buf_init(&file, whole.len / 2);
    assert_int_equal(encode_with("jpg", raster, NULL, NULL, &file, NULL), MG_E_UDF_OUTPUT);
    mg_buf_fini(&file);
    mg_buf_fini(&whole);
    mg_raster_unref(&raster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pixels), cmocka_unit_test(test_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
