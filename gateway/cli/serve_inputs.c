/* A file becomes a UDF: what it is (bands, sample type, bounds) is found out in a sandboxed child, which writes the Lua
 * code and the meta.json for it. The code is what a person would write, and is shown by `moongate list`. */
#include "serve_inputs.h"

#include "moongate/json.h"
#include "moongate/raster_ops.h"
#include "moongate/raster_read.h"
#include "moongate/sandbox.h"
#include "moongate/vector_read.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* At zoom 16 a unit of a vector tile is 15 cm. */
enum { LOOK_SECONDS = 30, MAX_TEXT = 64 << 10, VECTOR_ZOOM = 16 };

/* "my file-2.tif" -> "my_file_2": a UDF's name. */
static void name_of(const char *path, char *out, size_t size)
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    size_t n = 0;
    if (!isalpha((unsigned char)*base))
        n = (size_t)snprintf(out, size, "File_");
    for (; *base && *base != '.' && n + 1 < size; base++)
        out[n++] = isalnum((unsigned char)*base) ? *base : '_';
    out[n] = 0;
}

/* The zoom of a map of 512-pixel tiles at which all of the bounds are seen in a window of FIT pixels. */
static double zoom_of(struct mg_bounds degrees)
{
    enum { FIT = 600, TILE = 512, CLOSEST = 16 };
    double x0, y0, x1, y1;
    mg_lnglat_to_merc(degrees.xmin, fmax(degrees.ymin, -MG_MERC_MAX_LAT), &x0, &y0);
    mg_lnglat_to_merc(degrees.xmax, fmin(degrees.ymax, MG_MERC_MAX_LAT), &x1, &y1);
    double part = fmax(x1 - x0, y1 - y0) / (2 * MG_MERC_MAX);
    double zoom = part > 0 ? floor(log2((double)FIT / TILE / part)) : CLOSEST;
    return fmin(fmax(zoom, 0), CLOSEST);
}

/* The default of a file's bounds: all of it, with a margin for what rounding would cut off. */
static void put_bounds(struct mg_buf *lua, struct mg_bounds b)
{
    const double margin = 1e-6;
    mg_buf_printf(lua, "moon.type.bounds({ %.9g, %.9g, %.9g, %.9g })", fmax(b.xmin - margin, -180),
                  fmax(b.ymin - margin, -90), fmin(b.xmax + margin, 180), fmin(b.ymax + margin, 90));
}

/* The first zoom whose tiles (of 256 pixels) are as fine as the file. */
static int native_zoom(const struct mg_raster_info *info)
{
    enum { TILE = 256, DEEPEST = 22 };
    double part = (info->degrees.xmax - info->degrees.xmin) / 360;
    double zoom = part > 0 ? ceil(log2(info->width / part / TILE) - 0.05) : DEEPEST; /* not one more for a hair */
    return (int)fmin(fmax(zoom, 0), DEEPEST);
}

static json_t *meta_of(const char *name, const char *type, const char *description, struct mg_bounds b, int max_zoom)
{
    char source[128];
    snprintf(source, sizeof source, "%s.lua", name);
    return json_pack("{s:s, s:{s:s, s:s, s:{}, s:[{s:s, s:{s:s, s:s, s:s, s:{}, s:{s:s, s:s, s:{s:b, s:f, s:f, s:f}, s:[f,f,f,f], s:[i,i]}, "
                     "s:s, s:[]}}]}}",
                     "version", "0.0.3", "job_config", "version", "0.0.3", "name", name, "metadata", "steps", "type",
                     "udf", "udf", "type", "lua", "name", name, "entrypoint", "udf", "parameters", "metadata",
                     "fused:udfType", type, "fused:description", description, "fused:defaultViewState", "enable", 1,
                     "latitude", (b.ymin + b.ymax) / 2, "longitude", (b.xmin + b.xmax) / 2, "zoom", zoom_of(b),
                     "moongate:bounds", b.xmin, b.ymin, b.xmax, b.ymax,
                     "moongate:zooms", 0, max_zoom, "source", source, "headers");
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Low and high for colours: the 2nd and 98th percentile of a small read of the whole file. */
static enum mg_err stretch_of(const char *path, double *low, double *high, struct mg_errmsg *err)
{
    struct mg_grid grid;
    struct mg_raster *small = NULL, *values = NULL;
    char crs[4096];
    int band = 1;
    struct mg_read_options options = {.bands = &band, .n_bands = 1, .resampling = MG_NEAREST};
    enum mg_err status = mg_grid_of_file(path, NULL, NULL, 0, 256, 256, 256, &grid, crs, err);
    if (!status) {
        grid.crs = crs;
        status = mg_raster_read(path, &grid, &options, &small, err);
    }
    if (!status)
        status = mg_raster_convert(small, MG_F64, &values, err);
    mg_raster_unref(&small);
    if (status)
        return status;
    size_t n = (size_t)values->width * (size_t)values->height, kept = 0;
    double *v = mg_raster_samples(values, 0);
    for (size_t i = 0; i < n; i++)
        if (isfinite(v[i]))
            v[kept++] = v[i];
    *low = 0;
    *high = 1;
    if (kept) {
        qsort(v, kept, sizeof *v, by_value);
        *low = v[kept / 50];
        *high = v[kept - 1 - kept / 50];
    }
    if (*high <= *low)
        *high = *low + 1;
    mg_raster_unref(&values);
    return MG_OK;
}

static enum mg_err raster_udf(const char *path, const char *fd_name, const char *name, const struct mg_raster_info *info,
                              struct mg_buf *lua, json_t **meta, struct mg_errmsg *err)
{
    double low, high;
    bool rgb = info->bands >= 3 && info->sample == MG_U8;
    mg_buf_printf(lua, "-- Made by `moongate serve` of %s: %d x %d pixels, %d bands of %s.\n"
                  "local moon = require \"moon\"\n\n", fd_name, info->width, info->height, info->bands,
                  mg_sample_name(info->sample));
    if (rgb) {
        mg_buf_str(lua, "local function udf(bounds, path)\n"
                      "  return moon.read_raster(path, bounds, { bands = { 1, 2, 3 } })\nend\n\n"
                      "return moon.udf(udf, { bounds = ");
        put_bounds(lua, info->degrees);
        mg_buf_printf(lua, ", path = \"%s\" })\n", fd_name);
    } else {
        enum mg_err status = stretch_of(path, &low, &high, err);
        if (status)
            return status;
        mg_buf_str(lua, "local function udf(bounds, path, band, low, high, colours)\n"
                      "  local values = moon.read_raster(path, bounds, { bands = { band } })\n"
                      "  return values:colour(colours, low, high)\nend\n\n"
                      "return moon.udf(udf, { bounds = ");
        put_bounds(lua, info->degrees);
        mg_buf_printf(lua, ", path = \"%s\", "
                      "band = moon.type.integer(1, { min = 1, max = %d }), low = %.6g, high = %.6g, "
                      "colours = \"viridis\" })\n", fd_name, info->bands, low, high);
    }
    *meta = meta_of(name, "raster", fd_name, info->degrees, native_zoom(info));
    return MG_OK;
}

/* Names from a file stand in a comment of the code: they must not end it. */
static void one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ')
            *text = ' ';
}

/* In the child: writes {"lua": …, "meta": …} or {"error": …} to the pipe. */
static void look(const char *path, const char *fd_name, const char *name, int pipe_fd)
{
    struct mg_raster_info raster;
    struct mg_vector_info vector;
    struct mg_errmsg err = {0}, vector_err = {0};
    struct mg_buf lua, text;
    json_t *meta = NULL;
    unsigned layers;
    mg_buf_init(&lua, MAX_TEXT);
    mg_buf_init(&text, MAX_TEXT);
    mg_gdal_setup();
    const char *reads[] = {path, "/usr/share/proj", "/usr/share/gdal", "/usr/lib", "/lib", "/etc/ld.so.cache", NULL};
    const char *writes[] = {NULL};
    struct mg_sandbox box = {.read_paths = reads, .write_paths = writes, .keep_fds = &pipe_fd, .n_keep_fds = 1,
                             .data_bytes = 1ull << 30, .file_bytes = 1 << 20};
    enum mg_err status = mg_sandbox_enter(&box, &layers, &err);
    if (!status) {
        status = mg_raster_info(path, &raster, &err);
        if (!status)
            status = raster_udf(path, fd_name, name, &raster, &lua, &meta, &err);
        else if ((status = mg_vector_info(path, "", &vector, &vector_err)) == MG_OK) {
            one_line(vector.columns);
            mg_buf_printf(&lua, "-- Made by `moongate serve` of %s: columns %s.\n"
                          "local moon = require \"moon\"\n\nlocal function udf(bounds, path, layer)\n"
                          "  return moon.read_vector(path, bounds, { layer = layer })\nend\n\n"
                          "return moon.udf(udf, { bounds = ", fd_name, vector.columns);
            put_bounds(&lua, vector.degrees);
            mg_buf_printf(&lua, ", path = \"%s\", layer = ", fd_name);
            mg_buf_json_string(&lua, vector.layer, strlen(vector.layer)); /* Lua reads it as it is meant */
            mg_buf_str(&lua, " })\n");
            meta = meta_of(name, "vector_tile", fd_name, vector.degrees, VECTOR_ZOOM);
        }
    }
    const char *why = vector_err.text[0] ? vector_err.text : err.text;
    json_t *result = status ? json_pack("{s:s}", "error", why)
                            : json_pack("{s:s, s:o}", "lua", lua.data, "meta", meta);
    mg_json_write(result, &text);
    (void)!write(pipe_fd, text.data, text.len);
    _exit(0);
}

/* Reads all of the child's answer, at most for LOOK_SECONDS. */
static void read_child(pid_t child, int fd, struct mg_buf *out)
{
    char piece[4096];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0)
        mg_buf_put(out, piece, (size_t)n);
    close(fd);
    waitpid(child, NULL, 0);
}

static enum mg_err make_file_udf(const char *path, const char *fd_name, const char *name, struct mg_front_file *out,
                                 struct mg_errmsg *err)
{
    int ends[2];
    if (pipe(ends) < 0)
        return mg_err_set(err, MG_E_IO, "pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        return mg_err_set(err, MG_E_IO, "fork: %s", strerror(errno));
    if (child == 0) {
        close(ends[0]);
        alarm(LOOK_SECONDS); /* a file that takes longer to open ends its child */
        look(path, fd_name, name, ends[1]);
    }
    close(ends[1]);
    struct mg_buf text, meta;
    mg_buf_init(&text, MAX_TEXT);
    mg_buf_init(&meta, MAX_TEXT);
    read_child(child, ends[0], &text);
    json_t *result = NULL;
    enum mg_err status = mg_json_parse((struct mg_span){text.data, text.len}, MAX_TEXT, &result, NULL);
    const char *message = status ? "it could not be opened (the reader ended)" : mg_json_str(result, "error", NULL);
    if (message) {
        status = strstr(message, path) ? mg_err_set(err, MG_E_BAD_FILE, "%s", message)
                                       : mg_err_set(err, MG_E_BAD_FILE, "%s: %s", path, message);
    } else {
        mg_json_write(json_object_get(result, "meta"), &meta);
        out->name = strdup(name);
        out->lua = strdup(mg_json_str(result, "lua", ""));
        out->meta = mg_buf_take(&meta, NULL);
    }
    json_decref(result);
    mg_buf_fini(&text);
    mg_buf_fini(&meta);
    return status;
}

static enum mg_err add_file(const char *path, struct mg_serve_inputs *inputs, size_t *n_files, size_t *n_mounts,
                            struct mg_errmsg *err)
{
    char name[100], fd_name[512], mount[1200], dir[1024];
    name_of(path, name, sizeof name);
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash > path ? (int)(slash - path) : 1, path);
    snprintf(mount, sizeof mount, "%s=%s", name, dir);
    snprintf(fd_name, sizeof fd_name, "fd://%s/%s", name, slash + 1);
    if (strpbrk(fd_name, "\"\\\n"))
        return mg_err_set(err, MG_E_INVALID, "%s: quotes, backslashes and line ends in a file's name cannot be served",
                          path);
    enum mg_err status = make_file_udf(path, fd_name, name, &inputs->files[*n_files], err);
    if (status)
        return status;
    inputs->mounts[(*n_mounts)++] = strdup(mount);
    (*n_files)++;
    return MG_OK;
}

enum mg_err mg_serve_inputs_read(const struct mg_config *config, struct mg_serve_inputs *out, struct mg_errmsg *err)
{
    memset(out, 0, sizeof *out);
    size_t n_dirs = 0, n_files = 0, n_mounts = 0;
    for (size_t i = 0; config->mount[i] && n_mounts < MG_MAX_INPUTS; i++) {
        const char *equals = strchr(config->mount[i], '=');
        struct stat st;
        if (!equals || equals == config->mount[i] || stat(equals + 1, &st) < 0 || !S_ISDIR(st.st_mode))
            return mg_err_set(err, MG_E_INVALID, "--mount %s: NAME=DIR is expected, with a folder that is there",
                              config->mount[i]);
        out->mounts[n_mounts++] = strdup(config->mount[i]);
    }
    for (int i = 0; i < config->n_args; i++) {
        struct stat st;
        char *real = realpath(config->args[i], NULL);
        if (n_dirs + n_files >= MG_MAX_INPUTS) {
            free(real);
            return mg_err_set(err, MG_E_INVALID, "at most %d folders and files can be served at once", MG_MAX_INPUTS);
        }
        if (!real || stat(real, &st) < 0) {
            free(real);
            return mg_err_set(err, MG_E_NOT_FOUND, "%s: %s", config->args[i], strerror(errno));
        }
        if (S_ISDIR(st.st_mode)) {
            out->dirs[n_dirs++] = real;
            continue;
        }
        enum mg_err status = add_file(real, out, &n_files, &n_mounts, err);
        free(real);
        if (status)
            return status;
    }
    return MG_OK;
}

void mg_serve_inputs_free(struct mg_serve_inputs *inputs)
{
    for (size_t i = 0; inputs->dirs[i]; i++)
        free((void *)inputs->dirs[i]);
    for (size_t i = 0; inputs->mounts[i]; i++)
        free((void *)inputs->mounts[i]);
    for (struct mg_front_file *file = inputs->files; file->name; file++) {
        free((void *)file->name);
        free((void *)file->lua);
        free((void *)file->meta);
    }
}
