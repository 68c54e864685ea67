/* A content folder on disk, handed to the rules. */
#ifndef OG_DAEMON_CONTENT_DIR_H
#define OG_DAEMON_CONTENT_DIR_H

#include "rules/plan/plan.h"

/* Reads what belongs to the knowledge (files ending in .json or .cql in dir, .json in its folder
 * elm) in byte order of the names and loads it. Problems go to report with dir before the file's
 * name, and so do warnings to options->warnings. On any problem *ret is untouched: the caller keeps
 * the content that it has. OG_NOTFOUND when there is no such folder. Caller owns *ret. */
OG_MUSTCHECK og_status content_dir_load(const char *dir, const plan_options *options,
                                        plan_content **ret, og_report *report);

#endif
