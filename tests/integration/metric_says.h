/* What /metrics would say. */
#ifndef OG_TESTS_METRIC_SAYS_H
#define OG_TESTS_METRIC_SAYS_H

#include "daemon/metrics.h"

/* A part of a line is enough. */
static inline bool metric_says(const char *line)
{
    og_buf page;
    og_buf_init(&page, 1 << 20);
    metrics_write(&page);
    og_buf_addc(&page, '\0');
    bool found = strstr(page.p, line) != NULL;
    og_buf_done(&page);
    return found;
}

#endif
