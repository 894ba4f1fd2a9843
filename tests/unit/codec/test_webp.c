/* WebP, decoded by libwebp: lossless is exact, lossy is close, alpha is kept. */
#include "image_make.h"

#include <webp/decode.h>

static void test_pixels(void **state)
{
    (void)state;
    static const struct {
        int bands, flags;
        const char *option, *text;
        double tolerance;
        const char *sentence;
    } rows[] = {
        {1, WITH_PALETTE, NULL, NULL, 0, "a coloured band is exact by default"},
        {1, WITH_PALETTE | HOLES, NULL, NULL, 0, "a coloured band with holes"},
        {3, ALL_COLOURS, "lossless", "true", 0, "lossless RGB"},
        {4, FEW_COLOURS | HOLES, "lossless", "true", 0, "lossless RGBA with holes"},
        {1, FEW_COLOURS, NULL, NULL, 6, "lossy grey"},
        {3, FEW_COLOURS, "quality", "95", 6, "lossy RGB"},
        {2, FEW_COLOURS, "lossless", "true", 0, "grey and alpha"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_raster *raster = make_raster(256, 120, rows[i].bands, false, rows[i].flags);
        struct mg_buf file;
        struct mg_errmsg err = {""};
        mg_buf_init(&file, 0);
        if (encode_with("webp", raster, rows[i].option, rows[i].text, &file, &err))
            fail_msg("%s: %s", rows[i].sentence, err.text);
        int width, height;
        uint8_t *pixels = WebPDecodeRGBA((const uint8_t *)file.data, file.len, &width, &height), want[4];
        assert_non_null(pixels);
        assert_int_equal(width, 256);
        assert_int_equal(height, 120);
        double sum = 0;
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                const uint8_t *got = pixels + 4 * (y * width + x);
                expected_rgba(raster, x, y, want);
                sum += abs(got[3] - want[3]);
                for (int c = 0; c < 3 && want[3]; c++)
                    sum += abs(got[c] - want[c]);
            }
        double mean = sum / (4.0 * width * height);
        if (mean > rows[i].tolerance)
            fail_msg("%s: the mean difference is %g levels", rows[i].sentence, mean);
        WebPFree(pixels);
        mg_buf_fini(&file);
        mg_raster_unref(&raster);
    }
}

static void test_limit(void **state)
{
    (void)state;
    struct mg_raster *raster = make_raster(256, 256, 3, false, ALL_COLOURS);
    struct mg_buf file;
    mg_buf_init(&file, 1000);
    assert_int_equal(encode_with("webp", raster, NULL, NULL, &file, NULL), MG_E_UDF_OUTPUT);
    mg_buf_fini(&file);
    mg_raster_unref(&raster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pixels), cmocka_unit_test(test_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
