/* What the guests of this folder share: a call that needs hardly any stack, and a function called on another stack. */
#ifndef RAW_H
#define RAW_H
#include "guest.h"

#if defined(__x86_64__)
#define CONTEXT_PC(uc) ((uc)->uc_mcontext.gregs[REG_RIP])
#define SWITCH_STACK \
    "push %rbx\n mov %rsp, %rbx\n mov %rdi, %rsp\n call *%rsi\n mov %rbx, %rsp\n pop %rbx\n ret\n"

static inline long raw_call(long number)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
#define CONTEXT_PC(uc) ((uc)->uc_mcontext.pc)
#define SWITCH_STACK \
    "stp x19, x30, [sp, #-16]!\n mov x19, sp\n mov sp, x0\n blr x1\n mov sp, x19\n ldp x19, x30, [sp], #16\n ret\n"

static inline long raw_call(long number)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0");
    __asm__ volatile("svc #0" : "=r"(x0) : "r"(x8) : "memory");
    return x0;
}
#endif

/* Call a function with SP at the end of another stack. */
void call_on(void *stack_end, void (*function)(void));
__asm__(".text\n .balign 4\n .type call_on, @function\n call_on:\n" SWITCH_STACK);

/* The end of a stack of so many bytes: below it is a page that nobody may touch. */
static inline char *small_stack(size_t bytes)
{
    size_t room = (bytes + PAGE - 1) & -PAGE;
    char *base = mmap(NULL, PAGE + room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base, PAGE, PROT_NONE))
        guest_check(__FILE__, __LINE__, "a stack", 0);
    return base + PAGE + bytes;
}
#endif
