/* Clinical operators: CQL 1.5 Appendix B.12. Age is a duration between dates, with all its
 * uncertainty. Membership compares system and code and nothing else; a set that is not there is a
 * run-time error, because "not in the set" would silence a rule. */
#include "rules/cql/helpers.h"
#include "fhir/terminology.h"
#include "rules/cql/op_list.h"

/* --- age --- */

/* Ages in days and coarser count dates: when one side is a Date, the other loses its time. */
static cql_value age(cql_op_context *c, cql_value birth, cql_value at)
{
    if (birth.kind != at.kind && !cql_is_null(birth) && !cql_is_null(at)) {
        if (birth.kind == CQL_DATETIME)
            birth = cql_op_DateFrom(c, &birth, 1);
        if (at.kind == CQL_DATETIME)
            at = cql_op_DateFrom(c, &at, 1);
    }
    og_precision precision = c->precision != 0 ? (og_precision)c->precision : OG_YEAR;
    return cql_duration(c, birth, at, precision, c->weeks);
}

/* A FHIR date or dateTime as its System value. */
static cql_value moment(cql_op_context *c, cql_value v)
{
    return v.kind == CQL_ELEMENT ? cql_element_value(c->arena, v) : v;
}

/* CalculateAgeIn...At(birthDate Date, asOf Date) Integer; (birthDate DateTime, asOf DateTime)
 * Integer */
cql_value cql_op_CalculateAgeAt(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return age(c, moment(c, args[0]), moment(c, args[1]));
}

/* CalculateAgeIn...(birthDate Date) Integer, (birthDate DateTime) Integer: at the evaluation's
 * time. */
cql_value cql_op_CalculateAge(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    cql_value birth = moment(c, args[0]);
    return age(c, birth,
               birth.kind == CQL_DATE ? cql_op_Today(c, NULL, 0) : cql_op_Now(c, NULL, 0));
}

/* --- membership --- */

/* One set, of values or a code system. */
typedef struct code_set {
    const fhir_valueset *values; /* or */
    const fhir_codesystem *system;
    og_str id;
} code_set;

/* False after a run-time error, and for a null set (then the operator's answer is null). */
static bool set_of(cql_op_context *c, cql_value v, cql_kind kind, code_set *ret)
{
    const char *what = kind == CQL_VALUESET ? "value set" : "code system";
    if (cql_is_null(v))
        return false;
    if (v.kind != kind) {
        cql_op_fail(c, "membership in something that is no %s", what);
        return false;
    }
    if (v.setref->resolved == NULL) {
        cql_op_fail(c, "%s %.*s is not there", what, OG_STR_ARG(v.setref->id));
        return false;
    }
    *ret = (code_set){.id = v.setref->id};
    if (kind == CQL_VALUESET)
        ret->values = v.setref->resolved;
    else
        ret->system = v.setref->resolved;
    return true;
}

#define KEYS 256u /* a power of two */

/* Texts do not change during an evaluation, so a place stands for its text. A later code takes the
 * place of an earlier one. */
struct cql__keys {
    struct {
        og_str system, code; /* as given */
        fhir_code_key key;
    } known[KEYS];
};

struct cql__keys *cql__keys_new(og_arena *a)
{
    return og_arena_zalloc(a, 1, sizeof(struct cql__keys));
}

const fhir_code_key *cql__key_of(cql_op_context *c, og_str system, og_str code,
                                 fhir_code_key *storage)
{
    if (c->keys == NULL || code.p == NULL) {
        *storage = fhir_code_key_of(system, code);
        return storage;
    }
    uintptr_t at = (uintptr_t)code.p * 31 + (uintptr_t)system.p;
    size_t slot = (at ^ at >> 8) & (KEYS - 1);
    og_str had = c->keys->known[slot].code, of = c->keys->known[slot].system;
    if (had.p != code.p || had.n != code.n || of.p != system.p || of.n != system.n) {
        c->keys->known[slot].code = code;
        c->keys->known[slot].system = system;
        c->keys->known[slot].key = fhir_code_key_of(system, code);
    }
    return &c->keys->known[slot].key;
}

/* A code without a system is in no set: it could be anything (B.12 In value set, for Code). */
static cql_tri code_in(cql_op_context *c, const code_set *s, const cql_code *code)
{
    if (s->values != NULL) {
        fhir_code_key storage;
        const fhir_code_key *key = cql__key_of(c, code->system, code->code, &storage);
        return fhir_valueset_has_key(s->values, key) ? CQL_TRUE : CQL_FALSE;
    }
    og_str system = fhir_system_canonical(code->system);
    if (code->system.n == 0 || code->code.n == 0 ||
        !og_str_eq(system, fhir_system_canonical(s->id)))
        return CQL_FALSE;
    if (fhir_codesystem_has(s->system, code->code))
        return CQL_TRUE;
    if (fhir_codesystem_complete(s->system))
        return CQL_FALSE;
    cql_op_fail(c, "code system %.*s is there only in part", OG_STR_ARG(s->id));
    return CQL_UNKNOWN;
}

/* A bare string: an error when codes of several systems are spelled like it. */
static cql_tri string_in(cql_op_context *c, const code_set *s, og_str text)
{
    if (s->system != NULL) {
        const cql_code code = {.code = text, .system = s->id};
        return code_in(c, s, &code);
    }
    og_str found = {NULL, 0};
    for (size_t i = 0; i < fhir_valueset_count(s->values); i++) {
        og_str system, code, display;
        fhir_valueset_code(s->values, i, &system, &code, &display);
        if (!fhir_code_equal(system, code, text))
            continue;
        if (found.n != 0 && !og_str_eq(found, system)) {
            cql_op_fail(c, "a code without system means several codes of value set %.*s",
                        OG_STR_ARG(s->id));
            return CQL_UNKNOWN;
        }
        found = system;
    }
    return found.n != 0 ? CQL_TRUE : CQL_FALSE;
}

static cql_tri concept_in(cql_op_context *c, const code_set *s, const cql_concept *concept)
{
    cql_tri any = CQL_FALSE;
    for (size_t i = 0; i < concept->count && any != CQL_TRUE; i++)
        any = cql__or(any, code_in(c, s, &concept->codes[i]));
    return any;
}

/* Elements are converted as FHIRHelpers does. */
static cql_value system_value(cql_op_context *c, cql_value v)
{
    const char *function;
    if (v.kind != CQL_ELEMENT)
        return v;
    if (cql_element_is_type(v, fhir_type_of(OG_STR("Coding"))))
        function = "ToCode";
    else if (cql_element_is_type(v, fhir_type_of(OG_STR("CodeableConcept"))))
        function = "ToConcept";
    else
        return cql_element_value(c->arena, v);
    cql_helpers_call(c, og_str_of(function), &v, 1, &v);
    return v;
}

/* A null code is in no set. */
static cql_tri member_of(cql_op_context *c, const code_set *s, cql_value v)
{
    v = system_value(c, v);
    switch ((cql_kind)v.kind) {
    case CQL_NULL: return CQL_FALSE;
    case CQL_STRING: return string_in(c, s, cql_str(v));
    case CQL_CODE: return code_in(c, s, v.code);
    case CQL_CONCEPT: return concept_in(c, s, v.concept);
    default:
        cql_op_fail(c, "neither a code nor a concept nor a string: no set has it");
        return CQL_UNKNOWN;
    }
}

/* Two codes of one system; of another one nothing is known. */
static cql_tri code_subsumes(cql_op_context *c, const fhir_terminology *terms,
                             const cql_code *wider, const cql_code *narrower)
{
    og_str system = fhir_system_canonical(wider->system);
    if (wider->code.n == 0 || system.n == 0 ||
        !og_str_eq(system, fhir_system_canonical(narrower->system)))
        return CQL_FALSE;
    if (fhir_code_equal(system, wider->code, narrower->code))
        return CQL_TRUE;
    const fhir_codesystem *cs = terms != NULL ? fhir_codesystem_find(terms, system) : NULL;
    fhir_subsumption s = cs != NULL ? fhir_codesystem_subsumes(cs, wider->code, narrower->code)
                                    : FHIR_SUBSUMES_UNKNOWN;
    if (s != FHIR_SUBSUMES_UNKNOWN)
        return s == FHIR_SUBSUMES ? CQL_TRUE : CQL_FALSE;
    cql_op_fail(c, "subsumption needs the hierarchy of code system %.*s, with both codes in it",
                OG_STR_ARG(system));
    return CQL_UNKNOWN;
}

static size_t codes_of(cql_value v, const cql_code **ret)
{
    *ret = v.kind == CQL_CONCEPT ? v.concept->codes : v.code;
    return v.kind == CQL_CONCEPT ? v.concept->count : 1;
}

/* Subsumes(ancestor Code, descendent Code), (ancestor Concept, descendent Concept) Boolean, B.12:
 * of concepts some pair of codes must. */
cql_value cql__subsumes(cql_op_context *c, const fhir_terminology *terms, cql_value wider,
                        cql_value narrower)
{
    const cql_code *above, *below;
    wider = system_value(c, wider);
    narrower = system_value(c, narrower);
    if (cql_is_null(wider) || cql_is_null(narrower))
        return CQL_NULL_VALUE;
    if ((wider.kind != CQL_CODE && wider.kind != CQL_CONCEPT) ||
        (narrower.kind != CQL_CODE && narrower.kind != CQL_CONCEPT)) {
        cql_op_fail(c, "only codes and concepts subsume one another");
        return CQL_NULL_VALUE;
    }
    size_t count = codes_of(wider, &above), others = codes_of(narrower, &below);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < others; k++) {
            cql_tri one = code_subsumes(c, terms, &above[i], &below[k]);
            if (one != CQL_FALSE)
                return one == CQL_TRUE ? cql_bool(true) : CQL_NULL_VALUE;
        }
    return cql_bool(false);
}

static cql_value one_in(cql_op_context *c, const cql_value *args, cql_kind kind)
{
    code_set s;
    return set_of(c, args[1], kind, &s) ? cql_tri_value(member_of(c, &s, args[0])) : CQL_NULL_VALUE;
}

static cql_value any_in(cql_op_context *c, const cql_value *args, cql_kind kind)
{
    code_set s;
    if (args[0].kind != CQL_LIST && !cql_is_null(args[0]))
        return one_in(c, args, kind);
    if (!set_of(c, args[1], kind, &s))
        return CQL_NULL_VALUE;
    cql_tri any = CQL_FALSE;
    for (size_t i = 0; args[0].kind == CQL_LIST && i < args[0].list->count && any != CQL_TRUE; i++)
        any = cql__or(any, member_of(c, &s, args[0].list->items[i]));
    return cql_tri_value(any);
}

/* in(code String/Code/Concept, valueset ValueSet) Boolean */
cql_value cql_op_InValueSet(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return any_in(c, args, CQL_VALUESET); /* translators also write a list here */
}

/* in(codes List<String/Code/Concept>, valueset ValueSet) Boolean: is any of them in it? */
cql_value cql_op_AnyInValueSet(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return any_in(c, args, CQL_VALUESET);
}

/* in(code String/Code/Concept, codesystem CodeSystem) Boolean */
cql_value cql_op_InCodeSystem(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return any_in(c, args, CQL_CODESYSTEM);
}

/* in(codes List<String/Code/Concept>, codesystem CodeSystem) Boolean: is any of them in it? */
cql_value cql_op_AnyInCodeSystem(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return any_in(c, args, CQL_CODESYSTEM);
}
