/* bench_growth: does the cost of an event stay what it is while the state grows?
 *
 *   bench_growth CONTENT STREAM.ndjson DIR [PATIENTS...]      (default 1000 10000)
 *
 * For each number of patients, in a process of its own: makes them out of the patients of the
 * sample stream (other ids, scattered as a hospital's are), takes them through gather, applies
 * their records as a rebuild does, evaluates everybody, delivers, then measures 20,000 new
 * creatinine values of patients far apart, and how long the stores take to open again. From the
 * second number on these values come in turns with those of another process that has as many
 * patients as the first: what a machine gives changes by more than the size does. Stage by stage,
 * beside a bare loop that only consumes and parses the same bytes (librdkafka and jansson)
 * and one that only writes the same records to LMDB. Without network: the stages alone. Processor
 * time is that of the one thread that does it all. DIR gets the stores; what is made there is
 * removed. Nothing here is asserted. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/cmd.h"
#include "daemon/content_dir.h"
#include "daemon/file.h"
#include "daemon/heap.h"
#include "daemon/log.h"
#include "growth.h"

static double status_mb(const char *what)
{
    char line[256];
    double mb = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, what, strlen(what)) == 0)
            mb = strtod(line + strlen(what), NULL) / 1024;
    if (f != NULL)
        fclose(f);
    return mb;
}

typedef struct job {
    const plan_content *content;
    const char *stream, *dir;
} job;

static void quiet(void *ctx, og_str line)
{
    (void)ctx;
    (void)line;
}

static void set_up(bench *b, const job *j, uint64_t patients)
{
    b->content = j->content;
    b->f.patients = patients;
    og_buf_init(&b->text, (size_t)1 << 20);
    snprintf(b->dir, sizeof b->dir, "%s/growth.XXXXXX", j->dir);
    if (mkdtemp(b->dir) == NULL)
        die(b->dir, strerror(errno));
    log_sink(quiet, NULL);
    patients_read(b, j->stream);
    daemon_set_up(b);
}

static void take_down(bench *b)
{
    daemon_close(b, true);
    if (file_remove_tree(b->dir, NULL) != OG_OK)
        fprintf(stderr, "bench_growth: cannot remove %s\n", b->dir);
}

static figures measure(const job *j, uint64_t patients, const turns *t)
{
    static bench b;
    b.turns = t;
    set_up(&b, j, patients);
    daemon_load(&b);
    daemon_evaluate_all(&b);
    daemon_sync(&b, true);
    daemon_events(&b);
    daemon_sync(&b, true);
    heap_give_back(); /* as the daemon does when it has been busy */
    b.f.anon_mb = status_mb("RssAnon:");
    b.f.peak_mb = status_mb("VmHWM:");
    b.f.open_clean = daemon_reopen(&b, true);
    b.f.open_killed = daemon_reopen(&b, false);
    b.f.disk = daemon_disk(&b);
    take_down(&b);
    return b.f;
}

/* What the stages are held against; in a process of its own, for the sake of its memory. */
static figures measure_bare(const job *j, uint64_t patients, const turns *t)
{
    static bench b;
    (void)t;
    set_up(&b, j, patients);
    bare_parse(&b);
    bare_write(&b);
    take_down(&b);
    return b.f;
}

/* ---- one process per size ---- */

typedef figures measure_fn(const job *j, uint64_t patients, const turns *t);

typedef struct child {
    pid_t pid;
    int answer;
} child;

static void make_pipe(int ends[2])
{
    if (pipe(ends) != 0)
        die("pipe", strerror(errno));
}

static child begin(measure_fn *fn, const job *j, uint64_t patients, const turns *t)
{
    int ends[2];
    make_pipe(ends);
    fflush(NULL);
    child c = {fork(), ends[0]};
    if (c.pid == 0) {
        for (int i = 0; t != NULL && i < 2; i++)
            close(t->others[i]); /* so that the end of that process is seen */
        figures f = fn(j, patients, t);
        _exit(write(ends[1], &f, sizeof f) == sizeof f ? 0 : 1);
    }
    close(ends[1]);
    return c;
}

static figures end(child c)
{
    figures f;
    int status;
    if (c.pid < 0 || read(c.answer, &f, sizeof f) != sizeof f)
        die("a run", "has failed");
    close(c.answer);
    waitpid(c.pid, &status, 0);
    return f;
}

static double event_cpu(const figures *f)
{
    return f->event_gather.cpu + f->event_batch.cpu + f->event_deliver.cpu;
}

/* few: of whom the events of another process are, in turns with these; 0: there is none. */
static figures run(const job *j, uint64_t patients, uint64_t few)
{
    figures bare = end(begin(measure_bare, j, patients, NULL)), f;
    if (few == 0) {
        f = end(begin(measure, j, patients, NULL));
    } else {
        int to_small[2], to_large[2];
        make_pipe(to_small);
        make_pipe(to_large);
        const turns of_small = {to_small[0], to_large[1], {to_large[0], to_small[1]}, false};
        const turns of_large = {to_large[0], to_small[1], {to_small[0], to_large[1]}, true};
        if (write(to_large[1], "", 1) != 1)
            die("turns", strerror(errno));
        child small = begin(measure, j, few, &of_small);
        child large = begin(measure, j, patients, &of_large);
        for (int i = 0; i < 2; i++) {
            close(to_small[i]);
            close(to_large[i]);
        }
        figures beside = end(small);
        f = end(large);
        f.beside_cpu = event_cpu(&beside);
    }
    f.parse = bare.parse;
    f.write = bare.write;
    return f;
}

static void print_stage(const char *name, const stage *s, const char *per)
{
    if (s->count == 0)
        return;
    printf("  %-34s %10.0f %s/s/core  (%6.1f us; %6.1f us wall)\n", name, (double)s->count / s->cpu,
           per, s->cpu * 1e6 / (double)s->count, s->wall * 1e6 / (double)s->count);
}

static void print_run(const figures *f)
{
    double n = (double)f->patients;
    printf("%" PRIu64 " patients, %" PRIu64 " resources of %.0f bytes, %" PRIu64 " alerts\n",
           f->patients, f->resources, (double)f->bytes / (double)f->resources, f->alerts);
    print_stage("bare: librdkafka and jansson", &f->parse, "resources");
    print_stage("gather", &f->gather, "resources");
    print_stage("bare: LMDB write", &f->write, "records  ");
    print_stage("apply", &f->apply, "records  ");
    print_stage("evaluate", &f->evaluate, "patients ");
    print_stage("deliver (to EHR and topic)", &f->deliver, "messages ");
    printf("  %-34s %10.0f events   /s/core  (%6.1f us: gather %.1f, batch %.1f, deliver %.1f)\n",
           "one new value, all stages", EVENTS / event_cpu(f), event_cpu(f) * 1e6 / EVENTS,
           f->event_gather.cpu * 1e6 / EVENTS, f->event_batch.cpu * 1e6 / EVENTS,
           f->event_deliver.cpu * 1e6 / EVENTS);
    if (f->beside_cpu > 0)
        printf("  %-34s %10.0f events   /s/core  (%6.1f us)\n", "the same among few, in turns",
               EVENTS / f->beside_cpu, f->beside_cpu * 1e6 / EVENTS);
    printf("  of %.1f rules %.1f are run for it; %.1f pages of 4 KB are written\n",
           (double)(f->asked + f->spared) / EVENTS, (double)f->asked / EVENTS,
           f->event_bytes / 4096 / EVENTS);
    printf(
        "  rebuild %.1f s (apply %.1f, evaluate %.1f, to the disk %.1f); restart %.2f s, after a "
        "kill %.2f s\n",
        f->apply.wall + f->evaluate.wall + f->sync.wall, f->apply.wall, f->evaluate.wall,
        f->sync.wall, f->open_clean, f->open_killed);
    printf("  disk %.1f MB, %.1f kB per patient; memory of its own %.1f MB\n", f->disk / 1e6,
           f->disk / 1e3 / n, f->anon_mb);
    fflush(stdout);
}

static void print_growth(const figures *first, const figures *f)
{
    double few = f->beside_cpu > 0 ? f->beside_cpu : event_cpu(f);
    printf("%10" PRIu64
           "  event %6.1f us (%+.0f %%)  memory %6.1f MB (%+.0f %%)  disk %5.1f kB per "
           "patient (%+.0f %%)\n",
           f->patients, event_cpu(f) * 1e6 / EVENTS, (event_cpu(f) / few - 1) * 100, f->anon_mb,
           (f->anon_mb / first->anon_mb - 1) * 100, f->disk / 1e3 / (double)f->patients,
           (f->disk / (double)f->patients / (first->disk / (double)first->patients) - 1) * 100);
}

int main(int argc, char **argv)
{
    static const char *const sizes[] = {"1000", "10000"};
    figures all[16];
    int count = argc > 4 ? argc - 4 : 2;
    plan_content *content = NULL;
    og_report report = {.fn = cmd_print_problem};
    plan_options options = {0};
    heap_keep_little();
    if (argc < 4 || count > 16) {
        fprintf(stderr, "usage: bench_growth CONTENT STREAM.ndjson DIR [PATIENTS...]\n");
        return 2;
    }
    if (content_dir_load(argv[1], &options, &content, &report) != OG_OK)
        return 1;
    const job j = {content, argv[2], argv[3]};
    for (int i = 0; i < count; i++) {
        int64_t n;
        if (!og_str_int(og_str_of(argc > 4 ? argv[4 + i] : sizes[i]), 1, 100000000, &n))
            die("PATIENTS", "not a number");
        all[i] = run(&j, (uint64_t)n, i > 0 ? all[0].patients : 0);
        print_run(&all[i]);
    }
    for (int i = 0; i < count && count > 1; i++)
        print_growth(&all[0], &all[i]);
    plan_content_free(content);
    return 0;
}
