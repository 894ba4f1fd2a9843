/* Running a statement: views over the tables, values for its parameters, its rows as a table.
 *
 * All of it happens in a transaction that is rolled back, so that nothing outlives the statement, and only
 * what reads is run. Rows stream out of DuckDB 2,048 at a time and become the batches of the result as they
 * come. Cost: 0.3 to 0.5 ms beside the statement's own. */
#include "duck.h"
#include "table_arrow.h"

#include "moongate/gdal.h"
#include "moongate/geometry.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_COLUMNS = 4096, MAX_LIST = 100000 };

/* ---- views ---- */

/* Every table of ours has a CRS; where none is said it is degrees. */
static const char *crs_of(const struct mg_table *table)
{
    return table->crs ? table->crs : "EPSG:4326";
}

static enum mg_err make_views(struct duck_con *con, const struct mg_sql_query *query, struct mg_errmsg *err)
{
    struct mg_buf sql;
    mg_buf_init(&sql, 0);
    for (size_t i = 0; i < query->n_tables; i++) {
        const struct mg_table *table = query->tables[i].table;
        mg_buf_str(&sql, "CREATE OR REPLACE TEMP VIEW ");
        duck_put_quoted(&sql, '"', mg_span(query->tables[i].name));
        mg_buf_str(&sql, " AS SELECT *");
        if (table->geometry >= 0) {
            const char *geometry = table->schema.children[table->geometry]->name;
            mg_buf_str(&sql, " REPLACE (st_setcrs(");
            duck_put_quoted(&sql, '"', mg_span(geometry));
            mg_buf_str(&sql, ", ");
            duck_put_quoted(&sql, '\'', mg_span(crs_of(table)));
            mg_buf_str(&sql, ") AS ");
            duck_put_quoted(&sql, '"', mg_span(geometry));
            mg_buf_char(&sql, ')');
        }
        mg_buf_printf(&sql, " FROM moon_scan(%zu);", i);
    }
    enum mg_err code = mg_buf_status(&sql, err);
    if (code == MG_OK && sql.len)
        code = duck_do(con, sql.data, err);
    mg_buf_fini(&sql);
    return code;
}

/* ---- parameters ---- */

static int type_of(enum mg_sql_kind kind)
{
    return kind == MG_SQL_BOOL     ? DUCK_BOOL
           : kind == MG_SQL_INT    ? DUCK_BIGINT
           : kind == MG_SQL_DOUBLE ? DUCK_DOUBLE
                                   : DUCK_VARCHAR;
}

static struct duck_value *scalar_of(const struct mg_sql_value *v)
{
    struct mg_buf wkt;
    struct duck_value *made = NULL;
    switch (v->kind) {
    case MG_SQL_BOOL:
        return duck.create_bool(v->b);
    case MG_SQL_INT:
        return duck.create_int64(v->i);
    case MG_SQL_DOUBLE:
        return duck.create_double(v->d);
    case MG_SQL_STRING:
        return duck.create_varchar_length(v->s.data ? v->s.data : "", v->s.len);
    case MG_SQL_WKB: /* text becomes GEOMETRY by itself where one is expected, bytes do not */
        mg_buf_init(&wkt, 0);
        mg_wkb_to_wkt(v->s, &wkt);
        if (!wkt.failed && wkt.len)
            made = duck.create_varchar_length(wkt.data, wkt.len);
        mg_buf_fini(&wkt);
        return made;
    default:
        return duck.create_null_value();
    }
}

/* The type that holds all items: whole numbers become doubles beside doubles. False: no such type. */
static bool common_kind(const struct mg_sql_value *list, enum mg_sql_kind *out)
{
    enum mg_sql_kind kind = MG_SQL_NULL;
    for (size_t i = 0; i < list->n_items; i++) {
        enum mg_sql_kind next = list->items[i].kind;
        bool numbers =
            (kind == MG_SQL_INT || kind == MG_SQL_DOUBLE) && (next == MG_SQL_INT || next == MG_SQL_DOUBLE);
        if (next == MG_SQL_LIST)
            return false;
        if (next == MG_SQL_NULL || next == kind)
            continue;
        if (kind == MG_SQL_NULL)
            kind = next;
        else if (numbers)
            kind = MG_SQL_DOUBLE;
        else
            return false;
    }
    *out = kind;
    return true;
}

static struct duck_value *list_of(const struct mg_sql_value *v)
{
    enum mg_sql_kind kind;
    if (v->n_items > MAX_LIST || !common_kind(v, &kind))
        return NULL;
    struct duck_value **items = calloc(v->n_items + 1, sizeof *items), *list = NULL;
    struct duck_type *type = duck.create_logical_type(type_of(kind));
    size_t n = 0;
    for (; items && n < v->n_items; n++) {
        struct mg_sql_value item = v->items[n];
        if (kind == MG_SQL_DOUBLE && item.kind == MG_SQL_INT)
            item = (struct mg_sql_value){.kind = MG_SQL_DOUBLE, .d = (double)item.i};
        if (!(items[n] = scalar_of(&item)))
            break;
    }
    if (items && n == v->n_items)
        list = duck.create_list_value(type, items, n);
    for (size_t i = 0; i < n; i++)
        duck.destroy_value(&items[i]);
    duck.destroy_logical_type(&type);
    free(items);
    return list;
}

static enum mg_err bind_one(struct duck_statement *statement, uint64_t index,
                            const struct mg_sql_param *param, struct mg_errmsg *err)
{
    struct duck_value *value =
        param->value.kind == MG_SQL_LIST ? list_of(&param->value) : scalar_of(&param->value);
    if (!value)
        return mg_err_set(err, MG_E_ARGUMENT,
                          "$%.60s: expected a value, or a list of at most %d values of one kind",
                          param->name, MAX_LIST);
    int failed = duck.bind_value(statement, index, value);
    duck.destroy_value(&value);
    return failed ? duck_fail(duck.prepare_error(statement), err) : MG_OK;
}

static enum mg_err bind_all(struct duck_statement *statement, const struct mg_sql_query *query,
                            struct mg_errmsg *err)
{
    uint64_t n = duck.nparams(statement);
    enum mg_err code = MG_OK;
    bool *used = calloc(query->n_params + 1, sizeof *used);
    if (!used)
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    for (uint64_t i = 1; code == MG_OK && i <= n; i++) {
        const char *name = duck.parameter_name(statement, i);
        size_t p = 0;
        while (p < query->n_params && (!name || strcmp(query->params[p].name, name) != 0))
            p++;
        if (p == query->n_params) {
            code = mg_err_set(err, MG_E_ARGUMENT, "the statement's $%.60s has no value", name ? name : "?");
        } else {
            used[p] = true;
            code = bind_one(statement, i, &query->params[p], err);
        }
        duck.free((void *)(uintptr_t)name);
    }
    for (size_t p = 0; code == MG_OK && p < query->n_params; p++)
        if (!used[p])
            code = mg_err_set(err, MG_E_ARGUMENT, "the statement has no $%.60s", query->params[p].name);
    free(used);
    return code;
}

/* ---- the statement ---- */

static enum mg_err prepare(struct duck_con *con, const struct mg_sql_query *query,
                           struct duck_statement **out, struct mg_errmsg *err)
{
    struct duck_statements *all = NULL;
    char *text = strndup(query->text.data ? query->text.data : "", query->text.len);
    enum mg_err code = MG_OK;
    if (!text)
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    uint64_t n = strlen(text) == query->text.len ? duck.extract_statements(con, text, &all) : 0;
    if (n == 0 && all && duck.extract_statements_error(all))
        code = duck_fail(duck.extract_statements_error(all), err);
    else if (n != 1)
        code = mg_err_set(err, MG_E_SQL, "expected one statement, got %llu", (unsigned long long)n);
    else if (duck.prepare_extracted_statement(con, all, 0, out) != 0)
        code = duck_fail(duck.prepare_error(*out), err);
    if (code == MG_OK) {
        int type = duck.prepared_statement_type(*out);
        if (type != DUCK_SELECT && type != DUCK_EXPLAIN)
            code = mg_err_set(err, MG_E_SQL,
                              "a statement only reads: write one SELECT (also with, values, from …)");
    }
    if (all)
        duck.destroy_extracted(&all);
    free(text);
    return code;
}

/* ---- the result ---- */

struct answer {
    struct duck_result result;
    struct duck_arrow_options *options;
    struct ArrowSchema schema;
    struct ArrowArray *batches;
    size_t n, cap;
    char *geometry, *crs; /* of the first geometry column; of its type */
};

static void drop_answer(struct answer *a)
{
    arrow_schema_release(&a->schema);
    for (size_t i = 0; i < a->n; i++)
        arrow_array_release(&a->batches[i]);
    free(a->batches);
    if (a->options)
        duck.destroy_arrow_options(&a->options);
    duck.destroy_result(&a->result);
    free(a->geometry);
    free(a->crs);
}

/* A second "name" becomes "name_1", as DuckDB itself does it for its tables. */
static char *unique_name(char **names, size_t n, const char *name)
{
    char *made = NULL;
    for (int suffix = 0; suffix < MAX_COLUMNS; suffix++) {
        size_t i = 0;
        free(made);
        made = NULL;
        if ((suffix ? asprintf(&made, "%s_%d", name, suffix) : asprintf(&made, "%s", name)) < 0)
            return NULL;
        while (i < n && strcmp(names[i], made) != 0)
            i++;
        if (i == n)
            break;
    }
    return made;
}

/* A CRS as the rest of us writes it: DuckDB spells some out as PROJJSON. */
static char *plain_crs(const char *text)
{
    char known[4096];
    OGRSpatialReferenceH crs = NULL;
    if (!text || !text[0])
        return NULL;
    if (strncmp(text, "EPSG:", 5) == 0 || strncmp(text, "OGC:", 4) == 0 ||
        mg_crs_parse(text, &crs, NULL) != MG_OK)
        return strdup(text);
    bool fits = mg_crs_text(crs, known, sizeof known);
    OSRRelease(crs);
    return strdup(fits ? known : text);
}

static enum mg_err read_columns(struct answer *a, struct mg_errmsg *err)
{
    size_t n = duck.column_count(&a->result), got = 0;
    if (n == 0 || n > MAX_COLUMNS)
        return mg_err_set(err, MG_E_SQL, "the statement gives %zu columns; expected 1 to %d", n,
                          MAX_COLUMNS);
    char **names = calloc(n, sizeof *names);
    struct duck_type **types = calloc(n, sizeof *types);
    enum mg_err code = names && types ? MG_OK : mg_err_set(err, MG_E_NOMEM, "out of memory");
    for (; code == MG_OK && got < n; got++) {
        types[got] = duck.column_logical_type(&a->result, got);
        if (!(names[got] = unique_name(names, got, duck.column_name(&a->result, got)))) {
            code = mg_err_set(err, MG_E_NOMEM, "out of memory");
        } else if (!a->geometry && duck.get_type_id(types[got]) == DUCK_GEOMETRY) {
            char *crs = duck.geometry_type_get_crs(types[got]);
            a->geometry = strdup(names[got]);
            a->crs = plain_crs(crs);
            duck.free(crs);
        }
    }
    if (code == MG_OK) {
        a->options = duck.result_get_arrow_options(&a->result);
        struct duck_error *error =
            duck.to_arrow_schema(a->options, types, (const char **)names, n, &a->schema);
        if (error) {
            code = duck_fail(duck.error_data_message(error), err);
            duck.destroy_error_data(&error);
        }
    }
    for (size_t i = 0; i < got; i++) {
        duck.destroy_logical_type(&types[i]);
        free(names[i]);
    }
    free(types);
    free(names);
    return code;
}

static enum mg_err add_batch(struct answer *a, struct duck_chunk *chunk, struct mg_errmsg *err)
{
    if (a->n == a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 16;
        struct ArrowArray *more = realloc(a->batches, cap * sizeof *more);
        if (!more)
            return mg_err_set(err, MG_E_NOMEM, "out of memory");
        a->batches = more;
        a->cap = cap;
    }
    a->batches[a->n] = (struct ArrowArray){0};
    struct duck_error *error = duck.data_chunk_to_arrow(a->options, chunk, &a->batches[a->n]);
    if (error) {
        enum mg_err code = duck_fail(duck.error_data_message(error), err);
        duck.destroy_error_data(&error);
        return code;
    }
    a->n++;
    return MG_OK;
}

static enum mg_err read_rows(struct answer *a, const struct mg_sql_query *query, struct mg_errmsg *err)
{
    enum mg_err code = MG_OK;
    int64_t rows = 0;
    size_t bytes = 0;
    while (code == MG_OK) {
        struct duck_chunk *chunk = duck.fetch_chunk(a->result);
        uint64_t n = chunk ? duck.data_chunk_get_size(chunk) : 0;
        if (!chunk || n == 0) {
            const char *error = duck.result_error(&a->result);
            if (error && error[0])
                code = duck_fail(error, err);
            if (chunk)
                duck.destroy_data_chunk(&chunk);
            break;
        }
        code = add_batch(a, chunk, err);
        duck.destroy_data_chunk(&chunk);
        rows += (int64_t)n;
        if (code == MG_OK && query->max_rows && rows > query->max_rows)
            code = mg_err_set(err, MG_E_UDF_OUTPUT,
                              "the result has more than %lld rows: aggregate, or add a limit",
                              (long long)query->max_rows);
        if (code == MG_OK && query->max_bytes) {
            struct mg_table one = {.schema = a->schema, .batches = &a->batches[a->n - 1], .n_batches = 1};
            bytes += table_bytes(&one);
            if (bytes > query->max_bytes)
                code =
                    mg_err_set(err, MG_E_UDF_MEMORY, "the result is larger than the %zu MB that are left",
                               query->max_bytes >> 20);
        }
    }
    return code;
}

/* The CRS that all tables with a geometry share; EPSG:4326 without any; NULL when they differ. */
static const char *shared_crs(const struct mg_sql_query *query)
{
    const char *found = NULL;
    for (size_t i = 0; i < query->n_tables; i++) {
        const struct mg_table *table = query->tables[i].table;
        if (table->geometry < 0)
            continue;
        if (found && strcmp(found, crs_of(table)) != 0)
            return NULL;
        found = crs_of(table);
    }
    return found ? found : "EPSG:4326";
}

/* The CRS of a geometry that was computed: that of the tables which it can have come from. A statement that
 * also transforms does not show which of its CRSs a column is in, unless there is only one. */
static enum mg_err computed_crs(const struct mg_sql_query *query, const char *column, const char **out,
                                struct mg_errmsg *err)
{
    const char *found = shared_crs(query);
    for (size_t i = 0; found && duck_geo_target(i); i++)
        if (strcmp(found, duck_geo_target(i)) != 0)
            found = NULL;
    if (!found)
        return mg_err_set(
            err, MG_E_NO_CRS,
            "%.60s: its CRS is not known, as the statement reads or makes several: say which one it is "
            "in with ST_SetCRS(…, 'EPSG:…') AS %.60s",
            column, column);
    *out = found;
    return MG_OK;
}

static enum mg_err finish(struct answer *a, const struct mg_sql_query *query, struct mg_table **out,
                          struct mg_errmsg *err)
{
    const char *crs = a->crs;
    enum mg_err code = a->geometry && !crs ? computed_crs(query, a->geometry, &crs, err) : MG_OK;
    if (code != MG_OK)
        return code;
    code = mg_table_import(&a->schema, a->batches, a->n, a->geometry, crs, out, err);
    a->n = 0; /* taken, also on failure */
    return code;
}

static enum mg_err run(struct duck_con *con, const struct mg_sql_query *query, struct mg_table **out,
                       struct mg_errmsg *err)
{
    struct duck_statement *statement = NULL;
    struct answer answer = {0};
    enum mg_err code = make_views(con, query, err);
    if (code == MG_OK)
        code = prepare(con, query, &statement, err);
    if (code == MG_OK)
        code = bind_all(statement, query, err);
    if (code == MG_OK && duck.execute_prepared_streaming(statement, &answer.result) != 0)
        code = duck_fail(duck.result_error(&answer.result), err);
    if (code == MG_OK)
        code = read_columns(&answer, err);
    if (code == MG_OK)
        code = read_rows(&answer, query, err);
    if (code == MG_OK)
        code = finish(&answer, query, out, err);
    drop_answer(&answer);
    if (statement)
        duck.destroy_prepare(&statement);
    return code;
}

static bool ran;

bool mg_sql_ran(void)
{
    return ran;
}

enum mg_err mg_sql_run(const struct mg_sql_query *query, struct mg_table **out, struct mg_errmsg *err)
{
    struct duck_con *con;
    ran = true;
    enum mg_err code = duck_ready(&con, err);
    if (code == MG_OK)
        code = duck_do(con, "BEGIN", err);
    if (code != MG_OK)
        return code;
    duck_scan_lend(query->tables, query->n_tables);
    duck_geo_begin(shared_crs(query));
    code = run(con, query, out, err);
    duck_scan_lend(NULL, 0);
    duck_geo_begin(NULL);
    /* A failed statement has ended its transaction itself only where DuckDB lost it as a whole. */
    enum mg_err ended = duck_do(con, "ROLLBACK", NULL);
    return code == MG_OK && ended != MG_OK
               ? (mg_table_unref(out),
                  mg_err_set(err, MG_E_INTERNAL, "DuckDB does not end its transaction"))
               : code;
}
