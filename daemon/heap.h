/* The heap of the C library: what is free goes back to the system. Nothing happens where the
 * library is not glibc's. */
#ifndef OG_DAEMON_HEAP_H
#define OG_DAEMON_HEAP_H

/* Once, before there are threads: what is free is not kept for a peak like the last one. */
void heap_keep_little(void);
/* Gives back pages that lie idle between what is used. For any thread, at any time; takes
 * milliseconds. */
void heap_give_back(void);

#endif
