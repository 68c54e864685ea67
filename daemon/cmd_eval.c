/* osteoguard eval: the rules on resources from files, without Kafka, store or EHR.
 *
 * What the daemon would say about a patient at a time, and with --explain why. The output is the
 * contract of the command: one JSON line per patient, in the order in which patients first occur in
 * the input. */
#include "daemon/cmd_eval.h"

#include <getopt.h>
#include <stdlib.h>

#include "connectors/ndjson.h"
#include "daemon/clock.h"
#include "daemon/cmd.h"
#include "daemon/content_dir.h"
#include "daemon/explain_text.h"
#include "daemon/moment.h"
#include "daemon/patients.h"

#define MAX_SETTINGS  64
#define PATIENT_BYTES ((size_t)512 << 20)

typedef struct eval {
    const char *content_dir, *as_of, *zone;
    const char *rule; /* explained alone */
    bool explain, text;
    plan_setting settings[MAX_SETTINGS];
    const char *disabled[MAX_SETTINGS];
    plan_options options;
    char **files;
    int file_count;
    plan_content *content;
    patients *people;
    moment now;
    unsigned problems;
} eval;

static void usage(FILE *to)
{
    fputs("usage: osteoguard eval --content DIR [options] FILE...\n"
          "\n"
          "Evaluates the rules in DIR on FHIR R4 resources and Bundles (JSON, NDJSON, either\n"
          "gzipped; - is standard input) and writes one JSON line per patient:\n"
          "  {\"patient\":\"...\",\"asOf\":\"...\",\"cards\":[...]}\n"
          "\n"
          "  --content DIR           content folder\n"
          "  --as-of TIME            FHIR date or dateTime to evaluate at (default: now)\n"
          "  --tz ZONE               time zone of the site, for example Europe/Berlin\n"
          "                          (default: the offset of TIME, or the system's zone)\n"
          "  --explain               adds per rule why it fired, did not fire or was suppressed\n"
          "  --text                  with --explain: for people instead of JSON, each condition\n"
          "                          with + (met), - (not met) or ? (not known)\n"
          "  --rule ID               with --text: only this rule\n"
          "  --parameter NAME=VALUE  sets a CQL parameter to a CQL literal (repeats)\n"
          "  --disable RULE          switches a rule off (repeats)\n"
          "  --language CODE         language of the rules' texts\n"
          "  --help                  this text\n"
          "\n"
          "Exit status: 0 good; 1 an input could not be used, or a rule failed; 2 usage.\n",
          to);
}

static bool add_setting(eval *e, char *text)
{
    char *equals = strchr(text, '=');

    if (equals == NULL || equals == text || e->options.setting_count == MAX_SETTINGS)
        return false;
    *equals = '\0';
    e->settings[e->options.setting_count++] = (plan_setting){text, equals + 1};
    return true;
}

/* Returns -1 when all is well, else an exit status. */
static int read_options(eval *e, int argc, char **argv)
{
    enum { CONTENT = 1, AS_OF, ZONE, EXPLAIN, TEXT, RULE, PARAMETER, DISABLE, LANGUAGE, HELP };
    static const struct option options[] = {
        {"content", required_argument, NULL, CONTENT},
        {"as-of", required_argument, NULL, AS_OF},
        {"tz", required_argument, NULL, ZONE},
        {"explain", no_argument, NULL, EXPLAIN},
        {"text", no_argument, NULL, TEXT},
        {"rule", required_argument, NULL, RULE},
        {"parameter", required_argument, NULL, PARAMETER},
        {"disable", required_argument, NULL, DISABLE},
        {"language", required_argument, NULL, LANGUAGE},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    int o;

    optind = 0; /* another command may have used getopt before */
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        switch (o) {
        case CONTENT: e->content_dir = optarg; break;
        case AS_OF: e->as_of = optarg; break;
        case ZONE: e->zone = optarg; break;
        case EXPLAIN: e->explain = true; break;
        case TEXT: e->text = true; break;
        case RULE: e->rule = optarg; break;
        case PARAMETER:
            if (!add_setting(e, optarg))
                return cmd_misuse("eval", "'%s' is not NAME=VALUE, or there are too many", optarg);
            break;
        case DISABLE:
            if (e->options.disabled_count == MAX_SETTINGS)
                return cmd_misuse("eval", "too many rules to switch off: %s", optarg);
            e->disabled[e->options.disabled_count++] = optarg;
            break;
        case LANGUAGE: e->options.language = optarg; break;
        case HELP: usage(stdout); return 0;
        case ':': return cmd_misuse("eval", "%s needs a value", argv[optind - 1]);
        default: return cmd_misuse("eval", "unknown option %s", argv[optind - 1]);
        }
    }
    e->files = argv + optind;
    e->file_count = argc - optind;
    if (e->content_dir == NULL)
        return cmd_misuse("eval", "--content DIR is missing");
    if (e->text && !e->explain)
        return cmd_misuse("eval", "--text wants --explain");
    if (e->rule != NULL && !e->text)
        return cmd_misuse("eval", "--rule wants --text");
    if (e->file_count == 0)
        return cmd_misuse("eval", "FILE is missing");
    return -1;
}

static int read_time(eval *e)
{
    og_error err;
    char line[1400];

    og_error_init(&err);
    if (e->zone != NULL && clock_set_zone(e->zone, &err) != OG_OK) {
        og_error_format(&err, line, sizeof line);
        fprintf(stderr, "osteoguard eval: %s\n", line);
        return 2;
    }
    if (e->as_of == NULL) {
        e->now.ms = clock_wall_ms();
        e->now.offset_min = clock_offset_min(e->now.ms);
        return -1;
    }
    if (!moment_parse(og_str_of(e->as_of), e->zone != NULL, &e->now))
        return cmd_misuse("eval", "'%s' is not a FHIR date or dateTime", e->as_of);
    return -1;
}

/* ---- input ---- */

static void read_file(eval *e, const char *path)
{
    og_report report = {.fn = cmd_print_problem, .ctx = &e->problems};
    ndjson_reader *reader = NULL;
    ndjson_item item;
    og_error err;
    og_status s;

    og_error_init(&err);
    s = ndjson_open(path, 0, 0, 0, &reader, &err);
    while (s == OG_OK) {
        s = ndjson_next(reader, &item, &err);
        if (s == OG_OK) {
            patients_add(e->people, item.text, path, (uint32_t)item.line, &report);
        } else if (s == OG_LIMIT) { /* one line too long; the rest is good */
            og_error_origin(&err, path);
            og_error_at(&err, (uint32_t)item.line, 1);
            og_report_add(&report, &err);
            og_error_init(&err);
            s = OG_OK;
        } else if (s == OG_NOTFOUND) {
            ndjson_close(reader);
            return;
        }
    }
    og_error_origin(&err, path);
    og_report_add(&report, &err);
    ndjson_close(reader);
}

/* ---- output ---- */

static const char *outcome_name(plan_outcome_kind k)
{
    static const char *const names[] = {"fired",  "not-fired", "suppressed",
                                        "merged", "failed",    "not-run"};
    return names[k];
}

static void write_outcome(og_buf *out, const plan_outcome *o)
{
    og_buf_addz(out, "{\"rule\":");
    og_buf_add_json(out, o->rule);
    og_buf_addf(out, ",\"outcome\":\"%s\"", outcome_name(o->kind));
    if (o->by.n != 0) {
        og_buf_addz(out, ",\"by\":");
        og_buf_add_json(out, o->by);
    }
    if (o->kind == PLAN_FAILED) {
        char line[1400];
        og_error_format(&o->error, line, sizeof line);
        og_buf_addz(out, ",\"error\":");
        og_buf_add_json(out, og_str_of(line));
    }
    if (o->note.n != 0) {
        og_buf_addz(out, ",\"note\":");
        og_buf_add_json(out, o->note);
    }
    if (o->explain.n > 2) { /* the object's members join ours */
        og_buf_addc(out, ',');
        og_buf_add(out, o->explain.p + 1, o->explain.n - 2);
    }
    og_buf_addc(out, '}');
}

static void write_patient(const eval *e, og_buf *out, og_str id, const plan_result *result,
                          const plan_change *changes, size_t change_count)
{
    char text[48];
    size_t n = moment_format(&e->now, text);

    og_buf_addz(out, "{\"patient\":");
    og_buf_add_json(out, id);
    og_buf_addf(out, ",\"asOf\":\"%.*s\",\"cards\":[", (int)n, text);
    for (size_t i = 0; i < change_count; i++) {
        og_buf_addz(out, i > 0 ? "," : "");
        og_buf_adds(out, changes[i].alert.card);
    }
    og_buf_addc(out, ']');
    if (e->explain) {
        og_buf_addz(out, ",\"rules\":[");
        for (size_t i = 0; i < result->outcome_count; i++) {
            og_buf_addz(out, i > 0 ? "," : "");
            write_outcome(out, &result->outcomes[i]);
        }
        og_buf_addc(out, ']');
        if (result->next_review_ms != 0) {
            moment next = {result->next_review_ms, e->now.offset_min};
            if (e->zone != NULL) {
                next.ms = clock_review_ms(next.ms, e->now.ms, clock_offset_min);
                next.offset_min = clock_offset_min(next.ms);
            }
            n = moment_format(&next, text);
            og_buf_addf(out, ",\"nextReview\":\"%.*s\"", (int)n, text);
        }
    }
    og_buf_addz(out, "}\n");
}

static void write_text(const eval *e, og_arena *a, og_buf *out, og_str id,
                       const plan_result *result)
{
    char text[48];
    size_t n = moment_format(&e->now, text);

    og_buf_addf(out, "Patient %.*s, %.*s\n", OG_STR_ARG(id), (int)n, text);
    explain_text(out, a, result, e->options.language, e->rule);
    og_buf_addc(out, '\n');
}

static void report_failures(eval *e, og_str patient, const plan_result *result)
{
    for (size_t i = 0; i < result->outcome_count; i++) {
        const plan_outcome *o = &result->outcomes[i];
        char line[1400];
        if (o->kind != PLAN_FAILED)
            continue;
        og_error_format(&o->error, line, sizeof line);
        fprintf(stderr, "patient %.*s: rule %.*s: %s\n", OG_STR_ARG(patient), OG_STR_ARG(o->rule),
                line);
        e->problems++;
    }
}

static void eval_patient(eval *e, size_t i, og_arena *a)
{
    plan_patient patient = {.tenant = OG_STR("default"), .id = patients_id(e->people, i)};
    plan_result result;
    const plan_change *changes;
    size_t change_count;
    og_error err;
    og_buf out;

    og_error_init(&err);
    og_buf_init(&out, (size_t)256 << 20);
    if (patients_view(e->people, i, a, &patient.resources, &patient.resource_count, &err) != OG_OK)
        goto out;
    if (patient.resource_count == 0)
        goto out; /* all of it was deleted */
    if (plan_content_evaluate(e->content, a, &patient, e->now.ms, e->now.offset_min,
                              e->explain ? PLAN_REASONS : PLAN_CARDS, &result, &err) != OG_OK ||
        plan_alert_compare(a, e->content, NULL, 0, &result, e->now.ms, &changes, &change_count,
                           &err) != OG_OK)
        goto out;
    report_failures(e, patient.id, &result);
    if (e->text)
        write_text(e, a, &out, patient.id, &result);
    else
        write_patient(e, &out, patient.id, &result, changes, change_count);
    if (og_buf_failed(&out))
        og_fail(&err, OG_NOMEM, "no memory for the output");
    else
        fwrite(out.p, 1, out.n, stdout);
out:
    if (err.status != OG_OK) {
        char line[1400];
        og_error_format(&err, line, sizeof line);
        fprintf(stderr, "patient %.*s: %s\n", OG_STR_ARG(patient.id), line);
        e->problems++;
    }
    og_buf_done(&out);
}

static bool has_rule(const plan_content *content, const char *id)
{
    for (size_t i = 0; i < plan_content_rule_count(content); i++)
        if (strcmp(plan_content_rule_id(content, i), id) == 0)
            return true;
    return false;
}

static int run(eval *e)
{
    og_report report = {.fn = cmd_print_problem};
    og_arena *a = og_arena_new(PATIENT_BYTES);
    int status = 1;

    e->options.settings = e->settings;
    e->options.disabled = e->disabled;
    e->people = patients_new();
    if (a == NULL || e->people == NULL) {
        fputs("osteoguard eval: out of memory\n", stderr);
        goto out;
    }
    if (content_dir_load(e->content_dir, &e->options, &e->content, &report) != OG_OK)
        goto out;
    if (e->rule != NULL && !has_rule(e->content, e->rule)) {
        fprintf(stderr, "%s: error: there is no rule %s, or it is switched off\n", e->content_dir,
                e->rule);
        goto out;
    }
    for (int i = 0; i < e->file_count; i++)
        read_file(e, e->files[i]);
    for (size_t i = 0; i < patients_count(e->people); i++) {
        eval_patient(e, i, a);
        og_arena_reset(a);
    }
    status = e->problems != 0;
out:
    plan_content_free(e->content);
    patients_free(e->people);
    og_arena_free(a);
    return status;
}

int cmd_eval(int argc, char **argv)
{
    eval e = {0};
    int status = read_options(&e, argc, argv);

    if (status < 0)
        status = read_time(&e);
    return status < 0 ? run(&e) : status;
}
