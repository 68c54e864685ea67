/* osteoguard review: what the rules would say of everybody at a time, or with content that is not
 * in force yet, beside what is open now. Reads the stores of this machine's daemon, which may be
 * running; delivers nothing, changes nothing. */
#include "daemon/cmd_review.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cmd.h"
#include "daemon/config.h"
#include "daemon/content_dir.h"
#include "daemon/file.h"
#include "daemon/moment.h"
#include "daemon/review.h"
#include "daemon/wants.h"

#define MAX_WANTS ((size_t)16 << 20)

static const char usage[] =
    "usage: osteoguard review -c FILE [--as-of TIME] [--content DIR] [--patient ID]\n"
    "                          [--summary] [--json]\n"
    "\n"
    "Evaluates all patients in the stores of this machine and says which alerts would open, "
    "change\n"
    "and close, compared with what is open now. Nothing is delivered, nothing is changed; the "
    "daemon\n"
    "may be running. As it is without --as-of and --content, nothing should differ.\n"
    "\n"
    "  -c, --config FILE   the daemon's configuration, or the one that is to replace it\n"
    "      --as-of TIME    FHIR date or dateTime to evaluate at (default: now)\n"
    "      --content DIR   this content instead of the configured one: what a reload would do\n"
    "      --patient ID    this patient alone\n"
    "      --summary       only the numbers of alerts, no patients\n"
    "      --json          one JSON line per patient with a difference, and one with the numbers\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 good; 1 a store could not be read, or a patient or rule not evaluated; 2 "
    "usage.\n";

typedef struct review_command {
    const char *config_path, *as_of, *content_dir;
    bool json, summary;
    config *c;
    plan_content *content;
    moment now;
    review_setup setup;
    og_arena *arena, *scratch; /* scratch: of one card */
    og_buf out;
} review_command;

/* Returns -1 when all is well, else an exit status. */
static int read_options(review_command *x, int argc, char **argv)
{
    enum { AS_OF = 256, CONTENT, PATIENT, SUMMARY, JSON };
    static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
                                          {"as-of", required_argument, NULL, AS_OF},
                                          {"content", required_argument, NULL, CONTENT},
                                          {"patient", required_argument, NULL, PATIENT},
                                          {"summary", no_argument, NULL, SUMMARY},
                                          {"json", no_argument, NULL, JSON},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int o;

    optind = 0; /* another command may have used getopt before */
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":c:h", longs, NULL)) != -1) {
        switch (o) {
        case 'c': x->config_path = optarg; break;
        case AS_OF: x->as_of = optarg; break;
        case CONTENT: x->content_dir = optarg; break;
        case PATIENT: x->setup.patient = optarg; break;
        case SUMMARY: x->summary = true; break;
        case JSON: x->json = true; break;
        case 'h': fputs(usage, stdout); return 0;
        case ':': return cmd_misuse("review", "%s needs a value", argv[optind - 1]);
        default: return cmd_misuse("review", "unknown option %s", argv[optind - 1]);
        }
    }
    if (optind != argc)
        return cmd_misuse("review", "takes no further arguments: %s", argv[optind]);
    if (x->config_path == NULL)
        return cmd_misuse("review", "which configuration? Give it with -c FILE");
    return -1;
}

static int read_time(review_command *x)
{
    og_error err;
    og_clock clock;

    og_error_init(&err);
    if (clock_set_zone(x->c->timezone, &err) != OG_OK) {
        cmd_print_problem(NULL, &err);
        return 1;
    }
    config_clock(x->c, &clock);
    x->now.ms = clock_now(&clock);
    x->now.offset_min = clock_offset_min(x->now.ms);
    if (x->as_of != NULL && !moment_parse(og_str_of(x->as_of), true, &x->now))
        return cmd_misuse("review", "'%s' is not a FHIR date or dateTime", x->as_of);
    return -1;
}

/* ---- output ---- */

static const char *const verbs[] = {"opens", "changes", "closes", "shows again"};
static const char *const kinds[] = {"opened", "changed", "resolved", "shown-again"};
static const char *const indicators[] = {"info", "warning", "critical"};

/* What the card of an alert says in one line; borrowed from the alert or the scratch arena. */
static og_str summary_of(const review_command *x, const plan_alert *alert)
{
    fhir_doc doc;
    og_arena_reset(x->scratch);
    if (fhir_decode(x->scratch, alert->card, NULL, &doc, NULL) != OG_OK)
        return OG_STR("");
    return fhir_string(x->scratch, fhir_get(fhir_root(&doc), "summary"));
}

static void write_line(review_command *x, og_str patient, const plan_change *change)
{
    const plan_alert *alert = &change->alert;
    og_str summary = summary_of(x, alert);
    og_buf_addf(
        &x->out, "%.*s  %s  %.*s  %s%s  %.*s\n", OG_STR_ARG(patient), verbs[change->kind],
        OG_STR_ARG(alert->rule), alert->worklist ? "worklist" : indicators[alert->indicator],
        change->kind == PLAN_OPENED && plan_content_rests_on_absence(x->content, alert->rule)
            ? ", if nothing else comes"
            : "",
        OG_STR_ARG(summary));
}

static void write_change(review_command *x, const plan_change *change)
{
    const plan_alert *alert = &change->alert;
    og_buf *b = &x->out;
    og_buf_addf(b, "{\"change\":\"%s\",\"rule\":", kinds[change->kind]);
    og_buf_add_json(b, alert->rule);
    og_buf_addf(b, ",\"alertId\":\"%s\",\"indicator\":\"%s\",\"worklist\":%s,\"absence\":%s",
                alert->id, indicators[alert->indicator], alert->worklist ? "true" : "false",
                plan_content_rests_on_absence(x->content, alert->rule) ? "true" : "false");
    og_buf_addz(b, ",\"summary\":");
    og_buf_add_json(b, summary_of(x, alert));
    og_buf_addc(b, '}');
}

static void flush_out(review_command *x)
{
    fwrite(x->out.p, 1, x->out.n, stdout);
    og_buf_clear(&x->out);
}

static void write_json_patient(review_command *x, const review_patient *p)
{
    char text[48];
    size_t n = moment_format(&x->now, text);
    og_buf_addz(&x->out, "{\"patient\":");
    og_buf_add_json(&x->out, p->id);
    og_buf_addf(&x->out, ",\"asOf\":\"%.*s\",\"changes\":[", (int)n, text);
    for (size_t i = 0; i < p->change_count; i++) {
        og_buf_addz(&x->out, i > 0 ? "," : "");
        write_change(x, &p->changes[i]);
    }
    og_buf_addz(&x->out, "]}\n");
}

static void on_differs(void *ctx, const review_patient *p)
{
    review_command *x = ctx;
    if (x->summary)
        return;
    if (x->json)
        write_json_patient(x, p);
    else
        for (size_t i = 0; i < p->change_count; i++)
            write_line(x, p->id, &p->changes[i]);
    flush_out(x);
}

static void on_failed(void *ctx, og_str patient, og_str rule, const og_error *why)
{
    char line[1400];
    (void)ctx;
    og_error_format(why, line, sizeof line);
    fprintf(stderr, "patient %.*s: %s%.*s%s%s\n", OG_STR_ARG(patient), rule.n > 0 ? "rule " : "",
            OG_STR_ARG(rule), rule.n > 0 ? ": " : "", line);
}

static void write_json_rule(og_buf *b, const review_rule *r)
{
    og_buf_addf(b,
                "\"open\":%" PRIu64 ",\"opened\":%" PRIu64 ",\"changed\":%" PRIu64
                ",\"resolved\":%" PRIu64 ",\"absence\":%" PRIu64,
                r->open, r->opens, r->changes, r->closes, r->absence);
}

static void write_json_totals(review_command *x, const review_totals *t)
{
    char text[48];
    size_t n = moment_format(&x->now, text);
    og_buf *b = &x->out;
    og_buf_addf(b,
                "{\"asOf\":\"%.*s\",\"content\":\"%s\",\"patients\":%" PRIu64 ",\"differ\":%" PRIu64
                ",\"failed\":%" PRIu64 ",\"waiting\":%" PRIu64 ",\"stores\":%" PRIu64
                ",\"missing\":%" PRIu64 ",",
                (int)n, text, plan_content_digest(x->content), t->patients, t->differ, t->failed,
                t->waiting, t->stores, t->missing);
    write_json_rule(b, &t->all);
    og_buf_addz(b, ",\"rules\":[");
    for (size_t i = 0; i < t->rule_count; i++) {
        og_buf_addz(b, i > 0 ? ",{\"rule\":" : "{\"rule\":");
        og_buf_add_json(b, t->rules[i]->id);
        og_buf_addc(b, ',');
        write_json_rule(b, t->rules[i]);
        og_buf_addc(b, '}');
    }
    og_buf_addz(b, "]}\n");
}

static void write_row(og_buf *b, og_str name, const review_rule *r)
{
    og_buf_addf(b, "%-8.*s %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 "\n", OG_STR_ARG(name),
                r->open, r->opens, r->changes, r->closes);
}

static void write_totals(review_command *x, const review_totals *t)
{
    char text[48];
    size_t n = moment_format(&x->now, text);
    og_buf *b = &x->out;
    og_buf_addf(b, "%s%-8s %8s %8s %8s %8s\n", t->differ > 0 && !x->summary ? "\n" : "", "rule",
                "open", "opens", "changes", "closes");
    for (size_t i = 0; i < t->rule_count; i++)
        write_row(b, t->rules[i]->id, t->rules[i]);
    write_row(b, OG_STR("all"), &t->all);
    og_buf_addf(b, "\nas of %.*s, %" PRIu64 " patients, %" PRIu64 " with a difference\n", (int)n,
                text, t->patients, t->differ);
    if (t->all.absence > 0)
        og_buf_addf(b, "%" PRIu64 " of those that open rest on something that is not there yet\n",
                    t->all.absence);
}

/* What the numbers do not hold. */
static void tell_limits(const review_command *x, const review_totals *t)
{
    char path[1024];
    og_buf old;
    if (t->missing > 0)
        fprintf(stderr,
                "%" PRIu64 " of %" PRIu64 " partitions have no store here: their patients "
                "are not among these\n",
                t->missing, t->missing + t->stores);
    if (t->waiting > 0)
        fprintf(stderr,
                "%" PRIu64 " patients are still to be evaluated by the daemon: part of this "
                "is on its way\n",
                t->waiting);
    og_buf_init(&old, MAX_WANTS);
    snprintf(path, sizeof path, "%s/wants", x->c->store_dir);
    if (file_read(path, MAX_WANTS, &old, NULL) == OG_OK &&
        !wants_covered(x->content, og_buf_str(&old)))
        fputs(
            "this content asks for more than the stores hold: with it the daemon reads the source "
            "topics once more, and what it finds there is not among these\n",
            stderr);
    og_buf_done(&old);
}

/* ---- the command ---- */

static og_status load_content(review_command *x)
{
    og_report report = {.fn = cmd_print_problem};
    plan_options options;
    const char *dir = x->content_dir != NULL ? x->content_dir : x->c->content_dir;
    og_status status = config_rules(x->c, x->arena, &options, NULL);
    return status == OG_OK ? content_dir_load(dir, &options, &x->content, &report) : status;
}

/* A store whose file was cut: the kernel's word for it, in ours. */
static void on_bus_error(int number)
{
    static const char text[] = "osteoguard review: a store's file is cut or its disk fails; a "
                               "daemon that starts rebuilds it\n";
    (void)number;
    (void)!write(2, text, sizeof text - 1);
    _exit(1);
}

static int review(review_command *x)
{
    const review_sink sink = {x, on_differs, on_failed};
    review_totals totals;
    og_error err;

    og_error_init(&err);
    signal(SIGBUS, on_bus_error);
    x->setup.store_dir = x->c->store_dir;
    x->setup.tenant = x->c->tenant;
    x->setup.partitions = x->c->kafka_partitions;
    x->setup.content = x->content;
    x->setup.feedback = (feedback_policy){.days = x->c->override_days,
                                          .critical_hours = x->c->override_critical_hours};
    x->setup.as_of_ms = x->now.ms;
    x->setup.offset_min = x->now.offset_min;
    x->setup.memory_bytes = (size_t)x->c->arena_mb << 20;
    if (review_run(&x->setup, &sink, x->arena, &totals, &err) != OG_OK) {
        cmd_print_problem(NULL, &err);
        return 1;
    }
    if (x->setup.patient != NULL && totals.patients == 0) {
        fprintf(stderr, "osteoguard review: patient %s is not in the stores of this machine\n",
                x->setup.patient);
        return 1;
    }
    if (x->json)
        write_json_totals(x, &totals);
    else
        write_totals(x, &totals);
    flush_out(x);
    tell_limits(x, &totals);
    return totals.failed > 0;
}

int cmd_review(int argc, char **argv)
{
    review_command x = {0};
    og_report report = {.fn = cmd_print_problem}, warn = {.fn = cmd_print_warning};
    int status = read_options(&x, argc, argv);

    if (status >= 0)
        return status;
    og_buf_init(&x.out, (size_t)16 << 20);
    x.arena = og_arena_new((size_t)16 << 20);
    x.scratch = og_arena_new((size_t)16 << 20);
    status = 1;
    if (x.arena == NULL || x.scratch == NULL)
        fputs("osteoguard review: out of memory\n", stderr);
    else if (config_load(x.config_path, &x.c, &report, &warn) == OG_OK)
        status = read_time(&x);
    if (status < 0)
        status = load_content(&x) == OG_OK ? review(&x) : 1;
    plan_content_free(x.content);
    config_free(x.c);
    og_arena_free(x.arena);
    og_arena_free(x.scratch);
    og_buf_done(&x.out);
    return status;
}
