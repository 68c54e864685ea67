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
