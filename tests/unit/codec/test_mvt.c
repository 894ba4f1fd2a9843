/* MVT: a small decoder of the specification reads back what was written: commands, attributes, ids,
 * winding, validity, thinning, the antimeridian, mutated input. */
#include "table_make.h"

#include <math.h>

extern const struct mg_codec mg_codec_mvt[];

/* What the decoder knows of one feature. */
struct feature {
    bool has_id;
    uint64_t id;
    int type, parts;
    int64_t area; /* twice, of all rings */
    int32_t first[2];
    int points;
    char tags[256]; /* "key=value key=value" */
    bool valid;     /* of polygons: GEOS finds nothing to mend */
};
struct decoded {
    struct feature *features;
    size_t n;
    char names[128];
    int layers, extent, version;
    char header[64];
    size_t bytes;
};

struct pbf {
    const uint8_t *at, *end;
};

static uint64_t varint(struct pbf *in)
{
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(in->at < in->end && shift < 64);
        v |= (uint64_t)(*in->at & 127) << shift;
        if (!(*in->at++ & 128))
            return v;
    }
}

static struct pbf bytes(struct pbf *in)
{
    uint64_t n = varint(in);
    assert_true(n <= (uint64_t)(in->end - in->at));
    struct pbf out = {in->at, in->at + n};
    in->at += n;
    return out;
}

static void value_text(struct pbf in, char *out, size_t size)
{
    uint64_t key = varint(&in);
    if (key == 0x0A) {
        struct pbf text = bytes(&in);
        snprintf(out, size, "'%.*s'", (int)(text.end - text.at), (const char *)text.at);
    } else if (key == 0x19) {
        double d;
        memcpy(&d, in.at, 8);
        in.at += 8;
        snprintf(out, size, "%.17g", d);
    } else if (key == 0x28) {
        snprintf(out, size, "%lluu", (unsigned long long)varint(&in));
    } else if (key == 0x30) {
        uint64_t z = varint(&in);
        snprintf(out, size, "%lldi", (long long)(z >> 1 ^ (0 - (z & 1))));
    } else if (key == 0x38) {
        snprintf(out, size, "%s", varint(&in) ? "true" : "false");
    } else {
        fail_msg("a value of field %llu", (unsigned long long)key >> 3);
    }
}

/* Follows the commands; rings go into a WKB for GEOS' opinion. */
static void read_geometry(struct pbf in, struct feature *f)
{
    int32_t x = 0, y = 0, ring[2][20000];
    int n = 0;
    struct mg_buf wkb;
    uint32_t rings = 0;
    f->valid = true;
    mg_buf_init(&wkb, 0);
    while (in.at < in.end) {
        uint64_t command = varint(&in), id = command & 7, count = command >> 3;
        assert_true(count > 0);
        if (id == 7) {
            int64_t area = 0;
            assert_true(f->type == 3 && n >= 3);
            for (int i = 0, j = n - 1; i < n; j = i++)
                area += (int64_t)ring[0][j] * ring[1][i] - (int64_t)ring[0][i] * ring[1][j];
            assert_true(area != 0);
            if (area > 0 && rings) { /* the next polygon */
                memcpy(wkb.data + 5, &rings, 4);
                struct mg_buf mended;
                mg_buf_init(&mended, 0);
                double before = 0, after = 0;
                assert_int_equal(
                    mg_wkb_measure((struct mg_span){wkb.data, wkb.len}, &before, NULL, NULL),
                    MG_OK);
                assert_int_equal(
                    mg_wkb_unary(MG_GEO_VALID, (struct mg_span){wkb.data, wkb.len}, &mended, NULL),
                    MG_OK);
                assert_int_equal(
                    mg_wkb_measure((struct mg_span){mended.data, mended.len}, &after, NULL, NULL),
                    MG_OK);
                f->valid &=
                    before == after && mg_wkb_type((struct mg_span){mended.data, mended.len}) == 3;
                mg_buf_fini(&mended);
                rings = wkb.len = 0;
            }
            if (!rings) {
                assert_true(area > 0); /* the first ring is an exterior */
                mg_buf_put(&wkb, "\1\3\0\0\0\0\0\0\0", 9);
            }
            uint32_t closed = (uint32_t)n + 1;
            mg_buf_put(&wkb, &closed, 4);
            for (int i = 0; i <= n; i++) {
                double xy[2] = {ring[0][i % n], ring[1][i % n]};
                mg_buf_put(&wkb, xy, 16);
            }
            rings++;
            f->area += area;
            f->parts++;
            continue;
        }
        assert_true(id == 1 || id == 2);
        if (id == 1 && f->type != 1) {
            assert_int_equal(count, 1);
            n = 0;
            f->parts += f->type == 2;
        }
        for (uint64_t i = 0; i < count; i++) {
            uint64_t dx = varint(&in), dy = varint(&in);
            assert_true(id == 1 || dx || dy); /* no step of length 0 */
            x += (int32_t)(dx >> 1 ^ (0 - (dx & 1)));
            y += (int32_t)(dy >> 1 ^ (0 - (dy & 1)));
            if (!f->points++) {
                f->first[0] = x;
                f->first[1] = y;
            }
            assert_true(n < 20000);
            ring[0][n] = x;
            ring[1][n++] = y;
            f->parts += f->type == 1;
        }
    }
    if (rings) {
        struct mg_buf mended;
        double before = 0, after = 0;
        memcpy(wkb.data + 5, &rings, 4);
        mg_buf_init(&mended, 0);
        assert_int_equal(mg_wkb_measure((struct mg_span){wkb.data, wkb.len}, &before, NULL, NULL),
                         MG_OK);
        assert_int_equal(
            mg_wkb_unary(MG_GEO_VALID, (struct mg_span){wkb.data, wkb.len}, &mended, NULL), MG_OK);
        assert_int_equal(
            mg_wkb_measure((struct mg_span){mended.data, mended.len}, &after, NULL, NULL), MG_OK);
        f->valid &= before == after && mg_wkb_type((struct mg_span){mended.data, mended.len}) == 3;
        mg_buf_fini(&mended);
    }
    mg_buf_fini(&wkb);
}

static void read_layer(struct pbf layer, struct decoded *out)
{
    struct pbf keys[64], *values = calloc(200000, sizeof *values);
    size_t n_keys = 0, n_values = 0, first = out->n;
    struct pbf in = layer;
    assert_non_null(values);
    for (int pass = 0; pass < 2; pass++) {
        in = layer;
        while (in.at < in.end) {
            uint64_t key = varint(&in);
            if (key == 0x78 || key == 0x28) {
                *(key == 0x78 ? &out->version : &out->extent) = (int)varint(&in);
                continue;
            }
            struct pbf body = bytes(&in);
            if (key == 0x0A && pass) {
                size_t len = strlen(out->names);
                snprintf(out->names + len, sizeof out->names - len, "%s%.*s", len ? "," : "",
                         (int)(body.end - body.at), (const char *)body.at);
            }
            if (key == 0x1A && !pass)
                keys[n_keys++] = body;
            if (key == 0x22 && !pass)
                values[n_values++] = body;
            if (key != 0x12 || !pass)
                continue;
            out->features = realloc(out->features, (out->n + 1) * sizeof *out->features);
            struct feature *f = &out->features[out->n++];
            *f = (struct feature){0};
            struct pbf geometry = {0};
            while (body.at < body.end) {
                uint64_t field = varint(&body);
                if (field == 0x08) {
                    f->has_id = true;
                    f->id = varint(&body);
                } else if (field == 0x18) {
                    f->type = (int)varint(&body);
                } else if (field == 0x22) {
                    geometry = bytes(&body);
                } else {
                    assert_int_equal(field, 0x12);
                    struct pbf tags = bytes(&body);
                    while (tags.at < tags.end) {
                        uint64_t k = varint(&tags), v = varint(&tags);
                        char text[128];
                        size_t len = strlen(f->tags);
                        assert_true(k < n_keys && v < n_values);
                        value_text(values[v], text, sizeof text);
                        snprintf(f->tags + len, sizeof f->tags - len, "%s%.*s=%s", len ? " " : "",
                                 (int)(keys[k].end - keys[k].at), (const char *)keys[k].at, text);
                    }
                }
            }
            read_geometry(geometry, f);
        }
    }
    assert_true(out->n > first); /* no empty layers */
    free(values);
    out->layers++;
}

static void keep_header(void *context, const char *name, const char *value)
{
    snprintf(context, 64, "%s: %s", name, value);
}

static void tile_of(const struct mg_value *value, struct mg_tile tile, const char *set,
                    struct decoded *out)
{
    struct mg_option_value values[8];
    struct mg_buf buf;
    struct mg_errmsg err = {0};
    *out = (struct decoded){0};
    options_of(mg_codec_mvt, set, values);
    struct mg_codec_job job = {.value = value,
                               .options = values,
                               .tile = &tile,
                               .tile_size = 256,
                               .header = keep_header,
                               .context = out->header};
    mg_buf_init(&buf, 0);
    if (mg_codec_mvt->encode(&job, &buf, &err))
        fail_msg("tile: %s", err.text);
    struct pbf in = {(const uint8_t *)buf.data, (const uint8_t *)buf.data + buf.len};
    while (in.at < in.end) {
        assert_int_equal(varint(&in), 0x1A);
        read_layer(bytes(&in), out);
    }
    out->bytes = buf.len;
    mg_buf_fini(&buf);
}

static void table_tile(struct mg_table *table, struct mg_tile tile, const char *set,
                       struct decoded *out)
{
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    tile_of(&value, tile, set, out);
}

static struct mg_table *one(const char *crs, const char *wkt)
{
    struct maker maker;
    maker_init(&maker, crs, "geometry:g");
    maker_wkt(&maker, 0, wkt);
    mg_table_builder_row(maker.builder);
    return maker_finish(&maker);
}

static void test_geometries(void **state)
{
    static const struct {
        const char *crs, *wkt;
        struct mg_tile tile;
        int features, type, parts, points; /* -1: not looked at */
        int64_t area;                      /* twice; -1: not looked at */
        const char *what;
    } rows[] = {
        {"EPSG:4326", "POINT(0 0)", {0, 0, 0}, 1, 1, 1, 1, -1, "a point"},
        {"EPSG:4326", "POINT(90 0)", {1, 0, 0}, 0, 0, 0, 0, -1, "a point outside"},
        {"EPSG:4326", "POINT(2 -1)", {1, 0, 0}, 1, 1, 1, 1, -1, "a point in the buffer"},
        {"EPSG:4326",
         "POINT(179.5 10)",
         {3, 0, 3},
         1,
         1,
         1,
         1,
         -1,
         "a point in the buffer over the antimeridian"},
        {"EPSG:4326", "POINT(190 10)", {3, 0, 3}, 1, 1, 1, 1, -1, "190 degrees are -170"},
        {"EPSG:4326", "POINT(0 90)", {0, 0, 0}, 0, 0, 0, 0, -1, "a pole is in no tile"},
        {"EPSG:4326", "POINT EMPTY", {0, 0, 0}, 0, 0, 0, 0, -1, "nothing is in no tile"},
        {"EPSG:4326", "MULTIPOINT((1 1),(2 2),(100 1))", {1, 1, 0}, 1, 1, 3, 3, -1, "a multipoint"},
        {"EPSG:4326", "LINESTRING(-10 0,10 0)", {0, 0, 0}, 1, 2, 1, 2, -1, "a line"},
        {"EPSG:4326",
         "LINESTRING(10 10,-10 10,-10 20,10 20)",
         {1, 1, 0},
         1,
         2,
         2,
         4,
         -1,
         "a line that leaves and comes back is two"},
        {"EPSG:4326",
         "POLYGON((-90 0,90 0,90 66.51326044311186,-90 66.51326044311186,-90 0))",
         {0, 0, 0},
         1,
         3,
         1,
         4,
         2 * 2048 * 1024,
         "a polygon of known area"},
        {"EPSG:4326",
         "POLYGON((-90 0,-90 66.51326044311186,90 66.51326044311186,90 0,-90 0))",
         {0, 0, 0},
         1,
         3,
         1,
         4,
         2 * 2048 * 1024,
         "wound the other way"},
        {"EPSG:3857",
         "POLYGON((-30000000 -30000000,30000000 -30000000,30000000 30000000,-30000000 "
         "30000000,-30000000 -30000000))",
         {2, 1, 1},
         1,
         3,
         1,
         4,
         2 * 4224 * 4224,
         "a polygon around the tile is its clip box"},
        {"EPSG:4326",
         "POLYGON((-180 -90,180 -90,180 90,-180 90,-180 -90))",
         {2, 1, 1},
         1,
         3,
         1,
         4,
         2 * 4224 * 4224,
         "the world with its poles"},
        {"EPSG:4326",
         "POLYGON((0 0,0.0001 0,0.0001 0.0001,0 0))",
         {0, 0, 0},
         0,
         0,
         0,
         0,
         -1,
         "what is smaller than a pixel goes"},
        {"EPSG:4326",
         "POLYGON((-60 -60,60 -60,60 60,-60 60,-60 -60),(-30 -30,-30 30,30 30,30 -30,-30 -30))",
         {0, 0, 0},
         1,
         3,
         2,
         8,
         -1,
         "a hole"},
        {"EPSG:4326",
         "POLYGON((-60 -60,60 60,60 -60,-60 60,-60 -60))",
         {0, 0, 0},
         1,
         3,
         2,
         6,
         -1,
         "a bow tie is mended"},
        {"EPSG:4326",
         "GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,50 50))",
         {0, 0, 0},
         2,
         -1,
         -1,
         -1,
         -1,
         "a mixed collection is a feature of each kind"},
        {"EPSG:32725", "POINT(500000 9999990)", {8, 104, 128}, 1, 1, 1, 1, -1, "UTM"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_table *table = one(rows[i].crs, rows[i].wkt);
        struct decoded got;
        table_tile(table, rows[i].tile, NULL, &got);
        if ((int)got.n != rows[i].features)
            fail_msg("%s: %zu features", rows[i].what, got.n);
        if (got.n) {
            const struct feature *f = &got.features[0];
            if ((rows[i].type >= 0 && f->type != rows[i].type) ||
                (rows[i].parts >= 0 && f->parts != rows[i].parts) ||
                (rows[i].points >= 0 && f->points != rows[i].points) ||
                (rows[i].area >= 0 && f->area != rows[i].area))
                fail_msg("%s: type %d, %d parts, %d points, area %lld", rows[i].what, f->type,
                         f->parts, f->points, (long long)f->area);
            if (!f->valid)
                fail_msg("%s: not valid", rows[i].what);
            assert_int_equal(got.version, 2);
            assert_int_equal(got.extent, 4096);
            assert_string_equal(got.names, "udf");
        } else {
            assert_int_equal(got.bytes, 0);
        }
        free(got.features);
        mg_table_unref(&table);
    }
}

/* Rounded positions are those of the formula at every zoom, whatever polynomial stood in for it. */
static void test_positions(void **state)
{
    (void)state;
    srand(3);
    for (int z = 0; z <= 22; z++)
        for (int i = 0; i < 40; i++) {
            double lng = -179.9 + 359.8 * rand() / RAND_MAX,
                   lat = -84.9 + 169.8 * rand() / RAND_MAX, x, y;
            char wkt[80];
            snprintf(wkt, sizeof wkt, "POINT(%.12f %.12f)", lng, lat);
            struct mg_tile tile = mg_tile_at(lng, lat, z);
            struct mg_table *table = one("EPSG:4326", wkt);
            struct decoded got;
            table_tile(table, tile, NULL, &got);
            struct mg_bounds b = mg_tile_bounds_merc(tile);
            mg_lnglat_to_merc(lng, lat, &x, &y);
            double tx = (x - b.xmin) / (b.xmax - b.xmin) * 4096,
                   ty = (b.ymax - y) / (b.ymax - b.ymin) * 4096;
            assert_int_equal(got.n, 1);
            if (fabs(got.features[0].first[0] - tx) > 0.53 ||
                fabs(got.features[0].first[1] - ty) > 0.53)
                fail_msg("z%d %f %f: %d,%d instead of %f,%f", z, lng, lat, got.features[0].first[0],
                         got.features[0].first[1], tx, ty);
            free(got.features);
            mg_table_unref(&table);
        }
}

static void test_attributes(void **state)
{
    struct maker maker;
    struct decoded got;
    (void)state;
    maker_init(&maker, "EPSG:4326", "geometry:g id:i s:s d:d n:i b:b day:t");
    for (int i = 0; i < 2; i++) {
        maker_wkt(&maker, 0, "POINT(1 1)");
        maker_set(&maker, 1, CELL_INT(i ? -7 : 7));
        maker_set(&maker, 2, CELL_TEXT("x"));
        maker_set(&maker, 3, CELL_DOUBLE(0.5));
        if (i)
            maker_set(&maker, 4, CELL_INT(-3));
        else
            maker_set(&maker, 4, CELL_INT(9007199254740993));
        if (!i)
            maker_set(&maker, 5, CELL_BOOL(true));
        maker_set(&maker, 6, CELL_DAY(0));
        mg_table_builder_row(maker.builder);
    }
    struct mg_table *table = maker_finish(&maker);
    table_tile(table, (struct mg_tile){0, 0, 0}, NULL, &got);
    assert_int_equal(got.n, 2);
    assert_true(got.features[0].has_id && got.features[0].id == 7);
    assert_string_equal(got.features[0].tags,
                        "s='x' d=0.5 n=9007199254740993u b=true day='1970-01-01'");
    assert_false(
        got.features[1].has_id); /* a negative one cannot be an id: it stays an attribute */
    assert_string_equal(got.features[1].tags, "id=-7i s='x' d=0.5 n=-3i day='1970-01-01'");
    free(got.features);
    mg_table_unref(&table);
}

static void test_layers(void **state)
{
    struct mg_table *a = one("EPSG:4326", "POINT(1 1)"), *b = one("EPSG:3857", "POINT(1 1)"),
                    *c = one("EPSG:4326", "POINT EMPTY");
    const struct mg_value tables[] = {{.shape = MG_SHAPE_TABLE, .table = a},
                                      {.shape = MG_SHAPE_TABLE, .table = c},
                                      {.shape = MG_SHAPE_TABLE, .table = b}};
    struct mg_named named[] = {{"roads", &tables[0]}, {"empty", &tables[1]}, {"places", &tables[2]}};
    struct mg_value value = {.shape = MG_SHAPE_NAMED, .named = named, .n_named = 3};
    struct decoded got;
    (void)state;
    tile_of(&value, (struct mg_tile){0, 0, 0}, "extent=512", &got);
    assert_string_equal(got.names, "roads,places");
    assert_int_equal(got.extent, 512);
    free(got.features);
    mg_table_unref(&a);
    mg_table_unref(&b);
    mg_table_unref(&c);
}

static void test_errors(void **state)
{
    struct maker maker;
    struct mg_option_value values[8];
    struct mg_buf out;
    struct mg_errmsg err;
    struct mg_tile tile = {0, 0, 0};
    (void)state;
    maker_init(&maker, NULL, "n:i");
    struct mg_table *plain = maker_finish(&maker), *nowhere = one(NULL, "POINT(1 1)");
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = plain};
    options_of(mg_codec_mvt, NULL, values);
    struct mg_codec_job job = {.value = &value, .options = values, .tile = &tile};
    mg_buf_init(&out, 0);
    assert_int_equal(mg_codec_mvt->encode(&job, &out, &err), MG_E_NOT_ACCEPTABLE);
    value.table = nowhere;
    assert_int_equal(mg_codec_mvt->encode(&job, &out, &err), MG_E_NO_CRS);
    job.tile = NULL;
    assert_int_equal(mg_codec_mvt->encode(&job, &out, &err), MG_E_NOT_ACCEPTABLE);
    mg_buf_fini(&out);
    mg_table_unref(&plain);
    mg_table_unref(&nowhere);
}

static struct mg_table *many_points(int n, struct mg_bounds in)
{
    struct maker maker;
    struct mg_buf wkb;
    maker_init(&maker, "EPSG:4326", "geometry:g id:i name:s");
    mg_buf_init(&wkb, 0);
    for (int i = 0; i < n; i++) {
        char name[32];
        wkb.len = 0;
        mg_wkb_point(in.xmin + (in.xmax - in.xmin) * rand() / RAND_MAX,
                     in.ymin + (in.ymax - in.ymin) * rand() / RAND_MAX, &wkb);
        maker_set(&maker, 0, (struct mg_cell){.type = MG_CELL_BINARY, .s = {wkb.data, wkb.len}});
        maker_set(&maker, 1, CELL_INT(i));
        snprintf(name, sizeof name, "place number %d", i);
        maker_set(&maker, 2, CELL_TEXT(name));
        mg_table_builder_row(maker.builder);
    }
    mg_buf_fini(&wkb);
    return maker_finish(&maker);
}

static void test_thinning(void **state)
{
    struct mg_tile tile = {6, 33, 21};
    struct decoded all, some, again, fewer;
    (void)state;
    srand(8);
    struct mg_table *table = many_points(20000, mg_tile_bounds(tile));
    table_tile(table, tile, "max_bytes=5000000", &all);
    assert_int_equal(all.n, 20000);
    assert_string_equal(all.header, "");
    table_tile(table, tile, "max_bytes=100000", &some);
    assert_true(some.bytes <= 100000 && some.bytes > 95000);
    char expected[64];
    snprintf(expected, sizeof expected, "X-Moongate-Thinned: %zu/20000", some.n);
    assert_string_equal(some.header, expected);
    /* The same input gives the same tile; less room a subset; and features come in the order of
     * their rows. */
    table_tile(table, tile, "max_bytes=100000", &again);
    assert_true(again.n == some.n && again.bytes == some.bytes);
    table_tile(table, tile, "max_bytes=50000", &fewer);
    for (size_t i = 0, k = 0; i < fewer.n; i++) {
        assert_true(again.features[i].id == some.features[i].id);
        assert_true(i == 0 || fewer.features[i].id > fewer.features[i - 1].id);
        while (k < some.n && some.features[k].id != fewer.features[i].id)
            k++;
        if (k == some.n)
            fail_msg("a smaller tile keeps a subset");
    }
    assert_true(fewer.n * 3 > some.n);
    free(all.features);
    free(some.features);
    free(again.features);
    free(fewer.features);
    table_tile(table, tile, "max_features=100 max_bytes=5000000", &some);
    assert_int_equal(some.n, 100);
    assert_string_equal(some.header, "X-Moongate-Thinned: 100/20000");
    free(some.features);
    table_tile(table, tile, "max_features=20000 max_bytes=5000000", &some);
    assert_int_equal(some.n, 20000);
    assert_string_equal(some.header, "");
    free(some.features);
    /* The order of the rows does not matter. */
    int64_t rows[20000];
    struct mg_table *turned = NULL;
    for (int i = 0; i < 20000; i++)
        rows[i] = 19999 - i;
    assert_int_equal(mg_table_take(table, rows, 20000, NULL, 0, &turned, NULL), MG_OK);
    table_tile(table, tile, "max_bytes=60000", &some);
    table_tile(turned, tile, "max_bytes=60000", &again);
    assert_int_equal(some.n, again.n);
    for (size_t i = 0; i < some.n; i++)
        assert_true(some.features[i].id == again.features[again.n - 1 - i].id);
    free(some.features);
    free(again.features);
    /* Layers share the room. */
    const struct mg_value tables[] = {{.shape = MG_SHAPE_TABLE, .table = table},
                                      {.shape = MG_SHAPE_TABLE, .table = turned}};
    struct mg_named named[] = {{"a", &tables[0]}, {"b", &tables[1]}};
    struct mg_value value = {.shape = MG_SHAPE_NAMED, .named = named, .n_named = 2};
    tile_of(&value, tile, "max_bytes=100000", &some);
    assert_true(some.bytes <= 100000 && some.bytes > 90000 && some.layers == 2);
    free(some.features);
    mg_table_unref(&turned);
    mg_table_unref(&table);
}

/* Random stars, some crossing themselves, in tiles of many zooms: what comes out is valid and
 * oriented. */
static void test_polygons_valid(void **state)
{
    unsigned seed = 77;
    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    for (int round = 0; round < 600; round++) {
        struct mg_buf wkb;
        struct maker maker;
        int z = rand() % 12;
        struct mg_tile tile = mg_tile_at(20, 40, z);
        struct mg_bounds b = mg_tile_bounds(tile);
        double size = (b.xmax - b.xmin) * pow(10, rand() % 4 - 2),
               cx = b.xmin + (b.xmax - b.xmin) * rand() / RAND_MAX,
               cy = b.ymin + (b.ymax - b.ymin) * rand() / RAND_MAX;
        uint32_t head[2] = {1 + (rand() % 3 == 0), 0};
        mg_buf_init(&wkb, 0);
        mg_buf_put(&wkb, "\1\3\0\0\0", 5);
        mg_buf_put(&wkb, head, 4);
        for (uint32_t r = 0; r < head[0]; r++) {
            uint32_t n = 4 + (uint32_t)rand() % 60;
            double x[64], y[64], scale = r ? 0.3 : 1;
            mg_buf_put(&wkb, &n, 4);
            for (uint32_t i = 0; i < n; i++) {
                double angle = 2 * M_PI * (round % 3 ? i : (double)rand()) /
                               (n - 1), /* every third is a tangle */
                    radius = size * scale * (0.3 + 0.7 * rand() / RAND_MAX);
                x[i] = i + 1 < n ? cx + radius * cos(angle) : x[0];
                y[i] = i + 1 < n ? cy + radius * sin(angle) * 0.7 : y[0];
                mg_buf_put(&wkb, &x[i], 8);
                mg_buf_put(&wkb, &y[i], 8);
            }
        }
        maker_init(&maker, "EPSG:4326", "geometry:g");
        maker_set(&maker, 0, (struct mg_cell){.type = MG_CELL_BINARY, .s = {wkb.data, wkb.len}});
        mg_table_builder_row(maker.builder);
        struct mg_table *table = maker_finish(&maker);
        struct decoded got;
        table_tile(table, tile, round % 2 ? "simplify=0" : NULL, &got);
        for (size_t i = 0; i < got.n; i++)
            if (!got.features[i].valid)
                fail_msg("round %d, zoom %d: a polygon is not valid", round, z);
        free(got.features);
        mg_table_unref(&table);
        mg_buf_fini(&wkb);
    }
}

/* Random bytes as geometry: a tile comes out. */
static void test_mutations(void **state)
{
    static const char *const wkt[] = {
        "POINT(1 1)", "POLYGON((-60 -60,60 -60,60 60,-60 60,-60 -60))",
        "MULTILINESTRING((0 0,100 10,3 4),(5 5,6 7))",
        "GEOMETRYCOLLECTION(POINT(1 1),POLYGON((0 0,50 0,50 50,0 0)))"};
    (void)state;
    srand(5);
    for (int round = 0; round < 3000; round++) {
        struct mg_buf wkb;
        struct maker maker;
        struct decoded got;
        mg_buf_init(&wkb, 0);
        assert_int_equal(mg_wkb_from_wkt(mg_span(wkt[round % 4]), &wkb, NULL), MG_OK);
        for (int i = rand() % 4; i >= 0; i--)
            wkb.data[(size_t)rand() % wkb.len] = (char)(rand() % 3 ? rand() : rand() % 8);
        size_t len = round % 5 ? wkb.len : (size_t)rand() % wkb.len;
        maker_init(&maker, "EPSG:4326", "geometry:g");
        maker_set(&maker, 0, (struct mg_cell){.type = MG_CELL_BINARY, .s = {wkb.data, len}});
        mg_table_builder_row(maker.builder);
        struct mg_table *table = maker_finish(&maker);
        table_tile(table, (struct mg_tile){round % 3, 0, 0}, NULL, &got);
        free(got.features);
        mg_table_unref(&table);
        mg_buf_fini(&wkb);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_geometries), cmocka_unit_test(test_positions),
        cmocka_unit_test(test_attributes), cmocka_unit_test(test_layers),
        cmocka_unit_test(test_errors),     cmocka_unit_test(test_thinning),
        cmocka_unit_test(test_mutations),  cmocka_unit_test(test_polygons_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
