/* Fuzz target: calls of CDS services. The first byte names the hook, the rest is the body.
 * Properties: what is refused says why and where; what is accepted has what the hook demands. */
#include "daemon/hook_request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_accepted(const hook_request *q)
{
    check(og_str_is_uuid(q->instance, true));
    check(fhir_id_usable(q->patient_id));
    check(!q->authorized || q->fhir_server.n != 0);
    check(!q->kind->user_required || q->user_id.n != 0);
    check(!q->kind->encounter_required || q->encounter_id.n != 0);
    check(q->kind->drafts == HOOK_NO_DRAFTS || fhir_exists(q->drafts));
    for (fhir_elem e = fhir_first(q->prefetch); fhir_exists(e); e = fhir_next(q->prefetch, e))
        check(fhir_kind_of(e) == FHIR_NULL || fhir_kind_of(e) == FHIR_OBJECT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static og_arena *a;
    size_t kinds = 0;
    hook_request q;
    og_error err;
    if (size == 0)
        return 0;
    if (a == NULL)
        a = og_arena_new((size_t)64 << 20);
    while (hook_kind_at(kinds) != NULL)
        kinds++;
    og_error_init(&err);
    og_status s = hook_request_read(a, (og_str){(const char *)data + 1, size - 1},
                                    hook_kind_at(data[0] % kinds), &q, &err);
    if (s == OG_OK)
        check_accepted(&q);
    else
        check(err.text[0] != '\0');
    og_arena_reset(a);
    return 0;
}
