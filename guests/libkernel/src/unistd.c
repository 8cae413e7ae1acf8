/* Files, processes and time, as the C library has them, from the kernel's calls.  Each takes the newest call that both
 * architectures have. */
#include "internal.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* -- files -- */
ssize_t read(int fd, void *buffer, size_t count)
{
    return told(__kernel_read(fd, buffer, count));
}

ssize_t write(int fd, const void *buffer, size_t count)
{
    return told(__kernel_write(fd, buffer, count));
}

int open(const char *path, int flags, ...)
{
    va_list more;
    unsigned mode;

    va_start(more, flags);
    mode = va_arg(more, unsigned);
    va_end(more);
    return (int)told(__kernel_openat(AT_FDCWD, path, flags, mode));
}

int close(int fd)
{
    return (int)told(__kernel_close(fd));
}

off_t lseek(int fd, off_t offset, int whence)
{
    return told(__kernel_lseek((unsigned)fd, offset, (unsigned)whence));
}

int dup2(int old, int new)
{
    if (old == new)                 /* dup3 refuses that */
        return __kernel_fcntl((unsigned)old, F_GETFD, 0) < 0 ? (int)told(-EBADF) : new;
    return (int)told(__kernel_dup3((unsigned)old, (unsigned)new, 0));
}

int pipe(int fds[2])
{
    return (int)told(__kernel_pipe2(fds, 0));
}

int fstat(int fd, struct stat *out)
{
    return (int)told(__kernel_fstat((unsigned)fd, out));
}

int stat(const char *restrict path, struct stat *restrict out)
{
    return (int)told(__kernel_newfstatat(AT_FDCWD, path, out, 0));
}

int lstat(const char *restrict path, struct stat *restrict out)
{
    return (int)told(__kernel_newfstatat(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW));
}

int unlink(const char *path)
{
    return (int)told(__kernel_unlinkat(AT_FDCWD, path, 0));
}

int mkdir(const char *path, mode_t mode)
{
    return (int)told(__kernel_mkdirat(AT_FDCWD, path, mode));
}

int rmdir(const char *path)
{
    return (int)told(__kernel_unlinkat(AT_FDCWD, path, AT_REMOVEDIR));
}

ssize_t readlink(const char *restrict path, char *restrict buffer, size_t size)
{
    return told(__kernel_readlinkat(AT_FDCWD, path, buffer, (int)size));
}

int chdir(const char *path)
{
    return (int)told(__kernel_chdir(path));
}

char *getcwd(char *buffer, size_t size)
{
    return told(__kernel_getcwd(buffer, size)) < 0 ? NULL : buffer;
}

/* Both C libraries have the kernel's struct linux_dirent64 as their struct dirent. */
ssize_t getdents64(int fd, void *buffer, size_t size)
{
    return told(__kernel_getdents64((unsigned)fd, buffer, (unsigned)size));
}

/* -- processes -- */
pid_t getpid(void)
{
    return (pid_t)__kernel_getpid();
}

pid_t getppid(void)
{
    return (pid_t)__kernel_getppid();
}

pid_t fork(void)
{
    return (pid_t)told(__kernel_clone(SIGCHLD, NULL, NULL, 0, 0));
}

int execve(const char *path, char *const argv[], char *const envp[])
{
    return (int)told(__kernel_execve(path, (void *)argv, (void *)envp));
}

pid_t waitpid(pid_t pid, int *status, int options)
{
    return (pid_t)told(__kernel_wait4(pid, status, options, NULL));
}

_Noreturn void _exit(int status)
{
    for (;;)
        __kernel_exit_group(status);
}

_Noreturn void exit(int status)
{
    _exit(status);
}

_Noreturn void abort(void)
{
    __kernel_kill((int)__kernel_getpid(), SIGABRT);
    _exit(127);
}

/* -- memory -- */
void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return (void *)told(__kernel_mmap(address, length, (unsigned)protection, (unsigned)flags, (unsigned)fd, offset));
}

int munmap(void *address, size_t length)
{
    return (int)told(__kernel_munmap(address, length));
}

/* From the break, 16 bytes at a time.  What is freed is not used again. */
void *malloc(size_t size)
{
    static char *next, *end;

    size = (size + 15) & -16UL;
    if ((size_t)(end - next) < size) {
        char *now = end ? end : (char *)__kernel_brk(NULL);
        size_t more = (size + 0xffff) & -0x10000UL;

        if (told(__kernel_brk(now + more)) < 0)     /* UABI_2's, which tells an error */
            return NULL;
        next = next ? next : now;
        end = now + more;
    }
    next += size;
    return next - size;
}

void free(void *memory)
{
    (void)memory;
}

/* -- time -- */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    return (int)told(__kernel_clock_gettime(clock, now));
}

int nanosleep(const struct timespec *time, struct timespec *left)
{
    return (int)told(__kernel_nanosleep((void *)time, left));
}

unsigned alarm(unsigned seconds)
{
    struct itimerval timer = { .it_value.tv_sec = seconds }, before = { 0 };

    __kernel_setitimer(ITIMER_REAL, &timer, &before);
    return (unsigned)before.it_value.tv_sec + (before.it_value.tv_usec != 0);
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct timespec time = { timeout_ms / 1000, timeout_ms % 1000 * 1000000L };

    return (int)told(__kernel_ppoll(fds, (unsigned)count, timeout_ms < 0 ? NULL : &time, NULL, 0));
}
