/* An alert for a FHIR server: a transaction of conditional updates by the alert's id, so that the
 * same alert is the same resource however often it is told. */
#ifndef OG_DAEMON_DELIVERY_FHIR_H
#define OG_DAEMON_DELIVERY_FHIR_H

#include "daemon/delivery.h"

#define DELIVERY_FHIR_SYSTEM "https://osteoguard.org/alert" /* of the identifiers */

/* The Bundle (R4): a DetectedIssue (final, amended from the second revision on, cancelled when the
 * alert is over, with the reason as mitigation), and a Flag (active, inactive) and a Task
 * (requested, completed, cancelled when it is only not shown any more) if the endpoint takes them.
 * Same row and alert, same bytes. Lives in a. OG_LIMIT: larger than max_bytes; OG_NOMEM. */
OG_MUSTCHECK og_status delivery_fhir_body(og_arena *a, const delivery_endpoint *ep,
                                          const delivery *d, const plan_alert *alert,
                                          size_t max_bytes, og_str *ret);

#endif
