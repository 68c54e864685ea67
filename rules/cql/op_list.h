/* What the list operators lend to the rest of the room: a set of values, and membership. Private.
 */
#ifndef OG_CQL_OP_LIST_H
#define OG_CQL_OP_LIST_H

#include "rules/cql/ops_private.h"

/* Values without duplicates, in order of arrival. Equality as lists have it: = is true, or both are
 * null; unknown is not equal (B.10 Distinct). Finding one costs a hash where the kinds allow it. */
typedef struct cql__set {
    cql_op_context *c;
    cql_value *items;
    uint32_t *hashes;
    uint32_t *slots; /* item number + 1; twice cap of them */
    uint32_t count, cap;
    const cql_quantity *unit; /* the first quantity, whose unit the others have, too */
    bool units_differ;        /* they do not: hashes leave the values of quantities out */
} cql__set;

void cql__set_init(cql__set *s, cql_op_context *c);
/* The number of the item that is equal to v, or -1. */
int64_t cql__set_find(cql__set *s, cql_value v);
/* Adds v unless it is there; *ret_number is its number either way. False when memory is out. */
bool cql__set_add(cql__set *s, cql_value v, uint32_t *ret_number);
/* Adds what is in a list; false when memory is out. */
bool cql__set_add_list(cql__set *s, const cql_list *list);
cql_value cql__set_list(const cql__set *s);

/* True, false or unknown: is v in the list (B.10 Contains)? null is found only where null is. */
cql_tri cql__list_has(cql_op_context *c, const cql_list *list, cql_value v);

#endif
