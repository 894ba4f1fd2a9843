/* Messages: what fits arrives as it was sent; what does not fit is refused, and no descriptor stays
 * behind. */
#include "moongate/msg.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int count_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Sends any bytes with any descriptors, as a hostile peer would. */
static void send_raw(int sock, const void *data, size_t len, const int *fds, size_t n_fds)
{
    struct iovec iov = {(void *)data, len};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 64)];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr head = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds) {
        head.msg_control = control.bytes;
        head.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&head);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
    }
    assert_int_equal(sendmsg(sock, &head, 0), (ssize_t)len);
}

static void change_version(struct mg_msg *m)
{
    m->version = 2;
}
static void change_type_none(struct mg_msg *m)
{
    m->type = MG_MSG_NONE;
}
static void change_type_high(struct mg_msg *m)
{
    m->type = MG_MSG_TYPE_COUNT;
}
static void change_length(struct mg_msg *m)
{
    m->length--;
}
static void change_err(struct mg_msg *m)
{
    m->err = MG_ERR_COUNT;
}
static void change_org(struct mg_msg *m)
{
    memset(m->org, 'x', sizeof m->org);
}
static void change_text(struct mg_msg *m)
{
    memset(m->text, 'x', sizeof m->text);
}
static void change_url(struct mg_msg *m)
{
    memset(m->url, 'x', sizeof m->url);
}
static void change_nothing(struct mg_msg *m)
{
    (void)m;
}

static const struct {
    enum mg_msg_type type;
    void (*change)(struct mg_msg *);
    int len_change;
    size_t n_fds;
    enum mg_err expected;
    const char *sentence;
} rows[] = {
    {MG_MSG_PING, change_nothing, 0, 0, MG_OK, "a message as it should be arrives"},
    {MG_MSG_SPAWN, change_nothing, 0, 2, MG_OK, "spawn carries two descriptors"},
    {MG_MSG_RUN, change_nothing, 0, 0, MG_OK, "a run may come without its bundle"},
    {MG_MSG_RUN, change_nothing, 0, 1, MG_OK, "a run may come with its bundle"},
    {MG_MSG_PING, change_version, 0, 0, MG_E_INVALID, "another version is refused"},
    {MG_MSG_PING, change_type_none, 0, 0, MG_E_INVALID, "type 0 is refused"},
    {MG_MSG_PING, change_type_high, 0, 0, MG_E_INVALID, "an unknown type is refused"},
    {MG_MSG_PING, change_length, 0, 0, MG_E_INVALID, "a wrong length field is refused"},
    {MG_MSG_PING, change_err, 0, 0, MG_E_INVALID, "an unknown error is refused"},
    {MG_MSG_PING, change_org, 0, 0, MG_E_INVALID, "an unterminated organisation is refused"},
    {MG_MSG_PING, change_text, 0, 0, MG_E_INVALID, "an unterminated text is refused"},
    {MG_MSG_PING, change_url, 0, 0, MG_E_INVALID, "an unterminated URL is refused"},
    {MG_MSG_PING, change_nothing, -1, 0, MG_E_INVALID, "a short datagram is refused"},
    {MG_MSG_PING, change_nothing, 8, 0, MG_E_INVALID, "a long datagram is refused"},
    {MG_MSG_PING, change_nothing, -1511, 0, MG_E_INVALID, "one byte is refused"},
    {MG_MSG_PING, change_nothing, 0, 1, MG_E_INVALID, "a ping with a descriptor is refused"},
    {MG_MSG_SPAWN, change_nothing, 0, 1, MG_E_INVALID, "spawn with one descriptor is refused"},
    {MG_MSG_SPAWN, change_nothing, 0, 3, MG_E_INVALID, "spawn with three descriptors is refused"},
    {MG_MSG_BIG, change_nothing, 0, 0, MG_E_INVALID, "big without a descriptor is refused"},
    {MG_MSG_SPAWN, change_nothing, 0, 4, MG_E_INVALID, "four descriptors are refused"},
    {MG_MSG_SPAWN, change_nothing, 0, 60, MG_E_INVALID, "sixty descriptors are refused"},
};

static void test_arrival(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int pair[2], fds[MG_MSG_MAX_FDS], sent[64];
        size_t n_fds = 0;
        char bytes[sizeof(struct mg_msg) + 16] = {0};
        struct mg_msg msg, got;
        memset(&got, 0x55, sizeof got);
        struct mg_msg untouched = got;
        int before = count_fds();
        assert_int_equal(mg_msg_pair(pair, NULL), MG_OK);
        for (size_t k = 0; k < 64; k++)
            sent[k] = STDERR_FILENO;
        mg_msg_init(&msg, rows[i].type);
        msg.id = 7;
        rows[i].change(&msg);
        memcpy(bytes, &msg, sizeof msg);
        send_raw(pair[0], bytes, sizeof msg + (size_t)rows[i].len_change, sent, rows[i].n_fds);
        enum mg_err code = mg_msg_recv(pair[1], &got, fds, &n_fds);
        if (code != rows[i].expected)
            fail_msg("%s (got %s)", rows[i].sentence, mg_err_name(code));
        if (code == MG_OK) {
            assert_int_equal(n_fds, rows[i].n_fds);
            assert_memory_equal(&got, &msg, sizeof msg);
            for (size_t k = 0; k < n_fds; k++)
                close(fds[k]);
        } else {
            assert_memory_equal(&got, &untouched, sizeof got);
            assert_int_equal(n_fds, 0);
        }
        close(pair[0]);
        close(pair[1]);
        if (count_fds() != before)
            fail_msg("%s, and leaves no descriptor behind", rows[i].sentence);
    }
}

static void test_ends(void **state)
{
    (void)state;
    int pair[2], fds[MG_MSG_MAX_FDS];
    size_t n_fds;
    struct mg_msg msg;
    assert_int_equal(mg_msg_pair(pair, NULL), MG_OK);
    assert_int_equal(mg_msg_recv(pair[0], &msg, fds, &n_fds), MG_E_CANCELLED);
    assert_false(mg_msg_wait(pair[0], 0));
    mg_msg_init(&msg, MG_MSG_PING);
    /* A peer that reads nothing fills its buffer and never blocks us. */
    int sent = 0;
    while (mg_msg_send(pair[0], &msg, NULL, 0) == MG_OK)
        sent++;
    assert_in_range(sent, 16, 100000);
    assert_int_equal(mg_msg_send_wait(pair[0], &msg, NULL, 0, 0), MG_E_UNAVAILABLE);
    assert_true(mg_msg_wait(pair[1], -1));
    for (int i = 0; i < sent; i++)
        assert_int_equal(mg_msg_recv(pair[1], &msg, fds, &n_fds), MG_OK);
    assert_int_equal(mg_msg_send_wait(pair[0], &msg, NULL, 0, 0), MG_OK);
    close(pair[1]);
    assert_int_equal(mg_msg_send(pair[0], &msg, NULL, 0), MG_E_UNAVAILABLE);
    assert_true(mg_msg_wait(pair[0], 0));
    assert_int_equal(mg_msg_recv(pair[0], &msg, fds, &n_fds), MG_E_UNAVAILABLE);
    close(pair[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_arrival), cmocka_unit_test(test_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
