/* Scratch folders: emptied whatever a hostile worker left in them, measured, swept at the start. */
#include "worker/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char base[] = "/tmp/mg-scratch-XXXXXX";

static char *in(const char *name)
{
    static char path[4][256];
    static int next;
    char *at = path[next++ % 4];
    snprintf(at, sizeof path[0], "%s/%s", base, name);
    return at;
}

static int make_base(void **state)
{
    (void)state;
    return mkdtemp(base) && mkdir(in("orgs"), 0755) == 0 && mkdir(in("orgs/a"), 0755) == 0 &&
                   mkdir(in("orgs/a/scratch"), 0755) == 0 && mkdir(in("orgs/b"), 0755) == 0
               ? 0
               : -1;
}

static int remove_base(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

static void put(const char *path, size_t bytes)
{
    static const char block[1 << 16] = {1};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    for (size_t done = 0; done < bytes; done += sizeof block)
        assert_int_equal(write(fd, block, sizeof block), sizeof block);
    close(fd);
}

static void make(char *path, size_t size)
{
    struct mg_errmsg err = {{0}};
    if (scratch_make(in("orgs/a"), 1, 7, 0, path, size, &err) != MG_OK)
        fail_msg("%s", err.text);
}

/* A chain of folders with a file in each, deeper than any path may be long. */
static void fill(int top, int depth)
{
    int at = dup(top);
    for (int i = 0; i < depth; i++) {
        int file = openat(at, "file", O_WRONLY | O_CREAT, 0600);
        assert_true(file >= 0);
        close(file);
        assert_int_equal(mkdirat(at, "a-folder-with-a-long-name", 0700), 0);
        int next = openat(at, "a-folder-with-a-long-name", O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
}

static void test_empty(void **state)
{
    (void)state;
    char path[256];
    struct stat seen = {0}, st;
    make(path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    assert_true(scratch_tidy(fd, &seen));
    put(in("orgs/kept"), 10);
    fill(fd, 600);
    assert_int_equal(symlinkat("../../../kept", fd, "link"), 0);
    assert_int_equal(symlinkat("../..", fd, "folder"), 0);
    assert_int_equal(mkdirat(fd, ".up-0", 0700), 0); /* a name that emptying itself uses */
    assert_true(scratch_tidy(fd, &seen));
    assert_int_equal(unlinkat(AT_FDCWD, path, AT_REMOVEDIR), 0); /* which asks that nothing be in it */
    assert_int_equal(access(in("orgs/kept"), F_OK), 0);
    close(fd);
}

/* A change that leaves the time as it was is still seen, because it is young. */
static void test_tidy_within_a_tick(void **state)
{
    (void)state;
    char path[256];
    struct stat seen = {0};
    make(path, sizeof path);
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 200; i++) {
        int file = openat(fd, "x", O_WRONLY | O_CREAT, 0600);
        assert_true(file >= 0);
        close(file);
        assert_true(scratch_tidy(fd, &seen));
        if (faccessat(fd, "x", F_OK, 0) == 0)
            fail_msg("a file of run %d is there in the next", i);
    }
    /* One of long ago is not looked into again. */
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    int file = openat(fd, "y", O_WRONLY | O_CREAT, 0600);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(futimens(fd, old), 0);
    assert_int_equal(fstat(fd, &seen), 0);
    assert_true(scratch_tidy(fd, &seen));
    assert_int_equal(faccessat(fd, "y", F_OK, 0), 0);
    close(fd);
    scratch_remove(path);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_over(void **state)
{
    (void)state;
    char path[256], sub[300];
    bool holds = true;
    make(path, sizeof path);
    assert_false(scratch_is_over(path, &holds));
    assert_false(holds);
    snprintf(sub, sizeof sub, "%s/file", path);
    put(sub, 1 << 20);
    assert_false(scratch_is_over(path, &holds));
    assert_true(holds);
    int fd = open(sub, O_WRONLY);
    assert_int_equal(ftruncate(fd, (off_t)SCRATCH_BYTES * 4), 0); /* holes take no room */
    assert_false(scratch_is_over(path, &holds));
    assert_int_equal(posix_fallocate(fd, 0, (off_t)SCRATCH_BYTES + 1), 0);
    close(fd);
    assert_true(scratch_is_over(path, &holds));
    make(path, sizeof path); /* anew */
    assert_false(scratch_is_over(path, &holds));
    assert_false(holds);
    fd = open(path, O_RDONLY | O_DIRECTORY);
    fill(fd, 20);
    assert_true(scratch_is_over(path, &holds)); /* too deep to be looked through */
    assert_true(scratch_empty(fd));
    for (int i = 0; i <= SCRATCH_FILES; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(close(openat(fd, name, O_WRONLY | O_CREAT, 0600)), 0);
    }
    assert_true(scratch_is_over(path, &holds));
    close(fd);
    scratch_remove(path);
    assert_false(scratch_is_over(path, &holds)); /* gone */
}

static void test_sweep(void **state)
{
    (void)state;
    char path[256], sub[300];
    make(path, sizeof path);
    snprintf(sub, sizeof sub, "%s/left", path);
    put(sub, 100);
    put(in("orgs/a/scratch/a-file-of-an-earlier-version"), 100);
    scratch_sweep(base);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(rmdir(in("orgs/a/scratch")), 0); /* nothing in it */
    assert_int_equal(mkdir(in("orgs/a/scratch"), 0755), 0);
    scratch_sweep("/no/such/folder");
    struct mg_errmsg err = {{0}};
    assert_int_equal(scratch_make("/no/such/folder", 1, 1, 0, path, sizeof path, &err), MG_E_IO);
    assert_non_null(strstr(err.text, "/no/such/folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_empty),
                                       cmocka_unit_test(test_tidy_within_a_tick),
                                       cmocka_unit_test(test_over), cmocka_unit_test(test_sweep)};
    return cmocka_run_group_tests(tests, make_base, remove_base);
}
