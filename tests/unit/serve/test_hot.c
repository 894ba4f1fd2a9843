/* The hot tier: what was put is found, what was used stays longest, and the bound holds. */
#include "serve/hot.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct mg_hash key_of(int i)
{
    struct mg_hash key;
    mg_sha256(&i, sizeof i, &key);
    key.bytes[31] = 0; /* one shard */
    return key;
}

static void put(struct mg_hot *hot, int i, size_t bytes)
{
    struct mg_answer *answer = mg_answer_new();
    char *memory = calloc(1, bytes + 1);
    struct mg_hash key = key_of(i);
    memory[0] = (char)i;
    mg_answer_set_body(answer, memory, (struct mg_span){memory, bytes});
    mg_hot_put(hot, &key, answer);
    mg_answer_unref(&answer);
}

static bool has(struct mg_hot *hot, int i)
{
    struct mg_hash key = key_of(i);
    struct mg_answer *answer = mg_hot_get(hot, &key);
    if (answer)
        assert_int_equal(answer->body.data[0], (char)i);
    bool found = answer != NULL;
    mg_answer_unref(&answer);
    return found;
}

static void finds_and_replaces(void **state)
{
    struct mg_hot *hot = mg_hot_new(16 << 20);
    (void)state;
    assert_false(has(hot, 1));
    put(hot, 1, 100);
    put(hot, 2, 100);
    put(hot, 1, 200);
    struct mg_hash key = key_of(1);
    struct mg_answer *answer = mg_hot_get(hot, &key);
    assert_int_equal(answer->body.len, 200);
    for (int i = 0; i < 200; i++)
        put(hot, 100 + i, 100000); /* pushes all of it out */
    assert_false(has(hot, 1));
    assert_int_equal(answer->body.len, 200); /* our reference holds it */
    assert_int_equal(answer->refs, 1);
    mg_answer_unref(&answer);
    mg_hot_free(&hot);
}

static void used_ones_stay(void **state)
{
    struct mg_hot *hot = mg_hot_new(16 * 10 * 1600); /* ten of 1,000 bytes in a shard, and a few more */
    (void)state;
    put(hot, 0, 1000);
    for (int i = 1; i < 1000; i++) {
        assert_true(has(hot, 0));
        put(hot, i, 1000);
    }
    int kept = 0;
    for (int i = 0; i < 1000; i++)
        kept += has(hot, i);
    assert_in_range(kept, 5, 16);
    mg_hot_free(&hot);
}

static void refuses(void **state)
{
    struct mg_hot *hot = mg_hot_new(64 << 20);
    (void)state;
    put(hot, 1, (1 << 20) + 1);
    assert_false(has(hot, 1)); /* over 1 MB */
    put(hot, 2, 1 << 20);
    assert_true(has(hot, 2));
    mg_hot_free(&hot);
    hot = mg_hot_new(16 * 1000);
    put(hot, 3, 2000);
    assert_false(has(hot, 3)); /* more than a shard */
    mg_hot_free(&hot);
}

static void *worker(void *context)
{
    struct mg_hot *hot = context;
    for (int i = 0; i < 3000; i++) {
        if (i % 3)
            has(hot, i % 40);
        else
            put(hot, i % 40, 900);
    }
    return NULL;
}

static void threads(void **state)
{
    struct mg_hot *hot = mg_hot_new(16 * 20 * 1600);
    pthread_t ids[4];
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, worker, hot), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(ids[i], NULL);
    mg_hot_free(&hot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_and_replaces), cmocka_unit_test(used_ones_stay),
                                       cmocka_unit_test(refuses), cmocka_unit_test(threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
