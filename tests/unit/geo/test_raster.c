/* The raster value: limits, views, masks, and the stored form, also damaged. */
#include "moongate/raster.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void limits(void **state)
{
    static const struct {
        int w, h, bands;
        enum mg_err code;
        const char *what;
    } rows[] = {
        {1, 1, 1, MG_OK, "the least"},
        {4096, 4096, 4, MG_OK, "the largest that is usual"},
        {0, 1, 1, MG_E_ARGUMENT, "no width"},
        {1, 4097, 1, MG_E_ARGUMENT, "too high"},
        {1, 1, 257, MG_E_ARGUMENT, "too many bands"},
        {1, 1, 0, MG_E_ARGUMENT, "no band"},
        {4096, 4096, 256, MG_E_ARGUMENT, "more than a worker's memory"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_raster *r = NULL;
        struct mg_errmsg err = {""};
        enum mg_err code = mg_raster_new(rows[i].w, rows[i].h, rows[i].bands, MG_F32, &r, &err);
        if (code != rows[i].code || (code != MG_OK && !err.text[0]))
            fail_msg("%s: %d", rows[i].what, (int)code);
        if (r) {
            assert_int_equal((uintptr_t)r->data % 64, 0);
            assert_int_equal(r->band_stride % 64, 0);
        }
        mg_raster_unref(&r);
    }
}

static struct mg_raster *sample_raster(void)
{
    struct mg_raster *r = NULL;
    struct mg_errmsg err;
    assert_int_equal(mg_raster_new(7, 5, 2, MG_I16, &r, &err), MG_OK);
    for (int band = 0; band < 2; band++)
        for (int i = 0; i < 35; i++)
            ((int16_t *)mg_raster_samples(r, band))[i] = (int16_t)(100 * band + i);
    r->crs = strdup("EPSG:32725");
    r->has_georef = true;
    const double gt[6] = {10, 2, 0, 50, 0, -3};
    memcpy(r->geotransform, gt, sizeof gt);
    r->names = calloc(2, sizeof *r->names);
    r->names[0] = strdup("red");
    r->names[1] = strdup("nir");
    r->has_nodata = true;
    r->nodata = -9999;
    return r;
}

static void views(void **state)
{
    struct mg_raster *r = sample_raster(), *view = NULL;
    struct mg_errmsg err;
    (void)state;
    assert_int_equal(mg_raster_band(r, 2, &view, &err), MG_E_ARGUMENT);
    assert_int_equal(mg_raster_band(r, 1, &view, &err), MG_OK);
    assert_string_equal(view->names[0], "nir");
    assert_int_equal(mg_raster_need_mask(view, &err), MG_OK);
    view->mask[3] = 0;
    assert_int_equal(r->mask[35 + 3], 0);
    mg_raster_unref(&r);
    assert_int_equal(((int16_t *)mg_raster_samples(view, 0))[4], 104);
    struct mg_bounds b = mg_raster_bounds(view);
    assert_true(b.xmin == 10 && b.xmax == 24 && b.ymin == 35 && b.ymax == 50);
    mg_raster_unref(&view);
}

static void stored_and_restored(void **state)
{
    struct mg_raster *r = sample_raster(), *back = NULL;
    struct mg_errmsg err;
    struct mg_buf buf;
    (void)state;
    assert_int_equal(mg_raster_need_mask(r, &err), MG_OK);
    r->mask[5] = 0;
    mg_buf_init(&buf, 0);
    mg_raster_store(r, &buf);
    assert_false(buf.failed);
    assert_int_equal(buf.len, mg_raster_stored_bytes(r));
    assert_int_equal(mg_raster_restore((struct mg_span){buf.data, buf.len}, &back, &err), MG_OK);
    assert_string_equal(back->crs, "EPSG:32725");
    assert_string_equal(back->names[1], "nir");
    assert_memory_equal(back->data, r->data, 2 * r->band_stride);
    assert_memory_equal(back->mask, r->mask, 70);
    assert_memory_equal(back->geotransform, r->geotransform, sizeof r->geotransform);
    assert_true(back->has_nodata && back->nodata == -9999);
    mg_raster_unref(&back);
    for (size_t len = 0; len < buf.len; len++)
        assert_int_not_equal(mg_raster_restore((struct mg_span){buf.data, len}, &back, &err),
                             MG_OK);
    /* Every byte of head and texts damaged in turn: refused, or another value, but never out of
     * bounds. */
    for (size_t i = 0; i < 1400 && i < buf.len; i++) {
        static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
        char was = buf.data[i];
        for (size_t k = 0; k < sizeof values; k++) {
            buf.data[i] = (char)values[k];
            if (mg_raster_restore((struct mg_span){buf.data, buf.len}, &back, &err) == MG_OK)
                mg_raster_unref(&back);
        }
        buf.data[i] = was;
    }
    mg_buf_fini(&buf);
    mg_raster_unref(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(limits), cmocka_unit_test(views),
                                       cmocka_unit_test(stored_and_restored)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
