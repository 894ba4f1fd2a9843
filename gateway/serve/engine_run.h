/* What engine.c takes from run.c and child.c. */
#ifndef MOONGATE_SERVE_ENGINE_RUN_H
#define MOONGATE_SERVE_ENGINE_RUN_H

#include "moongate/engine.h"

void *mg_engine_call(void *engine, const struct mg_job *parent, uint64_t worker, uint64_t tag, struct mg_span request);
void mg_engine_let_go(void *engine, void *child);
void mg_engine_keep(void *engine, const struct mg_job *job, struct mg_answer *answer);

#endif
