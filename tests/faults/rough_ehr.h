/* An EHR that misbehaves below HTTP: a socket that reads requests and then does as it is told. */
#ifndef OG_TESTS_ROUGH_EHR_H
#define OG_TESTS_ROUGH_EHR_H

#include "faults.h"

typedef enum rough_act {
    ROUGH_TAKE,       /* takes it, answers 200 */
    ROUGH_ANSWER,     /* status and header, takes nothing */
    ROUGH_HANG,       /* takes nothing, never answers */
    ROUGH_DRIP,       /* takes nothing, answers 200 and then a byte of the body now and then */
    ROUGH_ENDLESS,    /* takes it, answers 200 with a body that never ends */
    ROUGH_CLOSE,      /* takes nothing, closes */
    ROUGH_HALF,       /* takes nothing, closes in the middle of the answer's body */
    ROUGH_TAKE_CLOSE, /* takes it, closes without a word */
    ROUGH_TAKE_HALF   /* takes it, closes in the middle of the answer's body */
} rough_act;

typedef struct rough_step {
    rough_act act;
    int status;
    const char *header; /* "Name: value", or NULL */
    const char *only;   /* for a body that holds this; else it is taken. NULL: for the next one */
} rough_step;

typedef struct rough_request {
    int64_t at_ms; /* when it was whole */
    char key[64];
    bool taken;
} rough_request;

typedef struct rough_ehr rough_ehr;

/* What it takes goes to `take`, with the Idempotency-Key. */
typedef void rough_take_fn(void *ctx, const char *key, og_str body);
rough_ehr *rough_new(uv_loop_t *loop, rough_take_fn *take, void *ctx);
int rough_port(const rough_ehr *e);
/* Plays these for the next requests, one each; behind them `always`. Borrowed. */
void rough_play(rough_ehr *e, const rough_step *steps, size_t count, rough_step always);
/* Those that came, in order. */
const rough_request *rough_requests(const rough_ehr *e, size_t *ret_count);
/* Callers that are still connected, and bytes that endless bodies had when their callers left. */
size_t rough_callers(const rough_ehr *e);
size_t rough_endless_bytes(const rough_ehr *e);
/* Hangs up on everybody. */
void rough_hang_up(rough_ehr *e);
/* Closes all and frees; runs the stage's loop meanwhile. */
void rough_free(rough_ehr *e, stage *s);

#endif
