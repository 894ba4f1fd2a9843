/* Dependencies: current as long as the file or UDF is the same; what a hostile worker lists does no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "catalog/folders.h"

#include "moongate/engine.h"

#include <time.h>

static struct mg_engine engine;

static bool current(struct mg_versions *versions, struct mg_span kind, struct mg_span name, const char *version,
                    int64_t made_s)
{
    struct mg_buf deps;
    mg_buf_init(&deps, 0);
    mg_pack_int(&deps, 1);
    mg_pack_bytes(&deps, kind.data, kind.len);
    mg_pack_bytes(&deps, name.data, name.len);
    mg_pack_bytes(&deps, version, strlen(version));
    bool same = mg_versions_current(versions, "local", (struct mg_span){deps.data, deps.len}, made_s);
    mg_buf_fini(&deps);
    return same;
}

static void files_and_udfs(void **state)
{
    char before[256], hex[65];
    struct mg_versions *versions = mg_versions_new(&engine);
    (void)state;
    write_text("a.csv", "1");
    mg_files_version(&engine.files, "fd://a.csv", before, sizeof before);
    assert_int_equal(mg_catalog_add_code(engine.catalog, "Made", "file", MG_SPAN("return 1"), (struct mg_span){0}, NULL),
                     MG_OK);
    struct mg_udf *udf = mg_catalog_find(engine.catalog, MG_SPAN("Made"));
    mg_hash_hex(&udf->code, hex);
    mg_udf_unref(&udf);
    int64_t now = (int64_t)time(NULL);
    const struct {
        const char *kind, *name, *version;
        int64_t made_s;
        bool expected;
        const char *sentence;
    } rows[] = {
        {"file", "fd://a.csv", before, now, true, "the file as it was"},
        {"file", "fd://a.csv", "1:1", now, false, "another version of the file"},
        {"file", "fd://b.csv", "-", now, true, "a file that is still not there"},
        {"file", "fd://b.csv", "1:1", now, false, "a file that is gone"},
        {"file", "fd://../../etc/passwd", "1:1", now, false, "a file outside does not exist"},
        {"udf", "Made", hex, now, true, "the UDF as it was"},
        {"udf", "Made", before, now, false, "other code"},
        {"udf", "None", hex, now, false, "a UDF that is gone"},
        {"url", "https://example.org/x", "\"etag\"", now, true, "a remote file that was read just now"},
        {"url", "https://example.org/x", "\"etag\"", now - 3600, false, "a remote file that was read long ago"},
        {"what", "x", "1", now, false, "a kind that nobody knows"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int again = 0; again < 2; again++) /* looked at, then remembered */
            if (current(versions, mg_span(rows[i].kind), mg_span(rows[i].name), rows[i].version, rows[i].made_s) !=
                rows[i].expected)
                fail_msg("%s (%s time)", rows[i].sentence, again ? "second" : "first");
    mg_versions_free(&versions);
    write_text("a.csv", "longer");
    versions = mg_versions_new(&engine); /* as after a second */
    assert_false(current(versions, MG_SPAN("file"), MG_SPAN("fd://a.csv"), before, now));
    mg_versions_free(&versions);
}

static void hostile_lists(void **state)
{
    struct mg_versions *versions = mg_versions_new(&engine);
    char *long_text = calloc(1, 100000);
    (void)state;
    memset(long_text + 1, 'x', 99998); /* begins with a NUL */
    assert_false(current(versions, (struct mg_span){long_text, 99999}, MG_SPAN("a"), "-", 0));
    assert_false(current(versions, (struct mg_span){long_text, 12}, MG_SPAN("a"), "1", 0));
    assert_false(current(versions, MG_SPAN("file"), (struct mg_span){long_text, 99999}, "-", 0));
    assert_false(current(versions, MG_SPAN("file"), (struct mg_span){long_text, 100}, "-", 0));
    assert_false(current(versions, MG_SPAN("file"), (struct mg_span){long_text + 1, 2000}, "-", 0));
    assert_false(current(versions, (struct mg_span){NULL, 0}, (struct mg_span){NULL, 0}, "1", 0));
    struct mg_buf deps;
    mg_buf_init(&deps, 0);
    mg_pack_int(&deps, INT64_MAX); /* a count that is not there; then a list cut short */
    assert_false(mg_versions_current(versions, "local", (struct mg_span){deps.data, deps.len}, 0));
    assert_false(mg_versions_current(versions, "local", (struct mg_span){deps.data, 3}, 0));
    deps.len = 0;
    mg_pack_int(&deps, 2);
    mg_pack_str(&deps, "file");
    assert_false(mg_versions_current(versions, "local", (struct mg_span){deps.data, deps.len}, 0));
    assert_true(mg_versions_current(versions, "local", (struct mg_span){0}, 0)); /* none at all */
    mg_buf_fini(&deps);
    free(long_text);
    mg_versions_free(&versions);
}

static int set_up(void **state)
{
    int status = folders_make(state);
    engine.files.mounts[0].dirfd = open(folders_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    engine.files.n_mounts = 1;
    engine.files.cache_dirfd = -1;
    return status || mg_catalog_open(&engine.catalog, NULL) != MG_OK;
}

static int tear_down(void **state)
{
    mg_catalog_close(&engine.catalog);
    close(engine.files.mounts[0].dirfd);
    return folders_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_and_udfs), cmocka_unit_test(hostile_lists)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
