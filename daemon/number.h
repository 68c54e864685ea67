/* Numbers in the store's values, in as few bytes as they need: seven bits in each, the lowest
 * first, the highest bit where more follow (LEB128); small negative ones are as short as small
 * positive ones (zigzag). */
#ifndef OG_DAEMON_NUMBER_H
#define OG_DAEMON_NUMBER_H

#include "fhir/base/text.h"

#define NUMBER_MOST 10 /* bytes of one */

/* Writes n to `to`, which has room for NUMBER_MOST. Returns the bytes written. */
size_t number_put(char *to, int64_t n);
/* Takes the number away that s begins with. False: there is none. */
bool number_take(og_str *s, int64_t *ret);

/* The same for count of them. */
size_t numbers_put(char *to, const int64_t *n, size_t count);
bool numbers_take(og_str *s, int64_t *ret, size_t count);

#endif
