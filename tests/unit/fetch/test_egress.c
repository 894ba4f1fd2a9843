/* The egress policy: public addresses only, in every form that an address can take. */
#include "moongate/fetch.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

static bool allowed(const char *text, const char *const *allow)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return mg_egress_allowed(&v4, sizeof v4, allow);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return mg_egress_allowed(&v6, sizeof v6, allow);
}

static void test_policy(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool allowed;
        const char *sentence;
    } rows[] = {
        {"8.8.8.8", true, "public"},
        {"1.1.1.1", true, "public"},
        {"100.63.255.255", true, "below carrier-grade NAT"},
        {"100.64.0.0", false, "carrier-grade NAT"},
        {"100.127.255.255", false, "carrier-grade NAT, last"},
        {"100.128.0.0", true, "above carrier-grade NAT"},
        {"0.0.0.0", false, "this host"},
        {"0.1.2.3", false, "this network"},
        {"10.0.0.1", false, "private"},
        {"11.0.0.1", true, "above private"},
        {"127.0.0.1", false, "loopback"},
        {"127.255.255.254", false, "loopback, last"},
        {"128.0.0.1", true, "above loopback"},
        {"169.254.169.254", false, "metadata service"},
        {"169.253.0.1", true, "below link-local"},
        {"172.15.255.255", true, "below private"},
        {"172.16.0.1", false, "private"},
        {"172.31.255.255", false, "private, last"},
        {"172.32.0.0", true, "above private"},
        {"192.0.0.192", false, "protocol assignments (a metadata service)"},
        {"192.0.2.1", false, "documentation"},
        {"192.88.99.1", false, "6to4 relay"},
        {"192.167.255.255", true, "below private"},
        {"192.168.1.1", false, "private"},
        {"198.17.255.255", true, "below benchmarks"},
        {"198.18.0.1", false, "benchmarks"},
        {"198.19.255.255", false, "benchmarks, last"},
        {"198.51.100.7", false, "documentation"},
        {"203.0.113.7", false, "documentation"},
        {"223.255.255.255", true, "below multicast"},
        {"224.0.0.1", false, "multicast"},
        {"239.255.255.250", false, "multicast"},
        {"240.0.0.1", false, "reserved"},
        {"255.255.255.255", false, "broadcast"},
        {"2606:4700::1111", true, "public"},
        {"2a00:1450:4001::8a", true, "public"},
        {"::", false, "unspecified"},
        {"::1", false, "loopback"},
        {"::127.0.0.1", false, "IPv4-compatible"},
        {"::8.8.8.8", false, "IPv4-compatible, deprecated"},
        {"::ffff:127.0.0.1", false, "mapped loopback"},
        {"::ffff:169.254.169.254", false, "mapped metadata service"},
        {"::ffff:8.8.8.8", true, "mapped public"},
        {"64:ff9b::7f00:1", false, "NAT64 loopback"},
        {"64:ff9b::a00:1", false, "NAT64 private"},
        {"64:ff9b::808:808", true, "NAT64 public"},
        {"64:ff9b:1::1", false, "local NAT64"},
        {"2002:7f00:1::", false, "6to4 loopback"},
        {"2002:c0a8:101::1", false, "6to4 private"},
        {"2002:808:808::1", true, "6to4 public"},
        {"2001::1", false, "Teredo"},
        {"2001:1ff:ffff::1", false, "protocol assignments"},
        {"2001:200::1", true, "public"},
        {"2001:db8::1", false, "documentation"},
        {"3fff::1", false, "documentation"},
        {"3fff:1000::1", true, "above documentation"},
        {"fc00::1", false, "unique local"},
        {"fd00:ec2::254", false, "a metadata service"},
        {"fe80::1", false, "link-local"},
        {"fec0::1", false, "site-local"},
        {"ff02::1", false, "multicast"},
        {"100::1", false, "discard"},
        {"5f00::1", false, "segment routing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (allowed(rows[i].address, NULL) != rows[i].allowed)
            fail_msg("%s (%s) is %s", rows[i].address, rows[i].sentence, rows[i].allowed ? "refused" : "allowed");
}

static void test_allow(void **state)
{
    (void)state;
    static const char *const lists[][4] = {
        {"127.0.0.1/32", NULL},
        {"10.1.0.0/16", "::1", NULL},
        {"192.168.7.7", NULL},
        {"", "10.0.0.0/33", "10.0.0.0/x", NULL},
        {"10.0.0.0/", "10.0.0/8", "fe80::/129", NULL},
        {"0.0.0.0/0", NULL},
        {"fd00:1::/32", NULL},
    };
    static const struct {
        int list;
        const char *address;
        bool allowed;
    } rows[] = {
        {0, "127.0.0.1", true},         {0, "127.0.0.2", false}, {0, "::ffff:127.0.0.1", true}, {0, "::1", false},
        {0, "8.8.8.8", true},           {1, "10.1.255.1", true}, {1, "10.2.0.1", false},        {1, "::1", true},
        {1, "64:ff9b::a01:1", true},    {2, "192.168.7.7", true}, {2, "192.168.7.8", false},    {3, "10.0.0.1", false},
        {4, "10.0.0.1", false},         {4, "fe80::1", false},   {5, "169.254.169.254", true},  {5, "::1", false},
        {6, "fd00:1:2::3", true},       {6, "fd00:2::", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (allowed(rows[i].address, lists[rows[i].list]) != rows[i].allowed)
            fail_msg("%s with list %d is %s", rows[i].address, rows[i].list,
                     rows[i].allowed ? "refused" : "allowed");
}

/* A block that is closed counts for each way to write the address. */
static void test_listed(void **state)
{
    (void)state;
    static const char *const blocks[] = {"8.8.0.0/16", "2001:4860::/32", NULL};
    static const struct {
        const char *address;
        bool listed;
    } rows[] = {{"8.8.8.8", true},         {"8.9.0.1", false},          {"::ffff:8.8.4.4", true},
                {"64:ff9b::8.8.8.8", true}, {"2002:808:808::1", true},    {"2001:4860:4860::8888", true},
                {"2001:4861::1", false},    {"::ffff:9.9.9.9", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
        bool is_v4 = inet_pton(AF_INET, rows[i].address, &v4.sin_addr) == 1;
        assert_true(is_v4 || inet_pton(AF_INET6, rows[i].address, &v6.sin6_addr) == 1);
        bool listed = is_v4 ? mg_egress_listed(&v4, sizeof v4, blocks) : mg_egress_listed(&v6, sizeof v6, blocks);
        if (listed != rows[i].listed)
            fail_msg("%s is %slisted", rows[i].address, listed ? "" : "not ");
        assert_false(is_v4 ? mg_egress_listed(&v4, sizeof v4, NULL) : mg_egress_listed(&v6, sizeof v6, NULL));
    }
}

static void test_other_families(void **state)
{
    (void)state;
    static const char *const all[] = {"0.0.0.0/0", "::/0", NULL};
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(0x08080808)}};
    assert_false(mg_egress_allowed(&local, sizeof local, all));
    assert_false(mg_egress_allowed(&v4, sizeof v4 - 1, all)); /* too short to be one */
    assert_true(mg_egress_allowed(&v4, sizeof v4, all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_allow),
        cmocka_unit_test(test_listed), cmocka_unit_test(test_other_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
