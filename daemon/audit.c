/* Lines of the audit log: written, chained, and checked by writing them again. */
#include "daemon/audit.h"

#include "daemon/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gnutls/crypto.h>

#include "fhir/base/temporal.h"

#define MAX_LINE ((size_t)1 << 20)
#define HASH_N   64
#define TIME_N   24 /* 2026-03-01T08:00:00.000Z */

#define NUMBER_N 12 /* digits behind a renamed file's name */

struct audit {
    int fd;
    char *path;
    audit_options options;
    int64_t size;
    uint64_t seq; /* of the last line */
    char hash[HASH_N + 1];
    bool dirty; /* lines are not synced */
    bool told;  /* of a problem with this file */
    const char *problem;
};

typedef struct line { /* slices of the text */
    uint64_t seq;
    og_str time, prev, event;
} line;

static void begin_chain(char hash[HASH_N + 1])
{
    memset(hash, '0', HASH_N);
    hash[HASH_N] = '\0';
}

static bool hash_of(const line *l, char out[HASH_N + 1])
{
    unsigned char digest[32];
    og_buf b;
    og_buf_init(&b, MAX_LINE + 256);
    og_buf_addf(&b, "%" PRIu64 "\n%.*s\n%.*s\n%.*s\n", l->seq, OG_STR_ARG(l->time),
                OG_STR_ARG(l->prev), OG_STR_ARG(l->event));
    bool good = !og_buf_failed(&b) && gnutls_hash_fast(GNUTLS_DIG_SHA256, b.p, b.n, digest) == 0;
    og_buf_done(&b);
    for (size_t i = 0; good && i < sizeof digest; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return good;
}

static void write_line(og_buf *b, const line *l, const char *hash)
{
    og_buf_addf(b,
                "{\"seq\":%" PRIu64
                ",\"time\":\"%.*s\",\"prev\":\"%.*s\",\"hash\":\"%s\",\"event\":%.*s}\n",
                l->seq, OG_STR_ARG(l->time), OG_STR_ARG(l->prev), hash, OG_STR_ARG(l->event));
}

/* Takes `lead` and n bytes behind it off the text. */
static bool take(og_str *text, const char *lead, size_t n, og_str *ret)
{
    size_t skip = strlen(lead);
    if (!og_str_starts(*text, og_str_of(lead)) || text->n < skip + n)
        return false;
    *ret = (og_str){text->p + skip, n};
    *text = og_str_from(*text, skip + n);
    return true;
}

/* The line (with its line feed) that follows the one with seq and hash; hash becomes its own. */
static bool follows(og_str text, uint64_t seq, char hash[HASH_N + 1])
{
    char lead[48], own[HASH_N + 1];
    line l = {.seq = seq + 1};
    og_str rest = text, said, none;
    og_buf again;
    snprintf(lead, sizeof lead, "{\"seq\":%" PRIu64 ",\"time\":\"", l.seq);
    if (!take(&rest, lead, TIME_N, &l.time) || !take(&rest, "\",\"prev\":\"", HASH_N, &l.prev) ||
        !take(&rest, "\",\"hash\":\"", HASH_N, &said) || !take(&rest, "\",\"event\":", 0, &none) ||
        rest.n < 2 || memcmp(l.prev.p, hash, HASH_N) != 0)
        return false;
    l.event = (og_str){rest.p, rest.n - 2};
    if (!hash_of(&l, own) || memcmp(own, said.p, HASH_N) != 0)
        return false;
    og_buf_init(&again, MAX_LINE + 512);
    write_line(&again, &l, own);
    bool same = !og_buf_failed(&again) && og_str_eq(og_buf_str(&again), text);
    og_buf_done(&again);
    if (same)
        memcpy(hash, own, sizeof own);
    return same;
}

/* ---- opening ---- */

static og_status io_error(og_error *err, const char *path, const char *what)
{
    return og_fail(err, OG_IO, "%s: cannot %s the audit log: %s", path, what, strerror(errno));
}

/* Number and hash that stand in the last line; its own hash must fit. */
static bool read_last(og_str text, audit *a)
{
    static const char lead[] = "{\"seq\":", prev[] = "\"prev\":\"";
    char hash[HASH_N + 1] = "";
    if (text.n < 200 || !og_str_starts(text, OG_STR("{\"seq\":")))
        return false;
    a->seq = strtoull(text.p + sizeof lead - 1, NULL, 10);
    const char *at = memmem(text.p, 100, prev, sizeof prev - 1);
    if (at == NULL || a->seq == 0)
        return false;
    memcpy(hash, at + sizeof prev - 1, HASH_N);
    if (!follows(text, a->seq - 1, hash))
        return false;
    memcpy(a->hash, hash, sizeof hash);
    return true;
}

/* What stands behind the last line feed does not count; *ret_end is where the file should end. */
static og_status read_end(audit *a, int fd, const char *path, int64_t *ret_size, int64_t *ret_end,
                          og_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return io_error(err, path, "read");
    size_t n = st.st_size < (off_t)(2 * MAX_LINE) ? (size_t)st.st_size : 2 * MAX_LINE;
    char *tail = malloc(n + 1);
    if (tail == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the audit log");
    og_status status = OG_OK;
    size_t end = n, start;
    if (pread(fd, tail, n, st.st_size - (off_t)n) != (ssize_t)n)
        status = io_error(err, path, "read");
    while (status == OG_OK && end > 0 && tail[end - 1] != '\n')
        end--;
    for (start = end > 0 ? end - 1 : 0; start > 0 && tail[start - 1] != '\n';)
        start--;
    if (status == OG_OK && end > 0 && !read_last((og_str){tail + start, end - start}, a))
        status = og_fail(err, OG_CORRUPT, "%s: the last line of the audit log was changed", path);
    *ret_size = st.st_size;
    *ret_end = st.st_size - (off_t)(n - end);
    free(tail);
    return status;
}

static og_str directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL   ? OG_STR(".")
           : slash == path ? OG_STR("/")
                           : (og_str){path, (size_t)(slash - path)};
}

/* Is it base, a dot, and a number? */
static bool is_renamed(const char *name, const char *base)
{
    size_t n = strlen(base);
    return strncmp(name, base, n) == 0 && name[n] == '.' &&
           strspn(name + n + 1, "0123456789") == NUMBER_N && name[n + 1 + NUMBER_N] == '\0';
}

og_status audit_files(og_arena *a, const char *path, const char *const **ret, size_t *ret_count,
                      og_error *err)
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    const char *const *names;
    size_t count, n = 0;
    og_str dir = directory_of(path);
    og_str text = og_arena_printf(a, "%.*s", OG_STR_ARG(dir));
    if (text.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a list of files");
    og_status status = file_list(a, text.p, &names, &count, err);
    if (status != OG_OK)
        return status;
    const char **list = og_arena_zalloc(a, count + 1, sizeof *list);
    if (list == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a list of files");
    for (size_t i = 0; i < count; i++)
        if (is_renamed(names[i], base))
            list[n++] = og_arena_printf(a, "%.*s/%s", OG_STR_ARG(dir), names[i]).p;
    if (file_exists(path))
        list[n++] = path;
    if (og_arena_failed(a))
        return og_fail(err, OG_NOMEM, "no memory for a list of files");
    *ret = list;
    *ret_count = n;
    return OG_OK;
}

/* The file is new, or a crash came after the old one was renamed: the chain goes on from there. */
static og_status go_on_from_renamed(audit *a, og_error *err)
{
    og_arena *arena = og_arena_new((size_t)16 << 20);
    const char *const *files = NULL;
    size_t count = 0;
    int64_t size, end;
    og_status status = arena != NULL ? audit_files(arena, a->path, &files, &count, err)
                                     : og_fail(err, OG_NOMEM, "no memory for the audit log");
    const char *last = count > 1 ? files[count - 2] : NULL; /* path itself is behind it */
    if (status == OG_OK && last != NULL) {
        int fd = open(last, O_RDONLY | O_CLOEXEC);
        status = fd >= 0 ? read_end(a, fd, last, &size, &end, err) : io_error(err, last, "open");
        if (fd >= 0)
            close(fd);
    }
    og_arena_free(arena);
    return status;
}

static og_status go_on(audit *a, size_t *ret_torn, og_error *err)
{
    int64_t end = 0;
    og_status status = read_end(a, a->fd, a->path, &a->size, &end, err);
    if (status == OG_OK && end < a->size && ftruncate(a->fd, end) != 0)
        status = io_error(err, a->path, "mend");
    *ret_torn = (size_t)(a->size - end);
    a->size = end;
    return status == OG_OK && end == 0 ? go_on_from_renamed(a, err) : status;
}

static int open_file(const char *path)
{
    return open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

og_status audit_open(const char *path, const audit_options *options, audit **ret, size_t *ret_torn,
                     og_error *err)
{
    audit *a = calloc(1, sizeof *a);
    if (a == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the audit log");
    begin_chain(a->hash);
    a->options = *options;
    a->path = strdup(path);
    a->fd = a->path != NULL ? open_file(path) : -1;
    og_status status = a->path == NULL ? og_fail(err, OG_NOMEM, "no memory for the audit log")
                       : a->fd >= 0    ? go_on(a, ret_torn, err)
                                       : io_error(err, path, "open");
    if (status == OG_OK)
        *ret = a;
    else
        audit_close(a);
    return status;
}

void audit_close(audit *a)
{
    if (a == NULL)
        return;
    if (a->fd >= 0) {
        (void)fdatasync(a->fd);
        close(a->fd);
    }
    free(a->path);
    free(a);
}

int audit_sync_fd(audit *a)
{
    if (!a->dirty)
        return -1;
    a->dirty = false;
    return fcntl(a->fd, F_DUPFD_CLOEXEC, 0);
}

const char *audit_problem(audit *a)
{
    const char *problem = a->problem;
    a->problem = NULL;
    return problem;
}

static void note_problem(audit *a, const char *what)
{
    if (!a->told)
        a->problem = what;
    a->told = true;
}

/* ---- a full file ---- */

static bool sync_directory(const char *path)
{
    char dir[PATH_MAX];
    og_str d = directory_of(path);
    snprintf(dir, sizeof dir, "%.*s", OG_STR_ARG(d));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

/* The old file is whole on the disk before its name changes; who fails here goes on in it. */
static void rotate(audit *a)
{
    char name[PATH_MAX];
    int n = snprintf(name, sizeof name, "%s.%0*" PRIu64, a->path, NUMBER_N, a->seq);
    if (n < 0 || (size_t)n >= sizeof name || fdatasync(a->fd) != 0 || rename(a->path, name) != 0) {
        note_problem(a, "a full file of the audit log cannot be renamed: it grows on");
        return;
    }
    int fd = open_file(a->path);
    if (fd < 0) {
        note_problem(a, "no new file of the audit log can be made: the renamed one grows on");
        return;
    }
    close(a->fd);
    a->fd = fd;
    a->size = 0;
    a->dirty = false;
    a->told = false;
    if (!sync_directory(a->path))
        note_problem(a, "the audit log's directory cannot be synced");
}

/* ---- writing ---- */

void audit_add_detail(og_buf *details, const char *type, og_str value)
{
    if (value.n == 0)
        return;
    og_buf_addf(details, "%s{\"type\":\"%s\",\"valueString\":", details->n > 0 ? "," : "", type);
    og_buf_add_json(details, value);
    og_buf_addc(details, '}');
}

static void add_time(og_buf *b, int64_t ms)
{
    int year, month, day;
    int64_t days = ms / 86400000, rest = ms % 86400000;
    og_civil_from_days(days, &year, &month, &day);
    og_buf_addf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month, day, (int)(rest / 3600000),
                (int)(rest / 60000 % 60), (int)(rest / 1000 % 60), (int)(rest % 1000));
}

static void add_who(og_buf *b, const char *kind, og_str who, const char *requestor)
{
    og_buf_addf(b, "{\"who\":{%s:", kind);
    og_buf_add_json(b, who);
    og_buf_addf(b, "},\"requestor\":%s}", requestor);
}

/* Whoever calls writes the path: bytes that are no UTF-8 stand as they came over the wire. */
static void add_path(og_buf *b, og_str path)
{
    og_buf plain;
    if (og_utf8_check(path) == path.n) {
        og_buf_add_json(b, path);
        return;
    }
    og_buf_init(&plain, MAX_LINE);
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        if (c < 0x80)
            og_buf_addc(&plain, (char)c);
        else
            og_buf_addf(&plain, "%%%02X", c);
    }
    og_buf_add_json(b, og_buf_str(&plain));
    og_buf_done(&plain);
}

/* FHIR R4 auditevent.html: type, recorded, agent and source are required. */
static void write_event(og_buf *b, const audit_event *e, og_str time)
{
    og_buf_addf(
        b,
        "{\"resourceType\":\"AuditEvent\",\"type\":{\"system\":\"http://terminology.hl7.org/"
        "CodeSystem/audit-event-type\",\"code\":\"rest\"},\"action\":\"E\",\"recorded\":"
        "\"%.*s\",\"outcome\":\"%s\",\"outcomeDesc\":\"%d\",\"agent\":[",
        OG_STR_ARG(time),
        e->status < 400   ? "0"
        : e->status < 500 ? "4"
                          : "8",
        e->status);
    add_who(b, "\"display\"", e->client.n > 0 ? e->client : OG_STR("unknown"),
            e->user.n > 0 ? "false" : "true");
    if (e->user.n > 0) {
        og_buf_addc(b, ',');
        add_who(b, "\"reference\"", e->user, "true");
    }
    og_buf_addz(b, "],\"source\":{\"observer\":{\"display\":\"osteoguard\"}},\"entity\":[{");
    if (e->patient.n > 0) {
        og_buf_addz(b, "\"what\":{\"reference\":\"Patient/");
        og_buf_adds(b, e->patient); /* an id of FHIR */
        og_buf_addz(b, "\"},");
    }
    og_buf_addz(b, "\"name\":");
    add_path(b, e->path.n > 0 ? e->path : OG_STR("unknown"));
    if (e->details.n > 0)
        og_buf_addf(b, ",\"detail\":[%.*s]", OG_STR_ARG(e->details));
    og_buf_addz(b, "}]}");
}

bool audit_write(audit *a, const audit_event *e, int64_t now_ms)
{
    og_buf time, event, text;
    char hash[HASH_N + 1];
    if (a->options.rotate_bytes > 0 && a->size >= a->options.rotate_bytes)
        rotate(a);
    off_t before = lseek(a->fd, 0, SEEK_END);
    og_buf_init(&time, 64);
    og_buf_init(&event, MAX_LINE);
    og_buf_init(&text, MAX_LINE + 512);
    add_time(&time, now_ms);
    write_event(&event, e, og_buf_str(&time));
    line l = {a->seq + 1, og_buf_str(&time), {a->hash, HASH_N}, og_buf_str(&event)};
    bool good = !og_buf_failed(&time) && !og_buf_failed(&event) && hash_of(&l, hash);
    if (good) {
        write_line(&text, &l, hash);
        good = !og_buf_failed(&text) && write(a->fd, text.p, text.n) == (ssize_t)text.n;
        if (!good && before >= 0 && ftruncate(a->fd, before) != 0)
            good = false; /* the torn line is cut off at the next start */
    }
    if (good) {
        a->seq++;
        a->size += (int64_t)text.n;
        a->dirty = true;
        memcpy(a->hash, hash, sizeof hash);
    }
    if (good && a->options.sync_each && fdatasync(a->fd) != 0)
        note_problem(a, "the audit log cannot be synced");
    og_buf_done(&time);
    og_buf_done(&event);
    og_buf_done(&text);
    return good;
}

/* ---- checking ---- */

bool audit_chain_begin(audit_chain *c, const char *after)
{
    *c = (audit_chain){.anywhere = after != NULL};
    begin_chain(c->hash);
    if (after == NULL)
        return true;
    if (strlen(after) != HASH_N || strspn(after, "0123456789abcdef") != HASH_N)
        return false;
    memcpy(c->hash, after, HASH_N);
    return true;
}

/* The number of a line as it says itself; 0: none. */
static uint64_t number_of(og_str text)
{
    static const char lead[] = "{\"seq\":";
    return og_str_starts(text, OG_STR("{\"seq\":")) ? strtoull(text.p + sizeof lead - 1, NULL, 10)
                                                    : 0;
}

static bool lengthen(audit_chain *c, og_str text)
{
    uint64_t number = number_of(text);
    uint64_t before = c->anywhere && number > 0 ? number - 1 : c->last;
    if (!follows(text, before, c->hash))
        return false;
    c->last = before + 1;
    c->first = c->first == 0 ? c->last : c->first;
    c->anywhere = false;
    return true;
}

og_status audit_verify(audit_chain *c, FILE *file, const char *name, og_error *err)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t n;
    uint32_t lines = 0;
    og_status status = OG_OK;
    while (status == OG_OK && (n = getline(&text, &room, file)) > 0) {
        lines++;
        if (lengthen(c, (og_str){text, (size_t)n}))
            continue;
        status = og_fail(err, OG_INVALID, "this line does not follow from the lines before it");
        err->line = lines;
        snprintf(err->origin, sizeof err->origin, "%s", name);
    }
    if (status == OG_OK && ferror(file))
        status = og_fail(err, OG_IO, "%s cannot be read", name);
    free(text);
    return status;
}
