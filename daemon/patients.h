/* Resources from files, brought together by patient: what eval and test work on. */
#ifndef OG_DAEMON_PATIENTS_H
#define OG_DAEMON_PATIENTS_H

#include "fhir/bundle.h"

typedef struct patients patients;

patients *patients_new(void); /* caller owns; NULL: no memory */
void patients_free(patients *p);

/* Adds one JSON value: a resource, or a Bundle of them. The text is copied. The newer version of a
 * resource stays (meta.lastUpdated, else the later one given), a DELETE takes it away. What cannot
 * be used is reported, with origin and with line counted from first_line; the rest is taken. */
void patients_add(patients *p, og_str text, const char *origin, uint32_t first_line,
                  og_report *report);
/* Adds one resource in place of what has its Type/id, whatever their versions. Its document must
 * outlive p. OG_INVALID, OG_NOTFOUND (no patient). */
OG_MUSTCHECK og_status patients_put(patients *p, const fhir_resource *r, og_error *err);
/* Takes a resource away by `Type/id`; false when there is none. */
bool patients_remove(patients *p, og_str reference);

/* In the order in which they were first seen. */
size_t patients_count(const patients *p);
og_str patients_id(const patients *p, size_t i);
/* The patient's view: all its resources, and the shared ones (Medication ...) that these refer to,
 * directly or through others. Lives in a. */
OG_MUSTCHECK og_status patients_view(const patients *p, size_t i, og_arena *a,
                                     const fhir_resource **ret, size_t *ret_count, og_error *err);

#endif
