/* Fuzz target: what instances tell each other. The input is the header of a call that is handed on,
 * and an announcement on the shared topic.
 * Properties: nobody is believed without the secret; what is read fits where it is kept. */
#include "daemon/forward.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static og_arena *a;
    static forward *f;
    forward_visit v;
    og_str text = {(const char *)data, size};
    if (a == NULL)
        a = og_arena_new((size_t)64 << 20);
    if (f == NULL)
        check(forward_new(OG_STR("a secret that the fuzzer cannot guess"), "us", "https://us", &f,
                          NULL) == OG_OK);
    if (forward_read(text, &v))
        check(v.nonce[0] != '\0' && strlen(v.nonce) < sizeof v.nonce &&
              strlen(v.client) < sizeof v.client && v.budget_ms >= 0 && v.budget_ms <= 3600000);
    check(forward_verify(f, text, OG_STR("/cds-services/x"), OG_STR("{}"), 1772352000000, &v)[0] !=
          '\0');
    forward_word word = forward_hear(f, OG_STR("other"), text, a, 1772352000000);
    check(word == FORWARD_PASSED || word == FORWARD_UNMARKED);
    check(forward_owner(f, 0, 1772352000000) == NULL);
    og_arena_reset(a);
    return 0;
}
