/* A program of glibc's that was linked with the image like with any library: OLD, when there was UABI_1 alone. */
#include <errno.h>

long __kernel_brk(long end);
long __kernel_write(int fd, const void *text, unsigned long count);
#ifdef OLD
__asm__(".symver __kernel_brk, __kernel_brk@UABI_1");
#endif

int main(void)
{
    long result = __kernel_brk(1L << 62);

    return __kernel_write(1, result == -ENOMEM ? "UABI_2's\n" : "UABI_1's\n", 9) != 9;
}
