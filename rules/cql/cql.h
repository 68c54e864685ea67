/* The CQL engine: ELM libraries in, values out. CQL 1.5 / ELM. No files, clocks, logs or network:
 * bytes, time, data and terminology come in as parameters.
 *
 * A cql_set is compiled knowledge: libraries added, then linked once, then immutable and shared by
 * any number of evaluations (threads too). A cql_run is one evaluation of one patient in an arena.
 */
#ifndef OG_CQL_CQL_H
#define OG_CQL_CQL_H

#include "fhir/terminology.h"
#include "rules/cql/value.h"

typedef struct cql_set cql_set;
typedef struct cql_library cql_library;
typedef struct cql_define cql_define;
typedef struct cql_run cql_run;

cql_set *cql_set_new(void);      /* caller owns */
void cql_set_free(cql_set *set); /* accepts NULL */
/* Adds one library: ELM JSON ({"library":{...}}) or a FHIR Library resource with
 * application/elm+json content. origin is the file's name for messages. All errors go to report
 * with JSON path; returns the first status. The text is copied where needed. */
og_status cql_set_add(cql_set *set, og_str text, const char *origin, og_report *report);
/* Resolves includes, references, functions, overloads, value sets, FHIR types. terms is borrowed
 * for the set's life; may be NULL when no library uses a value set. */
og_status cql_set_link(cql_set *set, const fhir_terminology *terms, og_report *report);
/* A value set that terms does not have is an error when linking. When missing ones are allowed (to
 * be called before linking), it is an error of the expressions that ask for it. */
void cql_set_allow_missing_valuesets(cql_set *set, bool allow);

/* By name (`Name` or namespace-qualified) and version (empty: the only or highest one). NULL when
 * absent. */
const cql_library *cql_set_find(const cql_set *set, og_str name, og_str version);
size_t cql_set_count(const cql_set *set);
const cql_library *cql_set_at(const cql_set *set, size_t i);
og_str cql_library_name(const cql_library *lib);
og_str cql_library_version(const cql_library *lib);
size_t cql_library_define_count(const cql_library *lib);
const cql_define *cql_library_define_at(const cql_library *lib,
                                        size_t i); /* source order, no functions */
const cql_define *cql_library_define(const cql_library *lib, og_str name);
/* What a library includes: path (its name, perhaps behind a namespace) and version (may be empty).
 */
size_t cql_library_include_count(const cql_library *lib);
void cql_library_include_at(const cql_library *lib, size_t i, og_str *ret_path,
                            og_str *ret_version);
og_str cql_define_name(const cql_define *d);
const cql_library *cql_define_library(const cql_define *d);
/* A parameter of a library: its name, and default as literal text through cql_run. */
size_t cql_library_parameter_count(const cql_library *lib);
og_str cql_library_parameter_at(const cql_library *lib, size_t i);

/* Data requirements of a define (or of a whole library when d is NULL), from the trees
 * (DESIGN 5.4). */
typedef struct cql_requirement {
    og_str type;                   /* FHIR resource type */
    og_str code_path;              /* element of the code filter, empty when none */
    const fhir_valueset *valueset; /* code filter by value set, or NULL */
    og_str valueset_url; /* what the library calls it, also when the terminology has no such set */
    const cql_code *codes; /* code filter by direct codes */
    size_t code_count;
    uint32_t number; /* of the retrieve, cql_set_retrieve_count */
} cql_requirement;
size_t cql_requirements(const cql_library *lib, const cql_define *d, const cql_requirement **ret);
/* How many different retrieves the libraries have; sets of them have a bit for each, number i at
 * bit i % 64 of word i / 64. After linking. */
size_t cql_set_retrieve_count(const cql_set *set);
/* Words of such a set: there is at least one bit behind the last retrieve, for the caller's use. */
static inline size_t cql_set_read_words(const cql_set *set)
{
    return cql_set_retrieve_count(set) / 64 + 1;
}
/* The elements of a resource type that d (or, when it is NULL, any define of lib) can read, by
 * their names in the type ("code", "effective"), in byte order and in arena a, as
 * DataRequirement.mustSupport wants them. 0: everything may be read, for whole resources are a
 * result or go where the trees do not say what is read of them; also when nothing but their being
 * there counts, and when memory is out. */
size_t cql_elements_read(og_arena *a, const cql_library *lib, const cql_define *d, og_str type,
                         const og_str **ret);

typedef struct cql_limits {
    uint32_t max_depth; /* of calls and nested expressions; 0: default 1500 */
    uint32_t max_list;  /* elements that expand, flatten, products and friends may make; 0: default
                           100000 */
    uint64_t max_steps; /* nodes evaluated per run; 0: default 10 million */
    uint32_t match_limit; /* PCRE2; 0: default 100000 */
} cql_limits;

typedef struct cql_parameter {
    og_str library, name; /* library empty: every library that declares it */
    cql_value value;
} cql_parameter;

typedef struct cql_request {
    const fhir_resource *resources; /* the patient's view: the Patient, its records, shared
                                       resources they refer to */
    size_t resource_count;
    int64_t as_of_ms; /* evaluation time, ms since 1970-01-01T00:00Z */
    int offset_min;   /* of the site's time zone at as_of */
    const cql_parameter *parameters;
    size_t parameter_count;
    cql_limits limits;
    bool sourceless; /* nobody will ask for sources (cql_run_sources finds none): they are not noted
                      */
    bool by_profile; /* a retrieve that names a profile (ELM templateId) takes only resources that
                        declare it in meta.profile; else the type decides, for most data declare
                        none */
} cql_request;

/* Begins an evaluation in arena a; request and its data are borrowed until the arena is reset.
 * NULL: memory. */
cql_run *cql_run_begin(og_arena *a, const cql_set *set, const cql_request *request);
/* Value of a define (memoised within the run). OG_EVAL with library, define and CQL place in err.
 */
OG_MUSTCHECK og_status cql_run_define(cql_run *run, const cql_define *d, cql_value *ret,
                                      og_error *err);
/* From now on the retrieves whose answer a definition rests on are put into `to` when it is asked
 * for, also when it has been remembered: it comes out the same for as long as no resource comes,
 * changes or goes that one of them can find, and the clock is no reason (cql_run_changes_ms). The
 * caller clears the set, which has cql_set_read_words; it has to last as long as the run, or until
 * the next call. */
void cql_run_note_reads(cql_run *run, uint64_t *to);
/* Parses a CQL literal (a configured parameter: 28, 35.5, 28 days, 'x', @2012-01-01, true) into
 * arena a. */
OG_MUSTCHECK og_status cql_literal(og_arena *a, og_str text, cql_value *ret, og_error *err);
/* The resources that the value of d rests on, without duplicates, in order of first use; needs an
 * earlier cql_run_define of d. */
size_t cql_run_sources(cql_run *run, const cql_define *d, const fhir_resource *const **ret);
/* Why a define has its value, as one JSON object appended to out:
 *   {"name","library","place":"12:1-14:9","value" or "error","sources":["Observation/1"],
 *    "parts":[{"place":"12:5-12:30","name","library","row":true,"times","value"}]}
 * parts are the sub-expressions, constants apart, with their places in the CQL source (as far as
 * the ELM has locators) in source order; name of a definition or parameter (with its library) or a
 * function; of a function `uses`, the definitions ({"name","library"}) that it looks at beside its
 * operands; `row` when one belongs to the elements of a query or loop; `times` when it was
 * evaluated for several, value is then the last. Values are literal text, resources their
 * references, cut after 300 bytes. They are patient data. */
OG_MUSTCHECK og_status cql_explain(cql_run *run, const cql_define *d, og_buf *out, og_error *err);
/* Steps taken so far. */
uint64_t cql_run_steps(const cql_run *run);
/* The first as-of time after the run's at which something evaluated so far can have another value,
 * of the same resources, on the same day and with the same offset: what Now() was compared with.
 * INT64_MAX: there is none; INT64_MIN: the time of day was used in a way that says nothing of it.
 */
int64_t cql_run_changes_ms(const cql_run *run);

#endif
