/* Published functions that are carried out natively: a function of a library called FHIRHelpers
 * whose body is, as a tree, the one that HL7 published (4.0.1 and 4.4.000 have the same bodies). It
 * is known by a hash of what it says, whatever translator wrote it, with or without annotations; a
 * body that anyone changed has another hash and is interpreted. */
#include "rules/cql/tree.h"

#include "rules/cql/helpers.h"

#define MAX_DEPTH 200 /* published bodies are far from it */

/* Members that say nothing of the meaning, or that only some translators write. */
static bool ignored(og_str key)
{
    static const char *const keys[] = {"annotation", "locator",        "localId",
                                       "signature",  "resultTypeName", "resultTypeSpecifier"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (og_str_is(key, keys[i]))
            return true;
    return false;
}

static uint64_t mixed(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b + 0x9E3779B97F4A7C15u + (a << 6) + (a >> 2))) * 0xFF51AFD7ED558CCDu;
    return x ^ (x >> 32);
}

static uint64_t hash_of(fhir_elem e, unsigned depth)
{
    uint64_t h = fhir_kind_of(e);
    if (depth == 0)
        return 0;
    switch (fhir_kind_of(e)) {
    case FHIR_OBJECT: /* in whatever order the members stand */
        for (fhir_elem m = fhir_first(e); fhir_exists(m); m = fhir_next(e, m))
            if (!ignored(fhir_key_of(m)) && !(fhir_kind_of(m) == FHIR_ARRAY && fhir_length(m) == 0))
                h += mixed(og_str_hash(fhir_key_of(m)), hash_of(m, depth - 1));
        return mixed(h, 1);
    case FHIR_ARRAY:
        for (fhir_elem m = fhir_first(e); fhir_exists(m); m = fhir_next(e, m))
            h = mixed(h, hash_of(m, depth - 1));
        return mixed(h, 2);
    case FHIR_STRING:
    case FHIR_NUMBER: return mixed(h, og_str_hash(fhir_raw(e)));
    default: return h;
    }
}

/* Those worth it; what only takes the value of a primitive is as quick interpreted. */
static const struct {
    const char *name;
    uint64_t hash;
} known[] = {
    {"ToCode", 0x674398DB5230D58Bu},     {"ToConcept", 0x8CF495F20683BD4Au},
    {"ToInterval", 0x0169DE348643D6F7u}, {"ToInterval", 0xE6E0A4AD2B3B79BAu},
    {"ToInterval", 0xEFEC0E7A6D81BAF7u}, {"ToQuantity", 0x42422B0C6BB98173u},
    {"ToRatio", 0x28D5213D0E2633B7u},    {"ToQuantityIgnoringComparator", 0x22143D1A07D69C21u},
    {"ToValue", 0x8D25F4D1F3E1D1CFu},
};

cql_op cql__known_native(const cql_library *lib, og_str name, fhir_elem body)
{
    if (!og_str_is(lib->name, "FHIRHelpers"))
        return NULL;
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!og_str_is(name, known[i].name))
            continue;
        if (hash == 0)
            hash = hash_of(body, MAX_DEPTH);
        if (hash == known[i].hash)
            return cql_helpers_find(name);
    }
    return NULL;
}
