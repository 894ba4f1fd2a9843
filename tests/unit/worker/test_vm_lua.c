/* Runs the tests in tests/lua, the examples in the annotations of the library, child runs and
 * udfs/, through the machine. */
#include "vm_harness.h"

#include <dirent.h>

static struct harness h, child;
static size_t cut_body; /* the child's value is cut to that many bytes; 0: whole */

static char *read_all(const char *path)
{
    char *text = NULL;
    size_t cap = 0;
    FILE *file = fopen(path, "re");
    if (!file || getdelim(&text, &cap, 0, file) < 0)
        fail_msg("%s cannot be read", path);
    fclose(file);
    return text;
}

/* A child run in a second machine: what the broker does with a second worker. */
static enum mg_err call(void *context, const struct mg_run_request *request, struct mg_buf *result,
                        struct mg_errmsg *err)
{
    (void)context;
    static const char code[] =
        "local moon = require 'moon' return moon.udf(function(name, bounds)\n"
        "if name == 'fail' then error('no') end\n"
        "if name == 'raster' then return moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 1 }) "
        "end\n"
        "if name == 'table' then return moon.table{ { a = 1, geometry = moon.point(1, 2) } } end\n"
        "if name == 'nested' then return { a = { 1, moon.null, moon.point(3, 4) }, b = 0/0, c = "
        "bounds } end\n"
        "return 'Hello from ' .. name .. '!' end, { name = 'x', bounds = moon.type.bounds })";
    if (!mg_span_is(request->udf, "Hello"))
        return mg_err_set(err, MG_E_NOT_FOUND, "there is no UDF %.*s", (int)request->udf.len,
                          request->udf.data);
    struct file file = {"Hello.lua", code};
    harness_bundle(&child, &file, 1);
    child.request = *request;
    child.request.lua_bytes = 64 << 20;
    mg_vm_prepare(child.vm);
    mg_vm_run(child.vm, &child.request, (struct mg_span){child.bundle.data, child.bundle.len},
              &child.result);
    if (cut_body && cut_body < child.result.body.len)
        child.result.body.len = cut_body;
    mg_run_result_pack(&child.result, true, result);
    return MG_OK;
}

static const struct mg_vm_host host = {.call = call};

static void run_file(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, MG_SOURCE_DIR "/tests/lua/%s", name);
    char *text = read_all(path), *helper = read_all(MG_SOURCE_DIR "/tests/lua/check.lua");
    const struct file files[] = {{name, text}, {"check.lua", helper}};
    harness_bundle(&h, files, 2);
    h.request.udf = (struct mg_span){name, strlen(name) - 4};
    const struct mg_run_result *r = harness_run(&h);
    if (r->err != MG_OK)
        fail_msg("%s: %.*s", name, (int)r->message.len, r->message.data);
    if (!memmem(r->body.data, r->body.len, "\"failures\":[]", 13))
        fail_msg("%s: %.*s", name, (int)r->body.len, r->body.data);
    free(text);
    free(helper);
}

/* MG_TEST_LUA=chart: only files whose names hold that. */
static bool is_wanted(const char *name)
{
    const char *part = getenv("MG_TEST_LUA");
    return !part || strstr(name, part);
}

static void test_files(void **state)
{
    (void)state;
    int n = 0;
    DIR *dir = opendir(MG_SOURCE_DIR "/tests/lua");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t len = strlen(entry->d_name);
        if (len > 4 && strcmp(entry->d_name + len - 4, ".lua") == 0 &&
            strcmp(entry->d_name, "check.lua") != 0 && is_wanted(entry->d_name)) {
            run_file(entry->d_name);
            n++;
        }
    }
    closedir(dir);
    assert_true(n >= 3 || getenv("MG_TEST_LUA"));
}

/* Runs each block between "--- ```lua" and "--- ```". */
static int run_examples(const char *name)
{
    static const char begin[] = "--- ```lua\n", end[] = "--- ```\n";
    char path[512];
    int n = 0;
    snprintf(path, sizeof path, MG_SOURCE_DIR "/lua/moon/%s", name);
    char *text = read_all(path);
    for (char *at = text; (at = strstr(at, begin)) != NULL; n++) {
        struct mg_buf code;
        char *stop = strstr(at, end);
        assert_non_null(stop);
        at += strlen(begin);
        mg_buf_init(&code, 0);
        bool whole = memmem(at, (size_t)(stop - at), "moon.udf(", 9) != NULL;
        if (!whole)
            mg_buf_str(&code, "local moon = require 'moon' return moon.udf(function(bounds)\n");
        struct mg_span rest = {at, (size_t)(stop - at)}, line;
        while (mg_span_cut(&rest, '\n', &line)) {
            if (line.len > 4)
                mg_buf_put(&code, line.data + 4, line.len - 4);
            mg_buf_char(&code, '\n');
        }
        if (!whole)
            mg_buf_str(&code, "\nend)");
        harness_code(&h, code.data);
        if (whole) /* arguments are the front's; the record shows that the file loads */
            h.request.mode = MG_RUN_DESCRIBE;
        const struct mg_run_result *r = harness_run(&h);
        if (r->err != MG_OK)
            fail_msg("%s, example %d: %.*s\n%s", name, n + 1, (int)r->message.len, r->message.data,
                     code.data);
        mg_buf_fini(&code);
    }
    free(text);
    return n;
}

static void test_examples(void **state)
{
    (void)state;
    int n = 0;
    DIR *dir = opendir(MG_SOURCE_DIR "/lua/moon");
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (strstr(entry->d_name, ".lua") && is_wanted(entry->d_name))
            n += run_examples(entry->d_name);
    closedir(dir);
    assert_true(n >= 35 || getenv("MG_TEST_LUA"));
}

static void test_child_runs(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        enum mg_err err;
        const char *said, *sentence;
    } rows[] = {
        {"return moon.run('Hello', { name = 'you' })", MG_OK, "Hello from you!", "a string"},
        {"return moon.load('Hello'):run{ name = 'you' }", MG_OK, "Hello from you!",
         "through a handle"},
        {"return moon.load('Hello'){ name = 'you' }", MG_OK, "Hello from you!",
         "a handle is called"},
        {"local r = moon.run('Hello', { name = 'raster' }) return r:stats('max')", MG_OK,
         "{\"max\":255}", "a raster"},
        {"local t = moon.run('Hello', { name = 'table' }) return t:rows()[1].geometry:wkt()", MG_OK,
         "POINT(1 2)", "a table"},
        {"local t = moon.run('Hello', { name = 'nested', bounds = moon.bounds(1, 2, 3, 4) })\n"
         "return { t.a[1], t.a[2], t.a[3], tostring(t.b ~= t.b), t.c:list() }",
         MG_OK, "[1,null,{\"type\":\"Point\",\"coordinates\":[3,4]},\"true\",[1,2,3,4]]",
         "a nested table"},
        {"local x = moon.run('Hello', { name = 'fail' }) return x", MG_E_UDF,
         "run: Hello: Hello.lua:2: no", "its error"},
        {"local x = moon.run('None') return x", MG_E_NOT_FOUND, "run: None: there is no UDF None",
         "an unknown one"},
        {"local x = moon.run('Hello', { name = print }) return x", MG_E_ARGUMENT,
         "name: expected a string, number", "an argument that cannot travel"},
        {"local x = moon.run(3) return x", MG_E_ARGUMENT,
         "run: the first argument: expected a UDF's name", "no name"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char code[1024];
        snprintf(code, sizeof code,
                 "local moon = require 'moon' return moon.udf(function()\n%s\nend)", rows[i].code);
        harness_code(&h, code);
        const struct mg_run_result *r = harness_run(&h);
        struct mg_span text = r->err == MG_OK ? r->body : r->message;
        if (r->err != rows[i].err ||
            !memmem(text.data, text.len, rows[i].said, strlen(rows[i].said)))
            fail_msg("%s: got %s, \"%.*s\"", rows[i].sentence, mg_err_name(r->err), (int)text.len,
                     text.data);
        if (r->err == MG_OK && !memmem(r->deps.data, r->deps.len, "Hello", 5))
            fail_msg("%s: the child is no dependency", rows[i].sentence);
    }
}

/* A value that is cut anywhere is an error, never a crash. */
static void test_broken_value(void **state)
{
    (void)state;
    harness_code(&h, "local moon = require 'moon' return moon.udf(function()\n"
                     "local v = moon.run('Hello', { name = 'nested', bounds = moon.bounds(1, 2, 3, "
                     "4) }) return 'x' end)");
    harness_run(&h);
    size_t whole = child.result.body.len;
    assert_true(whole > 100);
    for (cut_body = 1; cut_body < whole; cut_body++) {
        const struct mg_run_result *r = harness_run(&h);
        if (r->err != MG_E_INTERNAL || !memmem(r->message.data, r->message.len, "is broken", 9))
            fail_msg("cut at %zu of %zu: %s", cut_body, whole, mg_err_name(r->err));
    }
    cut_body = 0;
}

/* The examples of udfs/, at a tile each. */
static void test_udfs(void **state)
{
    (void)state;
    static const struct {
        const char *name, *format;
        int z, x, y;
        double numbers[3];
        const char *names[4];
        size_t at_least;
    } rows[] = {
        {"Landsat_NDVI", "png", 12, 1651, 2139, {-0.2, 0.8}, {"low", "high"}, 5000},
        {"Olinda_Hillshade",
         "png",
         12,
         1651,
         2139,
         {315, 45, 3},
         {"azimuth", "altitude", "exaggeration"},
         5000},
        {"World_Places", "mvt", 6, 33, 22, {0}, {NULL}, 1000},
        {"World_Countries", "mvt", 2, 2, 1, {0}, {"tolerance"}, 1000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[512], name[80];
        snprintf(path, sizeof path, MG_SOURCE_DIR "/udfs/%s/%s.lua", rows[i].name, rows[i].name);
        snprintf(name, sizeof name, "%s.lua", rows[i].name);
        char *text = read_all(path);
        const struct file file = {name, text};
        harness_bundle(&h, &file, 1);
        h.request.udf = mg_span(rows[i].name);
        h.request.formats = mg_span(rows[i].format);
        arg_tile(&h, "bounds", rows[i].z, rows[i].x, rows[i].y);
        if (i == 0)
            arg_string(&h, "scene", "fd://L7_ETMs.tif");
        for (int n = 0; rows[i].names[n]; n++) {
            mg_pack_str(&h.args, rows[i].names[n]);
            mg_pack_int(&h.args, MG_ARG_NUMBER);
            mg_pack_double(&h.args, rows[i].numbers[n]);
            h.n_args++;
        }
        const struct mg_run_result *r = harness_run(&h);
        if (r->err != MG_OK || r->body.len < rows[i].at_least || r->log.len)
            fail_msg("%s: %s, %zu bytes, \"%.*s\", log \"%.*s\"", rows[i].name, mg_err_name(r->err),
                     r->body.len, (int)r->message.len, r->message.data ? r->message.data : "",
                     (int)r->log.len, r->log.data ? r->log.data : "");
        free(text);
    }
}

static int setup(void **state)
{
    (void)state;
    harness_open(&child, NULL);
    harness_open(&h, &host);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    harness_close(&h);
    harness_close(&child);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),      cmocka_unit_test(test_examples),
        cmocka_unit_test(test_child_runs), cmocka_unit_test(test_broken_value),
        cmocka_unit_test(test_udfs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
