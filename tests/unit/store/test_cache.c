/* What get gives is what put got, or nothing: through replacement, purge, eviction, damage and
 * threads. */
#include "moongate/cache.h"
#include "store/cache_internal.h"
#include "store/entries.h"

#include "store/scratch.h"

#include <sys/stat.h>
#include <sys/wait.h>

enum { LARGE = 3 << 20 };

static char *dir;
static char data_name[600];

static int set_up(void **context)
{
    (void)context;
    dir = scratch_make();
    snprintf(data_name, sizeof data_name, "%s/db/data.mdb", dir);
    return 0;
}

static int tear_down(void **context)
{
    (void)context;
    scratch_remove(dir);
    return 0;
}

static struct mg_cache *open_cache(uint64_t max_bytes)
{
    struct mg_cache *cache = NULL;
    struct mg_errmsg err = {""};
    if (mg_cache_open(dir, max_bytes, &cache, &err) != MG_OK)
        fail_msg("the cache opens: %s", err.text);
    return cache;
}

static void test_life(void **context)
{
    (void)context;
    static const size_t sizes[] = {
        0, 1, 100, 1900, 2100, 4096, 40000, CACHE_INLINE_MAX, CACHE_INLINE_MAX + 1, LARGE};
    enum { N = sizeof sizes / sizeof *sizes };
    struct mg_cache_stats stats;
    for (int round = 0; round < 2; round++) {
        struct mg_cache *cache = open_cache(64 << 20);
        for (size_t i = 0; i < N; i++) {
            if (round == 0)
                assert_int_equal(put(cache, i, i % 2, sizes[i]), MG_OK);
            assert_int_equal(get(cache, i, sizes[i]), RIGHT);
        }
        assert_int_equal(get(cache, 99, 1), MISS);
        mg_cache_stats(cache, &stats);
        assert_int_equal(stats.entries, N);
        mg_cache_close(&cache);
        assert_null(cache);
    }
    struct mg_cache *cache = open_cache(64 << 20);
    for (size_t i = 0; i < N;
         i++) /* replaced by another length, inline by file and file by inline */
        assert_int_equal(put(cache, i, i % 2, sizes[N - 1 - i]), MG_OK);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(get(cache, i, sizes[N - 1 - i]), RIGHT);
    int64_t deleted = -1;
    struct mg_hash group = name_of(1), key = name_of(0);
    assert_int_equal(mg_cache_purge(cache, &group, &deleted, NULL), MG_OK);
    assert_int_equal(deleted, N / 2);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(get(cache, i, sizes[N - 1 - i]), i % 2 ? MISS : RIGHT);
    assert_int_equal(mg_cache_del(cache, &key), MG_OK);
    assert_int_equal(mg_cache_del(cache, &key), MG_OK);
    assert_int_equal(get(cache, 0, sizes[N - 1]), MISS);
    assert_int_equal(mg_cache_purge(cache, NULL, &deleted, NULL), MG_OK);
    assert_int_equal(deleted, N / 2 - 1);
    mg_cache_stats(cache, &stats);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.bytes, 0);
    assert_int_equal(stats.damaged, 0);
    assert_int_equal(put(cache, 1, 1, 33 << 20), MG_E_TOO_LARGE);
    mg_cache_close(&cache);
}

static uint64_t files_bytes;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)path;
    (void)walk;
    if (type == FTW_F)
        files_bytes += (uint64_t)st->st_size;
    return 0;
}

static void test_bound(void **context)
{
    (void)context;
    const uint64_t bound = 8 << 20;
    struct mg_cache *cache = open_cache(bound);
    struct mg_cache_stats stats;
    for (uint64_t n = 0; n < 2000; n++) {
        assert_int_equal(
            put(cache, n, 1, n % 50 == 0 ? (size_t)CACHE_INLINE_MAX + 5 : 20000 + n * 13 % 20000),
            MG_OK);
        assert_int_equal(
            get(cache, n, n % 50 == 0 ? (size_t)CACHE_INLINE_MAX + 5 : 20000 + n * 13 % 20000),
            RIGHT);
        if (n > 0 &&
            n % 2 == 0) /* entry 1 is used all the time, so it stays, though it is the oldest */
            assert_int_equal(get(cache, 1, 20013), RIGHT);
        if (n % 100 == 0)
            mg_cache_tend(cache);
        mg_cache_stats(cache, &stats);
        assert_true((uint64_t)stats.bytes <= bound);
    }
    assert_int_equal(get(cache, 3, 20039), MISS);
    assert_true(stats.evicted > 1000);
    files_bytes = 0;
    nftw(dir, count_file, 16, FTW_PHYS);
    if (files_bytes > bound + bound / 2)
        fail_msg("the folder has %llu bytes at a bound of %llu", (unsigned long long)files_bytes,
                 (unsigned long long)bound);
    mg_cache_close(&cache);
}

/* A map without any spare space: what does not fit makes room by itself. */
static void test_map_full(void **context)
{
    (void)context;
    struct mg_cache *cache = open_cache(100 << 20);
    cache->max_bytes = UINT64_C(1) << 40;
    for (uint64_t n = 0; n < 600; n++)
        assert_int_equal(put(cache, n, 1, 500000 + n * 700 % 500000), MG_OK);
    assert_int_equal(get(cache, 599, 500000 + 599 * 700 % 500000), RIGHT);
    mg_cache_close(&cache);
}

static void flip(const char *name, unsigned *seed, int n)
{
    struct stat st;
    int fd = open(name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    for (int i = 0; i < n; i++) {
        unsigned char byte;
        off_t at =
            (off_t)(((uint64_t)rand_r(seed) << 16 ^ (uint64_t)rand_r(seed)) % (uint64_t)st.st_size);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= (unsigned char)(1 + rand_r(seed) % 255);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
}

/* Each round in a child, so that a crash inside LMDB counts as a failure of the row, not of the
 * run. */
static int damaged_round(unsigned seed, int flips, bool *rebuilt)
{
    struct mg_cache *cache = open_cache(64 << 20);
    for (uint64_t n = 0; n < 300; n++)
        assert_int_equal(put(cache, n, n % 3, n % 3 ? 200 + n : 9000 + n), MG_OK);
    for (uint64_t n = 0; n < 300; n += 2)
        assert_int_equal(put(cache, n, n % 3, n % 3 ? 200 + n : 9000 + n), MG_OK);
    mg_cache_close(&cache);
    flip(data_name, &seed, flips);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int wrong = 0, misses = 0;
        if (mg_cache_open(dir, 64 << 20, &cache, NULL) != MG_OK)
            _exit(90);
        for (uint64_t n = 0; n < 300; n++) {
            enum seen seen = get(cache, n, n % 3 ? 200 + n : 9000 + n);
            wrong += seen == WRONG;
            misses += seen == MISS;
        }
        for (uint64_t n = 0; n < 300; n++) /* it must still take writes */
            put(cache, n, n % 3, 5000);
        mg_cache_tend(cache);
        mg_cache_close(&cache);
        _exit(wrong ? 91 : misses == 300 ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    *rebuilt = WIFEXITED(status) && WEXITSTATUS(status) == 1;
    if (WIFSIGNALED(status))
        return 100 + WTERMSIG(status);
    return WEXITSTATUS(status) >= 90 ? WEXITSTATUS(status) : 0;
}

static void test_flips(void **context)
{
    (void)context;
    int rebuilt_n = 0, kept = 0;
    for (unsigned seed = 1; seed <= 60; seed++) {
        bool rebuilt;
        int bad = damaged_round(seed, seed % 2 ? 1 : 40, &rebuilt);
        if (bad)
            fail_msg("seed %u: %s (%d)", seed,
                     bad == 91 ? "wrong bytes were given" : "no crash, no error", bad);
        rebuilt_n += rebuilt;
        kept += !rebuilt;
        scratch_remove(dir);
        set_up(NULL);
    }
    assert_true(rebuilt_n > 0);
    assert_true(kept > 0);
}

static void test_set_aside(void **context)
{
    (void)context;
    static const struct {
        off_t len;
        const char *why;
    } rows[] = {
        {0, "an empty file is a new cache"},      {1, "one byte is no cache"},
        {4096, "half a head is no cache"},        {8192, "a head without its pages is set aside"},
        {20480, "a file cut short is set aside"},
    };
    char aside[600];
    snprintf(aside, sizeof aside, "%s/db.damaged/data.mdb", dir);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_cache *cache = open_cache(64 << 20);
        for (uint64_t n = 0; n < 50; n++)
            assert_int_equal(put(cache, n, 1, 10000), MG_OK);
        mg_cache_close(&cache);
        assert_int_equal(truncate(data_name, rows[i].len), 0);
        cache = open_cache(64 << 20);
        if ((access(aside, F_OK) == 0) != (rows[i].len > 0) || get(cache, 1, 10000) != MISS ||
            put(cache, 1, 1, 10000) != MG_OK || get(cache, 1, 10000) != RIGHT)
            fail_msg("%s", rows[i].why);
        mg_cache_close(&cache);
        cache = open_cache(64 << 20);
        if (access(aside, F_OK) == 0 || get(cache, 1, 10000) != RIGHT)
            fail_msg("%s: and the next start finds the new one well", rows[i].why);
        mg_cache_close(&cache);
    }
}

static int spoil(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    static unsigned seed = 7;
    (void)st;
    (void)walk;
    if (type == FTW_F && strstr(path, "/files/"))
        flip(path, &seed, 1);
    return 0;
}

static void test_damaged_file(void **context)
{
    (void)context;
    struct mg_cache *cache = open_cache(64 << 20);
    struct mg_cache_stats stats;
    assert_int_equal(put(cache, 1, 1, LARGE), MG_OK);
    assert_int_equal(get(cache, 1, LARGE), RIGHT);
    nftw(dir, spoil, 16, FTW_PHYS);
    assert_int_equal(get(cache, 1, LARGE), MISS);
    mg_cache_stats(cache, &stats);
    assert_int_equal(stats.damaged, 1);
    assert_int_equal(stats.entries, 0);
    files_bytes = 0;
    char files[600];
    snprintf(files, sizeof files, "%s/files", dir);
    nftw(files, count_file, 16, FTW_PHYS);
    assert_int_equal(files_bytes, 0);
    mg_cache_close(&cache);
}

/* A body out of a descriptor is the same entry as one out of memory. */
static void test_descriptor(void **context)
{
    (void)context;
    static const size_t sizes[] = {0, 1, 262144, 262145, LARGE, LARGE + 3};
    struct mg_cache *cache = open_cache(64 << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct mg_hash key = name_of(i), group = name_of(7);
        char meta[32], *body = malloc(sizes[i] + 5);
        int meta_len = snprintf(meta, sizeof meta, "meta %zu", i);
        memcpy(body, "head", 4);
        fill(body + 4, sizes[i], i);
        FILE *file = tmpfile();
        assert_int_equal(fwrite(body, 1, sizes[i] + 4, file), sizes[i] + 4);
        fflush(file);
        struct mg_span head = {meta, (size_t)meta_len};
        if (sizes[i])
            assert_int_equal(mg_cache_put_fd(cache, &key, &group, head, fileno(file), 5, sizes[i], NULL), MG_E_IO);
        assert_int_equal(get(cache, i, sizes[i]), MISS);
        assert_int_equal(mg_cache_put_fd(cache, &key, &group, head, fileno(file), 4, sizes[i], NULL), MG_OK);
        assert_int_equal(get(cache, i, sizes[i]), RIGHT);
        fclose(file);
        free(body);
    }
    int64_t deleted;
    struct mg_hash group = name_of(7);
    assert_int_equal(mg_cache_purge(cache, &group, &deleted, NULL), MG_OK);
    assert_int_equal(deleted, sizeof sizes / sizeof *sizes);
    files_bytes = 0;
    char files[600];
    snprintf(files, sizeof files, "%s/files", dir);
    nftw(files, count_file, 16, FTW_PHYS);
    assert_int_equal(files_bytes, 0);
    mg_cache_close(&cache);
}

static void test_as_made(void **context)
{
    (void)context;
    struct mg_cache_stats stats;
    struct mg_cache *cache = open_cache(32 << 20);
    mg_cache_close(&cache);
    cache = open_cache(0);
    mg_cache_stats(cache, &stats);
    assert_true(stats.max_bytes >= (32 << 20) - 4096 && stats.max_bytes <= (32 << 20) + 4096);
    mg_cache_close(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_map_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flips, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_set_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_descriptor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_as_made, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
