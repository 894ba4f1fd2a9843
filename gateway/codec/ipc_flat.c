/* FlatBuffers, written from the end to the start.
 *
 * Invariant: `len` counts from the end, so a value is aligned when `len` is a multiple of its size
 * after it was written, provided the whole is padded to the largest alignment (finish does). Equal
 * calls give equally long bytes: nothing is left out for being a default. */
#include "ipc_flat.h"

#include <stdlib.h>

void ipc_flat_init(struct ipc_flat *flat)
{
    *flat = (struct ipc_flat){0};
}

void ipc_flat_fini(struct ipc_flat *flat)
{
    free(flat->data);
    ipc_flat_init(flat);
}

static bool reserve(struct ipc_flat *flat, size_t n)
{
    if (flat->failed)
        return false;
    if (flat->cap - flat->len >= n)
        return true;
    size_t cap = flat->cap * 2 > flat->len + n ? flat->cap * 2 : flat->len + n + 1024;
    /* Offsets are 32 bits wide and signed in places. */
    uint8_t *data = cap > INT32_MAX ? NULL : malloc(cap);
    if (!data) {
        flat->failed = true;
        return false;
    }
    if (flat->len)
        memcpy(data + cap - flat->len, flat->data + flat->cap - flat->len, flat->len);
    free(flat->data);
    flat->data = data;
    flat->cap = cap;
    return true;
}

static void put(struct ipc_flat *flat, const void *bytes, size_t n)
{
    if (!reserve(flat, n))
        return;
    flat->len += n;
    if (n)
        memcpy(flat->data + flat->cap - flat->len, bytes, n);
}

/* Zeros, so that after `n` more bytes the length is a multiple of `align`. */
static void pad(struct ipc_flat *flat, size_t align, size_t n)
{
    static const uint8_t zeros[8];
    put(flat, zeros, (0 - (flat->len + n)) & (align - 1));
}

static void put_u32(struct ipc_flat *flat, uint32_t value)
{
    pad(flat, 4, 4);
    put(flat, &value, 4);
}

static void put_ref(struct ipc_flat *flat, ipc_ref ref)
{
    pad(flat, 4, 4);
    put_u32(flat, (uint32_t)flat->len + 4 - ref);
}

ipc_ref ipc_flat_string(struct ipc_flat *flat, struct mg_span text)
{
    pad(flat, 4, text.len + 1);
    put(flat, "", 1);
    put(flat, text.data, text.len);
    put_u32(flat, (uint32_t)text.len);
    return (ipc_ref)flat->len;
}

ipc_ref ipc_flat_refs(struct ipc_flat *flat, const ipc_ref *refs, size_t n)
{
    pad(flat, 4, 4 * n);
    for (size_t i = n; i > 0; i--)
        put_ref(flat, refs[i - 1]);
    put_u32(flat, (uint32_t)n);
    return (ipc_ref)flat->len;
}

ipc_ref ipc_flat_structs(struct ipc_flat *flat, const void *data, size_t n, size_t size)
{
    pad(flat, 8, n * size);
    put(flat, data, n * size);
    put_u32(flat, (uint32_t)n);
    return (ipc_ref)flat->len;
}

void ipc_flat_begin(struct ipc_flat *flat)
{
    memset(flat->slots, 0, sizeof flat->slots);
    flat->table = flat->len;
}

#define SLOT(name, type)                                                   \
    void ipc_flat_slot_##name(struct ipc_flat *flat, int slot, type value) \
    {                                                                      \
        pad(flat, sizeof value, sizeof value);                             \
        put(flat, &value, sizeof value);                                   \
        flat->slots[slot] = (uint32_t)flat->len;                           \
    }
SLOT(u8, uint8_t)
SLOT(i16, int16_t)
SLOT(i32, int32_t)
SLOT(i64, int64_t)

void ipc_flat_slot_ref(struct ipc_flat *flat, int slot, ipc_ref ref)
{
    put_ref(flat, ref);
    flat->slots[slot] = (uint32_t)flat->len;
}

ipc_ref ipc_flat_end(struct ipc_flat *flat)
{
    uint16_t vtable[2 + IPC_FLAT_SLOTS];
    int n = IPC_FLAT_SLOTS;
    put_u32(flat, 0); /* how far the vtable is; known below */
    size_t at = flat->len;
    while (n > 0 && !flat->slots[n - 1])
        n--;
    vtable[0] = (uint16_t)(4 + 2 * n);
    vtable[1] = (uint16_t)(at - flat->table);
    for (int i = 0; i < n; i++)
        vtable[2 + i] = (uint16_t)(flat->slots[i] ? at - flat->slots[i] : 0);
    put(flat, vtable, vtable[0]);
    if (flat->failed)
        return 0;
    int32_t distance = (int32_t)(flat->len - at);
    memcpy(flat->data + flat->cap - at, &distance, 4);
    return (ipc_ref)at;
}

enum mg_err ipc_flat_finish(struct ipc_flat *flat, ipc_ref root, struct mg_span *out,
                            struct mg_errmsg *err)
{
    pad(flat, 8, 4);
    put_ref(flat, root);
    if (flat->failed)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's metadata");
    *out = (struct mg_span){(char *)flat->data + flat->cap - flat->len, flat->len};
    return MG_OK;
}
