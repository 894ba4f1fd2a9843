/* Rows of a table for the text codecs. Cost: opening the cursors of a batch, then nothing. */
#include "rows_of.h"

#include <stdlib.h>

enum mg_err rows_of_open(struct rows_of *rows, const struct mg_table *table, bool degrees,
                         struct mg_errmsg *err)
{
    *rows = (struct rows_of){.table = table, .n = (int)table->schema.n_children, .row = -1};
    mg_buf_init(&rows->moved, 0);
    if (degrees && table->geometry >= 0) {
        if (!table->crs)
            return mg_err_set(
                err, MG_E_NO_CRS,
                "the table's geometry has no CRS: name one, for instance \"EPSG:4326\"");
        enum mg_err e = mg_transform_get(table->crs, "OGC:CRS84", &rows->transform, err);
        if (e)
            return e;
    }
    rows->cursors = calloc((size_t)rows->n + 1, sizeof *rows->cursors);
    return rows->cursors ? MG_OK : mg_err_set(err, MG_E_NOMEM, "out of memory for a table's rows");
}

void rows_of_close(struct rows_of *rows)
{
    for (int c = 0; rows->cursors && c < rows->n; c++)
        mg_cursor_close(&rows->cursors[c]);
    free(rows->cursors);
    mg_buf_fini(&rows->moved);
}

enum mg_err rows_of_next(struct rows_of *rows, bool *more, struct mg_errmsg *err)
{
    rows->row++;
    while (rows->left == 0) {
        if (rows->batch == rows->table->n_batches) {
            *more = false;
            return MG_OK;
        }
        rows->left = rows->table->batches[rows->batch].length;
        rows->row = 0;
        for (int c = 0; c < rows->n; c++) {
            mg_cursor_close(&rows->cursors[c]);
            enum mg_err e = mg_cursor_open(rows->table, rows->batch, c, &rows->cursors[c], err);
            if (e)
                return e;
        }
        rows->batch++;
    }
    rows->left--;
    *more = true;
    return MG_OK;
}

struct mg_span rows_of_geometry(struct rows_of *rows)
{
    struct mg_cell cell = {0};
    const struct mg_span none = {NULL, 0};
    if (rows->table->geometry < 0)
        return none;
    rows_of_cell(rows, rows->table->geometry, &cell);
    if (cell.type != MG_CELL_BINARY)
        return none;
    if (!rows->transform)
        return cell.s;
    rows->moved.len = 0;
    if (mg_wkb_transform(rows->transform, cell.s, &rows->moved, NULL))
        return none;
    return (struct mg_span){rows->moved.data, rows->moved.len};
}
