/* The audit log: it goes on over restarts, and whatever is done to a line shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/audit.h"
#include "daemon/file.h"

#define NOW_MS 1772352000123

typedef struct log_file {
    char dir[64], path[96];
    audit *audit;
    audit_options options;
    size_t torn;
} log_file;

static og_status open_log(log_file *f)
{
    og_error err;
    og_error_init(&err);
    f->audit = NULL;
    return audit_open(f->path, &f->options, &f->audit, &f->torn, &err);
}

static void begin(log_file *f)
{
    f->options = (audit_options){0};
    strcpy(f->dir, "/tmp/og-audit-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/audit.jsonl", f->dir);
    assert_int_equal(open_log(f), OG_OK);
}

static void end(log_file *f)
{
    audit_close(f->audit);
    assert_int_equal(file_remove_tree(f->dir, NULL), OG_OK);
}

static void write_one(log_file *f, const char *patient)
{
    og_buf details;
    og_buf_init(&details, 1000);
    audit_add_detail(&details, "card", OG_STR("D3 \"x\""));
    audit_add_detail(&details, "nothing", OG_STR(""));
    audit_add_detail(&details, "card", OG_STR("C1"));
    audit_event e = {.client = OG_STR("ehr"),
                     .user = OG_STR("Practitioner/1"),
                     .patient = og_str_of(patient),
                     .path = OG_STR("/cds-services/x"),
                     .status = 200,
                     .details = og_buf_str(&details)};
    assert_true(audit_write(f->audit, &e, NOW_MS));
    og_buf_done(&details);
}

static og_buf slurp(const log_file *f)
{
    og_buf text;
    og_buf_init(&text, 1 << 20);
    assert_int_equal(file_read(f->path, 1 << 20, &text, NULL), OG_OK);
    return text;
}

/* 0: all good; else the line that is not. */
static unsigned first_bad(const log_file *f, uint64_t expect_lines)
{
    og_error err;
    audit_chain chain;
    FILE *file = fopen(f->path, "r");
    assert_non_null(file);
    og_error_init(&err);
    assert_true(audit_chain_begin(&chain, NULL));
    og_status s = audit_verify(&chain, file, f->path, &err);
    fclose(file);
    if (s == OG_OK)
        assert_int_equal(chain.last, expect_lines);
    return s == OG_OK ? 0 : err.line;
}

static void it_goes_on_over_restarts(void **state)
{
    log_file f;
    struct stat st;
    (void)state;
    begin(&f);
    assert_int_equal(first_bad(&f, 0), 0);
    for (int i = 0; i < 6; i++) {
        write_one(&f, "p1");
        if (i % 2 == 1) {
            audit_close(f.audit);
            assert_int_equal(open_log(&f), OG_OK);
            assert_int_equal(f.torn, 0);
        }
    }
    assert_int_equal(first_bad(&f, 6), 0);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    og_buf text = slurp(&f);
    json_t *line = json_loadb(text.p, (size_t)(strchr(text.p, '\n') - text.p), 0, NULL);
    json_t *event = json_object_get(line, "event");
    assert_string_equal(json_string_value(json_object_get(event, "resourceType")), "AuditEvent");
    assert_string_equal(json_string_value(json_object_get(event, "recorded")),
                        "2026-03-01T08:00:00.123Z");
    json_t *entity = json_array_get(json_object_get(event, "entity"), 0);
    assert_int_equal(json_array_size(json_object_get(entity, "detail")), 2);
    json_decref(line);
    og_buf_done(&text);
    end(&f);
}

static void put_file(const log_file *f, og_str text)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text.p, 1, text.n, file), text.n);
    assert_int_equal(fclose(file), 0);
}

/* Every byte of three lines, changed one at a time, shows in its own line. */
static void a_changed_byte_shows(void **state)
{
    log_file f;
    unsigned line = 1;
    (void)state;
    begin(&f);
    for (int i = 0; i < 3; i++)
        write_one(&f, "p1");
    og_buf text = slurp(&f);
    for (size_t i = 0; i < text.n; i++) {
        char was = text.p[i];
        text.p[i] = was == 'x' ? 'y' : 'x';
        put_file(&f, og_buf_str(&text));
        if (first_bad(&f, 0) != line)
            fail_msg("byte %zu of line %u", i, line);
        text.p[i] = was;
        line += was == '\n';
    }
    og_buf_done(&text);
    end(&f);
}

static void lines_removed_inserted_and_moved_show(void **state)
{
    static const struct {
        const char *order;
        unsigned bad;
    } table[] = {{"0123", 0}, {"123", 1},   {"023", 2},   {"013", 3}, {"0213", 2},
                 {"0012", 2}, {"01323", 3}, {"01230", 5}, {"012", 0}};
    log_file f;
    og_str lines[4];
    (void)state;
    begin(&f);
    for (int i = 0; i < 4; i++)
        write_one(&f, "p1");
    og_buf text = slurp(&f);
    const char *at = text.p;
    for (int i = 0; i < 4; i++) {
        const char *stop = strchr(at, '\n') + 1;
        lines[i] = (og_str){at, (size_t)(stop - at)};
        at = stop;
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        og_buf made;
        og_buf_init(&made, 1 << 20);
        for (const char *o = table[i].order; *o != '\0'; o++)
            og_buf_adds(&made, lines[*o - '0']);
        put_file(&f, og_buf_str(&made));
        og_buf_done(&made);
        assert_int_equal(first_bad(&f, strlen(table[i].order)), table[i].bad);
    }
    og_buf_done(&text);
    end(&f);
}

static void a_torn_line_is_cut_off(void **state)
{
    log_file f;
    (void)state;
    begin(&f);
    write_one(&f, "p1");
    write_one(&f, "p2");
    og_buf text = slurp(&f);
    size_t first = (size_t)(strchr(text.p, '\n') + 1 - text.p);
    for (size_t n = 1; n < text.n; n += 37) {
        audit_close(f.audit);
        put_file(&f, (og_str){text.p, n});
        assert_int_equal(open_log(&f), OG_OK);
        assert_int_equal(f.torn, n < first ? n : n - first);
        write_one(&f, "p3");
        assert_int_equal(first_bad(&f, n < first ? 1 : 2), 0);
    }
    og_buf_done(&text);
    end(&f);
}

/* What somebody has changed is not gone on with. */
static void a_changed_end_is_refused(void **state)
{
    log_file f;
    (void)state;
    begin(&f);
    write_one(&f, "p1");
    audit_close(f.audit);
    og_buf text = slurp(&f);
    memcpy(strstr(text.p, "Patient/p1"), "Patient/p2", 10);
    put_file(&f, og_buf_str(&text));
    assert_int_equal(open_log(&f), OG_CORRUPT);
    put_file(&f, OG_STR("something else\n"));
    assert_int_equal(open_log(&f), OG_CORRUPT);
    og_buf_done(&text);
    end(&f);
}

/* Strangers, too, choose what they call. */
static void any_path_makes_a_line_of_json(void **state)
{
    log_file f;
    audit_event e = {.path = OG_STR("/cds-services/\xff\xc3(\"\n"), .status = 401};
    (void)state;
    begin(&f);
    assert_true(audit_write(f.audit, &e, NOW_MS));
    og_buf text = slurp(&f);
    json_t *line = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    json_t *entity = json_array_get(json_object_get(json_object_get(line, "event"), "entity"), 0);
    assert_string_equal(json_string_value(json_object_get(entity, "name")),
                        "/cds-services/%FF%C3(\"\n");
    json_decref(line);
    og_buf_done(&text);
    end(&f);
}

/* How many lines the files have that follow from each other, from the file at `first` on. */
static uint64_t chained(const log_file *f, size_t first, const char *after, size_t *ret_files)
{
    og_error err;
    audit_chain chain;
    const char *const *files;
    size_t count;
    og_arena *a = og_arena_new((size_t)1 << 20);
    og_error_init(&err);
    assert_true(audit_chain_begin(&chain, after));
    assert_int_equal(audit_files(a, f->path, &files, &count, &err), OG_OK);
    og_status status = OG_OK;
    for (size_t i = first; i < count && status == OG_OK; i++) {
        FILE *file = fopen(files[i], "r");
        assert_non_null(file);
        status = audit_verify(&chain, file, files[i], &err);
        fclose(file);
    }
    og_arena_free(a);
    *ret_files = count;
    return status != OG_OK || chain.first == 0 ? 0 : chain.last - chain.first + 1;
}

/* The name of the file that line `number` ended. */
static void renamed(const log_file *f, unsigned number, char out[128])
{
    snprintf(out, 128, "%s.%012u", f->path, number);
}

static void a_full_file_is_renamed_and_the_chain_goes_on(void **state)
{
    log_file f;
    size_t files;
    char name[128];
    struct stat st;
    (void)state;
    begin(&f);
    f.options = (audit_options){.rotate_bytes = 1000, .sync_each = true};
    audit_close(f.audit);
    assert_int_equal(open_log(&f), OG_OK);
    assert_int_equal(audit_sync_fd(f.audit), -1);
    for (int i = 0; i < 11; i++) { /* two lines a file */
        write_one(&f, "p1");
        if (i == 4) {
            audit_close(f.audit);
            assert_int_equal(open_log(&f), OG_OK);
        }
    }
    assert_null(audit_problem(f.audit));
    assert_int_equal(chained(&f, 0, NULL, &files), 11);
    assert_int_equal(files, 6);
    int fd = audit_sync_fd(f.audit);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(audit_sync_fd(f.audit), -1);
    renamed(&f, 4, name);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* the oldest are kept elsewhere: who has their last hash goes on from there */
    og_error err;
    audit_chain old;
    renamed(&f, 2, name);
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    assert_true(audit_chain_begin(&old, NULL));
    assert_int_equal(audit_verify(&old, file, name, &err), OG_OK);
    fclose(file);
    assert_int_equal(chained(&f, 1, old.hash, &files), 9);
    assert_int_equal(chained(&f, 1, NULL, &files), 0);
    assert_int_equal(chained(&f, 2, old.hash, &files), 0);
    assert_false(audit_chain_begin(&old, "abc"));
    /* a file that is taken away shows */
    renamed(&f, 6, name);
    assert_int_equal(unlink(name), 0);
    assert_int_equal(chained(&f, 0, NULL, &files), 0);
    end(&f);
}

/* The machine may stop before and behind each step of the renaming. */
static void a_crash_between_two_files_breaks_no_chain(void **state)
{
    (void)state;
    for (int step = 0; step < 2; step++) {
        log_file f;
        size_t files;
        char name[128];
        begin(&f);
        write_one(&f, "p1");
        write_one(&f, "p2");
        audit_close(f.audit);
        renamed(&f, 2, name);
        assert_int_equal(rename(f.path, name), 0);
        if (step == 1) { /* the new file was there */
            FILE *empty = fopen(f.path, "w");
            assert_non_null(empty);
            assert_int_equal(fclose(empty), 0);
        }
        assert_int_equal(open_log(&f), OG_OK);
        write_one(&f, "p3");
        assert_int_equal(chained(&f, 0, NULL, &files), 3);
        assert_int_equal(files, 2);
        end(&f);
    }
}

/* Nothing is lost because a name is taken. */
static void what_cannot_be_renamed_grows_on(void **state)
{
    log_file f;
    char name[128];
    (void)state;
    begin(&f);
    f.options.rotate_bytes = 1;
    audit_close(f.audit);
    assert_int_equal(open_log(&f), OG_OK);
    write_one(&f, "p1");
    renamed(&f, 1, name);
    assert_int_equal(mkdir(name, 0700), 0);
    write_one(&f, "p2");
    assert_non_null(audit_problem(f.audit));
    assert_null(audit_problem(f.audit)); /* told once */
    assert_int_equal(first_bad(&f, 2), 0);
    write_one(&f, "p3"); /* its number is free */
    assert_int_equal(rmdir(name), 0);
    size_t files;
    assert_int_equal(chained(&f, 0, NULL, &files), 3);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_goes_on_over_restarts),
        cmocka_unit_test(a_changed_byte_shows),
        cmocka_unit_test(lines_removed_inserted_and_moved_show),
        cmocka_unit_test(a_torn_line_is_cut_off),
        cmocka_unit_test(a_changed_end_is_refused),
        cmocka_unit_test(a_full_file_is_renamed_and_the_chain_goes_on),
        cmocka_unit_test(a_crash_between_two_files_breaks_no_chain),
        cmocka_unit_test(what_cannot_be_renamed_grows_on),
        cmocka_unit_test(any_path_makes_a_line_of_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
