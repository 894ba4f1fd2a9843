/* Landlock: files by path, TCP, signals and abstract sockets, as far as the kernel's ABI goes.
 *
 * Everything that the ABI knows is handled, so what no rule grants is refused. ABI 2 (Linux 5.19;
 * Debian 12 has it) is the least: before it files could not be renamed between folders. Truncation
 * is ours to refuse before ABI 3 (seccomp.c). The constants are spelt out here because Debian 12's
 * headers end at ABI 2. Cost: about 3 us a path. */
#include "sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MIN_ABI = 2, RULE_PATH_BENEATH = 1, CREATE_RULESET_VERSION = 1 };

enum fs_right {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_REFER = 1 << 13,
    FS_TRUNCATE = 1 << 14,
    FS_ALL_ABI1 = (1 << 13) - 1,
    FS_READ = FS_READ_FILE | FS_READ_DIR,
    FS_WRITE = FS_READ | FS_WRITE_FILE | FS_REMOVE_FILE | FS_REMOVE_DIR | FS_MAKE_DIR |
               FS_MAKE_REG | FS_REFER | FS_TRUNCATE,
    FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE,
};

struct ruleset_attr {
    uint64_t fs, net, scoped;
};
struct path_attr {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

/* What each ABI adds. */
static const struct {
    int abi;
    struct ruleset_attr handled;
} versions[] = {
    {1, {.fs = FS_ALL_ABI1}},
    {2, {.fs = FS_REFER}},
    {3, {.fs = FS_TRUNCATE}},
    {4, {.net = 3 /* bind and connect of TCP */}},
    {5, {.fs = 1 << 15 /* ioctl on devices */}},
    {6, {.scoped = 3 /* abstract Unix sockets, signals */}},
};

int mg_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    return abi < 0 ? 0 : (int)abi;
}

static enum mg_err allow(int ruleset, const char *path, uint64_t rights, bool must_exist,
                         struct mg_errmsg *err)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT && !must_exist)
            return MG_OK;
        return mg_err_set(err, MG_E_IO, "cannot open %s for the sandbox: %s", path,
                          strerror(errno));
    }
    struct stat st;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rights &= FS_OF_FILES;
    struct path_attr rule = {.allowed = rights, .fd = fd};
    long status = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
    int error = errno;
    close(fd);
    if (status < 0)
        return mg_err_set(err, MG_E_INTERNAL, "Landlock takes no rule for %s: %s", path,
                          strerror(error));
    return MG_OK;
}

/* What a ruleset of that ABI has a say in. */
static struct ruleset_attr handled_by(int abi)
{
    struct ruleset_attr handled = {0};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        if (versions[i].abi > abi)
            break;
        handled.fs |= versions[i].handled.fs;
        handled.net |= versions[i].handled.net;
        handled.scoped |= versions[i].handled.scoped;
    }
    return handled;
}

enum mg_err mg_landlock_allow(int ruleset, int abi, const char *path, struct mg_errmsg *err)
{
    return allow(ruleset, path, FS_WRITE & handled_by(abi).fs, true, err);
}

enum mg_err mg_landlock_rules(const struct mg_sandbox *box, int abi, int *ruleset,
                              struct mg_errmsg *err)
{
    if (abi < MIN_ABI)
        return mg_err_set(
            err, MG_E_FORBIDDEN,
            "this kernel has no Landlock of ABI %d (it has %d): use Linux 5.19 or newer with "
            "landlock in its lsm= list",
            (int)MIN_ABI, abi);
    struct ruleset_attr handled = handled_by(abi);
    /* An older kernel refuses a struct with fields that it does not know. */
    size_t size = abi < 4 ? 8 : abi < 6 ? 16 : 24;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
    if (fd < 0)
        return mg_err_set(err, MG_E_FORBIDDEN, "Landlock makes no ruleset: %s", strerror(errno));
    enum mg_err code = MG_OK;
    for (const char *const *p = box->read_paths; p && *p && code == MG_OK; p++)
        code = allow(fd, *p, FS_READ, false, err);
    for (const char *const *p = box->write_paths; p && *p && code == MG_OK; p++)
        code = allow(fd, *p, FS_WRITE & handled.fs, true, err);
    if (box->scratch && code == MG_OK)
        code = allow(fd, box->scratch, FS_WRITE & handled.fs, true, err);
    if (code != MG_OK) {
        close(fd);
        return code;
    }
    *ruleset = fd;
    return MG_OK;
}

enum mg_err mg_landlock_enforce(int ruleset, struct mg_errmsg *err)
{
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return mg_err_set(err, MG_E_FORBIDDEN, "Landlock does not confine this process: %s",
                          strerror(errno));
    return MG_OK;
}
