/* Reads values out of NDJSON and JSON files, plain or gzipped, in a window that moves over the
 * file.
 *
 * zlib reads plain files as they are, so there is one way for both. The window holds one line at a
 * time and grows up to the longest line that is allowed; what is over that is skipped to the line's
 * end without being kept.
 *
 * Whether a file is one document over several lines is decided on its first line that is not blank,
 * by counting brackets outside of strings; whether the text is JSON at all is the reader's
 * business. */
#include "connectors/ndjson.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 64 * 1024 };

typedef enum reader_form { FORM_LINES, FORM_UNDECIDED, FORM_DOCUMENT } reader_form;

struct ndjson_reader {
    char path[256]; /* for errors */
    int fd;         /* zlib owns it; kept for the progress */
    gzFile gz;
    uint64_t size;
    size_t max;
    reader_form form;

    char *buf; /* [at, end) is unread */
    size_t at, end, cap;
    uint64_t byte;    /* file position of at */
    uint64_t line;    /* line that begins at `at` */
    bool eof;         /* there is no more to fill in */
    bool failed;      /* because reading failed; what came before is still delivered */
    int why;          /* errno of that */
    char head[CHUNK]; /* the first part of a value that was too long */
};

static og_status read_fail(ndjson_reader *r, og_error *err)
{
    int code = Z_OK;
    const char *text = gzerror(r->gz, &code);
    /* zlib puts the descriptor's name in front. */
    const char *colon = text != NULL ? strstr(text, ": ") : NULL;
    og_status st = og_fail(err, OG_IO, "cannot be read: %s",
                           code == Z_ERRNO ? strerror(r->why)
                           : colon != NULL ? colon + 2
                                           : "damaged");
    og_error_origin(err, r->path);
    og_error_at(err, (uint32_t)r->line, 0);
    og_error_byte(err, (int64_t)r->byte);
    return st;
}

/* Makes room for another chunk, up to max + what decides that a line is over it. */
static bool window_grow(ndjson_reader *r)
{
    if (r->at > 0) {
        memmove(r->buf, r->buf + r->at, r->end - r->at);
        r->end -= r->at;
        r->at = 0;
    }
    if (r->cap - r->end >= CHUNK)
        return true;
    size_t cap = r->cap * 2;
    while (cap - r->end < CHUNK)
        cap *= 2;
    char *grown = realloc(r->buf, cap);
    if (grown == NULL)
        return false;
    r->buf = grown;
    r->cap = cap;
    return true;
}

/* Reads on; sets eof at the end, and failed when that came too early. */
static og_status window_fill(ndjson_reader *r, og_error *err)
{
    if (!window_grow(r))
        return og_fail(err, OG_NOMEM, "out of memory");
    int code = Z_OK;
    int n = gzread(r->gz, r->buf + r->end, CHUNK);
    r->why = errno;
    (void)gzerror(r->gz, &code);
    r->failed = n < 0 || (n < CHUNK && code != Z_OK && code != Z_STREAM_END);
    r->eof = r->failed || n == 0;
    r->end += n > 0 ? (size_t)n : 0;
    return OG_OK;
}

static void window_skip(ndjson_reader *r, size_t n)
{
    r->at += n;
    r->byte += n;
}

/* Finds the end of the line that begins at r->at: its length without and with its line end.
 * OG_LIMIT: longer than allowed. */
static og_status line_find(ndjson_reader *r, size_t *ret_length, size_t *ret_whole, og_error *err)
{
    size_t seen = 0;
    for (;;) {
        const char *nl = memchr(r->buf + r->at + seen, '\n', r->end - r->at - seen);
        size_t have = nl != NULL ? (size_t)(nl - (r->buf + r->at)) : r->end - r->at;
        if (have > r->max + 1)
            return OG_LIMIT;
        if (nl == NULL && r->failed)
            return read_fail(r, err);
        if (nl != NULL || r->eof) {
            *ret_whole = nl != NULL ? have + 1 : have;
            *ret_length = have > 0 && r->buf[r->at + have - 1] == '\r' ? have - 1 : have;
            return *ret_length > r->max ? OG_LIMIT : OG_OK;
        }
        seen = have;
        og_status st = window_fill(r, err);
        if (st != OG_OK)
            return st;
    }
}

/* Throws away up to the end of the line, or of the file. */
static og_status skip_rest(ndjson_reader *r, bool to_line_end, og_error *err)
{
    for (;;) {
        const char *nl = memchr(r->buf + r->at, '\n', r->end - r->at);
        if (nl != NULL) {
            window_skip(r, (size_t)(nl - (r->buf + r->at)) + 1);
            r->line++;
            if (to_line_end)
                return OG_OK;
            continue;
        }
        window_skip(r, r->end - r->at);
        if (r->failed)
            return read_fail(r, err);
        if (r->eof)
            return OG_OK;
        og_status st = window_fill(r, err);
        if (st != OG_OK)
            return st;
    }
}

static bool is_blank(og_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != ' ' && s.p[i] != '\t' && s.p[i] != '\r' && s.p[i] != '\n')
            return false;
    }
    return true;
}

/* Does the line leave a bracket open? */
static bool leaves_open(og_str s)
{
    long depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return depth > 0;
}

/* Keeps the first part of a value that is too long, for a dead letter, and goes on behind it. */
static og_status too_long(ndjson_reader *r, bool is_line, ndjson_item *ret, og_error *err)
{
    size_t n = r->end - r->at < sizeof(r->head) ? r->end - r->at : sizeof(r->head);
    n = n < r->max ? n : r->max;
    memcpy(r->head, r->buf + r->at, n);
    ndjson_item item = {{r->head, n}, r->line, r->byte, 0};
    og_status st = skip_rest(r, is_line, err);
    if (st != OG_OK)
        return st;
    item.next = r->byte;
    *ret = item;
    st = og_fail(err, OG_LIMIT, "a value is longer than %zu bytes", r->max);
    og_error_origin(err, r->path);
    og_error_at(err, (uint32_t)item.line, 0);
    og_error_byte(err, (int64_t)item.byte);
    return st;
}

/* The whole rest is one value. */
static og_status document_next(ndjson_reader *r, ndjson_item *ret, og_error *err)
{
    while (!r->eof && r->end - r->at <= r->max) {
        og_status st = window_fill(r, err);
        if (st != OG_OK)
            return st;
    }
    if (r->failed)
        return read_fail(r, err);
    size_t whole = r->end - r->at, n = whole;
    while (n > 0 && is_blank((og_str){r->buf + r->at + n - 1, 1}))
        n--;
    r->form = FORM_LINES; /* nothing comes after it */
    if (n > r->max || !r->eof)
        return too_long(r, false, ret, err);
    *ret = (ndjson_item){{r->buf + r->at, n}, r->line, r->byte, r->byte + whole};
    for (size_t i = 0; i < whole; i++)
        r->line += r->buf[r->at + i] == '\n';
    window_skip(r, whole);
    return OG_OK;
}

og_status ndjson_next(ndjson_reader *r, ndjson_item *ret, og_error *err)
{
    for (;;) {
        size_t length = 0, whole = 0;
        og_status st = line_find(r, &length, &whole, err);
        if (st == OG_LIMIT) {
            r->form = FORM_LINES; /* too long for a line is too long for a document */
            return too_long(r, true, ret, err);
        }
        if (st != OG_OK)
            return st;
        if (whole == 0)
            return OG_NOTFOUND;
        og_str text = {r->buf + r->at, length};
        if (is_blank(text)) {
            window_skip(r, whole);
            r->line++;
            continue;
        }
        if (r->form == FORM_UNDECIDED) {
            r->form = leaves_open(text) ? FORM_DOCUMENT : FORM_LINES;
            if (r->form == FORM_DOCUMENT)
                return document_next(r, ret, err);
        }
        *ret = (ndjson_item){text, r->line, r->byte, r->byte + whole};
        window_skip(r, whole);
        r->line++;
        return OG_OK;
    }
}

/* ---- opening ---- */

static bool name_ends(const char *path, const char *suffix)
{
    og_str p = og_str_of(path);
    if (og_str_ends(p, OG_STR(".gz")))
        p.n -= 3;
    return og_str_ends(p, og_str_of(suffix));
}

bool ndjson_has_lines(const char *path)
{
    return name_ends(path, ".ndjson") || name_ends(path, ".jsonl");
}

static og_status open_file(ndjson_reader *r, const char *path, og_error *err)
{
    struct stat st;
    bool is_stdin = strcmp(path, "-") == 0;
    r->fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (r->fd < 0)
        return og_fail(err, errno == ENOENT ? OG_NOTFOUND : OG_IO, "%s", strerror(errno));
    if (fstat(r->fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(r->fd);
        return og_fail(err, OG_IO, "is a directory");
    }
    r->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    r->gz = gzdopen(r->fd, "rb");
    if (r->gz == NULL) {
        close(r->fd);
        return og_fail(err, OG_NOMEM, "out of memory");
    }
    gzbuffer(r->gz, CHUNK * 2);
    return OG_OK;
}

static og_status go_to(ndjson_reader *r, uint64_t resume, uint64_t line, og_error *err)
{
    if (resume == 0) { /* a byte order mark is not part of the first value */
        og_status st = window_fill(r, err);
        if (st == OG_OK && r->end >= 3 && memcmp(r->buf, "\xef\xbb\xbf", 3) == 0)
            window_skip(r, 3);
        return st;
    }
    if (gzseek(r->gz, (z_off_t)resume, SEEK_SET) != (z_off_t)resume)
        return read_fail(r, err);
    r->byte = resume;
    r->line = line > 0 ? line : 1;
    r->form = FORM_LINES; /* one document is read whole or not at all */
    return OG_OK;
}

og_status ndjson_open(const char *path, uint64_t resume, uint64_t resume_line,
                      size_t max_item_bytes, ndjson_reader **ret, og_error *err)
{
    ndjson_reader *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    og_status st = open_file(r, path, err);
    if (st != OG_OK) {
        og_error_origin(err, path);
        free(r);
        return st;
    }
    snprintf(r->path, sizeof(r->path), "%s", strcmp(path, "-") == 0 ? "(standard input)" : path);
    r->max = max_item_bytes > 0 ? max_item_bytes : NDJSON_MAX_ITEM;
    r->line = 1;
    r->form = ndjson_has_lines(path) ? FORM_LINES : FORM_UNDECIDED;
    r->cap = (size_t)CHUNK * 2;
    r->buf = malloc(r->cap);
    st = r->buf != NULL ? go_to(r, resume, resume_line, err)
                        : og_fail(err, OG_NOMEM, "out of memory");
    if (st != OG_OK) {
        og_error_origin(err, r->path);
        ndjson_close(r);
        return st;
    }
    *ret = r;
    return OG_OK;
}

uint64_t ndjson_line(const ndjson_reader *r)
{
    return r->line;
}

void ndjson_progress(const ndjson_reader *r, uint64_t *ret_read, uint64_t *ret_size)
{
    z_off_t at = gzoffset(r->gz);
    *ret_read = at > 0 ? (uint64_t)at : 0;
    *ret_size = r->size;
}

void ndjson_close(ndjson_reader *r)
{
    if (r == NULL)
        return;
    if (r->gz != NULL)
        gzclose(r->gz);
    free(r->buf);
    free(r);
}
