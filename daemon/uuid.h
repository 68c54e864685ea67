/* Names that any instance gives to the same thing: UUIDv5 in the project's namespace, the one that
 * alerts and cards use (rules/plan/plan.h). */
#ifndef OG_DAEMON_UUID_H
#define OG_DAEMON_UUID_H

#include "fhir/base/text.h"

#define UUID_TEXT 37

void uuid_of_name(og_str name, char out[UUID_TEXT]);
/* One that nobody else has. */
void uuid_random(char out[UUID_TEXT]);

#endif
