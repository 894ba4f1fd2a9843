/* Rows of a table for the text codecs. Cost: opening the cursors of a batch, then nothing. */
#include "rows_of.h"

#include "moongate/json.h"

#include <stdlib.h>

enum mg_err rows_of_open(struct rows_of *rows, const struct mg_table *table, bool degrees,
                         struct mg_errmsg *err)
{
    *rows = (struct rows_of){.table = table, .n = (int)table->schema.n_children, .row = -1};
    mg_buf_init(&rows->moved, 0);
    mg_buf_init(&rows->cut, 0);
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
    rows->columns = malloc(((size_t)rows->n + 1) * sizeof *rows->columns);
    if (!rows->cursors || !rows->columns)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's rows");
    for (int c = 0; c < rows->n; c++)
        rows->columns[c] = c;
    return MG_OK;
}

static enum mg_err unknown_column(const struct rows_of *rows, const char *option, struct mg_span name,
                                  struct mg_errmsg *err)
{
    char known[256] = "none";
    size_t used = 0;
    for (int c = 0; c < (int)rows->table->schema.n_children; c++) {
        struct mg_span one = rows_of_name(rows, c);
        if (used + one.len + 3 > sizeof known)
            break;
        if (used) {
            memcpy(known + used, ", ", 2);
            used += 2;
        }
        memcpy(known + used, one.data, one.len);
        used += one.len;
        known[used] = '\0';
    }
    return mg_err_set(err, MG_E_PARAMETER,
                      "%s names the column \"%.*s\", which is not in the table or named twice; "
                      "its columns: %s", option, name.len > 60 ? 60 : (int)name.len, name.data, known);
}

static enum mg_err select_one(struct rows_of *rows, const char *option, struct mg_span name,
                              struct mg_errmsg *err)
{
    int column = mg_table_column(rows->table, name);
    bool twice = false;
    for (int i = 0; i < rows->n; i++)
        twice |= rows->columns[i] == column;
    if (column < 0 || twice)
        return unknown_column(rows, option, name, err);
    rows->columns[rows->n++] = column;
    return MG_OK;
}

static enum mg_err select_json(struct rows_of *rows, const char *option, struct mg_span names,
                               struct mg_errmsg *err)
{
    json_t *list = NULL;
    enum mg_err e = mg_json_parse(names, 0, &list, err);
    if (e)
        return mg_err_prefix(err, MG_E_PARAMETER, "%s", option);
    for (size_t i = 0; !e && i < json_array_size(list); i++) {
        json_t *name = json_array_get(list, i);
        if (!json_is_string(name))
            e = mg_err_set(err, MG_E_PARAMETER, "%s is a list whose entry %zu is not a name", option, i + 1);
        else
            e = select_one(rows, option, (struct mg_span){json_string_value(name), json_string_length(name)},
                           err);
    }
    json_decref(list);
    return e;
}

enum mg_err rows_of_select(struct rows_of *rows, const char *option, struct mg_span names,
                           struct mg_errmsg *err)
{
    struct mg_span rest = names, name;
    enum mg_err e = MG_OK;
    if (!names.data || names.len == 0)
        return MG_OK;
    rows->n = 0;
    if (names.data[0] == '[')
        return select_json(rows, option, names, err);
    while (!e && mg_span_cut(&rest, ',', &name))
        e = select_one(rows, option, name, err);
    return e;
}

void rows_of_close(struct rows_of *rows)
{
    for (int64_t c = 0; rows->cursors && c < rows->table->schema.n_children; c++)
        mg_cursor_close(&rows->cursors[c]);
    free(rows->cursors);
    free(rows->columns);
    mg_buf_fini(&rows->moved);
    mg_buf_fini(&rows->cut);
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
        for (int c = 0; c < (int)rows->table->schema.n_children; c++) {
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

struct mg_span rows_of_geometry_cut(struct rows_of *rows)
{
    struct mg_span wkb = rows_of_geometry(rows);
    if (wkb.data && mg_wkb_cut_world(wkb, rows->transform != NULL, &rows->cut))
        return (struct mg_span){rows->cut.data, rows->cut.len};
    return wkb;
}

enum mg_err rows_of_encode(const struct mg_codec_job *job, mg_encode_f *of_table, struct mg_buf *out,
                           struct mg_errmsg *err)
{
    if (job->value->shape == MG_SHAPE_TABLE)
        return of_table(job, out, err);
    mg_buf_put(out, job->value->text.data, job->value->text.len);
    return mg_buf_status(out, err);
}
