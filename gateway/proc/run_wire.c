/* Runs on the wire: requests and results as packs (pack.h). The order of the fields below is the
 * format; its number comes first, so that processes of two versions never misread each other. */
#include "moongate/run_wire.h"

enum { WIRE_VERSION = 2, BODY_ALIGN = 64 };

static const char magic[8] = {'M', 'G', 'R', 'E', 'S', 'L', 'T', '1'};

static void put_span(struct mg_buf *out, struct mg_span span)
{
    mg_pack_bytes(out, span.len ? span.data : "", span.len);
}

void mg_run_request_pack(const struct mg_run_request *request, struct mg_buf *out)
{
    mg_pack_int(out, WIRE_VERSION);
    mg_pack_int(out, request->mode);
    put_span(out, request->org);
    put_span(out, request->udf);
    mg_pack_bytes(out, request->code.bytes, sizeof request->code.bytes);
    put_span(out, request->args);
    put_span(out, request->extra);
    mg_pack_bool(out, request->has_tile);
    mg_pack_int(out, request->z);
    mg_pack_int(out, request->x);
    mg_pack_int(out, request->y);
    mg_pack_int(out, request->tile_size);
    put_span(out, request->formats);
    put_span(out, request->vector);
    put_span(out, request->raster);
    put_span(out, request->accepts);
    put_span(out, request->options);
    mg_pack_int(out, request->deadline_ms);
    mg_pack_int(out, request->depth);
    mg_pack_int(out, request->lua_bytes);
    mg_pack_int(out, request->result_bytes);
    mg_pack_bool(out, request->owner);
    mg_pack_bool(out, request->gzip);
}

enum mg_err mg_run_request_unpack(struct mg_span data, struct mg_run_request *out)
{
    struct mg_run_request request = {0};
    struct mg_unpack in;
    mg_unpack_init(&in, data.data, data.len);
    if (mg_unpack_int(&in) != WIRE_VERSION)
        return MG_E_INVALID;
    int64_t mode = mg_unpack_int(&in);
    if (mode < MG_RUN_ANSWER || mode > MG_RUN_VALUE)
        return MG_E_INVALID;
    request.mode = (enum mg_run_mode)mode;
    request.org = mg_unpack_bytes(&in);
    request.udf = mg_unpack_bytes(&in);
    struct mg_span code = mg_unpack_bytes(&in);
    if (code.len != sizeof request.code.bytes)
        return MG_E_INVALID;
    memcpy(request.code.bytes, code.data, code.len);
    request.args = mg_unpack_bytes(&in);
    request.extra = mg_unpack_bytes(&in);
    request.has_tile = mg_unpack_bool(&in);
    request.z = mg_unpack_int(&in);
    request.x = mg_unpack_int(&in);
    request.y = mg_unpack_int(&in);
    request.tile_size = mg_unpack_int(&in);
    request.formats = mg_unpack_bytes(&in);
    request.vector = mg_unpack_bytes(&in);
    request.raster = mg_unpack_bytes(&in);
    request.accepts = mg_unpack_bytes(&in);
    request.options = mg_unpack_bytes(&in);
    request.deadline_ms = mg_unpack_int(&in);
    request.depth = mg_unpack_int(&in);
    request.lua_bytes = mg_unpack_int(&in);
    request.result_bytes = mg_unpack_int(&in);
    request.owner = mg_unpack_bool(&in);
    request.gzip = mg_unpack_bool(&in);
    if (!mg_unpack_done(&in))
        return MG_E_INVALID;
    *out = request;
    return MG_OK;
}

static void pack_meta(const struct mg_run_result *result, struct mg_buf *out)
{
    mg_pack_int(out, WIRE_VERSION);
    mg_pack_int(out, result->err);
    put_span(out, result->message);
    put_span(out, result->file);
    mg_pack_int(out, result->line);
    put_span(out, result->traceback);
    put_span(out, result->log);
    mg_pack_int(out, result->status);
    put_span(out, result->codec);
    put_span(out, result->mime);
    mg_pack_bool(out, result->by_accept);
    mg_pack_bool(out, result->compressible);
    mg_pack_bool(out, result->gzip);
    mg_pack_int(out, result->identity_bytes);
    mg_pack_bool(out, result->empty);
    mg_pack_bool(out, result->retire);
    mg_pack_int(out, result->max_age_s);
    mg_pack_int(out, result->lua_us);
    mg_pack_int(out, result->encode_us);
    mg_pack_int(out, result->cpu_us);
    put_span(out, result->headers);
    put_span(out, result->deps);
}

static bool unpack_meta(struct mg_span data, struct mg_run_result *out)
{
    struct mg_run_result result = {0};
    struct mg_unpack in;
    mg_unpack_init(&in, data.data, data.len);
    if (mg_unpack_int(&in) != WIRE_VERSION)
        return false;
    int64_t code = mg_unpack_int(&in);
    if (code < 0 || code >= MG_ERR_COUNT)
        return false;
    result.err = (enum mg_err)code;
    result.message = mg_unpack_bytes(&in);
    result.file = mg_unpack_bytes(&in);
    result.line = mg_unpack_int(&in);
    result.traceback = mg_unpack_bytes(&in);
    result.log = mg_unpack_bytes(&in);
    result.status = mg_unpack_int(&in);
    result.codec = mg_unpack_bytes(&in);
    result.mime = mg_unpack_bytes(&in);
    result.by_accept = mg_unpack_bool(&in);
    result.compressible = mg_unpack_bool(&in);
    result.gzip = mg_unpack_bool(&in);
    result.identity_bytes = mg_unpack_int(&in);
    result.empty = mg_unpack_bool(&in);
    result.retire = mg_unpack_bool(&in);
    result.max_age_s = mg_unpack_int(&in);
    result.lua_us = mg_unpack_int(&in);
    result.encode_us = mg_unpack_int(&in);
    result.cpu_us = mg_unpack_int(&in);
    result.headers = mg_unpack_bytes(&in);
    result.deps = mg_unpack_bytes(&in);
    if (!mg_unpack_done(&in) || result.identity_bytes < 0)
        return false;
    *out = result;
    return true;
}

uint64_t mg_result_body_offset(const struct mg_result_head *head)
{
    return (sizeof *head + head->meta_bytes + BODY_ALIGN - 1) & ~(uint64_t)(BODY_ALIGN - 1);
}

void mg_run_result_pack(const struct mg_run_result *result, bool inline_body, struct mg_buf *out)
{
    struct mg_result_head head = {.body_bytes = result->body.len};
    memcpy(head.magic, magic, sizeof magic);
    size_t start = out->len;
    mg_buf_put(out, &head, sizeof head);
    pack_meta(result, out);
    if (out->failed)
        return;
    head.meta_bytes = out->len - start - sizeof head;
    memcpy(out->data + start, &head, sizeof head);
    if (!inline_body || result->body.len == 0)
        return;
    static const char zeros[BODY_ALIGN];
    mg_buf_put(out, zeros, mg_result_body_offset(&head) - (out->len - start));
    mg_buf_put(out, result->body.data, result->body.len);
}

enum mg_err mg_run_result_unpack(struct mg_span data, struct mg_run_result *out)
{
    struct mg_result_head head;
    struct mg_run_result result;
    if (data.len < sizeof head)
        return MG_E_INVALID;
    memcpy(&head, data.data, sizeof head);
    uint64_t left = data.len - sizeof head;
    if (memcmp(head.magic, magic, sizeof magic) != 0 || head.meta_bytes > left)
        return MG_E_INVALID;
    if (!unpack_meta((struct mg_span){data.data + sizeof head, head.meta_bytes}, &result))
        return MG_E_INVALID;
    uint64_t offset = mg_result_body_offset(&head);
    if (head.body_bytes && left > head.meta_bytes) {
        if (offset > data.len || head.body_bytes > data.len - offset)
            return MG_E_INVALID;
        result.body = (struct mg_span){data.data + offset, head.body_bytes};
    }
    *out = result;
    return MG_OK;
}
