/* Table: the value that crosses the code for vectors and rows: Arrow C data interface, batches of one schema.
 *
 * Geometry is one binary column of ISO WKB (metadata ARROW:extension:name = ogc.wkb), with its CRS. Accessors
 * check every bound that comes from outside; mg_table_import validates a foreign array once. Not thread-safe;
 * shared by reference count within a process. Spec: https://arrow.apache.org/docs/format/CDataInterface.html */
#ifndef MOONGATE_TABLE_H
#define MOONGATE_TABLE_H

#include "moongate/buf.h"
#include "moongate/tile.h"

/* As the specification prints them; guarded as it asks. GDAL's ogr_recordbatch.h agrees. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4
struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};
struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};
#endif

struct mg_table {
    int refs;
    struct ArrowSchema schema;   /* a struct: one child for each column */
    struct ArrowArray *batches;
    size_t n_batches;
    int64_t rows;
    int geometry;                /* index of the geometry column; -1: none */
    char *crs;                   /* of the geometry: "EPSG:4326" (also OGC:CRS84: x is longitude), or WKT */
};

/* Takes schema and batches (also on failure: both are released; the array of structs stays the caller's) after
 * validating them: types we know, buffers present, offsets ascending, lengths equal. A column that ends as geometry
 * is found by metadata or by `geometry` (name, nullable). */
MG_MUST_CHECK enum mg_err mg_table_import(struct ArrowSchema *schema, struct ArrowArray *batches, size_t n_batches,
                                          const char *geometry, const char *crs, struct mg_table **out,
                                          struct mg_errmsg *err);
struct mg_table *mg_table_ref(struct mg_table *table);
void mg_table_unref(struct mg_table **table);
int mg_table_column(const struct mg_table *table, struct mg_span name); /* -1: none */

/* One cell as every text codec sees it. */
enum mg_cell_type { MG_CELL_NULL, MG_CELL_BOOL, MG_CELL_INT, MG_CELL_UINT, MG_CELL_DOUBLE, MG_CELL_STRING,
                    MG_CELL_BINARY, MG_CELL_DATE, MG_CELL_TIMESTAMP, MG_CELL_NESTED };
struct mg_cell {
    enum mg_cell_type type;
    bool b;
    int64_t i;        /* int; date: days since 1970; timestamp: microseconds since 1970, UTC when zoned */
    uint64_t u;
    double d;
    struct mg_span s; /* string, binary; borrowed from the table. nested: its JSON, borrowed until the next call */
    bool zoned;
};
/* A cursor over one column of one batch: types are resolved once, reading a cell is a switch and a load. */
struct mg_cursor;
MG_MUST_CHECK enum mg_err mg_cursor_open(const struct mg_table *table, size_t batch, int column,
                                         struct mg_cursor **out, struct mg_errmsg *err);
void mg_cursor_close(struct mg_cursor **cursor);
void mg_cursor_get(struct mg_cursor *cursor, int64_t row, struct mg_cell *out);
/* The cell as JSON (NaN: null; binary: base64), or as bare text (null and NaN: nothing). */
void mg_cell_json(const struct mg_cell *cell, struct mg_buf *out);
void mg_cell_text(const struct mg_cell *cell, struct mg_buf *out);
/* ISO 8601 of a date or timestamp, not terminated; its length, 0 beyond a million years. */
size_t mg_time_text(const struct mg_cell *cell, char out[40]);

/* Builds a table column by column, row by row. */
struct mg_table_builder;
enum mg_column { MG_COL_BOOL, MG_COL_INT64, MG_COL_DOUBLE, MG_COL_STRING, MG_COL_WKB, MG_COL_DATE, MG_COL_TIMESTAMP };
struct mg_table_builder *mg_table_builder_new(const char *crs);
void mg_table_builder_free(struct mg_table_builder **builder);
/* Adds a column before the first row; returns its index, -1 without memory or for a name twice. */
int mg_table_builder_column(struct mg_table_builder *builder, const char *name, enum mg_column type);
/* Sets a cell of the row that is being built; unset cells are null. Doubles go into INT64 columns only when whole. */
void mg_table_builder_set(struct mg_table_builder *builder, int column, const struct mg_cell *cell);
void mg_table_builder_row(struct mg_table_builder *builder);
/* Ends the builder on success. Returns new. */
MG_MUST_CHECK enum mg_err mg_table_builder_finish(struct mg_table_builder **builder, struct mg_table **out,
                                                  struct mg_errmsg *err);

/* The rows of that list, in its order (numbered through all batches, -1: nulls; NULL: all rows); columns (NULL: all).
 * One batch, dictionaries decoded. Returns new. */
MG_MUST_CHECK enum mg_err mg_table_take(const struct mg_table *table, const int64_t *rows, int64_t n_rows,
                                        const int *columns, int n_columns, struct mg_table **out,
                                        struct mg_errmsg *err);
/* The internal value format: Arrow IPC would need flatbuffers; ours packs schema and buffers, 64-byte aligned. */
void mg_table_store(const struct mg_table *table, struct mg_buf *out);
MG_MUST_CHECK enum mg_err mg_table_restore(struct mg_span stored, struct mg_table **out, struct mg_errmsg *err);

#endif
