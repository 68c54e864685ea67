/* The mark `damaged` in a folder: its files are not to be believed by whoever opens them next. What
 * kills a process says nothing about its files as a rule (kill -9, out of memory), but for a SIGBUS
 * inside the map of one (its disk fails, it was cut), and for a signal while its pages are followed
 * that prove nothing. */
#ifndef OG_DAEMON_DAMAGE_H
#define OG_DAEMON_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>

/* Also in a signal handler. dir: up to 511 bytes. */
void damage_note(const char *dir);
bool damage_is_noted(const char *dir);

typedef struct damage_watch { /* a map, and the folder of its file; the caller's memory */
    const char *map;
    size_t bytes;
    const char *dir;
    struct damage_watch *next;
} damage_watch;
/* Until damage_unwatch. */
void damage_watch_map(damage_watch *w);
/* Nothing happens when it is not watched. */
void damage_unwatch(const damage_watch *w);

/* The folder whose pages this thread follows; NULL: none. */
extern _Thread_local const char *volatile damage_reading;

/* Once per process: SIGBUS, SIGSEGV and SIGABRT leave the mark where it belongs, and kill the
 * process as they would have. */
void damage_on_fatal_signals(void);

#endif
