/* Animations: gif read by giflib, webp by libwebp's demuxer (apng and all of them by Chromium, in browser/); npy by its
 * bytes; and what every image format does at its edges. */
#include "image_make.h"

#include <gdal.h>
#include <gif_lib.h>
#include <webp/demux.h>

enum { FRAMES_MAX = 8 };

static enum mg_err encode_frames(const char *format, struct mg_raster *const *rasters, size_t n, struct mg_buf *out,
                                 struct mg_errmsg *err)
{
    const struct mg_codec *codec = mg_codec_find(mg_span(format));
    struct mg_option_value options[16];
    struct mg_frame frames[FRAMES_MAX];
    assert_non_null(codec);
    mg_option_defaults(codec, options);
    for (size_t i = 0; i < n; i++)
        frames[i] = (struct mg_frame){rasters[i], 40 + 10 * (int)i};
    struct mg_value value = {.shape = MG_SHAPE_FRAMES, .frames = frames, .n_frames = n};
    struct mg_codec_job job = {.value = &value, .options = options};
    return mg_encode(codec, &job, out, err);
}

struct source {
    const struct mg_buf *file;
    size_t at;
};
static int read_gif(GifFileType *gif, GifByteType *out, int n)
{
    struct source *source = gif->UserData;
    size_t left = source->file->len - source->at, len = (size_t)n < left ? (size_t)n : left;
    memcpy(out, source->file->data + source->at, len);
    source->at += len;
    return (int)len;
}

/* One frame laid over the canvas, as a viewer does. */
static void lay(const GifFileType *gif, int i, uint32_t *canvas, int *delay)
{
    const SavedImage *saved = &gif->SavedImages[i];
    const GifImageDesc *at = &saved->ImageDesc;
    GraphicsControlBlock block = {0};
    assert_int_equal(DGifSavedExtensionToGCB((GifFileType *)(uintptr_t)gif, i, &block), GIF_OK);
    *delay = block.DelayTime;
    assert_true(at->Left >= 0 && at->Top >= 0 && at->Left + at->Width <= gif->SWidth &&
                at->Top + at->Height <= gif->SHeight);
    for (int y = 0; y < at->Height; y++)
        for (int x = 0; x < at->Width; x++) {
            int index = saved->RasterBits[y * at->Width + x];
            assert_true(index < gif->SColorMap->ColorCount);
            GifColorType c = gif->SColorMap->Colors[index];
            const uint8_t rgba[4] = {c.Red, c.Green, c.Blue, index == block.TransparentColor ? 0 : 255};
            if (rgba[3] || block.DisposalMode == DISPOSE_BACKGROUND)
                memcpy(&canvas[(at->Top + y) * gif->SWidth + at->Left + x], rgba, 4);
        }
}

static void check_gif(const char *sentence, struct mg_raster *const *rasters, size_t n, double tolerance)
{
    struct mg_buf file;
    struct mg_errmsg err = {""};
    int code = 0, delay = 0;
    mg_buf_init(&file, 0);
    if (encode_frames("gif", rasters, n, &file, &err))
        fail_msg("%s: %s", sentence, err.text);
    struct source source = {&file, 0};
    GifFileType *gif = DGifOpen(&source, read_gif, &code);
    assert_non_null(gif);
    assert_int_equal(DGifSlurp(gif), GIF_OK);
    int width = rasters[0]->width, height = rasters[0]->height;
    assert_int_equal(gif->SWidth, width);
    assert_int_equal(gif->SHeight, height);
    assert_int_equal(gif->ImageCount, n);
    uint32_t *canvas = calloc((size_t)width * (size_t)height, sizeof *canvas);
    for (size_t f = 0; f < n; f++) {
        double sum = 0;
        lay(gif, (int)f, canvas, &delay);
        assert_int_equal(delay, n > 1 ? 4 + (int)f : 0);
        for (int i = 0; i < width * height; i++) {
            uint8_t want[4], got[4];
            expected_rgba(rasters[f], i % width, i / width, want);
            memcpy(got, &canvas[i], 4);
            want[3] = want[3] >= 128 ? 255 : 0;
            if (got[3] != want[3])
                fail_msg("%s, frame %zu: pixel %d has alpha %d", sentence, f + 1, i, got[3]);
            for (int c = 0; want[3] && c < 3; c++)
                sum += abs(got[c] - want[c]);
        }
        if (sum / (3.0 * width * height) > tolerance)
            fail_msg("%s, frame %zu: %g levels away", sentence, f + 1, sum / (3.0 * width * height));
    }
    free(canvas);
    DGifCloseFile(gif, &code);
    mg_buf_fini(&file);
}

static void check_webp(const char *sentence, struct mg_raster *const *rasters, size_t n)
{
    struct mg_buf file;
    struct mg_errmsg err = {""};
    mg_buf_init(&file, 0);
    if (encode_frames("webp", rasters, n, &file, &err))
        fail_msg("%s: %s", sentence, err.text);
    WebPData data = {(const uint8_t *)file.data, file.len};
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(&data, NULL);
    assert_non_null(decoder);
    int width = rasters[0]->width, at = 0, sum = 0;
    uint8_t *pixels, want[4];
    for (size_t f = 0; f < n; f++) {
        assert_true(WebPAnimDecoderGetNext(decoder, &pixels, &at));
        assert_int_equal(at, sum += 40 + 10 * (int)f);
        for (int i = 0; i < width * rasters[0]->height; i++) {
            expected_rgba(rasters[f], i % width, i / width, want);
            if (want[3] ? memcmp(pixels + 4 * i, want, 4) != 0 : pixels[4 * i + 3] != 0)
                fail_msg("%s, frame %zu: pixel %d differs", sentence, f + 1, i);
        }
    }
    assert_false(WebPAnimDecoderHasMoreFrames(decoder));
    WebPAnimDecoderDelete(decoder);
    mg_buf_fini(&file);
}

static void test_animations(void **state)
{
    (void)state;
    static const struct {
        int bands, flags;
        double tolerance; /* of a gif */
        bool exact_webp;
        const char *sentence;
    } rows[] = {
        {1, WITH_PALETTE | OPAQUE, 0, true, "a palette of 256 opaque colours"},
        {1, WITH_PALETTE, 0, true, "a palette with a transparent index"},
        {1, WITH_PALETTE | HOLES, 0, true, "a palette with holes"},
        {3, FEW_COLOURS, 0, false, "few colours"},
        {4, FEW_COLOURS | HOLES, 0, false, "RGBA with holes"},
        {1, 0, 0, false, "all greys"},
        {1, HOLES, 1, false, "all greys and holes: 257 kinds"},
        {3, 0, 3, false, "ramps"},
        {3, ALL_COLOURS, 20, false, "noise"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_raster *rasters[4];
        for (int f = 0; f < 4; f++) {
            rasters[f] = make_raster(61, 47, rows[i].bands, false, rows[i].flags);
            for (int k = 0; k < 9 * f; k++) /* what changes: some pixels of the first band */
                ((uint8_t *)mg_raster_samples(rasters[f], 0))[61 * (10 + k) + 7 * f] ^= 1;
        }
        check_gif(rows[i].sentence, rasters, 4, rows[i].tolerance);
        check_gif(rows[i].sentence, rasters, 1, rows[i].tolerance);
        if (rows[i].exact_webp)
            check_webp(rows[i].sentence, rasters, 4);
        for (int f = 0; f < 4; f++)
            mg_raster_unref(&rasters[f]);
    }
}

/* Frames that do not differ, or in one pixel, are small. */
static void test_parts(void **state)
{
    (void)state;
    static const char *const formats[] = {"gif", "apng"};
    struct mg_raster *a = make_raster(256, 256, 3, false, ALL_COLOURS), *same[] = {a, a, a, a};
    for (size_t i = 0; i < 2; i++) {
        struct mg_buf one, four;
        mg_buf_init(&one, 0);
        mg_buf_init(&four, 0);
        assert_int_equal(encode_frames(formats[i], same, 1, &one, NULL), MG_OK);
        assert_int_equal(encode_frames(formats[i], same, 4, &four, NULL), MG_OK);
        if (four.len > one.len + 600)
            fail_msg("%s: three more frames that do not differ take %zu bytes", formats[i], four.len - one.len);
        mg_buf_fini(&one);
        mg_buf_fini(&four);
    }
    mg_raster_unref(&a);
}

static void test_refusals(void **state)
{
    (void)state;
    struct mg_errmsg err = {""};
    struct mg_buf out;
    mg_buf_init(&out, 0);
    struct mg_raster *a = make_raster(8, 8, 1, false, 0), *b = make_raster(8, 9, 1, false, 0),
                     *five = make_raster(8, 8, 5, false, 0), *list[] = {a, b, a};
    assert_int_equal(encode_frames("gif", list, 2, &out, &err), MG_E_UDF_TYPE);
    assert_non_null(strstr(err.text, "frame 2 8 x 9"));
    assert_int_equal(encode_frames("gif", list, 0, &out, &err), MG_E_UDF_TYPE);
    assert_int_equal(encode_frames("png", list, 1, &out, &err), MG_E_NOT_ACCEPTABLE);
    assert_non_null(strstr(err.text, "apng"));
    list[0] = five;
    assert_int_equal(encode_frames("apng", list, 1, &out, &err), MG_E_NOT_ACCEPTABLE);
    mg_buf_fini(&out);
    static const char *const formats[] = {"gif", "apng", "webp"};
    struct mg_raster *noise = make_raster(200, 200, 3, false, ALL_COLOURS), *two[] = {noise, noise};
    for (size_t i = 0; i < 3; i++) {
        mg_buf_init(&out, 1000);
        assert_int_equal(encode_frames(formats[i], two, 2, &out, &err), MG_E_UDF_OUTPUT);
        mg_buf_fini(&out);
    }
    mg_raster_unref(&a);
    mg_raster_unref(&b);
    mg_raster_unref(&five);
    mg_raster_unref(&noise);
    struct mg_raster *none;
    assert_int_equal(mg_raster_new(8, 8, 0, MG_U8, &none, &err), MG_E_ARGUMENT);
}

/* Every sample type, one pixel wide or many, reaches every format of images. */
static void test_samples(void **state)
{
    (void)state;
    static const char *const formats[] = {"png", "apng", "gif", "jpg", "webp", "tif", "npy"};
    static const double odd[] = {NAN, INFINITY, -INFINITY, -0.0, 0.5, 1e300, -1e300, 1};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (enum mg_sample sample = 0; sample < MG_SAMPLE_COUNT; sample++)
            for (int bands = 1; bands <= 4; bands++)
                for (int side = 1; side <= 9; side += 8) {
                    struct mg_raster *r;
                    struct mg_buf out;
                    struct mg_errmsg err = {""};
                    assert_int_equal(mg_raster_new(side, side, bands, sample, &r, NULL), MG_OK);
                    for (int i = 0; i < side * side * bands && sample >= MG_F32; i++) {
                        void *at = mg_raster_samples(r, i / (side * side));
                        if (sample == MG_F32)
                            ((float *)at)[i % (side * side)] = (float)odd[i % 8];
                        else
                            ((double *)at)[i % (side * side)] = odd[i % 8];
                    }
                    mg_buf_init(&out, 0);
                    if (encode_with(formats[f], r, NULL, NULL, &out, &err) || out.len < 40)
                        fail_msg("%s of %d %s bands, %d pixels: %s", formats[f], bands, mg_sample_name(sample), side, err.text);
                    mg_buf_fini(&out);
                    mg_raster_unref(&r);
                }
}

static void test_npy(void **state)
{
    (void)state;
    struct mg_raster *r = make_raster(5, 3, 2, true, HOLES);
    struct mg_buf out;
    r->has_nodata = true;
    r->nodata = 65535;
    mg_buf_init(&out, 0);
    assert_int_equal(encode_with("npy", r, NULL, NULL, &out, NULL), MG_OK);
    assert_int_equal(out.len, 128 + 5 * 3 * 2 * 2);
    assert_memory_equal(out.data, "\x93NUMPY\x01\x00\x76\x00{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3, 5), }", 68);
    assert_int_equal(out.data[127], '\n');
    for (int i = 0; i < 5 * 3 * 2; i++) {
        uint16_t got;
        memcpy(&got, out.data + 128 + 2 * i, 2);
        int x = i % 5, y = i / 5 % 3;
        assert_int_equal(got, hole_at(x, y) ? 65535 : sample_at(x, y, i / 15, true, HOLES));
    }
    mg_buf_fini(&out);
    mg_raster_unref(&r);
}

static int setup(void **state)
{
    (void)state;
    GDALAllRegister();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_animations), cmocka_unit_test(test_parts), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_samples),    cmocka_unit_test(test_npy),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
