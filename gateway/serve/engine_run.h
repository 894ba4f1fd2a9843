/* What engine.c takes from run.c and child.c. */
#ifndef MOONGATE_SERVE_ENGINE_RUN_H
#define MOONGATE_SERVE_ENGINE_RUN_H

#include "moongate/engine.h"

void *mg_engine_call(void *engine, const struct mg_job *parent, uint64_t worker, uint64_t tag, struct mg_span request);
/* A new reference. MG_E_NOT_FOUND. */
MG_MUST_CHECK enum mg_err mg_engine_resolve(void *engine, const char *org, const struct mg_udf *from,
                                            struct mg_span name, struct mg_udf **out, struct mg_errmsg *err);
void mg_engine_let_go(void *engine, void *child);
void mg_engine_value_get(void *engine, const char *org, const struct mg_value_ask *ask, struct mg_value_reply *reply,
                         struct mg_buf *entry, int *fd, uint64_t *fd_bytes);
void mg_engine_value_put(void *engine, const char *org, const struct mg_udf *udf, const struct mg_hash *key,
                         struct mg_span deps, struct mg_span entry, int fd, uint64_t fd_bytes,
                         struct mg_value_reply *reply);
void mg_engine_keep(void *engine, const struct mg_job *job, struct mg_answer *answer);

#endif
