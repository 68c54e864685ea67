/* Fuzz target: ELM. The input is a library (or a FHIR Library resource); what loads is linked, and
 * every define is evaluated for a small patient under small limits. Properties: no crash, no leak,
 * no endless loop; what fails says why; a second evaluation gives the same values as the first. */
#include <stdlib.h>

#include "rules/cql/cql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char patient_json[] =
    "[{\"resourceType\":\"Patient\",\"id\":\"p\",\"birthDate\":\"1950-03\",\"gender\":\"female\"},"
    "{\"resourceType\":\"Observation\",\"id\":\"o\",\"status\":\"final\",\"code\":{\"coding\":[{"
    "\"system\":\"http://loinc.org\",\"code\":\"2160-0\"}]},\"effectiveDateTime\":\"2024-02-01\","
    "\"valueQuantity\":{\"value\":1.10,\"unit\":\"mg/dL\"}},"
    "{\"resourceType\":\"Condition\",\"id\":\"c\",\"code\":{\"text\":\"x\"},\"onsetPeriod\":{"
    "\"start\":\"2020\"}}]";

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void count(void *ctx, const og_error *err)
{
    (void)ctx;
    check(err->status != OG_OK && err->text[0] != '\0');
}

/* The values of all defines as text. */
static void evaluate(const cql_set *set, const cql_request *request, og_buf *out)
{
    og_arena *a = og_arena_new((size_t)64 << 20);
    cql_run *run = a != NULL ? cql_run_begin(a, set, request) : NULL;
    for (size_t i = 0; run != NULL && i < cql_set_count(set); i++) {
        const cql_library *lib = cql_set_at(set, i);
        for (size_t k = 0; k < cql_library_define_count(lib); k++) {
            const cql_define *d = cql_library_define_at(lib, k);
            const fhir_resource *const *sources;
            cql_value v;
            og_error err;
            og_error_init(&err);
            if (cql_run_define(run, d, &v, &err) == OG_OK) {
                cql_value_format(out, v);
                cql_value_type(out, v);
                (void)cql_run_sources(run, d, &sources);
            } else {
                check(err.status != OG_OK && err.text[0] != '\0');
                og_buf_addz(out, "!");
            }
        }
    }
    og_arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    og_report report = {.fn = count};
    og_arena *a = og_arena_new((size_t)1 << 20);
    cql_set *set = cql_set_new();
    fhir_terminology *terms = fhir_terminology_new();
    fhir_resource resources[3];
    fhir_doc doc;
    size_t n = 0;
    if (a == NULL || set == NULL || terms == NULL)
        goto out;
    check(fhir_decode(a, OG_STR(patient_json), NULL, &doc, NULL) == OG_OK);
    for (fhir_elem e = fhir_first(fhir_root(&doc)); fhir_exists(e);
         e = fhir_next(fhir_root(&doc), e))
        check(fhir_resource_of(e, &resources[n++], NULL) == OG_OK);
    cql_set_allow_missing_valuesets(set, true);
    og_status added = cql_set_add(set, (og_str){(const char *)data, size}, "fuzz", &report);
    check((added == OG_OK) == (report.count == 0));
    if (added != OG_OK || cql_set_link(set, terms, &report) != OG_OK)
        goto out;
    cql_request request = {.resources = resources,
                           .resource_count = n,
                           .as_of_ms = 1709294400000LL,
                           .limits = {.max_depth = 300, .max_steps = 20000, .max_list = 1000}};
    og_buf first, second;
    og_buf_init(&first, (size_t)16 << 20);
    og_buf_init(&second, (size_t)16 << 20);
    evaluate(set, &request, &first);
    evaluate(set, &request, &second);
    check(og_str_eq(og_buf_str(&first), og_buf_str(&second)));
    og_buf_done(&first);
    og_buf_done(&second);
out:
    fhir_terminology_free(terms);
    cql_set_free(set);
    og_arena_free(a);
    return 0;
}
