/* The rule book: everything that a drug commission has to know of the rules, on paper. */
#ifndef OG_DAEMON_RULEBOOK_H
#define OG_DAEMON_RULEBOOK_H

#include "rules/plan/plan.h"

typedef struct rulebook_options {
    const char *content_dir;
    const plan_setting *settings; /* what the site has set */
    size_t setting_count;
    const char *const *disabled; /* rules that the site has switched off */
    size_t disabled_count;
    const char *digest;                   /* of the content, as it is stored with every alert */
    const plan_content *english, *german; /* the folder, loaded in both languages */
    bool html;                            /* else Markdown */
} rulebook_options;

/* Appends the document for the content folder, which has been loaded without problems before. One
 * page per rule, in the order of their ids, then the definitions that rules share, and the value
 * sets. The same folder gives the same document. OG_NOMEM, OG_IO, OG_NOTFOUND, and OG_SYNTAX for a
 * case that cannot be read; err has the file. */
OG_MUSTCHECK og_status rulebook_write(const rulebook_options *o, og_buf *out, og_error *err);

#endif
