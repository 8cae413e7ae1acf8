/* What every guest shares: checks that print what they saw, errno names, and the closing token.
 *
 * A guest prints observations that Linux defines, one a line, and ends with the line "ok".  A failed check
 * prints FAIL with what was seen and makes the guest end with status 1 and no token.  Nothing may be printed
 * that differs from one correct Linux to the next: no addresses, times, inode numbers.
 *
 * Directives for the build and the tests stand in a guest's first comment, one a line:
 *     guest-flags: FLAGS     further compiler flags
 *     guest-args: ARGS       arguments of the run
 *     guest-env: NAME=VALUE  environment of the run (besides none)
 *     guest-options: OPTS    options for `uabi-emu run`
 *     guest-native: no       the run makes sense on the emulator only
 *     guest-library: libkernel  it is linked with that library of ours (guests/libkernel), and no C library
 */
#ifndef GUEST_H
#define GUEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096UL
/* An address that no mapping has: the first page lies below vm.mmap_min_addr. */
#define BAD ((void *)8)
/* Non-canonical on x86-64, and beyond any 48-bit user address on AArch64. */
#define WILD ((void *)0x00ff000000000000UL)

static int guest_failures;

static const char *errno_name(int number)
{
    static const struct { int number; const char *name; } names[] = {
#define N(e) { e, #e }
        N(EPERM), N(ENOENT), N(ESRCH), N(EINTR), N(EIO), N(ENXIO), N(E2BIG), N(ENOEXEC), N(EBADF), N(ECHILD),
        N(EAGAIN), N(ENOMEM), N(EACCES), N(EFAULT), N(ENOTBLK), N(EBUSY), N(EEXIST), N(EXDEV), N(ENODEV),
        N(ENOTDIR), N(EISDIR), N(EINVAL), N(ENFILE), N(EMFILE), N(ENOTTY), N(ETXTBSY), N(EFBIG), N(ENOSPC),
        N(ESPIPE), N(EROFS), N(EMLINK), N(EPIPE), N(EDOM), N(ERANGE), N(EDEADLK), N(ENAMETOOLONG), N(ENOLCK),
        N(ENOSYS), N(ENOTEMPTY), N(ELOOP), N(ENODATA), N(EOVERFLOW), N(EOPNOTSUPP), N(ETIMEDOUT), N(ESTALE),
#undef N
    };
    static char other[16];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == number)
            return names[i].name;
    snprintf(other, sizeof other, "errno %d", number);
    return other;
}

static inline void guest_fail(const char *file, int line)
{
    const char *slash = strrchr(file, '/');
    printf("FAIL %s:%d: ", slash ? slash + 1 : file, line);
    guest_failures++;
}

/* The value of a call, or -errno. */
static inline long guest_result(long value)
{
    return value == -1 && errno ? -errno : value;
}

static inline void guest_want(const char *file, int line, const char *text, long got, long want)
{
    if (got != want)
        guest_fail(file, line);
    printf("%s = ", text);
    if (got < 0 && got > -4096)
        printf("%s", errno_name((int)-got));
    else
        printf("%ld", got);
    if (got != want)
        printf(", %s%ld wanted", want < 0 ? errno_name((int)-want) : "", want);
    putchar('\n');
}

static inline void guest_check(const char *file, int line, const char *text, int good)
{
    if (!good)
        guest_fail(file, line);
    printf("%s: %s\n", text, good ? "yes" : "no");
}

/* Call, print the value or the errno name, and compare with what Linux says. */
#define WANT(expr, value) \
    do { errno = 0; long got_ = guest_result((long)(expr)); \
         guest_want(__FILE__, __LINE__, #expr, got_, (long)(value)); } while (0)
#define FAILS(expr, error) \
    do { errno = 0; long got_ = guest_result((long)(expr)); \
         guest_want(__FILE__, __LINE__, #expr, got_, -(error)); } while (0)
#define CHECK(cond) guest_check(__FILE__, __LINE__, #cond, !!(cond))
/* A value that is not compared here, only with the other machines. */
#define SHOW(expr) \
    do { errno = 0; long got_ = guest_result((long)(expr)); \
         guest_want(__FILE__, __LINE__, #expr, got_, got_); } while (0)
#define MAPPED(expr) \
    do { errno = 0; int good_ = (void *)(expr) != MAP_FAILED; \
         if (!good_) printf("(%s) ", errno_name(errno)); \
         guest_check(__FILE__, __LINE__, #expr, good_); } while (0)

static inline void guest_start(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
}

/* The last statement of main. */
static inline int guest_end(void)
{
    if (!guest_failures)
        puts("ok");
    fflush(stdout);
    return guest_failures != 0;
}

/* A file with these bytes. */
static inline void put_file(const char *path, const void *bytes, size_t count)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, bytes, count) != (ssize_t)count || close(fd))
        guest_check(__FILE__, __LINE__, path, 0);
}

/* Whether the kernel can read / write the byte at an address: a one-byte transfer through a pipe that
 * fails with EFAULT where the access would fault.  (man 2 write, man 2 read) */
static int guest_pipe[2] = { -1, -1 };

static inline int readable(const void *address)
{
    char byte;
    if (guest_pipe[0] < 0 && pipe(guest_pipe))
        return -1;
    if (write(guest_pipe[1], address, 1) != 1)
        return 0;
    return read(guest_pipe[0], &byte, 1) == 1;
}

static inline int writable(void *address)
{
    char byte = 0;
    if (!readable(address))
        return 0;
    byte = *(volatile char *)address;
    if (write(guest_pipe[1], &byte, 1) != 1)
        return 0;
    if (read(guest_pipe[0], address, 1) == 1)
        return 1;
    return read(guest_pipe[0], &byte, 1) != 1;      /* drain: the byte is still there after EFAULT */
}

#endif
