/* Values of cached functions in the cache store: the entry under a key of its organisation, with when it was made and
 * what it depends on. One that depends on what has changed is none. */
#include "engine_run.h"

#include "moongate/log.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Other keys of the store are hashes of other things; this prefix keeps them apart. */
static void key_of(const char *org, const struct mg_hash *key, struct mg_hash *out)
{
    struct mg_buf packed;
    mg_buf_init(&packed, 0);
    mg_pack_str(&packed, "function value");
    mg_pack_str(&packed, org);
    mg_pack_bytes(&packed, key->bytes, sizeof key->bytes);
    mg_sha256(packed.data, packed.len, out);
    mg_buf_fini(&packed);
}

void mg_engine_value_get(void *context, const char *org, const struct mg_value_ask *ask, struct mg_value_reply *reply,
                         struct mg_buf *entry, int *fd, uint64_t *fd_bytes)
{
    struct mg_engine *engine = context;
    struct mg_hash key;
    struct mg_buf meta;
    struct mg_unpack in;
    if (ask->outside) {
        reply->until_us = ask->deps.len && !ask->reset ? mg_versions_until(engine->versions, org, ask->deps, ask->made_s) : 0;
        reply->state = reply->until_us > 0 ? MG_VALUE_SAME : MG_VALUE_COMPUTE;
        return;
    }
    if (ask->reset)
        return;
    key_of(org, &ask->key, &key);
    mg_buf_init(&meta, 0);
    if (mg_cache_get(engine->cache, &key, &meta, entry, fd, fd_bytes) == MG_OK) {
        mg_unpack_init(&in, meta.data, meta.len);
        reply->stamp = mg_unpack_int(&in);
        reply->made_s = mg_unpack_int(&in);
        struct mg_span deps = mg_unpack_bytes(&in);
        bool whole = mg_unpack_done(&in);
        bool young = ask->max_age_s < 0 || (int64_t)time(NULL) - reply->made_s < ask->max_age_s;
        if (whole && young)
            reply->until_us = mg_versions_until(engine->versions, org, deps, reply->made_s);
        if (reply->until_us > 0)
            reply->state = ask->stamp && ask->stamp == reply->stamp ? MG_VALUE_SAME : MG_VALUE_HIT;
    }
    if (reply->state != MG_VALUE_HIT) {
        entry->len = 0;
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
    }
    mg_buf_fini(&meta);
}

void mg_engine_value_put(void *context, const char *org, const struct mg_udf *udf, const struct mg_hash *value_key,
                         struct mg_span deps, struct mg_span entry, int fd, uint64_t fd_bytes,
                         struct mg_value_reply *reply)
{
    struct mg_engine *engine = context;
    struct mg_hash key, group;
    struct mg_errmsg err = {0};
    struct mg_buf meta;
    char name[256];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int len = snprintf(name, sizeof name, "%s/%s", org, udf->name); /* a purge of the UDF takes them too */
    mg_sha256(name, (size_t)len, &group);
    key_of(org, value_key, &key);
    reply->stamp = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    reply->made_s = now.tv_sec;
    mg_buf_init(&meta, 0);
    mg_pack_int(&meta, reply->stamp);
    mg_pack_int(&meta, reply->made_s);
    mg_pack_bytes(&meta, deps.data, deps.len);
    struct mg_span head = {meta.data, meta.len};
    enum mg_err status = fd < 0 ? mg_cache_put(engine->cache, &key, &group, head, entry, &err)
                                : mg_cache_put_fd(engine->cache, &key, &group, head, fd, 0, fd_bytes, &err);
    if (status) {
        mg_log_warn("function values: %s", err.text);
        reply->stamp = 0;
    }
    reply->until_us = mg_versions_until(engine->versions, org, deps, reply->made_s);
    mg_buf_fini(&meta);
}
