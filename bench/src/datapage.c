/* getpid through a data page: calls of the vDSO's function, which make no system call. */
#include "../../guests/src/vdso/lookup.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 1000000;
    int (*function)(void) = vdso_function("__kernel_getpid");
    int pid = getpid();
    if (!function)
        return 2;
    for (long i = 0; i < count; i++)
        if (function() != pid)
            return 1;
    printf("%ld\n", count);
    return 0;
}
