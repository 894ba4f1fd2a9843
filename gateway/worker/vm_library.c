/* The Lua library on disk: lua_dir/moon, a file for each module, compiled to bytecode once in the
 * zygote; and its hash, which is part of every key of the result cache, for another library may
 * answer otherwise. */
#include "vm.h"

#include "moongate/raster_read.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

struct vm_module vm_modules[VM_MAX_MODULES];
size_t vm_n_modules;

const struct vm_module *vm_module_find(struct mg_span name)
{
    for (size_t i = 0; i < vm_n_modules; i++)
        if (mg_span_is(name, vm_modules[i].name))
            return &vm_modules[i];
    return NULL;
}

/* compile(text, name): stripped bytecode as a string */
static int l_compile(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "dump");
    if (luaL_loadbufferx(L, text, len, lua_tostring(L, 2), "t") != 0)
        return lua_error(L);
    lua_pushboolean(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

static enum mg_err read_file(const char *path, struct mg_buf *out, struct mg_errmsg *err)
{
    char piece[16384];
    FILE *file = fopen(path, "re");
    if (!file)
        return mg_err_set(err, MG_E_NO_FILE, "%s cannot be read", path);
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        mg_buf_put(out, piece, n);
    fclose(file);
    return mg_buf_status(out, err);
}

static enum mg_err compile_module(lua_State *L, const char *dir, const char *file,
                                  struct mg_errmsg *err)
{
    char path[1024];
    struct mg_buf text;
    struct vm_module *module = &vm_modules[vm_n_modules];
    size_t stem = strlen(file) - 4, len;
    enum mg_err status = MG_OK;
    mg_buf_init(&text, 1 << 20);
    if (vm_n_modules == VM_MAX_MODULES || stem >= sizeof module->name)
        return mg_err_set(err, MG_E_INTERNAL, "%s: too many modules, or too long a name", file);
    snprintf(path, sizeof path, "%s/moon/%s", dir, file);
    status = read_file(path, &text, err);
    if (status != MG_OK)
        goto out;
    lua_settop(L, 0);
    lua_pushcfunction(L, l_compile);
    lua_pushlstring(L, text.data ? text.data : "", text.len);
    lua_pushfstring(L, "=moon/%s", file);
    if (lua_pcall(L, 2, 1, 0) != 0) {
        status =
            mg_err_set(err, MG_E_INTERNAL, "the Lua library is broken: %s", lua_tostring(L, -1));
        goto out;
    }
    const char *code = lua_tolstring(L, -1, &len);
    module->code = malloc(len);
    if (!module->code) {
        status = mg_err_set(err, MG_E_NOMEM, "out of memory");
        goto out;
    }
    memcpy(module->code, code, len);
    module->len = len;
    memcpy(module->name, file, stem);
    module->name[stem] = 0;
    vm_n_modules++;
out:
    mg_buf_fini(&text);
    return status;
}

static int is_module(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && entry->d_name[0] != '.' && strcmp(entry->d_name + len - 4, ".lua") == 0;
}

enum mg_err mg_vm_setup(const char *lua_dir, struct mg_errmsg *err)
{
    char path[1024];
    enum mg_err status = MG_OK;
    snprintf(path, sizeof path, "%s/moon", lua_dir);
    DIR *dir = opendir(path);
    if (!dir)
        return mg_err_set(err, MG_E_NO_FILE, "the Lua library is not in %s", path);
    lua_State *L = luaL_newstate();
    if (!L) {
        closedir(dir);
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    }
    luaL_openlibs(L);
    for (size_t i = 0; i < vm_n_modules; i++)
        free(vm_modules[i].code);
    vm_n_modules = 0;
    for (struct dirent *entry; status == MG_OK && (entry = readdir(dir));) {
        if (is_module(entry))
            status = compile_module(L, lua_dir, entry->d_name, err);
    }
    lua_close(L);
    closedir(dir);
    if (status == MG_OK && !vm_module_find(MG_SPAN("core")))
        status = mg_err_set(err, MG_E_NO_FILE, "%s/core.lua is not there", path);
    if (status == MG_OK)
        mg_gdal_setup();
    return status;
}

enum mg_err mg_vm_library_hash(const char *lua_dir, struct mg_hash *out, struct mg_errmsg *err)
{
    char path[1024];
    struct dirent **entries;
    struct mg_buf all, text;
    enum mg_err status = MG_OK;
    snprintf(path, sizeof path, "%s/moon", lua_dir);
    int n = scandir(path, &entries, is_module, alphasort);
    if (n < 0)
        return mg_err_set(err, MG_E_NO_FILE, "the Lua library is not in %s", path);
    mg_buf_init(&all, 0);
    mg_buf_init(&text, 1 << 20);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/moon/%s", lua_dir, entries[i]->d_name);
        text.len = 0;
        if (status == MG_OK)
            status = read_file(path, &text, err);
        mg_pack_str(&all, entries[i]->d_name);
        mg_pack_bytes(&all, text.data, text.len);
        free(entries[i]);
    }
    free(entries);
    if (status == MG_OK)
        status = mg_buf_status(&all, err);
    if (status == MG_OK)
        mg_sha256(all.data, all.len, out);
    mg_buf_fini(&all);
    mg_buf_fini(&text);
    return status;
}
