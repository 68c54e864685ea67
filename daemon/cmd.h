/* What the commands say to people in the same way. */
#ifndef OG_DAEMON_CMD_H
#define OG_DAEMON_CMD_H

#include "fhir/base/error.h"

/* Says on standard error what is wrong with the command line, and where help is. Returns the exit
 * status 2. */
int cmd_misuse(const char *command, const char *fmt, ...) OG_PRINTF(2, 3);

#endif
