/* Answers: made from a worker's result or a cache entry, shared by reference count. */
#include "moongate/answer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { ANSWER_VERSION = 1, HASH_PIECE = 256 << 10 };

struct mg_answer *mg_answer_new(void)
{
    struct mg_answer *answer = calloc(1, sizeof *answer);
    MG_ASSERT(answer);
    answer->refs = 1;
    answer->status = 200;
    answer->fd = -1;
    answer->udf_max_age_s = -1;
    answer->created_s = (int64_t)time(NULL);
    mg_buf_init(&answer->headers, 0);
    mg_buf_init(&answer->deps, 0);
    return answer;
}

struct mg_answer *mg_answer_error(enum mg_err err, const char *message)
{
    struct mg_answer *answer = mg_answer_new();
    answer->err = err;
    answer->status = mg_err_status(err);
    answer->message = strdup(message && *message ? message : mg_err_text(err));
    return answer;
}

struct mg_answer *mg_answer_ref(struct mg_answer *answer)
{
    __atomic_add_fetch(&answer->refs, 1, __ATOMIC_RELAXED);
    return answer;
}

void mg_answer_unref(struct mg_answer **answer_at)
{
    struct mg_answer *answer = *answer_at;
    *answer_at = NULL;
    if (!answer || __atomic_sub_fetch(&answer->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (answer->fd >= 0)
        close(answer->fd);
    free(answer->message);
    free(answer->file);
    free(answer->traceback);
    free(answer->log);
    free(answer->mime);
    free(answer->codec);
    free(answer->memory);
    mg_buf_fini(&answer->headers);
    mg_buf_fini(&answer->deps);
    free(answer);
}

uint64_t mg_answer_bytes(const struct mg_answer *answer)
{
    return answer->fd >= 0 ? answer->fd_bytes : answer->body.len;
}

/* A terminated copy; NULL for nothing. Text from a worker may hold anything, also NUL: it ends there. */
static char *copy(struct mg_span text)
{
    return text.len ? strndup(text.data, text.len) : NULL;
}

/* A media type goes into a header: printable ASCII or nothing. */
static char *copy_mime(struct mg_span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < ' ' || text.data[i] > '~')
            return NULL;
    return text.len < 256 ? copy(text) : NULL;
}

struct mg_answer *mg_answer_from_result(const struct mg_run_result *result)
{
    struct mg_answer *answer = mg_answer_new();
    answer->err = result->err;
    answer->status = result->err ? mg_err_status(result->err) : (int)result->status;
    if (!result->err && (answer->status < 200 || answer->status > 599))
        answer->status = 200;
    answer->message = copy(result->message);
    answer->file = copy(result->file);
    answer->traceback = copy(result->traceback);
    answer->log = copy(result->log);
    answer->mime = copy_mime(result->mime);
    answer->codec = copy(result->codec);
    answer->line = result->line;
    answer->by_accept = result->by_accept;
    answer->empty = result->empty;
    answer->gzip = result->gzip;
    answer->identity_bytes = result->gzip ? (uint64_t)result->identity_bytes : 0;
    answer->udf_max_age_s = result->max_age_s;
    answer->lua_us = result->lua_us;
    answer->encode_us = result->encode_us;
    answer->cpu_us = result->cpu_us;
    mg_buf_put(&answer->headers, result->headers.data, result->headers.len);
    mg_buf_put(&answer->deps, result->deps.data, result->deps.len);
    return answer;
}

/* A strong validator: XXH3 (128 bit) of the bytes that are kept; the same value always gives the same bytes. */
static void set_etag(struct mg_answer *answer, XXH128_hash_t hash)
{
    char *at = answer->etag;
    *at++ = '"';
    for (int shift = 60; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[hash.high64 >> shift & 15];
    for (int shift = 60; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[hash.low64 >> shift & 15];
    *at++ = '"';
    *at = 0;
}

void mg_answer_set_body(struct mg_answer *answer, void *memory, struct mg_span body)
{
    free(answer->memory);
    answer->memory = memory;
    answer->body = body;
    if (!answer->gzip)
        answer->identity_bytes = body.len;
    set_etag(answer, XXH3_128bits(body.data ? body.data : "", body.len));
}

enum mg_err mg_answer_set_fd(struct mg_answer *answer, int fd, uint64_t offset, uint64_t bytes)
{
    if (offset > INT64_MAX - bytes)
        return MG_E_INVALID;
    answer->fd = fd;
    answer->fd_offset = offset;
    answer->fd_bytes = bytes;
    if (!answer->gzip)
        answer->identity_bytes = bytes;
    return MG_OK;
}

enum mg_err mg_answer_hash(struct mg_answer *answer)
{
    /* Read, not mapped: what is mapped counts as this process's memory. */
    char *piece = malloc(HASH_PIECE);
    XXH3_state_t *state = XXH3_createState();
    enum mg_err status = piece && state ? MG_OK : MG_E_NOMEM;
    if (!status)
        XXH3_128bits_reset(state);
    for (uint64_t done = 0; !status && done < answer->fd_bytes;) {
        uint64_t left = answer->fd_bytes - done;
        ssize_t n = pread(answer->fd, piece, left < HASH_PIECE ? left : HASH_PIECE,
                          (off_t)(answer->fd_offset + done));
        if (n > 0) {
            XXH3_128bits_update(state, piece, (size_t)n);
            done += (uint64_t)n;
        } else if (n == 0 || errno != EINTR) {
            status = MG_E_IO;
        }
    }
    if (!status)
        set_etag(answer, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    free(piece);
    return status;
}

void mg_answer_pack(const struct mg_answer *answer, struct mg_buf *out)
{
    mg_pack_int(out, ANSWER_VERSION);
    mg_pack_int(out, answer->status);
    mg_pack_str(out, answer->mime);
    mg_pack_str(out, answer->codec);
    mg_pack_str(out, answer->log);
    mg_pack_str(out, answer->etag);
    mg_pack_bool(out, answer->by_accept);
    mg_pack_bool(out, answer->empty);
    mg_pack_bool(out, answer->gzip);
    mg_pack_int(out, (int64_t)answer->identity_bytes);
    mg_pack_int(out, answer->udf_max_age_s);
    mg_pack_int(out, answer->created_s);
    mg_pack_int(out, answer->ttl_s);
    mg_pack_int(out, answer->lua_us);
    mg_pack_int(out, answer->encode_us);
    mg_pack_int(out, answer->cpu_us);
    mg_pack_bytes(out, answer->headers.data, answer->headers.len);
    mg_pack_bytes(out, answer->deps.data, answer->deps.len);
}

enum mg_err mg_answer_unpack(struct mg_span meta, struct mg_answer **out)
{
    struct mg_unpack in;
    mg_unpack_init(&in, meta.data, meta.len);
    if (mg_unpack_int(&in) != ANSWER_VERSION)
        return MG_E_INVALID;
    struct mg_answer *answer = mg_answer_new();
    answer->status = (int)mg_unpack_int(&in);
    answer->mime = copy(mg_unpack_bytes(&in));
    answer->codec = copy(mg_unpack_bytes(&in));
    answer->log = copy(mg_unpack_bytes(&in));
    bool etag = mg_unpack_str(&in, answer->etag, sizeof answer->etag);
    answer->by_accept = mg_unpack_bool(&in);
    answer->empty = mg_unpack_bool(&in);
    answer->gzip = mg_unpack_bool(&in);
    answer->identity_bytes = (uint64_t)mg_unpack_int(&in);
    answer->udf_max_age_s = mg_unpack_int(&in);
    answer->created_s = mg_unpack_int(&in);
    answer->ttl_s = mg_unpack_int(&in);
    answer->lua_us = mg_unpack_int(&in);
    answer->encode_us = mg_unpack_int(&in);
    answer->cpu_us = mg_unpack_int(&in);
    struct mg_span headers = mg_unpack_bytes(&in), deps = mg_unpack_bytes(&in);
    mg_buf_put(&answer->headers, headers.data, headers.len);
    mg_buf_put(&answer->deps, deps.data, deps.len);
    if (!etag || !mg_unpack_done(&in) || answer->status < 200 || answer->status > 599) {
        mg_answer_unref(&answer);
        return MG_E_INVALID;
    }
    *out = answer;
    return MG_OK;
}

enum mg_err mg_answer_to_result(const struct mg_answer *answer, struct mg_buf *out)
{
    struct mg_run_result result = {
        .err = answer->err,
        .message = mg_span(answer->message),
        .file = mg_span(answer->file),
        .traceback = mg_span(answer->traceback),
        .log = mg_span(answer->log),
        .line = answer->line,
        .status = answer->status,
        .mime = mg_span(answer->mime),
        .codec = mg_span(answer->codec),
        .empty = answer->empty,
        .max_age_s = answer->udf_max_age_s,
        .headers = {answer->headers.data, answer->headers.len},
        .deps = {answer->deps.data, answer->deps.len},
        .body = answer->body,
    };
    void *map = NULL;
    if (answer->fd >= 0 && answer->fd_bytes) {
        map = mmap(NULL, answer->fd_offset + answer->fd_bytes, PROT_READ, MAP_PRIVATE, answer->fd, 0);
        if (map == MAP_FAILED)
            return MG_E_IO;
        result.body = (struct mg_span){(char *)map + answer->fd_offset, answer->fd_bytes};
    }
    mg_run_result_pack(&result, true, out);
    if (map)
        munmap(map, answer->fd_offset + answer->fd_bytes);
    return mg_buf_status(out, NULL);
}
