/* Messages between our processes: fixed size, over AF_UNIX SOCK_SEQPACKET, with descriptors attached.
 *
 * Each side checks version, type, length and number of descriptors on arrival; a message that does not fit
 * ends the connection (the peer is broken or hostile). Bulk bytes never travel here but in memfds (memfd.h).
 * Links: master <-> each child (control); front <-> zygote; front <-> each worker; front <-> fetcher. */
#ifndef MOONGATE_MSG_H
#define MOONGATE_MSG_H

#include "moongate/buf.h"

enum { MG_MSG_VERSION = 1, MG_MSG_MAX_FDS = 3 };

enum mg_msg_type {
    MG_MSG_NONE,
    /* master -> child */
    MG_MSG_PEER,    /* fd: the link to the process named by .role; replaces an earlier one */
    MG_MSG_STOP,    /* finish what runs within .ms, then exit */
    MG_MSG_RELOAD,  /* SIGHUP: read the TLS files again; fds: certificate and key, when the master could open them */
    MG_MSG_PING,    /* answer with PONG, same id */
    /* child -> master */
    MG_MSG_PONG,
    MG_MSG_STARTED, /* the child serves */
    /* front -> zygote */
    MG_MSG_SPAWN,   /* .org (name); fds: the worker's end of its link, its channel memfd. id: the worker */
    MG_MSG_KILL,    /* id: the worker */
    /* zygote -> front */
    MG_MSG_SPAWNED, /* id: the worker; .pid */
    MG_MSG_EXITED,  /* id: the worker; .status as of waitpid */
    /* front -> worker */
    MG_MSG_RUN,     /* id: the run; .bytes of request lie in the channel; fd: the bundle, when the worker lacks it;
                     * .offset: generation of the function values; .tag: its slot, counted from 1; 0: it has none */
    MG_MSG_BIG,     /* fd: a memfd of .bytes for the result of run id */
    MG_MSG_CHILD,   /* answer to CALL and AWAIT: .bytes of result of the child run .tag in the channel, or in fd */
    MG_MSG_ACK,     /* answer to START, KEEP .tag; to KEEP: .offset stamp, .ms it holds, .bytes generation */
    MG_MSG_CODED,   /* answer to CODE .tag: .err and .text, or fd: the bundle of .bytes of the UDF .url, its hash in .text */
    MG_MSG_VALUED,  /* answer to ASK .tag: .status state, .offset stamp, .pid made, .ms it holds; .bytes of entry in the
                     * channel, or in fd */
    MG_MSG_FETCHED, /* answer to FETCH .tag; .err; fd: the block file, or none */
    /* worker -> front */
    MG_MSG_READY,   /* sandboxed, self-test passed, warm; .layers of the sandbox */
    MG_MSG_DONE,    /* run id; .bytes of result in the channel, or in the BIG memfd when .big; .tag: the slot where the
                     * result is, counted from 1; 0: it is in the channel's own place */
    MG_MSG_NEED,    /* run id needs a memfd of .bytes; answered by BIG or KILL */
    MG_MSG_CALL,    /* run id calls a UDF and waits: .bytes of request in the channel, child tag .tag */
    MG_MSG_START,   /* the same without waiting; answered by ACK */
    MG_MSG_AWAIT,   /* run id waits for child .tag (0: the next that ends); answered by CHILD */
    MG_MSG_CANCEL,  /* run id does not want child .tag any more; not answered */
    MG_MSG_CODE,    /* run id wants the code of the UDF .url; answered by CODED */
    MG_MSG_ASK,     /* run id asks for the value of a cached function: .bytes in the channel; answered by VALUED */
    MG_MSG_KEEP,    /* run id has computed one: .bytes in the channel, the entry in the BIG memfd when .big; ACK */
    /* worker -> front -> fetcher and back */
    MG_MSG_FETCH,   /* run id asks for remote bytes: .offset, .bytes, .url; tag .tag */
    MG_MSG_HTTP,    /* run id has .bytes of requests in the channel (to the fetcher: in fd), tag .tag; answered by FETCHED
                     * with .bytes of answers in fd, a memfd */
    MG_MSG_SECRET,  /* worker -> front: run id asks for the secret named .text, tag .tag; answered by FETCHED with .bytes of
                     * it in fd, a memfd, and its version in .text */
    MG_MSG_TYPE_COUNT
};

enum mg_role { MG_ROLE_FRONT = 1, MG_ROLE_ZYGOTE, MG_ROLE_FETCHER, MG_ROLE_COUNT };

/* 1,512 bytes, zero where unused. */
struct mg_msg {
    uint16_t version; /* MG_MSG_VERSION */
    uint16_t type;    /* enum mg_msg_type */
    uint32_t length;  /* sizeof(struct mg_msg) */
    uint64_t id;      /* worker or run, as the type says */
    uint64_t tag;
    uint64_t bytes;
    uint64_t offset;
    int64_t pid;
    int32_t status;
    uint32_t err; /* enum mg_err */
    uint32_t role;
    uint32_t ms;
    uint32_t layers;
    uint32_t big;
    char org[64];      /* terminated */
    char text[352];    /* terminated: an error's sentence, an ETag */
    char url[1024];    /* terminated */
};

/* A pair of connected, close-on-exec, non-blocking SEQPACKET sockets: poll(2) before a receive that should wait
 * (mg_msg_wait). */
MG_MUST_CHECK enum mg_err mg_msg_pair(int fds[2], struct mg_errmsg *err);
/* Fills version, length and type; everything else zero. */
void mg_msg_init(struct mg_msg *msg, enum mg_msg_type type);
/* Sends msg and borrows fds. MG_E_UNAVAILABLE when the peer is gone or (non-blocking) its buffer is full. */
MG_MUST_CHECK enum mg_err mg_msg_send(int sock, const struct mg_msg *msg, const int *fds, size_t n_fds);
/* The same, waiting up to `ms` for room in the peer's buffer (-1: for ever). */
MG_MUST_CHECK enum mg_err mg_msg_send_wait(int sock, const struct mg_msg *msg, const int *fds, size_t n_fds, int ms);
/* Receives one message and up to MG_MSG_MAX_FDS descriptors (the caller closes them; close-on-exec).
 * MG_E_UNAVAILABLE: the peer closed. MG_E_CANCELLED: nothing there (non-blocking). MG_E_INVALID: does not fit,
 * descriptors already closed. */
MG_MUST_CHECK enum mg_err mg_msg_recv(int sock, struct mg_msg *msg, int fds[MG_MSG_MAX_FDS], size_t *n_fds);
/* Waits until a message or the peer's end can be received, for at most `ms` (-1: for ever). False: nothing came. */
bool mg_msg_wait(int sock, int ms);
/* The name of a type, for logs ("run"). Static. */
const char *mg_msg_name(unsigned type);

#endif
