/* The mark `unsynced` in a folder whose files are written without waiting for the disk: the kernel
 * has what they hold, so a kill -9 loses nothing, but a stop of the machine leaves any mixture. The
 * mark names the boot of the machine; found on another boot, the files are not to be believed
 * (STREAM 3.9, 17 and 18). It is on the disk before the first write that is not waited for, and
 * goes when all is there. */
#ifndef OG_DAEMON_UNSYNCED_H
#define OG_DAEMON_UNSYNCED_H

#include "fhir/base/text.h"

#define BOOT_ID_BYTES 64

/* What the kernel calls this boot; "unknown" when it does not say. */
void unsynced_boot_id(char out[BOOT_ID_BYTES]);
/* True when the folder was used without waiting on another boot than this one. */
bool unsynced_machine_stopped(const char *dir, const char *boot_id);
/* False: the disk does not take it. */
bool unsynced_mark(const char *dir, const char *boot_id);
/* All that is in the folder is on the disk. */
void unsynced_clear(const char *dir);
/* The names in a folder are on the disk. */
void unsynced_sync_folder(const char *dir);

#endif
