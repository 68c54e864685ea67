/* References as they occur in the wild, and whose a resource is. */
#ifndef OG_FHIR_REFERENCE_H
#define OG_FHIR_REFERENCE_H

#include "fhir/resource.h"

typedef enum fhir_reference_kind {
    FHIR_REF_NONE,       /* absent, empty, or only an extension */
    FHIR_REF_RELATIVE,   /* Type/id[/_history/v] */
    FHIR_REF_ABSOLUTE,   /* http(s)://base/Type/id[/_history/v] */
    FHIR_REF_URN,        /* urn:uuid:... or urn:oid:... */
    FHIR_REF_CONTAINED,  /* #id */
    FHIR_REF_LOGICAL,    /* identifier only */
    FHIR_REF_CONDITIONAL,/* Type?query */
    FHIR_REF_BARE,       /* an id without type */
    FHIR_REF_OTHER       /* anything else, for example resource:... */
} fhir_reference_kind;

typedef struct fhir_reference {
    fhir_reference_kind kind;
    og_str text;              /* the reference string as it stands (unescaped) */
    og_str base, type, id;    /* parts where the kind has them; type also from Reference.type */
    og_str id_system, id_value; /* logical: identifier.system and value */
} fhir_reference;

/* Takes a Reference element apart (FHIR R4 references.html). Never fails: what cannot be understood is
 * FHIR_REF_OTHER. Slices borrow from the document or live in a. */
fhir_reference fhir_reference_of(og_arena *a, fhir_elem reference);
fhir_reference fhir_reference_parse(og_str text);

/* Where the patient of a resource stands, by the R4 Patient compartment: the element(s) of each type that
 * name the subject (subject, patient, for Patient itself its own id). Returns the Reference element or
 * absent; *ret_self is true when the resource is itself a Patient. */
fhir_elem fhir_patient_element(const fhir_resource *r, bool *ret_self);

typedef struct fhir_bundle fhir_bundle;
/* The patient's id for routing: Patient/x and absolute URLs give x, urn:uuid is resolved through the
 * bundle (NULL when there is none) to the Patient entry's id when it has one, else the uuid itself;
 * contained Patients by their identifier; logical references as "system|value"; a bare id as is.
 * OG_NOTFOUND with path and reason when there is none or it cannot be resolved. Lives in a. */
OG_MUSTCHECK og_status fhir_patient_of(og_arena *a, const fhir_resource *r, const fhir_bundle *bundle,
                                       og_str *ret_id, og_error *err);

#endif
