/* Arrow IPC: `feather` (the file format, Feather V2) and `arrow` (the stream).
 *
 * A table's batches stay as they are; buffers begin at multiples of 64 bytes of the file, so that a
 * reader may map it. Dictionaries are written when a batch brings other values than the one before:
 * a stream replaces them, a file, which knows only additions, gets them as deltas with the indices
 * moved up (and widened when they need it). Cost: a copy of the buffers, so 1 GB/s and more;
 * feather.compression trades time for size. Spec:
 * https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
 */
#include "moongate/codec.h"

#include "ipc.h"

#include <stdlib.h>

enum { OPT_COMPRESSION };
static const struct mg_option options[] = {
    [OPT_COMPRESSION] = {"compression", MG_OPT_ENUM, 0, 0, "none,lz4,zstd", "none",
                         "how each buffer is compressed"},
    {0},
};

enum { METADATA_V5 = 4, HEADER_SCHEMA = 1, HEADER_DICTIONARY, HEADER_BATCH };
#define FILE_MAGIC "ARROW1"

/* As File.fbs has it. */
struct block {
    int64_t offset;
    int32_t metadata_bytes, unused;
    int64_t body_bytes;
};
struct blocks {
    struct block *at;
    size_t n, cap;
};
struct writer {
    struct ipc_schema schema;
    enum ipc_compression compression;
    bool file;
    struct mg_buf *out;
    size_t start; /* of the file in out */
    struct blocks dictionaries, batches;
};

static enum mg_err add_block(struct blocks *blocks, struct block block, struct mg_errmsg *err)
{
    if (blocks->n == blocks->cap) {
        size_t cap = blocks->cap ? blocks->cap * 2 : 16;
        struct block *grown = realloc(blocks->at, cap * sizeof *grown);
        if (!grown)
            return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's batches");
        blocks->at = grown;
        blocks->cap = cap;
    }
    blocks->at[blocks->n++] = block;
    return MG_OK;
}

static enum mg_err finish_message(struct ipc_flat *flat, uint8_t type, ipc_ref header,
                                  int64_t body_bytes, struct mg_span *out, struct mg_errmsg *err)
{
    ipc_flat_begin(flat);
    ipc_flat_slot_i64(flat, 3, body_bytes);
    ipc_flat_slot_ref(flat, 2, header);
    ipc_flat_slot_i16(flat, 0, METADATA_V5);
    ipc_flat_slot_u8(flat, 1, type);
    return ipc_flat_finish(flat, ipc_flat_end(flat), out, err);
}

/* A marker, the length and the metadata, filled up so that the body begins at a multiple of 64. */
static void put_metadata(struct writer *w, struct mg_span metadata)
{
    static const char zeros[64];
    size_t end = w->out->len - w->start + 8 + metadata.len, padding = (0 - end) & 63;
    uint32_t marker = UINT32_MAX, length = (uint32_t)(metadata.len + padding);
    mg_buf_put(w->out, &marker, 4);
    mg_buf_put(w->out, &length, 4);
    mg_buf_put(w->out, metadata.data, metadata.len);
    mg_buf_put(w->out, zeros, padding);
}

static enum mg_err put_schema(struct writer *w, struct mg_errmsg *err)
{
    struct ipc_flat flat;
    struct mg_span metadata;
    ipc_ref schema;
    ipc_flat_init(&flat);
    enum mg_err e = ipc_schema_put(&w->schema, &flat, &schema, err);
    if (!e)
        e = finish_message(&flat, HEADER_SCHEMA, schema, 0, &metadata, err);
    if (!e)
        put_metadata(w, metadata);
    ipc_flat_fini(&flat);
    return e;
}

struct message {
    const struct ipc_body *body;
    int64_t dictionary; /* -1: a record batch */
    bool delta;
    int64_t body_bytes;
};

/* Of equal length whatever the buffers' places are: written first to know it, then to tell them. */
static enum mg_err batch_metadata(const struct writer *w, const struct message *message,
                                  struct ipc_flat *flat, struct mg_span *out, struct mg_errmsg *err)
{
    const struct ipc_body *body = message->body;
    ipc_ref compression = 0;
    uint8_t type = HEADER_BATCH;
    if (w->compression != IPC_UNCOMPRESSED) {
        ipc_flat_begin(flat);
        ipc_flat_slot_u8(flat, 0, (uint8_t)w->compression);
        ipc_flat_slot_u8(flat, 1, 0); /* each buffer on its own */
        compression = ipc_flat_end(flat);
    }
    ipc_ref buffers = ipc_flat_structs(flat, body->buffers, body->n_parts, sizeof *body->buffers);
    ipc_ref nodes = ipc_flat_structs(flat, body->nodes, body->n_nodes, sizeof *body->nodes);
    ipc_flat_begin(flat);
    ipc_flat_slot_i64(flat, 0, body->length);
    ipc_flat_slot_ref(flat, 1, nodes);
    ipc_flat_slot_ref(flat, 2, buffers);
    if (compression)
        ipc_flat_slot_ref(flat, 3, compression);
    ipc_ref header = ipc_flat_end(flat);
    if (message->dictionary >= 0) {
        type = HEADER_DICTIONARY;
        ipc_flat_begin(flat);
        ipc_flat_slot_i64(flat, 0, message->dictionary);
        ipc_flat_slot_ref(flat, 1, header);
        ipc_flat_slot_u8(flat, 2, message->delta);
        header = ipc_flat_end(flat);
    }
    return finish_message(flat, type, header, message->body_bytes, out, err);
}

static enum mg_err put_body(struct writer *w, struct ipc_body *body, int64_t dictionary, bool delta,
                            struct mg_errmsg *err)
{
    struct message message = {.body = body, .dictionary = dictionary, .delta = delta};
    struct ipc_flat flat;
    struct mg_span metadata;
    size_t at = w->out->len;
    int64_t(*places)[2] = calloc(body->n_parts + 1, sizeof *places);
    if (!places)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's buffers");
    free(body->buffers);
    body->buffers = places; /* all 0 until the body is written */
    ipc_flat_init(&flat);
    enum mg_err e = batch_metadata(w, &message, &flat, &metadata, err);
    if (e)
        goto out;
    size_t length = metadata.len;
    put_metadata(w, metadata);
    size_t begin = w->out->len;
    e = ipc_body_write(body, w->compression, w->out, err);
    if (e)
        goto out;
    message.body_bytes = (int64_t)(w->out->len - begin);
    ipc_flat_fini(&flat);
    e = batch_metadata(w, &message, &flat, &metadata, err);
    if (e)
        goto out;
    MG_ASSERT(metadata.len == length);
    memcpy(w->out->data + at + 8, metadata.data, length);
    struct block block = {.offset = (int64_t)(at - w->start),
                          .metadata_bytes = (int32_t)(begin - at),
                          .body_bytes = message.body_bytes};
    e = add_block(dictionary < 0 ? &w->batches : &w->dictionaries, block, err);
out:
    ipc_flat_fini(&flat);
    return e;
}

/* The width of indices that reach `total` values. */
static int width_for(const struct ipc_dictionary *dictionary, int64_t total)
{
    static const struct {
        const char *formats;
        int64_t most;
    } limits[] = {
        {"c", INT8_MAX}, {"C", UINT8_MAX}, {"s", INT16_MAX}, {"S", UINT16_MAX}, {"iI", INT32_MAX}};
    int width = dictionary->index_width, wanted = total - 1 > INT32_MAX ? 8 : 4;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (strchr(limits[i].formats, dictionary->field->format[0]) && total - 1 > limits[i].most)
            return width > wanted ? width : wanted;
    return width;
}

/* The batch's values of one dictionary: nothing when they are those of the batch before. Without
 * `write` only what becomes of the indices is found out, for the schema. */
static enum mg_err visit_dictionary(struct writer *w, const struct ArrowSchema *field,
                                    const struct ArrowArray *array, bool write,
                                    struct mg_errmsg *err)
{
    struct ipc_dictionary *dictionary = ipc_schema_dictionary(&w->schema, field);
    const struct ArrowArray *values = array->dictionary;
    struct ipc_body body;
    struct mg_buf bytes;
    MG_ASSERT(dictionary);
    if (dictionary->now == values)
        return MG_OK;
    mg_buf_init(&bytes, 0);
    ipc_body_init(&body, &w->schema, values->length);
    enum mg_err e =
        ipc_body_add(&body, field->dictionary, values, values->offset, values->length, err);
    if (!e)
        e = ipc_body_write(&body, IPC_UNCOMPRESSED, &bytes, err);
    if (e)
        goto out;
    for (size_t i = 0; i < body.n_parts;
         i++) /* bytes alone would not tell "ab","c" from "a","bc" of one length */
        mg_buf_put(&bytes, body.buffers[i], sizeof body.buffers[i]);
    mg_buf_put(&bytes, body.nodes, body.n_nodes * sizeof *body.nodes);
    e = mg_buf_status(&bytes, err);
    if (e)
        goto out;
    dictionary->now = values;
    struct mg_span was = {dictionary->bytes.data, dictionary->bytes.len};
    if (dictionary->written && mg_span_eq(was, (struct mg_span){bytes.data, bytes.len}))
        goto out;
    bool delta = w->file && dictionary->written;
    dictionary->shift = delta ? dictionary->total : 0;
    dictionary->total = dictionary->shift + values->length;
    dictionary->written = true;
    if (write)
        e = put_body(w, &body, dictionary - w->schema.dictionaries, delta, err);
    else
        dictionary->index_width = width_for(dictionary, dictionary->total);
    struct mg_buf old = dictionary->bytes;
    dictionary->bytes = bytes;
    bytes = old;
out:
    mg_buf_fini(&bytes);
    ipc_body_fini(&body);
    return e;
}

static enum mg_err visit_dictionaries(struct writer *w, const struct ArrowSchema *field,
                                      const struct ArrowArray *array, bool write,
                                      struct mg_errmsg *err)
{
    enum mg_err e = MG_OK;
    for (int64_t i = 0; !e && i < field->n_children; i++)
        e = visit_dictionaries(w, field->children[i], array->children[i], write, err);
    if (e || !field->dictionary)
        return e;
    e = visit_dictionaries(w, field->dictionary, array->dictionary, write, err);
    return e ? e : visit_dictionary(w, field, array, write, err);
}

/* A file has one schema for all batches: how wide indices must be is seen before it is written. */
static enum mg_err plan_dictionaries(struct writer *w, struct mg_errmsg *err)
{
    const struct mg_table *table = w->schema.table;
    enum mg_err e = MG_OK;
    for (size_t b = 0; !e && b < table->n_batches && w->schema.n_dictionaries; b++)
        e = visit_dictionaries(w, &table->schema, &table->batches[b], false, err);
    for (size_t i = 0; i < w->schema.n_dictionaries; i++) {
        struct ipc_dictionary *dictionary = &w->schema.dictionaries[i];
        dictionary->now = NULL;
        dictionary->shift = dictionary->total = 0;
        dictionary->written = false;
        dictionary->bytes.len = 0;
    }
    return e;
}

static enum mg_err put_batch(struct writer *w, size_t b, struct mg_errmsg *err)
{
    const struct mg_table *table = w->schema.table;
    const struct ArrowArray *batch = &table->batches[b];
    struct ipc_body body;
    enum mg_err e = visit_dictionaries(w, &table->schema, batch, true, err);
    ipc_body_init(&body, &w->schema, batch->length);
    for (int64_t i = 0; !e && i < table->schema.n_children; i++) {
        const struct ArrowArray *column = batch->children[i];
        e = ipc_body_add(&body, table->schema.children[i], column, column->offset + batch->offset,
                         batch->length, err);
    }
    if (!e)
        e = put_body(w, &body, -1, false, err);
    ipc_body_fini(&body);
    return e;
}

static enum mg_err put_footer(struct writer *w, struct mg_errmsg *err)
{
    struct ipc_flat flat;
    struct mg_span footer;
    ipc_ref schema;
    ipc_flat_init(&flat);
    enum mg_err e = ipc_schema_put(&w->schema, &flat, &schema, err);
    if (e)
        goto out;
    ipc_ref batches = ipc_flat_structs(&flat, w->batches.at, w->batches.n, sizeof(struct block));
    ipc_ref dictionaries =
        ipc_flat_structs(&flat, w->dictionaries.at, w->dictionaries.n, sizeof(struct block));
    ipc_flat_begin(&flat);
    ipc_flat_slot_ref(&flat, 1, schema);
    ipc_flat_slot_ref(&flat, 2, dictionaries);
    ipc_flat_slot_ref(&flat, 3, batches);
    ipc_flat_slot_i16(&flat, 0, METADATA_V5);
    e = ipc_flat_finish(&flat, ipc_flat_end(&flat), &footer, err);
    if (e)
        goto out;
    int32_t length = (int32_t)footer.len;
    mg_buf_put(w->out, footer.data, footer.len);
    mg_buf_put(w->out, &length, 4);
    mg_buf_put(w->out, FILE_MAGIC, 6);
out:
    ipc_flat_fini(&flat);
    return e;
}

static enum mg_err write_table(const struct mg_codec_job *job, bool file, struct mg_buf *out,
                               struct mg_errmsg *err)
{
    static const char end[8] = "\377\377\377\377\0\0\0";
    struct writer w = {.compression =
                           (enum ipc_compression)((int)job->options[OPT_COMPRESSION].number - 1),
                       .file = file,
                       .out = out,
                       .start = out->len};
    const struct mg_table *table = job->value->table;
    enum mg_err e = ipc_schema_init(&w.schema, table, err);
    if (!e && file)
        e = plan_dictionaries(&w, err);
    if (e)
        goto out;
    if (file)
        mg_buf_put(out, FILE_MAGIC "\0", 8);
    e = put_schema(&w, err);
    for (size_t b = 0; !e && b < table->n_batches; b++)
        e = put_batch(&w, b, err);
    mg_buf_put(out, end, sizeof end);
    if (!e && file)
        e = put_footer(&w, err);
out:
    free(w.dictionaries.at);
    free(w.batches.at);
    ipc_schema_fini(&w.schema);
    return e ? e : mg_buf_status(out, err);
}

static enum mg_err encode_file(const struct mg_codec_job *job, struct mg_buf *out,
                               struct mg_errmsg *err)
{
    return write_table(job, true, out, err);
}

static enum mg_err encode_stream(const struct mg_codec_job *job, struct mg_buf *out,
                                 struct mg_errmsg *err)
{
    return write_table(job, false, out, err);
}

const struct mg_codec mg_codec_feather[] = {
    {.name = "feather",
     .mime = "application/vnd.apache.arrow.file",
     .extension = "feather",
     .shapes = MG_SHAPE_TABLE,
     .options = options,
     .encode = encode_file},
    {.name = "arrow",
     .aliases = "arrows",
     .mime = "application/vnd.apache.arrow.stream",
     .extension = "arrows",
     .shapes = MG_SHAPE_TABLE,
     .options = options,
     .encode = encode_stream},
    {0},
};
