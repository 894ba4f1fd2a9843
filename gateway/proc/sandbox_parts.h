/* The parts of the sandbox, one file each: landlock.c, seccomp.c, probes.c; put in order by
 * sandbox.c. */
#ifndef MOONGATE_PROC_SANDBOX_PARTS_H
#define MOONGATE_PROC_SANDBOX_PARTS_H

#include "moongate/sandbox.h"

/* ABI of the running kernel; 0: none. */
int mg_landlock_abi(void);
/* A ruleset that confines to the paths of `box`; restricts nobody yet. `abi` at most the kernel's.
 */
MG_MUST_CHECK enum mg_err mg_landlock_rules(const struct mg_sandbox *box, int abi, int *ruleset,
                                            struct mg_errmsg *err);
/* One more path that the ruleset lets the caller write to: what has been mounted since. */
MG_MUST_CHECK enum mg_err mg_landlock_allow(int ruleset, int abi, const char *path, struct mg_errmsg *err);
/* Confines the caller, which has no_new_privs. Closes nothing. */
MG_MUST_CHECK enum mg_err mg_landlock_enforce(int ruleset, struct mg_errmsg *err);

/* Makes the filter that goes with a Landlock of that ABI, and loads it (made by prepare, or now).
 */
MG_MUST_CHECK enum mg_err mg_seccomp_prepare(int abi, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_seccomp_enforce(int abi, struct mg_errmsg *err);
/* The filter is asked these with arguments that no program has a use for: it answers them with
 * EACCES, the bare kernel with another error, so that a probe need not die to learn that the filter
 * holds. */
enum { MG_PROBE_PTRACE = 0x4d47 };

struct mg_probe {
    const char *name;
    unsigned layers; /* each of these alone blocks it (on this kernel or on another) */
    bool needs_outside;
    int (*attempt)(const char *outside); /* 0 or -1 with errno, as a system call */
};
extern const struct mg_probe mg_probes[]; /* ends with name NULL */
/* Bits of the rows of mg_probes that were not blocked. */
unsigned mg_probes_escaped(const char *outside);

/* mg_sandbox_enter with some layers left out and without the probes, by which tests show that each
 * probe can escape. `abi` caps Landlock's (0: the kernel's). */
MG_MUST_CHECK enum mg_err mg_sandbox_enter_without(const struct mg_sandbox *box, unsigned left_out,
                                                   int abi, unsigned *layers,
                                                   struct mg_errmsg *err);

#endif
