/* Fuzz target: envelopes. The input is a form, a line feed, and a value. Property: what comes out
 * is never longer than what went in. */
#include "daemon/envelope.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    og_str text = {(const char *)data, size}, inside;
    ptrdiff_t line = og_str_find(text, '\n');
    og_arena *a = og_arena_new((size_t)64 << 20);
    og_error err;
    char form[64];
    og_error_init(&err);
    if (a != NULL && line >= 0 && (size_t)line < sizeof form) {
        og_str value = og_str_from(text, (size_t)line + 1);
        memcpy(form, text.p, (size_t)line);
        form[line] = '\0';
        if (envelope_check(form) == NULL &&
            envelope_open(a, form, NULL, value, &inside, &err) == OG_OK && inside.n > value.n)
            abort();
    }
    og_arena_free(a);
    return 0;
}
