/* The life of tokens and sign-in links, the key, and the format's versions. */
#include "moongate/state.h"
#include "store/state_internal.h"

#include "store/scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir;

static int set_up(void **context)
{
    (void)context;
    dir = scratch_make();
    return 0;
}

static int tear_down(void **context)
{
    (void)context;
    scratch_remove(dir);
    return 0;
}

static struct mg_state *open_state(void)
{
    struct mg_state *state = NULL;
    struct mg_errmsg err = {""};
    if (mg_state_open(dir, &state, &err) != MG_OK)
        fail_msg("the state opens: %s", err.text);
    return state;
}

static struct mg_token make(struct mg_state *state, const char *org, const char *udf,
                            int64_t expires_s)
{
    struct mg_token token = {.expires_s = expires_s, .max_age_s = 60};
    struct mg_errmsg err = {""};
    snprintf(token.org, sizeof token.org, "%s", org);
    snprintf(token.account, sizeof token.account, "owner@%s", org);
    snprintf(token.udf, sizeof token.udf, "%s", udf);
    if (mg_token_create(state, &token, &err) != MG_OK)
        fail_msg("a token is made: %s", err.text);
    return token;
}

static void test_life(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    struct mg_token made = make(state, "local", "Hello", 2000), good;
    assert_int_equal(mg_token_check(state, mg_span(made.text), 1999, &good, NULL), MG_OK);
    assert_string_equal(good.udf, "Hello");
    assert_string_equal(good.org, "local");
    assert_string_equal(good.account, "owner@local");
    assert_int_equal(good.max_age_s, 60);
    assert_string_equal(good.text, "");
    assert_true(mg_hash_eq(&good.id, &made.id));

    struct mg_token revoked = make(state, "local", "Hello", 0),
                    disabled = make(state, "local", "Hello", 0);
    assert_int_equal(mg_token_revoke(state, "local", mg_span(revoked.text), &good, NULL), MG_OK);
    assert_true(good.revoked_s > 0);
    assert_int_equal(mg_token_enable(state, "local", mg_span(disabled.text), false, NULL, NULL),
                     MG_OK);
    char typo[MG_TOKEN_LEN + 1], unknown[MG_TOKEN_LEN + 1], *large = calloc(1, 10001);
    memcpy(typo, made.text, sizeof typo);
    typo[10] = typo[10] == 'a' ? 'b' : 'a';
    mg_token_make(unknown);
    memset(large, 'a', 10000);
    const struct {
        const char *text, *why;
    } rows[] = {
        {made.text, "an expired token is refused"},
        {revoked.text, "a revoked token is refused"},
        {disabled.text, "a disabled token is refused"},
        {typo, "a token with a typing error is refused"},
        {unknown, "an unknown token is refused"},
        {"", "an empty token is refused"},
        {"msh_", "a prefix is refused"},
        {large, "a text of 10 kB is refused"},
        {"msh_\xFF\xFE", "bytes that are no text are refused"},
    };
    struct mg_errmsg first = {""};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_errmsg err = {""};
        struct mg_token out = {.org = "untouched"};
        if (mg_token_check(state, mg_span(rows[i].text), 2000, &out, &err) != MG_E_UNAUTHORIZED)
            fail_msg("%s", rows[i].why);
        if (i == 0)
            first = err;
        assert_string_equal(err.text, first.text);
        assert_string_equal(out.org, "untouched");
    }
    free(large);
    assert_int_equal(mg_token_enable(state, "local", mg_span(disabled.text), true, NULL, NULL),
                     MG_OK);
    assert_int_equal(mg_token_check(state, mg_span(disabled.text), 1, &good, NULL), MG_OK);
    mg_state_close(&state);
    assert_null(state);
}

struct listed {
    char texts[16][MG_TOKEN_LEN + 1];
    size_t n, most;
};

static bool collect(void *context, const struct mg_token *token)
{
    struct listed *listed = context;
    memcpy(listed->texts[listed->n++], token->text, MG_TOKEN_LEN + 1);
    return listed->n < listed->most;
}

static void test_list_and_find(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    struct mg_token made[5], other = make(state, "acme", "Hello", 0), out;
    for (int i = 0; i < 5; i++)
        made[i] = make(state, "local", "Hello", 0);
    struct listed listed = {.most = 16};
    assert_int_equal(mg_token_each(state, "local", collect, &listed, NULL), MG_OK);
    assert_int_equal(listed.n, 5);
    for (int i = 0; i < 5; i++)
        assert_string_equal(listed.texts[i], made[i].text);
    listed = (struct listed){.most = 2};
    assert_int_equal(mg_token_each(state, "local", collect, &listed, NULL), MG_OK);
    assert_int_equal(listed.n, 2);
    listed = (struct listed){.most = 16};
    assert_int_equal(mg_token_each(state, "loca", collect, &listed, NULL), MG_OK);
    assert_int_equal(listed.n, 0);

    char hex[65], foreign[65];
    mg_hash_hex(&made[3].id, hex);
    mg_hash_hex(&other.id, foreign);
    const struct {
        const char *org;
        struct mg_span text;
        enum mg_err want;
        const char *why;
    } rows[] = {
        {"local", {hex, 7}, MG_E_NOT_FOUND, "7 digits are too few"},
        {"local", {hex, 8}, MG_OK, "8 digits of an id name it"},
        {"local", {hex, 64}, MG_OK, "a whole id names its token, also once revoked"},
        {"local",
         {foreign, 64},
         MG_E_NOT_FOUND,
         "the token of another organisation is not found by its id"},
        {"local", {other.text, MG_TOKEN_LEN}, MG_E_NOT_FOUND, "nor by its text"},
        {"acme", {other.text, MG_TOKEN_LEN}, MG_OK, "its own organisation finds it"},
        {"local", {"zzzzzzzzz", 9}, MG_E_NOT_FOUND, "what is not hex is not found"},
        {"local", {NULL, 0}, MG_E_NOT_FOUND, "nothing is not found"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (mg_token_revoke(state, rows[i].org, rows[i].text, &out, NULL) != rows[i].want)
            fail_msg("%s", rows[i].why);

    /* Ids that share eight digits cannot be made by chance, so two records are put under such ids.
     */
    MDB_txn *txn;
    assert_int_equal(state_begin(state, &txn, NULL), MG_OK);
    struct mg_token twin = made[0];
    memset(&twin.id, 0xAB, sizeof twin.id);
    assert_int_equal(token_put(state, txn, &twin, MG_SPAN("x"), NULL), MG_OK);
    twin.id.bytes[20] = 0;
    assert_int_equal(token_put(state, txn, &twin, MG_SPAN("x"), NULL), MG_OK);
    assert_int_equal(state_end(state, txn, MG_OK, NULL), MG_OK);
    assert_int_equal(mg_token_revoke(state, "local", MG_SPAN("abababab"), &out, NULL),
                     MG_E_CONFLICT);
    assert_int_equal(mg_token_revoke(state, "local",
                                     MG_SPAN("ABABABABABABABABABABABABABABABABABABABAB00"), &out,
                                     NULL),
                     MG_OK);
    mg_state_close(&state);
}

static void test_bad_names(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    static const struct {
        const char *org, *account, *why;
    } rows[] = {
        {"", "a", "an organisation needs a name"},
        {"..", "a", "'..' is no organisation"},
        {"a/b", "a", "a slash is no part of a name"},
        {"local", "", "an account needs a name"},
        {"lo cal", "a", "nor is a blank"},
        {"local", "a\nb", "nor is a line end"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_token token = {.max_age_s = -1};
        snprintf(token.org, sizeof token.org, "%s", rows[i].org);
        snprintf(token.account, sizeof token.account, "%s", rows[i].account);
        if (mg_token_create(state, &token, NULL) != MG_E_INVALID ||
            mg_token_of_account(state, rows[i].org, rows[i].account, &token, NULL) != MG_E_INVALID)
            fail_msg("%s", rows[i].why);
    }
    mg_state_close(&state);
}

static void test_standing(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    struct mg_token first, again, account, other;
    assert_int_equal(mg_token_of_udf(state, "local", "owner@local", "Hello", &first, NULL), MG_OK);
    assert_int_equal(mg_token_of_account(state, "local", "owner@local", &account, NULL), MG_OK);
    assert_string_equal(account.udf, "");
    assert_int_equal(first.max_age_s, -1);
    mg_state_close(&state);
    state = open_state();
    assert_int_equal(mg_token_of_udf(state, "local", "owner@local", "Hello", &again, NULL), MG_OK);
    assert_string_equal(again.text, first.text);
    assert_int_equal(mg_token_of_udf(state, "local", "owner@local", "Hello2", &other, NULL), MG_OK);
    assert_string_not_equal(other.text, first.text);
    assert_int_equal(mg_token_of_account(state, "local", "owner@local", &again, NULL), MG_OK);
    assert_string_equal(again.text, account.text);
    assert_int_equal(mg_token_revoke(state, "local", mg_span(first.text), NULL, NULL), MG_OK);
    assert_int_equal(mg_token_of_udf(state, "local", "owner@local", "Hello", &again, NULL), MG_OK);
    assert_string_not_equal(again.text, first.text);
    assert_int_equal(mg_token_check(state, mg_span(again.text), 0, &other, NULL), MG_OK);
    mg_state_close(&state);
}

static void test_links(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    char code[MG_TOKEN_LEN + 1];
    struct mg_token token, account;
    assert_int_equal(mg_link_create(state, "local", "nobody@local", 1000, code, NULL),
                     MG_E_NOT_FOUND);
    assert_int_equal(mg_link_create(state, "local", "owner@local", 1000, code, NULL), MG_OK);
    assert_int_equal(mg_token_check(state, mg_span(code), 1000, &token, NULL), MG_E_UNAUTHORIZED);
    assert_int_equal(mg_link_use(state, mg_span(code), 1000 + 899, &token, NULL), MG_OK);
    assert_int_equal(mg_token_of_account(state, "local", "owner@local", &account, NULL), MG_OK);
    assert_string_equal(token.text, account.text);
    assert_int_equal(mg_link_use(state, mg_span(code), 1000 + 899, &token, NULL),
                     MG_E_UNAUTHORIZED);
    assert_int_equal(mg_link_create(state, "local", "owner@local", 1000, code, NULL), MG_OK);
    assert_int_equal(mg_link_use(state, mg_span(code), 1000 + 900, &token, NULL),
                     MG_E_UNAUTHORIZED);
    assert_int_equal(mg_link_use(state, mg_span(code), 1000, &token, NULL), MG_E_UNAUTHORIZED);
    assert_int_equal(mg_link_use(state, MG_SPAN("msh_x"), 1000, &token, NULL), MG_E_UNAUTHORIZED);
    mg_state_close(&state);
}

static void test_signatures(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    struct mg_hash code;
    struct mg_buf out;
    mg_buf_init(&out, 0);
    mg_sha256("code", 4, &code);
    assert_int_equal(mg_signature_get(state, &code, &out), MG_E_NOT_FOUND);
    assert_int_equal(mg_signature_put(state, &code, MG_SPAN("{\"a\":1}"), NULL), MG_OK);
    assert_int_equal(mg_signature_put(state, &code, MG_SPAN("{\"a\":2}"), NULL), MG_OK);
    mg_buf_str(&out, "before ");
    assert_int_equal(mg_signature_get(state, &code, &out), MG_OK);
    assert_string_equal(out.data, "before {\"a\":2}");
    assert_int_equal(mg_signature_put(state, &code, (struct mg_span){NULL, 0}, NULL),
                     MG_E_TOO_LARGE);
    mg_buf_fini(&out);
    mg_state_close(&state);
}

static void set_version(struct mg_state *state, int64_t version)
{
    MDB_txn *txn;
    MDB_val name = env_val("version", 7), value;
    struct mg_buf packed;
    mg_buf_init(&packed, 0);
    mg_pack_int(&packed, version);
    value = env_val(packed.data, packed.len);
    assert_int_equal(mdb_txn_begin(state->env.mdb, NULL, 0, &txn), 0);
    if (version)
        assert_int_equal(mdb_put(txn, state->db[DB_META], &name, &value, 0), 0);
    else
        assert_int_equal(mdb_del(txn, state->db[DB_META], &name, NULL), 0);
    /* Version 0 had tokens alone. */
    for (enum db db = DB_ORDER; version == 0 && db < DB_COUNT; db++)
        assert_int_equal(mdb_drop(txn, state->db[db], 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mg_buf_fini(&packed);
}

static void test_migration(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    struct mg_token first = make(state, "local", "Hello", 0),
                    second = make(state, "local", "World", 0), out;
    set_version(state, 0);
    mg_state_close(&state);
    state = open_state();
    struct listed listed = {.most = 16};
    assert_int_equal(mg_token_each(state, "local", collect, &listed, NULL), MG_OK);
    assert_int_equal(listed.n, 2);
    assert_int_equal(mg_token_check(state, mg_span(second.text), 0, &out, NULL), MG_OK);
    assert_int_equal(mg_token_of_udf(state, "local", "owner@local", "Hello", &out, NULL), MG_OK);
    assert_string_equal(out.text, first.text);
    int64_t version;
    MDB_txn *txn = env_read_begin(&state->env);
    assert_int_equal(state_version(state, txn, &version, NULL), MG_OK);
    env_read_end(&state->env, txn);
    assert_int_equal(version, MG_STATE_VERSION);

    set_version(state, 7);
    struct mg_token token = first;
    assert_int_equal(mg_token_create(state, &token, NULL), MG_E_CONFLICT);
    mg_state_close(&state);
    struct mg_errmsg err = {""};
    assert_int_equal(mg_state_open(dir, &state, &err), MG_E_CONFLICT);
    assert_non_null(strstr(err.text, "version 7"));
    assert_non_null(strstr(err.text, "up to 1"));
    assert_null(state);
}

static void test_key(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    struct mg_errmsg err = {""};
    struct stat st;
    char key[512], away[512], data[512];
    mg_state_close(&state);
    snprintf(key, sizeof key, "%s/server.key", dir);
    snprintf(away, sizeof away, "%s/away", dir);
    snprintf(data, sizeof data, "%s/state/data.mdb", dir);
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, 32);
    assert_int_equal(stat(data, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(rename(key, away), 0);
    assert_int_equal(mg_state_open(dir, &state, &err), MG_E_NO_FILE);
    assert_int_equal(access(key, F_OK), -1);
    scratch_write(key, "0123456789abcdef0123456789abcdef", 32);
    assert_int_equal(mg_state_open(dir, &state, &err), MG_E_BAD_FILE);
    scratch_write(key, "short", 5);
    assert_int_equal(mg_state_open(dir, &state, &err), MG_E_BAD_FILE);
    assert_int_equal(rename(away, key), 0);
    state = open_state();
    mg_state_close(&state);
    assert_int_equal(truncate(data, 12288), 0);
    assert_int_equal(mg_state_open(dir, &state, &err), MG_E_BAD_FILE);
    assert_non_null(strstr(err.text, "backup"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_list_and_find, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_standing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_signatures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_migration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_key, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
