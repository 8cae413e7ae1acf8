/* A number that is no system call returns ENOSYS and nothing else happens; arguments are taken as C types.
 * man 2 syscalls */
#include "guest.h"

int main(void)
{
    guest_start();
    const long numbers[] = { 400, 600, 999, 1000, 4095, 4096, 65536, 0x3fffffff, 0x7fffffff, -1, -2, -4096 };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        printf("number %ld: ", numbers[i]);
        FAILS(syscall(numbers[i], 1, 2, 3, 4, 5, 6), ENOSYS);
    }
    /* only the low 32 bits of an int argument count */
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    WANT(syscall(SYS_write, 0x7700000000L | fd, "x", 1), 1);
    WANT(syscall(SYS_dup3, 0x100000000L | fd, 0x200000000L | 9, 0x300000000L), 9);
    FAILS(syscall(SYS_close, 0xffffffff00000000L | 77), EBADF);
    WANT(syscall(SYS_openat, 0xffffff9cL, "f", O_RDONLY, 0), fd + 1);     /* AT_FDCWD as unsigned */
    WANT(syscall(SYS_lseek, fd, 0x100000000L, SEEK_SET), 0x100000000L);   /* but an offset has 64 bits */
    WANT(syscall(SYS_umask, 0x100000000L | 022) >= 0, 1);
    WANT(syscall(SYS_umask, 022), 022);
    /* a call beyond exit returns nothing: the status is the low byte */
    if (guest_end())
        return 1;
    syscall(SYS_exit_group, 0x1234562a);
    return 1;
}
