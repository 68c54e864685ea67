#include "daemon/cmd.h"

#include <stdarg.h>
#include <stdio.h>

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
