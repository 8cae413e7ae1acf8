/* The library as `uabi-emu run --abi seccomp` puts it into a program: started in its place, and then it.
 *
 * The kernel maps this image beside the program, writes two words (hack1_boot) and starts at _start with the program's
 * initial stack.  The word before _start says how far from there hack1_boot is.  No relocation may be needed.
 */
#define HACK1_INJECTED
#include "hack1.c"

/* What the kernel writes: where the program itself begins, and HACK1_*. */
INTERNAL struct {
    uintptr_t entry;
    uint64_t options;
} hack1_boot = { 1, 1 };        /* not zeros: it lies in the file */

/* The compiler may call these for any structure. */
__attribute__((visibility("hidden"))) void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((volatile char *)to)[i] = ((const char *)from)[i];
    return to;
}

__attribute__((visibility("hidden"))) void *memset(void *to, int byte, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((volatile char *)to)[i] = (char)byte;
    return to;
}

static uintptr_t vdso_of(const uintptr_t *stack)
{
    const uintptr_t *word = stack + 1 + stack[0] + 1;   /* argc, argv, NULL */
    while (*word++)
        ;                                               /* envp, NULL */
    for (; word[0] != AT_NULL; word += 2)
        if (word[0] == AT_SYSINFO_EHDR)
            return word[1];
    return 0;
}

#if defined(__x86_64__)
INTERNAL void hack1_begin(const uintptr_t *stack)
{
    hack1_install_at((unsigned)hack1_boot.options, vdso_of(stack));
}

/* At the start all registers are zero, and the flags as good as. */
__asm__(
    ".text\n"
    ".balign 16\n"
    ".quad hack1_boot - .\n"
    ".globl _start\n"
    ".hidden _start\n"
    ".type _start, @function\n"
    "_start:\n"
    "    mov %rsp, %rdi\n"
    "    call hack1_begin\n"
    "    xor %eax, %eax\n"
    "    xor %ecx, %ecx\n"
    "    xor %edx, %edx\n"
    "    xor %esi, %esi\n"
    "    xor %edi, %edi\n"
    "    xor %r8d, %r8d\n"
    "    xor %r9d, %r9d\n"
    "    xor %r10d, %r10d\n"
    "    xor %r11d, %r11d\n"
    "    push %rax\n"
    "    popfq\n"
    "    jmp *hack1_boot(%rip)\n");
#elif defined(__aarch64__)
/* A jump needs a register, and all are zero at the start: so the program begins as if it returned from a signal. */
INTERNAL _Noreturn void hack1_begin(const uintptr_t *stack)
{
    static const struct { uint32_t magic, size; } fpsimd = { 0x46508001, 528 };
    struct { siginfo_t si; ucontext_t uc; } __attribute__((aligned(16))) frame;
    hack1_install_at((unsigned)hack1_boot.options, vdso_of(stack));
    memset(&frame, 0, sizeof frame);
    frame.uc.uc_stack.ss_flags = SS_DISABLE;
    REAL(SYS_rt_sigprocmask, SIG_BLOCK, 0, &frame.uc.uc_sigmask, 8);
    memcpy(frame.uc.uc_mcontext.__reserved, &fpsimd, sizeof fpsimd);
    frame.uc.uc_mcontext.sp = (uintptr_t)stack;
    frame.uc.uc_mcontext.pc = hack1_boot.entry;
    hack1_leave((uintptr_t)&frame);
}

__asm__(
    ".text\n"
    ".balign 8\n"
    ".quad hack1_boot - .\n"
    ".globl _start\n"
    ".hidden _start\n"
    ".type _start, @function\n"
    "_start:\n"
    "    mov x0, sp\n"
    "    b hack1_begin\n");
#endif
