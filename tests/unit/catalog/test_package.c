/* Packages: what may be in them, their canonical form, renaming, and zips out and in, also damaged ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "moongate/package.h"

#include <stdlib.h>

static enum mg_err put(struct mg_package *package, const char *name, const char *text)
{
    return mg_package_put(package, mg_span(name), mg_span(text), NULL);
}

static void test_names(void **context)
{
    (void)context;
    static const struct {
        const char *name;
        enum mg_err expected;
        const char *what;
    } rows[] = {
        {"Hello.lua", MG_OK, "a code file"},
        {"my-utils_2.lua", MG_OK, "a module"},
        {"meta.json", MG_OK, "meta.json"},
        {"README.md", MG_OK, "a README"},
        {"", MG_E_PARAMETER, "no name"},
        {"a/b.lua", MG_E_PARAMETER, "a path"},
        {"../b.lua", MG_E_PARAMETER, "a path that leads out"},
        {".lua", MG_E_PARAMETER, "no name before the ending"},
        {"x.orig.lua", MG_E_PARAMETER, "a second dot"},
        {"other.json", MG_E_PARAMETER, "another JSON file"},
        {"x.so", MG_E_PARAMETER, "a library"},
    };
    struct mg_package package = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (put(&package, rows[i].name, "x") != rows[i].expected)
            fail_msg("%s", rows[i].what);
    assert_int_equal(package.n, 4);
    char *large = calloc(1, (1 << 20) + 1);
    assert_non_null(large);
    memset(large, 'x', 1 << 20);
    assert_int_equal(put(&package, "large.lua", large), MG_E_TOO_LARGE);
    free(large);
    mg_package_free(&package);
}

static void test_canonical(void **context)
{
    (void)context;
    struct mg_package a = {0}, b = {0}, c = {0};
    struct mg_buf x, y;
    mg_buf_init(&x, 0);
    mg_buf_init(&y, 0);
    assert_int_equal(put(&a, "b.lua", "2") | put(&a, "a.lua", "1") | put(&a, "b.lua", "3"), MG_OK);
    assert_int_equal(put(&b, "a.lua", "1") | put(&b, "b.lua", "3"), MG_OK);
    mg_package_write(&a, &x);
    mg_package_write(&b, &y);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    assert_int_equal(mg_package_read((struct mg_span){x.data, x.len}, &c, NULL), MG_OK);
    assert_string_equal(mg_package_find(&c, "b.lua")->bytes.data, "3");
    for (size_t len = 0; len < x.len; len++) { /* cut anywhere: an error, never more than was there */
        struct mg_package cut = {0};
        assert_int_not_equal(mg_package_read((struct mg_span){x.data, len}, &cut, NULL), MG_OK);
        mg_package_free(&cut);
    }
    mg_package_free(&a);
    mg_package_free(&b);
    mg_package_free(&c);
    mg_buf_fini(&x);
    mg_buf_fini(&y);
}

static void test_rename(void **context)
{
    (void)context;
    struct mg_package package = {0};
    assert_int_equal(put(&package, "Old.lua", "code") | put(&package, "utils.lua", "u"), MG_OK);
    assert_int_equal(put(&package, "meta.json",
                         "{\"version\":\"0.0.3\",\"job_config\":{\"name\":\"Old\",\"steps\":[{\"udf\":"
                         "{\"name\":\"Old\",\"source\":\"Old.lua\"}}]}}"),
                     MG_OK);
    assert_int_equal(mg_package_rename(&package, "Old", "utils", NULL), MG_E_CONFLICT);
    assert_int_equal(mg_package_rename(&package, "Old", "New", NULL), MG_OK);
    assert_null(mg_package_find(&package, "Old.lua"));
    assert_string_equal(mg_package_find(&package, "New.lua")->bytes.data, "code");
    struct mg_udf *udf = NULL;
    assert_int_equal(mg_package_udf(&package, "New", "saved", &udf, NULL), MG_OK); /* meta.json fits */
    mg_udf_unref(&udf);
    assert_int_equal(mg_package_udf(&package, "Old", "saved", &udf, NULL), MG_E_UDF_BROKEN);
    mg_package_free(&package);
}

static void test_zip(void **context)
{
    (void)context;
    struct mg_package package = {0}, back = {0};
    struct mg_buf zip;
    char folder[128];
    mg_buf_init(&zip, 0);
    assert_int_equal(put(&package, "Hello.lua", "return 1\n") | put(&package, "README.md", ""), MG_OK);
    assert_int_equal(mg_package_to_zip(&package, "Hello", &zip, NULL), MG_OK);
    assert_int_equal(mg_package_from_zip((struct mg_span){zip.data, zip.len}, &back, folder, NULL), MG_OK);
    assert_string_equal(folder, "Hello");
    assert_int_equal(back.n, 2);
    assert_string_equal(mg_package_find(&back, "Hello.lua")->bytes.data, "return 1\n");
    mg_package_free(&back);
    for (size_t len = 0; len < zip.len; len++) { /* cut: what is read is whole, or refused */
        enum mg_err status = mg_package_from_zip((struct mg_span){zip.data, len}, &back, folder, NULL);
        assert_true(status == MG_OK || status == MG_E_PARAMETER || status == MG_E_TOO_LARGE);
        mg_package_free(&back);
    }
    unsigned seed = 1;
    for (int round = 0; round < 3000; round++) {
        char *bytes = malloc(zip.len);
        assert_non_null(bytes);
        memcpy(bytes, zip.data, zip.len);
        for (int k = 0; k < 1 + round % 4; k++) {
            seed = seed * 1103515245u + 12345u;
            bytes[(seed >> 8) % zip.len] ^= (char)(1 + (seed >> 24) % 255);
        }
        enum mg_err status = mg_package_from_zip((struct mg_span){bytes, zip.len}, &back, folder, NULL);
        assert_true(status == MG_OK || status == MG_E_PARAMETER || status == MG_E_TOO_LARGE);
        mg_package_free(&back);
        free(bytes);
    }
    mg_package_free(&package);
    mg_buf_fini(&zip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_rename),
        cmocka_unit_test(test_zip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
