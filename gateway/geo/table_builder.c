/* Builds a table row by row into one Arrow batch of ours.
 *
 * A column grows by half; validity is kept as a byte a row until finish, so that a cell is one
 * store. Cost: about 10 ns a cell. A failed allocation is remembered and told by finish. */
#include "table_arrow.h"

#include <math.h>
#include <stdlib.h>

struct column {
    char *name;
    enum mg_column type;
    struct mg_buf data;    /* elements, or bytes of strings */
    struct mg_buf offsets; /* int64, of strings and WKB: the end of each row */
    struct mg_buf valid;   /* a byte a row */
    bool set;              /* in the row that is being built */
};
struct mg_table_builder {
    struct column *columns;
    int n;
    int64_t rows;
    char *crs;
    bool failed;
};

static const struct {
    const char *format;
    size_t width; /* 0: bytes */
} facts[] = {
    [MG_COL_BOOL] = {"b", 1},
    [MG_COL_INT64] = {"l", 8},
    [MG_COL_DOUBLE] = {"g", 8},
    [MG_COL_STRING] = {"U", 0},
    [MG_COL_WKB] = {"Z", 0},
    [MG_COL_DATE] = {"tdD", 4},
    [MG_COL_TIMESTAMP] = {"tsu:UTC", 8},
};

struct mg_table_builder *mg_table_builder_new(const char *crs)
{
    struct mg_table_builder *builder = calloc(1, sizeof *builder);
    if (builder && crs && !(builder->crs = strdup(crs)))
        mg_table_builder_free(&builder);
    return builder;
}

void mg_table_builder_free(struct mg_table_builder **builder)
{
    struct mg_table_builder *b = *builder;
    *builder = NULL;
    if (!b)
        return;
    for (int i = 0; i < b->n; i++) {
        free(b->columns[i].name);
        mg_buf_fini(&b->columns[i].data);
        mg_buf_fini(&b->columns[i].offsets);
        mg_buf_fini(&b->columns[i].valid);
    }
    free(b->columns);
    free(b->crs);
    free(b);
}

int mg_table_builder_column(struct mg_table_builder *builder, const char *name, enum mg_column type)
{
    MG_ASSERT(builder->rows == 0);
    if (builder->n >= ARROW_MAX_COLUMNS)
        return -1;
    for (int i = 0; i < builder->n; i++)
        if (strcmp(builder->columns[i].name, name) == 0)
            return -1;
    struct column *columns = realloc(builder->columns, ((size_t)builder->n + 1) * sizeof *columns);
    if (!columns)
        return -1;
    builder->columns = columns;
    columns[builder->n] = (struct column){.name = strdup(name), .type = type};
    if (!columns[builder->n].name)
        return -1;
    return builder->n++;
}

/* The cell as the column's element; false where it does not fit, which makes it null. */
static bool as_int(const struct mg_cell *cell, int64_t *out)
{
    switch (cell->type) {
    case MG_CELL_BOOL:
        *out = cell->b;
        return true;
    case MG_CELL_INT:
    case MG_CELL_DATE:
    case MG_CELL_TIMESTAMP:
        *out = cell->i;
        return true;
    case MG_CELL_UINT:
        *out = (int64_t)cell->u;
        return cell->u <= INT64_MAX;
    case MG_CELL_DOUBLE:
        if (!(cell->d >= -9223372036854775808.0 && cell->d < 9223372036854775808.0) ||
            cell->d != floor(cell->d))
            return false;
        *out = (int64_t)cell->d;
        return true;
    default:
        return false;
    }
}

static bool as_double(const struct mg_cell *cell, double *out)
{
    switch (cell->type) {
    case MG_CELL_BOOL:
        *out = cell->b;
        return true;
    case MG_CELL_INT:
        *out = (double)cell->i;
        return true;
    case MG_CELL_UINT:
        *out = (double)cell->u;
        return true;
    case MG_CELL_DOUBLE:
        *out = cell->d;
        return true;
    default:
        return false;
    }
}

static bool put_cell(struct column *column, const struct mg_cell *cell)
{
    int64_t i;
    double d;
    switch (column->type) {
    case MG_COL_BOOL:
        if (cell->type != MG_CELL_BOOL)
            return false;
        mg_buf_char(&column->data, (char)cell->b);
        return true;
    case MG_COL_INT64:
    case MG_COL_TIMESTAMP:
        if (!as_int(cell, &i))
            return false;
        mg_buf_put(&column->data, &i, sizeof i);
        return true;
    case MG_COL_DATE:
        if (!as_int(cell, &i) || i < INT32_MIN || i > INT32_MAX)
            return false;
        mg_buf_put(&column->data, &(int32_t){(int32_t)i}, 4);
        return true;
    case MG_COL_DOUBLE:
        if (!as_double(cell, &d))
            return false;
        mg_buf_put(&column->data, &d, sizeof d);
        return true;
    case MG_COL_WKB:
        if (cell->type != MG_CELL_BINARY && cell->type != MG_CELL_STRING)
            return false;
        mg_buf_put(&column->data, cell->s.data, cell->s.len);
        return true;
    case MG_COL_STRING:
        if (cell->type == MG_CELL_NULL)
            return false;
        mg_cell_text(cell, &column->data);
        return true;
    }
    return false;
}

void mg_table_builder_set(struct mg_table_builder *builder, int column, const struct mg_cell *cell)
{
    MG_ASSERT(column >= 0 && column < builder->n);
    struct column *c = &builder->columns[column];
    if (!c->set && put_cell(c, cell))
        c->set = true;
}

void mg_table_builder_row(struct mg_table_builder *builder)
{
    static const char zeros[8];
    for (int i = 0; i < builder->n; i++) {
        struct column *c = &builder->columns[i];
        mg_buf_char(&c->valid, (char)c->set);
        if (!c->set && facts[c->type].width)
            mg_buf_put(&c->data, zeros, facts[c->type].width);
        if (!facts[c->type].width)
            mg_buf_put(&c->offsets, &(int64_t){(int64_t)c->data.len}, 8);
        builder->failed |= c->data.failed || c->offsets.failed || c->valid.failed;
        c->set = false;
    }
    builder->rows++;
}

static bool pack_bits(const char *bytes, int64_t n, struct ArrowArray *out, int buffer,
                      int64_t *zeros)
{
    uint8_t *bits = calloc((size_t)n / 8 + 1, 1);
    *zeros = 0;
    for (int64_t i = 0; bits && i < n; i++) {
        bits[i >> 3] |= (uint8_t)((bytes[i] & 1) << (i & 7));
        *zeros += !bytes[i];
    }
    out->buffers[buffer] = bits;
    return bits != NULL;
}

static void *take_or_one(struct mg_buf *buf)
{
    void *data = mg_buf_take(buf, NULL);
    return data ? data : calloc(1, 8);
}

static bool finish_column(struct column *c, int64_t rows, struct ArrowArray *out)
{
    int64_t zeros = 0;
    bool bytes = facts[c->type].width == 0;
    if (!arrow_array_new(out, rows, bytes ? 3 : 2, 0) ||
        !pack_bits(c->valid.data, rows, out, 0, &out->null_count))
        return false;
    if (c->type == MG_COL_BOOL)
        return pack_bits(c->data.data, rows, out, 1, &zeros);
    if (!bytes)
        return (out->buffers[1] = take_or_one(&c->data)) != NULL;
    int64_t *offsets = malloc(((size_t)rows + 1) * sizeof *offsets);
    if (!offsets)
        return false;
    out->buffers[1] = offsets;
    offsets[0] = 0;
    if (rows)
        memcpy(offsets + 1, c->offsets.data, (size_t)rows * sizeof *offsets);
    return (out->buffers[2] = take_or_one(&c->data)) != NULL;
}

enum mg_err mg_table_builder_finish(struct mg_table_builder **builder, struct mg_table **out,
                                    struct mg_errmsg *err)
{
    struct mg_table_builder *b = *builder;
    struct ArrowSchema schema = {0};
    struct ArrowArray batch = {0};
    int geometry = -1;
    struct mg_table *table = NULL;
    bool ok = !b->failed && arrow_schema_new(&schema, "+s", "", b->n, false) &&
              arrow_array_new(&batch, b->rows, 1, b->n);
    for (int i = 0; ok && i < b->n; i++) {
        struct column *c = &b->columns[i];
        bool wkb = c->type == MG_COL_WKB && geometry < 0;
        if (wkb)
            geometry = i;
        ok = arrow_schema_new(schema.children[i], facts[c->type].format, c->name, 0, wkb) &&
             finish_column(c, b->rows, batch.children[i]);
    }
    if (ok)
        table = table_adopt(&schema, &batch, 1, geometry, b->crs);
    arrow_schema_release(&schema);
    arrow_array_release(&batch);
    if (!table)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table of %lld rows",
                          (long long)b->rows);
    mg_table_builder_free(builder);
    *out = table;
    return MG_OK;
}
