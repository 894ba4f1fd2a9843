/* The sandbox: every probe is blocked, under this kernel's Landlock and under ABI 2; and each probe
 * does escape when the layers that block it are left out, so that a probe which could not fail
 * would be seen. */
#include "others.h"
#include "proc/sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char base[] = "/tmp/mg-sandbox-XXXXXX";
static char inside[64], scratch[64], readable[64], outside[64], foreign[64];

static int make_folders(void **state)
{
    (void)state;
    if (!mkdtemp(base))
        return -1;
    snprintf(inside, sizeof inside, "%s/inside", base);
    snprintf(scratch, sizeof scratch, "%s/scratch", base);
    snprintf(readable, sizeof readable, "%s/readable", base);
    snprintf(foreign, sizeof foreign, "%s/foreign", base);
    snprintf(outside, sizeof outside, "%s/foreign/outside", base);
    char path[80];
    snprintf(path, sizeof path, "%s/file", readable);
    if (mkdir(inside, 0777) || mkdir(scratch, 0777) || mkdir(readable, 0777) || mkdir(foreign, 0777) || chmod(base, 0755) ||
        chmod(inside, 0777) || chmod(scratch, 0777))
        return -1;
    int fd = open(path, O_CREAT | O_WRONLY, 0666), probe = open(outside, O_CREAT | O_WRONLY, 0666);
    int bad =
        fd < 0 || probe < 0 || write(fd, "data", 4) != 4 || fchmod(fd, 0666) || fchmod(probe, 0666);
    close(fd);
    close(probe);
    return bad ? -1 : 0;
}

static int remove_folders(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

static struct mg_sandbox make_box(void)
{
    static const char *read_paths[] = {readable, "/usr/share/no-such-folder", NULL};
    static const char *write_paths[] = {inside, NULL};
    return (struct mg_sandbox){.read_paths = read_paths,
                               .write_paths = write_paths,
                               .scratch = scratch,
                               .scratch_bytes = 512 << 10,
                               .data_bytes = 256 << 20,
                               .file_bytes = 1 << 20,
                               .outside = outside};
}

/* Runs `task` in a forked process; gives its status as of waitpid. */
static int in_child(int (*task)(void *), void *context)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(task(context));
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

struct trial {
    unsigned left_out;
    int abi;
    unsigned escaped, layers; /* out */
    enum mg_err err;
    struct mg_errmsg msg;
};

static int try_box(void *context)
{
    struct trial *trial = context; /* in shared memory */
    struct mg_sandbox box = make_box();
    trial->err =
        mg_sandbox_enter_without(&box, trial->left_out, trial->abi, &trial->layers, &trial->msg);
    if (trial->err == MG_OK)
        trial->escaped = mg_probes_escaped(outside);
    return 0;
}

static struct trial run_trial(unsigned left_out, int abi)
{
    struct trial *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    *shared = (struct trial){.left_out = left_out, .abi = abi, .err = MG_E_INTERNAL};
    int status = in_child(try_box, shared);
    assert_int_equal(status, 0);
    struct trial trial = *shared;
    munmap(shared, sizeof *shared);
    return trial;
}

static void assert_tight(int abi)
{
    struct trial trial = run_trial(0, abi);
    if (trial.err != MG_OK)
        fail_msg("the sandbox cannot be entered: %s", trial.msg.text);
    assert_int_equal(trial.layers & MG_LAYER_MANDATORY, MG_LAYER_MANDATORY);
    for (unsigned i = 0; mg_probes[i].name; i++)
        if (trial.escaped & 1u << i)
            fail_msg("under ABI %d it must not be possible to %s", abi, mg_probes[i].name);
}

static void test_all_blocked(void **state)
{
    (void)state;
    for (int abi = 2; abi <= mg_landlock_abi(); abi++)
        assert_tight(abi);
    assert_tight(0);
}

static void test_each_can_escape(void **state)
{
    (void)state;
    for (unsigned i = 0; mg_probes[i].name; i++) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        if (mg_probes[i].layers == MG_LAYER_RLIMIT)
            continue; /* such a build sets no limit */
#endif
        unsigned left_out = mg_probes[i].layers;
        if (left_out & MG_LAYER_NNP)
            left_out |=
                MG_LAYER_LANDLOCK | MG_LAYER_SECCOMP; /* the kernel refuses them without it */
        struct trial trial = run_trial(left_out, 0);
        if (trial.err != MG_OK)
            fail_msg("without the layers of \"%s\": %s", mg_probes[i].name, trial.msg.text);
        if (!(trial.escaped & 1u << i))
            fail_msg("the probe \"%s\" does not escape when nothing blocks it: it proves nothing",
                     mg_probes[i].name);
    }
}

/* Also each layer for itself, where several block a probe. */
static void test_each_layer_alone(void **state)
{
    (void)state;
    for (unsigned i = 0; mg_probes[i].name; i++) {
        if (mg_probes[i].layers != (MG_LAYER_LANDLOCK | MG_LAYER_SECCOMP))
            continue;
        struct trial trial = run_trial(MG_LAYER_LANDLOCK, 0);
        if (trial.escaped & 1u << i)
            fail_msg("seccomp alone must block the probe \"%s\"", mg_probes[i].name);
    }
}

static void test_enter_refuses(void **state)
{
    (void)state;
    /* A kernel without what we need: no ruleset, and a sentence that says what to do. */
    struct mg_sandbox box = make_box();
    struct mg_errmsg msg = {{0}};
    int ruleset;
    assert_int_equal(mg_landlock_rules(&box, 1, &ruleset, &msg), MG_E_FORBIDDEN);
    assert_non_null(strstr(msg.text, "Linux 5.19"));
    box.write_paths = (const char *const[]){"/no/such/folder", NULL};
    assert_int_equal(mg_landlock_rules(&box, 2, &ruleset, &msg), MG_E_IO);
    assert_non_null(strstr(msg.text, "/no/such/folder"));
    /* The probes outside of any sandbox escape, and say so. */
    assert_int_equal(mg_sandbox_probe(outside, &msg), MG_E_FORBIDDEN);
    assert_non_null(strstr(msg.text, "open /etc/passwd"));
}

/* ---- what still works, and what ends the process
 * ----------------------------------------------------- */

static void enter(void)
{
    struct mg_sandbox box = make_box();
    struct mg_errmsg msg = {{0}};
    unsigned layers;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (mg_sandbox_enter(&box, &layers, &msg) != MG_OK) {
        fprintf(stderr, "%s\n", msg.text);
        _exit(99);
    }
}

#define CHECK(condition)                                                                         \
    do                                                                                           \
        if (!(condition)) {                                                                      \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno)); \
            return 1;                                                                            \
        }                                                                                        \
    while (0)

static int work_inside(void *context)
{
    (void)context;
    char path[80], path2[80];
    int kept = fcntl(STDERR_FILENO, F_DUPFD, 100);
    CHECK(kept >= 100);
    enter();
    errno = 0;
    CHECK(fcntl(kept, F_GETFD) < 0 && errno == EBADF); /* what was not to be kept is closed */
    snprintf(path, sizeof path, "%s/a", inside);
    snprintf(path2, sizeof path2, "%s/b", inside);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    CHECK(fd >= 0);
    CHECK(write(fd, "hello", 5) == 5 && ftruncate(fd, 3) == 0 && fsync(fd) == 0);
    CHECK(rename(path, path2) == 0 && mkdir(path, 0755) == 0 && rmdir(path) == 0 &&
          unlink(path2) == 0);
    snprintf(path, sizeof path, "%s/file", readable);
    fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    struct stat st;
    CHECK(fstat(fd, &st) == 0 && st.st_size == 4);
    CHECK(open(path, O_WRONLY) < 0 && errno == EACCES);
    /* executable memory, which LuaJIT makes */
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED && mprotect(code, 4096, PROT_READ | PROT_EXEC) == 0);
    void *shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(shared != MAP_FAILED);
    struct timespec t;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur == 1 << 20);
    return 0;
}

static int write_too_much(void *context)
{
    (void)context;
    char path[80], block[65536] = {0};
    enter();
    snprintf(path, sizeof path, "%s/large", inside);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    CHECK(fd >= 0);
    for (int i = 0; i < 16; i++)
        CHECK(write(fd, block, sizeof block) == sizeof block);
    CHECK(write(fd, block, sizeof block) < 0 && errno == EFBIG); /* and no signal */
    return 0;
}

/* What the scratch folder holds: 1 with a file system of its own, 0 as a plain folder, else an error. */
static int fill_scratch(void *context)
{
    const struct trial *trial = context;
    char path[80], block[65536] = {0};
    struct mg_sandbox box = make_box();
    struct mg_errmsg msg = {{0}};
    unsigned layers;
    int put = 0;
    box.uid = box.gid = (unsigned)trial->abi; /* not an ABI here */
    if (mg_sandbox_enter_without(&box, trial->left_out, 0, &layers, &msg) != MG_OK) {
        fprintf(stderr, "%s\n", msg.text);
        return 99;
    }
    snprintf(path, sizeof path, "%s/large", scratch);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        fprintf(stderr, "cannot make %s: %s\n", path, strerror(errno));
    while (fd >= 0 && put < 20 && write(fd, block, sizeof block) == sizeof block)
        put++;
    if (!(layers & MG_LAYER_SCRATCH))
        return fd >= 0 && put == 16 && errno == EFBIG && unlink(path) == 0 ? 0 : 98;
    return fd >= 0 && put == 8 && errno == ENOSPC ? 1 : 97;
}

static void test_scratch(void **state)
{
    (void)state;
    static const struct {
        unsigned left_out, uid;
        const char *sentence;
    } rows[] = {
        {0, 0, "as we are"},
        {MG_LAYER_USERNS, 0, "without a user namespace"},
        {MG_LAYER_USERNS | MG_LAYER_MOUNTNS, 0, "without namespaces that mount: a plain folder"},
        {MG_LAYER_SCRATCH, 0, "asked not to: a plain folder"},
        {0, 54321, "under another uid"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].uid && (geteuid() != 0 || !others_may_pass()))
            continue;
        struct trial trial = {.left_out = rows[i].left_out, .abi = (int)rows[i].uid};
        int status = in_child(fill_scratch, &trial);
        if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
            fail_msg("scratch, %s: %#x", rows[i].sentence, (unsigned)status);
        if (WEXITSTATUS(status) == 1 && rows[i].left_out & (MG_LAYER_MOUNTNS | MG_LAYER_SCRATCH))
            fail_msg("scratch, %s: there must be no mount", rows[i].sentence);
        /* Whatever was written is gone: with the mount, or because the child took it away. */
        if (rmdir(scratch) < 0 || mkdir(scratch, 0777) < 0 || chmod(scratch, 0777) < 0)
            fail_msg("scratch, %s: something is left on the disk", rows[i].sentence);
    }
}

static int do_exec(void *context)
{
    (void)context;
    enter();
    execl("/bin/true", "true", NULL);
    return 1;
}
static int do_execveat(void *context)
{
    (void)context;
    enter();
    syscall(SYS_execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0);
    return 1;
}
static int do_ptrace(void *context)
{
    (void)context;
    enter();
    syscall(SYS_ptrace, 0, 0, NULL, NULL);
    return 1;
}
static int do_kill(void *context)
{
    (void)context;
    enter();
    kill(getppid(), SIGURG); /* harmless where it gets through */
    return 1;
}
static int do_abort(void *context)
{
    (void)context;
    enter();
    abort();
}
static int do_tgkill(void *context)
{
    (void)context;
    enter();
    return syscall(SYS_tgkill, getppid(), getppid(), SIGURG) < 0 && errno == EPERM ? 0 : 1;
}
static int do_system(void *context)
{
    (void)context;
    enter();
    return fork() < 0 && errno == EPERM ? 0 : 1;
}

static void test_ends(void **state)
{
    (void)state;
    static const struct {
        int (*task)(void *);
        int exit_code, end_signal;
        const char *sentence;
    } rows[] = {
        {work_inside, 0, 0, "what a worker needs works inside"},
        {write_too_much, 0, 0, "a file over the limit is an error, not a signal"},
        {do_exec, 0, SIGSYS, "exec ends the process"},
        {do_execveat, 0, SIGSYS, "execveat ends the process"},
        {do_ptrace, 0, SIGSYS, "ptrace ends the process"},
        {do_kill, 0, SIGSYS, "a signal to another ends the process"},
        {do_abort, 0, SIGABRT, "abort is still abort"},
        {do_tgkill, 0, 0, "a signal to another's thread is refused"},
        {do_system, 0, 0, "fork is refused"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int status = in_child(rows[i].task, NULL);
        bool right = rows[i].end_signal
                         ? WIFSIGNALED(status) && WTERMSIG(status) == rows[i].end_signal
                         : WIFEXITED(status) && WEXITSTATUS(status) == rows[i].exit_code;
        if (!right)
            fail_msg("%s (status %#x)", rows[i].sentence, (unsigned)status);
    }
}

static int become_other(void *context)
{
    unsigned *seen = context;
    struct mg_sandbox box = make_box();
    struct mg_errmsg msg = {{0}};
    unsigned layers;
    box.uid = box.gid = 54321;
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (mg_sandbox_enter_without(&box, MG_LAYER_SECCOMP | MG_LAYER_USERNS, 0, &layers, &msg) !=
        MG_OK) {
        fprintf(stderr, "%s\n", msg.text);
        return 1;
    }
    int death_signal = 0;
    prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0);
    seen[0] = getuid();
    seen[1] = getgid();
    seen[2] = (unsigned)getgroups(0, NULL);
    seen[3] = layers & MG_LAYER_UID;
    seen[4] = (unsigned)death_signal;
    seen[5] = setuid(0) < 0;
    return 0;
}

static int be_refused_other(void *context)
{
    (void)context;
    struct mg_sandbox box = make_box();
    unsigned layers;
    box.uid = box.gid = 54321;
    enum mg_err code = mg_sandbox_enter(&box, &layers, NULL);
    /* Who may not even pass the root folder fails before, at the paths. */
    return code == MG_E_FORBIDDEN || (code != MG_OK && !others_may_pass()) ? 0 : 1;
}
static int be_refused_as_other(void *context)
{
    return setresuid(54320, 54320, 54320) < 0 ? 1 : be_refused_other(context);
}

/* A file that may be read must not be emptied by opening it, by neither call and under no ABI. */
static int truncate_readable(void *context)
{
    char path[80];
    struct mg_sandbox box = make_box();
    struct mg_errmsg msg = {{0}};
    unsigned layers;
    const int *abi = context;
    CHECK(mg_sandbox_enter_without(&box, 0, *abi, &layers, &msg) == MG_OK);
    snprintf(path, sizeof path, "%s/file", readable);
    CHECK(open(path, O_RDONLY | O_TRUNC) < 0);
    struct open_how how = {.flags = O_RDONLY | O_TRUNC};
    CHECK(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how) < 0);
    how.flags = O_RDONLY;
    long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    CHECK(*abi < 3 ? fd < 0 && errno == ENOSYS : fd >= 0);
    fd = open(path, O_RDONLY);
    struct stat st;
    CHECK(fd >= 0 && fstat((int)fd, &st) == 0 && st.st_size == 4);
    return 0;
}

static void test_truncate(void **state)
{
    (void)state;
    for (int abi = 2; abi <= mg_landlock_abi(); abi++)
        if (in_child(truncate_readable, &abi) != 0)
            fail_msg("under ABI %d a file that may only be read must not be emptied", abi);
}

static void test_uid(void **state)
{
    (void)state;
    if (geteuid() != 0) { /* who cannot change the uid must not serve under the wrong one */
        assert_int_equal(in_child(be_refused_other, NULL), 0);
        return;
    }
    unsigned *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_int_equal(in_child(be_refused_as_other, NULL), 0);
    assert_int_equal(in_child(become_other, seen), 0);
    assert_int_equal(seen[0], 54321);
    assert_int_equal(seen[1], 54321);
    assert_int_equal(seen[2], 0);
    assert_int_equal(seen[3], MG_LAYER_UID);
    assert_int_equal(seen[4], SIGTERM);
    assert_int_equal(seen[5], 1);
    munmap(seen, 4096);
}

static void test_report(void **state)
{
    (void)state;
    struct mg_buf lines;
    struct mg_errmsg msg = {{0}};
    unsigned layers = 0;
    mg_buf_init(&lines, 0);
    enum mg_err code = mg_sandbox_report(&lines, &layers, &msg);
    if (code != MG_OK)
        fail_msg("%s\n%s", msg.text, lines.data);
    assert_int_equal(layers & MG_LAYER_MANDATORY, MG_LAYER_MANDATORY);
    for (unsigned i = 0; mg_probes[i].name; i++)
        assert_non_null(strstr(lines.data, mg_probes[i].name));
    assert_null(strstr(lines.data, "ESCAPED"));
    print_message("%s", lines.data);
    mg_buf_fini(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_blocked),
                                       cmocka_unit_test(test_each_can_escape),
                                       cmocka_unit_test(test_each_layer_alone),
                                       cmocka_unit_test(test_enter_refuses),
                                       cmocka_unit_test(test_ends),
                                       cmocka_unit_test(test_truncate),
                                       cmocka_unit_test(test_scratch),
                                       cmocka_unit_test(test_uid),
                                       cmocka_unit_test(test_report)};
    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
