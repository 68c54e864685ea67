/* Files, read whole and written whole. Nothing here is called from the loop while messages flow:
 * content, configuration and secrets are read at start and at reload. */
#include "daemon/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static og_status fail_errno(og_error *err, const char *path, const char *what)
{
    og_status status = errno == ENOENT || errno == ENOTDIR ? OG_NOTFOUND : OG_IO;
    status = og_fail(err, status, "%s: %s", what, strerror(errno));
    og_error_origin(err, path);
    return status;
}

og_status file_read(const char *path, size_t max_bytes, og_buf *ret, og_error *err)
{
    char chunk[16384];
    size_t total = 0;
    og_status status = OG_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, path, "cannot open");
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            status = fail_errno(err, path, "cannot read");
            break;
        }
        if (n == 0)
            break;
        total += (size_t)n;
        if (total > max_bytes) {
            status = og_fail(err, OG_LIMIT, "larger than %zu bytes", max_bytes);
            og_error_origin(err, path);
            break;
        }
        og_buf_add(ret, chunk, (size_t)n);
    }
    close(fd);
    if (status == OG_OK && og_buf_failed(ret)) {
        status = og_fail(err, OG_NOMEM, "no memory for the file");
        og_error_origin(err, path);
    }
    return status;
}

static bool write_all(int fd, og_str text)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text = og_str_from(text, (size_t)n);
    }
    return true;
}

og_status file_write(const char *path, og_str text, og_error *err)
{
    char temporary[PATH_MAX];
    int fd;
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary) {
        errno = ENAMETOOLONG;
        return fail_errno(err, path, "cannot write");
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, path, "cannot write");
    if (!write_all(fd, text) || fchmod(fd, 0644) != 0 || fsync(fd) != 0) {
        og_status status = fail_errno(err, path, "cannot write");
        close(fd);
        unlink(temporary);
        return status;
    }
    close(fd);
    if (rename(temporary, path) != 0) {
        og_status status = fail_errno(err, path, "cannot write");
        unlink(temporary);
        return status;
    }
    return OG_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

og_status file_list(og_arena *a, const char *dir, const char *const **ret, size_t *ret_count,
                    og_error *err)
{
    const char **names = NULL;
    size_t count = 0, cap = 0;
    struct dirent *entry;
    DIR *d = opendir(dir);
    if (d == NULL)
        return fail_errno(err, dir, "cannot open the directory");
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        if (count == cap) {
            size_t want = cap == 0 ? 64 : cap * 2;
            names = og_arena_grow(a, names, cap * sizeof *names, want * sizeof *names);
            if (names == NULL)
                break;
            cap = want;
        }
        names[count++] = og_arena_str(a, og_str_of(entry->d_name)).p;
    }
    closedir(d);
    if (og_arena_failed(a))
        return og_fail(err, OG_NOMEM, "no memory for the list of %s", dir);
    if (count > 0)
        qsort(names, count, sizeof *names, by_name);
    *ret = names;
    *ret_count = count;
    return OG_OK;
}

og_status file_make_dirs(const char *dir, og_error *err)
{
    char path[PATH_MAX];
    size_t n = strlen(dir);
    if (n == 0 || n >= sizeof path) {
        errno = n == 0 ? ENOENT : ENAMETOOLONG;
        return fail_errno(err, dir, "cannot make the directory");
    }
    memcpy(path, dir, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        char kept = path[i];
        path[i] = '\0';
        if (mkdir(path, 0750) != 0 && errno != EEXIST)
            return fail_errno(err, path, "cannot make the directory");
        path[i] = kept;
    }
    if (!file_is_dir(dir)) {
        errno = ENOTDIR;
        return fail_errno(err, dir, "cannot make the directory");
    }
    return OG_OK;
}

static og_status remove_entry(const char *path, int depth, og_error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? OG_OK : fail_errno(err, path, "cannot remove");
    if (!S_ISDIR(st.st_mode))
        return unlink(path) == 0 ? OG_OK : fail_errno(err, path, "cannot remove");
    if (depth > 8)
        return og_fail(err, OG_LIMIT, "%s: directories nested too deeply to remove", path);

    og_status status = OG_OK;
    struct dirent *entry;
    DIR *d = opendir(path);
    if (d == NULL)
        return fail_errno(err, path, "cannot remove");
    while (status == OG_OK && (entry = readdir(d)) != NULL) {
        char child[PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (snprintf(child, sizeof child, "%s/%s", path, entry->d_name) >= (int)sizeof child)
            status = og_fail(err, OG_LIMIT, "%s: path too long", path);
        else
            status = remove_entry(child, depth + 1, err);
    }
    closedir(d);
    if (status == OG_OK && rmdir(path) != 0)
        status = fail_errno(err, path, "cannot remove");
    return status;
}

og_status file_remove_tree(const char *dir, og_error *err)
{
    return remove_entry(dir, 0, err);
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
