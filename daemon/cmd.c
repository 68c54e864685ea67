#include "daemon/cmd.h"

#include <stdarg.h>
#include <stdio.h>

#include "daemon/moment.h"

int cmd_misuse(const char *command, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "osteoguard %s: ", command);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\ntry 'osteoguard %s --help'\n", command);
    return 2;
}

int cmd_read_time(const char *command, const char *option, const char *text, int64_t *ret_ms)
{
    moment m;

    if (!moment_parse(og_str_of(text), false, &m))
        return cmd_misuse(command, "%s takes a date or a time like 2026-03-01T09:00:00+01:00: %s",
                          option, text);
    *ret_ms = m.ms;
    return -1;
}

void cmd_print_problem(void *ctx, const og_error *err)
{
    unsigned *count = ctx;
    char line[1400];

    if (count != NULL)
        ++*count;
    og_error_format(err, line, sizeof line);
    fprintf(stderr, "%s\n", line);
}

void cmd_print_warning(void *ctx, const og_error *err)
{
    (void)ctx;
    if (err->line != 0)
        fprintf(stderr, "%s:%u:%u: warning: %s\n", err->origin, err->line, err->column, err->text);
    else
        fprintf(stderr, "%s: warning: %s\n", err->origin, err->text);
}
