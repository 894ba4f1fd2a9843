/* TLS contexts. The current one is swapped under a lock; a connection holds a reference to its own,
 * so that a reload touches new connections only. One lock for each accepted connection. */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tls_context {
    pthread_mutex_t lock;
    SSL_CTX *current;
    char *cert_path, *key_path; /* NULL: self-signed */
};

static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";
static const unsigned char alpn[] = "\x02h2\x08http/1.1";

static enum mg_err openssl_error(struct mg_errmsg *err, const char *what, const char *path)
{
    char text[160] = "unknown reason";
    unsigned long code = ERR_peek_last_error();
    if (code) {
        ERR_error_string_n(code, text, sizeof text);
    }
    ERR_clear_error();
    return mg_err_set(err, MG_E_INVALID, "%s%s%s: %s", what, path ? " " : "", path ? path : "",
                      text);
}

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *context)
{
    (void)ssl;
    (void)context;
    unsigned char *choice;
    if (SSL_select_next_proto(&choice, out_len, alpn, sizeof alpn - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 3.2 */
    }
    *out = choice;
    return SSL_TLSEXT_ERR_OK;
}

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

/* A key that must be typed in would stop the server in the middle of a reload. */
static int no_password(char *buf, int size, int writing, void *context)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)context;
    return -1;
}

/* P-256, for a year: long enough for a run, short enough not to be taken for a real one. */
static enum mg_err use_self_signed(SSL_CTX *ctx, struct mg_errmsg *err)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    unsigned char serial_bytes[16];
    BIGNUM *serial = NULL;
    bool ok = key && cert && RAND_bytes(serial_bytes, sizeof serial_bytes) == 1;
    if (ok) {
        serial_bytes[0] &= 0x7f;
        serial = BN_bin2bn(serial_bytes, sizeof serial_bytes, NULL);
        X509_NAME *name = X509_get_subject_name(cert);
        ok = serial && BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) &&
             X509_set_version(cert, 2) == 1 && X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
             X509_gmtime_adj(X509_getm_notAfter(cert), 365L * 86400) &&
             X509_set_pubkey(cert, key) == 1 &&
             X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                        (const unsigned char *)"localhost", -1, -1, 0) == 1 &&
             X509_set_issuer_name(cert, name) == 1 &&
             add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
             add_extension(cert, NID_ext_key_usage, "serverAuth") &&
             add_extension(cert, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1") &&
             X509_sign(cert, key, EVP_sha256()) > 0 && SSL_CTX_use_certificate(ctx, cert) == 1 &&
             SSL_CTX_use_PrivateKey(ctx, key) == 1;
    }
    enum mg_err e = ok ? MG_OK : openssl_error(err, "cannot make a self-signed certificate", NULL);
    BN_free(serial);
    X509_free(cert);
    EVP_PKEY_free(key);
    return e;
}

/* The leaf first, then the certificates that lead to the root. */
static bool use_chain(SSL_CTX *ctx, BIO *pem)
{
    X509 *cert = PEM_read_bio_X509_AUX(pem, NULL, no_password, NULL);
    bool ok = cert && SSL_CTX_use_certificate(ctx, cert) == 1;
    X509_free(cert);
    while (ok && (cert = PEM_read_bio_X509(pem, NULL, no_password, NULL)) != NULL) {
        ok = SSL_CTX_add0_chain_cert(ctx, cert) == 1;
        if (!ok)
            X509_free(cert);
    }
    /* The end of the file ends the list: that is no error. */
    if (ok && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
        ERR_clear_error();
    return ok && !ERR_peek_error();
}

static bool use_key(SSL_CTX *ctx, BIO *pem)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(pem, NULL, no_password, NULL);
    bool ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;
    EVP_PKEY_free(key);
    return ok;
}

/* The file from its start: by its descriptor, which may have been opened with rights that are gone, or by its name. */
static BIO *open_pem(const char *path, const int *fd)
{
    if (!fd)
        return BIO_new_file(path, "r");
    BIO *pem = lseek(*fd, 0, SEEK_SET) == 0 ? BIO_new_fd(*fd, BIO_NOCLOSE) : NULL;
    if (!pem)
        return NULL;
    BIO *lines = BIO_new(BIO_f_buffer()); /* the PEM reader wants lines, which a descriptor alone cannot give */
    return lines ? BIO_push(lines, pem) : (BIO_free(pem), NULL);
}

static enum mg_err use_files(SSL_CTX *ctx, const char *cert_path, const char *key_path, const int *files,
                             struct mg_errmsg *err)
{
    BIO *cert = open_pem(cert_path, files ? &files[0] : NULL);
    bool ok = cert && use_chain(ctx, cert);
    BIO_free_all(cert);
    if (!ok)
        return openssl_error(err, "cannot read the certificate", cert_path);
    BIO *key = open_pem(key_path, files ? &files[1] : NULL);
    ok = key && use_key(ctx, key);
    BIO_free_all(key);
    if (!ok)
        return openssl_error(err, "cannot use the private key", key_path);
    if (SSL_CTX_check_private_key(ctx) != 1) {
        return openssl_error(err, "the private key does not belong to the certificate", key_path);
    }
    return MG_OK;
}

static enum mg_err make(const struct tls_context *context, const int *files, SSL_CTX **out, struct mg_errmsg *err)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        return openssl_error(err, "cannot start TLS", NULL);
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_NO_COMPRESSION | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* resumption by tickets */
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    enum mg_err e;
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") != 1) {
        e = openssl_error(err, "cannot set the ciphers", NULL);
    } else if (context->cert_path) {
        e = use_files(ctx, context->cert_path, context->key_path, files, err);
    } else {
        e = use_self_signed(ctx, err);
    }
    if (e != MG_OK) {
        SSL_CTX_free(ctx);
        return e;
    }
    *out = ctx;
    return MG_OK;
}

enum mg_err tls_open(const char *cert_path, const char *key_path, const int *files, struct tls_context **out,
                     struct mg_errmsg *err)
{
    if (!cert_path != !key_path) {
        return mg_err_set(err, MG_E_INVALID,
                          "a certificate needs its key: give both --tls-cert and --tls-key");
    }
    struct tls_context *context = calloc(1, sizeof *context);
    if (!context) {
        return mg_err_set(err, MG_E_NOMEM, "no memory for TLS");
    }
    pthread_mutex_init(&context->lock, NULL);
    enum mg_err e = MG_OK;
    if (cert_path) {
        context->cert_path = strdup(cert_path);
        context->key_path = strdup(key_path);
        if (!context->cert_path || !context->key_path) {
            e = mg_err_set(err, MG_E_NOMEM, "no memory for TLS");
        }
    }
    if (e == MG_OK) {
        e = make(context, files, &context->current, err);
    }
    if (e != MG_OK) {
        tls_close(&context);
        return e;
    }
    *out = context;
    return MG_OK;
}

enum mg_err tls_reload(struct tls_context *context, const int *files, struct mg_errmsg *err)
{
    SSL_CTX *fresh;
    enum mg_err e = make(context, files, &fresh, err);
    if (e != MG_OK) {
        return e;
    }
    pthread_mutex_lock(&context->lock);
    SSL_CTX *old = context->current;
    context->current = fresh;
    pthread_mutex_unlock(&context->lock);
    SSL_CTX_free(old);
    return MG_OK;
}

SSL_CTX *tls_get(struct tls_context *context)
{
    pthread_mutex_lock(&context->lock);
    SSL_CTX *ctx = context->current;
    SSL_CTX_up_ref(ctx);
    pthread_mutex_unlock(&context->lock);
    return ctx;
}

void tls_put(SSL_CTX *ctx)
{
    SSL_CTX_free(ctx);
}

void tls_close(struct tls_context **context)
{
    if (!*context) {
        return;
    }
    SSL_CTX_free((*context)->current);
    free((*context)->cert_path);
    free((*context)->key_path);
    pthread_mutex_destroy(&(*context)->lock);
    free(*context);
    *context = NULL;
}
