/* Memfds: what a peer with the descriptor can and cannot do to the memory that we have mapped. */
#include "moongate/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_fixed(int fd, off_t bytes)
{
    assert_int_equal(ftruncate(fd, bytes - 1), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, bytes + 1), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fallocate(fd, 0, bytes, 4096), -1);
}

static void test_channel(void **state)
{
    (void)state;
    struct mg_channel front, worker;
    assert_int_equal(mg_channel_open(&front, -1, NULL), MG_OK);
    assert_int_equal(mg_channel_open(&worker, dup(front.fd), NULL), MG_OK);
    memcpy(front.request, "question", 9);
    assert_string_equal((char *)worker.request, "question");
    memcpy(worker.result, "answer", 7);
    assert_string_equal((char *)front.result, "answer");
    assert_fixed(worker.fd, MG_CHANNEL_REQUEST + MG_CHANNEL_RESULT + MG_SLOTS * sizeof(struct mg_slot));
    /* Nor can the worker take the front's right to write. */
    assert_int_equal(mg_memfd_seal(worker.fd, NULL) == MG_OK, false);
    mg_channel_close(&worker);
    mg_channel_close(&front);
    assert_null(front.request);
    mg_channel_close(&front);
}

/* A run in a slot is the worker's or the front's, never both's. */
static void test_slots(void **state)
{
    (void)state;
    struct mg_channel front, worker;
    assert_int_equal(mg_channel_open(&front, -1, NULL), MG_OK);
    assert_int_equal(mg_channel_open(&worker, dup(front.fd), NULL), MG_OK);
    char longest[MG_SLOT_REQUEST];
    memset(longest, 'r', sizeof longest);
    for (unsigned i = 0; i < MG_SLOTS; i++) {
        struct mg_slot *ours = &front.slots[i], *theirs = &worker.slots[i];
        assert_false(mg_slot_take(theirs)); /* nothing is there */
        assert_false(mg_slot_recall(ours));
        mg_slot_put(ours, 7 + i, 3, (struct mg_span){longest, sizeof longest});
        assert_true(mg_slot_take(theirs));
        assert_false(mg_slot_take(theirs));
        assert_false(mg_slot_recall(ours));
        assert_int_equal(theirs->run, 7 + i);
        assert_int_equal(theirs->generation, 3);
        assert_int_equal(theirs->bytes, sizeof longest);
        assert_memory_equal(theirs->request, longest, sizeof longest);
        memset(theirs->result, 0xff, sizeof theirs->result);
        mg_slot_put(ours, 100, 3, MG_SPAN(""));
        assert_true(mg_slot_recall(ours));
        assert_false(mg_slot_take(theirs));
    }
    mg_channel_close(&worker);
    mg_channel_close(&front);
}

static void test_big(void **state)
{
    (void)state;
    int fd;
    void *at;
    assert_int_equal(mg_memfd_new("big", 100000, false, &fd, NULL), MG_OK);
    assert_fixed(fd, 100000);
    assert_true(mg_memfd_check(fd, 100000, false));
    assert_false(mg_memfd_check(fd, 100000, true));
    assert_false(mg_memfd_check(fd, 99999, false));
    assert_int_equal(mg_memfd_map(fd, 100000, true, &at, NULL), MG_OK);
    memset(at, 'a', 100000);
    struct mg_errmsg err;
    assert_int_not_equal(mg_memfd_seal(fd, &err), MG_OK); /* while it is mapped for writing */
    munmap(at, 100000);
    assert_int_equal(mg_memfd_seal(fd, NULL), MG_OK);
    assert_true(mg_memfd_check(fd, 100000, true));
    assert_int_equal(pwrite(fd, "b", 1, 0), -1);
    assert_int_not_equal(mg_memfd_map(fd, 100000, true, &at, NULL), MG_OK);
    assert_int_equal(mg_memfd_map(fd, 100000, false, &at, NULL), MG_OK);
    assert_int_equal(((char *)at)[99999], 'a');
    munmap(at, 100000);
    close(fd);
}

static void test_of(void **state)
{
    (void)state;
    int fd;
    void *at;
    assert_int_equal(mg_memfd_of("bundle", MG_SPAN("return 1"), &fd, NULL), MG_OK);
    assert_true(mg_memfd_check(fd, 8, true));
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, 0), -1);
    assert_int_equal(mg_memfd_map(fd, 8, false, &at, NULL), MG_OK);
    assert_memory_equal(at, "return 1", 8);
    munmap(at, 8);
    close(fd);
    assert_int_equal(mg_memfd_of("empty", (struct mg_span){0}, &fd, NULL), MG_OK);
    assert_int_equal(mg_memfd_map(fd, 0, false, &at, NULL), MG_E_INVALID);
    close(fd);
}

static int plain_memfd(void)
{
    int fd = memfd_create("plain", MFD_CLOEXEC);
    return ftruncate(fd, 4096) == 0 ? fd : -1;
}
static int unsealed_memfd(void)
{
    int fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return ftruncate(fd, 4096) == 0 ? fd : -1;
}
static int plain_file(void)
{
    char name[] = "/tmp/mg-memfd-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    return ftruncate(fd, 4096) == 0 ? fd : -1;
}
static int character_device(void)
{
    return open("/dev/zero", O_RDWR);
}
static int a_pipe(void)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    close(fds[1]);
    return fds[0];
}

static void test_imposters(void **state)
{
    (void)state;
    static const struct {
        int (*make)(void);
        const char *sentence;
    } rows[] = {{plain_memfd, "a memfd that can shrink is refused"},
                {unsealed_memfd, "a memfd without seals is refused"},
                {plain_file, "a file is refused"},
                {character_device, "a device is refused"},
                {a_pipe, "a pipe is refused"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_channel channel = {.fd = -1};
        int fd = rows[i].make();
        assert_true(fd >= 0);
        if (mg_memfd_check(fd, 4096, false) || mg_channel_open(&channel, fd, NULL) == MG_OK)
            fail_msg("%s", rows[i].sentence);
        assert_null(channel.request);
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_channel), cmocka_unit_test(test_slots), cmocka_unit_test(test_big),
                                       cmocka_unit_test(test_of), cmocka_unit_test(test_imposters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
