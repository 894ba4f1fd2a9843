/* Statements over tables: what they read, what they give, what they refuse; files, memory, forks. */
#include "moongate/geometry.h"
#include "moongate/raster_read.h"
#include "moongate/sql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/moongate-sql-XXXXXX";

static struct mg_table *must(const struct mg_sql_query *query)
{
    struct mg_errmsg why = {""};
    struct mg_table *table = NULL;
    enum mg_err code = mg_sql_run(query, &table, &why);
    if (code != MG_OK)
        fail_msg("%.*s: %s: %s", (int)query->text.len, query->text.data, mg_err_name(code), why.text);
    return table;
}

/* All cells, "a|b\nc|d"; geometry as WKT. */
static void text_of(const struct mg_table *table, struct mg_buf *out)
{
    mg_buf_init(out, 0);
    for (size_t b = 0; b < table->n_batches; b++)
        for (int64_t row = 0; row < table->batches[b].length; row++) {
            if (out->len)
                mg_buf_char(out, '\n');
            for (int c = 0; c < table->schema.n_children; c++) {
                struct mg_cursor *cursor = NULL;
                struct mg_cell cell;
                assert_int_equal(mg_cursor_open(table, b, c, &cursor, NULL), MG_OK);
                mg_cursor_get(cursor, row, &cell);
                if (c)
                    mg_buf_char(out, '|');
                if (cell.type == MG_CELL_BINARY && c == table->geometry)
                    mg_wkb_to_wkt(cell.s, out);
                else
                    mg_cell_json(&cell, out);
                mg_cursor_close(&cursor);
            }
        }
}

static void expect(const struct mg_sql_query *query, const char *wanted, const char *sentence)
{
    struct mg_buf text;
    struct mg_table *table = must(query);
    text_of(table, &text);
    if (strcmp(text.data ? text.data : "", wanted) != 0)
        fail_msg("%s: %.*s gave %s instead of %s", sentence, (int)query->text.len, query->text.data,
                 text.data ? text.data : "nothing", wanted);
    mg_buf_fini(&text);
    mg_table_unref(&table);
}

/* n rows: i, a text, a point (i, 2 i); every seventh point is null. */
static struct mg_table *points(int64_t n, const char *crs)
{
    struct mg_table_builder *builder = mg_table_builder_new(crs);
    struct mg_table *table = NULL;
    struct mg_buf wkb;
    mg_buf_init(&wkb, 0);
    mg_table_builder_column(builder, "i", MG_COL_INT64);
    mg_table_builder_column(builder, "name", MG_COL_STRING);
    mg_table_builder_column(builder, "geometry", MG_COL_WKB);
    for (int64_t i = 0; i < n; i++) {
        char name[40];
        snprintf(name, sizeof name, "the name of row %lld", (long long)i);
        wkb.len = 0;
        mg_wkb_point((double)i, 2.0 * (double)i, &wkb);
        mg_table_builder_set(builder, 0, &(struct mg_cell){.type = MG_CELL_INT, .i = i});
        mg_table_builder_set(builder, 1, &(struct mg_cell){.type = MG_CELL_STRING, .s = mg_span(name)});
        if (i % 7)
            mg_table_builder_set(builder, 2,
                                 &(struct mg_cell){.type = MG_CELL_BINARY, .s = {wkb.data, wkb.len}});
        mg_table_builder_row(builder);
    }
    assert_int_equal(mg_table_builder_finish(&builder, &table, NULL), MG_OK);
    mg_buf_fini(&wkb);
    return table;
}

static void test_reads(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *wanted, *sentence;
    } rows[] = {
        {"select i, name from t where i in (3, 4999) order by i",
         "3|\"the name of row 3\"\n4999|\"the name of row 4999\"", "rows of the first and the last slice"},
        {"select count(*) from t", "5000", "no column at all"},
        {"select sum(a.i) from t a join t b on a.i = b.i", "12497500", "a table twice in one statement"},
        {"select count(geometry), count(*) from t", "4285|5000", "nulls"},
        {"select max(st_y(geometry)) from t", "9998", "the geometry alone"},
        {"select name, name as n2 from t where i = 1", "\"the name of row 1\"|\"the name of row 1\"",
         "a column twice"},
        {"select i from t where i < 0", "", "no rows"},
        {"with recursive r(n) as (select 1 union all select n + 1 from r where n < 4) select sum(n) from r",
         "10", "with"},
        {"values (1, 'a'), (2, null)", "1|\"a\"\n2|null", "values"},
        {"from t select i limit 1 offset 4097", "4097", "from first"},
        {"select * from \"an \"\"odd\"\" name\"",
         "0|\"the name of row 0\"|null\n1|\"the name of row 1\"|POINT(1 2)",
         "a name that has to be quoted"},
        {"select 1 as a, 2 as a, 3 as a", "1|2|3", "columns of one name"},
        {"select date '2020-02-29', timestamptz '2020-02-29 01:00:00+02', 1.25::decimal(9,2), [1, null], "
         "{'k': 'v'}",
         "\"2020-02-29\"|\"2020-02-28T23:00:00Z\"|1.25|[1,null]|{\"k\":\"v\"}", "types"},
        {"select -- a comment; with a semicolon\n ';' as s", "\";\"", "semicolons that end nothing"},
        {"select 1;", "1", "one that ends it"},
        {"select count(*) from e", "0", "a table without rows or batches"},
    };
    struct mg_table *t = points(5000, "EPSG:3857"), *odd = points(2, NULL), *none = points(0, NULL);
    struct mg_table hollow = *none;
    hollow.n_batches = 0;
    const struct mg_sql_table tables[] = {{"t", t}, {"an \"odd\" name", odd}, {"e", &hollow}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(&(struct mg_sql_query){.text = mg_span(rows[i].sql), .tables = tables, .n_tables = 3},
               rows[i].wanted, rows[i].sentence);
    mg_table_unref(&t);
    mg_table_unref(&odd);
    mg_table_unref(&none);
}

/* Every type goes out and comes in again: in slices, in one large batch, and behind an offset. */
static void test_types(void **state)
{
    (void)state;
    static const char all[] =
        "select i, case when i % 5 > 0 then i % 250 end::utinyint u8, (i - 2500)::smallint i16, "
        "i::uinteger u32, i::ubigint u64, "
        "i::hugeint huge, i / 7.0::float f, case when i % 3 > 0 then i / 3.0 end d, i % 2 = 0 b, (i / "
        "8.0)::decimal(18,3) dc, "
        "case when i % 4 > 0 then 'text that is long ' || i end s, 'x' || i short, ('b' || i)::blob bin, "
        "date '2020-01-01' + i::int da, timestamp '2020-01-01' + interval (i) minute ts, "
        "timestamptz '2020-01-01 00:00:00+00' + interval (i) second tz, time '00:00:00' + interval (i) "
        "second ti, "
        "case when i % 6 > 0 then range(i % 4) end li, {'a': i, 'b': case when i % 2 > 0 then 'c' || i "
        "end} st, "
        "[i, i + 1, i + 2]::bigint[3] fl, map {'k' || i: i} ma, "
        "(['r', 'g', 'b'])[1 + i % 3]::enum('r', 'g', 'b') en, [{'x': [i]}] nested, null nu "
        "from range(5000) r(i)";
    struct mg_table *first = must(&(struct mg_sql_query){.text = mg_span(all)}), *whole = NULL;
    assert_int_equal(first->rows, 5000);
    assert_true(first->n_batches > 1);
    int64_t *order = malloc(5000 * sizeof *order);
    for (int64_t i = 0; i < 5000; i++)
        order[i] = i;
    assert_int_equal(mg_table_take(first, order, 5000, NULL, 0, &whole, NULL), MG_OK);
    assert_int_equal(whole->n_batches, 1);
    struct mg_table behind = *whole;
    struct ArrowArray batch = whole->batches[0];
    batch.offset += 100;
    batch.length -= 100;
    behind.batches = &batch;
    behind.rows -= 100;
    const struct mg_sql_table tables[] = {{"a", first}, {"b", whole}, {"c", &behind}};
    char made[4096];
    snprintf(made, sizeof made,
             "with q as (%s) select (select count(*) from (select * from a except select * from q)), "
             "(select count(*) from (select * exclude (en) from b except select * exclude (en) from q)), "
             "(select count(*) from (select en::text from b except all select en::text from q)), "
             "(select count(*) from (select * exclude (en) from c except select * exclude (en) from q "
             "where i >= 100)), "
             "(select sum(i) from c), (select count(li) from c)",
             all);
    expect(&(struct mg_sql_query){.text = mg_span(made), .tables = tables, .n_tables = 3},
           "0|0|0|0|12492550|4083", "all types, whole, sliced and behind an offset");
    mg_table_unref(&first);
    mg_table_unref(&whole);
    free(order);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        enum mg_err err;
        const char *says, *sentence;
    } rows[] = {
        {"selec 1", MG_E_SQL, "line 1, column 1", "a syntax error has its place"},
        {"select 1,\n  nope from t", MG_E_SQL, "line 2, column 3", "an unknown column has its place"},
        {"select * from nowhere", MG_E_SQL, "nowhere", "an unknown table"},
        {"select 1; select 2", MG_E_SQL, "one statement, got 2", "two statements"},
        {"", MG_E_SQL, "one statement, got 0", "none"},
        {"-- nothing", MG_E_SQL, "one statement, got 0", "a comment alone"},
        {"create table x as select 1", MG_E_SQL, "only reads", "nothing is made"},
        {"insert into t values (1)", MG_E_SQL, "", "nothing is written"},
        {"drop view t", MG_E_SQL, "only reads", "nothing is dropped"},
        {"set memory_limit = '8GB'", MG_E_SQL, "", "no settings"},
        {"pragma threads = 4", MG_E_SQL, "", "no pragmas"},
        {"begin", MG_E_SQL, "only reads", "no transactions"},
        {"commit", MG_E_SQL, "only reads", "nor their ends"},
        {"attach '/etc/passwd' as p", MG_E_SQL, "only reads", "no databases"},
        {"install httpfs", MG_E_SQL, "only reads", "no extensions"},
        {"load 'x.so'", MG_E_SQL, "only reads", "none from files"},
        {"copy (select 1) to '/tmp/moongate-evil.csv'", MG_E_FORBIDDEN, "", "no files are written"},
        {"select * from read_csv('/etc/passwd')", MG_E_FORBIDDEN, "/etc/passwd",
         "foreign files are not read"},
        {"select * from '/etc/passwd'", MG_E_SQL, "", "not by their bare name"},
        {"select * from read_text('/proc/self/environ')", MG_E_FORBIDDEN, "", "nor the process"},
        {"select * from glob('/etc/*')", MG_E_FORBIDDEN, "", "folders are not listed"},
        {"select * from read_csv('https://127.0.0.1/x.csv')", MG_E_FORBIDDEN, "", "no network"},
        {"select getenv('HOME')", MG_E_SQL, "", "no environment"},
        {"select 1 / $x", MG_E_ARGUMENT, "$x has no value", "a parameter without value"},
        {"select interval 1 day", MG_E_ARGUMENT, "cast it", "a type that we do not have names its column"},
        {"select * from moon_scan(7)", MG_E_SQL, "no such table", "tables that were not lent"},
        {"select * from moon_scan(-1)", MG_E_SQL, "no such table", "at all"},
        {"select st_geomfromtext('POINT(')", MG_E_SQL, "st_geomfromtext", "what GEOS says"},
        {"select st_x(st_makeenvelope(0, 0, 1, 1))", MG_E_SQL, "no point", "a geometry of another kind"},
        {"select error('mine')", MG_E_SQL, "mine", "an error of the author's own"},
        {"select count(*) from (select range r, hash(range) h from range(50000000) order by h)",
         MG_E_UDF_MEMORY, "memory", "too much memory"},
        {"select st_transform(geometry, 'EPSG:4326') g from t", MG_E_NO_CRS, "ST_SetCRS",
         "a CRS that cannot be known"},
        {"select st_transform(geometry, 'nonsense') g from t", MG_E_SQL, "nonsense", "a CRS that is none"},
    };
    struct mg_table *t = points(3, "EPSG:3857");
    const struct mg_sql_table tables[] = {{"t", t}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_errmsg why = {""};
        struct mg_table *table = NULL;
        enum mg_err code = mg_sql_run(
            &(struct mg_sql_query){.text = mg_span(rows[i].sql), .tables = tables, .n_tables = 1}, &table,
            &why);
        if (code != rows[i].err || !strstr(why.text, rows[i].says) || table)
            fail_msg("%s: %s gave %s: %s", rows[i].sentence, rows[i].sql, mg_err_name(code), why.text);
    }
    assert_int_not_equal(access("/tmp/moongate-evil.csv", F_OK), 0);
    /* The statement after a failed one is not harmed, and finds nothing of those before. */
    expect(&(struct mg_sql_query){.text = MG_SPAN("select 1")}, "1", "after failures");
    struct mg_table *table = NULL;
    assert_int_equal(mg_sql_run(&(struct mg_sql_query){.text = MG_SPAN("select * from t")}, &table, NULL),
                     MG_E_SQL);
    mg_table_unref(&t);
}

static void test_parameters(void **state)
{
    (void)state;
    struct mg_buf wkb;
    mg_buf_init(&wkb, 0);
    mg_wkb_point(1, 2.5, &wkb);
    const struct mg_sql_value numbers[] = {{.kind = MG_SQL_INT, .i = 1},
                                           {.kind = MG_SQL_NULL},
                                           {.kind = MG_SQL_DOUBLE, .d = 2.5}},
                              mixed[] = {{.kind = MG_SQL_INT, .i = 1},
                                         {.kind = MG_SQL_STRING, .s = MG_SPAN("x")}};
    const struct {
        const char *sql;
        struct mg_sql_value value;
        const char *wanted; /* NULL: refused */
        const char *sentence;
    } rows[] = {
        {"select $v + 1", {.kind = MG_SQL_INT, .i = 41}, "42", "a whole number"},
        {"select $v::double", {.kind = MG_SQL_DOUBLE, .d = 0.1}, "0.1", "a number"},
        {"select $v || '!'",
         {.kind = MG_SQL_STRING, .s = MG_SPAN("it's")},
         "\"it's!\"",
         "text with a quote"},
        {"select length($v)", {.kind = MG_SQL_STRING, .s = MG_SPAN("")}, "0", "no text"},
        {"select not $v", {.kind = MG_SQL_BOOL, .b = true}, "false", "a boolean"},
        {"select $v is null", {.kind = MG_SQL_NULL}, "true", "null"},
        {"select $v + $v", {.kind = MG_SQL_INT, .i = 2}, "4", "one parameter twice"},
        {"select list_sum($v)",
         {.kind = MG_SQL_LIST, .items = numbers, .n_items = 3},
         "3.5",
         "a list with null"},
        {"select len($v)", {.kind = MG_SQL_LIST}, "0", "an empty list"},
        {"select len($v)",
         {.kind = MG_SQL_LIST, .items = mixed, .n_items = 2},
         NULL,
         "a list of two kinds"},
        {"select st_y($v)", {.kind = MG_SQL_WKB, .s = {wkb.data, wkb.len}}, "2.5", "a geometry"},
        {"select 1", {.kind = MG_SQL_INT, .i = 1}, NULL, "a value that nobody asked for"},
        {"select $w", {.kind = MG_SQL_INT, .i = 1}, NULL, "a value of another name"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct mg_sql_param param = {"v", rows[i].value};
        const struct mg_sql_query query = {.text = mg_span(rows[i].sql), .params = &param, .n_params = 1};
        struct mg_table *table = NULL;
        if (rows[i].wanted)
            expect(&query, rows[i].wanted, rows[i].sentence);
        else if (mg_sql_run(&query, &table, NULL) != MG_E_ARGUMENT)
            fail_msg("%s is taken", rows[i].sentence);
    }
    mg_buf_fini(&wkb);
}

/* Values as PostGIS gives them. */
static void test_geometry(void **state)
{
    (void)state;
    static const struct {
        const char *expression, *wanted;
    } rows[] = {
        {"st_area(st_geomfromtext('POLYGON((0 0,4 0,4 3,0 3,0 0),(1 1,2 1,2 2,1 2,1 1))'))", "11"},
        {"st_length(st_geomfromtext('LINESTRING(0 0,3 4,3 10)'))", "11"},
        {"st_length(st_makeenvelope(0,0,1,1))", "0"},
        {"st_perimeter(st_makeenvelope(0,0,2,1))", "6"},
        {"st_distance(st_point(0,0), st_makeenvelope(3,4,5,6))", "5"},
        {"st_distance(st_point(0,0), st_geomfromtext('POINT EMPTY'))", "null"},
        {"st_dwithin(st_point(0,0), st_point(3,4), 5)", "true"},
        {"st_dwithin(st_point(0,0), st_point(3,4), 4.9)", "false"},
        {"st_intersects(st_point(1,1), st_makeenvelope(0,0,1,1))", "true"},
        {"st_contains(st_makeenvelope(0,0,1,1), st_point(1,1))", "false"},
        {"st_covers(st_makeenvelope(0,0,1,1), st_point(1,1))", "true"},
        {"st_within(st_point(.5,.5), st_makeenvelope(0,0,1,1))", "true"},
        {"st_coveredby(st_point(1,1), st_makeenvelope(0,0,1,1))", "true"},
        {"st_disjoint(st_point(5,5), st_makeenvelope(0,0,1,1))", "true"},
        {"st_disjoint(st_point(1,1), st_makeenvelope(0,0,1,1))", "false"},
        {"st_disjoint(st_geomfromtext('POINT EMPTY'), st_makeenvelope(0,0,1,1))", "true"},
        {"st_touches(st_makeenvelope(0,0,1,1), st_makeenvelope(1,0,2,1))", "true"},
        {"st_crosses(st_geomfromtext('LINESTRING(-1 .5,2 .5)'), st_makeenvelope(0,0,1,1))", "true"},
        {"st_overlaps(st_makeenvelope(0,0,2,2), st_makeenvelope(1,1,3,3))", "true"},
        {"st_equals(st_geomfromtext('LINESTRING(0 0,1 1)'), st_geomfromtext('LINESTRING(1 1,0 0)'))",
         "true"},
        {"st_astext(st_intersection(st_makeenvelope(0,0,2,2), st_makeenvelope(1,1,3,3)))",
         "\"POLYGON ((2 2, 2 1, 1 1, 1 2, 2 2))\""},
        {"st_area(st_union(st_makeenvelope(0,0,2,2), st_makeenvelope(1,1,3,3)))", "7"},
        {"st_area(st_difference(st_makeenvelope(0,0,2,2), st_makeenvelope(1,1,3,3)))", "3"},
        {"st_area(st_symdifference(st_makeenvelope(0,0,2,2), st_makeenvelope(1,1,3,3)))", "6"},
        {"st_astext(st_centroid(st_makeenvelope(0,0,2,4)))", "\"POINT (1 2)\""},
        {"st_astext(st_envelope(st_geomfromtext('LINESTRING(1 2,3 0)')))",
         "\"POLYGON ((1 0, 3 0, 3 2, 1 2, 1 0))\""},
        {"st_area(st_convexhull(st_geomfromtext('MULTIPOINT(0 0,2 0,1 1,0 2)')))", "2"},
        {"round(st_area(st_buffer(st_point(0,0), 1)), 6)", "3.121445"},
        {"round(st_area(st_buffer(st_point(0,0), 1, 2)), 6)", "2.828427"},
        {"st_astext(st_simplify(st_geomfromtext('LINESTRING(0 0,1 .1,2 0)'), .5))",
         "\"LINESTRING (0 0, 2 0)\""},
        {"st_npoints(st_makeenvelope(0,0,1,1))", "5"},
        {"st_numgeometries(st_geomfromtext('MULTIPOINT(0 0,1 1)'))", "2"},
        {"st_astext(st_geometryn(st_geomfromtext('MULTIPOINT(0 0,1 1)'), 2))", "\"POINT (1 1)\""},
        {"st_geometryn(st_geomfromtext('MULTIPOINT(0 0,1 1)'), 3) is null", "true"},
        {"st_astext(st_exteriorring(st_makeenvelope(0,0,1,1)))",
         "\"LINESTRING (0 0, 1 0, 1 1, 0 1, 0 0)\""},
        {"st_astext(st_startpoint(st_geomfromtext('LINESTRING(0 0,3 4)')))", "\"POINT (0 0)\""},
        {"st_astext(st_endpoint(st_geomfromtext('LINESTRING(0 0,3 4)')))", "\"POINT (3 4)\""},
        {"st_geometrytype(st_makeenvelope(0,0,1,1))", "\"ST_Polygon\""},
        {"st_isvalid(st_geomfromtext('POLYGON((0 0,1 1,1 0,0 1,0 0))'))", "false"},
        {"st_area(st_makevalid(st_geomfromtext('POLYGON((0 0,1 1,1 0,0 1,0 0))')))", "0.5"},
        {"st_isempty(st_geomfromtext('POINT EMPTY'))", "true"},
        {"st_x(st_geomfromtext('POINT EMPTY'))", "null"},
        {"st_z(st_geomfromtext('POINT Z(1 2 3)'))", "3"},
        {"st_z(st_point(1, 2))", "null"},
        {"[st_xmin(g), st_ymin(g), st_xmax(g), st_ymax(g)] from (select st_geomfromtext('LINESTRING(1 5,3 "
         "2)') g)",
         "[1,2,3,5]"},
        {"st_asgeojson(st_geomfromgeojson('{\"type\":\"Point\",\"coordinates\":[1.5,2]}'))",
         "\"{\\\"type\\\":\\\"Point\\\",\\\"coordinates\\\":[1.5,2]}\""},
        {"round(st_x(st_transform(st_point(-34.9, -8), 'EPSG:4326', 'EPSG:3857')), 1)", "-3885050.2"},
        {"round(st_y(st_transform(st_point(-34.9, -8), 'EPSG:31985')), 1)", "9115218.8"},
        {"st_area(null::geometry)", "null"},
        {"st_intersects(null, st_point(0,0))", "null"},
        {"st_area(st_union_agg(g)) from (values (st_makeenvelope(0,0,2,2)), (st_makeenvelope(1,1,3,3)), "
         "(null)) v(g)",
         "7"},
        {"st_numgeometries(st_collect_agg(g)) from (values (st_point(0,0)), (st_point(1,1))) v(g)", "2"},
        {"st_astext(st_extent_agg(g)) from (values (st_point(0,0)), (st_point(1,3))) v(g)",
         "\"POLYGON ((0 0, 1 0, 1 3, 0 3, 0 0))\""},
        {"st_union_agg(g) is null from (values (null::geometry)) v(g)", "true"},
        {"sum(st_intersects(st_point(x, 0), st_makeenvelope(0,-1,999.5,1))::int) from range(5000) r(x)",
         "1000"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char sql[400];
        snprintf(sql, sizeof sql, "select %s", rows[i].expression);
        expect(&(struct mg_sql_query){.text = mg_span(sql)}, rows[i].wanted, "as PostGIS");
    }
}

static void test_crs(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *geometry, *crs, *sentence;
    } rows[] = {
        {"select * from m", "geometry", "EPSG:3857", "passed through"},
        {"select i, geometry as g from m", "g", "EPSG:3857", "by another name"},
        {"select m.geometry, d.i from m join d using (i)", "geometry", "EPSG:3857", "of a join"},
        {"select d.geometry, m.geometry as other from m join d using (i)", "geometry", "EPSG:4326",
         "the first counts"},
        {"select st_buffer(geometry, 1) as area from m where i = 1", NULL, "", "computed, of two tables"},
        {"select st_setcrs(st_buffer(geometry, 1), 'EPSG:3857') as area from m", "area", "EPSG:3857",
         "as the author says"},
        {"select st_setcrs(st_transform(geometry, 'EPSG:31985'), 'EPSG:31985') as g from d", "g",
         "EPSG:31985", "transformed"},
        {"select geometry, st_area(st_transform(geometry, 'EPSG:3857')) as a from d", "geometry",
         "EPSG:4326", "measured elsewhere"},
        {"select i from m", NULL, NULL, "none"},
    };
    struct mg_table *m = points(20, "EPSG:3857"), *d = points(20, NULL);
    const struct mg_sql_table tables[] = {{"m", m}, {"d", d}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct mg_sql_query query = {.text = mg_span(rows[i].sql), .tables = tables, .n_tables = 2};
        struct mg_table *table = NULL;
        if (rows[i].crs && !rows[i].crs[0]) {
            if (mg_sql_run(&query, &table, NULL) != MG_E_NO_CRS)
                fail_msg("%s: no error", rows[i].sentence);
            continue;
        }
        table = must(&query);
        int column = rows[i].geometry ? mg_table_column(table, mg_span(rows[i].geometry)) : -1;
        if (table->geometry != column ||
            (column >= 0 && strcmp(table->crs ? table->crs : "", rows[i].crs) != 0))
            fail_msg("%s: column %d in %s", rows[i].sentence, table->geometry,
                     table->crs ? table->crs : "none");
        mg_table_unref(&table);
    }
    /* One table, or none: nothing to ask. */
    struct mg_table *one = must(&(struct mg_sql_query){
        .text = MG_SPAN("select st_buffer(geometry, 1) g from m"), .tables = tables, .n_tables = 1});
    assert_string_equal(one->crs, "EPSG:3857");
    mg_table_unref(&one);
    one = must(&(struct mg_sql_query){.text = MG_SPAN("select st_point(1, 2) g")});
    assert_string_equal(one->crs, "EPSG:4326");
    mg_table_unref(&one);
    mg_table_unref(&m);
    mg_table_unref(&d);
}

static void test_files(void **state)
{
    (void)state;
    char path[300], sql[400];
    snprintf(path, sizeof path, "%s/in.csv", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("a|b\n1|x\n2|y\n", file);
    fclose(file);
    snprintf(sql, sizeof sql, "select sum(a), max(b) from read_csv('%s', delim = '|')", path);
    expect(&(struct mg_sql_query){.text = mg_span(sql)}, "3|\"y\"", "a file of an allowed folder");
    snprintf(sql, sizeof sql, "select * from read_csv('%s/../in.csv')", folder);
    struct mg_table *table = NULL;
    assert_int_equal(mg_sql_run(&(struct mg_sql_query){.text = mg_span(sql)}, &table, NULL),
                     MG_E_FORBIDDEN);
    unlink(path);
}

static void test_limits(void **state)
{
    (void)state;
    struct mg_errmsg why = {""};
    struct mg_table *table = NULL;
    struct mg_sql_query query = {.text = MG_SPAN("select * from range(100000)"), .max_rows = 99999};
    assert_int_equal(mg_sql_run(&query, &table, &why), MG_E_UDF_OUTPUT);
    query.max_rows = 100000;
    query.max_bytes = 790000;
    assert_int_equal(mg_sql_run(&query, &table, &why), MG_E_UDF_MEMORY);
    query.max_bytes = 0;
    table = must(&query);
    assert_int_equal(table->rows, 100000);
    mg_table_unref(&table);
}

/* A child has the database at once, each child its own. */
static void test_fork(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct mg_table *table = NULL;
            const struct mg_sql_query query = {.text = MG_SPAN("select sum(range) from range(100000)")};
            _exit(mg_sql_run(&query, &table, NULL) == MG_OK && table->rows == 1 ? 0 : 1);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

/* Its readers are in tests/http/parquet.test.mjs; here only that bytes come, and what is refused. */
static void test_parquet(void **state)
{
    (void)state;
    static const char *const compressions[] = {"snappy", "zstd", "none"};
    struct mg_table *t = points(3000, "EPSG:3857");
    for (size_t i = 0; i < 3; i++) {
        struct mg_buf out;
        mg_buf_init(&out, 0);
        mg_buf_str(&out, "before");
        const struct mg_sql_parquet options = {
            .compression = compressions[i], .level = 3, .row_group = 2048};
        assert_int_equal(mg_sql_to_parquet(t, &options, &out, NULL), MG_OK);
        assert_memory_equal(out.data, "beforePAR1", 10);
        assert_memory_equal(out.data + out.len - 4, "PAR1", 4);
        mg_buf_fini(&out);
        mg_buf_init(&out, 1000);
        assert_int_equal(mg_sql_to_parquet(t, &options, &out, NULL), MG_E_UDF_OUTPUT);
        mg_buf_fini(&out);
    }
    mg_table_unref(&t);
}

static int set_up(void **state)
{
    (void)state;
    struct mg_errmsg why = {""};
    if (!mkdtemp(folder))
        return -1;
    const char *folders[] = {folder, NULL};
    mg_gdal_setup();
    mg_sql_setup(&(struct mg_sql_config){.memory_bytes = 128 << 20});
    if (mg_sql_open(&why) != MG_OK || mg_sql_confine(folders, -1, &why) != MG_OK) {
        print_error("%s\n", why.text);
        return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rmdir(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),      cmocka_unit_test(test_types),    cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_parameters), cmocka_unit_test(test_geometry), cmocka_unit_test(test_crs),
        cmocka_unit_test(test_files),      cmocka_unit_test(test_limits),   cmocka_unit_test(test_fork),
        cmocka_unit_test(test_parquet),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
