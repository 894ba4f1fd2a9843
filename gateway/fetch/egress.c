/* Which addresses may be connected to: public unicast, and what the operator allows.
 *
 * The check is on the address that a socket is about to connect to, after resolution and at every redirect, so no
 * spelling of a host's name can get around it. IPv6 forms that carry an IPv4 address (mapped, NAT64, 6to4) count as
 * that address. Source of the ranges: IANA's special-purpose address registries (RFC 6890 and its updates). */
#include "moongate/fetch.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

struct block {
    uint8_t bytes[16];
    int bits;
};

static const struct block refused_v4[] = {
    {{0}, 8},              /* this network */
    {{10}, 8},             /* private */
    {{100, 64}, 10},       /* carrier-grade NAT */
    {{127}, 8},            /* loopback */
    {{169, 254}, 16},      /* link-local, metadata services */
    {{172, 16}, 12},       /* private */
    {{192, 0, 0}, 24},     /* protocol assignments */
    {{192, 0, 2}, 24},     /* documentation */
    {{192, 88, 99}, 24},   /* 6to4 relays */
    {{192, 168}, 16},      /* private */
    {{198, 18}, 15},       /* benchmarks */
    {{198, 51, 100}, 24},  /* documentation */
    {{203, 0, 113}, 24},   /* documentation */
    {{224}, 4},            /* multicast */
    {{240}, 4},            /* reserved, broadcast */
};

static const struct block global_v6 = {{0x20}, 3};
static const struct block refused_v6[] = {
    {{0x20, 0x01}, 23},             /* protocol assignments, Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x3f, 0xff}, 20},             /* documentation */
};

/* Prefixes behind which an IPv4 address stands. */
static const struct {
    struct block prefix;
    int at;
} carriers[] = {
    {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96}, 12}, /* mapped */
    {{{0, 0x64, 0xff, 0x9b}, 96}, 12},                      /* NAT64 */
    {{{0x20, 0x02}, 16}, 2},                                /* 6to4 */
};

static bool within(const uint8_t *address, const struct block *block)
{
    int whole = block->bits / 8, rest = block->bits % 8;
    if (memcmp(address, block->bytes, (size_t)whole) != 0)
        return false;
    return rest == 0 || (address[whole] ^ block->bytes[whole]) >> (8 - rest) == 0;
}

/* "10.0.0.0/8", "::1"; false when it is neither. */
static bool parse_block(const char *text, int family, struct block *out)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    if (n >= sizeof address)
        return false;
    memcpy(address, text, n);
    address[n] = '\0';
    int most = family == AF_INET ? 32 : 128;
    if (inet_pton(family, address, out->bytes) != 1)
        return false;
    char *end;
    long bits = slash ? strtol(slash + 1, &end, 10) : most;
    if (slash && (slash[1] < '0' || slash[1] > '9' || *end || bits > most))
        return false;
    out->bits = (int)bits;
    return true;
}

static bool is_within_one_of(const uint8_t *address, int family, const char *const *allow)
{
    struct block block;
    for (; allow && *allow; allow++)
        if (parse_block(*allow, family, &block) && within(address, &block))
            return true;
    return false;
}

static bool v4_allowed(const uint8_t *address, const char *const *allow)
{
    if (is_within_one_of(address, AF_INET, allow))
        return true;
    for (size_t i = 0; i < sizeof refused_v4 / sizeof *refused_v4; i++)
        if (within(address, &refused_v4[i]))
            return false;
    return true;
}

static bool v6_allowed(const uint8_t *address, const char *const *allow)
{
    if (is_within_one_of(address, AF_INET6, allow))
        return true;
    for (size_t i = 0; i < sizeof carriers / sizeof *carriers; i++)
        if (within(address, &carriers[i].prefix))
            return v4_allowed(address + carriers[i].at, allow);
    if (!within(address, &global_v6))
        return false;
    for (size_t i = 0; i < sizeof refused_v6 / sizeof *refused_v6; i++)
        if (within(address, &refused_v6[i]))
            return false;
    return true;
}

bool mg_egress_listed(const void *address, size_t address_len, const char *const *blocks)
{
    const struct sockaddr *any = address;
    if (address_len >= sizeof(struct sockaddr_in) && any->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        return is_within_one_of((const uint8_t *)&v4.sin_addr, AF_INET, blocks);
    }
    if (address_len >= sizeof(struct sockaddr_in6) && any->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        const uint8_t *bytes = (const uint8_t *)&v6.sin6_addr;
        for (size_t i = 0; i < sizeof carriers / sizeof *carriers; i++)
            if (within(bytes, &carriers[i].prefix) && is_within_one_of(bytes + carriers[i].at, AF_INET, blocks))
                return true;
        return is_within_one_of(bytes, AF_INET6, blocks);
    }
    return false;
}

bool mg_egress_allowed(const void *address, size_t address_len, const char *const *allow)
{
    const struct sockaddr *any = address;
    if (address_len >= sizeof(struct sockaddr_in) && any->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        return v4_allowed((const uint8_t *)&v4.sin_addr, allow);
    }
    if (address_len >= sizeof(struct sockaddr_in6) && any->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        return v6_allowed((const uint8_t *)&v6.sin6_addr, allow);
    }
    return false;
}
