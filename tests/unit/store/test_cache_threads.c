/* Threads that get, put and purge the same few entries while the bound evicts them and a tender
 * runs. */
#include "moongate/cache.h"
#include "store/cache_internal.h"

#include "store/entries.h"
#include "store/scratch.h"

#include <pthread.h>

static struct mg_cache *shared;
static _Atomic int wrong_n, right_n;

static void *work(void *number)
{
    unsigned seed = (unsigned)(uintptr_t)number + 1;
    for (int i = 0; i < 3000; i++) {
        uint64_t n = (uint64_t)rand_r(&seed) % 64;
        size_t len = 500 * (size_t)n + (n % 32 == 0 ? CACHE_INLINE_MAX + 1 : 0);
        switch (rand_r(&seed) % 8) {
        case 0:
            put(shared, n, n % 4, len);
            break;
        case 1:
            if (i % 97 == 0) {
                struct mg_hash group = name_of(n % 4);
                assert_int_equal(mg_cache_purge(shared, &group, NULL, NULL), MG_OK);
            }
            break;
        default: {
            enum seen seen = get(shared, n, len);
            wrong_n += seen == WRONG;
            right_n += seen == RIGHT;
        }
        }
    }
    return NULL;
}

static void test_threads(void **context)
{
    (void)context;
    pthread_t threads[4];
    struct mg_cache_stats stats;
    char *dir = scratch_make();
    assert_int_equal(mg_cache_open(dir, 4 << 20, &shared, NULL), MG_OK);
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (int i = 0; i < 20; i++)
        mg_cache_tend(shared);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    mg_cache_stats(shared, &stats);
    assert_int_equal(wrong_n, 0);
    assert_int_equal(stats.damaged, 0);
    assert_true(right_n > 0);
    mg_cache_close(&shared);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
