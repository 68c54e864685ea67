/* Reads numbers off the daemon's /metrics page (Prometheus text format). */
#ifndef OG_DEMO_METRICS_PAGE_H
#define OG_DEMO_METRICS_PAGE_H

#include "fhir/base/text.h"

/* The sum over all series of a metric; -1 when the page has none of this name. */
double metrics_page_sum(og_str page, const char *name);

#endif
