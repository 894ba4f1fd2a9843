/* Metrics: counters and gauges of one process, in one table (metrics.def), printed in the Prometheus text
 * format. Any thread; relaxed atomics, no lock. */
#ifndef MOONGATE_METRICS_H
#define MOONGATE_METRICS_H

#include "moongate/buf.h"

enum mg_metric {
#define MG_METRIC(symbol, kind, name, help) MG_M_##symbol,
#include "moongate/metrics.def"
#undef MG_METRIC
    MG_METRIC_COUNT
};

void mg_metric_add(enum mg_metric metric, int64_t n);
void mg_metric_set(enum mg_metric metric, int64_t value);
int64_t mg_metric_get(enum mg_metric metric);
/* Prometheus text exposition format 0.0.4. */
void mg_metrics_write(struct mg_buf *out);

#endif
