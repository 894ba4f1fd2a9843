/* Reading vectors from files that the test writes: bounds, columns, where, limits, a changed file,
 * errors. */
#include "moongate/vector_read.h"

#include "geo/layer_cache.h"
#include "moongate/geometry.h"
#include "moongate/raster_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];

static const char *write_file(const char *name, const char *text)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

#define FEATURE(id, x, y)                                                  \
    "{\"type\":\"Feature\",\"properties\":{\"n\":" #id ",\"name\":\"p" #id \
    "\"},\"geometry\":{\"type\":\"Point\","                                \
    "\"coordinates\":[" #x "," #y "]}}"
#define COLLECTION(features) "{\"type\":\"FeatureCollection\",\"features\":[" features "]}"
static const char points[] =
    COLLECTION(FEATURE(0, 0, 0) "," FEATURE(1, 10, 10) "," FEATURE(2, 179, 0) "," FEATURE(
        3, -179,
        1) "," FEATURE(4, 10.5,
                       10.5) ","
                             "{\"type\":\"Feature\",\"properties\":{\"n\":5},\"geometry\":null}");

/* The column n of what was read: "1,4". */
static void numbers(const struct mg_table *table, char *out, size_t size)
{
    struct mg_cursor *cursor = NULL;
    int column = mg_table_column(table, MG_SPAN("n"));
    out[0] = '\0';
    assert_true(column >= 0 && table->n_batches == 1);
    assert_int_equal(mg_cursor_open(table, 0, column, &cursor, NULL), MG_OK);
    for (int64_t i = 0; i < table->rows; i++) {
        struct mg_cell cell;
        size_t len = strlen(out);
        mg_cursor_get(cursor, i, &cell);
        snprintf(out + len, size - len, "%s%lld", len ? "," : "", (long long)cell.i);
    }
    mg_cursor_close(&cursor);
}

static void test_select(void **state)
{
    static const struct {
        struct mg_bounds bounds; /* all 0: none */
        const char *where;
        int64_t limit;
        const char *expected, *what;
    } rows[] = {
        {{0, 0, 0, 0}, NULL, 0, "0,1,2,3,4,5", "everything, in the order of the file"},
        {{5, 5, 15, 15}, NULL, 0, "1,4", "bounds select"},
        {{10, 10, 10, 10}, NULL, 0, "1", "edges count"},
        {{50, 50, 60, 60}, NULL, 0, "", "none there"},
        {{178, -5, -178, 5}, NULL, 0, "2,3", "bounds over the antimeridian"},
        {{178, -5, 182, 5}, NULL, 0, "2,3", "the same beyond 180"},
        {{-180, -90, 180, 90}, NULL, 0, "0,1,2,3,4", "the world has no rows without a place"},
        {{0, 0, 0, 0}, "n >= 2", 0, "2,3,4,5", "where"},
        {{5, 5, 15, 15}, "name = 'p4'", 0, "4", "where and bounds"},
        {{0, 0, 0, 0}, NULL, 2, "0,1", "a limit takes the first"},
        {{5, 5, 15, 15}, NULL, 1, "1", "a limit within bounds"},
    };
    const char *path = write_file("points.geojson", points);
    (void)state;
    for (int pass = 0; pass < 2; pass++) /* read, then kept */
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            bool bounded = rows[i].bounds.xmin != 0 || rows[i].bounds.xmax != 0;
            struct mg_vector_options options = {.degrees = bounded ? &rows[i].bounds : NULL,
                                                .where = rows[i].where,
                                                .limit = rows[i].limit,
                                                .max_rows = 100};
            struct mg_table *table = NULL;
            struct mg_errmsg err = {0};
            char found[64];
            if (mg_vector_read(path, &options, &table, &err))
                fail_msg("%s: %s", rows[i].what, err.text);
            numbers(table, found, sizeof found);
            if (strcmp(found, rows[i].expected) != 0)
                fail_msg("%s (pass %d): %s", rows[i].what, pass, found);
            assert_string_equal(table->crs, "EPSG:4326");
            mg_table_unref(&table);
        }
}

static void test_columns(void **state)
{
    const char *path = write_file("columns.geojson", points);
    const char *const name[] = {"name", NULL}, *const none[] = {"nope", NULL};
    struct mg_vector_options options = {.columns = name};
    struct mg_table *table = NULL;
    struct mg_errmsg err = {0};
    (void)state;
    assert_int_equal(mg_vector_read(path, &options, &table, &err), MG_OK);
    assert_int_equal(table->schema.n_children, 2);
    assert_int_equal(mg_table_column(table, MG_SPAN("name")), 0);
    assert_int_equal(table->geometry, 1); /* always comes along */
    assert_string_equal(table->schema.children[1]->name, "geometry");
    mg_table_unref(&table);
    options.columns = none;
    assert_int_equal(mg_vector_read(path, &options, &table, &err), MG_E_ARGUMENT);
    assert_non_null(strstr(err.text, "nope"));
    assert_non_null(strstr(err.text, "n, name"));
}

static void test_errors(void **state)
{
    const char *path;
    struct mg_vector_options options = {.where = "bogus = 1"};
    struct mg_table *table = NULL;
    struct mg_errmsg err = {0};
    (void)state;
    path = write_file("errors.geojson", points);
    assert_int_equal(mg_vector_read(path, &options, &table, &err), MG_E_ARGUMENT);
    assert_non_null(strstr(err.text, "bogus"));
    options = (struct mg_vector_options){.max_rows = 3};
    assert_int_equal(mg_vector_read(path, &options, &table, &err), MG_E_UDF_OUTPUT);
    options = (struct mg_vector_options){.layer = "absent"};
    assert_int_equal(mg_vector_read(path, &options, &table, &err), MG_E_ARGUMENT);
    assert_non_null(strstr(err.text, "errors"));
    options = (struct mg_vector_options){0};
    assert_int_equal(mg_vector_read("/nonexistent/a.geojson", &options, &table, &err),
                     MG_E_NO_FILE);
    path = write_file("broken.geojson", "{\"type\":\"FeatureCollection\",\"features\":[{");
    assert_int_equal(mg_vector_read(path, &options, &table, &err), MG_E_BAD_FILE);
    assert_null(table);
}

static void test_crs(void **state)
{
    static const char csv[] = "n,wkt\n0,\"POINT(500000 10000000)\"\n1,\"POINT(600000 9000000)\"\n";
    const struct mg_bounds bounds = {-33.5, -1, -32.5, 1};
    const char *path = write_file("utm.csv", csv);
    struct mg_vector_options options = {.degrees = &bounds};
    struct mg_table *table = NULL;
    struct mg_errmsg err = {0};
    char found[16];
    (void)state;
    assert_int_equal(mg_vector_read(path, &options, &table, &err), MG_E_NO_CRS);
    assert_non_null(strstr(err.text, "source_crs"));
    options.source_crs = "EPSG:32725";
    if (mg_vector_read(path, &options, &table, &err))
        fail_msg("source_crs names it: %s", err.text);
    numbers(table, found, sizeof found);
    assert_string_equal(found, "0");
    assert_string_equal(table->crs, "EPSG:32725");
    mg_table_unref(&table);
    const struct mg_bounds world = {-180, -85, 180, 85};
    options.degrees = &world; /* most of it cannot be transformed to UTM */
    assert_int_equal(mg_vector_read(path, &options, &table, &err), MG_OK);
    assert_int_equal(table->rows, 2);
    mg_table_unref(&table);
    static const char topology[] = "{\"type\":\"Topology\",\"objects\":{\"land\":{\"type\":"
                                   "\"GeometryCollection\",\"geometries\":[{\"type\":"
                                   "\"Polygon\",\"arcs\":[[0]],\"properties\":{\"n\":7}}]}},"
                                   "\"arcs\":[[[0,0],[4,0],[4,4],[0,0]]]}";
    path = write_file("land.json", topology);
    options = (struct mg_vector_options){0};
    if (mg_vector_read(path, &options, &table, &err))
        fail_msg("TopoJSON: %s", err.text);
    assert_string_equal(table->crs, "OGC:CRS84");
    mg_table_unref(&table);
}

/* A file that is replaced is read anew. */
static void test_changed(void **state)
{
    struct mg_vector_options options = {0};
    struct mg_table *table = NULL;
    const char *path = write_file("changed.geojson", points);
    (void)state;
    assert_int_equal(mg_vector_read(path, &options, &table, NULL), MG_OK);
    assert_int_equal(table->rows, 6);
    struct mg_table *old = table;
    table = NULL;
    path = write_file("changed.geojson", COLLECTION(FEATURE(8, 1, 1)));
    assert_int_equal(mg_vector_read(path, &options, &table, NULL), MG_OK);
    assert_int_equal(table->rows, 1);
    assert_int_equal(old->rows, 6); /* who holds the old one keeps it */
    mg_table_unref(&old);
    mg_table_unref(&table);
}

static void test_info(void **state)
{
    const char *path = write_file("info.geojson", points);
    struct mg_vector_info info;
    struct mg_errmsg err = {0};
    (void)state;
    assert_int_equal(mg_vector_info(path, NULL, &info, &err), MG_OK);
    assert_string_equal(info.driver, "GeoJSON");
    assert_string_equal(info.crs, "EPSG:4326");
    assert_string_equal(info.columns, "n, name");
    assert_int_equal(info.rows, 6);
    assert_true(info.degrees.xmin == -179 && info.degrees.ymax == 10.5);
}

/* The index finds what a walk over all boxes finds. */
struct counted {
    uint32_t hits[4000];
    uint32_t n;
};
static void count(void *context, uint32_t id, bool whole)
{
    struct counted *counted = context;
    (void)whole;
    counted->hits[id]++;
    counted->n++;
}

static void test_index(void **state)
{
    enum { N = 4000 };
    static struct mg_bounds boxes[N];
    static struct counted counted;
    (void)state;
    srand(12);
    for (int n = 0; n <= N; n = n < 20 ? n + 1 : n * 3 > N && n < N ? N : n * 3) {
        for (int i = 0; i < n; i++) {
            double x = rand() % 1000, y = rand() % 1000;
            boxes[i] = (struct mg_bounds){x, y, x + rand() % 20, y + rand() % 20};
        }
        if (n > 5)
            boxes[3] = (struct mg_bounds){1, 1, 0, 0}; /* left out */
        struct mg_rtree *tree = mg_rtree_new(boxes, (uint32_t)n);
        assert_non_null(tree);
        for (int q = 0; q < 50; q++) {
            double x = rand() % 1000 - 50, y = rand() % 1000 - 50,
                   size = rand() % (q % 5 ? 100 : 2000);
            struct mg_bounds query = {x, y, x + size, y + size};
            memset(&counted, 0, sizeof counted);
            mg_rtree_query(tree, query, count, &counted);
            for (int i = 0; i < n; i++) {
                bool meets = boxes[i].xmin <= boxes[i].xmax && boxes[i].xmin <= query.xmax &&
                             boxes[i].xmax >= query.xmin && boxes[i].ymin <= query.ymax &&
                             boxes[i].ymax >= query.ymin;
                if (counted.hits[i] != (uint32_t)meets)
                    fail_msg("of %d boxes number %d is hit %u times", n, i, counted.hits[i]);
            }
        }
        mg_rtree_free(&tree);
    }
}

static int setup(void **state)
{
    (void)state;
    mg_gdal_setup();
    snprintf(folder, sizeof folder, "/tmp/moongate-vector-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const files[] = {"points.geojson",  "columns.geojson", "errors.geojson",
                                        "broken.geojson",  "utm.csv",         "land.json",
                                        "changed.geojson", "info.geojson"};
    char path[128];
    (void)state;
    layer_cache_clear();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_select),  cmocka_unit_test(test_columns),
        cmocka_unit_test(test_errors),  cmocka_unit_test(test_crs),
        cmocka_unit_test(test_changed), cmocka_unit_test(test_info),
        cmocka_unit_test(test_index),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
