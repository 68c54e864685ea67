/* Look-ups in the generated R4 tables. Types (by name) and members (by owner type and JSON name)
 * are found by hash, members going up to the base type on a miss, so that an inherited element is
 * stored once. The hash is computed by the generator and here: both must stay alike. */
#include "fhir/model.h"

typedef struct type_row {
    uint16_t name;
    uint8_t length;
    uint16_t base;
    uint16_t first_element, element_count;
    uint8_t primitive; /* fhir_primitive */
    uint8_t flags;
    uint16_t code_path;
    uint8_t code_path_length;
    uint16_t patient_paths;
    uint8_t patient_paths_length;
    uint8_t conversion;
} type_row;

typedef struct member_row {
    uint16_t owner;
    uint16_t name;
    uint8_t length;
    uint16_t element;
    uint16_t branch; /* the type when this is one branch of a choice, else 0 */
} member_row;

enum { RESOURCE = 1, SYSTEM = 2 };

#include "fhir/model_r4.inc"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static og_str type_name(const type_row *t)
{
    return (og_str){type_text + t->name, t->length};
}

static const type_row *type_at(uint16_t type)
{
    return &types[type < COUNT(types) ? type : 0];
}

static uint32_t name_hash(og_str name)
{
    uint32_t h = 0x811c9dc5u;
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 0x01000193u;
    return h;
}

/* Where a search among so many slots, a power of two, begins. */
static uint32_t first_slot(uint32_t hash, uint16_t owner, size_t slots)
{
    return ((hash ^ owner) * 0x9e3779b1u) >> (32 - __builtin_ctz((unsigned)slots));
}

uint16_t fhir_type_of(og_str name)
{
    uint32_t at = first_slot(name_hash(name), 0, COUNT(type_slots));
    for (; type_slots[at] != 0; at = (at + 1) & (COUNT(type_slots) - 1))
        if (og_str_eq(type_name(&types[type_slots[at]]), name))
            return type_slots[at];
    return 0;
}

static uint16_t system_type_of(og_str bare)
{
    char name[32] = "System.";
    if (bare.n > sizeof(name) - 7)
        return 0;
    if (bare.n != 0)
        memcpy(name + 7, bare.p, bare.n);
    return fhir_type_of((og_str){name, bare.n + 7});
}

uint16_t fhir_type_of_qualified(og_str name)
{
    static const og_str system_uri = {"{urn:hl7-org:elm-types:r1}", 26};
    static const og_str fhir_forms[] = {{"{http://hl7.org/fhir}", 21}, {"FHIR.", 5}};
    if (og_str_starts(name, system_uri))
        return system_type_of(og_str_from(name, system_uri.n));
    if (og_str_starts(name, OG_STR("System.")))
        return fhir_type_of(name);
    for (size_t i = 0; i < COUNT(fhir_forms); i++) {
        if (!og_str_starts(name, fhir_forms[i]))
            continue;
        uint16_t type = fhir_type_of(og_str_from(name, fhir_forms[i].n));
        return fhir_type_is_system(type) ? 0 : type;
    }
    return 0;
}

og_str fhir_type_name(uint16_t type)
{
    return type_name(type_at(type));
}

uint16_t fhir_type_count(void)
{
    return COUNT(types) - 1;
}

uint16_t fhir_type_base(uint16_t type)
{
    return type_at(type)->base;
}

bool fhir_type_is(uint16_t type, uint16_t ancestor)
{
    if (ancestor == 0)
        return false;
    for (; type != 0; type = fhir_type_base(type))
        if (type == ancestor)
            return true;
    return false;
}

bool fhir_type_is_primitive(uint16_t type)
{
    const type_row *t = type_at(type);
    return t->primitive != FHIR_PRIMITIVE_NONE && (t->flags & SYSTEM) == 0;
}

bool fhir_type_is_resource(uint16_t type)
{
    return (type_at(type)->flags & RESOURCE) != 0;
}

bool fhir_type_is_concrete_resource(uint16_t type)
{
    og_str name = fhir_type_name(type);
    return fhir_type_is_resource(type) && !og_str_is(name, "Resource") &&
           !og_str_is(name, "DomainResource");
}

bool fhir_type_is_system(uint16_t type)
{
    return (type_at(type)->flags & SYSTEM) != 0;
}

fhir_primitive fhir_type_primitive(uint16_t type)
{
    return (fhir_primitive)type_at(type)->primitive;
}

uint16_t fhir_type_value(uint16_t type)
{
    if (!fhir_type_is_primitive(type))
        return 0;
    const fhir_model_element *value = fhir_model_element_of(type, OG_STR("value"));
    return value != NULL ? value->type : 0;
}

og_str fhir_type_primary_code_path(uint16_t type)
{
    const type_row *t = type_at(type);
    return (og_str){path_text + t->code_path, t->code_path_length};
}

og_str fhir_type_patient_paths(uint16_t type)
{
    const type_row *t = type_at(type);
    return (og_str){path_text + t->patient_paths, t->patient_paths_length};
}

og_str fhir_type_conversion(uint16_t type)
{
    return og_str_of(conversions[type_at(type)->conversion]);
}

/* The member that this very type adds, or NULL. */
static const member_row *own_member(uint16_t owner, og_str name, uint32_t hash)
{
    uint32_t at = first_slot(hash, owner, COUNT(member_slots));
    for (; member_slots[at] != 0; at = (at + 1) & (COUNT(member_slots) - 1)) {
        const member_row *m = &members[member_slots[at] - 1];
        if (m->owner == owner && m->length == name.n &&
            memcmp(name_text + m->name, name.p, name.n) == 0)
            return m;
    }
    return NULL;
}

static const member_row *member_of(uint16_t type, og_str name)
{
    if (name.n == 0)
        return NULL;
    uint32_t hash = name_hash(name);
    for (; type != 0; type = fhir_type_base(type)) {
        const member_row *m = own_member(type, name, hash);
        if (m != NULL)
            return m;
    }
    return NULL;
}

const fhir_model_element *fhir_model_element_of(uint16_t type, og_str name)
{
    const member_row *m = member_of(type, name);
    return m != NULL && m->branch == 0 ? &elements[m->element] : NULL;
}

const fhir_model_element *fhir_model_member(uint16_t type, og_str member, uint16_t *ret_type)
{
    const member_row *m = member_of(type, member);
    if (m == NULL)
        return NULL;
    const fhir_model_element *e = &elements[m->element];
    uint16_t found = m->branch != 0 ? m->branch : e->type;
    if (found == 0) /* the bare name of a choice */
        return NULL;
    *ret_type = found;
    return e;
}

const fhir_model_element *fhir_model_elements(uint16_t type, size_t *ret_count)
{
    const type_row *t = type_at(type);
    *ret_count = t->element_count;
    return elements + t->first_element;
}

og_str fhir_model_element_name(const fhir_model_element *e)
{
    return (og_str){name_text + e->name_at, e->name_length};
}

uint16_t fhir_model_choice(const fhir_model_element *e, size_t i)
{
    return i < e->choice_count ? choices[e->choice_first + i] : 0;
}

uint16_t fhir_model_number(const fhir_model_element *e)
{
    return (uint16_t)(e - elements + 1);
}

const fhir_model_element *fhir_model_at(uint16_t number)
{
    return number != 0 && number <= COUNT(elements) ? &elements[number - 1] : NULL;
}
