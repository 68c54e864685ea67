/* What a resource is: type, id, meta, primitives with their extensions. Lazy: nothing is converted
 * before it is asked for. */
#ifndef OG_FHIR_RESOURCE_H
#define OG_FHIR_RESOURCE_H

#include "fhir/decode.h"

/* One resource of a patient's view or of the store. */
typedef struct fhir_resource {
    fhir_elem root;
    og_str type, id; /* borrowed from the document; id may be empty (contained, inside a Bundle) */
} fhir_resource;

/* R4 allows ids of [A-Za-z0-9\-\.]{1,64}. Real senders write underscores, and hashes with a suffix
 * that are two characters too long; both can be told apart and stored, so they are read. */
#define FHIR_ID_MAX 128 /* bytes */
/* Can s be the id of a resource: [A-Za-z0-9\-\._]{1,128}? */
bool fhir_id_usable(og_str s);

/* Checks that e is an object with a known R4 resourceType (string) and, when present, an id of
 * [A-Za-z0-9\-\._]{1,128}; one that is spelt with JSON escapes is refused, since r->id borrows the
 * text. resourceType may stand anywhere in the object. OG_INVALID with path else. */
OG_MUSTCHECK og_status fhir_resource_of(fhir_elem e, fhir_resource *ret, og_error *err);

/* What the way of an event relies on, with the element's path in err. OG_INVALID for what makes a
 * record meaningless or would be read wrongly:
 *   - an element of another JSON type than the R4 model says: object against primitive, one value
 * against an array, a string against a number or a boolean and the other way round;
 *   - a contained resource without a known resourceType.
 * OG_LIMIT for elements nested deeper than 512.
 * Accepted as it is, because real senders write it and evaluation reads null where it cannot read
 * more:
 *   - lexical slips: dates that are partial, without zone, with `-0400` or with 7 digits of a
 * fraction, codes with spaces, ids of elements, empty strings, numbers out of range;
 *   - JSON null for an absent element, empty arrays and objects, `_name` without `name`;
 *   - names that R4 does not know.
 * Of a Bundle everything but its entries is checked: they are fhir_bundle_entry's, one by one, so
 * that one bad entry does not spoil the others. */
OG_MUSTCHECK og_status fhir_resource_check(const fhir_resource *r, og_error *err);

/* The same and the lexical form of every primitive (fhir_primitive_valid), and no null, empty
 * string, array or object where R4 (json.html) forbids them. For authors and tests, not for the way
 * of an event. Unknown names are still accepted. */
OG_MUSTCHECK og_status fhir_resource_check_strict(const fhir_resource *r, og_error *err);

/* True when e has the JSON type and the lexical form of the primitive called type ("dateTime",
 * "code", "ObservationStatus"), R4 datatypes.html: regular expressions, ranges, and dates that the
 * calendar has. A code with a required binding is looked at as a code only. False for null, for
 * absent elements and for types that are no primitives. */
bool fhir_primitive_valid(og_str type, fhir_elem e);

/* meta.versionId / meta.lastUpdated as they stand; empty when absent. */
og_str fhir_meta_version(const fhir_resource *r);
og_str fhir_meta_last_updated(const fhir_resource *r);

/* Coding access without allocation: first coding with this system (any when NULL) in a
 * CodeableConcept. */
fhir_elem fhir_coding_in(fhir_elem codeable_concept, const char *system);

/* The choice element `value[x]`: base "value" finds valueQuantity, valueString ... ; *ret_type is
 * the part behind base ("Quantity"), which is always the name of an R4 type but for the case of its
 * first letter. Absent when there is none; the first one when there are several. ret_type may be
 * NULL. */
fhir_elem fhir_choice(fhir_elem object, const char *base, og_str *ret_type);

#endif
