/* Calls of CDS services that one instance hands to another, which has the patient: who can be
 * reached where, and why each believes the other.
 *
 * All instances share a secret. Each tells the others, by a record of the shared topic, its address
 * and the partitions that it has; a word without the secret's mark (HMAC-SHA256), or an old one,
 * does not count, so that whoever can write to the topic cannot make calls go to him. A call that
 * is handed on carries one header,
 *
 *   Osteoguard-Forward: from=UUID to=UUID at=MS nonce=UUID budget=MS mac=HEX client=NAME
 *
 * whose mark covers the path, the body and all of these, and is good once and for half a minute.
 * The client is who the first instance has let in: the second one does not ask again. Its answer
 * carries a mark too, over the nonce, the status and the body (Osteoguard-Seal): what has none is
 * no answer.
 *
 * No sockets, no topics, no clock: serve_forward.c has those. Loop thread only. */
#ifndef OG_DAEMON_FORWARD_H
#define OG_DAEMON_FORWARD_H

#include "daemon/uuid.h"
#include "fhir/base/arena.h"

#define FORWARD_HEADER "Osteoguard-Forward"
#define FORWARD_SEAL   "Osteoguard-Seal"

#define FORWARD_MAX_PARTITIONS 1024
#define FORWARD_MIN_SECRET     32 /* bytes */
#define FORWARD_MARK           65 /* the text of a mark */

typedef struct forward forward;

/* id: of this instance; url: where others reach its services, without a slash at its end. Copies
 * all three. OG_INVALID: a secret shorter than FORWARD_MIN_SECRET; OG_NOMEM. Caller owns *ret. */
OG_MUSTCHECK og_status forward_new(og_str secret, const char *id, const char *url, forward **ret,
                                   og_error *err);
void forward_free(forward *f); /* accepts NULL */

/* ---- who is where ---- */

/* What the others are told: JSON. owns: numbers of partitions, separated by commas; first: we have
 * just started and have heard nobody yet. */
void forward_announce(const forward *f, og_str owns, bool first, int64_t now_ms, og_buf *out);

typedef enum forward_word {
    FORWARD_HEARD,
    FORWARD_NEW,      /* it, or its address, was not known, or it does not know us yet */
    FORWARD_PASSED,   /* our own, an old one, or none that means anything to us */
    FORWARD_UNMARKED, /* somebody does not have our secret */
    FORWARD_FULL      /* no memory, or too many instances */
} forward_word;

/* Another one's announcement. a is for the call. */
forward_word forward_hear(forward *f, og_str id, og_str value, og_arena *a, int64_t now_ms);

typedef struct forward_peer {
    char id[UUID_TEXT];
    char *url;
    int64_t at_ms;         /* when it said so */
    int64_t rest_until_ms; /* it did not answer: not asked before */
    unsigned char owns[FORWARD_MAX_PARTITIONS / 8];
} forward_peer;

/* Who has the partition, by the newest word of late; valid until forward_hear. NULL: nobody says
 * so. */
const forward_peer *forward_owner(const forward *f, int partition, int64_t now_ms);
/* Where it said that it can be reached; NULL: it is not known. */
const char *forward_url(const forward *f, og_str id);
/* It did not answer: it gets no call before until_ms, on the caller's clock of rest_until_ms. */
void forward_rest(forward *f, const char *id, int64_t until_ms);
/* It says that it does not have the partition, until its next word. */
void forward_disown(forward *f, const char *id, int partition);

/* ---- a call, and its answer ---- */

typedef struct forward_call {
    char nonce[UUID_TEXT];
    const char *to;     /* id */
    const char *client; /* as the configuration names it; "": nobody is asked who calls */
    og_str path, body;
    int64_t budget_ms; /* how long the sender waits */
} forward_call;

/* Appends the header's value. */
void forward_sign(const forward *f, const forward_call *c, int64_t now_ms, og_buf *out);

typedef struct forward_visit { /* a call that another instance has handed on */
    char nonce[UUID_TEXT];
    char client[256];
    int64_t budget_ms;
} forward_visit;

/* Is it to be believed? "" when it is, else what is wrong: form, mark, receiver, time, repeat. A
 * call is believed once. */
const char *forward_verify(forward *f, og_str header, og_str path, og_str body, int64_t now_ms,
                           forward_visit *ret);
/* What the header says, of a call that was believed. False: it is none. */
bool forward_read(og_str header, forward_visit *ret);

/* The mark of an answer to the call with this nonce. */
void forward_seal(const forward *f, const char *nonce, int status, og_str body,
                  char ret[FORWARD_MARK]);
bool forward_is_sealed(const forward *f, const char *nonce, int status, og_str body, og_str seal);

#endif
