/* Log: a line is formatted into one buffer and written with one write(2), so that lines of several
 * processes do not mix. Formatting happens on the caller's stack up to 2 kB; longer texts are cut
 * at 64 kB. */
#include "moongate/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 64 * 1024, SHOWN = 8, TOKEN_MIN = 16 };

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static struct {
    const char *_Atomic process;
    _Atomic int level;
    _Atomic bool json;
} state = {"moongate", MG_LOG_INFO, true};

void mg_log_process(const char *process) { atomic_store(&state.process, process); }

void mg_log_init(const char *process, enum mg_log_level level, bool json)
{
    atomic_store(&state.process, process);
    atomic_store(&state.level, (int)level);
    atomic_store(&state.json, json);
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* Bytes of the secret that begins at text[i], or 0. */
static size_t secret_at(struct mg_span text, size_t i)
{
    size_t left = text.len - i, n;
    const char *at = text.data + i;
    if (left > 4 && (memcmp(at, "msh_", 4) == 0 || memcmp(at, "fsh_", 4) == 0)) {
        for (n = 4; n < left && is_word(at[n]); n++)
            ;
        return n >= TOKEN_MIN ? n : 0;
    }
    if (left < 64 || !is_hex(*at) || (i > 0 && is_word(at[-1])))
        return 0;
    for (n = 0; n < left && is_hex(at[n]); n++)
        ;
    return n == 64 && (n == left || !is_word(at[n])) ? n : 0;
}

void mg_log_redact(struct mg_buf *out, struct mg_span text)
{
    size_t run = 0, i = 0;
    while (i < text.len) {
        size_t n = secret_at(text, i);
        if (!n) {
            i++;
            continue;
        }
        mg_buf_put(out, text.data + run, i + SHOWN - run);
        mg_buf_str(out, "…");
        run = i += n;
    }
    mg_buf_put(out, text.data + run, text.len - run);
}

static void put_time(struct mg_buf *out, const struct timespec *now, bool json)
{
    struct tm utc;
    gmtime_r(&now->tv_sec, &utc);
    if (json)
        mg_buf_printf(out, "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\"", utc.tm_year + 1900,
                      utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                      now->tv_nsec / 1000000);
    else
        mg_buf_printf(out, "%02d:%02d:%02d.%03ld", utc.tm_hour, utc.tm_min, utc.tm_sec,
                      now->tv_nsec / 1000000);
}

/* What the reader's terminal would take as a command must not reach it; a line stays a line. */
static void put_plain(struct mg_buf *out, struct mg_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '\n')
            mg_buf_str(out, "\n    ");
        else if ((c < 0x20 && c != '\t') || c == 0x7F)
            mg_buf_char(out, '?');
        else
            mg_buf_char(out, (char)c);
    }
}

static void write_all(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) /* nobody to tell */
            return;
        data += n;
        len -= (size_t)n;
    }
}

static void put_line(struct mg_buf *line, enum mg_log_level level, struct mg_span text)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const char *process = atomic_load_explicit(&state.process, memory_order_relaxed);
    bool json = atomic_load_explicit(&state.json, memory_order_relaxed);
    put_time(line, &now, json);
    if (json) {
        mg_buf_printf(line, ",\"level\":\"%s\",\"process\":\"%s\",\"pid\":%d,\"message\":",
                      level_names[level], process, (int)getpid());
        mg_buf_json_string(line, text.data, text.len);
        mg_buf_put(line, "}\n", 2);
    } else {
        mg_buf_printf(line, " %-5s %s: ", level_names[level], process);
        put_plain(line, text);
        mg_buf_char(line, '\n');
    }
}

void mg_log(enum mg_log_level level, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&state.level, memory_order_relaxed))
        return;
    int saved = errno;
    char small[2048], *text = small, *large = NULL;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len >= sizeof small) {
        size_t size = len < TEXT_MAX ? len + 1 : TEXT_MAX;
        large = malloc(size);
        if (large) {
            vsnprintf(large, size, format, again);
            text = large;
            len = size - 1;
        } else {
            len = sizeof small - 1;
        }
    }
    va_end(again);

    static const char no_memory[] = "moongate: no memory for a log line\n";
    struct mg_buf clean, line;
    mg_buf_init(&clean, 0);
    mg_buf_init(&line, 0);
    mg_log_redact(&clean, (struct mg_span){text, len});
    if (!clean.failed)
        put_line(&line, level, (struct mg_span){clean.data ? clean.data : "", clean.len});
    if (!clean.failed && !line.failed)
        write_all(line.data, line.len);
    else
        write_all(no_memory, sizeof no_memory - 1);
    mg_buf_fini(&clean);
    mg_buf_fini(&line);
    free(large);
    errno = saved;
}
