/* Runs the public CQL suite and the public patient cases, where the data are, and says per group
 * what passed and what did not.
 *
 *   conformance [--list] [--only ID-OR-NAME] [suite|statin|ecqm]...
 *
 * A test that does not give its expected value must stand in disputed.txt (with the section of the
 * specification that decides against the expectation) or in open.txt (what the engine does not do
 * yet); a listed test that passes fails the run, so that neither list outlives its reasons. Exit
 * status 0: every failure is listed and every listed test fails; 77 with a line that says so where
 * there are no data. */
#include "conformance.h"

#include <stdlib.h>
#include <sys/stat.h>

bool read_whole(const char *path, char **ret, size_t *ret_size)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    size_t n = 0, cap = 0;
    if (f == NULL) {
        perror(path);
        return false;
    }
    for (;;) {
        if (n + 1 >= cap) {
            cap = cap != 0 ? cap * 2 : 1 << 16;
            char *more = realloc(text, cap);
            if (more == NULL)
                break;
            text = more;
        }
        size_t got = fread(text + n, 1, cap - n - 1, f);
        if (got == 0)
            break;
        n += got;
    }
    fclose(f);
    if (text == NULL)
        return false;
    text[n] = '\0';
    *ret = text;
    *ret_size = n;
    return true;
}

/* Lines "ID reason"; # begins a comment, an empty line separates. */
static void read_known(context *c, const char *name, bool disputed)
{
    char path[1024], *text, *save = NULL;
    size_t size;
    unsigned line = 0;
    snprintf(path, sizeof path, OG_SOURCE_DIR "/tests/conformance/%s", name);
    if (!read_whole(path, &text, &size)) {
        c->total.wrong++;
        return;
    }
    for (char *l = strtok_r(text, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
        known_case k = {.disputed = disputed, .file = name, .line = ++line};
        size_t n = strcspn(l, " \t");
        if (l[0] == '#' || n == 0 || n >= sizeof k.id)
            continue;
        memcpy(k.id, l, n);
        known_case *more = realloc(c->known, (c->known_count + 1) * sizeof *more);
        if (more == NULL)
            abort();
        c->known = more;
        c->known[c->known_count++] = k;
    }
    free(text);
}

static known_case *find_known(context *c, const char *id)
{
    for (size_t i = 0; i < c->known_count; i++)
        if (strcmp(c->known[i].id, id) == 0)
            return &c->known[i];
    return NULL;
}

void settle(context *c, tally *t, const char *id, const char *name, bool pass, const char *wanted,
            const char *got)
{
    known_case *k = find_known(c, id);
    if (k != NULL)
        k->seen = true;
    if (pass) {
        t->passed++;
        if (k != NULL) {
            printf("  %s %s passes, but stands in %s\n", id, name, k->file);
            t->wrong++;
        }
        return;
    }
    if (k != NULL && k->disputed) {
        t->disputed++;
    } else if (k != NULL) {
        t->open++;
    } else {
        t->failed++;
        t->wrong++;
    }
    if (k == NULL || c->list)
        printf("  %s %s%s\n      expected %s\n      got      %s\n", id, name,
               k == NULL     ? ""
               : k->disputed ? " (disputed)"
                             : " (open)",
               wanted, got);
}

void print_tally(const char *name, const tally *t)
{
    printf("%-44s %6u %6u %8u %5u %7u\n", name, t->passed, t->failed, t->disputed, t->open,
           t->skipped);
    fflush(stdout);
}

void add_tally(tally *to, const tally *from)
{
    to->passed += from->passed;
    to->failed += from->failed;
    to->disputed += from->disputed;
    to->open += from->open;
    to->skipped += from->skipped;
    to->wrong += from->wrong;
}

int main(int argc, char **argv)
{
    context c = {0};
    bool suite = false, statin = false, ecqm = false;
    struct stat st;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0)
            c.list = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            c.only = argv[++i];
        else if (strcmp(argv[i], "suite") == 0)
            suite = true;
        else if (strcmp(argv[i], "statin") == 0)
            statin = true;
        else if (strcmp(argv[i], "ecqm") == 0)
            ecqm = true;
        else {
            fprintf(stderr, "usage: conformance [--list] [--only ID] [suite|statin|ecqm]...\n");
            return 2;
        }
    }
    bool all = !suite && !statin && !ecqm;
    if (stat(OG_SHARED_DATA "/cql/conformance", &st) != 0) {
        printf("skipped: the public CQL suite is not there (%s)\n", OG_SHARED_DATA "/cql");
        return 77;
    }
    read_known(&c, "disputed.txt", true);
    read_known(&c, "open.txt", false);
    printf("%-44s %6s %6s %8s %5s %7s\n", "", "passed", "failed", "disputed", "open", "skipped");
    if (all || suite)
        run_suite(&c, OG_SHARED_DATA "/cql/conformance");
    if (all || statin)
        run_statin(&c, OG_SHARED_DATA "/cql/statin-use");
    if (all || ecqm)
        run_ecqm(&c, OG_SHARED_DATA "/cql/ecqm");
    for (size_t i = 0; all && c.only == NULL && i < c.known_count; i++) {
        if (c.known[i].seen)
            continue;
        printf("%s:%u: %s is no test\n", c.known[i].file, c.known[i].line, c.known[i].id);
        c.total.wrong++;
    }
    print_tally("all", &c.total);
    /* A disputed test counts as passed: it gives what the listed section of the specification says.
     */
    printf("%u passed, %u failed, %u skipped\n", c.total.passed + c.total.disputed, c.total.wrong,
           c.total.skipped + c.total.open);
    free(c.known);
    return c.total.wrong != 0;
}
