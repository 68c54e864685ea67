/* No more threads: at the start after any number of them, and while the daemon works. */
#include "invariants.h"

static const stage *starved;
static int most;

static void allow_some(void)
{
    char text[16];
    put_before("few_threads");
    snprintf(text, sizeof text, "%d", most);
    setenv("MOST_THREADS", text, 1);
}

static void allow_while_no_file(void)
{
    char path[160];
    put_before("few_threads");
    setenv("NO_THREADS", stage_path(starved, "no-threads", path), 1);
}

static bool ends_well(const life *l)
{
    return WIFEXITED(l->status) && WEXITSTATUS(l->status) == 1;
}

/* With fewer threads than it tries at the start it does not begin; with some more it works. */
static void begin_with_few(stage *s)
{
    static const int counts[] = {0, 4, 31};
    s->before_exec = allow_some;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        most = counts[i];
        life l = life_begin(s, 0);
        bool gone = life_end(s, &l, 30000);
        check(gone && ends_well(&l), "with %d threads it goes with status 1: %x", most,
              (unsigned)l.status);
    }
    most = 40;
    life l = life_begin(s, 0);
    life_wait(s, &l, "that 40 threads are enough", life_is_up);
    life_stop(s, &l);
}

/* Without these nobody asks for most of what comes. */
#define MOST_RULES                                                                                 \
    ", disabled: [B1, B2, B3, B4, B5, B6, C1, C2, C3, C4, C5, D1, D2, D3, D3b, D4, D5, D6, E1, "   \
    "E2, "                                                                                         \
    "E3, F1, F2, F3, F4a, F4b, F4c, F5, G1, G2, G3, G4, G5, G6, G7, H1, H2, H3, H4, H5, I1, I2]"

/* Content that asks for more needs its sources opened anew, and these threads. */
static void none_while_it_works(stage *s)
{
    char path[160];
    s->before_exec = allow_while_no_file;
    s->content_dir = OG_SOURCE_DIR "/rules/content" MOST_RULES;
    life l = life_begin(s, 0);
    size_t next = send_stream(s, 0, 30);
    if (!life_comes_to_rest(s, &l))
        fail_msg("it died before");
    size_t threads = life_count(l.pid, "task");
    check(threads <= 33, "what is tried at the start is enough: %zu threads", threads);
    note("%zu threads", threads);
    config_keep(s);
    assert_int_equal(file_write(stage_path(s, "no-threads", path), OG_STR(""), NULL), OG_OK);
    config_write(s, MOST_RULES, "");
    kill(l.pid, SIGHUP);
    next += send_stream(s, next, next + 20);
    bool gone = life_end(s, &l, 30000); /* the Kafka client ends it where it gets none */
    bool aborted = gone && WIFSIGNALED(l.status) && WTERMSIG(l.status) == SIGABRT;
    check(aborted || (gone && ends_well(&l)), "without the threads that it needs it goes: %x",
          (unsigned)l.status);
    assert_int_equal(unlink(path), 0);
    (void)send_stream(s, next, SIZE_MAX);
    s->content_dir = NULL;
    s->before_exec = NULL;
}

void threads_run_out(void)
{
    stage *s = stage_new();
    starved = s;
    begin_with_few(s);
    none_while_it_works(s);
    judge(s, NULL);
    stage_free(s);
}
