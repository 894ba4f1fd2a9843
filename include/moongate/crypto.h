/* Crypto: the only place that includes OpenSSL's hashes and ciphers. Any thread, any process. */
#ifndef MOONGATE_CRYPTO_H
#define MOONGATE_CRYPTO_H

#include "moongate/buf.h"

struct mg_hash {
    uint8_t bytes[32];
};

/* SHA-256 (FIPS 180-4). */
void mg_sha256(const void *data, size_t len, struct mg_hash *out);
/* HMAC-SHA-256 (RFC 2104). */
void mg_hmac_sha256(struct mg_span key, struct mg_span data, struct mg_hash *out);
/* 64 lower-case hex digits and a NUL. */
void mg_hash_hex(const struct mg_hash *hash, char out[65]);
bool mg_hash_from_hex(struct mg_span hex, struct mg_hash *out);
static inline bool mg_hash_eq(const struct mg_hash *a, const struct mg_hash *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}
/* In constant time. */
bool mg_equal_secret(const void *a, const void *b, size_t len);
/* From the kernel; never fails (aborts when there is no randomness). */
void mg_random(void *out, size_t len);

/* AES-256-GCM with a random nonce: out = nonce (12) | ciphertext | tag (16). `key` is 32 bytes. */
MG_MUST_CHECK enum mg_err mg_seal(const uint8_t key[32], struct mg_span plain, struct mg_buf *out);
MG_MUST_CHECK enum mg_err mg_unseal(const uint8_t key[32], struct mg_span sealed, struct mg_buf *out);

/* Tokens: "msh_", 256 random bits as 43 base62 digits, 6 base62 digits of checksum (the first 32 bits of
 * the SHA-256 of what precedes); 53 characters. */
enum { MG_TOKEN_LEN = 4 + 43 + 6 };
void mg_token_make(char out[MG_TOKEN_LEN + 1]);
/* Right length, alphabet and checksum: a typing error is known without a look-up. */
bool mg_token_well_formed(struct mg_span token);

#endif
