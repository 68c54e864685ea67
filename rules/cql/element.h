/* FHIR elements as CQL values: a place in a document plus its type in the R4 model.
 *
 * Nothing is copied or converted before it is asked for. Data that are not as the model says (an
 * array where one value belongs, a number where a string belongs, a date that is none, a member
 * that the type does not have) answer with null, never with an error: what is worth refusing was
 * refused when it came in. */
#ifndef OG_CQL_ELEMENT_H
#define OG_CQL_ELEMENT_H

#include "fhir/model.h"
#include "rules/cql/ops.h"

typedef struct cql__step cql__step; /* tree.h */

/* The resource itself as a value; its evidence (`from`) is the resource. r is borrowed until the
 * arena is reset. Null when memory is out. */
cql_value cql_element_root(og_arena *a, const fhir_resource *r);
/* The element of a known type at a place. An absent place, JSON null, or JSON that does not fit the
 * type gives null. A Resource gets the type of its resourceType. */
cql_value cql_element_at(og_arena *a, fhir_elem at, uint16_t type, const fhir_resource *r);
/* ELM Property: path is one name or several separated by dots, each optionally with an index,
 * `name[0]`. Choice elements by their model name (`value`), repeating elements as lists (absent:
 * null), `.value` of a primitive as a System value. A list has no properties: null. The result
 * rests on what element rests on. */
cql_value cql_element_property(og_arena *a, cql_value element, og_str path);
/* One step of a path: the property called name, without dots or index. */
cql_value cql_element_step(og_arena *a, cql_value element, og_str name);
/* The same for a step of a linked path, which knows what its name means for each type. The index is
 * the caller's. of is an element. */
void cql__element_member(og_arena *a, const cql_value *of, const cql__step *step, cql_value *ret);
/* The System value of the primitive that the step leads to: `step.value` at once. False, and *ret
 * untouched, when it leads to a list or to no primitive. */
bool cql__element_member_value(og_arena *a, const cql_value *of, const cql__step *step,
                               cql_value *ret);
/* The System value of a primitive element (System types of the model info; decimals rounded to 8
 * places, dateTimes as partial as they are written, without offset when none is written). Null when
 * the element is no primitive, has no value, or a value that cannot be represented. */
cql_value cql_element_value(og_arena *a, cql_value element);
/* True when v is an element of this FHIR type or of one derived from it. */
bool cql_element_is_type(cql_value v, uint16_t fhir_type);

/* = and ~ of two elements, or of a primitive element and a System value: by structure, member by
 * member (CQL 1.5 B.1 Equal, Equivalent on structured values). */
cql_tri cql__element_equal(cql_op_context *c, cql_value a, cql_value b);
bool cql__element_equivalent(cql_op_context *c, cql_value a, cql_value b);

#endif
