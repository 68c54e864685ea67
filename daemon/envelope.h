/* What stands around a resource in the values of a source topic. Some senders put the resource into
 * a member of a JSON object, as an object or as a text, or write it in base64.
 *
 *   payload               the member of that name: an object, or a text that is JSON
 *   data.resource         a member of a member
 *   base64:data           a text in base64 (RFC 4648, both alphabets) that is JSON
 *   .   or   base64:.     the whole value is such a text
 *
 * A value that is itself a resource (it has a resourceType) needs no envelope on such a topic
 * either. */
#ifndef OG_DAEMON_ENVELOPE_H
#define OG_DAEMON_ENVELOPE_H

#include "fhir/decode.h"

/* NULL when it is a form as above, else what is wrong with it (a static string). */
const char *envelope_check(const char *form);
/* *ret is the resource's JSON, in a or borrowed from value. OG_SYNTAX, OG_LIMIT and OG_INVALID as
 * of fhir_decode when the value around it is no JSON; OG_NOTFOUND with the member's path in err
 * when it is not there; OG_UNSUPPORTED when it is there and is not of the form. */
OG_MUSTCHECK og_status envelope_open(og_arena *a, const char *form, const fhir_limits *limits,
                                     og_str value, og_str *ret, og_error *err);

#endif
