/* The guard's arithmetic. No call costs more than a few additions, but for the address table: one
 * lock and one hash bucket for each connection. */
#include "guard.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>

void mg_guard_init(struct mg_guard *guard, int64_t now_ms)
{
    *guard = (struct mg_guard){
        .cancel_window_ms = now_ms,
        .noise_left = MG_GUARD_NOISE,
        .noise_ms = now_ms,
        .activity = MG_GUARD_HANDSHAKE,
        .since_ms = now_ms,
    };
}

bool mg_guard_cancel(struct mg_guard *guard, int64_t now_ms)
{
    if (now_ms - guard->cancel_window_ms > MG_GUARD_CANCEL_WINDOW_MS) {
        guard->cancel_window_ms = now_ms;
        guard->cancels = 0;
    }
    return ++guard->cancels <= MG_GUARD_CANCELS;
}

bool mg_guard_begin(struct mg_guard *guard)
{
    if (guard->jobs >= MG_GUARD_JOBS) {
        return false;
    }
    guard->jobs++;
    guard->requests++;
    guard->noise_left += MG_GUARD_NOISE_PER_REQUEST;
    if (guard->noise_left > MG_GUARD_NOISE) {
        guard->noise_left = MG_GUARD_NOISE;
    }
    return true;
}

void mg_guard_end(struct mg_guard *guard)
{
    MG_ASSERT(guard->jobs > 0);
    guard->jobs--;
    guard->requests++;
}

bool mg_guard_noise(struct mg_guard *guard, int64_t now_ms, unsigned cost, uint64_t bytes_sent)
{
    int64_t earned = (now_ms - guard->noise_ms) * MG_GUARD_NOISE_PER_S / 1000;
    if (earned > 0) {
        guard->noise_ms = now_ms;
    }
    if (bytes_sent >= guard->noise_bytes + MG_GUARD_NOISE_BYTES) {
        earned += (int64_t)((bytes_sent - guard->noise_bytes) / MG_GUARD_NOISE_BYTES);
        guard->noise_bytes = bytes_sent;
    }
    guard->noise_left += earned;
    if (guard->noise_left > MG_GUARD_NOISE) {
        guard->noise_left = MG_GUARD_NOISE;
    }
    guard->noise_left -= cost;
    return guard->noise_left >= 0;
}

bool mg_guard_tick(struct mg_guard *guard, const struct mg_guard_clocks *clocks, int64_t now_ms,
                   enum mg_guard_activity activity, uint64_t bytes)
{
    if (activity != guard->activity || guard->requests != guard->requests_seen) {
        guard->activity = activity;
        guard->requests_seen = guard->requests;
        guard->since_ms = now_ms;
        guard->bytes_seen = bytes;
        return true;
    }
    int64_t quiet_ms = now_ms - guard->since_ms;
    switch (activity) {
    case MG_GUARD_HANDSHAKE:
        return quiet_ms <= clocks->handshake_ms;
    case MG_GUARD_IDLE:
        return quiet_ms <= clocks->idle_ms;
    case MG_GUARD_WORKING:
        return true; /* the deadline of the work is the handler's */
    case MG_GUARD_CLOSING:
        return quiet_ms <= 2000;
    case MG_GUARD_RECEIVING:
    case MG_GUARD_SENDING:
        if (bytes - guard->bytes_seen >= MG_GUARD_PROGRESS_BYTES) {
            guard->bytes_seen = bytes;
            guard->since_ms = now_ms;
            return true;
        }
        return quiet_ms <= clocks->no_progress_ms;
    }
    return true;
}

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool mg_address_parse(struct mg_span text, struct mg_address *out)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof copy) {
        return false;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    struct in_addr v4;
    if (inet_pton(AF_INET, copy, &v4) == 1) {
        memcpy(out->bytes, mapped, sizeof mapped);
        memcpy(out->bytes + 12, &v4, 4);
        return true;
    }
    struct in6_addr v6;
    if (inet_pton(AF_INET6, copy, &v6) == 1) {
        memcpy(out->bytes, &v6, 16);
        return true;
    }
    return false;
}

void mg_address_print(const struct mg_address *address, char *out, size_t size)
{
    bool v4 = memcmp(address->bytes, mapped, sizeof mapped) == 0;
    if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? address->bytes + 12 : address->bytes, out,
                   (socklen_t)size) &&
        size > 0) {
        out[0] = '\0';
    }
}

bool mg_address_is_loopback(const struct mg_address *address)
{
    static const uint8_t v6[16] = {[15] = 1};
    return memcmp(address->bytes, v6, 16) == 0 ||
           (memcmp(address->bytes, mapped, sizeof mapped) == 0 && address->bytes[12] == 127);
}

bool mg_cidr_parse(const char *text, struct mg_cidr *out)
{
    const char *slash = strchr(text, '/');
    struct mg_cidr cidr;
    struct mg_span host = {text, slash ? (size_t)(slash - text) : strlen(text)};
    if (!mg_address_parse(host, &cidr.address)) {
        return false;
    }
    bool v4 = memchr(host.data, ':', host.len) == NULL;
    cidr.bits = 128;
    if (slash) {
        char *end;
        unsigned long bits = strtoul(slash + 1, &end, 10);
        if (end == slash + 1 || *end || slash[1] < '0' || slash[1] > '9' ||
            bits > (v4 ? 32 : 128)) {
            return false;
        }
        cidr.bits = (unsigned)bits + (v4 ? 96 : 0);
    }
    *out = cidr;
    return true;
}

bool mg_cidr_has(const struct mg_cidr *cidr, const struct mg_address *address)
{
    unsigned bytes = cidr->bits / 8, rest = cidr->bits % 8;
    if (memcmp(cidr->address.bytes, address->bytes, bytes) != 0) {
        return false;
    }
    uint8_t mask = (uint8_t)(0xff00 >> rest);
    return rest == 0 || ((cidr->address.bytes[bytes] ^ address->bytes[bytes]) & mask) == 0;
}

enum { BUCKETS = 4096 };
struct entry {
    struct entry *next;
    struct mg_address key;
    unsigned count;
};
struct mg_address_table {
    pthread_mutex_t lock;
    unsigned max;
    struct entry *buckets[BUCKETS];
};

struct mg_address_table *mg_address_table_new(unsigned max_per_address)
{
    struct mg_address_table *table = calloc(1, sizeof *table);
    if (table) {
        pthread_mutex_init(&table->lock, NULL);
        table->max = max_per_address;
    }
    return table;
}

void mg_address_table_free(struct mg_address_table **table)
{
    if (!*table) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct entry *e = (*table)->buckets[i]; e;) {
            struct entry *next = e->next;
            free(e);
            e = next;
        }
    }
    pthread_mutex_destroy(&(*table)->lock);
    free(*table);
    *table = NULL;
}

static struct entry **find(struct mg_address_table *table, const struct mg_address *address,
                           struct mg_address *key)
{
    *key = *address;
    if (memcmp(key->bytes, mapped, sizeof mapped) != 0) {
        memset(key->bytes + 8, 0, 8); /* one customer has a /64 */
    }
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < 16; i++) {
        hash = (hash ^ key->bytes[i]) * 1099511628211u;
    }
    struct entry **slot = &table->buckets[(hash >> 32) % BUCKETS];
    while (*slot && memcmp((*slot)->key.bytes, key->bytes, 16) != 0) {
        slot = &(*slot)->next;
    }
    return slot;
}

bool mg_address_take(struct mg_address_table *table, const struct mg_address *address)
{
    struct mg_address key;
    bool taken = false;
    pthread_mutex_lock(&table->lock);
    struct entry **slot = find(table, address, &key);
    if (!*slot) {
        *slot = calloc(1, sizeof **slot);
        if (*slot) {
            (*slot)->key = key;
        }
    }
    if (*slot && (*slot)->count < table->max) {
        (*slot)->count++;
        taken = true;
    }
    pthread_mutex_unlock(&table->lock);
    return taken;
}

void mg_address_release(struct mg_address_table *table, const struct mg_address *address)
{
    struct mg_address key;
    pthread_mutex_lock(&table->lock);
    struct entry **slot = find(table, address, &key);
    MG_ASSERT(*slot && (*slot)->count > 0);
    if (--(*slot)->count == 0) {
        struct entry *gone = *slot;
        *slot = gone->next;
        free(gone);
    }
    pthread_mutex_unlock(&table->lock);
}
