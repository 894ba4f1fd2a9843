/* The fetcher: the only process with an outbound network.
 *
 * Serves MG_MSG_FETCH from the front: brings ranges of remote files over http(s) into block files (files.h) under
 * data_dir/blocks/<org>, which it alone writes, and answers MG_MSG_FETCHED with the file's descriptor opened
 * read-only. The egress policy holds at each connect and each redirect: http and https only, public addresses only
 * unless allowed, no proxy variables, at most 5 redirects, size and time limits. Asked twice for the same block it
 * fetches once. */
#ifndef MOONGATE_FETCH_H
#define MOONGATE_FETCH_H

#include "moongate/buf.h"

struct mg_fetch_config {
    const char *data_dir;
    const char *ca_file;         /* further trusted certificates; NULL: the system's */
    const char *const *allow;    /* NULL-terminated CIDR blocks that may be reached although private: "127.0.0.1/32" */
    const char *const *deny;     /* likewise: never reached, although public or allowed */
    uint64_t max_bytes;          /* of one remote file: 2 GB */
    unsigned timeout_s;          /* 300 */
    unsigned revalidate_s;       /* ETag checked at most this often: 60 */
    unsigned uid, gid;           /* to become when started as root; 0: stay */
};
/* A child of the master (mg_child_main_f); context is struct mg_fetch_config. */
int mg_fetcher_main(int control, void *config);

/* The policy alone: may this address be connected to? `address` is a struct sockaddr. */
bool mg_egress_allowed(const void *address, size_t address_len, const char *const *allow);

/* Whether the address is in one of the blocks; an IPv6 address that carries an IPv4 one counts as both. */
bool mg_egress_listed(const void *address, size_t address_len, const char *const *blocks);

#endif
