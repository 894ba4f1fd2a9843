/* moon.sql and moon.file (lua/moon/sql.lua): a statement over tables, rasters and files.
 *
 * Values are sorted by what they are: tables and rasters become views, the rest parameters. A file is named
 * by the author and read by its path, which only here is known: what DuckDB says of the path is said of the
 * name. All memory of a call is userdata, so that an error leaks nothing. */
#include "vm.h"

#include "moongate/sql.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char FILE_TYPE[] = "moon.File";

enum { MAX_VALUES = 64, MAX_ITEMS = 100000, PATH_BYTES = 4096 };

struct named_file {
    const char *name;
    char path[PATH_BYTES];
};

struct statement {
    size_t n_params, n_tables, n_files;
    struct mg_sql_param params[MAX_VALUES];
    struct mg_sql_table tables[MAX_VALUES];
    struct mg_table *made[MAX_VALUES]; /* of rasters */
    struct named_file *files[MAX_VALUES];
};

static int statement_gc(lua_State *L)
{
    struct statement *s = lua_touserdata(L, 1);
    for (size_t i = 0; i < MAX_VALUES; i++)
        mg_table_unref(&s->made[i]);
    return 0;
}

static struct statement *new_statement(lua_State *L)
{
    struct statement *s = lua_newuserdata(L, sizeof *s);
    memset(s, 0, sizeof *s);
    if (luaL_newmetatable(L, "moon.Statement")) {
        lua_pushcfunction(L, statement_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return s;
}

/* ---- files ---- */

/* The name of a moon.file at `index`, kept alive by it; NULL when it is none. */
static const char *file_name(lua_State *L, int index)
{
    if (!lua_istable(L, index) || !lua_getmetatable(L, index))
        return NULL;
    luaL_getmetatable(L, FILE_TYPE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    if (!same)
        return NULL;
    lua_pushliteral(L, "name");
    lua_rawget(L, index);
    const char *name = lua_tostring(L, -1);
    lua_pop(L, 1);
    return name;
}

/* The path of a file of the organisation, as the kernel found it beneath its folders. `keep` (a table)
 * holds it. */
static struct mg_span path_of(lua_State *L, struct statement *s, const char *name, int keep)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    struct stat st;
    char link[64];
    int fd = -1;
    if (s->n_files == MAX_VALUES)
        vm_raise(L, MG_E_ARGUMENT, "sql: more than %d files", (int)MAX_VALUES);
    if (!vm->host.files)
        vm_raise(L, MG_E_UNAVAILABLE, "sql: no files can be read here");
    struct named_file *file = lua_newuserdata(L, sizeof *file);
    lua_rawseti(L, keep, (int)lua_objlen(L, keep) + 1);
    file->name = name;
    vm_dep_file(vm, name);
    vm_check(L, "sql", mg_files_open(vm->host.files, name, &fd, &st, &why), &why);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, file->path, sizeof file->path - 1);
    close(fd);
    if (len <= 0)
        vm_raise(L, MG_E_IO, "sql: %s has no path: %s", name, strerror(errno));
    file->path[len] = 0;
    s->files[s->n_files++] = file;
    return (struct mg_span){file->path, (size_t)len};
}

/* file(name) -> moon.File */
static int l_file(lua_State *L)
{
    char path[1024];
    struct mg_errmsg why = {""};
    if (lua_type(L, 1) != LUA_TSTRING)
        vm_bad(L, "file", "a path such as \"fd://places.parquet\"", 1);
    const char *name = lua_tostring(L, 1);
    vm_check(L, "file", mg_files_gdal_path(name, path, sizeof path, &why), &why);
    if (strncmp(name, "http://", 7) == 0 || strncmp(name, "https://", 8) == 0)
        vm_raise(L, MG_E_ARGUMENT,
                 "file: %.200s: SQL reads fd:// and /mnt/cache; remote files cannot be read by it in this "
                 "version",
                 name);
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "name");
    luaL_getmetatable(L, FILE_TYPE);
    lua_setmetatable(L, -2);
    return 1;
}

static int file_tostring(lua_State *L)
{
    lua_getfield(L, 1, "name");
    return 1;
}

/* ---- values ---- */

/* False: no scalar. */
static bool scalar_of(lua_State *L, struct statement *s, int index, int keep, struct mg_sql_value *out)
{
    const char *name;
    const struct vm_geometry *geometry;
    double n;
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        *out = (struct mg_sql_value){.kind = MG_SQL_BOOL, .b = lua_toboolean(L, index)};
        return true;
    case LUA_TNUMBER:
        n = lua_tonumber(L, index);
        if (n == floor(n) && fabs(n) < 9007199254740992.0)
            *out = (struct mg_sql_value){.kind = MG_SQL_INT, .i = (int64_t)n};
        else
            *out = (struct mg_sql_value){.kind = MG_SQL_DOUBLE, .d = n};
        return true;
    case LUA_TSTRING:
        *out = (struct mg_sql_value){.kind = MG_SQL_STRING};
        out->s.data = lua_tolstring(L, index, &out->s.len);
        return true;
    case LUA_TLIGHTUSERDATA: /* moon.null */
        *out = (struct mg_sql_value){.kind = MG_SQL_NULL};
        return true;
    default:
        break;
    }
    if ((geometry = vm_to_geometry(L, index))) {
        *out = (struct mg_sql_value){.kind = MG_SQL_WKB, .s = vm_wkb(geometry)};
        return true;
    }
    if ((name = file_name(L, index))) {
        *out = (struct mg_sql_value){.kind = MG_SQL_STRING, .s = path_of(L, s, name, keep)};
        return true;
    }
    return false;
}

static void bad_value(lua_State *L, const char *name, int index)
{
    char what[80];
    snprintf(what, sizeof what, "sql: $%.60s", name);
    vm_bad(L, what, "a number, text, boolean, geometry, moon.file, a list of those, a table or a raster",
           index);
}

static void list_of(lua_State *L, struct statement *s, const char *name, int index, int keep,
                    struct mg_sql_value *out)
{
    size_t n = lua_objlen(L, index), members = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        members++;
    if (members != n || n > MAX_ITEMS || lua_getmetatable(L, index))
        bad_value(L, name, index);
    struct mg_sql_value *items = lua_newuserdata(L, (n ? n : 1) * sizeof *items);
    lua_rawseti(L, keep, (int)lua_objlen(L, keep) + 1);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        if (!scalar_of(L, s, lua_gettop(L), keep, &items[i]))
            bad_value(L, name, lua_gettop(L));
        lua_pop(L, 1); /* the list keeps it alive */
    }
    *out = (struct mg_sql_value){.kind = MG_SQL_LIST, .items = items, .n_items = n};
}

/* NaN where there is no data. */
static double sample_at(const struct mg_raster *r, int band, int64_t i)
{
    const void *samples = mg_raster_samples(r, band);
    if (r->mask && !r->mask[(int64_t)band * r->width * r->height + i])
        return NAN;
    switch (r->sample) {
    case MG_U8:
        return ((const uint8_t *)samples)[i];
    case MG_I8:
        return ((const int8_t *)samples)[i];
    case MG_U16:
        return ((const uint16_t *)samples)[i];
    case MG_I16:
        return ((const int16_t *)samples)[i];
    case MG_U32:
        return ((const uint32_t *)samples)[i];
    case MG_I32:
        return ((const int32_t *)samples)[i];
    case MG_F32:
        return ((const float *)samples)[i];
    default:
        return ((const double *)samples)[i];
    }
}

/* A raster's pixels: x and y of their centres in its CRS, and a column for each band; no data is null. */
static struct mg_table *pixels_of(lua_State *L, struct statement *s, const struct mg_raster *r)
{
    struct mg_errmsg why = {""};
    struct mg_table_builder *builder = mg_table_builder_new(NULL);
    int columns[2 + MG_RASTER_MAX_BANDS];
    bool made = builder != NULL;
    static const double plain[6] = {0, 1, 0, 0, 0, 1}; /* of a raster that lies nowhere: columns and rows */
    const double *gt = r->has_georef ? r->geotransform : plain;
    for (int c = 0; made && c < r->bands + 2; c++) {
        char name[32];
        snprintf(name, sizeof name, "band%d", c - 1);
        bool named = c >= 2 && r->names && r->names[c - 2];
        columns[c] = mg_table_builder_column(builder,
                                             c == 0   ? "x"
                                             : c == 1 ? "y"
                                             : named  ? r->names[c - 2]
                                                      : name,
                                             MG_COL_DOUBLE);
        made = columns[c] >= 0;
    }
    for (int64_t i = 0; made && i < (int64_t)r->width * r->height; i++) {
        double column = (double)(i % r->width) + 0.5, row = (double)(i / r->width) + 0.5;
        struct mg_cell cell = {.type = MG_CELL_DOUBLE, .d = gt[0] + column * gt[1] + row * gt[2]};
        mg_table_builder_set(builder, columns[0], &cell);
        cell.d = gt[3] + column * gt[4] + row * gt[5];
        mg_table_builder_set(builder, columns[1], &cell);
        for (int b = 0; b < r->bands; b++) {
            cell.d = sample_at(r, b, i);
            if (!isnan(cell.d))
                mg_table_builder_set(builder, columns[2 + b], &cell);
        }
        mg_table_builder_row(builder);
    }
    struct mg_table *table = NULL;
    enum mg_err code =
        made ? mg_table_builder_finish(&builder, &table, &why)
             : mg_err_set(&why, MG_E_ARGUMENT, "a raster whose bands have one name, or are named x or y");
    mg_table_builder_free(&builder);
    vm_check(L, "sql", code, &why);
    s->made[s->n_tables] = table;
    return table;
}

/* One member of the values, at `index`, by its name. */
static void take_value(lua_State *L, struct statement *s, const char *name, int index, int keep)
{
    struct mg_table *table = vm_to_table(L, index);
    struct vm_raster *raster = table ? NULL : vm_to_raster(L, index);
    if (s->n_tables == MAX_VALUES || s->n_params == MAX_VALUES)
        vm_raise(L, MG_E_ARGUMENT, "sql: more than %d values", (int)MAX_VALUES);
    if (raster)
        table = pixels_of(L, s, raster->raster);
    if (table) {
        s->tables[s->n_tables++] = (struct mg_sql_table){name, table};
        return;
    }
    struct mg_sql_param *param = &s->params[s->n_params];
    param->name = name;
    if (!scalar_of(L, s, index, keep, &param->value)) {
        if (!lua_istable(L, index) || vm_is_bounds(L, index))
            bad_value(L, name, index);
        list_of(L, s, name, index, keep, &param->value);
    }
    s->n_params++;
}

static void take_values(lua_State *L, struct statement *s, int index, int keep)
{
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        int top = lua_gettop(L);
        const char *name;
        if (lua_type(L, top - 1) == LUA_TNUMBER) { /* the i-th `?`, or $i */
            lua_pushvalue(L, top - 1);
            name = lua_tostring(L, -1);
            lua_rawseti(L, keep, (int)lua_objlen(L, keep) + 1);
        } else if (lua_type(L, top - 1) == LUA_TSTRING) {
            name = lua_tostring(L, top - 1);
        } else {
            vm_bad(L, "sql: values", "names as keys", top - 1);
        }
        take_value(L, s, name, top, keep);
    }
}

/* ---- the call ---- */

/* Paths in DuckDB's sentence become the names that the author wrote. */
static void fail(lua_State *L, const struct statement *s, enum mg_err code, const struct mg_errmsg *why)
{
    struct mg_buf *text = vm_scratch(L, 1);
    const char *at = why->text[0] ? why->text : mg_err_text(code);
    while (*at) {
        size_t i = 0;
        while (i < s->n_files && strncmp(at, s->files[i]->path, strlen(s->files[i]->path)) != 0)
            i++;
        if (i < s->n_files) {
            mg_buf_str(text, s->files[i]->name);
            at += strlen(s->files[i]->path);
        } else {
            mg_buf_char(text, *at++);
        }
    }
    const char *said = text->data ? text->data : "";
    bool scheme = code == MG_E_FORBIDDEN || strstr(said, "fd:") || strstr(said, "httpfs");
    vm_raise(L, code, "sql: %s%s", said,
             scheme && s->n_files == 0
                 ? "; name a file with a parameter: read_csv($f), { f = moon.file(\"fd://…\") }"
                 : "");
}

/* sql(text [, values]) -> table */
static int l_sql(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    struct mg_table *table = NULL;
    lua_settop(L, 2);
    if (lua_type(L, 1) != LUA_TSTRING)
        vm_bad(L, "sql", "a statement", 1);
    if (!lua_isnil(L, 2) && (!lua_istable(L, 2) || vm_is_bounds(L, 2) || file_name(L, 2)))
        vm_bad(L, "sql: values", "a table of values by name", 2);
    struct statement *s = new_statement(L); /* 3 */
    lua_newtable(L);                        /* 4: what has to live as long */
    if (lua_istable(L, 2))
        take_values(L, s, 2, 4);
    size_t left = vm->extern_limit > vm->extern_bytes ? vm->extern_limit - vm->extern_bytes : 1;
    struct mg_sql_query query = {.params = s->params,
                                 .n_params = s->n_params,
                                 .tables = s->tables,
                                 .n_tables = s->n_tables,
                                 .max_bytes = left};
    query.text.data = lua_tolstring(L, 1, &query.text.len);
    enum mg_err code = mg_sql_run(&query, &table, &why);
    if (code != MG_OK)
        fail(L, s, code, &why);
    vm_push_table(L, table);
    return 1;
}

/* from_parquet(bytes) -> table: a Parquet file in memory (lua/moon/chunks.lua) */
static int l_from_parquet(lua_State *L)
{
    struct mg_errmsg why = {""};
    struct mg_table *table = NULL;
    struct mg_span bytes = {0};
    bytes.data = luaL_checklstring(L, 1, &bytes.len);
    vm_check(L, "table_to_tile: _sample", mg_sql_from_parquet(bytes, &table, &why), &why);
    vm_push_table(L, table);
    return 1;
}

void vm_open_chunks(lua_State *L)
{
    lua_pushcfunction(L, l_from_parquet);
    lua_setfield(L, -2, "from_parquet");
}

void vm_open_sql(lua_State *L)
{
    luaL_newmetatable(L, FILE_TYPE);
    lua_pushcfunction(L, file_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_sql);
    lua_setfield(L, -2, "sql");
    lua_pushcfunction(L, l_file);
    lua_setfield(L, -2, "file");
}
