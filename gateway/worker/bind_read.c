/* Reading files: moon.read_raster, moon.read_vector. A bounds value with a tile asks for that
 * tile's own grid. */
#include "vm.h"

#include "moongate/raster_analysis.h"
#include "moongate/raster_ops.h"
#include "moongate/raster_read.h"
#include "moongate/vector_read.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_SIDE = 2048, MAX_MARGIN = 64, MAX_ROWS = 2000000, MAX_COLUMNS = 256 };

/* What lower layers say of a GDAL path is said of the name that the author wrote. */
static void check_read(lua_State *L, const char *what, const char *name, const char *path,
                       enum mg_err err, const struct mg_errmsg *why)
{
    if (err == MG_OK)
        return;
    struct mg_buf *text = vm_scratch(L, 1);
    const char *at = why->text[0] ? why->text : mg_err_text(err), *found;
    while ((found = strstr(at, path)) != NULL) {
        mg_buf_put(text, at, (size_t)(found - at));
        mg_buf_str(text, name);
        at = found + strlen(path);
    }
    mg_buf_str(text, at);
    const char *said = text->data ? text->data : "";
    bool named = strstr(said, name) != NULL;
    vm_raise(L, err, "%s: %s%s%s", what, named ? "" : name, named ? "" : ": ", said);
}

/* The string option `key` of the table at `index`; NULL when absent. The table keeps it alive. */
static const char *text_option(lua_State *L, int index, const char *what, const char *key)
{
    const char *text = NULL;
    if (!lua_istable(L, index))
        return NULL;
    lua_getfield(L, index, key);
    if (!lua_isnil(L, -1)) {
        if (lua_type(L, -1) != LUA_TSTRING || strlen(lua_tostring(L, -1)) != lua_objlen(L, -1)) {
            char place[80];
            snprintf(place, sizeof place, "%s: %s", what, key);
            vm_bad(L, place, "a string", -1);
        }
        text = lua_tostring(L, -1);
    }
    lua_pop(L, 1);
    return text;
}

static bool flag_option(lua_State *L, int index, const char *what, const char *key)
{
    if (!lua_istable(L, index))
        return false;
    lua_getfield(L, index, key);
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1)) {
        char place[80];
        snprintf(place, sizeof place, "%s: %s", what, key);
        vm_bad(L, place, "true or false", -1);
    }
    bool flag = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return flag;
}

static double number_option(lua_State *L, int index, const char *what, const char *key,
                            double fallback, double low, double high)
{
    double value = fallback;
    if (!lua_istable(L, index))
        return fallback;
    lua_getfield(L, index, key);
    if (!lua_isnil(L, -1)) {
        value = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(value >= low && value <= high)) {
            struct mg_buf *got = vm_scratch(L, 0);
            vm_describe(L, -1, got);
            vm_raise(L, MG_E_ARGUMENT, "%s: %s: expected a number from %g to %g, got %s", what, key,
                     low, high, got->data);
        }
    }
    lua_pop(L, 1);
    return value;
}

struct bands {
    int n, at[MG_RASTER_MAX_BANDS];
    const char *names[MG_RASTER_MAX_BANDS]; /* kept alive by the options' table */
    bool named;
};

static void add_band(lua_State *L, struct bands *bands, const char *name)
{
    double v = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || v != floor(v) || v < 1 || v > 65535)
        vm_bad(L, "read_raster: bands", "numbers of bands, from 1", -1);
    if (bands->n == MG_RASTER_MAX_BANDS)
        vm_raise(L, MG_E_ARGUMENT, "read_raster: bands: more than %d", MG_RASTER_MAX_BANDS);
    /* Ascending by number, so that the order of a Lua table does not show. */
    int i = bands->n++;
    for (;
         name && i > 0 &&
         (bands->at[i - 1] > v || (bands->at[i - 1] == v && strcmp(bands->names[i - 1], name) > 0));
         i--) {
        bands->at[i] = bands->at[i - 1];
        bands->names[i] = bands->names[i - 1];
    }
    bands->at[i] = (int)v;
    bands->names[i] = name;
    bands->named = bands->named || name;
}

/* bands = 3, { 3, 4 } or { red = 3, nir = 4 } */
static void check_bands(lua_State *L, int options, struct bands *bands)
{
    bands->n = 0;
    bands->named = false;
    if (!lua_istable(L, options))
        return;
    lua_getfield(L, options, "bands");
    int list = lua_gettop(L);
    if (lua_type(L, list) == LUA_TNUMBER) {
        add_band(L, bands, NULL);
    } else if (lua_istable(L, list) && lua_objlen(L, list) > 0) {
        for (size_t i = 1; i <= lua_objlen(L, list); i++) {
            lua_rawgeti(L, list, (int)i);
            add_band(L, bands, NULL);
            lua_pop(L, 1);
        }
    } else if (lua_istable(L, list)) {
        lua_getfield(L, LUA_REGISTRYINDEX, "moon.Raster.methods");
        for (lua_pushnil(L); lua_next(L, list); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING)
                vm_bad(L, "read_raster: bands", "names as keys", -2);
            lua_pushvalue(L, -2);
            lua_rawget(L, list + 1);
            if (!lua_isnil(L, -1))
                vm_raise(L, MG_E_ARGUMENT,
                         "read_raster: bands: `%s` is a method of rasters; name the band otherwise",
                         lua_tostring(L, -3));
            lua_pop(L, 1);
            add_band(L, bands, lua_tostring(L, -2));
        }
        lua_pop(L, 1);
    } else if (!lua_isnil(L, list)) {
        vm_bad(L, "read_raster: bands", "a number, a list of numbers, or numbers by name", list);
    }
    lua_settop(L, list - 1);
}

/* size = 512 (both sides at most), or { width, height } */
static void check_size(lua_State *L, int options, int *w, int *h)
{
    *w = *h = 0;
    if (!lua_istable(L, options))
        return;
    lua_getfield(L, options, "size");
    double side[2] = {0, 0};
    if (lua_type(L, -1) == LUA_TNUMBER) {
        side[0] = side[1] = lua_tonumber(L, -1);
    } else if (lua_istable(L, -1)) {
        for (int i = 0; i < 2; i++) {
            lua_rawgeti(L, -1, i + 1);
            side[i] = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
            lua_pop(L, 1);
        }
    } else if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return;
    }
    for (int i = 0; i < 2; i++)
        if (!(side[i] >= 1 && side[i] <= MG_RASTER_MAX_SIDE) || side[i] != floor(side[i]))
            vm_raise(L, MG_E_ARGUMENT,
                     "read_raster: size: expected { width, height } in pixels, each 1 to %d",
                     MG_RASTER_MAX_SIDE);
    *w = (int)side[0];
    *h = (int)side[1];
    lua_pop(L, 1);
}

static void add_margin(struct mg_grid *grid, int margin)
{
    double *gt = grid->geotransform;
    gt[0] -= margin * (gt[1] + gt[2]);
    gt[3] -= margin * (gt[4] + gt[5]);
    grid->width += 2 * margin;
    grid->height += 2 * margin;
}

/* A grid in a CRS of the author's choice. */
static void grid_in_crs(lua_State *L, const struct mg_bounds *degrees, const char *crs,
                        double resolution, int w, int h, struct mg_grid *grid)
{
    struct mg_errmsg why = {""};
    struct mg_transform *transform = NULL;
    struct mg_bounds b = *degrees;
    vm_check(L, "read_raster: crs", mg_transform_get("EPSG:4326", crs, &transform, &why), &why);
    if (transform)
        vm_check(L, "read_raster: crs", mg_transform_bounds(transform, b, &b, &why), &why);
    if (resolution > 0) {
        double columns = ceil((b.xmax - b.xmin) / resolution - 1e-9),
               rows = ceil((b.ymax - b.ymin) / resolution - 1e-9);
        if (!(columns <= MG_RASTER_MAX_SIDE && rows <= MG_RASTER_MAX_SIDE))
            vm_raise(
                L, MG_E_ARGUMENT,
                "read_raster: resolution: %g makes %.0f x %.0f pixels; each side is at most %d",
                resolution, columns, rows, MG_RASTER_MAX_SIDE);
        w = columns < 1 ? 1 : (int)columns;
        h = rows < 1 ? 1 : (int)rows;
        b.xmax = b.xmin + w * resolution;
        b.ymin = b.ymax - h * resolution;
    }
    if (w < 1 || h < 1)
        vm_raise(L, MG_E_ARGUMENT,
                 "read_raster: with a crs, give a resolution (in its units) or a size");
    *grid = (struct mg_grid){.crs = crs, .width = w, .height = h};
    const double gt[6] = {b.xmin, (b.xmax - b.xmin) / w, 0, b.ymax, 0, -(b.ymax - b.ymin) / h};
    memcpy(grid->geotransform, gt, sizeof gt);
}

static void on_note(void *context, const char *sentence)
{
    vm_note(context, "read_raster: %s", sentence);
}

/* Gives the raster the names of the bands. */
static enum mg_err name_bands(struct mg_raster *raster, const struct bands *bands)
{
    if (!bands->named || raster->bands != bands->n || raster->names)
        return MG_OK;
    raster->names = calloc((size_t)raster->bands, sizeof *raster->names);
    if (!raster->names)
        return MG_E_NOMEM;
    for (int i = 0; i < raster->bands; i++)
        if (!(raster->names[i] = strdup(bands->names[i])))
            return MG_E_NOMEM;
    return MG_OK;
}

enum { MAX_FILES = 64 };

/* The files of a call: one name, or a list of them. Names and paths live in the run's memory. */
struct files {
    int n;
    bool list;
    const char *names[MAX_FILES]; /* kept alive by the argument */
    char paths[MAX_FILES][1024];
};

static struct files *check_files(lua_State *L)
{
    struct files *files = lua_newuserdata(L, sizeof *files);
    files->n = 1;
    files->list = lua_istable(L, 1);
    if (!files->list) {
        files->names[0] =
            vm_gdal_path(L, "read_raster: path", 1, files->paths[0], sizeof files->paths[0]);
        vm_dep_file(vm_of(L), files->names[0]);
        return files;
    }
    size_t n = lua_objlen(L, 1);
    if (n < 1 || n > MAX_FILES)
        vm_raise(L, MG_E_ARGUMENT,
                 "read_raster: path: a list of 1 to %d names is expected, got %zu", MAX_FILES, n);
    files->n = (int)n;
    for (int i = 0; i < files->n; i++) {
        lua_rawgeti(L, 1, i + 1);
        files->names[i] = vm_gdal_path(L, "read_raster: an item of the list", lua_gettop(L),
                                       files->paths[i], sizeof files->paths[i]);
        vm_dep_file(vm_of(L), files->names[i]);
        lua_pop(L, 1);
    }
    return files;
}

/* What becomes of a list of files. */
struct merge {
    bool stack;
    enum mg_reduction how;
};

static struct merge check_merge(lua_State *L, const struct files *files)
{
    struct merge merge = {.stack = flag_option(L, 3, "read_raster", "stack"), .how = MG_RED_FIRST};
    const char *how = text_option(L, 3, "read_raster", "mosaic");
    int found = how ? mg_reduction_find(mg_span(how)) : MG_RED_FIRST;
    if (!files->list && (merge.stack || how))
        vm_raise(L, MG_E_ARGUMENT, "read_raster: %s: needs a list of files",
                 how ? "mosaic" : "stack");
    if (merge.stack && how)
        vm_raise(L, MG_E_ARGUMENT, "read_raster: give mosaic or stack, not both");
    if (found < 0)
        vm_raise(L, MG_E_ARGUMENT,
                 "read_raster: mosaic: expected first, latest, min, max, mean, median, sum, std or "
                 "count, got \"%.40s\"",
                 how);
    merge.how = (enum mg_reduction)found;
    return merge;
}

/* All of the files, in degrees: the bounds of a call without any. */
static void bounds_of_all(lua_State *L, const struct files *files, struct mg_bounds *out)
{
    struct mg_raster_info *info = lua_newuserdata(L, sizeof *info);
    for (int i = 0; i < files->n; i++) {
        struct mg_errmsg why = {""};
        check_read(L, "read_raster", files->names[i], files->paths[i],
                   mg_raster_info(files->paths[i], info, &why), &why);
        struct mg_bounds b = info->degrees;
        if (i == 0)
            *out = b;
        out->xmin = fmin(out->xmin, b.xmin);
        out->ymin = fmin(out->ymin, b.ymin);
        out->xmax = fmax(out->xmax, b.xmax);
        out->ymax = fmax(out->ymax, b.ymax);
    }
    lua_pop(L, 1);
}

/* Reads all of them onto the grid and makes one of them. */
static struct mg_raster *read_files(lua_State *L, const struct files *files,
                                    const struct mg_grid *grid,
                                    const struct mg_read_options *options, struct merge merge)
{
    struct mg_raster *parts[MAX_FILES] = {NULL}, *out = NULL;
    struct mg_errmsg why = {""};
    enum mg_err err = MG_OK;
    int n = 0;
    for (; n < files->n && err == MG_OK; n++)
        err = mg_raster_read(files->paths[n], grid, options, &parts[n], &why);
    bool read = err == MG_OK;
    if (read && !files->list)
        return parts[0];
    if (read && merge.stack)
        err = mg_raster_stack(parts, (size_t)n, NULL, &out, &why);
    else if (read)
        err = mg_raster_combine((const struct mg_raster *const *)parts, (size_t)n, merge.how, &out,
                                &why);
    for (int i = 0; i < n; i++)
        mg_raster_unref(&parts[i]);
    if (!read)
        check_read(L, "read_raster", files->names[n - 1], files->paths[n - 1], err, &why);
    vm_check(L, "read_raster", err, &why);
    return out;
}

/* read_raster(path or list of them, bounds or nil, { bands, resampling, resolution, size, crs,
 * source_crs, margin, unscale, overview, mosaic, stack }) -> raster */
static int l_read_raster(lua_State *L)
{
    static const char what[] = "read_raster";
    static const char *const keys[] = {"bands",    "resampling", "resolution", "size",
                                       "crs",      "source_crs", "margin",     "unscale",
                                       "overview", "mosaic",     "stack",      NULL};
    struct mg_errmsg why = {""};
    char crs_text[4096];
    struct bands bands;
    struct vm_bounds bounds = {0};
    struct mg_grid grid;
    struct mg_read_options options = {.note = on_note, .note_context = vm_of(L)};
    int w, h;
    lua_settop(L, 3);
    struct files *files = check_files(L);
    const char *name = files->names[0], *path = files->paths[0];
    bool has_bounds = !lua_isnil(L, 2);
    if (has_bounds)
        vm_check_bounds(L, "read_raster: bounds", 2, &bounds);
    vm_check_options(L, what, 3, keys);
    struct merge merge = check_merge(L, files);
    check_bands(L, 3, &bands);
    check_size(L, 3, &w, &h);
    options.bands = bands.at;
    options.n_bands = bands.n;
    options.source_crs = text_option(L, 3, what, "source_crs");
    options.unscale = flag_option(L, 3, what, "unscale");
    options.overview = (int)number_option(L, 3, what, "overview", -1, 0, 31) + 1;
    const char *crs = text_option(L, 3, what, "crs"),
               *method = text_option(L, 3, what, "resampling");
    double resolution = number_option(L, 3, what, "resolution", 0, 1e-9, 1e9);
    int margin = (int)number_option(L, 3, what, "margin", 0, 0, MAX_MARGIN);
    int found = method ? mg_resampling_find(mg_span(method)) : MG_NEAREST;
    if (found < 0)
        vm_raise(
            L, MG_E_ARGUMENT,
            "%s: resampling: expected nearest, bilinear, cubic, average or mode, got \"%.40s\"",
            what, method);
    options.resampling = (enum mg_resampling)found;
    if (resolution > 0 && w > 0)
        vm_raise(L, MG_E_ARGUMENT, "%s: give a resolution or a size, not both", what);
    if (crs) {
        if (!has_bounds)
            vm_raise(L, MG_E_ARGUMENT, "%s: crs: needs bounds", what);
        grid_in_crs(L, &bounds.b, crs, resolution,
                    w                 ? w
                    : bounds.has_tile ? bounds.size
                                      : 0,
                    h                 ? h
                    : bounds.has_tile ? bounds.size
                                      : 0,
                    &grid);
        add_margin(&grid, margin);
    } else if (bounds.has_tile && resolution == 0 && w == 0) {
        mg_grid_of_tile(bounds.tile, bounds.size, margin, &grid);
    } else {
        if (files->n > 1 && !has_bounds) {
            bounds_of_all(L, files, &bounds.b);
            has_bounds = true;
        }
        /* A grid of many files is not cut to the first of them. */
        if (files->n > 1 && w == 0) {
            struct mg_grid first;
            check_read(L, what, name, path,
                       mg_grid_of_file(path, options.source_crs, NULL, resolution, 0, 0, 0, &first,
                                       crs_text, &why),
                       &why);
            if (first.crs)
                grid_in_crs(L, &bounds.b, crs_text,
                            resolution > 0 ? resolution
                                           : hypot(first.geotransform[1], first.geotransform[4]),
                            0, 0, &grid);
            else
                vm_raise(L, MG_E_NO_CRS,
                         "%s: %s has no CRS: say which with source_crs (\"EPSG:…\")", what, name);
        } else {
            check_read(L, what, name, path,
                       mg_grid_of_file(path, options.source_crs, has_bounds ? &bounds.b : NULL,
                                       resolution, w, h, MAX_SIDE, &grid, crs_text, &why),
                       &why);
        }
        add_margin(&grid, margin);
    }
    size_t n = (size_t)(bands.n > 0 ? bands.n : 1) * (size_t)files->n;
    size_t bytes = (size_t)grid.width * (size_t)grid.height * n;
    vm_charge(L, bytes);
    vm_release(vm_of(L), bytes);
    struct mg_raster *raster = read_files(L, files, &grid, &options, merge);
    enum mg_err named = name_bands(raster, &bands);
    vm_push_raster(L, raster, margin);
    vm_check(L, what, named, &why);
    return 1;
}

/* columns = { "name", … } */
static void check_columns(lua_State *L, int options, const char *columns[MAX_COLUMNS + 1],
                          bool *given)
{
    *given = false;
    if (!lua_istable(L, options))
        return;
    lua_getfield(L, options, "columns");
    if (!lua_isnil(L, -1)) {
        size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : MAX_COLUMNS + 1;
        if (n > MAX_COLUMNS)
            vm_bad(L, "read_vector: columns", "a list of names", -1);
        for (size_t i = 0; i < n; i++) {
            lua_rawgeti(L, -1, (int)i + 1);
            if (lua_type(L, -1) != LUA_TSTRING)
                vm_bad(L, "read_vector: columns", "a list of names", -1);
            columns[i] = lua_tostring(L, -1);
            lua_pop(L, 1);
        }
        columns[n] = NULL;
        *given = true;
    }
    lua_pop(L, 1);
}

/* A tile's bounds with the buffer that a vector tile has around it (64 of 4096 units on each side),
 * so that what lies just outside is drawn over the seam. */
static void widen_to_buffer(struct vm_bounds *bounds)
{
    struct mg_bounds m = mg_tile_bounds_merc(bounds->tile);
    double margin = (m.xmax - m.xmin) / 64;
    mg_merc_to_lnglat(fmax(m.xmin - margin, -MG_MERC_MAX), fmax(m.ymin - margin, -MG_MERC_MAX),
                      &bounds->b.xmin, &bounds->b.ymin);
    mg_merc_to_lnglat(fmin(m.xmax + margin, MG_MERC_MAX), fmin(m.ymax + margin, MG_MERC_MAX),
                      &bounds->b.xmax, &bounds->b.ymax);
}

/* read_vector(path, bounds or nil, { columns, where, limit, layer, source_crs }) -> table */
static int l_read_vector(lua_State *L)
{
    static const char what[] = "read_vector";
    static const char *const keys[] = {"columns", "where", "limit", "layer", "source_crs", NULL};
    struct mg_errmsg why = {""};
    char path[1024];
    const char *columns[MAX_COLUMNS + 1];
    bool has_columns;
    struct vm_bounds bounds;
    struct mg_vector_options options = {.max_rows = MAX_ROWS};
    lua_settop(L, 3);
    const char *name = vm_gdal_path(L, "read_vector: path", 1, path, sizeof path);
    if (!lua_isnil(L, 2)) {
        vm_check_bounds(L, "read_vector: bounds", 2, &bounds);
        if (bounds.has_tile)
            widen_to_buffer(&bounds);
        options.degrees = &bounds.b;
    }
    vm_check_options(L, what, 3, keys);
    check_columns(L, 3, columns, &has_columns);
    options.columns = has_columns ? columns : NULL;
    options.where = text_option(L, 3, what, "where");
    options.layer = text_option(L, 3, what, "layer");
    options.source_crs = text_option(L, 3, what, "source_crs");
    options.limit = (int64_t)number_option(L, 3, what, "limit", 0, 0, 1e9);
    vm_dep_file(vm_of(L), name);
    struct mg_table *table = NULL;
    check_read(L, what, name, path, mg_vector_read(path, &options, &table, &why), &why);
    vm_push_table(L, table);
    return 1;
}

/* raster_info(path) -> { width, height, bands, type, crs, bounds, driver, nodata, overviews } */
static int l_raster_info(lua_State *L)
{
    struct mg_errmsg why = {""};
    struct mg_raster_info *info = lua_newuserdata(L, sizeof *info);
    char path[1024];
    const char *name = vm_gdal_path(L, "raster_info: path", 1, path, sizeof path);
    vm_dep_file(vm_of(L), name);
    check_read(L, "raster_info", name, path, mg_raster_info(path, info, &why), &why);
    lua_newtable(L);
    lua_pushinteger(L, info->width);
    lua_setfield(L, -2, "width");
    lua_pushinteger(L, info->height);
    lua_setfield(L, -2, "height");
    lua_pushinteger(L, info->bands);
    lua_setfield(L, -2, "bands");
    lua_pushstring(L, mg_sample_name(info->sample));
    lua_setfield(L, -2, "type");
    lua_pushstring(L, info->crs);
    lua_setfield(L, -2, "crs");
    lua_pushstring(L, info->driver);
    lua_setfield(L, -2, "driver");
    lua_pushboolean(L, info->has_overviews);
    lua_setfield(L, -2, "overviews");
    if (info->has_nodata) {
        lua_pushnumber(L, info->nodata);
        lua_setfield(L, -2, "nodata");
    }
    struct vm_bounds b = {.b = info->degrees};
    vm_push_bounds(L, &b);
    lua_setfield(L, -2, "bounds");
    return 1;
}

void vm_open_read(lua_State *L)
{
    static const luaL_Reg functions[] = {{"read_raster", l_read_raster},
                                         {"read_vector", l_read_vector},
                                         {"raster_info", l_raster_info},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
