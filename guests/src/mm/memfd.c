/* memfd_create, seals, and shared mappings of one.  man 2 memfd_create, man 2 fcntl "File Sealing" */
#include "guest.h"

int main(void)
{
    char back[8] = { 0 };
    struct stat st;
    guest_start();
    int fd = (int)syscall(SYS_memfd_create, "note", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    WANT(fd, 3);
    WANT(fcntl(fd, F_GETFD), FD_CLOEXEC);
    WANT(fstat(fd, &st), 0);
    CHECK(S_ISREG(st.st_mode) && st.st_size == 0 && st.st_nlink == 0);
    WANT(ftruncate(fd, 2 * PAGE), 0);
    char *a = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *b = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    MAPPED(a);
    MAPPED(b);
    strcpy(a + PAGE, "hello");
    CHECK(strcmp(b, "hello") == 0);
    WANT(pread(fd, back, 5, PAGE), 5);
    CHECK(memcmp(back, "hello", 5) == 0);
    WANT(write(fd, "start", 5), 5);
    CHECK(memcmp(a, "start", 5) == 0);

    WANT(fcntl(fd, F_GET_SEALS), 0);
    WANT(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
    FAILS(ftruncate(fd, 3 * PAGE), EPERM);
    FAILS(ftruncate(fd, PAGE), EPERM);
    FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    WANT(munmap(a, 2 * PAGE), 0);
    WANT(munmap(b, PAGE), 0);
    WANT(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    FAILS(write(fd, "x", 1), EPERM);
    FAILS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
    MAPPED(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    WANT(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL), 0);
    FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
    WANT(fcntl(fd, F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL);

    /* without ALLOW_SEALING the seal is on from the start */
    int plain = (int)syscall(SYS_memfd_create, "", 0);
    WANT(fcntl(plain, F_GET_SEALS), F_SEAL_SEAL);
    FAILS(fcntl(plain, F_ADD_SEALS, F_SEAL_GROW), EPERM);
    FAILS(syscall(SYS_memfd_create, "x", 0x8000), EINVAL);
    FAILS(syscall(SYS_memfd_create, BAD, 0), EFAULT);
    FAILS(fcntl(0x7fff, F_GET_SEALS), EBADF);
    return guest_end();
}
