/* Value sets and concept maps. Adding reads a resource into our own small structures and reports
 * all that is wrong with it; linking turns every value set into one flat list of codes with a hash
 * table over it. After that nothing changes, and membership is one hash of system and code. What a
 * system is called (its alias table) and which codes count as equal are decided here and nowhere
 * else. */
#include "fhir/terminology.h"

#include <stdarg.h>
#include <stdlib.h>

#include "fhir/base/decimal.h"
#include "fhir/base/table.h"

#define MAX_BYTES    ((size_t)2 << 30) /* of all terminology together */
#define MAX_DEPTH    64     /* of nested contains, concepts, and of includes of includes */
#define MAX_STEPS_UP 100000 /* of one look for a wider code */
#define FEW_SOURCES  8      /* systems that are looked through rather than looked up */

/* --- systems and codes --- */

typedef struct alias {
    og_str name, canonical;
} alias;

#define CAN(text)                                                                                  \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }
#define ALIAS(name, text)                                                                          \
    {                                                                                              \
        CAN(name), CAN(text)                                                                       \
    }
#define SCT     "http://snomed.info/sct"
#define LOINC   "http://loinc.org"
#define RXNORM  "http://www.nlm.nih.gov/research/umls/rxnorm"
#define ICD10GM "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
#define ICD10CM "http://hl7.org/fhir/sid/icd-10-cm"
#define ICD10   "http://hl7.org/fhir/sid/icd-10"
#define ICD9CM  "http://hl7.org/fhir/sid/icd-9-cm"
#define ATC     "http://www.whocc.no/atc"
#define ATC_DE  "http://fhir.de/CodeSystem/bfarm/atc"
#define OPS     "http://fhir.de/CodeSystem/bfarm/ops"
#define UCUM    "http://unitsofmeasure.org"

/* OIDs from the HL7 OID registry and the FHIR R4 list of external systems. The
 * German register gives ICD-10-GM an OID for each edition: those of 2006 (.311) and 2014 (.417)
 * stand on its page, .409 is used for ICD-10-GM at large. The dimdi URLs are those that the bfarm
 * ones replaced. */
static const alias aliases[] = {
    ALIAS("1.2.276.0.76.5.311", ICD10GM),
    ALIAS("1.2.276.0.76.5.409", ICD10GM),
    ALIAS("1.2.276.0.76.5.417", ICD10GM),
    ALIAS("2.16.840.1.113883.6.1", LOINC),
    ALIAS("2.16.840.1.113883.6.103", ICD9CM),
    ALIAS("2.16.840.1.113883.6.12", "http://www.ama-assn.org/go/cpt"),
    ALIAS("2.16.840.1.113883.6.3", ICD10),
    ALIAS("2.16.840.1.113883.6.69", "http://hl7.org/fhir/sid/ndc"),
    ALIAS("2.16.840.1.113883.6.73", ATC),
    ALIAS("2.16.840.1.113883.6.8", UCUM),
    ALIAS("2.16.840.1.113883.6.88", RXNORM),
    ALIAS("2.16.840.1.113883.6.90", ICD10CM),
    ALIAS("2.16.840.1.113883.6.96", SCT),
    ALIAS("fhir.de/CodeSystem/bfarm/atc", ATC_DE),
    ALIAS("fhir.de/CodeSystem/bfarm/icd-10-gm", ICD10GM),
    ALIAS("fhir.de/CodeSystem/bfarm/ops", OPS),
    ALIAS("fhir.de/CodeSystem/dimdi/atc", ATC_DE),
    ALIAS("fhir.de/CodeSystem/dimdi/icd-10-gm", ICD10GM),
    ALIAS("fhir.de/CodeSystem/dimdi/ops", OPS),
    ALIAS("hl7.org/fhir/sid/icd-10", ICD10),
    ALIAS("hl7.org/fhir/sid/icd-10-cm", ICD10CM),
    ALIAS("hl7.org/fhir/sid/icd-10-de", ICD10GM),
    ALIAS("hl7.org/fhir/sid/icd-10-gm", ICD10GM),
    ALIAS("hl7.org/fhir/sid/icd-9-cm", ICD9CM),
    ALIAS("hl7.org/fhir/sid/ndc", "http://hl7.org/fhir/sid/ndc"),
    ALIAS("loinc.org", LOINC),
    ALIAS("snomed.info/sct", SCT),
    ALIAS("unitsofmeasure.org", UCUM),
    ALIAS("www.ama-assn.org/go/cpt", "http://www.ama-assn.org/go/cpt"),
    ALIAS("www.nlm.nih.gov/research/umls/rxnorm", RXNORM),
    ALIAS("www.whocc.no/atc", ATC),
};

static og_str without_prefix(og_str s, og_str prefix)
{
    return og_str_starts(s, prefix) ? og_str_from(s, prefix.n) : s;
}

og_str fhir_system_canonical(og_str system)
{
    og_str bare = without_prefix(system, OG_STR("urn:oid:"));
    bare = without_prefix(bare, OG_STR("http://"));
    bare = without_prefix(bare, OG_STR("https://"));
    if (bare.n != 0 && bare.p[bare.n - 1] == '/')
        bare.n--;
    /* Lengths tell most of them apart, which is quicker than a search by order. */
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (og_str_eq(aliases[i].name, bare))
            return aliases[i].canonical;
    return system;
}

static bool has_alias(og_str canonical)
{
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (og_str_eq(aliases[i].canonical, canonical))
            return true;
    return false;
}

static bool is_icd(og_str canonical)
{
    return og_str_starts(canonical, OG_STR("http://hl7.org/fhir/sid/icd-")) ||
           og_str_is(canonical, ICD10GM);
}

/* A German letter of certainty behind an ICD code, "C79.5 G": no part of the code. */
static bool is_certainty(og_str code, size_t at)
{
    return at + 2 == code.n && code.p[at] == ' ' && strchr("AGVZ", code.p[at + 1]) != NULL;
}

/* The next byte of a code that counts, or -1 at the end; in ICD codes the dot, the marks and the
 * letter of certainty do not. */
static int code_next(og_str code, size_t *at, bool icd)
{
    while (*at < code.n && !(icd && is_certainty(code, *at))) {
        char ch = code.p[(*at)++];
        if (!icd || (ch != '.' && ch != '+' && ch != '*' && ch != '!'))
            return (unsigned char)ch;
    }
    return -1;
}

static bool code_equal(og_str a, og_str b, bool icd)
{
    if (!icd)
        return og_str_eq(a, b);
    size_t i = 0, j = 0;
    for (;;) {
        int x = code_next(a, &i, true), y = code_next(b, &j, true);
        if (x != y)
            return false;
        if (x < 0)
            return true;
    }
}

bool fhir_code_equal(og_str system, og_str a, og_str b)
{
    return code_equal(a, b, is_icd(fhir_system_canonical(system)));
}

typedef fhir_code_key key;

fhir_code_key fhir_code_key_of(og_str system, og_str code)
{
    key k = {.system = fhir_system_canonical(system), .code = code};
    k.icd = is_icd(k.system);
    uint64_t h = og_str_hash(k.system);
    size_t at = 0;
    for (int ch; (ch = code_next(code, &at, k.icd)) >= 0;)
        h = (h ^ (unsigned)ch) * 0x100000001b3u;
    k.hash = (uint32_t)(h ^ h >> 32);
    return k;
}

bool fhir_code_key_equal(const fhir_code_key *a, const fhir_code_key *b)
{
    return a->hash == b->hash && og_str_eq(a->system, b->system) &&
           code_equal(a->code, b->code, a->icd);
}

/* --- structures --- */

typedef struct code_row {
    og_str system, code, display;
    uint32_t hash;
} code_row;

/* A growing list of codes with an open-addressed table over it; no code stands twice in it. */
typedef struct code_set {
    code_row *rows;
    uint32_t count, cap;
    uint32_t *slots; /* row number + 1, 0 is free; twice cap of them */
} code_set;

typedef struct canonical {
    og_str url, version;
    char path[96]; /* where it stands, for messages */
} canonical;

/* One compose.include or compose.exclude: the codes that are in all of its parts. */
typedef struct component {
    bool exclude;
    bool has_codes; /* codes holds a concept list (or an expansion) */
    code_set codes;
    og_str system; /* a whole code system, when not has_codes */
    char path[64];
    canonical *value_sets;
    uint32_t value_set_count;
} component;

struct fhir_valueset {
    og_str url, version;
    const char *origin;
    component *components;
    uint32_t component_count;
    uint8_t state; /* 0 not linked, 1 on the way, 2 done, 3 failed */
    code_set codes;
    fhir_valueset *same_url; /* the one that was added before it */
    fhir_valueset *added_before;
};

typedef struct parent { /* one step up from a code; a code may have several */
    og_str code;
    struct parent *next;
} parent;

struct fhir_codesystem {
    og_str url;
    bool complete, is_a; /* its hierarchy says what is a kind of what */
    code_set codes;
    og_table parents; /* code -> parent */
};

typedef struct mapping {
    key from;
    og_str system, code;
    uint8_t rank; /* 0 equal or equivalent, 1 wider, 2 narrower */
} mapping;

/* group.unmapped: what becomes of the codes of a system that a map does not list. */
typedef struct unmapped {
    og_str source, target;
    og_str code; /* empty: the code itself */
    struct unmapped *next;
} unmapped;

struct fhir_terminology {
    og_arena *arena;
    og_table by_url;  /* url -> last fhir_valueset added with it */
    og_table by_oid;  /* OID without urn:oid: -> fhir_valueset */
    og_table systems; /* canonical url -> fhir_codesystem */
    fhir_valueset *last;
    mapping *mappings;
    uint32_t mapping_count, mapping_cap;
    uint32_t *slots;  /* mapping number + 1; twice mapping_cap of them */
    og_table sources; /* canonical url of a system that maps speak about -> anything */
    bool aliased;     /* one of them has other names */
    unmapped *unmapped, **unmapped_end;
};

fhir_terminology *fhir_terminology_new(void)
{
    fhir_terminology *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->arena = og_arena_new(MAX_BYTES);
    if (t->arena == NULL) {
        free(t);
        return NULL;
    }
    og_table_init(&t->by_url, t->arena);
    og_table_init(&t->by_oid, t->arena);
    og_table_init(&t->systems, t->arena);
    og_table_init(&t->sources, t->arena);
    t->unmapped_end = &t->unmapped;
    return t;
}

void fhir_terminology_free(fhir_terminology *t)
{
    if (t == NULL)
        return;
    og_arena_free(t->arena);
    free(t);
}

/* --- code sets --- */

static const code_row *set_find(const code_set *s, const key *k)
{
    if (s->cap == 0)
        return NULL;
    uint32_t mask = s->cap * 2 - 1;
    for (uint32_t i = k->hash & mask; s->slots[i] != 0; i = (i + 1) & mask) {
        const code_row *r = &s->rows[s->slots[i] - 1];
        if (r->hash == k->hash && og_str_eq(r->system, k->system) &&
            code_equal(r->code, k->code, k->icd))
            return r;
    }
    return NULL;
}

static void slot_put(uint32_t *slots, uint32_t mask, uint32_t hash, uint32_t number)
{
    uint32_t i = hash & mask;
    while (slots[i] != 0)
        i = (i + 1) & mask;
    slots[i] = number;
}

/* Doubles a list of rows and the table over it (cap stays a power of two). */
static bool set_grow(code_set *s, og_arena *a)
{
    uint32_t cap = s->cap != 0 ? s->cap * 2 : 8;
    code_row *rows = og_arena_grow(a, s->rows, s->cap * sizeof(*rows), cap * sizeof(*rows));
    uint32_t *slots = rows != NULL ? og_arena_zalloc(a, (size_t)cap * 2, sizeof(*slots)) : NULL;
    if (slots == NULL)
        return false;
    for (uint32_t i = 0; i < s->count; i++)
        slot_put(slots, cap * 2 - 1, rows[i].hash, i + 1);
    s->rows = rows;
    s->slots = slots;
    s->cap = cap;
    return true;
}

/* Adds a row unless its code is there already; the row's text must live as long as the set. */
static bool set_add_row(code_set *s, og_arena *a, const code_row *row)
{
    key k = {row->system, row->code, is_icd(row->system), row->hash};
    if (set_find(s, &k) != NULL)
        return true;
    if (s->count == s->cap && !set_grow(s, a))
        return false;
    s->rows[s->count++] = *row;
    slot_put(s->slots, s->cap * 2 - 1, row->hash, s->count);
    return true;
}

/* The copy of a system name that the arena keeps: canonical names of the alias table need none, and
 * the one of the row before is usually the same. */
static og_str keep_system(og_arena *a, og_str system, const code_set *s)
{
    og_str known = fhir_system_canonical(system);
    if (known.p != system.p)
        return known;
    if (s->count != 0 && og_str_eq(s->rows[s->count - 1].system, system))
        return s->rows[s->count - 1].system;
    return og_arena_str(a, system);
}

static bool set_add(code_set *s, og_arena *a, og_str system, og_str code, og_str display)
{
    key k = fhir_code_key_of(system, code);
    if (set_find(s, &k) != NULL)
        return true;
    code_row row = {keep_system(a, system, s), og_arena_str(a, code), og_arena_str(a, display),
                    k.hash};
    return !og_arena_failed(a) && set_add_row(s, a, &row);
}

/* --- reading: messages --- */

/* One resource while it is read. */
typedef struct reader {
    fhir_terminology *t;
    og_arena *a; /* of the terminology */
    const char *origin;
    og_report *report;
    og_status status; /* of the first error */
} reader;

static og_status complain(reader *r, fhir_elem at, const char *path, og_status status,
                          const char *fmt, ...) OG_PRINTF(5, 6);

static og_status complain(reader *r, fhir_elem at, const char *path, og_status status,
                          const char *fmt, ...)
{
    og_error err;
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    og_error_init(&err);
    (void)og_fail(&err, status, "%s", text);
    og_error_origin(&err, r->origin);
    og_error_path(&err, path);
    og_str raw = fhir_raw(at);
    if (raw.p != NULL) {
        uint32_t line, column;
        og_text_place((og_str){at.doc->text, at.doc->size}, (size_t)(raw.p - at.doc->text), &line,
                      &column);
        og_error_at(&err, line, column);
    }
    og_report_add(r->report, &err);
    if (r->status == OG_OK)
        r->status = status;
    return status;
}

static og_status no_memory(reader *r)
{
    return complain(r, FHIR_ABSENT, "", OG_NOMEM, "out of memory");
}

/* A string member, copied; empty when it is absent. A member of another kind is an error. */
static og_str member(reader *r, fhir_elem object, const char *name, const char *path)
{
    fhir_elem e = fhir_get(object, name);
    if (!fhir_exists(e))
        return (og_str){0};
    og_str s = fhir_string(r->a, e);
    if (s.p == NULL) {
        complain(r, e, path, OG_INVALID, "%s is not a string", name);
        return (og_str){0};
    }
    return og_arena_str(r->a, s); /* the document goes away */
}

/* A member that must be there. */
static og_str required(reader *r, fhir_elem object, const char *name, const char *path)
{
    if (!fhir_exists(fhir_get(object, name))) {
        complain(r, object, path, OG_INVALID, "%s is missing", name);
        return (og_str){0};
    }
    og_str s = member(r, object, name, path);
    if (s.p != NULL && s.n == 0)
        complain(r, object, path, OG_INVALID, "%s is empty", name);
    return s;
}

/* The array at name; anything else but absent is an error and answers absent. */
static fhir_elem array(reader *r, fhir_elem object, const char *name, const char *path)
{
    fhir_elem e = fhir_get(object, name);
    if (!fhir_exists(e) || fhir_kind_of(e) == FHIR_ARRAY)
        return e;
    complain(r, e, path, OG_INVALID, "%s is not an array", name);
    return FHIR_ABSENT;
}

static bool is_object(reader *r, fhir_elem e, const char *path)
{
    if (fhir_kind_of(e) == FHIR_OBJECT)
        return true;
    complain(r, e, path, OG_INVALID, "an object belongs here");
    return false;
}

/* --- reading: value sets --- */

static canonical canonical_of(og_str text)
{
    ptrdiff_t bar = og_str_find(text, '|');
    if (bar < 0)
        return (canonical){.url = text};
    return (canonical){.url = {text.p, (size_t)bar}, .version = og_str_from(text, (size_t)bar + 1)};
}

static void read_concepts(reader *r, component *c, fhir_elem include, og_str system)
{
    fhir_elem list = array(r, include, "concept", c->path);
    uint32_t i = 0;
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e), i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s.concept[%u]", c->path, i);
        if (!is_object(r, e, path))
            continue;
        og_str code = required(r, e, "code", path), display = member(r, e, "display", path);
        if (code.n != 0 && !set_add(&c->codes, r->a, system, code, display))
            no_memory(r);
    }
    c->has_codes = fhir_exists(list);
}

static void read_value_set_refs(reader *r, component *c, fhir_elem include)
{
    fhir_elem list = array(r, include, "valueSet", c->path);
    c->value_sets = og_arena_zalloc(r->a, fhir_length(list), sizeof(*c->value_sets));
    if (c->value_sets == NULL) {
        no_memory(r);
        return;
    }
    uint32_t i = 0;
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e), i++) {
        char path[96];
        snprintf(path, sizeof(path), "%s.valueSet[%u]", c->path, i);
        og_str text = og_arena_str(r->a, fhir_string(r->a, e));
        if (text.n == 0) {
            complain(r, e, path, OG_INVALID, "a canonical url belongs here");
            continue;
        }
        canonical *ref = &c->value_sets[c->value_set_count++];
        *ref = canonical_of(text);
        memcpy(ref->path, path, sizeof(path));
    }
}

static void read_component(reader *r, component *c, fhir_elem include)
{
    if (!is_object(r, include, c->path))
        return;
    og_str system = member(r, include, "system", c->path);
    if (system.n != 0)
        system = fhir_system_canonical(system);
    read_value_set_refs(r, c, include);
    if (fhir_exists(fhir_get(include, "filter")))
        complain(r, fhir_get(include, "filter"), c->path, OG_UNSUPPORTED,
                 "a filter cannot be worked out without its code system: give the value set an "
                 "expansion");
    if (system.n == 0) {
        if (fhir_exists(fhir_get(include, "concept")))
            complain(r, include, c->path, OG_INVALID, "concepts need a system");
        else if (c->value_set_count == 0)
            complain(r, include, c->path, OG_INVALID, "neither system nor valueSet");
        return;
    }
    c->system = system;
    read_concepts(r, c, include, system);
}

static uint32_t read_components(reader *r, fhir_valueset *vs, fhir_elem list, const char *name)
{
    uint32_t i = 0;
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e), i++) {
        component *c = &vs->components[vs->component_count++];
        c->exclude = name[0] == 'e';
        snprintf(c->path, sizeof(c->path), "ValueSet.compose.%s[%u]", name, i);
        read_component(r, c, e);
    }
    return i;
}

static void read_compose(reader *r, fhir_valueset *vs, fhir_elem compose)
{
    if (!is_object(r, compose, "ValueSet.compose"))
        return;
    fhir_elem include = array(r, compose, "include", "ValueSet.compose");
    fhir_elem exclude = array(r, compose, "exclude", "ValueSet.compose");
    size_t n = (size_t)fhir_length(include) + fhir_length(exclude);
    vs->components = og_arena_zalloc(r->a, n, sizeof(*vs->components));
    if (vs->components == NULL) {
        no_memory(r);
        return;
    }
    if (read_components(r, vs, include, "include") == 0)
        complain(r, compose, "ValueSet.compose", OG_INVALID, "nothing is included");
    read_components(r, vs, exclude, "exclude");
}

/* Codes of contains and of what it contains; *count counts every entry, as expansion.total does. */
static void read_contains(reader *r, component *c, fhir_elem list, uint32_t depth, uint64_t *count)
{
    if (depth > MAX_DEPTH) {
        complain(r, list, c->path, OG_LIMIT, "contains is nested too deeply");
        return;
    }
    uint32_t i = 0;
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e), i++) {
        char path[96];
        snprintf(path, sizeof(path), "%s[%u] at depth %u", c->path, i, depth);
        if (!is_object(r, e, path))
            continue;
        (*count)++;
        bool abstract = fhir_kind_of(fhir_get(e, "abstract")) == FHIR_TRUE;
        bool grouping = !fhir_exists(fhir_get(e, "code"));
        if (!abstract && !grouping) {
            og_str system = required(r, e, "system", path), code = required(r, e, "code", path);
            og_str display = member(r, e, "display", path);
            if (system.n != 0 && code.n != 0 && !set_add(&c->codes, r->a, system, code, display))
                no_memory(r);
        }
        read_contains(r, c, array(r, e, "contains", path), depth + 1, count);
    }
}

/* An expansion may be a page of a larger one: then it would silently miss codes. */
static void check_total(reader *r, fhir_elem expansion, uint64_t count)
{
    fhir_elem total = fhir_get(expansion, "total");
    og_decimal d;
    int scale;
    if (fhir_kind_of(total) == FHIR_NUMBER && og_decimal_parse(fhir_raw(total), true, &d, &scale) &&
        d > og_decimal_of((int64_t)count))
        complain(r, total, "ValueSet.expansion.total", OG_INVALID,
                 "the expansion is a part only: total is %.*s, entries are %llu",
                 OG_STR_ARG(fhir_raw(total)), (unsigned long long)count);
}

static void read_expansion(reader *r, fhir_valueset *vs, fhir_elem expansion)
{
    component *c = og_arena_zalloc(r->a, 1, sizeof(*c));
    if (c == NULL) {
        no_memory(r);
        return;
    }
    vs->components = c;
    vs->component_count = 1;
    c->has_codes = true;
    snprintf(c->path, sizeof(c->path), "ValueSet.expansion.contains");
    uint64_t count = 0;
    read_contains(r, c, array(r, expansion, "contains", "ValueSet.expansion"), 0, &count);
    check_total(r, expansion, count);
}

static const fhir_valueset *same_version(const fhir_valueset *vs, og_str version)
{
    for (; vs != NULL; vs = vs->same_url)
        if (og_str_eq(vs->version, version))
            return vs;
    return NULL;
}

static bool looks_like_oid(og_str s)
{
    bool dot = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '.')
            dot = true;
        else if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    }
    return dot && s.p[0] != '.';
}

/* The OID in urn:oid:..., in a bare OID or at the end of a url; empty when there is none. */
static og_str oid_of(og_str name)
{
    name = without_prefix(name, OG_STR("urn:oid:"));
    for (size_t i = name.n; i > 0; i--)
        if (name.p[i - 1] == '/') {
            name = og_str_from(name, i);
            break;
        }
    return looks_like_oid(name) ? name : (og_str){0};
}

static bool index_oids(reader *r, fhir_valueset *vs, fhir_elem resource)
{
    og_str oid = oid_of(vs->url);
    if (oid.n != 0 && !og_table_put(&r->t->by_oid, oid, vs))
        return false;
    fhir_elem list = fhir_get(resource, "identifier");
    for (fhir_elem e = fhir_each_first(list); fhir_exists(e); e = fhir_each_next(list, e)) {
        oid = oid_of(member(r, e, "value", "ValueSet.identifier"));
        if (oid.n != 0 && !og_table_put(&r->t->by_oid, oid, vs))
            return false;
    }
    return true;
}

static og_status add_value_set(reader *r, fhir_elem resource)
{
    fhir_terminology *t = r->t;
    fhir_valueset *vs = og_arena_zalloc(r->a, 1, sizeof(*vs));
    if (vs == NULL)
        return no_memory(r);
    vs->url = required(r, resource, "url", "ValueSet");
    vs->version = member(r, resource, "version", "ValueSet");
    vs->origin = og_arena_str(r->a, og_str_of(r->origin)).p;
    fhir_elem compose = fhir_get(resource, "compose"), expansion = fhir_get(resource, "expansion");
    if (fhir_kind_of(expansion) == FHIR_OBJECT &&
        (fhir_exists(fhir_get(expansion, "contains")) || !fhir_exists(compose)))
        read_expansion(r, vs, expansion);
    else if (fhir_exists(compose))
        read_compose(r, vs, compose);
    else
        complain(r, resource, "ValueSet", OG_INVALID, "neither compose nor expansion");
    if (r->status != OG_OK)
        return r->status;
    vs->same_url = og_table_get(&t->by_url, vs->url);
    const fhir_valueset *twin = same_version(vs->same_url, vs->version);
    if (twin != NULL)
        return complain(r, resource, "ValueSet.url", OG_INVALID,
                        "%.*s with version \"%.*s\" is there already, from %s", OG_STR_ARG(vs->url),
                        OG_STR_ARG(vs->version), twin->origin != NULL ? twin->origin : "");
    if (!og_table_put(&t->by_url, vs->url, vs) || !index_oids(r, vs, resource) ||
        og_arena_failed(r->a))
        return no_memory(r);
    vs->added_before = t->last;
    t->last = vs;
    return r->status;
}

/* --- reading: code systems --- */

static void add_parent(reader *r, fhir_codesystem *cs, og_str child, og_str code)
{
    parent *p = og_arena_zalloc(r->a, 1, sizeof(*p));
    if (p == NULL || child.n == 0 || code.n == 0)
        return; /* the arena remembers */
    *p = (parent){code, og_table_get(&cs->parents, child)};
    if (!og_table_put(&cs->parents, child, p))
        no_memory(r);
}

/* The properties parent and child (R4 codesystem.html, concept-properties). */
static void read_relatives(reader *r, fhir_codesystem *cs, fhir_elem concept, og_str code,
                           const char *path)
{
    fhir_elem list = array(r, concept, "property", path);
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e)) {
        og_str other = fhir_string(r->a, fhir_get(e, "valueCode"));
        if (fhir_is(fhir_get(e, "code"), "parent"))
            add_parent(r, cs, code, other);
        else if (fhir_is(fhir_get(e, "code"), "child"))
            add_parent(r, cs, other, code);
    }
}

static void read_system_concepts(reader *r, fhir_codesystem *cs, fhir_elem list, og_str above,
                                 uint32_t depth)
{
    if (depth > MAX_DEPTH) {
        complain(r, list, "CodeSystem.concept", OG_LIMIT, "concepts are nested too deeply");
        return;
    }
    uint32_t i = 0;
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e), i++) {
        char path[64];
        snprintf(path, sizeof(path), "CodeSystem.concept[%u] at depth %u", i, depth);
        if (!is_object(r, e, path))
            continue;
        og_str code = required(r, e, "code", path), display = member(r, e, "display", path);
        if (code.n != 0 && !set_add(&cs->codes, r->a, cs->url, code, display))
            no_memory(r);
        add_parent(r, cs, code, above);
        read_relatives(r, cs, e, code, path);
        read_system_concepts(r, cs, array(r, e, "concept", path), code, depth + 1);
    }
}

static og_status add_code_system(reader *r, fhir_elem resource)
{
    fhir_codesystem *cs = og_arena_zalloc(r->a, 1, sizeof(*cs));
    if (cs == NULL)
        return no_memory(r);
    cs->url = fhir_system_canonical(required(r, resource, "url", "CodeSystem"));
    cs->complete = fhir_is(fhir_get(resource, "content"), "complete");
    cs->is_a = fhir_is(fhir_get(resource, "hierarchyMeaning"), "is-a");
    og_table_init(&cs->parents, r->a);
    read_system_concepts(r, cs, array(r, resource, "concept", "CodeSystem"), (og_str){NULL, 0}, 0);
    if (r->status != OG_OK)
        return r->status;
    if (og_table_get(&r->t->systems, cs->url) != NULL)
        return complain(r, resource, "CodeSystem.url", OG_INVALID, "%.*s is there already",
                        OG_STR_ARG(cs->url));
    return og_table_put(&r->t->systems, cs->url, cs) ? OG_OK : no_memory(r);
}

/* --- reading: concept maps --- */

/* How good a target is, or -1 when it is no translation (R4 conceptmap-equivalence). */
static int rank_of(fhir_elem equivalence)
{
    static const struct {
        const char *code;
        int rank;
    } ranks[] = {{"equal", 0},    {"equivalent", 0}, {"wider", 1},
                 {"subsumes", 1}, {"narrower", 2},   {"specializes", 2}};
    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++)
        if (fhir_is(equivalence, ranks[i].code))
            return ranks[i].rank;
    return -1;
}

static bool known_equivalence(fhir_elem e)
{
    static const char *const others[] = {"relatedto", "inexact", "unmatched", "disjoint"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (fhir_is(e, others[i]))
            return true;
    return rank_of(e) >= 0;
}

static mapping *find_mapping(const fhir_terminology *t, const key *k)
{
    if (t->mapping_cap == 0)
        return NULL;
    uint32_t mask = t->mapping_cap * 2 - 1;
    for (uint32_t i = k->hash & mask; t->slots[i] != 0; i = (i + 1) & mask) {
        mapping *m = &t->mappings[t->slots[i] - 1];
        if (m->from.hash == k->hash && og_str_eq(m->from.system, k->system) &&
            code_equal(m->from.code, k->code, k->icd))
            return m;
    }
    return NULL;
}

static bool grow_mappings(fhir_terminology *t)
{
    uint32_t cap = t->mapping_cap != 0 ? t->mapping_cap * 2 : 16;
    mapping *all =
        og_arena_grow(t->arena, t->mappings, t->mapping_cap * sizeof(*all), cap * sizeof(*all));
    uint32_t *slots =
        all != NULL ? og_arena_zalloc(t->arena, (size_t)cap * 2, sizeof(*slots)) : NULL;
    if (slots == NULL)
        return false;
    for (uint32_t i = 0; i < t->mapping_count; i++)
        slot_put(slots, cap * 2 - 1, all[i].from.hash, i + 1);
    t->mappings = all;
    t->slots = slots;
    t->mapping_cap = cap;
    return true;
}

/* Keeps the better of two targets, the earlier of equally good ones. */
static bool put_mapping(fhir_terminology *t, const mapping *m)
{
    mapping *old = find_mapping(t, &m->from);
    if (old != NULL) {
        if (m->rank < old->rank)
            *old = *m;
        return true;
    }
    if (t->mapping_count == t->mapping_cap && !grow_mappings(t))
        return false;
    t->mappings[t->mapping_count++] = *m;
    slot_put(t->slots, t->mapping_cap * 2 - 1, m->from.hash, t->mapping_count);
    return true;
}

/* The targets of one element of a map. store is false on the first pass, which only checks. */
static void read_targets(reader *r, fhir_elem element, og_str source, og_str target,
                         const char *path, bool store)
{
    og_str code = required(r, element, "code", path);
    fhir_elem list = array(r, element, "target", path);
    uint32_t i = 0;
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e), i++) {
        char at[128];
        snprintf(at, sizeof(at), "%s.target[%u]", path, i);
        fhir_elem equivalence = fhir_get(e, "equivalence");
        if (!is_object(r, e, at))
            continue;
        if (!known_equivalence(equivalence)) {
            complain(r, e, at, OG_INVALID, "equivalence is missing or unknown");
            continue;
        }
        int rank = rank_of(equivalence);
        if (rank < 0)
            continue;
        if (target.n == 0) {
            complain(r, e, at, OG_INVALID, "the group has no target system");
            continue;
        }
        og_str to = required(r, e, "code", at);
        mapping m = {fhir_code_key_of(source, code), target, to, (uint8_t)rank};
        if (store && to.n != 0 && code.n != 0 && !put_mapping(r->t, &m))
            no_memory(r);
    }
}

static void read_unmapped(reader *r, fhir_elem group, og_str source, og_str target,
                          const char *path, bool store)
{
    fhir_elem e = fhir_get(group, "unmapped");
    if (!fhir_exists(e))
        return;
    bool provided = fhir_is(fhir_get(e, "mode"), "provided");
    bool fixed = fhir_is(fhir_get(e, "mode"), "fixed");
    og_str code = fixed ? required(r, e, "code", path) : (og_str){0};
    if (!provided && !fixed)
        complain(r, e, path, OG_UNSUPPORTED, "unmapped.mode must be provided or fixed");
    else if (target.n == 0)
        complain(r, e, path, OG_INVALID, "the group has no target system");
    if (!store || r->status != OG_OK)
        return;
    unmapped *u = og_arena_zalloc(r->a, 1, sizeof(*u));
    if (u == NULL) {
        no_memory(r);
        return;
    }
    *u = (unmapped){source, target, code, NULL};
    *r->t->unmapped_end = u;
    r->t->unmapped_end = &u->next;
}

static void read_group(reader *r, fhir_elem group, const char *path, bool store)
{
    og_str source = fhir_system_canonical(required(r, group, "source", path));
    og_str target = fhir_system_canonical(member(r, group, "target", path));
    fhir_elem list = array(r, group, "element", path);
    uint32_t i = 0;
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e), i++) {
        char at[96];
        snprintf(at, sizeof(at), "%s.element[%u]", path, i);
        if (is_object(r, e, at))
            read_targets(r, e, source, target, at, store);
    }
    read_unmapped(r, group, source, target, path, store);
    if (store && !og_table_put(&r->t->sources, source, r->t))
        no_memory(r);
    r->t->aliased |= store && has_alias(source);
}

/* Twice over the groups: a map with an error anywhere must leave nothing behind. */
static og_status add_concept_map(reader *r, fhir_elem resource)
{
    fhir_elem list = array(r, resource, "group", "ConceptMap");
    for (int pass = 0; pass < 2 && r->status == OG_OK; pass++) {
        uint32_t i = 0;
        for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e), i++) {
            char path[64];
            snprintf(path, sizeof(path), "ConceptMap.group[%u]", i);
            if (is_object(r, e, path))
                read_group(r, e, path, pass == 1);
        }
    }
    return r->status;
}

og_status fhir_terminology_add(fhir_terminology *t, fhir_elem resource, const char *origin,
                               og_report *report)
{
    reader r = {t, t->arena, origin != NULL ? origin : "", report, OG_OK};
    fhir_elem type = fhir_get(resource, "resourceType");
    og_status status;
    if (fhir_is(type, "ValueSet"))
        status = add_value_set(&r, resource);
    else if (fhir_is(type, "CodeSystem"))
        status = add_code_system(&r, resource);
    else if (fhir_is(type, "ConceptMap"))
        status = add_concept_map(&r, resource);
    else
        status = complain(&r, resource, "resourceType", OG_INVALID,
                          "neither a ValueSet nor a CodeSystem nor a ConceptMap");
    if (status == OG_OK && og_arena_failed(t->arena))
        status = no_memory(&r);
    return status;
}

/* --- linking --- */

typedef struct linker {
    fhir_terminology *t;
    og_report *report;
    og_status status;
} linker;

static void link_fail(linker *l, const fhir_valueset *vs, const char *path, og_status status,
                      const char *fmt, ...) OG_PRINTF(5, 6);

static void link_fail(linker *l, const fhir_valueset *vs, const char *path, og_status status,
                      const char *fmt, ...)
{
    reader r = {l->t, l->t->arena, vs->origin != NULL ? vs->origin : "", l->report, OG_OK};
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    complain(&r, FHIR_ABSENT, path, status, "%s", text);
    if (l->status == OG_OK)
        l->status = status;
}

static bool link_value_set(linker *l, fhir_valueset *vs, uint32_t depth);

/* True when the code is in all parts of the component beyond its own list: value sets 0..n of
 * found. */
static bool in_all(const fhir_valueset *const *found, uint32_t n, const code_row *row)
{
    key k = {row->system, row->code, is_icd(row->system), row->hash};
    for (uint32_t i = 0; i < n; i++)
        if (set_find(&found[i]->codes, &k) == NULL)
            return false;
    return true;
}

/* The codes that a component begins with: its list, its code system, or its first value set. */
static const code_set *first_part(linker *l, const fhir_valueset *vs, const component *c,
                                  const fhir_valueset *const *found)
{
    if (c->has_codes)
        return &c->codes;
    if (c->value_set_count != 0)
        return &found[0]->codes;
    const fhir_codesystem *cs = og_table_get(&l->t->systems, c->system);
    if (cs == NULL || !cs->complete) {
        link_fail(l, vs, c->path, OG_NOTFOUND, "all codes of %.*s are asked for, but %s",
                  OG_STR_ARG(c->system),
                  cs == NULL ? "this code system is not there"
                             : "this code system is not complete");
        return NULL;
    }
    return &cs->codes;
}

/* The value sets that a component names, linked; NULL after an error. */
static const fhir_valueset **find_parts(linker *l, const fhir_valueset *vs, const component *c,
                                        uint32_t depth)
{
    const fhir_valueset **found = og_arena_zalloc(l->t->arena, c->value_set_count, sizeof(*found));
    if (found == NULL) {
        link_fail(l, vs, "", OG_NOMEM, "out of memory");
        return NULL;
    }
    for (uint32_t i = 0; i < c->value_set_count; i++) {
        const canonical *ref = &c->value_sets[i];
        fhir_valueset *part = (fhir_valueset *)fhir_valueset_find(l->t, ref->url, ref->version);
        if (part == NULL) {
            link_fail(l, vs, ref->path, OG_NOTFOUND, "there is no value set %.*s%s%.*s",
                      OG_STR_ARG(ref->url), ref->version.n != 0 ? "|" : "",
                      OG_STR_ARG(ref->version));
            return NULL;
        }
        if (part->state == 1) {
            link_fail(l, vs, ref->path, OG_INVALID, "the value set includes itself through %.*s",
                      OG_STR_ARG(ref->url));
            return NULL;
        }
        if (!link_value_set(l, part, depth + 1))
            return NULL;
        found[i] = part;
    }
    return found;
}

/* Adds the codes of a component to out. */
static bool collect(linker *l, const fhir_valueset *vs, const component *c, uint32_t depth,
                    code_set *out)
{
    const fhir_valueset **found = find_parts(l, vs, c, depth);
    const code_set *first = found != NULL ? first_part(l, vs, c, found) : NULL;
    if (first == NULL)
        return false;
    for (uint32_t i = 0; i < first->count; i++)
        if ((c->system.n == 0 || og_str_eq(first->rows[i].system, c->system)) &&
            in_all(found, c->value_set_count, &first->rows[i]) &&
            !set_add_row(out, l->t->arena, &first->rows[i])) {
            link_fail(l, vs, "", OG_NOMEM, "out of memory");
            return false;
        }
    return true;
}

static bool link_components(linker *l, fhir_valueset *vs, uint32_t depth)
{
    code_set excluded = {0}, included = {0};
    for (uint32_t i = 0; i < vs->component_count; i++) {
        const component *c = &vs->components[i];
        if (!collect(l, vs, c, depth, c->exclude ? &excluded : &included))
            return false;
    }
    if (excluded.count == 0) {
        vs->codes = included;
        return true;
    }
    for (uint32_t i = 0; i < included.count; i++) {
        const code_row *row = &included.rows[i];
        key k = {row->system, row->code, is_icd(row->system), row->hash};
        if (set_find(&excluded, &k) == NULL && !set_add_row(&vs->codes, l->t->arena, row)) {
            link_fail(l, vs, "", OG_NOMEM, "out of memory");
            return false;
        }
    }
    return true;
}

static bool link_value_set(linker *l, fhir_valueset *vs, uint32_t depth)
{
    if (vs->state >= 2)
        return vs->state == 2;
    if (depth > MAX_DEPTH) {
        link_fail(l, vs, "ValueSet.compose", OG_LIMIT, "value sets include each other too deeply");
        return false;
    }
    vs->state = 1;
    bool done = link_components(l, vs, depth);
    vs->state = done ? 2 : 3;
    return done;
}

og_status fhir_terminology_link(fhir_terminology *t, og_report *report)
{
    linker l = {t, report, OG_OK};
    for (fhir_valueset *vs = t->last; vs != NULL; vs = vs->added_before)
        link_value_set(&l, vs, 0);
    return l.status;
}

/* --- looking up --- */

/* Versions part by part, numbers as numbers: 1.10 is higher than 1.9. */
static int version_compare(og_str a, og_str b)
{
    size_t i = 0, j = 0;
    while (i < a.n && j < b.n) {
        bool digits = a.p[i] >= '0' && a.p[i] <= '9' && b.p[j] >= '0' && b.p[j] <= '9';
        if (!digits) {
            if (a.p[i] != b.p[j])
                return (unsigned char)a.p[i] < (unsigned char)b.p[j] ? -1 : 1;
            i++, j++;
            continue;
        }
        uint64_t x = 0, y = 0;
        for (; i < a.n && a.p[i] >= '0' && a.p[i] <= '9'; i++)
            x = x * 10 + (uint64_t)(a.p[i] - '0');
        for (; j < b.n && b.p[j] >= '0' && b.p[j] <= '9'; j++)
            y = y * 10 + (uint64_t)(b.p[j] - '0');
        if (x != y)
            return x < y ? -1 : 1;
    }
    return (i < a.n) - (j < b.n);
}

static const fhir_valueset *choose(const fhir_valueset *all, og_str version)
{
    if (version.n != 0) {
        const fhir_valueset *exact = same_version(all, version);
        return exact != NULL ? exact : same_version(all, (og_str){0});
    }
    const fhir_valueset *best = all;
    for (const fhir_valueset *vs = all; vs != NULL; vs = vs->same_url)
        if (version_compare(vs->version, best->version) > 0)
            best = vs;
    return best;
}

const fhir_valueset *fhir_valueset_find(const fhir_terminology *t, og_str url, og_str version)
{
    canonical ref = canonical_of(url);
    if (version.n == 0)
        version = ref.version;
    const fhir_valueset *all = og_table_get(&t->by_url, ref.url);
    if (all == NULL && (og_str_starts(ref.url, OG_STR("urn:oid:")) || looks_like_oid(ref.url)))
        all = og_table_get(&t->by_oid, oid_of(ref.url));
    return all != NULL ? choose(all, version) : NULL;
}

bool fhir_valueset_has_key(const fhir_valueset *vs, const fhir_code_key *key)
{
    return key->system.n != 0 && key->code.n != 0 && set_find(&vs->codes, key) != NULL;
}

bool fhir_valueset_has(const fhir_valueset *vs, og_str system, og_str code)
{
    key k = fhir_code_key_of(system, code);
    return fhir_valueset_has_key(vs, &k);
}

og_str fhir_valueset_url(const fhir_valueset *vs)
{
    return vs->url;
}

size_t fhir_valueset_count(const fhir_valueset *vs)
{
    return vs->codes.count;
}

void fhir_valueset_code(const fhir_valueset *vs, size_t i, og_str *ret_system, og_str *ret_code,
                        og_str *ret_display)
{
    const code_row *row = &vs->codes.rows[i];
    *ret_system = row->system;
    *ret_code = row->code;
    *ret_display = row->display;
}

const fhir_codesystem *fhir_codesystem_find(const fhir_terminology *t, og_str url)
{
    return og_table_get(&t->systems, fhir_system_canonical(url));
}

bool fhir_codesystem_has(const fhir_codesystem *cs, og_str code)
{
    key k = fhir_code_key_of(cs->url, code);
    return code.n != 0 && set_find(&cs->codes, &k) != NULL;
}

bool fhir_codesystem_complete(const fhir_codesystem *cs)
{
    return cs->complete;
}

/* Upwards from code; *left bounds the walk, since a hierarchy may have many ways, or a circle. */
static bool is_below(const fhir_codesystem *cs, og_str code, og_str wider, uint32_t depth,
                     uint32_t *left)
{
    for (const parent *p = og_table_get(&cs->parents, code); p != NULL; p = p->next) {
        if (*left == 0 || depth > MAX_DEPTH)
            return false;
        --*left;
        if (og_str_eq(p->code, wider) || is_below(cs, p->code, wider, depth + 1, left))
            return true;
    }
    return false;
}

fhir_subsumption fhir_codesystem_subsumes(const fhir_codesystem *cs, og_str wider, og_str narrower)
{
    key above = fhir_code_key_of(cs->url, wider), below = fhir_code_key_of(cs->url, narrower);
    const code_row *a = set_find(&cs->codes, &above), *b = set_find(&cs->codes, &below);
    uint32_t left = MAX_STEPS_UP;
    if (a == NULL || b == NULL)
        return FHIR_SUBSUMES_UNKNOWN;
    if (a == b)
        return FHIR_SUBSUMES;
    if (!cs->is_a)
        return FHIR_SUBSUMES_UNKNOWN;
    if (is_below(cs, b->code, a->code, 0, &left))
        return FHIR_SUBSUMES;
    return cs->complete && left > 0 ? FHIR_SUBSUMES_NOT : FHIR_SUBSUMES_UNKNOWN;
}

bool fhir_translates(const fhir_terminology *t, og_str system)
{
    for (uint32_t i = 0; i < t->sources.count && t->sources.count <= FEW_SOURCES; i++)
        if (og_str_eq(t->sources.entries[i].key, system))
            return true;
    if (t->sources.count <= FEW_SOURCES && !t->aliased)
        return false; /* the usual case: only local systems are translated */
    return og_table_get(&t->sources, fhir_system_canonical(system)) != NULL;
}

bool fhir_translate(const fhir_terminology *t, og_str system, og_str code, og_str *ret_system,
                    og_str *ret_code)
{
    if (system.n == 0 || code.n == 0)
        return false;
    key k = fhir_code_key_of(system, code);
    const mapping *m = find_mapping(t, &k);
    if (m != NULL) {
        *ret_system = m->system;
        *ret_code = m->code;
        return true;
    }
    for (const unmapped *u = t->unmapped; u != NULL; u = u->next)
        if (og_str_eq(u->source, k.system)) {
            *ret_system = u->target;
            *ret_code = u->code.n != 0 ? u->code : code;
            return true;
        }
    return false;
}

void fhir_each_translation(const fhir_terminology *t, fhir_translation_fn *fn, void *ctx)
{
    for (uint32_t i = 0; i < t->mapping_count; i++) {
        const mapping *m = &t->mappings[i];
        fn(ctx, m->from.system, m->from.code, m->system, m->code);
    }
    for (const unmapped *u = t->unmapped; u != NULL; u = u->next)
        fn(ctx, u->source, (og_str){0}, u->target, u->code);
}
