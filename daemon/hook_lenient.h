/* Resources that an EHR sends with a call and that are not quite FHIR. A draft that is passed over
 * looks as if nothing spoke against it: what can be read of it counts. */
#ifndef OG_DAEMON_HOOK_LENIENT_H
#define OG_DAEMON_HOOK_LENIENT_H

#include "fhir/resource.h"

/* Leaves out the elements of r (with all that is in them) that have another JSON type than R4 says,
 * until fhir_resource_check takes it. *ret_cut: how many; err then has the first one's path. The
 * new r lives in a. OG_INVALID: what cannot be read turns the meaning of the whole (a status, whose
 * it is), or there is too much of it; OG_NOMEM. */
OG_MUSTCHECK og_status hook_cut_misread(og_arena *a, fhir_resource *r, unsigned *ret_cut,
                                        og_error *err);

#endif
