/* Arrays as the body of an Arrow message.
 *
 * First a plan is made (which bytes of which buffers), so that the size is known and room is made
 * once; then each part is copied, or compressed on its own. Slices are cut here: bits are moved to
 * a whole byte, offsets begin at 0. Nulls are counted, not believed. Cost: a copy, 4 to 10 GB/s
 * where memory is warm. */
#include "ipc.h"

#include <lz4frame.h>
#include <stdlib.h>
#include <zstd.h>

enum { ALIGN = 64 };

void ipc_body_init(struct ipc_body *body, const struct ipc_schema *schema, int64_t length)
{
    *body = (struct ipc_body){.schema = schema, .length = length};
}

void ipc_body_fini(struct ipc_body *body)
{
    free(body->parts);
    free(body->nodes);
    free(body->buffers);
    ipc_body_init(body, body->schema, 0);
}

static bool more_room(void **array, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return true;
    size_t wanted = *cap ? *cap * 2 : 16;
    void *grown = realloc(*array, wanted * size);
    if (!grown)
        return false;
    *array = grown;
    *cap = wanted;
    return true;
}

static enum mg_err add_part(struct ipc_body *body, struct ipc_part part, struct mg_errmsg *err)
{
    if (!more_room((void **)&body->parts, &body->cap_parts, body->n_parts, sizeof part))
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's buffers");
    body->parts[body->n_parts++] = part;
    return MG_OK;
}

static enum mg_err add_copy(struct ipc_body *body, const void *data, int64_t from, int64_t bytes,
                            struct mg_errmsg *err)
{
    struct ipc_part part = {
        .kind = IPC_COPY, .data = data, .from = from, .n = bytes, .bytes = (size_t)bytes};
    return add_part(body, part, err);
}

static enum mg_err add_bits(struct ipc_body *body, const void *bits, int64_t from, int64_t n,
                            struct mg_errmsg *err)
{
    struct ipc_part part = {
        .kind = IPC_SHIFTED_BITS, .data = bits, .from = from, .n = n, .bytes = ((size_t)n + 7) / 8};
    return add_part(body, part, err);
}

static int64_t offset_at(const void *offsets, int width, int64_t i)
{
    return width == 4 ? ((const int32_t *)offsets)[i] : ((const int64_t *)offsets)[i];
}

static inline bool bit_at(const uint8_t *bits, int64_t i)
{
    return bits[i >> 3] >> (i & 7) & 1;
}

static int64_t count_nulls(const uint8_t *bits, int64_t from, int64_t n)
{
    int64_t set = 0, i = from, end = from + n;
    for (; i < end && i % 8; i++)
        set += bit_at(bits, i);
    for (; i + 64 <= end; i += 64) {
        uint64_t word;
        memcpy(&word, bits + i / 8, 8);
        set += __builtin_popcountll(word);
    }
    for (; i < end; i++)
        set += bit_at(bits, i);
    return n - set;
}

static enum mg_err add_offsets(struct ipc_body *body, const void *offsets, int width, int64_t from,
                               int64_t n, int64_t *first, int64_t *last, struct mg_errmsg *err)
{
    *first = offsets ? offset_at(offsets, width, from) : 0;
    *last = offsets ? offset_at(offsets, width, from + n) : 0;
    if (*first == 0 && offsets)
        return add_copy(body, offsets, from * width, (n + 1) * width, err);
    struct ipc_part part = {.kind = IPC_OFFSETS,
                            .data = offsets,
                            .from = from,
                            .n = n + 1,
                            .base = *first,
                            .width = width,
                            .bytes = (size_t)(n + 1) * (size_t)width};
    return add_part(body, part, err);
}

static enum mg_err add_indices(struct ipc_body *body, const struct ArrowSchema *schema,
                               const struct ipc_type *type, const struct ArrowArray *array,
                               int64_t from, int64_t n, struct mg_errmsg *err)
{
    const struct ipc_dictionary *dictionary = ipc_schema_dictionary(body->schema, schema);
    MG_ASSERT(dictionary);
    if (dictionary->index_width == type->width && dictionary->shift == 0)
        return add_copy(body, array->buffers[1], from * type->width, n * type->width, err);
    struct ipc_part part = {.kind = IPC_INDICES,
                            .data = array->buffers[1],
                            .from = from,
                            .n = n,
                            .base = dictionary->shift,
                            .width = type->args[1] ? type->width : -type->width,
                            .out_width = dictionary->index_width,
                            .bytes = (size_t)n * (size_t)dictionary->index_width};
    return add_part(body, part, err);
}

enum mg_err ipc_body_add(struct ipc_body *body, const struct ArrowSchema *schema,
                         const struct ArrowArray *array, int64_t from, int64_t n,
                         struct mg_errmsg *err)
{
    struct ipc_type type;
    enum mg_err e = ipc_type_of(schema->format, &type, err);
    if (e)
        return e;
    if (!more_room((void **)&body->nodes, &body->cap_nodes, body->n_nodes, sizeof *body->nodes))
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's arrays");
    int64_t *node = body->nodes[body->n_nodes++];
    node[0] = n;
    node[1] = n;
    if (type.layout == IPC_NOTHING)
        return MG_OK;
    const void *valid = array->null_count ? array->buffers[0] : NULL;
    node[1] = valid ? count_nulls(valid, from, n) : 0;
    e = node[1] ? add_bits(body, valid, from, n, err) : add_copy(body, NULL, 0, 0, err);
    if (e)
        return e;
    int64_t first = from * type.times, last = (from + n) * type.times;
    if (schema->dictionary)
        return add_indices(body, schema, &type, array, from, n, err);
    switch (type.layout) {
    case IPC_NOTHING:
    case IPC_CHILDREN:
        break;
    case IPC_BITS:
        e = add_bits(body, array->buffers[1], from, n, err);
        break;
    case IPC_FIXED:
        e = add_copy(body, array->buffers[1], from * type.width, n * type.width, err);
        break;
    case IPC_BYTES:
        e = add_offsets(body, array->buffers[1], type.width, from, n, &first, &last, err);
        return e ? e : add_copy(body, array->buffers[2], first, last - first, err);
    case IPC_LIST:
        e = add_offsets(body, array->buffers[1], type.width, from, n, &first, &last, err);
        break;
    }
    for (int64_t i = 0; !e && i < schema->n_children; i++) {
        const struct ArrowArray *child = array->children[i];
        e = ipc_body_add(body, schema->children[i], child, child->offset + first, last - first,
                         err);
    }
    return e;
}

static void write_bits(const struct ipc_part *part, uint8_t *out)
{
    const uint8_t *bits = (const uint8_t *)part->data + part->from / 8;
    int shift = (int)(part->from % 8);
    size_t have = ((size_t)part->n + (size_t)shift + 7) / 8;
    if (!shift)
        memcpy(out, bits, part->bytes);
    for (size_t i = 0; shift && i < part->bytes; i++)
        out[i] = (uint8_t)(bits[i] >> shift | (i + 1 < have ? bits[i + 1] << (8 - shift) : 0));
    if (part->n % 8)
        out[part->bytes - 1] &= (uint8_t)((1u << (part->n % 8)) - 1);
}

static void write_offsets(const struct ipc_part *part, uint8_t *out)
{
    if (!part->data) {
        memset(out, 0, part->bytes);
    } else if (part->width == 4) {
        const int32_t *in = (const int32_t *)part->data + part->from;
        int32_t base = (int32_t)part->base, *to = (int32_t *)(void *)out;
        for (int64_t i = 0; i < part->n; i++)
            to[i] = in[i] - base;
    } else {
        const int64_t *in = (const int64_t *)part->data + part->from;
        int64_t *to = (int64_t *)(void *)out;
        for (int64_t i = 0; i < part->n; i++)
            to[i] = in[i] - part->base;
    }
}

static int64_t index_at(const void *data, int width, int64_t i)
{
    switch (width) {
    case 1:
        return ((const int8_t *)data)[i];
    case -1:
        return ((const uint8_t *)data)[i];
    case 2:
        return ((const int16_t *)data)[i];
    case -2:
        return ((const uint16_t *)data)[i];
    case 4:
        return ((const int32_t *)data)[i];
    case -4:
        return ((const uint32_t *)data)[i];
    default:
        return ((const int64_t *)data)[i];
    }
}

/* Indices of nulls are any bytes: their sum may not fit, and is then 0. */
static void write_indices(const struct ipc_part *part, uint8_t *out)
{
    int64_t limit = part->out_width == 8 ? INT64_MAX : ((int64_t)1 << part->out_width * 8) - 1;
    for (int64_t i = 0; i < part->n; i++) {
        int64_t value;
        if (__builtin_add_overflow(index_at(part->data, part->width, part->from + i), part->base,
                                   &value) ||
            value < 0 || value > limit)
            value = 0;
        memcpy(out + i * part->out_width, &value, (size_t)part->out_width);
    }
}

static void write_part(const struct ipc_part *part, uint8_t *out)
{
    if (!part->bytes)
        return;
    switch (part->kind) {
    case IPC_COPY:
        memcpy(out, (const uint8_t *)part->data + part->from, part->bytes);
        break;
    case IPC_SHIFTED_BITS:
        write_bits(part, out);
        break;
    case IPC_OFFSETS:
        write_offsets(part, out);
        break;
    case IPC_INDICES:
        write_indices(part, out);
        break;
    }
}

static void put_padding(struct mg_buf *out, size_t start)
{
    static const char zeros[ALIGN];
    mg_buf_put(out, zeros, (0 - (out->len - start)) & (ALIGN - 1));
}

static enum mg_err write_plain(struct ipc_body *body, struct mg_buf *out, struct mg_errmsg *err)
{
    size_t start = out->len, total = 0;
    for (size_t i = 0; i < body->n_parts; i++)
        total += (body->parts[i].bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    mg_buf_room(out, total);
    for (size_t i = 0; i < body->n_parts; i++) {
        const struct ipc_part *part = &body->parts[i];
        char *room = mg_buf_room(out, part->bytes);
        if (!room)
            break;
        body->buffers[i][0] = (int64_t)(out->len - start);
        body->buffers[i][1] = (int64_t)part->bytes;
        write_part(part, (uint8_t *)room);
        out->len += part->bytes;
        put_padding(out, start);
    }
    return mg_buf_status(out, err);
}

struct packer {
    enum ipc_compression how;
    ZSTD_CCtx *zstd;
    struct mg_buf plain; /* a part that is not a plain copy */
};

static size_t packed_bound(const struct packer *packer, size_t n)
{
    return packer->how == IPC_ZSTD ? ZSTD_compressBound(n) : LZ4F_compressFrameBound(n, NULL);
}

/* 0: it does not get smaller (or failed): stored as it is. */
static size_t pack(struct packer *packer, const void *in, size_t n, void *out, size_t room)
{
    size_t made = packer->how == IPC_ZSTD ? ZSTD_compressCCtx(packer->zstd, out, room, in, n, 1)
                                          : LZ4F_compressFrame(out, room, in, n, NULL);
    bool failed = packer->how == IPC_ZSTD ? ZSTD_isError(made) : LZ4F_isError(made);
    return failed || made >= n ? 0 : made;
}

/* Its length before compression (-1: not compressed) as 8 bytes, then the bytes. */
static void write_packed(struct packer *packer, const struct ipc_part *part, struct mg_buf *out)
{
    const uint8_t *in = (const uint8_t *)part->data + part->from;
    if (part->kind != IPC_COPY) {
        packer->plain.len = 0;
        in = (uint8_t *)mg_buf_room(&packer->plain, part->bytes);
        if (!in) {
            out->failed = true;
            return;
        }
        write_part(part, (uint8_t *)packer->plain.data);
    }
    size_t bound = packed_bound(packer, part->bytes);
    struct mg_buf packed;
    mg_buf_init(&packed, 0); /* the bound is more than what comes: not against the limit */
    char *room = mg_buf_room(&packed, bound);
    if (!room) {
        out->failed = true;
        return;
    }
    size_t n = pack(packer, in, part->bytes, room, bound);
    int64_t length = n ? (int64_t)part->bytes : -1;
    mg_buf_put(out, &length, sizeof length);
    mg_buf_put(out, n ? (const void *)room : in, n ? n : part->bytes);
    mg_buf_fini(&packed);
}

static enum mg_err write_compressed(struct ipc_body *body, enum ipc_compression compression,
                                    struct mg_buf *out, struct mg_errmsg *err)
{
    size_t start = out->len;
    struct packer packer = {.how = compression};
    mg_buf_init(&packer.plain, 0);
    if (compression == IPC_ZSTD && !(packer.zstd = ZSTD_createCCtx()))
        return mg_err_set(err, MG_E_NOMEM, "no memory for compression");
    for (size_t i = 0; i < body->n_parts && !out->failed; i++) {
        size_t at = out->len;
        if (body->parts[i].bytes)
            write_packed(&packer, &body->parts[i], out);
        body->buffers[i][0] = (int64_t)(at - start);
        body->buffers[i][1] = (int64_t)(out->len - at);
        put_padding(out, start);
    }
    ZSTD_freeCCtx(packer.zstd);
    mg_buf_fini(&packer.plain);
    return mg_buf_status(out, err);
}

enum mg_err ipc_body_write(struct ipc_body *body, enum ipc_compression compression,
                           struct mg_buf *out, struct mg_errmsg *err)
{
    free(body->buffers);
    body->buffers = calloc(body->n_parts + 1, sizeof *body->buffers);
    if (!body->buffers)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's buffers");
    return compression == IPC_UNCOMPRESSED ? write_plain(body, out, err)
                                           : write_compressed(body, compression, out, err);
}
