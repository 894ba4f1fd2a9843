/* /vsimoon/: local files, and remote ones from block files that a fetcher of the test's own fills. */
#include "moongate/files.h"

#include <cpl_error.h>
#include <cpl_vsi.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define URL "https://example.org/scene.tif"
#define PATH "/vsimoon/https/example.org/scene.tif"
enum { SIZE = 40 * MG_BLOCK_BYTES + 1234 };

static char root[] = "/tmp/mg_test_vsimoon_XXXXXX";
static struct mg_files files = {.cache_dirfd = -1};

static uint8_t byte_at(uint64_t i, int generation) { return (uint8_t)(i * 31 + i / 251 + (uint64_t)generation * 7); }

/* The fetcher: one remote file, in generations. */
static struct {
    int generation, fd;
    char etag[32];
    int calls;
    uint64_t last_offset, last_bytes;
    enum mg_err err;
    char seen[8][128];
    int n_seen;
} fake;

static void fake_generation(int generation)
{
    char path[256];
    if (fake.fd > 0)
        close(fake.fd);
    fake.generation = generation;
    snprintf(fake.etag, sizeof fake.etag, "\"generation %d\"", generation);
    snprintf(path, sizeof path, "%s/blocks-%d", root, generation);
    fake.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fake.fd >= 0);
    struct mg_block_head head = {.magic = MG_BLOCK_MAGIC, .size = SIZE, .data_offset = 4096};
    memcpy(head.etag, fake.etag, sizeof fake.etag);
    assert_int_equal(ftruncate(fake.fd, 4096 + SIZE), 0);
    assert_int_equal(pwrite(fake.fd, &head, sizeof head, 0), sizeof head);
}

static enum mg_err fake_fetch(void *context, const char *url, uint64_t offset, uint64_t bytes, int *fd,
                              struct mg_errmsg *err)
{
    static uint8_t block[MG_BLOCK_BYTES];
    assert_ptr_equal(context, &fake);
    assert_string_equal(url, URL);
    fake.calls++;
    fake.last_offset = offset;
    fake.last_bytes = bytes;
    if (fake.err)
        return mg_err_set(err, fake.err, "example.org answered 404");
    for (uint64_t b = offset / MG_BLOCK_BYTES; b * MG_BLOCK_BYTES < offset + bytes; b++) {
        uint64_t at = b * MG_BLOCK_BYTES, n = SIZE - at < MG_BLOCK_BYTES ? SIZE - at : MG_BLOCK_BYTES;
        uint8_t bit;
        for (uint64_t i = 0; i < n; i++)
            block[i] = byte_at(at + i, fake.generation);
        assert_int_equal(pwrite(fake.fd, block, n, (off_t)(4096 + at)), n);
        assert_int_equal(pread(fake.fd, &bit, 1, (off_t)(sizeof(struct mg_block_head) + b / 8)), 1);
        bit = (uint8_t)(bit | 1 << (b % 8));
        assert_int_equal(pwrite(fake.fd, &bit, 1, (off_t)(sizeof(struct mg_block_head) + b / 8)), 1);
    }
    *fd = fcntl(fake.fd, F_DUPFD_CLOEXEC, 3);
    return MG_OK;
}

static void fake_seen(void *context, const char *name, const char *version)
{
    assert_ptr_equal(context, &fake);
    assert_true(fake.n_seen < 8);
    snprintf(fake.seen[fake.n_seen++], sizeof *fake.seen, "%s %s", name, version);
}

static void new_run(void)
{
    fake.calls = fake.n_seen = 0;
    fake.err = MG_OK;
    mg_vsimoon_use(&files, fake_fetch, fake_seen, &fake);
}

static int setup(void **state)
{
    (void)state;
    char path[256];
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof path, "%s/a.txt", root);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    close(fd);
    files.mounts[0].dirfd = open(root, O_PATH | O_DIRECTORY);
    files.n_mounts = 1;
    CPLSetErrorHandler(CPLQuietErrorHandler);
    mg_vsimoon_install();
    mg_vsimoon_install();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[600];
    mg_vsimoon_use(NULL, NULL, NULL, NULL);
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void check_bytes(VSILFILE *file, uint64_t at, size_t n, int generation)
{
    uint8_t *got = malloc(n);
    assert_int_equal(VSIFSeekL(file, at, SEEK_SET), 0);
    assert_int_equal(VSIFReadL(got, 1, n, file), n);
    assert_int_equal(VSIFTellL(file), at + n);
    for (size_t i = 0; i < n; i++)
        if (got[i] != byte_at(at + i, generation))
            fail_msg("byte %zu behind %llu differs", i, (unsigned long long)at);
    free(got);
}

static void test_local(void **state)
{
    (void)state;
    char text[32] = "";
    VSIStatBufL st;
    new_run();
    assert_int_equal(VSIStatL("/vsimoon/fd/a.txt", &st), 0);
    assert_int_equal(st.st_size, 10);
    assert_true(S_ISREG(st.st_mode));
    VSILFILE *file = VSIFOpenL("/vsimoon/fd/a.txt", "rb");
    assert_non_null(file);
    assert_int_equal(VSIFReadL(text, 3, 2, file), 2);
    assert_string_equal(text, "012345");
    assert_false(VSIFEofL(file));
    assert_int_equal(VSIFReadL(text, 3, 2, file), 1);
    assert_true(VSIFEofL(file));
    assert_int_equal(VSIFSeekL(file, 0, SEEK_END), 0);
    assert_int_equal(VSIFTellL(file), 10);
    assert_int_equal(VSIFReadL(text, 1, 1, file), 0);
    assert_int_equal(VSIFSeekL(file, 1000, SEEK_SET), 0);
    assert_int_equal(VSIFReadL(text, 1, 1, file), 0);
    void *buffers[2] = {text, text + 2};
    vsi_l_offset offsets[2] = {8, 1};
    size_t sizes[2] = {2, 3};
    assert_int_equal(VSIFReadMultiRangeL(2, buffers, offsets, sizes, file), 0);
    assert_memory_equal(text, "89123", 5);
    offsets[0] = 9;
    assert_int_not_equal(VSIFReadMultiRangeL(2, buffers, offsets, sizes, file), 0);
    VSIFCloseL(file);
    assert_int_equal(fake.n_seen, 1);
    assert_memory_equal(fake.seen[0], "fd://a.txt ", 11);
    new_run();
    assert_int_equal(VSIStatL("/vsimoon/fd/a.txt", &st), 0);
    assert_int_equal(fake.n_seen, 1);
    assert_int_equal(fake.calls, 0);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *path, *access;
        enum mg_err err;
    } rows[] = {
        {"/vsimoon/fd/a.txt", "wb", MG_E_FORBIDDEN},  {"/vsimoon/fd/a.txt", "r+b", MG_E_FORBIDDEN},
        {"/vsimoon/fd/a.txt", "ab", MG_E_FORBIDDEN},  {"/vsimoon/fd/b.txt", "rb", MG_E_NO_FILE},
        {"/vsimoon/fd/../x", "rb", MG_E_FORBIDDEN},   {"/vsimoon/etc/passwd", "rb", MG_E_NO_FILE},
        {"/vsimoon/fd/", "rb", MG_E_NO_FILE},         {PATH ".aux.xml", "rb", MG_E_NO_FILE},
        {PATH ".ovr", "rb", MG_E_NO_FILE},            {PATH ".msk?x=1", "rb", MG_E_NO_FILE},
        {"/vsimoon/https/example.org/scene.TFW", "rb", MG_E_NO_FILE},
    };
    new_run();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_errmsg err = {""};
        VSIStatBufL st;
        assert_null(VSIFOpenL(rows[i].path, rows[i].access));
        if (mg_vsimoon_error(&err) != rows[i].err || !err.text[0])
            fail_msg("%s (%s): %s", rows[i].path, rows[i].access, err.text);
        if (rows[i].access[0] == 'r' && !rows[i].access[2])
            assert_int_not_equal(VSIStatL(rows[i].path, &st), 0);
    }
    assert_int_equal(fake.calls, 0);
    assert_int_equal(fake.n_seen, 0);
}

static void test_remote(void **state)
{
    (void)state;
    VSIStatBufL st;
    fake_generation(1);
    new_run();
    assert_int_equal(VSIStatL(PATH, &st), 0);
    assert_int_equal(st.st_size, SIZE);
    VSILFILE *file = VSIFOpenL(PATH, "rb");
    assert_non_null(file);
    check_bytes(file, 0, 16, 1);
    check_bytes(file, 60000, 1000, 1);
    assert_int_equal(fake.calls, 1); /* stat, open and the header: one request */
    assert_int_equal(fake.n_seen, 1);
    assert_string_equal(fake.seen[0], URL " \"generation 1\"");

    check_bytes(file, 10 * MG_BLOCK_BYTES + 5, 3 * MG_BLOCK_BYTES, 1); /* four blocks */
    assert_int_equal(fake.calls, 2);
    assert_int_equal(fake.last_offset, 10 * MG_BLOCK_BYTES);
    assert_int_equal(fake.last_bytes, 4 * MG_BLOCK_BYTES);
    check_bytes(file, 9 * MG_BLOCK_BYTES, 5 * MG_BLOCK_BYTES, 1); /* one of five is missing */
    assert_int_equal(fake.calls, 3);
    assert_int_equal(fake.last_bytes, MG_BLOCK_BYTES);
    check_bytes(file, SIZE - 100, 100, 1); /* the short last block */
    assert_int_equal(fake.calls, 4);
    assert_int_equal(fake.last_bytes, 1234);
    uint8_t spare[8];
    assert_int_equal(VSIFReadL(spare, 1, 8, file), 0);
    assert_true(VSIFEofL(file));

    uint8_t a[100], b[100], c[100];
    void *buffers[3] = {a, b, c};
    vsi_l_offset offsets[3] = {20 * MG_BLOCK_BYTES, 21 * MG_BLOCK_BYTES + 9, 30 * MG_BLOCK_BYTES};
    size_t sizes[3] = {100, 100, 100};
    assert_int_equal(VSIFReadMultiRangeL(3, buffers, offsets, sizes, file), 0);
    assert_int_equal(fake.calls, 6); /* neighbours together, the distant one alone */
    for (int i = 0; i < 100; i++) {
        assert_int_equal(b[i], byte_at(offsets[1] + (uint64_t)i, 1));
        assert_int_equal(c[i], byte_at(offsets[2] + (uint64_t)i, 1));
    }

    /* The next run asks once more (is it still the same file?), and finds all blocks. */
    new_run();
    assert_int_equal(VSIStatL(PATH, &st), 0);
    check_bytes(file, 10 * MG_BLOCK_BYTES, 1000, 1);
    assert_int_equal(fake.calls, 1);
    assert_int_equal(fake.n_seen, 1);
    VSIFCloseL(file);
}

static void test_read_ahead(void **state)
{
    (void)state;
    fake_generation(2);
    new_run();
    VSILFILE *file = VSIFOpenL(PATH, "rb");
    for (uint64_t at = 0; at < SIZE; at += 8000)
        check_bytes(file, at, SIZE - at < 8000 ? SIZE - at : 8000, 2);
    assert_true(fake.calls <= 8); /* 41 blocks, read in order */
    VSIFCloseL(file);
}

static void test_changed(void **state)
{
    (void)state;
    struct mg_errmsg err = {""};
    VSIStatBufL before, after;
    uint8_t spare[10];
    fake_generation(3);
    new_run();
    assert_int_equal(VSIStatL(PATH, &before), 0);
    VSILFILE *file = VSIFOpenL(PATH, "rb");
    check_bytes(file, 0, 100, 3);
    fake_generation(4);
    assert_int_equal(VSIFSeekL(file, 5 * MG_BLOCK_BYTES, SEEK_SET), 0);
    CPLErrorReset();
    assert_int_equal(VSIFReadL(spare, 1, 10, file), 0);
    assert_non_null(strstr(CPLGetLastErrorMsg(), "changed while it was read"));
    assert_int_equal(mg_vsimoon_error(&err), MG_E_FETCH);
    check_bytes(file, 200, 100, 3); /* what was there stays as it was */
    VSIFCloseL(file);
    new_run();
    assert_int_equal(VSIStatL(PATH, &after), 0);
    assert_true(before.st_mtim.tv_sec != after.st_mtim.tv_sec || before.st_mtim.tv_nsec != after.st_mtim.tv_nsec);
    file = VSIFOpenL(PATH, "rb");
    check_bytes(file, 5 * MG_BLOCK_BYTES, 100, 4);
    VSIFCloseL(file);
}

static void test_fetch_fails(void **state)
{
    (void)state;
    struct mg_errmsg err = {""};
    VSIStatBufL st;
    fake_generation(5);
    new_run();
    fake.err = MG_E_FETCH;
    assert_int_not_equal(VSIStatL(PATH, &st), 0);
    assert_int_equal(mg_vsimoon_error(&err), MG_E_FETCH);
    assert_string_equal(err.text, "example.org answered 404");
    assert_null(VSIFOpenL(PATH, "rb"));
    assert_int_equal(fake.n_seen, 0);
    /* A block file that is not one. */
    fake.err = MG_OK;
    assert_int_equal(pwrite(fake.fd, "X", 1, 0), 1);
    assert_null(VSIFOpenL(PATH, "rb"));
    assert_int_equal(mg_vsimoon_error(&err), MG_E_INTERNAL);
    fake_generation(6);
    assert_int_equal(ftruncate(fake.fd, 5000), 0);
    fake.generation = 6;
    mg_vsimoon_use(&files, NULL, NULL, NULL);
    assert_null(VSIFOpenL(PATH, "rb"));
    assert_int_equal(mg_vsimoon_error(&err), MG_E_FETCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_local),      cmocka_unit_test(test_refused), cmocka_unit_test(test_remote),
        cmocka_unit_test(test_read_ahead), cmocka_unit_test(test_changed), cmocka_unit_test(test_fetch_fails),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
