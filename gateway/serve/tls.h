/* TLS by OpenSSL: a certificate from files, or made at start; read again without dropping a
 * connection. */
#ifndef MOONGATE_SERVE_TLS_H
#define MOONGATE_SERVE_TLS_H

#include "moongate/err.h"

struct ssl_ctx_st;
struct tls_context;

/* TLS 1.2 and up, ALPN h2 and http/1.1. Both paths NULL: a self-signed certificate for localhost,
 * 127.0.0.1 and ::1. `files` are certificate and key, open for reading (borrowed), where the names
 * alone would not do: the key is often root's, and the front is not; NULL: opened by their names. */
MG_MUST_CHECK enum mg_err tls_open(const char *cert_path, const char *key_path, const int *files,
                                   struct tls_context **out, struct mg_errmsg *err);
/* Reads the files again; what was stays when they are bad. Any thread. */
MG_MUST_CHECK enum mg_err tls_reload(struct tls_context *context, const int *files, struct mg_errmsg *err);
/* The context for a new connection; give it back with tls_put. Any thread. */
struct ssl_ctx_st *tls_get(struct tls_context *context);
void tls_put(struct ssl_ctx_st *ctx);
void tls_close(struct tls_context **context);

#endif
