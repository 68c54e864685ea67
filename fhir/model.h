/* The FHIR R4 (4.0.1) model: types, their elements, what a primitive looks like.
 *
 * The tables are generated from the model info (fhir/generate-model); nothing is allocated, nothing
 * can change. A type is a number; 0 is "unknown" and every function accepts it. FHIR types have
 * their bare names ("Observation", "Observation.Component", "dateTime", "ObservationStatus"), CQL's
 * System types are there too, with their namespace ("System.String"), because model elements and
 * conversions name them. */
#ifndef OG_FHIR_MODEL_H
#define OG_FHIR_MODEL_H

#include "fhir/base/text.h"

/* What the JSON value of a primitive looks like (R4 datatypes.html). A code with a required binding
 * (ObservationStatus) is CODE. */
typedef enum fhir_primitive {
    FHIR_PRIMITIVE_NONE = 0, /* no primitive: an object in JSON */
    FHIR_PRIMITIVE_BOOLEAN,
    FHIR_PRIMITIVE_INTEGER,
    FHIR_PRIMITIVE_UNSIGNED_INT,
    FHIR_PRIMITIVE_POSITIVE_INT,
    FHIR_PRIMITIVE_DECIMAL,
    FHIR_PRIMITIVE_STRING,
    FHIR_PRIMITIVE_MARKDOWN,
    FHIR_PRIMITIVE_URI,
    FHIR_PRIMITIVE_URL,
    FHIR_PRIMITIVE_CANONICAL,
    FHIR_PRIMITIVE_OID,
    FHIR_PRIMITIVE_UUID,
    FHIR_PRIMITIVE_ID,
    FHIR_PRIMITIVE_CODE,
    FHIR_PRIMITIVE_DATE,
    FHIR_PRIMITIVE_DATETIME,
    FHIR_PRIMITIVE_INSTANT,
    FHIR_PRIMITIVE_TIME,
    FHIR_PRIMITIVE_BASE64BINARY,
    FHIR_PRIMITIVE_XHTML
} fhir_primitive;

/* An element of a type. A choice (value[x], named `value`) has type 0 and choice_count types. */
typedef struct fhir_model_element {
    uint16_t name_at; /* see fhir_model_element_name */
    uint8_t name_length;
    uint8_t is_list;
    uint16_t type;
    uint16_t choice_first, choice_count; /* see fhir_model_choice */
} fhir_model_element;

/* A number for the element, never 0, and back; no element has number 0. */
uint16_t fhir_model_number(const fhir_model_element *e);
const fhir_model_element *fhir_model_at(uint16_t number);

/* The type called name, or 0. Names as above. */
uint16_t fhir_type_of(og_str name);
/* The type by the forms that ELM uses: "{http://hl7.org/fhir}Observation", "FHIR.Observation",
 * "{urn:hl7-org:elm-types:r1}String", "System.String". 0 when it is none. */
uint16_t fhir_type_of_qualified(og_str name);
/* Its name; empty for 0 and for numbers that are no type. Static. */
og_str fhir_type_name(uint16_t type);
/* Types have the numbers 1..fhir_type_count(). */
uint16_t fhir_type_count(void);
/* The type that it specialises ("Observation" -> "DomainResource"), 0 when there is none. */
uint16_t fhir_type_base(uint16_t type);
/* True when type is ancestor or derives from it. False when either is 0. System.Any is everyone's
 * ancestor. */
bool fhir_type_is(uint16_t type, uint16_t ancestor);
bool fhir_type_is_primitive(uint16_t type);
/* True for every type that derives from Resource, and Resource and DomainResource themselves. */
bool fhir_type_is_resource(uint16_t type);
/* True for a type that may stand in resourceType: a resource that is not abstract. */
bool fhir_type_is_concrete_resource(uint16_t type);
bool fhir_type_is_system(uint16_t type);
/* The form of its JSON value. System.String counts as STRING (Element.id has this type). */
fhir_primitive fhir_type_primitive(uint16_t type);
/* The System type of a primitive's value ("dateTime" -> "System.DateTime"), 0 when it is no
 * primitive. */
uint16_t fhir_type_value(uint16_t type);
/* The element that code filters of a retrieve use ("Observation" -> "code"); empty when there is
 * none. */
og_str fhir_type_primary_code_path(uint16_t type);
/* The paths to the references that put the resource into a Patient compartment, separated by one
 * space
 * ("subject asserter"), as far as the model info gives elements for them; empty when there are
 * none. */
og_str fhir_type_patient_paths(uint16_t type);
/* The FHIRHelpers function that makes a System value of it ("Coding" -> "ToCode"); empty when none
 * does. */
og_str fhir_type_conversion(uint16_t type);

/* The element of a type by its model name (choices without [x]: "value"), inherited ones included;
 * NULL when it has none. Static. */
const fhir_model_element *fhir_model_element_of(uint16_t type, og_str name);
/* The element that a JSON member name stands for, *ret_type its type: "valueQuantity" gives `value`
 * and Quantity, "code" gives `code`. NULL when the type has no such member; "value" of a choice is
 * none. The leading underscore of a primitive's sibling is the caller's to strip. */
const fhir_model_element *fhir_model_member(uint16_t type, og_str member, uint16_t *ret_type);
/* The elements that the type itself adds (not the inherited ones: walk fhir_type_base for them). */
const fhir_model_element *fhir_model_elements(uint16_t type, size_t *ret_count);
og_str fhir_model_element_name(const fhir_model_element *e);
/* Type i of a choice; 0 when there is none. */
uint16_t fhir_model_choice(const fhir_model_element *e, size_t i);

#endif
