/* CQL values: small, passed by value, pure. Memory behind them lives in the evaluation's arena or
 * in the content. CQL 1.5 chapter 2 and Appendix B.
 *
 * CQL null is a value, never an error; it carries no type (the tree's As nodes do). FHIR data stay
 * where they are: a FHIR element is CQL_ELEMENT, a place in a document plus its type, and becomes a
 * System value only when FHIRHelpers or an operator asks for it. */
#ifndef OG_CQL_VALUE_H
#define OG_CQL_VALUE_H

#include "fhir/base/decimal.h"
#include "fhir/base/temporal.h"
#include "fhir/resource.h"

typedef enum cql_kind {
    CQL_NULL = 0,
    CQL_BOOLEAN,
    CQL_INTEGER,
    CQL_LONG,
    CQL_DECIMAL,
    CQL_STRING,
    CQL_DATE,
    CQL_DATETIME,
    CQL_TIME,
    CQL_QUANTITY,
    CQL_RATIO,
    CQL_CODE,
    CQL_CONCEPT,
    CQL_VALUESET, /* a reference to a value set */
    CQL_CODESYSTEM,
    CQL_INTERVAL,
    CQL_LIST,
    CQL_TUPLE,  /* also class instances: then type_name is set */
    CQL_ELEMENT /* a FHIR element in a document */
} cql_kind;

typedef struct cql_value cql_value;
typedef struct cql_quantity cql_quantity;
typedef struct cql_code cql_code;
typedef struct cql_concept cql_concept;
typedef struct cql_interval cql_interval;
typedef struct cql_list cql_list;
typedef struct cql_tuple cql_tuple;
typedef struct cql_element cql_element;
typedef struct cql_setref cql_setref;
typedef struct cql_ratio cql_ratio;
typedef struct cql_source cql_source;

struct cql_value {
    uint8_t kind;  /* cql_kind */
    uint8_t scale; /* Decimal: written places, for ToString, Precision, boundaries */
    uint16_t flags;
    uint32_t length;        /* String: bytes */
    const cql_source *from; /* the resources that this value rests on, or NULL */
    union {
        bool boolean;
        int32_t integer;
        int64_t long_;
        og_decimal decimal;
        const char *string;
        og_temporal temporal; /* Date, DateTime, Time */
        const cql_quantity *quantity;
        const cql_ratio *ratio;
        const cql_code *code;
        const cql_concept *concept;
        const cql_setref *setref; /* ValueSet, CodeSystem */
        const cql_interval *interval;
        const cql_list *list;
        const cql_tuple *tuple;
        const cql_element *element;
    };
};

struct cql_quantity {
    og_decimal value;
    uint8_t scale;
    bool calendar; /* unit is a CQL calendar word (year, months ...), kept in singular */
    og_str unit;   /* UCUM code, "1" when there is none */
};
struct cql_ratio {
    cql_quantity numerator, denominator;
};
struct cql_code {
    og_str code, system, version, display;
};
struct cql_concept {
    const cql_code *codes;
    size_t count;
    og_str display;
};
struct cql_setref {
    og_str id, version, name;
    const void *resolved; /* fhir_valueset or fhir_codesystem, or NULL when it is not there */
};
struct cql_interval {
    cql_value low, high;
    bool low_closed, high_closed;
    uint8_t point;  /* cql_kind of the point type, CQL_NULL when not known */
    bool uncertain; /* stands for one value somewhere inside, not for all of them */
};
struct cql_list {
    const cql_value *items;
    size_t count;
};
struct cql_tuple {
    og_str type_name; /* empty for a tuple; "{http://hl7.org/fhir}Quantity", "System.Code" ... for
                         an instance */
    const og_str *names;
    const cql_value *items;
    size_t count;
};
struct cql_element {
    fhir_elem at;                  /* the value; absent when only `ext` exists */
    fhir_elem ext;                 /* the `_name` sibling of a primitive, or absent */
    uint16_t type;                 /* number in the FHIR model table */
    const fhir_resource *resource; /* the resource it belongs to */
};
/* A chain of resources that a value rests on (evidence). Lives in the evaluation's arena. */
struct cql_source {
    const fhir_resource *resource;
    const cql_source *next;
};

#define CQL_NULL_VALUE ((cql_value){.kind = CQL_NULL})

static inline bool cql_is_null(cql_value v)
{
    return v.kind == CQL_NULL;
}
static inline cql_value cql_bool(bool b)
{
    return (cql_value){.kind = CQL_BOOLEAN, .boolean = b};
}
static inline cql_value cql_integer(int32_t i)
{
    return (cql_value){.kind = CQL_INTEGER, .integer = i};
}
static inline cql_value cql_long(int64_t i)
{
    return (cql_value){.kind = CQL_LONG, .long_ = i};
}
static inline cql_value cql_decimal(og_decimal d, int scale)
{
    return (cql_value){.kind = CQL_DECIMAL, .scale = (uint8_t)scale, .decimal = d};
}
static inline cql_value cql_string(og_str s)
{
    return (cql_value){.kind = CQL_STRING, .length = (uint32_t)s.n, .string = s.p};
}
static inline og_str cql_str(cql_value v)
{
    return (og_str){v.string != NULL ? v.string : "", v.length};
}

/* The value as CQL literal text: 'it\'s', @2012-01-01T, 5.0 'mg', 4 days, Interval[1, 5), { 1, 2 },
 * Tuple { a: 1 }, Code { code: 'x', system: '..' }, null. FHIR elements as their JSON. Appended to
 * out; out fails when values are nested more than 200 deep. */
void cql_value_format(og_buf *out, cql_value v);
/* "System.Decimal", "List<System.Any>", "FHIR.Observation" ...; "System.Any" for null. Appended to
 * out. */
void cql_value_type(og_buf *out, cql_value v);

#endif
