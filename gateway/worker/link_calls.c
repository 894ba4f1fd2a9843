/* What a run asks of the front besides bytes: other UDFs' runs, their code, and values of cached functions.
 *
 * Each question is one message and, but for CANCEL, has one answer; requests go through the channel's one half, answers
 * come in the other, or in a descriptor where they are larger. */
#include "link.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Appends `bytes` that the front put into the channel, or into a descriptor of its own. */
static enum mg_err take_bytes(struct worker *w, int fd, uint64_t bytes, struct mg_buf *out, struct mg_errmsg *err)
{
    if (bytes > SIZE_MAX / 2 || (fd < 0 && bytes > MG_CHANNEL_REQUEST) || !mg_buf_room(out, bytes))
        return mg_err_set(err, MG_E_NOMEM, "there is no memory for a result of %llu bytes", (unsigned long long)bytes);
    if (fd < 0) {
        mg_buf_put(out, w->channel.request, bytes);
        return MG_OK;
    }
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, out->data + out->len, bytes - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return mg_err_set(err, MG_E_INTERNAL, "a result came cut short");
        out->len += (size_t)n;
        done += (uint64_t)n;
    }
    return MG_OK;
}

static enum mg_err call_message(struct worker *w, enum mg_msg_type type, const struct mg_run_request *request,
                                struct mg_errmsg *err)
{
    struct mg_buf packed;
    struct mg_msg msg;
    mg_buf_init(&packed, MG_CHANNEL_RESULT);
    mg_run_request_pack(request, &packed);
    if (packed.failed) {
        bool too_large = packed.over_limit;
        mg_buf_fini(&packed);
        return too_large ? mg_err_set(err, MG_E_ARGUMENT,
                                      "the arguments of a run may have %d bytes at most",
                                      (int)MG_CHANNEL_RESULT)
                         : mg_err_set(err, MG_E_NOMEM, "out of memory");
    }
    memcpy(w->channel.result, packed.data, packed.len);
    mg_msg_init(&msg, type);
    msg.id = w->run;
    msg.tag = ++w->next_tag;
    msg.bytes = packed.len;
    mg_buf_fini(&packed);
    link_send(w, &msg);
    return MG_OK;
}

static enum mg_err take_child(struct worker *w, uint64_t *tag, struct mg_buf *result, struct mg_errmsg *err)
{
    struct mg_msg msg;
    int fd;
    link_receive(w, &msg, &fd);
    if (msg.type != MG_MSG_CHILD || msg.id != w->run || (*tag && msg.tag != *tag))
        link_leave(EXIT_BROKEN);
    *tag = msg.tag;
    enum mg_err code = msg.err == MG_OK ? take_bytes(w, fd, msg.bytes, result, err)
                                        : mg_err_set(err, (enum mg_err)msg.err, "%s",
                                                     msg.text[0] ? msg.text : "the other UDF gave no result");
    if (fd >= 0)
        close(fd);
    return code;
}

static enum mg_err host_call(void *context, const struct mg_run_request *request,
                             struct mg_buf *result, struct mg_errmsg *err)
{
    struct worker *w = context;
    enum mg_err code = call_message(w, MG_MSG_CALL, request, err);
    uint64_t tag = w->next_tag;
    return code == MG_OK ? take_child(w, &tag, result, err) : code;
}

static enum mg_err host_start(void *context, const struct mg_run_request *request, uint64_t *tag,
                              struct mg_errmsg *err)
{
    struct worker *w = context;
    struct mg_msg msg;
    int fd;
    enum mg_err code = call_message(w, MG_MSG_START, request, err);
    if (code != MG_OK)
        return code;
    *tag = w->next_tag;
    link_answer(w, MG_MSG_ACK, *tag, &msg, &fd);
    return MG_OK;
}

static enum mg_err host_await(void *context, uint64_t *tag, struct mg_buf *result, struct mg_errmsg *err)
{
    struct worker *w = context;
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_AWAIT);
    msg.id = w->run;
    msg.tag = *tag;
    link_send(w, &msg);
    return take_child(w, tag, result, err);
}

static void host_cancel(void *context, uint64_t tag)
{
    struct worker *w = context;
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_CANCEL);
    msg.id = w->run;
    msg.tag = tag;
    link_send(w, &msg);
}

static enum mg_err host_code(void *context, const char *name, struct mg_buf *bundle, char udf[128],
                             struct mg_hash *code, struct mg_errmsg *err)
{
    struct worker *w = context;
    struct mg_msg msg;
    int fd;
    mg_msg_init(&msg, MG_MSG_CODE);
    if (strlen(name) >= sizeof msg.url)
        return mg_err_set(err, MG_E_ARGUMENT, "a UDF's name may have %zu bytes at most", sizeof msg.url - 1);
    msg.id = w->run;
    msg.tag = ++w->next_tag;
    memcpy(msg.url, name, strlen(name) + 1);
    link_send(w, &msg);
    link_answer(w, MG_MSG_CODED, w->next_tag, &msg, &fd);
    enum mg_err status = (enum mg_err)msg.err;
    if (status != MG_OK)
        mg_err_set(err, status, "%s", msg.text);
    else if (fd < 0 || msg.bytes > BUNDLE_MAX || !mg_hash_from_hex(mg_span(msg.text), code))
        status = mg_err_set(err, MG_E_INTERNAL, "the code came malformed");
    else
        status = take_bytes(w, fd, msg.bytes, bundle, err);
    snprintf(udf, 128, "%.127s", msg.url);
    if (fd >= 0)
        close(fd);
    return status;
}

static int64_t until_us(uint32_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 + (int64_t)ms * 1000;
}

static enum mg_err host_value_ask(void *context, const struct mg_value_ask *ask, struct mg_value_reply *reply,
                                  struct mg_buf *entry, struct mg_errmsg *err)
{
    struct worker *w = context;
    struct mg_buf packed;
    struct mg_msg msg;
    int fd;
    mg_buf_init(&packed, MG_CHANNEL_RESULT);
    mg_pack_bytes(&packed, ask->key.bytes, sizeof ask->key.bytes);
    mg_pack_int(&packed, ask->max_age_s);
    mg_pack_int(&packed, ask->stamp);
    mg_pack_bool(&packed, ask->reset);
    mg_pack_bool(&packed, ask->outside);
    mg_pack_int(&packed, ask->made_s);
    mg_pack_bytes(&packed, ask->deps.data, ask->deps.len);
    enum mg_err code = mg_buf_status(&packed, err);
    if (code != MG_OK) {
        mg_buf_fini(&packed);
        return code;
    }
    memcpy(w->channel.result, packed.data, packed.len);
    mg_msg_init(&msg, MG_MSG_ASK);
    msg.id = w->run;
    msg.tag = ++w->next_tag;
    msg.bytes = packed.len;
    mg_buf_fini(&packed);
    link_send(w, &msg);
    link_answer(w, MG_MSG_VALUED, w->next_tag, &msg, &fd);
    if (msg.status < 0 || msg.status >= MG_VALUE_STATE_COUNT)
        link_leave(EXIT_BROKEN);
    *reply = (struct mg_value_reply){.state = (enum mg_value_state)msg.status,
                                     .stamp = (int64_t)msg.offset,
                                     .made_s = msg.pid,
                                     .until_us = until_us(msg.ms)};
    if (reply->state == MG_VALUE_HIT)
        code = take_bytes(w, fd, msg.bytes, entry, err);
    if (fd >= 0)
        close(fd);
    return code;
}

static enum mg_err host_value_put(void *context, const struct mg_hash *key, bool stored, struct mg_span deps,
                                  struct mg_span entry, struct mg_value_reply *reply)
{
    struct worker *w = context;
    struct mg_buf packed;
    struct mg_msg msg;
    int fd;
    bool big = false;
    enum mg_err code = MG_OK;
    mg_buf_init(&packed, MG_CHANNEL_RESULT);
    *reply = (struct mg_value_reply){0};
    for (;;) {
        packed.len = 0;
        packed.failed = packed.over_limit = false;
        mg_pack_bytes(&packed, key->bytes, sizeof key->bytes);
        mg_pack_bool(&packed, stored && code == MG_OK);
        mg_pack_bytes(&packed, deps.data, stored && code == MG_OK ? deps.len : 0);
        mg_pack_bytes(&packed, entry.data, stored && code == MG_OK && !big ? entry.len : 0);
        if (!packed.failed)
            break;
        /* Too large for the channel: in a memfd; then what it depends on is too long a list, and the claim ends. */
        if (big || link_send_big(w, entry) != MG_OK)
            code = MG_E_TOO_LARGE;
        big = true;
    }
    memcpy(w->channel.result, packed.data, packed.len);
    mg_msg_init(&msg, MG_MSG_KEEP);
    msg.id = w->run;
    msg.tag = ++w->next_tag;
    msg.bytes = packed.len;
    msg.big = big && code == MG_OK;
    mg_buf_fini(&packed);
    link_send(w, &msg);
    link_answer(w, MG_MSG_ACK, w->next_tag, &msg, &fd);
    reply->stamp = (int64_t)msg.offset;
    reply->until_us = until_us(msg.ms);
    w->generation = msg.bytes;
    return code;
}

void link_host_calls(struct worker *w, struct mg_vm_host *host)
{
    host->call = host_call;
    host->start = host_start;
    host->await = host_await;
    host->cancel = host_cancel;
    host->code = host_code;
    host->value_ask = host_value_ask;
    host->value_put = host_value_put;
    host->generation = &w->generation;
}
