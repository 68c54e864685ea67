/* The conformance run: public test data, measured. Shared by its few files. */
#ifndef OG_TESTS_CONFORMANCE_H
#define OG_TESTS_CONFORMANCE_H

#include "rules/cql/cql.h"

/* A test that does not give its expected value, and why that is known: `disputed` when the
 * specification decides against the expectation, `open` when the engine is not there yet. */
typedef struct known_case {
    char id[64];
    bool disputed, seen;
    const char *file;
    unsigned line;
} known_case;

typedef struct tally {
    unsigned passed, failed, disputed, open, skipped;
    unsigned wrong; /* failures that are not listed, listed tests that pass */
} tally;

typedef struct context {
    known_case *known;
    size_t known_count;
    const char *only; /* id or part of a name, or NULL */
    bool list;        /* print every test that does not pass */
    fhir_elem trees;  /* trees.json: test id -> ELM by our hand */
    tally total;
} context;

/* A whole file; false (with a message) when it cannot be read. Terminated, caller frees. */
bool read_whole(const char *path, char **ret, size_t *ret_size);

/* Counts one test. got says what came out, for the list. */
void settle(context *c, tally *t, const char *id, const char *name, bool pass, const char *wanted,
            const char *got);
void print_tally(const char *name, const tally *t);
void add_tally(tally *to, const tally *from);

/* The tagged JSON of an expected value as a CQL value; false when the form is unknown. */
bool expected_value(og_arena *a, fhir_elem e, cql_value *ret);
/* Same type and same value in the sense of the suite: numbers within 10^-8, open and closed forms
 * of an interval, a DateTime without offset has the evaluation's (UTC). */
bool same_value(og_arena *a, cql_value wanted, cql_value got);

/* The public suite: one library for each test. */
void run_suite(context *c, const char *folder);
/* statin-use (every expression of five patients) and the eCQM cases (population counts). */
void run_statin(context *c, const char *folder);
void run_ecqm(context *c, const char *folder);

#endif
