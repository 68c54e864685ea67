/* Fuzz target: what happens to a message on its way in. Properties: whatever is refused says why;
 * the patient's id is short and has no control characters; every entry of a Bundle is usable or
 * refused alone; what leaves a Bundle is a resource with the entry's type and id. */
#include "fhir/bundle.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_refusal(og_status st, const og_error *err)
{
    check(err->status == st && err->text[0] != '\0' && st != OG_INTERNAL);
}

static void ask_patient(og_arena *a, const fhir_resource *r, const fhir_bundle *b)
{
    og_str id;
    og_error err;
    bool self;
    og_error_init(&err);
    og_status st = fhir_patient_of(a, r, b, &id, &err);
    if (st != OG_OK) {
        check_refusal(st, &err);
        check(err.path[0] != '\0' || st == OG_NOMEM);
        return;
    }
    check(fhir_in_patient_compartment(r->type));
    check(id.n != 0 && id.n <= FHIR_PATIENT_ID_MAX);
    for (size_t i = 0; i < id.n; i++)
        check((unsigned char)id.p[i] >= 0x20);
    fhir_elem e = fhir_patient_element(r, &self);
    if (fhir_exists(e))
        (void)fhir_reference_of(a, e);
}

static void try_entry(og_arena *a, const fhir_bundle *b, uint32_t i)
{
    fhir_entry e;
    og_error err;
    og_error_init(&err);
    og_status st = fhir_bundle_entry(b, i, &e, &err);
    if (st != OG_OK) {
        check_refusal(st, &err);
        return;
    }
    check(e.number == i && (e.verb == FHIR_SKIP || (e.type.n != 0 && fhir_id_usable(e.id))));
    if (e.verb != FHIR_PUT)
        return;
    og_buf out;
    fhir_doc d;
    fhir_resource r;
    og_buf_init(&out, (size_t)64 << 20);
    check(fhir_bundle_extract(b, &e, &out, NULL) == OG_OK);
    check(fhir_decode(a, og_buf_str(&out), NULL, &d, NULL) == OG_OK);
    check(fhir_resource_of(fhir_root(&d), &r, NULL) == OG_OK);
    check(og_str_eq(r.type, e.type) && og_str_eq(r.id, e.id));
    ask_patient(a, &e.resource, b);
    og_buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    og_arena *a = og_arena_new((size_t)256 << 20);
    fhir_doc d;
    fhir_resource r;
    fhir_bundle *b;
    og_error err;
    if (a == NULL)
        return 0;
    og_error_init(&err);
    if (fhir_decode(a, (og_str){(const char *)data, size}, NULL, &d, NULL) != OG_OK)
        goto done;
    og_status st = fhir_resource_of(fhir_root(&d), &r, &err);
    if (st != OG_OK) {
        check_refusal(st, &err);
        goto done;
    }
    if (fhir_resource_check(&r, &err) != OG_OK)
        check(fhir_resource_check_strict(&r, NULL) != OG_OK);
    (void)fhir_choice(r.root, "value", NULL);
    (void)fhir_coding_in(fhir_get(r.root, "code"), "http://loinc.org");
    ask_patient(a, &r, NULL);
    og_error_init(&err);
    st = fhir_bundle_open(a, &r, &b, &err);
    if (st != OG_OK)
        check_refusal(st, &err);
    for (uint32_t i = 0; st == OG_OK && i < fhir_bundle_count(b); i++)
        try_entry(a, b, i);
done:
    og_arena_free(a);
    return 0;
}
