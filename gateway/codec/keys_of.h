/* Inside of the JSON codecs: each column's `"name":` escaped once. No name comes twice, as JSON's readers
 * keep one value of a key. */
#ifndef MOONGATE_CODEC_KEYS_OF_H
#define MOONGATE_CODEC_KEYS_OF_H

#include "moongate/codec.h"

struct keys_of {
    struct mg_buf text;
    size_t *ends; /* of each column's key in text */
};
MG_MUST_CHECK enum mg_err keys_of_open(struct keys_of *keys, const struct mg_table *table,
                                       struct mg_errmsg *err);
void keys_of_close(struct keys_of *keys);
/* The column's name as a key of its own: the second "a" is "a_2". Into `out`, which is emptied. */
MG_MUST_CHECK enum mg_err keys_of_name(const struct mg_table *table, size_t column, struct mg_buf *out);
static inline struct mg_span keys_of_get(const struct keys_of *keys, int column)
{
    size_t from = column ? keys->ends[column - 1] : 0;
    return (struct mg_span){keys->text.data + from, keys->ends[column] - from};
}

#endif
