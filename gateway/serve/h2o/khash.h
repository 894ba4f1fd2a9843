/* A reader of h2o's hash tables.
 *
 * <h2o/http2_internal.h> includes "khash.h", which libh2o-dev does not ship. h2o owns its tables of
 * streams and changes them; we only look one up. The layout (sizes, two flag bits a bucket: 2
 * empty, 1 deleted; keys; values) and the probing (h, h+1, h+3, h+6 ...) are those that the library
 * was built with. */
#ifndef MOONGATE_SERVE_KHASH_H
#define MOONGATE_SERVE_KHASH_H

#include <stdint.h>

typedef uint32_t khiter_t;
#define khash_t(name) struct kh_##name
#define kh_end(table) ((table)->n_buckets)
#define kh_exist(table, at) (!((table)->flags[(at) >> 4] >> (((at)&15) << 1) & 3))
#define kh_val(table, at) ((table)->vals[at])
#define kh_get(name, table, key) kh_get_##name(table, key)

#define KHASH_MAP_INIT_INT64(name, value_t)                                                        \
    struct kh_##name {                                                                             \
        uint32_t n_buckets, size, n_occupied, upper_bound;                                         \
        uint32_t *flags;                                                                           \
        uint64_t *keys;                                                                            \
        value_t *vals;                                                                             \
    };                                                                                             \
    static inline khiter_t kh_get_##name(const struct kh_##name *table, uint64_t key)              \
    {                                                                                              \
        uint32_t mask = table->n_buckets - 1, at = (uint32_t)(key >> 33 ^ key ^ key << 11) & mask; \
        for (uint32_t step = 0; step < table->n_buckets;) {                                        \
            uint32_t flag = table->flags[at >> 4] >> ((at & 15) << 1);                             \
            if (flag & 2) {                                                                        \
                break;                                                                             \
            }                                                                                      \
            if (!(flag & 1) && table->keys[at] == key) {                                           \
                return at;                                                                         \
            }                                                                                      \
            at = (at + ++step) & mask;                                                             \
        }                                                                                          \
        return table->n_buckets;                                                                   \
    }

#endif
