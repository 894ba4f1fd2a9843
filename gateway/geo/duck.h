/* DuckDB behind our names: the functions of libduckdb.so that are used, and the one database of the process.
 *
 * The library ships without a header: what is declared here is its stable C interface (version 1.5), found by
 * name when it is loaded. Private to geo/; nobody else sees DuckDB. Single thread. */
#ifndef MOONGATE_GEO_DUCK_H
#define MOONGATE_GEO_DUCK_H

#include "moongate/sql.h"

struct duck_config;
struct duck_db;
struct duck_con;
struct duck_statements;
struct duck_statement;
struct duck_chunk;
struct duck_vector;
struct duck_type;
struct duck_value;
struct duck_error;
struct duck_arrow_options;
struct duck_arrow_schema;
struct duck_table_function;
struct duck_scalar_function;
struct duck_scalar_set;
struct duck_aggregate;
struct duck_info; /* of a callback: bind, init, function */
struct duck_state;
struct duck_expression;

enum duck_type_id {
    DUCK_BOOL = 1,
    DUCK_INT = 4,
    DUCK_BIGINT = 5,
    DUCK_UBIGINT = 9,
    DUCK_DOUBLE = 11,
    DUCK_VARCHAR = 17,
    DUCK_BLOB = 18,
    DUCK_ANY = 34,
    DUCK_GEOMETRY = 40,
};
enum duck_statement_type { DUCK_SELECT = 1, DUCK_EXPLAIN = 4 };
enum duck_error_type { DUCK_ERROR_OUT_OF_MEMORY = 33, DUCK_ERROR_PERMISSION = 34 };

/* Passed by value by the library itself. */
struct duck_result {
    uint64_t columns, rows, changed;
    void *column_data;
    char *message;
    void *data;
};
union duck_string { /* of a vector: up to 12 bytes lie inside */
    struct {
        uint32_t len;
        char bytes[12];
    } inlined;
    struct {
        uint32_t len;
        char prefix[4];
        char *at;
    } far;
};
static inline struct mg_span duck_span(const union duck_string *s)
{
    return (struct mg_span){s->inlined.len <= 12 ? s->inlined.bytes : s->far.at, s->inlined.len};
}

typedef void duck_callback_f(struct duck_info *info);
typedef void duck_scan_f(struct duck_info *info, struct duck_chunk *out);
typedef void duck_scalar_f(struct duck_info *info, struct duck_chunk *in, struct duck_vector *out);
typedef void duck_free_f(void *data);
typedef void *duck_copy_f(void *data);
typedef uint64_t duck_state_size_f(struct duck_info *info);
typedef void duck_state_init_f(struct duck_info *info, struct duck_state *state);
typedef void duck_update_f(struct duck_info *info, struct duck_chunk *in, struct duck_state **states);
typedef void duck_combine_f(struct duck_info *info, struct duck_state **from, struct duck_state **to,
                            uint64_t n);
typedef void duck_finalize_f(struct duck_info *info, struct duck_state **from, struct duck_vector *out,
                             uint64_t n, uint64_t offset);
typedef void duck_state_free_f(struct duck_state **states, uint64_t n);

/* result, name behind "duckdb_", parameters. Those that say int give 0 for success. */
#define DUCK_FUNCTIONS(X) \
    X(int, create_config, (struct duck_config **)) \
    X(int, set_config, (struct duck_config *, const char *, const char *)) \
    X(void, destroy_config, (struct duck_config **)) \
    X(int, open_ext, (const char *, struct duck_db **, struct duck_config *, char **)) \
    X(int, connect, (struct duck_db *, struct duck_con **)) \
    X(void, disconnect, (struct duck_con **)) \
    X(void, free, (void *)) \
    X(int, query, (struct duck_con *, const char *, struct duck_result *)) \
    X(void, destroy_result, (struct duck_result *)) \
    X(const char *, result_error, (struct duck_result *)) \
    X(int, result_error_type, (struct duck_result *)) \
    X(uint64_t, extract_statements, (struct duck_con *, const char *, struct duck_statements **)) \
    X(const char *, extract_statements_error, (struct duck_statements *)) \
    X(void, destroy_extracted, (struct duck_statements **)) \
    X(int, prepare_extracted_statement, \
      (struct duck_con *, struct duck_statements *, uint64_t, struct duck_statement **)) \
    X(const char *, prepare_error, (struct duck_statement *)) \
    X(void, destroy_prepare, (struct duck_statement **)) \
    X(int, prepared_statement_type, (struct duck_statement *)) \
    X(uint64_t, nparams, (struct duck_statement *)) \
    X(const char *, parameter_name, (struct duck_statement *, uint64_t)) \
    X(int, bind_value, (struct duck_statement *, uint64_t, struct duck_value *)) \
    X(int, execute_prepared_streaming, (struct duck_statement *, struct duck_result *)) \
    X(struct duck_chunk *, fetch_chunk, (struct duck_result)) \
    X(uint64_t, column_count, (struct duck_result *)) \
    X(const char *, column_name, (struct duck_result *, uint64_t)) \
    X(struct duck_type *, column_logical_type, (struct duck_result *, uint64_t)) \
    X(struct duck_type *, create_logical_type, (int)) \
    X(struct duck_type *, create_list_type, (struct duck_type *)) \
    X(void, destroy_logical_type, (struct duck_type **)) \
    X(int, get_type_id, (struct duck_type *)) \
    X(char *, geometry_type_get_crs, (struct duck_type *)) \
    X(struct duck_arrow_options *, result_get_arrow_options, (struct duck_result *)) \
    X(void, destroy_arrow_options, (struct duck_arrow_options **)) \
    X(struct duck_error *, to_arrow_schema, \
      (struct duck_arrow_options *, struct duck_type **, const char **, uint64_t, struct ArrowSchema *)) \
    X(struct duck_error *, data_chunk_to_arrow, \
      (struct duck_arrow_options *, struct duck_chunk *, struct ArrowArray *)) \
    X(struct duck_error *, schema_from_arrow, \
      (struct duck_con *, struct ArrowSchema *, struct duck_arrow_schema **)) \
    X(void, destroy_arrow_converted_schema, (struct duck_arrow_schema **)) \
    X(struct duck_error *, data_chunk_from_arrow, \
      (struct duck_con *, struct ArrowArray *, struct duck_arrow_schema *, struct duck_chunk **)) \
    X(const char *, error_data_message, (struct duck_error *)) \
    X(bool, error_data_has_error, (struct duck_error *)) \
    X(void, destroy_error_data, (struct duck_error **)) \
    X(uint64_t, data_chunk_get_size, (struct duck_chunk *)) \
    X(void, data_chunk_set_size, (struct duck_chunk *, uint64_t)) \
    X(uint64_t, data_chunk_get_column_count, (struct duck_chunk *)) \
    X(struct duck_vector *, data_chunk_get_vector, (struct duck_chunk *, uint64_t)) \
    X(void, destroy_data_chunk, (struct duck_chunk **)) \
    X(struct duck_type *, vector_get_column_type, (struct duck_vector *)) \
    X(void *, vector_get_data, (struct duck_vector *)) \
    X(uint64_t *, vector_get_validity, (struct duck_vector *)) \
    X(void, vector_ensure_validity_writable, (struct duck_vector *)) \
    X(void, vector_assign_string_element_len, (struct duck_vector *, uint64_t, const char *, uint64_t)) \
    X(void, vector_reference_vector, (struct duck_vector *, struct duck_vector *)) \
    X(struct duck_value *, create_null_value, (void)) \
    X(struct duck_value *, create_bool, (bool)) \
    X(struct duck_value *, create_int64, (int64_t)) \
    X(struct duck_value *, create_double, (double)) \
    X(struct duck_value *, create_varchar_length, (const char *, uint64_t)) \
    X(struct duck_value *, create_list_value, (struct duck_type *, struct duck_value **, uint64_t)) \
    X(int64_t, get_int64, (struct duck_value *)) \
    X(void, destroy_value, (struct duck_value **)) \
    X(struct duck_table_function *, create_table_function, (void)) \
    X(void, destroy_table_function, (struct duck_table_function **)) \
    X(void, table_function_set_name, (struct duck_table_function *, const char *)) \
    X(void, table_function_add_parameter, (struct duck_table_function *, struct duck_type *)) \
    X(void, table_function_set_bind, (struct duck_table_function *, duck_callback_f *)) \
    X(void, table_function_set_init, (struct duck_table_function *, duck_callback_f *)) \
    X(void, table_function_set_function, (struct duck_table_function *, duck_scan_f *)) \
    X(void, table_function_supports_projection_pushdown, (struct duck_table_function *, bool)) \
    X(int, register_table_function, (struct duck_con *, struct duck_table_function *)) \
    X(struct duck_value *, bind_get_parameter, (struct duck_info *, uint64_t)) \
    X(void, bind_add_result_column, (struct duck_info *, const char *, struct duck_type *)) \
    X(void, bind_set_bind_data, (struct duck_info *, void *, duck_free_f *)) \
    X(void, bind_set_cardinality, (struct duck_info *, uint64_t, bool)) \
    X(void, bind_set_error, (struct duck_info *, const char *)) \
    X(void *, init_get_bind_data, (struct duck_info *)) \
    X(uint64_t, init_get_column_count, (struct duck_info *)) \
    X(uint64_t, init_get_column_index, (struct duck_info *, uint64_t)) \
    X(void, init_set_init_data, (struct duck_info *, void *, duck_free_f *)) \
    X(void, init_set_error, (struct duck_info *, const char *)) \
    X(void *, function_get_init_data, (struct duck_info *)) \
    X(void, function_set_error, (struct duck_info *, const char *)) \
    X(struct duck_scalar_function *, create_scalar_function, (void)) \
    X(void, destroy_scalar_function, (struct duck_scalar_function **)) \
    X(void, scalar_function_set_name, (struct duck_scalar_function *, const char *)) \
    X(void, scalar_function_add_parameter, (struct duck_scalar_function *, struct duck_type *)) \
    X(void, scalar_function_set_return_type, (struct duck_scalar_function *, struct duck_type *)) \
    X(void, scalar_function_set_extra_info, (struct duck_scalar_function *, void *, duck_free_f *)) \
    X(void, scalar_function_set_function, (struct duck_scalar_function *, duck_scalar_f *)) \
    X(void *, scalar_function_get_extra_info, (struct duck_info *)) \
    X(void, scalar_function_set_bind, (struct duck_scalar_function *, duck_callback_f *)) \
    X(void, scalar_function_set_bind_data, (struct duck_info *, void *, duck_free_f *)) \
    X(void, scalar_function_set_bind_data_copy, (struct duck_info *, duck_copy_f *)) \
    X(void *, scalar_function_get_bind_data, (struct duck_info *)) \
    X(struct duck_expression *, scalar_function_bind_get_argument, (struct duck_info *, uint64_t)) \
    X(struct duck_type *, expression_return_type, (struct duck_expression *)) \
    X(void, destroy_expression, (struct duck_expression **)) \
    X(void, scalar_function_set_error, (struct duck_info *, const char *)) \
    X(struct duck_scalar_set *, create_scalar_function_set, (const char *)) \
    X(void, destroy_scalar_function_set, (struct duck_scalar_set **)) \
    X(int, add_scalar_function_to_set, (struct duck_scalar_set *, struct duck_scalar_function *)) \
    X(int, register_scalar_function_set, (struct duck_con *, struct duck_scalar_set *)) \
    X(struct duck_aggregate *, create_aggregate_function, (void)) \
    X(void, destroy_aggregate_function, (struct duck_aggregate **)) \
    X(void, aggregate_function_set_name, (struct duck_aggregate *, const char *)) \
    X(void, aggregate_function_add_parameter, (struct duck_aggregate *, struct duck_type *)) \
    X(void, aggregate_function_set_return_type, (struct duck_aggregate *, struct duck_type *)) \
    X(void, aggregate_function_set_extra_info, (struct duck_aggregate *, void *, duck_free_f *)) \
    X(void, aggregate_function_set_functions, \
      (struct duck_aggregate *, duck_state_size_f *, duck_state_init_f *, duck_update_f *, duck_combine_f *, \
       duck_finalize_f *)) \
    X(void, aggregate_function_set_destructor, (struct duck_aggregate *, duck_state_free_f *)) \
    X(void *, aggregate_function_get_extra_info, (struct duck_info *)) \
    X(void, aggregate_function_set_error, (struct duck_info *, const char *)) \
    X(int, register_aggregate_function, (struct duck_con *, struct duck_aggregate *))

struct duck_library {
#define MEMBER(result, name, parameters) result(*name) parameters;
    DUCK_FUNCTIONS(MEMBER)
#undef MEMBER
};
extern struct duck_library duck; /* valid once duck_ready said MG_OK */

/* duck.c: the database is open and this process's limits are set. */
MG_MUST_CHECK enum mg_err duck_ready(struct duck_con **con, struct mg_errmsg *err);
/* Runs statements of ours. */
MG_MUST_CHECK enum mg_err duck_do(struct duck_con *con, const char *sql, struct mg_errmsg *err);
/* "Parser Error: …\n\nLINE 2: …\n   ^" as one sentence with line and column; the error by its kind. */
enum mg_err duck_fail(const char *message, struct mg_errmsg *err);
/* 'text' or "name": the quote itself twice. */
void duck_put_quoted(struct mg_buf *out, char quote, struct mg_span text);
/* Where COPY writes: the name to give, and reading what came (which empties it). */
const char *duck_output_path(void);
MG_MUST_CHECK enum mg_err duck_output_take(struct mg_buf *out, struct mg_errmsg *err);
void duck_output_drop(void);
/* Puts bytes there, to be read by that name. */
MG_MUST_CHECK enum mg_err duck_output_put(struct mg_span bytes, struct mg_errmsg *err);

/* duck_scan.c: moon_scan(i), the rows of a table that was lent; the list holds until it is replaced. */
MG_MUST_CHECK enum mg_err duck_scan_register(struct duck_con *con, struct mg_errmsg *err);
void duck_scan_lend(const struct mg_sql_table *tables, size_t n);

/* duck_geo.c: ST_ functions. A value does not carry its CRS: `crs` is what ST_Transform takes a geometry of no
 * known CRS to be in (NULL: it fails), for the statement that begins. Afterwards: the CRSs that it transformed
 * to. */
MG_MUST_CHECK enum mg_err duck_geo_register(struct duck_con *con, struct mg_errmsg *err);
void duck_geo_begin(const char *crs);
/* The i-th; NULL behind the last. */
const char *duck_geo_target(size_t i);

static inline bool duck_valid(const uint64_t *validity, uint64_t row)
{
    return !validity || (validity[row / 64] >> (row % 64) & 1);
}

#endif
