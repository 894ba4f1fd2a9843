/* Each run has a state of its own: nothing of an earlier run is in it, whichever image it is a copy
 * of. */
#include "vm_harness.h"

#include "worker/vm_arena.h"

#include <stdint.h>
#include <sys/stat.h>

#define UDF(body) "local moon = require 'moon'\nreturn moon.udf(function()\n" body "\nend)"

static struct harness h;

/* A bundle that the machine may keep compiled: its code has a hash. */
static const struct mg_run_result *run_kept(const struct file *files, size_t n)
{
    harness_bundle(&h, files, n);
    mg_sha256(h.bundle.data, h.bundle.len, &h.request.code);
    return harness_run(&h);
}

static void expect(const struct mg_run_result *r, enum mg_err err, const char *said,
                   const char *sentence)
{
    struct mg_span text = r->err == MG_OK ? r->body : r->message;
    if (r->err != err || !memmem(text.data ? text.data : "", text.len, said, strlen(said)))
        fail_msg("%s: got %s, \"%.*s\"", sentence, mg_err_name(r->err), (int)text.len,
                 text.data ? text.data : "");
}

/* One UDF that leaves something behind when its argument asks for it, and tells what it finds. */
static void test_isolation(void **state)
{
    (void)state;
    static const struct {
        const char *spoil, *look, *clean, *sentence;
    } rows[] = {
        {"leaked = 1", "tostring(leaked)", "nil", "globals"},
        {"string.format = nil", "type(string.format)", "function", "functions of a library"},
        {"for k in pairs(string) do string[k] = nil end", "('x'):rep(2)", "xx",
         "the methods of strings"},
        {"table.insert = function() error('poison') end", "type(table.insert) .. #moon.range(2)",
         "function2", "functions that the library calls"},
        {"print = nil tostring = nil", "type(print) .. type(tostring)", "functionfunction",
         "global functions"},
        {"_G._ENV = 5 setmetatable(_G, { __index = function() return 'poison' end })",
         "tostring(nothing)", "nil", "the metatable of the globals"},
        {"math.randomseed(7) math.random()", "('%.14f'):format(math.random())", "0.",
         "the sequence of chance"},
        {"moon.point = nil moon.udf = nil moon.log = 3", "type(moon.log) .. type(moon.point)",
         "functionfunction", "the library's own table"},
        {"moon.type.mine = 1", "tostring(rawget(moon.type, 'mine'))", "nil", "the table of types"},
        {"local b = moon.bounds(1, 2, 3, 4) b.xmin = 9", "tostring(moon.bounds(1, 2, 3, 4).xmin)",
         "1", "bounds"},
        {"require('utils').n = 5", "tostring(require('utils').n)", "nil", "modules of the UDF"},
        {"require('utils').bump() require('utils').bump()", "tostring(require('utils').bump())",
         "1", "upvalues of a module"},
        {"count = (count or 0) + 1 require('utils').cache[1] = 'x'",
         "tostring(require('utils').cache[1])", "nil", "tables of a module"},
        {"moon.json.encode = nil", "moon.json.encode({ 1 })", "[1]", "submodules"},
        {"moon.json.decode('[1]')", "tostring(moon.json.decode('[1, 2]')[2])", "2",
         "the JSON reader"},
        {"for i = 1, 1e5 do local x = math.sin(i) end", "tostring(1 + 1)", "2", "compiled code"},
        {"local r = moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 1, size = 64 }) kept = "
         "moon.map(r, function(v) "
         "return v end)",
         "tostring(kept)", "nil", "rasters"},
        {"local t = {} for i = 1, 1e5 do t[i] = { i } end kept = t", "tostring(kept)", "nil",
         "much memory"},
        {"kept = ('x'):rep(5e6)", "tostring(kept)", "nil", "a block that is large"},
        {"co = coroutine.wrap(function() while true do coroutine.yield(1) end end) co()",
         "tostring(co)", "nil", "coroutines"},
        {"local ok = pcall(error, 'x') error('stop')", "tostring(leaked)", "nil",
         "a run that failed"},
        {"local function f() return f() + 1 end f()", "tostring(leaked)", "nil",
         "a stack that overflowed"},
    };
    char first[64] = "";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char code[2048];
        snprintf(code, sizeof code,
                 "local moon = require 'moon'\nreturn moon.udf(function(spoil)\nif spoil == 'yes' "
                 "then %s end\nreturn %s "
                 "end)",
                 rows[i].spoil, rows[i].look);
        const struct file files[] = {
            {"Test.lua", code},
            {"utils.lua",
             "local n = 0 return { cache = {}, bump = function() n = n + 1 return n end }"}};
        /* Kept and not, spoilt before the first look, before each, and twice. */
        for (int kept = 0; kept < 2; kept++) {
            static const char *const turns[] = {"no", "yes", "no", "yes", "yes", "no", "no"};
            for (size_t turn = 0; turn < sizeof turns / sizeof *turns; turn++) {
                harness_bundle(&h, files, 2);
                if (kept)
                    mg_sha256(h.bundle.data, h.bundle.len, &h.request.code);
                arg_string(&h, "spoil", turns[turn]);
                const struct mg_run_result *r = harness_run(&h);
                if (turns[turn][0] == 'y')
                    continue;
                expect(r, MG_OK, rows[i].clean, rows[i].sentence);
                if (turn == 0)
                    snprintf(first, sizeof first, "%.*s", (int)r->body.len, r->body.data);
                else if (r->body.len != strlen(first) ||
                         memcmp(r->body.data, first, r->body.len) != 0)
                    fail_msg("%s: \"%.*s\" after \"%s\"", rows[i].sentence, (int)r->body.len,
                             r->body.data, first);
            }
        }
    }
}

/* More bundles than are kept, in turn: each has its own code, also after it was let go. */
static void test_many(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 40; i++) {
            char code[256], said[32];
            snprintf(code, sizeof code,
                     UDF("mine = (mine or 0) + 1 return 'number %d of ' .. mine"), i);
            snprintf(said, sizeof said, "number %d of 1", i);
            const struct file file = {"Test.lua", code};
            expect(run_kept(&file, 1), MG_OK, said, "a bundle among many");
            if (i % 3 == 0)
                expect(run_kept(&file, 1), MG_OK, said, "the same bundle again");
        }
}

/* The same files under two names: the name says which file is the UDF's. */
static void test_names(void **state)
{
    (void)state;
    static const struct file files[] = {{"Test.lua", UDF("return 'first'")},
                                        {"Other.lua", UDF("return 'second'")}};
    for (int i = 0; i < 3; i++) {
        expect(run_kept(files, 2), MG_OK, "first", "by its name");
        harness_bundle(&h, files, 2);
        mg_sha256(h.bundle.data, h.bundle.len, &h.request.code);
        h.request.udf = MG_SPAN("Other");
        expect(harness_run(&h), MG_OK, "second", "by the other name");
    }
}

/* Other files under the hash of a bundle that is kept, once they are announced. */
static void test_forget(void **state)
{
    (void)state;
    static const struct file first = {"Test.lua", UDF("return 'first'")},
                             second = {"Test.lua", UDF("return 'second'")};
    struct mg_hash code;
    expect(run_kept(&first, 1), MG_OK, "first", "a bundle");
    code = h.request.code;
    mg_vm_forget(h.vm, &code);
    harness_bundle(&h, &second, 1);
    h.request.code = code;
    expect(harness_run(&h), MG_OK, "second", "what came in its place");
    expect(run_kept(&first, 1), MG_OK, "second", "the hash alone says which it is");
    mg_vm_forget(h.vm, &code);
    expect(run_kept(&first, 1), MG_OK, "first", "the bundle again");
}

/* A bundle that does not compile is told each time, as is a module, when it is asked for. */
static void test_broken(void **state)
{
    (void)state;
    static const struct file
        own[] = {{"Test.lua", "local x = = 1"}},
        module[] = {{"Test.lua",
                     UDF("return tostring(pcall(require, 'utils')) .. require('utils')")},
                    {"utils.lua", "return = 1"}},
        unused[] = {{"Test.lua", UDF("return 'fine'")}, {"utils.lua", "return = 1"}},
        reserved[] = {{"Test.lua", UDF("return 'fine'")}, {"string.lua", "return 1"}},
        deep[] = {{"Test.lua", UDF("\n\nlocal t\nreturn t.x")}};
    for (int i = 0; i < 3; i++) {
        expect(run_kept(own, 1), MG_E_UDF_BROKEN, "Test.lua:1: unexpected symbol near '='",
               "the UDF's file");
        expect(run_kept(module, 2), MG_E_UDF, "utils.lua:1: unexpected symbol", "a module");
        expect(run_kept(unused, 2), MG_OK, "fine", "a module that nobody asks for");
        expect(run_kept(reserved, 2), MG_E_UDF_BROKEN, "string.lua: the library has a module",
               "a module's name");
        expect(run_kept(deep, 1), MG_E_UDF, "Test.lua:6: attempt to index local 't'",
               "an error keeps its line");
    }
}

/* The signature record of a bundle that is kept is made from its text. */
static void test_describe(void **state)
{
    (void)state;
    static const struct file file = {
        "Test.lua", "local moon = require 'moon'\n--- Says it.\nlocal function udf(a) end\n"
                    "return moon.udf(udf, { a = 1 })"};
    for (int i = 0; i < 3; i++) {
        expect(run_kept(&file, 1), MG_OK, "", "a run");
        harness_bundle(&h, &file, 1);
        mg_sha256(h.bundle.data, h.bundle.len, &h.request.code);
        h.request.mode = MG_RUN_DESCRIBE;
        expect(harness_run(&h), MG_OK, "\"doc\":\"Says it.\"", "the record");
    }
}

static void write_module(const char *dir, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/moon/%s", dir, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* The library's hash: of names and bytes, whatever the order of the folder; of nothing else. */
static void test_library_hash(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b; /* what a.lua and b.lua hold; NULL: not there */
        bool same;
        const char *sentence;
    } rows[] = {
        {"return 1", "return 2", true, "the same again"},
        {"return 1", "return 3", false, "one byte"},
        {"return 2", "return 1", false, "the texts the other way round"},
        {"return 1", NULL, false, "a module less"},
        {"return 1return 2", NULL, false, "the texts in one file"},
    };
    char dir[] = "/tmp/moongate-library-XXXXXX", path[200];
    struct mg_hash first, hash;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/moon", dir);
    assert_int_not_equal(mg_vm_library_hash(dir, &hash, NULL), MG_OK);
    assert_int_equal(mkdir(path, 0700), 0);
    write_module(dir, "b.lua", "return 2");
    write_module(dir, "a.lua", "return 1");
    assert_int_equal(mg_vm_library_hash(dir, &first, NULL), MG_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_module(dir, "a.lua", rows[i].a);
        write_module(dir, "note.txt", rows[i].sentence);
        snprintf(path, sizeof path, "%s/moon/b.lua", dir);
        if (rows[i].b)
            write_module(dir, "b.lua", rows[i].b);
        else
            unlink(path);
        assert_int_equal(mg_vm_library_hash(dir, &hash, NULL), MG_OK);
        if (mg_hash_eq(&hash, &first) != rows[i].same)
            fail_msg("%s", rows[i].sentence);
    }
    static const char *const files[] = {"moon/a.lua", "moon/b.lua", "moon/note.txt", "moon", ""};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        remove(path);
    }
}

/* The arena against a model of it: blocks keep their bytes, do not overlap, and come back with the
 * image. */
static void test_arena(void **state)
{
    (void)state;
    enum { BLOCKS = 400, STEPS = 20000 };
    static struct {
        unsigned char *at;
        size_t bytes;
        unsigned char fill;
    } blocks[BLOCKS];
    struct vm_arena arena;
    struct vm_image image = {0};
    uint32_t seed = 12345;
    assert_true(vm_arena_open(&arena));
    unsigned char *first = vm_arena_resize(&arena, NULL, 0, 1000);
    memset(first, 0x5a, 1000);
    assert_true(vm_arena_save(&arena, &image));
    for (int step = 0; step < STEPS; step++) {
        seed = seed * 1664525 + 1013904223;
        size_t i = (seed >> 8) % BLOCKS, most = seed % 50 == 0  ? 200000
                                                : seed % 7 == 0 ? 9000
                                                                : 300;
        size_t bytes = (seed >> 4) % most;
        unsigned char *fresh = vm_arena_resize(&arena, blocks[i].at, blocks[i].bytes, bytes);
        assert_true((fresh != NULL) == (bytes > 0));
        assert_int_equal((uintptr_t)fresh % 16, 0);
        for (size_t k = 0; k < bytes && k < blocks[i].bytes; k++)
            if (fresh[k] != blocks[i].fill)
                fail_msg("step %d: byte %zu of %zu was lost", step, k, bytes);
        blocks[i].at = fresh;
        blocks[i].bytes = bytes;
        blocks[i].fill = (unsigned char)step;
        if (fresh)
            memset(fresh, blocks[i].fill, bytes);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        for (size_t k = 0; k < blocks[i].bytes; k++)
            if (blocks[i].at[k] != blocks[i].fill)
                fail_msg("block %zu was overwritten", i);
        vm_arena_resize(&arena, blocks[i].at, blocks[i].bytes, 0);
    }
    assert_int_equal(arena.outside, 0);
    memset(first, 0, 1000);
    vm_arena_load(&arena, &image);
    for (size_t k = 0; k < 1000; k++)
        assert_int_equal(first[k], 0x5a);
    size_t top = arena.marks.top;
    assert_ptr_equal(vm_arena_resize(&arena, NULL, 0, 64), (char *)arena.base + top);
    vm_image_free(&image);
    vm_arena_close(&arena);
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
        cmocka_unit_test(test_isolation),    cmocka_unit_test(test_many),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_forget),
        cmocka_unit_test(test_broken),       cmocka_unit_test(test_describe),
        cmocka_unit_test(test_library_hash), cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
