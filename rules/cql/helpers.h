/* FHIRHelpers, natively: the conversions from FHIR to System types that CQL translators insert as
 * calls of the library FHIRHelpers. The semantics are those of the published libraries 4.0.1
 * and 4.4.000. */
#ifndef OG_CQL_HELPERS_H
#define OG_CQL_HELPERS_H

#include "rules/cql/ops.h"

/* The function of FHIRHelpers that carries this name, to be called like an operator, or NULL when
 * there is none here (resolve, conformsTo, memberOf and others that no published body defines). One
 * function serves all overloads; it decides by the kind of its argument. */
cql_op cql_helpers_find(og_str function);
/* Calls it: false when it is not known or takes another number of arguments. The result rests on
 * what the first argument rests on. */
bool cql_helpers_call(cql_op_context *c, og_str function, const cql_value *args, size_t n,
                      cql_value *ret);

#endif
