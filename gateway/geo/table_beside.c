/* Columns of two tables side by side, and columns under other names: a taken copy's nodes change hands. */
#include "table_arrow.h"

#include "moongate/vector_ops.h"

#include <stdio.h>
#include <stdlib.h>

static bool taken(const struct ArrowSchema *schema, int64_t n, const char *name)
{
    for (int64_t i = 0; i < n; i++)
        if (strcmp(schema->children[i]->name, name) == 0)
            return true;
    return false;
}

static bool set_name(struct ArrowSchema *column, const char *name)
{
    char *own = strdup(name);
    if (!own)
        return false;
    free((void *)(uintptr_t)column->name);
    column->name = own;
    return true;
}

/* "name_right", "name_right_right" … */
static bool make_unique(const struct ArrowSchema *schema, int64_t n, struct ArrowSchema *column)
{
    while (taken(schema, n, column->name)) {
        char *name = NULL;
        if (asprintf(&name, "%s_right", column->name) < 0)
            return false;
        bool set = set_name(column, name);
        free(name);
        if (!set)
            return false;
    }
    return true;
}

/* Moves the columns of `from` (one batch of ours) behind the first `at` of the new nodes; what was there is
 * empty, and left to `from`. */
static bool move_columns(struct mg_table *from, int64_t at, struct ArrowSchema *schema,
                         struct ArrowArray *batch)
{
    for (int64_t i = 0; i < from->schema.n_children; i++) {
        struct ArrowSchema *type = schema->children[at + i];
        struct ArrowArray *column = batch->children[at + i];
        schema->children[at + i] = from->schema.children[i];
        from->schema.children[i] = type;
        batch->children[at + i] = from->batches[0].children[i];
        from->batches[0].children[i] = column;
        if (!make_unique(schema, at + i, schema->children[at + i]))
            return false;
    }
    return true;
}

static enum mg_err take_right(const struct mg_table *right, const int64_t *rows, int64_t n, bool geometry,
                              struct mg_table **out, struct mg_errmsg *err)
{
    int width = (int)right->schema.n_children, used = 0;
    struct mg_table *empty = NULL;
    int *columns = malloc(((size_t)width + 1) * sizeof *columns);
    if (!columns)
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    if (right->n_batches == 0) { /* nulls are taken from a batch, too */
        enum mg_err made = mg_table_take(right, NULL, 0, NULL, 0, &empty, err);
        if (made) {
            free(columns);
            return made;
        }
        right = empty;
    }
    for (int c = 0; c < width; c++)
        if (geometry || c != right->geometry)
            columns[used++] = c;
    enum mg_err e = mg_table_take(right, rows, n, columns, used, out, err);
    free(columns);
    mg_table_unref(&empty);
    return e;
}

enum mg_err mg_table_beside(const struct mg_table *left, const int64_t *left_rows,
                            const struct mg_table *right, const int64_t *right_rows, int64_t n,
                            struct mg_table **out, struct mg_errmsg *err)
{
    struct mg_table *a = NULL, *b = NULL, *made = NULL;
    struct ArrowSchema schema = {0};
    struct ArrowArray batch = {0};
    enum mg_err e = mg_table_take(left, left_rows, n, NULL, 0, &a, err);
    if (e || (e = take_right(right, right_rows, n, left->geometry < 0, &b, err)))
        goto out;
    MG_ASSERT(a->rows == b->rows && a->n_batches == 1 && b->n_batches == 1);
    int64_t n_left = a->schema.n_children, width = n_left + b->schema.n_children;
    int geometry = a->geometry >= 0 ? a->geometry : b->geometry >= 0 ? (int)n_left + b->geometry : -1;
    const char *crs = a->geometry >= 0 ? a->crs : b->crs;
    if (width > ARROW_MAX_COLUMNS)
        e = mg_err_set(err, MG_E_ARGUMENT, "together that is more than %d columns", ARROW_MAX_COLUMNS);
    else if (!arrow_schema_new(&schema, "+s", "", width, false) ||
             !arrow_array_new(&batch, a->rows, 1, width) || !move_columns(a, 0, &schema, &batch) ||
             !move_columns(b, n_left, &schema, &batch) ||
             !(made = table_adopt(&schema, &batch, 1, geometry, crs)))
        e = mg_err_set(err, MG_E_NOMEM, "out of memory for a table");
    else
        *out = made;
    arrow_schema_release(&schema);
    arrow_array_release(&batch);
out:
    mg_table_unref(&a);
    mg_table_unref(&b);
    return e;
}

enum mg_err mg_table_rename(const struct mg_table *table, const char *const *names, struct mg_table **out,
                            struct mg_errmsg *err)
{
    struct mg_table *made = NULL;
    enum mg_err e = mg_table_take(table, NULL, 0, NULL, 0, &made, err);
    for (int64_t i = 0; !e && i < made->schema.n_children; i++) {
        if (taken(&made->schema, i, names[i]))
            e = mg_err_set(err, MG_E_ARGUMENT, "column %.60s twice", names[i]);
        else if (!set_name(made->schema.children[i], names[i]))
            e = mg_err_set(err, MG_E_NOMEM, "out of memory");
    }
    if (e)
        mg_table_unref(&made);
    else
        *out = made;
    return e;
}
