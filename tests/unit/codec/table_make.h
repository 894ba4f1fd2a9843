/* Tables for the tests of codecs, from WKT, and a codec's run with its options by name. */
#ifndef TABLE_MAKE_H
#define TABLE_MAKE_H

#include "moongate/codec.h"
#include "moongate/geometry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

struct maker {
    struct mg_table_builder *builder;
    int columns[8];
};

/* Columns as "geometry:g id:i name:s value:d flag:b day:t". */
static inline void maker_init(struct maker *maker, const char *crs, const char *columns)
{
    static const struct {
        char letter;
        enum mg_column type;
    } types[] = {{'g', MG_COL_WKB},    {'i', MG_COL_INT64}, {'s', MG_COL_STRING},
                 {'d', MG_COL_DOUBLE}, {'b', MG_COL_BOOL},  {'t', MG_COL_DATE}};
    struct mg_span rest = mg_span(columns), part;
    int n = 0;
    maker->builder = mg_table_builder_new(crs);
    while (mg_span_cut(&rest, ' ', &part)) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)part.len - 2, part.data);
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (types[i].letter == part.data[part.len - 1])
                maker->columns[n++] = mg_table_builder_column(maker->builder, name, types[i].type);
    }
}

static inline void maker_set(struct maker *maker, int column, struct mg_cell cell)
{
    mg_table_builder_set(maker->builder, maker->columns[column], &cell);
}

static inline void maker_wkt(struct maker *maker, int column, const char *wkt)
{
    struct mg_buf wkb;
    mg_buf_init(&wkb, 0);
    assert_int_equal(mg_wkb_from_wkt(mg_span(wkt), &wkb, NULL), MG_OK);
    maker_set(maker, column, (struct mg_cell){.type = MG_CELL_BINARY, .s = {wkb.data, wkb.len}});
    mg_buf_fini(&wkb);
}

#define CELL_INT(v) ((struct mg_cell){.type = MG_CELL_INT, .i = (v)})
#define CELL_DOUBLE(v) ((struct mg_cell){.type = MG_CELL_DOUBLE, .d = (v)})
#define CELL_BOOL(v) ((struct mg_cell){.type = MG_CELL_BOOL, .b = (v)})
#define CELL_TEXT(v) ((struct mg_cell){.type = MG_CELL_STRING, .s = mg_span(v)})
#define CELL_DAY(v) ((struct mg_cell){.type = MG_CELL_DATE, .i = (v)})

static inline struct mg_table *maker_finish(struct maker *maker)
{
    struct mg_table *table = NULL;
    assert_int_equal(mg_table_builder_finish(&maker->builder, &table, NULL), MG_OK);
    return table;
}

/* Defaults, then "name=number" pairs (of an enum its index, of a string its text without blanks). */
static inline void options_of(const struct mg_codec *codec, const char *set,
                              struct mg_option_value *out)
{
    int i = 0;
    mg_option_defaults(codec, out);
    for (const struct mg_option *option = codec->options; option && option->name; option++, i++) {
        struct mg_span rest = mg_span(set ? set : ""), part;
        size_t n = strlen(option->name);
        while (mg_span_cut(&rest, ' ', &part)) {
            if (part.len <= n || !mg_span_starts(part, option->name) || part.data[n] != '=')
                continue;
            out[i].number = atof(part.data + n + 1);
            out[i].text = (struct mg_span){part.data + n + 1, part.len - n - 1};
        }
    }
}

static inline enum mg_err run_codec(const struct mg_codec *codec, const struct mg_value *value,
                                    const char *set, struct mg_buf *out, struct mg_errmsg *err)
{
    struct mg_option_value values[16];
    options_of(codec, set, values);
    struct mg_codec_job job = {.value = value, .options = values, .tile_size = 256};
    return codec->encode(&job, out, err);
}

static inline void expect_text(const struct mg_codec *codec, struct mg_table *table,
                               const char *set, const char *expected, const char *what)
{
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    struct mg_buf out;
    struct mg_errmsg err = {0};
    mg_buf_init(&out, 0);
    if (run_codec(codec, &value, set, &out, &err))
        fail_msg("%s: %s", what, err.text);
    if (strcmp(out.data, expected) != 0)
        fail_msg("%s:\n%s\ninstead of\n%s", what, out.data, expected);
    mg_buf_fini(&out);
}

#endif
