/* madvise, mincore, mlock and friends, membarrier.
 * man 2 madvise, man 2 mincore, man 2 mlock, man 2 membarrier */
#include "guest.h"
#include <sys/resource.h>

int main(void)
{
    unsigned char seen[8];
    guest_start();
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MAPPED(p);
    p[0] = p[2 * PAGE] = 'm';
    memset(seen, 0xaa, sizeof seen);
    WANT(mincore(p, 4 * PAGE, seen), 0);
    CHECK((seen[0] & 1) == 1 && (seen[1] & 1) == 0 && (seen[2] & 1) == 1 && (seen[3] & 1) == 0);
    CHECK(seen[4] == 0xaa);
    FAILS(mincore(p + 1, PAGE, seen), EINVAL);
    FAILS(mincore(p, PAGE, BAD), EFAULT);
    WANT(mincore(p, 0, seen), 0);

    /* private anonymous pages that are thrown away read zero */
    WANT(madvise(p, 4 * PAGE, MADV_DONTNEED), 0);
    CHECK(p[0] == 0 && p[2 * PAGE] == 0);
    WANT(madvise(p, 4 * PAGE, MADV_WILLNEED), 0);
    WANT(madvise(p, 4 * PAGE, MADV_RANDOM), 0);
    WANT(madvise(p, 4 * PAGE, MADV_NORMAL), 0);
    WANT(madvise(p, 0, MADV_DONTNEED), 0);
    FAILS(madvise(p + 1, PAGE, MADV_DONTNEED), EINVAL);
    FAILS(madvise(p, PAGE, 12345), EINVAL);

    /* a private file page goes back to the file's bytes */
    put_file("f", "from the file", 13);
    int fd = open("f", O_RDWR);
    char *f = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    memcpy(f, "FROM", 4);
    CHECK(memcmp(f, "FROM the", 8) == 0);
    WANT(madvise(f, PAGE, MADV_DONTNEED), 0);
    CHECK(memcmp(f, "from the", 8) == 0);
    /* a shared one keeps what was stored */
    char *s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memcpy(s, "FROM", 4);
    WANT(madvise(s, PAGE, MADV_DONTNEED), 0);
    CHECK(memcmp(s, "FROM the", 8) == 0);

    WANT(munmap(p + PAGE, PAGE), 0);
    FAILS(mincore(p, 2 * PAGE, seen), ENOMEM);
    FAILS(madvise(p, 3 * PAGE, MADV_DONTNEED), ENOMEM);
    FAILS(msync(p, 2 * PAGE, MS_ASYNC), ENOMEM);

    struct rlimit limit = { 1 << 20, 1 << 20 };
    WANT(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    WANT(mlock(p, PAGE), 0);
    WANT(mincore(p, PAGE, seen), 0);
    CHECK((seen[0] & 1) == 1);
    WANT(munlock(p, PAGE), 0);
    FAILS(mlock(p, 2 * PAGE), ENOMEM);
    WANT(syscall(SYS_mlock2, p, PAGE, 0), 0);
    FAILS(syscall(SYS_mlock2, p, PAGE, 64), EINVAL);
    FAILS(mlockall(0), EINVAL);
    WANT(munlockall(), 0);

    CHECK(syscall(SYS_membarrier, 0, 0, 0) > 0);
    WANT(syscall(SYS_membarrier, 1, 0, 0), 0);
    FAILS(syscall(SYS_membarrier, 1 << 30, 0, 0), EINVAL);
    return guest_end();
}
