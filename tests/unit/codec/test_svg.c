/* SVG: fitting, kinds of geometry, colours, titles, tiles, rasters. */
#include "table_make.h"

#include <math.h>

extern const struct mg_codec mg_codec_svg[];

/* The part of the answer behind its head and style. */
static void expect_drawing(struct mg_table *table, const struct mg_tile *tile, const char *set,
                           const char *size,
                           const char *expected, const char *what)
{
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    struct mg_option_value options[16];
    struct mg_buf out;
    struct mg_errmsg err = {0};
    options_of(mg_codec_svg, set, options);
    struct mg_codec_job job = {.value = &value, .options = options, .tile = tile, .tile_size = 512};
    mg_buf_init(&out, 0);
    if (mg_codec_svg->encode(&job, &out, &err))
        fail_msg("%s: %s", what, err.text);
    const char *body = strstr(out.data, "</style>\n");
    if (!body || strcmp(body + 9, expected) != 0 || !strstr(out.data, size))
        fail_msg("%s:\n%s\ninstead of\n%s…%s", what, out.data, size, expected);
    mg_buf_fini(&out);
}

static struct mg_table *table_of(const char *crs, const char *wkt, const char *name)
{
    struct maker maker;
    maker_init(&maker, crs, "g:g name:s");
    if (wkt) {
        maker_wkt(&maker, 0, wkt);
        if (name)
            maker_set(&maker, 1, CELL_TEXT(name));
        mg_table_builder_row(maker.builder);
    }
    return maker_finish(&maker);
}

static void test_drawings(void **state)
{
    static const struct mg_tile world = {0};
    static const struct {
        const char *crs, *wkt, *set, *size, *expected, *what;
        bool tile;
    } rows[] = {
        {NULL, "LINESTRING(0 0,100 50)", "width=108", "viewBox=\"0 0 108 58\"",
         "<path class=\"l\" d=\"M4 54L104 4\"/>\n</svg>\n", "fits with room for strokes; y goes up", false},
        {NULL, "POLYGON((0 0,100 0,100 100,0 100,0 0),(10 10,20 10,20 20,10 10))", "width=108",
         "width=\"108\" height=\"108\"",
         "<path class=\"a\" d=\"M4 104L104 104 104 4 4 4ZM14 94L24 94 24 84Z\"/>\n</svg>\n", "rings close",
                 false},
        {NULL, "POINT(7 7)", NULL, "viewBox=\"0 0 800 800\"",
         "<path class=\"p\" d=\"M400 400h0\"/>\n</svg>\n", "one point is in the middle", false},
        {NULL, "GEOMETRYCOLLECTION(POINT(0 0),LINESTRING(0 0,100 100))", "width=108",
         "viewBox=\"0 0 108 108\"",
         "<path class=\"l\" d=\"M4 104L104 4\"/>\n<path class=\"p\" d=\"M4 104h0\"/>\n</svg>\n",
                 "a collection", false},
        {NULL, NULL, NULL, "viewBox=\"0 0 800 800\"", "</svg>\n", "no rows", false},
        {NULL, "POINT EMPTY", NULL, "viewBox=\"0 0 800 800\"", "</svg>\n", "nothing to draw", false},
        {"EPSG:4326", "LINESTRING(-180 0,180 0)", NULL, "viewBox=\"0 0 512 512\"",
         "<path class=\"l\" d=\"M0 256L512 256\"/>\n</svg>\n", "a tile shows its square", true},
        {"EPSG:3857", "POINT(20037508.342789244 0)", NULL, "viewBox=\"0 0 512 512\"",
         "<path class=\"p\" d=\"M512 256h0\"/>\n</svg>\n", "of another CRS too", true},
        {"EPSG:4326", "LINESTRING(0 -90,0 90)", NULL, "viewBox=\"0 0 512 512\"",
         "<path class=\"l\" d=\"M256 512L256 0\"/>\n</svg>\n", "poles end at the edge", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_table *table = table_of(rows[i].crs, rows[i].wkt, NULL);
        expect_drawing(table, rows[i].tile ? &world : NULL, rows[i].set, rows[i].size, rows[i].expected,
                       rows[i].what);
        mg_table_unref(&table);
    }
    struct mg_table *table = table_of(NULL, "POINT(1 1)", "<b>&");
    expect_drawing(table, NULL, "title=name", "width=\"800\"",
                   "<path class=\"p\" d=\"M400 400h0\"><title>&lt;b&gt;&amp;</title></path>\n</svg>\n",
                           "a title");
    mg_table_unref(&table);
}

static void test_options(void **state)
{
    static const struct {
        const char *set, *said;
    } wrong[] = {{"fill=red;}", "svg.fill"}, {"stroke=\"/><script>", "svg.stroke"},
                 {"title=none", "svg.title"}};
    struct mg_table *table = table_of(NULL, "POINT(1 1)", NULL);
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    struct mg_buf out;
    struct mg_errmsg err;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mg_buf_init(&out, 0);
        assert_int_equal(run_codec(mg_codec_svg, &value, wrong[i].set, &out, &err), MG_E_PARAMETER);
        assert_non_null(strstr(err.text, wrong[i].said));
        mg_buf_fini(&out);
    }
    mg_buf_init(&out, 0);
    assert_int_equal(run_codec(mg_codec_svg, &value, "fill=rgb(1,2,3) stroke=none height=50", &out, &err),
                     MG_OK);
    assert_non_null(strstr(out.data, "fill:rgb(1,2,3)"));
    assert_non_null(strstr(out.data, "stroke:none"));
    assert_non_null(strstr(out.data, "height=\"50\""));
    mg_buf_fini(&out);
    mg_table_unref(&table);
}

static void test_raster(void **state)
{
    struct mg_raster *raster = NULL;
    struct mg_buf out;
    struct mg_errmsg err;
    (void)state;
    assert_int_equal(mg_raster_new(3, 2, 1, MG_F32, &raster, NULL), MG_OK);
    float *samples = mg_raster_samples(raster, 0);
    for (int i = 0; i < 6; i++)
        samples[i] = (float)i / 5;
    struct mg_value value = {.shape = MG_SHAPE_RASTER, .raster = raster};
    struct mg_option_value options[16];
    mg_option_defaults(mg_codec_svg, options);
    struct mg_codec_job job = {.value = &value, .options = options, .tile_size = 256};
    mg_buf_init(&out, 0);
    assert_int_equal(mg_encode(mg_codec_svg, &job, &out, &err), MG_OK);
    assert_non_null(strstr(out.data, "viewBox=\"0 0 3 2\""));
    assert_non_null(strstr(out.data, "href=\"data:image/png;base64,iVBORw0KGgo"));
    mg_buf_fini(&out);
    mg_raster_unref(&raster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_drawings), cmocka_unit_test(test_options),
                                       cmocka_unit_test(test_raster)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
