/* Metrics: one relaxed atomic for each row of metrics.def, and their text. */
#include "moongate/metrics.h"

#include <stdatomic.h>

static _Atomic int64_t values[MG_METRIC_COUNT];

static const struct {
    const char *kind, *name, *help;
} rows[] = {
#define MG_METRIC(symbol, kind, name, help) [MG_M_##symbol] = {kind, name, help},
#include "moongate/metrics.def"
#undef MG_METRIC
};

void mg_metric_add(enum mg_metric metric, int64_t n)
{
    atomic_fetch_add_explicit(&values[metric], n, memory_order_relaxed);
}

void mg_metric_set(enum mg_metric metric, int64_t value)
{
    atomic_store_explicit(&values[metric], value, memory_order_relaxed);
}

int64_t mg_metric_get(enum mg_metric metric)
{
    return atomic_load_explicit(&values[metric], memory_order_relaxed);
}

void mg_metrics_write(struct mg_buf *out)
{
    for (size_t i = 0; i < MG_METRIC_COUNT; i++) {
        mg_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", rows[i].name, rows[i].help, rows[i].name,
                      rows[i].kind);
        mg_buf_printf(out, "%s %lld\n", rows[i].name, (long long)mg_metric_get((enum mg_metric)i));
    }
}
