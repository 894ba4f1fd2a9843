/* SQL: statements over tables and files, by DuckDB.
 *
 * One database a process, in memory, of one thread. The zygote may open it (mg_sql_open) so that its
 * workers have it at once; in a worker the first statement confines it for good: files of the named folders
 * only, no settings, no extensions. A statement reads; it cannot change anything that the next one sees.
 * Worker process, single thread. */
#ifndef MOONGATE_SQL_H
#define MOONGATE_SQL_H

#include "moongate/table.h"

struct mg_sql_config {
    const char *library; /* libduckdb.so; NULL: found from the program's own path */
    size_t memory_bytes; /* 0: 512 MB */
};
/* Sets what the next mg_sql_open goes by (strings are copied); nothing is opened. */
void mg_sql_setup(const struct mg_sql_config *config);
/* Where the library is looked for, for the sandbox: its folder. NULL when there is none. Static. */
const char *mg_sql_library_dir(void);
/* Loads the library and opens the database; nothing when that was done. 20 to 40 ms. */
MG_MUST_CHECK enum mg_err mg_sql_open(struct mg_errmsg *err);
/* What this process may read from its first statement on: folders (NULL-terminated, copied), and an empty
 * memfd for output (-1: a file in TMPDIR). A worker cannot make a memfd itself. */
MG_MUST_CHECK enum mg_err mg_sql_confine(const char *const *folders, int output_fd, struct mg_errmsg *err);

/* Whether a statement of an author's has run in this process: it should serve nobody else. */
bool mg_sql_ran(void);

enum mg_sql_kind {
    MG_SQL_NULL,
    MG_SQL_BOOL,
    MG_SQL_INT,
    MG_SQL_DOUBLE,
    MG_SQL_STRING,
    MG_SQL_WKB,
    MG_SQL_LIST
};
struct mg_sql_value {
    enum mg_sql_kind kind;
    bool b;
    int64_t i;
    double d;
    struct mg_span s;                 /* string; WKB */
    const struct mg_sql_value *items; /* of a list: of one kind, or null */
    size_t n_items;
};
struct mg_sql_param {
    const char *name; /* without $ */
    struct mg_sql_value value;
};
struct mg_sql_table {
    const char *name;
    const struct mg_table *table;
};
struct mg_sql_query {
    struct mg_span text;               /* one SELECT (or EXPLAIN …) */
    const struct mg_sql_param *params; /* those that the text does not name are an error */
    size_t n_params;
    const struct mg_sql_table *tables; /* each a view by its name, for this statement */
    size_t n_tables;
    int64_t max_rows; /* 0: no limit */
    size_t max_bytes; /* of the result; 0: no limit */
};
/* Runs it. The result's first GEOMETRY column is the table's geometry, in the CRS of its type; without one
 * (computed geometry) in that of the tables that were read, which must agree, and without those in
 * EPSG:4326. MG_E_SQL with DuckDB's sentence and position; MG_E_FORBIDDEN for a file outside of the
 * folders; MG_E_UDF_MEMORY. Returns new. */
MG_MUST_CHECK enum mg_err mg_sql_run(const struct mg_sql_query *query, struct mg_table **out,
                                     struct mg_errmsg *err);

struct mg_sql_parquet {
    const char *compression; /* "snappy", "zstd", "none" */
    int level;               /* of zstd, 1 to 22; 0: the library's */
    int64_t row_group;       /* rows; 0: 122,880 */
};
/* The table as GeoParquet 1.1 (Parquet where it has no geometry): WKB, a bbox column, `geo` metadata.
 * Appends. */
MG_MUST_CHECK enum mg_err mg_sql_to_parquet(const struct mg_table *table,
                                            const struct mg_sql_parquet *options, struct mg_buf *out,
                                            struct mg_errmsg *err);
/* The rows of a Parquet file that lies in memory. Counts as a statement. Returns new. */
MG_MUST_CHECK enum mg_err mg_sql_from_parquet(struct mg_span bytes, struct mg_table **out, struct mg_errmsg *err);

#endif
