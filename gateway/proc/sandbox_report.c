/* What the sandbox is worth on this machine: all layers and probes, tried in a forked child, a line
 * each.
 *
 * Cost: a fork and about 5 ms. The caller may be a process with threads: the child calls nothing
 * that takes a lock except malloc, which glibc makes usable after fork. */
#include "sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct verdict {
    unsigned layers, escaped;
    enum mg_err err;
    struct mg_errmsg msg;
};

static void try_all(const char *folder, const char *outside, int out)
{
    struct verdict verdict = {0};
    char inside[64], scratch[64];
    (void)!snprintf(inside, sizeof inside, "%s/inside", folder);
    (void)!snprintf(scratch, sizeof scratch, "%s/scratch", folder);
    struct mg_sandbox box = {.write_paths = (const char *const[]){inside, NULL},
                             .scratch = scratch,
                             .scratch_bytes = 1 << 20,
                             .keep_fds = &out,
                             .n_keep_fds = 1,
                             .data_bytes = 256 << 20,
                             .file_bytes = 1 << 20,
                             .outside = outside};
    verdict.err = mg_sandbox_enter_without(&box, 0, 0, &verdict.layers, &verdict.msg);
    if (verdict.err == MG_OK)
        verdict.escaped = mg_probes_escaped(outside);
    _exit(write(out, &verdict, sizeof verdict) == (ssize_t)sizeof verdict ? 0 : 1);
}

static void write_lines(const struct verdict *verdict, struct mg_buf *out)
{
    for (unsigned bit = 1; bit <= MG_LAYER_LAST; bit <<= 1) {
        const char *kind = bit & MG_LAYER_MANDATORY ? "mandatory" : "added";
        mg_buf_printf(out, "layer %-36s %-9s %s", mg_layer_name((enum mg_sandbox_layer)bit), kind,
                      verdict->layers & bit      ? "holds"
                      : bit & MG_LAYER_MANDATORY ? "MISSING"
                      : bit == MG_LAYER_UID      ? "not tried (workers of a server started as root)"
                                                 : "not here");
        if (bit == MG_LAYER_LANDLOCK)
            mg_buf_printf(out, " (ABI %d)", mg_landlock_abi());
        mg_buf_char(out, '\n');
    }
    if (verdict->err != MG_OK) {
        mg_buf_printf(out, "error: %s\n", verdict->msg.text);
        return;
    }
    for (unsigned i = 0; mg_probes[i].name; i++)
        mg_buf_printf(out, "probe %-36s %s\n", mg_probes[i].name,
                      verdict->escaped & 1u << i ? "ESCAPED" : "blocked");
}

enum mg_err mg_sandbox_report(struct mg_buf *out, unsigned *layers, struct mg_errmsg *err)
{
    char folder[] = "/tmp/moongate-doctor-XXXXXX", inside[64], scratch[64], outside[64];
    struct verdict verdict = {.err = MG_E_INTERNAL,
                              .msg = {"the confined process ended before it could report"}};
    enum mg_err code = MG_OK;
    int pipe_fds[2] = {-1, -1}, fd;
    if (!mkdtemp(folder))
        return mg_err_set(err, MG_E_IO, "cannot make a folder in /tmp for the sandbox's probes: %s",
                          strerror(errno));
    (void)!snprintf(inside, sizeof inside, "%s/inside", folder);
    (void)!snprintf(scratch, sizeof scratch, "%s/scratch", folder);
    (void)!snprintf(outside, sizeof outside, "%s/outside", folder);
    if (mkdir(inside, 0700) < 0 || mkdir(scratch, 0700) < 0 || (fd = open(outside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) < 0) {
        code = mg_err_set(err, MG_E_IO, "cannot write to %s: %s", folder, strerror(errno));
        goto out;
    }
    close(fd);
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        code = mg_err_set(err, MG_E_UNAVAILABLE, "cannot make a pipe: %s", strerror(errno));
        goto out;
    }
    pid_t pid = fork();
    if (pid < 0) {
        code = mg_err_set(err, MG_E_UNAVAILABLE, "cannot fork: %s", strerror(errno));
        goto out;
    }
    if (pid == 0)
        try_all(folder, outside, pipe_fds[1]);
    close(pipe_fds[1]);
    pipe_fds[1] = -1;
    struct verdict got;
    if (read(pipe_fds[0], &got, sizeof got) == (ssize_t)sizeof got)
        verdict = got;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    write_lines(&verdict, out);
    *layers = verdict.layers;
    if (verdict.err != MG_OK)
        code = mg_err_set(err, verdict.err, "%s", verdict.msg.text);
    else if (verdict.escaped)
        code =
            mg_err_set(err, MG_E_FORBIDDEN,
                       "the sandbox does not hold on this kernel: see the lines that say ESCAPED");
out:
    for (int i = 0; i < 2; i++)
        if (pipe_fds[i] >= 0)
            close(pipe_fds[i]);
    unlink(outside);
    rmdir(inside);
    rmdir(scratch);
    rmdir(folder);
    return code;
}
