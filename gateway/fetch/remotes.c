/* Remote files: single flight by block, and generations.
 *
 * A remote file has at most one block file in use, its current generation: one ETag (or Last-Modified), one size.
 * It counts as current for revalidate_s; then the next question starts one request, a probe, that brings missing
 * blocks and tells the ETag, or asks conditionally when none is missing; the others wait for it. When an answer
 * shows another ETag or size, a new generation begins with that answer's bytes, and requests for the old one end.
 * A server without ranges sends the whole file, which is kept. When the server cannot be reached but all blocks are
 * there, they are served until the next check.
 *
 *   ask -> waiter -> advance: answered, or a job for each run of missing blocks that none brings yet
 *   job: head (generation), data (blocks), done -> advance */
#include "remotes.h"

#include "moongate/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_TRIES = 4, MAX_WAITERS = 1024, IDLE_MS = 60000, TOUCH_MS = 60000 };

struct waiter {
    struct waiter *next;
    uint64_t id, tag, offset, bytes;
    int tries; /* requests that were started for it */
};

struct job {
    struct job *next;
    struct remote *remote;
    bool probe;
    uint64_t first, last;       /* blocks */
    struct mg_block_file *file; /* the generation it fills; never touched once it is not the remote's */
    bool unchanged;             /* 304, or the body is of no use */
    bool enough;                /* we ended it, and all is well */
    uint64_t at;                /* of the next byte in the remote file */
    size_t held;
    enum mg_err err;            /* why we ended it; MG_OK with `stale` */
    bool stale;                 /* another generation began */
    uint8_t block[MG_BLOCK_BYTES];
};

struct remote {
    struct remote *next;
    struct mg_remotes *all;
    char org[64];
    char *url, host[256];
    struct mg_block_file *file; /* NULL: none yet */
    bool checked;
    int64_t checked_ms, used_ms, touched_ms;
    uint64_t received;
    struct waiter *waiters;
    struct job *jobs;
};

struct mg_remotes {
    const struct mg_fetch_config *config;
    struct mg_block_store *store;
    struct mg_transfers *transfers;
    mg_remote_answer_f *answer;
    void *context;
    struct remote *first;
    size_t n_waiters;
    int64_t now_ms;
};

/* ---- Waiters ------------------------------------------------------------------------------------------ */

static void answer(struct remote *remote, struct waiter **at, enum mg_err e, const char *text)
{
    struct waiter *waiter = *at;
    struct mg_remote_answer reply = {.id = waiter->id, .tag = waiter->tag, .err = e, .text = text,
                                     .fd = e ? -1 : remote->file->reader, .received = remote->received};
    *at = waiter->next;
    remote->all->n_waiters--;
    remote->received = 0;
    free(waiter);
    remote->all->answer(remote->all->context, &reply);
}

/* Blocks first..last of what is asked for; false when that is nothing (or behind the end). */
static bool wanted(const struct remote *remote, const struct waiter *waiter, uint64_t *first, uint64_t *last)
{
    uint64_t size = remote->file && remote->file->n_blocks ? remote->file->head.size : UINT64_MAX;
    if (remote->file && remote->file->head.size == 0)
        return false;
    if (waiter->bytes == 0 || waiter->offset >= size)
        return false;
    uint64_t end = waiter->bytes > size - waiter->offset ? size : waiter->offset + waiter->bytes;
    *first = waiter->offset / MG_BLOCK_BYTES;
    *last = (end - 1) / MG_BLOCK_BYTES;
    return true;
}

static bool has_all(const struct remote *remote, const struct waiter *waiter)
{
    uint64_t first, last;
    if (!remote->file || remote->file->head.size == MG_SIZE_UNKNOWN)
        return false;
    if (!wanted(remote, waiter, &first, &last))
        return true;
    while (first <= last && mg_block_has(remote->file, first))
        first++;
    return first > last;
}

static bool is_current(const struct remote *remote)
{
    return remote->file && remote->file->head.size != MG_SIZE_UNKNOWN && remote->checked &&
           remote->all->now_ms - remote->checked_ms < (int64_t)remote->all->config->revalidate_s * 1000;
}

static void set_checked(struct remote *remote)
{
    remote->checked = true;
    remote->checked_ms = remote->all->now_ms;
}

static const struct job *job_for(const struct remote *remote, uint64_t block)
{
    for (const struct job *job = remote->jobs; job; job = job->next)
        if (!job->stale && block >= job->first && block <= job->last)
            return job;
    return NULL;
}

/* ---- Jobs --------------------------------------------------------------------------------------------- */

static bool job_head(void *context, const struct mg_answer_head *head, struct mg_errmsg *err);
static bool job_data(void *context, const void *data, size_t n, struct mg_errmsg *err);
static void job_done(void *context, enum mg_err e, bool sure, const struct mg_errmsg *err);
static const struct mg_transfer_events job_events = {.head = job_head, .data = job_data, .done = job_done};

static enum mg_err start(struct remote *remote, uint64_t first, uint64_t last, bool probe, struct mg_errmsg *err)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return mg_err_set(err, MG_E_NOMEM, "no memory for a request to %s", remote->host);
    *job = (struct job){.next = remote->jobs, .remote = remote, .probe = probe, .first = first, .last = last};
    const struct mg_block_file *file = remote->file;
    bool only_check = file && first > last;
    uint64_t from = only_check ? 0 : first * MG_BLOCK_BYTES;
    uint64_t to = only_check ? 0 : (last + 1) * MG_BLOCK_BYTES - 1;
    if (file && file->n_blocks && !only_check && to >= file->head.size)
        to = file->head.size - 1;
    enum mg_err e = mg_transfer_start(remote->all->transfers, remote->url, from, to,
                                      only_check ? file->head.etag : NULL, &job_events, job, err);
    if (e) {
        free(job);
        return e;
    }
    remote->jobs = job;
    return MG_OK;
}

/* A probe brings what the first waiter lacks. One that lacks nothing asks whether the file is still the same. */
static enum mg_err start_probe(struct remote *remote, const struct waiter *waiter, struct mg_errmsg *err)
{
    uint64_t first = 0, last = 0;
    if (!wanted(remote, waiter, &first, &last))
        return start(remote, remote->file ? 1 : 0, 0, true, err);
    while (remote->file && remote->file->n_blocks && first <= last && mg_block_has(remote->file, first))
        first++;
    return first > last ? start(remote, 1, 0, true, err) : start(remote, first, last, true, err);
}

static enum mg_err start_missing(struct remote *remote, struct waiter *waiter, struct mg_errmsg *err)
{
    uint64_t first, last;
    if (!wanted(remote, waiter, &first, &last))
        return MG_OK;
    for (uint64_t block = first; block <= last; block++) {
        if (mg_block_has(remote->file, block) || job_for(remote, block))
            continue;
        uint64_t end = block;
        while (end < last && !mg_block_has(remote->file, end + 1) && !job_for(remote, end + 1))
            end++;
        if (waiter->tries++ >= MAX_TRIES)
            return mg_err_set(err, MG_E_FETCH, "%s changes while it is read; try again", remote->url);
        enum mg_err e = start(remote, block, end, false, err);
        if (e)
            return e;
        block = end;
    }
    return MG_OK;
}

/* Answers who can be answered, and starts what is missing for the others. */
static void advance(struct remote *remote)
{
    struct mg_errmsg err = {""};
    for (struct waiter **at = &remote->waiters; *at;) {
        struct waiter *waiter = *at;
        enum mg_err e = MG_OK;
        if (is_current(remote)) {
            if (has_all(remote, waiter)) {
                answer(remote, at, MG_OK, remote->file->head.etag);
                continue;
            }
            e = start_missing(remote, waiter, &err);
        } else if (!remote->jobs) {
            if (waiter->tries++ >= MAX_TRIES)
                e = mg_err_set(&err, MG_E_FETCH, "%s changes while it is read; try again", remote->url);
            else
                e = start_probe(remote, waiter, &err);
        }
        if (e) {
            answer(remote, at, e, err.text);
            continue;
        }
        at = &waiter->next;
    }
}

/* Jobs but `heir` point at the file no longer. */
static void drop_file(struct remote *remote, const struct job *heir)
{
    for (struct job *job = remote->jobs; job; job = job->next)
        if (job != heir)
            job->stale = true;
    mg_block_close(&remote->file);
    remote->checked = false;
}

/* The answer's generation becomes the remote's; what else is on its way for the old one ends at its next byte. */
static bool begin_generation(struct job *job, uint64_t size, const char *etag, struct mg_errmsg *err)
{
    struct remote *remote = job->remote;
    struct mg_block_file *file;
    char stand_in[64];
    if (!etag[0]) { /* two checks then never agree, which is safe: nothing says that the file is the same */
        snprintf(stand_in, sizeof stand_in, "none:%llu:%lld", (unsigned long long)size,
                 (long long)remote->all->now_ms);
        etag = stand_in;
    }
    job->err = mg_block_create(remote->all->store, remote->org, remote->url, size, etag, &file, err);
    if (job->err)
        return false;
    drop_file(remote, job);
    remote->file = file;
    return true;
}

static bool same_generation(const struct mg_block_file *file, const struct mg_answer_head *head)
{
    return file && file->head.size == head->total && head->etag[0] && strcmp(file->head.etag, head->etag) == 0;
}

static bool job_head(void *context, const struct mg_answer_head *head, struct mg_errmsg *err)
{
    struct job *job = context;
    struct remote *remote = job->remote;
    if (job->stale)
        return false;
    bool whole = head->status == 200, none = head->status == 416 && head->total == 0;
    if (head->status == 304) {
        job->unchanged = remote->file != NULL;
        return true;
    }
    if (!whole && !none && head->status != 206)
        return true; /* an error, told at the end */
    uint64_t expected = job->first <= job->last ? job->first * MG_BLOCK_BYTES : 0;
    if (head->status == 206 && (head->from != expected || head->total == MG_TOTAL_UNKNOWN)) {
        job->err = mg_err_set(err, MG_E_FETCH, "%s answers with another range than asked for", remote->host);
        return false;
    }
    if (head->total != MG_TOTAL_UNKNOWN && head->total > remote->all->config->max_bytes) {
        job->err = mg_err_set(err, MG_E_TOO_LARGE, "%s has %llu MB, more than the limit of %llu MB", remote->url,
                              (unsigned long long)(head->total >> 20),
                              (unsigned long long)(remote->all->config->max_bytes >> 20));
        return false;
    }
    bool only_check = job->first > job->last, same = same_generation(remote->file, head);
    if (!same && !begin_generation(job, head->total, head->etag, err))
        return false;
    if (head->total != MG_TOTAL_UNKNOWN)
        set_checked(remote);
    job->file = remote->file;
    job->at = head->from;
    if (only_check && same) {
        job->enough = true;
        return false;
    }
    if (whole) {
        job->first = 0;
        job->last = UINT64_MAX / MG_BLOCK_BYTES - 1;
    } else if (only_check) {
        job->unchanged = true; /* one byte makes no block */
    }
    return true;
}

static bool put_block(struct job *job, struct mg_errmsg *err)
{
    job->err = mg_block_put(job->file, (job->at - 1) / MG_BLOCK_BYTES, job->block, job->held, err);
    job->held = 0;
    return job->err == MG_OK;
}

static bool job_data(void *context, const void *data, size_t n, struct mg_errmsg *err)
{
    struct job *job = context;
    struct remote *remote = job->remote;
    const uint8_t *from = data;
    remote->received += n;
    if (job->stale)
        return false;
    if (job->unchanged)
        return true;
    uint64_t size = job->file->head.size;
    uint64_t most = size == MG_SIZE_UNKNOWN ? remote->all->config->max_bytes : size;
    if (n > most - job->at) {
        job->err = mg_err_set(err, MG_E_TOO_LARGE, "%s sends more than %llu bytes", remote->url,
                              (unsigned long long)most);
        return false;
    }
    while (n) {
        size_t part = MG_BLOCK_BYTES - job->held < n ? MG_BLOCK_BYTES - job->held : n;
        memcpy(job->block + job->held, from, part);
        job->held += part;
        job->at += part;
        from += part;
        n -= part;
        if ((job->held == MG_BLOCK_BYTES || job->at == size) && !put_block(job, err))
            return false;
    }
    return true;
}

/* The end of a body whose length nobody told. */
static enum mg_err end_unknown(struct job *job, struct mg_errmsg *err)
{
    struct remote *remote = job->remote;
    if (job->held && !put_block(job, err))
        return job->err;
    enum mg_err e = mg_block_size(job->file, job->at, err);
    if (!e)
        set_checked(remote);
    return e;
}

/* A transfer that came to its own end. */
static enum mg_err ended(struct job *job, bool *sure, struct mg_errmsg *err)
{
    struct remote *remote = job->remote;
    if (job->unchanged && remote->file) {
        set_checked(remote);
        return MG_OK;
    }
    if (!job->file) { /* 416: the range lies behind the end */
        *sure = true;
        return mg_err_set(err, MG_E_FETCH, "%s is shorter than what is read of it", remote->url);
    }
    return job->file->head.size == MG_SIZE_UNKNOWN ? end_unknown(job, err) : MG_OK;
}

/* What a failed job was to bring is not coming. */
static void fail_waiters(struct remote *remote, const struct job *job, enum mg_err e, bool sure, const char *text)
{
    bool usable = !sure && remote->file && remote->file->head.size != MG_SIZE_UNKNOWN;
    if (job->probe && usable) { /* the network's trouble: what we have counts until the next check */
        set_checked(remote);
    }
    for (struct waiter **at = &remote->waiters; *at;) {
        uint64_t first, last;
        bool touched = job->probe || (wanted(remote, *at, &first, &last) && first <= job->last && last >= job->first);
        if (!touched || (usable && has_all(remote, *at)))
            at = &(*at)->next;
        else
            answer(remote, at, e, text);
    }
    if (job->probe && sure && remote->file) {
        mg_block_forget(remote->file);
        drop_file(remote, NULL);
    }
}

static void job_done(void *context, enum mg_err e, bool sure, const struct mg_errmsg *transfer_err)
{
    struct job *job = context;
    struct remote *remote = job->remote;
    struct mg_errmsg err = *transfer_err;
    struct job **at = &remote->jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    if (e == MG_E_CANCELLED)
        e = job->stale || job->enough ? MG_OK : job->err ? job->err : MG_E_FETCH;
    else if (!e && !job->stale)
        e = ended(job, &sure, &err);
    if (!job->stale && remote->file && remote->file->head.size == MG_SIZE_UNKNOWN)
        drop_file(remote, NULL);
    if (e) {
        mg_log_info("fetch of %s: %s", remote->url, err.text);
        fail_waiters(remote, job, e, sure, err.text[0] ? err.text : mg_err_text(e));
    }
    free(job);
    advance(remote);
}

/* ---- The table ---------------------------------------------------------------------------------------- */

static void remote_free(struct remote *remote)
{
    while (remote->waiters) {
        struct waiter *waiter = remote->waiters;
        remote->waiters = waiter->next;
        remote->all->n_waiters--;
        free(waiter);
    }
    while (remote->jobs) {
        struct job *job = remote->jobs;
        remote->jobs = job->next;
        free(job);
    }
    mg_block_close(&remote->file);
    free(remote->url);
    free(remote);
}

static struct remote *find(struct mg_remotes *remotes, const char *org, const char *url)
{
    for (struct remote *remote = remotes->first; remote; remote = remote->next)
        if (strcmp(remote->url, url) == 0 && strcmp(remote->org, org) == 0)
            return remote;
    struct remote *remote = calloc(1, sizeof *remote);
    char *copy = strdup(url);
    if (!remote || !copy) {
        free(remote);
        free(copy);
        return NULL;
    }
    *remote = (struct remote){.next = remotes->first, .all = remotes, .url = copy};
    snprintf(remote->org, sizeof remote->org, "%s", org);
    if (mg_block_open(remotes->store, org, url, &remote->file) != MG_OK)
        remote->file = NULL;
    remotes->first = remote;
    return remote;
}

/* An organisation's name is a folder's. */
static bool org_ok(const char *org)
{
    size_t n = strspn(org, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && org[n] == '\0' && n < 64;
}

static void refuse_ask(struct mg_remotes *remotes, const struct mg_remote_ask *ask, enum mg_err e, const char *text)
{
    struct mg_remote_answer reply = {.id = ask->id, .tag = ask->tag, .err = e, .text = text, .fd = -1};
    remotes->answer(remotes->context, &reply);
}

void mg_remotes_ask(struct mg_remotes *remotes, const struct mg_remote_ask *ask, int64_t now_ms)
{
    struct mg_errmsg err = {""};
    char host[256];
    remotes->now_ms = now_ms;
    enum mg_err e = org_ok(ask->org) ? mg_url_check(ask->url, host, sizeof host, &err)
                                     : mg_err_set(&err, MG_E_INVALID, "no organisation \"%.64s\"", ask->org);
    if (!e && (ask->offset > remotes->config->max_bytes || ask->bytes > remotes->config->max_bytes))
        e = mg_err_set(&err, MG_E_TOO_LARGE, "%.200s: remote files are read up to %llu MB", ask->url,
                       (unsigned long long)(remotes->config->max_bytes >> 20));
    if (!e && remotes->n_waiters >= MAX_WAITERS)
        e = mg_err_set(&err, MG_E_TOO_MANY, "too many remote reads at once");
    if (e) {
        refuse_ask(remotes, ask, e, err.text);
        return;
    }
    struct remote *remote = find(remotes, ask->org, ask->url);
    struct waiter *waiter = calloc(1, sizeof *waiter);
    if (!remote || !waiter) {
        free(waiter);
        refuse_ask(remotes, ask, MG_E_NOMEM, "no memory for a remote read");
        return;
    }
    memcpy(remote->host, host, sizeof host);
    *waiter = (struct waiter){.id = ask->id, .tag = ask->tag, .offset = ask->offset, .bytes = ask->bytes};
    struct waiter **end = &remote->waiters;
    while (*end)
        end = &(*end)->next;
    *end = waiter;
    remotes->n_waiters++;
    remote->used_ms = now_ms;
    if (remote->file && now_ms - remote->touched_ms > TOUCH_MS) {
        remote->touched_ms = now_ms;
        mg_block_touch(remote->file);
    }
    advance(remote);
}

void mg_remotes_drop_waiters(struct mg_remotes *remotes)
{
    for (struct remote *remote = remotes->first; remote; remote = remote->next)
        while (remote->waiters) {
            struct waiter *waiter = remote->waiters;
            remote->waiters = waiter->next;
            remotes->n_waiters--;
            free(waiter);
        }
}

void mg_remotes_tend(struct mg_remotes *remotes, int64_t now_ms)
{
    remotes->now_ms = now_ms;
    for (struct remote **at = &remotes->first; *at;) {
        struct remote *remote = *at;
        if (remote->waiters || remote->jobs || now_ms - remote->used_ms < IDLE_MS) {
            at = &remote->next;
            continue;
        }
        *at = remote->next;
        remote_free(remote);
    }
}

enum mg_err mg_remotes_new(const struct mg_fetch_config *config, struct mg_block_store *store,
                           struct mg_transfers *transfers, mg_remote_answer_f *answer_f, void *context,
                           struct mg_remotes **out, struct mg_errmsg *err)
{
    struct mg_remotes *remotes = calloc(1, sizeof *remotes);
    if (!remotes)
        return mg_err_set(err, MG_E_NOMEM, "no memory for remote files");
    *remotes = (struct mg_remotes){.config = config, .store = store, .transfers = transfers, .answer = answer_f,
                                   .context = context};
    *out = remotes;
    return MG_OK;
}

void mg_remotes_free(struct mg_remotes **remotes)
{
    while (*remotes && (*remotes)->first) {
        struct remote *remote = (*remotes)->first;
        (*remotes)->first = remote->next;
        remote_free(remote);
    }
    free(*remotes);
    *remotes = NULL;
}
