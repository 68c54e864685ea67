/* What the rules need of a patient, as FHIR queries: the prefetch templates of discovery, and what
 * a call lacks of them (CDS Hooks 2.0 "Prefetch Template"). */
#ifndef OG_DAEMON_PREFETCH_H
#define OG_DAEMON_PREFETCH_H

#include "daemon/hook_request.h"
#include "rules/plan/plan.h"

/* Every template by its name: a read of the patient first, then searches, all with the token
 * {{context.patientId}}. query is borrowed for the call; it needs no escapes in JSON. */
typedef void prefetch_fn(void *ctx, const char *name, og_str query);
void prefetch_each(const plan_content *c, prefetch_fn *fn, void *ctx);

typedef struct prefetch_need {
    const char *path; /* behind the server's base URL, or the whole URL of a page */
    const char *type; /* of the resources; "" when it is not known (a page) */
} prefetch_need;

/* All that the rules need of a patient, in pages that are as large as servers like, and Medications
 * that the resources refer to with them. Lives in a. OG_NOMEM. */
OG_MUSTCHECK og_status prefetch_all(const plan_content *c, og_arena *a, og_str patient,
                                    const prefetch_need **ret, size_t *ret_count, og_error *err);
/* What this call lacks: the pages behind those that it brings, what it brings an OperationOutcome
 * for, and, unless the patient is known, all templates whose name it does not bring (null means
 * that there are no data). Lives in a. OG_NOMEM. */
OG_MUSTCHECK og_status prefetch_lacks(const plan_content *c, og_arena *a, const hook_request *q,
                                      bool known, const prefetch_need **ret, size_t *ret_count,
                                      og_error *err);

/* The URL of a Bundle's next page; absent when there is none. */
fhir_elem prefetch_next_page(fhir_elem bundle);

#endif
