/* The audit log: who asked, for whom, what was answered, what was said about it, who was refused.
 *
 * JSON lines, each around a FHIR R4 AuditEvent and chained to the one before:
 *
 *   {"seq":1,"time":"2026-03-01T08:00:00.000Z","prev":"64 hex","hash":"64 hex","event":{…}}
 *
 * hash is the SHA-256 of seq, time, prev and event, each followed by a line feed; prev is the hash
 * of the line before, zeros for the first. A line that was changed, removed or inserted breaks the
 * chain there; lines cut off at the end are only seen by who has noted the last hash elsewhere.
 *
 * A file that is full is renamed to FILE.N, N being its last line's number with 12 digits, and FILE
 * begins anew; the chain goes on from file to file. Nothing is ever removed here.
 *
 * Loop thread only, but for audit_sync_fd's descriptor. */
#ifndef OG_DAEMON_AUDIT_H
#define OG_DAEMON_AUDIT_H

#include <stdio.h>

#include "fhir/base/arena.h"

typedef struct audit audit;

typedef struct audit_options {
    int64_t rotate_bytes; /* a file that has as many is full; 0: never */
    bool sync_each;       /* a line is on the disk before audit_write returns */
} audit_options;

/* Goes on behind the last line, in FILE or in the file that was renamed last; the file is made with
 * mode 0600. What a crash has left of a line is cut off, *ret_torn bytes of it. OG_CORRUPT: the
 * last line was changed. OG_IO. */
OG_MUSTCHECK og_status audit_open(const char *path, const audit_options *options, audit **ret,
                                  size_t *ret_torn, og_error *err);
/* Writes to the disk what is not there yet. Accepts NULL. */
void audit_close(audit *a);
/* A descriptor to be synced and closed (in any thread) when lines were written since the last call;
 * -1: there is nothing to do. */
int audit_sync_fd(audit *a);
/* What has gone wrong beside the lines themselves (a file could not be renamed or synced), once for
 * each kind and file; NULL: nothing. */
const char *audit_problem(audit *a);

typedef struct audit_event {
    og_str client, user, patient, path; /* may be empty; user: Type/id */
    int status;                         /* HTTP */
    og_str details;                     /* of audit_add_detail */
} audit_event;

/* Appends one of an event's details, comma included. */
void audit_add_detail(og_buf *details, const char *type, og_str value);
/* False: it is not in the file; nothing of it is. */
bool audit_write(audit *a, const audit_event *e, int64_t now_ms);

typedef struct audit_chain { /* lines that follow from each other */
    uint64_t first, last;    /* numbers; 0: none yet */
    char hash[65];           /* of the last line */
    bool anywhere;           /* the first line may have any number */
} audit_chain;

/* after: the hash of the line before, when the lines before are elsewhere; NULL: from the first
 * line on. False: it is no hash. */
bool audit_chain_begin(audit_chain *c, const char *after);
/* Reads a file to its end and lengthens the chain. OG_INVALID with the line in err: the first one
 * that does not follow from those before. */
OG_MUSTCHECK og_status audit_verify(audit_chain *c, FILE *file, const char *name, og_error *err);
/* The files of a log in order: those that were renamed, and path at the end if it is there. Lives
 * in a. */
OG_MUSTCHECK og_status audit_files(og_arena *a, const char *path, const char *const **ret,
                                   size_t *ret_count, og_error *err);

#endif
