/* Reads a content folder. What the files mean is the rules' business; which of them there are is
 * decided here by their names alone, so that a folder under version control (README, scripts,
 * cases) can be used as it stands. */
#include "daemon/content_dir.h"

#include "daemon/file.h"

#include <stdlib.h>

#define MAX_FILE_BYTES  ((size_t)64 << 20)
#define MAX_TOTAL_BYTES ((size_t)512 << 20)

typedef struct reading {
    const char *dir;
    og_arena *arena;
    plan_file *files;
    size_t count, cap;
    og_report *report, *warnings, *untranslated;
    og_status status;
} reading;

static void report_error(reading *r, const og_error *err)
{
    if (r->status == OG_OK)
        r->status = err->status;
    og_report_add(r->report, err);
}

static bool add_file(reading *r, const char *name, og_str text)
{
    if (r->count == r->cap) {
        size_t cap = r->cap != 0 ? r->cap * 2 : 64;
        plan_file *grown =
            og_arena_grow(r->arena, r->files, r->cap * sizeof *grown, cap * sizeof *grown);
        if (grown == NULL)
            return false;
        r->files = grown;
        r->cap = cap;
    }
    r->files[r->count++] = (plan_file){name, text};
    return true;
}

static void read_file(reading *r, const char *name)
{
    og_error err;
    og_buf b;
    char path[4096];

    og_error_init(&err);
    og_buf_init(&b, MAX_FILE_BYTES);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", r->dir, name) >= sizeof path)
        og_fail(&err, OG_LIMIT, "the path is too long");
    else if (file_read(path, MAX_FILE_BYTES, &b, &err) == OG_OK) {
        og_str text = og_arena_str(r->arena, og_buf_str(&b));
        const char *own_name = og_arena_str(r->arena, og_str_of(name)).p;
        if (text.p == NULL || own_name == NULL || !add_file(r, own_name, text))
            og_fail(&err, OG_NOMEM, "the content folder is too large");
    }
    if (err.status != OG_OK) {
        og_error_origin(&err, path);
        report_error(r, &err);
    }
    og_buf_done(&b);
}

static bool ours(const char *name)
{
    og_str n = og_str_of(name);
    return og_str_ends(n, OG_STR(".json")) || og_str_ends(n, OG_STR(".cql"));
}

/* The files of dir or of its folder sub; a missing sub is an empty one. */
static void read_folder(reading *r, const char *sub)
{
    const char *const *names;
    size_t count;
    og_error err;
    char path[4096];

    og_error_init(&err);
    snprintf(path, sizeof path, "%s%s%s", r->dir, sub != NULL ? "/" : "", sub != NULL ? sub : "");
    if (sub != NULL && !file_is_dir(path))
        return;
    if (file_list(r->arena, path, &names, &count, &err) != OG_OK) {
        og_error_origin(&err, path);
        report_error(r, &err);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        char name[4096];
        if (!ours(names[i]))
            continue;
        snprintf(name, sizeof name, "%s%s%s", sub != NULL ? sub : "", sub != NULL ? "/" : "",
                 names[i]);
        read_file(r, name);
    }
}

/* The rules name files as the folder does; people want to click on the whole path. */
static og_error with_dir(const reading *r, const og_error *from)
{
    og_error err = *from;

    if (from->origin[0] != '\0') {
        int n = snprintf(err.origin, sizeof err.origin, "%s/%s", r->dir, from->origin);
        if (n < 0 || (size_t)n >= sizeof err.origin)
            memcpy(err.origin, from->origin, sizeof err.origin);
    } else {
        snprintf(err.origin, sizeof err.origin, "%s", r->dir);
    }
    return err;
}

static void relay_problem(void *ctx, const og_error *from)
{
    reading *r = ctx;
    og_error err = with_dir(r, from);
    report_error(r, &err);
}

static void relay_untranslated(void *ctx, const og_error *from)
{
    const reading *r = ctx;
    og_error err = with_dir(r, from);
    og_report_add(r->untranslated, &err);
}

static void relay_warning(void *ctx, const og_error *from)
{
    const reading *r = ctx;
    og_error err = with_dir(r, from);
    og_report_add(r->warnings, &err);
}

og_status content_dir_load(const char *dir, const plan_options *options, plan_content **ret,
                           og_report *report)
{
    reading r = {.dir = dir, .report = report};
    og_report relayed = {.fn = relay_problem, .ctx = &r};
    og_report warnings = {.fn = relay_warning, .ctx = &r};
    og_report untranslated = {.fn = relay_untranslated, .ctx = &r};
    plan_options mine = options != NULL ? *options : (plan_options){0};

    r.untranslated = mine.untranslated;
    mine.untranslated = r.untranslated != NULL ? &untranslated : NULL;
    r.warnings = mine.warnings;
    mine.warnings = &warnings;
    r.arena = og_arena_new(MAX_TOTAL_BYTES);
    if (r.arena == NULL)
        return OG_NOMEM;
    read_folder(&r, NULL);
    if (r.status == OG_OK)
        read_folder(&r, "elm");
    if (r.status == OG_OK) {
        og_status s = plan_content_load(r.files, r.count, &mine, ret, &relayed);
        r.status = r.status != OG_OK ? r.status : s;
    }
    og_arena_free(r.arena);
    return r.status;
}
