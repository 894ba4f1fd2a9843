/* The Lua machine: environment, arguments, kinds of results, errors, limits. */
#include "vm_harness.h"

#define UDF(body) "local moon = require 'moon'\nreturn moon.udf(function() " body " end)"

static struct harness h;

static struct mg_span text_of(const struct mg_run_result *r)
{
    return r->err == MG_OK ? r->body : r->message;
}

static bool contains(struct mg_span text, const char *part)
{
    return text.len >= strlen(part) &&
           (strlen(part) == 0 || memmem(text.data, text.len, part, strlen(part)));
}

static void check_rows(const char *code, enum mg_err err, const char *said, const char *sentence)
{
    harness_code(&h, code);
    const struct mg_run_result *r = harness_run(&h);
    struct mg_span text = text_of(r);
    if (r->err != err || !contains(text, said))
        fail_msg("%s: got %s, \"%.*s\"", sentence, mg_err_name(r->err), (int)text.len,
                 text.data ? text.data : "");
}

static void test_environment(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        const char *body;
        const char *sentence;
    } rows[] = {
        {UDF("return tostring(io)"), "nil", "there is no io"},
        {UDF("return tostring(debug) .. tostring(jit) .. tostring(ffi) .. tostring(package)"),
         "nilnilnilnil", "debug, jit, ffi and package are hidden"},
        {UDF("return tostring(os.execute) .. tostring(os.exit) .. tostring(os.getenv)"),
         "nilnilnil", "os has nothing that acts"},
        {UDF("return type(os.time()) .. type(os.date()) .. type(os.clock())"), "numberstringnumber",
         "os tells the time"},
        {UDF("return tostring(getfenv) .. tostring(setfenv) .. tostring(newproxy) .. "
             "tostring(dofile)"),
         "nilnilnilnil", "environments and files are out of reach"},
        {UDF("return tostring(string.dump)"), "nil", "no bytecode is made"},
        {UDF("return tostring(getmetatable(''))"), "false",
         "the metatable of strings is protected"},
        {UDF("return tostring((load('\\27LJ\\2\\0')))"), "nil", "load refuses bytecode"},
        {UDF("return tostring((loadstring('\\27LJ\\2\\0')))"), "nil",
         "loadstring refuses bytecode"},
        {UDF("return tostring(load('return 6 * 7')())"), "42", "load takes text"},
        {UDF("return tostring(load(function() return nil end))"), "function", "load takes pieces"},
        {UDF("local n = 0 return tostring(load(function() n = n + 1 return ({ 'return ', '6 ', '* "
             "7' })[n] end)())"),
         "42", "load joins pieces"},
        {UDF("return tostring(pcall(require, 'ffi'))"), "false", "require does not give ffi"},
        {UDF("return tostring(pcall(require, 'string.buffer'))"), "false",
         "require does not give string.buffer"},
        {UDF("return type(require 'moon.json'.encode)"), "function", "require gives submodules"},
        {UDF("return tostring(leaked)"), "nil", "globals of an earlier run are gone"},
        {UDF("leaked = 1 string.format = nil return 'x'"), "x", "a run can break only itself"},
        {UDF("return string.format('%d', 3) .. tostring(leaked)"), "3nil",
         "the next run has fresh libraries"},
        {UDF("return tostring(getmetatable(moon))"), "false", "moon's metatable is protected"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_rows(rows[i].code, MG_OK, rows[i].body, rows[i].sentence);
}

static void test_results(void **state)
{
    (void)state;
    static const struct {
        const char *code, *body, *codec, *sentence;
    } rows[] = {
        {UDF("return '<p>hi</p>'"), "<p>hi</p>", "html", "a string is a page"},
        {UDF("return 42"), "42", "json", "a number is JSON"},
        {UDF("return 0.1"), "0.1", "json", "numbers are written shortest"},
        {UDF("return true"), "true", "json", "a boolean is JSON"},
        {UDF("return { b = { 1, 2 }, a = 'x' }"), "{\"a\":\"x\",\"b\":[1,2]}", "json",
         "keys are sorted"},
        {UDF("return {}"), "[]", "json", "an empty table is a list"},
        {UDF("return moon.json.object()"), "{}", "json", "an empty object can be had"},
        {UDF("return { 0/0, 1/0, moon.json.null }"), "[null,null,null]", "json",
         "what JSON lacks is null"},
        {UDF("return moon.point(1, 2)"), "\"Point\"", "geojson", "a geometry is GeoJSON"},
        {UDF("return moon.table{ { a = 1 } }"), "\"a\":1", "json",
         "a table without geometry is JSON"},
        {UDF("return moon.response({ a = 1 }, nil, 201)"), "{\"a\":1}", "json",
         "a response without a type is encoded"},
        {UDF("return moon.response('a,b', 'text/csv')"), "a,b", "",
         "a response with a type goes out as it is"},
        {"return function() return 'bare' end", "bare", "html", "a bare function is a UDF"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        check_rows(rows[i].code, MG_OK, rows[i].body, rows[i].sentence);
        if (!mg_span_is(h.result.codec, rows[i].codec))
            fail_msg("%s: the codec is %.*s", rows[i].sentence, (int)h.result.codec.len,
                     h.result.codec.data);
    }
    harness_code(&h, UDF("return moon.response('a', 'text/csv', 202, { ['X-Rows'] = '1' })"));
    const struct mg_run_result *r = harness_run(&h);
    assert_int_equal(r->status, 202);
    assert_true(mg_span_is(r->mime, "text/csv"));
    assert_true(contains(r->headers, "X-Rows"));
    harness_code(&h, UDF("return nil"));
    r = harness_run(&h);
    assert_true(r->empty && r->err == MG_OK && r->body.len == 0 && r->status == 200);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        enum mg_err err;
        const char *said, *sentence;
    } rows[] = {
        {"return 1", MG_E_UDF_BROKEN, "the file must end in `return moon.udf(",
         "a file that returns something else"},
        {"local x = = 1", MG_E_UDF_BROKEN, "Test.lua:1: unexpected symbol near '='",
         "a syntax error has its line"},
        {UDF("\nerror('no')"), MG_E_UDF, "Test.lua:3: no", "error has the author's line"},
        {UDF("local t\nreturn t.x"), MG_E_UDF,
         "Test.lua:3: attempt to index local 't' (a nil value)", "a mistake has its line"},
        {"local moon = require 'moon'\nmoon.udf(function() end)", MG_E_UDF_BROKEN,
         "Test.lua:2: the file must end in `return moon.udf(…)`; it returned nothing",
         "a missing return has the file and a line"},
        {"local moon = require 'moon'\nreturn moon.udf(function() end, {}, { max = 1 })",
         MG_E_UDF_BROKEN, "Test.lua:2: udf: no option max", "moon.udf itself, a tail call"},
        {UDF("local function f() return 1 + f() end\nreturn f()"), MG_E_UDF,
         "stack overflow (a function calls itself without an end)", "endless recursion"},
        {UDF("error({})"), MG_E_UDF, "error raised with a table", "error objects of other kinds"},
        {UDF("\n\nlocal b = moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 9 }) return b"),
         MG_E_ARGUMENT, "Test.lua:4: read_raster: no band 9 in fd://L7_ETMs.tif (it has 6)",
         "the sentence of authoring.md"},
        {UDF("\nreturn moon.read_raster('fd://none.tif')"), MG_E_NO_FILE,
         "Test.lua:3: read_raster: no file fd://none.tif", "a tail call keeps its line"},
        {UDF("moon.read_raster(3)"), MG_E_ARGUMENT,
         "read_raster: path: expected a path such as \"fd://scene.tif\", got 3",
         "a wrong argument is named"},
        {UDF("moon.read_raster('fd://L7_ETMs.tif', nil, { band = 3 })"), MG_E_ARGUMENT,
         "no option band; did you mean `bands`? (there are bands,", "an unknown option is named"},
        {UDF("moon.read_raster('/etc/passwd')"), MG_E_ARGUMENT, "read_raster",
         "other paths are refused"},
        {UDF("moon.read_raster('MEM:::DATAPOINTER=1')"), MG_E_ARGUMENT, "read_raster",
         "GDAL's own names are refused"},
        {UDF("moon.nowhere('x')"), MG_E_ARGUMENT, "moon has no `nowhere` (it has udf, type",
         "a missing name lists those there"},
        {UDF("moon.type.text()"), MG_E_ARGUMENT, "moon.type has no `text`",
         "a missing type lists those there"},
        {UDF("return { [1] = 1, [3] = 3 }"), MG_E_UDF_TYPE, "result: the list has holes",
         "sparse lists"},
        {UDF("local t = {} t.t = t return t"), MG_E_UDF_TYPE, "nested deeper than 64", "cycles"},
        {UDF("return { a = { print } }"), MG_E_UDF_TYPE, "result: a[1]: a function cannot be JSON",
         "functions have a place"},
        {UDF("return print"), MG_E_UDF_TYPE, "which cannot be an answer",
         "a function is no answer"},
        {UDF("return { 1, a = 2 }"), MG_E_UDF_TYPE, "both list items and named values",
         "mixed tables"},
        {UDF("return { moon.table{ { b = 1 } } }"), MG_E_UDF_TYPE, "each of several results needs a name",
         "several results in a list"},
        {UDF("return { a = moon.table{ { b = 1 } }, b = moon.response('x') }"), MG_E_UDF_TYPE,
         "b: a moon.response is a whole answer", "a response among several results"},
        {UDF("return { a = moon.table{ { b = 1 } }, b = { print } }"), MG_E_UDF_TYPE,
         "result: b: [1]: a function cannot be JSON", "what JSON cannot hold among several results"},
        {UDF("return moon.response('x', 'a/b', 99)"), MG_E_ARGUMENT,
         "response: status: expected a whole number", "a wrong status"},
        {UDF("return moon.response('x', nil, 200, { ['Content-Length'] = '1' })"), MG_E_ARGUMENT,
         "Content-Length is set by the server", "headers that are ours"},
        {UDF("return moon.response('x', nil, 200, { a = 'b\\r\\nc: d' })"), MG_E_ARGUMENT,
         "a text of one line", "header injection"},
        {UDF("require 'nothing'"), MG_E_ARGUMENT,
         "require: no module nothing (there are moon, and of this UDF: Test)",
         "a missing module lists those there"},
        {UDF("moon.run('Other')"), MG_E_UNAVAILABLE, "run: no other UDF can be run from here",
         "no host"},
        {UDF("local r = moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 1 }) moon.map(r, "
             "function() end)"),
         MG_E_ARGUMENT, "map: the function gave nil for a pixel; return a number, or moon.nodata",
         "map wants a number"},
        {UDF("return moon.read_vector('fd://places.fgb', nil, { columns = { 'nam' } })"),
         MG_E_ARGUMENT, "nam", "an unknown column"},
        {"local moon = require 'moon' return moon.udf(function(a) end, { b = 1 })", MG_OK, "",
         "a run does not describe"},
        {UDF("return moon.bounds(1, 2, 3, 400)"), MG_E_ARGUMENT, "are no bounds in degrees",
         "bounds are checked"},
        {UDF("return moon.tile.bounds(3, 8, 0)"), MG_E_TILE_RANGE, "there is no tile 3/8/0",
         "tiles are checked"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_rows(rows[i].code, rows[i].err, rows[i].said, rows[i].sentence);
    harness_code(
        &h,
        "local moon = require 'moon'\nlocal function inner(x)\n  local y = x.z\n  return y\nend\n"
        "return moon.udf(function()\n  local v = inner(nil)\n  return v\nend)");
    const struct mg_run_result *r = harness_run(&h);
    assert_int_equal(r->line, 3);
    assert_true(mg_span_is(r->file, "Test.lua"));
    assert_true(contains(r->traceback, "Test.lua:3: in function 'inner'"));
    assert_true(contains(r->traceback, "Test.lua:7:"));
}

static void test_describe(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        enum mg_err err;
        const char *said, *sentence;
    } rows[] = {
        {"local moon = require 'moon'\n--- Says hello.\n--- @param a string a name\nlocal function "
         "udf(a, b, c, ...) end\n"
         "return moon.udf(udf, { b = 3, c = moon.type.integer(12, { min = 0, max = 20 }) }, { "
         "max_age = '1h' })",
         MG_OK,
         "{\"doc\":\"Says hello.\",\"max_age\":\"1h\",\"params\":[{\"doc\":\"a "
         "name\",\"name\":\"a\",\"optional\":false,"
         "\"required\":true,\"type\":\"string\"},{\"default\":3,\"name\":\"b\",\"optional\":false,"
         "\"required\":false,"
         "\"type\":\"number\"},{\"default\":12,\"max\":20,\"min\":0,\"name\":\"c\",\"optional\":"
         "false,\"required\":false,"
         "\"type\":\"integer\"}],\"varargs\":true}",
         "the whole record"},
        {"local moon = require 'moon' return moon.udf(function(m) end, { m = moon.type.enum{ 'a', "
         "'b' }('a') })",
         MG_OK,
         "\"default\":\"a\",\"name\":\"m\",\"optional\":false,\"required\":false,\"type\":\"enum\","
         "\"values\":[\"a\",\"b\"]",
         "an enum with a default"},
        {"local moon = require 'moon' return moon.udf(function(b) end, { b = moon.type.bounds{ 1, "
         "2, 3, 4 } })",
         MG_OK, "\"default\":[1,2,3,4],\"name\":\"b\"", "bounds with a default"},
        {"local moon = require 'moon' return moon.udf(function(s) end, { s = moon.type.string(nil, "
         "{ optional = true }) })",
         MG_OK, "\"name\":\"s\",\"optional\":true,\"required\":false", "an optional parameter"},
        {"local moon = require 'moon' return moon.udf(function(l, t) end, { l = {}, t = { a = 1 } "
         "})",
         MG_OK, "\"name\":\"l\",\"optional\":false,\"required\":false,\"type\":\"list\"",
         "lists and tables by their defaults"},
        {"local moon = require 'moon' return moon.udf(function(a) end, { b = 1 })", MG_E_UDF_BROKEN,
         "there is a default for `b`, but the function has no such parameter (it has a)",
         "a default without a parameter"},
        {"local moon = require 'moon' return moon.udf(function(a) end, { a = print })",
         MG_E_UDF_BROKEN, "a: the default cannot be a function", "a default of no type"},
        {"local moon = require 'moon' return moon.udf(function(a) end, { a = moon.type.integer(1, "
         "{ most = 2 }) })",
         MG_E_UDF_BROKEN, "type.integer: no option most", "an unknown limit"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        harness_code(&h, rows[i].code);
        h.request.mode = MG_RUN_DESCRIBE;
        const struct mg_run_result *r = harness_run(&h);
        struct mg_span text = text_of(r);
        if (r->err != rows[i].err || !contains(text, rows[i].said))
            fail_msg("%s: got %s, \"%.*s\"", rows[i].sentence, mg_err_name(r->err), (int)text.len,
                     text.data);
    }
}

static void test_modules(void **state)
{
    (void)state;
    static const struct {
        struct file files[2];
        enum mg_err err;
        const char *said, *sentence;
    } rows[] = {
        {{{"Test.lua", "local u = require 'utils' return function() return u.f() end"},
          {"utils.lua", "local M = {} function M.f() return 'helped' end return M"}},
         MG_OK,
         "helped",
         "a module of the folder"},
        {{{"Test.lua", "local u = require 'utils' return function() return u.f() end"},
          {"utils.lua", "local M = {}\nfunction M.f()\n  error('deep') end return M"}},
         MG_E_UDF,
         "utils.lua:3: deep",
         "an error has its module's line"},
        {{{"Test.lua", "local u = require 'utils'"}, {"utils.lua", "require 'utils'"}},
         MG_E_UDF_BROKEN,
         "utils.lua:1: require: utils requires itself",
         "a circle"},
        {{{"Test.lua", "return function() end"}, {"string.lua", "return {}"}},
         MG_E_UDF_BROKEN,
         "string.lua: the library has a module string; rename this file",
         "a module named like a library"},
        {{{"Other.lua", "return function() end"}, {"utils.lua", "return {}"}},
         MG_E_UDF_BROKEN,
         "there is no file Test.lua",
         "the eponymous file is missing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        harness_bundle(&h, rows[i].files, 2);
        const struct mg_run_result *r = harness_run(&h);
        struct mg_span text = text_of(r);
        if (r->err != rows[i].err || !contains(text, rows[i].said))
            fail_msg("%s: got %s, \"%.*s\"", rows[i].sentence, mg_err_name(r->err), (int)text.len,
                     text.data);
    }
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        enum mg_err err;
        bool retire;
        const char *sentence;
    } rows[] = {
        {UDF("local s = string.rep('x', 1e9) return s"), MG_E_UDF_MEMORY, true, "a string of 1 GB"},
        {UDF("local t = {} for i = 1, 1e9 do t[i] = {} end"), MG_E_UDF_MEMORY, true,
         "a table that grows"},
        {UDF("pcall(string.rep, 'x', 1e9) return 'fine'"), MG_E_UDF_MEMORY, true,
         "a swallowed memory error ends the run all the same"},
        {UDF("local t = {} for i = 1, 200 do t[i] = moon.read_raster('fd://L7_ETMs.tif', nil, { "
             "size = { 2000, 2000 } }) end"),
         MG_E_UDF_MEMORY, true, "rasters that pile up"},
        {UDF("for i = 1, 40 do local r = moon.read_raster('fd://L7_ETMs.tif', nil, { size = { "
             "1000, 1000 } }) end return 'x'"),
         MG_OK, false, "rasters that are let go"},
        {UDF("return string.rep('x', 3e6)"), MG_E_UDF_OUTPUT, false, "a result over the limit"},
        {UDF("return moon.response(string.rep('x', 3e6), 'text/plain')"), MG_E_UDF_OUTPUT, false,
         "a response over the limit"},
        {UDF("local function f() return f() + 1 end return f()"), MG_E_UDF, false,
         "endless recursion"},
        {UDF("return 'fine'"), MG_OK, false, "the next run is whole"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        harness_code(&h, rows[i].code);
        h.request.lua_bytes = 64 << 20;
        h.request.result_bytes = 2 << 20;
        const struct mg_run_result *r = harness_run(&h);
        if (r->err != rows[i].err || r->retire != rows[i].retire)
            fail_msg("%s: got %s, retire %d, \"%.*s\"", rows[i].sentence, mg_err_name(r->err),
                     r->retire, (int)r->message.len, r->message.data ? r->message.data : "");
    }
}

static void test_log(void **state)
{
    (void)state;
    harness_code(&h, UDF("print('a', 1, nil) moon.log('b', { x = 1 }) return 'x'"));
    assert_true(mg_span_is(harness_run(&h)->log, "a\t1\tnil\nb {\"x\":1}\n"));
    harness_code(&h, UDF("for i = 1, 1e4 do print('0123456789') end return 'x'"));
    const struct mg_run_result *r = harness_run(&h);
    assert_true(r->log.len < (64 << 10) + 64);
    assert_true(contains(r->log, "[the log was cut at 64 kB]"));
}

/* The loops of the library compile; an author whose function does not is told the line. */
static void test_compiled(void **state)
{
    (void)state;
    static const char map[] =
        "local b = moon.read_raster('fd://L7_ETMs.tif', nil, { bands = { red = 3, nir = 4 } })\n"
        "moon.map(b.red, b.nir, function(red, nir)\n%s\nend) return 'x'";
    char body[512], code[1024];
    snprintf(body, sizeof body, map,
             "if nir < 20 then return moon.nodata end return (nir - red) / (nir + red)");
    snprintf(code, sizeof code, UDF("%s"), body);
    harness_code(&h, code);
    const struct mg_run_result *r = harness_run(&h);
    if (r->err != MG_OK || r->log.len)
        fail_msg("NDVI as a map is compiled: %.*s %.*s", (int)r->log.len, r->log.data,
                 (int)r->message.len, r->message.data);
    snprintf(body, sizeof body, map, "return red + #os.date('%%Y')");
    snprintf(code, sizeof code, UDF("%s"), body);
    harness_code(&h, code);
    r = harness_run(&h);
    if (!contains(r->log, "map: Test.lua:3 could not be compiled"))
        fail_msg("a word to the author: \"%.*s\"", (int)r->log.len, r->log.data);
    snprintf(body, sizeof body, map, "local f = function() return red end\nreturn f()");
    snprintf(code, sizeof code, UDF("%s"), body);
    harness_code(&h, code);
    r = harness_run(&h);
    if (!contains(r->log, "it makes a closure"))
        fail_msg("the reason of a trace that ends: \"%.*s\"", (int)r->log.len, r->log.data);
    /* Outside of map a loop is told when LuaJIT is about to give it up, and once. */
    harness_code(&h, UDF("local s = 0\nfor i = 1, 2e5 do\nlocal f = function() return i end s = s + f()\nend\n"
                         "return 'x'"));
    r = harness_run(&h);
    if (!contains(r->log, "a hot loop could not be compiled") || !contains(r->log, "it makes a closure") ||
        !contains(r->log, "Test.lua:"))
        fail_msg("a word about a loop: \"%.*s\"", (int)r->log.len, r->log.data);
    harness_code(&h, UDF("local s, t = 0, {} for i = 1, 2e5 do t[i % 10] = i for k, v in ipairs(t) do s = s + v end "
                         "s = s + #tostring(i) end return 'x'"));
    r = harness_run(&h);
    if (r->log.len)
        fail_msg("nothing about what is compiled: \"%.*s\"", (int)r->log.len, r->log.data);
}

static void test_deps(void **state)
{
    (void)state;
    harness_code(&h, UDF("for i = 1, 3 do moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 1 }) "
                         "end return 'x'"));
    for (int i = 0; i < 2; i++) { /* also when the worker has the file open already */
        const struct mg_run_result *r = harness_run(&h);
        struct mg_unpack in;
        mg_unpack_init(&in, r->deps.data, r->deps.len);
        assert_int_equal(mg_unpack_count(&in, 10), 1);
        assert_true(mg_span_is(mg_unpack_bytes(&in), "file"));
        assert_true(mg_span_is(mg_unpack_bytes(&in), "fd://L7_ETMs.tif"));
        assert_true(mg_unpack_bytes(&in).len > 3);
        assert_true(mg_unpack_done(&in));
    }
    harness_code(&h, UDF("moon.try(moon.read_raster, 'fd://none.tif') return 'x'"));
    assert_true(contains(harness_run(&h)->deps, "fd://none.tif"));
}

static void test_tiles(void **state)
{
    (void)state;
    static const struct {
        const char *code, *format, *codec;
        size_t at_least, at_most;
        const char *sentence;
    } rows[] = {
        {"return function(bounds) return nil end", "", "png", 60, 2000,
         "nothing on a tile call is an empty image"},
        {"return function(bounds) return nil end", "mvt", "mvt", 0, 0, "nothing as mvt is no byte"},
        {"local moon = require 'moon' return function(bounds) return "
         "moon.read_raster('fd://L7_ETMs.tif', bounds, "
         "{ bands = 1 }) end",
         "", "png", 5000, 200000, "a band of the scene"},
        {"local moon = require 'moon' return function(bounds) return { a = moon.table{ { geometry "
         "= moon.point(-34.87, "
         "-7.99) } }, b = moon.table{ { geometry = moon.point(-34.87, -7.99) } } } end",
         "mvt", "mvt", 20, 300, "named tables are layers"},
        {"local moon = require 'moon' return function(bounds) return { a = moon.table{ { geometry "
         "= moon.point(-34.87, -7.99) } }, b = moon.read_raster('fd://L7_ETMs.tif', bounds, { bands = 1 }) } end",
         "", "zip", 5000, 200000, "a table and a raster are a zip"},
        {"return function(bounds) return nil end", "zip", "zip", 22, 22, "nothing as zip is an empty one"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        harness_code(&h, rows[i].code);
        arg_tile(&h, "bounds", 12, 1651, 2139);
        h.request.formats = mg_span(rows[i].format);
        const struct mg_run_result *r = harness_run(&h);
        if (r->err != MG_OK || !mg_span_is(r->codec, rows[i].codec) ||
            r->body.len < rows[i].at_least || r->body.len > rows[i].at_most)
            fail_msg("%s: got %s, %.*s, %zu bytes, \"%.*s\"", rows[i].sentence, mg_err_name(r->err),
                     (int)r->codec.len, r->codec.data, r->body.len, (int)r->message.len,
                     r->message.data ? r->message.data : "");
    }
}

static void test_arguments(void **state)
{
    (void)state;
    static const char code[] = "local moon = require 'moon' return function(s, b, i, n, j, g, bb, "
                               "none, ...) local x = ... "
                               "return table.concat({ s, tostring(b), i, n, j.a[2], "
                               "tostring(j.a[1] == moon.null), g.type, "
                               "bb.xmin, tostring(none), x.other }, ' ') end";
    harness_code(&h, code);
    arg_string(&h, "s", "text");
    mg_pack_str(&h.args, "b"), mg_pack_int(&h.args, MG_ARG_BOOL), mg_pack_bool(&h.args, false);
    mg_pack_str(&h.args, "i"), mg_pack_int(&h.args, MG_ARG_INT), mg_pack_int(&h.args, 7);
    mg_pack_str(&h.args, "n"), mg_pack_int(&h.args, MG_ARG_NUMBER), mg_pack_double(&h.args, 0.5);
    mg_pack_str(&h.args, "j"), mg_pack_int(&h.args, MG_ARG_JSON),
        mg_pack_str(&h.args, "{\"a\":[null,2]}");
    mg_pack_str(&h.args, "g"), mg_pack_int(&h.args, MG_ARG_GEOMETRY),
        mg_pack_str(&h.args, "POINT (1 2)");
    mg_pack_str(&h.args, "bb"), mg_pack_int(&h.args, MG_ARG_BOUNDS);
    for (int i = 1; i <= 4; i++)
        mg_pack_double(&h.args, i);
    mg_pack_str(&h.args, "none"), mg_pack_int(&h.args, MG_ARG_NIL);
    h.n_args = 8;
    mg_pack_str(&h.extra, "other"), mg_pack_int(&h.extra, MG_ARG_STRING),
        mg_pack_str(&h.extra, "more");
    h.n_extra = 1;
    const struct mg_run_result *r = harness_run(&h);
    struct mg_span text = text_of(r);
    if (!mg_span_is(text, "text false 7 0.5 2 true Point 1 nil more"))
        fail_msg("arguments: %.*s", (int)text.len, text.data);
}

static int setup(void **state)
{
    (void)state;
    harness_open(&h, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    harness_close(&h);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment), cmocka_unit_test(test_results),
        cmocka_unit_test(test_errors),      cmocka_unit_test(test_describe),
        cmocka_unit_test(test_modules),     cmocka_unit_test(test_limits),
        cmocka_unit_test(test_log),         cmocka_unit_test(test_compiled),
        cmocka_unit_test(test_deps),        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
