/* The memory of a Lua state; see vm_arena.h. Worker process, single thread. */
#include "vm_arena.h"

#include "moongate/err.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    GRAIN = 16,
    FINE = 512, /* up to here a class for every 16 bytes, above it four for each doubling */
    FINE_CLASSES = FINE / GRAIN,
    LARGEST = 64 << 10, /* of the arena's blocks */
    PAGE = 4096,
    KEPT = 512 << 10 /* pages above are given back when a run went further */
};
_Static_assert(FINE_CLASSES + 4 * 7 == VM_ARENA_CLASSES, "512 bytes doubled seven times are 64 kB");

/* The class whose blocks hold `bytes`, and the size of its blocks. */
static unsigned class_of(size_t bytes, size_t *size)
{
    if (bytes <= FINE) {
        unsigned i = (unsigned)((bytes + GRAIN - 1) / GRAIN) - 1;
        *size = (i + 1) * (size_t)GRAIN;
        return i;
    }
    unsigned doubling =
        63 - (unsigned)__builtin_clzll(bytes - 1); /* 2^doubling < bytes <= 2^(doubling + 1) */
    size_t step = (size_t)1 << (doubling - 2);
    unsigned quarter = (unsigned)((bytes - 1 - ((size_t)1 << doubling)) / step);
    *size = ((size_t)1 << doubling) + (quarter + 1) * step;
    return FINE_CLASSES + 4 * (doubling - 9) + quarter;
}

static bool is_inside(const struct vm_arena *arena, const void *block)
{
    return (uintptr_t)block - (uintptr_t)arena->base < VM_ARENA_BYTES;
}

bool vm_arena_open(struct vm_arena *arena)
{
    *arena = (struct vm_arena){.base = aligned_alloc(PAGE, VM_ARENA_BYTES)};
    return arena->base != NULL;
}

void vm_arena_close(struct vm_arena *arena)
{
    free(arena->base);
    *arena = (struct vm_arena){0};
}

static void *give(struct vm_arena *arena, size_t bytes)
{
    size_t size;
    if (bytes <= LARGEST) {
        unsigned i = class_of(bytes, &size);
        void *block = arena->marks.free[i];
        if (block) {
            memcpy(&arena->marks.free[i], block, sizeof block);
            return block;
        }
        if (arena->marks.top + size <= VM_ARENA_BYTES) {
            block = arena->base + arena->marks.top;
            arena->marks.top += size;
            return block;
        }
    }
    void *block = malloc(bytes);
    arena->outside += block != NULL;
    return block;
}

static void take(struct vm_arena *arena, void *block, size_t bytes)
{
    size_t size;
    if (!is_inside(arena, block)) {
        free(block);
        arena->outside--;
        return;
    }
    unsigned i = class_of(bytes, &size);
    memcpy(block, &arena->marks.free[i], sizeof block);
    arena->marks.free[i] = block;
}

void *vm_arena_resize(struct vm_arena *arena, void *old, size_t old_bytes, size_t bytes)
{
    size_t size, old_size;
    if (bytes == 0) {
        if (old)
            take(arena, old, old_bytes);
        return NULL;
    }
    if (!old)
        return give(arena, bytes);
    bool inside = is_inside(arena, old);
    if (!inside && bytes > LARGEST)
        return realloc(old, bytes);
    if (inside && bytes <= LARGEST && class_of(bytes, &size) == class_of(old_bytes, &old_size))
        return old;
    void *fresh = give(arena, bytes);
    if (!fresh) /* a block that shrinks may stay: freed as a smaller one, it is one of that class
                   with some waste */
        return bytes <= old_bytes ? old : NULL;
    memcpy(fresh, old, old_bytes < bytes ? old_bytes : bytes);
    take(arena, old, old_bytes);
    return fresh;
}

bool vm_arena_save(const struct vm_arena *arena, struct vm_image *image)
{
    if (arena->outside)
        return false;
    char *bytes = malloc(arena->marks.top);
    if (!bytes)
        return false;
    memcpy(bytes, arena->base, arena->marks.top);
    free(image->bytes);
    *image = (struct vm_image){.bytes = bytes, .marks = arena->marks};
    return true;
}

void vm_arena_load(struct vm_arena *arena, const struct vm_image *image)
{
    MG_ASSERT(image->bytes && arena->outside == 0);
    if (arena->marks.top > arena->high)
        arena->high = arena->marks.top;
    if (arena->high > KEPT) {
        /* Best effort: pages that stay cost memory, nothing else. */
        (void)madvise(arena->base + KEPT, VM_ARENA_BYTES - KEPT, MADV_DONTNEED);
        arena->high = 0;
    }
    memcpy(arena->base, image->bytes, image->marks.top);
    arena->marks = image->marks;
}

void vm_image_free(struct vm_image *image)
{
    free(image->bytes);
    *image = (struct vm_image){0};
}
