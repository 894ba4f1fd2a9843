/* Nearest word by optimal string alignment distance (Damerau 1964, each substring edited once): insertions,
 * deletions, replacements and swaps of neighbours cost 1. Cost: O(len * len) for each word, no memory. */
#include "moongate/nearest.h"

#include <ctype.h>

enum { LONGEST = 64 };

static bool same(char a, char b) { return tolower((unsigned char)a) == tolower((unsigned char)b); }

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

static unsigned distance(struct mg_span a, struct mg_span b)
{
    unsigned rows[3][LONGEST + 1], *before = rows[0], *above = rows[1], *row = rows[2];
    for (unsigned j = 0; j <= b.len; j++)
        above[j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned replace = above[j - 1] + !same(a.data[i - 1], b.data[j - 1]);
            row[j] = least(replace, 1 + least(above[j], row[j - 1]));
            if (i > 1 && j > 1 && same(a.data[i - 1], b.data[j - 2]) && same(a.data[i - 2], b.data[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        unsigned *spent = before;
        before = above;
        above = row;
        row = spent;
    }
    return above[b.len];
}

const char *mg_nearest(struct mg_span word, const char *const *words, size_t n)
{
    const char *found = NULL;
    if (!word.len || word.len > LONGEST)
        return NULL;
    unsigned bound = word.len < 6 ? 1 : (unsigned)word.len / 3;
    for (size_t i = 0; i < n; i++) {
        struct mg_span known = mg_span(words[i]);
        if (known.len > LONGEST)
            continue;
        unsigned far = distance(word, known);
        /* A word of which every letter changed is not near. */
        if (far <= bound && far < word.len && (!found || far < bound)) {
            found = words[i];
            bound = far;
        }
    }
    return found;
}
