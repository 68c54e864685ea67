/* Alerts of the topic, the last word of each, and sums per rule. */
#include "daemon/report.h"

#include <stdlib.h>

#include "daemon/moment.h"
#include "daemon/said.h"
#include "fhir/base/table.h"

#define MAX_PARTITIONS 1024
#define MAX_REASON     64
#define SCRATCH_BYTES  ((size_t)64 << 20) /* of one message */

typedef struct entry { /* an alert */
    og_str rule, reason;
    int64_t opened_ms, shown_ms, at_ms;
    plan_answer answer;
    bool gone, resolved, in_call;
} entry;

struct report {
    og_arena *arena, *scratch;
    char *tenant;
    int64_t since_ms, until_ms;
    int64_t claims[MAX_PARTITIONS]; /* the newest claim's offset */
    og_table alerts;                /* alert id → entry */
    og_table words;                 /* rules and reasons, once */
};

report *report_new(const report_options *o)
{
    report *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->arena = og_arena_new(o->max_bytes);
    r->scratch = og_arena_new(SCRATCH_BYTES);
    r->tenant = strdup(o->tenant);
    if (r->arena == NULL || r->scratch == NULL || r->tenant == NULL) {
        report_free(r);
        return NULL;
    }
    og_table_init(&r->alerts, r->arena);
    og_table_init(&r->words, r->arena);
    r->since_ms = o->since_ms;
    r->until_ms = o->until_ms;
    for (size_t i = 0; i < MAX_PARTITIONS; i++)
        r->claims[i] = -1;
    return r;
}

void report_free(report *r)
{
    if (r == NULL)
        return;
    og_arena_free(r->arena);
    og_arena_free(r->scratch);
    free(r->tenant);
    free(r);
}

/* ---- taking ---- */

/* A copy that is made once; .p NULL: no memory. */
static og_str word(report *r, og_str s)
{
    og_str *had = og_table_get(&r->words, s);
    if (had != NULL)
        return *had;
    og_str *made = og_arena_zalloc(r->arena, 1, sizeof *made);
    og_str copy = og_arena_str(r->arena, s);
    if (made == NULL || copy.p == NULL || !og_table_put(&r->words, copy, made))
        return (og_str){NULL, 0};
    *made = copy;
    return copy;
}

/* Codes are words of a code system; whatever else a client has sent could be anything. */
static og_str reason_of(og_str code)
{
    if (code.n == 0)
        return OG_STR("none");
    for (size_t i = 0; i < code.n; i++) {
        char c = code.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '_' || c == '.';
        if (!plain || code.n > MAX_REASON)
            return OG_STR("other");
    }
    return code;
}

static bool outdated(const report *r, const report_message *m)
{
    return m->partition >= 0 && m->partition < MAX_PARTITIONS && m->epoch < r->claims[m->partition];
}

static entry *entry_of(report *r, const char *id)
{
    entry *e = og_table_get(&r->alerts, og_str_of(id));
    if (e != NULL)
        return e;
    e = og_arena_zalloc(r->arena, 1, sizeof *e);
    og_str key = og_arena_str(r->arena, og_str_of(id));
    return e != NULL && key.p != NULL && og_table_put(&r->alerts, key, e) ? e : NULL;
}

static bool take_alert(report *r, const said_key *k, og_str value)
{
    plan_alert alert = {0};
    og_arena_reset(r->scratch);
    if (value.p != NULL && plan_alert_read(r->scratch, value, &alert, NULL) != OG_OK)
        return true; /* no alert: who reads the topic as its owner complains of it */
    entry *e = entry_of(r, k->alert_id);
    if (e == NULL)
        return false;
    *e = (entry){.gone = value.p == NULL,
                 .resolved = alert.state == PLAN_ALERT_RESOLVED,
                 .in_call = alert.state == PLAN_ALERT_SHOWN,
                 .opened_ms = alert.opened_ms,
                 .shown_ms = alert.feedback.shown_ms,
                 .at_ms = alert.feedback.at_ms,
                 .answer = alert.feedback.answer};
    if (e->gone)
        return true;
    e->rule = word(r, alert.rule);
    e->reason = word(r, reason_of(alert.feedback.code));
    return e->rule.p != NULL && e->reason.p != NULL;
}

bool report_take(report *r, const report_message *m)
{
    said_key k = {.endpoint = {NULL, 0}};
    if (m->key.p == NULL)
        return true;
    if (og_str_is(m->key, SAID_CLAIM)) {
        if (m->partition >= 0 && m->partition < MAX_PARTITIONS)
            r->claims[m->partition] = m->offset;
        return true;
    }
    if (!said_read_key(m->key, &k) || k.endpoint.n > 0 || !og_str_is(k.tenant, r->tenant) ||
        outdated(r, m))
        return true;
    return take_alert(r, &k, m->value);
}

static bool counts(const report *r, const entry *e)
{
    return !e->gone && e->opened_ms >= r->since_ms &&
           (r->until_ms == 0 || e->opened_ms < r->until_ms);
}

uint64_t report_alerts(const report *r)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < r->alerts.count; i++)
        n += counts(r, r->alerts.entries[i].value);
    return n;
}

/* ---- sums ---- */

typedef struct tally { /* of a reason */
    og_str reason;
    uint64_t count;
} tally;

typedef struct sum { /* of a rule, or of all */
    og_str rule;
    uint64_t fired, in_calls, accepted, overridden, ignored, waiting, resolved;
    tally *reasons; /* the most frequent first */
    size_t reason_count;
    int64_t *took_ms; /* sorted */
    size_t took_count;
} sum;

static int by_rule(const void *a, const void *b)
{
    return og_str_cmp(((const sum *)a)->rule, ((const sum *)b)->rule);
}

static int by_count(const void *a, const void *b)
{
    const tally *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return og_str_cmp(x->reason, y->reason);
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void add_reason(sum *s, og_str reason)
{
    size_t i = 0;
    while (i < s->reason_count && !og_str_eq(s->reasons[i].reason, reason))
        i++;
    if (i == s->reason_count)
        s->reasons[s->reason_count++].reason = reason;
    s->reasons[i].count++;
}

static void add_entry(sum *s, const entry *e)
{
    bool overridden = e->answer == PLAN_OVERRIDDEN || e->answer == PLAN_LAPSED;
    s->fired++;
    s->in_calls += e->in_call;
    s->accepted += e->answer == PLAN_ACCEPTED;
    s->overridden += overridden;
    s->ignored += e->answer == PLAN_IGNORED;
    s->resolved += e->answer == PLAN_UNANSWERED && e->resolved;
    s->waiting += e->answer == PLAN_UNANSWERED && !e->resolved;
    if (overridden)
        add_reason(s, e->reason);
    if ((overridden || e->answer == PLAN_ACCEPTED) && e->shown_ms > 0)
        s->took_ms[s->took_count++] = e->at_ms > e->shown_ms ? e->at_ms - e->shown_ms : 0;
}

/* Room for as many reasons and times as the rule has alerts. */
static bool make_room(report *r, sum *s, size_t alerts)
{
    s->reasons = og_arena_zalloc(r->arena, alerts + 1, sizeof *s->reasons);
    s->took_ms = og_arena_zalloc(r->arena, alerts + 1, sizeof *s->took_ms);
    return s->reasons != NULL && s->took_ms != NULL;
}

static sum *sum_of(sum *list, size_t *count, og_str rule)
{
    for (size_t i = 0; i < *count; i++)
        if (og_str_eq(list[i].rule, rule))
            return &list[i];
    list[*count].rule = rule;
    return &list[(*count)++];
}

/* The rules in the order of their names; behind them the sum of all. NULL: no memory. */
static sum *make_sums(report *r, size_t *ret_count)
{
    size_t rules = r->words.count, n = 0;
    sum *list = og_arena_zalloc(r->arena, rules + 1, sizeof *list), *all;
    if (list == NULL)
        return NULL;
    for (uint32_t i = 0; i < r->alerts.count; i++) {
        const entry *e = r->alerts.entries[i].value;
        if (counts(r, e))
            sum_of(list, &n, e->rule)->fired++;
    }
    if (n > 1)
        qsort(list, n, sizeof *list, by_rule);
    all = &list[n];
    all->rule = OG_STR("all");
    for (size_t i = 0; i < n; i++) {
        if (!make_room(r, &list[i], list[i].fired))
            return NULL;
        all->fired += list[i].fired;
        list[i].fired = 0;
    }
    if (!make_room(r, all, all->fired))
        return NULL;
    all->fired = 0;
    for (uint32_t i = 0; i < r->alerts.count; i++) {
        const entry *e = r->alerts.entries[i].value;
        size_t known = n;
        if (!counts(r, e))
            continue;
        add_entry(sum_of(list, &known, e->rule), e);
        add_entry(all, e);
    }
    for (size_t i = 0; i <= n; i++) {
        qsort(list[i].reasons, list[i].reason_count, sizeof *list[i].reasons, by_count);
        qsort(list[i].took_ms, list[i].took_count, sizeof *list[i].took_ms, by_time);
    }
    *ret_count = n;
    return list;
}

/* The smallest time that at least this share (in percent) did not exceed; -1: there is none. */
static int64_t took(const sum *s, unsigned percent)
{
    return s->took_count == 0 ? -1 : s->took_ms[(s->took_count * percent + 99) / 100 - 1];
}

/* ---- for people ---- */

static void add_time(og_buf *b, int64_t ms)
{
    int64_t minutes = ms / 60000;
    char text[32];
    if (ms < 0)
        snprintf(text, sizeof text, "-");
    else if (ms < 60000)
        snprintf(text, sizeof text, "%lld s", (long long)(ms / 1000));
    else if (minutes < 60)
        snprintf(text, sizeof text, "%lld min", (long long)minutes);
    else if (minutes < 2880)
        snprintf(text, sizeof text, "%lld h %lld min", (long long)(minutes / 60),
                 (long long)(minutes % 60));
    else
        snprintf(text, sizeof text, "%lld d %lld h", (long long)(minutes / 1440),
                 (long long)(minutes / 60 % 24));
    og_buf_addf(b, "  %11s", text);
}

static void add_row(og_buf *b, const sum *s)
{
    og_buf_addf(b, "%-6.*s %6llu %8llu %9llu %11llu %8llu %8llu %9llu", OG_STR_ARG(s->rule),
                (unsigned long long)s->fired, (unsigned long long)s->in_calls,
                (unsigned long long)s->accepted, (unsigned long long)s->overridden,
                (unsigned long long)s->ignored, (unsigned long long)s->waiting,
                (unsigned long long)s->resolved);
    add_time(b, took(s, 50));
    add_time(b, took(s, 90));
    for (size_t i = 0; i < s->reason_count; i++)
        og_buf_addf(b, "%s%.*s %llu", i == 0 ? "  " : ", ", OG_STR_ARG(s->reasons[i].reason),
                    (unsigned long long)s->reasons[i].count);
    og_buf_addc(b, '\n');
}

static void add_day(og_buf *b, const char *before, int64_t ms)
{
    moment m = {ms, 0};
    char text[48];
    size_t n = moment_format(&m, text);
    if (ms != 0)
        og_buf_addf(b, " %s %.*s", before, (int)n, text);
}

bool report_write_text(report *r, og_buf *out)
{
    size_t n = 0;
    const sum *list = make_sums(r, &n);
    if (list == NULL)
        return false;
    og_buf_addf(out, "%llu alert%s of %zu rule%s came up", (unsigned long long)list[n].fired,
                list[n].fired == 1 ? "" : "s", n, n == 1 ? "" : "s");
    add_day(out, "from", r->since_ms);
    add_day(out, "until", r->until_ms);
    og_buf_addf(out, "\n\n%-6s %6s %8s %9s %11s %8s %8s %9s  %11s  %11s  %s\n", "rule", "fired",
                "in calls", "accepted", "overridden", "ignored", "waiting", "resolved", "median",
                "p90", "reasons");
    for (size_t i = 0; i <= n; i++)
        if (n > 0)
            add_row(out, &list[i]);
    og_buf_addz(out,
                "\nin calls: of those that fired, cards that answered a call and never were an "
                "alert (a draft's). waiting: no word yet. resolved: the data took it back "
                "before anybody said a word. median, p90: from card to word.\n");
    return !og_buf_failed(out);
}

/* ---- for programs ---- */

static void add_sum(og_buf *b, const sum *s)
{
    og_buf_addf(
        b,
        "\"fired\":%llu,\"inCalls\":%llu,\"accepted\":%llu,\"overridden\":%llu,\"ignored\":%llu,"
        "\"waiting\":%llu,\"resolved\":%llu,\"reasons\":{",
        (unsigned long long)s->fired, (unsigned long long)s->in_calls,
        (unsigned long long)s->accepted, (unsigned long long)s->overridden,
        (unsigned long long)s->ignored, (unsigned long long)s->waiting,
        (unsigned long long)s->resolved);
    for (size_t i = 0; i < s->reason_count; i++)
        og_buf_addf(b, "%s\"%.*s\":%llu", i > 0 ? "," : "", OG_STR_ARG(s->reasons[i].reason),
                    (unsigned long long)s->reasons[i].count);
    og_buf_addc(b, '}');
    if (s->took_count > 0)
        og_buf_addf(
            b, ",\"timeToAction\":{\"count\":%zu,\"medianSeconds\":%lld,\"p90Seconds\":%lld}",
            s->took_count, (long long)(took(s, 50) / 1000), (long long)(took(s, 90) / 1000));
}

static void add_instant(og_buf *b, const char *name, int64_t ms)
{
    moment m = {ms, 0};
    char text[48];
    size_t n = moment_format(&m, text);
    if (ms != 0)
        og_buf_addf(b, ",\"%s\":\"%.*s\"", name, (int)n, text);
}

bool report_write_json(report *r, og_buf *out)
{
    size_t n = 0;
    const sum *list = make_sums(r, &n);
    if (list == NULL)
        return false;
    og_buf_addz(out, "{\"tenant\":");
    og_buf_add_json(out, og_str_of(r->tenant));
    add_instant(out, "since", r->since_ms);
    add_instant(out, "until", r->until_ms);
    og_buf_addz(out, ",\"rules\":[");
    for (size_t i = 0; i < n; i++) {
        og_buf_addf(out, "%s{\"rule\":", i > 0 ? "," : "");
        og_buf_add_json(out, list[i].rule);
        og_buf_addc(out, ',');
        add_sum(out, &list[i]);
        og_buf_addc(out, '}');
    }
    og_buf_addz(out, "],\"all\":{");
    add_sum(out, &list[n]);
    og_buf_addz(out, "}}\n");
    return !og_buf_failed(out);
}
