/* Memfds between processes.
 *
 * Invariant: whoever maps one has checked that it cannot shrink, so no peer can turn a read into
 * SIGBUS. A worker cannot make memfds (seccomp): it writes into those that the front made and may
 * only add the seal against writing. Cost: memfd_create and mmap, some 10 us; pages are faulted in
 * as they are touched. */
#include "moongate/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(struct mg_slot) % 4096 == 0, "slots begin where a page does");

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum {
    CHANNEL_BYTES = MG_CHANNEL_REQUEST + MG_CHANNEL_RESULT + MG_SLOTS * sizeof(struct mg_slot),
    NO_RESIZE = F_SEAL_SHRINK | F_SEAL_GROW
};

static enum mg_err failed(struct mg_errmsg *err, const char *what)
{
    enum mg_err code = errno == EMFILE || errno == ENFILE ? MG_E_UNAVAILABLE
                       : errno == ENOMEM                  ? MG_E_NOMEM
                                                          : MG_E_IO;
    return mg_err_set(err, code, "cannot %s shared memory: %s", what, strerror(errno));
}

static int create(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

enum mg_err mg_memfd_new(const char *name, size_t bytes, bool final, int *fd, struct mg_errmsg *err)
{
    int made = create(name);
    if (made < 0)
        return failed(err, "make");
    if (bytes > INT64_MAX || ftruncate(made, (off_t)bytes) < 0 ||
        fcntl(made, F_ADD_SEALS, NO_RESIZE | (final ? F_SEAL_SEAL : 0)) < 0) {
        enum mg_err code = failed(err, "size");
        close(made);
        return code;
    }
    *fd = made;
    return MG_OK;
}

enum mg_err mg_memfd_of(const char *name, struct mg_span data, int *fd, struct mg_errmsg *err)
{
    int made = create(name);
    if (made < 0)
        return failed(err, "make");
    for (size_t done = 0; done < data.len;) {
        ssize_t n = write(made, data.data + done, data.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            enum mg_err code = failed(err, "fill");
            close(made);
            return code;
        }
        done += (size_t)n;
    }
    if (fcntl(made, F_ADD_SEALS, NO_RESIZE | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
        enum mg_err code = failed(err, "seal");
        close(made);
        return code;
    }
    *fd = made;
    return MG_OK;
}

enum mg_err mg_memfd_seal(int fd, struct mg_errmsg *err)
{
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0)
        return failed(err, "seal");
    return MG_OK;
}

bool mg_memfd_check(int fd, size_t bytes, bool sealed)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    int wanted = F_SEAL_SHRINK | (sealed ? F_SEAL_WRITE : 0);
    return seals >= 0 && (seals & wanted) == wanted && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
           st.st_size >= 0 && (uint64_t)st.st_size == bytes;
}

enum mg_err mg_memfd_map(int fd, size_t bytes, bool writable, void **out, struct mg_errmsg *err)
{
    if (bytes == 0)
        return mg_err_set(err, MG_E_INVALID, "there is nothing to map in an empty shared memory");
    void *at = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    /* Before Linux 6.7 a memfd sealed against writing could not be mapped shared, not even for
     * reading. */
    if (at == MAP_FAILED && !writable && errno == EPERM)
        at = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at == MAP_FAILED)
        return failed(err, "map");
    *out = at;
    return MG_OK;
}

enum mg_err mg_channel_open(struct mg_channel *channel, int fd, struct mg_errmsg *err)
{
    bool ours = fd < 0;
    void *at = NULL;
    enum mg_err code = MG_OK;
    if (ours)
        code = mg_memfd_new("moongate-channel", CHANNEL_BYTES, true, &fd, err);
    else if (!mg_memfd_check(fd, CHANNEL_BYTES, false))
        code = mg_err_set(err, MG_E_INVALID,
                          "the channel is not a memfd of %d bytes that cannot shrink",
                          (int)CHANNEL_BYTES);
    if (code != MG_OK)
        return code;
    code = mg_memfd_map(fd, CHANNEL_BYTES, true, &at, err);
    if (code != MG_OK) {
        if (ours)
            close(fd);
        return code;
    }
    uint8_t *result = (uint8_t *)at + MG_CHANNEL_REQUEST;
    *channel = (struct mg_channel){
        .fd = fd, .request = at, .result = result, .slots = (void *)(result + MG_CHANNEL_RESULT)};
    return MG_OK;
}

void mg_slot_put(struct mg_slot *slot, uint64_t run, uint64_t generation, struct mg_span request)
{
    MG_ASSERT(request.len <= MG_SLOT_REQUEST);
    slot->bytes = (uint32_t)request.len;
    slot->run = run;
    slot->generation = generation;
    memcpy(slot->request, request.data, request.len);
    __atomic_store_n(&slot->state, MG_SLOT_READY, __ATOMIC_RELEASE);
}

static bool exchange(struct mg_slot *slot, uint32_t to)
{
    uint32_t ready = MG_SLOT_READY;
    return __atomic_compare_exchange_n(&slot->state, &ready, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

bool mg_slot_recall(struct mg_slot *slot)
{
    return exchange(slot, MG_SLOT_EMPTY);
}

bool mg_slot_take(struct mg_slot *slot)
{
    return exchange(slot, MG_SLOT_TAKEN);
}

void mg_channel_close(struct mg_channel *channel)
{
    if (!channel->request)
        return;
    munmap(channel->request, CHANNEL_BYTES);
    close(channel->fd);
    *channel = (struct mg_channel){.fd = -1};
}
