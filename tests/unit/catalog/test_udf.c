/* Reading a UDF folder: what is taken, what is refused and in which words, the bundle, the view state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "catalog/folders.h"

#include "moongate/catalog.h"
#include "moongate/memfd.h"
#include "moongate/pack.h"

#include <pthread.h>
#include <sys/mman.h>

#define META(udf, metadata) "{\"version\":\"0.0.3\",\"job_config\":{\"version\":\"0.0.3\",\"steps\":[{\"type\":\"udf\",\"udf\":{" udf \
                            "\"metadata\":{" metadata "}}}]}}"

static struct mg_udf *read_good(const char *dir)
{
    struct mg_udf *udf = NULL;
    struct mg_errmsg err = {""};
    if (mg_udf_read(in(dir), "folder", &udf, &err) != MG_OK)
        fail_msg("%s: %s", dir, err.text);
    assert_null(udf->broken);
    return udf;
}

static void a_folder(void **state)
{
    (void)state;
    make_udf("Hello", "return 1\n");
    write_text("Hello/utils.lua", "return {}\n");
    write_text("Hello/README.md", "# Hello\n");
    write_text("Hello/.Hello.lua.swp", "x");
    write_text("Hello/Hello.orig.lua", "an editor's backup");
    write_text("Hello/meta.json", META("\"name\":\"Hello\",\"source\":\"Hello.lua\",",
                                       "\"fused:udfType\":\"raster\",\"fused:description\":\"Says *hello*.\""));
    struct mg_udf *udf = read_good("Hello");
    assert_string_equal(udf->name, "Hello");
    assert_string_equal(udf->type, "raster");
    assert_string_equal(udf->description, "Says *hello*.");
    assert_string_equal(udf->source, "folder");
    assert_false(udf->is_public);
    assert_false(udf->has_view);
    void *bytes;
    struct mg_unpack in_bundle;
    char name[64];
    assert_true(mg_memfd_check(udf->bundle_fd, udf->bundle_bytes, true));
    assert_int_equal(mg_memfd_map(udf->bundle_fd, udf->bundle_bytes, false, &bytes, NULL), MG_OK);
    mg_unpack_init(&in_bundle, bytes, udf->bundle_bytes);
    static const char *const names[] = {"Hello.lua", "meta.json", "utils.lua"};
    assert_int_equal(mg_unpack_count(&in_bundle, 10), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(mg_unpack_str(&in_bundle, name, sizeof name));
        assert_string_equal(name, names[i]);
        struct mg_span file = mg_unpack_bytes(&in_bundle);
        if (i == 0)
            assert_true(mg_span_is(file, "return 1\n"));
    }
    assert_true(mg_unpack_done(&in_bundle));
    struct mg_hash hash;
    mg_sha256(bytes, udf->bundle_bytes, &hash);
    assert_true(mg_hash_eq(&hash, &udf->code));
    munmap(bytes, udf->bundle_bytes);

    /* What is no part of the code changes no hash; what is does. */
    write_text("Hello/README.md", "# Changed\n");
    struct mg_udf *same = read_good("Hello");
    assert_true(mg_hash_eq(&same->code, &udf->code));
    write_text("Hello/utils.lua", "return { 1 }\n");
    struct mg_udf *other = read_good("Hello");
    assert_false(mg_hash_eq(&other->code, &udf->code));
    mg_udf_unref(&udf);
    mg_udf_unref(&same);
    mg_udf_unref(&other);
    assert_null(udf);
}

static void without_meta(void **state)
{
    (void)state;
    struct mg_udf *udf = NULL;
    struct mg_errmsg err = {""};
    make_udf("Plain", "return 1");
    assert_int_equal(mg_udf_read(in("Plain"), "example", &udf, &err), MG_OK);
    assert_null(udf->meta);
    assert_string_equal(udf->type, "auto");
    assert_string_equal(udf->description, "");
    assert_true(udf->is_public);
    mg_udf_unref(&udf);
    udf = NULL;
    assert_int_equal(mg_udf_read(in("Nowhere"), "folder", &udf, &err), MG_E_NOT_FOUND);
    assert_null(udf);
    assert_non_null(strstr(err.text, "Nowhere"));
}

static void broken_ones(void **state)
{
    (void)state;
    static const struct {
        const char *name, *file, *text, *part, *why;
    } rows[] = {
        {"A1", "other.lua", "", "there is no A1.lua", "the eponymous file is missing"},
        {"1A", "1A.lua", "", "cannot be the name of a UDF", "a name that starts with a digit"},
        {"A-B", "A-B.lua", "", "cannot be the name of a UDF", "a name with a dash"},
        {"B1", "meta.json", "{", "meta.json: JSON, line 1", "broken JSON"},
        {"B2", "meta.json", "{}", "version is \"\", 0.0.3 is expected", "no version"},
        {"B3", "meta.json", "{\"version\":\"0.0.9\"}", "version is \"0.0.9\"", "another version"},
        {"B4", "meta.json", "{\"version\":\"0.0.3\"}", "job_config.steps[0].udf", "no UDF in it"},
        {"B5", "meta.json", META("\"source\":\"B6.lua\",", ""), "it must be \"B5.lua\"", "another source"},
        {"B6", "meta.json", META("\"name\":\"X\",", ""), "the folder is called \"B6\"", "another name"},
        {"B7", "meta.json", META("", "\"fused:defaultViewState\":{\"zoom\":99}"), "needs latitude", "a broken view state"},
        {"C1", "math.lua", "", "name of a library", "a module that hides a library"},
        {"C2", "moon.lua", "", "name of a library", "a module that hides ours"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[200];
        struct mg_udf *udf = NULL;
        struct mg_errmsg err = {""};
        if (rows[i].name[0] == 'A' || rows[i].name[0] == '1')
            make_dir(rows[i].name);
        else
            make_udf(rows[i].name, "return 1");
        snprintf(path, sizeof path, "%s/%s", rows[i].name, rows[i].file);
        write_text(path, rows[i].text);
        if (mg_udf_read(in(rows[i].name), "folder", &udf, &err) != MG_E_UDF_BROKEN || !udf || !udf->broken ||
            !strstr(udf->broken, rows[i].part))
            fail_msg("%s: \"%s\" should speak of \"%s\"", rows[i].why, udf && udf->broken ? udf->broken : err.text, rows[i].part);
        assert_int_equal(udf->bundle_fd, -1);
        mg_udf_unref(&udf);
    }
}

static void links_and_sizes(void **state)
{
    (void)state;
    struct mg_udf *udf = NULL;
    struct mg_errmsg err = {""};
    make_udf("Link", "return 1");
    assert_int_equal(symlink("/etc/passwd", in("Link/utils.lua")), 0);
    assert_int_equal(mg_udf_read(in("Link"), "folder", &udf, &err), MG_E_UDF_BROKEN);
    assert_non_null(strstr(udf->broken, "utils.lua is a link"));
    mg_udf_unref(&udf);
    unlink(in("Link/utils.lua"));
    assert_int_equal(mkfifo(in("Link/utils.lua"), 0600), 0);
    assert_int_equal(mg_udf_read(in("Link"), "folder", &udf, &err), MG_E_UDF_BROKEN);
    assert_non_null(strstr(udf->broken, "no regular file"));
    mg_udf_unref(&udf);
    char *large = malloc((1 << 20) + 1);
    memset(large, ' ', 1 << 20);
    large[1 << 20] = 0;
    make_udf("Large", "");
    write_text("Large/Large.lua", large);
    udf = read_good("Large");
    mg_udf_unref(&udf);
    write_text("Large/a.lua", " ");
    assert_int_equal(mg_udf_read(in("Large"), "folder", &udf, &err), MG_E_UDF_BROKEN);
    assert_non_null(strstr(udf->broken, "larger than 1048576 bytes"));
    mg_udf_unref(&udf);
    free(large);
}

static void view_states(void **state)
{
    (void)state;
    static const struct {
        double lng, lat, zoom, bounds[4];
    } rows[] = {
        /* 1,024 x 768 pixels of 512 x 512 tiles: at zoom 0 the world is 512 wide and high. */
        {0, 0, 0, {-180, -85.0511287798066, 180, 85.0511287798066}},
        {0, 0, 1, {-180, -79.17133464081945, 180, 79.17133464081945}},
        {-34.9, -8.0, 10, {-35.2515625, -8.26102134, -34.5484375, -7.73881143}},
        {180, 0, 4, {157.5, -16.636192, -157.5, 16.636192}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[600];
        make_udf("View", "return 1");
        snprintf(text, sizeof text, META("", "\"fused:defaultViewState\":{\"longitude\":%g,\"latitude\":%g,\"zoom\":%g}"),
                 rows[i].lng, rows[i].lat, rows[i].zoom);
        write_text("View/meta.json", text);
        struct mg_udf *udf = read_good("View");
        assert_true(udf->has_view);
        for (int b = 0; b < 4; b++)
            if (udf->view[b] < rows[i].bounds[b] - 1e-5 || udf->view[b] > rows[i].bounds[b] + 1e-5)
                fail_msg("view %zu, edge %d: %.9g, expected %.9g", i, b, udf->view[b], rows[i].bounds[b]);
        mg_udf_unref(&udf);
    }
    write_text("View/meta.json", META("", "\"fused:defaultViewState\":{\"enable\":false,\"zoom\":1}"));
    struct mg_udf *udf = read_good("View");
    assert_false(udf->has_view);
    mg_udf_unref(&udf);
}

/* A writer that replaces two files by rename, in order: a reader may see old-old, new-old or new-new, never the second
 * file newer than the first, and never a part of one. */
enum { SAVES = 300, BODY = 40000 };
static bool writer_done;

static void *save_often(void *context)
{
    (void)context;
    static char text[BODY + 64];
    for (int i = 0; i < SAVES; i++) {
        int n = snprintf(text, sizeof text, "%06d\n", i);
        memset(text + n, 'x', (size_t)(BODY - n));
        text[BODY] = 0;
        write_text("Busy/new", text);
        rename(in("Busy/new"), in("Busy/Busy.lua"));
        write_text("Busy/new", text);
        rename(in("Busy/new"), in("Busy/utils.lua"));
    }
    __atomic_store_n(&writer_done, true, __ATOMIC_RELEASE);
    return NULL;
}

static void a_read_is_of_one_moment(void **state)
{
    (void)state;
    pthread_t writer;
    int reads = 0;
    make_udf("Busy", "000000\n");
    write_text("Busy/utils.lua", "000000\n");
    char dir[200];
    snprintf(dir, sizeof dir, "%s", in("Busy"));
    pthread_create(&writer, NULL, save_often, NULL);
    while (!__atomic_load_n(&writer_done, __ATOMIC_ACQUIRE) || reads == 0) {
        struct mg_udf *udf = NULL;
        void *bytes;
        if (mg_udf_read(dir, "folder", &udf, NULL) != MG_OK) {
            assert_non_null(strstr(udf->broken, "keep changing"));
            mg_udf_unref(&udf);
            continue;
        }
        assert_int_equal(mg_memfd_map(udf->bundle_fd, udf->bundle_bytes, false, &bytes, NULL), MG_OK);
        struct mg_unpack in_bundle;
        int version[2];
        mg_unpack_init(&in_bundle, bytes, udf->bundle_bytes);
        assert_int_equal(mg_unpack_count(&in_bundle, 10), 2);
        for (int i = 0; i < 2; i++) {
            mg_unpack_skip(&in_bundle);
            struct mg_span file = mg_unpack_bytes(&in_bundle);
            assert_true(file.len == BODY || file.len == 7);
            version[i] = (int)strtol(file.data, NULL, 10);
        }
        if (version[0] < version[1] || version[0] > version[1] + 1)
            fail_msg("Busy.lua of save %d with utils.lua of save %d", version[0], version[1]);
        munmap(bytes, udf->bundle_bytes);
        mg_udf_unref(&udf);
        reads++;
    }
    pthread_join(writer, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder),        cmocka_unit_test(without_meta), cmocka_unit_test(broken_ones),
        cmocka_unit_test(links_and_sizes), cmocka_unit_test(view_states),  cmocka_unit_test(a_read_is_of_one_moment),
    };
    return cmocka_run_group_tests(tests, folders_make, folders_remove);
}
