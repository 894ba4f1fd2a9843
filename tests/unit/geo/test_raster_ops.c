/* Arithmetic, comparisons, masks, conversion, statistics and colour, against values worked out by
 * hand. */
#include "moongate/raster_ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define X NAN

static struct mg_raster *make(enum mg_sample sample, int bands, const double *values)
{
    struct mg_raster *wide, *r;
    struct mg_errmsg err;
    assert_int_equal(mg_raster_new(2, 2, bands, MG_F64, &wide, &err), MG_OK);
    for (int i = 0; i < 4 * bands; i++)
        ((double *)mg_raster_samples(wide, i / 4))[i % 4] = values[i];
    assert_int_equal(mg_raster_convert(wide, sample, &r, &err), MG_OK);
    mg_raster_unref(&wide);
    return r;
}

/* NaN where no data. */
static double value(const struct mg_raster *r, int band, int i)
{
    struct mg_raster *wide;
    struct mg_errmsg err;
    assert_int_equal(mg_raster_convert(r, MG_F64, &wide, &err), MG_OK);
    double v = ((double *)mg_raster_samples(wide, band))[i];
    mg_raster_unref(&wide);
    return v;
}

static void expect(const struct mg_raster *r, int band, const double want[4], const char *what)
{
    for (int i = 0; i < 4; i++) {
        double v = value(r, band, i);
        if (!(fabs(v - want[i]) < 1e-6) && !(isnan(v) && isnan(want[i])))
            fail_msg("%s: pixel %d is %g, not %g", what, i, v, want[i]);
    }
}

static void binary(void **state)
{
    static const struct {
        enum mg_op op;
        enum mg_sample a_sample, b_sample, result;
        double a[4], b[4], want[4];
        const char *what;
    } rows[] = {
        {MG_OP_ADD,
         MG_U8,
         MG_U8,
         MG_F32,
         {200, 1, 2, X},
         {100, 1, X, 1},
         {300, 2, X, X},
         "no overflow, no data"},
        {MG_OP_SUB,
         MG_U8,
         MG_U8,
         MG_F32,
         {1, 0, 5, 5},
         {2, 255, 5, 4},
         {-1, -255, 0, 1},
         "below zero"},
        {MG_OP_MUL,
         MG_I16,
         MG_F32,
         MG_F32,
         {2, -3, X, 4},
         {0.5, 2, 1, X},
         {1, -6, X, X},
         "mixed types"},
        {MG_OP_DIV,
         MG_F32,
         MG_F32,
         MG_F32,
         {1, 0, -1, 6},
         {0, 0, 0, 3},
         {X, X, X, 2},
         "division by zero"},
        {MG_OP_MOD,
         MG_F32,
         MG_F32,
         MG_F32,
         {5, -5, 5, 5},
         {3, 3, -3, 0},
         {2, 1, -1, X},
         "Lua's remainder"},
        {MG_OP_POW,
         MG_F32,
         MG_F32,
         MG_F32,
         {2, -1, 0, 10},
         {3, 0.5, -1, 2},
         {8, X, X, 100},
         "powers"},
        {MG_OP_MIN, MG_F32, MG_F32, MG_F32, {1, X, 3, 4}, {2, 2, X, 3}, {1, X, X, 3}, "minimum"},
        {MG_OP_MAX, MG_F32, MG_F32, MG_F32, {1, X, 3, 4}, {2, 2, X, 3}, {2, X, X, 4}, "maximum"},
        {MG_OP_ADD,
         MG_U32,
         MG_U8,
         MG_F64,
         {4294967295.0, 1, 2, 3},
         {1, 1, 1, 1},
         {4294967296.0, 2, 3, 4},
         "uint32"},
        {MG_OP_GT, MG_F32, MG_F32, MG_U8, {1, 2, 3, X}, {2, 2, 2, 2}, {0, 0, 1, X}, "greater"},
        {MG_OP_GE,
         MG_U8,
         MG_U8,
         MG_U8,
         {1, 2, 3, 4},
         {2, 2, 2, 2},
         {0, 1, 1, 1},
         "greater or equal"},
        {MG_OP_LT, MG_U8, MG_U8, MG_U8, {1, 2, 3, X}, {2, 2, 2, 2}, {1, 0, 0, X}, "less"},
        {MG_OP_LE, MG_U8, MG_U8, MG_U8, {1, 2, 3, 4}, {2, 2, 2, 2}, {1, 1, 0, 0}, "less or equal"},
        {MG_OP_EQ, MG_U8, MG_I32, MG_U8, {1, 2, 3, X}, {2, 2, 2, 2}, {0, 1, 0, X}, "equal"},
        {MG_OP_NE,
         MG_F64,
         MG_F32,
         MG_U8,
         {1, 2, X, X},
         {2, 2, 2, X},
         {1, 0, X, X},
         "unlike, no data stays so"},
        {MG_OP_AND, MG_U8, MG_U8, MG_U8, {0, 1, 1, X}, {1, 1, 0, 1}, {0, 1, 0, X}, "and"},
        {MG_OP_OR, MG_U8, MG_U8, MG_U8, {0, 1, 0, X}, {1, 1, 0, 1}, {1, 1, 0, X}, "or"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_raster *a = make(rows[i].a_sample, 1, rows[i].a),
                         *b = make(rows[i].b_sample, 1, rows[i].b), *r;
        struct mg_errmsg err;
        assert_int_equal(mg_raster_binary(rows[i].op, a, 0, b, 0, &r, &err), MG_OK);
        if (r->sample != rows[i].result)
            fail_msg("%s: the result is %s", rows[i].what, mg_sample_name(r->sample));
        expect(r, 0, rows[i].want, rows[i].what);
        mg_raster_unref(&a);
        mg_raster_unref(&b);
        mg_raster_unref(&r);
    }
}

static void numbers_and_bands(void **state)
{
    static const double two[8] = {1, 2, 3, 4, 10, 20, 30, 40}, one[4] = {1, 1, 2, X};
    struct mg_raster *a = make(MG_U8, 2, two), *b = make(MG_U8, 1, one), *r, *small;
    struct mg_errmsg err = {""};
    (void)state;
    assert_int_equal(mg_raster_binary(MG_OP_SUB, NULL, 10, a, 0, &r, &err), MG_OK);
    expect(r, 1, (const double[4]){0, -10, -20, -30}, "number minus raster");
    mg_raster_unref(&r);
    assert_int_equal(mg_raster_binary(MG_OP_MUL, a, 0, b, 0, &r, &err), MG_OK);
    assert_int_equal(r->bands, 2);
    expect(r, 1, (const double[4]){10, 20, 60, X}, "one band spread over two");
    mg_raster_unref(&r);
    assert_int_equal(mg_raster_binary(MG_OP_DIV, b, 0, a, 0, &r, &err), MG_OK);
    expect(r, 1, (const double[4]){0.1, 0.05, 2.0 / 30, X}, "one band over two");
    mg_raster_unref(&r);
    assert_int_equal(mg_raster_new(3, 2, 1, MG_U8, &small, &err), MG_OK);
    assert_int_equal(mg_raster_binary(MG_OP_ADD, a, 0, small, 0, &r, &err), MG_E_ARGUMENT);
    assert_string_equal(err.text, "rasters of 2 x 2 and 3 x 2 pixels do not fit together");
    assert_int_equal(mg_raster_unary(MG_OP_NOT, b, &r, &err), MG_OK);
    expect(r, 0, (const double[4]){0, 0, 0, X}, "not");
    mg_raster_unref(&r);
    assert_int_equal(mg_raster_unary(MG_OP_SQRT, a, &r, &err), MG_OK);
    expect(r, 0, (const double[4]){1, sqrt(2), sqrt(3), 2}, "square root");
    mg_raster_unref(&r);
    mg_raster_unref(&a);
    mg_raster_unref(&b);
    mg_raster_unref(&small);
}

static void wheres(void **state)
{
    struct mg_raster *a = make(MG_U8, 1, (const double[4]){1, 2, 3, 4}), *r;
    struct mg_raster *m = make(MG_U8, 1, (const double[4]){1, 0, 1, X});
    struct mg_raster *b = make(MG_U8, 1, (const double[4]){10, 20, 30, 40});
    struct mg_errmsg err;
    (void)state;
    assert_int_equal(mg_raster_where(a, m, NULL, 0, true, &r, &err), MG_OK);
    assert_int_equal(r->sample, MG_U8);
    expect(r, 0, (const double[4]){1, X, 3, X}, "elsewhere no data");
    mg_raster_unref(&r);
    assert_int_equal(mg_raster_where(a, m, b, 0, false, &r, &err), MG_OK);
    expect(r, 0, (const double[4]){1, 20, 3, X}, "elsewhere the other raster");
    mg_raster_unref(&r);
    assert_int_equal(mg_raster_where(a, m, NULL, -1.5, false, &r, &err), MG_OK);
    assert_int_equal(r->sample, MG_F32);
    expect(r, 0, (const double[4]){1, -1.5, 3, X}, "elsewhere a number that the type cannot hold");
    mg_raster_unref(&r);
    struct mg_raster *parts[2] = {a, m};
    const char *names[2] = {"a", "mask"};
    assert_int_equal(mg_raster_stack(parts, 2, names, &r, &err), MG_OK);
    assert_int_equal(r->sample, MG_U8);
    assert_string_equal(r->names[1], "mask");
    expect(r, 1, (const double[4]){1, 0, 1, X}, "stack");
    mg_raster_unref(&r);
    mg_raster_unref(&a);
    mg_raster_unref(&m);
    mg_raster_unref(&b);
}

static void conversions(void **state)
{
    static const double values[4] = {-1.5, 2.5, 1e10, X};
    static const struct {
        enum mg_sample sample;
        double want[4];
    } rows[] = {
        {MG_U8, {0, 3, 255, X}},         {MG_I8, {-2, 3, 127, X}},
        {MG_U16, {0, 3, 65535, X}},      {MG_I16, {-2, 3, 32767, X}},
        {MG_U32, {0, 3, UINT32_MAX, X}}, {MG_I32, {-2, 3, INT32_MAX, X}},
        {MG_F32, {-1.5, 2.5, 1e10, X}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_raster *r = make(rows[i].sample, 1, values);
        expect(r, 0, rows[i].want, mg_sample_name(rows[i].sample));
        assert_true(mg_sample_is_float(r->sample) || r->mask[3] == 0);
        mg_raster_unref(&r);
        /* From float, whose largest value below the limit of a 32-bit integer is not the limit. */
        struct mg_raster *f = make(MG_F32, 1, values), *back;
        struct mg_errmsg err;
        assert_int_equal(mg_raster_convert(f, rows[i].sample, &back, &err), MG_OK);
        assert_true(fabs(value(back, 0, 2) - rows[i].want[2]) <= rows[i].want[2] * 1e-6);
        mg_raster_unref(&f);
        mg_raster_unref(&back);
    }
}

static void statistics(void **state)
{
    struct mg_raster *r = make(MG_I16, 1, (const double[4]){1, 5, X, 3});
    struct mg_stats s;
    (void)state;
    mg_raster_stats(r, 0, &s);
    assert_true(s.min == 1 && s.max == 5 && s.mean == 3 && s.sum == 9 && s.count == 3);
    assert_true(fabs(s.std - sqrt(8.0 / 3)) < 1e-12);
    mg_raster_unref(&r);
    r = make(MG_F32, 1, (const double[4]){X, X, X, X});
    mg_raster_stats(r, 0, &s);
    assert_true(s.count == 0 && isnan(s.min) && isnan(s.mean) && isnan(s.std));
    mg_raster_unref(&r);
}

static void colours(void **state)
{
    struct mg_stop stops[MG_COLORMAP_STOPS];
    size_t n;
    struct mg_errmsg err = {""};
    struct mg_raster *a = make(MG_F32, 1, (const double[4]){0, 1, X, 5}), *r;
    (void)state;
    for (const char *const *name = mg_colormap_names(); *name; name++) {
        char reversed[32];
        struct mg_stop back[MG_COLORMAP_STOPS];
        size_t k;
        assert_int_equal(mg_colormap_find(mg_span(*name), stops, MG_COLORMAP_STOPS, &n, &err),
                         MG_OK);
        snprintf(reversed, sizeof reversed, "%s_R", *name);
        assert_int_equal(mg_colormap_find(mg_span(reversed), back, MG_COLORMAP_STOPS, &k, &err),
                         MG_OK);
        assert_memory_equal(back[0].rgba, stops[n - 1].rgba, 4);
        assert_true(back[0].at == 0 && back[k - 1].at == 1);
    }
    assert_int_equal(mg_colormap_find(MG_SPAN("Jet"), stops, MG_COLORMAP_STOPS, &n, &err),
                     MG_E_ARGUMENT);
    assert_non_null(strstr(err.text, "viridis, plasma"));
    assert_int_equal(mg_colormap_find(MG_SPAN("Viridis"), stops, MG_COLORMAP_STOPS, &n, &err),
                     MG_OK);
    assert_int_equal(mg_raster_colour(a, stops, n, 0, 1, &r, &err), MG_OK);
    assert_int_equal(r->n_palette, 256);
    const uint8_t want[4] = {1, 255, 0, 255};
    assert_memory_equal(r->data, want, 4);
    const uint8_t first[4] = {0x44, 0x01, 0x54, 255}, last[4] = {0xfd, 0xe7, 0x25, 255},
                  none[4] = {0};
    assert_memory_equal(r->palette[1], first, 4);
    assert_memory_equal(r->palette[255], last, 4);
    assert_memory_equal(r->palette[0], none, 4);
    /* matplotlib's viridis(0.5) is 21 91 8c; the middle of 255 colours is that. */
    assert_true(abs(r->palette[128][0] - 0x21) <= 2 && abs(r->palette[128][1] - 0x91) <= 2 &&
                abs(r->palette[128][2] - 0x8c) <= 2);
    mg_raster_unref(&r);
    assert_int_equal(mg_raster_colour(a, stops, n, 1, 0, &r, &err), MG_OK);
    assert_int_equal(r->data[0], 255);
    mg_raster_unref(&r);
    assert_int_equal(mg_raster_colour(a, stops, n, 1, 1, &r, &err), MG_E_ARGUMENT);
    assert_int_equal(mg_raster_colour(a, stops, n, NAN, 1, &r, &err), MG_E_ARGUMENT);
    assert_int_equal(mg_raster_colour(a, stops, 0, 0, 1, &r, &err), MG_E_ARGUMENT);
    mg_raster_unref(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binary),     cmocka_unit_test(numbers_and_bands),
        cmocka_unit_test(wheres),     cmocka_unit_test(conversions),
        cmocka_unit_test(statistics), cmocka_unit_test(colours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
