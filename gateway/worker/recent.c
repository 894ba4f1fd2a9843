/* A list in the order of use. It is short (at most 256 entries, 4 MB), so that finding by key is a walk over some
 * cached lines: under 1 us. */
#include "recent.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 4 << 20, MAX_ENTRY = 256 << 10, MAX_ENTRIES = 256 };

static struct recent *unlink_key(struct recents *recents, const struct mg_hash *key)
{
    for (struct recent **at = &recents->newest; *at; at = &(*at)->next)
        if (mg_hash_eq(&(*at)->key, key)) {
            struct recent *found = *at;
            *at = found->next;
            return found;
        }
    return NULL;
}

static void drop(struct recents *recents, struct recent *recent)
{
    recents->bytes -= recent->len;
    free(recent->entry);
    free(recent);
}

struct recent *recents_find(struct recents *recents, const struct mg_hash *key)
{
    struct recent *found = unlink_key(recents, key);
    if (found) {
        found->next = recents->newest;
        recents->newest = found;
    }
    return found;
}

void recents_drop(struct recents *recents, const struct mg_hash *key)
{
    struct recent *found = unlink_key(recents, key);
    if (found)
        drop(recents, found);
}

/* Ends the list behind what fits. */
static void shrink(struct recents *recents)
{
    size_t bytes = 0, n = 0;
    for (struct recent **at = &recents->newest; *at;) {
        bytes += (*at)->len;
        if (++n <= MAX_ENTRIES && bytes <= MAX_BYTES) {
            at = &(*at)->next;
            continue;
        }
        struct recent *old = *at;
        *at = old->next;
        drop(recents, old);
    }
}

void recents_put(struct recents *recents, const struct recent *what)
{
    recents_drop(recents, &what->key);
    if (what->len > MAX_ENTRY)
        return;
    struct recent *fresh = malloc(sizeof *fresh);
    char *entry = malloc(what->len ? what->len : 1);
    if (!fresh || !entry) {
        free(fresh);
        free(entry);
        return;
    }
    *fresh = *what;
    memcpy(entry, what->entry, what->len);
    fresh->entry = entry;
    fresh->next = recents->newest;
    recents->newest = fresh;
    recents->bytes += fresh->len;
    shrink(recents);
}

void recents_free(struct recents *recents)
{
    while (recents->newest) {
        struct recent *old = recents->newest;
        recents->newest = old->next;
        drop(recents, old);
    }
}
