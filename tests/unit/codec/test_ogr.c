/* FlatGeobuf and GeoPackage, read back by GDAL: geometries of all types, fields, names, CRS, the
 * index. */
#include "moongate/gdal.h"
#include "moongate/raster_read.h"

#include "table_make.h"

#include "arrow_make.h"

#include <cpl_conv.h>
#include <cpl_vsi.h>
#include <ogr_api.h>

extern const struct mg_codec mg_codec_ogr[];
static const char *const extensions[] = {"fgb", "gpkg"};

static GDALDatasetH open_encoded(struct mg_table *table, int codec, struct mg_buf *out)
{
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    struct mg_codec_job job = {.value = &value};
    struct mg_errmsg err = {0};
    char name[64];
    mg_buf_init(out, 0);
    if (mg_codec_ogr[codec].encode(&job, out, &err))
        fail_msg("%s: %s", mg_codec_ogr[codec].name, err.text);
    assert_int_equal(out->data[out->len], 0);
    snprintf(name, sizeof name, "/vsimem/test_ogr.%s", extensions[codec]);
    VSIFCloseL(VSIFileFromMemBuffer(name, (GByte *)out->data, out->len, FALSE));
    GDALDatasetH set = GDALOpenEx(name, GDAL_OF_VECTOR | GDAL_OF_READONLY, NULL, NULL, NULL);
    if (!set)
        fail_msg("%s cannot be read: %s", mg_codec_ogr[codec].name, CPLGetLastErrorMsg());
    return set;
}

static void close_encoded(GDALDatasetH set, int codec, struct mg_buf *out)
{
    char name[64];
    GDALClose(set);
    snprintf(name, sizeof name, "/vsimem/test_ogr.%s", extensions[codec]);
    VSIUnlink(name);
    mg_buf_fini(out);
}

/* By GDAL: our own WKT, through GEOS, knows no M. */
static void set_wkt(struct maker *maker, int column, const char *wkt)
{
    OGRGeometryH made = NULL;
    char *text = (char *)(uintptr_t)wkt;
    unsigned char wkb[512];
    assert_int_equal(OGR_G_CreateFromWkt(&text, NULL, &made), OGRERR_NONE);
    assert_true(OGR_G_WkbSize(made) <= (int)sizeof wkb);
    OGR_G_ExportToIsoWkb(made, wkbNDR, wkb);
    maker_set(
        maker, column,
        (struct mg_cell){.type = MG_CELL_BINARY, .s = {(char *)wkb, (size_t)OGR_G_WkbSize(made)}});
    OGR_G_DestroyGeometry(made);
}

static bool has_holes(const char *const *wkts)
{
    for (; *wkts; wkts++)
        if (!**wkts || strstr(*wkts, "EMPTY"))
            return true;
    return false;
}

/* Rows are found by `id`: an indexed FlatGeobuf has an order of its own. */
static void test_geometries(void **state)
{
    static const char *const sets[][6] = {
        {"POINT (1 2)", "POINT (-3 4.5)", NULL},
        {"POLYGON ((0 0,4 0,4 4,0 0),(1 0.5,2 0.5,2 1,1 0.5))", NULL},
        {"POINT (1 2)", "LINESTRING (0 0,1 1)", "MULTIPOINT (1 1,2 2)",
         "MULTIPOLYGON (((0 0,1 0,1 1,0 0)))",
         "GEOMETRYCOLLECTION (POINT (1 2),LINESTRING (0 0,1 1))", NULL},
        {"POINT Z (1 2 3)", "POINT Z (4 5 6)", NULL},
        {"LINESTRING ZM (0 0 1 2,1 1 3 4)", NULL},
        {"POINT (1 2)", "", "POLYGON EMPTY", NULL},
        {"", "", NULL},
        {NULL},
    };
    (void)state;
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++)
        for (int codec = 0; codec < 2; codec++) {
            struct maker maker;
            struct mg_buf out;
            int n = 0;
            maker_init(&maker, "EPSG:32725", "id:i g:g");
            for (; sets[s][n]; n++) {
                maker_set(&maker, 0, CELL_INT(n));
                if (*sets[s][n])
                    set_wkt(&maker, 1, sets[s][n]);
                mg_table_builder_row(maker.builder);
            }
            struct mg_table *table = maker_finish(&maker);
            if (codec == 0 && has_holes(sets[s])) {
                struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
                struct mg_codec_job job = {.value = &value};
                struct mg_errmsg err = {0};
                mg_buf_init(&out, 0);
                assert_int_equal(mg_codec_ogr[0].encode(&job, &out, &err), MG_E_NOT_ACCEPTABLE);
                assert_non_null(strstr(err.text, "geometry of row "));
                mg_buf_fini(&out);
                mg_table_unref(&table);
                continue;
            }
            GDALDatasetH set = open_encoded(table, codec, &out);
            OGRLayerH layer = GDALDatasetGetLayer(set, 0);
            assert_int_equal(OGR_L_GetFeatureCount(layer, TRUE), n);
            assert_string_equal(OSRGetAuthorityCode(OGR_L_GetSpatialRef(layer), NULL), "32725");
            OGRFeatureH feature;
            int seen = 0;
            while ((feature = OGR_L_GetNextFeature(layer))) {
                int id = OGR_F_GetFieldAsInteger(feature, OGR_F_GetFieldIndex(feature, "id"));
                OGRGeometryH geometry = OGR_F_GetGeometryRef(feature);
                char *wkt = NULL, *wanted = NULL;
                if (geometry)
                    OGR_G_ExportToIsoWkt(geometry, &wkt);
                if (*sets[s][id]) {
                    OGRGeometryH made = NULL;
                    char *text = (char *)sets[s][id];
                    assert_int_equal(OGR_G_CreateFromWkt(&text, NULL, &made), OGRERR_NONE);
                    OGR_G_ExportToIsoWkt(made, &wanted);
                    OGR_G_DestroyGeometry(made);
                }
                bool same = wkt && wanted ? strcmp(wkt, wanted) == 0 : !wkt == !wanted;
                if (!same)
                    fail_msg("%s: %s came back as %s", mg_codec_ogr[codec].name,
                             wanted ? wanted : "null", wkt ? wkt : "null");
                CPLFree(wkt);
                CPLFree(wanted);
                OGR_F_Destroy(feature);
                seen++;
            }
            assert_int_equal(seen, n);
            close_encoded(set, codec, &out);
            mg_table_unref(&table);
        }
}

/* A spatial filter answers by the index. */
static void test_index(void **state)
{
    struct maker maker;
    struct mg_buf out;
    (void)state;
    maker_init(&maker, "OGC:CRS84", "id:i g:g");
    for (int i = 0; i < 2000; i++) {
        char wkt[64];
        snprintf(wkt, sizeof wkt, "POINT(%d %d)", i % 50, i / 50);
        maker_set(&maker, 0, CELL_INT(i));
        maker_wkt(&maker, 1, wkt);
        mg_table_builder_row(maker.builder);
    }
    struct mg_table *table = maker_finish(&maker);
    for (int codec = 0; codec < 2; codec++) {
        GDALDatasetH set = open_encoded(table, codec, &out);
        OGRLayerH layer = GDALDatasetGetLayer(set, 0);
        assert_true(OGR_L_TestCapability(layer, OLCFastSpatialFilter));
        assert_string_equal(OSRGetAuthorityCode(OGR_L_GetSpatialRef(layer), NULL), "4326");
        OGR_L_SetSpatialFilterRect(layer, 9.5, 9.5, 12.5, 10.5);
        assert_int_equal(OGR_L_GetFeatureCount(layer, TRUE), 3);
        close_encoded(set, codec, &out);
    }
    mg_table_unref(&table);
}

static void test_names(void **state)
{
    struct mg_buf out;
    (void)state;
    struct maker maker;
    maker_init(&maker, NULL, "fid:i a:i A:s geom:g GEOM:s");
    maker_set(&maker, 0, CELL_INT(7));
    maker_set(&maker, 1, CELL_INT(8));
    maker_set(&maker, 2, CELL_TEXT("x"));
    maker_wkt(&maker, 3, "POINT (1 2)");
    maker_set(&maker, 4, CELL_TEXT("y"));
    mg_table_builder_row(maker.builder);
    struct mg_table *table = maker_finish(&maker);
    for (int codec = 0; codec < 2; codec++) {
        GDALDatasetH set = open_encoded(table, codec, &out);
        OGRLayerH layer = GDALDatasetGetLayer(set, 0);
        OGRFeatureH feature = OGR_L_GetNextFeature(layer);
        assert_non_null(feature);
        assert_int_equal(OGR_F_GetFieldAsInteger(feature, OGR_F_GetFieldIndex(feature, "fid")), 7);
        assert_int_equal(OGR_F_GetFieldAsInteger(feature, OGR_F_GetFieldIndex(feature, "a")), 8);
        assert_string_equal(OGR_F_GetFieldAsString(feature, OGR_F_GetFieldIndex(feature, "A_2")),
                            "x");
        assert_string_equal(OGR_F_GetFieldAsString(
                                feature, OGR_F_GetFieldIndex(feature, codec ? "GEOM_2" : "GEOM")),
                            "y");
        assert_non_null(OGR_F_GetGeometryRef(feature));
        OGR_F_Destroy(feature);
        close_encoded(set, codec, &out);
    }
    mg_table_unref(&table);
}

static void compare_value(OGRFeatureH feature, int field, const struct mg_cell *cell,
                          const char *format)
{
    struct mg_buf text;
    if (cell->type == MG_CELL_NULL || (cell->type == MG_CELL_DOUBLE && isnan(cell->d))) {
        assert_false(OGR_F_IsFieldSetAndNotNull(feature, field));
        return;
    }
    OGRFieldType type = OGR_Fld_GetType(OGR_F_GetFieldDefnRef(feature, field));
    int n, y, mo, d, h, mi, tz;
    float s;
    mg_buf_init(&text, 0);
    mg_cell_text(cell, &text);
    switch (cell->type) {
    case MG_CELL_BOOL:
        assert_int_equal(OGR_F_GetFieldAsInteger(feature, field), cell->b);
        break;
    case MG_CELL_INT:
    case MG_CELL_UINT:
    case MG_CELL_DOUBLE:
        if (type == OFTReal) {
            double got = OGR_F_GetFieldAsDouble(feature, field),
                   want = cell->type == MG_CELL_INT ? (double)cell->i : cell->d;
            if (got != want)
                fail_msg("%s: %.17g became %.17g", format, want, got);
            break;
        }
        assert_string_equal(OGR_F_GetFieldAsString(feature, field), text.data);
        break;
    case MG_CELL_STRING:
    case MG_CELL_NESTED:
        if (!memchr(cell->s.data, '\0', cell->s.len))
            assert_memory_equal(OGR_F_GetFieldAsString(feature, field), cell->s.data, cell->s.len);
        break;
    case MG_CELL_BINARY: {
        const GByte *got = OGR_F_GetFieldAsBinary(feature, field, &n);
        assert_int_equal(n, cell->s.len);
        if (n)
            assert_memory_equal(got, cell->s.data, cell->s.len);
        break;
    }
    case MG_CELL_DATE:
    case MG_CELL_TIMESTAMP: {
        char iso[80];
        assert_true(OGR_F_GetFieldAsDateTimeEx(feature, field, &y, &mo, &d, &h, &mi, &s, &tz));
        n = cell->type == MG_CELL_DATE ? snprintf(iso, sizeof iso, "%04d-%02d-%02d", y, mo, d)
                                       : snprintf(iso, sizeof iso, "%04d-%02d-%02dT%02d:%02d:%02d",
                                                  y, mo, d, h, mi, (int)s);
        assert_memory_equal(iso, text.data, (size_t)n);
        break;
    }
    default:
        break;
    }
    mg_buf_fini(&text);
}

/* Points and running numbers into the first two columns. */
static void number_rows(struct mg_table *table)
{
    int64_t n = 0;
    for (size_t b = 0; b < table->n_batches; b++) {
        struct ArrowArray *batch = &table->batches[b];
        for (int c = 0; c < 2; c++) {
            free((void *)(uintptr_t)batch->children[c]->buffers[0]);
            batch->children[c]->buffers[0] = NULL;
            batch->children[c]->null_count = 0;
        }
        for (int64_t r = 0; r < batch->length; r++, n++) {
            int64_t at = batch->offset + r + batch->children[0]->offset;
            uint8_t *wkb = (uint8_t *)(uintptr_t)batch->children[0]->buffers[1] + 21 * at;
            double place[] = {(double)(n % 7), (double)(n % 5)};
            memcpy(wkb, "\1\1\0\0", 5);
            memcpy(wkb + 5, place, 16);
            ((int64_t *)(uintptr_t)batch->children[1]
                 ->buffers[1])[batch->offset + r + batch->children[1]->offset] = n;
        }
    }
    table->geometry = 0;
}

/* All types out and back; rows are found by their number, as the index orders them anew. */
static void test_random(void **state)
{
    static const char columns[] =
        "w:21 l b c C s S i I l L e f g u U Z w:5 tdD tdm tts ttu tss: tsu:Europe/Berlin "
        "tsm:UTC tDs d:12,3 d:38,10 +l(u) +s(i,u) +m(u,i) c<u> n";
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++)
        for (int codec = 0; codec < 2; codec++) {
            struct mg_table *table =
                random_table(seed, columns, seed ? 23 : 0, 1 + seed % 3, (int)(seed % 4) * 15);
            struct mg_buf out;
            OGRFeatureH feature;
            int64_t seen = 0;
            number_rows(table);
            GDALDatasetH set = open_encoded(table, codec, &out);
            OGRLayerH layer = GDALDatasetGetLayer(set, 0);
            for (; (feature = OGR_L_GetNextFeature(layer)); seen++) {
                int64_t row = OGR_F_GetFieldAsInteger64(feature, 0), b = row / 23, r = row % 23;
                for (int c = 2; c < table->schema.n_children; c++) {
                    struct mg_cursor *cursor = NULL;
                    struct mg_cell cell = {0};
                    assert_int_equal(mg_cursor_open(table, (size_t)b, c, &cursor, NULL), MG_OK);
                    mg_cursor_get(cursor, r, &cell);
                    if (codec == 0 && cell.type == MG_CELL_DOUBLE && isnan(cell.d))
                        assert_true(isnan(OGR_F_GetFieldAsDouble(feature, c - 1)));
                    else
                        compare_value(feature, c - 1, &cell, table->schema.children[c]->format);
                    mg_cursor_close(&cursor);
                }
                OGR_F_Destroy(feature);
            }
            assert_int_equal(seen, table->rows);
            close_encoded(set, codec, &out);
            mg_table_unref(&table);
        }
}

static void test_refusals(void **state)
{
    struct mg_table *table = random_table(1, "i u", 500, 1, 0);
    struct mg_value value = {.shape = MG_SHAPE_TABLE, .table = table};
    struct mg_codec_job job = {.value = &value};
    struct mg_buf out;
    struct mg_errmsg err = {0};
    (void)state;
    mg_buf_init(&out, 1000);
    assert_int_equal(mg_codec_ogr[1].encode(&job, &out, &err), MG_E_UDF_OUTPUT);
    mg_buf_fini(&out);
    assert_int_equal(mg_encode(&mg_codec_ogr[0], &job, &out, &err), MG_E_NOT_ACCEPTABLE);
    mg_table_unref(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_geometries),
                                       cmocka_unit_test(test_index), cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_refusals)};
    mg_gdal_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
