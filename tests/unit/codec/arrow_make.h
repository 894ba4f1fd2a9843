/* Random tables of every Arrow type, nested, sliced and in several batches, for the tests of
 * codecs. Deterministic: a seed gives the same table on every machine. */
#ifndef ARROW_MAKE_H
#define ARROW_MAKE_H

#include "moongate/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct dice {
    uint64_t state;
};
static inline uint64_t roll(struct dice *dice)
{
    uint64_t z = (dice->state += 0x9e3779b97f4a7c15u); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline int64_t roll_below(struct dice *dice, int64_t n)
{
    return n > 0 ? (int64_t)(roll(dice) % (uint64_t)n) : 0;
}

static inline void drop_schema(struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        schema->children[i]->release(schema->children[i]);
        free(schema->children[i]);
    }
    if (schema->dictionary) {
        schema->dictionary->release(schema->dictionary);
        free(schema->dictionary);
    }
    free(schema->children);
    free((void *)schema->name);
    free((void *)schema->format);
    schema->release = NULL;
}

static inline struct ArrowSchema *new_schema(const char *format, const char *name, int64_t n)
{
    struct ArrowSchema *schema = calloc(1, sizeof *schema);
    *schema = (struct ArrowSchema){.format = strdup(format),
                                   .name = strdup(name),
                                   .flags = ARROW_FLAG_NULLABLE,
                                   .n_children = n,
                                   .children = calloc((size_t)n + 1, sizeof(void *)),
                                   .release = drop_schema};
    return schema;
}

static inline void drop_array(struct ArrowArray *array)
{
    for (int64_t i = 0; i < array->n_children; i++) {
        array->children[i]->release(array->children[i]);
        free(array->children[i]);
    }
    if (array->dictionary) {
        array->dictionary->release(array->dictionary);
        free(array->dictionary);
    }
    for (int64_t i = 0; i < array->n_buffers; i++)
        free((void *)array->buffers[i]);
    free(array->children);
    free(array->buffers);
    array->release = NULL;
}

/* "i" a column; "+l(u)" a list; "+s(i,g)" a struct; "+m(u,i)" a map; "s<u>" a dictionary. */
static inline struct ArrowSchema *parse_schema(const char **at, const char *name)
{
    char format[64];
    size_t n = strcspn(*at, "(),<> ");
    /* The commas of "d:38,10" and the like belong to the format. */
    while ((*at)[n] == ',' && (*at)[n + 1] >= '0' && (*at)[n + 1] <= '9')
        n += 1 + strcspn(*at + n + 1, "(),<> ");
    snprintf(format, sizeof format, "%.*s", (int)n, *at);
    *at += n;
    struct ArrowSchema *schema = new_schema(format, name, 0), *children[8];
    if (**at == '<') {
        ++*at;
        schema->dictionary = parse_schema(at, "values");
        ++*at;
    } else if (**at == '(') {
        int64_t k = 0;
        do {
            char child[8];
            ++*at;
            snprintf(child, sizeof child, "c%d", (int)k);
            children[k++] = parse_schema(at, child);
        } while (**at == ',');
        ++*at;
        free(schema->children);
        schema->children = calloc((size_t)k, sizeof(void *));
        memcpy(schema->children, children, (size_t)k * sizeof(void *));
        schema->n_children = k;
        if (strcmp(format, "+m") == 0) { /* a map's child is one struct of key and value */
            struct ArrowSchema *entries = new_schema("+s", "entries", 0);
            free(entries->children);
            entries->children = schema->children;
            entries->n_children = k;
            entries->flags = 0;
            entries->children[0]->flags = 0;
            schema->children = calloc(1, sizeof(void *));
            schema->children[0] = entries;
            schema->n_children = 1;
        }
    }
    return schema;
}

static inline int fixed_width(const char *format)
{
    static const char *const widths[] = {"", "cC", "sSe", "", "iIf", "", "", "", "lLg"};
    if (strncmp(format, "w:", 2) == 0)
        return (int)strtol(format + 2, NULL, 10);
    if (format[0] == 'd')
        return 16;
    if (strcmp(format, "tdD") == 0 || strcmp(format, "tts") == 0 || strcmp(format, "ttm") == 0)
        return 4;
    if (format[0] == 't')
        return 8;
    for (int w = 1; w < 9; w++)
        if (!format[1] && strchr(widths[w], format[0]))
            return w;
    return -1;
}

static inline void fill_fixed(struct dice *dice, const char *format, int width, int64_t n,
                              char *out)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, -0.0, 0.1, 1e300, 5e-324};
    for (int64_t i = 0; i < n; i++, out += width) {
        uint64_t bits[2] = {roll(dice), roll(dice)};
        int64_t v = (int64_t)bits[0];
        double d = odd[roll_below(dice, 7)];
        float f = (float)(roll_below(dice, 2000) - 1000) / 8;
        if (format[0] == 'd') { /* at most 10 digits */
            __int128 wide = v % 10000000000;
            memcpy(out, &wide, 16);
            continue;
        }
        if (strcmp(format, "tdD") == 0)
            v %= 100000;
        else if (strcmp(format, "tdm") == 0)
            v = v % 100000 * 86400000;
        else if (format[0] == 't' && format[1] == 't')
            v = roll_below(dice, 86400);
        else if (format[0] == 't')
            v %= format[2] == 's' ? 4000000000 : 4000000000000;
        if (format[0] == 'g') {
            if (roll_below(dice, 3))
                d = (double)(v % 1000000) / 64;
            memcpy(out, &d, 8);
        } else if (format[0] == 'f') {
            memcpy(out, &f, 4);
        } else if (format[0] == 'e') {
            uint16_t half = (uint16_t)(0x3c00 | (bits[0] & 0x83ff)); /* 1 to 2, either sign */
            memcpy(out, &half, 2);
        } else if (format[0] == 'w') {
            for (int k = 0; k < width; k++)
                out[k] = (char)roll(dice);
        } else {
            memcpy(out, &v, (size_t)width);
        }
    }
}

static inline void fill_bytes(struct dice *dice, bool text, bool large, int64_t n,
                              struct ArrowArray *array)
{
    static const char *const words[] = {
        "",        "a",           "two words",        "say \"x\"",        "line\nbreak",
        "=1+1",    "gr\303\274n", "\360\237\214\231", "\327\251\327\234", "tab\there",
        "<b>&amp;"};
    char *data = malloc(1 + (size_t)n * 24);
    int64_t at = 0;
    void *offsets = calloc((size_t)n + 1, 8);
    for (int64_t i = 0; i < n; i++) {
        if (text) {
            const char *word = words[roll_below(dice, 11)];
            memcpy(data + at, word, strlen(word));
            at += (int64_t)strlen(word);
        } else {
            for (int64_t k = roll_below(dice, 9); k > 0; k--)
                data[at++] = (char)roll(dice);
        }
        if (large)
            ((int64_t *)offsets)[i + 1] = at;
        else
            ((int32_t *)offsets)[i + 1] = (int32_t)at;
    }
    array->buffers[1] = offsets;
    array->buffers[2] = data;
}

static inline struct ArrowArray *random_array(struct dice *dice, const struct ArrowSchema *schema,
                                              int64_t n, int nulls);

static inline void fill_nested(struct dice *dice, const struct ArrowSchema *schema, int64_t n,
                               int nulls, struct ArrowArray *array)
{
    const char *format = schema->format;
    int64_t child = n;
    if (format[1] == 'w') {
        child = n * strtol(format + 3, NULL, 10);
    } else if (format[1] != 's') {
        bool large = format[1] == 'L';
        void *offsets = calloc((size_t)n + 1, 8);
        child = 0;
        for (int64_t i = 0; i <= n; i++) {
            if (large)
                ((int64_t *)offsets)[i] = child;
            else
                ((int32_t *)offsets)[i] = (int32_t)child;
            child += i < n ? roll_below(dice, 4) : 0;
        }
        array->buffers[1] = offsets;
    }
    for (int64_t i = 0; i < schema->n_children; i++) {
        bool key = !(schema->children[i]->flags & ARROW_FLAG_NULLABLE);
        array->children[i] = random_array(dice, schema->children[i], child, key ? 0 : nulls);
    }
}

/* `nulls` in a hundred. A slice: elements before and behind it that must not show. */
static inline struct ArrowArray *random_array(struct dice *dice, const struct ArrowSchema *schema,
                                              int64_t n, int nulls)
{
    const char *format = schema->format;
    struct ArrowArray *array = calloc(1, sizeof *array);
    int64_t before = roll_below(dice, 2) ? roll_below(dice, 11) : 0, all = before + n;
    int width = fixed_width(format);
    bool bytes = !format[1] && strchr("uUzZ", format[0]), none = format[0] == 'n';
    array->n_buffers = none                                                         ? 0
                       : bytes                                                      ? 3
                       : format[0] == '+' && (format[1] == 's' || format[1] == 'w') ? 1
                                                                                    : 2;
    *array = (struct ArrowArray){.length = n,
                                 .offset = before,
                                 .null_count = none ? n : -1,
                                 .n_buffers = array->n_buffers,
                                 .buffers = calloc(4, sizeof(void *)),
                                 .n_children = schema->n_children,
                                 .children = calloc((size_t)schema->n_children + 1, sizeof(void *)),
                                 .release = drop_array};
    if (none)
        return array;
    if (nulls) {
        uint8_t *valid = calloc((size_t)all / 8 + 1, 1);
        for (int64_t i = 0; i < all; i++)
            if (roll_below(dice, 100) >= nulls)
                valid[i / 8] |= (uint8_t)(1 << i % 8);
        array->buffers[0] = valid;
    } else {
        array->null_count = 0;
    }
    if (schema->dictionary) {
        int64_t words = 1 + roll_below(dice, 20);
        array->dictionary = random_array(dice, schema->dictionary, words, 0);
        char *indices = calloc((size_t)all + 1, (size_t)width);
        for (int64_t i = 0; i < all; i++) {
            int64_t index = roll_below(dice, words);
            memcpy(indices + i * width, &index, (size_t)width);
        }
        array->buffers[1] = indices;
    } else if (format[0] == '+') {
        fill_nested(dice, schema, all, nulls, array);
    } else if (bytes) {
        fill_bytes(dice, format[0] == 'u' || format[0] == 'U', format[0] == 'U' || format[0] == 'Z',
                   all, array);
    } else if (format[0] == 'b') {
        uint8_t *bits = malloc((size_t)all / 8 + 1);
        for (int64_t i = 0; i <= all / 8; i++)
            bits[i] = (uint8_t)roll(dice);
        array->buffers[1] = bits;
    } else {
        char *data = malloc((size_t)(all + 1) * (size_t)width);
        fill_fixed(dice, format, width, all, data);
        array->buffers[1] = data;
    }
    return array;
}

/* Columns as "i u +l(u)"; names are their formats. Batches are slices of their arrays, too. */
static inline struct mg_table *random_table(uint64_t seed, const char *columns, int64_t rows,
                                            size_t n_batches, int nulls)
{
    struct dice dice = {seed};
    struct ArrowSchema *top = new_schema("+s", "", 0);
    struct ArrowArray batches[8] = {{0}};
    struct mg_table *table = NULL;
    struct mg_errmsg err = {0};
    top->flags = 0;
    for (const char *at = columns; *at; at += *at == ' ') {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, " "), at);
        top->children = realloc(top->children, ((size_t)top->n_children + 1) * sizeof(void *));
        top->children[top->n_children++] = parse_schema(&at, name);
    }
    for (size_t b = 0; b < n_batches; b++) {
        int64_t before = roll_below(&dice, 2) ? roll_below(&dice, 5) : 0;
        batches[b] =
            (struct ArrowArray){.length = rows,
                                .offset = before,
                                .n_buffers = 1,
                                .buffers = calloc(1, sizeof(void *)),
                                .n_children = top->n_children,
                                .children = calloc((size_t)top->n_children + 1, sizeof(void *)),
                                .release = drop_array};
        for (int64_t i = 0; i < top->n_children; i++)
            batches[b].children[i] = random_array(&dice, top->children[i], before + rows, nulls);
    }
    if (mg_table_import(top, batches, n_batches, NULL, NULL, &table, &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    free(top);
    return table;
}

#endif
