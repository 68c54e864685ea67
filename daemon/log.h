/* Log: one line per fact on stderr, JSON for machines, text on a terminal.
 *
 * No patient data above the level debug; ids of patients only when log.identifiers says so. Fields
 * are given as name-value pairs, so that a line can be searched by them. Callable from any thread.
 */
#ifndef OG_DAEMON_LOG_H
#define OG_DAEMON_LOG_H

#include "fhir/base/text.h"

typedef enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
} log_level;
typedef enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_TEXT } log_format;

/* AUTO: text when stderr is a terminal, JSON otherwise. */
void log_setup(log_level level, log_format format, bool identifiers);
bool log_on(log_level level);
/* True when ids of patients may be logged. */
bool log_identifiers(void);

/* message is a sentence without a full stop. fields: NULL, or "name\0value" pairs through log_line
 * below. */
void log_error(const char *message, ...) OG_PRINTF(1, 2);
void log_warn(const char *message, ...) OG_PRINTF(1, 2);
void log_info(const char *message, ...) OG_PRINTF(1, 2);
void log_debug(const char *message, ...) OG_PRINTF(1, 2);

typedef struct log_field {
    const char *name;
    og_str value;
} log_field;

/* A line with fields: text values, written as JSON strings. */
void log_line(log_level level, const char *message, const log_field *fields, size_t count);
/* message plus what err says: its text, place and path as fields. */
void log_failure(log_level level, const char *message, const og_error *err);

/* From the first call on, errors and warnings that say the same (the message and the value of the
 * first field are equal) are limited (daemon/log_limit.h); what was left out is said with its
 * number as soon as a window has ended. To be called about every second with a steady clock. */
void log_tick(int64_t now_ms);

/* Where the lines go, stderr when fn is NULL; for tests. line ends with a newline. */
void log_sink(void (*fn)(void *ctx, og_str line), void *ctx);

#endif
