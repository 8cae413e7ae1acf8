/* Put registers anywhere, let one attack run in a child, and see with which signal and registers it ended.
 *
 * The child's registers are set by a signal handler that writes them into its ucontext; the attack ends at a trap
 * instruction, or with what it deserves. What a child may not touch is in memory that the parent sees too. */
#ifndef ATTACK_H
#define ATTACK_H

#include "guest.h"
#include <sys/wait.h>
#include <ucontext.h>

#ifdef __aarch64__
enum { RESULT = 0, NUMBER = 8, SP = 31, PC = 32, FLAGS = 33, REGISTERS = 34 };
#define ARGUMENTS { 0, 1, 2, 3, 4, 5 }
#define FIRST(context) ((uint64_t *)&(context)->uc_mcontext.regs[0])
#define SOME_FLAGS 0x60000000UL
#define NO_FLAGS 0UL
#define CALL "\x01\x00\x00\xd4"             /* svc #0 */
#define CALL_BYTES 4
#define TRAP "\0\0\0\0"                     /* udf #0: SIGILL */
#define TRAP_BYTES 4
#define RF 0UL
#else
enum { ARG0 = 8, RESULT = 13, NUMBER = 13, RCX = 14, R11 = 3, SP = 15, PC = 16, FLAGS = 17, REGISTERS = 18 };
#define ARGUMENTS { 8, 9, 12, 2, 0, 1 }     /* rdi, rsi, rdx, r10, r8, r9 */
#define FIRST(context) ((uint64_t *)&(context)->uc_mcontext.gregs[0])
#define SOME_FLAGS 0x247UL                  /* C, P, Z; IF and bit 1 are always set */
#define NO_FLAGS 0x202UL
#define CALL "\x0f\x05"                     /* syscall */
#define CALL_BYTES 2
#define TRAP "\x0f\x0b"                     /* ud2: SIGILL */
#define TRAP_BYTES 2
#define RF 0x10000UL
#endif

#define REDIRECT (1UL << 29)
#define NO_CALL 0x1fffffffUL
#define RED_ZONE 128
#define STACK_BYTES (8 * PAGE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RWX (PROT_READ | PROT_WRITE | PROT_EXEC)

struct registers { uint64_t r[REGISTERS]; };
struct frame { uint64_t number, sp, pc, flags; };
struct outcome { int signal, code; uint64_t address; struct registers now; };

static struct outcome *shared;              /* the child writes it, the parent reads it */
static uint8_t *code;                       /* a page: a call and a trap */
static uint8_t *stack;                      /* between two pages that allow nothing */
static struct registers wanted;
static uint8_t *vdso;
static size_t vdso_size;

static inline void hexdump_registers(const struct registers *registers)
{
    for (int i = 0; i < REGISTERS; i++)
        printf("  r[%d] = %lx\n", i, registers->r[i]);
}

/* SIGUSR1: go on with the registers of the attack. */
static inline void depart(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
    memcpy(FIRST((ucontext_t *)context), wanted.r, sizeof wanted.r);
}

/* The end of the attack: tell the parent. Nothing here may need the vDSO: exit_group never bounces. */
static inline void arrive(int signal, siginfo_t *info, void *context)
{
#ifdef __x86_64__
    __asm__ volatile("pushq $0x202; popfq" : : : "cc", "memory");  /* AC, NT and the like end here */
#endif
    shared->signal = signal;
    shared->code = info->si_code;
    shared->address = (uint64_t)info->si_addr;
    memcpy(shared->now.r, FIRST((ucontext_t *)context), sizeof shared->now.r);
    syscall(SYS_exit_group, 0);
}

static inline void find_vdso(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        unsigned long low, high;
        if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &low, &high) == 2) {
            vdso = (uint8_t *)low;
            vdso_size = high - low;
        }
    }
    fclose(maps);
}

static inline void *map(size_t size, int protection, int flags)
{
    void *memory = mmap(0, size, protection, flags | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    return memory;
}

static inline void attack_start(void)
{
    guest_start();
    shared = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    code = map(PAGE, RWX, MAP_PRIVATE);
    memcpy(code, CALL TRAP, CALL_BYTES + TRAP_BYTES);
    stack = (uint8_t *)map(STACK_BYTES + 2 * PAGE, PROT_NONE, MAP_SHARED) + PAGE;
    mprotect(stack, STACK_BYTES, PROT_READ | PROT_WRITE);
    stack_t alternate = { .ss_sp = map(65536, PROT_READ | PROT_WRITE, MAP_PRIVATE), .ss_size = 65536 };
    sigaltstack(&alternate, 0);
    struct sigaction action = { .sa_sigaction = depart, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigaction(SIGUSR1, &action, 0);
    action.sa_sigaction = arrive;
    static const int ends[] = { SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGSYS, SIGFPE };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        sigaction(ends[i], &action, 0);
    find_vdso();
}

/* Registers with values that stand out, SP in the middle of the stack, at a call of getppid. */
static inline struct registers at_call(uint64_t number)
{
    struct registers start;
    for (int i = 0; i < REGISTERS; i++)
        start.r[i] = 0x0101010101010101UL * (unsigned)(i + 1);
    start.r[NUMBER] = number;
    start.r[SP] = (uint64_t)stack + STACK_BYTES / 2;
    start.r[PC] = (uint64_t)code;
    start.r[FLAGS] = SOME_FLAGS;
    return start;
}

static inline struct registers at_getppid(void)
{
    return at_call(SYS_getppid);
}

/* Let a child do it, which prepares itself first; how it ended. The stack is filled with 0xAA before. */
static inline struct outcome run_prepared(struct registers start, void (*prepare)(void))
{
    fflush(stdout);
    memset(stack, 0xAA, STACK_BYTES);
    memset(shared, 0, sizeof *shared);
    pid_t child = fork();
    if (!child) {
        if (prepare)
            prepare();
        wanted = start;
        raise(SIGUSR1);
        _exit(99);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status)
        shared->signal = -status;
    return *shared;
}

static inline struct outcome run(struct registers start)
{
    return run_prepared(start, 0);
}

/* The same with a frame that the attacker has made, `frame` bytes into the stack. */
static struct frame forged;
static size_t forged_at;

static inline void forge(void)
{
    memcpy(stack + forged_at, &forged, sizeof forged);
}

/* Where the frame of a bounce at this SP goes. */
static inline uint64_t frame_address(uint64_t sp)
{
    return (sp - RED_ZONE - sizeof(struct frame)) & -16UL;
}

/* Is the rest of the stack as it was? `address`: of the one frame on it; 0 for none. */
static inline int only_frame_at(uint64_t address)
{
    for (size_t i = 0; i < STACK_BYTES; i++)
        if (stack[i] != 0xAA && ((uint64_t)stack + i < address || (uint64_t)stack + i >= address + sizeof(struct frame)))
            return 0;
    return 1;
}

static inline int stack_untouched(void)
{
    return only_frame_at(0);
}

/* Did it bounce once, with this frame? */
static inline int bounced_from(const struct registers *start)
{
    uint64_t address = frame_address(start->r[SP]);
    struct frame want = { start->r[NUMBER], start->r[SP], start->r[PC] + CALL_BYTES, start->r[FLAGS] };
    return only_frame_at(address) && !memcmp((void *)address, &want, sizeof want);
}

/* Are all registers what they were, those in `but` (a bit each) excepted? x86's RF is the fault's own. */
static inline int kept(const struct registers *start, const struct outcome *end, uint64_t but)
{
    for (int i = 0; i < REGISTERS; i++)
        if ((start->r[i] ^ end->now.r[i]) & ~(i == FLAGS ? RF : 0) && !(but >> i & 1)) {
            printf("r[%d]: %lx before, %lx after\n", i, start->r[i], end->now.r[i]);
            return 0;
        }
    return 1;
}

/* What a system call may change. */
#ifdef __aarch64__
#define BY_CALL (1UL << RESULT | 1UL << PC)
#else
#define BY_CALL (1UL << RESULT | 1UL << PC | 1UL << RCX | 1UL << R11)
#endif

/* Did the call at `start` return to the trap behind it, with only what a call changes changed? */
static inline int returned(const struct registers *start, const struct outcome *end)
{
    uint64_t behind = start->r[PC] + CALL_BYTES;
    int good = end->signal == SIGILL && end->now.r[PC] == behind && kept(start, end, BY_CALL);
#ifdef __x86_64__
    good = good && end->now.r[RCX] == behind && end->now.r[R11] == start->r[FLAGS];
#endif
    if (!good) {
        printf("signal %d, code %d, address %lx\n", end->signal, end->code, end->address);
        hexdump_registers(&end->now);
    }
    return good;
}

static inline long result(const struct outcome *end)
{
    return (long)end->now.r[RESULT];
}

/* Was it this signal, with all registers as at the start? */
static inline int refused(const struct registers *start, const struct outcome *end, int signal, int si_code, uint64_t address)
{
    int good = end->signal == signal && end->code == si_code && end->address == address && kept(start, end, 0);
    if (!good) {
        printf("signal %d, code %d, address %lx\n", end->signal, end->code, end->address);
        hexdump_registers(&end->now);
    }
    return good;
}

/* ---- a call that changes the vDSO, and then one that bounces or not ---- */
/* In the code page: the call of the start registers, then getppid. */
static inline void two_calls(void)
{
#ifdef __aarch64__
    uint32_t move = 0xd2800008 | SYS_getppid << 5;      /* mov x8, #getppid */
    memcpy(code, CALL, 4);
    memcpy(code + 4, &move, 4);
    memcpy(code + 8, CALL TRAP, 8);
#else
    uint32_t number = SYS_getppid;
    memcpy(code, CALL "\xb8", 3);                       /* mov eax, getppid */
    memcpy(code + 3, &number, 4);
    memcpy(code + 7, CALL TRAP, 4);
#endif
}

#ifdef __aarch64__
#define SECOND_CALL 8
#else
#define SECOND_CALL 7
#endif

static inline struct registers before_getppid(long number, long a0, long a1, long a2, long a3, long a4)
{
    static const int arguments[] = ARGUMENTS;
    struct registers start = at_call(number);
    long values[] = { a0, a1, a2, a3, a4, 0 };
    for (int i = 0; i < 6; i++)
        start.r[arguments[i]] = values[i];
    return start;
}

/* How getppid behind such a call starts: like the first, but for what that changed. */
static inline struct registers second_call(struct registers start, long result)
{
    start.r[RESULT] = result;
    start.r[NUMBER] = SYS_getppid;
    start.r[PC] += SECOND_CALL;
    return start;
}

static uint8_t *handler;                    /* where a bounced call goes on */
static uint8_t *real;                       /* the system call in it */

/* A vDSO that may not be executed tells where its handler is. */
static inline void find_handler(void)
{
    struct registers start = before_getppid(SYS_mprotect, (long)vdso, vdso_size, PROT_READ, 0, 0);
    handler = real = (uint8_t *)run_prepared(start, two_calls).address;
    while (memcmp(real, CALL, CALL_BYTES))
        real++;
}

static inline void attack(const char *name)
{
    printf("[%s]\n", name);
}

/* At the call in the handler, as if a bounce had come there. */
static inline struct registers at_real(uint64_t number)
{
    struct registers start = at_call(number);
    start.r[PC] = (uint64_t)real;
    return start;
}

/* There, with a frame that the attacker made. */
static inline struct outcome run_forged(struct registers *start, uint64_t sp, uint64_t pc, uint64_t flags)
{
    *start = at_real(SYS_getppid | REDIRECT);
    start->r[SP] = (uint64_t)stack + PAGE + 64;
    forged_at = PAGE + 64;
    forged = (struct frame){ 0x123456789, sp, pc, flags };
    return run_prepared(*start, forge);
}

/* The call was made, and SP, PC and flags are those of the frame, the flags as user space may have them. */
static inline int went_to(const struct outcome *end, uint64_t sp, uint64_t flags)
{
    int good = end->signal == SIGILL && end->now.r[PC] == (uint64_t)code + CALL_BYTES && result(end) == getpid() &&
               end->now.r[SP] == sp && (end->now.r[FLAGS] & ~RF) == flags;
    if (!good)
        printf("signal %d, PC %lx, SP %lx, flags %lx\n", end->signal, end->now.r[PC], end->now.r[SP], end->now.r[FLAGS]);
    return good;
}

/* getppid with SP there: it bounces and comes back, or is refused before anything was written. */
static inline struct registers with_sp(uint64_t sp)
{
    struct registers start = at_getppid();
    start.r[SP] = sp;
    return start;
}

static inline void pushed(uint64_t sp)
{
    struct registers start = with_sp(sp);
    struct outcome end = run(start);
    CHECK(returned(&start, &end));
    CHECK(result(&end) == getpid());
}

static inline void not_pushed(uint64_t sp, int si_code, uint64_t address)
{
    struct registers start = with_sp(sp);
    struct outcome end = run(start);
    CHECK(refused(&start, &end, SIGSEGV, si_code, address));
    CHECK(stack_untouched());
}

#endif
