/* Where the program's own files lie: the Lua library, examples, their data, the web pages. */
#ifndef MOONGATE_CLI_SHARE_H
#define MOONGATE_CLI_SHARE_H

#include "moongate/err.h"

struct mg_share {
    char lua_dir[1100], udfs_dir[1100], web_dir[1100], data_dir[1100];
    const char *lua, *udfs, *web, *data; /* data is NULL when the example data is not there */
};

/* Beside the program in the build folder (share/), or ../share/moongate when installed at any prefix. MG_E_NOT_FOUND
 * says where it looked. */
MG_MUST_CHECK enum mg_err mg_share_find(struct mg_share *out, struct mg_errmsg *err);

#endif
