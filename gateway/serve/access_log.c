/* The access log: one JSON object a line, tokens redacted, gathered and written in pieces of 32 kB or once a second. */
#include "app.h"

#include "moongate/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FLUSH_BYTES = 32 << 10, KEEP_BYTES = 1 << 20 };

static struct {
    pthread_mutex_t lock;
    int fd; /* -1: off */
    bool is_pipe; /* or a terminal or socket: what may make a writer wait */
    const char *path; /* of a file; NULL: standard error */
    size_t next_flush;
    struct mg_buf lines;
} access_log = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1, .next_flush = FLUSH_BYTES};

void mg_access_log_open(const char *path, bool quiet)
{
    if (path && strcmp(path, "off") == 0)
        return;
    access_log.path = path;
    if (path)
        access_log.fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    else if (!quiet)
        access_log.fd = STDERR_FILENO;
    struct stat st;
    access_log.is_pipe = access_log.fd >= 0 && fstat(access_log.fd, &st) == 0 && !S_ISREG(st.st_mode);
    if (path && access_log.fd < 0)
        mg_log_error("cannot open the access log %s", path);
}

void mg_access_log_reopen(void)
{
    if (!access_log.path || access_log.fd < 0)
        return;
    mg_access_log_flush();
    int fd = open(access_log.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    /* Under the number of the old one: a thread that writes just now writes to one of the two. */
    if (fd < 0 || dup3(fd, access_log.fd, O_CLOEXEC) < 0)
        mg_log_error("cannot open the access log %s again, the old one stays: %s", access_log.path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* The loops write here: never waits. A reader of a pipe that sleeps costs lines, a full disk too; not the server. */
static void flush_locked(void)
{
    struct pollfd room = {.fd = access_log.fd, .events = POLLOUT};
    size_t done = 0;
    while (done < access_log.lines.len && poll(&room, 1, 0) > 0 && (room.revents & POLLOUT)) {
        size_t left = access_log.lines.len - done;
        if (access_log.is_pipe && left > PIPE_BUF)
            left = PIPE_BUF; /* as much as a pipe that polls writable has room for */
        ssize_t n = write(access_log.fd, access_log.lines.data + done, left);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (done == access_log.lines.len || access_log.lines.len - done > KEEP_BYTES) {
        access_log.lines.len = 0;
    } else {
        memmove(access_log.lines.data, access_log.lines.data + done, access_log.lines.len - done);
        access_log.lines.len -= done;
    }
}

void mg_access_log_flush(void)
{
    pthread_mutex_lock(&access_log.lock);
    flush_locked();
    access_log.next_flush = access_log.lines.len + FLUSH_BYTES;
    pthread_mutex_unlock(&access_log.lock);
}

static void field(struct mg_buf *line, const char *name, struct mg_span value)
{
    mg_buf_str(line, ",\"");
    mg_buf_str(line, name);
    mg_buf_str(line, "\":");
    mg_buf_json_string(line, value.data ? value.data : "", value.len);
}

/* "2026-01-31T12:00:00", made once a second in each thread. */
static const char *second_text(time_t second)
{
    static _Thread_local time_t known = -1;
    static _Thread_local char text[32];
    if (second != known) {
        struct tm utc;
        gmtime_r(&second, &utc);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
        known = second;
    }
    return text;
}

void mg_access_log(const struct mg_http_request *request, const char *id, const struct mg_udf *udf, int status,
                   uint64_t bytes)
{
    if (access_log.fd < 0)
        return;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct mg_buf path, line;
    mg_buf_init(&path, 0);
    mg_buf_init(&line, 0);
    mg_buf_room(&path, request->path.len);
    mg_buf_room(&line, 512 + request->path.len); /* one allocation for the usual line */
    mg_log_redact(&path, request->path);
    mg_buf_str(&line, "{\"time\":\"");
    mg_buf_str(&line, second_text(now.tv_sec));
    char ms[] = {'.', (char)('0' + now.tv_nsec / 100000000), (char)('0' + now.tv_nsec / 10000000 % 10),
                 (char)('0' + now.tv_nsec / 1000000 % 10), 'Z', 0};
    mg_buf_str(&line, ms);
    mg_buf_str(&line, "\",\"id\":\"");
    mg_buf_str(&line, id);
    mg_buf_str(&line, "\",\"status\":");
    mg_buf_int(&line, status);
    mg_buf_str(&line, ",\"bytes\":");
    mg_buf_int(&line, (int64_t)bytes);
    mg_buf_str(&line, ",\"us\":");
    mg_buf_int(&line, mg_now_us() - request->started_us);
    field(&line, "client", mg_span(request->client));
    field(&line, "method", request->method);
    field(&line, "path", (struct mg_span){path.data, path.len});
    if (udf)
        field(&line, "udf", mg_span(udf->name));
    mg_buf_str(&line, request->version == 0x200 ? ",\"http\":\"2\"}\n" : ",\"http\":\"1.1\"}\n");
    pthread_mutex_lock(&access_log.lock);
    mg_buf_put(&access_log.lines, line.data, line.len);
    if (access_log.lines.len >= access_log.next_flush) {
        flush_locked();
        access_log.next_flush = access_log.lines.len + FLUSH_BYTES;
    }
    pthread_mutex_unlock(&access_log.lock);
    mg_buf_fini(&path);
    mg_buf_fini(&line);
}
