/* UUIDv5 with libuuid. The namespace is the UUIDv5 of https://osteoguard.org/fhir in the URL
 * namespace. */
#include "daemon/uuid.h"

#include <uuid/uuid.h>

void uuid_of_name(og_str name, char out[UUID_TEXT])
{
    static const char namespace_text[] = "708a4554-1036-5919-b098-c0259720327c";
    uuid_t space, made;
    (void)uuid_parse(namespace_text, space);
    uuid_generate_sha1(made, space, name.p != NULL ? name.p : "", name.n);
    uuid_unparse_lower(made, out);
}

void uuid_random(char out[UUID_TEXT])
{
    uuid_t made;
    uuid_generate_random(made);
    uuid_unparse_lower(made, out);
}
