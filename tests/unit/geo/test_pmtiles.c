/* PMTiles: numbers of tiles, archives with leaf directories out and back, and archives with bytes changed at random. */
#include "moongate/pmtiles.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static void test_ids(void **state)
{
    (void)state;
    static const struct {
        struct mg_tile tile;
        uint64_t id;
    } known[] = {/* of the specification */
                 {{0, 0, 0}, 0}, {{1, 0, 0}, 1}, {{1, 0, 1}, 2}, {{1, 1, 1}, 3}, {{1, 1, 0}, 4}, {{2, 0, 0}, 5},
                 {{12, 3423, 1763}, 19078479}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_true(mg_pmtiles_id(known[i].tile) == known[i].id);
    for (int z = 0; z <= MG_TILE_MAX_ZOOM; z++)
        for (int i = 0; i < 500; i++) {
            int32_t side = 1 << z;
            struct mg_tile tile = {z, (int32_t)((i * 2654435761u) % (uint32_t)side), (int32_t)((i * 40503u + 7) % (uint32_t)side)};
            struct mg_tile back;
            assert_true(mg_pmtiles_tile(mg_pmtiles_id(tile), &back));
            assert_true(back.z == tile.z && back.x == tile.x && back.y == tile.y);
        }
    struct mg_tile none;
    assert_false(mg_pmtiles_tile(UINT64_MAX, &none));
}

/* Each third tile of zoom `z`, its bytes a few of its number; every tenth has the same. */
static size_t make(const char *path, int z)
{
    char spool_path[128];
    size_t n = 0, most = (1u << (2 * z)) / 3 + 1;
    struct mg_spooled *tiles = calloc(most, sizeof *tiles);
    snprintf(spool_path, sizeof spool_path, "%s/spool", folder);
    int spool = open(spool_path, O_RDWR | O_CREAT | O_TRUNC, 0600), fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    uint64_t first = mg_pmtiles_id((struct mg_tile){z, 0, 0}), at = 0;
    for (uint64_t i = 0; i < 1u << (2 * z); i += 3) {
        char text[64];
        int len = snprintf(text, sizeof text, "%.*s %llu", (int)(i % 13), "xxxxxxxxxxxxx", i % 10 ? (unsigned long long)i : 0ull);
        assert_int_equal(pwrite(spool, text, (size_t)len, (off_t)at), len);
        tiles[n] = (struct mg_spooled){.id = first + i, .offset = at, .bytes = (uint32_t)len};
        mg_sha256(text, (size_t)len, &tiles[n++].hash);
        at += (uint64_t)len;
    }
    struct mg_errmsg err = {0};
    struct mg_archive_info info = {.kind = MG_TILES_PNG, .minzoom = z, .maxzoom = z, .bounds = {-180, -85, 180, 85},
                                   .name = "a \"name\"", .description = "", .vector_layers = NULL};
    assert_int_equal(mg_pmtiles_write(fd, &info, tiles, n, spool, &err), MG_OK);
    close(fd);
    close(spool);
    free(tiles);
    return n;
}

static void test_back(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/a.pmtiles", folder);
    for (int z = 1; z <= 9; z += 2) { /* 87,382 tiles at the last: leaves */
        struct mg_errmsg err = {0};
        struct mg_pmtiles *a = NULL;
        struct mg_buf bytes;
        size_t n = make(path, z), found_n = 0, step = z > 7 ? 61 : 1;
        assert_int_equal(mg_pmtiles_open(path, &a, &err), MG_OK);
        assert_int_equal(mg_pmtiles_info(a)->maxzoom, z);
        mg_buf_init(&bytes, 0);
        assert_int_equal(mg_pmtiles_metadata(a, &bytes, &err), MG_OK);
        assert_non_null(strstr(bytes.data, "\"a \\\"name\\\"\""));
        uint64_t first = mg_pmtiles_id((struct mg_tile){z, 0, 0});
        for (uint64_t i = 0; i < 1u << (2 * z); i += step) {
            struct mg_tile tile;
            bool found;
            char text[64];
            bytes.len = 0;
            assert_true(mg_pmtiles_tile(first + i, &tile));
            assert_int_equal(mg_pmtiles_get(a, tile, &bytes, &found, &err), MG_OK);
            assert_int_equal(found, i % 3 == 0);
            snprintf(text, sizeof text, "%.*s %llu", (int)(i % 13), "xxxxxxxxxxxxx", i % 10 ? (unsigned long long)i : 0ull);
            if (found)
                assert_string_equal(bytes.data, text);
            found_n += found;
        }
        if (step == 1)
            assert_int_equal(found_n, n);
        mg_buf_fini(&bytes);
        mg_pmtiles_close(&a);
    }
}

static void test_changed(void **state)
{
    (void)state;
    char path[128], other[128];
    snprintf(path, sizeof path, "%s/b.pmtiles", folder);
    snprintf(other, sizeof other, "%s/c.pmtiles", folder);
    make(path, 4);
    FILE *f = fopen(path, "rb");
    char good[1 << 16], bad[1 << 16];
    size_t len = fread(good, 1, sizeof good, f);
    fclose(f);
    assert_true(len > 200 && len < sizeof good);
    uint64_t seed = 7;
    for (int round = 0; round < 3000; round++) {
        struct mg_errmsg err = {0};
        struct mg_pmtiles *a = NULL;
        struct mg_buf bytes;
        bool found;
        memcpy(bad, good, len);
        for (int i = 0; i < 1 + round % 4; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bad[(seed >> 33) % (round % 2 ? 127 : len)] = (char)(seed >> 56);
        }
        f = fopen(other, "wb");
        fwrite(bad, 1, round % 5 ? len : (seed >> 30) % len, f);
        fclose(f);
        if (mg_pmtiles_open(other, &a, &err) != MG_OK) {
            assert_true(err.text[0]);
            continue;
        }
        mg_buf_init(&bytes, 0);
        for (int i = 0; i < 16; i++)
            (void)!mg_pmtiles_get(a, (struct mg_tile){4, i, 15 - i}, &bytes, &found, &err);
        (void)!mg_pmtiles_metadata(a, &bytes, &err);
        mg_buf_fini(&bytes);
        mg_pmtiles_close(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ids), cmocka_unit_test(test_back), cmocka_unit_test(test_changed)};
    snprintf(folder, sizeof folder, "/tmp/mg-pmtiles-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const names[] = {"a.pmtiles", "b.pmtiles", "c.pmtiles", "spool"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
    return status;
}
