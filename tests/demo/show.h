/* The whole way of an event, to look at: broker, daemon, replay and EHR stand-in. */
#ifndef OG_DEMO_SHOW_H
#define OG_DEMO_SHOW_H

#include "fhir/base/text.h"

typedef struct show_options {
    const char *osteoguard;   /* the program */
    const char *config;       /* its configuration */
    const char *const *files; /* what is replayed; none: the sample stream */
    size_t file_count;
    bool exit;          /* end when the stream has been worked off */
    int timeout_s;      /* with exit: give up after that long */
    const char *ndjson; /* keep the pushed bodies here; NULL: no */
    const char *fail;   /* see standin_options */
} show_options;

/* Runs until Ctrl-C, SIGTERM or (with exit) the end of the stream. Returns the exit status of the
 * program: 0 when everything that was sent is accounted for and delivered, or when a person ended
 * it; 1 otherwise. */
int show_run(const show_options *options);

#endif
