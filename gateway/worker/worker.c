/* The loop of a worker: confine, warm, say READY; then one run after the other.
 *
 * Everything that the front sends is copied out of shared memory before it is looked at; what goes
 * back is written once, followed by its message. Bundles are kept mapped by code hash, the 32 used
 * last; front and worker keep the same list by the same rule (a run moves its hash to the front,
 * the last one falls out), so that the front knows when to attach the descriptor; should they ever
 * differ, the answer is MG_E_CONFLICT and the run comes again with it. The process ends when the
 * front does. */
#include "link.h"
#include "scratch.h"

#include "moongate/codec.h"
#include "moongate/log.h"
#include "moongate/memfd.h"
#include "moongate/msg.h"
#include "moongate/raster_read.h"
#include "moongate/sql.h"
#include "moongate/vector_read.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    SQL_FOLDERS = 40, /* more than struct mg_files has mounts */
    IDLE_MS = 1000,
    FILE_MAX = 1 << 30,
    GZIP_MIN = 256,
    GZIP_HERE = 8 << 20, /* larger bodies are compressed on the way into their descriptor */
    KEEP_BYTES = 1 << 20,
};

static const volatile bool *memory_flag;

/* A part of what RLIMIT_DATA leaves a worker; a process that is refused it has no memory. */
enum { PROBE_BYTES = 8 << 20 };

/* LuaJIT and C++ libraries do not always survive a refused allocation: then it was the memory, and not a fault of
 * their own. */
static void on_fault(int signal)
{
    void *probe = mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (*memory_flag || probe == MAP_FAILED)
        _exit(MG_WORKER_EXIT_MEMORY);
    /* The handler is gone (SA_RESETHAND): the signal ends the process as it should. */
    raise(signal);
}

/* On a stack of its own: an endless recursion leaves no room on the usual one. */
static void watch_faults(const struct mg_vm *vm)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP};
    static char stack[64 << 10];
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK | SA_RESETHAND | SA_NODEFER};
    memory_flag = mg_vm_memory_flag(vm);
    bool ok = sigaltstack(&alternative, NULL) == 0;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        ok = sigaction(faults[i], &action, NULL) == 0 && ok;
    if (!ok)
        mg_log_warn("worker: faults are not told apart: %s", strerror(errno));
}

static void host_give_up(void *context)
{
    (void)context;
    _exit(MG_WORKER_EXIT_MEMORY);
}

/* The link is the worker's reason to be: without it there is nobody to tell. */
_Noreturn void link_leave(int code)
{
    _exit(code);
}

void link_send(struct worker *w, const struct mg_msg *msg)
{
    if (mg_msg_send_wait(w->sock, msg, NULL, 0, -1) != MG_OK)
        link_leave(0);
}

/* Waits for one message; *fd is -1 when none came along. Runs that follow each other find the heap as large as the last
 * one left it (gdal_setup.c); who has nothing to do for a second gives back what is free of it. */
void link_receive(struct worker *w, struct mg_msg *msg, int *fd)
{
    for (int wait_ms = IDLE_MS;;) {
        int fds[MG_MSG_MAX_FDS];
        size_t n_fds = 0;
        enum mg_err code = mg_msg_recv(w->sock, msg, fds, &n_fds);
        if (code == MG_E_CANCELLED) {
            if (!mg_msg_wait(w->sock, wait_ms) && wait_ms > 0) {
                malloc_trim(0);
                wait_ms = -1;
            }
            continue;
        }
        if (code != MG_OK)
            link_leave(code == MG_E_INVALID ? EXIT_BROKEN : 0);
        *fd = n_fds ? fds[0] : -1;
        if (msg->type != MG_MSG_PING)
            return;
        msg->type = MG_MSG_PONG;
        link_send(w, msg);
    }
}

/* The answer to what the current run asked for. Anything else now is a front that has lost count.
 */
void link_answer(struct worker *w, enum mg_msg_type type, uint64_t tag,
                 struct mg_msg *msg, int *fd)
{
    link_receive(w, msg, fd);
    if (msg->type != type || msg->id != w->run || msg->tag != tag) {
        mg_log_error("worker: expected %s of run %llu, got %s", mg_msg_name(type),
                     (unsigned long long)w->run, mg_msg_name(msg->type));
        link_leave(EXIT_BROKEN);
    }
}

/* ---- what a run asks of the front
 * -------------------------------------------------------------------- */

/* Copies a memfd of `bytes` behind what `out` holds. */
static enum mg_err copy_memfd(int fd, uint64_t bytes, struct mg_buf *out, struct mg_errmsg *err)
{
    void *at;
    if (bytes == 0 || bytes > SIZE_MAX / 2 || !mg_memfd_check(fd, bytes, true))
        return mg_err_set(err, MG_E_INTERNAL, "the result of the other UDF came malformed");
    enum mg_err code = mg_memfd_map(fd, bytes, false, &at, err);
    if (code != MG_OK)
        return code;
    mg_buf_put(out, at, bytes);
    munmap(at, bytes);
    return mg_buf_status(out, err);
}

static enum mg_err host_fetch(void *context, const char *url, uint64_t offset, uint64_t bytes,
                              int *fd, struct mg_errmsg *err)
{
    struct worker *w = context;
    struct mg_msg msg;
    int got;
    mg_msg_init(&msg, MG_MSG_FETCH);
    if (strlen(url) >= sizeof msg.url)
        return mg_err_set(err, MG_E_ARGUMENT, "a URL may have %zu bytes at most",
                          sizeof msg.url - 1);
    msg.id = w->run;
    msg.tag = ++w->next_tag;
    msg.offset = offset;
    msg.bytes = bytes;
    memcpy(msg.url, url, strlen(url) + 1);
    link_send(w, &msg);
    link_answer(w, MG_MSG_FETCHED, w->next_tag, &msg, &got);
    if (msg.err != MG_OK) {
        if (got >= 0)
            close(got);
        return mg_err_set(err, (enum mg_err)msg.err, "%s",
                          msg.text[0] ? msg.text : mg_err_text((enum mg_err)msg.err));
    }
    if (!fd) {
        if (got >= 0)
            close(got);
        return MG_OK;
    }
    if (got < 0)
        return mg_err_set(err, MG_E_FETCH, "%s: the fetcher sent no file", url);
    *fd = got;
    return MG_OK;
}

static enum mg_err host_secret(void *context, const char *name, struct mg_buf *out, char version[65],
                               struct mg_errmsg *err)
{
    struct worker *w = context;
    struct mg_msg msg;
    int fd;
    mg_msg_init(&msg, MG_MSG_SECRET);
    msg.id = w->run;
    msg.tag = ++w->next_tag;
    snprintf(msg.text, sizeof msg.text, "%s", name);
    link_send(w, &msg);
    link_answer(w, MG_MSG_FETCHED, w->next_tag, &msg, &fd);
    enum mg_err code = (enum mg_err)msg.err;
    if (code == MG_OK || code == MG_E_NOT_FOUND)
        snprintf(version, 65, "%.64s", msg.text);
    else
        mg_err_set(err, code, "%s", msg.text[0] ? msg.text : mg_err_text(code));
    if (code == MG_OK)
        code = fd < 0 ? mg_err_set(err, MG_E_INTERNAL, "no secret came") : copy_memfd(fd, msg.bytes, out, err);
    if (fd >= 0)
        close(fd);
    return code;
}

static enum mg_err host_http(void *context, struct mg_span requests, struct mg_buf *answers,
                             struct mg_errmsg *err)
{
    struct worker *w = context;
    struct mg_msg msg;
    int fd;
    if (requests.len > MG_CHANNEL_RESULT)
        return mg_err_set(err, MG_E_ARGUMENT, "the requests may have %d bytes at most together",
                          (int)MG_CHANNEL_RESULT);
    memcpy(w->channel.result, requests.data, requests.len);
    mg_msg_init(&msg, MG_MSG_HTTP);
    msg.id = w->run;
    msg.tag = ++w->next_tag;
    msg.bytes = requests.len;
    link_send(w, &msg);
    link_answer(w, MG_MSG_FETCHED, w->next_tag, &msg, &fd);
    enum mg_err code = (enum mg_err)msg.err;
    if (code != MG_OK)
        mg_err_set(err, code, "%s", msg.text[0] ? msg.text : mg_err_text(code));
    else if (fd < 0)
        code = mg_err_set(err, MG_E_INTERNAL, "the fetcher gave no answers");
    else
        code = copy_memfd(fd, msg.bytes, answers, err);
    if (fd >= 0)
        close(fd);
    return code;
}

/* ---- bundles
 * ----------------------------------------------------------------------------------------- */

static void drop_bundle(struct bundle *bundle)
{
    if (bundle->at)
        munmap(bundle->at, bundle->len);
    *bundle = (struct bundle){0};
}

/* Makes `code` the newest of the list. False: it is not known and no descriptor came with the run.
 */
static bool find_bundle(struct worker *w, const struct mg_hash *code, int fd)
{
    struct bundle found = {.code = *code};
    size_t i = 0;
    while (i < w->n_bundles && !mg_hash_eq(&w->bundles[i].code, code))
        i++;
    bool known = i < w->n_bundles;
    if (fd >= 0) {
        struct stat st;
        if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > BUNDLE_MAX ||
            !mg_memfd_check(fd, (size_t)st.st_size, true) ||
            mg_memfd_map(fd, (size_t)st.st_size, false, &found.at, NULL) != MG_OK)
            return false;
        found.len = (size_t)st.st_size;
        mg_vm_forget(w->vm, code);
    } else if (!known) {
        return false;
    }
    if (!known) {
        if (w->n_bundles < BUNDLES)
            w->n_bundles++;
        i = w->n_bundles - 1;
        drop_bundle(&w->bundles[i]);
    } else if (fd >= 0) {
        drop_bundle(&w->bundles[i]);
    } else {
        found = w->bundles[i];
    }
    memmove(w->bundles + 1, w->bundles, i * sizeof *w->bundles);
    w->bundles[0] = found;
    return true;
}

/* ---- runs
 * -------------------------------------------------------------------------------------------- */

static void fail(struct mg_run_result *result, enum mg_err err, const char *sentence)
{
    struct mg_run_result failed = {.err = err,
                                   .status = mg_err_status(err),
                                   .message = mg_span(sentence),
                                   .max_age_s = -1,
                                   .retire = result->retire,
                                   .lua_us = result->lua_us,
                                   .encode_us = result->encode_us,
                                   .cpu_us = result->cpu_us};
    *result = failed;
}

static int64_t now_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Text that gains at least a tenth by it is compressed here, once, so that neither the front nor
 * the cache has to. */
static void compress_body(struct worker *w, const struct mg_run_request *request,
                          struct mg_run_result *result)
{
    if (!request->gzip || !result->compressible || result->err != MG_OK ||
        result->body.len < GZIP_MIN || result->body.len > GZIP_HERE)
        return;
    int64_t start = now_us(CLOCK_MONOTONIC), cpu = now_us(CLOCK_PROCESS_CPUTIME_ID);
    w->gzip.len = 0;
    w->gzip.failed = w->gzip.over_limit = false;
    if (mg_gzip(result->body, &w->gzip) == MG_OK &&
        w->gzip.len <= result->body.len - result->body.len / 10) {
        result->identity_bytes = (int64_t)result->body.len;
        result->gzip = true;
        result->body = (struct mg_span){w->gzip.data, w->gzip.len};
    }
    result->encode_us += now_us(CLOCK_MONOTONIC) - start;
    result->cpu_us += now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu;
}

/* A descriptor that is being filled. Written, not mapped: no page faults, nothing that counts as this process's memory,
 * and no writable mapping stands in the way of the seal. */
struct filling {
    int fd;
    uint64_t at, limit;
};

static enum mg_err put_piece(void *context, struct mg_span piece)
{
    struct filling *f = context;
    if (piece.len > f->limit - f->at)
        return MG_E_TOO_LARGE;
    while (piece.len) {
        ssize_t n = pwrite(f->fd, piece.data, piece.len, (off_t)f->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return MG_E_NOMEM;
        piece.data += n;
        piece.len -= (size_t)n;
        f->at += (uint64_t)n;
    }
    return MG_OK;
}

/* Compressed into the descriptor when that gains a tenth, else as it is. */
static enum mg_err fill(int fd, bool gzip, struct mg_run_result *result)
{
    struct mg_span body = result->body;
    int64_t start = now_us(CLOCK_MONOTONIC), cpu = now_us(CLOCK_PROCESS_CPUTIME_ID);
    struct filling f = {.fd = fd, .limit = body.len - body.len / 10};
    enum mg_err code = MG_E_TOO_LARGE;
    if (gzip && result->compressible && body.len > GZIP_HERE) {
        code = mg_gzip_pieces(body, put_piece, &f);
        if (code == MG_OK) {
            result->gzip = true;
            result->identity_bytes = (int64_t)body.len;
            result->body.len = f.at;
        }
        result->encode_us += now_us(CLOCK_MONOTONIC) - start;
        result->cpu_us += now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    }
    if (code == MG_E_TOO_LARGE) { /* over what was written of the gzip */
        f = (struct filling){.fd = fd, .limit = body.len};
        code = put_piece(&f, body);
    }
    return code;
}

/* Asks for a memfd and puts the body there; result->body.len is then what it takes there. */
static enum mg_err send_body(struct worker *w, bool gzip, struct mg_run_result *result)
{
    struct mg_msg msg;
    int fd;
    mg_msg_init(&msg, MG_MSG_NEED);
    msg.id = w->run;
    msg.bytes = result->body.len;
    link_send(w, &msg);
    link_answer(w, MG_MSG_BIG, 0, &msg, &fd);
    if (!mg_memfd_check(fd, result->body.len, false))
        link_leave(EXIT_BROKEN);
    enum mg_err code = fill(fd, gzip, result);
    if (code == MG_OK)
        code = mg_memfd_seal(fd, NULL);
    close(fd);
    return code;
}

enum mg_err link_send_big(struct worker *w, struct mg_span bytes)
{
    struct mg_run_result plain = {.body = bytes};
    return send_body(w, false, &plain);
}

/* Puts head and meta into w->meta. False when they do not fit into the channel. */
static bool pack_meta(struct worker *w, const struct mg_run_result *result)
{
    w->meta.len = 0;
    w->meta.failed = w->meta.over_limit = false;
    w->meta.max_bytes = MG_CHANNEL_RESULT;
    mg_run_result_pack(result, false, &w->meta);
    return !w->meta.failed;
}

/* The slot behind that of the run. */
static struct mg_slot *next_slot(const struct worker *w)
{
    return &w->channel.slots[w->slot % MG_SLOTS];
}

/* Takes the run that waits in the next slot. Before the last one is said to be done: then the front knows from the slot
 * whether this worker goes on by itself. */
static bool take_next(struct worker *w)
{
    return w->slot && __atomic_load_n(&next_slot(w)->state, __ATOMIC_RELAXED) == MG_SLOT_READY &&
           scratch_tidy(w->scratch, &w->scratch_seen) && mg_slot_take(next_slot(w));
}

/* True: the run in the next slot is ours now. */
static bool send_result(struct worker *w, bool gzip, struct mg_run_result *result)
{
    struct mg_msg msg;
    bool big = false;
    uint8_t *to = w->channel.result;
    size_t room = MG_CHANNEL_RESULT;
    for (;;) {
        if (!pack_meta(w, result)) {
            fail(result, MG_E_UDF_OUTPUT,
                 "headers, printed lines and dependencies of the run are larger than 1 MB "
                 "together: print less or "
                 "read fewer files in one run");
            big = false;
            continue; /* the error itself always fits */
        }
        if (big)
            break;
        struct mg_result_head head;
        memcpy(&head, w->meta.data, sizeof head);
        uint64_t offset = mg_result_body_offset(&head);
        if (w->slot && offset + result->body.len <= MG_SLOT_RESULT) {
            to = w->channel.slots[w->slot - 1].result;
            room = MG_SLOT_RESULT;
        }
        if (!result->body.len || offset + result->body.len <= room) {
            if (result->body.len)
                memcpy(to + offset, result->body.data, result->body.len);
            break;
        }
        big = send_body(w, gzip, result) == MG_OK; /* then packed again: it may have been compressed */
        if (!big)
            fail(result, MG_E_NOMEM, "there is no memory for the result");
    }
    if (w->slot && w->meta.len <= MG_SLOT_RESULT && big)
        to = w->channel.slots[w->slot - 1].result;
    memcpy(to, w->meta.data, w->meta.len);
    bool in_slot = to != w->channel.result;
    /* The channel's own place must have been read before another run may want it. */
    bool next = in_slot && !result->retire && result->err != MG_E_CONFLICT && take_next(w);
    mg_msg_init(&msg, MG_MSG_DONE);
    msg.id = w->run;
    msg.tag = in_slot ? w->slot : 0;
    msg.big = big;
    msg.bytes = w->meta.len + (big ? 0 : result->body.len);
    link_send(w, &msg);
    if (w->gzip.cap > KEEP_BYTES)
        mg_buf_fini(&w->gzip);
    return next;
}

/* One run, its request in w->request. True: the run in the next slot is ours now. */
static bool run_one(struct worker *w, uint64_t bytes, int fd)
{
    struct mg_run_request request = {0};
    struct mg_run_result result = {.max_age_s = -1};
    struct mg_errmsg why; /* until the result is sent */
    if (mg_run_request_unpack((struct mg_span){w->request, bytes}, &request) != MG_OK)
        fail(&result, MG_E_INTERNAL, "the request of the run came malformed to the worker");
    else if (!find_bundle(w, &request.code, fd))
        fd >= 0 ? fail(&result, MG_E_INTERNAL, "the UDF's code came malformed to the worker")
                : fail(&result, MG_E_CONFLICT, "the worker does not have the UDF's code any more");
    else {
        mg_vm_run(w->vm, &request, (struct mg_span){w->bundles[0].at, w->bundles[0].len}, &result);
        result.retire = result.retire || mg_sql_ran();
        compress_body(w, &request, &result);
        if (request.result_bytes > 0 && result.body.len > (uint64_t)request.result_bytes) {
            enum mg_err err =
                mg_err_set(&why, MG_E_UDF_OUTPUT,
                           "the result is larger than the limit of %lld bytes (%zu were needed): return less of it, "
                           "or a coarser resolution",
                           (long long)request.result_bytes, result.body.len);
            fail(&result, err, why.text);
        }
    }
    bool next = send_result(w, request.gzip, &result);
    if (fd >= 0)
        close(fd);
    if (!next && !scratch_tidy(w->scratch, &w->scratch_seen)) {
        mg_log_error("worker: the scratch folder cannot be emptied: %s", strerror(errno));
        link_leave(EXIT_BROKEN);
    }
    mg_vm_prepare(w->vm);
    return next;
}

/* The run of a message, then those that wait in the slots behind it. */
static void on_run(struct worker *w, const struct mg_msg *msg, int fd)
{
    uint64_t bytes = msg->bytes;
    w->run = msg->id;
    w->generation = msg->offset;
    w->slot = (unsigned)msg->tag;
    if (bytes > MG_CHANNEL_REQUEST || msg->tag > MG_SLOTS)
        link_leave(EXIT_BROKEN);
    memcpy(w->request, w->channel.request, bytes);
    while (run_one(w, bytes, fd)) {
        const struct mg_slot *slot = next_slot(w);
        fd = -1;
        bytes = slot->bytes;
        w->run = slot->run;
        w->generation = slot->generation;
        w->slot = w->slot % MG_SLOTS + 1;
        if (bytes > MG_SLOT_REQUEST)
            link_leave(EXIT_BROKEN);
        memcpy(w->request, slot->request, bytes);
    }
}

/* ---- start
 * ------------------------------------------------------------------------------------------- */

static int open_folder(const char *org_dir, const char *name, char *path, size_t size)
{
    int n = snprintf(path, size, "%s/%s", org_dir, name);
    return n < 0 || (size_t)n >= size ? -1 : open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* SQL may read what the rest of a run may. What it writes (Parquet) goes through a memfd, which only now can be made;
 * it is empty, and costs nothing where there is no SQL. */
static enum mg_err lend_to_sql(struct worker *w, int *output_fd, struct mg_errmsg *err)
{
    static char paths[SQL_FOLDERS][4096];
    const char *folders[SQL_FOLDERS + 1] = {NULL};
    int dirs[SQL_FOLDERS], n = 0;
    dirs[n++] = w->files.cache_dirfd;
    for (size_t i = 0; i < w->files.n_mounts; i++)
        dirs[n++] = w->files.mounts[i].dirfd;
    for (int i = 0; i < n; i++) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dirs[i]);
        ssize_t len = readlink(link, paths[i], sizeof paths[i] - 1);
        if (len <= 0)
            return mg_err_set(err, MG_E_IO, "cannot name an open folder: %s", strerror(errno));
        paths[i][len] = 0;
        folders[i] = paths[i];
    }
    *output_fd = memfd_create("moongate-sql", MFD_CLOEXEC);
    if (*output_fd < 0)
        return mg_err_set(err, MG_E_IO, "cannot make shared memory: %s", strerror(errno));
    return mg_sql_confine(folders, *output_fd, err);
}

static enum mg_err confine(struct worker *w, const struct worker_start *start, unsigned *layers,
                           struct mg_errmsg *err)
{
    static char fd_dir[4096], cache_dir[4096], layers_dir[4096];
    int keep[4 + 33], output_fd = -1, layers_fd;
    size_t n = 0;
    int dirfd = open_folder(start->org_dir, "fd", fd_dir, sizeof fd_dir);
    w->files.cache_dirfd = open_folder(start->org_dir, "cache", cache_dir, sizeof cache_dir);
    if (dirfd < 0 || w->files.cache_dirfd < 0)
        return mg_err_set(err, MG_E_IO, "cannot open the folders in %s: %s", start->org_dir,
                          strerror(errno));
    w->files.mounts[0] = (struct mg_mount){.dirfd = dirfd, .writable = true};
    w->files.n_mounts = 1;
    w->usage.quota = start->quota_bytes;
    w->files.usage = &w->usage;
    for (size_t i = 0; i < start->n_layers; i++)
        w->files.mounts[w->files.n_mounts++] = start->layers[i];
    keep[n++] = w->sock;
    keep[n++] = w->channel.fd;
    keep[n++] = w->files.cache_dirfd;
    for (size_t i = 0; i < w->files.n_mounts; i++)
        keep[n++] = w->files.mounts[i].dirfd;
    enum mg_err code = lend_to_sql(w, &output_fd, err);
    if (code != MG_OK)
        return code;
    keep[n++] = output_fd;
    (void)!snprintf(layers_dir, sizeof layers_dir, "%s/layers", start->org_dir);
    layers_fd = open(layers_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (layers_fd < 0)
        return mg_err_set(err, MG_E_IO, "cannot open %s: %s", layers_dir, strerror(errno));
    keep[n++] = layers_fd;
    mg_vector_keep_in(layers_fd);
    /* Where GDAL and others put what they must write by name. */
    setenv("TMPDIR", start->scratch_dir, 1);
    setenv("CPL_TMPDIR", start->scratch_dir, 1);

    struct mg_vm_host host = {
        .context = w, .fetch = host_fetch, .http = host_http, .secret = host_secret, .files = &w->files,
        .give_up = host_give_up};
    link_host_calls(w, &host);
    code = mg_vm_new(&host, &w->vm, err);
    if (code != MG_OK)
        return code;
    watch_faults(w->vm);
    struct mg_sandbox box = {.read_paths = start->read_paths,
                             .write_paths = (const char *const[]){fd_dir, cache_dir, layers_dir, NULL},
                             .scratch = start->scratch_dir,
                             .scratch_bytes = SCRATCH_BYTES,
                             .keep_fds = keep,
                             .n_keep_fds = n,
                             .data_bytes = start->data_bytes,
                             .file_bytes = FILE_MAX,
                             .uid = start->uid,
                             .gid = start->uid,
                             .outside = start->outside};
    code = mg_sandbox_enter(&box, layers, err);
    if (code == MG_OK && (*layers & MG_LAYER_MANDATORY) != MG_LAYER_MANDATORY)
        code = mg_err_set(err, MG_E_FORBIDDEN, "a mandatory layer of the sandbox is missing (%#x)",
                          *layers);
    if (code != MG_OK)
        return code;
    /* Now, because a mount may have covered what was there before. */
    w->scratch = open(start->scratch_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->scratch < 0)
        return mg_err_set(err, MG_E_IO, "cannot open %s: %s", start->scratch_dir, strerror(errno));
    return mg_gdal_warm(err);
}

int mg_worker_main(const struct worker_start *start)
{
    static struct worker w; /* large, and for the life of the process */
    struct mg_errmsg err = {{0}};
    struct mg_msg msg;
    unsigned layers = 0;
    int fd;
    w.sock = start->sock;
    w.files.cache_dirfd = -1;
    w.request = malloc(MG_CHANNEL_REQUEST);
    mg_buf_init(&w.gzip, 0);
    if (!w.request || mg_channel_open(&w.channel, start->channel_fd, &err) != MG_OK) {
        mg_log_error("a worker cannot start: %s", w.request ? err.text : "out of memory");
        return EXIT_BROKEN;
    }
    enum mg_err code = confine(&w, start, &layers, &err);
    if (code != MG_OK) {
        mg_log_error("a worker cannot start: %s", err.text[0] ? err.text : mg_err_text(code));
        return EXIT_SANDBOX;
    }
    mg_vm_prepare(w.vm);
    mg_msg_init(&msg, MG_MSG_READY);
    msg.layers = layers;
    msg.pid = getpid();
    link_send(&w, &msg);
    for (;;) {
        link_receive(&w, &msg, &fd);
        if (msg.type != MG_MSG_RUN) {
            mg_log_error("worker: got %s while idle", mg_msg_name(msg.type));
            return EXIT_BROKEN;
        }
        on_run(&w, &msg, fd);
    }
}
