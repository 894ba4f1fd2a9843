/* moon.cache: what makes a key, what is kept, and what a hit brings along; against a front of a few lines. */
#include "vm_harness.h"

#include <time.h>

struct kept {
    struct mg_hash key;
    struct mg_buf entry;
    int64_t stamp, made_s;
};

/* The front: entries by key; what it was asked. */
static struct {
    struct kept kept[512];
    size_t n;
    int asks, puts, drops, computes;
    uint64_t generation;
    int64_t stamp, hold_us;
    bool stale; /* the dependencies of every entry have changed */
} front;

static struct harness h;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static struct kept *find(const struct mg_hash *key)
{
    for (size_t i = 0; i < front.n; i++)
        if (mg_hash_eq(&front.kept[i].key, key))
            return &front.kept[i];
    return NULL;
}

static enum mg_err value_ask(void *context, const struct mg_value_ask *ask, struct mg_value_reply *reply,
                             struct mg_buf *entry, struct mg_errmsg *err)
{
    (void)context, (void)err;
    struct kept *kept = find(&ask->key);
    front.asks++;
    *reply = (struct mg_value_reply){.state = MG_VALUE_COMPUTE, .until_us = now_us() + front.hold_us};
    if (ask->outside)
        reply->state = ask->deps.len && !front.stale ? MG_VALUE_SAME : MG_VALUE_COMPUTE;
    else if (kept && !front.stale && !ask->reset &&
             (ask->max_age_s < 0 || time(NULL) - kept->made_s < ask->max_age_s)) {
        reply->state = kept->stamp == ask->stamp ? MG_VALUE_SAME : MG_VALUE_HIT;
        reply->stamp = kept->stamp;
        reply->made_s = kept->made_s;
        if (reply->state == MG_VALUE_HIT)
            mg_buf_put(entry, kept->entry.data, kept->entry.len);
    }
    front.computes += reply->state == MG_VALUE_COMPUTE;
    return MG_OK;
}

static enum mg_err value_put(void *context, const struct mg_hash *key, bool stored, struct mg_span deps,
                             struct mg_span entry, struct mg_value_reply *reply)
{
    (void)context, (void)deps;
    *reply = (struct mg_value_reply){0};
    if (!stored) {
        front.drops++;
        return MG_OK;
    }
    struct kept *kept = find(key);
    if (!kept)
        kept = &front.kept[front.n++];
    assert_true(front.n < 512);
    kept->key = *key;
    kept->entry.len = 0;
    mg_buf_put(&kept->entry, entry.data, entry.len);
    kept->stamp = reply->stamp = ++front.stamp;
    kept->made_s = time(NULL);
    reply->until_us = now_us() + front.hold_us;
    front.generation++;
    front.puts++;
    return MG_OK;
}

static void forget(void)
{
    for (size_t i = 0; i < front.n; i++)
        mg_buf_fini(&front.kept[i].entry);
    memset(&front, 0, sizeof front);
    front.hold_us = 60000000;
}

static int set_up(void **state)
{
    (void)state;
    static const struct mg_vm_host host = {
        .value_ask = value_ask, .value_put = value_put, .generation = &front.generation};
    harness_open(&h, &host);
    forget();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    forget();
    harness_close(&h);
    return 0;
}

/* Runs `body` as the UDF's function; `before` stands in front of it in the file. */
static const struct mg_run_result *run(const char *before, const char *body)
{
    char code[8192];
    int n = snprintf(code, sizeof code, "local moon = require 'moon'\n%s\nreturn moon.udf(function()\n%s\nend)", before, body);
    assert_true(n > 0 && (size_t)n < sizeof code);
    harness_code(&h, code);
    h.request.owner = true;
    mg_sha256(code, (size_t)n, &h.request.code);
    return harness_run(&h);
}

static void expect(const struct mg_run_result *r, const char *body, const char *why)
{
    if (r->err != MG_OK)
        fail_msg("%s: %.*s", why, (int)r->message.len, r->message.data);
    if (!mg_span_is(r->body, body))
        fail_msg("%s: expected %s, got %.*s", why, body, (int)r->body.len, r->body.data);
}

#define SQUARE "local f = moon.cache(function(n) return n * n end)\n"

/* Two programs in turn: do they share the entry? */
static const struct {
    const char *before_a, *body_a, *before_b, *body_b;
    int computes;
    const char *why;
} keys[] = {
    {SQUARE, "return f(3)", SQUARE, "return f(3)", 1, "the same code and argument"},
    {SQUARE, "return f(3)", SQUARE, "return f(4)", 2, "another argument"},
    {SQUARE, "return f(3)", "local x = 1\n-- a comment\n\n" SQUARE, "local y = x\nreturn f(3)", 1,
     "an edit outside of the function, and other locals ahead of it"},
    {"local k = 2 local f = moon.cache(function(n) return n * k end)", "return f(3)",
     "local a, b, c = 7, 8, 9 local k = 2 local f = moon.cache(function(n) return n * k end)", "return f(3) + a - a", 1,
     "the place of an upvalue in the function around it"},
    {"local k = 2 local f = moon.cache(function(n) return n * k end)", "return f(3)",
     "local k = 5 local f = moon.cache(function(n) return n * k end)", "return f(3)", 2, "an upvalue's value"},
    {"local k = 2 local f = moon.cache(function(n) return n * k end)", "return f(3)",
     "local k = 2 local f = moon.cache(function(n) return n + k end)", "return f(3)", 2, "the code"},
    {"local f = moon.cache(function(n) -- once\n return n * 2 end)", "return f(3)",
     "local f = moon.cache(function(number)\n return number * 2 end)", "return f(3)", 1, "names and comments within"},
    {"local g = function(x) return x + 1 end local f = moon.cache(function(n) return g(n) end)", "return f(3)",
     "local g = function(x) return x + 2 end local f = moon.cache(function(n) return g(n) end)", "return f(3)", 2,
     "the code of a function that it closes over"},
    {"local g = function(x) return x + 1 end local h = function(x) return g(x) end local f = moon.cache(function(n) return h(n) "
     "end)", "return f(3)",
     "local g = function(x) return x + 2 end local h = function(x) return g(x) end local f = moon.cache(function(n) return h(n) "
     "end)", "return f(3)", 2, "and of those that these close over"},
    {"function helper(x) return x + 1 end local f = moon.cache(function(n) return helper(n) end)", "return f(3)",
     "function helper(x) return x + 2 end local f = moon.cache(function(n) return helper(n) end)", "return f(3)", 2,
     "the code of a global function"},
    {"local f = moon.cache(function(n) return n + 1 end) function other() return 1 end", "return f(3)",
     "local f = moon.cache(function(n) return n + 1 end) function other() return 2 end", "return f(3)", 1,
     "a global function that it does not name"},
    {"local even local function odd(n) return n > 0 and even(n - 1) end even = function(n) return n == 0 or odd(n - 1) end\n"
     "local f = moon.cache(function(n) return even(n) end)", "return f(4)",
     "local even local function odd(n) return n > 0 and even(n - 1) end even = function(n) return n == 0 or odd(n - 1) end\n"
     "local f = moon.cache(function(n) return even(n) end)", "return f(4)", 1, "functions in a circle"},
    {"local M = { } M.__index = M M.me = M function M.f() return M end local f = moon.cache(function(n) return M.f() == M end)",
     "return f(1)",
     "local M = { } M.__index = M M.me = M function M.f() return M end local f = moon.cache(function(n) return M.f() == M end)",
     "return f(1)", 1, "tables in a circle"},
    {"local f = moon.cache(function(t) return t.a end)", "return f{ a = 1, b = 2, c = { 1, 2 } }",
     "local f = moon.cache(function(t) return t.a end)", "local t = { c = { 1, 2 }, b = 2 } t.a = 1 return f(t)", 1,
     "the order in which fields were set"},
    {"local f = moon.cache(function(t) return t.a end)", "return f{ a = 1, c = { 1, 2 } }",
     "local f = moon.cache(function(t) return t.a end)", "return f{ a = 1, c = { 1, 3 } }", 2, "a table within a table"},
    {"local f = moon.cache(function(t) return #t end)", "return f{ '1' }", "local f = moon.cache(function(t) return #t end)",
     "return f{ 1 }", 2, "a number is not its text"},
    {"local f = moon.cache(function(t) return #t end)", "return f{ 'ab', 'c' }",
     "local f = moon.cache(function(t) return #t end)", "return f{ 'a', 'bc' }", 2, "where one text ends and another begins"},
    {"local f = moon.cache(function(b) return b.xmin end)", "return f(moon.bounds(1, 2, 3, 4))",
     "local f = moon.cache(function(b) return b.xmin end)", "return f(moon.bounds(1, 2, 3, 5))", 2, "bounds"},
    {"local f = moon.cache(function(p) return 1 end)", "return f(moon.point(1, 2))",
     "local f = moon.cache(function(p) return 1 end)", "return f(moon.point(1, 2))", 1, "a geometry by content"},
    {"local f = moon.cache(function(r) return r.width end)",
     "return f(moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 1 }))",
     "local f = moon.cache(function(r) return r.width end)",
     "return f(moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 1 }))", 1, "a raster by content"},
    {"local f = moon.cache(function(r) return r.width end)",
     "return f(moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 1 }))",
     "local f = moon.cache(function(r) return r.width end)",
     "return f(moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 2 }))", 2, "another raster"},
    {"local f = moon.cache(function(t) return t:count() end)", "return f(moon.table{ { a = 1 } })",
     "local f = moon.cache(function(t) return t:count() end)", "return f(moon.table{ { a = 2 } })", 2, "a table by content"},
    {"local f = moon.cache(function(a, b) return a end, { key_exclude = { 'b' } })", "return f(1, 2)",
     "local f = moon.cache(function(a, b) return a end, { key_exclude = { 'b' } })", "return f(1, 3)", 1, "an excluded one"},
    {"local f = moon.cache(function(a, b) return a end, { key_exclude = { 'b' } })", "return f(1)",
     "local f = moon.cache(function(a, b) return a end)", "return f(1)", 1, "nothing excluded"},
    {SQUARE, "return f(3, { _cache_id = 1 })", SQUARE, "return f(3, { _cache_id = 2 })", 2, "_cache_id"},
    {SQUARE, "return f(3, { _cache_id = 1 })", SQUARE, "return f(3, { _cache_id = 1 })", 1, "the same _cache_id"},
    {SQUARE, "return f(3)", SQUARE, "return f(3, nil, nil)", 1, "nil at the end"},
    {"local g = moon.cache(function(n) return n + 1 end) local f = moon.cache(function(n) return g(n) end)", "return f(3)",
     "local g = moon.cache(function(n) return n + 1 end) local f = moon.cache(function(n) return g(n) end)", "return f(3)",
     2, "a cached function that calls one: both are kept"},
    {"local g = moon.cache(function(n) return n + 1 end) local f = moon.cache(function(n) return g(n) end)", "return f(3)",
     "local g = moon.cache(function(n) return n + 2 end) local f = moon.cache(function(n) return g(n) end)", "return f(3)",
     4, "the code of a cached function that it calls"},
    {"local f = moon.cache(function(n) return moon.json.encode{ n } .. string.format('%d', n) .. math.floor(n) end)",
     "return f(3)",
     "local f = moon.cache(function(n) return moon.json.encode{ n } .. string.format('%d', n) .. math.floor(n) end)",
     "moon.json.encode{} return f(3)", 1, "the library and what of it is loaded"},
    {"local floor, encode = math.floor, moon.json.encode local f = moon.cache(function(n) return encode{ floor(n) } end)",
     "return f(3)",
     "local floor, encode = math.floor, moon.json.encode local f = moon.cache(function(n) return encode{ floor(n) } end)",
     "return f(3)", 1, "functions of Lua and of the library as upvalues"},
    {"local floor = math.floor local f = moon.cache(function(n) return floor(n) end)", "return f(3.5)",
     "local floor = math.ceil local f = moon.cache(function(n) return floor(n) end)", "return f(3.5)", 2,
     "which function of Lua it is"},
    {"local f = moon.cache(function(a) return a end, { reset = true })", "return f(1)",
     "local f = moon.cache(function(a) return a end, { reset = true })", "return f(1)", 2, "reset"},
    {"local f = moon.cache(function(a) return a end, { max_age = 0 })", "return f(1)",
     "local f = moon.cache(function(a) return a end, { max_age = '0s' })", "return f(1)", 2, "nothing is as young as that"},
    {"local f = moon.cache(function(a) return a end, { path = 'shared' })", "return f(1)",
     "local f = moon.cache(function(a) return a end, { path = '/mnt/cache/shared/' })", "return f(1)", 1, "a folder"},
    {"local f = moon.cache(function(a) return a end, { path = 'shared' })", "return f(1)",
     "local f = moon.cache(function(a) return a end, { path = 'other' })", "return f(1)", 2, "another folder"},
};

static void test_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        forget();
        harness_remove(h.folder);
        for (int part = 0; part < 3; part++) {
            char path[64];
            snprintf(path, sizeof path, "%s%s", h.folder, part == 0 ? "" : part == 1 ? "/fd" : "/cache");
            assert_int_equal(mkdir(path, 0755), 0);
        }
        close(h.files.cache_dirfd);
        char path[64];
        snprintf(path, sizeof path, "%s/cache", h.folder);
        h.files.cache_dirfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        const struct mg_run_result *r = run(keys[i].before_a, keys[i].body_a);
        if (r->err != MG_OK)
            fail_msg("%s: %.*s", keys[i].why, (int)r->message.len, r->message.data);
        char first[256];
        snprintf(first, sizeof first, "%.*s", (int)r->body.len, r->body.data);
        r = run(keys[i].before_b, keys[i].body_b);
        if (r->err != MG_OK)
            fail_msg("%s: %.*s", keys[i].why, (int)r->message.len, r->message.data);
        if (front.computes != keys[i].computes)
            fail_msg("%s: computed %d times instead of %d", keys[i].why, front.computes, keys[i].computes);
        if (keys[i].computes == 1 && !mg_span_is(r->body, first))
            fail_msg("%s: first %s, then %.*s", keys[i].why, first, (int)r->body.len, r->body.data);
    }
}

/* Whatever a UDF may return comes back as it was. */
static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *given, *shown, *why;
    } rows[] = {
        {"return nil", "select('#', ...) .. tostring(...)", "nil"},
        {"return", "select('#', ...)", "nothing"},
        {"return 1, nil, 'x', nil", "select('#', ...) .. tostring((select(3, ...)))", "several, with holes"},
        {"return { a = { 1, 2, moon.null }, [3.5] = true }", "moon.json.encode((...).a) .. tostring((...)[3.5])", "a table"},
        {"return moon.read_raster('fd://L7_ETMs.tif', nil, { bands = { 1, 4 } }), moon.bounds(1, 2, 3, 4)",
         "(...).width .. (select(2, ...)).ymax", "a raster and bounds"},
        {"return moon.table{ { a = 1, geometry = moon.point(1, 2) } }", "moon.json.encode((...):rows())", "a table of rows"},
        {"return moon.point(5, 6)", "tostring(...)", "a geometry"},
        {"return moon.response('a', 'text/csv', 201).status", "tostring(...)", "a response's field"},
        {"return string.rep('x', 3000000)", "#(...)", "3 MB"},
        {"return 0/0, 1/0, -0.0", "string.format('%s', tostring((...) ~= (...))) .. select(2, ...)", "numbers without a value"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char before[512], body[512], first[1024];
        forget();
        snprintf(before, sizeof before, "local f = moon.cache(function() %s end) local function show(...) return '' .. %s end",
                 rows[i].given, rows[i].shown);
        snprintf(body, sizeof body, "return show(f())");
        for (int k = 0; k < 3; k++) { /* computed; from memory; from the front */
            const struct mg_run_result *r = run(before, body);
            if (r->err != MG_OK)
                fail_msg("%s: %.*s", rows[i].why, (int)r->message.len, r->message.data);
            if (k == 0)
                snprintf(first, sizeof first, "%.*s", (int)r->body.len, r->body.data);
            expect(r, first, rows[i].why);
            front.generation += k;
            front.stamp += 10;
            for (size_t n = 0; n < front.n; n++)
                front.kept[n].stamp += 10 * k;
        }
        assert_int_equal(front.puts, 1);
    }
}

static const struct {
    const char *before, *body, *message;
} failures[] = {
    {"local f = moon.cache(function() return { f = print } end)", "return f()", "cannot be kept by moon.cache"},
    {"local f = moon.cache(function() local t = {} t.t = t return t end)", "return f()", "does a table contain itself"},
    {"local f = moon.cache(function() return coroutine.create(print) end)", "return f()", "a thread cannot be kept"},
    {"local f = moon.cache(function(x) return 1 end)", "return f(coroutine.create(print))", "a thread cannot be part of the key"},
    {"local f = moon.cache(function(x) return 1 end)", "return f{ [{}] = 1 }", "a table with a table as a key"},
    {"local f = moon.cache(function(x) error('own') end)", "return f(1)", "own"},
    {"local f = moon.cache(function(x) return moon.read_raster('fd://none.tif') end)", "return f(1)", "no file fd://none.tif"},
    {"local f = moon.cache(1)", "return 1", "the first argument: expected a function, got 1"},
    {"local f = moon.cache(print, { max_age = 'soon' })", "return 1", "max_age: expected seconds"},
    {"local f = moon.cache(print, { path = '../x' })", "return 1", "leads out of its folder"},
    {"local f = moon.cache(print, { path = 'fd://x' })", "return 1", "expected a folder of /mnt/cache"},
    {"local f = moon.cache(print, { pth = 'x' })", "return 1", "did you mean `path`"},
    {"local f = moon.cache(function(a) end, { key_exclude = { 'b' } })", "return 1", "no parameter the string \"b\" (it has a)"},
};

/* Each is told, nothing is kept, and who waits may compute. */
static void test_failures(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        forget();
        const struct mg_run_result *r = run(failures[i].before, failures[i].body);
        if (r->err == MG_OK || !memmem(r->message.data, r->message.len, failures[i].message, strlen(failures[i].message)))
            fail_msg("%s: got %.*s", failures[i].message, (int)r->message.len, r->message.data);
        if (memcmp(r->message.data, "Test.lua:", 9) != 0)
            fail_msg("%s: without the author's line: %.*s", failures[i].message, (int)r->message.len, r->message.data);
        assert_int_equal(front.puts, 0);
        assert_int_equal(front.drops, front.computes);
    }
}

static bool depends_on(const struct mg_run_result *r, const char *name)
{
    return r->deps.len && memmem(r->deps.data, r->deps.len, name, strlen(name));
}

static void test_what_belongs_to_the_call(void **state)
{
    (void)state;
    static const char before[] = "local f = moon.cache(function(n) print('line', n) print('two') local r = "
                                 "moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 1 }) return r.width end)";
    const struct mg_run_result *r = run(before, "moon.read_raster('fd://L7_ETMs.tif', nil, { bands = 2 }) return f(1)");
    expect(r, "349", "computed");
    assert_true(mg_span_is(r->log, "line\t1\ntwo\n"));
    r = run(before, "return f(1)");
    expect(r, "349", "a hit");
    assert_int_equal(front.asks, 1);
    assert_true(depends_on(r, "fd://L7_ETMs.tif")); /* also what the computing run had read before */
    assert_true(mg_span_is(r->log, "line\t1\ntwo\n"));
    r = run("local g = moon.cache(function() return 1 end)", "return g()");
    assert_false(depends_on(r, "fd://L7_ETMs.tif"));
    /* A value of which a dependency changed is made again. */
    front.stale = true;
    front.generation++;
    expect(run(before, "return f(1)"), "349", "again");
    assert_int_equal(front.puts, 3);
    /* A cached function that calls one has its dependencies too. */
    front.stale = false;
    char both[512];
    snprintf(both, sizeof both, "%s local g = moon.cache(function() return f(1) end)", before);
    expect(run(both, "return g()"), "349", "nested");
    r = run(both, "return g()");
    assert_true(depends_on(r, "fd://L7_ETMs.tif"));
    assert_true(mg_span_is(r->log, "line\t1\ntwo\n"));
}

static void test_log_is_the_owners(void **state)
{
    (void)state;
    forget();
    const char code[] = "local moon = require 'moon' local f = moon.cache(function() print('secret') return 1 end)\n"
                        "return moon.udf(function() return f() end)";
    for (int i = 0; i < 2; i++) {
        harness_code(&h, code);
        h.request.owner = i == 0;
        const struct mg_run_result *r = harness_run(&h);
        expect(r, "1", "hit or not");
        assert_int_equal(r->log.len, i == 0 ? 7 : 0);
    }
}

static void test_own_copies(void **state)
{
    (void)state;
    forget();
    const char before[] = "local f = moon.cache(function() return { n = 1 } end)";
    expect(run(before, "local a, b = f(), f() a.n = 5 return a.n .. b.n .. f().n"), "511", "each call has its own");
    expect(run(before, "local o = { _cache_id = 1, x = 2 } f(o) return o._cache_id"), "1", "the caller's table stays");
    expect(run("local f = moon.cache(function(...) return select('#', ...) .. tostring((select(2, ...) or {}).x) end)",
               "return f(1, { _cache_id = 1 }) .. f(1, { _cache_id = 1, x = 2 })"),
           "1nil22", "an options table that held nothing else is dropped");
    expect(run("local f = moon.cache(function() return coroutine.yield(4) + 1 end)",
               "local w = coroutine.wrap(function() return f() end) return w() .. w(5)"),
           "46", "a cached function may yield");
    expect(run("local runs = 0 local f = moon.cache(function(n) runs = runs + 1 if n == 0 then return 0 end return n end)",
               "for i = 1, 300 do f(i) end return f(1)"),
           "1", "more than the memory holds");
}

static void test_damaged_files(void **state)
{
    (void)state;
    forget();
    const char before[] = "local f = moon.cache(function() return 'value' end, { path = 'folder' })";
    expect(run(before, "return f()"), "value", "computed");
    char command[128], path[256] = "";
    snprintf(command, sizeof command, "%s/cache/folder", h.folder);
    int fd = openat(h.files.cache_dirfd, "folder", O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    struct stat st;
    FILE *list = NULL;
    snprintf(command, sizeof command, "ls %s/cache/folder", h.folder);
    list = popen(command, "r");
    assert_non_null(list);
    assert_non_null(fgets(path, sizeof path, list));
    pclose(list);
    path[strcspn(path, "\n")] = 0;
    assert_int_equal(fstatat(fd, path, &st, 0), 0);
    for (off_t at = 0; at < st.st_size; at++) {
        int file = openat(fd, path, O_RDWR);
        char byte;
        assert_int_equal(pread(file, &byte, 1, at), 1);
        bool of_time = at >= 8 && at < 16; /* when it was made: not of the value */
        byte ^= 0x41;
        assert_int_equal(pwrite(file, &byte, 1, at), 1);
        close(file);
        int before_n = front.computes;
        expect(run(before, "return f()"), "value", "a damaged file");
        if (front.computes != before_n + !of_time)
            fail_msg("byte %d of the file was damaged and not noticed", (int)at);
    }
    int file = openat(fd, path, O_RDWR);
    assert_int_equal(ftruncate(file, st.st_size / 2), 0);
    close(file);
    expect(run(before, "return f()"), "value", "a cut file");
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_what_belongs_to_the_call),
        cmocka_unit_test(test_log_is_the_owners),
        cmocka_unit_test(test_own_copies),
        cmocka_unit_test(test_damaged_files),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
