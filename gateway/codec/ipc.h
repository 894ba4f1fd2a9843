/* Arrow IPC: types and schemas as metadata, arrays as message bodies. Private to codec/.
 * Spec: https://arrow.apache.org/docs/format/Columnar.html (metadata version 5). */
#ifndef CODEC_IPC_H
#define CODEC_IPC_H

#include "moongate/table.h"

#include "ipc_flat.h"

/* How the elements of a type lie in buffers, after the validity bits. */
enum ipc_layout {
    IPC_NOTHING,  /* null: no buffer at all */
    IPC_BITS,     /* bool */
    IPC_FIXED,    /* `width` bytes each */
    IPC_BYTES,    /* offsets of `width` bytes, then the bytes */
    IPC_LIST,     /* offsets of `width` bytes, then a child */
    IPC_CHILDREN, /* no more buffers; each child has `times` elements for each of ours */
};
struct ipc_type {
    uint8_t tag; /* of the union Type in Schema.fbs */
    enum ipc_layout layout;
    int width;
    int32_t times;
    int32_t args[3];  /* of the type's table, as the schema lists its fields */
    const char *zone; /* of a timestamp; borrowed from the format */
};
/* MG_E_NOT_ACCEPTABLE names a format that IPC files of ours cannot hold. */
MG_MUST_CHECK enum mg_err ipc_type_of(const char *format, struct ipc_type *out,
                                      struct mg_errmsg *err);

/* Dictionaries of a schema, inner ones first; an index is the id in the file. */
struct ipc_dictionary {
    const struct ArrowSchema *field; /* of the indices */
    const struct ArrowArray *now;    /* the values last written */
    struct mg_buf bytes;             /* the same, to see whether another batch brings others */
    int64_t shift;                   /* what is added to the indices of the batch */
    int64_t total;                   /* values written, deltas included */
    int index_width;                 /* bytes of an index as written */
    bool written;
};
struct ipc_schema {
    const struct mg_table *table;
    struct ipc_dictionary *dictionaries;
    size_t n_dictionaries;
    struct mg_buf crs; /* PROJJSON of the geometry's CRS; empty: none */
    bool lnglat;       /* OGC:CRS84, which GeoParquet's metadata leaves out */
};
MG_MUST_CHECK enum mg_err ipc_schema_init(struct ipc_schema *schema, const struct mg_table *table,
                                          struct mg_errmsg *err);
void ipc_schema_fini(struct ipc_schema *schema);
struct ipc_dictionary *ipc_schema_dictionary(const struct ipc_schema *schema,
                                             const struct ArrowSchema *field);
MG_MUST_CHECK enum mg_err ipc_schema_put(const struct ipc_schema *schema, struct ipc_flat *flat,
                                         ipc_ref *out, struct mg_errmsg *err);

enum ipc_compression { IPC_UNCOMPRESSED = -1, IPC_LZ4, IPC_ZSTD }; /* as Message.fbs numbers them */

/* A body before it is written: which bytes of which buffers, in order. */
struct ipc_part {
    enum { IPC_COPY, IPC_SHIFTED_BITS, IPC_OFFSETS, IPC_INDICES } kind;
    const void *data; /* NULL: zeros */
    int64_t from, n;  /* elements; bytes where they are copied */
    int64_t base;     /* taken from each offset; added to each index */
    int width, out_width;
    size_t bytes; /* as written */
};
struct ipc_body {
    const struct ipc_schema *schema;
    struct ipc_part *parts;
    int64_t (*nodes)[2];   /* length, nulls */
    int64_t (*buffers)[2]; /* offset, length; after writing */
    size_t n_parts, n_nodes;
    size_t cap_parts, cap_nodes;
    int64_t length;
};
void ipc_body_init(struct ipc_body *body, const struct ipc_schema *schema, int64_t length);
void ipc_body_fini(struct ipc_body *body);
/* `n` elements from `from`, which counts from the start of the buffers. */
MG_MUST_CHECK enum mg_err ipc_body_add(struct ipc_body *body, const struct ArrowSchema *schema,
                                       const struct ArrowArray *array, int64_t from, int64_t n,
                                       struct mg_errmsg *err);
/* Lays the buffers out and writes them, each at a multiple of 64 from where `out` stands. */
MG_MUST_CHECK enum mg_err ipc_body_write(struct ipc_body *body, enum ipc_compression compression,
                                         struct mg_buf *out, struct mg_errmsg *err);

#endif
