/* Metrics: a table of numbers, written as Prometheus text. Counting must be cheap and must not
 * fail; a series that cannot be kept any more (too many label values) is counted as "other" instead
 * of being dropped. */
#include "daemon/metrics.h"

#include <inttypes.h>
#include <stdlib.h>

typedef enum metric_kind {
    METRIC_KIND_COUNTER,
    METRIC_KIND_GAUGE,
    METRIC_KIND_HISTOGRAM
} metric_kind;

typedef struct metric_info {
    metric_kind kind;
    const char *name, *labels, *help;
} metric_info;

static const metric_info infos[METRIC_COUNT] = {
#define METRIC(id, kind, name, labels, help) {METRIC_KIND_##kind, name, labels, help},
#include "daemon/metrics.def"
#undef METRIC
};

/* Upper bounds in microseconds: from one evaluation to an event that waited for minutes. */
static const int64_t bounds_us[] = {100,     200,     500,      1000,     2000,   5000,
                                    10000,   20000,   50000,    100000,   200000, 500000,
                                    1000000, 5000000, 30000000, 300000000};
#define BOUNDS (sizeof bounds_us / sizeof bounds_us[0])

#define MAX_SERIES  256
#define LABEL_BYTES 64

typedef struct series {
    char a[LABEL_BYTES], b[LABEL_BYTES];
    uint64_t value;
} series;

typedef struct metric_state {
    int64_t value; /* counter or gauge without labels; observations of a histogram */
    uint64_t buckets[BOUNDS];
    uint64_t sum_us;
    series *series;
    size_t series_count;
} metric_state;

static metric_state states[METRIC_COUNT];

void metric_add(metric m, uint64_t n)
{
    states[m].value += (int64_t)n;
}

static void copy_label(char dst[LABEL_BYTES], const char *src)
{
    size_t n = src != NULL ? strlen(src) : 0;
    if (n >= LABEL_BYTES)
        n = LABEL_BYTES - 1;
    if (n > 0)
        memcpy(dst, src, n);
    dst[n] = '\0';
}

static series *series_of(metric_state *s, const char *a, const char *b)
{
    char la[LABEL_BYTES], lb[LABEL_BYTES];
    copy_label(la, a);
    copy_label(lb, b);
    for (size_t i = 0; i < s->series_count; i++)
        if (strcmp(s->series[i].a, la) == 0 && strcmp(s->series[i].b, lb) == 0)
            return &s->series[i];
    if (s->series == NULL)
        s->series = calloc(MAX_SERIES + 1, sizeof *s->series);
    if (s->series == NULL)
        return NULL;
    if (s->series_count >= MAX_SERIES) { /* the last place is for all the others */
        copy_label(la, "other");
        copy_label(lb, b != NULL ? "other" : "");
        s->series_count = MAX_SERIES + 1;
        memcpy(s->series[MAX_SERIES].a, la, sizeof la);
        memcpy(s->series[MAX_SERIES].b, lb, sizeof lb);
        return &s->series[MAX_SERIES];
    }
    series *made = &s->series[s->series_count++];
    memcpy(made->a, la, sizeof la);
    memcpy(made->b, lb, sizeof lb);
    return made;
}

void metric_add_label(metric m, const char *a, const char *b, uint64_t n)
{
    series *s = series_of(&states[m], a, b);
    if (s != NULL)
        s->value += n;
    states[m].value += (int64_t)n;
}

void metric_set(metric m, int64_t value)
{
    states[m].value = value;
}

void metric_set_label(metric m, const char *label, int64_t value)
{
    series *s = series_of(&states[m], label, NULL);
    if (s == NULL)
        return;
    states[m].value += value - (int64_t)s->value;
    s->value = (uint64_t)value;
}

void metric_observe_us(metric m, int64_t us)
{
    metric_state *s = &states[m];
    if (us < 0)
        us = 0;
    for (size_t i = 0; i < BOUNDS; i++)
        if (us <= bounds_us[i])
            s->buckets[i]++;
    s->sum_us += (uint64_t)us;
    s->value++;
}

int64_t metric_value(metric m)
{
    return states[m].value;
}

static void write_us(og_buf *out, uint64_t us)
{
    og_buf_addf(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

static void write_histogram(og_buf *out, const metric_info *info, const metric_state *s)
{
    for (size_t i = 0; i < BOUNDS; i++) {
        og_buf_addf(out, "%s_bucket{le=\"", info->name);
        write_us(out, (uint64_t)bounds_us[i]);
        og_buf_addf(out, "\"} %" PRIu64 "\n", s->buckets[i]);
    }
    og_buf_addf(out, "%s_bucket{le=\"+Inf\"} %" PRId64 "\n%s_sum ", info->name, s->value,
                info->name);
    write_us(out, s->sum_us);
    og_buf_addf(out, "\n%s_count %" PRId64 "\n", info->name, s->value);
}

/* Label values: backslash, quote and newline are escaped (text format 0.0.4). */
static void write_label(og_buf *out, og_str name, const char *value)
{
    og_buf_adds(out, name);
    og_buf_addz(out, "=\"");
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\\' || *c == '"')
            og_buf_addc(out, '\\');
        if (*c == '\n')
            og_buf_addz(out, "\\n");
        else
            og_buf_addc(out, *c);
    }
    og_buf_addc(out, '"');
}

static void write_series(og_buf *out, const metric_info *info, const series *s)
{
    og_str labels = og_str_of(info->labels);
    ptrdiff_t comma = og_str_find(labels, ',');
    og_buf_addf(out, "%s{", info->name);
    if (comma < 0) {
        write_label(out, labels, s->a);
    } else {
        write_label(out, (og_str){labels.p, (size_t)comma}, s->a);
        og_buf_addc(out, ',');
        write_label(out, og_str_from(labels, (size_t)comma + 1), s->b);
    }
    og_buf_addf(out, "} %" PRIu64 "\n", s->value);
}

static void write_metric(og_buf *out, const metric_info *info, const metric_state *s)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    og_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", info->name, info->help, info->name,
                kinds[info->kind]);
    if (info->kind == METRIC_KIND_HISTOGRAM)
        write_histogram(out, info, s);
    else if (info->labels[0] == '\0')
        og_buf_addf(out, "%s %" PRId64 "\n", info->name, s->value);
    for (size_t i = 0; i < s->series_count; i++)
        write_series(out, info, &s->series[i]);
}

void metrics_write(og_buf *out)
{
    for (size_t i = 0; i < METRIC_COUNT; i++)
        write_metric(out, &infos[i], &states[i]);
}

void metrics_reset(void)
{
    for (size_t i = 0; i < METRIC_COUNT; i++)
        free(states[i].series);
    memset(states, 0, sizeof states);
}
