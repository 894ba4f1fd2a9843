/* Tables: Arrow columns in one userdata, immutable. Rows are made into Lua values only where the
 * author asks.
 *
 * What the author chains (where, sort …) makes a list of row numbers in Lua (lua/moon/table.lua),
 * and `take` gathers them here. Other methods (bind_vector.c, lua/moon/vector.lua) are loaded when one
 * of them is first asked for. */
#include "vm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char TABLE_TYPE[] = "moon.Table";

struct table_ud {
    struct mg_table *table;
    size_t bytes;
};

/* C things that an error must not leak. */
struct holder {
    struct mg_table_builder *builder;
    struct mg_cursor **cursors;
    size_t n_cursors;
    int64_t *rows;
    struct mg_table *table;
};

static struct table_ud *to_ud(lua_State *L, int index)
{
    struct table_ud *ud = lua_touserdata(L, index);
    if (!ud || lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    luaL_getmetatable(L, TABLE_TYPE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same && ud->table ? ud : NULL;
}

struct mg_table *vm_to_table(lua_State *L, int index)
{
    struct table_ud *ud = to_ud(L, index);
    return ud ? ud->table : NULL;
}

static struct mg_table *check(lua_State *L, const char *what, int index)
{
    struct mg_table *table = vm_to_table(L, index);
    if (!table)
        vm_bad(L, what, "a moon table", index);
    return table;
}

static void release(struct holder *h)
{
    mg_table_builder_free(&h->builder);
    for (size_t i = 0; i < h->n_cursors; i++)
        mg_cursor_close(&h->cursors[i]);
    free(h->cursors);
    free(h->rows);
    mg_table_unref(&h->table);
    h->cursors = NULL;
    h->rows = NULL;
    h->n_cursors = 0;
}

static int holder_gc(lua_State *L)
{
    release(lua_touserdata(L, 1));
    return 0;
}

static struct holder *new_holder(lua_State *L, size_t n_cursors)
{
    struct holder *h = lua_newuserdata(L, sizeof *h);
    memset(h, 0, sizeof *h);
    if (luaL_newmetatable(L, "moon.Holder")) {
        lua_pushcfunction(L, holder_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    if (n_cursors && !(h->cursors = calloc(n_cursors, sizeof *h->cursors)))
        vm_raise(L, MG_E_NOMEM, "out of memory");
    h->n_cursors = n_cursors;
    return h;
}

static void push_time(lua_State *L, int64_t seconds, int64_t micros, bool date_only, bool zoned)
{
    struct tm tm;
    time_t t = (time_t)seconds;
    char text[64];
    if (!gmtime_r(&t, &tm)) {
        lua_pushnil(L);
        return;
    }
    int n =
        snprintf(text, sizeof text, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    if (!date_only) {
        n += snprintf(text + n, sizeof text - (size_t)n, "T%02d:%02d:%02d", tm.tm_hour, tm.tm_min,
                      tm.tm_sec);
        if (micros)
            n += snprintf(text + n, sizeof text - (size_t)n, ".%06d", (int)micros);
        if (zoned)
            snprintf(text + n, sizeof text - (size_t)n, "Z");
    }
    lua_pushstring(L, text);
}

static void push_cell(lua_State *L, const struct mg_table *table, int column,
                      const struct mg_cell *cell)
{
    switch (cell->type) {
    case MG_CELL_NULL:
        lua_pushnil(L);
        break;
    case MG_CELL_BOOL:
        lua_pushboolean(L, cell->b);
        break;
    case MG_CELL_INT:
        lua_pushnumber(L, (lua_Number)cell->i);
        break;
    case MG_CELL_UINT:
        lua_pushnumber(L, (lua_Number)cell->u);
        break;
    case MG_CELL_DOUBLE:
        if (isnan(cell->d))
            lua_pushnil(L);
        else
            lua_pushnumber(L, cell->d);
        break;
    case MG_CELL_STRING:
        lua_pushlstring(L, cell->s.data, cell->s.len);
        break;
    case MG_CELL_BINARY:
        if (column == table->geometry)
            vm_push_geometry(L, cell->s, table->crs ? table->crs : "EPSG:4326");
        else
            lua_pushlstring(L, cell->s.data, cell->s.len);
        break;
    case MG_CELL_DATE:
        push_time(L, cell->i * 86400, 0, true, false);
        break;
    case MG_CELL_TIMESTAMP: {
        int64_t micros = cell->i % 1000000, seconds = cell->i / 1000000;
        if (micros < 0) {
            micros += 1000000;
            seconds--;
        }
        push_time(L, seconds, micros, false, cell->zoned);
        break;
    }
    case MG_CELL_NESTED:
        vm_json_push(L, "rows", cell->s);
        break;
    }
}

static int column_argument(lua_State *L, const char *what, const struct mg_table *table, int index)
{
    struct mg_span name = {0};
    if (lua_type(L, index) == LUA_TSTRING)
        name.data = lua_tolstring(L, index, &name.len);
    int column = name.data ? mg_table_column(table, name) : -1;
    if (column < 0) {
        struct mg_buf *all = vm_scratch(L, 1), *got = vm_scratch(L, 0);
        const char *words[64] = {0};
        for (int64_t i = 0; i < table->schema.n_children && i < 63; i++)
            words[i] = table->schema.children[i]->name;
        if (name.data)
            mg_buf_printf(got, "%.60s%s", name.data, vm_suggest(L, name.data, 0, words));
        else
            vm_describe(L, index, got);
        for (int64_t i = 0; i < table->schema.n_children && all->len < 400; i++)
            mg_buf_printf(all, "%s%s", i ? ", " : "", table->schema.children[i]->name);
        vm_raise(L, MG_E_ARGUMENT, "%s: no column %s (there are %s)", what, got->data,
                 all->len ? all->data : "none");
    }
    return column;
}

/* column_number(t, name, what) -> its number from 1; raises */
static int l_column_number(lua_State *L)
{
    struct mg_table *table = check(L, "columns", 1);
    const char *what = lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : "columns";
    lua_pushinteger(L, column_argument(L, what, table, 2) + 1);
    return 1;
}

/* has_column(t, name) -> boolean */
static int l_has_column(lua_State *L)
{
    struct mg_table *table = check(L, "columns", 1);
    struct mg_span name;
    name.data = luaL_checklstring(L, 2, &name.len);
    lua_pushboolean(L, mg_table_column(table, name) >= 0);
    return 1;
}

/* t:count() -> number of rows */
static int l_count(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)check(L, "count", 1)->rows);
    return 1;
}

/* t:rows([limit]) -> list of Lua tables, one for each row */
static int l_rows(lua_State *L)
{
    struct mg_table *table = check(L, "rows", 1);
    struct mg_errmsg why = {""};
    double limit = luaL_optnumber(L, 2, 1e15);
    if (!(limit >= 0 && limit <= 1e15))
        vm_bad(L, "rows: limit", "a number of rows", 2);
    int n_columns = (int)table->schema.n_children;
    lua_settop(L, 1);
    if (n_columns > 4096)
        vm_raise(L, MG_E_ARGUMENT, "rows: more than 4096 columns");
    lua_createtable(L, (int)(table->rows < limit ? table->rows : (int64_t)limit), 0); /* 2 */
    luaL_checkstack(L, n_columns + 16, "too many columns");
    for (int c = 0; c < n_columns; c++) /* names from 3 */
        lua_pushstring(L, table->schema.children[c]->name);
    int64_t at = 0;
    for (size_t batch = 0; batch < table->n_batches && (double)at < limit; batch++) {
        struct holder *h = new_holder(L, (size_t)n_columns);
        for (int c = 0; c < n_columns; c++)
            vm_check(L, "rows", mg_cursor_open(table, batch, c, &h->cursors[c], &why), &why);
        for (int64_t row = 0; row < table->batches[batch].length && (double)at < limit; row++) {
            lua_createtable(L, 0, n_columns);
            for (int c = 0; c < n_columns; c++) {
                struct mg_cell cell;
                mg_cursor_get(h->cursors[c], row, &cell);
                if (cell.type == MG_CELL_NULL)
                    continue;
                lua_pushvalue(L, 3 + c);
                push_cell(L, table, c, &cell);
                lua_rawset(L, -3);
            }
            lua_rawseti(L, 2, (int)++at);
        }
        release(h);
        lua_pop(L, 1);
    }
    lua_settop(L, 2);
    return 1;
}

/* column(t, name [, what]) -> list of its values (nil where null), number of rows; `what` names the
 * caller */
static int l_column(lua_State *L)
{
    struct mg_table *table = check(L, "columns", 1);
    struct mg_errmsg why = {""};
    int column = column_argument(L, lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : "columns",
                                 table, 2);
    int64_t at = 0;
    lua_settop(L, 2);
    lua_createtable(L, (int)table->rows, 0);
    for (size_t batch = 0; batch < table->n_batches; batch++) {
        struct holder *h = new_holder(L, 1);
        vm_check(L, "columns", mg_cursor_open(table, batch, column, &h->cursors[0], &why), &why);
        for (int64_t row = 0; row < table->batches[batch].length; row++) {
            struct mg_cell cell;
            mg_cursor_get(h->cursors[0], row, &cell);
            at++;
            if (cell.type == MG_CELL_NULL)
                continue;
            push_cell(L, table, column, &cell);
            lua_rawseti(L, 3, (int)at);
        }
        release(h);
        lua_pop(L, 1);
    }
    lua_pushnumber(L, (lua_Number)table->rows);
    return 2;
}

/* take(t, list of row numbers from 1 or nil, list of column names or nil) -> table */
static int l_take(lua_State *L)
{
    struct mg_table *table = check(L, "take", 1), *out = NULL;
    struct mg_errmsg why = {""};
    int columns[4096], n_columns = 0;
    lua_settop(L, 3);
    int64_t n = lua_istable(L, 2) ? (int64_t)lua_objlen(L, 2) : table->rows;
    struct holder *h = new_holder(L, 0);
    h->rows = malloc((size_t)(n ? n : 1) * sizeof *h->rows);
    if (!h->rows)
        vm_raise(L, MG_E_NOMEM, "out of memory");
    for (int64_t i = 0; i < n; i++) {
        h->rows[i] = i;
        if (lua_istable(L, 2)) {
            lua_rawgeti(L, 2, (int)i + 1);
            h->rows[i] = (int64_t)lua_tonumber(L, -1) - 1;
            lua_pop(L, 1);
            if (h->rows[i] < 0 || h->rows[i] >= table->rows)
                vm_raise(L, MG_E_ARGUMENT, "take: expected rows from 1 to %lld",
                         (long long)table->rows);
        }
    }
    if (lua_istable(L, 3)) {
        size_t count = lua_objlen(L, 3);
        if (count < 1 || count > 4096)
            vm_bad(L, "select", "names of columns", 3);
        for (size_t i = 0; i < count; i++) {
            lua_rawgeti(L, 3, (int)i + 1);
            columns[n_columns++] = column_argument(L, "select", table, lua_gettop(L));
            lua_pop(L, 1);
        }
    }
    vm_check(L, "take",
             mg_table_take(table, h->rows, n, n_columns ? columns : NULL, n_columns, &out, &why),
             &why);
    vm_push_table(L, out);
    return 1;
}

static const char *crs_of(const struct mg_table *table)
{
    return table->crs ? table->crs : "EPSG:4326";
}

/* A column to be built from rows, and what its values are. */
struct planned {
    const char *name;
    enum mg_column type;
    bool known, json;
};

static void plan_value(lua_State *L, struct planned *p, size_t row)
{
    enum mg_column type;
    bool json = false;
    double n;
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        type = MG_COL_BOOL;
        break;
    case LUA_TNUMBER:
        n = lua_tonumber(L, -1);
        type = n == floor(n) && fabs(n) < 9007199254740992.0 ? MG_COL_INT64 : MG_COL_DOUBLE;
        break;
    case LUA_TSTRING:
        type = MG_COL_STRING;
        break;
    case LUA_TLIGHTUSERDATA:
        return; /* moon.null */
    default:
        type = vm_to_geometry(L, -1) ? MG_COL_WKB : MG_COL_STRING;
        json = type == MG_COL_STRING;
        if (json && !lua_istable(L, -1)) {
            struct mg_buf *got = vm_scratch(L, 0);
            vm_describe(L, -1, got);
            vm_raise(L, MG_E_ARGUMENT, "table: column %s, row %zu: %s cannot be in a table",
                     p->name, row, got->data);
        }
    }
    if (!p->known) {
        p->type = type;
        p->json = json;
        p->known = true;
    } else if (p->type == MG_COL_INT64 && type == MG_COL_DOUBLE) {
        p->type = MG_COL_DOUBLE;
    } else if (!(p->type == MG_COL_DOUBLE && type == MG_COL_INT64) &&
               (p->type != type || p->json != json)) {
        struct mg_buf *got = vm_scratch(L, 0);
        vm_describe(L, -1, got);
        vm_raise(L, MG_E_ARGUMENT,
                 "table: column %s, row %zu: %s, but the rows before have another type", p->name,
                 row, got->data);
    }
}

static void set_cell(lua_State *L, struct mg_table_builder *builder, int column,
                     const struct planned *p)
{
    struct mg_cell cell = {.type = MG_CELL_NULL};
    struct mg_errmsg why = {""};
    if (lua_isnil(L, -1) || lua_islightuserdata(L, -1))
        return;
    switch (p->type) {
    case MG_COL_BOOL:
        cell.type = MG_CELL_BOOL;
        cell.b = lua_toboolean(L, -1);
        break;
    case MG_COL_INT64:
        cell.type = MG_CELL_INT;
        cell.i = (int64_t)lua_tonumber(L, -1);
        break;
    case MG_COL_DOUBLE:
        cell.type = MG_CELL_DOUBLE;
        cell.d = lua_tonumber(L, -1);
        break;
    case MG_COL_WKB:
        cell.type = MG_CELL_BINARY;
        cell.s = vm_wkb(vm_to_geometry(L, -1));
        break;
    default:
        cell.type = MG_CELL_STRING;
        if (p->json) {
            struct mg_buf *json = vm_scratch(L, 3);
            if (!vm_json_write(L, -1, json, &why))
                vm_raise(L, MG_E_ARGUMENT, "table: column %s: %s", p->name, why.text);
            cell.s = (struct mg_span){json->data, json->len};
        } else {
            cell.s.data = lua_tolstring(L, -1, &cell.s.len);
        }
    }
    mg_table_builder_set(builder, column, &cell);
}

/* The value of a cell, onto the stack: from a row's table, or a column's list. */
static void push_value(lua_State *L, bool by_columns, int row, const char *name)
{
    if (by_columns) {
        lua_getfield(L, 1, name);
        lua_rawgeti(L, -1, row);
    } else {
        lua_rawgeti(L, 1, row);
        lua_getfield(L, -1, name);
    }
    lua_remove(L, -2);
}

/* build(list of rows, list of column names, crs or nil [, number of rows]) -> table; with a number of rows
 * the first argument is a table of columns */
static int l_build(lua_State *L)
{
    struct mg_errmsg why = {""};
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 4);
    bool by_columns = lua_type(L, 4) == LUA_TNUMBER;
    size_t n = by_columns ? (size_t)lua_tonumber(L, 4) : lua_objlen(L, 1), n_columns = lua_objlen(L, 2);
    const char *crs = lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : NULL;
    if (n_columns > 4096)
        vm_raise(L, MG_E_ARGUMENT, "table: more than 4096 columns");
    struct planned *plan = lua_newuserdata(L, (n_columns ? n_columns : 1) * sizeof *plan);
    memset(plan, 0, (n_columns ? n_columns : 1) * sizeof *plan);
    for (size_t c = 0; c < n_columns; c++) {
        lua_rawgeti(L, 2, (int)c + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            vm_bad(L, "table: columns", "a list of names", -1);
        plan[c].name = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    for (size_t row = 1; row <= n; row++) {
        lua_rawgeti(L, 1, (int)row);
        if (!by_columns && !lua_istable(L, -1)) {
            struct mg_buf *got = vm_scratch(L, 0);
            vm_describe(L, -1, got);
            vm_raise(L, MG_E_ARGUMENT, "table: row %zu: expected a table, got %s", row, got->data);
        }
        lua_pop(L, 1);
        for (size_t c = 0; c < n_columns; c++) {
            push_value(L, by_columns, (int)row, plan[c].name);
            if (!lua_isnil(L, -1)) {
                struct vm_geometry *g = vm_to_geometry(L, -1);
                if (g && !crs)
                    crs = vm_crs(g);
                else if (g && strcmp(crs, vm_crs(g)) != 0)
                    vm_raise(L, MG_E_ARGUMENT,
                             "table: row %zu: the geometry is in %.40s, those before in %.40s; "
                             "reproject them",
                             row, vm_crs(g), crs);
                plan_value(L, &plan[c], row);
            }
            lua_pop(L, 1);
        }
    }
    struct holder *h = new_holder(L, 0);
    h->builder = mg_table_builder_new(crs ? crs : "EPSG:4326");
    if (!h->builder)
        vm_raise(L, MG_E_NOMEM, "out of memory");
    for (size_t c = 0; c < n_columns; c++)
        if (mg_table_builder_column(h->builder, plan[c].name,
                                    plan[c].known ? plan[c].type : MG_COL_STRING) != (int)c)
            vm_raise(L, MG_E_ARGUMENT, "table: column %s twice", plan[c].name);
    for (size_t row = 1; row <= n; row++) {
        for (size_t c = 0; c < n_columns; c++) {
            push_value(L, by_columns, (int)row, plan[c].name);
            set_cell(L, h->builder, (int)c, &plan[c]);
            lua_pop(L, 1);
        }
        mg_table_builder_row(h->builder);
    }
    struct mg_table *table = NULL;
    vm_check(L, "table", mg_table_builder_finish(&h->builder, &table, &why), &why);
    vm_push_table(L, table);
    return 1;
}

/* t.x = …, t.columns.x = … */
static int table_newindex(lua_State *L)
{
    vm_raise(
        L, MG_E_ARGUMENT,
        "a moon table never changes; its methods give a new one, and moon.table(rows) makes one of "
        "t:rows()");
}

static int columns_index(lua_State *L)
{
    lua_pushcfunction(L, l_column);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 2);
    lua_call(L, 2, 1);
    return 1;
}

/* The methods of lua/moon/table.lua (a table may come from elsewhere, as SQL's do), then those of
 * vector.lua; false when both are there. */
static bool load_others(lua_State *L)
{
    static const char *const modules[][2] = {{"select", "table"}, {"sjoin", "vector"}}; /* method, module */
    for (size_t i = 0; i < 2; i++) {
        lua_pushstring(L, modules[i][0]);
        lua_rawget(L, lua_upvalueindex(1));
        bool there = !lua_isnil(L, -1);
        lua_pop(L, 1);
        if (there)
            continue;
        vm_load_module(L, modules[i][1]);
        return true;
    }
    return false;
}

/* t.columns.name -> list of values; t.names; t.crs; else a method */
static int table_index(lua_State *L)
{
    struct mg_table *table = check(L, "table", 1);
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1))
        return 1;
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(key, "columns") == 0) {
        lua_newtable(L);
        lua_createtable(L, 0, 1);
        lua_pushvalue(L, 1);
        lua_pushcclosure(L, columns_index, 1);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, table_newindex);
        lua_setfield(L, -2, "__newindex");
        lua_setmetatable(L, -2);
    } else if (strcmp(key, "names") == 0) {
        lua_createtable(L, (int)table->schema.n_children, 0);
        for (int64_t c = 0; c < table->schema.n_children; c++) {
            lua_pushstring(L, table->schema.children[c]->name);
            lua_rawseti(L, -2, (int)c + 1);
        }
    } else if (strcmp(key, "crs") == 0) {
        if (table->geometry >= 0)
            lua_pushstring(L, crs_of(table));
        else
            lua_pushnil(L);
    } else if (strcmp(key, "geometry") == 0) {
        if (table->geometry >= 0)
            lua_pushstring(L, table->schema.children[table->geometry]->name);
        else
            lua_pushnil(L);
    } else if (load_others(L)) {
        lua_pushvalue(L, 2);
        lua_rawget(L, lua_upvalueindex(1));
        if (lua_isnil(L, -1))
            return table_index(L);
    } else {
        vm_raise(L, MG_E_ARGUMENT,
                 "a moon table has no `%.60s`%s (columns.%.60s gives a column, if there is one; "
                 "there are "
                 "columns, names, crs, and methods)",
                 key, vm_suggest(L, key, lua_upvalueindex(1), NULL), key);
    }
    return 1;
}

static int table_gc(lua_State *L)
{
    struct table_ud *ud = lua_touserdata(L, 1);
    if (ud && ud->table) {
        vm_release(vm_of(L), ud->bytes);
        mg_table_unref(&ud->table);
    }
    return 0;
}

static int table_tostring(lua_State *L)
{
    struct mg_table *table = check(L, "tostring", 1);
    lua_pushfstring(L, "moon table, %d rows, %d columns", (int)table->rows,
                    (int)table->schema.n_children);
    return 1;
}

static void push_metatable(lua_State *L)
{
    static const luaL_Reg methods[] = {{"count", l_count},
                                       {"rows", l_rows},
                                       {NULL, NULL}};
    if (!luaL_newmetatable(L, TABLE_TYPE))
        return;
    lua_createtable(L, 0, 16);
    luaL_register(L, NULL, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "moon.Table.methods");
    lua_pushcclosure(L, table_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, table_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, table_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, l_count);
    lua_setfield(L, -2, "__len");
    lua_pushcfunction(L, table_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "moon table");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

void vm_push_table(lua_State *L, struct mg_table *table)
{
    struct table_ud *ud = lua_newuserdata(L, sizeof *ud);
    *ud = (struct table_ud){.table = table};
    push_metatable(L);
    lua_setmetatable(L, -2);
    /* What the columns take is not told by Arrow; a row's cells are counted as 16 bytes each. */
    size_t bytes = (size_t)table->rows * (size_t)table->schema.n_children * 16;
    vm_charge(L, bytes);
    ud->bytes = bytes;
}

void vm_open_table(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"column", l_column}, {"take", l_take}, {"build", l_build},
        {"column_number", l_column_number}, {"has_column", l_has_column}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
    push_metatable(L);
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "moon.Table.methods");
    lua_setfield(L, -2, "methods");
    vm_open_read(L);
}
