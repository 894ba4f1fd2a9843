/* The sandbox, layer by layer.
 *
 * The order is the point: folders are opened for Landlock while the process may still see them (a
 * change of uid or of the mount namespace takes that away); namespaces before capabilities are
 * dropped; no_new_privs before Landlock and seccomp, which demand it of the unprivileged; seccomp
 * last, because it forbids the calls of all others. Cost: 0.2 ms, with the namespaces about 1 ms.
 */
#include "sandbox_parts.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_FDS = 512, MAX_KEPT = 128 };

static const struct {
    enum mg_sandbox_layer layer;
    const char *name;
    int clone_flag;
} layers_table[] = {
    {MG_LAYER_RLIMIT, "rlimit", 0},
    {MG_LAYER_NNP, "no_new_privs", 0},
    {MG_LAYER_FDS, "descriptors", 0},
    {MG_LAYER_LANDLOCK, "landlock", 0},
    {MG_LAYER_SECCOMP, "seccomp", 0},
    {MG_LAYER_UID, "uid", 0},
    {MG_LAYER_USERNS, "userns", CLONE_NEWUSER},
    {MG_LAYER_NETNS, "netns", CLONE_NEWNET},
    {MG_LAYER_IPCNS, "ipcns", CLONE_NEWIPC},
    {MG_LAYER_UTSNS, "utsns", CLONE_NEWUTS},
    {MG_LAYER_MOUNTNS, "mountns", CLONE_NEWNS},
    {MG_LAYER_SCRATCH, "scratch", 0},
};
enum { N_LAYERS = sizeof layers_table / sizeof *layers_table };

const char *mg_layer_name(enum mg_sandbox_layer layer)
{
    for (size_t i = 0; i < N_LAYERS; i++)
        if (layers_table[i].layer == layer)
            return layers_table[i].name;
    return "unknown";
}

/* ---- rlimits
 * ----------------------------------------------------------------------------------------- */

static enum mg_err limit_resources(const struct mg_sandbox *box, struct mg_errmsg *err)
{
    const struct {
        int resource;
        rlim_t value;
        const char *name;
    } limits[] = {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        /* The shadow memory of a sanitizer, 16 TB, would count. */
        {RLIMIT_DATA, box->data_bytes ? box->data_bytes : (rlim_t)1 << 30, "RLIMIT_DATA"},
#endif
        {RLIMIT_FSIZE, box->file_bytes ? box->file_bytes : (rlim_t)1 << 30, "RLIMIT_FSIZE"},
        {RLIMIT_CORE, 0, "RLIMIT_CORE"},
        {RLIMIT_NOFILE, MAX_FDS, "RLIMIT_NOFILE"},
        {RLIMIT_MEMLOCK, 0, "RLIMIT_MEMLOCK"},
        {RLIMIT_MSGQUEUE, 0, "RLIMIT_MSGQUEUE"},
    };
    /* A standard output that is a large file must not kill us: the write fails instead. */
    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit now, limit = {limits[i].value, limits[i].value};
        if (getrlimit(limits[i].resource, &now) == 0 && now.rlim_max < limit.rlim_max)
            limit.rlim_cur = limit.rlim_max = now.rlim_max;
        if (setrlimit(limits[i].resource, &limit) < 0)
            return mg_err_set(err, MG_E_FORBIDDEN, "cannot set %s: %s", limits[i].name,
                              strerror(errno));
    }
    return MG_OK;
}

/* ---- descriptors
 * ------------------------------------------------------------------------------------- */

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* Closes all but 0, 1, 2, those kept, and `ruleset`. */
static enum mg_err close_others(const struct mg_sandbox *box, int ruleset, struct mg_errmsg *err)
{
    int keep[MAX_KEPT + 1];
    if (box->n_keep_fds > MAX_KEPT)
        return mg_err_set(err, MG_E_INVALID, "more than %d descriptors are to be kept open",
                          (int)MAX_KEPT);
    size_t n = box->n_keep_fds;
    if (n)
        memcpy(keep, box->keep_fds, n * sizeof *keep);
    if (ruleset >= 0)
        keep[n++] = ruleset;
    qsort(keep, n, sizeof *keep, compare_ints);
    unsigned from = 3;
    for (size_t i = 0; i <= n; i++) {
        unsigned kept = i < n ? (unsigned)keep[i] : ~0u;
        if (i < n && keep[i] < (int)from)
            continue;
        if (kept > from && close_range(from, i < n ? kept - 1 : ~0u, 0) < 0)
            return mg_err_set(err, MG_E_FORBIDDEN, "cannot close descriptors: %s", strerror(errno));
        from = kept + 1;
    }
    return MG_OK;
}

/* ---- who we are
 * -------------------------------------------------------------------------------------- */

static unsigned unshare_each(unsigned wanted)
{
    unsigned got = 0;
    for (size_t i = 0; i < N_LAYERS; i++)
        if (layers_table[i].clone_flag && layers_table[i].layer & wanted &&
            unshare(layers_table[i].clone_flag) == 0)
            got |= layers_table[i].layer;
    return got;
}

/* All at once is one walk over the process's credentials; where that is refused, what there is. */
static unsigned unshare_all(unsigned wanted)
{
    int flags = 0;
    for (size_t i = 0; i < N_LAYERS; i++)
        if (layers_table[i].layer & wanted)
            flags |= layers_table[i].clone_flag;
    if (flags == 0 || unshare(flags) == 0)
        return wanted;
    return unshare_each(
        wanted); /* the user namespace comes first in the table: it may permit the others */
}

static enum mg_err change_uid(const struct mg_sandbox *box, struct mg_errmsg *err)
{
    gid_t gid = box->gid ? box->gid : box->uid;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
        setresuid(box->uid, box->uid, box->uid) < 0)
        return mg_err_set(err, MG_E_FORBIDDEN, "cannot become user %u: %s", box->uid,
                          strerror(errno));
    return MG_OK;
}

static enum mg_err drop_capabilities(struct mg_errmsg *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &head, none) < 0)
        return mg_err_set(err, MG_E_FORBIDDEN, "cannot drop capabilities: %s", strerror(errno));
    return MG_OK;
}

/* ---- the scratch folder
 * --------------------------------------------------------------------------- */

static bool write_line(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* In a fresh user namespace nobody has a name, and so can make no file: we keep ours. */
static bool keep_names(uid_t uid, gid_t gid)
{
    char users[40], groups[40];
    (void)!snprintf(users, sizeof users, "%u %u 1\n", uid, uid);
    (void)!snprintf(groups, sizeof groups, "%u %u 1\n", gid, gid);
    return write_line("/proc/self/uid_map", users) && write_line("/proc/self/setgroups", "deny") &&
           write_line("/proc/self/gid_map", groups);
}

/* A file system in memory over the scratch folder: its size is the quota, and it is gone with the
 * process. Needs a mount namespace of our own. */
static bool cover_scratch(const struct mg_sandbox *box, uid_t uid, gid_t gid)
{
    enum { FILES = 4096 };
    char options[120];
    (void)!snprintf(options, sizeof options, "size=%zu,nr_inodes=%d,mode=0700,uid=%u,gid=%u",
                    box->scratch_bytes, (int)FILES, uid, gid);
    /* Nothing of it is to reach the others' namespace. */
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("moongate-scratch", box->scratch, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) == 0;
}

static enum mg_err own_scratch(const struct mg_sandbox *box, int ruleset, int abi, unsigned *got,
                               struct mg_errmsg *err)
{
    bool later = geteuid() == 0 && box->uid; /* the uid that the process is going to have */
    uid_t uid = later ? box->uid : geteuid();
    gid_t gid = !later ? getegid() : box->gid ? box->gid : box->uid;
    if (!cover_scratch(box, uid, gid))
        return MG_OK; /* as it is without mounts: the caller watches the folder */
    *got |= MG_LAYER_SCRATCH;
    return ruleset < 0 ? MG_OK : mg_landlock_allow(ruleset, abi, box->scratch, err);
}

static enum mg_err become_less(const struct mg_sandbox *box, unsigned left_out, int ruleset, int abi,
                               unsigned *holds, struct mg_errmsg *err)
{
    unsigned wanted =
        (MG_LAYER_USERNS | MG_LAYER_NETNS | MG_LAYER_IPCNS | MG_LAYER_UTSNS | MG_LAYER_MOUNTNS) &
        ~left_out;
    int death_signal = 0;
    prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0);
    /* Where unprivileged user namespaces are off, root can still have the others before it steps
     * down. */
    unsigned got = 0;
    bool scratch = box->scratch && !(left_out & MG_LAYER_SCRATCH);
    enum mg_err code = MG_OK;
    if (geteuid() == 0)
        got |= unshare_all(wanted & ~(unsigned)MG_LAYER_USERNS);
    if (scratch && got & MG_LAYER_MOUNTNS &&
        (code = own_scratch(box, ruleset, abi, &got, err)) != MG_OK)
        return code;
    if (box->uid && !(left_out & MG_LAYER_UID)) {
        if ((code = change_uid(box, err)) != MG_OK)
            return code;
        got |= MG_LAYER_UID;
    }
    uid_t uid = geteuid();
    gid_t gid = getegid();
    unsigned before = got;
    got |= unshare_all(wanted & ~got);
    if (scratch && got & ~before & MG_LAYER_MOUNTNS && (!(got & MG_LAYER_USERNS) || keep_names(uid, gid)) &&
        (code = own_scratch(box, ruleset, abi, &got, err)) != MG_OK)
        return code;
    if ((code = drop_capabilities(err)) != MG_OK)
        return code;
    /* Not dumpable: other processes of the same user cannot look into this one, and /proc/self
     * belongs to root. The kernel forgot the death signal when the credentials changed. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0);
    *holds |= got;
    return MG_OK;
}

/* ---- all of it
 * --------------------------------------------------------------------------------------- */

enum mg_err mg_sandbox_enter_without(const struct mg_sandbox *box, unsigned left_out, int abi,
                                     unsigned *layers, struct mg_errmsg *err)
{
    unsigned holds = 0;
    int ruleset = -1;
    enum mg_err code = MG_OK;
    int kernel_abi = mg_landlock_abi();
    if (abi == 0 || abi > kernel_abi)
        abi = kernel_abi;
    /* Lazily bound symbols and the filter are made before anything is closed. */
    if (!(left_out & MG_LAYER_SECCOMP) && (code = mg_seccomp_prepare(abi, err)) != MG_OK)
        return code;
    if (!(left_out & MG_LAYER_LANDLOCK) &&
        (code = mg_landlock_rules(box, abi, &ruleset, err)) != MG_OK)
        return code;
    if (!(left_out & MG_LAYER_RLIMIT)) {
        if ((code = limit_resources(box, err)) != MG_OK)
            goto out;
        holds |= MG_LAYER_RLIMIT;
    }
    if (!(left_out & MG_LAYER_FDS)) {
        if ((code = close_others(box, ruleset, err)) != MG_OK)
            goto out;
        holds |= MG_LAYER_FDS;
    }
    if ((code = become_less(box, left_out, ruleset, abi, &holds, err)) != MG_OK)
        goto out;
    if (!(left_out & MG_LAYER_NNP)) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
            code = mg_err_set(err, MG_E_FORBIDDEN, "cannot set no_new_privs: %s", strerror(errno));
            goto out;
        }
        holds |= MG_LAYER_NNP;
    }
    if (ruleset >= 0) {
        if ((code = mg_landlock_enforce(ruleset, err)) != MG_OK)
            goto out;
        holds |= MG_LAYER_LANDLOCK;
        close(ruleset);
        ruleset = -1;
    }
    if (!(left_out & MG_LAYER_SECCOMP)) {
        if ((code = mg_seccomp_enforce(abi, err)) != MG_OK)
            goto out;
        holds |= MG_LAYER_SECCOMP;
    }
    *layers = holds;
out:
    if (ruleset >= 0)
        close(ruleset);
    return code;
}

enum mg_err mg_sandbox_enter(const struct mg_sandbox *box, unsigned *layers, struct mg_errmsg *err)
{
    unsigned holds;
    enum mg_err code = mg_sandbox_enter_without(box, 0, 0, &holds, err);
    if (code == MG_OK)
        code = mg_sandbox_probe(box->outside, err);
    if (code == MG_OK)
        *layers = holds;
    return code;
}
