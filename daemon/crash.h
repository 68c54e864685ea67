/* Places where a test lets the process die, as kill -9 would (STREAM 3.9). In test builds
 * (OG_CRASH_POINTS) the environment's CRASH_AT=name or name:pass chooses one; elsewhere they cost
 * nothing. */
#ifndef OG_DAEMON_CRASH_H
#define OG_DAEMON_CRASH_H

#define CRASH_STATUS 137

/* The number is that of the table in STREAM 3.9. */
#define CRASH_MAP(X)                                                                               \
    X(POLLED, "polled")           /* 1: a source message was taken */                              \
    X(PART_SENT, "part-sent")     /* 2: some entries of a Bundle were handed to the producer */    \
    X(ALL_THERE, "all-there")     /* 3: all records of a message are in the log, not yet done */   \
    X(POISON, "poison")           /* 4: a dead letter is on its way */                             \
    X(APPLIED, "applied")         /* 5: records applied, transaction open */                       \
    X(CAUGHT_UP, "caught-up")     /* 6: records committed, patients dirty, nobody evaluated */     \
    X(COMMITTED, "committed")     /* 7: evaluated and committed, nothing said */                   \
    X(ALERT_SENT, "alert-sent")   /* 8: an alert handed to the producer */                         \
    X(ALERT_THERE, "alert-there") /* 9: an alert is in the log, not yet settled */                 \
    X(INTENT, "intent")           /* 10: an intent is in the log, nothing posted */                \
    X(POSTED, "posted")           /* 11: posted, no answer */                                      \
    X(ANSWERED, "answered")       /* 12: the EHR has accepted, nothing stored */                   \
    X(RECEIPT, "receipt")         /* 13: the receipt is in the store, not in the log */            \
    X(REASSERTED, "reasserted")   /* 14: a record was written again, not yet noted */              \
    X(ERRAND,                                                                                      \
      "errand") /* 15: a merged patient's copy, or a tombstone, was written, not yet noted */      \
    X(SWEPT, "swept") /* 16: the clock woke patients, nothing committed */

typedef enum crash_place {
#define X(id, name) CRASH_##id,
    CRASH_MAP(X)
#undef X
        CRASH_PLACES
} crash_place;

#ifdef OG_CRASH_POINTS
void crash_point(crash_place place);
#else
static inline void crash_point(crash_place place)
{
    (void)place;
}
#endif

#endif
