/* osteoguard-demo: what is around the daemon when nobody has a hospital at hand. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "tests/demo/broker.h"
#include "tests/demo/show.h"
#include "tests/demo/standin.h"

enum { USAGE = 2 };

static const char usage_text[] =
    "usage: osteoguard-demo broker [--topics NAME:PARTITIONS,...] [--partitions N] [--port-file "
    "FILE]\n"
    "           an embedded Kafka broker (librdkafka's mock cluster: for tests, keeps 5 MB a "
    "partition);\n"
    "           prints its address, runs until SIGTERM\n"
    "       osteoguard-demo ehr [--listen ADDRESS] [--port N] [--port-file FILE] [--quiet] "
    "[--ndjson FILE] [--fail SPEC]\n"
    "           an EHR stand-in: takes card pushes (POST /cards), prints them, keeps them as "
    "NDJSON;\n"
    "           SPEC is what it answers first: 503,503:7,hang,200 (:N is a Retry-After)\n"
    "       osteoguard-demo run [--exit] [--timeout SECONDS] [--config FILE] [--osteoguard "
    "PROGRAM] [--ndjson FILE]\n"
    "                           [--fail SPEC] [FILE...]\n"
    "           broker, EHR stand-in and daemon together; replays the sample stream or your FILEs "
    "(FHIR resources or\n"
    "           Bundles, NDJSON or JSON); --exit ends when they have been worked off.\n"
    "           OSTEOGUARD_KAFKA_BOOTSTRAP uses an existing Kafka\n";

static int usage(FILE *to)
{
    fputs(usage_text, to);
    return to == stdout ? 0 : USAGE;
}

static int complain(const og_error *err)
{
    fprintf(stderr, "osteoguard-demo: %s\n", err->text);
    return 1;
}

/* A number between min and max, or -1. */
static int number(const char *text, int min, int max)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    return errno == 0 && *text != '\0' && *end == '\0' && v >= min && v <= max ? (int)v : -1;
}

static bool write_port(const char *path, int port)
{
    FILE *f = path != NULL ? fopen(path, "we") : NULL;
    if (path == NULL)
        return true;
    if (f == NULL || fprintf(f, "%d\n", port) < 0 || fclose(f) != 0) {
        fprintf(stderr, "osteoguard-demo: %s: %s\n", path, strerror(errno));
        return false;
    }
    return true;
}

/* ---- broker ---- */

static int run_broker(int argc, char **argv)
{
    static const struct option options[] = {{"topics", required_argument, NULL, 't'},
                                            {"partitions", required_argument, NULL, 'p'},
                                            {"port-file", required_argument, NULL, 'f'},
                                            {NULL, 0, NULL, 0}};
    const char *topics = NULL, *port_file = NULL;
    int partitions = 4, opt;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 't': topics = optarg; break;
        case 'p': partitions = number(optarg, 1, 10000); break;
        case 'f': port_file = optarg; break;
        default: return usage(stderr);
        }
    }
    if (partitions < 0 || optind < argc)
        return usage(stderr);
    sigset_t until;
    int got;
    sigemptyset(&until);
    sigaddset(&until, SIGTERM);
    sigaddset(&until, SIGINT);
    sigprocmask(SIG_BLOCK, &until, NULL); /* librdkafka's threads inherit it */
    broker *b = NULL;
    og_error err;
    og_error_init(&err);
    if (broker_new(topics, partitions, &b, &err) != OG_OK)
        return complain(&err);
    const char *colon = strrchr(broker_bootstrap(b), ':');
    int status = write_port(port_file, colon != NULL ? atoi(colon + 1) : 0) ? 0 : 1;
    puts(broker_bootstrap(b));
    fflush(stdout);
    if (status == 0)
        sigwait(&until, &got);
    broker_free(b);
    return status;
}

/* ---- ehr ---- */

typedef struct ehr_run {
    standin *ehr;
    uv_signal_t on_int, on_term;
} ehr_run;

static void ehr_stop(uv_signal_t *h, int signal)
{
    ehr_run *r = h->data;
    (void)signal;
    uv_close((uv_handle_t *)&r->on_int, NULL);
    uv_close((uv_handle_t *)&r->on_term, NULL);
    standin_close(r->ehr, NULL, NULL);
}

static int serve_ehr(const standin_options *o, const char *port_file)
{
    uv_loop_t loop;
    ehr_run r;
    og_error err;
    og_error_init(&err);
    if (uv_loop_init(&loop) != 0)
        return 1;
    if (standin_new(&loop, o, &r.ehr, &err) != OG_OK) {
        uv_loop_close(&loop);
        return complain(&err);
    }
    uv_signal_init(&loop, &r.on_int);
    uv_signal_init(&loop, &r.on_term);
    r.on_int.data = r.on_term.data = &r;
    uv_signal_start(&r.on_int, ehr_stop, SIGINT);
    uv_signal_start(&r.on_term, ehr_stop, SIGTERM);
    fprintf(stderr, "EHR stand-in: POST http://%s:%d/cards\n",
            o->listen != NULL ? o->listen : "127.0.0.1", standin_port(r.ehr));
    int status = 0;
    if (!write_port(port_file, standin_port(r.ehr))) {
        status = 1;
        ehr_stop(&r.on_int, SIGTERM);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return status;
}

static int run_ehr(int argc, char **argv)
{
    static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
                                            {"port", required_argument, NULL, 'p'},
                                            {"port-file", required_argument, NULL, 'f'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"ndjson", required_argument, NULL, 'n'},
                                            {"fail", required_argument, NULL, 'x'},
                                            {NULL, 0, NULL, 0}};
    standin_options o = {0};
    const char *port_file = NULL;
    int opt;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'l': o.listen = optarg; break;
        case 'p': o.port = number(optarg, 0, 65535); break;
        case 'f': port_file = optarg; break;
        case 'q': o.quiet = true; break;
        case 'n': o.ndjson = optarg; break;
        case 'x': o.fail = optarg; break;
        default: return usage(stderr);
        }
    }
    if (o.port < 0 || optind < argc)
        return usage(stderr);
    return serve_ehr(&o, port_file);
}

/* ---- run ---- */

static int run_show(int argc, char **argv)
{
    static const struct option options[] = {{"exit", no_argument, NULL, 'e'},
                                            {"timeout", required_argument, NULL, 't'},
                                            {"config", required_argument, NULL, 'c'},
                                            {"osteoguard", required_argument, NULL, 'o'},
                                            {"ndjson", required_argument, NULL, 'n'},
                                            {"fail", required_argument, NULL, 'x'},
                                            {NULL, 0, NULL, 0}};
    show_options o = {.osteoguard = "osteoguard", .config = "docker/demo.yaml", .timeout_s = 300};
    int opt;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'e': o.exit = true; break;
        case 't': o.timeout_s = number(optarg, 1, 86400); break;
        case 'c': o.config = optarg; break;
        case 'o': o.osteoguard = optarg; break;
        case 'n': o.ndjson = optarg; break;
        case 'x': o.fail = optarg; break;
        default: return usage(stderr);
        }
    }
    if (o.timeout_s < 0)
        return usage(stderr);
    o.files = (const char *const *)argv + optind;
    o.file_count = (size_t)(argc - optind);
    return show_run(&o);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"broker", run_broker}, {"ehr", run_ehr}, {"run", run_show}};
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2)
        return usage(stderr);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return usage(stdout);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    return usage(stderr);
}
