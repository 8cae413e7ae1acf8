/* Thread-local storage of the first thread: initial values, alignment, and the register that leads there. */
#include "guest.h"
#ifdef __x86_64__
#include <asm/prctl.h>
#endif

static _Thread_local int initial = 42;
static _Thread_local int zero;
static _Thread_local _Alignas(64) char aligned[3] = "hi";

static uintptr_t thread_register(void)
{
    uintptr_t value;
#ifdef __x86_64__
    __asm__ volatile("mov %%fs:0, %0" : "=r"(value));
#else
    __asm__ volatile("mrs %0, tpidr_el0" : "=r"(value));
#endif
    return value;
}

int main(void)
{
    guest_start();
    WANT(initial, 42);
    WANT(zero, 0);
    CHECK((uintptr_t)aligned % 64 == 0 && strcmp(aligned, "hi") == 0);
    initial = 7, zero = 8;
    uintptr_t before = thread_register();
    CHECK(before != 0);
    getppid();
    CHECK(thread_register() == before);
    WANT(initial, 7);
    WANT(zero, 8);
    errno = EDOM;
    getppid();
    WANT(errno == EDOM || errno == 0, 1);
#ifdef __x86_64__
    unsigned long base = 0;
    int good = syscall(SYS_arch_prctl, ARCH_GET_FS, &base) == 0 && base == before;
    static unsigned long gs_area[2] = { 77, 88 };
    good &= syscall(SYS_arch_prctl, ARCH_SET_GS, gs_area) == 0;
    good &= syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0 && base == (unsigned long)gs_area;
    unsigned long value;
    __asm__ volatile("mov %%gs:8, %0" : "=r"(value));
    good &= value == 88;
    good &= syscall(SYS_arch_prctl, ARCH_SET_FS, before) == 0;
    good &= syscall(SYS_arch_prctl, ARCH_GET_FS, BAD) == -1 && errno == EFAULT;
    good &= syscall(SYS_arch_prctl, 0x9999, 0) == -1 && errno == EINVAL;
    good &= syscall(SYS_arch_prctl, ARCH_SET_GS, WILD) == -1 && errno == EPERM;
#else
    static unsigned long area[2] = { 77, 88 };
    uintptr_t read_back;
    unsigned long value;
    __asm__ volatile("msr tpidr_el0, %2\n\tmrs %0, tpidr_el0\n\tldr %1, [%0, #8]\n\tmsr tpidr_el0, %3"
                     : "=&r"(read_back), "=&r"(value) : "r"(area), "r"(before));
    int good = read_back == (uintptr_t)area && value == 88;
#endif
    CHECK(good);
    WANT(initial, 7);
    return guest_end();
}
