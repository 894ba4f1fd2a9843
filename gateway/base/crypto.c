/* Crypto: SHA-256, HMAC, AES-256-GCM of OpenSSL 3, the kernel's randomness, and the text of tokens.
 *
 * A failure of a hash can only be a lack of memory in OpenSSL; it aborts, for a wrong key or id
 * would be worse. The context and the algorithm are kept for each thread: fetching them costs more
 * than hashing a short text. */
#include "moongate/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <errno.h>
#include <limits.h>
#include <sys/random.h>

enum { NONCE = 12, TAG = 16, BLOCK = 64, TOKEN_DIGITS = 43, CHECK_DIGITS = 6 };

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* The low-level calls are thread-safe, need no allocation and no provider look-up, and use SHA-NI;
 * OpenSSL 3 marks them deprecated in favour of EVP, which takes three times as long for a token. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void sha256_parts(const struct mg_span *parts, size_t n, uint8_t out[32])
{
    SHA256_CTX context;
    SHA256_Init(&context);
    for (size_t i = 0; i < n; i++)
        SHA256_Update(&context, parts[i].data, parts[i].len);
    SHA256_Final(out, &context);
    OPENSSL_cleanse(&context, sizeof context);
}
#pragma GCC diagnostic pop

void mg_sha256(const void *data, size_t len, struct mg_hash *out)
{
    sha256_parts(&(struct mg_span){data, len}, 1, out->bytes);
}

void mg_hmac_sha256(struct mg_span key, struct mg_span data, struct mg_hash *out)
{
    uint8_t block[BLOCK] = {0}, inner[BLOCK], outer[BLOCK], digest[32];
    if (key.len > BLOCK)
        sha256_parts(&key, 1, block);
    else if (key.len)
        memcpy(block, key.data, key.len);
    for (size_t i = 0; i < BLOCK; i++) {
        inner[i] = block[i] ^ 0x36;
        outer[i] = block[i] ^ 0x5C;
    }
    sha256_parts((struct mg_span[]){{(char *)inner, BLOCK}, data}, 2, digest);
    sha256_parts((struct mg_span[]){{(char *)outer, BLOCK}, {(char *)digest, sizeof digest}}, 2,
                 out->bytes);
    OPENSSL_cleanse(block, sizeof block);
    OPENSSL_cleanse(inner, sizeof inner);
    OPENSSL_cleanse(outer, sizeof outer);
}

void mg_hash_hex(const struct mg_hash *hash, char out[65])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 32; i++) {
        out[2 * i] = digits[hash->bytes[i] >> 4];
        out[2 * i + 1] = digits[hash->bytes[i] & 15];
    }
    out[64] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool mg_hash_from_hex(struct mg_span hex, struct mg_hash *out)
{
    struct mg_hash hash;
    if (hex.len != 64)
        return false;
    for (size_t i = 0; i < 32; i++) {
        int high = hex_value(hex.data[2 * i]), low = hex_value(hex.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        hash.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *out = hash;
    return true;
}

bool mg_equal_secret(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void mg_random(void *out, size_t len)
{
    uint8_t *at = out;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        MG_ASSERT(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

enum mg_err mg_seal(const uint8_t key[32], struct mg_span plain, struct mg_buf *out)
{
    if (plain.len > INT_MAX - BLOCK)
        return MG_E_TOO_LARGE;
    size_t start = out->len;
    uint8_t *at = (uint8_t *)mg_buf_room(out, NONCE + plain.len + TAG);
    EVP_CIPHER_CTX *context = at ? EVP_CIPHER_CTX_new() : NULL;
    if (!context)
        return MG_E_NOMEM;
    int n = 0, last = 0;
    mg_random(at, NONCE);
    bool done =
        EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, key, at) == 1 &&
        EVP_EncryptUpdate(context, at + NONCE, &n, (const uint8_t *)plain.data, (int)plain.len) ==
            1 &&
        EVP_EncryptFinal_ex(context, at + NONCE + n, &last) == 1 &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG, at + NONCE + plain.len) == 1;
    EVP_CIPHER_CTX_free(context);
    if (!done)
        return MG_E_INTERNAL;
    out->len = start + NONCE + plain.len + TAG;
    out->data[out->len] = '\0';
    return MG_OK;
}

enum mg_err mg_unseal(const uint8_t key[32], struct mg_span sealed, struct mg_buf *out)
{
    if (sealed.len < NONCE + TAG || sealed.len > INT_MAX)
        return MG_E_INVALID;
    size_t len = sealed.len - NONCE - TAG, start = out->len;
    const uint8_t *from = (const uint8_t *)sealed.data;
    uint8_t tag[TAG], *at = (uint8_t *)mg_buf_room(out, len);
    EVP_CIPHER_CTX *context = at ? EVP_CIPHER_CTX_new() : NULL;
    if (!context)
        return MG_E_NOMEM;
    int n = 0, last = 0;
    memcpy(tag, from + NONCE + len, TAG);
    bool done = EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, key, from) == 1 &&
                EVP_DecryptUpdate(context, at, &n, from + NONCE, (int)len) == 1 &&
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1 &&
                EVP_DecryptFinal_ex(context, at + n, &last) == 1;
    EVP_CIPHER_CTX_free(context);
    if (!done) {
        OPENSSL_cleanse(at, len); /* what was decrypted without a valid tag is nobody's to see */
        out->data[start] = '\0';
        return MG_E_INVALID;
    }
    out->len = start + len;
    out->data[out->len] = '\0';
    return MG_OK;
}

/* `number` (big-endian, consumed) in base 62, most significant digit first. */
static void put_base62(uint8_t *number, size_t len, char *out, size_t digits)
{
    while (digits-- > 0) {
        unsigned rest = 0;
        for (size_t i = 0; i < len; i++) {
            unsigned value = rest << 8 | number[i];
            number[i] = (uint8_t)(value / 62);
            rest = value % 62;
        }
        out[digits] = base62[rest];
    }
}

static void put_checksum(const char *text, size_t len, char out[CHECK_DIGITS])
{
    struct mg_hash hash;
    mg_sha256(text, len, &hash);
    put_base62(hash.bytes, 4, out, CHECK_DIGITS);
}

void mg_token_make(char out[MG_TOKEN_LEN + 1])
{
    uint8_t secret[32];
    mg_random(secret, sizeof secret);
    memcpy(out, "msh_", 4);
    put_base62(secret, sizeof secret, out + 4, TOKEN_DIGITS);
    put_checksum(out, 4 + TOKEN_DIGITS, out + 4 + TOKEN_DIGITS);
    out[MG_TOKEN_LEN] = '\0';
    OPENSSL_cleanse(secret, sizeof secret);
}

bool mg_token_well_formed(struct mg_span token)
{
    if (token.len != MG_TOKEN_LEN || memcmp(token.data, "msh_", 4) != 0)
        return false;
    for (size_t i = 4; i < MG_TOKEN_LEN; i++)
        if (!token.data[i] || !strchr(base62, token.data[i]))
            return false;
    char checksum[CHECK_DIGITS];
    put_checksum(token.data, 4 + TOKEN_DIGITS, checksum);
    return memcmp(checksum, token.data + 4 + TOKEN_DIGITS, CHECK_DIGITS) == 0;
}
