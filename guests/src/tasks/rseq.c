/* Restartable sequences: threads that add to a counter of their CPU without a lock and without atomic instructions, in
 * critical sections so long that most of them are interrupted. Each interrupted one is aborted, so no count is lost.
 * man 2 rseq (librseq), Documentation/userspace-api/rseq.rst
 *
 * With the argument `plain` the section is not announced: then counts are lost.
 * With `counts` it also tells how many sections were aborted and how many counts are lost.
 * guest-options: --cpus 2 */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#define SIGNATURE 0x53053053
#define THREADS 4
#define ADDS 60
#define SPINS 20000L
#define CPUS 256

struct area {
    uint32_t cpu_id_start, cpu_id;
    uint64_t rseq_cs;
    uint32_t flags, node_id, mm_cid, end;
} __attribute__((aligned(32)));

struct section {
    uint32_t version, flags;
    uint64_t start, length, abort;
} __attribute__((aligned(32)));

static long counters[CPUS];
static int plain;
static long aborts;
static __thread struct area area;

/* Add one to the counter of this CPU; 0 if it was aborted. `spins`: how long to take for it. */
static int add_one(struct area *rseq, long *array, long spins, int announced)
{
    long done;
#ifdef __x86_64__
    __asm__ volatile(
        ".pushsection .data.rel.ro, \"aw\"\n"
        ".balign 32\n"
        "1: .long 0, 0\n"
        "   .quad 2f, 3f - 2f, 4f\n"
        ".popsection\n"
        "xor %[done], %[done]\n"
        "test %[announced], %[announced]\n"
        "jz 2f\n"
        "lea 1b(%%rip), %%rax\n"
        "mov %%rax, 8(%[rseq])\n"
        "2:\n"
        "movl 4(%[rseq]), %%eax\n"
        "mov (%[array], %%rax, 8), %%rcx\n"
        "inc %%rcx\n"
        "5: dec %[spins]\n"
        "jnz 5b\n"
        "mov %%rcx, (%[array], %%rax, 8)\n"
        "3:\n"
        "mov $1, %[done]\n"
        "jmp 6f\n"
        ".byte 0x0f, 0xb9, 0x3d\n"
        ".long 0x53053053\n"
        "4:\n"
        "6:\n"
        : [done] "=&r"(done), [spins] "+r"(spins)
        : [rseq] "r"(rseq), [array] "r"(array), [announced] "r"((long)announced)
        : "rax", "rcx", "memory", "cc");
#else
    __asm__ volatile(
        ".pushsection .data.rel.ro, \"aw\"\n"
        ".balign 32\n"
        "1: .long 0, 0\n"
        "   .quad 2f, 3f - 2f, 4f\n"
        ".popsection\n"
        "mov %[done], #0\n"
        "cbz %[announced], 2f\n"
        "adrp x8, 1b\n"
        "add x8, x8, :lo12:1b\n"
        "str x8, [%[rseq], #8]\n"
        "2:\n"
        "ldr w8, [%[rseq], #4]\n"
        "ldr x9, [%[array], x8, lsl #3]\n"
        "add x9, x9, #1\n"
        "5: subs %[spins], %[spins], #1\n"
        "b.ne 5b\n"
        "str x9, [%[array], x8, lsl #3]\n"
        "3:\n"
        "mov %[done], #1\n"
        "b 6f\n"
        ".long 0x53053053\n"
        "4:\n"
        "6:\n"
        : [done] "=&r"(done), [spins] "+r"(spins)
        : [rseq] "r"(rseq), [array] "r"(array), [announced] "r"((long)announced)
        : "x8", "x9", "memory", "cc");
#endif
    return (int)done;
}

static void *adds(void *arg)
{
    if (syscall(SYS_rseq, &area, sizeof area, 0, SIGNATURE))
        return (void *)1;
    for (int i = 0; i < ADDS; i++)
        while (!add_one(&area, counters, SPINS, !plain))
            __atomic_fetch_add(&aborts, 1, __ATOMIC_SEQ_CST);
    (void)arg;
    return NULL;
}

static volatile uint64_t cs_in_handler = 1;

static void handler(int signal)
{
    cs_in_handler = area.rseq_cs;
    (void)signal;
}

/* What the kernel does with a section that is announced but not sound, found by a signal. */
static int ends_by(struct section *bad, uint32_t flags)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        area.flags = flags;
        area.rseq_cs = (uint64_t)(uintptr_t)bad;
        raise(SIGUSR1);
        sched_yield();
        _exit(area.rseq_cs ? 2 : 0);
    }
    waitpid(child, &status, 0);
    return status;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    static struct section sound, bad;
    static uint32_t code[4] = { 0, SIGNATURE, 0, 0 };
    long sum = 0, failed = 0;
    void *result;

    guest_start();
    plain = argc > 1 && !strcmp(argv[1], "plain");
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, adds, NULL);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &result);
        failed += result != NULL;
    }
    for (int i = 0; i < CPUS; i++)
        sum += counters[i];
    if (argc > 1)
        printf("lost %ld aborts %ld\n", THREADS * ADDS - sum, aborts);
    WANT(failed, 0);
    if (plain)
        return guest_end();
    CHECK(sum == THREADS * ADDS);

    /* registration */
    FAILS(syscall(SYS_rseq, (char *)&area + 4, sizeof area, 0, SIGNATURE), EINVAL);
    FAILS(syscall(SYS_rseq, &area, 16, 0, SIGNATURE), EINVAL);
    FAILS(syscall(SYS_rseq, &area, sizeof area, 4, SIGNATURE), EINVAL);
    FAILS(syscall(SYS_rseq, &area, sizeof area, 1, SIGNATURE), EINVAL);
    FAILS(syscall(SYS_rseq, (void *)-4096L, sizeof area, 0, SIGNATURE), EFAULT);
    WANT(syscall(SYS_rseq, &area, sizeof area, 0, SIGNATURE), 0);
    CHECK(area.cpu_id == (uint32_t)sched_getcpu() || sched_getcpu() >= 0);
    FAILS(syscall(SYS_rseq, &area, sizeof area, 0, SIGNATURE), EBUSY);
    FAILS(syscall(SYS_rseq, &area, sizeof area, 0, SIGNATURE + 1), EPERM);
    FAILS(syscall(SYS_rseq, &area + 1, sizeof area, 0, SIGNATURE), EINVAL);
    FAILS(syscall(SYS_rseq, &area, sizeof area, 1, SIGNATURE + 1), EPERM);

    /* the id follows the task */
    for (int cpu = 0; cpu < 2; cpu++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        CHECK(sched_setaffinity(0, sizeof one, &one) == 0 && area.cpu_id == (uint32_t)cpu && area.cpu_id_start == area.cpu_id);
    }

    /* a signal outside of the section only forgets it */
    signal(SIGUSR1, handler);
    sound = (struct section){ 0, 0, (uintptr_t)code, 4, (uintptr_t)(code + 2) };
    area.rseq_cs = (uintptr_t)&sound;
    raise(SIGUSR1);
    CHECK(cs_in_handler == 0 && area.rseq_cs == 0);

    /* sections that are not sound */
    WANT(ends_by(&sound, 0), 0);
    bad = sound;
    bad.version = 1;
    WANT(ends_by(&bad, 0), SIGSEGV);
    bad = sound;
    bad.abort = (uintptr_t)(code + 3);
    WANT(ends_by(&bad, 0), SIGSEGV);
    bad = sound;
    bad.abort = sound.start;
    WANT(ends_by(&bad, 0), SIGSEGV);
    bad = sound;
    bad.start = (uint64_t)-8;
    WANT(ends_by(&bad, 0), SIGSEGV);
    WANT(ends_by(BAD, 0), SIGSEGV);

    WANT(syscall(SYS_rseq, &area, sizeof area, 1, SIGNATURE), 0);
    CHECK(area.cpu_id == (uint32_t)-1 && area.cpu_id_start == 0);
    FAILS(syscall(SYS_rseq, &area, sizeof area, 1, SIGNATURE), EINVAL);
    return guest_end();
}
