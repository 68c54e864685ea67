/* osteoguard serve: configuration, log, signals, the loop. What runs on the loop is serve.c's. */
#include "daemon/cmd_serve.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/cmd.h"
#include "daemon/damage.h"
#include "daemon/heap.h"
#include "daemon/serve.h"

static const char usage[] =
    "usage: osteoguard serve -c FILE\n"
    "\n"
    "Reads FHIR events from Kafka, evaluates the rules for the patients concerned, and posts CDS "
    "Hooks cards.\n"
    "\n"
    "  -c, --config FILE   the configuration (docker/osteoguard.yaml explains every option)\n"
    "  -h, --help          this text\n"
    "\n"
    "Signals: TERM and INT stop it (what is under way is finished first; a second one stops it at "
    "once), HUP loads\n"
    "the content again. The log goes to standard error. `osteoguard check` tries a configuration "
    "without serving.\n"
    "Exit status: 0 stopped as asked, 1 it could not start or go on, 2 usage.\n";

typedef struct running {
    serve *serve;
    uv_signal_t term, interrupt, hangup;
    int asked, status;
} running;

static void on_stop_signal(uv_signal_t *h, int number)
{
    running *r = h->data;
    (void)number;
    if (r->asked++ > 0)
        _exit(1);
    if (r->serve != NULL)
        serve_stop(r->serve, 0);
}

static void on_hangup(uv_signal_t *h, int number)
{
    const running *r = h->data;
    (void)number;
    if (r->serve != NULL)
        serve_reload(r->serve);
}

static void on_stopped(void *ctx, int status)
{
    running *r = ctx;
    r->status = status;
    r->serve = NULL;
    uv_close((uv_handle_t *)&r->term, NULL);
    uv_close((uv_handle_t *)&r->interrupt, NULL);
    uv_close((uv_handle_t *)&r->hangup, NULL);
}

static void watch(uv_loop_t *loop, running *r, uv_signal_t *h, uv_signal_cb cb, int number)
{
    uv_signal_init(loop, h);
    h->data = r;
    uv_signal_start(h, cb, number);
}

static void log_problem(void *ctx, const og_error *err)
{
    (void)ctx;
    log_failure(LOG_LEVEL_ERROR, "content", err);
}

/* With one broker and one batch at a time it needs two dozen; more brokers need some more. */
#define THREADS      32
#define POOL         4  /* libuv's own default: for one batch, and all else that must not wait */
#define MOST_BATCHES 64 /* limits.batches */
#define THREAD_STACK ((size_t)256 << 10)

typedef struct gathered {
    pthread_mutex_t lock;
    pthread_cond_t leave;
    bool may_leave;
} gathered;

static void *stay(void *arg)
{
    gathered *g = arg;
    pthread_mutex_lock(&g->lock);
    while (!g->may_leave)
        pthread_cond_wait(&g->leave, &g->lock);
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* libuv and librdkafka end a process that gets no thread, in the middle and without a word. */
static og_status try_threads(int needed, og_error *err)
{
    gathered g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    pthread_t threads[THREADS + MOST_BATCHES];
    pthread_attr_t attr;
    int begun = 0, reason = pthread_attr_init(&attr);
    if (reason == 0)
        reason = pthread_attr_setstacksize(&attr, THREAD_STACK);
    while (reason == 0 && begun < needed) {
        reason = pthread_create(&threads[begun], &attr, stay, &g);
        begun += reason == 0;
    }
    pthread_mutex_lock(&g.lock);
    g.may_leave = true;
    pthread_cond_broadcast(&g.leave);
    pthread_mutex_unlock(&g.lock);
    for (int i = 0; i < begun; i++)
        (void)pthread_join(threads[i], NULL);
    (void)pthread_attr_destroy(&attr);
    return reason == 0 ? OG_OK
                       : og_fail(err, OG_LIMIT, "of %d threads that are needed there are %d: %s",
                                 needed, begun, strerror(reason));
}

/* More batches at once take nobody else's place in libuv's pool. */
static void size_pool(int more)
{
    char text[16];
    snprintf(text, sizeof text, "%d", POOL + more);
    (void)setenv("UV_THREADPOOL_SIZE", text, 0);
}

static int run(config *c)
{
    running r = {.status = 1};
    serve_options options = {.on_stopped = on_stopped, .ctx = &r};
    og_report report = {.fn = log_problem};
    og_error err;
    int more = serve_batches(c) - 1;
    size_pool(more);
    heap_keep_little();
    uv_loop_t *loop = uv_default_loop();
    og_error_init(&err);
    log_setup((log_level)c->log_level, (log_format)c->log_format, c->log_identifiers);
    /* First of all: what comes while it starts, which may take seconds, waits until it has. */
    watch(loop, &r, &r.term, on_stop_signal, SIGTERM);
    watch(loop, &r, &r.interrupt, on_stop_signal, SIGINT);
    watch(loop, &r, &r.hangup, on_hangup, SIGHUP);
    if (try_threads(THREADS + more, &err) != OG_OK ||
        serve_new(loop, c, &options, &r.serve, &report, &err) != OG_OK) {
        log_failure(LOG_LEVEL_ERROR, "cannot start", &err);
        return 1;
    }
    uv_run(loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(loop);
    uv_library_shutdown();
    return r.status;
}

int cmd_serve(int argc, char **argv)
{
    static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *path = NULL;
    config *c;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (option != 'c') {
            fputs("Try `osteoguard serve --help`.\n", stderr);
            return 2;
        }
        path = optarg;
    }
    if (path == NULL || optind != argc) {
        fputs(path == NULL ? "osteoguard serve: which configuration? Give it with -c FILE.\n"
                           : "osteoguard serve: takes no further arguments.\n",
              stderr);
        return 2;
    }
    og_report report = {.fn = cmd_print_problem}, warn = {.fn = cmd_print_warning};
    if (config_load(path, &c, &report, &warn) != OG_OK)
        return 1;
    damage_on_fatal_signals();
    signal(SIGPIPE, SIG_IGN); /* a peer that goes is an error of the call, not of the process */
    signal(SIGXFSZ, SIG_IGN); /* so is a file that may not grow */
    int status = run(c);
    config_free(c);
    return status;
}
