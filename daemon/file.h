/* Files: the only place where the daemon and its commands read them whole. */
#ifndef OG_DAEMON_FILE_H
#define OG_DAEMON_FILE_H

#include "fhir/base/arena.h"

/* Appends the whole file at path to *ret (initialised by the caller, who owns it). OG_NOTFOUND when
 * there is none, OG_LIMIT when it holds more than max_bytes, OG_IO for the rest; err's origin is
 * the path. */
OG_MUSTCHECK og_status file_read(const char *path, size_t max_bytes, og_buf *ret, og_error *err);

/* Writes text to path so that a reader sees the old file or the whole new one: a temporary file
 * beside it, then rename. OG_IO. */
OG_MUSTCHECK og_status file_write(const char *path, og_str text, og_error *err);

/* The names in a directory in byte order, without "." and ".." and without other names that begin
 * with a dot. Lives in a. OG_NOTFOUND, OG_IO, OG_NOMEM. */
OG_MUSTCHECK og_status file_list(og_arena *a, const char *dir, const char *const **ret,
                                 size_t *ret_count, og_error *err);

/* Makes a directory and its missing parents (mode 0750). Existing ones are fine. */
OG_MUSTCHECK og_status file_make_dirs(const char *dir, og_error *err);

/* Removes a directory with the plain files and directories in it; one that does not exist is fine.
 */
OG_MUSTCHECK og_status file_remove_tree(const char *dir, og_error *err);

bool file_is_dir(const char *path);
bool file_exists(const char *path);

#endif
