/* Block files on disk: what a kill, damage, another boot and the quota leave. */
#include "fetch/blocks.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { LIMIT = 64 << 20 };
static char folder[] = "/tmp/mg_test_blocks_XXXXXX";
static uint8_t bytes[MG_BLOCK_BYTES];

static int setup(void **state)
{
    (void)state;
    memset(bytes, 0x5a, sizeof bytes);
    return mkdtemp(folder) ? 0 : -1;
}
static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static struct mg_block_store *open_store(uint64_t quota)
{
    struct mg_block_store *store;
    int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mg_block_store_open(root, LIMIT, quota, &store, NULL), MG_OK);
    return store;
}
static void path_of(const struct mg_block_file *file, char *out, size_t size)
{
    snprintf(out, size, "%s/%s/%s", folder, file->org, file->key);
}
static bool is_there(struct mg_block_store *store, const char *url)
{
    struct mg_block_file *file = NULL;
    bool found = mg_block_open(store, "o", url, &file) == MG_OK;
    mg_block_close(&file);
    return found;
}
static void make(struct mg_block_store *store, const char *url, int n_blocks)
{
    struct mg_block_file *file;
    assert_int_equal(mg_block_create(store, "o", url, (uint64_t)n_blocks * MG_BLOCK_BYTES, "\"e\"", &file, NULL), MG_OK);
    for (int i = 0; i < n_blocks; i++)
        assert_int_equal(mg_block_put(file, (uint64_t)i, bytes, sizeof bytes, NULL), MG_OK);
    mg_block_close(&file);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct mg_block_store *store = open_store(1 << 30);
    struct mg_block_file *file;
    assert_int_equal(mg_block_open(store, "o", "u", &file), MG_E_NOT_FOUND);
    assert_int_equal(mg_block_create(store, "o", "u", 9 * MG_BLOCK_BYTES + 5, "\"e\"", &file, NULL), MG_OK);
    assert_int_equal(mg_block_put(file, 9, bytes, 5, NULL), MG_OK);
    assert_int_equal(mg_block_put(file, 2, bytes, sizeof bytes, NULL), MG_OK);
    mg_block_close(&file);
    mg_block_store_close(&store);
    store = open_store(1 << 30);
    assert_int_equal(mg_block_open(store, "o", "u", &file), MG_OK);
    assert_int_equal(file->n_blocks, 10);
    assert_string_equal(file->head.etag, "\"e\"");
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(mg_block_has(file, i), i == 2 || i == 9);
    mg_block_close(&file);
    assert_int_equal(mg_block_open(store, "p", "u", &file), MG_E_NOT_FOUND);
    mg_block_store_close(&store);
}

/* A file of unknown size has no name until its end. */
static void test_draft(void **state)
{
    (void)state;
    struct mg_block_store *store = open_store(1 << 30);
    struct mg_block_file *file;
    assert_int_equal(mg_block_create(store, "o", "draft", MG_SIZE_UNKNOWN, "", &file, NULL), MG_OK);
    assert_int_equal(mg_block_put(file, 0, bytes, 100, NULL), MG_OK);
    assert_false(is_there(store, "draft"));
    assert_int_equal(mg_block_size(file, 100, NULL), MG_OK);
    assert_true(is_there(store, "draft"));
    mg_block_close(&file);
    assert_true(is_there(store, "draft"));
    assert_int_equal(mg_block_create(store, "o", "draft2", MG_SIZE_UNKNOWN, "", &file, NULL), MG_OK);
    mg_block_close(&file);
    assert_false(is_there(store, "draft2"));
    /* A killed process leaves a draft behind; the next start deletes it and keeps the rest. */
    char path[256];
    struct stat st;
    snprintf(path, sizeof path, "%s/o/draft-99", folder);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    close(fd);
    mg_block_store_close(&store);
    store = open_store(1 << 30);
    assert_int_not_equal(stat(path, &st), 0);
    assert_true(is_there(store, "draft"));
    mg_block_store_close(&store);
}

static void test_damage(void **state)
{
    (void)state;
    static const struct {
        off_t at;
        const char *bytes;
        size_t n;
        off_t cut; /* the file's new length; -1: none */
        const char *sentence;
    } rows[] = {
        {0, "X", 1, -1, "magic"},
        {8, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, -1, "size"},
        {16, "\1", 1, -1, "data offset"},
        {sizeof(struct mg_block_head) - 1, "x", 1, -1, "an ETag without an end"},
        {0, "", 0, 100, "cut in the head"},
        {0, "", 0, 70000, "cut in the data"},
        {0, "", 0, 0, "empty"},
    };
    struct mg_block_store *store = open_store(1 << 30);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_block_file *file;
        char path[256];
        make(store, "damaged", 2);
        assert_int_equal(mg_block_open(store, "o", "damaged", &file), MG_OK);
        path_of(file, path, sizeof path);
        mg_block_close(&file);
        int fd = open(path, O_RDWR);
        assert_int_equal(pwrite(fd, rows[i].bytes, rows[i].n, rows[i].at), rows[i].n);
        if (rows[i].cut >= 0)
            assert_int_equal(ftruncate(fd, rows[i].cut), 0);
        close(fd);
        if (is_there(store, "damaged"))
            fail_msg("%s is not noticed", rows[i].sentence);
    }
    mg_block_store_close(&store);
}

static void test_another_boot(void **state)
{
    (void)state;
    char path[256];
    struct mg_block_store *store = open_store(1 << 30);
    make(store, "boot", 1);
    mg_block_store_close(&store);
    store = open_store(1 << 30);
    assert_true(is_there(store, "boot"));
    mg_block_store_close(&store);
    snprintf(path, sizeof path, "%s/.boot", folder);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "another", 7), 7);
    close(fd);
    store = open_store(1 << 30);
    assert_false(is_there(store, "boot"));
    mg_block_store_close(&store);
}

static void set_age(struct mg_block_store *store, const char *url, int seconds)
{
    struct mg_block_file *file;
    struct timespec times[2] = {{.tv_sec = 1000000 - seconds}, {.tv_sec = 1000000 - seconds}};
    assert_int_equal(mg_block_open(store, "o", url, &file), MG_OK);
    assert_int_equal(futimens(file->fd, times), 0);
    mg_block_close(&file);
}

static void test_quota(void **state)
{
    (void)state;
    enum { QUOTA = 64 * MG_BLOCK_BYTES };
    char url[16];
    struct mg_block_store *store = open_store(QUOTA);
    for (int i = 0; i < 3; i++) { /* 15 blocks each, within the quota */
        snprintf(url, sizeof url, "q%d", i);
        make(store, url, 15);
        set_age(store, url, 100 - i);
    }
    struct mg_block_file *file;
    assert_int_equal(mg_block_open(store, "o", "q0", &file), MG_OK);
    mg_block_touch(file); /* the oldest was used just now */
    mg_block_close(&file);
    make(store, "q3", 40);
    assert_false(is_there(store, "q1"));
    assert_false(is_there(store, "q2"));
    assert_true(is_there(store, "q0"));
    assert_true(is_there(store, "q3"));
    mg_block_store_close(&store);
}

static void test_forget(void **state)
{
    (void)state;
    struct mg_block_store *store = open_store(1 << 30);
    struct mg_block_file *old, *young;
    assert_int_equal(mg_block_create(store, "o", "f", 10, "1", &old, NULL), MG_OK);
    assert_int_equal(mg_block_create(store, "o", "f", 10, "2", &young, NULL), MG_OK);
    mg_block_forget(old); /* no longer the one of that name */
    assert_true(is_there(store, "f"));
    mg_block_forget(young);
    assert_false(is_there(store, "f"));
    mg_block_close(&old);
    mg_block_close(&young);
    mg_block_store_close(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_draft), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_another_boot), cmocka_unit_test(test_quota), cmocka_unit_test(test_forget),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
