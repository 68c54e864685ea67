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
 * Loop thread only. */
#ifndef OG_DAEMON_AUDIT_H
#define OG_DAEMON_AUDIT_H

#include <stdio.h>

#include "fhir/base/text.h"

typedef struct audit audit;

/* Goes on behind the last line; the file is made with mode 0600. What a crash has left of a line is
 * cut off, *ret_torn bytes of it. OG_CORRUPT: the last line was changed. OG_IO. */
OG_MUSTCHECK og_status audit_open(const char *path, audit **ret, size_t *ret_torn, og_error *err);
void audit_close(audit *a); /* accepts NULL */

typedef struct audit_event {
    og_str client, user, patient, path; /* may be empty; user: Type/id */
    int status;                         /* HTTP */
    og_str details;                     /* of audit_add_detail */
} audit_event;

/* Appends one of an event's details, comma included. */
void audit_add_detail(og_buf *details, const char *type, og_str value);
/* False: it is not in the file; nothing of it is. */
bool audit_write(audit *a, const audit_event *e, int64_t now_ms);

/* Reads a log to its end. OG_OK, and *ret_lines of them; or OG_INVALID with the line in err, the
 * first that does not follow from those before. */
OG_MUSTCHECK og_status audit_verify(FILE *file, const char *name, uint64_t *ret_lines,
                                    char ret_hash[65], og_error *err);

#endif
