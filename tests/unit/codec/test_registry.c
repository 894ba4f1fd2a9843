/* The registry: names, the choice of a format (design section 4), options. */
#include "image_make.h"

static void test_find(void **state)
{
    (void)state;
    static const struct {
        const char *name, *found; /* NULL: none */
    } rows[] = {
        {"png", "png"},   {"PNG", "png"},    {"jpeg", "jpg"}, {"jpg", "jpg"},         {"webp", "webp"},
        {"tiff", "tif"},  {"TIF", "tif"},    {"pbf", "mvt"},  {"geojson", "geojson"}, {"csv", "csv"},
        {"json", "json"}, {"html", "html"},  {"", NULL},      {"pn", NULL},           {"pngs", NULL},
        {"bmp", NULL},    {"jpg,png", NULL}, {" png", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct mg_codec *codec = mg_codec_find(mg_span(rows[i].name));
        if ((codec == NULL) != (rows[i].found == NULL) || (codec && strcmp(codec->name, rows[i].found) != 0))
            fail_msg("\"%s\" gives %s", rows[i].name, codec ? codec->name : "nothing");
    }
    assert_null(mg_codec_find(((struct mg_span){"png\0", 4})));
}

/* What every row must have, whoever wrote it. */
static void test_rows_are_whole(void **state)
{
    (void)state;
    const struct mg_codec *codec;
    size_t n = 0;
    for (; (codec = mg_codec_at(n)); n++) {
        assert_non_null(codec->mime);
        assert_non_null(codec->extension);
        assert_non_null(codec->encode);
        assert_true(codec->shapes != 0);
        if (codec->shapes & MG_SHAPE_RASTER)
            assert_true(codec->samples != 0 && codec->max_bands > 0);
        assert_ptr_equal(mg_codec_find(mg_span(codec->name)), codec);
        assert_true(mg_option_count(codec) <= 16);
        struct mg_option_value defaults[16];
        mg_option_defaults(codec, defaults); /* asserts that each default is in its own range */
        for (const struct mg_option *option = codec->options; option && option->name; option++)
            assert_non_null(option->help);
    }
    assert_true(n >= 9);
    assert_null(mg_codec_at(n + 100));
}

enum kind { RASTER, SIX_BANDS, TABLE, PLAIN_TABLE, PAGE, JSON, LAYERS, MIXED };

static void make_value(enum kind kind, struct mg_value *value, struct mg_raster *raster, struct mg_table *table)
{
    static const enum mg_shape shapes[] = {MG_SHAPE_RASTER, MG_SHAPE_RASTER, MG_SHAPE_TABLE, MG_SHAPE_TABLE,
                                           MG_SHAPE_TEXT,   MG_SHAPE_JSON,   MG_SHAPE_NAMED, MG_SHAPE_NAMED};
    *raster = (struct mg_raster){.width = 1, .height = 1, .bands = kind == SIX_BANDS ? 6 : 3};
    *table = (struct mg_table){.geometry = kind == PLAIN_TABLE ? -1 : 0};
    *value = (struct mg_value){.shape = shapes[kind], .raster = raster, .table = table};
    if (kind < LAYERS)
        return;
    static struct mg_value members[2];
    static struct mg_named named[2];
    members[0] = (struct mg_value){.shape = MG_SHAPE_TABLE, .table = table};
    members[1] = kind == LAYERS ? members[0] : (struct mg_value){.shape = MG_SHAPE_RASTER, .raster = raster};
    named[0] = (struct mg_named){"roads", &members[0]};
    named[1] = (struct mg_named){"relief", &members[1]};
    value->named = named;
    value->n_named = 2;
}

static size_t list(const char *names, const struct mg_codec **out)
{
    struct mg_span rest = mg_span(names), name;
    size_t n = 0;
    while (names && mg_span_cut(&rest, ',', &name)) {
        out[n] = mg_codec_find(name);
        assert_non_null(out[n++]);
    }
    return n;
}

static void test_pick(void **state)
{
    (void)state;
    static const struct {
        enum kind kind;
        const char *formats, *vector, *raster, *accepts;
        const char *picked; /* NULL: not acceptable */
        bool by_accept;
        const char *sentence;
    } rows[] = {
        {RASTER, NULL, NULL, NULL, NULL, "png", true, "a raster is png"},
        {TABLE, NULL, NULL, NULL, NULL, "geojson", true, "a table with geometry is geojson"},
        {PLAIN_TABLE, NULL, NULL, NULL, NULL, "json", true, "a table without is json"},
        {PAGE, NULL, NULL, NULL, NULL, "html", true, "a string is html"},
        {JSON, NULL, NULL, NULL, NULL, "json", true, "plain values are json"},
        {LAYERS, NULL, NULL, NULL, NULL, "mvt", true, "named tables are mvt"},
        {RASTER, NULL, "mvt", "webp", NULL, "webp", false, "a raster takes dtype_out_raster"},
        {TABLE, NULL, "mvt", "webp", NULL, "mvt", false, "a table takes dtype_out_vector"},
        {RASTER, NULL, "mvt", NULL, NULL, "png", true, "a raster ignores dtype_out_vector"},
        {TABLE, NULL, NULL, "png", NULL, "geojson", true, "a table ignores dtype_out_raster"},
        {PAGE, NULL, "csv", "png", NULL, "html", true, "a page ignores both"},
        {RASTER, NULL, NULL, "csv", NULL, NULL, false, "dtype_out_raster=csv cannot"},
        {TABLE, NULL, "png", NULL, NULL, NULL, false, "dtype_out_vector=png cannot"},
        {RASTER, "mvt,png", NULL, "webp", NULL, "png", false, "format counts before dtype_out"},
        {TABLE, "png,csv,geojson", NULL, NULL, NULL, "csv", false, "the first of format that can"},
        {TABLE, "png,jpg", NULL, NULL, NULL, NULL, false, "none of format can"},
        {PLAIN_TABLE, "geojson", NULL, NULL, NULL, "geojson", false, "geojson has null geometries (RFC 7946, 3.2)"},
        {PLAIN_TABLE, "mvt,csv", NULL, NULL, NULL, "csv", false, "mvt needs a geometry"},
        {PLAIN_TABLE, "mvt", NULL, NULL, NULL, NULL, false, "mvt needs a geometry"},
        {RASTER, NULL, NULL, NULL, "csv,webp", "webp", true, "Accept picks what fits"},
        {RASTER, NULL, NULL, "png", "webp", "png", false, "dtype_out counts before Accept"},
        {TABLE, NULL, NULL, NULL, "png", "geojson", true, "Accept that does not fit is passed over"},
        {SIX_BANDS, NULL, NULL, NULL, NULL, NULL, false, "six bands are no picture"},
        {SIX_BANDS, "png,tif", NULL, NULL, NULL, "tif", false, "six bands fit a tif"},
        {SIX_BANDS, NULL, NULL, NULL, "webp,tif", "tif", true, "also by Accept"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_value value;
        struct mg_raster raster;
        struct mg_table table;
        struct mg_wish wish = {0};
        struct mg_errmsg err = {""};
        const struct mg_codec *picked = NULL, *one[16];
        bool by_accept = false;
        make_value(rows[i].kind, &value, &raster, &table);
        wish.n_formats = list(rows[i].formats, wish.formats);
        wish.n_accepts = list(rows[i].accepts, wish.accepts);
        wish.vector = list(rows[i].vector, one) ? one[0] : NULL;
        wish.raster = list(rows[i].raster, one) ? one[0] : NULL;
        enum mg_err e = mg_codec_pick(&wish, &value, true, &picked, &by_accept, &err);
        if (rows[i].picked ? e != MG_OK || strcmp(picked->name, rows[i].picked) != 0 || by_accept != rows[i].by_accept
                           : e != MG_E_NOT_ACCEPTABLE || !err.text[0])
            fail_msg("%s: %s (%s)", rows[i].sentence, picked ? picked->name : "nothing", err.text);
    }
}

/* Several results: as a whole where a format holds them, else a zip when each member has a format. */
static void test_pick_named(void **state)
{
    (void)state;
    static const struct {
        enum kind kind;
        bool tile_call;
        const char *formats, *vector, *raster, *accepts;
        const char *picked; /* NULL: not acceptable */
        bool by_accept;
        const char *sentence; /* or what the refusal says */
    } rows[] = {
        {LAYERS, true, NULL, NULL, NULL, NULL, "mvt", true, "tables of a tile are layers"},
        {LAYERS, false, NULL, NULL, NULL, NULL, "zip", true, "tables of a file are a zip"},
        {MIXED, true, NULL, NULL, NULL, NULL, "zip", true, "a table and a raster are a zip, of a tile too"},
        {MIXED, false, NULL, NULL, NULL, NULL, "zip", true, "and of a file"},
        {LAYERS, true, "zip", NULL, NULL, NULL, "zip", false, "layers as a zip when it is asked for"},
        {LAYERS, true, "mvt", NULL, NULL, NULL, "mvt", false, "layers by format"},
        {LAYERS, true, NULL, "mvt", NULL, NULL, "mvt", false, "layers by dtype_out_vector"},
        {LAYERS, true, NULL, "csv", NULL, NULL, "zip", false, "a zip of csv of a tile"},
        {LAYERS, false, "csv", NULL, NULL, NULL, "zip", false, "a zip of csv"},
        {LAYERS, false, NULL, "csv", NULL, NULL, "zip", false, "a zip of csv by dtype_out_vector"},
        {MIXED, false, "csv,png", NULL, NULL, NULL, "zip", false, "each member takes what suits it"},
        {MIXED, false, NULL, "csv", "webp", NULL, "zip", false, "each kind has its own"},
        {MIXED, false, "zip,csv,webp", NULL, NULL, NULL, "zip", false, "the members' formats behind zip"},
        {LAYERS, false, NULL, NULL, NULL, "zip", "zip", true, "Accept names zip"},
        {LAYERS, false, NULL, NULL, NULL, "csv", "zip", true, "Accept names what the members are"},
        {LAYERS, true, NULL, NULL, NULL, "zip,mvt", "zip", true, "Accept's first"},
        {MIXED, false, "csv", NULL, NULL, NULL, NULL, false, "result \"relief\": csv cannot hold a raster"},
        {MIXED, false, "zip,png", NULL, NULL, NULL, NULL, false, "result \"roads\": png cannot hold a table"},
        {LAYERS, false, "mvt", NULL, NULL, NULL, NULL, false, "result \"roads\": mvt is the format of a tile"},
        {MIXED, false, NULL, "png", NULL, NULL, NULL, false, "result \"roads\": png cannot hold a table"},
        {TABLE, false, "zip", NULL, NULL, NULL, NULL, false, "zip cannot hold a table"},
        {RASTER, false, "zip,tif", NULL, NULL, NULL, "tif", false, "one raster is no zip"},
        {TABLE, false, NULL, NULL, NULL, "zip,csv", "csv", true, "one table is no zip"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_value value;
        struct mg_raster raster;
        struct mg_table table;
        struct mg_wish wish = {0};
        struct mg_errmsg err = {""};
        const struct mg_codec *picked = NULL, *one[16];
        bool by_accept = false;
        make_value(rows[i].kind, &value, &raster, &table);
        wish.n_formats = list(rows[i].formats, wish.formats);
        wish.n_accepts = list(rows[i].accepts, wish.accepts);
        wish.vector = list(rows[i].vector, one) ? one[0] : NULL;
        wish.raster = list(rows[i].raster, one) ? one[0] : NULL;
        enum mg_err e = mg_codec_pick(&wish, &value, rows[i].tile_call, &picked, &by_accept, &err);
        if (rows[i].picked ? e != MG_OK || strcmp(picked->name, rows[i].picked) != 0 || by_accept != rows[i].by_accept
                           : e != MG_E_NOT_ACCEPTABLE || !strstr(err.text, rows[i].sentence))
            fail_msg("%s: %s (%s)", rows[i].sentence, picked ? picked->name : "nothing", err.text);
    }
}

static void test_refusals_name_formats(void **state)
{
    (void)state;
    struct mg_value value;
    struct mg_raster raster;
    struct mg_table table;
    struct mg_errmsg err = {""};
    const struct mg_codec *picked;
    bool by_accept;
    make_value(TABLE, &value, &raster, &table);
    struct mg_wish wish = {.formats = {mg_codec_find(MG_SPAN("png"))}, .n_formats = 1};
    assert_int_equal(mg_codec_pick(&wish, &value, true, &picked, &by_accept, &err), MG_E_NOT_ACCEPTABLE);
    assert_non_null(strstr(err.text, "png cannot hold a table"));
    assert_non_null(strstr(err.text, "geojson"));
    assert_null(strstr(err.text, "webp"));
    const struct mg_codec *mvt = mg_codec_find(MG_SPAN("mvt")), *csv = mg_codec_find(MG_SPAN("csv"));
    wish = (struct mg_wish){.formats = {mvt, csv}, .n_formats = 2};
    assert_int_equal(mg_codec_pick(&wish, &value, false, &picked, &by_accept, &err), MG_OK);
    assert_ptr_equal(picked, csv);
    wish.n_formats = 1;
    assert_int_equal(mg_codec_pick(&wish, &value, false, &picked, &by_accept, &err), MG_E_NOT_ACCEPTABLE);
    assert_non_null(strstr(err.text, "mvt is the format of a tile"));
}

static void test_empty(void **state)
{
    (void)state;
    const struct mg_codec *png = mg_codec_find(MG_SPAN("png")), *mvt = mg_codec_find(MG_SPAN("mvt")),
                          *webp = mg_codec_find(MG_SPAN("webp"));
    struct mg_wish both = {.vector = mvt, .raster = webp}, vector = {.vector = mvt}, none = {0},
                   formats = {.formats = {mvt, webp}, .n_formats = 2}, accept = {.accepts = {webp}, .n_accepts = 1};
    assert_ptr_equal(mg_codec_for_empty(&both), webp);
    assert_ptr_equal(mg_codec_for_empty(&vector), mvt);
    assert_ptr_equal(mg_codec_for_empty(&formats), webp);
    assert_ptr_equal(mg_codec_for_empty(&accept), webp);
    assert_ptr_equal(mg_codec_for_empty(&none), png);
}

static void test_options(void **state)
{
    (void)state;
    static const struct {
        const char *format, *option, *text;
        double value; /* NAN: refused */
        const char *says;
    } rows[] = {
        {"jpg", "quality", "85", 85, ""},
        {"jpg", "quality", "0", NAN, "jpg.quality is \"0\", expected an integer from 1 to 100"},
        {"jpg", "quality", "8.5", NAN, "expected an integer"},
        {"jpg", "quality", "", NAN, "expected an integer"},
        {"jpg", "quality", " 8", NAN, "expected an integer"},
        {"jpg", "quality", "nan", NAN, "expected an integer"},
        {"jpg", "quality", "0x10", NAN, "expected an integer"},
        {"png", "level", "small", 1, ""},
        {"png", "level", "tiny", NAN, "expected one of fast,small"},
        {"webp", "quality", "8.5", 8.5, ""},
        {"tif", "overviews", "true", 1, ""},
        {"tif", "overviews", "0", 0, ""},
        {"tif", "overviews", "no", NAN, "tif.overviews is \"no\", expected true or false"},
        {"png", "max", "-1e3", -1000, ""},
        {"png", "max", "inf", NAN, "expected a number"},
        {"png", "quality", "9", NAN, "png has no option \"quality\"; its options: level, "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct mg_codec *codec = mg_codec_find(mg_span(rows[i].format));
        struct mg_option_value value = {.number = NAN};
        struct mg_errmsg err = {""};
        size_t index = 99;
        enum mg_err e = mg_option_parse(codec, mg_span(rows[i].option), mg_span(rows[i].text), &index, &value, &err);
        bool refused = isnan(rows[i].value);
        if (refused ? e != MG_E_PARAMETER || !strstr(err.text, rows[i].says) : e || value.number != rows[i].value)
            fail_msg("%s.%s=%s: %g, \"%s\"", rows[i].format, rows[i].option, rows[i].text, value.number, err.text);
        if (!refused)
            assert_string_equal(codec->options[index].name, rows[i].option);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_rows_are_whole),
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_pick_named),
        cmocka_unit_test(test_refusals_name_formats),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
