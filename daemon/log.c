/* Log lines. A line is built on the stack and written with one call, so that lines of several
 * threads do not mix. What does not fit is cut, marked, and the line stays valid JSON. */
#include "daemon/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log_limit.h"

static log_level threshold = LOG_LEVEL_INFO;
static bool as_text = false, with_identifiers = false;
static void (*sink)(void *ctx, og_str line);
static void *sink_ctx;

/* Not limited before the first tick: a command, and what is said while starting. */
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
static log_limit limit;
static bool limited;
static int64_t limit_now_ms;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

#define MAX_LINE  8192
#define MAX_VALUE 1024

void log_setup(log_level level, log_format format, bool identifiers)
{
    threshold = level;
    as_text =
        format == LOG_FORMAT_TEXT || (format == LOG_FORMAT_AUTO && isatty(STDERR_FILENO) == 1);
    with_identifiers = identifiers;
}

bool log_on(log_level level)
{
    return level <= threshold;
}

bool log_identifiers(void)
{
    return with_identifiers;
}

void log_sink(void (*fn)(void *ctx, og_str line), void *ctx)
{
    sink = fn;
    sink_ctx = ctx;
}

static og_str shortened(og_str s, char room[MAX_VALUE + 8])
{
    size_t n = MAX_VALUE;
    if (s.n <= MAX_VALUE)
        return s;
    while (n > 0 && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n--; /* not in the middle of a character */
    memcpy(room, s.p, n);
    memcpy(room + n, "...", 4);
    return (og_str){room, n + 3};
}

static void add_time(og_buf *line)
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now); /* a log line always tells the real time */
    gmtime_r(&now.tv_sec, &tm);
    og_buf_addf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
                tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(now.tv_nsec / 1000000));
}

static void build_json(og_buf *line, log_level level, const char *message, const log_field *fields,
                       size_t count)
{
    char room[MAX_VALUE + 8];
    og_buf_addz(line, "{\"time\":\"");
    add_time(line);
    og_buf_addf(line, "\",\"level\":\"%s\",\"message\":", level_names[level]);
    og_buf_add_json(line, shortened(og_str_of(message), room));
    for (size_t i = 0; i < count; i++) {
        og_buf_addc(line, ',');
        og_buf_add_json(line, og_str_of(fields[i].name));
        og_buf_addc(line, ':');
        og_buf_add_json(line, shortened(fields[i].value, room));
    }
    og_buf_addz(line, "}\n");
}

/* Control characters of foreign text must not reach a terminal. */
static void add_printable(og_buf *line, og_str s)
{
    for (size_t i = 0; i < s.n; i++)
        og_buf_addc(line, (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? ' ' : s.p[i]);
}

static void build_text(og_buf *line, log_level level, const char *message, const log_field *fields,
                       size_t count)
{
    char room[MAX_VALUE + 8];
    add_time(line);
    og_buf_addf(line, " %-5s ", level_names[level]);
    add_printable(line, og_str_of(message));
    for (size_t i = 0; i < count; i++) {
        og_buf_addf(line, " %s=", fields[i].name);
        add_printable(line, shortened(fields[i].value, room));
    }
    og_buf_addc(line, '\n');
}

static void write_line(log_level level, const char *message, const log_field *fields, size_t count)
{
    og_buf line;
    og_buf_init(&line, (size_t)MAX_LINE * 16);
    if (as_text)
        build_text(&line, level, message, fields, count);
    else
        build_json(&line, level, message, fields, count);
    og_str text = og_buf_failed(&line)
                      ? OG_STR("{\"level\":\"error\",\"message\":\"a log line was lost\"}\n")
                      : og_buf_str(&line);
    if (sink != NULL)
        sink(sink_ctx, text);
    else if (write(STDERR_FILENO, text.p, text.n) < 0)
        (void)0; /* nowhere left to say it */
    og_buf_done(&line);
}

/* kind: what such lines have in common, the message before its values are put in. */
static bool may_say(log_level level, const char *kind, const char *message, og_str value)
{
    if (level > LOG_LEVEL_WARN)
        return true;
    uint64_t hash = og_str_hash(og_str_of(kind)) * 31 + og_str_hash(value);
    pthread_mutex_lock(&limit_lock);
    bool say = !limited || log_limit_take(&limit, hash, level, message, limit_now_ms);
    pthread_mutex_unlock(&limit_lock);
    return say;
}

void log_line(log_level level, const char *message, const log_field *fields, size_t count)
{
    og_str value = count > 0 ? fields[0].value : OG_STR("");
    if (log_on(level) && may_say(level, message, message, value))
        write_line(level, message, fields, count);
}

static void log_va(log_level level, const char *message, va_list ap)
{
    char text[MAX_VALUE];
    if (!log_on(level))
        return;
    vsnprintf(text, sizeof text, message, ap);
    if (may_say(level, message, text, OG_STR("")))
        write_line(level, text, NULL, 0);
}

void log_tick(int64_t now_ms)
{
    log_limit_kind kind;
    bool more = true;
    while (more) {
        pthread_mutex_lock(&limit_lock);
        limited = true;
        limit_now_ms = now_ms;
        more = log_limit_ended(&limit, now_ms, &kind);
        pthread_mutex_unlock(&limit_lock);
        if (!more || !log_on((log_level)kind.level))
            continue;
        char number[32];
        snprintf(number, sizeof number, "%" PRIu64, kind.lines - LOG_LIMIT_LINES);
        log_field fields[] = {{"left_out", og_str_of(number)}, {"last", og_str_of(kind.last)}};
        write_line((log_level)kind.level, "more lines of this kind were left out", fields, 2);
    }
}

#define LOG_FUNCTION(name, level)                                                                  \
    void name(const char *message, ...)                                                            \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, message);                                                                     \
        log_va(level, message, ap);                                                                \
        va_end(ap);                                                                                \
    }
LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

void log_failure(log_level level, const char *message, const og_error *err)
{
    char what[1200];
    og_error_format(err, what, sizeof what);
    static const char word[] = "error: "; /* the level says so already */
    char *first = strstr(what, word);
    if (first != NULL)
        memmove(first, first + sizeof word - 1, strlen(first + sizeof word - 1) + 1);
    log_field fields[] = {{"status", og_str_of(og_status_name(err->status))},
                          {"error", og_str_of(what)}};
    log_line(level, message, fields, 2);
}
