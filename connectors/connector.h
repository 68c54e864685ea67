/* The two small interfaces between the daemon and the world. A connector carries bytes and reads
 * the envelope, not the letter: it knows no CQL and no cards. */
#ifndef OG_CONNECTORS_CONNECTOR_H
#define OG_CONNECTORS_CONNECTOR_H

#include "fhir/base/text.h"

/* Where a message came from. topic is borrowed for the duration of the call. */
typedef struct conn_origin {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* broker timestamp, -1 when unknown */
} conn_origin;

typedef struct conn_header {
    const char *name;
    og_str value;
} conn_header;

typedef struct conn_message {
    conn_origin origin;
    og_str key;   /* .p NULL: no key */
    og_str value; /* .p NULL: a null value (a delete) */
    void *native; /* the connector's own view of the message (headers); NULL when there is none */
} conn_message;

/* What became of something handed to a sink (DESIGN, STYLE 4): three words and no more. */
typedef enum conn_verdict { CONN_DONE, CONN_AGAIN, CONN_NEVER } conn_verdict;

#endif
