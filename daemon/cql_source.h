/* CQL libraries as people read them: the statements of a file with their comments, and which of
 * them a statement mentions. For documents; what runs is the ELM. */
#ifndef OG_DAEMON_CQL_SOURCE_H
#define OG_DAEMON_CQL_SOURCE_H

#include "fhir/base/arena.h"

typedef enum source_kind {
    SOURCE_DEFINE,
    SOURCE_FUNCTION,
    SOURCE_PARAMETER,
    SOURCE_VALUESET
} source_kind;

typedef struct source_library source_library;

typedef struct source_item {
    const source_library *library;
    source_kind kind;
    og_str name;
    og_str
        comment;  /* above it, without its marks; of parameters also the one that a group shares */
    og_str text;  /* the statement as it is written */
    og_str value; /* PARAMETER: its default; VALUESET: its url */
    og_str note;  /* PARAMETER: what stands behind the default as a comment */
    bool seen;    /* for whoever walks over items */
} source_item;

struct source_library {
    og_str name, comment; /* comment: above the library statement */
    og_str text;
    source_item *items; /* in the order of the file */
    size_t count;
};

typedef struct source_set {
    og_arena *arena;
    source_library *libraries; /* in the order of adding */
    size_t count, cap;
} source_set;

/* Statements begin at the first column, as the house writes them. The texts borrow from `text`.
 * False: no memory, or text has no library statement (*ret_bad is then true). */
bool source_add(source_set *s, og_str text, bool *ret_bad);

/* NULL: none. The name may be quoted. */
source_item *source_find(const source_set *s, og_str library, og_str name);

/* Calls fn for everything of the set that the item mentions, in order, each as often as it does. */
void source_each_mention(const source_set *s, const source_item *item,
                         void (*fn)(void *ctx, source_item *mentioned), void *ctx);

#endif
