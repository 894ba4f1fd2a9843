/* seccomp: what a worker may ask of the kernel.
 *
 * A list of what is allowed; all else is EPERM, because a kill by default ends GDAL on a rare call.
 * Three are a kill: exec, ptrace and kill, which nothing of ours calls. Where the kernel's own
 * rules are too wide the arguments are looked at: no O_TRUNC without a write mode and no
 * truncate(2) (Landlock refuses them only from ABI 3 on), no anonymous shared memory and no
 * memfd_create (outside of RLIMIT_DATA), prlimit to read only. Executable memory stays allowed,
 * LuaJIT needs it. Cost: made once in 1 to 2 ms, then copied by fork; loading takes some 50 us; a
 * call costs 20 ns more. */
#include "sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Compared with tgkill's first argument, so that abort() works; replaced by the process's id before
 * loading. */
enum { OWN_PID = 0x4d6f4f6e };

static const int allowed[] = {
    /* files, as far as Landlock lets them be opened */
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(preadv),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pwrite64),
    SCMP_SYS(pwritev),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(close_range),
    SCMP_SYS(dup),
    SCMP_SYS(fcntl),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(statx),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(creat),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(flock),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(rmdir),
    SCMP_SYS(getdents64),
    SCMP_SYS(getcwd),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(fadvise64),
    SCMP_SYS(umask),
    /* memory */
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(msync),
    /* the link to the front */
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    /* signals of its own */
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    /* time */
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(times),
    /* itself */
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getppid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(futex),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getcpu),
    SCMP_SYS(getrusage),
    SCMP_SYS(getrlimit),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    SCMP_SYS(getrandom),
};

#define EQ(n, value)                                      \
    {                                                     \
        .arg = (n), .op = SCMP_CMP_EQ, .datum_a = (value) \
    }
#define NE(n, value)                                      \
    {                                                     \
        .arg = (n), .op = SCMP_CMP_NE, .datum_a = (value) \
    }
#define MASKED(n, mask, value)                                                      \
    {                                                                               \
        .arg = (n), .op = SCMP_CMP_MASKED_EQ, .datum_a = (mask), .datum_b = (value) \
    }
enum { OPEN_MASK = O_TRUNC | O_ACCMODE };

/* A call that is allowed, refused or deadly by its arguments. Rows of one call and one action are
 * alternatives. */
static const struct {
    int call;
    uint32_t action;
    unsigned n_args;
    struct scmp_arg_cmp args[2];
} by_argument[] = {
    {SCMP_SYS(open), SCMP_ACT_ALLOW, 1, {MASKED(1, O_TRUNC, 0)}},
    {SCMP_SYS(open), SCMP_ACT_ALLOW, 1, {MASKED(1, OPEN_MASK, O_TRUNC | O_WRONLY)}},
    {SCMP_SYS(open), SCMP_ACT_ALLOW, 1, {MASKED(1, OPEN_MASK, O_TRUNC | O_RDWR)}},
    {SCMP_SYS(openat), SCMP_ACT_ALLOW, 1, {MASKED(2, O_TRUNC, 0)}},
    {SCMP_SYS(openat), SCMP_ACT_ALLOW, 1, {MASKED(2, OPEN_MASK, O_TRUNC | O_WRONLY)}},
    {SCMP_SYS(openat), SCMP_ACT_ALLOW, 1, {MASKED(2, OPEN_MASK, O_TRUNC | O_RDWR)}},
    {SCMP_SYS(mmap), SCMP_ACT_ALLOW, 1, {MASKED(3, MAP_ANONYMOUS, 0)}},
    {SCMP_SYS(mmap), SCMP_ACT_ALLOW, 1, {MASKED(3, MAP_SHARED, 0)}},
    {SCMP_SYS(prlimit64), SCMP_ACT_ALLOW, 2, {EQ(0, 0), EQ(2, 0)}},
    {SCMP_SYS(prctl), SCMP_ACT_ALLOW, 1, {EQ(0, PR_SET_NAME)}},
    {SCMP_SYS(prctl), SCMP_ACT_ALLOW, 1, {EQ(0, PR_GET_NO_NEW_PRIVS)}},
    {SCMP_SYS(tgkill), SCMP_ACT_ALLOW, 1, {EQ(0, OWN_PID)}},
    {SCMP_SYS(clone3),
     SCMP_ACT_ERRNO(ENOSYS),
     0,
     {{0}}}, /* glibc then asks clone, and is told EPERM */
    {SCMP_SYS(execve), SCMP_ACT_ERRNO(EACCES), 1, {EQ(0, 0)}},
    {SCMP_SYS(execve), SCMP_ACT_KILL_PROCESS, 1, {NE(0, 0)}},
    {SCMP_SYS(execveat), SCMP_ACT_KILL_PROCESS, 0, {{0}}},
    {SCMP_SYS(ptrace), SCMP_ACT_ERRNO(EACCES), 1, {EQ(0, MG_PROBE_PTRACE)}},
    {SCMP_SYS(ptrace), SCMP_ACT_KILL_PROCESS, 1, {NE(0, MG_PROBE_PTRACE)}},
    {SCMP_SYS(kill), SCMP_ACT_ERRNO(EACCES), 1, {EQ(1, 0)}},
    {SCMP_SYS(kill), SCMP_ACT_KILL_PROCESS, 1, {NE(1, 0)}},
};

/* With openat2 and without. */
static struct filter {
    struct sock_filter *code;
    size_t len;
} filters[2];

/* A filter cannot see openat2's flags, which lie in memory, so with a Landlock that does not know
 * truncation (before ABI 3) the call is said not to exist: geo/files.c then walks the path by
 * openat. */
static bool has_openat2(int abi)
{
    return abi >= 3;
}

static int add_rules(scmp_filter_ctx ctx, bool openat2)
{
    int made = seccomp_rule_add(ctx, openat2 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS),
                                SCMP_SYS(openat2), 0);
    if (made < 0)
        return made;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        int status = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
        if (status < 0)
            return status;
    }
    for (size_t i = 0; i < sizeof by_argument / sizeof *by_argument; i++) {
        int status = seccomp_rule_add_array(ctx, by_argument[i].action, by_argument[i].call,
                                            by_argument[i].n_args, by_argument[i].args);
        if (status < 0)
            return status;
    }
    return 0;
}

static enum mg_err make_filter(bool openat2, struct filter *filter, struct mg_errmsg *err)
{
    if (filter->code)
        return MG_OK;
    enum mg_err code = MG_OK;
    struct stat st;
    struct sock_filter *made = NULL;
    int fd = -1, status = -ENOMEM;
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx)
        goto fail;
    status = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (status == 0) /* a binary tree instead of a ladder */
        status = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (status == 0)
        status = add_rules(ctx, openat2);
    if (status < 0)
        goto fail;
    fd = memfd_create("seccomp", MFD_CLOEXEC);
    status = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);
    if (status < 0)
        goto fail;
    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size % (off_t)sizeof *made != 0 ||
        st.st_size / (off_t)sizeof *made > BPF_MAXINSNS || !(made = malloc((size_t)st.st_size)) ||
        pread(fd, made, (size_t)st.st_size, 0) != st.st_size) {
        status = -EIO;
        goto fail;
    }
    *filter = (struct filter){made, (size_t)st.st_size / sizeof *made};
    made = NULL;
    goto out;
fail:
    code = mg_err_set(err, MG_E_INTERNAL, "cannot make the seccomp filter: %s", strerror(-status));
out:
    free(made);
    if (fd >= 0)
        close(fd);
    if (ctx)
        seccomp_release(ctx);
    return code;
}

enum mg_err mg_seccomp_prepare(int abi, struct mg_errmsg *err)
{
    bool openat2 = has_openat2(abi);
    return make_filter(openat2, &filters[openat2], err);
}

enum mg_err mg_sandbox_prepare(struct mg_errmsg *err)
{
    return mg_seccomp_prepare(mg_landlock_abi(), err);
}

enum mg_err mg_seccomp_enforce(int abi, struct mg_errmsg *err)
{
    struct filter *filter = &filters[has_openat2(abi)];
    enum mg_err code = mg_seccomp_prepare(abi, err);
    if (code != MG_OK)
        return code;
    bool patched = false;
    for (size_t i = 0; i < filter->len; i++)
        if (BPF_CLASS(filter->code[i].code) == BPF_JMP && filter->code[i].k == OWN_PID) {
            filter->code[i].k = (uint32_t)getpid();
            patched = true;
        }
    MG_ASSERT(patched);
    struct sock_fprog program = {.len = (unsigned short)filter->len, .filter = filter->code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return mg_err_set(err, MG_E_FORBIDDEN, "the kernel takes no seccomp filter: %s",
                          strerror(errno));
    return MG_OK;
}
