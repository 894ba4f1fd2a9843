/* The sandbox of a worker: mandatory layers, added layers, and the self-test that proves them.
 *
 * Order (a later layer would stop an earlier one): rlimits, closed descriptors, uid, added namespaces,
 * no_new_privs, Landlock (the kernel's ABI, 2 and up), seccomp last. Afterwards the probes try to break out
 * natively; a worker with a missing mandatory layer, or a probe that succeeds, exits and never serves. */
#ifndef MOONGATE_SANDBOX_H
#define MOONGATE_SANDBOX_H

#include "moongate/buf.h"

enum mg_sandbox_layer {
    MG_LAYER_RLIMIT = 1 << 0,
    MG_LAYER_NNP = 1 << 1,
    MG_LAYER_FDS = 1 << 2,
    MG_LAYER_LANDLOCK = 1 << 3,
    MG_LAYER_SECCOMP = 1 << 4,
    MG_LAYER_MANDATORY = (1 << 5) - 1,
    MG_LAYER_UID = 1 << 5,
    MG_LAYER_USERNS = 1 << 6,
    MG_LAYER_NETNS = 1 << 7,
    MG_LAYER_IPCNS = 1 << 8,
    MG_LAYER_UTSNS = 1 << 9,
    MG_LAYER_MOUNTNS = 1 << 10,
    MG_LAYER_SCRATCH = 1 << 11, /* the scratch folder is a file system of its own, of a fixed size */
    MG_LAYER_LAST = MG_LAYER_SCRATCH,
};

struct mg_sandbox {
    const char *const *read_paths;  /* NULL-terminated: folders or files, read-only (PROJ, GDAL, mounts) */
    const char *const *write_paths; /* NULL-terminated: the organisation's folders and the scratch folder */
    const char *scratch;            /* an empty folder to write to; NULL: none */
    size_t scratch_bytes;           /* of the file system that covers it where mounts are allowed */
    const int *keep_fds;            /* open after it, beside 0, 1, 2 */
    size_t n_keep_fds;
    size_t data_bytes;              /* RLIMIT_DATA */
    size_t file_bytes;              /* RLIMIT_FSIZE */
    unsigned uid, gid;              /* 0: stay who we are */
    const char *outside;            /* for the probes, see below; NULL: those that need it are left out */
};
/* Once in the process that forks the confined ones: makes the seccomp filter, which they then only load. */
MG_MUST_CHECK enum mg_err mg_sandbox_prepare(struct mg_errmsg *err);

/* Confines the calling process for good and runs the probes. `layers` gets what holds. Keeps PR_SET_PDEATHSIG. */
MG_MUST_CHECK enum mg_err mg_sandbox_enter(const struct mg_sandbox *box, unsigned *layers, struct mg_errmsg *err);
/* The probes alone: open /etc/passwd, another organisation's folder, truncate and chmod outside, socket, exec,
 * ptrace, kill, anonymous shared memory, memfd_create. `outside` is a file that the caller may write but the sandbox
 * may not. MG_E_FORBIDDEN names the probes that escaped. */
MG_MUST_CHECK enum mg_err mg_sandbox_probe(const char *outside, struct mg_errmsg *err);
/* Tries all of it in a forked child and reports a line for each layer and probe, for `doctor` and /ready. */
MG_MUST_CHECK enum mg_err mg_sandbox_report(struct mg_buf *out, unsigned *layers, struct mg_errmsg *err);
/* "landlock" for MG_LAYER_LANDLOCK. Static. */
const char *mg_layer_name(enum mg_sandbox_layer layer);

#endif
