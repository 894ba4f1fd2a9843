/* Shapes of whole tables, against figures of others: shapely (GEOS 3.14) for joins, pyproj's Geod for
 * measures, scikit-learn's DBSCAN for clusters. Points and polygons come from one generator, which theirs
 * came from too. */
#include "moongate/vector_ops.h"

#include "moongate/raster_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

static struct mg_span span_of(const struct mg_buf *buf)
{
    return (struct mg_span){buf->data, buf->len};
}

static struct mg_buf wkb_of(const char *wkt)
{
    struct mg_buf out;
    struct mg_errmsg err = {""};
    mg_buf_init(&out, 0);
    if (mg_wkb_from_wkt(mg_span(wkt), &out, &err))
        fail_msg("%s: %s", wkt, err.text);
    return out;
}

/* A table of one column of shapes. "" is null. */
static struct mg_table *table_of(const char *const *wkts, size_t n, const char *crs)
{
    struct mg_table_builder *builder = mg_table_builder_new(crs);
    struct mg_table *table = NULL;
    assert_int_equal(mg_table_builder_column(builder, "id", MG_COL_INT64), 0);
    assert_int_equal(mg_table_builder_column(builder, "geometry", MG_COL_WKB), 1);
    for (size_t i = 0; i < n; i++) {
        struct mg_buf wkb = {0};
        struct mg_cell id = {.type = MG_CELL_INT, .i = (int64_t)i};
        mg_table_builder_set(builder, 0, &id);
        if (wkts[i][0]) {
            wkb = wkb_of(wkts[i]);
            struct mg_cell cell = {.type = MG_CELL_BINARY, .s = span_of(&wkb)};
            mg_table_builder_set(builder, 1, &cell);
        }
        mg_table_builder_row(builder);
        mg_buf_fini(&wkb);
    }
    assert_int_equal(mg_table_builder_finish(&builder, &table, NULL), MG_OK);
    return table;
}

/* ---- the generator (Knuth's MMIX) ---- */

static uint64_t state_of_chance;
static double chance(void)
{
    state_of_chance = state_of_chance * 6364136223846793005u + 1442695040888963407u;
    return (double)(state_of_chance >> 11) / 9007199254740992.0;
}

/* `points` points in 10 x 10 degrees, then `polygons` of 24 corners: those of the two tables. */
static void make_tables(size_t points, size_t polygons, struct mg_table **a, struct mg_table **b)
{
    struct mg_table_builder *builders[2] = {mg_table_builder_new("EPSG:4326"),
                                            mg_table_builder_new("EPSG:4326")};
    struct mg_buf wkb;
    mg_buf_init(&wkb, 0);
    state_of_chance = 1;
    for (int i = 0; i < 2; i++)
        assert_int_equal(mg_table_builder_column(builders[i], "geometry", MG_COL_WKB), 0);
    for (size_t i = 0; i < points + polygons; i++) {
        static const uint32_t polygon = 3, one = 1, corners = 25;
        double x = chance() * 10, y = chance() * 10;
        wkb.len = 0;
        if (i < points) {
            mg_wkb_point(x, y, &wkb);
        } else {
            double radius = 0.05 + chance() * 0.5;
            mg_buf_char(&wkb, 1);
            mg_buf_put(&wkb, &polygon, 4);
            mg_buf_put(&wkb, &one, 4);
            mg_buf_put(&wkb, &corners, 4);
            for (int k = 0; k <= 24; k++) {
                double xy[2] = {x + radius * cos(2 * M_PI * (k % 24) / 24),
                                y + radius * sin(2 * M_PI * (k % 24) / 24)};
                mg_buf_put(&wkb, xy, sizeof xy);
            }
        }
        struct mg_cell cell = {.type = MG_CELL_BINARY, .s = span_of(&wkb)};
        mg_table_builder_set(builders[i >= points], 0, &cell);
        mg_table_builder_row(builders[i >= points]);
    }
    mg_buf_fini(&wkb);
    assert_int_equal(mg_table_builder_finish(&builders[0], a, NULL), MG_OK);
    assert_int_equal(mg_table_builder_finish(&builders[1], b, NULL), MG_OK);
}

/* ---- measures ---- */

static void test_measures(void **state)
{
    (void)state;
    static const struct {
        const char *wkt, *crs;
        double area, length, within;
        const char *what;
    } rows[] = {
        {"POLYGON((0 0,1 0,1 1,0 1,0 0))", "EPSG:4326", 12308778361.469452, 443770.91724830196, 1e-9,
         "a degree"},
        {"POLYGON((0 0,0 1,1 1,1 0,0 0))", "OGC:CRS84", 12308778361.469452, 443770.91724830196, 1e-9,
         "the other way round is as large"},
        {"POLYGON((8 46,9 46,9 47,8 47,8 46),(8.2 46.2,8.4 46.2,8.4 46.4,8.2 46.4,8.2 46.2))", "EPSG:4326",
         8190219066.879349, 451120.6872546411, 1e-9, "a hole is taken off, its ring counts"},
        {"POLYGON((179 -17,181 -17,181 -16,179 -16,179 -17))", "EPSG:4326", 23631413768.383423,
         648366.5327767831, 1e-9, "over the antimeridian"},
        {"POLYGON((179 -17,-179 -17,-179 -16,179 -16,179 -17))", "EPSG:4326", 23631413768.383423,
         648366.5327767831, 1e-9, "the same with longitudes within 180"},
        {"MULTIPOLYGON(((0 0,1 0,1 1,0 1,0 0)),((10 60,11 60,10 61,10 60)))", "EPSG:4326", 15417396036.281097,
         735224.2469255283, 1e-9, "two"},
        {"LINESTRING(-34.9 -8,-34.8 -8.1,13.4 52.5)", "EPSG:4326", 0, 8133823.531512285, 1e-9,
         "a line has no area"},
        {"POINT(1 2)", "EPSG:4326", 0, 0, 0, "a point has neither"},
        {"POLYGON EMPTY", "EPSG:4326", 0, 0, 0, "nor has nothing"},
        {"POLYGON((0 0,100 0,100 50,0 50,0 0))", "EPSG:32725", 5000, 300, 0, "metres of a plane"},
        {"POLYGON((890555.9263461885 5780349.220256351,1001875.4171394621 5780349.220256351,"
         "1001875.4171394621 5942074.072431109,890555.9263461885 5942074.072431109,"
         "890555.9263461885 5780349.220256351))",
         "EPSG:3857", 8532776592.456238, 375840.43730833626, 1e-8, "Mercator's metres are none: 8 46 9 47"},
        {"POLYGON((0 0,1 0,1 1,0 1,0 0))", "EPSG:4674", 12308778361.469452, 443770.91724830196, 1e-6,
         "degrees of another datum"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf wkb = wkb_of(rows[i].wkt);
        struct mg_errmsg err = {""};
        double area = -1, length = -1;
        if (mg_ground_measure(span_of(&wkb), rows[i].crs, &area, &length, &err))
            fail_msg("%s: %s", rows[i].what, err.text);
        if (fabs(area - rows[i].area) > rows[i].area * rows[i].within ||
            fabs(length - rows[i].length) > rows[i].length * rows[i].within)
            fail_msg("%s: %.10g %.10g", rows[i].what, area, length);
        mg_buf_fini(&wkb);
    }
    double area;
    struct mg_errmsg err = {""};
    assert_int_equal(mg_ground_measure(MG_SPAN("\1\3"), "EPSG:4326", &area, NULL, &err), MG_E_ARGUMENT);
    assert_int_equal(mg_ground_measure(MG_SPAN("\1\3"), "EPSG:0", &area, NULL, &err), MG_E_NO_CRS);
}

static void test_distances(void **state)
{
    (void)state;
#define SQUARE "POLYGON((8 46,9 46,9 47,8 47,8 46))"
    static const struct {
        const char *a, *b, *crs;
        double expected, within;
        const char *what;
    } rows[] = {
        {"POINT(-34.9 -8)", "POINT(-34.88 -8.05)", "EPSG:4326", 5953.106979349092, 1e-12, "two points"},
        {"POINT(179.9 0)", "POINT(-179.9 0)", "EPSG:4326", 22263.898158653446, 1e-12,
         "over the antimeridian"},
        {"POINT(0 89)", "POINT(180 89)", "EPSG:4326", 223387.72982839972, 1e-12, "over the pole"},
        {"POINT(13.4 52.5)", "POINT(-0.1 51.5)", "EPSG:4326", 932412.2154469572, 1e-12, "far apart"},
        {"POINT(7.9 46.5)", SQUARE, "EPSG:4326", 7676.257268466375, 1e-3, "a polygon's side"},
        {SQUARE, "POINT(9.3 47.2)", "EPSG:4326", 31828.2337680373, 1e-3, "a polygon's corner"},
        {"POINT(8.5 45.2)", SQUARE, "EPSG:4326", 88914.80214141578, 1e-3, "from the south"},
        {"POINT(8.5 46.5)", SQUARE, "EPSG:4326", 0, 0, "inside"},
        {"LINESTRING(179 0,179.9 0)", "LINESTRING(-179.9 0,-179 0)", "EPSG:4326", 22263.898158653446, 1e-6,
         "lines over the antimeridian"},
        {"POINT(0 0)", "LINESTRING(3 4,3 10)", "EPSG:32725", 5, 0, "in a plane"},
        {"POINT(0 0)", "POINT(3 4)", "EPSG:32725", 5, 0, "points in a plane"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf a = wkb_of(rows[i].a), b = wkb_of(rows[i].b);
        struct mg_errmsg err = {""};
        double found = -1;
        if (mg_ground_distance(span_of(&a), span_of(&b), rows[i].crs, &found, &err))
            fail_msg("%s: %s", rows[i].what, err.text);
        if (fabs(found - rows[i].expected) > rows[i].expected * rows[i].within)
            fail_msg("%s: %.10g", rows[i].what, found);
        mg_buf_fini(&a);
        mg_buf_fini(&b);
    }
    struct mg_buf a = wkb_of("POINT EMPTY"), b = wkb_of("POINT(1 2)");
    double found = 0;
    assert_int_equal(mg_ground_distance(span_of(&a), span_of(&b), "EPSG:4326", &found, NULL), MG_OK);
    assert_true(isnan(found));
    mg_buf_fini(&a);
    mg_buf_fini(&b);
}

static void test_buffers(void **state)
{
    (void)state;
    static const struct {
        const char *wkt, *crs;
        double metres, area;
        const char *what;
    } rows[] = {
        {"POINT(-34.9 -8)", "EPSG:4326", 500, 500 * 500 * M_PI, "Olinda"},
        {"POINT(25 70)", "EPSG:4326", 1000, 1e6 * M_PI, "the north"},
        {"POINT(180 -17)", "EPSG:4326", 10000, 1e8 * M_PI, "on the antimeridian"},
        {"POINT(-3885050.230 -893463.751)", "EPSG:3857", 500, 500 * 500 * M_PI, "Mercator's metres are none"},
        {"POINT(500000 9000000)", "EPSG:32725", 500, 500 * 500 * M_PI, "a plane"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf wkb = wkb_of(rows[i].wkt), out;
        struct mg_errmsg err = {""};
        struct mg_bounds b;
        double area = 0;
        mg_buf_init(&out, 0);
        if (mg_ground_buffer(span_of(&wkb), rows[i].crs, rows[i].metres, 32, &out, &err) ||
            mg_ground_measure(span_of(&out), rows[i].crs, &area, NULL, &err))
            fail_msg("%s: %s", rows[i].what, err.text);
        if (fabs(area / rows[i].area - 1) > 3e-3) /* UTM's own scale is within 1 in 1000, twice */
            fail_msg("%s: %.10g of %.10g", rows[i].what, area, rows[i].area);
        if (mg_crs_is_lnglat(rows[i].crs))
            assert_true(mg_wkb_bounds(span_of(&out), &b) && b.xmin >= -180 && b.xmax <= 180);
        mg_buf_fini(&wkb);
        mg_buf_fini(&out);
    }
}

/* ---- joins ---- */

static int64_t digest(const struct mg_pairs *pairs)
{
    int64_t sum = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        sum += (pairs->left[i] + 1) * (pairs->right[i] + 1);
        if (i && (pairs->left[i] < pairs->left[i - 1] ||
                  (pairs->left[i] == pairs->left[i - 1] && pairs->right[i] <= pairs->right[i - 1])))
            fail_msg("pair %zu is out of order", i);
    }
    return sum % 1000003;
}

static void test_join(void **state)
{
    (void)state;
    struct mg_table *points, *polygons;
    make_tables(2000, 200, &points, &polygons);
    const struct {
        const struct mg_table *left, *right;
        const char *predicate;
        size_t n;
        int64_t digest;
        const char *what;
    } rows[] = {
        {points, polygons, "within", 1410, 305875, "points within polygons"},
        {points, polygons, "intersects", 1410, 305875, "none lies on an edge"},
        {points, polygons, "covered_by", 1410, 305875, "nor then"},
        {polygons, points, "contains", 1410, 305875, "the other way round"},
        {polygons, points, "within", 0, 0, "no polygon lies within a point"},
        {polygons, polygons, "overlaps", 404, 424906, "polygons with themselves"},
        {polygons, polygons, "contains", 227, 958673, "each contains itself"},
        {polygons, polygons, "covers", 227, 958673, "and covers"},
        {points, points, "touches", 0, 0, "points touch nothing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_pairs pairs = {0};
        struct mg_errmsg err = {""};
        int predicate = mg_join_find(mg_span(rows[i].predicate));
        assert_true(predicate >= 0);
        if (mg_vector_join(rows[i].left, rows[i].right, predicate, &pairs, &err))
            fail_msg("%s: %s", rows[i].what, err.text);
        if (pairs.n != rows[i].n || digest(&pairs) != rows[i].digest)
            fail_msg("%s: %zu pairs, %lld", rows[i].what, pairs.n, (long long)digest(&pairs));
        mg_pairs_free(&pairs);
    }
    assert_int_equal(mg_join_find(MG_SPAN("near")), -1);
    mg_table_unref(&points);
    mg_table_unref(&polygons);
}

static void test_join_edges(void **state)
{
    (void)state;
    static const char *const a[] = {"", "POINT(1 1)", "POINT EMPTY", "POINT(0 0)", "POINT(50 50)"};
    static const char *const bow[] = {"POLYGON((0 0,4 4,4 0,0 4,0 0))", "", "POLYGON EMPTY"};
    static const char *const merc[] = {
        "POLYGON((-1000 -1000,200000 -1000,200000 200000,-1000 200000,-1000 -1000))"};
    struct mg_table *points = table_of(a, 5, "EPSG:4326"), *invalid = table_of(bow, 3, "EPSG:4326"),
                    *mercator = table_of(merc, 1, "EPSG:3857"), *none = table_of(NULL, 0, "EPSG:4326");
    struct mg_pairs pairs = {0};
    assert_int_equal(mg_vector_join(points, mercator, mg_join_find(MG_SPAN("within")), &pairs, NULL), MG_OK);
    assert_int_equal(pairs.n, 2); /* brought into the CRS of the first */
    assert_int_equal(pairs.left[0], 1);
    assert_int_equal(pairs.left[1], 3);
    mg_pairs_free(&pairs);
    assert_int_equal(mg_vector_join(points, invalid, mg_join_find(MG_SPAN("intersects")), &pairs, NULL),
                     MG_OK);
    assert_int_equal(pairs.n, 2);
    mg_pairs_free(&pairs);
    assert_int_equal(mg_vector_join(none, points, 0, &pairs, NULL), MG_OK);
    assert_int_equal(pairs.n, 0);
    mg_pairs_free(&pairs);
    assert_int_equal(mg_vector_join(points, none, 0, &pairs, NULL), MG_OK);
    assert_int_equal(pairs.n, 0);
    mg_pairs_free(&pairs);
    assert_int_equal(mg_vector_nearest(points, none, INFINITY, &pairs, NULL), MG_OK);
    assert_int_equal(pairs.n, 0);
    mg_pairs_free(&pairs);
    mg_table_unref(&points);
    mg_table_unref(&invalid);
    mg_table_unref(&mercator);
    mg_table_unref(&none);
}

static void test_nearest(void **state)
{
    (void)state;
    struct mg_table *points, *polygons, *some, *others;
    struct mg_pairs pairs = {0};
    int64_t rows[1000], hash = 0;
    double sum = 0;
    make_tables(2000, 1, &points, &polygons);
    for (int i = 0; i < 1000; i++)
        rows[i] = i;
    assert_int_equal(mg_table_take(points, rows, 200, NULL, 0, &some, NULL), MG_OK);
    for (int i = 0; i < 1000; i++)
        rows[i] = 1000 + i;
    assert_int_equal(mg_table_take(points, rows, 1000, NULL, 0, &others, NULL), MG_OK);
    assert_int_equal(mg_vector_nearest(some, others, INFINITY, &pairs, NULL), MG_OK);
    assert_int_equal(pairs.n, 200);
    for (size_t i = 0; i < pairs.n; i++) {
        hash = (hash + (pairs.left[i] + 1) * (pairs.right[i] + 1)) % 1000003;
        sum += pairs.distance[i];
    }
    assert_int_equal(hash, 71312);
    assert_true(fabs(sum - 3812336.8710992383) < 1e-3);
    size_t near = 0;
    for (size_t i = 0; i < pairs.n; i++)
        near += pairs.distance[i] <= 10000;
    mg_pairs_free(&pairs);
    assert_int_equal(mg_vector_nearest(some, others, 10000, &pairs, NULL), MG_OK);
    assert_int_equal(pairs.n, near);
    mg_pairs_free(&pairs);
    mg_table_unref(&points);
    mg_table_unref(&polygons);
    mg_table_unref(&some);
    mg_table_unref(&others);

    static const char *const from[] = {"POINT(179.99 10)", "POINT(10 89.9)", ""};
    static const char *const to[] = {"POINT(170 10)", "POINT(-179.95 10)", "POINT(-170 89.8)", "",
                                     "POINT(10 80)"};
    struct mg_table *a = table_of(from, 3, "EPSG:4326"), *b = table_of(to, 5, "EPSG:4326");
    assert_int_equal(mg_vector_nearest(a, b, INFINITY, &pairs, NULL), MG_OK);
    assert_int_equal(pairs.n, 2);
    assert_int_equal(pairs.right[0], 1); /* over the antimeridian */
    assert_int_equal(pairs.right[1], 2); /* over the pole */
    mg_pairs_free(&pairs);
    assert_int_equal(mg_vector_nearest(a, b, NAN, &pairs, NULL), MG_E_ARGUMENT);
    mg_table_unref(&a);
    mg_table_unref(&b);
}

/* ---- unions, parts, clusters, grids ---- */

static void test_union(void **state)
{
    (void)state;
    struct mg_buf a = wkb_of("POLYGON((0 0,2 0,2 2,0 2,0 0))"), b = wkb_of("POLYGON((1 0,3 0,3 2,1 2,1 0))"),
                  bow = wkb_of("POLYGON((10 0,14 4,14 0,10 4,10 0))"), out;
    struct mg_span all[] = {span_of(&a), {NULL, 0}, span_of(&b), span_of(&bow), span_of(&a)};
    double area = 0;
    mg_buf_init(&out, 0);
    assert_int_equal(mg_wkb_union_all(all, 3, &out, NULL), MG_OK);
    assert_int_equal(mg_wkb_measure(span_of(&out), &area, NULL, NULL), MG_OK);
    assert_true(area == 6);
    out.len = 0;
    assert_int_equal(mg_wkb_union_all(all, 5, &out, NULL), MG_OK);
    assert_int_equal(mg_wkb_measure(span_of(&out), &area, NULL, NULL), MG_OK);
    assert_true(area == 14);
    out.len = 0;
    assert_int_equal(mg_wkb_union_all(all, 0, &out, NULL), MG_OK);
    assert_int_equal(mg_wkb_type(span_of(&out)), 7);
    mg_buf_fini(&a);
    mg_buf_fini(&b);
    mg_buf_fini(&bow);
    mg_buf_fini(&out);
}

static enum mg_err count_part(void *context, struct mg_span wkb, struct mg_errmsg *err)
{
    (void)err;
    *(int *)context = *(int *)context * 10 + mg_wkb_type(wkb);
    return MG_OK;
}

static void test_explode(void **state)
{
    (void)state;
    static const struct {
        const char *wkt;
        int types;
        const char *what;
    } rows[] = {
        {"POINT(1 2)", 1, "a point is its own part"},
        {"MULTIPOINT((1 2),(3 4),(5 6))", 111, "three points"},
        {"GEOMETRYCOLLECTION(POINT(1 2),MULTILINESTRING((0 0,1 1),(2 2,3 3)),GEOMETRYCOLLECTION(POLYGON((0 "
         "0,1 0,1 "
         "1,0 0))))",
         1223, "however deep"},
        {"GEOMETRYCOLLECTION EMPTY", 0, "nothing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf wkb = wkb_of(rows[i].wkt);
        int types = 0;
        assert_int_equal(mg_wkb_explode(span_of(&wkb), count_part, &types, NULL), MG_OK);
        if (types != rows[i].types)
            fail_msg("%s: %d", rows[i].what, types);
        mg_buf_fini(&wkb);
    }
}

static void test_cluster(void **state)
{
    (void)state;
    struct mg_table *points, *polygons;
    make_tables(2000, 1, &points, &polygons);
    int32_t *labels = malloc(2000 * sizeof *labels), most = 0;
    int noise = 0;
    assert_int_equal(mg_vector_cluster(points, 25000, 5, labels, NULL), MG_OK);
    for (int i = 0; i < 2000; i++) {
        most = labels[i] > most ? labels[i] : most;
        noise += labels[i] == 0;
    }
    assert_int_equal(most, 129);
    assert_int_equal(noise, 653);
    assert_int_equal(mg_vector_cluster(points, 0, 5, labels, NULL), MG_E_ARGUMENT);
    assert_int_equal(mg_vector_cluster(points, 1e-5, 5, labels, NULL), MG_OK);
    assert_int_equal(mg_vector_cluster(points, 1e9, 1, labels, NULL), MG_OK);
    assert_int_equal(labels[1999], 1);
    free(labels);
    mg_table_unref(&points);
    mg_table_unref(&polygons);
    static const char *const over[] = {"POINT(179.999 10)", "POINT(-179.999 10)", "", "POINT(0 10)",
                                       "POINT EMPTY"};
    struct mg_table *t = table_of(over, 5, "EPSG:4326");
    int32_t five[5];
    assert_int_equal(mg_vector_cluster(t, 1000, 2, five, NULL), MG_OK);
    assert_true(five[0] == 1 && five[1] == 1 && five[2] == 0 && five[3] == 0 && five[4] == 0);
    mg_table_unref(&t);
}

static void test_grid(void **state)
{
    (void)state;
    static const char *const at[] = {"POINT(1 1)",   "POINT(9 9)",
                                     "POINT(11 1)",  "",
                                     "POINT(-1 -1)", "POLYGON((20 20,24 20,24 24,20 24,20 20))"};
    struct mg_table *t = table_of(at, 6, "EPSG:32725"), *cells = NULL;
    for (int hexagons = 0; hexagons < 2; hexagons++) {
        struct mg_span shapes[8];
        struct mg_cursor *n = NULL;
        double area = 0, all = 0;
        assert_int_equal(mg_vector_grid(t, hexagons, 10, "EPSG:32725", &cells, NULL), MG_OK);
        assert_true(cells->rows <= 8);
        assert_int_equal(mg_table_shapes(cells, shapes, NULL), MG_OK);
        assert_int_equal(mg_cursor_open(cells, 0, 0, &n, NULL), MG_OK);
        for (int64_t i = 0; i < cells->rows; i++) {
            struct mg_cell count;
            mg_cursor_get(n, i, &count);
            all += (double)count.i;
            assert_int_equal(mg_wkb_measure(shapes[i], &area, NULL, NULL), MG_OK);
            assert_true(fabs(area - (hexagons ? 100 * sqrt(3) / 2 : 100)) < 1e-9);
        }
        assert_true(all == 5);
        assert_int_equal(cells->rows, hexagons ? 4 : 4);
        /* Each point lies in a cell. */
        struct mg_pairs pairs = {0};
        assert_int_equal(mg_vector_join(t, cells, mg_join_find(MG_SPAN("intersects")), &pairs, NULL), MG_OK);
        bool held[6] = {false};
        for (size_t i = 0; i < pairs.n; i++)
            held[pairs.left[i]] = true;
        assert_true(held[0] && held[1] && held[2] && !held[3] && held[4] && held[5]);
        mg_pairs_free(&pairs);
        mg_cursor_close(&n);
        mg_table_unref(&cells);
    }
    assert_int_equal(mg_vector_grid(t, false, 0, "EPSG:32725", &cells, NULL), MG_E_ARGUMENT);
    assert_int_equal(mg_vector_grid(t, false, 10, "EPSG:0", &cells, NULL), MG_E_NO_CRS);
    mg_table_unref(&t);
}

static void test_beside(void **state)
{
    (void)state;
    static const char *const a[] = {"POINT(1 1)", "POINT(2 2)"}, *const b[] = {"POINT(3 3)"};
    struct mg_table *left = table_of(a, 2, "EPSG:4326"), *right = table_of(b, 1, "EPSG:3857"), *out = NULL,
                    *none = table_of(NULL, 0, "EPSG:4326");
    const int64_t left_rows[] = {1, 0, 1}, right_rows[] = {0, -1, 0}, nulls[] = {-1, -1, -1};
    struct mg_cursor *cursor = NULL;
    struct mg_cell cell;
    assert_int_equal(mg_table_beside(left, left_rows, right, right_rows, 3, &out, NULL), MG_OK);
    assert_int_equal(out->rows, 3);
    assert_int_equal(out->schema.n_children, 3);
    assert_string_equal(out->schema.children[2]->name, "id_right");
    assert_string_equal(out->crs, "EPSG:4326");
    assert_int_equal(mg_cursor_open(out, 0, 2, &cursor, NULL), MG_OK);
    mg_cursor_get(cursor, 0, &cell);
    assert_true(cell.type == MG_CELL_INT && cell.i == 0);
    mg_cursor_get(cursor, 1, &cell);
    assert_int_equal(cell.type, MG_CELL_NULL);
    mg_cursor_close(&cursor);
    mg_table_unref(&out);
    assert_int_equal(mg_table_beside(left, left_rows, none, nulls, 3, &out, NULL), MG_OK);
    assert_int_equal(out->rows, 3);
    mg_table_unref(&out);
    const char *const names[] = {"a", "b"}, *const twice[] = {"a", "a"};
    assert_int_equal(mg_table_rename(left, names, &out, NULL), MG_OK);
    assert_string_equal(out->schema.children[1]->name, "b");
    assert_int_equal(out->geometry, 1);
    mg_table_unref(&out);
    assert_int_equal(mg_table_rename(left, twice, &out, NULL), MG_E_ARGUMENT);
    mg_table_unref(&left);
    mg_table_unref(&right);
    mg_table_unref(&none);
}

static int set_up(void **state)
{
    (void)state;
    mg_gdal_setup();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measures), cmocka_unit_test(test_distances),  cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_join),     cmocka_unit_test(test_join_edges), cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_union),    cmocka_unit_test(test_explode),    cmocka_unit_test(test_cluster),
        cmocka_unit_test(test_grid),     cmocka_unit_test(test_beside),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
