/* The guard: what one client may cost. Counters and clocks only; it knows no socket and no h2o, the
 * time is a parameter. One struct mg_guard a connection, on its loop's thread; the address table is
 * shared by all threads.
 *
 * Rules: 100 cancelled requests in 60 s, 100 unfinished requests at once (cancelled ones count
 * until they are answered), a budget of frames that ask for nothing ("noise"), and clocks:
 * handshake, idle, no progress. */
#ifndef MOONGATE_SERVE_GUARD_H
#define MOONGATE_SERVE_GUARD_H

#include "moongate/buf.h"

enum { MG_GUARD_CANCELS = 100, MG_GUARD_CANCEL_WINDOW_MS = 60000, MG_GUARD_JOBS = 100 };
enum {
    MG_GUARD_NOISE = 2000,
    MG_GUARD_NOISE_PER_S = 100,
    MG_GUARD_NOISE_PER_REQUEST = 20,
    MG_GUARD_NOISE_BYTES = 512
};
/* Bytes that must move in each `no_progress_ms`, so that a byte a second is not progress. */
enum { MG_GUARD_PROGRESS_BYTES = 4096 };

struct mg_guard_clocks {
    unsigned handshake_ms, idle_ms, no_progress_ms;
};

/* What a connection does just now, as its protocol sees it. */
enum mg_guard_activity {
    MG_GUARD_HANDSHAKE, /* TLS, PROXY line */
    MG_GUARD_IDLE,      /* between requests */
    MG_GUARD_RECEIVING, /* a part of a request has come */
    MG_GUARD_WORKING,   /* the client waits for us */
    MG_GUARD_SENDING,   /* an answer is on its way */
    MG_GUARD_CLOSING,   /* answered for the last time; draining */
};

struct mg_guard {
    int64_t cancel_window_ms; /* when the counting of cancels began */
    unsigned cancels;
    unsigned jobs; /* handed to the handler and not answered */
    int64_t noise_left, noise_ms;
    uint64_t noise_bytes; /* bytes sent, as of noise_ms */
    enum mg_guard_activity activity;
    int64_t since_ms; /* of the activity, or of its last progress */
    uint64_t requests, requests_seen;
    uint64_t bytes_seen;
};

void mg_guard_init(struct mg_guard *guard, int64_t now_ms);
/* The client took back a request. False: close. */
MG_MUST_CHECK bool mg_guard_cancel(struct mg_guard *guard, int64_t now_ms);
/* A request begins. False: close. */
MG_MUST_CHECK bool mg_guard_begin(struct mg_guard *guard);
/* It was answered, or its answer was thrown away. */
void mg_guard_end(struct mg_guard *guard);
/* A frame that asks for nothing, at that cost; sent bytes earn some of it back. False: close. */
MG_MUST_CHECK bool mg_guard_noise(struct mg_guard *guard, int64_t now_ms, unsigned cost,
                                  uint64_t bytes_sent);
/* Called some times a second. `bytes` has moved in the direction of the activity since the
 * connection began. False: close. */
MG_MUST_CHECK bool mg_guard_tick(struct mg_guard *guard, const struct mg_guard_clocks *clocks,
                                 int64_t now_ms, enum mg_guard_activity activity, uint64_t bytes);

/* An address as 16 bytes: IPv4 mapped into IPv6. */
struct mg_address {
    uint8_t bytes[16];
};
/* "10.0.0.0/8", "::1", "192.168.1.7". */
struct mg_cidr {
    struct mg_address address;
    unsigned bits; /* of the mapped form: 96 more for IPv4 */
};
bool mg_address_parse(struct mg_span text, struct mg_address *out);
/* 46 bytes are enough. */
void mg_address_print(const struct mg_address *address, char *out, size_t size);
bool mg_address_is_loopback(const struct mg_address *address);
bool mg_cidr_parse(const char *text, struct mg_cidr *out);
bool mg_cidr_has(const struct mg_cidr *cidr, const struct mg_address *address);

/* How many connections (or forwarded requests) each address has; IPv6 counts by /64. */
struct mg_address_table;
struct mg_address_table *mg_address_table_new(unsigned max_per_address); /* NULL: no memory */
void mg_address_table_free(struct mg_address_table **table);
/* False: the address has its share. */
MG_MUST_CHECK bool mg_address_take(struct mg_address_table *table,
                                   const struct mg_address *address);
void mg_address_release(struct mg_address_table *table, const struct mg_address *address);

#endif
