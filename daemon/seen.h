/* What is good once: tokens and signed requests that were used are remembered until they have
 * expired by themselves. Loop thread only. */
#ifndef OG_DAEMON_SEEN_H
#define OG_DAEMON_SEEN_H

#include "fhir/base/text.h"

typedef struct seen seen;

typedef enum seen_verdict {
    SEEN_NEW,
    SEEN_BEFORE,
    SEEN_FULL /* it cannot be remembered: rather refuse a good one than take one twice */
} seen_verdict;

seen *seen_new(void); /* NULL: no memory. Caller owns it; its pages are taken when they are used */
void seen_free(seen *s); /* accepts NULL */

/* Remembers what until until_s, in seconds since 1970 like now_s; past 2106 for ever. */
seen_verdict seen_take(seen *s, og_str what, int64_t now_s, int64_t until_s);

#endif
