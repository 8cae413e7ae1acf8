/* What the library's files share. */
#ifndef UABI_INTERNAL_H
#define UABI_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <uabi/uabi.h>

/* A result of the kernel's as the C library tells it: -1 and errno. */
static inline long told(long result)
{
    if (result < 0 && result >= -4095) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

/* resolve.c: the image is in memory at `vdso`; 0 for none */
void uabi_resolve(uintptr_t vdso);
/* thread.c: the first thread has an errno from here on */
void uabi_first_thread(void);

#endif
