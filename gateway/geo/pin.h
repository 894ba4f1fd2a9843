/* Mapped bytes that several values point into: unmapped with the last of them. Single thread. */
#ifndef MOONGATE_GEO_PIN_H
#define MOONGATE_GEO_PIN_H

#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

struct pin {
    int refs;
    void *at;
    size_t len;
};

static inline struct pin *pin_ref(struct pin *pin)
{
    pin->refs++;
    return pin;
}

static inline void pin_unref(struct pin **pin)
{
    struct pin *p = *pin;
    *pin = NULL;
    if (!p || --p->refs > 0)
        return;
    munmap(p->at, p->len);
    free(p);
}

#endif
