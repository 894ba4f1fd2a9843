/* Conversion before an encoder: scaling of samples to 8 bit, holes from NaN, and what is refused. */
#include "image_make.h"

#include <png.h>

/* The file as 8-bit grey and alpha. */
static void decode(const struct mg_buf *file, int width, int height, uint8_t *out)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_int_equal(png_image_begin_read_from_memory(&image, file->data, file->len), 1);
    image.format = PNG_FORMAT_GA;
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    assert_int_equal(png_image_finish_read(&image, NULL, out, 0, NULL), 1);
}

/* jpg has 8 bit only; png keeps 16: so the integer rows ask for a stretch or are of types that png lacks. */
static void test_scaling(void **state)
{
    (void)state;
    static const struct {
        enum mg_sample sample;
        const char *min, *max;
        double in[4];
        int want[4]; /* -1: transparent */
        const char *sentence;
    } rows[] = {
        {MG_F32, NULL, NULL, {0, 0.5, 1, NAN}, {0, 128, 255, -1}, "floats count from 0 to 1"},
        {MG_F32, NULL, NULL, {-5, 7, INFINITY, -INFINITY}, {0, 255, 255, 0}, "beyond is clamped"},
        {MG_F64, NULL, NULL, {0, 0.2, 0.999, NAN}, {0, 51, 255, -1}, "doubles too"},
        {MG_F32, "0", "100", {0, 50, 100, 200}, {0, 128, 255, 255}, "min and max stretch"},
        {MG_F32, NULL, "100", {0, 50, 100, NAN}, {0, 128, 255, -1}, "max alone"},
        {MG_F64, "-1", NULL, {-1, 0, 1, -2}, {0, 128, 255, 0}, "min alone"},
        {MG_I8, NULL, NULL, {-128, 0, 127, 1}, {0, 128, 255, 129}, "int8 counts from -128"},
        {MG_I16, NULL, NULL, {-32768, 0, 32767, 129}, {0, 128, 255, 128}, "int16 over its range"},
        {MG_U32, NULL, NULL, {0, 2147483647, 4294967295.0, 1}, {0, 127, 255, 0}, "uint32 over its range"},
        {MG_I32, NULL, NULL, {-2147483648.0, 0, 2147483647, 1}, {0, 128, 255, 128}, "int32 over its range"},
        {MG_I32, "0", "255", {0, 17, 255, 256}, {0, 17, 255, 255}, "int32 stretched"},
        {MG_U16, "0", "1000", {0, 500, 1000, 65535}, {0, 128, 255, 255}, "uint16 stretched"},
        {MG_U8, "0", "127", {0, 64, 127, 255}, {0, 129, 255, 255}, "uint8 stretched"},
    };
    const struct mg_codec *png = mg_codec_find(MG_SPAN("png"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_raster *raster;
        assert_int_equal(mg_raster_new(4, 1, 1, rows[i].sample, &raster, NULL), MG_OK);
        void *at = mg_raster_samples(raster, 0);
        for (int k = 0; k < 4; k++) {
            double v = rows[i].in[k];
            switch (rows[i].sample) {
            case MG_U8: ((uint8_t *)at)[k] = (uint8_t)v; break;
            case MG_I8: ((int8_t *)at)[k] = (int8_t)v; break;
            case MG_U16: ((uint16_t *)at)[k] = (uint16_t)v; break;
            case MG_I16: ((int16_t *)at)[k] = (int16_t)v; break;
            case MG_U32: ((uint32_t *)at)[k] = (uint32_t)v; break;
            case MG_I32: ((int32_t *)at)[k] = (int32_t)v; break;
            case MG_F32: ((float *)at)[k] = (float)v; break;
            default: ((double *)at)[k] = v;
            }
        }
        struct mg_option_value options[16], value;
        size_t index = 0;
        mg_option_defaults(png, options);
        const char *given[] = {rows[i].min, rows[i].max};
        for (int k = 0; k < 2; k++)
            if (given[k]) {
                assert_int_equal(mg_option_parse(png, mg_span(k ? "max" : "min"), mg_span(given[k]), &index, &value,
                                                 NULL),
                                 MG_OK);
                options[index] = value;
            }
        struct mg_value whole = {.shape = MG_SHAPE_RASTER, .raster = raster};
        struct mg_codec_job job = {.value = &whole, .options = options};
        struct mg_buf file;
        mg_buf_init(&file, 0);
        assert_int_equal(mg_encode(png, &job, &file, NULL), MG_OK);
        uint8_t got[8];
        decode(&file, 4, 1, got);
        for (int k = 0; k < 4; k++)
            if (rows[i].want[k] < 0 ? got[2 * k + 1] != 0
                                    : got[2 * k] != rows[i].want[k] || got[2 * k + 1] != 255)
                fail_msg("%s: %g became %d (alpha %d)", rows[i].sentence, rows[i].in[k], got[2 * k], got[2 * k + 1]);
        mg_buf_fini(&file);
        mg_raster_unref(&raster);
    }
}

/* The alpha of a float image is 0..1 whatever the colours' range is. */
static void test_alpha_is_not_stretched(void **state)
{
    (void)state;
    struct mg_raster *raster;
    assert_int_equal(mg_raster_new(1, 1, 2, MG_F32, &raster, NULL), MG_OK);
    *(float *)mg_raster_samples(raster, 0) = 500;
    *(float *)mg_raster_samples(raster, 1) = 0.2f;
    struct mg_buf file;
    mg_buf_init(&file, 0);
    assert_int_equal(encode_with("png", raster, "max", "1000", &file, NULL), MG_OK);
    uint8_t got[2];
    decode(&file, 1, 1, got);
    assert_int_equal(got[0], 128);
    assert_int_equal(got[1], 51);
    mg_buf_fini(&file);
    mg_raster_unref(&raster);
}

static void test_refused(void **state)
{
    (void)state;
    struct mg_raster *raster;
    struct mg_errmsg err = {""};
    struct mg_buf file;
    mg_buf_init(&file, 0);
    assert_int_equal(mg_raster_new(1, 1, 6, MG_U8, &raster, NULL), MG_OK);
    assert_int_equal(encode_with("png", raster, NULL, NULL, &file, &err), MG_E_NOT_ACCEPTABLE);
    assert_non_null(strstr(err.text, "at most 4 bands and the raster has 6"));
    assert_non_null(strstr(err.text, "tif"));
    assert_int_equal(file.len, 0);
    mg_raster_unref(&raster);
    assert_int_equal(mg_raster_new(1, 1, 1, MG_F32, &raster, NULL), MG_OK);
    assert_int_equal(encode_with("png", raster, "max", "-1", &file, &err), MG_E_PARAMETER);
    assert_non_null(strstr(err.text, "png.min (0) must be below png.max (-1)"));
    mg_raster_unref(&raster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scaling),
        cmocka_unit_test(test_alpha_is_not_stretched),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
