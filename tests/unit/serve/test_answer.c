/* Answers: what is packed comes back, damaged bytes never do harm, descriptors are as good as memory. */
#include "moongate/answer.h"
#include "moongate/memfd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct mg_answer *sample(void)
{
    struct mg_buf headers;
    mg_buf_init(&headers, 0);
    mg_pack_int(&headers, 1);
    mg_pack_str(&headers, "x-a");
    mg_pack_str(&headers, "b");
    struct mg_run_result result = {
        .status = 201, .mime = MG_SPAN("text/plain"), .codec = MG_SPAN("csv"), .log = MG_SPAN("printed\n"),
        .by_accept = true, .gzip = true, .identity_bytes = 77, .max_age_s = 5, .lua_us = 1, .encode_us = 2,
        .cpu_us = 3, .headers = {headers.data, headers.len},
    };
    struct mg_answer *answer = mg_answer_from_result(&result);
    mg_buf_fini(&headers);
    char *memory = strdup("body");
    mg_answer_set_body(answer, memory, (struct mg_span){memory, 4});
    answer->ttl_s = 9;
    return answer;
}

static void round_trip(void **state)
{
    struct mg_answer *answer = sample(), *back = NULL;
    struct mg_buf packed;
    (void)state;
    mg_buf_init(&packed, 0);
    mg_answer_pack(answer, &packed);
    assert_int_equal(mg_answer_unpack((struct mg_span){packed.data, packed.len}, &back), MG_OK);
    assert_int_equal(back->status, 201);
    assert_string_equal(back->mime, "text/plain");
    assert_string_equal(back->codec, "csv");
    assert_string_equal(back->log, "printed\n");
    assert_string_equal(back->etag, answer->etag);
    assert_true(back->by_accept && back->gzip && !back->empty);
    assert_int_equal(back->identity_bytes, 77);
    assert_int_equal(back->udf_max_age_s, 5);
    assert_int_equal(back->ttl_s, 9);
    assert_int_equal(back->created_s, answer->created_s);
    assert_int_equal(back->headers.len, answer->headers.len);
    assert_memory_equal(back->headers.data, answer->headers.data, back->headers.len);
    mg_answer_unref(&back);
    mg_answer_unref(&answer);
    mg_buf_fini(&packed);
}

static void damage(void **state)
{
    struct mg_answer *answer = sample(), *back = NULL;
    struct mg_buf packed;
    (void)state;
    mg_buf_init(&packed, 0);
    mg_answer_pack(answer, &packed);
    for (size_t len = 0; len < packed.len; len++) { /* cut short: never an answer */
        char *cut = malloc(len + 1);
        memcpy(cut, packed.data, len);
        if (mg_answer_unpack((struct mg_span){cut, len}, &back) == MG_OK)
            fail_msg("an answer of the first %zu of %zu bytes", len, packed.len);
        free(cut);
    }
    for (size_t at = 0; at < packed.len; at++)
        for (int bit = 0; bit < 8; bit++) { /* any bit: no crash, and a status that can be sent */
            char *flipped = malloc(packed.len);
            memcpy(flipped, packed.data, packed.len);
            flipped[at] ^= (char)(1 << bit);
            if (mg_answer_unpack((struct mg_span){flipped, packed.len}, &back) == MG_OK) {
                assert_in_range(back->status, 200, 599);
                mg_answer_unref(&back);
            }
            free(flipped);
        }
    mg_answer_unref(&answer);
    mg_buf_fini(&packed);
}

static void media_types(void **state)
{
    static const struct {
        const char *mime, *expected, *sentence;
    } rows[] = {
        {"text/plain", "text/plain", "as it is"},
        {"text/plain\r\nSet-Cookie: a=b", NULL, "a line end would make headers of it"},
        {"text/\x01plain", NULL, "a control character"},
        {"text/pl\xc3\xa4in", NULL, "not ASCII"},
        {"", NULL, "none"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_run_result result = {.status = 200, .mime = mg_span(rows[i].mime)};
        struct mg_answer *answer = mg_answer_from_result(&result);
        bool same = rows[i].expected ? answer->mime && strcmp(answer->mime, rows[i].expected) == 0 : !answer->mime;
        mg_answer_unref(&answer);
        if (!same)
            fail_msg("%s", rows[i].sentence);
    }
}

static void statuses(void **state)
{
    static const struct {
        enum mg_err err;
        int64_t status;
        int expected;
        const char *sentence;
    } rows[] = {
        {MG_OK, 200, 200, "as given"},
        {MG_OK, 404, 404, "a UDF may say 404"},
        {MG_OK, 100, 200, "an interim status is none"},
        {MG_OK, -1, 200, "nonsense"},
        {MG_OK, (int64_t)1 << 40, 200, "beyond an int"},
        {MG_E_TIMEOUT, 200, 504, "an error has its own"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_run_result result = {.err = rows[i].err, .status = rows[i].status};
        struct mg_answer *answer = mg_answer_from_result(&result);
        int got = answer->status;
        mg_answer_unref(&answer);
        if (got != rows[i].expected)
            fail_msg("%s: %d", rows[i].sentence, got);
    }
}

/* The same bytes, in memory or in a descriptor, empty or not, make the same tag and the same child result. */
static void memory_and_descriptor(void **state)
{
    static const char *const bodies[] = {"", "some bytes"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(bodies[i]);
        struct mg_run_result result = {.status = 200, .mime = MG_SPAN("text/plain")};
        struct mg_answer *a = mg_answer_from_result(&result), *b = mg_answer_from_result(&result);
        char *memory = strdup(bodies[i]);
        mg_answer_set_body(a, memory, (struct mg_span){memory, len});
        FILE *file = tmpfile();
        int fd = dup(fileno(file));
        assert_int_equal(write(fd, bodies[i], len), len);
        assert_int_equal(mg_answer_set_fd(b, fd, 0, len), MG_OK);
        assert_int_equal(mg_answer_hash(b), MG_OK);
        fclose(file);
        assert_string_equal(a->etag, b->etag);
        assert_int_equal(mg_answer_bytes(b), len);
        struct mg_buf packed_a, packed_b;
        mg_buf_init(&packed_a, 0);
        mg_buf_init(&packed_b, 0);
        assert_int_equal(mg_answer_to_result(a, &packed_a), MG_OK);
        assert_int_equal(mg_answer_to_result(b, &packed_b), MG_OK);
        assert_int_equal(packed_a.len, packed_b.len);
        assert_memory_equal(packed_a.data, packed_b.data, packed_a.len);
        mg_buf_fini(&packed_a);
        mg_buf_fini(&packed_b);
        mg_answer_unref(&a);
        mg_answer_unref(&b);
    }
}

/* Hashed in pieces as in one; a descriptor that ends too early gives no tag. */
static void hashed_in_pieces(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 262143, 262144, 262145, 3000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct mg_run_result result = {.status = 200};
        struct mg_answer *a = mg_answer_from_result(&result), *b = mg_answer_from_result(&result);
        char *memory = malloc(sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            memory[k] = (char)(k * 7 + (k >> 10));
        int fd;
        assert_int_equal(mg_memfd_of("answer", (struct mg_span){memory, sizes[i]}, &fd, NULL), MG_OK);
        mg_answer_set_body(a, memory, (struct mg_span){memory, sizes[i]});
        assert_int_equal(mg_answer_set_fd(b, fd, 0, sizes[i] + 1), MG_OK);
        assert_int_equal(mg_answer_hash(b), MG_E_IO);
        assert_string_equal(b->etag, "");
        assert_int_equal(mg_answer_set_fd(b, fd, 0, sizes[i]), MG_OK);
        assert_int_equal(mg_answer_hash(b), MG_OK);
        assert_string_equal(a->etag, b->etag);
        mg_answer_unref(&a);
        mg_answer_unref(&b);
    }
}

static void sealed_memfd(void **state)
{
    struct mg_run_result result = {.status = 200};
    struct mg_answer *answer = mg_answer_from_result(&result);
    int fd;
    (void)state;
    assert_int_equal(mg_memfd_of("answer", MG_SPAN("sealed"), &fd, NULL), MG_OK);
    assert_int_equal(mg_answer_set_fd(answer, fd, UINT64_MAX, 8), MG_E_INVALID);
    assert_int_equal(mg_answer_set_fd(answer, fd, 0, 6), MG_OK);
    mg_answer_unref(&answer);
    assert_int_equal(close(fd), -1); /* it went with the answer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(damage), cmocka_unit_test(media_types), cmocka_unit_test(statuses),
        cmocka_unit_test(memory_and_descriptor), cmocka_unit_test(sealed_memfd),
        cmocka_unit_test(hashed_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
