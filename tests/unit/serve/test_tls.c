/* TLS through an OpenSSL client: versions, ALPN, the self-signed certificate, reload. */
#include "http_fixture.h"

#include <openssl/err.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

static char cert_path[64], key_path[64];

static int setup(void **state)
{
    (void)state;
    start_server((struct mg_http_config){0});
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    stop_server();
    return 0;
}

struct client {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
    bool connected;
};

static struct client tls_connect(int max_version, const char *alpn)
{
    struct client c = {.ctx = SSL_CTX_new(TLS_client_method()), .fd = connect_to(fx.tls_port)};
    SSL_CTX_set_security_level(c.ctx, 0); /* else the client itself would refuse TLS 1.1 */
    SSL_CTX_set_min_proto_version(c.ctx, 0);
    SSL_CTX_set_max_proto_version(c.ctx, max_version);
    c.ssl = SSL_new(c.ctx);
    if (alpn) {
        unsigned char wire[64] = {(unsigned char)strlen(alpn)};
        memcpy(wire + 1, alpn, strlen(alpn));
        SSL_set_alpn_protos(c.ssl, wire, (unsigned)strlen(alpn) + 1);
    }
    SSL_set_fd(c.ssl, c.fd);
    c.connected = SSL_connect(c.ssl) == 1;
    return c;
}

static void tls_close_client(struct client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
    ERR_clear_error();
}

static bool tls_get_works(struct client *c)
{
    char out[4096];
    size_t len = 0;
    if (SSL_write(c->ssl, "GET /info HTTP/1.1\r\nHost: x\r\n\r\n", 31) != 31) {
        return false;
    }
    do {
        int n = SSL_read(c->ssl, out + len, (int)(sizeof out - 1 - len));
        if (n <= 0) {
            return false;
        }
        len += (size_t)n;
        out[len] = '\0';
    } while (!strstr(out, "GET|/info||https|x|127.0.0.1|1|101"));
    return true;
}

static void test_protocols(void **state)
{
    (void)state;
    static const struct {
        int max_version;
        const char *alpn, *selected;
        bool connects;
        const char *why;
    } rows[] = {
        {TLS1_3_VERSION, NULL, "", true, "TLS 1.3 without ALPN"},
        {TLS1_2_VERSION, NULL, "", true, "TLS 1.2"},
        {TLS1_1_VERSION, NULL, "", false, "TLS 1.1 is refused"},
        {TLS1_3_VERSION, "http/1.1", "http/1.1", true, "ALPN http/1.1"},
        {TLS1_3_VERSION, "h2", "h2", true, "ALPN h2"},
        {TLS1_3_VERSION, "h3", "", false, "an unknown protocol is refused"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct client c = tls_connect(rows[i].max_version, rows[i].alpn);
        if (c.connected != rows[i].connects) {
            fail_msg("%s: connected %d", rows[i].why, c.connected);
        }
        const unsigned char *selected = NULL;
        unsigned len = 0;
        SSL_get0_alpn_selected(c.ssl, &selected, &len);
        if (len != strlen(rows[i].selected) ||
            (len && memcmp(selected, rows[i].selected, len) != 0)) {
            fail_msg("%s: selected %.*s", rows[i].why, (int)len, selected);
        }
        if (c.connected && strcmp(rows[i].selected, "h2") != 0 && !tls_get_works(&c)) {
            fail_msg("%s: no answer", rows[i].why);
        }
        if (c.connected && strcmp(rows[i].selected, "h2") == 0) {
            static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
            unsigned char frame[9];
            assert_int_equal(SSL_write(c.ssl, preface, sizeof preface - 1), sizeof preface - 1);
            assert_int_equal(SSL_read(c.ssl, frame, 9), 9);
            assert_int_equal(frame[3], 4); /* SETTINGS */
        }
        tls_close_client(&c);
    }
}

static void test_self_signed(void **state)
{
    (void)state;
    struct client c = tls_connect(TLS1_3_VERSION, NULL);
    assert_true(c.connected);
    X509 *cert = SSL_get1_peer_certificate(c.ssl);
    assert_non_null(cert);
    assert_int_equal(X509_check_host(cert, "localhost", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "::1", 0), 1);
    assert_int_equal(X509_check_host(cert, "example.com", 0, 0, NULL), 0);
    assert_int_equal(EVP_PKEY_get_id(X509_get0_pubkey(cert)), EVP_PKEY_EC);
    assert_true(X509_cmp_current_time(X509_get0_notBefore(cert)) < 0);
    assert_true(X509_cmp_current_time(X509_get0_notAfter(cert)) > 0);
    assert_int_equal(X509_verify(cert, X509_get0_pubkey(cert)), 1);
    X509_free(cert);
    tls_close_client(&c);
}

/* Makes a certificate of that name and writes both files. */
static void write_files(const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *out = fopen(cert_path, "w");
    assert_non_null(out);
    PEM_write_X509(out, cert);
    fclose(out);
    out = fopen(key_path, "w");
    assert_non_null(out);
    PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    fclose(out);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void assert_served_name(const char *name)
{
    char text[64] = "";
    struct client c = tls_connect(TLS1_3_VERSION, NULL);
    assert_true(c.connected);
    X509 *cert = SSL_get1_peer_certificate(c.ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, text, sizeof text);
    assert_string_equal(text, name);
    X509_free(cert);
    tls_close_client(&c);
}

static void test_reload(void **state)
{
    (void)state;
    char folder[] = "/tmp/moongate-tls-XXXXXX";
    assert_non_null(mkdtemp(folder));
    snprintf(cert_path, sizeof cert_path, "%s/cert.pem", folder);
    snprintf(key_path, sizeof key_path, "%s/key.pem", folder);
    struct mg_http_config config = {.tls_cert = cert_path, .tls_key = key_path};
    struct mg_http_server *none = NULL;
    struct mg_errmsg err = {""};
    int fd = -1;
    struct mg_http_config missing = {
        .tls_cert = cert_path, .tls_key = key_path, .tls_fds = &fd, .n_tls = 1};
    assert_int_equal(mg_http_start(&missing, &none, &err), MG_E_INVALID);
    assert_non_null(strstr(err.text, cert_path));
    struct mg_http_config half = {.tls_cert = cert_path, .tls_fds = &fd, .n_tls = 1};
    assert_int_equal(mg_http_start(&half, &none, &err), MG_E_INVALID);

    write_files("first");
    start_server(config);
    assert_served_name("first");
    struct client old = tls_connect(TLS1_3_VERSION, NULL);
    assert_true(tls_get_works(&old));
    write_files("second");
    assert_int_equal(mg_http_reload(fx.server, NULL, &err), MG_OK);
    assert_served_name("second");
    assert_true(tls_get_works(&old));
    /* By descriptors, where the names lead nowhere. */
    write_files("third");
    int files[2] = {open(cert_path, O_RDONLY), open(key_path, O_RDONLY)};
    assert_true(files[0] >= 0 && files[1] >= 0);
    assert_int_equal(unlink(cert_path) | unlink(key_path), 0);
    for (int twice = 0; twice < 2; twice++)
        assert_int_equal(mg_http_reload(fx.server, files, &err), MG_OK);
    close(files[0]);
    close(files[1]);
    assert_served_name("third");
    write_files("second");
    assert_int_equal(mg_http_reload(fx.server, NULL, &err), MG_OK);
    /* Broken files: the second certificate stays. */
    FILE *out = fopen(cert_path, "w");
    fputs("no certificate\n", out);
    fclose(out);
    assert_int_equal(mg_http_reload(fx.server, NULL, &err), MG_E_INVALID);
    assert_non_null(strstr(err.text, cert_path));
    assert_served_name("second");
    assert_true(tls_get_works(&old));
    tls_close_client(&old);
    stop_server();
    unlink(cert_path);
    unlink(key_path);
    rmdir(folder);
}

/* A client that hangs up during a job is seen through TLS as well. */
static void test_gone(void **state)
{
    (void)state;
    struct client c = tls_connect(TLS1_3_VERSION, NULL);
    assert_true(SSL_write(c.ssl, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n", 31) == 31);
    struct mg_http_request *held = take_held();
    tls_close_client(&c);
    wait_for(&fx.n_gone, 1);
    answer_text(held, 200, MG_SPAN("late"));
    assert_well();
}

static void test_redirect(void **state)
{
    (void)state;
    char out[2048];
    int fd = connect_to(fx.tls_port);
    assert_true(send_text(fd, "GET /a/b?c=d HTTP/1.1\r\nHost: h:1\r\n\r\n"));
    assert_true(recv_response(fd, out, sizeof out) > 0);
    assert_non_null(strstr(out, "308 Permanent Redirect"));
    assert_non_null(strstr(out, "location: https://h:1/a/b?c=d\r\n"));
    assert_int_equal(recv(fd, out, 1, 0), 0);
    close(fd);
}

/* Large bodies, and many writes. */
static void test_body(void **state)
{
    (void)state;
    struct client c = tls_connect(TLS1_3_VERSION, NULL);
    static const char *const requests[] = {"GET /file HTTP/1.1\r\nHost: x\r\n\r\n",
                                           "GET /big HTTP/1.1\r\nHost: x\r\n\r\n"};
    static const size_t sizes[] = {FILE_BYTES, BIG};
    char *out = malloc(BIG + 4096);
    for (size_t i = 0; i < 2; i++) {
        assert_true(SSL_write(c.ssl, requests[i], (int)strlen(requests[i])) > 0);
        size_t len = 0, head = 0;
        while (head == 0 || len < head + sizes[i]) {
            int n = SSL_read(c.ssl, out + len, (int)(BIG + 4095 - len));
            assert_true(n > 0);
            len += (size_t)n;
            out[len] = '\0';
            if (head == 0 && strstr(out, "\r\n\r\n")) {
                head = (size_t)(strstr(out, "\r\n\r\n") + 4 - out);
            }
        }
        assert_memory_equal(out + head, fx.big, sizes[i]);
    }
    free(out);
    tls_close_client(&c);
}

int main(void)
{
    alarm(120);
    mg_log_init("test", MG_LOG_ERROR, false);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_protocols, setup, teardown),
        cmocka_unit_test_setup_teardown(test_self_signed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_redirect, setup, teardown),
        cmocka_unit_test_setup_teardown(test_body, setup, teardown),
        cmocka_unit_test(test_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
