/* Found from the program's own path, so that a prefix can be moved as a whole. */
#include "share.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum mg_err mg_share_find(struct mg_share *out, struct mg_errmsg *err)
{
    static const char *const places[] = {"share", "../share/moongate"};
    char exe[900];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (len <= 0)
        return mg_err_set(err, MG_E_NOT_FOUND, "/proc/self/exe cannot be read: is /proc mounted?");
    exe[len] = 0;
    *strrchr(exe, '/') = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char root[1000];
        snprintf(root, sizeof root, "%s/%s", exe, places[i]);
        snprintf(out->lua_dir, sizeof out->lua_dir, "%s/lua", root);
        snprintf(out->udfs_dir, sizeof out->udfs_dir, "%s/udfs", root);
        snprintf(out->web_dir, sizeof out->web_dir, "%s/web", root);
        snprintf(out->data_dir, sizeof out->data_dir, "%s/data", root);
        if (access(out->lua_dir, R_OK | X_OK) == 0) {
            out->lua = out->lua_dir;
            out->udfs = out->udfs_dir;
            out->web = out->web_dir;
            out->data = access(out->data_dir, R_OK | X_OK) == 0 ? out->data_dir : NULL;
            return MG_OK;
        }
    }
    return mg_err_set(err, MG_E_NOT_FOUND,
                      "the Lua library is neither in %s/share/lua nor in %s/../share/moongate/lua; build with ./moongate "
                      "or install with cmake --install", exe, exe);
}
