/* The FHIR JSON reader: one pass over the bytes into a flat tape.
 *
 * A document is the text as it came plus an array of 8-byte nodes that point into it. Nothing is
 * copied: number lexemes keep their digits (FHIR R4 2.6.2: 1.00 is not 1.0), strings are unescaped
 * only when asked for. What is checked on the way: RFC 8259 grammar, UTF-8 (RFC 3629), escapes and
 * surrogate pairs, duplicate keys (FHIR R4 json.html), nesting depth, size. A byte order mark at
 * the start is refused.
 *
 * Nodes stand in document order. An object is OBJECT, then for each member KEY (or KEY_ESCAPED) and
 * the value's nodes; an array is ARRAY and its elements' nodes. A container's node knows the index
 * of the node behind its last descendant, so that a subtree is skipped in one step. */
#ifndef OG_FHIR_DECODE_H
#define OG_FHIR_DECODE_H

#include "fhir/base/arena.h"

typedef enum fhir_kind {
    FHIR_NONE = 0, /* absent */
    FHIR_OBJECT,
    FHIR_ARRAY,
    FHIR_KEY,
    FHIR_STRING,         /* no escapes: the slice is the value */
    FHIR_STRING_ESCAPED, /* has escapes */
    FHIR_NUMBER,
    FHIR_TRUE,
    FHIR_FALSE,
    FHIR_NULL,
    FHIR_KEY_ESCAPED /* on the tape only: a KEY whose name has escapes */
} fhir_kind;

typedef struct fhir_node {
    uint32_t
        pos; /* byte position: of the brace, of the first byte inside the quotes, of the lexeme */
    uint32_t
        info; /* kind in the low 4 bits; above: length in bytes, or for containers the end index */
} fhir_node;

typedef struct fhir_doc {
    const char *text;
    uint32_t size;
    uint32_t count;
    const fhir_node *nodes;
} fhir_doc;

typedef struct fhir_limits {
    uint32_t max_bytes; /* of one document; at most 256 MiB - 1 */
    uint32_t max_depth;
} fhir_limits;
#define FHIR_LIMITS_DEFAULT ((fhir_limits){.max_bytes = 64u << 20, .max_depth = 128})

/* Reads text. The document borrows text and lives in a. On failure *ret is untouched and err says
 * why, with the byte position (err->byte). lim NULL means the default. OG_SYNTAX for anything that
 * RFC 8259 or UTF-8 forbids, OG_INVALID for a duplicate key, OG_LIMIT for size and depth, OG_NOMEM.
 * Takes 8 bytes of the arena per node (about as much as the text), while it grows up to twice that,
 * and 32 bytes per key of the largest object that has more than 32. */
OG_MUSTCHECK og_status fhir_decode(og_arena *a, og_str text, const fhir_limits *lim, fhir_doc *ret,
                                   og_error *err);

/* A place in a document. {NULL,0} is "absent"; every function below accepts it and answers
 * "absent". */
typedef struct fhir_elem {
    const fhir_doc *doc;
    uint32_t at;
} fhir_elem;

#define FHIR_ABSENT ((fhir_elem){NULL, 0})

fhir_elem fhir_root(const fhir_doc *doc);
fhir_kind
fhir_kind_of(fhir_elem e); /* FHIR_STRING for both kinds of string; FHIR_NONE when absent */
static inline bool fhir_exists(fhir_elem e)
{
    return e.doc != NULL;
}
/* The member called name of an object, or absent. Names are compared unescaped. */
fhir_elem fhir_get(fhir_elem object, const char *name);
fhir_elem fhir_get_str(fhir_elem object, og_str name);
/* The same, and in *ret_sibling the member called _name, which holds what a primitive has beside
 * its value (R4 json.html); either may be absent. */
fhir_elem fhir_get_primitive(fhir_elem object, og_str name, fhir_elem *ret_sibling);
/* The next member of object behind behind_child (from the first one when that is absent) whose
 * name, perhaps behind an underscore, begins with name and is longer: where a choice element may
 * be. Names are looked at as they stand; *ret_escaped becomes true when one on the way has escapes.
 */
fhir_elem fhir_get_longer(fhir_elem object, og_str name, fhir_elem behind_child, bool *ret_escaped);
/* The next array in e, at any depth, that is a member called name, behind one that was found before
 * and all that is in it (from the beginning when that is absent). Names are compared as they stand.
 */
fhir_elem fhir_find_array(fhir_elem e, og_str name, fhir_elem behind_found);
/* fhir_get along names separated by '.'; an array on the way means its first element. */
fhir_elem fhir_path(fhir_elem object, const char *path);

/* Iteration: for (fhir_elem c = fhir_first(e); fhir_exists(c); c = fhir_next(e, c)). For objects c
 * is the member's value; fhir_key_of(c) its name. e must be the container that c came from. */
fhir_elem fhir_first(fhir_elem container);
fhir_elem fhir_next(fhir_elem container, fhir_elem child);
og_str fhir_key_of(fhir_elem member_value); /* as it stands in the text: still escaped */
/* FHIR lets a repeating element be used through its list only, but callers often want "each of it":
 * same loop over an array's elements, or over the single value itself when e is not an array. */
fhir_elem fhir_each_first(fhir_elem e);
fhir_elem fhir_each_next(fhir_elem e, fhir_elem child);
uint32_t fhir_length(fhir_elem array);

/* The value's bytes as they stand in the text: a string without quotes and still escaped, a
 * number's lexeme, an object with its braces. Borrowed from the text. */
og_str fhir_raw(fhir_elem e);
/* A string's value: borrowed when it has no escapes, else unescaped into a. {NULL,0} when e is no
 * string. */
og_str fhir_string(og_arena *a, fhir_elem e);
/* True when e is a string and equal to c (escapes resolved, no allocation). */
bool fhir_is(fhir_elem e, const char *c);
bool fhir_is_str(fhir_elem e, og_str s);
/* True when e is a number written as a whole one (no fraction, no exponent) from min to max. */
bool fhir_int(fhir_elem e, int64_t min, int64_t max, int64_t *ret);

/* The position-independent image of a document that the store keeps: header, nodes (packed: a
 * quarter of what they are on the tape), text. */
size_t fhir_image_size(const fhir_doc *doc);
void fhir_image_write(const fhir_doc *doc, void *dst);
/* Reads an image: the text is borrowed from it, the nodes live in a (an image may be
 * unaligned). OG_CORRUPT when the header does not fit the size or a node points outside. */
OG_MUSTCHECK og_status fhir_image_read(og_arena *a, og_str image, fhir_doc *ret, og_error *err);

#endif
