/* read, write and their relatives, lseek with holes.  man 2 read, man 2 readv, man 2 lseek */
#include "guest.h"
#include <limits.h>

int main(void)
{
    char a[8] = { 0 }, b[8] = { 0 };
    guest_start();
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    WANT(write(fd, "0123456789", 10), 10);
    WANT(read(fd, a, 8), 0);
    WANT(lseek(fd, 2, SEEK_SET), 2);
    WANT(read(fd, a, 4), 4);
    CHECK(memcmp(a, "2345", 4) == 0);
    WANT(lseek(fd, -1, SEEK_CUR), 5);
    WANT(lseek(fd, -1, SEEK_END), 9);
    WANT(read(fd, a, 8), 1);
    FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
    FAILS(lseek(fd, 0, 99), EINVAL);
    WANT(lseek(fd, 0, SEEK_CUR), 10);
    WANT(pread(fd, a, 3, 7), 3);
    WANT(pwrite(fd, "AB", 2, 0), 2);
    WANT(lseek(fd, 0, SEEK_CUR), 10);
    FAILS(pread(fd, a, 1, -1), EINVAL);
    WANT(pread(fd, a, 1, 100), 0);
    WANT(read(fd, a, 0), 0);

    struct iovec out[3] = { { "xy", 2 }, { NULL, 0 }, { "z", 1 } };
    WANT(writev(fd, out, 3), 3);
    struct iovec in[2] = { { a, 3 }, { b, 8 } };
    WANT(preadv(fd, in, 2, 8), 5);
    CHECK(memcmp(a, "89x", 3) == 0 && memcmp(b, "yz", 2) == 0);
    WANT(pwritev(fd, out, 3, 1), 3);
    WANT(lseek(fd, 0, SEEK_SET), 0);
    WANT(readv(fd, in, 2), 11);
    CHECK(memcmp(a, "Axy", 3) == 0 && memcmp(b, "z456789x", 8) == 0);
    FAILS(readv(fd, in, -1), EINVAL);
    FAILS(readv(fd, in, IOV_MAX + 1), EINVAL);
    WANT(readv(fd, in, 0), 0);
    struct iovec huge[2] = { { a, 1 }, { b, (size_t)-1 } };
    FAILS(writev(fd, huge, 2), EINVAL);

    /* preadv2: position -1 is the file's own; flags */
    WANT(lseek(fd, 4, SEEK_SET), 4);
    WANT(preadv2(fd, in, 1, -1, 0), 3);
    WANT(lseek(fd, 0, SEEK_CUR), 7);
    FAILS(preadv2(fd, in, 1, 0, 0x8000), EOPNOTSUPP);
    WANT(pwritev2(fd, out, 1, 0, RWF_APPEND), 2);
    WANT(lseek(fd, 0, SEEK_END), 15);
    WANT(pwritev2(fd, out, 1, -1, RWF_DSYNC), 2);

    /* holes.  A simple file system may call the whole file data. */
    int holes = open("h", O_RDWR | O_CREAT, 0600);
    WANT(pwrite(holes, "end", 3, 1 << 20), 3);
    WANT(pread(holes, a, 8, 4096), 8);
    CHECK(a[0] == 0 && a[7] == 0);
    off_t data = lseek(holes, 0, SEEK_DATA), hole = lseek(holes, 0, SEEK_HOLE);
    CHECK(data >= 0 && data <= 1 << 20 && (hole == 0 || hole == (1 << 20) + 3));
    WANT(lseek(holes, 1 << 20, SEEK_DATA), 1 << 20);
    WANT(lseek(holes, 1 << 20, SEEK_HOLE), (1 << 20) + 3);
    FAILS(lseek(holes, (1 << 20) + 3, SEEK_DATA), ENXIO);
    FAILS(lseek(holes, (1 << 20) + 3, SEEK_HOLE), ENXIO);

    /* a pipe */
    int fds[2];
    WANT(pipe2(fds, O_NONBLOCK), 0);
    FAILS(read(fds[0], a, 1), EAGAIN);
    WANT(write(fds[1], "pipe", 4), 4);
    WANT(read(fds[0], a, 8), 4);
    FAILS(lseek(fds[0], 0, SEEK_CUR), ESPIPE);
    FAILS(pread(fds[0], a, 1, 0), ESPIPE);
    FAILS(write(fds[0], "x", 1), EBADF);
    long total = 0, n;
    static char block[4096];
    while ((n = write(fds[1], block, sizeof block)) > 0)
        total += n;
    CHECK(errno == EAGAIN);
    WANT(total, 65536);
    WANT(fcntl(fds[1], F_GETPIPE_SZ), 65536);
    WANT(close(fds[1]), 0);
    while ((n = read(fds[0], block, sizeof block)) > 0)
        total -= n;
    WANT(n, 0);
    WANT(total, 0);
    FAILS(pipe2(fds, 1), EINVAL);
    FAILS(read(-1, a, 1), EBADF);
    FAILS(write(777, a, 1), EBADF);
    WANT(fsync(fd), 0);
    WANT(fdatasync(fd), 0);
    WANT(syncfs(fd), 0);
    FAILS(fsync(-1), EBADF);
    FAILS(fsync(fds[0]), EINVAL);
    return guest_end();
}
