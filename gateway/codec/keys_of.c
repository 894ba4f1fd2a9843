/* Column names as JSON keys. */
#include "keys_of.h"

#include <stdio.h>
#include <stdlib.h>

/* Which of the columns of that name this is: 1, 2, ... */
static int occurrence(const struct mg_table *table, size_t column)
{
    int n = 1;
    const char *name = table->schema.children[column]->name;
    for (size_t c = 0; c < column; c++) {
        const char *other = table->schema.children[c]->name;
        n += strcmp(name ? name : "", other ? other : "") == 0;
    }
    return n;
}

enum mg_err keys_of_name(const struct mg_table *table, size_t column, struct mg_buf *out)
{
    const char *name = table->schema.children[column]->name;
    int n = occurrence(table, column);
    char text[40];
    out->len = 0;
    mg_buf_str(out, name ? name : "");
    size_t stem = out->len;
    while (n > 1) { /* a name that another column has already is passed over */
        snprintf(text, sizeof text, "_%d", n);
        out->len = stem;
        mg_buf_str(out, text);
        if (out->failed || mg_table_column(table, (struct mg_span){out->data, out->len}) < 0)
            break;
        n++;
    }
    return mg_buf_status(out, NULL);
}

enum mg_err keys_of_open(struct keys_of *keys, const struct mg_table *table, struct mg_errmsg *err)
{
    size_t n = (size_t)table->schema.n_children;
    struct mg_buf name;
    enum mg_err e = MG_OK;
    mg_buf_init(&keys->text, 0);
    mg_buf_init(&name, 0);
    keys->ends = malloc((n + 1) * sizeof *keys->ends);
    if (!keys->ends)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's columns");
    for (size_t c = 0; c < n && !e; c++) {
        e = keys_of_name(table, c, &name);
        mg_buf_json_string(&keys->text, name.data ? name.data : "", name.len);
        mg_buf_char(&keys->text, ':');
        keys->ends[c] = keys->text.len;
    }
    mg_buf_fini(&name);
    return e ? mg_err_set(err, e, "out of memory for a table's columns") : mg_buf_status(&keys->text, err);
}

void keys_of_close(struct keys_of *keys)
{
    mg_buf_fini(&keys->text);
    free(keys->ends);
}
