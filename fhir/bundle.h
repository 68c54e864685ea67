/* Bundles: entries in order, urn:uuid inside the Bundle, deletes. FHIR R4 bundle.html. */
#ifndef OG_FHIR_BUNDLE_H
#define OG_FHIR_BUNDLE_H

#include "fhir/reference.h"

typedef enum fhir_verb { FHIR_PUT, FHIR_DELETE, FHIR_SKIP } fhir_verb;

typedef struct fhir_entry {
    fhir_verb verb;        /* PUT for everything that carries a current resource (POST, PUT, none) */
    fhir_resource resource;/* for PUT */
    og_str full_url;
    og_str type, id;       /* for DELETE: from request.url `Type/id` */
    uint32_t number;       /* position in Bundle.entry, 0-based */
} fhir_entry;

/* Opens a Bundle (transaction, batch, collection, history, searchset; others are OG_INVALID) and indexes
 * fullUrl and Type/id of its entries. Lives in a, borrows the document. */
OG_MUSTCHECK og_status fhir_bundle_open(og_arena *a, const fhir_resource *bundle, fhir_bundle **ret, og_error *err);
uint32_t fhir_bundle_count(const fhir_bundle *b);
/* Entry i. OG_INVALID with path for an entry that is neither a resource nor a delete (the others of the
 * Bundle stay usable). A searchset's outcome entry or a GET is FHIR_SKIP. */
OG_MUSTCHECK og_status fhir_bundle_entry(const fhir_bundle *b, uint32_t i, fhir_entry *ret, og_error *err);
/* The entry that a reference string means (fullUrl, urn:uuid, Type/id), or NULL. */
const fhir_entry *fhir_bundle_resolve(const fhir_bundle *b, og_str reference);

/* The bytes of an entry's resource as they leave the Bundle: urn:uuid references that the Bundle resolves
 * are replaced by `Type/id`, everything else is as it stands (numbers keep their digits). An entry without
 * id gets the uuid of its fullUrl as id. Written to out. */
OG_MUSTCHECK og_status fhir_bundle_extract(const fhir_bundle *b, const fhir_entry *e, og_buf *out, og_error *err);

#endif
