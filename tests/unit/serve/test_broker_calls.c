/* Child runs at once, and values of cached functions, against workers that wait, die and lie. */
#include "broker_rig.h"

#include "moongate/metrics.h"

static void value_get(void *context, const char *org, const struct mg_value_ask *ask, struct mg_value_reply *reply,
                      struct mg_buf *entry, int *fd, uint64_t *fd_bytes)
{
    (void)context, (void)org, (void)ask, (void)entry, (void)fd, (void)fd_bytes;
    *reply = (struct mg_value_reply){.state = MG_VALUE_COMPUTE}; /* nothing is kept */
}

static void value_put(void *context, const char *org, const struct mg_udf *udf, const struct mg_hash *key,
                      struct mg_span deps, struct mg_span entry, int fd, uint64_t fd_bytes,
                      struct mg_value_reply *reply)
{
    (void)context, (void)org, (void)udf, (void)key, (void)deps, (void)entry, (void)fd, (void)fd_bytes;
    reply->stamp = 7;
}

/* A run that is begun: its worker. */
static struct fake *begin(struct rig *rig, const char *key, struct told *told)
{
    struct mg_job job = job_of(rig, key);
    submit(rig, &job, told);
    return expect(rig, MG_MSG_RUN).from;
}

static void ask(struct fake *fake, const char *name)
{
    struct mg_hash key;
    struct mg_buf packed;
    mg_sha256(name, strlen(name), &key);
    mg_buf_init(&packed, 0);
    mg_pack_bytes(&packed, key.bytes, sizeof key.bytes);
    mg_pack_int(&packed, -1);
    mg_pack_int(&packed, 0);
    mg_pack_bool(&packed, false);
    mg_pack_bool(&packed, false);
    mg_pack_int(&packed, 0);
    mg_pack_bytes(&packed, "", 0);
    memcpy(fake->channel.result, packed.data, packed.len);
    send_to(fake, MG_MSG_ASK, fake->run, packed.len, 100);
    mg_buf_fini(&packed);
}

static void keep(struct fake *fake, const char *name, bool stored)
{
    struct mg_hash key;
    struct mg_buf packed;
    mg_sha256(name, strlen(name), &key);
    mg_buf_init(&packed, 0);
    mg_pack_bytes(&packed, key.bytes, sizeof key.bytes);
    mg_pack_bool(&packed, stored);
    mg_pack_bytes(&packed, "", 0);
    mg_pack_bytes(&packed, "entry", 5);
    memcpy(fake->channel.result, packed.data, packed.len);
    send_to(fake, MG_MSG_KEEP, fake->run, packed.len, 101);
    mg_buf_fini(&packed);
}

static void valued(struct rig *rig, struct fake *from, enum mg_value_state state)
{
    struct event event = expect(rig, MG_MSG_VALUED);
    assert_ptr_equal(event.from, from);
    assert_int_equal(event.msg.status, state);
    if (state == MG_VALUE_HIT)
        assert_memory_equal(from->channel.request, "entry", 5);
}

/* Asks, and waits until the broker has parked the worker: one run less is active. */
static void ask_and_park(struct fake *fake, const char *name)
{
    int64_t active = mg_metric_get(MG_M_WORKERS_BUSY);
    ask(fake, name);
    for (int ms = 0; mg_metric_get(MG_M_WORKERS_BUSY) != active - 1; ms++) {
        if (ms == WAIT_MS)
            fail_msg("the worker that asked for %s was not parked", name);
        poll(NULL, 0, 1);
    }
}

static void rig_start_values(struct rig *rig, unsigned workers)
{
    rig_start(rig, (struct mg_broker_config){.workers = workers, .value_get = value_get, .value_put = value_put});
}

/* Three are started; they end in another order than they are asked for. */
static void children_at_once(void **state)
{
    struct rig rig;
    struct told told = {0};
    struct fake *children[3] = {NULL};
    (void)state;
    rig_start(&rig, (struct mg_broker_config){.workers = 4});
    struct fake *parent = begin(&rig, "root", &told);
    for (uint64_t i = 0; i < 3; i++) {
        send_to(parent, MG_MSG_START, parent->run, 4, i + 1);
        for (int got = 0; got < 2; got++) {
            struct event event = {0};
            assert_true(next_within(&rig, &event, WAIT_MS));
            if (event.msg.type == MG_MSG_RUN)
                children[i] = event.from;
            else
                assert_int_equal(event.msg.type, MG_MSG_ACK);
        }
    }
    done(children[2], "three");
    send_to(parent, MG_MSG_AWAIT, parent->run, 0, 0); /* any */
    struct event event = expect(&rig, MG_MSG_CHILD);
    assert_int_equal(event.msg.tag, 3);
    send_to(parent, MG_MSG_AWAIT, parent->run, 0, 2);
    done(children[0], "one"); /* not the one that is waited for */
    done(children[1], "two");
    event = expect(&rig, MG_MSG_CHILD);
    assert_int_equal(event.msg.tag, 2);
    send_to(parent, MG_MSG_AWAIT, parent->run, 0, 0);
    event = expect(&rig, MG_MSG_CHILD);
    assert_int_equal(event.msg.tag, 1);
    done(parent, "all");
    wait_told(&told);
    assert_string_equal(told.body, "all");
    rig_stop(&rig);
}

/* What a run did not wait for, or does not want, is killed. */
static void children_left_behind(void **state)
{
    (void)state;
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        struct rig rig;
        struct told told = {0};
        struct fake *child = NULL;
        rig_start(&rig, (struct mg_broker_config){.workers = 2});
        rig.auto_kill = false;
        struct fake *parent = begin(&rig, "root", &told);
        send_to(parent, MG_MSG_START, parent->run, 4, 1);
        for (int got = 0; got < 2; got++) {
            struct event event = {0};
            assert_true(next_within(&rig, &event, WAIT_MS));
            if (event.msg.type == MG_MSG_RUN)
                child = event.from;
        }
        assert_non_null(child);
        if (cancelled)
            send_to(parent, MG_MSG_CANCEL, parent->run, 0, 1);
        else
            done(parent, "left");
        struct event event = expect(&rig, MG_MSG_KILL);
        assert_int_equal(event.msg.id, child->id);
        die(&rig, child, SIGKILL);
        if (cancelled)
            done(parent, "left");
        wait_told(&told);
        assert_string_equal(told.body, "left");
        rig_stop(&rig);
    }
}

static void one_computes(void **state)
{
    struct rig rig;
    struct told told[3] = {{.count = 0}};
    struct fake *fakes[3];
    (void)state;
    rig_start_values(&rig, 3);
    for (int i = 0; i < 3; i++)
        fakes[i] = begin(&rig, (const char *[]){"a", "b", "c"}[i], &told[i]);
    ask(fakes[0], "value");
    valued(&rig, fakes[0], MG_VALUE_COMPUTE);
    ask(fakes[0], "value"); /* its own, again: a function that calls itself */
    valued(&rig, fakes[0], MG_VALUE_ALONE);
    ask_and_park(fakes[1], "value");
    ask(fakes[2], "other");
    valued(&rig, fakes[2], MG_VALUE_COMPUTE);
    keep(fakes[0], "value", true);
    bool acked = false, woken = false;
    for (int i = 0; i < 2; i++) {
        struct event event = {0};
        assert_true(next_within(&rig, &event, WAIT_MS));
        acked |= event.msg.type == MG_MSG_ACK && event.from == fakes[0] && event.msg.offset == 7;
        woken |= event.msg.type == MG_MSG_VALUED && event.from == fakes[1] && event.msg.status == MG_VALUE_HIT &&
                 memcmp(fakes[1]->channel.request, "entry", 5) == 0;
    }
    assert_true(acked && woken);
    ask_and_park(fakes[1], "other");
    keep(fakes[2], "other", false); /* its function failed */
    acked = woken = false;
    for (int i = 0; i < 2; i++) {
        struct event event = {0};
        assert_true(next_within(&rig, &event, WAIT_MS));
        acked |= event.msg.type == MG_MSG_ACK && event.from == fakes[2];
        woken |= event.msg.type == MG_MSG_VALUED && event.from == fakes[1] && event.msg.status == MG_VALUE_AGAIN;
    }
    assert_true(acked && woken);
    for (int i = 0; i < 3; i++) {
        done(fakes[i], "x");
        wait_told(&told[i]);
    }
    rig_stop(&rig);
}

/* The end of who computes, of whatever kind, wakes those that wait. */
static void end_of_who_computes(void **state)
{
    (void)state;
    for (int dies = 0; dies < 2; dies++) {
        struct rig rig;
        struct told told[2] = {{.count = 0}};
        rig_start_values(&rig, 2);
        struct fake *owner = begin(&rig, "a", &told[0]), *other = begin(&rig, "b", &told[1]);
        ask(owner, "value");
        valued(&rig, owner, MG_VALUE_COMPUTE);
        ask_and_park(other, "value");
        if (dies)
            die(&rig, owner, SIGSEGV);
        else
            done(owner, "without a word");
        valued(&rig, other, MG_VALUE_AGAIN);
        done(other, "x");
        wait_told(&told[0]);
        wait_told(&told[1]);
        rig_stop(&rig);
    }
}

/* a waits for b's value, and b would wait for a's; and a parent's value is asked for by its child. */
static void circles(void **state)
{
    struct rig rig;
    struct told told[2] = {{.count = 0}};
    (void)state;
    rig_start_values(&rig, 2);
    struct fake *a = begin(&rig, "a", &told[0]), *b = begin(&rig, "b", &told[1]);
    ask(a, "of a");
    valued(&rig, a, MG_VALUE_COMPUTE);
    ask(b, "of b");
    valued(&rig, b, MG_VALUE_COMPUTE);
    ask_and_park(a, "of b");
    ask(b, "of a");
    valued(&rig, b, MG_VALUE_ALONE);
    done(b, "b");
    valued(&rig, a, MG_VALUE_AGAIN);
    send_to(a, MG_MSG_CALL, a->run, 4, 1);
    struct fake *child = expect(&rig, MG_MSG_RUN).from;
    ask(child, "of a");
    valued(&rig, child, MG_VALUE_ALONE);
    done(child, "child");
    expect(&rig, MG_MSG_CHILD);
    done(a, "a");
    wait_told(&told[0]);
    wait_told(&told[1]);
    rig_stop(&rig);
}

/* What no worker of ours sends ends that worker, and only it. */
static void lies(void **state)
{
    static const struct {
        enum mg_msg_type type;
        uint64_t bytes, tag;
        const char *sentence;
    } rows[] = {
        {MG_MSG_AWAIT, 0, 0, "waits for nothing"},
        {MG_MSG_AWAIT, 0, 5, "waits for what was not started"},
        {MG_MSG_START, MG_CHANNEL_RESULT + 1, 1, "a request larger than its channel"},
        {MG_MSG_START, 4, 0, "a child without a tag"},
        {MG_MSG_ASK, 0, 1, "an empty question"},
        {MG_MSG_ASK, 64, 1, "a malformed question"},
        {MG_MSG_ASK, UINT64_MAX, 1, "a question larger than anything"},
        {MG_MSG_KEEP, 64, 1, "a malformed value"},
        {MG_MSG_ACK, 0, 1, "a message of the front's"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig rig;
        struct told told[2] = {{.count = 0}};
        rig_start_values(&rig, 2);
        rig.auto_kill = false;
        struct fake *liar = begin(&rig, "liar", &told[0]);
        memset(liar->channel.result, 0xff, 64);
        send_to(liar, rows[i].type, liar->run, rows[i].bytes, rows[i].tag);
        struct event event = expect(&rig, MG_MSG_KILL);
        assert_int_equal(event.msg.id, liar->id);
        die(&rig, liar, SIGKILL);
        wait_told(&told[0]);
        if (told[0].err != MG_E_UDF_CRASHED)
            fail_msg("%s: %s", rows[i].sentence, mg_err_name(told[0].err));
        struct fake *good = begin(&rig, "good", &told[1]);
        done(good, "good");
        wait_told(&told[1]);
        assert_string_equal(told[1].body, "good");
        rig_stop(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_at_once), cmocka_unit_test(children_left_behind), cmocka_unit_test(one_computes),
        cmocka_unit_test(end_of_who_computes), cmocka_unit_test(circles), cmocka_unit_test(lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
