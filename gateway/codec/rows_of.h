/* Inside of the text codecs: a walk over a table's rows with a cursor for each column, its geometry
 * as WGS 84. */
#ifndef MOONGATE_CODEC_ROWS_OF_H
#define MOONGATE_CODEC_ROWS_OF_H

#include "moongate/codec.h"
#include "moongate/geometry.h"

struct rows_of {
    const struct mg_table *table;
    struct mg_cursor **cursors; /* one a column */
    int n;
    size_t batch;
    int64_t row, left;              /* of the batch */
    struct mg_transform *transform; /* of the geometry to OGC:CRS84; NULL: none needed */
    struct mg_buf moved;
};
/* `degrees`: the geometry is reprojected; MG_E_NO_CRS when the table has a geometry and no CRS. */
MG_MUST_CHECK enum mg_err rows_of_open(struct rows_of *rows, const struct mg_table *table,
                                       bool degrees, struct mg_errmsg *err);
void rows_of_close(struct rows_of *rows);
/* The next row; false behind the last. */
MG_MUST_CHECK enum mg_err rows_of_next(struct rows_of *rows, bool *more, struct mg_errmsg *err);
static inline void rows_of_cell(struct rows_of *rows, int column, struct mg_cell *out)
{
    mg_cursor_get(rows->cursors[column], rows->row, out);
}
/* mg_buf_put without the call while there is room. */
static inline void rows_of_put(struct mg_buf *out, const char *data, size_t len)
{
    if (out->failed || out->len + len >= out->cap) {
        mg_buf_put(out, data, len);
        return;
    }
    memcpy(out->data + out->len, data, len);
    out->len += len;
    out->data[out->len] = '\0';
}
#define ROWS_OF_TEXT(out, literal) rows_of_put(out, literal, sizeof(literal) - 1)
/* The row's geometry, borrowed until the next; empty when it is null or cannot be reprojected. */
struct mg_span rows_of_geometry(struct rows_of *rows);

#endif
