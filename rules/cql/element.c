/* Properties of FHIR elements. A path step asks the model what the name means for the element's
 * type, then looks into the document; a primitive's System value is read from its lexeme at the
 * last moment. An element value is small and lives in the evaluation's arena; the document is never
 * copied. */
#include "rules/cql/element.h"

#include "rules/cql/tree.h"

#define MAX_MEMBER 96 /* longer than any member name of the model */

/* --- making elements --- */

static bool json_fits(fhir_kind kind, uint16_t type)
{
    switch (fhir_type_primitive(type)) {
    case FHIR_PRIMITIVE_NONE: return kind == FHIR_OBJECT;
    case FHIR_PRIMITIVE_BOOLEAN: return kind == FHIR_TRUE || kind == FHIR_FALSE;
    case FHIR_PRIMITIVE_INTEGER:
    case FHIR_PRIMITIVE_UNSIGNED_INT:
    case FHIR_PRIMITIVE_POSITIVE_INT:
    case FHIR_PRIMITIVE_DECIMAL: return kind == FHIR_NUMBER;
    default: return kind == FHIR_STRING;
    }
}

/* A contained resource, or one in a Bundle, says itself what it is. */
static uint16_t actual_type(fhir_elem at, uint16_t type)
{
    if (!fhir_type_is_resource(type) || fhir_type_is_concrete_resource(type))
        return type;
    char name[64];
    og_str raw = fhir_raw(fhir_get(at, "resourceType"));
    if (raw.n == 0 || raw.n > sizeof(name))
        return type;
    memcpy(name, raw.p, raw.n);
    uint16_t found = fhir_type_of((og_str){name, raw.n});
    return fhir_type_is_resource(found) ? found : type;
}

/* ext is what the `_name` sibling holds. Null when neither fits the type. */
static cql_value make(og_arena *a, fhir_elem at, fhir_elem ext, uint16_t type,
                      const fhir_resource *r)
{
    if (!json_fits(fhir_kind_of(at), type))
        at = FHIR_ABSENT;
    if (fhir_kind_of(ext) != FHIR_OBJECT)
        ext = FHIR_ABSENT;
    if (!fhir_exists(at) && !fhir_exists(ext))
        return CQL_NULL_VALUE;
    if (fhir_type_is_system(type)) { /* Element.id */
        og_str s = fhir_string(a, at);
        return s.p != NULL ? cql_string(s) : CQL_NULL_VALUE;
    }
    cql_element *e = og_arena_alloc(a, sizeof(*e));
    if (e == NULL)
        return CQL_NULL_VALUE;
    *e = (cql_element){at, ext, actual_type(at, type), r};
    return (cql_value){.kind = CQL_ELEMENT, .element = e};
}

cql_value cql_element_at(og_arena *a, fhir_elem at, uint16_t type, const fhir_resource *r)
{
    return make(a, at, FHIR_ABSENT, type, r);
}

cql_value cql_element_root(og_arena *a, const fhir_resource *r)
{
    cql_value v = make(a, r->root, FHIR_ABSENT, fhir_type_of(r->type), r);
    cql_source *from = og_arena_alloc(a, sizeof(*from));
    if (v.kind == CQL_NULL || from == NULL)
        return CQL_NULL_VALUE;
    *from = (cql_source){r, NULL};
    v.from = from;
    return v;
}

bool cql_element_is_type(cql_value v, uint16_t fhir_type)
{
    return v.kind == CQL_ELEMENT && fhir_type_is(v.element->type, fhir_type);
}

/* --- System values of primitives --- */

static cql_value integer_value(og_str lexeme)
{
    int64_t n = 0;
    size_t i = lexeme.n != 0 && lexeme.p[0] == '-';
    bool negative = i == 1;
    for (; i < lexeme.n; i++) {
        if (lexeme.p[i] < '0' ||
            lexeme.p[i] > '9') /* 1.0 and 1e2 are no integers (R4 datatypes.html) */
            return CQL_NULL_VALUE;
        n = n * 10 + (lexeme.p[i] - '0');
        if (n > (int64_t)INT32_MAX + 1)
            return CQL_NULL_VALUE;
    }
    n = negative ? -n : n;
    return n > INT32_MAX ? CQL_NULL_VALUE : cql_integer((int32_t)n);
}

static cql_value decimal_value(og_str lexeme)
{
    og_decimal d;
    int scale;
    return og_decimal_parse(lexeme, true, &d, &scale) ? cql_decimal(d, scale) : CQL_NULL_VALUE;
}

static cql_value temporal_value(cql_kind kind, og_temporal t)
{
    return (cql_value){.kind = (uint8_t)kind, .temporal = t};
}

static cql_value date_value(og_str s)
{
    og_temporal t;
    if (!og_temporal_parse_fhir(s, &t) || t.precision > OG_DAY)
        return CQL_NULL_VALUE;
    return temporal_value(CQL_DATE, t);
}

static cql_value time_value(og_str s)
{
    og_temporal t;
    return og_temporal_parse_time(s, &t) ? temporal_value(CQL_TIME, t) : CQL_NULL_VALUE;
}

static bool digits_at(og_str s, size_t at, size_t n)
{
    for (size_t i = at; i < at + n; i++)
        if (i >= s.n || s.p[i] < '0' || s.p[i] > '9')
            return false;
    return true;
}

/* Forms that senders write and R4 does not allow: no zone, no seconds, a zone without its colon.
 * They mean one thing only, so they are brought into the allowed form and then read by the strict
 * reader. */
static bool sloppy_date_time(og_str s, og_temporal *ret)
{
    char strict[64];
    bool seconds = true, zone = true;
    size_t n = sizeof("2015-02-07T13:28") - 1; /* so much is always there */
    if (s.n < n || s.n > 40 || s.p[10] != 'T')
        return false;
    size_t end = n; /* of the clock part */
    while (end < s.n && s.p[end] != 'Z' && s.p[end] != '+' && s.p[end] != '-')
        end++;
    og_str offset = og_str_from(s, end);
    memcpy(strict, s.p, end);
    n = end;
    if (end == sizeof("2015-02-07T13:28") - 1) {
        seconds = false;
        strict[n++] = ':';
        strict[n++] = '0';
        strict[n++] = '0';
    }
    if (offset.n == 0) {
        zone = false;
        strict[n++] = 'Z';
    } else if (offset.n == 5 && digits_at(offset, 1, 4)) {
        memcpy(strict + n, offset.p, 3);
        strict[n + 3] = ':';
        memcpy(strict + n + 4, offset.p + 3, 2);
        n += 6;
    } else {
        memcpy(strict + n, offset.p, offset.n);
        n += offset.n;
    }
    if (!og_temporal_parse_fhir((og_str){strict, n}, ret))
        return false;
    if (!seconds)
        ret->precision = OG_MINUTE;
    ret->has_offset = zone;
    return true;
}

static cql_value date_time_value(og_str s)
{
    og_temporal t;
    if (!og_temporal_parse_fhir(s, &t) && !sloppy_date_time(s, &t))
        return CQL_NULL_VALUE;
    return temporal_value(CQL_DATETIME, t);
}

static cql_value string_value(og_arena *a, fhir_elem at)
{
    og_str s = fhir_string(a, at);
    return s.p != NULL ? cql_string(s) : CQL_NULL_VALUE;
}

static cql_value primitive_value(og_arena *a, const cql_element *e)
{
    if (!fhir_exists(e->at))
        return CQL_NULL_VALUE;
    switch (fhir_type_primitive(e->type)) {
    case FHIR_PRIMITIVE_NONE: return CQL_NULL_VALUE;
    case FHIR_PRIMITIVE_BOOLEAN: return cql_bool(fhir_kind_of(e->at) == FHIR_TRUE);
    case FHIR_PRIMITIVE_INTEGER:
    case FHIR_PRIMITIVE_UNSIGNED_INT:
    case FHIR_PRIMITIVE_POSITIVE_INT: return integer_value(fhir_raw(e->at));
    case FHIR_PRIMITIVE_DECIMAL: return decimal_value(fhir_raw(e->at));
    case FHIR_PRIMITIVE_DATE: return date_value(fhir_string(a, e->at));
    case FHIR_PRIMITIVE_DATETIME:
    case FHIR_PRIMITIVE_INSTANT: return date_time_value(fhir_string(a, e->at));
    case FHIR_PRIMITIVE_TIME: return time_value(fhir_string(a, e->at));
    default: return string_value(a, e->at);
    }
}

cql_value cql_element_value(og_arena *a, cql_value element)
{
    if (element.kind != CQL_ELEMENT)
        return CQL_NULL_VALUE;
    cql_value v = primitive_value(a, element.element);
    v.from = element.from;
    return v;
}

/* --- properties --- */

/* The `_name` sibling of a primitive member, or absent. */
static fhir_elem sibling(fhir_elem object, og_str member)
{
    char name[MAX_MEMBER + 1] = "_";
    if (member.n > MAX_MEMBER)
        return FHIR_ABSENT;
    memcpy(name + 1, member.p, member.n);
    return fhir_get_str(object, (og_str){name, member.n + 1});
}

/* A repeating primitive: two arrays side by side, each with null where it has nothing to say
 * (R4 json.html, repeating primitive elements). */
static cql_value list_property(og_arena *a, fhir_elem values, fhir_elem exts, uint16_t type,
                               const cql_value *of)
{
    if (fhir_kind_of(values) != FHIR_ARRAY)
        values = FHIR_ABSENT;
    if (fhir_kind_of(exts) != FHIR_ARRAY)
        exts = FHIR_ABSENT;
    if (!fhir_exists(values) && !fhir_exists(exts))
        return CQL_NULL_VALUE;
    uint32_t n = fhir_length(values), more = fhir_length(exts);
    n = n > more ? n : more;
    cql_list *list = og_arena_alloc(a, sizeof(*list));
    cql_value *items = og_arena_zalloc(a, n, sizeof(*items));
    if (list == NULL || items == NULL)
        return CQL_NULL_VALUE;
    fhir_elem value = fhir_first(values), ext = fhir_first(exts);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = make(a, value, ext, type, of->element->resource);
        items[i].from = of->from;
        value = fhir_next(values, value);
        ext = fhir_next(exts, ext);
    }
    *list = (cql_list){items, n};
    return (cql_value){.kind = CQL_LIST, .list = list};
}

/* The type that the end of a member's name means (`Quantity` of valueQuantity), among those of a
 * choice; 0 when it is none of them as it is written. */
static uint16_t choice_type(const fhir_model_element *e, og_str end)
{
    for (size_t i = 0; i < e->choice_count; i++) {
        uint16_t type = fhir_model_choice(e, i);
        og_str name = fhir_type_name(type);
        if (name.n == end.n && end.p[0] == (char)(name.p[0] & ~0x20) &&
            memcmp(name.p + 1, end.p + 1, end.n - 1) == 0)
            return type;
    }
    return 0;
}

/* The member of a choice that is there: its name and type. Names with escapes are legal JSON and
 * take the slow way through the model's list of types. */
static og_str choice_member(fhir_elem object, const fhir_model_element *e, uint16_t owner,
                            char buffer[MAX_MEMBER], uint16_t *ret_type)
{
    og_str name = fhir_model_element_name(e);
    bool escaped = false;
    for (fhir_elem m = fhir_get_longer(object, name, FHIR_ABSENT, &escaped); fhir_exists(m);
         m = fhir_get_longer(object, name, m, &escaped)) {
        og_str key = fhir_key_of(m);
        if (key.p[0] == '_')
            key = og_str_from(key, 1);
        uint16_t type = choice_type(e, og_str_from(key, name.n));
        if (type != 0)
            *ret_type = type;
        if (type != 0 || fhir_model_member(owner, key, ret_type) == e)
            return key;
    }
    for (size_t i = 0; escaped && i < e->choice_count; i++) {
        og_str type = fhir_type_name(fhir_model_choice(e, i));
        memcpy(buffer, name.p, name.n);
        memcpy(buffer + name.n, type.p, type.n);
        buffer[name.n] = (char)(buffer[name.n] & ~0x20);
        og_str key = {buffer, name.n + type.n};
        if (fhir_model_member(owner, key, ret_type) == e &&
            (fhir_exists(fhir_get_str(object, key)) || fhir_exists(sibling(object, key))))
            return key;
    }
    return (og_str){0};
}

/* `value`, `id` and `extension` of a primitive: the first is the JSON value, the others stand in
 * the sibling object. */
static cql_value primitive_step(og_arena *a, const cql_value *of, og_str name)
{
    const cql_element *e = of->element;
    if (og_str_is(name, "value"))
        return primitive_value(a, e);
    const fhir_model_element *m = fhir_model_element_of(e->type, name);
    if (m == NULL || !fhir_exists(e->ext))
        return CQL_NULL_VALUE;
    fhir_elem at = fhir_get_str(e->ext, name);
    return m->is_list ? list_property(a, at, FHIR_ABSENT, m->type, of)
                      : make(a, at, FHIR_ABSENT, m->type, e->resource);
}

/* The JSON member that holds element m of object e, and its type: of a choice the one that is
 * there. Empty when none is. buffer: for a name that is not in the document as it is. */
static og_str member_name(const cql_element *e, const fhir_model_element *m, og_str name,
                          char buffer[MAX_MEMBER], uint16_t *ret_type)
{
    *ret_type = m->type;
    return m->choice_count == 0 ? name : choice_member(e->at, m, e->type, buffer, ret_type);
}

static cql_value member(og_arena *a, const cql_value *of, const fhir_model_element *m, og_str name)
{
    const cql_element *e = of->element;
    uint16_t type;
    char buffer[MAX_MEMBER];
    fhir_elem at, ext = FHIR_ABSENT;
    name = member_name(e, m, name, buffer, &type);
    if (name.n == 0)
        return CQL_NULL_VALUE;
    if (fhir_type_is_primitive(type))
        at = fhir_get_primitive(e->at, name, &ext);
    else
        at = fhir_get_str(e->at, name);
    return m->is_list ? list_property(a, at, ext, type, of) : make(a, at, ext, type, e->resource);
}

cql_value cql_element_step(og_arena *a, cql_value element, og_str name)
{
    if (element.kind != CQL_ELEMENT)
        return CQL_NULL_VALUE;
    cql_value v = CQL_NULL_VALUE;
    const fhir_model_element *m;
    if (fhir_type_is_primitive(element.element->type))
        v = primitive_step(a, &element, name);
    else if ((m = fhir_model_element_of(element.element->type, name)) != NULL)
        v = member(a, &element, m, name);
    v.from = element.from;
    return v;
}

static const fhir_model_element *element_of(const cql__step *step, uint16_t type)
{
    const uint16_t *elements = step->member->elements;
    return elements != NULL ? fhir_model_at(elements[type]) : NULL;
}

void cql__element_member(og_arena *a, const cql_value *of, const cql__step *step, cql_value *ret)
{
    const fhir_model_element *m;
    if (fhir_type_is_primitive(of->element->type))
        *ret = primitive_step(a, of, step->name);
    else if ((m = element_of(step, of->element->type)) != NULL)
        *ret = member(a, of, m, step->name);
    else
        *ret = CQL_NULL_VALUE;
    ret->from = of->from;
}

bool cql__element_member_value(og_arena *a, const cql_value *of, const cql__step *step,
                               cql_value *ret)
{
    const cql_element *e = of->element;
    char buffer[MAX_MEMBER];
    uint16_t type;
    if (fhir_type_is_primitive(e->type))
        return false;
    const fhir_model_element *m = element_of(step, e->type);
    if (m == NULL || m->is_list || (m->choice_count == 0 && !fhir_type_is_primitive(m->type)))
        return false;
    og_str name = member_name(e, m, step->name, buffer, &type);
    if (name.n != 0 && !fhir_type_is_primitive(type))
        return false;
    *ret = CQL_NULL_VALUE;
    if (name.n != 0) {
        cql_element value = {
            .at = fhir_get_str(e->at, name), .type = type, .resource = e->resource};
        if (json_fits(fhir_kind_of(value.at), type))
            *ret = primitive_value(a, &value);
    }
    ret->from = of->from;
    return true;
}

/* Takes the first step off path: a name and, when it has one, an index (else -1). False on bad
 * syntax. */
static bool next_step(og_str *path, og_str *ret_name, int64_t *ret_index)
{
    size_t n = 0;
    while (n < path->n && path->p[n] != '.' && path->p[n] != '[')
        n++;
    *ret_name = (og_str){path->p, n};
    *ret_index = -1;
    if (n < path->n && path->p[n] == '[') {
        int64_t index = 0;
        size_t digits = 0;
        for (n++; n < path->n && path->p[n] >= '0' && path->p[n] <= '9' && digits < 9;
             n++, digits++)
            index = index * 10 + (path->p[n] - '0');
        if (digits == 0 || n >= path->n || path->p[n] != ']')
            return false;
        *ret_index = index;
        n++;
    }
    if (n < path->n && (path->p[n] != '.' || n + 1 == path->n))
        return false;
    *path = og_str_from(*path, n < path->n ? n + 1 : n);
    return ret_name->n != 0;
}

cql_value cql_element_property(og_arena *a, cql_value element, og_str path)
{
    cql_value v = element;
    do {
        og_str name;
        int64_t index;
        if (!next_step(&path, &name, &index))
            return CQL_NULL_VALUE;
        v = cql_element_step(a, v, name);
        if (index < 0)
            continue;
        if (v.kind != CQL_LIST || (uint64_t)index >= v.list->count)
            return CQL_NULL_VALUE;
        v = v.list->items[index];
    } while (path.n != 0);
    return v;
}

/* --- equality --- */

static cql_tri raw_compare(cql_op_context *c, fhir_elem a, fhir_elem b, uint16_t type,
                           bool equivalent);

static cql_tri tri_and(cql_tri a, cql_tri b)
{
    if (a == CQL_FALSE || b == CQL_FALSE)
        return CQL_FALSE;
    return a == CQL_UNKNOWN || b == CQL_UNKNOWN ? CQL_UNKNOWN : CQL_TRUE;
}

static cql_tri values_compare(cql_op_context *c, cql_value a, cql_value b, bool equivalent)
{
    return equivalent ? (cql_equivalent(c, a, b) ? CQL_TRUE : CQL_FALSE) : cql_equal(c, a, b);
}

static cql_tri arrays_compare(cql_op_context *c, fhir_elem a, fhir_elem b, uint16_t type,
                              bool equivalent)
{
    if (fhir_length(a) != fhir_length(b))
        return CQL_FALSE;
    cql_tri all = CQL_TRUE;
    fhir_elem x = fhir_first(a), y = fhir_first(b);
    for (; fhir_exists(x) && all != CQL_FALSE; x = fhir_next(a, x), y = fhir_next(b, y))
        all = tri_and(all, raw_compare(c, x, y, type, equivalent));
    return all;
}

/* What a member that only one side has means: null against a value. */
static cql_tri one_missing(bool equivalent)
{
    return equivalent ? CQL_FALSE : CQL_UNKNOWN;
}

static cql_tri objects_compare(cql_op_context *c, fhir_elem a, fhir_elem b, uint16_t type,
                               bool equivalent)
{
    cql_tri all = CQL_TRUE;
    uint32_t shared = 0, of_b = 0;
    for (fhir_elem m = fhir_first(b); fhir_exists(m); m = fhir_next(b, m))
        of_b++;
    for (fhir_elem x = fhir_first(a); fhir_exists(x) && all != CQL_FALSE; x = fhir_next(a, x)) {
        og_str key = fhir_key_of(x);
        fhir_elem y = fhir_get_str(b, key);
        if (!fhir_exists(y)) {
            all = tri_and(all, one_missing(equivalent));
            continue;
        }
        shared++;
        uint16_t member = 0;
        (void)fhir_model_member(type, key, &member);
        all = tri_and(all, raw_compare(c, x, y, actual_type(x, member), equivalent));
    }
    return shared < of_b ? tri_and(all, one_missing(equivalent)) : all;
}

/* The System value at a place whose type the model does not know: by the look of the JSON. */
static cql_value untyped_value(og_arena *a, fhir_elem at)
{
    switch (fhir_kind_of(at)) {
    case FHIR_STRING: return string_value(a, at);
    case FHIR_NUMBER: return decimal_value(fhir_raw(at));
    case FHIR_TRUE: return cql_bool(true);
    case FHIR_FALSE: return cql_bool(false);
    default: return CQL_NULL_VALUE;
    }
}

static cql_value leaf_value(og_arena *a, fhir_elem at, uint16_t type)
{
    if (!fhir_type_is_primitive(type) || !json_fits(fhir_kind_of(at), type))
        return untyped_value(a, at);
    cql_element e = {at, FHIR_ABSENT, type, NULL};
    return primitive_value(a, &e);
}

static cql_tri raw_compare(cql_op_context *c, fhir_elem a, fhir_elem b, uint16_t type,
                           bool equivalent)
{
    fhir_kind kind = fhir_kind_of(a);
    if (kind == FHIR_NULL || fhir_kind_of(b) == FHIR_NULL) /* members of lists: null equals null */
        return kind == fhir_kind_of(b) ? CQL_TRUE : one_missing(equivalent);
    if (kind == FHIR_OBJECT || kind == FHIR_ARRAY) {
        if (fhir_kind_of(b) != kind)
            return CQL_FALSE;
        return kind == FHIR_OBJECT ? objects_compare(c, a, b, type, equivalent)
                                   : arrays_compare(c, a, b, type, equivalent);
    }
    return values_compare(c, leaf_value(c->arena, a, type), leaf_value(c->arena, b, type),
                          equivalent);
}

/* Resources with different ids differ: no need to look further (lists of resources are made
 * distinct). */
static bool other_resource(const cql_element *a, const cql_element *b)
{
    fhir_elem x = fhir_get(a->at, "id"), y = fhir_get(b->at, "id");
    return fhir_type_is_resource(a->type) && fhir_kind_of(x) == FHIR_STRING &&
           fhir_kind_of(y) == FHIR_STRING && !og_str_eq(fhir_raw(x), fhir_raw(y));
}

static cql_tri elements_compare(cql_op_context *c, cql_value a, cql_value b, bool equivalent)
{
    bool a_leaf = a.kind != CQL_ELEMENT || fhir_type_is_primitive(a.element->type);
    bool b_leaf = b.kind != CQL_ELEMENT || fhir_type_is_primitive(b.element->type);
    if (a_leaf != b_leaf)
        return CQL_FALSE;
    if (a_leaf) {
        cql_value x = a.kind == CQL_ELEMENT ? cql_element_value(c->arena, a) : a;
        cql_value y = b.kind == CQL_ELEMENT ? cql_element_value(c->arena, b) : b;
        return values_compare(c, x, y, equivalent);
    }
    if (a.element->at.doc == b.element->at.doc && a.element->at.at == b.element->at.at)
        return CQL_TRUE;
    if (!fhir_type_is(a.element->type, b.element->type) &&
        !fhir_type_is(b.element->type, a.element->type))
        return CQL_FALSE;
    if (other_resource(a.element, b.element))
        return CQL_FALSE;
    return raw_compare(c, a.element->at, b.element->at, a.element->type, equivalent);
}

cql_tri cql__element_equal(cql_op_context *c, cql_value a, cql_value b)
{
    return elements_compare(c, a, b, false);
}

bool cql__element_equivalent(cql_op_context *c, cql_value a, cql_value b)
{
    return elements_compare(c, a, b, true) == CQL_TRUE;
}
