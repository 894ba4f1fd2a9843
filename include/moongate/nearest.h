/* The nearest known word, for "did you mean". Pure; any thread. */
#ifndef MOONGATE_NEAREST_H
#define MOONGATE_NEAREST_H

#include "moongate/buf.h"

/* The one of words (n, none NULL) with the least edit distance to `word`, letter case ignored; NULL when all are
 * farther than a third of its length (at least one edit, swapped neighbours count as one). Borrowed. */
const char *mg_nearest(struct mg_span word, const char *const *words, size_t n);

#endif
