/* What programs do to their stacks, flags and numbers that a bounce could disturb and must not: the same with and
 * without one, and natively. The names are those of the tests that docs/bounce-abi.md asks for. */
#include "guest.h"
#include <sched.h>
#include <sys/wait.h>

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define STACK_BYTES (16 * PAGE)

static void test(const char *name)
{
    printf("[%s]\n", name);
}

/* A system call of three arguments with all 64 bits of the number, made right here. */
static inline __attribute__((always_inline)) long call3(uint64_t number, long a, long b, long c)
{
#ifdef __aarch64__
    register long x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register uint64_t x8 __asm__("x8") = number;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory");
    return x0;
#else
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
#endif
}

static long named(long result)
{
    if (result < 0 && result > -4096) {
        errno = -result;
        return -1;
    }
    return result;
}

/* ---- numbers ---- */
static void numbers(void)
{
    test("2^63|getpid is getpid");
    WANT(call3(1UL << 63 | SYS_getpid, 0, 0, 0) == getpid(), 1);
    WANT(call3(0xdeadbeefUL << 32 | SYS_getpid, 0, 0, 0) == getpid(), 1);

    test("numbers that there are not");
    FAILS(named(call3(-1UL, 1, 2, 3)), ENOSYS);
    FAILS(named(call3(0xffffffffUL, 1, 2, 3)), ENOSYS);
    FAILS(named(call3(1UL << 31, 1, 2, 3)), ENOSYS);
    FAILS(named(call3(1UL << 31 | SYS_getpid, 1, 2, 3)), ENOSYS);
    FAILS(named(call3(1UL << 29, 1, 2, 3)), ENOSYS);
    FAILS(named(call3(1UL << 29 | SYS_getpid, 1, 2, 3)), ENOSYS);
    FAILS(named(call3(0x3fffffffUL, 1, 2, 3)), ENOSYS);
    FAILS(named(call3(0x1fffffffUL, 1, 2, 3)), ENOSYS);
    FAILS(named(call3(1UL << 30 | SYS_getpid, 1, 2, 3)), ENOSYS);  /* on x86-64, the x32 bit */
    FAILS(named(call3(511, 1, 2, 3)), ENOSYS);
    FAILS(named(call3(512, 1, 2, 3)), ENOSYS);
    FAILS(named(call3(100000, 1, 2, 3)), ENOSYS);
}

/* ---- vfork ---- */
static char *const plain[] = { "child", "told", 0 };
static const char *self;

/* Its own function, so that what vfork's parent keeps on the stack is above. */
static __attribute__((noinline)) void scribble_and_exec(void)
{
    volatile char area[4096 + 512];
    for (size_t i = 0; i < sizeof area; i++)
        area[i] = 0x55;
    call3(SYS_execve, (long)self, (long)plain, (long)environ);
    call3(SYS_exit_group, 99, 0, 0);
}

/* The child of vfork borrows the parent's stack: a frame of the parent's on it would be lost. */
static void vforking(void)
{
    test("a vfork child that scribbles 4 KiB below SP, then execs");
    for (int i = 0; i < 3; i++) {
        pid_t child = vfork();
        if (!child)
            scribble_and_exec();
        int status = -1;
        WANT(waitpid(child, &status, 0) == child, 1);
        WANT(status, 7 << 8);
    }
    test("a vfork child that scribbles, then exits");
    pid_t child = vfork();
    if (!child) {
        volatile char area[4096];
        for (size_t i = 0; i < sizeof area; i++)
            area[i] = 0x55;
        call3(SYS_exit_group, 3, 0, 0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    WANT(status, 3 << 8);
}

/* ---- clone ---- */
static volatile struct { int ran, result; uint64_t sp; int clean; } seen;

/* clone by itself; the child calls in_child(stack) with SP at the stack's end and nothing pushed. */
static __attribute__((noinline)) long raw_clone(long flags, char *top, void (*in_child)(char *top))
{
#ifdef __aarch64__
    register long x0 __asm__("x0") = flags, x1 __asm__("x1") = (long)top, x2 __asm__("x2") = 0, x3 __asm__("x3") = 0,
        x4 __asm__("x4") = 0;
    register long x8 __asm__("x8") = SYS_clone;
    register void (*x9)(char *) __asm__("x9") = in_child;
    __asm__ volatile("svc #0\n cbnz x0, 1f\n mov x0, sp\n blr x9\n brk #1\n1:"
                     : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x8), "r"(x9)
                     : "memory", "x30", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "cc");
    return x0;
#else
    long result;
    register long r10 __asm__("r10") = 0, r8 __asm__("r8") = 0;
    register void (*r9)(char *) __asm__("r9") = in_child;
    __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n mov %%rsp, %%rdi\n call *%%r9\n ud2\n1:"
                     : "=a"(result) : "a"(SYS_clone), "D"(flags), "S"(top), "d"(0), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory", "cc");
    return result;
#endif
}

/* Runs on the new stack, which was all 0xAA. */
static void on_new_stack(char *top)
{
    seen.sp = (uint64_t)top;
    seen.clean = 1;
    for (char *p = top - STACK_BYTES; p < top - 2048; p++)
        if (*p != (char)0xAA)
            seen.clean = 0;
    seen.ran++;
    seen.result = call3(SYS_getppid, 0, 0, 0);
    call3(SYS_exit, 5, 0, 0);
}

static void cloning(void)
{
    test("raw clone onto a stack filled with 0xAA");
    char *stack = mmap(0, STACK_BYTES, PROT_READ | PROT_WRITE, ANON, -1, 0);
    static const long kinds[] = { CLONE_VM | SIGCHLD, CLONE_VM | CLONE_VFORK | SIGCHLD };
    for (size_t i = 0; i < 2; i++) {
        memset(stack, 0xAA, STACK_BYTES);
        seen.ran = seen.clean = 0;
        fflush(stdout);
        long child = raw_clone(kinds[i], stack + STACK_BYTES, on_new_stack);
        int status = -1;
        CHECK(child > 0);
        WANT(waitpid(child, &status, 0) == child, 1);
        WANT(status, 5 << 8);
        WANT(seen.ran, 1);
        WANT(seen.result == getpid(), 1);
        CHECK(seen.sp == (uint64_t)stack + STACK_BYTES);
        CHECK(seen.clean);
    }
}

/* ---- signal frames on an alternate stack ---- */
static char *alternate;
static size_t alternate_bytes;
static volatile int depth, deepest, returned;

static void nested(int signal)
{
    (void)signal;
    char here;
    if (&here < alternate || &here >= alternate + alternate_bytes)
        guest_check(__FILE__, __LINE__, "on the alternate stack", 0);
    depth++;
    if (depth > deepest)
        deepest = depth;
    if (depth < 3)
        raise(SIGUSR1);
    depth--;
    returned++;
}

/* A handler that needs no stack: at its rt_sigreturn SP is where the frame begins. */
extern int handled;
extern void leaf_handler(int);
#ifdef __aarch64__
__asm__(".data\n.balign 4\nhandled: .word 0\n.text\nleaf_handler:\n"
        "adrp x1, handled\n add x1, x1, :lo12:handled\n ldr w2, [x1]\n add w2, w2, #1\n str w2, [x1]\n ret\n");
#else
__asm__(".data\n.balign 4\nhandled: .long 0\n.text\nleaf_handler:\n incl handled(%rip)\n ret\n");
#endif
#define RED_ZONE 128

static volatile uint64_t frame_at;

static void find_frame(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
#ifdef __aarch64__
    frame_at = (uint64_t)info;              /* struct rt_sigframe begins with it */
#else
    (void)info;
    frame_at = (uint64_t)context - 8;       /* and here with the return address */
#endif
}

static void lowest(void)
{
    test("rt_sigreturn at the lowest usable address of an alternate stack");
    size_t size = 64 * PAGE;
    char *memory = mmap(0, size + PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    mprotect(memory, PAGE, PROT_NONE);
    memory += PAGE;
    stack_t stack = { .ss_sp = memory, .ss_size = size };
    sigaltstack(&stack, 0);
    struct sigaction action = { .sa_sigaction = find_frame, .sa_flags = SA_ONSTACK | SA_SIGINFO };
    sigaction(SIGUSR1, &action, 0);
    raise(SIGUSR1);
    size_t frame_bytes = (uint64_t)memory + size - frame_at;
    /* what a call may take below SP, and not a byte more, is mapped below the next frame */
    action.sa_sigaction = 0;
    action.sa_handler = leaf_handler;
    sigaction(SIGUSR1, &action, 0);
    stack.ss_sp = memory - PAGE;
    stack.ss_size = PAGE + ((RED_ZONE + 32 + 15 + frame_bytes) & -64UL) + 64;
    while ((uint64_t)stack.ss_sp + stack.ss_size - frame_bytes >= (uint64_t)memory + RED_ZONE + 32 + 64)
        stack.ss_size -= 64;
    WANT(sigaltstack(&stack, 0), 0);
    raise(SIGUSR1);
    raise(SIGUSR1);
    WANT(handled, 2);
    stack.ss_flags = SS_DISABLE;
    WANT(sigaltstack(&stack, 0), 0);
}

static void signals(void)
{
    lowest();
    test("rt_sigreturn on an alternate stack, nested");
    long least = sysconf(_SC_MINSIGSTKSZ);
    if (least < 2048)
        least = 2048;
    alternate_bytes = 4 * least + 4 * PAGE;
    alternate = mmap(0, alternate_bytes, PROT_READ | PROT_WRITE, ANON, -1, 0);
    stack_t stack = { .ss_sp = alternate, .ss_size = alternate_bytes };
    WANT(sigaltstack(&stack, 0), 0);
    struct sigaction action = { .sa_handler = nested, .sa_flags = SA_ONSTACK | SA_NODEFER };
    sigaction(SIGUSR1, &action, 0);
    raise(SIGUSR1);
    WANT(deepest, 3);
    WANT(returned, 3);
    WANT(depth, 0);
}

/* ---- a stack that goes away ---- */
static char *old_stack;

/* Runs on a stack of its own, takes that away, and goes back without it. */
static void without_stack(char *top)
{
    (void)top;
    /* from here on only registers: the result is seen by the caller's waitpid */
    long result = call3(SYS_munmap, (long)old_stack, STACK_BYTES, 0);
    call3(SYS_exit, result ? 1 : 6, 0, 0);
}

static void unmapping(void)
{
    test("munmap of one's own stack");
    old_stack = mmap(0, STACK_BYTES, PROT_READ | PROT_WRITE, ANON, -1, 0);
    fflush(stdout);
    long child = raw_clone(CLONE_VM | SIGCHLD, old_stack + STACK_BYTES, without_stack);
    int status = -1;
    waitpid(child, &status, 0);
    WANT(status, 6 << 8);
    WANT(readable(old_stack), 0);
}

/* ---- a stack that grows ---- */
static __attribute__((noinline)) long call_far_below(size_t bytes)
{
    /* SP moves down without a touch, so that the call's own frame, if any, is the first to touch the page */
    char *area = __builtin_alloca(bytes);
    __asm__ volatile("" : : "r"(area) : "memory");
    return call3(SYS_getppid, 0, 0, 0);
}

static void growing(void)
{
    test("stack growth by the push");
    WANT(call_far_below(1000000) == getppid(), 1);
    WANT(call_far_below(4000000) == getppid(), 1);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return !strcmp(argv[1], "told") ? 7 : 8;
    guest_start();
    self = argv[0];
    numbers();
    vforking();
    cloning();
    signals();
    unmapping();
    growing();
    return guest_end();
}
