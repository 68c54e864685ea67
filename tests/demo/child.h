/* A child process with its standard error read line by line. */
#ifndef OG_DEMO_CHILD_H
#define OG_DEMO_CHILD_H

#include <uv.h>

#include "fhir/base/text.h"

typedef struct child child;

typedef struct child_options {
    const char *const
        *argv; /* NULL-terminated; argv[0] is looked up in PATH when it has no slash */
    const char *const *environment; /* NULL-terminated "NAME=VALUE", on top of our own */
    void *ctx;
    void (*on_line)(void *ctx, og_str line); /* without its line end */
    /* Comes last; the child must not be used afterwards. signal is 0 when it ended by itself. */
    void (*on_exit)(void *ctx, int64_t status, int signal);
} child_options;

/* Starts it in a process group of its own, so that Ctrl-C reaches only us. *ret is valid until
 * on_exit. */
OG_MUSTCHECK og_status child_start(uv_loop_t *loop, const child_options *options, child **ret,
                                   og_error *err);
void child_signal(child *c, int signal); /* accepts NULL */

#endif
