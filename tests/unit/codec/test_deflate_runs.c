/* Deflate without a search, inflated by zlib: data of every kind come back. */
#include "codec/deflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>

enum { MOST = 70000 };
static uint8_t data[MOST], back[MOST + 1];
static uint64_t seed = 1;

static unsigned chance(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % below;
}

enum kind { NOISE, ZEROS, RUNS, STEEP, ONE_OF_TWO, RAMP, KINDS };
static const char *const names[] = {"noise", "zeros", "runs of every length", "counts that call for long codes",
                                    "two values", "a ramp"};

static void make(enum kind kind, size_t n)
{
    unsigned left = 0, value = 0;
    for (size_t i = 0; i < n; i++)
        switch (kind) {
        case NOISE:
            data[i] = (uint8_t)chance(256);
            break;
        case RUNS:
            if (left == 0) {
                left = 1 + chance(chance(4) ? 12 : 1100);
                value = chance(256);
            }
            left--;
            data[i] = (uint8_t)value;
            break;
        case STEEP: /* each value half as often as the one before: the optimum has longer codes than are allowed */
            for (value = 0; value < 40 && chance(2);)
                value++;
            data[i] = (uint8_t)(value * 5);
            break;
        case ONE_OF_TWO:
            data[i] = chance(2) ? 7 : 200;
            break;
        case RAMP:
            data[i] = (uint8_t)i;
            break;
        default:
            data[i] = 0;
        }
}

static void check(enum kind kind, size_t n)
{
    struct mg_buf out;
    mg_buf_init(&out, 0);
    make(kind, n);
    mg_deflate_runs(&out, data, n);
    assert_false(out.failed);
    uLongf len = sizeof back;
    int status = uncompress(back, &len, (const Bytef *)out.data, out.len);
    if (status != Z_OK || len != n || memcmp(back, data, n) != 0)
        fail_msg("%s, %zu bytes: zlib says %d and gives %lu", names[kind], n, status, len);
    mg_buf_fini(&out);
}

static void test_back(void **state)
{
    (void)state;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (size_t n = 0; n < 600; n++)
            check(kind, n);
        for (int i = 0; i < 40; i++)
            check(kind, chance(MOST));
        check(kind, MOST);
    }
}

/* Noise costs little more than itself, and zeros next to nothing. */
static void test_size(void **state)
{
    (void)state;
    static const struct {
        enum kind kind;
        size_t most;
    } rows[] = {{NOISE, MOST + 400}, {ZEROS, 400}, {ONE_OF_TWO, MOST / 8 * 3 / 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf out;
        mg_buf_init(&out, 0);
        make(rows[i].kind, MOST);
        mg_deflate_runs(&out, data, MOST);
        if (out.len > rows[i].most)
            fail_msg("%s: %zu bytes, at most %zu were expected", names[rows[i].kind], out.len, rows[i].most);
        mg_buf_fini(&out);
    }
}

static void test_limit(void **state)
{
    (void)state;
    struct mg_buf out;
    mg_buf_init(&out, 1000);
    make(NOISE, MOST);
    mg_deflate_runs(&out, data, MOST);
    assert_int_equal(mg_buf_status(&out, NULL), MG_E_UDF_OUTPUT);
    mg_buf_fini(&out);
}

static void test_repeats(void **state)
{
    (void)state;
    make(NOISE, MOST);
    assert_false(mg_deflate_repeats(data, MOST, 257));
    make(ZEROS, MOST);
    assert_false(mg_deflate_repeats(data, MOST, 257));
    make(RAMP, MOST); /* the same 256 bytes again and again */
    assert_true(mg_deflate_repeats(data, MOST, 257));
    for (size_t n = 0; n < 64; n++)
        assert_false(mg_deflate_repeats(data, n, 7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_back),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
