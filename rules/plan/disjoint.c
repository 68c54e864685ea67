/* Value sets that must have no code in common: the extension disjoint-with of a ValueSet names the
 * other one. A code that stands in both would make one record mean two things that exclude each
 * other (bone and marrow, hospice and palliative care); the author is shown where it stands. */
#include "rules/plan/plan_private.h"

#define DISJOINT_WITH "https://osteoguard.org/fhir/StructureDefinition/disjoint-with"

/* The element of a concept list (compose or expansion, nested ones too) that says this code. */
static fhir_elem find_concept(fhir_elem list, og_str inherited, og_str system, og_str code,
                              og_arena *scratch)
{
    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x)) {
        fhir_elem own = fhir_get(x, "system"), c = fhir_get(x, "code");
        og_str named = fhir_exists(own) ? fhir_string(scratch, own) : inherited;
        if (fhir_exists(c) && og_str_eq(fhir_system_canonical(named), system) &&
            fhir_code_equal(system, fhir_string(scratch, c), code))
            return c;
        c = find_concept(fhir_get(x, "concept"), named, system, code, scratch);
        if (!fhir_exists(c))
            c = find_concept(fhir_get(x, "contains"), named, system, code, scratch);
        if (fhir_exists(c))
            return c;
    }
    return FHIR_ABSENT;
}

/* Where the file says the code; where it says that it is disjoint, when the code comes from another
 * value set. */
static fhir_elem place_of(fhir_elem root, fhir_elem extension, og_str system, og_str code,
                          og_arena *scratch)
{
    og_str none = {0};
    fhir_elem at = find_concept(fhir_path(root, "expansion.contains"), none, system, code, scratch);
    if (!fhir_exists(at))
        at = find_concept(fhir_path(root, "compose.include"), none, system, code, scratch);
    return fhir_exists(at) ? at : extension;
}

static void compare(plan__load *l, const char *file, fhir_elem root, fhir_elem extension)
{
    const fhir_terminology *terms = l->content->terms;
    og_str url = fhir_string(l->scratch, fhir_get(root, "url"));
    og_str version = fhir_string(l->scratch, fhir_get(root, "version"));
    og_str other_url = fhir_string(l->scratch, fhir_get(extension, "valueCanonical"));
    const fhir_valueset *own = fhir_valueset_find(terms, url, version);
    const fhir_valueset *other = fhir_valueset_find(terms, other_url, (og_str){0});

    if (other_url.n == 0)
        plan__problem_at(l, file, extension, "disjoint-with needs a valueCanonical");
    else if (other == NULL)
        plan__problem_at(l, file, extension, "there is no value set %.*s to be disjoint with",
                         OG_STR_ARG(other_url));
    else if (other == own)
        plan__problem_at(l, file, extension, "a value set cannot be disjoint with itself");
    else
        for (size_t i = 0; own != NULL && i < fhir_valueset_count(own); i++) {
            og_str system, code, display;
            fhir_valueset_code(own, i, &system, &code, &display);
            if (fhir_valueset_has(other, system, code))
                plan__problem_at(l, file, place_of(root, extension, system, code, l->scratch),
                                 "code %.*s of %.*s stands in %.*s too, and the two must be "
                                 "disjoint",
                                 OG_STR_ARG(code), OG_STR_ARG(system),
                                 OG_STR_ARG(fhir_valueset_url(other)));
        }
}

void plan__check_disjoint(plan__load *l, const char *file, fhir_elem value_set)
{
    fhir_elem list = fhir_get(value_set, "extension");

    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x))
        if (fhir_is(fhir_get(x, "url"), DISJOINT_WITH))
            compare(l, file, value_set, x);
}
