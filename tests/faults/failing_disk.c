/* A disk that fails, for a daemon that is begun with this library before all others (LD_PRELOAD):
 * what it writes below the folder FAILING_DISK fails as long as a file `fails` there says how.
 *
 *   sync    fdatasync and fsync: EIO
 *   write   pwrite and pwritev: EIO
 *   short   pwrite and pwritev: only half is written */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t at);

/* Is this how the file behind fd fails now? */
static bool fails(int fd, const char *how)
{
    const char *dir = getenv("FAILING_DISK");
    char link[64], path[512], word[16];
    if (dir == NULL)
        return false;
    snprintf(path, sizeof path, "%s/fails", dir);
    int told = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (told < 0)
        return false;
    ssize_t n = read(told, word, sizeof word - 1);
    close(told);
    if (n <= 0 || (size_t)n != strlen(how) || strncmp(word, how, (size_t)n) != 0)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    if (n <= 0)
        return false;
    path[n] = '\0';
    return strncmp(path, dir, strlen(dir)) == 0 && strstr(path, "data.mdb") != NULL;
}

static int io_error(void)
{
    errno = EIO;
    return -1;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the C library's are reserved */

int fdatasync(int fd)
{
    return fails(fd, "sync") ? io_error() : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fails(fd, "sync") ? io_error() : (int)syscall(SYS_fsync, fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t at)
{
    if (fails(fd, "write"))
        return io_error();
    return syscall(SYS_pwrite64, fd, bytes, fails(fd, "short") ? n / 2 : n, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    return pwrite64(fd, bytes, n, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (fails(fd, "write"))
        return io_error();
    if (fails(fd, "short"))
        return syscall(SYS_write, fd, parts[0].iov_base, parts[0].iov_len / 2);
    return syscall(SYS_writev, fd, parts, count);
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
