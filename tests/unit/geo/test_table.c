/* Tables: what import refuses, what a cell reads as, taking rows, the stored form and its
 * mutations. */
#include "moongate/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A foreign producer: everything static, released by marking. */
static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}
static void release_array(struct ArrowArray *array)
{
    array->release = NULL;
}

struct foreign {
    struct ArrowSchema top_schema, schema, child_schema, *columns[1], *children[1];
    struct ArrowArray top, array, child, dictionary, *arrays[1], *child_arrays[1];
    const void *buffers[3], *child_buffers[3], *top_buffers[1], *words[3];
};

/* One column of `format` with up to three buffers. */
static void foreign_init(struct foreign *f, const char *format, int64_t length, int n_buffers,
                         const void *b0, const void *b1, const void *b2)
{
    *f = (struct foreign){0};
    f->schema = (struct ArrowSchema){.format = format, .name = "c", .release = release_schema};
    f->columns[0] = &f->schema;
    f->top_schema = (struct ArrowSchema){.format = "+s",
                                         .name = "",
                                         .n_children = 1,
                                         .children = f->columns,
                                         .release = release_schema};
    f->buffers[0] = b0;
    f->buffers[1] = b1;
    f->buffers[2] = b2;
    f->array = (struct ArrowArray){
        .length = length, .n_buffers = n_buffers, .buffers = f->buffers, .release = release_array};
    f->arrays[0] = &f->array;
    f->top = (struct ArrowArray){.length = length,
                                 .n_buffers = 1,
                                 .buffers = f->top_buffers,
                                 .n_children = 1,
                                 .children = f->arrays,
                                 .release = release_array};
}

static enum mg_err foreign_import(struct foreign *f, const char *geometry, struct mg_table **out,
                                  struct mg_errmsg *err)
{
    enum mg_err e = mg_table_import(&f->top_schema, &f->top, 1, geometry, "EPSG:4326", out, err);
    if (e) {
        assert_null(f->top_schema.release); /* taken on failure too */
        assert_null(f->top.release);
    }
    return e;
}

static const int32_t offsets[] = {0, 1, 3, 3};
static const int64_t longs[] = {1, -2, 9007199254740993};
static const char letters[] = "abc";

static void bad_null_buffer(struct foreign *f)
{
    f->buffers[1] = NULL;
}
static void bad_count(struct foreign *f)
{
    f->array.n_buffers = 1;
}
static void bad_length(struct foreign *f)
{
    f->array.length = -1;
}
static void bad_huge(struct foreign *f)
{
    f->array.length = INT64_MAX;
}
static void bad_offset(struct foreign *f)
{
    f->array.offset = -1;
}
static void bad_short(struct foreign *f)
{
    f->top.length = 4;
}
static void bad_nulls(struct foreign *f)
{
    f->array.null_count = 4;
}
static void bad_format(struct foreign *f)
{
    f->schema.format = "+us:0";
}
static void bad_no_format(struct foreign *f)
{
    f->schema.format = NULL;
}
static void bad_released(struct foreign *f)
{
    f->array.release = NULL;
}
static void bad_released_schema(struct foreign *f)
{
    f->schema.release = NULL;
}
static void bad_children(struct foreign *f)
{
    f->schema.n_children = 1;
}
static void bad_batch_children(struct foreign *f)
{
    f->top.n_children = 2;
}
static void bad_descending(struct foreign *f)
{
    static const int32_t wrong[] = {0, 3, 1, 3};
    f->schema.format = "u";
    f->array.n_buffers = 3;
    f->buffers[1] = wrong;
    f->buffers[2] = letters;
}
static void bad_negative(struct foreign *f)
{
    static const int32_t wrong[] = {-1, 1, 2, 3};
    bad_descending(f);
    f->buffers[1] = wrong;
}
static void bad_no_data(struct foreign *f)
{
    bad_descending(f);
    f->buffers[1] = offsets;
    f->buffers[2] = NULL;
}
static void bad_index(struct foreign *f)
{
    static const int32_t word_offsets[] = {0, 1, 2};
    f->schema.dictionary =
        &f->child_schema; /* three indices into two words: 9007199254740993 is none */
    f->child_schema = (struct ArrowSchema){.format = "u", .release = release_schema};
    f->words[1] = word_offsets;
    f->words[2] = letters;
    f->dictionary = (struct ArrowArray){
        .length = 2, .n_buffers = 3, .buffers = f->words, .release = release_array};
    f->array.dictionary = &f->dictionary;
}
static void bad_float_index(struct foreign *f)
{
    bad_index(f);
    f->schema.format = "g";
}

static void test_import_refuses(void **state)
{
    static const struct {
        void (*spoil)(struct foreign *);
        const char *what;
    } rows[] = {
        {bad_null_buffer, "a column without data is refused"},
        {bad_count, "a wrong number of buffers is refused"},
        {bad_length, "a negative length is refused"},
        {bad_huge, "a length beyond memory is refused"},
        {bad_offset, "a negative offset is refused"},
        {bad_short, "a column shorter than its batch is refused"},
        {bad_nulls, "more nulls than elements are refused"},
        {bad_format, "a union is refused"},
        {bad_no_format, "a missing format is refused"},
        {bad_released, "a released array is refused"},
        {bad_released_schema, "a released schema is refused"},
        {bad_children, "children of a plain type are refused"},
        {bad_batch_children, "a batch of another width is refused"},
        {bad_descending, "descending offsets are refused"},
        {bad_negative, "a negative first offset is refused"},
        {bad_no_data, "strings without bytes are refused"},
        {bad_index, "a dictionary index out of range is refused"},
        {bad_float_index, "a dictionary of float indices is refused"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct foreign f;
        struct mg_table *table = NULL;
        struct mg_errmsg err = {0};
        foreign_init(&f, "l", 3, 2, NULL, longs, NULL);
        rows[i].spoil(&f);
        if (foreign_import(&f, NULL, &table, &err) != MG_E_ARGUMENT || table || !err.text[0])
            fail_msg("%s (%s)", rows[i].what, err.text);
    }
}

static void test_import_geometry(void **state)
{
    struct foreign f;
    struct mg_table *table = NULL;
    struct mg_errmsg err;
    (void)state;
    foreign_init(&f, "l", 3, 2, NULL, longs, NULL);
    assert_int_equal(foreign_import(&f, "c", &table, &err), MG_E_ARGUMENT);
    assert_non_null(strstr(err.text, "not binary"));
    foreign_init(&f, "l", 3, 2, NULL, longs, NULL);
    assert_int_equal(foreign_import(&f, "shape", &table, &err), MG_E_ARGUMENT);
    foreign_init(&f, "z", 3, 3, NULL, offsets, letters);
    assert_int_equal(foreign_import(&f, "c", &table, &err), MG_OK);
    assert_int_equal(table->geometry, 0);
    assert_string_equal(table->crs, "EPSG:4326");
    mg_table_unref(&table);
}

/* Cells of one column, as the JSON of its rows one behind the other. */
static void json_of(const struct mg_table *table, int column, struct mg_buf *out)
{
    for (size_t b = 0; b < table->n_batches; b++) {
        struct mg_cursor *cursor = NULL;
        assert_int_equal(mg_cursor_open(table, b, column, &cursor, NULL), MG_OK);
        for (int64_t i = 0; i < table->batches[b].length; i++) {
            struct mg_cell cell = {0};
            mg_cursor_get(cursor, i, &cell);
            if (cell.type == MG_CELL_NESTED)
                mg_buf_put(out, cell.s.data, cell.s.len);
            else
                mg_cell_json(&cell, out);
            mg_buf_char(out, ' ');
        }
        mg_cursor_close(&cursor);
    }
}

static const uint8_t valid_101[] = {5};

static void test_cells(void **state)
{
    static const int8_t i8[] = {-1, 2, 3};
    static const uint8_t u8[] = {255, 2, 3};
    static const int16_t i16[] = {-300, 2, 3};
    static const uint32_t u32[] = {4294967295u, 2, 3};
    static const uint64_t u64[] = {UINT64_MAX, 2, 3};
    static const uint16_t f16[] = {0x3C00, 0xC000, 0x7C00};
    static const float f32[] = {0.5f, -2, 3};
    static const double f64[] = {0.1, NAN, INFINITY};
    static const int32_t days[] = {0, -1, 19000};
    static const int64_t millis[] = {-1, 86400000, 1};
    static const int64_t micros[] = {0, -1, 1600000000123456};
    static const int64_t seconds[] = {0, INT64_MAX, 951782400};
    static const int32_t clock[] = {0, 86399, 86400};
    static const int64_t large[] = {0, 1, 3, 3};
    static const uint64_t decimals[] = {12345, 0, (uint64_t)-5, (uint64_t)-1, 0, 1000000000000};
    static const uint8_t bools[] = {5};
    (void)state;
    static const struct {
        const char *format;
        int n_buffers;
        const void *b0, *b1, *b2;
        const char *expected, *what;
    } rows[] = {
        {"n", 0, NULL, NULL, NULL, "null null null ", "a null column reads as nulls"},
        {"b", 2, NULL, bools, NULL, "true false true ", "bits read as booleans"},
        {"c", 2, valid_101, i8, NULL, "-1 null 3 ", "validity bits make nulls"},
        {"C", 2, NULL, u8, NULL, "255 2 3 ", "uint8"},
        {"s", 2, NULL, i16, NULL, "-300 2 3 ", "int16"},
        {"I", 2, NULL, u32, NULL, "4294967295 2 3 ", "uint32"},
        {"l", 2, NULL, longs, NULL, "1 -2 9007199254740993 ", "int64 is exact above 2^53"},
        {"L", 2, NULL, u64, NULL, "18446744073709551615 2 3 ", "uint64 is exact"},
        {"e", 2, NULL, f16, NULL, "1 -2 null ", "half floats"},
        {"f", 2, NULL, f32, NULL, "0.5 -2 3 ", "floats"},
        {"g", 2, NULL, f64, NULL, "0.1 null null ", "what is not finite is null"},
        {"u", 3, NULL, offsets, letters, "\"a\" \"bc\" \"\" ", "strings by offsets"},
        {"U", 3, NULL, large, letters, "\"a\" \"bc\" \"\" ", "large strings"},
        {"z", 3, NULL, offsets, letters, "\"YQ==\" \"YmM=\" \"\" ", "binary is base64"},
        {"w:1", 2, NULL, letters, NULL, "\"YQ==\" \"Yg==\" \"Yw==\" ", "fixed-size binary"},
        {"tdD", 2, NULL, days, NULL, "\"1970-01-01\" \"1969-12-31\" \"2022-01-08\" ",
         "days are dates"},
        {"tdm", 2, NULL, millis, NULL, "\"1969-12-31\" \"1970-01-02\" \"1970-01-01\" ",
         "milliseconds are dates"},
        {"tsu:", 2, NULL, micros, NULL,
         "\"1970-01-01T00:00:00\" \"1969-12-31T23:59:59.999999\" \"2020-09-13T12:26:40.123456\" ",
         "microseconds, also before 1970"},
        {"tss:UTC", 2, NULL, seconds, NULL,
         "\"1970-01-01T00:00:00Z\" null \"2000-02-29T00:00:00Z\" ",
         "a zone is Z, overflow is null"},
        {"tts", 2, NULL, clock, NULL, "\"00:00:00\" \"23:59:59\" null ", "times of day"},
        {"d:10,2", 2, NULL, decimals, NULL, "123.45 -0.05 \"184467440737095516160000000000.00\" ",
         "decimals are numbers while they are exact, else text"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct foreign f;
        struct mg_table *table = NULL;
        struct mg_errmsg err = {0};
        struct mg_buf text, again;
        foreign_init(&f, rows[i].format, 3, rows[i].n_buffers, rows[i].b0, rows[i].b1, rows[i].b2);
        mg_buf_init(&text, 0);
        mg_buf_init(&again, 0);
        if (foreign_import(&f, NULL, &table, &err))
            fail_msg("%s: %s", rows[i].what, err.text);
        json_of(table, 0, &text);
        if (strcmp(text.data, rows[i].expected) != 0)
            fail_msg("%s: %s", rows[i].what, text.data);
        /* Stored and restored it reads the same. */
        struct mg_buf stored;
        struct mg_table *restored = NULL;
        mg_buf_init(&stored, 0);
        mg_table_store(table, &stored);
        if (mg_table_restore((struct mg_span){stored.data, stored.len}, &restored, &err))
            fail_msg("%s, restored: %s", rows[i].what, err.text);
        json_of(restored, 0, &again);
        if (strcmp(again.data, rows[i].expected) != 0)
            fail_msg("%s, restored: %s", rows[i].what, again.data);
        mg_buf_fini(&stored);
        mg_buf_fini(&text);
        mg_buf_fini(&again);
        mg_table_unref(&restored);
        mg_table_unref(&table);
    }
}

static void test_nested(void **state)
{
    struct foreign f;
    struct mg_table *table = NULL, *taken = NULL;
    struct mg_buf text;
    (void)state;
    foreign_init(&f, "+l", 3, 2, NULL, offsets, NULL);
    f.schema.n_children = 1;
    f.schema.children = f.children;
    f.children[0] = &f.child_schema;
    f.child_schema = (struct ArrowSchema){.format = "l", .name = "item", .release = release_schema};
    f.array.n_children = 1;
    f.array.children = f.child_arrays;
    f.child_arrays[0] = &f.child;
    f.child_buffers[1] = longs;
    f.child = (struct ArrowArray){
        .length = 3, .n_buffers = 2, .buffers = f.child_buffers, .release = release_array};
    assert_int_equal(foreign_import(&f, NULL, &table, NULL), MG_OK);
    mg_buf_init(&text, 0);
    json_of(table, 0, &text);
    assert_string_equal(text.data, "[1] [-2,9007199254740993] [] ");
    assert_int_equal(mg_table_take(table, (const int64_t[]){2, 1}, 2, NULL, 0, &taken, NULL),
                     MG_OK);
    text.len = 0;
    json_of(taken, 0, &text);
    assert_string_equal(text.data, "[] [-2,9007199254740993] ");
    mg_buf_fini(&text);
    mg_table_unref(&taken);
    mg_table_unref(&table);
}

static void test_dictionary(void **state)
{
    static const int32_t word_offsets[] = {0, 1, 3};
    static const int8_t indices[] = {9, 1, 0, 1}; /* the first is skipped by the offset */
    struct foreign f;
    struct mg_table *table = NULL, *taken = NULL;
    struct mg_buf text;
    (void)state;
    foreign_init(&f, "c", 3, 2, NULL, indices, NULL);
    bad_index(&f);
    f.words[1] = word_offsets;
    f.array.offset = 1;
    assert_int_equal(foreign_import(&f, NULL, &table, NULL), MG_OK);
    mg_buf_init(&text, 0);
    json_of(table, 0, &text);
    assert_string_equal(text.data, "\"bc\" \"a\" \"bc\" ");
    assert_int_equal(mg_table_take(table, (const int64_t[]){1, 1, 0}, 3, NULL, 0, &taken, NULL),
                     MG_OK);
    text.len = 0;
    json_of(taken, 0, &text);
    assert_string_equal(text.data, "\"a\" \"a\" \"bc\" ");
    mg_buf_fini(&text);
    mg_table_unref(&taken);
    mg_table_unref(&table);
}

static struct mg_table *build(int64_t rows)
{
    struct mg_table_builder *builder = mg_table_builder_new("EPSG:4326");
    struct mg_table *table = NULL;
    int b = mg_table_builder_column(builder, "b", MG_COL_BOOL),
        i = mg_table_builder_column(builder, "i", MG_COL_INT64),
        d = mg_table_builder_column(builder, "d", MG_COL_DOUBLE),
        s = mg_table_builder_column(builder, "s", MG_COL_STRING),
        g = mg_table_builder_column(builder, "g", MG_COL_WKB),
        day = mg_table_builder_column(builder, "day", MG_COL_DATE);
    assert_int_equal(mg_table_builder_column(builder, "b", MG_COL_BOOL), -1);
    for (int64_t row = 0; row < rows; row++) {
        mg_table_builder_set(builder, b, &(struct mg_cell){.type = MG_CELL_BOOL, .b = row % 2});
        mg_table_builder_set(
            builder, i,
            &(struct mg_cell){.type = MG_CELL_DOUBLE, .d = row % 3 ? (double)row : 0.5});
        mg_table_builder_set(builder, d, &(struct mg_cell){.type = MG_CELL_INT, .i = row});
        if (row % 2)
            mg_table_builder_set(builder, s,
                                 &(struct mg_cell){.type = MG_CELL_STRING, .s = MG_SPAN("x\"y")});
        mg_table_builder_set(builder, g,
                             &(struct mg_cell){.type = MG_CELL_BINARY, .s = MG_SPAN("\1\2\3")});
        mg_table_builder_set(builder, day, &(struct mg_cell){.type = MG_CELL_DATE, .i = row});
        mg_table_builder_row(builder);
    }
    assert_int_equal(mg_table_builder_finish(&builder, &table, NULL), MG_OK);
    assert_null(builder);
    return table;
}

static void test_builder(void **state)
{
    static const struct {
        int column;
        const char *expected, *what;
    } rows[] = {
        {0, "false true false true ", "booleans come back"},
        {1, "null 1 2 null ", "a double goes into an integer column only when whole"},
        {2, "0 1 2 3 ", "integers go into a double column"},
        {3, "null \"x\\\"y\" null \"x\\\"y\" ", "unset cells are null"},
        {5, "\"1970-01-01\" \"1970-01-02\" \"1970-01-03\" \"1970-01-04\" ", "dates come back"},
    };
    struct mg_table *table = build(4);
    (void)state;
    assert_int_equal(table->geometry, 4);
    assert_int_equal(mg_table_column(table, MG_SPAN("s")), 3);
    assert_int_equal(mg_table_column(table, MG_SPAN("none")), -1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_buf text;
        mg_buf_init(&text, 0);
        json_of(table, rows[i].column, &text);
        if (strcmp(text.data, rows[i].expected) != 0)
            fail_msg("%s: %s", rows[i].what, text.data);
        mg_buf_fini(&text);
    }
    mg_table_unref(&table);
    table = build(0);
    assert_int_equal(table->rows, 0);
    mg_table_unref(&table);
}

static void test_take(void **state)
{
    struct mg_table *table = build(5), *taken = NULL;
    struct mg_errmsg err;
    struct mg_buf text;
    (void)state;
    mg_buf_init(&text, 0);
    assert_int_equal(
        mg_table_take(table, (const int64_t[]){4, 0, 3}, 3, (const int[]){2, 4}, 2, &taken, NULL),
        MG_OK);
    assert_int_equal(taken->geometry, 1);
    assert_int_equal(taken->rows, 3);
    json_of(taken, 0, &text);
    assert_string_equal(text.data, "4 0 3 ");
    mg_table_unref(&taken);
    assert_int_equal(mg_table_take(table, (const int64_t[]){5}, 1, NULL, 0, &taken, &err),
                     MG_E_ARGUMENT);
    assert_int_equal(mg_table_take(table, NULL, 0, (const int[]){6}, 1, &taken, &err),
                     MG_E_ARGUMENT);
    assert_null(taken);
    mg_buf_fini(&text);
    mg_table_unref(&table);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Whatever the bytes: an error, or a table that can be read to its end. */
static void test_restore_mutations(void **state)
{
    uint64_t seed = 20240607;
    struct mg_table *table = build(50);
    struct mg_buf stored;
    int restored = 0;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    mg_buf_init(&stored, 0);
    mg_table_store(table, &stored);
    for (int round = 0; round < 6000; round++) {
        size_t len = round % 4 == 0 ? next_random(&seed) % stored.len : stored.len;
        char *bytes = malloc(len ? len : 1); /* of the exact size, for the sanitiser */
        struct mg_table *back = NULL;
        memcpy(bytes, stored.data, len);
        for (uint64_t i = 0, n = next_random(&seed) % 4; i < n && len; i++) {
            size_t at = next_random(&seed) % (round % 2 ? len : len < 300 ? len : 300);
            bytes[at] =
                (char)(next_random(&seed) % 3 ? next_random(&seed) : next_random(&seed) % 4);
        }
        if (!mg_table_restore((struct mg_span){bytes, len}, &back, NULL)) {
            struct mg_buf text;
            restored++;
            for (int c = 0; c < (int)back->schema.n_children; c++) {
                mg_buf_init(&text, 0);
                json_of(back, c, &text);
                mg_buf_fini(&text);
            }
            mg_table_unref(&back);
        }
        free(bytes);
    }
    assert_true(restored > 100); /* the mutations are not all at the door */
    mg_buf_fini(&stored);
    mg_table_unref(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_import_refuses), cmocka_unit_test(test_import_geometry),
        cmocka_unit_test(test_cells),          cmocka_unit_test(test_nested),
        cmocka_unit_test(test_dictionary),     cmocka_unit_test(test_builder),
        cmocka_unit_test(test_take),           cmocka_unit_test(test_restore_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
