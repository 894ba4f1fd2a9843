/* The front: the process that speaks HTTP. It never runs Lua or GDAL. */
#ifndef MOONGATE_FRONT_H
#define MOONGATE_FRONT_H

#include "moongate/engine.h"
#include "moongate/http.h"

/* A UDF made of a file that was given to serve. */
struct mg_front_file {
    const char *name, *lua, *meta;
};

struct mg_front_config {
    struct mg_engine_config engine;
    struct mg_http_config http;        /* handler and context are the front's */
    const char *base_url, *web_dir;
    const char *listen_url, *tls_url;  /* where it listens; printed; tls_url may be "" */
    const char *udf_dir;               /* examples; NULL: none */
    const char *const *dirs;           /* NULL-terminated: folders that were given */
    const struct mg_front_file *files; /* ends with a row without a name */
    const char *access_log;            /* file, or NULL */
    bool quiet;                        /* no access log on a terminal */
    bool json;                         /* the list of UDFs as JSON lines */
    int *announced;                    /* shared memory: a restarted front does not print the list again */
    unsigned uid, gid;                 /* to become when started as root; 0: stay */
};

/* A child of the master (mg_child_main_f); context is struct mg_front_config. */
int mg_front_main(int control, void *config);

/* As root: what the front keeps in `data_dir` (state, cache, key) becomes `uid`'s, so that a server may go on with what
 * a command wrote. */
void mg_front_give(const char *data_dir, unsigned uid, unsigned gid);

/* One run without HTTP, for `moongate run`: waits for the answer. Returns new (mg_answer_unref). `detail` gets the
 * list of a 422. */
struct mg_answer *mg_run_wait(struct mg_engine *engine, const struct mg_ask *ask, struct mg_buf *detail);

#endif
