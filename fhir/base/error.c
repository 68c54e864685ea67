/* Errors: the first one wins, every layer adds the place it knows. */
#include "fhir/base/error.h"

#include <stdarg.h>
#include <string.h>

#include "fhir/base/text.h"

/* A text that filled its room was perhaps cut inside a character: takes the rest of that one off.
 */
static void whole_characters(char *text, size_t size)
{
    size_t n = strlen(text), at = n;
    if (n + 1 != size)
        return;
    while (at > 0 && ((unsigned char)text[at - 1] & 0xC0) == 0x80)
        at--;
    if (at > 0 && og_utf8_length(text + at - 1, n - (at - 1)) == 0)
        text[at - 1] = '\0';
}

static void copy_text(char *dst, size_t size, const char *src)
{
    size_t n = strlen(src);
    if (n >= size)
        n = size - 1;
    memcpy(dst, src, n);
    dst[n] = '\0';
    whole_characters(dst, size);
}

void og_error_init(og_error *err)
{
    if (err == NULL)
        return;
    /* Field by field: this happens more often than errors do, and the texts are long. */
    err->status = OG_OK;
    err->origin[0] = err->path[0] = err->text[0] = '\0';
    err->line = err->column = 0;
    err->partition = 0;
    err->offset = 0;
    err->has_record = 0;
    err->byte = -1;
}

og_status og_fail(og_error *err, og_status status, const char *fmt, ...)
{
    if (err != NULL && err->status == OG_OK) {
        va_list ap;
        err->status = status;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
        whole_characters(err->text, sizeof err->text);
    }
    return status;
}

static int open_for_place(const og_error *err)
{
    return err != NULL && err->status != OG_OK;
}

void og_error_origin(og_error *err, const char *origin)
{
    if (open_for_place(err) && err->origin[0] == '\0' && origin != NULL)
        copy_text(err->origin, sizeof err->origin, origin);
}

void og_error_at(og_error *err, uint32_t line, uint32_t column)
{
    if (open_for_place(err) && err->line == 0) {
        err->line = line;
        err->column = column;
    }
}

void og_error_record(og_error *err, const char *topic, int32_t partition, int64_t offset)
{
    if (!open_for_place(err) || err->has_record)
        return;
    og_error_origin(err, topic);
    err->partition = partition;
    err->offset = offset;
    err->has_record = 1;
}

void og_error_path(og_error *err, const char *path)
{
    if (open_for_place(err) && err->path[0] == '\0' && path != NULL)
        copy_text(err->path, sizeof err->path, path);
}

void og_error_byte(og_error *err, int64_t byte)
{
    if (open_for_place(err) && err->byte < 0)
        err->byte = byte;
}

int og_error_format(const og_error *err, char *buf, size_t size)
{
    char place[400] = "";
    char where[300] = "";

    if (err->has_record)
        snprintf(place, sizeof place, "%s[%d]@%lld: ", err->origin, (int)err->partition,
                 (long long)err->offset);
    else if (err->line != 0 && err->column != 0)
        snprintf(place, sizeof place, "%s:%u:%u: ", err->origin[0] != '\0' ? err->origin : "input",
                 err->line, err->column);
    else if (err->line != 0)
        snprintf(place, sizeof place, "%s:%u: ", err->origin[0] != '\0' ? err->origin : "input",
                 err->line);
    else if (err->origin[0] != '\0')
        snprintf(place, sizeof place, "%s: ", err->origin);
    if (err->path[0] != '\0')
        snprintf(where, sizeof where, " (at %s)", err->path);
    else if (err->byte >= 0 && err->line == 0)
        snprintf(where, sizeof where, " (at byte %lld)", (long long)err->byte);
    return snprintf(buf, size, "%serror: %s%s", place,
                    err->text[0] != '\0' ? err->text : og_status_text(err->status), where);
}

const char *og_status_name(og_status status)
{
    switch (status) {
#define X(name, number, text)                                                                      \
    case OG_##name: return #name;
        OG_STATUS_MAP(X)
#undef X
    }
    return "UNKNOWN";
}

const char *og_status_text(og_status status)
{
    switch (status) {
#define X(name, number, text)                                                                      \
    case OG_##name: return text;
        OG_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

void og_report_add(og_report *report, const og_error *err)
{
    if (report == NULL)
        return;
    report->count++;
    if (report->fn != NULL)
        report->fn(report->ctx, err);
}
