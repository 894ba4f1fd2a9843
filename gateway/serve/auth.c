/* Whom a request is from: tokens in the URL, Bearer tokens, and UDFs that are public by name.
 *
 * Unknown, malformed, revoked and expired tokens are one error with one text; what belongs to another organisation
 * does not exist. Each request looks its token up anew, so that a revocation holds at once. */
#include "app.h"

#include <stdio.h>
#include <time.h>

enum mg_err mg_auth_bearer(struct mg_exchange *exchange, struct mg_token *account, struct mg_errmsg *err)
{
    struct mg_span value = mg_http_header(exchange->request, "authorization");
    if (value.len < 7 || strncasecmp(value.data, "bearer ", 7) != 0)
        return mg_err_set(err, MG_E_UNAUTHORIZED, "this URL needs the header Authorization: Bearer, with an account's "
                          "token (~/.moongate/credentials has one)");
    struct mg_span text = {value.data + 7, value.len - 7};
    enum mg_err status = mg_token_check(exchange->app->engine->state, text, (int64_t)time(NULL), account, err);
    if (!status && account->udf[0])
        return mg_err_set(err, MG_E_UNAUTHORIZED, "%s", mg_err_text(MG_E_UNAUTHORIZED));
    return status;
}

enum mg_err mg_auth_public(struct mg_exchange *exchange, struct mg_span name, struct mg_errmsg *err)
{
    exchange->udf = mg_catalog_find_public(exchange->app->engine->catalog, name);
    if (exchange->udf) {
        snprintf(exchange->org, sizeof exchange->org, "%s", exchange->udf->org[0] ? exchange->udf->org : "local");
        return MG_OK;
    }
    return mg_err_set(err, MG_E_NOT_FOUND, "there is no public UDF of that name");
}

enum mg_err mg_auth_shared(struct mg_exchange *exchange, struct mg_span token, struct mg_errmsg *err)
{
    struct mg_engine *engine = exchange->app->engine;
    struct mg_token found, account;
    exchange->shared = true;
    exchange->plain = true;
    exchange->state_seen = mg_state_generation(engine->state);
    bool bearer = mg_auth_bearer(exchange, &account, NULL) == MG_OK;
    char decoded[256]; /* %55DF_Hello is the same URL as UDF_Hello */
    if (memchr(token.data ? token.data : "", '%', token.len)) {
        if (!mg_decode_segment(token, decoded, sizeof decoded))
            return mg_err_set(err, MG_E_UNAUTHORIZED, "%s", mg_err_text(MG_E_UNAUTHORIZED));
        token = mg_span(decoded);
    }
    if (mg_span_starts(token, "UDF_")) {
        enum mg_err none = mg_auth_public(exchange, (struct mg_span){token.data + 4, token.len - 4}, err);
        exchange->owner = none == MG_OK && bearer && strcmp(account.org, exchange->org) == 0;
        return none;
    }
    enum mg_err status = mg_token_check(engine->state, token, (int64_t)time(NULL), &found, err);
    if (status)
        return status;
    exchange->owner = bearer && strcmp(account.org, found.org) == 0;
    if (!found.udf[0]) /* a private token has no place in a URL */
        return mg_err_set(err, MG_E_UNAUTHORIZED, "%s", mg_err_text(MG_E_UNAUTHORIZED));
    exchange->token_max_age_s = found.max_age_s;
    exchange->token_until_s = found.expires_s;
    size_t org_len = strnlen(found.org, sizeof exchange->org - 1); /* no printf where each request comes by */
    memcpy(exchange->org, found.org, org_len);
    exchange->org[org_len] = 0;
    exchange->udf = mg_catalog_find_in(engine->catalog, found.org, mg_span(found.udf));
    if (!exchange->udf)
        return mg_err_set(err, MG_E_GONE, "the UDF %s of this token is no longer served", found.udf);
    return MG_OK;
}
