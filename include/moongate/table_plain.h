/* Columns as they lie in memory, for loops that would spend more on cells than on values. */
#ifndef MOONGATE_TABLE_PLAIN_H
#define MOONGATE_TABLE_PLAIN_H

#include "moongate/table.h"

/* A column without nulls, dictionary or conversion, from row 0 of the batch. */
struct mg_plain {
    enum mg_cell_type type; /* MG_CELL_INT, _DOUBLE, _STRING or _BINARY; MG_CELL_NULL: not such a column */
    const int64_t *ints;
    const double *doubles;
    const int32_t *offsets; /* of string and binary; NULL: wide_offsets */
    const int64_t *wide_offsets;
    const char *bytes;
};
static inline struct mg_span mg_plain_bytes(const struct mg_plain *plain, int64_t row)
{
    int64_t from = plain->offsets ? plain->offsets[row] : plain->wide_offsets[row];
    int64_t to = plain->offsets ? plain->offsets[row + 1] : plain->wide_offsets[row + 1];
    return (struct mg_span){plain->bytes + from, (size_t)(to - from)};
}
struct mg_plain mg_cursor_plain(const struct mg_cursor *cursor);

#endif
