/* The probes: attempts to break out, made natively by each worker at its start.
 *
 * An attempt counts as blocked only when the kernel refuses it (EPERM, EACCES, ENOSYS); any other
 * outcome, also an error further on, means that the call got through. None does harm when it receives
 * through: files keep their size and mode, exec and ptrace are asked with arguments that cannot
 * work, kill with signal 0. Cost: about 20 us for all. */
#include "sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static int got_fd(int fd)
{
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int open_passwd(const char *outside)
{
    (void)outside;
    int status = got_fd(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
    if (status < 0 && errno == ENOENT)
        errno = EACCES; /* a container without accounts: there is nothing to read */
    return status;
}

static int open_root(const char *outside)
{
    (void)outside;
    return got_fd(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int read_outside(const char *outside)
{
    return got_fd(open(outside, O_RDONLY | O_CLOEXEC));
}

static int write_outside(const char *outside)
{
    return got_fd(open(outside, O_WRONLY | O_CLOEXEC));
}

static int list_outside(const char *outside)
{
    char folder[4096];
    const char *slash = strrchr(outside, '/');
    size_t len = slash ? (size_t)(slash - outside) : 0;
    if (len == 0 || len >= sizeof folder) {
        errno = EINVAL;
        return -1;
    }
    memcpy(folder, outside, len);
    folder[len] = '\0';
    return got_fd(open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int truncate_outside(const char *outside)
{
    struct stat st;
    return stat(outside, &st) < 0 ? -1 : truncate(outside, st.st_size);
}

static int open_truncating(const char *outside)
{
    /* The probe's file may be emptied: it exists for this. */
    return got_fd(open(outside, O_RDONLY | O_TRUNC | O_CLOEXEC));
}

static int chmod_outside(const char *outside)
{
    struct stat st;
    return stat(outside, &st) < 0 ? -1 : chmod(outside, st.st_mode & 07777);
}

static int chown_outside(const char *outside)
{
    return chown(outside, (uid_t)-1, (gid_t)-1);
}

static int utime_outside(const char *outside)
{
    struct timespec unchanged[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
    return utimensat(AT_FDCWD, outside, unchanged, 0);
}

static int xattr_outside(const char *outside)
{
    return setxattr(outside, "user.moongate.probe", "1", 1, 0);
}

static int socket_inet(const char *outside)
{
    (void)outside;
    return got_fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int socket_unix(const char *outside)
{
    (void)outside;
    return got_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int exec(const char *outside)
{
    (void)outside;
    return (int)syscall(SYS_execve, NULL, NULL, NULL);
}

static int trace(const char *outside)
{
    (void)outside;
    return (int)syscall(SYS_ptrace, MG_PROBE_PTRACE, 0, NULL, NULL);
}

static int send_signal(const char *outside)
{
    (void)outside;
    return (int)syscall(SYS_kill, getppid(), 0);
}

static int new_process(const char *outside)
{
    (void)outside;
    /* CLONE_THREAD without CLONE_SIGHAND is refused by the kernel itself, with EINVAL. */
    return (int)syscall(SYS_clone, 0x00010000UL, NULL, NULL, NULL, NULL);
}

static int shared_memory(const char *outside)
{
    (void)outside;
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return -1;
    munmap(at, 4096);
    return 0;
}

static int new_memfd(const char *outside)
{
    (void)outside;
    return got_fd(memfd_create("probe", MFD_CLOEXEC));
}

static int much_memory(const char *outside)
{
    (void)outside;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    errno = EPERM; /* sandbox.c says why there is no limit in such a build */
    return -1;
#else
    struct rlimit limit;
    if (getrlimit(RLIMIT_DATA, &limit) < 0 || limit.rlim_cur > (1ULL << 46))
        return 0;
    size_t bytes = (size_t)limit.rlim_cur + (1 << 16);
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        errno = errno == ENOMEM ? EPERM : errno;
        return -1;
    }
    munmap(at, bytes);
    return 0;
#endif
}

static int new_privileges(const char *outside)
{
    (void)outside;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 0;
    errno = EPERM;
    return -1;
}

#define FILES MG_LAYER_LANDLOCK
#define CALLS MG_LAYER_SECCOMP
const struct mg_probe mg_probes[] = {
    {"open /etc/passwd", FILES, false, open_passwd},
    {"list the root folder", FILES, false, open_root},
    {"read a foreign file", FILES, true, read_outside},
    {"write a foreign file", FILES, true, write_outside},
    {"list a foreign folder", FILES, true, list_outside},
    {"truncate a foreign file", FILES | CALLS, true, truncate_outside},
    {"open a foreign file truncating it", FILES | CALLS, true, open_truncating},
    {"chmod a foreign file", CALLS, true, chmod_outside},
    {"chown a foreign file", CALLS, true, chown_outside},
    {"set a foreign file's time", CALLS, true, utime_outside},
    {"set a foreign file's attribute", CALLS, true, xattr_outside},
    {"make an Internet socket", CALLS, false, socket_inet},
    {"make a Unix socket", CALLS, false, socket_unix},
    {"execute a program", CALLS, false, exec},
    {"trace a process", CALLS, false, trace},
    {"signal another process", FILES | CALLS, false, send_signal},
    {"make a process", CALLS, false, new_process},
    {"make anonymous shared memory", CALLS, false, shared_memory},
    {"make a memfd", CALLS, false, new_memfd},
    {"allocate more than the limit", MG_LAYER_RLIMIT, false, much_memory},
    {"gain privileges", MG_LAYER_NNP, false, new_privileges},
    {0},
};

unsigned mg_probes_escaped(const char *outside)
{
    unsigned escaped = 0;
    for (unsigned i = 0; mg_probes[i].name; i++) {
        if (mg_probes[i].needs_outside && !outside)
            continue;
        errno = 0;
        if (mg_probes[i].attempt(outside) == 0 ||
            (errno != EPERM && errno != EACCES && errno != ENOSYS))
            escaped |= 1u << i;
    }
    return escaped;
}

enum mg_err mg_sandbox_probe(const char *outside, struct mg_errmsg *err)
{
    unsigned escaped = mg_probes_escaped(outside);
    if (!escaped)
        return MG_OK;
    struct mg_buf names;
    mg_buf_init(&names, 400);
    for (unsigned i = 0; mg_probes[i].name; i++)
        if (escaped & 1u << i)
            mg_buf_printf(&names, "%s%s", names.len ? "; " : "", mg_probes[i].name);
    enum mg_err code =
        mg_err_set(err, MG_E_FORBIDDEN, "the sandbox does not hold on this kernel: it let us %s",
                   names.data ? names.data : "out");
    mg_buf_fini(&names);
    return code;
}
