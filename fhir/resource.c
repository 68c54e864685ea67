/* What a resource is: its type, its id, and whether its elements have the shapes that R4 gives
 * them.
 *
 * The check walks the document beside the model tables. Where it stands is a chain of steps on the
 * stack, from the element up to the resource, and becomes a path only when something is wrong. */
#include "fhir/resource.h"

#include "fhir/fhir_private.h"

#define MAX_NESTING  512u /* elements inside elements; R4 needs about twenty */
#define LONGEST_NAME 64u  /* of an element; longer ones are unknown */

/* Where the check stands: up is what holds this. */
typedef struct step {
    const struct step *up;
    og_str name;    /* of the member; empty for an element of an array */
    uint32_t index; /* when name is empty */
    unsigned depth;
    bool strict;
    og_error *err;
} step;

static og_status check_object(fhir_elem object, uint16_t type, const step *at);
static og_status check_resource(fhir_elem e, const step *at);

/* The R4 resource type that e names; 0 when it is no string or names none. */
static uint16_t resource_type(fhir_elem e)
{
    char buf[LONGEST_NAME];
    if (fhir_kind_of(e) != FHIR_STRING)
        return 0;
    uint16_t type = fhir_type_of(fhir__short_text(fhir_raw(e), buf, sizeof buf));
    return fhir_type_is_concrete_resource(type) ? type : 0;
}

/* --- the path of an error --- */

static void write_path(const step *at, og_buf *b)
{
    if (at->up != NULL)
        write_path(at->up, b);
    if (at->name.n == 0) {
        og_buf_addf(b, "[%u]", at->index);
        return;
    }
    if (b->n != 0)
        og_buf_addc(b, '.');
    og_buf_adds(b, at->name);
}

static og_status wrong(const step *at, const char *text)
{
    og_status st = og_fail(at->err, OG_INVALID, "%s", text);
    og_buf b;
    og_buf_init(&b, sizeof at->err->path - 1);
    if (at->err != NULL) {
        write_path(at, &b); /* one that does not fit is cut where it ends */
        og_error_path(at->err, b.p != NULL ? b.p : "");
    }
    og_buf_done(&b);
    return st;
}

/* --- one value --- */

static const char *expected(fhir_primitive kind)
{
    switch (kind) {
    case FHIR_PRIMITIVE_BOOLEAN: return "must be true or false";
    case FHIR_PRIMITIVE_INTEGER:
    case FHIR_PRIMITIVE_UNSIGNED_INT:
    case FHIR_PRIMITIVE_POSITIVE_INT:
    case FHIR_PRIMITIVE_DECIMAL: return "must be a number";
    case FHIR_PRIMITIVE_NONE: return "must be an object";
    default: return "must be a string";
    }
}

/* A value that is not null, of an element that has this type. */
static og_status check_value(fhir_elem e, uint16_t type, const step *at)
{
    fhir_primitive kind = fhir_type_primitive(type);
    if (kind == FHIR_PRIMITIVE_NONE) {
        if (fhir_kind_of(e) != FHIR_OBJECT)
            return wrong(at, expected(kind));
        return fhir_type_is_resource(type) ? check_resource(e, at) : check_object(e, type, at);
    }
    if (!fhir__primitive_json(kind, e))
        return wrong(at, expected(kind));
    if (at->strict && !fhir__primitive_form(kind, e))
        return wrong(at, "does not have the form of its FHIR type");
    return OG_OK;
}

static og_status check_array(fhir_elem array, uint16_t type, bool sibling, const step *at)
{
    step here = *at;
    here.up = at;
    here.name = (og_str){0};
    here.index = 0;
    bool primitive = sibling || fhir_type_is_primitive(type);
    for (fhir_elem e = fhir_first(array); fhir_exists(e); e = fhir_next(array, e), here.index++) {
        if (fhir_kind_of(e) == FHIR_NULL) {
            if (at->strict && !primitive)
                return wrong(&here, "must not be null");
            continue;
        }
        og_status st = sibling ? fhir_kind_of(e) == FHIR_OBJECT
                                     ? check_object(e, fhir_type_of(OG_STR("Element")), &here)
                                     : wrong(&here, "must be an object")
                               : check_value(e, type, &here);
        if (st != OG_OK)
            return st;
    }
    return at->strict && here.index == 0 ? wrong(at, "must not be empty") : OG_OK;
}

/* --- members --- */

/* The member `_name` beside a primitive `name`: its id and extensions. */
static og_status check_sibling(fhir_elem e, const fhir_model_element *m, const step *at)
{
    if (m->is_list)
        return fhir_kind_of(e) == FHIR_ARRAY ? check_array(e, 0, true, at)
                                             : wrong(at, "must be an array");
    return fhir_kind_of(e) == FHIR_OBJECT ? check_object(e, fhir_type_of(OG_STR("Element")), at)
                                          : wrong(at, "must be an object");
}

/* The entries of a Bundle are checked one by one by whoever takes it apart. */
static bool left_out(uint16_t type, const step *at)
{
    return !at->strict && type == fhir_type_of(OG_STR("Bundle.Entry"));
}

static og_status check_member(fhir_elem e, uint16_t owner, const step *at)
{
    uint16_t type = 0;
    bool sibling = at->name.n > 1 && at->name.p[0] == '_';
    const fhir_model_element *m =
        fhir_model_member(owner, sibling ? og_str_from(at->name, 1) : at->name, &type);
    if (m == NULL || (sibling && !fhir_type_is_primitive(type)))
        return OG_OK; /* a name that R4 does not know */
    if (fhir_kind_of(e) == FHIR_NULL)
        return at->strict ? wrong(at, "must not be null") : OG_OK;
    if (sibling)
        return check_sibling(e, m, at);
    if (m->is_list && fhir_kind_of(e) != FHIR_ARRAY)
        return wrong(at, "must be an array");
    if (m->is_list)
        return left_out(type, at) ? OG_OK : check_array(e, type, false, at);
    return fhir_kind_of(e) == FHIR_ARRAY ? wrong(at, "must not be an array")
                                         : check_value(e, type, at);
}

static og_status check_object(fhir_elem object, uint16_t type, const step *at)
{
    char buf[LONGEST_NAME];
    step here = *at;
    here.up = at;
    if (++here.depth > MAX_NESTING)
        return og_fail(at->err, OG_LIMIT, "elements nested too deeply");
    bool empty = true;
    for (fhir_elem e = fhir_first(object); fhir_exists(e); e = fhir_next(object, e)) {
        empty = false;
        here.name = fhir__short_text(fhir_key_of(e), buf, sizeof buf);
        og_status st = here.name.n != 0 ? check_member(e, type, &here) : OG_OK;
        if (st != OG_OK)
            return st;
    }
    return at->strict && empty ? wrong(at, "must not be empty") : OG_OK;
}

/* A resource inside another. Its id is nobody's key: only the strict form looks at it, as an
 * element. */
static og_status check_resource(fhir_elem e, const step *at)
{
    uint16_t type = resource_type(fhir_get(e, "resourceType"));
    return type != 0 ? check_object(e, type, at)
                     : wrong(at, "must have the resourceType of an FHIR R4 resource");
}

static og_status check(const fhir_resource *r, bool strict, og_error *err)
{
    step top = {.name = r->type, .strict = strict, .err = err};
    return check_object(r->root, fhir_type_of(r->type), &top);
}

/* --- public --- */

static og_status refuse(og_error *err, const char *path, const char *text)
{
    og_fail(err, OG_INVALID, "%s", text);
    og_error_path(err, path);
    return OG_INVALID;
}

og_status fhir_resource_of(fhir_elem e, fhir_resource *ret, og_error *err)
{
    if (fhir_kind_of(e) != FHIR_OBJECT)
        return refuse(err, "", "a resource must be a JSON object");
    fhir_elem type = fhir_get(e, "resourceType");
    if (!fhir_exists(type))
        return refuse(err, "resourceType", "resourceType is missing");
    if (fhir_kind_of(type) != FHIR_STRING)
        return refuse(err, "resourceType", "resourceType must be a string");
    uint16_t t = resource_type(type);
    if (t == 0)
        return refuse(err, "resourceType", "resourceType is no FHIR R4 resource");
    fhir_elem id = fhir_get(e, "id");
    if (fhir_kind_of(id) == FHIR_NULL)
        id = FHIR_ABSENT;
    if (fhir_exists(id) && (fhir_kind_of(id) != FHIR_STRING || !fhir_id_usable(fhir_raw(id))))
        return refuse(err, "id", "id must be 1 to 128 letters, digits, '-', '.' or '_'");
    *ret = (fhir_resource){.root = e, .type = fhir_type_name(t), .id = fhir_raw(id)};
    return OG_OK;
}

og_status fhir_resource_check(const fhir_resource *r, og_error *err)
{
    return check(r, false, err);
}

og_status fhir_resource_check_strict(const fhir_resource *r, og_error *err)
{
    return check(r, true, err);
}

static og_str meta_text(const fhir_resource *r, const char *name)
{
    fhir_elem e = fhir_get(fhir_get(r->root, "meta"), name);
    return fhir_kind_of(e) == FHIR_STRING ? fhir_raw(e) : (og_str){0};
}

og_str fhir_meta_version(const fhir_resource *r)
{
    return meta_text(r, "versionId");
}

og_str fhir_meta_last_updated(const fhir_resource *r)
{
    return meta_text(r, "lastUpdated");
}

fhir_elem fhir_coding_in(fhir_elem codeable_concept, const char *system)
{
    fhir_elem all = fhir_get(codeable_concept, "coding");
    for (fhir_elem c = fhir_each_first(all); fhir_exists(c); c = fhir_each_next(all, c))
        if (system == NULL ? fhir_kind_of(c) == FHIR_OBJECT
                           : fhir_is(fhir_get(c, "system"), system))
            return c;
    return FHIR_ABSENT;
}

/* Does a type have this name, whatever the case of its first letter (valueString is a string)? */
static bool names_type(og_str suffix)
{
    char name[LONGEST_NAME];
    if (suffix.n == 0 || suffix.n > sizeof name || suffix.p[0] < 'A' || suffix.p[0] > 'Z')
        return false;
    if (fhir_type_of(suffix) != 0)
        return true;
    memcpy(name, suffix.p, suffix.n);
    name[0] = (char)(name[0] + ('a' - 'A'));
    return fhir_type_of((og_str){name, suffix.n}) != 0;
}

fhir_elem fhir_choice(fhir_elem object, const char *base, og_str *ret_type)
{
    og_str stem = og_str_of(base);
    if (fhir_kind_of(object) != FHIR_OBJECT)
        return FHIR_ABSENT;
    for (fhir_elem e = fhir_first(object); fhir_exists(e); e = fhir_next(object, e)) {
        og_str key = fhir_key_of(e);
        if (!og_str_starts(key, stem) || !names_type(og_str_from(key, stem.n)))
            continue;
        if (ret_type != NULL)
            *ret_type = og_str_from(key, stem.n);
        return e;
    }
    return FHIR_ABSENT;
}
