/* The organisation's files: moon.files (lua/moon/files.lua). The worker itself reads and writes them: its
 * sandbox gives it the organisation's folders and no others. What is read, looked at or listed is a
 * dependency of the run, as it stood then; what is written is none. */
#include "vm.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { NAME_BYTES = 1024, READ_MAX = 128 << 20, READ_STEP = 1 << 20 };

/* The name at argument `index`, of a file or folder here; raises. */
static const char *check_name(lua_State *L, const char *what, int index)
{
    if (lua_type(L, index) != LUA_TSTRING)
        vm_bad(L, what, "a name such as \"fd://notes.txt\" or \"/mnt/cache/notes.txt\"", index);
    size_t len;
    const char *name = lua_tolstring(L, index, &len);
    if (strlen(name) != len)
        vm_raise(L, MG_E_ARGUMENT, "%s: the name has a zero byte", what);
    if (len >= NAME_BYTES)
        vm_raise(L, MG_E_ARGUMENT, "%s: the name is longer than %d bytes", what, NAME_BYTES - 1);
    if (strncmp(name, "http://", 7) == 0 || strncmp(name, "https://", 8) == 0)
        vm_raise(L, MG_E_ARGUMENT,
                 "%s: \"%.200s\" is remote: moon.http.get(url) gives its text, moon.download(url, path) "
                 "makes it a file",
                 what, name);
    return strcmp(name, "/mnt/cache") == 0 ? "/mnt/cache/" : name;
}

static const struct mg_files *files_of(lua_State *L, const char *what)
{
    const struct mg_files *files = vm_of(L)->host.files;
    if (!files)
        vm_raise(L, MG_E_UNAVAILABLE, "%s: there are no files here", what);
    return files;
}

static bool flag_option(lua_State *L, const char *what, int index, const char *key)
{
    bool set = false;
    if (!lua_istable(L, index))
        return false;
    lua_getfield(L, index, key);
    if (!lua_isnil(L, -1)) {
        if (!lua_isboolean(L, -1))
            vm_bad(L, what, "true or false", lua_gettop(L));
        set = lua_toboolean(L, -1);
    }
    lua_pop(L, 1);
    return set;
}

/* read(name) -> its bytes */
static int l_read(lua_State *L)
{
    struct mg_errmsg why = {""};
    struct mg_vm *vm = vm_of(L);
    const char *name = check_name(L, "files.read", 1);
    const struct mg_files *files = files_of(L, "files.read");
    struct mg_buf *bytes = vm_scratch(L, 4);
    struct stat st;
    int fd;
    vm_dep_file(vm, name);
    vm_check(L, "files.read", mg_files_open(files, name, &fd, &st, &why), &why);
    size_t most = vm->lua_limit / 2 < READ_MAX ? vm->lua_limit / 2 : READ_MAX;
    enum mg_err err = MG_OK;
    while (!err) {
        size_t left = st.st_size > (off_t)bytes->len ? (size_t)st.st_size - bytes->len : 0;
        size_t step = left ? left < READ_STEP ? left + 1 : READ_STEP : 4096;
        char *room = bytes->len <= most ? mg_buf_room(bytes, step) : NULL;
        ssize_t n = room ? read(fd, room, step) : -1;
        if (!room && bytes->len > most)
            err = mg_err_set(&why, MG_E_TOO_LARGE,
                             "%.300s is larger than %zu MB, the most that is read as one string", name,
                             most >> 20);
        else if (!room)
            err = mg_err_set(&why, MG_E_UDF_MEMORY, "no memory for %.300s", name);
        else if (n < 0)
            err = mg_err_set(&why, MG_E_IO, "%.300s cannot be read", name);
        else if (n == 0)
            break;
        else
            mg_buf_added(bytes, (size_t)n);
    }
    close(fd);
    vm_check(L, "files.read", err, &why);
    lua_pushlstring(L, bytes->data ? bytes->data : "", bytes->len);
    return 1;
}

/* write(name, text) */
static int l_write(lua_State *L)
{
    struct mg_errmsg why = {""};
    const char *name = check_name(L, "files.write", 1);
    if (lua_type(L, 2) != LUA_TSTRING)
        vm_bad(L, "files.write: the second argument", "a string", 2);
    struct mg_span text;
    text.data = lua_tolstring(L, 2, &text.len);
    vm_check(L, "files.write", mg_files_write(files_of(L, "files.write"), name, text, &why), &why);
    return 0;
}

/* What is known of a file, as a table. `path`: its whole name. */
static void push_entry(lua_State *L, struct mg_span name, struct mg_span path, bool folder, int64_t size,
                       double mtime)
{
    lua_createtable(L, 0, 5);
    lua_pushlstring(L, name.data, name.len);
    lua_setfield(L, -2, "name");
    lua_pushlstring(L, path.data, path.len);
    lua_setfield(L, -2, "path");
    lua_pushnumber(L, folder ? 0 : (double)size);
    lua_setfield(L, -2, "size");
    lua_pushnumber(L, mtime);
    lua_setfield(L, -2, "mtime");
    lua_pushboolean(L, folder);
    lua_setfield(L, -2, "is_folder");
}

/* list(folder [, { recursive }]) -> list of { name, path, size, mtime, is_folder } */
static int l_list(lua_State *L)
{
    static const char *const keys[] = {"recursive", NULL};
    struct mg_errmsg why = {""};
    const char *folder = lua_isnoneornil(L, 1) ? "fd://" : check_name(L, "files.list", 1);
    vm_check_options(L, "files.list", 2, keys);
    bool recursive = flag_option(L, "files.list: recursive", 2, "recursive");
    struct mg_buf *packed = vm_scratch(L, 4), *path = vm_scratch(L, 5);
    size_t n = 0;
    vm_dep_file(vm_of(L), folder);
    vm_check(L, "files.list", mg_files_list(files_of(L, "files.list"), folder, recursive, packed, &n, &why),
             &why);
    struct mg_unpack in;
    mg_unpack_init(&in, packed->data, packed->len);
    mg_buf_str(path, folder);
    if (path->len && path->data[path->len - 1] != '/')
        mg_buf_char(path, '/');
    size_t prefix = path->len;
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        struct mg_span name = mg_unpack_bytes(&in);
        bool is_folder = mg_unpack_int(&in) != 0;
        int64_t size = mg_unpack_int(&in), mtime_ms = mg_unpack_int(&in);
        path->len = prefix;
        mg_buf_put(path, name.data, name.len);
        vm_check(L, "files.list", mg_buf_status(path, &why), &why);
        if (recursive && is_folder) /* what lies in it depends on its own list of names */
            vm_dep_file(vm_of(L), path->data);
        push_entry(L, name, (struct mg_span){path->data, path->len}, is_folder, size,
                   (double)mtime_ms / 1000);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* stat(name) -> { name, path, size, mtime, is_folder } | nil */
static int l_stat(lua_State *L)
{
    struct mg_errmsg why = {""};
    const char *name = check_name(L, "files.stat", 1);
    struct stat st;
    vm_dep_file(vm_of(L), name);
    enum mg_err err = mg_files_stat(files_of(L, "files.stat"), name, &st, &why);
    if (err == MG_E_NO_FILE)
        return 0;
    vm_check(L, "files.stat", err, &why);
    struct mg_span path = mg_span(name);
    while (path.len && path.data[path.len - 1] == '/')
        path.len--;
    size_t at = path.len;
    while (at && path.data[at - 1] != '/')
        at--;
    push_entry(L, (struct mg_span){path.data + at, path.len - at}, mg_span(name), S_ISDIR(st.st_mode),
               st.st_size, (double)st.st_mtim.tv_sec + (double)(st.st_mtim.tv_nsec / 1000000) / 1000);
    return 1;
}

/* delete(name [, { recursive }]) -> whether it was there */
static int l_delete(lua_State *L)
{
    static const char *const keys[] = {"recursive", NULL};
    struct mg_errmsg why = {""};
    bool was_there = false;
    const char *name = check_name(L, "files.delete", 1);
    vm_check_options(L, "files.delete", 2, keys);
    bool recursive = flag_option(L, "files.delete: recursive", 2, "recursive");
    vm_check(L, "files.delete",
             mg_files_delete(files_of(L, "files.delete"), name, recursive, &was_there, &why), &why);
    lua_pushboolean(L, was_there);
    return 1;
}

void vm_open_files(lua_State *L)
{
    static const luaL_Reg functions[] = {{"read", l_read}, {"write", l_write},   {"list", l_list},
                                         {"stat", l_stat}, {"delete", l_delete}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
