/* Names of files: which layer answers, what is refused, and what a version says. */
#include "moongate/files.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/mg_test_files_XXXXXX";
static struct mg_files files = {.cache_dirfd = -1};

static const char *at(const char *path)
{
    static char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    return full;
}
static void write_file(const char *path, const char *text)
{
    int fd = open(at(path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}
static void link_file(const char *to, const char *path) { assert_int_equal(symlink(to, at(path)), 0); }
static int open_dir(const char *path)
{
    int fd = open(at(path), O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int setup(void **state)
{
    (void)state;
    static const char *const dirs[] = {"fd", "fd/deep", "fd/dem", "examples", "dem", "cache", "other"};
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        assert_int_equal(mkdir(at(dirs[i]), 0755), 0);
    write_file("fd/own.txt", "own");
    write_file("fd/both.txt", "mine");
    write_file("fd/deep/a b\xc3\xa9.txt", "deep");
    write_file("fd/dem/first.txt", "in fd");
    write_file("examples/both.txt", "example");
    write_file("examples/only.txt", "only");
    write_file("dem/first.txt", "in mount");
    write_file("dem/z.txt", "mounted");
    write_file("cache/c.txt", "cached");
    write_file("other/secret.txt", "secret");
    link_file("own.txt", "fd/inside");
    link_file("../../other/secret.txt", "fd/deep/outside");
    link_file("/etc/passwd", "fd/absolute");
    link_file("/proc/self/exe", "fd/magic");
    link_file("loop", "fd/loop");
    assert_int_equal(mkfifo(at("fd/fifo"), 0644), 0);
    files.mounts[0] = (struct mg_mount){.name = "", .dirfd = open_dir("fd"), .writable = true};
    files.mounts[1] = (struct mg_mount){.name = "", .dirfd = open_dir("examples")};
    files.mounts[2] = (struct mg_mount){.name = "dem", .dirfd = open_dir("dem")};
    files.n_mounts = 3;
    files.cache_dirfd = open_dir("cache");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void test_open(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text; /* NULL: refused */
        enum mg_err err;
        const char *sentence;
    } rows[] = {
        {"fd://own.txt", "own", MG_OK, "the organisation's own file"},
        {"fd://both.txt", "mine", MG_OK, "its own before the example"},
        {"fd://only.txt", "only", MG_OK, "the example beneath"},
        {"fd://dem/z.txt", "mounted", MG_OK, "a mount by its name"},
        {"fd://dem/first.txt", "in fd", MG_OK, "the own folder of a mount's name comes first"},
        {"fd://z.txt", NULL, MG_E_NO_FILE, "a mount's file without the mount's name"},
        {"fd://dem", NULL, MG_E_NO_FILE, "a folder is no file"},
        {"fd://deep/a b\xc3\xa9.txt", "deep", MG_OK, "blanks and Unicode"},
        {"fd://./own.txt", "own", MG_OK, "a dot"},
        {"fd://deep/../own.txt", "own", MG_OK, "dots that stay inside"},
        {"fd://inside", "own", MG_OK, "a link that stays inside"},
        {"/mnt/cache/c.txt", "cached", MG_OK, "the cache folder"},
        {"/mnt/cache/../fd/own.txt", NULL, MG_E_FORBIDDEN, "dots out of the cache folder"},
        {"/mnt/cache/nothing", NULL, MG_E_NO_FILE, "missing in the cache folder"},
        {"fd://../other/secret.txt", NULL, MG_E_FORBIDDEN, "dots out of the folder"},
        {"fd://deep/../../other/secret.txt", NULL, MG_E_FORBIDDEN, "dots out of the folder, later"},
        {"fd://deep/outside", NULL, MG_E_FORBIDDEN, "a link out of the folder"},
        {"fd://absolute", NULL, MG_E_FORBIDDEN, "an absolute link"},
        {"fd:///etc/passwd", NULL, MG_E_FORBIDDEN, "an absolute name"},
        {"fd://magic", NULL, MG_E_FORBIDDEN, "a link into /proc"},
        {"fd://loop", NULL, MG_E_FORBIDDEN, "a link to itself"},
        {"fd://dem/../../other/secret.txt", NULL, MG_E_FORBIDDEN, "dots out of a mount"},
        {"fd://fifo", NULL, MG_E_NO_FILE, "a FIFO neither waits nor is a file"},
        {"fd://nothing.txt", NULL, MG_E_NO_FILE, "a missing file"},
        {"fd://own.txt/x", NULL, MG_E_NO_FILE, "a file is no folder"},
        {"fd://", NULL, MG_E_NO_FILE, "no name"},
        {"fd://..%2fother", NULL, MG_E_NO_FILE, "an escape is not decoded"},
        {"/etc/passwd", NULL, MG_E_ARGUMENT, "a path of the machine"},
        {"own.txt", NULL, MG_E_ARGUMENT, "a bare name"},
        {"", NULL, MG_E_ARGUMENT, "nothing"},
        {"s3://bucket/x", NULL, MG_E_ARGUMENT, "another scheme"},
        {"/mnt/cache", NULL, MG_E_ARGUMENT, "the cache folder itself"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = -1;
        struct stat st;
        struct mg_errmsg err = {""};
        enum mg_err e = mg_files_open(&files, rows[i].name, &fd, &st, &err);
        if (e != rows[i].err || (e && (!err.text[0] || fd != -1)))
            fail_msg("%s: %s gives %s (%s)", rows[i].sentence, rows[i].name, mg_err_name(e), err.text);
        if (e)
            continue;
        char text[64] = "";
        assert_true(read(fd, text, sizeof text - 1) >= 0);
        close(fd);
        if (strcmp(text, rows[i].text) != 0 || (size_t)st.st_size != strlen(text))
            fail_msg("%s: %s holds \"%s\"", rows[i].sentence, rows[i].name, text);
    }
}

static void test_long_name(void **state)
{
    (void)state;
    char name[8000] = "fd://";
    int fd;
    memset(name + 5, 'a', sizeof name - 6);
    assert_int_equal(mg_files_open(&files, name, &fd, NULL, NULL), MG_E_NO_FILE);
}

static void test_version(void **state)
{
    (void)state;
    char before[64], after[64], want[64];
    struct stat st;
    write_file("fd/v.txt", "1");
    mg_files_version(&files, "fd://v.txt", before, sizeof before);
    assert_int_equal(stat(at("fd/v.txt"), &st), 0);
    snprintf(want, sizeof want, "%lld%09ld:1", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    assert_string_equal(before, want);
    write_file("fd/v.txt", "12");
    mg_files_version(&files, "fd://v.txt", after, sizeof after);
    assert_string_not_equal(before, after);
    /* An own file above an example is another version of the same name. */
    mg_files_version(&files, "fd://only.txt", before, sizeof before);
    write_file("fd/only.txt", "overlaid");
    mg_files_version(&files, "fd://only.txt", after, sizeof after);
    assert_string_not_equal(before, after);
    assert_int_equal(unlink(at("fd/only.txt")), 0);
    mg_files_version(&files, "fd://only.txt", after, sizeof after);
    assert_string_equal(before, after);
    /* A folder's is that of its list of names. */
    mg_files_version(&files, "fd://deep", before, sizeof before);
    write_file("fd/deep/another", "x");
    mg_files_version(&files, "fd://deep", after, sizeof after);
    assert_string_not_equal(before, after);
    assert_string_not_equal(before, "-");
    static const char *const none[] = {"fd://nothing", "/etc/passwd", "fd://../other/secret.txt"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        mg_files_version(&files, none[i], after, sizeof after);
        assert_string_equal(after, "-");
    }
}

static void test_gdal_path(void **state)
{
    (void)state;
    static const struct {
        const char *name, *path; /* NULL: refused */
    } rows[] = {
        {"fd://a.tif", "/vsimoon/fd/a.tif"},
        {"fd://dem/a b.tif", "/vsimoon/fd/dem/a b.tif"},
        {"/mnt/cache/x/y", "/vsimoon/cache/x/y"},
        {"https://h:8443/p.tif?q=1", "/vsimoon/https/h:8443/p.tif?q=1"},
        {"http://h/p", "/vsimoon/http/h/p"},
        {"/vsicurl/http://h/p", NULL},
        {"/etc/passwd", NULL},
        {"MEM:::DATAPOINTER=1", NULL},
        {"<VRTDataset/>", NULL},
        {"ftp://h/p", NULL},
        {"fd://", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[256] = "", name[256] = "";
        struct mg_errmsg err = {""};
        enum mg_err e = mg_files_gdal_path(rows[i].name, path, sizeof path, &err);
        if (rows[i].path ? e != MG_OK || strcmp(path, rows[i].path) != 0
                         : e != MG_E_ARGUMENT || !strstr(err.text, "fd://NAME"))
            fail_msg("%s gives %s (%s)", rows[i].name, path, err.text);
        if (rows[i].path) {
            assert_true(mg_files_name_of(path, name, sizeof name));
            assert_string_equal(name, rows[i].name);
        }
    }
    char small[16], name[16];
    assert_int_equal(mg_files_gdal_path("fd://abcdefghijkl", small, sizeof small, NULL), MG_E_ARGUMENT);
    assert_false(mg_files_name_of("/vsimem/a", name, sizeof name));
    assert_false(mg_files_name_of("/vsimoon/fd", name, sizeof name));
    assert_false(mg_files_name_of("/vsimoon/other/a", name, sizeof name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_gdal_path),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
