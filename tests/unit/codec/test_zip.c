/* zip: members read back by libarchive, as a file and as a stream; names, options, limits. */
#include "image_make.h"
#include "table_make.h"

#include <archive.h>
#include <archive_entry.h>

static struct mg_table *two_rows(void)
{
    struct maker maker;
    maker_init(&maker, "EPSG:4326", "id:i name:s");
    for (int i = 0; i < 2; i++) {
        maker_set(&maker, 0, CELL_INT(i));
        maker_set(&maker, 1, CELL_TEXT(i ? "two" : "one"));
        mg_table_builder_row(maker.builder);
    }
    return maker_finish(&maker);
}

/* As a worker would: the defaults, and csv.delimiter=semicolon. */
static enum mg_err semicolons(void *context, const struct mg_codec *codec, struct mg_option_value *out,
                              struct mg_errmsg *err)
{
    size_t index;
    struct mg_option_value value;
    (void)context;
    mg_option_defaults(codec, out);
    if (strcmp(codec->name, "csv") != 0)
        return MG_OK;
    enum mg_err e = mg_option_parse(codec, MG_SPAN("delimiter"), MG_SPAN("semicolon"), &index, &value, err);
    if (!e)
        out[index] = value;
    return e;
}

static enum mg_err zipped(struct mg_named *named, size_t n, const char *formats, struct mg_buf *out,
                          struct mg_errmsg *err)
{
    struct mg_value value = {.shape = MG_SHAPE_NAMED, .named = named, .n_named = n};
    struct mg_wish wish = {0};
    struct mg_span rest = mg_span(formats), name;
    while (formats && mg_span_cut(&rest, ',', &name))
        wish.formats[wish.n_formats++] = mg_codec_find(name);
    struct mg_codec_job job = {.value = &value, .wish = &wish, .options_of = semicolons, .tile_size = 256};
    return mg_encode(mg_codec_find(MG_SPAN("zip")), &job, out, err);
}

static struct archive *open_zip(const struct mg_buf *zip, bool stream)
{
    struct archive *in = archive_read_new();
    assert_non_null(in);
    assert_int_equal(stream ? archive_read_support_format_zip_streamable(in) : archive_read_support_format_zip_seekable(in),
                     ARCHIVE_OK);
    if (archive_read_open_memory(in, zip->data, zip->len) != ARCHIVE_OK)
        fail_msg("%s", archive_error_string(in));
    return in;
}

/* The next member: its name, and its bytes in `body`; NULL behind the last. */
static const char *next_member(struct archive *in, struct mg_buf *body, struct archive_entry **entry)
{
    int got = archive_read_next_header(in, entry);
    if (got == ARCHIVE_EOF)
        return NULL;
    if (got != ARCHIVE_OK)
        fail_msg("%s", archive_error_string(in));
    char part[4096];
    la_ssize_t n;
    body->len = 0;
    while ((n = archive_read_data(in, part, sizeof part)) > 0)
        mg_buf_put(body, part, (size_t)n);
    if (n < 0) /* a wrong checksum among others */
        fail_msg("%s", archive_error_string(in));
    assert_int_equal(archive_entry_size(*entry), body->len);
    return archive_entry_pathname_utf8(*entry);
}

static void test_members(void **state)
{
    (void)state;
    struct mg_table *table = two_rows();
    struct mg_raster *raster = make_raster(64, 64, 1, false, ALL_COLOURS | OPAQUE);
    struct mg_value values[] = {{.shape = MG_SHAPE_TABLE, .table = table},
                                {.shape = MG_SHAPE_RASTER, .raster = raster},
                                {.shape = MG_SHAPE_TEXT, .text = MG_SPAN("<p>page")},
                                {.shape = MG_SHAPE_JSON, .text = MG_SPAN("{\"a\":1}")}};
    struct mg_named named[] = {{"rows", &values[0]}, {"picture", &values[1]}, {"page", &values[2]}, {"plain", &values[3]}};
    struct mg_buf zip, body;
    struct archive_entry *entry;
    mg_buf_init(&zip, 1 << 20);
    mg_buf_init(&body, 0);
    assert_int_equal(zipped(named, 4, NULL, &zip, NULL), MG_OK);
    static const char *const names[] = {"rows.json", "picture.png", "page.html", "plain.json"};
    for (int stream = 0; stream < 2; stream++) {
        struct archive *in = open_zip(&zip, stream);
        for (size_t i = 0; i < 4; i++) {
            assert_string_equal(next_member(in, &body, &entry), names[i]);
            if (i == 0)
                assert_non_null(strstr(body.data, "{\"id\":1,\"name\":\"two\"}"));
            if (i == 1)
                assert_memory_equal(body.data, "\x89PNG\r\n", 6);
            if (i >= 2)
                assert_non_null(strstr(body.data, values[i].text.data));
        }
        assert_null(next_member(in, &body, &entry));
        archive_read_free(in);
    }
    mg_buf_fini(&zip);
    mg_buf_fini(&body);
    mg_table_unref(&table);
    mg_raster_unref(&raster);
}

static void test_formats_and_options(void **state)
{
    (void)state;
    struct mg_table *table = two_rows();
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    struct mg_named named[] = {{"a", &value}, {"b.csv", &value}};
    struct mg_buf zip, again, body;
    struct archive_entry *entry;
    mg_buf_init(&zip, 0);
    mg_buf_init(&again, 0);
    mg_buf_init(&body, 0);
    assert_int_equal(zipped(named, 2, "zip,csv", &zip, NULL), MG_OK);
    struct archive *in = open_zip(&zip, false);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(next_member(in, &body, &entry), i ? "b.csv" : "a.csv");
        assert_string_equal(body.data, "id;name\r\n0;one\r\n1;two\r\n");
    }
    archive_read_free(in);
    assert_int_equal(zipped(named, 2, "csv", &again, NULL), MG_OK);
    assert_int_equal(again.len, zip.len); /* the same bytes each time: the ETag holds */
    assert_memory_equal(again.data, zip.data, zip.len);
    mg_buf_fini(&zip);
    mg_buf_fini(&again);
    mg_buf_fini(&body);
    mg_table_unref(&table);
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *expected;
    } rows[] = {
        {"plain", "plain.json"},
        {"../../etc/passwd", "_._.._etc_passwd.json"},
        {"/root", "_root.json"},
        {"c:\\x", "c__x.json"},
        {"Süd\xc3\x9f 世界 🌍", "Süd\xc3\x9f 世界 🌍.json"},
        {"bad\xff\xc0\xaf", "bad___.json"},
        {"line\nbreak\x7f", "line_break_.json"},
        {"", "result.json"},
        {"...", "result-2.json"},
        {".hidden", "_hidden.json"},
        {"con", "_con.json"},
        {"COM7", "_COM7.json"},
        {"consul", "consul.json"},
        {"PLAIN", "PLAIN-2.json"},
        {"plain.json", "plain-3.json"},
        {"PLAIN.JSON", "PLAIN-4.json"},
        {"trailing. ", "trailing.json"},
    };
    enum { N = sizeof rows / sizeof *rows };
    struct mg_value value = {.shape = MG_SHAPE_JSON, .text = MG_SPAN("1")};
    struct mg_named named[N + 1];
    char very_long[600];
    struct mg_buf zip;
    for (size_t i = 0; i < N; i++)
        named[i] = (struct mg_named){rows[i].name, &value};
    for (size_t i = 0; i + 1 < sizeof very_long; i++)
        very_long[i] = "\xe4\xb8\x96"[i % 3];
    very_long[sizeof very_long - 1] = '\0';
    named[N] = (struct mg_named){very_long, &value};
    mg_buf_init(&zip, 0);
    assert_int_equal(zipped(named, N + 1, NULL, &zip, NULL), MG_OK);
    /* Read from the bytes: libarchive would convert names to this process's locale. */
    const char *at = zip.data;
    for (size_t i = 0; i <= N; i++) {
        uint16_t len, flags;
        uint32_t packed;
        assert_memory_equal(at, "PK\x03\x04", 4);
        memcpy(&flags, at + 6, 2);
        memcpy(&packed, at + 18, 4);
        memcpy(&len, at + 26, 2);
        assert_true(flags & 1 << 11); /* UTF-8 */
        if (i < N && (len != strlen(rows[i].expected) || memcmp(at + 30, rows[i].expected, len) != 0))
            fail_msg("\"%s\" became \"%.*s\"", rows[i].name, (int)len, at + 30);
        if (i == N)
            assert_true(len == 119 - 119 % 3 + 5); /* whole characters, then .json */
        at += 30 + len + packed;
    }
    mg_buf_fini(&zip);
}

static void test_refused(void **state)
{
    (void)state;
    struct mg_table *table = two_rows();
    struct mg_raster *raster = make_raster(64, 64, 1, false, ALL_COLOURS | OPAQUE);
    struct mg_value values[] = {{.shape = MG_SHAPE_TABLE, .table = table}, {.shape = MG_SHAPE_RASTER, .raster = raster}};
    struct mg_named named[] = {{"rows", &values[0]}, {"picture", &values[1]}};
    struct mg_errmsg err = {""};
    struct mg_buf zip;
    mg_buf_init(&zip, 0);
    assert_int_equal(zipped(named, 2, "csv", &zip, &err), MG_E_NOT_ACCEPTABLE);
    assert_non_null(strstr(err.text, "result \"picture\": csv cannot hold a raster"));
    mg_buf_fini(&zip);
    for (size_t limit = 1; limit < 6000; limit = limit * 3 / 2 + 1) { /* wherever it ends: both sizes, and no crash */
        mg_buf_init(&zip, limit);
        enum mg_err e = zipped(named, 2, NULL, &zip, &err);
        if (e != MG_OK && e != MG_E_UDF_OUTPUT)
            fail_msg("a limit of %zu bytes: %s", limit, err.text);
        if (e)
            assert_true(strstr(err.text, "larger than the limit of") && strstr(err.text, "were needed"));
        else
            assert_true(zip.len <= limit);
        mg_buf_fini(&zip);
    }
    mg_table_unref(&table);
    mg_raster_unref(&raster);
}

static void test_empty(void **state)
{
    (void)state;
    struct mg_buf zip;
    mg_buf_init(&zip, 0);
    assert_int_equal(zipped(NULL, 0, NULL, &zip, NULL), MG_OK);
    assert_int_equal(zip.len, 22); /* the end of a directory of nothing: APPNOTE 4.3.16 */
    assert_memory_equal(zip.data, "PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22);
    mg_buf_fini(&zip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members), cmocka_unit_test(test_formats_and_options), cmocka_unit_test(test_names),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
