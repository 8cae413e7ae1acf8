/* A dynamically linked program of glibc's asks its linker for versions of a function in the vDSO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>

typedef long (*brk_function)(long);

int main(void)
{
    void *vdso = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
    brk_function old, new;

    if (!vdso)
        return 1;
    old = (brk_function)dlvsym(vdso, "__kernel_brk", "UABI_1");
    new = (brk_function)dlvsym(vdso, "__kernel_brk", "UABI_2");
    if (!old || !new)
        return 2;
    printf("UABI_1: %s\n", old(1L << 62) == old(0) ? "the break" : "?");
    printf("UABI_2: %s\n", new(1L << 62) == -ENOMEM ? "ENOMEM" : "?");
    printf("default: %s\n", dlsym(vdso, "__kernel_brk") == (void *)new ? "UABI_2" : "?");
    printf("UABI_3: %s\n", dlvsym(vdso, "__kernel_brk", "UABI_3") ? "?" : "none");
    return 0;
}
