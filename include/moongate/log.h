/* Log: one JSON object a line on stderr, written with one write(2). Any thread, any process.
 *
 * Lines above the level are dropped before they are formatted. Tokens never reach the log: values are
 * passed through the redactor, which shortens every msh_… and fsh_… to its first eight characters. */
#ifndef MOONGATE_LOG_H
#define MOONGATE_LOG_H

#include "moongate/buf.h"

enum mg_log_level { MG_LOG_ERROR, MG_LOG_WARN, MG_LOG_INFO, MG_LOG_DEBUG };

/* `process` names this process in each line ("front"); static. json false: human-readable lines. */
void mg_log_init(const char *process, enum mg_log_level level, bool json);
/* Another name for this process, after a fork; level and form stay. */
void mg_log_process(const char *process);
void mg_log(enum mg_log_level level, const char *format, ...) MG_PRINTF(2, 3);
#define mg_log_error(...) mg_log(MG_LOG_ERROR, __VA_ARGS__)
#define mg_log_warn(...) mg_log(MG_LOG_WARN, __VA_ARGS__)
#define mg_log_info(...) mg_log(MG_LOG_INFO, __VA_ARGS__)
#define mg_log_debug(...) mg_log(MG_LOG_DEBUG, __VA_ARGS__)
/* Writes `text` to `out` with each token shortened. */
void mg_log_redact(struct mg_buf *out, struct mg_span text);

#endif
