/* Layers as files: what one worker read, another maps; damaged files are no harm; there is an end to
 * their number. */
#include "geo/layer_file.h"
#include "moongate/geometry.h"
#include "moongate/raster_read.h"
#include "moongate/vector_read.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { POINTS = 5000 };

static char base[] = "/tmp/mg-layers-XXXXXX";
static char source[64], keep[64];
static int keep_fd;

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(base))
        return -1;
    snprintf(source, sizeof source, "%s/points.geojson", base);
    snprintf(keep, sizeof keep, "%s/layers", base);
    mg_gdal_setup();
    return mkdir(keep, 0700) == 0 && (keep_fd = open(keep, O_RDONLY | O_DIRECTORY)) >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[64];
    layer_cache_clear();
    snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

/* Always the same number of bytes; `name` has four. */
static void write_source(const char *name)
{
    FILE *file = fopen(source, "w");
    assert_non_null(file);
    fputs("{\"type\":\"FeatureCollection\",\"features\":[", file);
    for (int i = 0; i < POINTS; i++)
        fprintf(file,
                "%s{\"type\":\"Feature\",\"properties\":{\"name\":\"%s%05d\",\"n\":%d},"
                "\"geometry\":{\"type\":\"Point\",\"coordinates\":[%.3f,%.3f]}}",
                i ? "," : "", name, i, i, (i % 200) * 0.1, (i / 200) * 0.1);
    fputs("]}", file);
    fclose(file);
    struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, source, times, 0), 0);
}

/* What is read is written to `out` in our format. */
static void read_all(const struct mg_bounds *bounds, struct mg_buf *out)
{
    struct mg_table *table = NULL;
    struct mg_errmsg err = {{0}};
    struct mg_vector_options options = {.degrees = bounds};
    if (mg_vector_read(source, &options, &table, &err) != MG_OK)
        fail_msg("%s", err.text);
    mg_buf_init(out, 0);
    mg_table_store(table, out);
    assert_false(out->failed);
    mg_table_unref(&table);
}

static int count_files(char *last, size_t size)
{
    DIR *dir = opendir(keep);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.') {
            n++;
            snprintf(last, size, "%s/%s", keep, entry->d_name);
        }
    closedir(dir);
    return n;
}

static void test_shared(void **state)
{
    (void)state;
    const struct mg_bounds all = {-180, -90, 180, 90}, some = {3.05, 2.05, 5.05, 2.45};
    char path[512];
    struct mg_buf plain[2], first[2], second[2];
    write_source("aaaa");
    mg_vector_keep_in(-1);
    read_all(&all, &plain[0]);
    read_all(&some, &plain[1]);
    assert_int_equal(count_files(path, sizeof path), 0);
    layer_cache_clear();
    mg_vector_keep_in(keep_fd);
    read_all(&all, &first[0]);
    read_all(&some, &first[1]);
    assert_int_equal(count_files(path, sizeof path), 1);
    /* The same size and time: what comes now can only be what the file kept. */
    write_source("bbbb");
    layer_cache_clear();
    read_all(&all, &second[0]);
    read_all(&some, &second[1]);
    for (int i = 0; i < 2; i++) {
        assert_true(plain[i].len > 1000);
        assert_true(plain[i].len == first[i].len && memcmp(plain[i].data, first[i].data, plain[i].len) == 0);
        assert_true(plain[i].len == second[i].len && memcmp(plain[i].data, second[i].data, plain[i].len) == 0);
        assert_non_null(memmem(second[i].data, second[i].len, "aaaa", 4));
        mg_buf_fini(&plain[i]);
        mg_buf_fini(&first[i]);
        mg_buf_fini(&second[i]);
    }
    /* A table of it outlives the cache that it came from. */
    struct mg_table *table = NULL;
    assert_int_equal(mg_vector_read(source, &(struct mg_vector_options){0}, &table, NULL), MG_OK);
    layer_cache_clear();
    assert_int_equal(unlink(path), 0);
    struct mg_buf stored;
    mg_buf_init(&stored, 0);
    mg_table_store(table, &stored);
    assert_non_null(memmem(stored.data, stored.len, "aaaa04999", 9));
    mg_buf_fini(&stored);
    mg_table_unref(&table);
}

/* Cut off anywhere, bytes changed anywhere: it is read anew, or what it says is used, and nothing
 * falls over. */
static void test_damaged(void **state)
{
    (void)state;
    const struct mg_bounds some = {3.05, 2.05, 5.05, 2.45};
    char path[512];
    struct mg_buf good, got;
    struct stat st;
    write_source("cccc");
    layer_cache_clear();
    read_all(&some, &good);
    assert_int_equal(count_files(path, sizeof path), 1);
    assert_int_equal(stat(path, &st), 0);
    char *bytes = malloc((size_t)st.st_size);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
    close(fd);
    unsigned seed = 12345;
    for (int round = 0; round < 120; round++) {
        size_t len = (size_t)st.st_size;
        char *copy = malloc(len);
        memcpy(copy, bytes, len);
        seed = seed * 1103515245 + 12345;
        if (round % 3 == 0) {
            len = round < 30 ? (size_t)round * 7 : seed % len;
        } else {
            /* The head, the schema and the lengths are at the front; the rest is one in a million. */
            size_t range = round % 3 == 1 ? 1024 : len;
            for (int i = 0; i < 1 + round % 4; i++) {
                seed = seed * 1103515245 + 12345;
                copy[(seed >> 4) % range] ^= (char)(1 << (seed >> 28 & 7));
            }
        }
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, copy, len), len);
        close(fd);
        free(copy);
        layer_cache_clear();
        read_all(&some, &got);
        if (round % 3 == 0) /* cut off: read anew */
            assert_true(good.len == got.len && memcmp(good.data, got.data, got.len) == 0);
        mg_buf_fini(&got);
    }
    /* One of before the machine started is read anew: it may not be whole. */
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    layer_cache_clear();
    read_all(&some, &got);
    mg_buf_fini(&got);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_mtim.tv_sec > 1000);
    /* A folder or a link in its place is no harm either. */
    unlink(path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    layer_cache_clear();
    read_all(&some, &got);
    assert_true(good.len == got.len && memcmp(good.data, got.data, got.len) == 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    mg_buf_fini(&got);
    mg_buf_fini(&good);
    free(bytes);
}

/* The oldest goes where there is no room. */
static void test_room(void **state)
{
    (void)state;
    char path[512];
    struct mg_buf got;
    layer_cache_clear();
    write_source("dddd");
    assert_int_equal(count_files(path, sizeof path), 1);
    unlink(path);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/old-%d", keep, i);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        assert_int_equal(ftruncate(fd, LAYER_FILES_BYTES / 3), 0);
        struct timespec times[2] = {{.tv_sec = 1000 - i}, {.tv_sec = 1000 - i}};
        assert_int_equal(futimens(fd, times), 0);
        close(fd);
    }
    read_all(NULL, &got);
    mg_buf_fini(&got);
    assert_int_equal(count_files(path, sizeof path), 3);
    snprintf(path, sizeof path, "%s/old-2", keep);
    assert_int_not_equal(access(path, F_OK), 0);
    /* Where nothing can be written the layer is read all the same. */
    int closed = open("/", O_PATH | O_DIRECTORY);
    mg_vector_keep_in(closed);
    close(closed);
    write_source("eeee");
    struct timespec times[2] = {{.tv_sec = 5}, {.tv_sec = 5}};
    assert_int_equal(utimensat(AT_FDCWD, source, times, 0), 0);
    read_all(NULL, &got);
    assert_non_null(memmem(got.data, got.len, "eeee04999", 9));
    mg_buf_fini(&got);
    mg_vector_keep_in(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared), cmocka_unit_test(test_damaged),
                                       cmocka_unit_test(test_room)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
