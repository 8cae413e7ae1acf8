/* Bad pointers given for data: what is transferred before them counts, else EFAULT.
 * man 2 read, man 2 readv; the order of checks: mm/filemap.c, lib/iov_iter.c */
#include "guest.h"
#include <limits.h>

int main(void)
{
    static char block[8192];
    char back[64] = { 0 };
    int fds[2];
    guest_start();
    char *two = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    WANT(munmap(two + PAGE, PAGE), 0);
    memset(two, 'e', PAGE);
    memset(block, 'b', sizeof block);
    put_file("f", block, sizeof block);
    int fd = open("f", O_RDWR), null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR);
    WANT(pipe(fds), 0);

    void *bad[] = { BAD, WILD, (void *)-1L, two + PAGE };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        printf("bad pointer %zu\n", i);
        FAILS(read(fd, bad[i], 10), EFAULT);
        FAILS(write(fd, bad[i], 10), EFAULT);
        FAILS(pread(fd, bad[i], 10, 0), EFAULT);
        FAILS(pwrite(fd, bad[i], 10, 0), EFAULT);
        FAILS(write(fds[1], bad[i], 10), EFAULT);
        FAILS(readv(fd, bad[i], 1), EFAULT);
        FAILS(writev(fd, bad[i], 1), EFAULT);
        FAILS(read(zero, bad[i], 10), EFAULT);
        WANT(lseek(fd, 0, SEEK_CUR), 0);
    }
    /* nothing to do: the pointer is not looked at, unless it lies above user space */
    WANT(read(fd, BAD, 0), 0);
    WANT(write(fd, BAD, 0), 0);
    WANT(write(null, BAD, 10), 10);         /* man 4 null: written data is discarded, unread */
    WANT(read(null, BAD, 10), 0);

    /* as much as lies before the bad page */
    WANT(pread(fd, two + PAGE - 100, 300, 0), 100);
    CHECK(two[PAGE - 1] == 'b' && two[PAGE - 100] == 'b' && two[PAGE - 101] == 'e');
    memset(two, 'e', PAGE);
    WANT(pwrite(fd, two + PAGE - 10, 30, 0), 10);
    WANT(pread(fd, back, 11, 0), 11);
    CHECK(memcmp(back, "eeeeeeeeeeb", 11) == 0);
    WANT(read(zero, two + PAGE - 8, 16), 8);
    CHECK(two[PAGE - 1] == 0 && two[PAGE - 8] == 0 && two[PAGE - 9] == 'e');
    /* vectors: what went before the bad one */
    struct iovec vector[3] = { { "abc", 3 }, { BAD, 5 }, { "def", 3 } };
    WANT(pwritev(fd, vector, 3, 0), 3);
    vector[0] = (struct iovec) { back, 4 };
    WANT(preadv(fd, vector, 3, 0), 4);
    vector[0] = (struct iovec) { BAD, 0 };
    vector[1] = (struct iovec) { back, 4 };
    WANT(preadv(fd, vector, 2, 0), 4);
    /* a pipe keeps what could not be delivered */
    WANT(write(fds[1], "keep", 4), 4);
    FAILS(read(fds[0], BAD, 4), EFAULT);
    WANT(read(fds[0], back, 64), 4);
    CHECK(memcmp(back, "keep", 4) == 0);

    /* read-only and closed pages */
    WANT(mprotect(two, PAGE, PROT_READ), 0);
    FAILS(pread(fd, two, 8, 0), EFAULT);
    WANT(pwrite(fd, two, 8, 0), 8);
    WANT(mprotect(two, PAGE, PROT_NONE), 0);
    FAILS(pwrite(fd, two, 8, 0), EFAULT);
    /* the descriptor is checked first */
    FAILS(read(-1, BAD, 1), EBADF);
    FAILS(write(fds[0], BAD, 1), EBADF);
    FAILS(lseek(fd, 0, -1), EINVAL);
    return guest_end();
}
