/* Ends by a fault of a bounce, or of the handler that serves calls. argv[1]: stack | jump | flags. */
#define _GNU_SOURCE
#include "../../guests/src/vdso/lookup.h"
#include <stdint.h>
#include <string.h>

static uint64_t frame[64] __attribute__((aligned(16)));

__attribute__((noreturn)) static void at(void *code, void *stack)
{
#ifdef __x86_64__
    __asm__ volatile("mov %0, %%rsp\n mov $95, %%eax\n mov $18, %%edi\n jmp *%1" ::"r"(stack), "r"(code) : "rax", "rdi");
#else
    register void *to __asm__("x10") = code, *sp __asm__("x9") = stack;
    __asm__ volatile("mov sp, x9\n mov x8, #166\n mov x0, #18\n br x10" ::"r"(to), "r"(sp) : "x8", "x0");
#endif
    __builtin_unreachable();
}

#ifdef __x86_64__
__asm__(".globl call\n.type call, @function\ncall: syscall\n.size call, . - call\n");
enum { UMASK = 95, FLAGS = 0x202 };
#else
__asm__(".globl call\n.type call, %function\ncall: svc #0\n.size call, . - call\n");
enum { UMASK = 166, FLAGS = 4 }; /* the flags of another exception level */
#endif
extern char call[];

int main(int argc, char **argv)
{
    char *handler = (char *)vdso_function("__kernel_bounce_userspace");

    if (argc < 2 || !handler)
        return 1;
    if (!strcmp(argv[1], "stack"))
        at(call, (void *)16);
    if (!strcmp(argv[1], "jump"))
        at(handler, (void *)16);
    frame[0] = UMASK;
    frame[1] = (uintptr_t)(frame + 40);
    frame[2] = 0x1000;
    frame[3] = FLAGS;
    at(handler, frame);
}
