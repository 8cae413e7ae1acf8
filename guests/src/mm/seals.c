/* What each seal of a memfd forbids.  man 2 fcntl (File Sealing), man 2 memfd_create */
#include "guest.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

static int make(void)
{
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
    return fd >= 0 && write(fd, "some text", 9) == 9 ? fd : -1;
}

static void *map(int fd, int prot, int flags)
{
    return mmap(NULL, 4096, prot, flags, fd, 0);
}

static int add(int fd, int seals)
{
    return fcntl(fd, F_ADD_SEALS, seals);
}

int main(void)
{
    char path[64];
    guest_start();
    /* F_SEAL_FUTURE_WRITE: what is mapped stays so, nothing new */
    int fd = make();
    char *before = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
    FAILS(add(fd, F_SEAL_WRITE), EBUSY);
    WANT(add(fd, F_SEAL_FUTURE_WRITE), 0);
    WANT(fcntl(fd, F_GET_SEALS), F_SEAL_FUTURE_WRITE);
    before[0] = 'S';
    FAILS(write(fd, "x", 1), EPERM);
    FAILS(pwrite(fd, "x", 1, 0), EPERM);
    CHECK(map(fd, PROT_READ | PROT_WRITE, MAP_SHARED) == MAP_FAILED && errno == EPERM);
    char *reading = map(fd, PROT_READ, MAP_SHARED);
    CHECK(reading != MAP_FAILED && reading[0] == 'S');
    FAILS(mprotect(reading, 4096, PROT_READ | PROT_WRITE), EACCES);
    char *own = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    CHECK(own != MAP_FAILED);
    own[0] = 'T';
    CHECK(reading[0] == 'S');
    WANT(ftruncate(fd, 5), 0);
    WANT(ftruncate(fd, 8192), 0);
    WANT(munmap(before, 4096), 0);
    WANT(add(fd, F_SEAL_WRITE), 0);
    close(fd);

    /* F_SEAL_WRITE: a mapping that could be made writable stands against it */
    fd = make();
    reading = map(fd, PROT_READ, MAP_SHARED);
    FAILS(add(fd, F_SEAL_WRITE), EBUSY);
    WANT(munmap(reading, 4096), 0);
    WANT(add(fd, F_SEAL_WRITE), 0);
    reading = map(fd, PROT_READ, MAP_SHARED);
    CHECK(reading != MAP_FAILED);
    FAILS(write(fd, "x", 1), EPERM);
    FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), EPERM);
    FAILS(mprotect(reading, 4096, PROT_READ | PROT_WRITE), EACCES);
    WANT(ftruncate(fd, 4096), 0);
    close(fd);

    /* F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL */
    fd = make();
    WANT(add(fd, F_SEAL_SHRINK), 0);
    FAILS(ftruncate(fd, 5), EPERM);
    WANT(ftruncate(fd, 20), 0);
    WANT(add(fd, F_SEAL_GROW), 0);
    FAILS(ftruncate(fd, 21), EPERM);
    FAILS(pwrite(fd, "abc", 3, 20), EPERM);
    SHOW(pwrite(fd, "abc", 3, 18));
    FAILS(fallocate(fd, 0, 0, 8192), EPERM);
    WANT(pwrite(fd, "abc", 3, 0), 3);
    WANT(add(fd, F_SEAL_SEAL), 0);
    FAILS(add(fd, F_SEAL_WRITE), EPERM);
    WANT(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reader = open(path, O_RDONLY);
    FAILS(add(reader, F_SEAL_WRITE), EPERM);
    FAILS(add(fd, 0x1000), EINVAL);
    int plain = memfd_create("plain", 0);
    WANT(fcntl(plain, F_GET_SEALS), F_SEAL_SEAL);
    FAILS(add(plain, F_SEAL_WRITE), EPERM);
    int pipes[2];
    WANT(pipe(pipes), 0);
    FAILS(fcntl(pipes[0], F_GET_SEALS), EINVAL);
    return guest_end();
}
