/* moon_scan(i): the rows of the i-th table that was lent, for DuckDB.
 *
 * A table function of ours over the table's own Arrow buffers: it can run twice in one statement (a
 * self-join), and only the columns that a statement uses are converted. (DuckDB's own Arrow scan is
 * consumed once and ignores the projection.) Numbers and bytes are referenced, not copied; the geometry
 * becomes GEOMETRY, which checks each WKB. Tables are borrowed for the statement. Cost: about 1 us a column
 * for each 2,048 rows, and what the type costs. */
#include "duck.h"
#include "table_arrow.h"

#include <stdio.h>
#include <stdlib.h>

enum { SLICE = 2048 };

static struct {
    struct duck_con *con;
    const struct mg_sql_table *tables;
    size_t n;
} lent;

/* ---- schema ---- */

/* "ARROW:extension:name" = "geoarrow.wkb" as the C interface packs metadata. */
static const char *geometry_metadata(void)
{
    static char packed[64];
    static const char key[] = "ARROW:extension:name", value[] = "geoarrow.wkb";
    const int32_t one = 1, key_len = sizeof key - 1, value_len = sizeof value - 1;
    memcpy(packed, &one, 4);
    memcpy(packed + 4, &key_len, 4);
    memcpy(packed + 8, key, (size_t)key_len);
    memcpy(packed + 8 + key_len, &value_len, 4);
    memcpy(packed + 12 + key_len, value, (size_t)value_len);
    return packed;
}

static void keep_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}
static void keep_array(struct ArrowArray *array)
{
    array->release = NULL;
}

/* A view of the columns that are read. The nodes are ours, everything in them the table's. */
struct projection {
    size_t n;
    int *columns;
    struct ArrowSchema schema, *schemas, **schema_list;
    struct ArrowArray array, *arrays, **array_list;
    struct duck_arrow_schema *types;
};

static void drop_projection(struct projection *p)
{
    if (p->types)
        duck.destroy_arrow_converted_schema(&p->types);
    free(p->columns);
    free(p->schemas);
    free(p->schema_list);
    free(p->arrays);
    free(p->array_list);
    *p = (struct projection){0};
}

/* Metadata of other extensions would make types that a table of ours does not have. */
static const char *project(struct projection *p, const struct mg_table *table, size_t n, const int *columns)
{
    *p = (struct projection){.n = n,
                             .columns = calloc(n + 1, sizeof(int)),
                             .schemas = calloc(n + 1, sizeof(struct ArrowSchema)),
                             .schema_list = calloc(n + 1, sizeof(void *)),
                             .arrays = calloc(n + 1, sizeof(struct ArrowArray)),
                             .array_list = calloc(n + 1, sizeof(void *))};
    if (!p->columns || !p->schemas || !p->schema_list || !p->arrays || !p->array_list)
        return "out of memory";
    for (size_t i = 0; i < n; i++) {
        p->columns[i] = columns[i];
        p->schemas[i] = *table->schema.children[columns[i]];
        p->schemas[i].metadata = columns[i] == table->geometry ? geometry_metadata() : NULL;
        p->schemas[i].release = keep_schema;
        p->schema_list[i] = &p->schemas[i];
        p->array_list[i] = &p->arrays[i];
    }
    p->schema = (struct ArrowSchema){
        .format = "+s", .n_children = (int64_t)n, .children = p->schema_list, .release = keep_schema};
    return NULL;
}

/* DuckDB's types of the projection; NULL, or what is wrong (until the next call). */
static const char *convert_types(struct projection *p)
{
    static char why[300];
    struct duck_error *error = duck.schema_from_arrow(lent.con, &p->schema, &p->types);
    if (!error)
        return NULL;
    snprintf(why, sizeof why, "%s", duck.error_data_message(error));
    duck.destroy_error_data(&error);
    return why;
}

/* Rows first … first + n of a batch as a chunk. */
static const char *convert_rows(struct projection *p, const struct mg_table *table, size_t batch,
                                int64_t first, int64_t n, struct duck_chunk **out)
{
    static char why[300];
    const struct ArrowArray *from = &table->batches[batch];
    for (size_t i = 0; i < p->n; i++) {
        p->arrays[i] = *from->children[p->columns[i]];
        p->arrays[i].offset += from->offset + first;
        p->arrays[i].length = n;
        p->arrays[i].null_count = p->arrays[i].null_count == 0 ? 0 : -1;
        p->arrays[i].release = keep_array;
    }
    p->array = (struct ArrowArray){.length = n,
                                   .n_buffers = 1,
                                   .buffers = (const void *[]){NULL},
                                   .n_children = (int64_t)p->n,
                                   .children = p->array_list,
                                   .release = keep_array};
    struct duck_error *error = duck.data_chunk_from_arrow(lent.con, &p->array, p->types, out);
    if (!error)
        return NULL;
    snprintf(why, sizeof why, "%s", duck.error_data_message(error));
    duck.destroy_error_data(&error);
    return why;
}

/* ---- the table function ---- */

struct scan {
    const struct mg_table *table;
    struct projection projection;
    bool counts; /* no column is read: only how many rows there are */
    size_t batch;
    int64_t row;
};

static void free_scan(void *data)
{
    struct scan *scan = data;
    drop_projection(&scan->projection);
    free(scan);
}

static const struct mg_table *table_of(int64_t i)
{
    return i >= 0 && (size_t)i < lent.n ? lent.tables[i].table : NULL;
}

/* The columns' types are those of an empty chunk. */
static const char *bind_columns(struct duck_info *info, const struct mg_table *table)
{
    size_t n = (size_t)table->schema.n_children;
    int *all = calloc(n + 1, sizeof *all);
    struct projection p = {0};
    struct duck_chunk *chunk = NULL;
    struct mg_table *empty = NULL;
    const char *why = all ? NULL : "out of memory";
    for (size_t i = 0; all && i < n; i++)
        all[i] = (int)i;
    if (!why && table->n_batches == 0) /* an array of no rows is still an array */
        why = mg_table_take(table, &(int64_t){0}, 0, NULL, 0, &empty, NULL) ? "out of memory" : NULL;
    if (!why && !(why = project(&p, table, n, all)) && !(why = convert_types(&p)))
        why = convert_rows(&p, empty ? empty : table, 0, 0, 0, &chunk);
    for (size_t i = 0; !why && i < n; i++) {
        struct duck_type *type = duck.vector_get_column_type(duck.data_chunk_get_vector(chunk, i));
        const char *name = table->schema.children[i]->name;
        duck.bind_add_result_column(info, name ? name : "", type);
        duck.destroy_logical_type(&type);
    }
    if (chunk)
        duck.destroy_data_chunk(&chunk);
    drop_projection(&p);
    mg_table_unref(&empty);
    free(all);
    return why;
}

static void on_bind(struct duck_info *info)
{
    struct duck_value *value = duck.bind_get_parameter(info, 0);
    int64_t i = duck.get_int64(value);
    duck.destroy_value(&value);
    const struct mg_table *table = table_of(i);
    if (!table) {
        duck.bind_set_error(info, "moon_scan: there is no such table");
        return;
    }
    const char *why = bind_columns(info, table);
    if (why) {
        duck.bind_set_error(info, why);
        return;
    }
    duck.bind_set_bind_data(info, (void *)(uintptr_t)(i + 1), NULL);
    duck.bind_set_cardinality(info, (uint64_t)table->rows, true);
}

static void on_init(struct duck_info *info)
{
    const struct mg_table *table = table_of((int64_t)(uintptr_t)duck.init_get_bind_data(info) - 1);
    struct scan *scan = calloc(1, sizeof *scan);
    uint64_t n = duck.init_get_column_count(info);
    int *columns = calloc(n + 1, sizeof *columns);
    const char *why = table && scan && columns ? NULL : "out of memory";
    size_t used = 0;
    for (uint64_t i = 0; !why && i < n; i++) {
        uint64_t column = duck.init_get_column_index(info, i);
        if (column <
            (uint64_t)table->schema.n_children) /* not the row's number, which stands for no column */
            columns[used++] = (int)column;
    }
    if (!why) {
        scan->table = table;
        scan->counts = used == 0;
        if (used && !(why = project(&scan->projection, table, used, columns)))
            why = convert_types(&scan->projection);
    }
    free(columns);
    if (why) {
        duck.init_set_error(info, why);
        if (scan)
            free_scan(scan);
        return;
    }
    duck.init_set_init_data(info, scan, free_scan);
}

static void on_scan(struct duck_info *info, struct duck_chunk *out)
{
    struct scan *scan = duck.function_get_init_data(info);
    const struct mg_table *table = scan->table;
    while (scan->batch < table->n_batches && scan->row >= table->batches[scan->batch].length) {
        scan->batch++;
        scan->row = 0;
    }
    if (scan->batch == table->n_batches) {
        duck.data_chunk_set_size(out, 0);
        return;
    }
    int64_t left = table->batches[scan->batch].length - scan->row, n = left < SLICE ? left : SLICE;
    if (!scan->counts) {
        struct duck_chunk *chunk = NULL;
        const char *why = convert_rows(&scan->projection, table, scan->batch, scan->row, n, &chunk);
        if (why) {
            duck.function_set_error(info, why);
            return;
        }
        for (size_t i = 0; i < scan->projection.n; i++)
            duck.vector_reference_vector(duck.data_chunk_get_vector(out, i),
                                         duck.data_chunk_get_vector(chunk, i));
        duck.destroy_data_chunk(&chunk);
    }
    duck.data_chunk_set_size(out, (uint64_t)n);
    scan->row += n;
}

enum mg_err duck_scan_register(struct duck_con *con, struct mg_errmsg *err)
{
    struct duck_table_function *function = duck.create_table_function();
    struct duck_type *integer = duck.create_logical_type(DUCK_BIGINT);
    duck.table_function_set_name(function, "moon_scan");
    duck.table_function_add_parameter(function, integer);
    duck.table_function_set_bind(function, on_bind);
    duck.table_function_set_init(function, on_init);
    duck.table_function_set_function(function, on_scan);
    duck.table_function_supports_projection_pushdown(function, true);
    bool failed = duck.register_table_function(con, function) != 0;
    duck.destroy_logical_type(&integer);
    duck.destroy_table_function(&function);
    lent.con = con;
    return failed ? mg_err_set(err, MG_E_INTERNAL, "DuckDB does not take moon_scan") : MG_OK;
}

void duck_scan_lend(const struct mg_sql_table *tables, size_t n)
{
    lent.tables = tables;
    lent.n = n;
}
