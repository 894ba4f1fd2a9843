/* Archives: what is told of good ones, and what of hostile ones is refused. */
#include "moongate/unarchive.h"

#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct told {
    char names[256];
    uint64_t bytes;
    int files, ended;
    enum mg_err refuse;
};

static enum mg_err begin(void *context, const char *name, struct mg_errmsg *err)
{
    struct told *told = context;
    size_t n = strlen(told->names);
    if (told->files++ < 5)
        snprintf(told->names + n, sizeof told->names - n, "%s%s", n ? " " : "", name);
    return told->refuse ? mg_err_set(err, told->refuse, "refused") : MG_OK;
}
static enum mg_err data(void *context, struct mg_span bytes, struct mg_errmsg *err)
{
    (void)err;
    ((struct told *)context)->bytes += bytes.len;
    return MG_OK;
}
static enum mg_err end(void *context, struct mg_errmsg *err)
{
    (void)err;
    ((struct told *)context)->ended++;
    return MG_OK;
}
static const struct mg_unarchive_to to = {begin, data, end};

/* An archive in memory; members end with NULL. "->" makes a link, a '/' at the end a folder. */
static int make(const char *format, const char *filter, const char *const *members, size_t bytes)
{
    int fd = memfd_create("archive", 0);
    char *zeros = calloc(1, bytes + 1);
    struct archive *out = archive_write_new();
    assert_int_equal(archive_write_set_format_by_name(out, format), ARCHIVE_OK);
    assert_int_equal(strcmp(filter, "none") ? archive_write_add_filter_by_name(out, filter) : ARCHIVE_OK, ARCHIVE_OK);
    assert_int_equal(archive_write_open_fd(out, fd), ARCHIVE_OK);
    for (; *members; members++) {
        struct archive_entry *entry = archive_entry_new();
        const char *arrow = strstr(*members, "->");
        char name[512];
        snprintf(name, sizeof name, "%.*s", (int)(arrow ? arrow - *members : (long)strlen(*members)), *members);
        bool folder = name[strlen(name) - 1] == '/';
        archive_entry_set_pathname(entry, name);
        archive_entry_set_filetype(entry, arrow ? S_IFLNK : folder ? S_IFDIR : S_IFREG);
        archive_entry_set_perm(entry, 0644);
        if (arrow)
            archive_entry_set_symlink(entry, arrow + 2);
        archive_entry_set_size(entry, arrow || folder ? 0 : (la_int64_t)bytes);
        assert_int_equal(archive_write_header(out, entry), ARCHIVE_OK);
        if (!arrow && !folder)
            assert_int_equal(archive_write_data(out, zeros, bytes), bytes);
        archive_entry_free(entry);
    }
    assert_int_equal(archive_write_close(out), ARCHIVE_OK);
    archive_write_free(out);
    free(zeros);
    return fd;
}

static enum mg_err read_back(int fd, bool plain, struct told *told, struct mg_errmsg *err)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return mg_unarchive(fd, (uint64_t)st.st_size, plain ? "plain.csv" : NULL, &to, told, err);
}

static void test_rows(void **state)
{
    (void)state;
    static const struct {
        const char *format, *filter;
        const char *members[4];
        size_t bytes;
        enum mg_err err;
        const char *names; /* or a part of the error */
    } rows[] = {
        {"zip", "none", {"a.csv", "dir/", "dir/b.csv"}, 100, MG_OK, "a.csv dir/b.csv"},
        {"gnutar", "none", {"a.csv", "./dir/b.csv"}, 100, MG_OK, "a.csv ./dir/b.csv"},
        {"gnutar", "gzip", {"a.csv"}, 100, MG_OK, "a.csv"},
        {"gnutar", "xz", {"a.csv"}, 100, MG_OK, "a.csv"},
        {"gnutar", "zstd", {"a.csv"}, 100, MG_OK, "a.csv"},
        {"raw", "gzip", {"x"}, 1000, MG_OK, "plain.csv"},
        {"raw", "bzip2", {"x"}, 1000, MG_OK, "plain.csv"},
        {"raw", "none", {"x"}, 1000, MG_E_BAD_FILE, "neither an archive nor compressed"},
        {"zip", "none", {"../up"}, 10, MG_E_BAD_FILE, "leads out of its folder: ../up"},
        {"zip", "none", {"a/../../up"}, 10, MG_E_BAD_FILE, "leads out"},
        {"zip", "none", {"/etc/x"}, 10, MG_E_BAD_FILE, "leads out"},
        {"zip", "none", {"a\\..\\b"}, 10, MG_E_BAD_FILE, "leads out"},
        {"gnutar", "none", {"link->/etc/passwd"}, 10, MG_E_BAD_FILE, "is a link"},
        {"gnutar", "gzip", {"bomb"}, 64 << 20, MG_E_TOO_LARGE, "100 times"},
        {"raw", "gzip", {"bomb"}, 64 << 20, MG_E_TOO_LARGE, "100 times"},
        {"zip", "none", {NULL}, 0, MG_E_BAD_FILE, "empty"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct told told = {0};
        struct mg_errmsg err = {""};
        int fd = make(rows[i].format, rows[i].filter, rows[i].members, rows[i].bytes);
        enum mg_err e = read_back(fd, strcmp(rows[i].format, "raw") == 0, &told, &err);
        close(fd);
        if (e != rows[i].err || (e ? !strstr(err.text, rows[i].names) : strcmp(told.names, rows[i].names) != 0))
            fail_msg("row %zu: %s (%s), names %s", i, mg_err_name(e), err.text, told.names);
        if (!e)
            assert_int_equal(told.bytes, rows[i].bytes * (size_t)told.files);
        assert_true(e || told.ended == told.files);
    }
}

static void test_too_many(void **state)
{
    (void)state;
    static char names[MG_ARCHIVE_FILES + 1][16];
    static const char *members[MG_ARCHIVE_FILES + 2];
    for (int i = 0; i <= MG_ARCHIVE_FILES; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        members[i] = names[i];
    }
    struct told told = {0};
    struct mg_errmsg err;
    int fd = make("gnutar", "none", members, 1);
    assert_int_equal(read_back(fd, false, &told, &err), MG_E_TOO_LARGE);
    assert_int_equal(told.files, MG_ARCHIVE_FILES);
    close(fd);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const members[] = {"a", "b", NULL};
    struct told told = {.refuse = MG_E_QUOTA};
    int fd = make("zip", "none", members, 10);
    assert_int_equal(read_back(fd, false, &told, NULL), MG_E_QUOTA);
    assert_int_equal(told.files, 1);
    close(fd);
}

/* Cut and flipped archives end in an answer, whatever it is. */
static void test_damaged(void **state)
{
    (void)state;
    static const char *const members[] = {"a", "dir/b", NULL};
    static const char *const kinds[][2] = {{"zip", "none"}, {"gnutar", "gzip"}, {"gnutar", "xz"}, {"raw", "gzip"}};
    unsigned seed = 7;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const char *const *list = strcmp(kinds[k][0], "raw") == 0 ? members + 1 : members;
        int whole = make(kinds[k][0], kinds[k][1], list, 5000);
        struct stat st;
        char bytes[32 << 10];
        assert_int_equal(fstat(whole, &st), 0);
        ssize_t n = pread(whole, bytes, sizeof bytes, 0);
        assert_int_equal(n, st.st_size);
        for (int i = 0; i < 400; i++) {
            char copy[sizeof bytes];
            memcpy(copy, bytes, (size_t)n);
            size_t len = (size_t)n;
            seed = seed * 1103515245 + 12345;
            if (i % 4 == 0)
                len = seed / 65536 % (unsigned)n;
            else
                copy[seed / 65536 % (unsigned)n] ^= (char)(1 << i % 8);
            int fd = memfd_create("damaged", 0);
            assert_int_equal(write(fd, copy, len), len);
            struct told told = {0};
            enum mg_err e = read_back(fd, list != members, &told, NULL);
            assert_true(e == MG_OK || e == MG_E_BAD_FILE || e == MG_E_TOO_LARGE);
            assert_true(told.bytes <= (uint64_t)len * MG_ARCHIVE_RATIO + (1 << 20) + (64 << 10));
            close(fd);
        }
        close(whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_too_many),
                                       cmocka_unit_test(test_refused), cmocka_unit_test(test_damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
