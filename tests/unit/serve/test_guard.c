/* The guard's arithmetic, with the time as a parameter; addresses and CIDRs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "serve/guard.h"

static void test_cancels(void **state)
{
    (void)state;
    struct mg_guard guard;
    mg_guard_init(&guard, 1000);
    for (int i = 0; i < 100; i++) {
        assert_true(mg_guard_cancel(&guard, 2000));
    }
    assert_false(mg_guard_cancel(&guard, 61000));
    assert_true(mg_guard_cancel(&guard, 61001)); /* a new window */
}

static void test_jobs(void **state)
{
    (void)state;
    struct mg_guard guard;
    mg_guard_init(&guard, 0);
    for (int i = 0; i < 100; i++) {
        assert_true(mg_guard_begin(&guard));
    }
    assert_false(mg_guard_begin(&guard));
    mg_guard_end(&guard);
    assert_true(mg_guard_begin(&guard));
}

static void test_noise(void **state)
{
    (void)state;
    struct mg_guard guard;
    mg_guard_init(&guard, 0);
    for (int i = 0; i < 200; i++) {
        assert_true(mg_guard_noise(&guard, 0, 10, 0));
    }
    assert_false(mg_guard_noise(&guard, 0, 1, 0));
    /* Time, requests and bytes earn; 1 ms steps earn as much as one long one. */
    mg_guard_init(&guard, 0);
    assert_true(mg_guard_noise(&guard, 0, 2000, 0));
    for (int64_t ms = 1; ms <= 1000; ms++) {
        assert_true(mg_guard_noise(&guard, ms, 0, 0));
    }
    assert_true(mg_guard_noise(&guard, 1000, 100, 0));
    assert_false(mg_guard_noise(&guard, 1000, 1, 0));
    mg_guard_init(&guard, 0);
    assert_true(mg_guard_noise(&guard, 0, 2000, 0));
    assert_true(mg_guard_begin(&guard));
    assert_true(mg_guard_noise(&guard, 0, MG_GUARD_NOISE_PER_REQUEST, 0));
    assert_true(mg_guard_noise(&guard, 0, 100, 100 * MG_GUARD_NOISE_BYTES));
    assert_false(mg_guard_noise(&guard, 0, 1, 100 * MG_GUARD_NOISE_BYTES));
    /* What is earned does not pile up. */
    mg_guard_init(&guard, 0);
    assert_true(mg_guard_noise(&guard, 1000000, 2000, 1u << 30));
    assert_false(mg_guard_noise(&guard, 1000000, 1, 1u << 30));
}

static void test_clocks(void **state)
{
    (void)state;
    static const struct mg_guard_clocks clocks = {
        .handshake_ms = 50, .idle_ms = 100, .no_progress_ms = 300};
    static const struct {
        enum mg_guard_activity activity;
        int64_t step_ms;
        uint64_t bytes_per_step;
        int steps; /* that pass */
        const char *why;
    } rows[] = {
        {MG_GUARD_HANDSHAKE, 10, 1000, 5, "a handshake has its time, bytes or not"},
        {MG_GUARD_IDLE, 10, 0, 11, "idling counts from when it began"},
        {MG_GUARD_RECEIVING, 10, 1, 31, "a byte a step is no progress"},
        {MG_GUARD_SENDING, 10, 0, 31, "nothing is no progress"},
        {MG_GUARD_RECEIVING, 100, 4096, 1000, "4 kB in each window go on"},
        {MG_GUARD_SENDING, 100, 2048, 1000, "so do 2 kB a step"},
        {MG_GUARD_WORKING, 100000, 0, 1000, "the client waits for us"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_guard guard;
        mg_guard_init(&guard, 0);
        int passed = 0;
        uint64_t bytes = 0;
        for (int64_t ms = rows[i].step_ms; passed < 1000;
             ms += rows[i].step_ms, bytes += rows[i].bytes_per_step) {
            if (!mg_guard_tick(&guard, &clocks, ms, rows[i].activity, bytes)) {
                break;
            }
            passed++;
        }
        if (passed != rows[i].steps) {
            fail_msg("%s: %d steps, not %d", rows[i].why, passed, rows[i].steps);
        }
    }
    /* Requests that come and go are progress. */
    struct mg_guard guard;
    mg_guard_init(&guard, 0);
    for (int64_t ms = 90; ms < 9000; ms += 90) {
        assert_true(mg_guard_begin(&guard));
        mg_guard_end(&guard);
        assert_true(mg_guard_tick(&guard, &clocks, ms, MG_GUARD_IDLE, 0));
    }
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *cidr, *address;
        bool has;
        const char *why;
    } rows[] = {
        {"10.0.0.0/8", "10.255.1.2", true, "inside"},
        {"10.0.0.0/8", "11.0.0.0", false, "outside"},
        {"192.168.1.128/25", "192.168.1.129", true, "a boundary inside of a byte"},
        {"192.168.1.128/25", "192.168.1.127", false, "just below it"},
        {"127.0.0.1", "127.0.0.1", true, "one address"},
        {"127.0.0.1", "127.0.0.2", false, "one address only"},
        {"0.0.0.0/0", "1.2.3.4", true, "all of IPv4"},
        {"0.0.0.0/0", "2001:db8::1", false, "and none of IPv6"},
        {"2001:db8::/32", "2001:db8:1::1", true, "IPv6"},
        {"2001:db8::/32", "2001:db9::1", false, "IPv6 outside"},
        {"::ffff:10.0.0.0/104", "10.1.2.3", true, "IPv4 as IPv6"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_cidr cidr;
        struct mg_address address;
        assert_true(mg_cidr_parse(rows[i].cidr, &cidr));
        assert_true(
            mg_address_parse((struct mg_span){rows[i].address, strlen(rows[i].address)}, &address));
        if (mg_cidr_has(&cidr, &address) != rows[i].has) {
            fail_msg("%s in %s: %s", rows[i].address, rows[i].cidr, rows[i].why);
        }
        char text[48];
        mg_address_print(&address, text, sizeof text);
        assert_string_equal(text, rows[i].address);
    }
    static const char *const bad[] = {
        "", "x", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x", "::/129", "1.2.3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct mg_cidr cidr;
        if (mg_cidr_parse(bad[i], &cidr)) {
            fail_msg("\"%s\" is no CIDR", bad[i]);
        }
    }
}

static void test_table(void **state)
{
    (void)state;
    struct mg_address_table *table = mg_address_table_new(2);
    struct mg_address a, b, c, other;
    assert_true(mg_address_parse(MG_SPAN("192.0.2.1"), &a));
    assert_true(mg_address_parse(MG_SPAN("2001:db8::1"), &b));
    assert_true(mg_address_parse(MG_SPAN("2001:db8::2:0:0:2"), &c)); /* of the same /64 */
    assert_true(mg_address_parse(MG_SPAN("2001:db8:0:1::1"), &other));
    assert_true(mg_address_take(table, &a));
    assert_true(mg_address_take(table, &a));
    assert_false(mg_address_take(table, &a));
    mg_address_release(table, &a);
    assert_true(mg_address_take(table, &a));
    assert_true(mg_address_take(table, &b));
    assert_true(mg_address_take(table, &c));
    assert_false(mg_address_take(table, &b));
    assert_true(mg_address_take(table, &other));
    mg_address_release(table, &b);
    mg_address_release(table, &c);
    mg_address_table_free(&table);
    assert_null(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancels),   cmocka_unit_test(test_jobs),
        cmocka_unit_test(test_noise),     cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
