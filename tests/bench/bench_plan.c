/* How fast is the whole rule set for one patient?
 *
 *   bench_plan [CONTENT [ROUNDS]]
 *
 * A patient of 200 relevant resources is written here, three years of treatment with everything
 * that the rules look at: monthly denosumab by code and by reference, courses, orders, laboratory
 * values, diagnoses. Printed for it, and for each clinical case of the content: medians of reading
 * the stored images, of reading JSON, of the CQL that the result needs, and of the whole evaluation
 * with cards; evaluations a second on one core; evaluation steps and arena bytes. Then what one
 * more resource costs for the patient of 200 and for one of a case, with and without what is
 * noted of the rules (note.h). Figures are printed, never asserted. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/cmd.h"
#include "daemon/content_dir.h"
#include "daemon/file.h"
#include "daemon/note.h"
#include "rules/plan/plan_private.h"

#define AS_OF_MS 1772355600000LL /* 2026-03-01T10:00:00+01:00 */
#define OFFSET   60
#define MONTHS   36

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return n != 0 ? values[n / 2] : 0;
}

/* ---- a patient ---- */

typedef struct subject {
    char name[64];
    og_arena *arena; /* texts and images live here */
    og_str *texts;   /* one resource each, as they come */
    og_str *images;  /* the same as the store keeps them */
    size_t count, cap;
    int64_t as_of_ms;
    int offset_min;
} subject;

static void add_text(subject *s, og_str text)
{
    fhir_doc doc;
    if (s->count == s->cap)
        return;
    if (fhir_decode(s->arena, text, NULL, &doc, NULL) != OG_OK) {
        fprintf(stderr, "not JSON: %.*s\n", OG_STR_ARG(text));
        exit(1);
    }
    size_t size = fhir_image_size(&doc);
    char *image = og_arena_alloc(s->arena, size);
    fhir_image_write(&doc, image);
    s->texts[s->count] = text;
    s->images[s->count++] = (og_str){image, size};
}

static void add(subject *s, const char *fmt, ...) OG_PRINTF(2, 3);

static void add(subject *s, const char *fmt, ...)
{
    char text[2000];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    add_text(s, og_arena_str(s->arena, (og_str){text, (size_t)n}));
}

static subject new_subject(const char *name, size_t cap)
{
    subject s = {.arena = og_arena_new((size_t)1 << 30),
                 .cap = cap,
                 .as_of_ms = AS_OF_MS,
                 .offset_min = OFFSET};
    snprintf(s.name, sizeof s.name, "%s", name);
    s.texts = og_arena_zalloc(s.arena, cap, sizeof *s.texts);
    s.images = og_arena_zalloc(s.arena, cap, sizeof *s.images);
    return s;
}

#define SUBJECT "\"subject\":{\"reference\":\"Patient/p\"}"
#define ATC     "http://fhir.de/CodeSystem/bfarm/atc"
#define UCUM    "http://unitsofmeasure.org"
#define STATUSES                                                                                   \
    "\"clinicalStatus\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"         \
    "condition-clinical\",\"code\":\"active\"}]},\"verificationStatus\":{\"coding\":[{"            \
    "\"system\":\"http://terminology.hl7.org/CodeSystem/condition-ver-status\","                   \
    "\"code\":\"confirmed\"}]}"

/* The day of month m before the evaluation. */
static const char *day_of(int month, int day, char text[16])
{
    int n = 2026 * 12 + 1 - month;
    snprintf(text, 16, "%04d-%02d-%02d", n / 12, n % 12 + 1, day);
    return text;
}

static void add_observation(subject *s, const char *what, int month, const char *loinc,
                            double value, const char *unit)
{
    char day[16];
    add(s,
        "{\"resourceType\":\"Observation\",\"id\":\"%s-%d\",\"meta\":{\"versionId\":\"1\"},"
        "\"status\":\"final\",\"category\":[{\"coding\":[{\"system\":\"http://terminology.hl7.org/"
        "CodeSystem/observation-category\",\"code\":\"laboratory\"}]}],\"code\":{\"coding\":[{"
        "\"system\":\"http://"
        "loinc.org\",\"code\":\"%s\",\"display\":\"%s\"}],\"text\":\"%s\"}," SUBJECT
        ",\"effectiveDateTime\":\"%sT07:30:00+01:00\",\"issued\":\"%sT10:12:00+01:00\","
        "\"valueQuantity\":{\"value\":%.2f,\"unit\":\"%s\",\"system\":\"" UCUM
        "\",\"code\":\"%s\"}}",
        what, month, loinc, what, what, day_of(month, 20, day), day, value, unit, unit);
}

static void add_condition(subject *s, const char *id, const char *system, const char *code,
                          int month)
{
    char day[16];
    add(s,
        "{\"resourceType\":\"Condition\",\"id\":\"%s\"," STATUSES ",\"code\":{\"coding\":[{"
        "\"system\":\"%s\",\"code\":\"%s\"}],\"text\":\"%s\"}," SUBJECT
        ",\"onsetDateTime\":\"%s\",\"recordedDate\":\"%s\"}",
        id, system, code, id, day_of(month, 12, day), day);
}

static void add_administration(subject *s, int month)
{
    static const char coded[] =
        "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"" ATC
        "\",\"code\":\"M05BX04\",\"display\":\"Denosumab\"}],\"text\":\"XGEVA 120 mg\"}";
    char day[16];
    add(s,
        "{\"resourceType\":\"MedicationAdministration\",\"id\":\"dose-%d\",\"status\":"
        "\"completed\",%s," SUBJECT ",\"effectiveDateTime\":\"%sT11:00:00+01:00\",\"dosage\":{"
        "\"route\":{\"coding\":[{\"system\":"
        "\"http://"
        "standardterms.edqm.eu\",\"code\":\"20066000\"}]},\"dose\":{\"value\":120,\"unit\":\"mg\","
        "\"system\":\"" UCUM "\",\"code\":\"mg\"}}}",
        month,
        month % 2 == 0 ? coded : "\"medicationReference\":{\"reference\":\"Medication/xgeva\"}",
        day_of(month, 6, day));
}

static void add_order(subject *s, const char *id, const char *atc, const char *status, int month)
{
    char day[16];
    add(s,
        "{\"resourceType\":\"MedicationRequest\",\"id\":\"%s-%d\",\"status\":\"%s\",\"intent\":"
        "\"order\","
        "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"" ATC
        "\",\"code\":\"%s\"}]}," SUBJECT
        ",\"authoredOn\":\"%s\",\"dosageInstruction\":[{\"text\":\"1-0-0\",\"timing\":{\"repeat\":{"
        "\"frequency\":1,\"period\":1,\"periodUnit\":\"d\"}},\"doseAndRate\":[{\"doseQuantity\":{"
        "\"value\":1,"
        "\"unit\":\"tablet\"}}]}]}",
        id, month, status, atc, day_of(month, 7, day));
}

static void add_statement(subject *s, const char *id, const char *atc, int from, int to)
{
    char day[16], end[64] = "", last[16];
    if (to > 0)
        snprintf(end, sizeof end, ",\"end\":\"%s\"", day_of(to, 6, last));
    add(s,
        "{\"resourceType\":\"MedicationStatement\",\"id\":\"%s\",\"status\":\"%s\","
        "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"" ATC
        "\",\"code\":\"%s\"}]}," SUBJECT ",\"effectivePeriod\":{\"start\":\"%s\"%s},\"dosage\":[{"
        "\"text\":\"daily\",\"timing\":{\"repeat\":{"
        "\"frequency\":1,\"period\":1,\"periodUnit\":\"d\"}}}]}",
        id, to > 0 ? "completed" : "active", atc, day_of(from, 6, day), end);
}

static void add_laboratory(subject *s)
{
    for (int m = 0; m < MONTHS; m++) {
        add_observation(s, "creatinine", m, "2160-0", 0.9 + (m % 5) / 10.0, "mg/dL");
        add_observation(s, "calcium", m, "2000-8", 2.1 + (m % 4) / 10.0, "mmol/L");
        if (m % 2 == 0)
            add_observation(s, "albumin", m, "1751-7", 38 + m % 3, "g/L");
        if (m % 3 == 0)
            add_observation(s, "egfr", m, "48642-3", 62 + m % 7, "mL/min/{1.73_m2}");
        if (m % 4 == 0)
            add_observation(s, "weight", m, "29463-7", 64 + m % 5, "kg");
        if (m % 12 == 0)
            add_observation(s, "vitamin-d", m, "1989-3", 28 + m % 9, "ng/mL");
    }
    add_observation(s, "height", 30, "8302-2", 168, "cm");
}

static subject synthetic(void)
{
    subject s = new_subject("200 resources", 201);
    add(&s, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":true,\"gender\":\"female\","
            "\"birthDate\":"
            "\"1958-04-04\"}");
    add_condition(&s, "breast-cancer", "http://fhir.de/CodeSystem/bfarm/icd-10-gm", "C50.9", 60);
    add_condition(&s, "bone-metastases", "http://fhir.de/CodeSystem/bfarm/icd-10-gm", "C79.5", 38);
    add_condition(&s, "more-bone-metastases", "http://snomed.info/sct", "94222008", 20);
    add_condition(&s, "compression-fracture", "http://snomed.info/sct", "42942008", 14);
    add(&s,
        "{\"resourceType\":\"Medication\",\"id\":\"xgeva\",\"code\":{\"coding\":[{\"system\":\"" ATC
        "\",\"code\":\"M05BX04\"}],\"text\":\"XGEVA 120 mg\"}}");
    add_laboratory(&s);
    for (int m = 1; m < MONTHS; m++)
        add_administration(&s, m);
    add_statement(&s, "zoledronate-course", "M05BA08", 60, 40);
    add_statement(&s, "denosumab-course", "M05BX04", 36, 0);
    add_statement(&s, "vitamin-d", "A11CC05", 36, 0);
    add_statement(&s, "calcium", "A12AA04", 36, 0);
    for (int i = 0; s.count < 200; i++)
        add_order(&s, i % 2 == 0 ? "vitamin-d" : "calcium", i % 2 == 0 ? "A11CC05" : "A12AA04",
                  i < 2 ? "active" : "completed", i);
    return s;
}

/* The Bundle of a clinical case. */
static bool from_case(const char *path, const char *name, subject *ret)
{
    fhir_doc doc;
    og_buf text;
    subject s = new_subject(name, 1000);
    og_buf_init(&text, (size_t)64 << 20);
    bool ok = file_read(path, (size_t)64 << 20, &text, NULL) == OG_OK;
    og_str copy = og_arena_str(s.arena, og_buf_str(&text));
    og_buf_done(&text);
    ok = ok && fhir_decode(s.arena, copy, NULL, &doc, NULL) == OG_OK;
    fhir_elem entries = ok ? fhir_path(fhir_root(&doc), "bundle.entry") : FHIR_ABSENT;
    for (fhir_elem e = fhir_each_first(entries); fhir_exists(e); e = fhir_each_next(entries, e))
        add_text(&s, fhir_raw(fhir_get(e, "resource")));
    og_temporal at;
    if (ok && og_temporal_parse_fhir(fhir_string(s.arena, fhir_get(fhir_root(&doc), "asOf")), &at))
        s.as_of_ms = og_temporal_earliest_ms(&at, OFFSET);
    *ret = s;
    if (s.count == 0)
        og_arena_free(s.arena);
    return s.count != 0;
}

/* ---- measuring ---- */

typedef struct readings {
    double *images, *texts, *cql, *whole;
    uint64_t steps;
    size_t arena, cards, failed, relevant;
} readings;

static fhir_resource *read_all(og_arena *a, const subject *s, bool images)
{
    fhir_resource *r = og_arena_zalloc(a, s->count, sizeof *r);
    fhir_doc *docs = og_arena_zalloc(a, s->count, sizeof *docs);
    for (size_t i = 0; i < s->count; i++) {
        og_status status = images ? fhir_image_read(a, s->images[i], &docs[i], NULL)
                                  : fhir_decode(a, s->texts[i], NULL, &docs[i], NULL);
        if (status != OG_OK || fhir_resource_of(fhir_root(&docs[i]), &r[i], NULL) != OG_OK)
            exit(1);
    }
    return r;
}

static void ask(cql_run *run, const plan__expr *x)
{
    cql_value v;
    if (x->define != NULL)
        (void)!plan__expr_value(run, x, &v, NULL);
}

/* What the evaluation asks of the engine: conditions and next reviews of all rules, everything of
 * those that fired. */
static uint64_t only_cql(const plan_content *c, og_arena *a, const subject *s,
                         const fhir_resource *r, const plan_result *result)
{
    cql_request q = {.resources = r,
                     .resource_count = s->count,
                     .as_of_ms = s->as_of_ms,
                     .offset_min = s->offset_min,
                     .parameters = c->parameters,
                     .parameter_count = c->parameter_count};
    cql_run *run = cql_run_begin(a, c->cql, &q);
    for (size_t i = 0; i < c->rule_count; i++) {
        const plan__rule *rule = &c->rules[i];
        bool applies;
        bool fired =
            result->outcomes[i].kind == PLAN_FIRED || result->outcomes[i].kind == PLAN_SUPPRESSED;
        (void)!plan__expr_all(run, rule->conditions, rule->condition_count, &applies, NULL);
        ask(run, &rule->next_review);
        for (size_t k = 0; fired && k < rule->all_count; k++)
            ask(run, &rule->all[k]);
    }
    return cql_run_steps(run);
}

static bool measure_once(const plan_content *c, const subject *s, og_arena *data, og_arena *a,
                         readings *m, size_t i)
{
    plan_patient p = {.id = OG_STR("p"), .resource_count = s->count};
    plan_result result;
    og_error err;
    og_error_init(&err);
    og_arena_reset(data);
    double t0 = now_us();
    p.resources = read_all(data, s, false);
    double t1 = now_us();
    og_arena_reset(data);
    double t2 = now_us();
    p.resources = read_all(data, s, true);
    double t3 = now_us();
    og_arena_reset(a);
    double t4 = now_us();
    if (plan_content_evaluate(c, a, &p, s->as_of_ms, s->offset_min, false, &result, &err) != OG_OK)
        return false;
    double t5 = now_us();
    m->arena = og_arena_used(a);
    m->cards = result.card_count;
    m->failed = 0;
    for (size_t k = 0; k < result.outcome_count; k++)
        m->failed += result.outcomes[k].kind == PLAN_FAILED;
    m->relevant = 0;
    for (size_t k = 0; k < s->count; k++)
        m->relevant += plan_content_wants(c, &p.resources[k]);
    double t6 = now_us();
    m->steps = only_cql(c, a, s, p.resources, &result);
    double t7 = now_us();
    m->texts[i] = t1 - t0;
    m->images[i] = t3 - t2;
    m->whole[i] = t5 - t4;
    m->cql[i] = t7 - t6;
    return true;
}

static void measure(const plan_content *c, const subject *s, size_t rounds)
{
    og_arena *data = og_arena_new((size_t)1 << 30), *a = og_arena_new((size_t)1 << 30);
    double *all = calloc(4 * rounds, sizeof *all);
    readings m = {
        .images = all, .texts = all + rounds, .cql = all + 2 * rounds, .whole = all + 3 * rounds};
    size_t done = 0;
    while (done < rounds && measure_once(c, s, data, a, &m, done))
        done++;
    double images = median(m.images, done), texts = median(m.texts, done);
    double cql = median(m.cql, done), whole = median(m.whole, done);
    printf("%-16s %5zu %5zu %8.1f %8.1f %8.1f %8.1f %8.1f %9.0f %8llu %8zu %5zu %6zu\n", s->name,
           s->count, m.relevant, texts, images, cql, whole - cql > 0 ? whole - cql : 0, whole,
           1e6 / (images + whole), (unsigned long long)m.steps, m.arena, m.cards, m.failed);
    free(all);
    og_arena_free(a);
    og_arena_free(data);
}

/* ---- one more resource ---- */

typedef struct arrival {
    const plan_content *c;
    const subject *s; /* the last one is what arrives */
    og_arena *data, *a, *notes;
    og_str note; /* of the last evaluation */
    plan_result result;
} arrival;

/* Evaluates the first `count` resources; the time, and with a program what x->note spares. */
static double evaluate_first(arrival *x, const char *program, size_t count)
{
    plan_patient p = {.id = OG_STR("p"), .resource_count = count};
    uint64_t *hashes = og_arena_alloc(x->data, (x->s->count + 1) * sizeof *hashes);
    note_view v;
    og_arena_reset(x->a);
    p.resources = read_all(x->data, x->s, true);
    for (size_t i = 0; i < count; i++)
        hashes[i] = og_str_hash(x->s->texts[i]);
    double began = now_us();
    note_look(x->a, program, x->c, &p, hashes, x->note, x->s->as_of_ms, x->s->offset_min, &v);
    if (plan_content_evaluate(x->c, x->a, &p, x->s->as_of_ms, x->s->offset_min, PLAN_CARDS,
                              &x->result, NULL) != OG_OK)
        exit(1);
    og_str note = note_make(x->a, &v, &x->result, NOTE_MAX_BYTES);
    double took = now_us() - began;
    x->note = note.n > 0 ? og_arena_str(x->notes, note) : note;
    return took;
}

static void measure_arrival(const plan_content *c, const subject *s, const char *what,
                            size_t rounds)
{
    arrival x = {.c = c,
                 .s = s,
                 .data = og_arena_new((size_t)1 << 30),
                 .notes = og_arena_new((size_t)1 << 30),
                 .a = og_arena_new((size_t)1 << 30)};
    double *all = calloc(3 * rounds, sizeof *all);
    size_t asked = 0;
    for (size_t i = 0; i < rounds; i++) {
        og_arena_reset(x.data);
        og_arena_reset(x.notes);
        x.note = OG_STR(""); /* whoever is seen for the first time */
        all[2 * rounds + i] = evaluate_first(&x, "bench", s->count - 1);
        all[i] = evaluate_first(&x, "bench", s->count);
        asked = x.result.asked;
        all[rounds + i] = evaluate_first(&x, NULL, s->count);
    }
    double spared = median(all, rounds), plain = median(all + rounds, rounds);
    printf("%-14s %-20s %8.1f %8.1f %8.1f %6zu %6zu %6.2f\n", s->name, what, plain, spared,
           median(all + 2 * rounds, rounds), x.result.asked, asked, plain / spared);
    free(all);
    og_arena_free(x.notes);
    og_arena_free(x.data);
    og_arena_free(x.a);
}

static void measure_arrivals(const plan_content *c, subject *s, size_t rounds)
{
    static const struct {
        const char *what, *loinc, *unit;
        double value;
    } table[] = {
        {"new haemoglobin", "718-7", "g/dL", 11.2},  {"new pain score", "72514-3", "{score}", 3},
        {"new ECOG", "89247-1", "{score}", 1},       {"new weight", "29463-7", "kg", 66},
        {"new creatinine", "2160-0", "mg/dL", 0.95}, {"new calcium", "2000-8", "mmol/L", 2.3}};
    size_t before = s->count;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        add_observation(s, "arrival", 1, table[i].loinc, table[i].value, table[i].unit);
        measure_arrival(c, s, table[i].what, rounds);
        s->count = before;
    }
    add_condition(s, "arrival", "http://snomed.info/sct", "24184005", 1);
    measure_arrival(c, s, "new other diagnosis", rounds);
    s->count = before;
    add_order(s, "arrival", "A11CC05", "active", 0);
    measure_arrival(c, s, "new order", rounds);
    s->count = before;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : OG_SOURCE_DIR "/rules/content";
    int rounds = argc > 2 ? atoi(argv[2]) : 300;
    plan_content *c;
    plan_options options = {.language = "en"};
    og_report report = {.fn = cmd_print_problem};
    struct dirent **names = NULL;
    char cases[2000];
    if (rounds < 1 || content_dir_load(folder, &options, &c, &report) != OG_OK)
        return 1;
    printf("%zu rules, one core; medians of %d in us\n", plan_content_rule_count(c), rounds);
    printf("%-16s %5s %5s %8s %8s %8s %8s %8s %9s %8s %8s %5s %6s\n", "patient", "res", "wants",
           "JSON", "images", "CQL", "cards", "whole", "eval/s", "steps", "arena", "cards",
           "failed");
    subject s = synthetic();
    measure(c, &s, (size_t)rounds);
    og_arena_free(s.arena);
    snprintf(cases, sizeof cases, "%s/cases", folder);
    int n = scandir(cases, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[4000];
        snprintf(path, sizeof path, "%s/%s", cases, names[i]->d_name);
        if (names[i]->d_name[0] == 'V' && from_case(path, names[i]->d_name, &s)) {
            measure(c, &s, (size_t)rounds);
            og_arena_free(s.arena);
        }
        free(names[i]);
    }
    free(names);
    printf("one more resource; all rules, those that are left, the evaluation before (nothing is "
           "remembered), rules\n");
    printf("%-14s %-20s %8s %8s %8s %6s %6s %6s\n", "patient", "what", "all", "left", "first",
           "rules", "asked", "times");
    s = synthetic();
    measure_arrivals(c, &s, (size_t)rounds);
    og_arena_free(s.arena);
    snprintf(cases, sizeof cases, "%s/cases/V5.json", folder);
    if (from_case(cases, "V5.json", &s)) {
        measure_arrivals(c, &s, (size_t)rounds);
        og_arena_free(s.arena);
    }
    plan_content_free(c);
    return 0;
}
