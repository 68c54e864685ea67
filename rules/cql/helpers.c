/* FHIRHelpers without interpreting it. Each function follows the body that the published libraries
 * (4.0.1, 4.4.000) give it, including their run-time errors: a Quantity with a comparator or with a
 * system that is neither UCUM nor the calendar units has no System form, and silence would make
 * ">60" a 60. */
#include "rules/cql/helpers.h"

#include "rules/cql/element.h"

static cql_value property(cql_op_context *c, cql_value v, const char *path)
{
    return cql_element_property(c->arena, v, og_str_of(path));
}

/* These are called for most elements that a rule reads, so they take what they need straight from
 * the document; the names are those of the R4 types Quantity, Coding and CodeableConcept. */

/* A string member, {NULL,0} when it is absent or no string. */
static og_str text(cql_op_context *c, fhir_elem object, const char *name)
{
    return fhir_string(c->arena, fhir_get(object, name));
}

/* Is the element there, with a value of this kind or with an extension only? By the name of its
 * sibling,
 * "_value", behind whose underscore stands its own. */
static bool is_there(fhir_elem object, const char *sibling, fhir_kind kind)
{
    return fhir_kind_of(fhir_get(object, sibling + 1)) == kind ||
           fhir_kind_of(fhir_get(object, sibling)) == FHIR_OBJECT;
}

static bool is_element(cql_value v, const char *type)
{
    if (v.kind != CQL_ELEMENT)
        return false;
    for (uint16_t t = v.element->type; t != 0; t = fhir_type_base(t))
        if (og_str_is(fhir_type_name(t), type))
            return true;
    return false;
}

/* What a function answers when its argument is of no type that it has an overload for. */
static cql_value no_overload(cql_op_context *c, const char *function, cql_value v)
{
    if (cql_is_null(v))
        return CQL_NULL_VALUE;
    if (v.kind == CQL_ELEMENT)
        return cql_op_fail(c, "FHIRHelpers.%s does not convert FHIR.%.*s", function,
                           OG_STR_ARG(fhir_type_name(v.element->type)));
    return cql_op_fail(c, "FHIRHelpers.%s does not convert a value of this type", function);
}

/* --- primitives --- */

/* `value.value`; a System value of the wanted kind passes as it is. */
static cql_value primitive(cql_op_context *c, cql_value v, cql_kind wanted, const char *function)
{
    if (v.kind == wanted || cql_is_null(v))
        return v;
    if (v.kind != CQL_ELEMENT || !fhir_type_is_primitive(v.element->type))
        return no_overload(c, function, v);
    cql_value value = cql_element_value(c->arena, v);
    if (value.kind != wanted && !cql_is_null(value))
        return no_overload(c, function, v);
    return value;
}

static cql_value to_string(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return primitive(c, args[0], CQL_STRING, "ToString");
}

static cql_value to_boolean(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return primitive(c, args[0], CQL_BOOLEAN, "ToBoolean");
}

static cql_value to_integer(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return primitive(c, args[0], CQL_INTEGER, "ToInteger");
}

static cql_value to_decimal(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return primitive(c, args[0], CQL_DECIMAL, "ToDecimal");
}

static cql_value to_date(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return primitive(c, args[0], CQL_DATE, "ToDate");
}

static cql_value to_date_time(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return primitive(c, args[0], CQL_DATETIME, "ToDateTime");
}

static cql_value to_time(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return primitive(c, args[0], CQL_TIME, "ToTime");
}

/* --- quantities --- */

/* The calendar word, in singular, that a unit means: UCUM's time units and CQL's own words (CQL 1.5
 * 2.2.2.1); else the unit itself. */
static og_str calendar_unit(og_str unit, bool *ret_calendar)
{
    static const struct {
        og_str ucum, word;
    } units[] = {
        {{"ms", 2}, {"millisecond", 11}}, {{"s", 1}, {"second", 6}}, {{"min", 3}, {"minute", 6}},
        {{"h", 1}, {"hour", 4}},          {{"d", 1}, {"day", 3}},    {{"wk", 2}, {"week", 4}},
        {{"mo", 2}, {"month", 5}},        {{"a", 1}, {"year", 4}},
    };
    *ret_calendar = true;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        og_str word = units[i].word;
        if (og_str_eq(unit, units[i].ucum) || og_str_eq(unit, word) ||
            (unit.n == word.n + 1 && og_str_starts(unit, word) && unit.p[word.n] == 's'))
            return word;
    }
    *ret_calendar = false;
    return unit;
}

static bool system_is_convertible(og_str system)
{
    return og_str_is(system, "http://unitsofmeasure.org") ||
           og_str_is(system, "http://hl7.org/fhirpath/CodeSystem/calendar-units");
}

static cql_value quantity_ignoring_comparator(cql_op_context *c, cql_value v)
{
    fhir_elem q = v.element->at, number = fhir_get(q, "value");
    if (!is_there(q, "_value", FHIR_NUMBER))
        return CQL_NULL_VALUE;
    if (is_there(q, "_system", FHIR_STRING) && !system_is_convertible(text(c, q, "system")))
        return cql_op_fail(c, "Invalid FHIR Quantity code: its system is neither UCUM nor the "
                              "calendar units");
    og_decimal value;
    int scale;
    if (fhir_kind_of(number) != FHIR_NUMBER ||
        !og_decimal_parse(fhir_raw(number), true, &value, &scale))
        return CQL_NULL_VALUE; /* only an extension, or out of range */
    og_str unit = text(c, q, "code");
    if (unit.n == 0)
        unit = text(c, q, "unit");
    if (unit.n == 0)
        unit = OG_STR("1");
    cql_quantity *made = og_arena_alloc(c->arena, sizeof(*made));
    if (made == NULL)
        return CQL_NULL_VALUE;
    bool calendar;
    unit = calendar_unit(unit, &calendar);
    *made = (cql_quantity){value, (uint8_t)scale, calendar, unit};
    return (cql_value){.kind = CQL_QUANTITY, .quantity = made};
}

static cql_value quantity(cql_op_context *c, cql_value v)
{
    if (cql_is_null(v) || v.kind == CQL_QUANTITY)
        return v;
    if (!is_element(v, "Quantity"))
        return no_overload(c, "ToQuantity", v);
    fhir_elem q = v.element->at;
    if (is_there(q, "_comparator", FHIR_STRING) && is_there(q, "_value", FHIR_NUMBER))
        return cql_op_fail(c, "FHIR Quantity value has a comparator and cannot be converted to a "
                              "System.Quantity value");
    return quantity_ignoring_comparator(c, v);
}

static cql_value to_quantity(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return quantity(c, args[0]);
}

static cql_value to_quantity_ignoring_comparator(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    if (!is_element(args[0], "Quantity"))
        return no_overload(c, "ToQuantityIgnoringComparator", args[0]);
    return quantity_ignoring_comparator(c, args[0]);
}

static cql_value to_calendar_unit(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    if (args[0].kind != CQL_STRING)
        return no_overload(c, "ToCalendarUnit", args[0]);
    bool calendar;
    og_str unit = cql_str(args[0]);
    og_str word = calendar_unit(unit, &calendar);
    /* ToCalendarUnit maps UCUM codes only: 'days' stays as it is */
    return cql_string(og_str_starts(unit, word) ? unit : word);
}

static cql_value to_ratio(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    if (args[0].kind == CQL_RATIO || !is_element(args[0], "Ratio"))
        return args[0].kind == CQL_RATIO ? args[0] : no_overload(c, "ToRatio", args[0]);
    cql_value numerator = quantity(c, property(c, args[0], "numerator"));
    cql_value denominator = quantity(c, property(c, args[0], "denominator"));
    cql_ratio *r = og_arena_alloc(c->arena, sizeof(*r));
    if (numerator.kind != CQL_QUANTITY || denominator.kind != CQL_QUANTITY || r == NULL)
        return CQL_NULL_VALUE;
    *r = (cql_ratio){*numerator.quantity, *denominator.quantity};
    return (cql_value){.kind = CQL_RATIO, .ratio = r};
}

/* --- intervals --- */

/* The Interval selector (CQL 1.5 2.2.5.1): a low end behind the high end is a run-time error. */
static cql_value interval(cql_op_context *c, cql_interval i)
{
    int order;
    if (!cql_is_null(i.low) && !cql_is_null(i.high) && cql_compare(c, i.low, i.high, &order) &&
        (order > 0 || (order == 0 && !(i.low_closed && i.high_closed))))
        return cql_op_fail(c, "the interval's low end lies behind its high end");
    cql_interval *made = og_arena_alloc(c->arena, sizeof(*made));
    if (made == NULL)
        return CQL_NULL_VALUE;
    *made = i;
    return (cql_value){.kind = CQL_INTERVAL, .interval = made};
}

static cql_value period_interval(cql_op_context *c, cql_value period)
{
    cql_value start = property(c, period, "start");
    return interval(c, (cql_interval){.low = cql_element_value(c->arena, start),
                                      .high = property(c, period, "end.value"),
                                      .low_closed = !cql_is_null(start),
                                      .high_closed = true,
                                      .point = CQL_DATETIME});
}

static cql_value range_interval(cql_op_context *c, cql_value range)
{
    return interval(c, (cql_interval){.low = quantity(c, property(c, range, "low")),
                                      .high = quantity(c, property(c, range, "high")),
                                      .low_closed = true,
                                      .high_closed = true,
                                      .point = CQL_QUANTITY});
}

/* "<5" is everything up to 5: the comparator says which end is known. */
static cql_value quantity_interval(cql_op_context *c, cql_value v)
{
    cql_interval i = {.low_closed = true, .high_closed = true, .point = CQL_QUANTITY};
    og_str comparator = text(c, v.element->at, "comparator");
    bool below = og_str_is(comparator, "<") || og_str_is(comparator, "<=");
    bool above = og_str_is(comparator, ">") || og_str_is(comparator, ">=");
    if (!below && !above) {
        i.low = i.high = quantity(c, v);
        return interval(c, i);
    }
    cql_value end = quantity_ignoring_comparator(c, v);
    if (below) {
        i.high = end;
        i.high_closed = comparator.n == 2;
    } else {
        i.low = end;
        i.low_closed = comparator.n == 2;
    }
    return interval(c, i);
}

static cql_value to_interval(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    cql_value v = args[0];
    if (v.kind == CQL_INTERVAL)
        return v;
    if (is_element(v, "Period"))
        return period_interval(c, v);
    if (is_element(v, "Range"))
        return range_interval(c, v);
    if (is_element(v, "Quantity"))
        return quantity_interval(c, v);
    return no_overload(c, "ToInterval", v);
}

/* --- codes --- */

static cql_code code_of(cql_op_context *c, fhir_elem coding)
{
    return (cql_code){text(c, coding, "code"), text(c, coding, "system"),
                      text(c, coding, "version"), text(c, coding, "display")};
}

static cql_value to_code(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    if (args[0].kind == CQL_CODE)
        return args[0];
    if (!is_element(args[0], "Coding"))
        return no_overload(c, "ToCode", args[0]);
    cql_code *code = og_arena_alloc(c->arena, sizeof(*code));
    if (code == NULL)
        return CQL_NULL_VALUE;
    *code = code_of(c, args[0].element->at);
    return (cql_value){.kind = CQL_CODE, .code = code};
}

static cql_value to_concept(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    if (args[0].kind == CQL_CONCEPT)
        return args[0];
    if (!is_element(args[0], "CodeableConcept"))
        return no_overload(c, "ToConcept", args[0]);
    fhir_elem element = args[0].element->at, list = fhir_get(element, "coding");
    size_t used = 0;
    cql_concept *concept = og_arena_alloc(c->arena, sizeof(*concept));
    cql_code *codes = og_arena_zalloc(c->arena, fhir_length(list), sizeof(*codes));
    if (concept == NULL || codes == NULL)
        return CQL_NULL_VALUE;
    for (fhir_elem e = fhir_kind_of(list) == FHIR_ARRAY ? fhir_first(list) : FHIR_ABSENT;
         fhir_exists(e); e = fhir_next(list, e))
        if (fhir_kind_of(e) == FHIR_OBJECT)
            codes[used++] = code_of(c, e);
    *concept = (cql_concept){codes, used, text(c, element, "text")};
    return (cql_value){.kind = CQL_CONCEPT, .concept = concept};
}

static cql_value to_value_set(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    cql_value uri = primitive(c, args[0], CQL_STRING, "ToValueSet");
    cql_setref *set = og_arena_zalloc(c->arena, 1, sizeof(*set));
    if (cql_is_null(uri) || set == NULL)
        return CQL_NULL_VALUE;
    set->id = cql_str(uri);
    return (cql_value){.kind = CQL_VALUESET, .setref = set};
}

/* --- the rest of 4.4.000 --- */

static cql_value instance(cql_op_context *c, const char *type, const char *name, cql_value item)
{
    cql_tuple *t = og_arena_alloc(c->arena, sizeof(*t));
    og_str *names = og_arena_alloc(c->arena, sizeof(*names));
    cql_value *items = og_arena_alloc(c->arena, sizeof(*items));
    if (t == NULL || names == NULL || items == NULL)
        return CQL_NULL_VALUE;
    *names = og_str_of(name);
    *items = item;
    *t = (cql_tuple){og_str_of(type), names, items, 1};
    return (cql_value){.kind = CQL_TUPLE, .tuple = t};
}

/* reference(String): a Reference that says just this. */
static cql_value reference(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    if (args[0].kind != CQL_STRING)
        return no_overload(c, "reference", args[0]);
    return instance(c, "{http://hl7.org/fhir}Reference", "reference",
                    instance(c, "{http://hl7.org/fhir}string", "value", args[0]));
}

/* ToValue(Choice): whatever the element is, as its System value; what has none stays an element. */
static cql_value to_value(cql_op_context *c, const cql_value *args, size_t n)
{
    cql_value v = args[0];
    if (v.kind != CQL_ELEMENT)
        return v;
    if (fhir_type_is_primitive(v.element->type))
        return cql_element_value(c->arena, v);
    if (is_element(v, "Quantity"))
        return quantity(c, v);
    if (is_element(v, "CodeableConcept"))
        return to_concept(c, args, n);
    if (is_element(v, "Coding"))
        return to_code(c, args, n);
    if (is_element(v, "Range") || is_element(v, "Period"))
        return to_interval(c, args, n);
    return is_element(v, "Ratio") ? to_ratio(c, args, n) : v;
}

static cql_value has_value(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return cql_bool(!cql_is_null(cql_element_value(c->arena, args[0])));
}

static cql_value get_value(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return cql_element_value(c->arena, args[0]);
}

/* The extensions of an element that carry this url. */
static cql_value extensions(cql_op_context *c, const cql_value *args, const char *member)
{
    cql_value all = property(c, args[0], member);
    cql_value url = primitive(c, args[1], CQL_STRING, member);
    cql_list *list = og_arena_zalloc(c->arena, 1, sizeof(*list));
    if (cql_is_null(args[0]) || cql_is_null(url) || list == NULL)
        return CQL_NULL_VALUE;
    size_t count = all.kind == CQL_LIST ? all.list->count : 0;
    cql_value *items = og_arena_zalloc(c->arena, count, sizeof(*items));
    if (items == NULL)
        return CQL_NULL_VALUE;
    for (size_t i = 0; i < count; i++) {
        cql_value item = all.list->items[i];
        if (item.kind == CQL_ELEMENT &&
            fhir_is_str(fhir_get(item.element->at, "url"), cql_str(url)))
            items[list->count++] = item;
    }
    list->items = items;
    return (cql_value){.kind = CQL_LIST, .list = list};
}

static cql_value extension(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return extensions(c, args, "extension");
}

static cql_value modifier_extension(cql_op_context *c, const cql_value *args, size_t n)
{
    (void)n;
    return extensions(c, args, "modifierExtension");
}

static const struct helper {
    og_str name;
    uint8_t arity;
    cql_op fn;
} helpers[] = {
    {{"ToString", 8}, 1, to_string},
    {{"ToConcept", 9}, 1, to_concept},
    {{"ToQuantity", 10}, 1, to_quantity},
    {{"ToDateTime", 10}, 1, to_date_time},
    {{"ToInterval", 10}, 1, to_interval},
    {{"ToCode", 6}, 1, to_code},
    {{"ToDate", 6}, 1, to_date},
    {{"ToBoolean", 9}, 1, to_boolean},
    {{"ToInteger", 9}, 1, to_integer},
    {{"ToDecimal", 9}, 1, to_decimal},
    {{"ToTime", 6}, 1, to_time},
    {{"ToRatio", 7}, 1, to_ratio},
    {{"ToQuantityIgnoringComparator", 28}, 1, to_quantity_ignoring_comparator},
    {{"ToCalendarUnit", 14}, 1, to_calendar_unit},
    {{"ToValueSet", 10}, 1, to_value_set},
    {{"ToValue", 7}, 1, to_value},
    {{"reference", 9}, 1, reference},
    {{"hasValue", 8}, 1, has_value},
    {{"getValue", 8}, 1, get_value},
    {{"extension", 9}, 2, extension},
    {{"modifierExtension", 17}, 2, modifier_extension},
};

static const struct helper *find(og_str function)
{
    for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++)
        if (og_str_eq(function, helpers[i].name))
            return &helpers[i];
    return NULL;
}

cql_op cql_helpers_find(og_str function)
{
    const struct helper *h = find(function);
    return h != NULL ? h->fn : NULL;
}

bool cql_helpers_call(cql_op_context *c, og_str function, const cql_value *args, size_t n,
                      cql_value *ret)
{
    const struct helper *h = find(function);
    if (h == NULL || n != h->arity)
        return false;
    cql_value v = h->fn(c, args, n);
    v.from = args[0].from;
    *ret = v;
    return true;
}
