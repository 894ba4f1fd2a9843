/* GDAL in this process.
 *
 * Only the drivers of one table are registered, each by its own function (half a millisecond; registering all takes
 * forty and lets a file name reach the network, our memory or /etc/passwd), and every open passes their names again.
 * CRS text is sorted by its form before PROJ sees it, because GDAL's own parser also takes files and URLs. */
#include "moongate/gdal.h"
#include "moongate/files.h"
#include "moongate/raster_read.h"

#include <cpl_conv.h>
#include <cpl_error.h>
#include <cpl_string.h>
#include <cpl_vsi.h>
#include <ctype.h>
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* Exported by libgdal; its headers declare them for C++ only. */
void GDALRegister_GTiff(void);
void GDALRegister_COG(void);
void GDALRegister_MEM(void);
void GDALRegister_PNG(void);
void GDALRegister_JPEG(void);
void GDALRegister_WEBP(void);
void GDALRegister_JP2OpenJPEG(void);
void GDALRegister_netCDF(void);
void RegisterOGRGeoPackage(void);
void RegisterOGRFlatGeobuf(void);
void RegisterOGRGeoJSON(void);
void RegisterOGRGeoJSONSeq(void);
void RegisterOGRTopoJSON(void);
void RegisterOGRShape(void);
void RegisterOGRCSV(void);
void RegisterOGRKML(void);
void RegisterOGRGPX(void);
void RegisterOGRMEM(void);

static const struct {
    const char *name;
    void (*add)(void);
    bool input; /* false: needed to write or in memory, never to open a name */
} drivers[] = {
    {"GTiff", GDALRegister_GTiff, true},
    {"PNG", GDALRegister_PNG, true},
    {"JPEG", GDALRegister_JPEG, true},
    {"WEBP", GDALRegister_WEBP, true},
    {"JP2OpenJPEG", GDALRegister_JP2OpenJPEG, true},
    {"netCDF", GDALRegister_netCDF, true},
    {"GPKG", RegisterOGRGeoPackage, true},
    {"FlatGeobuf", RegisterOGRFlatGeobuf, true},
    {"GeoJSON", RegisterOGRGeoJSON, true},
    {"GeoJSONSeq", RegisterOGRGeoJSONSeq, true},
    {"TopoJSON", RegisterOGRTopoJSON, true},
    {"ESRI Shapefile", RegisterOGRShape, true},
    {"CSV", RegisterOGRCSV, true},
    {"KML", RegisterOGRKML, true},
    {"GPX", RegisterOGRGPX, true},
    {"COG", GDALRegister_COG, false},
    {"MEM", GDALRegister_MEM, false},
    {"Memory", RegisterOGRMEM, false},
};
enum { N_DRIVERS = sizeof drivers / sizeof *drivers };

static const char *names[N_DRIVERS + 1];

const char *const *mg_gdal_drivers(void)
{
    if (!names[0])
        for (size_t i = 0, n = 0; i < N_DRIVERS; i++)
            if (drivers[i].input)
                names[n++] = drivers[i].name;
    return names;
}

static const char *const options[][2] = {
    {"GDAL_CACHEMAX", "32"}, /* decoded blocks are kept by us (raster_open.c) */
    {"GDAL_PAM_ENABLED", "NO"},
    {"GDAL_DISABLE_READDIR_ON_OPEN", "TRUE"},
    {"GDAL_NUM_THREADS", "1"},
    {"CPL_DEBUG", "OFF"},
    {"CPL_ZIP_ENCODING", "UTF-8"},
    {"OGR_SQLITE_LOAD_EXTENSIONS", "NO"},
    {"OGR_GEOJSON_MAX_OBJ_SIZE", "100"},
    {"GTIFF_VIRTUAL_MEM_IO", "NO"},
    {"GTIFF_HAS_OPTIMIZED_READ_MULTI_RANGE", "NO"},
};

/* PROJ looks its database up through SQLite, which would copy the pages into each worker by 800 reads: mapped, they are
 * the page cache's, and the first CRS costs 9 ms instead of 14, and 1.4 MB less. The library comes with PROJ; it is asked
 * by name, so that its header is not another dependency. Files of organisations are read by GDAL's own functions, which
 * map nothing. */
static void map_databases(void)
{
    enum { CONFIG_MMAP_SIZE = 22 }; /* SQLITE_CONFIG_MMAP_SIZE: two sqlite3_int64, the usual and the largest size */
    typedef int config_f(int, ...);
    void *symbol = dlsym(RTLD_DEFAULT, "sqlite3_config");
    if (symbol) /* else, or when SQLite is in use already: by reads, as always */
        (void)(*(config_f **)&symbol)(CONFIG_MMAP_SIZE, (int64_t)64 << 20, (int64_t)64 << 20);
}

void mg_gdal_setup(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    /* Rasters of a tile come and go by the thousand: kept in the heap instead of being mapped (and zeroed by the kernel)
     * anew each time, which costs more than filling them. */
    mallopt(M_MMAP_THRESHOLD, 8 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        CPLSetConfigOption(options[i][0], options[i][1]);
    map_databases();
    CPLSetErrorHandler(CPLQuietErrorHandler);
    for (size_t i = 0; i < N_DRIVERS; i++)
        drivers[i].add();
    for (int i = GDALGetDriverCount() - 1; i >= 0; i--) {
        GDALDriverH driver = GDALGetDriver(i);
        bool listed = false;
        for (size_t k = 0; k < N_DRIVERS; k++)
            listed |= strcmp(GDALGetDriverShortName(driver), drivers[k].name) == 0;
        if (!listed)
            GDALDeregisterDriver(driver);
    }
}

enum mg_err mg_gdal_warm(struct mg_errmsg *err)
{
    OGRCoordinateTransformationH transform;
    double x = 3892000, y = -890000;
    OSRSetPROJEnableNetwork(0);
    enum mg_err code = mg_crs_transform("EPSG:3857", "EPSG:32725", &transform, err);
    if (code != MG_OK || !OCTTransform(transform, 1, &x, &y, NULL))
        return mg_err_set(err, MG_E_NO_CRS, "PROJ's database (proj.db) cannot be read: install proj-data");
    return MG_OK;
}

static void CPL_STDCALL keep_error(CPLErr class, CPLErrorNum number, const char *text)
{
    (void)number;
    struct mg_gdal_errors *errors = CPLGetErrorHandlerUserData();
    /* The first is the cause; what follows are its consequences. */
    if (class >= CE_Failure && !errors->text[0])
        snprintf(errors->text, sizeof errors->text, "%s", text);
}

void mg_gdal_errors_begin(struct mg_gdal_errors *errors)
{
    errors->text[0] = 0;
    CPLPushErrorHandlerEx(keep_error, errors);
}

void mg_gdal_errors_end(void) { CPLPopErrorHandler(); }

void mg_gdal_user_name(const char *path, char *out, size_t size)
{
    static const char *const forms[][2] = {
        {"/vsimoon/fd/", "fd://"},
        {"/vsimoon/cache/", "/mnt/cache/"},
        {"/vsimoon/https/", "https://"},
        {"/vsimoon/http/", "http://"},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t n = strlen(forms[i][0]);
        if (strncmp(path, forms[i][0], n) == 0) {
            snprintf(out, size, "%s%s", forms[i][1], path + n);
            return;
        }
    }
    snprintf(out, size, "%s", path);
}

const char *mg_gdal_kind_of(const char *path)
{
    static const struct {
        const char *kind, *bytes;
        size_t len;
        bool anywhere; /* in the head; else at its start */
    } signs[] = {
#define START(kind, text) {kind, text, sizeof text - 1, false}
#define SOMEWHERE(kind, text) {kind, text, sizeof text - 1, true}
        SOMEWHERE("VRT", "<VRTDataset"), SOMEWHERE("OGR VRT", "<OGRVRTDataSource"),
        SOMEWHERE("WMS", "<GDAL_WMS"), SOMEWHERE("WMTS", "<GDAL_WMTS"), SOMEWHERE("WCS", "<WCS_GDAL"),
        SOMEWHERE("WFS", "<OGRWFSDataSource"), SOMEWHERE("GML", "opengis.net/gml"),
        START("PDF", "%PDF"), START("Erdas Imagine (HFA)", "EHFA_HEADER_TAG"), START("NITF", "NITF"),
        START("HDF5", "\211HDF"), START("HDF4", "\016\003\023\001"), START("GRIB", "GRIB"),
        START("SQLite", "SQLite format 3"), START("GIF", "GIF8"), START("BMP", "BM"), START("FITS", "SIMPLE"),
        START("zip", "PK\003\004"), START("gzip", "\037\213"), START("DWG", "AC10"), START("ENVI header", "ENVI"),
        START("Parquet", "PAR1"), START("Arrow", "ARROW1"), START("Arc/Info ASCII grid", "ncols"),
        START("MapInfo", "!table"), START("ELF program", "\177ELF"),
    };
    char head[1024] = {0};
    VSILFILE *file = VSIFOpenL(path, "rb");
    if (!file)
        return NULL;
    size_t n = VSIFReadL(head, 1, sizeof head, file);
    VSIFCloseL(file);
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        bool hit = signs[i].anywhere ? memmem(head, n, signs[i].bytes, signs[i].len) != NULL
                                     : n >= signs[i].len && memcmp(head, signs[i].bytes, signs[i].len) == 0;
        if (hit)
            return signs[i].kind;
    }
    return n == 0 ? "empty" : NULL;
}

static void driver_list(char *out, size_t size)
{
    size_t len = 0;
    out[0] = 0;
    for (const char *const *name = mg_gdal_drivers(); *name && len < size; name++)
        len += (size_t)snprintf(out + len, size - len, "%s%s", len ? ", " : "", *name);
}

enum mg_err mg_gdal_missing(const char *path, const char *name, struct mg_errmsg *err)
{
    enum mg_err code = strncmp(path, "/vsimoon/", 9) == 0 ? mg_vsimoon_error(err) : MG_OK;
    return code ? code : mg_err_set(err, MG_E_NO_FILE, "no file %s", name);
}

enum mg_err mg_gdal_open(const char *path, unsigned flags, const char *const *open_options, GDALDatasetH *out,
                         struct mg_errmsg *err)
{
    char name[256];
    struct mg_gdal_errors errors;
    VSIStatBufL st;
    mg_gdal_user_name(path, name, sizeof name);
    /* "PREFIX:rest" names reach into drivers; a file has a path from the root. */
    if (path[0] != '/')
        return mg_err_set(err, MG_E_BAD_FILE, "%s is not a file's name", name);
    mg_gdal_errors_begin(&errors);
    int missing = VSIStatExL(path, &st, VSI_STAT_EXISTS_FLAG | VSI_STAT_NATURE_FLAG | VSI_STAT_SIZE_FLAG);
    if (missing) {
        mg_gdal_errors_end();
        return mg_gdal_missing(path, name, err);
    }
    CPLSetThreadLocalConfigOption("GDAL_DISABLE_READDIR_ON_OPEN",
                                  strncmp(path, "/vsimoon/http", 13) == 0 ? "EMPTY_DIR" : "TRUE");
    GDALDatasetH dataset = GDALOpenEx(path, flags | GDAL_OF_READONLY | GDAL_OF_INTERNAL, mg_gdal_drivers(),
                                      open_options, NULL);
    mg_gdal_errors_end();
    if (dataset) {
        *out = dataset;
        return MG_OK;
    }
    char list[256];
    driver_list(list, sizeof list);
    const char *kind = mg_gdal_kind_of(path);
    if (kind && strcmp(kind, "empty") == 0)
        return mg_err_set(err, MG_E_BAD_FILE, "%s is empty", name);
    if (kind)
        return mg_err_set(err, MG_E_BAD_FILE, "%s is a %s file, which is not read; drivers: %s", name, kind, list);
    if (errors.text[0] && !strstr(errors.text, "not recognized as"))
        return mg_err_set(err, MG_E_BAD_FILE, "%s cannot be opened: %.200s", name, errors.text);
    return mg_err_set(err, MG_E_BAD_FILE, "%s is of no kind that is read; drivers: %s", name, list);
}

/* AUTHORITY:code, so that nothing else reaches GDAL's general parser. */
static bool is_code(const char *text)
{
    const char *colon = strchr(text, ':');
    if (!colon || colon == text || !colon[1])
        return false;
    for (const char *c = text; *c; c++)
        if (c != colon && !isalnum((unsigned char)*c) && *c != '_')
            return false;
    return true;
}

enum mg_err mg_crs_parse(const char *text, OGRSpatialReferenceH *out, struct mg_errmsg *err)
{
    struct mg_gdal_errors errors;
    OGRErr failed = OGRERR_CORRUPT_DATA;
    OGRSpatialReferenceH crs = OSRNewSpatialReference(NULL);
    char *end = NULL;
    if (!crs)
        return mg_err_set(err, MG_E_NOMEM, "no memory for a CRS");
    mg_gdal_errors_begin(&errors);
    if (strncasecmp(text, "EPSG:", 5) == 0) {
        long code = strtol(text + 5, &end, 10);
        if (isdigit((unsigned char)text[5]) && !*end && code > 0 && code < 1000000)
            failed = OSRImportFromEPSG(crs, (int)code);
    } else if (strcasecmp(text, "OGC:CRS84") == 0 || strcasecmp(text, "CRS84") == 0) {
        failed = OSRImportFromEPSG(crs, 4326);
    } else if (text[0] == '+') {
        failed = strlen(text) < 2048 ? OSRImportFromProj4(crs, text) : OGRERR_CORRUPT_DATA;
    } else if (isalpha((unsigned char)text[0]) && strchr(text, '[')) {
        char *wkt = (char *)text; /* GDAL advances its copy of the pointer only */
        failed = OSRImportFromWkt(crs, &wkt);
    } else if (text[0] == '{' || is_code(text)) {
        failed = OSRSetFromUserInput(crs, text);
    }
    mg_gdal_errors_end();
    if (failed != OGRERR_NONE) {
        OSRRelease(crs);
        return mg_err_set(err, MG_E_NO_CRS, "unknown CRS \"%.80s\"%s%.160s", text, errors.text[0] ? ": " : "",
                          errors.text);
    }
    OSRSetAxisMappingStrategy(crs, OAMS_TRADITIONAL_GIS_ORDER);
    *out = crs;
    return MG_OK;
}

bool mg_crs_text(OGRSpatialReferenceH crs, char *out, size_t size)
{
    const char *authority = OSRGetAuthorityName(crs, NULL), *code = OSRGetAuthorityCode(crs, NULL);
    if (authority && code && strcasecmp(authority, "EPSG") == 0)
        return snprintf(out, size, "EPSG:%s", code) < (int)size;
    struct mg_gdal_errors errors;
    char *wkt = NULL;
    mg_gdal_errors_begin(&errors);
    bool ok = OSRExportToWkt(crs, &wkt) == OGRERR_NONE && wkt && strlen(wkt) < size;
    if (!ok) {
        CPLFree(wkt);
        wkt = NULL;
        ok = OSRExportToProj4(crs, &wkt) == OGRERR_NONE && wkt && wkt[0] && strlen(wkt) < size;
    }
    mg_gdal_errors_end();
    if (ok)
        memcpy(out, wkt, strlen(wkt) + 1);
    CPLFree(wkt);
    return ok;
}

static struct pair {
    char *from, *to;
    OGRCoordinateTransformationH transform;
} pairs[64];
static size_t next_pair;

static OGRCoordinateTransformationH find_pair(const char *from, const char *to)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i].transform && strcmp(pairs[i].from, from) == 0 && strcmp(pairs[i].to, to) == 0)
            return pairs[i].transform;
    return NULL;
}

/* The way back of a transform that is there: a copy of PROJ's object instead of another search of its database (0.1 ms
 * instead of 2 to 30). NULL: there is none, or it cannot be turned round. */
static OGRCoordinateTransformationH turn_round(const char *from, const char *to)
{
    struct mg_gdal_errors errors;
    OGRCoordinateTransformationH there = find_pair(to, from);
    if (!there)
        return NULL;
    mg_gdal_errors_begin(&errors);
    OGRCoordinateTransformationH back = OCTGetInverse(there);
    mg_gdal_errors_end();
    return back;
}

enum mg_err mg_crs_transform(const char *from, const char *to, OGRCoordinateTransformationH *out,
                             struct mg_errmsg *err)
{
    OGRCoordinateTransformationH known = find_pair(from, to);
    if (known) {
        *out = known;
        return MG_OK;
    }
    OGRSpatialReferenceH a = NULL, b = NULL;
    struct mg_gdal_errors errors;
    struct pair pair = {strdup(from), strdup(to), NULL};
    enum mg_err code = pair.from && pair.to ? MG_OK : mg_err_set(err, MG_E_NOMEM, "no memory for a transform");
    if (code == MG_OK)
        pair.transform = turn_round(from, to);
    if (code == MG_OK && !pair.transform)
        code = mg_crs_parse(from, &a, err);
    if (code == MG_OK && !pair.transform)
        code = mg_crs_parse(to, &b, err);
    if (code == MG_OK && !pair.transform) {
        mg_gdal_errors_begin(&errors);
        pair.transform = OCTNewCoordinateTransformation(a, b);
        mg_gdal_errors_end();
        if (!pair.transform)
            code = mg_err_set(err, MG_E_NO_CRS, "no transform from %.80s to %.80s: %.160s", from, to, errors.text);
    }
    if (a)
        OSRRelease(a);
    if (b)
        OSRRelease(b);
    if (code != MG_OK) {
        free(pair.from);
        free(pair.to);
        return code;
    }
    struct pair *slot = &pairs[next_pair++ % (sizeof pairs / sizeof *pairs)];
    if (slot->transform)
        OCTDestroyCoordinateTransformation(slot->transform);
    free(slot->from);
    free(slot->to);
    *slot = pair;
    *out = pair.transform;
    return MG_OK;
}
