/* Runs on the wire: what is packed comes back; every cut and every flipped byte is refused or read,
 * never a crash. */
#include "moongate/run_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct mg_run_request request = {.mode = MG_RUN_VALUE,
                                              .org = {"local", 5},
                                              .udf = {"Hello", 5},
                                              .code = {{1, 2, 3}},
                                              .args = {"ARGS", 4},
                                              .extra = {"", 0},
                                              .has_tile = true,
                                              .z = 3,
                                              .x = 4,
                                              .y = 5,
                                              .tile_size = 512,
                                              .formats = {"png,mvt", 7},
                                              .vector = {"mvt", 3},
                                              .raster = {"png", 3},
                                              .accepts = {"a/b", 3},
                                              .options = {"OPT", 3},
                                              .deadline_ms = 30000,
                                              .depth = 2,
                                              .lua_bytes = 1 << 28,
                                              .result_bytes = 1 << 26,
                                              .owner = true,
                                              .gzip = true};

static const struct mg_run_result result = {.err = MG_E_UDF,
                                            .message = {"m", 1},
                                            .file = {"f.lua", 5},
                                            .line = 12,
                                            .traceback = {"tb", 2},
                                            .log = {"log", 3},
                                            .status = 500,
                                            .codec = {"json", 4},
                                            .mime = {"application/json", 16},
                                            .by_accept = true,
                                            .compressible = true,
                                            .gzip = true,
                                            .identity_bytes = 1000,
                                            .empty = true,
                                            .retire = true,
                                            .max_age_s = -1,
                                            .lua_us = 1,
                                            .encode_us = 2,
                                            .cpu_us = 3,
                                            .headers = {"H", 1},
                                            .deps = {"D", 1},
                                            .body = {"the body of it", 14}};

static void assert_span(struct mg_span a, struct mg_span b)
{
    assert_true(mg_span_eq(a, b));
}

static void test_request(void **state)
{
    (void)state;
    struct mg_buf packed;
    struct mg_run_request got;
    mg_buf_init(&packed, 0);
    mg_run_request_pack(&request, &packed);
    assert_int_equal(mg_run_request_unpack((struct mg_span){packed.data, packed.len}, &got), MG_OK);
    assert_int_equal(got.mode, request.mode);
    assert_span(got.org, request.org);
    assert_span(got.udf, request.udf);
    assert_true(mg_hash_eq(&got.code, &request.code));
    assert_span(got.args, request.args);
    assert_span(got.extra, request.extra);
    assert_true(got.has_tile && got.owner && got.gzip);
    assert_int_equal(got.z * 1000 + got.x * 100 + got.y, 3405);
    assert_int_equal(got.tile_size, 512);
    assert_span(got.formats, request.formats);
    assert_span(got.vector, request.vector);
    assert_span(got.raster, request.raster);
    assert_span(got.accepts, request.accepts);
    assert_span(got.options, request.options);
    assert_int_equal(got.deadline_ms, 30000);
    assert_int_equal(got.depth, 2);
    assert_int_equal(got.lua_bytes, 1 << 28);
    assert_int_equal(got.result_bytes, 1 << 26);
    for (size_t len = 0; len < packed.len; len++) /* every cut */
        assert_int_equal(mg_run_request_unpack((struct mg_span){packed.data, len}, &got),
                         MG_E_INVALID);
    mg_buf_char(&packed, 'n'); /* and something more */
    assert_int_equal(mg_run_request_unpack((struct mg_span){packed.data, packed.len}, &got),
                     MG_E_INVALID);
    mg_buf_fini(&packed);
}

static void assert_same_meta(const struct mg_run_result *got)
{
    assert_int_equal(got->err, result.err);
    assert_span(got->message, result.message);
    assert_span(got->file, result.file);
    assert_int_equal(got->line, 12);
    assert_span(got->traceback, result.traceback);
    assert_span(got->log, result.log);
    assert_int_equal(got->status, 500);
    assert_span(got->codec, result.codec);
    assert_span(got->mime, result.mime);
    assert_true(got->by_accept && got->compressible && got->gzip && got->empty && got->retire);
    assert_int_equal(got->identity_bytes, 1000);
    assert_int_equal(got->max_age_s, -1);
    assert_int_equal(got->lua_us * 100 + got->encode_us * 10 + got->cpu_us, 123);
    assert_span(got->headers, result.headers);
    assert_span(got->deps, result.deps);
}

static void test_result(void **state)
{
    (void)state;
    struct mg_buf packed;
    struct mg_run_result got;
    struct mg_result_head head;
    mg_buf_init(&packed, 0);
    mg_run_result_pack(&result, true, &packed);
    assert_int_equal(mg_run_result_unpack((struct mg_span){packed.data, packed.len}, &got), MG_OK);
    assert_same_meta(&got);
    assert_span(got.body, result.body);
    assert_int_equal((got.body.data - packed.data) % 64, 0);
    memcpy(&head, packed.data, sizeof head);
    assert_int_equal(got.body.data - packed.data, mg_result_body_offset(&head));
    size_t meta_end = sizeof head + head.meta_bytes;
    for (size_t len = 0; len < packed.len;
         len++) { /* every cut: only the one behind the meta is whole */
        enum mg_err code = mg_run_result_unpack((struct mg_span){packed.data, len}, &got);
        assert_int_equal(code, len == meta_end ? MG_OK : MG_E_INVALID);
    }
    packed.len = 0;
    mg_run_result_pack(&result, false, &packed);
    assert_int_equal(packed.len, meta_end);
    assert_int_equal(mg_run_result_unpack((struct mg_span){packed.data, packed.len}, &got), MG_OK);
    assert_same_meta(&got);
    assert_int_equal(got.body.len, 0);
    mg_buf_fini(&packed);
}

/* A worker can write anything: whatever it is, spans stay within what was given. */
static void test_flipped(void **state)
{
    (void)state;
    struct mg_buf packed;
    mg_buf_init(&packed, 0);
    mg_run_result_pack(&result, true, &packed);
    char *copy = malloc(packed.len); /* exact, so that a sanitizer sees one byte too many */
    for (size_t i = 0; i < packed.len; i++)
        for (int value = 0; value < 256; value += 5) {
            struct mg_run_result got;
            memcpy(copy, packed.data, packed.len);
            copy[i] = (char)value;
            if (mg_run_result_unpack((struct mg_span){copy, packed.len}, &got) != MG_OK)
                continue;
            const struct mg_span spans[] = {got.message, got.file,  got.traceback,
                                            got.log,     got.codec, got.mime,
                                            got.headers, got.deps,  got.body};
            for (size_t k = 0; k < sizeof spans / sizeof *spans; k++)
                assert_true(spans[k].len == 0 ||
                            (spans[k].data >= copy && spans[k].len <= packed.len &&
                             spans[k].data + spans[k].len <= copy + packed.len));
        }
    free(copy);
    mg_buf_fini(&packed);
}

static void test_huge_head(void **state)
{
    (void)state;
    static const uint64_t huge[] = {UINT64_MAX, UINT64_MAX - 23, UINT64_MAX / 2, 1ULL << 32};
    struct mg_run_result got;
    struct mg_buf packed;
    mg_buf_init(&packed, 0);
    mg_run_result_pack(&result, true, &packed);
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        struct mg_result_head head;
        memcpy(&head, packed.data, sizeof head);
        struct mg_result_head meta = head, body = head;
        meta.meta_bytes = huge[i];
        body.body_bytes = huge[i];
        memcpy(packed.data, &meta, sizeof meta);
        assert_int_equal(mg_run_result_unpack((struct mg_span){packed.data, packed.len}, &got),
                         MG_E_INVALID);
        memcpy(packed.data, &body, sizeof body);
        assert_int_equal(mg_run_result_unpack((struct mg_span){packed.data, packed.len}, &got),
                         MG_E_INVALID);
        memcpy(packed.data, &head, sizeof head);
    }
    mg_buf_fini(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request), cmocka_unit_test(test_result),
        cmocka_unit_test(test_flipped), cmocka_unit_test(test_huge_head)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
