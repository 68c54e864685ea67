/* What comes in: poison, repeats, any order; and what changes while it comes: content, clock. */
#include "invariants.h"

#define SAMPLE_LETTERS 4 /* messages of the sample that cannot be used */

static facts *facts_of_sample(const stage *like)
{
    static facts f;
    sent_list sample;
    og_arena *a = og_arena_new((size_t)64 << 20);
    sent_sample(a, &sample);
    facts_without_faults(like, &sample, &f);
    og_arena_free(a);
    check(facts_count(&f, "letter ") == SAMPLE_LETTERS, "the sample has its dead letters");
    return &f;
}

static const char *letter_at(const facts *f, int64_t offset)
{
    char name[64];
    int n = snprintf(name, sizeof name, "letter fhir.bundle[0]@%lld", (long long)offset);
    return og_table_get(&f->table, (og_str){name, (size_t)n});
}

static void put(stage *s, const char *key, og_str value)
{
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, key, value.p, value.n);
    s->sent++;
}

/* ---- poison ---- */

#define OBSERVATION(more) "{\"resourceType\":\"Observation\",\"status\":\"final\"" more "}"
#define VALUE(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static const struct {
    og_str value;
    const char *reason; /* of its dead letter */
} poison[] = {
    {VALUE("{\"resourceType\":\"Observation\""), "syntax"},
    {VALUE("\x00\x01\x02\xff"), "syntax"},
    {VALUE(" "), "syntax"},
    {VALUE(OBSERVATION(",\"id\":\"\xc3\x28\"")), "syntax"},
    {VALUE("{\"resourceType\":\"Patient\",\"id\":\"p\",\"gender\":\"\xed\xa0\x80\"}"), "syntax"},
    {VALUE("{\"resourceType\":\"Patient\",\"id\":\"p\"} {}"), "syntax"},
    {VALUE("{\"resourceType\":\"Patient\",\"id\":\"p\",\"id\":\"q\"}"), "duplicate-key"},
    {VALUE("[]"), "not-a-resource"},
    {VALUE("42"), "not-a-resource"},
    {VALUE("null"), "not-a-resource"},
    {VALUE("{}"), "not-a-resource"},
    {VALUE("{\"resourceType\":\"Nonsense\",\"id\":\"p\"}"), "not-a-resource"},
    {VALUE("{\"resourceType\":\"Patient\",\"id\":\"a b\"}"), "not-a-resource"},
    {VALUE("{\"resourceType\":\"Patient\"}"), "no-id"},
    {VALUE(OBSERVATION(",\"id\":\"o\",\"subject\":5")), "invalid"},
    {VALUE(OBSERVATION(",\"id\":\"o\"")), "no-patient"},
    {VALUE(OBSERVATION(",\"id\":\"o\",\"subject\":{\"reference\":\"Group/1\"}")), "no-patient"},
    {VALUE("{\"resourceType\":\"Bundle\",\"type\":\"document\",\"entry\":[]}"), "bundle"},
};
#define POISONS (sizeof poison / sizeof poison[0])
#define MADE                                                                                       \
    4 /* more of them are made: too deep, too large, without value with and without key            \
       */

static og_str repeated(char c, size_t n)
{
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, c, n);
    return (og_str){text, n};
}

static void put_made(stage *s, size_t which)
{
    og_str text = repeated(which == 0 ? '[' : ' ', which == 0 ? 100000 : (size_t)3 << 20);
    if (which < 2)
        put(s, NULL, text);
    else
        put(s, which == 2 ? NULL : "no resource", (og_str){NULL, 0});
    free((char *)(uintptr_t)text.p);
}

static const char *made_reason(size_t which)
{
    return which == 0 ? "limit" : which == 1 ? "too-large" : "no-key";
}

/* Also our own topics hold what is none of ours. */
static void spoil_own_topics(stage *s)
{
    static const char *const topics[] = {"osteoguard.records", "osteoguard.alerts",
                                         "osteoguard.shared"};
    for (size_t i = 0; i < 3; i++)
        for (int p = 0; p < (i == 2 ? 1 : PARTITIONS); p++) {
            mock_kafka_put(&s->kafka, topics[i], p, "t|x|Patient/x", "nonsense", 8);
            mock_kafka_put(&s->kafka, topics[i], p, "nonsense", "{}", 2);
            mock_kafka_put(&s->kafka, topics[i], p, NULL, "{", 1);
        }
}

void input_is_poisoned(void)
{
    int64_t at[POISONS + MADE];
    stage *s = stage_new();
    facts got;
    s->limits = "message_bytes: 1048576, record_bytes: 1048576";
    s->now_ms = AFTER_MIDNIGHT;
    facts *sample = facts_of_sample(s);
    s->now_ms = BEFORE_MIDNIGHT;
    start_and_wait(s);
    for (size_t i = 0; i < POISONS + MADE; i++) {
        (void)send_stream(s, i * 4, i * 4 + 4);
        at[i] = s->sent;
        if (i < POISONS)
            put(s, NULL, poison[i].value);
        else
            put_made(s, i - POISONS);
        if (i == POISONS / 2)
            spoil_own_topics(s);
    }
    judge_options o = {.expected = sample, .letters_differ = true, .ret_got = &got};
    judge(s, &o);
    for (size_t i = 0; i < POISONS + MADE; i++) {
        const char *reason = i < POISONS ? poison[i].reason : made_reason(i - POISONS);
        const char *is = letter_at(&got, at[i]);
        check(is != NULL && strcmp(is, reason) == 0, "poison %zu is a dead letter: %s, not %s", i,
              reason, is != NULL ? is : "none");
    }
    check(facts_count(&got, "letter ") == SAMPLE_LETTERS + POISONS + MADE,
          "each once, and nothing else is a dead letter");
    note("%zu kinds of poison", POISONS + MADE);
    facts_done(&got);
    facts_done(sample);
    stage_free(s);
}

/* ---- much in one message ---- */

#define ENTRIES      10000
#define PATIENTS     16
#define HUGE_LETTERS 10 /* of them nobody's */

/* Mostly creatinine, of one patient after the other; every thousandth is nobody's, and two of the
 * values are no numbers that anything can be reckoned with. */
static void add_entry(og_buf *b, int i)
{
    char digits[401];
    memset(digits, '9', 400);
    digits[400] = '\0';
    if (i < PATIENTS) {
        og_buf_addf(b,
                    "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"huge-%d\",\"gender\":"
                    "\"female\",\"birthDate\":\"1950-01-01\"}}",
                    i);
        return;
    }
    og_buf_addf(b,
                "{\"resource\":{\"resourceType\":\"Observation\",\"id\":\"c%d\",\"status\":"
                "\"final\",\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":"
                "\"2160-0\"}]},\"effectiveDateTime\":\"2026-02-%02d\",\"valueQuantity\":{\"value\":"
                "%s,\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg/dL\"}",
                i, i % 28 + 1,
                i == PATIENTS       ? "1e999999999"
                : i == PATIENTS + 1 ? digits
                                    : "1.1");
    if (i % (ENTRIES / HUGE_LETTERS) != ENTRIES / HUGE_LETTERS - 1)
        og_buf_addf(b, ",\"subject\":{\"reference\":\"Patient/huge-%d\"}", i % PATIENTS);
    og_buf_addz(b, "}}");
}

void input_is_a_huge_bundle(void)
{
    stage *s = stage_new();
    facts got;
    og_buf b;
    s->now_ms = AFTER_MIDNIGHT;
    facts *sample = facts_of_sample(s);
    size_t records = facts_count(sample, "record ");
    og_buf_init(&b, (size_t)16 << 20);
    og_buf_addz(&b, "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[");
    for (int i = 0; i < ENTRIES; i++) {
        og_buf_addz(&b, i > 0 ? "," : "");
        add_entry(&b, i);
    }
    og_buf_addz(&b, "]}");
    assert_false(og_buf_failed(&b));
    start_and_wait(s);
    (void)send_stream(s, 0, 20);
    int64_t at = s->sent;
    put(s, NULL, og_buf_str(&b));
    (void)send_stream(s, 20, SIZE_MAX); /* what follows goes on */
    judge_options o = {.ret_got = &got};
    judge(s, &o);
    check(facts_count(&got, "record ") == records + ENTRIES - HUGE_LETTERS,
          "each entry is a record: %zu", facts_count(&got, "record ") - records);
    check(facts_count(&got, "letter ") == SAMPLE_LETTERS + HUGE_LETTERS,
          "but those of nobody, each a dead letter");
    for (int i = 1; i <= HUGE_LETTERS; i++) {
        char name[64];
        int n = snprintf(name, sizeof name, "letter fhir.bundle[0]@%lld entry %d", (long long)at,
                         i * (ENTRIES / HUGE_LETTERS) - 1);
        check(og_table_get(&got.table, (og_str){name, (size_t)n}) != NULL, "%s", name);
    }
    check(metric_value(METRIC_EVALUATION_FAILURES) == 0 && metric_value(METRIC_RULE_FAILURES) == 0,
          "every patient can be judged, and by every rule");
    note("%d entries, %zu KB", ENTRIES, b.n / 1024);
    og_buf_done(&b);
    facts_done(&got);
    facts_done(sample);
    stage_free(s);
}

/* ---- repeats, in any order ---- */

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Every message one to three times, shuffled; ret[i]: which message of the sample came as i. */
static size_t shuffle(const sent_list *sample, uint64_t seed, size_t *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < sample->count; i++)
        for (uint64_t k = next_random(&seed) % 3 + 1; k > 0; k--)
            ret[n++] = i;
    for (size_t i = n - 1; i > 0; i--) {
        size_t k = next_random(&seed) % (i + 1), was = ret[i];
        ret[i] = ret[k];
        ret[k] = was;
    }
    return n;
}

static size_t in_order(uint64_t seed, const facts *expected)
{
    static size_t order[512];
    stage *s = stage_new();
    facts got;
    sent_list sample;
    og_arena *a = og_arena_new((size_t)64 << 20);
    sent_sample(a, &sample);
    size_t n = shuffle(&sample, seed, order), letters = 0;
    start_and_wait(s);
    for (size_t i = 0; i < n; i++)
        put(s, NULL, sample.at[order[i]].value);
    judge_options o = {.expected = expected, .letters_differ = true, .ret_got = &got};
    judge(s, &o);
    for (size_t i = 0; i < n; i++) {
        const char *is = letter_at(&got, (int64_t)i),
                   *should = letter_at(expected, (int64_t)order[i]);
        letters += should != NULL;
        check((is == NULL) == (should == NULL) && (is == NULL || strcmp(is, should) == 0),
              "seed %llu: message %zu as %zu: %s, should be %s", (unsigned long long)seed, order[i],
              i, is != NULL ? is : "taken", should != NULL ? should : "taken");
    }
    check(facts_count(&got, "letter ") == letters, "nothing else is a dead letter");
    facts_done(&got);
    og_arena_free(a);
    stage_free(s);
    return n;
}

void input_comes_twice_and_reordered(void)
{
    stage *like = stage_new();
    like->now_ms = AFTER_MIDNIGHT;
    facts *expected = facts_of_sample(like);
    size_t messages = 0, seeds = is_long() ? 20 : 1;
    stage_free(like);
    for (uint64_t seed = 1; seed <= seeds; seed++)
        messages += in_order(seed, expected);
    note("%zu messages, %zu seeds", messages, seeds);
    facts_done(expected);
}

/* ---- the content changes all the time ---- */

static double rules_in_all;

static bool has_all_rules(stage *s)
{
    return life_metric(s, 0, "osteoguard_rules") == rules_in_all && life_is_quiet(s);
}

/* Whole, without some rules, not loadable, and the signal again and again meanwhile. */
void content_storm(void)
{
    static const char folder[] = "rules/content}";
    static const char *const turns[] = {folder, "rules/content, disabled: [B1, D3]}",
                                        "rules/nowhere}", "rules/content, disabled: [I2]}"};
    stage *s = stage_new();
    life l = life_begin(s, 0);
    int signals = 0;
    life_wait(s, &l, "a daemon", life_is_up);
    rules_in_all = life_metric(s, 0, "osteoguard_rules");
    config_keep(s);
    for (size_t i = 0; i < 80; i++) {
        config_write(s, folder, turns[i % 4]);
        for (int k = 0; k < 3; k++, signals++)
            kill(l.pid, SIGHUP);
        (void)send_stream(s, i, i + 1);
        let_pass(s, 100);
    }
    double reloads = life_metric(s, 0, "osteoguard_content_reloads_total");
    config_write(s, folder, folder);
    kill(l.pid, SIGHUP);
    life_wait(s, &l, "all rules again", has_all_rules);
    check(reloads >= 3, "there was a storm: %g reloads", reloads);
    life_stop(s, &l);
    judge(s, NULL);
    note("%d signals, %g reloads", signals + 1, reloads);
    stage_free(s);
}

/* ---- the clock ---- */

#define DAY_MS (int64_t)86400000

static int64_t ticks_from;

static bool a_second_later(stage *s)
{
    return s->at[0].serve->tick_steady_ms > ticks_from + 2000; /* ticks that look for reviews */
}

static void set_clock(stage *s, int64_t now_ms)
{
    s->now_ms = now_ms;
    ticks_from = s->at[0].serve->tick_steady_ms;
    wait_until(s, "ticks", a_second_later);
    wait_until(s, "rest", at_rest);
}

/* Back: nothing that was due comes a second time. Ahead: everything that is due comes, once. In the
 * end all is as if the clock had gone there straight. */
void clock_goes_forward_and_back(void)
{
    static const int64_t to[] = {AFTER_MIDNIGHT,
                                 BEFORE_MIDNIGHT - 2 * DAY_MS,
                                 AFTER_MIDNIGHT + DAY_MS,
                                 BEFORE_MIDNIGHT,
                                 AFTER_MIDNIGHT + 45 * DAY_MS,
                                 AFTER_MIDNIGHT + 44 * DAY_MS,
                                 AFTER_MIDNIGHT + 400 * DAY_MS};
    stage *s = stage_new();
    int64_t latest = 0;
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    wait_until(s, "rest", at_rest);
    for (size_t i = 0; i < sizeof to / sizeof to[0]; i++) {
        size_t said = s->post_count;
        int64_t evaluations = metric_value(METRIC_EVALUATIONS);
        set_clock(s, to[i]);
        evaluations = metric_value(METRIC_EVALUATIONS) - evaluations;
        if (to[i] < latest) {
            check(s->post_count == said, "set back, it says nothing new (step %zu: %zu)", i,
                  s->post_count - said);
            check(evaluations == 0, "set back, nobody is evaluated (step %zu: %lld)", i,
                  (long long)evaluations);
        } else {
            check(evaluations > 0 && evaluations < 200, "set ahead, no storm (step %zu: %lld)", i,
                  (long long)evaluations);
        }
        latest = to[i] > latest ? to[i] : latest;
    }
    check(has_d3_by_clock(s), "what falls due comes");
    judge(s, NULL);
    check(s->repeats == 0, "nothing came twice");
    note("%zu jumps", sizeof to / sizeof to[0]);
    stage_free(s);
}
