/* An engine of this process, with a zygote and a fetcher of its own, for commands that run UDFs without a server. */
#ifndef MOONGATE_CLI_LOCAL_H
#define MOONGATE_CLI_LOCAL_H

#include "moongate/config.h"
#include "moongate/engine.h"

#include "uids.h"

#include <sys/types.h>

struct mg_local_helper {
    pid_t pid;
    int control;
};
struct mg_local {
    struct mg_engine *engine;
    struct mg_udf *udf; /* the one that was named */
    struct mg_hash library;
    char data_dir[1024];
    struct mg_local_helper zygote, fetcher;
    struct mg_uids uids;
};
/* `what`: an example, a UDF in the current folder, or a path. `config` stays until close. On failure too: close. */
MG_MUST_CHECK enum mg_err mg_local_open(const struct mg_config *config, const char *what, unsigned workers,
                                        struct mg_local *out, struct mg_errmsg *err);
void mg_local_close(struct mg_local *local);

#endif
