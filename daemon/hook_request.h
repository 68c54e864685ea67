/* A call of a CDS service, read and checked (CDS Hooks 2.0 "HTTP Request", and the hooks' own
 * context definitions in the CDS Hooks library). What is wrong is said with its path; nothing is
 * taken on trust. */
#ifndef OG_DAEMON_HOOK_REQUEST_H
#define OG_DAEMON_HOOK_REQUEST_H

#include "daemon/uuid.h"
#include "fhir/resource.h"

typedef enum hook_drafts { /* what a hook's context carries */
                           HOOK_NO_DRAFTS,
                           HOOK_BUNDLE,  /* a Bundle of resources that are not on the server yet */
                           HOOK_RESOURCE /* one resource */
} hook_drafts;

typedef struct hook_kind {
    const char *name, *version;
    const char *title, *description; /* of our service for it */
    bool user_required, encounter_required, selections;
    hook_drafts drafts;
    const char *draft_field; /* of the context */
} hook_kind;

/* The hooks that can be served; NULL behind the last one. */
const hook_kind *hook_kind_at(size_t i);
/* By name; NULL when there is none. */
const hook_kind *hook_kind_find(og_str name);

typedef struct hook_request { /* borrows the body */
    const hook_kind *kind;
    og_str instance, fhir_server, patient_id, encounter_id, user_id;
    og_str patient;  /* as records are keyed; that of patient_id, or set by who knows its sender */
    bool authorized; /* the FHIR server may be asked with the token in fhirAuthorization */
    fhir_elem authorization, context, prefetch;
    fhir_elem drafts;     /* a Bundle or a resource; absent when there is none */
    fhir_elem selections; /* order-select: "Type/id" of what is being ordered now */
} hook_request;

#define HOOK_MAX_DEPTH 128

/* Reads a body for the service of `kind`. OG_SYNTAX, OG_LIMIT: no JSON that we read. OG_INVALID:
 * a field is missing, of the wrong type or form; err->path says which. The document lives in a. */
OG_MUSTCHECK og_status hook_request_read(og_arena *a, og_str body, const hook_kind *kind,
                                         hook_request *ret, og_error *err);

typedef struct hook_feedback {
    char card[UUID_TEXT]; /* in small letters */
    bool accepted;        /* else overridden */
    og_str system, code;  /* of the override's reason; may be empty */
    og_str comment;       /* likewise; patient data */
    int64_t at_us;        /* outcomeTimestamp */
} hook_feedback;

#define HOOK_MAX_FEEDBACK 500  /* entries of one body */
#define HOOK_MAX_COMMENT  4096 /* bytes */

/* Reads the body of a feedback call (2.0 "Feedback"); all of it is checked before anything counts.
 * As hook_request_read. The list lives in a. */
OG_MUSTCHECK og_status hook_feedback_read(og_arena *a, og_str body, const hook_feedback **ret,
                                          size_t *ret_count, og_error *err);

#endif
