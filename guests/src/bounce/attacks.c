/* Attacks on the bounce, and accidents: each ends as a comparable mistake would on Linux, with the exact signal, code,
 * address, PC and registers. Linux has no bounce, so what is expected here follows from docs/bounce-abi.md.
 * guest-native: no
 * guest-abis: bounce */
#include "attack.h"

static uint8_t *room;                       /* where the vDSO may be moved to */

/* ---- the vDSO taken away, moved, changed ---- */
static void not_executable(void)
{
    attack("the vDSO made non-executable");
    struct registers start = before_getppid(SYS_mprotect, (long)vdso, vdso_size, PROT_READ, 0, 0);
    struct outcome end = run_prepared(start, two_calls);
    struct registers second = second_call(start, 0);
    CHECK(end.signal == SIGSEGV && end.code == SEGV_ACCERR);
    CHECK(end.address == (uint64_t)handler && end.now.r[PC] == (uint64_t)handler);
    CHECK(end.now.r[SP] == frame_address(second.r[SP]));
    CHECK(bounced_from(&second));

    attack("the vDSO allowed nothing at all");
    start = before_getppid(SYS_mprotect, (long)vdso, vdso_size, PROT_NONE, 0, 0);
    end = run_prepared(start, two_calls);
    CHECK(end.signal == SIGSEGV && end.code == SEGV_ACCERR && end.address == (uint64_t)handler);
}

static void taking_away(void)
{
    struct registers start, second;
    struct outcome end;

    attack("the vDSO unmapped one instruction earlier");
    start = before_getppid(SYS_munmap, (long)vdso, vdso_size, 0, 0, 0);
    end = run_prepared(start, two_calls);
    second = second_call(start, 0);
    CHECK(end.signal == SIGILL && end.now.r[PC] == second.r[PC] + CALL_BYTES);
    CHECK(result(&end) == getpid());
    CHECK(bounced_from(&start));            /* the frame of munmap itself, and none of getppid */

    attack("the vDSO overmapped");
    start = before_getppid(SYS_mmap, (long)vdso, vdso_size, PROT_READ, MAP_FIXED | ANON, -1);
    end = run_prepared(start, two_calls);
    CHECK(end.signal == SIGILL && result(&end) == getpid() && bounced_from(&start));

    attack("the vDSO moved");
    start = before_getppid(SYS_mremap, (long)vdso, vdso_size, vdso_size, MREMAP_MAYMOVE | MREMAP_FIXED, (long)room);
    end = run_prepared(start, two_calls);
    second = second_call(start, (long)room);
    CHECK(end.signal == SIGILL && result(&end) == getpid() && bounced_from(&second));
}

static void write_into_vdso(void)
{
    mprotect(vdso, vdso_size, RWX);
    memcpy(handler, TRAP, TRAP_BYTES);
}

static void changing(void)
{
    attack("the vDSO made writable");
    struct registers start = at_getppid();
    struct outcome end = run_prepared(start, write_into_vdso);
    CHECK(end.signal == SIGILL && end.now.r[PC] == (uint64_t)handler);
    end = run(start);                       /* the change was the child's own */
    CHECK(returned(&start, &end) && result(&end) == getpid());
}

/* ---- jumps into the handler ---- */
/* What the popped 0xAA come to. */
static int lost(const struct registers *start, const struct outcome *end)
{
#ifdef __aarch64__
    /* flags that are not user space's: refused at the call in the handler */
    return end->signal == SIGSEGV && end->code == SEGV_ACCERR && end->address == start->r[SP] &&
           end->now.r[PC] == (uint64_t)real && end->now.r[NUMBER] == (SYS_getppid | REDIRECT) &&
           kept(start, end, 1UL << PC | 1UL << NUMBER);
#else
    (void)start;
    /* flags are only masked: the call is made, and goes on where there is nothing, non-canonical */
    return end->signal == SIGSEGV && end->code == SI_KERNEL && end->address == 0 &&
           end->now.r[PC] == 0xaaaaaaaaaaaaaaaa && end->now.r[SP] == 0xaaaaaaaaaaaaaaaa && result(end) == getpid();
#endif
}

static void jumps(void)
{
    struct registers start;
    struct outcome end;

    attack("a jump into the middle of the handler");
    start = at_real(SYS_getppid);
    end = run(start);                       /* a real call that ends no bounce: it returns to what follows */
    CHECK(end.now.r[PC] == (uint64_t)real + CALL_BYTES && (end.signal == SIGILL || end.signal == SIGTRAP));
    CHECK(result(&end) == getpid() && kept(&start, &end, BY_CALL) && stack_untouched());

    attack("a jump to the handler's first instruction");
    start = at_call(SYS_getppid);
    start.r[PC] = (uint64_t)handler;
    start.r[SP] = (uint64_t)stack + PAGE;
    forged_at = PAGE;
    forged = (struct frame){ 0, 0x1230, (uint64_t)code + CALL_BYTES, NO_FLAGS };
    end = run_prepared(start, forge);       /* a frame of zeros but for SP and PC is as good as any */
    CHECK(end.signal == SIGILL && result(&end) == getpid());
    CHECK(end.now.r[PC] == (uint64_t)code + CALL_BYTES && end.now.r[SP] == 0x1230);

    attack("a jump to the handler with no frame on the stack");
    start.r[SP] = (uint64_t)stack + 2 * PAGE;
    end = run(start);                       /* 0xAA everywhere */
    CHECK(lost(&start, &end));
}

/* ---- forged frames ---- */
static void forged_frames(void)
{
    struct registers start;
    struct outcome end;
    uint64_t sp = (uint64_t)stack + 4 * PAGE, landing = (uint64_t)code + CALL_BYTES;

    attack("a forged frame that is sound");
    end = run_forged(&start, sp, landing, SOME_FLAGS);
    CHECK(went_to(&end, sp, SOME_FLAGS));

    attack("a forged frame with a PC of the kernel's");
    end = run_forged(&start, sp, 0xffffffffff000000, SOME_FLAGS);
    CHECK(end.signal == SIGSEGV && end.code == SEGV_MAPERR && end.address == 0xffffffffff000000);
    CHECK(end.now.r[PC] == end.address && end.now.r[SP] == sp && result(&end) == getpid());

    attack("a forged frame with an unaligned SP");
    end = run_forged(&start, sp + 7, landing, SOME_FLAGS);
    CHECK(went_to(&end, sp + 7, SOME_FLAGS));

    attack("a forged frame with an unmapped SP");
    end = run_forged(&start, 0x10, landing, SOME_FLAGS);
    CHECK(went_to(&end, 0x10, SOME_FLAGS));
    end = run_forged(&start, -8, landing, SOME_FLAGS);
    CHECK(went_to(&end, -8UL, SOME_FLAGS));

    attack("a frame at an unaligned SP");
    start = at_real(SYS_getppid | REDIRECT);
    start.r[SP] = (uint64_t)stack + PAGE + 3;
    forged_at = PAGE + 3;
    forged = (struct frame){ 0, sp, landing, SOME_FLAGS };
    end = run_prepared(start, forge);
    CHECK(went_to(&end, sp, SOME_FLAGS));

    attack("a frame across two pages");
    start.r[SP] = (uint64_t)stack + 2 * PAGE - 8;
    forged_at = 2 * PAGE - 8;
    end = run_prepared(start, forge);
    CHECK(went_to(&end, sp, SOME_FLAGS));
}

/* ---- unreadable frames ---- */
static int in_pipe(int fd)
{
    char byte;
    return read(fd, &byte, 1) == 1;
}

static void unreadable_frames(void)
{
    static const int arguments[] = ARGUMENTS;
    uint64_t below = (uint64_t)stack - 32, above = (uint64_t)stack + STACK_BYTES;
    int ends[2];

    attack("a real syscall with the flag from outside a bounce");
    struct registers start = at_real(SYS_getppid | REDIRECT);
    start.r[SP] = 0x10;
    struct outcome end = run(start);
    CHECK(refused(&start, &end, SIGSEGV, SEGV_MAPERR, 0x10));
    start.r[SP] = below;
    end = run(start);
    CHECK(refused(&start, &end, SIGSEGV, SEGV_ACCERR, below));
    start.r[SP] = -8;
    end = run(start);
    CHECK(refused(&start, &end, SIGSEGV, SEGV_MAPERR, -8));
    start.r[SP] = above - 16;               /* its second half is not there */
    end = run(start);
    CHECK(refused(&start, &end, SIGSEGV, SEGV_ACCERR, start.r[SP]));

    attack("write(2) with an unreadable frame must write nothing");
    if (pipe(ends) || fcntl(ends[0], F_SETFL, O_NONBLOCK))
        abort();
    start = at_real(SYS_write | REDIRECT);
    start.r[arguments[0]] = ends[1];
    start.r[arguments[1]] = (uint64_t)"x";
    start.r[arguments[2]] = 1;
    start.r[SP] = below;
    end = run(start);
    CHECK(refused(&start, &end, SIGSEGV, SEGV_ACCERR, below));
    CHECK(!in_pipe(ends[0]));
    start.r[SP] = (uint64_t)stack + PAGE;   /* and with one that can be read it is written */
    forged_at = PAGE;
    forged = (struct frame){ 0, start.r[SP], (uint64_t)code + CALL_BYTES, NO_FLAGS };
    end = run_prepared(start, forge);
    CHECK(result(&end) == 1 && in_pipe(ends[0]));
}

/* ---- where SP may be ---- */
static void stack_pointers(void)
{
    uint64_t low = (uint64_t)stack, high = low + STACK_BYTES;
    struct registers start;

    attack("SP in the middle of a stack");
    pushed(low + PAGE);
    start = with_sp(low + PAGE);
    CHECK(bounced_from(&start));

    attack("SP at the last byte of a mapping");
    pushed(high - 1);
    start = with_sp(high - 1);
    CHECK(bounced_from(&start));
    pushed(high);

    attack("SP at the first byte of a mapping");
    not_pushed(low, SEGV_ACCERR, frame_address(low));
    not_pushed(low + 8, SEGV_ACCERR, frame_address(low + 8));
    pushed(low + RED_ZONE + 32);            /* the lowest place with room */
    not_pushed(low + RED_ZONE + 31, SEGV_ACCERR, low - 16);

    attack("SP in a guard page");
    not_pushed(low - 100, SEGV_ACCERR, frame_address(low - 100));

    attack("push across a page boundary, second page missing");
    not_pushed(low + STACK_BYTES + RED_ZONE + 16, SEGV_ACCERR, high);
    attack("push across a page boundary, first page missing");
    not_pushed(low + RED_ZONE + 16, SEGV_ACCERR, low - 16);
    attack("push across a page boundary");
    pushed(low + PAGE + RED_ZONE + 16);

    attack("SP at address 0");
    not_pushed(0, SEGV_MAPERR, frame_address(0));
    attack("SP at address 16");
    not_pushed(16, SEGV_MAPERR, frame_address(16));
    attack("SP at 2^64-8");
    not_pushed(-8, SEGV_MAPERR, frame_address(-8));
    attack("SP in no address space");
    not_pushed(0x00f0000000000000, SEGV_MAPERR, frame_address(0x00f0000000000000));

    attack("misaligned SP");
    for (int i = 1; i < 16; i++)
        pushed(low + 2 * PAGE + i);
    start = with_sp(low + 2 * PAGE + 15);
    CHECK(bounced_from(&start));
}

/* ---- a stack that is code ---- */
static uint8_t *overwritten;                /* where the frame goes: a function that returns at once */
#ifdef __aarch64__
#define RETURN "\xc0\x03\x5f\xd6"           /* ret */
#define AS_CODE 0xd503201fUL                /* a number that is nop; udf */
#define NOP_BYTES 4
#else
#define RETURN "\xc3"                       /* ret */
#define AS_CODE 0x0b0f90UL                  /* a number that is nop; ud2 */
#define NOP_BYTES 1
#endif

/* A call, a jump to where its frame was, and that place executed once before. */
static void stack_in_code(void)
{
#ifdef __aarch64__
    uint32_t branch = 0x14000000 | (overwritten - (code + 4)) / 4;
    memcpy(code + 4, &branch, 4);
#else
    int32_t distance = overwritten - (code + 7);
    code[2] = 0xe9;
    memcpy(code + 3, &distance, 4);
#endif
    memcpy(overwritten, RETURN, sizeof RETURN - 1);
    ((void (*)(void))overwritten)();
}

static void stacks_of_code(void)
{
    attack("a frame over code that was executed");
    struct registers start = at_call(AS_CODE);
    start.r[SP] = (uint64_t)code + PAGE / 2;
    overwritten = (uint8_t *)frame_address(start.r[SP]);
    struct outcome end = run_prepared(start, stack_in_code);
    CHECK(end.signal == SIGILL && end.now.r[PC] == (uint64_t)overwritten + NOP_BYTES);
    CHECK(result(&end) == -ENOSYS && stack_untouched());
}

/* ---- numbers ---- */
/* A number that is refused, without and with a bounce on the way. */
static void number(const char *name, uint64_t value, int bounces)
{
    attack(name);
    struct registers start = at_call(value);
    struct outcome end = run(start);
    CHECK(returned(&start, &end));
    WANT(result(&end), -ENOSYS);
    CHECK(bounces ? bounced_from(&start) : stack_untouched());
}

static void numbers(void)
{
    number("the number -1", -1, 0);
    number("the number 2^32-1", 0xffffffff, 0);
    number("the number 2^31", 1UL << 31, 1);
    number("the number 0x3fffffff", 0x3fffffff, 0);
    number("the number 0x1fffffff", NO_CALL, 0);
    number("the flag and getppid from outside", REDIRECT | SYS_getppid, 0);
    number("the flag alone from outside", REDIRECT, 0);
    number("the x32 bit", 0x40000000 | SYS_getppid, 1);
    number("the largest number that bounces", 0xdffffffe, 1);

    attack("2^63|getppid is getppid");
    struct registers start = at_call(1UL << 63 | SYS_getppid);
    struct outcome end = run(start);
    CHECK(returned(&start, &end) && result(&end) == getpid() && bounced_from(&start));

    attack("the number-less return");
    start = at_real(0x3fffffff);
    start.r[SP] = (uint64_t)stack + PAGE;
    forged_at = PAGE;
    forged = (struct frame){ 0x789, 0x4560, (uint64_t)code + CALL_BYTES, NO_FLAGS };
    end = run_prepared(start, forge);       /* x0 stays; rax, which the number was in, comes from word 0 */
    CHECK(end.signal == SIGILL && end.now.r[SP] == 0x4560);
    CHECK(end.now.r[RESULT] == (RESULT == NUMBER ? 0x789 : start.r[RESULT]));
    CHECK(end.now.r[NUMBER] == 0x789);
}

int main(void)
{
    attack_start();
    room = map(vdso_size, PROT_NONE, MAP_PRIVATE);
    find_handler();
    not_executable();
    taking_away();
    changing();
    jumps();
    forged_frames();
    unreadable_frames();
    stack_pointers();
    stacks_of_code();
    numbers();
    return guest_end();
}
