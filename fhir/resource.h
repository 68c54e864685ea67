/* What a resource is: type, id, meta, primitives with their extensions. Lazy: nothing is converted before
 * it is asked for. */
#ifndef OG_FHIR_RESOURCE_H
#define OG_FHIR_RESOURCE_H

#include "fhir/decode.h"

/* One resource of a patient's view or of the store. */
typedef struct fhir_resource {
    fhir_elem root;
    og_str type, id; /* borrowed from the document; id may be empty (contained, inside a Bundle) */
} fhir_resource;

/* Checks that e is an object with a known R4 resourceType (string) and, when present, an id of the FHIR id
 * type ([A-Za-z0-9\-\.]{1,64}). resourceType may stand anywhere in the object. OG_INVALID with path else. */
OG_MUSTCHECK og_status fhir_resource_of(fhir_elem e, fhir_resource *ret, og_error *err);

/* Checks what the way of an event relies on, with the element's path in err: every primitive of the
 * resource has the JSON type and lexical form that the R4 model tables say (date, dateTime, instant, id,
 * code, decimal, boolean ...), no element is a wrong JSON type (array against object), no unknown
 * resourceType in contained. Unknown element names are accepted (extensions of profiles do not add
 * names, but real data have them). OG_INVALID else. */
OG_MUSTCHECK og_status fhir_resource_check(const fhir_resource *r, og_error *err);

/* meta.versionId / meta.lastUpdated as they stand; empty when absent. */
og_str fhir_meta_version(const fhir_resource *r);
og_str fhir_meta_last_updated(const fhir_resource *r);

/* Coding access without allocation: first coding with this system (any when NULL) in a CodeableConcept. */
fhir_elem fhir_coding_in(fhir_elem codeable_concept, const char *system);

/* The choice element `value[x]`: base "value" finds valueQuantity, valueString ... ; *ret_type is the part
 * behind base ("Quantity"). Absent when there is none. */
fhir_elem fhir_choice(fhir_elem object, const char *base, og_str *ret_type);

#endif
