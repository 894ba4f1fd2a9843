/* FlatBuffers, written from the end to the start, as far as Arrow's metadata needs them: tables,
 * strings, vectors of offsets and of structs. Private to codec/.
 *
 * What a table points to is written before it. A failure (no memory) is kept and shows at the end.
 * Spec: https://flatbuffers.dev/internals/ */
#ifndef CODEC_IPC_FLAT_H
#define CODEC_IPC_FLAT_H

#include "moongate/buf.h"

enum { IPC_FLAT_SLOTS = 8 };
struct ipc_flat {
    uint8_t *data; /* the last `len` of `cap` bytes are in use */
    size_t cap, len;
    uint32_t slots[IPC_FLAT_SLOTS]; /* of the table that is being written; 0: unset */
    size_t table;
    bool failed;
};
/* A place in the buffer: bytes from its end, so that it stays true while the buffer grows. */
typedef uint32_t ipc_ref;

void ipc_flat_init(struct ipc_flat *flat);
void ipc_flat_fini(struct ipc_flat *flat);
ipc_ref ipc_flat_string(struct ipc_flat *flat, struct mg_span text);
ipc_ref ipc_flat_refs(struct ipc_flat *flat, const ipc_ref *refs, size_t n);
/* `n` structs of `size` bytes as they lie in memory (little-endian), aligned to 8. */
ipc_ref ipc_flat_structs(struct ipc_flat *flat, const void *data, size_t n, size_t size);
/* begin, some of slot_…, end. Slots are numbered as the schema lists the fields. */
void ipc_flat_begin(struct ipc_flat *flat);
void ipc_flat_slot_u8(struct ipc_flat *flat, int slot, uint8_t value);
void ipc_flat_slot_i16(struct ipc_flat *flat, int slot, int16_t value);
void ipc_flat_slot_i32(struct ipc_flat *flat, int slot, int32_t value);
void ipc_flat_slot_i64(struct ipc_flat *flat, int slot, int64_t value);
void ipc_flat_slot_ref(struct ipc_flat *flat, int slot, ipc_ref ref);
ipc_ref ipc_flat_end(struct ipc_flat *flat);
/* The finished bytes, a multiple of 8; borrowed until fini. MG_E_NOMEM. */
MG_MUST_CHECK enum mg_err ipc_flat_finish(struct ipc_flat *flat, ipc_ref root, struct mg_span *out,
                                          struct mg_errmsg *err);

#endif
