/* Does a resource of the content folder hold only what FHIR R4 knows?
 *
 * A misspelt element would be passed over in silence and a rule would say something else than its
 * author meant; so unknown names, wrong JSON types and null are problems here, other than in
 * patients' data. */
#include "rules/plan/plan_private.h"

static void check_object(plan__load *l, const char *file, fhir_elem object, uint16_t type);

static const char *wanted_json(fhir_primitive p)
{
    switch (p) {
    case FHIR_PRIMITIVE_NONE: return "an object";
    case FHIR_PRIMITIVE_BOOLEAN: return "true or false";
    case FHIR_PRIMITIVE_INTEGER:
    case FHIR_PRIMITIVE_UNSIGNED_INT:
    case FHIR_PRIMITIVE_POSITIVE_INT:
    case FHIR_PRIMITIVE_DECIMAL: return "a number";
    default: return "a string";
    }
}

static bool json_fits(fhir_kind kind, fhir_primitive p)
{
    switch (p) {
    case FHIR_PRIMITIVE_NONE: return kind == FHIR_OBJECT;
    case FHIR_PRIMITIVE_BOOLEAN: return kind == FHIR_TRUE || kind == FHIR_FALSE;
    case FHIR_PRIMITIVE_INTEGER:
    case FHIR_PRIMITIVE_UNSIGNED_INT:
    case FHIR_PRIMITIVE_POSITIVE_INT:
    case FHIR_PRIMITIVE_DECIMAL: return kind == FHIR_NUMBER;
    default: return kind == FHIR_STRING;
    }
}

static void check_value(plan__load *l, const char *file, fhir_elem value, og_str name,
                        uint16_t type)
{
    fhir_primitive p = fhir_type_primitive(type);

    if (!json_fits(fhir_kind_of(value), p)) {
        plan__problem_at(l, file, value, "'%.*s' must be %s", OG_STR_ARG(name), wanted_json(p));
        return;
    }
    if (fhir_kind_of(value) == FHIR_STRING && fhir_raw(value).n == 0)
        plan__problem_at(l, file, value, "'%.*s' is empty", OG_STR_ARG(name));
    if (p == FHIR_PRIMITIVE_NONE)
        check_object(l, file, value, type);
}

static void check_member(plan__load *l, const char *file, fhir_elem value, og_str name,
                         uint16_t owner)
{
    uint16_t type = 0;
    bool sibling = name.n > 1 && name.p[0] == '_';
    const fhir_model_element *e =
        fhir_model_member(owner, sibling ? og_str_from(name, 1) : name, &type);

    if (sibling && e != NULL && fhir_type_is_primitive(type))
        type = fhir_type_of(OG_STR("Element"));
    else if (sibling)
        e = NULL;
    if (e == NULL) {
        plan__problem_at(l, file, value, "%.*s has no element '%.*s'",
                         OG_STR_ARG(fhir_type_name(owner)), OG_STR_ARG(name));
        return;
    }
    if (!e->is_list) {
        check_value(l, file, value, name, type);
        return;
    }
    if (fhir_kind_of(value) != FHIR_ARRAY || fhir_length(value) == 0) {
        plan__problem_at(l, file, value, "'%.*s' must be an array that is not empty",
                         OG_STR_ARG(name));
        return;
    }
    for (fhir_elem c = fhir_first(value); fhir_exists(c); c = fhir_next(value, c))
        check_value(l, file, c, name, type);
}

static void check_object(plan__load *l, const char *file, fhir_elem object, uint16_t type)
{
    if (fhir_type_is_resource(type)) {
        fhir_elem named = fhir_get(object, "resourceType");
        og_str name = fhir_string(l->scratch, named);
        type = fhir_type_of(name);
        if (!fhir_type_is_concrete_resource(type)) {
            plan__problem_at(l, file, fhir_exists(named) ? named : object,
                             "resourceType must be the name of a FHIR R4 resource");
            return;
        }
    }
    for (fhir_elem c = fhir_first(object); fhir_exists(c); c = fhir_next(object, c)) {
        og_str name = fhir_key_of(c);
        if (!fhir_type_is_resource(type) || !og_str_is(name, "resourceType"))
            check_member(l, file, c, name, type);
    }
    if (fhir_kind_of(fhir_first(object)) == FHIR_NONE)
        plan__problem_at(l, file, object, "an object must not be empty");
}

void plan__check_elements(plan__load *l, const char *file, fhir_elem resource)
{
    if (fhir_kind_of(resource) != FHIR_OBJECT) {
        plan__problem_at(l, file, resource, "a resource is a JSON object");
        return;
    }
    check_object(l, file, resource, fhir_type_of(OG_STR("Resource")));
}
