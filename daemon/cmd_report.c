/* osteoguard report: reads the alerts topic once and says what became of each rule's alerts. */
#include "daemon/cmd_report.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cmd.h"
#include "daemon/config.h"
#include "daemon/report.h"
#include "daemon/said.h"
#include "daemon/topic_reader.h"

#define MAX_MEMORY ((size_t)4 << 30)
#define MAX_PAGE   ((size_t)64 << 20)

typedef struct job {
    const char *config_path;
    int64_t since_ms, until_ms;
    bool json, broken;
    config *c;
    uv_loop_t loop;
    report *report;
} job;

static void usage(FILE *to)
{
    fputs("usage: osteoguard report -c FILE [--since TIME] [--until TIME] [--json]\n"
          "\n"
          "Reads the alerts topic and says for each rule how many alerts came up, were accepted,\n"
          "overridden (by reason), ignored, and how long people took. An alert counts once, with\n"
          "what became of its newest card. No patient is named.\n"
          "\n"
          "  -c, --config FILE     configuration of the daemon\n"
          "  --since TIME          alerts that came up at this time or later (ISO 8601)\n"
          "  --until TIME          alerts that came up before this time\n"
          "  --json                one line of JSON\n"
          "  --help                this text\n"
          "\n"
          "Exit status: 0 good; 1 the brokers do not answer; 2 usage.\n",
          to);
}

/* -1: go on; otherwise the exit status. */
static int read_option(job *x, int c)
{
    switch (c) {
    case 'c': x->config_path = optarg; return -1;
    case 's': return cmd_read_time("report", "--since", optarg, &x->since_ms);
    case 'u': return cmd_read_time("report", "--until", optarg, &x->until_ms);
    case 'j': x->json = true; return -1;
    case 'h': usage(stdout); return 0;
    default: return cmd_misuse("report", "unknown or incomplete option");
    }
}

static int read_arguments(job *x, int argc, char **argv)
{
    static const struct option names[] = {
        {"config", required_argument, NULL, 'c'}, {"since", required_argument, NULL, 's'},
        {"until", required_argument, NULL, 'u'},  {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    int c;
    optind = 0;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "c:h", names, NULL)) != -1) {
        int status = read_option(x, c);
        if (status >= 0)
            return status;
    }
    if (optind < argc)
        return cmd_misuse("report", "too much on the command line: %s", argv[optind]);
    if (x->config_path == NULL)
        return cmd_misuse("report", "a configuration is needed (-c FILE)");
    if (x->until_ms != 0 && x->until_ms <= x->since_ms)
        return cmd_misuse("report", "the period ends before it begins");
    return -1;
}

static bool on_message(void *ctx, const conn_message *m)
{
    job *x = ctx;
    og_str epoch = {NULL, 0};
    report_message said = {.partition = m->origin.partition,
                           .offset = m->origin.offset,
                           .epoch = INT64_MAX,
                           .key = m->key,
                           .value = m->value};
    if (kafka_message_header(m, SAID_EPOCH, &epoch))
        (void)og_str_int(epoch, 0, INT64_MAX, &said.epoch);
    x->broken = !report_take(x->report, &said);
    return !x->broken;
}

static og_status read_topic(job *x, og_error *err)
{
    config_map properties;
    topic_reader *reader = NULL;
    report_options o = {.tenant = x->c->tenant,
                        .since_ms = x->since_ms,
                        .until_ms = x->until_ms,
                        .max_bytes = MAX_MEMORY};
    x->report = report_new(&o);
    if (x->report == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a report");
    og_status status = config_kafka(x->c, true, &properties, err);
    if (status == OG_OK)
        status = topic_reader_new(&x->loop, properties.at, properties.count, &reader, err);
    if (status == OG_OK)
        status = topic_reader_scan(reader, x->c->kafka_alerts, on_message, x, err);
    topic_reader_free(reader);
    return status == OG_OK && x->broken ? og_fail(err, OG_NOMEM, "no memory for all alerts")
                                        : status;
}

static og_status print(job *x, og_error *err)
{
    og_buf page;
    og_buf_init(&page, MAX_PAGE);
    bool good = x->json ? report_write_json(x->report, &page) : report_write_text(x->report, &page);
    good = good && fwrite(page.p, 1, page.n, stdout) == page.n && fflush(stdout) == 0;
    og_buf_done(&page);
    return good ? OG_OK : og_fail(err, OG_IO, "the report cannot be written");
}

int cmd_report(int argc, char **argv)
{
    job x = {0};
    og_report report = {.fn = cmd_print_problem}, warn = {.fn = cmd_print_warning};
    og_error err;
    og_error_init(&err);
    int status = read_arguments(&x, argc, argv);
    if (status >= 0)
        return status;
    status = 1;
    uv_loop_init(&x.loop);
    if (config_load(x.config_path, &x.c, &report, &warn) == OG_OK) {
        if (read_topic(&x, &err) == OG_OK && print(&x, &err) == OG_OK)
            status = 0;
        else
            cmd_print_problem(NULL, &err);
    }
    uv_run(&x.loop, UV_RUN_DEFAULT);
    uv_loop_close(&x.loop);
    report_free(x.report);
    config_free(x.c);
    return status;
}
