/* gzip, decoded by ISA-L's inflate: round trips, equal bytes for equal input, and the limit. */
#include "image_make.h"

#include <isa-l/igzip_lib.h>

static size_t gunzip(const struct mg_buf *file, char *out, size_t size)
{
    struct inflate_state state;
    isal_inflate_init(&state);
    state.crc_flag = ISAL_GZIP;
    state.next_in = (uint8_t *)file->data;
    state.avail_in = (uint32_t)file->len;
    state.next_out = (uint8_t *)out;
    state.avail_out = (uint32_t)size;
    assert_int_equal(isal_inflate(&state), ISAL_DECOMP_OK);
    assert_int_equal(state.block_state, ISAL_BLOCK_FINISH);
    assert_int_equal(state.avail_in, 0);
    return state.total_out;
}

static void test_round_trip(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 4096, 65535, 65536, 1000000, 3000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int kind = 0; kind < 2; kind++) {
            size_t n = sizes[i];
            char *in = malloc(n + 1), *back = malloc(n + 1);
            for (size_t k = 0; k < n; k++)
                in[k] = kind ? (char)noise((int)k, 1, 2) : "{\"type\":\"Feature\",\"id\":"[k % 23];
            struct mg_buf a, b;
            mg_buf_init(&a, 0);
            mg_buf_init(&b, 0);
            assert_int_equal(mg_gzip((struct mg_span){in, n}, &a), MG_OK);
            assert_int_equal(mg_gzip((struct mg_span){in, n}, &b), MG_OK);
            assert_int_equal(a.len, b.len);
            assert_memory_equal(a.data, b.data, a.len);
            assert_memory_equal(a.data, "\x1f\x8b\x08\x00\x00\x00\x00\x00", 8);
            assert_int_equal(gunzip(&a, back, n + 1), n);
            assert_memory_equal(in, back, n);
            if (!kind && n > 1000)
                assert_true(a.len < n / 10);
            mg_buf_fini(&a);
            mg_buf_fini(&b);
            free(in);
            free(back);
        }
}

static void test_limit(void **state)
{
    (void)state;
    char in[20000];
    for (size_t k = 0; k < sizeof in; k++)
        in[k] = (char)noise((int)k, 1, 2);
    struct mg_buf out;
    mg_buf_init(&out, 10000);
    assert_int_equal(mg_gzip((struct mg_span){in, sizeof in}, &out), MG_E_UDF_OUTPUT);
    mg_buf_fini(&out);
}

/* In pieces of `step` bytes out of `in` into `out`. */
struct pipe {
    struct mg_span in;
    size_t step;
    struct mg_buf out;
};

static enum mg_err take(void *context, struct mg_span *piece)
{
    struct pipe *p = context;
    *piece = (struct mg_span){p->in.data, p->in.len < p->step ? p->in.len : p->step};
    p->in.data += piece->len;
    p->in.len -= piece->len;
    return MG_OK;
}

static enum mg_err give(void *context, struct mg_span piece)
{
    struct pipe *p = context;
    mg_buf_put(&p->out, piece.data, piece.len);
    return p->out.failed ? MG_E_TOO_LARGE : MG_OK;
}

static void test_pieces(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 262143, 262144, 262145, 3000001}, 
                        steps[] = {1, 7, 4096, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int kind = 0; kind < 2; kind++) {
            size_t n = sizes[i];
            char *in = malloc(n + 1), *back = malloc(n + 1);
            for (size_t k = 0; k < n; k++)
                in[k] = kind ? (char)noise((int)k, 1, 2) : "{\"type\":\"Feature\",\"id\":"[k % 23];
            struct pipe packed = {{NULL, 0}, 0, {0}};
            assert_int_equal(mg_gzip_pieces((struct mg_span){in, n}, give, &packed), MG_OK);
            assert_int_equal(gunzip(&packed.out, back, n + 1), n);
            assert_memory_equal(in, back, n);
            struct mg_span gz = {packed.out.data, packed.out.len};
            for (size_t s = n > 1000 ? 2 : 0; s < sizeof steps / sizeof *steps; s++) { /* tiny steps: small ones */
                struct pipe whole = {gz, steps[s], {0}}, cut = {{gz.data, gz.len - 1}, steps[s], {0}};
                assert_int_equal(mg_gunzip_pieces(take, give, &whole), MG_OK);
                assert_int_equal(whole.out.len, n);
                if (n)
                    assert_memory_equal(in, whole.out.data, n);
                assert_int_equal(mg_gunzip_pieces(take, give, &cut), MG_E_INVALID);
                mg_buf_fini(&whole.out);
                mg_buf_fini(&cut.out);
            }
            /* What the sink says ends it; damage is told. */
            struct pipe full = {gz, 4096, {.max_bytes = n / 2 + 1}};
            if (n > 100)
                assert_int_equal(mg_gunzip_pieces(take, give, &full), MG_E_TOO_LARGE);
            mg_buf_fini(&full.out);
            packed.out.data[gz.len - 6] ^= 1; /* of the checksum */
            struct pipe damaged = {gz, 4096, {0}};
            assert_int_equal(mg_gunzip_pieces(take, give, &damaged), MG_E_INVALID);
            mg_buf_fini(&damaged.out);
            mg_buf_fini(&packed.out);
            free(in);
            free(back);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_limit),
                                       cmocka_unit_test(test_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
