/* A disk whose power may go, for a daemon that is begun with this library before all others
 * (LD_PRELOAD): of the stores below the folder POWER_DISK it is noted what would be there then.
 *
 *   data.mdb.disk   beside each data.mdb, and beside the data of the index of recorded ids: what it
 *                   was when it was synced last
 *   data.mdb.late   the writes since then: place and length (8 bytes each), bytes
 *   synced          in the folder itself: paths of whatever else was synced, and behind a '-' paths
 *                   of files that were removed, one a line
 *   boot_id         the same: what the machine's boot_id says
 *
 * power.c makes of them what the disk has when the power comes back. Nothing is really synced. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATHS 600

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t at);
int open64(const char *path, int flags, ...);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the files beside data.mdb */

static int open_beside(const char *path, const char *suffix, int flags)
{
    char beside[PATHS + 16];
    snprintf(beside, sizeof beside, "%s%s", path, suffix);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, beside, flags | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        abort();
    return fd;
}

/* False: the file is not below POWER_DISK. */
static bool path_of(int fd, char out[PATHS])
{
    const char *dir = getenv("POWER_DISK");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = dir != NULL ? readlink(link, out, PATHS - 1) : -1;
    if (n <= 0)
        return false;
    out[n] = '\0';
    return strncmp(out, dir, strlen(dir)) == 0;
}

static bool is_ids(const char *path)
{
    const char *name = strrchr(path, '/');
    return name != NULL && strcmp(name, "/data") == 0;
}

static bool is_store(const char *path)
{
    const char *name = strrchr(path, '/');
    return is_ids(path) || (name != NULL && strcmp(name, "/data.mdb") == 0);
}

static void must(ssize_t done, size_t n)
{
    if (done != (ssize_t)n)
        abort();
}

static void note_write(int fd, const void *bytes, size_t n, off_t at)
{
    char path[PATHS];
    if (n == 0 || !path_of(fd, path) || !is_store(path))
        return;
    pthread_mutex_lock(&lock);
    if ((fcntl(fd, F_GETFL) & O_DSYNC) != 0) { /* there when the call returns */
        int disk = open_beside(path, ".disk", O_WRONLY);
        must(syscall(SYS_pwrite64, disk, bytes, n, at), n);
        close(disk);
    } else {
        int64_t head[2] = {at, (int64_t)n};
        int late = open_beside(path, ".late", O_WRONLY | O_APPEND);
        must(syscall(SYS_write, late, head, sizeof head), sizeof head);
        must(syscall(SYS_write, late, bytes, n), n);
        close(late);
    }
    pthread_mutex_unlock(&lock);
}

static void come_to_disk(const char *path)
{
    int64_t head[2];
    int late = open_beside(path, ".late", O_RDWR), disk = open_beside(path, ".disk", O_WRONLY);
    while (syscall(SYS_read, late, head, sizeof head) == (ssize_t)sizeof head) {
        size_t n = (size_t)head[1];
        char *bytes = malloc(n);
        if (bytes == NULL)
            abort();
        must(syscall(SYS_read, late, bytes, n), n);
        must(syscall(SYS_pwrite64, disk, bytes, n, head[0]), n);
        free(bytes);
    }
    must(ftruncate(late, 0), 0);
    if (is_ids(path)) { /* it got its length without a write */
        struct stat st;
        must(stat(path, &st), 0);
        must(ftruncate(disk, st.st_size), 0);
    }
    close(late);
    close(disk);
}

/* A line of `synced`. */
static void tell(const char *mark, const char *path)
{
    char list[PATHS], line[PATHS + 2];
    int n = snprintf(line, sizeof line, "%s%s\n", mark, path);
    snprintf(list, sizeof list, "%s/synced", getenv("POWER_DISK"));
    int told = open_beside(list, "", O_WRONLY | O_APPEND);
    must(syscall(SYS_write, told, line, n), (size_t)n);
    close(told);
}

static int note_sync(int fd)
{
    char path[PATHS];
    if (!path_of(fd, path))
        return (int)syscall(SYS_fdatasync, fd);
    pthread_mutex_lock(&lock);
    if (is_store(path))
        come_to_disk(path);
    else
        tell("", path);
    pthread_mutex_unlock(&lock);
    return 0;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the C library's are reserved */

int fdatasync(int fd)
{
    return note_sync(fd);
}

int fsync(int fd)
{
    return note_sync(fd);
}

int unlink(const char *path)
{
    const char *dir = getenv("POWER_DISK");
    int rc = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (rc == 0 && dir != NULL && strncmp(path, dir, strlen(dir)) == 0) {
        pthread_mutex_lock(&lock);
        tell("-", path);
        pthread_mutex_unlock(&lock);
    }
    return rc;
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t at)
{
    ssize_t done = syscall(SYS_pwrite64, fd, bytes, n, at);
    note_write(fd, bytes, done > 0 ? (size_t)done : 0, at);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    return pwrite64(fd, bytes, n, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_writev, fd, parts, count), left = done;
    for (int i = 0; i < count && left > 0 && at >= 0; i++) {
        size_t n = (size_t)left < parts[i].iov_len ? (size_t)left : parts[i].iov_len;
        note_write(fd, parts[i].iov_base, n, at);
        at += (off_t)n;
        left -= (ssize_t)n;
    }
    return done;
}

int open64(const char *path, int flags, ...)
{
    const char *dir = getenv("POWER_DISK");
    char ours[PATHS];
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (dir != NULL && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) {
        snprintf(ours, sizeof ours, "%s/boot_id", dir);
        path = ours;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open64(path, flags, mode);
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
