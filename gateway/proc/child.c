/* A child's side of the master: its signals, its name, and the control link. */
#include "moongate/log.h"
#include "moongate/master.h"

#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

void mg_child_setup(const char *name)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    struct sigaction standard = {.sa_handler = SIG_DFL}, ignore = {.sa_handler = SIG_IGN};
    for (int i = 1; i < NSIG; i++)
        sigaction(i, &standard, NULL); /* refused for KILL and STOP, which nobody can change */
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        sigaction(ignored[i], &ignore, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_NAME, name, 0, 0, 0);
    mg_log_process(name);
}

struct dropping {
    const char *library;
    size_t bytes;
};

static int drop_clean(struct dl_phdr_info *info, size_t size, void *context)
{
    struct dropping *d = context;
    const char *slash = strrchr(info->dlpi_name, '/');
    (void)size;
    if (strcmp(slash ? slash + 1 : info->dlpi_name, d->library) != 0)
        return 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W))
            continue;
        uintptr_t from = info->dlpi_addr + segment->p_vaddr, to = from + segment->p_memsz;
        from = (from + page - 1) / page * page; /* whole pages of this segment alone */
        to = to / page * page;
        /* Best effort: what stays costs memory, nothing else. */
        if (from < to && madvise((void *)from, to - from, MADV_DONTNEED) == 0)
            d->bytes += to - from;
    }
    return 1;
}

size_t mg_child_drop_clean(const char *library)
{
    struct dropping d = {.library = library};
    dl_iterate_phdr(drop_clean, &d);
    return d.bytes;
}

enum mg_err mg_control_recv(int control, struct mg_msg *msg, int *fd)
{
    for (;;) {
        struct mg_msg got;
        int fds[MG_MSG_MAX_FDS];
        size_t n_fds = 0;
        enum mg_err code = mg_msg_recv(control, &got, fds, &n_fds);
        if (code == MG_E_CANCELLED)
            return code;
        if (code != MG_OK)
            return MG_E_UNAVAILABLE;
        switch (got.type) {
        case MG_MSG_PING:
            got.type = MG_MSG_PONG;
            if (mg_msg_send(control, &got, NULL, 0) != MG_OK)
                continue; /* the master takes a lost answer for what it is */
            continue;
        case MG_MSG_PEER:
        case MG_MSG_STOP:
        case MG_MSG_RELOAD:
            *msg = got;
            *fd = n_fds ? fds[0] : -1;
            for (size_t i = 1; i < n_fds; i++)
                close(fds[i]);
            return MG_OK;
        default:
            for (size_t i = 0; i < n_fds; i++)
                close(fds[i]);
        }
    }
}

void mg_control_started(int control)
{
    struct mg_msg msg;
    mg_msg_init(&msg, MG_MSG_STARTED);
    if (mg_msg_send_wait(control, &msg, NULL, 0, 5000) != MG_OK)
        return; /* a master that is gone shows itself in mg_control_recv */
}
