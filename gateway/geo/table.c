/* Table: importing (and validating) Arrow C data, references, columns.
 *
 * Validation reads what an honest producer of Arrow could still get wrong: formats, counts,
 * lengths, offsets, dictionary indices. After it the accessors need no check of their own. That
 * pointers point at as many bytes as the lengths claim cannot be seen in the C interface; bytes
 * from outside of the process come through mg_table_restore, which knows their sizes. Cost: one
 * pass over offsets and dictionary indices. */
#include "table_arrow.h"

#include <stdlib.h>

static enum mg_err bad(struct mg_errmsg *err, const char *column, const char *what)
{
    return mg_err_set(err, MG_E_ARGUMENT, "column %.100s of the table is broken: %s", column, what);
}

static bool is_integer(enum arrow_kind kind)
{
    return kind >= ARROW_I8 && kind <= ARROW_U64;
}

static int64_t wanted_children(const struct arrow_type *type, const struct ArrowSchema *schema)
{
    switch (type->kind) {
    case ARROW_LIST:
    case ARROW_FIXED_LIST:
    case ARROW_MAP:
        return 1;
    case ARROW_STRUCT:
        return schema->n_children;
    default:
        return 0;
    }
}

static enum mg_err check_schema(const struct ArrowSchema *schema, const char *column, int depth,
                                struct mg_errmsg *err)
{
    struct arrow_type type;
    if (depth > ARROW_MAX_DEPTH)
        return bad(err, column, "nested deeper than 8");
    if (!schema || !schema->release)
        return bad(err, column, "its schema is missing or was released");
    if (!arrow_type_parse(schema->format, &type))
        return mg_err_set(err, MG_E_ARGUMENT,
                          "column %.100s has Arrow format \"%.40s\", which is not read: cast it "
                          "to a plain type",
                          column, schema->format ? schema->format : "");
    if (schema->n_children < 0 || schema->n_children > ARROW_MAX_COLUMNS ||
        schema->n_children != wanted_children(&type, schema) ||
        (schema->n_children && !schema->children))
        return bad(err, column, "a wrong number of children");
    for (int64_t i = 0; i < schema->n_children; i++) {
        enum mg_err e = check_schema(schema->children[i], column, depth + 1, err);
        if (e)
            return e;
    }
    if (schema->dictionary) {
        if (!is_integer(type.kind))
            return bad(err, column, "a dictionary whose indices are not integers");
        return check_schema(schema->dictionary, column, depth + 1, err);
    }
    if (type.kind == ARROW_MAP) {
        struct arrow_type entry;
        const struct ArrowSchema *entries = schema->children[0];
        if (!arrow_type_parse(entries->format, &entry) || entry.kind != ARROW_STRUCT ||
            entries->n_children != 2)
            return bad(err, column, "a map whose entries are not pairs");
    }
    return MG_OK;
}

static const char *check_offsets(const struct arrow_type *type, const struct ArrowArray *array,
                                 int64_t *last)
{
    int64_t n = array->offset + array->length;
    const void *offsets = array->buffers[1];
    *last = 0;
    if (!offsets)
        return n == 0 ? NULL : "no offsets";
    int64_t before = arrow_offset(type, offsets, array->offset);
    if (before < 0)
        return "a negative offset";
    if (type->width == 4) {
        const int32_t *at = (const int32_t *)offsets + array->offset;
        int descending = 0;
        for (int64_t i = 0; i < array->length; i++)
            descending |= at[i + 1] < at[i];
        if (descending)
            return "descending offsets";
    } else {
        const int64_t *at = (const int64_t *)offsets + array->offset;
        int descending = 0;
        for (int64_t i = 0; i < array->length; i++)
            descending |= at[i + 1] < at[i];
        if (descending)
            return "descending offsets";
    }
    *last = arrow_offset(type, offsets, n);
    return *last > ARROW_MAX_LENGTH ? "offsets beyond any memory" : NULL;
}

/* `need`: elements, counted from the start, that the parent may read. */
static const char *check_array(const struct ArrowSchema *schema, const struct ArrowArray *array,
                               int64_t need, int depth)
{
    struct arrow_type type;
    int64_t last = 0;
    if (!array || !array->release)
        return "an array is missing or was released";
    if (depth > ARROW_MAX_DEPTH || !arrow_type_parse(schema->format, &type))
        return "a type that is not read";
    if (array->length < 0 || array->offset < 0 || array->length > ARROW_MAX_LENGTH ||
        array->offset > ARROW_MAX_LENGTH)
        return "a length or offset out of range";
    if (array->length < need)
        return "fewer elements than rows";
    if (array->null_count < -1 || array->null_count > array->length)
        return "a null count out of range";
    int64_t n = array->offset + array->length;
    /* Before format 1.0 producers gave null arrays a validity buffer. */
    if (array->n_buffers != type.n_buffers && !(type.kind == ARROW_NULL && array->n_buffers == 1))
        return "a wrong number of buffers";
    if (array->n_buffers > 0 && !array->buffers)
        return "no buffers";
    if (array->n_children != schema->n_children || (array->n_children && !array->children))
        return "a wrong number of children";
    if (type.offsets) {
        const char *wrong = check_offsets(&type, array, &last);
        if (wrong)
            return wrong;
        if (type.n_buffers == 3 && last > 0 && !array->buffers[2])
            return "no data buffer";
    } else if (type.n_buffers == 2 && n > 0 && !array->buffers[1] &&
               !(type.kind == ARROW_FIXED && type.width == 0)) {
        return "no data buffer";
    }
    if (schema->dictionary) {
        if (!array->dictionary || !array->dictionary->release)
            return "no dictionary";
        const char *wrong = check_array(schema->dictionary, array->dictionary, 0, depth + 1);
        if (wrong)
            return wrong;
        for (int64_t i = array->offset; i < n; i++) {
            int64_t index =
                arrow_valid(array, i) ? arrow_index(type.kind, array->buffers[1], i) : 0;
            if ((index < 0 || index >= array->dictionary->length) && arrow_valid(array, i))
                return "a dictionary index out of range";
        }
    }
    for (int64_t i = 0; i < array->n_children; i++) {
        int64_t child = type.offsets ? last : n;
        if (type.kind == ARROW_FIXED_LIST &&
            __builtin_mul_overflow(n, (int64_t)type.list_size, &child))
            return "a list size out of range";
        const char *wrong = check_array(schema->children[i], array->children[i], child, depth + 1);
        if (wrong)
            return wrong;
    }
    return NULL;
}

static enum mg_err check_batches(const struct ArrowSchema *schema, const struct ArrowArray *batches,
                                 size_t n_batches, struct mg_errmsg *err)
{
    for (size_t b = 0; b < n_batches; b++) {
        const struct ArrowArray *batch = &batches[b];
        if (!batch->release || batch->length < 0 || batch->offset < 0 ||
            batch->length > ARROW_MAX_LENGTH || batch->offset > ARROW_MAX_LENGTH ||
            batch->n_children != schema->n_children || (batch->n_children && !batch->children))
            return mg_err_set(err, MG_E_ARGUMENT,
                              "batch %zu of the table is broken or of another schema", b);
        for (int64_t i = 0; i < schema->n_children; i++) {
            const char *wrong = check_array(schema->children[i], batch->children[i],
                                            batch->offset + batch->length, 1);
            if (wrong)
                return bad(err, schema->children[i]->name ? schema->children[i]->name : "?", wrong);
        }
    }
    return MG_OK;
}

static enum mg_err find_geometry(const struct ArrowSchema *schema, const char *geometry, int *out,
                                 struct mg_errmsg *err)
{
    int found = -1;
    for (int64_t i = 0; i < schema->n_children; i++) {
        const struct ArrowSchema *column = schema->children[i];
        bool named = geometry && column->name && strcmp(column->name, geometry) == 0;
        if (!named && !(found < 0 && !geometry && arrow_is_wkb(column)))
            continue;
        struct arrow_type type;
        if (column->dictionary || !arrow_type_parse(column->format, &type) ||
            type.kind != ARROW_BYTES)
            return mg_err_set(err, MG_E_ARGUMENT,
                              "column %.100s cannot be the geometry: it is not binary (WKB)",
                              column->name ? column->name : "?");
        found = (int)i;
    }
    if (geometry && found < 0)
        return mg_err_set(err, MG_E_ARGUMENT, "the table has no column %.100s to be its geometry",
                          geometry);
    *out = found;
    return MG_OK;
}

static enum mg_err check_all(struct ArrowSchema *schema, struct ArrowArray *batches,
                             size_t n_batches, const char *geometry, int *column,
                             struct mg_errmsg *err)
{
    struct arrow_type top;
    if (!schema->release || !arrow_type_parse(schema->format, &top) || top.kind != ARROW_STRUCT ||
        schema->n_children < 0 || schema->n_children > ARROW_MAX_COLUMNS ||
        (schema->n_children && !schema->children))
        return mg_err_set(err, MG_E_ARGUMENT,
                          "a table's Arrow schema is a struct of at most %d columns",
                          ARROW_MAX_COLUMNS);
    for (int64_t i = 0; i < schema->n_children; i++) {
        const char *name = schema->children[i] ? schema->children[i]->name : NULL;
        enum mg_err e = check_schema(schema->children[i], name ? name : "?", 1, err);
        if (e)
            return e;
    }
    enum mg_err e = check_batches(schema, batches, n_batches, err);
    return e ? e : find_geometry(schema, geometry, column, err);
}

struct mg_table *table_adopt(struct ArrowSchema *schema, struct ArrowArray *batches,
                             size_t n_batches, int geometry, const char *crs)
{
    struct mg_table *table = calloc(1, sizeof *table);
    struct ArrowArray *own = calloc(n_batches ? n_batches : 1, sizeof *own);
    char *text = crs ? strdup(crs) : NULL;
    if (!table || !own || (crs && !text)) {
        free(table);
        free(own);
        free(text);
        arrow_schema_release(schema);
        for (size_t i = 0; i < n_batches; i++)
            arrow_array_release(&batches[i]);
        return NULL;
    }
    *table = (struct mg_table){.refs = 1,
                               .schema = *schema,
                               .batches = own,
                               .n_batches = n_batches,
                               .geometry = geometry,
                               .crs = text};
    schema->release = NULL;
    for (size_t i = 0; i < n_batches; i++) {
        own[i] = batches[i];
        batches[i].release = NULL;
        table->rows += own[i].length;
    }
    return table;
}

enum mg_err mg_table_import(struct ArrowSchema *schema, struct ArrowArray *batches,
                            size_t n_batches, const char *geometry, const char *crs,
                            struct mg_table **out, struct mg_errmsg *err)
{
    int column = -1;
    enum mg_err e = check_all(schema, batches, n_batches, geometry, &column, err);
    if (e) {
        arrow_schema_release(schema);
        for (size_t i = 0; i < n_batches; i++)
            arrow_array_release(&batches[i]);
        return e;
    }
    struct mg_table *table = table_adopt(schema, batches, n_batches, column, crs);
    if (!table)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table");
    *out = table;
    return MG_OK;
}

struct mg_table *mg_table_ref(struct mg_table *table)
{
    table->refs++;
    return table;
}

void mg_table_unref(struct mg_table **table)
{
    struct mg_table *t = *table;
    *table = NULL;
    if (!t || --t->refs > 0)
        return;
    for (size_t i = 0; i < t->n_batches; i++)
        arrow_array_release(&t->batches[i]);
    arrow_schema_release(&t->schema);
    free(t->batches);
    free(t->crs);
    free(t);
}

int mg_table_column(const struct mg_table *table, struct mg_span name)
{
    for (int64_t i = 0; i < table->schema.n_children; i++)
        if (mg_span_eq(mg_span(table->schema.children[i]->name), name))
            return (int)i;
    return -1;
}

static size_t array_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array)
{
    struct arrow_type type;
    if (!arrow_type_parse(schema->format, &type))
        return 0;
    size_t n = (size_t)(array->offset + array->length), bytes = n / 8 + n * (size_t)type.width;
    if (type.kind == ARROW_STRING || type.kind == ARROW_BYTES)
        bytes += array->buffers[1] ? (size_t)arrow_offset(&type, array->buffers[1], (int64_t)n) : 0;
    if (schema->dictionary)
        bytes += array_bytes(schema->dictionary, array->dictionary);
    for (int64_t i = 0; i < schema->n_children; i++)
        bytes += array_bytes(schema->children[i], array->children[i]);
    return bytes;
}

size_t table_bytes(const struct mg_table *table)
{
    size_t bytes = sizeof *table;
    for (size_t b = 0; b < table->n_batches; b++)
        for (int64_t i = 0; i < table->schema.n_children; i++)
            bytes += array_bytes(table->schema.children[i], table->batches[b].children[i]);
    return bytes;
}
