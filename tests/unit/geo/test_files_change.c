/* Changing files: what a reader sees meanwhile, what a link does, the quota, and what a killed writer leaves. */
#include "moongate/files.h"
#include "moongate/pack.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/mg_test_change_XXXXXX";
static struct mg_files_usage usage;
static struct mg_files files = {.n_mounts = 2, .usage = &usage};

static const char *at(const char *path)
{
    static char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    return full;
}

static int open_dir(const char *path)
{
    assert_int_equal(mkdir(at(path), 0755), 0);
    int fd = open(at(path), O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(root));
    files.mounts[0] = (struct mg_mount){.dirfd = open_dir("fd"), .writable = true};
    files.mounts[1] = (struct mg_mount){.name = "dem", .dirfd = open_dir("dem")};
    files.cache_dirfd = open_dir("cache");
    close(open_dir("other"));
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    close(files.mounts[0].dirfd);
    close(files.mounts[1].dirfd);
    close(files.cache_dirfd);
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void check_text(const char *path, const char *text)
{
    char got[64] = "";
    int fd = open(at(path), O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, got, sizeof got - 1), strlen(text));
    assert_string_equal(got, text);
    close(fd);
}

static size_t entries_in(const char *path)
{
    struct mg_buf out;
    size_t n = 0;
    mg_buf_init(&out, 0);
    assert_int_equal(mg_files_list(&files, path, true, &out, &n, NULL), MG_OK);
    mg_buf_fini(&out);
    return n;
}

static void test_atomic(void **state)
{
    (void)state;
    struct mg_new_file file;
    assert_int_equal(mg_files_write(&files, "fd://a.txt", mg_span("old"), NULL), MG_OK);
    assert_int_equal(mg_file_begin(&files, "fd://a.txt", &file, NULL), MG_OK);
    assert_int_equal(mg_file_put(&file, mg_span("ne"), NULL), MG_OK);
    check_text("fd/a.txt", "old");
    assert_int_equal(entries_in("fd://"), 2); /* the mount is there too; what is half done is not */
    assert_int_equal(mg_file_put(&file, mg_span("w"), NULL), MG_OK);
    assert_int_equal(mg_file_commit(&file, NULL), MG_OK);
    check_text("fd/a.txt", "new");
    assert_int_equal(mg_file_begin(&files, "fd://a.txt", &file, NULL), MG_OK);
    mg_file_abandon(&file);
    mg_file_abandon(&file);
    check_text("fd/a.txt", "new");
    assert_int_equal(mg_files_write(&files, "fd://dem/x", mg_span("x"), NULL), MG_E_FORBIDDEN);
    assert_int_equal(mg_files_write(&files, "fd://dem", mg_span("x"), NULL), MG_E_FORBIDDEN);
    assert_int_equal(mg_files_write(&files, "fd://demo", mg_span("x"), NULL), MG_OK);
}

/* A link inside leads nowhere else, whatever is done through it; itself it is replaced or deleted. */
static void test_links(void **state)
{
    (void)state;
    struct mg_errmsg err;
    bool there;
    assert_int_equal(symlink("../other", at("cache/out")), 0);
    assert_int_equal(symlink("../other/file", at("cache/outfile")), 0);
    assert_int_equal(mg_files_write(&files, "/mnt/cache/out/x", mg_span("x"), &err), MG_E_FORBIDDEN);
    assert_int_equal(mg_files_write(&files, "/mnt/cache/out/new/x", mg_span("x"), &err), MG_E_FORBIDDEN);
    assert_int_equal(mg_files_delete(&files, "/mnt/cache/out/x", true, &there, &err), MG_E_FORBIDDEN);
    assert_int_equal(entries_in("/mnt/cache"), 0);
    assert_int_equal(mg_files_write(&files, "/mnt/cache/outfile", mg_span("mine"), &err), MG_OK);
    assert_int_not_equal(access(at("other/file"), F_OK), 0);
    check_text("cache/outfile", "mine");
    assert_int_equal(mg_files_write(&files, "fd://other.txt", mg_span("x"), &err), MG_OK);
    assert_int_equal(mkdir(at("cache/d"), 0755), 0);
    assert_int_equal(symlink("../../other", at("cache/d/out")), 0);
    int fd = open(at("other/kept"), O_WRONLY | O_CREAT, 0644);
    close(fd);
    assert_int_equal(mg_files_delete(&files, "/mnt/cache/d", true, &there, &err), MG_OK);
    assert_true(there);
    assert_int_equal(access(at("other/kept"), F_OK), 0);
    assert_int_equal(mg_files_delete(&files, "/mnt/cache/out", false, &there, &err), MG_OK);
    assert_int_equal(access(at("other/kept"), F_OK), 0);
}

static void test_quota(void **state)
{
    (void)state;
    static char big[64 << 10];
    struct mg_errmsg err;
    bool there;
    usage = (struct mg_files_usage){.quota = 256 << 10};
    const struct mg_span bytes = {big, sizeof big};
    int written = 0;
    enum mg_err e = MG_OK;
    for (; !e && written < 10; written++) {
        char name[32];
        snprintf(name, sizeof name, "/mnt/cache/q/%d", written);
        e = mg_files_write(&files, name, bytes, &err);
    }
    assert_int_equal(e, MG_E_QUOTA);
    assert_non_null(strstr(err.text, "--quota"));
    assert_true(written >= 3 && written <= 5);
    assert_int_equal(mg_files_write(&files, "fd://q", bytes, &err), MG_E_QUOTA);
    assert_int_equal(mg_files_delete(&files, "/mnt/cache/q", true, &there, &err), MG_OK);
    assert_int_equal(mg_files_write(&files, "fd://q", bytes, &err), MG_OK);
    assert_int_equal(mg_files_delete(&files, "fd://q", false, &there, &err), MG_OK);
    usage = (struct mg_files_usage){0};
}

static void test_left_behind(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int age_s;
        bool kept;
    } rows[] = {{"cache/.moongate-part-0000000000000001", 7200, false},
                {"cache/.moongate-part-0000000000000002", 10, true},
                {"cache/other", 7200, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = open(at(rows[i].name), O_WRONLY | O_CREAT, 0644);
        struct timespec now, times[2];
        clock_gettime(CLOCK_REALTIME, &now);
        now.tv_sec -= rows[i].age_s;
        times[0] = times[1] = now;
        assert_int_equal(futimens(fd, times), 0);
        close(fd);
    }
    usage = (struct mg_files_usage){.quota = 1 << 30};
    assert_int_equal(mg_files_room(&files, "x", 1, NULL), MG_OK);
    usage = (struct mg_files_usage){0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(access(at(rows[i].name), F_OK) == 0, rows[i].kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_atomic),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_left_behind),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
