/* Column names as JSON keys. */
#include "keys_of.h"

#include <stdlib.h>

enum mg_err keys_of_open(struct keys_of *keys, const struct mg_table *table, struct mg_errmsg *err)
{
    size_t n = (size_t)table->schema.n_children;
    mg_buf_init(&keys->text, 0);
    keys->ends = malloc((n + 1) * sizeof *keys->ends);
    if (!keys->ends)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's columns");
    for (size_t c = 0; c < n; c++) {
        const char *name = table->schema.children[c]->name;
        mg_buf_json_string(&keys->text, name ? name : "", name ? strlen(name) : 0);
        mg_buf_char(&keys->text, ':');
        keys->ends[c] = keys->text.len;
    }
    return mg_buf_status(&keys->text, err);
}

void keys_of_close(struct keys_of *keys)
{
    mg_buf_fini(&keys->text);
    free(keys->ends);
}
