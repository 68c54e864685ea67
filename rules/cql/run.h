/* One evaluation: what its files share. Private to rules/cql.
 *
 * run.c begins and ends it and keeps the memory of definitions; eval.c walks expressions, query.c
 * queries and loops, retrieve.c finds resources. An error stands in run->err from the moment it
 * happens: whoever sees it returns at once, and every value is null from then on. */
#ifndef OG_CQL_RUN_H
#define OG_CQL_RUN_H

#include "rules/cql/ops_private.h"
#include "rules/cql/tree.h"

/* Evidence: a source whose resource is NULL is a join of two others, or stands for what a list or
 * tuple rests on, so that a result gets its sources by one pointer and they are only listed when
 * asked for. */
typedef struct cql__join {
    cql_source head;
    const cql_source *left, *right;
    const cql_value *items;
    size_t count;
    uint32_t mark; /* the collection that has seen it */
} cql__join;

typedef enum cql__state { CQL__FRESH, CQL__RUNNING, CQL__DONE, CQL__FAILED } cql__state;

typedef union cql__cell { /* what is remembered of a definition, once its state is not fresh */
    cql_value value;      /* CQL__DONE */
    const og_error *err;  /* CQL__FAILED; NULL: memory was out */
} cql__cell;

/* The codings of every resource of a type at one path: each different key once, for a value set is
 * asked about keys, not about resources. Resource number k of the type has the keys with the
 * numbers of[first[k]] to before of[first[k + 1]]. */
typedef struct cql__codings {
    bool found, bare; /* bare: something there has no system of its own; look at the elements */
    uint32_t *first, *of;
    const fhir_code_key *keys;
    uint32_t key_count;
} cql__codings;

typedef struct cql__kin { /* the resources of one type */
    uint16_t type;
    uint32_t count;
    uint32_t *at; /* their numbers in the request */
} cql__kin;

typedef struct cql__chunk { /* of the stack of frames */
    struct cql__chunk *next;
    uint32_t cap, used;
    cql_value values[];
} cql__chunk;

typedef struct cql__trace_entry {
    const cql__node *node;
    cql_value value; /* the last one */
    uint32_t times;
    bool in_row; /* of a query or loop */
} cql__trace_entry;

typedef struct cql__trace { /* explain.c: values of the nodes of one definition */
    const cql_value *frame;
    cql__trace_entry *entries;
    uint32_t count, cap;
} cql__trace;

struct cql_run {
    cql_op_context c; /* what operators get; c.user is the run */
    const cql_set *set;
    const cql_request *request;
    og_arena *arena;
    bool sourceless;     /* as the request says */
    cql__cell *cells;    /* by number of the definition; what nobody asks for is not even cleared */
    uint8_t *states;     /* cql__state of each */
    uint32_t *costs;     /* of each that is done: steps, those of what it asked first included; 0:
                          * nothing is read for it */
    uint64_t *reads;     /* set of retrieves that whatever is being evaluated has asked so far */
    uint64_t *own_reads; /* by number of the definition: what it asked; set when it was evaluated */
    uint32_t read_words; /* of a set */
    cql_value *retrieved; /* results of constant retrieves; null: not yet */
    cql_value *roots;     /* resources as values, by their place in the request; null: not yet */
    uint16_t *types;      /* model number of each resource */
    cql__kin *kin;        /* the resources by type */
    uint32_t kin_count;
    uint32_t *ranks;          /* of each resource among those of its type */
    uint8_t *places;          /* by number of a path: where a tuple last had its name */
    const cql_value ***memos; /* by number of the function, then by rank; see cql__memo */
    cql__codings *codings;    /* by number of the set */
    cql_value today, now;
    cql_value *frame;
    cql__chunk *stack;
    const cql_define *current; /* whose body is being evaluated */
    uint32_t depth, max_depth, max_list;
    uint64_t steps, max_steps;
    uint32_t collections;            /* of sources so far */
    cql__trace_entry *trace_entries; /* of every explanation in turn */
    cql__trace *trace;
    og_error err;
};

static inline bool cql__failed(const cql_run *run)
{
    return run->err.status != OG_OK;
}

/* The same as cql__eval_to for what is more than a look. */
void cql__eval_node(cql_run *run, const cql__node *n, cql_value *ret);
/* Evaluates n into *ret, which is null after an error. ret may be a place in the frame or in a
 * list: it is written last, when nothing of n is left to be evaluated. */
static inline void cql__eval_to(cql_run *run, const cql__node *n, cql_value *ret)
{
    if (n->kind == CQL__CONSTANT)
        *ret = n->value;
    else if (n->kind == CQL__SLOT && run->trace == NULL && !cql__failed(run))
        *ret = run->frame[n->slot];
    else
        cql__eval_node(run, n, ret);
}
static inline cql_value cql__eval(cql_run *run, const cql__node *n)
{
    cql_value v;
    cql__eval_to(run, n, &v);
    return v;
}
/* Evaluates of n what may raise an error, for nothing but that error (fallible.c). */
void cql__check(cql_run *run, const cql__node *n);
/* What one kind of node does; called by cql__eval_to alone. */
typedef void (*cql__evaluator)(cql_run *run, const cql__node *n, cql_value *ret);
void cql__eval_query(cql_run *run, const cql__node *n, cql_value *ret);
void cql__eval_foreach(cql_run *run, const cql__node *n, cql_value *ret);
void cql__eval_filter(cql_run *run, const cql__node *n, cql_value *ret);
void cql__eval_repeat(cql_run *run, const cql__node *n, cql_value *ret);
void cql__eval_fold(cql_run *run, const cql__node *n, cql_value *ret);
void cql__eval_sort(cql_run *run, const cql__node *n, cql_value *ret);
void cql__eval_retrieve(cql_run *run, const cql__node *n, cql_value *ret);
/* Records the value of a node of the definition that is being explained. */
void cql__trace_value(cql_run *run, const cql__node *n, cql_value v);
/* The remembered value of an expression or parameter; evaluates it when it is asked for first. NULL
 * after an error. */
const cql_value *cql__eval_define(cql_run *run, const cql_define *d);

static inline void cql__has_read(cql_run *run, uint32_t retrieve)
{
    run->reads[retrieve / 64] |= (uint64_t)1 << retrieve % 64;
}
/* Whoever is given what d said before rests on what d has read. */
static inline void cql__read_again(cql_run *run, const cql_define *d)
{
    if (d->requirement_count == 0)
        return;
    const uint64_t *own = run->own_reads + (size_t)d->index * run->read_words;
    for (uint32_t w = 0; w < run->read_words; w++)
        run->reads[w] |= own[w];
}

/* Where a run keeps what function d (d->memo) says of v: NULL there when it has not been asked.
 * NULL when v is no resource of the request (or memory is out): nothing is kept then. */
const cql_value **cql__memo(cql_run *run, const cql_define *d, const cql_value *v);

/* A path over any value: null where there is no such thing. */
void cql__property_to(cql_run *run, const cql_value *of, const cql__step *steps, uint32_t count,
                      cql_value *ret);
static inline cql_value cql__property(cql_run *run, cql_value of, const cql__step *steps,
                                      uint32_t count)
{
    cql_value v;
    cql__property_to(run, &of, steps, count, &v);
    return v;
}
/* The codes of a value set as a list of Code; an error when the set is not known. */
cql_value cql__expand(cql_run *run, cql_value set);
/* A list of the values that stand in items (not copied). */
cql_value cql__list_of(cql_run *run, const cql_value *items, size_t count);

/* Room for n values until cql__pop; NULL when memory is out (the run has failed then). */
typedef struct cql__mark {
    cql__chunk *chunk;
    uint32_t used;
} cql__mark;
cql_value *cql__push_more(cql_run *run, uint32_t n); /* where the chunk at hand is full */
static inline cql_value *cql__push(cql_run *run, uint32_t n, cql__mark *ret_mark)
{
    cql__chunk *c = run->stack;
    *ret_mark = (cql__mark){c, c->used};
    if (n > c->cap - c->used)
        return cql__push_more(run, n);
    cql_value *values = c->values + c->used;
    c->used += n;
    return values;
}
static inline void cql__pop(cql_run *run, cql__mark mark)
{
    run->stack = mark.chunk;
    run->stack->used = mark.used;
}

/* Records an error of the evaluation, returns null. */
cql_value cql__fail(cql_run *run, og_status status, const char *fmt, ...) OG_PRINTF(3, 4);
cql_value cql__no_memory(cql_run *run);

/* What a and b rest on together. */
const cql_source *cql__join_sources(cql_run *run, const cql_source *a, const cql_source *b);
const cql_source *cql__sources_of(cql_run *run, const cql_value *v);
/* Lets v rest also on what `on` rests on, unless it knows better already. */
static inline void cql__rest_on(cql_run *run, cql_value *v, const cql_value *on, size_t count)
{
    if (run->sourceless || v->from != NULL || v->kind == CQL_ELEMENT)
        return;
    for (size_t i = 0; i < count; i++) {
        if (on[i].from != NULL && (v->from == NULL || v->from == on[i].from))
            v->from = on[i].from;
        else if (on[i].from != NULL || on[i].kind >= CQL_INTERVAL) /* or has values inside */
            v->from = cql__join_sources(run, v->from, cql__sources_of(run, &on[i]));
    }
}

/* A list that grows in the arena. */
typedef struct cql__items {
    cql_value *items;
    size_t count, cap;
} cql__items;
/* Room for one more value behind the last, which becomes part of the list when the caller raises
 * the count; NULL when memory is out (the run has failed then). */
cql_value *cql__items_room(cql_run *run, cql__items *l);
bool cql__items_add(cql_run *run, cql__items *l, cql_value v);

#endif
