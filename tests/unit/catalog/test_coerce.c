/* Coercion: each type with good, bad, missing, default, list and Unicode values, and the property that equal calls
 * have equal bytes and different calls different ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "catalog/call.h"

#define P(name, type, more) "{\"params\":[{\"name\":\"" name "\",\"type\":\"" type "\"" more "}]}"

struct row {
    const char *sig, *call;
    const char *expected; /* printed arguments; or "!type" of the first mistake */
    const char *why;
};

static const struct row rows[] = {
    /* integer */
    {P("n", "integer", ""), "n=12", "n=int:12", "a whole number is an integer"},
    {P("n", "integer", ""), "n=-12", "n=int:-12", "integers have a sign"},
    {P("n", "integer", ""), "n= 5", "n=int:5", "a plus sign comes as a blank"},
    {P("n", "integer", ""), "n=0012", "n=int:12", "base 10, never octal"},
    {P("n", "integer", ""), "n=0x10", "!int_parsing", "hex is no integer"},
    {P("n", "integer", ""), "n=1.0", "!int_parsing", "a text with a point is no integer"},
    {P("n", "integer", ""), "n=1e3", "!int_parsing", "an exponent is no integer"},
    {P("n", "integer", ""), "n=", "!int_parsing", "nothing is no integer"},
    {P("n", "integer", ""), "n=-", "!int_parsing", "a sign is no integer"},
    {P("n", "integer", ""), "n=12 3", "!int_parsing", "blanks inside are refused"},
    {P("n", "integer", ""), "n=\xd9\xa1", "!int_parsing", "other scripts' digits are refused"},
    {P("n", "integer", ""), "n=9223372036854775807", "n=int:9223372036854775807", "int64 reaches its end"},
    {P("n", "integer", ""), "n=9223372036854775808", "!int_parsing_size", "int64 ends there"},
    {P("n", "integer", ""), "n=-9223372036854775808", "n=int:-9223372036854775808", "int64 reaches its low end"},
    {P("n", "integer", ""), "n=1&n=2", "!repeated", "one value is expected"},
    {P("n", "integer", ""), "{\"n\":7}", "n=int:7", "JSON integers"},
    {P("n", "integer", ""), "{\"n\":7.0}", "n=int:7", "JSON whole reals"},
    {P("n", "integer", ""), "{\"n\":7.5}", "!int_from_float", "JSON fractions are refused"},
    {P("n", "integer", ""), "{\"n\":\"7\"}", "n=int:7", "a JSON string is read as text"},
    {P("n", "integer", ""), "{\"n\":true}", "!int_type", "a boolean is no integer"},
    {P("n", "integer", ""), "{\"n\":[1]}", "!int_type", "a list is no integer"},
    {P("n", "integer", ",\"min\":0,\"max\":9"), "n=9", "n=int:9", "max is within"},
    {P("n", "integer", ",\"min\":0,\"max\":9"), "n=10", "!less_than_equal", "max is checked"},
    {P("n", "integer", ",\"min\":0,\"max\":9"), "n=-1", "!greater_than_equal", "min is checked"},
    {P("n", "integer", ",\"default\":4,\"required\":false"), "", "n=int:4", "the default fills in"},
    {P("n", "integer", ",\"default\":4,\"required\":false"), "{\"n\":null}", "n=int:4", "null is not given"},
    {P("n", "integer", ""), "{\"n\":null}", "!missing", "null is not given, so it is missing"},
    /* number */
    {P("n", "number", ""), "n=1", "n=num:1", "a whole number is a number"},
    {P("n", "number", ""), "n=1.50", "n=num:1.5", "trailing zeros do not count"},
    {P("n", "number", ""), "n=.5", "n=num:0.5", "a leading point"},
    {P("n", "number", ""), "n=1e3", "n=num:1000", "an exponent"},
    {P("n", "number", ""), "n=-0", "n=num:0", "-0 is 0"},
    {P("n", "number", ""), "n=nan", "!float_parsing", "NaN is refused"},
    {P("n", "number", ""), "n=inf", "!float_parsing", "infinity is refused"},
    {P("n", "number", ""), "n=1e999", "!float_parsing", "overflow is refused"},
    {P("n", "number", ""), "n=0x1p3", "!float_parsing", "hex is refused"},
    {P("n", "number", ""), "n=1,5", "!float_parsing", "a comma is refused"},
    {P("n", "number", ""), "n=1.5.2", "!float_parsing", "two points are refused"},
    {P("n", "number", ""), "n=", "!float_parsing", "nothing is refused"},
    {P("n", "number", ""), "{\"n\":2}", "n=num:2", "JSON integers are numbers"},
    {P("n", "number", ""), "{\"n\":\"2.5\"}", "n=num:2.5", "a JSON string is read as text"},
    {P("n", "number", ""), "{\"n\":{}}", "!float_type", "an object is no number"},
    {P("n", "number", ",\"min\":-90,\"max\":90"), "n=90.0001", "!less_than_equal", "max of a number"},
    {P("n", "number", ",\"default\":-0.2,\"required\":false"), "", "n=num:-0.2", "a number's default"},
    /* boolean */
    {P("b", "boolean", ""), "b=true", "b=bool:true", "true"},
    {P("b", "boolean", ""), "b=FALSE", "b=bool:false", "case does not count"},
    {P("b", "boolean", ""), "b=0", "b=bool:false", "0 is false"},
    {P("b", "boolean", ""), "b=no", "b=bool:false", "no is false"},
    {P("b", "boolean", ""), "b=On", "b=bool:true", "on is true"},
    {P("b", "boolean", ""), "b=2", "!bool_parsing", "2 is neither"},
    {P("b", "boolean", ""), "b=", "!bool_parsing", "nothing is neither"},
    {P("b", "boolean", ""), "{\"b\":false}", "b=bool:false", "JSON false"},
    {P("b", "boolean", ""), "{\"b\":1}", "b=bool:true", "JSON 1"},
    {P("b", "boolean", ""), "{\"b\":[]}", "!bool_parsing", "a list is neither"},
    {P("b", "boolean", ",\"default\":false,\"required\":false"), "", "b=bool:false", "a default of false is a default"},
    /* string */
    {P("s", "string", ""), "s=a b", "s=str:a b", "text stays as it is"},
    {P("s", "string", ""), "s= a ", "s=str: a ", "blanks of a string count"},
    {P("s", "string", ""), "s=", "s=str:", "an empty string is a string"},
    {P("s", "string", ""), "", "!missing", "a string without default is required"},
    {P("s", "string", ""), "s=S\xc3\xa3o Tom\xc3\xa9 \xf0\x9f\x8c\x99", "s=str:S\xc3\xa3o Tom\xc3\xa9 \xf0\x9f\x8c\x99", "Unicode passes"},
    {P("s", "string", ""), "s=\xff", "!string_unicode", "broken UTF-8 is refused"},
    {P("s", "string", ""), "s=\xed\xa0\x80", "!string_unicode", "surrogates are refused"},
    {P("s", "string", ""), "s=\xc0\xaf", "!string_unicode", "overlong forms are refused"},
    {P("s", "string", ""), "s=%00", "!string_nul", "NUL is refused"},
    {P("s", "string", ""), "{\"s\":5}", "!string_type", "a number is no string"},
    {P("s", "string", ",\"default\":\"\",\"required\":false"), "", "s=str:", "an empty default is a default"},
    {P("s", "string", ",\"optional\":true,\"required\":false"), "", "s=nil", "optional gives nil"},
    {P("s", "string", ",\"optional\":true,\"required\":false"), "s=x", "s=str:x", "optional may be given"},
    /* list */
    {P("l", "list", ""), "l=[1,2.0,\"a\"]", "l=json:[1,2,\"a\"]", "a JSON list"},
    {P("l", "list", ""), "l=1&l=2", "l=json:[1,2]", "repeated parameters are a list"},
    {P("l", "list", ""), "l=1,2", "l=json:[1,2]", "a comma list"},
    {P("l", "list", ""), "l=a, b ,true", "l=json:[\"a\",\"b\",true]", "items are read as what they are"},
    {P("l", "list", ""), "l=007,1", "l=json:[\"007\",1]", "what is no JSON number stays text"},
    {P("l", "list", ""), "l=", "l=json:[]", "nothing is the empty list"},
    {P("l", "list", ",\"default\":[\"x\"],\"required\":false"), "l=1,2", "l=json:[\"1\",\"2\"]", "items are like the default's: strings"},
    {P("l", "list", ",\"default\":[5,10],\"required\":false"), "l=1,2", "l=json:[1,2]", "items are like the default's: numbers"},
    {P("l", "list", ",\"default\":[5,10],\"required\":false"), "l=1,x", "!list_item", "an item that is no number is refused"},
    {P("l", "list", ",\"default\":[5,10],\"required\":false"), "", "l=json:[5,10]", "a list's default"},
    {P("l", "list", ""), "l=[1,", "!list_type", "broken JSON is refused"},
    {P("l", "list", ""), "{\"l\":[1,[2]]}", "l=json:[1,[2]]", "a JSON body's list"},
    {P("l", "list", ""), "{\"l\":{}}", "l=json:[]", "Lua's empty table is an empty list"},
    {P("l", "list", ""), "{\"l\":{\"a\":1}}", "!list_type", "an object is no list"},
    {P("l", "list", ""), "{\"l\":3}", "!list_type", "a number is no list"},
    /* table */
    {P("t", "table", ""), "t={\"b\":1,\"a\":2.0}", "t=json:{\"a\":2,\"b\":1}", "keys are sorted"},
    {P("t", "table", ""), "t=[1]", "t=json:[1]", "a table may be a list"},
    {P("t", "table", ""), "t=x", "!dict_type", "text is no table"},
    {P("t", "table", ""), "t={\"a\":1,\"a\":2}", "!dict_type", "a key twice is refused"},
    {P("t", "table", ""), "{\"t\":{\"a\":null}}", "t=json:{\"a\":null}", "null inside stays"},
    /* enum */
    {P("e", "enum", ",\"values\":[\"near\",\"far\"]"), "e=far", "e=str:far", "one of the values"},
    {P("e", "enum", ",\"values\":[\"near\",\"far\"]"), "e=Far", "!enum", "case counts"},
    {P("e", "enum", ",\"values\":[\"near\",\"far\"]"), "e=", "!enum", "nothing is none of them"},
    {P("e", "enum", ",\"values\":[\"near\",\"far\"],\"default\":\"near\",\"required\":false"), "", "e=str:near", "an enum's default"},
    /* date */
    {P("d", "date", ""), "d=2024-02-29", "d=date:2024-02-29", "a leap day"},
    {P("d", "date", ""), "d=2023-02-29", "!date_parsing", "no leap day"},
    {P("d", "date", ""), "d=2024-02-29T12:30", "d=date:2024-02-29T12:30:00Z", "seconds may be left out"},
    {P("d", "date", ""), "d=2024-01-01T01:00:00 02:00", "d=date:2023-12-31T23:00:00Z", "a zone becomes UTC"},
    {P("d", "date", ""), "d=2024-01-01t00:00:00.500z", "d=date:2024-01-01T00:00:00.5Z", "fractions lose their zeros"},
    {P("d", "date", ""), "d=2024-01-01 10:00:00", "d=date:2024-01-01T10:00:00Z", "a blank for the T"},
    {P("d", "date", ""), "d=2024-13-01", "!date_parsing", "no 13th month"},
    {P("d", "date", ""), "d=2024-1-1", "!date_parsing", "two digits are needed"},
    {P("d", "date", ""), "d=yesterday", "!date_parsing", "words are no dates"},
    {P("d", "date", ""), "d=0001-01-01T00:00:00 10:00", "!date_parsing", "before the year 1"},
    /* geometry */
    {P("g", "geometry", ""), "g=POINT (1 2)", "g=geo:POINT (1 2)", "WKT"},
    {P("g", "geometry", ""), "g= polygon((0 0,1 0,1 1,0 0)) ", "g=geo:polygon((0 0,1 0,1 1,0 0))", "blanks around WKT"},
    {P("g", "geometry", ""), "g=POINT EMPTY", "g=geo:POINT EMPTY", "empty WKT"},
    {P("g", "geometry", ""), "g=POINT (1 2", "!geometry_parsing", "open parentheses"},
    {P("g", "geometry", ""), "g=POINT (1 2) POINT (1 2)", "!geometry_parsing", "two geometries"},
    {P("g", "geometry", ""), "g=CIRCLE (1 2)", "!geometry_parsing", "an unknown kind"},
    {P("g", "geometry", ""), "g={\"type\":\"Point\",\"coordinates\":[1.0,2]}", "g=geo:{\"coordinates\":[1,2],\"type\":\"Point\"}", "GeoJSON, canonical"},
    {P("g", "geometry", ""), "{\"g\":{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[1,2]}}}", "g=geo:{\"coordinates\":[1,2],\"type\":\"Point\"}", "a Feature gives its geometry"},
    {P("g", "geometry", ""), "{\"g\":{\"type\":\"Feature\"}}", "!geometry_parsing", "a Feature without one"},
    {P("g", "geometry", ""), "{\"g\":{\"type\":\"Point\"}}", "!geometry_parsing", "no coordinates"},
    /* bounds */
    {P("bounds", "bounds", ""), "bounds=1,2,3,4", "bounds=box:1,2,3,4", "four numbers"},
    {P("bounds", "bounds", ""), "bounds=[1, 2, 3, 4.0]", "bounds=box:1,2,3,4", "a JSON list"},
    {P("bounds", "bounds", ""), "bbox=1,2,3,4", "bounds=box:1,2,3,4", "bbox is an alias"},
    {P("bbox", "bounds", ""), "bounds=1,2,3,4", "bbox=box:1,2,3,4", "an alias the other way"},
    {P("bounds", "bounds", ""), "bounds=1,2,3,4&bbox=1,2,3,4", "!repeated", "both is twice"},
    {P("bounds", "bounds", ""), "{\"bounds\":{\"xmin\":1,\"ymin\":2,\"xmax\":3,\"ymax\":4}}", "bounds=box:1,2,3,4", "an object"},
    {P("bounds", "bounds", ""), "bounds={\"type\":\"LineString\",\"coordinates\":[[3,2],[1,4]]}", "bounds=box:1,2,3,4", "the box of a geometry"},
    {P("bounds", "bounds", ""), "{\"bounds\":{\"type\":\"FeatureCollection\",\"features\":[{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[1,2]}},{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[3,4]}}]}}", "bounds=box:1,2,3,4", "the box of a FeatureCollection"},
    {P("bounds", "bounds", ""), "bounds=170,-20,-170,-10", "bounds=box:170,-20,-170,-10", "over the antimeridian"},
    {P("bounds", "bounds", ""), "bounds=1,2,3", "!bounds_parsing", "three numbers"},
    {P("bounds", "bounds", ""), "bounds=1,2,3,4,5", "!bounds_parsing", "five numbers"},
    {P("bounds", "bounds", ""), "bounds=1,2,x,4", "!bounds_parsing", "a letter"},
    {P("bounds", "bounds", ""), "bounds=1,4,3,2", "!bounds_range", "ymin above ymax"},
    {P("bounds", "bounds", ""), "bounds=1,2,1,4", "!bounds_range", "no width"},
    {P("bounds", "bounds", ""), "bounds=1,-91,3,4", "!bounds_range", "beyond the pole"},
    {P("bounds", "bounds", ""), "{\"bounds\":{\"type\":\"Point\",\"coordinates\":[1,2]}}", "!bounds_range", "a point has no area"},
    {P("bounds", "bounds", ""), "{\"bounds\":{\"type\":\"FeatureCollection\",\"features\":[]}}", "!bounds_parsing", "no coordinates"},
    {P("bounds", "bounds", ""), "", "!missing", "missing bounds, no view"},
    {P("bounds", "bounds", ",\"default\":[1,2,3,4],\"required\":false"), "", "bounds=box:1,2,3,4", "a default of bounds"},
    {P("bounds", "bounds", ",\"optional\":true,\"required\":false"), "", "bounds=nil", "optional bounds"},
    {P("area", "tile", ""), "", "!missing", "a tile needs z, x, y"},
    {P("area", "tile", ""), "area=1,2,3,4", "!missing", "bounds are no tile"},
    {P("area", "tile", ",\"default\":[3,1,2],\"required\":false"), "", "area=tile:3,1,2,256", "a default tile"},
    /* any and unknown ones */
    {P("a", "any", ""), "a=1", "a=str:1", "any stays text"},
    {P("a", "any", ""), "a=1&a=2", "a=json:[\"1\",\"2\"]", "any repeated is a list"},
    {P("a", "any", ""), "{\"a\":1}", "a=num:1", "any of JSON keeps its type"},
    {P("a", "any", ""), "{\"a\":{\"b\":1}}", "a=json:{\"b\":1}", "any may be a table"},
    {P("low", "number", ",\"default\":1,\"required\":false"), "lo=2", "!extra_forbidden", "unknown names are refused"},
    {P("low", "number", ",\"default\":1,\"required\":false"), "x=2", "!extra_forbidden", "x alone is no tile"},
    {P("low", "number", ",\"default\":1,\"required\":false"), "_=2&utm_source=x&access_token=y", "low=num:1", "ignored names"},
    {P("low", "number", ",\"default\":1,\"required\":false"), "format=png&dtype_out_vector=csv&cache_max_age=0&size=512&tms=1&_cache_id=7", "low=num:1", "reserved names"},
};

/* The arguments as text, or "!" and the type of the first mistake. */
static void coerce(const char *sig_text, const struct mg_call *like, const char *text, struct mg_buf *printed,
                   struct mg_buf *bytes, struct mg_buf *detail)
{
    struct mg_sig *sig = NULL;
    struct mg_errmsg err = {""};
    struct call_text given;
    struct mg_buf args, extra;
    struct mg_call call = like ? *like : (struct mg_call){0};
    if (mg_sig_parse(mg_span(sig_text), &sig, &err) != MG_OK)
        fail_msg("signature %s: %s", sig_text, err.text);
    call_read(&given, text);
    call.given = given.given;
    call.n_given = given.n;
    mg_buf_init(&args, 0);
    mg_buf_init(&extra, 0);
    enum mg_err status = mg_sig_coerce(sig, &call, &args, &extra, detail, &err);
    if (status) {
        json_t *list = json_loadb(detail->data ? detail->data : "", detail->len, 0, NULL);
        const json_t *first = json_array_get(list, 0);
        mg_buf_printf(printed, "!%s", mg_json_str(first, "type", "(no detail)"));
        assert_int_equal(args.len, 0);
        assert_true(strlen(err.text) > 0);
        json_decref(list);
    } else {
        call_print(&args, printed);
        if (sig->varargs && extra.len) {
            mg_buf_str(printed, " | ");
            call_print(&extra, printed);
        }
    }
    if (bytes) {
        mg_buf_put(bytes, args.data, args.len);
        mg_buf_put(bytes, extra.data, extra.len);
    }
    mg_buf_fini(&args);
    mg_buf_fini(&extra);
    call_free(&given);
    mg_sig_free(&sig);
}

static void expect(const char *sig, const struct mg_call *like, const char *text, const char *expected, const char *why)
{
    struct mg_buf printed, detail;
    mg_buf_init(&printed, 0);
    mg_buf_init(&detail, 0);
    coerce(sig, like, text, &printed, NULL, &detail);
    if (!printed.data || strcmp(printed.data, expected) != 0)
        fail_msg("%s\n  call %s\n  expected %s\n  got      %s", why, text, expected, printed.data ? printed.data : "");
    mg_buf_fini(&printed);
    mg_buf_fini(&detail);
}

static void each_type(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(rows[i].sig, NULL, rows[i].call, rows[i].expected, rows[i].why);
}

#define SCENE "{\"params\":[{\"name\":\"bounds\",\"type\":\"bounds\"},{\"name\":\"low\",\"type\":\"number\",\"default\":1}," \
              "{\"name\":\"tags\",\"type\":\"list\",\"default\":[]}]}"

static void tiles(void **state)
{
    (void)state;
    const double view[4] = {-35, -8.5, -34.5, -8};
    struct mg_call tile = {.has_tile = true, .z = 3, .x = 1, .y = 2, .tile_size = 512};
    struct mg_call seen = {.view = view, .example_url = "http://h/x"};
    struct mg_call helpful = {.example_url = "http://h/x"};
    expect(SCENE, &tile, "", "bounds=tile:3,1,2,512 low=num:1 tags=json:[]", "a tile call fills bounds");
    expect(SCENE, &tile, "bounds=1,2,3,4", "!tile_bounds", "bounds beside a tile are refused");
    expect(SCENE, &seen, "", "bounds=box:-35,-8.5,-34.5,-8 low=num:1 tags=json:[]", "the view stands in");
    expect(SCENE, &seen, "bounds=1,2,3,4", "bounds=box:1,2,3,4 low=num:1 tags=json:[]", "given bounds come first");
    expect(P("area", "bounds", ""), &tile, "", "area=tile:3,1,2,512", "the first of its type, whatever its name");
    expect("{\"params\":[{\"name\":\"a\",\"type\":\"bounds\"},{\"name\":\"bounds\",\"type\":\"bounds\"}]}", &tile, "a=1,2,3,4",
           "a=box:1,2,3,4 bounds=tile:3,1,2,512", "of two the one named bounds");
    expect("{\"params\":[{\"name\":\"z\",\"type\":\"integer\"},{\"name\":\"x\",\"type\":\"number\"}]}", &tile, "",
           "z=int:3 x=num:1", "z, x and y of a tile call may be parameters");
    expect(P("area", "tile", ""), &(struct mg_call){.has_tile = true, .z = 1}, "", "area=tile:1,0,0,256", "the usual size");

    struct mg_buf printed, detail;
    mg_buf_init(&printed, 0);
    mg_buf_init(&detail, 0);
    coerce(SCENE, &helpful, "", &printed, NULL, &detail);
    assert_non_null(strstr(detail.data, "http://h/x"));
    mg_buf_fini(&printed);
    mg_buf_fini(&detail);
}

static void all_mistakes_are_told(void **state)
{
    (void)state;
    struct mg_buf printed, detail;
    mg_buf_init(&printed, 0);
    mg_buf_init(&detail, 0);
    coerce("{\"params\":[{\"name\":\"low\",\"type\":\"number\"},{\"name\":\"when\",\"type\":\"date\"}]}", NULL,
           "low=abc&lwo=2&wehn=x", &printed, NULL, &detail);
    json_t *list = json_loadb(detail.data, detail.len, 0, NULL);
    assert_int_equal(json_array_size(list), 4);
    bool near = false, missing = false, came = false;
    for (size_t i = 0; i < 4; i++) {
        const json_t *one = json_array_get(list, i), *loc = json_object_get(one, "loc");
        const char *name = json_string_value(json_array_get(loc, 1)), *msg = mg_json_str(one, "msg", "");
        assert_string_equal(json_string_value(json_array_get(loc, 0)), "query");
        near = near || (strcmp(name, "lwo") == 0 && strstr(msg, "did you mean low?"));
        missing = missing || (strcmp(name, "when") == 0 && strcmp(msg, "Field required") == 0 &&
                              strcmp(mg_json_str(one, "type", ""), "missing") == 0);
        came = came || (strcmp(name, "low") == 0 && strcmp(mg_json_str(one, "input", ""), "abc") == 0);
    }
    assert_true(near);
    assert_true(missing);
    assert_true(came);
    json_decref(list);
    mg_buf_fini(&printed);
    mg_buf_fini(&detail);
}

static void further_ones(void **state)
{
    (void)state;
    static const char sig[] = "{\"params\":[{\"name\":\"a\",\"type\":\"integer\",\"default\":1}],\"varargs\":true}";
    expect(sig, NULL, "c=3&b=2", "a=int:1 | b=str:2 c=str:3", "further parameters are sorted by name");
    expect(sig, NULL, "b=2&c=3&b=1", "a=int:1 | b=json:[\"2\",\"1\"] c=str:3", "repeated ones keep their order");
    expect(sig, NULL, "{\"b\":{\"y\":1,\"x\":[true]}}", "a=int:1 | b=json:{\"x\":[true],\"y\":1}", "JSON keeps its shape");
    expect(sig, NULL, "utm_x=1&_=2&size=3", "a=int:1 | ", "ignored and reserved names stay out");
    expect(sig, NULL, "b=\xff", "!string_unicode", "further ones are checked too");
    expect(sig, NULL, "\xff=1", "!name", "their names too");
}

static void limits(void **state)
{
    (void)state;
    struct mg_sig *sig = NULL;
    struct mg_errmsg err = {""};
    struct mg_buf args, detail;
    char *text = malloc(70000), *deep = malloc(300);
    assert_int_equal(mg_sig_parse(mg_span(P("s", "string", "")), &sig, &err), MG_OK);
    memset(text, 'a', 70000);
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    struct mg_given long_text = {MG_SPAN("s"), {text, 65536}, NULL};
    mg_buf_init(&args, 0);
    mg_buf_init(&detail, 0);
    struct mg_call call = {.given = &long_text, .n_given = 1};
    assert_int_equal(mg_sig_coerce(sig, &call, &args, &args, &detail, &err), MG_OK);
    long_text.text.len++;
    assert_int_equal(mg_sig_coerce(sig, &call, &args, &args, &detail, &err), MG_E_PARAMETER);
    assert_non_null(strstr(detail.data, "too_long"));
    assert_true(detail.len < 1000);
    mg_sig_free(&sig);
    assert_int_equal(mg_sig_parse(mg_span(P("s", "list", "")), &sig, &err), MG_OK);
    long_text.text = (struct mg_span){deep, 200};
    assert_int_equal(mg_sig_coerce(sig, &call, &args, &args, &detail, &err), MG_E_PARAMETER);
    assert_non_null(strstr(err.text, "deeper"));
    json_t *json = json_loadb(deep, 200, 0, NULL);
    long_text = (struct mg_given){MG_SPAN("s"), {NULL, 0}, json};
    assert_int_equal(mg_sig_coerce(sig, &call, &args, &args, &detail, &err), MG_E_PARAMETER);
    assert_non_null(strstr(err.text, "deeper"));
    json_decref(json);
    struct mg_given many[257];
    for (size_t i = 0; i < 257; i++)
        many[i] = (struct mg_given){MG_SPAN("q"), MG_SPAN("1"), NULL};
    call = (struct mg_call){.given = many, .n_given = 257};
    assert_int_equal(mg_sig_coerce(sig, &call, &args, &args, &detail, &err), MG_E_INVALID);
    call.n_given = 256;
    mg_buf_fini(&detail);
    assert_int_equal(mg_sig_coerce(sig, &call, &args, &args, &detail, &err), MG_E_PARAMETER);
    assert_true(detail.len < 40000);
    mg_sig_free(&sig);
    mg_buf_fini(&args);
    mg_buf_fini(&detail);
    free(text);
    free(deep);
}

/* Pairs of spellings: the same bytes, or not. */
static void equal_and_different(void **state)
{
    (void)state;
    static const char sig[] =
        "{\"params\":[{\"name\":\"low\",\"type\":\"number\",\"default\":1},{\"name\":\"s\",\"type\":\"string\",\"default\":\"\"},"
        "{\"name\":\"t\",\"type\":\"table\",\"default\":{}},{\"name\":\"l\",\"type\":\"list\",\"default\":[\"a\"]},"
        "{\"name\":\"bounds\",\"type\":\"bounds\",\"default\":[0,0,1,1]},{\"name\":\"d\",\"type\":\"date\",\"optional\":true}],"
        "\"varargs\":true}";
    static const struct {
        const char *a, *b;
        bool same;
        const char *why;
    } pairs[] = {
        {"low=2&s=x", "s=x&low=2", true, "order does not count"},
        {"", "low=1&s=", true, "defaults spelt out"},
        {"low=1", "low=1.0", true, "1 is 1.0"},
        {"low=1e2", "{\"low\":100}", true, "text and JSON"},
        {"t={\"a\":1,\"b\":2}", "t={ \"b\":2.0, \"a\":1 }", true, "JSON is canonical"},
        {"l=a", "{\"l\":[\"a\"]}", true, "a list's spellings"},
        {"bbox=0,0,1,1", "", true, "aliases and defaults"},
        {"bounds=[0,0,1,1]", "bounds=-0,0,1,1.00", true, "bounds' spellings"},
        {"d=2024-01-01T00:00Z", "d=2024-01-01T01:00:00 01:00", true, "the same instant"},
        {"_=1&utm_a=2&s=y&access_token=q", "s=y", true, "ignored names"},
        {"p=1&q=2", "q=2&p=1", true, "order of further ones"},
        {"s=a&low=2", "s=a%26low=2", false, "a=1&b=2 is not a=1%26b=2"},
        {"s=1", "low=1", false, "another parameter"},
        {"s=a", "s=a ", false, "a blank"},
        {"p=1", "{\"p\":1}", false, "text is not a number"},
        {"p=1&p=2", "p=2&p=1", false, "order of a list"},
        {"p=1&p=2", "p=[\"1\",\"2\"]", false, "a list is not its text"},
        {"pq=1", "p=q1", false, "names and values do not run together"},
        {"d=2024-01-01", "d=2024-01-01T00:00Z", false, "a day is not an instant"},
        {"d=2024-01-01", "", false, "nil is not a day"},
        {"t={\"a\":\"1\"}", "t={\"a\":1}", false, "types inside of JSON"},
        {"bounds=0,0,1,1", "bounds=0,0,1,1.0000000000000002", false, "the last bit of bounds"},
        {"low=0.1", "low=0.10000000000000002", false, "the last bit of a number"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct mg_buf a, b, text, detail;
        struct mg_buf *all[] = {&a, &b, &text, &detail};
        for (size_t k = 0; k < 4; k++)
            mg_buf_init(all[k], 0);
        coerce(sig, NULL, pairs[i].a, &text, &a, &detail);
        coerce(sig, NULL, pairs[i].b, &text, &b, &detail);
        assert_int_equal(detail.len, 0);
        bool same = a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
        if (same != pairs[i].same)
            fail_msg("%s: \"%s\" and \"%s\" have %s bytes", pairs[i].why, pairs[i].a, pairs[i].b,
                     same ? "the same" : "different");
        for (size_t k = 0; k < 4; k++)
            mg_buf_fini(all[k]);
    }
}

static uint64_t seed = 88172645463325252;
static unsigned random_below(unsigned n)
{
    seed ^= seed << 13; /* xorshift64, Marsaglia 2003 */
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % n;
}

enum { KEYS = 5, CALLS = 600 };
struct random_call {
    char values[KEYS][8]; /* "" : not given */
    bool given[KEYS];
    struct mg_buf bytes;
};

static void random_bytes(const struct mg_sig *sig, const struct random_call *one, struct mg_buf *out)
{
    static const char *const names[KEYS] = {"a", "aa", "b", "ab", "n"};
    struct mg_given given[KEYS];
    size_t n = 0;
    for (size_t k = 0; k < KEYS; k++)
        if (one->given[k])
            given[n++] = (struct mg_given){mg_span(names[k]), mg_span(one->values[k]), NULL};
    for (size_t k = n; k > 1; k--) { /* any order */
        size_t other = random_below((unsigned)k);
        struct mg_given swap = given[k - 1];
        given[k - 1] = given[other];
        given[other] = swap;
    }
    struct mg_call call = {.given = given, .n_given = n};
    struct mg_buf detail, extra;
    struct mg_errmsg err = {""};
    mg_buf_init(&detail, 0);
    mg_buf_init(&extra, 0);
    if (mg_sig_coerce(sig, &call, out, &extra, &detail, &err) != MG_OK)
        fail_msg("%s", err.text);
    mg_buf_put(out, extra.data, extra.len);
    mg_buf_fini(&extra);
    mg_buf_fini(&detail);
}

/* Strings over a small hostile alphabet, so that collisions would be found if there were any. */
static void no_two_calls_share_an_encoding(void **state)
{
    (void)state;
    static const char alphabet[] = "ab=&,1s\"";
    static struct random_call calls[CALLS];
    struct mg_sig *sig = NULL;
    assert_int_equal(mg_sig_parse(mg_span("{\"params\":[{\"name\":\"a\",\"type\":\"string\",\"default\":\"a\"},"
                                          "{\"name\":\"n\",\"type\":\"string\",\"optional\":true}],\"varargs\":true}"),
                                  &sig, NULL), MG_OK);
    for (size_t i = 0; i < CALLS; i++) {
        struct random_call *one = &calls[i];
        for (size_t k = 0; k < KEYS; k++) {
            size_t len = random_below(3);
            one->given[k] = random_below(2);
            for (size_t c = 0; c < len; c++)
                one->values[k][c] = alphabet[random_below(sizeof alphabet - 1)];
            if (!one->given[k])
                snprintf(one->values[k], 8, "%s", k == 0 ? "a" : ""); /* the default of a; compared by `given` for the others */
        }
        mg_buf_init(&one->bytes, 0);
        random_bytes(sig, one, &one->bytes);
    }
    for (size_t i = 0; i < CALLS; i++) {
        struct mg_buf again;
        mg_buf_init(&again, 0);
        random_bytes(sig, &calls[i], &again);
        assert_true(again.len == calls[i].bytes.len && memcmp(again.data, calls[i].bytes.data, again.len) == 0);
        mg_buf_fini(&again);
        for (size_t j = i + 1; j < CALLS; j++) {
            bool same_call = true;
            for (size_t k = 0; k < KEYS; k++)
                same_call = same_call && strcmp(calls[i].values[k], calls[j].values[k]) == 0 &&
                            (k == 0 || calls[i].given[k] == calls[j].given[k]);
            bool same_bytes = calls[i].bytes.len == calls[j].bytes.len &&
                              memcmp(calls[i].bytes.data, calls[j].bytes.data, calls[i].bytes.len) == 0;
            if (same_call != same_bytes)
                fail_msg("calls %zu and %zu: %s calls, %s bytes", i, j, same_call ? "equal" : "different",
                         same_bytes ? "equal" : "different");
        }
    }
    for (size_t i = 0; i < CALLS; i++)
        mg_buf_fini(&calls[i].bytes);
    mg_sig_free(&sig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type),
        cmocka_unit_test(tiles),
        cmocka_unit_test(all_mistakes_are_told),
        cmocka_unit_test(further_ones),
        cmocka_unit_test(limits),
        cmocka_unit_test(equal_and_different),
        cmocka_unit_test(no_two_calls_share_an_encoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
