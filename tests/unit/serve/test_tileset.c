/* Layers of a vector tile, from good bytes, damaged ones, and bytes changed at random. */
#include "serve/tileset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* One layer "roads": keys name, lanes; values "A1", 4.0 (double), true, 7 (sint); two features. */
static const uint8_t tile[] = {
    0x1a, 61, 0x0a, 5, 'r', 'o', 'a', 'd', 's', 0x78, 2,
    0x12, 10, 0x12, 4, 0, 0, 1, 1, 0x18, 1, 0x22, 0, 0x12, 8, 0x12, 4, 0, 0, 2, 3, 0x18, 1,
    0x1a, 4, 'n', 'a', 'm', 'e', 0x1a, 5, 'l', 'a', 'n', 'e', 's', 0x1a, 3, 'a', 'n', 'y',
    0x22, 4, 0x0a, 2, 'A', '1', 0x22, 2, 0x30, 7, 0x22, 2, 0x38, 1};

static char *layers_of(const void *data, size_t len)
{
    json_t *layers = mg_tile_layers((struct mg_span){data, len});
    char *text = layers ? json_dumps(layers, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    json_decref(layers);
    return text;
}

static void test_good(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[64];
        size_t len;
        const char *layers, *why;
    } rows[] = {
        {{0}, 0, "[]", "a tile without layers has none"},
        {{0x1a, 4, 0x0a, 2, 'a', 'b'}, 6, "[{\"fields\":{},\"id\":\"ab\"}]", "a layer needs no feature"},
        {{0x1a, 14, 0x0a, 1, 'a', 0x12, 4, 0x12, 2, 0, 0, 0x1a, 1, 'k', 0x22, 0}, 16, "[{\"fields\":{},\"id\":\"a\"}]",
         "a value without a type names none"},
        {{0x1a, 19, 0x0a, 1, 'a', 0x12, 4, 0x12, 2, 0, 0, 0x1a, 1, 'k', 0x22, 4, 0x0a, 2, 'h', 'i'}, 21,
         NULL, "a layer cut short is no tile"},
        {{0x1a, 18, 0x0a, 1, 'a', 0x12, 4, 0x12, 2, 0, 0, 0x1a, 1, 'k', 0x22, 4, 0x0a, 2, 'h', 'i'}, 20,
         "[{\"fields\":{\"k\":\"String\"},\"id\":\"a\"}]", "a string is a string"},
        {{0x1a, 18, 0x0a, 1, 'a', 0x12, 4, 0x12, 2, 0, 9, 0x1a, 1, 'k', 0x22, 4, 0x0a, 2, 'h', 'i'}, 20,
         "[{\"fields\":{},\"id\":\"a\"}]", "an index beyond the values is passed over"},
        {{0x1a, 18, 0x0a, 1, 'a', 0x12, 4, 0x12, 2, 0, 0, 0x1a, 1, 0xff, 0x22, 4, 0x0a, 2, 'h', 'i'}, 20,
         "[{\"fields\":{},\"id\":\"a\"}]", "a name that is not UTF-8 is left out"},
        {{0x1a, 2, 0x78, 2}, 4, NULL, "a layer without a name is no layer"},
        {{0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 11, NULL, "a length beyond the bytes"},
        {{0x1b, 1}, 2, NULL, "groups are not of this format"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = layers_of(rows[i].bytes, rows[i].len);
        bool same = rows[i].layers ? text && strcmp(text, rows[i].layers) == 0 : !text;
        if (!same)
            fail_msg("%s: %s", rows[i].why, text ? text : "none");
        free(text);
    }
}

static void test_changed(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int round = 0; round < 200000; round++) {
        uint8_t copy[sizeof tile];
        memcpy(copy, tile, sizeof tile);
        for (int i = 0; i < 3; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            copy[(seed >> 33) % sizeof copy] = (uint8_t)(seed >> 56);
        }
        size_t len = (seed >> 20) % (sizeof copy + 1);
        uint8_t *exact = malloc(len + 1); /* no byte more than there is, for the sanitizer */
        memcpy(exact, copy, len);
        exact = realloc(exact, len ? len : 1);
        free(layers_of(exact, len));
        free(exact);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct mg_tileset set = {.bounds = {-35.2, -8.4, -34.7, -7.9}, .minzoom = 2, .maxzoom = 14};
    struct mg_tile first, last;
    for (int z = 0; z <= 14; z++) {
        mg_tileset_limits(&set, z, &first, &last);
        assert_true(first.x <= last.x && first.y <= last.y);
        assert_int_equal(mg_tileset_has(&set, first), z >= 2);
        assert_int_equal(mg_tileset_has(&set, last), z >= 2);
        assert_false(mg_tileset_has(&set, (struct mg_tile){z, last.x + 1, last.y}));
        assert_false(mg_tileset_has(&set, (struct mg_tile){z, first.x, first.y - 1}));
    }
    assert_false(mg_tileset_has(&set, (struct mg_tile){15, 0, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_changed),
                                       cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
