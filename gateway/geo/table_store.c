/* The internal value format of tables: a header, the schema, then each buffer at a multiple of 64
 * bytes.
 *
 * All integers little-endian, as the machine has them. Stored is one batch with offsets 0 and no
 * dictionaries, so that the size of each buffer follows from its type and length; restore
 * recomputes every size, refuses what differs, copies, and then lets mg_table_import check the
 * contents. */
#include "table_arrow.h"

#include <stdlib.h>

enum { STORE_MAGIC = 0x4254474d /* "MGTB" */, STORE_VERSION = 1, STORE_ALIGN = 64 };

static void put_u32(struct mg_buf *out, uint32_t v)
{
    mg_buf_put(out, &v, 4);
}
static void put_i64(struct mg_buf *out, int64_t v)
{
    mg_buf_put(out, &v, 8);
}
static void put_text(struct mg_buf *out, const char *text)
{
    size_t n = text ? strlen(text) : 0;
    put_u32(out, (uint32_t)n);
    mg_buf_put(out, text, n);
}

static void put_schema(struct mg_buf *out, const struct ArrowSchema *schema)
{
    put_text(out, schema->format);
    put_text(out, schema->name);
    put_u32(out, arrow_is_wkb(schema));
    put_u32(out, (uint32_t)schema->n_children);
    for (int64_t i = 0; i < schema->n_children; i++)
        put_schema(out, schema->children[i]);
}

static void put_buffer(struct mg_buf *out, size_t start, const void *data, int64_t bytes)
{
    static const char zeros[STORE_ALIGN];
    put_i64(out, data ? bytes : -1);
    if (!data)
        return;
    mg_buf_put(out, zeros, (STORE_ALIGN - (out->len - start) % STORE_ALIGN) % STORE_ALIGN);
    mg_buf_put(out, data, (size_t)bytes);
}

/* Bytes of buffer `i`; of the third (data) one from the offsets. False when they cannot be. */
static bool buffer_bytes(const struct arrow_type *type, int i, int64_t n, const void *offsets,
                         int64_t *out)
{
    if (i == 0)
        *out = n / 8 + 1;
    else if (i == 2)
        *out = arrow_offset(type, offsets, n);
    else if (type->kind == ARROW_BOOL)
        *out = n / 8 + 1;
    else if (__builtin_mul_overflow(n + type->offsets, (int64_t)type->width, out))
        return false;
    return *out >= 0;
}

static void put_array(struct mg_buf *out, size_t start, const struct ArrowSchema *schema,
                      const struct ArrowArray *array)
{
    struct arrow_type type;
    int64_t bytes;
    bool known = arrow_type_parse(schema->format, &type);
    MG_ASSERT(known);
    put_i64(out, array->length);
    put_i64(out, array->null_count);
    for (int i = 0; i < type.n_buffers; i++) {
        bool ok = buffer_bytes(&type, i, array->length,
                               type.n_buffers > 1 ? array->buffers[1] : NULL, &bytes);
        MG_ASSERT(ok);
        put_buffer(out, start, array->buffers[i], bytes);
    }
    for (int64_t i = 0; i < array->n_children; i++)
        put_array(out, start, schema->children[i], array->children[i]);
}

void mg_table_store(const struct mg_table *table, struct mg_buf *out)
{
    struct mg_table *packed = NULL;
    size_t start = out->len;
    if (mg_table_take(table, NULL, 0, NULL, 0, &packed, NULL)) {
        out->failed = true;
        return;
    }
    put_u32(out, STORE_MAGIC);
    put_u32(out, STORE_VERSION);
    put_i64(out, packed->rows);
    put_i64(out, packed->geometry);
    put_text(out, packed->crs);
    put_u32(out, packed->crs != NULL);
    put_u32(out, (uint32_t)packed->schema.n_children);
    for (int64_t i = 0; i < packed->schema.n_children; i++)
        put_schema(out, packed->schema.children[i]);
    for (int64_t i = 0; i < packed->schema.n_children; i++)
        put_array(out, start, packed->schema.children[i], packed->batches[0].children[i]);
    mg_table_unref(&packed);
}

/* Reads with a check at each step; after the first mismatch everything reads as 0 and `failed`
 * stays set. */
struct reader {
    struct mg_span all;
    size_t at;
    bool failed;
    struct pin *pin; /* NULL: what is read is copied */
};

static const void *get(struct reader *in, size_t n)
{
    if (in->failed || n > in->all.len - in->at) {
        in->failed = true;
        return NULL;
    }
    const void *at = in->all.data + in->at;
    in->at += n;
    return at;
}

static uint32_t get_u32(struct reader *in)
{
    const void *at = get(in, 4);
    uint32_t v = 0;
    if (at)
        memcpy(&v, at, 4);
    return v;
}

static int64_t get_i64(struct reader *in)
{
    const void *at = get(in, 8);
    int64_t v = 0;
    if (at)
        memcpy(&v, at, 8);
    return v;
}

/* A terminated copy; NULL when failed. */
static char *get_text(struct reader *in, size_t max)
{
    size_t n = get_u32(in);
    if (n > max)
        in->failed = true;
    const char *at = get(in, n);
    char *text = at && !memchr(at, 0, n) ? strndup(at, n) : NULL;
    in->failed |= !text;
    return text;
}

static void get_schema(struct reader *in, int depth, struct ArrowSchema *out)
{
    char *format = get_text(in, 64), *name = get_text(in, ARROW_MAX_NAME);
    bool wkb = get_u32(in) != 0;
    uint32_t children = get_u32(in);
    struct arrow_type type;
    if (in->failed || depth > ARROW_MAX_DEPTH || children > ARROW_MAX_COLUMNS ||
        children > in->all.len - in->at || !arrow_type_parse(format, &type) ||
        !arrow_schema_new(out, format, name, children, wkb))
        in->failed = true;
    free(format);
    free(name);
    for (uint32_t i = 0; !in->failed && i < children; i++)
        get_schema(in, depth + 1, out->children[i]);
}

static void *get_buffer(struct reader *in, int64_t expected, bool nullable)
{
    int64_t bytes = get_i64(in);
    if (bytes == -1 && nullable)
        return NULL;
    if (bytes != expected)
        in->failed = true;
    get(in, (STORE_ALIGN - in->at % STORE_ALIGN) % STORE_ALIGN);
    const void *at = in->failed ? NULL : get(in, (size_t)bytes);
    void *copy = !at ? NULL : in->pin ? (void *)(uintptr_t)at : malloc(bytes ? (size_t)bytes : 1);
    if (copy && !in->pin)
        memcpy(copy, at, (size_t)bytes);
    in->failed |= !copy;
    return copy;
}

static void get_array(struct reader *in, const struct ArrowSchema *schema, struct ArrowArray *out)
{
    struct arrow_type type;
    int64_t length = get_i64(in), nulls = get_i64(in), bytes;
    if (in->failed || length < 0 || length > ARROW_MAX_LENGTH || nulls < 0 || nulls > length ||
        !arrow_type_parse(schema->format, &type) ||
        !arrow_array_new(out, length, type.n_buffers, schema->n_children)) {
        in->failed = true;
        return;
    }
    out->null_count = nulls;
    if (in->pin)
        out->private_data = pin_ref(in->pin);
    for (int i = 0; i < type.n_buffers && !in->failed; i++) {
        if (!buffer_bytes(&type, i, length, type.n_buffers > 1 ? out->buffers[1] : NULL, &bytes))
            in->failed = true;
        else
            out->buffers[i] = get_buffer(in, bytes, i == 0);
    }
    for (int64_t i = 0; i < schema->n_children && !in->failed; i++)
        get_array(in, schema->children[i], out->children[i]);
}

enum mg_err table_restore_pinned(struct mg_span stored, struct pin *pin, struct mg_table **out,
                                 struct mg_errmsg *err)
{
    struct reader in = {.all = stored, .pin = pin};
    struct ArrowSchema schema = {0};
    struct ArrowArray batch = {0};
    bool known = get_u32(&in) == STORE_MAGIC && get_u32(&in) == STORE_VERSION;
    int64_t rows = get_i64(&in), geometry = get_i64(&in);
    char *crs = get_text(&in, 1 << 16);
    bool has_crs = get_u32(&in) != 0;
    uint32_t columns = get_u32(&in);
    in.failed |= !known || columns > ARROW_MAX_COLUMNS || rows < 0 || rows > ARROW_MAX_LENGTH ||
                 geometry < -1 || geometry >= (int64_t)columns;
    if (!in.failed)
        in.failed = !arrow_schema_new(&schema, "+s", "", columns, false) ||
                    !arrow_array_new(&batch, rows, 1, columns);
    for (uint32_t i = 0; i < columns && !in.failed; i++)
        get_schema(&in, 1, schema.children[i]);
    struct arrow_type type;
    if (!in.failed && geometry >= 0 &&
        (!arrow_type_parse(schema.children[geometry]->format, &type) || type.kind != ARROW_BYTES))
        in.failed = true;
    for (uint32_t i = 0; i < columns && !in.failed; i++)
        get_array(&in, schema.children[i], batch.children[i]);
    enum mg_err e = MG_OK;
    if (in.failed || in.at != stored.len) {
        arrow_schema_release(&schema);
        arrow_array_release(&batch);
        e = mg_err_set(err, MG_E_INVALID, "a stored table is damaged");
    } else {
        e = mg_table_import(&schema, &batch, 1, NULL, has_crs ? crs : NULL, out, err);
        if (!e) /* what metadata of another column says does not count */
            (*out)->geometry = (int)geometry;
    }
    free(crs);
    return e;
}

enum mg_err mg_table_restore(struct mg_span stored, struct mg_table **out, struct mg_errmsg *err)
{
    return table_restore_pinned(stored, NULL, out, err);
}
