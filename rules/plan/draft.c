/* Draft resources: an ActivityDefinition's static part with CQL values written into it.
 *
 * A path is checked against the R4 model when the content is loaded, so that evaluation knows the
 * FHIR type of every element that it sets; a value is then written in this type or refused. What a
 * rule must not decide (status, intent, subject, id) has no path: a draft stays a draft. */
#include "rules/plan/plan_private.h"

#define UCUM OG_STR("http://unitsofmeasure.org")

/* ---- element paths ---- */

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Reads `name` or `name[3]` at *at. */
static bool read_step(og_str path, size_t *at, plan__step *ret)
{
    size_t i = *at, begin = i;

    while (i < path.n && name_char(path.p[i]))
        i++;
    *ret = (plan__step){.name = {path.p + begin, i - begin}, .index = -1};
    if (i == begin)
        return false;
    if (i < path.n && path.p[i] == '[') {
        size_t digits = ++i;
        ret->index = 0;
        while (i < path.n && path.p[i] >= '0' && path.p[i] <= '9' && i - digits < 4)
            ret->index = ret->index * 10 + (path.p[i++] - '0');
        if (i == digits || i == path.n || path.p[i] != ']')
            return false;
        i++;
    }
    *at = i;
    return true;
}

static bool forbidden(og_str name)
{
    static const char *const names[] = {"resourceType", "id", "status", "intent", "subject", "for"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (og_str_is(name, names[i]))
            return true;
    return false;
}

bool plan__path_read(og_arena *a, og_str path, uint16_t type, const plan__step **ret,
                     size_t *ret_count, og_error *err)
{
    plan__step *steps = og_arena_zalloc(a, path.n + 1, sizeof *steps);
    size_t n = 0, at = 0;

    if (steps == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a path") == OG_OK;
    do {
        plan__step *s = &steps[n];
        if (path.n == 0 || !read_step(path, &at, s) || (at < path.n && path.p[at] != '.')) {
            og_fail(err, OG_INVALID, "'%.*s' is not an element path", OG_STR_ARG(path));
            return false;
        }
        const fhir_model_element *e = fhir_model_member(type, s->name, &s->type);
        if (e == NULL) {
            og_fail(err, OG_INVALID, "%.*s has no element '%.*s'", OG_STR_ARG(fhir_type_name(type)),
                    OG_STR_ARG(s->name));
            return false;
        }
        if (n == 0 && forbidden(s->name)) {
            og_fail(err, OG_INVALID, "a rule cannot set '%.*s' of a draft", OG_STR_ARG(s->name));
            return false;
        }
        s->is_list = e->is_list;
        if (fhir_type_is_primitive(s->type) && at < path.n) {
            og_fail(err, OG_INVALID, "'%.*s' is a primitive and has no elements",
                    OG_STR_ARG(s->name));
            return false;
        }
        if (s->index >= 0 && !s->is_list) {
            og_fail(err, OG_INVALID, "'%.*s' does not repeat and takes no index",
                    OG_STR_ARG(s->name));
            return false;
        }
        if (s->is_list && s->index < 0 && at < path.n) {
            og_fail(err, OG_INVALID, "'%.*s' repeats: write %.*s[0]", OG_STR_ARG(s->name),
                    OG_STR_ARG(s->name));
            return false;
        }
        type = s->type;
        n++;
    } while (at++ < path.n);
    *ret = steps;
    *ret_count = n;
    return true;
}

/* ---- CQL values as FHIR ---- */

static og_status misfit(cql_value v, uint16_t type, og_error *err)
{
    og_buf name;

    og_buf_init(&name, 200);
    cql_value_type(&name, v);
    og_str kind = og_buf_str(&name);
    og_fail(err, OG_EVAL, "a %.*s cannot be written as FHIR %.*s", OG_STR_ARG(kind),
            OG_STR_ARG(fhir_type_name(type)));
    og_buf_done(&name);
    return OG_EVAL;
}

static bool type_is(uint16_t type, const char *name)
{
    return og_str_is(fhir_type_name(type), name);
}

static plan__json *decimal_json(og_arena *a, og_decimal d, int scale)
{
    char text[48];
    size_t n = og_decimal_format(d, scale, text);
    return plan__json_raw(a, og_arena_str(a, (og_str){text, n}));
}

/* UCUM code of a CQL calendar word. */
static og_str ucum_of(const cql_quantity *q)
{
    static const char *const words[][2] = {{"year", "a"},   {"month", "mo"},      {"week", "wk"},
                                           {"day", "d"},    {"hour", "h"},        {"minute", "min"},
                                           {"second", "s"}, {"millisecond", "ms"}};
    for (size_t i = 0; q->calendar && i < sizeof words / sizeof *words; i++)
        if (og_str_is(q->unit, words[i][0]))
            return og_str_of(words[i][1]);
    return q->unit;
}

static plan__json *quantity_json(og_arena *a, const cql_quantity *q)
{
    plan__json *j = plan__json_object(a);
    plan__json_set(j, OG_STR("value"), decimal_json(a, q->value, q->scale));
    og_str code = ucum_of(q);
    if (!og_str_is(code, "1") && code.n != 0)
        plan__json_set_string(a, j, "unit", q->calendar ? q->unit : code);
    plan__json_set(j, OG_STR("system"), plan__json_string(a, UCUM));
    plan__json_set_string(a, j, "code", code.n != 0 ? code : OG_STR("1"));
    return j;
}

static plan__json *coding_json(og_arena *a, const cql_code *c)
{
    plan__json *j = plan__json_object(a);
    plan__json_set_string(a, j, "system", c->system);
    plan__json_set_string(a, j, "version", c->version);
    plan__json_set_string(a, j, "code", c->code);
    plan__json_set_string(a, j, "display", c->display);
    return j;
}

static plan__json *concept_json(og_arena *a, const cql_code *codes, size_t count, og_str text)
{
    plan__json *j = plan__json_object(a), *codings = plan__json_array(a);
    for (size_t i = 0; i < count; i++)
        plan__json_add(codings, coding_json(a, &codes[i]));
    plan__json_set(j, OG_STR("coding"), codings);
    plan__json_set_string(a, j, "text", text);
    return j;
}

static plan__json *temporal_json(og_arena *a, cql_value v, uint16_t type)
{
    og_temporal t = v.temporal;
    char text[48];

    if (v.kind == CQL_DATETIME && fhir_type_primitive(type) == FHIR_PRIMITIVE_DATE &&
        t.precision > OG_DAY) {
        t.precision = OG_DAY;
        t.has_offset = 0;
    }
    size_t n = og_temporal_format(&t, text);
    return plan__json_string(a, og_arena_str(a, (og_str){text, n}));
}

/* FHIR wants a zone and seconds where a dateTime has a time (R4 datatypes.html#dateTime). */
static bool temporal_fits(cql_value v, uint16_t type)
{
    fhir_primitive p = fhir_type_primitive(type);
    if (p == FHIR_PRIMITIVE_DATE)
        return true;
    if (v.kind == CQL_DATE)
        return p == FHIR_PRIMITIVE_DATETIME;
    if (p == FHIR_PRIMITIVE_DATETIME && v.temporal.precision <= OG_DAY)
        return true;
    return (p == FHIR_PRIMITIVE_DATETIME || p == FHIR_PRIMITIVE_INSTANT) &&
           v.temporal.precision >= OG_SECOND && v.temporal.has_offset;
}

static plan__json *string_json(og_arena *a, cql_value v, uint16_t type)
{
    og_str s = cql_str(v);
    plan__json *j;

    switch (fhir_type_primitive(type)) {
    case FHIR_PRIMITIVE_STRING:
    case FHIR_PRIMITIVE_MARKDOWN:
    case FHIR_PRIMITIVE_URI:
    case FHIR_PRIMITIVE_URL:
    case FHIR_PRIMITIVE_CANONICAL:
    case FHIR_PRIMITIVE_CODE:
    case FHIR_PRIMITIVE_ID: return plan__json_string(a, s);
    default: break;
    }
    if (type_is(type, "CodeableConcept"))
        return concept_json(a, NULL, 0, s);
    j = plan__json_object(a);
    if (type_is(type, "Reference"))
        plan__json_set_string(a, j, "reference", s);
    else if (type_is(type, "Annotation"))
        plan__json_set_string(a, j, "text", s);
    else if (type_is(type, "Dosage"))
        plan__json_set_string(a, j, "text", s);
    else
        return NULL;
    return j;
}

static og_status interval_json(og_arena *a, const cql_interval *iv, uint16_t type, plan__json **ret,
                               og_error *err)
{
    bool period = type_is(type, "Period");
    uint16_t point = fhir_type_of(period ? OG_STR("dateTime") : OG_STR("Quantity"));
    plan__json *j = plan__json_object(a), *low = NULL, *high = NULL;
    og_status s;

    if ((!iv->low_closed && !cql_is_null(iv->low)) || (!iv->high_closed && !cql_is_null(iv->high)))
        return og_fail(err, OG_EVAL, "an open interval cannot be written as FHIR %s",
                       period ? "Period" : "Range");
    if ((s = plan__value_json(a, iv->low, point, &low, err)) != OG_OK ||
        (s = plan__value_json(a, iv->high, point, &high, err)) != OG_OK)
        return s;
    plan__json_set(j, period ? OG_STR("start") : OG_STR("low"), low);
    plan__json_set(j, period ? OG_STR("end") : OG_STR("high"), high);
    *ret = j;
    return OG_OK;
}

/* A FHIR instance that CQL made: FHIR.Dosage { text: FHIR.string { value: 'x' } }, or a tuple. */
static og_status instance_json(og_arena *a, const cql_tuple *t, uint16_t type, plan__json **ret,
                               og_error *err)
{
    if (t->type_name.n != 0) {
        uint16_t own = fhir_type_of_qualified(t->type_name);
        if (own == 0 || !fhir_type_is(own, type))
            return og_fail(err, OG_EVAL, "a %.*s cannot be written as FHIR %.*s",
                           OG_STR_ARG(t->type_name), OG_STR_ARG(fhir_type_name(type)));
    }
    if (fhir_type_is_primitive(type)) {
        for (size_t i = 0; i < t->count; i++)
            if (og_str_is(t->names[i], "value"))
                return plan__value_json(a, t->items[i], type, ret, err);
        *ret = NULL;
        return OG_OK;
    }
    plan__json *j = plan__json_object(a);
    for (size_t i = 0; i < t->count; i++) {
        uint16_t member_type = 0;
        plan__json *member = NULL;
        const fhir_model_element *e = fhir_model_member(type, t->names[i], &member_type);
        if (e == NULL && cql_is_null(t->items[i]))
            continue;
        if (e == NULL)
            return og_fail(err, OG_EVAL, "%.*s has no element '%.*s'",
                           OG_STR_ARG(fhir_type_name(type)), OG_STR_ARG(t->names[i]));
        og_status s = plan__value_json(a, t->items[i], member_type, &member, err);
        if (s != OG_OK)
            return s;
        if (member != NULL && e->is_list && !plan__json_is_array(member)) {
            plan__json *list = plan__json_array(a);
            plan__json_add(list, member);
            member = list;
        }
        plan__json_set(j, t->names[i], member);
    }
    *ret = j;
    return OG_OK;
}

static og_status list_json(og_arena *a, const cql_list *list, uint16_t type, plan__json **ret,
                           og_error *err)
{
    plan__json *array = plan__json_array(a);
    for (size_t i = 0; i < list->count; i++) {
        plan__json *item = NULL;
        og_status s = plan__value_json(a, list->items[i], type, &item, err);
        if (s != OG_OK)
            return s;
        plan__json_add(array, item);
    }
    *ret = array;
    return OG_OK;
}

static plan__json *number_json(og_arena *a, cql_value v, uint16_t type)
{
    fhir_primitive p = fhir_type_primitive(type);
    if (p == FHIR_PRIMITIVE_DECIMAL)
        return v.kind == CQL_DECIMAL ? decimal_json(a, v.decimal, v.scale)
                                     : decimal_json(a, og_decimal_of(v.integer), 0);
    if (v.kind != CQL_INTEGER)
        return NULL;
    if (p == FHIR_PRIMITIVE_INTEGER || (p == FHIR_PRIMITIVE_UNSIGNED_INT && v.integer >= 0) ||
        (p == FHIR_PRIMITIVE_POSITIVE_INT && v.integer > 0))
        return plan__json_raw(a, og_arena_printf(a, "%d", v.integer));
    return NULL;
}

static plan__json *scalar_json(og_arena *a, cql_value v, uint16_t type)
{
    char text[48];

    switch ((cql_kind)v.kind) {
    case CQL_BOOLEAN:
        return fhir_type_primitive(type) == FHIR_PRIMITIVE_BOOLEAN
                   ? plan__json_raw(a, v.boolean ? OG_STR("true") : OG_STR("false"))
                   : NULL;
    case CQL_INTEGER:
    case CQL_DECIMAL: return number_json(a, v, type);
    case CQL_STRING: return string_json(a, v, type);
    case CQL_DATE:
    case CQL_DATETIME: return temporal_fits(v, type) ? temporal_json(a, v, type) : NULL;
    case CQL_TIME:
        if (fhir_type_primitive(type) != FHIR_PRIMITIVE_TIME || v.temporal.precision < OG_SECOND)
            return NULL;
        return plan__json_string(
            a, og_arena_str(a, (og_str){text, og_temporal_format(&v.temporal, text)}));
    case CQL_QUANTITY:
        return fhir_type_is(type, fhir_type_of(OG_STR("Quantity"))) ? quantity_json(a, v.quantity)
                                                                    : NULL;
    case CQL_CODE:
        if (fhir_type_primitive(type) == FHIR_PRIMITIVE_CODE)
            return plan__json_string(a, v.code->code);
        if (type_is(type, "Coding"))
            return coding_json(a, v.code);
        return type_is(type, "CodeableConcept") ? concept_json(a, v.code, 1, (og_str){0}) : NULL;
    case CQL_CONCEPT:
        return type_is(type, "CodeableConcept")
                   ? concept_json(a, v.concept->codes, v.concept->count, v.concept->display)
                   : NULL;
    default: return NULL;
    }
}

static og_status ratio_json(og_arena *a, const cql_ratio *r, plan__json **ret)
{
    plan__json *j = plan__json_object(a);
    plan__json_set(j, OG_STR("numerator"), quantity_json(a, &r->numerator));
    plan__json_set(j, OG_STR("denominator"), quantity_json(a, &r->denominator));
    *ret = j;
    return OG_OK;
}

og_status plan__value_json(og_arena *a, cql_value v, uint16_t type, plan__json **ret, og_error *err)
{
    *ret = NULL;
    switch ((cql_kind)v.kind) {
    case CQL_NULL: return OG_OK;
    case CQL_LIST: return list_json(a, v.list, type, ret, err);
    case CQL_TUPLE: return instance_json(a, v.tuple, type, ret, err);
    case CQL_ELEMENT:
        if (v.element->type != 0 && !fhir_type_is(v.element->type, type))
            return misfit(v, type, err);
        *ret = plan__json_copy(a, v.element->at);
        return OG_OK;
    case CQL_INTERVAL:
        if (type_is(type, "Period") || type_is(type, "Range"))
            return interval_json(a, v.interval, type, ret, err);
        return misfit(v, type, err);
    case CQL_RATIO:
        return type_is(type, "Ratio") ? ratio_json(a, v.ratio, ret) : misfit(v, type, err);
    default: *ret = scalar_json(a, v, type);
    }
    if (*ret == NULL && !og_arena_failed(a))
        return misfit(v, type, err);
    return OG_OK;
}

/* ---- building ---- */

/* Goes from a container over one step, making what is missing. NULL when an index is beyond the
 * end. */
static plan__json *descend(og_arena *a, plan__json *at, const plan__step *s)
{
    plan__json *next = plan__json_get(at, s->name);

    if (!s->is_list) {
        if (!plan__json_is_object(next)) {
            next = plan__json_object(a);
            plan__json_set(at, s->name, next);
        }
        return next;
    }
    if (!plan__json_is_array(next)) {
        next = plan__json_array(a);
        plan__json_set(at, s->name, next);
    }
    plan__json *item = plan__json_at(next, (size_t)s->index);
    if (item == NULL) {
        item = plan__json_object(a);
        if (item != NULL && !plan__json_put(next, (size_t)s->index, item))
            return NULL;
    }
    return item;
}

static og_status set_value(og_arena *a, plan__json *at, const plan__step *s, plan__json *value,
                           og_error *err)
{
    if (!s->is_list) {
        if (plan__json_is_array(value))
            return og_fail(err, OG_EVAL, "'%.*s' does not repeat but gets a list",
                           OG_STR_ARG(s->name));
        plan__json_set(at, s->name, value);
        return OG_OK;
    }
    if (s->index < 0) {
        if (value != NULL && !plan__json_is_array(value)) {
            plan__json *list = plan__json_array(a);
            plan__json_add(list, value);
            value = list;
        }
        plan__json_set(at, s->name, value);
        return OG_OK;
    }
    if (plan__json_is_array(value))
        return og_fail(err, OG_EVAL, "one element of '%.*s' gets a list", OG_STR_ARG(s->name));
    plan__json *list = plan__json_get(at, s->name);
    if (!plan__json_is_array(list)) {
        list = plan__json_array(a);
        plan__json_set(at, s->name, list);
    }
    if (!plan__json_put(list, (size_t)s->index, value))
        return og_fail(err, OG_EVAL, "'%.*s[%lld]' is beyond the end of the list",
                       OG_STR_ARG(s->name), (long long)s->index);
    return OG_OK;
}

static og_status apply(og_arena *a, cql_run *run, const plan__dynamic *d, plan__json *resource,
                       og_error *err)
{
    plan__json *at = resource, *value = NULL;
    cql_value v;
    og_status s = plan__expr_value(run, &d->value, &v, err);

    if (s == OG_OK)
        s = plan__value_json(a, v, d->steps[d->step_count - 1].type, &value, err);
    if (s != OG_OK)
        goto out;
    for (size_t i = 0; i + 1 < d->step_count; i++) {
        at = descend(a, at, &d->steps[i]);
        if (at == NULL && !og_arena_failed(a)) {
            s = og_fail(err, OG_EVAL, "'%.*s[%lld]' is beyond the end of the list",
                        OG_STR_ARG(d->steps[i].name), (long long)d->steps[i].index);
            goto out;
        }
    }
    s = set_value(a, at, &d->steps[d->step_count - 1], value, err);
out:
    if (s != OG_OK && err != NULL && err->path[0] == '\0') {
        char path[200];
        snprintf(path, sizeof path, "%.*s", OG_STR_ARG(d->path));
        og_error_path(err, path);
    }
    return s;
}

/* A patient who is known only by an identifier is routed as "system|value" (fhir_patient_of). */
static plan__json *subject_json(og_arena *a, og_str patient)
{
    plan__json *subject = plan__json_object(a);
    ptrdiff_t bar = og_str_find(patient, '|');

    if (bar < 0) {
        plan__json_set_string(a, subject, "reference",
                              og_arena_printf(a, "Patient/%.*s", OG_STR_ARG(patient)));
        return subject;
    }
    plan__json *identifier = plan__json_object(a);
    plan__json_set_string(a, subject, "type", OG_STR("Patient"));
    plan__json_set_string(a, identifier, "system", (og_str){patient.p, (size_t)bar});
    plan__json_set_string(a, identifier, "value", og_str_from(patient, (size_t)bar + 1));
    plan__json_set(subject, OG_STR("identifier"), identifier);
    return subject;
}

og_status plan__draft_build(og_arena *a, cql_run *run, const plan__draft *d, og_str patient,
                            plan__json **ret, og_error *err)
{
    plan__json *resource = plan__json_clone(a, d->resource);

    plan__json_set(resource, og_str_is(d->kind, "Task") ? OG_STR("for") : OG_STR("subject"),
                   subject_json(a, patient));
    for (size_t i = 0; i < d->dynamic_count; i++) {
        og_status s = apply(a, run, &d->dynamics[i], resource, err);
        if (s != OG_OK)
            return s;
    }
    if (og_arena_failed(a))
        return og_fail(err, OG_NOMEM, "no memory for a draft resource");
    *ret = resource;
    return OG_OK;
}
