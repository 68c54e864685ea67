/* Fuzz target: tokens and key sets. The input is a key set, a line feed, and a token. Property: no
 * token is good for a set that we did not sign for, whatever both say (nobody can forge ES384 by
 * chance), and no token of ours becomes another's. */
#include "connectors/jwt.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const audiences[] = {"https://cds"};
    og_str text = {(const char *)data, size};
    ptrdiff_t line = og_str_find(text, '\n');
    og_str set = {text.p, line < 0 ? text.n : (size_t)line};
    og_str compact = line < 0 ? text : og_str_from(text, (size_t)line + 1);
    jwks *keys = NULL;
    jwt *t = NULL;
    og_error err;
    og_error_init(&err);
    if (jwks_parse(set, &keys, &err) != OG_OK)
        keys = NULL;
    og_error_init(&err);
    if (jwt_parse(compact, &t, &err) == OG_OK) {
        jwt_policy p = {.issuer = "https://ehr",
                        .audiences = audiences,
                        .audience_count = 1,
                        .url = "/cds-services/a",
                        .now_s = 1772352000,
                        .max_life_s = 3600};
        og_error_init(&err);
        if (keys != NULL && jwt_verify(t, keys, &err) == OG_OK && jwt_header(t, "alg").n != 5)
            abort();
        og_error_init(&err);
        if (jwt_check(t, &p, &err) == OG_OK && !og_str_is(jwt_claim(t, "iss"), p.issuer))
            abort();
        jwt_free(t);
    }
    jwks_free(keys);
    return 0;
}
