/* All that others have published goes through gather and pipeline: nothing crashes, nothing
 * vanishes, the counts add up. OG_CORPUS=all takes every line instead of every seventh. */
#include "daemon_world.h"

#include "connectors/ndjson.h"

#include <dirent.h>
#include <sys/stat.h>

static bool have(const char *path)
{
    if (file_exists(path))
        return true;
    print_message("skipped: %s is not here\n", path);
    return false;
}

static void adds_up(const world *w, int64_t messages)
{
    int64_t inputs = metric_value(METRIC_INPUTS);
    assert_int_equal(metric_value(METRIC_MESSAGES), messages);
    assert_int_equal(w->done, messages);
    assert_int_equal(gather_in_flight(w->gather), 0);
    assert_int_equal(inputs, metric_value(METRIC_RECORDED) + metric_value(METRIC_IRRELEVANT) +
                                 metric_value(METRIC_DEAD_LETTERS));
    assert_int_equal(metric_value(METRIC_DEAD_LETTERS), w->dead.count);
    /* a corrected subject adds a tombstone that is no input */
    assert_true((int64_t)(w->records.count + w->shared.count) >= metric_value(METRIC_RECORDED));
    assert_int_equal(w->total.applied + w->total.stale + w->total.bad, w->records.count);
    assert_int_equal(w->total.bad, 0);
}

static void show(const char *name, int64_t messages, const world *w)
{
    print_message("%s: %lld messages, %lld inputs = %lld recorded + %lld irrelevant + %lld dead; "
                  "%llu applied, %llu stale, "
                  "%llu evaluations, %llu opened\n",
                  name, (long long)messages, (long long)metric_value(METRIC_INPUTS),
                  (long long)metric_value(METRIC_RECORDED),
                  (long long)metric_value(METRIC_IRRELEVANT),
                  (long long)metric_value(METRIC_DEAD_LETTERS),
                  (unsigned long long)w->total.applied, (unsigned long long)w->total.stale,
                  (unsigned long long)w->total.evaluations, (unsigned long long)w->total.opened);
}

static void run_corpus(const char *name, size_t every)
{
    char path[512];
    ndjson_reader *r;
    ndjson_item item;
    og_error err;
    og_error_init(&err);
    snprintf(path, sizeof path, OG_SHARED_DATA "/fhir/%s", name);
    if (!have(path))
        skip();
    if (getenv("OG_CORPUS") != NULL)
        every = 1;
    world *w = world_new();
    int64_t messages = 0;
    assert_int_equal(ndjson_open(path, 0, 0, 0, &r, &err), OG_OK);
    for (size_t i = 0; ndjson_next(r, &item, &err) == OG_OK; i++) {
        if (i % every != 0)
            continue;
        world_put(w, "fhir.bundle", (og_str){NULL, 0}, item.text);
        messages++;
        if (messages % 500 == 0)
            world_settle_down(w);
    }
    ndjson_close(r);
    world_settle_down(w);
    show(name, messages, w);
    adds_up(w, messages);
    assert_true(metric_value(METRIC_RECORDED) > 0);
    assert_int_equal(w->total.evaluation_failures, 0);
    world_free(w);
}

static void corpus_dev(void **state)
{
    (void)state;
    run_corpus("corpus-dev.ndjson.gz", 7);
}

static void corpus_mimic(void **state)
{
    (void)state;
    run_corpus("corpus-dev-mimic.ndjson.gz", 29);
}

static void bundles_dev(void **state)
{
    (void)state;
    run_corpus("bundles-dev.ndjson.gz", 1);
}

/* Each file of a folder and the folders in it, as one message. */
static int64_t send_tree(world *w, const char *dir, int depth)
{
    int64_t n = 0;
    DIR *d = opendir(dir);
    struct dirent *e;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        char path[1024];
        struct stat st;
        og_buf text;
        if (e->d_name[0] == '.' || depth > 6)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        assert_int_equal(stat(path, &st), 0);
        if (S_ISDIR(st.st_mode)) {
            n += send_tree(w, path, depth + 1);
            continue;
        }
        og_buf_init(&text, (size_t)64 << 20);
        assert_int_equal(file_read(path, (size_t)64 << 20, &text, NULL), OG_OK);
        world_put(w, "fhir.bundle", og_str_of(e->d_name),
                  text.n > 0 ? og_buf_str(&text) : OG_STR(""));
        og_buf_done(&text);
        n++;
    }
    closedir(d);
    return n;
}

static void run_tree(const char *name, bool all_bad)
{
    char path[512];
    snprintf(path, sizeof path, OG_SHARED_DATA "/fhir/%s", name);
    if (!have(path))
        skip();
    world *w = world_new();
    int64_t n = send_tree(w, path, 0);
    world_settle_down(w);
    show(name, n, w);
    adds_up(w, n);
    assert_true(n > 10);
    if (all_bad)
        assert_true(metric_value(METRIC_DEAD_LETTERS) > n / 2);
    world_free(w);
}

static void malformed(void **state)
{
    (void)state;
    run_tree("malformed", true);
}

static void examples(void **state)
{
    (void)state;
    run_tree("examples-r4", false);
}

static void kafka_fixtures(void **state)
{
    (void)state;
    run_tree("kafka-fixtures", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed),      cmocka_unit_test(examples),
        cmocka_unit_test(kafka_fixtures), cmocka_unit_test(bundles_dev),
        cmocka_unit_test(corpus_dev),     cmocka_unit_test(corpus_mimic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
