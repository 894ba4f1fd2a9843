/* Pack, JSON, metrics, log lines, hashes, ciphers and the text of tokens. */
#include "moongate/crypto.h"
#include "moongate/json.h"
#include "moongate/log.h"
#include "moongate/metrics.h"
#include "moongate/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static void test_pack(void **context)
{
    (void)context;
    struct mg_buf buf, other;
    struct mg_unpack in;
    char text[8];
    mg_buf_init(&buf, 0);
    mg_pack_nil(&buf);
    mg_pack_bool(&buf, true);
    mg_pack_int(&buf, INT64_MIN);
    mg_pack_double(&buf, 0.1);
    mg_pack_bytes(&buf, "a\0b", 3);
    mg_pack_str(&buf, "moon");
    mg_pack_str(&buf, NULL);
    mg_pack_int(&buf, 3);
    mg_unpack_init(&in, buf.data, buf.len);
    assert_int_equal(mg_unpack_peek(&in), 'n');
    assert_true(mg_unpack_skip(&in));
    assert_true(mg_unpack_bool(&in));
    assert_true(mg_unpack_int(&in) == INT64_MIN);
    assert_true(mg_unpack_double(&in) == 0.1);
    assert_true(mg_span_eq(mg_unpack_bytes(&in), (struct mg_span){"a\0b", 3}));
    assert_true(mg_unpack_str(&in, text, sizeof text));
    assert_string_equal(text, "moon");
    assert_null(mg_unpack_bytes(&in).data);
    assert_false(mg_unpack_done(&in));
    assert_int_equal(mg_unpack_count(&in, 3), 3);
    assert_true(mg_unpack_done(&in));
    /* Cut anywhere: the reader fails, or has read whole values; it never reads beyond the end. */
    for (size_t len = 0; len < buf.len; len++) {
        char *copy = malloc(len ? len : 1);
        memcpy(copy, buf.data, len);
        mg_unpack_init(&in, copy, len);
        for (int i = 0; i < 8; i++)
            mg_unpack_skip(&in);
        assert_true(in.failed);
        assert_int_equal(mg_unpack_int(&in), 0);
        free(copy);
    }
    /* Wrong type, wrong length, too many, a text that does not fit. */
    mg_unpack_init(&in, "i\0\0\0\0\0\0\0\0", 9);
    assert_true(mg_unpack_double(&in) == 0 && in.failed);
    mg_unpack_init(&in, "s\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    assert_true(mg_unpack_bytes(&in).len == 0 && in.failed);
    mg_unpack_init(&in, "i\4\0\0\0\0\0\0\0", 9);
    assert_true(mg_unpack_count(&in, 3) == 0 && in.failed);
    mg_unpack_init(&in, "s\4\0\0\0\0\0\0\0moon", 13);
    assert_false(mg_unpack_str(&in, text, 4));
    mg_unpack_init(&in, "b\2", 2);
    assert_true(!mg_unpack_bool(&in) && in.failed);
    mg_buf_fini(&buf);

    mg_buf_init(&buf, 0);
    mg_buf_init(&other, 0);
    mg_pack_double(&buf, -0.0);
    mg_pack_double(&buf, -NAN);
    mg_pack_double(&other, 0.0);
    mg_pack_double(&other, NAN);
    assert_memory_equal(buf.data, other.data, buf.len);
    mg_buf_fini(&buf);
    mg_buf_fini(&other);
}

static void test_json(void **context)
{
    (void)context;
    static const struct {
        const char *text, *canonical; /* NULL: refused */
        const char *why;
    } rows[] = {
        {"{\"b\":1,\"a\":[1.50,null,true]}", "{\"a\":[1.5,null,true],\"b\":1}",
         "keys are sorted, numbers short"},
        {" 7 ", "7", "any value"},
        {"\"x\\u0000y\"", NULL, "a NUL within a string is refused"},
        {"{\"a\":1,\"a\":2}", NULL, "a key twice is refused"},
        {"[1,]", NULL, "a comma too many"},
        {"", NULL, "nothing"},
        {"1 2", NULL, "two values"},
        {"\"\xFF\"", NULL, "bytes that are no UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *value = NULL;
        struct mg_errmsg err = {""};
        enum mg_err status = mg_json_parse(mg_span(rows[i].text), 1000, &value, &err);
        struct mg_buf buf;
        mg_buf_init(&buf, 0);
        if (status == MG_OK)
            mg_json_write(value, &buf);
        if (rows[i].canonical ? !buf.data || strcmp(buf.data, rows[i].canonical) != 0
                              : status != MG_E_INVALID || !strstr(err.text, "line"))
            fail_msg("%s: %s %s", rows[i].why, buf.data ? buf.data : "-", err.text);
        json_decref(value);
        mg_buf_fini(&buf);
    }
    json_t *value = NULL;
    assert_int_equal(mg_json_parse(MG_SPAN("[1,2,3]"), 6, &value, NULL), MG_E_TOO_LARGE);
    char *deep = malloc(100000);
    memset(deep, '[', 100000);
    assert_int_equal(mg_json_parse((struct mg_span){deep, 100000}, 0, &value, NULL), MG_E_INVALID);
    free(deep);
    assert_int_equal(mg_json_parse(MG_SPAN("{\"a\":\"x\",\"b\":1}"), 0, &value, NULL), MG_OK);
    assert_string_equal(mg_json_str(value, "a", "y"), "x");
    assert_string_equal(mg_json_str(value, "b", "y"), "y");
    assert_string_equal(mg_json_str(NULL, "b", "y"), "y");
    json_decref(value);
}

static void test_metrics(void **context)
{
    (void)context;
    struct mg_buf buf;
    mg_metric_add(MG_M_REQUESTS, 2);
    mg_metric_add(MG_M_REQUESTS, 3);
    mg_metric_set(MG_M_WORKERS, 4);
    assert_int_equal(mg_metric_get(MG_M_REQUESTS), 5);
    mg_buf_init(&buf, 0);
    mg_metrics_write(&buf);
    assert_non_null(
        strstr(buf.data, "# TYPE moongate_requests_total counter\nmoongate_requests_total 5\n"));
    assert_non_null(strstr(buf.data, "# TYPE moongate_workers gauge\nmoongate_workers 4\n"));
    mg_buf_fini(&buf);
}

static void hex_of(const struct mg_hash *hash, char out[65])
{
    mg_hash_hex(hash, out);
}

static void test_hashes(void **context)
{
    (void)context;
    struct mg_hash hash, back;
    char hex[65], key[131];
    mg_sha256("abc", 3, &hash); /* FIPS 180-4's example */
    hex_of(&hash, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(mg_hash_from_hex(mg_span(hex), &back));
    assert_true(mg_hash_eq(&hash, &back));
    assert_false(mg_hash_from_hex((struct mg_span){hex, 63}, &back));
    hex[5] = 'g';
    assert_false(mg_hash_from_hex(mg_span(hex), &back));
    mg_hmac_sha256(MG_SPAN("Jefe"), MG_SPAN("what do ya want for nothing?"),
                   &hash); /* RFC 4231, case 2 */
    hex_of(&hash, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key); /* case 6: a key longer than a block */
    mg_hmac_sha256((struct mg_span){key, sizeof key},
                   MG_SPAN("Test Using Larger Than Block-Size Key - Hash Key First"), &hash);
    hex_of(&hash, hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void test_seal(void **context)
{
    (void)context;
    uint8_t key[32], other[32];
    struct mg_buf sealed, again, plain;
    mg_random(key, sizeof key);
    mg_random(other, sizeof other);
    mg_buf_init(&sealed, 0);
    mg_buf_init(&again, 0);
    mg_buf_init(&plain, 0);
    assert_int_equal(mg_seal(key, MG_SPAN("a secret"), &sealed), MG_OK);
    assert_int_equal(mg_seal(key, MG_SPAN("a secret"), &again), MG_OK);
    assert_int_equal(sealed.len, 8 + 28);
    assert_memory_not_equal(sealed.data, again.data, sealed.len);
    assert_int_equal(mg_unseal(other, (struct mg_span){sealed.data, sealed.len}, &plain),
                     MG_E_INVALID);
    for (size_t i = 0; i < sealed.len; i++) {
        sealed.data[i] ^= 1;
        assert_int_equal(mg_unseal(key, (struct mg_span){sealed.data, sealed.len}, &plain),
                         MG_E_INVALID);
        sealed.data[i] ^= 1;
        assert_int_equal(mg_unseal(key, (struct mg_span){sealed.data, i}, &plain), MG_E_INVALID);
        assert_int_equal(plain.len, 0);
    }
    assert_int_equal(mg_unseal(key, (struct mg_span){sealed.data, sealed.len}, &plain), MG_OK);
    assert_string_equal(plain.data, "a secret");
    mg_buf_fini(&sealed);
    mg_buf_fini(&again);
    mg_buf_fini(&plain);
}

static void test_token_text(void **context)
{
    (void)context;
    char token[MG_TOKEN_LEN + 1], other[MG_TOKEN_LEN + 1];
    for (int i = 0; i < 200; i++) {
        mg_token_make(token);
        mg_token_make(other);
        assert_string_not_equal(token, other);
        assert_int_equal(strlen(token), MG_TOKEN_LEN);
        assert_true(mg_token_well_formed(mg_span(token)));
        for (size_t k = 0; k < MG_TOKEN_LEN; k++) {
            char kept = token[k];
            token[k] = kept == 'x' ? 'y' : 'x';
            if (mg_token_well_formed(mg_span(token)))
                fail_msg("a changed character at %zu is seen", k);
            token[k] = kept;
        }
    }
    assert_false(mg_token_well_formed((struct mg_span){token, MG_TOKEN_LEN - 1}));
    assert_false(mg_token_well_formed((struct mg_span){NULL, 0}));
    token[20] = '\0';
    assert_false(mg_token_well_formed((struct mg_span){token, MG_TOKEN_LEN}));
}

/* What `text` gives on stderr. */
static char *logged(const char *text, bool json, enum mg_log_level level)
{
    static char out[200000];
    char name[] = "/tmp/moongate-log-XXXXXX";
    int file = mkstemp(name), kept = dup(STDERR_FILENO);
    assert_true(file >= 0 && kept >= 0);
    unlink(name);
    mg_log_init("test", MG_LOG_INFO, json);
    dup2(file, STDERR_FILENO);
    errno = ENOENT;
    mg_log(level, "%s", text);
    int after = errno;
    dup2(kept, STDERR_FILENO);
    close(kept);
    assert_int_equal(after, ENOENT);
    ssize_t n = pread(file, out, sizeof out - 1, 0);
    assert_true(n >= 0);
    out[n] = '\0';
    close(file);
    return out;
}

static void test_log(void **context)
{
    (void)context;
    char token[MG_TOKEN_LEN + 1], text[400], *out;
    static const char hex[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    mg_token_make(token);
    snprintf(text, sizeof text, "GET /%s/run, /%s.csv fsh_%s msh_ %sab\n\"quoted\" \x1b[2J", token,
             hex, token + 4, hex);
    for (int json = 0; json < 2; json++) {
        out = logged(text, json, MG_LOG_INFO);
        assert_null(strstr(out, token + 8));
        assert_null(strstr(out, "/ba7816bf8f01cfea"));
        assert_non_null(strstr(out, "/ba7816bf…"));
        assert_non_null(
            strstr(out, " msh_ ba7816bf8f01")); /* too short for a token; too long for 64 digits */
        assert_null(strchr(out, '\x1b'));
    }
    json_t *line = NULL;
    assert_int_equal(mg_json_parse(mg_span(out), 0, &line, NULL), MG_OK);
    assert_string_equal(mg_json_str(line, "level", ""), "info");
    assert_string_equal(mg_json_str(line, "process", ""), "test");
    json_decref(line);
    assert_string_equal(logged("quiet", true, MG_LOG_DEBUG), "");
    char *large = malloc(100001);
    memset(large, 'a', 100000);
    large[100000] = '\0';
    out = logged(large, true, MG_LOG_ERROR);
    assert_true(strlen(out) > 60000 && strlen(out) < 70000);
    assert_int_equal(out[strlen(out) - 1], '\n');
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack),    cmocka_unit_test(test_json),
        cmocka_unit_test(test_metrics), cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_seal),    cmocka_unit_test(test_token_text),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
