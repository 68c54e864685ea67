/* Which program this is: where anything in it is another, the same rules may come out otherwise. */
#ifndef OG_DAEMON_PROGRAM_H
#define OG_DAEMON_PROGRAM_H

#include <stdbool.h>

#define PROGRAM_ID_TEXT 65

/* The build id that the linker gave to it, in hex; false: it gave none. */
bool program_id(char out[PROGRAM_ID_TEXT]);

#endif
