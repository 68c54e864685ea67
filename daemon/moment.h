/* A point in time as people write it on a command line or in a case. */
#ifndef OG_DAEMON_MOMENT_H
#define OG_DAEMON_MOMENT_H

#include "fhir/base/temporal.h"

typedef struct moment {
    int64_t ms;     /* since 1970-01-01T00:00Z */
    int offset_min; /* of the place, at that time */
} moment;

/* Reads a FHIR date or dateTime. A text without an offset is local time in the process' zone
 * (clock_set_zone); what it leaves out is the earliest (a date: midnight). use_zone: the offset of
 * the place is the zone's even when the text has another. False when the text is no date. */
bool moment_parse(og_str text, bool use_zone, moment *ret);
/* As FHIR dateTime with the place's offset; out takes 48 bytes. Returns the length. */
size_t moment_format(const moment *m, char *out);

#endif
