/* Preloaded into a process: counts what it does to files below one folder, and makes the n-th of these calls fail.
 *
 * Covers what Python, libstdc++ and llama.cpp call. What libc does inside itself cannot be intercepted this way, so
 * fwrite is counted as well as write. Memory shared with a parent holds the count, so that it survives a kill.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static long *count;     /* calls seen since faults_arm */
static long fail_at;    /* which of them fails; 0: none */
static int fail_errno;
static int stays;       /* those that need room fail from then on, too, as on a disk that is full */

/* Start counting calls below `path`, an absolute path. */
void faults_arm(const char *path, long at, int error, int stay)
{
    if (!count)
        count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *count = 0;
    fail_at = at, fail_errno = error, stays = stay;
    strncpy(folder, path, sizeof folder - 1);
}

long faults_count(void) { return *count; }

static int fails(const char *path, int needs_room)
{
    size_t n = strlen(folder);
    if (!count || !path || strncmp(path, folder, n) || (path[n] != '/' && path[n] != '\0'))
        return 0;
    long call = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    if (fail_at == 0 || call < fail_at || (call > fail_at && !(stays && needs_room)))
        return 0;
    errno = fail_errno;
    return 1;
}

static int fd_fails(int fd, int needs_room)
{
    char link[64], path[4096];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = count ? readlink(link, path, sizeof path - 1) : -1;
    errno = before;
    if (n < 0)
        return 0;
    path[n] = '\0';
    return fails(path, needs_room);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t n)
{
    return fd_fails(fd, 1) ? -1 : NEXT(write)(fd, data, n);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return fd_fails(fd, 1) ? -1 : NEXT(writev)(fd, parts, n);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    return fd_fails(fd, 1) ? -1 : NEXT(pwrite)(fd, data, n, at);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
    return fd_fails(fd, 1) ? -1 : NEXT(pwrite64)(fd, data, n, at);
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *file)
{
    return fd_fails(fileno(file), 1) ? 0 : NEXT(fwrite)(data, size, n, file);
}

ssize_t sendfile(int fd, int from, off_t *at, size_t n)
{
    return fd_fails(fd, 1) ? -1 : NEXT(sendfile)(fd, from, at, n);
}

ssize_t sendfile64(int fd, int from, off64_t *at, size_t n)
{
    return fd_fails(fd, 1) ? -1 : NEXT(sendfile64)(fd, from, at, n);
}

ssize_t copy_file_range(int from, off64_t *from_at, int fd, off64_t *at, size_t n, unsigned flags)
{
    return fd_fails(fd, 1) ? -1 : NEXT(copy_file_range)(from, from_at, fd, at, n, flags);
}

int fsync(int fd)
{
    return fd_fails(fd, 0) ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
    return fd_fails(fd, 0) ? -1 : NEXT(fdatasync)(fd);
}

int rename(const char *from, const char *to)
{
    return fails(to, 0) ? -1 : NEXT(rename)(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    return fails(path, 1) ? -1 : NEXT(mkdir)(path, mode);
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t); /* read by nobody unless flags ask for it */
    va_end(rest);
    return (flags & O_CREAT) && fails(path, 1) ? -1 : NEXT(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return (flags & O_CREAT) && fails(path, 1) ? -1 : NEXT(open64)(path, flags, mode);
}
