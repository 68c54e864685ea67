/* The typed tree: ELM's shape after loading, with every name replaced by a pointer or a slot after
 * linking. Private to rules/cql.
 *
 * library.c reads the frame of a library, tree.c its expressions, type.c type specifiers; bind.c
 * resolves what they name; eval.c and query.c walk the result and change nothing in it. Everything
 * lives in the set's arena. */
#ifndef OG_CQL_TREE_H
#define OG_CQL_TREE_H

#include "fhir/base/table.h"
#include "rules/cql/cql.h"
#include "rules/cql/ops.h"

/* Where an expression stands in the CQL source (ELM locator "12:5-12:30"); zero when unknown. */
typedef struct cql__place {
    uint32_t line, column, end_line, end_column;
} cql__place;

/* Deepest nesting of expressions or types that a library may have. */
#define CQL__MAX_NESTING 1000

/* ---- types ---- */

typedef enum cql__type_kind {
    CQL__TYPE_ANY,
    CQL__TYPE_SYSTEM,   /* system */
    CQL__TYPE_FHIR,     /* fhir */
    CQL__TYPE_LIST,     /* parts[0] */
    CQL__TYPE_INTERVAL, /* parts[0] */
    CQL__TYPE_TUPLE,    /* names, parts */
    CQL__TYPE_CHOICE    /* parts */
} cql__type_kind;

typedef struct cql__type cql__type;
struct cql__type {
    uint8_t kind;
    uint8_t system; /* cql_kind */
    uint16_t fhir;  /* number in the model tables */
    uint32_t count;
    const og_str *names;
    const cql__type *const *parts;
};

/* The type that a qualified name means ("{urn:hl7-org:elm-types:r1}Integer",
 * "{http://hl7.org/fhir}Observation"), false when there is none. */
bool cql__type_named(og_str name, cql__type *ret);
/* True when v is of type t; null is of no type. Elements of lists may be null. */
bool cql__type_has(const cql__type *t, cql_value v);
bool cql__type_equal(const cql__type *a, const cql__type *b);
/* True when every value of type given is one of type wanted (subtypes, choices, Any). */
bool cql__type_accepts(const cql__type *wanted, const cql__type *given);
/* "System.Integer", "List<FHIR.Observation>" appended to out. */
void cql__type_format(og_buf *out, const cql__type *t);

/* ---- nodes ---- */

typedef enum cql__kind {
    CQL__CONSTANT, /* value */
    CQL__OP,       /* op over args */
    CQL__AND,
    CQL__OR,
    CQL__IMPLIES,
    CQL__COALESCE,
    CQL__NOT,
    CQL__IS_NULL,
    CQL__CLOCK,    /* Today(), or with flag Now(): the same all through a run */
    CQL__BY_CLOCK, /* op over args, of which Now() is one: it is known when that comes out otherwise
                    */
    CQL__IF,       /* condition, then, else */
    CQL__CASE,     /* when, then, ..., else; flag: args[0] is the comparand */
    CQL__IS,       /* type */
    CQL__AS,       /* type; flag: strict */
    CQL__INTERVAL, /* low, high, low closed, high closed (the last two may be NULL) */
    CQL__LIST_OF,  /* args */
    CQL__TUPLE_OF, /* names, args */
    CQL__INSTANCE, /* type, class_name, names, args */
    CQL__SLOT,     /* slot: alias, let, operand, $this, $index, $total */
    CQL__NAME,     /* IdentifierRef before linking */
    CQL__LOOPVAR,  /* Current, Iteration, Total (slot 0, 1, 2) before linking */
    CQL__PROPERTY, /* path over args[0], or over slot when there is no argument */
    CQL__DEFINE,   /* define; flag: Patient context seen from Unfiltered, makes a list */
    CQL__CALL,     /* call over args */
    CQL__PARAMETER, /* define */
    CQL__SETREF,   /* ValueSetRef or CodeSystemRef before linking: CONSTANT after it; flag: preserve
                    */
    CQL__CODEREF,  /* CodeRef, ConceptRef before linking: CONSTANT after it */
    CQL__EXPAND,   /* the codes of the value set args[0] */
    CQL__QUERY,    /* query */
    CQL__RETRIEVE, /* retrieve */
    CQL__FOREACH,  /* source, element */
    CQL__FILTER,   /* source, condition */
    CQL__REPEAT,   /* source, element */
    CQL__FOLD,     /* Aggregate: source, iteration, initial value */
    CQL__SORT,     /* sort over args[0] */
    CQL__EACH,     /* path of every item of args[0] (an aggregate's `path`) */
    CQL__MESSAGE,  /* source, condition, code, severity, message; any may be NULL */
    CQL__CHILDREN, /* flag: descendents */
    CQL__SUBSUMES  /* flag: SubsumedBy */
} cql__kind;

typedef struct cql__node cql__node;
typedef struct cql__query cql__query;
typedef struct cql__retrieve cql__retrieve;
typedef struct cql__sort cql__sort;

/* A name that paths use, once per set, with what it means for each type. */
typedef struct cql__member {
    og_str name;
    const uint16_t *elements; /* by type: number of the model's element, 0 none; set by linking */
} cql__member;

typedef struct cql__step { /* of a path: name, then index when it is not negative */
    og_str name;
    const cql__member *member;
    int32_t index;
    bool is_value; /* name is `value` */
} cql__step;

/* The function that a call means. When one remains, it is called; when several do (no signature and
 * operand types unknown), the first whose operand types the values have. */
typedef struct cql__call {
    og_str name, library;
    const cql__type *const *signature; /* argc types, or NULL */
    const cql_define *const *targets;
    uint32_t count;
} cql__call;

struct cql__node {
    uint8_t kind;      /* cql__kind */
    uint8_t precision; /* og_precision, 0 when the node has none */
    bool weeks;        /* precision was Week */
    bool flag;
    bool may_fail; /* evaluating it can raise a run-time error (limits apart) */
    bool fails;    /* of an operator or a cast: not only what it is made of, it itself can */
    uint32_t slot;
    uint32_t argc;
    cql__place place;
    const cql__node **args;
    const cql__type *type;   /* As, Is, Instance: what the node names */
    const cql__type *result; /* static type where the ELM tells it, or NULL */
    union {
        cql_value value;
        cql_op op;
        struct {
            og_str name, library;
            const cql_define *define;
        } ref;
        struct {
            const cql__step *steps; /* its own */
            uint32_t count, all_count;
            uint32_t number; /* of the path in the set */
            union {
                og_str scope; /* before linking */
                struct {
                    const cql__step *all;  /* with those of the properties that it is taken from */
                    const cql__node *base; /* what the innermost is taken from, NULL: slot */
                };
            };
        } path;
        struct {
            og_str class_name;
            const og_str *names;
        } tuple;
        struct {
            og_str scope;
            uint32_t index_slot, total_slot;
        } loop;
        cql__call *call;
        cql__query *query;
        cql__retrieve *retrieve;
        cql__sort *sort;
    };
};

typedef struct cql__binding { /* source, let or relationship of a query */
    og_str name;
    uint32_t slot;
    bool without;
    bool constant; /* relationship: its expression is the same for every row */
    const cql__node *expression;
    const cql__node *such_that;
} cql__binding;

typedef struct cql__sort_key {
    bool descending;
    const cql__node *expression; /* NULL: the item itself */
} cql__sort_key;

struct cql__sort {
    uint32_t slot; /* of the item while its keys are worked out */
    uint32_t count;
    cql__sort_key *keys;
};

struct cql__query {
    cql__binding *sources, *lets, *relations;
    uint32_t source_count, let_count, relation_count;
    const cql__node *where;
    const cql__node *ret; /* NULL: the source, or a tuple of the sources */
    bool distinct;
    bool has_aggregate, aggregate_distinct;
    og_str aggregate_name;
    uint32_t aggregate_slot;
    const cql__node *starting, *aggregate;
    cql__sort *sort;
};

typedef struct cql__filter { /* codeFilter, dateFilter, otherFilter */
    enum { CQL__FILTER_CODE, CQL__FILTER_DATE, CQL__FILTER_OTHER } kind;
    const cql__step *path, *low_path, *high_path; /* path, or low and high */
    uint32_t path_count, low_count, high_count;
    og_str path_text;
    uint32_t codings; /* number of this type and path in the set, for code filters */
    og_str comparator;
    const cql__node *value;
} cql__filter;

struct cql__retrieve {
    uint16_t type;   /* FHIR model number */
    uint32_t number; /* in the set; equal ones that depend on nothing but the patient have one */
    uint32_t index;  /* of those: where their common result is kept */
    bool constant;   /* depends on nothing but the patient: its result is kept for the run */
    og_str
        profile; /* that resources must declare where the request says so; empty: the type itself */
    const cql__node *id;
    cql__filter *filters;
    uint32_t filter_count;
};

/* ---- libraries ---- */

typedef enum cql__define_kind {
    CQL__EXPRESSION_DEF,
    CQL__FUNCTION_DEF,
    CQL__PARAMETER_DEF
} cql__define_kind;

struct cql_define {
    uint8_t kind;  /* cql__define_kind */
    uint8_t bound; /* 0 not yet, 1 on the way, 2 done */
    bool is_private, unfiltered, external, fluent;
    cql_library *library;
    og_str name, context;
    cql__place place;
    const cql__node *body; /* NULL: external function, parameter without default */
    cql_op native;  /* carries the function out for FHIR elements in place of the body, or NULL */
    uint32_t slots; /* values that one activation needs */
    uint32_t index; /* in the run's memory; expressions and parameters only */
    uint32_t mark;  /* scratch of require.c */
    uint32_t memo;  /* function of one resource: its number in the set + 1 (memo.c); 0: none */
    const og_str *operand_names;
    const cql__type *const *operand_types;
    uint32_t operand_count;
    const cql__type *result; /* declared type of a parameter or of a function's result, or NULL */
    cql_define *overload;    /* next function of this name in the library */
    const cql_requirement *requirements;
    size_t requirement_count;
};

typedef struct cql__include {
    og_str alias, path, version;
    cql_library *library;
} cql__include;

typedef struct cql__term { /* codesystem, valueset, code, concept definition */
    og_str name, id, version, display;
    bool is_private;
    const struct cql__termref {
        og_str name, library;
    } * parts; /* code: its code system; concept: its codes */
    uint32_t part_count;
    uint8_t state;             /* 0 not resolved, 1 on the way, 2 done */
    cql_value value;           /* after linking */
    const cql_list *expansion; /* value set: its codes, where a library wants them as a list */
} cql__term;

struct cql_library {
    cql_set *set;
    const char *origin; /* file name for messages */
    og_str name, system, version;
    og_table includes;                                /* alias -> cql__include */
    og_table expressions;                             /* name -> cql_define */
    og_table functions;                               /* name -> first cql_define of that name */
    og_table parameters;                              /* name -> cql_define */
    og_table codesystems, valuesets, codes, concepts; /* name -> cql__term */
    const cql_define **defines;                       /* expressions in source order */
    size_t define_count;
    const cql_define **parameter_list;
    size_t parameter_count;
    const cql_define **all; /* expressions, functions and parameters in the order of the file */
    size_t all_count;
    const cql_requirement *requirements;
    size_t requirement_count;
};

struct cql_set {
    og_arena *arena;
    og_table nodes;     /* ELM node name -> how tree.c reads it */
    og_table strings;   /* interned text */
    og_table retrieves; /* what distinguishes a constant retrieve -> itself */
    og_table members;   /* name -> cql__member */
    og_table codings;   /* type and path of a code filter -> number + 1 */
    cql_library **libraries;
    size_t count, cap;
    uint32_t define_count; /* memory cells of a run */
    uint32_t memo_count;   /* functions whose answers are remembered */
    uint32_t retrieve_count;
    uint32_t path_count;
    uint16_t codeable_concept, coding, period; /* model numbers of types that eval needs */
    const fhir_terminology *terms;
    bool allow_missing;
    bool linked;
    unsigned errors;
};

/* ---- operators ---- */

typedef struct cql__operator {
    const char *name;
    uint32_t min, max;
    cql_op fn;
} cql__operator;
/* All of operators.def and operators_list.def. */
const cql__operator *cql__operators(size_t *ret_count);
/* True when an operator can raise a run-time error. */
bool cql__operator_may_fail(const char *name);

/* ---- reading (tree.c), used by library.c ---- */

typedef struct cql__path { /* JSON path to the element at hand; a chain on the C stack */
    const struct cql__path *up;
    const char *name;
    int32_t index; /* -1: none */
} cql__path;

typedef struct cql__reader {
    cql_set *set;
    cql_library *library;
    og_arena *arena;   /* the set's */
    og_arena *scratch; /* the document's */
    const char *origin;
    og_report *report;
    og_status status; /* the first error's */
    unsigned errors;
    uint32_t depth;
} cql__reader;

/* Records an error at e; never fails. */
void cql__read_fail(cql__reader *r, fhir_elem e, const cql__path *at, og_status status,
                    const char *fmt, ...) OG_PRINTF(5, 6);
/* The text of a string member, copied into the set once per content; empty when it is absent. A
 * member that is no string is an error. */
og_str cql__read_string(cql__reader *r, fhir_elem object, const char *name, const cql__path *at);
bool cql__read_bool(cql__reader *r, fhir_elem object, const char *name, bool otherwise,
                    const cql__path *at);
cql__place cql__read_place(cql__reader *r, fhir_elem object);
og_str cql__intern(cql_set *set, og_str s);
/* A step of this name without an index; false when memory is out. */
bool cql__make_step(cql_set *set, og_str name, cql__step *ret);
/* Fills set->nodes with every node type of ELM; false when memory is out. */
bool cql__register_nodes(cql_set *set);
/* The unit of a quantity: a calendar word becomes its singular, none becomes "1". */
void cql__quantity_unit(cql_quantity *q, og_str unit);
/* An expression; NULL after an error that was recorded. */
cql__node *cql__read_node(cql__reader *r, fhir_elem e, const cql__path *at);
/* The expression at object.name, NULL when it is absent (an error when it is required). */
cql__node *cql__read_member(cql__reader *r, fhir_elem object, const char *name, bool required,
                            const cql__path *at);
/* The native function that does what this body of the library's function does, or NULL (known.c).
 */
cql_op cql__known_native(const cql_library *lib, og_str name, fhir_elem body);
/* A type specifier (type.c); NULL after an error that was recorded. */
const cql__type *cql__read_type(cql__reader *r, fhir_elem e, const cql__path *at);
/* The type at object.base ("resultType": a name) or object.baseSpecifier; NULL when there is none.
 */
const cql__type *cql__read_type_member(cql__reader *r, fhir_elem object, const char *name,
                                       const char *specifier, const cql__path *at);

/* ---- linking (bind.c, require.c) ---- */

/* True for a function whose answers a run remembers: of one resource (memo.c). */
bool cql__memo_serves(const cql_define *d);

cql_library *cql__find_library(const cql_set *set, og_str path, og_str version);
/* Works out the data requirements of every define; after all libraries are bound. */
bool cql__require_all(cql_set *set);

#endif
