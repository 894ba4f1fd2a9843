/* bench_encode FORMAT REPEATS [FILE]: encodes one and the same table by one codec, again and again.
 *
 * Prints a JSON line for each repeat: microseconds and bytes. The table of a file format has 200,000 rows of five columns
 * (integer, double, text, time, point); "mvt-points" is a tile of 10,000 points, "mvt-polygons" one of 2,000 polygons of 36
 * vertices. What was written last goes to FILE, for the readers that check it and the peers that start from it. */
#include "moongate/codec.h"
#include "moongate/raster_read.h"
#include "moongate/sql.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { ROWS = 200000, POINTS = 10000, POLYGONS = 2000, VERTICES = 36 };

static _Noreturn void die(const char *what, const struct mg_errmsg *err)
{
    fprintf(stderr, "bench_encode: %s: %s\n", what, err ? err->text : "");
    exit(1);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static uint64_t roll(void)
{
    static uint64_t state = 1;
    uint64_t z = (state += 0x9e3779b97f4a7c15u); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static double unit(void) { return (double)(roll() >> 11) / 9007199254740992.0; }

static void put_point(struct mg_buf *wkb, double x, double y)
{
    mg_buf_put(wkb, "\1\1\0\0\0", 5);
    mg_buf_put(wkb, &x, 8);
    mg_buf_put(wkb, &y, 8);
}

static void put_polygon(struct mg_buf *wkb, double x, double y, double radius)
{
    const uint32_t head[] = {1, VERTICES + 1};
    mg_buf_put(wkb, "\1\3\0\0\0", 5);
    mg_buf_put(wkb, head, sizeof head);
    for (int i = 0; i <= VERTICES; i++) {
        double angle = 2 * M_PI * (i % VERTICES) / VERTICES;
        double at[] = {x + radius * cos(angle), y + radius * sin(angle)};
        mg_buf_put(wkb, at, sizeof at);
    }
}

static struct mg_table *make_table(bool file, bool polygons, int rows)
{
    static const char *const words[] = {"Olinda", "Recife", "São Paulo", "north of the river", "a, b", "Igarassu", "x"};
    struct mg_errmsg err = {""};
    struct mg_table *table;
    struct mg_table_builder *builder = mg_table_builder_new("EPSG:4326");
    struct mg_buf wkb;
    char text[64];
    if (!builder)
        die("no memory", NULL);
    int id = mg_table_builder_column(builder, "id", MG_COL_INT64);
    int value = mg_table_builder_column(builder, "value", MG_COL_DOUBLE);
    int name = mg_table_builder_column(builder, "name", MG_COL_STRING);
    int seen = file ? mg_table_builder_column(builder, "seen", MG_COL_TIMESTAMP) : -1;
    int geometry = mg_table_builder_column(builder, "geometry", MG_COL_WKB);
    mg_buf_init(&wkb, 0);
    for (int row = 0; row < rows; row++) {
        snprintf(text, sizeof text, "%s %d", words[roll() % 7], (int)(roll() % 10000));
        wkb.len = 0;
        double x = round((unit() * 358 - 179) * 1e6) / 1e6, y = round((unit() * 168 - 84) * 1e6) / 1e6;
        polygons ? put_polygon(&wkb, x, y, 0.5 + unit() * 3) : put_point(&wkb, x, y);
        mg_table_builder_set(builder, id, &(struct mg_cell){.type = MG_CELL_INT, .i = row * 7});
        mg_table_builder_set(builder, value, &(struct mg_cell){.type = MG_CELL_DOUBLE, .d = unit() * 1000});
        mg_table_builder_set(builder, name, &(struct mg_cell){.type = MG_CELL_STRING, .s = mg_span(text)});
        if (seen >= 0) {
            int64_t us = (INT64_C(1600000000) + (int64_t)(roll() % 100000000)) * 1000000;
            mg_table_builder_set(builder, seen, &(struct mg_cell){.type = MG_CELL_TIMESTAMP, .i = us});
        }
        mg_table_builder_set(builder, geometry, &(struct mg_cell){.type = MG_CELL_BINARY, .s = {wkb.data, wkb.len}});
        mg_table_builder_row(builder);
    }
    mg_buf_fini(&wkb);
    if (mg_table_builder_finish(&builder, &table, &err))
        die("table", &err);
    return table;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "bench_encode FORMAT REPEATS [FILE]\n");
        return 2;
    }
    const char *format = argv[1];
    bool tile_call = strncmp(format, "mvt", 3) == 0, polygons = strcmp(format, "mvt-polygons") == 0;
    const struct mg_codec *codec = mg_codec_find(tile_call ? MG_SPAN("mvt") : mg_span(format));
    struct mg_errmsg err = {""};
    if (!codec)
        die(format, &(struct mg_errmsg){"there is no such format"});
    mg_gdal_setup();
    if (strcmp(codec->name, "parquet") == 0) {
        int output = memfd_create("parquet", MFD_CLOEXEC);
        if (mg_sql_open(&err) != MG_OK || mg_sql_confine((const char *const[]){NULL}, output, &err) != MG_OK)
            die("DuckDB", &err);
    }
    struct mg_table *table = make_table(!tile_call, polygons, polygons ? POLYGONS : tile_call ? POINTS : ROWS);
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    struct mg_option_value options[MG_MAX_OPTIONS];
    const struct mg_tile tile = {0, 0, 0};
    struct mg_codec_job job = {.value = &value, .options = options, .tile = tile_call ? &tile : NULL, .tile_size = 256};
    struct mg_buf out;
    size_t index;
    struct mg_option_value all;
    mg_option_defaults(codec, options);
    if (tile_call) { /* all of them, however many bytes */
        if (mg_option_parse(codec, MG_SPAN("max_bytes"), MG_SPAN("5000000"), &index, &all, &err))
            die(format, &err);
        options[index] = all;
    }
    for (int i = 0, n = (int)strtol(argv[2], NULL, 10); i < n; i++) {
        mg_buf_init(&out, 0);
        double start = now_us();
        if (mg_encode(codec, &job, &out, &err))
            die(format, &err);
        printf("{\"us\":%.1f,\"bytes\":%zu}\n", now_us() - start, out.len);
        FILE *file = i + 1 == n && argc > 3 ? fopen(argv[3], "we") : NULL;
        if (file && (fwrite(out.data, 1, out.len, file) != out.len || fclose(file) != 0))
            die(argv[3], NULL);
        mg_buf_fini(&out);
    }
    mg_table_unref(&table);
    return 0;
}
