/* The memory of a Lua state as one piece, whose content can be kept as an image and put back.
 *
 * All that makes a state lies in what its allocator gave it, apart from machine code of the JIT and
 * from what userdata hold. So a state without these two is a copy of bytes: an image put back at
 * the same place is the very state that was saved, and nothing of what ran since is in it. Cost of
 * putting it back: one memcpy (70 kB, 3 us), where making a state takes 80 us.
 *
 * Blocks up to 64 kB come from the arena, by classes of size with a list of free blocks each;
 * larger ones, and all when it is full, come from malloc and are counted: a state that has such is
 * closed before an image is put back. */
#ifndef MOONGATE_WORKER_VM_ARENA_H
#define MOONGATE_WORKER_VM_ARENA_H

#include <stdbool.h>
#include <stddef.h>

enum { VM_ARENA_BYTES = 2 << 20, VM_ARENA_CLASSES = 60 };

struct vm_marks {
    size_t top;                   /* bytes given out from the bottom */
    void *free[VM_ARENA_CLASSES]; /* each block begins with the next one */
};

struct vm_arena {
    char *base; /* NULL: not open */
    struct vm_marks marks;
    size_t high;    /* highest top since the pages above KEPT were given back */
    size_t outside; /* blocks from malloc */
};

struct vm_image {
    char *bytes; /* NULL: none */
    struct vm_marks marks;
};

bool vm_arena_open(struct vm_arena *arena);
void vm_arena_close(struct vm_arena *arena);
/* As a lua_Alloc: bytes 0 frees. NULL when there is no memory; a smaller size always succeeds. */
void *vm_arena_resize(struct vm_arena *arena, void *old, size_t old_bytes, size_t bytes);
/* False when there is no memory, or blocks lie outside. Replaces what the image had. */
bool vm_arena_save(const struct vm_arena *arena, struct vm_image *image);
/* The arena as it was when the image was made. No block may lie outside. */
void vm_arena_load(struct vm_arena *arena, const struct vm_image *image);
void vm_image_free(struct vm_image *image);

#endif
