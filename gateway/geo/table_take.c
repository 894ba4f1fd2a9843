/* Taking rows and columns of a table: gathers any Arrow column into one batch of ours, offsets 0.
 *
 * A position is an index into the buffers of one source array (one source for each batch); -1 is
 * null. Dictionaries are decoded, so that what comes out has plain types. Cost: one pass a buffer;
 * strings are copied run by run. */
#include "table_arrow.h"

#include <stdlib.h>

struct gather {
    const struct ArrowSchema *schema;
    const struct ArrowArray *const *sources;
    size_t n_sources;
    const uint32_t *source; /* of each position; NULL: all of the first */
    const int64_t *at;
    int64_t n;
};

static enum mg_err no_memory(struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_NOMEM, "out of memory while rows of a table are copied");
}

static void *alloc(int64_t n, size_t size)
{
    size_t bytes;
    if (n < 0 || __builtin_mul_overflow((size_t)n, size, &bytes))
        return NULL;
    return malloc(bytes ? bytes : 1);
}

static inline const struct ArrowArray *source_of(const struct gather *g, int64_t i)
{
    return g->sources[g->source ? g->source[i] : 0];
}

static enum mg_err gather_array(const struct gather *g, struct ArrowArray *out,
                                struct mg_errmsg *err);

static enum mg_err gather_validity(const struct gather *g, struct ArrowArray *out,
                                   struct mg_errmsg *err)
{
    bool any = false;
    for (size_t s = 0; s < g->n_sources; s++)
        any |= g->sources[s]->n_buffers > 0 && g->sources[s]->buffers[0] != NULL;
    for (int64_t i = 0; i < g->n && !any; i++)
        any = g->at[i] < 0;
    if (!any)
        return MG_OK;
    uint8_t *bits = calloc((size_t)g->n / 8 + 1, 1);
    if (!bits)
        return no_memory(err);
    int64_t nulls = 0;
    for (int64_t i = 0; i < g->n; i++) {
        bool valid = g->at[i] >= 0 && arrow_valid(source_of(g, i), g->at[i]);
        bits[i >> 3] |= (uint8_t)(valid << (i & 7));
        nulls += !valid;
    }
    if (!nulls) {
        free(bits);
        return MG_OK;
    }
    out->buffers[0] = bits;
    out->null_count = nulls;
    return MG_OK;
}

#define GATHER_WIDTH(type_)            \
    for (int64_t i = 0; i < g->n; i++) \
    ((type_ *)data)[i] = g->at[i] < 0 ? 0 : ((const type_ *)source_of(g, i)->buffers[1])[g->at[i]]

static enum mg_err gather_fixed(const struct gather *g, const struct arrow_type *type,
                                struct ArrowArray *out, struct mg_errmsg *err)
{
    size_t width = (size_t)type->width;
    char *data = alloc(g->n, width);
    if (!data)
        return no_memory(err);
    out->buffers[1] = data;
    switch (width) {
    case 0:
        break;
    case 1:
        GATHER_WIDTH(uint8_t);
        break;
    case 2:
        GATHER_WIDTH(uint16_t);
        break;
    case 4:
        GATHER_WIDTH(uint32_t);
        break;
    case 8:
        GATHER_WIDTH(uint64_t);
        break;
    default:
        for (int64_t i = 0; i < g->n; i++) {
            if (g->at[i] < 0)
                memset(data + (size_t)i * width, 0, width);
            else
                memcpy(data + (size_t)i * width,
                       (const char *)source_of(g, i)->buffers[1] + (size_t)g->at[i] * width, width);
        }
    }
    return MG_OK;
}

static enum mg_err gather_bool(const struct gather *g, struct ArrowArray *out,
                               struct mg_errmsg *err)
{
    uint8_t *bits = calloc((size_t)g->n / 8 + 1, 1);
    if (!bits)
        return no_memory(err);
    out->buffers[1] = bits;
    for (int64_t i = 0; i < g->n; i++)
        if (g->at[i] >= 0)
            bits[i >> 3] |= (uint8_t)(arrow_bit(source_of(g, i)->buffers[1], g->at[i]) << (i & 7));
    return MG_OK;
}

/* Offsets of the gathered elements; null elements become empty. */
static enum mg_err gather_offsets(const struct gather *g, const struct arrow_type *type,
                                  struct ArrowArray *out, int64_t *total, struct mg_errmsg *err)
{
    char *offsets = alloc(g->n + 1, (size_t)type->width);
    if (!offsets)
        return no_memory(err);
    out->buffers[1] = offsets;
    int64_t sum = 0;
    for (int64_t i = 0; i <= g->n; i++) {
        if (type->width == 4)
            ((int32_t *)offsets)[i] = (int32_t)sum;
        else
            ((int64_t *)offsets)[i] = sum;
        if (i == g->n)
            break;
        const struct ArrowArray *source = source_of(g, i);
        int64_t at = g->at[i];
        if (at >= 0 && arrow_valid(source, at))
            sum += arrow_offset(type, source->buffers[1], at + 1) -
                   arrow_offset(type, source->buffers[1], at);
        if (type->width == 4 && sum > INT32_MAX)
            return mg_err_set(err, MG_E_UDF_OUTPUT,
                              "a column of the result holds more than 2 GB: take fewer rows");
    }
    *total = sum;
    return MG_OK;
}

static enum mg_err gather_bytes(const struct gather *g, const struct arrow_type *type,
                                struct ArrowArray *out, struct mg_errmsg *err)
{
    int64_t total;
    enum mg_err e = gather_offsets(g, type, out, &total, err);
    if (e)
        return e;
    char *data = alloc(total, 1), *to = data;
    if (!data)
        return no_memory(err);
    out->buffers[2] = data;
    for (int64_t i = 0; i < g->n; i++) {
        const struct ArrowArray *source = source_of(g, i);
        int64_t at = g->at[i];
        if (at < 0 || !arrow_valid(source, at))
            continue;
        int64_t from = arrow_offset(type, source->buffers[1], at);
        size_t len = (size_t)(arrow_offset(type, source->buffers[1], at + 1) - from);
        if (len)
            memcpy(to, (const char *)source->buffers[2] + from, len);
        to += len;
    }
    return MG_OK;
}

/* The positions of child `c` of the gathered elements, for `total` child elements; then gathers it.
 */
static enum mg_err gather_child(const struct gather *g, const struct arrow_type *type, int64_t c,
                                int64_t total, struct ArrowArray *out, struct mg_errmsg *err)
{
    enum mg_err e = MG_OK;
    const struct ArrowArray **sources = alloc((int64_t)g->n_sources, sizeof *sources);
    uint32_t *source = g->source ? alloc(total, sizeof *source) : NULL;
    int64_t *at = alloc(total, sizeof *at), k = 0;
    if (!sources || !at || (g->source && !source)) {
        e = no_memory(err);
        goto out;
    }
    for (size_t s = 0; s < g->n_sources; s++)
        sources[s] = g->sources[s]->children[c];
    for (int64_t i = 0; i < g->n; i++) {
        const struct ArrowArray *parent = source_of(g, i);
        int64_t from = g->at[i], to, base = parent->children[c]->offset;
        bool valid = from >= 0 && arrow_valid(parent, from);
        if (type->kind == ARROW_STRUCT) {
            to = from + 1;
        } else if (type->kind == ARROW_FIXED_LIST) {
            from *= type->list_size;
            to = from + type->list_size;
        } else {
            to = valid ? arrow_offset(type, parent->buffers[1], from + 1) : 0;
            from = valid ? arrow_offset(type, parent->buffers[1], from) : 0;
        }
        for (; from < to; from++, k++) {
            at[k] = valid ? from + base : -1;
            if (source)
                source[k] = g->source[i];
        }
    }
    MG_ASSERT(k == total);
    struct gather child = {.schema = g->schema->children[c],
                           .sources = sources,
                           .n_sources = g->n_sources,
                           .source = source,
                           .at = at,
                           .n = total};
    e = gather_array(&child, out->children[c], err);
out:
    free(sources);
    free(source);
    free(at);
    return e;
}

static enum mg_err gather_dictionary(const struct gather *g, const struct arrow_type *type,
                                     struct ArrowArray *out, struct mg_errmsg *err)
{
    enum mg_err e;
    const struct ArrowArray **sources = alloc((int64_t)g->n_sources, sizeof *sources);
    int64_t *at = alloc(g->n, sizeof *at);
    if (!sources || !at) {
        e = no_memory(err);
        goto out;
    }
    for (size_t s = 0; s < g->n_sources; s++)
        sources[s] = g->sources[s]->dictionary;
    for (int64_t i = 0; i < g->n; i++) {
        const struct ArrowArray *array = source_of(g, i);
        at[i] =
            g->at[i] >= 0 && arrow_valid(array, g->at[i])
                ? arrow_index(type->kind, array->buffers[1], g->at[i]) + array->dictionary->offset
                : -1;
    }
    struct gather words = {.schema = g->schema->dictionary,
                           .sources = sources,
                           .n_sources = g->n_sources,
                           .source = g->source,
                           .at = at,
                           .n = g->n};
    e = gather_array(&words, out, err);
out:
    free(sources);
    free(at);
    return e;
}

/* On failure `out` holds what was made so far; the caller releases the whole tree. */
static enum mg_err gather_array(const struct gather *g, struct ArrowArray *out,
                                struct mg_errmsg *err)
{
    struct arrow_type type;
    bool known = arrow_type_parse(g->schema->format, &type);
    MG_ASSERT(known);
    if (g->schema->dictionary)
        return gather_dictionary(g, &type, out, err);
    if (!arrow_array_new(out, g->n, type.n_buffers, g->schema->n_children))
        return no_memory(err);
    if (type.kind == ARROW_NULL) {
        out->null_count = g->n;
        return MG_OK;
    }
    int64_t total = g->n;
    enum mg_err e = gather_validity(g, out, err);
    if (e)
        return e;
    switch (type.kind) {
    case ARROW_BOOL:
        return gather_bool(g, out, err);
    case ARROW_STRING:
    case ARROW_BYTES:
        return gather_bytes(g, &type, out, err);
    case ARROW_STRUCT:
        break;
    case ARROW_LIST:
    case ARROW_MAP:
        e = gather_offsets(g, &type, out, &total, err);
        break;
    case ARROW_FIXED_LIST:
        if (__builtin_mul_overflow(g->n, (int64_t)type.list_size, &total))
            return no_memory(err);
        break;
    default:
        return gather_fixed(g, &type, out, err);
    }
    for (int64_t c = 0; !e && c < g->schema->n_children; c++)
        e = gather_child(g, &type, c, total, out, err);
    return e;
}

static bool copy_schema(const struct ArrowSchema *from, const char *name, bool wkb,
                        struct ArrowSchema *out)
{
    const struct ArrowSchema *type = from;
    while (type->dictionary)
        type = type->dictionary;
    if (!arrow_schema_new(out, type->format, name, type->n_children, wkb))
        return false;
    for (int64_t i = 0; i < type->n_children; i++)
        if (!copy_schema(type->children[i], type->children[i]->name,
                         arrow_is_wkb(type->children[i]), out->children[i])) {
            arrow_schema_release(out);
            return false;
        }
    return true;
}

/* Splits row numbers into batch and row of the batch. */
static enum mg_err locate(const struct mg_table *table, const int64_t *rows, int64_t n,
                          uint32_t *source, int64_t *at, struct mg_errmsg *err)
{
    int64_t first = 0;
    size_t b = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = rows ? rows[i] : i;
        if (row == -1) {
            if (source)
                source[i] = 0;
            at[i] = -1;
            continue;
        }
        if (row < 0 || row >= table->rows)
            return mg_err_set(err, MG_E_ARGUMENT, "row %lld: the table has %lld",
                              (long long)row + 1, (long long)table->rows);
        while (row < first)
            first -= table->batches[--b].length;
        while (row - first >= table->batches[b].length)
            first += table->batches[b++].length;
        if (source)
            source[i] = (uint32_t)b;
        at[i] = row - first + table->batches[b].offset;
    }
    return MG_OK;
}

enum mg_err mg_table_take(const struct mg_table *table, const int64_t *rows, int64_t n_rows,
                          const int *columns, int n_columns, struct mg_table **out,
                          struct mg_errmsg *err)
{
    enum mg_err e = MG_OK;
    int64_t n = rows ? n_rows : table->rows;
    int width = columns ? n_columns : (int)table->schema.n_children, geometry = -1;
    struct ArrowSchema schema = {0};
    struct ArrowArray batch = {0};
    bool many = table->n_batches > 1;
    uint32_t *source = many ? alloc(n, sizeof *source) : NULL;
    int64_t *at = alloc(n, sizeof *at), *moved = alloc(n, sizeof *moved);
    const struct ArrowArray **sources = alloc((int64_t)table->n_batches, sizeof *sources);
    if (!at || !moved || !sources || (many && !source) ||
        !arrow_schema_new(&schema, "+s", "", width, false) ||
        !arrow_array_new(&batch, n, 1, width)) {
        e = no_memory(err);
        goto out;
    }
    if ((e = locate(table, rows, n, source, at, err)))
        goto out;
    for (int c = 0; c < width; c++) {
        int from = columns ? columns[c] : c;
        if (from < 0 || from >= table->schema.n_children) {
            e = mg_err_set(err, MG_E_ARGUMENT, "the table has no column number %d", from + 1);
            goto out;
        }
        const struct ArrowSchema *column = table->schema.children[from];
        bool wkb = from == table->geometry;
        if (wkb)
            geometry = c;
        if (!copy_schema(column, column->name, wkb, schema.children[c])) {
            e = no_memory(err);
            goto out;
        }
        bool shifted = false;
        for (size_t b = 0; b < table->n_batches; b++) {
            sources[b] = table->batches[b].children[from];
            shifted |= sources[b]->offset != 0;
        }
        if (shifted)
            for (int64_t i = 0; i < n; i++)
                moved[i] = at[i] < 0 ? -1 : at[i] + sources[source ? source[i] : 0]->offset;
        struct gather g = {.schema = column,
                           .sources = sources,
                           .n_sources = table->n_batches,
                           .source = source,
                           .at = shifted ? moved : at,
                           .n = n};
        if ((e = gather_array(&g, batch.children[c], err)))
            goto out;
    }
    struct mg_table *taken = table_adopt(&schema, &batch, 1, geometry, table->crs);
    if (!taken)
        e = no_memory(err);
    else
        *out = taken;
out:
    arrow_schema_release(&schema);
    arrow_array_release(&batch);
    free(source);
    free(at);
    free(moved);
    free(sources);
    return e;
}
