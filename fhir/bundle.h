/* Bundles: entries in order, urn:uuid inside the Bundle, deletes. FHIR R4 bundle.html. */
#ifndef OG_FHIR_BUNDLE_H
#define OG_FHIR_BUNDLE_H

#include "fhir/reference.h"

typedef enum fhir_verb { FHIR_PUT, FHIR_DELETE, FHIR_SKIP } fhir_verb;

typedef struct fhir_entry {
    fhir_verb verb; /* PUT for everything that carries a current resource (POST, PUT, none) */
    fhir_resource resource; /* for PUT; its id is the effective one, see below */
    og_str full_url;
    og_str type, id; /* of the resource; for DELETE: from request.url `Type/id` */
    uint32_t number; /* position in Bundle.entry, 0-based */
} fhir_entry;

/* Opens a Bundle (transaction, batch, collection, history, searchset, subscription-notification;
 * others are OG_INVALID) and indexes fullUrl and Type/id of its entries. Lives in a, borrows the
 * document. */
OG_MUSTCHECK og_status fhir_bundle_open(og_arena *a, const fhir_resource *bundle, fhir_bundle **ret,
                                        og_error *err);
uint32_t fhir_bundle_count(const fhir_bundle *b);
/* Entry i, in the order of the Bundle (a history may hold several versions of one resource, and
 * says newest first). The effective id is resource.id, else the uuid of a fullUrl urn:uuid:, else
 * the id that fullUrl or the PUT's request.url names as `Type/id`. OG_INVALID with path (the others
 * of the Bundle stay usable) for an entry that is neither a resource nor a delete, has no effective
 * id, holds a Bundle, a conditional delete or a PATCH, or whose resource fhir_resource_of refuses.
 * A searchset's outcome entry, a GET, a HEAD and the status of a notification (Parameters in the
 * R4 backport, SubscriptionStatus in R4B and R5) are FHIR_SKIP. */
OG_MUSTCHECK og_status fhir_bundle_entry(const fhir_bundle *b, uint32_t i, fhir_entry *ret,
                                         og_error *err);
/* The entry with a resource that a reference string means (fullUrl, urn:uuid, Type/id), or NULL.
 * The first one when several have the same name. Borrowed from b. */
const fhir_entry *fhir_bundle_resolve(const fhir_bundle *b, og_str reference);
/* The Patient entry that carries an identifier, or NULL. */
const fhir_entry *fhir_bundle_patient_with(const fhir_bundle *b, og_str system, og_str value);

/* The bytes of an entry's resource as they leave the Bundle: references (Reference.reference, also
 * inside contained resources and extensions) that are neither relative nor http(s) URLs and that
 * the Bundle resolves are replaced by `Type/id`, everything else is as it stands (numbers keep
 * their digits). A resource without id gets its effective one. Appended to out. OG_LIMIT when that
 * goes over its maximum. */
OG_MUSTCHECK og_status fhir_bundle_extract(const fhir_bundle *b, const fhir_entry *e, og_buf *out,
                                           og_error *err);

#endif
