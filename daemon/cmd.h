/* What the commands read from people and say to them in the same way: a time, a wrong call, a
 * problem. */
#ifndef OG_DAEMON_CMD_H
#define OG_DAEMON_CMD_H

#include <stdint.h>

#include "fhir/base/error.h"

/* Says on standard error what is wrong with the command line, and where help is. Returns the exit
 * status 2. */
int cmd_misuse(const char *command, const char *fmt, ...) OG_PRINTF(2, 3);

/* The date or time that an option of a command was given. Returns -1, or the exit status after
 * cmd_misuse. */
int cmd_read_time(const char *command, const char *option, const char *text, int64_t *ret_ms);

/* Callbacks of an og_report: a problem, or a warning, as a line on standard error. ctx of the
 * first: an unsigned that counts the problems, or NULL. */
void cmd_print_problem(void *ctx, const og_error *err);
void cmd_print_warning(void *ctx, const og_error *err);

#endif
