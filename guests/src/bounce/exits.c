/* Threads that end without a stack to call their own: it is somebody else's already, as after Go's exitThread, or there
 * is none any more, as after musl's __unmapself. A frame of a bounce would be seen in it, or be a fault. The names are
 * those of the tests that docs/bounce-abi.md asks for. */
#include "guest.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define STACK_BYTES (16 * PAGE)
#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID)

static void test(const char *name)
{
    printf("[%s]\n", name);
}

static volatile struct {
    int given_up, may_exit, tid;
} thread;

/* A thread on the stack that ends at `top`. It says that it has given its stack up, waits with registers alone until it
 * may go, and exits with SP at `sp`. */
static long start_thread(char *top, uint64_t sp)
{
    thread.given_up = thread.may_exit = 0;
    thread.tid = 1;
#ifdef __aarch64__
    register long x0 __asm__("x0") = THREAD, x1 __asm__("x1") = (long)top, x2 __asm__("x2") = 0, x3 __asm__("x3") = 0,
        x4 __asm__("x4") = (long)&thread.tid, x8 __asm__("x8") = SYS_clone;
    register uint64_t x9 __asm__("x9") = sp;
    register volatile int *x10 __asm__("x10") = &thread.given_up, *x11 __asm__("x11") = &thread.may_exit;
    __asm__ volatile("svc #0\n cbnz x0, 2f\n"
                     "mov w12, #1\n str w12, [x10]\n"
                     "1: ldr w12, [x11]\n cbz w12, 1b\n"
                     "mov sp, x9\n mov x8, #93\n mov x0, #0\n svc #0\n brk #1\n2:"
                     : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x8), "r"(x9), "r"(x10), "r"(x11)
                     : "memory", "x12", "cc");
    return x0;
#else
    long result;
    register long r10 __asm__("r10") = (long)&thread.tid, r8 __asm__("r8") = 0;
    register uint64_t r9 __asm__("r9") = sp;
    register volatile int *r12 __asm__("r12") = &thread.given_up, *r13 __asm__("r13") = &thread.may_exit;
    __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 2f\n"
                     "movl $1, (%%r12)\n"
                     "1: pause\n cmpl $0, (%%r13)\n je 1b\n"
                     "mov %%r9, %%rsp\n mov $60, %%eax\n xor %%edi, %%edi\n syscall\n ud2\n2:"
                     : "=a"(result)
                     : "a"(SYS_clone), "D"(THREAD), "S"(top), "d"(0), "r"(r10), "r"(r8), "r"(r9), "r"(r12), "r"(r13)
                     : "rcx", "r11", "memory", "cc");
    return result;
#endif
}

static void wait_until(volatile int *word)
{
    while (!*word)
        sched_yield();
}

static void let_it_exit(void)
{
    thread.may_exit = 1;
    for (int tid; (tid = thread.tid);)
        syscall(SYS_futex, &thread.tid, FUTEX_WAIT, tid, NULL, NULL, 0);
}

static char *new_stack(void)
{
    return mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, ANON, -1, 0);
}

static uint64_t sum(const char *from)
{
    uint64_t value = 14695981039346656037UL;
    for (size_t i = 0; i < STACK_BYTES; i++)
        value = (value ^ (unsigned char)from[i]) * 1099511628211UL;
    return value;
}

static void refilled(void)
{
    test("a thread's exit with the stack re-owned and checksummed");
    char *stack = new_stack();
    int kept = 0;
    for (int round = 0; round < 10; round++) {
        char *top = stack + STACK_BYTES - round * 256;
        if (start_thread(top, (uint64_t)top) < 0)
            break;
        wait_until(&thread.given_up);
        for (size_t i = 0; i < STACK_BYTES; i++)
            stack[i] = (char)(i * 7 + round);
        uint64_t before = sum(stack);
        let_it_exit();
        kept += sum(stack) == before;
    }
    WANT(kept, 10);
    munmap(stack, STACK_BYTES);
}

/* The new owner: it counts on its stack while the old one exits. */
static volatile struct {
    int ready, good;
} heir;

static int inherit(void *top)
{
    volatile uint64_t words[256];
    (void)top;
    for (int i = 0; i < 256; i++)
        words[i] = i * 0x9e3779b97f4a7c15UL;
    heir.ready = 1;
    while (thread.tid)
        ;                       /* the old owner's exit clears it */
    int good = 1;
    for (int i = 0; i < 256; i++)
        good &= words[i] == i * 0x9e3779b97f4a7c15UL;
    heir.good += good;
    return 0;
}

static void inherited(void)
{
    test("a thread's exit while another runs on its stack");
    char *stack = new_stack();
    int status, exited = 0;
    for (int round = 0; round < 4; round++) {
        char *top = stack + STACK_BYTES;
        start_thread(top, (uint64_t)top - 1024);
        wait_until(&thread.given_up);
        heir.ready = 0;
        pid_t child = clone(inherit, top, CLONE_VM | SIGCHLD, top);
        wait_until(&heir.ready);
        let_it_exit();
        exited += waitpid(child, &status, 0) == child && status == 0;
    }
    WANT(exited, 4);
    WANT(heir.good, 4);
    munmap(stack, STACK_BYTES);
}

static void unmapped(void)
{
    static const uint64_t places[] = { 0, 8, 4096, 0x00f0000000000000, -8UL };
    test("a thread's exit with no stack");
    int gone = 0;
    for (int round = 0; round < 4; round++) {
        char *stack = new_stack();
        start_thread(stack + STACK_BYTES, (uint64_t)stack + STACK_BYTES);
        wait_until(&thread.given_up);
        munmap(stack, STACK_BYTES);
        let_it_exit();
        gone++;
    }
    WANT(gone, 4);
    char *stack = new_stack();
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        start_thread(stack + STACK_BYTES, places[i]);
        let_it_exit();
        gone++;
    }
    WANT(gone, 9);
    munmap(stack, STACK_BYTES);
}

static void group(void)
{
    test("exit_group with no stack");
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
#ifdef __aarch64__
        __asm__ volatile("mov x0, #8\n mov sp, x0\n mov x8, #94\n mov x0, #9\n svc #0" : : : "x0", "x8", "memory");
#else
        __asm__ volatile("mov $8, %%esp\n mov $231, %%eax\n mov $9, %%edi\n syscall" : : : "rax", "rdi", "memory");
#endif
    }
    int status = -1;
    WANT(waitpid(child, &status, 0) == child ? status : -1, 9 << 8);
}

/* ---- the C library's ---- */
static char *volatile its_stack;
static volatile int finished;

static void *detached(void *arg)
{
    char here = 1;
    its_stack = &here;
    __atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
    return arg;
}

static void detached_threads(void)
{
    test("a detached thread's exit");
    pthread_attr_t attributes;
    pthread_t one;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int unmapped_by_itself = 0, started = 0;
    for (int round = 0; round < 50; round++) {
        its_stack = NULL;
        started += !pthread_create(&one, &attributes, detached, NULL);
        while (finished < started)
            sched_yield();
        /* a libc that keeps stacks for later unmaps none; ours does */
        for (int turn = 0; turn < 100000 && readable(its_stack); turn++)
            sched_yield();
        unmapped_by_itself += !readable(its_stack);
    }
    WANT(started, 50);
    WANT(finished, 50);
    WANT(unmapped_by_itself, 50);
    /* many at once */
    for (int round = 0; round < 100; round++) {
        int failed = pthread_create(&one, &attributes, detached, NULL);
        started += !failed;
        if (failed)
            sched_yield(), round--;
    }
    while (finished < started)
        sched_yield();
    WANT(finished, 150);
}

int main(void)
{
    guest_start();
    refilled();
    inherited();
    unmapped();
    group();
    detached_threads();
    return guest_end();
}
