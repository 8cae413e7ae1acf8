/* Random SPs, flags, numbers and frames, thousands of them in one process: each ends at the trap behind its call, with
 * nothing changed but what a call changes, or in SIGSEGV at the frame with nothing changed at all. The first argument
 * seeds the generator. What is expected follows from docs/bounce-abi.md.
 * guest-native: no
 * guest-abis: bounce
 * guest-args: 1 */
#include "attack.h"

#define ROUNDS 1500

static uint64_t state;
static struct registers start, home;
static struct outcome end;
static int rounds, departed, by_call, by_fault;
static uint64_t low, high;                  /* the stack */
static pid_t parent;

/* What is expected of the round. */
static int want_signal, want_code;
static uint64_t want_address;
static struct registers want;

static uint64_t random64(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1d;
}

static uint64_t below(uint64_t limit)
{
    return random64() % limit;
}

static uint64_t some_sp(void)
{
    switch (below(8)) {
    case 0: return below(4096);
    case 1: return -below(4096) - 1;
    case 2: return low - 64 + below(512);
    case 3: return high - 256 + below(512);
    case 4: return low - PAGE + 256 + below(STACK_BYTES + 2 * PAGE - 256);
    case 5: return low + PAGE * below(8) - 32 + below(256);
#ifdef __aarch64__
    case 6: return (low + below(STACK_BYTES)) | random64() << 56;
#else
    case 6: return random64() | 1UL << 63;
#endif
    default: return low + PAGE + below(STACK_BYTES - PAGE);
    }
}

static uint64_t some_flags(void)
{
#ifdef __aarch64__
    return below(16) << 28;
#else
    return 0x202 | (random64() & 0x40cd5);  /* what a signal frame can set, but for TF */
#endif
}

static uint64_t user(uint64_t address)
{
#ifdef __aarch64__
    return address >> 55 & 1 ? address : address & 0x00ffffffffffffff;
#else
    return address;
#endif
}

/* What an access of 32 bytes at `address` comes to: 0, or where and how it faults. */
static int faults(uint64_t address, int write)
{
    address = user(address);
    want_address = address;
    want_code = address > low - PAGE - 32 && address < high + PAGE ? SEGV_ACCERR : SEGV_MAPERR;
    if (address >= low && address <= high - 32)
        return 0;
    if (write && address >= low && address < high)
        want_address = high;                /* the first half would have had a place */
    return 1;
}

static void expect_fault(void)
{
    want = start;
    want_signal = SIGSEGV;
}

/* The call is made, and goes on at `pc`. */
static void expect_call(uint64_t number, uint64_t pc)
{
    want.r[RESULT] = (uint32_t)number == SYS_getppid ? (uint64_t)parent : (uint64_t)-ENOSYS;
    want.r[PC] = pc;
#ifdef __x86_64__
    want.r[RCX] = pc;
    want.r[R11] = want.r[FLAGS];
#endif
    want_signal = SIGILL;
    want_address = pc;
    want_code = -1;
    if (pc != (uint64_t)code + CALL_BYTES) {
        want_signal = SIGSEGV;
        want_code = SEGV_MAPERR;
#ifdef __x86_64__
        if (pc == 0x800000000000) {
            want_code = SI_KERNEL;
            want_address = 0;
        }
#endif
    }
}

static uint64_t some_number(void)
{
    static const uint64_t low32[] = { SYS_getppid, SYS_getppid, SYS_getppid, 1000, 511, 1UL << 31, 0x40000000 | SYS_getppid };
    return low32[below(sizeof low32 / sizeof *low32)] | random64() << 32;
}

static void old_style(void)
{
    start.r[PC] = (uint64_t)code;
    start.r[NUMBER] = some_number();
    start.r[SP] = some_sp();
    want = start;
    if (faults(frame_address(start.r[SP]), 1))
        expect_fault();
    else
        expect_call(start.r[NUMBER], (uint64_t)code + CALL_BYTES);
}

static void from_outside(void)
{
    start.r[PC] = (uint64_t)code;
    start.r[NUMBER] = some_number() | REDIRECT;
    start.r[SP] = some_sp();
    want = start;
    expect_call(1000, (uint64_t)code + CALL_BYTES);
}

static void with_frame(void)
{
    static const uint64_t elsewhere[] = { 0x10, 0xffffffffff000000, 0x800000000000 };
    struct frame frame = { random64(), random64(), (uint64_t)code + CALL_BYTES, random64() };
    start.r[PC] = (uint64_t)real;
    start.r[NUMBER] = (some_number() & ~REDIRECT) | REDIRECT;
    start.r[SP] = some_sp();
    want = start;
    if (faults(start.r[SP], 0)) {
        expect_fault();
        return;
    }
#ifdef __aarch64__
    if (below(2))
        frame.flags &= 0xffffffff00000000 | 0xf0000000 | 0x0cffe020;
    else
        frame.flags &= ~0x03001c00UL;       /* flags that a CPU may have or not have */
#endif
    if (!below(4))
        frame.pc = elsewhere[below(3)];
    memcpy((void *)user(start.r[SP]), &frame, sizeof frame);
    want.r[SP] = frame.sp;
#ifdef __aarch64__
    want.r[NUMBER] = frame.number;
    want.r[FLAGS] = frame.flags & ~0xffffffff0cffe020;
    if (want.r[FLAGS] & 0x3df) {
        expect_fault();
        want_code = SEGV_ACCERR;
        return;
    }
#else
    want.r[FLAGS] = (frame.flags & 0x254dd5) | 0x202;
    /* a trap after a fault that never comes: the page behind is not there, the instruction is undefined */
#endif
    expect_call(start.r[NUMBER] & ~REDIRECT, frame.pc);
}

static void next_round(void)
{
    for (int i = 0; i < REGISTERS; i++)
        start.r[i] = random64();
    start.r[FLAGS] = some_flags();
    switch (below(3)) {
    case 0: old_style(); break;
    case 1: from_outside(); break;
    default: with_frame(); break;
    }
}

static int as_expected(void)
{
    int good = end.signal == want_signal && (want_code == -1 || end.code == want_code) && end.address == want_address;
    for (int i = 0; i < REGISTERS; i++)
        if ((end.now.r[i] ^ want.r[i]) & ~(i == FLAGS ? RF : 0))
            good = 0;
    return good;
}

/* The end of one round and the start of the next. */
static void driver(int signal, siginfo_t *info, void *context)
{
    uint64_t *registers = FIRST((ucontext_t *)context);
#ifdef __x86_64__
    __asm__ volatile("pushq $0x202; popfq" : : : "cc", "memory");
#endif
    if (!departed) {
        memcpy(home.r, registers, sizeof home.r);
        departed = 1;
    } else {
        end.signal = signal;
        end.code = info->si_code;
        end.address = (uint64_t)info->si_addr;
        memcpy(end.now.r, registers, sizeof end.now.r);
        if (!as_expected()) {
            guest_check(__FILE__, __LINE__, "a round as expected", 0);
            printf("round %d: signal %d (%d), code %d (%d), address %lx (%lx)\n", rounds, signal, want_signal, end.code,
                   want_code, end.address, want_address);
            for (int i = 0; i < REGISTERS; i++)
                if (end.now.r[i] != want.r[i])
                    printf("  r[%d]: %lx at first, %lx now, %lx expected\n", i, start.r[i], end.now.r[i], want.r[i]);
            rounds = ROUNDS;
        }
        if (signal == SIGILL)
            by_call++;
        else
            by_fault++;
    }
    if (rounds++ < ROUNDS)
        next_round();
    else
        start = home;
    memcpy(registers, start.r, sizeof start.r);
}

int main(int argc, char **argv)
{
    attack_start();
    find_handler();
    state = 0x9e3779b97f4a7c15 ^ strtoull(argc > 1 ? argv[1] : "1", 0, 0);
    low = (uint64_t)stack;
    high = low + STACK_BYTES;
    parent = getppid();
    static const int signals[] = { SIGUSR1, SIGSEGV, SIGBUS, SIGILL, SIGTRAP };
    struct sigaction action = { .sa_sigaction = driver, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, 0);
    raise(SIGUSR1);
    CHECK(by_call + by_fault == ROUNDS);
    CHECK(by_call > ROUNDS / 8 && by_fault > ROUNDS / 8);
    return guest_end();
}
