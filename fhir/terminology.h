/* ValueSets (explicit codes or an expansion) and ConceptMaps, looked up by system and code.
 * Known aliases of a system (OID and URL forms) are the same system; ICD codes match with and
 * without dot, and with and without the marks + * ! of ICD-10-GM and
 * its letter of certainty behind ("C79.5 G", A G V Z); a bare code never matches.
 * Immutable after loading, and then safe to share between threads. */
#ifndef OG_FHIR_TERMINOLOGY_H
#define OG_FHIR_TERMINOLOGY_H

#include "fhir/resource.h"

typedef struct fhir_terminology fhir_terminology;
typedef struct fhir_valueset fhir_valueset;

/* A code made ready to be compared and looked up: worth it for one that is asked for in many sets.
 * Borrows its texts. */
typedef struct fhir_code_key {
    og_str system, code; /* system in its canonical form */
    bool icd;
    uint32_t hash;
} fhir_code_key;

fhir_code_key fhir_code_key_of(og_str system, og_str code);
/* The same system and code, as fhir_system_canonical and fhir_code_equal see them. */
bool fhir_code_key_equal(const fhir_code_key *a, const fhir_code_key *b);

fhir_terminology *fhir_terminology_new(void); /* caller owns */
void fhir_terminology_free(fhir_terminology *t);
/* Adds a ValueSet, ConceptMap or CodeSystem resource; copies what it needs. All errors go to report
 * with path, line and column; a resource with errors is not added, and the first error's status is
 * returned. compose.include with concept lists, with valueSet references and with whole code
 * systems (resolved at link), exclude, and expansion.contains (nested, abstract codes skipped) are
 * read; an expansion that has codes takes precedence over compose. Filters and an expansion with
 * parts missing are errors. R4 valueset.html, conceptmap.html, codesystem.html. */
og_status fhir_terminology_add(fhir_terminology *t, fhir_elem resource, const char *origin,
                               og_report *report);
/* Resolves includes between value sets; to be called once after the last add. Errors: a value set
 * or code system that is not there, one that includes itself. */
og_status fhir_terminology_link(fhir_terminology *t, og_report *report);

/* By canonical url (`url` or `url|version`) or OID/urn form; NULL when unknown. Without a version
 * the highest one; with a version this one, or one that has none. */
const fhir_valueset *fhir_valueset_find(const fhir_terminology *t, og_str url, og_str version);
bool fhir_valueset_has(const fhir_valueset *vs, og_str system, og_str code);
bool fhir_valueset_has_key(const fhir_valueset *vs, const fhir_code_key *key);
og_str fhir_valueset_url(const fhir_valueset *vs);
size_t fhir_valueset_count(const fhir_valueset *vs);
/* Code i of the expansion, in file order. Borrowed. */
void fhir_valueset_code(const fhir_valueset *vs, size_t i, og_str *ret_system, og_str *ret_code,
                        og_str *ret_display);

/* A CodeSystem resource that was added, by url or a known alias of it; NULL when unknown. */
typedef struct fhir_codesystem fhir_codesystem;
const fhir_codesystem *fhir_codesystem_find(const fhir_terminology *t, og_str url);
bool fhir_codesystem_has(const fhir_codesystem *cs, og_str code);
/* True when it has all its codes (content `complete`): only then does a missing code say something.
 */
bool fhir_codesystem_complete(const fhir_codesystem *cs);

typedef enum fhir_subsumption {
    FHIR_SUBSUMES,        /* the same code, or it is a kind of the wider one */
    FHIR_SUBSUMES_NOT,    /* the system has all its codes, and no way leads up */
    FHIR_SUBSUMES_UNKNOWN /* a code is not there, or the hierarchy is not there or not is-a */
} fhir_subsumption;
/* Is narrower a kind of wider? By nested concepts and the properties parent and child, when the
 * system's hierarchyMeaning is is-a (R4 codesystem.html, $subsumes). */
fhir_subsumption fhir_codesystem_subsumes(const fhir_codesystem *cs, og_str wider, og_str narrower);

/* The canonical form of a system URI: OID and known alias forms become the URL. */
og_str fhir_system_canonical(og_str system);
/* Same code in this system: byte equality, ICD systems without regard to the dot. */
bool fhir_code_equal(og_str system, og_str a, og_str b);

/* Does any map say something about codes of this system? */
bool fhir_translates(const fhir_terminology *t, og_str system);
/* ConceptMap translation of system|code: the first target that is equal or equivalent, else the
 * first that is wider (subsumes), else the first that is narrower (specializes); false when there
 * is none. Any map that was added may answer, the earlier added first. */
bool fhir_translate(const fhir_terminology *t, og_str system, og_str code, og_str *ret_system,
                    og_str *ret_code);
/* Every code that some map translates, with what becomes of it. code empty: all of this system that
 * no map lists; to_code is then empty too when they stay as they are. */
typedef void fhir_translation_fn(void *ctx, og_str system, og_str code, og_str to_system,
                                 og_str to_code);
void fhir_each_translation(const fhir_terminology *t, fhir_translation_fn *fn, void *ctx);

#endif
