/* Inside of the text codecs: a walk over a table's rows with a cursor for each column that is shown, its
 * geometry as WGS 84 where that is wanted. */
#ifndef MOONGATE_CODEC_ROWS_OF_H
#define MOONGATE_CODEC_ROWS_OF_H

#include "moongate/codec.h"
#include "moongate/geometry.h"

struct rows_of {
    const struct mg_table *table;
    struct mg_cursor **cursors; /* one a column of the table */
    int *columns;               /* the columns that are shown, in their order */
    int n;
    size_t batch;
    int64_t row, left;              /* of the batch */
    struct mg_transform *transform; /* of the geometry to OGC:CRS84; NULL: none needed */
    struct mg_buf moved, cut;
};
/* `degrees`: the geometry is reprojected; MG_E_NO_CRS when the table has a geometry and no CRS. */
MG_MUST_CHECK enum mg_err rows_of_open(struct rows_of *rows, const struct mg_table *table,
                                       bool degrees, struct mg_errmsg *err);
/* Shows some columns only: names between commas, or a JSON list of names. Unset (data NULL) or empty: all of
 * them. MG_E_PARAMETER names the option, the column and those that there are. Before the first row. */
MG_MUST_CHECK enum mg_err rows_of_select(struct rows_of *rows, const char *option, struct mg_span names,
                                         struct mg_errmsg *err);
void rows_of_close(struct rows_of *rows);
/* Name of a column; never NULL. */
static inline struct mg_span rows_of_name(const struct rows_of *rows, int column)
{
    const char *name = rows->table->schema.children[column]->name;
    return mg_span(name ? name : "");
}
/* Encodes a table by `of_table`; what is text already goes out as it is. */
MG_MUST_CHECK enum mg_err rows_of_encode(const struct mg_codec_job *job, mg_encode_f *of_table,
                                         struct mg_buf *out,
                                         struct mg_errmsg *err);
/* The next row; false behind the last. */
MG_MUST_CHECK enum mg_err rows_of_next(struct rows_of *rows, bool *more, struct mg_errmsg *err);
/* Before the first row again. */
static inline void rows_of_rewind(struct rows_of *rows)
{
    rows->row = -1;
    rows->left = 0;
    rows->batch = 0;
}
static inline void rows_of_cell(struct rows_of *rows, int column, struct mg_cell *out)
{
    mg_cursor_get(rows->cursors[column], rows->row, out);
}
/* mg_buf_put without the call while there is room. */
static inline void rows_of_put(struct mg_buf *out, const char *data, size_t len)
{
    char *at = mg_buf_spare(out, len);
    if (!at) {
        mg_buf_put(out, data, len);
        return;
    }
    memcpy(at, data, len);
    mg_buf_added(out, len);
}
#define ROWS_OF_TEXT(out, literal) rows_of_put(out, literal, sizeof(literal) - 1)
/* The row's geometry, borrowed until the next; empty when it is null or cannot be reprojected. */
struct mg_span rows_of_geometry(struct rows_of *rows);
/* The same, cut at the antimeridian. */
struct mg_span rows_of_geometry_cut(struct rows_of *rows);

#endif
