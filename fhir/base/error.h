/* Errors: one status, one place, one sentence.
 *
 * A function that can fail for more than one reason returns og_status and fills a caller-owned
 * og_error, which may be NULL and fits on the stack. The first error wins: later calls of og_fail
 * on the same og_error keep what stands there. Every layer adds the place that it knows. */
#ifndef OG_BASE_ERROR_H
#define OG_BASE_ERROR_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OG_STATUS_MAP(X)                                                                           \
    X(OK, 0, "ok")                                                                                 \
    X(NOMEM, 1, "out of memory")                                                                   \
    X(SYNTAX, 2, "not well formed")                                                                \
    X(INVALID, 3, "well formed but not valid")                                                     \
    X(LIMIT, 4, "over a configured limit")                                                         \
    X(NOTFOUND, 5, "not found")                                                                    \
    X(UNSUPPORTED, 6, "not supported")                                                             \
    X(IO, 7, "input or output failed")                                                             \
    X(AGAIN, 8, "not now, try again")                                                              \
    X(CORRUPT, 9, "stored data is damaged")                                                        \
    X(EVAL, 10, "evaluation failed")                                                               \
    X(INTERNAL, 11, "internal error")

typedef enum og_status {
#define X(name, number, text) OG_##name = (number),
    OG_STATUS_MAP(X)
#undef X
} og_status;

#define OG_MUSTCHECK         __attribute__((warn_unused_result))
#define OG_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

typedef struct og_error {
    og_status status;
    char origin[256];      /* file or topic; empty when unknown */
    uint32_t line, column; /* 1-based; 0 when unknown */
    int32_t partition;     /* meaningful when has_record */
    int64_t offset;        /* Kafka offset when has_record */
    int has_record;        /* partition and offset are set */
    int64_t byte;          /* 0-based byte position in the input; -1 when unknown */
    char path[256];        /* FHIR or JSON path; empty when unknown */
    char text[512];        /* one sentence without a full stop, no patient data */
} og_error;

/* Collects many errors (loading content): fn is called once for each. count is raised by
 * og_report_add. */
typedef struct og_report {
    void (*fn)(void *ctx, const og_error *err);
    void *ctx;
    unsigned count;
} og_report;

/* Prepares *err; must be called before first use. NULL is accepted. */
void og_error_init(og_error *err);

/* Records the first failure and returns `status` (always, so that `return og_fail(...)` reads
 * well). */
og_status og_fail(og_error *err, og_status status, const char *fmt, ...) OG_PRINTF(3, 4);

/* Add a place to an error that has none of this kind yet; nothing happens when err is NULL or OK.
 */
void og_error_origin(og_error *err, const char *origin);
void og_error_at(og_error *err, uint32_t line, uint32_t column);
void og_error_record(og_error *err, const char *topic, int32_t partition, int64_t offset);
void og_error_path(og_error *err, const char *path);
void og_error_byte(og_error *err, int64_t byte);

/* Writes `origin:line:column: error: text (at path)` or `topic[partition]@offset: error: text` into
 * buf, always terminated; returns the length that it would have without a limit, like snprintf. */
int og_error_format(const og_error *err, char *buf, size_t size);

/* The map's name ("SYNTAX") and sentence for a status. Static strings. */
const char *og_status_name(og_status status);
const char *og_status_text(og_status status);

/* Hands err to the report's function and counts it. A report of NULL is accepted. */
void og_report_add(og_report *report, const og_error *err);

#endif
