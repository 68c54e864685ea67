/* References as they occur in the wild, and whose a resource is. */
#ifndef OG_FHIR_REFERENCE_H
#define OG_FHIR_REFERENCE_H

#include "fhir/resource.h"

typedef enum fhir_reference_kind {
    FHIR_REF_NONE,        /* absent, empty, or only an extension */
    FHIR_REF_RELATIVE,    /* Type/id[/_history/v] */
    FHIR_REF_ABSOLUTE,    /* http(s)://base/Type/id[/_history/v] */
    FHIR_REF_URN,         /* urn:uuid:... or urn:oid:... */
    FHIR_REF_CONTAINED,   /* #id */
    FHIR_REF_LOGICAL,     /* identifier only */
    FHIR_REF_CONDITIONAL, /* Type?query */
    FHIR_REF_BARE,        /* an id without type */
    FHIR_REF_OTHER        /* anything else, for example resource:... */
} fhir_reference_kind;

typedef struct fhir_reference {
    fhir_reference_kind kind;
    og_str text;                /* the reference string as it stands (unescaped) */
    og_str base, type, id;      /* parts where the kind has them; type also from Reference.type */
    og_str id_system, id_value; /* identifier.system and value, also beside a reference string */
    og_str version;             /* behind /_history/ */
} fhir_reference;

/* Takes a Reference element apart (FHIR R4 references.html). Never fails: what cannot be understood
 * is FHIR_REF_OTHER. Slices borrow from the document or live in a. type is that of the string where
 * it names one, else Reference.type. A conditional reference has its type, and its query in id,
 * still encoded. */
fhir_reference fhir_reference_of(og_arena *a, fhir_elem reference);
/* The same for a reference string alone; slices borrow from it. */
fhir_reference fhir_reference_parse(og_str text);

/* Where the patient of a resource stands, by the R4 Patient compartment: the element of each type
 * that names the subject (subject, patient; for Patient itself its own id). Returns the Reference
 * element or absent; *ret_self is true when the resource is itself a Patient. The subject comes
 * first and is returned whatever it refers to; the compartment's other elements (performer, author
 * ...) and lists of participants count only where they name a Patient by type. */
fhir_elem fhir_patient_element(const fhir_resource *r, bool *ret_self);
/* Can a resource of this type belong to a patient at all (Medication and Organization cannot)? */
bool fhir_in_patient_compartment(og_str type);

#define FHIR_PATIENT_ID_MAX 255 /* bytes */

typedef struct fhir_bundle fhir_bundle;
/* The patient's id for routing, lives in a or borrows from the document:
 *   Patient/x, https://base/Patient/x     x
 *   urn:uuid:u                            the id of the Bundle's entry, u when there is none
 *   #c                                    the identifier of the contained Patient, as
 * "system|value" identifier alone                      "system|value"; "|value" without system
 *   Patient?identifier=s|v, Patient?_id=x "s|v", x
 *   a bare id, or any other string that is a fullUrl of the Bundle: as it is, the entry's id
 * A logical or conditional reference to a Patient that stands in the Bundle with this identifier
 * gives that Patient's id. A resource without subject that contains exactly one Patient belongs to
 * it. A Patient without id is known by its identifier. OG_NOTFOUND with path and reason when there
 * is none or it cannot be resolved (also: the subject is a Group, a Device ...); OG_INVALID when
 * the element is no Reference, or the id is longer than FHIR_PATIENT_ID_MAX or holds control
 * characters. */
OG_MUSTCHECK og_status fhir_patient_of(og_arena *a, const fhir_resource *r,
                                       const fhir_bundle *bundle, og_str *ret_id, og_error *err);

#endif
